"""Columns of a table that have few values, and the values that do not belong to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from narrows.data.column_encoder import ColumnEncoder

Matrix = NDArray[np.float64]

# A column is discrete if values that each have the first share of its rows make up the second.
_LEAST, _COVERED = 0.05, 0.9
# What a value between the steps counts for, and how close to a step others must be.
_ODD, _NEAR = 8.0, 1e-3
# Columns that were scaled are brought back to their units up to this share of their values.
_ROUNDING = 1e-12


class EncodedColumns(NamedTuple):
    """How each of the F columns of an encoded table was scaled, and where its gaps are marked.

    Attributes
    ----------
    means, scales : ndarray of shape (F,)
        What was subtracted from the values, and what they were then divided by.
    marks : ndarray of int and shape (F,)
        The column that is above zero where this one has a gap; -1 if there is none.
    """

    means: Matrix
    scales: Matrix
    marks: NDArray[np.int64]

    @classmethod
    def of(cls, encoder: ColumnEncoder) -> Self:
        """Return those of a table: the columns of an encoder, and then its marks."""
        width = encoder.n_features + len(encoder.marked)
        means, scales, marks = np.zeros(width), np.ones(width), np.full(width, -1)
        for i, place in enumerate(encoder.slices):
            means[place], scales[place] = encoder.scale_of(i)
        for number, i in enumerate(encoder.marked):
            marks[encoder.slices[i]] = encoder.n_features + number
        return cls(means, scales, marks)

    @classmethod
    def as_they_are(cls, width: int) -> Self:
        """Return those of a table of numbers."""
        return cls(np.zeros(width), np.ones(width), np.full(width, -1))


@dataclass(frozen=True)
class DiscreteColumns:
    """The steps between the values of discrete columns.

    Among zeros and ones, 0.5 is close to both, and yet hardly any row has it: distances do not find
    such values. The fewest values that make up nine tenths of the rows are the usual ones, if each
    has a twentieth of them. The step is the least difference between two of them, or 1 if they are
    integers in the units of the table. Values that are not whole steps away from them count as if
    they were restored with an error of 8 standard deviations, twice that at which columns are
    clipped. Gaps do not: their marks tell them.

    Attributes
    ----------
    columns : ndarray of int and shape (D,)
        The numbers of the columns.
    starts, steps : ndarray of shape (D,)
        The most usual value of each, and the step between its usual values.
    marks : ndarray of int and shape (D,)
        The column that is above zero where this one has a gap; -1 if there is none.
    """

    columns: NDArray[np.int64]
    starts: Matrix
    steps: Matrix
    marks: NDArray[np.int64]

    @classmethod
    def fit(cls, flat: NDArray[Any], encoded: EncodedColumns) -> Self:
        """Find those of a table (n, F)."""
        found = []
        for column, mark in enumerate(encoded.marks[: flat.shape[1]]):
            own = flat[:, column] if mark < 0 else flat[flat[:, mark] == 0, column]
            values, counts = np.unique(own, return_counts=True)
            order = np.argsort(-counts, kind="stable")
            count = int(np.searchsorted(counts[order].cumsum(), _COVERED * len(own))) + 1
            least = max(2.0, _LEAST * len(own))
            if count < 2 or counts[order[count - 1]] < least:
                continue
            usual = np.sort(values[order[:count]].astype(np.float64))
            start, step = float(values[order[0]]), float(np.diff(usual).min())
            mean, scale = float(encoded.means[column]), float(encoded.scales[column])
            step = 1 / scale if _are_whole(usual, mean, scale) else step
            if not _between(usual, start, step).any():
                found.append((column, start, step))
        columns, starts, steps = np.array(found).reshape(-1, 3).T
        columns = columns.astype(np.int64)
        return cls(columns, starts, steps, encoded.marks[columns])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is stored."""
        return {"discrete_columns": self.columns, "starts": self.starts, "steps": self.steps}

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]], encoded: EncodedColumns) -> Self:
        """Build them from what was stored.

        Raises
        ------
        ValueError
            If the arrays do not fit together, or name columns that the table lacks.
        """
        columns, starts, steps = arrays["discrete_columns"], arrays["starts"], arrays["steps"]
        known = np.isin(columns, np.arange(len(encoded.marks)))
        if not (columns.shape == starts.shape == steps.shape and known.all()):
            raise ValueError("the columns of few values are not those of the table")
        return cls(columns, starts, steps, encoded.marks[columns])

    def squared_errors(self, flat: NDArray[Any]) -> Matrix:
        """Return what values of rows (n, F) between the steps count for, (n, F); 0 for others."""
        errors = np.zeros(flat.shape)
        own = np.asarray(flat[:, self.columns], np.float64)
        are_gaps = (flat[:, self.marks] > 0) & (self.marks >= 0)
        errors[:, self.columns] = _ODD**2 * (_between(own, self.starts, self.steps) & ~are_gaps)
        return errors


def _are_whole(values: Matrix, mean: float, scale: float) -> bool:
    """Return whether all values are integers in the units of the table."""
    given = values * scale + mean
    tolerance = _ROUNDING * (np.abs(given) + abs(mean)) if mean else 0
    return bool((np.abs(given - np.round(given)) <= tolerance).all())


def _between(values: Matrix, start: Any, step: Any) -> NDArray[np.bool_]:
    """Return which values are not whole steps away from the start."""
    away = (values - start) / step
    between: NDArray[np.bool_] = np.abs(away - np.round(away)) > _NEAR
    return between
