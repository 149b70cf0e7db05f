"""What users give to a library or look for in it: picture files, rows in memory, or an iterator.

Each is read part by part, as rows to encode and as files to store.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from itertools import chain, groupby
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.containment import is_folder, read_regular
from narrows.data import files
from narrows.data.arrays import as_array_like, is_pillow_image, read_rows
from narrows.data.axes import hint
from narrows.data.decoding import (
    Target,
    decode_with_thumbnail,
    encode_thumbnail,
    n_processors,
    scan,
)
from narrows.data.folders import LeftOut
from narrows.data.formats import (
    DEFAULTS,
    IMAGE_SUFFIXES,
    NUMERIC_KINDS,
    FileOptions,
    check_installed,
)
from narrows.data.image_codec import DefectError, extract, orientation, turn
from narrows.data.images import list_images, read_into_memory
from narrows.data.names import RowNames
from narrows.data.reading import Notes, Page, Picture, Reading, current, file_of
from narrows.data.scaling import Scaling
from narrows.errors import DataError, MissingFileError, ParameterError
from narrows.errors import UnreadableFileError as Unreadable
from narrows.library.pictures import MOST_BYTES, folders_of
from narrows.library.table import Entry
from narrows.models import CodeEncoder, CodeSpec
from narrows.models.validation import check_columns, check_rows
from narrows.texts import is_utf8

_ROWS = 1024  # rows of an array that are stored at a time
_FILES = 256  # files that are stored at a time, fewer if they have more bytes than this:
_BYTES = 2**24  # larger parts were slower, as their memory is new each time
_BLOCKS = 64  # tasks for threads that a part makes
# Pictures of an iterator, and bytes of them, that are gathered before they are read.
_GATHERED, _GATHERED_BYTES = 1024, 2**26
# Modes that PNG files hold as they are; other pictures become colours.
_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")

Store: TypeAlias = Literal["pictures", "references"]


class Part(NamedTuple):
    """Some new pictures on their way into a library.

    Attributes
    ----------
    numbers : list of int
        Their numbers among all pictures that were given.
    entries : list of Entry
        The pictures as rows of the library's table.
    rows : ndarray of shape (n, *sample_shape)
        The pictures decoded, in the data's units.
    met : list of str
        SHA-256 of all pictures that were read for this part, known ones among them.
    done : int
        How many of the given pictures have been read, with this part.
    """

    numbers: list[int]
    entries: list[Entry]
    rows: NDArray[Any]
    met: list[str]
    done: int


# A picture for the table, and decoded unless the library has it already.
_Loaded: TypeAlias = tuple[Entry, NDArray[Any] | None]


@dataclass(frozen=True)
class InputFiles:
    """Picture files.

    Attributes
    ----------
    paths : list of Path or Page
        The files, or pages of them; of pictures in memory, the names that errors give them.
    encoder : CodeEncoder
        The encoder, to whose shape and units pictures are decoded.
    single : bool
        Whether one picture was given, rather than a number of them.
    store : {"pictures", "references"}
        What the library stores of each.
    contents : list of bytes, or None
        The contents of picture files in memory.
    how : Reading
        How picture files are read, with the bound on their pixels.
    notes : Notes
        Collects notes about the files for one warning.
    left_out : LeftOut or None
        What else lies in the folder that was given, if one was.
    folder : Path or None
        The folder that was given, if one was.
    """

    paths: list[Picture]
    encoder: CodeEncoder
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

    @cached_property
    def target(self) -> Target:
        """The shape and units that a picture file is decoded to."""
        return Target.of(self.encoder, self.how)

    @cached_property
    def rows(self) -> NDArray[Any]:
        """All pictures, checked, (n, *sample_shape), in the data's units."""
        rows, _, _ = read_into_memory(self.paths, self.target, self.notes)
        self.notes.warn(stacklevel=5)
        return check_rows(self.encoder, rows)

    def parts(self, skipped: list[tuple[str, str]] | None, known: set[str]) -> Iterator[Part]:
        """Read the pictures whose hash is not known, part by part, one part ahead.

        The caller iterates within :func:`narrows.data.image_codec.quietly`.

        Parameters
        ----------
        skipped : list, or None
            Collects the files that cannot be read, each with the reason; None refuses them.
        known : set of str
            Hashes; grows by those of the pictures that are read.
        """
        for numbers, loaded in self._loaded(known):
            part = Part([], [], self.target.empty(0), [], numbers[-1] + 1)
            rows = []
            for number, result in zip(numbers, loaded, strict=True):
                if isinstance(result, str):
                    if skipped is None:
                        raise Unreadable(
                            f"'{self.paths[number]}' is not a readable picture: {result}; nothing "
                            "was added; repair or remove it, or leave out what cannot be read "
                            "(--skip-unreadable, skip_unreadable=True)"
                        )
                    skipped.append((str(self.paths[number]), result))
                    continue
                entry, row = result
                part.met.append(entry.hash)
                if row is not None and entry.hash not in known:
                    known.add(entry.hash)
                    part.numbers.append(number)
                    part.entries.append(entry)
                    rows.append(row)
            yield part._replace(rows=np.stack(rows)) if rows else part

    def _loaded(self, known: set[str]) -> Iterator[tuple[list[int], list[_Loaded | str]]]:
        """Read them on all processors; while the caller uses a part, the next one is read."""

        def load(numbers: list[int]) -> list[_Loaded | str]:
            return [self._load(number, known) for number in numbers]

        with ThreadPoolExecutor(n_processors()) as threads:
            try:
                before: tuple[list[int], list[Future[list[_Loaded | str]]]] | None = None
                for numbers in chain(self._split(), [[]]):
                    size = -(-len(numbers) // _BLOCKS) or 1
                    blocks = [numbers[at : at + size] for at in range(0, len(numbers), size)]
                    begun = [threads.submit(load, block) for block in blocks]
                    if before is not None:
                        yield before[0], [file for block in before[1] for file in block.result()]
                    before = numbers, begun
            finally:
                # After an error or Ctrl-C, what has not begun does not begin.
                threads.shutdown(cancel_futures=True)

    def _load(self, number: int, known: Collection[str]) -> _Loaded | str:
        """Read a file once, for storing and for encoding; or say why that is impossible."""
        path, target = self.paths[number], self.target
        refer = self.store == "references"
        reference = str(path.absolute()) if refer else None
        if reference is not None and not is_utf8(reference):
            return "its name is no UTF-8 text, so that it cannot be referred to; store the picture"
        try:
            if self.contents is not None:
                contents = self.contents[number]
            elif isinstance(path, Page):
                contents = extract(path, target.how)
            elif refer:
                contents = read_regular(path, MOST_BYTES, follow=True)
            else:
                contents = path.read_bytes()
            digest = sha256(contents).hexdigest()
            if digest in known:
                return Entry(digest), None
            own, show = Notes(), target.scaling.show
            values, thumbnail = decode_with_thumbnail(
                contents, target.sample_shape, show, always=refer, how=target.how, notes=own
            )
            row = target.fit(values, contents, own)
            self.notes.add(own, str(path))
            name = str(path) if self.contents is None else None
            return Entry(digest, None if refer else contents, reference, thumbnail, name), row
        except FileNotFoundError as error:
            raise MissingFileError(f"'{path}' does not exist; give files that do") from error
        except (DefectError, DataError) as error:
            return str(error)
        except OSError as error:
            return error.strerror or str(error)

    def _split(self) -> Iterator[list[int]]:
        """Divide the numbers of the files into parts."""
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
class InputRows:
    """Rows in memory.

    Attributes
    ----------
    rows : ndarray of shape (n, *sample_shape)
        The rows, checked, in the data's units.
    scaling : Scaling
        The conversion between these units and pixels.
    spec : CodeSpec
        The description of rows, which tells whether rows are pictures and have thumbnails.
    names : sequence of str, or None
        Where they came from, if from a file.
    single : bool
        Whether one row was given, rather than a number of them.
    left_out : LeftOut or None
        What else lies in the folder that was given, if one was.
    notes : Notes
        Always empty: only files have notes.
    folders : tuple of str
        Empty, as rows are in no files that are referred to.
    """

    rows: NDArray[Any]
    scaling: Scaling
    spec: CodeSpec
    names: Sequence[str] | None = None
    single: bool = False
    left_out: LeftOut | None = None
    notes: Notes = field(default_factory=Notes)
    folders: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, skipped: list[tuple[str, str]] | None, known: set[str]) -> Iterator[Part]:
        """Yield the rows whose hash is not known, part by part; none is ever unreadable."""
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
            entries = [
                Entry(
                    digest,
                    contents[place],
                    thumbnail=self._thumbnail(rows[place]),
                    path=None if self.names is None else self.names[start + place],
                )
                for digest, place in new.items()
            ]
            places = list(new.values())
            numbers = [start + place for place in places]
            yield Part(numbers, entries, rows[places], hashes, start + len(rows))

    def _thumbnail(self, row: NDArray[Any]) -> bytes | None:
        return encode_thumbnail(self.scaling.to_pixels(row)) if self.spec.shows_pictures else None


@dataclass(frozen=True)
class InputStream:
    """An iterator of pictures, whose number and kinds are unknown; never all in memory.

    Attributes
    ----------
    items : iterator
        Paths of files, of folders or of data; the contents of picture files, as bytes; Pillow's
        pictures; arrays of shape sample_shape or (n, *sample_shape). Kinds may be mixed.
    encoder : CodeEncoder
        The encoder, to whose shape and units pictures are decoded.
    store : {"pictures", "references"}
        What the library stores of each.
    notes : Notes
        Collects notes about picture files for one warning.
    folders : set of str
        The folders of files that are referred to; grows with the files that are read.
    left_out : None
        An iterator is no folder.
    """

    items: Iterator[Any]
    encoder: CodeEncoder
    store: Store = "pictures"
    notes: Notes = field(default_factory=Notes)
    folders: set[str] = field(default_factory=set)
    left_out: ClassVar[None] = None

    def parts(self, skipped: list[tuple[str, str]] | None, known: set[str]) -> Iterator[Part]:
        """Read the pictures part by part, as :meth:`InputFiles.parts` does."""
        done = 0
        for kind, items in groupby(self.items, self._kind):
            for block in ([item] for item in items) if kind is None else _gather(items):
                given = self._read_items(block, kind, done)
                for part in given.parts(skipped, known):
                    numbers = [done + number for number in part.numbers]
                    yield part._replace(numbers=numbers, done=done + part.done)
                if isinstance(given, InputFiles):
                    self.notes.add(given.notes)
                    self.folders.update(given.folders)
                done += len(given)
        if not done:
            raise DataError("no pictures were given; give at least one")

    def _kind(self, item: Any) -> object:
        """Return the kind of items that are read together; None for an item read alone."""
        if isinstance(item, str | Path):
            return Path if is_picture_file(item) else None
        if isinstance(item, bytes | Image.Image):
            return bytes
        if isinstance(item, np.ndarray) and item.shape == self.encoder.sample_shape_:
            return item.dtype
        return None

    def _read_items(self, items: list[Any], kind: object, done: int) -> InputFiles | InputRows:
        if kind is bytes:
            contents = [_png(item) if isinstance(item, Image.Image) else item for item in items]
            names = [Path(f"picture {done + number}") for number in range(len(items))]
            check_store(self.store, files=False)
            return as_files(names, self.encoder, self.store, contents=contents, notes=self.notes)
        if kind is None:
            return read_input(items[0], self.encoder, store=self.store)
        together = items if kind is Path else np.stack(items)
        return read_input(together, self.encoder, store=self.store)


def read_input(
    given: Any,
    encoder: CodeEncoder,
    *,
    store: Store = "pictures",
    exclude: str | Sequence[str] = (),
    options: FileOptions = DEFAULTS,
) -> InputFiles | InputRows:
    """Read what a user gave, or name its files if they are pictures.

    Parameters
    ----------
    given : path, sequence of paths, or array-like of shape sample_shape or (n, *sample_shape)
        A path may name a folder of pictures, a picture, or data that
        :func:`narrows.data.files.read` knows.
    encoder : CodeEncoder
        The encoder, which knows the shape of rows, and their columns if they have names.
    store : {"pictures", "references"}
        What a library is to store of each.
    exclude : str or sequence of str
        Patterns of files and folders that are left out of a folder.
    options : FileOptions
        How to read tables and archives that do not tell it themselves.

    Raises
    ------
    MissingFileError, DataError
        If there is no such file, or its contents do not fit the model.
    ParameterError
        If rows of data, which have no files, are to be referred to, or files are to be left out
        where no folder was given.
    """
    check_store(store)
    names: Sequence[str] | None = None
    left_out = None
    if exclude != ():
        files.check_excludable(given, exclude)
    if isinstance(given, str | Path):
        path = Path(given)
        if is_folder(path) and not files.holds_rows(path, exclude):
            found, left_out = list_images(path, exclude)
            left_out.warn(path, stacklevel=3)
            return replace(as_files(found, encoder, store), left_out=left_out, folder=path)
        if is_picture_file(path):
            return as_files([path], encoder, store, single=True)
        check_installed(path)
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
    values, shape = given, encoder.spec.sample_shape
    if type(values) is not np.ndarray or values.dtype.kind not in NUMERIC_KINDS or not values.ndim:
        if is_pillow_image(given):
            values = given = as_array_like([given])[0]
        values = as_array_like(read_rows(values))
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
    checked = check_rows(encoder, values)
    return InputRows(checked, encoder.scaling_, encoder.spec, names, single, left_out)


def is_picture_file(path: str | Path) -> bool:
    """Tell from its name whether a path names one picture."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES and not is_folder(path)


def check_store(store: Store, *, files: bool = True) -> None:
    """Refuse an unknown way to store pictures, and references to what has no files."""
    if store not in ("pictures", "references"):
        raise ParameterError(f"store={store!r} is not known; use 'pictures' or 'references'")
    if store == "references" and not files:
        raise ParameterError(
            "store='references' is for picture files, and rows of data were given, which are in no "
            "file of their own; store them as they are"
        )


def as_files(
    paths: list[Path],
    encoder: CodeEncoder,
    store: Store,
    *,
    single: bool = False,
    contents: list[bytes] | None = None,
    notes: Notes | None = None,
) -> InputFiles:
    """Return picture files, if the encoder takes pictures; see :class:`InputFiles`."""
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
    return InputFiles(pictures, encoder, single, store, contents, how, notes or Notes())


def _npy_files(rows: NDArray[Any]) -> list[bytes]:
    """Make .npy files of rows, which all have the same header."""
    file = BytesIO()
    np.lib.format.write_array(file, rows[0], allow_pickle=False)
    header = file.getvalue()[: -rows[0].nbytes]
    return [header + row.tobytes() for row in rows]


def _gather(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Gather items into lists that fit into memory."""
    block: list[Any] = []
    size = 0
    for item in items:
        block.append(item)
        match item:
            case bytes():
                size += len(item)
            case Image.Image():
                size += 4 * item.width * item.height
            case np.ndarray():
                size += item.nbytes
        if len(block) == _GATHERED or size >= _GATHERED_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _png(image: Image.Image) -> bytes:
    """Make a PNG file of a picture in memory, upright and without loss."""
    image.load()  # which turns some upright, and removes their orientation
    upright = turn(image, orientation(image))
    file = BytesIO()
    (upright if upright.mode in _MODES else upright.convert("RGB")).save(file, "PNG")
    return file.getvalue()
