"""TIFF files page by page as they are stored, and written again with their tags.

Samples are read and written as they are, with black at zero or white at zero, interleaved or in
planes. Tags that describe a page (names, dates, resolution, colour profile, axes of a stack, EXIF
and GPS data) are copied; those about how samples are laid out are made anew. Compressed pages are
written in deflate, which loses nothing.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from narrows.data import tiff
from narrows.data.photo_frames import Carried, Frame, frame_of_image
from narrows.data.tiff import TiffDefectError

# Tags about the layout of samples, which the writer makes, and those that lead to other parts of
# the file. See the TIFF 6.0 specification and its supplements.
_MADE = {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 282, 283, 284, 288, 289, 296,
         317, 318, 319, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 400, 512, 513, 514,
         515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 32997, 32998, 40965}  # fmt: skip
_ORIENTATION, _DESCRIPTION, _EXIF, _GPS = 274, 270, 34665, 34853
_OF_STACK = {_DESCRIPTION, 50838, 50839}  # what ImageJ says of a stack, in its first page
_ICC, _XMP = 34675, 700
_TEXTS = {271, 272, 305, 306, 315, 33432}  # of EXIF data that other files have in common
_WORDS = {_EXIF: "ExifTag", _GPS: "GPSTag"}  # as tifffile calls them
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_PLAIN, _SEPARATE, _UNSPECIFIED = 1, 2, 0
_FULL = (8, 16, 32, 64)
_LARGEST = 4_000_000_000  # bytes of a file with offsets of 32 bits
Open = Callable[[BinaryIO, Callable[[int, int], None]], Any]
_TILE = 16  # of which the sides of tiles are multiples


@dataclass(frozen=True)
class Layout:
    """How the samples of a page are laid out, and what else it holds.

    Attributes
    ----------
    photometric : int
        What the samples mean, as the tag says: white is zero, black is zero, RGB, CMYK.
    separate : bool
        Whether each channel is a plane of its own.
    extra : tuple of int
        The kinds of the samples beyond the colours.
    is_packed : bool
        Whether the page is compressed.
    tile : (int, int) or None
        Height and width of tiles.
    resolution : tuple or None
        Pixels a unit along x and y, and the unit as the tag has it.
    tags : tuple
        The tags that are copied, as tifffile takes them.
    parts : dict of int to dict
        The entries of the EXIF and GPS directories.
    byte_order : {"<", ">"}
        Of the file that the tags were read from.
    """

    photometric: int
    separate: bool = False
    extra: tuple[int, ...] = ()
    is_packed: bool = False
    tile: tuple[int, int] | None = None
    resolution: tuple[Any, Any, int] | None = None
    tags: tuple[Any, ...] = ()
    parts: Any = None
    byte_order: str = "<"


def read_page(
    file: BinaryIO, offset: int, open_image: Open, check: Callable[[int, int, int], None]
) -> Frame:
    """Read the page of a file that begins at an offset.

    Parameters
    ----------
    file : binary file
    offset : int
        One of :func:`narrows.data.tiff.page_offsets`.
    open_image : callable
        Opens a file by Pillow, which reads the kinds that are pictures of 8 bits and compressed as
        such.
    check : callable
        Called with the width, the height and the bytes a pixel of the page, to refuse it.

    Raises
    ------
    TiffDefectError, ValueError, OSError
        If it is damaged, or of an unsupported kind.
    """
    view = cast("BinaryIO", tiff.PageView(file, offset))
    page = tiff.open_page(view)
    check(page.imagewidth, page.imagelength, page.samplesperpixel * max(1, page.dtype.itemsize))
    layout = _layout_of(page, view)
    if not _is_read_here(page):
        image = open_image(view, lambda *_: None)
        if image is None:
            raise TiffDefectError("its samples are of no kind that is read")
        image.load()  # which turns it upright
        frame = frame_of_image(image)
        tags = tuple(tag for tag in layout.tags if tag[0] != _ORIENTATION)
        kinds = (2,) if frame.alpha is not None else ()
        return frame._replace(
            layout=replace(layout, photometric=_photometric(frame), separate=False, extra=kinds,
                           tags=tags),
            note="converted" if image.mode not in ("1", "L", "RGB", "CMYK") else frame.note,
        )  # fmt: skip
    samples = np.moveaxis(tiff.samples_of(page), 0, 2)
    samples = samples.reshape(page.imagelength, page.imagewidth, -1)
    note = None
    if page.bitspersample == 1:
        samples = samples.astype(bool)
    elif page.bitspersample not in _FULL:
        white = 2**page.bitspersample - 1
        samples = ((samples.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)
        note = "unpacked"
    colours = {_RGB: 3, _CMYK: 4}.get(page.photometric, 1)
    alpha = colours if any(kind in (1, 2) for kind in layout.extra[:1]) else None
    if page.photometric == _RGB and samples.shape[2] == 4 and not layout.extra:
        alpha, layout = 3, replace(layout, extra=(2,))  # as programs write it that do not declare
    values = samples[:, :, 0] if samples.shape[2] == 1 else samples
    return Frame(values, alpha, page.photometric == _RGB, layout=layout, note=note)


def read_hidden_page(file: BinaryIO, offset: int, number: int, first: Frame) -> Frame:
    """Read a page without a directory, which follows the samples of the only one that has one.

    ImageJ writes large stacks so, and tifffile files for ImageJ.

    Parameters
    ----------
    file, offset
        As for :func:`read_page`: where the page with a directory begins.
    number : int
        How many pages after it, from 1 on.
    first : Frame
        The page with a directory.

    Raises
    ------
    TiffDefectError
        If the samples do not follow one another, or the file is cut short.
    """
    page = tiff.open_page(cast("BinaryIO", tiff.PageView(file, offset)))
    size = first.values.nbytes
    if not page.is_contiguous or first.values.dtype.kind == "b" or first.note is not None:
        raise TiffDefectError(
            "its pictures have no directory of their own, and do not follow one another; save it "
            "as a stack with one for each"
        )
    file.seek(page.dataoffsets[0] + number * size)
    packed = file.read(size)
    if len(packed) < size:
        raise TiffDefectError("it is cut short")
    stored = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    shape = first.values.shape
    if first.layout.separate:
        values = np.moveaxis(np.frombuffer(packed, stored).reshape(shape[2], *shape[:2]), 0, 2)
    else:
        values = np.frombuffer(packed, stored).reshape(shape)
    tags = tuple(tag for tag in first.layout.tags if tag[0] not in _OF_STACK)
    return first._replace(
        values=values.astype(first.values.dtype), layout=replace(first.layout, tags=tags, parts={})
    )


def _is_read_here(page: Any) -> bool:
    """Return whether a page's samples are read as they are stored, and not by Pillow."""
    bits = page.bitspersample
    whole = not isinstance(bits, tuple) and (bits == 1 or bits > 8 or bits in _FULL)
    plain = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK)
    return plain and whole and tiff.is_unpacked(page)


def _photometric(frame: Frame) -> int:
    if frame.shows_colours:
        return _RGB
    return _CMYK if frame.values.ndim == 3 and frame.values.shape[2] == 4 else _BLACK_IS_ZERO


def _layout_of(page: Any, view: BinaryIO) -> Layout:
    order = page.parent.byteorder
    tags = []
    for tag in page.tags.values():
        if tag.code in _MADE or tag.code in (_EXIF, _GPS):
            continue
        size = struct.calcsize(tiff.TYPES.get(int(tag.dtype), "")) * tag.count
        view.seek(tag.valueoffset)
        packed = view.read(size)
        if size and len(packed) == size:
            tags.append((tag.code, int(tag.dtype), tag.count, packed, False))
    resolution = [page.tags.valueof(code) for code in (282, 283)]
    tile = (page.tilelength, page.tilewidth) if page.is_tiled else None
    return Layout(
        photometric=int(page.photometric),
        separate=page.planarconfig == _SEPARATE and page.samplesperpixel > 1,
        extra=tuple(int(kind) for kind in page.extrasamples or ()),
        is_packed=page.compression != _PLAIN,
        tile=tile if tile and not any(side % _TILE for side in tile) else None,
        resolution=None if None in resolution else (*resolution, int(page.tags.valueof(296, 2))),
        tags=tuple(tags),
        parts=_parts_of(page, view),
        byte_order=order,
    )


def _parts_of(page: Any, view: BinaryIO) -> dict[int, dict[int, Any]]:
    """Read the EXIF and GPS directories of a page; damaged ones are left out."""
    parts: dict[int, dict[int, Any]] = {}
    for part in (_EXIF, _GPS):
        if part not in page.tags:
            continue
        big = page.parent.is_bigtiff
        view.seek(0)
        found = ImageFileDirectory_v2(view.read(16 if big else 8), group=part)
        view.seek(tiff.place_of_tag(view, page.offset, part))
        place = view.read(8 if big else 4)
        view.seek(int.from_bytes(place, "little" if page.parent.byteorder == "<" else "big"))
        with suppress(OSError, ValueError, LookupError, TypeError, struct.error):
            found.load(view)
            parts[part] = dict(found)
    return {part: entries for part, entries in parts.items() if entries}


def carried_of(frame: Frame) -> Carried:
    """Return what a page holds besides its samples, for files of other kinds."""
    layout: Layout = frame.layout
    exif = Image.Exif()
    raw = {code: packed for code, _, _, packed, _ in layout.tags}
    for code in _TEXTS & raw.keys():
        exif[code] = raw[code].rstrip(b"\0").decode("utf-8", "replace")
    if _ORIENTATION in raw:
        exif[_ORIENTATION] = struct.unpack(layout.byte_order + "H", raw[_ORIENTATION][:2])[0]
    for part, entries in (layout.parts or {}).items():
        exif.get_ifd(part).update(entries)
    dpi = None
    if layout.resolution is not None and layout.resolution[2] in (2, 3):
        inch = 1 if layout.resolution[2] == 2 else 2.54
        x, y = (n / d * inch if d else 0 for n, d in layout.resolution[:2])
        dpi = (x, y) if min(x, y) > 0 else None
    packed = exif.tobytes() if len(exif) else b""
    return Carried(packed, raw.get(_ICC, b""), raw.get(_XMP, b""), dpi)


def layout_for(frame: Frame, carried: Carried) -> Layout:
    """Choose the layout of a page for a picture that came from another kind of file."""
    exif = Image.Exif()
    if carried.exif:
        exif.load(carried.exif)
    tags: list[Any] = [
        (code, 2, 0, f"{exif[code]}\0".encode(), False) for code in sorted(_TEXTS & exif.keys())
    ]
    tags = [(code, kind, len(value), value, once) for code, kind, _, value, once in tags]
    if _ORIENTATION in exif:
        tags.append((_ORIENTATION, 3, 1, exif[_ORIENTATION], False))
    if carried.icc:
        tags.append((_ICC, 7, len(carried.icc), carried.icc, False))
    if carried.xmp:
        tags.append((_XMP, 1, len(carried.xmp), carried.xmp, False))
    parts = {part: found for part in (_EXIF, _GPS) if (found := dict(exif.get_ifd(part)))}
    dpi = None if carried.dpi is None else (*carried.dpi, 2)
    kinds = () if frame.alpha is None else (2,)
    return Layout(_photometric(frame), extra=kinds, is_packed=True, resolution=dpi,
                  tags=tuple(sorted(tags)), parts=parts)  # fmt: skip


def write_pages(path: Path, frames: Iterable[Frame], carried: Carried, n_bytes: int) -> None:
    """Write pictures as the pages of a TIFF file, with what their layouts hold.

    Parameters
    ----------
    path : Path
        The new file.
    frames : iterable of Frame
        The pictures.
    carried : Carried
        What files of other kinds hold, for pictures without a layout.
    n_bytes : int
        The size of all samples, which decides on the offsets of the file.
    """
    from tifffile import TiffWriter

    waiting = iter(frames)
    first = next(waiting)
    order: Any = first.layout.byte_order if first.layout is not None else "<"
    parts: list[Any] = []
    with path.open("wb") as file:
        big = n_bytes > _LARGEST
        with TiffWriter(file, byteorder=order, bigtiff=big, ome=False, imagej=False) as writer:
            for frame in _chained(first, waiting):
                layout = frame.layout or layout_for(frame, carried)
                parts.append(layout.parts or {})
                _write_page(writer, frame, layout)
    if any(parts):
        _append_parts(path, parts, order)


def _chained(first: Frame, others: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from others


def _write_page(writer: Any, frame: Frame, layout: Layout) -> None:
    values = frame.values
    if layout.separate and values.ndim == 3:
        values = np.moveaxis(values, 2, 0)
    options: dict[str, Any] = {}
    if frame.values.ndim == 3:
        options["planarconfig"] = "separate" if layout.separate else "contig"
    if layout.extra:
        options["extrasamples"] = layout.extra
    if layout.is_packed:
        options["compression"] = "zlib"
        if values.dtype.kind in "iu":
            options["predictor"] = True
    if layout.resolution is not None:
        x, y, unit = layout.resolution
        options |= {"resolution": (x, y), "resolutionunit": unit}
    if layout.tile is not None and values.dtype != bool:
        options["tile"] = layout.tile
    places = [(_WORDS[part], 4, 1, 0, False) for part in layout.parts or {}]
    writer.write(
        np.ascontiguousarray(values),
        photometric=layout.photometric,
        metadata=None,
        software=False,
        contiguous=False,
        extratags=[*layout.tags, *places],
        **options,
    )


def _append_parts(path: Path, parts: list[Any], order: str) -> None:
    """Append the EXIF and GPS directories, and have their tags in each page point to them."""
    with path.open("r+b") as file:
        head = file.read(16)
        big = head[2:4] in (b"+\0", b"\0+")
        for offset, own in zip(tiff.page_offsets(file), parts, strict=True):
            for part, entries in own.items():
                place = tiff.place_of_tag(file, offset, part)
                start = file.seek(0, 2)
                start += start % 2
                made = ImageFileDirectory_v2(head[: 16 if big else 8], group=part)
                for tag, value in entries.items():
                    made[tag] = value
                file.seek(start)
                file.write(made.tobytes(start))
                file.seek(place)
                file.write(struct.pack(order + "I", start))
