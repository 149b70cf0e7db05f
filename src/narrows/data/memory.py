"""How much memory there is: what files and parameters claim is held against it first."""

import os
import re
from pathlib import Path

from narrows.errors import NarrowsError

_GIGABYTE = 1e9


def available() -> int:
    """Return how many bytes can be had: what Linux calls available, elsewhere all memory."""
    try:
        told = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text("utf-8"))
    except OSError:
        told = None
    if told:
        return int(told[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
