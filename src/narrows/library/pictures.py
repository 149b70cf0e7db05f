"""Pictures as a library stores them.

A picture file is stored as it is, byte for byte, or referred to by its path; a row of an array as
the .npy file of it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from narrows.data.decoding import Target, decode_with_thumbnail, encode_thumbnail, preview, size_of
from narrows.data.depths import encode_png
from narrows.data.files import takes_pictures
from narrows.data.image_codec import DefectError, quietly
from narrows.data.reading import Reading, current
from narrows.errors import FormatError, LibraryError
from narrows.library.references import fetch
from narrows.library.table import Table
from narrows.models import Decoder, Encoder

_NPY, _JPEG = b"\x93NUMPY", b"\xff\xd8"
# Files, perhaps of many megabytes each, that are in memory together.
_BLOCK = 128


@dataclass(frozen=True)
class StoredPictures:
    """The pictures of a library, at one version of its table.

    Attributes
    ----------
    table : Table
        Where they are stored.
    encoder : Encoder
        Says in which shape and units they are wanted.
    decoder : Decoder or None
        Restores pictures from their codes; a library made by an encoder alone has none.
    how : Reading
        The bound on pixels.
    """

    table: Table
    encoder: Encoder
    decoder: Decoder | None
    how: Reading = field(default_factory=current)

    @property
    def _target(self) -> Target:
        """What a picture file is turned into."""
        scaling = self.encoder.scaling_
        return Target(self.encoder.sample_shape_, scaling.file_type, scaling, self.how)

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
        """Give what is in pictures' files, those that are only referred to among them.

        Raises
        ------
        MissingFileError, UnreadableFileError
            If a file that is referred to is gone, may not or cannot be read, or has changed; see
            :func:`narrows.library.references.fetch`.
        """
        for row in self.table.take(rows, "picture", "reference", "hash"):
            if row["picture"] is not None:
                yield row["picture"]
            else:
                yield fetch(row["reference"], row["hash"], self.table, self.how)

    def sizes(self, rows: Sequence[int] | NDArray[np.int64]) -> list[tuple[int, int] | None]:
        """Return pictures' heights and widths as stored, None of rows that are none."""
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
        """Return one picture to look at, small, as pixels (height, width) or (height, width, 3)."""
        contents = self.table.take([row], "thumbnail")[0]["thumbnail"]
        return self._preview(next(self.contents([row])) if contents is None else contents)

    def thumbnails(self, rows: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Return pictures to look at, small, as JPEG files where such are kept, or PNG files."""
        kept = [one["thumbnail"] or b"" for one in self.table.take(rows, "thumbnail")]
        others = self.contents([row for row, one in zip(rows, kept, strict=True) if not one])
        return [
            one if one.startswith(_JPEG) else encode_png(self._preview(one or next(others)))
            for one in kept
        ]

    def _preview(self, contents: bytes) -> NDArray[np.uint8]:
        if not contents.startswith(_NPY):
            try:
                with quietly():
                    return preview(contents, self.encoder.scaling_.show, self.how)
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
        """Do so without setting Pillow's warnings, which all threads share."""
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
