"""``narrows depth``: which remedy a deep network needs on one's own data."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from narrows.cli import options
from narrows.cli.console import answered, table, training
from narrows.cli.exchange import read_rows, reading_record

if TYPE_CHECKING:
    from narrows.evaluation import DepthReport


@options.verb("depth")
@options.data
@click.option(
    "--depths",
    type=options.numbers_of,
    default="4,12,24",
    show_default=True,
    metavar="INT,...",
    help="Layers with an activation, of both halves together; even numbers from 4 on.",
)
@click.option(
    "--remedies",
    type=options.words_of,
    default="plain,pretrained,normalised,residual",
    show_default=True,
    metavar="TEXT,...",
    help="Which to compare; plain is none.",
)
@click.option("--width", type=int, default=128, show_default=True, help="The width of each layer.")
@click.option(
    "--n-components", type=int, default=16, show_default=True, help="The numbers in a code."
)
@click.option("--activation", default="sigmoid", show_default=True, help="After each layer.")
@click.option("--max-epochs", type=int, default=10, show_default=True, help="Passes over the rows.")
@click.option(
    "--learning-rate",
    type=options.reader(float),
    default="auto",
    show_default=True,
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
def command(
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
