"""Lazy rows, which look like an array and are read or computed on access.

They come from files, which are read in runs of neighbouring rows, or from a function. Intermediate
results that do not fit into memory go to unlinked temporary files.
"""

import math
import mmap
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from math import prod
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from narrows.containment import fits
from narrows.errors import DataError, OutputError, UnreadableFileError

# Values that are computed at a time.
_VALUES = 1 << 21

SMALL = 1 << 26
"""Rows of at most so many bytes are read into memory, where they are shuffled as a whole."""

_GAP = 8  # unwanted rows between two wanted ones that one read includes
# Bytes that are allocated without a look at the free memory.
_LITTLE = 1 << 26


class LazyRows(ABC):
    """Rows of one shape, of which only some are in memory at a time.

    They have the length, shape and type of an array; slices and arrays of row numbers give arrays.
    Models take them wherever they take arrays, and read as many rows at a time as they need.

    Attributes
    ----------
    shape : tuple of int
        The number of rows, and the shape of one.
    dtype : dtype
        The type of their values.
    columns : list of str or None
        Names of a table's columns.
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
        """The bytes that all rows would take in memory."""
        return self.size * self.dtype.itemsize

    def blocks(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield all rows, ``size`` at a time; each array may be overwritten by the next."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @property
    def block_size(self) -> int:
        """The number of rows to read at a time when all rows are read."""
        return max(1, _VALUES // max(1, math.prod(self.shape[1:])))

    def __getitem__(self, index: int | slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return one row, a slice of rows, or the rows with these numbers."""
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        rows = np.asarray(index, np.int64)
        if rows.size and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise IndexError(f"there is no row {rows.min()} or {rows.max()} among {len(self)}")
        taken = self.take(np.atleast_1d(np.where(rows < 0, rows + len(self), rows)))
        return taken if rows.ndim else taken[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all rows into one array."""
        if copy is False:
            raise ValueError("lazy rows are always copied; give copy=None or True")
        return self.take(np.arange(len(self))).astype(dtype or self.dtype, copy=False)


AnyRows: TypeAlias = NDArray[Any] | LazyRows
"""Rows in an array, or rows that are read or made when they are asked for."""


class ComputedRows(LazyRows):
    """Rows that a function computes from other rows, some at a time.

    Parameters
    ----------
    rows : ndarray or LazyRows of shape (n, ...)
        The other rows.
    make : callable
        Takes some of them, and returns as many rows.
    sample_shape : tuple of int
        Shape of one row that ``make`` returns.
    dtype : dtype
        Type of the values that ``make`` returns.

    Examples
    --------
    >>> halves = ComputedRows(np.arange(6).reshape(3, 2), lambda rows: rows / 2, (2,), np.float64)
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
    def block_size(self) -> int:
        """The number of rows to read at a time when all rows are read."""
        return min(super().block_size, max(1, _VALUES // max(1, math.prod(self._rows.shape[1:]))))

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Compute the rows with these numbers."""
        return self._make(self._rows[rows])


def in_blocks(values: NDArray[Any] | LazyRows) -> Iterator[NDArray[Any]]:
    """Yield blocks of rows in order; an array is one block."""
    size = values.block_size if isinstance(values, LazyRows) else max(1, len(values))
    for start in range(0, len(values), size):
        yield values[start : start + size]


def strided(rows: Any, most: int) -> Any:
    """Return a slice of at most ``most`` of the rows, from the first on with equal steps.

    Examples
    --------
    >>> strided(range(10), 4), strided(range(3), 4)
    (range(0, 10, 3), range(0, 3))
    """
    return rows[:: max(1, -(-len(rows) // most))]


class StoredRows(LazyRows):
    """Rows on a disk. Subclasses say how runs of neighbouring rows are read."""

    def reshaped(self, shape: tuple[int, ...]) -> Self:
        """Return the same values as rows of another shape."""
        other = copy(self)
        other.shape = shape
        return other

    def stamp(self) -> object:
        """Return a value that differs once the rows have changed; None if that is not known."""
        return None

    @abstractmethod
    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows one after another into an array.

        ``runs`` has the shape (R, 2): the first row of each run, and the row after its last.
        """

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows with these numbers; neighbours on the disk are read together."""
        found, places = self.gather(rows, np.empty((0, *self.shape[1:]), self.dtype))
        in_order = len(places) == len(found) and bool((places == np.arange(len(places))).all())
        return found if in_order else found.take(places, axis=0)

    def read_windows(
        self, count: int, window: Callable[[int], NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Read the rows of several windows, one window after another.

        Parameters
        ----------
        count : int
            Number of windows.
        window : callable
            Takes the number of a window, and returns the numbers of the rows in it.

        Yields
        ------
        found, places
            See :meth:`gather`; overwritten by the next window.
        """
        room = np.empty((0, *self.shape[1:]), self.dtype)
        for number in range(count):
            found, places = self.gather(window(number), room)
            room = found if len(found) > len(room) else room
            yield found, places

    def blocks(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield all rows, ``size`` at a time; each array is overwritten by the next."""
        room = np.empty((min(size, len(self)), *self.shape[1:]), self.dtype)
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            self.read(np.array([[start, stop]]), room[: stop - start])
            yield room[: stop - start]

    def gather(
        self, rows: NDArray[np.int64], room: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the rows with these numbers in the order in which they are on the disk.

        Parameters
        ----------
        rows : ndarray of int
            Numbers of the rows.
        room : ndarray of shape (m, ...)
            Memory for the rows, used if it is large enough, so that none need be allocated.

        Returns
        -------
        found : ndarray of shape (l, ...)
            The rows that were read, which include a few others between them.
        places : ndarray of int, of the shape of rows
            The place of each row in ``found``.
        """
        if not len(rows):
            return np.empty((0, *self.shape[1:]), self.dtype), rows
        order = np.argsort(rows, kind="stable")
        ascending = rows[order]
        first = np.flatnonzero(np.diff(ascending, prepend=ascending[0] - _GAP - 1) > _GAP)
        begin, end = ascending[first], ascending[np.append(first[1:], len(rows)) - 1] + 1
        offsets = np.cumsum(end - begin) - (end - begin)
        places = np.empty_like(order)
        places[order] = ascending + np.repeat(offsets - begin, np.diff(np.append(first, len(rows))))
        count = int((end - begin).sum())
        room = room if len(room) >= count else np.empty((count, *self.shape[1:]), self.dtype)
        self.read(np.stack([begin, end], 1), room[:count])
        return room[:count], places


class FileRows(StoredRows):
    """Rows of an array in a file, which is opened only while it is read.

    Parameters
    ----------
    path : Path
        The file.
    offset : int
        Byte at which the rows begin.
    shape, dtype
        Those of the whole array.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.offset = offset
        with self._open() as file:
            self._stamp = _stamp(file)

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows.

        Raises
        ------
        DataError
            If the file has changed.
        """
        if not into.size:
            return
        with self._open() as file:
            self._check(file)
            try:
                is_whole = read_runs(file.fileno(), self.offset, runs, into)
            except OSError as error:
                raise self._unreadable(error) from error
            if not is_whole:
                raise self._changed()
            self._check(file)

    def stamp(self) -> object:
        """Return the size of the file, and the time of its last change."""
        return self._stamp[2:]

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise self._unreadable(error) from error

    def _check(self, file: BinaryIO) -> None:
        if _stamp(file) != self._stamp:
            raise self._changed()

    def _unreadable(self, error: OSError) -> UnreadableFileError:
        return UnreadableFileError(
            f"'{self.path}' can no longer be read: {error.strerror}; put it back, and begin again",
            path=self.path,
        )

    def _changed(self) -> DataError:
        return DataError(
            f"'{self.path}' was changed while it was read; leave it alone until this has ended, "
            "and begin again",
            path=self.path,
        )


class ConcatenatedRows(StoredRows):
    """Rows of several files, one file after another.

    Parameters
    ----------
    parts : sequence of StoredRows
        The files' rows, of the same shape and type.
    """

    def __init__(self, parts: Sequence[StoredRows]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])
        self.dtype = parts[0].dtype

    def stamp(self) -> object:
        """Return the stamps of the files, if all have one."""
        stamps = [part.stamp() for part in self._parts]
        return None if None in stamps else stamps

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows, which may go on from one file to the next."""
        filled = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            start = end - len(part)
            mine = np.clip(runs - start, 0, len(part))
            mine = mine[mine[:, 0] < mine[:, 1]]
            count = int((mine[:, 1] - mine[:, 0]).sum())
            if count:
                part.read(mine, into[filled : filled + count])
            filled += count


class MappedRows(StoredRows):
    """Rows on a disk, each changed by a function when it is read.

    Parameters
    ----------
    rows : StoredRows
        The rows on the disk.
    function : callable
        Takes an array of them, and returns one of the same shape.
    """

    def __init__(self, rows: StoredRows, function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._rows, self._function = rows, function
        self.shape, self.columns = rows.shape, rows.columns
        self.dtype = function(np.zeros((1, *rows.shape[1:]), rows.dtype)).dtype

    def stamp(self) -> object:
        """Return the stamp of the rows on the disk."""
        return self._rows.stamp()

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        given = np.empty((len(into), *self._rows.shape[1:]), self._rows.dtype)
        self._rows.read(runs, given)
        into[...] = self._function(given).reshape(into.shape)


class SelectedRows(StoredRows):
    """A selection of the rows on a disk.

    Parameters
    ----------
    rows : StoredRows
        All rows.
    numbers : ndarray of int, or AllRowsExcept
        Numbers of the selected rows, ascending.
    """

    def __init__(self, rows: StoredRows, numbers: Any) -> None:
        self._rows, self._numbers = rows, numbers
        self.shape, self.dtype = (len(numbers), *rows.shape[1:]), rows.dtype

    def stamp(self) -> object:
        """Return the stamp of all rows."""
        return self._rows.stamp()

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        places = np.concatenate([np.arange(begin, end) for begin, end in runs])
        into[...] = self._rows.take(self._numbers[places]).reshape(into.shape)


def read_runs(handle: int, offset: int, runs: NDArray[np.int64], into: NDArray[Any]) -> bool:
    """Read runs of rows of an array at a byte offset of a file; False if the file is too short."""
    room = into.reshape(-1).view(np.uint8).data
    filled = 0
    for begin, end in (runs * into[0].nbytes).tolist():
        done = begin
        while done < end:
            count = os.preadv(handle, [room[filled : filled + end - done]], offset + done)
            if not count:
                return False
            done, filled = done + count, filled + count
    return True


def stored(values: Any) -> Any:
    """Turn a large memory-mapped array into rows that are read from its file.

    Mapped pages fill the memory, and a mapped file that shrinks ends the process (SIGBUS).
    Anything else is returned as it is.
    """
    large = isinstance(values, np.memmap) and values.nbytes > SMALL and values.ndim > 1
    return (_of_file(values) if large else None) or values


def join(arrays: Sequence[NDArray[Any]], paths: Sequence[Path]) -> Any:
    """Join arrays that are mapped from files; small ones are read into memory.

    Raises
    ------
    DataError
        If they do not have one shape and type, or one is empty, in Fortran order or in another
        byte order than the machine's.
    """
    first, parts = arrays[0], [_of_file(array) for array in arrays]
    for array, part, path in zip(arrays, parts, paths, strict=True):
        alike = array.shape[1:] == first.shape[1:] and array.dtype == first.dtype
        if not alike or not array.size or part is None:
            raise DataError(
                f"'{path}' holds {array.dtype} of shape {array.shape}, '{paths[0]}' {first.dtype} "
                f"of shape {first.shape}; the .npy files of a folder hold rows of one shape and "
                "type, row after row (C order), at least one each: save it again so",
                path=path,
            )
    rows = ConcatenatedRows([part for part in parts if part is not None])
    if sum(array.nbytes for array in arrays) <= SMALL:
        return rows[:]  # not from the map: a file that has shrunk is refused
    return rows


def _of_file(values: NDArray[Any]) -> FileRows | None:
    """Return the rows of a mapped array in its file, if their bytes are the same there."""
    root: Any = values
    while isinstance(root.base, np.memmap):
        root = root.base
    plain = isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap) and root.mode != "c"
    if not plain or not root.filename or not values.flags.c_contiguous:
        return None
    if not values.dtype.isnative:
        return None
    offset = root.offset + values.ctypes.data - root.ctypes.data
    return FileRows(Path(root.filename), offset, values.shape, values.dtype)


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


class SpooledRows(StoredRows):
    """Rows in an unlinked temporary file, which is removed with the last object that uses it.

    A copy in another process of the same machine can be read as long as this process keeps them.

    Parameters
    ----------
    file : file
        File of the rows alone; it may be closed afterwards.
    shape, dtype
        Those of the whole array.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], dtype: Any) -> None:
        self._handle = _Handle(os.dup(file.fileno()))
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.origin: object = None

    def stamp(self) -> object:
        """Return the stamp of the file that the rows were unpacked from, if it is known."""
        return self.origin

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        if into.size:
            read_runs(self._handle.number, 0, runs, into)


class _Handle:
    """A file descriptor that is closed with the last object that uses it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the file through this process's entry in /proc.
        facts = os.fstat(self.number)
        return _opened, (f"/proc/{os.getpid()}/fd/{self.number}", facts.st_dev, facts.st_ino)


def _opened(path: str, device: int, inode: int) -> _Handle:
    """Open the file of another process's descriptor, if it still is the same file."""
    with suppress(OSError):
        handle = _Handle(os.open(path, os.O_RDONLY))
        facts = os.fstat(handle.number)
        if (facts.st_dev, facts.st_ino) == (device, inode):
            return handle
    raise UnreadableFileError(
        "the rows are in a file of a process that is on another machine, has ended, or that this "
        "system does not share; give the path that they were read from"
    )


def scratch_rows(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Allocate an array, in memory if it takes at most half of the free memory.

    Otherwise it is mapped to an unlinked temporary file (in ``TMPDIR``), which is removed with the
    array, or with the process.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    ndarray

    Raises
    ------
    OutputError
        If there is no room for the file.
    """
    return Scratch(shape, dtype).values


class Scratch:
    """An array that is filled and then read in batches; see :func:`scratch_rows`.

    Attributes
    ----------
    values : ndarray
        The array.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        self._stored: SpooledRows | None = None
        if n_bytes <= _LITTLE or fits(n_bytes):
            self.values: NDArray[Any] = np.empty(shape, dtype)
            return
        with scratch_file(shape, dtype) as file:
            self.values = np.memmap(file, dtype, "r+", shape=shape)
            self._stored = SpooledRows(file, shape, dtype)

    def rows(self) -> NDArray[Any] | SpooledRows:
        """Return the filled rows: the array in memory, or the rows on the disk."""
        return self.values if self._stored is None else self._stored


def scratch_file(shape: tuple[int, ...], dtype: Any) -> IO[bytes]:
    """Make an unlinked temporary file with room for rows.

    Raises
    ------
    OutputError
        If there is no room.
    """
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    file = None
    try:
        file = tempfile.TemporaryFile(prefix="narrows-")  # noqa: SIM115 (the caller closes it)
        if hasattr(os, "posix_fallocate"):
            # Otherwise a full disk would end the process (SIGBUS) when pages are written.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
    except OSError as error:
        if file is not None:
            file.close()
        raise OutputError(
            f"an array of shape {shape} takes {n_bytes / 1e9:.3g} GB, for which there is room "
            f"neither in memory nor in '{tempfile.gettempdir()}' ({error.strerror}); set TMPDIR to "
            "a folder with more room, or give fewer or narrower rows"
        ) from error
    return file
