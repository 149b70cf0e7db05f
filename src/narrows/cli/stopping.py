"""Signals that end a command: Ctrl-C (SIGINT), SIGTERM and SIGHUP.

The first one is raised as :class:`Stopped`, a KeyboardInterrupt, so that temporary files are
removed on the way out. While a model is trained and saved, it is held until training takes it at
the end of a step (:func:`check`). While a module is imported, it is held until that is done:
extension modules that call back into Python there may abort the process at an exception. A second
signal ends the process at once, unless it belongs to the first.
"""

import os
import signal
import time
from types import FrameType

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
# A terminal that closes sends SIGHUP, and so does its shell to its jobs; systemd ends sessions by
# SIGTERM and SIGHUP (SendSIGHUP=): each of these pairs is one request.
_SECONDS_OF_HANGUP = 1.0
_SECONDS_BETWEEN_LOOKS = 0.02


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


class _Signals:
    """What has been received by this process.

    Attributes
    ----------
    number : int or None
        The first signal.
    is_held : bool
        Whether a signal waits until :func:`check` is called, or until the command has ended.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.is_held = False
        self._is_taken = False
        self._time = 0.0
        self._process = 0
        self._terminals: list[int] = []

    def listen(self) -> None:
        """Handle the signals that Python handles by default: those ignored stay ignored."""
        self._process = os.getpid()
        self._terminals = [handle for handle in (1, 2) if os.isatty(handle)]
        for number in _NAMES:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, self._receive)

    def leave(self) -> None:
        """Handle the signals as Python does."""
        for number in _NAMES:
            if signal.getsignal(number) == self._receive:
                is_int = number == signal.SIGINT
                signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # forked children end by default
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

    def check(self) -> None:
        """Raise the first signal, once."""
        if self.number is not None and not self._is_taken:
            self._is_taken = True
            raise Stopped(self.number)

    def _forget_terminal(self) -> None:
        """Redirect output to the null device once the terminal has closed."""
        for handle in self._terminals:
            if not os.isatty(handle):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, handle)
                os.close(nowhere)


_signals = _Signals()


def listen() -> None:
    """Raise :class:`Stopped` at the first signal, in a process that runs the command line."""
    _signals.listen()


def leave() -> None:
    """Handle signals as Python does, in processes that another program starts and ends."""
    _signals.leave()


def hold(_network: object = None) -> None:
    """Hold signals from now on until :func:`check`, as there are results to lose."""
    _signals.is_held = True


def check() -> None:
    """Raise the signal that was held, once.

    Raises
    ------
    Stopped
        If there is one.
    """
    _signals.check()


def refuse(_network: object = None) -> None:
    """Raise again the signal that ended training, where partial results are of no use.

    Raises
    ------
    Stopped
        If a signal was received.
    """
    if _signals.number is not None:
        raise Stopped(_signals.number)


def is_stopped() -> bool:
    """Tell whether a signal was received."""
    return _signals.number is not None


def reason() -> str:
    """Name what ended the command; where no signal was received, KeyboardInterrupt did."""
    return _NAMES[signal.Signals(_signals.number or signal.SIGINT)]


def exit_code() -> int:
    """Return the exit code of a command that was ended."""
    return 128 + (_signals.number or signal.SIGINT)


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
