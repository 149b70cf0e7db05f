"""Nearest neighbours among training rows, none of which is the row itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.models.learned_rows import ROUNDING_BITS, hash_rows

Matrix = NDArray[np.float64]

_BLOCK = 1 << 22  # the number of values that are computed at a time


class Neighbours:
    """The distances of rows to the nearest of the reference rows.

    Parameters
    ----------
    rows : ndarray of shape (R, r)
        The features of the reference rows; see :class:`narrows.models.feature_space.FeatureSpace`.
    k : int
        The number of neighbours, K.
    blocks : ndarray of int and shape (R,)
        The block of each reference row, if they are windows of signals; otherwise its index among
        the training rows.
    of_windows : bool
        Whether the rows are windows: those of one block, or of adjacent ones, whose numbers differ
        by 1, are no neighbours of each other.
    """

    def __init__(
        self, rows: Matrix, k: int, blocks: NDArray[np.int64], *, of_windows: bool
    ) -> None:
        from sklearn.neighbors import NearestNeighbors  # slow to import

        self.rows, self.blocks, self.of_windows = rows, blocks, of_windows
        counts = np.unique(blocks, return_counts=True)[1]
        # The largest number of rows that are left out of the neighbours of one.
        self._most = int(np.convolve(counts, np.ones(3 if of_windows else 1), "same").max())
        self.k = max(1, min(k, len(rows) - 1))
        self._found = NearestNeighbors().fit(rows)

    def find(self, rows: Matrix, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of the nearest reference rows, (n, K).

        Rows (n, r) of a block, -1 for new ones, have no neighbours in this block.
        """
        wanted = min(self.k + self._most, len(self.rows))
        found = self._found.kneighbors(rows, n_neighbors=wanted, return_distance=False)
        away = np.abs(self.blocks[found] - blocks[:, None])
        is_own = (away <= int(self.of_windows)) & (blocks >= 0)[:, None]
        if not self.of_windows:  # equal rows are neighbours, but one of them is the row itself
            is_own &= is_own.cumsum(axis=1) == 1
        order = is_own.argsort(axis=1, kind="stable")[:, : self.k]
        return np.take_along_axis(found, order, axis=1)

    def differences(self, rows: Matrix, found: NDArray[np.int64]) -> Matrix:
        """Return rows less their neighbours, (n, K, r)."""
        return rows[:, None] - self.rows[found]

    def squared_distances(self, rows: Matrix, found: NDArray[np.int64]) -> Matrix:
        """Return the mean squared distance of rows (n, r) to their neighbours (n, K), (n,)."""
        distances = np.empty(len(rows))
        step = max(1, _BLOCK // (self.k * rows.shape[1]))
        for start in range(0, len(rows), step):
            place = slice(start, start + step)
            away = self.differences(rows[place], found[place])
            distances[place] = np.square(away, out=away).sum(axis=2).mean(axis=1)
        return distances


@dataclass(frozen=True)
class NeighbourDistance:
    """How far rows are from their neighbours, as compared with how far these are from theirs.

    The mean squared distance d of a row is divided by the mean of two: that of its neighbours,
    which finds rows that are isolated where others lie close (Breunig et al. 2000, "LOF:
    identifying density-based local outliers"), and the median over all rows.

    Attributes
    ----------
    own : ndarray of shape (R,)
        The mean squared distance of each reference row to its neighbours.
    middle : float
        The median of d over all training rows.
    unit : float
        The median of what is then divided: d by the mean of the two.
    """

    own: Matrix
    middle: float
    unit: float

    def units(self, found: NDArray[np.int64]) -> Matrix:
        """Return what the d of rows with these neighbours, (n, K), are divided by, (n,)."""
        units: Matrix = self.unit * (self.own[found].mean(axis=1) + self.middle) / 2
        return units


@dataclass(frozen=True)
class TrainingRows:
    """The training rows that members of the ensemble have seen, or that are references, by hashes.

    Rows that are equal in single precision are one.

    Attributes
    ----------
    hashes : ndarray of uint64 and shape (G,)
        Distinct hashes, ascending.
    seen : ndarray of bool and shape (M, G)
        Which of them each member has seen.
    references : ndarray of int and shape (R,)
        The number of each reference row among them.
    blocks : ndarray of int and shape (G,)
        The block of each window of a signal; empty for other rows.
    """

    hashes: NDArray[np.uint64]
    seen: NDArray[np.bool_]
    references: NDArray[np.int64]
    blocks: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        seen: NDArray[np.bool_],
        references: NDArray[np.int64],
        blocks: NDArray[np.int64] | None,
    ) -> "TrainingRows":
        """Keep those of rows (n, ...) that a member has seen, (M, n), or that are references."""
        kept: NDArray[np.bool_] = np.any(seen, axis=0)
        kept[references] = True
        hashes, places = np.unique(hash_rows(rows) >> ROUNDING_BITS, return_inverse=True)
        used, numbers = np.unique(places[kept], return_inverse=True)
        distinct = np.zeros((len(seen), len(used)), np.bool_)
        for member, own in enumerate(seen[:, kept]):
            np.put(distinct[member], numbers[own], True)
        own = np.empty(0, np.int64)
        if blocks is not None:
            own = blocks[kept][np.unique(numbers, return_index=True)[1]]
        return cls(hashes[used], distinct, np.searchsorted(used, places[references]), own)

    def check(self, n_references: int) -> None:
        """Refuse numbers that do not fit together, or not so many reference rows.

        Raises
        ------
        ValueError
            If they do not.
        """
        fits = self.references.shape == (n_references,) and len(self.blocks) in (
            0,
            len(self.hashes),
        )
        if not (fits and 0 <= self.references.min() <= self.references.max() < len(self.hashes)):
            raise ValueError("the references are not among the training rows")

    def find(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return the index of each row among the training rows; -1 for new rows."""
        wanted = hash_rows(rows) >> ROUNDING_BITS
        places = np.searchsorted(self.hashes, wanted)
        places[places == len(self.hashes)] = 0
        return np.where(self.hashes[places] == wanted, places, -1)

    def shares(self, indices: NDArray[np.int64]) -> Matrix:
        """Return the weight of each member in the scores of rows, (M, n).

        Members that have seen a row have weight 0, unless all have seen it.
        """
        unseen: Matrix = np.logical_or(~self.seen[:, indices], indices < 0).astype(np.float64)
        unseen[:, ~unseen.any(axis=0)] = 1.0
        unseen /= unseen.sum(axis=0)
        return unseen

    def block_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the blocks of rows: -1 for new ones; of tables, each row is a block."""
        if not len(self.blocks):
            return indices
        return np.where(indices >= 0, self.blocks[indices], -1)

    def neighbours(self, features: Matrix, k: int, which: NDArray[np.int64]) -> Neighbours:
        """Search neighbours among some of the reference rows, whose features are given."""
        blocks = self.block_of(self.references[which])
        return Neighbours(features, k, blocks, of_windows=len(self.blocks) > 0)
