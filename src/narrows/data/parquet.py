"""Rows in Parquet files: unpacked once, in memory or, where that is too small, on the disk."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from narrows.data.columns import Layout, has_lists
from narrows.data.contents import what_it_is
from narrows.data.numbers import check_names, shown
from narrows.data.partitions import Partitions
from narrows.data.scratch import fits, scratch_file
from narrows.data.spooled import SpooledRows
from narrows.errors import DataError, MissingFileError, NarrowsError, UnreadableFileError
from narrows.remote import FAILURES, panics_as_failures

# Values that are unpacked at a time.
_VALUES = 1 << 22


def is_plain(path: Path) -> bool:
    """Tell whether a file is a table of features that takes at most half of the free memory."""
    with Opened(path) as file:
        small = fits(file.rows * len(file.schema) * np.dtype(np.float64).itemsize)
        return small and not has_lists(file.schema)


def read_parquet(
    paths: Sequence[Path], partitioned: Path | None = None
) -> tuple[Any, list[str] | None]:
    """Unpack the rows of files, one file after another.

    Parameters
    ----------
    paths : sequence of Path
        Parquet files of the same columns.
    partitioned : Path, optional
        The folder below which the names of folders are columns too; see
        :mod:`narrows.data.partitions`.

    Returns
    -------
    rows : ndarray of shape (n, ...), or SpooledRows
        A column of lists or tensors of one shape, which is called "rows" or the only one; where
        there is none, all columns of numbers. What takes more than half of the free memory is
        unpacked into a file without a name in the folder for temporary files (``TMPDIR``).
    columns : list of str or None
        What the features of a table are called.

    Raises
    ------
    UnreadableFileError
        If one is no Parquet file.
    DataError
        If they hold no rows, other columns than each other, or something else than numbers.
    OutputError
        If there is no room.
    """
    layouts, used, total = [], [], 0
    for number, path in enumerate(paths):
        with Opened(path) as file:
            total += file.rows
            if file.rows:
                layouts.append(Layout.of(path, file.schema, file.first))
                used.append(number)
    if not layouts:
        raise DataError(f"'{paths[0]}' holds no rows; give at least one")
    one = layouts[0]
    for other in layouts:
        if (other.names, other.shape, other.dtype) != (one.names, one.shape, one.dtype):
            raise DataError(
                f"'{other.path}' has {_told(other)}, '{one.path}' {_told(one)}; the Parquet files "
                "of a folder hold the same columns"
            )
    columns = one.names if one.is_table else None
    shape, dtype = (total, *one.shape), one.dtype
    extra = np.empty((len(layouts), 0))
    if partitioned is not None:
        partitions = Partitions.of(partitioned, paths).without(one.names)
        if columns is None:
            partitions = Partitions(
                [], extra, [*partitions.names, *partitions.texts], partitions.inside
            )
        else:
            extra = partitions.values[used]
            columns = [*columns, *partitions.names]
            shape = (total, len(columns))
            dtype = np.dtype(np.float64) if partitions.names else dtype
        partitions.tell(partitioned)
    if fits(math.prod(shape) * dtype.itemsize):
        values = np.empty(shape, dtype)
        done = 0
        for rows in _unpacked(layouts, extra):
            values[done : done + len(rows)] = rows
            done += len(rows)
        return values, columns
    with scratch_file(shape, dtype) as file:
        for rows in _unpacked(layouts, extra):
            file.write(np.ascontiguousarray(rows, dtype).data)
        file.flush()
        spooled = SpooledRows(file, shape, dtype)
    spooled.columns = columns
    found = [layout.path.stat() for layout in layouts]
    spooled.origin = [(one.st_size, one.st_mtime_ns) for one in found]
    return spooled, columns


def _unpacked(layouts: Sequence[Layout], extra: NDArray[np.float64]) -> Iterator[NDArray[Any]]:
    """Yield rows of all files, with the values that each file has of further columns."""
    for layout, more in zip(layouts, extra, strict=True):
        size = max(1, _VALUES // math.prod(layout.shape))
        with Opened(layout.path) as file:
            done = 0
            for batch in file.batches(size, layout.names):
                rows = np.empty((batch.num_rows, *layout.shape), layout.dtype)
                columns = [pa.chunked_array([column]) for column in batch.columns]
                layout.fill(columns, rows, range(done, done + len(rows)))
                done += len(rows)
                yield np.hstack([rows, np.tile(more, (len(rows), 1))]) if len(more) else rows


class Opened:
    """A Parquet file, whose defects become errors of one line within a `with` block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        with self._explained():
            # Opened by its handle, a folder or a pattern of names is not taken for many files.
            self._handle = self._path.open("rb")
        try:
            with self._explained():
                self._file = parquet.ParquetFile(self._handle, buffer_size=1 << 20)
                self.rows: int = self._file.metadata.num_rows
                schema = self._file.schema_arrow
                index = (schema.pandas_metadata or {}).get("index_columns", [])
                self.schema = pa.schema([field for field in schema if field.name not in index])
            check_names(self._path, self.schema.names)
        except DataError:
            self._handle.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def first(self, name: str) -> Any:
        """Return the first value of a column."""
        with self._explained():
            for batch in self.batches(1, [name]):
                return batch.column(0)[0].as_py()
            raise EOFError(f"column {shown(name)} has no values")

    def batches(self, size: int, names: list[str]) -> Iterator[Any]:
        """Read some columns, so many rows at a time."""
        with self._explained():
            for batch in self._file.iter_batches(size, columns=names, use_threads=False):
                # Texts that are not UTF-8, and lists that end before they begin, are refused.
                batch.validate(full=True)
                yield batch

    def read(self, names: list[str]) -> pa.Table:
        """Read all rows of some columns."""
        with self._explained():
            table = self._file.read(columns=names)
            table.validate(full=True)
            return table

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with panics_as_failures():
                yield
        except NarrowsError:
            raise
        except FileNotFoundError as error:
            raise MissingFileError(f"'{self._path}' does not exist; give a table") from error
        except (*FAILURES, EOFError, pa.ArrowException) as error:
            why = getattr(error, "strerror", None) or " ".join(str(error).split())
            why = what_it_is(self._path) or why
            raise UnreadableFileError(
                f"'{self._path}' is not a readable Parquet table: {why}; repair it or choose "
                "another"
            ) from error


def _told(layout: Layout) -> str:
    names = ", ".join(layout.names[:3]) + (", ..." if len(layout.names) > 3 else "")
    return f"rows of shape {layout.shape} and {layout.dtype} in {names}"
