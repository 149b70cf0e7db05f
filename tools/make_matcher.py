"""Make the matcher that ships with Narrows, from pictures that anyone may use for anything.

    pip install scikit-image==0.26.0 matplotlib
    python tools/make_matcher.py [--scenes 300] [--steps 1000] [--to src/narrows/builtin]

A matching autoencoder learns from the generated "dead leaves" and the photographs in the public
domain of ``make_denoiser.py``, whole and in parts, and its encoder is kept. Weights are rounded to
eight bits, one scale for each output.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from make_denoiser import HOPPER, PHOTOGRAPHS, leaves, load_photographs, surfaces_of
from PIL import Image
from safetensors.torch import save_file

from narrows import MatchingAutoencoder
from narrows.builtin import dequantised, quantised

SEED, SIDE = 20261201, 32
PARTS = (1, 2, 4)  # of each side of a picture
# What the codes are to disregard, and how far it goes.
DISTORTIONS = {
    "crop": 0.45,
    "mirror": 0.5,
    "rotation": 0.03,
    "border": 0.2,
    "brightness": 0.5,
    "contrast": 0.5,
    "colors": 0.15,
    "grey": 0.3,
    "blur": 0.05,
    "gaussian": 0.05,
}
WIDTHS, WIDTH_OF_CODES, BATCH = (32, 64, 128), 64, 256


def main():
    """Make the matcher."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--to", type=Path, default=Path("src/narrows/builtin"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # sums of several threads are rounded otherwise
    X = pictures(arguments.scenes)
    print(f"{len(X)} pictures of {SIDE} x {SIDE}", flush=True)
    model = MatchingAutoencoder(
        WIDTH_OF_CODES,
        architecture="convolutional",
        hidden_layer_sizes=WIDTHS,
        corruption=list(DISTORTIONS),
        corruption_level=list(DISTORTIONS.values()),
        batch_size=BATCH,
        max_epochs=max(1, round(arguments.steps * BATCH / len(X))),
        early_stopping=False,
        random_state=SEED,
        verbose=1,
    ).fit(X)
    save(model, arguments.scenes, arguments.to)


def save(model, n_scenes, folder):
    """Round the encoder's weights to eight bits, and save what `narrows.builtin.matcher` reads."""
    with torch.no_grad():
        state = model.encoder_.state_dict()
        model.encoder_.load_state_dict(dequantised(quantised(state, least_axes=2)))
    encoder, _ = model.split()
    tensors = {
        f"encoder.{name}": tensor for name, tensor in quantised(encoder.tensors(), 2).items()
    }
    path = folder / "matcher.safetensors"
    save_file(tensors, path)
    manifest = {
        **encoder._manifest(),
        "provenance": {
            "command": "python tools/make_matcher.py",
            "generated": f"{n_scenes} pictures of dead leaves, random seed {SEED}, and their parts",
            "photographs": {
                **{f"skimage.data.{name}": of for name, of in PHOTOGRAPHS.items()},
                f"matplotlib {HOPPER}": "public domain (United States Navy)",
            },
            "versions": {name: version(name) for name in ("scikit-image", "matplotlib", "torch")},
            "distortions": DISTORTIONS,
        },
    }
    path.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{path}: {path.stat().st_size / 1e6:.3f} MB", flush=True)


def pictures(n_scenes):
    """Return pictures (n, SIDE, SIDE, 3) of uint8: generated scenes and photographs, in parts."""
    photographs = load_photographs()
    found = [part for pixels in photographs.values() for part in parts(pixels)]
    with ProcessPoolExecutor() as pool:
        for scene in pool.map(partial(scene_of, photographs), range(n_scenes), chunksize=8):
            found += parts(scene)
    return np.stack(found)


def scene_of(photographs, number):
    """Draw the scene of a number, of which each has a random seed of its own."""
    return leaves(*surfaces_of(photographs), np.random.default_rng([SEED, number]))


def parts(pixels):
    """Return a picture, its quarters and their quarters, each brought to SIDE x SIDE."""
    image = Image.fromarray(pixels)
    found = []
    for n in PARTS:
        width, height = (side / n for side in image.size)
        for number in range(n * n):
            top, left = number // n * height, number % n * width
            box = (left, top, left + width, top + height)
            part = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
            found.append(np.asarray(part))
    return found


if __name__ == "__main__":
    main()
