"""What is black and what is white in picture files, and how their values get into a model's units.

Shades of 8 and 16 bits have a white of their own. Measured values (floats, signed and 32-bit
integers) have none, and neither have 16-bit files that stay below a quarter of white, as cameras of
10 to 14 bits write them: there black and white are near the least and the largest value of the
file, unless the model learned from values of the same type, in whose units they stay. Where all but
a few values are far below the largest, as the sky among stars, white is so much lower that its
noise can be seen.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.depths import SHADES
from narrows.data.noise_level import estimate_noise
from narrows.data.reading import DARK
from narrows.data.scaling import Scaling
from narrows.errors import DataError

# Shares of the values below black and above white, where a file has none of its own: hot pixels and
# stars are beyond.
_BELOW, _ABOVE = 0.001, 0.999
_LOOKED_AT = 1_000_000  # values of a page
# What is rare: the share of the values that is not, the deviations of noise from the median to
# white, and the most of the distance from black to the largest values that these may be.
_COMMON, _DEVIATIONS, _RARE = 0.95, 30, 1 / 4
_SIDE = 512  # of the middle of a page, in which noise is measured
# Ranges that floats are often in, the narrowest first, if they reach a quarter of it.
_FLOATS, _REACHED = ((0.0, 1.0), (0.0, 255.0)), 1 / 4
_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)


@dataclass(frozen=True)
class Tones:
    """Black and white of a file.

    Attributes
    ----------
    black, white : float
        In the units of the file; white is above black.
    are_own : bool
        Whether they were found in the file's values, some of which are beyond.
    """

    black: float
    white: float
    are_own: bool = False

    @property
    def span(self) -> float:
        """The distance from black to white."""
        return self.white - self.black


@dataclass(frozen=True)
class ModelTones:
    """A file's black and white, and those of a model.

    Attributes
    ----------
    file : Tones
        Of the file.
    low, high : float
        What they become in the model's units.
    """

    file: Tones
    low: float
    high: float

    def to_model(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Convert values of the file, in full precision, to the model's units.

        Values beyond a black and white that were found in the file become these.
        """
        kind = np.float32 if np.can_cast(values.dtype, np.float32) else np.float64
        share: NDArray[Any] = values.astype(kind)
        share = (share - self.file.black) / self.file.span
        if self.file.are_own:
            share = share.clip(0, 1)
        share = share * (self.high - self.low) + self.low
        return share.astype(np.float32)


def own_tones(pages: Iterable[NDArray[Any]]) -> Tones:
    """Find black and white of a file that says neither, over all of its pages.

    Parameters
    ----------
    pages : iterable of ndarray
        Their values, without opacity; values that are not finite do not count.

    Examples
    --------
    >>> own_tones([np.array([0.0, 0.4, 0.9, np.nan])])
    Tones(black=0.0, white=1.0, are_own=False)
    >>> own_tones([np.arange(100, 4000, dtype=np.uint16)])
    Tones(black=103.899, white=3995.101, are_own=True)
    """
    ends, extremes, common = [], [], []
    kind = ""
    for values in pages:
        kind = values.dtype.kind
        flat = values.reshape(-1)
        finite = flat[np.isfinite(flat)] if kind == "f" else flat
        if len(finite):
            few = finite[:: max(1, len(finite) // _LOOKED_AT)].astype(np.float64)
            ends.append(np.quantile(few, (_BELOW, _ABOVE)))
            middle, most = np.quantile(few, (0.5, _COMMON))
            common.append(max(most, middle + _DEVIATIONS * _noise_of(values)))
            extremes.append((float(finite.min()), float(finite.max())))
    if not ends:
        return Tones(0.0, 1.0)
    least, most = min(low for low, _ in extremes), max(high for _, high in extremes)
    if kind == "f":
        for black, white in _FLOATS:
            if black <= least and most <= white and most > _REACHED * white:
                return Tones(black, white)
    black, white = min(low for low, _ in ends), max(high for _, high in ends)
    if max(common) - black < _RARE * (white - black):
        white = max(common)
    if not black < white:  # all but a few values are one
        black, white = least, most
    return Tones(float(black), float(white if white > black else black + 1), are_own=True)


def _noise_of(page: NDArray[Any]) -> float:
    """Return the deviation of the noise in the middle of a page; 0 where it has no pixels."""
    if page.ndim not in (2, 3) or not page.size:
        return 0.0
    top, left = (max(0, (n - _SIDE) // 2) for n in page.shape[:2])
    return estimate_noise(page[top : top + _SIDE, left : left + _SIDE])


def are_known(dtype: np.dtype[Any], largest: float) -> bool:
    """Return whether files of a type say what white is.

    Parameters
    ----------
    dtype : dtype
        Of a file's values.
    largest : float
        The largest of them.
    """
    return dtype in (np.dtype(bool), _UINT8) or (dtype == _UINT16 and largest >= DARK)


def known_tones(dtype: np.dtype[Any]) -> Tones:
    """Return black and white of files that say so: of bits, and of shades of 8 and 16 bits."""
    return Tones(0.0, 1.0 if dtype.kind == "b" else float(SHADES[dtype]))


def model_tones(scaling: Scaling, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Return black and white of a model for files of its own type, in whose units these are.

    Returns
    -------
    tuple of float, or None
        None where the units of file and model differ.

    Raises
    ------
    DataError
        If files have shades of 8 bits, and the model learned from 16-bit pictures below a quarter
        of white, whose white is unknown.
    """
    learned = np.dtype(scaling.dtype)
    if dtype == _UINT8 and learned == _UINT16 and scaling.high < DARK:
        raise DataError(
            f"it has {dtype.name} values, and the model learned from 16-bit pictures that reach "
            f"{scaling.high:g} of 65535, so that nobody can tell what white is; give 16-bit "
            "pictures as the model learned from"
        )
    if dtype.kind == "b" or scaling.takes_as_shades(dtype):
        return None
    if dtype in SHADES:
        same = dtype == learned or learned not in SHADES
        return (scaling.low, scaling.high) if same else None
    return None if learned in SHADES else (scaling.low, scaling.high)


def ends_of(scaling: Scaling) -> tuple[float, float]:
    """Return black and white of a model for files of other units.

    Those of shades of 8 and 16 bits are the ends of the type; of other data, those that the model
    found in what it learned from.
    """
    learned = np.dtype(scaling.dtype)
    is_shades = learned in SHADES and (scaling.low, scaling.high) != (0.0, 1.0)
    if is_shades and (learned == _UINT8 or scaling.high >= DARK):
        return 0.0, float(SHADES[learned])
    return scaling.low, scaling.high
