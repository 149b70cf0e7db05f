"""The folder of a library: ``library.json``, a copy of the model, and the table.

``library.json`` names the other two, so that replacing it in one step replaces the library.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from narrows import storage
from narrows.atomic import atomic_file, atomic_folder, check_output, explain_os_errors
from narrows.errors import OutputExistsError
from narrows.library.table import Table
from narrows.models import BaseAutoencoder, Decoder, Encoder

FORMAT = "narrows-library"
FORMAT_VERSION = 1
MANIFEST = "library.json"

LIBRARY = storage.Kind(
    what="library",
    manifest=MANIFEST,
    format=FORMAT,
    version=FORMAT_VERSION,
    first="build one first (narrows index, Library.create)",
    made="was built in",
    again="build the library again",
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
    """

    fingerprint: str
    model: str = "model"
    table: str = "table.lance"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check it.

        Raises
        ------
        MissingFileError
            If there is nothing at ``path``.
        FormatError
            If there is something else, something damaged, or a library of a newer version.
        """
        facts = LIBRARY.read(path)
        values: dict[str, Any] = {n: facts.get(n) for n in ("fingerprint", "model", "table")}
        if not all(storage.is_file_name(value) for value in values.values()):
            raise LIBRARY.damaged(path, "it does not name a fingerprint, a model and a table")
        for name in (values["model"], values["table"]):
            if (path / name).is_symlink():
                raise LIBRARY.damaged(path, f"'{name}' is a link that leads out of the library")
        return cls(**values)

    def write(self, path: Path) -> None:
        """Write it in one step."""
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **asdict(self),
            "versions": {name: version(name) for name in ("narrows", "pylance")},
        }
        with atomic_file(path / MANIFEST, overwrite=True) as file:
            file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def create(
    path: str | Path,
    model: BaseAutoencoder | Encoder,
    fill: Callable[[Table], object] | None = None,
    *,
    overwrite: bool,
) -> Path:
    """Make a library; a crash leaves what was there, or the new library, whole.

    Parameters
    ----------
    path : str or Path
        The folder.
    model : BaseAutoencoder or Encoder
        What makes the codes.
    fill : callable, optional
        Fills the empty table before anybody can see it.
    overwrite : bool
        Whether a library that is there already is replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputExistsError, OutputError
        If something is there that is not to be replaced, or the folder cannot be written.
    """
    path = check_output(path, overwrite=overwrite)
    contents = Contents(model.fingerprint_)
    with explain_os_errors(path):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not path.exists():
        with atomic_folder(path) as folder:
            _write(folder, model, contents, fill)
        return path
    if not LIBRARY.is_at(path):
        raise OutputExistsError(
            f"'{path}' is not a library of Narrows and is not replaced; choose another name"
        )
    with writing(path):
        suffix = f"-{secrets.token_hex(4)}"
        contents = Contents(contents.fingerprint, f"model{suffix}", f"table{suffix}.lance")
        try:
            _write(path, model, contents, fill)
        except BaseException:
            _remove(path / contents.model, path / contents.table)
            raise
        _remove(*_others(path, contents))
    return path


def halves(model: BaseAutoencoder | Encoder) -> tuple[Encoder, Decoder | None]:
    """Part a model that makes codes; an encoder alone has no decoder beside it."""
    return (model, None) if isinstance(model, Encoder) else model.split()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Keep other writers waiting, in this process and in others; the end of a process lets go."""
    with explain_os_errors(path):
        handle = os.open(path, os.O_RDONLY)
    try:
        with explain_os_errors(path):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(
    path: Path,
    model: BaseAutoencoder | Encoder,
    contents: Contents,
    fill: Callable[[Table], object] | None,
) -> None:
    model.save(path / contents.model)
    encoder, _ = halves(model)
    table = Table.create(path / contents.table, encoder.n_components, contents.fingerprint)
    if fill is not None:
        fill(table)
    contents.write(path)


def _others(path: Path, contents: Contents) -> list[Path]:
    """List the models and tables of the library's past."""
    ours = re.compile(r"model(-[0-9a-f]{8})?|table(-[0-9a-f]{8})?\.lance")
    now = (contents.model, contents.table)
    return [p for p in path.iterdir() if ours.fullmatch(p.name) and p.name not in now]


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
