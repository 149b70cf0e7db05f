"""The rows of a library: one Lance table seen at one version, its columns, and its changes.

Each change is one commit, or several in a row, and returns the new version. A crash leaves the
version before a commit or after it, and readers that opened the version before keep reading it
unharmed. The methods that change a table expect their caller to hold the writers' lock.

Rows are numbered in the order of their ids, which is the order in which they were added, wherever
Lance has stored them.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from typing import Any, NamedTuple, Self

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments
from numpy.typing import NDArray

from narrows.atomic import atomic_file, exists_already
from narrows.containment import parse_json
from narrows.data.lance_rows import reason
from narrows.errors import (
    DataError,
    FormatError,
    NarrowsError,
    OutputError,
    ParameterError,
    StoreError,
)
from narrows.library.conditions import OWN_COLUMNS, user_fields
from narrows.library.filters import to_sql
from narrows.remote import (
    FAILURES,
    Place,
    Remote,
    lance_address,
    open_dataset,
    panics_as_failures,
    refusal,
)
from narrows.texts import as_text

# Lance reads many files of a table at once by default, and holds what it has read.
# Small batches, made by several threads, leave the least of the heap in pieces.
_FRUGAL: dict[str, Any] = {
    "batch_size": 1024,
    "batch_readahead": 1,
    "fragment_readahead": 1,
    "io_buffer_size": 2**20,
}
# The key in the metadata of the table's schema whose value is the model's fingerprint.
_SIGNATURE = b"narrows-fingerprint"
# Pictures, and bytes of them, that are committed together: what an interruption can cost.
_ROWS, _BYTES = 4096, 2**28
_IDS = 10_000  # ids in one filter
_COMPACTED = 256  # rows in memory at a time while they are moved
_DONE, _ABANDON = object(), object()


class Entry(NamedTuple):
    """A picture as a row of the table.

    Attributes
    ----------
    hash : str
        The SHA-256 of the picture's file.
    picture : bytes or None
        The contents of the file; None where there is a reference instead.
    reference : str or None
        The absolute path of a file that is not copied.
    thumbnail : bytes or None
        A small JPEG file; None where the picture is small itself.
    path : str or None
        Where the picture came from; None stands for its id.
    """

    hash: str
    picture: bytes | None = None
    reference: str | None = None
    thumbnail: bytes | None = None
    path: str | None = None


class Batch(NamedTuple):
    """Rows to append.

    Attributes
    ----------
    entries : list of Entry
        The pictures.
    codes : ndarray of float32 and shape (n, K)
        Their codes.
    metadata : pyarrow.Table or None
        Users' columns.
    """

    entries: list[Entry]
    codes: NDArray[np.float32]
    metadata: Any = None


class Table:
    """One version of a library's table.

    Parameters
    ----------
    path : Path or Remote
        The Lance table.
    fingerprint : str
        The fingerprint of the model whose codes the table is expected to hold.
    version : int, optional
        By default the latest.
    folders : tuple of str, optional
        The folders in which files may lie that rows refer to, links followed; None in libraries of
        older versions, which did not record them.

    Attributes
    ----------
    length : int
        The number of rows.
    width : int
        The number of values in a code, K.

    Raises
    ------
    FormatError
        If the table is missing, damaged, or holds something else, such as another model's codes.
    StoreError
        If it is in an object store that does not answer, or refuses.
    """

    def __init__(
        self,
        path: Place,
        fingerprint: str,
        version: int | None = None,
        folders: tuple[str, ...] | None = None,
    ) -> None:
        self.path = path
        self.folders = folders
        self.fingerprint = fingerprint
        with self.explain_reading():
            dataset = open_dataset(path, version)
            self.length = int(dataset.count_rows())
            schema = dataset.schema
        self.dataset: Any = dataset
        code = schema.field("code").type if "code" in schema.names else None
        self.width: int = getattr(code, "list_size", 0)
        own = pa.schema(list(schema)[: len(OWN_COLUMNS)])
        if self.width < 1 or not own.equals(_own_schema(self.width)):
            raise FormatError(
                f"'{self.path}' holds columns {', '.join(schema.names)} of other kinds than a "
                "library's; restore it from a copy, or build the library again"
            )
        signed = (schema.metadata or {}).get(_SIGNATURE, b"?")
        if signed != fingerprint.encode():
            raise FormatError(
                f"'{self.path}' holds codes of model {signed.decode(errors='replace')[:12]}, the "
                f"library is of model {fingerprint[:12]}; restore it from a copy, or build the "
                "library again"
            )

    @classmethod
    def create(cls, path: Place, width: int, fingerprint: str) -> Self:
        """Create an empty table for codes of a width, which the model of a fingerprint makes."""
        schema = _own_schema(width).with_metadata({_SIGNATURE: fingerprint.encode()})
        address = lance_address(path)
        with _explain_writing(path):
            lance.write_dataset(schema.empty_table(), **address, mode="create")
        return cls(path, fingerprint, folders=())

    def __len__(self) -> int:
        return self.length

    @property
    def version(self) -> int:
        """The number of this version of the table."""
        return int(self.dataset.version)

    @cached_property
    def metadata(self) -> list[str]:
        """The names of the users' columns."""
        return [field.name for field in user_fields(self.dataset.schema)]

    def latest(self) -> Self:
        """Return the table as it is now."""
        return type(self)(self.path, self.fingerprint, folders=self.folders)

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """All ids, (n,), ascending."""
        return self._ids_as_stored if self.order is None else self._ids_as_stored[self.order]

    @cached_property
    def order(self) -> NDArray[np.int64] | None:
        """Where rows are stored, by id; None if they are stored in the order of their ids."""
        ids = self._ids_as_stored
        return None if np.all(ids[1:] > ids[:-1]) else np.argsort(ids)

    @cached_property
    def _ids_as_stored(self) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.column("id").to_numpy()
        return ids

    @cached_property
    def codes(self) -> NDArray[np.float32]:
        """All codes, (n, K), in the order of :attr:`ids`."""
        codes = np.empty((len(self), self.width), np.float32)
        places = None if self.order is None else np.argsort(self.order)
        start = 0
        for block in self._blocks():
            rows: Any = slice(start, start + len(block))
            codes[rows if places is None else places[rows]] = block
            start += len(block)
        return codes

    def codes_as_stored(self, start: int, count: int) -> NDArray[np.float32]:
        """Read the codes of consecutive rows, (count, K), in the order in which they are stored.

        Where that is not the order of the ids, :attr:`order` tells.
        """
        return np.concatenate(list(self._blocks(offset=start, limit=count)))

    def _blocks(self, **which: int) -> Iterator[NDArray[np.float32]]:
        """Read codes as they are stored, some at a time."""
        scan = {"columns": ["code"], "scan_in_order": True, **which, **_FRUGAL}
        with self.explain_reading():
            for batch in self.dataset.to_batches(**scan):
                yield batch.column("code").flatten().to_numpy().reshape(-1, self.width)

    def take(self, rows: Sequence[int] | NDArray[np.int64], *columns: str) -> list[dict[str, Any]]:
        """Read some columns of some rows, in the order of the rows."""
        wanted = np.asarray(rows, np.int64)
        if self.order is not None:
            wanted = self.order[wanted]
        with self.explain_reading():
            taken = self.dataset.take(wanted.tolist(), columns=list(columns))
        values: list[dict[str, Any]] = taken.to_pylist()
        return values

    def column(self, name: str, where: str | None = None) -> Any:
        """Read one column as an Arrow array: of all rows, or of those that a filter selects."""
        chosen = None if where is None else to_sql(where, self.dataset.schema)
        with self.explain_reading():
            return self.dataset.to_table(columns=[name], filter=chosen).column(name)

    def ids_where(self, where: str) -> NDArray[np.int64]:
        """Return the ids of the rows that a filter selects, ascending."""
        return np.sort(self.column("id", where).to_numpy())

    def hashes(self, where: str | None = None) -> dict[str, int]:
        """Return the id of each picture by its hash, or of those that a filter selects."""
        hashes = self.column("hash", where).to_pylist()
        return dict(zip(hashes, self.column("id", where).to_pylist(), strict=True))

    def rows_of(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the rows that have these ids.

        Raises
        ------
        ParameterError
            If no row has one of them.
        """
        try:
            wanted = np.asarray(ids)
        except ValueError as error:
            raise ParameterError(f"ids are no list of numbers ({error}); give integers") from error
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise ParameterError(
                f"ids have shape {wanted.shape} and type {wanted.dtype}; give a list of integers"
            )
        wanted = wanted.astype(np.int64)
        rows = np.searchsorted(self.ids, wanted)
        exists = np.zeros(len(wanted), bool)
        inside = rows < len(self)
        exists[inside] = self.ids[rows[inside]] == wanted[inside]
        if not exists.all():
            raise ParameterError(
                f"there is no picture of id {wanted[~exists][0]} in '{self.path.parent}'; "
                "use ids that matches have"
            )
        return rows

    @contextmanager
    def explain_reading(self) -> Iterator[None]:
        """Turn what Lance says about a table that it cannot read into one clear line."""
        try:
            with panics_as_failures():
                yield
        except NarrowsError:
            raise
        except FAILURES as error:
            if (out_of_reach := refusal(self.path, error)) is not None:
                raise out_of_reach from error
            self.check_present()
            remedy = "keep what can be read (narrows verify --repair), or restore it from a copy"
            known = hasattr(self, "dataset") and self.path.exists()
            if isinstance(self.path, Remote) or not known:
                remedy = "restore it from a copy, or build the library again"
            raise FormatError(
                f"'{self.path}' is missing or damaged ({reason(error)}); {remedy}"
            ) from error

    def check_present(self) -> None:
        """Make sure that this version still exists.

        Raises
        ------
        FormatError
            If a writer has removed it.
        """
        if self._is_past():
            raise FormatError(
                f"the version of '{self.path}' that was opened has been removed since, by "
                "compacting, replacing or re-encoding the library; refresh() or open it again"
            )

    def _is_past(self) -> bool:
        """Return whether a writer has removed this version, and not damaged it."""
        if not hasattr(self, "dataset"):
            return False
        published = self._published()
        # Files of a version go before it does, and only when readers are shown another.
        if published not in (None, (self.path.name, self.version)):
            return True
        if published is None and not self.path.exists():
            return _has_tables(self.path.parent)
        try:
            with panics_as_failures():
                latest = open_dataset(self.path)
                if published is None:
                    return all(found["version"] != self.version for found in latest.versions())
                # A library that was removed and built again has the same names for other files.
                own = _data_files(self.dataset)
                now = _data_files(latest.checkout_version(self.version))
                return bool(own) and own.isdisjoint(now)
        except FAILURES:  # FormatError among them
            return False

    def _published(self) -> tuple[str, int] | None:
        """Return the table and version that ``library.json`` names; None if it names none."""
        try:
            facts = parse_json((self.path.parent / "library.json").read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(facts, dict):
            return None
        name, version = facts.get("table"), facts.get("version")
        return (name, version) if isinstance(name, str) and type(version) is int else None

    def append(
        self,
        batches: Iterator[Batch],
        first_id: int,
        *,
        before: Callable[[], None] = lambda: None,
    ) -> Self:
        """Append batches, some thousand pictures in a commit.

        Parameters
        ----------
        batches : iterator of Batch
            An error that it raises is raised again here, after the commits that were complete.
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
        table, added = self, datetime.now(UTC)
        hashes: list[str] = []
        for batch in batches:
            if table is self:
                before()
            group = _until_full(chain([batch], batches))
            table = table.append_once(table._records(group, first_id, added, hashes))
        return table

    def append_once(self, rows: Iterator[Any]) -> Self:
        """Append Arrow record batches in one commit, or none of them if anything goes wrong."""
        self._write(rows, lance.write_dataset)
        return self.latest()

    def write(
        self, batches: Iterator[Batch], first_id: int, added: datetime
    ) -> tuple[list[str], list[str]]:
        """Write batches that no version of the table has until they are committed.

        Parameters
        ----------
        batches, first_id
            As for :meth:`append`.
        added : datetime
            The time of addition.

        Returns
        -------
        fragments : list of str
            JSON that :meth:`commit` takes.
        hashes : list of str
            The hashes of the pictures in them.
        """
        hashes: list[str] = []
        head = list(islice(batches, 1))
        if not head:
            return [], []
        records = self._records(chain(head, batches), first_id, added, hashes)
        made = self._write(records, write_fragments)
        return [json.dumps(fragment.to_json()) for fragment in made], hashes

    def commit(self, fragments: Sequence[str]) -> Self:
        """Make rows that :meth:`write` has written visible, all in one commit."""
        if not fragments:
            return self
        made = [lance.FragmentMetadata.from_json(fragment) for fragment in fragments]
        with _explain_writing(self.path):
            step = lance.LanceOperation.Append(made)
            lance.LanceDataset.commit(self.dataset, step, read_version=self.dataset.version)
        return self.latest()

    def extend(self, fields: Sequence[Any]) -> Self:
        """Add columns, with nulls in the existing rows."""
        if not fields:
            return self
        with _explain_writing(self.path):
            self.dataset.add_columns(pa.schema(fields))
        return self.latest()

    def remove(self, ids: Sequence[int]) -> Self:
        """Remove rows by their ids."""
        table = self
        for start in range(0, len(ids), _IDS):
            some = ", ".join(map(str, ids[start : start + _IDS]))
            with _explain_writing(self.path):
                table.dataset.delete(f"id IN ({some})")
            table = table.latest()
        return table

    def update(self, ids: NDArray[np.int64], columns: Any) -> Self:
        """Change users' columns of the rows of these ids; their other columns stay as stored.

        Parameters
        ----------
        ids : ndarray of int64 and shape (n,)
            Each once.
        columns : pyarrow.Table
            n rows of columns that the table has, in the table's types.
        """
        values = columns.add_column(0, "id", pa.array(ids, pa.int64()))
        with _explain_writing(self.path):
            fragments, fields = [], set()
            for fragment in self.dataset.get_fragments():
                its_ids = fragment.to_table(columns=["id"]).column("id").to_numpy()
                if np.isin(its_ids, ids).any():
                    changed, modified = fragment.update_columns(values, left_on="id", right_on="id")
                    fragments.append(changed)
                    fields.update(modified)
            step = lance.LanceOperation.Update(
                updated_fragments=fragments, fields_modified=sorted(fields)
            )
            lance.LanceDataset.commit(self.dataset, step, read_version=self.dataset.version)
        return self.latest()

    def restore(self) -> Self:
        """Make this version the latest."""
        with _explain_writing(self.path):
            self.dataset.restore()
        return self.latest()

    def compact(self) -> Self:
        """Join rows that many commits have scattered, and leave out the removed ones."""
        with _explain_writing(self.path):
            self.dataset.optimize.compact_files(batch_size=_COMPACTED)
        return self.latest()

    def forget(self, keep: timedelta) -> int:
        """Delete versions older than this, and what crashes have left; return the bytes freed."""
        with _explain_writing(self.path):
            # The caller is the only writer, so files of no version never will be of one.
            stats = self.dataset.cleanup_old_versions(older_than=keep, delete_unverified=True)
        return int(stats.bytes_removed)

    def new_fields(self, metadata: Any) -> list[Any]:
        """Return the fields of users' columns that the table does not have yet."""
        return [
            field
            for field in metadata.schema
            if field.name not in self.dataset.schema.names and not pa.types.is_null(field.type)
        ]

    def fit_metadata(self, metadata: Any) -> Any:
        """Convert users' columns to the types that the table's columns of the same names have.

        Raises
        ------
        DataError
            If a value does not fit its column.
        """
        schema, columns = self.dataset.schema, {}
        for name, column in zip(metadata.column_names, metadata.columns, strict=True):
            if name not in schema.names:
                if not pa.types.is_null(column.type):
                    columns[name] = column
                continue
            kind = schema.field(name).type
            try:
                columns[name] = column.cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise DataError(
                    f"metadata column {name!r} holds {column.type}, in the library it holds "
                    f"{kind}, and {' '.join(str(error).split())[:100]}; convert it, or name it "
                    "otherwise",
                    column=name,
                ) from error
        return pa.table(columns)

    def _records(
        self, batches: Iterator[Batch], first_id: int, added: datetime, hashes: list[str]
    ) -> Iterator[Any]:
        """Make an Arrow record batch of each batch; ``hashes`` grows by those of its rows."""
        schema = self.dataset.schema
        for batch in batches:
            n, first = len(batch.entries), first_id + len(hashes)
            hashes += [entry.hash for entry in batch.entries]
            codes = pa.array(np.ascontiguousarray(batch.codes, np.float32).ravel())
            values = {
                "id": range(first, first + n),
                "path": [
                    str(number) if entry.path is None else as_text(entry.path)
                    for number, entry in enumerate(batch.entries, first)
                ],
                "added": [added] * n,
            }
            for name in ("hash", "picture", "reference", "thumbnail"):
                values[name] = [getattr(entry, name) for entry in batch.entries]
            columns = {
                name: pa.array(value, schema.field(name).type) for name, value in values.items()
            }
            columns["code"] = pa.FixedSizeListArray.from_arrays(codes, self.width)
            if batch.metadata is not None:
                fitting = self.fit_metadata(batch.metadata)
                for name in fitting.column_names:
                    columns[name] = fitting.column(name).combine_chunks()
            for field in schema:
                if field.name not in columns:
                    columns[field.name] = pa.nulls(n, field.type)
            yield pa.record_batch([columns[name] for name in schema.names], schema=schema)

    def _write(self, rows: Iterator[Any], write: Callable[..., Any]) -> Any:
        """Have Lance write Arrow record batches, and return its result."""
        # Lance pulls rows in threads of its own, and passes on no more than the text of what goes
        # wrong there. So it writes in another thread, and the rows are made here, one batch ahead.
        queue: Queue[Any] = Queue(maxsize=1)
        reader = pa.RecordBatchReader.from_batches(self.dataset.schema, _receive(queue))
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(write, reader, self.dataset, mode="append")
            try:
                for batch in rows:
                    if not _hand_over(batch, queue, written):
                        break
            except BaseException:
                _hand_over(_ABANDON, queue, written)
                raise
            _hand_over(_DONE, queue, written)
        with _explain_writing(self.path):
            return written.result()


def cannot_write(path: Place, error: Exception) -> OutputError | StoreError:
    """Make the error that says why a table could not be written."""
    if (out_of_reach := refusal(path, error)) is not None:
        return out_of_reach
    why = reason(error)
    remedy = "make room or choose another folder"
    if why in ("Permission denied", "Read-only file system"):
        remedy = "get the right to write there, or copy the library and change the copy"
    return OutputError(
        f"'{path}' could not be written: {why}; what was there before is unharmed; {remedy}"
    )


@contextmanager
def _explain_writing(path: Place) -> Iterator[None]:
    """Turn what Lance says about a table that it cannot write into one clear line."""
    try:
        with panics_as_failures():
            yield
    except FAILURES as error:
        raise cannot_write(path, error) from error


def write_file(place: Place, contents: bytes, *, overwrite: bool = True) -> None:
    """Write a file of a library in one step, on a disk or in an object store.

    Raises
    ------
    OutputExistsError, OutputError, StoreError
        If the file exists and is not to be replaced, or cannot be written.
    """
    if isinstance(place, Path):
        with atomic_file(place, overwrite=overwrite) as temporary:
            temporary.write_bytes(contents)
    elif not overwrite and place.parent.has(place.name):
        raise exists_already(place)
    else:
        place.write_bytes(contents)


def _has_tables(library: Place) -> bool:
    if isinstance(library, Remote):
        return any(name.startswith("table") for name in library.names())
    return library.exists() and any(library.glob("table*.lance"))


def _data_files(dataset: Any) -> set[str]:
    return {file.path for part in dataset.get_fragments() for file in part.data_files()}


def _until_full(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield as many batches as go into one commit."""
    count = size = 0
    for batch in batches:
        yield batch
        count += len(batch.entries)
        size += sum(len(entry.picture or b"") for entry in batch.entries)
        if count >= _ROWS or size >= _BYTES:
            return


def _receive(queue: "Queue[Any]") -> Iterator[Any]:  # pragma: no cover - in Lance's threads
    while (batch := queue.get()) is not _DONE:
        if batch is _ABANDON:
            raise RuntimeError("no more rows: those who make them met an error")
        yield batch


def _hand_over(batch: Any, queue: "Queue[Any]", written: "Future[Any]") -> bool:
    """Wait until there is room for a batch; tell whether the writing thread still takes it."""
    while not written.done():
        try:
            queue.put(batch, timeout=0.1)
        except Full:
            continue
        return True
    return False


def _own_schema(width: int) -> Any:
    """Return the columns that every library has, for codes of a width."""
    types = (
        pa.int64(),
        pa.string(),
        pa.string(),
        pa.timestamp("us", "UTC"),
        pa.large_binary(),  # the file; null where there is a reference
        pa.string(),  # the absolute path of a file that is not copied
        pa.binary(),  # a small JPEG file; null where the picture is small itself
        pa.list_(pa.float32(), width),
    )
    optional = ("picture", "reference", "thumbnail")
    # Pictures are compressed already, and trying it again costs more than writing them.
    plain = {"picture": {"lance-encoding:compression": "none"}}
    return pa.schema(
        [
            pa.field(name, kind, nullable=name in optional, metadata=plain.get(name))
            for name, kind in zip(OWN_COLUMNS, types, strict=True)
        ]
    )
