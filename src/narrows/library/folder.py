"""The folder of a library: ``library.json``, a copy of the model, and the table.

``library.json`` names the other two, and the version of the table that readers see, so that
replacing it in one step replaces the library, or shows all of a change at once.
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
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from narrows import storage
from narrows.atomic import atomic_file, explain_os_errors, may_write
from narrows.errors import FormatError, LibraryError, NarrowsError, ParameterError
from narrows.library import checks, commits
from narrows.library.checks import Checks
from narrows.library.ivf import index_names
from narrows.library.table import Table, cannot_write
from narrows.models import BaseAutoencoder, Decoder, Encoder
from narrows.remote import Place, Remote

FORMAT = "narrows-library"
FORMAT_VERSION = 5
MANIFEST = "library.json"

# The first version that says what its contents were, and the last that named no addition.
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
class Contents:
    """What ``library.json`` says.

    Attributes
    ----------
    fingerprint : str
        Of the model that made the codes.
    model, table : str
        The names of their folders.
    version : int
        Of the table: what is beyond it, nobody has been told of.
    next_id : int
        Of the next picture; ids of removed pictures are not given again.
    folders : tuple of str, or None
        Where files may be that rows refer to; None if an older version made the library, which
        was not told.
    checks : str, or None
        The name of the list of checksums; None if an older version wrote the library last, or it
        was made in an object store.
    adding : str
        If what is beyond the version is the beginning of an addition, and nothing else, the name
        of that addition; otherwise empty.
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
    def read(cls, path: Place) -> Self:
        """Read and check it.

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
            # Nobody goes on with it: what is beyond the version is removed by the next writer.
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
        if (told := values["folders"]) is not None:
            if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
                raise LIBRARY.damaged(path, "its 'folders' are not a list of texts, or null")
            values["folders"] = tuple(told)
        return cls(**values)

    def open_table(self, path: Place) -> Table:
        """Open the table, at the version that readers see."""
        return Table(path / self.table, self.fingerprint, self.version, self.folders)

    def write(self, path: Place) -> None:
        """Write it in one step."""
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **asdict(self),
            "versions": {name: version(name) for name in ("narrows", "pylance")},
        }
        facts["check"] = _check_of(facts)
        contents = f"{json.dumps(facts, indent=2)}\n".encode()
        if isinstance(path, Remote):
            (path / MANIFEST).write_bytes(contents)
            return
        with atomic_file(path / MANIFEST, overwrite=True) as file:
            file.write_bytes(contents)


def look(path: Place) -> tuple[Contents, Table]:
    """Open a library as it is now, whatever writers do meanwhile.

    Raises
    ------
    MissingFileError, FormatError
        As :meth:`Contents.read`; also if the table cannot be opened.
    """
    contents = Contents.read(path)
    while True:
        try:
            return contents, contents.open_table(path)
        except FormatError:
            # Between the two steps, a writer may have removed the version that was named.
            now = Contents.read(path)
            if now == contents:
                raise
            contents = now


class Turn:
    """One writer's turn at a library, while the others wait.

    Parameters
    ----------
    path : Path
        The library.
    contents : Contents
        What ``library.json`` says now.
    resume : str
        The name of the addition whose beginning is gone on with; otherwise the table is taken
        back to what readers see.

    Attributes
    ----------
    path : Path
        The library.
    contents : Contents
        What readers see.
    table : Table
        The latest version.
    checks : Checks or None
        The checksums of what readers see.

    Raises
    ------
    FormatError
        If the list of checksums is damaged, or that of the table's files.
    """

    def __init__(self, path: Path, contents: Contents, *, resume: str) -> None:
        self.path = path
        self.contents = contents
        self.table = Table(path / contents.table, contents.fingerprint, folders=contents.folders)
        self.checks = None
        if contents.checks is not None:
            self.checks = Checks.read(path, contents.checks)
            self.checks.refuse_changed_manifest()
        if contents.adding and contents.adding == resume:
            return
        if self.table.version != contents.version:
            self.publish(commits.restore(contents.open_table(path)))
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
            Of the next picture; by default as it was.
        updated : ndarray of int64, optional
            Ids of the rows whose values were changed in place.
        """
        self.table = table
        next_id = self.contents.next_id if next_id is None else next_id
        was = self.contents
        model = self.contents.model
        self.checks = checks.record(self.path, model, table, self.checks, updated)
        changes = {"version": table.version, "next_id": next_id, "checks": self.checks.name}
        with _removed_unless_named(self.path, self.checks.name):
            self._write(**changes, adding="", folders=table.folders)
        if was.checks is not None and was.checks != self.checks.name:
            (self.path / was.checks).unlink(missing_ok=True)

    def publish_moved(self, table: Table) -> None:
        """Let readers see a version whose rows were copied to other files, if these were whole.

        Raises
        ------
        FormatError
            If one was damaged: its rows would look like whole ones from now on.
        """
        if self.checks is not None:
            self.checks.refuse_changed_outdated(table)
        self.publish(table)

    def begin_adding(self, name: str) -> None:
        """Say that what is going to be beyond the readers' version is an addition's."""
        if not self.contents.adding:
            self._write(adding=name)

    def clean(self) -> int:
        """Remove models and tables of the library's past and what crashes left; give the bytes."""
        checks.forget(self.path / self.contents.table)
        return clean(self.path, self.contents)

    def _write(self, **changes: Any) -> None:
        contents = replace(self.contents, **changes)
        contents.write(self.path)
        self.contents = contents


def record(path: Path, contents: Contents) -> None:
    """Record the checksums of a library that an older version has written.

    Whoever calls this sees to it that nobody else writes.
    """
    made = checks.record(path, contents.model, contents.open_table(path), None)
    with _removed_unless_named(path, made.name):
        replace(contents, checks=made.name).write(path)


def clean(path: Path, contents: Contents) -> int:
    """Remove models and tables of a library's past and what crashes left; give the bytes."""
    others = _others(path, contents)
    files = [file for other in others for file in (other, *other.rglob("*")) if file.is_file()]
    freed = sum(file.stat().st_size for file in files)
    _remove(*others)
    return freed


@contextmanager
def turn(path: Place, contents: Contents, *, resume: str = "") -> Iterator[Turn]:
    """Wait for a turn at writing.

    Parameters
    ----------
    path : Path
        The library.
    contents : Contents
        What it was when it was opened.
    resume : str
        As for :class:`Turn`.

    Raises
    ------
    LibraryError
        If the library was replaced by another, or moved to another model, since, or is in an
        object store.
    """
    with writing(path) as folder:
        yield Turn(folder, still(folder, contents), resume=resume)


def still(path: Path, contents: Contents) -> Contents:
    """Return what a library is made of now, if it still is the one that was opened.

    Raises
    ------
    LibraryError
        If it is not.
    """
    now = Contents.read(path)
    if (now.fingerprint, now.table) != (contents.fingerprint, contents.table):
        raise LibraryError(
            f"'{path}' was replaced by another library since it was opened, or moved to "
            "another model; refresh() or open it again"
        )
    return now


def rewrite(
    path: Path,
    model: BaseAutoencoder | Encoder,
    fill: Callable[[Table], Table] | None,
    next_id: int = 0,
) -> Contents:
    """Put another model and table in a library's place, in one step; the old ones stay beside.

    Whoever calls this sees to it that nobody else writes.

    Parameters
    ----------
    path : Path
        The library.
    model : BaseAutoencoder or Encoder
        What makes the codes.
    fill : callable or None
        Gets the empty table, before anybody can see it, and returns the filled one.
    next_id : int
        The least that the next picture may get.

    Returns
    -------
    Contents
        What the library is made of now.
    """
    suffix = f"-{secrets.token_hex(4)}"
    contents = Contents(model.fingerprint_, f"model{suffix}", f"table{suffix}.lance")
    try:
        return fill_in(path, model, contents, fill, next_id)
    except BaseException:
        # Ctrl-C may come when the new ones are in place already.
        if Contents.read(path).table != contents.table:
            _remove(path / contents.model, path / contents.table)
        raise


def check_model(model: object) -> None:
    """Refuse what makes no codes."""
    if not isinstance(model, BaseAutoencoder | Encoder):
        raise ParameterError(
            f"model is a {type(model).__name__}, which makes no codes for a library; "
            "give a fitted Autoencoder, or the Encoder of one"
        )


def halves(model: BaseAutoencoder | Encoder) -> tuple[Encoder, Decoder | None]:
    """Part a model that makes codes; an encoder alone has no decoder beside it."""
    return (model, None) if isinstance(model, Encoder) else model.split()


@contextmanager
def writing(path: Place) -> Iterator[Path]:
    """Keep other writers waiting, in this process and in others; the end of a process lets go.

    Yields
    ------
    Path
        The library.

    Raises
    ------
    OutputError
        If the library must not be written to.
    LibraryError
        If it is in an object store, where nothing keeps writers waiting.
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


def fill_in(
    path: Place,
    model: BaseAutoencoder | Encoder,
    contents: Contents,
    fill: Callable[[Table], Table] | None,
    next_id: int = 0,
) -> Contents:
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
    name = checks.record(path, contents.model, table, None).name
    contents = replace(contents, checks=name)
    with _removed_unless_named(path, name):
        contents.write(path)
    return contents


@contextmanager
def _removed_unless_named(path: Path, name: str) -> Iterator[None]:
    """Remove a list of checksums if ``library.json`` does not come to name it."""
    try:
        yield
    except BaseException:
        named = ""
        with suppress(NarrowsError):  # Ctrl-C may come when it does already
            named = Contents.read(path).checks or ""
        if named != name:
            (path / name).unlink(missing_ok=True)
        raise


def _check_of(facts: Mapping[str, Any]) -> str:
    """Give the SHA-256 of what ``library.json`` says, but for this."""
    rest = {name: value for name, value in facts.items() if name != "check"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _save(model: BaseAutoencoder | Encoder, path: Place) -> None:
    # A library's model encodes and decodes: the state of its training stays where it was saved.
    without = {"resumable": False} if isinstance(model, BaseAutoencoder) else {}
    if isinstance(path, Path):
        model.save(path, **without)
        return
    with TemporaryDirectory() as folder:
        path.upload(model.save(Path(folder, path.name), **without))


def _others(path: Path, contents: Contents) -> list[Path]:
    """List the models, tables and indexes of the library's past."""
    ours = re.compile(
        r"\.?model(-[0-9a-f]{8})?(\.(narrows-)?\w{8})?|table(-[0-9a-f]{8})?\.lance|\.library\.(narrows-)?\w{8}\.json"
        r"|index-[a-z]+(-[0-9a-f]{8})?\.safetensors|\.index-[\w-]+\.(narrows-)?\w{8}\.safetensors"
        r"|checks-[0-9a-f]{32}\.json|\.checks-[0-9a-f]{32}\.narrows-\w{8}\.json"
    )
    indexes = index_names(contents.table).values()
    now = (contents.model, contents.table, contents.checks, *indexes)
    return [p for p in path.iterdir() if ours.fullmatch(p.name) and p.name not in now]


def _remove(*folders: Path) -> None:
    for folder in folders:
        if folder.is_file():
            folder.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)
