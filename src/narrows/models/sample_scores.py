"""The anomaly score of each sample of a signal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

Matrix = NDArray[np.float64]

# The stretches over which errors are averaged, beside one sample, as shares of a window's length.
_STRETCHES = (1 / 8, 2)
# The quantile of normal errors at which errors are clipped before they are averaged, and of normal
# means that the unit of each stretch is taken from.
_CAP = 0.99


@dataclass(frozen=True)
class SampleScorer:
    """The score of each sample: the largest of mean errors over stretches of several lengths.

    Attributes
    ----------
    length : int
        Samples in a window.
    cap : float
        The value at which errors are clipped in stretches of several samples.
    middles, units : ndarray of shape (3,)
        The median of each stretch's means over normal samples, and how far the 99th percentile is
        above it.
    threshold : float
        The largest of the three means, in these units, at which the score is 1.
    """

    length: int
    cap: float
    middles: Matrix
    units: Matrix
    threshold: float

    @classmethod
    def fit(cls, errors: Sequence[Matrix], length: int, share: float) -> Self:
        """Fit to the errors of normal samples, (T,) each, of which a ``share`` scores above 1."""
        every = np.concatenate(errors)
        cap = float(np.quantile(every, _CAP))
        free = cls(length, cap, np.zeros(1), np.ones(1), 1.0)
        means = np.concatenate([free._means(one) for one in errors], axis=1)
        middles, ends = np.quantile(means, [0.5, _CAP], axis=1)
        units = np.maximum(ends - middles, np.finfo(float).tiny + 1e-9 * np.abs(middles))
        largest = ((means - middles[:, None]) / units[:, None]).max(axis=0)
        threshold = max(float(np.quantile(largest, 1 - share)), 1e-3)
        return cls(length, cap, middles, units, threshold)

    def __call__(self, errors: Matrix) -> Matrix:
        """Return the score of each sample of a signal, (T,)."""
        away = (self._means(errors) - self.middles[:, None]) / self.units[:, None]
        scores: Matrix = away.max(axis=0) / self.threshold
        return scores

    def _means(self, errors: Matrix) -> Matrix:
        """Return means over stretches around each sample, (3, T)."""
        capped = np.minimum(errors, self.cap)
        sizes = [max(1, round(share * self.length)) for share in _STRETCHES]
        sizes = [min(size, len(errors)) for size in sizes]
        means = [uniform_filter1d(capped, size, mode="reflect") for size in sizes]
        return np.stack([errors, *means])

    def arrays(self) -> dict[str, Matrix]:
        """Return what is stored."""
        numbers = np.array([self.length, self.cap, self.threshold])
        return {"samples": numbers, "sample_middles": self.middles, "sample_units": self.units}

    @classmethod
    def restore(cls, arrays: Mapping[str, Any]) -> Self:
        """Build one from what was stored."""
        length, cap, threshold = arrays["samples"].tolist()
        middles, units = arrays["sample_middles"], arrays["sample_units"]
        if middles.shape != (1 + len(_STRETCHES),) or middles.shape != units.shape:
            raise ValueError(f"there are units of shape {units.shape}")
        return cls(int(length), cap, middles, units, threshold)
