"""How good models are, beside PCA."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.data.text import printable
from narrows.errors import DataError
from narrows.plots.given import as_numbers, as_pairs
from narrows.plots.style import axes_or_new, legend_above, looks

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
        Logarithmic in both directions. Errors that are zero but for rounding, as PCA has with as
        many numbers as there are features, have no place there and are left out: those below
        2.2e-16 of the largest.

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
    """Return sizes in ascending order and their errors, without errors of rounding alone."""
    x, y = as_pairs(("sizes", "errors"), sizes, errors)
    if x.min() <= 0 or y.min() < 0:
        raise DataError(
            f"the smallest of the sizes is {x.min():g} and of the errors {y.min():g}; give sizes "
            "above zero and no negative errors"
        )
    order = np.argsort(x)
    x, y = x[order], y[order]
    shown = y > np.finfo(np.float64).eps * y.max()
    return x[shown], y[shown]


def _large() -> float:
    """Return the size of a mark that stands for a whole curve."""
    from matplotlib import rcParams

    return 1.5 * float(rcParams["lines.markersize"])


def _scale(ax: "Axes", sizes: NDArray[np.float64]) -> None:
    """Make both axes logarithmic, and write plain numbers beside them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    ax.set(xscale="log", yscale="log")
    ticks = np.unique(sizes)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_major_formatter(plain)
    if len(ticks) <= _MOST_TICKS:
        ax.set_xticks(ticks)
        ax.xaxis.set_minor_locator(NullLocator())
    low, high = ax.get_ylim()
    ax.yaxis.set_major_formatter(plain)
    # Powers of ten alone would be one tick or two where the errors span less than three decades.
    if 10 <= high / low < 1000:
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_minor_formatter(plain if high / low < 1000 else NullFormatter())


def features(
    scores: Mapping[str, Mapping[str, tuple[float, float]]], *, ax: "Axes | None" = None
) -> "Axes":
    """Draw how well classifiers do on representations: codes, PCA's codes, the raw rows.

    Parameters
    ----------
    scores : mapping of str to mapping of str to (float, float)
        Of each representation and each classifier, the accuracy's mean and standard deviation, as
        cross-validation gives them.
    ax : Axes, optional
        Where to draw; by default on axes of a new figure.

    Returns
    -------
    Axes
        With a line for each representation, and a mark for each classifier.

    Raises
    ------
    DataError
        If there are no scores, or they are not pairs of finite numbers.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.features({
    ...     "codes": {"logistic regression": (0.84, 0.01), "5 neighbours": (0.85, 0.01)},
    ...     "PCA": {"logistic regression": (0.80, 0.01), "5 neighbours": (0.83, 0.01)}})
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['codes', 'PCA']
    """
    found = {
        (place, classifier): as_numbers(f"the scores of '{name}' by '{classifier}'", score)
        for place, (name, own) in enumerate(scores.items())
        for classifier, score in own.items()
    }
    if not found:
        raise DataError("there are no scores; give at least one representation and classifier")
    if any(score.shape != (2,) for score in found.values()):
        raise DataError("a score is a mean and a standard deviation; give both")
    ax = axes_or_new(ax)
    classifiers = list(dict.fromkeys(classifier for _, classifier in found))
    step = 0.6 / len(classifiers)
    for k, (classifier, look) in enumerate(zip(classifiers, looks(len(classifiers)), strict=True)):
        own_places = [place for place, other in found if other == classifier]
        y = np.array(own_places) + step * (k - (len(classifiers) - 1) / 2)
        mean, spread = np.array([found[place, classifier] for place in own_places]).T
        ax.errorbar(mean, y, xerr=spread, linestyle="none", label=printable(classifier), capsize=3,
                    **look)  # fmt: skip
        for value, end, height in zip(mean, mean + spread, y, strict=True):
            ax.annotate(f"{value:.3f}", (end, height), xytext=(6, 0), va="center",
                        textcoords="offset points")  # fmt: skip
    ax.set_yticks(range(len(scores)), [printable(name) for name in scores], parse_math=False)
    ax.set_ylim(len(scores) - 0.5, -0.5)
    # To the right of the last mark stands its figure.
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.15 * (high - low))
    ax.set_xlabel("accuracy, cross-validated")
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    legend_above(ax, columns=2)
    return ax
