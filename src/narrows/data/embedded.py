"""Pictures in Parquet files, as Hugging Face's data sets keep them: unpacked into files.

A column of pictures holds structures of ``bytes``, what was in a picture file, and ``path``, what
it was called; or such bytes alone. They are written to a temporary folder and read like any other
pictures.
"""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import compute

from narrows.atomic import explain_os_errors
from narrows.data.image_codec import DefectError, open_picture, quietly
from narrows.data.images import IMAGE_SUFFIXES
from narrows.data.names import clean_parts
from narrows.data.numbers import shown
from narrows.data.parquet import Opened
from narrows.data.text import listed
from narrows.errors import DataError, warn

_BYTES, _PATH = "bytes", "path"
_ROWS = 64  # that are unpacked together


class Embedded:
    """Pictures that were unpacked into files.

    Attributes
    ----------
    files : list of Path
        One for each row.
    folder : Path
        The folder of the files, in which they are called as the rows are. It is removed with this
        object, or with the process.
    """

    def __init__(self, name: str) -> None:
        self.files: list[Path] = []
        self._files: set[PurePosixPath] = set()
        self._taken: set[PurePosixPath] = set()
        self.folder = Path(tempfile.mkdtemp(prefix=f"narrows-{name}-"))
        self.close = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def add(self, name: str | None, content: bytes) -> None:
        """Write a file, by the name that it had where no other has it.

        Raises
        ------
        OutputError
            If there is no room.
        """
        number = len(self.files)
        place = PurePosixPath(*clean_parts(name)) if name else PurePosixPath(str(number))
        # What is a file cannot be a folder too.
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
    def named(embedded: "Embedded | None", path: Path) -> Iterator[None]:
        """Name the Parquet file in errors about pictures, if they were unpacked."""
        try:
            yield
        except BaseException as error:
            if embedded is not None:
                embedded.close()
            if embedded is None or not isinstance(error, DataError):
                raise
            raise type(error)(str(error).replace(f"{embedded.folder}/", f"{path}: ")) from error


def picture_column(path: Path) -> str | None:
    """Name the column of a Parquet file that holds pictures; None if none does.

    Raises
    ------
    UnreadableFileError
        If it is no Parquet file.
    DataError
        If there are several, or structures that hold something else.
    """
    with Opened(path) as file:
        found = [field.name for field in file.schema if _may_hold(field.type) and file.rows]
        found = [name for name in found if _holds_pictures(path, name, file.first)]
    if len(found) > 1:
        raise DataError(
            f"'{path}' has several columns of pictures ({listed(map(shown, found))}); save the one "
            "to use alone"
        )
    return found[0] if found else None


def unpack(paths: Sequence[Path], column: str) -> Embedded:
    """Write the pictures of Parquet files to files.

    Parameters
    ----------
    paths : sequence of Path
        Files that have the column.
    column : str
        As :func:`picture_column` names it.

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
    unpacked = Embedded(paths[0].name)
    others: dict[str, None] = {}
    with Embedded.named(unpacked, paths[0]):
        for path in paths:
            for row, (content, name) in enumerate(_cells(path, column, others)):
                if content is None:
                    what = f"only the path {name!r}" if name else "nothing"
                    raise DataError(
                        f"'{path}' has {what} in row {row}, counted from 0, of column {column!r}, "
                        "where a picture is expected; save the data set with its pictures in it, "
                        "or remove the row"
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
                "of the same columns"
            )
        others |= dict.fromkeys(name for name in names if name != column)
        for batch in file.batches(_ROWS, [column]):
            cells = batch.column(0)
            paths: list[str | None] = [None] * len(cells)
            if pa.types.is_struct(cells.type):
                if cells.type.get_field_index(_PATH) >= 0:
                    paths = compute.struct_field(cells, _PATH).to_pylist()
                cells = compute.struct_field(cells, _BYTES)
            yield from zip(cells.to_pylist(), paths, strict=True)


def _may_hold(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index(_BYTES)
        return place >= 0 and _is_bytes(kind.field(place).type)
    return _is_bytes(kind)


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_pictures(path: Path, name: str, first: Callable[[str], Any]) -> bool:
    """Tell from the first value whether a column holds pictures."""
    value = first(name)
    is_struct = isinstance(value, dict)
    content = value.get(_BYTES) if is_struct else value
    called = str(value.get(_PATH) or "") if is_struct else ""
    if content:
        with suppress(DefectError), quietly(), open_picture(content):
            return True
    if PurePosixPath(called).suffix.lower() in IMAGE_SUFFIXES:
        return True
    if is_struct and content:
        raise DataError(
            f"'{path}' has column {shown(name)} of files, such as {called!r}, that are no "
            "pictures; save them as files of their own"
        )
    return False
