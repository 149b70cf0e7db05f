"""What convolutions are worth: colour pictures, noise, and the speed of encoding.

    python benchmarks/architectures.py colour [--folder DATA] [--epochs EPOCHS] [--only WORD]
    python benchmarks/architectures.py noise [--folder DATA] [--epochs 4]
    python benchmarks/architectures.py encoding [--folder DATA] [--rounds 5]

colour: CIFAR-10, codes of 128 numbers beside PCA's; --only takes the rows that a word is in. noise:
Fashion-MNIST with Gaussian noise of sigma 0.3, undone by a network whose code is a map, and by a
dense one. encoding: one thread, pictures a second against what the machine's matrix products allow,
with pictures' channels last in memory and first, and by ONNX Runtime (`pip install narrows[onnx]`).
"""

import argparse
import time

import numpy as np
import torch

from narrows import Autoencoder, DenoisingAutoencoder, datasets
from narrows.evaluation import fit_pca

SEED = 0
SIGMA = 0.3


def timed(job):
    start = time.process_time()
    result = job()
    return result, time.process_time() - start


def colour(given):
    data = datasets.load("cifar-10", given.folder)
    train, test = (X.reshape(len(X), -1) / np.float32(255) for X in (data.X_train, data.X_test))
    pca, seconds = timed(lambda: fit_pca(train, 128))
    (linear,) = pca.mean_squared_errors(test, [128])
    print(f"CIFAR-10, {len(train)} pictures to learn from, {len(test)} to test, seed {SEED}\n")
    print("| model | code | test error | of PCA's | CPU-seconds |\n| --- | --- | --- | --- | --- |")
    print(f"| PCA | 128 | {linear:.5f} | 1 | {seconds:.0f} |", flush=True)
    rows = {
        "all defaults: convolutional": {},
        "dense": {"architecture": "dense"},
        "convolutional, twice as wide": {
            "architecture": "convolutional",
            "hidden_layer_sizes": (64, 128, 256),
        },
        "convolutional, steps of 32 for 30 epochs, mirrored pictures too": {
            "architecture": "convolutional",
            "batch_size": 32,
            "learning_rate": 2e-3,
            "max_epochs": 30,
        },
        "wider, steps of 32 for 24 epochs, mirrored pictures too": {
            "architecture": "convolutional",
            "hidden_layer_sizes": (48, 96, 192),
            "batch_size": 32,
            "learning_rate": 2e-3,
            "max_epochs": 24,
        },
    }
    shorter = {"max_epochs": given.epochs} if given.epochs else {}
    for title, parameters in rows.items():
        if given.only not in title:
            continue
        X = data.X_train
        if "mirrored" in title:
            X = np.concatenate([X, X[:, :, ::-1]])
        model = Autoencoder(128, random_state=SEED, **{**parameters, **shorter})
        _, seconds = timed(lambda model=model, X=X: model.fit(X))
        error = model.reconstruction_error(data.X_test).mean() / 255**2
        share = error / linear
        print(f"| {title} | 128 | {error:.5f} | {share:.3f} | {seconds:.0f} |", flush=True)


def psnr(restored, clean):
    """Mean over pictures of the peak signal-to-noise ratio in dB, for values between 0 and 1."""
    errors = np.square(restored - clean).reshape(len(clean), -1).mean(axis=1)
    return float((-10 * np.log10(errors)).mean())


def noise(given):
    data = datasets.load("fashion-mnist", given.folder)
    train, clean = (X / np.float32(255) for X in (data.X_train, data.X_test))
    added = np.random.default_rng(SEED).normal(0, SIGMA, clean.shape)
    noisy = (clean + added).astype(np.float32)
    print(f"Fashion-MNIST, sigma {SIGMA}, {len(clean)} test pictures, seed {SEED}\n")
    print("| method | PSNR, dB | CPU-seconds |\n| --- | --- | --- |")
    print(f"| noisy | {psnr(noisy, clean):.2f} | |", flush=True)
    for title, parameters in {
        "dense, code 256": {"n_components": 256},
        "fully convolutional, 32 numbers a place, 4 residual blocks": {
            "n_components": 32,
            "architecture": "fully_convolutional",
            "hidden_layer_sizes": (32, 64),
            "residual_blocks": 4,
        },
    }.items():
        model = DenoisingAutoencoder(
            corruption="gaussian",
            corruption_level=SIGMA,
            max_epochs=given.epochs,
            random_state=SEED,
            **parameters,
        )
        _, seconds = timed(lambda model=model: model.fit(train))
        value = psnr(model.denoise(noisy), clean)
        print(f"| {title} | {value:.2f} | {seconds:.0f} |", flush=True)


def median_rates(jobs, n_rows, rounds):
    """Pictures a CPU-second of some jobs that take turns; the first round is a rehearsal."""
    seconds = {name: [] for name in jobs}
    for _ in range(rounds + 1):
        for name, job in jobs.items():
            seconds[name].append(timed(job)[1])
    return {name: n_rows / np.median(taken[1:]) for name, taken in seconds.items()}


def channels_first(encoder, x):
    """Encode with pictures' channels first in memory: what convolutions do unless told."""
    centre, to_channels, *layers = encoder.body
    with torch.inference_mode():
        for start in range(0, len(x), 128):
            y = to_channels(centre(x[start : start + 128])).contiguous()
            for layer in layers:
                y = layer(y)


def encoding(given):
    from torch.utils.flop_counter import FlopCounterMode

    from narrows.onnx import OnnxEncoder

    torch.set_num_threads(1)
    a, b = torch.rand(2, 1024, 1024)
    data = {
        "70 000 pictures of 28 x 28": datasets.load("fashion-mnist", given.folder),
        "pictures of 32 x 32 in colour": datasets.load("cifar-10", given.folder),
    }
    for title, these in data.items():
        X = np.concatenate([these.X_train, these.X_test])
        model = Autoencoder(32, architecture="convolutional", max_epochs=1, random_state=SEED)
        encoder, _ = model.fit(these.X_train[:2_000]).split()
        x = torch.from_numpy(X[:10_000]) / 255
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            encoder.module(x[:1])
        by_onnx = OnnxEncoder(encoder, n_threads=1)
        jobs = {
            "matrix products": lambda: [a @ b for _ in range(20)],
            "transform": lambda X=X, encoder=encoder: encoder.transform(X),
            "channels first": lambda x=x, encoder=encoder: channels_first(encoder.module, x),
            "ONNX Runtime": lambda X=X, by_onnx=by_onnx: by_onnx.transform(X),
        }
        rates = median_rates(jobs, len(X), given.rounds)
        peak = 20 * 2 * 1024**3 / (len(X) / rates["matrix products"])
        floor = peak / counter.get_total_flops()
        rates["channels first"] *= len(x) / len(X)
        print(f"\n{title}, seed {SEED}: {peak / 1e9:.0f} GFLOP/s allow {floor:.0f} a second\n")
        print("| how | pictures a CPU-second | of what is allowed |\n| --- | --- | --- |")
        for name in ("transform", "channels first", "ONNX Runtime"):
            print(f"| {name} | {rates[name]:.0f} | {rates[name] / floor:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    jobs = {"colour": (colour, None), "noise": (noise, 4), "encoding": (encoding, 0)}
    parser.add_argument("what", choices=jobs)
    parser.add_argument("--folder", help="where the data sets lie")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", default="", metavar="WORD", help="the rows to print")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    job, epochs = jobs[given.what]
    given.epochs = given.epochs or epochs
    job(given)


if __name__ == "__main__":
    main()
