"""Curves of training by epoch, and distributions of errors and of what units of codes do."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.errors import DataError
from narrows.plots.style import as_numbers, as_pairs, axes_or_new, colours, legend_above, looks
from narrows.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HELD_OUT = "validation_"
_NO_TERMS = {"epoch", "learning_rate", "seconds"}
# Terms more decades apart than this are drawn on a logarithmic axis.
_DECADES = 1.5
# The number of marks on a line; one for each epoch would hide each other.
_MARKS = 8
# Errors more decades apart than this are drawn on a logarithmic axis, down to this share of the
# largest.
_ERROR_DECADES, _LEAST = 2, 1e-6
_FEWEST_BINS, _MOST_BINS, _RATE_BINS = 10, 50, 25
# The length of a line of marks at most, and the size of a mark at least, in points.
_ROOM_FOR_MARKS, _SMALLEST_MARK = 300, 1.5
_HATCH = "////"
# The rows between these percentiles are shown as a band.
_BAND = (10, 90)


class _Run(NamedTuple):
    """The training of a layer, or of the whole network, on the common axis of epochs."""

    name: str
    start: int
    history: History

    def epochs(self) -> NDArray[np.float64]:
        return self.start + np.arange(1.0, len(self.history) + 1)

    def values(self, column: str) -> NDArray[np.float64]:
        """Return a column, NaN where an epoch does not have it."""
        return np.array([record.get(column, math.nan) for record in self.history.epochs])


def history(history: History, *, ax: "Axes | None" = None) -> "Axes":
    """Draw every term of the loss by epoch, on training rows and on held-out rows.

    The layers of a stack, which were trained one by one, stand before the whole.

    Parameters
    ----------
    history : History
        A fitted model's ``history_``.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        Logarithmic upwards where the terms lie more than one and a half decades apart. Training
        rows have solid lines, held-out rows dashed ones with hollow marks; where there are such, a
        vertical line marks the epoch whose weights were kept.

    Raises
    ------
    DataError
        If the history has no epoch.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((100, 8))
    >>> model = narrows.Autoencoder(2, max_epochs=3, random_state=0).fit(X)
    >>> narrows.plots.history(model.history_).get_xlabel()
    'epoch'
    """
    runs = _runs(history)
    ax = axes_or_new(ax)
    terms = _terms(runs)
    has_held_out = any(_HELD_OUT in name for run in runs for name in run.history.columns)
    styles = {"": ("-", "full"), _HELD_OUT: ("--", "none")}
    for place, (term, look) in enumerate(zip(terms, looks(len(terms)), strict=True)):
        for run in runs:
            every = max(1, len(run.history) // _MARKS)
            # Lines that lie on each other show their marks in turn.
            marks = min(place * every // len(terms), len(run.history) - 1), every
            for prefix, (dashes, fill) in styles.items():
                values = run.values(prefix + term)
                if np.isfinite(values).any():
                    line = {"linestyle": dashes, "fillstyle": fill, "markevery": marks, **look}
                    ax.plot(run.epochs(), values, label="_nolegend_", **line)
        ax.plot([], [], label=terms[term], **look)
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in ax.lines])
    values = values[np.isfinite(values)]
    if values.min() > 0 and values.max() / values.min() > 10**_DECADES:
        ax.set_yscale("log")
    if has_held_out:
        color, best = ax.xaxis.label.get_color(), runs[-1].history.best_epoch
        for words, (dashes, fill) in zip(("training", "held-out"), styles.values(), strict=True):
            line = {"linestyle": dashes, "fillstyle": fill, "color": color, "marker": "o"}
            ax.plot([], [], label=f"{words} rows", **line)
        label = f"best epoch: {best}"
        ax.axvline(runs[-1].start + best, color=color, linestyle=":", label=label, zorder=0)
    ax.set_ylabel("loss per row")
    _finish(ax, runs)
    legend_above(ax)
    return ax


def learning_rate(history: History, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the learning rate at the end of each epoch.

    Parameters
    ----------
    history : History
        A fitted model's ``history_``.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        With a line for each layer of a stack, and one for the whole.

    Raises
    ------
    DataError
        If the history has no epoch.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((100, 8))
    >>> model = narrows.Autoencoder(2, max_epochs=3, random_state=0).fit(X)
    >>> ax = narrows.plots.learning_rate(model.history_)
    >>> list(ax.lines[0].get_ydata()) == model.history_["learning_rate"]
    True
    """
    from matplotlib.ticker import FuncFormatter

    runs = _runs(history)
    ax = axes_or_new(ax)
    [look] = looks(1)
    for run in runs:
        every = max(1, len(run.history) // _MARKS)
        ax.plot(run.epochs(), run.values("learning_rate"), markevery=every, **look)
    ax.set_ylim(bottom=0)
    # No power of ten in the corner, where a layer's name may be.
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_ylabel("learning rate")
    _finish(ax, runs)
    return ax


def _runs(history: History) -> list[_Run]:
    """List the layers of a stack, and then the whole, one after another."""
    if not isinstance(history, History):
        raise DataError(f"the history is {type(history).__name__}; give a fitted model's history_")
    names = [f"layer {place}" for place in range(1, len(history.layers) + 1)]
    runs, start = [], 0
    for name, part in zip([*names, "whole"], [*history.layers, history], strict=True):
        if len(part):
            runs.append(_Run(name, start, part))
        start += len(part)
    if not runs:
        raise DataError("the history has no epoch; fit the model first")
    return runs


def _terms(runs: list[_Run]) -> dict[str, str]:
    """Return the columns to draw, and their labels; a loss of a single term is drawn once."""
    columns = dict.fromkeys(name for run in runs for name in run.history.columns)
    terms = [c for c in columns if c not in _NO_TERMS and not c.startswith(_HELD_OUT)]
    parts = [term for term in terms if term != "loss"]
    if len(parts) == 1:
        return {"loss": f"loss ({parts[0]})"}
    return {term: term.replace("_", " ") for term in terms}


def _finish(ax: "Axes", runs: list[_Run]) -> None:
    """Label the epochs, and separate the layers."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlim(0.5, runs[-1].start + len(runs[-1].history) + 0.5)
    ax.set_xlabel("epoch")
    if len(runs) == 1:
        return
    ax.set_xlabel("epoch, of all layers one after another")
    for number, run in enumerate(runs):
        middle = run.start + (1 + len(run.history)) / 2
        ax.text(middle, 1.01, run.name, ha="center", va="bottom",
                transform=ax.get_xaxis_transform())  # fmt: skip
        if number:
            ax.axvline(run.start + 0.5, color=ax.xaxis.label.get_color(), linewidth=0.8)


def error_distribution(
    errors: ArrayLike, *, threshold: float | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw a histogram of the rows' reconstruction errors, the outliers apart.

    Parameters
    ----------
    errors : array-like of shape (n,)
        The errors that a model's ``reconstruction_error`` returns.
    threshold : float, optional
        Rows of larger errors are outliers: they are hatched, marked one by one below the bars, and
        counted.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        Logarithmic from left to right where the errors span more than two decades; there, errors
        below a millionth of the largest count as that.

    Raises
    ------
    DataError
        If the errors, or the threshold, are not finite numbers of at least zero.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> errors = np.random.default_rng(0).gamma(5, size=200)
    >>> ax = narrows.plots.error_distribution(errors, threshold=12)
    >>> ax.get_legend().get_texts()[0].get_text()
    'outliers: 2 of 200'
    """
    values = as_numbers("errors", errors)
    limit = np.inf if threshold is None else float(as_numbers("thresholds", [threshold])[0])
    if min(values.min(), limit) < 0:
        raise DataError(f"{min(values.min(), limit):g} is no error; give numbers of at least zero")
    least = max(_LEAST * values.max(), values[values > 0].min(initial=np.inf))
    wide = values.max() > 10**_ERROR_DECADES * least
    shown = np.maximum(values, least) if wide else values
    n_bins = int(np.clip(np.sqrt(len(values)), _FEWEST_BINS, _MOST_BINS))
    scaled = np.histogram_bin_edges(np.log10(shown) if wide else shown, n_bins)
    edges = 10**scaled if wide else scaled
    # Rounding must not exclude the smallest or the largest.
    edges[0], edges[-1] = min(edges[0], shown.min()), max(edges[-1], shown.max())
    is_outlier = values > limit
    names = ("_nolegend_", f"outliers: {is_outlier.sum()} of {len(values)}")
    ax = axes_or_new(ax)
    _stack(ax, (shown[~is_outlier], shown[is_outlier]), edges, names)
    if wide:
        ax.set_xscale("log")
    ax.set(xlabel="reconstruction error", ylabel="rows")
    if threshold is not None:
        color = colours()[1]
        beyond = shown[is_outlier]
        ax.plot(beyond, np.zeros(len(beyond)), "|", color=color, clip_on=False, zorder=3)
        label = "threshold: " + np.format_float_positional(limit, 3, fractional=False, trim="-")
        ax.axvline(limit, color=color, linestyle="--", label=label)
        legend_above(ax)
    return ax


def code_units(means: ArrayLike, variances: ArrayLike, *, ax: "Axes | None" = None) -> "Axes":
    """Draw each code unit's mean and variance over the rows, beside those of N(0, 1).

    A variational model drives its codes towards that distribution; a unit of variance 0 has
    collapsed: it carries no information about the row.

    Parameters
    ----------
    means, variances : array-like of shape (K,)
        The mean and the variance of each unit.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        With the units in the order of their variances, the largest first.

    Raises
    ------
    DataError
        If there are not as many means as variances, or a variance is below zero.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.code_units([0.1, 0.0, -0.2], [0.9, 0.0, 1.1])
    >>> ax.lines[0].get_ydata().tolist()
    [1.1, 0.9, 0.0]
    """
    from matplotlib import rcParams

    mean, variance = as_pairs(("means", "variances"), means, variances)
    if variance.min() < 0:
        raise DataError(f"a variance is {variance.min():g}; give numbers of at least zero")
    order = np.argsort(-variance, kind="stable")
    units = np.arange(1, len(order) + 1)
    ax = axes_or_new(ax)
    for_variances, for_means = looks(2)
    size = min(rcParams["lines.markersize"], max(_SMALLEST_MARK, _ROOM_FOR_MARKS / len(units)))
    for name, y, target, look, dashes, zorder in (
        ("variance", variance[order], 1, for_variances, "--", 3),
        ("mean", mean[order], 0, for_means, ":", 2),
    ):
        ax.plot(units, y, linestyle="none", label=name, markersize=size, zorder=zorder, **look)
        label = f"{name} of N(0, 1)"
        ax.axhline(target, color=look["color"], linestyle=dashes, label=label, zorder=1)
    _count_units(ax, len(units))
    ax.set(xlabel="unit of the code, by variance", ylabel="over the rows")
    legend_above(ax)
    return ax


def activation_rates(rates: ArrayLike, *, ax: "Axes | None" = None) -> "Axes":
    """Draw a histogram of the share of rows for which each unit is on, dead units apart.

    Parameters
    ----------
    rates : array-like of shape (K,)
        The share of each unit, between 0 and 1.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        With a legend that counts the dead units, which are on for no row.

    Raises
    ------
    DataError
        If the rates are not numbers between 0 and 1.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.activation_rates([0.1, 0.0, 0.3, 0.2])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['in use: 3 of 4', 'dead: 1 of 4']
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    shares = as_numbers("rates", rates)
    if shares.min() < 0 or shares.max() > 1:
        raise DataError(
            f"rates lie between {shares.min():g} and {shares.max():g}; give shares from 0 to 1"
        )
    dead = shares == 0
    ax = axes_or_new(ax)
    edges = np.linspace(0, shares.max() or 1.0, _RATE_BINS + 1)
    names = (f"in use: {(~dead).sum()} of {len(shares)}", f"dead: {dead.sum()} of {len(shares)}")
    _stack(ax, (shares[~dead], shares[dead]), edges, names)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    ax.set(xlabel="rows on which a unit is on", ylabel="units")
    legend_above(ax)
    return ax


def singular_values(
    values: ArrayLike, *, label: str | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw the singular values of the encoder's Jacobian: in how many directions codes change.

    Rifai et al. (2011), "Contractive auto-encoders", figure 3: the code of a contractive encoder
    changes in few directions, those in which the data vary.

    Parameters
    ----------
    values : array-like of shape (n, K)
        The singular values of each row's Jacobian.
    label : str, optional
        The name of the curve, where several are drawn on the same axes, one call each.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        With the mean over rows of the largest, the second largest, and so on; the band holds eight
        rows in ten.

    Raises
    ------
    DataError
        If the values are not finite, below zero, or not so shaped.
    ParameterError
        If ``ax`` is no Axes.

    Examples
    --------
    >>> import narrows
    >>> ax = narrows.plots.singular_values([[3.0, 0.5], [0.1, 2.0]])
    >>> ax.lines[0].get_ydata().tolist()
    [2.5, 0.3]
    """
    spectra = as_numbers("values", values, 2)
    if spectra.min() < 0:
        raise DataError(f"a singular value is {spectra.min():g}; give numbers of at least zero")
    descending = -np.sort(-spectra, axis=1)
    ax = axes_or_new(ax)
    n_before = len(ax.lines)
    look = looks(n_before + 1)[-1]
    dashes = ("-", "--", "-.", ":")[n_before % 4]
    ranks = np.arange(1, spectra.shape[1] + 1)
    every = max(1, len(ranks) // 16)
    low, high = np.percentile(descending, _BAND, axis=0)
    ax.fill_between(ranks, low, high, color=look["color"], alpha=0.2, linewidth=0)
    name = label or "mean of the rows, and eight in ten"
    ax.plot(ranks, descending.mean(axis=0), linestyle=dashes, label=name, markevery=every, **look)
    _count_units(ax, max(len(line.get_path()) for line in ax.lines))
    ax.autoscale(axis="y")
    ax.set_ylim(bottom=0)
    ax.set(xlabel="singular value, the largest first", ylabel="of the encoder's Jacobian")
    ax.legend()
    return ax


def _stack(
    ax: "Axes",
    parts: tuple[NDArray[np.float64], NDArray[np.float64]],
    edges: NDArray[np.float64],
    names: tuple[str, str],
) -> None:
    """Draw a histogram of two parts, the second on top of the first and hatched."""
    ax.hist(list(parts), edges.tolist(), stacked=True, color=colours()[:2], label=list(names))
    for bar in ax.containers[1]:
        bar.set(hatch=_HATCH, edgecolor=ax.get_facecolor(), linewidth=0)


def _count_units(ax: "Axes", n: int) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set_xlim(0.5, n + 0.5)
