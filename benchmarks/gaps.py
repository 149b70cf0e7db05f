"""Filling gaps by a table's model beside the mean and scikit-learn's imputers, at their defaults.

    python -m benchmarks.gaps [--seeds 2] [--tables NAME ...]

A fifth of the cells of each table is removed at random and filled again; errors are the root of the
mean squared error over these cells, in standard deviations of their columns as they are known with
gaps. All imputers see the same standardised columns and fill the rows that they learn from. The
iterative imputer, which is experimental in scikit-learn, is there for information: the goals are an
error that is never above the mean's, and no larger than that of the nearest neighbours on most
tables. Mixed tables have categories as well, where errors are the share of wrong guesses, beside
those of the most frequent category and of one neighbour.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from sklearn import datasets as bundled
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.measuring import compared, row, table
from narrows import TableAutoencoder

REMOVED = 0.2
BUNDLED = ("iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits")
MOST_FOR_ITERATIVE = 40  # columns; beyond, it takes minutes


def generated():
    """Yield tables of which is known how their columns depend on each other."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(800, 4)) @ rng.normal(size=(4, 20))
    yield "4 axes", axes + 0.3 * rng.normal(size=(800, 20))
    a, b = rng.uniform(-3, 3, (2, 1000))
    curves = (np.sin(a), np.cos(b), a * b, a**2, a, b, np.tanh(a + b))
    yield "curves", np.column_stack(curves) + 0.1 * rng.normal(size=(1000, 7))
    X, y = bundled.make_friedman1(1000, 10, noise=0.5, random_state=0)
    yield "friedman 1", np.column_stack([X, y])
    X, y = bundled.make_friedman3(1000, noise=0.1, random_state=0)
    yield "friedman 3", np.column_stack([X, y])
    middles = rng.normal(size=(5, 10)) * 2
    yield "5 clusters", middles[rng.integers(0, 5, 800)] + rng.normal(size=(800, 10))
    yield "swiss roll", bundled.make_swiss_roll(1000, noise=0.1, random_state=0)[0]
    yield "noise", rng.normal(size=(300, 6))


def numeric():
    """Yield all tables of numbers, without constant columns."""
    for name in BUNDLED:
        X = getattr(bundled, f"load_{name}")().data.astype(float)
        yield name, X[:, X.std(axis=0) > 0]
    yield from generated()


def mixed():
    """Yield tables with categories: measurements in words, and a class."""
    for name in ("iris", "wine", "breast_cancer"):
        loaded = getattr(bundled, f"load_{name}")(as_frame=True)
        frame = loaded.data.iloc[:, :8].copy()
        frame["class"] = loaded.target_names[loaded.target]
        for column in frame.columns[:3]:
            frame[column] = pd.qcut(frame[column], 4, labels=["low", "less", "more", "high"])
            frame[column] = frame[column].astype(str)
        yield f"{name}, in words", frame


def measure(X, seed):
    """Return the errors of all ways on one table of numbers, and the seconds of ours."""
    removed = np.random.default_rng(seed).random(X.shape) < REMOVED
    removed[removed.all(axis=1)] = False
    scaler = StandardScaler().fit(np.where(removed, np.nan, X))
    truth = scaler.transform(X)
    holes = np.where(removed, np.nan, truth)

    def error(filled):
        return float(np.sqrt(np.square(filled - truth)[removed].mean()))

    start = time.perf_counter()
    ours = TableAutoencoder(random_state=seed).fit(holes).impute(holes)
    seconds = time.perf_counter() - start
    found = {"ours": error(ours), "mean": error(SimpleImputer().fit_transform(holes))}
    found["KNN"] = error(KNNImputer().fit_transform(holes))
    if X.shape[1] <= MOST_FOR_ITERATIVE:
        found["iterative"] = error(IterativeImputer(random_state=0).fit_transform(holes))
    return found, seconds


def measure_words(frame, seed):
    """Return the share of wrong categories of all ways on one table with categories."""
    removed = np.random.default_rng(seed).random(frame.shape) < REMOVED
    removed[removed.all(axis=1)] = False
    holes = frame.astype(object).mask(removed)
    words = [name for name in frame if frame[name].dtype.kind not in "fi"]
    numbers = [name for name in frame if name not in words]
    holes = holes.astype(dict.fromkeys(numbers, float))
    places = [frame.columns.get_loc(name) for name in words]
    cells = removed[:, places]
    true = frame[words].to_numpy()

    def wrong(filled):
        return float((filled != true)[cells].mean())

    ours = TableAutoencoder(random_state=seed).fit(holes).impute(holes)[words].to_numpy()
    mode = SimpleImputer(strategy="most_frequent").fit_transform(holes[words])
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    spread = encoder.fit_transform(holes[words].fillna(""))
    groups = [[*names] for names in encoder.categories_]
    of_column = np.repeat(np.arange(len(words)), [len(names) for names in groups])
    spread[cells[:, of_column]] = np.nan
    scaled = StandardScaler().fit_transform(holes[numbers])
    filled = KNNImputer().fit_transform(np.column_stack([scaled, spread]))[:, len(numbers) :]
    nearest = np.empty(true.shape, object)
    for place, names in enumerate(groups):
        kept = [number for number, name in enumerate(names) if name]
        part = filled[:, of_column == place][:, kept]
        nearest[:, place] = np.array(names, object)[kept][part.argmax(axis=1)]
    return {"ours": wrong(ours), "mode": wrong(mode), "KNN": wrong(nearest)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tables", nargs="*", default=())
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ratios = []
    table("table of numbers", "size", "ours", "mean", "KNN", "iterative", "seconds of ours")
    for name, X in numeric():
        if arguments.tables and name not in arguments.tables:
            continue
        runs = [measure(X, seed) for seed in range(arguments.seeds)]
        means = {way: np.mean([found[way] for found, _ in runs]) for way in runs[0][0]}
        seconds = np.mean([taken for _, taken in runs])
        shown = [f"{means[way]:.3f}" if way in means else "-" for way in
                 ("ours", "mean", "KNN", "iterative")]  # fmt: skip
        row(name, " x ".join(map(str, X.shape)), *shown, f"{seconds:.1f}")
        ratios.append((means["ours"] / means["mean"], means["ours"] / means["KNN"]))
    words = []
    print()
    table("table with words", "size", "wrong: ours", "mode", "KNN")
    for name, frame in mixed():
        if arguments.tables and name not in arguments.tables:
            continue
        runs = [measure_words(frame, seed) for seed in range(arguments.seeds)]
        means = {way: np.mean([found[way] for found in runs]) for way in runs[0]}
        row(name, " x ".join(map(str, frame.shape)), *(f"{v:.3f}" for v in means.values()))
        words.append((means["ours"] / means["mode"], means["ours"] / means["KNN"]))
    print()
    table("goal", "found", "asked", "met")
    worst = max(of_mean for of_mean, _ in ratios + words)
    compared("largest error over that of mean or mode", worst, 1, at_most=True)
    most = sum(of_nearest <= 1 for _, of_nearest in ratios) / len(ratios)
    compared("share of tables of numbers with an error no larger than KNN's", most, 0.5)
    if words:
        most = sum(of_nearest <= 1 for _, of_nearest in words) / len(words)
        compared("share of tables with words with no more errors than KNN", most, 0.5)


if __name__ == "__main__":
    main()
