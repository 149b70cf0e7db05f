"""Reading of the rows of a table, and of as many as possible where files are damaged.

Lance reads a data file as a whole or raises an error. After an error, each column is read alone and
halved until the damaged rows are isolated, so that a damaged page costs only its own rows. Another
file lists which rows were removed; where that list is lost, all rows are read.

The values are compared with the checksums that were recorded when they were written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from narrows.errors import FormatError
from narrows.library.checks import Checks, differ, row_sums
from narrows.library.table import Table
from narrows.remote import FAILURES, panics_as_failures

_ROWS = 64  # in memory at a time
_PROBES = 32  # rows that are tried before a column of a file is counted as lost


@dataclass(frozen=True)
class Chunk:
    """Some rows that are stored one after another.

    Attributes
    ----------
    start : int
        The position of the first row in the whole table.
    columns : dict of str to pyarrow.Array
        Every column of the table, null where it cannot be read.
    unreadable : dict of int to list of str
        The columns that cannot be read, by row, counted from the first of these.
    damage : str
        What else is wrong with the file that they are in.
    revived : bool
        Whether there may be rows among them that were removed.
    wrong : dict of int to dict of str to int
        By row, the columns whose value differs from what was written, each with the checksum of the
        written value; of pictures, 0.
    flipped : bool
        Whether all damage consists of flipped bits that can be put back.
    """

    start: int
    columns: dict[str, Any]
    unreadable: dict[int, list[str]]
    damage: str = ""
    revived: bool = False
    wrong: dict[int, dict[str, int]] = field(default_factory=dict)
    flipped: bool = False

    def __len__(self) -> int:
        return len(self.columns["id"])

    def is_wrong(self, row: int, column: str) -> bool:
        """Tell whether a value is not the one that was written."""
        return column in self.wrong.get(row, {})


def read(table: Table, checks: Checks | None = None) -> Iterator[Chunk]:
    """Read all rows of a table as they are stored, some at a time.

    Parameters
    ----------
    table : Table
        Where they are.
    checks : Checks, optional
        The recorded checksums; without them, values are taken as they are read.
    """
    start = 0
    schema = table.dataset.schema
    for fragment in table.dataset.get_fragments():
        changed, lost = checks.changed_of(fragment) if checks is not None else ([], False)
        sums = checks.value_checksums(fragment) if checks is not None and changed else None
        if not lost and _knows_its_removed(fragment):
            flipped = checks is not None and bool(changed) and checks.can_put_back(changed)
            for chunk in _chunks(fragment, schema, start, sums):
                yield replace(chunk, flipped=flipped)
                start += len(chunk)
            continue
        removed = None
        if checks is not None:
            removed = checks.unflipped(f"{table.path.name}/{fragment.deletion_file()}")
        damage = (
            f"the file that says which {fragment.num_deletions} of rows {start} to "
            f"{start + fragment.physical_rows - 1} of the table were removed "
        )
        damage += (
            "is lost; those come back, but for pictures that were added again"
            if removed is None
            else "has a flipped bit, and what it was is known"
        )
        with _apart(table, fragment, removed) as whole:
            for chunk in _chunks(whole, schema, start, sums):
                said = "; ".join(filter(None, (damage, chunk.damage)))
                yield replace(chunk, revived=removed is None, damage=said)
                start, damage = start + len(chunk), ""


def _chunks(
    fragment: Any, schema: Any, start: int, sums: dict[str, NDArray[np.uint32]] | None
) -> Iterator[Chunk]:
    """Read a fragment, and compare its values with their checksums unless its files are intact."""
    chunks = _read(fragment, schema, start)
    return chunks if sums is None else _compared(chunks, sums, _positions(fragment), start)


def _positions(fragment: Any) -> NDArray[np.int64]:
    """Return the positions in a fragment of the rows that were not removed."""
    if fragment.deletion_file() is None:
        return np.arange(fragment.physical_rows)
    found = fragment.scanner(columns=[], with_row_address=True).to_table()
    places: NDArray[np.int64] = found.column("_rowaddr").to_numpy() & (2**32 - 1)
    return places.astype(np.int64)


def _compared(
    chunks: Iterator[Chunk],
    sums: dict[str, NDArray[np.uint32]],
    positions: NDArray[np.int64],
    start: int,
) -> Iterator[Chunk]:
    """Note which values of a fragment, whose file has changed, differ from what was written."""
    waiting, explained = None, False
    for chunk in chunks:
        rows = positions[chunk.start - start :][: len(chunk)]
        for name in sums.keys() & chunk.columns.keys():
            expected, found = sums[name][rows], row_sums(chunk.columns[name])
            for row in np.flatnonzero(differ(expected, found)).tolist():
                if name not in chunk.unreadable.get(row, []):
                    chunk.wrong.setdefault(row, {})[name] = int(expected[row])
        for row in _other_pictures(chunk):
            chunk.wrong.setdefault(row, {})["picture"] = 0
        explained = explained or bool(chunk.unreadable or chunk.wrong or chunk.damage)
        if waiting is not None:
            yield waiting
        waiting = chunk
    if waiting is None:
        return
    if not explained:
        rows_said = f"rows {start} to {waiting.start + len(waiting) - 1} of the table"
        known = "though each value in it is" if sums else "and which value is wrong is unknown"
        damage = f"a file of {rows_said} is not as it was written (another SHA-256), {known}"
        waiting = replace(waiting, damage=damage)
    yield waiting


def _other_pictures(chunk: Chunk) -> list[int]:
    """List the rows whose picture does not match its hash, where the hash itself is intact."""
    rows = []
    for row, digest in enumerate(chunk.columns["hash"].to_pylist()):
        picture = chunk.columns["picture"][row].as_py()
        known = picture is not None and digest is not None and not chunk.is_wrong(row, "hash")
        if known and sha256(picture).hexdigest() != digest:
            rows.append(row)
    return rows


def _knows_its_removed(fragment: Any) -> bool:
    if fragment.deletion_file() is None:
        return True
    try:
        with panics_as_failures():
            fragment.scanner(columns=[], with_row_address=True).to_table()
    except FAILURES:
        return False
    return True


@contextmanager
def _apart(table: Table, fragment: Any, removed: bytes | None) -> Iterator[Any]:
    """Open a copy of a fragment's metadata as a table of its own, over the same data files.

    Parameters
    ----------
    table : Table
        That the fragment is part of.
    fragment : lance.LanceFragment
        Whose list of removed rows is damaged.
    removed : bytes or None
        The contents of the list in its place; None restores all removed rows.

    Raises
    ------
    FormatError
        If the table is in an object store.
    """
    if not isinstance(table.path, Path):
        raise FormatError(
            f"'{table.path}' has lost the list of its removed rows; copy the library to a disk and "
            "repair it there (narrows verify --repair)"
        )
    with TemporaryDirectory() as folder:
        (Path(folder) / "data").symlink_to(table.path.absolute() / "data")
        was = fragment.metadata
        step: Any = lance.LanceOperation.Overwrite(
            table.dataset.lance_schema, [replace(was, deletion_file=None)]
        )
        dataset = lance.LanceDataset.commit(folder, step)
        if removed is not None:
            (copy,) = dataset.get_fragments()
            # The number of the fragment, and those of the file itself.
            _, _, rest = fragment.deletion_file().rpartition("/")[2].partition("-")
            file = Path(folder) / "_deletions" / f"{copy.fragment_id}-{rest}"
            file.parent.mkdir()
            file.write_bytes(removed)
            listed = replace(copy.metadata, deletion_file=was.deletion_file)
            step = lance.LanceOperation.Delete([listed], [], "true")
            dataset = lance.LanceDataset.commit(dataset, step, read_version=dataset.version)
        yield dataset.get_fragments()[0]


def _read(fragment: Any, schema: Any, start: int) -> Iterator[Chunk]:
    done, count = 0, int(fragment.count_rows())
    try:
        batches = fragment.to_batches(columns=schema.names, batch_size=_ROWS, batch_readahead=1)
        with panics_as_failures():
            for batch in batches:
                batch.validate(full=True)
                yield Chunk(start + done, dict(zip(schema.names, batch.columns, strict=True)), {})
                done += len(batch)
    except FAILURES:
        pass
    if done == count:
        return
    step = max(1, (count - done) // _PROBES)
    lost = {
        field.name
        for field in schema
        if not any(_try(fragment, field.name, row, 1) for row in range(done, count, step))
    }
    explained = False
    for first in range(done, count, _ROWS):
        size = min(_ROWS, count - first)
        columns: dict[str, Any] = {}
        unreadable: dict[int, list[str]] = {}
        for one in schema:
            pieces = [] if one.name in lost else _pieces(fragment, one.name, first, size)
            columns[one.name] = (
                pa.concat_arrays([pa.nulls(1, one.type) if p is None else p for p in pieces])
                if pieces
                else pa.nulls(size, one.type)
            )
            for row in _missing(pieces) if pieces else range(size):
                unreadable.setdefault(row, []).append(one.name)
        explained = explained or bool(unreadable)
        damage = ""
        if first + size == count and not explained:
            rows = f"rows {start + done} to {start + count - 1} of the table"
            damage = f"the file of {rows} is damaged, though each of them can be read alone"
        yield Chunk(start + first, columns, unreadable, damage)


def _try(fragment: Any, name: str, first: int, count: int) -> Any:
    """Read one column of some rows; None if that is impossible."""
    try:
        scanner = fragment.scanner(columns=[name], offset=first, limit=count, batch_readahead=1)
        with panics_as_failures():
            column = scanner.to_table().column(name).combine_chunks()
        column.validate(full=True)
    except FAILURES:
        return None
    return column if len(column) == count else None


def _pieces(fragment: Any, name: str, first: int, count: int) -> list[Any]:
    """Read one column of some rows in as few pieces as possible; None is one unreadable row."""
    piece = _try(fragment, name, first, count)
    if piece is not None or count == 1:
        return [piece]
    half = count // 2
    return [
        *_pieces(fragment, name, first, half),
        *_pieces(fragment, name, first + half, count - half),
    ]


def _missing(pieces: list[Any]) -> Iterator[int]:
    row = 0
    for piece in pieces:
        if piece is None:
            yield row
        row += 1 if piece is None else len(piece)
