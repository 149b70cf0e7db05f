"""Make the denoisers that ship with Narrows, from pictures that anyone may use for anything.

    pip install scikit-image==0.26.0 matplotlib
    python tools/make_denoiser.py [--steps 7000] [--only 1 3] [--to src/narrows/builtin]

Learned from are generated "dead leaves": shapes of random sizes, colours and textures that cover
each other (Lee, Mumford & Huang 2001, "Occlusion models for natural images"; Achddou, Gousseau &
Ladjal 2021, "Synthetic images as a regularity prior for image restoration neural networks"), and
photographs in the public domain that scikit-image and matplotlib bring. Weights are rounded to
eight bits, one scale for each output channel.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from skimage import data

from narrows import DenoisingAutoencoder
from narrows.builtin import dequantised, quantised
from narrows.models import persistence

SEED, SIDE = 20261130, 64
# Photographs of scikit-image, and their licences as its documentation states them.
PHOTOGRAPHS = {
    "astronaut": "public domain (NASA)",
    "brick": "CC0 (CC0Textures)",
    "camera": "CC0 (Lav Varshney)",
    "chelsea": "CC0 (Stefan van der Walt)",
    "coffee": "CC0 (Rachel Michetti)",
    "grass": "CC0 (linolafett)",
    "gravel": "CC0 (CC0Textures)",
    "hubble_deep_field": "public domain (NASA)",
    "retina": "CC0 (Mikael Haggstrom)",
    "rocket": "public domain (SpaceX)",
    "text": "public domain (Wikipedia)",
}
HOPPER = "grace_hopper.jpg"  # of matplotlib, public domain (United States Navy)
TEXTURES = ("brick", "grass", "gravel")
GENERATED, LARGE, SHAPES = 100, 1024, 1500
SMALLEST, LARGEST = 8, 400  # radii, before the picture is reduced to half its size
LEVELS = (0.0, 0.22)
VIVID = 1 / 3  # of the crops in colours
WIDTHS, CHANNELS_OF_MAPS, BATCH = (32, 40, 56), 24, 16


def main():
    """Make one denoiser, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=7_000)
    parser.add_argument("--only", type=int, nargs="*", default=[1, 3], choices=[1, 3])
    parser.add_argument("--to", type=Path, default=Path("src/narrows/builtin"))
    arguments = parser.parse_args()
    crops = all_crops(np.random.default_rng(SEED))
    print(f"{len(crops)} crops of {SIDE} x {SIDE}", flush=True)
    for channels in arguments.only:
        X = vivid(crops, np.random.default_rng(SEED)) if channels == 3 else grey(crops)
        model = DenoisingAutoencoder(
            CHANNELS_OF_MAPS,
            architecture="restoring",
            hidden_layer_sizes=WIDTHS,
            corruption="gaussian",
            corruption_level=LEVELS,
            output="clip",
            learning_rate=0.002,
            batch_size=BATCH,
            max_epochs=max(1, round(arguments.steps * BATCH / len(X))),
            early_stopping=False,
            random_state=SEED,
            verbose=1,
        ).fit(X)
        save(model, arguments.to, channels)


def save(model, folder, channels):
    """Round the weights to eight bits, and save what `narrows.builtin.denoiser` reads."""
    with torch.no_grad():
        for half in (model.encoder_, model.decoder_):
            state = half.state_dict()
            half.load_state_dict(dequantised(quantised(state)))
    model.learned_rows_ = None
    manifest, parts = persistence.stored(model)
    tensors = {
        f"{half}.{name}": tensor.clone()  # both halves share the scaling
        for half, values in parts.items()
        for name, tensor in quantised(values).items()
    }
    path = folder / f"denoiser-{channels}.safetensors"
    save_file(tensors, path)
    manifest["provenance"] = {
        "command": "python tools/make_denoiser.py",
        "generated": f"{GENERATED} pictures of dead leaves, random seed {SEED}",
        "photographs": {
            **{f"skimage.data.{name}": of for name, of in PHOTOGRAPHS.items()},
            f"matplotlib {HOPPER}": "public domain (United States Navy)",
        },
        "versions": {name: version(name) for name in ("scikit-image", "matplotlib", "torch")},
        "noise": "Gaussian, standard deviation {:g} to {:g} of white".format(*LEVELS),
    }
    path.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{path}: {path.stat().st_size / 1e6:.3f} MB", flush=True)


def all_crops(rng):
    """Return crops (n, 64, 64, 3) of uint8: generated pictures, and photographs at three sizes."""
    photographs, crops = load_photographs(), []
    for pixels in photographs.values():
        largest = 800 / max(pixels.shape[:2])
        for scale in (min(1.0, largest), 0.75 * min(1.0, largest), 0.5 * min(1.0, largest)):
            size = [round(scale * n) for n in pixels.shape[1::-1]]
            image = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
            crops += cut(np.asarray(image), 40, rng)
    colours, textures = surfaces_of(photographs)
    for _ in range(GENERATED):
        crops += cut(leaves(colours, textures, rng), SIDE, rng)
    return np.stack(crops)


def load_photographs():
    """Return the photographs that packages bring, (H, W, 3) of uint8, by name."""
    photographs = {name: colour(getattr(data, name)()) for name in PHOTOGRAPHS}
    path = Path(mpl.get_data_path(), "sample_data", HOPPER)
    return {**photographs, "hopper": colour(np.asarray(Image.open(path)))}


def surfaces_of(photographs):
    """Return the colours of photographs, one array of each, and textures, for `leaves`."""
    colours = [pixels.reshape(-1, 3) for pixels in photographs.values()]
    return colours, [photographs[name][..., 0] / 255 - 0.5 for name in TEXTURES]


def cut(pixels, step, rng):
    """Cut squares out of a picture, each mirrored and turned at random."""
    found = []
    for top in range(0, pixels.shape[0] - SIDE + 1, step):
        for left in range(0, pixels.shape[1] - SIDE + 1, step):
            square = np.rot90(pixels[top : top + SIDE, left : left + SIDE], rng.integers(4))
            found.append(square[::-1] if rng.integers(2) else square)
    return found


def colour(pixels):
    """Return a picture in three channels, without opacity."""
    return np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]


def vivid(crops, rng):
    """Return crops of which a third have other colours, more saturated than photographs have.

    Colours move away from grey, and channels change places and are inverted at random.
    """
    made = crops.copy()
    for number in np.flatnonzero(rng.random(len(crops)) < VIVID):
        values = crops[number].astype(np.float32)
        middle = values.mean(axis=-1, keepdims=True)
        values = (middle + rng.uniform(1, 3) * (values - middle)).clip(0, 255)
        inverted = rng.random(3) < 0.5
        values = np.where(inverted, 255 - values, values)[..., rng.permutation(3)]
        made[number] = np.rint(values)
    return made


def grey(crops):
    """Return the luma of crops in colours."""
    weights = np.array([0.299, 0.587, 0.114])
    return np.rint(crops @ weights).astype(np.uint8)


def leaves(colours, textures, rng):
    """Draw shapes that cover each other, at twice the size, and reduce the picture."""
    picture = np.zeros((LARGE, LARGE, 3), np.float32)
    palette = colours[rng.integers(len(colours))]
    fields = [cloud(rng.uniform(0.6, 2.2), rng) for _ in range(3)]
    picture[:] = palette[rng.integers(len(palette))] / 255
    # Radii have the density r^-2, with which the shapes cover the picture several times.
    radii = 1 / rng.uniform(1 / LARGEST, 1 / SMALLEST, SHAPES)
    for radius in np.sort(radii)[::-1] if rng.random() < 0.3 else radii:
        shade = palette[rng.integers(len(palette))] / 255
        draw(picture, radius, shade, (fields, textures), rng)
    image = Image.fromarray(np.rint(255 * picture.clip(0, 1)).astype(np.uint8))
    image = image.resize((LARGE // 2, LARGE // 2), Image.Resampling.LANCZOS)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.5)))
    return np.asarray(image)


def draw(picture, radius, shade, textures, rng):
    """Draw a disc, or a polygon, with a gradient and a texture, of which there are two kinds."""
    clouds, surfaces = textures
    y, x = rng.uniform(0, LARGE, 2)
    top, left = (max(0, int(c - radius)) for c in (y, x))
    bottom, right = (min(LARGE, int(c + radius) + 1) for c in (y, x))
    if bottom - top < 2 or right - left < 2:
        return
    down, across = np.mgrid[top:bottom, left:right].astype(np.float32)
    down, across = (down - y) / radius, (across - x) / radius
    turn = rng.uniform(0, np.pi)
    u = np.cos(turn) * across + np.sin(turn) * down
    v = np.cos(turn) * down - np.sin(turn) * across
    kind = rng.random()
    if kind < 0.5:
        inside = u**2 + (v / rng.uniform(0.3, 1)) ** 2 < 1
    elif kind < 0.85:
        inside = (abs(u) < rng.uniform(0.2, 0.7)) & (abs(v) < rng.uniform(0.1, 0.7))
    else:
        inside = (v > -0.5) & (abs(u) < rng.uniform(0.3, 0.9) * (0.6 - v))
    values = shade + rng.uniform(-0.15, 0.15) * u[..., None]
    kind = rng.random()
    size = (bottom - top, right - left)
    if kind < 0.45:
        field = piece(clouds[rng.integers(len(clouds))], size, rng)
        values = values + rng.uniform(0, 0.12) * field[..., None]
    elif kind < 0.6:
        texture = surfaces[rng.integers(len(surfaces))]
        field = piece(np.kron(texture, np.ones((2, 2))), size, rng)
        values = values + rng.uniform(0.2, 0.9) * field[..., None]
    elif kind < 0.72:
        wave = np.sin(2 * np.pi * u * radius / rng.uniform(5, 40) + rng.uniform(0, 6))
        wave = np.sign(wave) if rng.random() < 0.4 else wave
        values = values + rng.uniform(0, 0.25) * wave[..., None]
    picture[top:bottom, left:right][inside] = values[inside]


def piece(field, size, rng):
    """Cut a piece of a size out of a field, which is repeated where it is too small."""
    field = np.pad(
        field, [(0, max(0, n - m)) for n, m in zip(size, field.shape, strict=True)], "wrap"
    )
    top, left = (rng.integers(m - n + 1) for n, m in zip(size, field.shape, strict=True))
    return field[top : top + size[0], left : left + size[1]]


def cloud(exponent, rng):
    """Draw noise whose amplitude falls with the frequency, of deviation 1."""
    f = np.hypot(np.fft.fftfreq(LARGE)[:, None], np.fft.rfftfreq(LARGE)[None])
    f[0, 0] = 1
    waves = np.fft.rfft2(rng.normal(size=(LARGE, LARGE))) / f**exponent
    waves[0, 0] = 0
    field = np.fft.irfft2(waves, (LARGE, LARGE))
    return (field / field.std()).astype(np.float32)


if __name__ == "__main__":
    main()
