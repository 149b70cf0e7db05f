"""Many picture files to pixels, by all processors."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from narrows.data.depths import bring
from narrows.data.disk_rows import StoredRows
from narrows.data.image_codec import DefectError, decode, name_of, quietly
from narrows.data.pages import Picture, file_of
from narrows.data.reading import DARK, Notes, Reading
from narrows.errors import DataError, UnreadableFileError

Progress: TypeAlias = Callable[[int, int], None]
Pixels: TypeAlias = NDArray[Any]

_alone: ContextVar[bool] = ContextVar("alone", default=False)
_BLOCK = 16  # pictures that a thread decodes between two reports of progress
# Pictures, and bytes of them, that are looked at together.
_PICTURES, _BYTES = 4096, 1 << 26


@dataclass(frozen=True)
class Target:
    """What picture files are turned into.

    Attributes
    ----------
    sample_shape : tuple of int
        Of a row.
    dtype : dtype
        Of its values.
    scaling : Scaling, optional
        Turns a file's values into the units of a model's training data; without it, they are
        brought to ``dtype``.
    how : Reading
        The bound on pixels.
    """

    sample_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scaling: Any = None
    how: Reading = field(default_factory=Reading)

    def empty(self, count: int) -> Pixels:
        """Make room for so many rows."""
        return np.empty((count, *self.sample_shape), self.dtype)

    def decode(self, picture: Picture | bytes, notes: Notes | None = None) -> Pixels:
        """Turn one picture into a row.

        Raises
        ------
        DefectError, MissingFileError
            As :func:`narrows.data.image_codec.decode`; also if its type does not fit.
        """
        return self.fit(decode(picture, self.sample_shape, self.how, notes), picture, notes)

    def fit(self, values: Pixels, picture: Picture | bytes, notes: Notes | None = None) -> Pixels:
        """Turn a picture's values, as they are in its file, into a row.

        Raises
        ------
        DefectError
            If their type does not fit.
        """
        try:
            if self.scaling is None:
                row = bring(values, self.dtype)
            else:
                row = self.scaling.from_file(values[None])[0]
        except DataError as error:
            raise DefectError(str(error), unharmed=True) from error
        if notes is not None and values.dtype == np.uint16:
            largest = int(values.max())
            if row.dtype == np.uint8:
                notes.flattened[name_of(picture)] = largest
            if largest < DARK and self.scaling and self.scaling.takes_as_shades(values.dtype):
                notes.dark[name_of(picture)] = largest
        return row


def decode_files(
    files: Sequence[Picture],
    pixels: Pixels,
    target: Target,
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
    notes: Notes | None = None,
) -> dict[int, str]:
    """Read pictures, with all processors, into rows that are there already.

    Parameters
    ----------
    files : sequence of Path or Page
        The picture files.
    pixels : ndarray of shape (n, *sample_shape)
        A row for each.
    target : Target
        What they are turned into.
    skip_unreadable, progress
        As for :func:`read_images`.
    notes : Notes, optional
        Takes what has to be said of the files.

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
    read_block = partial(
        _read_block, files, pixels, target, skip_unreadable=skip_unreadable, notes=notes
    )
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
    files: Sequence[Picture],
    pixels: Pixels,
    target: Target,
    block: range,
    *,
    skip_unreadable: bool,
    notes: Notes | None,
) -> dict[int, str]:
    """Read some of the files into their rows, and give the reasons of those that failed."""
    reasons: dict[int, str] = {}
    for index in block:
        try:
            pixels[index] = target.decode(files[index], notes)
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
    files : sequence of Path or Page
        All of which can be read.
    target : Target
        What they are turned into.
    tell : bool, default=True
        Whether what has to be said of the files is said when all of them were read once.

    Attributes
    ----------
    keeper : object
        What has to live as long as the files are read, if anything.
    """

    def __init__(self, files: Sequence[Picture], target: Target, *, tell: bool = True) -> None:
        self._files, self._target = files, target
        self._notes = Notes() if tell else None
        self._read = 0
        self.shape, self.dtype = (len(files), *target.sample_shape), target.dtype
        self.keeper: object = None

    def stamp(self) -> object:
        """Return what :func:`stamp_of` tells of the files."""
        return stamp_of(self._files)

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Decode runs of files."""
        files = [file for begin, end in runs.tolist() for file in self._files[begin:end]]
        rows = into.reshape(len(into), *self._target.sample_shape)
        decode_files(files, rows, self._target, notes=self._notes)
        self._read += len(files)
        if self._notes is not None and self._read >= len(self._files):
            self._notes.tell()
            self._notes = None


def stamp_of(files: Sequence[Picture]) -> str:
    """Hash files' names, their sizes, and when they were changed last.

    Raises
    ------
    UnreadableFileError
        If one is gone.
    """
    digest = sha256()
    for file in files:
        try:
            found = file_of(file).stat()
        except OSError as error:
            raise UnreadableFileError(
                f"'{file}' can no longer be read: {error.strerror}; put it back, and begin again"
            ) from error
        facts = (str(file), found.st_size, found.st_mtime_ns)
        digest.update(repr(facts).encode(errors="surrogateescape"))
    return digest.hexdigest()


def find_unreadable(
    files: Sequence[Picture],
    target: Target,
    progress: Progress | None = None,
    notes: Notes | None = None,
) -> dict[int, str]:
    """Decode all pictures, keep none, and return the places of those that cannot be read, and why.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    """
    row = math.prod(target.sample_shape) * target.dtype.itemsize
    size = max(1, min(_PICTURES, _BYTES // row))
    pixels = target.empty(size)
    reasons: dict[int, str] = {}
    for start in range(0, len(files), size):
        some = files[start : start + size]
        found = decode_files(some, pixels[: len(some)], target, skip_unreadable=True, notes=notes)
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
