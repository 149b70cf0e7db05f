"""Room for what is computed on the way: in memory, or in a file where memory is too small."""

import os
import tempfile
from math import prod

import numpy as np
from numpy.typing import NDArray

from narrows.data.memory import available
from narrows.errors import OutputError

# The share of the free memory that rows on the way may take.
_SHARE = 1 / 2


def scratch_rows(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Make an array to be filled, in memory if it takes at most half of what is free.

    Otherwise it is mapped to a file in the folder for temporary files (the environment variable
    ``TMPDIR``). That file has no name, so it is gone with the last use of the array, or with the
    process, however it ends.

    Parameters
    ----------
    shape : tuple of int

    Returns
    -------
    ndarray of float32

    Raises
    ------
    OutputError
        If the file has no room.
    """
    n_bytes = prod(shape) * np.dtype(np.float32).itemsize
    if n_bytes <= _SHARE * available():
        return np.empty(shape, np.float32)
    try:
        with tempfile.TemporaryFile(prefix="narrows-") as file:
            if hasattr(os, "posix_fallocate"):
                # Taken now: a full disk would otherwise end the process when pages are written.
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.truncate(n_bytes)
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"an array of shape {shape} takes {n_bytes / 1e9:.3g} GB, for which there is room "
            f"neither in memory nor in '{tempfile.gettempdir()}' ({error.strerror}); set TMPDIR to "
            "a folder with more room, or choose narrower layers"
        ) from error
