"""Words in messages: names in a list, and counts; see also :mod:`narrows.texts`."""

from collections.abc import Iterable

from narrows.texts import as_text, printable, shortened

__all__ = ["as_text", "counted", "listed", "printable", "shortened"]


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
