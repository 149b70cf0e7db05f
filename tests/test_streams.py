"""Standard streams and signals of a command, within this process: whose own are put back."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from narrows.cli import process
from narrows.cli.process import Stopped, Stopping, Streams


@contextmanager
def descriptors() -> Iterator[None]:
    """Put the standard streams back after the block."""
    kept = [os.dup(handle) for handle in range(3)]
    before = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for handle, old in enumerate(kept):
            os.dup2(old, handle)
            os.close(old)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Give what prints to standard streams, and returns the exit code and what was an error."""

    def printed(say: Callable[[], object], out: int | None, code: int = 0) -> tuple[int, str]:
        err = os.open(tmp_path / "err", os.O_WRONLY | os.O_CREAT)
        with descriptors():
            os.dup2(err, 2)
            os.close(err)
            if out is None:
                os.close(1)
            else:
                os.dup2(out, 1)
                os.close(out)
            made = Streams()
            say()
            result = made.finish(code)
        return result, (tmp_path / "err").read_text("utf-8")

    return printed


def answer() -> None:
    sys.stdout.write("an answer\n")


def test_what_is_printed_arrives(run: Any, tmp_path: Path) -> None:
    def say() -> None:
        answer()
        sys.stderr.write("a word\n")

    assert run(say, os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)) == (0, "a word\n")
    assert (tmp_path / "out").read_text("utf-8") == "an answer\n"


@pytest.mark.parametrize("code", [0, 3])
def test_a_reader_who_left_is_told_by_the_exit_code(run: Any, code: int) -> None:
    read, write = os.pipe()
    os.close(read)
    assert run(answer, write, code) == (code or process.LEFT, "")


@pytest.mark.parametrize("kind", ["closed", "full"])
def test_an_answer_that_is_lost_is_told(run: Any, kind: str) -> None:
    out = None if kind == "closed" else os.open("/dev/full", os.O_WRONLY)
    code, err = run(answer, out)
    assert code == process.LOST
    reason = "it is closed" if kind == "closed" else os.strerror(errno.ENOSPC)
    assert f"standard output could not be written: {reason};" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("code", [0, 1, 4])
def test_what_libraries_write_is_shown_with_faults_alone(run: Any, code: int) -> None:
    out = os.open(os.devnull, os.O_WRONLY)
    found = run(lambda: os.write(2, b"thread panicked\n"), out, code)
    assert found == (code, "thread panicked\n" if code == 1 else "")


def test_letters_that_an_encoding_lacks_are_escaped(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ascii:
        encoding = "ascii"

    monkeypatch.setattr(sys, "stdout", Ascii())
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    assert run(lambda: sys.stdout.write("Größe\n"), out) == (0, "")
    assert (tmp_path / "out").read_bytes() == b"Gr\\xf6\\xdfe\n"


@pytest.fixture
def fresh() -> Iterator[Stopping]:
    """Give signals as of a new process, and put this one's back."""
    before = {n: signal.getsignal(n) for n in (signal.SIGALRM, *process._NAMES)}
    for number in process._NAMES:
        signal.signal(number, signal.SIG_DFL)
    stopping = Stopping()
    stopping.listen()
    try:
        yield stopping
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [
        (signal.SIGTERM, 143, "SIGTERM"),
        (signal.SIGHUP, 129, "SIGHUP"),
        (signal.SIGINT, 130, "Ctrl-C"),
    ],
)
def test_a_signal_is_raised_once(fresh: Stopping, number: int, code: int, name: str) -> None:
    assert fresh.number is None
    with pytest.raises(KeyboardInterrupt) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert (fresh.number, fresh.exit_code, fresh.reason) == (number, code, name)
    fresh.check()
    with pytest.raises(Stopped, match=name):
        fresh.refuse()
    fresh.leave()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_is_held_where_there_is_something_to_lose(fresh: Stopping) -> None:
    fresh.hold()
    fresh.refuse()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)  # which systemd sends with it
    with pytest.raises(Stopped, match="SIGTERM"):
        fresh.check()
    fresh.check()


def test_without_a_signal_ctrl_c_ended_the_command(fresh: Stopping) -> None:
    assert (fresh.exit_code, fresh.reason) == (130, "Ctrl-C")


def test_a_signal_within_an_import_is_raised_after_it(fresh: Stopping) -> None:
    seen: list[str] = []
    code = compile(
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM); done('imported')",
        "<frozen importlib._bootstrap>",
        "exec",
    )

    def load() -> None:
        exec(code, {"done": seen.append})  # noqa: S102 (this very file)
        signal.pause()

    with pytest.raises(Stopped):
        load()
    assert seen == ["imported"]
