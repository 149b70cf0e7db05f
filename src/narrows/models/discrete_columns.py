"""Columns of a table that have few values, and the values that do not belong to them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# A column is discrete if values that each have the first share of its rows make up the second.
_LEAST, _COVERED = 0.05, 0.9
# What a value between the steps counts for, and how close to a step others must be.
_ODD, _NEAR = 8.0, 1e-3


@dataclass(frozen=True)
class DiscreteColumns:
    """The steps between the values of discrete columns.

    Among zeros and ones, 0.5 is close to both, and yet hardly any row has it: distances do not find
    such values. The fewest values that make up nine tenths of the rows are the usual ones, if each
    has a twentieth of them. The step is the least difference between two of them, or 1 if they are
    integers. Values that are not whole steps away from them
    count as if they were restored with an error of 8 standard deviations, twice that at which
    columns are clipped.

    Attributes
    ----------
    columns : ndarray of int and shape (D,)
        The numbers of the columns.
    starts, steps : ndarray of shape (D,)
        The most usual value of each, and the step between its usual values.
    """

    columns: NDArray[np.int64]
    starts: Matrix
    steps: Matrix

    @classmethod
    def fit(cls, flat: NDArray[Any]) -> Self:
        """Find those of a table (n, F)."""
        found = []
        for column, own in enumerate(flat.T):
            values, counts = np.unique(own, return_counts=True)
            order = np.argsort(-counts, kind="stable")
            count = int(np.searchsorted(counts[order].cumsum(), _COVERED * len(own))) + 1
            least = max(2.0, _LEAST * len(own))
            if count < 2 or counts[order[count - 1]] < least:
                continue
            usual = np.sort(values[order[:count]].astype(np.float64))
            start, step = float(values[order[0]]), float(np.diff(usual).min())
            step = 1.0 if (usual == np.round(usual)).all() else step
            if not _between(usual, start, step).any():
                found.append((column, start, step))
        columns, starts, steps = np.array(found).reshape(-1, 3).T
        return cls(columns.astype(np.int64), starts, steps)

    def squared_errors(self, flat: NDArray[Any]) -> Matrix:
        """Return what values of rows (n, F) between the steps count for, (n, F); 0 for others."""
        errors = np.zeros(flat.shape)
        own = np.asarray(flat[:, self.columns], np.float64)
        errors[:, self.columns] = _ODD**2 * _between(own, self.starts, self.steps)
        return errors


def _between(values: Matrix, start: Any, step: Any) -> NDArray[np.bool_]:
    """Return which values are not whole steps away from the start."""
    away = (values - start) / step
    between: NDArray[np.bool_] = np.abs(away - np.round(away)) > _NEAR
    return between
