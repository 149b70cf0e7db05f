"""Read TIFF pages of more than 8 bits or other channels, by tifffile and libtiff; write pages.

tifffile parses the structure of a file; libtiff, which comes with Pillow, decompresses strips and
tiles, each into its expected number of bytes. References of a page to other files are ignored.
"""

import logging
import math
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from narrows.data.formats import Contents
from narrows.data.lazy_rows import in_blocks

# Messages about odd tags go to logs; whether a page is readable is decided here.
for _name in ("tifffile", "PIL.TiffImagePlugin"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

# Compressions of bytes; others (JPEG, JPEG 2000, WebP) are codecs of pictures.
_PLAIN, _PACKBITS = 1, 32773
_PACKED = {5: "LZW", 8: "deflate", 32946: "deflate", _PACKBITS: "PackBits", 34925: "LZMA",
           50000: "Zstd"}  # fmt: skip
_HORIZONTAL, _FLOATING = 2, 3  # predictors, which libtiff ignores for PackBits
_UNPREDICTED = (_PLAIN, _PACKBITS)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _CMYK: 4}
_PREMULTIPLIED, _ALPHA = 1, 2  # kinds of an extra sample
_KIND, _OLD_KIND = 254, 255  # tags
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2  # kinds of pages that are thumbnails or masks
_BIG = (b"+\0", b"\0+")  # in the header of files with 64-bit offsets
TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 5: "2I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "2i",
         11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}  # fmt: skip
"""The types of the values of tags, as :mod:`struct` has them."""

_DESCRIPTION, _MOST_AXES = 270, 8
_IMAGES, _SHAPE = re.compile(r"^images=(\d{1,9})", re.MULTILINE), re.compile(r'"shape": \[(.*?)\]')
_MOST_TAGS = 4096
_NUMBERS = (
    "imagelength", "imagewidth", "imagedepth", "samplesperpixel", "photometric", "planarconfig",
    "compression", "predictor", "fillorder", "rowsperstrip", "tilelength", "tilewidth",
)  # fmt: skip
_LARGE = 2**22  # pixels of a tile that small pictures may have
_LONGEST = 80  # characters of a damaged file's message
_WHOLE_BYTES = (8, 16, 32, 64)
_SEPARATE = 2  # a plane for each sample


class TiffDefectError(ValueError):
    """Why a page cannot be read, in a few words."""


@dataclass(frozen=True)
class TiffPage:
    """One page of an open file.

    Attributes
    ----------
    height, width : int
        Size as stored.
    channels : int
        1 for grey and 3 for colours, without opacity, or the number of other channels.
    dtype : dtype
        Type of the samples; uint16 for 9 to 15 bits.
    shows_colours : bool
        Whether the first three channels are red, green and blue.
    orientation : int
        EXIF orientation, from 1 (upright) to 8.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    shows_colours: bool
    orientation: int
    _tags: Any

    @classmethod
    def of(cls, file: BinaryIO) -> "TiffPage":
        """Read the tags of the first page of a file; see :func:`view_of_page` for others.

        Raises
        ------
        TiffDefectError, ValueError, OSError
            If it is damaged, or of an unsupported kind.
        """
        tags = open_page(file)
        colours = _colours_of(tags)
        extra = tags.samplesperpixel - colours
        if extra < 0:
            raise TiffDefectError(f"it has {tags.samplesperpixel} samples for {colours} colours")
        dtype = _dtype_of(tags)
        channels = tags.samplesperpixel - (_alpha_of(tags, dtype) is not None)
        if tags.photometric == _CMYK:
            if channels > colours or dtype != np.uint16:
                raise TiffDefectError(f"its inks (CMYK) are {dtype.name}, of {channels} channels")
            channels = 3
        return cls(
            int(tags.imagelength),
            int(tags.imagewidth),
            channels,
            dtype,
            colours >= 3,
            _orientation_of(tags),
            tags,
        )

    def read(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Decode the page.

        Returns
        -------
        values : ndarray of shape (height, width, channels)
            Unsigned 8 and 16 bits with black at zero; other values as stored.
        alpha : ndarray of shape (height, width) or None
            Opacity in 8 or 16 bits.

        Raises
        ------
        TiffDefectError, ValueError, OSError
            If it is damaged, or compressed in an unsupported way.
        """
        tags = self._tags
        samples = np.moveaxis(samples_of(tags), 0, 2)
        samples = samples.reshape(self.height, self.width, -1)
        if tags.bitspersample not in _WHOLE_BYTES:
            white = 2**tags.bitspersample - 1
            samples = ((samples.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)
        kind = _alpha_of(tags, self.dtype)
        alpha = None
        if kind is not None:
            place = _COLOURS[tags.photometric]
            alpha = samples[:, :, place]
            samples = np.delete(samples, place, axis=2)
            if kind == _PREMULTIPLIED:
                white = np.iinfo(self.dtype).max
                whole = samples.astype(np.float64) * white / np.maximum(alpha, 1)[:, :, None]
                samples = np.rint(whole.clip(0, white)).astype(self.dtype)
        if tags.photometric == _WHITE_IS_ZERO and self.dtype in (np.uint8, np.uint16):
            samples = np.iinfo(self.dtype).max - samples
        if tags.photometric == _CMYK:
            light = 65535 - samples.astype(np.uint64)
            samples = ((light[:, :, :3] * light[:, :, 3:] + 32767) // 65535).astype(np.uint16)
        return samples, alpha


def view_of_page(file: BinaryIO, number: int, offset: int | None) -> "PageView":
    """Return a view of a file in which another page, counted from 1, is the first.

    Raises
    ------
    ValueError, OSError
        If it has no such page, or is damaged.
    """
    if offset is None:
        offsets = page_offsets(file)
        if number > len(offsets):
            raise TiffDefectError(f"it has {len(offsets)} pages, and page {number} is asked for")
        offset = offsets[number - 1]
    return PageView(file, offset)


class PageView:
    """A view of a TIFF file whose header points to another page.

    Parameters
    ----------
    file : binary file
        The file.
    offset : int
        Byte at which the page begins.
    """

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file = file
        file.seek(0)
        start = file.read(8)
        order = "<" if start[:2] == b"II" else ">"
        big = start[2:4] in _BIG
        self._header = (
            start + struct.pack(f"{order}Q", offset)
            if big
            else (start[:4] + struct.pack(f"{order}I", offset))
        )
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes, or all that are left."""
        start = self._file.tell()
        data = self._file.read(size)
        return self._header[start : start + len(data)] + data[max(0, len(self._header) - start) :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def page_offsets(file: BinaryIO, *, every: bool = False) -> list[int]:
    """Return the offsets of the pages that are no thumbnails or masks, or of every one."""
    file.seek(0)
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = start[2:4] in _BIG
    number, entry, word = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    place = start[8:16] if big else start[4:8]
    pages: dict[int, bool] = {}
    while len(place) == struct.calcsize(word):
        (offset,) = struct.unpack(order + word, place)
        if not offset or offset in pages:
            break
        file.seek(offset)
        count = file.read(struct.calcsize(number))
        if len(count) < struct.calcsize(number):
            break
        size = struct.unpack(order + number, count)[0] * struct.calcsize(order + entry)
        if size > _MOST_TAGS * struct.calcsize(order + entry):
            break
        entries = file.read(size)
        if len(entries) < size:
            break
        pages[offset] = _is_own(struct.iter_unpack(order + entry, entries), order)
        place = file.read(struct.calcsize(word))
    if every:
        return list(pages)
    return [offset for offset, is_own in pages.items() if is_own] or list(pages)[:1]


def hidden_pages(file: BinaryIO) -> int:
    """Return how many pictures a file of one page says to have beyond it.

    ImageJ writes stacks of more than 4 GB, and tifffile some, with the directory of the first only.
    """
    words = str(open_page(file).tags.valueof(_DESCRIPTION, ""))
    stated = _IMAGES.search(words) if words.startswith("ImageJ=") else None
    if stated:
        return max(1, int(stated[1])) - 1
    shape = _SHAPE.search(words) if '"truncated": true' in words else None
    sides = [int(side) for side in re.findall(r"\d+", shape[1])[:_MOST_AXES]] if shape else []
    own = open_page(file)
    values: int = own.imagelength * own.imagewidth * own.samplesperpixel
    return max(1, math.prod(sides) // values) - 1


def _is_own(entries: Iterable[Any], order: str) -> bool:
    """Tell from its tags whether a page is no thumbnail or mask."""
    kinds = {tag: value for tag, _, _, value in entries if tag in (_KIND, _OLD_KIND)}
    if _KIND in kinds:
        (kind,) = struct.unpack_from(order + "I", kinds[_KIND])
        return not int(kind) & (_REDUCED | _MASK)
    (kind,) = struct.unpack_from(order + "H", kinds.get(_OLD_KIND, bytes(2)))
    return int(kind) != _OLD_REDUCED


def place_of_tag(file: BinaryIO, offset: int, tag: int) -> int:
    """Return where the value of a tag stands in the directory that begins at an offset.

    Raises
    ------
    TiffDefectError
        If the directory has no such tag.
    """
    file.seek(0)
    start = file.read(4)
    order = "<" if start[:2] == b"II" else ">"
    number, entry, before = ("Q", "HHQ8s", 12) if start[2:4] in _BIG else ("H", "HHI4s", 8)
    file.seek(offset)
    (count,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
    for _ in range(min(count, _MOST_TAGS)):
        place = file.tell()
        if struct.unpack(order + entry, file.read(struct.calcsize(order + entry)))[0] == tag:
            return place + before
    raise TiffDefectError(f"it has no tag {tag}")


def is_unpacked(tags: Any) -> bool:
    """Return whether a page is packed in no way, or in one of bytes that is unpacked here."""
    return tags.compression == _PLAIN or tags.compression in _PACKED


def write_tiff(file: Any, pages: Iterable[NDArray[Any]], *, opacity: bool = False) -> None:
    """Write pictures of shape (height, width[, C]) as the pages of a TIFF file.

    Parameters
    ----------
    file : path or binary file
        The file.
    pages : iterable of ndarray
        The pictures.
    opacity : bool, default=False
        Whether the last of four channels is opacity.
    """
    from tifffile import TiffWriter

    with TiffWriter(file) as writer:
        for page in pages:
            plain = page[:, :, 0] if page.shape[2:] == (1,) else page
            clear = opacity and plain.shape[2:] == (4,)
            colours = clear or plain.shape[2:] == (3,)
            writer.write(
                plain,
                photometric="rgb" if colours else "minisblack",
                planarconfig="contig" if plain.ndim == 3 else None,
                extrasamples=["unassalpha"] if clear else None,
                metadata=None,
                contiguous=False,
            )


def write_pages(path: Path, contents: Contents) -> None:
    """Write pictures as the pages of a TIFF file."""
    with path.open("wb") as file:
        write_tiff(file, (picture for block in in_blocks(contents.values) for picture in block))


def open_page(file: BinaryIO) -> Any:
    """Read the tags of the first page, and no other part of the file; see `view_of_page`.

    Raises
    ------
    TiffDefectError, ValueError
        If it is damaged, or a volume.
    """
    from tifffile import TiffFile, TiffFileError

    file.seek(0)
    try:
        tags: Any = TiffFile(file, _multifile=False).pages[0]
    except TiffFileError as error:
        raise ValueError(str(error)) from error
    wrong = [name for name in _NUMBERS if not isinstance(getattr(tags, name), int)]
    if wrong:
        raise ValueError(f"its {wrong[0]} is no number")
    if tags.imagedepth != 1 or not tags.imagelength or not tags.imagewidth:
        raise TiffDefectError("it is a volume or has no pixels; save its planes as pages")
    return tags


def _colours_of(tags: Any) -> int:
    """Count the samples of a colour, or of grey."""
    if tags.photometric not in _COLOURS:
        kind = getattr(tags.photometric, "name", tags.photometric)
        raise TiffDefectError(
            f"its samples are of the kind {kind}, which is read in 8 bits alone; save it in grey "
            "or RGB"
        )
    return _COLOURS[tags.photometric]


def _dtype_of(tags: Any) -> np.dtype[Any]:
    """Return the type of the samples in this machine's byte order."""
    bits = tags.bitspersample
    packed = not isinstance(bits, tuple) and 8 < bits < 16 and tags.sampleformat == 1
    if tags.dtype is None or tags.dtype.kind not in "uif" or not (bits in _WHOLE_BYTES or packed):
        kind = getattr(tags.sampleformat, "name", tags.sampleformat)
        value = f"{bits} bits ({kind})"[:_LONGEST]
        raise TiffDefectError(f"its samples of {value} are of no type that is read")
    dtype: np.dtype[Any] = np.dtype(tags.dtype).newbyteorder("=")
    return dtype


def _orientation_of(tags: Any) -> int:
    value = tags.tags.valueof(274, 1)
    return value if isinstance(value, int) else 1


def _alpha_of(tags: Any, dtype: np.dtype[Any]) -> int | None:
    """Return the kind of opacity of the first extra sample, if it is one."""
    colours, extra = _COLOURS[tags.photometric], tuple(tags.extrasamples or ())
    if tags.samplesperpixel == colours or dtype not in (np.uint8, np.uint16):
        return None
    if not extra and tags.photometric == _RGB and tags.samplesperpixel == colours + 1:
        return _ALPHA  # as written by programs that do not declare it
    return int(extra[0]) if extra and extra[0] in (_PREMULTIPLIED, _ALPHA) else None


def samples_of(tags: Any) -> NDArray[Any]:
    """Decode all strips or tiles of a page, (planes, height, width, samples).

    Raises
    ------
    TiffDefectError, ValueError, OSError
        If it is damaged, or compressed in an unsupported way.
    """
    separate = tags.planarconfig == _SEPARATE and tags.samplesperpixel > 1
    planes = tags.samplesperpixel if separate else 1
    height, width, samples = tags.imagelength, tags.imagewidth, tags.samplesperpixel // planes
    rows = tags.tilelength if tags.is_tiled else tags.rowsperstrip
    columns = tags.tilewidth if tags.is_tiled else width
    across, down = -(-width // columns), -(-height // rows)
    offsets, counts = tags.dataoffsets, tags.databytecounts
    if not len(offsets) == len(counts) == planes * down * across:
        raise TiffDefectError(
            f"{planes * down * across} strips or tiles belong to it, of which "
            f"{min(len(offsets), len(counts))} are there"
        )
    if rows * columns > max(4 * height * width, _LARGE):
        raise TiffDefectError("its tiles are larger than it is")
    values = np.zeros((planes, height, width, samples), np.dtype(tags.dtype).newbyteorder("="))
    for number, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        plane, place = divmod(number, down * across)
        top, left = (
            n * size for n, size in zip(divmod(place, across), (rows, columns), strict=True)
        )
        if not count:  # it was not written, and is zero
            continue
        tags.parent.filehandle.seek(offset)
        n_rows = rows if tags.is_tiled else min(rows, height - top)
        packed = tags.parent.filehandle.read(count)
        part = _unpack(packed, tags, n_rows, columns, samples)
        values[plane, top : top + rows, left : left + columns] = part[
            : height - top, : width - left
        ]
    return values


def _unpack(packed: bytes, tags: Any, rows: int, columns: int, samples: int) -> NDArray[Any]:
    """Decode one strip or tile, (rows, columns, samples)."""
    values: NDArray[Any]
    bits, dtype = tags.bitspersample, np.dtype(tags.dtype)
    n_bytes = -(-columns * samples * bits // 8)  # of a row
    data = _bytes_of(packed, tags.compression, tags.fillorder, rows, n_bytes)
    if bits not in _WHOLE_BYTES:
        single = np.unpackbits(np.frombuffer(data, np.uint8).reshape(rows, n_bytes), axis=1)
        single = single[:, : columns * samples * bits].reshape(rows, columns, samples, bits)
        values = single @ (1 << np.arange(bits, dtype=np.uint16)[::-1])
        return values
    predictor = 1 if tags.compression in _UNPREDICTED else tags.predictor
    if predictor == _FLOATING:
        # Bytes are differences along the row; the most significant bytes of all values come first.
        steps = np.frombuffer(data, np.uint8).reshape(rows, -1, samples)
        planes = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, -1)
        values = np.ascontiguousarray(planes.swapaxes(1, 2)).view(dtype.newbyteorder(">"))
        return values.reshape(rows, columns, samples).astype(dtype.newbyteorder("="))
    order = tags.parent.byteorder
    values = np.frombuffer(data, dtype.newbyteorder(order)).reshape(rows, columns, samples)
    values = values.astype(dtype.newbyteorder("="))
    if predictor == _HORIZONTAL:
        whole = np.dtype(f"u{dtype.itemsize}")
        values = np.cumsum(values.view(whole), axis=1, dtype=whole).view(values.dtype)
    elif predictor != 1:
        raise TiffDefectError(f"its predictor {predictor} is not read; save it without")
    return values


def _bytes_of(packed: bytes, compression: int, order: int, rows: int, n_bytes: int) -> bytes:
    """Decompress a strip or tile by libtiff into rows of ``n_bytes`` bytes."""
    if compression == _PLAIN and order == 1:
        if len(packed) < rows * n_bytes:
            raise TiffDefectError("it is cut short")
        return packed[: rows * n_bytes]
    if compression not in (_PLAIN, *_PACKED):
        kind = getattr(compression, "name", compression)
        raise TiffDefectError(
            f"samples other than 8-bit colours that are packed by {kind} are not read; save it "
            "without compression, or with " + ", ".join(dict.fromkeys(_PACKED.values()))
        )
    entries = {256: n_bytes, 257: rows, 258: 8, 259: int(compression), 262: 1, 266: order, 277: 1}
    start = 8 + 2 + 12 * (len(entries) + 3) + 4
    entries |= {273: start, 278: rows, 279: len(packed)}
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    header += b"".join(struct.pack("<HHII", *(tag, 4, 1, n)) for tag, n in sorted(entries.items()))
    with TiffImagePlugin.TiffImageFile(BytesIO(header + bytes(4) + packed)) as image:
        return image.tobytes()
