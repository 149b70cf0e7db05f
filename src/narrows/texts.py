"""Tell what is text, make texts from outside safe to show and to store, and format messages.

Texts are put on one line of bounded length in UTF-8; cells of CSV files are protected against
formula injection.
"""

import math
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_ARROW = frozenset({"string", "large_string", "string_view"})

MOST = 480
"""The most characters of a message; with the command line's prefix, a line has at most 500."""

_WORD = 80  # characters that a word of a long message keeps
# The bytes of a file's name that are not UTF-8, as Python's "surrogateescape" represents them.
_BYTE = re.compile("[\udc80-\udcff]")
# Lone surrogates, which UTF-8 cannot hold, and what would be taken for the escape of a byte.
_NOT_TEXT = re.compile(r"[\ud800-\udfff]|\\(?=x[0-9a-f]{2})")
# The last four are the full-width forms, which some spreadsheets take for the same.
FORMULA = "^'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
# Plain numbers are shown as they are, and stay numbers.
PLAIN_NUMBER = r"^'*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"


def is_text(given: Any) -> bool:
    """Tell whether a value is text, or an array, a column or a type holds text alone.

    Parameters
    ----------
    given : object
        A value; a NumPy array or pandas Series; an Arrow array, column or type. Objects in arrays
        are examined one by one. Bytes are not text.

    Examples
    --------
    >>> import numpy as np, pyarrow as pa
    >>> is_text("a"), is_text(np.str_("a")), is_text(b"a"), is_text(1)
    (True, True, False, False)
    >>> is_text(np.array(["a", "b"])), is_text(np.array(["a", 1], object)), is_text(pa.string())
    (True, False, True)
    """
    if isinstance(given, str):
        return True
    if hasattr(given, "dtype"):
        kind = given.dtype.kind
        return kind in "UT" or (kind == "O" and all(isinstance(v, str) for v in given.ravel()))
    return str(getattr(given, "type", given)) in _ARROW if _is_arrow(given) else False


def _is_arrow(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] == "pyarrow"


def is_word(value: Any, *words: str) -> bool:
    """Tell whether a value, which may be an array, is one of some words.

    Examples
    --------
    >>> import numpy as np
    >>> is_word("auto", "auto", "none"), is_word(np.array(["auto"]), "auto"), is_word(1, "auto")
    (True, False, False)
    """
    return isinstance(value, str) and value in words


def as_text(name: str) -> str:
    r"""Write a name as valid Unicode, different names as different texts.

    Names of files on Linux are bytes. Bytes that are not UTF-8 become ``\xff`` and the like, as in
    Python's "backslashreplace"; a backslash that stands before what would be taken for such an
    escape becomes ``\x5c``. Other names stay as they are.

    Parameters
    ----------
    name : str
        As Python returns names of files ("surrogateescape").

    Returns
    -------
    str

    Examples
    --------
    >>> from narrows.texts import as_text
    >>> print(as_text("caf\udce9.png"), as_text(r"caf\xe9.png"), as_text(r"a\b.png"))
    caf\xe9.png caf\x5cxe9.png a\b.png
    """
    return _NOT_TEXT.sub(lambda found: _escaped(found[0]), name)


def as_utf8(text: str) -> str:
    r"""Return valid Unicode as it is, and other names as :func:`as_text` writes them.

    It is for names that may have been written so already, such as paths in a library.

    Examples
    --------
    >>> from narrows.texts import as_utf8
    >>> print(as_utf8("caf\udce9.png"), as_utf8(r"caf\xe9.png"))
    caf\xe9.png caf\xe9.png
    """
    return text if is_utf8(text) else as_text(text)


def as_json(value: Any) -> Any:
    """Convert values of Python and numpy to JSON types; numbers that are not finite become null.

    Names of files that are not UTF-8 are written as :func:`as_utf8` does.
    """
    if isinstance(value, date):  # a datetime is one too
        value = value.isoformat()
    if isinstance(value, str | Path):
        return as_utf8(str(value))
    if isinstance(value, dict):
        return {as_utf8(str(key)): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def is_utf8(name: str, *, or_bytes: bool = False) -> bool:
    r"""Tell whether a name is valid Unicode or, with ``or_bytes``, a name that a file can have.

    Examples
    --------
    >>> from narrows.texts import is_utf8
    >>> is_utf8("café.png"), is_utf8("caf\udce9.png"), is_utf8("caf\udce9.png", or_bytes=True)
    (True, False, True)
    """
    try:
        name.encode(errors="surrogateescape" if or_bytes else "strict")
    except UnicodeEncodeError:
        return False
    return True


def as_name(text: str) -> str:
    r"""Return the name that :func:`as_text` wrote.

    Examples
    --------
    >>> from narrows.texts import as_name, as_text
    >>> as_name(as_text("caf\udce9.png")) == "caf\udce9.png"
    True
    """
    return re.sub(r"\\x(5c|[89a-f][0-9a-f])", lambda found: _unescaped(int(found[1], 16)), text)


def printable(text: str) -> str:
    r"""Escape control characters, invisible characters and those that reverse the direction.

    Parameters
    ----------
    text : str
        Any text, with bytes of names of files that are not UTF-8.

    Returns
    -------
    str
        On one line.

    Examples
    --------
    >>> from narrows.texts import printable
    >>> print(printable("red: \x1b[31m, two lines:\n, Zürich, caf\udce9"))
    red: \x1b[31m, two lines:\n, Zürich, caf\xe9
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def shortened(text: str, most: int = 100) -> str:
    """Leave out the middle of a text that is too long.

    Examples
    --------
    >>> shortened("a long name.png", 11), shortened("short.png", 11)
    ('a lo....png', 'short.png')
    """
    if len(text) <= most:
        return text
    start = (most - 3) // 2
    return f"{text[:start]}...{text[start + 3 - most :]}"


def one_line(message: str, most: int = MOST) -> str:
    r"""Put a message on one line of bounded length.

    Line breaks become spaces, and unprintable characters are escaped. Of a message that is too
    long, words and then the middle are shortened, as its start has the cause and its end the
    remedy.

    Parameters
    ----------
    message : str
    most : int, optional
        The most characters.

    Returns
    -------
    str

    Examples
    --------
    >>> from narrows.texts import one_line
    >>> one_line("two\n  lines"), one_line("a" * 200 + " is long; shorten it", 60)
    ('two lines', 'aaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaa is long; shorten it')
    """
    if "\n" in message or "\r" in message:
        message = " ".join(message.split())
    message = printable(message)
    word = _WORD
    while len(message) > most and word >= _WORD // 2:
        message = re.sub(r"\S+", _at_most(word), message)
        word -= _WORD // 4
    return shortened(message, most)


def _at_most(length: int) -> "Callable[[re.Match[str]], str]":
    return lambda found: shortened(found[0], length)


def _escaped(letter: str) -> str:
    if _BYTE.fullmatch(letter):
        return f"\\x{ord(letter) - 0xDC00:02x}"
    if letter == "\\":
        return r"\x5c"
    return letter.encode("unicode_escape", "surrogatepass").decode()


def _unescaped(byte: int) -> str:
    return "\\" if byte == ord("\\") else chr(0xDC00 + byte)


def listed(names: Iterable[str], most: int = 5, between: str = ", ") -> str:
    """List the first names, and the number of all if there are more.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=2)
    ('a, b, c', 'a, b, ... (3 in all)')
    """
    names = list(names)
    more = f"{between}... ({len(names)} in all)" if len(names) > most else ""
    return between.join(names[:most]) + more


def counted(count: int, noun: str) -> str:
    """Format a number with its noun.

    Examples
    --------
    >>> counted(1, "group"), counted(2, "group")
    ('1 group', '2 groups')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def guarded(text: str) -> str:
    """Protect the text of a cell so that no spreadsheet computes it as a formula.

    Parameters
    ----------
    text : str
        Text of the cell.

    Returns
    -------
    str
        The text with an apostrophe before it if it begins like a formula and is no plain number,
        also after apostrophes of its own, so that :func:`unguarded` restores every text.

    Examples
    --------
    >>> guarded("=1+1"), guarded("-1.5"), guarded("-a"), guarded("'=1"), guarded("it's")
    ("'=1+1", '-1.5', "'-a", "''=1", "it's")
    """
    return f"'{text}" if _is_formula(text) else text


def unguarded(text: str) -> str:
    """Return the text that :func:`guarded` was given.

    Examples
    --------
    >>> unguarded("'=1+1"), unguarded("-1.5"), unguarded("''=1"), unguarded("'tis")
    ('=1+1', '-1.5', "'=1", "'tis")
    """
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return re.match(FORMULA, text) is not None and re.fullmatch(PLAIN_NUMBER, text) is None
