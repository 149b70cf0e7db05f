"""A page of HTML that shows groups of copies, and a table of them.

Names of files may hold any text: they are escaped on the page, which also forbids the browser to
run or to load anything.
"""

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

from PIL import Image

from narrows.copies.finding import Copies, Picture
from narrows.data.decoding import preview
from narrows.data.image_codec import DefectError, quietly
from narrows.errors import MissingFileError
from narrows.texts import guarded, printable

COLUMNS = (
    "group", "keep", "path", "kinds", "of", "width", "height", "bytes", "format", "modified",
)  # fmt: skip
"""The columns of :func:`copies_table`."""

_SHOWN = 60  # pictures of one group on the page; the others are counted
_SMALL = 64  # pixels of a side up to which the page shows every one of them


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
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("narrows", "copies"),
        autoescape=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "counted": lambda count, noun: f"{count:,} {noun}{'' if count == 1 else 's'}",
        "image": _image,
        "printable": printable,
        "when": _when,
    }
    with quietly():
        yield from environment.get_template("copies.html").generate(
            found=found,
            name=found.folder.name or str(found.folder),
            n_copies=sum(len(group.copies) for group in found.groups),
            shown=_SHOWN,
        )


def _image(picture: Picture) -> tuple[str, str] | None:
    """Return the format of a thumbnail and its file as base64; None if it cannot be read."""
    try:
        pixels = preview(picture.path)
    except (DefectError, MissingFileError):
        return None
    kind, options = ("png", {}) if max(pixels.shape) <= _SMALL else ("jpeg", {"quality": 80})
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return kind, b64encode(file.getvalue()).decode()
