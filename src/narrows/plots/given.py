"""What users gave to be drawn, checked: one clear line for what cannot be."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.data.axes import channels_first, is_picture_shape, last_axis_call
from narrows.errors import DataError

_AXES = {1: "(n,)", 2: "(n, K)"}


def as_numbers(name: str, values: ArrayLike, n_axes: int = 1) -> NDArray[np.float64]:
    """Return finite numbers along so many axes.

    Raises
    ------
    DataError
        If they are none, or not such.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} hold what is no number ({error}); give numbers") from error
    if found.ndim != n_axes:
        raise DataError(
            f"{name} have the shape {found.shape}; give numbers of shape {_AXES[n_axes]}"
        )
    if found.size == 0:
        raise DataError(f"{name} are empty; give at least one number")
    if not np.isfinite(found).all():
        place = np.argwhere(~np.isfinite(found))[0].tolist()
        raise DataError(f"{name} hold {found[tuple(place)]} at {place}; give finite numbers")
    return found


def as_pairs(
    names: tuple[str, str], first: ArrayLike, second: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two arrays of as many finite numbers.

    Raises
    ------
    DataError
        If one has more than the other, or they are no such numbers.
    """
    one, other = as_numbers(names[0], first), as_numbers(names[1], second)
    if len(one) != len(other):
        raise DataError(
            f"there are {len(one)} {names[0]} and {len(other)} {names[1]}; give as many of both"
        )
    return one, other


def as_pictures(name: str, given: ArrayLike) -> NDArray[Any]:
    """Return pictures (n, H, W) or (n, H, W, 3 or 4).

    Raises
    ------
    DataError
        If they are none, or hold what is not finite.
    """
    pictures = np.asarray(given)
    if pictures.ndim == 4 and pictures.shape[-1] == 1:
        pictures = pictures[..., 0]
    if pictures.ndim not in (3, 4) or not is_picture_shape(pictures.shape[1:]):
        moved = f": {last_axis_call(pictures.shape)}" if channels_first(pictures.shape[1:]) else ""
        raise DataError(
            f"{name} has the shape {np.shape(given)}; give pictures of shape (n, height, width) or "
            f"(n, height, width, 1, 3 or 4){moved}"
        )
    if pictures.size == 0:
        raise DataError(f"{name} has the shape {np.shape(given)}; give at least one picture")
    if pictures.dtype.kind not in "buif":
        raise DataError(f"{name} holds {pictures.dtype}, which are no numbers; give pixels")
    if not np.isfinite(pictures).all():
        row = int(np.argwhere(~np.isfinite(pictures))[0][0])
        raise DataError(f"{name} holds NaN or infinity in picture {row} (from 0); give finite ones")
    return pictures
