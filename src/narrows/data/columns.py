"""What each column of a table holds, and its values as numbers and back.

The kind of a column is number, date, category or yes/no, from which models learn; or constant,
empty, identifier, text or other, which are left out. Missing values are gaps, whatever the kind.
"""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from narrows.data.codes import code_among, day_among
from narrows.data.dialect import MISSING, Marks, is_missing
from narrows.data.frames import GAPS, Values, find_gaps
from narrows.data.levels import places_among, places_among_tagged, untagged
from narrows.data.written_dates import DIGITS, find_form, mixed_forms, parse_dates, write_date
from narrows.data.written_numbers import Affixes, number_form, parse_integers, parse_numbers
from narrows.errors import DataError, DataTypeError
from narrows.texts import counted, is_text, shortened

Kind = Literal[
    "number", "date", "category", "yes/no", "constant", "identifier", "text", "empty", "other",
    "dropped",
]  # fmt: skip
USED: tuple[Kind, ...] = ("number", "date", "category", "yes/no")
"""The kinds of columns that a model learns from."""

DEFECT = "numbers, and "
"""The beginning of ``Column.why`` where a few texts stand among numbers."""

# The most values of a category, and the most that are a category in tables of any length.
_MOST_LEVELS, _FEW_LEVELS = 64, 10
_RECURRENCE = 10  # rows for each value, from which texts of many values are a category
_FEWEST_KEYS = 10  # rows from which values that all differ are identifiers
_LONGEST_EXAMPLE = 30
_YES = {"yes": 1, "no": 0, "y": 1, "n": 0, "true": 1, "false": 0, "t": 1, "f": 0}
_KEY_NAME = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|no|nr)$|^(id|uuid|guid)([_\W]|$)", re.IGNORECASE
)
_KEY_CASE = re.compile(r"[a-z](Id|ID)$")
_EXACT = 2**53
_FIRST_DAY, _LAST_DAY = 19000101, 20991231
_LARGEST = float(np.finfo(np.float32).max)
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}  # in a second
_TYPE = re.compile(
    r"timestamp\[(s|ms|us|ns)(?:, tz=([\w+:/-]+))?\]|duration\[(s|ms|us|ns)\]"
    r"|time32\[(s|ms)\]|time64\[(us|ns)\]|decimal(?:128|256)\((\d+), (-?\d+)\)"
)


class Cells(NamedTuple):
    """The values of a column as numbers.

    Attributes
    ----------
    numbers : ndarray of shape (n,), float64
        Numbers less the column's offset, or the places of levels; NaN for gaps and unknown values.
    gaps : ndarray of bool and shape (n,)
        Which values are missing.
    unknown : ndarray of bool and shape (n,)
        Which values are levels that the column did not have when it was learned from.
    """

    numbers: NDArray[np.float64]
    gaps: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the table learned from.

    Attributes
    ----------
    name : str
    kind : str
        See :data:`USED`; columns of other kinds are left out.
    type : str
        The Arrow type of its values.
    levels : list
        The values of a category, of yes or no, or of a constant.
    offset : int
        An integer that is subtracted from integers beyond 2^53 and dates.
    decimal, thousands : str
        The marks of numbers that are texts; "" for others, and where there are none.
    digits : int
        Their digits behind the decimal mark.
    prefix, suffix, has_brackets
        What is around them; see :class:`narrows.data.written_numbers.Affixes`.
    step : int
        The unit to which dates and times are rounded: that of all values learned from.
    form : str
        The format of dates that are texts; see :mod:`narrows.data.written_dates`. "" for others.
    is_tagged : bool
        Whether the values have several types; levels are JSON then.
    n_gaps : int
        How many values were missing.
    why : str
        Why it is left out, or what was guessed.
    far : str
        Which values were far from all others, if there were any; see
        :mod:`narrows.data.extremes`.
    """

    name: str
    kind: Kind
    type: str = "null"
    levels: list[Any] = field(default_factory=list)
    offset: int = 0
    decimal: str = ""
    thousands: str = ""
    digits: int = 0
    prefix: str = ""
    suffix: str = ""
    has_brackets: bool = False
    step: int = 1
    form: str = ""
    is_tagged: bool = False
    n_gaps: int = 0
    why: str = ""
    far: str = ""

    @classmethod
    def find(
        cls,
        name: str,
        values: Values,
        *,
        is_category: bool = False,
        is_wanted: bool = False,
        marks: Marks | None = None,
    ) -> Self:
        """Find what a column holds.

        Parameters
        ----------
        name : str
        values : Values
        is_category : bool
            Whether a user says that it holds categories.
        is_wanted : bool
            Whether a user asked for this column: integers that all differ are then numbers.
        marks : Marks, optional
            How numbers in texts are written, if that is known.

        Raises
        ------
        DataError
            If it has infinite numbers.
        """
        array = values.array
        gaps = find_gaps(array)
        column = cls(
            name=name, kind="empty", type=str(array.type), is_tagged=values.is_tagged,
            n_gaps=int(gaps.sum()), why="no values",
        )  # fmt: skip
        if values.other or gaps.all():
            return replace(column, kind="other", why=values.other) if values.other else column
        known = array.filter(pa.array(~gaps))
        counts = compute.value_counts(known)
        if len(counts) == 1:
            return replace(column, kind="constant", levels=_plain(counts.field(0)), why="one value")
        column = replace(column, why="")
        if is_category or values.is_category:
            found = column._as_category(counts)
        elif values.is_tagged:
            found = column._as_several(counts, len(known))
        elif pa.types.is_boolean(array.type):
            found = replace(column, kind="yes/no", levels=[False, True])
        elif is_text(array):
            found = column._as_text(known, counts, array, marks, is_wanted=is_wanted)
        elif pa.types.is_temporal(array.type):
            found = column._as_date(known)
        else:
            found = column._as_number(known, len(counts), is_wanted=is_wanted)
        return found

    def _as_number(self, known: Any, n_levels: int, *, is_wanted: bool) -> Self:
        """Take the column for numbers, or for whole numbers that identify the rows."""
        if not pa.types.is_integer(known.type):
            if pa.types.is_floating(known.type):
                _check_finite(self.name, known)
                if self.n_gaps and (whole := _as_integers(known)) is not None:
                    found = self._as_number(whole, n_levels, is_wanted=is_wanted)
                    if found.kind == "identifier":
                        return found
            return replace(self, kind="number")
        low, high = compute.min(known).as_py(), compute.max(known).as_py()
        all_differ = n_levels == len(known) >= _FEWEST_KEYS
        counts = not self.n_gaps and high - low == n_levels - 1
        is_named = _KEY_NAME.search(self.name) or _KEY_CASE.search(self.name)
        if all_differ and not is_wanted and (counts or is_named):
            return replace(self, kind="identifier", why="whole numbers that all differ")
        why = ""
        if low >= _FIRST_DAY and high <= _LAST_DAY and day_among(known.cast(pa.string())):
            why = f"{low} was read as a number, and not as a date"
        offset = low if max(high, -low) > _EXACT else 0
        return replace(self, kind="number", offset=offset, why=why)

    def _as_date(self, known: Any) -> Self:
        """Take the column for dates, times or spans, which all are whole days, hours or so on."""
        values = _integers(known)
        offset = compute.min(values).as_py()
        since = values.to_numpy().astype(object) - offset
        seconds = _UNITS.get(getattr(known.type, "unit", "D"), 0)
        steps = (seconds * span for span in (86_400, 3_600, 60, 1))
        step = next((s for s in steps if s and not (since % s).any()), 1)
        return replace(self, kind="date", offset=offset, step=step)

    def _as_category(self, counts: Any) -> Self:
        """Take the column for a category, of which the most frequent values are encoded."""
        values = _plain(counts.field(0))
        often = np.argsort(-counts.field(1).to_numpy(), kind="stable")[:_MOST_LEVELS]
        levels = sorted((values[place] for place in often), key=lambda v: (str(type(v)), v))
        why = ""
        if len(levels) < len(values):
            why = f"the {len(levels)} most frequent of {len(values)} values are told apart"
        elif word := next((v for v in levels if isinstance(v, str) and is_missing(v)), None):
            why = f"{word!r} is a category of its own, and no gap"
        words = {str(level).strip().lower() for level in levels}
        is_yes_no = len(levels) == 2 and {_YES.get(word) for word in words} == {0, 1}
        return replace(self, kind="yes/no" if is_yes_no else "category", levels=levels, why=why)

    def _as_several(self, counts: Any, n: int) -> Self:
        """Take a column of several types for a category, if it has few values."""
        if _are_few(len(counts), n):
            return self._as_category(counts)
        types = sorted({type(json.loads(v)).__name__ for v in counts.field(0).to_pylist()})
        why = f"{counted(len(counts), 'value')} of the types {' and '.join(types)}"
        return replace(self, kind="text", why=why)

    def _as_text(
        self, known: Any, counts: Any, array: Any, marks: Marks | None, *, is_wanted: bool
    ) -> Self:
        """Find what texts hold: numbers, dates, a category, or nothing to learn from."""
        distinct = counts.field(0)
        found = self._as_written_date(distinct, array)
        if found is None:
            found = self._as_written_number(distinct, array, marks, is_wanted=is_wanted)
        if found is not None:
            return found
        n, k = len(known), len(counts)
        why, is_defect = _why_text(distinct)
        if k > _FEW_LEVELS and is_defect:
            return replace(self, kind="text", why=why)
        if n >= _FEWEST_KEYS and k == n:
            spaced = compute.sum(compute.match_substring(known, " ")).as_py() or 0
            if 2 * spaced < n:
                return replace(self, kind="identifier", why="texts that all differ")
        elif _are_few(k, n):
            return self._as_category(counts)
        return replace(self, kind="text", why=why)

    def _as_written_date(self, distinct: Any, array: Any) -> Self | None:
        """Take texts for dates, if all of them but words for missing values are such."""
        days = day_among(distinct)
        form = find_form(_without_gaps(distinct)) if days is None else (DIGITS, "")
        if form is None:
            return None
        gaps = find_gaps(array, MISSING)
        seconds = parse_dates(array.filter(pa.array(~gaps)), form[0])
        if seconds.min() == seconds.max():
            return None
        return replace(
            self, kind="date", form=form[0], offset=int(seconds.min()), why=form[1],
            n_gaps=int(gaps.sum()),
        )  # fmt: skip

    def _as_written_number(
        self, distinct: Any, array: Any, marks: Marks | None, *, is_wanted: bool
    ) -> Self | None:
        """Take texts for numbers, if all of them but words for missing values are such."""
        if (form := number_form(distinct, marks)) is None:
            return None
        mark, digits, why, affixes = form
        gaps = find_gaps(array, MISSING)
        texts = affixes.numbers_of(array.filter(pa.array(~gaps)))
        numbers = parse_numbers(texts, mark)
        _check_finite(self.name, pa.array(numbers))
        if (n_levels := len(np.unique(numbers))) == 1:
            return None
        column = replace(self, n_gaps=int(gaps.sum()))
        whole, offset = _as_integers(pa.array(numbers)), 0
        if whole is None and not digits:
            try:
                whole = parse_integers(texts, mark)
            except pa.ArrowException:  # integers that no number holds
                return None
            n_levels = len(whole.unique())
        if whole is not None and (not digits or column.n_gaps):
            found = column._as_number(whole, n_levels, is_wanted=is_wanted)
            if found.kind == "identifier":
                return found
            offset = found.offset
        return replace(
            column, kind="number", offset=offset, decimal=mark.decimal,
            thousands=mark.thousands or "", digits=digits, why=why, prefix=affixes.prefix,
            suffix=affixes.suffix, has_brackets=affixes.has_brackets,
        )  # fmt: skip

    def read(self, values: Values) -> Cells:
        """Read the values of a column of this name in any table.

        Raises
        ------
        DataError
            If they are of another kind than those learned from, or infinite.
        """
        array = values.array
        if values.other:
            raise DataTypeError(
                f"column {self.name!r} holds {values.other}, and was learned as {self.kind}; give "
                "values as those learned from",
                column=self.name,
            )
        if self.kind in ("number", "date"):
            return self._read_numbers(array)
        find = places_among
        if values.is_tagged and not self.is_tagged:
            array = pa.array([untagged(v) for v in array.to_pylist()], pa.string())
        elif self.is_tagged and not values.is_tagged:
            find = places_among_tagged
        gaps = find_gaps(array)
        array = compute.if_else(pa.array(gaps), pa.scalar(None, array.type), array)
        places = find(array, self.level_array())
        numbers = np.array(places.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        numbers[gaps] = np.nan
        return Cells(numbers, gaps, np.isnan(numbers) & ~gaps)

    def _read_numbers(self, array: Any) -> Cells:
        none = np.zeros(len(array), np.bool_)
        are_texts = is_text(array)
        gaps = find_gaps(array, MISSING if are_texts else GAPS)
        numbers = np.full(len(array), np.nan)
        known = array.filter(pa.array(~gaps))
        if not len(known):
            return Cells(numbers, gaps, none)
        try:
            _check_kind(array, self.kind)
            if self.kind == "date":
                found = self._dates(known)
            elif are_texts:
                found = self._written_numbers(self._affixes.numbers_of(known))
            else:
                found = _floats(known, self.offset)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            example = shortened(str(known[0]), _LONGEST_EXAMPLE)
            if are_texts and self.kind == "number":
                affixes, marks = self._affixes, self._marks
                plain = {t: t if affixes == Affixes() else affixes.number_of(t) for t in
                         compute.unique(known).to_pylist()}  # fmt: skip
                bad = (t for t, p in plain.items() if p is None or marks.value(p) is None)
                example = shortened(next(bad, example), _LONGEST_EXAMPLE)
            raise DataTypeError(
                f"column {self.name!r} holds {example!r}, which is no {self.kind} as those learned "
                f"from (type {self.type}); give such, or a gap",
                column=self.name,
            ) from error
        _check_finite(self.name, pa.array(found))
        numbers[~gaps] = found
        return Cells(numbers, gaps, none)

    def _written_numbers(self, texts: Any) -> NDArray[np.float64]:
        if self.offset:
            return _floats(parse_integers(texts, self._marks), self.offset)
        return parse_numbers(texts, self._marks)

    def _dates(self, known: Any) -> NDArray[np.float64]:
        if is_text(known):
            return np.asarray(parse_dates(known, self.form or "%Y-%m-%d") - self.offset, float)
        kind = type_of(self.type)
        if is_text(kind):
            seconds = known.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy() / 1e6
            return np.asarray(seconds - self.offset, np.float64)
        return _floats(_integers(known.cast(kind, safe=False)), self.offset)

    def write(self, numbers: NDArray[np.float64]) -> Any:
        """Return the values that numbers stand for, as an Arrow array of the column's type.

        Parameters
        ----------
        numbers : ndarray of shape (n,)
            Finite numbers, as in :attr:`Cells.numbers`.
        """
        kind = type_of(self.type)
        if self.kind in ("category", "yes/no", "constant"):
            places = np.clip(np.rint(numbers), 0, len(self.levels) - 1).astype(np.int64)
            return self.level_array().take(pa.array(places)).cast(kind)
        if is_text(kind):
            return pa.array([self._written(value) for value in numbers], kind)
        if pa.types.is_decimal(kind):
            step = Decimal(1).scaleb(-kind.scale)
            return pa.array([Decimal(repr(float(v))).quantize(step) for v in numbers], kind)
        if pa.types.is_floating(kind):
            return pa.array(numbers).cast(kind, safe=False)
        return _from_integers(_whole(numbers, self.offset, self.step, kind), kind)

    def _written(self, value: float) -> str:
        """Write a number or a date as the texts of the column are written."""
        if self.form:
            return write_date(value + self.offset, self.form)
        text = f"{round(value) + self.offset:,d}" if self.offset else f"{value:,.{self.digits}f}"
        text = text.lstrip("-") if set(text) <= set("-0.") else text
        marks = {".": self.decimal or ".", ",": self.thousands}
        return self._affixes.around("".join(marks.get(sign, sign) for sign in text))

    @property
    def _affixes(self) -> Affixes:
        return Affixes(self.prefix, self.suffix, self.has_brackets)

    @property
    def _marks(self) -> Marks:
        return Marks(self.decimal or ".", self.thousands or None)

    def level_array(self) -> Any:
        """Return the levels as an Arrow array."""
        kind = type_of(self.type)
        if pa.types.is_temporal(kind):
            return _from_integers(pa.array(self.levels, pa.int64()), kind)
        if pa.types.is_decimal(kind):
            return pa.array(self.levels, pa.string()).cast(kind)
        return pa.array(self.levels, kind)

    def facts(self) -> dict[str, Any]:
        """Return the column in JSON types."""
        return asdict(self)

    @classmethod
    def restore(cls, facts: dict[str, Any]) -> Self:
        """Build a column from the result of :meth:`facts`.

        Raises
        ------
        TypeError, ValueError
            If they cannot be such a result.
        """
        column = cls(**facts)
        type_of(column.type)
        wanted = {
            **dict.fromkeys(("name", "kind", "form", "decimal", "thousands", "why", "far"), str),
            **dict.fromkeys(("prefix", "suffix"), str),
            **dict.fromkeys(("offset", "digits", "step", "n_gaps"), int),
            **dict.fromkeys(("is_tagged", "has_brackets"), bool),
        }
        for name, kind in wanted.items():
            if type(getattr(column, name)) is not kind:
                raise TypeError(f"{name} of a column is {getattr(column, name)!r}")
        if column.kind not in get_args(Kind):
            raise ValueError(f"a column is of kind {column.kind!r}")
        if column.kind in ("category", "yes/no", "constant"):
            least = 1 if column.kind == "constant" else 2
            if not isinstance(column.levels, list) or len(column.level_array()) < least:
                raise ValueError(f"column {column.name!r} has the levels {column.levels!r}")
        marks = column.decimal not in ("", ".", ",") or len(column.thousands) > 1
        if not 0 <= column.digits <= 30 or marks or column.step < 1:
            raise ValueError(f"column {column.name!r} has {column.digits} digits")
        return column


def _check_kind(array: Any, kind: Kind) -> None:
    """Refuse numbers for dates, and dates for numbers; texts may hold both.

    Raises
    ------
    TypeError
        If the array holds such.
    """
    if not is_text(array) and pa.types.is_temporal(array.type) != (kind == "date"):
        raise TypeError(f"{array.type} holds no {kind}")


def type_of(name: str) -> Any:
    """Return the Arrow type of a name, as ``str(type)`` writes it.

    Raises
    ------
    ValueError
        If there is no such type among those that columns have.
    """
    found = _TYPE.fullmatch(name)
    if found is None:
        alias = {"date32[day]": "date32", "date64[ms]": "date64"}.get(name, name)
        return pa.type_for_alias(alias)
    stamp, zone, span, short, long, precision, scale = found.groups()
    if stamp:
        return pa.timestamp(stamp, tz=zone)
    if span:
        return pa.duration(span)
    if short or long:
        return pa.time32(short) if short else pa.time64(long)
    wide = int(precision) > 38
    return (pa.decimal256 if wide else pa.decimal128)(int(precision), int(scale))


def _plain(array: Any) -> list[Any]:
    """Return distinct values in JSON types: dates as integers, decimals as texts."""
    if pa.types.is_temporal(array.type):
        array = _integers(array)
    elif pa.types.is_decimal(array.type):
        array = array.cast(pa.string())
    values: list[Any] = array.to_pylist()
    return values


def _integers(array: Any) -> Any:
    """Return dates and times as the integers that count their unit."""
    wide = pa.types.is_date32(array.type) or pa.types.is_time32(array.type)
    return (array.cast(pa.int32()) if wide else array).cast(pa.int64())


def _from_integers(array: Any, kind: Any) -> Any:
    """Cast integers to a type of integers, or of dates and times that count its unit."""
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        array = array.cast(pa.int32())
    return array.cast(kind)


def _as_integers(numbers: Any) -> Any:
    """Cast floats to integers; return None if that would change one, or could have before.

    Columns of pandas that hold integers and gaps are such floats.
    """
    values = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    is_whole = (np.abs(values) < _EXACT).all() and (values == np.rint(values)).all()
    return pa.array(values.astype(np.int64)) if is_whole else None


def _floats(array: Any, offset: int) -> NDArray[np.float64]:
    """Subtract an offset from numbers exactly, and convert them to floats."""
    if pa.types.is_decimal(array.type) or pa.types.is_boolean(array.type):
        array = array.cast(pa.float64())
    values = array.to_numpy(zero_copy_only=False)
    if offset and values.dtype.kind in "iu":
        return np.asarray(values.astype(object) - offset, np.float64)
    return np.asarray(values, np.float64) - offset


def _whole(numbers: NDArray[np.float64], offset: int, step: int, kind: Any) -> Any:
    """Round numbers to a step, add an offset exactly, and stay within the range of a type."""
    bits, is_signed = kind.bit_width, not str(kind).startswith("u")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    steps = np.rint(numbers / step).tolist()
    values = [min(max(int(value) * step + offset, low), high) for value in steps]
    return pa.array(values, pa.int64() if is_signed else pa.uint64())


def _check_finite(name: str, numbers: Any) -> None:
    values = numbers.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if np.isinf(values).any():
        raise DataError(
            f"Input X contains infinity: column {name!r} has "
            f"{counted(int(np.isinf(values).sum()), 'infinite value')}; only finite numbers and "
            "gaps are allowed; make gaps of them",
            column=name,
        )
    if len(values) and (most := np.nanmax(np.abs(values))) > _LARGEST:
        raise DataError(
            f"column {name!r} has the number {most:.3g}, beyond what single precision holds "
            f"({_LARGEST:.2g}); divide the column by a constant, or make gaps of such numbers",
            column=name,
        )


def _are_few(n_levels: int, n: int) -> bool:
    """Return whether so many values of n rows are a category."""
    is_short = n_levels <= _FEW_LEVELS or (n_levels <= _MOST_LEVELS and 2 * n_levels <= n)
    return is_short or n >= _RECURRENCE * n_levels


def _without_gaps(texts: Any) -> list[str]:
    return [text for text in texts.to_pylist() if not is_missing(text)]


def _why_text(texts: Any) -> tuple[str, bool]:
    """Describe texts of many values, and tell whether they are numbers or dates with a defect."""
    known = _without_gaps(texts)
    if (code := code_among(texts)) is not None:
        return f"{counted(len(known), 'code')} such as {code!r}", False
    if (dates := mixed_forms(known)) is not None:
        return f"dates of several formats, such as {dates[0]!r} and {dates[1]!r}", True
    wrong = [text for text in known if Marks().value(text) is None]
    if wrong and 10 * len(wrong) < len(known):
        example = shortened(wrong[0], _LONGEST_EXAMPLE)
        return f"{DEFECT}{counted(len(wrong), 'text')} such as {example!r}", True
    return f"free text of {counted(len(known), 'value')}", False
