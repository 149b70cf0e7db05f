"""The rows of a library: one Lance table, seen at one version.

Each change is one commit: a crash leaves the version before it or after it, and whoever has opened
the version before keeps reading it unharmed. Rows are counted in the order of their ids, which is
the order in which they were added, wherever Lance has put them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

import lance
import numpy as np
from numpy.typing import NDArray

from narrows.containment import parse_json
from narrows.data.lance_rows import reason
from narrows.errors import FormatError, NarrowsError, OutputError, ParameterError, StoreError
from narrows.library.columns import metadata_fields, own_columns, own_schema
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

# Lance reads many files of a table at once by default, and holds what it has read.
# Small batches, made by several threads, leave the least of the heap in pieces.
_FRUGAL: dict[str, Any] = {
    "batch_size": 1024,
    "batch_readahead": 1,
    "fragment_readahead": 1,
    "io_buffer_size": 2**20,
}
# In the metadata of the table's schema: the fingerprint of the model that makes the codes.
_SIGNATURE = b"narrows-fingerprint"


class Table:
    """One version of a table of ids, pictures, codes and whatever else is known of them.

    Parameters
    ----------
    path : Path or Remote
        The Lance table.
    fingerprint : str
        Of the model that its codes are expected to be of.
    version : int, optional
        By default the latest.
    folders : tuple of str, optional
        Where files may be that its rows refer to, links followed; None in libraries of older
        versions, which were not told.

    Raises
    ------
    FormatError
        If it is missing, damaged, or holds something else, such as another model's codes.
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
            self._length = int(dataset.count_rows())
            schema = dataset.schema
        self.dataset: Any = dataset
        code = schema.field("code").type if "code" in schema.names else None
        self.width: int = getattr(code, "list_size", 0)
        names = own_columns()
        if self.width < 1 or not _first(schema, len(names)).equals(own_schema(self.width)):
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
        schema = own_schema(width).with_metadata({_SIGNATURE: fingerprint.encode()})
        address = lance_address(path)
        try:
            with panics_as_failures():
                lance.write_dataset(schema.empty_table(), **address, mode="create")
        except FAILURES as error:
            raise cannot_write(path, error) from error
        return cls(path, fingerprint, folders=())

    def __len__(self) -> int:
        return self._length

    @property
    def version(self) -> int:
        """Which of the table's versions this is."""
        return int(self.dataset.version)

    @property
    def metadata(self) -> list[str]:
        """The names of the users' columns."""
        return [field.name for field in metadata_fields(self.dataset.schema)]

    def latest(self) -> Self:
        """Return the table as it is now."""
        return type(self)(self.path, self.fingerprint, folders=self.folders)

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """All ids, (n,), ascending."""
        return self._ids_as_stored if self.order is None else self._ids_as_stored[self.order]

    def codes(self) -> NDArray[np.float32]:
        """Read all codes, (n, K)."""
        codes = np.empty((len(self), self.width), np.float32)
        places = None if self.order is None else np.argsort(self.order)
        start = 0
        for block in self._blocks():
            rows: Any = slice(start, start + len(block))
            codes[rows if places is None else places[rows]] = block
            start += len(block)
        return codes

    def codes_as_stored(self, start: int, count: int) -> NDArray[np.float32]:
        """Read the codes of neighbouring rows, (count, K), in the order in which they are stored.

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
        """Read some columns of some rows, in their order."""
        wanted = np.asarray(rows, np.int64)
        if self.order is not None:
            wanted = self.order[wanted]
        with self.explain_reading():
            taken = self.dataset.take(wanted.tolist(), columns=list(columns))
        values: list[dict[str, Any]] = taken.to_pylist()
        return values

    def column(self, name: str, where: str | None = None) -> Any:
        """Read one column whole, or of the rows that a filter lets through, as Arrow has it."""
        chosen = None if where is None else to_sql(where, self.dataset.schema)
        with self.explain_reading():
            return self.dataset.to_table(columns=[name], filter=chosen).column(name)

    def count(self, where: str | None) -> int:
        """Count the rows, or those that a filter lets through."""
        return len(self) if where is None else len(self.column("id", where))

    def ids_where(self, where: str) -> NDArray[np.int64]:
        """Return the ids of the rows that a filter lets through, ascending."""
        return np.sort(self.column("id", where).to_numpy())

    def hashes(self, where: str | None = None) -> dict[str, int]:
        """Return the id of each picture by its hash, or of those that a filter lets through."""
        hashes = self.column("hash", where).to_pylist()
        return dict(zip(hashes, self.column("id", where).to_pylist(), strict=True))

    def rows_of(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the rows that have these ids.

        Raises
        ------
        ParameterError
            If there is none of an id.
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
        there = np.zeros(len(wanted), bool)
        inside = rows < len(self)
        there[inside] = self.ids[rows[inside]] == wanted[inside]
        if not there.all():
            raise ParameterError(
                f"there is no picture of id {wanted[~there][0]} in '{self.path.parent}'; "
                "use ids that matches have"
            )
        return rows

    @cached_property
    def _ids_as_stored(self) -> NDArray[np.int64]:
        ids: NDArray[np.int64] = self.column("id").to_numpy()
        return ids

    @cached_property
    def order(self) -> NDArray[np.int64] | None:
        """Where rows are stored, by id; None if they are stored in the order of their ids."""
        ids = self._ids_as_stored
        return None if np.all(ids[1:] > ids[:-1]) else np.argsort(ids)

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
        """Make sure that this version is there still.

        Raises
        ------
        FormatError
            If somebody has removed it.
        """
        if self._is_past():
            raise FormatError(
                f"the version of '{self.path}' that was opened has been removed since, by "
                "compacting, replacing or re-encoding the library; refresh() or open it again"
            )

    def _is_past(self) -> bool:
        """Tell whether somebody has removed this version, and not damaged it."""
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
        """Tell which table, and which version of it, readers are shown now; None if nobody says."""
        try:
            facts = parse_json((self.path.parent / "library.json").read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(facts, dict):
            return None
        name, version = facts.get("table"), facts.get("version")
        return (name, version) if isinstance(name, str) and type(version) is int else None


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


def _has_tables(library: Place) -> bool:
    if isinstance(library, Remote):
        return any(name.startswith("table") for name in library.names())
    return library.exists() and any(library.glob("table*.lance"))


def _data_files(dataset: Any) -> set[str]:
    return {file.path for part in dataset.get_fragments() for file in part.data_files()}


def _first(schema: Any, count: int) -> Any:
    """Return the first columns of a schema."""
    for number in reversed(range(count, len(schema))):
        schema = schema.remove(number)
    return schema
