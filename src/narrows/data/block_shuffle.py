"""Batches of rows on a disk, shuffled by blocks so that it is read in long runs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import ranks
from narrows.data.arrays import ArraySource, as_tensor, paired
from narrows.data.disk_rows import PickedRows, StoredRows
from narrows.data.lazy import LazyRows, MadeRows
from narrows.data.source import Batch, Source
from narrows.data.weights import Weighted

# Neighbours that stay together on the way into memory, fewer where a row alone is long.
_BLOCK, _BLOCK_BYTES = 64, 1 << 18
MIXED = 1 << 26
"""Bytes of rows that are mixed with each other."""


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
    weights : ndarray of shape (n,), optional
        How much each row counts; batches are then :class:`narrows.data.source.Weighted`.
    mixed : int
        Bytes of rows that are mixed with each other; at least a batch is.
    """

    def __init__(
        self,
        values: LazyRows | NDArray[Any],
        rows: Numbers | None = None,
        partners: LazyRows | NDArray[Any] | None = None,
        weights: NDArray[np.float32] | None = None,
        *,
        mixed: int = MIXED,
    ) -> None:
        self._values, self._rows, self._partners = values, rows, partners
        self._weights = weights
        self._mixed = mixed
        self._width = math.prod(values.shape[1:]) * values.dtype.itemsize
        self._block = min(_BLOCK, max(1, _BLOCK_BYTES // self._width))
        self.sample_shape = tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self._values) if self._rows is None else len(self._rows)

    def batches(
        self, size: int, *, seed: int | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield every row once; see :class:`narrows.data.source.Source`."""
        together = max(1, self._mixed // (self._width * size))
        order = _Order(len(self), self._block, seed)
        windows = _Windows(order, self._rows, size, together, rank, world_size)
        kept = (self._values, self._partners, self._weights)
        read = [_streamed(rows, windows) for rows in kept if rows is not None]
        for number, parts in enumerate(zip(*read, strict=True)):
            found = [(as_tensor(rows), torch.from_numpy(places)) for rows, places in parts]
            for begin, end in pairwise(windows.ends(number).tolist()):
                taken = [rows.index_select(0, places[begin:end]) for rows, places in found]
                weights = None if self._weights is None else taken.pop()
                rows = taken[0] if len(taken) == 1 else paired(*taken)
                yield rows if weights is None else Weighted(rows, weights)


@dataclass(frozen=True)
class _Order:
    """The numbers from 0 to n - 1, as they are or in blocks of random order.

    Attributes
    ----------
    n : int
        How many.
    block : int
        How many neighbours stay together.
    seed : int or None
        Of the random order.
    """

    n: int
    block: int
    seed: int | None

    def between(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return those in some places, mixed with each other."""
        if self.seed is None:
            return np.arange(start, stop)
        blocks, ends = _blocks(self.n, self.block, self.seed)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        mine = blocks[first : last + 1, None] * self.block + np.arange(self.block)
        numbers = mine[mine < self.n]
        begins = int(ends[first - 1]) if first else 0
        # Whoever mixes these needs nothing of what came before.
        random = np.random.default_rng([self.seed, start])
        return random.permutation(numbers[start - begins : stop - begins])


@lru_cache(maxsize=1)
def _blocks(n: int, block: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put blocks into a random order; return them, and before which place each ends."""
    blocks = np.random.default_rng(seed).permutation(-(-n // block))
    return blocks, np.cumsum(np.minimum(block, n - blocks * block))


@dataclass(frozen=True)
class _Windows:
    """The numbers of the rows that one rank reads together, window after window.

    Each is worked out from its number alone, so that any process can read any of them.

    Attributes
    ----------
    order : _Order
        Of the rows.
    numbers : ndarray of int, or RowsBut, or None
        Of the rows, if not those in the order.
    size : int
        Of a batch.
    together : int
        Batches that are read together.
    rank, world_size : int
        Whose share of them.
    """

    order: _Order
    numbers: Numbers | None
    size: int
    together: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        return math.ceil(self._n_batches / self.together)

    def rows_in(self, number: int) -> NDArray[np.int64]:
        """Return the numbers of the rows in a window, batch after batch."""
        ends = self._batches(number)
        mixed = self.order.between(int(ends[0]), int(ends[-1]))
        shares = [
            batch[slice(*self._share(len(batch)))]
            for batch in np.split(mixed, ends[1:-1] - ends[0])
        ]
        places = np.concatenate(shares)
        return places if self.numbers is None else self.numbers[places]

    def ends(self, number: int) -> NDArray[np.int64]:
        """Return where in a window this rank's share of each batch ends, from 0 on."""
        shares = [self._share(count) for count in np.diff(self._batches(number)).tolist()]
        return np.cumsum([0, *(stop - start for start, stop in shares)])

    @property
    def _n_batches(self) -> int:
        return -(-self.order.n // self.size)

    def _batches(self, number: int) -> NDArray[np.int64]:
        """Return the places between the batches of a window, in the order of all rows."""
        # As torch's tensor_split parts rows among batches, and a batch among ranks.
        last = min((number + 1) * self.together, self._n_batches)
        return _ends(self.order.n, self._n_batches, np.arange(number * self.together, last + 1))

    def _share(self, count: int) -> tuple[int, int]:
        start, stop = _ends(count, self.world_size, np.array([self.rank, self.rank + 1])).tolist()
        return start, stop


def _streamed(
    rows: LazyRows | NDArray[Any], windows: _Windows
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Read window after window; yield what was read, and where in it are the rows wanted."""
    if isinstance(rows, StoredRows):
        return rows.streamed(len(windows), windows.rows_in)
    wanted = map(windows.rows_in, range(len(windows)))
    return ((rows[numbers], np.arange(len(numbers))) for numbers in wanted)


def source_of(
    values: NDArray[Any] | LazyRows,
    rows: Numbers | None = None,
    partners: NDArray[Any] | LazyRows | None = None,
    weights: NDArray[Any] | None = None,
    *,
    in_blocks: bool = False,
) -> Source:
    """Give rows in batches: those on a disk in blocks, all others one by one unless wished so.

    Weights (n,) are brought to a mean of 1 over the rows that are given.
    """
    in_blocks = in_blocks or is_stored(values, partners)
    if in_blocks and weights is None:
        return BlockSource(values, rows, partners)
    if isinstance(rows, RowsBut):
        rows = rows[np.arange(len(rows))]
    if weights is not None:
        own = weights if rows is None else weights[rows]
        weights = (weights / own.mean()).astype(np.float32)
    if in_blocks:
        return BlockSource(values, rows, partners, weights)
    return ArraySource(values, rows, partners, weights)


def picked(values: NDArray[Any] | LazyRows, numbers: Numbers) -> LazyRows:
    """Return some of the rows, which are taken out of the others when asked for."""
    if isinstance(values, StoredRows):
        return PickedRows(values, numbers)
    of_them = np.arange(len(numbers)) if isinstance(numbers, RowsBut) else numbers
    make = (
        (lambda places: values[numbers[places]])
        if isinstance(numbers, RowsBut)
        else (lambda chosen: values[chosen])
    )
    return MadeRows(of_them, make, values.shape[1:], values.dtype)


def numbers_of(
    rows: NDArray[Any] | LazyRows, numbers: NDArray[np.int64], *, in_blocks: bool
) -> Source:
    """Give the numbers of some rows in batches; in blocks, so that the rows are read in runs."""
    if not in_blocks:
        return ArraySource(numbers)
    together = max(1, MIXED // (math.prod(rows.shape[1:]) * rows.dtype.itemsize))
    return BlockSource(numbers, mixed=together * numbers.itemsize)


def is_stored(*values: NDArray[Any] | LazyRows | None) -> bool:
    """Tell whether any of some rows are on a disk."""
    return any(isinstance(rows, StoredRows) for rows in values)


def anywhere_stored(*values: NDArray[Any] | LazyRows | None) -> bool:
    """Tell whether rows are on a disk for any of the processes that train together.

    Some may have the memory for what others leave there.
    """
    return ranks.total(int(is_stored(*values))) > 0


def _ends(n: int, parts: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where some of the parts of n rows begin: all alike, the first larger by a row."""
    return numbers * (n // parts) + np.minimum(numbers, n % parts)
