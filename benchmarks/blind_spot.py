"""Learning to denoise without clean pictures, beside total variation, wavelets and BM3D.

    python -m benchmarks.blind_spot folder --folder DATA [--epochs N]
    python -m benchmarks.blind_spot single --folder DATA [--epochs N]

Gaussian noise of the level 25 is added to grey pixels in 0..255, neither rounded nor clipped.
"folder" learns from the noisy cuttings of DATA/photos/train400 but for the last 12, and is judged
on noisy versions of these. "single" learns from each of three noisy photographs of
DATA/photos/bsds-train alone, and is judged on that picture. No clean picture is learned from, and
no model is told the level. PSNR is the mean over pictures; classics have the best of several
weights for each picture, BM3D is told the level and takes part where it is installed. Seed 0.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import SEED, row, table
from narrows import DenoisingAutoencoder
from narrows.errors import NarrowsWarning
from narrows.evaluation import compare_with_clean, restore_by_classic
from narrows.evaluation.classics import installed_classics
from narrows.models.blind_spot import predict

LEVEL, HELD_BACK = 25, 12


def read(files):
    return np.stack([np.asarray(Image.open(file).convert("L"), np.float32) for file in files])


def with_noise(clean):
    return clean + np.random.default_rng(SEED).normal(0, LEVEL, clean.shape).astype(np.float32)


def learned(noisy, epochs):
    """Return a model that learned from noisy pictures, and the CPU-seconds that it took."""
    model = DenoisingAutoencoder(
        corruption="blind_spot", max_epochs=epochs or "auto", random_state=SEED
    )
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NarrowsWarning)  # of the crops
        model.fit(noisy)
    return model, time.process_time() - start


def psnr(restored, clean):
    return compare_with_clean(restored.clip(0, 255), clean, 255, pictures=True).psnr


def classics(noisy, clean):
    names = [classic.name for classic in installed_classics()[0]]
    for name in names:
        found = [
            psnr(restore_by_classic(name, one, LEVEL, clean=truth).pixels[None], truth[None])
            for one, truth in zip(noisy, clean, strict=True)
        ]
        row(name, f"{np.mean(found):.2f}", "")


def ways(model, noisy, clean):
    """Return the PSNR of each way to use a model."""
    return {
        "plain use": psnr(model.reconstruct(noisy), clean),
        "predictions alone": psnr(predict(model, noisy), clean),
        "denoise (posterior mean)": psnr(model.denoise(noisy), clean),
    }


def folder(given):
    clean = read(sorted((given.folder / "photos" / "train400").glob("*.png")))
    noisy = with_noise(clean)
    model, seconds = learned(noisy[:-HELD_BACK], given.epochs)
    noisy, clean = noisy[-HELD_BACK:], clean[-HELD_BACK:]
    black, white = float(model.noise_at_black_), float(model.noise_at_white_)
    print(f"{model.n_iter_} epochs; noise at black {black:.1f}, at white {white:.1f}")
    table("way", "PSNR, dB", "CPU-seconds to learn")
    row("noisy", f"{psnr(noisy, clean):.2f}", "")
    for name, value in ways(model, noisy, clean).items():
        row(name, f"{value:.2f}", f"{seconds:.0f}")
    classics(noisy, clean)


def single(given):
    files = sorted((given.folder / "photos" / "bsds-train").glob("*.jpg"))[::80]
    table("picture", "way", "PSNR, dB", "CPU-seconds to learn")
    for file in files:
        clean = read([file])
        noisy = with_noise(clean)
        model, seconds = learned(noisy, given.epochs)
        for name, value in ways(model, noisy, clean).items():
            row(file.stem, name, f"{value:.2f}", f"{seconds:.0f}")
        for classic in installed_classics()[0]:
            restored = restore_by_classic(classic.name, noisy[0], LEVEL, clean=clean[0])
            row(file.stem, classic.name, f"{psnr(restored.pixels[None], clean):.2f}", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=["folder", "single"])
    parser.add_argument("--folder", type=Path, required=True, help="where the data sets lie")
    parser.add_argument("--epochs", type=int)
    given = parser.parse_args()
    torch.set_num_threads(1)
    {"folder": folder, "single": single}[given.section](given)


if __name__ == "__main__":
    main()
