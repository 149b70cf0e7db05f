"""Windows of signals as curves, and values of windows or samples over time."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.errors import DataError
from narrows.plots.style import as_numbers, as_pairs, axes_or_new, colours, legend_above
from narrows.texts import printable, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More channels than this are not drawn, and windows of one channel stand in so many columns.
_MOST_CHANNELS, _COLUMNS = 4, 2
_DASHES = ("-", "--", ":", "-.")
# The room that panels leave for each other and for their captions, as shares of the axes, and
# curves for the frame, as a share of their range.
_BETWEEN, _ABOVE, _ROOM = 0.03, 0.12, 0.05
# The letters in a line of a caption, of all panels together and of one at least.
_CAPTION, _LEAST_CAPTION = 70, 14
# More signals than this are not named above the axes, and longer names are cut off.
_MOST_NAMED, _LETTERS = 6, 24
# Values that span more decades than this are drawn on a logarithmic axis.
_DECADES = 1.5


def windows(
    lines: Mapping[str, ArrayLike],
    *,
    captions: Sequence[str] | None = None,
    channels: Sequence[str] | None = None,
    rate: int | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw windows of signals as curves: the originals, their reconstructions, and so on.

    Parameters
    ----------
    lines : mapping of str to array-like of shape (n, L) or (n, L, C)
        The curves by their names in the legend; each has n windows of L samples and C channels.
    captions : sequence of n str, optional
        Captions above the windows.
    channels : sequence of C str, optional
        Names of the channels; their numbers by default.
    rate : int, optional
        Samples per second: time is then written in milliseconds or seconds, otherwise in samples.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        The axes, which hold a panel for each window; of several channels, a column of panels for
        each window, with the first four channels. All windows share the limits of a channel.

    Raises
    ------
    DataError
        If there is nothing to draw, or the curves are no windows of one shape.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = narrows.signals.Windows(np.sin(np.arange(900) / 9), 60)
    >>> model = narrows.Autoencoder(2, max_epochs=2, random_state=0).fit(X)
    >>> ax = narrows.plots.windows({"original": X[:4], "restored": model.reconstruct(X[:4])})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['original', 'restored']
    """
    curves = _as_curves(lines)
    n, length, n_channels = next(iter(curves.values())).shape
    drawn = min(n_channels, _MOST_CHANNELS)
    n_columns = min(n, _COLUMNS) if n_channels == 1 else n
    n_lines = -(-n // n_columns) if n_channels == 1 else drawn
    names = [f"channel {c}" for c in range(n_channels)] if channels is None else list(channels)
    if len(names) != n_channels or (captions is not None and len(captions) != n):
        raise DataError(
            f"there are {len(names)} names of channels and {len(captions or [])} captions for "
            f"{n_channels} channels and {n} windows; give one for each"
        )
    time, unit = _time(np.arange(length), rate)
    ax = axes_or_new(ax)
    ax.set_axis_off()
    palette = colours()
    panels: list[Axes] = []
    width = (1 - _BETWEEN * (n_columns - 1)) / n_columns
    captioned = n_lines if n_channels == 1 else 1
    height = (1 - captioned * _ABOVE - (n_lines - captioned) * _BETWEEN) / n_lines
    for place in range(n * drawn):
        window, channel = divmod(place, drawn)
        line, column = divmod(window, n_columns) if n_channels == 1 else (channel, window)
        bottom = (n_lines - 1 - line) * (height + (_ABOVE if n_channels == 1 else _BETWEEN))
        panel = ax.inset_axes((column * (width + _BETWEEN), bottom, width, height))
        panels.append(panel)
        for number, (name, values) in enumerate(curves.items()):
            panel.plot(
                time,
                values[window, :, channel],
                _DASHES[number % len(_DASHES)],
                color=palette[number % len(palette)],
                linewidth=1.2,
                label=printable(name),
            )
        every = np.stack([values[:, :, channel] for values in curves.values()])
        low, high = float(every.min()), float(every.max())
        room = _ROOM * (high - low) or 1.0
        panel.set(xlim=(time[0], time[-1]), ylim=(low - room, high + room))
        last = window + n_columns >= n if n_channels == 1 else line == n_lines - 1
        panel.tick_params(labelsize="x-small", labelbottom=last, labelleft=column == 0)
        panel.locator_params(nbins=4)
        if captions is not None and (n_channels == 1 or line == 0):
            caption = fill(printable(captions[window]), max(_LEAST_CAPTION, _CAPTION // n_columns))
            panel.set_title(caption, fontsize="x-small", parse_math=False)
        if n_channels > 1 and column == 0:
            panel.set_ylabel(shortened(printable(names[channel]), _LETTERS), fontsize="x-small",
                             parse_math=False)  # fmt: skip
        if last:
            panel.set_xlabel(unit, fontsize="x-small")
    handles = list(panels[0].lines)
    labels = [str(line.get_label()) for line in handles]
    if drawn < n_channels:
        labels[-1] += f" ({drawn} of {n_channels} channels)"
    ax.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(labels),
              fontsize="small", frameon=False)  # fmt: skip
    return ax


def _as_curves(lines: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    """Return curves as arrays (n, L, C); raise a DataError if they differ in shape."""
    curves: dict[str, NDArray[np.float64]] = {}
    for name, given in lines.items():
        values = np.asarray(given, np.float64)
        if values.ndim not in (2, 3) or not values.size:
            raise DataError(
                f"'{name}' has the shape {values.shape}; give windows of shape (n, L) or (n, L, C)"
            )
        curves[str(name)] = values.reshape(*values.shape[:2], -1)
    if not curves:
        raise DataError("there are no windows to draw; give at least one line by its name")
    shapes = {values.shape for values in curves.values()}
    if len(shapes) > 1:
        raise DataError(
            f"the lines have the shapes {', '.join(map(str, sorted(shapes)))}; give as many "
            "windows of the same length"
        )
    return curves


def over_time(
    starts: ArrayLike,
    values: ArrayLike,
    *,
    length: int = 1,
    owners: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    rate: int | None = None,
    threshold: float | None = None,
    value_name: str = "reconstruction error",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw values of windows, or of samples, over time, and mark those above a threshold.

    Parameters
    ----------
    starts : array-like of shape (n,)
        The first sample of each window, or the samples themselves.
    values : array-like of shape (n,)
        Such as errors or scores; each is drawn at the middle of its window.
    length : int, default=1
        Samples in a window.
    owners : array-like of int and shape (n,), optional
        The number of the signal of each window; signals are drawn one after another.
    names : sequence of str, optional
        The name of each signal.
    rate : int, optional
        Samples per second; without it, time is counted in samples.
    threshold : float, optional
        Larger values are marked.
    value_name : str
        The name of the values.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        With a line for each signal; the vertical axis is logarithmic where values span more than
        one and a half decades.

    Raises
    ------
    DataError
        If the numbers of starts, values and owners differ, or they are not finite.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.over_time([0, 5, 10], [0.1, 0.9, 0.2], length=10, rate=10, threshold=0.5)
    >>> ax.get_xlabel(), ax.lines[0].get_xdata().tolist()
    ('time in s', [0.5, 1.0, 1.5])
    """
    first, figures = as_pairs(("starts", "values"), starts, values)
    of = np.zeros(len(first)) if owners is None else as_numbers("owners", owners)
    if len(of) != len(first):
        raise DataError(f"there are {len(of)} owners of {len(first)} windows; give one for each")
    ax = axes_or_new(ax)
    color, marked = colours()[:2]
    time, unit = _time(first + length / 2 if length > 1 else first, rate, milliseconds=False)
    ends = _time(first + length, rate, milliseconds=False)[0]
    each = np.unique(of)
    offset = 0.0
    for place, owner in enumerate(each):
        own = np.flatnonzero(of == owner)
        own = own[np.argsort(first[own], kind="stable")]
        ax.plot(offset + time[own], figures[own], color=color, linewidth=1, label="_nolegend_")
        over = own[figures[own] > (math.inf if threshold is None else threshold)]
        ax.plot(offset + time[over], figures[over], "o", color=marked, markersize=4)
        if place:
            ax.axvline(offset, color="0.6", linewidth=0.8)
        if names is not None and 1 < len(each) <= _MOST_NAMED:
            middle = offset + ends[own].max() / 2
            name = shortened(printable(names[int(owner)]), _LETTERS)
            ax.text(middle, 1.01, name, ha="center", va="bottom", fontsize="small",
                    transform=ax.get_xaxis_transform(), parse_math=False)  # fmt: skip
        offset += ends[own].max()
    least = figures[figures > 0].min(initial=math.inf)
    if figures.min() > 0 and figures.max() > 10**_DECADES * least:
        ax.set_yscale("log")
    ax.margins(x=0)
    several = f" of {len(each)} signals, one after another" if len(each) > 1 else ""
    ax.set(xlabel=f"time in {unit}{several}", ylabel=value_name)
    if threshold is not None:
        count = int((figures > threshold).sum())
        ax.plot([], [], "o", color=marked, markersize=4, label=f"outliers: {count} of {len(of)}")
        label = "threshold: " + np.format_float_positional(threshold, 3, fractional=False, trim="-")
        ax.axhline(threshold, color=marked, linestyle="--", linewidth=1, label=label)
        legend_above(ax)
    return ax


def _time(
    samples: NDArray[np.floating] | NDArray[np.integer],
    rate: int | None,
    *,
    milliseconds: bool = True,
) -> tuple[NDArray[np.float64], str]:
    """Return samples as time, and its unit."""
    if rate is None:
        return samples.astype(np.float64), "samples"
    seconds: NDArray[np.float64] = samples / rate
    return (1000 * seconds, "ms") if milliseconds and seconds.max() < 1 else (seconds, "s")
