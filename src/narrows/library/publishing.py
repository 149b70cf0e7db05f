"""New libraries, on a disk or in an object store."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lance

from narrows.atomic import atomic_folder, check_output, exists_already, explain_os_errors
from narrows.containment import check_inside
from narrows.errors import FormatError, OutputExistsError
from narrows.library import folder
from narrows.library.folder import LIBRARY, Contents
from narrows.library.ivf import index_names
from narrows.library.table import Table
from narrows.models import BaseAutoencoder, Encoder
from narrows.remote import FAILURES, Place, Remote, lance_address, panics_as_failures


def create(
    path: Place,
    model: BaseAutoencoder | Encoder,
    fill: Callable[[Table], Table] | None = None,
    *,
    overwrite: bool,
) -> Place:
    """Make a library; a crash leaves what was there, or the new library, whole.

    In an object store, everything has a name of its own and cannot be seen until ``library.json``,
    one object, takes its place. A crash may leave what nobody will read. Of two that make the same
    library at the same time, one is there in the end, whole.

    Parameters
    ----------
    path : Path or Remote
        The folder.
    model : BaseAutoencoder or Encoder
        What makes the codes.
    fill : callable, optional
        Gets the empty table, before anybody can see it, and returns the filled one.
    overwrite : bool
        Whether a library that is there already is replaced.

    Returns
    -------
    Path or Remote
        The folder.

    Raises
    ------
    OutputExistsError, OutputError, StoreError
        If something is there that is not to be replaced, or the folder cannot be written.
    FormatError
        If there is a symbolic link in the library that is there.
    """
    if isinstance(path, Remote):
        _publish(path, model, fill, overwrite=overwrite)
    else:
        _create(path, model, fill, overwrite=overwrite)
    return path


def _create(
    path: Path,
    model: BaseAutoencoder | Encoder,
    fill: Callable[[Table], Table] | None,
    *,
    overwrite: bool,
) -> None:
    lance_address(path)  # refuses what Lance cannot open
    check_output(path, overwrite=overwrite)
    with explain_os_errors(path):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not path.exists():
        with atomic_folder(path) as temporary:
            folder.fill_in(temporary, model, Contents(model.fingerprint_), fill)
        return
    if not LIBRARY.is_at(path):
        raise _no_library(path)
    with folder.writing(path):
        check_inside(path)
        folder.clean(path, folder.rewrite(path, model, fill))


def _publish(
    path: Remote,
    model: BaseAutoencoder | Encoder,
    fill: Callable[[Table], Table] | None,
    *,
    overwrite: bool,
) -> None:
    before = _before(path, overwrite=overwrite)
    suffix = f"-{secrets.token_hex(4)}"
    contents = Contents(model.fingerprint_, f"model{suffix}", f"table{suffix}.lance")
    try:
        folder.fill_in(path, model, contents, fill)
    except BaseException:
        _remove(path, contents)
        raise
    if before is not None:
        _remove(path, before)


def _before(path: Remote, *, overwrite: bool) -> Contents | None:
    """Read what the library that is there is made of, if it may be replaced."""
    if LIBRARY.is_at(path):
        if not overwrite:
            raise exists_already(path)
        with suppress(FormatError):  # of what is damaged, nobody knows what it was made of
            return Contents.read(path)
        return None
    # What a crash has left is in nobody's way.
    ours = ("model-", "table-", "index-", "checks-")
    others = [name for name in path.names() if not name.startswith(ours)]
    if others:
        raise _no_library(path)
    return None


def _no_library(path: Place) -> OutputExistsError:
    return OutputExistsError(
        f"'{path}' is not a library of Narrows and is not replaced; choose another name"
    )


def _remove(path: Remote, contents: Contents) -> None:
    (path / contents.model).remove()
    for name in (*index_names(contents.table).values(), contents.checks):
        if name is not None:
            (path / name).remove()
    address = lance_address(path / contents.table)
    with suppress(*FAILURES), panics_as_failures():
        lance.LanceDataset.drop(address["uri"], address["storage_options"])
