"""``narrows evaluate-matching``: how well codes find what belongs together."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from narrows.cli import options
from narrows.cli.console import answered, table
from narrows.cli.exchange import load_for, options_by_file, read_for, read_labels, reading_record

if TYPE_CHECKING:
    from narrows.data.files import Rows


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
@click.option("-k", multiple=True, type=int, default=(1, 5, 10), show_default=True)
@options.metric
@options.reading
def command(
    *,
    model: Path,
    data: Path,
    labels: Path | None,
    pairs: Path | None,
    k: tuple[int, ...],
    metric: Literal["euclidean", "cosine"],
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
    if answered({"methods": [asdict(score) for score in scores], **reading_record(rows)}):
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
