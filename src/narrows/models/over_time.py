"""Anomalies over time: windows of signals in blocks, and a score for each sample.

Windows that overlap share samples. What judges a window must have seen none of its samples, so
windows are held out in blocks, and those that overlap what was seen count as seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from narrows.data.signal_files import Windows, overlap_add

Matrix = NDArray[np.float64]

# The blocks of all signals together, about, and their least length in lengths of a window.
_BLOCKS, _FEWEST, _LEAST = 40, 4, 4
# The stretches over which errors are averaged: one sample, and shares of the length of a window.
_STRETCHES = (1 / 8, 2)
# Single samples count no more in longer stretches than this quantile of normal ones, which is also
# the unit of all stretches.
_CAP = 0.99
# Windows that are drawn together where not all can be learned from.
_DRAWN = 256


@dataclass(frozen=True)
class Places:
    """Where windows were cut out.

    Attributes
    ----------
    owners, starts : ndarray of int and shape (n,)
        The number of each window's signal, and its first sample there; ascending.
    length : int
        Samples in a window.
    """

    owners: NDArray[np.int64]
    starts: NDArray[np.int64]
    length: int

    @classmethod
    def of(cls, windows: Windows, rows: NDArray[np.int64]) -> Self:
        """Take those of some windows, in ascending order."""
        return cls(windows.owners[rows], windows.starts[rows], windows.shape[1])

    def runs(self) -> list[NDArray[np.int64]]:
        """Return the numbers of windows in runs that overlap or touch within one signal."""
        gaps = (np.diff(self.owners) != 0) | (np.diff(self.starts) > self.length)
        return np.split(np.arange(len(self.starts)), np.flatnonzero(gaps) + 1)

    def blocks(self) -> NDArray[np.int64]:
        """Return the number of each window's block; only neighbours have numbers that follow."""
        n = len(self.starts)
        numbers = np.empty(n, np.int64)
        first = 0
        for run in self.runs():
            hop = max(1, int(np.median(np.diff(self.starts[run])))) if len(run) > 1 else 1
            size = max(-(-_LEAST * self.length // hop), -(-n // _BLOCKS))
            size = max(1, min(size, -(-n // _FEWEST)))
            numbers[run] = first + np.arange(len(run)) // size
            first = int(numbers[run[-1]]) + 2
        return numbers

    def halves(self, generator: np.random.Generator) -> list[NDArray[np.int64]]:
        """Draw half of the blocks; return their windows, and the others, without what overlaps."""
        blocks = self.blocks()
        names = generator.permutation(np.unique(blocks))
        is_first = np.isin(blocks, names[: len(names) // 2])
        inside = [half & ~self.overlapped(~half) for half in (is_first, ~is_first)]
        if not all(half.any() for half in inside):
            inside = [is_first, ~is_first]
        return [np.flatnonzero(half) for half in inside]

    def overlapped(self, which: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which windows share samples with one of those marked, (n,)."""
        apart = int(self.starts.max()) + 2 * self.length
        places = self.owners * apart + self.starts
        marked = places[which]
        if not len(marked):
            return which
        after = np.searchsorted(marked, places).clip(max=len(marked) - 1)
        before = (after - 1).clip(min=0)
        nearest = np.minimum(np.abs(marked[after] - places), np.abs(marked[before] - places))
        shared: NDArray[np.bool_] = nearest < self.length
        return shared

    def join(self, values: Matrix) -> list[Matrix]:
        """Fade the values (n, L) of windows into each other; one array for each run."""
        return [overlap_add(values[run], self.starts[run] - self.starts[run[0]])
                for run in self.runs()]  # fmt: skip


def draw_windows(windows: Windows, most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw windows in stretches of 256 neighbours, ascending."""
    starts = np.arange(0, len(windows), _DRAWN)
    drawn = np.sort(generator.permutation(starts)[: max(1, most // _DRAWN)])
    rows = (drawn[:, None] + np.arange(_DRAWN)).ravel()
    return rows[rows < len(windows)]


@dataclass(frozen=True)
class Scan:
    """The score of each sample: the largest of mean errors over stretches of several lengths.

    Attributes
    ----------
    length : int
        Samples in a window.
    cap : float
        What an error counts at most in stretches of several samples.
    middles, units : ndarray of shape (3,)
        The median of each stretch's means over normal samples, and how far the 99th percentile is
        above it.
    threshold : float
        The score, in these units, that is divided by.
    """

    length: int
    cap: float
    middles: Matrix
    units: Matrix
    threshold: float

    @classmethod
    def fit(cls, errors: Sequence[Matrix], length: int, share: float) -> Self:
        """Measure the errors of normal samples, (T,) each; ``share`` of them score above 1."""
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
        return {"scan": numbers, "scan_middles": self.middles, "scan_units": self.units}

    @classmethod
    def restore(cls, arrays: Mapping[str, Any]) -> Self:
        """Build one from what was stored."""
        length, cap, threshold = arrays["scan"].tolist()
        middles, units = arrays["scan_middles"], arrays["scan_units"]
        if middles.shape != (1 + len(_STRETCHES),) or middles.shape != units.shape:
            raise ValueError(f"there are units of shape {units.shape}")
        return cls(int(length), cap, middles, units, threshold)
