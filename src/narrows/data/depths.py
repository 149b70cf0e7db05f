"""Types and channels of pictures: several brought to one, and rows made of those of any.

Unsigned integers of 8 and 16 bits are shades from black (0) to white (255, 65535). Other types,
such as floats and signed or 32-bit integers, are measured values without an agreed black and white:
they keep their values, in a type that holds all of them. Types without a common meaning are
refused.

Values of more than 8 bits, or of other channels than grey and colour, are resampled in single
precision relative to their smallest one, with the antialiasing of Pillow; their type is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from narrows.errors import DataError

_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)
SHADES = {_UINT8: 255, _UINT16: 65535}
"""The types whose values are shades, and what white is in each."""


def common_type(found: Mapping[np.dtype[Any], str]) -> np.dtype[Any]:
    """Choose the type that pictures of several types are brought to.

    8 and 16 bits become 16. Of floats, and of integers other than 8 bits without a sign, the
    narrowest type that holds all of them is taken.

    Parameters
    ----------
    found : mapping of dtype to str
        The types, each with the name of the first file that has it; uint8 if there are none.

    Returns
    -------
    dtype

    Raises
    ------
    DataError
        If there are types that have nothing to do with each other.

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
    """Bring a picture's values to another type, as :func:`common_type` brings types together.

    Of 16 bits, 8 are made by rounding, so that white stays white.

    Parameters
    ----------
    values : ndarray
        As a file has them.
    dtype : dtype
        The type wanted.

    Raises
    ------
    DataError
        If they have nothing to do with it.

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
    """Tell whether values of two types mean the same."""
    if _UINT8 in (one, other):
        return {one, other} <= set(SHADES)
    return (one.kind == "f") == (other.kind == "f")


# Of red, green and blue in grey: ITU-R BT.601, as Pillow has it.
_GREY = np.array([299, 587, 114]) / 1000
_TURNS = {2: (False, 0, True), 3: (False, 2, False), 4: (False, 2, True), 5: (True, 0, False),
          6: (False, 3, False), 7: (True, 2, False), 8: (False, 1, False)}  # fmt: skip
REDUCING_GAP = 2.0
"""The ``reducing_gap`` of :meth:`PIL.Image.Image.resize` with which all pictures are shrunk.

Pillow first shrinks by whole numbers, to no less than this many times the final size.
"""


@dataclass(frozen=True)
class Deep:
    """A picture's values.

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
        """Whether it can be looked at, in grey or in colours."""
        return self.shows_colours or self.values.shape[2] == 1

    def fit(self, sample_shape: tuple[int, ...]) -> NDArray[Any]:
        """Stretch it to a row of the shape, in its own type.

        Raises
        ------
        ValueError
            If it has other channels.
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
        small = resize(values, (height, width))
        if small.shape[2] != wanted:
            small = np.repeat(small, wanted, axis=2)
        return small.reshape(sample_shape)


def resize(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Stretch a picture of any numbers to another height and width, as decoding does (bicubic).

    Parameters
    ----------
    values : ndarray of shape (H, W) or (H, W, C)
        In any units.
    size : (int, int)
        The height and width wanted.

    Returns
    -------
    ndarray of shape (*size,) or (*size, C)
        In the type of ``values``. Each channel is clipped to its smallest and largest value, which
        bicubic resampling exceeds at edges.

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
        # Single precision, which Pillow has, holds differences from the smallest value.
        image = Image.fromarray((plane - low).astype(np.float32)).resize(
            size[::-1], Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP
        )
        own = np.asarray(image).astype(np.float64).clip(0, high - low) + low
        stretched[:, :, *channel] = _to_type(own, values.dtype)
    return stretched


def _to_type(values: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Round floats that a type can hold if it has integers alone."""
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def on_white(values: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    """Lay transparent parts of a picture (H, W, C) in 8 or 16 bits on white."""
    if alpha is None:
        return values
    white = int(np.iinfo(values.dtype).max)
    light = values.astype(np.int64) - white
    laid: NDArray[Any] = white + np.rint(light * alpha[:, :, None].astype(np.int64) / white)
    return laid.astype(values.dtype)


def with_opacity(values: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    """Give a picture (H, W, 1 or 3) in 8 or 16 bits four channels, of which the last is opacity."""
    colours = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values
    if alpha is None:
        alpha = np.full(values.shape[:2], np.iinfo(values.dtype).max)
    return np.dstack([colours, alpha.astype(values.dtype)])


def upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Set a picture (H, W, C) upright that lies in an orientation, from 1 to 8."""
    swapped, turns, mirrored = _TURNS.get(orientation, (False, 0, False))
    values = np.rot90(values, turns)
    values = values.swapaxes(0, 1) if swapped else values
    return np.fliplr(values) if mirrored else values
