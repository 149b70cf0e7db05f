"""How fast the nearest codes are found, beside FAISS and the memory's own speed.

    python benchmarks/search.py [exact] [approximate] [memory] [--codes fashion-mnist|normal]
        [--rows 1000000] [--rounds 21] [--threads 1] [--folder DATA]

Needs faiss-cpu (pip install "narrows[faiss]"). CPU time, medians of rounds in which all take their
turns. The codes are normally distributed, or those that an autoencoder learned from Fashion-MNIST
gives to its 60 000 pictures, moved by a pixel and mirrored in eighteen ways, until there are
enough; the queries are then the test pictures.

exact: FAISS Flat's many queries are timed both as it is and made to use its matrix products. As on
processors that are slow at 8 bits, ExactIndex is timed without its first look in 8 bits too.
approximate: FAISS's inverted file and its graph (HNSW) get the least probes and efSearch that find
at least as many of the ten nearest as ApproximateIndex.
memory: what opening a library and matching in it takes beyond the same in a library of a thousand,
in a process of its own, which has the libraries' code in memory and their threads running; the
medians of five.
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

from narrows import Autoencoder, datasets
from narrows.library import ApproximateIndex, ExactIndex

SEED = 0
WIDTH = 32
K = 10
PARTS = ("exact", "approximate", "memory")

WRITE = """
import sys
from pathlib import Path
import numpy as np
from narrows import Autoencoder
from narrows.library import folder
from narrows.library.table import Batch, Entry
rng = np.random.default_rng(0)
model = Autoencoder(32, max_epochs=1, random_state=0).fit(rng.random((1000, 6, 8), np.float32))

def batches(rows):
    for start in range(0, rows, 10_000):
        size = min(10_000, rows - start)
        entries = [Entry(f"{row:064x}", b"") for row in range(start, start + size)]
        yield Batch(entries, rng.standard_normal((size, 32), np.float32))

for path, rows in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    fill = lambda table: table.append(batches(rows), 0)
    folder.create(Path(path), model, fill, overwrite=False)
"""
MATCH = r"""
import re, sys
from pathlib import Path
import numpy as np
from narrows import Library
# Linux hands a process its parent's ru_maxrss; this is its own.
status = Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
imported = peak()
small, large, search = sys.argv[1:]
code = np.zeros(32, np.float32)
kept = Library.open(small)
kept.match(codes=code, k=10, search=search)
before = peak()
library = Library.open(large)
library.match(codes=code, k=10, search=search)
codes = len(library) * 32 * 4 / 2**20
print(codes, peak() - before, peak() - before - codes, before - imported)
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


def gaussian(rows):
    rng = np.random.default_rng(SEED)
    codes = rng.standard_normal((rows, WIDTH), np.float32)
    return codes, rng.standard_normal((1000, WIDTH), np.float32)


def fashion(rows, folder):
    """Codes of Fashion-MNIST's pictures, each moved by up to one pixel, and mirrored."""
    data = datasets.load("fashion-mnist", folder)
    model = Autoencoder(WIDTH, max_epochs=5, random_state=SEED).fit(data.X_train)
    pieces = []
    for turn in range(18):
        way, mirror = divmod(turn, 2)
        X = np.roll(data.X_train, (way // 3 - 1, way % 3 - 1), axis=(1, 2))
        pieces.append(model.transform(X[:, :, ::-1].copy() if mirror else X))
        if len(pieces) * len(X) >= rows:
            break
    return np.concatenate(pieces)[:rows], model.transform(data.X_test[:1000])


def exactly(codes, queries, rounds):
    flat = faiss.IndexFlatL2(codes.shape[1])
    flat.add(codes)
    exact, single, table = ExactIndex(codes), ExactIndex(codes), torch.from_numpy(codes)
    single._rough = None
    distances, rows = exact.search(queries[:20], K)
    truth, expected = flat.search(queries[:20], K)
    assert np.allclose(distances**2, truth, rtol=1e-3)
    assert (rows == expected).mean() > 0.99
    one = {
        "FAISS Flat": lambda turn: flat.search(queries[turn : turn + 1], K),
        "ExactIndex": lambda turn: exact.search(queries[turn : turn + 1], K),
        "ExactIndex without 8 bits": lambda turn: single.search(queries[turn : turn + 1], K),
        "sum of the codes": lambda _: table.sum(),
    }
    seconds = medians(one, rounds)
    show("one query", seconds, "FAISS Flat")
    for name in ("ExactIndex", "ExactIndex without 8 bits"):
        print(f"\n{name} / sum: {seconds[name] / seconds['sum of the codes']:.2f}")

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


def approximately(codes, queries, rounds):
    truth, _ = ExactIndex(codes).search(queries, K)

    def recall(found):
        # Squared and rounded, the same distance differs by a little.
        return float((found <= truth[:, -1:] * (1 + 1e-5)).mean())

    def squares(index):
        return np.sqrt(np.maximum(index.search(queries, K)[0], 0))

    ours, built = timed(lambda: ApproximateIndex(codes))
    wanted = recall(ours.search(queries, K)[0])
    described = [
        ("ApproximateIndex", built, wanted, f"{ours.n_lists} cells, {ours.n_probes[K]} probes")
    ]
    inverted, built = timed(lambda: make_inverted(codes))
    probes = least(inverted, "nprobe", lambda: recall(squares(inverted)), wanted)
    described.append(("FAISS IVF Flat", built, *probes))
    graph, built = timed(lambda: make_graph(codes))
    effort = least(graph.hnsw, "efSearch", lambda: recall(squares(graph)), wanted)
    described.append(("FAISS HNSW", built, *effort))
    print(f"\nsays of itself: recall {ours.recall}")
    print("\n| what | seconds to build | recall@10 | |\n| --- | --- | --- | --- |")
    for name, seconds, found, how in described:
        print(f"| {name} | {seconds:.0f} | {found:.4f} | {how} |", flush=True)
    indexes = {"FAISS IVF Flat": inverted, "FAISS HNSW": graph, "ApproximateIndex": ours}
    one = {
        name: lambda turn, index=index: index.search(queries[turn : turn + 1], K)
        for name, index in indexes.items()
    }
    # A search takes a tenth of a millisecond, and some take longer than others: all queries.
    show("one query", medians(one, len(queries)), "FAISS IVF Flat")
    many = {
        name: lambda _, index=index: index.search(queries, K) for name, index in indexes.items()
    }
    title = f"{len(queries)} queries at once"
    show(title, medians(many, rounds), "FAISS IVF Flat")


def timed(make):
    start = time.process_time()
    made = make()
    return made, time.process_time() - start


def make_inverted(codes):
    n_lists = round(4 * len(codes) ** 0.5)  # what its guidelines say
    index = faiss.index_factory(codes.shape[1], f"IVF{n_lists},Flat")
    index.train(codes[:: max(1, len(codes) // (64 * n_lists))])
    index.add(codes)
    return index


def make_graph(codes):
    index = faiss.IndexHNSWFlat(codes.shape[1], 32)
    index.add(codes)
    return index


def least(settings, name, recall, wanted):
    """Find the least effort that finds so much, the recall, and how to call it."""
    low, high = 0, 1
    while setting(settings, name, high, recall) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = setting(settings, name, middle, recall) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return setting(settings, name, high, recall), f"{name} {high}"


def setting(settings, name, value, recall):
    setattr(settings, name, value)
    return recall()


def memory(rows):
    print(
        "\nmemory, MiB\n\n| search | codes | beyond a small library | beyond the codes too "
        "| small library beyond imports | largest beyond the codes |\n"
        "| --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        small, large = (str(Path(folder) / name) for name in ("small", "large"))
        run(WRITE, small, "1000", large, str(rows))
        for search in ("exact", "approximate"):
            run(MATCH, small, large, search)  # the index is there afterwards
            # How the heap is cut up differs from process to process.
            taken = [[float(n) for n in run(MATCH, small, large, search).split()] for _ in range(5)]
            middle = " | ".join(f"{n:.0f}" for n in np.median(taken, axis=0))
            print(f"| {search} | {middle} | {max(beyond for _, _, beyond, _ in taken):.0f} |")


def run(script, *given):
    done = subprocess.run(
        [sys.executable, "-c", script, *given], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--codes", choices=("fashion-mnist", "normal"), default="normal")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder")
    given = parser.parse_args()
    parts = given.parts or PARTS
    torch.set_num_threads(given.threads)
    faiss.omp_set_num_threads(given.threads)
    print(f"{given.rows} x {WIDTH}, {given.codes}, {given.threads} threads, seed {SEED}")
    if set(parts) & {"exact", "approximate"}:
        normal = given.codes == "normal"
        codes, queries = gaussian(given.rows) if normal else fashion(given.rows, given.folder)
        for part, measure in (("exact", exactly), ("approximate", approximately)):
            if part in parts:
                measure(codes, queries, given.rounds)
    if "memory" in parts:
        memory(given.rows)


if __name__ == "__main__":
    main()
