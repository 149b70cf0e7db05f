"""Pictures of what a model's codes mean: what decodes as they move."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.arrays import as_tensor
from narrows.evaluation.report.measure import Coded
from narrows.models.base import BaseAutoencoder
from narrows.models.damage import choose_damage

Lines = dict[str, NDArray[Any]]

_UNITS, _STEPS = 6, 9
# Of the codes of these rows, how far a unit is moved.
_ENDS = (0.01, 0.99)
_ROWS_TO_CHOOSE_FROM = 200


def typical_rows(errors: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return the rows whose errors are nearest to the median, in ascending order of error."""
    order = np.argsort(errors, kind="stable")
    start = max(0, (len(order) - count) // 2)
    return order[start : start + count]


def traverse(model: BaseAutoencoder, coded: Coded) -> Lines:
    """Move the most varied units of a typical row's code, each from one end to the other.

    Returns
    -------
    dict of str to ndarray of shape (9, ...)
        Of each unit, what decodes.
    """
    codes = coded.codes
    start = codes[typical_rows(coded.errors, 1)[0]]
    units = np.argsort(-codes.var(axis=0), kind="stable")[:_UNITS]
    lines: Lines = {}
    for unit in units:
        moved = np.repeat(start[None], _STEPS, axis=0)
        moved[:, unit] = _spread(codes[:, unit])
        lines[f"unit {unit}"] = model.inverse_transform(moved)
    return lines


def interpolate(model: BaseAutoencoder, coded: Coded) -> tuple[Lines, tuple[int, int]]:
    """Go in a straight line from the code of a typical row to that of another far from it.

    Returns
    -------
    lines : dict of str to ndarray of shape (9, ...)
        What decodes on the way between the codes, and the straight way between the rows.
    ends : (int, int)
        The two rows.
    """
    some = typical_rows(coded.errors, _ROWS_TO_CHOOSE_FROM)
    first = some[len(some) // 2]
    last = some[np.argmax(np.square(coded.codes[some] - coded.codes[first]).sum(axis=1))]
    steps = np.linspace(0, 1, _STEPS, dtype=np.float32)
    codes = _between(coded.codes[first], coded.codes[last], steps)
    own = _between(coded.X[first].astype(np.float32), coded.X[last].astype(np.float32), steps)
    lines = {"between codes": model.inverse_transform(codes), "between pictures": own}
    return lines, (int(first), int(last))


def damage(model: BaseAutoencoder, X: NDArray[Any], random_state: int) -> NDArray[Any] | None:
    """Damage rows as a model's training did, in the data's units; None without a corruption."""
    import torch

    harm = choose_damage(model)
    if harm is None:
        return None
    scaled = model.scaling_(as_tensor(X))
    generator = torch.Generator().manual_seed(random_state)
    damaged: NDArray[Any] = model.scaling_.undo(harm(scaled, generator).rows).numpy()
    return damaged


def _spread(values: NDArray[np.float32]) -> NDArray[np.floating]:
    low, high = np.quantile(values, _ENDS)
    return np.linspace(low, high, _STEPS)


def _between(
    first: NDArray[np.float32], last: NDArray[np.float32], steps: NDArray[np.float32]
) -> NDArray[np.float32]:
    shares = steps.reshape(-1, *[1] * first.ndim)
    between: NDArray[np.float32] = (1 - shares) * first + shares * last
    return between
