"""How fast models learn, beside the peers and beside what multiplications alone would take.

    python -m benchmarks.training [rates] [choice] [quality] [busy]
        [--rounds 5] [--rows 12800] [--epochs 4] [--batches 256 512] [--folder DATA]

CPU time of one thread, the best of rounds in which all take their turns; all by the public `fit`.
What `fit` does to the process' heap stays: pythae, too, learns some 6 % faster after it.
Narrows is given uint8 pictures, the peers the floats from 0 to 1 that they want. The network is the
one that pythae builds, 784-512-16-512-784 with rectifiers and a sigmoid at the end.

rates: rows a CPU-second of Autoencoder and VariationalAutoencoder at batch 128 and of Autoencoder
at its own choice, beside pythae's, scikit-learn's MLPRegressor with two threads, a bare loop with
torch's fused Adam, and the floor: the multiplications of a step (the first layer needs no gradient
of its input) at the speed of large matrix products.
choice: the test error on Fashion-MNIST at equal CPU time, of the model's own choice of batch beside
larger ones: their epochs are matched to its CPU-seconds. One run each.
quality: CPU-seconds until the test error on Fashion-MNIST with 16 codes is below 0.0131, all
start-up of the process included, with everybody's own defaults but the epochs: the least that get
there. Peers are measured after each epoch, and their measuring is not counted; they are given up
after twelve times as long as Narrows takes. The median of rounds in which all take their turns.
busy: the rate by the clock of fit with two threads beside two processes that are never idle; the
median of the rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

from benchmarks import peers
from benchmarks.measuring import SEED, Products, best, compared, pictures, row, table, turns
from narrows import Autoencoder, VariationalAutoencoder, datasets
from narrows.models import resolve

PARTS = ("rates", "choice", "quality", "busy")
BATCH = 128
WIDTHS = (784, 512, 16)
LAYERS = WIDTHS[0] * WIDTHS[1] + WIDTHS[1] * WIDTHS[2]
# Forward, the weights' gradients and the values' gradients, both halves; but the input's.
MULTIPLICATIONS = 3 * 2 * LAYERS - WIDTHS[0] * WIDTHS[1]
WANTED = 0.0131
LONGEST = 12  # times as long as Narrows takes, after which a peer is given up


def model(kind=Autoencoder, **parameters):
    common = {"hidden_layer_sizes": (512,), "activation": "relu"}
    common |= {"random_state": SEED, "early_stopping": False}
    return kind(16, **common | parameters)


def rates(given):
    X = pictures(given.rows)
    scaled = X / np.float32(255)
    tensor, products, epochs = torch.from_numpy(scaled), Products(), given.epochs
    plain = {"epochs": epochs, "per_device_train_batch_size": BATCH, "learning_rate": 1e-3}
    some = scaled[: len(scaled) // 4]  # for the peer that takes longest
    # What the model would choose for all 60 000 pictures, as for these.
    own = resolve.choose_batch_size(60_000)
    regressor = MLPRegressor(
        hidden_layer_sizes=(512, 16, 512),
        batch_size=BATCH,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=10**6,
    )
    batches = dict.fromkeys((BATCH, own))  # each is measured once
    names = {
        **{batch: f"Autoencoder.fit, batch {batch}" for batch in batches},
        "two": "Autoencoder.fit, batch 128, two threads",
        "variational": "VariationalAutoencoder.fit, batch 128",
        "pythae": f"{peers.PYTHAE} AE, batch 128",
        "pythae variational": f"{peers.PYTHAE} VAE, batch 128",
        "bare": "bare loop, fused Adam, batch 128",
        "regressor": "MLPRegressor, batch 128, two threads",
    }

    def fit(batch, kind=Autoencoder):
        return lambda: model(kind, batch_size=batch, max_epochs=epochs).fit(X)

    def two_threads():
        with threadpool_limits(2):
            regressor.fit(some, some)

    def fit_by_two():
        torch.set_num_threads(2)
        fit(BATCH)()
        torch.set_num_threads(1)

    ways = {
        **{batch: fit(batch) for batch in batches},
        "bare": lambda: peers.bare_loop(tensor, batch_size=BATCH, epochs=epochs),
        "pythae": lambda: peers.pythae(scaled, **plain),
        "variational": fit(BATCH, VariationalAutoencoder),
        "pythae variational": lambda: peers.pythae(scaled, variational=True, **plain),
        "regressor": two_threads,
        "two": fit_by_two,
        "products": products,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLPRegressor's, that it was ended early
        seconds = best(turns(ways, given.rounds))
    seconds["regressor"] *= len(scaled) / len(some)
    floor = given.rows * epochs * products.seconds(MULTIPLICATIONS, seconds["products"])
    print(f"\n{given.rows} rows, {epochs} epochs, best of {given.rounds} rounds, CPU time")
    table("what", "rows a CPU-second", "of the floor")
    for key, name in names.items():
        rate = given.rows * epochs / seconds[key]
        row(name, f"{rate:.0f}", f"{floor / seconds[key]:.2f}")
    row("floor: multiplications alone", f"{given.rows * epochs / floor:.0f}", "1")
    table("ratio of rates", "measured", "goal", "met")
    ratio = {key: taken / seconds[BATCH] for key, taken in seconds.items()}
    compared("fit, batch 128 / pythae's AE", ratio["pythae"], 1.25)
    compared("fit, batch 128 / MLPRegressor with two threads", ratio["regressor"], 1.9)
    by_two = seconds["regressor"] / seconds["two"]
    compared("fit, batch 128, with two threads / MLPRegressor with two", by_two, 1.9)
    compared("fit, batch 128 / bare fused loop", ratio["bare"], 0.97)
    compared(f"fit, own choice, {own} / pythae's AE at 128", seconds["pythae"] / seconds[own], 1.8)
    compared(f"fit, own choice, {own} / floor", floor / seconds[own], 0.85)
    variational = seconds["pythae variational"] / seconds["variational"]
    compared("variational, batch 128 / pythae's VAE", variational, 1.55)


def choice(given):
    data = datasets.load("fashion-mnist", given.folder)

    def measure(**parameters):
        start = time.process_time()
        fitted = model(**parameters).fit(data.X_train)
        seconds = time.process_time() - start
        return seconds, fitted.reconstruction_error(data.X_test).mean() / 255**2

    epochs = given.choice_epochs
    own, error = measure(max_epochs=epochs)
    table("batch", "epochs", "CPU-seconds", "test error")
    chosen = f"own choice, {resolve.choose_batch_size(len(data.X_train))}"
    row(chosen, epochs, f"{own:.1f}", f"{error:.5f}")
    errors = {}
    for batch in given.batches:
        short, _ = measure(batch_size=batch, max_epochs=1)
        as_long = round(own / short)
        seconds, errors[batch] = measure(batch_size=batch, max_epochs=as_long)
        row(batch, as_long, f"{seconds:.1f}", f"{errors[batch]:.5f}")
    table("ratio", "measured", "goal", "met")
    for batch, other in errors.items():
        compared(f"test error, own choice / batch {batch}", error / other, 1, at_most=True)


OURS = """
import sys, time
from narrows import Autoencoder, datasets
data = datasets.load("fashion-mnist", sys.argv[1] or None)
model = Autoencoder(16, max_epochs=int(sys.argv[2]), random_state=int(sys.argv[3]))
model.fit(data.X_train)
taken = time.process_time()
print(taken, model.reconstruction_error(data.X_test).mean() / 255**2)
"""
PYTHAES = """
import sys, time
import numpy as np
import torch
from benchmarks import peers
from narrows import datasets
data = datasets.load("fashion-mnist", sys.argv[1] or None)
train, test = (X.reshape(-1, 784) / np.float32(255) for X in (data.X_train, data.X_test))
measuring = 0.0

def measure(decode):
    with torch.no_grad():
        return float(((decode(torch.from_numpy(test)) - torch.from_numpy(test)) ** 2).mean())

class Done(Exception):
    pass

from pythae.trainers.training_callbacks import TrainingCallback

class Stop(TrainingCallback):
    epoch = 0
    def on_epoch_end(self, config, model=None, **_):
        global measuring
        before = time.process_time()
        self.epoch += 1
        error = measure(lambda x: model.decoder(model.encoder(x)["embedding"])["reconstruction"])
        measuring += time.process_time() - before
        taken = time.process_time() - measuring
        if error < float(sys.argv[2]) or taken > float(sys.argv[3]):
            print(taken, error, self.epoch)
            raise Done

try:
    peers.pythae(train, epochs=1000, callbacks=[Stop()])
except Done:
    pass
"""
REGRESSORS = """
import sys, time, warnings
import numpy as np
from sklearn.neural_network import MLPRegressor
from narrows import datasets
data = datasets.load("fashion-mnist", sys.argv[1] or None)
train, test = (X.reshape(-1, 784) / np.float32(255) for X in (data.X_train, data.X_test))
measuring = 0.0
# Its own defaults, but the network, without which it has no code. After an epoch it goes on.
shape = {"hidden_layer_sizes": (512, 16, 512), "random_state": 0}
regressor = MLPRegressor(**shape, max_iter=1, warm_start=True)
warnings.simplefilter("ignore")
for epoch in range(1, 1000):
    regressor.fit(train, train)
    before = time.process_time()
    error = float(((regressor.predict(test) - test) ** 2).mean())
    measuring += time.process_time() - before
    taken = time.process_time() - measuring
    if error < float(sys.argv[2]) or taken > float(sys.argv[3]):
        break
print(taken, error, epoch)
"""


def in_process(script, *words, threads=1):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    return [float(word) for word in done.stdout.split()[-3:]]


def quality(given):
    folder = given.folder or ""
    ways = {"MLPRegressor": (REGRESSORS, 1 / 5)}
    if peers.HAS_PYTHAE:
        ways["pythae's AE"] = (PYTHAES, 1 / 10)
    ratios = {name: [] for name in ways}
    table("what", "epochs", "CPU-seconds", "test error")
    epochs = 1
    for _ in range(given.quality_rounds):
        while True:
            ours, error = in_process(OURS, folder, epochs, SEED)
            row("Autoencoder(16)", epochs, f"{ours:.1f}", f"{error:.5f}")
            if error < WANTED:
                break
            epochs += 1
        for name, (script, _) in ways.items():
            taken, error, needed = in_process(script, folder, WANTED, LONGEST * ours)
            row(name, f"{needed:.0f}", f"{taken:.1f}", f"{error:.5f}")
            ratios[name].append(ours / taken)
    print("\nWhere a peer's error is not below the wanted one, it takes longer than is shown.")
    table("ratio of CPU-seconds", "measured", "goal", "met")
    for name, of_rounds in ratios.items():
        median = statistics.median(of_rounds)
        compared(f"Autoencoder / {name}", median, ways[name][1], at_most=True)


BUSY = """
import sys, time
import numpy as np
from narrows import Autoencoder
X = np.random.default_rng(0).integers(0, 256, (int(sys.argv[1]), 784), np.uint8)
model = Autoencoder(16, hidden_layer_sizes=(512,), max_epochs=1, early_stopping=False)
model.set_params(batch_size=128, random_state=0).fit(X[:1024])
start = time.perf_counter()
model.fit(X)
print(time.perf_counter() - start)
"""


def busy(given):
    """Between two undisturbed runs one beside busy neighbours, the processors' two."""
    ratios = []
    for _ in range(given.rounds):
        free = [in_process(BUSY, given.rows, threads=2)[-1]]
        neighbours = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(os.cpu_count() or 1)
        ]
        try:
            disturbed = in_process(BUSY, given.rows, threads=2)[-1]
        finally:
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.wait()
        free.append(in_process(BUSY, given.rows, threads=2)[-1])
        ratios.append(float(np.mean(free)) / disturbed)
    print(f"\ntwo threads, by the clock, {given.rounds} rounds: {np.round(ratios, 2).tolist()}")
    table("ratio of rates", "measured", "goal", "met")
    compared("fit beside busy processes / undisturbed", statistics.median(ratios), 0.4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=12_800)
    parser.add_argument("--epochs", type=int, default=4, help="of rates")
    parser.add_argument("--choice-epochs", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512], help="of choice")
    parser.add_argument("--quality-rounds", type=int, default=3)
    parser.add_argument("--folder", help="where Fashion-MNIST lies")
    given = parser.parse_args()
    torch.set_num_threads(1)
    parts = dict(zip(PARTS, (rates, choice, quality, busy), strict=True))
    for part in given.parts or PARTS:
        print(f"\n## {part}")
        parts[part](given)


if __name__ == "__main__":
    main()
