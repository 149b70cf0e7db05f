"""Additions whose pictures are read, encoded and written by others, a share by each."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from narrows.data.codec import quietly
from narrows.data.decoding import one_processor
from narrows.data.pages import file_of
from narrows.data.reading import Notes
from narrows.errors import ParameterError
from narrows.library import commits
from narrows.library.given import GivenFiles, GivenRows
from narrows.library.stream import GivenStream
from narrows.library.table import Table
from narrows.library.workers import Workers
from narrows.models import Encoder
from narrows.remote import Place

if TYPE_CHECKING:
    from narrows.library.adding import Addition

# The most pictures in a share: what a worker that is lost can cost.
_ROWS = 4096


class Written(NamedTuple):
    """What became of a share.

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
    """Some neighbours among the pictures of an addition.

    Attributes
    ----------
    given : GivenFiles or GivenRows
        The pictures; their encoder comes when they are written.
    names, metadata
        As of :class:`narrows.library.adding.Addition`.
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

    def write(self, encoder: Encoder, known: Collection[str]) -> Written:
        """Read, encode and write them, but for those whose hash is known.

        Raises
        ------
        NarrowsError
            What :meth:`narrows.Library.add` raises.
        """
        from narrows.library.adding import Addition

        given = self.given
        if isinstance(given, GivenFiles):
            given = replace(given, encoder=encoder)
        skipped: list[tuple[str, str]] | None = [] if self.skips else None
        addition = Addition(
            encoder, given, self.names, self.metadata, skipped, "", None, known=set(known)
        )
        table = Table(self.table, self.fingerprint)
        # Not left to the collector of garbage: threads may be reading ahead.
        with one_processor(), quietly(), closing(addition.batches()) as batches:
            fragments, hashes = commits.write(table, batches, self.first, self.added)
        ids = list(range(self.first, self.first + len(hashes)))
        notes = Notes() if isinstance(given, GivenRows) else given.notes
        return Written(fragments, hashes, ids, addition.met, skipped or [], notes)


def write(share: Share, encoder: Encoder, known: Collection[str]) -> Written:
    """Have a share written; see :meth:`Share.write`."""
    return share.write(encoder, known)


def split(addition: "Addition", table: Table, first: int, workers: int) -> Iterator[Share]:
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


def append(
    addition: "Addition",
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
    shares = split(addition, table, first, workers.count)
    places = [table.path, *_folders(addition.given)]
    # Not left to the collector of garbage: who still writes has to end before what is there goes.
    common = (addition.encoder, frozenset(known))
    with closing(workers.map(write, shares, common, places)) as writing:
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
