"""Batches of rows on a disk, shuffled by blocks so that it is read in long runs."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import ranks
from narrows.data.arrays import ArraySource, as_tensor, paired
from narrows.data.lazy import LazyRows
from narrows.data.source import Source
from narrows.data.stored import StoredRows

# Neighbours that stay together on the way into memory, fewer where a row alone is long.
_BLOCK, _BLOCK_BYTES = 64, 1 << 18
# Bytes of rows that are mixed with each other.
_MIXED = 1 << 26


class RowsBut:
    """The numbers of all rows but some, ascending, worked out when asked for.

    Parameters
    ----------
    n : int
        How many rows there are.
    others : ndarray of int
        Those that are left out, ascending.

    Examples
    --------
    >>> RowsBut(6, np.array([0, 3]))[np.arange(4)].tolist()
    [1, 2, 4, 5]
    """

    def __init__(self, n: int, others: NDArray[np.int64]) -> None:
        self._length = n - len(others)
        # How many rows stay before each that is left out.
        self._before = others - np.arange(len(others))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers at some places."""
        numbers: NDArray[np.int64] = places + np.searchsorted(self._before, places, side="right")
        return numbers


Numbers: TypeAlias = NDArray[np.int64] | RowsBut


def draw(n: int, count: int, seed: int) -> tuple[NDArray[np.int64], RowsBut]:
    """Draw some numbers below n, ascending, and return the others too: in memory for the few."""
    drawn = np.random.default_rng(seed).choice(n, count, replace=False, shuffle=False)
    drawn = np.sort(drawn)
    return drawn, RowsBut(n, drawn)


class BlockSource:
    """Rows that do not fit into memory, mixed well enough to learn from.

    Blocks of 64 neighbouring rows come in random order; as many as make 64 MiB are read together
    and mixed row by row. The order depends on the seed and the size of a batch alone, not on how
    many ranks share the batches.

    Parameters
    ----------
    values : LazyRows or ndarray of shape (n, ...)
        The rows.
    rows : ndarray of int, or RowsBut, optional
        Which rows belong to the source, ascending; all by default.
    partners : LazyRows or ndarray of shape (n, ...), optional
        A second row for each; batches are then pairs (B, 2, ...).
    mixed : int
        Bytes of rows that are mixed with each other; at least a batch is.
    """

    def __init__(
        self,
        values: LazyRows | NDArray[Any],
        rows: Numbers | None = None,
        partners: LazyRows | NDArray[Any] | None = None,
        *,
        mixed: int = _MIXED,
    ) -> None:
        self._values, self._rows, self._partners = values, rows, partners
        self._mixed = mixed
        self._width = math.prod(values.shape[1:]) * values.dtype.itemsize
        self._block = min(_BLOCK, max(1, _BLOCK_BYTES // self._width))
        self.sample_shape = tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self._values) if self._rows is None else len(self._rows)

    def batches(
        self, size: int, *, seed: int | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Tensor]:
        """Yield every row once; see :class:`narrows.data.source.Source`."""
        n_batches = -(-len(self) // size)
        # As torch's tensor_split parts rows among batches, and a batch among ranks.
        ends = np.cumsum(_parted(len(self), n_batches))
        together = max(1, self._mixed // (self._width * size))
        order = _Order(len(self), self._block, seed)
        windows = [_Window(rows) for rows in (self._values, self._partners) if rows is not None]
        for first in range(0, n_batches, together):
            stops = ends[first : first + together]
            start = int(ends[first - 1]) if first else 0
            mixed = order.between(start, int(stops[-1]))
            shares = []
            for batch in np.split(mixed, stops[:-1] - start):
                share_ends = np.cumsum(_parted(len(batch), world_size))
                share_start = int(share_ends[rank - 1]) if rank else 0
                shares.append(batch[share_start : int(share_ends[rank])])
            places = np.concatenate(shares)
            rows = places if self._rows is None else self._rows[places]
            for window in windows:
                window.move(rows)
            own = np.cumsum([0, *(len(share) for share in shares)]).tolist()
            for begin, end in pairwise(own):
                taken = [window.take(begin, end) for window in windows]
                yield taken[0] if len(taken) == 1 else paired(*taken)


class _Window:
    """Some rows at a time in memory, from which batches are taken."""

    def __init__(self, rows: LazyRows | NDArray[Any]) -> None:
        self._rows = rows
        self._room = np.empty((0, *rows.shape[1:]), rows.dtype)
        self._found, self._places = torch.empty(0), torch.empty(0, dtype=torch.int64)

    def move(self, rows: NDArray[np.int64]) -> None:
        """Put rows of these numbers into it."""
        if isinstance(self._rows, StoredRows):
            found, places = self._rows.gather(rows, self._room)
            self._room = found if len(found) > len(self._room) else self._room
        else:
            found, places = self._rows[rows], np.arange(len(rows))
        self._found, self._places = as_tensor(found), torch.from_numpy(places)

    def take(self, begin: int, end: int) -> Tensor:
        """Return a copy of some of the rows, counted as they were asked for."""
        return self._found.index_select(0, self._places[begin:end])


class _Order:
    """The numbers from 0 to n - 1, as they are or in blocks of random order."""

    def __init__(self, n: int, block: int, seed: int | None) -> None:
        self._n, self._block = n, block
        self._random = None if seed is None else np.random.default_rng(seed)
        if self._random is not None:
            self._blocks = self._random.permutation(-(-n // block))
            self._ends = np.cumsum(np.minimum(block, n - self._blocks * block))

    def between(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return those in some places, mixed with each other; to be called place after place."""
        if self._random is None:
            return np.arange(start, stop)
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right")
        mine = self._blocks[first : last + 1, None] * self._block + np.arange(self._block)
        numbers = mine[mine < self._n]
        begins = int(self._ends[first - 1]) if first else 0
        return self._random.permutation(numbers[start - begins : stop - begins])


def source_of(
    values: NDArray[Any] | LazyRows,
    rows: Numbers | None = None,
    partners: NDArray[Any] | LazyRows | None = None,
    *,
    in_blocks: bool = False,
) -> Source:
    """Give rows in batches: those on a disk in blocks, all others one by one unless wished so."""
    if in_blocks or is_stored(values, partners):
        return BlockSource(values, rows, partners)
    if isinstance(rows, RowsBut):
        rows = rows[np.arange(len(rows))]
    return ArraySource(values, rows, partners)


def numbers_of(
    rows: NDArray[Any] | LazyRows, numbers: NDArray[np.int64], *, in_blocks: bool
) -> Source:
    """Give the numbers of some rows in batches; in blocks, so that the rows are read in runs."""
    if not in_blocks:
        return ArraySource(numbers)
    together = max(1, _MIXED // (math.prod(rows.shape[1:]) * rows.dtype.itemsize))
    return BlockSource(numbers, mixed=together * numbers.itemsize)


def is_stored(*values: NDArray[Any] | LazyRows | None) -> bool:
    """Tell whether any of some rows are on a disk."""
    return any(isinstance(rows, StoredRows) for rows in values)


def anywhere_stored(*values: NDArray[Any] | LazyRows | None) -> bool:
    """Tell whether rows are on a disk for any of the processes that train together.

    Some may have the memory for what others leave there.
    """
    return ranks.total(int(is_stored(*values))) > 0


def _parted(n: int, parts: int) -> NDArray[np.int64]:
    """Part n rows: all parts alike, the first ones by a row larger."""
    return np.full(parts, n // parts) + (np.arange(parts) < n % parts)
