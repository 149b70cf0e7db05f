"""The folder of a library: ``library.json``, a copy of the model, and the table.

``library.json`` names the other two, and the version of the table that readers see, so that
replacing it in one step replaces the library, or shows all of a change at once. Writers take turns
by a lock on the folder. An object store has no such lock: a library there is made as a whole, each
part under a new name, with ``library.json`` last.
"""

import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeAlias, cast

import lance
import numpy as np
from numpy.typing import NDArray

from narrows import storage
from narrows.atomic import (
    atomic_folder,
    check_output,
    exists_already,
    explain_os_errors,
    may_write,
)
from narrows.containment import check_inside
from narrows.errors import (
    FormatError,
    LibraryError,
    NarrowsError,
    OutputExistsError,
    ParameterError,
)
from narrows.library import checksums
from narrows.library.checksums import Checksums
from narrows.library.ivf_build import index_names
from narrows.library.table import Table, cannot_write, write_file
from narrows.models import BaseAutoencoder, CodeEncoder, Decoder, Encoder, PictureEncoder
from narrows.remote import FAILURES, Place, Remote, lance_address, panics_as_failures

FORMAT = "narrows-library"
FORMAT_VERSION = 5
MANIFEST = "library.json"

Model: TypeAlias = BaseAutoencoder | Encoder | PictureEncoder
"""A model that makes codes."""
Fill: TypeAlias = Callable[[Table], Table]
"""A function that gets an empty table, before readers can see it, and returns the filled one."""

# The first version that has a checksum of itself, and the last that named no addition.
_CHECKED, _UNNAMED = 5, 3

LIBRARY = storage.Kind(
    what="library",
    manifest=MANIFEST,
    format=FORMAT,
    version=FORMAT_VERSION,
    most=2**20,
    first="build one first (narrows index, Library.create)",
    made="was built in",
    again="build the library again",
    older=(3, 4),
    past="build the library again, if need be from the pictures in its table (column 'picture' of "
    "lance.dataset('.../table.lance'))",
)


@dataclass(frozen=True)
class LibraryManifest:
    """The contents of ``library.json``.

    Attributes
    ----------
    fingerprint : str
        The fingerprint of the model that made the codes.
    model, table : str
        The names of their folders.
    version : int
        The version of the table that readers see; later ones belong to a change in progress.
    next_id : int
        The id of the next picture; ids of removed pictures are not given again.
    adding : str
        The name of the addition whose beginning the later versions of the table hold; empty if
        there is none.
    folders : tuple of str, or None
        The folders in which files may lie that rows refer to; None in libraries of older versions,
        which did not record them.
    checks : str, or None
        The name of the list of checksums; None if an older version wrote the library last, or it
        was made in an object store.
    """

    fingerprint: str
    model: str = "model"
    table: str = "table.lance"
    version: int = 1
    next_id: int = 0
    adding: str = ""
    folders: tuple[str, ...] | None = None
    checks: str | None = None

    @classmethod
    def renamed(cls, model: Model) -> Self:
        """Choose new names for a model and its table, beside which the old ones may stay."""
        suffix = f"-{secrets.token_hex(4)}"
        return cls(model.fingerprint_, f"model{suffix}", f"table{suffix}.lance")

    @classmethod
    def read(cls, path: Place) -> Self:
        """Read and check ``library.json``.

        Raises
        ------
        MissingFileError
            If there is nothing at ``path``.
        FormatError
            If there is something else, something damaged, a library of a newer version, or a
            symbolic link in it.
        """
        facts = LIBRARY.read(path)
        if facts["format_version"] >= _CHECKED and facts.get("check") != _check_of(facts):
            raise LIBRARY.damaged(path, "its contents are not those that were written (SHA-256)")
        values: dict[str, Any] = {field.name: facts.get(field.name) for field in fields(cls)}
        if facts["format_version"] <= _UNNAMED and type(values["adding"]) is bool:
            # No addition has this name: the next writer removes the later versions.
            values["adding"] = "unnamed" if values["adding"] else ""
        names = (values["fingerprint"], values["model"], values["table"])
        if not all(storage.is_file_name(value) for value in names):
            raise LIBRARY.damaged(path, "it does not name a fingerprint, a model and a table")
        for name, least in (("version", 1), ("next_id", 0)):
            if type(values[name]) is not int or not least <= values[name] < 2**63:
                raise LIBRARY.damaged(path, f"its {name!r} is {values[name]!r}, not a number of it")
        if values["checks"] is not None and not storage.is_file_name(values["checks"]):
            raise LIBRARY.damaged(path, f"its 'checks' are {values['checks']!r}, not a name")
        if type(values["adding"]) is not str:
            raise LIBRARY.damaged(path, f"its 'adding' is {values['adding']!r}, not a text")
        if (recorded := values["folders"]) is not None:
            if not isinstance(recorded, list) or not all(isinstance(f, str) for f in recorded):
                raise LIBRARY.damaged(path, "its 'folders' are not a list of texts, or null")
            values["folders"] = tuple(recorded)
        return cls(**values)

    def open_table(self, path: Place) -> Table:
        """Open the table, at the version that readers see."""
        return Table(path / self.table, self.fingerprint, self.version, self.folders)

    def write(self, path: Place) -> None:
        """Write ``library.json`` in one step."""
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **asdict(self),
            "versions": {name: version(name) for name in ("narrows", "pylance")},
        }
        facts["check"] = _check_of(facts)
        write_file(path / MANIFEST, f"{json.dumps(facts, indent=2)}\n".encode())


def _check_of(facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the contents of ``library.json``, without the checksum itself."""
    rest = {name: value for name, value in facts.items() if name != "check"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def open_published(path: Place) -> tuple[LibraryManifest, Table]:
    """Open a library as it is now, whatever writers do meanwhile.

    Raises
    ------
    MissingFileError, FormatError
        As :meth:`LibraryManifest.read`; also if the table cannot be opened.
    """
    contents = LibraryManifest.read(path)
    while True:
        try:
            return contents, contents.open_table(path)
        except FormatError:
            # Between the two steps, a writer may have removed the version that was named.
            now = LibraryManifest.read(path)
            if now == contents:
                raise
            contents = now


@contextmanager
def writing(path: Place) -> Iterator[Path]:
    """Hold the writers' lock of a library, in this process and for others; it ends with a process.

    Yields
    ------
    Path
        The library.

    Raises
    ------
    OutputError
        If the library must not be written to.
    LibraryError
        If it is in an object store, which has no lock.
    """
    if isinstance(path, Remote):
        raise LibraryError(
            f"'{path}' is in an object store, where libraries are read, and replaced as a whole; "
            "change one on a disk, and build it there anew (narrows index --overwrite)"
        )
    with explain_os_errors(path):
        handle = os.open(path, os.O_RDONLY)
    try:
        if not may_write(path):
            raise cannot_write(path, PermissionError("Permission denied"))
        with explain_os_errors(path):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(handle)


@contextmanager
def write_transaction(
    path: Place, contents: LibraryManifest, *, resume: str = ""
) -> Iterator["WriteTransaction"]:
    """Wait for the writers' lock, and hold it.

    Parameters
    ----------
    path : Path
        The library.
    contents : LibraryManifest
        Its contents when it was opened.
    resume : str
        As for :class:`WriteTransaction`.

    Raises
    ------
    LibraryError
        If the library was replaced by another, or moved to another model, since, or is in an
        object store.
    """
    with writing(path) as folder:
        yield WriteTransaction(folder, current_contents(folder, contents), resume=resume)


def current_contents(path: Path, contents: LibraryManifest) -> LibraryManifest:
    """Return the present contents of a library, if it still is the one that was opened.

    Raises
    ------
    LibraryError
        If it is not.
    """
    now = LibraryManifest.read(path)
    if (now.fingerprint, now.table) != (contents.fingerprint, contents.table):
        raise LibraryError(
            f"'{path}' was replaced by another library since it was opened, or moved to "
            "another model; refresh() or open it again"
        )
    return now


class WriteTransaction:
    """A change of a library by one writer, which holds the lock until it ends.

    Parameters
    ----------
    path : Path
        The library.
    contents : LibraryManifest
        The present contents of ``library.json``.
    resume : str
        The name of the addition to go on with, if the library holds its beginning; otherwise the
        table is taken back to what readers see.

    Attributes
    ----------
    path : Path
        The library.
    contents : LibraryManifest
        The contents that readers see.
    table : Table
        The latest version of the table.
    checks : Checksums or None
        The checksums of the version that readers see.

    Raises
    ------
    FormatError
        If the list of checksums is damaged, or the table's list of its files.
    """

    def __init__(self, path: Path, contents: LibraryManifest, *, resume: str) -> None:
        self.path = path
        self.contents = contents
        self.table = Table(path / contents.table, contents.fingerprint, folders=contents.folders)
        self.checks = None
        if contents.checks is not None:
            self.checks = Checksums.read(path, contents.checks)
            self.checks.refuse_changed([self.checks.manifest])
        if contents.adding and contents.adding == resume:
            return
        if self.table.version != contents.version:
            self.publish(contents.open_table(path).restore())
        elif contents.adding:
            self.publish(self.table)

    def publish(
        self,
        table: Table,
        next_id: int | None = None,
        *,
        updated: NDArray[np.int64] | None = None,
    ) -> None:
        """Let readers see a version of the table, whole.

        Parameters
        ----------
        table : Table
            The version.
        next_id : int, optional
            The id of the next picture; by default as it was.
        updated : ndarray of int64, optional
            Ids of the rows whose values were changed in place.
        """
        self.table = table
        before = self.contents
        self.checks = checksums.record(self.path, before.model, table, self.checks, updated)
        with _removed_unless_named(self.path, self.checks.name):
            self._write(
                version=table.version,
                next_id=before.next_id if next_id is None else next_id,
                checks=self.checks.name,
                adding="",
                folders=table.folders,
            )
        if before.checks is not None and before.checks != self.checks.name:
            (self.path / before.checks).unlink(missing_ok=True)

    def publish_moved(self, table: Table) -> None:
        """Publish a version whose rows were copied to other files, if the old files were intact.

        Raises
        ------
        FormatError
            If one was damaged: its rows would look intact from now on.
        """
        if self.checks is not None:
            self.checks.refuse_changed_outdated(table)
        self.publish(table)

    def begin_adding(self, name: str) -> None:
        """Record that later versions of the table hold the beginning of an addition."""
        if not self.contents.adding:
            self._write(adding=name)

    def clean(self) -> int:
        """Remove former models and tables, and what crashes left; return the bytes freed."""
        checksums.forget(self.path / self.contents.table)
        return _clean(self.path, self.contents)

    def _write(self, **changes: Any) -> None:
        contents = replace(self.contents, **changes)
        contents.write(self.path)
        self.contents = contents


def record(path: Path, contents: LibraryManifest) -> None:
    """Record the checksums of a library that an older version wrote; the caller holds the lock."""
    made = checksums.record(path, contents.model, contents.open_table(path), None)
    with _removed_unless_named(path, made.name):
        replace(contents, checks=made.name).write(path)


def rewrite(path: Path, model: Model, fill: Fill | None, next_id: int = 0) -> LibraryManifest:
    """Replace a library's model and table in one step; the old ones stay beside the new ones.

    The caller holds the writers' lock.

    Parameters
    ----------
    path : Path
        The library.
    model : BaseAutoencoder, Encoder or PictureEncoder
        The model that makes the codes.
    fill : callable or None
        Gets the empty table, before readers can see it, and returns the filled one.
    next_id : int
        The smallest id that the next picture may get.

    Returns
    -------
    LibraryManifest
        The new contents of the library.
    """
    contents = LibraryManifest.renamed(model)
    try:
        return _fill(path, model, contents, fill, next_id)
    except BaseException:
        # Ctrl-C may come when the new ones are in place already.
        if LibraryManifest.read(path).table != contents.table:
            _remove(path / contents.model, path / contents.table)
        raise


def create(path: Place, model: Model, fill: Fill | None = None, *, overwrite: bool) -> Place:
    """Make a library; a crash leaves what was there, or the new library, whole.

    In an object store, everything has a name of its own and cannot be seen until ``library.json``,
    one object, takes its place. A crash may leave files that nothing names. Of two writers that
    make the same library at the same time, one wins, whole.

    Parameters
    ----------
    path : Path or Remote
        The folder.
    model : BaseAutoencoder, Encoder or PictureEncoder
        The model that makes the codes.
    fill : callable, optional
        Gets the empty table, before readers can see it, and returns the filled one.
    overwrite : bool
        Whether a library that exists already is replaced.

    Returns
    -------
    Path or Remote
        The folder.

    Raises
    ------
    ParameterError, NotFittedError
        If the model makes no codes, or codes that hold the rows themselves.
    OutputExistsError, OutputError, StoreError
        If something is there that is not to be replaced, or the folder cannot be written.
    FormatError
        If there is a symbolic link in the library that is there.
    """
    encoder_of(model)
    if isinstance(path, Remote):
        _create_remote(path, model, fill, overwrite=overwrite)
        return path
    lance_address(path)  # refuses what Lance cannot open
    check_output(path, overwrite=overwrite)
    with explain_os_errors(path):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not path.exists():
        with atomic_folder(path) as temporary:
            _fill(temporary, model, LibraryManifest(model.fingerprint_), fill)
        return path
    if not LIBRARY.is_at(path):
        raise _no_library(path)
    with writing(path):
        check_inside(path)
        _clean(path, rewrite(path, model, fill))
    return path


def choose_model(model: Model | None, encoder: PictureEncoder | str | Path | None) -> Model:
    """Return the model or the encoder, of which a library takes one.

    Raises
    ------
    ParameterError
        If both or none are given, or the encoder is no encoder.
    NarrowsError
        What :meth:`narrows.PictureEncoder.from_onnx` raises, if its path is given.
    """
    if (model is None) == (encoder is None):
        raise ParameterError(
            f"{'neither a model nor an encoder' if model is None else 'a model and an encoder'} "
            "given, and a library's codes are made by one; give one of them"
        )
    if isinstance(encoder, str | Path):
        return PictureEncoder.from_onnx(encoder)
    if encoder is not None and not isinstance(encoder, PictureEncoder):
        raise ParameterError(
            f"encoder is a {type(encoder).__name__}; give the path of an ONNX file, or a "
            "PictureEncoder (its from_onnx, or from_module for a torch module)"
        )
    return cast("Model", model if encoder is None else encoder)


def encoder_of(model: Model) -> CodeEncoder:
    """Return the encoder that is to make a library's codes.

    Raises
    ------
    ParameterError, NotFittedError
        If the model makes no codes, or codes that hold the rows themselves.
    """
    encoder, _ = halves(model)
    if isinstance(encoder, Encoder) and encoder.spec.definition.starts_at_input:
        raise ParameterError(
            f"the codes of architecture={encoder.spec.architecture!r} hold the pictures themselves "
            f"({encoder.spec.code_width} numbers each) and tell not which are alike; train a model "
            "with a narrow code (--model autoencoder, or --model denoising --n-components 32)"
        )
    return encoder


def _create_remote(path: Remote, model: Model, fill: Fill | None, *, overwrite: bool) -> None:
    before = None
    if LIBRARY.is_at(path):
        if not overwrite:
            raise exists_already(path)
        with suppress(FormatError):  # a damaged library does not tell its parts, which stay
            before = LibraryManifest.read(path)
    # Parts that a crash has left under names of their own do no harm.
    elif not all(
        name.startswith(("model-", "table-", "index-", "checks-")) for name in path.names()
    ):
        raise _no_library(path)
    contents = LibraryManifest.renamed(model)
    try:
        _fill(path, model, contents, fill)
    except BaseException:
        _remove_remote(path, contents)
        raise
    if before is not None:
        _remove_remote(path, before)


def _no_library(path: Place) -> OutputExistsError:
    return OutputExistsError(
        f"'{path}' is not a library of Narrows and is not replaced; choose another name"
    )


def _fill(
    path: Place, model: Model, contents: LibraryManifest, fill: Fill | None, next_id: int = 0
) -> LibraryManifest:
    """Write model, table and, last, ``library.json`` in a library's folder."""
    _save(model, path / contents.model)
    encoder, _ = halves(model)
    table = Table.create(path / contents.table, encoder.n_components, contents.fingerprint)
    if fill is not None:
        table = fill(table)
    next_id = max(next_id, int(table.ids[-1]) + 1 if len(table) else 0)
    contents = replace(contents, version=table.version, next_id=next_id, folders=table.folders)
    if isinstance(path, Remote):
        contents.write(path)
        return contents
    contents = replace(contents, checks=checksums.record(path, contents.model, table, None).name)
    with _removed_unless_named(path, str(contents.checks)):
        contents.write(path)
    return contents


def halves(model: Model) -> tuple[CodeEncoder, Decoder | None]:
    """Return the encoder and the decoder of a model; an encoder alone has no decoder beside it.

    Raises
    ------
    ParameterError, NotFittedError
        If the model makes no codes.
    """
    if isinstance(model, Encoder | PictureEncoder):
        return model, None
    if not isinstance(model, BaseAutoencoder):
        raise ParameterError(
            f"model is a {type(model).__name__}, which makes no codes for a library; "
            "give a fitted Autoencoder, or the Encoder of one (of a table's model, its model_, for "
            "rows of its encode_columns)"
        )
    return model.split()


def _save(model: Model, path: Place) -> None:
    # A library's model encodes and decodes: the state of its training stays where it was saved.
    without = {"resumable": False} if isinstance(model, BaseAutoencoder) else {}
    if isinstance(path, Path):
        model.save(path, **without)
        return
    with TemporaryDirectory() as folder:
        path.upload(model.save(Path(folder, path.name), **without))


@contextmanager
def _removed_unless_named(path: Path, name: str) -> Iterator[None]:
    """Remove a list of checksums if ``library.json`` does not come to name it."""
    try:
        yield
    except BaseException:
        named = ""
        with suppress(NarrowsError):  # Ctrl-C may come when it does already
            named = LibraryManifest.read(path).checks or ""
        if named != name:
            (path / name).unlink(missing_ok=True)
        raise


def _clean(path: Path, contents: LibraryManifest) -> int:
    """Remove former models, tables and indexes, and what crashes left; return the bytes freed."""
    ours = re.compile(
        r"\.?model(-[0-9a-f]{8})?(\.(narrows-)?\w{8})?|table(-[0-9a-f]{8})?\.lance|\.library\.(narrows-)?\w{8}\.json"
        r"|index-[a-z]+(-[0-9a-f]{8})?\.safetensors|\.index-[\w-]+\.(narrows-)?\w{8}\.safetensors"
        r"|checks-[0-9a-f]{32}\.json|\.checks-[0-9a-f]{32}\.narrows-\w{8}\.json"
    )
    indexes = index_names(contents.table).values()
    used = (contents.model, contents.table, contents.checks, *indexes)
    unused = [p for p in path.iterdir() if ours.fullmatch(p.name) and p.name not in used]
    files = [file for p in unused for file in (p, *p.rglob("*")) if file.is_file()]
    freed = sum(file.stat().st_size for file in files)
    _remove(*unused)
    return freed


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def _remove_remote(path: Remote, contents: LibraryManifest) -> None:
    (path / contents.model).remove()
    for name in (*index_names(contents.table).values(), contents.checks):
        if name is not None:
            (path / name).remove()
    address = lance_address(path / contents.table)
    with suppress(*FAILURES), panics_as_failures():
        lance.LanceDataset.drop(address["uri"], address["storage_options"])
