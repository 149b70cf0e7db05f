"""``narrows map``: a model's codes on a plane."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from narrows.cli import options
from narrows.cli.console import answer, progress
from narrows.cli.exchange import (
    options_by_file,
    read_labels,
    reading_record,
)
from narrows.cli.tables import load_with_reader
from narrows.cli.windows import is_windows, labels_of_rows, read_rows_or_windows
from narrows.data.formats import TABLE_SUFFIXES
from narrows.texts import as_text, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from narrows.data.files import Rows
    from narrows.evaluation import MapScores, Projection

_ERROR = "reconstruction error"
_TABLES = sorted(TABLE_SUFFIXES)


@options.verb("map")
@options.model
@options.data
@click.option(
    "-o",
    "--to",
    "outputs",
    required=True,
    multiple=True,
    type=options.PATH,
    help=f"A picture (.png), a table ({', '.join(_TABLES)}) or a page to look around in (.html); "
    "give it again for more.",
)
@click.option(
    "--method",
    type=click.Choice(["autoencoder", "pca", "tsne", "umap"]),
    default="autoencoder",
    help="What lays the codes out.",
)
@click.option(
    "--distances",
    type=click.Choice(["auto", "restored", "codes"]),
    default="auto",
    help="Between what codes restore, or between codes; auto is the first, unless MODEL is an "
    "encoder alone, or DATA are very large.",
)
@options.labels
@click.option(
    "--color",
    type=click.Choice(["label", "error"]),
    help="By label, or by reconstruction error.  [default: label if there are any]",
)
@click.option(
    "--scores/--no-scores",
    default=True,
    help="Measure trustworthiness and, with labels, neighbour accuracy.",
)
@options.random_state
@options.as_signal
@options.signal
@options.reading
@options.overwrite
def command(
    *,
    model: Path,
    data: Path,
    outputs: tuple[Path, ...],
    method: Literal["autoencoder", "pca", "tsne", "umap"],
    distances: Literal["auto", "restored", "codes"],
    labels: Path | None,
    color: Literal["label", "error"] | None,
    scores: bool,
    random_state: int,
    as_signal: bool,
    signal: dict[str, Any],
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Lay a model's codes out on a plane, and look at it.

    Similar samples lie together. Measures how far to trust the map: trustworthiness, whether
    neighbours on the map are neighbours in DATA, and, with labels, how often the five nearest on
    the map name a sample's label. Signals (sound, a folder of it, or an array) are cut into
    windows; labels are those of their files.
    """
    from narrows.atomic import atomic_file
    from narrows.data.lazy_rows import stored
    from narrows.evaluation import project, score_map

    _check_outputs(outputs, overwrite=overwrite)
    coder, read_rows = load_with_reader(model, "reconstruct" if color == "error" else "transform")
    own, of_labels = options_by_file(reading, [data, labels])
    of_rows = partial(read_rows, data, own)
    rows = read_rows_or_windows(coder, data, own, of_rows, as_signal=as_signal, signal=signal)
    known = labels_of_rows(labels, rows, of_labels)
    if known is None and color == "label":
        known = read_labels(labels, rows, of_labels)
    X = stored(rows.for_model(coder))
    errors = None
    if color == "error" or (known is None and hasattr(coder, "reconstruction_error")):
        errors = coder.reconstruction_error(X)
    with progress("mapping"):
        made = project(
            X, method=method, model=coder, distances=distances, random_state=random_state
        )
    found = None
    if scores:
        values = X if rows.pictures else stored(rows.values)
        found = score_map(values, made.points, known, model=coder, random_state=random_state)
    title = printable(f"Map of {data.name} by {model.name}")
    scaling = coder.scaling_ if coder.spec_.shows_pictures else None
    colors = {"labels": known} if errors is None else {"values": errors}
    lines = _lines(made, found)
    shown = _Shown(made.points, rows, known, errors, colors, title, lines, scaling)
    with ExitStack() as stack:
        places = [stack.enter_context(atomic_file(path, overwrite=overwrite)) for path in outputs]
        for path, place in zip(outputs, places, strict=True):
            _WRITERS[path.suffix.lower()](place, shown)
    record = {
        "method": method,
        "distances": made.distances,
        "rows": len(rows.names),
        "outputs": outputs,
        **reading_record(rows),
        **(asdict(found) if found else {}),
    }
    answer(record, *shown.lines, *(f"Written to {path}" for path in outputs))


def _check_outputs(outputs: tuple[Path, ...], *, overwrite: bool) -> None:
    from narrows.atomic import check_output
    from narrows.errors import ParameterError

    for path in outputs:
        if path.suffix.lower() not in _WRITERS:
            raise ParameterError(
                f"-o '{path}' is none of a map's files; let it end in {', '.join(_WRITERS)}"
            )
        check_output(path, overwrite=overwrite, kind="file")
    if len(set(outputs)) < len(outputs):
        raise ParameterError("-o names one file twice; name each once")


def _lines(made: "Projection", scores: "MapScores | None") -> list[str]:
    """Describe the map in lines, and how far it can be trusted."""
    near = "what their codes restore" if made.distances == "restored" else "their codes"
    lines = [f"{len(made.points):,} samples, laid out by {made.method} of {near}."]
    if scores is not None:
        lines.append(
            f"Trustworthiness {scores.trustworthiness:.3f} ({scores.n_neighbors} neighbours, "
            f"{scores.n_rows:,} samples)."
        )
        if scores.neighbor_accuracy is not None:
            lines.append(f"5 nearest on the map name the label: {scores.neighbor_accuracy:.3f}.")
    return lines


@dataclass(frozen=True)
class _Shown:
    """The contents of the outputs.

    ``colors`` are errors if there are any, otherwise labels, as parameters of plots. ``scaling`` is
    the model's, which knows black and white, or None if rows are no pictures.
    """

    points: "NDArray[np.float32]"
    rows: "Rows"
    labels: list[str] | None
    errors: "NDArray[np.floating] | None"
    colors: dict[str, Any]
    title: str
    lines: list[str]
    scaling: Any


def _write_picture(place: Path, shown: _Shown) -> None:
    from matplotlib.figure import Figure

    from narrows.plots import embedding

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    embedding(shown.points, **shown.colors, value_name=_ERROR, ax=axes)
    axes.set_title(shown.title, parse_math=False)
    axes.set_xlabel("\n".join(shown.lines))
    figure.savefig(place, format="png", dpi=150)


def _write_table(place: Path, shown: _Shown) -> None:
    import pyarrow as pa

    from narrows.data.tables import write_columns

    columns: dict[str, Any] = {
        "name": [as_text(name) for name in shown.rows.names],
        "x": shown.points[:, 0],
        "y": shown.points[:, 1],
    }
    optional = {"label": shown.labels, "error": shown.errors}
    columns |= {name: values for name, values in optional.items() if values is not None}
    write_columns(place, pa.table(columns))


def _write_page(place: Path, shown: _Shown) -> None:
    import numpy as np

    from narrows.evaluation import map_page

    values = shown.rows.values
    shows = shown.scaling is not None and isinstance(values, np.ndarray)
    if shows and shown.rows.scaled:
        values = shown.scaling.to_pixels(values)
    shows = shows and values.dtype == "uint8"
    page = map_page(
        shown.points,
        title=shown.title,
        summary=" ".join(shown.lines),
        **shown.colors,
        value=_ERROR,
        names=shown.rows.names if shown.rows.pictures or is_windows(shown.rows) else None,
        pictures=values if shows else None,
    )
    place.write_text(page, "utf-8")


_WRITERS: dict[str, Callable[[Path, _Shown], None]] = {
    ".png": _write_picture,
    **dict.fromkeys(_TABLES, _write_table),
    ".html": _write_page,
}
