"""Text tables to Arrow's, by Arrow's reader; how they are written is found out before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import compute
from pyarrow import csv as arrow_csv

from narrows.data.dialect import COMMENTS, Dialect, find_dialect, split_blanks
from narrows.data.formulas import unguarded, unguarded_column
from narrows.data.headings import Heading, find_heading, shown
from narrows.data.marks import Marks
from narrows.data.memory import check_fits
from narrows.data.options import WHITESPACE, FileOptions
from narrows.data.text_files import LONGEST_ROW, TextFile, explained, open_text, unreadable
from narrows.errors import DataError, UnreadableFileError, warn

_PART = "\x1f"  # separates values that blanks separated, and is in no text


@dataclass(frozen=True)
class TextTable:
    """A text table as it was read.

    Attributes
    ----------
    path : Path
    table : pyarrow.Table
        Columns of the kind that all their values are of, called "0", "1" and so on.
    names : list of str
        What they are called in the file, or x0, x1, x2 and so on.
    marks : Marks
        Of its numbers; those with marks between thousands are still texts.
    doubt : str or None
        What a number may mean by its marks, where nothing proves it.
    is_named : bool
        Whether the first line of the file was taken for the names.
    texts : callable
        Reads some columns, by their places, once more as the texts that they are in the file.
    """

    path: Path
    table: Any
    names: list[str]
    marks: Marks
    doubt: str | None
    is_named: bool
    texts: Callable[[Sequence[int]], Any]


def read_text_table(
    path: Path,
    options: FileOptions,
    *,
    known: Sequence[str] | None = None,
    kind: Literal["numbers", "columns", "texts"] = "columns",
) -> TextTable:
    """Read a text table, and say what of it was found out.

    Parameters
    ----------
    path : Path
    options : FileOptions
    known : sequence of str or None
        The columns' names that a model knows.
    kind : {"numbers", "columns", "texts"}
        What is wanted: numbers alone; columns of whatever kinds; or all columns as the texts that
        they are, below names in the first line.

    Raises
    ------
    UnreadableFileError
        If it is no text table, its rows are not equally long, or its encoding cannot be told and
        matters for more than names.
    DataError
        If it has no rows, or more than the memory holds.

    Warns
    -----
    NarrowsWarning
        "format_found" says what of it is not usual, "header_guessed" what the first line was
        taken for, "decimal_guessed" that points, and "delimiter_guessed" that commas may be marks
        of numbers.
    """
    with explained(path):
        file = open_text(path, options.encoding)
        dialect = find_dialect(file, options)
    dialect = replace(dialect, first=[unguarded(name) for name in dialect.first])
    if file.doubt is not None and kind != "numbers":
        raise unreadable(path, f"{file.doubt}; say its encoding, such as cp1252 (--encoding)")
    header = options.header
    if kind == "texts" and header is None:
        header = True
    heading = find_heading(path, dialect, header, known)
    if not dialect.first or (heading.is_named and not dialect.below and file.whole):
        raise empty(path)
    _check_room(file, dialect)
    read = partial(_read, file, dialect, heading, options)
    texts = partial(read, as_texts=True)
    table = texts(range(dialect.width)) if kind == "texts" else read(range(dialect.width))
    if dialect.trailing:
        table = _without_last(path, table)
    if dialect.width == 1 and table.column(0).null_count:
        table = table.slice(0, _without_ends(texts([0]).column(0)))
    if table.num_rows == 0:
        raise empty(path)
    _tell(file, dialect, heading, [] if kind == "texts" else dialect.told_of_numbers)
    if kind != "texts" and not dialect.is_proven and dialect.marks.decimal == ".":
        _tell_points(path, table, texts)
    return TextTable(
        path, table, heading.names, dialect.marks, dialect.doubt, heading.is_named, texts
    )


def empty(path: Path) -> DataError:
    """Make the error of a table without rows."""
    why = "" if path.stat().st_size else ": it is empty (0 bytes)"
    return DataError(f"'{path}' holds no rows{why}; give a table with at least one")


def _read(
    file: TextFile,
    dialect: Dialect,
    heading: Heading,
    options: FileOptions,
    places: Sequence[int],
    *,
    as_texts: bool = False,
) -> Any:
    width = dialect.width + dialect.trailing
    skipped = dialect.before + dialect.taken * heading.is_named
    names = [str(place) for place in range(width)]
    change = _change(dialect, options, skipped)
    ragged: list[arrow_csv.InvalidRow] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    kept = [*map(str, places), *names[dialect.width :]]
    convert: dict[str, Any] = {"strings_can_be_null": True}
    if as_texts:
        # An empty line is null, a quoted text of no letters is not.
        types = dict.fromkeys(kept, pa.string())
        convert |= {
            "column_types": types, "null_values": [""], "quoted_strings_can_be_null": False
        }  # fmt: skip
    parse = arrow_csv.ParseOptions(
        delimiter=_PART if dialect.delimiter == WHITESPACE else dialect.delimiter,
        invalid_row_handler=keep,
        # An empty line of a single column is a value that is missing.
        ignore_empty_lines=width > 1,
        newlines_in_values=dialect.has_long_values,
    )
    with explained(file.path), file.open(change) as source:
        try:
            table = arrow_csv.read_csv(
                source,
                read_options=arrow_csv.ReadOptions(
                    use_threads=False,  # only one thread counts the rows; it takes hardly longer
                    block_size=LONGEST_ROW,
                    column_names=names,
                    skip_rows=0 if change else skipped,
                ),
                parse_options=parse,
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=kept, decimal_point=dialect.marks.decimal, **convert
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                raise empty(file.path) from error
            if not ragged:
                raise
            raise _uneven(file.path, ragged[0], 0 if change else skipped, options) from error
    for column in table.columns:
        if pa.types.is_binary(column.type):  # what is in no text
            remedy = "say its encoding, such as cp1252" if not options.encoding else "give another"
            raise unreadable(file.path, f"it is not in UTF-8; {remedy} (--encoding)")
    # As Narrows has written what a spreadsheet would compute.
    return pa.table(list(map(unguarded_column, table.columns)), names=table.column_names)


def _change(
    dialect: Dialect, options: FileOptions, skipped: int
) -> Callable[[Iterator[str]], Iterator[str]] | None:
    """Make what Arrow does not do with lines: leave out comments, split at whitespace."""
    by_blanks, comment = dialect.delimiter == WHITESPACE, options.comment
    if not by_blanks and comment is None:
        return None

    def change(lines: Iterator[str]) -> Iterator[str]:
        lines = islice(lines, skipped if comment is None else dialect.before, None)
        if comment is not None:
            lines = (line for line in lines if not line.startswith(comment))
            lines = islice(lines, skipped - dialect.before, None)
        if by_blanks:
            return (f"{_PART.join(map(_quoted, split_blanks(line)))}\n" for line in lines)
        return lines

    return change


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if '"' in text else text


def _check_room(file: TextFile, dialect: Dialect) -> None:
    """Refuse a file whose values memory would not hold, before they are read."""
    if file.whole or file.compression is not None:  # which is counted while it is unpacked
        return
    n_lines = max(1, file.head.count("\n"), file.head.count("\r"))
    n_rows = file.path.stat().st_size * n_lines / len(file.head.encode(file.encoding))
    check_fits(
        int(n_rows * dialect.width * np.dtype(np.float64).itemsize),
        f"'{file.path}' with some {n_rows:.3g} rows",
        "save the table as .npy, of which only what is used is read",
        DataError,
    )


def _without_last(path: Path, table: Any) -> Any:
    """Leave out the column that the delimiter at the end of each line makes."""
    last = table.column(table.num_columns - 1)
    if last.null_count < len(last):
        row = last.is_null().index(False).as_py()
        raise unreadable(
            path,
            f"its first lines end with a delimiter, and row {row}, counted from 0, has a value "
            "behind it; give each line as many values",
        )
    return table.remove_column(table.num_columns - 1)


def _without_ends(texts: Any) -> int:
    """Count the rows of a single column up to the empty lines at its end."""
    count = len(texts)
    for chunk in reversed(texts.chunks):
        filled = np.flatnonzero(~chunk.is_null().to_numpy(zero_copy_only=False))
        count -= len(chunk) - (int(filled[-1]) + 1 if len(filled) else 0)
        if len(filled):
            break
    return count


def _uneven(path: Path, row: Any, skipped: int, options: FileOptions) -> UnreadableFileError:
    number = row.number - skipped - 1
    have = f"its row {number}, counted from 0, has {row.actual_columns} values where "
    have += f"{row.expected_columns} are expected"
    if row.text.lstrip('"').startswith(COMMENTS):
        sign = row.text.lstrip('"')[0]
        return unreadable(path, f"{have}; if it is a comment: --comment '{sign}'")
    other = ", or give the delimiter (--delimiter)" if options.delimiter is None else ""
    return unreadable(path, f"{have}; repair it{other}")


def _tell(file: TextFile, dialect: Dialect, heading: Heading, more: list[str]) -> None:
    told = [*dialect.told, *more]
    if file.doubt is not None:
        told.append(f"in {file.encoding}, as {file.doubt}")
    elif file.found:
        told.append(f"in {file.encoding}")
    if told:
        warn(
            f"'{file.path}' was read {', '.join(told)}; --delimiter, --decimal, --thousands and "
            "--encoding override this (in Python: FileOptions)",
            kind="format_found",
            stacklevel=4,
            path=str(file.path),
            delimiter=dialect.delimiter,
            decimal=dialect.marks.decimal,
            thousands=dialect.marks.thousands,
            encoding=file.encoding,
        )
    if not heading.is_named:
        _tell_commas(file.path, dialect)
    if heading.guess is None:
        return
    what, other = "data, though", "if it holds the column names: --header, header=True"
    if heading.is_named:
        what, other = "column names, as", "if it is data: --no-header, header=False"
    warn(
        f"the first line of '{file.path}' ({shown(dialect.first)}) was taken for {what} "
        f"{heading.guess}; {other}",
        kind="header_guessed",
        stacklevel=4,
        path=str(file.path),
        header=heading.is_named,
    )


def _tell_commas(path: Path, dialect: Dialect) -> None:
    """Say so if commas that were taken for delimiters might be marks of numbers."""
    for line, other in (
        (dialect.joined, "each is one number, say so (--decimal , or --thousands ,)"),
        (
            dialect.paired,
            f"they are {dialect.width // 2} numbers with decimal commas, save them with decimal "
            "points or another delimiter",
        ),
    ):
        if line is not None:
            warn(
                f"the lines of '{path}', such as {line[:60]}, were read as {dialect.width} values "
                f"separated by commas; if {other}",
                kind="delimiter_guessed",
                stacklevel=5,
                path=str(path),
                example=line[:60],
            )


def _tell_points(path: Path, table: Any, texts: Callable[[Sequence[int]], Any]) -> None:
    """Say so if all points in a table might be thousands separators."""
    places = [n for n, column in enumerate(table.columns) if pa.types.is_floating(column.type)]
    doubtful = None
    for column in texts(places).columns if places else ():
        trimmed = compute.utf8_trim_whitespace(column)
        pointed = trimmed.filter(compute.match_substring_regex(trimmed, "[.eE]"))
        grouped = compute.match_substring_regex(pointed, r"^[+-]?[1-9]\d{0,2}\.\d{3}$")
        if not compute.all(grouped, min_count=0).as_py():
            return
        if len(pointed):
            doubtful = pointed[0].as_py()
    if doubtful is not None:
        warn(
            f"the points in '{path}' were read as decimal points, as in {doubtful!r}, though all "
            "of them might be thousands separators; say which (--decimal . or --thousands .)",
            kind="decimal_guessed",
            stacklevel=4,
            path=str(path),
            example=doubtful,
        )
