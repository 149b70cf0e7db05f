"""Filling gaps by a table's model beside the mean and scikit-learn's imputers, at their defaults.

    python -m benchmarks.gaps [--seeds 2] [--tables NAME ...]

A fifth of the cells of each table is removed at random and filled again; errors are the root of the
mean squared error over these cells, in standard deviations of their columns as they are known with
gaps. All imputers see the same standardised columns and fill the rows that they learn from. The
iterative imputer, which is experimental in scikit-learn, is there for information: the goals are an
error that is never above the mean's, and no larger than that of the nearest neighbours on most
tables. Mixed tables have categories as well, where errors are the share of wrong guesses, beside
those of the most frequent category and of one neighbour.

The last tables have gaps that are not at random: a column is missing exactly where the column that
it depends on most is large (above its 70 % quantile), so that nothing like the gaps is ever seen.

Seconds are CPU time on one thread of learning and filling together, as ``narrows impute`` does it.
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
from threadpoolctl import threadpool_limits

from benchmarks.measuring import compared, row, table
from narrows import Autoencoder, TableAutoencoder

REMOVED = 0.2
BUNDLED = ("iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits")
LARGE = 0.7  # the quantile of another column beyond which values are missing, not at random
MOST_FOR_ITERATIVE = 40  # columns; beyond, it takes minutes
WAYS = ("ours", "mean", "KNN", "iterative")


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


def ours(seed):
    """Return the model of ``narrows impute``."""
    inner = Autoencoder(hidden_layer_sizes=(), activation="identity")
    return TableAutoencoder(inner, random_state=seed)


def measure(X, removed, seed):
    """Return the error and the CPU-seconds of each way on one table of numbers."""
    removed = removed & ~removed.all(axis=1, keepdims=True)
    scaler = StandardScaler().fit(np.where(removed, np.nan, X))
    truth = scaler.transform(X)
    holes = np.where(removed, np.nan, truth)
    ways = {
        "ours": lambda: ours(seed).fit(holes).impute(holes),
        "mean": lambda: SimpleImputer().fit_transform(holes),
        "KNN": lambda: KNNImputer().fit_transform(holes),
    }
    if X.shape[1] <= MOST_FOR_ITERATIVE:
        ways["iterative"] = lambda: IterativeImputer(random_state=0).fit_transform(holes)
    errors, seconds = {}, {}
    for name, way in ways.items():
        start = time.process_time()
        filled = way()
        seconds[name] = time.process_time() - start
        errors[name] = float(np.sqrt(np.square(filled - truth)[removed].mean()))
    return errors, seconds


def at_random(X, seed):
    """Return which cells are missing: a fifth of all."""
    return np.random.default_rng(seed).random(X.shape) < REMOVED


def not_at_random(X, seed):
    """Return which cells are missing: those of a column where another is large."""
    removed = np.zeros(X.shape, bool)
    column = seed % X.shape[1]
    related = np.abs(np.corrcoef(X.T)[column])
    related[column] = -1
    other = X[:, related.argmax()]
    removed[:, column] = other > np.quantile(other, LARGE)
    return removed


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

    found = ours(seed).fit(holes).impute(holes)[words].to_numpy()
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
    return {"ours": wrong(found), "mode": wrong(mode), "KNN": wrong(nearest)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tables", nargs="*", default=())
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        run(arguments)


def compare_numbers(title, remove, arguments, *, timed):
    """Print the errors of all ways on all tables of numbers, and return ours over others'."""
    ratios = []
    seconds_of = [f"CPU s of {way}" for way in ("ours", "KNN", "iterative")] if timed else []
    table(title, "size", *WAYS, *seconds_of)
    for name, X in numeric():
        if arguments.tables and name not in arguments.tables:
            continue
        seeds = range(arguments.seeds)
        errors, seconds = zip(*(measure(X, remove(X, seed), seed) for seed in seeds), strict=True)
        means = {way: np.mean([found[way] for found in errors]) for way in errors[0]}
        taken = {way: np.mean([found[way] for found in seconds]) for way in errors[0]}
        shown = [f"{means[way]:.3f}" if way in means else "-" for way in WAYS]
        if timed:
            ways = ("ours", "KNN", "iterative")
            shown += [f"{taken[way]:.2f}" if way in taken else "-" for way in ways]
        row(name, " x ".join(map(str, X.shape)), *shown)
        ratios.append((means["ours"] / means["mean"], means["ours"] / means["KNN"]))
    return ratios


def run(arguments):
    """Print all tables."""
    ratios = compare_numbers("table of numbers", at_random, arguments, timed=True)
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
    others = compare_numbers("table with gaps not at random", not_at_random, arguments, timed=False)
    print()
    table("goal", "found", "asked", "met")
    worst = max(of_mean for of_mean, _ in ratios + words)
    compared("largest error over that of mean or mode", worst, 1, at_most=True)
    most = sum(of_nearest <= 1 for _, of_nearest in ratios) / len(ratios)
    compared("share of tables of numbers with an error no larger than KNN's", most, 0.5)
    worst = max(of_mean for of_mean, _ in others)
    what = "largest error over the mean's where gaps are not at random"
    compared(what, round(worst, 6), 1, at_most=True)
    if words:
        most = sum(of_nearest <= 1 for _, of_nearest in words) / len(words)
        compared("share of tables with words with no more errors than KNN", most, 0.5)


if __name__ == "__main__":
    main()
