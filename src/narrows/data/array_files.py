"""Arrays in files: .npy and .npz, without unpickling, and IDX, the format of MNIST.

An IDX file has two zero bytes, the code of the values' type, the number of axes, their lengths as
32-bit integers, and big-endian values; it is often compressed by gzip. See "The MNIST database of
handwritten digits" by LeCun, Cortes and Burges.
"""

import math
import os
import tokenize
import zipfile
import zlib
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from narrows.containment import check_fits
from narrows.data import lazy_rows
from narrows.data.folders import what_it_is
from narrows.data.formats import DEFAULTS, Contents, FileOptions, is_numeric
from narrows.data.lazy_rows import ComputedRows, LazyRows, in_blocks
from narrows.errors import (
    DataError,
    MissingFileError,
    NarrowsError,
    ParameterError,
    UnreadableFileError,
    warn,
)
from narrows.texts import is_text, listed

_PREFERRED = ("X", "arr_0", "data")
_MAGIC = b"\x93NUMPY"
# What numpy and zipfile raise for damaged files.
_FAILURES = (
    ArithmeticError,
    EOFError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32  # numpy's limit
_GZIP = b"\x1f\x8b"
# The highest ratio of deflate, which bounds the size that a header can claim.
_MOST_GZIP_SHRINKS = 1032


def read_npy(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Read an array of at most 64 MiB, and memory-map a larger one.

    A mapped file that shrinks ends the process (SIGBUS). Training and encoding read large arrays by
    :func:`narrows.data.lazy_rows.stored` instead, which refuses files that change.

    Parameters
    ----------
    path : Path
        A .npy file.
    mapped : bool, default=False
        Whether small arrays are mapped as well.

    Returns
    -------
    ndarray of shape (n, ...)
        Booleans, integers or floats in this machine's byte order; read-only.

    Raises
    ------
    UnreadableFileError
        If the file is truncated or foreign.
    DataError
        If it holds something else than numbers, or a single number.

    Warns
    -----
    NarrowsWarning
        "bytes_left_out" if the array is followed by other bytes, such as another array.
    """
    try:
        with path.open("rb") as file:
            # numpy takes files without the magic bytes for pickles.
            foreign = file.read(len(_MAGIC)) != _MAGIC
            size = file.seek(0, os.SEEK_END)
            values, end = None, size
            if not foreign and (mapped or size > lazy_rows.SMALL):
                values = np.load(path, mmap_mode="r", allow_pickle=False)
                end = values.offset + values.nbytes
            elif not foreign:
                values = _in_memory(path, file, size)
                end = file.tell()
    except NarrowsError:
        raise
    except _FAILURES as error:
        raise _explain(path, error) from error
    if values is None:
        raise _unreadable(path, "it does not begin as a .npy file does")
    values = _check(path, values)
    if end < size:
        warn(
            f"'{path}' has {size - end} bytes after its array of shape {values.shape}, which were "
            "left out: of several arrays in a file the first is read; save each in its own file",
            kind="bytes_left_out",
            path=str(path),
            bytes=size - end,
        )
    return values


def _in_memory(path: Path, file: IO[bytes], size: int) -> NDArray[Any]:
    """Read a small array."""
    file.seek(0)
    lib = np.lib.format
    version = lib.read_magic(file)
    read = lib.read_array_header_1_0 if version == (1, 0) else lib.read_array_header_2_0
    shape, _, dtype = read(file)
    if min(shape, default=0) < 0:
        raise _unreadable(path, f"it states the shape {shape}: its header is damaged")
    stated = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and stated > size - file.tell():
        raise _unreadable(
            path,
            f"it states {stated} bytes of values, and {size - file.tell()} are there: it is cut "
            "short, or its header is damaged",
        )
    file.seek(0)
    values: NDArray[Any] = np.load(file, allow_pickle=False)
    values.flags.writeable = False
    return values


def write_npy(path: Path, contents: Contents) -> None:
    """Write rows to a .npy file, lazy rows some at a time.

    Raises
    ------
    OSError
        If the file cannot be written, with the system's reason.
    """
    with path.open("wb") as file:
        _write(file, contents.values)


def write_npz(path: Path, contents: Contents) -> None:
    """Write rows as X, and their names, to an .npz file.

    Raises
    ------
    OSError
        See :func:`write_npy`.
    """
    names = contents.names
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("X.npy", "w", force_zip64=True) as file:
            _write(file, contents.values)
        if names is not None:
            width = max((len(name) for name in names), default=0) or 1
            texts = ComputedRows(
                np.arange(len(names)),
                # Blocks are ascending, so that names on a disk are read together.
                lambda rows: np.array(names[rows[0] : rows[-1] + 1], f"U{width}"),
                (),
                f"U{width}",
            )
            with archive.open("names.npy", "w", force_zip64=True) as file:
                _write(file, texts)


def _write(file: IO[bytes], values: NDArray[Any] | LazyRows) -> None:
    if not isinstance(values, LazyRows):
        # numpy loses the reason of a failure when it writes to a file directly.
        np.save(SimpleNamespace(write=file.write), values, allow_pickle=False)
        return
    facts = {
        "descr": np.lib.format.dtype_to_descr(values.dtype),
        "fortran_order": False,
        "shape": values.shape,
    }
    np.lib.format.write_array_header_1_0(file, facts)
    for block in in_blocks(values):
        file.write(np.ascontiguousarray(block, values.dtype).data)


def read_npz(path: Path, options: FileOptions = DEFAULTS) -> Contents:
    """Read an array from an archive, and the names of rows if it has them.

    Parameters
    ----------
    path : Path
        An .npz file.
    options : FileOptions, optional
        Which of its arrays.

    Returns
    -------
    Contents
        The array that was named, the only one, or the one called X, arr_0 or data; and as names of
        the rows what an array of text called "names" holds, if it has one entry for each row.

    Raises
    ------
    UnreadableFileError
        If the file is truncated or foreign.
    DataError
        If it is ambiguous which array is meant, it holds something else than numbers, or does not
        fit into memory.
    ParameterError
        If there is no array of the name in the options.

    Warns
    -----
    NarrowsWarning
        "array_guessed" if there are several arrays of numbers.
    """
    try:
        # Opened here, the file is closed even if numpy finds it damaged.
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("it is not the archive that such a file is")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            found = _headers(archive)
            chosen = _choose(path, found, options.array)
            _check_sizes(path, archive, {chosen, "names"} & {*found})
            values = archive[chosen]
            names = archive["names"] if "names" in found else np.empty(0)
    except NarrowsError:
        raise
    except _FAILURES as error:
        raise _explain(path, error) from error
    values = _check(path, values)
    if not is_text(names) or names.shape != values.shape[:1]:
        return Contents(values)
    return Contents(values, names=[str(name) for name in names])


class _Header(NamedTuple):
    """Shape and type of an array in an archive."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return " x ".join(map(str, self.shape)) or "a single value"


def _headers(archive: Any) -> dict[str, _Header]:
    """Read the headers of all arrays of an archive."""
    found = {}
    for key, entry in zip(archive.keys(), archive.zip.filelist, strict=True):
        with archive.zip.open(entry) as member:
            older = np.lib.format.read_magic(member) == (1, 0)
            lib = np.lib.format
            read = lib.read_array_header_1_0 if older else lib.read_array_header_2_0
            shape, _, dtype = read(member)
        found[key] = _Header(shape, dtype)
    return found


def _choose(path: Path, found: dict[str, _Header], array: str | None) -> str:
    if not found:
        raise DataError(
            f"'{path}' holds no arrays; save it again with one, or choose another", path=path
        )
    listing = listed((f"{key} ({header})" for key, header in found.items()), most=8)
    if array is not None:
        if array not in found:
            raise ParameterError(
                f"array={array!r}: '{path}' holds {listing}; name one", parameter="array"
            )
        return array
    rows = [key for key, one in found.items() if is_numeric(one.dtype) and one.shape]
    chosen = [*found] if len(found) == 1 else [key for key in _PREFERRED if key in found]
    if not chosen:
        raise DataError(
            f"'{path}' holds the arrays {listing}; say which one to use (--array NAME, "
            "in Python FileOptions(array=...)), or save it alone",
            path=path,
        )
    if len(rows) > 1:
        warn(
            f"'{path}' holds {listing}, of which {chosen[0]} was taken; --array NAME takes another",
            kind="array_guessed",
            array=chosen[0],
            arrays={key: list(header.shape) for key, header in found.items()},
        )
    return chosen[0]


def _check_sizes(path: Path, archive: Any, keys: set[str]) -> None:
    """Refuse arrays that do not fit into memory by their sizes in the archive."""
    sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.zip.filelist}
    check_fits(
        sum(sizes.get(key, 0) for key in keys),
        f"'{path}', unpacked,",
        "save the array as .npy, of which only what is used is read",
        DataError,
    )


def _check(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    if not is_numeric(values.dtype):
        raise DataError(
            f"'{path}' holds values of type {values.dtype}; only numbers are allowed (integers, "
            "floats, booleans): convert them",
            path=path,
        )
    if values.ndim == 0:
        raise DataError(
            f"'{path}' holds a single number; give an array with one row a sample", path=path
        )
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _explain(path: Path, error: Exception) -> DataError:
    if "object" in str(error).lower():
        return DataError(
            f"'{path}' holds Python objects, and loading them could run code from the file; save "
            "an array of numbers",
            path=path,
        )
    return _unreadable(path, " ".join(str(getattr(error, "strerror", None) or error).split()))


def _unreadable(path: Path, reason: str) -> UnreadableFileError:
    reason = what_it_is(path) or reason
    return UnreadableFileError(
        f"'{path}' is not a readable {path.suffix.lower()} file: {reason}; save it again or choose "
        "another",
        path=path,
        reason=reason,
    )


def is_idx(path: str | Path) -> bool:
    """Tell from its first bytes whether a file is an IDX file, compressed or not.

    Parameters
    ----------
    path : str or Path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from narrows.data.array_files import is_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    ...     is_idx(file)
    True
    """
    try:
        with _open_idx(Path(path)) as file:
            magic = file.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return _is_magic(magic)


def read_idx(path: str | Path) -> NDArray[Any]:
    """Read an IDX file, compressed by gzip or not.

    Parameters
    ----------
    path : str or Path
        The file; its name does not matter.

    Returns
    -------
    ndarray
        In the shape and the type of the file (signed or unsigned 8-bit integers, 16- and 32-bit
        integers, 32- and 64-bit floats), and this machine's byte order.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    UnreadableFileError
        If it is no IDX file, or holds fewer or more values than its header says.
    DataError
        If it does not fit into memory.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from narrows.data.array_files import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    ...     read_idx(file)
    array([7, 9], dtype=uint8)
    """
    path = Path(path)
    try:
        with _open_idx(path) as file:
            values = _read_values(file, path)
    except FileNotFoundError as error:
        raise MissingFileError(f"'{path}' does not exist; give an IDX file", path=path) from error
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable_idx(path, getattr(error, "strerror", None) or str(error)) from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _open_idx(path: Path) -> GzipFile | BufferedReader:
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    return GzipFile(path) if compressed else path.open("rb")


def _is_magic(magic: bytes) -> bool:
    return (
        len(magic) == 4
        and magic[:2] == b"\0\0"
        and magic[2] in _TYPES
        and 0 < magic[3] <= _MOST_AXES
    )


def _read_values(file: GzipFile | BufferedReader, path: Path) -> NDArray[Any]:
    magic = file.read(4)
    if not _is_magic(magic):
        raise _unreadable_idx(path, "it does not begin as an IDX file does")
    axes = file.read(4 * magic[3])
    if len(axes) < 4 * magic[3]:
        raise _unreadable_idx(path, "it ends within its header")
    shape = tuple(np.frombuffer(axes, ">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    promised = math.prod(shape) * dtype.itemsize
    shrunk = _MOST_GZIP_SHRINKS if isinstance(file, GzipFile) else 1
    if promised > path.stat().st_size * shrunk:
        raise _unreadable_idx(path, f"its header says {shape}, which is more than it holds")
    check_fits(
        promised, f"'{path}'", "save it as .npy, of which only what is used is read", DataError
    )
    content = np.empty(promised, np.uint8)
    if _fill(file, content.data) < promised:
        raise _unreadable_idx(path, f"its header says {shape}, which is more than it holds")
    if file.read(1):
        raise _unreadable_idx(path, f"its header says {shape}, which is less than it holds")
    return content.view(dtype).reshape(shape)


def _fill(file: GzipFile | BufferedReader, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; return the number of bytes."""
    done = 0
    while done < len(buffer):
        got = file.readinto(buffer[done:])
        if not got:
            break
        done += got
    return done


def _unreadable_idx(path: Path, reason: str) -> UnreadableFileError:
    reason = what_it_is(path) or reason
    return UnreadableFileError(
        f"'{path}' is not a readable IDX file: {reason}; get the file again or choose another",
        path=path,
        reason=reason,
    )
