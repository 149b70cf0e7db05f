"""What samples are, as users say it: by a file, or by the folders that pictures lie in."""

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from narrows.cli.console import PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from narrows.data.files import Rows

_COLUMN = "label"


def labels_option(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """Give a verb its ``--labels``."""
    return click.option(
        "--labels",
        type=PATH,
        metavar="FILE",
        help="A CSV file with one label a line below a heading, or with a column called label, in "
        "the data's order, or with a column path, file, file_name or filename that names each row; "
        "or an IDX file. By default pictures' folders.",
    )(function)


def read_labels(path: Path | None, rows: "Rows") -> list[str]:
    """Tell what each row is.

    Raises
    ------
    DataError
        If there is not one label for each, or nothing that says it; if a column names the rows, and
        one has no label, or several.
    """
    from narrows.data.idx import is_idx, read_idx
    from narrows.errors import DataError

    if path is None:
        return folders_of(rows)
    if path.is_file() and is_idx(path):
        values = read_idx(path)
        labels = [str(value) for value in values] if values.ndim == 1 else []
    else:
        labels = _column(path, rows)
    if len(labels) != len(rows.names):
        raise DataError(
            f"'{path}' has {len(labels)} labels for {len(rows.names)} rows; give one for each, "
            "below a heading"
        )
    return labels


def labels_of(path: Path | None, rows: "Rows") -> list[str] | None:
    """Tell what each row is, where a file or several folders say it; None where nothing does."""
    return read_labels(path, rows) if path is not None or lie_in_folders(rows) else None


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


def read_lines(path: Path) -> list[list[str]]:
    """Read the lines of a CSV file as text, the heading first.

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there are none, or they are not equally long.
    """
    import csv

    from narrows.data.contents import what_it_is
    from narrows.errors import MissingFileError, UnreadableFileError

    if (instead := what_it_is(path)) is not None:
        raise UnreadableFileError(f"'{path}' is no readable CSV file: {instead}; give another")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except FileNotFoundError as error:
        raise MissingFileError(f"'{path}' does not exist; give a CSV file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFileError(f"'{path}' is no readable CSV file: {error}") from error
    return lines


def check_width(path: Path, lines: list[list[str]], width: int) -> None:
    """Refuse lines below a heading that are not of one width."""
    from narrows.errors import UnreadableFileError

    for number, line in enumerate(lines):
        if len(line) != width:
            raise UnreadableFileError(
                f"'{path}' has {len(line)} values in row {number}, counted from 0 below the "
                f"heading, where {width} belong"
            )


def _column(path: Path, rows: "Rows") -> list[str]:
    """Return the labels in a CSV file, in the rows' order."""
    from narrows.data.names import RowNames, key_column

    heading, *lines = read_lines(path) or [[]]
    key = None if isinstance(rows.names, RowNames) else key_column(heading)
    if _COLUMN in heading:
        column, width = heading.index(_COLUMN), len(heading)
    elif key is not None and len(heading) == 2:
        column, width = 1 - heading.index(key), 2
    else:
        column, width, key = 0, 1, None
    check_width(path, lines, width)
    if key is None:
        return [line[column] for line in lines]
    place = heading.index(key)
    return _by_name(path, [(line[place], line[column]) for line in lines], rows)


def _by_name(path: Path, labels: list[tuple[str, str]], rows: "Rows") -> list[str]:
    """Bring labels into the rows' order, by the rows' names; lines of other rows are passed over.

    Raises
    ------
    DataError
        If a row has no label, or several, or a name may mean several rows.
    """
    from narrows.data.names import NameIndex
    from narrows.errors import DataError

    index = NameIndex([[name] for name in rows.names])
    found: dict[int, str] = {}
    for name, label in labels:
        row = index.find(name)
        if row is None:
            if len(same := index.alike(name)) > 1:
                one, other = (rows.names[place] for place in same[:2])
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
    missing = [name for row, name in enumerate(rows.names) if row not in found]
    if missing:
        raise DataError(
            f"'{path}' has no label for {len(missing)} of the {len(rows.names)} rows, the first of "
            f"them '{missing[0]}'; add lines for them"
        )
    return [found[row] for row in range(len(rows.names))]
