"""The picture of a comparison of depths."""

from typing import TYPE_CHECKING, Any

from narrows.evaluation.depth import DepthReport
from narrows.plots.sheet import FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by every kind of colour vision; and marks, for print in grey.
_LOOKS = {
    "plain": ("#6b6b6b", "o"),
    "pretrained": ("#0072B2", "s"),
    "normalised": ("#E69F00", "^"),
    "residual": ("#009E73", "D"),
}
# The room above the largest error.
_ABOVE = 1.08
_WIDTH, _ROW_HEIGHT, _LAST_HEIGHT, _LEGEND_HEIGHT = 9.0, 2.3, 2.7, 0.3


def draw_depths(report: DepthReport) -> "Figure":
    """Draw training curves and first gradients for each depth, and the test errors of all.

    Parameters
    ----------
    report : DepthReport
        As :func:`narrows.evaluation.compare_depths` gives it.

    Returns
    -------
    matplotlib.figure.Figure
        ``figure.savefig("depth.png")`` writes it.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator

    depths = list(dict.fromkeys(run.depth for run in report.runs))
    height = _ROW_HEIGHT * len(depths) + _LAST_HEIGHT + _LEGEND_HEIGHT
    figure = Figure(figsize=(_WIDTH, height), dpi=150, facecolor="white", layout="constrained")
    losses = (loss for run in report.runs for loss in run.losses)
    highest = max(report.mean_row_error, *losses)
    heights = [_ROW_HEIGHT] * len(depths) + [_LAST_HEIGHT]
    grid = figure.add_gridspec(len(depths) + 1, 2, height_ratios=heights)
    for row, depth in enumerate(depths):
        # Depths are compared at one scale.
        above = figure.axes[:2] or (None, None)
        curves, gradients = (
            figure.add_subplot(grid[row, column], sharey=above[column]) for column in (0, 1)
        )
        _frame(curves, f"{depth} layers: training error", "epoch")
        _frame(gradients, f"{depth} layers: gradient at the start", "layer, from the rows on")
        gradients.set_yscale("log")
        for run in (run for run in report.runs if run.depth == depth):
            colour, mark = _LOOKS[run.remedy]
            look: dict[str, Any] = {
                "color": colour,
                "marker": mark,
                "markersize": 3,
                "linewidth": 1.3,
            }
            epochs = range(1, len(run.losses) + 1)
            curves.plot(epochs, run.losses, label=run.remedy, **look)
            # Networks of other depths are drawn over the same width.
            last = max(1, len(run.gradient_norms) - 1)
            places = [number / last for number in range(len(run.gradient_norms))]
            gradients.plot(places, run.gradient_norms, **look)
        curves.set_ylim(0, _ABOVE * highest)
        curves.xaxis.set_major_locator(MaxNLocator(integer=True))
        _mark(curves, "mean row", report.mean_row_error)
        gradients.yaxis.set_minor_locator(NullLocator())
        gradients.set_xticks([0, 0.5, 1], ["first", "code", "last"])
    errors = figure.add_subplot(grid[-1, :])
    _frame(errors, "test error: mean square of scaled values", "layers")
    for remedy, (colour, mark) in _LOOKS.items():
        reached = {
            str(run.depth): run.test_error
            for run in report.runs
            if run.remedy == remedy and run.test_error is not None
        }
        points = (list(reached), list(reached.values()))
        errors.plot(*points, color=colour, marker=mark, markersize=5, linewidth=1.3)
    errors.set_ylim(0, _ABOVE * max(report.mean_row_error, *errors.dataLim.intervaly))
    _mark(errors, "mean row", report.mean_row_error)
    if report.pca_error is not None:
        _mark(errors, "PCA", report.pca_error)
    names = figure.axes[0].get_legend_handles_labels()
    figure.legend(*names, fontsize=8, frameon=False, ncols=4, loc="outside upper left")
    return figure


def _mark(axes: "Axes", words: str, value: float) -> None:
    axes.axhline(value, color=FAINT, linewidth=0.8, linestyle=":")
    place = axes.get_yaxis_transform()
    axes.text(1.01, value, words, fontsize=7, color=FAINT, va="center", transform=place)


def _frame(axes: "Axes", title: str, below: str) -> None:
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel(below, fontsize=8, color=FAINT)
    axes.tick_params(labelsize=7, colors=FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
