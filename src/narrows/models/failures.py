"""Warnings at the end of fits that failed: a constant code, or no better than the mean row."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import ranks
from narrows.data.arrays import as_tensor
from narrows.data.batches import is_stored
from narrows.errors import warn
from narrows.models.parameters import Learned

# Rows that are looked at, and values of them, at most; rows encoded at once.
_ROWS, _VALUES, _BLOCK = 2_000, 1 << 22, 250
# Rows that have to be looked at before single units of a code are called constant.
_FEWEST = 256
# Of rows on a disk, which are read once more for it, one in so many.
_OF_STORED = 200
# Numbers that differ by less than this share of their size are equal in single precision.
_ROUNDING = 1e-5
# Of the mean row's squared error, what a model leaves that has learned nothing.
_NOTHING = 0.999


_telling = ContextVar("telling", default=True)


@contextmanager
def no_failure_warnings() -> Iterator[None]:
    """Let fits in the block end without warnings: they are parts of what is judged later."""
    token = _telling.set(False)
    try:
        yield
    finally:
        _telling.reset(token)


class Failure(NamedTuple):
    """A way in which a model that was trained is of no use.

    Attributes
    ----------
    kind : str
        A short name for programs.
    message : str
        One line: what was found, and what to change.
    facts : dict of str to object
        The figures in the message.
    """

    kind: str
    message: str
    facts: dict[str, Any]


def tell_of_failure(
    model: Learned,
    own: Failure | None,
    X: NDArray[Any],
    damaged: NDArray[Any] | None = None,
    weights: NDArray[np.float64] | None = None,
    *,
    stacklevel: int = 3,
) -> None:
    """Warn of a model that has learned nothing: what its own kind may end in, or what any may.

    Of all models: codes that are the same for all rows, units of the code that are, and restored
    rows that are farther from the rows than the mean row is.

    Parameters
    ----------
    model : BaseAutoencoder
        Fitted.
    own : Failure or None
        What models of its kind may end in, if it has.
    X : ndarray or LazyRows of shape (n, ...)
        Rows that it learned from, of which at most 2 000 are looked at, and of those on a disk at
        most a two-hundredth.
    damaged : ndarray or LazyRows of shape (n, ...), optional
        What it is to restore them from; the rows themselves by default.
    weights : ndarray of shape (n,), optional
        How much each row counts.
    stacklevel : int
        Whose line the warning names, as for :func:`narrows.errors.warn`.
    """
    # Who interrupts training has been told already.
    if ranks.rank() or not _telling.get() or model.history_.ended == "interrupted":
        return
    failure = own
    if failure is None:
        most = min(_ROWS, _VALUES // math.prod(X.shape[1:]))
        if is_stored(X, damaged):
            most = min(most, len(X) // _OF_STORED)
        # Not every so many: rows may come in periods.
        count = min(len(X), max(2, most))
        drawn = np.random.default_rng(0).choice(len(X), count, replace=False, shuffle=False)
        some = np.sort(drawn)
        failure = _measure(
            model,
            X[some],
            None if damaged is None else damaged[some],
            None if weights is None else weights[some],
            are_all=count == len(X),
        )
    _tell(failure, stacklevel)


def tell_failure(failure: Failure | None, *, stacklevel: int = 3) -> None:
    """Warn of a failure, if there is one; after a pass of ``partial_fit``."""
    if ranks.rank() == 0 and _telling.get():
        _tell(failure, stacklevel)


def _tell(failure: Failure | None, stacklevel: int) -> None:
    if failure is not None:
        warn(failure.message, kind=failure.kind, stacklevel=stacklevel + 1, **failure.facts)


@torch.inference_mode()
def _measure(
    model: Learned,
    X: NDArray[Any],
    damaged: NDArray[Any] | None,
    weights: NDArray[np.float64] | None,
    *,
    are_all: bool,
) -> Failure | None:
    device = next(model.encoder_.parameters()).device
    rows = as_tensor(X)
    given = rows if damaged is None else as_tensor(damaged)
    own = torch.ones(len(rows)) if weights is None else torch.from_numpy(weights)
    own = own.double() / own.sum()
    scaled = model.scaling_(rows).double().flatten(1)
    if not (scaled != scaled[0]).any():  # of rows that are equal, nothing can be said
        return None
    mean = _learned_mean(model)
    if mean is None:
        spread = float(own @ (scaled - own @ scaled).square().sum(dim=1))
        if not are_all:  # they are nearer to their own mean than to that of all rows
            spread /= 1 - float(own @ own)
    else:
        spread = float(own @ (scaled - mean).square().sum(dim=1))
    left = 0.0
    codes: list[Tensor] = []
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        code = model.encoder_(model.scaling_(given[block]).to(device))
        restored = model.decoder_(code).cpu().double().flatten(1)
        left += float(own[block] @ (restored - scaled[block]).square().sum(dim=1))
        codes.append(code.cpu())
    # Maps have units by the place, sparse models count dead ones themselves, and where a network
    # starts at PCA the rows may have fewer directions than the code has numbers.
    whole = model.spec_.is_map or model.spec_.kind.starts_at_pca
    enough = are_all or len(rows) >= _FEWEST
    in_part = enough and not whole and not hasattr(model, "dead_units_")
    # The values of pictures and signals have one unit already.
    of_table = len(model.sample_shape_) == 1 and not model.spec_.signal
    return _of_codes(torch.cat(codes), in_part=in_part, are_all=are_all) or _of_restored(
        left, spread, may_rescale=of_table and model.scaling != "standard"
    )


def _learned_mean(model: Learned) -> Tensor | None:
    """Return the mean row that the encoder subtracts, (F,), where it is one for each feature."""
    centre = model.encoder_.body.centre
    if centre is None or tuple(centre.mean.shape) != tuple(model.sample_shape_):
        return None
    return centre.mean.detach().cpu().double().flatten()


def _of_codes(codes: Tensor, *, in_part: bool, are_all: bool) -> Failure | None:
    extent = codes.amax(dim=0) - codes.amin(dim=0)
    still = (extent <= _ROUNDING * codes.abs().amax(dim=0)).numpy()
    count, width = int(still.sum()), len(still)
    facts = {"units": count, "n_components": width, "rows": len(codes)}
    rows = "rows" if are_all else f"{len(codes)} rows that were looked at"
    if count == width:
        return Failure(
            "code_collapsed",
            f"all {rows} have the same code, so it carries no information; "
            "lower learning_rate or the weights of penalties, change activation or "
            "code_activation, or train longer (max_epochs)",
            facts,
        )
    if count and in_part:
        return Failure(
            "constant_units",
            f"{count} of the {width} numbers of the code are the same for all {rows} and carry no "
            "information; lower n_components or learning_rate, or change code_activation",
            facts,
        )
    return None


def _of_restored(left: float, spread: float, *, may_rescale: bool) -> Failure | None:
    if left < _NOTHING * spread:
        return None
    share = left / spread
    remedies = ["train longer (max_epochs)", "lower learning_rate or the weights of penalties"]
    remedies += ["set scaling='standard'"] * may_rescale
    return Failure(
        "worse_than_mean",
        "the model restores the rows that it learned from no better than their mean row does "
        f"({share:.3f} times its squared error), and has learned nothing of use; "
        f"{', '.join(remedies[:-1])}, or {remedies[-1]}",
        {"unexplained": share},
    )
