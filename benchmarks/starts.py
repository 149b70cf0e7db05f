"""Which start is better, PCA or random weights, and when convolutions are: what "auto" goes by.

    python -m benchmarks.starts [models] [rows] [pictures]

Mean squared errors of new pictures with values from 0 to 1, by models at their defaults but for
architecture and codes; one seed.
models: the kinds of models on digits (8 x 8), dense from random weights and from PCA. Denoising
models restore pictures with Gaussian noise of 0.24.
rows: Autoencoder(8) on so many digits, beside PCA.
pictures: Autoencoder(32) on crops of 32 x 32 x 3 from the two photographs that scikit-learn brings,
of which the right third is for the test: dense from PCA and convolutional, beside PCA.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_sample_images

from benchmarks.measuring import SEED, row, table
from narrows import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    VariationalAutoencoder,
    datasets,
)
from narrows.evaluation import fit_pca

KINDS = (Autoencoder, VariationalAutoencoder, DenoisingAutoencoder, ContractiveAutoencoder)
SIDE, NOISE, TESTED = 32, 60, 500


def error(model, X, truth):
    restored = model.reconstruct(X).astype(np.float64)
    return np.square(restored - truth).mean() / 255**2


def by_pca(X, test, size):
    train, test = (rows.reshape(len(rows), -1) / 255 for rows in (X, test))
    return fit_pca(train, size).mean_squared_errors(test, [size])[0]


def fitted(kind, size, architecture, X):
    return kind(size, architecture=architecture, random_state=SEED).fit(X)


def models():
    table("model", "codes", "random weights", "from PCA", "ratio", "auto takes")
    digits = datasets.load("digits")
    X, test = digits.X_train, digits.X_test
    noise = np.random.default_rng(SEED).normal(0, NOISE, test.shape)
    noisy = np.clip(test + noise, 0, 255).astype(np.uint8)
    for kind in KINDS:
        given = noisy if kind is DenoisingAutoencoder else test
        for size in (2, 3, 8, 16):
            random, pca = (
                error(fitted(kind, size, name, X), given, test)
                for name in ("dense", "pca_residual")
            )
            auto = kind(size, max_epochs=1, random_state=SEED).fit(X).spec_.architecture
            row(kind.__name__, size, f"{random:.5f}", f"{pca:.5f}", f"{pca / random:.3f}", auto)


def rows():
    table("digits", "PCA", "random weights", "from PCA", "epochs kept")
    digits = datasets.load("digits")
    for count in (50, 100, 150, 200, 300, 500):
        X = digits.X_train[:count]
        random, pca = (fitted(Autoencoder, 8, name, X) for name in ("dense", "pca_residual"))
        errors = (error(model, digits.X_test, digits.X_test) for model in (random, pca))
        row(count, f"{by_pca(X, digits.X_test, 8):.5f}", *(f"{one:.5f}" for one in errors),
            pca.history_.best_epoch)  # fmt: skip


def crops(generator, count, *, for_test):
    """Cut pictures from random places of the photographs."""
    found, photographs = [], load_sample_images().images
    for _ in range(count):
        photograph = photographs[generator.integers(2)]
        height, width = photograph.shape[:2]
        border = 2 * width // 3
        low, high = (border, width - SIDE) if for_test else (0, border - SIDE)
        top, left = generator.integers(height - SIDE), generator.integers(low, high)
        found.append(photograph[top : top + SIDE, left : left + SIDE])
    return np.stack(found)


def pictures():
    table(
        "pictures", "PCA", "from PCA", "convolutional", "CPU-seconds", "CPU-seconds", "auto takes"
    )
    generator = np.random.default_rng(SEED)
    test = crops(generator, TESTED, for_test=True)
    for count in (100, 300, 1_000, 3_000):
        X = crops(generator, count, for_test=False)
        errors, seconds = [], []
        for name in ("pca_residual", "convolutional"):
            start = time.process_time()
            model = fitted(Autoencoder, 32, name, X)
            seconds.append(time.process_time() - start)
            errors.append(error(model, test, test))
        auto = Autoencoder(32, max_epochs=1, random_state=SEED).fit(X).spec_.architecture
        row(count, f"{by_pca(X, test, 32):.5f}", *(f"{one:.5f}" for one in errors),
            *(f"{one:.0f}" for one in seconds), auto)  # fmt: skip


PARTS = {"models": models, "rows": rows, "pictures": pictures}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what was chosen is in the tables
    for part in given.parts or PARTS:
        print(f"\n## {part}")
        PARTS[part]()


if __name__ == "__main__":
    main()
