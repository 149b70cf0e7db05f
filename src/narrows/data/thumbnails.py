"""Pictures to look at, small: made in passing when a file is decoded, and files of their own."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.data.codec import Unpacked, fit, is_grey, mode_of, opaque, open_picture, turn, unpack

SIDE = 128
"""Pixels of a thumbnail's longer side; no picture needs one that is not larger."""
# Shrinking by a whole number is many times faster, and is done where it leaves so many pixels.
_ENOUGH = 96
_QUALITY = 80  # as JPEG counts it
# Pillow first shrinks by whole numbers, to no less than this many times the final size.
_REDUCING_GAP = 2.0


def decode_with_thumbnail(
    source: str | Path | bytes, sample_shape: tuple[int, ...], *, always: bool = False
) -> tuple[NDArray[np.uint8], bytes | None]:
    """Turn a picture file into pixels and, in passing, into a thumbnail.

    Parameters
    ----------
    source, sample_shape
        As for :func:`decode`.
    always : bool, default=False
        Whether pictures that are no larger than a thumbnail get one too.

    Returns
    -------
    pixels : ndarray of uint8, of shape ``sample_shape``
        The same as :func:`decode` gives.
    thumbnail : bytes or None
        A JPEG file, upright and in the picture's own proportions, whose longer side has at most
        :data:`SIDE` pixels, and at least three quarters of that unless the picture, or the
        fraction of its size at which it was decoded, has fewer. In colour if the picture is.

    Raises
    ------
    DefectError, MissingFileError
        As :func:`decode`.
    """
    with open_picture(source) as image:
        wanted = always or max(image.size) > SIDE
        mode = mode_of(sample_shape)
        # With brightness apart, a grey model's pixels come out of it as from a grey decoding.
        if mode == "RGBA":  # a thumbnail has no opacity
            unpacked = unpack(image, sample_shape, mode)
            plain = unpacked._replace(image=opaque(unpacked.image))
            return fit(unpacked, sample_shape), _miniature(plain) if wanted else None
        unpacked = unpack(image, sample_shape, "YCbCr" if wanted and mode == "L" else mode)
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


def preview(source: str | Path | bytes) -> NDArray[np.uint8]:
    """Turn a picture file into pixels to look at: in its own proportions, small, upright.

    Parameters
    ----------
    source : str, Path or bytes
        The file, or what is in it.

    Returns
    -------
    ndarray of uint8, of shape (height, width) or (height, width, 3)
        Of at most :data:`SIDE` pixels in height and width.

    Raises
    ------
    DefectError, MissingFileError
        As :func:`decode`.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows.data.codec import encode_png
    >>> from narrows.data.thumbnails import preview
    >>> preview(encode_png(np.zeros((20, 30), np.uint8))).shape
    (20, 30)
    >>> preview(encode_png(np.zeros((256, 128, 3), np.uint8))).shape
    (128, 64, 3)
    """
    side = (SIDE, SIDE)
    with open_picture(source) as image:
        small = _upright_and_small(unpack(image, side, "RGB"))
        return np.asarray(small.convert("L" if small.mode == "L" else "RGB"))


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
            image = image.resize((width, height), Image.Resampling.BOX, reducing_gap=_REDUCING_GAP)
    return turn(image, unpacked.turned)
