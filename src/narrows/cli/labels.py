"""What samples are, as users say it: by a file, or by the folders that pictures lie in."""

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from narrows.data.files import Rows
    from narrows.data.options import FileOptions

_COLUMN = "label"


def labels_option(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Give a verb its ``--labels``."""
    return click.option(
        "--labels",
        type=PATH,
        metavar="FILE",
        help="A table (.csv, .tsv, .txt, .parquet, or a folder of the last) with one column below "
        "a heading, or one called label, in the data's order; or an IDX file. By default pictures' "
        "folders.",
    )(function)


def read_labels(path: Path | None, rows: "Rows", files: "FileOptions") -> list[str]:
    """Tell what each row is.

    Raises
    ------
    DataError
        If there is not one label for each, or nothing that says it.
    """
    from narrows.data.idx import is_idx, read_idx
    from narrows.data.partitions import find_parts
    from narrows.errors import DataError

    if path is None:
        return folders_of(rows)
    if path.is_file() and is_idx(path):
        values = read_idx(path)
        labels = [str(value) for value in values] if values.ndim == 1 else []
    elif path.is_dir():
        labels = [label for part in find_parts(path)[0] for label in _column(part, files)]
    else:
        labels = _column(path, files)
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


def _column(path: Path, files: "FileOptions") -> list[str]:
    from narrows.data.tables import read_columns, read_texts
    from narrows.errors import DataError

    if path.suffix.lower() == ".parquet":
        table = read_columns(path, only=_COLUMN)
        heading = table.column_names
        lines = None
    else:
        heading, lines = read_texts(path, files)
    if _COLUMN not in heading and len(heading) > 1:
        raise DataError(
            f"'{path}' has the columns {', '.join(heading[:8])}, and none is called {_COLUMN}; "
            "rename the one to use, or give it alone"
        )
    place = heading.index(_COLUMN) if _COLUMN in heading else 0
    values = table.column(place).to_pylist() if lines is None else [line[place] for line in lines]
    labels = ["" if value is None else str(value) for value in values]
    if "" in labels:
        raise DataError(
            f"'{path}' has no label in row {labels.index('')}, counted from 0 below the heading "
            f"({labels.count('')} in all); give one for each row"
        )
    return labels
