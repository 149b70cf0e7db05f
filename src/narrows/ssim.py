"""Structural similarity (SSIM) of pictures, for denoising and re-ranking.

Wang, Bovik, Sheikh & Simoncelli (2004), "Image quality assessment: from error visibility to
structural similarity", IEEE Transactions on Image Processing 13.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

# Section III.C of the paper: a Gaussian window of 11 pixels a side, and two constants.
WINDOW, SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
# Sides up to which a matrix product computes all means faster than a filter.
_SHORT = 128


def window_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width of the window for pictures of a shape (H, W[, C]).

    Examples
    --------
    >>> window_of((64, 64, 3)), window_of((8, 28))
    ((11, 11), (7, 11))
    """
    height, width = map(_side_of, shape[:2])
    return height, width


def _side_of(side: int) -> int:
    """Return the window's extent along a side of a picture: odd, so that it has a middle."""
    return min(WINDOW, side - 1 + side % 2)


def structural_similarity(
    one: NDArray[Any], other: NDArray[Any], data_range: float
) -> NDArray[np.float64]:
    """Return the SSIM of pictures and as many others.

    Eq. 13 of the paper with the window and the constants of its section III.C and weighted
    variances without Bessel's correction; the mean (eq. 17) over all places where the window lies
    inside the picture, and over the channels. Scikit-image gives the same with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.

    Parameters
    ----------
    one, other : ndarray of shape (n, H, W) or (n, H, W, C)
        Pictures in the same units.
    data_range : float
        The distance from black to white.

    Returns
    -------
    ndarray of float64 and shape (n,)
        From -1 to 1, which equal pictures have. Along a side shorter than 11 pixels the window is
        the largest odd number that fits.

    Examples
    --------
    >>> black, white = np.zeros((1, 16, 16)), np.ones((1, 16, 16))
    >>> structural_similarity(black, black, 1.0), structural_similarity(black, white, 1.0).round(4)
    (array([1.]), array([0.0001]))
    """
    height, width = one.shape[1:3]
    x, y = (
        np.moveaxis(pictures.reshape(len(pictures), height, width, -1).astype(np.float64), 3, 1)
        for pictures in (one, other)
    )
    mean_x, mean_y = _mean(x), _mean(y)
    product = mean_x * mean_y
    squares = mean_x**2 + mean_y**2
    variances = _mean(x * x + y * y) - squares
    covariance = _mean(x * y) - product
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    ssim = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    found: NDArray[np.float64] = ssim.mean(axis=(1, 2, 3))
    return found


def _mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted means in all windows inside pictures (n, C, H, W).

    The window is the product of two Gaussians, so that one side comes after the other.
    """
    height, width = x.shape[2:]
    if max(height, width) <= _SHORT:
        means: NDArray[np.float64] = _places(height) @ x @ _places(width).T
        return means
    for axis, side in ((2, height), (3, width)):
        weights = _weights(side)
        ends = len(weights) // 2
        inside = [slice(None)] * 4
        inside[axis] = slice(ends, side - ends)
        x = correlate1d(x, weights, axis=axis, mode="constant")[tuple(inside)]
    return x


@cache
def _places(side: int) -> NDArray[np.float64]:
    """Return the weights of the window at each place along a side, (places, side)."""
    weights = _weights(side)
    places = np.zeros((side - len(weights) + 1, side))
    for place, row in enumerate(places):
        row[place : place + len(weights)] = weights
    return places


def _weights(side: int) -> NDArray[np.float64]:
    """Return the window along a side."""
    size = _side_of(side)
    weights: NDArray[np.float64] = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    return weights
