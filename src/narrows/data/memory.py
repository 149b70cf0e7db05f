"""How much memory there is: what files and parameters claim is held against it first."""

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from narrows.errors import NarrowsError

_GIGABYTE = 1e9
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_PAGES = Path("/proc/self/statm")
# Limit, use, and what can be freed of it at once, in version 2 and version 1.
_FILES_OF_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available() -> int:
    """Return how many bytes this process can have.

    That is what Linux calls available (elsewhere all memory), as far as the limits of the process
    (``ulimit -v``, ``ulimit -d``) and of its control groups (containers, ``systemd-run``) let it.
    """
    return max(0, min([_of_machine(), *_of_process(), *_of_groups()]))


def _of_machine() -> int:
    told = re.search(r"MemAvailable: +(\d+) kB", _text(Path("/proc/meminfo")))
    if told:
        return int(told[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_process() -> Iterator[int]:
    """Yield what the limits of addresses and of data leave."""
    used = [int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in _text(_PAGES).split()]
    for limit, place in ((resource.RLIMIT_AS, 0), (resource.RLIMIT_DATA, 5)):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY and used:
            yield most - used[place]


def _of_groups() -> Iterator[int]:
    """Yield what the control groups leave that the process is in, of either version."""
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = _GROUPS / controllers
            own = root / path.lstrip("/")
            # In a container, the path may be one outside of it, and the root its own group.
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    yield from _of_group(folder)


def _of_group(folder: Path) -> Iterator[int]:
    """Yield what a group leaves: its limit, less what it uses but for files read lately."""
    for limit, usage, cache in _FILES_OF_GROUPS:
        most, used = _text(folder / limit), _text(folder / usage)
        if most.strip().isdecimal() and used.strip().isdecimal():
            freed = re.search(rf"^{cache} (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
            yield int(most) - int(used) + (int(freed[1]) if freed else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def check_fits(n_bytes: int, what: str, remedy: str, error: type[NarrowsError]) -> None:
    """Refuse what would fill the memory before any of it is taken.

    A few bytes can claim any size: a compressed file of zeros, a header, a parameter.

    Parameters
    ----------
    n_bytes : int
        What is needed.
    what, remedy : str
        What needs it, and what to do instead, for the message.
    error : type
        The class to raise.

    Raises
    ------
    NarrowsError
        Of the class given.
    """
    if n_bytes > (free := available()):
        needed = f"{n_bytes / _GIGABYTE:.3g}" if n_bytes < 10**30 else "more than 1e+21"
        raise error(
            f"{what} would take {needed} GB of memory, and {free / _GIGABYTE:.3g} GB are free; "
            f"{remedy}"
        )
