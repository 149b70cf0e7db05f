"""The comparison with PCA against scores computed by hand, and the content of contact sheets."""

from dataclasses import dataclass
from io import BytesIO
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from narrows import Autoencoder
from narrows.errors import DataError, ParameterError
from narrows.evaluation import compare_with_pca, contact_sheet


def clusters(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey pictures of three shapes with a little noise, and their classes."""
    generator = np.random.default_rng(seed)
    shapes = np.zeros((3, 6, 6))
    shapes[0, :3], shapes[1, :, :3], shapes[2, 2:4] = 200, 200, 200
    labels = np.arange(60) % 3
    pictures = shapes[labels] + generator.uniform(0, 40, (60, 6, 6))
    return pictures.astype(np.uint8), labels


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    return Autoencoder(n_components=2, max_epochs=5, random_state=0).fit(clusters(seed=0)[0])


def test_pca_gets_its_own_optimum(model: Autoencoder) -> None:
    """On the rows it was fitted on, PCA's error is what the singular values leave out."""
    X, _ = clusters(seed=0)
    rows = X.reshape(60, -1) / 255
    left_out = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)[2:]
    pca, _ = compare_with_pca(model, X, X)
    assert (pca.method, pca.n_components) == ("PCA", 2)
    assert pca.reconstruction_error == pytest.approx((left_out**2).sum() / rows.size, rel=1e-4)
    assert pca.neighbor_accuracy is None


@pytest.mark.cases
def test_pca_is_fitted_on_the_training_rows_and_scored_on_the_test_rows(model: Autoencoder) -> None:
    train, test = (clusters(seed)[0].reshape(60, -1) / 255 for seed in (0, 1))
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean)[2][:2]
    left_out = (test - mean) - (test - mean) @ axes.T @ axes
    pca, _ = compare_with_pca(model, clusters(seed=0)[0], clusters(seed=1)[0])
    assert pca.reconstruction_error == pytest.approx((left_out**2).mean(), rel=1e-4)


@pytest.mark.parametrize("n_neighbors", [1, 7])
def test_as_many_neighbours_vote_as_are_asked(model: Autoencoder, n_neighbors: int) -> None:
    X, X_test = clusters(seed=0)[0], clusters(seed=1)[0]
    y, y_test = np.random.default_rng(4).integers(0, 2, (2, 60))
    distances = np.linalg.norm(model.transform(X_test)[:, None] - model.transform(X), axis=-1)
    votes = y[np.argsort(distances)[:, :n_neighbors]].mean(axis=1) > 0.5
    _, own = compare_with_pca(model, X, X_test, y, y_test, n_neighbors=n_neighbors)
    assert own.neighbor_accuracy == pytest.approx((votes == y_test).mean())


def test_the_model_is_scored_on_its_own_reconstructions(model: Autoencoder) -> None:
    X, y = clusters(seed=0)
    X_test, y_test = clusters(seed=1)
    _, own = compare_with_pca(model, X, X_test, y, y_test)
    assert own.method == "Autoencoder"
    restored = model.reconstruct(X_test)
    assert own.reconstruction_error == pytest.approx(((restored - X_test) ** 2).mean() / 255**2)
    distances = np.linalg.norm(model.transform(X_test)[:, None] - model.transform(X), axis=-1)
    votes = y[np.argsort(distances)[:, :5]]
    right = [np.bincount(vote, minlength=3).argmax() for vote in votes] == y_test
    assert own.neighbor_accuracy == pytest.approx(right.mean())


def test_floats_count_in_their_own_units() -> None:
    X = np.random.default_rng(2).normal(100, 10, (80, 5))
    model = Autoencoder(n_components=2, max_epochs=2, random_state=0).fit(X)
    _, own = compare_with_pca(model, X, X)
    assert own.reconstruction_error == pytest.approx(model.reconstruction_error(X).mean(), rel=1e-4)


def test_labels_of_one_set_only_are_refused(model: Autoencoder) -> None:
    X, y = clusters(seed=0)
    with pytest.raises(DataError, match="give both or neither"):
        compare_with_pca(model, X, X, y)


def test_codes_wider_than_pca_can_have_are_refused() -> None:
    X = np.random.default_rng(3).random((40, 4))
    model = Autoencoder(n_components=6, max_epochs=1, random_state=0).fit(X)
    with pytest.raises(ParameterError, match="6 components"):
        compare_with_pca(model, X, X)


@dataclass
class Match:
    distance: float
    path: str
    picture: NDArray[Any]
    decoded: NDArray[Any]


def some_matches(pictures: NDArray[Any], k: int) -> list[list[Match]]:
    return [
        [
            Match(
                i / 7, f"photos/{'even' if i % 2 == 0 else 'odd'}/a-rather-long-name-{i}.png", p, p
            )
            for i in range(k)
        ]
        for p in pictures
    ]


def pixels(figure: Figure) -> list[NDArray[Any]]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (100, 130, 3), (20, 9)])
def test_every_picture_is_on_the_sheet(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(4)
    queries = generator.integers(0, 256, (4, *shape)).astype(np.uint8)
    decoded = generator.integers(0, 256, (4, *shape)).astype(np.uint8)
    figure = contact_sheet(queries, decoded, some_matches(queries, k=5))
    shown = pixels(figure)
    assert len(shown) == 4 * 2 * (1 + 5)
    np.testing.assert_allclose(shown[0], queries[0].squeeze() / 255, rtol=1e-6)
    np.testing.assert_allclose(shown[1], decoded[0].squeeze() / 255, rtol=1e-6)
    smooth = figure.axes[0].images[0].get_interpolation() != "nearest"
    assert smooth == (max(shape[:2]) > 64)


def test_floats_are_shown_between_the_queries_extremes() -> None:
    queries = np.random.default_rng(5).uniform(-3, 5, (2, 4, 4))
    shown = pixels(contact_sheet(queries, queries, some_matches(queries, k=1)))
    assert min(p.min() for p in shown) == 0
    assert max(p.max() for p in shown) == 1


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 5), (5, 3), (8, 5)])
def test_words_neither_overlap_nor_leave_the_sheet(n: int, k: int) -> None:
    queries = np.zeros((n, 8, 8), np.uint8)
    names = [f"queries/another-long-name-{i}.png" for i in range(n)]
    figure = contact_sheet(queries, queries, some_matches(queries, k), names=names, label=kind)
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    sheet = figure.bbox
    assert all(sheet.x0 <= b.x0 and b.x1 <= sheet.x1 for b in boxes)
    assert all(sheet.y0 <= b.y0 and b.y1 <= sheet.y1 for b in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def kind(path: str) -> str:
    return path.split("/")[-2]


def test_frames_tell_the_querys_class_from_another_with_and_without_colour() -> None:
    queries = np.zeros((1, 8, 8), np.uint8)
    figure = contact_sheet(
        queries, queries, some_matches(queries, k=2), names=["photos/even/q.png"], label=kind
    )
    same, other = (figure.axes[i].spines["left"] for i in (2, 4))
    assert to_hex(same.get_edgecolor()) != to_hex(other.get_edgecolor())
    assert same.get_linestyle() != other.get_linestyle()
    assert {"even", "odd"} <= {text.get_text() for text in figure.texts}


def test_names_that_are_no_text_are_drawn_all_the_same() -> None:
    queries = np.zeros((1, 8, 8), np.uint8)
    names = ["\udcff\x1b\n.png"]  # as Python has a name of the bytes FF 1B 0A
    figure = contact_sheet(queries, queries, some_matches(queries, k=1), names=names)
    FigureCanvasAgg(figure).draw()
    assert "\N{REPLACEMENT CHARACTER}" * 3 + ".png" in {text.get_text() for text in figure.texts}


def test_a_name_that_looks_like_a_formula_is_shown_as_it_is() -> None:
    queries = np.zeros((1, 8, 8), np.uint8)
    figure = contact_sheet(queries, queries, some_matches(queries, k=1), names=["$a_b$.png"])
    file = BytesIO()
    figure.savefig(file)
    assert "$a_b$.png" in {text.get_text() for text in figure.texts}
    with Image.open(file) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("distance", "words"),
    [(0.0, "0"), (3e-6, "0"), (0.0123, "0.0123"), (1.5, "1.50"), (99.95, "100"), (4283.4, "4283")],
)
def test_distances_are_written_without_exponents(distance: float, words: str) -> None:
    queries = np.zeros((1, 8, 8), np.uint8)
    match = Match(distance, "a.png", queries[0], queries[0])
    figure = contact_sheet(queries, queries, [[match]])
    assert words in {text.get_text() for text in figure.texts}


def test_tables_are_refused() -> None:
    with pytest.raises(DataError, match=r"shape \(5,\)"):
        contact_sheet(np.zeros((2, 5)), np.zeros((2, 5)), [[], []])


def test_no_query_is_refused() -> None:
    with pytest.raises(DataError, match="no query"):
        contact_sheet(np.zeros((0, 8, 8)), np.zeros((0, 8, 8)), [])
