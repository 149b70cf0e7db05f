"""How many units of a sparse code stay dead: BatchTopK on 10 000 pictures of MNIST in 5 epochs.

    python -m benchmarks.sparse [--folder DATA] [--rows 10000] [--epochs 5] [--code 256 512 1024]

A unit is dead if none of the pictures that were learned from puts it on. Everything but the code
size, the epochs and the random seed (0, 1 and 2) is left at its default. The error is that of the
test pictures, beside PCA with as many components as units are on for a picture.
"""

import argparse

from benchmarks.measuring import compared, row, table
from narrows import SparseAutoencoder, datasets
from narrows.evaluation import fit_pca

SEEDS = (0, 1, 2)
AT_MOST = 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the data set lies")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--code", type=int, nargs="*", default=[256, 512, 1024])
    arguments = parser.parse_args()
    data = datasets.load("mnist", arguments.folder)
    train, test = data.X_train[: arguments.rows], data.X_test

    table("units", "on for a picture", "seed", "dead units", "test error / PCA's")
    shares = {}
    for size in arguments.code:
        for seed in SEEDS:
            model = SparseAutoencoder(
                size, sparsity="batch_topk", max_epochs=arguments.epochs, random_state=seed
            ).fit(train)
            dead = int(model.code_sparsity(train).dead_units.sum())
            shares[size, seed] = dead / size
            active = round(size * float(model.active_share_))
            error = model.reconstruction_error(test).mean() / pca_error(train, test, active)
            row(size, active, seed, f"{dead} ({dead / size:.1%})", f"{error:.2f}")
    table("share of dead units", "largest", "goal", "met")
    for size in arguments.code:
        largest = max(shares[size, seed] for seed in SEEDS)
        compared(f"{size} units", largest, AT_MOST, at_most=True)


def pca_error(train, test, size):
    """Return the mean squared error of a value of the test pictures."""
    return fit_pca(train, size).mean_squared_errors(test, [size])[0]


if __name__ == "__main__":
    main()
