"""What users give, as rows to encode and as files to store."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from io import BytesIO
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from narrows.containment import is_folder, read_regular
from narrows.data import files
from narrows.data.arrays import as_array_like, hint, is_pillow_image, read_rows
from narrows.data.decoding import (
    Target,
    decode_with_thumbnail,
    encode_thumbnail,
    n_processors,
    scan,
)
from narrows.data.folders import LeftOut
from narrows.data.formats import DEFAULTS, IMAGE_SUFFIXES, FileOptions, check_plugin
from narrows.data.image_codec import DefectError, extract
from narrows.data.images import list_images, read_into_memory
from narrows.data.names import RowNames
from narrows.data.reading import Notes, Page, Picture, Reading, current, file_of
from narrows.data.scaling import Scaling
from narrows.errors import DataError, MissingFileError, ParameterError
from narrows.errors import UnreadableFileError as Unreadable
from narrows.library.references import MOST_BYTES, folders_of
from narrows.models import Encoder
from narrows.models.validation import check_columns, check_rows

_ROWS = 1024  # rows of an array that are stored at a time
_FILES = 256  # files that are stored at a time, fewer if they have more bytes than this:
_BYTES = 2**24  # larger parts were slower, as their memory is new each time
_BLOCKS = 64  # tasks for threads that a part makes

Store: TypeAlias = Literal["pictures", "references"]


class Part(NamedTuple):
    """Some of what was given, on its way into a library.

    Attributes
    ----------
    numbers : list of int
        Which of those given they are.
    names : list of str, or None
        Where they came from, if that is known.
    hashes : list of str
        SHA-256 of each file's contents.
    contents : list of (bytes or None)
        What is stored of each; None where that is a reference.
    references : list of (str or None)
        The absolute path of each, where it is not stored itself.
    thumbnails : list of (bytes or None)
        JPEG files; None where a picture is small itself.
    rows : ndarray of shape (n, *sample_shape)
        The same, decoded, in the data's units.
    met : list of str
        SHA-256 of all that were read for this part, known or not.
    done : int
        How many of those given have been seen to, with these.
    """

    numbers: list[int]
    names: list[str] | None
    hashes: list[str]
    contents: list[bytes | None]
    references: list[str | None]
    thumbnails: list[bytes | None]
    rows: NDArray[Any]
    met: list[str]
    done: int


class Loaded(NamedTuple):
    """A file's hash, and, if it is not known yet, what is stored of it, and its row."""

    hash: str
    contents: bytes | None = None
    reference: str | None = None
    thumbnail: bytes | None = None
    row: NDArray[Any] | None = None


@dataclass(frozen=True)
class GivenFiles:
    """Picture files.

    Attributes
    ----------
    paths : list of Path or Page
        The files, or pages of them; where they are none, what errors call them.
    encoder : Encoder
        Says in which shape and units rows are wanted.
    single : bool
        Whether one picture was meant, rather than a number of them.
    store : {"pictures", "references"}
        What is kept of each.
    contents : list of bytes, or None
        What would be in the files, where they are none.
    how : Reading
        The bound on pixels.
    notes : Notes
        Takes what has to be said of the files.
    left_out : LeftOut or None
        What else lies in the folder that was given, if one was.
    folder : Path or None
        That folder.
    """

    paths: list[Picture]
    encoder: Encoder
    single: bool = False
    store: Store = "pictures"
    contents: list[bytes] | None = None
    how: Reading = field(default_factory=current)
    notes: Notes = field(default_factory=Notes)
    left_out: LeftOut | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the files that are to be referred to."""
        return folders_of(self.paths, self.folder) if self.store == "references" else ()

    @property
    def target(self) -> Target:
        """What each is turned into: a row in the data's units."""
        scaling = self.encoder.scaling_
        return Target(self.encoder.sample_shape_, scaling.file_type, scaling, self.how)

    def read(self) -> NDArray[Any]:
        """Read all of them, (n, *sample_shape), in the data's units."""
        rows, _, _ = read_into_memory(self.paths, self.target, self.notes)
        self.notes.tell(stacklevel=4)
        return rows

    def parts(self, skipped: list[tuple[str, str]] | None, known: set[str]) -> Iterator[Part]:
        """Read them part by part, one part ahead, but for those whose hash is known.

        Whoever asks does so within :func:`narrows.data.image_codec.quietly`.

        Parameters
        ----------
        skipped : list, or None
            Takes the files that cannot be read, each with the reason; None refuses them.
        known : set of str
            Hashes; grows by those of what is read.
        """
        for numbers, loaded in self._loaded(known):
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
                elif result.hash not in known:
                    known.add(result.hash)
                    new.append((number, result))
            rows = [one.row for _, one in new if one.row is not None]
            yield Part(
                [number for number, _ in new],
                None if self.contents else [str(self.paths[number]) for number, _ in new],
                [one.hash for _, one in new],
                [one.contents for _, one in new],
                [one.reference for _, one in new],
                [one.thumbnail for _, one in new],
                np.stack(rows) if rows else self.target.empty(0),
                [result.hash for result in loaded if isinstance(result, Loaded)],
                numbers[-1] + 1,
            )

    def _loaded(self, known: set[str]) -> Iterator[tuple[list[int], list["Loaded | str"]]]:
        """Read them on all processors; while a part is looked at, the next is on its way."""
        refer = self.store == "references"
        load = partial(_load, target=self.target, known=known, refer=refer, notes=self.notes)

        def load_block(numbers: list[int]) -> list[Loaded | str]:
            return [
                load(self.paths[n], None if self.contents is None else self.contents[n])
                for n in numbers
            ]

        with ThreadPoolExecutor(n_processors()) as threads:
            try:
                before: tuple[list[int], list[Future[list[Loaded | str]]]] | None = None
                for numbers in chain(self._split(), [[]]):
                    size = -(-len(numbers) // _BLOCKS) or 1
                    blocks = [numbers[at : at + size] for at in range(0, len(numbers), size)]
                    begun = [threads.submit(load_block, block) for block in blocks]
                    if before is not None:
                        yield before[0], [one for block in before[1] for one in block.result()]
                    before = numbers, begun
            finally:
                # After an error or Ctrl-C, what has not begun does not begin.
                threads.shutdown(cancel_futures=True)

    def _split(self) -> Iterator[list[int]]:
        part: list[int] = []
        size = 0
        pages = Counter(path.file for path in self.paths if isinstance(path, Page))
        for number, path in enumerate(self.paths):
            file = file_of(path)
            if self.contents is not None:
                own = len(self.contents[number])
            else:
                own = file.stat().st_size // max(1, pages[file]) if file.is_file() else 0
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
    scaling : Scaling
        Between these and pixels.
    are_pictures : bool
        Whether they are shown as pictures, and have thumbnails.
    names : sequence of str, or None
        Where they came from, if from a file.
    single : bool
        Whether one picture was meant, rather than a number of them.
    left_out : LeftOut or None
        What else lies in the folder that was given, if one was.
    """

    rows: NDArray[Any]
    scaling: Scaling
    are_pictures: bool
    names: Sequence[str] | None = None
    single: bool = False
    left_out: LeftOut | None = None

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
                None if self.names is None else [self.names[start + place] for place in places],
                list(new),
                [contents[place] for place in places],
                [None] * len(places),
                [self._thumbnail(rows[place]) for place in places],
                rows[places],
                hashes,
                start + len(rows),
            )

    def _thumbnail(self, row: NDArray[Any]) -> bytes | None:
        return encode_thumbnail(self.scaling.to_pixels(row)) if self.are_pictures else None


def understand(
    given: Any,
    encoder: Encoder,
    *,
    store: Store = "pictures",
    exclude: str | Sequence[str] = (),
    options: FileOptions = DEFAULTS,
) -> GivenFiles | GivenRows:
    """Tell what a user gave.

    Parameters
    ----------
    given : path, sequence of paths, or array-like of shape sample_shape or (n, *sample_shape)
        A path may name a folder of pictures, a picture, or data that
        :func:`narrows.data.files.read` knows.
    encoder : Encoder
        Says which shape rows have, and which columns if they have names.
    store : {"pictures", "references"}
        What is kept of each, when it comes to that.
    exclude : str or sequence of str
        Patterns of files and folders that are left out of a folder.
    options : FileOptions
        How to read tables and archives that do not say it themselves.

    Raises
    ------
    MissingFileError, DataError
        If there is no such file, or its contents do not fit the model.
    ParameterError
        If rows of data, which are no files, are to be referred to, or files are to be left out of
        what is no folder.
    """
    check_store(store)
    names: Sequence[str] | None = None
    left_out = None
    files.check_excludable(given, exclude)
    if isinstance(given, str | Path):
        path = Path(given)
        if is_folder(path) and not files.holds_rows(path, exclude):
            found, left_out = list_images(path, exclude)
            left_out.tell(path, stacklevel=3)
            return replace(as_files(found, encoder, store), left_out=left_out, folder=path)
        if is_picture_file(path):
            return as_files([path], encoder, store, single=True)
        check_plugin(path)
        rows = files.read(
            path,
            sample_shape=encoder.sample_shape_,
            exclude=exclude,
            options=options.only_for(path),
            known=getattr(encoder, "feature_names_in_", None),
        )
        names, left_out = RowNames(rows.names, f"{path}[", "]"), rows.left_out
        check_columns(encoder, rows, path)
        given = rows.in_units(encoder)
    elif isinstance(given, Sequence) and given and all(isinstance(x, str | Path) for x in given):
        return as_files([Path(x) for x in given], encoder, store)
    check_store(store, files=False)
    if is_pillow_image(given):
        given = as_array_like([given])[0]
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
            f"shape {shape}: "
            + (
                hint(values.shape, shape, given)
                or f"give one such array, or one of shape (n, {str(shape)[1:]}"
            )
        )
    if not values.shape[0]:
        raise DataError("no pictures were given; give at least one")
    checked, shown = check_rows(encoder, values), encoder.spec.shows_pictures
    return GivenRows(checked, encoder.scaling_, shown, names, single, left_out)


def is_picture_file(path: str | Path) -> bool:
    """Tell from its name whether a path is that of one picture."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES and not is_folder(path)


def check_store(store: Store, *, files: bool = True) -> None:
    """Refuse what is no way to store things, or none to store what is in no files."""
    if store not in ("pictures", "references"):
        raise ParameterError(f"store={store!r} is not known; use 'pictures' or 'references'")
    if store == "references" and not files:
        raise ParameterError(
            "store='references' is for picture files, and rows of data were given, which are in no "
            "file of their own; store them as they are"
        )


def as_files(
    paths: list[Path],
    encoder: Encoder,
    store: Store,
    *,
    single: bool = False,
    contents: list[bytes] | None = None,
    notes: Notes | None = None,
) -> GivenFiles:
    """Take picture files, if the encoder takes pictures; see :class:`GivenFiles`."""
    if not files.takes_pictures(encoder.sample_shape_, encoder.spec.shows_pictures):
        raise DataError(
            f"'{paths[0]}' is a picture, and the library's model takes rows of shape "
            f"{encoder.sample_shape_}, which are none; give arrays or tables"
        )
    how = current()
    pictures: list[Picture] = list(paths)
    if how.pages == "all" and contents is None:
        pictures = scan(paths, how).pictures
        single = single and len(pictures) == 1
    return GivenFiles(pictures, encoder, single, store, contents, how, notes or Notes())


def _load(
    path: Picture,
    contents: bytes | None,
    target: Target,
    known: Collection[str],
    notes: Notes,
    *,
    refer: bool,
) -> Loaded | str:
    """Read a file once, for storing and for encoding; or say why that is impossible."""
    reference = str(path.absolute()) if refer else None
    if reference is not None and not _is_text(reference):
        return "its name is no UTF-8 text, so that it cannot be referred to; store the picture"
    try:
        if contents is None:
            if isinstance(path, Page):
                contents = extract(path, target.how)
            else:
                contents = (
                    read_regular(path, MOST_BYTES, follow=True) if refer else path.read_bytes()
                )
        digest = sha256(contents).hexdigest()
        if digest in known:
            return Loaded(digest)
        own, scaling = Notes(), target.scaling
        values, thumbnail = decode_with_thumbnail(
            contents, target.sample_shape, scaling.show, always=refer, how=target.how, notes=own
        )
        row = target.fit(values, contents, own)
        notes.add(own, str(path))
        return Loaded(digest, None if refer else contents, reference, thumbnail, row)
    except FileNotFoundError as error:
        raise MissingFileError(f"'{path}' does not exist; give files that do") from error
    except (DefectError, DataError) as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _npy_files(rows: NDArray[Any]) -> list[bytes]:
    """Turn rows into .npy files, which all have the same header."""
    file = BytesIO()
    np.lib.format.write_array(file, rows[0], allow_pickle=False)
    header = file.getvalue()[: -rows[0].nbytes]
    return [header + row.tobytes() for row in rows]
