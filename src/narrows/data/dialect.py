"""How a text table is written: its delimiter, the marks of its numbers, and where it begins."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from narrows.data.formats import WHITESPACE, FileOptions, text_suffix
from narrows.data.text_files import TextFile, unreadable
from narrows.texts import counted

MISSING = frozenset(
    {"", "na", "nan", "-nan", "+nan", "n/a", "#n/a", "#na", "#n/a n/a", "<na>", "null", "none",
     "nil", "?", "-", "--", ".", "..", "...", "*", "n.a.", "nd", "n.d.", "missing", "unknown",
     r"\n", "#null!", "#value!", "#div/0!", "#ref!", "#num!", "#name?", "-1.#ind", "1.#ind",
     "-1.#qnan", "1.#qnan"}
)  # fmt: skip
"""Words for missing values, in lower case."""

# Blanks and apostrophes that separate thousands.
BLANKS = " \u00a0\u202f'\u2019"
_AROUND = "$€£¥₹₽₩₺₪฿%‰ \u00a0\u202f"  # signs around amounts of money and percentages
_LONGEST = 4096  # characters of a text that may be a number
_GROUPS = r"[+-]?[1-9]\d{0,2}"
_AMBIGUOUS = {mark: re.compile(rf"{_GROUPS}[{mark}]\d{{3}}") for mark in ".,"}
_DECIMAL = {
    mark: re.compile(rf"[+-]?(?:\d+[{mark}]\d*|[{mark}]\d+)(?:[eE][+-]?\d+)?") for mark in ".,"
}
_GROUPED = {
    mark: re.compile(rf"{_GROUPS}(?:(?:[{mark}]\d{{3}}){{2,}}|(?:[{mark}]\d{{3}})+([{other}]\d*))")
    for mark, other in (".,", ",.")
}
_BLANK = re.compile(rf"{_GROUPS}(?:([{BLANKS}])\d{{3}})+([.,]\d*)?")

DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes",
         WHITESPACE: "whitespace"}  # fmt: skip
"""Names of delimiters in messages."""

COMMENTS = ("#", "%")
"""First characters of comment lines before a table."""

_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_ROWS = 200  # rows that are examined
_VALUES = 50_000  # values of them that are examined
_MOST_BEFORE = 20  # lines before a table, such as a title
_GROUPED_LINE = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?", re.ASCII)
_PAIR = re.compile(rf"[+-]?\d+(?:[.{BLANKS}]\d{{3}})*,\d+", re.ASCII)
_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d*)", re.ASCII)
_EXCEL = re.compile(r'"?sep=([,;|:\t ~^])"?', re.IGNORECASE)


@dataclass(frozen=True)
class Marks:
    """The decimal mark and the thousands separator of numbers.

    Attributes
    ----------
    decimal : {".", ","}
    thousands : str or None
    """

    decimal: str = "."
    thousands: str | None = None

    @cached_property
    def pattern(self) -> str:
        """A regular expression for numbers, which takes linear time."""
        point, whole = f"[{self.decimal}]", r"\d+"
        if self.thousands is not None:
            whole = rf"(?:[1-9]\d{{0,2}}(?:[{self.removed}]\d{{3}})+|\d+)"
        return (
            rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"
            r"|[+-]?[iI][nN][fF](?:[iI][nN][iI][tT][yY])?"
        )

    @cached_property
    def removed(self) -> str:
        """The characters that are removed to read a number."""
        return BLANKS if self.thousands and self.thousands in BLANKS else self.thousands or ""

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.ASCII)

    def value(self, text: str) -> float | None:
        """Return the value of a number; None if the text is none."""
        text = text.strip()
        if self._compiled.fullmatch(text) is None:
            return None
        for sign in self.removed:
            text = text.replace(sign, "")
        return float(text.replace(self.decimal, "."))


_POINT, _COMMA = Marks(), Marks(",")


def is_missing(text: str) -> bool:
    """Return whether a text is a word for a missing value.

    Examples
    --------
    >>> [is_missing(text) for text in ("NA", " ", "#N/A", "Natrium", "0")]
    [True, True, True, False, False]
    """
    return len(text) < 20 and text.strip().lower() in MISSING


def looks_like_number(text: str) -> bool:
    """Return whether a text is a number with any marks.

    Examples
    --------
    >>> [looks_like_number(text) for text in ("1.5", "1,5", "1.000,5", "1 000", "1.2.3")]
    [True, True, True, True, False]
    """
    if _POINT.value(text) is not None:
        return True
    text = text.strip()
    if len(text) > _LONGEST:
        return False
    if _COMMA.value(text) is not None:
        return True
    patterns = (*_GROUPED.values(), _BLANK)
    return any(pattern.fullmatch(text) is not None for pattern in patterns)


class FoundMarks(NamedTuple):
    """The result of :func:`find_marks`.

    Attributes
    ----------
    marks : Marks
        The marks as far as the texts prove them; otherwise a decimal point and no thousands
        separator.
    doubt : str or None
        Two meanings of a number, if nothing proves one of them.
    is_proven : bool
        Whether a number proves that points are decimal marks, or that they are not.
    """

    marks: Marks
    doubt: str | None = None
    is_proven: bool = True


def find_marks(
    texts: Iterable[str], decimal: str | None = None, thousands: str | None = None
) -> FoundMarks:
    """Detect the marks of the numbers among some texts.

    Parameters
    ----------
    texts : iterable of str
    decimal, thousands : str or None
        Marks that are known already.

    Returns
    -------
    FoundMarks

    Examples
    --------
    >>> find_marks(["1,5", "1.000,25"]).marks
    Marks(decimal=',', thousands='.')
    >>> find_marks(["1,500"]).doubt
    "'1,500' may mean 1.500 or 1500"
    >>> find_marks(["1.500"]).is_proven
    False
    >>> find_marks(["1.500", "14,75 €"]).marks
    Marks(decimal=',', thousands='.')
    """
    if decimal is not None and thousands is not None:
        return FoundMarks(Marks(decimal, thousands))
    seen = _Evidence()
    for text in texts:
        if not text.isdigit() and len(text) < _LONGEST:
            number = text.strip()
            bare = number.strip(_AROUND)
            seen.look(bare, is_bare=bare == number)
    if decimal is None and thousands is not None and thousands in ".,":
        decimal = "," if thousands == "." else "."
    found = seen.marks(decimal)
    return found if thousands is None else FoundMarks(Marks(found.marks.decimal, thousands))


class _Evidence:
    """What numbers prove of their marks."""

    def __init__(self) -> None:
        self.decimal: set[str] = set()  # marks that can only be decimal marks
        self.grouped: set[str] = set()  # marks that can only be thousands separators
        self.ambiguous: dict[str, str] = {}  # marks that may be either, with a number
        self.blank: str | None = None  # a blank or an apostrophe that separates thousands

    def look(self, text: str, *, is_bare: bool) -> None:
        """Take another text into account; of amounts such as 5,50 € only what is not ambiguous."""
        for mark, other in (".,", ",."):
            if mark not in text:
                continue
            if _AMBIGUOUS[mark].fullmatch(text):
                if is_bare:
                    self.ambiguous.setdefault(mark, text)
            elif _DECIMAL[mark].fullmatch(text):
                self.decimal.add(mark)
            elif groups := _GROUPED[mark].fullmatch(text):
                self.grouped.add(mark)
                self.decimal |= {other} if groups[1] else set()
        if found := _BLANK.fullmatch(text):
            self.blank = found[1]
            self.decimal |= set(found[2][:1]) if found[2] else set()

    def marks(self, decimal: str | None) -> FoundMarks:
        """Return the marks that the texts prove."""
        both = self.grouped | self.ambiguous.keys()
        if decimal is not None:
            other = "," if decimal == "." else "."
            return FoundMarks(Marks(decimal, other if other in both else self.blank))
        for mark, other in (".,", ",."):
            proven = mark in self.decimal or other in self.grouped
            # No mark is both a decimal mark and a thousands separator.
            if proven and other not in self.decimal and mark not in self.grouped:
                return FoundMarks(Marks(mark, other if other in both else self.blank))
        if not self.decimal and not self.grouped and "," in self.ambiguous:
            number = self.ambiguous[","]
            pair = number.replace(",", "."), number.replace(",", "")
            return FoundMarks(Marks(), doubt=f"{number!r} may mean {pair[0]} or {pair[1]}")
        is_proven = bool(self.decimal or self.grouped)
        return FoundMarks(Marks(".", self.blank), is_proven=is_proven)


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    Attributes
    ----------
    delimiter : str
        One character, or WHITESPACE.
    marks : Marks
        Marks of its numbers.
    doubt : str or None
        Two meanings of a number, if nothing proves one of them.
    is_proven : bool
        Whether points are known to be decimal marks, or not.
    first : list of str
        Values of the first line of the table.
    below : list of list of str
        Values of some lines below it.
    width : int
        Number of values in a line below the first, or in the first if it is the only one.
    quoted : bool
        Whether the values of the first line are quoted, and no others.
    before : int
        Lines of the file before the table.
    taken : int
        Lines of the file that the first row of the table takes.
    has_long_values : bool
        Whether quoted values span several lines.
    trailing : bool
        Whether each line ends with a delimiter.
    joined : str or None
        A line that may be one number with commas, if all lines may be.
    paired : str or None
        A line in which each two values may be one number with a decimal comma, if all lines are so.
    comment : str
        The last comment before the table.
    is_given : bool
        Whether the delimiter was given, rather than detected.
    remarks : list of str
        What is unusual of the table, in words.
    number_remarks : list of str
        What is unusual of its numbers, in words.
    """

    delimiter: str
    marks: Marks
    doubt: str | None
    is_proven: bool
    first: list[str]
    below: list[list[str]]
    width: int
    quoted: bool
    before: int
    taken: int
    has_long_values: bool
    trailing: bool
    joined: str | None
    paired: str | None
    comment: str
    is_given: bool
    remarks: list[str]
    number_remarks: list[str]


def find_dialect(file: TextFile, options: FileOptions) -> Dialect:
    """Detect how a table is written from its first lines.

    Raises
    ------
    UnreadableFileError
        If the delimiter is ambiguous, or the first lines are not those of a table.
    """
    lines = io.StringIO(file.head, newline="").readlines()
    before, comments, sign = _before(lines, options)
    usual = sign or _USUAL.get(text_suffix(file.path))
    some = lines[before:]
    if options.comment is not None:
        some = [line for line in some if not line.startswith(options.comment)]
    split_at = partial(_Split.of, some, whole=file.whole)
    given = options.delimiter or sign
    if given is not None:
        split = split_at(given)
    else:
        signs = list(DELIMITER_NAMES)
        if options.decimal == "," and not any('"' in line for line in some):
            signs.remove(",")
        if options.thousands is not None and options.thousands in BLANKS:
            signs.remove(WHITESPACE)
        split = _choose(file.path, split_at, signs, usual, before)
    if split.failure:
        remedy = "give the delimiter (--delimiter)" if given is None else "repair it"
        raise unreadable(file.path, split.failure, remedy)
    remarks = []
    if split.delimiter != usual and options.delimiter is None and split.width > 1:
        remarks.append(f"as values separated by {DELIMITER_NAMES[split.delimiter]}")
    if sign is not None:
        remarks.append(
            f"as values separated by {DELIMITER_NAMES.get(sign, sign)}, as its line 'sep=' says"
        )
    if comments:
        remarks.append(f"without {len(comments)} comment line{'s' * (len(comments) > 1)} before it")
    if split.is_trailing:
        remarks.append("without the trailing delimiter of each line")
    found = find_marks(
        islice(chain.from_iterable(split.rows), _VALUES), options.decimal, options.thousands
    )
    number_remarks = []
    if options.decimal is None and found.marks.decimal == ",":
        number_remarks.append("with decimal commas")
    if options.thousands is None and found.marks.thousands is not None:
        number_remarks.append(f"with {found.marks.thousands!r} as thousands separator")
    width = split.width - split.is_trailing
    is_quoted = any('"' in line for line in some[: split.lines])
    # Values that commas separate need quotes only if they have commas.
    is_plain = split.delimiter == "," and not is_quoted
    return Dialect(
        delimiter=split.delimiter,
        marks=found.marks,
        doubt=found.doubt,
        is_proven=found.is_proven
        or (is_plain and width > 1)
        or not (options.decimal is options.thousands is None),
        first=split.rows[0][:width] if split.rows else [],
        below=[row[:width] for row in split.rows[1:]],
        width=width,
        quoted=_is_quoted(some[: split.lines], split.rows),
        before=before,
        taken=split.taken,
        has_long_values=split.lines > len(split.rows) and is_quoted,
        trailing=split.is_trailing,
        joined=split.joined if given is options.decimal is options.thousands is None else None,
        paired=split.paired if options.decimal is options.thousands is None else None,
        comment=comments[-1] if comments else "",
        is_given=options.delimiter is not None,
        remarks=remarks,
        number_remarks=number_remarks,
    )


def split_lines(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Split lines into values; empty lines have none."""
    if delimiter == WHITESPACE:
        return map(split_blanks, lines)
    return csv.reader(lines, delimiter=delimiter)


def split_blanks(line: str) -> list[str]:
    """Split a line at runs of blanks and tabs outside of quotes."""
    line = line.strip("\r\n").replace("\t", " ")
    parts = line.split(" ")
    if '"' in line:
        parts = next(csv.reader([line], delimiter=" "))
    return [part for part in parts if part]


@dataclass(frozen=True)
class _Split:
    """The first lines of a table, split at one delimiter."""

    delimiter: str
    rows: list[list[str]]  # without empty ones
    ends: list[int]  # number of lines up to the end of each row
    failure: str  # why some lines could not be split

    @classmethod
    def of(cls, lines: Sequence[str], delimiter: str, *, whole: bool) -> "_Split":
        rows: list[list[str]] = []
        ends: list[int] = []
        failure = ""
        reader = csv.reader(iter(lines), delimiter=delimiter) if delimiter != WHITESPACE else None
        parts = reader or map(split_blanks, lines)
        try:
            for number, row in enumerate(parts, 1):
                if row:
                    rows.append(row)
                    ends.append(reader.line_num if reader is not None else number)
                if len(rows) == _ROWS:
                    break
        except csv.Error as error:
            failure = str(error)
        if not whole and 2 < len(rows) < _ROWS:  # the last row may be incomplete
            rows.pop(), ends.pop()
        return cls(delimiter, rows, ends, failure)

    @property
    def lines(self) -> int:
        """The number of lines."""
        return self.ends[-1] if self.ends else 0

    @property
    def taken(self) -> int:
        """The number of lines of the first row."""
        return self.ends[0] if self.ends else 0

    @property
    def counts(self) -> list[int]:
        """The number of values of each row."""
        return [len(row) for row in self.rows]

    @property
    def width(self) -> int:
        """The number of values of a row."""
        first, *below = self.counts or [0]
        return first if first in below or not below else Counter(below).most_common(1)[0][0]

    @property
    def is_regular(self) -> bool:
        """Whether all rows have the same number of values, above 1; a header may have one less."""
        first, *below = self.counts or [0]
        width = self.width
        even = first in (width, width - 1) and all(count == width for count in below)
        return even and width > 1 and not self.failure

    @property
    def is_even(self) -> bool:
        """Whether all rows with the first have the same number of values, above 1."""
        return self.is_regular and len(self.rows[0]) == self.width

    @property
    def has_names(self) -> bool:
        """Whether the first row has a text for each value of a row."""
        named = self.is_even and len(self.rows) > 1 and self.delimiter != WHITESPACE
        return named and not any(looks_like_number(t) or is_missing(t) for t in self.rows[0])

    @property
    def is_numeric(self) -> bool:
        """Whether all values below the first row are numbers or words for missing values."""
        rows = self.rows[1:] or self.rows
        texts = islice(chain.from_iterable(rows), _VALUES)
        return bool(rows) and all(looks_like_number(text) or is_missing(text) for text in texts)

    @property
    def has_blanks(self) -> bool:
        """Whether values have inner blanks."""
        texts = islice(chain.from_iterable(self.rows), _VALUES)
        return any(" " in text.strip() for text in texts)

    @property
    def is_trailing(self) -> bool:
        """Whether all rows end with a delimiter."""
        if self.delimiter == WHITESPACE or len(self.rows) < 2 or not self.is_regular:
            return False
        first, *below = self.rows
        unnamed = not first[-1] if len(first) == self.width else True
        return unnamed and not any(row[-1] for row in below)

    @property
    def values(self) -> list[list[str]]:
        """The rows without the empty values of trailing delimiters."""
        width = self.width - 1
        return [row[:width] for row in self.rows] if self.is_trailing else self.rows

    @property
    def joined(self) -> str | None:
        """A line that may be one number with commas, if all lines may be."""
        lines = [",".join(row) for row in self.rows]
        may = all(map(_GROUPED_LINE.fullmatch, lines)) or all(map(_PAIR.fullmatch, lines))
        return lines[0] if lines and may and self.delimiter == "," else None

    @property
    def paired(self) -> str | None:
        """A line in which each two values may be one number with a decimal comma, if all are so.

        That is so if integers in each second column begin with 0, or all have the same number of
        digits, above 1, and those in other columns do not.
        """
        rows = self.rows
        if (
            self.delimiter != ","
            or len(rows) < 2
            or self.width < 4
            or not all(map(_are_pairs, rows))
        ):
            return None
        some = [[text.strip() for text in row] for row in rows]
        parts = [text for row in some for text in row[1::2]]
        lengths = {len(text) for text in parts}
        whole = {len(text) for row in some for text in row[::2]}
        alike = len(lengths) == 1 and lengths not in ({1}, whole)
        zero = any(len(text) > 1 and text[0] == "0" for text in parts)
        return ",".join(rows[0]) if alike or zero else None


def _are_pairs(row: Sequence[str]) -> bool:
    """Whether a row has pairs of integers, the second of which may be a fraction."""
    return len(row) % 2 == 0 and all(
        _WHOLE.fullmatch(whole.strip()) and part.strip().isdigit()
        for whole, part in zip(row[::2], row[1::2], strict=True)
    )


def _before(lines: Sequence[str], options: FileOptions) -> tuple[int, list[str], str | None]:
    """Count the lines before the table; return comments, and the delimiter of a line "sep="."""
    before, sign = options.skip_lines, None
    comments: list[str] = []
    for line in lines[before:]:
        excel = _EXCEL.fullmatch(line.rstrip("\r\n")) if sign is None and not comments else None
        if excel is not None:
            sign = excel[1] if options.delimiter is None else None
        elif options.comment is None and _is_comment(line):
            comments.append(line)
        elif line.strip():
            return before, comments, sign
        before += 1
    # If all lines begin like comments, they are none.
    return (before, [], sign) if not comments else (options.skip_lines, [], None)


def _is_comment(line: str) -> bool:
    # Excel's words for missing values begin with # as well.
    return line.startswith(COMMENTS) and not is_missing(re.split(r"[,;|\t]", line, maxsplit=1)[0])


def _choose(
    path: Path,
    split_at: Callable[[str], _Split],
    signs: Sequence[str],
    usual: str | None,
    before: int,
) -> _Split:
    """Choose the delimiter."""
    usual = usual if usual in signs else None
    plain = split_at(usual or signs[0])
    if usual is not None and plain.is_even and plain.is_numeric and not plain.has_blanks:
        return plain
    splits = {sign: split_at(sign) for sign in signs}
    regular = sorted(
        (split for split in splits.values() if split.is_regular),
        key=lambda split: not (split.is_even or split.is_trailing),
    )
    numeric = [split for split in regular if split.is_numeric]
    if plain.is_numeric and plain.width == 1:
        numeric.append(plain)
    numeric = [split for split in numeric if split.has_names][:1] or numeric
    if any(split.values != numeric[0].values for split in numeric):
        raise unreadable(
            path,
            f"{plain.rows[-1][-1][:40]!r} may be one number or several",
            "give the delimiter (--delimiter), and the thousands separator if there is one "
            "(--thousands)",
        )
    if numeric:
        return numeric[0]
    if usual is not None and plain.is_even:
        return plain
    even = [split for split in regular if split.is_even and split.delimiter != WHITESPACE]
    if len(even) > 1:
        names = " or ".join(DELIMITER_NAMES[split.delimiter] for split in even)
        raise unreadable(path, f"its values may be separated by {names}", "say which (--delimiter)")
    if even or plain.is_regular:
        return even[0] if even else plain
    for split in splits.values():
        _check_title(path, split, before)
    return plain


def _check_title(path: Path, split: _Split, before: int) -> None:
    """Refuse lines before the table that are no part of it, such as a title."""
    counts = split.counts
    width = counts[-1] if counts else 0
    start = next((place for place in range(len(counts)) if counts[place] == width), 0)
    if (
        width > 1
        and 0 < start <= _MOST_BEFORE
        and len(counts) - start > 2
        and all(count == width for count in counts[start:])
    ):
        doubled = start == 1 and width == 2 * counts[0] and split.delimiter == ","
        if doubled and all(map(_are_pairs, split.rows[1:])):
            raise unreadable(
                path,
                f"its first line has {counted(counts[0], 'value')}, those below it have {width} "
                "separated by commas, as if these were decimal commas too",
                "save it with decimal points or another delimiter",
            )
        skip = before + split.ends[start - 1]
        raise unreadable(
            path,
            f"its first line has {counted(counts[0], 'value')}, those from line {skip + 1} on have "
            f"{width}, separated by {DELIMITER_NAMES[split.delimiter]}",
            f"if the table begins there, leave out what stands before it (--skip-lines {skip})",
        )


def _is_quoted(lines: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    if len(rows) < 2 or not rows[0]:
        return False
    first, *below = (line for line in lines if line.strip())
    quotes = 2 * len(rows[0])
    return first.count('"') == quotes and not any('"' in line for line in below)
