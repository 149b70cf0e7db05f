"""The tree of a filter's conditions on columns, and its SQL for Lance.

A condition has three truth values, as in SQL: a comparison with a missing value is neither true nor
false. Each leaf therefore also holds the SQL of its negation. NaN counts as missing.
"""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import floor
from typing import Any

import pyarrow as pa

from narrows.texts import is_text, printable

OWN_COLUMNS = ("id", "hash", "path", "added", "picture", "reference", "thumbnail", "code")
"""The columns that every library has, before those of its users."""
# Those of them that filters may name.
_FILTERED = ("id", "path", "added")
RESERVED = {"AND", "OR", "NOT", "NULL", "TRUE", "FALSE"}
DAY = 86_400_000_000  # in microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {
    "integer": ("a whole number", "whole numbers"),
    "float": ("a number", "numbers"),
    "number": ("a number", "numbers"),
    "text": ("a text", "texts"),
    "date": ("a date", "dates"),
    "time": ("a time", "times"),
    "truth": ("a truth value", "truth values"),
    "null": ("NULL", "NULL"),
    "": ("a value", "values"),
}
# What a column of each kind is compared with.
REMEDIES = {
    "integer": "compare it with a number, without quotes",
    "float": "compare it with a number, without quotes",
    "text": "compare it with a text in single quotes",
    "date": "compare it with a date, such as '2020-01-31'",
    "time": "compare it with a time, such as '2020-01-31 12:00:00'",
    "truth": "compare it with TRUE or FALSE",
}
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[ T]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(\.[0-9]{1,9})? ?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_NEGATED = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


@dataclass(frozen=True)
class Column:
    """A column of the library's table, or a text function of one."""

    name: str
    kind: str  # "" if its values cannot be compared
    type: str  # as Arrow calls it
    sql: str

    @property
    def described(self) -> str:
        """The column's name and kind of values, for messages."""
        return f"{short_name(self.name)} holds {_KINDS[self.kind][1]} ({self.type})"


@dataclass(frozen=True)
class Value:
    """A value that a filter names."""

    kind: str
    value: Any  # Fraction for numbers, microseconds since 1970 for dates and times
    shown: str
    zoned: bool = False

    @property
    def described(self) -> str:
        """The kind of the value, for messages."""
        return _KINDS[self.kind][0]


@dataclass(frozen=True)
class Leaf:
    """A single condition: SQL that is true where it holds, and SQL that is true where it fails."""

    positive: str
    negative: str

    levels = 0

    def sql(self, *, negated: bool = False) -> str:
        """Write the condition, or its negation, as SQL."""
        return self.negative if negated else self.positive


@dataclass(frozen=True)
class Joined:
    """Conditions joined by AND or OR."""

    word: str
    parts: tuple["Node", ...]
    levels: int

    def sql(self, *, negated: bool = False) -> str:
        """Write the condition, or its negation, as SQL."""
        # De Morgan's laws, which hold for three truth values too, move NOT to the leaves.
        word = {"AND": "OR", "OR": "AND"}[self.word] if negated else self.word
        return "(" + f" {word} ".join(part.sql(negated=negated) for part in self.parts) + ")"


@dataclass(frozen=True)
class Not:
    """The negation of a condition."""

    part: "Node"

    @property
    def levels(self) -> int:
        """The depth to which AND and OR are nested."""
        return self.part.levels

    def sql(self, *, negated: bool = False) -> str:
        """Write the condition, or its negation, as SQL."""
        return self.part.sql(negated=not negated)


Node = Leaf | Joined | Not
Operand = Column | Value
UNKNOWN = Leaf("CAST(NULL AS BOOLEAN)", "CAST(NULL AS BOOLEAN)")


def join(word: str, parts: Sequence[Node]) -> Node:
    """Join conditions by AND or OR; parts joined by the same word become one level."""
    flat: list[Node] = []
    for part in parts:
        flat += part.parts if isinstance(part, Joined) and part.word == word else [part]
    return Joined(word, tuple(flat), 1 + max(part.levels for part in flat))


def comparison(left: str, right: str, sign: str) -> Leaf:
    """Compare two pieces of SQL that have one type."""
    return Leaf(f"{left} {sign} {right}", f"{left} {_NEGATED[sign]} {right}")


def same(sql: str, *, alike: bool) -> Leaf:
    """Return a condition that is true (or false) for all values, and unknown for missing ones."""
    return comparison(sql, sql, "=" if alike else "<>")


def compare_whole(sql: str, sign: str, value: Fraction) -> Leaf:
    """Compare a column of 64-bit integers with any number, exactly."""
    whole = floor(value)
    if whole != value:
        if sign in ("=", "<>"):
            return same(sql, alike=sign == "<>")
        # Nothing lies between a number and the whole number below it.
        sign = {">=": ">", "<": "<="}.get(sign, sign)
    if not -(2**63) <= whole < 2**63:
        return same(sql, alike=sign in (("<", "<=", "<>") if whole > 0 else (">", ">=", "<>")))
    return comparison(sql, _integer(whole), sign)


def storable(column: Column, value: Any) -> Any:
    """Convert a value to one that a column can hold; None if it cannot."""
    if column.kind not in ("integer", "date", "time"):
        return value
    whole = floor(value)
    return whole if whole == value and -(2**63) <= whole < 2**63 else None


def as_sql(value: Any) -> Any:
    """Write a value as SQL."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return _integer(value) if isinstance(value, int) else repr(value)


def _integer(value: int) -> str:
    # Lance parses the sign as an operator, and 2**63 behind it would overflow 64 bits.
    return str(value) if value > -(2**63) else f"({value + 1} - 1)"


def translated(pattern: str, escape: str | None) -> str | None:
    r"""Write a pattern for Lance, whose escape character is ``\``; None if it ends in an escape."""
    signs = iter(pattern)
    parts = []
    for sign in signs:
        if sign == escape:
            literal = next(signs, None)
            if literal is None:
                return None
            parts.append("\\" + literal if literal in "%_\\" else literal)
        else:
            parts.append("\\\\" if sign == "\\" else sign)
    return "".join(parts)


def moment_of(text: str) -> tuple[Fraction, bool] | None:
    """Return the microseconds since 1970 of a date or time, UTC unless it names a zone."""
    found = _MOMENT.fullmatch(text)
    if found is None or (found[4] and not found[3]):
        return None
    day, minutes, seconds, part, zone = found.groups()
    iso = f"{day}T{minutes or '00:00'}{seconds or ''}{zone or '+00:00'}"
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return None
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    return micros + Fraction(part or 0) * 1_000_000, zone is not None


def _kind(type_: Any) -> str:
    """Name the kind of values of an Arrow type; empty for types that filters do not compare."""
    known = (
        ("truth", pa.types.is_boolean),
        ("integer", pa.types.is_signed_integer),
        ("float", pa.types.is_float64),
        ("text", is_text),
        ("date", pa.types.is_date32),
        ("time", lambda t: pa.types.is_timestamp(t) and t.unit == "us"),
    )
    return next((kind for kind, belongs in known if belongs(type_)), "")


def user_fields(schema: Any) -> list[Any]:
    """Return the users' columns of a table, in the order in which they were added."""
    return [field for field in schema if field.name not in OWN_COLUMNS]


class Columns:
    """The columns of a table that filters may name.

    Parameters
    ----------
    schema : pyarrow.Schema
        The schema of the library's table.
    """

    def __init__(self, schema: Any) -> None:
        own = {n: schema.field(n) for n in _FILTERED if n in schema.names}
        self._users = {field.name: field for field in user_fields(schema)}
        self._fields = own | self._users
        self._internal = set(schema.names) - set(self._fields)

    @cached_property
    def _alike(self) -> dict[str, list[Any]]:
        """The columns by their names, composed and without case."""
        columns: dict[str, list[Any]] = defaultdict(list)
        for name, field in self._fields.items():
            for key in {_composed(name), _folded(name)}:
                columns[key].append(field)
        return columns

    def find(self, name: str) -> Column | None:
        """Find a column by its name, which may differ in case or composition if it is unique."""
        if name in self._fields:
            return _column_of(self._fields[name])
        for key in (_composed(name), _folded(name)):
            if found := self._alike.get(key):
                return _column_of(found[0]) if len(found) == 1 else None
        return None

    def is_internal(self, name: str) -> bool:
        """Return whether a name is that of an internal column, which filters may not name."""
        return name in self._internal

    def suggestion(self, name: str, rest: str) -> str:
        """Suggest a column for an unknown name; ``rest`` is the filter from the name on."""
        names = [*self._users, *_FILTERED]
        # A name with spaces or hyphens in it, written without quotes.
        near = [n for n in names if len(n) > len(name) and rest.startswith(n)]
        if not near:
            by_folded = {_folded(n[:64]): n for n in reversed(names)}
            close = difflib.get_close_matches(_folded(name[:64]), by_folded, 1)
            near = [by_folded[key] for key in close]
        if not near:
            return ""
        best = max(near, key=len)
        plain = re.fullmatch(r"[^\W\d]\w*", best) and best.upper() not in RESERVED
        hint = f"; did you mean {short(best) if plain else short_name(best)}?"
        if best.isascii() and not name.isascii():
            odd = next(c for c in name if not c.isascii())
            hint += f" ({printable(odd)!r} is U+{ord(odd):04X} {unicodedata.name(odd, '')})"
        return hint

    def listed(self, room: int) -> str:
        """List the users' columns with their types, as many as there is room for."""
        if not self._users:
            return "there are no columns of yours, only id, path and added"
        names = [f"{short(name)} ({field.type})" for name, field in self._users.items()]
        head, tail = "its columns are ", f" and {len(names)} more"
        ends = accumulate(len(name) + len(", ") for name in names)
        fit = sum(end <= room - len(head) - len(tail) + len(", ") for end in ends)
        if not fit:
            return f"it has {len(names)} columns"
        more = f" and {len(names) - fit} more" if fit < len(names) else ""
        return head + ", ".join(names[:fit]) + more


def short(text: str, most: int = 40) -> str:
    """Shorten a text for a message."""
    shown = printable(text if len(text) <= most else text[: most - 1] + "…")
    return shown if len(shown) <= 2 * most else shown[: 2 * most - 1] + "…"


def short_name(name: str) -> str:
    """Shorten a column's name for a message, and quote it as filters do."""
    return '"' + short(name.replace('"', '""')) + '"'


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _column_of(field: Any) -> Column:
    """Return a column of the table and the SQL of its values."""
    kind, sql = _kind(field.type), f"`{field.name}`"
    if kind == "float":
        # Without NaN, which Lance takes for the largest number, and without -0.0.
        sql = f"(nanvl({sql}, NULL) + 0.0)"
    elif kind in ("date", "time"):
        sql = f"CAST({sql} AS BIGINT)"
    return Column(field.name, kind, str(field.type), sql)
