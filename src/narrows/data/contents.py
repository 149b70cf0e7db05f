"""What a file holds that is not what its name says: nothing, a web page, an unfinished download."""

import re
from pathlib import Path

# Bytes from the beginning of a file that are looked at.
_HEAD = 1024
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # of encodings, before the first letter
_PAGE = "it is a web page (HTML)"
_STARTS = (
    *((start, _PAGE) for start in (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")),
    (b"version https://git-lfs.github.com", "it is a pointer of Git LFS; fetch the file itself "
     "(git lfs pull)"),
    (b"\x00\x05\x16\x07", "it is an AppleDouble file, which macOS writes beside the file itself"),
    (b"<svg", "it is an SVG drawing"),
    (b"<!doctype svg", "it is an SVG drawing"),
    (b"<error", "it is an error message in XML, as a server sends in place of a file"),
    (b"%pdf-", "it is a PDF document"),
)  # fmt: skip


def what_it_is(source: Path | bytes) -> str | None:
    r"""Say what a file that cannot be read is instead, where its beginning shows that.

    Parameters
    ----------
    source : Path or bytes
        The file, or what is in it.

    Returns
    -------
    str or None
        A clause such as "it is empty" or "it is a web page"; None where nothing is known, or the
        file cannot be opened.

    Examples
    --------
    >>> from narrows.data.contents import what_it_is
    >>> what_it_is(b""), what_it_is(b"<!DOCTYPE html><html>404"), what_it_is(b"\x89PNG")
    ('it is empty (0 bytes)', 'it is a web page (HTML)', None)
    """
    if isinstance(source, bytes):
        head, size = source[:_HEAD], len(source)
    else:
        try:
            with source.open("rb") as file:
                head = file.read(_HEAD)
            size = source.stat().st_size
        except OSError:
            return None
    if not head:
        return "it is empty (0 bytes)"
    if not head.strip(b"\0"):
        return f"the first {len(head)} of its {size} bytes are zeros, as after a broken download"
    text = _as_text(head)
    return next((words for start, words in _STARTS if text.startswith(start)), None)


def _as_text(head: bytes) -> bytes:
    """Bring the beginning of a text to ASCII in lower case, whatever Unicode's encoding it has."""
    for mark in _MARKS:
        if head.startswith(mark):
            head = head[len(mark) :].replace(b"\0", b"")
    # A declaration and comments may stand before the first element of a page.
    return re.sub(rb"^\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*", b"", head, flags=re.DOTALL).lower()
