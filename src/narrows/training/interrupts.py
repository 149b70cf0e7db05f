"""Ctrl-C while a model is trained: after a whole step, so that the run can go on from there."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from narrows.training.progress import on_step


@contextmanager
def whole_steps() -> Iterator[None]:
    """Raise KeyboardInterrupt only after a whole step while the block runs; a second one at once.

    It does nothing outside the main thread, and where SIGINT is handled by others than Python: the
    command line keeps its own signals until then.
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
    check()  # what came after the last step
