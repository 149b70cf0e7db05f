"""What users give, as rows to encode; and pictures as a library stores them.

A picture file is stored as it is, byte for byte; a row of an array as the .npy file of it.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from narrows.data import files
from narrows.data.arrays import as_array_like, read_rows
from narrows.data.codec import DefectError, decode, quietly
from narrows.data.images import IMAGE_SUFFIXES, find_images, read_image, read_images
from narrows.errors import DataError, FormatError, LibraryError, MissingFileError
from narrows.errors import UnreadableFileError as Unreadable
from narrows.library.table import Table
from narrows.models import Decoder, Encoder
from narrows.models.validation import check_columns, check_rows

_ROWS = 1024  # rows of an array that are stored at a time
_FILES = 256  # files that are stored at a time, fewer if they have more bytes than this:
_BYTES = 2**26
_NPY = b"\x93NUMPY"


class Part(NamedTuple):
    """Some of what was given, on its way into a library.

    Attributes
    ----------
    numbers : list of int
        Which of those given they are.
    hashes : list of str
        SHA-256 of what is stored of each.
    contents : list of bytes
        What is stored of each.
    rows : ndarray of shape (n, *sample_shape)
        The same, decoded, in the data's units.
    met : list of str
        SHA-256 of all that were read for this part, known or not.
    done : int
        How many of those given have been seen to, with these.
    """

    numbers: list[int]
    hashes: list[str]
    contents: list[bytes]
    rows: NDArray[Any]
    met: list[str]
    done: int


class Loaded(NamedTuple):
    """A file's hash, and, if it is not known yet, its bytes and its pixels."""

    hash: str
    contents: bytes = b""
    pixels: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class GivenFiles:
    """Picture files.

    Attributes
    ----------
    paths : list of Path
        The files.
    encoder : Encoder
        Says in which shape and units rows are wanted.
    single : bool
        Whether one picture was meant, rather than a number of them.
    """

    paths: list[Path]
    encoder: Encoder
    single: bool = False

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> list[str]:
        """The paths, as given."""
        return [str(path) for path in self.paths]

    def read(self) -> NDArray[Any]:
        """Read all of them, (n, *sample_shape), in the data's units."""
        shape = self.encoder.sample_shape_
        if len(self) == 1:
            pixels = read_image(self.paths[0], shape)[None]
        else:
            pixels, _, _ = read_images(self.paths, shape)
        return self.encoder.scaling_.from_pixels(pixels)

    def parts(self, skipped: list[tuple[str, str]] | None, known: set[str]) -> Iterator[Part]:
        """Read them part by part, but for those whose hash is known.

        Parameters
        ----------
        skipped : list, or None
            Takes the files that cannot be read, each with the reason; None refuses them.
        known : set of str
            Hashes; grows by those of what is read.
        """
        load = partial(_load, shape=self.encoder.sample_shape_, known=known)
        unreadable = 0
        for numbers in self._split():
            with quietly(), ThreadPoolExecutor(torch.get_num_threads()) as threads:
                loaded = list(threads.map(load, (self.paths[i] for i in numbers)))
            new: list[tuple[int, Loaded]] = []
            for number, result in zip(numbers, loaded, strict=True):
                if isinstance(result, str):
                    if skipped is None:
                        raise Unreadable(
                            f"'{self.paths[number]}' is not a readable picture: {result}; nothing "
                            "was added; repair or remove it, or leave out what cannot be read "
                            "(--skip-unreadable, skip_unreadable=True)"
                        )
                    skipped.append((str(self.paths[number]), result))
                    unreadable += 1
                elif result.hash not in known:
                    known.add(result.hash)
                    new.append((number, result))
            shape = (0, *self.encoder.sample_shape_)
            pixels = [one.pixels for _, one in new if one.pixels is not None]
            yield Part(
                [number for number, _ in new],
                [one.hash for _, one in new],
                [one.contents for _, one in new],
                self.encoder.scaling_.from_pixels(
                    np.stack(pixels) if pixels else np.empty(shape, np.uint8)
                ),
                [result.hash for result in loaded if isinstance(result, Loaded)],
                numbers[-1] + 1,
            )
        if skipped and unreadable == len(self):
            raise DataError(
                f"none of the {len(self)} pictures can be read; the first is '{skipped[0][0]}': "
                f"{skipped[0][1]}; give pictures that can"
            )

    def _split(self) -> Iterator[list[int]]:
        part: list[int] = []
        size = 0
        for number, path in enumerate(self.paths):
            own = path.stat().st_size if path.is_file() else 0
            if part and (len(part) == _FILES or size + own > _BYTES):
                yield part
                part, size = [], 0
            part.append(number)
            size += own
        yield part


@dataclass(frozen=True)
class GivenRows:
    """Rows in memory.

    Attributes
    ----------
    rows : ndarray of shape (n, *sample_shape)
        In the data's units.
    names : list of str, or None
        Where they came from, if from a file.
    single : bool
        Whether one picture was meant, rather than a number of them.
    """

    rows: NDArray[Any]
    names: list[str] | None = None
    single: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def read(self) -> NDArray[Any]:
        """Return them."""
        return self.rows

    def parts(self, skipped: list[tuple[str, str]] | None, known: set[str]) -> Iterator[Part]:
        """Yield them part by part, but for those whose hash is known; none is ever unreadable."""
        del skipped
        for start in range(0, len(self), _ROWS):
            rows = np.ascontiguousarray(self.rows[start : start + _ROWS])
            contents = _npy_files(rows)
            hashes = [sha256(file).hexdigest() for file in contents]
            new: dict[str, int] = {}
            for place, digest in enumerate(hashes):
                if digest not in known:
                    known.add(digest)
                    new[digest] = place
            places = list(new.values())
            yield Part(
                [start + place for place in places],
                list(new),
                [contents[place] for place in places],
                rows[places],
                hashes,
                start + len(rows),
            )


def understand(given: Any, encoder: Encoder) -> GivenFiles | GivenRows:
    """Tell what a user gave.

    Parameters
    ----------
    given : path, sequence of paths, or array-like of shape sample_shape or (n, *sample_shape)
        A path may name a folder of pictures, a picture, or data that
        :func:`narrows.data.files.read` knows.
    encoder : Encoder
        Says which shape rows have, and which columns if they have names.

    Raises
    ------
    MissingFileError, DataError
        If there is no such file, or its contents do not fit the model.
    """
    names = None
    if isinstance(given, str | Path):
        path = Path(given)
        if path.is_dir():
            return _pictures(find_images(path), encoder)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return _pictures([path], encoder, single=True)
        rows = files.read(path)
        names = [f"{path}[{name}]" for name in rows.names]
        check_columns(encoder, rows, path)
        given = rows.values
    elif isinstance(given, Sequence) and given and all(isinstance(x, str | Path) for x in given):
        return _pictures([Path(x) for x in given], encoder)
    values = as_array_like(read_rows(given))
    shape = encoder.sample_shape_
    single = tuple(values.shape) == shape
    if single:
        # A row of a DataFrame has its columns' names.
        values = values.to_frame().T if hasattr(values, "to_frame") else np.asarray(values)[None]
    elif values.shape[1:] not in (shape, (prod(shape),)):
        check_columns(encoder, values)
        raise DataError(
            f"an array of shape {values.shape} was given; the library's model takes pictures of "
            f"shape {shape}: give one such array, or one of shape (n, {str(shape)[1:]}"
        )
    if not values.shape[0]:
        raise DataError("no pictures were given; give at least one")
    return GivenRows(check_rows(encoder, values), names, single)


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
    """

    table: Table
    encoder: Encoder
    decoder: Decoder | None

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Read pictures as stored, (n, *sample_shape), in the data's units."""
        return np.stack([self._decode(row["picture"]) for row in self.table.take(rows, "picture")])

    def restore(self, row: int) -> NDArray[np.float32]:
        """Decode one picture from its code alone, in the data's units."""
        if self.decoder is None:
            raise LibraryError(
                "this library was made with an encoder alone, so codes cannot be decoded; "
                "build it with the whole model"
            )
        code = np.asarray([self.table.take([row], "code")[0]["code"]], np.float32)
        picture: NDArray[np.float32] = self.decoder.inverse_transform(code)[0]
        return picture

    def _decode(self, contents: bytes) -> NDArray[Any]:
        shape = self.encoder.sample_shape_
        try:
            if not contents.startswith(_NPY):
                return self.encoder.scaling_.from_pixels(read_image(contents, shape))
            row: NDArray[Any] = np.lib.format.read_array(BytesIO(contents), allow_pickle=False)
            return row.reshape(shape)
        except ValueError as error:
            raise FormatError(
                f"a picture in '{self.table.path}' is damaged ({error}); restore the library from "
                "a copy, or build it again"
            ) from error


def _pictures(paths: list[Path], encoder: Encoder, *, single: bool = False) -> GivenFiles:
    shape = encoder.sample_shape_
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)):
        raise DataError(
            f"'{paths[0]}' is a picture, and the library's model takes rows of shape {shape}; "
            "give arrays or tables"
        )
    return GivenFiles(paths, encoder, single)


def _load(path: Path, shape: tuple[int, ...], known: Collection[str]) -> Loaded | str:
    """Read a file once, for storing and for encoding; or say why that is impossible."""
    try:
        contents = path.read_bytes()
        digest = sha256(contents).hexdigest()
        if digest in known:
            return Loaded(digest)
        return Loaded(digest, contents, decode(contents, shape))
    except FileNotFoundError as error:
        raise MissingFileError(f"'{path}' does not exist; give files that do") from error
    except DefectError as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _npy_files(rows: NDArray[Any]) -> list[bytes]:
    """Turn rows into .npy files, which all have the same header."""
    file = BytesIO()
    np.lib.format.write_array(file, rows[0], allow_pickle=False)
    header = file.getvalue()[: -rows[0].nbytes]
    return [header + row.tobytes() for row in rows]
