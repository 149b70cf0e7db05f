"""Callbacks that training calls.

Training looks the callbacks up, so that no call between a user and the training loop has to pass
them on. Each function ``on_...`` returns a context manager; all training within its block calls the
callback.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from narrows import ranks
from narrows.errors import NarrowsError, OutputError
from narrows.texts import guarded
from narrows.training.history import Record

Callback = Callable[[Record], None]
ChoicesCallback = Callable[[dict[str, Any]], None]
Starter = Callable[[nn.Module], None]
_Any = TypeVar("_Any")

_listeners: ContextVar[tuple[Callback, ...]] = ContextVar("listeners", default=())
_everywhere: ContextVar[tuple[Callback, ...]] = ContextVar("everywhere", default=())
_on_choices: ContextVar[tuple[ChoicesCallback, ...]] = ContextVar("on_choices", default=())
_starters: ContextVar[tuple[Starter, ...]] = ContextVar("starters", default=())
_steppers: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("steppers", default=())


def on_epoch(callback: Callback) -> AbstractContextManager[None]:
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
    return _called(_listeners, callback)


def on_every_process(callback: Callback) -> AbstractContextManager[None]:
    """Call ``callback`` as :func:`on_epoch` does, in all processes that train together.

    Parameters
    ----------
    callback : callable
        As for :func:`on_epoch`; all processes call it after the same epochs.
    """
    return _called(_everywhere, callback)


def on_choices(callback: ChoicesCallback) -> AbstractContextManager[None]:
    """Call ``callback`` with the choices of each run, before its first step, in the block.

    Parameters
    ----------
    callback : callable
        Takes what the parameters left to "auto" became: ``choices_`` of a model.

    Examples
    --------
    >>> from narrows import Autoencoder
    >>> from narrows.training.progress import on_choices
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 6))
    >>> with on_choices(lambda choices: print(choices["batch_size"])):
    ...     model = Autoencoder(n_components=2, max_epochs=1, random_state=0).fit(X)
    Choice(value=32, reason='200 rows')
    """
    return _called(_on_choices, callback)


def on_start(callback: Starter) -> AbstractContextManager[None]:
    """Call ``callback`` with each network that is about to be trained while the block runs.

    Parameters
    ----------
    callback : callable
        Takes the network before its first step, and must not change it.
    """
    return _called(_starters, callback)


def on_step(callback: Callable[[], None]) -> AbstractContextManager[None]:
    """Call ``callback`` after each step, and each batch of held-out rows, while the block runs.

    Parameters
    ----------
    callback : callable
        Takes nothing. If it raises KeyboardInterrupt, training ends there, and what was learned is
        kept: unlike an interrupt that comes at any moment, never a part of a step.
    """
    return _called(_steppers, callback)


@contextmanager
def _called(callbacks: ContextVar[tuple[_Any, ...]], callback: _Any) -> Iterator[None]:
    token = callbacks.set((*callbacks.get(), callback))
    try:
        yield
    finally:
        callbacks.reset(token)


@contextmanager
def unobserved() -> Iterator[None]:
    """Call no callback of epochs and choices in the block, which trains a part of a model."""
    tokens = [(one, one.set(())) for one in (_listeners, _on_choices)]
    try:
        yield
    finally:
        for one, token in tokens:
            one.reset(token)


@contextmanager
def with_facts(**facts: float) -> Iterator[None]:
    """Add facts to all records that callbacks get while the block runs.

    Parameters
    ----------
    **facts : float
        Such as ``layer`` and ``n_layers`` where layers are trained one by one.
    """

    def add(callback: Callback) -> Callback:
        return lambda record: callback({**record, **facts})

    tokens = [
        (callbacks, callbacks.set(tuple(map(add, callbacks.get()))))
        for callbacks in (_listeners, _everywhere)
    ]
    try:
        yield
    finally:
        for callbacks, token in tokens:
            callbacks.reset(token)


@contextmanager
def logged(path: Path | None) -> Iterator[None]:
    """Write a line of a CSV file after each epoch while the block runs, for others to follow.

    Parameters
    ----------
    path : Path or None
        The file, which is written anew; with ``None``, nothing is written.

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
                # Layers that are trained one by one may differ in columns; the first decides.
                file.write(",".join(f"{record.get(name, math.nan):.9g}" for name in columns) + "\n")

            with on_epoch(write):
                yield
    except OSError as error:
        if isinstance(error, NarrowsError):
            raise
        raise OutputError(
            f"'{path}' cannot be written ({error.strerror}); name another file"
        ) from error


def listeners() -> tuple[Callback, ...]:
    """Return the callbacks of :func:`on_epoch`, that of the outermost block first."""
    return _listeners.get()


def call_on_choices(choices: dict[str, Any]) -> None:
    """Call the callbacks of :func:`on_choices`, in the first of several processes."""
    if ranks.place.rank == 0:
        for callback in _on_choices.get():
            callback(choices)


def call_on_start(network: nn.Module) -> tuple[Callable[[], None], ...]:
    """Call the callbacks of :func:`on_start`, and return those of :func:`on_step`."""
    for callback in _starters.get():
        callback(network)
    return _steppers.get()


def call_on_epoch(record: Record, callbacks: Sequence[Callback]) -> None:
    """Call the callbacks of :func:`on_epoch` and ``callbacks``, in the first of several processes.

    The callbacks of :func:`on_every_process` are called in each of them.
    """
    first = (*_listeners.get(), *callbacks) if ranks.place.rank == 0 else ()
    for callback in (*first, *_everywhere.get()):
        callback(record.copy())


def print_epoch(record: Record) -> None:
    """Print one line of an epoch, for ``verbose``."""
    print(f"{epoch_words(record)}  {record['seconds']:.1f} s", flush=True)  # noqa: T201 (verbose)


def epoch_words(record: Record, *, counted: bool = True) -> str:
    """Return the losses of an epoch in words, after its layer, if any, and its number."""
    words = f"layer {record['layer']:.0f}/{record['n_layers']:.0f}  " if "layer" in record else ""
    if counted:
        words += f"epoch {record['epoch']:.0f}/{record['max_epochs']:.0f}  "
    words += f"loss {record['loss']:.5g}"
    if "validation_loss" in record:
        words += f"  validation {record['validation_loss']:.5g}"
    return words
