"""Rows on a disk against rows in memory: shuffled batches, and training.

    python -m benchmarks.scale batches|training [--rows N] [--rounds N]

CPU time, one thread, the least of the rounds, from the system's cache of files. `batches`: rows of
784 uint8 into shuffled batches of 1024, from a .npy file, a Lance dataset and a Parquet file (which
is unpacked first, in every round). `training`: an epoch of 784-256-32-256-784 at batches of
1024 from a file and from memory, turn by turn.
"""

import argparse
import tempfile
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

from benchmarks.measuring import SEED, best, compared, row, table, turns
from narrows import Autoencoder
from narrows.data.blocks import BlockSource
from narrows.data.files import read
from narrows.data.stored import stored

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = {job.__name__: job for job in (batches, training)}
    parser.add_argument("job", choices=jobs)
    parser.add_argument("--rows", type=int, default=10**6)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        jobs[given.job](given, Path(folder))


if __name__ == "__main__":
    main()
