"""What a user gave, checked: one clear line for whatever cannot work."""

import math
import numbers
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from narrows.data.arrays import check_finite, read_rows
from narrows.errors import DataError, DataTypeError, ParameterError


def check_rows(estimator: BaseEstimator, X: Any, *, fitting: bool) -> NDArray[Any]:
    """Turn what was given into an array of numbers, by scikit-learn's rules and for pictures too.

    Parameters
    ----------
    estimator : BaseEstimator
        Learns ``n_features_in_`` (of a picture: all its values) and ``feature_names_in_``, or is
        held against them.
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), Tensor, DataFrame or path
        The rows.
    fitting : bool
        Whether the estimator learns from these rows.

    Returns
    -------
    ndarray of the same shape
        Of whatever numeric type it came in.

    Raises
    ------
    DataError
        If the rows cannot be used.
    """
    X = read_rows(X)
    if isinstance(X, list | tuple):
        try:
            X = np.asarray(X)
        except ValueError as error:
            raise DataError(f"{_one_line(error)}; rows must all have the same shape") from error
    shape = X.shape if isinstance(X, np.ndarray) else None
    if shape is not None and len(shape) > 4:
        raise DataError(
            f"an array with {len(shape)} dimensions was given; tables (n, F) and pictures "
            "(n, H, W) or (n, H, W, C) are allowed; reshape it"
        )
    is_picture = shape is not None and len(shape) > 2
    try:
        rows: NDArray[Any] = validate_data(
            estimator,
            X.reshape(len(X), math.prod(X.shape[1:])) if is_picture else X,
            reset=fitting,
            dtype="numeric",
            ensure_all_finite=False,
            ensure_min_samples=2 if fitting else 1,
        )
        # Older releases of scikit-learn let text through, for which there is no number.
        rows = rows.astype(np.float64) if rows.dtype.kind not in "buif" else rows
    except (ValueError, TypeError) as error:
        kind = DataTypeError if isinstance(error, TypeError) else DataError
        raise kind(_explain(X, error)) from error
    check_finite(rows)
    return rows.reshape(shape) if is_picture else rows


def _explain(X: Any, error: Exception) -> str:
    line = _one_line(error)
    if np.ndim(X) == 1:
        return (
            f"Expected 2D array, got 1D array of shape {np.shape(X)}. Reshape your data: "
            "X.reshape(1, -1) is one row, X.reshape(-1, 1) is one feature"
        )
    if "sample(s)" in line:
        return f"{line} Give more rows."
    if "convert" in line and hasattr(X, "dtypes"):
        for name in X.columns:
            try:
                np.asarray(X[name], dtype=np.float64)
            except (ValueError, TypeError):
                return (
                    f"column {name!r} holds text or objects, such as {X[name].iloc[0]!r}; only "
                    "numbers are allowed; leave the column out or encode it as numbers"
                )
    if "convert" in line or "strings" in line:
        return f"{line}; only numbers are allowed; leave text out or encode it as numbers"
    return line


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def check_number(
    name: str,
    value: Any,
    *,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    integral: bool = False,
    words: Collection[str] = (),
) -> None:
    """Refuse a parameter that is not a number in a range, or one of some words.

    Parameters
    ----------
    name : str
        The parameter's.
    value : object
        What was given.
    low, high : float
        The range.
    open_low, open_high : bool
        Whether the range's ends are outside of it.
    integral : bool
        Whether only whole numbers are allowed.
    words : collection of str
        Words that are allowed as well.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    if isinstance(value, str) and value in words:
        return
    kind = numbers.Integral if integral else numbers.Real
    is_number = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
    above = is_number and (low < value if open_low else low <= value)
    if above and (value < high or (value == high and not open_high)):
        return
    what = "a whole number" if integral else "a number"
    if high == math.inf:
        span = f"above {low:g}" if open_low else f"of at least {low:g}"
    else:
        span = f"in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    choice = "".join(f" or {word!r}" for word in words)
    raise ParameterError(f"{name}={value!r} is not allowed; give {what} {span}{choice}")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Refuse a parameter that is not one of some words.

    Raises
    ------
    ParameterError
        If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(
            f"{name}={value!r} is not known; use one of {', '.join(map(repr, choices))}"
        )
