"""How picture files are read: the limit of pixels, pages, and notes for warnings."""

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
"""The most pixels of one picture that are decoded by default: 256 MiB in 8-bit colour."""

_LARGEST = 2**31 - 1

WHITE, DARK = 65535, 16384
"""White in 16 bits, and the value below which all pixels may have 10 to 14 bits only."""


MARK = "#"
"""Separates the name of a file from the number of a page, from 1 on: ``scan.tif#2``."""


@dataclass(frozen=True)
class Reading:
    """How picture files are read.

    Attributes
    ----------
    max_pixels : int, default=89478485
        The most pixels of one picture to decode, from 1 to 2^31 - 1. Of a JPEG, the pixels at the
        reduced size count at which it is decoded.
    pages : {"first", "all"}, default="first"
        Which pages of a TIFF file, and which frames of an animation, are read as pictures.
    crop : float, optional
        By default a whole picture is brought to the shape of rows, whatever its proportions. A
        share, above 0 and up to 1, brings a centred part to it instead, which has the proportions
        of rows: this share of the largest such part.

    Raises
    ------
    ParameterError
        If one of these is not allowed.
    """

    max_pixels: int = MAX_PIXELS
    pages: Pages = "first"
    crop: float | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.max_pixels, int) and not isinstance(self.max_pixels, bool)
        if not whole or not 1 <= self.max_pixels <= _LARGEST:
            raise ParameterError(
                f"max_pixels={self.max_pixels!r} is not allowed; give a whole number of pixels "
                f"from 1 to {_LARGEST}",
                parameter="max_pixels",
            )
        if self.pages not in ("first", "all"):
            raise ParameterError(
                f"pages={self.pages!r} is not allowed; give 'first' or 'all'", parameter="pages"
            )
        number = isinstance(self.crop, int | float) and not isinstance(self.crop, bool)
        if self.crop is not None and not (number and 0 < self.crop <= 1):
            raise ParameterError(
                f"crop={self.crop!r} is not allowed; give a share above 0 and up to 1, or None for "
                "whole pictures",
                parameter="crop",
            )

    def box(
        self, size: tuple[float, float], target: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Return the part of a picture that is brought to a size.

        Parameters
        ----------
        size, target : tuple of two numbers
            Width and height of the picture, and of rows.

        Returns
        -------
        tuple of four float
            Left, upper, right and lower bound.

        Examples
        --------
        >>> Reading(crop=0.875).box((400, 256), (224, 224)), Reading().box((400, 256), (224, 224))
        ((88.0, 16.0, 312.0, 240.0), (0, 0, 400, 256))
        """
        if self.crop is None:
            return (0, 0, *size)
        scale = self.crop * min(size[0] / target[0], size[1] / target[1])
        left, upper = ((side - scale * to) / 2 for side, to in zip(size, target, strict=True))
        return (left, upper, size[0] - left, size[1] - upper)


_current: ContextVar[Reading | None] = ContextVar("reading", default=None)


def current() -> Reading:
    """Return the settings of the innermost :func:`reading` block."""
    return _current.get() or Reading()


def chosen(
    max_pixels: int | None = None, pages: Pages | None = None, crop: float | None = None
) -> Reading:
    """Return the current settings with the given changes."""
    given = {"max_pixels": max_pixels, "pages": pages, "crop": crop}
    changes: dict[str, Any] = {name: one for name, one in given.items() if one is not None}
    return replace(current(), **changes)


@contextmanager
def reading(
    max_pixels: int | None = None, pages: Pages | None = None, crop: float | None = None
) -> Iterator[Reading]:
    """Change how picture files are read within a block.

    Parameters
    ----------
    max_pixels, pages, crop
        See :class:`Reading`; None leaves a setting as it is.

    Yields
    ------
    Reading

    Raises
    ------
    ParameterError
        If one of these is not allowed.

    See Also
    --------
    narrows.data.files.read : Has the first two as parameters.

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
    token = _current.set(chosen(max_pixels, pages, crop))
    try:
        yield current()
    finally:
        _current.reset(token)


@dataclass
class Notes:
    """Notes of files for warnings after reading; threads may add notes concurrently.

    Attributes
    ----------
    flattened : dict of str to int
        16-bit files reduced to 8 bits for a model of 8-bit pictures, and their largest value.
    dark : dict of str to int
        16-bit files whose largest value is far below white, and that value.
    shallow : dict of str to int
        Files of more than 8 bits that were decoded to 8, and their bits per sample.
    channels : dict of str to int
        Files whose channels beyond the colours were left out, and how many.
    pages : dict of str to int
        Files whose pages or frames beyond the first were left out, and how many.
    """

    flattened: dict[str, int] = field(default_factory=dict)
    dark: dict[str, int] = field(default_factory=dict)
    shallow: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Notes", name: str | None = None) -> None:
        """Add other notes; under another name, if they are of one file."""
        for kind, noted in vars(self).items():
            for own, value in vars(other)[kind].items():
                noted[name or own] = value

    def warn(self, *, stacklevel: int = 2) -> None:
        """Issue one warning per kind of notes, and clear them."""
        for words, facts in self.messages():
            warn(words, stacklevel=stacklevel + 1, **facts)
        for noted in vars(self).values():
            noted.clear()

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the message, and the kind and figures, of each warning."""
        lines = []
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
                lines.append((words, {"kind": kind, "files": len(noted), "first": first, **facts}))
        return lines


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
        From 1 on; thumbnails and masks are not counted.
    offset : int or None
        Byte at which the page begins in a TIFF file, so that others need not be read.
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
"""A picture file, of which the first page is read, or a page."""


def file_of(picture: Picture) -> Path:
    """Return the file that a picture is in."""
    return picture.file if isinstance(picture, Page) else picture


# The temporary folders with pictures from tables, and these tables.
_TABLES: dict[Path, Path] = {}


def name_files_within(folder: Path, table: Path) -> None:
    """Have :func:`shown_name` name the files of a temporary folder as parts of a table."""
    _TABLES[folder] = table


def forget_files_within(folder: Path) -> None:
    """Undo :func:`name_files_within`."""
    _TABLES.pop(folder, None)


def shown_name(picture: Picture) -> str:
    """Return the name of a picture for messages: its path, or its name in the table it is from."""
    for folder in file_of(picture).parents if _TABLES else ():
        if folder in _TABLES:
            return f"{_TABLES[folder]}: {name_within(picture, folder)}"
    return str(picture)


def name_within(picture: Picture, folder: Path) -> str:
    """Return the name of a picture: its path within a folder, and its page."""
    name = file_of(picture).relative_to(folder).as_posix()
    return f"{name}{MARK}{picture.number}" if isinstance(picture, Page) else name


def split_name(name: str) -> tuple[str, str]:
    """Split a name into the file, and the page with its mark, "" for none.

    Examples
    --------
    >>> split_name("a/scan.tif#2"), split_name("a/scan.tif"), split_name("no#page.png")
    (('a/scan.tif', '#2'), ('a/scan.tif', ''), ('no#page.png', ''))
    """
    file, mark, number = name.rpartition(MARK)
    is_page = mark and number.isdecimal() and Path(file).suffix
    return (file, mark + number) if is_page else (name, "")


def picture_named(given: Path, name: str) -> Picture:
    """Return the picture that :func:`name_within` named, in the folder that a user gave."""
    folder = given if given.is_dir() else given.parent
    return parse(str(folder / name))


def parse(name: str) -> Picture:
    """Return the file or page that a name means."""
    file, page = split_name(name)
    if not page or is_file(name):
        return Path(name)
    return Page(Path(file), int(page[1:]))
