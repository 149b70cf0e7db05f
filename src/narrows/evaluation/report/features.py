"""How good codes are as features for a classifier, beside PCA's codes and the rows themselves."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from narrows.data.principal import fit_pca
from narrows.errors import DataError
from narrows.evaluation.error_units import ErrorUnit
from narrows.evaluation.report.figures import Accuracy, Scores
from narrows.evaluation.report.measure import Coded

# Rows that classifiers learn from, and that PCA for them is fitted on.
_FEATURE_ROWS, _FEATURE_PCA_ROWS = 2_000, 5_000
_FOLDS, _NEIGHBORS, _STEPS = 5, 5, 200


def score_features(
    representations: Mapping[str, NDArray[Any]], y: ArrayLike, *, random_state: int = 0
) -> dict[str, dict[str, Accuracy]]:
    """Cross-validate two classifiers on representations of the same rows.

    Parameters
    ----------
    representations : mapping of str to ndarray of shape (n, K)
        What the classifiers see, by name.
    y : array-like of shape (n,)
        Labels. Rows of classes with fewer than five of them are left out.
    random_state : int
        Of the five parts, which are the same for all.

    Returns
    -------
    dict of str to dict of str to (float, float)
        Of each representation, the accuracy of "logistic regression" (on columns of mean 0 and
        variance 1) and of "5 nearest neighbours": mean and standard deviation over the parts, from
        0 to 1.

    Raises
    ------
    DataError
        If fewer than two classes have five rows.

    Examples
    --------
    >>> from narrows import datasets
    >>> digits = datasets.load("digits")
    >>> raw = digits.X_test.reshape(360, 64)
    >>> scores = score_features({"raw": raw}, digits.y_test)
    >>> scores["raw"]["5 nearest neighbours"][0] > 0.9
    True
    """
    labels = np.asarray(y)
    classes, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = sizes[numbers] >= _FOLDS
    if (sizes >= _FOLDS).sum() < 2:
        raise DataError(
            f"{len(classes)} classes of {', '.join(map(str, sizes[:5].tolist()))} rows are too few "
            f"to classify; give at least two classes of {_FOLDS} rows each"
        )
    parts = StratifiedKFold(_FOLDS, shuffle=True, random_state=random_state)
    classifiers = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=_STEPS)),
        "5 nearest neighbours": KNeighborsClassifier(_NEIGHBORS),
    }
    scores: dict[str, dict[str, Accuracy]] = {}
    for name, values in representations.items():
        scores[name] = {}
        for method, classifier in classifiers.items():
            with warnings.catch_warnings():
                # It is compared at a fixed number of steps, for all representations the same.
                warnings.simplefilter("ignore", ConvergenceWarning)
                found = cross_val_score(classifier, values[kept], numbers[kept], cv=parts)
            scores[name][method] = (float(found.mean()), float(found.std()))
    return scores


def features_of(
    coded: Coded,
    unit: ErrorUnit,
    labels: NDArray[Any],
    width: int,
    *,
    random_state: int,
    known: Scores,
) -> Scores:
    """Score codes, PCA's codes and rows, except what is known of the same rows; none of few."""
    flat = coded.X.reshape(len(coded.X), -1)
    found: dict[str, NDArray[Any]] = {"codes": coded.codes[:_FEATURE_ROWS]}
    by_pca = f"PCA, {width}"
    if by_pca not in known and width <= min(flat[:_FEATURE_PCA_ROWS].shape):
        pca = fit_pca(flat[:_FEATURE_PCA_ROWS], width, scale=unit.scale)
        found[by_pca] = pca.transform(flat[:_FEATURE_ROWS])
    if "raw" not in known:
        some = flat[:_FEATURE_ROWS]
        away = np.subtract(some, some.mean(axis=0, dtype=np.float64), dtype=np.float64)
        # Otherwise the column with the largest numbers would decide alone.
        found["raw"] = (away if unit.scale is None else away / unit.scale).astype(np.float32)
    try:
        scores = score_features(found, labels[:_FEATURE_ROWS], random_state=random_state)
    except DataError:
        return {}
    beside = {**known, **scores}
    return {name: beside[name] for name in ("codes", by_pca, "raw") if name in beside}
