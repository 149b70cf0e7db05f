"""``split --overwrite`` that is killed, or fails, before each change that it makes to files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from narrows import Autoencoder, load
from narrows.errors import FormatError

SEED = 0
# Runs the command in a process that ends, or whose system refuses, before the n-th change.
PROGRAM = """
import errno, json, os, signal, sys
import narrows.models.encoder_decoder, narrows.cli.halves
from narrows.cli.main import main
import narrows.models, narrows.atomic
def work(how, last, root, command):
    count = 0
    def hook(event, arguments):
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
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, "no room")
    sys.addaudithook(hook)
    os.dup2(2, 1)
    os._exit(main(command))
for line in sys.stdin:
    child = os.fork()
    if not child:
        work(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Server = Iterator["subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def server() -> Server:
    """Start a process that has imported everything, and forks for each command."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold two models, of seeds 0 and 1, and the halves of the first."""
    folder = tmp_path_factory.mktemp("pairs")
    X = np.random.default_rng(SEED).normal(size=(60, 5))
    for number, name in enumerate(("old", "new")):
        Autoencoder(2, max_epochs=1, random_state=number).fit(X).save(folder / name)
    encoder, decoder = load(folder / "old").split()
    encoder.save(folder / "e")
    decoder.save(folder / "d")
    return folder


def split(server: "subprocess.Popen[str]", folder: Path, how: str, number: int) -> int:
    halves = [str(folder / half) for half in "ed"]
    command = ["split", str(folder / "new"), "-o", *halves, "--overwrite"]
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([how, number, str(folder), command]) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def fingerprint(path: Path) -> str:
    try:
        return load(path).fingerprint_
    except FormatError as error:
        return str(error)


@pytest.mark.parametrize("there", ["ed", "e", "d"])
@pytest.mark.parametrize("how", ["kill", "fail"])
def test_no_half_is_ever_beside_one_of_another_model(
    tmp_path: Path, pairs: Path, server: "subprocess.Popen[str]", how: str, there: str
) -> None:
    old, new = (load(pairs / name).fingerprint_ for name in ("old", "new"))
    seen = set()
    for number in range(1, 100):
        folder = tmp_path / str(number)
        shutil.copytree(pairs, folder)
        for half in set("ed") - set(there):
            shutil.rmtree(folder / half)
        before = {name: sorted(os.listdir(folder / name)) for name in there}  # noqa: PTH208
        code = split(server, folder, how, number)
        found = tuple(
            fingerprint(folder / half) if (folder / half).exists() else "none" for half in "ed"
        )
        seen.add(found)
        refused = set(found) - {old, new, "none"}
        assert all("run the same command again" in words for words in refused)
        assert not {old, new} <= set(found)
        if code == 0:
            assert found == (new, new)
            break
        assert code == (-signal.SIGKILL if how == "kill" else 5)
        if how == "fail" and found == tuple(old if half in there else "none" for half in "ed"):
            now = {name: sorted(os.listdir(folder / name)) for name in there}  # noqa: PTH208
            assert now == before
        assert split(server, folder, how, 0) == 0
        assert [load(folder / half).fingerprint_ for half in "ed"] == [new, new]
        assert not list(folder.rglob(".*"))
    assert code == 0
    assert number > 5
    assert len(seen) > 1
