"""Verification of a library row by row, and its repaired rows for another table."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from narrows.data.decoding import Progress, preview
from narrows.data.image_codec import DefectError, quietly
from narrows.data.reading import Reading, current
from narrows.errors import DataError, FormatError, NarrowsError
from narrows.library import commits, salvage
from narrows.library.checks import Checks
from narrows.library.columns import metadata_fields
from narrows.library.mending import mend
from narrows.library.pictures import StoredPictures
from narrows.library.references import fetch
from narrows.library.salvage import Chunk
from narrows.library.table import Table
from narrows.models import Encoder

# A row is lost without these columns; a code is computed again, and a path becomes the id.
_NEEDED = {"id", "hash", "added"}
_MADE = {"code", "thumbnail"}
# The largest deviation of a stored code from the model's, relative to the code's largest number:
# rounding in single precision differs between batch sizes and between processors.
_TOLERANCE = 1e-4
_CODE = "its code is not what the model gives"
_OTHER_CODE = "its code is not what was written (another checksum)"
Repair = Literal["remove", "correct", "keep"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row.

    Attributes
    ----------
    id : int or None
        The picture's; None if it cannot be read.
    path : str or None
        As the picture's matches have it; None if it cannot be read.
    what : str
        What is wrong.
    repair : {"remove", "correct", "keep"}
        What repairing does: it removes what cannot be read, corrects what can be made again, and
        keeps a picture that is unharmed, but cannot be decoded by this installation.
    """

    id: int | None
    path: str | None
    what: str
    repair: Repair


class Defect(NamedTuple):
    """What is wrong with a row whose name is known, and what repairing does, as in Problem."""

    what: str
    repair: Repair

    @property
    def lost(self) -> bool:
        """Whether the row cannot be kept."""
        return self.repair == "remove"


@dataclass(frozen=True)
class Verification:
    """What :meth:`narrows.Library.verify` found.

    Attributes
    ----------
    rows : int
        How many rows were verified.
    problems : list of Problem
        In the order in which rows are stored.
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


@dataclass
class Rows:
    """All rows of a table, to be verified or copied one by one.

    Attributes
    ----------
    table : Table
        Where they are.
    encoder : Encoder
        Computes the codes.
    next_id : int
        Valid ids are lower; it is raised by each new id.
    progress : callable, or None
        Called with the number of rows done and the number of all.
    checks : Checks, or None
        The recorded checksums, if there are any.
    reencoding : bool
        Whether the rows get codes of another model: stored codes are then not verified, and any
        other damage is raised as an error.
    problems : list of Problem
        Of the rows verified so far.
    how : Reading
        The bound on a picture's pixels.
    """

    table: Table
    encoder: Encoder
    next_id: int
    progress: Progress | None = None
    checks: Checks | None = None
    reencoding: bool = False
    problems: list[Problem] = field(default_factory=list)
    how: Reading = field(default_factory=current)
    _met: set[int] = field(default_factory=set)
    _count: int = 0

    def verify(self) -> Verification:
        """Verify all of them.

        Raises
        ------
        FormatError
            If the version has been removed meanwhile, or its manifest names other data files.
        """
        self.problems += self._beside_rows()
        for _ in self._mended(repairing=False):
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
        table = commits.extend(table, metadata_fields(self.table.dataset.schema))
        schema = table.dataset.schema
        rows = (
            pa.record_batch([columns[name] for name in schema.names], schema=schema)
            for columns in self._mended(repairing=not self.reencoding)
        )
        return commits.append_once(table, rows)

    def _mended(self, *, repairing: bool) -> Iterator[dict[str, Any]]:
        """Yield the columns of the rows that can be kept, repaired.

        Parameters
        ----------
        repairing : bool
            Whether damaged rows are wanted too. Otherwise rows that flipped bits have damaged are
            listed as problems and skipped: putting the bits back makes them what they were.
        """
        end = self.next_id
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            for read in salvage.read(self.table, self.checks):
                if read.flipped and not repairing:
                    self._tell(read, [_flipped(read, row) for row in range(len(read))])
                    self._count = read.start + len(read)
                    continue
                mended = mend(read)
                chunk = replace(read, columns=mended.columns)
                stored = (chunk.columns[c].to_pylist() for c in ("picture", "reference", "hash"))
                with quietly():
                    loaded = list(threads.map(self._load, *stored))
                    for row in _spoiled(chunk, threads):
                        chunk.unreadable.setdefault(row, []).append("thumbnail")
                defects = [self._defects(chunk, *pair) for pair in enumerate(loaded)]
                for row, said in mended.said.items():
                    if not any(defect.lost for defect in defects[row]):
                        defects[row] += [Defect(what, "correct") for what in said]
                kept = [n for n, found in enumerate(defects) if not any(f.lost for f in found)]
                if chunk.revived:
                    kept = [n for n in kept if not self._added_again(chunk, n)]
                columns = {
                    name: column.take(pa.array(kept, pa.int64()))
                    for name, column in chunk.columns.items()
                }
                of_kept = [defects[row] for row in kept]
                others = {place for place, row in enumerate(kept) if chunk.is_wrong(row, "code")}
                loads = [loaded[row] for row in kept]
                columns["code"] = self._codes(columns, loads, of_kept, others)
                columns["id"] = self._ids(columns, of_kept, end)
                columns["path"] = pc.fill_null(columns["path"], columns["id"].cast(pa.string()))
                lost = [
                    "thumbnail" in chunk.unreadable.get(row, []) or chunk.is_wrong(row, "thumbnail")
                    for row in kept
                ]
                columns["thumbnail"] = self._thumbnails(columns, lost)
                self._tell(chunk, defects)
                if kept:
                    yield columns
                self._count = chunk.start + len(chunk)
                if self.progress is not None:
                    self.progress(self._count, max(self._count, len(self.table)))

    def _beside_rows(self) -> list[Problem]:
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

    def _added_again(self, chunk: Chunk, row: int) -> bool:
        """Tell whether a row's picture exists under a later id, so that the row was removed."""
        number = chunk.columns["id"][row].as_py()
        latest = self._latest.get(chunk.columns["hash"][row].as_py(), -1)
        return number is not None and latest > number

    @cached_property
    def _latest(self) -> dict[str, int]:
        """The highest id of each picture, by its hash."""
        latest: dict[str, int] = {}
        for chunk in salvage.read(self.table, self.checks):
            pairs = (chunk.columns[name].to_pylist() for name in ("hash", "id"))
            for digest, number in zip(*pairs, strict=True):
                if digest is not None and number is not None:
                    latest[digest] = max(number, latest.get(digest, number))
        return latest

    def _load(
        self, picture: bytes | None, reference: str | None, digest: str | None
    ) -> NDArray[Any] | Defect:
        """Decode a picture as stored or referred to, or say what is wrong with it."""
        if picture is None and reference is not None and digest is not None:
            try:
                picture = fetch(reference, digest, self.table, self.how)
            except NarrowsError as error:
                # The disk that it lies on may come back.
                return Defect(f"its file {error}", "keep")
        if picture is None or digest is None or sha256(picture).hexdigest() != digest:
            return Defect("its picture is not the one that was added (another SHA-256)", "remove")
        try:
            return StoredPictures(self.table, self.encoder, None, self.how).decode(picture)
        except ValueError as error:
            return Defect(f"its picture is unharmed, and cannot be decoded: {error}", "keep")

    def _defects(self, chunk: Chunk, row: int, loaded: NDArray[Any] | Defect) -> list[Defect]:
        """List what is wrong with a row, but for its code and its id."""
        missing = chunk.unreadable.get(row, [])
        what = f"its {' and its '.join(missing)} cannot be read"
        held = any(chunk.columns[name][row].is_valid for name in ("picture", "reference"))
        if set(missing) & _NEEDED or (missing and not held):
            return [Defect(what, "remove")]
        found = [loaded] if isinstance(loaded, Defect) else []
        if missing and not (self.reencoding and set(missing) <= _MADE):
            found.append(Defect(what, "correct"))
        if chunk.is_wrong(row, "thumbnail") and not self.reencoding:
            found.append(Defect("its thumbnail is not what was written", "correct"))
        return found

    def _codes(
        self,
        columns: dict[str, Any],
        loaded: list[NDArray[Any] | Defect],
        defects: list[list[Defect]],
        others: set[int],
    ) -> Any:
        """Encode the pictures; where that is impossible, the code stays as it is.

        Parameters
        ----------
        columns : dict of str to pyarrow.Array
            The rows.
        loaded : list of ndarray or Defect
            Their pictures.
        defects : list of list of Defect
            What is wrong with each row; defects of its code are added.
        others : set of int
            The rows whose code differs from what was written.
        """
        width = self.encoder.n_components
        rows = [row for row, one in enumerate(loaded) if not isinstance(one, Defect)]
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
                        defects[rows[place]].append(Defect(_CODE, "correct"))
            codes[rows] = made
        for row in others if not self.reencoding else ():
            if isinstance(loaded[row], Defect):
                defects[row].append(Defect(f"{_OTHER_CODE}, and cannot be made again", "keep"))
            elif not any(defect.what == _CODE for defect in defects[row]):
                defects[row].append(Defect(_OTHER_CODE, "correct"))
        return pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), width)

    def _thumbnails(self, columns: dict[str, Any], lost: list[bool]) -> Any:
        """Make lost thumbnails again, where the picture can be read."""
        if not any(lost):
            return columns["thumbnail"]
        stored = [columns[name].to_pylist() for name in ("picture", "reference", "hash")]
        made = columns["thumbnail"].to_pylist()
        pictures = StoredPictures(self.table, self.encoder, None, self.how)
        for row, (picture, reference, digest) in enumerate(zip(*stored, strict=True)):
            if not lost[row]:
                continue
            made[row] = None
            # A missing or undecodable picture is reported as a defect of its own.
            with suppress(NarrowsError, ValueError, DefectError), quietly():
                contents = picture or fetch(reference, digest, self.table, self.how)
                made[row] = pictures.make_thumbnail(contents, always=picture is None)
        return pa.array(made, columns["thumbnail"].type)

    def _ids(self, columns: dict[str, Any], defects: list[list[Defect]], end: int) -> Any:
        """Give new ids to rows whose id is missing, was never given or belongs to another row."""
        ids = columns["id"].to_pylist()
        for row, number in enumerate(ids):
            if number is not None and 0 <= number < end and number not in self._met:
                self._met.add(number)
                continue
            if number is not None:  # otherwise its checksum has told
                what = "is another picture's too" if 0 <= number < end else "was never given"
                defects[row].append(Defect(f"its id {what}", "correct"))
            ids[row] = self.next_id
            self.next_id += 1
        return pa.array(ids, pa.int64())

    def _tell(self, chunk: Chunk, defects: list[list[Defect]]) -> None:
        """Add the problems of a chunk; with ``reencoding``, raise the first one."""
        ids, paths = (chunk.columns[name].to_pylist() for name in ("id", "path"))
        for row, found in enumerate(defects):
            place = "" if ids[row] is not None else f"row {chunk.start + row} of the table: "
            for what, repair in found:
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


def _flipped(chunk: Chunk, row: int) -> list[Defect]:
    """Name the columns of a row that are damaged by flipped bits, which can be put back."""
    names = sorted({*chunk.wrong.get(row, {}), *chunk.unreadable.get(row, [])})
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [Defect(f"its {' and its '.join(names)} {verb} not what was written: a flipped bit, "
                   "which repairing puts back", "correct")]  # fmt: skip


def _spoiled(chunk: Chunk, threads: ThreadPoolExecutor) -> list[int]:
    """List the rows whose thumbnail can be read, but not decoded."""

    def is_spoiled(thumbnail: bytes | None) -> bool:
        try:
            return thumbnail is not None and not preview(thumbnail).size
        except DefectError:
            return True

    spoiled = threads.map(is_spoiled, chunk.columns["thumbnail"].to_pylist())
    return [row for row, one in enumerate(spoiled) if one]


def _differ(stored: NDArray[np.float32], made: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which codes, (n, K), differ by more than rounding; NaN differs."""
    far = np.abs(stored.astype(np.float64) - made).max(axis=1)
    near: NDArray[np.bool_] = far <= _TOLERANCE * np.abs(made).max(axis=1)
    return ~near
