"""Any file or folder that a user may name: to rows, and back."""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from narrows.atomic import atomic_file, atomic_folder, check_output
from narrows.data.codec import DefectError, is_picture, open_picture, quietly, upright_size
from narrows.data.idx import is_idx, read_idx
from narrows.data.images import (
    IMAGE_SUFFIXES,
    ImageSize,
    Progress,
    check_exists,
    choose_sample_shape,
    encode_png,
    find_images,
    read_images,
)
from narrows.data.memory import check_fits
from narrows.data.names import RowNames, png_paths
from narrows.data.numpy_files import read_npy, read_npz, write_npy
from narrows.data.stored import join
from narrows.data.tables import TABLE_SUFFIXES, read_table, write_table
from narrows.errors import DataError, ParameterError

_IDX_NAME = re.compile(r"\.idx|idx\d|ubyte")
_WRITTEN = "a file ending in .npy, .npz, .csv, .tsv or .parquet"
_READ = (
    ".npy, .npz, .csv, .tsv, .parquet, an IDX file, a picture ("
    + ", ".join(sorted(IMAGE_SUFFIXES))
    + ") or a folder of pictures or of .npy files"
)


@dataclass(frozen=True)
class Rows:
    """What was read from a file or a folder.

    Attributes
    ----------
    values : ndarray of shape (n, ...)
        One row for each sample; pictures as uint8 (n, height, width[, 3]). An array from a .npy
        file is mapped from the disk and read where it is used; of a folder of many such, it is
        :class:`narrows.data.stored.PartRows`.
    names : sequence of str
        One for each row: a picture's path within the folder, the name that an .npz file holds,
        and otherwise "0", "1" and so on.
    columns : list of str or None
        The names of a table's columns.
    skipped : list of (str, str)
        Files that could not be read and were left out, each with the reason.
    pictures : bool
        Whether the rows come from picture files.
    """

    values: NDArray[Any]
    names: Sequence[str]
    columns: list[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    pictures: bool = False

    def for_model(self, model: Any = None) -> Any:
        """Return what a model takes: pictures in its units, tables with their columns' names.

        Parameters
        ----------
        model : BaseAutoencoder, Encoder or Decoder, optional
            The trained model or half that they are for; none before training.

        Returns
        -------
        ndarray of shape (n, ...), or Arrow table
            The table if there are names, and the model learned from columns with names.
        """
        if self.pictures and model is not None:
            return model.scaling_.from_pixels(self.values)
        if self.columns is None or not (model is None or hasattr(model, "feature_names_in_")):
            return self.values
        return pa.table({name: self.values[:, i] for i, name in enumerate(self.columns)})


def read(
    path: str | Path,
    *,
    sample_shape: tuple[int, ...] | None = None,
    image_size: ImageSize = "auto",
    color: Literal["auto"] | bool = "auto",
    own_size: bool = False,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> Rows:
    """Read rows from an array, a table, an IDX file, a picture or a folder of pictures.

    Parameters
    ----------
    path : str or Path
        A .npy file; an .npz file with one array, or one called X, arr_0 or data; a .csv, .tsv or
        .parquet file with nothing but numbers; an IDX file of any name, compressed by gzip or not;
        a picture; a folder with pictures in it or in its subfolders, or with .npy files, whose
        rows follow one another in the order of their names.
    sample_shape : tuple of int, optional
        The shape that pictures are to have: a trained model's ``sample_shape_``.
    image_size, color
        Where ``sample_shape`` is not given, how to choose it; see
        :func:`narrows.data.images.choose_sample_shape`.
    own_size : bool, default=False
        Whether pictures keep their height and width, which must be the same for all; of
        ``sample_shape`` the colours alone then count.
    skip_unreadable : bool, default=False
        Whether pictures that cannot be read are left out and listed instead of raising.
    progress : callable, optional
        Called with the number of pictures done and the number of all.

    Returns
    -------
    Rows
        At least one.

    Raises
    ------
    MissingFileError
        If there is no such file or folder.
    UnreadableFileError
        If a file is truncated, damaged or foreign, or must not be read.
    DataError
        If it holds no rows or something else than numbers, is of no kind listed above, or has
        pictures of several sizes where they are to keep their own.
    ParameterError
        If ``image_size`` or ``color`` is not allowed.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from narrows.data.files import read, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pictures = np.zeros((2, 5, 4), np.uint8)
    ...     _ = write(Path(folder, "dark"), pictures, names=["night.jpg", "caves/deep.jpg"])
    ...     rows = read(Path(folder, "dark"))
    >>> rows.values.shape, rows.names, rows.pictures
    ((2, 5, 4), ['caves/deep.png', 'night.png'], True)
    """
    path = Path(path)
    check_exists(path, _READ)
    suffix = path.suffix.lower()
    if path.is_dir() and (parts := sorted(path.glob("*.npy"))):
        _check_alone(path, parts)
        values = join([read_npy(part) for part in parts], parts)
        return Rows(values, RowNames(range(len(values))))
    if path.is_dir() or suffix in IMAGE_SUFFIXES:
        files = find_images(path) if path.is_dir() else [path]
        if sample_shape is None:
            sample_shape = choose_sample_shape(files, image_size=image_size, color=color)
        elif own_size:
            sample_shape = (*_common_size(files), *sample_shape[2:])
        check_fits(
            len(files) * math.prod(sample_shape),
            f"{len(files)} pictures of shape {sample_shape}",
            "give fewer, or bring them to a smaller size (--image-size, image_size)",
            DataError if image_size == "auto" else ParameterError,
        )
        pixels, used, skipped = read_images(
            files, sample_shape, skip_unreadable=skip_unreadable, progress=progress
        )
        root = path if path.is_dir() else path.parent
        return Rows(
            pixels,
            [file.relative_to(root).as_posix() for file in used],
            skipped=[(str(file), reason) for file, reason in skipped],
            pictures=True,
        )
    names = columns = None
    if suffix == ".npy":
        values = read_npy(path)
    elif suffix == ".npz":
        values, names = read_npz(path)
    elif suffix in TABLE_SUFFIXES:
        values, columns = read_table(path)
    elif _IDX_NAME.search(path.name) or is_idx(path):
        values = read_idx(path)
    else:
        raise DataError(f"'{path}' is of no kind that can be read; give {_READ}")
    if values.size == 0:
        raise DataError(
            f"'{path}' holds no values: its shape is {values.shape}; give at least one row"
        )
    return Rows(values, names or RowNames(range(len(values))), columns)


def _check_alone(folder: Path, arrays: Sequence[Path]) -> None:
    """Refuse a folder of arrays that has pictures too, which would be passed over."""
    try:
        picture = find_images(folder)[0].relative_to(folder)
    except DataError:
        return
    raise DataError(
        f"'{folder}' holds arrays ('{arrays[0].name}') and pictures ('{picture}'), of which only "
        "one kind can be read; move one of them to a folder of its own"
    )


def _common_size(files: Sequence[Path]) -> tuple[int, int]:
    """Return the height and width that all pictures have; unreadable ones are reported later."""
    sizes: dict[tuple[int, int], Path] = {}
    with quietly():
        for file in files:
            with suppress(DefectError), open_picture(file) as image:
                sizes.setdefault(upright_size(image), file)
    if len(sizes) > 1:
        (one, first), (other, second), *_ = sizes.items()
        raise DataError(
            f"'{first}' has {one[0]} x {one[1]} pixels, '{second}' has {other[0]} x {other[1]}; "
            "give pictures of one size together, or one at a time"
        )
    return next(iter(sizes), (1, 1))


def write(
    path: str | Path,
    values: NDArray[Any],
    *,
    names: Sequence[str] | None = None,
    columns: list[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write rows to an array, a table, a folder of pictures or a picture, whole or not at all.

    Parameters
    ----------
    path : str or Path
        A file ending in .npy, .npz, .csv, .tsv or .parquet; ending in .png, for one picture;
        without an ending, or a folder that exists, for a folder of PNG files.
    values : ndarray of shape (n, ...)
        The rows: any numbers for .npy and .npz; (n, columns) or (n,) for tables; uint8 of shape
        (n, height, width) or (n, height, width, 1, 3 or 4) for pictures.
    names : sequence of str, optional
        One for each row. In a folder they name the files, and what stands before a "/" names
        subfolders; endings of pictures become .png, numbers are filled with zeros to the same
        width, parts that would lead out of the folder are left out, and of names that would be
        the same, all but the first get "-2", "-3" and so on. An .npz file keeps them.
    columns : list of str, optional
        The names of a table's columns; x0, x1, x2 and so on by default.
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
    values = np.asarray(values)
    if names is not None and len(names) != len(values):
        raise ParameterError(
            f"names has {len(names)} names for {len(values)} rows; give one for each"
        )
    if values.dtype.kind not in "biuf":
        raise DataError(f"values of type {values.dtype} are not written; give numbers")
    suffix = path.suffix.lower()
    if path.is_dir() or not suffix:
        _write_pictures(path, values, names, overwrite)
    elif suffix == ".png":
        _write_picture(path, values, overwrite)
    elif suffix in TABLE_SUFFIXES:
        with atomic_file(path, overwrite=overwrite) as temporary:
            write_table(temporary, values, columns)
    elif suffix == ".npy":
        with atomic_file(path, overwrite=overwrite) as temporary:
            write_npy(temporary, values)
    elif suffix == ".npz":
        with atomic_file(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
            if names is None:
                np.savez(file, X=values)
            else:
                np.savez(file, X=values, names=np.array(names, dtype=str))
    return path


def check_destination(
    path: str | Path, *, overwrite: bool, sample_shape: tuple[int, ...] | None = None
) -> Path:
    """Refuse, before any work is done, what :func:`write` would refuse after it.

    Parameters
    ----------
    path, overwrite
        As for :func:`write`.
    sample_shape : tuple of int, optional
        The shape of one row, where it is known: pictures go into no table, and what is no picture
        goes into no folder of pictures.

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
    if not path.is_dir():
        check_output(path, overwrite=overwrite, kind="file" if suffix else "folder")
    if not path.is_dir() and suffix not in {"", ".png", ".npy", ".npz", *TABLE_SUFFIXES}:
        raise ParameterError(
            f"'{path}' ends in {path.suffix}, which is not written; name {_WRITTEN}, or a folder "
            "for pictures"
        )
    if sample_shape is not None:
        _check_kind(path, sample_shape)
    return path


def _check_kind(path: Path, sample_shape: tuple[int, ...]) -> None:
    suffix = path.suffix.lower()
    is_pictures = len(sample_shape) == 2 or (
        len(sample_shape) == 3 and sample_shape[2] in (1, 3, 4)
    )
    if (path.is_dir() or suffix in ("", ".png")) and not is_pictures:
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
    path: Path, values: NDArray[Any], names: Sequence[str] | None, overwrite: bool
) -> None:
    _check_pictures(path, values)
    if names is None:
        names = RowNames(range(len(values)))
    with atomic_folder(path, overwrite=overwrite) as temporary:
        for picture, place in zip(values, png_paths(names), strict=True):
            file = temporary / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(picture))


def _write_picture(path: Path, values: NDArray[Any], overwrite: bool) -> None:
    _check_pictures(path, values)
    if len(values) != 1:
        raise DataError(
            f"{len(values)} pictures do not go into '{path}'; name a folder, without an ending"
        )
    with atomic_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(encode_png(values[0]))


def _check_pictures(path: Path, values: NDArray[Any]) -> None:
    if not (values.ndim > 2 and len(values) and is_picture(values[0])):
        raise DataError(
            f"values of shape {values.shape} and type {values.dtype} are no pictures for '{path}', "
            "which are uint8 of shape (n, height, width) or (n, height, width, 1, 3 or 4); "
            f"name {_WRITTEN}"
        )
