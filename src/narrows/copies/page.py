"""A page of HTML that shows groups of copies, and a table of them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from narrows.copies.finding import Copies, Picture
from narrows.data.decoding import preview
from narrows.data.image_codec import DefectError, quietly
from narrows.errors import MissingFileError
from narrows.pages import SIDE, as_image, template
from narrows.texts import guarded

COLUMNS = (
    "group", "keep", "path", "kinds", "of", "width", "height", "bytes", "format", "modified",
)  # fmt: skip
"""The columns of :func:`copies_table`."""

_SHOWN = 60  # pictures of one group on the page; the others are counted


def copies_table(found: Copies) -> list[tuple[Any, ...]]:
    """Return a row for each picture of a group, in the order of :data:`COLUMNS`.

    Parameters
    ----------
    found : Copies
        The groups.

    Returns
    -------
    list of tuple
        Texts that spreadsheets would compute have an apostrophe before them.
    """
    rows: list[tuple[Any, ...]] = []
    for number, group in enumerate(found.groups):
        members = [(group.keep, "yes", "", "")]
        members += [
            (copy.picture, "no", "; ".join(copy.change.kinds), copy.of.name)
            for copy in group.copies
        ]
        for picture, keep, kinds, of in members:
            seen = picture.seen
            facts = (seen.width, seen.height, seen.n_bytes, seen.format, _when(picture))
            rows.append((number, keep, guarded(picture.name), kinds, guarded(of), *facts))
    return rows


def _when(picture: Picture) -> str:
    try:
        return datetime.fromtimestamp(picture.seen.modified / 1e9, UTC).isoformat(" ", "seconds")
    except (OverflowError, ValueError, OSError):
        return ""


def copies_page(found: Copies) -> Iterator[str]:
    """Write groups of copies as a page of HTML, piece by piece.

    Parameters
    ----------
    found : Copies
        The groups.

    Yields
    ------
    str
        Pieces of HTML.

    Examples
    --------
    >>> from pathlib import Path
    >>> from narrows.copies import Copies, copies_page
    >>> page = "".join(copies_page(Copies(Path("<holidays>"), [], 7, 7, [], [], None)))
    >>> "<h1>Copies in &lt;holidays&gt;</h1>" in page
    True
    """
    page = template("copies", "copies.html", image=_image, when=_when)
    with quietly():
        yield from page.generate(
            found=found,
            name=found.folder.name or str(found.folder),
            n_copies=sum(len(group.copies) for group in found.groups),
            shown=_SHOWN,
        )


def _image(picture: Picture) -> tuple[str, str] | None:
    try:
        return as_image(preview(picture.path, side=SIDE))
    except (DefectError, MissingFileError):
        return None
