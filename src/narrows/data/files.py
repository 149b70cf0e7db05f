"""Read rows from any file or folder that a user may name, and write them to one."""

import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from narrows.atomic import (
    atomic_file,
    atomic_folder,
    check_output,
    explain_os_errors,
    make_temporary,
    remove_abandoned,
)
from narrows.data.array_files import is_idx, read_npy
from narrows.data.axes import are_pictures, is_picture_shape
from narrows.data.crops import Cropped
from narrows.data.decoding import PictureRows, Progress, Resized, Resizing
from narrows.data.depths import encode_png, fits_png
from narrows.data.folders import (
    Entries,
    LeftOut,
    Listing,
    check_dataset,
    check_excludable,
    check_exists,
    is_lance,
    list_files,
)
from narrows.data.formats import (
    DEFAULTS,
    FORMATS,
    IMAGE_SUFFIXES,
    Contents,
    FileOptions,
    Format,
    Kind,
    check_installed,
    format_of,
    is_numeric,
    is_text_table,
    suffixes_of,
)
from narrows.data.images import ImageSize, gather, list_images
from narrows.data.lazy_rows import LazyRows, in_blocks, join
from narrows.data.names import RowNames, picture_paths
from narrows.data.parquet import (
    Embedded,
    explain_folder,
    find_parts,
    is_plain,
    picture_column,
    read_parquet,
    unpack,
)
from narrows.data.reading import Pages, chosen, name_within, shown_name
from narrows.data.tiff import write_tiff
from narrows.errors import DataError, ParameterError, UnreadableFileError, warn
from narrows.texts import counted

__all__ = [
    "Resizing",
    "Rows",
    "check_destination",
    "check_excludable",
    "holds_rows",
    "picture_files",
    "read",
    "takes_pictures",
    "write",
]

_LEAST_SIDE, _MOST_SIDE = 8, 4096  # sides of arrays that may be pictures
_IDX_NAME = re.compile(r"\.idx|idx\d|ubyte")
_LANCE, _IDX = (file_format for file_format in FORMATS if file_format.name in ("Lance", "IDX"))


@dataclass(frozen=True)
class Rows:
    """Rows that were read from a file or a folder.

    Attributes
    ----------
    values : ndarray of shape (n, ...)
        One row per sample; pictures as (n, height, width[, C]), in uint8 if all files have 8 bits,
        and otherwise in the files' type. Large .npy files are memory-mapped. Rows of a folder of
        such files, of a Lance dataset, and of Parquet and picture files that take more than half of
        the free memory are :class:`narrows.data.lazy_rows.StoredRows`.
    names : sequence of str
        Names of the rows: paths of pictures within the folder, names in an .npz file or Lance
        dataset, and otherwise "0", "1" and so on.
    columns : list of str or None
        Names of a table's columns.
    skipped : list of (str, str)
        Unreadable files that were left out, each with the reason.
    pictures : bool
        Whether the rows are pictures from files, packed or not.
    left_out : LeftOut or None
        Files of the folder that were not read; None for a single file.
    resized : Resized or None
        Pictures that were resized; None if there are none, sizes were not compared, or the size
        was asked for.
    cropped : Cropped or None
        What was cut out of the pictures, if the rows are crops.
    file_type : str or None
        Type of the values of picture files; see :mod:`narrows.data.depths`.
    scaled : bool
        Whether pictures are already in the units of a model's training data.
    """

    values: NDArray[Any]
    names: Sequence[str]
    columns: list[str] | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    pictures: bool = False
    left_out: LeftOut | None = None
    resized: Resized | None = None
    cropped: Cropped | None = None
    file_type: str | None = None
    scaled: bool = False

    def for_model(self, model: Any = None) -> Any:
        """Return the rows for a model: pictures in its units, tables with the names of columns.

        Parameters
        ----------
        model : BaseAutoencoder, Encoder or Decoder, optional
            The trained model or half; None before training.

        Returns
        -------
        ndarray of shape (n, ...), or Arrow table
            A table if columns have names, and did so when the model was trained.

        Raises
        ------
        DataError
            If the rows are pictures, and the model was trained on tables or signals.
        """
        if self.pictures and model is not None:
            return self.in_units(model)
        if self.columns is None or isinstance(self.values, LazyRows):  # which keep their own
            return self.values
        if not (model is None or hasattr(model, "feature_names_in_")):
            return self.values
        return pa.table({name: self.values[:, i] for i, name in enumerate(self.columns)})

    def in_units(self, model: Any) -> Any:
        """Return the values in the units of a trained model.

        Raises
        ------
        DataError
            If the rows are pictures, and the model was trained on tables or signals.
        """
        if not self.pictures:
            return self.values
        if not takes_pictures(model.sample_shape_, model.spec_.shows_pictures):
            raise DataError(
                f"these are pictures, and the {type(model).__name__} learned from rows of shape "
                f"{model.sample_shape_}, which are none; give it such"
            )
        return self.values if self.scaled else model.scaling_.from_file(self.values)


def takes_pictures(sample_shape: tuple[int, ...], of_pictures: bool = True) -> bool:
    """Return whether rows of a shape can come from picture files, of whatever channels."""
    return len(sample_shape) == 3 or (of_pictures and is_picture_shape(sample_shape))


def read(
    path: str | Path,
    *,
    sample_shape: tuple[int, ...] | None = None,
    image_size: ImageSize = "auto",
    color: Literal["auto"] | bool = "auto",
    own_size: bool = False,
    of_pictures: bool = True,
    scaling: Any = None,
    pages: Pages | None = None,
    max_pixels: int | None = None,
    skip_unreadable: bool = False,
    exclude: str | Sequence[str] = (),
    resizing: Resizing | None = None,
    crops: int | None = None,
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
        Shape of pictures: a trained model's ``sample_shape_``.
    image_size, color
        How to choose the shape if ``sample_shape`` is not given; see
        :func:`narrows.data.images.choose_sample_shape`.
    own_size : bool, default=False
        Whether pictures keep their common height and width, so that ``sample_shape`` gives the
        channels only.
    of_pictures : bool, default=True
        Whether rows of ``sample_shape`` are pictures; otherwise picture files are refused.
    scaling : Scaling, optional
        A trained model's ``scaling_``, to convert each picture to the units of its training data;
        see :meth:`narrows.data.scaling.Scaling.from_file`.
    pages : {"first", "all"}, optional
        Which pages of TIFF files, and frames of animations, are read. With "all", the pages of
        ``scan.tif`` are named ``scan.tif#1``, ``scan.tif#2`` and so on. By default "first", with a
        warning about the others, or as :func:`narrows.data.reading.reading` says.
    max_pixels : int, optional
        The most pixels of one picture to decode, by default 89 478 485. Of a JPEG, the pixels at
        the reduced size count at which it is decoded.
    skip_unreadable : bool, default=False
        Whether files of a folder that cannot be read are left out and listed instead of raising.
    exclude : str or sequence of str
        Patterns of files and folders that are left out of a folder; see
        :func:`narrows.data.folders.check_exclude`.
    resizing : {"say", "refuse", "asked", "quiet"}, optional
        What happens to pictures of another size: a :class:`narrows.errors.NarrowsWarning`, an
        error, an entry in :attr:`Rows.resized` only, or no comparison of sizes. By default "say" if
        the size is chosen here ("auto"), "quiet" if ``sample_shape`` or ``image_size`` gives it.
    crops : int, optional
        Height and width of squares to cut out of picture files at full resolution, where the size
        is chosen here ("auto") and they are not all alike and small; see
        :func:`narrows.data.crops.cut`. By default whole pictures are read.
    options : FileOptions, optional
        How to read a text table, and which array of an .npz file.
    known : sequence of str, optional
        Names of the columns that a model was trained on: a first line that holds them is no data.
    progress : callable, optional
        Called with the number of pictures read and the number of all.

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
        pictures of several sizes where they are to keep their own, or of others than they may be
        brought to; or of types or channels that have nothing to do with each other.
    MissingDependencyError
        If it is a file of a format whose package is not installed: ``narrows[photos]`` for HEIC and
        JPEG XL.
    ParameterError
        If ``image_size``, ``color`` or ``exclude`` is not allowed, or is given where there are no
        picture files, or no folder, to choose them for; if one of the ``options`` is for another
        kind of file.

    Warns
    -----
    NarrowsWarning
        "files_left_out" if a folder holds what is not read, "pictures_resized" if pictures are
        brought to another size, "pictures_cropped" if crops were cut out of them; see also
        :class:`narrows.data.reading.Notes`. As
        :func:`narrows.data.text_tables.read_text_table` for text tables; "array_guessed" if an
        .npz file has several arrays of numbers; "columns_left_out" beside pictures in a Parquet
        file, or beside the only column of lists; "bytes_left_out" after the array of a .npy file;
        "partitions" of a partitioned folder; "rows_from_arrays" if the arrays of a folder
        may be one picture each.

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
    check_exists(path, _readable)
    suffix = path.suffix.lower()
    check_excludable(path, exclude)
    options.check_use(path)
    skipped: list[tuple[str, str]] = []
    folder = _look(path, exclude) if path.is_dir() and not is_lance(path) else None
    embedded = _unpack(path, folder, skipped if skip_unreadable else None)
    found = None
    if folder is not None and embedded is None:
        found = _read_folder(path, folder, skip_unreadable, tell=sample_shape is None)
    elif path.is_dir() and embedded is None:
        found = _checked(path, _LANCE.load(path))
    elif suffix not in IMAGE_SUFFIXES and embedded is None:
        check_installed(path)
        found = _read_file(path, options, known)
    if found is not None:
        if (image_size, color) != ("auto", "auto"):
            raise ParameterError(
                f"image_size={image_size!r}, color={color!r}: only picture files are brought to a "
                f"size or kind, and '{path}' holds rows as they are; leave both to 'auto'",
                parameter="image_size",
            )
        if found.left_out is not None:
            found.left_out.warn(path, stacklevel=3)
        return found
    if sample_shape is not None:
        _check_takes_pictures(path, sample_shape, of_pictures)
    listing, root = _list_pictures(path, exclude, folder, embedded)
    listing.left_out.warn(path, stacklevel=3)
    with Embedded.closed_on_errors(embedded):
        gathered = gather(
            path,
            listing.files,
            sample_shape=sample_shape,
            image_size=image_size,
            color=color,
            own_size=own_size,
            scaling=scaling,
            how=chosen(max_pixels, pages),
            skip_unreadable=skip_unreadable,
            resizing=resizing,
            crops=crops,
            progress=progress,
        )
    if isinstance(gathered.values, PictureRows):  # which read the files whenever they are needed
        gathered.values.keeper = embedded
    return Rows(
        gathered.values,
        [name_within(picture, root) for picture in gathered.pictures],
        skipped=skipped + [(shown_name(picture), reason) for picture, reason in gathered.skipped],
        pictures=True,
        left_out=listing.left_out if folder is not None else None,
        resized=gathered.resized,
        cropped=gathered.cropped,
        file_type=gathered.kind.name,
        scaled=scaling is not None,
    )


def picture_files(path: Path, exclude: str | Sequence[str] = ()) -> tuple[Listing, Path] | None:
    """List the picture files that a path names.

    Parameters
    ----------
    path : Path
        A picture file, or a folder of such.
    exclude : str or sequence of str
        See :func:`read`.

    Returns
    -------
    (Listing, Path) or None
        The files, and the folder within which their paths are names of rows; None for rows that
        are no picture files.

    Raises
    ------
    MissingFileError, UnreadableFileError, DataError, ParameterError
        As :func:`read`.
    """
    check_exists(path, _readable)
    check_excludable(path, exclude)
    if path.is_dir() and not is_lance(path):
        folder = _look(path, exclude)
        return None if folder.kind is not None else _list_pictures(path, exclude, folder, None)
    is_picture = path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES
    return _list_pictures(path, exclude, None, None) if is_picture else None


def _check_takes_pictures(path: Path, sample_shape: tuple[int, ...], of_pictures: bool) -> None:
    if not takes_pictures(sample_shape, of_pictures):
        raise DataError(
            f"'{path}' holds pictures, which do not fit rows of shape {sample_shape}, as these are "
            "none; give an array, a table or a signal instead",
            path=path,
        )


def _read_file(path: Path, options: FileOptions, known: Sequence[str] | None) -> Rows:
    file_format = format_of(path)
    if (file_format is None and _IDX_NAME.search(path.name)) or (
        (file_format is None or is_text_table(path)) and is_idx(path)
    ):
        file_format = _IDX
    if file_format in (None, _LANCE) or not {"rows", "tables"} & set(file_format.kinds):
        raise DataError(f"'{path}' is of no kind that can be read; give {_readable()}", path=path)
    return _checked(path, file_format.load(path, options, known))


def _checked(path: Path, contents: Contents) -> Rows:
    """Refuse contents without any values; name the rows of others."""
    values = contents.values
    if values.size == 0:
        raise DataError(
            f"'{path}' holds no values: its shape is {values.shape}; give at least one row",
            path=path,
        )
    names = contents.names or RowNames(range(len(values)))
    kind = values.dtype.name if contents.pictures else None
    return Rows(values, names, contents.columns, pictures=contents.pictures, file_type=kind)


def _readable() -> str:
    """Name what can be read, for messages."""
    return (
        f"{', '.join(_endings('rows', 'tables'))}, an IDX file, a picture "
        f"({', '.join(sorted(IMAGE_SUFFIXES))}), a Lance dataset, or a folder of pictures, of .npy "
        "or of .parquet files"
    )


def _writable() -> str:
    """Name what rows can be written to, for messages."""
    *others, last = _endings("rows", "tables", written=True)
    return f"a file ending in {', '.join(others)} or {last}"


def _endings(*kinds: Kind, written: bool = False) -> list[str]:
    return [s for s in suffixes_of(kinds, written=written) if written or s != ".lance"]


def _read_folder(
    path: Path, folder: "_Folder", skip_unreadable: bool, *, tell: bool
) -> Rows | None:
    """Read a folder of arrays or tables; warn of arrays that may be one picture each."""
    if folder.kind is None:
        return None
    values: Any
    columns = None
    kind, (parts, left_out) = folder.kind, folder.rows
    skipped: list[tuple[str, str]] = []
    # The readers of headers tell whether a file is readable.
    look = partial(read_npy, mapped=True) if kind == ".npy" else is_plain
    found, parts = _read_parts(look, parts, skipped if skip_unreadable else None)
    if kind == ".npy":
        values = join(found, parts)
        if tell:
            _warn_of_pictures(path, [array.shape for array in found])
    else:
        values, columns = read_parquet(parts, path if folder.is_partitioned else None)
    names = RowNames(range(len(values)))
    return Rows(values, names, columns, skipped=skipped, left_out=left_out)


def _warn_of_pictures(path: Path, shapes: Sequence[tuple[int, ...]]) -> None:
    """Warn if arrays whose rows are joined may be one picture each."""
    shape = shapes[0]
    is_picture = is_picture_shape(shape)
    low, high = min(shape[:2]), max(shape[:2])
    if len(set(shapes)) > 1 or len(shapes) < 2 or not is_picture:
        return
    if low < _LEAST_SIDE or high > min(_MOST_SIDE, 2 * low):
        return
    row = f"{shape[1]} values" if len(shape) == 2 else f"shape {shape[1:]}"
    warn(
        f"'{path}': {len(shapes)} files of {shape[0]} rows of {row} are put together to "
        f"{len(shapes) * shape[0]} rows; if each file is one picture, save them as one array of "
        f"shape {(len(shapes), *shape)} (numpy.stack)",
        kind="rows_from_arrays",
        stacklevel=4,
        path=str(path),
        files=len(shapes),
        shape=list(shape),
    )


def _read_parts(
    look: Callable[[Path], Any], parts: list[Path], skipped: list[tuple[str, str]] | None
) -> tuple[list[Any], list[Path]]:
    """Open the files of a folder; those that cannot be read are skipped, or refused."""
    found, used = [], []
    for part in parts:
        try:
            found.append(look(part))
            used.append(part)
        except UnreadableFileError as error:
            if skipped is None:
                raise
            skipped.append((str(part), error.reason or str(error)))
    if not used and skipped:
        raise DataError(
            f"none of {counted(len(parts), parts[0].suffix + ' file')} can be read; the first, "
            f"'{skipped[0][0]}': {skipped[0][1]}"
        )
    return found, used


def holds_rows(folder: Path, exclude: str | Sequence[str] = ()) -> bool:
    """Return whether a folder is a Lance dataset, or holds arrays or tables rather than pictures.

    Raises
    ------
    DataError
        If it holds arrays and pictures.
    """
    return is_lance(folder) or _look(folder, exclude).kind is not None


class _Folder(NamedTuple):
    """The files of rows in a folder, by their suffix; None if it may hold pictures.

    Entries of the folder and its subfolders are kept, so that none is listed twice.
    """

    kind: Literal[".npy", ".parquet"] | None
    rows: Listing
    is_partitioned: bool
    seen: Entries


def _look(folder: Path, exclude: str | Sequence[str]) -> _Folder:
    """Find the files of rows in a folder; tables beside pictures describe these."""
    seen: Entries = {}
    arrays = list_files(folder, [".npy"], exclude=exclude, deep=False, seen=seen)
    tables, is_partitioned = find_parts(folder, exclude, seen)
    found = {
        kind: listing.files[0]
        for kind, listing in ((".npy", arrays), (".parquet", tables))
        if listing.files
    }
    if found:
        with suppress(DataError):
            found["pictures"] = list_images(folder, exclude, seen).files[0]
    if set(found) <= {".parquet", "pictures"} and found.keys() != {".parquet"}:
        return _Folder(None, Listing([], LeftOut()), False, seen)
    if len(found) > 1:
        named = " and ".join(
            f"{kind} ('{path.relative_to(folder)}')" for kind, path in sorted(found.items())
        )
        raise DataError(
            f"'{folder}' holds {named}, of which only one kind can be read; move the others to a "
            "folder of their own, or leave them out (--exclude, exclude)"
        )
    if arrays.files:
        return _Folder(".npy", arrays, False, seen)
    return _Folder(".parquet", tables, is_partitioned, seen)


def _unpack(
    path: Path, folder: _Folder | None, skipped: list[tuple[str, str]] | None
) -> Embedded | None:
    """Unpack the pictures in Parquet files; unreadable files are skipped or refused."""
    parts = [path] if path.suffix.lower() == ".parquet" and path.is_file() else []
    if folder is not None and folder.kind == ".parquet":
        parts = folder.rows.files
    if skipped is None or not path.is_dir():
        columns = [picture_column(part) for part in parts[:1]]
    else:
        columns, parts = _read_parts(picture_column, parts, skipped)
    if not columns or columns[0] is None:
        return None
    return unpack(parts, columns[0], path)


def _list_pictures(
    path: Path,
    exclude: str | Sequence[str],
    folder: _Folder | None,
    embedded: Embedded | None,
) -> tuple[Listing, Path]:
    """List picture files, and return the folder within which their paths are names of rows.

    Raises
    ------
    DataError
        If a folder has none.
    """
    if embedded is not None:
        left_out = LeftOut() if folder is None else folder.rows.left_out
        return Listing(embedded.files, left_out), embedded.folder
    if folder is None:
        return Listing([path], LeftOut()), path.parent
    try:
        return list_images(path, exclude, folder.seen), path
    except DataError as error:
        if (words := explain_folder(path)) is not None:
            raise DataError(words) from error
        raise


def write(
    path: str | Path,
    values: NDArray[Any] | LazyRows,
    *,
    names: Sequence[str] | None = None,
    columns: list[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write rows to an array, a table, a folder of pictures or a picture, atomically.

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
        Names of the rows. In a folder they are the paths of files: suffixes of pictures become .png
        or .tif, numbers are padded with zeros to one width, parts that lead out of the folder are
        removed, and equal paths get "-2", "-3" and so on. An .npz file and a Lance dataset keep the
        names.
    columns : list of str, optional
        The names of a table's columns; x0, x1, x2 and so on by default. In .csv and .tsv, names
        that spreadsheets would compute have an apostrophe before them; see
        :func:`narrows.texts.guarded`.
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
    if not is_numeric(values.dtype):
        raise DataError(f"values of type {values.dtype} are not written; give numbers")
    contents = Contents(values, columns, names)
    file_format = format_of(path)
    if file_format is _LANCE:
        _write_lance(path, contents)
        return path
    if path.is_dir() or file_format is None:
        _write_pictures(path, values, names, overwrite)
        return path
    if "pictures" in file_format.kinds:
        _check_pictures(path, values)
    if path.suffix.lower() == ".png":
        _check_png(path, values)
    with atomic_file(path, overwrite=overwrite) as temporary:
        file_format.save(temporary, contents)
    return path


def check_destination(
    path: str | Path,
    *,
    overwrite: bool,
    sample_shape: tuple[int, ...] | None = None,
    pictures: bool | None = None,
) -> Path:
    """Refuse, before any computation, what :func:`write` would refuse after it.

    Parameters
    ----------
    path, overwrite
        See :func:`write`.
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
        See :func:`write`.
    """
    path = check_output(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    if suffix == ".lance":
        check_dataset(path, overwrite=overwrite)
    elif not path.is_dir():
        check_output(path, overwrite=overwrite, kind="file" if suffix else "folder")
    file_format = format_of(path)
    if not path.is_dir() and suffix and not _takes_rows(file_format):
        raise ParameterError(
            f"'{path}' ends in {path.suffix}, which is not written; name {_writable()}, or a "
            "folder for pictures",
            path=path,
        )
    if sample_shape is not None:
        are_shown = are_pictures(sample_shape) if pictures is None else pictures
        _check_kind(path, sample_shape, are_shown)
    return path


def _takes_rows(file_format: Format | None) -> bool:
    """Return whether rows can be written in a format."""
    return (
        file_format is not None
        and file_format.write is not None
        and file_format.kinds != ("signals",)
    )


def _check_kind(path: Path, sample_shape: tuple[int, ...], is_pictures: bool) -> None:
    file_format = format_of(path)
    if file_format is _LANCE:
        return
    for_pictures = path.is_dir() or file_format is None or "pictures" in file_format.kinds
    is_pictures = is_pictures or len(sample_shape) == 3  # of any channels, in TIFF
    if not path.is_dir() and path.suffix.lower() == ".png":
        is_pictures = is_pictures and fits_png(np.empty(sample_shape, np.uint8))
    if for_pictures and not is_pictures:
        raise ParameterError(
            f"'{path}' would hold pictures, and rows of shape {sample_shape} are none; "
            f"name {_writable()}",
            path=path,
        )
    if file_format and file_format.kinds[0] == "tables" and len(sample_shape) > 1:
        raise ParameterError(
            f"'{path}' would hold a table, and rows of shape {sample_shape} are no rows of one; "
            "name a file ending in .npy or .npz, or a folder for pictures",
            path=path,
        )


def _write_pictures(
    path: Path, values: NDArray[Any] | LazyRows, names: Sequence[str] | None, overwrite: bool
) -> None:
    _check_pictures(path, values)
    if names is None:
        names = RowNames(range(len(values)))
    as_png = fits_png(np.empty(values.shape[1:], values.dtype))
    places = picture_paths(names, ".png" if as_png else ".tif")
    with atomic_folder(path, overwrite=overwrite) as temporary:
        pictures = (picture for block in in_blocks(values) for picture in block)
        for picture, place in zip(pictures, places, strict=True):
            file = temporary / place
            file.parent.mkdir(parents=True, exist_ok=True)
            if as_png:
                file.write_bytes(encode_png(picture))
            else:
                write_tiff(file, [picture])


def _write_lance(path: Path, contents: Contents) -> None:
    from narrows.data.lance_rows import put_in_place  # Lance takes a while to import

    with explain_os_errors(path):
        temporary, lock = make_temporary(path, is_folder=True)
    try:
        with explain_os_errors(path):
            named = None if isinstance(contents.names, RowNames) else contents.names
            _LANCE.save(temporary / "rows", contents._replace(names=named))
            put_in_place(temporary / "rows", path, temporary / "before")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)
    remove_abandoned(path.parent, lambda name: name == path.name)


def _check_png(path: Path, values: NDArray[Any] | LazyRows) -> None:
    if not fits_png(np.empty(values.shape[1:], values.dtype)):
        raise DataError(
            f"values of type {values.dtype} and shape {values.shape} do not go into '{path}', as "
            "PNG has 8 or 16 bits and 1, 3 or 4 channels; name a file ending in .tif, or a folder"
        )
    if len(values) != 1:
        raise DataError(
            f"{len(values)} pictures do not go into '{path}'; name a folder, without an ending, or "
            "a file ending in .tif, whose pages they become"
        )


def _check_pictures(path: Path, values: NDArray[Any] | LazyRows) -> None:
    if values.ndim not in (3, 4) or not values.size or values.dtype == bool:
        raise DataError(
            f"values of shape {values.shape} and type {values.dtype} are no pictures for '{path}', "
            "which are numbers of shape (n, height, width) or (n, height, width, channels); "
            f"name {_writable()}"
        )
