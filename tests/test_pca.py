"""PCA in double precision against scikit-learn's full solver; every random seed is 0."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from narrows.data import principal
from narrows.errors import DataError, ParameterError
from narrows.evaluation import fit_pca
from narrows.signals import Windows

pytestmark = pytest.mark.cases

ROOT = Path(__file__).parents[1]


def plane(
    n: int, width: int, rank: int = 2, *, noise: float = 0.1, offset: float = 0.0, seed: int = 0
) -> NDArray[np.float64]:
    """Rows near a plane through the same offset in every column."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(99).normal(size=(rank, width))
    return rng.normal(size=(n, rank)) @ basis + noise * rng.normal(size=(n, width)) + offset


def truth(train: NDArray[Any], test: NDArray[Any], size: int) -> float:
    """The error of scikit-learn's PCA; means are taken away first, for its own sums lose digits."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    middle = train[0]
    fitted = PCA(size, svd_solver="full").fit(train - middle)
    away = test - middle - fitted.mean_
    left = away - away @ fitted.components_.T @ fitted.components_
    return float((left**2).mean())


@pytest.mark.parametrize("offset", [0, 1e3, 1e6], ids=["0", "1e3", "1e6"])
@pytest.mark.parametrize("shape", [(3000, 10, 2), (60, 300, 4)], ids=["tall", "wide"])
@pytest.mark.parametrize("solver", ["rows", "matrix"])
def test_the_error_is_that_of_the_full_solver_to_six_digits(
    shape: tuple[int, int, int], offset: float, solver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, width, rank = shape
    if solver == "matrix":
        monkeypatch.setattr(principal, "_BY_SVD", 0)
    train, test = (plane(n, width, rank, offset=offset, seed=seed) for seed in (0, 1))
    sizes = sorted({0, 1, rank, 2 * rank, 9})
    found = fit_pca(train, 9)
    errors = found.mean_squared_errors(test, sizes)
    expected = [truth(train, test, size) for size in sizes[1:]]
    np.testing.assert_allclose(errors[1:], expected, rtol=1e-7)
    np.testing.assert_allclose(errors[0], ((test - train.mean(axis=0)) ** 2).mean(), rtol=1e-7)
    own = PCA(9, svd_solver="full").fit(train - train[0])
    np.testing.assert_allclose(found.variances * n / (n - 1), own.explained_variance_, rtol=1e-6)
    np.testing.assert_allclose(
        found.components[:rank], own.components_[:rank], atol=1e-6 * np.sqrt(width)
    )


def test_rows_in_single_precision_far_from_zero_keep_their_digits() -> None:
    """1013 with a spread of 5, of rank 2: scikit-learn's covariance solver is 25 times off here."""
    rows = plane(3000, 10, noise=0.0, offset=1013).astype(np.float32)
    train, test = rows[:2000], rows[2000:]
    (error,) = fit_pca(train, 2).mean_squared_errors(test, [2])
    assert error == pytest.approx(truth(train, test, 2), rel=1e-6)
    assert error < 1e-8


@pytest.mark.parametrize("solver", ["rows", "matrix"])
def test_what_is_left_may_be_small(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A millionth of the spread, and a trillionth of the variance."""
    if solver == "matrix":
        monkeypatch.setattr(principal, "_BY_SVD", 0)
    train, test = (plane(3000, 10, noise=1e-5, seed=seed) for seed in (0, 1))
    (error,) = fit_pca(train, 2).mean_squared_errors(test, [2])
    assert error == pytest.approx(truth(train, test, 2), rel=1e-6)


def test_few_components_of_a_large_matrix_are_those_of_the_full_solver() -> None:
    rng = np.random.default_rng(0)
    spread = np.arange(1, 701) ** -0.5
    rows = rng.normal(size=(1200, 700)) * spread + 1e4
    found = fit_pca(rows, 20)
    full = PCA(20, svd_solver="full").fit(rows - 1e4)
    np.testing.assert_allclose(found.variances * 1200 / 1199, full.explained_variance_, rtol=1e-9)
    assert subspace_angles(found.components.T, full.components_.T).max() < 1e-7
    assert (fit_pca(rows, 20).components == found.components).all()


def test_pictures_and_whole_numbers_are_laid_flat() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), dtype=np.uint8)
    found = fit_pca(pictures, 6)
    full = PCA(6, svd_solver="full").fit(pictures.reshape(50, -1).astype(float))
    codes = found.transform(pictures)
    np.testing.assert_allclose(codes, full.transform(pictures.reshape(50, -1)), atol=1e-8)
    restored = found.inverse_transform(codes)
    np.testing.assert_allclose(restored, full.inverse_transform(codes), atol=1e-8)
    np.testing.assert_allclose(
        found.inverse_transform(codes[:, :2]), codes[:, :2] @ full.components_[:2] + full.mean_
    )


def test_scaled_columns_are_those_of_a_pipeline_with_a_standard_scaler() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 8)) * 10.0 ** np.arange(-3, 5) + 1e5
    scaler = StandardScaler().fit(rows)
    found = fit_pca(rows, 2, scale=scaler.scale_)
    full = PCA(2, svd_solver="full").fit(scaler.transform(rows))
    np.testing.assert_allclose(np.abs(found.components), np.abs(full.components_), atol=1e-9)
    back = found.inverse_transform(found.transform(rows))
    scaled = full.inverse_transform(full.transform(scaler.transform(rows)))
    np.testing.assert_allclose(back, scaler.inverse_transform(scaled), rtol=1e-9)


def test_components_beyond_the_rank_are_orthonormal_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(principal, "_BY_SVD", 0)
    rng = np.random.default_rng(0)
    for rows in (
        rng.normal(size=(20, 2)) @ rng.normal(size=(2, 40)),
        rng.normal(size=(40, 2)) @ rng.normal(size=(2, 20)),
        np.ones((20, 40)),
    ):
        found = fit_pca(rows, 10)
        np.testing.assert_allclose(found.components @ found.components.T, np.eye(10), atol=1e-12)
        assert found.mean_squared_errors(rows, [2])[0] < 1e-25


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tall, wide = plane(200, 30, 5, offset=1e3), plane(30, 200, 5, offset=1e3)
    monkeypatch.setattr(principal, "_BY_SVD", 0)
    whole = [fit_pca(rows, 5) for rows in (tall, wide)]
    monkeypatch.setattr(principal, "_BLOCK", 500)
    for rows, one in zip((tall, wide), whole, strict=True):
        other = fit_pca(rows, 5)
        np.testing.assert_allclose(other.components, one.components, atol=1e-10)
        np.testing.assert_allclose(other.transform(rows), one.transform(rows), atol=1e-8)


def test_of_more_rows_and_features_the_axes_are_approximate_and_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = plane(400, 300, 3, offset=1e3)
    exact = fit_pca(rows, 3)
    for name in ("_BY_SVD", "_FEATURES", "_ROWS"):
        monkeypatch.setattr(principal, name, 100)
    found = fit_pca(rows, 3)
    assert (exact.exact, found.exact) == (True, False)
    assert subspace_angles(found.components.T, exact.components.T).max() < 1e-3
    np.testing.assert_allclose(found.variances, exact.variances, rtol=1e-3)


def test_lazy_rows_have_the_axes_of_the_same_rows_in_memory() -> None:
    windows = Windows(np.cumsum(np.random.default_rng(0).normal(size=2000)), length=32)
    lazy, whole = fit_pca(windows, 3), fit_pca(windows[: len(windows)], 3)
    np.testing.assert_allclose(lazy.components, whole.components, atol=1e-9)
    np.testing.assert_allclose(lazy.transform(windows), whole.transform(windows[:]), atol=1e-9)


@pytest.mark.parametrize(
    ("rows", "size", "error", "words"),
    [
        (np.ones((5, 3)), 4, ParameterError, "cannot have 4 components on 5 rows of 3 features"),
        (np.ones((5, 3)), 0, ParameterError, "n_components from 1 to 3"),
        (np.full((5, 3), np.nan), 1, DataError, "NaN"),
        (np.ones(5), 1, DataError, "shape"),
        (np.array([["a", "b"]] * 3), 1, DataError, "only numbers"),
    ],
    ids=["many", "none", "not finite", "no rows", "no numbers"],
)
def test_what_pca_cannot_do_is_refused(
    rows: NDArray[Any], size: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit_pca(rows, size)


@pytest.mark.parametrize("sizes", [[3], [2, 1], [-1]])
def test_sizes_that_are_not_there_are_refused(sizes: list[int]) -> None:
    rows = plane(20, 5)
    with pytest.raises(ParameterError, match="from 0 to 2"):
        fit_pca(rows, 2).mean_squared_errors(rows, sizes)


def test_no_other_pca_is_fitted_anywhere() -> None:
    files = [*ROOT.glob("src/narrows/**/*.py"), *ROOT.glob("benchmarks/*.py")]
    assert len(files) > 100
    imported = "sklearn.decomposition"
    # These benchmarks set Narrows beside scikit-learn's own.
    found = {file.name for file in files if imported in file.read_text("utf-8")}
    assert found <= {"defaults.py", "tables.py", "anomalies.py", "anomalies_signals.py"}
