"""Additions: pictures that users give, with users' columns, written by this process or by workers.

Workers write their shares anywhere, and return the names of Lance fragments that no version of the
table has. One commit takes them all in, in their order; pictures that two shares have are removed
in the next, and only then is the library shown. A share that is begun again leaves a file that
nothing names, which is removed as well.

Users' columns come in memory, or in a table file whose rows are brought into the order of the
pictures, and are turned into the types that libraries hold.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from narrows.data.decoding import Progress, Resized, Size, one_processor, sizes_of
from narrows.data.folders import LeftOut, check_excludable
from narrows.data.formats import TABLE_SUFFIXES, FileOptions, is_table
from narrows.data.image_codec import quietly
from narrows.data.lazy_rows import strided
from narrows.data.names import KEYS, NameIndex, key_column
from narrows.data.reading import Notes, Picture, file_of
from narrows.data.tables import read_columns
from narrows.errors import DataError, ParameterError
from narrows.library.conditions import OWN_COLUMNS
from narrows.library.folder import WriteTransaction
from narrows.library.inputs import (
    InputFiles,
    InputRows,
    InputStream,
    Part,
    Store,
    check_store,
    read_input,
)
from narrows.library.pictures import covering_folders, recorded_folders
from narrows.library.table import Batch, Table
from narrows.library.workers import Workers
from narrows.models import CodeEncoder
from narrows.remote import Place
from narrows.texts import counted, is_text, is_utf8

_ROWS = 4096  # most pictures in a share, which is what the loss of a worker can cost
_HEADERS = 1000  # pictures of a folder whose headers are read before all pictures are
# Users' texts and numbers are kept in one type each, so that later additions fit earlier ones.
_WIDEST = (
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_signed_integer, pa.int64()),
    (pa.types.is_unsigned_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (is_text, pa.string()),
    (pa.types.is_date, pa.date32()),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is None, pa.timestamp("us")),
    (pa.types.is_timestamp, pa.timestamp("us", "UTC")),
)


class Written(NamedTuple):
    """A worker's report of a share that it has written.

    Attributes
    ----------
    fragments : list of str
        Fragments that no version of the table has yet, as JSON.
    hashes : list of str
        SHA-256 of the pictures in the fragments, in their order.
    first : int
        The id of the first of them.
    met : list of str
        SHA-256 of all pictures that were read, known ones among them.
    skipped : list of (str, str)
        Files that could not be read, each with the reason.
    notes : Notes
        Notes about the files for one warning.
    """

    fragments: list[str]
    hashes: list[str]
    first: int
    met: list[str]
    skipped: list[tuple[str, str]]
    notes: Notes


@dataclass(frozen=True)
class Share:
    """Some consecutive pictures of an addition, which one worker writes.

    Attributes
    ----------
    given : InputFiles or InputRows
        The pictures; the worker gives them their encoder.
    names, metadata
        As of :class:`Addition`.
    skips : bool
        Whether files that cannot be read are left out.
    table : Path or Remote
        The table that they are written to.
    fingerprint : str
        The fingerprint of the model.
    first : int
        The id of the first picture.
    added : datetime
        The time of addition.
    """

    given: InputFiles | InputRows
    names: list[str] | None
    metadata: Any
    skips: bool
    table: Place
    fingerprint: str
    first: int
    added: datetime


@dataclass(frozen=True)
class Added:
    """The result of :meth:`narrows.Library.add`.

    Attributes
    ----------
    count : int
        How many pictures were added.
    present : int
        How many were left out because the library has the same picture already, or because they
        were given more than once.
    skipped : list of (str, str)
        Files that could not be read and were left out, each with the reason.
    left_out : LeftOut or None
        What else lies in the folder that was given; None where none was.
    resized : Resized or None
        Pictures whose codes are made at another size than they have, of some whose headers were
        read.
    """

    count: int
    present: int
    skipped: list[tuple[str, str]]
    left_out: LeftOut | None = field(default=None, compare=False)
    resized: Resized | None = field(default=None, compare=False)


@dataclass
class Addition:
    """Pictures on their way into a library.

    Attributes
    ----------
    encoder : CodeEncoder
        The encoder that makes the codes.
    given : InputFiles, InputRows or InputStream
        The pictures.
    names : list of str, or None
        The path that each gets; None stands for where they came from, or for their ids.
    metadata : pyarrow.Table, or None
        Users' columns, a row for each picture.
    skipped : list, or None
        Collects the files that cannot be read, each with the reason; None refuses them.
    name : str
        The name of the addition; it differs where the same pictures would become other rows.
    progress : callable, or None
        Called with the number of pictures done and the number of all; twice with the first if the
        second is unknown.
    workers : Workers, optional
        The workers that read, encode and write; by default this process.
    known : set of str
        Hashes of pictures that are left out; grows by those of the pictures that are read.
    met : list of str
        Hashes of all pictures that were read.
    sizes : dict
        Heights and widths of some of the pictures, if their codes may be made at another size.
    """

    encoder: CodeEncoder
    given: InputFiles | InputRows | InputStream
    names: list[str] | None
    metadata: Any
    skipped: list[tuple[str, str]] | None
    name: str
    progress: Progress | None
    workers: Workers | None = None
    known: set[str] = field(default_factory=set)
    met: list[str] = field(default_factory=list)
    sizes: dict[Picture, Size | None] = field(default_factory=dict)
    _done: int = 0

    @classmethod
    def of(
        cls,
        X: Any,
        encoder: CodeEncoder,
        *,
        names: Sequence[str] | None,
        metadata: Any,
        store: Store,
        skip_unreadable: bool,
        exclude: str | Sequence[str],
        options: FileOptions,
        progress: Progress | None,
        workers: Workers | None = None,
    ) -> "Addition":
        """Check what :meth:`narrows.Library.add` was given."""
        skipped: list[tuple[str, str]] | None = [] if skip_unreadable else None
        if isinstance(X, Iterator):
            check_store(store)
            check_excludable(X, exclude)
            if names is not None or metadata is not None:
                raise ParameterError(
                    "names and metadata are for pictures whose number is known, and an iterator "
                    "was given; give a sequence, or update() the pictures when they are added"
                )
            stream = InputStream(X, encoder, store)
            name = f"stream {store}"
            return cls(encoder, stream, None, None, skipped, name, progress, workers)
        given = read_input(X, encoder, store=store, exclude=exclude, options=options)
        if isinstance(metadata, str | Path):
            folder = Path(X) if isinstance(X, str | Path) and Path(X).is_dir() else None
            metadata = read_metadata(Path(metadata), given, folder, options)
        checked = None if names is None else _check_names(names, len(given))
        columns = None if metadata is None else as_metadata(metadata, len(given))
        source = str(X) if isinstance(X, str | Path) else ""
        name = _name_of((source, store, checked), columns)
        made = cls(encoder, given, checked, columns, skipped, name, progress, workers)
        made.sizes = _some_sizes(given)
        return made

    def fill(self, table: Table) -> Table:
        """Write all pictures to an empty table that readers do not see yet."""
        table = self._append(table.extend(self._new_fields(table)), 0)
        if self.workers is not None:
            table.forget(timedelta(0))  # what lost workers have written
        table.folders = self._folders(table)
        return table

    def join(self, transaction: WriteTransaction) -> Added:
        """Add the new pictures to a library; readers see them when all are there.

        Pictures that the same addition added before it was interrupted are kept if they are given
        again, and otherwise removed.
        """
        table = transaction.table
        before = transaction.contents.open_table(transaction.path)
        begun = table.hashes(f"id >= {transaction.contents.next_id}")
        self.known = set(table.hashes())
        if fields := self._new_fields(table):
            transaction.begin_adding(self.name)
            table = table.extend(fields)
        first = max(transaction.contents.next_id, *(number + 1 for number in begun.values()), 0)
        table = self._append(table, first, lambda: transaction.begin_adding(self.name))
        unmet = set(begun).difference(self.met)
        table = table.remove([begun[digest] for digest in unmet])
        table.folders = self._folders(table)
        if (table.version, table.folders) != (
            transaction.contents.version,
            transaction.contents.folders,
        ):
            largest = int(table.ids[-1]) if len(table) else -1
            transaction.publish(table, max(transaction.contents.next_id, largest + 1))
        return self.report(len(table) - len(before))

    def _folders(self, table: Table) -> tuple[str, ...] | None:
        """Return the folders that a library records when it has these pictures."""
        new = self.given.folders
        return covering_folders([*recorded_folders(table), *new]) if new else table.folders

    def report(self, count: int) -> Added:
        """Return the result of the addition, which has added this number of pictures."""
        self.given.notes.warn(stacklevel=4)
        skipped = self.skipped or []
        present = self._done - count - len(skipped)
        resized = Resized.of_read(self.sizes, self.encoder.sample_shape_, skipped)
        return Added(count, present, skipped, self.given.left_out, resized)

    def _new_fields(self, table: Table) -> list[Any]:
        """Return the fields of users' columns that a table lacks; the others have to fit."""
        if self.metadata is None:
            return []
        table.fit_metadata(self.metadata)
        return table.new_fields(self.metadata)

    def _append(self, table: Table, first: int, before: Callable[[], None] = lambda: None) -> Table:
        if self.workers is not None:
            before()
            table = self._append_shares(table, first, self.workers)
        else:
            # Closed at once, as threads may be reading ahead.
            with quietly(), closing(self.batches()) as batches:
                table = table.append(batches, first, before=before)
        if self.skipped and len(self.skipped) == self._done:
            raise DataError(
                f"none of {counted(self._done, 'picture')} can be read; the first is "
                f"'{self.skipped[0][0]}': {self.skipped[0][1]}; give pictures that can"
            )
        return table

    def batches(self) -> Generator[Batch]:
        """Read and encode the pictures part by part.

        The caller iterates within :func:`narrows.data.image_codec.quietly`.
        """
        for part in self.given.parts(self.skipped, self.known):
            self._done = part.done
            self.met.extend(part.met)
            if part.numbers:
                entries, metadata = part.entries, None
                if self.names is not None:
                    names = [self.names[number] for number in part.numbers]
                    entries = [e._replace(path=n) for e, n in zip(entries, names, strict=True)]
                if self.metadata is not None:
                    metadata = self.metadata.take(part.numbers)
                yield Batch(entries, self._encode(part), metadata)
            self._report_progress()

    def _encode(self, part: Part) -> NDArray[np.float32]:
        """Encode the pictures of a part; an error about one of them has its name."""
        try:
            return self.encoder.transform(part.rows)
        except DataError as error:
            row = getattr(error, "row", None)
            if row is None:
                raise
            number, paths = part.numbers[row], getattr(self.given, "paths", None)
            name = f"picture {number}, counted from 0" if paths is None else f"'{paths[number]}'"
            raise DataError(
                f"the encoder gives NaN or infinity for {name}; nothing was added; check the "
                "preprocessing (--scale, --mean, --deviation), or leave this picture out",
                row=number,
                path=None if paths is None else file_of(paths[number]),
            ) from error

    def _append_shares(self, table: Table, first: int, workers: Workers) -> Table:
        """Append the pictures in one commit, and in a second one remove repeated pictures."""
        done: dict[int, Written] = {}
        files = self.given.paths if isinstance(self.given, InputFiles) else []
        folders = sorted({file_of(path).absolute().parent for path in files})
        shares = _split(self, table, first, workers.count)
        common = (self.encoder, frozenset(self.known))
        # Closed at once: workers end their writing before the table is removed.
        with closing(workers.map(_write, shares, common, [table.path, *folders])) as writing:
            for number, written in writing:
                done[number] = written
                self._count_shares([done[number] for number in sorted(done)])
        ordered = [done[number] for number in sorted(done)]
        table = table.commit([fragment for share in ordered for fragment in share.fragments])
        met: set[str] = set()
        repeated = []
        for share in ordered:
            for number, digest in enumerate(share.hashes, share.first):
                if digest in met:
                    repeated.append(number)
                met.add(digest)
        return table.remove(repeated)

    def _count_shares(self, done: list[Written]) -> None:
        """Count the pictures of the shares that are done, and collect what they report."""
        self.met = [digest for written in done for digest in written.met]
        for written in done:
            self.given.notes.add(written.notes)
        if self.skipped is not None:
            self.skipped[:] = [file for written in done for file in written.skipped]
        self._done = len(self.met) + len(self.skipped or [])
        self._report_progress()

    def _report_progress(self) -> None:
        if self.progress is not None:
            total = self._done if isinstance(self.given, InputStream) else len(self.given)
            self.progress(self._done, total)


def _split(addition: Addition, table: Table, first: int, workers: int) -> Iterator[Share]:
    """Divide an addition into shares, some for each worker; refuse an iterator."""
    given = addition.given
    if isinstance(given, InputStream):
        raise ParameterError(
            "an iterator was given, which one process alone can go through; give a folder, a "
            "sequence or an array, or leave out workers"
        )
    names = addition.names
    if isinstance(given, InputFiles):
        # Workers may be in another folder; in the library, paths stay as they were given.
        names = names or [str(path) for path in given.paths]
        given = replace(given, paths=[path.absolute() for path in given.paths])
    added = datetime.now(UTC)
    size = max(1, min(_ROWS, -(-len(given) // (4 * workers))))
    for start in range(0, len(given), size):
        yield Share(
            _cut(given, slice(start, start + size)),
            None if names is None else names[start : start + size],
            None if addition.metadata is None else addition.metadata.slice(start, size),
            addition.skipped is not None,
            table.path.absolute(),  # workers may be in another folder
            table.fingerprint,
            first + start,
            added,
        )


def _write(share: Share, encoder: CodeEncoder, known: Collection[str]) -> Written:
    """Read, encode and write the pictures of a share, except those whose hash is known.

    Raises
    ------
    NarrowsError
        What :meth:`narrows.Library.add` raises.
    """
    given = share.given
    if isinstance(given, InputFiles):
        given = replace(given, encoder=encoder)
    skipped: list[tuple[str, str]] | None = [] if share.skips else None
    addition = Addition(
        encoder, given, share.names, share.metadata, skipped, "", None, known=set(known)
    )
    table = Table(share.table, share.fingerprint)
    # Closed at once, as threads may be reading ahead.
    with one_processor(), quietly(), closing(addition.batches()) as batches:
        fragments, hashes = table.write(batches, share.first, share.added)
    return Written(fragments, hashes, share.first, addition.met, skipped or [], given.notes)


def _cut(given: InputFiles | InputRows, part: slice) -> InputFiles | InputRows:
    if isinstance(given, InputFiles):
        return replace(given, paths=given.paths[part])
    names = None if given.names is None else given.names[part]
    return replace(given, rows=given.rows[part], names=names)


def _some_sizes(given: InputFiles | InputRows) -> dict[Picture, Size | None]:
    """Read the sizes of some pictures of a folder, if the model takes pictures of one size."""
    if not isinstance(given, InputFiles) or given.left_out is None or given.encoder.takes_any_size_:
        return {}
    some: list[Picture] = strided(given.paths, _HEADERS)
    return dict(zip(some, sizes_of(some), strict=True))


def _name_of(facts: object, columns: Any) -> str:
    """Return the name of an addition: the SHA-256 of what was given."""
    digest = sha256(repr(facts).encode())
    if columns is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, columns.schema) as stream:
            stream.write_table(columns)
        digest.update(sink.getvalue())
    return digest.hexdigest()


def _check_names(names: Sequence[str], count: int) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ParameterError(f"names={names!r} is no list of names; give one for each picture")
    names = list(names)
    if len(names) != count:
        raise ParameterError(f"names has {len(names)} names for {count} pictures; give one each")
    if wrong := [name for name in names if not is_text(name) or not is_utf8(name, or_bytes=True)]:
        raise ParameterError(f"names holds {wrong[0]!r}, which is no text; give strings")
    return names


def read_metadata(
    path: Path,
    given: InputFiles | InputRows,
    folder: Path | None,
    options: FileOptions,
) -> Any:
    """Read a table of metadata, a row for each picture, in the order of the pictures.

    Parameters
    ----------
    path : Path
        A file ending in .csv, .tsv or .parquet.
    given : InputFiles or InputRows
        The pictures.
    folder : Path or None
        The folder that was given, if one was.
    options : FileOptions
        How to read a text table that does not tell it itself.

    Returns
    -------
    pyarrow.Table
        The columns without the one that names the files. For rows of data, the table as it is.

    Raises
    ------
    MissingFileError, UnreadableFileError
        If there is no table.
    DataError
        If a picture has no row or several, or a row no picture, or more than one.
    """
    if not is_table(path):
        raise ParameterError(
            f"metadata='{path}' is no table; name a file ending in "
            f"{', '.join(sorted(TABLE_SUFFIXES))}"
        )
    table = read_columns(path, options.only_for(path))
    if isinstance(given, InputRows):
        return table
    key = key_column(table.column_names)
    if key is None:
        raise DataError(
            f"'{path}' has the columns {', '.join(table.column_names)}, and none of "
            f"{', '.join(KEYS)} that would say which picture a row is of; name one so"
        )
    names = table.column(key).cast(pa.string()).to_pylist()
    rows = _rows_by_file(path, names, [Path(str(path)) for path in given.paths], folder)
    if missing := [place for place in range(len(given)) if place not in rows]:
        raise DataError(
            f"'{path}' has no row for {len(missing)} of the {len(given)} pictures, the first of "
            f"them '{given.paths[missing[0]]}'; add rows for them, or leave them out"
        )
    return table.drop_columns([key]).take([rows[place] for place in range(len(given))])


def _rows_by_file(
    table: Path, names: list[str | None], files: list[Path], folder: Path | None
) -> dict[int, int]:
    """Return the row of each file that has one, by the file's place."""
    rows: dict[int, int] = {}
    index = NameIndex([_names_of(path, folder) for path in files])
    for row, name in enumerate(names):
        where = f"row {row}, counted from 0, of '{table}'"
        if name is None:
            raise DataError(f"{where} names no file; name one, or remove the row")
        place = index.find(name)
        if place is None and len(same := index.alike(name)) > 1:
            raise DataError(
                f"{where} names '{name}', as '{files[same[0]]}' and '{files[same[1]]}' are called; "
                "give their paths in the folder, letter by letter"
            )
        if place is None:
            raise DataError(
                f"{where} names '{name}', which is none of the {len(files)} pictures; "
                "correct it, or remove the row"
            )
        if place in rows:
            raise DataError(
                f"rows {rows[place]} and {row}, counted from 0, of '{table}' are both of "
                f"'{files[place]}'; keep one of them"
            )
        rows[place] = row
    return rows


def _names_of(path: Path, folder: Path | None) -> set[str]:
    """Return the names of a file: as it was given, in full, and in the folder given."""
    inside = {path.relative_to(folder).as_posix()} if folder else set()
    return {str(path), str(path.absolute())} | inside


def as_metadata(given: Any, count: int) -> Any:
    """Turn a user's columns into an Arrow table of the types that libraries hold.

    Parameters
    ----------
    given : DataFrame, pyarrow.Table, or mapping of str to sequence
        The columns.
    count : int
        The number of pictures, for each of which there must be a row.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    ParameterError
        If these are no columns, have other names than may be, or not as many rows as pictures.
    DataError
        If a column holds anything but numbers, texts, truth values, dates or times.
    """
    try:
        table = pa.table(dict(given) if isinstance(given, Mapping) else given)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ParameterError(
            f"metadata is a {type(given).__name__} that makes no columns "
            f"({' '.join(str(error).split())[:200]}); give a DataFrame or a dictionary of lists"
        ) from error
    # pandas keeps its row labels in such a column.
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    if taken := [name for name in names if name in OWN_COLUMNS or not name]:
        raise ParameterError(
            f"metadata has a column {taken[0]!r}, and a library's own columns are "
            f"{', '.join(OWN_COLUMNS)}; rename it",
            parameter="metadata",
            column=taken[0],
        )
    if unfit := [name for name in names if {".", "`"} & set(name) or name.startswith("_row")]:
        raise ParameterError(
            f"metadata has a column {unfit[0]!r}; names with a point or a backtick in them, or "
            "beginning with '_row', have a meaning of their own to the table; rename it",
            parameter="metadata",
            column=unfit[0],
        )
    if unfit := [name for name in names if "\0" in name]:
        raise ParameterError(
            f"metadata has a column {unfit[0]!r} with a NUL in it; rename it",
            parameter="metadata",
            column=unfit[0],
        )
    if len(set(names)) < len(names) or not names:
        raise ParameterError(f"metadata has the columns {names}; give at least one, each once")
    if len(table) != count:
        raise ParameterError(
            f"metadata has {len(table)} rows for {count} pictures; give one row for each"
        )
    columns = {name: _widen(name, table.column(name).combine_chunks()) for name in names}
    return pa.table(columns)


def _widen(name: str, column: Any) -> Any:
    """Convert a user's column to the widest type of its kind."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_null(kind):
        return column
    for belongs, widest in _WIDEST:
        if belongs(kind):
            try:
                return column.cast(widest, safe=not pa.types.is_timestamp(kind))
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"metadata column {name!r} holds a value beyond {widest} ({error}); convert it",
                    column=name,
                ) from error
    raise DataError(
        f"metadata column {name!r} holds {kind}; give numbers, texts, truth values, dates or times",
        column=name,
    )
