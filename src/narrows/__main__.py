"""``python -m narrows`` is the command ``narrows``."""

import gc
import os

from narrows.cli.main import main
from narrows.cli.process import Stopped, Streams, stopping


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    # Imports make hundreds of thousands of objects and no garbage. The garbage collector would take
    # a tenth of the time of a short command, if it ran as often as it does by default.
    gc.set_threshold(100_000, 20, 100)
    streams = Streams()
    streams.print_crashes()
    try:
        stopping.listen()
        code = main()
        stopping.leave()
    except Stopped as stop:  # while an error was being printed
        code = stop.code
    except Exception:  # noqa: BLE001  a fault in Narrows itself, which is printed
        import traceback

        traceback.print_exc()
        code = 1
    # All output is written. A normal exit would end the threads of pyarrow and torch in no order,
    # and is now and then aborted by the system, with exit code 134 instead of ours.
    os._exit(streams.finish(code))


if __name__ == "__main__":
    run()
