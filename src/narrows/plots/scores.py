"""How good models are, beside PCA."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.errors import DataError
from narrows.plots.given import as_pairs
from narrows.plots.style import axes_or_new, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More sizes than this are too many to write each below the axis.
_MOST_TICKS = 8


def error_by_size(
    sizes: ArrayLike,
    errors: ArrayLike,
    *,
    model_size: int | None = None,
    model_error: float | None = None,
    model_curve: tuple[ArrayLike, ArrayLike] | None = None,
    model_name: str = "autoencoder",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the reconstruction error against the size of the code: PCA's, and a model's.

    Parameters
    ----------
    sizes, errors : array-like of shape (n,)
        Numbers in PCA's codes, and its error with each.
    model_size, model_error : int and float, optional
        A model's.
    model_curve : (array-like of shape (m,), array-like of shape (m,)), optional
        Sizes and errors of models of one kind.
    model_name : str, default="autoencoder"
        How the legend calls it.
    ax : Axes, optional
        Where to draw; by default on axes of a new figure.

    Returns
    -------
    Axes
        Logarithmic in both directions. An error of zero, as PCA has with as many numbers as there
        are features, has no place there and is left out.

    Raises
    ------
    DataError
        If sizes and errors are not numbers above zero, or not as many.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.error_by_size(
    ...     [2, 4, 8], [0.08, 0.05, 0.03], model_size=4, model_error=0.04)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['PCA', 'autoencoder']
    """
    if (model_size is None) != (model_error is None):
        raise DataError("model_size and model_error belong together; give both or neither")
    curves = {"PCA": _curve(sizes, errors)}
    if model_curve is not None:
        curves[model_name] = _curve(*model_curve)
    pca_look, model_look = looks(2)
    ax = axes_or_new(ax)
    for (name, (x, y)), look, dashes in zip(
        curves.items(), (pca_look, model_look), ("--", "-"), strict=False
    ):
        ax.plot(x, y, label=name, linestyle=dashes, **look)
    if model_size is not None and model_error is not None:
        x, y = _curve([model_size], [model_error])
        label = "_nolegend_" if model_curve is not None else model_name
        ax.plot(x, y, linestyle="none", markersize=_large(), label=label, zorder=3, **model_look)
    _scale(ax, np.concatenate([x for x, _ in curves.values()]))
    ax.set_xlabel("numbers in the code")
    ax.set_ylabel("reconstruction error")
    ax.legend()
    return ax


def _curve(sizes: ArrayLike, errors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sizes in ascending order and their errors, without those that are zero."""
    x, y = as_pairs(("sizes", "errors"), sizes, errors)
    if x.min() <= 0 or y.min() < 0:
        raise DataError(
            f"the smallest of the sizes is {x.min():g} and of the errors {y.min():g}; give sizes "
            "above zero and no negative errors"
        )
    order = np.argsort(x)
    x, y = x[order], y[order]
    return x[y > 0], y[y > 0]


def _large() -> float:
    """Return the size of a mark that stands for a whole curve."""
    from matplotlib import rcParams

    return 1.5 * float(rcParams["lines.markersize"])


def _scale(ax: "Axes", sizes: NDArray[np.float64]) -> None:
    """Make both axes logarithmic, and write plain numbers beside them."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    ax.set(xscale="log", yscale="log")
    ticks = np.unique(sizes)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_major_formatter(plain)
    if len(ticks) <= _MOST_TICKS:
        ax.set_xticks(ticks)
        ax.xaxis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    ax.yaxis.set_major_formatter(plain)
    # Within a decade there may be a single tick; those between then have their number too.
    ax.yaxis.set_minor_formatter(plain if high / low < 10 else NullFormatter())
