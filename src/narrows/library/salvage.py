"""The rows of a table, and as many of them as can be read where something else has damaged it.

Lance reads a file of rows whole or says that it cannot. Where it cannot, each column is read alone
and halved until what is damaged stands by itself, so that a damaged page costs only its own rows.
Which rows of a file were removed stands in another one; where that is lost, all rows are read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lance
import pyarrow as pa

from narrows.errors import FormatError
from narrows.library.table import FAILURES, Table, panics_as_failures

_ROWS = 64  # in memory at a time
_PROBES = 32  # rows that are tried before a column of a file is given up


@dataclass(frozen=True)
class Chunk:
    """Some rows that are stored one after another.

    Attributes
    ----------
    start : int
        Where the first is stored, counted over the whole table.
    columns : dict of str to pyarrow.Array
        Every column of the table, null where it cannot be read.
    unreadable : dict of int to list of str
        What cannot be read of which row, counted from the first of these.
    damage : str
        What else is wrong with the file that they are in.
    revived : bool
        Whether there may be rows among them that were removed.
    """

    start: int
    columns: dict[str, Any]
    unreadable: dict[int, list[str]]
    damage: str = ""
    revived: bool = False

    def __len__(self) -> int:
        return len(self.columns["id"])


def read(table: Table) -> Iterator[Chunk]:
    """Read all rows of a table as they are stored, some at a time."""
    start = 0
    schema = table.dataset.schema
    for fragment in table.dataset.get_fragments():
        if _knows_its_removed(fragment):
            for chunk in _read(fragment, schema, start):
                yield chunk
                start += len(chunk)
            continue
        count = fragment.num_deletions
        damage = (
            f"the file that says which {count} of rows {start} to "
            f"{start + fragment.physical_rows - 1} of the table were removed is lost; those come "
            "back, but for pictures that were added again"
        )
        with _with_removed(table, fragment) as whole:
            for chunk in _read(whole, schema, start):
                said = "; ".join(filter(None, (damage, chunk.damage)))
                yield replace(chunk, revived=True, damage=said)
                start, damage = start + len(chunk), ""


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
def _with_removed(table: Table, fragment: Any) -> Iterator[Any]:
    """Give a fragment with the rows that were removed from it, in a table of its own."""
    if not isinstance(table.path, Path):
        raise FormatError(
            f"'{table.path}' has lost the list of its removed rows; copy the library to a disk and "
            "repair it there (narrows verify --repair)"
        )
    with TemporaryDirectory() as folder:
        (Path(folder) / "data").symlink_to(table.path.absolute() / "data")
        whole = replace(fragment.metadata, deletion_file=None)
        step = lance.LanceOperation.Overwrite(table.dataset.lance_schema, [whole])
        yield lance.LanceDataset.commit(folder, step).get_fragments()[0]


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
        for field in schema:
            pieces = [] if field.name in lost else _pieces(fragment, field.name, first, size)
            columns[field.name] = (
                pa.concat_arrays([pa.nulls(1, field.type) if p is None else p for p in pieces])
                if pieces
                else pa.nulls(size, field.type)
            )
            for row in _missing(pieces) if pieces else range(size):
                unreadable.setdefault(row, []).append(field.name)
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
