"""Scores: reconstruction errors by code size and by column, and codes as features, beside PCA."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.errors import DataError
from narrows.plots.style import as_numbers, as_pairs, axes_or_new, colours, legend_above, looks
from narrows.texts import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# With more sizes than this, not every one is written below the axis.
_MOST_TICKS = 8
# More columns than this are drawn as a curve, fewer as a line with a name each.
MOST_NAMED = 40
# Errors further apart than this many times are drawn on a logarithmic axis, down to this share.
_FAR, _LEAST = 30, 1e-3
# Longer names of columns are cut off, so that the axes keep their room.
_LETTERS = 28


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
        The sizes of PCA's codes, and its error with each.
    model_size, model_error : int and float, optional
        The size of a model's code, and its error.
    model_curve : (array-like of shape (m,), array-like of shape (m,)), optional
        Sizes and errors of models of one kind.
    model_name : str, default="autoencoder"
        The model's name in the legend.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        Logarithmic in both directions. Errors that are zero but for rounding, as those of PCA with
        as many components as features, are left out: those below 2.2e-16 of the largest.

    Raises
    ------
    DataError
        If sizes and errors are not numbers above zero, or of different lengths.
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
    from matplotlib import rcParams

    if (model_size is None) != (model_error is None):
        raise DataError("model_size and model_error belong together; give both or neither")
    curves = {"PCA": _curve(sizes, errors)}
    if model_curve is not None:
        curves[model_name] = _curve(*model_curve)
    pca_look, model_look = looks(2)
    ax = axes_or_new(ax)
    lines = {"linestyle": "--", **pca_look}, {"linestyle": "-", **model_look}
    for (name, (x, y)), line in zip(curves.items(), lines, strict=False):
        ax.plot(x, y, label=name, **line)
    if model_size is not None and model_error is not None:
        x, y = _curve([model_size], [model_error])
        label = "_nolegend_" if model_curve is not None else model_name
        large = 1.5 * rcParams["lines.markersize"]  # a mark that stands for a whole curve
        ax.plot(x, y, linestyle="none", markersize=large, label=label, zorder=3, **model_look)
    _scale(ax, np.concatenate([x for x, _ in curves.values()]))
    ax.set_xlabel("numbers in the code")
    ax.set_ylabel("reconstruction error")
    ax.legend()
    return ax


def _curve(sizes: ArrayLike, errors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sizes in ascending order and their errors, without those of rounding alone."""
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
    # Powers of ten alone are too few ticks where the errors span less than three decades.
    if 10 <= high / low < 1000:
        ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_minor_formatter(plain if high / low < 1000 else NullFormatter())


def column_errors(
    errors: Mapping[str, float],
    *,
    beside: Mapping[str, ArrayLike] | None = None,
    name: str = "autoencoder",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the error of each column as a share of its variance, 1 less R squared.

    Parameters
    ----------
    errors : mapping of str to float
        The error of each column by its name; drawn from top to bottom in this order. Above 1, a
        column is restored worse than by its mean.
    beside : mapping of str to array-like of shape (n,), optional
        The errors of other methods in the same order, by the method's name.
    name : str, default="autoencoder"
        The model's name in the legend.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        With a mark for each column and method, and a line at 1. More than 40 columns are drawn as
        a curve a method, each in the order of its own errors. The axis of errors is logarithmic
        where they differ more than 30 times; those below 0.001 are drawn there.

    Raises
    ------
    DataError
        If there are no columns, an error is not a finite number of at least zero, or a method does
        not have one for each column.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.column_errors(
    ...     {"hue": 1.8, "alcohol": 0.4}, beside={"PCA, 2": [0.6, 0.3]})
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['hue', 'alcohol']
    """
    if not errors:
        raise DataError("there are no columns; give the error of at least one")
    shown = {name: as_numbers("errors", list(errors.values()))}
    for method, values in (beside or {}).items():
        shown[method] = as_numbers(f"the errors of {method!r}", values)
        if len(shown[method]) != len(errors):
            raise DataError(
                f"there are {len(shown[method])} errors of {method!r} and {len(errors)} columns; "
                "give one for each"
            )
    every = np.array(list(shown.values()))
    smallest, largest = float(every.min()), max(1.0, float(every.max()))
    if smallest < 0:
        raise DataError(f"{smallest:g} is no error; give numbers of at least zero")
    wide = largest > _FAR * max(smallest, _LEAST)
    if wide:
        shown = dict(zip(shown, np.maximum(every, _LEAST), strict=True))
    ax = axes_or_new(ax)
    few = len(errors) <= MOST_NAMED
    (_by_name if few else _by_rank)(ax, list(errors), shown)
    axis, line = ("x", ax.axvline) if few else ("y", ax.axhline)
    line(1, color=colours()[6 % len(colours())], linewidth=1, linestyle=":", zorder=0,
         label="the column's mean")  # fmt: skip
    ax.set(**{f"{axis}label": "share of the column's variance left"})
    if wide:
        from matplotlib.ticker import FuncFormatter

        ax.set(**{f"{axis}scale": "log"})
        axes = ax.xaxis if few else ax.yaxis
        axes.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        ax.set(**{f"{axis}lim": (0, 1.05 * largest)})
    legend_above(ax)
    return ax


def _by_name(ax: "Axes", names: list[str], shown: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw a line for each column, and a mark for each method on it."""
    places = np.arange(len(names))
    every = np.array(list(shown.values()))
    ax.hlines(places, every.min(axis=0), every.max(axis=0), color="0.8", zorder=1)
    # The model comes last, on top of the other methods.
    lines = zip(shown.items(), looks(len(shown)), strict=True)
    for (method, values), look in reversed(list(lines)):
        ax.plot(values, places, linestyle="none", label=printable(method), zorder=2, **look)
    ax.set_yticks(places, [_short(printable(name)) for name in names], parse_math=False)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"


def _by_rank(ax: "Axes", names: list[str], shown: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw a curve for each method, its largest error first."""
    for (method, values), look in zip(shown.items(), looks(len(shown)), strict=True):
        descending = np.sort(values)[::-1]
        ax.plot(np.arange(1, len(names) + 1), descending, label=printable(method),
                markevery=max(1, len(names) // 10), **look)  # fmt: skip
    ax.set_xlabel("columns, the worst first")
    ax.grid(axis="y", alpha=0.3)


def features(
    scores: Mapping[str, Mapping[str, tuple[float, float]]], *, ax: "Axes | None" = None
) -> "Axes":
    """Draw the accuracy of classifiers on representations: codes, PCA's codes, the raw rows.

    Parameters
    ----------
    scores : mapping of str to mapping of str to (float, float)
        Of each representation and each classifier, the mean and standard deviation of the accuracy
        in cross-validation.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

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
    pairs = {
        (place, classifier): as_numbers(f"the scores of '{name}' by '{classifier}'", score)
        for place, (name, own) in enumerate(scores.items())
        for classifier, score in own.items()
    }
    if not pairs:
        raise DataError("there are no scores; give at least one representation and classifier")
    if any(score.shape != (2,) for score in pairs.values()):
        raise DataError("a score is a mean and a standard deviation; give both")
    ax = axes_or_new(ax)
    classifiers = list(dict.fromkeys(classifier for _, classifier in pairs))
    step = 0.6 / len(classifiers)
    for k, (classifier, look) in enumerate(zip(classifiers, looks(len(classifiers)), strict=True)):
        own_places = [place for place, other in pairs if other == classifier]
        y = np.array(own_places) + step * (k - (len(classifiers) - 1) / 2)
        mean, spread = np.array([pairs[place, classifier] for place in own_places]).T
        ax.errorbar(mean, y, xerr=spread, linestyle="none", label=printable(classifier), capsize=3,
                    **look)  # fmt: skip
        for value, end, height in zip(mean, mean + spread, y, strict=True):
            ax.annotate(f"{value:.3f}", (end, height), xytext=(6, 0), va="center",
                        textcoords="offset points")  # fmt: skip
    ax.set_yticks(range(len(scores)), [printable(name) for name in scores], parse_math=False)
    ax.set_ylim(len(scores) - 0.5, -0.5)
    # The figure of the last mark needs room at its right.
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.15 * (high - low))
    ax.set_xlabel("accuracy, cross-validated")
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)
    legend_above(ax)
    return ax
