"""How numbers are written in texts: their decimal mark and thousands separator."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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
