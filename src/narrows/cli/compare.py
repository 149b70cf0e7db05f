"""``narrows compare``: which model for these data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import (
    json_option,
    overwrite_option,
    progress,
    random_state_option,
    reading_options,
    report_skipped,
    to_option,
    training,
)
from narrows.cli.depth import words_of
from narrows.cli.exchange import data_argument
from narrows.cli.labels import labels_of, labels_option
from narrows.cli.reading import file_options, shared
from narrows.cli.report import tell

if TYPE_CHECKING:
    from narrows.data.formats import FileOptions


@click.command("compare")
@data_argument
@to_option("The folder of the comparison: a page, its plots as PNG files, and figures as JSON.")
@labels_option
@click.option(
    "--models",
    type=words_of,
    default="",
    metavar="TEXT,...",
    help="Which to compare, as narrows train names them.  [default: all]",
)
@click.option(
    "--n-components", type=int, default=32, show_default=True, help="Numbers that a code tells."
)
@click.option(
    "--max-epochs", type=int, default=10, show_default=True, help="The budget of each model."
)
@random_state_option
@file_options
@reading_options
@overwrite_option
@json_option
def command(
    *,
    data: Path,
    to: Path,
    labels: Path | None,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train PCA and all models under one budget, and set them side by side.

    A fifth of DATA is kept for measuring. Codes of all models tell as many numbers of a row; sparse
    ones choose them among eight times as many units.
    """
    from narrows.atomic import check_output
    from narrows.data.files import read
    from narrows.evaluation import compare_models

    check_output(to, overwrite=overwrite)
    own, of_labels = shared(files, [data, labels])
    with progress("reading") as advance:
        rows = read(
            data, skip_unreadable=skip_unreadable, exclude=exclude, options=own, progress=advance
        )
    report_skipped(rows.skipped)
    known = labels_of(labels, rows, of_labels)
    title = f"Which model for {data.name}?"
    with training():
        found = compare_models(rows.for_model(), known, title=title, **parameters)
    heading, *lines = found.table
    tell(found, to, heading, lines, rows, overwrite=overwrite, as_json=as_json)
