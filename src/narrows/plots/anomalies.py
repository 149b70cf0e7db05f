"""Anomalies: which columns their scores come from, and which places of a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from narrows.errors import DataError
from narrows.plots.style import as_numbers, axes_or_new
from narrows.plots.tiles import pictures, value_range
from narrows.texts import printable, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More columns than this are not drawn: those that contribute least are left out.
_MOST_COLUMNS = 24
_LETTERS = 20  # of names
_HOTTEST = 3.0  # drawn white


def contributions(
    values: ArrayLike,
    *,
    columns: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw which columns the anomaly scores of rows come from.

    Parameters
    ----------
    values : array-like of shape (n, F)
        What :meth:`narrows.AnomalyDetector.contributions` returns.
    columns : sequence of F str, optional
        The names of the columns; by default their numbers.
    names : sequence of n str, optional
        The names of the rows; by default their numbers.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        A line for each row, from the top down; the darker a cell, the larger the column's share of
        the row's score. Of more than 24 columns, those with the largest shares are drawn.

    Raises
    ------
    DataError
        If the values are negative or not finite, or there are not as many names.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.contributions([[1, 3], [6, 2]], columns=["hue", "ash"])
    >>> ax.images[0].get_array().tolist()
    [[25.0, 75.0], [75.0, 25.0]]
    """
    numbers = as_numbers("the contributions", values, 2)
    if numbers.min() < 0:
        raise DataError(f"{numbers.min():g} is no contribution; give numbers of at least zero")
    sides = {}
    for side, (given, count) in enumerate(zip((names, columns), numbers.shape, strict=True)):
        sides[side] = [str(k) for k in range(count)] if given is None else [*map(str, given)]
        if len(sides[side]) != count:
            what = ("rows", "columns")[side]
            raise DataError(f"there are {len(sides[side])} names for {count} {what}; give as many")
    sums = numbers.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(numbers, sums, out=np.zeros_like(numbers), where=sums > 0)
    shown = np.sort(shares.max(axis=0).argsort(kind="stable")[::-1][:_MOST_COLUMNS])
    ax = axes_or_new(ax)
    image = ax.imshow(shares[:, shown], cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for set_ticks, labels in (
        (ax.set_xticks, [sides[1][k] for k in shown]),
        (ax.set_yticks, sides[0]),
    ):
        texts = [shortened(printable(text), _LETTERS) for text in labels]
        set_ticks(range(len(texts)), texts, parse_math=False)
    if max(len(sides[1][k]) for k in shown) * len(shown) > 3 * _MOST_COLUMNS:
        for text in ax.get_xticklabels():
            text.set(rotation=60, ha="right", rotation_mode="anchor")
    figure = ax.get_figure(root=True)
    if figure is not None:
        figure.colorbar(image, ax=ax, label="share of the score, %", shrink=0.8)
    return ax


def heat_maps(
    X: ArrayLike,
    heat: ArrayLike,
    *,
    alike: ArrayLike | None = None,
    captions: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw pictures, and below each where it is anomalous.

    Parameters
    ----------
    X : array-like of shape (n, *sample_shape)
        The pictures, (n, H, W) or (n, H, W, C).
    heat : array-like of shape (n, H, W)
        What :meth:`narrows.AnomalyDetector.heat` returns; 1 is the most that one in a hundred
        normal pictures has at a place. Black is 0, white 3 and more.
    alike : array-like of the shape of X, optional
        The most alike normal picture of each, drawn as a third line.
    captions : sequence of n str, optional
        Captions under the columns.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        The axes, with one image.

    Raises
    ------
    DataError
        If the arrays are no pictures of one size, or differ in their number.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((3, 8, 8))
    >>> ax = narrows.plots.heat_maps(X, 3 * X)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['anomaly', 'where']
    """
    from matplotlib import colormaps

    shown = np.asarray(X)
    low, high = value_range(shown)
    numbers = as_numbers("the heat", heat, 3)
    lines = {
        "anomaly": np.clip((shown - low) / (high - low), 0, 1),
        "where": colormaps["inferno"](np.clip(numbers / _HOTTEST, 0, 1))[..., :3],
    }
    if alike is not None:
        lines["most alike"] = np.clip((np.asarray(alike) - low) / (high - low), 0, 1)
    return pictures(lines, captions=captions, limits=(0, 1), ax=ax)
