"""What anomaly scores are made of: scaled rows, distances of codes, and distances of neighbours."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors

from narrows.data.principal import fit_pca
from narrows.models.learned_rows import hash_rows

Matrix = NDArray[np.float64]

# Scaled columns end here, on both sides, so that no single value decides everything.
_CLIP = 5.0
# The interquartile range of the normal distribution, in standard deviations.
_IQR = 1.3489795
# Spreads below this share of the largest magnitude of a column are rounding.
_ROUNDING = 1e-9
# The shorter side of pictures for one pixel of the standard deviation by which they are smoothed.
_PIXELS_A_SIGMA = 28
# Pictures are taken to be at least so long, as a share of the median length.
_DARK = 1e-3
BLOCKS = 4
"""The coordinates of a sample in a window: itself, the step to it, and the two spreads."""

# How much the spreads of a window count beside all of its samples, and the least one.
_LEVELS, _SILENCE = 0.5, 1e-9
# Rows of more values than this are brought to so many principal components.
MOST_VALUES = 128
# The share of rows that a robust covariance rests on, and its steps.
_CENTRAL, _STEPS = 0.9, 4
# What is added to a covariance, as a share of its mean variance, so that it can be inverted.
_RIDGE = 1e-6
# The rows of each side of a test for drift, at most, and its permutations.
_TESTED_ROWS, _PERMUTATIONS = 500, 999
# The bits of hashes that depend on the rounding error of single precision.
_COARSE = np.uint64(20)
_BLOCK = 1 << 22  # the number of values that are computed at a time


@dataclass(frozen=True)
class Space:
    """The coordinates in which rows are judged: scaled columns, or their principal components.

    Pictures are smoothed first, so that edges may lie a pixel aside, and divided by the root of
    their length, so that contrast counts half.

    Attributes
    ----------
    picture, window : tuple of int
        The shape of a picture, or of a window of a signal; ``()`` for other rows.
    length : float
        The median length of smoothed pictures.
    centre, scale : ndarray of shape (F,)
        The median and the spread of each column.
    mean : ndarray of shape (F,)
        The mean of the scaled columns; zeros without components.
    axes : ndarray of shape (r, F)
        Orthonormal principal axes; of no rows where the columns themselves are the coordinates.
    """

    picture: tuple[int, ...]
    window: tuple[int, ...]
    length: float
    centre: Matrix
    scale: Matrix
    mean: Matrix
    axes: Matrix

    @classmethod
    def fit(
        cls,
        flat: NDArray[Any],
        *,
        picture: tuple[int, ...] = (),
        window: tuple[int, ...] = (),
        seed: int,
    ) -> "Space":
        """Measure rows (n, F); pixels share one scale, as the samples of a channel do."""
        count = flat.shape[1] * (BLOCKS if window else 1)
        zeros, ones = np.zeros(count), np.ones(count)
        none = cls(picture, window, 1.0, zeros, ones, zeros, np.empty((0, 0)))
        if picture:
            length = float(np.median(np.linalg.norm(none._smooth(flat), axis=1)))
            none = replace(none, length=length if length > 0 else 1.0)
        values = none._prepare(flat)
        if picture or window:
            centre = values.mean(axis=0)
            shape = (BLOCKS, window[0], -1) if window else (1, count, 1)
            squares = np.square(values - centre).mean(axis=0).reshape(shape)
            spreads = np.sqrt(squares.mean(axis=1, keepdims=True))
            spreads = np.where(spreads > 0, spreads, 1.0)
            if window:
                spreads[BLOCKS // 2 :] /= _LEVELS
            scale = np.broadcast_to(spreads, squares.shape).flatten()
        else:
            low, centre, high = np.percentile(values, [25, 50, 75], axis=0)
            least = _ROUNDING * np.abs(values).max(axis=0)
            scale = (high - low) / _IQR
            scale = np.where(scale > least, scale, values.std(axis=0))
            scale = np.where(scale > least, scale, 1.0)
        columns = replace(none, centre=centre, scale=scale)
        if count <= MOST_VALUES:
            return columns
        scaled = columns._scaled(flat)
        axes = fit_pca(scaled, min(MOST_VALUES, *scaled.shape), random_state=seed)
        return replace(columns, mean=axes.mean, axes=axes.components)

    def __call__(self, flat: NDArray[Any]) -> Matrix:
        """Return the coordinates (n, r) of rows (n, F)."""
        scaled = self._scaled(flat)
        if not len(self.axes):
            return np.clip(scaled, -_CLIP, _CLIP, out=scaled)
        return (scaled - self.mean) @ self.axes.T

    def _scaled(self, flat: NDArray[Any]) -> Matrix:
        scaled: Matrix = (self._prepare(flat) - self.centre) / self.scale
        return scaled

    def _prepare(self, flat: NDArray[Any]) -> Matrix:
        """Return rows in double precision; pictures smoothed, with half of their contrast."""
        if self.window:
            values = np.asarray(flat, np.float64).reshape(-1, *self.window)
            steps = np.diff(values, axis=1, prepend=values[:, :1])
            levels = [np.broadcast_to(_log_spread(part), part.shape) for part in (values, steps)]
            blocks: Matrix = np.concatenate([values, steps, *levels], axis=1)
            return blocks.reshape(len(flat), -1)
        if not self.picture:
            return np.asarray(flat, np.float64)
        smooth = self._smooth(flat)
        lengths = np.linalg.norm(smooth, axis=1, keepdims=True) / self.length
        bright: Matrix = smooth / np.sqrt(np.maximum(lengths, _DARK))
        return bright

    def _smooth(self, flat: NDArray[Any]) -> Matrix:
        sides = (min(self.picture[:2]) / _PIXELS_A_SIGMA,) * 2
        pictures = np.asarray(flat, np.float64).reshape(-1, *self.picture)
        sigmas = (0, *sides, *[0] * (pictures.ndim - 3))
        smooth: Matrix = gaussian_filter(pictures, sigmas)
        return smooth.reshape(len(flat), -1)

    def left_out(self, flat: NDArray[Any], placed: Matrix) -> Matrix:
        """Return what the coordinates (n, r) leave of rows (n, F); zeros without components."""
        if not len(self.axes):
            return np.zeros((len(flat), 1))
        left: Matrix = self._scaled(flat) - self.mean - placed @ self.axes
        return left

    def fold(self, squares: Matrix) -> Matrix:
        """Add what belongs to one value of a row, (n, F), such as a sample and the steps by it."""
        if not self.window:
            return squares
        blocks = squares.reshape(len(squares), BLOCKS, self.window[0], -1).swapaxes(0, 1)
        steps = blocks[1]
        # A step belongs to both of its samples.
        values = blocks[0] + blocks[2:].sum(axis=0) + steps / 2
        values[:, :-1] += steps[:, 1:] / 2
        values[:, 0] += steps[:, 0] / 2
        folded: Matrix = values.reshape(len(squares), -1)
        return folded

    def to_columns(self, vectors: Matrix) -> Matrix:
        """Return vectors (..., r) in columns (..., F), which keeps their lengths."""
        return vectors @ self.axes if len(self.axes) else vectors


@dataclass(frozen=True)
class CodeDistance:
    """The robust Mahalanobis distance of codes, Hotelling's T squared, for each of M judges.

    Attributes
    ----------
    centres : ndarray of shape (M, K)
        Robust means of codes.
    whitenings : ndarray of shape (M, K, K)
        Matrices that make codes less their centre uncorrelated, with variance 1; zero in the
        entries that a judge's code does not have.
    """

    centres: Matrix
    whitenings: Matrix

    @classmethod
    def fit(cls, codes: Matrix, unseen: NDArray[np.bool_]) -> "CodeDistance":
        """Estimate from codes (M, n, K) of the rows that each judge has not seen, (M, n)."""
        count, _, width = codes.shape
        centres, whitenings = np.zeros((count, width)), np.zeros((count, width, width))
        for judge in range(count):
            own = codes[judge][unseen[judge]] if unseen[judge].sum() > 1 else codes[judge]
            used = np.flatnonzero(own.std(axis=0) > _ROUNDING * np.abs(own).max(axis=0))
            if len(used):
                centre, covariance = _robust_covariance(own[:, used])
                values, vectors = np.linalg.eigh(covariance)
                centres[judge, used] = centre
                whitenings[judge][np.ix_(used, used)] = vectors / np.sqrt(values) @ vectors.T
        return cls(centres, whitenings)

    def white(self, codes: Matrix) -> Matrix:
        """Return whitened codes (M, n, K), whose squared lengths are the distances."""
        return (codes - self.centres[:, None]) @ self.whitenings


def _log_spread(values: Matrix) -> Matrix:
    """Return the logarithm of the standard deviation of each channel of windows (n, L[, C])."""
    spreads: Matrix = np.log(np.maximum(values.std(axis=1, keepdims=True), _SILENCE))
    return spreads


def _robust_covariance(codes: Matrix) -> tuple[Matrix, Matrix]:
    """Return the mean and the covariance of the nine tenths of codes (n, K) that lie closest.

    Concentration steps (Rousseeuw & Van Driessen 1999, "A fast algorithm for the minimum covariance
    determinant estimator") from the distances by medians; covariances are shrunk (Ledoit & Wolf
    2004), as codes may have nearly as many numbers as there are rows.
    """
    width = codes.shape[1]
    centre = np.median(codes, axis=0)
    spread = np.median(np.abs(codes - centre), axis=0)
    spread = np.where(spread > 0, spread, codes.std(axis=0))
    distances = np.square((codes - centre) / spread).sum(axis=1)
    for _ in range(_STEPS):
        inner = codes[distances <= np.quantile(distances, _CENTRAL)]
        centre = inner.mean(axis=0)
        covariance = ledoit_wolf(inner - centre, assume_centered=True)[0]
        covariance += _RIDGE * np.trace(covariance) / width * np.eye(width)
        away = codes - centre
        distances = np.einsum("ij,ij->i", away, np.linalg.solve(covariance, away.T).T)
    return centre, covariance


class Neighbours:
    """The distances of rows to the nearest of the reference rows.

    Parameters
    ----------
    rows : ndarray of shape (R, r)
        The reference rows, in the coordinates of the :class:`Space`.
    k : int
        The number of neighbours, K.
    blocks : ndarray of int and shape (R,)
        The block of each reference row; of those that are no windows of signals, its number among
        the known rows.
    near : int
        Rows of blocks whose numbers differ by at most so much are no neighbours of each other.
    """

    def __init__(self, rows: Matrix, k: int, blocks: NDArray[np.int64], near: int) -> None:
        self.rows, self.blocks, self.near = rows, blocks, near
        counts = np.unique(blocks, return_counts=True)[1]
        # As many rows as are left out of the neighbours of one at most.
        self._most = int(np.convolve(counts, np.ones(2 * near + 1, np.int64), "same").max())
        self.k = max(1, min(k, len(rows) - 1))
        self._found = NearestNeighbors().fit(rows)

    def find(
        self, rows: Matrix, blocks: NDArray[np.int64], k: int | None = None
    ) -> NDArray[np.int64]:
        """Return the numbers of the nearest reference rows, (n, k).

        Rows (n, r) of a block, -1 for new ones, have no neighbours in this block.
        """
        k = self.k if k is None else min(k, max(1, len(self.rows) - 1))
        wanted = min(k + self._most, len(self.rows))
        found = self._found.kneighbors(rows, n_neighbors=wanted, return_distance=False)
        away = np.abs(self.blocks[found] - blocks[:, None])
        is_own = (away <= self.near) & (blocks >= 0)[:, None]
        if not self.near:  # equal rows are neighbours of each other, but one is the row itself
            is_own &= is_own.cumsum(axis=1) == 1
        order = is_own.argsort(axis=1, kind="stable")[:, :k]
        return np.take_along_axis(found, order, axis=1)

    def differences(self, rows: Matrix, found: NDArray[np.int64]) -> Matrix:
        """Return rows less their neighbours, (n, K, r)."""
        return rows[:, None] - self.rows[found]

    def squared_distances(self, rows: Matrix, blocks: NDArray[np.int64]) -> Matrix:
        """Return the mean squared distance of each row to its nearest reference rows, (n,)."""
        distances = np.empty(len(rows))
        step = max(1, _BLOCK // (self.k * rows.shape[1]))
        for start in range(0, len(rows), step):
            place = slice(start, start + step)
            away = self.differences(rows[place], self.find(rows[place], blocks[place]))
            distances[place] = np.square(away, out=away).sum(axis=2).mean(axis=1)
        return distances


@dataclass(frozen=True)
class KnownRows:
    """The rows that judges have seen, or that are references, by their hashes.

    Rows that are equal in single precision are one.

    Attributes
    ----------
    hashes : ndarray of uint64 and shape (G,)
        Distinct hashes, ascending.
    saw : ndarray of bool and shape (M, G)
        Which of them each judge has seen.
    references : ndarray of int and shape (R,)
        The number of each reference row among them.
    blocks : ndarray of int and shape (G,)
        The block of each window of a signal; empty for other rows.
    """

    hashes: NDArray[np.uint64]
    saw: NDArray[np.bool_]
    references: NDArray[np.int64]
    blocks: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        seen: NDArray[np.bool_],
        chosen: NDArray[np.int64],
        blocks: NDArray[np.int64] | None = None,
    ) -> "KnownRows":
        """Keep those of rows (n, ...) that are seen by one of the judges, (M, n), or chosen."""
        kept: NDArray[np.bool_] = np.any(seen, axis=0)
        kept[chosen] = True
        hashes, places = np.unique(hash_rows(rows) >> _COARSE, return_inverse=True)
        used, numbers = np.unique(places[kept], return_inverse=True)
        saw = np.zeros((len(seen), len(used)), np.bool_)
        for judge, own in enumerate(seen[:, kept]):
            np.put(saw[judge], numbers[own], True)
        own = np.empty(0, np.int64)
        if blocks is not None:
            own = blocks[kept][np.unique(numbers, return_index=True)[1]]
        return cls(hashes[used], saw, np.searchsorted(used, places[chosen]), own)

    def find(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Return the number of each row among the known ones; -1 for new rows."""
        wanted = hash_rows(rows) >> _COARSE
        places = np.searchsorted(self.hashes, wanted)
        places[places == len(self.hashes)] = 0
        return np.where(self.hashes[places] == wanted, places, -1)

    def shares(self, known: NDArray[np.int64]) -> Matrix:
        """Return the share of each judge in the judgement of rows, (M, n).

        Those that have seen a row have none, unless all have seen one like it.
        """
        unseen: Matrix = np.logical_or(~self.saw[:, known], known < 0).astype(np.float64)
        unseen[:, ~unseen.any(axis=0)] = 1.0
        unseen /= unseen.sum(axis=0)
        return unseen

    def block_of(self, known: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the blocks of known rows: -1 for new ones, and for tables their own numbers."""
        if not len(self.blocks):
            return known
        return np.where(known >= 0, self.blocks[known], -1)

    def neighbours(self, placed: Matrix, k: int, which: NDArray[np.int64]) -> Neighbours:
        """Make neighbours of some of the reference rows, whose coordinates are given."""
        blocks = self.block_of(self.references[which])
        return Neighbours(placed, k, blocks, 1 if len(self.blocks) else 0)


def robust_norms(values: Matrix, counted: NDArray[np.bool_], least: float) -> Matrix:
    """Return the median of the counted of values (M, n) of each line, (M,), or at least ``least``.

    Where more than half of them are zero, the mean takes its place.
    """
    norms = np.empty(len(values))
    for line, (own, which) in enumerate(zip(values, counted, strict=True)):
        used = own[which] if which.any() else own
        norms[line] = max(least, np.median(used) or used.mean())
    return norms


def split_whitened(white: Matrix, slopes: Matrix) -> Matrix:
    """Split squared lengths of whitened codes between the directions of rows.

    The complete decomposition of Alcala & Qin (2009), "Reconstruction-based contribution for
    process monitoring", for codes that depend on rows by the slopes A: the squares of
    A^T (A A^T)^(-1/2) z add up to those of z.

    Parameters
    ----------
    white : ndarray of shape (n, K)
        Whitened codes, z.
    slopes : ndarray of shape (K, r)
        The slopes of the whitened codes, A.

    Returns
    -------
    ndarray of shape (n, r)
        Vectors as long as the whitened codes.
    """
    left, _, right = np.linalg.svd(slopes, full_matrices=False)
    vectors: Matrix = white @ left @ right
    # Wider codes than rows lose some of their length.
    lengths, kept = np.linalg.norm(white, axis=1), np.linalg.norm(vectors, axis=1)
    vectors *= np.divide(lengths, kept, out=np.ones_like(kept), where=kept > 0)[:, None]
    return vectors


def slopes_of(rows: Matrix, white: Matrix) -> Matrix:
    """Return the slopes (K, r) of the regression of whitened codes (n, K) on rows (n, r)."""
    away = rows - rows.mean(axis=0)
    gram = away.T @ away
    gram += _RIDGE * (np.trace(gram) / len(gram) or 1.0) * np.eye(len(gram))
    slopes: Matrix = np.linalg.solve(gram, away.T @ (white - white.mean(axis=0))).T
    return slopes


def energy_test(old: Matrix, new: Matrix, generator: np.random.Generator) -> float:
    """Return the p-value of the energy distance of two samples, by permutations."""
    sides = [side[generator.permutation(len(side))[:_TESTED_ROWS]] for side in (old, new)]
    both, n_old = np.concatenate(sides), len(sides[0])
    distances = cdist(both, both)
    orders = np.array(
        [np.arange(len(both)), *(generator.permutation(len(both)) for _ in range(_PERMUTATIONS))]
    )
    is_old = (orders < n_old).astype(np.float64)
    counts = np.array([n_old, len(both) - n_old])
    sums = is_old @ distances
    within, across = (sums * is_old).sum(axis=1), (sums * (1 - is_old)).sum(axis=1)
    rest = distances.sum() - within - 2 * across
    energy = 2 * across / counts.prod() - within / counts[0] ** 2 - rest / counts[1] ** 2
    return float((energy >= energy[0] - 1e-12 * abs(energy[0])).mean())
