"""Many picture files at a time, decoded by a thread pool to rows, sizes and thumbnails."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias

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
    is_grey,
    mode_of,
    name_of,
    opaque,
    open_picture,
    quietly,
    turn,
)
from narrows.data.lazy_rows import StoredRows
from narrows.data.reading import DARK, Notes, Page, Picture, Reading, file_of, shown_name
from narrows.errors import DataError, MissingFileError, UnreadableFileError, warn

Progress: TypeAlias = Callable[[int, int], None]
Pixels: TypeAlias = NDArray[Any]
_alone: ContextVar[bool] = ContextVar("alone", default=False)
_BLOCK = 16  # pictures that a thread decodes per report of progress
# Pictures, and their bytes, that are decoded at a time to find unreadable ones.
_PICTURES, _BYTES = 4096, 1 << 26
_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)
# Formats of 8 bits and one page, whose files need not be opened for that.
_PLAIN = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm"})
_HEAD = 64  # bytes of PNG and WebP files that mostly state as much
_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH, _FLAGS, _ANIMATED = 24, 20, 0x02
_SECOND = slice(37, 41)  # type of the second chunk; in an animation, acTL precedes IDAT
Size = tuple[int, int]
Resizing: TypeAlias = Literal["say", "refuse", "asked", "quiet"]
_CHUNK = 64  # files per task of a thread

SIDE = 128
"""Most pixels of a thumbnail's sides; smaller pictures need no thumbnail."""

# Reducing by a whole number is many times faster, and is used if this share of pixels remains.
_ENOUGH = 0.75
_QUALITY = 80  # of JPEG, from 0 to 100

Show: TypeAlias = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""From a file's values to 8-bit pixels; see :meth:`narrows.data.scaling.Scaling.show`."""


@dataclass(frozen=True)
class Target:
    """The rows to which picture files are decoded.

    Attributes
    ----------
    sample_shape : tuple of int
        Shape of a row.
    dtype : dtype
        Type of its values.
    scaling : Scaling, optional
        Converts a file's values to the units of a model's training data; by default they are
        converted to ``dtype``.
    how : Reading
        The limit of pixels.
    """

    sample_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scaling: Any = None
    how: Reading = field(default_factory=Reading)

    @classmethod
    def of(cls, encoder: Any, how: Reading) -> Self:
        """Return the rows that a model or an encoder takes, read as it wants."""
        scaling, crop = encoder.scaling_, getattr(encoder, "crop", None)
        how = how if crop is None else replace(how, crop=crop)
        return cls(encoder.sample_shape_, scaling.file_type, scaling, how)

    def empty(self, count: int) -> Pixels:
        """Allocate an array of rows."""
        return np.empty((count, *self.sample_shape), self.dtype)

    def decode(self, picture: Picture | bytes, notes: Notes | None = None) -> Pixels:
        """Decode one picture to a row.

        Raises
        ------
        DefectError, MissingFileError
            See :func:`narrows.data.image_codec.decode`; also if the types have no common meaning.
        """
        return self.fit(decode(picture, self.sample_shape, self.how, notes), picture, notes)

    def fit(self, values: Pixels, picture: Picture | bytes, notes: Notes | None = None) -> Pixels:
        """Convert a picture's values in the file to a row.

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


class Receiver(Protocol):
    """Takes the pixels of the picture with a number, as an array of rows does."""

    def __setitem__(self, index: int, pixels: Pixels, /) -> None: ...


def decode_files(
    files: Sequence[Picture],
    pixels: Receiver,
    target: Target,
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
    notes: Notes | None = None,
) -> dict[int, str]:
    """Decode pictures by a thread pool, and hand on their pixels.

    Parameters
    ----------
    files : sequence of Path or Page
        The picture files.
    pixels : ndarray of shape (n, *sample_shape), or Receiver
        What takes the pixels of each file.
    target : Target
        Shape, type and units of the rows.
    skip_unreadable : bool, default=False
        Whether files that cannot be read are left out and listed instead of raising.
    progress : callable, optional
        Called with the number of files done and the number of all, from the caller's thread.
    notes : Notes, optional
        Collects notes of the files.

    Returns
    -------
    dict of int to str
        The numbers of unreadable files, and the reasons.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    UnreadableFileError
        If a file cannot be read and ``skip_unreadable`` is false; the message names the first.
    """

    def decode_block(block: range) -> dict[int, str]:
        unreadable: dict[int, str] = {}
        for index in block:
            try:
                pixels[index] = target.decode(files[index], notes)
            except DefectError as error:
                unreadable[index] = str(error)
                if not skip_unreadable:
                    raise UnreadableFileError(
                        f"'{shown_name(files[index])}' is not a readable picture: {error}; repair "
                        "or remove it, or leave out what cannot be read (--skip-unreadable, "
                        "skip_unreadable=True)",
                        path=files[index],
                        reason=str(error),
                    ) from error
        return unreadable

    blocks = [range(start, len(files))[:_BLOCK] for start in range(0, len(files), _BLOCK)]
    reasons: dict[int, str] = {}
    with quietly(), ThreadPoolExecutor(n_processors()) as threads:
        try:
            for block, unreadable in zip(blocks, threads.map(decode_block, blocks), strict=True):
                reasons |= unreadable
                if progress is not None:
                    progress(block.stop, len(files))
        finally:
            # After an error or Ctrl-C, no further block is decoded.
            threads.shutdown(cancel_futures=True)
    return reasons


class PictureRows(StoredRows):
    """Pictures of one shape in files, decoded on each access.

    Parameters
    ----------
    files : sequence of Path or Page
        The files, all of them readable.
    target : Target
        Shape, type and units of the rows.
    tell : bool, default=True
        Whether warnings about the files are issued once all have been read.

    Attributes
    ----------
    keeper : object
        An object that keeps the files in existence, if there is one.
    """

    def __init__(self, files: Sequence[Picture], target: Target, *, tell: bool = True) -> None:
        self._files, self._target = files, target
        self._notes = Notes() if tell else None
        self._read = 0
        self.shape, self.dtype = (len(files), *target.sample_shape), target.dtype
        self.keeper: object = None

    def stamp(self) -> object:
        """Return the hash by :func:`stamp_of`."""
        return stamp_of(self._files)

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Decode runs of files."""
        files = [file for begin, end in runs.tolist() for file in self._files[begin:end]]
        rows = into.reshape(len(into), *self._target.sample_shape)
        decode_files(files, rows, self._target, notes=self._notes)
        self._read += len(files)
        if self._notes is not None and self._read >= len(self._files):
            self._notes.warn()
            self._notes = None


def stamp_of(files: Sequence[Picture]) -> str:
    """Hash the files' names, sizes and times of change.

    Raises
    ------
    UnreadableFileError
        If a file no longer exists.
    """
    digest = sha256()
    for file in files:
        try:
            found = file_of(file).stat()
        except OSError as error:
            raise UnreadableFileError(
                f"'{shown_name(file)}' can no longer be read: {error.strerror}; put it back, and "
                "begin again",
                path=file_of(file),
                reason=error.strerror,
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
    """Decode all pictures, and return the numbers and reasons of unreadable ones.

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
        block = files[start : start + size]
        found = decode_files(block, pixels[: len(block)], target, skip_unreadable=True, notes=notes)
        reasons |= {start + place: reason for place, reason in found.items()}
        if progress is not None:
            progress(start + len(block), len(files))
    return reasons


@contextmanager
def one_processor() -> Iterator[None]:
    """Decode in one thread within the block, as other processes use the other processors."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def n_processors() -> int:
    """Count the processors that this process may use."""
    if _alone.get():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Look(NamedTuple):
    """Facts of a file's header: type, and byte of each page of a TIFF file."""

    dtype: np.dtype[Any]
    pages: Sequence[int | None] = (None,)
    channels: int = 3
    are_colours: bool = True


class Others(NamedTuple):
    """Files of other channels than grey and colours.

    Attributes
    ----------
    files : int
        Number of files.
    first : str
        Name of the first file.
    are_colours : bool
        Whether the first three channels of all files are red, green and blue.
    """

    files: int
    first: str
    are_colours: bool


@dataclass
class Scan:
    """Facts of the headers of picture files.

    Attributes
    ----------
    pictures : list of Path or Page
        The files, or all their pages, in the files' order.
    types : dict of dtype to str
        The types of their values, with the name of the first file of each.
    counts : dict of dtype to int
        The number of files of each type.
    others : dict of int to Others
        Files of other channels than grey and colours, by the number of channels.
    """

    pictures: list[Picture] = field(default_factory=list)
    types: dict[np.dtype[Any], str] = field(default_factory=dict)
    counts: dict[np.dtype[Any], int] = field(default_factory=dict)
    others: dict[int, Others] = field(default_factory=dict)


def scan(files: Sequence[Path], how: Reading) -> Scan:
    """Read the headers of picture files; unreadable files are listed, but have no facts.

    Parameters
    ----------
    files : sequence of Path
        The files.
    how : Reading
        Whether pages beyond the first are read.

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
            found.types.setdefault(look.dtype, shown_name(file))
            found.counts[look.dtype] = found.counts.get(look.dtype, 0) + 1
            if look.channels not in (1, 3):
                before = found.others.get(look.channels, Others(0, shown_name(file), True))
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
    """Pictures that are resized.

    Attributes
    ----------
    count, total : int
        The number of resized pictures, and of all.
    smallest, largest : tuple of int
        Height and width of the resized pictures with the fewest and the most pixels.
    to : tuple of int
        The new height and width.
    """

    count: int
    total: int
    smallest: Size
    largest: Size
    to: Size

    @classmethod
    def of_read(
        cls,
        sizes: Mapping[Picture, Size | None],
        to: Sequence[int],
        skipped: Iterable[tuple[Picture | str, str]] | None,
    ) -> Self | None:
        """Compare the sizes of files that were read, None where unknown, with the wanted one.

        None if no picture is resized.
        """
        if not sizes:
            return None
        wanted = (int(to[0]), int(to[1]))
        unread = {str(file) for file, _ in skipped or ()}
        read = [size for file, size in sizes.items() if str(file) not in unread]
        others = {size for size in read if size not in (None, wanted)}
        ordered = sorted(filter(None, others), key=lambda size: (size[0] * size[1], size))
        if not ordered:
            return None
        count = sum(size in others for size in read)
        return cls(count, len(read), ordered[0], ordered[-1], wanted)

    def words(self, *, short: bool = False) -> str:
        """Describe them: "20 pictures of 30 x 40 to 300 x 400 pixels (height x width)"."""
        sizes = " to ".join(dict.fromkeys(map(side_by_side, (self.smallest, self.largest))))
        pictures = "picture" if self.count == 1 else "pictures"
        return f"{self.count} {pictures} of {sizes}" + ("" if short else " pixels (height x width)")

    def as_json(self) -> dict[str, Any]:
        """Return the same for JSON."""
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


def warn_of_resized(path: Path, resized: Resized, *, learned: bool, stacklevel: int = 2) -> None:
    """Warn that pictures are resized.

    Parameters
    ----------
    path : Path
        Path of the pictures.
    resized : Resized
        The resized pictures.
    learned : bool
        Whether the size is that of a trained model, rather than chosen for these pictures.
    stacklevel : int
        See :func:`narrows.errors.warn`.
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
    """Read the heights and widths of upright pictures by a thread pool.

    Parameters
    ----------
    files : sequence of Path, Page or bytes
        Picture files, pages, or contents of files.

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
        return [size for block in threads.map(_sizes, chunks) for size in block]


def _sizes(files: Sequence[Picture] | Sequence[bytes]) -> list[Size | None]:
    return [size_of(file) for file in files]


def size_of(file: Picture | bytes) -> Size | None:
    """Read the height and width of one picture; see :func:`sizes_of`.

    It is called within a block of :func:`narrows.data.image_codec.quietly`.
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
    """Decode a picture file to pixels and, from the same decoding, to a thumbnail.

    Parameters
    ----------
    source, sample_shape, how, notes
        See :func:`narrows.data.image_codec.decode`.
    show : callable, optional
        Converts values of more than 8 bits to 8-bit pixels; by default 16 bits with a white of
        65535.
    always : bool, default=False
        Whether pictures that are no larger than a thumbnail get one as well.

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
        See :func:`narrows.data.image_codec.decode`.
    """
    with open_picture(source, how) as picture:
        wanted = always or max(picture.width, picture.height) > SIDE
        # In YCbCr, a grey model's pixels are the same as from a grey decoding.
        in_colours = "YCbCr" if wanted and mode_of(sample_shape) == "L" else None
        pixels, whole = picture.decode(sample_shape, notes, in_colours)
        if not wanted:
            return pixels, None
        if isinstance(whole, Deep):
            return pixels, _miniature(_shown(whole, show or _shades)) if whole.is_picture else None
        return pixels, _miniature(whole._replace(image=opaque(whole.image)))


def encode_thumbnail(pixels: NDArray[np.uint8]) -> bytes | None:
    """Make the thumbnail of a picture in memory; None if the picture is no larger.

    Parameters
    ----------
    pixels : ndarray of uint8, of shape (height, width) or (height, width, 1, 3 or 4)
        Values from 0 to 255; transparent parts are put on white.
    """
    if max(pixels.shape[:2]) <= SIDE:
        return None
    plain = pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels
    image = opaque(Image.fromarray(np.ascontiguousarray(plain)))
    return _miniature(Unpacked(image, None, 1))


def preview(
    source: Source, show: Show | None = None, how: Reading | None = None, *, side: int = SIDE
) -> NDArray[Any]:
    """Decode a picture file to a small, upright preview in its own proportions.

    Parameters
    ----------
    source : str, Path, Page or bytes
        The file, or its contents.
    show : callable, optional
        See :func:`decode_with_thumbnail`.
    how : Reading, optional
        The limit of pixels.
    side : int, default=128
        The most pixels of height and width.

    Returns
    -------
    ndarray of uint8, of shape (height, width) or (height, width, 3)

    Raises
    ------
    DefectError, MissingFileError
        See :func:`narrows.data.image_codec.decode`.

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
        unpacked = _to_look_at(picture, show, side)
        small = _upright_and_small(unpacked, side)
        return np.asarray(small.convert("L" if small.mode == "L" else "RGB"))


def _to_look_at(picture: OpenPicture, show: Show | None, side: int) -> Unpacked:
    if picture.image is not None:
        return picture.unpack((side, side), "RGB")
    deep = picture.read_deep()
    if not deep.is_picture:
        raise UnfitError(f"its {picture.channels} channels are no picture to look at")
    return _shown(deep, show or _shades, side)


def _shown(deep: Deep, show: Show, side: int = SIDE) -> Unpacked:
    """Convert a picture of more than 8 bits to one of 8, of so many pixels a side at most."""
    height, width, channels = deep.values.shape
    factor = min(1.0, side / max(height, width))
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


def _upright_and_small(unpacked: Unpacked, most: int = SIDE) -> Image.Image:
    """Reduce a picture to so many pixels a side at most, and turn it upright."""
    image = unpacked.image
    if image.mode not in ("L", "RGB", "YCbCr"):
        image = image.convert("L" if is_grey(image) else "RGB")
    if (side := max(image.size)) > most:
        factor = -(-side // most)
        if side >= _ENOUGH * most * factor:
            image = image.reduce(factor)
        else:
            width, height = (max(1, round(n * most / side)) for n in image.size)
            image = image.resize((width, height), Image.Resampling.BOX, reducing_gap=REDUCING_GAP)
    return turn(image, unpacked.turned)
