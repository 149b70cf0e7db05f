"""Processes that are killed while they change a library.

Run as a script, this is a server that has imported everything. It forks a child for each job, kills
it, and reports what the child acknowledged. Everything random is seeded.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from libraries import draw

from narrows import Library, load
from narrows.errors import NarrowsError

NO_TIME = timedelta(0)


def build_again(seed: int) -> Callable[[Library], object]:
    def build(library: Library) -> object:
        return Library.build(library.path, draw(70, seed), model=library.model, overwrite=True)

    return build


def move(name: str) -> Callable[[Library], object]:
    return lambda library: library.reencode(load(library.path.with_name(name)))


# Each can be done twice in a row with the result of doing it once.
STEPS: dict[str, list[Callable[[Library], object]]] = {
    "add": [
        lambda library: library.add(draw(30, 11)),
        lambda library: library.add(draw(4200, 12)),  # more than a commit takes
        lambda library: library.add(draw(20, 13), metadata={"year": range(20)}),
    ],
    "remove": [
        lambda library: library.remove(where="id < 20"),
        lambda library: library.remove(where="id % 3 = 0"),
        lambda library: library.remove(where="id >= 100"),
    ],
    "update": [
        lambda library: library.update("id < 60", {"label": "a"}),
        lambda library: library.update("id % 2 = 0", {"label": "b", "when": 3}),
        lambda library: library.update("id >= 50", {"when": 7}),
    ],
    "compact": [
        lambda library: library.compact(keep=NO_TIME),
        lambda library: library.remove(where="id % 3 = 0"),
        lambda library: library.compact(keep=NO_TIME),
    ],
    "reencode": [move("other"), move("model"), move("other")],
    "repair": [lambda library: library.verify(repair=True)],
    "build": [build_again(21), build_again(22)],
    # For two writers at once, neither of which undoes the other's changes.
    "add others": [
        lambda library: library.add(draw(40, 31)),
        lambda library: library.add([*draw(30, 11), *draw(3, 32)]),  # some of them twice
        lambda library: library.add(draw(50, 33), metadata={"where": ["here"] * 50}),
    ],
    "remove few": [
        lambda library: library.remove(where="id < 20"),
        lambda library: library.remove(where="id < 30"),
    ],
    "update few": [
        lambda library: library.update("id >= 40 AND id < 60", {"label": "a"}),
        lambda library: library.update("id >= 50 AND id < 60", {"label": "b"}),
    ],
    "compact only": [lambda library: library.compact()] * 4,
    "move once": [move("other")],
    # With a concurrent reader.
    "all": [
        lambda library: library.add(draw(4200, 12)),
        lambda library: library.remove(where="id % 7 = 0"),
        lambda library: library.compact(),
        move("other"),
        lambda library: library.add(draw(1000, 41), metadata={"year": range(1000)}),
        lambda library: library.compact(),
        move("model"),
        lambda library: library.update("id >= 300", {"year": 3}),
        lambda library: library.add(draw(20, 42)),
    ],
}
KILLED = ("add", "remove", "update", "compact", "reencode", "repair", "build")


class Killer:
    """Starts children that do an operation's steps, and kills them.

    Parameters
    ----------
    server : Popen
        This file, run as a script.
    """

    def __init__(self, server: "subprocess.Popen[str]") -> None:
        self._server = server

    def __call__(self, operation: str, library: Path, **when: float) -> dict[str, Any]:
        """Do the steps until they are done or the child is killed; `start` and `end` in one."""
        self.start(operation, library, **when)
        return self.end()

    def start(self, operation: str, library: Path, **when: float | str) -> None:
        """Begin the steps.

        Parameters
        ----------
        operation : str
            Of `STEPS`.
        library : Path
            What it is done to.
        seconds : float, optional
            Kills when so much time has passed since the first step began.
        files : int, optional
            Kills when so many files have come or gone in the library.
        event : int, optional
            Kills just before Python makes, renames or removes something there for the n-th time.
        gate : str, optional
            A named pipe; the child opens the library, and then waits until somebody has opened
            and closed it.
        """
        assert self._server.stdin is not None
        job = {"operation": operation, "library": str(library), **when}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()

    def works(self) -> bool:
        """Tell whether the child is still there."""
        return not select.select([self._server.stdout], [], [], 0)[0]

    def end(self) -> dict[str, Any]:
        """Wait for the child's end.

        Returns
        -------
        dict
            ``steps``, how many were acknowledged; ``killed``; the ``seconds`` that it took; how
            many ``files`` and ``events`` there were; and the ``error`` that ended it, if any.
        """
        assert self._server.stdout is not None
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


@contextmanager
def killer() -> Any:
    # Lance warns of forks: its threads do not come along. The server has never used it.
    command = [sys.executable, "-W", "ignore:lance is not fork-safe", __file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield Killer(server)
        assert server.stdin is not None
        server.stdin.close()


def serve() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(do(json.loads(line))) + "\n")
        sys.stdout.flush()


def do(job: dict[str, Any]) -> dict[str, Any]:
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(heard)
        work(job, told)
    os.close(told)
    said = b""
    while b"ready\n" not in said:
        words = os.read(heard, 1000)
        assert words, "the child ended before it began"
        said += words
    begin = time.monotonic()
    root = Path(job["library"])
    before, changes, alive = names(root), 0, True
    while True:
        wait = None
        if alive and "files" in job:
            wait = 0.0
        elif alive and "seconds" in job:
            wait = max(0.0, begin + job["seconds"] - time.monotonic())
        if select.select([heard], [], [], wait)[0]:
            words = os.read(heard, 1000)
            if not words:
                break
            said += words
            continue
        if "files" in job:
            now = names(root)
            changes += len(now ^ before)
            before = now
        if "seconds" in job or changes >= job["files"]:
            os.kill(child, signal.SIGKILL)
            alive = False
    seconds = time.monotonic() - begin
    status = os.waitpid(child, 0)[1]
    os.close(heard)
    lines = said.decode().splitlines()
    errors = [line.removeprefix("error ") for line in lines if line.startswith("error ")]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or errors or status == 0, f"the child ended with status {status}"
    return {
        "steps": lines.count("step"),
        "events": lines.count("event"),
        "files": changes,
        "killed": killed,
        "seconds": seconds,
        "error": errors[0] if errors else None,
    }


def names(root: Path) -> set[str]:
    """Name all files, however fast they come and go."""
    return {os.path.join(place, file) for place, _, files in os.walk(root) for file in files}  # noqa: PTH118


def work(job: dict[str, Any], told: int) -> None:
    """Do the steps, in the child, and tell of each: an acknowledgement."""
    code = 1
    try:
        library = Library.open(job["library"])
        library.model  # noqa: B018
        watch(str(library.path), told, job.get("event"))
        if "gate" in job:
            Path(job["gate"]).read_bytes()
        os.write(told, b"ready\n")
        for step in STEPS[job["operation"]]:
            step(library)
            os.write(told, b"step\n")
        code = 0
    except NarrowsError as error:
        os.write(told, f"error {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def watch(root: str, told: int, last: int | None) -> None:
    """Report every change that Python makes to the library's files; end before number `last`."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if not writes:
                return
        elif event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        if not str(arguments[0]).startswith(root):
            return
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(told, b"event\n")

    sys.addaudithook(hook)


if __name__ == "__main__":
    serve()
