"""All models beside each other and beside PCA, on Fashion-MNIST.

    python benchmarks/models.py [--folder DATA] [--epochs 20] [--rows 60000] [NAME ...]

Codes of 32 numbers (sparse: 1 024), all defaults but what the first column names. Per model: the
mean squared error over test pixels (0 to 1), the accuracy of a 5-nearest-neighbour classifier and
of logistic regression on the codes, the mean Frobenius norm of the Jacobian of the code (with
respect to pixels from 0 to 1), the share of the code's units that are on in a picture, the evidence
lower bound in nats (of pixels from 0 to 1) where there is one, and CPU-seconds of training.
"""

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from narrows import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
    datasets,
)
from narrows.evaluation import fit_pca

SEED = 0
# A unit counts as on from this share of its own largest value on the training pictures.
ON = 0.1

MODELS = {
    "autoencoder": lambda **common: Autoencoder(32, **common),
    "denoising, gaussian 0.3": lambda **common: DenoisingAutoencoder(32, **common),
    "denoising, masking 0.3": lambda **common: DenoisingAutoencoder(
        32, corruption="masking", **common
    ),
    "contractive": lambda **common: ContractiveAutoencoder(32, **common),
    "variational": lambda **common: VariationalAutoencoder(32, **common),
    "sparse, KL": lambda **common: SparseAutoencoder(1024, **common),
    "sparse, L1": lambda **common: SparseAutoencoder(1024, sparsity="l1", **common),
    "sparse, TopK": lambda **common: SparseAutoencoder(1024, sparsity="topk", **common),
    "sparse, BatchTopK": lambda **common: SparseAutoencoder(1024, sparsity="batch_topk", **common),
    "sparse, JumpReLU": lambda **common: SparseAutoencoder(1024, sparsity="jumprelu", **common),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="which, by the beginning of the name; else all")
    parser.add_argument("--folder", help="where the data set lies")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=60_000, help="training pictures to take")
    arguments = parser.parse_args()
    data = datasets.load("fashion-mnist", arguments.folder)
    train, y_train = data.X_train[: arguments.rows], data.y_train[: arguments.rows]
    test, y_test = data.X_test, data.y_test
    chosen = tuple(arguments.names) or ("",)

    def classify(model, Z_train, Z_test):
        # Brought to [-1, 1], for the solver's sake; zeros stay zeros.
        pipeline = make_pipeline(MaxAbsScaler(), model)
        return pipeline.fit(Z_train, y_train).score(Z_test, y_test)

    def row(name, codes, *, error, norm, bound, seconds):
        neighbors = KNeighborsClassifier(5, algorithm="brute")
        neighbors = neighbors.fit(codes[0], y_train).score(codes[1], y_test)
        logistic = classify(LogisticRegression(max_iter=1000), *codes)
        on = (np.abs(codes[1]) > ON * np.abs(codes[0]).max(axis=0)).mean()
        shown = "" if bound is None else f"{bound:.1f}"
        print(
            f"| {name} | {error:.5f} | {neighbors:.3f} | {logistic:.3f} | {norm:.2f} | {on:.3f} "
            f"| {shown} | {seconds:.0f} |",
            flush=True,
        )

    print(f"{len(train)} training pictures, {arguments.epochs} epochs, seed {SEED}\n")
    print("| model | test error | 5-NN | logistic | Jacobian | on | ELBO, nats | CPU-seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    if "PCA".startswith(chosen):
        flat = [X.reshape(len(X), -1) / np.float32(255) for X in (train, test)]
        start = time.process_time()
        pca = fit_pca(flat[0], 32)
        seconds = time.process_time() - start
        codes = [pca.transform(X) for X in flat]
        (error,) = pca.mean_squared_errors(flat[1], [32])
        norm = np.linalg.norm(pca.components)
        row("PCA", codes, error=error, norm=norm, bound=None, seconds=seconds)
    for name, make in MODELS.items():
        if not name.startswith(chosen):
            continue
        model = make(max_epochs=arguments.epochs, random_state=SEED)
        start = time.process_time()
        model.fit(train)
        seconds = time.process_time() - start
        codes = [model.transform(X) for X in (train, test)]
        error = model.reconstruction_error(test).mean() / 255**2
        norm = model.jacobian_norm(test[:1000]).mean()
        bound = None
        if hasattr(model, "elbo"):
            bound = model.elbo(test).mean() + test[0].size * np.log(255)
        row(name, codes, error=error, norm=norm, bound=bound, seconds=seconds)


if __name__ == "__main__":
    main()
