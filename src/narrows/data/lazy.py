"""Rows that are made when they are asked for, and look like an array until then."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values of rows that are made together.
_VALUES = 1 << 21


class LazyRows(ABC):
    """Rows of one shape that never stand in memory together.

    They have an array's length, shape and type; slices and arrays of row numbers give arrays. A
    model's ``fit``, and everything that it does with rows afterwards, takes them as it takes
    arrays, and reads as many at a time as it needs.

    Attributes
    ----------
    shape : tuple of int
        The number of rows, and the shape of one.
    dtype : dtype
        The type of their values.
    columns : list of str or None
        What the features of a table are called.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    columns: list[str] | None = None

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows of these numbers, from 0 to n - 1, as an array (len(rows), ...)."""

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"

    @property
    def ndim(self) -> int:
        """The number of dimensions, as an array has it."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """What they would take in memory."""
        return self.size * self.dtype.itemsize

    def passing(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield all rows, so many at a time; each array may be overwritten by the next."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @property
    def together(self) -> int:
        """How many to ask for at a time, where all are wanted."""
        return max(1, _VALUES // max(1, math.prod(self.shape[1:])))

    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return one row, some neighbouring rows, or the rows of some numbers."""
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        rows = np.asarray(index, np.int64)
        if rows.size and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise IndexError(f"there is no row {rows.min()} or {rows.max()} among {len(self)}")
        taken = self.take(np.atleast_1d(np.where(rows < 0, rows + len(self), rows)))
        return taken if rows.ndim else taken[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Put all rows into one array, for whoever has to have them so."""
        if copy is False:
            raise ValueError("rows that are made when asked for are always a copy")
        return self.take(np.arange(len(self))).astype(dtype or self.dtype, copy=False)


class MadeRows(LazyRows):
    """Rows that a function makes of others, some at a time.

    Parameters
    ----------
    rows : ndarray or LazyRows of shape (n, ...)
        The others.
    make : callable
        From some of them to as many rows.
    sample_shape : tuple of int
        Of one row that it makes.
    dtype : dtype
        Of what it makes.

    Examples
    --------
    >>> halves = MadeRows(np.arange(6).reshape(3, 2), lambda rows: rows / 2, (2,), np.float64)
    >>> len(halves), halves[-1].tolist()
    (3, [2.0, 2.5])
    """

    def __init__(
        self,
        rows: NDArray[Any] | LazyRows,
        make: Callable[[NDArray[Any]], NDArray[Any]],
        sample_shape: tuple[int, ...],
        dtype: Any,
    ) -> None:
        self._rows, self._make = rows, make
        self.shape, self.dtype = (len(rows), *sample_shape), np.dtype(dtype)

    @property
    def together(self) -> int:
        """How many to ask for at a time, where all are wanted."""
        return min(super().together, max(1, _VALUES // max(1, math.prod(self._rows.shape[1:]))))

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Make the rows of these numbers."""
        return self._make(self._rows[rows])


def in_blocks(values: NDArray[Any] | LazyRows) -> Iterator[NDArray[Any]]:
    """Yield rows some at a time, in order; those of an array all at once."""
    size = values.together if isinstance(values, LazyRows) else max(1, len(values))
    for start in range(0, len(values), size):
        yield values[start : start + size]
