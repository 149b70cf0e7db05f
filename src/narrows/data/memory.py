"""Free memory: how much a process can allocate, and checks that results fit into it."""

import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from narrows.errors import NarrowsError

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
