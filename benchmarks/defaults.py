"""Narrows at its defaults beside the classic that a user would take otherwise, on real inputs.

    python -m benchmarks.defaults [--folder DATA] [--splits 5]

Each row is one input, one figure of what Narrows does with all defaults but the code size, and the
same figure of the classic: PCA of standardised columns, total variation, a perceptual hash, an
isolation forest. Figures are of rows that neither learned from. The last table has the rows where
the classic wins by more than 1 %. Photographs are those of DATA/photos/bsds-train, of two sizes;
without --folder the rows that need them are left out.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageEnhance, ImageOps
from scipy.fft import dctn
from skimage.restoration import denoise_tv_chambolle
from sklearn import datasets as tables
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.measuring import row, table
from narrows import Autoencoder, DenoisingAutoencoder, Library, datasets
from narrows.data.files import read
from narrows.evaluation import compare_with_clean
from narrows.library.duplicates import find
from narrows.signals import Windows

SEED = 0
TABLES = ("iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits")
SIZES = (2, 4, 8)
TIE = 1.01  # a ratio of figures within which neither wins
LEVELS = 255


class Rows:
    """Prints what was measured, and keeps the rows where the classic wins."""

    def __init__(self):
        self.lost = []

    def add(self, what, figure, ours, classic, name, *, low=True):
        """Add a figure, of which lower values are better, or higher ones."""
        behind = ours > TIE * classic if low else classic > TIE * ours
        ahead = classic > TIE * ours if low else ours > TIE * classic
        winner = "Narrows" if ahead else name if behind else "neither"
        cells = (what, figure, f"{ours:.4g}", f"{classic:.4g}", name, winner)
        row(*cells)
        if behind:
            self.lost.append(cells[:-1])


def standardised(count):
    return make_pipeline(StandardScaler(), PCA(count, svd_solver="full"))


def shares(rows, restored, train):
    """Mean squared errors of columns as shares of their variances among the rows learned from."""
    spread = train.var(axis=0)
    used = spread > 0
    return (((restored - rows) ** 2).mean(axis=0)[used] / spread[used]).astype(float)


def real_tables(found, splits):
    """Compare tables restored from codes of several sizes."""
    worse = []
    for name in TABLES:
        X = getattr(tables, f"load_{name}")().data
        counts, measured = np.zeros(2, int), 0
        for size in (size for size in SIZES if size < X.shape[1]):
            ours, classic, worst = [], [], 0.0
            for split in range(splits):
                train, test = train_test_split(X, test_size=0.2, random_state=split)
                model = Autoencoder(size, random_state=SEED).fit(train)
                mine = shares(test, model.reconstruct(test), train)
                pca = standardised(size).fit(train)
                theirs = shares(test, pca.inverse_transform(pca.transform(test)), train)
                base = shares(test, np.broadcast_to(train.mean(axis=0), test.shape), train)
                counts += [(one > 1.001 * base).sum() for one in (mine, theirs)]
                measured += len(base)
                ours.append(mine.mean())
                classic.append(theirs.mean())
                worst = max(worst, mine.mean() / theirs.mean())
            figure = f"error, share of variance (worst split {worst:.3f} x)"
            found.add(
                f"{name}, {size} codes",
                figure,
                np.mean(ours),
                np.mean(classic),
                "PCA, standardised",
            )
        worse.append((name, *counts, measured))
    print("\nColumns of held-out rows restored worse than by their mean, of all sizes and splits:")
    table("input", "Narrows", "PCA, standardised", "of")
    for cells in worse:
        row(*cells)


def outliers(found, splits):
    """Compare how rows of another kind are told from those of the one that was learned."""
    for name, usual, what in (
        ("breast_cancer", 1, "malignant among benign"),
        ("wine", 0, "other cultivars among the first"),
        ("digits", 3, "other digits among threes"),
    ):
        X, y = getattr(tables, f"load_{name}")(return_X_y=True)
        others = X[y != usual]
        ours, forest = [], []
        for split in range(splits):
            train, rest = train_test_split(X[y == usual], test_size=0.3, random_state=split)
            test = np.concatenate([rest, others])
            truth = np.repeat([0, 1], [len(rest), len(others)])
            model = Autoencoder(4, random_state=SEED).fit(train)
            ours.append(roc_auc_score(truth, model.reconstruction_error(test)))
            trees = IsolationForest(random_state=SEED).fit(train)
            forest.append(roc_auc_score(truth, -trees.score_samples(test)))
        found.add(
            f"{name}, {what}",
            "area under the ROC curve",
            np.mean(ours),
            np.mean(forest),
            "isolation forest",
            low=False,
        )


def features(found):
    """Compare codes of digits as features of a linear classifier."""
    data = datasets.load("digits")
    train, test = (X.reshape(len(X), -1) for X in (data.X_train, data.X_test))
    model = Autoencoder(8, random_state=SEED).fit(data.X_train)
    pca = PCA(8, svd_solver="full").fit(train)
    scores = []
    for code in (model.transform, lambda X: pca.transform(X.reshape(len(X), -1))):
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        linear.fit(code(data.X_train), data.y_train)
        scores.append(linear.score(code(data.X_test), data.y_test))
    found.add("digits, 8 codes", "accuracy of a linear classifier", *scores, "PCA", low=False)
    restored = pca.inverse_transform(pca.transform(test))
    errors = [
        ((one.reshape(test.shape) - test) ** 2).mean()
        for one in (model.reconstruct(data.X_test).astype(float), restored)
    ]
    found.add("digits as pictures, 8 codes", "mean squared error", *errors, "PCA")


def signal(found):
    """Compare windows of a signal of two channels in different units."""
    rng = np.random.default_rng(SEED)
    time = np.arange(40_000) / 250
    beat = 1.1 + 0.1 * np.sin(0.3 * time)
    phase = np.cumsum(beat) / 250
    heart = np.exp(-((phase % 1 - 0.3) ** 2) / 0.001) + 0.05 * rng.normal(size=len(time))
    pressure = 95 + 20 * np.exp(-((phase % 1 - 0.5) ** 2) / 0.02) + rng.normal(size=len(time))
    values = np.stack([heart, pressure], axis=1)
    train, test = Windows(values[:32_000], 64), Windows(values[32_000:], 64)
    model = Autoencoder(8, random_state=SEED).fit(train)
    flat = [np.asarray(one[: len(one)]).reshape(len(one), -1) for one in (train, test)]
    pca = standardised(8).fit(flat[0])
    restored = pca.inverse_transform(pca.transform(flat[1])).reshape(test.shape)
    clean = flat[1].reshape(test.shape)
    ours, classic = (
        np.mean(((one - clean) ** 2).mean(axis=(0, 1)) / values.var(axis=0))
        for one in (model.reconstruct(test), restored)
    )
    what = "signal of 2 channels (mV, mmHg), windows of 64, 8 codes"
    found.add(what, "error, share of variance", ours, classic, "PCA, standardised")


def stack(found, photos, folder):
    """Compare pictures of 16 bits that do not fill their range, made from photographs."""
    for number, photo in enumerate(photos):
        with Image.open(photo) as image:
            grey = np.asarray(ImageOps.fit(image.convert("F"), (48, 48)))
        part = folder / ("train" if number % 4 else "test")
        part.mkdir(exist_ok=True)
        tifffile.imwrite(part / f"{number:03}.tif", np.rint(400 + 12 * grey).astype(np.uint16))
    train, test = (read(folder / part).values for part in ("train", "test"))
    model = Autoencoder(random_state=SEED).fit(train)
    flat = [one.reshape(len(one), -1).astype(float) for one in (train, test)]
    pca = PCA(model.spec_.n_components, svd_solver="full").fit(flat[0])
    restored = pca.inverse_transform(pca.transform(flat[1]))
    errors = [
        ((one.reshape(flat[1].shape) - flat[1]) ** 2).mean() ** 0.5
        for one in (model.reconstruct(test).astype(float), restored)
    ]
    what = f"stack of 16 bits, {len(train)} pictures, {model.spec_.n_components} codes"
    found.add(what, "root mean squared error, levels", *errors, "PCA")


def restored_photographs(found, photos):
    """Compare photographs of two sizes, which are brought to one, restored from codes."""
    folder = photos[0].parent
    X = read(folder).values
    train, test = (X[np.arange(len(X)) % 4 != 0], X[::4])
    model = Autoencoder(random_state=SEED).fit(train)
    flat = [one.reshape(len(one), -1).astype(float) for one in (train, test)]
    pca = PCA(model.spec_.n_components, svd_solver="full").fit(flat[0])
    errors = [
        ((one.reshape(flat[1].shape) - flat[1]) ** 2).mean()
        for one in (
            model.reconstruct(test).astype(float),
            pca.inverse_transform(pca.transform(flat[1])),
        )
    ]
    what = f"{len(train)} photographs at {X.shape[1]} x {X.shape[2]}, {model.spec_.n_components}"
    found.add(f"{what} codes", "mean squared error", *errors, "PCA")


def denoising(found, photos):
    """Compare noise of 25 levels removed from photographs at their own size."""
    train = read(photos[0].parent).values[np.arange(len(photos)) % 4 != 0]
    rng = np.random.default_rng(SEED)
    model = DenoisingAutoencoder(
        architecture="fully_convolutional", corruption="gaussian", random_state=SEED
    ).fit(train)
    ours, classic, given = [], [], []
    for photo in photos[::4]:
        with Image.open(photo) as image:
            clean = np.asarray(image.convert("RGB"), np.float64)
        noisy = np.clip(clean + rng.normal(0, 25, clean.shape), 0, LEVELS)
        ways = (
            np.asarray(model.denoise(np.rint(noisy).astype(np.uint8)[None]))[0],
            denoise_tv_chambolle(noisy / LEVELS, channel_axis=2) * LEVELS,
            noisy,
        )
        for kept, one in zip((ours, classic, given), ways, strict=True):
            kept.append(compare_with_clean(one[None], clean[None], LEVELS).psnr)
    figure = f"PSNR in dB, of the noisy {np.mean(given):.2f}"
    what = "photographs with noise of 25 levels, fully_convolutional"
    found.add(what, figure, np.mean(ours), np.mean(classic), "total variation", low=False)


def perceptual_hash(path):
    """The signs of the lowest 64 frequencies of a picture of 32 by 32, beside their median."""
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
    low = dctn(grey)[:8, :8].ravel()
    return low > np.median(low)


def crop(image):
    x, y = round(0.05 * image.width), round(0.05 * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


KINDS = {
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "recompressed": lambda image: image,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "cropped by 5 % a side": crop,
    "mirrored": ImageOps.mirror,
}


def copies(found, photos, folder):
    """Compare how many planted copies are found, and how many pairs are wrong."""
    for number, photo in enumerate(photos):
        (folder / f"{number:03}.jpg").write_bytes(photo.read_bytes())
        kind = list(KINDS)[number % len(KINDS)]
        if number < 10 * len(KINDS):
            with Image.open(photo) as image:
                KINDS[kind](image).save(folder / f"{number:03} {kind}.jpg", quality=60)
    files = sorted(folder.iterdir())
    model = Autoencoder(random_state=SEED).fit(read(folder).values)
    library, _ = Library.build(folder.with_suffix(".lance"), folder, model=model)
    together = [[Path(match.path).stem for match in group] for group in find(library).groups]
    ours = {(a, b) for group in together for a in group for b in group if a < b}
    bits = np.array([perceptual_hash(file) for file in files])
    apart = (bits[:, None] != bits[None]).sum(axis=2)
    near = np.argwhere(np.triu(apart <= 10, 1))
    classic = {tuple(sorted((files[a].stem, files[b].stem))) for a, b in near}
    for kind in KINDS:
        right = [{pair for pair in pairs if pair[1].endswith(kind) and pair[0][:3] == pair[1][:3]}
                 for pairs in (ours, classic)]  # fmt: skip
        what = f"photographs, 10 copies: {kind}"
        found.add(what, "found", *map(len, right), "perceptual hash", low=False)
    wrong = [sum(a[:3] != b[:3] for a, b in pairs) for pairs in (ours, classic)]
    found.add("photographs, all copies", "wrong pairs", *wrong, "perceptual hash")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where photos/bsds-train lies")
    parser.add_argument("--splits", type=int, default=5)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # what was chosen and left out is no figure
    found = Rows()
    table("input", "figure", "Narrows", "classic", "which", "better")
    real_tables(found, given.splits)
    table("input", "figure", "Narrows", "classic", "which", "better")
    outliers(found, given.splits)
    features(found)
    signal(found)
    if given.folder is not None:
        photos = sorted((given.folder / "photos" / "bsds-train").iterdir())
        with tempfile.TemporaryDirectory() as folder:
            stack(found, photos, Path(folder))
        restored_photographs(found, photos)
        denoising(found, photos)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "photos").mkdir()
            copies(found, photos, Path(folder) / "photos")
    print("\nWhere the classic wins:")
    table("input", "figure", "Narrows", "classic", "which")
    for cells in found.lost:
        row(*cells)


if __name__ == "__main__":
    main()
