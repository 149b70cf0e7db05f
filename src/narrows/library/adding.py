"""Additions: pictures that users give, written as rows by this process or in shares by workers."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from narrows.data.decoding import Progress, Resized, Size, one_processor, sizes_of
from narrows.data.files import check_excludable
from narrows.data.folders import LeftOut
from narrows.data.formats import FileOptions
from narrows.data.image_codec import quietly
from narrows.data.reading import Notes, Picture, file_of
from narrows.errors import DataError, ParameterError
from narrows.library import commits
from narrows.library.columns import fit_metadata, new_fields, understand_metadata
from narrows.library.commits import Batch
from narrows.library.folder import Turn
from narrows.library.given import GivenFiles, GivenRows, Store, check_store, understand
from narrows.library.joining import read_metadata
from narrows.library.references import folders_told, together
from narrows.library.stream import GivenStream
from narrows.library.table import Table
from narrows.library.workers import Workers
from narrows.models import Encoder
from narrows.remote import Place
from narrows.texts import counted

_ROWS = 4096  # the most pictures in a share: as many as the loss of a worker can cost
_HEADERS = 1000  # pictures of a folder whose headers are looked at before all are read


class Written(NamedTuple):
    """What a worker reports of a share that it has written.

    Attributes
    ----------
    fragments : list of str
        Of the table, which nobody can see yet: as JSON.
    hashes : list of str
        SHA-256 of the pictures in them, in their order.
    ids : list of int
        Theirs.
    met : list of str
        SHA-256 of all pictures that were read, known ones among them.
    skipped : list of (str, str)
        Files that could not be read, each with the reason.
    notes : Notes
        What has to be said of the files.
    """

    fragments: list[str]
    hashes: list[str]
    ids: list[int]
    met: list[str]
    skipped: list[tuple[str, str]]
    notes: Notes


@dataclass(frozen=True)
class Share:
    """Some consecutive pictures of an addition, which one worker writes.

    Attributes
    ----------
    given : GivenFiles or GivenRows
        The pictures; their encoder comes when they are written.
    names, metadata
        As of :class:`Addition`.
    skips : bool
        Whether files that cannot be read are left out.
    table : Path or Remote
        Where they are written.
    fingerprint : str
        Of the model.
    first : int
        The id of the first.
    added : datetime
        When they are added.
    """

    given: GivenFiles | GivenRows
    names: list[str] | None
    metadata: Any
    skips: bool
    table: Place
    fingerprint: str
    first: int
    added: datetime

    def __len__(self) -> int:
        return len(self.given)


@dataclass(frozen=True)
class Added:
    """What :meth:`narrows.Library.add` did.

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
        Pictures whose codes are made at another size than they have, of some that were looked at.
    """

    count: int
    present: int
    skipped: list[tuple[str, str]]
    left_out: LeftOut | None = field(default=None, compare=False)
    resized: Resized | None = field(default=None, compare=False)


@dataclass
class Addition:
    """Pictures on their way into a library; whatever is wrong with their number is told at once.

    Attributes
    ----------
    encoder : Encoder
        Makes the codes.
    given : GivenFiles, GivenRows or GivenStream
        The pictures.
    names : list of str, or None
        What each is called; None leaves it to where they came from, or to their ids.
    metadata : pyarrow.Table, or None
        Users' columns, a row for each.
    skipped : list, or None
        Takes the files that cannot be read, each with the reason; None refuses them.
    name : str
        Differs where the same pictures would become other rows.
    progress : callable, or None
        Called with the number of pictures done and the number of all; twice with that of those
        done if nobody knows of how many.
    workers : Workers, optional
        Who reads, encodes and writes; this process does if nobody is named.
    known : set of str
        Hashes of pictures that are left out; grows by those of what is read.
    met : list of str
        Hashes of all pictures that were read.
    sizes : dict
        Heights and widths of some of the pictures, if their codes may be made at another size.
    """

    encoder: Encoder
    given: GivenFiles | GivenRows | GivenStream
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
        encoder: Encoder,
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
            stream = GivenStream(X, encoder, store)
            name = f"stream {store}"
            return cls(encoder, stream, None, None, skipped, name, progress, workers)
        given = understand(X, encoder, store=store, exclude=exclude, options=options)
        if isinstance(metadata, str | Path):
            folder = Path(X) if isinstance(X, str | Path) and Path(X).is_dir() else None
            metadata = read_metadata(Path(metadata), given, folder, options)
        checked = None if names is None else _check_names(names, len(given))
        columns = None if metadata is None else understand_metadata(metadata, len(given))
        source = str(X) if isinstance(X, str | Path) else ""
        name = _name_of((source, store, checked), columns)
        made = cls(encoder, given, checked, columns, skipped, name, progress, workers)
        made.sizes = _some_sizes(given)
        return made

    def fill(self, table: Table) -> Table:
        """Put everything into an empty table that nobody sees yet."""
        table = self._append(self._extend(table), 0)
        if self.workers is not None:
            # What workers that were lost have written, and nobody will ever read.
            commits.forget(table, timedelta(0))
        table.folders = self._folders(table)
        return table

    def join(self, turn: Turn) -> Added:
        """Add what is new to a library; readers see it when all of it is there.

        What the same addition has left when it was interrupted is used as far as it is given again,
        and otherwise removed.
        """
        table = turn.table
        before = turn.contents.open_table(turn.path)
        begun = table.hashes(f"id >= {turn.contents.next_id}")
        self.known = set(table.hashes())
        if self._new_fields(table):
            turn.begin_adding(self.name)
            table = self._extend(table)
        first = max(turn.contents.next_id, *(number + 1 for number in begun.values()), 0)
        table = self._append(table, first, lambda: turn.begin_adding(self.name))
        unmet = set(begun).difference(self.met)
        table = commits.remove(table, [begun[digest] for digest in unmet])
        table.folders = self._folders(table)
        if (table.version, table.folders) != (turn.contents.version, turn.contents.folders):
            largest = int(table.ids[-1]) if len(table) else -1
            turn.publish(table, max(turn.contents.next_id, largest + 1))
        return self.report(len(table) - len(before))

    def _folders(self, table: Table) -> tuple[str, ...] | None:
        """Return the folders that a library has been told of, when it has these pictures."""
        new = () if isinstance(self.given, GivenRows) else self.given.folders
        return together([*folders_told(table), *new]) if new else table.folders

    def report(self, count: int) -> Added:
        """Say what was done, when so many pictures have come in."""
        if not isinstance(self.given, GivenRows):
            self.given.notes.tell(stacklevel=4)
        skipped = self.skipped or []
        left_out = None if isinstance(self.given, GivenStream) else self.given.left_out
        present = self._done - count - len(skipped)
        resized = Resized.of_read(self.sizes, self.encoder.sample_shape_, skipped)
        return Added(count, present, skipped, left_out, resized)

    def _new_fields(self, table: Table) -> list[Any]:
        """Return the columns that a table lacks; the others have to fit."""
        if self.metadata is None:
            return []
        fit_metadata(self.metadata, table.dataset.schema)
        return new_fields(self.metadata, table.dataset.schema)

    def _extend(self, table: Table) -> Table:
        return commits.extend(table, self._new_fields(table))

    def _append(self, table: Table, first: int, before: Callable[[], None] = lambda: None) -> Table:
        if self.workers is not None:
            before()
            table = _append_shares(
                self, table, first, workers=self.workers, known=self.known, tell=self._hear
            )
        else:
            # Not left to the collector of garbage: threads may be reading ahead.
            with quietly(), closing(self.batches()) as batches:
                table = commits.append(table, batches, first, before=before)
        if self.skipped and len(self.skipped) == self._done:
            raise DataError(
                f"none of {counted(self._done, 'picture')} can be read; the first is "
                f"'{self.skipped[0][0]}': {self.skipped[0][1]}; give pictures that can"
            )
        return table

    def batches(self) -> Generator[Batch]:
        """Read and encode the pictures part by part, as they are asked for.

        Whoever asks does so within :func:`narrows.data.image_codec.quietly`.
        """
        for part in self.given.parts(self.skipped, self.known):
            self._done = part.done
            self.met.extend(part.met)
            if part.numbers:
                yield Batch(
                    [self.names[n] for n in part.numbers] if self.names else part.names,
                    part.hashes,
                    part.contents,
                    part.references,
                    part.thumbnails,
                    self.encoder.transform(part.rows),
                    None if self.metadata is None else self.metadata.take(part.numbers),
                )
            self._tell()

    def _hear(self, done: list[Written]) -> None:
        """Take note of what workers have done."""
        self.met = [digest for written in done for digest in written.met]
        if not isinstance(self.given, GivenRows):
            for written in done:
                self.given.notes.add(written.notes)
        if self.skipped is not None:
            self.skipped[:] = [one for written in done for one in written.skipped]
        self._done = len(self.met) + len(self.skipped or [])
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            total = self._done if isinstance(self.given, GivenStream) else len(self.given)
            self.progress(self._done, total)


def _split(addition: Addition, table: Table, first: int, workers: int) -> Iterator[Share]:
    """Part an addition into shares, some for each worker, as they are asked for.

    Raises
    ------
    ParameterError
        If nobody knows how many pictures there are.
    """
    given = addition.given
    if isinstance(given, GivenStream):
        raise ParameterError(
            "an iterator was given, which one process alone can go through; give a folder, a "
            "sequence or an array, or leave out workers"
        )
    names = addition.names
    if isinstance(given, GivenFiles):
        # Workers may be in another folder; in the library, files are called as they were given.
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


def _write(share: Share, encoder: Encoder, known: Collection[str]) -> Written:
    """Read, encode and write the pictures of a share, except those whose hash is known.

    Raises
    ------
    NarrowsError
        What :meth:`narrows.Library.add` raises.
    """
    given = share.given
    if isinstance(given, GivenFiles):
        given = replace(given, encoder=encoder)
    skipped: list[tuple[str, str]] | None = [] if share.skips else None
    addition = Addition(
        encoder, given, share.names, share.metadata, skipped, "", None, known=set(known)
    )
    table = Table(share.table, share.fingerprint)
    # Not left to the collector of garbage: threads may be reading ahead.
    with one_processor(), quietly(), closing(addition.batches()) as batches:
        fragments, hashes = commits.write(table, batches, share.first, share.added)
    ids = list(range(share.first, share.first + len(hashes)))
    notes = Notes() if isinstance(given, GivenRows) else given.notes
    return Written(fragments, hashes, ids, addition.met, skipped or [], notes)


def _append_shares(
    addition: Addition,
    table: Table,
    first: int,
    *,
    workers: Workers,
    known: Collection[str],
    tell: Callable[[list[Written]], None],
) -> Table:
    """Append the pictures of an addition in one commit, and in a second remove what was twice.

    Parameters
    ----------
    addition, table, first
        What is appended to what, and the id of the first.
    workers : Workers
        Who reads, encodes and writes.
    known : collection of str
        Hashes of pictures that are left out.
    tell : callable
        Called with all that is done when a share is.

    Returns
    -------
    Table
        The new version.
    """
    done: dict[int, Written] = {}
    shares = _split(addition, table, first, workers.count)
    places = [table.path, *_folders(addition.given)]
    # Not left to the collector of garbage: who still writes has to end before what is there goes.
    common = (addition.encoder, frozenset(known))
    with closing(workers.map(_write, shares, common, places)) as writing:
        for number, written in writing:
            done[number] = written
            tell([done[number] for number in sorted(done)])
    ordered = [done[number] for number in sorted(done)]
    table = commits.commit(table, [one for written in ordered for one in written.fragments])
    met: set[str] = set()
    twice = []
    for written in ordered:
        for digest, number in zip(written.hashes, written.ids, strict=True):
            if digest in met:
                twice.append(number)
            met.add(digest)
    return commits.remove(table, twice)


def _folders(given: object) -> list[Path]:
    paths = given.paths if isinstance(given, GivenFiles) else []
    return sorted({file_of(path).absolute().parent for path in paths})


def _cut(given: GivenFiles | GivenRows, part: slice) -> GivenFiles | GivenRows:
    if isinstance(given, GivenFiles):
        return replace(given, paths=given.paths[part])
    names = None if given.names is None else given.names[part]
    return replace(given, rows=given.rows[part], names=names)


def _some_sizes(given: GivenFiles | GivenRows) -> dict[Picture, Size | None]:
    """Look at the sizes of some pictures of a folder, if the model takes those of one size."""
    if not isinstance(given, GivenFiles) or given.left_out is None or given.encoder.takes_any_size_:
        return {}
    some = given.paths[:: -(-len(given) // _HEADERS)]
    return dict(zip(some, sizes_of(some), strict=True))


def _name_of(facts: object, columns: Any) -> str:
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
    if wrong := [name for name in names if not isinstance(name, str) or not _is_text(name)]:
        raise ParameterError(f"names holds {wrong[0]!r}, which is no text; give strings")
    return names


def _is_text(name: str) -> bool:
    """Tell whether a name can be written, as those of files can."""
    try:
        name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
