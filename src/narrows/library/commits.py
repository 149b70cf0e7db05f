"""Changes of a library's table, each of them one commit or several in a row.

Whoever calls these sees to it that nobody else changes the table at the same time.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from operator import methodcaller
from queue import Full, Queue
from typing import Any, NamedTuple

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments
from numpy.typing import NDArray

from narrows.library.columns import fit_metadata
from narrows.library.table import Table, cannot_write
from narrows.remote import FAILURES, panics_as_failures
from narrows.texts import as_text

# Pictures, and bytes of them, that are committed together: what an interruption can cost.
_ROWS, _BYTES = 4096, 2**28
_IDS = 10_000  # ids in one filter
_COMPACTED = 256  # rows in memory at a time while they are moved
_DONE, _ABANDON = object(), object()


class Batch(NamedTuple):
    """Rows to append.

    Attributes
    ----------
    paths : list of str, or None
        Where the pictures came from; None names them by their ids.
    hashes : list of str
        SHA-256 of the pictures.
    pictures : list of (bytes or None)
        Files, whole; None where there is a reference instead.
    references : list of (str or None)
        Absolute paths of files.
    thumbnails : list of (bytes or None)
        JPEG files; None where the picture is small itself.
    codes : ndarray of float32 and shape (n, K)
        Their codes.
    metadata : pyarrow.Table or None
        Users' columns.
    """

    paths: list[str] | None
    hashes: list[str]
    pictures: list[bytes | None]
    references: list[str | None]
    thumbnails: list[bytes | None]
    codes: NDArray[np.float32]
    metadata: Any


def append(
    table: Table,
    batches: Iterator[Batch],
    first_id: int,
    *,
    before: Callable[[], None] = lambda: None,
) -> Table:
    """Append batches, some thousand pictures in a commit.

    Parameters
    ----------
    table : Table
        Its latest version.
    batches : iterator of Batch
        What it raises is raised again here, after the commits that were complete.
    first_id : int
        The id of the first row.
    before : callable
        Called once before the first commit, if there is one.

    Returns
    -------
    Table
        The new version.

    Raises
    ------
    OutputError
        If the rows cannot be written.
    """
    added = datetime.now(UTC)
    for batch in batches:
        before()
        before = _nothing
        group = _Group(chain([batch], batches))
        rows = (_record(b, first, added, table) for b, first in group.numbered(first_id))
        table = append_once(table, rows)
        first_id += group.count
    return table


def append_once(table: Table, rows: Iterator[Any]) -> Table:
    """Append Arrow record batches in one commit, or none of them if anything goes wrong."""
    _hand_all_over(table, rows, lance.write_dataset)
    return table.latest()


def write(
    table: Table, batches: Iterator[Batch], first_id: int, added: datetime
) -> tuple[list[str], list[str]]:
    """Write batches that no version of the table has until they are committed.

    Parameters
    ----------
    table, batches, first_id
        As for :func:`append`.
    added : datetime
        What is kept as the time of it.

    Returns
    -------
    fragments : list of str
        For :func:`commit`, as JSON.
    hashes : list of str
        Of the pictures in them.
    """
    hashes: list[str] = []

    def records() -> Iterator[Any]:
        for batch in chain(head, batches):
            first = first_id + len(hashes)
            hashes.extend(batch.hashes)
            yield _record(batch, first, added, table)

    head = list(islice(batches, 1))
    if not head:
        return [], []
    made = _hand_all_over(table, records(), write_fragments)
    return [json.dumps(fragment.to_json()) for fragment in made], hashes


def commit(table: Table, fragments: Sequence[str]) -> Table:
    """Make rows that :func:`write` has written visible, all in one commit."""
    made = [lance.FragmentMetadata.from_json(fragment) for fragment in fragments]
    if not made:
        return table
    step = lance.LanceOperation.Append(made)
    return _change(table, lambda d: lance.LanceDataset.commit(d, step, read_version=d.version))


def _hand_all_over(table: Table, rows: Iterator[Any], write: Callable[..., Any]) -> Any:
    """Have Lance write record batches, and return what it gives."""
    # Lance pulls rows in threads of its own, and passes on no more than the text of what goes
    # wrong there. So it writes beside us, and the rows are made here, one batch ahead.
    handed: Queue[Any] = Queue(maxsize=1)
    reader = pa.RecordBatchReader.from_batches(table.dataset.schema, _receive(handed))
    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(write, reader, table.dataset, mode="append")
        try:
            for batch in rows:
                if not _hand_over(batch, handed, written):
                    break
        except BaseException:
            _hand_over(_ABANDON, handed, written)
            raise
        _hand_over(_DONE, handed, written)
    try:
        with panics_as_failures():
            return written.result()
    except FAILURES as error:
        raise cannot_write(table.path, error) from error


def extend(table: Table, fields: Sequence[Any]) -> Table:
    """Add columns, with nulls in the rows that there are."""
    return (
        _change(table, lambda dataset: dataset.add_columns(pa.schema(fields))) if fields else table
    )


def remove(table: Table, ids: Sequence[int]) -> Table:
    """Remove rows by their ids."""
    for start in range(0, len(ids), _IDS):
        some = ", ".join(map(str, ids[start : start + _IDS]))
        table = _change(table, methodcaller("delete", f"id IN ({some})"))
    return table


def update(table: Table, ids: NDArray[np.int64], columns: Any) -> Table:
    """Change users' columns of the rows of these ids; what else is stored of them stays in place.

    Parameters
    ----------
    table : Table
        Its latest version, with these columns in it.
    ids : ndarray of int64 and shape (n,)
        Each once.
    columns : pyarrow.Table
        n rows, of the types that the table's columns have.
    """
    values = columns.add_column(0, "id", pa.array(ids, pa.int64()))

    def change(dataset: Any) -> None:
        fragments, fields = [], set()
        for fragment in dataset.get_fragments():
            there = fragment.to_table(columns=["id"]).column("id").to_numpy()
            if np.isin(there, ids).any():
                changed, modified = fragment.update_columns(values, left_on="id", right_on="id")
                fragments.append(changed)
                fields.update(modified)
        step = lance.LanceOperation.Update(
            updated_fragments=fragments, fields_modified=sorted(fields)
        )
        lance.LanceDataset.commit(dataset, step, read_version=dataset.version)

    return _change(table, change)


def restore(table: Table) -> Table:
    """Make this version of a table the latest."""
    return _change(table, lambda dataset: dataset.restore())


def compact(table: Table) -> Table:
    """Put rows together that many commits have scattered, and leave out the removed ones."""
    return _change(table, lambda dataset: dataset.optimize.compact_files(batch_size=_COMPACTED))


def forget(table: Table, keep: timedelta) -> int:
    """Delete versions that are older than this, and what crashes have left; return the bytes."""
    freed = 0

    def clean(dataset: Any) -> None:
        nonlocal freed
        # Nobody else writes, so what belongs to no version never will.
        stats = dataset.cleanup_old_versions(older_than=keep, delete_unverified=True)
        freed = int(stats.bytes_removed)

    _change(table, clean)
    return freed


def _change(table: Table, change: Callable[[Any], object]) -> Table:
    try:
        with panics_as_failures():
            change(table.dataset)
    except FAILURES as error:
        raise cannot_write(table.path, error) from error
    return table.latest()


class _Group:
    """As many batches as go into one commit."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self.count = 0

    def numbered(self, first: int) -> Iterator[tuple[Batch, int]]:
        """Yield the batches, each with the id of its first row."""
        size = 0
        for batch in self._batches:
            yield batch, first + self.count
            self.count += len(batch.pictures)
            size += sum(len(file) for file in batch.pictures if file is not None)
            if self.count >= _ROWS or size >= _BYTES:
                return


def _nothing() -> None:
    """Do nothing, the second time."""


def _record(batch: Batch, first: int, added: datetime, table: Table) -> Any:
    """Make an Arrow record batch of a batch whose first row gets this id."""
    schema = table.dataset.schema
    n = len(batch.pictures)
    ids = range(first, first + n)
    codes = pa.array(np.ascontiguousarray(batch.codes, np.float32).ravel())
    columns = {
        "id": pa.array(ids, pa.int64()),
        "hash": pa.array(batch.hashes, pa.string()),
        "path": pa.array(
            map(str, ids) if batch.paths is None else map(as_text, batch.paths), pa.string()
        ),
        "added": pa.array([added] * n, schema.field("added").type),
        "picture": pa.array(batch.pictures, pa.large_binary()),
        "reference": pa.array(batch.references, pa.string()),
        "thumbnail": pa.array(batch.thumbnails, pa.binary()),
        "code": pa.FixedSizeListArray.from_arrays(codes, table.width),
    }
    if batch.metadata is not None:
        fitting = fit_metadata(batch.metadata, schema)
        columns |= {name: fitting.column(name).combine_chunks() for name in fitting.column_names}
    for field in schema:
        if field.name not in columns:
            columns[field.name] = pa.nulls(n, field.type)
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _receive(handed: "Queue[Any]") -> Iterator[Any]:  # pragma: no cover - in Lance's threads
    while (batch := handed.get()) is not _DONE:
        if batch is _ABANDON:
            raise RuntimeError("no more rows: those who make them met an error")
        yield batch


def _hand_over(batch: Any, handed: "Queue[Any]", written: "Future[Any]") -> bool:
    """Wait until there is room for a batch; tell whether somebody is still there to take it."""
    while not written.done():
        try:
            handed.put(batch, timeout=0.1)
        except Full:
            continue
        return True
    return False
