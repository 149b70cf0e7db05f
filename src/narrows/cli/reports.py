"""``narrows report``, ``compare``, ``depth``, ``evaluate-matching``: how good models are."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from narrows.cli import options
from narrows.cli.console import answered, note, table, training
from narrows.cli.exchange import (
    labels_of,
    load_for,
    options_by_file,
    read_for,
    read_labels,
    read_rows,
    reading_record,
)
from narrows.cli.tables import column_parameters, read_learnable, read_table
from narrows.cli.windows import labels_of_rows, read_rows_or_windows

if TYPE_CHECKING:
    from narrows import TableAutoencoder
    from narrows.data.files import Rows
    from narrows.evaluation import Comparison, DepthReport, Report


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
    show_default=False,
    metavar="INT,...",
    help="Train models like this one with codes of these widths, and draw their errors.",
)
@click.option(
    "--rows",
    type=click.IntRange(10),
    default=10_000,
    help="Look at so many rows at most, drawn at random.",
)
@options.random_state
@options.as_signal
@options.signal
@options.reading
def report(
    *,
    model: Path,
    data: Path,
    to: Path,
    labels: Path | None,
    train: Path | None,
    sweep: list[int],
    rows: int,
    random_state: int,
    as_signal: bool,
    signal: dict[str, Any],
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Say whether a model is any good, and show it.

    Rows of DATA that the model learned from do not tell how it does on others: the verdict comes
    from those that it held out in training and from new ones, where there are at least 10. The page
    compares with PCA of the same code size, says what limits the model and what to try next, and
    shows restored samples (of a table, the error by column), training curves, a map, what the code
    means, filters, errors, outliers (scored as by "narrows anomalies"), and how good codes are as
    features. Signals (sound, a folder of it, or an array) are cut into windows, shown as curves,
    with their anomaly scores over time.
    """
    from narrows.atomic import check_output
    from narrows.data.lazy_rows import stored
    from narrows.evaluation import make_report

    check_output(to, overwrite=overwrite)
    loaded = load_for(model, "reconstruct", tables=True)
    own, of_labels, of_train = options_by_file(reading, [data, labels, train])
    if hasattr(loaded, "column_encoder_"):
        _report_table(
            loaded, data, to, own, labels=(labels, of_labels), train=(train, of_train),
            overwrite=overwrite, sweep=tuple(sweep), max_rows=rows,
            title=f"Is {model.name} any good?", random_state=random_state,
        )  # fmt: skip
        return

    def read_data(path: Path, own: dict[str, Any]) -> "Rows":
        of_rows = partial(read_for, loaded, path, own, own_size=False)
        return read_rows_or_windows(loaded, path, own, of_rows, as_signal=as_signal, signal=signal)

    read = read_data(data, own)
    known = labels_of_rows(labels, read, of_labels)
    X_train: Any = None
    if train is not None:
        X_train = stored(read_data(train, of_train).for_model(loaded))
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


def _report_table(
    model: "TableAutoencoder",
    data: Path,
    to: Path,
    reading: dict[str, Any],
    *,
    labels: tuple[Path | None, dict[str, Any]],
    train: tuple[Path | None, dict[str, Any]],
    overwrite: bool,
    **how: Any,
) -> None:
    """Report on a model of a table with categories, dates and gaps."""
    import numpy as np

    from narrows.data.files import Rows
    from narrows.data.names import RowNames
    from narrows.evaluation import make_table_report

    known = model.column_encoder_.named
    frame = read_table(data, reading["options"], known)
    rows = Rows(np.empty((len(frame), 0)), RowNames(range(len(frame))))
    X_train = None if train[0] is None else read_table(train[0], train[1]["options"], known)
    y = labels_of(labels[0], rows, labels[1])
    with training():
        found = make_table_report(model, frame, y, X_train=X_train, **how)
    write_page(found, to, ["figure", "value"], found.facts, rows, overwrite=overwrite)


@options.verb("compare")
@options.data
@options.to("The folder of the comparison: a page, its plots as PNG files, and figures as JSON.")
@options.labels
@click.option(
    "--models",
    type=options.words_of,
    default="",
    metavar="TEXT,...",
    show_default="all",
    help="Which to compare, as narrows train names them.",
)
@click.option("--n-components", type=int, default=32, help="The numbers in a code.")
@click.option("--max-epochs", type=int, default=10, help="The budget of each model.")
@options.table_columns
@options.random_state
@options.reading
def compare(
    *,
    data: Path,
    to: Path,
    labels: Path | None,
    drop: str | None,
    categorical: str | None,
    reading: dict[str, Any],
    overwrite: bool,
    **parameters: Any,
) -> None:
    """Train PCA and all models under one budget, and set them side by side.

    A fifth of DATA is held out for measuring. The codes of all models have as many numbers that
    differ from zero; sparse ones choose them among eight times as many units. Tables with
    categories, dates or gaps are encoded once for all models; errors stand by kind of column too,
    and those of filling gaps beside the mean or mode and the nearest neighbours.
    """
    import numpy as np

    from narrows.atomic import check_output
    from narrows.data.files import Rows
    from narrows.data.names import RowNames
    from narrows.evaluation import compare_models, compare_table_models

    check_output(to, overwrite=overwrite)
    own, of_labels = options_by_file(reading, [data, labels])
    asked = column_parameters(None, drop, categorical)
    if asked["drop"] or asked["categorical"]:
        read: Any = read_table(data, own["options"])
    else:
        read = read_learnable(partial(read_rows, data, **own), data, own["options"])
    parameters |= {"title": f"Which model for {data.name}?"}
    found: Comparison
    if isinstance(read, Rows):
        rows = read
        known = labels_of(labels, rows, of_labels)
        with training():
            found = compare_models(rows.for_model(), known, **parameters)
    else:
        rows = Rows(np.empty((len(read), 0)), RowNames(range(len(read))))
        known = labels_of(labels, rows, of_labels)
        with training():
            found = compare_table_models(
                read, known, drop=asked["drop"], categorical=asked["categorical"], **parameters
            )
        note(found.encoding)
    heading, *lines = found.table
    write_page(found, to, heading, lines, rows, overwrite=overwrite)


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


@options.verb("depth")
@options.data
@click.option(
    "--depths",
    type=options.numbers_of,
    default="4,12,24",
    metavar="INT,...",
    help="Layers with an activation, of both halves together; even numbers from 4 on.",
)
@click.option(
    "--remedies",
    type=options.words_of,
    default="plain,pretrained,normalised,residual",
    metavar="TEXT,...",
    help="Which to compare; plain is none.",
)
@click.option("--width", type=int, default=128, help="The width of each layer.")
@click.option("--n-components", type=int, default=16, help="The numbers in a code.")
@click.option("--activation", default="sigmoid", help="After each layer.")
@click.option("--max-epochs", type=int, default=10, help="Passes over the rows.")
@click.option(
    "--learning-rate",
    type=options.reader(float),
    default="auto",
    help="The peak of the schedule, for all networks.",
)
@click.option(
    "--rows", type=click.IntRange(1), help="Take so many rows, drawn at random.  [default: all]"
)
@options.random_state
@click.option(
    "--save", type=options.PATH, metavar="PNG", help="Draw curves, gradients and test errors."
)
@options.reading
@options.overwrite
def depth(
    *,
    data: Path,
    rows: int | None,
    reading: dict[str, Any],
    random_state: int,
    save: Path | None,
    overwrite: bool,
    **parameters: Any,
) -> None:
    """Compare the remedies for depth on one's own data.

    Trains the same deep network plain, pretrained layer by layer, batch-normalised and residual,
    at several depths. A fifth of the rows is held out for the test. Names the network to use, or
    says that none of them is better than the mean row or PCA.
    """
    import numpy as np

    from narrows.atomic import atomic_file, check_output
    from narrows.evaluation import compare_depths, draw_depths

    if save is not None:
        check_output(save, overwrite=overwrite, kind="file")
    found = read_rows(data, **reading)
    X = found.values
    if rows is not None and rows < len(X):
        X = X[np.sort(np.random.default_rng(random_state).permutation(len(X))[:rows])]
    with training():
        report = compare_depths(X, random_state=random_state, **parameters)
    if save is not None:
        with atomic_file(save, overwrite=overwrite) as temporary:
            draw_depths(report).savefig(temporary, format="png")
    record = {**asdict(report), "unbeaten": report.unbeaten}
    record |= {"rows": len(X), "picture": save, **reading_record(found)}
    if not answered(record):
        _print_scores(report)


def _print_scores(report: "DepthReport") -> None:
    table(
        ["layers", "remedy", "test error", "of the mean row's", "first gradient", "CPU s"],
        [
            [
                run.depth,
                run.remedy,
                "diverged" if run.test_error is None else f"{run.test_error:.5f}",
                "" if run.test_error is None else f"{run.test_error / report.mean_row_error:.3f}",
                f"{run.gradient_norms[0]:.2g}",
                f"{run.seconds:.0f}",
            ]
            for run in report.runs
        ],
        title=f"mean row {report.mean_row_error:.5f}"
        + ("" if report.pca_error is None else f", PCA {report.pca_error:.5f}"),
    )
    best = report.best
    named = f"{best.depth} layers, {best.remedy}"
    if report.unbeaten is None:
        click.echo(f"Use {named}: nothing quicker is within 2 % of it.")
        return
    advice = "use PCA, or let" if report.unbeaten == "PCA" else "let"
    click.echo(
        f"Use none of these networks: the best, {named}, does not beat {report.unbeaten}; {advice} "
        "them learn longer (--max-epochs), from more rows, or with another --activation."
    )


@options.verb("evaluate-matching")
@options.model
@options.data
@options.labels
@click.option(
    "--pairs",
    type=options.PATH,
    metavar="CSV",
    help="A heading, then two rows a line that belong together: names, or numbers from 0.",
)
@click.option("-k", multiple=True, type=int, default=(1, 5, 10))
@options.metric
@options.reading
def evaluate_matching(
    *,
    model: Path,
    data: Path,
    labels: Path | None,
    pairs: Path | None,
    k: tuple[int, ...],
    metric: Literal["euclidean", "cosine"] | None,
    reading: dict[str, Any],
) -> None:
    """Score how often a model's codes find what belongs together.

    For each row of DATA, the nearest of the others are found. Beside the model stand PCA, fitted on
    these rows with as many components, and the raw rows. With -k 1 -k 5, precision and recall are
    those of the nearest one and of the nearest five.
    """
    from narrows.errors import ParameterError
    from narrows.evaluation import evaluate_matching

    if labels is not None and pairs is not None:
        raise ParameterError("--labels and --pairs both say what belongs together; give one")
    encoder = load_for(model, "transform")
    own, of_labels, of_pairs = options_by_file(reading, [data, labels, pairs])
    rows = read_for(encoder, data, own)
    known: dict[str, Any] = (
        {"pairs": _pairs(pairs, rows, of_pairs)}
        if pairs is not None
        else {"labels": read_labels(labels, rows, of_labels)}
    )
    scores = evaluate_matching(encoder, rows.for_model(encoder), **known, k=k, metric=metric)
    record = {
        "methods": [asdict(score) for score in scores],
        "metric": metric or encoder.spec_.metric,
    }
    if answered({**record, **reading_record(rows)}):
        return
    table(
        ["method", "width", *(f"{what}@{n}" for what in ("precision", "recall") for n in k), "mAP"],
        [
            [
                score.method,
                score.n_components,
                *(f"{score.precision[n]:.4f}" for n in k),
                *(f"{score.recall[n]:.4f}" for n in k),
                f"{score.mean_average_precision:.4f}",
            ]
            for score in scores
        ],
        title=f"{scores[0].n_queries} queries among {len(rows.names)} rows",
    )


def _pairs(path: Path, rows: "Rows", reading: dict[str, Any]) -> list[list[int]]:
    from narrows.data.names import NameIndex, RowNames
    from narrows.data.tables import read_texts
    from narrows.errors import DataError

    numbers = {str(number): number for number in range(len(rows.names))}
    index = NameIndex([] if isinstance(rows.names, RowNames) else [[name] for name in rows.names])
    heading, lines = read_texts(path, reading["options"])
    if len(heading) != 2:
        raise DataError(
            f"'{path}' has {len(heading)} columns; give two, of rows that belong together"
        )

    def row_of(name: str) -> int:
        found = index.find(name)
        if found is None and (found := numbers.get(name)) is None:
            several = len(index.alike(name)) > 1
            raise DataError(
                f"'{path}' names '{name}', which is {'more than one' if several else 'no'} row; "
                "use names, as they are in the folder, or numbers"
            )
        return found

    return [[row_of(name) for name in line] for line in lines]
