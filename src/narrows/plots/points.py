"""Maps: rows as points on a plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.errors import DataError, ParameterError
from narrows.plots.style import MARKERS, as_numbers, axes_or_new, colours, text_size
from narrows.texts import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Most classes that differ by colour, that are listed beside the map, and that are named on it.
_COLOURED, _LISTED, _NAMED = 10, 12, 30
# The area of all points together, and the least and the largest of one, in points squared.
_AREA, _SMALLEST, _LARGEST = 20_000, 2, 30
_ALPHA = 0.7
# The percentage of points at either end whose values are beyond the colours.
_BEYOND = 1.0
# Names that overlap are moved apart at most so often, by so much more than needed; their sizes are
# multiplied, as a legend may make the map smaller.
_ROUNDS, _PAST, _CLOSER = 200, 0.01, 1.2


def embedding(
    points: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    values: ArrayLike | None = None,
    label_names: Sequence[str] | None = None,
    value_name: str | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw a map: a point for each row, coloured by its label or by a value.

    Parameters
    ----------
    points : array-like of shape (n, 2)
        The places that :func:`narrows.evaluation.project` returns.
    labels : array-like of shape (n,), optional
        Classes, of any kind. Up to 10 differ by colour (or as many as the user's cycle has); then
        colours come again with other marks. Up to 30 are named on the map, up to 12 are listed
        beside it too.
    values : array-like of shape (n,), optional
        Instead of labels: numbers such as errors. Colours span the middle 98 % of them.
    label_names : sequence of str, optional
        The classes' names, in the order of the sorted labels; by default the labels themselves.
    value_name : str, optional
        The name of the values, for the colour bar.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        With equal scales and without ticks, as only distances mean anything.

    Raises
    ------
    DataError
        If points, labels, values or names do not fit each other, or are not finite.
    ParameterError
        If both labels and values are given, or ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> points = np.random.default_rng(0).normal(size=(50, 2))
    >>> ax = narrows.plots.embedding(points, labels=points[:, 0] > 0, label_names=["left", "right"])
    >>> [text.get_text() for text in ax.texts]
    ['left', 'right']
    """
    from matplotlib.cm import ScalarMappable

    places = as_numbers("points", points, 2)
    if places.shape[1] != 2:
        raise DataError(f"points have the shape {places.shape}; give two numbers each, (n, 2)")
    if labels is not None and values is not None:
        raise ParameterError("points are coloured by labels or by values; give one of the two")
    size = min(_LARGEST, max(_SMALLEST, _AREA / len(places)))
    look: dict[str, Any] = {"s": size, "alpha": _ALPHA, "linewidths": 0, "rasterized": True}
    classes = None if labels is None else _Classes(labels, label_names, len(places))
    numbers = None if values is None else as_numbers("values", values)
    if numbers is not None and len(numbers) != len(places):
        raise DataError(f"there are {len(numbers)} values for {len(places)} points; give one each")
    x, y = places.T
    ax = axes_or_new(ax)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set(xticks=[], yticks=[])
    if classes is not None:
        classes.draw(ax, places, look)
    elif numbers is not None:
        low, high = np.percentile(numbers, [_BEYOND, 100 - _BEYOND])
        drawn = ax.scatter(x, y, c=numbers, vmin=low, vmax=high, **look)
        ends = {(True, True): "both", (True, False): "min", (False, True): "max"}
        extend = ends.get((bool(numbers.min() < low), bool(numbers.max() > high)), "neither")
        # The points are translucent; the colours of the bar are opaque.
        opaque = ScalarMappable(drawn.norm, drawn.cmap)
        ax.figure.colorbar(opaque, ax=ax, label=value_name or "", extend=extend, pad=0.02)
    else:
        ax.scatter(x, y, color=colours()[0], **look)
    return ax


class _Classes:
    """The classes of the points, their names and colours."""

    def __init__(self, labels: ArrayLike, names: Sequence[str] | None, n: int) -> None:
        values = np.asarray(labels)
        if values.shape != (n,):
            raise DataError(
                f"labels have the shape {values.shape} for {n} points; give one label each"
            )
        try:
            classes, self.of = np.unique(values, return_inverse=True)
        except TypeError as error:
            raise DataError(f"labels are of several kinds ({error}); give one kind") from error
        if names is not None and len(names) != len(classes):
            raise DataError(
                f"there are {len(names)} label_names for {len(classes)} classes; give one for each"
            )
        self.names = [printable(str(name)) for name in (classes if names is None else names)]

    def draw(self, ax: "Axes", places: NDArray[np.float64], look: dict[str, Any]) -> None:
        """Draw the points in the order given, so that no class hides another; name the classes."""
        from matplotlib.colors import to_rgba_array

        palette = to_rgba_array(colours()[:_COLOURED])
        laps, shades = np.divmod(self.of, len(palette))
        for lap in np.unique(laps):
            chosen = laps == lap
            marker = MARKERS[lap % len(MARKERS)]
            x, y = places[chosen].T
            ax.scatter(x, y, c=palette[shades[chosen]], marker=marker, **look)
        if len(self.names) <= _LISTED:
            self._list(ax, palette)
        if len(self.names) <= _NAMED:
            medians = [np.median(places[self.of == k], axis=0) for k in range(len(self.names))]
            _write_names(ax, self.names, np.array(medians))

    def _list(self, ax: "Axes", palette: NDArray[Any]) -> None:
        from matplotlib.lines import Line2D

        handles = []
        for k, name in enumerate(self.names):
            color, marker = palette[k % len(palette)], MARKERS[k // len(palette) % len(MARKERS)]
            handles.append(Line2D([], [], linestyle="none", label=name, color=color, marker=marker))
        where: dict[str, Any] = {"loc": "best"}
        if ax.figure.get_layout_engine() is not None:  # which makes room for it beside the map
            where = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        legend = ax.legend(handles=handles, handletextpad=0, **where)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _write_names(ax: "Axes", names: Sequence[str], medians: NDArray[np.float64]) -> None:
    """Write each class's name at its median, or near it, with a line to the median if far off."""
    from matplotlib.patheffects import withStroke

    ax.apply_aspect()
    halo = [withStroke(linewidth=3, foreground=ax.get_facecolor())]
    size = _CLOSER * text_size(ax, names)
    for name, median, place in zip(names, medians, _spread(medians, size), strict=True):
        x, y = place
        text = ax.text(
            x, y, name, ha="center", va="center", path_effects=halo, parse_math=False, zorder=4
        )
        # A name that was moved less is still at its median.
        if (np.abs(place - median) > size[0, 1]).any():
            line = np.array([median, place]).T
            ax.plot(*line, color=text.get_color(), linewidth=0.8, path_effects=halo, zorder=3)


def _spread(middles: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move overlapping boxes of these sizes, (n, 2), apart, each along the shorter way."""
    places = middles.copy()
    for _ in range(_ROUNDS):
        moved = False
        for k in range(len(places)):
            for other in range(k):
                gap = places[k] - places[other]
                lack = (size[k] + size[other]) / 2 - np.abs(gap)
                if (lack > 0).all():
                    axis = int(np.argmin(lack))
                    step = (lack[axis] / 2 + _PAST * size[k, axis]) * (1 if gap[axis] >= 0 else -1)
                    places[k, axis] += step
                    places[other, axis] -= step
                    moved = True
        if not moved:
            break
    return places
