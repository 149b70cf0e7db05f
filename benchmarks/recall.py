"""The recall of approximate searches for queries of several kinds, and what each kind costs.

    python -m benchmarks.recall [--rows 50000] [--queries 300] [--rounds 7] [--folder DATA]

Needs faiss-cpu (pip install "narrows[faiss]"). The libraries are uniform numbers, a mixture of
Gaussians, and the codes that an autoencoder learned from Fashion-MNIST gives to its pictures; for
these the foreign queries are MNIST, otherwise shifted Gaussian noise. "compared": the share of
the library's rows whose distances are looked at, without the middles of cells. "of exact": CPU time
as a share of that of the exact search of the same queries at once, medians of rounds in which both
take their turns.
"""

import argparse
import time

import faiss
import numpy as np
import torch

from benchmarks.measuring import SEED, row, table
from narrows import Autoencoder, datasets
from narrows.library import ApproximateIndex, ExactIndex

K = 10


class Counting(ApproximateIndex):
    """An approximate index that counts the rows it compares."""

    compared = 0

    def _scan(self, vectors, cells, scores, count):
        self.compared += int(np.where(cells < 0, 0, self._sizes[cells]).sum())
        return super()._scan(vectors, cells, scores, count)

    def _exactly(self, queries, k):
        self.compared += len(self) * len(queries)
        return super()._exactly(queries, k)


def libraries(rows, count, folder):
    """Yield names, codes, unseen rows like these, and foreign queries."""
    rng = np.random.default_rng(SEED)
    uniform = rng.random((rows + count, 16), np.float32)
    yield "uniform, 16", *np.split(uniform, [rows]), 1.5 + 0.7 * rng.standard_normal((count, 16))
    centres = 4 * rng.standard_normal((200, 32))
    sizes = np.exp(rng.standard_normal(200))
    which = rng.integers(200, size=rows + count)
    mixture = centres[which] + sizes[which, None] * rng.standard_normal((rows + count, 32))
    yield "mixture, 32", *np.split(mixture, [rows]), 2 + 6 * rng.standard_normal((count, 32))
    fashion, mnist = (datasets.load(name, folder) for name in ("fashion-mnist", "mnist"))
    model = Autoencoder(32, max_epochs=2, random_state=SEED).fit(fashion.X_train)
    codes = (fashion.X_train, fashion.X_test[:count], mnist.X_test[:count])
    yield "Fashion-MNIST, 32", *(model.transform(X) for X in codes)


def measured(codes, kinds, metric, rounds):
    """Yield for each kind of queries its recall, the share compared and the share of CPU time."""
    index, exact = Counting(codes, metric), ExactIndex(codes, metric)
    for name, queries in kinds.items():
        index.compared, seconds = 0, {index: [], exact: []}
        distances, _ = index.search(queries, K)
        compared = index.compared / (len(codes) * len(queries))
        truth, _ = exact.search(queries, K)
        for _ in range(rounds):
            for one, taken in seconds.items():
                start = time.process_time()
                one.search(queries, K)
                taken.append(time.process_time() - start)
        recall = float((distances <= truth[:, -1:] * (1 + 1e-6)).mean())
        ratio = np.median(seconds[index]) / np.median(seconds[exact])
        yield name, recall, compared, ratio, index.recall[K], index.recall.disturbed[K]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder")
    given = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(SEED)
    print(f"k {K}, {given.queries} queries of each kind, one thread, seed {SEED}")
    table("library", "metric", "queries", "recall", "told", "compared", "of exact")
    for name, codes, unseen, foreign in libraries(given.rows, given.queries, given.folder):
        noise = 0.25 * codes.std(axis=0) * rng.standard_normal((given.queries, codes.shape[1]))
        rows = codes[rng.choice(len(codes), given.queries, replace=False)]
        kinds = {"unseen": unseen, "disturbed": rows + noise, "foreign": foreign, "x 3": 3 * rows}
        kinds = {kind: np.ascontiguousarray(q, np.float32) for kind, q in kinds.items()}
        for metric in ("euclidean", "cosine"):
            found = measured(np.ascontiguousarray(codes, np.float32), kinds, metric, given.rounds)
            for kind, recall, compared, ratio, own, disturbed in found:
                told = {"unseen": f"{own:.4f}", "disturbed": f"{disturbed:.4f}"}.get(kind, "")
                row(name, metric, kind, f"{recall:.4f}", told, f"{compared:.3f}", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
