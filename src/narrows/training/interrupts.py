"""Handling of Ctrl-C during training: at the end of a step, from which the run can be resumed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from narrows.training.progress import on_step


@contextmanager
def whole_steps() -> Iterator[None]:
    """Delay KeyboardInterrupt to the end of a step while the block runs; a second one is immediate.

    Outside the main thread, and where the handler of SIGINT is not Python's own, nothing is done;
    the command line has its own (:mod:`narrows.cli.stopping`).
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    received = taken = False

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal received, taken
        if received:
            taken = True
            signal.default_int_handler(number, frame)
        received = True

    def check() -> None:
        nonlocal taken
        if received and not taken:
            taken = True
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, receive)
    try:
        with on_step(check):
            yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    check()  # for a signal after the last step
