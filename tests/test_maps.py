"""Maps and their scores; every random seed is 0."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.metrics.pairwise import euclidean_distances

from narrows import Autoencoder, datasets
from narrows.errors import DataError, DataTypeError, MissingDependencyError, ParameterError
from narrows.evaluation import MAP_METHODS, Projection, maps, project, score_map
from narrows.evaluation.maps import Landmarks

RNG = np.random.default_rng(0)
BLOBS = np.repeat(8 * RNG.random((4, 6)), 30, axis=0) + 0.3 * RNG.random((120, 6))
WHICH = np.repeat(np.arange(4), 30)
GAP = np.vstack([BLOBS[:7], np.full((1, 6), np.nan)])


@pytest.fixture(scope="module")
def digits() -> datasets.Dataset:
    return datasets.load("digits")


@pytest.fixture(scope="module")
def learned(digits: datasets.Dataset) -> Projection:
    return project(digits.X_train)


def test_places_among_landmarks_are_the_means_of_their_definition() -> None:
    rows, new = RNG.normal(size=(41, 5)), RNG.normal(size=(300, 5))
    layout = RNG.normal(size=(41, 2))
    tensors = [torch.tensor(x, dtype=torch.float32) for x in (rows, layout)]
    landmarks = Landmarks.of(*tensors)
    fifth = [np.median(np.sort(euclidean_distances(x), axis=1)[:, 5]) for x in (rows, layout)]
    assert (landmarks.near_rows, landmarks.near_places) == pytest.approx(fifth, rel=1e-5)
    apart = euclidean_distances(new, rows)
    p = np.exp(-((apart / (0.6 * fifth[0])) ** 2))
    away = euclidean_distances(layout[apart.argmin(axis=1)], layout)
    weights = p / (1 + (away / (1.2 * fifth[1])) ** 2)
    expected = weights @ layout / weights.sum(axis=1, keepdims=True)
    placed = landmarks.encode(torch.tensor(new, dtype=torch.float32))
    np.testing.assert_allclose(placed.numpy(), expected, atol=1e-4)
    back = np.exp(-((euclidean_distances(expected, layout) / fifth[1]) ** 2))
    restored = landmarks.decode(torch.tensor(expected, dtype=torch.float32))
    truth = back @ rows / back.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(restored.numpy(), truth, atol=1e-4)


def test_rows_far_from_all_landmarks_lie_on_the_map_all_the_same() -> None:
    made = project(BLOBS)
    far = made.transform(1e4 * BLOBS)
    assert (np.abs(far) <= 1.01 * np.abs(made.points).max(axis=0)).all()


def test_trustworthiness_is_what_scikit_learn_says_of_the_rows_drawn() -> None:
    points = BLOBS[:, :2] + RNG.random((120, 2))
    assert score_map(BLOBS, points).trustworthiness == trustworthiness(
        BLOBS, points, n_neighbors=15
    )
    some = score_map(BLOBS, points, n_neighbors=3, n_samples=50)
    assert (some.n_rows, some.n_neighbors, some.neighbor_accuracy) == (50, 3, None)
    assert some.trustworthiness != score_map(BLOBS, points, n_neighbors=3).trustworthiness
    # Pictures count as flattened rows, and 8-bit differences do not overflow.
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


def test_the_default_map_keeps_the_classes_of_digits_together(
    digits: datasets.Dataset, learned: Projection
) -> None:
    """The map has seen no label, and places rows that it was not fitted on."""
    made = learned
    assert made.points.dtype == np.float32
    assert (made.transform(digits.X_train) == made.points).all()
    scores = score_map(digits.X_train, made.points, digits.y_train)
    plane = score_map(digits.X_train, project(digits.X_train, method="pca").points, digits.y_train)
    assert scores.trustworthiness > 0.98
    assert plane.trustworthiness < 0.85
    assert scores.neighbor_accuracy is not None
    assert scores.neighbor_accuracy > 0.97
    new = score_map(digits.X_test, made.transform(digits.X_test), digits.y_test)
    assert new.trustworthiness > 0.95
    assert new.neighbor_accuracy is not None
    assert new.neighbor_accuracy > 0.9


def test_the_default_map_restores_rows_it_has_not_seen_better_than_pca(
    digits: datasets.Dataset, learned: Projection
) -> None:
    """Encoders with codes of two numbers."""
    errors = []
    for made in (learned, project(digits.X_train, method="pca")):
        restored = made.inverse_transform(made.transform(digits.X_test))
        assert restored.shape == digits.X_test.shape
        errors.append(((restored - digits.X_test) ** 2).mean())
    assert errors[0] < 0.75 * errors[1]


def test_landmarks_stand_for_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """For blobs, one landmark for each three rows keeps the neighbourhoods."""
    monkeypatch.setattr(maps, "_LANDMARKS", 40)
    made = project(BLOBS)
    scores = score_map(BLOBS, made.points, WHICH, n_neighbors=5)
    assert scores.neighbor_accuracy == 1
    assert scores.trustworthiness > 0.9


def test_the_same_seed_gives_the_same_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_LANDMARKS", 40)
    one, same, other = (project(BLOBS, random_state=seed).points for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()


def test_a_map_by_a_model_is_one_of_what_it_restores_or_of_its_codes() -> None:
    spread = BLOBS * [1, 1, 1, 1, 1, 1e6]  # columns of different units
    model = Autoencoder(3, max_epochs=20, random_state=0).fit(spread)
    restored = model.scaling_(torch.from_numpy(model.reconstruct(spread))).numpy()
    for distances, table in (("auto", restored), ("codes", model.transform(spread))):
        made = project(spread, model=model, method="pca", distances=distances)
        expected = project(table, method="pca")
        np.testing.assert_allclose(made.points, expected.points, atol=1e-5)
        np.testing.assert_allclose(made.transform(spread[:5]), expected.points[:5], atol=1e-5)
        back = made.inverse_transform(made.points)
        truth = expected.inverse_transform(expected.points)
        if distances == "auto":
            truth = model.scaling_.undo(torch.from_numpy(truth)).numpy()
        np.testing.assert_allclose(back, truth, rtol=1e-4, atol=1e-4)
        with pytest.raises(DataError, match="features"):
            made.transform(spread[:, :4])
    encoder, _ = model.split()
    assert project(spread, model=encoder, method="pca").distances == "codes"
    with pytest.raises(ParameterError, match="whole model"):
        project(spread, model=encoder, distances="restored")


def test_a_code_of_two_numbers_is_a_map_already() -> None:
    model = Autoencoder(2, max_epochs=2, random_state=0).fit(BLOBS)
    for coder in (model, model.split()[0]):
        made = project(BLOBS, model=coder)
        np.testing.assert_array_equal(made.points, model.transform(BLOBS))
        np.testing.assert_array_equal(made.inverse_transform(made.points), made.points)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_maps_do_not_depend_on_units_or_place(scale: float) -> None:
    made = project(scale * (BLOBS + 100))
    scores = score_map(scale * (BLOBS + 100), made.points, WHICH, n_neighbors=5)
    assert scores.neighbor_accuracy == 1


@pytest.mark.parametrize("n", [3, 4, 10])
def test_a_few_rows_make_a_map(n: int) -> None:
    for X in (BLOBS[:n], BLOBS[:n, :1], BLOBS[:n].reshape(n, 2, 3)):
        assert np.isfinite(project(X).points).all()


def test_rows_that_come_again_and_again_make_a_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "_LANDMARKS", 40)
    points = project(np.repeat(BLOBS[::6], 30, axis=0)).points.reshape(20, 30, 2)
    assert (np.ptp(points, axis=1) < 1e-3).all()
    assert len(np.unique(points[:, 0].round(1), axis=0)) == 20
    two = project(np.repeat(BLOBS[[0, 60]], [50, 1], axis=0)).points
    assert np.isfinite(two).all()


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


@pytest.mark.parametrize(
    ("method", "module"),
    [("tsne", "openTSNE"), pytest.param("umap", "umap", marks=pytest.mark.longer)],
)
@pytest.mark.filterwarnings("ignore")  # of these packages and what they are made of
def test_other_layouts_place_new_rows_where_their_neighbours_lie(
    method: str, module: str, digits: datasets.Dataset
) -> None:
    pytest.importorskip(module)
    X, y = digits.X_test, digits.y_test
    made = project(X, method=method)
    assert score_map(X, made.points, y).trustworthiness > 0.95
    assert (project(X, method=method).points == made.points).all()
    moved = np.linalg.norm(made.transform(X) - made.points, axis=1)
    assert np.median(moved) < 0.05 * made.points.std()
    new = score_map(digits.X_train, made.transform(digits.X_train), digits.y_train)
    assert new.neighbor_accuracy is not None
    assert new.neighbor_accuracy > 0.85


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells its memory elsewhere")
def test_placing_rows_takes_no_memory_that_grows_with_them():
    generator = torch.Generator().manual_seed(0)
    rows, places = (torch.randn(2000, width, generator=generator) for width in (4, 2))
    landmarks = Landmarks.of(rows, places)

    def held():
        return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))[1])

    many = torch.randn(30_000, 4, generator=generator)
    landmarks.encode(many[:1000])
    before = held()
    placed = landmarks.encode(many)
    # A gap of 128 x 2000 numbers for each of 235 blocks would be 240 MB.
    assert held() - before < 100_000
    torch.testing.assert_close(placed[-500:], landmarks.encode(many[-500:]))
