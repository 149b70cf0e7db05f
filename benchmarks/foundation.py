"""How good the defaults are: test error beside PCA, and what the codes are worth as features.

    python benchmarks/foundation.py [fashion-mnist] [mnist] [digits] [linear] [--folder DATA]

Prints, for each data set, the mean squared error over test pixels (0 to 1) of PCA and of an
autoencoder with all defaults but the code size (and 20 epochs on the larger sets), the accuracy of
a 5-nearest-neighbour classifier on the codes, and CPU-seconds of training.
"""

import argparse
import time

import numpy as np
from scipy.linalg import subspace_angles
from sklearn.neighbors import KNeighborsClassifier

from narrows import Autoencoder, datasets
from narrows.evaluation import fit_pca

SEED = 0


def accuracy(Z_train, y_train, Z_test, y_test):
    return KNeighborsClassifier(5, algorithm="brute").fit(Z_train, y_train).score(Z_test, y_test)


def row(name, error, share, seconds):
    print(f"| {name} | {error:.5f} | {share:.3f} | {seconds:.0f} |", flush=True)


def run(name, sizes, folder, **parameters):
    data = datasets.load(name, folder)
    flat = [X.reshape(len(X), -1) / np.float32(255) for X in (data.X_train, data.X_test)]
    print(f"\n{name}: {len(flat[0])} train, {len(flat[1])} test, seed {SEED}\n")
    print("| model | test error | 5-NN accuracy | CPU-seconds |")
    print("| --- | --- | --- | --- |")
    raw = accuracy(flat[0], data.y_train, flat[1], data.y_test)
    row("raw pixels", 0, raw, 0)
    for size in sizes:
        start = time.process_time()
        pca = fit_pca(flat[0], size)
        seconds = time.process_time() - start
        codes = [pca.transform(X) for X in flat]
        (error,) = pca.mean_squared_errors(flat[1], [size])
        share = accuracy(codes[0], data.y_train, codes[1], data.y_test)
        row(f"PCA-{size}", error, share, seconds)
    for size in sizes:
        for epochs in parameters.get("epochs", ["auto"]):
            model = Autoencoder(n_components=size, max_epochs=epochs, random_state=SEED)
            start = time.process_time()
            model.fit(data.X_train)
            seconds = time.process_time() - start
            error = model.reconstruction_error(data.X_test).mean() / 255**2
            codes = [model.transform(X) for X in (data.X_train, data.X_test)]
            share = accuracy(codes[0], data.y_train, codes[1], data.y_test)
            row(f"autoencoder-{size}, {model.n_iter_} epochs", error, share, seconds)


def linear():
    """The linear autoencoder beside PCA: error ratio and largest principal angle."""
    data = datasets.load("digits")
    train, test = (X.reshape(len(X), -1).astype(float) for X in (data.X_train, data.X_test))
    print("\nlinear autoencoder on digits\n")
    print("| code size | test error / PCA's | largest principal angle |")
    print("| --- | --- | --- |")
    for size in (4, 8, 16):
        pca = fit_pca(train, size)
        (truth,) = pca.mean_squared_errors(test, [size])
        model = Autoencoder(
            n_components=size, hidden_layer_sizes=(), activation="identity", random_state=SEED
        ).fit(train)
        zero = model.inverse_transform(np.zeros((1, size)))
        basis = (model.inverse_transform(np.eye(size)) - zero).T.astype(float)
        angle = np.degrees(subspace_angles(basis, pca.components.T).max())
        ratio = model.reconstruction_error(test).mean() / truth
        print(f"| {size} | {ratio:.4f} | {angle:.1f}° |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("digits", "linear", "mnist", "fashion-mnist")
    parser.add_argument("names", nargs="*", help=", ".join(names))
    parser.add_argument("--folder", help="where the data sets lie")
    arguments = parser.parse_args()
    for name in arguments.names or names:
        if name == "linear":
            linear()
        elif name == "digits":
            run(name, (8, 16), arguments.folder)
        else:
            run(name, (16, 32), arguments.folder, epochs=[1, 20] if "fashion" in name else [20])


if __name__ == "__main__":
    main()
