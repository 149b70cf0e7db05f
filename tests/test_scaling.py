"""Scaling: learned in one stable pass, undone exactly enough."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_digits

from narrows.data.scaling import SCALINGS, Scaling, Statistics

SEED = 20240503
RNG = np.random.default_rng(SEED)


@pytest.mark.parametrize("offset", [0, 1e8])
def test_statistics_are_numpys_whatever_the_offset(offset):
    random = np.random.default_rng(SEED)
    X = random.normal(size=(5000, 7)) * np.arange(1, 8) + offset  # several blocks
    statistics = Statistics.of(X)
    np.testing.assert_allclose(statistics.mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.variance, X.var(axis=0), rtol=1e-6)
    assert (statistics.low, statistics.high) == (X.min(), X.max())


@settings(derandomize=True, max_examples=60)
@given(
    X=arrays(np.float32, (6, 3), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)),
    name=st.sampled_from(SCALINGS),
)
def test_what_is_scaled_can_be_undone(X, name):
    if np.ptp(X) == 0:
        X[0, 0] += 1
    scaling = Scaling.learn(name, Statistics.of(X))
    x = torch.from_numpy(X)
    again = scaling.undo(scaling(x)).numpy()
    np.testing.assert_allclose(again, X, atol=2e-6 * max(1, np.abs(X).max()))
    if scaling.bounded:
        assert scaling(x).min() >= -1e-6
        assert scaling(x).max() <= 1 + 1e-6


def test_global_keeps_what_pca_sees_and_standard_does_not():
    X = RNG.normal(size=(500, 3)) * [1, 10, 100] + 5
    one = Scaling.learn("global", Statistics.of(X))(torch.from_numpy(X)).numpy()
    spread = one.std(axis=0)
    np.testing.assert_allclose(spread / spread[0], X.std(axis=0) / X[:, 0].std(), rtol=1e-4)
    assert (one.var(axis=0).mean()) == pytest.approx(1, rel=1e-4)
    each = Scaling.learn("standard", Statistics.of(X))(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(each.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(each.std(axis=0), 1, rtol=1e-5)


def test_a_constant_feature_stays_at_zero():
    X = np.column_stack([np.full(50, 1e7 + 0.1), RNG.normal(size=50)])
    scaled = Scaling.learn("standard", Statistics.of(X))(torch.from_numpy(X))
    assert scaled[:, 0].abs().max() <= 1
    assert torch.isfinite(scaled).all()


@pytest.mark.parametrize(
    ("X", "bounded"),
    [
        (RNG.integers(0, 200, (9, 4), dtype=np.uint8), True),
        (RNG.random((9, 4)), True),
        (RNG.random((9, 4)) > 0.5, True),
        (RNG.random((9, 4)) * 16, False),
        (RNG.random((9, 4)) - 0.5, False),
        (RNG.random((9, 4)) * 1e-3, False),
        (0.4 + 0.2 * RNG.random((99, 4)), False),
        (RNG.dirichlet(np.ones(64), 500), False),
        (np.vstack([RNG.random((500, 4)) * 1e-3, np.ones(4)]), False),
        (np.eye(64), True),
        (load_digits().data / 16, True),
    ],
)
@pytest.mark.cases
def test_auto_knows_data_that_fill_zero_to_one(X, bounded):
    assert Scaling.learn("auto", Statistics.of(X)).bounded == bounded


@pytest.mark.parametrize(
    ("X", "low", "high"),
    [
        (RNG.integers(3, 200, (9, 4), dtype=np.uint8), 0, 255),
        (RNG.random((9, 4)), 0, 1),
        (np.arange(17.0).reshape(17, 1), 0, 16),
        (np.arange(17.0).reshape(17, 1) / 1000, 0, 0.016),
        (np.array([[3.0], [200.0]]), 0, 255),
        (np.array([[-0.9], [0.8]]), -1, 1),
        (np.array([[-0.4], [0.3]]), -0.5, 0.5),
        (np.array([[-2.1], [2.6]]), -2.1, 2.6),
        (np.array([[0], [1]], dtype=np.uint8), 0, 1),
        (np.array([[1e6], [1e6 + 1]]), 1e6, 1e6 + 1),
    ],
)
def test_pictures_from_files_meet_the_datas_range(X, low, high):
    scaling = Scaling.learn("auto", Statistics.of(X))
    pixels = np.arange(256, dtype=np.uint8)
    values = scaling.from_pixels(pixels)
    np.testing.assert_allclose([values[0], values[255]], [low, high])
    np.testing.assert_array_equal(scaling.to_pixels(values), pixels)
    np.testing.assert_array_equal(scaling.to_pixels(np.array([low - 9.0, high + 9.0])), [0, 255])


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 1), (-3, 5)])
def test_values_become_the_nearest_pixel(low, high):
    X = np.array([[low, high]], np.uint8 if high == 255 else np.float64)
    scaling = Scaling.learn("auto", Statistics.of(np.concatenate([X, X])))
    shares = np.array([0, 0.4, 0.6, 127.49, 127.51, 254.6, 255]) / 255
    pixels = scaling.to_pixels(low + shares * (high - low))
    assert pixels.tolist() == [0, 0, 1, 127, 128, 255, 255]


@pytest.mark.parametrize("name", ["unit", "global", "standard"])
@pytest.mark.parametrize("kind", ["float64", "int64"])
def test_large_offsets_cost_no_precision(name, kind):
    X = (1e6 + 1000 * RNG.normal(size=(200, 3))).astype(kind) + np.array([0, 10**9, 0], kind)
    X = X - np.array([0, 0.25, 0]) if kind == "float64" else X
    scaling = Scaling.learn(name, Statistics.of(X))
    again = scaling.undo(scaling(torch.from_numpy(X))).numpy()
    assert again.dtype == np.float64
    # Single precision is left to the scaled values only, which are about as large as 1.
    grid = float(scaling.scale.max()) * 8 * np.finfo(np.float32).eps
    np.testing.assert_allclose(again, X, rtol=0, atol=grid)


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", "int16", "bool"])
def test_types_that_single_precision_holds_come_back_in_it(kind):
    scaling = Scaling.learn("global", Statistics.of(RNG.integers(0, 2, (9, 4)).astype(kind)))
    assert scaling.undo(torch.zeros(2, 4)).dtype == torch.float32
