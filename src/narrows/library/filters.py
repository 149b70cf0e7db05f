"""Filters (``where``): a small language of conditions on columns, rebuilt as SQL for Lance.

::

    any        = all {OR all}
    all        = negated {AND negated}
    negated    = {NOT} test
    test       = value [sign value | [NOT] BETWEEN value AND value | [NOT] IN (literal {, literal})
               | [NOT] LIKE text [ESCAPE text] | IS [NOT] NULL]
    value      = (any) | column | column % number | LOWER(column) | UPPER(column) | literal
    sign       = "=" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    column     = word | "quoted" | `quoted`
    literal    = [+|-] number | 'text' | DATE 'text' | TIMESTAMP 'text' | TRUE | FALSE | NULL

A filter is parsed into a tree whose leaves compare columns with values of their types. Only the SQL
that is written from this tree reaches Lance, so that no other function of its engine is reachable.
Conditions have three truth values, as in SQL: a comparison with a missing value is neither true nor
false. NaN counts as missing.
"""

import re
import reprlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Any, NoReturn

from narrows.errors import ParameterError
from narrows.library.conditions import (
    DAY,
    REMEDIES,
    RESERVED,
    UNKNOWN,
    Column,
    Columns,
    Leaf,
    Node,
    Not,
    Operand,
    Value,
    as_sql,
    compare_whole,
    comparison,
    join,
    moment_of,
    same,
    short,
    short_name,
    storable,
    translated,
)
from narrows.texts import printable

MOST_CHARACTERS = 65_536
MOST_CONDITIONS = 500
MOST_ITEMS = 10_000
# Levels of parentheses, and of AND within OR within AND; Lance's parser recurses into each.
MOST_NESTED = 32
MOST_LEVELS = 12
_LONGEST_NUMBER = 400
_LONGEST_PATTERN = 1000
_LONGEST_MESSAGE = 500

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f\v]++)
    | (?P<text>'(?:[^']|'')*+')
    | (?P<quoted>"(?:[^"]|"")*+"|`(?:[^`]|``)*+`)
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<word>[^\W\d][\w\u0300-\u036f]*+)
    | (?P<sign><>|!=|<=|>=|[=<>(),+%-])""",
    re.VERBOSE,
)
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_FUNCTIONS = {"LOWER", "UPPER"}


@dataclass(frozen=True)
class _Token:
    kind: str  # the group of _TOKEN that matched, or "end"
    text: str
    start: int

    @property
    def word(self) -> str:
        """A word in capitals or a sign as it is; empty for other tokens and non-ASCII words."""
        return self.text.upper() if self.kind in ("word", "sign") and self.text.isascii() else ""


def to_sql(where: object, schema: Any) -> str:
    """Turn a filter into the SQL that Lance takes.

    Parameters
    ----------
    where : str
        The filter.
    schema : pyarrow.Schema
        The schema of the library's table.

    Returns
    -------
    str
        Lance's SQL, in which names are quoted and values have the types of their columns.

    Raises
    ------
    ParameterError
        If it is not a valid filter, too long, or compares a column with a value of another type.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from narrows.library.filters import to_sql
    >>> schema = pa.schema({"id": pa.int64(), "label": pa.string(), "year": pa.int64()})
    >>> to_sql("label = 'boot' AND NOT (year < 2010.5 OR id IN (3, 4))", schema)
    "(`label` = 'boot' AND (`year` > 2010 AND `id` NOT IN (3, 4)))"
    """
    if not isinstance(where, str) or not where.strip():
        raise ParameterError(f'where={reprlib.repr(where)} is no filter; write one like "id < 10"')
    return _Parser(where, schema).read().sql()


class _Parser:
    """A recursive descent parser: each rule of the grammar is read by the method of its name."""

    def __init__(self, where: str, schema: Any) -> None:
        self._where = where
        self._nested = 0
        self._conditions = 0
        self._columns = Columns(schema)
        if len(where) > MOST_CHARACTERS:
            self._refuse(f"it has {len(where)} characters; use at most {MOST_CHARACTERS}")
        self._tokens = self._split()
        self._token = next(self._tokens)

    def read(self) -> Node:
        node = self._condition(self._any())
        if self._token.kind != "end":
            self._expected("AND, OR or the end")
        if node.levels > MOST_LEVELS:
            self._refuse(f"AND and OR are nested {node.levels} deep; use at most {MOST_LEVELS}")
        return node

    # Tokens.

    def _split(self) -> Iterator[_Token]:
        place = 0
        while place < len(self._where):
            found = _TOKEN.match(self._where, place)
            if found is None:
                self._refuse_sign(place)
            if found.lastgroup != "space":
                yield _Token(str(found.lastgroup), found[0], place)
            place = found.end()
        while True:
            yield _Token("end", "", place)

    def _refuse_sign(self, place: int) -> NoReturn:
        sign = self._where[place]
        if sign == "'":
            self._refuse(f"the text that begins at character {place + 1} has no end; add a '")
        if sign in '"`':
            self._refuse(f"the name that begins at character {place + 1} has no end; add a {sign}")
        name = unicodedata.name(sign, "") if not sign.isascii() else ""
        what = f"{printable(sign)!r}" if sign.isascii() else f"U+{ord(sign):04X} {name}".strip()
        remedy = "" if sign.isascii() else "; use plain signs: ' \" ( ) , = < > and spaces"
        self._refuse(f"{what} at character {place + 1} means nothing outside quotes{remedy}")

    def _next(self) -> _Token:
        token, self._token = self._token, next(self._tokens)
        return token

    def _take(self, *words: str) -> bool:
        """Consume the next token if it is one of these words or signs."""
        if self._token.word not in words:
            return False
        self._next()
        return True

    def _need(self, *words: str) -> None:
        if not self._take(*words):
            self._expected(" or ".join(words))

    # The grammar.

    def _any(self) -> Node | Operand:
        return self._joined("OR", self._all)

    def _all(self) -> Node | Operand:
        return self._joined("AND", self._negated)

    def _joined(self, word: str, part: Any) -> Node | Operand:
        first: Node | Operand = part()
        if self._token.word != word:
            return first
        parts = [self._condition(first)]
        while self._take(word):
            parts.append(self._condition(part()))
        return join(word, parts)

    def _negated(self) -> Node | Operand:
        count = 0
        while self._take("NOT"):
            count += 1
        test = self._test()
        if not count:
            return test
        node = self._condition(test)
        return Not(node) if count % 2 else node

    def _test(self) -> Node | Operand:
        left = self._value()
        sign = self._token.word
        if sign not in (*_FLIPPED, "!=", "NOT", "IN", "BETWEEN", "LIKE", "IS"):
            return left
        if not isinstance(left, Operand):
            self._refuse(f"{sign} at character {self._token.start + 1} follows a condition; "
                         "join conditions by AND or OR")  # fmt: skip
        self._count()
        self._next()
        if sign in _FLIPPED or sign == "!=":
            return self._compare(left, sign.replace("!=", "<>"), self._operand())
        if sign == "IS":
            negated = self._take("NOT")
            self._need("NULL")
            return _negate_if(negated, self._missing(left))
        negated = sign == "NOT"
        if negated:
            sign = self._token.word
            self._need("IN", "BETWEEN", "LIKE")
        read = {"IN": self._in, "BETWEEN": self._between, "LIKE": self._like}[sign]
        return _negate_if(negated, read(left))

    def _count(self) -> None:
        self._conditions += 1
        if self._conditions > MOST_CONDITIONS:
            self._refuse(f"it has more than {MOST_CONDITIONS} conditions; use IN (...)")

    def _value(self) -> Node | Operand:
        token = self._token
        if token.word == "(":
            self._nested += 1
            if self._nested > MOST_NESTED:
                self._refuse(f"parentheses are nested more than {MOST_NESTED} deep")
            self._next()
            inner = self._any()
            self._need(")")
            self._nested -= 1
            return inner
        if token.kind == "word" and token.word not in RESERVED:
            self._next()
            if token.word in _FUNCTIONS and self._token.word == "(":
                return self._function(token)
            if token.word in ("DATE", "TIMESTAMP") and self._token.kind == "text":
                return self._moment(token.word, self._next())
            if self._token.word == "(":
                self._refuse(f"{short(token.text)}(...) is a function; filters compare columns "
                             "with values, and know LOWER(column) and UPPER(column)")  # fmt: skip
            return self._remainder(self._column(token, token.text))
        if token.kind == "quoted":
            quote = token.text[0]
            self._next()
            name = token.text[1:-1].replace(quote * 2, quote)
            return self._remainder(self._column(token, name))
        return self._literal()

    def _operand(self) -> Operand:
        start = self._token.start
        value = self._value()
        if not isinstance(value, Operand):
            self._refuse(f"a condition stands at character {start + 1} where a value is expected")
        return value

    def _function(self, token: _Token) -> Column:
        self._need("(")
        inner = self._operand()
        self._need(")")
        if not isinstance(inner, Column) or inner.kind != "text" or "(" in inner.sql:
            self._refuse(f"{token.word}(...) takes a column of texts and nothing else")
        return Column(inner.name, "text", inner.type, f"{token.word.lower()}({inner.sql})")

    def _remainder(self, column: Column) -> Column:
        if not self._take("%"):
            return column
        by = self._operand()
        count = by.value if isinstance(by, Value) and by.kind == "number" else 0
        if column.kind != "integer" or count != int(count) or not 0 < count < 2**63:
            self._refuse("% takes a column of whole numbers and a positive whole number")
        return Column(column.name, "integer", column.type, f"({column.sql} % {int(count)})")

    def _literal(self) -> Value:
        token = self._token
        if token.word in ("+", "-"):
            self._next()
            if self._token.kind != "number":
                self._expected(f"a number after {token.word}")
            return self._number(self._next(), "-" if token.word == "-" else "")
        if token.kind == "number":
            return self._number(self._next(), "")
        if token.kind == "text":
            self._next()
            text = token.text[1:-1].replace("''", "'")
            if any("\ud800" <= c <= "\udfff" or c == "\0" for c in text):
                self._refuse(f"the text at character {token.start + 1} has characters that "
                             "no library holds (NUL, or bytes that are not UTF-8)")  # fmt: skip
            return Value("text", text, token.text)
        if token.word in ("TRUE", "FALSE"):
            self._next()
            return Value("truth", token.word == "TRUE", token.word)
        if token.word == "NULL":
            self._next()
            return Value("null", None, "NULL")
        return self._expected("a column or a value")

    def _number(self, token: _Token, minus: str) -> Value:
        text = minus + token.text
        if len(text) > _LONGEST_NUMBER:
            self._refuse(f"the number {short(text)} has {len(text)} characters; "
                         f"use at most {_LONGEST_NUMBER}")  # fmt: skip
        number = float(text)
        nonzero = re.search("[1-9]", token.text.lower().partition("e")[0])
        if not isfinite(number) or (number == 0 and nonzero):
            self._refuse(f"the number {short(text)} is beyond double precision; "
                         "use one from 1e-300 to 1e300, or 0")  # fmt: skip
        return Value("number", Fraction(text if number else 0), text)

    def _moment(self, word: str, token: _Token) -> Value:
        text = token.text[1:-1]
        moment = moment_of(text)
        if moment is None or (word == "DATE" and len(text) > 10):
            example = "2020-01-31" if word == "DATE" else "2020-01-31 12:00:00"
            self._refuse(f"{word} {short(token.text)} is none; write it like {word} '{example}'")
        kind = "date" if word == "DATE" else "time"
        return Value(kind, moment[0], f"{word} {token.text}", moment[1])

    # Conditions and the types of what they compare.

    def _condition(self, item: Node | Operand) -> Node:
        if not isinstance(item, Operand):
            return item
        if self._token.kind != "end" and self._token.word not in ("AND", "OR", ")"):
            self._expected("a comparison")
        self._count()
        if isinstance(item, Column):
            if item.kind == "truth":
                return Leaf(item.sql, f"NOT {item.sql}")
            self._refuse(f"{short_name(item.name)} alone is no condition; compare it with a value")
        if item.kind == "truth":
            return Leaf(*(("TRUE", "FALSE") if item.value else ("FALSE", "TRUE")))
        return self._refuse(f"{short(item.shown)} alone is no condition; compare a column with it")

    def _compare(self, left: Operand, sign: str, right: Operand) -> Node:
        if isinstance(left, Value):
            if isinstance(right, Value):
                self._refuse(f"{short(left.shown)} {sign} {short(right.shown)} compares no "
                             "column; write its name without single quotes")  # fmt: skip
            return self._compare(right, _FLIPPED[sign], left)
        if isinstance(right, Column):
            return comparison(*self._alike(left, right), sign)
        if right.kind == "null":
            self._refuse(f"a comparison with NULL is never true; write {short_name(left.name)} "
                         f"IS {'NOT ' if sign == '<>' else ''}NULL")  # fmt: skip
        value = self._fit(left, right)
        if left.kind in ("integer", "date", "time"):
            return compare_whole(left.sql, sign, value)
        return comparison(left.sql, as_sql(value), sign)

    def _alike(self, left: Column, right: Column) -> tuple[str, str]:
        """Return the SQL of two columns, converted to one type."""
        kinds = {left.kind, right.kind}
        if left.kind == right.kind != "":
            return left.sql, right.sql
        widened = {"integer": "CAST({} AS DOUBLE)", "date": f"{{}} * {DAY}"}
        if kinds in ({"integer", "float"}, {"date", "time"}):
            first, second = (
                widened.get(column.kind, "{}").format(column.sql) for column in (left, right)
            )
            return first, second
        return self._refuse(f"{left.described} and {right.described} cannot be compared")

    def _fit(self, column: Column, given: Value) -> Any:
        """Convert a value to the type of a column."""
        kind = column.kind
        if kind in ("date", "time") and given.kind in ("text", "date", "time"):
            is_text = given.kind == "text"
            moment = moment_of(given.value) if is_text else (given.value, given.zoned)
            if moment is None:
                self._refuse(f"{column.described}, and {short(given.shown)} is none; "
                             f"{REMEDIES[kind]}", column.name)  # fmt: skip
            if moment[1] and "tz=" not in column.type:
                why = f"{column.described} without a time zone, and {short(given.shown)} names one"
                self._refuse(f"{why}; leave it out", column.name)
            return moment[0] / DAY if kind == "date" else moment[0]
        if kind in ("integer", "float") and given.kind == "number":
            return given.value if kind == "integer" else float(given.value) + 0.0
        if kind == given.kind:
            return given.value
        if not kind:
            self._refuse(f"{column.described}, which filters do not compare", column.name)
        remedy = REMEDIES[kind]
        if kind == "text" and given.kind == "number":
            remedy = f"write '{short(given.shown)}'"
        return self._refuse(
            f"{column.described}, and {short(given.shown)} is {given.described}; {remedy}",
            column.name,
        )

    def _missing(self, column: Operand) -> Node:
        if isinstance(column, Value):
            self._refuse(f"{short(column.shown)} IS NULL looks at no column")
        return Leaf(f"{column.sql} IS NULL", f"{column.sql} IS NOT NULL")

    def _between(self, value: Operand) -> Node:
        low = self._operand()
        self._need("AND")
        high = self._operand()
        return join("AND", [self._compare(value, ">=", low), self._compare(value, "<=", high)])

    def _in(self, column: Operand) -> Node:
        if isinstance(column, Value):
            self._refuse(f"{short(column.shown)} IN (...) looks at no column")
        self._need("(")
        values: list[str] = []
        count, missing = 0, False
        while True:
            item = self._operand()
            count += 1
            if isinstance(item, Column):
                self._refuse(f"IN (...) takes values, and {short_name(item.name)} is a column")
            if count > MOST_ITEMS:
                self._refuse(f"IN (...) has more than {MOST_ITEMS} items")
            if item.kind == "null":
                missing = True
            elif (sql := as_sql(storable(column, self._fit(column, item)))) is not None:
                values.append(sql)
            if self._take(")"):
                break
            if not self._take(","):
                self._expected(", or )")
        node: Node = same(column.sql, alike=False)
        if values:
            listed = ", ".join(values)
            node = Leaf(f"{column.sql} IN ({listed})", f"{column.sql} NOT IN ({listed})")
        return join("OR", [node, UNKNOWN]) if missing else node

    def _like(self, column: Operand) -> Node:
        if not isinstance(column, Column) or column.kind != "text":
            what = column.described if isinstance(column, Column) else short(column.shown)
            self._refuse(f"LIKE looks at columns of texts; {what}")
        pattern, escape = self._operand(), None
        if self._take("ESCAPE"):
            given = self._operand()
            escape = given.value if isinstance(given, Value) and given.kind == "text" else ""
            if len(escape) != 1:
                self._refuse("ESCAPE takes one character in single quotes, such as ESCAPE '!'")
        if not isinstance(pattern, Value) or pattern.kind != "text":
            self._refuse("LIKE takes a pattern in single quotes, such as LIKE 'photos/%'")
        if len(pattern.value) > _LONGEST_PATTERN:
            self._refuse(f"the pattern has {len(pattern.value)} characters; "
                         f"use at most {_LONGEST_PATTERN}")  # fmt: skip
        lance = translated(pattern.value, escape)
        if lance is None:
            self._refuse(f"the pattern {short(pattern.shown)} ends in its ESCAPE character")
        text = as_sql(lance)
        return Leaf(f"{column.sql} LIKE {text}", f"{column.sql} NOT LIKE {text}")

    # Columns.

    def _column(self, token: _Token, name: str) -> Column:
        column = self._columns.find(name)
        if column is not None:
            return column
        shown = short_name(name)
        if self._columns.is_internal(name):
            self._refuse(f"{shown} is not a column to filter by", name)
        hint = self._columns.suggestion(name, self._where[token.start :])
        if token.text.startswith('"'):
            text = short("'" + name.replace("'", "''") + "'")
            self._refuse(f"{shown} is no column; texts stand in single quotes: {text}{hint}", name)
        return self._refuse(f"{shown} is no column{hint}", name)

    # Errors.

    def _expected(self, what: str) -> NoReturn:
        token = self._token
        if token.kind == "end":
            self._refuse(f"it ends where {what} is expected")
        self._refuse(
            f"{short(token.text)} at character {token.start + 1} stands where {what} is expected"
        )

    def _refuse(self, why: str, column: str | None = None) -> NoReturn:
        shown = repr(self._where[:60] + ("…" if len(self._where) > 60 else ""))
        shown = shown if len(shown) <= 100 else shown[:99] + "…"
        message = f"where={shown} is no filter: {why}; "
        message += self._columns.listed(_LONGEST_MESSAGE - len(message))
        raise ParameterError(message[:_LONGEST_MESSAGE], parameter="where", column=column)


def _negate_if(negated: bool, node: Node) -> Node:
    return Not(node) if negated else node
