"""From picture files to pixels and back, on top of Pillow.

There is one way to pixels: JPEG files are decoded at a fraction of their size where that is
enough, sixteen bits become eight, transparent parts are laid on white, the picture is stretched to
the size wanted with antialiasing, and turned as its EXIF data say.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from narrows.data.axes import is_picture_shape
from narrows.data.contents import what_it_is
from narrows.errors import DataError, MissingFileError

# Pillow can open more, but not without running other programs (PostScript) or much guessing.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# What Pillow's readers raise on damaged files; none of them says so by a class of its own.
_FAILURES = (
    ArithmeticError,
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
_SIDEWAYS = (5, 6, 7, 8)  # orientations whose width and height change places
# Pillow first shrinks by whole numbers, to no less than this many times the final size.
_REDUCING_GAP = 2.0


class DefectError(Exception):
    """Why a picture cannot be read, in a few words; the caller knows its name and the remedy."""


def decode(source: str | Path | bytes, sample_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Turn a picture file, or what is in it, into pixels.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or what is in it.
    sample_shape : tuple of int
        (height, width) or (height, width, 1) for grey, (height, width, 3) for colour,
        (height, width, 4) for colour and opacity.

    Returns
    -------
    ndarray of uint8, of shape ``sample_shape``
        Values from 0 (black) to 255 (white). Transparent parts are laid on white, unless there is
        a channel for opacity.

    Raises
    ------
    DefectError
        If it cannot be read.
    MissingFileError
        If the file does not exist.

    Examples
    --------
    >>> from io import BytesIO
    >>> from PIL import Image
    >>> from narrows.data.codec import decode
    >>> file = BytesIO()
    >>> Image.new("RGBA", (9, 5), "#ff000000").save(file, "PNG")  # transparent red
    >>> decode(file.getvalue(), (1, 2)).tolist()
    [[255, 255]]
    """
    with open_picture(source) as image:
        return fit(unpack(image, sample_shape, mode_of(sample_shape)), sample_shape)


class Unpacked(NamedTuple):
    """A picture's pixels, with nothing transparent and of no more than 8 bits.

    ``box`` is the part of them that is the picture, where a JPEG was decoded at a fraction of its
    size, and ``turned`` the orientation in which they lie.
    """

    image: Image.Image
    box: tuple[float, float, float, float] | None
    turned: int


def mode_of(sample_shape: tuple[int, ...]) -> str:
    """Name what Pillow calls pictures of a shape: in colour, with or without opacity, or grey."""
    return {3: "RGB", 4: "RGBA"}.get(sample_shape[-1], "L") if len(sample_shape) == 3 else "L"


def unpack(image: Image.Image, sample_shape: tuple[int, ...], mode: str) -> Unpacked:
    """Decode as much of a picture as rows of a shape need; ``mode`` is what a JPEG may give."""
    height, width = sample_shape[:2]
    sideways = image.format in ("JPEG", "MPO") and orientation(image) in _SIDEWAYS
    wanted = (height, width) if sideways else (width, height)
    # A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where twice the final size is left.
    drafted = image.draft(mode, (2 * wanted[0], 2 * wanted[1]))
    image.load()
    # Pillow turns TIFF files while it loads them, and then reports them as upright.
    turned = orientation(image)
    # Pillow makes colours of LAB, but no grey.
    plain = image.convert("RGB") if image.mode == "LAB" else _eight_bits(image)
    whole = plain if mode == "RGBA" else opaque(plain)
    return Unpacked(whole, drafted[1] if drafted else None, turned)


def fit(unpacked: Unpacked, sample_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Stretch a picture to a row of the shape."""
    height, width = sample_shape[:2]
    small = unpacked.image.convert(mode_of(sample_shape)).resize(
        (height, width) if unpacked.turned in _SIDEWAYS else (width, height),
        Image.Resampling.BICUBIC,
        box=unpacked.box,
        reducing_gap=_REDUCING_GAP,
    )
    return np.asarray(turn(small, unpacked.turned)).reshape(sample_shape)


def turn(image: Image.Image, turned: int) -> Image.Image:
    """Set a picture upright that lies in an orientation."""
    return image.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else image


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Encode one picture as a PNG file.

    Parameters
    ----------
    pixels : ndarray of uint8, of shape (height, width) or (height, width, channels)
        Values from 0 to 255; 1 channel for grey, 3 for colours, 4 for colours and opacity.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    DataError
        If ``pixels`` has another type or shape.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.codec import encode_png
    >>> encode_png(np.zeros((28, 28), np.uint8))[1:4]
    b'PNG'
    """
    pixels = np.asarray(pixels)
    if not is_picture(pixels):
        raise DataError(
            f"values of shape {pixels.shape} and type {pixels.dtype} are not a picture; "
            "give uint8 of shape (height, width) or (height, width, 1, 3 or 4)"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()


def is_picture(pixels: NDArray[Any]) -> bool:
    """Tell whether an array can be written as one picture.

    Parameters
    ----------
    pixels : ndarray
        Of any type and shape.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.codec import is_picture
    >>> is_picture(np.zeros((28, 28), np.uint8)), is_picture(np.zeros((28, 28)))
    (True, False)
    """
    return pixels.dtype == np.uint8 and is_picture_shape(pixels.shape) and pixels.size > 0


@contextmanager
def open_picture(source: str | Path | bytes) -> Iterator[Image.Image]:
    """Open a picture; whatever is found wrong with it in the block becomes a `DefectError`.

    Within :func:`quietly`, so is a picture that may be a decompression bomb.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or what is in it.

    Yields
    ------
    PIL.Image.Image
        The picture, of which only the header has been read.

    Raises
    ------
    DefectError
        If it cannot be read.
    MissingFileError
        If the file does not exist.
    """
    try:
        # Given a name, Pillow would map some files, and mix up the rows of a TIFF that lies down.
        with (
            BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file,
            Image.open(file, formats=_formats()) as image,
        ):
            yield image
    except FileNotFoundError as error:
        raise MissingFileError(f"'{source!s}' does not exist; give a picture file") from error
    except UnidentifiedImageError as error:
        known = what_it_is(source if isinstance(source, bytes) else Path(source))
        raise DefectError(
            known
            or "its beginning is damaged, or it is in none of the formats " + ", ".join(_formats())
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DefectError(
            f"it unpacks to more than the {Image.MAX_IMAGE_PIXELS} pixels that are safe (shrink "
            "it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it)"
        ) from error
    except _FAILURES as error:
        refusal = getattr(error, "strerror", None)  # the operating system's, not Pillow's
        words = " ".join(str(error).split()) or type(error).__name__
        raise DefectError(refusal or f"it is damaged or cut short ({words})") from error


@cache
def _formats() -> tuple[str, ...]:
    """Name the formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextmanager
def quietly() -> Iterator[None]:
    """Make Pillow's warnings about bombs errors, and pass over those about defects it mends.

    Python keeps one list of warning filters for all threads, so this is entered once around many
    pictures, in the thread that asks for them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def orientation(image: Image.Image) -> int:
    """Give the orientation that the EXIF data say, from 1 (upright) to 8."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _FAILURES:
        return 1  # damaged EXIF data say nothing, and the picture beside them may be whole
    return value if value in _UPRIGHT else 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Give height and width as the picture is looked at; this decodes it."""
    image.load()
    turned = orientation(image) in _SIDEWAYS
    return image.size if turned else (image.height, image.width)


def is_grey(image: Image.Image) -> bool:
    """Tell from its header whether a picture has no colours; a palette may have none either."""
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGB":
        red_green_blue = np.frombuffer(bytes(image.palette.palette), np.uint8).reshape(-1, 3)
        return bool((red_green_blue == red_green_blue[:, :1]).all())
    return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring grey of sixteen bits to eight; Pillow itself would cut off what exceeds 255."""
    sixteen = image.mode.startswith("I;16") or image.format in ("PNG", "PPM")
    if image.mode in ("I", "F") and not (sixteen and image.mode == "I"):
        raise DefectError(
            "its pixels of 32 bits have no agreed black and white; save it with 8 or 16"
        )
    if not image.mode.startswith("I"):
        return image
    # Cameras store twelve bits in TIFF files as they are.
    twelve = image.format == "TIFF" and getattr(image, "tag_v2", {}).get(258) == (12,)
    white = 4095 if twelve else 65535
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8))


def opaque(image: Image.Image) -> Image.Image:
    """Lay a picture with transparent parts on white."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
