"""Lance datasets: rows in one, and a folder of pictures packed, decoded once, into one.

A dataset of packed pictures grows in a hidden folder beside its final path, with a fragment for
each part of the pictures. Each complete part is recorded, so that packing that was killed resumes
there. At the end, one commit joins all fragments, and the dataset is renamed to its path.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import FragmentMetadata, write_fragments
from numpy.typing import NDArray

from narrows.atomic import atomic_file, shortened_name, sync
from narrows.containment import check_inside, parse_json, read_regular
from narrows.data import lazy_rows
from narrows.data.decoding import (
    Progress,
    Resized,
    Target,
    decode_files,
    scan,
    sizes_of,
    stamp_of,
    warn_of_resized,
)
from narrows.data.depths import common_type
from narrows.data.folders import LeftOut, check_dataset
from narrows.data.formats import Contents
from narrows.data.images import (
    ImageSize,
    choose_sample_shape,
    list_images,
    none_readable,
    warn_of_mixed,
)
from narrows.data.lazy_rows import ConcatenatedRows, StoredRows, in_blocks
from narrows.data.names import LazyNames
from narrows.data.numbers import ROWS, Layout
from narrows.data.reading import Notes, Pages, chosen, name_within
from narrows.errors import DataError, FormatError, NarrowsError, OutputError, UnreadableFileError
from narrows.remote import FAILURES, lance_address, open_dataset, panics_as_failures
from narrows.texts import as_name, as_text, is_text

NAME = "name"
"""Name of the column with the names of rows."""

PICTURES = b"narrows-pictures"
"""Key in the metadata of the schema if the rows are pixels of pictures."""

_NAMES = 4096  # names that are read at a time
# Pictures, and their bytes, per part: the most that a crash can cost.
_PICTURES, _BYTES = 8192, 1 << 26
_MOST_FACTS = 1 << 26  # bytes of the record of a part


class LanceNames(LazyNames):
    """Names of rows in a column of a Lance dataset, read when asked for, as files have them."""

    def __init__(self, path: Path, dataset: Any) -> None:
        self._path, self._dataset = path, dataset
        self._count: int = dataset.count_rows()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _NAMES):
            yield from self[start : start + _NAMES]

    def take(self, rows: range) -> list[str]:
        """Read the names of some rows."""
        if not rows:
            return []
        with _explained(self._path):
            column = self._dataset.take(list(rows), columns=[NAME])[NAME]
            return [as_name(str(name)) for name in column]


def read_lance(path: Path) -> Contents:
    """Open the latest version of a Lance dataset.

    Parameters
    ----------
    path : Path
        Its folder.

    Returns
    -------
    Contents
        A column of lists or tensors of one shape, which is called "rows" or the only one; where
        there is none, all columns of numbers. They are :class:`StoredRows`, or an array if they
        are few. A column of texts called "name" names them.

    Raises
    ------
    UnreadableFileError
        If it is damaged, or refers to data in other folders.
    DataError
        If it holds no rows, or something else than numbers.
    """
    with _explained(path):
        dataset = open_dataset(path)
        schema, fragments = dataset.schema, dataset.get_fragments()
        counts = [fragment.count_rows() for fragment in fragments]
        first = dataset.take([0]) if sum(counts) else None
    if first is None:
        raise DataError(f"'{path}' holds no rows; give at least one", path=path)
    named = NAME in schema.names and is_text(schema.field(NAME).type)
    if named:
        schema = schema.remove(schema.names.index(NAME))
    with _explained(path):
        layout = Layout.of(path, schema, lambda name: first[name][0].as_py())
    layout.warn()
    starts = np.cumsum([0, *counts]).tolist()
    parts = [
        _Fragment(fragment, layout, count, start)
        for fragment, count, start in zip(fragments, counts, starts[:-1], strict=True)
        if count
    ]
    rows: Any = ConcatenatedRows(parts)
    rows.columns = layout.names if layout.is_table else None
    names = LanceNames(path, dataset) if named else None
    small = rows.nbytes <= lazy_rows.SMALL
    pictures = PICTURES in (schema.metadata or {})
    return Contents(rows[:] if small else rows, rows.columns, names, pictures)


class _Fragment(StoredRows):
    """The rows of a fragment of a dataset."""

    def __init__(self, fragment: Any, layout: Layout, count: int, start: int) -> None:
        self._fragment, self._layout, self._start = fragment, layout, start
        self.shape, self.dtype = (count, *layout.shape), layout.dtype

    def stamp(self) -> object:
        """Return the names of the fragment's files, which never change."""
        return [file.path for file in self._fragment.data_files()]

    def read(self, runs: NDArray[np.int64], into: NDArray[Any]) -> None:
        """Read runs of rows."""
        rows = np.concatenate([np.arange(begin, end) for begin, end in runs])
        try:
            with panics_as_failures():
                taken = self._fragment.take(rows, columns=self._layout.names)
                if len(taken) != len(rows):
                    raise RuntimeError(f"{len(taken)} of {len(rows)} rows are there")
                self._layout.fill(taken.columns, into, self._start + rows)
        except NarrowsError:
            raise
        except FAILURES as error:
            raise UnreadableFileError(
                f"'{self._layout.path}' can no longer be read ({reason(error)}); leave it "
                "alone until this has ended and begin again, or restore it from a copy"
            ) from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        with panics_as_failures():
            yield
    except FormatError as error:
        raise UnreadableFileError(str(error)) from error
    except NarrowsError:
        raise
    except FAILURES as error:
        raise UnreadableFileError(
            f"'{path}' is not a readable Lance dataset: {reason(error)}; restore it from a copy",
            path=path,
        ) from error


def reason(error: object) -> str:
    """Return a message of Lance's on one line, without places in its source."""
    text = " ".join(str(error).split())
    if by_system := re.search(r"([A-Z][a-z -]+) \(os error \d+\)", text):
        return by_system[1]
    return re.sub(r",? \S+\.rs:\d+:\d+", "", text)[:200]


def as_table(values: NDArray[Any], names: Sequence[str] | None) -> Any:
    """Turn rows (n, ...), and their names, into a table as datasets hold them."""
    # Arrow has no tensors of booleans.
    values = np.ascontiguousarray(values, np.uint8 if values.dtype == bool else None)
    if values.ndim < 3:
        flat = values.reshape(len(values), -1)
        rows = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
    else:
        rows = pa.FixedShapeTensorArray.from_numpy_ndarray(values)
    columns = {ROWS: rows}
    if names is not None:
        columns[NAME] = pa.array(map(as_text, names), pa.string())
    return pa.table(columns)


def write_lance(path: Path, contents: Contents) -> None:
    """Write a dataset, some rows at a time.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    fragments, done, names = [], 0, contents.names
    for block in in_blocks(contents.values):
        own = None if names is None else names[done : done + len(block)]
        table = as_table(block, own)
        fragments += write_piece(path, table)
        done += len(block)
    put_together(path, table.schema, fragments)


def write_piece(path: Path, table: Any) -> list[FragmentMetadata]:
    """Write fragments of a dataset that is committed later."""
    with _as_os_error():
        pieces: list[FragmentMetadata] = write_fragments(
            table, lance_address(path)["uri"], mode="create"
        )
    return pieces


def put_together(path: Path, schema: Any, fragments: list[FragmentMetadata]) -> int:
    """Commit fragments as a dataset; return its number of rows."""
    with _as_os_error():
        operation = lance.LanceOperation.Overwrite(schema, fragments)
        return int(lance.LanceDataset.commit(lance_address(path)["uri"], operation).count_rows())


def put_in_place(made: Path, to: Path, before: Path) -> None:
    """Rename a complete dataset to its path; an existing one is renamed to ``before``."""
    for part in made.rglob("*"):
        sync(part)
    if to.exists():
        to.rename(before)
    made.rename(to)
    sync(to.parent)


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        with panics_as_failures():
            yield
    except FAILURES as error:
        raise OSError(reason(error)) from error


@dataclass(frozen=True)
class Packed:
    """The result of :func:`pack`.

    Attributes
    ----------
    path : Path
        The dataset.
    count : int
        Number of pictures in the dataset.
    sample_shape : tuple of int
        Shape of a picture: (height, width) for grey, (height, width, 3) for colours, (height,
        width, C) for C other channels.
    dtype : str
        Type of the values; see :mod:`narrows.data.depths`.
    resumed : int
        Number of pictures that an earlier call had read.
    skipped : list of (str, str)
        Unreadable files that were left out, each with the reason.
    left_out : LeftOut
        Other files of the folder.
    resized : Resized or None
        Resized pictures, unless ``image_size`` asked for it.
    """

    path: Path
    count: int
    sample_shape: tuple[int, ...]
    dtype: str
    resumed: int
    skipped: list[tuple[str, str]]
    left_out: LeftOut
    resized: Resized | None


def pack(
    folder: str | Path,
    to: str | Path,
    *,
    image_size: ImageSize = "auto",
    color: Literal["auto"] | bool = "auto",
    pages: Pages | None = None,
    max_pixels: int | None = None,
    skip_unreadable: bool = False,
    exclude: str | Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Packed:
    """Decode, turn upright and resize all pictures of a folder into a Lance dataset.

    Models are trained on the dataset as on the folder, without decoding again and without loading
    it into memory. A call that was interrupted in any way resumes when it is repeated, as long as
    the files are the same.

    Parameters
    ----------
    folder : str or Path
        The folder, which is searched with its subfolders.
    to : str or Path
        The dataset, such as ``data.lance``. It appears when it is complete. Until then, finished
        parts are in a hidden folder beside it, ``.data.lance.packing``.
    image_size, color
        See :func:`narrows.data.images.choose_sample_shape`.
    pages, max_pixels
        See :func:`narrows.data.files.read`.
    skip_unreadable : bool, default=False
        Whether files that cannot be read are left out and listed instead of raising.
    exclude : str or sequence of str
        Patterns of files and folders that are left out, such as "*_thumb.jpg"; see
        :func:`narrows.data.folders.check_exclude`.
    overwrite : bool, default=False
        Whether an existing Lance dataset is replaced once the new one is complete.
    progress : callable, optional
        Called with the number of files read and the number of all.

    Returns
    -------
    Packed

    Raises
    ------
    MissingFileError, UnreadableFileError, DataError
        If there are no pictures, or one of them cannot be read.
    ParameterError
        If ``image_size``, ``color`` or ``exclude`` is not allowed.
    OutputExistsError, OutputError
        If the dataset exists, is being packed by another process, or cannot be written. Finished
        parts are kept.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from narrows import Autoencoder, pack
    >>> from narrows.data.files import write
    >>> pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write(Path(folder, "photos"), pictures)
    ...     packed = pack(Path(folder, "photos"), Path(folder, "data.lance"))
    ...     model = Autoencoder(2, max_epochs=1).fit(packed.path)
    >>> packed.count, packed.sample_shape, model.sample_shape_
    (20, (8, 8), (8, 8))
    """
    folder, to = Path(folder), Path(to)
    _Work.mend(to)
    check_dataset(to, overwrite=overwrite)
    files, left_out = list_images(folder, exclude)
    left_out.warn(folder)
    how, notes = chosen(max_pixels, pages), Notes()
    found = scan(files, how)
    warn_of_mixed(found, stacklevel=3)
    pictures = found.pictures
    with _Work.of(to) as work:
        wanted = (str(folder.absolute()), image_size, color, how.pages, _PICTURES, _BYTES)
        plan = work.begin(repr(wanted) + stamp_of(pictures))
        if plan is None:
            shape = choose_sample_shape(pictures, image_size=image_size, color=color, found=found)
            plan = shape, common_type(found.types).name
            work.choose(*plan)
        shape, dtype = plan
        sizes = sizes_of(pictures) if image_size == "auto" else [None] * len(pictures)
        target = Target(shape, np.dtype(dtype), how=how)
        size = max(1, min(_PICTURES, _BYTES // (prod(shape) * target.dtype.itemsize)))
        parts = [pictures[start : start + size] for start in range(0, len(pictures), size)]
        done = resumed = 0
        for number, part in enumerate(parts):
            if work.part(number) is not None:
                resumed += len(part)
            else:
                pixels = target.empty(len(part))
                reasons = decode_files(
                    part,
                    pixels,
                    target,
                    skip_unreadable=skip_unreadable,
                    progress=_after(done, len(pictures), progress),
                    notes=notes,
                )
                kept = [place for place in range(len(part)) if place not in reasons]
                names = [name_within(part[place], folder) for place in kept]
                skipped = [(str(part[place]), why) for place, why in reasons.items()]
                work.write(number, pixels[kept] if reasons else pixels, names, skipped)
            done += len(part)
            if progress is not None:
                progress(done, len(pictures))
        count, skipped = work.finish(len(parts), target.empty(1))
    resized = Resized.of_read(dict(zip(pictures, sizes, strict=True)), shape, skipped)
    if resized is not None:
        warn_of_resized(folder, resized, learned=False)
    notes.warn(stacklevel=3)
    return Packed(to, count, shape, dtype, resumed, skipped, left_out, resized)


def _after(done: int, total: int, progress: Progress | None) -> Progress | None:
    """Shift the counts of a part by the number of pictures before it."""
    return None if progress is None else lambda more, _: progress(done + more, total)


class _Work:
    """The hidden folder in which a dataset grows, locked by this process."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self._path = to.with_name(f".{shortened_name(to.name)}.packing")
        self._rows = self._path / "rows"
        self._before = self._path / "before"

    @classmethod
    def mend(cls, to: Path) -> None:
        """Complete a replacement of a dataset that was killed."""
        if not cls(to)._path.is_dir():
            return
        with cls.of(to) as work, work._explained():
            if work._before.exists():
                if to.exists():
                    shutil.rmtree(work._before)
                else:
                    work._before.rename(to)
            if to.exists() and not work._rows.exists():  # shown already: nothing is left to do
                shutil.rmtree(work._path)

    @classmethod
    @contextmanager
    def of(cls, to: Path) -> Iterator["_Work"]:
        """Create the folder, or open the existing one."""
        work = cls(to)
        with work._explained():
            work._path.mkdir(exist_ok=True)
            check_inside(work._path, itself=True)
            handle = os.open(work._path / "lock", os.O_CREAT | os.O_RDWR)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OutputError(
                    f"'{to}' is being packed by another process; wait for it, or name another"
                ) from error
            try:
                yield work
            except BaseException:
                if not work._has_parts() and not work._before.exists():
                    shutil.rmtree(work._path, ignore_errors=True)
                raise
        finally:
            os.close(handle)

    def begin(self, facts: str) -> tuple[tuple[int, ...], str] | None:
        """Remove parts of other files; return the recorded shape and type for these files."""
        with self._explained():
            plan = self._read("plan.json")
            if plan is not None and plan.get("facts") == facts:
                return tuple(plan["shape"]), str(plan["dtype"])
            for path in self._path.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != "lock":
                    path.unlink()
            self._facts = facts
        return None

    def choose(self, shape: tuple[int, ...], dtype: str) -> None:
        """Record the shape and type."""
        with self._explained():
            self._keep("plan.json", {"facts": self._facts, "shape": shape, "dtype": dtype})

    def part(self, number: int) -> dict[str, Any] | None:
        """Return the record of a complete part."""
        known = self._read(f"{number:06}.json")
        files = [] if known is None else known["files"]
        return known if all((self._rows / "data" / file).exists() for file in files) else None

    def write(
        self,
        number: int,
        pixels: NDArray[Any],
        names: list[str],
        skipped: list[tuple[str, str]],
    ) -> None:
        """Write a part, and record it once it is on the disk."""
        known: dict[str, Any] = {"fragments": [], "files": [], "skipped": skipped}
        with self._explained():
            if len(pixels):
                fragments = write_piece(self._rows, as_table(pixels, names))
                for fragment in fragments:
                    known["fragments"].append(json.dumps(fragment.to_json()))
                    known["files"] += [file.path for file in fragment.files]
                for file in known["files"]:
                    sync(self._rows / "data" / file)
            self._keep(f"{number:06}.json", known)

    def finish(self, n_parts: int, row: NDArray[Any]) -> tuple[int, list[tuple[str, str]]]:
        """Join all parts, whose rows have the shape and type of ``row``, and rename the dataset."""
        parts = [part for number in range(n_parts) if (part := self.part(number)) is not None]
        skipped = [(path, why) for part in parts for path, why in part["skipped"]]
        fragments = [FragmentMetadata.from_json(one) for part in parts for one in part["fragments"]]
        if not fragments:
            raise none_readable(len(skipped), *skipped[0])
        with self._explained():
            schema = as_table(row, [""]).schema
            count = put_together(self._rows, schema.with_metadata({PICTURES: b"yes"}), fragments)
            whole = {file for part in parts for file in part["files"]}
            for file in (self._rows / "data").iterdir():
                if file.name not in whole:  # of an incomplete part
                    file.unlink()
            put_in_place(self._rows, self._to, self._before)
            shutil.rmtree(self._path)
        return count, skipped

    def _has_parts(self) -> bool:
        """Whether there are parts from which to resume."""
        return any(self._path.glob("[0-9]*.json"))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            facts = parse_json(read_regular(self._path / name, _MOST_FACTS))
        except (OSError, ValueError):
            return None
        return facts if isinstance(facts, dict) else None

    def _keep(self, name: str, facts: dict[str, Any]) -> None:
        with atomic_file(self._path / name, overwrite=True) as file:
            file.write_text(json.dumps(facts), "utf-8")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            remedy = "make room there, or name another place"
            if self._has_parts():
                remedy = (
                    f"what is done is kept in '{self._path}': make room and give the same command "
                    "again, which goes on there"
                )
            raise OutputError(f"'{self._to}' could not be packed: {why}; {remedy}") from error
