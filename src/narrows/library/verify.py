"""Verification of a library row by row, and its repaired rows for another table.

Lance reads a data file as a whole or raises an error. After an error, each column is read alone and
halved until the damaged rows are isolated, so that a damaged page costs only its own rows. Another
file lists which rows were removed; where that list is lost, all rows are read. The values are
compared with the checksums that were recorded when they were written.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from narrows.data.decoding import Progress, preview
from narrows.data.image_codec import DefectError, quietly
from narrows.errors import DataError, FormatError, NarrowsError
from narrows.library.checksums import Checksums, as_bytes, differ, restored, row_sums
from narrows.library.conditions import user_fields
from narrows.library.pictures import StoredPictures
from narrows.library.table import Table
from narrows.models import CodeEncoder
from narrows.remote import FAILURES, panics_as_failures

# A row is lost without these columns; a code is computed again, and a path becomes the id.
_NEEDED = {"id", "hash", "added"}
_MADE = {"code", "thumbnail"}
# The largest deviation of a stored code from the model's, relative to the code's largest number:
# rounding in single precision differs between batch sizes and between processors.
_TOLERANCE = 1e-4
_CODE = "its code is not what the model gives"
_OTHER_CODE = "its code is not what was written (another checksum)"
_ROWS = 64  # rows in memory at a time
_PROBES = 32  # rows that are tried before a column of a file is counted as lost
# Codes and thumbnails are computed again from the picture, which is too long to be restored.
_NOT_RESTORED = {"code", "thumbnail", "picture"}
Repair = Literal["remove", "correct", "keep"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row.

    Attributes
    ----------
    id : int or None
        The picture's id; None if it cannot be read.
    path : str or None
        The picture's path as its matches have it; None if it cannot be read.
    what : str
        A description of the problem.
    repair : {"remove", "correct", "keep"}
        What repairing does: it removes what cannot be read, corrects what can be made again, and
        keeps a picture that is unharmed, but cannot be decoded by this installation.
    """

    id: int | None
    path: str | None
    what: str
    repair: Repair


@dataclass(frozen=True)
class Verification:
    """What :meth:`narrows.Library.verify` found.

    Attributes
    ----------
    rows : int
        How many rows were verified.
    problems : list of Problem
        The problems, in the order in which rows are stored.
    repaired : bool
        Whether something was repaired.
    checked : bool
        Whether every value was compared with a checksum. Libraries that an older version of Narrows
        wrote last have none until they are changed, repaired or compacted, nor have those made in
        an object store; then only codes, thumbnails and pictures are certain to be right.
    """

    rows: int
    problems: list[Problem]
    repaired: bool = False
    checked: bool = True

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return not any(not self.repaired or p.repair == "keep" for p in self.problems)


class _Defect(NamedTuple):
    """A problem of a row, without its id and path."""

    what: str
    repair: Repair = "correct"


@dataclass(frozen=True)
class _Chunk:
    """Some rows that are stored one after another.

    Attributes
    ----------
    start : int
        The position of the first row in the whole table.
    columns : dict of str to pyarrow.Array
        Every column of the table, null where it cannot be read.
    unreadable : dict of int to list of str
        The columns that cannot be read, by row, counted from the first of these.
    damage : str
        What else is wrong with the file that the rows are in.
    revived : bool
        Whether removed rows may be among them.
    wrong : dict of int to dict of str to int
        By row, the columns whose value differs from what was written, each with the checksum of the
        written value; of pictures, 0.
    flipped : bool
        Whether all damage consists of flipped bits that can be put back.
    """

    start: int
    columns: dict[str, Any]
    unreadable: dict[int, list[str]]
    damage: str = ""
    revived: bool = False
    wrong: dict[int, dict[str, int]] = field(default_factory=dict)
    flipped: bool = False

    def __len__(self) -> int:
        return len(self.columns["id"])

    def is_wrong(self, row: int, column: str) -> bool:
        """Return whether a value is not the one that was written."""
        return column in self.wrong.get(row, {})


@dataclass
class RowCheck:
    """A check of all rows of a table, one by one, which can also copy them repaired.

    Attributes
    ----------
    table : Table
        The table.
    encoder : CodeEncoder
        Computes the codes.
    next_id : int
        Valid ids are lower; it is raised by each new id.
    progress : callable, or None
        Called with the number of rows done and the number of all.
    checks : Checksums, or None
        The recorded checksums, if there are any.
    reencoding : bool
        Whether the rows get codes of another model: stored codes are then not verified, and any
        other damage is raised as an error.
    problems : list of Problem
        The problems of the rows verified so far.
    """

    table: Table
    encoder: CodeEncoder
    next_id: int
    progress: Progress | None = None
    checks: Checksums | None = None
    reencoding: bool = False
    problems: list[Problem] = field(default_factory=list)
    _ids_met: set[int] = field(default_factory=set)
    _count: int = 0

    def __post_init__(self) -> None:
        self._pictures = StoredPictures(self.table, self.encoder, None)

    def verify(self) -> Verification:
        """Verify all of them.

        Raises
        ------
        FormatError
            If the version has been removed meanwhile, or its manifest names other data files.
        """
        self.problems += self._problems_beside_rows()
        for _ in self._repaired(skip_flipped=True):
            pass
        if self.problems:
            self.table.check_present()
        return Verification(self._count, self.problems, checked=self.checks is not None)

    def fill(self, table: Table) -> Table:
        """Copy the repaired rows into an empty table for codes of the encoder.

        Raises
        ------
        FormatError, DataError
            With ``reencoding``, if a row is damaged or a picture does not fit the encoder.
        OutputError
            If they cannot be written.
        """
        table.folders = self.table.folders
        table = table.extend(user_fields(self.table.dataset.schema))
        schema = table.dataset.schema
        return table.append_once(
            pa.record_batch([columns[name] for name in schema.names], schema=schema)
            for columns in self._repaired(skip_flipped=self.reencoding)
        )

    def _repaired(self, *, skip_flipped: bool) -> Iterator[dict[str, Any]]:
        """Yield the columns of the rows that can be kept, repaired.

        Parameters
        ----------
        skip_flipped : bool
            Whether rows that flipped bits have damaged are listed as problems and skipped: putting
            the bits back makes them what they were.
        """
        end = self.next_id
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for chunk in _read_chunks(self.table, self.checks):
                self._count = chunk.start + len(chunk)
                if chunk.flipped and skip_flipped:
                    self._report(chunk, [_flipped(chunk, row) for row in range(len(chunk))])
                    continue
                yield from self._repaired_chunk(chunk, threads, end)
                if self.progress is not None:
                    self.progress(self._count, max(self._count, len(self.table)))

    def _repaired_chunk(
        self, chunk: _Chunk, threads: ThreadPoolExecutor, end: int
    ) -> Iterator[dict[str, Any]]:
        """Yield the repaired columns of a chunk, unless all its rows are lost."""
        columns, restored = _restore(chunk)
        chunk = replace(chunk, columns=columns)
        with quietly():
            stored = (columns[name].to_pylist() for name in ("picture", "reference", "hash"))
            loaded = list(threads.map(self._load, *stored))
            for row in _spoiled(chunk, threads):
                chunk.unreadable.setdefault(row, []).append("thumbnail")
        defects = [self._defects(chunk, *pair) for pair in enumerate(loaded)]
        lost = [any(defect.repair == "remove" for defect in of_row) for of_row in defects]
        for row, of_row in restored.items():
            if not lost[row]:
                defects[row] += of_row
        kept = [row for row in range(len(chunk)) if not lost[row]]
        if chunk.revived:
            kept = [row for row in kept if not self._added_again(chunk, row)]
        columns = {
            name: column.take(pa.array(kept, pa.int64())) for name, column in columns.items()
        }
        of_kept = [defects[row] for row in kept]
        wrong_codes = {n for n, row in enumerate(kept) if chunk.is_wrong(row, "code")}
        pictures = [loaded[row] for row in kept]
        columns["code"] = self._codes(columns, pictures, of_kept, wrong_codes)
        columns["id"] = self._ids(columns, of_kept, end)
        columns["path"] = pc.fill_null(columns["path"], columns["id"].cast(pa.string()))
        columns["thumbnail"] = self._thumbnails(
            columns,
            [
                "thumbnail" in chunk.unreadable.get(row, []) or chunk.is_wrong(row, "thumbnail")
                for row in kept
            ],
        )
        self._report(chunk, defects)
        if kept:
            yield columns

    def _problems_beside_rows(self) -> list[Problem]:
        """Verify the files of the model and of checksums, and the manifest."""
        if self.checks is None:
            return []
        problems = []
        if self.checks.intact is not None:
            what = f"'{self.checks.name}' has a flipped bit, which repairing puts back"
            problems.append(Problem(None, None, what, "correct"))
        for name in self.checks.changed_beside_rows():
            if name == self.checks.manifest and not self.checks.has_files_of(self.table):
                self.table.check_present()
                raise FormatError(
                    f"'{self.checks.path}/{name}' is damaged: it names other files of rows than "
                    "were written; restore it from a copy, or build the library again"
                )
            what = f"'{name}' is not what was written (another SHA-256)"
            if self.checks.unflipped(name) is not None:
                what = f"'{name}' has a flipped bit, which repairing puts back"
            elif not name.startswith(f"{self.checks.table}/"):
                what += "; the model's weights and settings are right, by its fingerprint"
            problems.append(Problem(None, None, what, "correct"))
        return problems

    def _added_again(self, chunk: _Chunk, row: int) -> bool:
        """Return whether a row's picture exists under a later id, so that the row was removed."""
        number = chunk.columns["id"][row].as_py()
        latest = self._latest.get(chunk.columns["hash"][row].as_py(), -1)
        return number is not None and latest > number

    @cached_property
    def _latest(self) -> dict[str, int]:
        """The highest id of each picture, by its hash."""
        latest: dict[str, int] = {}
        for chunk in _read_chunks(self.table, self.checks):
            pairs = (chunk.columns[name].to_pylist() for name in ("hash", "id"))
            for digest, number in zip(*pairs, strict=True):
                if digest is not None and number is not None:
                    latest[digest] = max(number, latest.get(digest, number))
        return latest

    def _load(
        self, picture: bytes | None, reference: str | None, digest: str | None
    ) -> NDArray[Any] | _Defect:
        """Decode a picture as stored or referred to, or say what is wrong with it."""
        if picture is None and reference is not None and digest is not None:
            try:
                picture = self._pictures.fetch(reference, digest)
            except NarrowsError as error:
                # The disk that it lies on may come back.
                return _Defect(f"its file {error}", "keep")
        if picture is None or digest is None or sha256(picture).hexdigest() != digest:
            return _Defect("its picture is not the one that was added (another SHA-256)", "remove")
        try:
            return self._pictures.decode(picture)
        except ValueError as error:
            return _Defect(f"its picture is unharmed, and cannot be decoded: {error}", "keep")

    def _defects(self, chunk: _Chunk, row: int, loaded: NDArray[Any] | _Defect) -> list[_Defect]:
        """List what is wrong with a row, without its code and its id."""
        missing = chunk.unreadable.get(row, [])
        what = f"its {' and its '.join(missing)} cannot be read"
        held = any(chunk.columns[name][row].is_valid for name in ("picture", "reference"))
        if set(missing) & _NEEDED or (missing and not held):
            return [_Defect(what, "remove")]
        defects = [loaded] if isinstance(loaded, _Defect) else []
        if missing and not (self.reencoding and set(missing) <= _MADE):
            defects.append(_Defect(what))
        if chunk.is_wrong(row, "thumbnail") and not self.reencoding:
            defects.append(_Defect("its thumbnail is not what was written"))
        return defects

    def _codes(
        self,
        columns: dict[str, Any],
        loaded: list[NDArray[Any] | _Defect],
        defects: list[list[_Defect]],
        wrong: set[int],
    ) -> Any:
        """Encode the pictures; where that is impossible, the code stays as it is.

        Parameters
        ----------
        columns : dict of str to pyarrow.Array
            The rows.
        loaded : list of ndarray or _Defect
            Their pictures.
        defects : list of list of _Defect
            What is wrong with each row; defects of its code are added.
        wrong : set of int
            The rows whose code differs from what was written.
        """
        width = self.encoder.n_components
        rows = [row for row, picture in enumerate(loaded) if not isinstance(picture, _Defect)]
        codes = np.full((len(loaded), width), np.nan, np.float32)
        if not self.reencoding:
            unreadable = [np.nan] * width
            stored = [unreadable if c is None else c for c in columns["code"].to_pylist()]
            codes = np.asarray(stored, np.float32).reshape(-1, width)
        if rows:
            made = self.encoder.transform(np.stack([loaded[row] for row in rows]))
            if not self.reencoding:
                for place in np.flatnonzero(_differ(codes[rows], made)):
                    if not defects[rows[place]]:
                        defects[rows[place]].append(_Defect(_CODE))
            codes[rows] = made
        for row in wrong if not self.reencoding else ():
            if isinstance(loaded[row], _Defect):
                defects[row].append(_Defect(f"{_OTHER_CODE}, and cannot be made again", "keep"))
            elif not any(defect.what == _CODE for defect in defects[row]):
                defects[row].append(_Defect(_OTHER_CODE))
        return pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), width)

    def _thumbnails(self, columns: dict[str, Any], lost: list[bool]) -> Any:
        """Make lost thumbnails again, where the picture can be read."""
        if not any(lost):
            return columns["thumbnail"]
        made = columns["thumbnail"].to_pylist()
        for row in np.flatnonzero(lost).tolist():
            picture, reference, digest = (
                columns[name][row].as_py() for name in ("picture", "reference", "hash")
            )
            made[row] = None
            # A missing or undecodable picture is reported as a defect of its own.
            with suppress(NarrowsError, ValueError, DefectError), quietly():
                contents = picture or self._pictures.fetch(reference, digest)
                made[row] = self._pictures.make_thumbnail(contents, always=picture is None)
        return pa.array(made, columns["thumbnail"].type)

    def _ids(self, columns: dict[str, Any], defects: list[list[_Defect]], end: int) -> Any:
        """Give new ids to rows whose id is missing, was never given or belongs to another row."""
        ids = columns["id"].to_pylist()
        for row, number in enumerate(ids):
            if number is not None and 0 <= number < end and number not in self._ids_met:
                self._ids_met.add(number)
                continue
            if number is not None:  # a missing one is reported already
                what = "is another picture's too" if 0 <= number < end else "was never given"
                defects[row].append(_Defect(f"its id {what}"))
            ids[row] = self.next_id
            self.next_id += 1
        return pa.array(ids, pa.int64())

    def _report(self, chunk: _Chunk, defects: list[list[_Defect]]) -> None:
        """Add the problems of a chunk; with ``reencoding``, raise the first one."""
        ids, paths = (chunk.columns[name].to_pylist() for name in ("id", "path"))
        for row, of_row in enumerate(defects):
            place = "" if ids[row] is not None else f"row {chunk.start + row} of the table: "
            for what, repair in of_row:
                self.problems.append(Problem(ids[row], paths[row], place + what, repair))
        if chunk.damage:
            self.problems.append(Problem(None, None, chunk.damage, "correct"))
        if self.reencoding and self.problems:
            first = self.problems[0]
            name = "a row" if first.id is None else f"picture {first.id} ('{first.path}')"
            if first.repair == "keep":
                raise DataError(
                    f"{name} of '{self.table.path.parent}' cannot be used with this model: "
                    f"{first.what}; nothing was changed; give another model, or remove it first"
                )
            raise FormatError(
                f"{name} of '{self.table.path.parent}' is damaged: {first.what}; nothing was "
                "changed; repair the library first (narrows verify --repair)"
            )


def _flipped(chunk: _Chunk, row: int) -> list[_Defect]:
    """Name the columns of a row that are damaged by flipped bits, which can be put back."""
    names = sorted({*chunk.wrong.get(row, {}), *chunk.unreadable.get(row, [])})
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    what = f"its {' and its '.join(names)} {verb} not what was written"
    return [_Defect(f"{what}: a flipped bit, which repairing puts back")]


def _spoiled(chunk: _Chunk, threads: ThreadPoolExecutor) -> list[int]:
    """List the rows whose thumbnail can be read, but not decoded."""

    def is_spoiled(thumbnail: bytes | None) -> bool:
        try:
            return thumbnail is not None and not preview(thumbnail).size
        except DefectError:
            return True

    spoiled = threads.map(is_spoiled, chunk.columns["thumbnail"].to_pylist())
    return [row for row, is_one in enumerate(spoiled) if is_one]


def _differ(stored: NDArray[np.float32], made: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which codes, (n, K), differ by more than rounding; NaN differs."""
    far = np.abs(stored.astype(np.float64) - made).max(axis=1)
    near: NDArray[np.bool_] = far <= _TOLERANCE * np.abs(made).max(axis=1)
    return ~near


def _read_chunks(table: Table, checks: Checksums | None) -> Iterator[_Chunk]:
    """Read all rows of a table as they are stored, some at a time.

    Parameters
    ----------
    table : Table
        The table.
    checks : Checksums or None
        The recorded checksums; without them, values are taken as they are read.
    """
    start = 0
    schema = table.dataset.schema
    for fragment in table.dataset.get_fragments():
        changed, lost = checks.changed_of(fragment) if checks is not None else ([], False)
        sums = checks.value_checksums(fragment) if checks is not None and changed else None
        positions = None if lost else _positions(fragment)
        if positions is not None:
            flipped = checks is not None and bool(changed) and checks.can_put_back(changed)
            for chunk in _compared(fragment, schema, start, positions, sums):
                yield replace(chunk, flipped=flipped)
                start += len(chunk)
            continue
        removed = None
        if checks is not None:
            removed = checks.unflipped(f"{table.path.name}/{fragment.deletion_file()}")
        damage = (
            f"the file that says which {fragment.num_deletions} of rows {start} to "
            f"{start + fragment.physical_rows - 1} of the table were removed "
        )
        damage += (
            "is lost; those come back, but for pictures that were added again"
            if removed is None
            else "has a flipped bit, and what it was is known"
        )
        with _separated(table, fragment, removed) as whole:
            positions = _positions(whole)
            for chunk in _compared(whole, schema, start, positions, sums):
                both = "; ".join(filter(None, (damage, chunk.damage)))
                yield replace(chunk, revived=removed is None, damage=both)
                start, damage = start + len(chunk), ""


def _positions(fragment: Any) -> NDArray[np.int64] | None:
    """Return the positions of a fragment's rows; None if the list of the removed ones is lost."""
    if fragment.deletion_file() is None:
        return np.arange(fragment.physical_rows)
    try:
        with panics_as_failures():
            scanned = fragment.scanner(columns=[], with_row_address=True).to_table()
    except FAILURES:
        return None
    places: NDArray[np.int64] = scanned.column("_rowaddr").to_numpy() & (2**32 - 1)
    return places.astype(np.int64)


def _compared(
    fragment: Any,
    schema: Any,
    start: int,
    positions: NDArray[np.int64] | None,
    sums: dict[str, NDArray[np.uint32]] | None,
) -> Iterator[_Chunk]:
    """Read a fragment, and note which values differ from what was written if its files changed."""
    chunks = _read_fragment(fragment, schema, start)
    if sums is None or positions is None:
        yield from chunks
        return
    waiting, explained = None, False
    for chunk in chunks:
        rows = positions[chunk.start - start :][: len(chunk)]
        for name in sums.keys() & chunk.columns.keys():
            expected, actual = sums[name][rows], row_sums(chunk.columns[name])
            for row in np.flatnonzero(differ(expected, actual)).tolist():
                if name not in chunk.unreadable.get(row, []):
                    chunk.wrong.setdefault(row, {})[name] = int(expected[row])
        for row in _other_pictures(chunk):
            chunk.wrong.setdefault(row, {})["picture"] = 0
        explained = explained or bool(chunk.unreadable or chunk.wrong or chunk.damage)
        if waiting is not None:
            yield waiting
        waiting = chunk
    if waiting is None:
        return
    if not explained:
        rows_said = f"rows {start} to {waiting.start + len(waiting) - 1} of the table"
        known = "though each value in it is" if sums else "and which value is wrong is unknown"
        damage = f"a file of {rows_said} is not as it was written (another SHA-256), {known}"
        waiting = replace(waiting, damage=damage)
    yield waiting


def _other_pictures(chunk: _Chunk) -> list[int]:
    """List the rows whose picture does not match its hash, where the hash itself is intact."""
    rows = []
    for row, digest in enumerate(chunk.columns["hash"].to_pylist()):
        picture = chunk.columns["picture"][row].as_py()
        known = picture is not None and digest is not None and not chunk.is_wrong(row, "hash")
        if known and sha256(picture).hexdigest() != digest:
            rows.append(row)
    return rows


@contextmanager
def _separated(table: Table, fragment: Any, removed: bytes | None) -> Iterator[Any]:
    """Open a copy of a fragment's metadata as a table of its own, over the same data files.

    Parameters
    ----------
    table : Table
        The table that the fragment is part of.
    fragment : lance.LanceFragment
        A fragment whose list of removed rows is damaged.
    removed : bytes or None
        The contents of the list in its place; None restores all removed rows.

    Raises
    ------
    FormatError
        If the table is in an object store.
    """
    if not isinstance(table.path, Path):
        raise FormatError(
            f"'{table.path}' has lost the list of its removed rows; copy the library to a disk and "
            "repair it there (narrows verify --repair)"
        )
    with TemporaryDirectory() as folder:
        (Path(folder) / "data").symlink_to(table.path.absolute() / "data")
        was = fragment.metadata
        step: Any = lance.LanceOperation.Overwrite(
            table.dataset.lance_schema, [replace(was, deletion_file=None)]
        )
        dataset = lance.LanceDataset.commit(folder, step)
        if removed is not None:
            (copy,) = dataset.get_fragments()
            # The number of the fragment, and those of the file itself.
            _, _, rest = fragment.deletion_file().rpartition("/")[2].partition("-")
            file = Path(folder) / "_deletions" / f"{copy.fragment_id}-{rest}"
            file.parent.mkdir()
            file.write_bytes(removed)
            listed = replace(copy.metadata, deletion_file=was.deletion_file)
            step = lance.LanceOperation.Delete([listed], [], "true")
            dataset = lance.LanceDataset.commit(dataset, step, read_version=dataset.version)
        yield dataset.get_fragments()[0]


def _read_fragment(fragment: Any, schema: Any, start: int) -> Iterator[_Chunk]:
    """Read a fragment by batches, and by columns and rows from the first error on."""
    done, count = 0, int(fragment.count_rows())
    try:
        batches = fragment.to_batches(columns=schema.names, batch_size=_ROWS, batch_readahead=1)
        with panics_as_failures():
            for batch in batches:
                batch.validate(full=True)
                yield _Chunk(start + done, dict(zip(schema.names, batch.columns, strict=True)), {})
                done += len(batch)
    except FAILURES:
        pass
    if done == count:
        return
    step = max(1, (count - done) // _PROBES)
    lost = {
        field.name
        for field in schema
        if not any(_try(fragment, field.name, row, 1) for row in range(done, count, step))
    }
    explained = False
    for first in range(done, count, _ROWS):
        size = min(_ROWS, count - first)
        columns: dict[str, Any] = {}
        unreadable: dict[int, list[str]] = {}
        for field_ in schema:
            name, kind = field_.name, field_.type
            pieces = [None] * size if name in lost else _pieces(fragment, name, first, size)
            columns[name] = pa.concat_arrays(
                [pa.nulls(1, kind) if p is None else p for p in pieces]
            )
            ends = accumulate(1 if piece is None else len(piece) for piece in pieces)
            for end, piece in zip(ends, pieces, strict=True):
                if piece is None:
                    unreadable.setdefault(end - 1, []).append(name)
        explained = explained or bool(unreadable)
        damage = ""
        if first + size == count and not explained:
            rows = f"rows {start + done} to {start + count - 1} of the table"
            damage = f"the file of {rows} is damaged, though each of them can be read alone"
        yield _Chunk(start + first, columns, unreadable, damage)


def _try(fragment: Any, name: str, first: int, count: int) -> Any:
    """Read one column of some rows; None if that is impossible."""
    try:
        scanner = fragment.scanner(columns=[name], offset=first, limit=count, batch_readahead=1)
        with panics_as_failures():
            column = scanner.to_table().column(name).combine_chunks()
        column.validate(full=True)
    except FAILURES:
        return None
    return column if len(column) == count else None


def _pieces(fragment: Any, name: str, first: int, count: int) -> list[Any]:
    """Read one column of some rows in as few pieces as possible; None is one unreadable row."""
    piece = _try(fragment, name, first, count)
    if piece is not None or count == 1:
        return [piece]
    half = count // 2
    return [
        *_pieces(fragment, name, first, half),
        *_pieces(fragment, name, first + half, count - half),
    ]


def _restore(chunk: _Chunk) -> tuple[dict[str, Any], dict[int, list[_Defect]]]:
    """Restore the damaged values of a chunk.

    Returns
    -------
    columns : dict of str to pyarrow.Array
        Damaged values are restored where their checksums allow it. Otherwise, a time of addition
        becomes that of a neighbour, hashes and references stay as they are, and others are null.
    defects : dict of int to list of _Defect
        By row, what is wrong with its values, and how repairing changes them.
    """
    columns = dict(chunk.columns)
    defects: dict[int, list[_Defect]] = {}
    for name in sorted({name for sums in chunk.wrong.values() for name in sums} - _NOT_RESTORED):
        column = columns[name]
        values = as_bytes(column)
        if values is None:
            continue
        wrong = {row: sums[name] for row, sums in chunk.wrong.items() if name in sums}
        intact = list(dict.fromkeys(v for row, v in enumerate(values) if row not in wrong))
        pieces = [column.slice(row, 1) for row in range(len(column))]
        for row, expected in wrong.items():
            picture = chunk.columns["picture"][row].as_py()
            likely = (
                [] if name != "hash" or picture is None else [sha256(picture).hexdigest().encode()]
            )
            value = restored(values[row], expected, [*likely, *intact, None], column.type)
            becomes = "what it was is known"
            if value is None:
                value, becomes = _substitute(name, column, row, list(wrong))
            pieces[row] = value
            what = f"its {name} is not what was written (another checksum); {becomes}"
            defects.setdefault(row, []).append(_Defect(what))
        columns[name] = pa.concat_arrays(pieces)
    return columns, defects


def _substitute(name: str, column: Any, row: int, wrong: list[int]) -> tuple[Any, str]:
    """Return what replaces a value that is lost, and the words that say so."""
    if name in ("hash", "reference"):
        return column.slice(row, 1), "what it was is lost"
    if name == "added":
        intact = [n for n in range(len(column)) if n not in wrong]
        near = min(intact, key=lambda n: abs(n - row), default=row)
        return column.slice(near, 1), "repairing gives it a neighbour's"
    if name == "id":
        return pa.nulls(1, column.type), "repairing gives it a new one"
    becomes = "repairing gives it its id" if name == "path" else "repairing leaves it empty"
    return pa.nulls(1, column.type), becomes
