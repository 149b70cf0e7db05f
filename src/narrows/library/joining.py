"""Users' columns in a file of their own, brought into the order of the pictures."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from narrows.data.formats import DEFAULTS, TABLE_SUFFIXES, FileOptions, is_table
from narrows.data.names import KEYS, NameIndex, key_column
from narrows.data.tables import read_columns
from narrows.errors import DataError, ParameterError
from narrows.library.given import GivenFiles, GivenRows


def read_metadata(
    path: Path,
    given: GivenFiles | GivenRows,
    folder: Path | None,
    options: FileOptions = DEFAULTS,
) -> Any:
    """Read a table of metadata, a row for each picture, in the order of the pictures.

    Parameters
    ----------
    path : Path
        A file ending in .csv, .tsv or .parquet.
    given : GivenFiles or GivenRows
        The pictures.
    folder : Path or None
        The folder that was given, if one was.
    options : FileOptions
        How to read a text table that does not say it itself.

    Returns
    -------
    pyarrow.Table
        Without the column that names the files. For rows of data, the table as it is.

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there is no table there.
    DataError
        If a picture has no row or several, or a row no picture, or more than one.
    """
    if not is_table(path):
        raise ParameterError(
            f"metadata='{path}' is no table; name a file ending in "
            f"{', '.join(sorted(TABLE_SUFFIXES))}"
        )
    table = read_columns(path, options.only_for(path))
    if isinstance(given, GivenRows):
        return table
    key = key_column(table.column_names)
    if key is None:
        raise DataError(
            f"'{path}' has the columns {', '.join(table.column_names)}, and none of "
            f"{', '.join(KEYS)} that would say which picture a row is of; name one so"
        )
    names = table.column(key).cast(pa.string()).to_pylist()
    rows = _rows_by_file(path, names, [Path(str(one)) for one in given.paths], folder)
    if missing := [place for place in range(len(given)) if place not in rows]:
        raise DataError(
            f"'{path}' has no row for {len(missing)} of the {len(given)} pictures, the first of "
            f"them '{given.paths[missing[0]]}'; add rows for them, or leave them out"
        )
    return table.drop_columns([key]).take([rows[place] for place in range(len(given))])


def _names_of(path: Path, folder: Path | None) -> set[str]:
    """Return what a file may be called: as it was given, in full, or in the folder given."""
    inside = {path.relative_to(folder).as_posix()} if folder else set()
    return {str(path), str(path.absolute())} | inside


def _rows_by_file(
    table: Path, names: list[str | None], files: list[Path], folder: Path | None
) -> dict[int, int]:
    """Return the row of each file that has one, by its place."""
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
