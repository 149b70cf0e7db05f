"""The first layer's weights as pictures: what a network looks for in its rows."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from narrows.errors import DataError, ParameterError
from narrows.networks.layers import weighted
from narrows.plots.given import as_pictures
from narrows.plots.pixels import shades
from narrows.plots.tiles import draw_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from narrows.models.base import BaseAutoencoder


def filters(weights: ArrayLike, *, columns: int | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw filters as pictures, each scaled by its own largest magnitude: mid-grey is zero.

    Vincent et al. (2010), "Stacked denoising autoencoders", figures 5 to 8.

    Parameters
    ----------
    weights : array-like of shape (n, H, W) or (n, H, W, C)
        One filter each, as :func:`model_filters` gives them; C is 1 or 3.
    columns : int, optional
        Filters in a line; by default so many that the grid is about square.
    ax : Axes, optional
        Where to draw; by default on axes of a new figure.

    Returns
    -------
    Axes
        With one image. White is a filter's largest magnitude, black its negative; of filters with
        channels, each channel is shown in its colour.

    Raises
    ------
    DataError
        If the weights are not shaped as pictures.
    ParameterError
        If the columns cannot be, or ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((40, 8, 8))
    >>> model = narrows.Autoencoder(4, max_epochs=2, random_state=0).fit(X)
    >>> ax = narrows.plots.filters(narrows.plots.model_filters(model))
    """
    shown = as_pictures("the array of weights", weights).astype(np.float64)
    shown = shown[..., :3] if shown.ndim == 4 else shown  # weights of opacity are none to see
    largest = np.abs(shown).reshape(len(shown), -1).max(axis=1)
    largest[largest == 0] = 1
    scaled = shown / largest.reshape(-1, *[1] * (shown.ndim - 1))
    return draw_grid(shades(scaled, (-1, 1)), columns, None, ax)


def model_filters(model: "BaseAutoencoder", n: int = 64) -> NDArray[np.float32]:
    """Return the first layer's weights of a fitted model, as pictures.

    Parameters
    ----------
    model : BaseAutoencoder
        Fitted on pictures.
    n : int, default=64
        The largest number of filters; the layer's first are taken.

    Returns
    -------
    ndarray of shape (n, H, W) or (n, H, W, C)
        Of a dense network the rows' own height and width, of a convolutional one the kernel's.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    DataError
        If it learned from tables or signals, whose weights are no pictures.
    ParameterError
        If ``n`` is not a whole number of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((40, 8, 8))
    >>> model = narrows.Autoencoder(4, hidden_layer_sizes=(16,), max_epochs=2).fit(X)
    >>> narrows.plots.model_filters(model).shape
    (16, 8, 8)
    """
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
        raise ParameterError(f"n={n!r} is not allowed; give a whole number of at least 1")
    encoder = model.split()[0]
    first: Any = next(iter(weighted(encoder.module.body)))
    weights: NDArray[np.float32] = first.weight.detach().cpu().numpy()[:n]
    shape = encoder.sample_shape_
    if not encoder.spec.shows_pictures:
        raise DataError(
            f"this model learned from rows of shape {shape}, and its weights are "
            "no pictures; use one that learned from pictures"
        )
    if isinstance(first, nn.Linear):
        return weights.reshape(-1, *shape)
    kernels = np.moveaxis(weights, 1, -1)
    return kernels if len(shape) == 3 else kernels[..., 0]
