"""Whether pictures are in the units that a model learned from: shades to 1, to 255 or to 65535.

A network takes any numbers, and makes nonsense of those of other units, which nobody would notice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.lazy_rows import strided
from narrows.data.scaling import Scaling
from narrows.errors import warn

_LOOKED_AT = 32  # pictures
_QUANTILE = 0.99
# Noise as strong as the range itself, and pictures of one dark shade, are within these multiples
# of it. A few bright pixels may be beyond.
_FARTHEST, _NEAREST, _BRIGHT = 4.0, 1 / 100, 4 / 100
_WHITES = (1.0, 255.0, 65535.0)

_known: ContextVar[bool] = ContextVar("units known", default=False)


@contextmanager
def known_units() -> Iterator[None]:
    """Do not warn in the block, whose pictures were brought to the model's units."""
    token = _known.set(True)
    try:
        yield
    finally:
        _known.reset(token)


def warn_of_units(scaling: Scaling, rows: Any, *, stacklevel: int = 3) -> None:
    """Warn of pictures that cannot be in a model's units, since they are far too large or small.

    Parameters
    ----------
    scaling : Scaling
        Of the model.
    rows : ndarray or LazyRows of shape (n, H, W) or (n, H, W, C)
        The pictures.
    stacklevel : int, default=3
        As for :func:`narrows.errors.warn`.

    Warns
    -----
    NarrowsWarning
        "other_units", with the remedy.

    Examples
    --------
    >>> import warnings
    >>> from narrows.data.scaling import Statistics
    >>> scaling = Scaling.learn("auto", Statistics.of(np.array([[0, 255]], np.uint8)))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_units(scaling, np.full((1, 8, 8), 40000, np.uint16))
    ...     warn_of_units(scaling, np.full((1, 8, 8), 200.0))
    >>> len(caught), caught[0].message.facts["largest"]
    (1, 40000.0)
    """
    span = scaling.high - scaling.low
    if _known.get() or not len(rows) or span <= 0:
        return
    some = np.asarray(strided(rows, _LOOKED_AT))
    values = some.astype(np.float64)
    is_large = float(np.quantile(np.abs(values - scaling.low), _QUANTILE)) > _FARTHEST * span
    usual, largest = float(np.quantile(np.abs(values), _QUANTILE)), float(np.abs(values).max())
    top = max(abs(scaling.low), abs(scaling.high))
    # Values of the model's own integers are dark, not of other units.
    may_be_dark = some.dtype == scaling.dtype and some.dtype.kind in "bui"
    is_small = 0 < usual <= _NEAREST * top and largest <= _BRIGHT * top and not may_be_dark
    if not (is_large or is_small):
        return
    low, high = scaling.low, scaling.high
    what = "beyond white" if is_large else "nearly black"
    warn(
        f"pictures of {some.dtype} with values up to {some.max():.5g} were given, and the model "
        f"learned from values from {low:g} to {high:g}, so that they are {what} to it; "
        f"{_remedy(scaling, some, usual)}",
        kind="other_units",
        stacklevel=stacklevel + 1,
        largest=float(some.max()),
        low=low,
        high=high,
    )


def _remedy(scaling: Scaling, some: NDArray[Any], usual: float) -> str:
    """Return how the pictures get to the model's units, where both whites are known."""
    if scaling.low != 0 or scaling.high not in _WHITES:
        return "give them in the units that it learned from"
    if some.dtype in (np.uint8, np.uint16):
        white = float(np.iinfo(some.dtype).max)
    else:
        white = next((white for white in _WHITES if usual <= _FARTHEST * white), _WHITES[-1])
    if white == scaling.high:  # of measured values, no multiple is known
        return "give them in the units that it learned from"
    factor = scaling.high / white
    made = f"X * {factor:g}" if factor >= 1 else f"X / {1 / factor:g}"
    return f"give {made}, if {white:g} is white, and bring the result back"
