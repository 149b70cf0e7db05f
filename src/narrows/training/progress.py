"""Who is told of each epoch, without a parameter in every call between them and the loop."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from torch import nn

from narrows import ranks
from narrows.data.formulas import guarded
from narrows.errors import NarrowsError, OutputError
from narrows.training.history import Record

Callback = Callable[[Record], None]

Starter = Callable[[nn.Module], None]

Planner = Callable[[dict[str, Any]], None]

_planners: ContextVar[tuple[Planner, ...]] = ContextVar("planners", default=())
_starters: ContextVar[tuple[Starter, ...]] = ContextVar("starters", default=())
_steppers: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("steppers", default=())
_listeners: ContextVar[tuple[Callback, ...]] = ContextVar("listeners", default=())
_everywhere: ContextVar[tuple[Callback, ...]] = ContextVar("everywhere", default=())


@contextmanager
def on_epoch(callback: Callback) -> Iterator[None]:
    """Call ``callback`` with each epoch's record while the block runs.

    Parameters
    ----------
    callback : callable
        Takes a dict: what :class:`narrows.training.history.History` keeps, and ``max_epochs``.

    Examples
    --------
    >>> from narrows import Autoencoder
    >>> from narrows.training.progress import on_epoch
    >>> import numpy as np
    >>> X = np.random.default_rng(0).random((64, 8), dtype=np.float32)
    >>> seen = []
    >>> with on_epoch(lambda record: seen.append(record["epoch"])):
    ...     model = Autoencoder(n_components=2, max_epochs=3, random_state=0).fit(X)
    >>> seen
    [1, 2, 3]
    """
    token = _listeners.set((*_listeners.get(), callback))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def on_plan(callback: Planner) -> Iterator[None]:
    """Call ``callback`` once a run is planned, before its first step, while the block runs.

    Parameters
    ----------
    callback : callable
        Takes what the parameters left to "auto" became: ``choices_`` of a model.

    Examples
    --------
    >>> from narrows import Autoencoder
    >>> from narrows.training.progress import on_plan
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> with on_plan(lambda choices: print(choices["batch_size"])):
    ...     model = Autoencoder(n_components=2, max_epochs=1, random_state=0).fit(X)
    Choice(value=32, reason='200 rows')
    """
    token = _planners.set((*_planners.get(), callback))
    try:
        yield
    finally:
        _planners.reset(token)


def tell_plan(choices: dict[str, Any]) -> None:
    """Call the callbacks of :func:`on_plan`, in the first of several processes."""
    if ranks.rank() == 0:
        for callback in _planners.get():
            callback(choices)


@contextmanager
def on_every_process(callback: Callback) -> Iterator[None]:
    """Call ``callback`` as :func:`on_epoch` does, in all processes that train together.

    Parameters
    ----------
    callback : callable
        As for :func:`on_epoch`; all processes call it after the same epochs.
    """
    token = _everywhere.set((*_everywhere.get(), callback))
    try:
        yield
    finally:
        _everywhere.reset(token)


@contextmanager
def on_start(callback: Starter) -> Iterator[None]:
    """Call ``callback`` with each network that is about to be trained while the block runs.

    Parameters
    ----------
    callback : callable
        Takes the network before its first step, and must not change it.
    """
    token = _starters.set((*_starters.get(), callback))
    try:
        yield
    finally:
        _starters.reset(token)


@contextmanager
def on_step(callback: Callable[[], None]) -> Iterator[None]:
    """Call ``callback`` after each step, and each batch of held-out rows, while the block runs.

    Parameters
    ----------
    callback : callable
        Takes nothing. If it raises KeyboardInterrupt, training ends there, and what was learned is
        kept: unlike an interrupt that comes at any moment, never a part of a step.
    """
    token = _steppers.set((*_steppers.get(), callback))
    try:
        yield
    finally:
        _steppers.reset(token)


def tell_step() -> None:
    """Call the callbacks of :func:`on_step`."""
    for callback in _steppers.get():
        callback()


@contextmanager
def logged(path: Path | None) -> Iterator[None]:
    """Write a line of a CSV file after each epoch while the block runs, for others to follow.

    Parameters
    ----------
    path : Path or None
        The file, which is written anew; ``None`` writes none.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    if path is None:
        yield
        return
    try:
        with path.open("w", encoding="utf-8", newline="", buffering=1) as file:
            columns: list[str] = []

            def write(record: Record) -> None:
                if not columns:
                    columns.extend(name for name in record if name != "max_epochs")
                    file.write(",".join(map(guarded, columns)) + "\n")
                # Layers that are trained one by one may have more to tell; the first says what.
                file.write(",".join(f"{record.get(name, math.nan):.9g}" for name in columns) + "\n")

            with on_epoch(write):
                yield
    except OSError as error:
        if isinstance(error, NarrowsError):
            raise
        raise OutputError(
            f"'{path}' cannot be written ({error.strerror}); name another file"
        ) from error


def starters() -> tuple[Starter, ...]:
    """Return the callbacks of the blocks that surround this call, the outermost first."""
    return _starters.get()


@contextmanager
def telling(**facts: float) -> Iterator[None]:
    """Add facts to all records that callbacks get while the block runs.

    Parameters
    ----------
    **facts : float
        Such as ``layer`` and ``n_layers`` where layers are trained one by one.
    """

    def add(callback: Callback) -> Callback:
        return lambda record: callback({**record, **facts})

    tokens = [
        (those, those.set(tuple(map(add, those.get())))) for those in (_listeners, _everywhere)
    ]
    try:
        yield
    finally:
        for those, token in tokens:
            those.reset(token)


def listeners() -> tuple[Callback, ...]:
    """Return the callbacks of the blocks that surround this call, the outermost first."""
    return _listeners.get()


def listeners_everywhere() -> tuple[Callback, ...]:
    """Return those of the surrounding blocks that every process calls."""
    return _everywhere.get()


def print_epoch(record: Record) -> None:
    """Print one line of an epoch, for ``verbose``."""
    line = f"layer {record['layer']:.0f}/{record['n_layers']:.0f}  " if "layer" in record else ""
    line += f"epoch {record['epoch']:.0f}/{record['max_epochs']:.0f}  loss {record['loss']:.5g}"
    if "validation_loss" in record:
        line += f"  validation {record['validation_loss']:.5g}"
    print(f"{line}  {record['seconds']:.1f} s", flush=True)  # noqa: T201 (verbose)
