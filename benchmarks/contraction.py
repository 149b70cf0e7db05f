"""What the contractive penalty costs, and what it does.

    python -m benchmarks.contraction steps [--rounds 4] [--steps 160] [--peers]
    python -m benchmarks.contraction mnist [--folder DATA] [--epochs 20] [--weights 0 1 10]

"steps": CPU time of `fit` for one epoch of so many steps, beside the plain model's; one thread,
batches of 128 rows of 784 numbers. What comes before the steps is counted too: a contractive model
measures its norm first. The models take turns in every round, so that what else the machine does
meets them alike; the medians of the rounds' times and ratios are printed. --peers: beside a step of
`autoencoders`' contractive model of one layer too, or of a plain Jacobian where that is missing.

"mnist": the mean Frobenius norm of the Jacobian over test pictures for the paper's model (1 000
sigmoid units, tied weights, cross-entropy) under several weights of the penalty, beside the plain
one's; Rifai et al. (2011), table 1, have 17.5e-4 for the plain and 0.73e-4 for the contractive one.
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
import torch

from benchmarks import peers
from benchmarks.measuring import best, compared, table, turns
from narrows import Autoencoder, ContractiveAutoencoder, datasets

SEED = 0
BATCH, FEATURES = 128, 784

# Name, parameters, ways to compute the penalty, and the most of a plain step each may take.
ONE_LAYER = {"n_components": 512, "code_activation": "sigmoid"}
CASES = (
    ("784-512 sigmoid", ONE_LAYER, (), ["exact"]),
    ("784-512-32", {"n_components": 32}, (512,), ["exact", "stochastic"]),
    ("784-512-128-32", {"n_components": 32}, (512, 128), ["stochastic", "exact"]),
    ("784-1024-256-32", {"n_components": 32}, (1024, 256), ["stochastic"]),
)


GOALS = {
    ("784-512 sigmoid", "exact"): 1.5,
    ("784-512-32", "exact"): 3,
    ("784-512-128-32", "stochastic"): 1.9,
    ("784-512-128-32", "exact"): 12,
}
PEERS_GOAL = 50


def measure_steps(options):
    torch.set_num_threads(1)
    shape = (options.steps * BATCH, FEATURES)
    X = np.random.default_rng(SEED).random(shape, dtype=np.float32)
    print(f"torch {torch.__version__}, {options.rounds} rounds of {options.steps} steps\n")
    print("| encoder | contraction | plain, ms a step | contractive, ms a step | ratio | goal |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, parameters, hidden, ways in CASES:
        common = {
            **parameters, "hidden_layer_sizes": hidden, "max_epochs": 1, "random_state": SEED,
            "batch_size": BATCH, "early_stopping": False,
        }  # fmt: skip
        models = {"plain": Autoencoder(**common)} | {
            way: ContractiveAutoencoder(**common, contraction=way) for way in ways
        }
        fits = {way: partial(model.fit, X) for way, model in models.items()}
        times = turns(fits, options.rounds)
        for way in ways:
            ratio = statistics.median(
                a / b for a, b in zip(times[way], times["plain"], strict=True)
            )
            plain, ours = (
                1e3 * statistics.median(times[w]) / options.steps for w in ("plain", way)
            )
            goal = f"≤ {GOALS[name, way]}" if (name, way) in GOALS else ""
            cells = f"{plain:.2f} | {ours:.2f} | {ratio:.2f} | {goal}"
            print(f"| {name} | {way} | {cells} |", flush=True)
    if options.peers:
        beside_peers(X, options.steps)


def beside_peers(X, steps):
    model = ContractiveAutoencoder(
        **ONE_LAYER, hidden_layer_sizes=(), max_epochs=1, batch_size=BATCH, early_stopping=False,
        random_state=SEED,
    )  # fmt: skip
    theirs = peers.contractive_step(X[:BATCH], ONE_LAYER["n_components"])
    seconds = best(turns({"ours": partial(model.fit, X), "theirs": theirs}, 4))
    table("ratio of CPU-seconds", "measured", "goal", "met")
    what = f"{peers.AUTOENCODERS} contractive step, 784-512 sigmoid / ours"
    compared(what, steps * seconds["theirs"] / seconds["ours"], PEERS_GOAL)


def measure_mnist(options):
    data = datasets.load("mnist", options.folder)
    print(f"MNIST, 1 000 hidden units, {options.epochs} epochs, seed {SEED}\n")
    print("| weight | mean norm | plain model's / this | test error | CPU-seconds |")
    print("| --- | --- | --- | --- | --- |")
    plain = None
    for weight in options.weights:
        model = ContractiveAutoencoder(
            1000,
            contraction_weight=weight,
            hidden_layer_sizes=(),
            code_activation="sigmoid",
            tied_weights=True,
            loss="cross_entropy",
            max_epochs=options.epochs,
            random_state=SEED,
        )
        start = time.process_time()
        model.fit(data.X_train)
        seconds = time.process_time() - start
        norm = model.jacobian_norm(data.X_test).mean()
        plain = plain or norm
        error = model.reconstruction_error(data.X_test).mean() / 255**2
        print(
            f"| {weight:g} | {norm:.3f} | {plain / norm:.1f} | {error:.5f} | {seconds:.0f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("steps", "mnist"))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--folder", help="where MNIST lies")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--weights", type=float, nargs="*", default=[0, 1, 10], help="the first is the plain model"
    )
    options = parser.parse_args()
    {"steps": measure_steps, "mnist": measure_mnist}[options.what](options)


if __name__ == "__main__":
    main()
