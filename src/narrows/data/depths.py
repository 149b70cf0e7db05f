"""Pictures of more than 8 bits, or of other channels than grey and colours.

Unsigned integers of 8 and 16 bits are shades from black (0) to white (255, 65535). Other types,
such as floats and signed or 32-bit integers, are measured values without an agreed black and white:
they keep their values, in a type that holds all of them. Types without a common meaning are
refused.

Values of more than 8 bits, or of other channels than grey and colour, are resampled in single
precision relative to their smallest one, with the antialiasing of Pillow; their type is kept. PNG
files of 16 bits a sample are read and written on top of Pillow, which has no colours of 16 bits.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import putchunk

from narrows.data.formats import Contents
from narrows.data.reading import Reading
from narrows.errors import DataError

_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)

SHADES = {_UINT8: 255, _UINT16: 65535}
"""The types of shades, and their values of white."""

# Shares of red, green and blue in grey: ITU-R BT.601, as in Pillow.
_GREY = np.array([299, 587, 114]) / 1000
_TURNS = {2: (False, 0, True), 3: (False, 2, False), 4: (False, 2, True), 5: (True, 0, False),
          6: (False, 3, False), 7: (True, 2, False), 8: (False, 1, False)}  # fmt: skip

REDUCING_GAP = 2.0
"""The ``reducing_gap`` of :meth:`PIL.Image.Image.resize` with which all pictures are shrunk.

Pillow first reduces by whole numbers, to at least this multiple of the final size.
"""

# Pillow's raw modes of 16-bit files, which keep the first byte of a sample, and of the other byte.
_OTHER_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_GREY_AND_ALPHA = "LA;16B"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels
_UP = 2  # the filter that keeps each byte's difference to that above it
_LEVEL = 6


def common_type(found: Mapping[np.dtype[Any], str]) -> np.dtype[Any]:
    """Choose the type that pictures of several types are brought to.

    8 and 16 bits become 16. Of floats, and of integers other than 8 bits without a sign, the
    narrowest type that holds all of them is taken.

    Parameters
    ----------
    found : mapping of dtype to str
        The types, each with the name of the first file of this type.

    Returns
    -------
    dtype

    Raises
    ------
    DataError
        If types have no common meaning.

    Examples
    --------
    >>> common_type({np.dtype("uint8"): "a.jpg", np.dtype("uint16"): "b.tif"}).name
    'uint16'
    >>> common_type({np.dtype("int16"): "a.tif", np.dtype("uint16"): "b.tif"}).name
    'int32'
    """
    types = list(found)
    if not types:
        return _UINT8
    if len(types) == 1:
        return types[0]
    if set(types) <= set(SHADES):
        return _UINT16
    for other in types[1:]:
        if not _go_together(types[0], other):
            raise DataError(
                f"'{found[types[0]]}' has {types[0].name} values and '{found[other]}' {other.name} "
                "ones, which have no common black and white; give files of one type, or save them "
                "in one"
            )
    widest = np.result_type(*types)
    # Of the largest integers with and without a sign, numpy makes floats.
    return widest if widest.kind == types[0].kind or widest.kind == "i" else np.dtype(np.int64)


def bring(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Convert a picture's values to another type, as :func:`common_type` joins types.

    16 bits are rounded to 8 so that white stays white.

    Parameters
    ----------
    values : ndarray
        Values in the type of the file.
    dtype : dtype
        The wanted type.

    Raises
    ------
    DataError
        If the types have no common meaning.

    Examples
    --------
    >>> bring(np.array([0, 255], np.uint8), "uint16").tolist()
    [0, 65535]
    >>> bring(np.array([0, 300, 65535], np.uint16), "uint8").tolist()
    [0, 1, 255]
    """
    own, wanted = values.dtype, np.dtype(dtype)
    if own == wanted:
        return values
    if (own, wanted) == (_UINT8, _UINT16):
        return values.astype(np.uint16) * np.uint16(257)
    if (own, wanted) == (_UINT16, _UINT8):
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not _go_together(own, wanted) or not (wanted.kind == "f" or np.can_cast(own, wanted)):
        raise DataError(
            f"it has {own.name} values, which have no common black and white with {wanted.name}; "
            f"give files of {wanted.name} values"
        )
    return values.astype(wanted)


def _go_together(one: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Return whether two types have a common meaning."""
    if _UINT8 in (one, other):
        return {one, other} <= set(SHADES)
    return (one.kind == "f") == (other.kind == "f")


@dataclass(frozen=True)
class Deep:
    """The values of a picture of more than 8 bits, or of other channels.

    Attributes
    ----------
    values : ndarray of shape (height, width, channels)
        Upright and opaque, in the type of the file.
    shows_colours : bool
        Whether the first three channels are red, green and blue.
    """

    values: NDArray[Any]
    shows_colours: bool

    @property
    def is_picture(self) -> bool:
        """Whether it is grey or in colours."""
        return self.shows_colours or self.values.shape[2] == 1

    def fit(self, sample_shape: tuple[int, ...], how: Reading | None = None) -> NDArray[Any]:
        """Resize it, or the part of it that is read, to a row of the shape, in its own type.

        Raises
        ------
        ValueError
            If the row has other channels.
        """
        height, width = sample_shape[:2]
        wanted = sample_shape[2] if len(sample_shape) == 3 else 1
        values, have = self.values, self.values.shape[2]
        if have != wanted and self.shows_colours and wanted in (1, 3):
            values = values[:, :, :3]
            if wanted == 1:
                values = _to_type(values @ _GREY, values.dtype)[:, :, None]
        elif have != wanted and (have, wanted) != (1, 3):
            raise ValueError(f"it has {have} channels, where rows have {wanted}")
        if how is not None and how.crop is not None:
            own = (values.shape[1], values.shape[0])
            left, upper, right, lower = map(round, how.box(own, (width, height)))
            values = values[upper : max(lower, upper + 1), left : max(right, left + 1)]
        small = resize(values, (height, width))
        if small.shape[2] != wanted:
            small = np.repeat(small, wanted, axis=2)
        return small.reshape(sample_shape)


def resize(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize a picture of any numbers by bicubic resampling, as decoding does.

    Parameters
    ----------
    values : ndarray of shape (H, W) or (H, W, C)
        In any units.
    size : (int, int)
        The height and width wanted.

    Returns
    -------
    ndarray of shape (*size,) or (*size, C)
        In the type of ``values``. Each channel is clipped to its range, which bicubic resampling
        exceeds at edges.

    Examples
    --------
    >>> resize(np.array([[0.0, 1.0]]), (2, 4)).shape
    (2, 4)
    """
    if values.shape[:2] == size:
        return values
    stretched = np.empty((*size, *values.shape[2:]), values.dtype)
    for channel in np.ndindex(values.shape[2:]):
        plane = values[:, :, *channel].astype(np.float64)
        low, high = plane.min(), plane.max()
        # Pillow computes in single precision, so the smallest value is subtracted first.
        image = Image.fromarray((plane - low).astype(np.float32)).resize(
            size[::-1], Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP
        )
        own = np.asarray(image).astype(np.float64).clip(0, high - low) + low
        stretched[:, :, *channel] = _to_type(own, values.dtype)
    return stretched


def _to_type(values: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert floats to a type, and round them if it is an integer."""
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def on_white(values: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    """Put transparent parts of a picture (H, W, C) in 8 or 16 bits on white."""
    if alpha is None:
        return values
    white = int(np.iinfo(values.dtype).max)
    light = values.astype(np.int64) - white
    laid: NDArray[Any] = white + np.rint(light * alpha[:, :, None].astype(np.int64) / white)
    return laid.astype(values.dtype)


def with_opacity(values: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    """Convert a picture (H, W, 1 or 3) in 8 or 16 bits to colours and opacity, (H, W, 4)."""
    colours = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values
    if alpha is None:
        alpha = np.full(values.shape[:2], np.iinfo(values.dtype).max)
    return np.dstack([colours, alpha.astype(values.dtype)])


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a picture (H, W, C) of an EXIF orientation upright."""
    swapped, turns, mirrored = _TURNS.get(orientation, (False, 0, False))
    values = np.rot90(values, turns)
    values = values.swapaxes(0, 1) if swapped else values
    return np.fliplr(values) if mirrored else values


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
        The contents of a file with as many bits.

    Raises
    ------
    DataError
        If ``pixels`` has another type or shape.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.images import read_image
    >>> from narrows.data.depths import encode_png
    >>> encode_png(np.zeros((28, 28), np.uint8))[1:4]
    b'PNG'
    >>> read_image(encode_png(np.full((2, 2, 3), 4095, np.uint16)), (1, 1, 3)).tolist()
    [[[4095, 4095, 4095]]]
    """
    pixels = np.asarray(pixels)
    if not fits_png(pixels):
        raise DataError(
            f"values of shape {pixels.shape} and type {pixels.dtype} are not a picture; "
            "give uint8 or uint16 of shape (height, width) or (height, width, 1, 3 or 4)"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype == np.uint8 or pixels.ndim == 2:
        file = BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
        return file.getvalue()
    return encode_deep_png(pixels)


def encode_deep_png(pixels: NDArray[np.uint16]) -> bytes:
    r"""Encode a picture (H, W) or (H, W, C) of 16 bits as a PNG file.

    Two channels are grey and opacity, four are colours and opacity.

    Examples
    --------
    >>> import numpy as np
    >>> encode_deep_png(np.zeros((3, 4, 2), np.uint16))[24:26]  # 16 bits, of colour type 4
    b'\x10\x04'
    """
    file = BytesIO()
    height, width, channels = (*pixels.shape, 1)[:3]
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    steps = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    filtered = np.insert(steps, 0, _UP, axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n")
    putchunk(file, b"IHDR", header)
    putchunk(file, b"IDAT", zlib.compress(filtered.tobytes(), _LEVEL))
    putchunk(file, b"IEND")
    return file.getvalue()


def write_png(path: Path, contents: Contents) -> None:
    """Write the only one of some pictures to a PNG file."""
    path.write_bytes(encode_png(contents.values[0]))


def fits_png(pixels: NDArray[Any]) -> bool:
    """Return whether PNG holds an array as one picture.

    Parameters
    ----------
    pixels : ndarray
        Any array.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.depths import fits_png
    >>> fits_png(np.zeros((28, 28), np.uint8)), fits_png(np.zeros((28, 28)))
    (True, False)
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    return (
        pixels.dtype in (np.uint8, np.uint16)
        and pixels.ndim in (2, 3)
        and channels in (1, 3, 4)
        and pixels.size > 0
    )


def is_deep_png(image: ImageFile) -> bool:
    """Return whether an open PNG file has 16 bits a sample."""
    return bool(image.mode.startswith("I") or (image.tile and _rawmode(image).endswith(";16B")))


def is_grey_png_with_alpha(image: ImageFile) -> bool:
    """Return whether an open PNG file has 16-bit grey and opacity, which Pillow reads as RGBA."""
    return bool(image.tile) and _rawmode(image) == _GREY_AND_ALPHA


def read_deep_png(image: ImageFile, again: ImageFile) -> NDArray[np.uint16]:
    """Decode a PNG file of 16 bits a sample.

    Pillow keeps the first byte of each sample of a colour; with the raw mode of the other byte
    order it keeps the second.

    Parameters
    ----------
    image, again : PIL.Image.Image
        The file, opened twice.

    Returns
    -------
    ndarray of uint16, of shape (height, width, channels)
        The picture with 1 channel for grey, 2 for grey and opacity, 3 for colours, 4 for colours
        and opacity.
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
    """Join two bytes to 16 bits."""
    values: NDArray[np.uint16] = np.left_shift(high, 8, dtype=np.uint16) | low
    return values


def _rawmode(image: ImageFile) -> str:
    args = image.tile[0].args
    return str(args if isinstance(args, str) else args[0]) if args else ""
