"""Users' columns of a library: read from a table, and turned into the types that libraries hold.

They come in memory, or in a table file whose rows are brought into the order of the pictures.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from narrows.data.formats import TABLE_SUFFIXES, FileOptions, is_table
from narrows.data.names import KEYS, NameIndex, key_column
from narrows.data.tables import read_columns
from narrows.errors import DataError, ParameterError
from narrows.library.conditions import OWN_COLUMNS
from narrows.library.inputs import InputFiles, InputRows
from narrows.texts import is_text

# Users' texts and numbers are kept in one type each, so that later additions fit earlier ones.
_WIDEST = (
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_signed_integer, pa.int64()),
    (pa.types.is_unsigned_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (is_text, pa.string()),
    (pa.types.is_date, pa.date32()),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is None, pa.timestamp("us")),
    (pa.types.is_timestamp, pa.timestamp("us", "UTC")),
)


def read_metadata(
    path: Path,
    given: InputFiles | InputRows,
    folder: Path | None,
    options: FileOptions,
) -> Any:
    """Read a table of metadata, a row for each picture, in the order of the pictures.

    Parameters
    ----------
    path : Path
        A file ending in .csv, .tsv or .parquet.
    given : InputFiles or InputRows
        The pictures.
    folder : Path or None
        The folder that was given, if one was.
    options : FileOptions
        How to read a text table that does not tell it itself.

    Returns
    -------
    pyarrow.Table
        The columns without the one that names the files. For rows of data, the table as it is.

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there is no table.
    DataError
        If a picture has no row or several, or a row no picture, or more than one.
    """
    if not is_table(path):
        raise ParameterError(
            f"metadata='{path}' is no table; name a file ending in "
            f"{', '.join(sorted(TABLE_SUFFIXES))}"
        )
    table = read_columns(path, options.only_for(path))
    if isinstance(given, InputRows):
        return table
    key = key_column(table.column_names)
    if key is None:
        raise DataError(
            f"'{path}' has the columns {', '.join(table.column_names)}, and none of "
            f"{', '.join(KEYS)} that would say which picture a row is of; name one so"
        )
    names = table.column(key).cast(pa.string()).to_pylist()
    rows = _rows_by_file(path, names, [Path(str(path)) for path in given.paths], folder)
    if missing := [place for place in range(len(given)) if place not in rows]:
        raise DataError(
            f"'{path}' has no row for {len(missing)} of the {len(given)} pictures, the first of "
            f"them '{given.paths[missing[0]]}'; add rows for them, or leave them out"
        )
    return table.drop_columns([key]).take([rows[place] for place in range(len(given))])


def _rows_by_file(
    table: Path, names: list[str | None], files: list[Path], folder: Path | None
) -> dict[int, int]:
    """Return the row of each file that has one, by the file's place."""
    rows: dict[int, int] = {}
    index = NameIndex([_names_of(path, folder) for path in files])
    for row, name in enumerate(names):
        where = f"row {row}, counted from 0, of '{table}'"
        if name is None:
            raise DataError(f"{where} names no file; name one, or remove the row")
        place = index.find(name)
        if place is None and len(same := index.alike(name)) > 1:
            raise DataError(
                f"{where} names '{name}', as '{files[same[0]]}' and '{files[same[1]]}' are called; "
                "give their paths in the folder, letter by letter"
            )
        if place is None:
            raise DataError(
                f"{where} names '{name}', which is none of the {len(files)} pictures; "
                "correct it, or remove the row"
            )
        if place in rows:
            raise DataError(
                f"rows {rows[place]} and {row}, counted from 0, of '{table}' are both of "
                f"'{files[place]}'; keep one of them"
            )
        rows[place] = row
    return rows


def _names_of(path: Path, folder: Path | None) -> set[str]:
    """Return the names of a file: as it was given, in full, and in the folder given."""
    inside = {path.relative_to(folder).as_posix()} if folder else set()
    return {str(path), str(path.absolute())} | inside


def as_metadata(given: Any, count: int) -> Any:
    """Turn a user's columns into an Arrow table of the types that libraries hold.

    Parameters
    ----------
    given : DataFrame, pyarrow.Table, or mapping of str to sequence
        The columns.
    count : int
        The number of pictures, for each of which there must be a row.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    ParameterError
        If these are no columns, have other names than may be, or not as many rows as pictures.
    DataError
        If a column holds anything but numbers, texts, truth values, dates or times.
    """
    try:
        table = pa.table(dict(given) if isinstance(given, Mapping) else given)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ParameterError(
            f"metadata is a {type(given).__name__} that makes no columns "
            f"({' '.join(str(error).split())[:200]}); give a DataFrame or a dictionary of lists"
        ) from error
    # pandas keeps its row labels in such a column.
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    if taken := [name for name in names if name in OWN_COLUMNS or not name]:
        raise ParameterError(
            f"metadata has a column {taken[0]!r}, and a library's own columns are "
            f"{', '.join(OWN_COLUMNS)}; rename it",
            parameter="metadata",
            column=taken[0],
        )
    if unfit := [name for name in names if {".", "`"} & set(name) or name.startswith("_row")]:
        raise ParameterError(
            f"metadata has a column {unfit[0]!r}; names with a point or a backtick in them, or "
            "beginning with '_row', have a meaning of their own to the table; rename it",
            parameter="metadata",
            column=unfit[0],
        )
    if unfit := [name for name in names if "\0" in name]:
        raise ParameterError(
            f"metadata has a column {unfit[0]!r} with a NUL in it; rename it",
            parameter="metadata",
            column=unfit[0],
        )
    if len(set(names)) < len(names) or not names:
        raise ParameterError(f"metadata has the columns {names}; give at least one, each once")
    if len(table) != count:
        raise ParameterError(
            f"metadata has {len(table)} rows for {count} pictures; give one row for each"
        )
    columns = {name: _widen(name, table.column(name).combine_chunks()) for name in names}
    return pa.table(columns)


def _widen(name: str, column: Any) -> Any:
    """Convert a user's column to the widest type of its kind."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_null(kind):
        return column
    for belongs, widest in _WIDEST:
        if belongs(kind):
            try:
                return column.cast(widest, safe=not pa.types.is_timestamp(kind))
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"metadata column {name!r} holds a value beyond {widest} ({error}); convert it",
                    column=name,
                ) from error
    raise DataError(
        f"metadata column {name!r} holds {kind}; give numbers, texts, truth values, dates or times",
        column=name,
    )
