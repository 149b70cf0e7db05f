"""What all plots share: their look, and checks of the numbers that they draw.

Where the user's settings do not say otherwise, colours are those of Okabe & Ito (2008), "Color
universal design", which every kind of colour vision tells apart. Lines and points differ by mark or
dash as well, for print in grey.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.errors import DataError, ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# The colours that stand out from white and from each other come first. The last two, for ten
# classes, are not Okabe & Ito's.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#000000", "#F0E442", "#8A8A8A", "#6B2A10",
)  # fmt: skip
# The height of a legend's line in its letters', its share of the axes at most, points in an inch.
_LINE, _MOST_FOR_LEGENDS, _POINTS = 1.15, 0.5, 72
_COLUMNS = 2  # of a legend
MARKERS = "osD^vP*X<>"
_SHAPES = {1: "(n,)", 2: "(n, K)"}


def colours() -> list[Any]:
    """Return the colours of the user's cycle, or :data:`COLOURS` where that is matplotlib's own."""
    from matplotlib import rcParams, rcParamsDefault

    cycle = rcParams["axes.prop_cycle"]
    chosen = cycle.by_key().get("color", [])
    is_default = not chosen or cycle == rcParamsDefault["axes.prop_cycle"]
    return list(COLOURS if is_default else chosen)


def looks(n: int) -> list[dict[str, Any]]:
    """Return n pairs of colour and marker; both differ as long as there are colours."""
    palette = colours()
    size = len(palette)
    return [
        {"color": palette[i % size], "marker": MARKERS[(i + i // size) % len(MARKERS)]}
        for i in range(n)
    ]


def legend_above(ax: "Axes") -> None:
    """Put a legend of two columns in the upper corner, and make room for it above the data."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    lines = -(-len(ax.get_legend_handles_labels()[1]) // _COLUMNS)
    size = FontProperties(size=rcParams["legend.fontsize"]).get_size_in_points()
    around = 2 * (rcParams["legend.borderpad"] + rcParams["legend.borderaxespad"])
    tall = size * (_LINE * lines + rcParams["legend.labelspacing"] * (lines - 1) + around)
    height = ax.get_position().height * ax.figure.bbox.height / ax.figure.dpi * _POINTS
    share = min(_MOST_FOR_LEGENDS, tall / height)
    scale = ax.yaxis.get_transform()
    low, high = scale.transform(np.asarray(ax.get_ylim()))
    top = scale.inverted().transform(np.array([high + (high - low) * share / (1 - share)]))
    ax.set_ylim(top=float(top[0]))
    # The legend is opaque, as vertical lines cross it.
    legend = ax.legend(loc="upper right", ncols=_COLUMNS, framealpha=1)
    for text in legend.get_texts():
        text.set_parse_math(False)


def plain_logarithm(axis: "Axis") -> None:
    """Write plain numbers beside a logarithmic axis: powers of ten, or few between them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    few = high / low < 100
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def text_size(ax: "Axes", texts: Sequence[str]) -> NDArray[np.float64]:
    """Estimate the width and height of texts, (n, 2), in the units of the axes' linear data."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties()
    points = [text_to_path.get_text_width_height_descent(text, font, False)[0] for text in texts]
    box, figure = ax.get_position(), ax.figure.bbox
    inside = np.array([box.width * figure.width, box.height * figure.height])
    spans = np.array([np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())])
    extent = np.array([points, [_LINE * font.get_size()] * len(points)]).T
    size: NDArray[np.float64] = extent / _POINTS * ax.figure.dpi / inside * spans
    return size


def axes_or_new(ax: "Axes | None", *, ratio: float | None = None) -> "Axes":
    """Return the given axes, or new ones by pyplot, whose height by width is ``ratio``.

    Raises
    ------
    ParameterError
        If ``ax`` is no Axes.
    """
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return ax
    if ax is not None:
        raise ParameterError(
            f"ax is {type(ax).__name__}, not a matplotlib Axes; give one of them, or none"
        )
    import matplotlib.pyplot as plt

    width, height = plt.rcParams["figure.figsize"]
    own_layout = plt.rcParams["figure.autolayout"]
    _, new = plt.subplots(
        figsize=(width, height if ratio is None else width * ratio),
        layout=None if own_layout else "constrained",
    )
    return new


def as_numbers(name: str, values: ArrayLike, n_axes: int = 1) -> NDArray[np.float64]:
    """Return values as an array of finite numbers; raise a DataError if they are not."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} hold what is no number ({error}); give numbers") from error
    if numbers.ndim != n_axes:
        raise DataError(
            f"{name} have the shape {numbers.shape}; give numbers of shape {_SHAPES[n_axes]}"
        )
    if numbers.size == 0:
        raise DataError(f"{name} are empty; give at least one number")
    if not np.isfinite(numbers).all():
        place = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise DataError(f"{name} hold {numbers[tuple(place)]} at {place}; give finite numbers")
    return numbers


def as_pairs(
    names: tuple[str, str], first: ArrayLike, second: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two arrays of as many finite numbers; raise a DataError if they are not."""
    x, y = as_numbers(names[0], first), as_numbers(names[1], second)
    if len(x) != len(y):
        raise DataError(
            f"there are {len(x)} {names[0]} and {len(y)} {names[1]}; give as many of both"
        )
    return x, y
