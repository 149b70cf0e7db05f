"""``narrows report``: whether a model is any good."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli import options
from narrows.cli.console import answered, table, training
from narrows.cli.exchange import labels_of, load_for, options_by_file, read_for, reading_record

if TYPE_CHECKING:
    from narrows.data.files import Rows
    from narrows.evaluation import Comparison, Report


@options.verb("report")
@options.model
@options.data
@options.to("The folder of the report: a page, its plots as PNG files, and all figures as JSON.")
@options.labels
@click.option(
    "--train",
    type=options.PATH,
    metavar="DATA",
    help="What the model learned from: PCA, and the models of --sweep, then learn from it too, and "
    "errors on it tell overfitting, whatever the loss.  "
    "[default: the rows of DATA that the model learned from; of new rows, each half in turn]",
)
@click.option(
    "--sweep",
    type=options.numbers_of,
    default="",
    metavar="INT,...",
    help="Train models like this one with codes of these widths, and draw their errors.",
)
@click.option(
    "--rows",
    type=click.IntRange(10),
    default=10_000,
    show_default=True,
    help="Look at so many rows at most, drawn at random.",
)
@options.random_state
@options.reading
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
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Say whether a model is any good, and show it.

    Rows of DATA that the model learned from do not tell how it does on others: the verdict comes
    from those that it held out in training and from new ones, where there are at least 10. The page
    compares with PCA of the same code size, says what limits the model and what to try next, and
    shows restored samples (of a table, the error by column), training curves, a map, what the code
    means, filters, errors with outliers, and how good codes are as features.
    """
    from narrows.atomic import check_output
    from narrows.data.lazy_rows import stored
    from narrows.evaluation import make_report

    check_output(to, overwrite=overwrite)
    loaded = load_for(model, "reconstruct")
    own, of_labels, of_train = options_by_file(reading, [data, labels, train])
    read = read_for(loaded, data, own, own_size=False)
    known = labels_of(labels, read, of_labels)
    X_train: Any = None
    if train is not None:
        X_train = stored(read_for(loaded, train, of_train, own_size=False).for_model(loaded))
    with training():
        report = make_report(
            loaded,
            stored(read.for_model(loaded)),
            known,
            X_train=X_train,
            sweep=tuple(sweep),
            max_rows=rows,
            names=read.names if read.pictures else None,
            title=f"Is {model.name} any good?",
            random_state=random_state,
        )
    heading = ["figure", "value"]
    write_page(report, to, heading, report.facts, read, overwrite=overwrite)


def write_page(
    found: "Report | Comparison",
    to: Path,
    heading: Sequence[str],
    lines: Sequence[Sequence[object]],
    rows: "Rows",
    *,
    overwrite: bool,
) -> None:
    """Write a page, and print what is on it: a table, the verdict, and last the page's path."""
    page = found.save(to, overwrite=overwrite)
    if answered({"output": page, **found.as_json(), **reading_record(rows)}):
        return
    if found.notice:
        click.echo(f"{found.notice}\n")
    table(heading, lines)
    click.echo()
    for finding in found.verdict:
        click.echo(f"{finding.text} {finding.remedy}".strip())
    click.echo()
    click.echo(page)
