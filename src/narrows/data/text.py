"""Texts of strangers, before they are shown: names of files, and whatever a library says."""


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
