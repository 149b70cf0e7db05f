"""Words in messages: names in a list, counts, and texts from outside made safe to show."""

from collections.abc import Iterable


def printable(text: str) -> str:
    r"""Write as escapes what would command a terminal, turn what follows around, or be unseen.

    Parameters
    ----------
    text : str
        Any; bytes of names of files that are no text among it.

    Returns
    -------
    str
        On one line.

    Examples
    --------
    >>> from narrows.data.text import printable
    >>> print(printable("red: \x1b[31m, two lines:\n, Zürich"))
    red: \x1b[31m, two lines:\n, Zürich
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


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
