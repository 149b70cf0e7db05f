"""Limits on what untrusted files can make Narrows read, write or delete.

A library or model may come from anybody. Symbolic links in it would redirect reads and deletions to
other folders; reading pipes and devices would never end; JSON may be nested without limit.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from narrows.errors import FormatError

_DEEPEST = 64  # levels of lists and objects in JSON
_SHOWN = 200  # characters of a path in a message
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
)


class IrregularFileError(OSError):
    """A path leads to no regular file, or to one that is too large."""


def check_inside(folder: Path, *, itself: bool = False) -> None:
    """Refuse a folder with anything else than regular files and folders.

    The folder itself may be a symbolic link, as the user named it. Hard links are allowed:
    Narrows and Lance replace files by renaming and never write into an existing one, so that a
    change under one name of a file leaves its other names alone.

    Parameters
    ----------
    folder : Path
        A library, a model, or another folder of Narrows. Subfolders that cannot be listed, or
        vanish meanwhile, are skipped.
    itself : bool, default=False
        Whether the folder itself must not be a link either.

    Raises
    ------
    FormatError
        If there is a symbolic link below it, or a pipe, a socket or a device.
    """
    if itself and folder.is_symlink():
        _refuse(folder, folder)
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    _refuse(Path(entry.path), folder)


def _refuse(file: Path, folder: Path) -> None:
    try:
        mode = file.lstat().st_mode
    except FileNotFoundError:  # a writer's temporary file
        return
    if stat.S_ISLNK(mode):
        raise FormatError(
            f"'{_cut(file)}' is a symbolic link, and nothing in '{_cut(folder)}' may lead out of "
            "it; put a copy of what it leads to in its place (cp -RL copies a whole folder so), or "
            "remove it"
        )
    raise FormatError(
        f"'{_cut(file)}' is {_kind(mode)}, and '{_cut(folder)}' may hold files and folders alone; "
        "remove it"
    )


def irregular(path: str | Path) -> str | None:
    """Describe what is at a path if it is neither a regular file nor a folder, links followed.

    Opening a pipe would wait for its other end.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _kind(mode)


def is_folder(path: str | Path) -> bool:
    """Tell whether there is a folder; False if the system refuses to look.

    Names that are too long, folders without permission and the like are refused with the system's
    reason when the path is opened.
    """
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: str | Path) -> bool:
    """Tell whether there is a regular file; see :func:`is_folder`."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def open_regular(path: str | Path, *, follow: bool = False) -> int:
    """Open a regular file for reading, without waiting for the other end of a pipe.

    Parameters
    ----------
    path : str or Path
        The file.
    follow : bool, default=False
        Whether it may be a symbolic link to a regular file.

    Returns
    -------
    int
        The file descriptor, to be closed by the caller.

    Raises
    ------
    IrregularFileError
        If it is no regular file, or a link without ``follow``.
    OSError
        If it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise IrregularFileError("it is a symbolic link") from error
        if error.errno == errno.ENXIO:
            raise IrregularFileError("it is a socket or a device") from error
        raise
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise IrregularFileError(f"it is {_kind(mode)}, not a regular file")
    return handle


def read_regular(path: str | Path, most: int, *, follow: bool = False) -> bytes:
    """Read a whole regular file of bounded size.

    Parameters
    ----------
    path, follow
        See :func:`open_regular`.
    most : int
        The largest size, in bytes.

    Raises
    ------
    IrregularFileError
        If it is no regular file, or larger.
    OSError
        If it cannot be read.
    """
    with os.fdopen(open_regular(path, follow=follow), "rb") as file:
        # Files below /proc have no size until they are read.
        if os.fstat(file.fileno()).st_size <= most and len(contents := file.read(most + 1)) <= most:
            return contents
    raise IrregularFileError(f"it is larger than {most:,} bytes")


def parse_json(contents: bytes) -> Any:
    """Parse JSON in UTF-8 with at most 64 levels of lists and objects.

    Raises
    ------
    ValueError
        If it is no JSON in UTF-8, or nested deeper.

    Examples
    --------
    >>> parse_json(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    try:
        parsed = json.loads(contents.decode())
    except RecursionError as error:
        raise ValueError("its JSON is nested too deep") from error
    level, depth = [parsed], 0
    while level := [
        one
        for some in level
        if isinstance(some, dict | list)
        for one in (some.values() if isinstance(some, dict) else some)
        if isinstance(one, dict | list)
    ]:
        depth += 1
        if depth >= _DEEPEST:
            raise ValueError(f"its JSON is nested deeper than {_DEEPEST} lists and objects")
    return parsed


def _kind(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "a device")


def _cut(file: Path) -> str:
    """Return a path on one line, shortened to its end if it is long."""
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(file))
    return text if len(text) <= _SHOWN else f"...{text[3 - _SHOWN :]}"
