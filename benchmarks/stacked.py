"""What pretraining is good for, on MNIST: two published results, and other remedies beside it.

    python benchmarks/stacked.py reconstruction [--folder DATA] [--epochs 20] [NAME ...]
    python benchmarks/stacked.py classification [--folder DATA] [--seeds 3]

"reconstruction": Hinton & Salakhutdinov (2006), codes of 30 numbers through 1000-500-250 layers.
The squared error of a picture is the sum over its pixels, from 0 to 1; theirs is 3.00 on the test
pictures, their PCA's 13.87.

"classification": Vincent et al. (2010), three denoising layers under a softmax; theirs has 1.28 %
of errors on the test pictures. Then the same network with 1 000 labels, pretrained on all pictures
without labels, and from scratch. The settings were chosen on 5 000 of the training pictures.

CPU-seconds are of all threads together.
"""

import argparse
import time

import numpy as np

from narrows import Autoencoder, EncoderClassifier, StackedAutoencoder, datasets
from narrows.evaluation import fit_pca

SEED = 0
SHAPE = {"n_components": 30, "hidden_layer_sizes": (1000, 500, 250), "random_state": SEED}

NETWORKS = {
    "plain": lambda **common: Autoencoder(**SHAPE, **common),
    "plain, sigmoid": lambda **common: Autoencoder(**SHAPE, activation="sigmoid", **common),
    "pretrained": lambda **common: StackedAutoencoder(**SHAPE, pretraining_epochs=5, **common),
    "pretrained, sigmoid": lambda **common: StackedAutoencoder(
        **SHAPE, activation="sigmoid", pretraining_epochs=5, **common
    ),
    "batch-normalised": lambda **common: Autoencoder(**SHAPE, normalization="batch", **common),
    "residual, 3 blocks a half": lambda **common: Autoencoder(**SHAPE, residual_blocks=3, **common),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("reconstruction", "classification"))
    parser.add_argument("names", nargs="*", help="of reconstruction, by the beginning; else all")
    parser.add_argument("--folder", help="where the data set lies")
    parser.add_argument("--epochs", type=int, default=20, help="of reconstruction")
    parser.add_argument("--seeds", type=int, default=3, help="of 1 000 labels")
    arguments = parser.parse_args()
    data = datasets.load("mnist", arguments.folder)
    if arguments.what == "reconstruction":
        reconstruct(data, arguments)
    else:
        classify(data, arguments)


def reconstruct(data, arguments):
    print("| network | test error of a picture | training error | epochs | CPU-seconds |")
    print("| --- | --- | --- | --- | --- |")
    flat = [X.reshape(len(X), -1) / np.float32(255) for X in (data.X_train, data.X_test)]
    pca = fit_pca(flat[0], 30)
    errors = [X.shape[1] * pca.mean_squared_errors(X, [30])[0] for X in flat]
    print(f"| PCA | {errors[1]:.2f} | {errors[0]:.2f} | | |", flush=True)
    for name, make in NETWORKS.items():
        if not name.startswith(tuple(arguments.names) or ("",)):
            continue
        start = time.process_time()
        model = make(max_epochs=arguments.epochs).fit(data.X_train)
        seconds = time.process_time() - start
        # Pixels from 0 to 1 count, and of a picture their sum.
        unit = data.X_train[0].size / 255**2
        some = (data.X_test, data.X_train[: len(data.X_test)])
        test, train = (model.reconstruction_error(X).mean() * unit for X in some)
        epochs = "+".join(str(len(h)) for h in (*model.history_.layers, model.history_))
        print(f"| {name} | {test:.2f} | {train:.2f} | {epochs} | {seconds:.0f} |", flush=True)


def classify(data, arguments):
    begin = time.process_time()
    model = StackedAutoencoder(
        1000,
        hidden_layer_sizes=(1000, 1000),
        activation="relu",
        code_activation="relu",
        layer_corruption_level=0.25,
        pretraining_epochs=15,
        pretraining_learning_rate=1e-3,
        fine_tune=False,
        random_state=SEED,
    ).fit(data.X_train)
    pretraining = time.process_time() - begin
    print(f"three denoising layers, trained one by one: {pretraining:.0f} CPU-seconds", flush=True)

    def test_error(X, y, *, epochs, seed, from_scratch=False):
        classifier = EncoderClassifier(
            model,
            from_scratch=from_scratch,
            corruption="masking",
            corruption_level=0.25,
            max_epochs=epochs,
            random_state=seed,
        ).fit(X, y)
        return 100 * (1 - classifier.score(data.X_test, data.y_test))

    print("\n| labels | seed | test error, pretrained | from scratch |\n| --- | --- | --- | --- |")
    for seed in range(arguments.seeds):
        rows = np.random.default_rng(seed).permutation(len(data.X_train))[:1000]
        few = data.X_train[rows], data.y_train[rows]
        errors = [test_error(*few, epochs=40, seed=seed, from_scratch=s) for s in (False, True)]
        print(f"| 1 000 | {seed} | {errors[0]:.2f} % | {errors[1]:.2f} % |", flush=True)
    begin = time.process_time()
    error = test_error(data.X_train, data.y_train, epochs=30, seed=SEED)
    print(f"| 60 000 | {SEED} | {error:.2f} % | |", flush=True)
    seconds = pretraining + time.process_time() - begin
    print(f"\npretraining and fine-tuning with all labels: {seconds / 60:.0f} CPU-minutes")


if __name__ == "__main__":
    main()
