"""``narrows anomalies``: which rows are unlike the others, and why."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from narrows.cli import options
from narrows.cli.console import answered, note, progress, table
from narrows.cli.exchange import (
    is_signal,
    options_by_file,
    read_for,
    read_rows,
    read_windows,
    reading_record,
    refuse_signal,
    refuse_signal_options,
)
from narrows.cli.tables import NONE_SKIPPED, column_parameters, read_learnable, read_table
from narrows.texts import counted, listed

if TYPE_CHECKING:
    from narrows import AnomalyDetector
    from narrows.data.files import Rows
    from narrows.evaluation import Anomalies

_SUFFIXES = (".csv", ".json", ".html")
_SHOWN = 20  # rows on the terminal


@options.verb("anomalies")
@click.argument("source", type=options.PATH, metavar="DATA|MODEL")
@click.argument("data", type=options.PATH, metavar="[NEW]", required=False)
@click.option(
    "-o",
    "--to",
    type=options.PATH,
    help="Write all rows into a file: .csv, .json, or .html to look at.",
)
@options.overwrite
@click.option("--save", type=options.PATH, metavar="MODEL", help="Save the detector as well.")
@click.option(
    "--train",
    type=options.PATH,
    metavar="DATA",
    help="With an autoencoder for MODEL: normal rows, whose scores set the threshold.  "
    "[default: NEW itself]",
)
@click.option(
    "--false-alarms",
    type=float,
    default=0.05,
    show_default=True,
    help="The share of normal rows that is reported.",
)
@click.option(
    "--contamination",
    type=float,
    help="Report this share of DATA instead of --false-alarms.",
)
@click.option(
    "--window", type=int, help="Take DATA for a signal, and score windows of so many samples."
)
@options.signal
@options.table_columns
@options.random_state
@options.reading
def command(
    *,
    source: Path,
    data: Path | None,
    to: Path | None,
    overwrite: bool,
    save: Path | None,
    train: Path | None,
    window: int | None,
    signal: dict[str, Any],
    reading: dict[str, Any],
    drop: str | None,
    categorical: str | None,
    **parameters: Any,
) -> None:
    """List rows that are unlike the others, and say why.

    "narrows anomalies DATA" trains small networks on DATA, each on other rows, and scores each row
    by the networks that have not seen it. "narrows anomalies MODEL NEW" scores new rows by a
    detector ("narrows train DATA --for anomalies -o MODEL") or by any autoencoder, and tests
    whether they as a whole differ from the training rows.

    The score is the sum of the residual, the distance of the code and the distance to the nearest
    rows, each divided by its median over the training rows. "why" names the columns that contribute
    most. Rows without names are numbered from 0.
    """
    from narrows import AnomalyDetector
    from narrows.errors import ParameterError
    from narrows.evaluation import find_anomalies
    from narrows.storage import is_model

    asked = column_parameters(signal["columns"] if window is None else None, drop, categorical)
    _check_outputs(to, save, overwrite=overwrite)
    if data is None and is_model(source):
        raise ParameterError(
            f"'{source}' is a model; name the rows that it is to score as well "
            "(narrows anomalies MODEL NEW)"
        )
    if parameters["contamination"] is None:
        parameters["contamination"] = "auto"
    if data is None:
        if train is not None:
            raise ParameterError("--train goes with MODEL and NEW; leave it out, or name both")
        data = source
        read = read_training_rows(data, window, signal, reading, asked)
        detector, are_new = fit_detector(None, read.X, **parameters, **asked), False
    else:
        if window is not None:
            raise ParameterError(f"the windows are those of '{source}'; leave out --window")
        if drop or categorical:
            raise ParameterError(
                "--drop and --categorical are for training, and MODEL is trained; leave them out"
            )
        model = _load_model(source, train)
        own, of_train = options_by_file(reading, [data, train])
        read = _read_for_model(model, data, signal, own)
        detector, are_new = model, True
        if not isinstance(model, AnomalyDetector):
            normal = read if train is None else _read_for_model(model, train, signal, of_train)
            detector, are_new = fit_detector(model, normal.X, **parameters), train is not None
    names = getattr(read.found, "names", None)
    with progress("scoring"):
        result = find_anomalies(
            detector, read.X, names=names, are_new=are_new,
            title=f"Anomalies in {data.name}",
        )  # fmt: skip
    if save is not None:
        detector.save(save, overwrite=overwrite)
    if to is not None:
        _write(to, result, overwrite=overwrite)
    _print(
        result, {"output": to, "model": save, **result.as_json(), **reading_record(read.found)}, to
    )
    if (drift := result.drift_finding) is not None:
        note(f"{drift.text} {drift.remedy}".strip())


def _check_outputs(to: Path | None, save: Path | None, *, overwrite: bool) -> None:
    from narrows.atomic import check_output
    from narrows.errors import ParameterError
    from narrows.storage import check_destination

    if to is not None:
        check_output(to, overwrite=overwrite, kind="file")
        if to.suffix.lower() not in _SUFFIXES:
            raise ParameterError(f"'{to}' does not end in {', '.join(_SUFFIXES)}; name it so")
    if save is not None:
        check_destination(save, overwrite=overwrite)


@dataclass(frozen=True)
class Read:
    """Rows for a detector, and the result of reading, which names what was skipped."""

    X: Any
    found: Any


def read_training_rows(
    data: Path,
    window: int | None,
    signal: dict[str, Any],
    reading: dict[str, Any],
    asked: dict[str, Any],
) -> Read:
    """Read the rows or windows that a detector is trained on, and chooses columns of.

    Raises
    ------
    ParameterError
        If data are a signal and no window is given, or options of signals or of tables are given
        for other data.
    DataError
        If they cannot be learned from.
    """
    from narrows.data.files import Rows
    from narrows.data.formats import is_table
    from narrows.errors import ParameterError

    if named := [f"--{name}" for name, value in asked.items() if value]:
        if window is not None or not is_table(data):
            raise ParameterError(
                f"{listed(named)} is for tables, and '{data}' is "
                f"{'none' if window is None else 'read as a signal'}; leave it out"
            )
        return Read(read_table(data, reading["options"]), NONE_SKIPPED)
    if window is not None:
        return Read(*read_windows(data, window, signal, reading))
    refuse_signal(data, signal)
    rows = read_learnable(partial(read_rows, data, **reading), data, reading["options"])
    # A table with categories, dates, gaps or codes is read as a Frame.
    return Read(rows.for_model(), rows) if isinstance(rows, Rows) else Read(rows, NONE_SKIPPED)


def fit_detector(model: Any, X: Any, **parameters: Any) -> "AnomalyDetector":
    """Fit a detector, and show the progress."""
    from narrows import AnomalyDetector

    with progress("training"):
        return AnomalyDetector(model, **parameters).fit(X)


def _load_model(source: Path, train: Path | None) -> Any:
    """Load a detector or an autoencoder.

    Raises
    ------
    FormatError
        If it is neither.
    ParameterError
        If options were given that a detector has decided.
    """
    from narrows import AnomalyDetector, load
    from narrows.errors import FormatError, ParameterError

    model: Any = load(source)
    if not isinstance(model, AnomalyDetector):
        if hasattr(model, "column_encoder_"):
            raise FormatError(
                f"'{source}' is a model of a table with categories, dates or gaps; train a "
                "detector on that table (narrows train DATA --for anomalies)"
            )
        if not hasattr(model, "reconstruct"):
            raise FormatError(f"'{source}' is no whole autoencoder and no detector; give such")
        if train is None:
            note("the threshold comes from NEW itself; --train DATA takes it from other rows")
        return model
    if train is not None:
        raise ParameterError(f"--train is for autoencoders, and '{source}' is a detector")
    source_of = click.get_current_context().get_parameter_source
    for name in ("false_alarms", "contamination"):
        if source_of(name) is ParameterSource.COMMANDLINE:
            raise ParameterError(
                f"--{name.replace('_', '-')} was decided when '{source}' was trained; leave it "
                "out, and compare the p-values"
            )
    return model


def _read_for_model(
    model: Any, path: Path, signal: dict[str, Any], reading: dict[str, Any]
) -> Read:
    """Read rows, or the windows of a signal, for a detector or an autoencoder."""
    from narrows import AnomalyDetector
    from narrows.data.lazy_rows import stored

    is_detector = isinstance(model, AnomalyDetector)
    if is_signal(path, is_detector and model.kind_of_rows_ == "signals"):
        return Read(*read_windows(path, model.sample_shape_[0], signal, reading))
    refuse_signal_options(**signal, by="a detector of signals for MODEL")
    if is_detector and model.column_encoder_ is not None:
        frame = read_table(path, reading["options"], model.column_encoder_.named)
        return Read(frame, NONE_SKIPPED)
    if is_detector:
        rows = _read_for_detector(model, path, reading)
        return Read(rows.values if rows.pictures else rows.for_model(model), rows)
    rows = read_for(model, path, reading)
    return Read(stored(rows.for_model(model)), rows)


def _read_for_detector(detector: "AnomalyDetector", path: Path, reading: dict[str, Any]) -> "Rows":
    """Read rows of the shape and the type that a detector learned from."""
    from narrows.data.decoding import side_by_side
    from narrows.errors import DataError, warn
    from narrows.models.validation import check_columns

    rows = read_rows(
        path,
        sample_shape=detector.sample_shape_,
        of_pictures=detector.kind_of_rows_ == "pictures",
        known=getattr(detector, "feature_names_in_", None),
        resizing="asked",
        **reading,
    )
    if (resized := rows.resized) is not None:
        warn(
            f"'{path}': {resized.words()} brought to {side_by_side(resized.to)}, which the "
            "detector learned from; train a detector on pictures of one size for exact scores",
            kind="pictures_resized",
            **resized.as_json(),
        )
    check_columns(detector, rows, path)
    if rows.pictures and str(rows.values.dtype) != detector.data_type_:
        raise DataError(
            f"'{path}' has pictures of type {rows.values.dtype}, and the detector learned from "
            f"{detector.data_type_}; convert them to that"
        )
    return rows


def _print(result: "Anomalies", record: dict[str, Any], to: Path | None) -> None:
    """Print the rows with the highest scores, and a line about all of them."""
    if answered(record):
        return
    heading, *lines = result.table
    if to is None:
        shown = [
            [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in line]
            for line in lines[:_SHOWN]
        ]
        table(heading, shown)
    line = (
        f"{counted(record['anomalies'], result.noun)} of {record['rows']:,} above the threshold of "
        f"{record['threshold']:.4g}"
    )
    if result.are_numbered:
        line += " (rows are numbered from 0)"
    click.echo(f"{line}, in {to}" if to is not None else line)


def _write(to: Path, result: "Anomalies", *, overwrite: bool) -> None:
    import csv
    import json

    from narrows.atomic import atomic_file
    from narrows.texts import guarded

    with (
        atomic_file(to, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        match to.suffix.lower():
            case ".csv":
                safe = [
                    [guarded(cell) if isinstance(cell, str) else cell for cell in line]
                    for line in result.table
                ]
                csv.writer(file, lineterminator="\n").writerows(safe)
            case ".json":
                file.write(json.dumps(result.as_json(), indent=2, allow_nan=False) + "\n")
            case _:
                file.write(result.to_html())
