"""How time grows with the rows: an epoch of training, and matching one code.

    python -m benchmarks.growth [--rows N ...] [--rounds 4] [--plot FILE]

CPU time, one thread, the least of the rounds. Training: 64 numbers a row, 64-32-8-32-64, batches of
512, the seconds of a second epoch less those of a first (which also plans and looks at the data).
Matching: the ten nearest of so many codes of 32 numbers by ExactIndex, 20 queries one by one.
Linear is a time a row that stays the same; the exponent is the slope of log time over log rows,
over all of them and between the last two, where what a query takes whatever the rows counts least.
"""

import argparse
import time

import numpy as np
import torch

from benchmarks.measuring import SEED, compared, row, table
from narrows import Autoencoder
from narrows.library import ExactIndex


def seconds_of(job, rounds):
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        job()
        taken.append(time.process_time() - start)
    return min(taken)


def epoch(rows, rounds):
    X = np.random.default_rng(SEED).integers(0, 256, (rows, 64), np.uint8)
    common = {"hidden_layer_sizes": (32,), "batch_size": 512, "early_stopping": False}

    def fit(epochs):
        return lambda: Autoencoder(8, max_epochs=epochs, random_state=SEED, **common).fit(X)

    return seconds_of(fit(2), rounds) - seconds_of(fit(1), rounds)


def match(rows, rounds):
    rng = np.random.default_rng(SEED)
    index = ExactIndex(rng.standard_normal((rows, 32), np.float32))
    queries = rng.standard_normal((20, 32), np.float32)
    index.search(queries[:1], 10)

    def search():
        for query in queries:
            index.search(query[None], 10)

    return seconds_of(search, rounds) / len(queries)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[10**4, 3 * 10**4, 10**5, 3 * 10**5, 10**6]
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--plot", help="where to draw it, a PNG or SVG file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table("rows", "an epoch, s", "a row, µs", "one query, ms", "a row, ns")
    times = []
    for rows in given.rows:
        learning, matching = epoch(rows, given.rounds), match(rows, given.rounds)
        times.append((learning, matching))
        cells = (f"{learning:.3g}", f"{1e6 * learning / rows:.3g}")
        row(rows, *cells, f"{1e3 * matching:.3g}", f"{1e9 * matching / rows:.3g}")
    logs = np.log(np.array(times))
    table("exponent", "measured", "goal", "met")
    for where, first in (("", 0), (", the last two", -2)):
        slopes = np.polyfit(np.log(given.rows[first:]), logs[first:], 1)[0]
        for name, slope in zip(("an epoch of training", "matching"), slopes, strict=True):
            compared(name + where, slope, 1.1, at_most=True)
    if given.plot:
        draw(given.rows, np.array(times), given.plot)


def draw(rows, times, path):
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    named = (("One epoch of training", "CPU-seconds", 1), ("Matching one code", "CPU-ms", 1e3))
    for panel, (title, unit, factor), taken in zip(panels, named, times.T, strict=True):
        panel.loglog(rows, factor * taken, "o-", label="measured")
        linear = factor * taken[-1] * np.array(rows) / rows[-1]
        panel.loglog(rows, linear, "--", color="0.6", label="linear")
        panel.set(title=title, xlabel="rows", ylabel=unit)
        panel.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
