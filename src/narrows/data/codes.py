"""Codes and dates that look like numbers, such as post codes with leading zeros.

As numbers they lose what tells them apart, so that columns which hold them are read as texts.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import compute

from narrows.data.dialect import MISSING
from narrows.errors import NarrowsWarning, warn
from narrows.texts import listed

if TYPE_CHECKING:
    from narrows.data.text_tables import TextTable

_CODE = r"^\s*(?:0[0-9]+|0[xX][0-9a-fA-F]+)\s*$"
_PHONE = r"^\s*\+[0-9]{8,15}\s*$"
_DAY = r"^\s*(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])\s*$"
_POWER = r"^\s*[0-9]+[eE][0-9]+\s*$"
_WHOLE = r"^\s*[0-9]+(?:[eE][0-9]+)?\s*$"
_FEWEST_DAYS = 5  # distinct numbers that are dates, such as 20240131
# What the bytes of a table with any of these hold, and few others.
_TRACE = re.compile(
    rb"(?<![0-9.eE+-])(?:0[0-9xX]|(?:19|20)[0-9]{6}(?![0-9.]))|\+[0-9]{8}|[0-9][eE][0-9]"
)
_PIECE, _OVERLAP = 1 << 20, 32  # bytes

CODES, DAYS, POWERS = "codes such as", "dates such as", "powers of ten such as"


class CodesAsNumbers(NarrowsWarning):
    """Columns were read as numbers, though they look like codes or dates."""


def code_among(texts: Any) -> str | None:
    """Return the first code among texts that could be numbers; None if they are numbers.

    Codes are digits with leading zeros and hexadecimal numbers, of which one suffices, and phone
    numbers with a plus sign, if all texts are such.

    Parameters
    ----------
    texts : pyarrow.Array or ChunkedArray of str
        With any words for missing values.

    Examples
    --------
    >>> code_among(pa.array(["10115", "01067", None])), code_among(pa.array(["0", "0.5", "10"]))
    ('01067', None)
    >>> code_among(pa.array(["+4930123456", "NA"])), code_among(pa.array(["+5", "-12345678"]))
    ('+4930123456', None)
    """
    return _first(texts, _CODE) or _first_of_all(texts, _PHONE)


def day_among(texts: Any) -> str | None:
    """Return the first of texts that all are dates such as 20240131; None if they are none.

    Examples
    --------
    >>> days = [f"202401{day}" for day in range(10, 20)]
    >>> day_among(pa.array(days)), day_among(pa.array([*days, "20241301"]))
    ('20240110', None)
    """
    found = _first_of_all(texts, _DAY)
    return found if found and compute.count_distinct(texts).as_py() >= _FEWEST_DAYS else None


def power_among(texts: Any) -> str | None:
    """Return the first of whole numbers with powers of ten, such as 1e5, which may be codes.

    Examples
    --------
    >>> power_among(pa.array(["12", "1e5"])), power_among(pa.array(["1e+05", "1.5e5", "2e5"]))
    ('1e5', None)
    """
    is_one = compute.count_distinct(texts).as_py() == 1
    return None if is_one or not _first_of_all(texts, _WHOLE) else _first(texts, _POWER)


def find_codes(text: "TextTable") -> dict[str, str]:
    """Find the columns of a text table that were read as numbers, but may hold codes or dates.

    They are read once more, as texts, only if the bytes of the file have traces of codes.

    Parameters
    ----------
    text : TextTable
        The table as it was read.

    Returns
    -------
    dict of str to str
        By the name of the column, what it holds, such as "codes such as '01067'".
    """
    kinds = [column.type for column in text.table.columns]
    places = [
        place
        for place, kind in enumerate(kinds)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind)
    ]
    if not places or not _has_traces(text.open_file):
        return {}
    texts = zip(places, text.texts(places).columns, strict=True)
    return name_codes(
        (text.names[place], column, pa.types.is_integer(kinds[place])) for place, column in texts
    )


def name_codes(columns: Iterable[tuple[str, Any, bool]]) -> dict[str, str]:
    """Tell which columns of numbers in texts may hold codes or dates, and which.

    Parameters
    ----------
    columns : iterable of (str, pyarrow.ChunkedArray of str, bool)
        Names, texts, and whether these may be dates, as whole numbers may.

    Returns
    -------
    dict of str to str
        As of :func:`find_codes`.
    """
    found = {}
    for name, texts, may_be_days in columns:
        if (code := code_among(texts)) is not None:
            found[name] = f"{CODES} {code!r}"
        elif may_be_days and (day := day_among(texts)) is not None:
            found[name] = f"{DAYS} {day!r}"
        elif (power := power_among(texts)) is not None:
            found[name] = f"{POWERS} {power!r}"
    return found


def warn_of_codes(found: dict[str, str], path: Path | None = None) -> None:
    """Warn of columns of codes or dates, which lose as numbers what makes them such.

    Parameters
    ----------
    found : dict of str to str
        As of :func:`find_codes`.
    path : Path, optional
        The file that has them; by default a table in memory.
    """
    where = "X" if path is None else f"'{path}'"
    facts: dict[str, Any] = {} if path is None else {"path": str(path)}
    powers = {name: what for name, what in found.items() if what.startswith(POWERS)}
    codes = {name: what for name, what in found.items() if name not in powers}
    if powers:
        warn(
            f"columns of {where} hold numbers that may be codes: {_named(powers)}; "
            "narrows train --categorical NAME (TableAutoencoder) takes them for such",
            kind="powers_read",
            stacklevel=3,
            columns=powers,
            **facts,
        )
    if codes:
        warn(
            f"columns of {where} were read as numbers, though they look like other values: "
            f"{_named(codes)}; narrows train and TableAutoencoder keep them as they are",
            kind="codes_as_numbers",
            category=CodesAsNumbers,
            stacklevel=3,
            columns=codes,
            **facts,
        )


def _named(columns: dict[str, str]) -> str:
    return listed((f"{name!r} ({what})" for name, what in columns.items()), most=4)


def _has_traces(open_file: Callable[[], Any]) -> bool:
    """Return whether the bytes of a file may hold codes."""
    end = b""
    with open_file() as source:
        while piece := source.read(_PIECE):
            # Each piece begins with the end of the one before, where a number may be cut.
            if _TRACE.search(end + piece, len(end) > 0):
                return True
            end = piece[-_OVERLAP:]
    return False


def _first(texts: Any, pattern: str) -> str | None:
    found = compute.index(compute.match_substring_regex(texts, pattern), True).as_py()
    return None if found < 0 else str(texts[found]).strip()


def _first_of_all(texts: Any, pattern: str) -> str | None:
    """Return the first text, if all but missing values have a pattern."""
    trimmed = compute.utf8_lower(compute.utf8_trim_whitespace(texts))
    is_gap = compute.is_in(trimmed, value_set=pa.array([*sorted(MISSING), None], pa.string()))
    fits = compute.or_(is_gap, compute.match_substring_regex(texts, pattern).fill_null(False))
    return _first(texts, pattern) if compute.all(fits, min_count=0).as_py() else None
