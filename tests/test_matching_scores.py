"""Scores of rankings against brute force and scikit-learn; every random seed is 0."""

from itertools import permutations, product

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

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


def orders_of_ties(near):
    """All rankings by distance, with rows at the same distance in every order."""
    groups = [np.flatnonzero(near == value) for value in np.unique(near)]
    for picked in product(*(permutations(group) for group in groups)):
        yield np.concatenate([np.array(group) for group in picked])


@pytest.mark.parametrize(
    ("metric", "offset"), [("euclidean", 0), ("euclidean", 1e6), ("cosine", 0)]
)
@pytest.mark.cases
def test_ties_count_as_the_mean_over_all_their_orders(metric, offset):
    rng = np.random.default_rng(0)
    different = rng.normal(size=(4, 3)) + offset
    codes = different[[0, 0, 1, 1, 1, 2, 3, 0]]
    labels = np.array([0, 1, 0, 1, 1, 0, 1, 0])
    if metric == "cosine":
        near = 1 - different @ different.T / np.outer(*[np.linalg.norm(different, axis=1)] * 2)
    else:
        near = np.linalg.norm(different[:, None] - different, axis=2)
    which = np.array([0, 0, 1, 1, 1, 2, 3, 0])
    precision, recall, average = [], [], []
    for query in range(8):
        others = np.flatnonzero(np.arange(8) != query)
        truth = labels[others] == labels[query]
        ranked = [truth[order] for order in orders_of_ties(near[which[query], which[others]])]
        precision.append(np.mean([one[:3].sum() / 3 for one in ranked]))
        recall.append(np.mean([one[:3].sum() / truth.sum() for one in ranked]))
        at = np.arange(1, 8)
        average.append(np.mean([(one * one.cumsum() / at).sum() / truth.sum() for one in ranked]))
    scores = score_ranking(codes, labels, k=(3,), metric=metric)
    assert scores.precision[3] == pytest.approx(np.mean(precision), rel=1e-12)
    assert scores.recall[3] == pytest.approx(np.mean(recall), rel=1e-12)
    assert scores.mean_average_precision == pytest.approx(np.mean(average), rel=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.cases
def test_the_order_of_equal_rows_does_not_matter(metric):
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.normal(size=(6, 4)), 10, axis=0)
    labels = np.tile([0, 1], 30)
    shuffled = rng.permutation(60)
    one = score_ranking(codes, labels, metric=metric)
    other = score_ranking(codes[shuffled], labels[shuffled], metric=metric)
    assert one.precision == pytest.approx(other.precision, rel=1e-12)
    assert one.mean_average_precision == pytest.approx(other.mean_average_precision, rel=1e-12)


@pytest.mark.cases
def test_codes_that_are_all_the_same_match_by_chance():
    labels = np.arange(60) % 3
    scores = score_ranking(np.ones((60, 2)), labels, k=(1,))
    assert scores.precision[1] == pytest.approx(19 / 59)


def test_an_offset_that_all_rows_share_changes_nothing():
    scores = score_ranking(CODES, LABELS)
    far = score_ranking(CODES + 1e6, LABELS)
    assert far.precision == scores.precision
    assert far.mean_average_precision == pytest.approx(scores.mean_average_precision, rel=1e-12)


@pytest.mark.cases
def test_columns_of_different_units_are_standardised_for_rows_and_pca():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6)) * 10.0 ** np.arange(6) + 1e7
    model = Autoencoder(3, scaling="standard", max_epochs=1, random_state=0).fit(X)
    raw, pca, _ = evaluate_matching(model, X, LABELS)
    standard = StandardScaler().fit_transform(X)
    assert raw == score_ranking(standard, LABELS, method="standardised columns")
    codes = PCA(3, svd_solver="full").fit_transform(standard)
    truth = score_ranking(codes, LABELS, method="PCA")
    assert pca.precision == pytest.approx(truth.precision, rel=1e-9)
    assert pca.mean_average_precision == pytest.approx(truth.mean_average_precision, rel=1e-9)


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
