"""How much each row counts: weights from the user to the means that training makes small.

A row of weight 2 counts as two equal rows of weight 1, and one of weight 0 as none. So that a
learning rate suits rows with weights and without, weights are brought to a mean of 1 over the rows
that are learned from, and over those held out; their scale has no meaning.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import ranks
from narrows.data.disk_rows import PickedRows, StoredRows
from narrows.data.lazy import LazyRows, MadeRows
from narrows.errors import DataError, DataTypeError


@dataclass(frozen=True)
class Weighted:
    """Rows of a batch, and how much each of them counts.

    It moves between devices as a tensor does.

    Attributes
    ----------
    rows : Tensor of shape (B, ...)
    weights : Tensor of shape (B,)
        At least 0; over all rows of the source their mean is 1.
    """

    rows: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.rows.device

    def pin_memory(self) -> Self:
        """Return the same in memory from which a GPU copies by itself."""
        return type(self)(self.rows.pin_memory(), self.weights.pin_memory())

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Return the same on a device."""
        moved = (t.to(device, non_blocking=non_blocking) for t in (self.rows, self.weights))
        return type(self)(*moved)


def parted(batch: Tensor | Weighted) -> tuple[Tensor, Tensor | None]:
    """Return the rows of a batch, and their weights if they have any."""
    return (batch.rows, batch.weights) if isinstance(batch, Weighted) else (batch, None)


def row_mean(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average one number a row, each multiplied by its row's weight.

    The sum is divided by the number of rows, not by that of the weights: their mean is 1 over all
    rows that are learned from, so that the steps of an epoch together have the gradient of the
    weighted loss, whatever the weights of a single batch add up to.

    Parameters
    ----------
    values : Tensor of shape (..., B), or (..., 1) where all rows have the same
    weights : Tensor of shape (B,), optional
        How much each row counts; all the same by default.

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> row_mean(torch.tensor([1.0, 4.0]), torch.tensor([0.5, 1.5]))
    tensor(3.2500)
    """
    return values.mean() if weights is None else (values * weights).mean()


def unit_means(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average the numbers of each unit over the rows of all processes that train together.

    Parameters
    ----------
    values : Tensor of shape (B, K)
    weights : Tensor of shape (B,), optional
        As of :func:`row_mean`.

    Returns
    -------
    Tensor of shape (K,)

    Examples
    --------
    >>> unit_means(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([0.5, 1.5]))
    tensor([2.5000, 2.0000])
    """
    counted = values if weights is None else values * weights[:, None]
    return ranks.add(counted.sum(0)) / ranks.total(len(values))


def check_weights(sample_weight: Any, n_rows: int) -> NDArray[np.float64] | None:
    """Turn what a user gave as weights of rows into numbers from 0 to 1.

    Parameters
    ----------
    sample_weight : array-like of shape (n_rows,), Tensor, number or None
        At least 0; a single number counts for all rows.
    n_rows : int
        How many rows there are.

    Returns
    -------
    ndarray of shape (n_rows,), or None
        The largest is 1. ``None`` if all rows count the same.

    Raises
    ------
    DataError, DataTypeError
        If there is not one finite number of at least 0 for each row, or all are zero.

    Examples
    --------
    >>> check_weights([2, 0, 4], 3).tolist()
    [0.5, 0.0, 1.0]
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Tensor):
        sample_weight = sample_weight.numpy(force=True)
    try:
        weights = np.asarray(sample_weight).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataTypeError(
            f"sample_weight={repr(sample_weight)[:40]} holds something else than numbers "
            f"({str(error).splitlines()[0][:80]}); give one number for each of the {n_rows} rows"
        ) from error
    if weights.shape not in ((), (n_rows,)):
        raise DataError(
            f"sample_weight has shape {weights.shape}, and there are {n_rows} rows; give one "
            f"number for each row, of shape ({n_rows},)"
        )
    weights = np.broadcast_to(weights, n_rows)
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise DataError(
            f"sample_weight is {weights[wrong[0]]:g} in row {wrong[0]}, counted from 0 "
            f"({len(wrong)} such weights); weights are finite numbers of at least 0; give 0 to "
            "leave a row out"
        )
    if not weights.any():
        raise DataError(
            f"all {n_rows} weights in sample_weight are zero, which leaves no row to learn from; "
            "give some rows a weight above 0, or leave sample_weight out"
        )
    return None if (weights == weights[0]).all() else weights / weights.max()


def counted(
    sample_weight: Any, *rows: Any, at_least: int = 2
) -> tuple[tuple[Any, ...], NDArray[np.float64] | None]:
    """Leave out the rows that count nothing, and tell how much the others count.

    Parameters
    ----------
    sample_weight : object
        As of :func:`check_weights`.
    *rows : ndarray or LazyRows of shape (n, ...)
        Rows, and what belongs to each of them.
    at_least : int
        How many rows have to stay.

    Returns
    -------
    rows : tuple
        Those whose weight is not zero.
    weights : ndarray or None
        Of these, above 0; ``None`` if all count the same.

    Raises
    ------
    DataError
        As :func:`check_weights`, or if fewer rows stay.
    """
    n_rows = len(rows[0])
    weights = check_weights(sample_weight, n_rows)
    if weights is None or weights.all():
        return rows, weights
    kept = np.flatnonzero(weights)
    if len(kept) < at_least:
        raise DataError(
            f"sample_weight is above zero for {len(kept)} of {n_rows} rows, and at least "
            f"{at_least} are needed; give more rows a weight above 0"
        )
    weights = weights[kept]
    own = None if (weights == weights[0]).all() else weights
    return tuple(_taken(some, kept) for some in rows), own


def _taken(values: Any, numbers: NDArray[np.int64]) -> Any:
    """Return some rows of an array, or of rows that stay where they are."""
    if isinstance(values, StoredRows):
        return PickedRows(values, numbers)
    if not isinstance(values, LazyRows):
        return values[numbers]
    return MadeRows(numbers, lambda some: values[some], values.shape[1:], values.dtype)
