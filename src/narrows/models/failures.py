"""Warnings after a fit: unlike pairs, constant codes, results no better than the mean row."""

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
from narrows.data.batches import RowWeights, evenly_spread, is_stored
from narrows.data.lazy_rows import AnyRows
from narrows.errors import warn
from narrows.models.parameters import ModelAttributes

# The largest numbers of rows, and of their values, that are measured; rows encoded at once.
_ROWS, _VALUES, _BLOCK = 2_000, 1 << 22, 250
# Single units of a code are called constant only if this many rows were measured.
_FEWEST = 256
# Of rows on a disk, at most one in this many is read again.
_OF_STORED = 200
# Numbers that differ by less than this share of their size are equal in single precision.
_ROUNDING = 1e-5
# A model has learned nothing if its squared error is at least this share of the mean row's.
_NOTHING = 0.999
# The number of rows, and of their values, of which pairs are compared.
_PAIRS, _PAIRED_VALUES = 1024, 1 << 22
# The largest squared distance of damaged from clean rows, relative to that of the mean row; rows
# paired at random have 2.
_UNLIKE = 1.5
# The most times by which the contrast of pictures may differ from that of their clean originals.
_CONTRAST = 4.0

_warns = ContextVar("warns", default=True)


@contextmanager
def no_failure_warnings() -> Iterator[None]:
    """Suppress the warnings of fits in the block, since their results are judged as a whole."""
    token = _warns.set(False)
    try:
        yield
    finally:
        _warns.reset(token)


class Failure(NamedTuple):
    """A reason why a trained model is useless.

    Attributes
    ----------
    kind : str
        A short name for programs.
    message : str
        One line that says what was measured and what to change.
    facts : dict of str to object
        The figures in the message.
    """

    kind: str
    message: str
    facts: dict[str, Any]


def warn_of_failure(
    model: ModelAttributes,
    failure: Failure | None,
    X: AnyRows | None = None,
    damaged: AnyRows | None = None,
    weights: RowWeights = None,
    *,
    stacklevel: int = 3,
) -> None:
    """Warn of a failure that its model has reported, or measure whether the model has learned.

    Measured are codes that are equal for all rows, constant units of the code, and restored rows
    that are farther from the rows than the mean row is.

    Parameters
    ----------
    model : BaseAutoencoder
        A fitted model.
    failure : Failure or None
        A failure of its kind of model.
    X : ndarray or LazyRows of shape (n, *sample_shape), optional
        Training rows, of which at most 2 000 are measured, and of those on a disk at most one in
        200; without them, only ``failure`` is reported.
    damaged : ndarray or LazyRows of shape (n, ...), optional
        The rows from which the model restores them; ``X`` by default.
    weights : ndarray of shape (n,), optional
        Weight of each row.
    stacklevel : int
        The level whose line the warning names, as for :func:`narrows.errors.warn`.
    """
    # An interruption has a warning of its own.
    if ranks.place.rank or not _warns.get() or model.history_.ended == "interrupted":
        return
    if failure is None and X is not None:
        failure = _measure(model, X, damaged, weights)
    if failure is not None:
        warn(failure.message, kind=failure.kind, stacklevel=stacklevel, **failure.facts)


def warn_of_unlike_pairs(clean: AnyRows, damaged: AnyRows, *, stacklevel: int) -> None:
    """Warn of pairs whose rows are no nearer to each other than rows drawn at random are.

    Pictures may differ in brightness, and in contrast up to four times, as scans of pages do.
    """
    most = min(_PAIRS, max(2, _PAIRED_VALUES // math.prod(clean.shape[1:])))
    sample = evenly_spread(len(clean), most)
    targets, inputs = (
        np.asarray(rows[sample], np.float64).reshape(len(sample), -1) for rows in (clean, damaged)
    )
    variance = targets.var(axis=0).sum()
    error = np.square(inputs - targets).sum(axis=1).mean()
    if len(sample) < 2 or error <= _UNLIKE * variance:
        return
    if clean.ndim > 2:
        by_chance = _error_at_any_light(inputs, np.roll(targets, len(targets) // 2, axis=0))
        if 2 * _error_at_any_light(inputs, targets) <= _UNLIKE * by_chance:
            return
    times = float(error / variance) if variance else math.inf
    warn(
        f"the damaged rows, from {inputs.min():.4g} to {inputs.max():.4g}, are {times:.3g} times "
        f"as far from the clean ones, from {targets.min():.4g} to {targets.max():.4g}, as the mean "
        "row is; check that both have the same units and the same order",
        kind="pairs_unlike",
        stacklevel=stacklevel,
        times=times,
    )


def _error_at_any_light(inputs: NDArray[Any], targets: NDArray[Any]) -> Any:
    """Return the mean squared distance of pictures (n, F) at the light that suits each pair."""
    inputs, targets = (rows - rows.mean(axis=1, keepdims=True) for rows in (inputs, targets))
    power = np.maximum(np.square(inputs).sum(axis=1), np.finfo(np.float64).tiny)
    gain = np.clip((inputs * targets).sum(axis=1) / power, 1 / _CONTRAST, _CONTRAST)
    return np.square(gain[:, None] * inputs - targets).sum(axis=1).mean()


@torch.inference_mode()
def _measure(
    model: ModelAttributes, X: AnyRows, damaged: AnyRows | None, weights: RowWeights
) -> Failure | None:
    """Measure codes and restored rows of a sample of the training rows."""
    most = min(_ROWS, _VALUES // math.prod(X.shape[1:]))
    if is_stored(X, damaged):
        most = min(most, len(X) // _OF_STORED)
    # The sample is random, since rows may be periodic.
    count = min(len(X), max(2, most))
    are_all = count == len(X)
    sample = np.sort(np.random.default_rng(0).choice(len(X), count, replace=False, shuffle=False))
    rows = as_tensor(X[sample])
    inputs = rows if damaged is None else as_tensor(damaged[sample])
    shares = torch.ones(count) if weights is None else torch.from_numpy(weights[sample])
    shares = shares.double() / shares.sum()
    device = next(model.encoder_.parameters()).device
    scaled = model.scaling_(rows).double().flatten(1)
    if not (scaled != scaled[0]).any():  # equal rows tell nothing about the model
        return None
    mean = _learned_mean(model)
    if mean is None:
        spread = float(shares @ (scaled - shares @ scaled).square().sum(dim=1))
        if not are_all:  # a sample is nearer to its mean than to the mean of all rows
            spread /= 1 - float(shares @ shares)
    else:
        spread = float(shares @ (scaled - mean).square().sum(dim=1))
    left = 0.0
    codes: list[Tensor] = []
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        code = model.encoder_(model.scaling_(inputs[block]).to(device))
        restored = model.decoder_(code).cpu().double().flatten(1)
        left += float(shares[block] @ (restored - scaled[block]).square().sum(dim=1))
        codes.append(code.cpu())
    # Maps have units by the place, sparse models count dead ones themselves, and where a network
    # starts at PCA the rows may have fewer directions than the code has numbers.
    whole = model.spec_.is_map or model.spec_.definition.starts_at_pca
    enough = are_all or len(rows) >= _FEWEST
    in_part = enough and not whole and not model._counts_dead_units
    # The values of pictures and signals have one unit already.
    of_table = len(model.sample_shape_) == 1 and not model.spec_.signal
    return _of_codes(torch.cat(codes), in_part=in_part, are_all=are_all) or _of_restored(
        left, spread, may_rescale=of_table and model.scaling != "standard"
    )


def _learned_mean(model: ModelAttributes) -> Tensor | None:
    """Return the mean row (F,) that the encoder subtracts, if it has one value for each feature."""
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
    if may_rescale:
        remedies.append("set scaling='standard'")
    return Failure(
        "worse_than_mean",
        "the model restores the rows that it learned from no better than their mean row does "
        f"({share:.3f} times its squared error), and has learned nothing of use; "
        f"{', '.join(remedies[:-1])}, or {remedies[-1]}",
        {"unexplained": share},
    )
