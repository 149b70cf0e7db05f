"""What users hand over to be measured: rows laid flat, and what belongs to them."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.data.arrays import as_array_like, as_tensor, check_finite
from narrows.errors import DataError, DataTypeError


def flat_rows(X: Any, name: str = "X") -> NDArray[Any]:
    """Turn rows of any shape into a table of finite numbers, (n, F).

    Raises
    ------
    DataError
        If they are none.
    """
    rows = np.asarray(as_array_like(X))
    if rows.dtype.kind not in "buif":
        raise DataTypeError(f"{name} holds values of type {rows.dtype}; only numbers are allowed")
    if rows.ndim < 2 or not rows.size:
        raise DataError(
            f"{name} has shape {rows.shape}; give rows of shape (n, F), (n, H, W) or (n, H, W, C)"
        )
    check_finite(rows, name)
    flat = as_tensor(rows).reshape(len(rows), math.prod(rows.shape[1:]))  # types that torch has
    values: NDArray[Any] = flat.numpy()
    return values


def groups_of(labels: ArrayLike, n: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Give each class that labels name a number.

    Returns
    -------
    classes : ndarray
        What the labels are, each once, in order.
    groups : ndarray of int and shape (n,)
        Which of them each row has.

    Raises
    ------
    DataError
        If there is not one label for each of n rows, or they cannot be put in order.
    """
    values = np.asarray(labels)
    if values.shape != (n,):
        raise DataError(f"labels have shape {values.shape}, the data {n} rows; give one for each")
    try:
        classes, groups = np.unique(values, return_inverse=True)
    except TypeError as error:
        raise DataError(
            f"labels are of several kinds ({error}); give all texts or all numbers"
        ) from error
    return classes, groups
