"""The rows of a library: one Lance table, seen at one version.

Lance appends in one commit: a crash leaves the version before it or after it, and whoever has
opened the version before keeps reading it unharmed.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Full, Queue
from typing import Any, NamedTuple, Self

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from narrows.errors import FormatError, OutputError

# What Lance and Arrow raise; neither has a class of its own for what went wrong with a file.
_FAILURES = (OSError, ValueError, RuntimeError)
# In the metadata of the table's schema: the fingerprint of the model that makes the codes.
_SIGNATURE = b"narrows-fingerprint"
_DONE, _ABANDON = object(), object()


class Batch(NamedTuple):
    """Rows to append.

    Attributes
    ----------
    paths : list of str, or None
        Where the pictures came from; None names them by their ids.
    pictures : list of bytes
        Files, whole.
    codes : ndarray of float32 and shape (n, K)
        Their codes.
    """

    paths: list[str] | None
    pictures: list[bytes]
    codes: NDArray[np.float32]


class Table:
    """One version of a table of id, path, picture and code.

    Parameters
    ----------
    path : Path
        The Lance table.
    fingerprint : str
        Of the model that its codes are expected to be of.

    Raises
    ------
    FormatError
        If it is missing, damaged, or holds something else, such as another model's codes.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self.fingerprint = fingerprint
        with _explain_reading(path):
            self._dataset: Any = lance.dataset(str(path.absolute()))
            self._length = int(self._dataset.count_rows())
        schema = self._dataset.schema
        code = schema.field("code").type if "code" in schema.names else None
        self.width: int = getattr(code, "list_size", 0)
        if self.width < 1 or not schema.equals(_schema(self.width)):
            raise FormatError(
                f"'{self.path}' holds columns {', '.join(schema.names)} of other kinds than a "
                "library's; restore it from a copy, or build the library again"
            )
        # Tables of before codes were signed do not say whose they are.
        signed = (schema.metadata or {}).get(_SIGNATURE, fingerprint.encode())
        if signed != fingerprint.encode():
            raise FormatError(
                f"'{self.path}' holds codes of model {signed.decode(errors='replace')[:12]}, the "
                f"library is of model {fingerprint[:12]}; restore it from a copy, or build the "
                "library again"
            )

    @classmethod
    def create(cls, path: Path, width: int, fingerprint: str) -> Self:
        """Create an empty table for codes of a width, which the model of a fingerprint makes."""
        schema = _schema(width).with_metadata({_SIGNATURE: fingerprint.encode()})
        try:
            lance.write_dataset(schema.empty_table(), str(path.absolute()), mode="create")
        except _FAILURES as error:
            raise _cannot_write(path, error) from error
        return cls(path, fingerprint)

    def __len__(self) -> int:
        return self._length

    def latest(self) -> Self:
        """Return the table as it is now."""
        return type(self)(self.path, self.fingerprint)

    def append(self, batches: Iterator[Batch]) -> Self:
        """Append all batches in one commit, or none of them if anything goes wrong.

        The caller sees to it that nobody else appends at the same time.

        Parameters
        ----------
        batches : iterator of Batch
            What it raises is raised again here.

        Returns
        -------
        Table
            The new version.

        Raises
        ------
        OutputError
            If the rows cannot be written.
        """
        # Lance pulls rows in threads of its own, and passes on no more than the text of what goes
        # wrong there. So it writes beside us, and the rows are made here, one batch ahead.
        handed: Queue[Any] = Queue(maxsize=1)
        rows = pa.RecordBatchReader.from_batches(self._dataset.schema, _receive(handed))
        first = self._largest_id() + 1
        with ThreadPoolExecutor(1) as thread:
            written = thread.submit(lance.write_dataset, rows, self._dataset, mode="append")
            try:
                for batch in self._number(batches, first):
                    if not _hand_over(batch, handed, written):
                        break
            except BaseException:
                _hand_over(_ABANDON, handed, written)
                raise
            _hand_over(_DONE, handed, written)
        try:
            written.result()
        except _FAILURES as error:
            raise _cannot_write(self.path, error) from error
        return self.latest()

    def codes(self) -> NDArray[np.float32]:
        """Read all codes, (n, K)."""
        codes = np.empty((len(self), self.width), np.float32)
        start = 0
        with _explain_reading(self.path):
            for batch in self._dataset.to_batches(
                columns=["code"], scan_in_order=True, batch_readahead=2
            ):
                block = batch.column("code").flatten().to_numpy().reshape(-1, self.width)
                codes[start : start + len(block)] = block
                start += len(block)
        return codes

    def take(self, rows: Sequence[int] | NDArray[np.int64], column: str) -> list[Any]:
        """Read one column of some rows, in their order."""
        with _explain_reading(self.path):
            taken = self._dataset.take(np.asarray(rows, np.int64).tolist(), columns=[column])
        values: list[Any] = taken.column(column).to_pylist()
        return values

    def _number(self, batches: Iterator[Batch], first: int) -> Iterator[Any]:
        """Give rows their ids, from the first on."""
        for batch in batches:
            ids = range(first, first + len(batch.pictures))
            paths = map(str, ids) if batch.paths is None else map(_printable, batch.paths)
            codes = pa.array(np.ascontiguousarray(batch.codes, np.float32).ravel())
            yield pa.record_batch(
                [
                    pa.array(ids, pa.int64()),
                    pa.array(paths, pa.string()),
                    pa.array(batch.pictures, pa.large_binary()),
                    pa.FixedSizeListArray.from_arrays(codes, self.width),
                ],
                schema=self._dataset.schema,
            )
            first = ids.stop

    def _largest_id(self) -> int:
        # Ids increase from row to row, so the last rows have the largest.
        if not len(self):
            return -1
        return int(self.take([len(self) - 1], "id")[0])


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


def _printable(path: str) -> str:
    """Write the bytes of a file's name that are no text as escapes, as Arrow holds only text."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _schema(width: int) -> Any:
    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("picture", pa.large_binary(), nullable=False),
            pa.field("code", pa.list_(pa.float32(), width), nullable=False),
        ]
    )


@contextmanager
def _explain_reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise FormatError(
            f"'{path}' is missing or damaged ({_reason(error)}); restore it from a copy, or build "
            "the library again"
        ) from error


def _cannot_write(path: Path, error: Exception) -> OutputError:
    return OutputError(
        f"'{path}' could not be written: {_reason(error)}; what was there before is unharmed; "
        "make room or choose another folder"
    )


def _reason(error: Exception) -> str:
    """Cut Lance's places in its own source out of a message, and keep one line."""
    text = " ".join(str(error).split())
    if by_system := re.search(r"([A-Z][a-z -]+) \(os error \d+\)", text):
        return by_system[1]
    return re.sub(r",? \S+\.rs:\d+:\d+", "", text)[:200]
