"""Many picture files at once, by all processors: to rows, to sizes, and to thumbnails."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.data.depths import REDUCING_GAP, Deep, bring
from narrows.data.image_codec import (
    DefectError,
    OpenPicture,
    Source,
    UnfitError,
    Unpacked,
    decode,
    fit,
    is_grey,
    mode_of,
    name_of,
    opaque,
    open_picture,
    quietly,
    turn,
)
from narrows.data.lazy_rows import StoredRows
from narrows.data.reading import DARK, Notes, Page, Picture, Reading, file_of
from narrows.errors import DataError, MissingFileError, UnreadableFileError, warn

Progress: TypeAlias = Callable[[int, int], None]
Pixels: TypeAlias = NDArray[Any]
_alone: ContextVar[bool] = ContextVar("alone", default=False)
_BLOCK = 16  # pictures that a thread decodes between two reports of progress
# Pictures, and bytes of them, that are looked at together.
_PICTURES, _BYTES = 4096, 1 << 26
_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)
# Of 8 bits and one page, so that their files need not be opened for that.
_PLAIN = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm"})
_HEAD = 64  # bytes in which most PNG and WebP files tell as much
_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH, _FLAGS, _ANIMATED = 24, 20, 0x02
_SECOND = slice(37, 41)  # kind of a PNG's second chunk; in an animation, acTL comes before IDAT
Size = tuple[int, int]
Resizing: TypeAlias = Literal["say", "refuse", "asked", "quiet"]
_CHUNK = 64  # files that a thread looks at before it takes others

SIDE = 128
"""Pixels of a thumbnail's longer side; no picture needs one that is not larger."""

# Shrinking by a whole number is many times faster, and is done where it leaves so many pixels.
_ENOUGH = 96
_QUALITY = 80  # as JPEG counts it

Show: TypeAlias = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""From values as a file has them to 8-bit pixels; see :meth:`narrows.data.scaling.Scaling.show`."""


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


class _Look(NamedTuple):
    """What a file's header tells: its type, and for each page where it begins, if in TIFF."""

    dtype: np.dtype[Any]
    pages: Sequence[int | None] = (None,)
    channels: int = 3
    are_colours: bool = True


class Others(NamedTuple):
    """Files of other channels than grey and colours.

    Attributes
    ----------
    files : int
        How many there are.
    first : str
        The name of the first.
    are_colours : bool
        Whether the first three channels of all are red, green and blue.
    """

    files: int
    first: str
    are_colours: bool


@dataclass
class Scan:
    """What the headers of picture files tell.

    Attributes
    ----------
    pictures : list of Path or Page
        The files, or all their pages, in the files' order.
    types : dict of dtype to str
        The types that they have, each with the name of the first such file.
    counts : dict of dtype to int
        How many files have it.
    others : dict of int to Others
        Of the files that have so many channels, where those are not grey and colours.
    """

    pictures: list[Picture] = field(default_factory=list)
    types: dict[np.dtype[Any], str] = field(default_factory=dict)
    counts: dict[np.dtype[Any], int] = field(default_factory=dict)
    others: dict[int, Others] = field(default_factory=dict)


def scan(files: Sequence[Path], how: Reading) -> Scan:
    """Look at the headers of picture files; those that cannot be read have no say.

    Parameters
    ----------
    files : sequence of Path
        The files.
    how : Reading
        Whether pages beyond the first are pictures.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    """
    found = Scan()
    with quietly():
        for file in files:
            look = _look(file)
            pages = () if look is None or how.pages == "first" else look.pages
            if len(pages) > 1:
                found.pictures += (Page(file, n, offset) for n, offset in enumerate(pages, 1))
            else:
                found.pictures.append(file)
            if look is None:
                continue
            found.types.setdefault(look.dtype, str(file))
            found.counts[look.dtype] = found.counts.get(look.dtype, 0) + 1
            if look.channels not in (1, 3):
                before = found.others.get(look.channels, Others(0, str(file), True))
                both = before.are_colours and look.are_colours
                found.others[look.channels] = Others(before.files + 1, before.first, both)
    return found


def _look(file: Path) -> _Look | None:
    suffix = file.suffix.lower()
    if suffix in _PLAIN:
        return _Look(_UINT8)
    if suffix in (".png", ".webp"):
        try:
            with file.open("rb") as opened:
                head = opened.read(_HEAD)
        except FileNotFoundError as error:
            raise MissingFileError(f"'{file}' does not exist; give a picture file") from error
        except OSError:
            return None
        if head.startswith(_PNG) and head[_SECOND] == b"IDAT":
            return _Look(_UINT16 if head[_DEPTH] == 16 else _UINT8)
        if head[8:12] == b"WEBP" and not (head[12:16] == b"VP8X" and head[_FLAGS] & _ANIMATED):
            return _Look(_UINT8)
    try:
        with open_picture(file) as picture:
            pages = picture.count_pages()
            return _Look(picture.dtype, pages, picture.channels, picture.shows_colours)
    except DefectError:
        return None


@dataclass(frozen=True)
class Resized:
    """Pictures that are brought to another height and width than they have.

    Attributes
    ----------
    count, total : int
        How many are, of how many that were looked at.
    smallest, largest : tuple of int
        Height and width of those with the fewest and the most pixels.
    to : tuple of int
        The height and width that they are brought to.
    """

    count: int
    total: int
    smallest: Size
    largest: Size
    to: Size

    @classmethod
    def of(cls, sizes: Sequence[Size | None], to: Sequence[int]) -> Self | None:
        """Compare sizes, of which None are not known, with the wanted one; None if all have it."""
        wanted = (int(to[0]), int(to[1]))
        others = [size for size in sizes if size is not None and size != wanted]
        if not others:
            return None
        ordered = sorted(set(others), key=lambda size: (size[0] * size[1], size))
        return cls(len(others), len(sizes), ordered[0], ordered[-1], wanted)

    @classmethod
    def of_read(
        cls,
        sizes: Mapping[Picture, Size | None],
        to: Sequence[int],
        skipped: Iterable[tuple[Picture | str, str]] | None,
    ) -> Self | None:
        """Compare the sizes of files with the wanted one, but for those that were not read."""
        if not sizes:
            return None
        unread = {str(file) for file, _ in skipped or ()}
        return cls.of([size for file, size in sizes.items() if str(file) not in unread], to)

    def words(self, *, short: bool = False) -> str:
        """Say it: "20 pictures of 30 x 40 to 300 x 400 pixels (height x width)"."""
        sizes = " to ".join(dict.fromkeys(map(side_by_side, (self.smallest, self.largest))))
        pictures = "picture" if self.count == 1 else "pictures"
        return f"{self.count} {pictures} of {sizes}" + ("" if short else " pixels (height x width)")

    def as_json(self) -> dict[str, Any]:
        """Return the same as JSON can hold it."""
        return {
            "pictures": self.count,
            "of": self.total,
            "smallest": list(self.smallest),
            "largest": list(self.largest),
            "to": list(self.to),
        }


def side_by_side(size: Sequence[int]) -> str:
    """Write a height and width: "30 x 40"."""
    return " x ".join(map(str, size[:2]))


def tell_resized(path: Path, resized: Resized, *, learned: bool, stacklevel: int = 2) -> None:
    """Warn that pictures are brought to another size.

    Parameters
    ----------
    path : Path
        Of the pictures.
    resized : Resized
        What is done to them.
    learned : bool
        Whether a trained model wants that size, rather than that it was chosen for them.
    stacklevel : int
        As for :func:`narrows.errors.warn`.
    """
    why = (
        "which the model learned from; one of --architecture fully_convolutional keeps sizes"
        if learned
        else "chosen for pictures larger than 64 or of several sizes; --image-size, or image_size "
        "of narrows.pack, chooses another"
    )
    warn(
        f"'{path}': {resized.words()} brought to {side_by_side(resized.to)}, {why}",
        kind="pictures_resized",
        stacklevel=stacklevel + 1,
        **resized.as_json(),
    )


def sizes_of(files: Sequence[Picture] | Sequence[bytes]) -> list[Size | None]:
    """Read the heights and widths of pictures as they are looked at, by all processors.

    Parameters
    ----------
    files : sequence of Path, Page or bytes
        Of pictures, or what is in them.

    Returns
    -------
    list of (int, int) or None
        None for a file that cannot be read.

    Raises
    ------
    MissingFileError
        If a file does not exist.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from narrows.data.depths import encode_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "black.png")
    ...     _ = file.write_bytes(encode_png(np.zeros((2, 3), np.uint8)))
    ...     sizes_of([file])
    [(2, 3)]
    """
    if not files:
        return []
    with quietly(), ThreadPoolExecutor(min(n_processors(), len(files))) as threads:
        chunks = [files[at : at + _CHUNK] for at in range(0, len(files), _CHUNK)]
        return [size for some in threads.map(_sizes, chunks) for size in some]


def _sizes(files: Sequence[Picture] | Sequence[bytes]) -> list[Size | None]:
    return [size_of(file) for file in files]


def size_of(file: Picture | bytes) -> Size | None:
    """Read the height and width of one picture; see :func:`sizes_of`.

    Whoever asks does so within :func:`narrows.data.image_codec.quietly`.
    """
    try:
        with open_picture(file) as picture:
            return picture.upright_size
    except DefectError:
        return None


def decode_with_thumbnail(
    source: Source,
    sample_shape: tuple[int, ...],
    show: Show | None = None,
    *,
    always: bool = False,
    how: Reading | None = None,
    notes: Notes | None = None,
) -> tuple[NDArray[Any], bytes | None]:
    """Turn a picture file into pixels and, in passing, into a thumbnail.

    Parameters
    ----------
    source, sample_shape, how, notes
        As for :func:`narrows.data.image_codec.decode`.
    show : callable, optional
        Makes pixels to look at of what is not in 8 bits; by default of 16 bits alone, whose white
        is 65535.
    always : bool, default=False
        Whether pictures that are no larger than a thumbnail get one too.

    Returns
    -------
    pixels : ndarray of shape ``sample_shape``
        The same as :func:`narrows.data.image_codec.decode` gives.
    thumbnail : bytes or None
        A JPEG file, upright and in the picture's own proportions, whose longer side has at most
        :data:`SIDE` pixels, and at least three quarters of that unless the picture, or the
        fraction of its size at which it was decoded, has fewer. In colour if the picture is. None
        of what has other channels than grey or colours.

    Raises
    ------
    DefectError, MissingFileError
        As :func:`narrows.data.image_codec.decode`.
    """
    with open_picture(source, how) as picture:
        picture.note(notes, sample_shape)
        wanted = always or max(picture.width, picture.height) > SIDE
        if picture.image is None:
            deep = picture.read_deep(sample_shape)
            pixels = deep.fit(sample_shape)
            if not (wanted and deep.is_picture):
                return pixels, None
            return pixels, _miniature(_shown(deep, show or _shades))
        mode = mode_of(sample_shape)
        # With brightness apart, a grey model's pixels come out of it as from a grey decoding.
        if mode == "RGBA":  # a thumbnail has no opacity
            unpacked = picture.unpack(sample_shape, mode)
            plain = unpacked._replace(image=opaque(unpacked.image))
            return fit(unpacked, sample_shape), _miniature(plain) if wanted else None
        unpacked = picture.unpack(sample_shape, "YCbCr" if wanted and mode == "L" else mode)
        return fit(unpacked, sample_shape), _miniature(unpacked) if wanted else None


def encode_thumbnail(pixels: NDArray[np.uint8]) -> bytes | None:
    """Make the thumbnail of a picture in memory, or none if it is no larger than one.

    Parameters
    ----------
    pixels : ndarray of uint8, of shape (height, width) or (height, width, 1, 3 or 4)
        Values from 0 to 255; transparent parts are laid on white.
    """
    if max(pixels.shape[:2]) <= SIDE:
        return None
    plain = pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels
    image = opaque(Image.fromarray(np.ascontiguousarray(plain)))
    return _miniature(Unpacked(image, None, 1))


def preview(source: Source, show: Show | None = None, how: Reading | None = None) -> NDArray[Any]:
    """Turn a picture file into pixels to look at: in its own proportions, small, upright.

    Parameters
    ----------
    source : str, Path, Page or bytes
        The file, or what is in it.
    show : callable, optional
        As for :func:`decode_with_thumbnail`.
    how : Reading, optional
        The bound on pixels.

    Returns
    -------
    ndarray of uint8, of shape (height, width) or (height, width, 3)
        Of at most :data:`SIDE` pixels in height and width.

    Raises
    ------
    DefectError, MissingFileError
        As :func:`narrows.data.image_codec.decode`.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.depths import encode_png
    >>> from narrows.data.decoding import preview
    >>> preview(encode_png(np.zeros((20, 30), np.uint8))).shape
    (20, 30)
    >>> preview(encode_png(np.zeros((256, 128, 3), np.uint8))).shape
    (128, 64, 3)
    """
    with open_picture(source, how) as picture:
        unpacked = _to_look_at(picture, show)
        small = _upright_and_small(unpacked)
        return np.asarray(small.convert("L" if small.mode == "L" else "RGB"))


def _to_look_at(picture: OpenPicture, show: Show | None) -> Unpacked:
    if picture.image is not None:
        return picture.unpack((SIDE, SIDE), "RGB")
    deep = picture.read_deep()
    if not deep.is_picture:
        raise UnfitError(f"its {picture.channels} channels are no picture to look at")
    return _shown(deep, show or _shades)


def _shown(deep: Deep, show: Show) -> Unpacked:
    """Make a picture of 8 bits of one of more, no larger than a thumbnail."""
    height, width, channels = deep.values.shape
    factor = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    pixels = show(deep.fit((*size, 1 if channels == 1 else 3)))
    plain = pixels[:, :, 0] if channels == 1 else pixels
    return Unpacked(Image.fromarray(np.ascontiguousarray(plain)), None, 1)


def _shades(values: NDArray[Any]) -> NDArray[np.uint8]:
    return bring(values, np.uint8)


def _miniature(unpacked: Unpacked) -> bytes:
    file = BytesIO()
    _upright_and_small(unpacked).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _upright_and_small(unpacked: Unpacked) -> Image.Image:
    """Shrink a picture to a thumbnail's size, if it is larger, and set it upright."""
    image = unpacked.image
    if image.mode not in ("L", "RGB", "YCbCr"):
        image = image.convert("L" if is_grey(image) else "RGB")
    if (side := max(image.size)) > SIDE:
        factor = -(-side // SIDE)
        if side >= _ENOUGH * factor:
            image = image.reduce(factor)
        else:
            width, height = (max(1, round(n * SIDE / side)) for n in image.size)
            image = image.resize((width, height), Image.Resampling.BOX, reducing_gap=REDUCING_GAP)
    return turn(image, unpacked.turned)
