"""Maps and how far they can be trusted; the seed of everything random is 0."""

import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics.pairwise import euclidean_distances

from narrows import Autoencoder, datasets
from narrows.errors import DataError, DataTypeError, MissingDependencyError, ParameterError
from narrows.evaluation import MAP_METHODS, project, score_map
from narrows.losses import nearest, neighbor_loss

RNG = np.random.default_rng(0)
BLOBS = np.repeat(8 * RNG.random((4, 6)), 30, axis=0) + 0.3 * RNG.random((120, 6))
WHICH = np.repeat(np.arange(4), 30)
GAP = np.vstack([BLOBS[:7], np.full((1, 6), np.nan)])


@pytest.fixture(scope="module")
def digits() -> datasets.Dataset:
    return datasets.load("digits")


def test_the_neighbor_loss_is_the_cross_entropy_by_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(30, 5, dtype=torch.float64, generator=generator)
    codes = torch.randn(30, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    order = euclidean_distances(rows.numpy()).argsort(axis=1)
    neighbors = nearest(rows, 4)
    assert (neighbors.numpy() == order[:, 1:5]).all()
    w = 1 / (1 + torch.cdist(codes, codes).square())
    w = w - torch.diag(torch.diag(w))
    p = torch.zeros(30, 30, dtype=torch.float64).scatter_(1, neighbors, 1 / 120)
    p = (p + p.T) / 2
    divergence = -(p * (w / w.sum() + torch.eye(30)).log()).sum()
    torch.testing.assert_close(neighbor_loss(codes, neighbors), divergence)
    assert torch.autograd.gradcheck(lambda y: neighbor_loss(y, neighbors), codes)


def test_trustworthiness_is_what_scikit_learn_says_of_the_rows_drawn() -> None:
    points = BLOBS[:, :2] + RNG.random((120, 2))
    assert score_map(BLOBS, points).trustworthiness == trustworthiness(
        BLOBS, points, n_neighbors=15
    )
    some = score_map(BLOBS, points, n_neighbors=3, n_samples=50)
    assert (some.n_rows, some.n_neighbors, some.neighbor_accuracy) == (50, 3, None)
    assert some.trustworthiness != score_map(BLOBS, points, n_neighbors=3).trustworthiness
    # Pictures are rows laid flat, and counts have no end at 255.
    pictures = (20 * BLOBS).astype(np.uint8).reshape(120, 2, 3)
    flat = pictures.reshape(120, 6).astype(float)
    assert score_map(pictures, points) == score_map(flat, points)


def test_few_rows_have_fewer_neighbors() -> None:
    assert score_map(BLOBS[:9], BLOBS[:9, :2]).n_neighbors == 4
    assert score_map(BLOBS[::50], BLOBS[::50, :2], WHICH[::50]).n_neighbors == 1


def test_the_accuracy_of_neighbors_tells_classes_that_are_apart_from_chance() -> None:
    assert score_map(BLOBS, BLOBS[:, :2] * 0 + WHICH[:, None], WHICH).neighbor_accuracy == 1
    names = np.array(["a", "b", "c", "d"])[WHICH]
    chance = score_map(BLOBS, RNG.random((120, 2)), names).neighbor_accuracy
    assert chance is not None
    assert 0.1 < chance < 0.45


def test_the_map_of_pca_is_that_of_scikit_learn(digits: datasets.Dataset) -> None:
    X = digits.X_train.reshape(len(digits.X_train), -1)
    made = project(digits.X_train, method="pca")
    truth = PCA(2).fit(X)
    np.testing.assert_allclose(made.points, truth.transform(X), rtol=1e-3, atol=1e-3)
    new = digits.X_test.reshape(len(digits.X_test), -1)
    np.testing.assert_allclose(
        made.transform(digits.X_test), truth.transform(new), rtol=1e-3, atol=1e-3
    )


def test_the_default_map_keeps_the_classes_of_digits_together(digits: datasets.Dataset) -> None:
    """Without having seen a label, and for rows that it did not learn from."""
    made = project(digits.X_train)
    assert made.points.dtype == np.float32
    assert (made.transform(digits.X_train) == made.points).all()
    scores = score_map(digits.X_train, made.points, digits.y_train)
    plane = score_map(digits.X_train, project(digits.X_train, method="pca").points, digits.y_train)
    assert scores.trustworthiness > 0.97 > plane.trustworthiness
    assert scores.neighbor_accuracy is not None
    assert scores.neighbor_accuracy > 0.93
    new = score_map(digits.X_test, made.transform(digits.X_test), digits.y_test)
    assert new.trustworthiness > 0.87
    assert new.neighbor_accuracy is not None
    assert new.neighbor_accuracy > 0.85


def test_the_same_seed_gives_the_same_map() -> None:
    one, same, other = (project(BLOBS, random_state=seed).points for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()
    state = torch.random.get_rng_state()
    project(BLOBS)
    assert (torch.random.get_rng_state() == state).all()


def test_a_map_of_a_models_codes_is_one_of_its_codes() -> None:
    model = Autoencoder(3, max_epochs=2, random_state=0).fit(BLOBS)
    made = project(BLOBS, model=model, method="pca")
    codes = project(model.transform(BLOBS), method="pca")
    np.testing.assert_array_equal(made.points, codes.points)
    np.testing.assert_array_equal(made.transform(BLOBS[:5]), codes.points[:5])
    with pytest.raises(DataError, match="features"):
        made.transform(BLOBS[:, :4])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_maps_do_not_depend_on_units_or_place(scale: float) -> None:
    made = project(scale * (BLOBS + 100))
    scores = score_map(scale * (BLOBS + 100), made.points, WHICH, n_neighbors=5)
    assert scores.neighbor_accuracy == 1


@pytest.mark.parametrize("n", [3, 4, 10])
def test_a_few_rows_make_a_map(n: int) -> None:
    for X in (BLOBS[:n], BLOBS[:n, :1], BLOBS[:n].reshape(n, 2, 3)):
        assert np.isfinite(project(X).points).all()


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (BLOBS[:2], DataError, "at least 3"),
        (BLOBS[0], DataError, r"shape \(6,\)"),
        (np.ones((5, 3)), DataError, "all rows are the same"),
        (GAP, DataError, "NaN"),
        (np.array([["a", "b"]] * 5), DataTypeError, "only numbers"),
    ],
)
def test_rows_that_make_no_map_are_refused_in_a_line(
    X: object, error: type[DataError], words: str
) -> None:
    for method in ("autoencoder", "pca"):
        with pytest.raises(error, match=words) as refused:
            project(X, method=method)
        assert "\n" not in str(refused.value)


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"'isomap' is not known.*'autoencoder'"):
        project(BLOBS, method="isomap")
    with pytest.raises(ParameterError, match="random_state=-1"):
        project(BLOBS, random_state=-1)
    with pytest.raises(DataError, match="at least two columns"):
        project(BLOBS[:, :1], method="pca")
    with pytest.raises(DataError, match="5 numbers were given to a map of rows of 6"):
        project(BLOBS, method="pca").transform(BLOBS[:, :5])


@pytest.mark.parametrize(
    ("points", "labels", "words"),
    [
        (BLOBS[:50, :2], None, "50 points were given for 120 rows"),
        (BLOBS[:, :2], WHICH[:50], r"labels have shape \(50,\)"),
        (BLOBS[:, :2], ["one"] * 120, "all labels are 'one'"),
        (BLOBS[:, :2], np.array([1, "b"] * 60, object), "several kinds"),
        (np.full((120, 2), np.inf), None, "points contains infinity"),
    ],
)
def test_what_cannot_be_scored_is_refused(points: object, labels: object, words: str) -> None:
    with pytest.raises(DataError, match=words) as refused:
        score_map(BLOBS, points, labels)
    assert "\n" not in str(refused.value)


def test_too_little_to_score_is_refused() -> None:
    with pytest.raises(DataError, match="at least 3"):
        score_map(BLOBS[:2], BLOBS[:2, :2])
    with pytest.raises(ParameterError, match="n_neighbors=0"):
        score_map(BLOBS, BLOBS[:, :2], n_neighbors=0)


@pytest.mark.parametrize(
    ("method", "module", "package"), [("tsne", "openTSNE", "openTSNE"), ("umap", "umap", "umap-")]
)
def test_a_missing_package_is_named(
    method: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*narrows\[{method}\]"):
        project(BLOBS, method=method)
    assert method in MAP_METHODS
