"""Limits on what untrusted files can make Narrows read, write, delete or hold in memory.

A library or model may come from anybody. Symbolic links in it would redirect reads and deletions to
other folders; reading pipes and devices would never end; JSON may be nested without limit; a few
bytes can claim any size.
"""

import errno
import json
import os
import re
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from narrows.errors import FormatError, NarrowsError

_DEEPEST = 64  # levels of lists and objects in JSON
_SHOWN = 200  # characters of a path in a message
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
)
# Share of the free memory that intermediate results may take.
_SHARE = 1 / 2
_GIGABYTE = 1e9
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_PAGES = Path("/proc/self/statm")
# Files of limit and use, and the entry of the cache that can be freed, in versions 2 and 1.
_FILES_OF_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
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


def fits(n_bytes: int) -> bool:
    """Return whether intermediate results take at most half of the free memory."""
    return n_bytes <= _SHARE * available()


def check_fits(n_bytes: int, what: str, remedy: str, error: type[NarrowsError]) -> None:
    """Refuse what would not fit into memory, before any is allocated.

    A few bytes can claim any size: a compressed file of zeros, a header, a parameter.

    Parameters
    ----------
    n_bytes : int
        The memory needed.
    what, remedy : str
        What needs it, and what to do instead, for the message.
    error : type
        Class of the error to raise.

    Raises
    ------
    NarrowsError
        Of the class ``error``, if there is less memory.
    """
    if n_bytes > (free := available()):
        needed = f"{n_bytes / _GIGABYTE:.3g}" if n_bytes < 10**30 else "more than 1e+21"
        raise error(
            f"{what} would take {needed} GB of memory, and {free / _GIGABYTE:.3g} GB are free; "
            f"{remedy}"
        )


def available() -> int:
    """Return how many bytes this process can allocate.

    That is Linux's MemAvailable (elsewhere all memory), within the limits of the process
    (``ulimit -v``, ``ulimit -d``) and of its control groups (containers, ``systemd-run``).
    """
    return max(0, min([_of_machine(), *_of_process(), *_of_groups()]))


def _of_machine() -> int:
    available_kb = re.search(r"MemAvailable: +(\d+) kB", _read_text(Path("/proc/meminfo")))
    if available_kb:
        return int(available_kb[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_process() -> Iterator[int]:
    """Yield what the limits of address space and data leave."""
    used = [int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in _read_text(_PAGES).split()]
    for limit, place in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY and used:
            yield most - used[place]


def _of_groups() -> Iterator[int]:
    """Yield what the control groups of the process leave, in cgroup version 1 and 2."""
    for line in _read_text(_OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _CONTROL_GROUPS / controllers
            own = root / path.lstrip("/")
            # In a container, the path may be one outside of it, and the root its own group.
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    yield from _of_group(folder)


def _of_group(folder: Path) -> Iterator[int]:
    """Yield what a control group leaves: its limit, less its use without the page cache."""
    for limit, usage, cache in _FILES_OF_GROUPS:
        most, used = _read_text(folder / limit), _read_text(folder / usage)
        if most.strip().isdecimal() and used.strip().isdecimal():
            freed = re.search(rf"^{cache} (\d+)", _read_text(folder / "memory.stat"), re.MULTILINE)
            yield int(most) - int(used) + (int(freed[1]) if freed else 0)


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
