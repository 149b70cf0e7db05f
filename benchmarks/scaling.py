"""One process, two, and two workers of Ray on one machine: training, and filling a library.

    python -m benchmarks.scaling training|indexing [--rows N] [--pictures N] [--rounds N]

By the clock, the least of the rounds, as that is what further processes are for. Where others are
at work on the machine (its load says how many ask for the processors), those that are asked for are
not always there, so the processor time of all processes stands beside it: what sharing costs.
`training`: an epoch of 784-256-32-256-784 at batches of 1024. `indexing`: photographs of 384 x 384
pixels, decoded, encoded and stored; Ray's cluster runs already, and its workers have been at work.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring import SEED, pictures, row, table
from narrows import Autoencoder, Library

EPOCHS = 5
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
MODEL = ["--n-components", "32", "--hidden-layer-sizes", "256", "--batch-size", "1024"]
FIXED = ["--no-early-stopping", "--random-state", str(SEED)]


def run(command, threads, folder, epochs=EPOCHS):
    """Train by a command; return its seconds by the clock, and by the processors."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    start, spent = time.monotonic(), sum(os.times()[2:4])
    whole = [sys.executable, *command, "--max-epochs", str(epochs)]
    subprocess.run(whole, check=True, env=environment, capture_output=True, cwd=folder)  # noqa: S603
    return time.monotonic() - start, sum(os.times()[2:4]) - spent


def best_epoch(folder):
    """Return the seconds of the best epoch but the first, by the log."""
    with (folder / "log.csv").open() as file:
        ends = [float(record["seconds"]) for record in csv.DictReader(file)]
    return min(np.diff(ends))


def training(given, folder):
    np.save(folder / "rows.npy", pictures(given.rows))
    train = ["-m", "narrows", "train", "rows.npy", "-o", "model", "--overwrite", "--log", "log.csv"]
    train += [*MODEL, *FIXED]
    ways = {
        "one process, one thread": (train, 1),
        "one process, two threads": (train, 2),
        "two processes (torchrun)": ([*TORCHRUN, "-m", "--", *train[1:]], 1),
        "two workers (Ray)": ([*train, "--ray", "local", "--workers", "2"], 1),
    }
    epochs, whole, cost = ({name: [] for name in ways} for _ in range(3))
    for _ in range(given.rounds):
        for name, (command, threads) in ways.items():
            clock, spent = run(command, threads, folder)
            epochs[name].append(best_epoch(folder))
            whole[name].append(clock)
            # What Ray starts does not end with the command, and is not counted.
            if "--ray" not in command:
                _, once = run(command, threads, folder, 1)
                cost[name].append((spent - once) / (EPOCHS - 1))
    table("training", "an epoch, s", "times as fast", "by the processors, s", "the command, s")
    first = min(epochs["one process, one thread"])
    for name in ways:
        epoch = min(epochs[name])
        spent = f"{min(cost[name]):.3g}" if cost[name] else "not counted"
        row(name, f"{epoch:.3g}", f"{first / epoch:.2f}", spent, f"{min(whole[name]):.3g}")
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[2]:.1f}")


def photographs(folder, count):
    """Write pictures that are as laborious to decode as photographs."""
    rng = np.random.default_rng(SEED)
    folder.mkdir()
    for number in range(count):
        rough = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
        rough.resize((384, 384), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")


def processor_time():
    """Add up what this process and all that it has started have spent."""
    parents, spent = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            facts = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(place.name)] = int(facts[1])
        spent[int(place.name)] = int(facts[11]) + int(facts[12])

    def is_ours(process):
        while process in parents and process != os.getpid():
            process = parents[process]
        return process == os.getpid()

    ours = sum(ticks for process, ticks in spent.items() if is_ours(process))
    return ours / os.sysconf("SC_CLK_TCK")


@contextmanager
def gathered(workers, model, some):
    """Start a cluster of so many processors, and have each of its workers do something."""
    if not workers:
        yield None
        return
    import ray

    from narrows.scale.indexing import ray_workers

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lance is not fork-safe")
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2**27,
        )
    with ray_workers("auto") as those, tempfile.TemporaryDirectory() as folder:
        Library.build(Path(folder, "library"), some, model=model, workers=those)
        yield those
    ray.shutdown()


def indexing(given, folder):
    photographs(folder / "photographs", given.pictures)
    X = np.random.default_rng(SEED).integers(0, 256, (500, 32, 32), np.uint8)
    model = Autoencoder(16, max_epochs=1, architecture="dense", random_state=SEED).fit(X)
    some = sorted((folder / "photographs").iterdir())[:64]
    table("indexing", "pictures a second", "times as fast as one process", "ms by the processor")
    first = 0.0
    names = {0: "one process, all processors", 1: "one worker (Ray)", 2: "two workers (Ray)"}
    for workers, name in names.items():
        clock, processor = [], []
        with gathered(workers, model, some) as those:
            for number in range(given.rounds):
                place = folder / f"{workers}-{number}"
                start, spent = time.monotonic(), processor_time()
                Library.build(place, folder / "photographs", model=model, workers=those)
                clock.append(time.monotonic() - start)
                processor.append(processor_time() - spent)
        rate = given.pictures / min(clock)
        first = first or rate
        cost = 1e3 * min(processor) / given.pictures
        row(name, f"{rate:.0f}", f"{rate / first:.2f}", f"{cost:.3g}")
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[2]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = {job.__name__: job for job in (training, indexing)}
    parser.add_argument("job", choices=jobs)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jobs[given.job](given, Path(folder))


if __name__ == "__main__":
    main()
