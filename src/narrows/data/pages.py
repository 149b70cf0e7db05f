"""Pages of TIFF files and frames of animations, as pictures of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from narrows.containment import is_file

MARK = "#"
"""Stands between a file's name and the number of a page, which counts from 1: ``scan.tif#2``."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page or frame of a file that has several.

    Attributes
    ----------
    file : Path
        The file.
    number : int
        From 1 on, among those that are pictures of their own, not thumbnails or masks.
    offset : int or None
        Where the page begins in a TIFF file, so that others need not be looked at.
    """

    file: Path
    number: int
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{MARK}{self.number}"

    def absolute(self) -> "Page":
        """Return the page of the same file by its absolute path."""
        return Page(self.file.absolute(), self.number, self.offset)


Picture: TypeAlias = Path | Page
"""A picture file, of which the first page is meant, or a page of one."""


def file_of(picture: Picture) -> Path:
    """Return the file that a picture is in."""
    return picture.file if isinstance(picture, Page) else picture


def name_within(picture: Picture, folder: Path) -> str:
    """Name a picture by its path within a folder, as rows and outputs are named."""
    name = file_of(picture).relative_to(folder).as_posix()
    return f"{name}{MARK}{picture.number}" if isinstance(picture, Page) else name


def split_name(name: str) -> tuple[str, str]:
    """Part a name into that of the file and the page's mark and number, which may be none.

    Examples
    --------
    >>> split_name("a/scan.tif#2"), split_name("a/scan.tif"), split_name("no#page.png")
    (('a/scan.tif', '#2'), ('a/scan.tif', ''), ('no#page.png', ''))
    """
    file, mark, number = name.rpartition(MARK)
    is_page = mark and number.isdecimal() and Path(file).suffix
    return (file, mark + number) if is_page else (name, "")


def picture_named(given: Path, name: str) -> Picture:
    """Return the picture of a name, as :func:`name_within` gives it, in what a user gave."""
    folder = given if given.is_dir() else given.parent
    return parse(str(folder / name))


def parse(name: str) -> Picture:
    """Return the picture that a name means, as its text gives it."""
    file, page = split_name(name)
    if not page or is_file(name):
        return Path(name)
    return Page(Path(file), int(page[1:]))
