"""Picture files other than TIFF written with what the file held that they were read from.

Pillow encodes the samples; what a PNG or a JPEG file holds besides is copied as it is, chunk by
chunk and segment by segment. The quality of lossy kinds is 95 of 100, or that of the file if it is
better.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, JpegImagePlugin
from PIL.ImageFile import ImageFile

from narrows.containment import available
from narrows.data.depths import encode_deep_png
from narrows.data.photo_frames import Carried, Frame, image_of_frame
from narrows.errors import DataError

QUALITY = 95
"""The quality of lossy kinds, of 100."""


class UnwritableError(DataError):
    """A kind of files cannot hold a picture; `reason` says what of it."""


_BEHIND_HEADER = 8 + 8 + 13 + 4  # bytes of a PNG file's signature and first chunk
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that the encoder makes, or that hold only for the palette or the depth of the file.
_OWN_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"bKGD", b"hIST", b"sBIT", b"sPLT",
               b"acTL", b"fcTL", b"fdAT"}  # fmt: skip
# Segments of JPEG that are copied: APP1 (EXIF, XMP), APP2 (colour profile), APP13 (IPTC), comments.
_SEGMENTS = {0xE1: b"", 0xE2: b"ICC_PROFILE\0", 0xED: b"", 0xFE: b""}
_LONGEST = 65533  # bytes of a segment
_METRE = 39.3701  # inches
_JFIF = 13  # bytes of a JPEG file before the unit of its density
# EXIF's resolution, and the unit of inches.
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _INCH = 282, 283, 296, 2
_COARSEST = 12  # the largest number in the quantisation tables of quality 95
# Channels of 8 bits that a kind takes without opacity, and with it.
_PLAIN, _WITH_ALPHA = {1, 3}, {2, 4}
_TAKES: dict[str, tuple[set[int], set[int]]] = {
    "PNG": (_PLAIN, _WITH_ALPHA),
    "JPEG": ({1, 3, 4}, set()),
    "WEBP": (_PLAIN, _WITH_ALPHA),
    "AVIF": (_PLAIN, _WITH_ALPHA),
    "GIF": (_PLAIN, _WITH_ALPHA),
    "JPEG2000": (_PLAIN, _WITH_ALPHA),
    "BMP": (_PLAIN, {4}),
    "PPM": (_PLAIN, set()),
    "HEIF": (_PLAIN, _WITH_ALPHA),
    "JXL": (_PLAIN, _WITH_ALPHA),
}
_BLACK_AND_WHITE = {"PNG", "BMP", "PPM"}
_SEVERAL = {"PNG", "WEBP", "AVIF", "GIF"}
_SIXTEEN = {"PNG", "PPM"}


def carried_of(image: ImageFile, file: BinaryIO) -> Carried:
    """Return what an open file holds besides its pictures.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        The file as Pillow opened and loaded it.
    file : binary file
        The same file.
    """
    own: dict[str, Any] = {}
    kind = kind_of(image)
    if kind == "PNG":
        own["chunks"] = _chunks_of(file)
    elif kind == "JPEG":
        own["segments"] = _segments_of(file)
        own["qtables"] = getattr(image, "quantization", None)
        own["subsampling"] = JpegImagePlugin.get_sampling(image)
        own["progressive"] = bool(image.info.get("progressive"))
        own["density"] = _density_of(image)
    elif kind == "WEBP":
        file.seek(0)
        own["lossless"] = b"VP8L" in file.read(256)
    for name in ("loop", "background"):
        if name in image.info:
            own[name] = image.info[name]
    exif = image.getexif()
    dpi = image.info.get("dpi")
    if kind == "JPEG" and own["density"][0] not in (1, 2) and _X_RESOLUTION not in exif:
        dpi = None  # Pillow takes 72 where there are EXIF data without a resolution
    return Carried(
        exif.tobytes() if len(exif) else b"",
        image.info.get("icc_profile") or b"",
        image.info.get("xmp") or b"",
        None if dpi is None or min(dpi) <= 0 else (float(dpi[0]), float(dpi[1])),
        own,
    )


def _density_of(image: ImageFile) -> tuple[int, int, int]:
    """Return unit, x and y of a JPEG file's JFIF header; without unit if there is no such header.

    Without a unit (0) the two numbers are the shape of pixels.
    """
    x, y = image.info.get("jfif_density") or (1, 1)
    return int(image.info.get("jfif_unit") or 0), int(x), int(y)


def kind_of(image: ImageFile) -> str:
    """Return Pillow's name of a kind of files; that of JPEG files with previews is JPEG."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def encode(
    path: Path, kind: str, frames: Iterable[Frame], carried: Carried, *, same_kind: bool
) -> None:
    """Write pictures to a file of a kind that Pillow writes.

    Parameters
    ----------
    path : Path
        The new file.
    kind : str
        Pillow's name of the kind.
    frames : iterable of Frame
        Its pictures, at least one.
    carried : Carried
        What else goes into the file.
    same_kind : bool
        Whether it comes from a file of the same kind.

    Raises
    ------
    DataError
        If a file of the kind cannot hold such pictures.
    """
    if not same_kind:
        carried = carried._replace(own={})
    waiting = iter(frames)
    first = next(waiting)
    check_holds(kind, first, path)
    if first.values.dtype == np.uint16:
        deep = _deep_png if kind == "PNG" else _deep_pnm
        path.write_bytes(deep(first, carried))
        return
    second = next(waiting, None)
    images, durations = [_image_for(kind, first)], [round(first.duration)]
    if second is not None:
        for frame in _chain(second, waiting):
            images.append(_image_for(kind, frame))
            durations.append(round(frame.duration))
            _check_memory(images, path)
    options = _options(kind, carried)
    if len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:], "duration": durations}
        options["loop"] = carried.own.get("loop", 0)
        if kind == "GIF" and any(frame.has_transparency_data for frame in images):
            options["disposal"] = 2
    with path.open("wb") as file:
        to: Any = _Inserting(file, _chunks_for(carried)) if kind == "PNG" else file
        images[0].save(to, kind, **options)
    if kind == "JPEG" and "density" in carried.own:
        _set_density(path, carried.own["density"])


def check_holds(kind: str, frame: Frame, path: Path, count: int = 1) -> None:
    """Refuse pictures that a kind of files does not hold.

    Raises
    ------
    UnwritableError
        If it has fewer bits, other channels, or no several pictures.
    """
    dtype, channels = frame.values.dtype, frame.values.shape[2:] or (1,)
    with_alpha = frame.alpha is not None
    if dtype.kind == "b":
        fits, why = kind in _BLACK_AND_WHITE, "pictures of black and white alone"
    elif dtype == np.uint16:
        fits = kind in _SIXTEEN and channels[0] in (_PLAIN if kind == "PPM" else (1, 2, 3, 4))
        why = "16 bits a sample"
    else:
        fits = dtype == np.uint8 and channels[0] in _TAKES.get(kind, (set(), set()))[with_alpha]
        why = f"{channels[0]} channels of {dtype}" + " with opacity" * with_alpha
    if fits and count > 1:
        fits = kind in _SEVERAL and dtype != np.uint16
        why = f"{count} pictures" + " of 16 bits a sample" * (dtype == np.uint16)
    if not fits:
        raise UnwritableError(
            f"'{path}' does not hold {why}, which the given file has; name a file ending in .tif",
            reason=f"{kind} files do not hold {why}",
        )


def _chain(first: Frame, others: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from others


def _check_memory(images: Sequence[Image.Image], path: Path) -> None:
    needed = 2 * 4 * images[0].width * images[0].height  # the next frame, and its encoded form
    if needed > available() / 2:
        raise DataError(
            f"'{path}' would have more frames than fit into memory, {len(images)} so far; save "
            "them as pages of a TIFF file, which are written one by one"
        )


def _image_for(kind: str, frame: Frame) -> Image.Image:
    """Return Pillow's picture as a kind takes it."""
    image = image_of_frame(frame)
    if kind in ("WEBP", "AVIF", "GIF", "HEIF", "JXL") and image.mode == "LA":
        return image.convert("RGBA")
    if kind == "GIF" and image.mode == "RGB":  # of others, Pillow finds the colours
        return image.quantize(256, dither=Image.Dither.NONE)
    return image


def _options(kind: str, carried: Carried) -> dict[str, Any]:
    """Return Pillow's options of a kind."""
    options: dict[str, Any] = {}
    own = carried.own
    if carried.dpi is not None and kind in ("JPEG", "BMP"):
        options["dpi"] = carried.dpi
    if kind == "JPEG":
        tables = own.get("qtables") or {0: [_COARSEST + 1]}
        is_fine = all(max(tables[number]) <= _COARSEST for number in tables)
        options |= {"qtables": tables} if is_fine else {"quality": QUALITY}
        options["subsampling"] = max(own.get("subsampling", 0), 0)
        options["progressive"] = own.get("progressive", False)
        options["extra"] = own.get("segments") or _segments_for(carried)
    elif kind in ("WEBP", "AVIF", "HEIF", "JXL"):
        given = {
            "exif": _exif_with_resolution(carried),
            "icc_profile": carried.icc,
            "xmp": carried.xmp,
        }
        options |= {name: value for name, value in given.items() if value}
        options["quality"] = QUALITY
        if kind == "WEBP":
            options |= {"lossless": own.get("lossless", False), "exact": own.get("lossless", False)}
            if "background" in own:
                options["background"] = own["background"]
    return options


def _set_density(path: Path, density: tuple[int, int, int]) -> None:
    """Write unit, x and y into the JFIF header of a JPEG file, if it has one."""
    with path.open("r+b") as file:
        if file.read(_JFIF)[6:11] == b"JFIF\0":
            file.seek(_JFIF)
            file.write(struct.pack(">BHH", *density))


def _segments_of(file: BinaryIO) -> bytes:
    """Return the segments of a JPEG file that are copied."""
    file.seek(2)
    kept = []
    while len(start := file.read(4)) == 4 and start[0] == 0xFF:
        marker, length = start[1], struct.unpack(">H", start[2:])[0]
        if marker == 0xDA or length < 2:  # the samples
            break
        body = file.read(length - 2)
        if marker in _SEGMENTS and body.startswith(_SEGMENTS[marker]):
            kept.append(start + body)
    return b"".join(kept)


def _segments_for(carried: Carried) -> bytes:
    """Make the segments of a JPEG file of what another kind of file holds."""
    parts = []
    if carried.exif:
        exif = carried.exif
        parts.append((0xE1, exif if exif.startswith(b"Exif\0\0") else b"Exif\0\0" + exif))
    if carried.xmp:
        parts.append((0xE1, b"http://ns.adobe.com/xap/1.0/\0" + carried.xmp))
    room = _LONGEST - 14
    pieces = [carried.icc[start : start + room] for start in range(0, len(carried.icc), room)]
    for number, piece in enumerate(pieces, 1):
        parts.append((0xE2, b"ICC_PROFILE\0" + bytes((number, len(pieces))) + piece))
    return b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        for marker, body in parts
        if len(body) <= _LONGEST
    )


def _chunks_of(file: BinaryIO) -> bytes:
    """Return the chunks of a PNG file that are copied."""
    file.seek(len(_SIGNATURE))
    kept = []
    while len(start := file.read(8)) == 8:
        length, name = struct.unpack(">I", start[:4])[0], start[4:]
        if name in _OWN_CHUNKS:
            file.seek(length + 4, 1)
        else:
            kept.append(start + file.read(length + 4))
        if name == b"IEND":
            break
    return b"".join(kept)


def _chunks_for(carried: Carried) -> bytes:
    """Return the chunks of a PNG file: those of the same file, or made of what another holds."""
    if carried.own and "chunks" in carried.own:
        chunks: bytes = carried.own["chunks"]
        return chunks
    made = []
    if carried.icc:
        made.append((b"iCCP", b"profile\0\0" + zlib.compress(carried.icc)))
    if carried.dpi is not None:
        x, y = (round(dpi * _METRE) for dpi in carried.dpi)
        made.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if carried.exif:
        made.append((b"eXIf", carried.exif.removeprefix(b"Exif\0\0")))
    if carried.xmp:
        made.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + carried.xmp))
    return b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in made
    )


def _exif_with_resolution(carried: Carried) -> bytes:
    """Return EXIF data with the resolution, for kinds that hold it nowhere else."""
    exif = Image.Exif()
    if carried.exif:
        exif.load(carried.exif)
    if carried.dpi is None or _X_RESOLUTION in exif:
        return carried.exif
    exif[_X_RESOLUTION], exif[_Y_RESOLUTION] = carried.dpi
    exif[_UNIT] = _INCH
    return exif.tobytes()


def _with_chunks(file: bytes, chunks: bytes) -> bytes:
    """Put chunks behind the header of the contents of a PNG file."""
    return file[:_BEHIND_HEADER] + chunks + file[_BEHIND_HEADER:]


class _Inserting:
    """A file that is written from its beginning on, with chunks behind the header of PNG."""

    def __init__(self, file: BinaryIO, chunks: bytes) -> None:
        self._file, self._chunks = file, chunks
        self._left = _BEHIND_HEADER

    def write(self, data: bytes) -> int:
        """Write bytes, and the chunks when the header is complete."""
        header, rest = data[: self._left], data[self._left :]
        self._file.write(header)
        if self._left and len(header) == self._left:
            self._file.write(self._chunks)
        self._left -= len(header)
        self._file.write(rest)
        return len(data)

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()


def _deep_png(frame: Frame, carried: Carried) -> bytes:
    return _with_chunks(encode_deep_png(frame.values), _chunks_for(carried))


def _deep_pnm(frame: Frame, carried: Carried) -> bytes:
    del carried
    height, width = frame.values.shape[:2]
    name = "P6" if frame.values.ndim == 3 else "P5"
    return f"{name}\n{width} {height}\n65535\n".encode() + frame.values.astype(">u2").tobytes()
