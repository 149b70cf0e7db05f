"""Sizes of pictures, from their headers: which are brought to another size, and from which."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from narrows.data.codec import DefectError, open_picture, quietly
from narrows.data.decoding import n_processors
from narrows.data.pages import Picture
from narrows.errors import warn

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
    >>> from narrows.data.sizes import sizes_of
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

    Whoever asks does so within :func:`narrows.data.codec.quietly`.
    """
    try:
        with open_picture(file) as picture:
            return picture.upright_size
    except DefectError:
        return None
