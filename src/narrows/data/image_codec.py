"""From picture files to pixels, on top of Pillow and, for what it does not read, tifffile.

All pictures are decoded alike. In 8 bits: JPEG files are decoded at a reduced size where that is
enough, transparent parts are put on white, the picture is resized with antialiasing, and turned
upright by its EXIF data. Pictures of more bits or other channels are treated the same way by
:mod:`narrows.data.depths`, in the type of the file.
"""

import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from narrows.containment import available
from narrows.data import tiff
from narrows.data.depths import (
    REDUCING_GAP,
    SHADES,
    Deep,
    is_deep_png,
    is_grey_png_with_alpha,
    on_white,
    read_deep_png,
    upright,
    with_opacity,
)
from narrows.data.folders import what_it_is
from narrows.data.formats import FORMATS, Format
from narrows.data.reading import Notes, Page, Reading, shown_name
from narrows.data.tiff import TiffDefectError, TiffPage
from narrows.errors import MissingFileError

# What Pillow's readers raise for damaged files, as Pillow has no class for that.
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height
_LONGEST = 200  # characters of a library's message in ours
_COPIES = 3  # copies of a picture's values in memory at a time
_BITS, _SAMPLE_FORMAT, _EXTRA_SAMPLES = 258, 339, 338  # tags of TIFF
_UNSIGNED, _UNSPECIFIED = 1, 0

Source: TypeAlias = str | Path | Page | bytes
"""A picture file, its contents, or a page."""

# Pillow can open more formats, some by running other programs (PostScript), some by guessing.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Brands that an HEIF file may begin with; those of AVIF are Pillow's own.
_HEIF_BRANDS = {b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevm", b"hevs", b"hevx", b"mif1"}
_JXL_STREAM, _JXL_BOXES = b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
# Formats of packages that extend Pillow, by Pillow's names, and what recognises their first bytes.
_HEIC, _JPEG_XL = (file_format for file_format in FORMATS if file_format.needs)
_OPTIONAL: dict[str, tuple[Format, Callable[[bytes], bool]]] = {
    "HEIF": (_HEIC, lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS),
    "JXL": (_JPEG_XL, lambda head: head.startswith((_JXL_STREAM, _JXL_BOXES))),
}
_JXL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_JXL_WIDTHS = (9, 13, 18, 30)  # bits of a side length
_HEADER = 4096  # bytes of a header that state the bits per sample


class UnfitError(ValueError):
    """Why an intact picture is not read, in a few words."""


class DefectError(Exception):
    """Why a picture cannot be read, in a few words; the caller adds its name and the remedy.

    Parameters
    ----------
    why : str
        The reason.
    unharmed : bool, default=False
        Whether the file is intact.
    """

    def __init__(self, why: str, *, unharmed: bool = False) -> None:
        super().__init__(why)
        self.unharmed = unharmed


def decode(
    source: Source,
    sample_shape: tuple[int, ...],
    how: Reading | None = None,
    notes: Notes | None = None,
) -> NDArray[Any]:
    """Decode a picture file, or its contents, to pixels.

    Parameters
    ----------
    source : str, Path, Page or bytes
        The file, a page, or the contents of a file.
    sample_shape : tuple of int
        (height, width) or (height, width, 1) for grey, (height, width, 3) for colour,
        (height, width, 4) for colour and opacity, (height, width, C) for other channels.
    how : Reading, optional
        The limit of pixels.
    notes : Notes, optional
        Collects notes of the file.

    Returns
    -------
    ndarray of shape ``sample_shape``
        Of uint8, from 0 (black) to 255 (white), for files of up to 8 bits a sample; of uint16, with
        65535 for white, for those of 9 to 16 bits; otherwise of the file's own type and values.
        Transparent parts are put on white, unless rows have a channel of opacity.

    Raises
    ------
    DefectError
        If it cannot be read, or has other channels.
    MissingFileError
        If the file does not exist.

    Examples
    --------
    >>> from io import BytesIO
    >>> from PIL import Image

    >>> file = BytesIO()
    >>> Image.new("RGBA", (9, 5), "#ff000000").save(file, "PNG")  # transparent red
    >>> decode(file.getvalue(), (1, 2)).tolist()
    [[255, 255]]
    """
    with open_picture(source, how) as picture:
        return picture.decode(sample_shape, notes)[0]


class Unpacked(NamedTuple):
    """The opaque pixels of a picture of at most 8 bits.

    ``box`` is the part of the pixels that is the picture, if a JPEG was decoded at a reduced size,
    and ``turned`` their EXIF orientation.
    """

    image: Image.Image
    box: tuple[float, float, float, float] | None
    turned: int


@dataclass
class OpenPicture:
    """An open picture file, of which the header has been read.

    Attributes
    ----------
    width, height : int
        Size as stored.
    channels : int
        1 for grey and 3 for colours, without opacity, or the number of other channels.
    shows_colours : bool
        Whether the first three channels are red, green and blue.
    dtype : dtype
        Type of the values that :func:`decode` returns.
    image : PIL.Image.Image or None
        Pillow's picture, if it is grey or in colours of at most 8 bits a sample.
    """

    width: int
    height: int
    channels: int
    shows_colours: bool
    dtype: np.dtype[Any]
    image: ImageFile | None
    _source: Source
    _file: BinaryIO
    _how: Reading
    _header: ImageFile | TiffPage

    @classmethod
    def of(cls, file: BinaryIO, source: Source, how: Reading) -> "OpenPicture":
        """Read the header of a file or page."""
        in_tiff = is_tiff(file.read(16))
        number = source.number if isinstance(source, Page) else 1
        image = None
        if isinstance(source, Page) and in_tiff:
            file = cast("BinaryIO", tiff.view_of_page(file, number, source.offset))
            number = 1

        def check(width: int, height: int) -> None:
            _check_pixels(width, height, how)

        # If Pillow fails with a TIFF file, tifffile may read it, or tell what is wrong.
        with suppress(*(_FAILURES if in_tiff else ())):
            image = open_image(file, check)
        if in_tiff and (image is None or not _is_plain_tiff(image)):
            page = TiffPage.of(file)
            facts = (page.width, page.height, page.channels, page.shows_colours, page.dtype)
            return cls(*facts, None, source, file, how, page)
        if image is None:
            raise UnidentifiedImageError
        if number > 1:
            image.seek(number - 1)
        grey, dtype = is_grey(image), _deep_type(image)
        whole = None if dtype is not None else image
        grey = grey or (image.format == "PNG" and is_grey_png_with_alpha(image))
        facts = (image.width, image.height, 1 if grey else 3, not grey, np.dtype(dtype or np.uint8))
        return cls(*facts, whole, source, file, how, image)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the upright picture; PNG files are decoded for it."""
        size = (self.height, self.width)
        if isinstance(self._header, TiffPage):
            return size[::-1] if self._header.orientation in _SIDEWAYS else size
        image = self._header
        if image.format == "TIFF":  # of which Pillow gives the upright size
            return size
        if image.format == "PNG":  # whose EXIF data may be at the end
            _check_pixels(self.width, self.height, self._how)
            image.load()
        return size[::-1] if orientation(image) in _SIDEWAYS else size

    def note(self, notes: Notes | None, sample_shape: tuple[int, ...]) -> None:
        """Note what of the file is lost in rows of a shape."""
        if notes is None:
            return
        name = name_of(self._source)
        if not isinstance(self._header, TiffPage):
            bits = bits_of(self._header, self._file)
            if bits > 8 and self.dtype == np.uint8:
                notes.shallow[name] = bits
        if not isinstance(self._source, Page) and (pages := len(self.count_pages())) > 1:
            notes.pages[name] = pages - 1
        wanted = sample_shape[2] if len(sample_shape) == 3 else 1
        if self.channels > 3 and wanted in (1, 3):
            notes.channels[name] = self.channels - 3

    def decode(
        self, sample_shape: tuple[int, ...], notes: Notes | None = None, mode: str | None = None
    ) -> tuple[NDArray[Any], Deep | Unpacked]:
        """Decode the picture to a row of a shape, and return what it was resized from as well.

        ``mode`` is the mode in which a JPEG may be decoded, if another than the row's.
        """
        self.note(notes, sample_shape)
        if self.image is None:
            deep = self.read_deep(sample_shape)
            return deep.fit(sample_shape, self._how), deep
        unpacked = self.unpack(sample_shape, mode or mode_of(sample_shape))
        return fit(unpacked, sample_shape, self._how), unpacked

    def count_pages(self) -> list[int | None]:
        """List the pages or frames: the byte where each begins in a TIFF file, None in others."""
        if isinstance(self._header, TiffPage) or self._header.format == "TIFF":
            return list(tiff.page_offsets(self._file))
        return [None] * frames_of(self._header)

    def count_pixels(self, sample_shape: tuple[int, ...]) -> int:
        """Count the pixels that are decoded for rows of a shape.

        Raises
        ------
        UnfitError
            If they are above the limit.
        """
        self._draft(sample_shape, mode_of(sample_shape))
        size = self.image or self
        _check_pixels(size.width, size.height, self._how)
        return size.width * size.height

    def _draft(self, sample_shape: tuple[int, ...], mode: str) -> Any:
        """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size, to at least twice the final size.

        Returns the mode and the box of the picture, or None for other formats.
        """
        image = self.image
        if image is None or image.format not in ("JPEG", "MPO"):
            return None
        height, width = sample_shape[:2]
        wanted = (height, width) if orientation(image) in _SIDEWAYS else (width, height)
        left, upper, right, lower = self._how.box(image.size, wanted)
        # Pillow takes the size of the whole, of which the box becomes the row.
        whole = (
            math.ceil(2 * wanted[0] * image.width / (right - left)),
            math.ceil(2 * wanted[1] * image.height / (lower - upper)),
        )
        return image.draft(mode, whole)

    def check_size(self) -> None:
        """Refuse a picture that is too large to be decoded at its own size.

        Raises
        ------
        UnfitError
            As :meth:`check_room`.
        """
        self.check_room(self.width, self.height, max(3, self.channels) * self.dtype.itemsize)

    def check_room(self, width: int, height: int, n_bytes: int) -> None:
        """Refuse a page or frame of a size and so many bytes a pixel.

        Raises
        ------
        UnfitError
            If it has more pixels than are allowed, or its values take more memory than is free.
        """
        _check_pixels(width, height, self._how)
        needed = _COPIES * width * height * n_bytes
        if needed > (free := available()):
            raise UnfitError(
                f"{width} x {height} pixels of {n_bytes} bytes would take {needed / 1e9:.3g} GB of "
                f"memory, and {free / 1e9:.3g} GB are free; shrink it"
            )

    @property
    def file(self) -> BinaryIO:
        """The open file."""
        return self._file

    @property
    def header(self) -> ImageFile | TiffPage:
        """What read the header: Pillow's picture, or the first page of a TIFF file."""
        return self._header

    def unpack(self, sample_shape: tuple[int, ...], mode: str) -> Unpacked:
        """Decode an 8-bit picture at the size that rows of a shape need.

        ``mode`` is the mode in which a JPEG may be decoded.
        """
        image: Any = self.image
        drafted = self._draft(sample_shape, mode)
        _check_pixels(image.width, image.height, self._how)
        image.load()
        # Pillow turns TIFF files upright while loading, and then reports orientation 1.
        turned = orientation(image)
        # Pillow converts LAB to colours, but not to grey.
        plain = image.convert("RGB") if image.mode == "LAB" else image
        plain = plain if mode == "RGBA" else opaque(plain)
        if isinstance(self._source, Page):  # in the mode of :func:`extract`'s files
            own = "L" if is_grey(plain) and not plain.has_transparency_data else "RGB"
            own = "RGBA" if plain.has_transparency_data else own
            return Unpacked(turn(plain.convert(own), turned), None, 1)
        return Unpacked(plain, drafted[1] if drafted else None, turned)

    def read_deep(self, sample_shape: tuple[int, ...] = ()) -> Deep:
        """Decode a picture of more than 8 bits, or of other channels, at its own size."""
        self.check_size()
        source = self._header
        if isinstance(source, TiffPage):
            values, alpha = source.read()
            turned = source.orientation
        else:
            values, alpha = self.unpack_deep()
            turned = orientation(source)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            raise UnfitError(f"{count} of its values are not finite (NaN or infinity)")
        if sample_shape[2:] == (4,) and values.shape[2] < 4 and values.dtype in SHADES:
            values = with_opacity(values, alpha)
        else:
            values = on_white(values, alpha)
        return Deep(upright(values, turned), self.shows_colours)

    def unpack_deep(self) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Return the values (H, W, C) and the opacity of a deep picture that Pillow reads."""
        image = cast("ImageFile", self._header)
        if image.format == "PPM" and image.tile[0].codec_name in ("raw", "ppm"):
            return _read_pnm(image, self._file), None
        if image.format != "PNG":
            values = np.asarray(image).astype(self.dtype)
            return values[:, :, None], None
        with open_picture(self._source, self._how) as again:
            values = read_deep_png(image, cast("ImageFile", again._header))
        if values.shape[2] in (2, 4):
            return values[:, :, :-1], values[:, :, -1]
        clear = image.info.get("transparency")
        if clear is None:
            return values, None
        return values, np.where((values == np.array(clear)).all(axis=2), 0, 65535)


def name_of(source: Source) -> str:
    """Return the name of a picture for messages."""
    if isinstance(source, bytes):
        return "the picture in memory"
    return shown_name(Path(source) if isinstance(source, str) else source)


def extract(page: Page, how: Reading | None = None) -> bytes:
    """Make the contents of a TIFF file of one page, which decodes to the same pixels.

    Raises
    ------
    DefectError, MissingFileError
        See :func:`decode`.
    """
    with open_picture(page, how) as picture:
        if picture.image is None:
            values = picture.read_deep().values
        else:
            values = np.asarray(picture.unpack((picture.height, picture.width), "RGBA").image)
    file = BytesIO()
    tiff.write_tiff(file, [values], opacity=picture.image is not None)
    return file.getvalue()


def mode_of(sample_shape: tuple[int, ...]) -> str:
    """Return Pillow's mode for pictures of a shape: RGB, RGBA or L."""
    return {3: "RGB", 4: "RGBA"}.get(sample_shape[-1], "L") if len(sample_shape) == 3 else "L"


def fit(
    unpacked: Unpacked, sample_shape: tuple[int, ...], how: Reading | None = None
) -> NDArray[np.uint8]:
    """Resize an 8-bit picture, or the part of it that is read, to a row of the shape.

    Raises
    ------
    ValueError
        If rows of the shape have other channels.
    """
    if sample_shape[2:] not in ((), (1,), (3,), (4,)):
        raise UnfitError(f"it is grey or in colour, where rows have {sample_shape[2]} channels")
    height, width = sample_shape[:2]
    size = (height, width) if unpacked.turned in _SIDEWAYS else (width, height)
    box = unpacked.box
    if how is not None and how.crop is not None:
        x, y, *end = box or (0, 0, *unpacked.image.size)
        own = (end[0] - x, end[1] - y)
        left, upper, right, lower = how.box(own, size)
        box = (x + left, y + upper, x + right, y + lower)
    small = unpacked.image.convert(mode_of(sample_shape)).resize(
        size,
        Image.Resampling.BICUBIC,
        box=box,
        reducing_gap=REDUCING_GAP,
    )
    return np.asarray(turn(small, unpacked.turned)).reshape(sample_shape)


def turn(image: Image.Image, turned: int) -> Image.Image:
    """Turn a picture of an EXIF orientation upright."""
    return image.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else image


@contextmanager
def open_picture(source: Source, how: Reading | None = None) -> Iterator[OpenPicture]:
    """Open a picture; errors of decoding within the block become a `DefectError`.

    Parameters
    ----------
    source : str, Path, Page or bytes
        The file, a page, or the contents of a file.
    how : Reading, optional
        The limit of pixels that are decoded within the block.

    Yields
    ------
    OpenPicture
        The picture, of which the header has been read.

    Raises
    ------
    DefectError
        If it cannot be read.
    MissingFileError
        If the file does not exist.
    """
    path = source.file if isinstance(source, Page) else source
    with (
        explained(path),
        # Given a name, Pillow maps some files, and confuses rows of TIFF files turned sideways.
        BytesIO(path) if isinstance(path, bytes) else Path(path).open("rb") as file,
    ):
        yield OpenPicture.of(file, source, how or Reading())


@contextmanager
def explained(path: str | Path | bytes) -> Iterator[None]:
    """Turn errors of decoding a file, or its contents, into a `DefectError`.

    Raises
    ------
    DefectError, MissingFileError
        See :func:`open_picture`.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(
            f"'{path!s}' does not exist; give a picture file", path=path
        ) from error
    except UnidentifiedImageError as error:
        raise DefectError(_unknown(Path(path) if isinstance(path, str) else path)) from error
    except Image.DecompressionBombError as error:
        raise DefectError(
            f"its frames are larger than the {Image.MAX_IMAGE_PIXELS} pixels that Pillow allows; "
            "shrink it"
        ) from error
    except (UnfitError, TiffDefectError) as error:
        raise DefectError(str(error), unharmed=isinstance(error, UnfitError)) from error
    except _FAILURES as error:
        refusal = getattr(error, "strerror", None)  # the operating system's, not Pillow's
        words = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        raise DefectError(refusal or f"it is damaged or cut short ({words})") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress Pillow's warnings about defects that it repairs.

    Warning filters are shared by all threads, so this is entered once around many pictures, in the
    calling thread.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, from 1 (upright) to 8."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _FAILURES:
        return 1  # the EXIF data are damaged, and the picture may be intact
    return value if value in _UPRIGHT else 1


def is_grey(image: Image.Image) -> bool:
    """Tell from its header, and its palette, whether a picture is grey."""
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGB":
        order = image.palette.rawmode or "RGB"  # in which a file has its colours, BGRX in BMP
        if re.fullmatch("(RGB|BGR)[AX]?", order) is None:
            return False
        entries = np.frombuffer(bytes(image.palette.palette), np.uint8)
        entries = entries[: len(entries) // len(order) * len(order)].reshape(-1, len(order))
        return bool((entries[:, :3] == entries[:, :1]).all())
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def _check_pixels(width: int, height: int, how: Reading) -> None:
    if width * height > how.max_pixels:
        raise UnfitError(
            f"{width} x {height} pixels would be unpacked, more than the {how.max_pixels} that are "
            "safe; shrink it, or allow more if you trust it (--max-pixels, max_pixels)"
        )


def _unknown(source: Path | bytes) -> str:
    """Say why the format of a file is unknown."""
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        needed = missing_plugin(file.read(16))
    if needed is not None:
        return f"it {needed}"
    if (known := what_it_is(source)) is not None:
        return known
    return f"its beginning is damaged, or it is in none of the formats {known_formats()}"


def _deep_type(image: ImageFile) -> type[np.generic] | None:
    """Return the type of the values of a picture that Pillow reads in more than 8 bits."""
    if image.format == "PNG":
        return np.uint16 if is_deep_png(image) else None
    if image.mode == "F":
        return np.float32
    wide = image.format == "PPM" and image.tile[0].codec_name == "ppm" and _maxval(image) > 255
    return np.uint16 if wide or image.mode.startswith("I") else None


def _is_plain_tiff(image: ImageFile) -> bool:
    """Return whether a TIFF file is grey or in colours of at most 8 bits, which Pillow reads."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    return (
        max(tags.get(_BITS, (1,))) <= 8
        and set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == {_UNSIGNED}
        and _UNSPECIFIED not in tags.get(_EXTRA_SAMPLES, ())
    )


def _maxval(image: ImageFile) -> int:
    """Return the value of white in a PNM file."""
    args: Any = image.tile[0].args
    return int(args[-1]) if image.tile[0].codec_name == "ppm" else 65535


def _read_pnm(image: ImageFile, file: BinaryIO) -> NDArray[np.uint16]:
    """Read a PNM file of two bytes a sample, (H, W, C); its white becomes 65535."""
    file.seek(image.tile[0].offset)
    channels, white = len(image.getbands()), _maxval(image)
    size = image.height * image.width * channels
    values = np.frombuffer(file.read(2 * size), ">u2").astype(np.uint32)
    whole = (values.clip(0, white) * 65535 + white // 2) // white
    return whole.astype(np.uint16).reshape(image.height, image.width, channels)


def opaque(image: Image.Image) -> Image.Image:
    """Put a picture with transparent parts on white."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def missing_plugin(head: bytes) -> str | None:
    """Say which missing package reads a file with these first bytes; None if none is known."""
    for name, (file_format, accepts) in _OPTIONAL.items():
        if accepts(head) and not _register(name):
            return file_format.need
    return None


def open_image(file: BinaryIO, check: Callable[[int, int], None]) -> ImageFile | None:
    """Open a picture file and read its header; None if no format matches.

    Pillow's own limit of pixels is not applied, as a JPEG may be decoded at a reduced size.

    Parameters
    ----------
    file : binary file
        The file, which stays open as long as the picture is used.
    check : callable
        Called with the width and height of a picture that is decoded when it is opened.
    """
    file.seek(0)
    head = file.read(16)
    optional = (name for name, (_, accepts) in _OPTIONAL.items() if accepts(head))
    for name in (*_formats(), *optional):
        if name not in Image.OPEN and not _register(name):
            continue
        factory, accept = Image.OPEN[name]
        accepted = accept(head) if accept else True
        if not accepted or isinstance(accepted, str):  # a str: this build of Pillow lacks it
            continue
        if name == "JXL":
            check(*jxl_size(file))
        file.seek(0)
        try:
            image: ImageFile = factory(file, "")
        except (SyntaxError, IndexError, TypeError):  # Pillow raises these for other formats
            continue
        return image
    return None


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def known_formats() -> str:
    """List the formats that are read, for messages."""
    extra = [name for name, (file_format, _) in _OPTIONAL.items() if file_format.is_installed]
    return ", ".join(sorted({*_formats(), *extra}))


@cache
def _register(name: str) -> bool:
    """Register a format with Pillow, if its package is installed."""
    try:
        if name == "HEIF":
            import pillow_heif

            pillow_heif.register_heif_opener()
        else:
            import pillow_jxl  # noqa: F401  which registers itself
    except ImportError:
        return False
    return name in Image.OPEN


def bits_of(image: ImageFile, file: BinaryIO) -> int:
    """Return the bits per sample in the file, where Pillow decodes to 8; 8 for other files."""
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    if image.format not in ("AVIF", "JPEG2000"):
        return 8
    file.seek(0)
    head = file.read(_HEADER)
    if image.format == "AVIF":
        start = head.find(b"av1C")
        flags = head[start + 6] if 0 <= start < len(head) - 6 else 0
        return (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    start = head.find(b"ihdr")
    # In a stream without boxes, the size is followed by the number of channels and their bits.
    place = start + 14 if start >= 0 else 42
    field = head[place] if place < len(head) else 7
    return 8 if field == 0xFF else (field & 0x7F) + 1


def jxl_size(file: BinaryIO) -> tuple[int, int]:
    """Read the width and height of a JPEG XL file, which is decoded when it is opened.

    ISO/IEC 18181-1, annex D.2: sizes are bit fields, lowest bits first.

    Raises
    ------
    ValueError
        If they cannot be found.
    """
    file.seek(0)
    if file.read(2) != _JXL_STREAM:
        _find_stream(file)
    bits = int.from_bytes(file.read(12).ljust(12, b"\0"), "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take(_JXL_WIDTHS[take(2)]) + 1

    height = side()
    ratio = take(3)
    if not ratio:
        return side(), height
    across, down = _JXL_RATIOS[ratio]
    return height * across // down, height


def _find_stream(file: BinaryIO) -> None:
    """Seek the codestream in a file of boxes, behind its signature."""
    file.seek(0)
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if size == 1:
            size = int.from_bytes(file.read(8), "big") - 8
        if kind in (b"jxlc", b"jxlp"):
            file.seek(4 if kind == b"jxlp" else 0, 1)
            if file.read(2) == _JXL_STREAM:
                return
            break
        if size < 8:
            break
        file.seek(size - 8, 1)
    raise ValueError("its size cannot be found")


def is_tiff(head: bytes) -> bool:
    """Tell from its first bytes whether a file is TIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def frames_of(image: Any) -> int:
    """Count the pictures in an open file; those beyond the first of a JPEG are previews."""
    return 1 if image.format in ("JPEG", "MPO") else int(getattr(image, "n_frames", 1))
