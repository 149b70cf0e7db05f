"""What samples are, as users say it: by a file, or by the folders that pictures lie in."""

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import PATH
from narrows.containment import is_file, is_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from narrows.data.files import Rows
    from narrows.data.formats import FileOptions

_COLUMN = "label"


def labels_option(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Give a verb its ``--labels``."""
    return click.option(
        "--labels",
        type=PATH,
        metavar="FILE",
        help="A table (.csv, .tsv, .txt, .parquet, or a folder of the last) with one column below "
        "a heading, or one called label, in the data's order, or with a column path, file, "
        "file_name or filename that names each row; or an IDX file. By default pictures' folders.",
    )(function)


def read_labels(path: Path | None, rows: "Rows", files: "FileOptions") -> list[str]:
    """Tell what each row is.

    Raises
    ------
    DataError
        If there is not one label for each, or nothing that says it; if a column names the rows, and
        one has no label, or several.
    """
    from narrows.data.array_files import is_idx, read_idx
    from narrows.errors import DataError

    if path is None:
        return folders_of(rows)
    if is_file(path) and is_idx(path):
        values = read_idx(path)
        labels = [str(value) for value in values] if values.ndim == 1 else []
    else:
        labels = _column(path, rows, files)
    if len(labels) != len(rows.names):
        raise DataError(
            f"'{path}' has {len(labels)} labels for {len(rows.names)} rows; give one for each, "
            "below a heading"
        )
    return labels


def labels_of(path: Path | None, rows: "Rows", files: "FileOptions") -> list[str] | None:
    """Tell what each row is, where a file or several folders say it; None where nothing does."""
    return read_labels(path, rows, files) if path is not None or lie_in_folders(rows) else None


def lie_in_folders(rows: "Rows") -> bool:
    """Tell whether pictures lie in several folders."""
    return rows.pictures and len({str(PurePath(name).parent) for name in rows.names}) > 1


def folders_of(rows: "Rows") -> list[str]:
    """Return the folder that each picture lies in.

    Raises
    ------
    DataError
        If they lie in none, or all in one.
    """
    from narrows.errors import DataError

    if not rows.pictures:
        raise DataError("these rows lie in no folders; say what they are (--labels, --pairs)")
    folders = [str(PurePath(name).parent) for name in rows.names]
    if len(set(folders)) == 1:
        raise DataError(
            "these pictures lie in one folder, which does not say what belongs together; sort "
            "them into several, or say it (--labels, --pairs)"
        )
    return folders


def _column(path: Path, rows: "Rows", files: "FileOptions") -> list[str]:
    """Return the labels in a table, in the rows' order."""
    from narrows.data.names import RowNames, key_column
    from narrows.errors import DataError

    heading, lines = _read(path, files)
    key = None if isinstance(rows.names, RowNames) else key_column(heading)
    if _COLUMN in heading:
        column = heading.index(_COLUMN)
    elif key is not None and len(heading) == 2:
        column = 1 - heading.index(key)
    elif len(heading) > 1:
        raise DataError(
            f"'{path}' has the columns {', '.join(heading[:8])}, and none is called {_COLUMN}; "
            "rename the one to use, or give it alone"
        )
    else:
        column, key = 0, None
    if key is not None:
        place = heading.index(key)
        return _by_name(path, [(line[place], line[column]) for line in lines], rows)
    labels = [line[column] for line in lines]
    if "" in labels:
        raise DataError(
            f"'{path}' has no label in row {labels.index('')}, counted from 0 below the heading "
            f"({labels.count('')} in all); give one for each row"
        )
    return labels


def _read(path: Path, files: "FileOptions") -> tuple[list[str], list[list[str]]]:
    """Read a table as texts: of Parquet files only the columns that labels may be in."""
    from narrows.data.names import KEYS
    from narrows.data.parquet import find_parts
    from narrows.data.tables import read_columns, read_texts
    from narrows.errors import DataError

    if is_folder(path):
        heading: list[str] = []
        lines: list[list[str]] = []
        for part in find_parts(path)[0].files:
            names, more = _read(part, files)
            if lines and names != heading:
                raise DataError(
                    f"'{part}' has the columns {', '.join(names[:8])} and the files before it "
                    f"{', '.join(heading[:8])}; give files of the same columns"
                )
            heading = names
            lines += more
        return heading, lines
    if path.suffix.lower() != ".parquet":
        return read_texts(path, files)
    table = read_columns(path, only=(_COLUMN, *KEYS))
    columns = [
        ["" if value is None else str(value) for value in column.to_pylist()]
        for column in table.columns
    ]
    return table.column_names, [list(row) for row in zip(*columns, strict=True)]


def _by_name(path: Path, labels: list[tuple[str, str]], rows: "Rows") -> list[str]:
    """Bring labels into the rows' order, by the rows' names; lines of other rows are passed over.

    Raises
    ------
    DataError
        If a row has no label, or several, or a name may mean several rows.
    """
    from narrows.data.names import NameIndex
    from narrows.errors import DataError
    from narrows.texts import as_text

    index = NameIndex([[name] for name in rows.names])
    found: dict[int, str] = {}
    for name, label in labels:
        row = index.find(name)
        if row is None:
            if len(same := index.alike(name)) > 1:
                one, other = (as_text(rows.names[place]) for place in same[:2])
                raise DataError(
                    f"'{path}' names '{name}', as '{one}' and '{other}' are called; give their "
                    "paths in the folder, letter by letter"
                )
            continue
        if found.setdefault(row, label) != label:
            raise DataError(
                f"'{path}' has the labels '{found[row]}' and '{label}' for '{rows.names[row]}'; "
                "keep one of them"
            )
    missing = [name for row, name in enumerate(rows.names) if not found.get(row)]
    if missing:
        raise DataError(
            f"'{path}' has no label for {len(missing)} of the {len(rows.names)} rows, the first of "
            f"them '{as_text(missing[0])}'; add lines for them"
        )
    return [found[row] for row in range(len(rows.names))]
