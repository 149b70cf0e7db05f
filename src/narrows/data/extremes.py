"""Values so far from the others of a column that its standard deviation is theirs alone.

Numbers are divided by the standard deviation, and errors are squared: beside a value of 1e12, a
model restores values of 40 to 60 as any others.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.errors import warn
from narrows.texts import counted, listed

_FEWEST = 10  # values
_MOST = 0.2  # of all values
# By how many times the distance to the median grows from the others to the extreme ones, and by how
# many these widen the standard deviation. Columns of which most values are one have no distances to
# compare, and the first number is larger there.
_APART, _WIDER, _APART_FROM_ONE = 3, 3, 1000
_SHOWN = 4

REMEDY = (
    "make gaps of such values if they are errors or stand for missing ones, otherwise take their "
    "logarithm, or leave the column out (--drop NAME, drop=)"
)


def find_extremes(values: NDArray[Any]) -> tuple[int, int] | None:
    """Count the values that are far from all others, and find the farthest.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Finite.

    Returns
    -------
    tuple of int or None
        How many there are, at most a fifth of all, and the place of the farthest; None if there
        are none.

    Examples
    --------
    >>> values = np.arange(40.0, 60.0)
    >>> find_extremes(values), find_extremes(np.append(values, 1e12))
    (None, (1, 20))
    """
    n = len(values)
    if n < _FEWEST:
        return None
    values = values.astype(np.float64)
    exponent = np.frexp(np.abs(values).max())[1]
    values = np.ldexp(values, -exponent)  # squares of 1e200 would overflow
    distances = np.abs(values - np.median(values))
    order = np.argsort(distances, kind="stable")
    distances = distances[order]
    first = int((1 - _MOST) * n) - 1
    below, above = distances[first:-1], distances[first + 1 :]
    for place in first + np.flatnonzero((below > 0) & (above >= _APART * below)):
        others = values[order[: place + 1]]
        low, high = np.percentile(others, [25, 75])
        is_apart = high > low or distances[place + 1] >= _APART_FROM_ONE * distances[place]
        if is_apart and values.std() >= _WIDER * others.std():
            return n - 1 - int(place), int(order[-1])
    return None


def described(count: int, example: str) -> str:
    """Describe the extreme values of a column."""
    return f"{counted(count, 'value')} far from the others, such as {example}"


def warn_of_extremes(columns: dict[str, str], *, stacklevel: int = 2) -> None:
    """Warn of columns with extreme values ("extreme_values"), by what they have."""
    if columns:
        named = (f"{name!r} has {what}" for name, what in columns.items())
        warn(
            f"extreme values spoil how the others of their columns are restored: "
            f"{listed(named, _SHOWN, '; ')}; {REMEDY}",
            kind="extreme_values",
            stacklevel=stacklevel + 1,
            columns=columns,
        )


def extremes_of(named: Iterable[tuple[str, NDArray[Any]]]) -> dict[str, str]:
    """Describe the extreme values of columns of numbers by their names."""
    found = {}
    for name, values in named:
        if (extremes := find_extremes(values)) is not None:
            found[name] = described(extremes[0], f"{values[extremes[1]]:g}")
    return found
