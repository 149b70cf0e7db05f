"""How fast the nearest codes are found, beside FAISS and the memory's own speed.

    python benchmarks/search.py [--rows 1000000] [--width 32] [--rounds 21] [--threads 1]

Needs faiss-cpu (pip install "narrows[faiss]"). CPU time, medians of rounds in which all take
their turns. FAISS Flat's many queries are timed both as it is and made to use its matrix products.
Then the memory that opening a library's codes and indexing them takes beyond the imports, in a
process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch

from narrows.library.search import ExactIndex

SEED = 0
K = 10

WRITE = """
import sys
from pathlib import Path
import numpy as np
from narrows.library.table import Batch, Table
path, rows, width = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
sizes = [min(10_000, rows - start) for start in range(0, rows, 10_000)]
Table.create(path, width, "0").append(
    Batch(None, [b""] * size, rng.standard_normal((size, width)).astype(np.float32))
    for size in sizes
)
"""
OPEN = r"""
import re, sys
from pathlib import Path
import numpy as np
from narrows.library.search import ExactIndex
from narrows.library.table import Table
# Linux hands a process its parent's ru_maxrss; this is its own.
status = Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
small = np.random.default_rng(0).standard_normal((5000, int(sys.argv[3]))).astype(np.float32)
ExactIndex(small).search(small[:1], 10)
before = peak()
codes = Table(Path(sys.argv[1]), "0").codes()
read = peak()
index = ExactIndex(codes)
index.search(codes[:1], 10)
print(f"| codes | {codes.nbytes / 2**20:.0f} |")
print(f"| peak of reading them | {read - before:.0f} |")
print(f"| peak of reading, indexing, one search | {peak() - before:.0f} |")
"""


def medians(ways, rounds):
    """Return the median CPU-seconds of each way; all take turns in every round."""
    seconds = {name: [] for name in ways}
    for turn in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way(turn)
            seconds[name].append(time.process_time() - start)
    return {name: float(np.median(taken)) for name, taken in seconds.items()}


def show(title, seconds, base):
    print(f"\n{title}\n\n| what | ms | of {base} |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        print(f"| {name} | {1000 * taken:.2f} | {taken / seconds[base]:.2f} |", flush=True)


def speed(codes, queries, rounds):
    flat = faiss.IndexFlatL2(codes.shape[1])
    flat.add(codes)
    exact, table = ExactIndex(codes), torch.from_numpy(codes)
    distances, rows = exact.search(queries[:20], K)
    truth, expected = flat.search(queries[:20], K)
    assert np.allclose(distances**2, truth, rtol=1e-3)
    assert (rows == expected).mean() > 0.99
    one = {
        "FAISS Flat": lambda turn: flat.search(queries[turn : turn + 1], K),
        "ExactIndex": lambda turn: exact.search(queries[turn : turn + 1], K),
        "sum of the codes": lambda _: table.sum(),
    }
    seconds = medians(one, rounds)
    show("one query", seconds, "FAISS Flat")
    print(f"\nExactIndex / sum: {seconds['ExactIndex'] / seconds['sum of the codes']:.2f}")

    products, usual = 20, faiss.cvar.distance_compute_blas_threshold

    def by_products(_):
        faiss.cvar.distance_compute_blas_threshold = products
        flat.search(queries, K)
        faiss.cvar.distance_compute_blas_threshold = usual

    many = {
        "FAISS Flat by products": by_products,
        "FAISS Flat": lambda _: flat.search(queries, K),
        "ExactIndex": lambda _: exact.search(queries, K),
    }
    title = f"{len(queries)} queries at once"
    show(title, medians(many, max(1, rounds // 7)), "FAISS Flat by products")


def memory(rows, width):
    print("\nmemory\n\n| what | MiB |\n| --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        given = [str(Path(folder) / "table.lance"), str(rows), str(width)]
        for script in (WRITE, OPEN):
            subprocess.run([sys.executable, "-c", script, *given], check=True)  # noqa: S603


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    faiss.omp_set_num_threads(given.threads)
    rng = np.random.default_rng(SEED)
    codes = rng.standard_normal((given.rows, given.width)).astype(np.float32)
    queries = rng.standard_normal((1000, given.width)).astype(np.float32)
    print(f"{given.rows} x {given.width}, {given.threads} threads, seed {SEED}")
    speed(codes, queries, given.rounds)
    memory(given.rows, given.width)


if __name__ == "__main__":
    main()
