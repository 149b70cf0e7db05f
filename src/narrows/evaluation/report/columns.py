"""The part of a report on a table that shows how well each column is restored."""

from typing import TYPE_CHECKING

from narrows import plots
from narrows.evaluation.report.figures import Columns
from narrows.evaluation.report.page import Part, picture
from narrows.evaluation.report.verdict import share, times
from narrows.plots.columns import MOST_NAMED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Lines of the table, the worst columns first, and columns that the plot names.
_LINES = 15
_SCALINGS = {
    "by column": "divides each {one} by a number of its own",
    "global": "divides all {many} by one number (scaling='global')",
    "unit": "divides all {many} by one number (scaling='unit')",
    "none": "divides none of the {many} (scaling='none')",
}


def show_columns(columns: Columns, size: int) -> Part:
    """Show the error of each column, the worst first, beside that of PCA of a size."""
    one, many = columns.kind.removesuffix("s"), columns.kind
    part = Part("columns", f"Error by {one}")
    part.words.append(
        f"What is left of each {one}: its mean squared error as a share of its variance, which is "
        f"1 less R\N{SUPERSCRIPT TWO}. Above 1 a {one} is restored worse than by its mean, which "
        f"is so of {columns.worse_than_mean} of {len(columns.each)}."
    )
    part.words.append(_of_scaling(columns, one, many))
    varied = [column for column in columns.each if column.model is not None]
    order = sorted(varied, key=lambda column: -(column.model or 0.0))
    by_pca = [column.pca for column in order if column.pca is not None]

    def draw(axes: "Axes") -> None:
        plots.column_errors(
            {column.name: column.model or 0.0 for column in order},
            beside={f"PCA, {size}": by_pca} if len(by_pca) == len(order) else None,
            ax=axes,
        )

    caption = f"Each {one}'s error as a share of its variance; lower is better."
    lines = len(order) if len(order) <= MOST_NAMED else 0
    part.pictures.append(picture("columns", caption, draw, lines=lines))
    part.table.append([one, "model", f"PCA, {size}", "standard deviation"])
    for column in order[:_LINES]:
        pca = "" if column.pca is None else share(column.pca)
        part.table.append([column.name, share(column.model or 0.0), pca, f"{column.spread:.3g}"])
    if len(order) > _LINES:
        part.words.append(
            f"The table has the {_LINES} worst of {len(order)}; report.json has all of them."
        )
    return part


def _of_scaling(columns: Columns, one: str, many: str) -> str:
    """Say how the columns' spreads differ, and what the model makes of that."""
    scaling = _SCALINGS[columns.model_scaling].format(one=one, many=many)
    ratio = times(columns.spread_ratio)
    words = f"The model {scaling}. The spreads of the {many} differ {ratio} times"
    if columns.mixed_units:
        words += (
            f", so they are taken to have different units: errors on this page are shares of each "
            f"{one}'s variance, the mean over all {many}."
        )
    else:
        words += ", and they are taken to share one unit, in which errors on this page are counted."
    if columns.constant:
        words += f" {columns.constant} are constant on these rows, and left out."
    return words
