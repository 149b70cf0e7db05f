"""How noisy a picture is, measured on the picture alone.

Liu, Tanaka & Okutomi (2013), "Single-image noise level estimation for blind denoising", IEEE
Transactions on Image Processing 22: noise is alike in all directions of the space of patches,
whereas what a picture shows lies in a few of them; patches with weak texture have the fewest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter
from scipy.optimize import nnls
from scipy.stats import chi2, gamma, norm

from narrows.data.formats import is_numeric
from narrows.errors import DataError

_SIDE = 5  # of patches, in pixels
_FEWEST = 400  # patches, which a picture of 24 by 24 pixels has
_MOST = 40_000  # patches
_MOST_NOISE = 2_000_000  # pixels
_ROUNDS = 5
_FLAT = 1 - 1e-3  # the share of patches of pure noise that count as patches with weak texture
_PILED = 1e-3  # the share of pixels that hold an extreme value where a picture is clipped
_AWAY = 2.5  # standard deviations from a clipped value; 1 % of noise lies beyond
_FEW = 0.2  # the share of patches, those farthest from clipped values, that are always looked at
# For correlations: the side of patches, and the share and the number of the flattest.
_LARGE, _FLATTEST, _FEWEST_FLAT = 12, 0.05, 100
# Patches that tell the noise, of which no more pixels than this share are clipped; the share of
# all that they have to be; and the share of them, the flattest, that shows the most there can be.
_MOST_CLIPPED, _FEWEST_TELLING, _FLATTEST_PATCHES = 0.9, 0.05, 0.02
# Bands of brightness in which noise is measured by itself, and the side of the squares whose mean
# tells a pixel's band. A band shows texture where its flat patches vary so much more in most
# directions than in one, and so much more than those of other bands.
_BANDS, _SMOOTH = 4, 15
_TEXTURE, _MORE_TEXTURE = 2.0, 1.25
_ROUNDING = 1e-20  # the power of what rounding leaves of patches without noise
_TO_DEVIATION = 0.6745  # the median of a standard normal variable's absolute value

_Floats = NDArray[np.float64]


def estimate_noise(picture: ArrayLike) -> float:
    """Return the standard deviation of a picture's independent noise.

    The smallest eigenvalue of the covariance of patches whose gradients are no steeper than noise
    makes them (eqs. 9 to 16 of Liu, Tanaka & Okutomi), found in turns. It is divided by the same
    eigenvalue of noise whose deviation is 1, at the same places, as the smallest of several
    estimates is too low. The paper's patches have 7 pixels a side; those of 5 measure noise of a
    few grey levels better.

    Parameters
    ----------
    picture : array-like of shape (H, W) or (H, W, C)
        Of any real type and range. Patches with NaN or infinite values are left out, and those so
        close to black or white that their noise is clipped.

    Returns
    -------
    float
        In the units of the picture; the root of the mean of squares over channels. 0 where all
        patches are constant or clipped (as of a picture with two levels), or where no three
        pixels in a line are left to compare. Of pictures too small for patches, it is measured by
        second differences and includes what texture there is. The part of the noise that
        neighbouring pixels share (see `noise_correlation`) is not counted.

    Raises
    ------
    DataError
        If the picture has another shape, no pixels, or values other than real numbers.

    See Also
    --------
    noise_correlation : Whether the noise of neighbouring pixels is independent.

    Examples
    --------
    >>> y, x = np.mgrid[:200, :200]
    >>> stripes = 128 + 60 * np.sin(x / 3) * np.cos(y / 5)
    >>> noise = np.random.default_rng(0).normal(0, 10, stripes.shape)
    >>> round(estimate_noise(stripes + noise), 1)
    10.0
    """
    channels = _channels_of(picture)
    levels = np.array([_level_of(channel) for channel in channels])
    return float(levels.max() * np.sqrt(np.mean((levels / (levels.max() or 1.0)) ** 2)))


class NoiseVariance(NamedTuple):
    """The variance of a picture's noise, which depends linearly on the brightness.

    Attributes
    ----------
    low, high : float
        Two brightnesses, in the units of the picture.
    at_low, at_high : float
        The variance there, in these units squared.
    """

    low: float
    high: float
    at_low: float
    at_high: float

    def at(self, values: ArrayLike) -> _Floats:
        """Return the variance at values; beyond the two brightnesses it is that of the nearer."""
        span = (self.high - self.low) or 1.0
        share = ((np.asarray(values, np.float64) - self.low) / span).clip(0, 1)
        return self.at_low + share * (self.at_high - self.at_low)


def noise_by_brightness(pictures: Sequence[NDArray[Any]], black: float) -> NoiseVariance:
    """Measure noise that grows with the light, as that of cameras does.

    The noise of pixels of about one brightness is that of `estimate_noise`. Brightnesses that show
    texture, whose flat patches vary much more in most directions than in one, are left out if there
    are others. Through the variances goes a line with the smallest relative errors, among those
    that are not negative at black and do not fall. Few pixels of one brightness are flat, so that
    these variances are a little too large; the line is lowered until the darkest of them has no
    more than `estimate_noise` finds in all pixels.

    Parameters
    ----------
    pictures : list of ndarray of shape (H, W) or (H, W, C)
        Parts of one picture, of any real type and range.
    black : float
        The value of black, where the noise's variance is at least 0.

    Returns
    -------
    NoiseVariance
        Constant where a picture is too small, or too even, for several brightnesses.

    Raises
    ------
    DataError
        As `estimate_noise`.

    See Also
    --------
    estimate_noise : The same of noise that is alike everywhere.

    Examples
    --------
    >>> y, x = np.mgrid[:200, :200]
    >>> light = 100 + 80 * np.sin(x / 30) * np.cos(y / 40)
    >>> noise = np.random.default_rng(0).normal(size=light.shape) * np.sqrt(light)
    >>> variance = noise_by_brightness([light + noise], black=0)
    >>> [bool(0.8 < variance.at(brightness) / brightness < 1.2) for brightness in (100, 150)]
    [True, True]
    """
    points: list[tuple[float, float, float]] = []
    for picture in pictures:
        for channel in _channels_of(picture):
            points += _variances_of(channel)
    places, variances, spreads = np.array(points).T
    flat = spreads <= max(_TEXTURE, _MORE_TEXTURE * spreads.min())
    places, variances = places[flat], variances[flat]
    low, high = min(black, float(places.min())), float(places.max())
    shares = (places - low) / (high - low) if high > low else np.zeros(len(places))
    ends = fit_variance(shares, variances, grows=True)
    overall = float(np.median([estimate_noise(picture) for picture in pictures])) ** 2
    line = NoiseVariance(low, high, *ends)
    darkest = float(line.at(places.min()))
    lowered = min(1.0, overall / darkest) if darkest > 0 else 1.0
    return line._replace(at_low=lowered * ends[0], at_high=lowered * ends[1])


def fit_variance(
    shares: _Floats, variances: _Floats, *, grows: bool = False
) -> tuple[float, float]:
    """Fit a line that is nowhere negative to variances, by the least squares of relative errors.

    Parameters
    ----------
    shares : ndarray of shape (n,)
        Places from 0 to 1.
    variances : ndarray of shape (n,)
        Variances there; those of 0 are left out.
    grows : bool, default=False
        Whether the line must not fall.

    Returns
    -------
    at_0, at_1 : float
        The line at both ends; of places that are all alike, the constant with the least errors.
    """
    known = variances > 0
    if not known.any():
        return 0.0, 0.0
    shares, variances = shares[known], variances[known]
    if np.ptp(shares) == 0:
        return (float(np.sum(1 / variances) / np.sum(1 / variances**2)),) * 2
    first = np.ones(len(shares)) if grows else 1 - shares
    parts = np.column_stack([first, shares]) / variances[:, None]
    at_0, more = map(float, nnls(parts, np.ones(len(parts)))[0])
    return at_0, more + at_0 * grows


def _variances_of(channel: NDArray[Any]) -> list[tuple[float, float, float]]:
    """Return bands of a channel: their brightness, the variance of their noise, and the spread.

    The spread is by how much the variance in most directions exceeds the least; 1 of pure noise.
    """
    values = channel.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.any():
        return [(0.0, 0.0, 1.0)]
    smooth = uniform_filter(np.where(finite, values, np.median(values[finite])), _SMOOTH)
    edges = np.unique(np.quantile(smooth, np.linspace(0, 1, _BANDS + 1)))
    found = []
    window = (min(_SIDE, channel.shape[0]), min(_SIDE, channel.shape[1]))
    for low, high in pairwise(edges):
        in_band = (smooth >= low) & (smooth <= high)
        patches = _patches_of(np.where(in_band, values, np.nan), window)
        if patches is not None:
            level, kept = _smallest(patches)
            top, left = np.divmod(patches.places[kept], channel.shape[1] - window[1] + 1)
            brightness = smooth[top + window[0] // 2, left + window[1] // 2].mean()
            least, *others = _variances_by_direction(patches.rows[kept])
            spread = float(np.median(others)) / least if least > 0 else 1.0
            found.append((float(brightness), (patches.scale * level) ** 2, spread))
    return found or [(float(smooth.mean()), _level_of(channel) ** 2, 1.0)]


def noise_correlation(picture: ArrayLike) -> float:
    """Return the correlation of neighbouring pixels' noise.

    Measured in the flattest patches, from which a surface of the second degree is taken, so that
    shading does not count. The covariances of neighbours are the solution of linear equations that
    undo what taking the surface away does to them. Choosing the flattest patches makes strong
    correlations a little smaller.

    Parameters
    ----------
    picture : array-like of shape (H, W) or (H, W, C)
        As for `estimate_noise`.

    Returns
    -------
    float
        From -1 to 1: the correlation with the next pixel along a row or along a column, whichever
        is larger in magnitude; the mean over the channels with noise. 0 for independent noise, and
        where a picture has no noise, or is too small (below about 32 by 32 pixels) or has too many
        gaps to tell.

    Raises
    ------
    DataError
        If the picture has another shape, no pixels, or values other than real numbers.

    See Also
    --------
    estimate_noise : The standard deviation of independent noise.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(200, 201))
    >>> mixed = noise[:, 1:] + 0.5 * noise[:, :-1]  # neighbours along rows correlate by 0.4
    >>> abs(noise_correlation(noise)) < 0.1, 0.3 < noise_correlation(mixed) < 0.5
    (True, True)
    """
    found = [_correlation_of(channel) for channel in _channels_of(picture)]
    told = [value for value in found if value is not None]
    return float(np.mean(told or 0))


def _channels_of(picture: ArrayLike) -> list[NDArray[Any]]:
    """Return the channels of a picture, (H, W) each; raise a DataError if it is none."""
    pixels = np.asarray(picture)
    if pixels.ndim not in (2, 3) or not pixels.size:
        shape = " x ".join(map(str, pixels.shape)) or "a single number"
        raise DataError(
            f"noise is measured on one picture (height x width[ x channels]), not on {shape}; "
            "give pictures one by one"
        )
    if not is_numeric(pixels.dtype):
        raise DataError(
            f"noise is measured on real numbers, not on {pixels.dtype}; convert the picture first"
        )
    return [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, 2, 0))


def _level_of(channel: NDArray[Any]) -> float:
    """Return the standard deviation of the noise of a channel."""
    patches = _patches_of(channel, (min(_SIDE, channel.shape[0]), min(_SIDE, channel.shape[1])))
    return _differences(channel) if patches is None else patches.scale * _smallest(patches)[0]


@dataclass(frozen=True)
class _Patches:
    """Patches of a channel without NaN, and with no more than half of their pixels clipped.

    Attributes
    ----------
    rows : ndarray of float64 and shape (n, size)
        Their pixels, moved and scaled to between -1 and 1.
    places : ndarray of int64 and shape (n,)
        Where they are in the channel, counted along its rows.
    window, shape : tuple of int
        The height and width of patches, and of the channel.
    scale : float
        What makes values of `rows` values of the channel.
    low, high : float
        Where pixels are clipped, in units of `rows`; infinite where they are not.
    most : float
        What the noise's deviation is at most, in units of `rows`: what the flattest patches show.
    """

    rows: _Floats
    places: NDArray[np.int64]
    window: tuple[int, int]
    shape: tuple[int, int]
    scale: float
    low: float
    high: float
    most: float

    @property
    def size(self) -> int:
        """The number of pixels of a patch."""
        return self.window[0] * self.window[1]

    def far_from_clipped(self, level: float) -> NDArray[np.bool_]:
        """Tell which patches' noise of a level is clipped least, those with none if enough are."""
        means = self.rows.mean(axis=1)
        margins = np.minimum(means - self.low, self.high - means)
        enough: NDArray[np.bool_] = margins >= min(
            _AWAY * level, np.quantile(margins, 1 - _FEW, method="lower")
        )
        return enough


def _patches_of(channel: NDArray[Any], window: tuple[int, int]) -> _Patches | None:
    """Draw patches from a channel; None if there are too few."""
    drawn, places = _draw(channel, window)
    if len(drawn) < _FEWEST:
        return None
    rows, scale = _between_ones(drawn)
    low, high = rows.min(), rows.max()
    at_low, at_high = rows == low, rows == high
    kept = (at_low | at_high).mean(axis=1) <= 0.5
    clipped = np.zeros(rows.shape, bool)
    for at_end in (at_low, at_high):
        if at_end.mean() >= _PILED:
            clipped |= at_end
    shares = clipped.mean(axis=1)
    # Patches of black or of white alone are saturated in photographs; they have no noise in
    # drawings, where hardly any patch is without both.
    telling = (shares <= _MOST_CLIPPED) | ((shares == 0).mean() < _FEWEST_TELLING)
    if kept.sum() < _FEWEST or telling.mean() < _FEWEST_TELLING:
        return None
    return _Patches(
        rows[kept],
        places[kept],
        window,
        channel.shape,
        scale,
        low=low if at_low.mean() >= _PILED else -np.inf,
        high=high if at_high.mean() >= _PILED else np.inf,
        most=_most_noise(rows[telling], shares[telling]),
    )


def _most_noise(rows: _Floats, shares: _Floats) -> float:
    """Return the deviation of noise that the flattest patches show, whose texture adds to it.

    That they were chosen as the flattest is allowed for by the chi-squared distribution.
    """
    degrees = np.maximum((1 - shares) * rows.shape[1] - 1, 1)
    least = chi2.ppf(_FLATTEST_PATCHES, degrees) / degrees * clipped_variance(shares)
    variances = rows.var(axis=1, ddof=1) / np.maximum(least, _ROUNDING)
    return float(np.sqrt(np.quantile(variances, _FLATTEST_PATCHES)))


def clipped_variance(shares: _Floats) -> _Floats:
    """Return the share of its variance that Gaussian noise keeps where some values are clipped.

    That is the variance of the smaller one of a standard normal variable and a limit.

    Parameters
    ----------
    shares : ndarray
        The shares of clipped values, from 0 to 1.

    Returns
    -------
    ndarray of the shape of shares
        1 where no value is clipped, (1 - 1 / pi) / 2 where half of them are, 0 where all are.

    Examples
    --------
    >>> clipped_variance(np.array([0, 0.5, 1])).round(4).tolist()
    [1.0, 0.3408, 0.0]
    """
    inside = np.clip(shares, 1e-12, 1 - 1e-12)
    limits = norm.isf(inside)
    density = norm.pdf(limits)
    means = limits * inside - density
    kept = norm.cdf(limits) - limits * density + limits**2 * inside - means**2
    return np.where(np.asarray(shares) >= 1, 0.0, kept.clip(0, 1))


def _draw(channel: NDArray[Any], window: tuple[int, int]) -> tuple[_Floats, NDArray[np.int64]]:
    """Draw patches, (n, size), and their places; the same at every call, and none with NaN."""
    views = sliding_window_view(channel, window)
    n = views.shape[0] * views.shape[1]
    places = (
        np.arange(n) if n <= _MOST else np.unique(np.random.default_rng(0).integers(n, size=_MOST))
    )
    drawn = views[np.divmod(places, views.shape[1])].reshape(len(places), -1).astype(np.float64)
    finite = np.isfinite(drawn).all(axis=1)
    return drawn[finite], places[finite]


def _between_ones(values: _Floats) -> tuple[_Floats, float]:
    """Move and scale values to between -1 and 1; return what makes them the channel's again."""
    low, high = values.min() / 2, values.max() / 2
    scale = float(np.ldexp(1.0, np.frexp(high - low)[1])) or 1.0
    return values / scale - (low / scale + high / scale), scale


def _smallest(patches: _Patches) -> tuple[float, NDArray[np.bool_]]:
    """Return the noise's deviation, in units of the rows, and the patches with weak texture."""
    gradients, steepest = _gradients(patches.window)
    strengths = np.einsum("ni,ni->n", patches.rows @ gradients, patches.rows)
    kept = np.ones(len(strengths), bool)
    level = least = _least_deviation(patches.rows)
    for _ in range(_ROUNDS):
        weak = (strengths <= steepest * level**2) & patches.far_from_clipped(level)
        if weak.sum() < 2 * patches.size:
            break
        before, kept = level, weak
        least = _least_deviation(patches.rows[kept])
        level = least * _loss(patches, kept, level)
        if abs(level - before) <= 1e-3 * before:
            break
    return min(level, patches.most), kept


def _loss(patches: _Patches, kept: NDArray[np.bool_], level: float) -> float:
    """Return by how much noise of a level exceeds what is found of it in as many patches."""
    random = np.random.default_rng(0)
    if np.prod(patches.shape) > _MOST_NOISE:  # where few patches overlap
        noise = random.standard_normal((int(kept.sum()), patches.size))
    else:
        views = sliding_window_view(random.standard_normal(patches.shape), patches.window)
        chosen = np.divmod(patches.places[kept], views.shape[1])
        noise = views[chosen].reshape(-1, patches.size)
    if level > 0 and np.isfinite([patches.low, patches.high]).any():
        means = patches.rows[kept].mean(axis=1, keepdims=True)
        noise = (np.clip(means + level * noise, patches.low, patches.high) - means) / level
    return 1 / _least_deviation(noise)


def _least_deviation(rows: _Floats) -> float:
    """Return the standard deviation along the direction in which rows vary least."""
    return float(np.sqrt(_variances_by_direction(rows)[0]))


def _variances_by_direction(rows: _Floats) -> _Floats:
    """Return the variances of rows along their principal directions, the least first.

    Their means do not count: rows are chosen by them.
    """
    contrasts = rows - rows.mean(axis=1, keepdims=True)
    centred = contrasts - contrasts.mean(axis=0)
    variances: _Floats = np.linalg.eigvalsh(centred.T @ centred)[1:] / len(rows)
    return variances.clip(0)


@cache
def _gradients(window: tuple[int, int]) -> tuple[_Floats, float]:
    """Return the sum of squared gradients as a matrix, and the largest that noise makes.

    Eqs. 10 to 14 of the paper: the sum is about gamma-distributed, with the trace of the matrix
    as its mean and half its rank as its shape.
    """
    each = np.eye(window[0] * window[1]).reshape(-1, *window)
    gradients = np.zeros((len(each), len(each)))
    for axis in (1, 2):
        if window[axis - 1] > 1:
            step = np.asarray(np.gradient(each, axis=axis)).reshape(len(each), -1)
            gradients += step @ step.T
    shape = np.linalg.matrix_rank(gradients) / 2
    return gradients, float(gamma.ppf(_FLAT, shape, scale=np.trace(gradients) / shape))


def _differences(channel: NDArray[Any]) -> float:
    """Return the noise's deviation by the median of second differences, along either axis."""
    levels = []
    for window in ((1, 3), (3, 1)):
        if window[0] <= channel.shape[0] and window[1] <= channel.shape[1]:
            triples, _ = _draw(channel, window)
            if len(np.unique(triples)) > 2:
                triples, scale = _between_ones(triples)
                steps = np.abs(triples @ (1.0, -2.0, 1.0))
                levels.append(scale * float(np.median(steps)) / np.sqrt(6) / _TO_DEVIATION)
    return min(levels, default=0.0)


def _correlation_of(channel: NDArray[Any]) -> float | None:
    """Return the larger correlation of neighbours; None where it cannot be told."""
    patches = _patches_of(channel, (_LARGE, _LARGE)) if min(channel.shape) >= _LARGE else None
    if patches is None:
        return None
    rest, sums, mixing = _lags()
    rows = patches.rows @ rest
    powers = np.square(rows).sum(axis=1)
    noisy = np.flatnonzero(powers > _ROUNDING)
    if len(noisy) < _FEWEST_FLAT:
        return None
    count = max(_FEWEST_FLAT, int(_FLATTEST * len(noisy)))
    rows = rows[noisy[np.argsort(powers[noisy], kind="stable")[:count]]]
    found = np.linalg.solve(mixing, [np.sum((rows @ pairs) * rows) for pairs in sums])
    along = found[1:3] / found[0]
    return float(np.clip(along[np.argmax(np.abs(along))], -1, 1))


@cache
def _lags() -> tuple[_Floats, list[_Floats], _Floats]:
    """Return what takes a surface away, sums over pairs at each lag, and how lags mix.

    The first lags are 0, the next pixel along a row, and the next one along a column.
    """
    row, column = np.indices((_LARGE, _LARGE)).reshape(2, -1)
    y, x = row / _LARGE, column / _LARGE
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    basis, _ = np.linalg.qr(surface)
    rest = np.eye(_LARGE**2) - basis @ basis.T
    down, right = np.subtract.outer(row, row), np.subtract.outer(column, column)
    lags = ((0, 0), (0, 1), (1, 0), (1, -1), (1, 1))
    sums = []
    for i, j in lags:
        pairs = ((down == i) & (right == j)) | ((down == -i) & (right == -j))
        sums.append(pairs.astype(np.float64))
    mixing = np.array([[np.sum((rest @ m @ rest) * k) for m in sums] for k in sums])
    return rest, sums, mixing
