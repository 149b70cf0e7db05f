"""Rows to any file or folder that a user may name, whole or not at all."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.atomic import (
    atomic_file,
    atomic_folder,
    check_output,
    explain_os_errors,
    make_temporary,
    remove_abandoned,
)
from narrows.data.axes import are_pictures
from narrows.data.disk_rows import check_dataset
from narrows.data.lazy import LazyRows, in_blocks
from narrows.data.names import RowNames, picture_paths
from narrows.data.numpy_files import write_npy, write_npz
from narrows.data.png import encode_png, is_picture
from narrows.data.tables import TABLE_SUFFIXES, write_table
from narrows.data.tiff import write_tiff
from narrows.errors import DataError, ParameterError

_WRITTEN = "a file ending in .npy, .npz, .csv, .tsv, .parquet or .lance"
_TIFF = (".tif", ".tiff")
_SUFFIXES = {"", ".png", *_TIFF, ".npy", ".npz", ".lance", *TABLE_SUFFIXES}


def write(
    path: str | Path,
    values: NDArray[Any] | LazyRows,
    *,
    names: Sequence[str] | None = None,
    columns: list[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write rows to an array, a table, a folder of pictures or a picture, whole or not at all.

    Parameters
    ----------
    path : str or Path
        A file ending in .npy, .npz, .csv, .tsv or .parquet; a Lance dataset, ending in .lance;
        ending in .png, for one picture; ending in .tif, for pictures as its pages; without an
        ending, or a folder that exists, for a folder of pictures: PNG files of 8 or 16 bits, and
        TIFF files of what these cannot hold.
    values : ndarray or LazyRows of shape (n, ...)
        The rows, lazy ones made and written some at a time: any numbers for .npy, .npz and .lance;
        (n, columns) or (n,) for tables; (n, height, width) or (n, height, width, channels) for
        pictures, of uint8 or uint16 and 1, 3 or 4 channels for PNG.
    names : sequence of str, optional
        One for each row. In a folder they name the files, and what stands before a "/" names
        subfolders; endings of pictures become .png or .tif, numbers are filled with zeros to the
        same width, parts that would lead out of the folder are left out, and of names that would
        be the same, all but the first get "-2", "-3" and so on. An .npz file and a Lance dataset
        keep them.
    columns : list of str, optional
        The names of a table's columns; x0, x1, x2 and so on by default. In .csv and .tsv, names
        that spreadsheets would compute have an apostrophe before them; see
        :mod:`narrows.data.formulas`.
    overwrite : bool, default=False
        Whether a file that exists is replaced. In a folder that exists, the files of the same
        names are replaced and others stay.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputExistsError
        If the output exists and ``overwrite`` is false.
    OutputError
        If it cannot be written: no such folder, no permission, no room.
    ParameterError
        If the ending is another, or there are not as many names as rows or columns.
    DataError
        If the values do not fit the kind of file.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from narrows.data.files import read, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write(Path(folder, "codes.npz"), np.eye(2), names=["a.jpg", "b.jpg"])
    ...     read(file).names
    ['a.jpg', 'b.jpg']
    """
    path = check_destination(path, overwrite=overwrite)
    values = values if isinstance(values, LazyRows) else np.asarray(values)
    if names is not None and len(names) != len(values):
        raise ParameterError(
            f"names has {len(names)} names for {len(values)} rows; give one for each"
        )
    if values.dtype.kind not in "biuf":
        raise DataError(f"values of type {values.dtype} are not written; give numbers")
    suffix = path.suffix.lower()
    if suffix == ".lance":
        _write_lance(path, values, names)
    elif path.is_dir() or not suffix:
        _write_pictures(path, values, names, overwrite)
    elif suffix == ".png":
        _write_picture(path, values, overwrite)
    elif suffix in _TIFF:
        _check_pictures(path, values)
        with atomic_file(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
            write_tiff(file, _one_by_one(values))
    elif suffix in TABLE_SUFFIXES:
        with atomic_file(path, overwrite=overwrite) as temporary:
            write_table(temporary, values, columns)
    elif suffix == ".npy":
        with atomic_file(path, overwrite=overwrite) as temporary:
            write_npy(temporary, values)
    elif suffix == ".npz":
        with atomic_file(path, overwrite=overwrite) as temporary:
            write_npz(temporary, values, names)
    return path


def check_destination(
    path: str | Path,
    *,
    overwrite: bool,
    sample_shape: tuple[int, ...] | None = None,
    pictures: bool | None = None,
) -> Path:
    """Refuse, before any work is done, what :func:`write` would refuse after it.

    Parameters
    ----------
    path, overwrite
        As for :func:`write`.
    sample_shape : tuple of int, optional
        The shape of one row, where it is known: pictures go into no table, and what is no picture
        goes into no folder of pictures.
    pictures : bool, optional
        Whether rows of that shape are pictures, where a model knows it; by default as their shape
        tells, see :func:`narrows.data.axes.are_pictures`.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputExistsError, OutputError, ParameterError
        As :func:`write`, for the path and the shape alone.
    """
    path = check_output(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    if suffix == ".lance":
        check_dataset(path, overwrite=overwrite)
    elif not path.is_dir():
        check_output(path, overwrite=overwrite, kind="file" if suffix else "folder")
    if not path.is_dir() and suffix not in _SUFFIXES:
        raise ParameterError(
            f"'{path}' ends in {path.suffix}, which is not written; name {_WRITTEN}, or a folder "
            "for pictures"
        )
    if sample_shape is not None:
        told = are_pictures(sample_shape) if pictures is None else pictures
        _check_kind(path, sample_shape, told)
    return path


def _check_kind(path: Path, sample_shape: tuple[int, ...], is_pictures: bool) -> None:
    suffix = path.suffix.lower()
    if suffix == ".lance":
        return
    is_pictures = is_pictures or len(sample_shape) == 3  # of any channels, in TIFF
    if not path.is_dir() and suffix == ".png":
        is_pictures = is_pictures and is_picture(np.empty(sample_shape, np.uint8))
    if (path.is_dir() or suffix in ("", ".png", *_TIFF)) and not is_pictures:
        raise ParameterError(
            f"'{path}' would hold pictures, and rows of shape {sample_shape} are none; "
            f"name {_WRITTEN}"
        )
    if not path.is_dir() and suffix in TABLE_SUFFIXES and len(sample_shape) > 1:
        raise ParameterError(
            f"'{path}' would hold a table, and rows of shape {sample_shape} are no rows of one; "
            "name a file ending in .npy or .npz, or a folder for pictures"
        )


def _write_pictures(
    path: Path, values: NDArray[Any] | LazyRows, names: Sequence[str] | None, overwrite: bool
) -> None:
    _check_pictures(path, values)
    if names is None:
        names = RowNames(range(len(values)))
    as_png = is_picture(np.empty(values.shape[1:], values.dtype))
    places = picture_paths(names, ".png" if as_png else ".tif")
    with atomic_folder(path, overwrite=overwrite) as temporary:
        for picture, place in zip(_one_by_one(values), places, strict=True):
            file = temporary / place
            file.parent.mkdir(parents=True, exist_ok=True)
            if as_png:
                file.write_bytes(encode_png(picture))
            else:
                write_tiff(file, [picture])


def _one_by_one(values: NDArray[Any] | LazyRows) -> Iterator[NDArray[Any]]:
    return (picture for block in in_blocks(values) for picture in block)


def _write_lance(path: Path, values: NDArray[Any] | LazyRows, names: Sequence[str] | None) -> None:
    from narrows.data.lance_rows import put_in_place, write_lance  # Lance takes a while to import

    with explain_os_errors(path):
        temporary, lock = make_temporary(path, is_folder=True)
    try:
        with explain_os_errors(path):
            named = None if isinstance(names, RowNames) else names
            write_lance(temporary / "rows", in_blocks(values), named)
            put_in_place(temporary / "rows", path, temporary / "before")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)
    remove_abandoned(path.parent, lambda name: name == path.name)


def _write_picture(path: Path, values: NDArray[Any] | LazyRows, overwrite: bool) -> None:
    _check_pictures(path, values)
    if not is_picture(np.empty(values.shape[1:], values.dtype)):
        raise DataError(
            f"values of type {values.dtype} and shape {values.shape} do not go into '{path}', as "
            "PNG has 8 or 16 bits and 1, 3 or 4 channels; name a file ending in .tif, or a folder"
        )
    if len(values) != 1:
        raise DataError(
            f"{len(values)} pictures do not go into '{path}'; name a folder, without an ending, or "
            "a file ending in .tif, whose pages they become"
        )
    with atomic_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(encode_png(values[0]))


def _check_pictures(path: Path, values: NDArray[Any] | LazyRows) -> None:
    if values.ndim not in (3, 4) or not values.size or values.dtype == bool:
        raise DataError(
            f"values of shape {values.shape} and type {values.dtype} are no pictures for '{path}', "
            "which are numbers of shape (n, height, width) or (n, height, width, channels); "
            f"name {_WRITTEN}"
        )
