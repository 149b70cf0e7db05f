"""Numbers in a column of texts: their marks and digits, and currencies and units around them."""

import re
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from narrows.data.codes import code_among, power_among
from narrows.data.dialect import Marks, find_marks, is_missing

_LONGEST = 60  # characters of a number and what is around it
_MONEY = "$€£¥₹₽₩₺₪฿"
_CODES = (
    "EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|KRW|TRY|kr|zł|Kč"
)
_CURRENCY = rf"(?:(?:US|CA|AU|A|C|NZ|HK|S|R)?[{_MONEY}]|{_CODES})"
_NUMBER = r"(?:[\d.,'\u2019]|(?<=\d)[ \u00a0\u202f](?=\d{3}))*\d[.,]?"
_LETTERS = r"[^\W\d_]{1,4}[²³]?"
_UNIT = rf"\s?(?:[%‰°]\s?[CFK]?|[{_MONEY}]|{_CODES})|\s{_LETTERS}(?:/{_LETTERS})?"
_WHOLE = re.compile(
    rf"(?P<open>\()?(?P<sign>[+-]?)(?P<prefix>{_CURRENCY}\s?)?(?P<inner>[+-]?)"
    rf"(?P<number>{_NUMBER})(?P<suffix>{_UNIT})?(?P<close>\))?"
)
_IS_MONEY = re.compile(rf"\s?{_CURRENCY}\s?")


@dataclass(frozen=True)
class Affixes:
    """The texts around the numbers of a column.

    Attributes
    ----------
    prefix, suffix : str
        Such as "$" and " %", with the blank between them and the number.
    has_brackets : bool
        Whether negative numbers are in brackets, as in accounting.
    """

    prefix: str = ""
    suffix: str = ""
    has_brackets: bool = False

    @classmethod
    def find(cls, texts: list[str]) -> Self | None:
        """Return what all texts, without missing values, have around their numbers.

        Returns
        -------
        Affixes or None
            None if there is nothing around them, or not the same around all.

        Examples
        --------
        >>> Affixes.find(["$5.00", "-$1,200.50", "($3.10)"])
        Affixes(prefix='$', suffix='', has_brackets=True)
        >>> Affixes.find(["5 kg", "6 cm"]), Affixes.find(["12a", "13a"])
        (None, None)
        """
        parts = [_WHOLE.fullmatch(text.strip()) for text in texts if len(text) < _LONGEST]
        found = [part for part in parts if part is not None]
        if len(found) < len(texts) or not found:
            return None
        if any(bool(part["open"]) != bool(part["close"]) for part in found):
            return None
        around = {((p["prefix"] or "").strip(), (p["suffix"] or "").strip()) for p in found}
        affixes = cls(
            found[0]["prefix"] or "", found[0]["suffix"] or "", any(p["open"] for p in found)
        )
        return affixes if len(around) == 1 and affixes != cls() else None

    def number_of(self, text: str) -> str | None:
        """Return the number in a text, with its sign; None if something else is around it."""
        found = _WHOLE.fullmatch(text.strip())
        if found is None or bool(found["open"]) != bool(found["close"]):
            return None
        around = (found["prefix"] or "").strip(), (found["suffix"] or "").strip()
        signs = [sign for sign in (found["open"], found["sign"], found["inner"]) if sign]
        if around != (self.prefix.strip(), self.suffix.strip()) or len(signs) > 1:
            return None
        return ("-" if signs and signs[0] in "(-" else "") + found["number"]

    def numbers_of(self, texts: Any) -> Any:
        """Return the numbers in an Arrow array of texts.

        Raises
        ------
        ValueError
            If something else is around one of them.
        """
        if self == Affixes():
            return texts
        encoded = texts.dictionary_encode()
        numbers = [self.number_of(text) for text in encoded.dictionary.to_pylist()]
        if None in numbers:
            raise ValueError("a number has another unit")
        return pa.array(numbers, pa.string()).take(encoded.indices)

    def around(self, number: str) -> str:
        """Write a number with its affixes.

        Examples
        --------
        >>> Affixes("$", "").around("-5.00"), Affixes("", " %", True).around("-5")
        ('-$5.00', '(5 %)')
        """
        sign = "-" if number.startswith("-") else ""
        text = f"{self.prefix}{number.removeprefix('-')}{self.suffix}"
        return f"({text})" if sign and self.has_brackets else sign + text

    def marks(self, numbers: list[str], known: Marks | None) -> tuple[Marks, str] | None:
        """Tell how the numbers between affixes are written, and what was guessed.

        An amount of money such as 1,500 has thousands, as three digits behind the decimal mark are
        unusual.
        """
        comma = known is not None and known.decimal == ","
        found = find_marks(numbers, "," if comma else None)
        marks, why = found.marks, ""
        is_money = any(_IS_MONEY.fullmatch(text) for text in (self.prefix, self.suffix))
        if found.doubt is not None or not found.is_proven:
            mark = next((m for m in ",." if any(m in number for number in numbers)), None)
            if mark is not None:
                marks = Marks("." if mark == "," else ",", mark) if is_money else Marks(mark)
                example = next(number for number in numbers if mark in number)
                meaning = "to separate thousands" if is_money else "as a decimal mark"
                why = f"{mark!r} in {self.around(example)!r} was read {meaning}"
        return (marks, why) if all(marks.value(text) is not None for text in numbers) else None


def parse_numbers(texts: Any, marks: Marks) -> NDArray[np.float64]:
    """Convert texts of numbers, raise ValueError for others."""
    numbers = _plain(texts, marks).cast(pa.float64())
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def parse_integers(texts: Any, marks: Marks) -> Any:
    """Convert texts of whole numbers to an Arrow array of 64-bit integers, without loss.

    Raises
    ------
    pyarrow.ArrowInvalid
        If one is none, or beyond 64 bits.
    """
    return _plain(texts, marks).cast(pa.int64())


def _plain(texts: Any, marks: Marks) -> Any:
    """Write numbers as Arrow takes them."""
    trimmed = compute.utf8_trim_whitespace(texts)
    for sign in marks.removed:
        trimmed = compute.replace_substring(trimmed, sign, "")
    if marks.decimal != ".":
        trimmed = compute.replace_substring(trimmed, marks.decimal, ".")
    return compute.utf8_ltrim(trimmed, "+")


def number_form(texts: Any, marks: Marks | None) -> tuple[Marks, int, str, Affixes] | None:
    """Tell how distinct texts are numbers: marks, digits behind, what was guessed, what is around.

    Codes are no numbers; see :mod:`narrows.data.codes`.
    """
    known = [text.strip() for text in texts.to_pylist() if not is_missing(text)]
    if not known or code_among(texts) is not None:
        return None
    if (affixes := Affixes.find(known)) is not None:
        numbers = [n for text in known if (n := affixes.number_of(text)) is not None]
        form = affixes.marks(numbers, marks) if len(numbers) == len(known) else None
        if form is not None:
            most = max(len(text.partition(form[0].decimal)[2]) for text in numbers)
            return form[0], most, form[1], affixes
    several = dict.fromkeys(
        (marks or Marks(), Marks(), Marks(","), Marks(".", ","), Marks(",", "."), Marks(",", " "))
    )
    for one in several:
        if all(one.value(text) is not None for text in known):
            behind = (re.split(r"[eE]", text)[0].partition(one.decimal)[2] for text in known)
            digits = max(map(len, behind))
            has_power = any(re.search(r"\d[eE]", text) for text in known)
            power = power_among(texts)
            why = "" if power is None else f"{power!r} was read as a power of ten"
            if one not in (marks, Marks()) and one.decimal == ",":
                why = f"commas were read as decimal marks, as in {known[0]!r}"
                if all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", t) for t in known if "," in t):
                    why += ", though they may separate thousands"
            return one, min(30, digits + 6 * has_power), why, Affixes()
    return None
