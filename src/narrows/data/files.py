"""Any file or folder that a user may name, to rows; :mod:`narrows.data.outputs` writes them."""

import math
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from numpy.typing import NDArray

from narrows.data.codec import DefectError, open_picture, quietly, upright_size
from narrows.data.decoding import PictureRows, find_unreadable
from narrows.data.embedded import Embedded, picture_column, unpack
from narrows.data.idx import is_idx, read_idx
from narrows.data.images import (
    IMAGE_SUFFIXES,
    ImageSize,
    Progress,
    check_exists,
    choose_sample_shape,
    find_images,
    read_images,
)
from narrows.data.lazy import LazyRows
from narrows.data.memory import check_fits
from narrows.data.names import RowNames
from narrows.data.numpy_files import read_npy, read_npz
from narrows.data.options import DEFAULTS, FileOptions, is_text_table
from narrows.data.outputs import check_destination, write
from narrows.data.parquet import is_plain, read_parquet
from narrows.data.partitions import explain_folder, find_parts
from narrows.data.scratch import fits
from narrows.data.stored import is_lance, join
from narrows.data.tables import read_table
from narrows.errors import DataError, ParameterError

__all__ = ["Rows", "check_destination", "read", "write"]

_IDX_NAME = re.compile(r"\.idx|idx\d|ubyte")
# Pictures that are decoded at the same time, at most.
_AT_ONCE = 64
_READ = (
    ".npy, .npz, .csv, .tsv, .txt, .parquet, an IDX file, a picture ("
    + ", ".join(sorted(IMAGE_SUFFIXES))
    + "), a Lance dataset, or a folder of pictures, of .npy or of .parquet files"
)


@dataclass(frozen=True)
class Rows:
    """What was read from a file or a folder.

    Attributes
    ----------
    values : ndarray of shape (n, ...)
        One row for each sample; pictures as uint8 (n, height, width[, 3]). An array from a .npy
        file is mapped from the disk and read where it is used; of a folder of many such, of a
        Lance dataset, and of Parquet and picture files that take more than half of the free
        memory, they are
        :class:`narrows.data.stored.StoredRows`.
    names : sequence of str
        One for each row: a picture's path within the folder, the name that an .npz file holds,
        and otherwise "0", "1" and so on.
    columns : list of str or None
        The names of a table's columns.
    skipped : list of (str, str)
        Files that could not be read and were left out, each with the reason.
    pictures : bool
        Whether the rows come from picture files, be it that these were packed.
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
        if self.columns is None or isinstance(self.values, LazyRows):  # which keep their own
            return self.values
        if not (model is None or hasattr(model, "feature_names_in_")):
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
    options: FileOptions = DEFAULTS,
    known: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Rows:
    """Read rows from an array, a table, an IDX file, a picture or a folder of pictures.

    Parameters
    ----------
    path : str or Path
        A .npy file; an .npz file with one array, or one called X, arr_0 or data; a table of
        numbers, in a text file (:func:`narrows.data.tables.read_table` names their endings) or
        .parquet; an IDX file of any name, compressed by gzip or not; a picture; a folder with
        pictures in it or in its subfolders, or with .npy or .parquet files, whose rows follow one
        another in the order of their names; a Lance dataset. Of Parquet and Lance, the rows are
        in a column of lists or tensors of one shape, which is called "rows" or the only such one,
        or in columns of numbers. A Parquet file may also hold pictures, in a column of bytes or
        of structures of ``bytes`` and ``path``, and be one of a partitioned folder
        (``year=2020/part.parquet``), whose names are columns then.
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
    options : FileOptions, optional
        How to read a text table, and which array of an .npz file, where it is not certain.
    known : sequence of str, optional
        The columns' names that a model learned from: a first line that holds them is no data.
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
        If ``image_size`` or ``color`` is not allowed, or is given where there are no picture
        files to choose them for; if one of the ``options`` is for another kind of file.

    Warns
    -----
    NarrowsWarning
        As :func:`narrows.data.csv_files.read_text_table` for text tables; "array_guessed" if an
        .npz file has several arrays of numbers; "columns_left_out" beside pictures in a Parquet
        file; "partitions" of a partitioned folder.

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
    options.check_use(path)
    embedded = _unpack(path)
    found = None
    if path.is_dir() and embedded is None:
        found = _read_folder(path)
    elif suffix not in IMAGE_SUFFIXES and embedded is None:
        found = _read_file(path, options, known)
    if found is not None:
        if (image_size, color) != ("auto", "auto"):
            raise ParameterError(
                f"image_size={image_size!r}, color={color!r}: only picture files are brought to a "
                f"size or kind, and '{path}' holds rows as they are; leave both to 'auto'"
            )
        return found
    files, root = _find_pictures(path, embedded)
    with Embedded.named(embedded, path):
        rows = _read_pictures(
            files,
            root,
            sample_shape=sample_shape,
            image_size=image_size,
            color=color,
            own_size=own_size,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )
    # Rows that are decoded when they are needed need the files as long.
    if isinstance(rows.values, PictureRows):
        rows.values.keeper = embedded
    return rows


def _read_pictures(
    files: list[Path],
    root: Path,
    *,
    sample_shape: tuple[int, ...] | None,
    image_size: ImageSize,
    color: Literal["auto"] | bool,
    own_size: bool,
    skip_unreadable: bool,
    progress: Progress | None,
) -> Rows:
    if sample_shape is None:
        sample_shape = choose_sample_shape(files, image_size=image_size, color=color)
    elif own_size:
        sample_shape = (*_common_size(files), *sample_shape[2:])
    check_fits(
        min(len(files), _AT_ONCE) * math.prod(sample_shape),
        f"{len(files)} pictures of shape {sample_shape}",
        "bring them to a smaller size (--image-size, image_size)",
        DataError if image_size == "auto" else ParameterError,
    )
    if fits(len(files) * math.prod(sample_shape)):
        pixels, used, skipped = read_images(
            files, sample_shape, skip_unreadable=skip_unreadable, progress=progress
        )
    else:
        pixels, used, skipped = _stream(files, sample_shape, skip_unreadable, progress)
    return Rows(
        pixels,
        [file.relative_to(root).as_posix() for file in used],
        skipped=[(str(file), reason) for file, reason in skipped],
        pictures=True,
    )


def _stream(
    files: list[Path],
    sample_shape: tuple[int, ...],
    skip_unreadable: bool,
    progress: Progress | None,
) -> tuple[Any, list[Path], list[tuple[Path, str]]]:
    """Leave pictures that memory does not hold in their files; as `read_images` otherwise."""
    warnings.warn(
        f"{len(files)} pictures of shape {sample_shape} take "
        f"{len(files) * math.prod(sample_shape) / 1e9:.3g} GB, more than half of the memory that "
        "is free; they are decoded anew whenever they are needed: narrows pack does it once",
        stacklevel=3,
    )
    reasons = find_unreadable(files, sample_shape, progress) if skip_unreadable else {}
    used = [file for place, file in enumerate(files) if place not in reasons]
    if not used:
        raise DataError(
            f"none of the {len(files)} pictures can be read; the first is '{files[0]}': "
            f"{reasons[0]}; give pictures that can"
        )
    skipped = [(files[place], reason) for place, reason in reasons.items()]
    return PictureRows(used, sample_shape), used, skipped


def _read_file(path: Path, options: FileOptions, known: Sequence[str] | None) -> Rows:
    suffix = path.suffix.lower()
    values: Any
    names = columns = None
    if suffix == ".npy":
        values = read_npy(path)
    elif suffix == ".npz":
        values, names = read_npz(path, options.array)
    elif suffix == ".parquet" and not is_plain(path):
        values, columns = read_parquet([path])
    elif suffix == ".parquet":
        values, columns = read_table(path)
    elif is_text_table(path) and not is_idx(path):
        values, columns = read_table(path, options, known=known)
    elif _IDX_NAME.search(path.name) or is_idx(path):
        values = read_idx(path)
    else:
        raise DataError(f"'{path}' is of no kind that can be read; give {_READ}")
    if values.size == 0:
        raise DataError(
            f"'{path}' holds no values: its shape is {values.shape}; give at least one row"
        )
    return Rows(values, names or RowNames(range(len(values))), columns)


def _read_folder(path: Path) -> Rows | None:
    """Read a folder of anything but pictures."""
    values: Any
    columns = None
    if is_lance(path):
        from narrows.data.lance_rows import read_lance  # Lance takes a while to import

        values, names, columns, pictures = read_lance(path)
        return Rows(values, names or RowNames(range(len(values))), columns, pictures=pictures)
    if (kind := _kind_of(path)) is None:
        return None
    if kind == ".npy":
        parts = sorted(path.glob(f"*{kind}"))
        values = join([read_npy(part) for part in parts], parts)
    else:
        parts, is_partitioned = find_parts(path)
        values, columns = read_parquet(parts, path if is_partitioned else None)
    return Rows(values, RowNames(range(len(values))), columns)


def holds_rows(folder: Path) -> bool:
    """Tell whether a folder is a Lance dataset, or holds arrays or tables, instead of pictures.

    Raises
    ------
    DataError
        If it holds arrays and pictures.
    """
    return is_lance(folder) or _kind_of(folder) is not None


def _kind_of(folder: Path) -> str | None:
    """Tell what a folder holds rows in, or None if pictures, which tables may stand beside."""
    found = [(".npy", path) for path in islice(folder.glob("*.npy"), 1)]
    found += [(".parquet", path) for path in find_parts(folder)[0][:1]]
    if not found:
        return None
    with suppress(DataError):
        found.append(("pictures", find_images(folder)[0]))
    kinds = [kind for kind, _ in found]
    if kinds == [".parquet", "pictures"]:
        return None
    if len(found) > 1:
        named = " and ".join(f"{kind} ('{path.relative_to(folder)}')" for kind, path in found)
        raise DataError(
            f"'{folder}' holds {named}, of which only one kind can be read; move the others to a "
            "folder of their own"
        )
    return kinds[0]


def _unpack(path: Path) -> Embedded | None:
    """Unpack pictures that Parquet files hold."""
    parts = [path] if path.suffix.lower() == ".parquet" and path.is_file() else []
    if path.is_dir() and not is_lance(path) and _kind_of(path) == ".parquet":
        parts, _ = find_parts(path)
    column = picture_column(parts[0]) if parts else None
    return None if column is None else unpack(parts, column)


def _find_pictures(path: Path, embedded: Embedded | None) -> tuple[list[Path], Path]:
    """List picture files, and the folder within which their names are those of rows."""
    if embedded is not None:
        return embedded.files, embedded.folder
    if not path.is_dir():
        return [path], path.parent
    try:
        return find_images(path), path
    except DataError as error:
        if (words := explain_folder(path)) is not None:
            raise DataError(words) from error
        raise


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
