"""Training curves: the loss and the learning rate by epoch."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from narrows.errors import DataError
from narrows.plots.style import axes_or_new, legend_above, looks
from narrows.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HELD_OUT = "validation_"
_NO_TERMS = {"epoch", "learning_rate", "seconds"}
# Terms more decades apart than this are drawn on a logarithmic axis.
_DECADES = 1.5
# The number of marks on a line; one for each epoch would hide each other.
_MARKS = 8


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
    legend_above(ax, columns=2)
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
