"""How well each column of a table is restored."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.data.text import printable
from narrows.errors import DataError
from narrows.plots.given import as_numbers
from narrows.plots.style import axes_or_new, colours, legend_above, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More columns than this have a curve in place of a line with a name each.
MOST_NAMED = 40
# Errors further apart than this many times are drawn on a logarithmic axis, down to this share.
_FAR, _LEAST = 30, 1e-3
# Letters of a name, so that the axes keep their room.
_LETTERS = 28


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
        Of each column, by its name; drawn from top to bottom in this order. Above 1, a column is
        restored worse than by its mean.
    beside : mapping of str to array-like of shape (n,), optional
        The errors of other methods in the same order, by the method's name.
    name : str, default="autoencoder"
        How the legend calls the model.
    ax : Axes, optional
        Where to draw; by default on axes of a new figure.

    Returns
    -------
    Axes
        With a mark for each column and method, and a line at 1. More than 40 columns are drawn as
        a curve a method, each in the order of its own errors. The axis of errors is logarithmic
        where they differ more than 30 times; those below 0.001 are drawn there.

    Raises
    ------
    DataError
        If there are no columns, an error is not a finite number of at least zero, or a method has
        not one for each column.
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
    methods = {name: as_numbers("errors", list(errors.values()))}
    for method, of_it in (beside or {}).items():
        methods[method] = as_numbers(f"the errors of {method!r}", of_it)
        if len(methods[method]) != len(errors):
            raise DataError(
                f"there are {len(methods[method])} errors of {method!r} and {len(errors)} columns; "
                "give one for each"
            )
    smallest = min(float(of_it.min()) for of_it in methods.values())
    if smallest < 0:
        raise DataError(f"{smallest:g} is no error; give numbers of at least zero")
    largest = max(1.0, *(float(of_it.max()) for of_it in methods.values()))
    wide = largest > _FAR * max(smallest, _LEAST)
    shown = {
        method: np.maximum(of_it, _LEAST) if wide else of_it for method, of_it in methods.items()
    }
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
    legend_above(ax, columns=2)
    return ax


def _by_name(ax: "Axes", names: list[str], shown: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw a line for each column, and a mark for each method on it."""
    places = np.arange(len(names))
    every = np.array(list(shown.values()))
    ax.hlines(places, every.min(axis=0), every.max(axis=0), color="0.8", zorder=1)
    # The model comes last, on top of what stands beside it.
    drawn = zip(shown.items(), looks(len(shown)), strict=True)
    for (method, of_it), look in reversed(list(drawn)):
        ax.plot(of_it, places, linestyle="none", label=printable(method), zorder=2, **look)
    ax.set_yticks(places, [_short(printable(name)) for name in names], parse_math=False)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="x", alpha=0.3)
    ax.set_axisbelow(True)


def _by_rank(ax: "Axes", names: list[str], shown: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw a curve for each method, its largest error first."""
    for (method, of_it), look in zip(shown.items(), looks(len(shown)), strict=True):
        descending = np.sort(of_it)[::-1]
        ax.plot(np.arange(1, len(names) + 1), descending, label=printable(method),
                markevery=max(1, len(names) // 10), **look)  # fmt: skip
    ax.set_xlabel("columns, the worst first")
    ax.grid(axis="y", alpha=0.3)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
