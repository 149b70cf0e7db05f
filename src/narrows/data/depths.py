"""Types that picture files come in, brought together, or refused where that would be a guess.

Unsigned numbers of 8 and of 16 bits are shades from black (0) to white (255, 65535). All other
types, such as floats, signed and 32-bit integers, are measured values without an agreed black and
white: they stay what they are, in a type that holds all of them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
