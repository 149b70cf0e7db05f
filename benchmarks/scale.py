"""Rows on a disk against rows in memory: shuffled batches, training, and what memory it takes.

    python -m benchmarks.scale batches|training|memory|shuffling [--rows N] [--rounds N]

CPU time, one thread, the least of the rounds, from the system's cache of files. `batches`: rows of
784 uint8 into shuffled batches of 1024, from a .npy file, a Lance dataset and a Parquet file (which
is unpacked first, in every round). `training`: an epoch of 784-256-32-256-784 at batches of
1024 from a file and from memory, turn by turn. `memory`: the largest resident memory of a process
that learns one epoch from files of 784 uint8 a row, and encodes them into a .npy file, under a
limit of 1.5 GiB: that of a control group where one can be made, otherwise of the process
(RLIMIT_DATA). `shuffling`: the error on test rows after learning from Fashion-MNIST sorted by
class, shuffled as a whole and by blocks of 64 rows; a 16th of the rows is mixed at a time, 58
blocks, where 64 MiB of such rows are 1 337.
"""

import argparse
import atexit
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

from benchmarks.measuring import SEED, best, compared, row, table, turns
from narrows import Autoencoder, datasets
from narrows.cli.main import main as narrows_main
from narrows.data.batches import BlockSource
from narrows.data.files import read
from narrows.data.lazy_rows import FileRows, stored

LIMIT = 3 << 29
GROUPS = Path("/sys/fs/cgroup")
COMMON = {"batch_size": 1024, "max_epochs": 1, "early_stopping": False, "random_state": SEED}


def write(path, rows, width):
    """Write random pixels, in pieces."""
    rng = np.random.default_rng(SEED)
    mapped = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, width))
    for start in range(0, rows, 10_000):
        piece = mapped[start : start + 10_000]
        piece[:] = rng.integers(0, 256, piece.shape, np.uint8)
    mapped.flush()


def record_batches(values):
    """Give an array as Arrow takes it, in pieces."""
    for start in range(0, len(values), 10_000):
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(values[start : start + 10_000])
        yield pa.record_batch({"rows": column})


def batches(given, folder):
    import lance  # which reserves addresses that limits of the process count

    write(folder / "rows.npy", given.rows, 784)
    pieces = list(record_batches(np.load(folder / "rows.npy")))
    schema = pieces[0].schema
    reader = pa.RecordBatchReader.from_batches(schema, pieces)
    lance.write_dataset(reader, str(folder / "rows.lance"), max_rows_per_file=1 << 16)
    parquet.write_table(pa.Table.from_batches(pieces), folder / "rows.parquet")
    del pieces

    def shuffled(name):
        def way():
            rows = read(folder / name).values
            return sum(len(batch) for batch in BlockSource(rows).batches(1024, seed=SEED))

        return way

    ways = {name: shuffled(name) for name in ("rows.npy", "rows.lance", "rows.parquet")}
    taken = best(turns(ways, given.rounds))
    table("million rows a CPU-second", "measured", "goal", "met")
    compared(".npy", given.rows / taken["rows.npy"] / 1e6, 1.5)
    compared("Lance", given.rows / taken["rows.lance"] / 1e6, 0.4)
    row("Parquet, unpacking it", f"{given.rows / taken['rows.parquet'] / 1e6:.3g}", "", "")


def training(given, folder):
    write(folder / "rows.npy", given.rows, 784)
    on_disk = stored(np.load(folder / "rows.npy", mmap_mode="r"))
    in_memory = np.load(folder / "rows.npy")

    def fit(X):
        return lambda: Autoencoder(32, hidden_layer_sizes=(256,), **COMMON).fit(X)

    taken = best(turns({"disk": fit(on_disk), "memory": fit(in_memory)}, given.rounds))
    table("way", "rows a CPU-second")
    for name, seconds in taken.items():
        row(name, f"{given.rows / seconds:.0f}")
    table("rate", "measured", "goal", "met")
    compared("out of core / in memory", taken["memory"] / taken["disk"], 0.95)


def limit_by_group():
    """Put this process into a control group of version 1 or 2 with a limit, if that is allowed."""
    for root, file in ((GROUPS / "memory", "memory.limit_in_bytes"), (GROUPS, "memory.max")):
        group = root / f"narrows-{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(LIMIT))
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        atexit.register(leave, group, root)
        return True
    return False


def leave(group, root):
    (root / "cgroup.procs").write_text(str(os.getpid()))
    group.rmdir()


def learn_and_encode(rows, codes):
    """Do so under a limit, and print the limits, the peak of memory and the seconds."""
    grouped = limit_by_group()
    if not grouped:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    start = time.process_time()
    common = {**COMMON, "batch_size": 4096}
    model = Autoencoder(16, hidden_layer_sizes=(64,), **common).fit(rows)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        if status := narrows_main(["encode", f"{folder}/model", rows, "-o", codes]):
            sys.exit(status)
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))[1])
    limit = "a control group" if grouped else "RLIMIT_DATA"
    print(f"{limit}|{peak / 1024}|{time.process_time() - start}")


def memory(given, folder):
    peaks = {}
    table("GiB of rows", "rows", "limit of 1.5 GiB by", "peak, MiB", "CPU-seconds")
    for size in given.sizes:
        n_rows = int(size * 2**30 / 784)
        write(folder / "rows.npy", n_rows, 784)
        command = [sys.executable, "-m", "benchmarks.scale", "learn"]
        told = subprocess.run(
            [*command, "--paths", folder / "rows.npy", folder / "codes.npy"],
            check=True, stdout=subprocess.PIPE, text=True,
        ).stdout.splitlines()[-1]  # fmt: skip
        limit, peak, seconds = told.split("|")
        assert np.load(folder / "codes.npy", mmap_mode="r").shape == (n_rows, 16)
        (folder / "codes.npy").unlink()
        peaks[size] = float(peak)
        row(size, n_rows, limit, f"{peaks[size]:.0f}", f"{float(seconds):.0f}")
    table("peak", "measured", "goal", "met")
    compared("largest, GiB", max(peaks.values()) / 1024, 1.5, at_most=True)
    growth = max(peaks.values()) / min(peaks.values())
    compared("largest / least", growth, 1.05, at_most=True)


def shuffling(given, folder):
    if given.folder:
        os.environ["NARROWS_DATA"] = given.folder
    data = datasets.load("fashion-mnist")
    order = np.argsort(data.y_train, kind="stable")
    X, X_test = data.X_train[order], data.X_test
    np.save(folder / "rows.npy", X)
    on_disk = read(folder / "rows.npy").values
    on_disk = FileRows(folder / "rows.npy", on_disk.offset, on_disk.shape, on_disk.dtype)
    BlockSource.__init__.__kwdefaults__["mixed"] = X.nbytes // 16
    errors = {"in memory, as a whole": [], "on the disk, by blocks": []}
    for seed in range(SEED, SEED + given.seeds):
        for name, rows in zip(errors, (X, on_disk), strict=True):
            model = Autoencoder(
                16, hidden_layer_sizes=(128,), max_epochs=5, early_stopping=False, random_state=seed
            )
            errors[name].append(-model.fit(rows).score(X_test))
    table("shuffled", "test error, mean", "standard deviation", "seeds")
    for name, found in errors.items():
        row(name, f"{np.mean(found):.2f}", f"{np.std(found, ddof=1):.2f}", len(found))
    whole, blocks = errors.values()
    table("blocks against the whole", "measured", "goal", "met")
    spread = np.std(whole, ddof=1)
    difference = abs(np.mean(blocks) - np.mean(whole)) / spread
    compared("difference / standard deviation", difference, 1, at_most=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = {job.__name__: job for job in (batches, training, memory, shuffling)}
    parser.add_argument("job", choices=[*jobs, "learn"])
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 2, 4], help="in GiB")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--folder", help="where Fashion-MNIST lies")
    parser.add_argument("--paths", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.job == "learn":
        learn_and_encode(*given.paths)
        return
    with tempfile.TemporaryDirectory() as folder:
        jobs[given.job](given, Path(folder))


if __name__ == "__main__":
    main()
