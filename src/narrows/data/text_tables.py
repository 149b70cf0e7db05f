"""Read text tables by Arrow, once their dialect and header have been detected.

A first line with texts is a header, and one with a word for a missing value is data. Numbers may be
either: names such as years, wavelengths or 0, 1, 2 look like data. They are taken for names if they
are unlike the rows below, and a warning tells of each guess.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import compute
from pyarrow import csv as arrow_csv

from narrows.containment import check_fits
from narrows.data.dialect import (
    COMMENTS,
    Dialect,
    Marks,
    find_dialect,
    is_missing,
    split_blanks,
    split_lines,
)
from narrows.data.formats import WHITESPACE, FileOptions
from narrows.data.lazy_rows import strided
from narrows.data.text_files import LONGEST_ROW, TextFile, explained, open_text, unreadable
from narrows.errors import DataError, UnreadableFileError, warn
from narrows.texts import FORMULA, PLAIN_NUMBER, guarded, is_text, unguarded

_COMPARED_COLUMNS, _COMPARED_ROWS = 100, 100  # columns and rows that are compared
_FEW = 3  # values of a column that represent the others
_FAR = 10  # ranges of a column between its values and names without order
_SHOWN = 60  # characters of a line in messages
_YEARS = "are like years"
_LOOSE = ("rise", "fall")  # orders in which rows of data often are
_TEXTS = frozenset(":=")  # characters of sentences, but not of names
_PART = "\x1f"  # replaces blanks between values; no text has it


@dataclass(frozen=True)
class Heading:
    """The first line of a table.

    Attributes
    ----------
    names : list of str
        Names of the columns: those in the line, or x0, x1, x2 and so on.
    is_named : bool
        Whether the line is a header.
    guess : str or None
        Why it is a header, or what speaks against data, if that is uncertain.
    """

    names: list[str]
    is_named: bool
    guess: str | None = None


def find_heading(
    path: Path,
    dialect: Dialect,
    header: bool | None = None,
    known: Sequence[str] | None = None,
) -> Heading:
    """Return whether the first line of a table is a header.

    Parameters
    ----------
    path : Path
        Path of the table, for messages.
    dialect : Dialect
        Dialect and first lines of the table.
    header : bool or None
        Whether it is one, if a user says so.
    known : sequence of str or None
        Names of the columns that a model was trained on.

    Returns
    -------
    Heading

    Raises
    ------
    UnreadableFileError
        If the header has fewer or more names than there are columns.
    """
    first, width = dialect.first, dialect.width
    unnamed = [f"x{place}" for place in range(width)]
    known = None if known is None else list(known)
    if header is None:
        heading = _find(dialect, known, unnamed)
    elif header:
        heading = Heading(first, is_named=True)
    else:
        # Without a header, columns are in the model's order.
        heading = Heading(known if known and len(known) == width else unnamed, is_named=False)
    if heading.is_named and len(heading.names) != width:
        raise _wrong_names(path, len(first), dialect)
    return heading


def shown(first: Sequence[str]) -> str:
    """Format a line of values for messages."""
    line = ", ".join(text if len(text) <= 20 else f"{text[:17]}..." for text in first[:8])
    whole = len(first) <= 8 and len(line) <= _SHOWN
    return line if whole else f"{line[:_SHOWN]}, ... ({len(first)} values)"


def _find(dialect: Dialect, known: list[str] | None, unnamed: list[str]) -> Heading:
    first = dialect.first
    if known is not None and first and _are_known(first, known):
        return Heading(first, is_named=True)
    kinds = [_kind(text, dialect) for text in first]
    if "number" not in kinds and "missing" not in kinds:
        return Heading(first, is_named=True)
    if "text" in kinds and "number" not in kinds:
        # Words for missing values may be names, such as NA for sodium.
        return Heading(first, is_named=True)
    commented = _commented(dialect)
    if "number" in kinds and known == unnamed and "text" not in kinds:
        return Heading(unnamed, is_named=False, guess=_compare(dialect, kinds)[1])
    if "number" not in kinds:
        return Heading(commented or unnamed, is_named=False)
    is_named, guess = _compare(dialect, kinds)
    return Heading(first if is_named else commented or unnamed, is_named, guess)


def _are_known(first: list[str], known: list[str]) -> bool:
    """Return whether a line holds the names of a model's columns, in any order."""
    same = len(set(first) & set(known))
    return first == known or 2 * same > max(len(set(first)), len(set(known)))


def _kind(text: str, dialect: Dialect) -> str:
    if is_missing(text):
        return "missing"
    return "text" if dialect.marks.value(text) is None else "number"


def _commented(dialect: Dialect) -> list[str] | None:
    """Return the names in the last comment before a table, if it has them."""
    line = dialect.comment.strip().lstrip("".join(COMMENTS)).strip()
    names = [name.strip() for name in next(iter(split_lines([line], dialect.delimiter)), [])]
    are_names = len(names) > 1 and all(_kind(name, dialect) == "text" for name in names)
    if len(names) != dialect.width or not are_names or _TEXTS & set(line):
        return None
    return names


def _compare(dialect: Dialect, kinds: list[str]) -> tuple[bool, str | None]:
    """Compare the numbers of the first line with the rows below.

    Returns
    -------
    is_named : bool
        Whether they are names.
    guess : str or None
        See :class:`Heading`.
    """
    first = dialect.first
    places = [place for place, kind in enumerate(kinds) if kind == "number"]
    above = [place for place, kind in enumerate(kinds) if kind == "text"]
    columns = [_Column.of(dialect, place) for place in strided(places, _COMPARED_COLUMNS)]
    if len({first[place].strip() for place in places}) < len(places):
        return False, None  # columns have different names
    if not any(column.values for column in columns):
        is_named = bool(above) or any(column.below for column in columns)
        return is_named, "its numbers stand above texts" if is_named and not above else None
    numbers = [dialect.marks.value(first[place]) or 0.0 for place in places]
    found = _order(numbers, dialect, places)
    unlike = sum(column.is_unlike for column in columns) / len(columns)
    # A text above numbers is a name or a defect; one above texts may also be data.
    has_name = any(
        _Column.of(dialect, place).is_numeric for place in strided(above, _COMPARED_COLUMNS)
    )
    far = sum(column.is_far for column in columns) / len(columns)
    whole = all(column.text.isdigit() for column in columns)
    is_far = whole and far >= 0.5 and unlike == 1
    counts = numbers == list(range(len(numbers))) and len(numbers) > 1 and found is not None
    is_between = len(numbers) <= 3 and all(column.holds_first for column in columns)
    years = found == _YEARS and len(numbers) > 2 and _is_even(numbers)
    # So many numbers are hardly in order by chance.
    enough = years or (found is not None and len(numbers) >= (8 if found in _LOOSE else 5))
    ordered = found == _YEARS or (found is not None and found not in _LOOSE and len(numbers) > 3)
    rules = (
        (dialect.quoted, True, "its values are quoted, and none below it"),
        (
            found is not None and unlike >= (0.9 if found in _LOOSE else 0.5),
            True,
            f"its numbers {found}, unlike the rows below",
        ),
        (has_name and unlike == 1, True, "its numbers are unlike the rows below"),
        (len(numbers) > 2 and is_far, True, "its numbers are far from those in the rows below"),
        (enough, True, f"its numbers {found}, and the rows below do not"),
        (bool(above), False, "it holds texts too"),
        (
            len(numbers) == 1 and columns[0].is_default,
            True,
            "0 is what pandas calls a column without a name",
        ),
        (counts, not is_between, "pandas calls columns without names so"),
        (ordered, False, f"its numbers {found}"),
        (unlike == 1, False, "its numbers are unlike the rows below"),
    )
    return next(((is_named, why) for holds, is_named, why in rules if holds), (False, None))


def _order(numbers: list[float], dialect: Dialect, places: list[int]) -> str | None:
    """Describe the order of numbers, if the rows below are in no such order."""
    steps = [after - before for before, after in pairwise(numbers)]
    if not all(map(isfinite, steps)):
        return None
    is_even = len(steps) > 1 and _is_even(numbers)
    whole = all(number.is_integer() for number in numbers)
    if whole and len(set(numbers)) == len(numbers) and all(1500 <= n <= 2200 for n in numbers):
        found = _YEARS
    elif whole and set(steps) == {1} and numbers[0] in (0, 1):
        found = "count up"
    elif is_even:
        found = "rise evenly" if steps[0] > 0 else "fall evenly"
    elif len(steps) > 2 and (min(steps) > 0 or max(steps) < 0):
        found = "rise" if steps[0] > 0 else "fall"
    else:
        return None
    # Rows of sliding windows, or of sorted values, are in order as well.
    alike = rows = 0
    for row in dialect.below[:_COMPARED_ROWS]:
        values = [dialect.marks.value(row[place]) if place < len(row) else None for place in places]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            own = [after - before for before, after in pairwise(known)]
            ordered = bool(own) and (min(own) > 0 or max(own) < 0)
            same = sorted(known) == sorted(numbers)  # as in rankings
            alike += same or (ordered if found in _LOOSE else ordered and _is_even(known))
            rows += 1
    often = 0.1 if len(numbers) > 2 else 1.1  # two numbers are always in order
    return None if rows and alike >= often * rows else found


def _is_even(numbers: list[float]) -> bool:
    steps = [after - before for before, after in pairwise(numbers)]
    mean = sum(steps) / len(steps)
    return mean != 0 and all(abs(step - mean) <= 0.01 * abs(mean) for step in steps)


@dataclass(frozen=True)
class _Column:
    """A number of the first line, and the values below it."""

    text: str
    first: float
    below: list[str]
    values: list[float]

    @classmethod
    def of(cls, dialect: Dialect, place: int) -> "_Column":
        below = [row[place].strip() for row in dialect.below[:_COMPARED_ROWS] if place < len(row)]
        known = [text for text in below if not is_missing(text)]
        values = [value for text in known if (value := dialect.marks.value(text)) is not None]
        text = dialect.first[place].strip()
        return cls(text, dialect.marks.value(text) or 0.0, known, values)

    @property
    def is_numeric(self) -> bool:
        """Whether there are numbers below, and no texts."""
        return bool(self.values) and len(self.values) == len(self.below)

    @property
    def _span(self) -> tuple[float, float, float]:
        low, high = min(self.values), max(self.values)
        return low, high, max(high - low, abs(low), abs(high))

    @property
    def is_unlike(self) -> bool:
        """Whether the number is outside the range below, or is whole where no number below is."""
        if len(self.values) < _FEW:
            return self.is_far
        low, high, span = self._span
        return not low - span <= self.first <= high + span or self._is_written_otherwise

    @property
    def is_far(self) -> bool:
        """Whether the number is far outside the range below."""
        if not self.values:
            return False
        low, high, span = self._span
        return not low - _FAR * span <= self.first <= high + _FAR * span

    @property
    def is_default(self) -> bool:
        """Whether the number is 0, and all below have decimals."""
        return self.text == "0" and self._is_written_otherwise

    @property
    def holds_first(self) -> bool:
        """Whether the number is within the range below."""
        return bool(self.values) and min(self.values) <= self.first <= max(self.values)

    @property
    def _is_written_otherwise(self) -> bool:
        texts = self.below
        is_whole = self.text.lstrip("+-").isdigit()
        return is_whole and len(texts) >= _FEW and not any(t.lstrip("+-").isdigit() for t in texts)


def _wrong_names(path: Path, count: int, dialect: Dialect) -> UnreadableFileError:
    have = f"its first line has {count} name{'s' * (count != 1)}, the lines below it have "
    have += f"{dialect.width} values"
    ask = "" if dialect.is_given else "give the delimiter (--delimiter), or "
    if count == dialect.width - 1:
        how = "--decimal" if dialect.is_given else "--delimiter, --decimal"
        return unreadable(
            path,
            have,
            "leave row names out (R: row.names=FALSE) or name their column, leave out a "
            f"title (--skip-lines), or say how values are written ({how})",
        )
    return unreadable(path, have, f"{ask}leave lines out (--skip-lines)")


@dataclass(frozen=True)
class TextTable:
    """A text table that was read.

    Attributes
    ----------
    path : Path
    table : pyarrow.Table
        Columns of the type of all their values, named "0", "1" and so on.
    names : list of str
        Names of the columns in the file, or x0, x1, x2 and so on.
    marks : Marks
        Marks of its numbers; numbers with thousands separators are still texts.
    doubt : str or None
        Two meanings of a number, if nothing proves one of them.
    is_named : bool
        Whether the first line is a header.
    texts : callable
        Takes numbers of columns, and reads these once more as texts.
    open_file : callable
        Opens the file as UTF-8.
    """

    path: Path
    table: Any
    names: list[str]
    marks: Marks
    doubt: str | None
    is_named: bool
    texts: Callable[[Sequence[int]], Any]
    open_file: Callable[[], Any]


def read_text_table(
    path: Path,
    options: FileOptions,
    *,
    known: Sequence[str] | None = None,
    kind: Literal["numbers", "columns", "texts"] = "columns",
) -> TextTable:
    """Read a text table, and warn of what was detected.

    Parameters
    ----------
    path : Path
    options : FileOptions
    known : sequence of str or None
        Names of the columns that a model was trained on.
    kind : {"numbers", "columns", "texts"}
        Whether to read numbers only, columns of any types, or all columns as texts below a header.

    Raises
    ------
    UnreadableFileError
        If it is no text table, its rows are not equally long, or its encoding cannot be detected
        and matters for more than names.
    DataError
        If it has no rows, or does not fit into memory.

    Warns
    -----
    NarrowsWarning
        "format_found" if its dialect is unusual, "header_guessed" if the first line is ambiguous,
        "decimal_guessed" if points, and "delimiter_guessed" if commas may be marks of numbers.
    """
    with explained(path):
        file = open_text(path, options.encoding)
        dialect = find_dialect(file, options)
    dialect = replace(dialect, first=[unguarded(name) for name in dialect.first])
    if file.doubt is not None and kind != "numbers":
        raise unreadable(path, file.doubt, "say its encoding, such as cp1252 (--encoding)")
    header = options.header
    if kind == "texts" and header is None:
        header = True
    heading = find_heading(path, dialect, header, known)
    if not dialect.first or (heading.is_named and not dialect.below and file.whole):
        raise empty(path)
    _check_room(file, dialect)
    read = partial(_read_table, file, dialect, heading, options)
    table = read(range(dialect.width), as_texts=kind == "texts")
    if dialect.trailing:
        table = _without_last(path, table)

    def texts(places: Sequence[int]) -> Any:
        return read(places, as_texts=True).select(range(len(places)))

    if dialect.width == 1 and table.column(0).null_count:
        table = table.slice(0, _without_ends(texts([0]).column(0)))
    if table.num_rows == 0:
        raise empty(path)
    _warn_of_dialect(file, dialect, heading, [] if kind == "texts" else dialect.number_remarks)
    if kind != "texts" and not dialect.is_proven and dialect.marks.decimal == ".":
        _warn_of_points(path, table, texts)
    return TextTable(
        path, table, heading.names, dialect.marks, dialect.doubt, heading.is_named, texts, file.open
    )


def empty(path: Path) -> DataError:
    """Make the error for a table without rows."""
    why = "" if path.stat().st_size else ": it is empty (0 bytes)"
    return DataError(f"'{path}' holds no rows{why}; give a table with at least one", path=path)


def _read_table(
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
        # An empty line is null, a quoted empty text is not.
        types = dict.fromkeys(kept, pa.string())
        convert |= {
            "column_types": types, "null_values": [""], "quoted_strings_can_be_null": False
        }  # fmt: skip
    parse = arrow_csv.ParseOptions(
        delimiter=_PART if dialect.delimiter == WHITESPACE else dialect.delimiter,
        invalid_row_handler=keep,
        # In a single column, an empty line is a missing value.
        ignore_empty_lines=width > 1,
        newlines_in_values=dialect.has_long_values,
    )
    with explained(file.path), file.open(change) as source:
        try:
            table = arrow_csv.read_csv(
                source,
                read_options=arrow_csv.ReadOptions(
                    use_threads=False,  # threads count no rows, and are hardly faster
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
        if pa.types.is_binary(column.type):  # bytes that are not UTF-8
            remedy = "say its encoding, such as cp1252" if not options.encoding else "give another"
            raise unreadable(file.path, "it is not in UTF-8", f"{remedy} (--encoding)")
    # Narrows writes an apostrophe before texts that spreadsheets would compute.
    return pa.table(list(map(unguarded_column, table.columns)), names=table.column_names)


def _change(
    dialect: Dialect, options: FileOptions, skipped: int
) -> Callable[[Iterator[str]], Iterator[str]] | None:
    """Make the change of lines that Arrow lacks: without comments, split at whitespace."""
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
    """Refuse a file whose values do not fit into memory, before it is read."""
    if (
        file.whole or file.compression is not None
    ):  # compressed files are checked while they are unpacked
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
    """Remove the empty column of trailing delimiters."""
    last = table.column(table.num_columns - 1)
    if last.null_count < len(last):
        row = last.is_null().index(False).as_py()
        raise unreadable(
            path,
            f"its first lines end with a delimiter, and row {row}, counted from 0, has a value "
            "behind it",
            "give each line as many values",
        )
    return table.remove_column(table.num_columns - 1)


def _without_ends(texts: Any) -> int:
    """Count the rows of a single column without the empty lines at its end."""
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
        return unreadable(path, have, f"if it is a comment: --comment '{sign}'")
    other = ", or give the delimiter (--delimiter)" if options.delimiter is None else ""
    return unreadable(path, have, f"repair it{other}")


def _warn_of_dialect(file: TextFile, dialect: Dialect, heading: Heading, more: list[str]) -> None:
    remarks = [*dialect.remarks, *more]
    if file.doubt is not None:
        remarks.append(f"in {file.encoding}, as {file.doubt}")
    elif file.found:
        remarks.append(f"in {file.encoding}")
    if remarks:
        warn(
            f"'{file.path}' was read {', '.join(remarks)}; --delimiter, --decimal, --thousands and "
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
        _warn_of_commas(file.path, dialect)
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


def _warn_of_commas(path: Path, dialect: Dialect) -> None:
    """Warn if commas that were taken for delimiters may be marks of numbers."""
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


def _warn_of_points(path: Path, table: Any, texts: Callable[[Sequence[int]], Any]) -> None:
    """Warn if all points in a table may be thousands separators."""
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


def guarded_table(table: Any) -> Any:
    """Apply :func:`narrows.texts.guarded` to the names of columns, and the texts in them."""
    columns = [_guarded_column(column) for column in table.columns]
    return pa.table(columns, names=[guarded(name) for name in table.column_names])


def unguarded_column(column: Any) -> Any:
    """Undo :func:`guarded_table` in a column of texts; return other columns as they are."""
    if not is_text(column):
        return column
    is_guarded = compute.and_(_are_formulas(column), compute.starts_with(column, "'"))
    return compute.if_else(
        compute.fill_null(is_guarded, False), compute.utf8_slice_codeunits(column, 1), column
    )


def _guarded_column(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not is_text(column):
        return column
    if pa.types.is_string_view(column.type):  # which Arrow compares with nothing
        column = column.cast(pa.large_string())
    quote = pa.scalar("'", column.type)
    with_quote = compute.binary_join_element_wise(quote, column, pa.scalar("", column.type))
    return compute.if_else(compute.fill_null(_are_formulas(column), False), with_quote, column)


def _are_formulas(column: Any) -> Any:
    return compute.and_not(
        compute.match_substring_regex(column, FORMULA),
        compute.match_substring_regex(column, PLAIN_NUMBER),
    )
