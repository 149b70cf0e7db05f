"""Scores of rankings beside brute force and scikit-learn's; the seed of everything random is 0."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from narrows import Autoencoder, errors
from narrows.evaluation import evaluate_matching, score_ranking

RANDOM = np.random.default_rng(0)
CODES = RANDOM.normal(size=(60, 3))
LABELS = RANDOM.integers(0, 8, 60)
PAIRS = np.array([[0, 5], [5, 9], [20, 21], [21, 20], [7, 7]])


def belongs(labels=None, pairs=None):
    if labels is not None:
        matrix = labels[:, None] == labels
    else:
        matrix = np.zeros((60, 60), bool)
        for one, other in pairs:
            matrix[one, other] = matrix[other, one] = True
    return matrix & ~np.eye(60, dtype=bool)


def distances(metric):
    if metric == "cosine":
        unit = CODES / np.linalg.norm(CODES, axis=1, keepdims=True)
        return 1 - unit @ unit.T
    return np.linalg.norm(CODES[:, None] - CODES, axis=2)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("known", [{"labels": LABELS}, {"pairs": PAIRS}], ids=["labels", "pairs"])
def test_scores_are_those_of_brute_force_and_scikit_learn(metric, known):
    relevant, far = belongs(**known), distances(metric)
    precision, recall, average = [], [], []
    for query in range(60):
        others = np.arange(60) != query
        truth = relevant[query, others]
        if not truth.any():
            continue
        first = truth[np.argsort(far[query, others])][:7].sum()
        precision.append(first / 7)
        recall.append(first / truth.sum())
        average.append(average_precision_score(truth, -far[query, others]))
    scores = score_ranking(CODES, **known, k=(7,), metric=metric)
    assert scores.n_queries == len(average)
    assert scores.precision[7] == pytest.approx(np.mean(precision), rel=1e-12)
    assert scores.recall[7] == pytest.approx(np.mean(recall), rel=1e-12)
    assert scores.mean_average_precision == pytest.approx(np.mean(average), rel=1e-12)


def test_blocks_change_nothing(monkeypatch):
    whole = score_ranking(CODES, LABELS)
    monkeypatch.setattr("narrows.evaluation.matching._NUMBERS", 200)
    parts = score_ranking(CODES, LABELS)
    assert parts.precision == pytest.approx(whole.precision, rel=1e-12)
    assert parts.mean_average_precision == pytest.approx(whole.mean_average_precision, rel=1e-12)


def test_beyond_the_number_of_rows_precision_still_divides_by_k():
    scores = score_ranking([[0.0], [1.0], [2.0]], [0, 0, 0], k=(10,))
    assert scores.precision[10] == pytest.approx(0.2)
    assert scores.recall[10] == 1


def test_a_model_stands_beside_pixels_and_pca():
    X = RANDOM.random((60, 6, 5))
    model = Autoencoder(4, max_epochs=1, random_state=0).fit(X)
    raw, pca, own = evaluate_matching(model, X, LABELS)
    assert (raw.n_components, pca.n_components, own.n_components) == (30, 4, 4)
    assert own == score_ranking(model.transform(X), LABELS, method="Autoencoder")
    assert raw == score_ranking(X.reshape(60, -1), LABELS, method="raw pixels")
    few = evaluate_matching(model, X[:3], [0, 0, 1])
    assert [scores.method for scores in few] == ["raw pixels", "Autoencoder"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, errors.ParameterError, "either labels or pairs"),
        ({"labels": LABELS, "pairs": PAIRS}, errors.ParameterError, "either labels or pairs"),
        ({"labels": LABELS[:5]}, errors.DataError, "60 rows"),
        ({"labels": np.arange(60)}, errors.DataError, "no two rows"),
        ({"labels": [None, *["a"] * 59]}, errors.DataError, "several kinds"),
        ({"pairs": [[0, 60]]}, errors.DataError, "0 to 60"),
        ({"pairs": [[0.5, 1.0]]}, errors.DataError, "row numbers"),
        ({"labels": LABELS, "k": (0,)}, errors.ParameterError, "k=0"),
        ({"labels": LABELS, "metric": "dot"}, errors.ParameterError, "metric='dot'"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        score_ranking(CODES, **arguments)


@pytest.mark.parametrize("codes", [[[np.nan]] * 4, np.zeros((4, 0)), np.zeros(4), [["a"]] * 4])
def test_what_are_no_codes_cannot_be_scored(codes):
    with pytest.raises(errors.DataError, match=r"codes .* give"):
        score_ranking(codes, [0, 0, 1, 1])
