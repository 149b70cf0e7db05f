"""How well Gaussian noise is undone: mean PSNR over Fashion-MNIST's test pictures.

    python benchmarks/denoising.py [--folder DATA] [--sigma 0.3] [--epochs auto] [--code auto 64]

Noise is added to pixels between 0 and 1 and not cut off. PCA is shown at its best code size; the
denoising autoencoder has all defaults but the noise's level and what is named: the code size, where
"auto" passes pictures around the code at several scales, and the epochs.
"""

import argparse
import time

import numpy as np

from narrows import DenoisingAutoencoder, datasets
from narrows.evaluation import fit_pca

SEED = 0


def psnr(restored, clean):
    """Mean over pictures of the peak signal-to-noise ratio in dB, for values between 0 and 1."""
    errors = ((restored - clean) ** 2).reshape(len(clean), -1).mean(axis=1)
    return float((-10 * np.log10(errors)).mean())


def number_or_auto(word):
    """Read a whole number, or the word "auto"."""
    return word if word == "auto" else int(word)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the data set lies")
    parser.add_argument("--sigma", type=float, default=0.3)
    parser.add_argument("--epochs", type=number_or_auto, default="auto")
    parser.add_argument("--code", type=number_or_auto, nargs="*", default=["auto", 64])
    arguments = parser.parse_args()
    data = datasets.load("fashion-mnist", arguments.folder)
    train, clean = (X / np.float32(255) for X in (data.X_train, data.X_test))
    noise = np.random.default_rng(SEED).normal(0, arguments.sigma, clean.shape)
    noisy = (clean + noise).astype(np.float32)

    print(f"sigma {arguments.sigma}, {len(clean)} test pictures, seed {SEED}\n")
    print("| method | PSNR, dB | CPU-seconds |\n| --- | --- | --- |")
    print(f"| noisy | {psnr(noisy, clean):.2f} | |")
    best = (0.0, 0)
    flat = noisy.reshape(len(noisy), -1)
    for size in (16, 24, 32, 48, 64, 96, 128):
        pca = fit_pca(train, size)
        restored = pca.inverse_transform(pca.transform(flat)).reshape(clean.shape)
        best = max(best, (psnr(restored, clean), size))
    print(f"| PCA-{best[1]} | {best[0]:.2f} | |", flush=True)
    for size in arguments.code:
        model = DenoisingAutoencoder(
            size,
            corruption="gaussian",
            corruption_level=arguments.sigma,
            max_epochs=arguments.epochs,
            random_state=SEED,
        )
        start = time.process_time()
        model.fit(train)
        seconds = time.process_time() - start
        value = psnr(model.denoise(noisy), clean)
        print(f"| denoising autoencoder, code {size} | {value:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
