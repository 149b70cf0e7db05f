"""Rows in Parquet files: unpacked once, in memory or, where that is too small, on the disk.

The folders of a partitioned table name columns (Hive): ``year=2020/month=1/part.parquet``.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from narrows.data.columns import Layout, has_lists
from narrows.data.contents import what_it_is
from narrows.data.folders import Entries, Listing, list_files
from narrows.data.marks import Marks
from narrows.data.numbers import check_names, shown
from narrows.data.options import is_text_table
from narrows.data.tempfile_rows import SpooledRows, fits, scratch_file
from narrows.data.text import listed
from narrows.errors import DataError, MissingFileError, NarrowsError, UnreadableFileError, warn
from narrows.remote import FAILURES, panics_as_failures

_PARQUET = ".parquet"
_VALUES = 1 << 22  # unpacked at a time


@dataclass(frozen=True)
class _Partitions:
    """Columns that the names of a partitioned table's folders give to the rows in their files.

    Attributes
    ----------
    names : list of str
        Columns that hold numbers.
    values : ndarray of shape (n_files, n_columns), float64
        The numbers, of each file.
    texts : list of str
        Columns that hold anything else, which are left out.
    inside : list of str
        Columns that the files hold themselves, whose values are the ones that count.
    """

    names: list[str]
    values: NDArray[np.float64]
    texts: list[str]
    inside: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, paths: Sequence[Path]) -> "_Partitions":
        """Read them from the files' paths.

        Raises
        ------
        DataError
            If not all files lie in folders of the same columns.
        """
        pairs = [_pairs(folder, path) for path in paths]
        keys = [key for key, _ in pairs[0]]
        for path, own in zip(paths, pairs, strict=True):
            if [key for key, _ in own] != keys:
                raise DataError(
                    f"'{folder}' holds '{paths[0].relative_to(folder)}' and "
                    f"'{path.relative_to(folder)}', whose folders name different columns; give a "
                    "folder that is partitioned alike throughout"
                )
        texts, names, columns = [], [], []
        for place, key in enumerate(keys):
            numbers = [Marks().value(own[place][1]) for own in pairs]
            if None in numbers:
                texts.append(key)
            else:
                names.append(key)
                columns.append(np.array(numbers, np.float64))
        values = np.stack(columns, 1) if columns else np.empty((len(paths), 0))
        return cls(names, values, texts)

    def without(self, names: Sequence[str]) -> "_Partitions":
        """Leave out the columns that the files hold themselves."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        return _Partitions(
            [self.names[place] for place in kept],
            self.values[:, kept],
            [name for name in self.texts if name not in names],
            [name for name in [*self.names, *self.texts] if name in names],
        )

    def tell(self, folder: Path) -> None:
        """Say which columns the folders' names became, and which were left out."""
        said = []
        if self.names:
            said.append(f"{_listed(self.names)} taken from the names of its folders")
        if self.texts:
            said.append(f"{_listed(self.texts)} left out, as not all values are numbers")
        if self.inside:
            said.append(f"{_listed(self.inside)} taken from inside the files, not from the folders")
        if said:
            warn(
                f"'{folder}' is partitioned: {', '.join(said)}; give one of its files for its own "
                "columns alone",
                kind="partitions",
                stacklevel=4,
                taken=self.names,
                left_out=self.texts,
                inside=self.inside,
            )


def find_parts(
    folder: Path, exclude: str | Sequence[str] = (), seen: Entries | None = None
) -> tuple[Listing, bool]:
    """List the Parquet files of a folder, sorted, and tell whether it is partitioned.

    Parameters
    ----------
    folder : Path
    exclude : str or sequence of str
        Patterns of files and folders that are left out.
    seen : dict, optional
        As of :func:`narrows.data.folders.list_files`.

    Raises
    ------
    DataError
        If some lie in the folder itself and others in partitions.
    """
    own = list_files(folder, [_PARQUET], exclude=exclude, deep=False, seen=seen)
    if not any("=" in name for name in own.left_out.deeper):
        return own, False
    found = list_files(folder, [_PARQUET], exclude=exclude, seen=seen)
    parts = [path for path in found.files if _is_in_partition(path.relative_to(folder))]
    if own.files and parts:
        raise DataError(
            f"'{folder}' holds '{own.files[0].name}' and '{parts[0].relative_to(folder)}', of "
            "which one is in a partition and the other is not; move one of them to a folder of its "
            "own"
        )
    if not parts:
        return own, False
    found.left_out.deeper += [name for name in own.left_out.deeper if "=" not in name]
    return Listing(parts, found.left_out), True


def explain_folder(folder: Path) -> str | None:
    """Say what to do with a folder of tables that are not read together; None if there are none."""
    tables = sorted(path for path in folder.iterdir() if is_text_table(path))
    if tables:
        names = [path.name for path in tables]
        return (
            f"'{folder}' holds {len(tables)} text tables ({_listed(names)}), which are not put "
            "together; give one of them, or join their rows in one file"
        )
    deep = sorted({path.parent.relative_to(folder) for path in folder.glob(f"*/*{_PARQUET}")})
    if deep:
        return (
            f"'{folder}' holds Parquet files in folders of its own ({_listed(map(str, deep))}) "
            "that are no partitions, such as year=2020; give one of these folders"
        )
    return None


def _listed(names: Iterable[str]) -> str:
    return listed(shown(name)[1:-1] for name in names)


def _is_in_partition(path: Path) -> bool:
    """Tell whether all folders of a relative path are partitions, and no name begins with _."""
    *folders, _ = path.parts
    hidden = any(part.startswith("_") for part in path.parts)
    return bool(folders) and all("=" in part for part in folders) and not hidden


def _pairs(folder: Path, path: Path) -> list[tuple[str, str]]:
    parts = (part.split("=", 1) for part in path.relative_to(folder).parts[:-1])
    return [(unquote(key), unquote(value)) for key, value in parts]


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
        The folder below which the names of folders are columns too.

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
                f"'{other.path}' has {_columns_of(other)}, '{one.path}' {_columns_of(one)}; the "
                "Parquet files of a folder hold the same columns"
            )
    one.tell()
    columns = one.names if one.is_table else None
    shape, dtype = (total, *one.shape), one.dtype
    extra = np.empty((len(layouts), 0))
    if partitioned is not None:
        partitions = _Partitions.of(partitioned, paths).without(one.names)
        if columns is None:
            partitions = _Partitions(
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


def _columns_of(layout: Layout) -> str:
    names = ", ".join(layout.names[:3]) + (", ..." if len(layout.names) > 3 else "")
    return f"rows of shape {layout.shape} and {layout.dtype} in {names}"
