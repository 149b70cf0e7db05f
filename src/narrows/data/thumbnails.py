"""Pictures to look at, small: made in passing when a file is decoded, and files of their own."""

from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.data.depths import REDUCING_GAP, Deep, bring
from narrows.data.image_codec import (
    OpenPicture,
    Source,
    UnfitError,
    Unpacked,
    fit,
    is_grey,
    mode_of,
    opaque,
    open_picture,
    turn,
)
from narrows.data.reading import Notes, Reading

SIDE = 128
"""Pixels of a thumbnail's longer side; no picture needs one that is not larger."""
# Shrinking by a whole number is many times faster, and is done where it leaves so many pixels.
_ENOUGH = 96
_QUALITY = 80  # as JPEG counts it

Show: TypeAlias = Callable[[NDArray[Any]], NDArray[np.uint8]]
"""From values as a file has them to 8-bit pixels; see :meth:`narrows.data.scaling.Scaling.show`."""


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
    >>> from narrows.data.image_codec import encode_png
    >>> from narrows.data.thumbnails import preview
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
