"""PNG files of 8 and 16 bits a sample, on top of Pillow, which has no colours of 16 bits."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import putchunk

from narrows.errors import DataError

# What Pillow unpacks files of 16 bits by, and what gives the other byte of each sample instead.
_OTHER_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_GREY_AND_ALPHA = "LA;16B"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # by channels
_UP = 2  # the filter that keeps each byte's difference to that above it
_LEVEL = 6


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Encode one picture as a PNG file.

    Parameters
    ----------
    pixels : ndarray of uint8 or uint16, of shape (height, width) or (height, width, channels)
        Values from 0 to 255, or to 65535; 1 channel for grey, 3 for colours, 4 for colours and
        opacity.

    Returns
    -------
    bytes
        The file, of as many bits.

    Raises
    ------
    DataError
        If ``pixels`` has another type or shape.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.images import encode_png, read_image
    >>> encode_png(np.zeros((28, 28), np.uint8))[1:4]
    b'PNG'
    >>> read_image(encode_png(np.full((2, 2, 3), 4095, np.uint16)), (1, 1, 3)).tolist()
    [[[4095, 4095, 4095]]]
    """
    pixels = np.asarray(pixels)
    if not is_picture(pixels):
        raise DataError(
            f"values of shape {pixels.shape} and type {pixels.dtype} are not a picture; "
            "give uint8 or uint16 of shape (height, width) or (height, width, 1, 3 or 4)"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    file = BytesIO()
    if pixels.dtype == np.uint8 or pixels.ndim == 2:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
        return file.getvalue()
    height, width, channels = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    steps = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    filtered = np.insert(steps, 0, _UP, axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", header)
    putchunk(file, b"IDAT", zlib.compress(filtered.tobytes(), _LEVEL))
    putchunk(file, b"IEND")
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
    >>> from narrows.data.png import is_picture
    >>> is_picture(np.zeros((28, 28), np.uint8)), is_picture(np.zeros((28, 28)))
    (True, False)
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    return (
        pixels.dtype in (np.uint8, np.uint16)
        and pixels.ndim in (2, 3)
        and channels in (1, 3, 4)
        and pixels.size > 0
    )


def is_deep(image: ImageFile) -> bool:
    """Tell whether an open PNG file has 16 bits a sample."""
    return bool(image.mode.startswith("I") or (image.tile and _rawmode(image).endswith(";16B")))


def is_grey_with_alpha(image: ImageFile) -> bool:
    """Tell whether an open PNG file is grey with opacity in 16 bits, which Pillow calls colours."""
    return bool(image.tile) and _rawmode(image) == _GREY_AND_ALPHA


def read_deep(image: ImageFile, again: ImageFile) -> NDArray[np.uint16]:
    """Unpack a PNG file of 16 bits a sample.

    Pillow keeps the first byte of each sample of a colour. Told to unpack the file in the order of
    bytes that it does not have, it keeps the second one.

    Parameters
    ----------
    image, again : PIL.Image.Image
        The file, opened twice.

    Returns
    -------
    ndarray of uint16, of shape (height, width, channels)
        With 1 channel for grey, 2 for grey and opacity, 3 for colours, 4 for those and opacity.
    """
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)[:, :, None]
    rawmode, tile = _rawmode(image), again.tile[0]
    if rawmode == _GREY_AND_ALPHA:
        again.tile = [tile._replace(args="RGBA")]
        pairs = np.asarray(again)
        return _joined(pairs[:, :, ::2], pairs[:, :, 1::2])
    again.tile = [tile._replace(args=_OTHER_BYTES[rawmode])]
    return _joined(np.asarray(image), np.asarray(again))


def _joined(high: NDArray[Any], low: NDArray[Any]) -> NDArray[np.uint16]:
    """Make 16 bits of their two bytes."""
    values: NDArray[np.uint16] = np.left_shift(high, 8, dtype=np.uint16) | low
    return values


def _rawmode(image: ImageFile) -> str:
    args = image.tile[0].args
    return str(args if isinstance(args, str) else args[0]) if args else ""
