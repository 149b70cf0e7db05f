"""``narrows report``: whether a model is any good."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import (
    PATH,
    answer,
    json_option,
    overwrite_option,
    random_state_option,
    reading_options,
    reading_record,
    table,
    to_option,
    training,
)
from narrows.cli.depth import numbers_of
from narrows.cli.exchange import data_argument, load_for, model_argument, read_for
from narrows.cli.labels import labels_of, labels_option
from narrows.cli.reading import file_options, shared

if TYPE_CHECKING:
    from narrows.data.files import Rows
    from narrows.data.formats import FileOptions
    from narrows.evaluation import Comparison, Report


@click.command("report")
@model_argument
@data_argument
@to_option("The folder of the report: a page, its plots as PNG files, and all figures as JSON.")
@labels_option
@click.option(
    "--train",
    type=PATH,
    metavar="DATA",
    help="What the model learned from: PCA, and the models of --sweep, then learn from it too, and "
    "errors on it tell overfitting, whatever the loss.  "
    "[default: the rows of DATA that the model learned from; of new rows, each half in turn]",
)
@click.option(
    "--sweep",
    type=numbers_of,
    default="",
    metavar="INT,...",
    help="Train models like this one with other widths of code, and draw their errors.",
)
@click.option(
    "--rows",
    type=click.IntRange(10),
    default=10_000,
    show_default=True,
    help="Look at so many rows at most, drawn at random.",
)
@random_state_option
@file_options
@reading_options
@overwrite_option
@json_option
def command(
    *,
    model: Path,
    data: Path,
    to: Path,
    labels: Path | None,
    train: Path | None,
    sweep: list[int],
    rows: int,
    random_state: int,
    files: "FileOptions",
    skip_unreadable: bool,
    exclude: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Say whether a model is any good, and show it.

    Of the rows in DATA that the model learned from, nothing follows for others: the verdict comes
    from those that it held out in training and from new ones, where there are at least 10. The page
    compares with PCA of the same code size, says what limits the model and what to try next, and
    shows restored samples (of a table, the error by column), training curves, a map, what the code
    means, filters, errors with outliers, and how good codes are as features.
    """
    from narrows.atomic import check_output
    from narrows.data.lazy_rows import stored
    from narrows.evaluation import make_report

    check_output(to, overwrite=overwrite)
    whole = load_for(model, "reconstruct")
    own, of_labels, of_train = shared(files, [data, labels, train])
    reading: Any = {"skip_unreadable": skip_unreadable, "exclude": exclude, "own_size": False}
    given = read_for(whole, data, files=own, **reading)
    known = labels_of(labels, given, of_labels)
    learned_from: Any = None
    if train is not None:
        seen = read_for(whole, train, files=of_train, **reading)
        learned_from = stored(seen.for_model(whole))
    with training():
        report = make_report(
            whole,
            stored(given.for_model(whole)),
            known,
            X_train=learned_from,
            sweep=tuple(sweep),
            max_rows=rows,
            names=given.names if given.pictures else None,
            title=f"Is {model.name} any good?",
            random_state=random_state,
        )
    heading = ["figure", "value"]
    tell(report, to, heading, report.facts, given, overwrite=overwrite, as_json=as_json)


def tell(
    found: "Report | Comparison",
    to: Path,
    heading: Sequence[str],
    lines: Sequence[Sequence[object]],
    rows: "Rows",
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write a page, and say what is on it: a table, the verdict, and last where it is."""
    page = found.save(to, overwrite=overwrite)
    if as_json:
        answer({"output": page, **found.as_json(), **reading_record(rows)}, as_json=True)
        return
    if found.notice:
        click.echo(f"{found.notice}\n")
    table(heading, lines)
    click.echo()
    for finding in found.verdict:
        click.echo(f"{finding.text} {finding.remedy}".strip())
    click.echo()
    click.echo(page)
