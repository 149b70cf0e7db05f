"""How picture files are read: the bound on their pixels, their pages, and what is noted of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from narrows.containment import is_file
from narrows.errors import ParameterError, warn
from narrows.texts import counted, shortened

Pages: TypeAlias = Literal["first", "all"]

MAX_PIXELS = 89_478_485
"""The most pixels that are unpacked of one picture by default: 256 MiB in 8-bit colour."""

_LARGEST = 2**31 - 1

WHITE, DARK = 65535, 16384
"""White of 16 bits, and what pictures stay below that may hold fewer bits in these."""

Said: TypeAlias = tuple[str, dict[str, Any]]

MARK = "#"
"""Stands between a file's name and the number of a page, which counts from 1: ``scan.tif#2``."""


@dataclass(frozen=True)
class Reading:
    """How picture files are read.

    Attributes
    ----------
    max_pixels : int, default=89478485
        The most pixels that are unpacked of one picture, from 1 to 2^31 - 1. A JPEG counts at the
        fraction of its size at which it is decoded.
    pages : {"first", "all"}, default="first"
        Which pages of a TIFF file, and which frames of an animation, are pictures.

    Raises
    ------
    ParameterError
        If one of these is not allowed.
    """

    max_pixels: int = MAX_PIXELS
    pages: Pages = "first"

    def __post_init__(self) -> None:
        whole = isinstance(self.max_pixels, int) and not isinstance(self.max_pixels, bool)
        if not whole or not 1 <= self.max_pixels <= _LARGEST:
            raise ParameterError(
                f"max_pixels={self.max_pixels!r} is not allowed; give a whole number of pixels "
                f"from 1 to {_LARGEST}"
            )
        if self.pages not in ("first", "all"):
            raise ParameterError(f"pages={self.pages!r} is not allowed; give 'first' or 'all'")


_current: ContextVar[Reading | None] = ContextVar("reading", default=None)


def current() -> Reading:
    """Return how picture files are read here; see :func:`reading`."""
    return _current.get() or Reading()


def chosen(max_pixels: int | None = None, pages: Pages | None = None) -> Reading:
    """Return how picture files are read here, but for what is given."""
    given = {"max_pixels": max_pixels, "pages": pages}
    changes: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
    return replace(current(), **changes)


@contextmanager
def reading(max_pixels: int | None = None, pages: Pages | None = None) -> Iterator[Reading]:
    """Change how all picture files are read in a block, whoever reads them.

    Parameters
    ----------
    max_pixels, pages
        As of :class:`Reading`; what is None stays as it is.

    Yields
    ------
    Reading

    Raises
    ------
    ParameterError
        If one of these is not allowed.

    See Also
    --------
    narrows.data.files.read : Has both as parameters.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from narrows import Autoencoder
    >>> from narrows.data.files import write
    >>> from narrows.data.reading import reading
    >>> stack = np.random.default_rng(0).integers(0, 4096, (30, 8, 8), np.uint16)
    >>> with tempfile.TemporaryDirectory() as folder, reading(pages="all"):
    ...     pages = write(Path(folder, "stack.tif"), stack)
    ...     model = Autoencoder(2, max_epochs=1, random_state=0).fit(pages)
    >>> model.scaling_.dtype, model.sample_shape_
    ('uint16', (8, 8))
    """
    token = _current.set(chosen(max_pixels, pages))
    try:
        yield current()
    finally:
        _current.reset(token)


@dataclass
class Notes:
    """What has to be said of files when they have been read; threads may add to it at once.

    Attributes
    ----------
    flattened : dict of str to int
        Files of 16 bits that became 8, as a model learned from 8, and their largest value.
    dark : dict of str to int
        Files of 16 bits whose largest value, this one, is far below what is taken for white.
    shallow : dict of str to int
        Files of whose bits a sample, this many, the format's reader gives 8.
    channels : dict of str to int
        Files of which channels beyond the colours were left out, and how many.
    pages : dict of str to int
        Files of which pages or frames beyond the first were left out, and how many.
    """

    flattened: dict[str, int] = field(default_factory=dict)
    dark: dict[str, int] = field(default_factory=dict)
    shallow: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Notes", name: str | None = None) -> None:
        """Take over what others have noted; under a name, if it is of one file."""
        for kind, noted in vars(self).items():
            for own, value in vars(other)[kind].items():
                noted[name or own] = value

    def tell(self, *, stacklevel: int = 2) -> None:
        """Warn of everything, in one line for each kind, and forget it."""
        for words, facts in self.said():
            warn(words, stacklevel=stacklevel + 1, **facts)
        for noted in vars(self).values():
            noted.clear()

    def said(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what there is to say: for each kind a line, and its kind and figures."""
        said = []
        for name, (kind, figure, line) in _LINES.items():
            noted: dict[str, int] = getattr(self, name)
            if noted:
                first = next(iter(noted))
                n = sum(noted.values()) if figure == "pages" else max(noted.values())
                words = line.format(
                    files=counted(len(noted), "file"),
                    first=f"'{shortened(first)}'",
                    n=n,
                    pages="1 page or frame" if n == 1 else f"{n} pages or frames",
                )
                facts = {figure: n} if figure else {}
                said.append((words, {"kind": kind, "files": len(noted), "first": first, **facts}))
        return said


# Of each kind of notes: the kind of the warning, the name of its figure, and its line.
_LINES = {
    "flattened": (
        "levels_lost",
        "largest",
        "{files} of 16 bits, such as {first}, read in 8, as those have that the model learned "
        f"from; their largest value is {{n}} of {WHITE}",
    ),
    "dark": (
        "dark_pictures",
        "largest",
        f"{{files}} of 16 bits, such as {{first}}, with values up to {{n}}, where {WHITE} is "
        "white, and so dark: bring 10 to 14 bits to 16 or to 8 first, if that is what they are",
    ),
    "shallow": (
        "bits_left_out",
        "bits",
        "{files} of up to {n} bits a sample, such as {first}, read in 8, which is all that the "
        "reader of this format gives; save them as 16-bit PNG or TIFF to keep all levels",
    ),
    "channels": (
        "channels_left_out",
        None,
        "{files} with channels beyond red, green and blue, such as {first}, read without these; "
        "give files of one kind, of which all channels are read",
    ),
    "pages": (
        "pages_left_out",
        "pages",
        "{pages} beyond the first of {files}, such as {first}, left out; --pages all "
        "(pages='all') takes them as pictures of their own",
    ),
}


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
