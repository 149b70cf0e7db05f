"""The standard streams of a command, closed, full or left by their reader.

A command does all that it was asked for, whatever becomes of what it prints. What is printed to a
stream that takes nothing is dropped, and the exit code says so of the answer: 5 where standard
output is closed or full, 141 (128 + SIGPIPE) where its reader has left (``narrows ... | head -1``).
Without standard error, nothing but messages is lost.
"""

import errno
import faulthandler
import fcntl
import io
import os
import sys
from pathlib import Path
from typing import Any

LOST = 5
"""The exit code where the answer could not be written: that of outputs."""

LEFT = 141
"""The exit code where the reader of the answer has left: 128 + SIGPIPE."""

_ABOVE = 3  # descriptors that are no standard streams
_MOST = 1 << 16  # bytes of other libraries' messages that are shown
# Of commands that stay, or whose processes work together, messages of other libraries are shown as
# they come: these words are in their command lines, and torchrun sets the variable.
_LASTING = ("serve", "--ray")
_TORCHRUN = "TORCHELASTIC_RUN_ID"


class _Sink(io.RawIOBase):
    """A descriptor to which writing never fails; what was wrong first is kept."""

    def __init__(self, handle: int, error: OSError | None) -> None:
        self._handle, self.error = handle, error

    def fileno(self) -> int:
        return self._handle

    def isatty(self) -> bool:
        return self.error is None and os.isatty(self._handle)

    def writable(self) -> bool:
        return True

    def write(self, some: Any) -> int:
        left = memoryview(some).cast("B")
        size = len(left)
        while left and self.error is None:
            try:
                left = left[os.write(self._handle, left) :]
            except BlockingIOError:  # the other end has made the pipe so
                os.set_blocking(self._handle, True)
            except OSError as error:
                self.error = error
        return size


class Streams:
    """The standard streams of this process, from now on."""

    def __init__(self) -> None:
        closed = [_is_closed(handle) for handle in range(_ABOVE)]
        for handle, is_closed in enumerate(closed):
            if is_closed:  # or the first file that is opened would take its place
                _put(os.open(os.devnull, os.O_RDONLY if handle == 0 else os.O_WRONLY), handle)
        bad = [OSError(errno.EBADF, "it is closed") if one else None for one in closed]
        self._out = _Sink(1, bad[1])
        self._native: int | None = None
        handle = 2
        if _TORCHRUN not in os.environ and not any(word in _LASTING for word in sys.argv):
            # Rust prints of each panic, C libraries of each defect: that is said in our own words.
            handle = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
            self._native = _unnamed()
            os.dup2(self._native, 2)
        self._err = _Sink(handle, bad[2])
        sys.stdout = _text(self._out, sys.stdout)
        sys.stderr = _text(self._err, sys.stderr)

    def tell_crashes(self) -> None:
        """Have a crash print where it was, as what the library wrote of it is lost with it.

        Rust aborts where memory is short; nothing else would be said of that.
        """
        faulthandler.enable(self._err.fileno(), all_threads=False)

    def finish(self, code: int) -> int:
        """Write what is still to be written, and return the exit code.

        Parameters
        ----------
        code : int
            Of what the command did.
        """
        sys.stdout.flush()
        error = self._out.error
        if error is not None and error.errno == errno.EPIPE:
            code = code or LEFT
        elif error is not None and code == 0:
            code = LOST
            sys.stderr.write(
                f"narrows: error: standard output could not be written: {error.strerror}; what the "
                "command writes to files is written; give it a standard output that takes all\n"
            )
        sys.stderr.flush()
        if code == 1 and self._native is not None:
            size = os.fstat(self._native).st_size
            self._err.write(os.pread(self._native, _MOST, max(0, size - _MOST)))
        return code


def _is_closed(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return True
    return False


def _put(handle: int, place: int) -> None:
    if handle != place:
        os.dup2(handle, place)
        os.close(handle)


def _unnamed() -> int:
    """Open a file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("narrows")
    import tempfile

    handle, path = tempfile.mkstemp()
    Path(path).unlink()
    return handle


def _text(sink: _Sink, before: Any) -> io.TextIOWrapper:
    """Make a stream of texts; letters that its encoding lacks are written as escapes."""
    return io.TextIOWrapper(
        io.BufferedWriter(sink),
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=sink.fileno() != 1 or sink.isatty(),
    )
