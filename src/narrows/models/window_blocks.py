"""Windows of signals held out in blocks.

Windows that overlap share samples. The network that scores a window must have seen none of its
samples, so windows are held out in blocks, and those that overlap a window that was seen count as
seen.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from narrows.data.signal_files import Windows, overlap_add

Matrix = NDArray[np.float64]

# The blocks of all signals together, about; the fewest; and the least length of one, in windows.
_BLOCKS, _FEWEST, _LEAST = 40, 4, 4
# Windows that are drawn together where not all can be learned from.
_DRAWN = 256


@dataclass(frozen=True)
class WindowPlaces:
    """The positions of windows in their signals.

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
        """Return those of some windows, whose numbers ascend."""
        return cls(windows.owners[rows], windows.starts[rows], windows.shape[1])

    def runs(self) -> list[NDArray[np.int64]]:
        """Return the numbers of windows in runs that overlap or touch within one signal."""
        gaps = (np.diff(self.owners) != 0) | (np.diff(self.starts) > self.length)
        return np.split(np.arange(len(self.starts)), np.flatnonzero(gaps) + 1)

    def blocks(self) -> NDArray[np.int64]:
        """Return the number of each window's block; only adjacent blocks differ by 1."""
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
        """Split the blocks in halves; return the windows of each that overlap none of the other."""
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
        """Cross-fade the values (n, L) of windows; return one array for each run."""
        return [overlap_add(values[run], self.starts[run] - self.starts[run[0]])
                for run in self.runs()]  # fmt: skip


def draw_windows(windows: Windows, most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw windows in stretches of 256 neighbours, ascending."""
    starts = np.arange(0, len(windows), _DRAWN)
    drawn = np.sort(generator.permutation(starts)[: max(1, most // _DRAWN)])
    rows = (drawn[:, None] + np.arange(_DRAWN)).ravel()
    return rows[rows < len(windows)]
