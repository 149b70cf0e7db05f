"""Checksums of a library's files and of the values in them.

Lance and JSON read many a flipped bit as another value. ``checks-DIGEST.json``, which
``library.json`` names, lists the SHA-256 of every file that readers of the version need; DIGEST is
taken from its own SHA-256 and CRC-32. The CRC-32 that follows each SHA-256 locates a single flipped
bit. Neither tells which value is wrong; for that, ``table.lance/_checks/NAME.safetensors`` holds a
CRC-32 of each value of the data file NAME, by column and row.

The checksums of the files that a change has written are recorded before it is published; those of
older files are carried over. In an object store nothing is recorded: files that are copied there
keep the checksums that they have.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Self
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from narrows.containment import parse_json, read_regular
from narrows.errors import FormatError
from narrows.library.table import Table, write_file
from narrows.remote import Place, file_on_disk
from narrows.texts import is_text

FORMAT = "narrows-checks"
FOLDER = "_checks"
# In place of a checksum: for values that have none, and for nulls. No value has one of these.
_UNKNOWN, _NULL = 0, 1
# Pictures are checked by their SHA-256, which is a column of its own.
_HASHED = "picture"
_BLOCK = 2**20  # bytes that are hashed at a time
_MOST = 2**30  # bytes of the list
_FLIPPED = 2**26  # bytes of the largest file that is searched for a flipped bit
_LONGEST = 4096  # bytes of a value whose bits are flipped one by one
_SHA = 64  # hexadecimal digits of a SHA-256, before those of the CRC-32


def _crc_of(byte: int) -> int:
    """Return the CRC-32 register after one byte, without the usual inversions."""
    for _ in range(8):
        byte = byte >> 1 ^ (0xEDB88320 if byte & 1 else 0)
    return byte


# The difference that each byte makes; the byte by the difference's highest eight bits; the bit.
_TABLE = [_crc_of(byte) for byte in range(256)]
_BYTE = {entry >> 24: byte for byte, entry in enumerate(_TABLE)}
_BITS = {_TABLE[1 << bit]: bit for bit in range(8)}


@dataclass(frozen=True)
class FragmentFiles:
    """The files of a fragment of the table.

    Attributes
    ----------
    rows : int
        How many rows its data files hold, including removed ones.
    columns : dict of str to list of str
        The columns whose values each data file holds, by the file's path in the table.
    deletions : str or None
        The path of the list of removed rows.
    """

    rows: int
    columns: dict[str, list[str]]
    deletions: str | None

    @classmethod
    def of(cls, fragment: Any, names: Mapping[int, str]) -> Self:
        """Read it from Lance's description of a fragment."""
        columns = {
            f"data/{file.path}": [names[number] for number in file.fields if number in names]
            for file in fragment.data_files()
        }
        return cls(int(fragment.physical_rows), columns, fragment.deletion_file())

    @property
    def files(self) -> list[str]:
        """The paths of its files in the table."""
        return [*self.columns, *filter(None, [self.deletions])]


@dataclass(frozen=True)
class Checksums:
    """The checksums of one version of a library.

    Attributes
    ----------
    path : Path or Remote
        The library.
    table : str
        The name of the table's folder.
    version : int
        The version of the table.
    files : dict of str to str
        SHA-256 and CRC-32 of the contents of each file, by its path in the library.
    fragments : dict of int to FragmentFiles
        The files of each fragment of the table, by Lance's numbers.
    name : str
        The name of the file that lists these checksums.
    intact : bytes or None
        The intact contents of that file, if one bit of it is flipped.
    """

    path: Place
    table: str
    version: int
    files: dict[str, str] = field(default_factory=dict)
    fragments: dict[int, FragmentFiles] = field(default_factory=dict)
    name: str = ""
    intact: bytes | None = None

    @classmethod
    def read(cls, path: Place, name: str) -> Self:
        """Read and check the file of a name.

        Raises
        ------
        FormatError
            If it is missing, or damaged in more than a bit.
        """
        try:
            file = path / name
            contents = read_regular(file, _MOST) if isinstance(file, Path) else file.read_bytes()
            intact, checksum = None, int(name[-13:-5], 16)
            if name != _name_of(contents):
                intact = _put_back(contents, checksum, lambda put: name == _name_of(put))
            facts = _facts_of(intact or contents, name)
            files = {_inside(key): _digits(value) for key, value in facts["files"].items()}
            fragments = {}
            for key, (rows, columns, deletions) in facts["fragments"].items():
                named = {str(file): list(map(str, names)) for file, names in columns.items()}
                fragments[int(key)] = FragmentFiles(int(rows), named, deletions and str(deletions))
            table, version = _inside(facts["table"]), int(facts["version"])
            return cls(path, table, version, files, fragments, name, intact)
        except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
            reason = (
                f"the list of checksums '{path}/{name}' is missing or damaged: "
                f"{' '.join(str(error).split())[:150]}"
            )
            remedy = "make it anew (narrows verify --repair, Library.verify(repair=True))"
            raise FormatError(f"{reason}; {remedy}", path=path, reason=reason) from error

    def write(self) -> str:
        """Write the list in one step, and return its name."""
        fragments = {
            key: [part.rows, part.columns, part.deletions] for key, part in self.fragments.items()
        }
        facts = {
            "format": FORMAT,
            "table": self.table,
            "version": self.version,
            "files": self.files,
            "fragments": fragments,
        }
        contents = json.dumps(facts, separators=(",", ":")).encode()
        name = _name_of(contents)
        write_file(self.path / name, contents)
        return name

    @property
    def manifest(self) -> str:
        """The path of the version's list of the table's files."""
        return f"{self.table}/_versions/{manifest_name(self.path / self.table, self.version)}"

    def has_files_of(self, table: Table) -> bool:
        """Return whether a version of the table is made of the same files and numbers of rows."""
        return self.version == table.version and self.fragments == _fragments(table)

    def is_changed(self, name: str) -> bool:
        """Return whether a listed file differs from what was written, or is missing."""
        try:
            return name in self.files and self.files[name] != _digest(self.path / name)
        except OSError:
            return True

    def changed_beside_rows(self) -> list[str]:
        """List the files of the model and of checksums, and the manifest, that are changed."""
        rows = {f"{self.table}/{name}" for part in self.fragments.values() for name in part.files}
        return [name for name in self.files if name not in rows and self.is_changed(name)]

    def changed_of(self, fragment: Any) -> tuple[list[str], bool]:
        """List a fragment's changed data files; tell whether its list of removed rows changed."""
        stored = self.fragments.get(fragment.fragment_id)
        if stored is None:
            return [], False
        names = [name for name in stored.columns if self.is_changed(f"{self.table}/{name}")]
        deletions = stored.deletions
        return names, deletions is not None and self.is_changed(f"{self.table}/{deletions}")

    def unflipped(self, name: str) -> bytes | None:
        """Return a file's contents as they were written, if one bit has been flipped since."""
        if name not in self.files:
            return None
        try:
            with file_on_disk(self.path / name) as here:
                contents = here.read_bytes() if here.stat().st_size <= _FLIPPED else b""
        except OSError:
            return None
        checksum = int(self.files[name][_SHA:], 16)
        return _put_back(contents, checksum, lambda put: _digest_of(put) == self.files[name])

    def can_put_back(self, names: Iterable[str]) -> bool:
        """Return whether each of these files of the table has one flipped bit."""
        return all(self.unflipped(f"{self.table}/{name}") is not None for name in names)

    def put_back(self) -> bool:
        """Put back every flipped bit of a file, each file in one step; tell whether any was.

        The caller must hold the writers' lock.
        """
        done = self.intact is not None
        if self.intact is not None:
            write_file(self.path / self.name, self.intact)
        for name in self.files:
            contents = self.unflipped(name) if self.is_changed(name) else None
            if contents is not None:
                write_file(self.path / name, contents)
                done = True
        return done

    def value_checksums(self, fragment: Any) -> dict[str, NDArray[np.uint32]]:
        """Read the checksums of a fragment's values by column, including those of removed rows."""
        stored = self.fragments.get(fragment.fragment_id)
        if stored is None:
            return {}
        sums: dict[str, NDArray[np.uint32]] = {}
        for name, columns in stored.columns.items():
            file = _sums_file(self.path / self.table, name)
            try:
                with file_on_disk(file) as here:
                    values = load(here.read_bytes())
            except (OSError, SafetensorError, KeyError, ValueError):
                continue
            sums |= {
                column: values[column]
                for column in columns
                if column in values and values[column].shape == (stored.rows,)
            }
        return sums

    def refuse_changed_outdated(self, table: Table) -> None:
        """Refuse changed files that a later version no longer has; see :meth:`refuse_changed`."""
        left = {name for part in _fragments(table).values() for name in part.files}
        gone = {name for part in self.fragments.values() for name in part.files} - left
        self.refuse_changed(sorted(f"{self.table}/{name}" for name in gone))

    def refuse_changed(self, names: Iterable[str]) -> None:
        """Refuse changed files, before their values are written anew with new checksums.

        Raises
        ------
        FormatError
            If a file differs from what was written.
        """
        for name in names:
            if self.is_changed(name):
                raise self.damaged(f"'{self.path}/{name}'")

    def damaged(self, what: str) -> FormatError:
        """Make the error for something that differs from what was written."""
        return FormatError(
            f"{what} is damaged: it is not what was written (another checksum); nothing was "
            "changed; repair the library first (narrows verify --repair, "
            "Library.verify(repair=True))"
        )


def record(
    path: Path,
    model: str,
    table: Table,
    before: Checksums | None,
    updated: NDArray[np.int64] | None = None,
) -> Checksums:
    """Record the checksums of a new version, and return them.

    Parameters
    ----------
    path : Path
        The library.
    model : str
        The name of the model's folder.
    table : Table
        The version that is about to be published.
    before : Checksums or None
        The checksums of the published version, which are carried over; without them, all files
        are read.
    updated : ndarray of int64, optional
        Ids of rows that were given new values. In a column that was written anew, the values of all
        other rows must have kept their checksums.

    Raises
    ------
    FormatError
        If a list of removed rows, or a value of a row that was not updated, was damaged before it
        was written anew.
    OutputError
        If checksums cannot be written.
    """
    root = path / table.path.name
    if before is None or before.table != root.name:
        before = Checksums(path, root.name, 0)
    parts = {part.fragment_id: part for part in table.dataset.get_fragments()}
    fragments = _fragments(table)
    files: dict[str, str] = {}

    def keep(name: str) -> None:
        files[name] = before.files.get(name) or _digest(path / name)

    for number, stored in fragments.items():
        was = before.fragments.get(number)
        if was is not None and was.deletions not in (None, stored.deletions):
            before.refuse_changed([f"{root.name}/{was.deletions}"])
        for name, columns in stored.columns.items():
            keep(f"{root.name}/{name}")
            sums = _sums_file(root, name)
            if str(sums.relative_to(path)) not in before.files:
                values = _read_sums(parts[number], columns, updated, before if was else None)
                sums.parent.mkdir(exist_ok=True)
                write_file(sums, save(values))
            keep(str(sums.relative_to(path)))
        if stored.deletions is not None:
            keep(f"{root.name}/{stored.deletions}")
    keep(f"{root.name}/_versions/{manifest_name(root, table.version)}")
    for file in sorted((path / model).rglob("*")):
        if file.is_file():
            keep(str(file.relative_to(path)))
    made = Checksums(path, root.name, table.version, files, fragments)
    return replace(made, name=made.write())


def forget(table: Path) -> None:
    """Remove the checksums of data files that no longer exist."""
    for file in (table / FOLDER).glob("*"):
        if not (table / "data" / f"{file.stem}.lance").exists():
            file.unlink(missing_ok=True)


def manifest_name(table: Place, version: int) -> str:
    """Return the name of a version's manifest, in the naming scheme of the table."""
    name = f"{2**64 - 1 - version:020}.manifest"
    versions = table / "_versions"
    exists = (versions / name).exists() if isinstance(versions, Path) else versions.has(name)
    return name if exists else f"{version}.manifest"


def row_sums(column: Any) -> NDArray[np.uint32]:
    """Return the CRC-32 of each value of an Arrow column; 0 for types without checksums."""
    if column.null_count == len(column):
        return np.full(len(column), _NULL, np.uint32)
    values = as_bytes(column)
    if values is None:
        return np.full(len(column), _UNKNOWN, np.uint32)
    sums = np.fromiter((0 if value is None else crc32(value) for value in values), np.uint32)
    sums = np.maximum(sums, _NULL + 1)
    if column.null_count:
        sums[column.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return sums


def differ(recorded: NDArray[np.uint32], found: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Tell which checksums differ, where both are known."""
    differ: NDArray[np.bool_] = (recorded != found) & (recorded != _UNKNOWN) & (found != _UNKNOWN)
    return differ


def restored(
    value: bytes | None, checksum: int, candidates: Iterable[bytes | None], kind: Any
) -> Any:
    """Restore a damaged value by its checksum.

    The candidates are so few that a wrong one has the CRC-32 of the written value once in millions
    of cases.

    Parameters
    ----------
    value : bytes or None
        The damaged value; it is also tried with each of its bits flipped.
    checksum : int
        The CRC-32 of the value that was written.
    candidates : iterable of (bytes or None)
        Other values that may have been written.
    kind : pyarrow.DataType
        The type of the column.

    Returns
    -------
    pyarrow.Array or None
        An array of one value; None if no candidate has the checksum.
    """
    for candidate in chain(candidates, _one_bit_flipped(value)):
        if checksum == (_NULL if candidate is None else max(crc32(candidate), _NULL + 1)):
            array = _array(candidate, kind)
            if array is not None:
                return array
    return None


def _one_bit_flipped(value: bytes | None) -> Iterator[bytes]:
    if value is not None and len(value) <= _LONGEST:
        for place in range(len(value)):
            for bit in range(8):
                yield value[:place] + bytes([value[place] ^ (1 << bit)]) + value[place + 1 :]


def _array(value: bytes | None, kind: Any) -> Any:
    """Make an array of one value from its bytes; None if they are no value of the type."""
    if value is None:
        return pa.nulls(1, kind)
    try:
        if pa.types.is_boolean(kind):
            return pa.array([value != b"\0"], kind)
        if is_text(kind):
            return pa.array([value.decode()], kind)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return pa.array([value], kind)
    except UnicodeDecodeError:
        return None
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(value)])


def as_bytes(column: Any) -> list[bytes | None] | None:
    """Return the bytes of each value of an Arrow column, None for nulls; None for other types."""
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
        kind = column.type
    if is_text(kind):
        column = column.cast(pa.large_binary())
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values: list[bytes | None] = column.to_pylist()
        return values
    if pa.types.is_fixed_size_list(kind) and pa.types.is_primitive(kind.value_type):
        size = kind.list_size * kind.value_type.bit_width // 8
        inner = column.values.slice(column.offset * kind.list_size, len(column) * kind.list_size)
        if inner.null_count:
            return None
    elif pa.types.is_primitive(kind):
        inner, size = column, kind.bit_width // 8
    else:
        return None
    buffer = inner.buffers()[-1] if len(inner) else None
    if buffer is None:
        return [None] * len(column)
    start = inner.offset * inner.type.bit_width // 8
    raw: list[bytes | None] = np.frombuffer(buffer, f"V{size}", len(column), start).tolist()
    if column.null_count:
        for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)):
            raw[row] = None
    return raw


def _read_sums(
    fragment: Any,
    columns: list[str],
    updated: NDArray[np.int64] | None,
    before: Checksums | None,
) -> dict[str, NDArray[np.uint32]]:
    """Compute the checksums of some columns of a fragment.

    Raises
    ------
    FormatError
        If a row that was not updated has another value than before: a new checksum would hide the
        damage.
    """
    wanted = [name for name in columns if name != _HASHED]
    count = int(fragment.physical_rows)
    made = {name: np.full(count, _UNKNOWN, np.uint32) for name in wanted}
    was = before.value_checksums(fragment) if before is not None and updated is not None else {}
    scanner = fragment.scanner(
        columns=[*wanted, *({"id"} - set(wanted))], with_row_address=True, batch_readahead=1
    )
    for batch in scanner.to_batches():
        rows = np.asarray(batch.column("_rowaddr").to_numpy() & (2**32 - 1), np.int64)
        is_new = np.isin(batch.column("id").to_numpy(), [] if updated is None else updated)
        for name in wanted:
            sums = row_sums(batch.column(name))
            old = was[name][rows] if name in was else sums
            if before is not None and (differ(old, sums) & ~is_new).any():
                raise before.damaged(f"the column {name!r} of '{before.path}'")
            made[name][rows] = sums
    return made


def _fragments(table: Table) -> dict[int, FragmentFiles]:
    names = {field.id(): field.name() for field in table.dataset.lance_schema.fields()}
    return {
        part.fragment_id: FragmentFiles.of(part, names) for part in table.dataset.get_fragments()
    }


def _sums_file(table: Place, data_file: str) -> Any:
    stem = data_file.rpartition("/")[2].removesuffix(".lance")
    return table / FOLDER / f"{stem}.safetensors"


def _facts_of(contents: bytes, name: str) -> dict[str, Any]:
    if name != _name_of(contents):
        raise ValueError("its contents are not those that were written (another SHA-256)")
    facts: dict[str, Any] = parse_json(contents)
    if facts["format"] != FORMAT:
        raise ValueError("it holds something else")
    return facts


def _inside(name: str) -> str:
    """Refuse the name of a file that is not in the library."""
    parts = PurePosixPath(name).parts
    if ".." in parts or PurePosixPath(name).is_absolute():
        raise ValueError(f"it names {name[:100]!r}, which is outside the library")
    return name


def _digits(digest: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{72}", digest):
        raise ValueError(f"it has {digest[:100]!r} in place of a checksum")
    return digest


def _name_of(contents: bytes) -> str:
    digest = _digest_of(contents)
    return f"checks-{digest[:24]}{digest[_SHA:]}.json"


def _digest(place: Place) -> str:
    digest, checksum = hashlib.sha256(), 0
    with file_on_disk(place) as file, file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
            checksum = crc32(block, checksum)
    return f"{digest.hexdigest()}{checksum:08x}"


def _digest_of(contents: bytes) -> str:
    return f"{hashlib.sha256(contents).hexdigest()}{crc32(contents):08x}"


def _put_back(contents: bytes, checksum: int, is_right: Callable[[bytes], bool]) -> bytes | None:
    """Return a file's contents with the flipped bit put back; None if no single bit is flipped."""
    flipped = flipped_bit(contents, checksum)
    if flipped is None:
        return None
    place, bit = flipped
    put = bytearray(contents)
    put[place] ^= 1 << bit
    return bytes(put) if is_right(bytes(put)) else None


def flipped_bit(contents: bytes, checksum: int) -> tuple[int, int] | None:
    """Find the bit to flip so that contents have a given checksum.

    The CRC-32 is linear: a flipped bit changes it by a difference (XOR) that depends only on the
    bit's distance from the end. The difference of two checksums therefore identifies the bit, found
    in one step per byte; in contents of less than 512 MiB, no two bits have the same difference.

    Parameters
    ----------
    contents : bytes
        With a flipped bit.
    checksum : int
        The CRC-32 of the intact contents.

    Returns
    -------
    byte, bit : int
        The position of the byte, and of the bit in it, from 0 (lowest) to 7. None if no single bit
        explains the difference.

    Examples
    --------
    >>> from zlib import crc32
    >>> flipped_bit(b"Narrows", crc32(b"narrows"))
    (0, 5)
    """
    difference = crc32(contents) ^ checksum
    for place in range(len(contents) - 1, -1, -1):
        if difference in _BITS:
            return place, _BITS[difference]
        byte = _BYTE[difference >> 24]
        difference = (difference ^ _TABLE[byte]) << 8 & 0xFFFFFFFF | byte
    return None
