"""A first look at picture files, at their headers alone: their types, and their pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from narrows.data.codec import DefectError, open_picture, quietly
from narrows.data.pages import Page, Picture
from narrows.data.reading import Reading
from narrows.errors import MissingFileError

_UINT8, _UINT16 = np.dtype(np.uint8), np.dtype(np.uint16)
# Of 8 bits and one page, so that their files need not be opened for that.
_PLAIN = frozenset({".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm"})
_HEAD = 64  # bytes in which most PNG and WebP files tell as much
_PNG = b"\x89PNG\r\n\x1a\n"
_DEPTH, _FLAGS, _ANIMATED = 24, 20, 0x02
_SECOND = slice(37, 41)  # kind of a PNG's second chunk; in an animation, acTL comes before IDAT


class _Look(NamedTuple):
    """What a file's header tells: its type, and for each page where it begins, if in TIFF."""

    dtype: np.dtype[Any]
    pages: Sequence[int | None] = (None,)
    channels: int = 3
    are_colours: bool = True


class Others(NamedTuple):
    """Files of other channels than grey and colours.

    Attributes
    ----------
    files : int
        How many there are.
    first : str
        The name of the first.
    are_colours : bool
        Whether the first three channels of all are red, green and blue.
    """

    files: int
    first: str
    are_colours: bool


@dataclass
class Scan:
    """What the headers of picture files tell.

    Attributes
    ----------
    pictures : list of Path or Page
        The files, or all their pages, in the files' order.
    types : dict of dtype to str
        The types that they have, each with the name of the first such file.
    counts : dict of dtype to int
        How many files have it.
    others : dict of int to Others
        Of the files that have so many channels, where those are not grey and colours.
    """

    pictures: list[Picture] = field(default_factory=list)
    types: dict[np.dtype[Any], str] = field(default_factory=dict)
    counts: dict[np.dtype[Any], int] = field(default_factory=dict)
    others: dict[int, Others] = field(default_factory=dict)


def scan(files: Sequence[Path], how: Reading) -> Scan:
    """Look at the headers of picture files; those that cannot be read have no say.

    Parameters
    ----------
    files : sequence of Path
        The files.
    how : Reading
        Whether pages beyond the first are pictures.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    """
    found = Scan()
    with quietly():
        for file in files:
            look = _look(file)
            pages = () if look is None or how.pages == "first" else look.pages
            if len(pages) > 1:
                found.pictures += (Page(file, n, offset) for n, offset in enumerate(pages, 1))
            else:
                found.pictures.append(file)
            if look is None:
                continue
            found.types.setdefault(look.dtype, str(file))
            found.counts[look.dtype] = found.counts.get(look.dtype, 0) + 1
            if look.channels not in (1, 3):
                before = found.others.get(look.channels, Others(0, str(file), True))
                both = before.are_colours and look.are_colours
                found.others[look.channels] = Others(before.files + 1, before.first, both)
    return found


def _look(file: Path) -> _Look | None:
    suffix = file.suffix.lower()
    if suffix in _PLAIN:
        return _Look(_UINT8)
    if suffix in (".png", ".webp"):
        try:
            with file.open("rb") as opened:
                head = opened.read(_HEAD)
        except FileNotFoundError as error:
            raise MissingFileError(f"'{file}' does not exist; give a picture file") from error
        except OSError:
            return None
        if head.startswith(_PNG) and head[_SECOND] == b"IDAT":
            return _Look(_UINT16 if head[_DEPTH] == 16 else _UINT8)
        if head[8:12] == b"WEBP" and not (head[12:16] == b"VP8X" and head[_FLAGS] & _ANIMATED):
            return _Look(_UINT8)
    try:
        with open_picture(file) as picture:
            pages = picture.count_pages()
            return _Look(picture.dtype, pages, picture.channels, picture.shows_colours)
    except DefectError:
        return None
