"""One process, two, and workers of Ray on one machine: training, filling a library, indexing it.

    python -m benchmarks.scaling training|indexing|index [--rows N] [--pictures N] [--codes N]
        [--rounds N]

By the clock, the least of the rounds, as that is what further processes are for. Where others are
at work on the machine (its load says how many ask for the processors), those that are asked for are
not always there, so the processor time of all processes stands beside it: what sharing costs.
`training`: an epoch of 784-256-32-256-784 at batches of 1024, of a file that stays on the disk; the
last row has Ray Data bring it (--stream). `indexing`: photographs of 384 x 384 pixels, decoded,
encoded and stored. `index`: the approximate index of random codes of 32 numbers,
a mixture of a thousand Gaussians, by a process that has opened the library and read them; with
workers, of one thread each, it has two. Ray's cluster runs already, and has been at work.
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
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import SEED, pictures, row, table
from narrows import Autoencoder, Library
from narrows.library.folder import create
from narrows.library.table import Batch, Entry

EPOCHS = 5
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
MODEL = ["--n-components", "32", "--hidden-layer-sizes", "256", "--batch-size", "1024"]
RAY = ["--ray", "local", "--workers", "2"]
FIXED = ["--no-early-stopping", "--random-state", str(SEED)]


def run(command, threads, folder, epochs=EPOCHS):
    """Train by a command; return its seconds by the clock, and by the processors."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    start, spent = time.monotonic(), sum(os.times()[2:4])
    whole = [sys.executable, *command, "--max-epochs", str(epochs)]
    subprocess.run(whole, check=True, env=environment, capture_output=True, cwd=folder)
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
        "two workers (Ray)": ([*train, *RAY], 1),
        "two workers (Ray), rows brought": ([*train, *RAY, "--stream"], 1),
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
def gathered(workers, rehearse):
    """Start a cluster of so many processors, and have its workers do something."""
    if not workers:
        yield None
        return
    import ray

    from narrows.scale.cluster import ray_workers

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lance is not fork-safe")
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2**27,
        )
    with ray_workers("auto") as those:
        rehearse(those)
        yield those
    ray.shutdown()


def measured(work):
    """Return the seconds of some work by the clock, and by the processors."""
    start, spent = time.monotonic(), processor_time()
    work()
    return time.monotonic() - start, processor_time() - spent


def indexing(given, folder):
    photos = folder / "photographs"
    photographs(photos, given.pictures)
    X = np.random.default_rng(SEED).integers(0, 256, (500, 32, 32), np.uint8)
    model = Autoencoder(16, max_epochs=1, architecture="dense", random_state=SEED).fit(X)
    some = sorted(photos.iterdir())[:64]

    fill = partial(Library.build, model=model)

    def rehearse(workers):
        fill(folder / f"{workers.count}", some, workers=workers)

    table("indexing", "pictures a second", "times as fast as one process", "ms by the processor")
    first = 0.0
    names = {0: "one process, all processors", 1: "one worker (Ray)", 2: "two workers (Ray)"}
    for workers, name in names.items():
        with gathered(workers, rehearse) as those:
            rounds = [
                measured(partial(fill, folder / f"{workers}-{number}", photos, workers=those))
                for number in range(given.rounds)
            ]
        clock, processor = (min(values) for values in zip(*rounds, strict=True))
        rate = given.pictures / clock
        first = first or rate
        cost = 1e3 * processor / given.pictures
        row(name, f"{rate:.0f}", f"{rate / first:.2f}", f"{cost:.3g}")
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[2]:.1f}")


def write_codes(place, count):
    """Write a library of codes with nothing else in it."""
    rng = np.random.default_rng(SEED)
    model = Autoencoder(32, max_epochs=1, random_state=SEED).fit(rng.random((1000, 6, 8)))
    middles = 3 * rng.standard_normal((1000, 32), np.float32)

    def batches():
        for start in range(0, count, 10_000):
            size = min(10_000, count - start)
            entries = [Entry(f"{n:064x}", b"") for n in range(start, start + size)]
            codes = middles[rng.integers(1000, size=size)]
            codes += rng.standard_normal((size, 32), np.float32)
            yield Batch(entries, codes)

    def fill(table):
        return table.append(batches(), 0)

    create(place, model, fill, overwrite=False)


def index(given, folder):
    import faiss

    write_codes(folder / "library", given.codes)
    write_codes(folder / "small", 10_000)
    table(
        "index", "s by the clock", "times as fast as one process", "s by the processors", "recall"
    )

    def build(place, workers):
        for file in place.glob("index-*"):
            file.unlink()
        library = Library.open(place)
        assert len(library.codes) == len(library)  # read before the clock runs
        clock, processor = measured(lambda: library.build_index(workers=workers))
        return clock, processor, library.recall["euclidean"][10]

    ways = {
        "one process, one thread": (0, 1),
        "one process, two threads": (0, 2),
        "one worker (Ray)": (1, 2),
        "two workers (Ray)": (2, 2),
    }
    first = 0.0
    for name, (workers, threads) in ways.items():
        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)
        with gathered(workers, lambda those: build(folder / "small", those)) as those:
            rounds = [build(folder / "library", those) for _ in range(given.rounds)]
        clock, processor, recall = (min(values) for values in zip(*rounds, strict=True))
        first = first or clock
        row(name, f"{clock:.3g}", f"{first / clock:.2f}", f"{processor:.3g}", f"{recall:.4f}")
    print(f"\n{os.cpu_count()} processors, load {os.getloadavg()[2]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = {job.__name__: job for job in (training, indexing, index)}
    parser.add_argument("job", choices=jobs)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--codes", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jobs[given.job](given, Path(folder))


if __name__ == "__main__":
    main()
