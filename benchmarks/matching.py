"""How often the right picture comes first, by codes, PCA, pixels and a perceptual hash.

    python benchmarks/matching.py [fashion-mnist] [mnist] [photographs] --folder DATA

Fashion-MNIST and MNIST: precision@1 and @5 of 10 000 test pictures among the 60 000, beside raw
pixels' and PCA's. No label is learned from.
Photographs: each of DATA/photos/bsds-train is distorted in twelve ways; how often its original is
the nearest of them all. Everything sees 32 x 32 grey, but for the matcher that ships, which sees
colours and learned from generated pictures. The models learn from CIFAR-10's pictures, of which
none is judged. DATA/photos/train400 would not do: half of its pictures are cuttings of
those judged, which this prints too. What was chosen, was chosen on the other half (--choose).
"""

import argparse
import io
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.fft import dctn
from torch.nn import functional

from narrows import Autoencoder, DenoisingAutoencoder, MatchingAutoencoder, builtin, datasets
from narrows.data.depths import encode_png
from narrows.data.image_codec import decode
from narrows.evaluation import fit_pca
from narrows.library import ExactIndex

SEED = 0
SHAPE = (32, 32)
# What the model learns to undo, and how far it goes.
DAMAGE = {
    "mirror": 0.5,
    "rotation": 0.03,
    "crop": 0.25,
    "border": 0.2,
    "blur": 0.05,
    "brightness": 0.6,
    "contrast": 0.6,
    "gaussian": 0.05,
}


def crop(share):
    def cut(picture):
        x, y = (round(side * (1 - share) / 2) for side in picture.size)
        return picture.crop((x, y, picture.width - x, picture.height - y))

    return cut


def jpeg(picture):
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=20)
    return Image.open(file).convert("RGB")


def noise(picture):
    values = np.asarray(picture, float)
    values += np.random.default_rng(SEED).normal(0, 25, values.shape)
    return Image.fromarray(values.clip(0, 255).round().astype(np.uint8))


def border(picture):
    frame = round(0.08 * picture.width), round(0.08 * picture.height)
    return ImageOps.expand(picture, frame, fill="black")


DISTORTIONS = {
    "crop to 90 %": crop(0.9),
    "crop to 80 %": crop(0.8),
    "a quarter": lambda p: p.resize((p.width // 4, p.height // 4), Image.Resampling.BICUBIC),
    "blur 4 px": lambda p: p.filter(ImageFilter.GaussianBlur(4)),
    "JPEG 20": jpeg,
    "noise 25": noise,
    "brightness x 1.5": lambda p: ImageEnhance.Brightness(p).enhance(1.5),
    "contrast x 0.5": lambda p: ImageEnhance.Contrast(p).enhance(0.5),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "rotation 5°": lambda p: p.rotate(5, Image.Resampling.BICUBIC),
    "border 8 %": border,
    "mirror": ImageOps.mirror,
}


def labelled(name, folder):
    data = datasets.load(name, folder)
    flat = [X.reshape(len(X), -1) / np.float32(255) for X in (data.X_train, data.X_test)]
    pca = fit_pca(flat[0], 32)
    print(f"\n{name}, seed {SEED}\n\n| nearest by | precision@1 | precision@5 |")
    print("| --- | --- | --- |")
    rows = {"raw pixels": lambda: flat, "PCA-32": lambda: map(pca.transform, flat)}
    for model in (Autoencoder(32, random_state=SEED), MatchingAutoencoder(random_state=SEED)):
        start = time.process_time()
        model.fit(data.X_train)
        seconds = time.process_time() - start
        title = f"{type(model).__name__}-{model.spec_.n_components}, {seconds:.0f} CPU-s"
        rows[title] = partial(map, model.transform, (data.X_train, data.X_test))
    print_precision(rows, data)


def print_precision(rows, data):
    """Print the share of test pictures' nearest that have their label, by each kind of vectors."""
    for name, make in rows.items():
        train, test = make()
        for metric in ("euclidean", "cosine"):
            _, found = ExactIndex(train, metric).search(test, 5)
            hits = data.y_train[found] == data.y_test[:, None]
            print(f"| {name}, {metric} | {hits[:, 0].mean():.4f} | {hits.mean():.4f} |", flush=True)


def photographs(folder, size, epochs, choose):
    judged = [open_rgb(path) for path in sorted((folder / "photos/bsds-train").glob("*.jpg"))]
    others = [open_rgb(path) for path in sorted((folder / "photos/train400").glob("*.png"))]
    likeness = cuttings(others, judged)
    print(f"\n{(likeness > 0.9).sum()} of train400's {len(others)} are cuttings of the judged")
    if choose:
        judged = [picture for picture, found in zip(others, likeness, strict=True) if found < 0.8]
    distorted = {name: [distort(p) for p in judged] for name, distort in DISTORTIONS.items()}
    train = cifar(folder)
    near = ExactIndex(standard(train)).search(standard(brought(judged, SHAPE)), 1)[0]
    print(f"nearest of CIFAR-10's to a judged one: correlation {1 - near.min() ** 2 / 2:.3f}")

    pca = fit_pca(flat(train), 32)
    start = time.process_time()
    model = DenoisingAutoencoder(
        size,
        architecture="dense",
        corruption=list(DAMAGE),
        corruption_level=list(DAMAGE.values()),
        max_epochs=epochs,
        weight_decay=0.05,
        random_state=SEED,
    ).fit(train)
    seconds = time.process_time() - start
    print(f"{len(train)} pictures learned from in {seconds:.0f} CPU-seconds, seed {SEED}")
    start = time.process_time()
    matching = MatchingAutoencoder(random_state=SEED).fit(train)
    seconds = time.process_time() - start
    print(f"and by contrast, by defaults, in {seconds:.0f}; metric {matching.spec_.metric}\n")
    print(f"| nearest of {len(judged)} by | mean | {' | '.join(distorted)} |")
    print("| --- " * (len(distorted) + 2) + "|")
    shipped, both = builtin.matcher(), ("euclidean", "cosine")
    for name, shape, code, metrics in (
        ("raw pixels", SHAPE, flat, both),
        ("perceptual hash", SHAPE, perceptual_hash, ("euclidean",)),
        ("PCA-32", SHAPE, lambda X: pca.transform(flat(X)), both),
        (f"denoising autoencoder-{size}", SHAPE, model.transform, both),
        ("matching autoencoder", SHAPE, matching.transform, both),
        ("the matcher that ships", shipped.sample_shape_, shipped.transform, both),
    ):
        codes = code(brought(judged, shape))
        queries = [code(brought(pictures, shape)) for pictures in distorted.values()]
        for metric in metrics:
            index = ExactIndex(codes, metric)
            found = [index.search(query, 1)[1][:, 0] for query in queries]
            shares = [(rows == np.arange(len(codes))).mean() for rows in found]
            cells = " | ".join(f"{share:.2f}" for share in shares)
            print(f"| {name}, {metric} | {np.mean(shares):.4f} | {cells} |", flush=True)


def cifar(folder):
    data = datasets.load("cifar-10", folder)
    colours = np.concatenate([data.X_train, data.X_test])
    return np.rint(colours @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def cuttings(small, large):
    """Return the best correlation of each small picture with any place in any large one."""
    factor = 3
    windows = torch.stack([thirds(picture, factor) for picture in small])
    windows = windows - windows.mean((1, 2), keepdim=True)
    windows /= windows.flatten(1).norm(dim=1)[:, None, None]
    side = windows.shape[1]
    best = torch.full((len(small),), -1.0)
    for picture in large:
        field = thirds(picture, factor)[None, None]
        field = field - field.mean()
        means, squares = (functional.avg_pool2d(x, side, 1)[0] for x in (field, field**2))
        norms = ((squares - means**2).clamp(min=1) * side**2).sqrt()
        places = functional.conv2d(field, windows[:, None])[0] / norms
        best = torch.maximum(best, places.flatten(1).amax(1))
    return best.numpy()


def thirds(picture, factor):
    small = picture.convert("L").resize(
        (round(picture.width / factor), round(picture.height / factor)), Image.Resampling.BOX
    )
    return torch.from_numpy(np.asarray(small, np.float32))


def open_rgb(path):
    return Image.open(path).convert("RGB")


def brought(pictures, shape):
    """Bring pictures to a shape as a library does."""
    return np.stack([decode(encode_png(np.asarray(picture)), shape) for picture in pictures])


def flat(X):
    return X.reshape(len(X), -1) / np.float32(255)


def standard(X):
    rows = flat(X) - flat(X).mean(1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-9)


def perceptual_hash(X):
    """Return the signs, about their median, of the 63 lowest frequencies: pHash."""
    waves = dctn(X.astype(float), axes=(1, 2))[:, :8, :8].reshape(len(X), -1)[:, 1:]
    return (waves > np.median(waves, axis=1, keepdims=True)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="by default all of them")
    parser.add_argument("--folder", type=Path, required=True, help="where the data lie")
    parser.add_argument("--code", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--choose", action="store_true", help="judge on train400's other half")
    arguments = parser.parse_args()
    names = arguments.names or ["fashion-mnist", "mnist", "photographs"]
    if "photographs" in names:
        photographs(arguments.folder, arguments.code, arguments.epochs, arguments.choose)
    for name in ("fashion-mnist", "mnist"):
        if name in names:
            labelled(name, arguments.folder)


if __name__ == "__main__":
    main()
