"""Whether the first line of a text table holds the columns' names, or is data.

Names that are texts are plain to see, and so is a line of data that has a word for a missing value.
Numbers may be either: names such as years, wavelengths or 0, 1, 2 look like data. They are taken
for names where they look unlike the rows below, and whatever is a guess is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from pathlib import Path

from narrows.data.dialect import COMMENTS, Dialect, split_lines
from narrows.data.marks import is_missing
from narrows.data.text_files import unreadable
from narrows.errors import UnreadableFileError

_COLUMNS, _ROWS = 100, 100  # whose values are compared
_FEW = 3  # values of a column that say what the others are like
_FAR = 10  # spans of a column by which names that follow no order are away from its values
_SHOWN = 60  # characters of a line in a message
_YEARS = "are like years"
_LOOSE = ("rise", "fall")  # orders that many a row is in
_TEXTS = frozenset(":=")  # what sentences have and names have not


@dataclass(frozen=True)
class Heading:
    """What the first line of a table is.

    Attributes
    ----------
    names : list of str
        Of the columns: the first line's, or x0, x1, x2 and so on.
    is_named : bool
        Whether the first line holds them.
    guess : str or None
        If that is not certain: why they are names, or what speaks against data.
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
    """Tell whether the first line of a table holds the columns' names.

    Parameters
    ----------
    path : Path
        For messages.
    dialect : Dialect
        How the table is written, with its first lines.
    header : bool or None
        What is said of it.
    known : sequence of str or None
        The columns' names that a model knows.

    Returns
    -------
    Heading

    Raises
    ------
    UnreadableFileError
        If the first line holds fewer names, or more, than there are columns.
    """
    first, width = dialect.first, dialect.width
    unnamed = [f"x{place}" for place in range(width)]
    known = None if known is None else list(known)
    if header is None:
        heading = _find(dialect, known, unnamed)
    elif header:
        heading = Heading(first, is_named=True)
    else:
        # In their order: that is what is said.
        heading = Heading(known if known and len(known) == width else unnamed, is_named=False)
    if heading.is_named and len(heading.names) != width:
        raise _uneven(path, len(first), dialect)
    return heading


def shown(first: Sequence[str]) -> str:
    """Show a line of values in a message."""
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
        # A word for a missing value may be a name, such as NA for sodium.
        return Heading(first, is_named=True)
    commented = _commented(dialect)
    if "number" in kinds and known == unnamed and "text" not in kinds:
        return Heading(unnamed, is_named=False, guess=_compare(dialect, kinds)[1])
    if "number" not in kinds:
        return Heading(commented or unnamed, is_named=False)
    is_named, guess = _compare(dialect, kinds)
    return Heading(first if is_named else commented or unnamed, is_named, guess)


def _are_known(first: list[str], known: list[str]) -> bool:
    """Tell whether a line holds names that a model knows, in whatever order."""
    same = len(set(first) & set(known))
    return first == known or 2 * same > max(len(set(first)), len(set(known)))


def _kind(text: str, dialect: Dialect) -> str:
    if is_missing(text):
        return "missing"
    return "text" if dialect.marks.value(text) is None else "number"


def _commented(dialect: Dialect) -> list[str] | None:
    """Return the names that the last comment before a table holds, if it does."""
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
        As in :class:`Heading`.
    """
    first = dialect.first
    places = [place for place, kind in enumerate(kinds) if kind == "number"]
    above = [place for place, kind in enumerate(kinds) if kind == "text"]
    columns = [_Column.of(dialect, place) for place in _some(places)]
    if len({first[place].strip() for place in places}) < len(places):
        return False, None  # columns have different names
    if not any(column.values for column in columns):
        is_named = bool(above) or any(column.below for column in columns)
        return is_named, "its numbers stand above texts" if is_named and not above else None
    numbers = [dialect.marks.value(first[place]) or 0.0 for place in places]
    found = _order(numbers, dialect, places)
    unlike = sum(column.is_unlike for column in columns) / len(columns)
    # A text above numbers is a name, or a defect; one above texts may be either.
    has_name = any(_Column.of(dialect, place).is_numeric for place in _some(above))
    far = sum(column.is_far for column in columns) / len(columns)
    whole = all(column.text.isdigit() for column in columns)
    is_far = whole and far >= 0.5 and unlike == 1
    counts = numbers == list(range(len(numbers))) and len(numbers) > 1 and found is not None
    is_between = len(numbers) <= 3 and all(column.holds_first for column in columns)
    years = found == _YEARS and len(numbers) > 2 and _is_even(numbers)
    # So many numbers hardly stand in order by chance.
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


def _some(places: list[int]) -> list[int]:
    """Pick some of many places, evenly."""
    return places[:: -(-len(places) // _COLUMNS)] if places else []


def _order(numbers: list[float], dialect: Dialect, places: list[int]) -> str | None:
    """Say in which order some numbers stand, if it is one that rows below do not have."""
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
    # Rows of a sliding window, or of sorted values, do the same.
    alike = rows = 0
    for row in dialect.below[:_ROWS]:
        values = [dialect.marks.value(row[place]) if place < len(row) else None for place in places]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            own = [after - before for before, after in pairwise(known)]
            ordered = bool(own) and (min(own) > 0 or max(own) < 0)
            same = sorted(known) == sorted(numbers)  # as in rankings
            alike += same or (ordered if found in _LOOSE else ordered and _is_even(known))
            rows += 1
    often = 0.1 if len(numbers) > 2 else 1.1  # two numbers always do
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
        below = [row[place].strip() for row in dialect.below[:_ROWS] if place < len(row)]
        known = [text for text in below if not is_missing(text)]
        values = [value for text in known if (value := dialect.marks.value(text)) is not None]
        text = dialect.first[place].strip()
        return cls(text, dialect.marks.value(text) or 0.0, known, values)

    @property
    def is_numeric(self) -> bool:
        """Whether there are numbers below, and nothing else."""
        return bool(self.values) and len(self.values) == len(self.below)

    @property
    def _span(self) -> tuple[float, float, float]:
        low, high = min(self.values), max(self.values)
        return low, high, max(high - low, abs(low), abs(high))

    @property
    def is_unlike(self) -> bool:
        """Whether the number is away from those below, or is whole where none of them is."""
        if len(self.values) < _FEW:
            return self.is_far
        low, high, span = self._span
        return not low - span <= self.first <= high + span or self._is_written_otherwise

    @property
    def is_far(self) -> bool:
        """Whether the number is many times larger than those below."""
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
        """Whether the number is between those below."""
        return bool(self.values) and min(self.values) <= self.first <= max(self.values)

    @property
    def _is_written_otherwise(self) -> bool:
        texts = self.below
        is_whole = self.text.lstrip("+-").isdigit()
        return is_whole and len(texts) >= _FEW and not any(t.lstrip("+-").isdigit() for t in texts)


def _uneven(path: Path, count: int, dialect: Dialect) -> UnreadableFileError:
    have = f"its first line has {count} name{'s' * (count != 1)}, the lines below it have "
    have += f"{dialect.width} values"
    ask = "" if dialect.is_given else "give the delimiter (--delimiter), or "
    if count == dialect.width - 1:
        how = "--decimal" if dialect.is_given else "--delimiter, --decimal"
        return unreadable(
            path,
            f"{have}; leave row names out (R: row.names=FALSE) or name their column, leave out a "
            f"title (--skip-lines), or say how values are written ({how})",
        )
    return unreadable(path, f"{have}; {ask}leave lines out (--skip-lines)")
