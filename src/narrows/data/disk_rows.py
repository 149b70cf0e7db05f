"""Rows that stay on a disk, and are read in runs of neighbours."""

import mmap
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from narrows.atomic import check_output
from narrows.containment import is_folder
from narrows.data.lazy import LazyRows
from narrows.errors import DataError, OutputExistsError, UnreadableFileError
from narrows.remote import lance_address

SMALL = 1 << 26
"""Bytes of rows that are rather held in memory: shuffled as a whole, they need no reading."""

_GAP = 8  # rows between two wanted ones that are read over, rather than begin anew


class StoredRows(LazyRows):
    """Rows on a disk; a kind of storage says how neighbouring ones are read."""

    def reshaped(self, shape: tuple[int, ...]) -> Self:
        """Return the same values as rows of another shape."""
        other = copy(self)
        other.shape = shape
        return other

    def stamp(self) -> object:
        """Return what tells that the rows were changed, without reading them; None if nothing."""
        return None

    @abstractmethod
    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows, each from a first row to before another, (R, 2), one after another."""

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return rows of these numbers; what lies together on the disk is read together."""
        found, places = self.gather(rows, np.empty((0, *self.shape[1:]), self.dtype))
        in_order = len(places) == len(found) and bool((places == np.arange(len(places))).all())
        return found if in_order else found.take(places, axis=0)

    def streamed(
        self, count: int, window: Callable[[int], NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Read the rows of so many windows, one after another.

        Parameters
        ----------
        count : int
            How many.
        window : callable
            From a number below it to the numbers of the rows in that window.

        Yields
        ------
        found, places
            As of :meth:`gather`; overwritten by the next.
        """
        room = np.empty((0, *self.shape[1:]), self.dtype)
        for number in range(count):
            found, places = self.gather(window(number), room)
            room = found if len(found) > len(room) else room
            yield found, places

    def passing(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield all rows, so many at a time; each array is overwritten by the next."""
        room = np.empty((min(size, len(self)), *self.shape[1:]), self.dtype)
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            self.read(np.array([[start, stop]]), room[: stop - start])
            yield room[: stop - start]

    def gather(
        self, rows: NDArray[np.int64], room: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read rows of these numbers in the order in which they lie on the disk.

        Parameters
        ----------
        rows : ndarray of int
            Their numbers.
        room : ndarray of shape (m, ...)
            Where they are put, if it is large enough. Memory that is used again costs nothing.

        Returns
        -------
        found : ndarray of shape (l, ...)
            What was read, a few others among them.
        places : ndarray of int, of the shape of rows
            Where in it they are.
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
        Where the rows begin, in bytes.
    shape, dtype
        Of all of them together.
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
            If the file is no longer what it was.
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
        """Return the size of the file, and when it was changed last."""
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
            f"'{self.path}' can no longer be read: {error.strerror}; put it back, and begin again"
        )

    def _changed(self) -> DataError:
        return DataError(
            f"'{self.path}' was changed while it was read; leave it alone until this has ended, "
            "and begin again"
        )


class PartRows(StoredRows):
    """Rows of several files, one file after another.

    Parameters
    ----------
    parts : sequence of StoredRows
        Of rows of the same shape and type.
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
    """Rows that a function makes of others, shape by shape.

    Parameters
    ----------
    rows : StoredRows
        The others.
    function : callable
        From an array of them to one of the same shape.
    """

    def __init__(self, rows: StoredRows, function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._rows, self._function = rows, function
        self.shape, self.columns = rows.shape, rows.columns
        self.dtype = function(np.zeros((1, *rows.shape[1:]), rows.dtype)).dtype

    def stamp(self) -> object:
        """Return the stamp of the others."""
        return self._rows.stamp()

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        given = np.empty((len(into), *self._rows.shape[1:]), self._rows.dtype)
        self._rows.read(runs, given)
        into[...] = self._function(given).reshape(into.shape)


class PickedRows(StoredRows):
    """Some of the rows on a disk.

    Parameters
    ----------
    rows : StoredRows
        All of them.
    numbers : ndarray of int, or what works them out
        Which, ascending.
    """

    def __init__(self, rows: StoredRows, numbers: Any) -> None:
        self._rows, self._numbers = rows, numbers
        self.shape, self.dtype = (len(numbers), *rows.shape[1:]), rows.dtype

    def stamp(self) -> object:
        """Return the stamp of all of them."""
        return self._rows.stamp()

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        places = np.concatenate([np.arange(begin, end) for begin, end in runs])
        into[...] = self._rows.take(self._numbers[places]).reshape(into.shape)


def read_runs(handle: int, offset: int, runs: NDArray[np.int64], into: NDArray[Any]) -> bool:
    """Read runs of rows that begin at a place of a file; tell whether the file has them all."""
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
    """Turn a large array that is mapped from a file into rows that are read from it.

    What is mapped fills the memory page by page, and a file that shrinks ends the process.
    Anything else is given back as it is.
    """
    large = isinstance(values, np.memmap) and values.nbytes > SMALL and values.ndim > 1
    return (_of_file(values) if large else None) or values


def join(arrays: Sequence[NDArray[Any]], paths: Sequence[Path]) -> Any:
    """Put arrays that are mapped from files one after another: in memory only if they are small.

    Raises
    ------
    DataError
        If they are not of one shape and type, one holds nothing, or its bytes are in the order
        of another machine.
    """
    first, parts = arrays[0], [_of_file(array) for array in arrays]
    for array, part, path in zip(arrays, parts, paths, strict=True):
        alike = array.shape[1:] == first.shape[1:] and array.dtype == first.dtype
        if not alike or not array.size or part is None:
            raise DataError(
                f"'{path}' holds {array.dtype} of shape {array.shape}, '{paths[0]}' {first.dtype} "
                f"of shape {first.shape}; the .npy files of a folder hold rows of one shape and "
                "type, row after row (C order), at least one each: save it again so"
            )
    rows = PartRows([part for part in parts if part is not None])
    if sum(array.nbytes for array in arrays) <= SMALL:
        return rows[:]  # not from the map: a file that has shrunk is refused
    return rows


def is_lance(path: Path) -> bool:
    """Tell whether a folder is a Lance dataset."""
    return is_folder(path / "_versions")


def check_dataset(path: Path, *, overwrite: bool) -> Path:
    """Refuse a place for a Lance dataset where anything else is.

    Raises
    ------
    OutputExistsError, OutputError, ParameterError
        As :func:`narrows.atomic.check_output` and :func:`narrows.remote.lance_address`;
        also if there is something else than a dataset.
    """
    check_output(path, overwrite=overwrite, kind="folder")
    lance_address(path)
    if path.exists() and not is_lance(path):
        raise OutputExistsError(f"'{path}' is no Lance dataset and is not replaced; name another")
    return path


def _of_file(values: NDArray[Any]) -> FileRows | None:
    """Find where in its file a mapped array is, if it is there as it is in memory."""
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
