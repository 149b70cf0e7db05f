"""``narrows compare``: which model for these data."""

from pathlib import Path
from typing import Any

import click

from narrows.cli import options
from narrows.cli.console import training
from narrows.cli.exchange import labels_of, options_by_file, read_rows
from narrows.cli.report import write_page


@options.verb("compare")
@options.data
@options.to("The folder of the comparison: a page, its plots as PNG files, and figures as JSON.")
@options.labels
@click.option(
    "--models",
    type=options.words_of,
    default="",
    metavar="TEXT,...",
    help="Which to compare, as narrows train names them.  [default: all]",
)
@click.option(
    "--n-components", type=int, default=32, show_default=True, help="The numbers in a code."
)
@click.option(
    "--max-epochs", type=int, default=10, show_default=True, help="The budget of each model."
)
@options.random_state
@options.reading
def command(
    *,
    data: Path,
    to: Path,
    labels: Path | None,
    reading: dict[str, Any],
    overwrite: bool,
    **parameters: Any,
) -> None:
    """Train PCA and all models under one budget, and set them side by side.

    A fifth of DATA is held out for measuring. The codes of all models have as many numbers that
    differ from zero; sparse ones choose them among eight times as many units.
    """
    from narrows.atomic import check_output
    from narrows.evaluation import compare_models

    check_output(to, overwrite=overwrite)
    own, of_labels = options_by_file(reading, [data, labels])
    rows = read_rows(data, **own)
    known = labels_of(labels, rows, of_labels)
    title = f"Which model for {data.name}?"
    with training():
        found = compare_models(rows.for_model(), known, title=title, **parameters)
    heading, *lines = found.table
    write_page(found, to, heading, lines, rows, overwrite=overwrite)
