"""Texts made safe to show and to store, and words in messages.

Texts from outside come onto one line, of bounded length, in UTF-8; cells of CSV files are guarded
against formula injection.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 480
"""Characters of a message. With what the command line writes before it, a line has at most 500."""

_WORD = 80  # characters that a word of a long message keeps
# The bytes of a file's name that are not UTF-8, as Python's "surrogateescape" represents them.
_BYTE = re.compile("[\udc80-\udcff]")
# Lone surrogates, which UTF-8 cannot hold, and what would be taken for the escape of a byte.
_NOT_TEXT = re.compile(r"[\ud800-\udfff]|\\(?=x[0-9a-f]{2})")
# The last four are the full-width forms, which some spreadsheets take for the same.
FORMULA = "^'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
# Plain numbers are shown as they are, and stay numbers.
PLAIN_NUMBER = r"^'*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"


def as_text(name: str) -> str:
    r"""Write a name as valid Unicode, and two different names as two different texts.

    Names of files on Linux are bytes. Those that are not UTF-8 become ``\xff`` and the like, as in
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
    r"""Return what is valid Unicode as it is, and of anything else what :func:`as_text` makes.

    For what may be a text already, such as a path in a library, and may be the name of a file.

    Examples
    --------
    >>> from narrows.texts import as_utf8
    >>> print(as_utf8("caf\udce9.png"), as_utf8(r"caf\xe9.png"))
    caf\xe9.png caf\xe9.png
    """
    return text if is_utf8(text) else as_text(text)


def is_utf8(name: str) -> bool:
    r"""Tell whether a name is valid Unicode.

    Examples
    --------
    >>> from narrows.texts import is_utf8
    >>> is_utf8("café.png"), is_utf8("caf\udce9.png")
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_name(text: str) -> str:
    r"""Return the name of which :func:`as_text` made a text.

    Examples
    --------
    >>> from narrows.texts import as_name, as_text
    >>> as_name(as_text("caf\udce9.png")) == "caf\udce9.png"
    True
    """
    return re.sub(r"\\x(5c|[89a-f][0-9a-f])", lambda found: _unescaped(int(found[1], 16)), text)


def printable(text: str) -> str:
    r"""Write as escapes what would command a terminal, turn what follows around, or be unseen.

    Parameters
    ----------
    text : str
        Any; bytes of names of files that are not UTF-8 among it.

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
    """Leave out the middle of a text that is longer than so many characters.

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
    r"""Bring a message to one line of bounded length.

    White space that breaks lines becomes a space, what cannot be printed an escape. Of a message
    that is too long, words and then the middle are shortened: what was found stands at its start,
    and the remedy at its end.

    Parameters
    ----------
    message : str
    most : int, optional
        Characters that it may have.

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
    """List the first names, and count all where there are more.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=2)
    ('a, b, c', 'a, b, ... (3 in all)')
    """
    names = list(names)
    more = f"{between}... ({len(names)} in all)" if len(names) > most else ""
    return between.join(names[:most]) + more


def counted(count: int, noun: str) -> str:
    """Say how many of something there are.

    Examples
    --------
    >>> counted(1, "group"), counted(2, "group")
    ('1 group', '2 groups')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def guarded(text: str) -> str:
    """Write a text so that no spreadsheet computes it.

    Parameters
    ----------
    text : str
        What a cell is to hold.

    Returns
    -------
    str
        With an apostrophe before it if it begins as a formula does, and is no plain number; also
        if such a text stands behind apostrophes of its own, so that :func:`unguarded` gives every
        text back.

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
