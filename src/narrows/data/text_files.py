"""Text files of any encoding and compression: their first lines, and their contents as UTF-8."""

import codecs
import io
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from narrows.containment import check_fits
from narrows.data.folders import what_it_is
from narrows.errors import DataError, UnreadableFileError
from narrows.texts import is_utf8

LONGEST_ROW = 1 << 25
"""The most bytes of a row of a text table."""

_HEAD = 1 << 18  # bytes that are examined first
_PIECE = 1 << 20  # bytes that are decoded at a time
_LINES = 4  # lines that are examined at least
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# First bytes of files that are no text tables, whatever their suffix.
_FOREIGN = (
    (b"PK\x03\x04", "it is a zip archive, as Excel's .xlsx are; save the table as CSV, or unpack"),
    (b"\xd0\xcf\x11\xe0", "it is an old Excel file; save the table as CSV"),
    (b"PAR1", "it is a Parquet file; let its name end in .parquet"),
    (b"\x93NUMPY", "it is a .npy file; let its name end so"),
    (b"\xfd7zXZ", "it is compressed by xz; unpack it, or compress it by gzip"),
    (b"\x89HDF", "it is an HDF5 file; save the table as CSV, or the array as .npy"),
)


@dataclass(frozen=True)
class TextFile:
    """What the first lines of a text file show.

    Attributes
    ----------
    path : Path
    compression : str or None
        Arrow's name of the compression.
    encoding : str
        Python's name of the encoding.
    found : bool
        Whether an encoding other than UTF-8 was detected, which is then reported.
    doubt : str or None
        Why the encoding is a guess, if it is one.
    head : str
        The first lines.
    whole : bool
        Whether these are all lines.
    """

    path: Path
    compression: str | None
    encoding: str
    found: bool
    doubt: str | None
    head: str
    whole: bool

    @property
    def is_utf8(self) -> bool:
        """Whether Arrow reads the file without decoding."""
        return self.encoding in ("utf-8", "utf-8-sig")

    def open(self, change: Callable[[Iterator[str]], Iterator[str]] | None = None) -> Any:
        """Open the file for Arrow as UTF-8.

        Parameters
        ----------
        change : callable, optional
            Takes an iterator of lines, and returns one of changed lines.
        """
        source = _open(self.path, self.compression)
        if self.compression is not None:
            source = _Counted(source, self.path)
        elif self.is_utf8 and change is None:
            return source
        return source if self.is_utf8 and change is None else _Changed(source, self, change)


def open_text(path: Path, encoding: str | None) -> TextFile:
    """Examine the first lines of a file.

    Parameters
    ----------
    path : Path
    encoding : str or None
        Encoding of the file; None to detect it.

    Raises
    ------
    UnreadableFileError
        If it is no text in that encoding, the encoding cannot be detected, or a line is too long.
    OSError
        If the file cannot be read, with the system's reason.
    """
    with path.open("rb") as file:
        start = file.read(8)
    compression = next((name for sign, name in _COMPRESSED.items() if start.startswith(sign)), None)
    data, whole = _beginning(path, compression)
    if data and (instead := what_it_is(data)) is not None:
        raise unreadable(path, instead)
    for sign, what in _FOREIGN:
        if data.startswith(sign):
            raise unreadable(path, what)
    found, doubt = (encoding, None) if encoding else _encoding(path, data)
    if found.lower().replace("_", "-") in ("utf-8", "utf8"):
        found = "utf-8-sig"  # skips the byte order mark
    try:
        head = codecs.getincrementaldecoder(found)().decode(data, whole)
    except UnicodeError as error:
        remedy = "say its encoding" if encoding is None else "give another encoding"
        raise unreadable(path, f"it is no text in {found}", f"{remedy} (--encoding)") from error
    if "\0" in head:
        remedy = "if it is one, say its encoding (--encoding)"
        if encoding is not None:
            remedy = f"remove them from the file, unless its encoding is another than {encoding}"
        raise unreadable(path, "it holds NUL bytes, as no text does", remedy)
    if not whole:
        head = head[: max(head.rfind("\n"), head.rfind("\r")) + 1]
    is_special = encoding is None and not found.startswith("utf-8")
    return TextFile(path, compression, found, is_special, doubt, head, whole)


def unreadable(path: Path, reason: str, remedy: str = "") -> UnreadableFileError:
    """Make the error for an unreadable text table."""
    return UnreadableFileError(
        f"'{path}' is not a readable text table: {reason}{'; ' if remedy else ''}{remedy}",
        path=path,
        reason=reason,
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the system and of Arrow into one that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        reason = " ".join(reason.split())[:200]
        remedy = "check its encoding (--encoding), " if isinstance(error, UnicodeError) else ""
        raise unreadable(path, reason, f"{remedy}repair it or choose another") from error


def _open(path: Path, compression: str | None) -> Any:
    name = str(path)
    # Arrow opens no file whose name is not UTF-8.
    file = pa.OSFile(name) if is_utf8(name) else pa.PythonFile(path.open("rb"), mode="r")
    return pa.CompressedInputStream(file, compression) if compression else file


def _beginning(path: Path, compression: str | None) -> tuple[bytes, bool]:
    """Read the first lines, and tell whether these are all."""
    with _open(path, compression) as source:
        data = source.read(_HEAD)
        while data.count(b"\n") < _LINES and data.count(b"\r") < _LINES:
            if len(data) > _LINES * LONGEST_ROW:
                raise unreadable(
                    path,
                    f"its first line has more than {LONGEST_ROW} bytes",
                    "save the table as .npy",
                )
            more = source.read(max(_HEAD, len(data)))
            if not more:
                return data, True
            data += more
        more = source.read(1)
    return data + more, not more


def _encoding(path: Path, data: bytes) -> tuple[str, str | None]:
    """Detect the encoding of a text, and say why it is a guess, if it is one."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name, None
    some = data[:4096]
    if b"\0" in some:
        # In UTF-16, every other byte of ASCII text is zero.
        for name, place in (("utf-16-le", 1), ("utf-16-be", 0)) if len(some) > 6 else ():
            empty = some[place::2].count(0)
            if empty == some.count(0) and empty > 0.9 * (len(some) // 2):
                return name, None
        return "utf-8", None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02X} in line {data[: error.start].count(10) + 1}"
        with_what = "say its encoding, such as cp1252 (--encoding, FileOptions(encoding=...))"
        try:
            codecs.getincrementaldecoder("cp1252")().decode(data)
        except UnicodeDecodeError:
            raise unreadable(path, f"it is not in UTF-8 ({byte})", with_what) from error
        return "cp1252", f"it is not in UTF-8 ({byte})"
    return "utf-8", None


class _Filter(io.RawIOBase):
    """A file derived from another one, with which it is closed."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._source.close()
        super().close()

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end; all if ``size`` is negative or None."""
        return self.readall() if size is None or size < 0 else self._next(size)

    @abstractmethod
    def _next(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""


class _Counted(_Filter):
    """The unpacked bytes of a file, refused once they exceed the free memory."""

    def __init__(self, source: Any, path: Path) -> None:
        super().__init__(source)
        self._path = path
        self._done, self._checked = 0, 1 << 26

    def _next(self, size: int) -> bytes:
        data: bytes = self._source.read(size)
        self._done += len(data)
        if self._done > self._checked:
            self._checked = 2 * self._done
            check_fits(
                self._done, f"'{self._path}', unpacked,", "save the table as .npy", DataError
            )
        return data


class _Changed(_Filter):
    """A text file as UTF-8, with changed lines."""

    def __init__(
        self,
        source: Any,
        file: TextFile,
        change: Callable[[Iterator[str]], Iterator[str]] | None,
    ) -> None:
        super().__init__(source)
        self._pieces = self._decoded(source, file)
        if change is not None:
            self._pieces = change(_lines(self._pieces, file.path))
        self._rest = b""

    def _next(self, size: int) -> bytes:
        found = [self._rest]
        length = len(self._rest)
        while length < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            found.append(piece.encode())
            length += len(found[-1])
        data = b"".join(found)
        self._rest = data[size:]
        return data[:size]

    @staticmethod
    def _decoded(source: Any, file: TextFile) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(file.encoding)()
        while data := source.read(_PIECE):
            yield decoder.decode(data)
        yield decoder.decode(b"", final=True)


def _lines(pieces: Iterator[str], path: Path) -> Iterator[str]:
    """Split text into lines with their ends."""
    rest = ""
    for piece in pieces:
        # A carriage return at the end may be half of a line break.
        *lines, rest = io.StringIO(rest + piece, newline="").readlines() or [""]
        yield from lines
        if len(rest) > LONGEST_ROW:
            raise unreadable(path, f"it has a line of more than {LONGEST_ROW} characters")
    if rest:
        yield from io.StringIO(rest, newline="").readlines()
