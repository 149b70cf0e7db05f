"""The process of a command: the signals that end it, and its standard streams.

A command ends at Ctrl-C (SIGINT), SIGTERM and SIGHUP. The first signal is raised as
:class:`Stopped`, a KeyboardInterrupt, so that temporary files are removed on the way out. While a
model is trained and saved, the signal is held until training takes it at the end of a step
(:meth:`Stopping.check`). While a module is imported, it is held until that is done: extension
modules that call back into Python there may abort the process at an exception. A second signal ends
the process at once, unless it belongs to the first.

A command does all that it was asked for, whatever becomes of what it prints. What is printed to a
stream that takes nothing is dropped, and the exit code reports a lost answer: 5 where standard
output is closed or full, 141 (128 + SIGPIPE) where its reader has left (``narrows ... | head -1``).
Without standard error, only messages are lost.
"""

import errno
import faulthandler
import fcntl
import io
import os
import signal
import sys
import time
from types import FrameType
from typing import Any

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
# A terminal that closes sends SIGHUP, and so does its shell to its jobs; systemd ends sessions by
# SIGTERM and SIGHUP (SendSIGHUP=): each of these pairs is one request.
_SECONDS_OF_HANGUP = 1.0
_SECONDS_BETWEEN_LOOKS = 0.02

LOST = 5
"""The exit code where the answer could not be written: that of outputs."""

LEFT = 141
"""The exit code where the reader of the answer has left: 128 + SIGPIPE."""

# The first descriptor that is no standard stream, and the bytes that are shown of other libraries'
# messages.
_ABOVE, _MOST = 3, 1 << 16
# Commands that go on, or whose processes work together, show the messages of other libraries as
# they come: these words are in their command lines, and torchrun sets the variable.
_LASTING = ("serve", "--ray")
_TORCHRUN = "TORCHELASTIC_RUN_ID"


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end.

    Attributes
    ----------
    code : int
        The exit code: 128 plus the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(_NAMES[signal.Signals(number)])
        self.code = 128 + number


class Stopping:
    """The signals that this process has received.

    Attributes
    ----------
    number : int or None
        The first signal.
    is_held : bool
        Whether a signal waits until :meth:`check` is called, or until the command has ended.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_held = False
        self._is_taken = False
        self._time = 0.0
        self._process = 0
        self._terminals: list[int] = []

    @property
    def reason(self) -> str:
        """The name of what ended the command: KeyboardInterrupt did without a signal."""
        return _NAMES[signal.Signals(self.number or signal.SIGINT)]

    @property
    def exit_code(self) -> int:
        """The exit code of a command that was ended."""
        return 128 + (self.number or signal.SIGINT)

    def listen(self) -> None:
        """Raise :class:`Stopped` at the first signal; signals that are ignored stay ignored."""
        self._process = os.getpid()
        self._terminals = [handle for handle in (1, 2) if os.isatty(handle)]
        for number in _NAMES:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._receive)

    def leave(self) -> None:
        """Handle signals as Python does, in processes that another program starts and ends."""
        for number in _NAMES:
            if signal.getsignal(number) == self._receive:
                is_int = number == signal.SIGINT
                signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)

    def hold(self, _network: object = None) -> None:
        """Hold signals from now on until :meth:`check`, as there are results to lose."""
        self.is_held = True

    def check(self) -> None:
        """Raise the signal that was held, once.

        Raises
        ------
        Stopped
            If there is one.
        """
        if self.number is not None and not self._is_taken:
            self._is_taken = True
            raise Stopped(self.number)

    def refuse(self, _network: object = None) -> None:
        """Raise again the signal that ended training, where partial results are of no use.

        Raises
        ------
        Stopped
            If a signal was received.
        """
        if self.number is not None:
            raise Stopped(self.number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked child ends by default
            _end(number)
        if number == signal.SIGHUP:
            self._forget_terminal()
        if self.number is not None:
            pair = {number, self.number}
            hangs_up = signal.SIGHUP in pair and signal.SIGINT not in pair
            if hangs_up and time.monotonic() - self._time < _SECONDS_OF_HANGUP:
                return
            _end(number)
        self.number, self._time = number, time.monotonic()
        self._raise_after_imports(signal.SIGALRM, frame)

    def _raise_after_imports(self, number: int, frame: FrameType | None) -> None:
        """Raise the first signal, or try again soon while a module is being imported."""
        del number
        if self.is_held:
            return
        if _is_importing(frame):
            signal.signal(signal.SIGALRM, self._raise_after_imports)
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_BETWEEN_LOOKS)
        else:
            self.check()

    def _forget_terminal(self) -> None:
        """Redirect output to the null device once the terminal has closed."""
        for handle in self._terminals:
            if not os.isatty(handle):
                _open_null(os.O_WRONLY, handle)


stopping = Stopping()
"""The signals of this process."""


class _Sink(io.RawIOBase):
    """A file descriptor to which writing never fails; the first error is kept."""

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
            except BlockingIOError:  # the other end has made the pipe non-blocking
                os.set_blocking(self._handle, True)
            except OSError as error:
                self.error = error
        return size


class Streams:
    """The standard streams of this process, from now on."""

    def __init__(self) -> None:
        closed = [_is_closed(handle) for handle in range(_ABOVE)]
        for handle, is_closed in enumerate(closed):
            if is_closed:  # otherwise the first file that is opened would take its place
                _open_null(os.O_RDONLY if handle == 0 else os.O_WRONLY, handle)
        bad = [OSError(errno.EBADF, "it is closed") if one else None for one in closed]
        self._out = _Sink(1, bad[1])
        self._native: int | None = None
        handle = 2
        if _TORCHRUN not in os.environ and not any(word in _LASTING for word in sys.argv):
            # Rust prints each panic, and C libraries each defect: our own message replaces them.
            handle = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
            self._native = _unlinked()
            os.dup2(self._native, 2)
        self._err = _Sink(handle, bad[2])
        sys.stdout = _text(self._out, sys.stdout)
        sys.stderr = _text(self._err, sys.stderr)

    def print_crashes(self) -> None:
        """Have a crash print its place, as the message of the library that crashed is lost.

        Rust, for one, aborts where memory is short.
        """
        faulthandler.enable(self._err.fileno(), all_threads=False)

    def finish(self, code: int) -> int:
        """Flush the streams, and return the exit code of the process.

        Parameters
        ----------
        code : int
            The exit code of the command.
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


def _unlinked() -> int:
    """Open an unlinked temporary file, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("narrows")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _text(sink: _Sink, before: Any) -> io.TextIOWrapper:
    """Make a text stream; characters that its encoding lacks are written as escapes."""
    return io.TextIOWrapper(
        io.BufferedWriter(sink),
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=sink.fileno() != 1 or sink.isatty(),
    )


def _open_null(flags: int, handle: int) -> None:
    """Open the null device as a descriptor."""
    opened = os.open(os.devnull, flags)
    if opened != handle:
        os.dup2(opened, handle)
        os.close(opened)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _end(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
