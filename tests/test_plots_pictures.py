"""Plots of pictures and filters show their pixels; every random seed is 0."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from plots_kit import SEED, drawn, new_axes, random

from narrows import Autoencoder, plots
from narrows.errors import DataError, NotFittedError, ParameterError

pytestmark = pytest.mark.usefixtures("figures_closed")


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)])
def test_tiles_are_the_pictures(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(SEED)
    one, other = generator.integers(0, 256, (2, 5, *shape)).astype(np.uint8)
    ax = plots.pictures({"one": one, "other": other}, ax=new_axes())
    [image] = [np.asarray(i.get_array()) for i in ax.images]
    for line, pictures in enumerate((one, other)):
        for column, picture in enumerate(pictures):
            tile = image[5 * line : 5 * line + 4, 7 * column : 7 * column + 6]
            assert_array_equal(tile[..., :3], np.broadcast_to(picture.reshape(4, 6, -1), (4, 6, 3)))
            assert (tile[..., 3] == 255).all()
    assert (image[..., 3] == 255).sum() == 10 * 4 * 6  # the gaps are transparent
    assert [t.get_text() for t in ax.get_yticklabels()] == ["one", "other"]
    assert_allclose(ax.get_yticks(), [1.5, 6.5])


@pytest.mark.parametrize(
    ("low", "high", "limits", "black_and_white"),
    [(0.2, 0.8, None, (0, 1)), (-2, 3, None, (-2, 3)), (0, 1, (0.25, 0.75), (0.25, 0.75))],
)
def test_shades_lie_between_the_limits(
    low: float, high: float, limits: Any, black_and_white: tuple[float, float]
) -> None:
    first = np.linspace(low, high, 16).reshape(1, 4, 4)
    beyond = np.array([[[-9.0] * 4, [9.0] * 4] * 2])
    ax = plots.pictures({"first": first, "beyond": beyond}, limits=limits, ax=new_axes())
    image = np.asarray(ax.images[0].get_array())
    black, white = black_and_white
    share = np.clip((first[0] - black) / (white - black), 0, 1)
    assert_allclose(image[:4, :4, 0] / 255, share, atol=0.5 / 255 + 1e-6)
    assert_array_equal(image[5:, :, 0], np.where(beyond[0] > 0, 255, 0))


def test_captions_stand_under_their_columns() -> None:
    captions = ["1st", "$2$nd", "3\n"]
    ax = drawn(plots.pictures({"a": random(3, 8, 8)}, captions=captions, ax=new_axes()))
    assert [t.get_text() for t in ax.get_xticklabels()] == [
        "1st",
        "$2$nd",
        "3\\n",
    ]
    assert_allclose(ax.get_xticks(), [3.5, 12.5, 21.5])


@pytest.mark.parametrize("length", [2, 5, 9, 20])
def test_captions_do_not_run_into_each_other(length: int) -> None:
    captions = ["m" * length] * 8
    ax = drawn(plots.pictures({"a": random(8, 8, 8)}, captions=captions, ax=new_axes()))
    labels = ax.get_xticklabels()
    if labels[0].get_rotation() == 0:
        boxes = [label.get_window_extent() for label in labels]
        assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))
    else:
        assert length > 2
    figure = ax.figure.bbox
    assert all(label.get_window_extent().y0 >= figure.y0 - 1 for label in labels)


@pytest.mark.parametrize(
    ("n", "columns", "shape"), [(9, None, (3, 3)), (7, 4, (2, 4)), (2, 9, (1, 2))]
)
def test_a_grid_has_its_columns(n: int, columns: int | None, shape: tuple[int, int]) -> None:
    ax = plots.picture_grid(random(n, 8, 8), columns=columns, ax=new_axes())
    lines_, columns_ = shape
    assert ax.images[0].get_array().shape == (9 * lines_ - 1, 9 * columns_ - 1, 4)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({}, "no line of pictures"),
        ({"a": random(3, 5)}, r"'a' has the shape \(3, 5\)"),
        ({"a": random(3, 5, 5, 2)}, r"\(3, 5, 5, 2\)"),
        ({"a": random(0, 5, 5)}, "at least one picture"),
        ({"a": random(3, 5, 5), "b": random(2, 5, 5)}, "'b' has 2 pictures"),
        ({"a": random(3, 5, 5), "b": random(3, 5, 6)}, "of 5 x 6 pixels"),
        ({"a": np.full((1, 2, 2), np.nan)}, "NaN or infinity in picture 0"),
        ({"a": np.full((1, 2, 2), "x")}, "no numbers"),
    ],
)
def test_what_is_no_picture_is_refused(rows: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        plots.pictures(rows, ax=new_axes())
    assert "\n" not in str(error.value)


def test_captions_limits_and_columns_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="2 captions for 3 columns"):
        plots.pictures({"a": random(3, 5, 5)}, captions=["1", "2"], ax=new_axes())
    for limits in ((1, 1), (2, 1), (0, np.nan)):
        with pytest.raises(ParameterError, match="limits="):
            plots.pictures({"a": random(3, 5, 5)}, limits=limits, ax=new_axes())
    for columns in (0, 1.5):
        with pytest.raises(ParameterError, match="columns="):
            plots.picture_grid(random(3, 5, 5), columns=columns, ax=new_axes())


def test_filters_are_scaled_by_their_own_magnitude() -> None:
    weights = np.zeros((3, 2, 2))
    weights[0] = [[-4, 0], [2, 4]]
    weights[1] = [[0.001, 0], [0, 0]]
    ax = plots.filters(weights, columns=3, ax=new_axes())
    image = np.asarray(ax.images[0].get_array())
    assert_array_equal(image[:, :2, 0], [[0, 128], [191, 255]])
    assert_array_equal(image[:, 3:5, 0], [[255, 128], [128, 128]])
    assert_array_equal(image[:, 6:, 0], 128)


@pytest.mark.parametrize(
    ("shape", "architecture", "expected"),
    [
        ((8, 6), "dense", (5, 8, 6)),
        ((8, 6, 3), "dense", (5, 8, 6, 3)),
        ((8, 6), "convolutional", (5, 3, 3)),
        ((8, 6, 3), "convolutional", (5, 3, 3, 3)),
    ],
)
def test_a_models_filters_are_its_first_layer(
    shape: tuple[int, ...], architecture: str, expected: tuple[int, ...]
) -> None:
    model = Autoencoder(
        2, hidden_layer_sizes=(7, 4), architecture=architecture, max_epochs=1, random_state=SEED
    ).fit(random(30, *shape))
    found = plots.model_filters(model, 5)
    assert found.shape == expected
    first = next(p for p in model.encoder_.parameters() if p.ndim > 1).detach().numpy()
    if architecture == "dense":
        assert_array_equal(found.reshape(5, -1), first[:5])
    else:
        kernels = found.reshape(5, 3, 3, -1)
        assert_array_equal(kernels, first[:5].transpose(0, 2, 3, 1))


def test_models_of_tables_and_signals_have_no_filters_to_show() -> None:
    table = Autoencoder(2, max_epochs=1, random_state=SEED).fit(random(30, 5))
    with pytest.raises(DataError, match=r"rows of shape \(5,\)"):
        plots.model_filters(table)
    signal = Autoencoder(
        2, hidden_layer_sizes=(4,), architecture="convolutional_1d", max_epochs=1
    ).fit(random(30, 16, 2))
    with pytest.raises(DataError, match=r"rows of shape \(16, 2\)"):
        plots.model_filters(signal)
    with pytest.raises(NotFittedError):
        plots.model_filters(Autoencoder(2))
    with pytest.raises(ParameterError, match="n=0"):
        plots.model_filters(table, 0)
