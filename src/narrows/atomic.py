"""Atomic outputs: temporary files and folders that are renamed when they are complete.

A crash, a full disk or Ctrl-C leaves what was there before.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from narrows.errors import NarrowsError, OutputError, OutputExistsError

# The name of an output while it is written.
_TEMPORARY = re.compile(r"\.(?P<stem>.+)\.narrows-[a-z0-9_]{8}(?P<suffix>\.[^.]*)?")
# Most bytes of an output's name in its temporary name, as file systems limit the length of names.
_LONGEST = 200
# Whether access can be checked for the effective user of the process.
_EFFECTIVE = os.access in os.supports_effective_ids


def check_output(
    path: str | Path, *, overwrite: bool, kind: Literal["file", "folder"] | None = None
) -> Path:
    """Refuse an output that exists, or whose folder is not writable, before any computation.

    Parameters
    ----------
    path : str or Path
        The path of the output.
    overwrite : bool
        Whether an existing output may be replaced.
    kind : {"file", "folder"}, optional
        Kind of the output; nothing of the other kind is replaced.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    OutputExistsError
        If the output exists and ``overwrite`` is false, or it is of the other kind.
    OutputError
        If the folder around it does not exist, or there is no permission to write.
    """
    path = Path(path)
    if "\0" in str(path):
        raise OutputError(f"'{path}' is no path, as it holds NUL; choose another name")
    with explain_os_errors(path):  # there may be no permission to search the folder
        exists = path.is_symlink() or path.exists()
        is_folder = path.is_dir()
        has_parent = path.parent.is_dir()
    if exists and not overwrite:
        raise exists_already(path)
    if is_folder and kind == "file":
        raise OutputExistsError(f"'{path}' is a folder; name a file")
    if exists and not is_folder and kind == "folder":
        raise OutputExistsError(f"'{path}' is a file; name a folder")
    parent = path.parent
    if not has_parent and is_address(path):
        raise OutputError(
            f"'{path}' is not written: object stores take libraries alone (narrows index); name a "
            "file or folder on a disk"
        )
    if not has_parent:
        raise OutputError(f"'{path}' cannot be written: there is no folder '{parent}'; create it")
    for folder in (parent, path) if is_folder else (parent,):
        if not may_write(folder):
            raise OutputError(
                f"'{path}' cannot be written: no permission to write in '{folder}'; "
                "choose another folder"
            )
    return path


def exists_already(path: object) -> OutputExistsError:
    """Make the error for an output that exists and may not be replaced."""
    return OutputExistsError(
        f"'{path}' exists already; choose another name or allow overwriting it "
        "(--overwrite, overwrite=True)"
    )


def is_address(path: Path) -> bool:
    """Tell whether a path is the address of an object store, such as "s3://bucket/file"."""
    return re.match(r"[a-z][a-z0-9]+:/", str(path)) is not None


def may_write(folder: Path) -> bool:
    """Tell whether there is permission to create and remove files in a folder."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=_EFFECTIVE)


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Raise the operating system's errors of writing as an OutputError."""
    try:
        yield
    except NarrowsError:
        raise
    except (OSError, UnicodeEncodeError) as error:
        # Some libraries open no file whose name is not UTF-8.
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"'{path}' could not be written: {reason}; nothing was left behind; "
            "make room or choose another place"
        ) from error


@contextmanager
def atomic_file(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary file to write, which is renamed if the block succeeds.

    Parameters
    ----------
    path : str or Path
        The final name.
    overwrite : bool, default=False
        Whether an existing file is replaced.

    Yields
    ------
    Path
        The temporary file, in the same folder and with the same suffix.

    Raises
    ------
    OutputExistsError, OutputError
        See :func:`check_output`; also if the disk is full.
    """
    path = check_output(path, overwrite=overwrite, kind="file")
    with _becoming(path, is_folder=False) as temporary:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        sync(temporary)
        temporary.replace(path)


@contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill, which is renamed if the block succeeds.

    With ``overwrite``, an existing folder keeps the files that the new one does not have: Narrows
    never deletes what it did not write. Each file is replaced atomically.

    Parameters
    ----------
    path : str or Path
        The final name.
    overwrite : bool, default=False
        Whether files of an existing folder are replaced.

    Yields
    ------
    Path
        The temporary folder, beside the final one.

    Raises
    ------
    OutputExistsError, OutputError
        See :func:`check_output`; also if the disk is full.
    """
    path = check_output(path, overwrite=overwrite, kind="folder")
    with _becoming(path, is_folder=True) as temporary:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            sync(file)
        if path.exists():
            _move_over(temporary, path)
        else:
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(path)


@contextmanager
def _becoming(path: Path, *, is_folder: bool) -> Iterator[Path]:
    """Yield a locked temporary file or folder, which is removed if the block fails."""
    with explain_os_errors(path):
        temporary, lock = make_temporary(path, is_folder=is_folder)
        try:
            yield temporary
        except BaseException:
            remove(temporary)
            raise
        finally:
            os.close(lock)
        sync(path.parent)
        remove_abandoned(path.parent, lambda name: name == path.name)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_abandoned(folder: Path, is_wanted: Callable[[str], bool]) -> None:
    """Remove temporary files and folders of killed processes.

    Those of running processes are locked, and stay.

    Parameters
    ----------
    folder : Path
        Folder of the outputs.
    is_wanted : callable
        Takes the final name of an output, and tells whether its temporary files are removed.
    """
    for path in folder.iterdir():
        found = _TEMPORARY.fullmatch(path.name)
        if found is None or path.is_symlink():
            continue
        if is_wanted(found["stem"] + (found["suffix"] or "")) and (path.is_file() or path.is_dir()):
            _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(path)
    except OSError:  # it belongs to a running process, or to another user
        return
    finally:
        os.close(lock)


def make_temporary(path: Path, *, is_folder: bool) -> tuple[Path, int]:
    """Create a temporary file or folder; return it, and the descriptor that locks it."""
    name = path.name if is_folder else path.stem
    prefix = f".{shortened_name(name)}.narrows-"
    while True:
        if is_folder:
            temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
            lock = os.open(temporary, os.O_RDONLY)
        else:
            lock, file = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
            temporary = Path(file)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return temporary, lock  # a file system without locks, on which nothing is removed
        if temporary.exists():
            return temporary, lock
        os.close(lock)  # another process removed it as abandoned before it was locked


def shortened_name(name: str) -> str:
    """Cut the name of an output to 200 bytes, as file systems allow 255 for a temporary name."""
    return os.fsdecode(os.fsencode(name)[:_LONGEST])


def _move_over(source: Path, target: Path) -> None:
    moves = [(file, target / file.relative_to(source)) for file in sorted(source.rglob("*"))]
    for file, place in moves:
        if place.exists() and place.is_dir() != file.is_dir():
            kind = "folder" if place.is_dir() else "file"
            raise OutputExistsError(f"the {kind} '{place}' is in the way; remove it")
    for file, place in moves:
        if file.is_dir():
            place.mkdir(exist_ok=True)
        else:
            file.replace(place)
    shutil.rmtree(source)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
