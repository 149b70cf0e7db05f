"""Sizes, types and pages of picture files, read from their headers, and which are resized."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np

from narrows.data.decoding import n_processors
from narrows.data.image_codec import DefectError, open_picture, quietly
from narrows.data.pages import Page, Picture
from narrows.data.reading import Reading
from narrows.errors import MissingFileError, warn

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


Size = tuple[int, int]
Resizing: TypeAlias = Literal["say", "refuse", "asked", "quiet"]

_CHUNK = 64  # files that a thread looks at before it takes others


@dataclass(frozen=True)
class Resized:
    """Pictures that are brought to another height and width than they have.

    Attributes
    ----------
    count, total : int
        How many are, of how many that were looked at.
    smallest, largest : tuple of int
        Height and width of those with the fewest and the most pixels.
    to : tuple of int
        The height and width that they are brought to.
    """

    count: int
    total: int
    smallest: Size
    largest: Size
    to: Size

    @classmethod
    def of(cls, sizes: Sequence[Size | None], to: Sequence[int]) -> Self | None:
        """Compare sizes, of which None are not known, with the wanted one; None if all have it."""
        wanted = (int(to[0]), int(to[1]))
        others = [size for size in sizes if size is not None and size != wanted]
        if not others:
            return None
        ordered = sorted(set(others), key=lambda size: (size[0] * size[1], size))
        return cls(len(others), len(sizes), ordered[0], ordered[-1], wanted)

    @classmethod
    def of_read(
        cls,
        sizes: Mapping[Picture, Size | None],
        to: Sequence[int],
        skipped: Iterable[tuple[Picture | str, str]] | None,
    ) -> Self | None:
        """Compare the sizes of files with the wanted one, but for those that were not read."""
        if not sizes:
            return None
        unread = {str(file) for file, _ in skipped or ()}
        return cls.of([size for file, size in sizes.items() if str(file) not in unread], to)

    def words(self, *, short: bool = False) -> str:
        """Say it: "20 pictures of 30 x 40 to 300 x 400 pixels (height x width)"."""
        sizes = " to ".join(dict.fromkeys(map(side_by_side, (self.smallest, self.largest))))
        pictures = "picture" if self.count == 1 else "pictures"
        return f"{self.count} {pictures} of {sizes}" + ("" if short else " pixels (height x width)")

    def as_json(self) -> dict[str, Any]:
        """Return the same as JSON can hold it."""
        return {
            "pictures": self.count,
            "of": self.total,
            "smallest": list(self.smallest),
            "largest": list(self.largest),
            "to": list(self.to),
        }


def side_by_side(size: Sequence[int]) -> str:
    """Write a height and width: "30 x 40"."""
    return " x ".join(map(str, size[:2]))


def tell_resized(path: Path, resized: Resized, *, learned: bool, stacklevel: int = 2) -> None:
    """Warn that pictures are brought to another size.

    Parameters
    ----------
    path : Path
        Of the pictures.
    resized : Resized
        What is done to them.
    learned : bool
        Whether a trained model wants that size, rather than that it was chosen for them.
    stacklevel : int
        As for :func:`narrows.errors.warn`.
    """
    why = (
        "which the model learned from; one of --architecture fully_convolutional keeps sizes"
        if learned
        else "chosen for pictures larger than 64 or of several sizes; --image-size, or image_size "
        "of narrows.pack, chooses another"
    )
    warn(
        f"'{path}': {resized.words()} brought to {side_by_side(resized.to)}, {why}",
        kind="pictures_resized",
        stacklevel=stacklevel + 1,
        **resized.as_json(),
    )


def sizes_of(files: Sequence[Picture] | Sequence[bytes]) -> list[Size | None]:
    """Read the heights and widths of pictures as they are looked at, by all processors.

    Parameters
    ----------
    files : sequence of Path, Page or bytes
        Of pictures, or what is in them.

    Returns
    -------
    list of (int, int) or None
        None for a file that cannot be read.

    Raises
    ------
    MissingFileError
        If a file does not exist.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from narrows.data.images import encode_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "black.png")
    ...     _ = file.write_bytes(encode_png(np.zeros((2, 3), np.uint8)))
    ...     sizes_of([file])
    [(2, 3)]
    """
    if not files:
        return []
    with quietly(), ThreadPoolExecutor(min(n_processors(), len(files))) as threads:
        chunks = [files[at : at + _CHUNK] for at in range(0, len(files), _CHUNK)]
        return [size for some in threads.map(_sizes, chunks) for size in some]


def _sizes(files: Sequence[Picture] | Sequence[bytes]) -> list[Size | None]:
    return [size_of(file) for file in files]


def size_of(file: Picture | bytes) -> Size | None:
    """Read the height and width of one picture; see :func:`sizes_of`.

    Whoever asks does so within :func:`narrows.data.image_codec.quietly`.
    """
    try:
        with open_picture(file) as picture:
            return picture.upright_size
    except DefectError:
        return None
