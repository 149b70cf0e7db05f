"""Rows in a Lance dataset."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments
from numpy.typing import NDArray

from narrows.atomic import sync
from narrows.data import lazy_rows
from narrows.data.formats import Contents
from narrows.data.lazy_rows import ConcatenatedRows, StoredRows, in_blocks
from narrows.data.names import LazyNames
from narrows.data.numbers import ROWS, Layout
from narrows.errors import DataError, FormatError, NarrowsError, UnreadableFileError
from narrows.remote import FAILURES, lance_address, open_dataset, panics_as_failures
from narrows.texts import as_name, as_text, is_text

NAME = "name"
"""Name of the column with the names of rows."""

PICTURES = b"narrows-pictures"
"""Key in the metadata of the schema if the rows are pixels of pictures."""

_NAMES = 4096  # names that are read at a time


class LanceNames(LazyNames):
    """Names of rows in a column of a Lance dataset, read when asked for, as files have them."""

    def __init__(self, path: Path, dataset: Any) -> None:
        self._path, self._dataset = path, dataset
        self._count: int = dataset.count_rows()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _NAMES):
            yield from self[start : start + _NAMES]

    def take(self, rows: range) -> list[str]:
        """Read the names of some rows."""
        if not rows:
            return []
        with _explained(self._path):
            column = self._dataset.take(list(rows), columns=[NAME])[NAME]
            return [as_name(str(name)) for name in column]


def read_lance(path: Path) -> Contents:
    """Open the latest version of a Lance dataset.

    Parameters
    ----------
    path : Path
        Its folder.

    Returns
    -------
    Contents
        A column of lists or tensors of one shape, which is called "rows" or the only one; where
        there is none, all columns of numbers. They are :class:`StoredRows`, or an array if they
        are few. A column of texts called "name" names them.

    Raises
    ------
    UnreadableFileError
        If it is damaged, or refers to data in other folders.
    DataError
        If it holds no rows, or something else than numbers.
    """
    with _explained(path):
        dataset = open_dataset(path)
        schema, fragments = dataset.schema, dataset.get_fragments()
        counts = [fragment.count_rows() for fragment in fragments]
        first = dataset.take([0]) if sum(counts) else None
    if first is None:
        raise DataError(f"'{path}' holds no rows; give at least one", path=path)
    named = NAME in schema.names and is_text(schema.field(NAME).type)
    if named:
        schema = schema.remove(schema.names.index(NAME))
    with _explained(path):
        layout = Layout.of(path, schema, lambda name: first[name][0].as_py())
    layout.warn()
    starts = np.cumsum([0, *counts]).tolist()
    parts = [
        _Fragment(fragment, layout, count, start)
        for fragment, count, start in zip(fragments, counts, starts[:-1], strict=True)
        if count
    ]
    rows: Any = ConcatenatedRows(parts)
    rows.columns = layout.names if layout.is_table else None
    names = LanceNames(path, dataset) if named else None
    small = rows.nbytes <= lazy_rows.SMALL
    pictures = PICTURES in (schema.metadata or {})
    return Contents(rows[:] if small else rows, rows.columns, names, pictures)


class _Fragment(StoredRows):
    """The rows of a fragment of a dataset."""

    def __init__(self, fragment: Any, layout: Layout, count: int, start: int) -> None:
        self._fragment, self._layout, self._start = fragment, layout, start
        self.shape, self.dtype = (count, *layout.shape), layout.dtype

    def stamp(self) -> object:
        """Return the names of the fragment's files, which never change."""
        return [file.path for file in self._fragment.data_files()]

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        rows = np.concatenate([np.arange(begin, end) for begin, end in runs])
        try:
            with panics_as_failures():
                taken = self._fragment.take(rows, columns=self._layout.names)
                if len(taken) != len(rows):
                    raise RuntimeError(f"{len(taken)} of {len(rows)} rows are there")
                self._layout.fill(taken.columns, into, self._start + rows)
        except NarrowsError:
            raise
        except FAILURES as error:
            raise UnreadableFileError(
                f"'{self._layout.path}' can no longer be read ({reason(error)}); leave it "
                "alone until this has ended and begin again, or restore it from a copy"
            ) from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        with panics_as_failures():
            yield
    except FormatError as error:
        raise UnreadableFileError(str(error)) from error
    except NarrowsError:
        raise
    except FAILURES as error:
        raise UnreadableFileError(
            f"'{path}' is not a readable Lance dataset: {reason(error)}; restore it from a copy",
            path=path,
        ) from error


def reason(error: object) -> str:
    """Return a message of Lance's on one line, without places in its source."""
    text = " ".join(str(error).split())
    if by_system := re.search(r"([A-Z][a-z -]+) \(os error \d+\)", text):
        return by_system[1]
    return re.sub(r",? \S+\.rs:\d+:\d+", "", text)[:200]


def as_table(values: NDArray[Any], names: Sequence[str] | None) -> Any:
    """Turn rows (n, ...), and their names, into a table as datasets hold them."""
    # Arrow has no tensors of booleans.
    values = np.ascontiguousarray(values, np.uint8 if values.dtype == bool else None)
    if values.ndim < 3:
        flat = values.reshape(len(values), -1)
        rows = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
    else:
        rows = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    columns = {ROWS: rows}
    if names is not None:
        columns[NAME] = pa.array(map(as_text, names), pa.string())
    return pa.table(columns)


def write_lance(path: Path, contents: Contents) -> None:
    """Write a dataset, some rows at a time.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    fragments, done, names = [], 0, contents.names
    for block in in_blocks(contents.values):
        own = None if names is None else names[done : done + len(block)]
        table = as_table(block, own)
        fragments += write_piece(path, table)
        done += len(block)
    put_together(path, table.schema, fragments)


def write_piece(path: Path, table: Any) -> list[FragmentMetadata]:
    """Write fragments of a dataset that is committed later."""
    with _as_os_error():
        pieces: list[FragmentMetadata] = write_fragments(
            table, lance_address(path)["uri"], mode="create"
        )
    return pieces


def put_together(path: Path, schema: Any, fragments: list[FragmentMetadata]) -> int:
    """Commit fragments as a dataset; return its number of rows."""
    with _as_os_error():
        operation = lance.LanceOperation.Overwrite(schema, fragments)
        return int(lance.LanceDataset.commit(lance_address(path)["uri"], operation).count_rows())


def put_in_place(made: Path, to: Path, before: Path) -> None:
    """Rename a complete dataset to its path; an existing one is renamed to ``before``."""
    for part in made.rglob("*"):
        sync(part)
    if to.exists():
        to.rename(before)
    made.rename(to)
    sync(to.parent)


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        with panics_as_failures():
            yield
    except FAILURES as error:
        raise OSError(reason(error)) from error
