"""The features in which an anomaly detector compares rows: scaled columns, or their PCA."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from narrows.data.principal import fit_pca

Matrix = NDArray[np.float64]

# Scaled columns are clipped to this, on both sides, so that no single value decides everything.
_CLIP = 4.0
# The interquartile range of the normal distribution, in standard deviations.
_IQR = 1.3489795
ROUNDING = 1e-9
"""Spreads below this share of the largest magnitude of a column are rounding errors."""

# The shorter side of pictures for one pixel of the standard deviation by which they are smoothed.
_PIXELS_A_SIGMA = 28
# The least length of a picture, as a share of the median length.
_DARK = 1e-3
BLOCKS = 4
"""The coordinates of a sample in a window: itself, the step to it, and the two spreads."""

# The weight of the spreads of a window beside all of its samples, and the least spread.
_LEVELS, _SILENCE = 0.5, 1e-9
# Rows of more values than this are projected on so many principal components.
MOST_VALUES = 128


@dataclass(frozen=True)
class FeatureSpace:
    """The features in which rows are compared: scaled columns, or their principal components.

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
        Orthonormal principal axes; of no rows where the scaled columns are the features.
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
    ) -> "FeatureSpace":
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
            least = ROUNDING * np.abs(values).max(axis=0)
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
        """Return the features (n, r) of rows (n, F)."""
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

    def remainder(self, flat: NDArray[Any], features: Matrix) -> Matrix:
        """Return what the features (n, r) leave of rows (n, F); zeros without components."""
        if not len(self.axes):
            return np.zeros((len(flat), 1))
        remainder: Matrix = self._scaled(flat) - self.mean - features @ self.axes
        return remainder

    def sum_blocks(self, squares: Matrix) -> Matrix:
        """Sum the squares that belong to one value of a row, to (n, F): a sample and its steps."""
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
        """Return vectors (..., r) of features in columns (..., F), which keeps their lengths."""
        return vectors @ self.axes if len(self.axes) else vectors


def _log_spread(values: Matrix) -> Matrix:
    """Return the logarithm of the standard deviation of each channel of windows (n, L[, C])."""
    spreads: Matrix = np.log(np.maximum(values.std(axis=1, keepdims=True), _SILENCE))
    return spreads
