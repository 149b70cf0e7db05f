"""Many picture files to pixels, by all processors."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from narrows.data.codec import DefectError, decode, quietly
from narrows.data.stored import StoredRows
from narrows.errors import UnreadableFileError

Progress: TypeAlias = Callable[[int, int], None]
Pixels: TypeAlias = NDArray[np.uint8]

_alone: ContextVar[bool] = ContextVar("alone", default=False)
_BLOCK = 16  # pictures that a thread decodes between two reports of progress
# Pictures, and bytes of them, that are looked at together.
_PICTURES, _BYTES = 4096, 1 << 26


def decode_files(
    files: Sequence[Path],
    pixels: Pixels,
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> dict[int, str]:
    """Read pictures, with all processors, into rows that are there already.

    Parameters
    ----------
    files : sequence of Path
        The picture files.
    pixels : ndarray of uint8, of shape (n, *sample_shape)
        A row for each.
    skip_unreadable, progress
        As for :func:`read_images`.

    Returns
    -------
    dict of int to str
        The places of files that cannot be read, and why.

    Raises
    ------
    MissingFileError, UnreadableFileError
        As :func:`read_images`.
    """
    blocks = [range(start, len(files))[:_BLOCK] for start in range(0, len(files), _BLOCK)]
    read_block = partial(_read_block, files, pixels, skip_unreadable=skip_unreadable)
    reasons: dict[int, str] = {}
    with quietly(), ThreadPoolExecutor(n_processors()) as threads:
        try:
            for block, unreadable in zip(blocks, threads.map(read_block, blocks), strict=True):
                reasons |= unreadable
                if progress is not None:
                    progress(block.stop, len(files))
        finally:
            # After an error or Ctrl-C, what has not begun does not begin.
            threads.shutdown(cancel_futures=True)
    return reasons


def _read_block(
    files: Sequence[Path], pixels: Pixels, block: range, *, skip_unreadable: bool
) -> dict[int, str]:
    """Read some of the files into their rows, and give the reasons of those that failed."""
    reasons: dict[int, str] = {}
    for index in block:
        try:
            pixels[index] = decode(files[index], pixels.shape[1:])
        except DefectError as error:
            if not skip_unreadable:
                raise UnreadableFileError(
                    f"'{files[index]}' is not a readable picture: {error}; repair or remove it, "
                    "or leave out what cannot be read (--skip-unreadable, skip_unreadable=True)"
                ) from error
            reasons[index] = str(error)
    return reasons


class PictureRows(StoredRows):
    """Pictures of one shape in files, decoded whenever they are asked for.

    Parameters
    ----------
    files : sequence of Path
        All of which can be read.
    sample_shape : tuple of int
        Of each.

    Attributes
    ----------
    keeper : object
        What has to live as long as the files are read, if anything.
    """

    def __init__(self, files: Sequence[Path], sample_shape: tuple[int, ...]) -> None:
        self._files, self._sample_shape = files, sample_shape
        self.shape, self.dtype = (len(files), *sample_shape), np.dtype(np.uint8)
        self.keeper: object = None

    def stamp(self) -> object:
        """Return what :func:`stamp_of` tells of the files."""
        return stamp_of(self._files)

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Decode runs of files."""
        files = [file for begin, end in runs.tolist() for file in self._files[begin:end]]
        decode_files(files, into.reshape(len(into), *self._sample_shape))


def stamp_of(files: Sequence[Path]) -> str:
    """Hash files' names, their sizes, and when they were changed last.

    Raises
    ------
    UnreadableFileError
        If one is gone.
    """
    digest = sha256()
    for file in files:
        try:
            found = file.stat()
        except OSError as error:
            raise UnreadableFileError(
                f"'{file}' can no longer be read: {error.strerror}; put it back, and begin again"
            ) from error
        facts = (os.fspath(file), found.st_size, found.st_mtime_ns)
        digest.update(repr(facts).encode(errors="surrogateescape"))
    return digest.hexdigest()


def find_unreadable(
    files: Sequence[Path], sample_shape: tuple[int, ...], progress: Progress | None = None
) -> dict[int, str]:
    """Decode all pictures, keep none, and return the places of those that cannot be read, and why.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    """
    size = max(1, min(_PICTURES, _BYTES // math.prod(sample_shape)))
    pixels = np.empty((size, *sample_shape), np.uint8)
    reasons: dict[int, str] = {}
    for start in range(0, len(files), size):
        some = files[start : start + size]
        found = decode_files(some, pixels[: len(some)], skip_unreadable=True)
        reasons |= {start + place: reason for place, reason in found.items()}
        if progress is not None:
            progress(start + len(some), len(files))
    return reasons


@contextmanager
def one_processor() -> Iterator[None]:
    """Have the block decode by one processor: other processes are at work on the others."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def n_processors() -> int:
    """Count the processors this process may use, not those the machine has."""
    if _alone.get():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
