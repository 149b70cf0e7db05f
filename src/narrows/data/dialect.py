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
"""Words that stand where a value is missing, in lower case."""

# Blanks and apostrophes that separate thousands.
BLANKS = " \u00a0\u202f'\u2019"
_LONGEST = 4096  # of a text that is looked at as a number
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
"""What delimiters are called."""

COMMENTS = ("#", "%")
"""What lines before a table begin with that are comments."""

_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_ROWS = 200  # that are looked at
_VALUES = 50_000  # of them, that are looked at
_MOST_BEFORE = 20  # lines before a table, such as a title
_GROUPED_LINE = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?", re.ASCII)
_PAIR = re.compile(rf"[+-]?\d+(?:[.{BLANKS}]\d{{3}})*,\d+", re.ASCII)
_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d*)", re.ASCII)
_EXCEL = re.compile(r'"?sep=([,;|:\t ~^])"?', re.IGNORECASE)


@dataclass(frozen=True)
class Marks:
    """The marks that numbers are written with.

    Attributes
    ----------
    decimal : {".", ","}
    thousands : str or None
    """

    decimal: str = "."
    thousands: str | None = None

    @cached_property
    def pattern(self) -> str:
        """What numbers look like, as a regular expression whose time grows with the text alone."""
        point, whole = f"[{self.decimal}]", r"\d+"
        if self.thousands is not None:
            whole = rf"(?:[1-9]\d{{0,2}}(?:[{self.removed}]\d{{3}})+|\d+)"
        return (
            rf"[+-]?(?:{whole}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?"
            r"|[+-]?[iI][nN][fF](?:[iI][nN][iI][tT][yY])?"
        )

    @cached_property
    def removed(self) -> str:
        """What is removed to read a number: its thousands separators."""
        return BLANKS if self.thousands and self.thousands in BLANKS else self.thousands or ""

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.ASCII)

    def value(self, text: str) -> float | None:
        """Read a number; None if a text is none."""
        text = text.strip()
        if self._compiled.fullmatch(text) is None:
            return None
        for sign in self.removed:
            text = text.replace(sign, "")
        return float(text.replace(self.decimal, "."))


_POINT, _COMMA = Marks(), Marks(",")


def is_missing(text: str) -> bool:
    """Tell whether a text is a word for a missing value.

    Examples
    --------
    >>> [is_missing(text) for text in ("NA", " ", "#N/A", "Natrium", "0")]
    [True, True, True, False, False]
    """
    return len(text) < 20 and text.strip().lower() in MISSING


def looks_like_number(text: str) -> bool:
    """Tell whether a text is a number by whatever marks.

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
    """What :func:`find_marks` found.

    Attributes
    ----------
    marks : Marks
        As far as the texts prove them; a decimal point and no thousands separator otherwise.
    doubt : str or None
        Two things that a number may mean, if nothing proves one of them.
    is_proven : bool
        Whether a number shows that points are decimal marks, or that they are not.
    """

    marks: Marks
    doubt: str | None = None
    is_proven: bool = True


def find_marks(
    texts: Iterable[str], decimal: str | None = None, thousands: str | None = None
) -> FoundMarks:
    """Find out how the numbers among some texts are written.

    Parameters
    ----------
    texts : iterable of str
    decimal, thousands : str or None
        What is known already.

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
    """
    if decimal is not None and thousands is not None:
        return FoundMarks(Marks(decimal, thousands))
    seen = _Evidence()
    for text in texts:
        if not text.isdigit() and len(text) < _LONGEST:
            seen.look(text.strip())
    if decimal is None and thousands is not None and thousands in ".,":
        decimal = "," if thousands == "." else "."
    found = seen.marks(decimal)
    return found if thousands is None else FoundMarks(Marks(found.marks.decimal, thousands))


class _Evidence:
    """What numbers have shown of their marks."""

    def __init__(self) -> None:
        self.decimal: set[str] = set()  # marks that can only be decimal marks
        self.grouped: set[str] = set()  # marks that can only be thousands separators
        self.ambiguous: dict[str, str] = {}  # marks that may be either, with a number
        self.blank: str | None = None  # a blank or an apostrophe that separates thousands

    def look(self, text: str) -> None:
        """Look at one text more."""
        for mark, other in (".,", ",."):
            if mark not in text:
                continue
            if _AMBIGUOUS[mark].fullmatch(text):
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
        """Conclude."""
        both = self.grouped | self.ambiguous.keys()
        if decimal is not None:
            other = "," if decimal == "." else "."
            return FoundMarks(Marks(decimal, other if other in both else self.blank))
        for mark, other in (".,", ",."):
            proven = mark in self.decimal or other in self.grouped
            # One mark is not a decimal mark here and a thousands separator there.
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
        Of its numbers.
    doubt : str or None
        What a number may mean, where nothing proves it.
    is_proven : bool
        Whether points of numbers are known to be decimal ones.
    first : list of str
        The first line of the table.
    below : list of list of str
        Some of the lines below it.
    width : int
        Values in a line below the first; in the first, if there is no other.
    quoted : bool
        Whether the values of the first line are quoted, and none below.
    before : int
        Lines of the file before the first of the table.
    taken : int
        Lines of the file that the first of the table takes.
    has_long_values : bool
        Whether values go on from one line to the next, in quotes.
    trailing : bool
        Whether each line ends with one delimiter more than its values need.
    joined : str or None
        A line that might be one number, with commas in it, if all lines might.
    paired : str or None
        A line of which every two values might be one number with a decimal comma, if all might.
    comment : str
        The last comment before the table.
    is_given : bool
        Whether the delimiter was given, not found.
    told : list of str
        What was found that is not usual, in words.
    told_of_numbers : list of str
        The same of numbers alone.
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
    told: list[str]
    told_of_numbers: list[str]


def find_dialect(file: TextFile, options: FileOptions) -> Dialect:
    """Find out how a table is written from its beginning.

    Raises
    ------
    UnreadableFileError
        If several delimiters would do, or the first lines are not those of a table.
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
        raise unreadable(file.path, f"{split.failure}; {remedy}")
    told = []
    if split.delimiter != usual and options.delimiter is None and split.width > 1:
        told.append(f"as values separated by {DELIMITER_NAMES[split.delimiter]}")
    if sign is not None:
        told.append(
            f"as values separated by {DELIMITER_NAMES.get(sign, sign)}, as its line 'sep=' says"
        )
    if comments:
        told.append(f"without {len(comments)} comment line{'s' * (len(comments) > 1)} before it")
    if split.is_trailing:
        told.append("without the trailing delimiter of each line")
    found = find_marks(
        islice(chain.from_iterable(split.rows), _VALUES), options.decimal, options.thousands
    )
    told_of_numbers = []
    if options.decimal is None and found.marks.decimal == ",":
        told_of_numbers.append("with decimal commas")
    if options.thousands is None and found.marks.thousands is not None:
        told_of_numbers.append(f"with {found.marks.thousands!r} as thousands separator")
    width = split.width - split.is_trailing
    is_quoted = any('"' in line for line in some[: split.lines])
    # Where commas separate values, only those with commas in them need quotes.
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
        told=told,
        told_of_numbers=told_of_numbers,
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
    """The beginning of a table, split at one delimiter."""

    delimiter: str
    rows: list[list[str]]  # those that are not empty
    ends: list[int]  # how many lines there are up to the end of each
    failure: str  # why not all could be split

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
        if not whole and 2 < len(rows) < _ROWS:  # the last may go on behind what was looked at
            rows.pop(), ends.pop()
        return cls(delimiter, rows, ends, failure)

    @property
    def lines(self) -> int:
        """How many lines were split."""
        return self.ends[-1] if self.ends else 0

    @property
    def taken(self) -> int:
        """How many lines the first row takes."""
        return self.ends[0] if self.ends else 0

    @property
    def counts(self) -> list[int]:
        """How many values each row has."""
        return [len(row) for row in self.rows]

    @property
    def width(self) -> int:
        """How many values a row has."""
        first, *below = self.counts or [0]
        return first if first in below or not below else Counter(below).most_common(1)[0][0]

    @property
    def is_regular(self) -> bool:
        """Whether rows have as many values, several; of the first, the last name may lack."""
        first, *below = self.counts or [0]
        width = self.width
        even = first in (width, width - 1) and all(count == width for count in below)
        return even and width > 1 and not self.failure

    @property
    def is_even(self) -> bool:
        """Whether all rows, the first among them, have as many values, several."""
        return self.is_regular and len(self.rows[0]) == self.width

    @property
    def has_names(self) -> bool:
        """Whether the first row holds as many texts as rows have values; blanks are in names."""
        named = self.is_even and len(self.rows) > 1 and self.delimiter != WHITESPACE
        return named and not any(looks_like_number(t) or is_missing(t) for t in self.rows[0])

    @property
    def is_numeric(self) -> bool:
        """Whether there is nothing but numbers, and words for missing ones, below the first row."""
        rows = self.rows[1:] or self.rows
        texts = islice(chain.from_iterable(rows), _VALUES)
        return bool(rows) and all(looks_like_number(text) or is_missing(text) for text in texts)

    @property
    def has_blanks(self) -> bool:
        """Whether there are blanks inside of values."""
        texts = islice(chain.from_iterable(self.rows), _VALUES)
        return any(" " in text.strip() for text in texts)

    @property
    def is_trailing(self) -> bool:
        """Whether all rows end with a delimiter behind which nothing stands."""
        if self.delimiter == WHITESPACE or len(self.rows) < 2 or not self.is_regular:
            return False
        first, *below = self.rows
        unnamed = not first[-1] if len(first) == self.width else True
        return unnamed and not any(row[-1] for row in below)

    @property
    def values(self) -> list[list[str]]:
        """The rows without what a trailing delimiter makes."""
        width = self.width - 1
        return [row[:width] for row in self.rows] if self.is_trailing else self.rows

    @property
    def joined(self) -> str | None:
        """A line that might be one number, with commas in it, if all lines might."""
        lines = [",".join(row) for row in self.rows]
        may = all(map(_GROUPED_LINE.fullmatch, lines)) or all(map(_PAIR.fullmatch, lines))
        return lines[0] if lines and may and self.delimiter == "," else None

    @property
    def paired(self) -> str | None:
        """A line of which every two values might be one number with a decimal comma, if all might.

        Integers do not begin with 0, and hardly ever have as many digits, several, in each second
        column but not in the others.
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
    """Whether a row has integers in pairs, of which each second one may be a fraction."""
    return len(row) % 2 == 0 and all(
        _WHOLE.fullmatch(whole.strip()) and part.strip().isdigit()
        for whole, part in zip(row[::2], row[1::2], strict=True)
    )


def _before(lines: Sequence[str], options: FileOptions) -> tuple[int, list[str], str | None]:
    """Count the lines before the table; give the comments, and the delimiter that one names."""
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
    # Where all lines begin so, they are no comments.
    return (before, [], sign) if not comments else (options.skip_lines, [], None)


def _is_comment(line: str) -> bool:
    # Excel's words for what is missing begin so too.
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
            f"{plain.rows[-1][-1][:40]!r} may be one number or several; give the delimiter "
            "(--delimiter), and the thousands separator if there is one (--thousands)",
        )
    if numeric:
        return numeric[0]
    if usual is not None and plain.is_even:
        return plain
    even = [split for split in regular if split.is_even and split.delimiter != WHITESPACE]
    if len(even) > 1:
        names = " or ".join(DELIMITER_NAMES[split.delimiter] for split in even)
        raise unreadable(path, f"its values may be separated by {names}; say which (--delimiter)")
    if even or plain.is_regular:
        return even[0] if even else plain
    for split in splits.values():
        _check_title(path, split, before)
    return plain


def _check_title(path: Path, split: _Split, before: int) -> None:
    """Refuse lines before the table that are none of it, such as a title."""
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
                "separated by commas, as if these were decimal commas too; save it with decimal "
                "points or another delimiter",
            )
        skip = before + split.ends[start - 1]
        raise unreadable(
            path,
            f"its first line has {counted(counts[0], 'value')}, those from line {skip + 1} on have "
            f"{width}, separated by {DELIMITER_NAMES[split.delimiter]}; if the table begins there, "
            f"leave out what stands before it (--skip-lines {skip})",
        )


def _is_quoted(lines: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    if len(rows) < 2 or not rows[0]:
        return False
    first, *below = (line for line in lines if line.strip())
    quotes = 2 * len(rows[0])
    return first.count('"') == quotes and not any('"' in line for line in below)
