"""Users' columns in a file of their own, brought into the order of the pictures."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from narrows.data.options import DEFAULTS, FileOptions
from narrows.data.tables import TABLE_SUFFIXES, is_table, read_columns
from narrows.errors import DataError, ParameterError
from narrows.library.given import GivenFiles, GivenRows

KEYS = ("path", "file", "file_name", "filename")
"""Columns that may say which file a row is of; the first of these that there is does."""


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
    key = next((name for name in KEYS if name in table.column_names), None)
    if key is None:
        raise DataError(
            f"'{path}' has the columns {', '.join(table.column_names)}, and none of "
            f"{', '.join(KEYS)} that would say which picture a row is of; name one so"
        )
    names = table.column(key).cast(pa.string()).to_pylist()
    rows = _rows_by_file(path, names, _Files(given.paths, folder))
    if missing := [place for place in range(len(given)) if place not in rows]:
        raise DataError(
            f"'{path}' has no row for {len(missing)} of the {len(given)} pictures, the first of "
            f"them '{given.paths[missing[0]]}'; add rows for them, or leave them out"
        )
    return table.drop_columns([key]).take([rows[place] for place in range(len(given))])


class _Files:
    """Files by whatever they may be called."""

    def __init__(self, paths: list[Path], folder: Path | None) -> None:
        self.paths = paths
        self._full: dict[Path, int] = {}
        for place, path in enumerate(paths):
            names = {path, path.absolute()} | ({path.relative_to(folder)} if folder else set())
            self._full |= dict.fromkeys(names, place)
        self._count = Counter(path.name for path in paths)
        self._short = {path.name: place for place, path in enumerate(paths)}

    def find(self, name: str) -> int | None:
        """Return the place of a file among all, None if there is none of this name."""
        if (place := self._full.get(Path(name))) is not None:
            return place
        return self._short[name] if self._count[name] == 1 else None

    def share(self, name: str) -> list[Path]:
        """Return the files that have this name where there are several."""
        return [path for path in self.paths if path.name == name]


def _rows_by_file(table: Path, names: list[str | None], files: _Files) -> dict[int, int]:
    """Return the row of each file that has one, by its place."""
    rows: dict[int, int] = {}
    for row, name in enumerate(names):
        where = f"row {row}, counted from 0, of '{table}'"
        if name is None:
            raise DataError(f"{where} names no file; name one, or remove the row")
        place = files.find(name)
        if place is None and (same := files.share(name)):
            raise DataError(
                f"{where} names '{name}', as '{same[0]}' and '{same[1]}' are called; "
                "give their paths in the folder"
            )
        if place is None:
            raise DataError(
                f"{where} names '{name}', which is none of the {len(files.paths)} pictures; "
                "correct it, or remove the row"
            )
        if place in rows:
            raise DataError(
                f"rows {rows[place]} and {row}, counted from 0, of '{table}' are both of "
                f"'{files.paths[place]}'; keep one of them"
            )
        rows[place] = row
    return rows
