"""How re-ranking changes matches, how many candidates it needs, and what it and filters cost.

    python benchmarks/reranking.py [quality] [filters] --folder DATA

Quality: 2000 test pictures of Fashion-MNIST among the 60 000, by 32 codes of ten epochs' training,
and again by the pixels of the nearest 100. Filters: a random share of a million codes of 32 numbers
passes; what a search among them takes beside one among all. Times are CPU times of one thread.
"""

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import torch

from narrows import Autoencoder, Library, datasets
from narrows.library import ExactIndex

SEED = 0
ORDERS = [(None, "stored"), *product(("pixels", "ssim"), ("stored", "decoded"))]


def quality(folder, n_queries):
    data = datasets.load("fashion-mnist", folder)
    X, Q = data.X_train, data.X_test[:n_queries]
    y, asked = data.y_train, data.y_test[:n_queries]
    start = time.process_time()
    model = Autoencoder(32, max_epochs=10, random_state=SEED).fit(X)
    print(f"Fashion-MNIST, {time.process_time() - start:.0f} CPU-s of training, seed {SEED}\n")
    flat, flat_queries = (
        pictures.reshape(len(pictures), -1) / np.float32(255) for pictures in (X, Q)
    )
    _, truth = ExactIndex(flat).search(flat_queries, 10)
    _, nearest = ExactIndex(model.transform(X)).search(model.transform(Q), 300)
    print("| nearest codes looked at | of the ten nearest by pixels among them |\n| --- | --- |")
    for count in (10, 30, 100, 300):
        among = [np.isin(a, b).mean() for a, b in zip(truth, nearest[:, :count], strict=True)]
        print(f"| {count} | {np.mean(among):.1%} |")
    print("\n| order of the nearest 100 | precision@1 | precision@10 | CPU-ms a query |")
    print("| --- | --- | --- | --- |")
    row("raw pixels, of all", y[truth] == asked[:, None], None)
    with tempfile.TemporaryDirectory() as place:
        library, _ = Library.build(f"{place}/p.lance", X, model=model, metadata={"label": y})
        library.match(Q[:1])
        for by, on in ORDERS:
            start = time.process_time()
            found = library.match(Q, 10, rerank=by, rerank_on=on)
            seconds = time.process_time() - start
            labels = np.array([[match.metadata["label"] for match in one] for one in found])
            name = "codes" if by is None else f"{by}, {on}"
            row(name, labels == asked[:, None], 1000 * seconds / len(Q))


def row(name, right, milliseconds):
    cost = "" if milliseconds is None else f"{milliseconds:.2f}"
    print(f"| {name} | {right[:, 0].mean():.4f} | {right.mean():.4f} | {cost} |", flush=True)


def filters():
    rng = np.random.default_rng(SEED)
    codes = rng.normal(size=(1_000_000, 32)).astype(np.float32)
    index = ExactIndex(codes)
    print("\n| passing | ms, 1 query | ms, 100 queries |\n| --- | --- | --- |")
    for share in (None, 0.9, 0.5, 0.1, 0.01, 0.001):
        rows = None if share is None else np.flatnonzero(rng.random(len(codes)) < share)
        cells = []
        for n_queries in (1, 100):
            queries = rng.normal(size=(n_queries, 32)).astype(np.float32)
            times = []
            for _ in range(15 if n_queries == 1 else 5):
                start = time.process_time()
                (index if rows is None else index.among(rows)).search(queries, 10)
                times.append(time.process_time() - start)
            cells.append(f"{1000 * np.median(times):.1f}")
        print(f"| {'all, no filter' if share is None else f'{share:.1%}'} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", default=["quality", "filters"])
    parser.add_argument("--folder", type=Path, help="of the data sets")
    parser.add_argument("--queries", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if "quality" in arguments.what:
        quality(arguments.folder, arguments.queries)
    if "filters" in arguments.what:
        filters()
