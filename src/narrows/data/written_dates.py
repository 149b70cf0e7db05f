"""Dates and times in a column of texts: their format, their values, and texts of other values.

Formats are those of ``datetime.strptime``, and for writing also ``%-d``, ``%-m``, ``%-H`` and
``%-I`` (without a leading zero), ``%3f`` (so many digits of a second) and ``%:z`` (with a colon).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_DAYS = (
    "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y",
    "%m/%d/%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y",
)  # fmt: skip
_FORMS = (
    "%Y-%m-%d",
    *(f"%Y-%m-%d{sign}{clock}{zone}" for sign in " T" for clock in _CLOCKS
      for zone in ("", "Z", "%z", " %z")),
    *(day + time for day in _DAYS for time in _TIMES),
    "%H:%M:%S", "%H:%M",
)  # fmt: skip
DIGITS = "%Y%m%d"
"""The format of dates such as 20240131."""

_LONGEST = 40  # characters of a date
_WRITTEN = 200  # distinct texts that are written anew to find how they are written
_MOSTLY = 0.9  # the share of texts that are dates where a column holds dates of several formats
_EPOCH = datetime(1970, 1, 1)  # texts without a zone
_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # seconds of the years 1 to 9999
_OWN = re.compile(r"%[-:\d](?=[a-zA-Z])")


def find_form(texts: list[str]) -> tuple[str, str] | None:
    """Find the format of which all distinct texts are dates, and what was guessed.

    Examples
    --------
    >>> find_form(["31/1/2024", "1/12/2023"]), find_form(["2024-01-31T12:00:00.250+01:00"])
    (('%-d/%-m/%Y', ''), ('%Y-%m-%dT%H:%M:%S.%3f%:z', ''))
    >>> find_form(["01/02/2024"])
    ('%d/%m/%Y', "'01/02/2024' was read as day, month, year")
    """
    known = [text.strip() for text in texts]
    if not known or not all(map(_may_be, known)):
        return None
    for form in _FORMS:
        if all(_moment(text, form) is not None for text in known):
            why = ""
            other = re.sub("%d([/-])%m", r"%m\1%d", form)
            if other != form and all(_moment(text, other) is not None for text in known):
                why = f"{known[0]!r} was read as day, month, year"
            return _as_written(known, form), why
    return None


def mixed_forms(texts: list[str]) -> tuple[str, str] | None:
    """Return two dates of different formats, if nearly all texts are dates of some format.

    Examples
    --------
    >>> mixed_forms(["2024-01-31", "31.01.2024"]), mixed_forms(["one", "2024-01-31"])
    (('2024-01-31', '31.01.2024'), None)
    """
    some = [text.strip() for text in texts[:_WRITTEN]]
    forms = {text: form for text in some if _may_be(text) and (form := _form_of(text))}
    if len(forms) < _MOSTLY * len(some) or len(set(forms.values())) < 2:
        return None
    first = next(iter(forms))
    return first, next(text for text, form in forms.items() if form != forms[first])


def parse_dates(texts: Any, form: str) -> NDArray[np.float64]:
    """Convert dates in an Arrow array of texts to seconds since 1970; raise ValueError for others.

    Dates without a zone are taken as if they were in UTC.
    """
    encoded = texts.dictionary_encode()
    plain = _OWN.sub("%", form)
    seconds = []
    for text in encoded.dictionary.to_pylist():
        moment = datetime.strptime(text.strip(), plain)
        since = _EPOCH if moment.tzinfo is None else _EPOCH.replace(tzinfo=UTC)
        seconds.append((moment - since).total_seconds())
    found: NDArray[np.float64] = np.asarray(seconds)[encoded.indices.to_numpy(zero_copy_only=False)]
    return found


def write_date(seconds: float, form: str) -> str:
    """Write a moment, in seconds since 1970, rounded to what its format shows.

    Examples
    --------
    >>> write_date(86399.6, "%d.%m.%Y %H:%M:%S"), write_date(86399.6, "%-d/%-m/%y")
    ('02.01.1970 00:00:00', '2/1/70')
    >>> write_date(1e12, "%Y-%m-%d")
    '9999-12-31'
    """
    digits = re.search(r"%(\d?)f", form)
    seconds = round(seconds, int(digits[1] or 6) if digits else 0)
    is_clock = re.search("%-?[HI]", form) is not None
    if not is_clock:
        seconds += 43_200  # half a day
    elif "%S" not in form:
        seconds += 30
    span = timedelta(seconds=min(max(seconds, _FIRST), _LAST))
    return _write(_EPOCH + span, form)


def _write(moment: datetime, form: str) -> str:
    own = {
        "%-d": str(moment.day), "%-m": str(moment.month), "%-H": str(moment.hour),
        "%-I": str((moment.hour - 1) % 12 + 1), "%:z": "+00:00",
    }  # fmt: skip
    for token, text in own.items():
        form = form.replace(token, text)
    form = re.sub(r"%(\d)f", lambda digits: f"{moment.microsecond:06}"[: int(digits[1])], form)
    return moment.replace(tzinfo=UTC).strftime(form)


def _may_be(text: str) -> bool:
    return len(text) < _LONGEST and any(map(str.isdigit, text))


def _moment(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


def _form_of(text: str) -> str | None:
    return next((form for form in _FORMS if _moment(text, form) is not None), None)


def _as_written(texts: list[str], form: str) -> str:
    """Add to a format how texts of it are written: leading zeros, colons, digits of a second."""
    some = texts[:_WRITTEN]
    moments = [datetime.strptime(text, form) for text in some]

    def alike(candidate: str) -> int:
        return sum(_write(m, candidate) == text for text, m in zip(some, moments, strict=True))

    if "%z" in form and any(re.search(r"[+-]\d\d:\d\d$", text) for text in some):
        form = form.replace("%z", "%:z")
    if "%f" in form:
        digits = max(len(re.findall(r"\.(\d+)", text)[-1]) for text in some)
        form = form.replace("%f", f"%{digits}f")
    return max(_variants(form), key=alike)


def _variants(form: str) -> Iterator[str]:
    """Yield a format with and without leading zeros."""
    bare = re.sub("%([dm])", r"%-\1", form)
    yield from (form, bare)
    for one in (form, bare):
        yield re.sub("%([HI])", r"%-\1", one)
