"""``python -m narrows`` is the command ``narrows``."""

import gc
import os

from narrows.cli import stopping
from narrows.cli.main import main
from narrows.cli.streams import Streams


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    # Imports make hundreds of thousands of objects and no garbage; looking for some among them,
    # as often as Python does by default, is a tenth of what a short command takes.
    gc.set_threshold(100_000, 20, 100)
    streams = Streams()
    streams.tell_crashes()
    try:
        stopping.listen()
        code = main()
        stopping.leave()
    except stopping.Stopped as stop:  # while an error was being told
        code = stop.code
    except Exception:  # noqa: BLE001  a fault in Narrows itself, which is shown
        import traceback

        traceback.print_exc()
        code = 1
    # All is written. A normal end would take apart, in no order, the threads that pyarrow and
    # torch keep, and is aborted by the system now and then: exit code 134 instead of ours.
    os._exit(streams.finish(code))


if __name__ == "__main__":
    run()
