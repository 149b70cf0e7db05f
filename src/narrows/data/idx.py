"""IDX files, the format of MNIST: a short header and big-endian values, often compressed by gzip.

The header has two zero bytes, the code of the values' type, the number of axes, and their lengths
as 32-bit integers; see "The MNIST database of handwritten digits" by LeCun, Cortes and Burges.
"""

import math
import zlib
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.contents import what_it_is
from narrows.data.memory import check_fits
from narrows.errors import DataError, MissingFileError, UnreadableFileError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 32  # numpy's limit
_GZIP = b"\x1f\x8b"
# Deflate cannot shrink further, so that no header makes us ask for more memory than is due.
_MOST_GZIP_SHRINKS = 1032


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
    >>> from narrows.data.idx import is_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    ...     is_idx(file)
    True
    """
    try:
        with _open(Path(path)) as file:
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
        Of the shape that the file says and its type (8-bit integers with or without sign, 16- and
        32-bit integers, 32- and 64-bit floats), in this machine's byte order.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    UnreadableFileError
        If it is no IDX file, or holds less or more than its header says.
    DataError
        If it is larger than the memory.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from narrows.data.idx import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    ...     read_idx(file)
    array([7, 9], dtype=uint8)
    """
    path = Path(path)
    try:
        with _open(path) as file:
            values = _read(file, path)
    except FileNotFoundError as error:
        raise MissingFileError(f"'{path}' does not exist; give an IDX file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _open(path: Path) -> GzipFile | BufferedReader:
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


def _read(file: GzipFile | BufferedReader, path: Path) -> NDArray[Any]:
    magic = file.read(4)
    if not _is_magic(magic):
        raise _unreadable(path, "it does not begin as an IDX file does")
    axes = file.read(4 * magic[3])
    if len(axes) < 4 * magic[3]:
        raise _unreadable(path, "it ends within its header")
    shape = tuple(np.frombuffer(axes, ">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    promised = math.prod(shape) * dtype.itemsize
    shrunk = _MOST_GZIP_SHRINKS if isinstance(file, GzipFile) else 1
    if promised > path.stat().st_size * shrunk:
        raise _unreadable(path, f"its header says {shape}, which is more than it holds")
    check_fits(
        promised, f"'{path}'", "save it as .npy, of which only what is used is read", DataError
    )
    content = np.empty(promised, np.uint8)
    if _fill(file, content.data) < promised:
        raise _unreadable(path, f"its header says {shape}, which is more than it holds")
    if file.read(1):
        raise _unreadable(path, f"its header says {shape}, which is less than it holds")
    return content.view(dtype).reshape(shape)


def _fill(file: GzipFile | BufferedReader, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends, and tell how many bytes that were."""
    done = 0
    while done < len(buffer):
        got = file.readinto(buffer[done:])
        if not got:
            break
        done += got
    return done


def _unreadable(path: Path, reason: str) -> UnreadableFileError:
    reason = what_it_is(path) or reason
    return UnreadableFileError(
        f"'{path}' is not a readable IDX file: {reason}; get the file again or choose another"
    )
