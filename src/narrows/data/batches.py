"""Batches of rows for training, from arrays or in blocks from a disk, and sample weights.

A row of weight 2 counts as two equal rows of weight 1, and one of weight 0 as none. Weights are
scaled to a mean of 1 over the training rows, and over the held-out rows, so that a learning rate
suits rows with and without weights; their scale has no meaning.
"""

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import ranks
from narrows.data.arrays import TensorRows, as_rows, as_tensor
from narrows.data.lazy_rows import ComputedRows, LazyRows, SelectedRows, StoredRows
from narrows.errors import DataError, DataTypeError

# Neighbouring rows that are read together, fewer where rows are long.
_BLOCK, _BLOCK_BYTES = 64, 1 << 18

MIXED = 1 << 26
"""Bytes of rows that are shuffled together."""


@dataclass(frozen=True)
class Weighted:
    """The rows of a batch with their weights; it moves between devices as a tensor does.

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
        """The device of the rows."""
        return self.rows.device

    def pin_memory(self) -> Self:
        """Return the same batch in pinned memory."""
        return type(self)(self.rows.pin_memory(), self.weights.pin_memory())

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Return the same batch on a device."""
        moved = (t.to(device, non_blocking=non_blocking) for t in (self.rows, self.weights))
        return type(self)(*moved)


Batch: TypeAlias = Tensor | Weighted


def unit_means(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Average each unit over the rows of all processes of distributed training.

    Parameters
    ----------
    values : Tensor of shape (B, K)
    weights : Tensor of shape (B,), optional
        How much each row counts; all the same by default.

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
    """Validate the sample weights that a user gave, and scale them to at most 1.

    Parameters
    ----------
    sample_weight : array-like of shape (n_rows,), Tensor, number or None
        Weights of at least 0; a single number is the weight of all rows.
    n_rows : int
        Number of rows.

    Returns
    -------
    ndarray of shape (n_rows,), or None
        Weights, the largest of which is 1. None if all are equal.

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


RowWeights: TypeAlias = NDArray[np.float64] | None
"""How much each row counts, above 0; ``None`` if all count the same."""


def without_zero_weights(
    sample_weight: Any, *rows: Any, at_least: int = 2
) -> tuple[tuple[Any, ...], RowWeights]:
    """Leave out the rows of weight 0, and return the weights of the others.

    Parameters
    ----------
    sample_weight : object
        See :func:`check_weights`.
    *rows : ndarray or LazyRows of shape (n, ...)
        Rows, and further arrays with an entry for each row.
    at_least : int
        The fewest rows of positive weight.

    Returns
    -------
    rows : tuple
        The rows whose weight is not zero.
    weights : ndarray or None
        Their weights, above 0; None if all are equal.

    Raises
    ------
    DataError
        See :func:`check_weights`; also if fewer rows have a positive weight.
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
    distinct = None if (weights == weights[0]).all() else weights
    return tuple(_taken(values, kept) for values in rows), distinct


def _taken(values: Any, numbers: NDArray[np.int64]) -> Any:
    """Select rows of an array, or of lazy rows without reading them."""
    if isinstance(values, StoredRows):
        return SelectedRows(values, numbers)
    if not isinstance(values, LazyRows):
        return values[numbers]
    return ComputedRows(numbers, lambda block: values[block], values.shape[1:], values.dtype)


class Source(Protocol):
    """Rows of one shape that can be read in batches, in order or shuffled."""

    sample_shape: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of rows."""

    def batches(
        self, size: int, *, seed: int | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield every row once, in batches of at most ``size``, with weights where it has them.

        Parameters
        ----------
        size : int
            Rows per batch over all ranks; the sizes of batches differ by at most one row, so that
            no step is made of a small remainder.
        seed : int or None
            Random seed of the order. None keeps the order.
        rank, world_size : int
            Which share of every batch is yielded, and of how many.
        """


class ArraySource:
    """Rows of an array, taken by index without copying the whole.

    Parameters
    ----------
    values : ndarray or LazyRows of shape (n, ...)
        The rows, of any type that torch has.
    rows : ndarray of int, optional
        Numbers of the rows in the source; all by default.
    partners : ndarray or LazyRows of shape (n, ...), optional
        A second row for each; batches are then pairs (B, 2, ...).
    weights : ndarray of shape (n,), optional
        Weights of the rows; batches are then :class:`Weighted`.
    """

    def __init__(
        self,
        values: NDArray[Any] | LazyRows,
        rows: NDArray[np.int64] | None = None,
        partners: NDArray[Any] | LazyRows | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        self._values = as_rows(values)
        self._weights = None if weights is None else torch.from_numpy(weights)
        self._partners = None if partners is None else as_rows(partners)
        self._rows = None if rows is None else torch.from_numpy(rows)
        self._device = torch.device("cpu")
        self.sample_shape = tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self._values if self._rows is None else self._rows)

    @property
    def n_bytes(self) -> float:
        """The bytes of all rows in memory; infinity if they are lazy."""
        kept = [rows for rows in (self._values, self._partners) if rows is not None]
        return sum(rows.nbytes if isinstance(rows, Tensor) else math.inf for rows in kept)

    def to(self, device: torch.device) -> Self:
        """Return the same source with those of its rows that are in memory on a device."""
        moved = copy(self)
        moved._device = device
        for name in ("_values", "_partners", "_weights"):
            if isinstance(rows := getattr(self, name), Tensor):
                on_device = rows.to(device)
                # Only CPUs index unsigned 16-bit tensors.
                widened = rows.dtype == torch.uint16 and device.type != "cpu"
                setattr(moved, name, on_device.to(torch.int32) if widened else on_device)
        return moved

    def batches(
        self, size: int, *, seed: int | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield every row once; see :class:`narrows.data.batches.Source`."""
        if seed is None:
            order = torch.arange(len(self))
        else:
            order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        if self._rows is not None:
            order = self._rows[order]
        order = order.to(self._device)
        n_batches = -(-len(self) // size)
        for batch in order.tensor_split(n_batches):
            share = batch if world_size == 1 else batch.tensor_split(world_size)[rank]
            taken = _take(self._values, share)
            if self._partners is not None:
                taken = paired(taken, _take(self._partners, share))
            if self._weights is None:
                yield taken
            else:
                yield Weighted(taken, _take(self._weights, share))


def paired(rows: Tensor, partners: Tensor) -> Tensor:
    """Stack two batches (B, ...) to (B, 2, ...)."""
    rows, partners = (x.int() if x.dtype == torch.uint16 else x for x in (rows, partners))
    kind = torch.promote_types(rows.dtype, partners.dtype)
    return torch.stack([rows.to(kind), partners.to(kind)], dim=1)


def _take(rows: TensorRows, index: Tensor) -> Tensor:
    # index_select copies whole rows, where indexing computes the place of every value.
    return rows.index_select(0, index) if isinstance(rows, Tensor) else rows[index]


class AllRowsExcept:
    """The numbers of all rows but some, ascending, computed on access.

    Parameters
    ----------
    n : int
        Number of rows.
    others : ndarray of int
        Numbers of the rows that are left out, ascending.

    Examples
    --------
    >>> AllRowsExcept(6, np.array([0, 3]))[np.arange(4)].tolist()
    [1, 2, 4, 5]
    """

    def __init__(self, n: int, others: NDArray[np.int64]) -> None:
        self._length = n - len(others)
        # The number of kept rows before each row that is left out.
        self._before = others - np.arange(len(others))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers at these places."""
        numbers: NDArray[np.int64] = places + np.searchsorted(self._before, places, side="right")
        return numbers


Numbers: TypeAlias = NDArray[np.int64] | AllRowsExcept


def draw(n: int, count: int, seed: int) -> tuple[NDArray[np.int64], AllRowsExcept]:
    """Draw ``count`` row numbers below n, ascending; return them, and the others lazily."""
    drawn = np.random.default_rng(seed).choice(n, count, replace=False, shuffle=False)
    drawn = np.sort(drawn)
    return drawn, AllRowsExcept(n, drawn)


class BlockSource:
    """Batches of rows that do not fit into memory, shuffled well enough to learn from.

    Blocks of 64 neighbouring rows are read in random order, and 64 MiB of blocks at a time are
    shuffled row by row. The order depends on the random seed and the batch size alone, not on the
    number of ranks that share the batches.

    Parameters
    ----------
    values : LazyRows or ndarray of shape (n, ...)
        The rows.
    rows : ndarray of int, or AllRowsExcept, optional
        Numbers of the rows in the source, ascending; all by default.
    partners : LazyRows or ndarray of shape (n, ...), optional
        A second row for each; batches are then pairs (B, 2, ...).
    weights : ndarray of shape (n,), optional
        Weights of the rows; batches are then :class:`Weighted`.
    mixed : int
        Bytes of rows that are shuffled together; at least one batch is.
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
        """Yield every row once; see :class:`narrows.data.batches.Source`."""
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
    """The numbers from 0 to n - 1, ascending or in blocks of random order.

    Attributes
    ----------
    n : int
        How many numbers there are.
    block : int
        Neighbouring numbers in a block.
    seed : int or None
        Random seed of the order; None for ascending numbers.
    """

    n: int
    block: int
    seed: int | None

    def between(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers at the places from ``start`` to ``stop``, shuffled."""
        if self.seed is None:
            return np.arange(start, stop)
        blocks, ends = _blocks(self.n, self.block, self.seed)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        mine = blocks[first : last + 1, None] * self.block + np.arange(self.block)
        numbers = mine[mine < self.n]
        begins = int(ends[first - 1]) if first else 0
        # The seed does not depend on the windows before, so that any can be computed alone.
        random = np.random.default_rng([self.seed, start])
        return random.permutation(numbers[start - begins : stop - begins])


@lru_cache(maxsize=1)
def _blocks(n: int, block: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the blocks in random order, and the place after the end of each."""
    blocks = np.random.default_rng(seed).permutation(-(-n // block))
    return blocks, np.cumsum(np.minimum(block, n - blocks * block))


@dataclass(frozen=True)
class _Windows:
    """The windows of rows that a rank reads, each read and shuffled as a whole.

    A window depends on its number alone, so that any process can read any window.

    Attributes
    ----------
    order : _Order
        The order of the rows.
    numbers : ndarray of int, or AllRowsExcept, or None
        The rows that are selected; None for all.
    size : int
        Rows per batch.
    together : int
        Batches per window.
    rank, world_size : int
        The rank whose share is read, and the number of ranks.
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
        """Return the numbers of a window's rows, batch after batch."""
        ends = self._batches(number)
        mixed = self.order.between(int(ends[0]), int(ends[-1]))
        shares = [
            batch[slice(*self._share(len(batch)))]
            for batch in np.split(mixed, ends[1:-1] - ends[0])
        ]
        places = np.concatenate(shares)
        return places if self.numbers is None else self.numbers[places]

    def ends(self, number: int) -> NDArray[np.int64]:
        """Return the places between this rank's shares of the batches in a window, from 0 on."""
        shares = [self._share(count) for count in np.diff(self._batches(number)).tolist()]
        return np.cumsum([0, *(stop - start for start, stop in shares)])

    @property
    def _n_batches(self) -> int:
        return -(-self.order.n // self.size)

    def _batches(self, number: int) -> NDArray[np.int64]:
        """Return the places between the batches of a window, in the order of all rows."""
        # torch.tensor_split distributes rows over batches, and batches over ranks, in this way.
        last = min((number + 1) * self.together, self._n_batches)
        return _ends(self.order.n, self._n_batches, np.arange(number * self.together, last + 1))

    def _share(self, count: int) -> tuple[int, int]:
        start, stop = _ends(count, self.world_size, np.array([self.rank, self.rank + 1])).tolist()
        return start, stop


def _streamed(
    rows: LazyRows | NDArray[Any], windows: _Windows
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Read window after window; yield what was read, and the places of the wanted rows in it."""
    if isinstance(rows, StoredRows):
        return rows.read_windows(len(windows), windows.rows_in)
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
    """Make the source of batches for rows: by blocks if they are on a disk, or ``in_blocks``.

    Weights (n,) are scaled to a mean of 1 over the selected rows.
    """
    in_blocks = in_blocks or is_stored(values, partners)
    if in_blocks and weights is None:
        return BlockSource(values, rows, partners)
    if isinstance(rows, AllRowsExcept):
        rows = rows[np.arange(len(rows))]
    if weights is not None:
        selected = weights if rows is None else weights[rows]
        weights = (weights / selected.mean()).astype(np.float32)
    if in_blocks:
        return BlockSource(values, rows, partners, weights)
    return ArraySource(values, rows, partners, weights)


def picked(values: NDArray[Any] | LazyRows, numbers: Numbers) -> LazyRows:
    """Return a lazy selection of rows."""
    if isinstance(values, StoredRows):
        return SelectedRows(values, numbers)
    of_them = np.arange(len(numbers)) if isinstance(numbers, AllRowsExcept) else numbers
    make = (
        (lambda places: values[numbers[places]])
        if isinstance(numbers, AllRowsExcept)
        else (lambda chosen: values[chosen])
    )
    return ComputedRows(of_them, make, values.shape[1:], values.dtype)


def evenly_spread(n_rows: int, most: int) -> NDArray[np.int64]:
    """Return the numbers of at most ``most`` of the rows, ascending, from the first to the last.

    Examples
    --------
    >>> evenly_spread(10, 4).tolist(), evenly_spread(3, 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, most)).astype(np.int64))


def numbers_of(
    rows: NDArray[Any] | LazyRows, numbers: NDArray[np.int64], *, in_blocks: bool
) -> Source:
    """Make a source of the rows' numbers, by blocks if the rows shall be read in runs."""
    if not in_blocks:
        return ArraySource(numbers)
    together = max(1, MIXED // (math.prod(rows.shape[1:]) * rows.dtype.itemsize))
    return BlockSource(numbers, mixed=together * numbers.itemsize)


def is_stored(*values: NDArray[Any] | LazyRows | None) -> bool:
    """Return whether any of these rows are on a disk."""
    return any(isinstance(rows, StoredRows) for rows in values)


def anywhere_stored(*values: NDArray[Any] | LazyRows | None) -> bool:
    """Return whether rows are on a disk in any process of distributed training.

    Some processes may have the memory for rows that others leave on the disk.
    """
    return ranks.total(int(is_stored(*values))) > 0


def _ends(n: int, parts: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first rows of some parts of n rows; the first parts are larger by a row."""
    return numbers * (n // parts) + np.minimum(numbers, n % parts)
