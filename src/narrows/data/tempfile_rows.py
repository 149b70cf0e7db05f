"""Arrays of intermediate results: in memory, or in an unlinked temporary file if memory is short.

The file has no name, so that it is gone with the last use of its rows, or with the process.
"""

import os
import tempfile
from contextlib import suppress
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.disk_rows import StoredRows, read_runs
from narrows.data.memory import available
from narrows.errors import OutputError, UnreadableFileError


class SpooledRows(StoredRows):
    """Rows in an unlinked file, which is gone when no object refers to them.

    A copy in another process of the same machine reads them as long as this one has them.

    Parameters
    ----------
    file : file
        Holds nothing but the rows; may be closed afterwards.
    shape, dtype
        Of all of them together.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, ...], dtype: Any) -> None:
        self._handle = _Handle(os.dup(file.fileno()))
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.origin: object = None

    def stamp(self) -> object:
        """Return the stamp of what the rows were unpacked from, where that is known."""
        return self.origin

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        if into.size:
            read_runs(self._handle.number, 0, runs, into)


class _Handle:
    """A file that is closed with the last rows that are in it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)

    def __reduce__(self) -> tuple[Any, ...]:
        # A number means nothing to another process, but the system knows the file by it.
        facts = os.fstat(self.number)
        return _opened, (f"/proc/{os.getpid()}/fd/{self.number}", facts.st_dev, facts.st_ino)


def _opened(path: str, device: int, inode: int) -> _Handle:
    """Open the file that a process has under a number, if it is still that one."""
    with suppress(OSError):
        handle = _Handle(os.open(path, os.O_RDONLY))
        facts = os.fstat(handle.number)
        if (facts.st_dev, facts.st_ino) == (device, inode):
            return handle
    raise UnreadableFileError(
        "the rows are in a file of a process that is on another machine, has ended, or that this "
        "system does not share; give the path that they were read from"
    )


# The share of the free memory that intermediate results may take.
_SHARE = 1 / 2
# Bytes that are taken without asking how much is free.
_LITTLE = 1 << 26


def fits(n_bytes: int) -> bool:
    """Tell whether intermediate results take at most half of the memory that is free."""
    return n_bytes <= _SHARE * available()


def scratch_rows(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """Make an array to be filled, in memory if it takes at most half of what is free.

    Otherwise it is mapped to a file in the folder for temporary files (the environment variable
    ``TMPDIR``). That file has no name, so it is gone with the last use of the array, or with the
    process, however it ends.

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
        If the file has no room.
    """
    return Scratch(shape, dtype).values


class Scratch:
    """An array to be filled, and then to be read in batches; see :func:`scratch_rows`.

    Attributes
    ----------
    values : ndarray
        To be filled.
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
        """Return what was filled in: in memory, or on the disk."""
        return self.values if self._stored is None else self._stored


def scratch_file(shape: tuple[int, ...], dtype: Any) -> IO[bytes]:
    """Make a file without a name that has room for rows.

    Raises
    ------
    OutputError
        If there is none.
    """
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    file = None
    try:
        file = tempfile.TemporaryFile(prefix="narrows-")  # noqa: SIM115 (the caller closes it)
        if hasattr(os, "posix_fallocate"):
            # Taken now: a full disk would otherwise end the process when pages are written.
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
