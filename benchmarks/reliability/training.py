"""`narrows train` killed at random moments by SIGTERM and SIGKILL, and resumed until it is done.

Each run first trains a model without a kill, as the reference. Then the same command is killed
again and again, by the two signals in turn, at moments drawn from a seed within the first seven
tenths of the reference's duration, and started again: every other run with `--checkpoint`, the
others by `--resume` from the model that SIGTERM left. Once a command ends by itself, fingerprint
and history, seconds aside, must equal the reference's bit for bit, and after a command that has
written its model, no temporary file may be left.

Commands are forks of a server that has imported everything (this file, run as a script), so that
they are killed while they read, train, measure and write, and not while Python imports.
"""

import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.reliability.outcome import SEED, Outcome

SIGNALS = (signal.SIGTERM, signal.SIGKILL)
# Parameters that have a state of their own, for some of the runs.
SPECIAL = {
    "sparse": ["--sparsity", "topk", "--dead-after", "300"],
    "variational": ["--kl-warmup", "0.5"],
    "autoencoder": ["--architecture", "convolutional"],
    "contractive": ["--normalization", "layer", "--contraction", "stochastic"],
    "denoising": ["--tied-weights", "--no-early-stopping"],
}
EPOCHS = {"stacked": 10}
MOST_COMMANDS = 60  # of one run, which would never end if resuming lost its progress


def check(quick):
    from narrows import MODELS

    kills = 8 if quick else 100
    names = list(MODELS)
    failures, counts, runs = [], {}, 0
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        rng = np.random.default_rng(SEED)
        np.save(Path(folder, "table.npy"), bent(rng, 300))
        np.save(Path(folder, "pictures.npy"), rng.integers(0, 256, (250, 8, 8), np.uint8))
        while (done := sum(counts.values())) < kills or runs < len(names):
            most = min(kills - done, 5)
            if quick:
                most = min(kills - done, 2 if runs < kills - len(names) else 1)
            run = Run(server, Path(folder, str(runs)), names[runs % len(names)], runs // len(names))
            failures += run.check(most, counts)
            runs += 1
    by_signal = {
        number: sum(n for (_, s), n in counts.items() if s == number) for number in SIGNALS
    }
    resumed = sum(n for (way, _), n in counts.items() if way == "--resume")
    facts = (
        f"{runs} runs of {len(names)} models ({', '.join(names)}); kills: "
        + ", ".join(f"{n} by {number.name}" for number, n in by_signal.items())
        + f"; {sum(counts.values()) - resumed} gone on from by --checkpoint, {resumed} by --resume"
    )
    return Outcome(sum(counts.values()), facts, failures)


def bent(rng, n):
    """Return rows on a curved surface in six dimensions, where PCA is hardly ahead of networks."""
    u, v = rng.uniform(-1, 1, (2, n))
    return np.stack([u, 9 * v, u * v, 5 * u**2, np.sin(3 * v), np.cos(2 * u)], axis=1)


@dataclass
class Run:
    """A training run that is killed and resumed until it is done.

    Parameters
    ----------
    server : Server
        Where commands run.
    folder : Path
        The run's own.
    name : str
        The model's, on the command line.
    lap : int
        How many runs of this model there have been: data, parameters and the way to go on differ.
    """

    server: "Server"
    folder: Path
    name: str
    lap: int
    command: list = field(init=False)

    def __post_init__(self):
        self.folder.mkdir()
        number = int(self.folder.name)
        self.chance = np.random.default_rng([SEED, number])
        self.way = ("--checkpoint", "--resume")[(number + self.lap) % 2]
        special = SPECIAL.get(self.name, []) if self.lap % 4 > 1 else []
        on_pictures = "convolutional" in special or (number + self.lap // 2) % 2 == 0
        data = self.folder.parent / ("pictures.npy" if on_pictures else "table.npy")
        self.command = [
            "train", str(data), "--model", self.name, "--n-components", "3",
            "--random-state", "0", "--max-epochs", str(EPOCHS.get(self.name, 25)),
            "--hidden-layer-sizes", "16", *special,
        ]  # fmt: skip
        self.what = f"{' '.join(self.command[1:])} by {self.way}"

    def check(self, most, counts):
        """Kill the run up to so many times; return what went wrong."""
        truth = self.folder / "truth"
        ended = self.server.run([*self.command, "-o", str(truth)])
        if ended["code"] != 0:
            return [f"{self.what}: the run without kills ended with {ended['code']}"]
        seconds, moments = ended["seconds"], []
        for _ in range(MOST_COMMANDS):
            kill = None
            if len(moments) < most:
                number = SIGNALS[sum(counts.values()) % 2]
                kill = (number, self.chance.uniform(0.02, 0.7) * seconds)
            ended = self.server.run(self._next(), kill)
            if problem := self._problem(ended, kill):
                return [f"{self.what}: {problem}, killed at {moments}"]
            if ended["code"] == 0:
                break
            moments.append((number.name, round(ended["seconds"], 3)))
            counts[self.way, number] = counts.get((self.way, number), 0) + 1
        problem = self._difference(truth, ended.get("wrote", True))
        return [f"{self.what}: {problem}, killed at {moments}"] if problem else []

    def _next(self):
        model = self.folder / "m"
        if self.way == "--resume" and model.exists():
            return [
                *self.command[:2], "--resume", str(model), "-o", str(model), "--overwrite",
            ]  # fmt: skip
        extra = ["--checkpoint", str(self.folder / "run")] if self.way == "--checkpoint" else []
        return [*self.command, "-o", str(model), "--overwrite", *extra]

    def _problem(self, ended, kill):
        """Return what is wrong with how a command ended, or with the model that it left."""
        from narrows import load
        from narrows.errors import NarrowsError

        allowed = {0}
        if kill is not None:
            allowed |= {-kill[0], 128 + kill[0]}
        if ended["code"] not in allowed:
            # The last kill may have come when the model was whole already.
            over = ("have been done", "early stopping ended training")
            if self.way != "--resume" or not any(words in ended["said"] for words in over):
                return f"a command ended with {ended['code']}: {ended['said']}"
            ended |= {"code": 0, "wrote": False}
        if (self.folder / "m").exists():
            try:
                load(self.folder / "m")
            except NarrowsError as error:
                return f"the model is damaged: {error}"
        return None

    def _difference(self, truth, wrote):
        """Return how the model differs from the reference.

        Temporary files of killed commands are removed by the next one that writes at their place.
        """
        from narrows import load

        model, whole = load(self.folder / "m"), load(truth)
        if model.fingerprint_ != whole.fingerprint_:
            return "another fingerprint"
        if told(model.history_) != told(whole.history_):
            return "another history"
        left = sorted(p.name for p in self.folder.rglob("*") if p.name.startswith((".", "run")))
        return f"left behind: {left}" if left and wrote else None


def told(history):
    """Return all that a history says but the seconds."""
    plain = json.loads(json.dumps(history.as_json()))
    for part in (plain, *plain.get("layers", [])):
        for record in part["epochs"]:
            del record["seconds"]
    return plain


class Server:
    """A process that has imported everything and forks a command for each job."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reliability.training"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[2],
        )
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()

    def run(self, command, kill=None):
        """Run a command to its end, or until it is killed by a signal after so many seconds."""
        self._process.stdin.write(json.dumps({"command": command, "kill": kill}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve():
    from narrows import plots
    from narrows.cli.main import main
    from narrows.training.history import History

    # Import and prepare all that a command needs, but without a step of training: the threads that
    # torch starts for a step do not survive a fork.
    quiet = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "table.npy"), bent(np.random.default_rng(SEED), 20))
        linear = ["-o", f"{folder}/linear", "--hidden-layer-sizes", "none", "--n-components", "2"]
        with redirect_stdout(quiet), redirect_stderr(quiet):
            main(["train", f"{folder}/table.npy", *linear])
        record = {"epoch": 1, "loss": 1.0, "learning_rate": 1.0, "seconds": 1.0}
        plots.history(History([record], 1)).figure.savefig(f"{folder}/history.png")
    for line in sys.stdin:
        sys.stdout.write(json.dumps(do(json.loads(line))) + "\n")
        sys.stdout.flush()


def do(job):
    with tempfile.TemporaryFile() as said:
        begin = time.monotonic()
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.stdin.close()
            sys.argv = ["narrows", *job["command"]]
            from narrows.__main__ import run

            run()
        handle = os.pidfd_open(child)
        if job["kill"] is not None:
            number, seconds = job["kill"]
            if not select.select([handle], [], [], seconds)[0]:
                os.kill(child, number)
        _, status = os.waitpid(child, 0)
        os.close(handle)
        said.seek(0)
        lines = said.read().decode().strip().splitlines() or [""]
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - begin,
        "said": lines[-1][:300],
    }


if __name__ == "__main__":
    serve()
