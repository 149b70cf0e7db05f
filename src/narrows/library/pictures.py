"""Pictures as a library stores them.

A picture file is stored as it is, byte for byte, or referred to by its path; a row of an array as
the .npy file of it.

A reference may name any file of the machine. A file is used only if it is a regular file of bounded
size, lies in a folder that the library recorded when pictures were added, and has the SHA-256 of
the row. So a library shows no file whose contents its maker did not have.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from narrows.containment import IrregularFileError, open_regular, read_regular
from narrows.data.decoding import (
    SIDE,
    Target,
    decode_with_thumbnail,
    encode_thumbnail,
    preview,
    size_of,
)
from narrows.data.depths import encode_png
from narrows.data.files import takes_pictures
from narrows.data.image_codec import DefectError, extract, quietly
from narrows.data.reading import Page, Picture, Reading, current, file_of, parse
from narrows.errors import FormatError, LibraryError, MissingFileError
from narrows.errors import UnreadableFileError as Unreadable
from narrows.library.table import Table
from narrows.models import CodeEncoder, Decoder

_NPY, _JPEG = b"\x93NUMPY", b"\xff\xd8"
_BLOCK = 128  # files, perhaps of many megabytes each, in memory at a time
MOST_BYTES = 2**31
"""Most bytes of a file that a row refers to."""
_MOST_FOLDERS = 100  # in library.json
_SYSTEM = ("/dev", "/proc", "/sys")


@dataclass(frozen=True)
class StoredPictures:
    """The pictures of a library, at one version of its table.

    Attributes
    ----------
    table : Table
        The table that holds them.
    encoder : CodeEncoder
        The encoder, to whose shape and units pictures are decoded.
    decoder : Decoder or None
        Restores pictures from their codes; a library made by an encoder alone has none.
    how : Reading
        How picture files are read, with the bound on their pixels.
    """

    table: Table
    encoder: CodeEncoder
    decoder: Decoder | None
    how: Reading = field(default_factory=current)

    @property
    def _target(self) -> Target:
        """The shape and units that a picture file is decoded to."""
        return Target.of(self.encoder, self.how)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Read pictures as stored, (n, *sample_shape), in the data's units; on all processors."""
        if not len(rows):
            return self._target.empty(0)
        decoded: list[NDArray[Any]] = []
        with quietly(), ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for start in range(0, len(rows), _BLOCK):
                decoded += threads.map(self._decode, self.contents(rows[start : start + _BLOCK]))
        return np.stack(decoded)

    def contents(self, rows: Sequence[int] | NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the contents of pictures' files, stored or referred to.

        Raises
        ------
        FormatError, MissingFileError, UnreadableFileError
            As :meth:`fetch`.
        """
        for row in self.table.take(rows, "picture", "reference", "hash"):
            if row["picture"] is not None:
                yield row["picture"]
            else:
                yield self.fetch(row["reference"], row["hash"])

    def fetch(self, reference: str | None, digest: str) -> bytes:
        """Read a file that the library refers to, if it is still the one that was added.

        Parameters
        ----------
        reference : str or None
            The absolute path of the file, with the number of a page where it has several.
        digest : str
            The SHA-256 of its contents.

        Raises
        ------
        FormatError
            If there is no reference.
        MissingFileError
            If the file does not exist.
        UnreadableFileError
            If it is no regular file, is larger than 2 GiB, lies in a folder that the library has
            not recorded, cannot be read, is no picture, or has changed.
        """
        library = self.table.path.parent
        remedy = f"put it back, or remove it from '{library}' and add it again"
        if reference is None:
            raise FormatError(
                f"a picture in '{library}' is neither stored nor referred to; restore the library "
                "from a copy, or build it again"
            )
        if not _is_path(reference):
            raise Unreadable(f"{reference[:200]!r} is no absolute path; remove it from '{library}'")
        try:
            picture = parse(reference)
            file = _real(file_of(picture), strict=True)
            self._check_folder(file, reference)
            if isinstance(picture, Page):
                os.close(open_regular(file))
                contents = extract(Page(file, picture.number), self.how)
            else:
                contents = read_regular(file, MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingFileError(f"'{reference}' is not there any more; {remedy}") from error
        except IrregularFileError as error:
            raise Unreadable(f"'{reference}' is not read: {error}; {remedy}") from error
        except (DefectError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise Unreadable(f"'{reference}' cannot be read ({why}); {remedy}") from error
        if sha256(contents).hexdigest() != digest:
            raise Unreadable(f"'{reference}' has changed since it was added; {remedy}")
        if contents.startswith(_NPY):
            raise Unreadable(f"'{reference}' is no picture file; remove it from '{library}'")
        return contents

    def _check_folder(self, file: Path, reference: str) -> None:
        """Refuse a file that lies, links followed, outside the folders that were recorded."""
        library, recorded = self.table.path.parent, self.table.folders
        if recorded is None:  # in older libraries, the folder that the row names stands for them
            recorded = (str(_real(Path(reference).parent)),)
        around = {str(folder) for folder in file.parents}
        if not around.isdisjoint(_SYSTEM):
            raise Unreadable(f"'{reference}' is a file of the system; remove it from '{library}'")
        if around.isdisjoint(recorded):
            raise Unreadable(
                f"'{reference}' is in '{file.parent}', and nothing of that folder was added to "
                f"'{library}'; if you trust it, add the folder (narrows index MODEL FOLDER --add "
                "--reference; Library.add(FOLDER, store='references'))"
            )

    def sizes(self, rows: Sequence[int] | NDArray[np.int64]) -> list[tuple[int, int] | None]:
        """Return the heights and widths of pictures as stored; None where rows are no pictures."""
        spec = self.encoder.spec
        if not spec.shows_pictures:
            return [None] * len(rows)
        own = (spec.sample_shape[0], spec.sample_shape[1])
        with quietly():
            return [
                own if contents.startswith(_NPY) else size_of(contents)
                for contents in self.contents(rows)
            ]

    def thumbnail(self, row: int) -> NDArray[np.uint8]:
        """Return the thumbnail of one picture: pixels (height, width) or (height, width, 3)."""
        contents = self.table.take([row], "thumbnail")[0]["thumbnail"]
        return self._preview(next(self.contents([row])) if contents is None else contents)

    def thumbnails(self, rows: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Return the thumbnails of pictures: JPEG files where such are stored, or PNG files."""
        stored = [row["thumbnail"] or b"" for row in self.table.take(rows, "thumbnail")]
        others = self.contents([row for row, file in zip(rows, stored, strict=True) if not file])
        return [
            file if file.startswith(_JPEG) else encode_png(self._preview(file or next(others)))
            for file in stored
        ]

    def preview(self, row: int, side: int) -> NDArray[np.uint8]:
        """Return one picture as :meth:`thumbnail` does, of at most so many pixels a side."""
        return self._preview(next(self.contents([row])), side)

    def _preview(self, contents: bytes, side: int = SIDE) -> NDArray[np.uint8]:
        if not contents.startswith(_NPY):
            try:
                with quietly():
                    return preview(contents, self.encoder.scaling_.show, self.how, side=side)
            except DefectError as error:
                raise self._damaged(error) from error
        with quietly():
            pixels = self.encoder.scaling_.to_pixels(self._decode(contents))
        if not self.encoder.spec.shows_pictures:
            raise LibraryError(
                f"rows of shape {pixels.shape} are no pictures and have no thumbnails; use picture"
            )
        return pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels

    def make_thumbnail(self, contents: bytes, *, always: bool) -> bytes | None:
        """Make the thumbnail of a picture as stored; see :mod:`narrows.data.decoding`.

        Raises
        ------
        ValueError, DefectError
            If the picture is damaged.
        """
        shape, scaling = self.encoder.sample_shape_, self.encoder.scaling_
        if not contents.startswith(_NPY):
            return decode_with_thumbnail(
                contents, shape, scaling.show, always=always, how=self.how
            )[1]
        if not self.encoder.spec.shows_pictures:
            return None
        return encode_thumbnail(scaling.to_pixels(self.decode(contents)))

    def restore(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decode pictures from codes (n, K) alone, in the data's units."""
        if self.decoder is None:
            raise LibraryError(
                "this library was made with an encoder alone, so codes cannot be decoded; "
                "build it with the whole model"
            )
        return self.decoder.inverse_transform(codes)

    def code(self, row: int) -> NDArray[np.float32]:
        """Return one picture's code, (K,), as stored."""
        return np.asarray(self.table.take([row], "code")[0]["code"], np.float32)

    def decode(self, contents: bytes) -> NDArray[Any]:
        """Decode one picture, as stored, to a row of the encoder's shape, in the data's units.

        Raises
        ------
        ValueError
            If it is damaged, or of another kind or shape than the encoder takes.
        """
        with quietly():
            return self._row(contents)

    def _row(self, contents: bytes) -> NDArray[Any]:
        """Decode one picture without setting Pillow's warnings, which all threads share."""
        shape = self.encoder.sample_shape_
        if contents.startswith(_NPY):
            row: NDArray[Any] = np.lib.format.read_array(BytesIO(contents), allow_pickle=False)
            return row.reshape(shape)
        if not takes_pictures(shape, self.encoder.spec.shows_pictures):
            raise ValueError(f"it is a picture file, and the model takes rows of shape {shape}")
        try:
            return self._target.decode(contents)
        except DefectError as error:
            raise ValueError(f"it is no readable picture: {error}") from error

    def _decode(self, contents: bytes) -> NDArray[Any]:
        try:
            return self._row(contents)
        except ValueError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> FormatError:
        return FormatError(
            f"a picture in '{self.table.path}' is damaged ({error}); keep what can be read "
            "(narrows verify --repair), or restore the library from a copy"
        )


def folders_of(files: Iterable[Picture], given: Path | None = None) -> tuple[str, ...]:
    """Return the folders that picture files are in, with all symbolic links followed.

    Parameters
    ----------
    files : iterable of Path or Page
        The files.
    given : Path, optional
        The folder that was given as a whole, if any.

    Returns
    -------
    tuple of str
        Absolute paths, none of them within another. Of more than 100, the deepest are replaced by
        their parents until there are 100.
    """
    found = set() if given is None else {_real(given)}
    met: set[Path] = set()
    for file in map(file_of, files):
        parent = file.parent
        if parent not in met:
            met.add(parent)
            found.add(_real(parent))
        if file.is_symlink():
            found.add(_real(file).parent)
    return covering_folders(found)


def covering_folders(folders: Iterable[str | Path]) -> tuple[str, ...]:
    """Leave out folders within others; of more than 100, replace the deepest by their parents."""
    found = _outermost(set(map(Path, folders)))
    while len(found) > _MOST_FOLDERS:
        deepest = max(len(folder.parts) for folder in found)
        found = _outermost({f.parent if len(f.parts) == deepest else f for f in found})
    return tuple(sorted(map(str, found)))


def _outermost(folders: set[Path]) -> set[Path]:
    return {folder for folder in folders if folders.isdisjoint(folder.parents)}


def recorded_folders(table: Table) -> tuple[str, ...]:
    """Return the folders that a library has recorded; of older libraries, those of its rows."""
    if table.folders is not None:
        return table.folders
    names = {name for name in table.column("reference").to_pylist() if name is not None}
    folders = {Path(name).parent for name in names if _is_path(name)}
    return covering_folders(map(_real, folders))


def _real(path: Path, *, strict: bool = False) -> Path:
    """Follow all symbolic links; with ``strict``, loops and missing files are an OSError."""
    return Path(os.path.realpath(path, strict=strict))


def _is_path(reference: str) -> bool:
    return Path(reference).is_absolute() and "\0" not in reference
