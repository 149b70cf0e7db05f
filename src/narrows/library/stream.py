"""Pictures that come one after another, and are never in memory all at once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from narrows.data.image_codec import orientation, turn
from narrows.data.reading import Notes
from narrows.errors import DataError
from narrows.library.given import (
    GivenFiles,
    GivenRows,
    Part,
    Store,
    as_files,
    check_store,
    is_picture_file,
    understand,
)
from narrows.models import Encoder

# As many pictures, or bytes of them, are gathered before they are looked at.
_PICTURES, _BYTES = 1024, 2**26
# What PNG files hold as it is; all else becomes colours.
_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")


@dataclass(frozen=True)
class GivenStream:
    """An iterator of pictures, which says neither how many there are nor of which kind.

    Attributes
    ----------
    items : iterator
        Paths of files, of folders or of data; the contents of picture files, as bytes; Pillow's
        pictures; arrays of shape sample_shape or (n, *sample_shape). Kinds may be mixed.
    encoder : Encoder
        Says in which shape and units rows are wanted.
    store : {"pictures", "references"}
        What is kept of each.
    notes : Notes
        Takes what has to be said of picture files.
    folders : set of str
        Of files that are referred to; grows with what is read.
    """

    items: Iterator[Any]
    encoder: Encoder
    store: Store = "pictures"
    notes: Notes = field(default_factory=Notes)
    folders: set[str] = field(default_factory=set)

    def parts(self, skipped: list[tuple[str, str]] | None, known: set[str]) -> Iterator[Part]:
        """Read them part by part, as :meth:`GivenFiles.parts` does."""
        done = 0
        for kind, items in groupby(self.items, self._kind):
            for some in ([item] for item in items) if kind is None else _gather(items):
                given = self._understand(some, kind, done)
                for part in given.parts(skipped, known):
                    numbers = [done + number for number in part.numbers]
                    yield part._replace(numbers=numbers, done=done + part.done)
                if isinstance(given, GivenFiles):
                    self.notes.add(given.notes)
                    self.folders.update(given.folders)
                done += len(given)
        if not done:
            raise DataError("no pictures were given; give at least one")

    def _kind(self, item: Any) -> object:
        """Name what can be put together with others of its kind; None stands alone."""
        if isinstance(item, str | Path):
            return Path if is_picture_file(item) else None
        if isinstance(item, bytes | Image.Image):
            return bytes
        if isinstance(item, np.ndarray) and item.shape == self.encoder.sample_shape_:
            return item.dtype
        return None

    def _understand(self, items: list[Any], kind: object, done: int) -> GivenFiles | GivenRows:
        if kind is bytes:
            contents = [_png(item) if isinstance(item, Image.Image) else item for item in items]
            names = [Path(f"picture {done + number}") for number in range(len(items))]
            check_store(self.store, files=False)
            return as_files(names, self.encoder, self.store, contents=contents, notes=self.notes)
        if kind is None:
            return understand(items[0], self.encoder, store=self.store)
        together = items if kind is Path else np.stack(items)
        return understand(together, self.encoder, store=self.store)


def _gather(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Cut what follows one another into lists that fit into memory."""
    some: list[Any] = []
    size = 0
    for item in items:
        some.append(item)
        match item:
            case bytes():
                size += len(item)
            case Image.Image():
                size += 4 * item.width * item.height
            case np.ndarray():
                size += item.nbytes
        if len(some) == _PICTURES or size >= _BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _png(image: Image.Image) -> bytes:
    """Make a file of a picture in memory, upright and without loss."""
    image.load()  # which sets some upright, and says so
    upright = turn(image, orientation(image))
    file = BytesIO()
    (upright if upright.mode in _MODES else upright.convert("RGB")).save(file, "PNG")
    return file.getvalue()
