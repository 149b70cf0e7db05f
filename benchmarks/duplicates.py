"""How many planted duplicates are found at the suggested threshold, and what else is.

    python benchmarks/duplicates.py --folder DATA [--html FILE]

DATA/photos/bsds-train, a third of which is in the library a second time: resized to a half, as JPEG
of quality 30, with noise of 5 of 255 levels, brightened by a tenth, or cropped by 2 % of each side.
The model learned from DATA/photos/train400 alone. Recall: planted pictures that are in one group
with their original. Precision: pairs within groups that are such a picture and its original, or two
of one original. With none planted, each kind alone, the three slight ones together, and all. Then
what is found in libraries of many pictures that are alike: 10 000 of MNIST, Fashion-MNIST and
CIFAR-10, by models that learned from as many others. The first is known to hold no duplicates.
"""

import argparse
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from narrows import Autoencoder, Library, datasets
from narrows.data.files import read
from narrows.data.images import list_images
from narrows.library.duplicates import find

SEED = 0
SHAPE = (32, 32)


def noise(image, random):
    pixels = np.asarray(image, float)
    noisy = pixels + random.normal(0, 5, pixels.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def crop(image):
    x, y = round(0.02 * image.width), round(0.02 * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


KINDS = {
    "half": lambda image, _: (image.resize((image.width // 2, image.height // 2)), 90),
    "quality 30": lambda image, _: (image, 30),
    "noise": lambda image, random: (noise(image, random), 95),
    "brighter": lambda image, _: (ImageEnhance.Brightness(image).enhance(1.1), 90),
    "cropped": lambda image, _: (crop(image), 90),
}


def plant(photos, folder, kinds, random):
    """Copy the photographs, and of every third one other version of each kind."""
    for number, photo in enumerate(photos):
        (folder / f"{number:04}.jpg").write_bytes(photo.read_bytes())
        if number % 3 == 0:
            with Image.open(photo) as image:
                for kind in kinds:
                    other, quality = KINDS[kind](image, random)
                    other.save(folder / f"{number:04} {kind}.jpg", quality=quality)


def judge(photos, model, kinds, html):
    random = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photos"
        folder.mkdir()
        plant(photos, folder, kinds, random)
        library, _ = Library.build(Path(temporary) / "photos.lance", folder, model=model)
        found = find(library)
        if html is not None:
            command = [sys.executable, "-m", "narrows", "duplicates", library.path, "-o", html]
            subprocess.run([*command, "--overwrite"], check=True)
    groups = [[Path(match.path).stem for match in group] for group in found.groups]
    together = {pair for group in groups for pair in combinations(sorted(group), 2)}
    right = {(a, b) for a, b in together if a[:4] == b[:4]}
    planted = [f"{number:04}" for number in range(0, len(photos), 3)]
    recall = [np.mean([(name, f"{name} {kind}") in together for name in planted]) for kind in kinds]
    precision = len(right) / len(together) if together else 1.0
    return found.threshold, recall, precision, len(together) - len(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--html", type=Path)
    given = parser.parse_args()
    photos = list_images(given.folder / "photos" / "bsds-train").files
    X = read(given.folder / "photos" / "train400", sample_shape=SHAPE).values
    model = Autoencoder(32, max_epochs=50, random_state=SEED).fit(X)
    print(f"{len(photos)} photographs, seed {SEED}\n")
    print("| planted | threshold | recall | precision | wrong pairs |")
    print("| --- | --- | --- | --- | --- |")
    slight = ["half", "quality 30", "noise"]
    for kinds in ([], *([kind] for kind in KINDS), slight, list(KINDS)):
        html = given.html if kinds == slight else None
        threshold, recall, precision, wrong = judge(photos, model, kinds, html)
        said = ", ".join(f"{kind} {each:.2f}" for kind, each in zip(kinds, recall, strict=True))
        print(f"| {said or 'nothing'} | {threshold:.3g} | {np.mean(recall or [1]):.3f} "
              f"| {precision:.3f} | {wrong} |", flush=True)  # fmt: skip
    print("\n| 10 000 of | threshold | groups | pictures in them | pairs by their pixels |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for name in ("mnist", "fashion-mnist", "cifar-10"):
        data = datasets.load(name, given.folder / name)
        model = Autoencoder(32, max_epochs=5, random_state=SEED).fit(data.X_train[:10_000])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pictures.lance"
            found = find(Library.build(path, data.X_test, model=model)[0])
        pictures = sum(map(len, found.groups))
        print(f"| {name} | {found.threshold:.3g} | {len(found.groups)} | {pictures} "
              f"| {found.confirmed} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
