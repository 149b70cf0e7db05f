"""SIGTERM and SIGHUP, sent to real processes at moments drawn from a seed."""

import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from narrows import load, pack
from narrows.training.progress import on_epoch

NARROWS = [sys.executable, "-m", "narrows"]
SIGNALS = [signal.SIGTERM, signal.SIGHUP]
SEED = 0
QUICK = ("--n-components", "2", "--random-state", "0", "--hidden-layer-sizes", "16")
LONG = (*QUICK, "--max-epochs", "100000", "--no-early-stopping")


@pytest.fixture(scope="module", autouse=True)
def _hang_ups_are_not_ignored() -> Iterator[None]:
    """Processes inherit what their parent ignores: with nohup, SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a table, pictures and a model, of seed 0."""
    from narrows import Autoencoder
    from narrows.data.files import write

    folder = tmp_path_factory.mktemp("signals")
    rng = np.random.default_rng(SEED)
    np.save(folder / "table.npy", rng.normal(size=(400, 8)))
    pictures = rng.integers(0, 256, (900, 24, 24), np.uint8)
    write(folder / "photos", pictures)
    Autoencoder(2, max_epochs=1, random_state=0, architecture="dense").fit(pictures).save(
        folder / "model"
    )
    return folder


def drawn(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311 (no secrets)


@contextmanager
def started(
    *arguments: object, cwd: Path, before: Sequence[str] = ()
) -> Iterator["subprocess.Popen[str]"]:
    """Start a command whose temporary files all lie in a folder of its own."""
    (cwd / "tmp").mkdir(exist_ok=True)
    with subprocess.Popen(
        [*before, *NARROWS, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(cwd / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def say(process: "subprocess.Popen[str]", words: str) -> None:
    """Wait until a process has said something."""
    assert process.stderr is not None
    assert any(words in line for line in process.stderr)


def wait(process: "subprocess.Popen[str]", seconds: float) -> None:
    """Wait so long for a process, or until it ends."""
    handle = os.pidfd_open(process.pid)
    select.select([handle], [], [], seconds)
    os.close(handle)


def left(folder: Path) -> set[str]:
    """Name all files, and all hidden folders, in a folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in found if path != Path("tmp")}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ["autoencoder", "stacked"])
def test_training_keeps_what_was_learned(
    tmp_path: Path, data: Path, number: signal.Signals, name: str
) -> None:
    chance = drawn(f"{SEED} {number} {name}")
    for _ in range(2):
        command = ("train", data / "table.npy", "-o", "m", "--model", name, *LONG, "--overwrite")
        with started(*command, cwd=tmp_path) as process:
            say(process, "epoch 1/")
            wait(process, chance.uniform(0, 0.3))
            process.send_signal(number)
            _, err = process.communicate()
        assert process.returncode == 128 + number, err
        assert f"stopped by {number.name}; what was learned is kept in m" in err
        assert load(tmp_path / "m").history_.ended == "interrupted"
        assert not [n for n in left(tmp_path) if "/" not in n and n != "m"]
        assert not list((tmp_path / "m").glob(".*"))
        assert not list((tmp_path / "tmp").iterdir())


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path: Path, data: Path) -> None:
    """Killed again and again, from before the first step until after the last one."""
    command = ("train", data / "table.npy", *QUICK, "--max-epochs", "150", "--overwrite")
    with started(*command, "-o", "whole", cwd=tmp_path) as process:
        say(process, "epoch 1/")
        begin = time.monotonic()
        process.communicate()
        seconds = time.monotonic() - begin
    assert process.returncode == 0
    truth = load(tmp_path / "whole")
    chance = drawn(SEED)
    interrupted = 0
    for count in range(20):
        number = SIGNALS[count % 2]
        with started(*command, "-o", "m", "--checkpoint", "run", cwd=tmp_path) as process:
            say(process, "chosen")
            wait(process, chance.uniform(0, seconds / 2))
            process.send_signal(number)
            _, err = process.communicate()
        assert process.returncode in (0, -number, 128 + number), err
        if "what was learned is kept" not in err and process.returncode != 128 + number:
            break
        interrupted += 1
        if (tmp_path / "m").exists():
            load(tmp_path / "m")
    assert interrupted
    with started(*command, "-o", "m", "--checkpoint", "run", cwd=tmp_path) as process:
        assert process.wait() == 0
    again = load(tmp_path / "m")
    assert again.fingerprint_ == truth.fingerprint_
    assert again.history_["loss"] == truth.history_["loss"]
    assert left(tmp_path) >= {"m", "whole"}
    assert not [n for n in left(tmp_path) if n.startswith((".", "run", "tmp/"))]


def test_a_stopped_run_is_resumed_bit_for_bit(tmp_path: Path, data: Path) -> None:
    from narrows import Autoencoder
    from narrows.cli.main import main

    table, few = data / "table.npy", ("--max-epochs", "100", "--n-iter-no-change", "100")
    with started("train", table, "-o", "m", *QUICK, *few, cwd=tmp_path) as process:
        say(process, "epoch 1/")
        process.terminate()
        _, err = process.communicate()
    assert process.returncode == 143
    assert "what was learned is kept in m; --resume m goes on" in err
    done = len(load(tmp_path / "m").history_)
    assert 1 <= done < 100
    seen: list[float] = []
    with on_epoch(lambda record: seen.append(record["epoch"])):
        assert main(["train", str(table), "--resume", f"{tmp_path}/m", "-o", f"{tmp_path}/n"]) == 0
    assert seen == list(range(done + 1, 101))
    again, truth = (
        load(tmp_path / "n"),
        Autoencoder(
            2, hidden_layer_sizes=(16,), max_epochs=100, n_iter_no_change=100, random_state=0
        ).fit(np.load(table)),
    )
    assert again.fingerprint_ == truth.fingerprint_
    assert again.history_["loss"] == truth.history_["loss"]


@pytest.mark.parametrize("number", SIGNALS)
def test_nothing_is_lost_when_training_is_just_over(
    tmp_path: Path, data: Path, number: signal.Signals
) -> None:
    """A signal while the last epoch ends, the model is measured and saved."""
    chance = drawn(f"{SEED} {number}")
    for _ in range(4):
        command = ("train", data / "table.npy", "-o", "m", *QUICK, "--max-epochs", "10")
        with started(*command, "--overwrite", cwd=tmp_path) as process:
            say(process, "epoch 10/10")
            wait(process, chance.uniform(0, 0.2))
            process.send_signal(number)
            _, err = process.communicate()
        assert process.returncode in (0, -number, 128 + number), err
        assert load(tmp_path / "m").n_components == 2
        assert left(tmp_path) == {"m", *(f"m/{p.name}" for p in (tmp_path / "m").glob("[!.]*"))}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("verb", ["index", "pack", "report", "compare", "encode", "train"])
def test_other_verbs_leave_nothing(
    tmp_path: Path, data: Path, number: signal.Signals, verb: str
) -> None:
    photos, model = data / "photos", data / "model"
    command = {
        "index": ("index", model, photos, "-o", "library"),
        "pack": ("pack", photos, "-o", "d.lance"),
        "report": ("report", model, photos, "-o", "report"),
        "compare": ("compare", data / "table.npy", "-o", "compared", "--max-epochs", "2000"),
        "encode": ("encode", model, photos, "-o", "codes.npy"),
        "train": ("train", photos, "-o", "m"),
    }[verb]
    chance = drawn(f"{SEED} {number} {verb}")
    for _ in range(3):
        with started(*command, cwd=tmp_path) as process:
            wait(process, chance.uniform(1, 5))
            if process.poll() is None:
                process.send_signal(number)
            _, err = process.communicate()
        assert "Traceback" not in err
        assert process.returncode in (0, -number, 128 + number), err
        assert not list((tmp_path / "tmp").iterdir())
        hidden = [n for n in left(tmp_path) if n.startswith(".")]
        if verb == "pack":  # which goes on there
            hidden = [n for n in hidden if not n.startswith(".d.lance.packing")]
        assert not hidden
        if process.returncode == 0 or (tmp_path / "m").exists():
            break
        assert {n for n in left(tmp_path) if not n.startswith(".")} == set()


def test_pack_goes_on_after_a_signal(tmp_path: Path, data: Path) -> None:
    with started("pack", data / "photos", "-o", "d.lance", cwd=tmp_path) as process:
        wait(process, drawn(SEED).uniform(1, 3))
        process.terminate()
        process.communicate()
    assert pack(data / "photos", tmp_path / "d.lance", overwrite=True).count == 900
    assert left(tmp_path)
    assert not [n for n in left(tmp_path) if n.startswith(".")]


TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT


@pytest.mark.parametrize(
    ("first", "second", "ends"),
    [
        (TERM, TERM, True),
        (HUP, INT, True),
        (INT, HUP, True),
        (INT, INT, True),
        (HUP, HUP, False),  # of a terminal and of its shell
        (TERM, HUP, False),  # of systemd, which ends a session
        (HUP, TERM, False),
    ],
)
def test_a_second_signal_ends_at_once_unless_it_belongs_to_the_first(
    tmp_path: Path, first: int, second: int, ends: bool
) -> None:
    """While the first one is kept, because training is being ended."""
    code = (
        "import os, signal, sys; from narrows.cli.process import stopping; stopping.listen();"
        f"stopping.hold(); os.kill(os.getpid(), {int(first)}); print('first', flush=True);"
        f"os.kill(os.getpid(), {int(second)}); print(stopping.exit_code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    told = (-second, "first\n") if ends else (0, f"first\n{128 + first}\n")
    assert (done.returncode, done.stdout) == told


def test_a_signal_within_an_import_waits_for_its_end(tmp_path: Path) -> None:
    """Extension modules that call Python back while they are imported may abort at exceptions."""
    (tmp_path / "slow.py").write_text(
        "import os, signal, time; os.kill(os.getpid(), signal.SIGTERM)\n"
        "end = time.monotonic() + 0.2\n"
        "while time.monotonic() < end: pass\n"
        "print('imported', flush=True)\n"
    )
    code = (
        "import time; from narrows.cli.process import Stopped, stopping; stopping.listen()\n"
        "try:\n    import slow; time.sleep(60); print('not stopped')\n"
        "except Stopped as stopped: print(stopped, stopped.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "imported\nSIGTERM 143\n"


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path, data: Path) -> None:
    """As with nohup."""
    command = ("train", data / "table.npy", "-o", "m", *LONG)
    ignoring = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    with started(*command, cwd=tmp_path, before=ignoring) as process:
        say(process, "epoch 1/")
        process.send_signal(signal.SIGHUP)
        wait(process, 0.3)
        assert process.poll() is None
        process.terminate()
        _, err = process.communicate()
    assert process.returncode == 143
    assert "stopped by SIGTERM" in err


def test_python_handles_its_own_signals(data: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, *SIGNALS)]
    load(data / "model")
    from narrows.cli.main import main

    assert main(["info", str(data / "model")]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, *SIGNALS)] == before


def test_a_closed_terminal_loses_no_training(tmp_path: Path, data: Path) -> None:
    ours, theirs = os.openpty()
    command = [*NARROWS, "train", str(data / "table.npy"), "-o", "m", *LONG]
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        said = b""
        while not re.search(rb"[1-9]\d*/100000", said):
            said += os.read(ours, 1000)
        os.close(ours)
        assert process.wait() == 129
    assert load(tmp_path / "m").history_.ended == "interrupted"
