"""Rows in a file without a name: what was unpacked, or made, and memory does not hold."""

import os
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.stored import StoredRows, read_runs
from narrows.errors import UnreadableFileError


class SpooledRows(StoredRows):
    """Rows in a file without a name, which is gone with the last of them.

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
