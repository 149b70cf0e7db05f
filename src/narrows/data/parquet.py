"""Read rows from Parquet files, and pictures that are embedded in them.

The folders of a Hive-partitioned table name columns: ``year=2020/month=1/part.parquet``. A column
of pictures, as in Hugging Face's data sets, holds structures of ``bytes``, the contents of a
picture file, and ``path``, its name; or such bytes alone. They are unpacked to a temporary folder
and read like any other pictures.
"""

import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, parquet

from narrows.atomic import explain_os_errors
from narrows.containment import fits
from narrows.data.dialect import Marks
from narrows.data.folders import Entries, Listing, list_files, what_it_is
from narrows.data.formats import IMAGE_SUFFIXES, is_text_table
from narrows.data.image_codec import DefectError, open_picture, quietly
from narrows.data.lazy_rows import SpooledRows, scratch_file
from narrows.data.names import clean_parts
from narrows.data.numbers import Layout, check_names, has_lists, shown
from narrows.data.reading import forget_files_within, name_files_within
from narrows.errors import DataError, MissingFileError, NarrowsError, UnreadableFileError, warn
from narrows.remote import FAILURES, panics_as_failures
from narrows.texts import listed

_PARQUET = ".parquet"
_VALUES = 1 << 22  # values that are unpacked at a time
_CONTENT, _PATH = "bytes", "path"
_ROWS = 64  # rows that are unpacked at a time


@dataclass(frozen=True)
class _Partitions:
    """The columns in the names of a partitioned table's folders.

    Attributes
    ----------
    names : list of str
        Names of columns of numbers.
    values : ndarray of shape (n_files, n_columns), float64
        The numbers of each file.
    texts : list of str
        Names of other columns, which are left out.
    inside : list of str
        Names of columns that the files hold as well, from which they are read.
    """

    names: list[str]
    values: NDArray[np.float64]
    texts: list[str]
    inside: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, paths: Sequence[Path]) -> "_Partitions":
        """Read the columns from the paths of files.

        Raises
        ------
        DataError
            If the folders of files name different columns.
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
        """Leave out columns that the files hold as well."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        return _Partitions(
            [self.names[place] for place in kept],
            self.values[:, kept],
            [name for name in self.texts if name not in names],
            [name for name in [*self.names, *self.texts] if name in names],
        )

    def warn(self, folder: Path) -> None:
        """Warn of the columns that were read from names of folders, and those left out."""
        notes = []
        if self.names:
            notes.append(f"{_listed(self.names)} taken from the names of its folders")
        if self.texts:
            notes.append(f"{_listed(self.texts)} left out, as not all values are numbers")
        if self.inside:
            notes.append(
                f"{_listed(self.inside)} taken from inside the files, not from the folders"
            )
        if notes:
            warn(
                f"'{folder}' is partitioned: {', '.join(notes)}; give one of its files for its own "
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
    """List the Parquet files of a folder, and tell whether it is partitioned.

    Parameters
    ----------
    folder : Path
    exclude : str or sequence of str
        Patterns of files and folders that are left out.
    seen : dict, optional
        See :func:`narrows.data.folders.list_files`.

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
    """Tell how to read a folder of tables that are not joined; None if there are none."""
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
    """Return whether all folders of a relative path are partitions, and no part begins with _."""
    *folders, _ = path.parts
    hidden = any(part.startswith("_") for part in path.parts)
    return bool(folders) and all("=" in part for part in folders) and not hidden


def _pairs(folder: Path, path: Path) -> list[tuple[str, str]]:
    parts = (part.split("=", 1) for part in path.relative_to(folder).parts[:-1])
    return [(unquote(key), unquote(value)) for key, value in parts]


def is_plain(path: Path) -> bool:
    """Return whether a file is a table of features in at most half of the free memory."""
    with Opened(path) as file:
        small = fits(file.rows * len(file.schema) * np.dtype(np.float64).itemsize)
        return small and not has_lists(file.schema)


def read_parquet(
    paths: Sequence[Path], partitioned: Path | None = None
) -> tuple[Any, list[str] | None]:
    """Read the rows of files, one file after another.

    Parameters
    ----------
    paths : sequence of Path
        Parquet files of the same columns.
    partitioned : Path, optional
        The folder of a partitioned table, whose subfolders name columns.

    Returns
    -------
    rows : ndarray of shape (n, ...), or SpooledRows
        A column of lists or tensors of one shape, which is called "rows" or the only one;
        otherwise all columns of numbers. Rows of more than half of the free memory are unpacked
        into an unlinked temporary file (in ``TMPDIR``).
    columns : list of str or None
        Names of a table's columns.

    Raises
    ------
    UnreadableFileError
        If one is no Parquet file.
    DataError
        If they hold no rows, different columns, or something else than numbers.
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
    one.warn()
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
        partitions.warn(partitioned)
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
    """Yield the rows of all files, with the columns from the names of folders."""
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
    """A Parquet file; within a `with` block, its defects become errors that name it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        with self._explained():
            # Given a handle, Arrow does not take a folder or pattern for many files.
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
        """Yield some columns, ``size`` rows at a time."""
        with self._explained():
            for batch in self._file.iter_batches(size, columns=names, use_threads=False):
                # This refuses texts that are not UTF-8, and lists with invalid offsets.
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
            raise MissingFileError(
                f"'{self._path}' does not exist; give a table", path=self._path
            ) from error
        except (*FAILURES, EOFError, pa.ArrowException) as error:
            why = getattr(error, "strerror", None) or " ".join(str(error).split())
            why = what_it_is(self._path) or why
            raise UnreadableFileError(
                f"'{self._path}' is not a readable Parquet table: {why}; repair it or choose "
                "another",
                path=self._path,
                reason=why,
            ) from error


def _columns_of(layout: Layout) -> str:
    names = ", ".join(layout.names[:3]) + (", ..." if len(layout.names) > 3 else "")
    return f"rows of shape {layout.shape} and {layout.dtype} in {names}"


class Embedded:
    """Pictures that were unpacked into files.

    Attributes
    ----------
    table : Path
        The file or folder that they are from.
    files : list of Path
        A file for each row.
    folder : Path
        The temporary folder, within which the paths of files are the names of rows. It is removed
        with this object, or with the process.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self.files: list[Path] = []
        self._files: set[PurePosixPath] = set()
        self._taken: set[PurePosixPath] = set()
        self.folder = Path(tempfile.mkdtemp(prefix=f"narrows-{table.name}-"))
        name_files_within(self.folder, table)
        self.close = weakref.finalize(self, _remove, self.folder)

    def add(self, name: str | None, content: bytes) -> None:
        """Write a file under its own name, if no other file has it.

        Raises
        ------
        OutputError
            If there is no room.
        """
        number = len(self.files)
        place = PurePosixPath(*clean_parts(name)) if name else PurePosixPath(str(number))
        # No path is both a file and a folder.
        if place in self._taken or not self._files.isdisjoint(place.parents):
            place = PurePosixPath(f"{number}-{place.name}")
        self._files.add(place)
        self._taken |= {place, *place.parents}
        file = self.folder / place
        with explain_os_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.files.append(file)

    @staticmethod
    @contextmanager
    def closed_on_errors(embedded: "Embedded | None") -> Iterator[None]:
        """Remove the pictures if an error is raised in the block; its path is the table's."""
        try:
            yield
        except BaseException as error:
            if embedded is not None:
                embedded.close()
                if isinstance(error, DataError):
                    error.path = embedded.table
            raise


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    forget_files_within(folder)


def picture_column(path: Path) -> str | None:
    """Return the name of the column of pictures in a Parquet file; None if there is none.

    Raises
    ------
    UnreadableFileError
        If it is no Parquet file.
    DataError
        If there are several, or files that are no pictures.
    """
    with Opened(path) as file:
        found = [field.name for field in file.schema if _may_hold(field.type) and file.rows]
        found = [name for name in found if _holds_pictures(path, name, file.first)]
    if len(found) > 1:
        raise DataError(
            f"'{path}' has several columns of pictures ({listed(map(shown, found))}); save the one "
            "to use alone",
            path=path,
            column=found[0],
        )
    return found[0] if found else None


def unpack(paths: Sequence[Path], column: str, given: Path) -> Embedded:
    """Unpack the pictures of Parquet files to a temporary folder.

    Parameters
    ----------
    paths : sequence of Path
        Files with the column.
    column : str
        Its name; see :func:`picture_column`.
    given : Path
        The path that was given, by which messages name the pictures.

    Raises
    ------
    DataError
        If a row holds no picture, or a file lacks the column.
    OutputError
        If there is no room for the files.

    Warns
    -----
    NarrowsWarning
        "columns_left_out" if there are other columns.
    """
    unpacked = Embedded(given)
    others: dict[str, None] = {}
    with Embedded.closed_on_errors(unpacked):
        for path in paths:
            for row, (content, name) in enumerate(_cells(path, column, others)):
                if content is None:
                    what = f"only the path {name!r}" if name else "nothing"
                    raise DataError(
                        f"'{path}' has {what} in row {row}, counted from 0, of column {column!r}, "
                        "where a picture is expected; save the data set with its pictures in it, "
                        "or remove the row",
                        path=path,
                        column=column,
                    )
                unpacked.add(name, content)
    if others:
        warn(
            f"of '{paths[0]}' the pictures in column {column!r} are read; left out: "
            f"{listed(map(shown, others))} (--labels takes a Parquet file and its column label)",
            kind="columns_left_out",
            stacklevel=4,
            taken=column,
            left_out=list(others),
        )
    return unpacked


def _cells(
    path: Path, column: str, others: dict[str, None]
) -> Iterator[tuple[bytes | None, str | None]]:
    """Yield the contents and the name of each picture in a file."""
    with Opened(path) as file:
        names = [field.name for field in file.schema]
        if column not in names:
            raise DataError(
                f"'{path}' has no column {column!r}, as other files of its folder have; give files "
                "of the same columns",
                path=path,
                column=column,
            )
        others |= dict.fromkeys(name for name in names if name != column)
        for batch in file.batches(_ROWS, [column]):
            cells = batch.column(0)
            paths: list[str | None] = [None] * len(cells)
            if pa.types.is_struct(cells.type):
                if cells.type.get_field_index(_PATH) >= 0:
                    paths = compute.struct_field(cells, _PATH).to_pylist()
                cells = compute.struct_field(cells, _CONTENT)
            yield from zip(cells.to_pylist(), paths, strict=True)


def _may_hold(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index(_CONTENT)
        return place >= 0 and _is_bytes(kind.field(place).type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_pictures(path: Path, name: str, first: Callable[[str], Any]) -> bool:
    """Tell from the first value whether a column holds pictures."""
    value = first(name)
    is_struct = isinstance(value, dict)
    content = value.get(_CONTENT) if is_struct else value
    called = str(value.get(_PATH) or "") if is_struct else ""
    if content:
        with suppress(DefectError), quietly(), open_picture(content):
            return True
    if PurePosixPath(called).suffix.lower() in IMAGE_SUFFIXES:
        return True
    if is_struct and content:
        raise DataError(
            f"'{path}' has column {shown(name)} of files, such as {called!r}, that are no "
            "pictures; save them as files of their own",
            path=path,
            column=name,
        )
    return False
