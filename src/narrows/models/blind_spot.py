r"""The use of models that learned from noisy rows by blind spots.

What a network gives for a pixel is taken from the pass in which that pixel was hidden, so that it
does not depend on the pixel's own value (Batson & Royer 2019, "Noise2Self", section 2: a
J-invariant function). The pixel's value is brought back by the posterior mean: where the
prediction :math:`\mu` has a Gaussian error of variance v, and the pixel y Gaussian noise of
variance :math:`s^2` that is independent of it (Laine, Karras, Lehtinen & Aila 2019, "High-quality
self-supervised deep image denoising", section 3),

.. math:: \hat x = \frac{s^2 \mu + v y}{s^2 + v}.

The squares of :math:`y - \mu` have the mean :math:`s^2 + v`, from which v follows in a window
around each pixel.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.stats import chi2

from narrows.corruption import named_levels
from narrows.corruption.blind_spot import grid_step, grids, hide
from narrows.data.arrays import as_tensor
from narrows.data.noise_level import fit_variance
from narrows.models import persistence
from narrows.models.parameters import ModelAttributes

# The side of the windows in which variances are measured.
_WINDOW = 9
# The share of windows, of each brightness, that show what the noise is, and how many brightnesses.
_FLATTEST, _BRIGHTNESSES, _FEWEST = 0.1, 16, 20
_ROWS = 16  # that are predicted at a time


class Noise(NamedTuple):
    """The noise of rows, whose variance depends linearly on the brightness.

    Attributes
    ----------
    at_black, at_white : float
        Standard deviations in the data's units at ``scaling_.low`` and ``scaling_.high``.
    """

    at_black: float
    at_white: float


def predict(model: ModelAttributes, rows: NDArray[Any]) -> NDArray[np.floating]:
    """Predict each pixel of rows from the others.

    Parameters
    ----------
    model : DenoisingAutoencoder
        A fitted model with ``corruption="blind_spot"``.
    rows : ndarray of shape (n, *sample_shape)
        Checked rows, in the data's units.

    Returns
    -------
    ndarray of the shape of rows
        In the data's units. No value depends on the one in its place.
    """
    scaling, (encoder, decoder) = model.scaling_, persistence.halves(model)
    (_, level), *_ = named_levels(model.corruption, model.corruption_level)
    share = float(np.mean(level or 0))
    predicted = np.empty(rows.shape, scaling.value_type)
    for start in range(0, len(rows), _ROWS):
        x = scaling(as_tensor(np.asarray(rows[start : start + _ROWS])))
        places = x.unsqueeze(2) if _channels_apart(model, rows) else x
        for hidden in grids(places, grid_step(share, tuple(places.shape[1:]))):
            seen = scaling.undo(hide(places, hidden).rows.view(x.shape)).numpy()
            made = decoder.decode(encoder.encode(seen), x.shape[1:])
            mask = hidden.expand_as(places).reshape(x.shape).numpy()
            np.copyto(predicted[start : start + len(x)], made, where=mask)
    return predicted


def restore(
    model: ModelAttributes, rows: NDArray[Any], noise: Noise | None
) -> NDArray[np.floating]:
    """Predict each pixel of rows from the others, and bring its own value back.

    Parameters
    ----------
    model, rows
        As for :func:`predict`.
    noise : Noise or None
        The noise of the rows; without it, predictions are returned.
    """
    predicted = predict(model, rows)
    if noise is None:
        return predicted
    difference = np.subtract(rows, predicted, dtype=predicted.dtype)
    own = _variance(predicted, noise, model)
    window = _window(model, rows, _WINDOW)
    error = uniform_filter(difference**2 - own, window, mode="mirror").clip(min=0)
    share = np.divide(error, own + error, out=np.zeros_like(error), where=error > 0)
    return np.asarray(predicted + share * difference, predicted.dtype)


def measure_noise(model: ModelAttributes, rows: NDArray[Any]) -> Noise | None:
    """Measure the noise of rows where they are predicted best: where there is least to predict.

    Of windows of one brightness, those with the smallest squares of noise and error show the noise
    alone; that they were chosen as the smallest is allowed for by the distribution of means of
    squares of Gaussian numbers.

    Parameters
    ----------
    model, rows
        As for :func:`predict`.

    Returns
    -------
    Noise or None
        None if there are too few pixels to tell.
    """
    predicted = predict(model, rows)
    difference = np.subtract(rows, predicted, dtype=np.float64)
    window = _window(model, rows, _WINDOW)
    squares, levels = (
        _in_windows(values, window) for values in (difference**2, _brightness(predicted, model))
    )
    groups = min(_BRIGHTNESSES, len(squares) // _FEWEST)
    if groups < 1:
        return None
    degrees = int(np.prod(window))
    least = chi2.ppf(_FLATTEST, degrees) / degrees
    variances, places = np.empty(groups), np.empty(groups)
    for group, members in enumerate(np.array_split(np.argsort(levels), groups)):
        variances[group] = np.quantile(squares[members], _FLATTEST) / least
        places[group] = levels[members].mean()
    at_black, at_white = np.sqrt(fit_variance(places, variances))
    return Noise(float(at_black), float(at_white))


def _in_windows(values: NDArray[Any], window: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the means of windows that lie side by side, as a list."""
    means = uniform_filter(values.astype(np.float64), window, mode="mirror")
    inner = tuple(slice(side // 2, None if side == 1 else -(side // 2), side) for side in window)
    return np.asarray(means[inner]).ravel()


def _variance(predicted: NDArray[Any], noise: Noise, model: ModelAttributes) -> NDArray[Any]:
    """Return the variance of the noise at each place."""
    black, white = noise.at_black**2, noise.at_white**2
    return black + (white - black) * _brightness(predicted, model)


def _brightness(predicted: NDArray[Any], model: ModelAttributes) -> NDArray[Any]:
    """Return values as shares of the way from black to white."""
    low, high = model.scaling_.low, model.scaling_.high
    return np.asarray(((predicted - low) / ((high - low) or 1)).clip(0, 1))


def _window(model: ModelAttributes, rows: NDArray[Any], side: int) -> tuple[int, ...]:
    """Return the extent of a window along each axis of rows: of a signal as long as a square."""
    if model.spec_.signal:
        return (1, side**2, *[1] * (rows.ndim - 2))
    return (1, side, side, *[1] * (rows.ndim - 3))


def _channels_apart(model: ModelAttributes, rows: NDArray[Any]) -> bool:
    """Return whether rows are signals (L, C), whose channels are no neighbours."""
    return model.spec_.signal and rows.ndim == 3
