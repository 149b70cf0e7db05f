"""Tables of columns of any kind: training, codes and back, and ``narrows impute``."""

import math
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from narrows.cli import options
from narrows.cli.console import answer, note, progress, training
from narrows.errors import DataError, warn
from narrows.texts import counted, listed

if TYPE_CHECKING:
    from narrows import TableAutoencoder
    from narrows.data.column_encoder import ColumnEncoder
    from narrows.data.files import Rows
    from narrows.data.formats import FileOptions
    from narrows.data.frames import Frame

T = TypeVar("T")
_SHOWN = 4

NONE_SKIPPED = SimpleNamespace(skipped=[])
"""The report of reading a table with categories, dates or gaps, of which no row is skipped."""


def column_parameters(
    columns: str | None, drop: str | None, categorical: str | None
) -> dict[str, Any]:
    """Return the parameters of a table model, from the options of the command line.

    Raises
    ------
    ParameterError
        If an option that was given names no column.
    """
    from narrows.errors import ParameterError

    given = {"columns": columns, "drop": drop, "categorical": categorical}
    names = {option: options.names_of(value or "") for option, value in given.items()}
    for option, value in given.items():
        if value is not None and not names[option]:
            raise ParameterError(
                f"--{option} {value!r} names no column; give names with commas between"
            )
    return {**names, "columns": None if columns is None else names["columns"]}


def read_table(path: Path, reading: "FileOptions", known: Iterable[str] | None = None) -> "Frame":
    """Read a table from a file, and show the progress.

    Raises
    ------
    DataError
        If it is no table.
    """
    from narrows.data.frames import read_file

    with progress("reading"):
        return read_file(path, reading, None if known is None else list(known))


def read_learnable(read: Callable[[], T], path: Path, reading: "FileOptions") -> "T | Frame":
    """Read rows of numbers, or a table with categories, dates, gaps or codes.

    Parameters
    ----------
    read : callable
        Reads rows of numbers.
    path : Path
    reading : FileOptions

    Returns
    -------
    object
        What ``read`` returns, or a Frame if it refuses the file, or it would lose the leading zeros
        of codes.

    Raises
    ------
    NarrowsError
        That of ``read``, if the file is no table, or texts stand in columns of numbers; otherwise
        what is wrong with the table.

    Warns
    -----
    NarrowsWarning
        "codes_found" if columns look like numbers, and are read as texts or dates.
    """
    from narrows.data.codes import CodesAsNumbers
    from narrows.data.formats import is_table
    from narrows.errors import UnreadableFileError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CodesAsNumbers)
            return read()
    except CodesAsNumbers as found:
        frame = read_table(path, reading)
        columns: dict[str, str] = found.facts["columns"]
        named = listed((f"{name!r} ({what})" for name, what in columns.items()), _SHOWN)
        warn(
            f"columns of '{path}' are read as they are written, and not as numbers: {named}; "
            "if they are numbers, write them with a decimal point (1067.0)",
            kind="codes_found",
            path=str(path),
            columns=columns,
        )
        return frame
    except DataError as error:
        if isinstance(error, UnreadableFileError) or not is_table(path) or path.is_dir():
            raise
        return _read_refused(path, reading, error)


def _read_refused(path: Path, reading: "FileOptions", error: DataError) -> "Frame":
    """Read a table that the reader of numbers has refused, since it has texts or gaps."""
    from narrows.data.column_encoder import ColumnEncoder
    from narrows.data.columns import DEFECT

    frame = read_table(path, reading)
    # The reader of numbers describes infinite numbers, and texts among numbers, better.
    try:
        columns = ColumnEncoder.find(frame)
    except DataError:
        raise error from None
    if any(column.why.startswith(DEFECT) for column in columns):
        raise error
    return frame


def note_kinds(encoder: "ColumnEncoder") -> dict[str, Any]:
    """Print in one line which kinds of columns were found, and return them for the answer."""
    note(f"found {encoder.summary()}")
    return {"columns": encoder.as_json()}


def load_with_reader(path: Path, method: str) -> "tuple[Any, Callable[..., Rows]]":
    """Load a model, and return it with what reads data for it.

    Of a model of a table with categories, dates or gaps, it is the model of encoded rows.
    """
    from narrows.cli.exchange import load_for, read_for

    model = load_for(path, method, tables=True)
    if hasattr(model, "column_encoder_"):
        return model.model_, partial(_read_encoded, model)
    return model, partial(read_for, model)


def _read_encoded(
    model: "TableAutoencoder", path: Path, reading: dict[str, Any], **_of_pictures: Any
) -> "Rows":
    """Read a table as rows for the network of a table model."""
    import numpy as np

    from narrows.data.files import Rows
    from narrows.data.names import RowNames

    frame = read_table(path, reading["options"], model.column_encoder_.named)
    encoded = model.encode_columns(frame)
    return Rows(np.asarray(encoded), RowNames(range(len(encoded))), encoded.column_names)


def write_table(to: Path, table: Any, model: "TableAutoencoder", *, overwrite: bool) -> None:
    """Write a table that a table model returned."""
    from narrows.atomic import atomic_file
    from narrows.data.frames import write_frame

    numbers = {column.name for column in model.columns_ if column.kind == "number"}
    has_commas = any(column.decimal == "," for column in model.columns_)
    with atomic_file(to, overwrite=overwrite) as place:
        write_frame(place, table, numbers, has_commas=has_commas)


def check_table_output(to: Path, *, overwrite: bool) -> None:
    """Refuse an output to which no table can be written.

    Raises
    ------
    ParameterError, OutputExistsError, OutputError
        Before any work is done.
    """
    from narrows.atomic import check_output
    from narrows.data.formats import TABLE_SUFFIXES
    from narrows.errors import ParameterError

    if to.suffix.lower() not in TABLE_SUFFIXES:
        raise ParameterError(
            f"-o '{to}' takes no table with texts or dates; name a file ending in "
            f"{', '.join(sorted(TABLE_SUFFIXES))}"
        )
    check_output(to, overwrite=overwrite, kind="file")


def decode_table(
    model: "TableAutoencoder", codes: Path, to: Path, reading: dict[str, Any], *, overwrite: bool
) -> None:
    """Turn codes of a table back into a table."""
    from narrows.data.files import read

    check_table_output(to, overwrite=overwrite)
    decoded = model.inverse_transform(read(codes, **reading).values, as_arrow=True)
    write_table(to, decoded, model, overwrite=overwrite)
    record = {"output": to, "rows": len(decoded), "columns": decoded.column_names}
    answer(record, f"{counted(len(decoded), 'row')} decoded in {to}")


def sample_table(
    model: "TableAutoencoder", count: int, to: Path, random_state: int, *, overwrite: bool
) -> Any:
    """Draw rows from a table's model of a density, write them, and return them."""
    check_table_output(to, overwrite=overwrite)
    drawn = model.sample(count, random_state, as_arrow=True)
    write_table(to, drawn, model, overwrite=overwrite)
    return drawn


def restore_table(
    model: "TableAutoencoder",
    data: Path,
    to: Path,
    reading: dict[str, Any],
    *,
    fill_only: bool,
    overwrite: bool,
    more: dict[str, Any] | None = None,
) -> None:
    """Restore a table, or fill its gaps alone, and answer."""
    check_table_output(to, overwrite=overwrite)
    frame = read_table(data, reading["options"], model.column_encoder_.named).as_arrow()
    write_table(to, model.reconstruct(frame, fill_only=fill_only), model, overwrite=overwrite)
    measure = _measure_filled if fill_only else _measure_restored
    figures, line = measure(model, frame, to)
    answer({"output": to, "rows": len(frame), **(more or {}), **figures}, line)


def _measure_restored(
    model: "TableAutoencoder", frame: "Frame", to: Path
) -> tuple[dict[str, Any], str]:
    """Return the errors of restored columns for the answer, and a line."""
    errors = model.column_errors(frame)
    known = [error for error in errors.values() if not math.isnan(error)]
    share = sum(known) / max(1, len(known))
    figures = {"error_of_variance": share, "errors": errors}
    rows = counted(len(frame), "row")
    return figures, f"{rows} restored in {to}; {share:.3g} of the columns' variance is lost"


def _measure_filled(
    model: "TableAutoencoder", frame: "Frame", to: Path
) -> tuple[dict[str, Any], str]:
    """Return how many gaps were filled, and how well, for the answer, and a line."""
    gaps, left = (
        {name: count for name, count in counts.items() if count}
        for counts in model.column_encoder_.count_gaps(frame)
    )
    relative = model.imputation_errors()
    line = f"{counted(sum(gaps.values()), 'gap')} of {counted(len(gaps), 'column')} filled in {to}"
    if shares := [relative[name] for name in gaps if name in relative]:
        mean = sum(shares) / len(shares)
        line += f"; on cells hidden in training, {mean:.2f} of the squared error of means and modes"
    return {"filled": gaps, "left": left, "errors_of_mean": relative}, line


@options.verb("impute")
@click.argument("paths", type=options.PATH, metavar="[MODEL] DATA", nargs=-1, required=True)
@options.to("The table with its gaps filled: .csv, .tsv or .parquet.")
@options.table_columns
@click.option(
    "--columns",
    multiple=True,
    callback=options.joined,
    metavar="NAME,...",
    help="Learn from these columns.  [default: all]",
)
@options.random_state
@options.files
def impute(
    *,
    paths: tuple[Path, ...],
    to: Path,
    columns: str | None,
    drop: str | None,
    categorical: str | None,
    random_state: int,
    reading: dict[str, Any],
    overwrite: bool,
) -> None:
    """Fill the gaps of a table; all other cells stay as they are.

    Gaps are empty cells, NA, NaN, null and "?". MODEL is a model of a table (narrows train);
    without one, a model is trained on DATA itself. Each column is filled from the others as far as
    it depends on them, and otherwise by its mean or most frequent value; how far is measured on
    cells that are hidden on purpose. With MODEL, it equals "narrows reconstruct --fill-only".
    """
    from narrows import Autoencoder, TableAutoencoder
    from narrows.cli.exchange import load_for
    from narrows.errors import FormatError, ParameterError

    if len(paths) > 2:
        raise ParameterError(f"{len(paths)} paths were given; give MODEL and DATA, or DATA alone")
    check_table_output(to, overwrite=overwrite)
    data, asked = paths[-1], column_parameters(columns, drop, categorical)
    if len(paths) == 2:
        if columns is not None or drop or categorical:
            raise ParameterError(
                "--columns, --drop and --categorical are for training, and MODEL is trained; leave "
                "them out, or leave MODEL out"
            )
        model = load_for(paths[0], "transform", tables=True)
        if not isinstance(model, TableAutoencoder):
            raise FormatError(
                f"'{paths[0]}' learned from numbers without gaps, and fills none; leave MODEL out, "
                "or train one on a table with gaps (narrows train)"
            )
        restore_table(model, data, to, reading, fill_only=True, overwrite=overwrite)
        return
    frame = read_table(data, reading["options"])
    inner = Autoencoder(hidden_layer_sizes=(), activation="identity")
    model = TableAutoencoder(inner, random_state=random_state, **asked)
    with training():
        model.fit(frame)
    more = note_kinds(model.column_encoder_)
    restore_table(model, data, to, reading, fill_only=True, overwrite=overwrite, more=more)
