"""Plots of errors, maps, units and features draw their input; every random seed is 0."""

from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from numpy.testing import assert_allclose, assert_array_equal
from plots_kit import SEED, drawn, legend, lines, new_axes, random

from narrows import plots
from narrows.errors import DataError, ParameterError

pytestmark = pytest.mark.usefixtures("figures_closed")


def test_errors_stand_over_their_sizes_on_logarithmic_axes() -> None:
    ax = drawn(
        plots.error_by_size(
            [8, 2, 4, 16],
            [0.1, 0.4, 0.2, 0.0],
            model_size=4,
            model_error=0.1,
            model_name="my model",
            ax=new_axes(),
        )
    )
    (x, y, pca_dashes), (model_x, model_y, model_dashes) = lines(ax)
    assert (x, y, model_x, model_y) == ([2, 4, 8], [0.4, 0.2, 0.1], [4], [0.1])
    assert (pca_dashes, model_dashes) == ("--", "None")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "4", "8"]
    assert legend(ax) == ["PCA", "my model"]
    pca, model = ax.lines
    assert pca.get_color() != model.get_color()
    assert pca.get_marker() != model.get_marker()


def test_errors_of_rounding_do_not_stretch_the_axis() -> None:
    """PCA with as many components as features, which leaves only rounding errors."""
    ax = plots.error_by_size([1, 2, 4], [0.4, 1e-9, 9.7e-32], ax=new_axes())
    assert lines(ax)[0][:2] == ([1, 2], [0.4, 1e-9])
    assert ax.get_ylim()[0] > 1e-11


def test_a_models_curve_has_one_entry_in_the_legend() -> None:
    ax = plots.error_by_size(
        [1, 2], [3, 2], model_curve=([2, 1], [1, 2]), model_size=2, model_error=1, ax=new_axes()
    )
    assert lines(ax)[1] == ([1, 2], [2, 1], "-")
    assert legend(ax) == ["PCA", "autoencoder"]


@pytest.mark.parametrize(
    ("sizes", "errors", "words"),
    [
        ([1, 2], [1], "2 sizes and 1 errors"),
        ([0, 2], [1, 1], "sizes above zero"),
        ([1, 2], [1, -1], "no negative errors"),
        ([], [], "sizes are empty"),
        ([[1]], [[1]], r"shape \(1, 1\)"),
        ([1, 2], [1, np.inf], r"errors hold inf at \[1\]"),
        (["a"], [1], "no number"),
    ],
)
def test_errors_that_cannot_be_drawn_are_refused(sizes: Any, errors: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        plots.error_by_size(sizes, errors, ax=new_axes())
    assert "\n" not in str(error.value)


def test_a_models_size_needs_its_error() -> None:
    with pytest.raises(DataError, match="belong together"):
        plots.error_by_size([1], [1], model_size=2, ax=new_axes())


def faces(ax: Axes) -> np.ndarray:
    return np.concatenate([c.get_facecolors() for c in ax.collections])


def test_a_map_has_a_point_a_row() -> None:
    points = np.random.default_rng(SEED).normal(size=(200, 2))
    ax = plots.embedding(points, ax=new_axes())
    [drawn_points] = ax.collections
    assert_allclose(drawn_points.get_offsets(), points)
    assert drawn_points.get_rasterized()
    assert ax.get_aspect() == 1
    assert (list(ax.get_xticks()), list(ax.get_yticks())) == ([], [])
    assert ax.get_legend() is None


def test_each_class_has_its_colour_and_its_name() -> None:
    generator = np.random.default_rng(SEED)
    labels = generator.permutation(np.repeat([3, 5, 9], 40))
    points = generator.normal(size=(120, 2)) + 20 * (labels[:, None] == [3, 5])
    names = ["boot", "$bag$", "shirt\n"]
    ax = plots.embedding(points, labels=labels, label_names=names, ax=new_axes())
    [drawn_points] = ax.collections
    assert_allclose(drawn_points.get_offsets(), points)
    colours = [mpl.colors.to_rgba(h.get_color()) for h in ax.get_legend().legend_handles]
    assert len(set(colours)) == 3
    own = np.array(colours)[np.searchsorted([3, 5, 9], labels)]
    assert_allclose(faces(ax)[:, :3], own[:, :3])
    assert legend(ax) == [text.get_text() for text in ax.texts] == ["boot", "$bag$", "shirt\\n"]
    for text, label in zip(ax.texts, (3, 5, 9), strict=True):
        assert_allclose(text.get_position(), np.median(points[labels == label], axis=0))


def test_beyond_ten_classes_the_marks_differ() -> None:
    labels = np.arange(23)
    ax = plots.embedding(random(23, 2), labels=labels, ax=new_axes())
    assert sorted(len(c.get_offsets()) for c in ax.collections) == [3, 10, 10]
    paths = [c.get_paths()[0].vertices.tobytes() for c in ax.collections]
    assert len(set(paths)) == 3
    for collection in ax.collections:
        colours = collection.get_facecolors()
        assert len(np.unique(colours, axis=0)) == len(colours)
    assert ax.get_legend() is None


@pytest.mark.parametrize("spread", [0.0, 0.02, 5.0])
def test_names_on_a_map_do_not_cover_each_other(spread: float) -> None:
    generator = np.random.default_rng(SEED)
    labels = np.repeat(np.arange(8), 30)
    points = generator.normal(size=(240, 2)) + spread * generator.normal(size=(8, 2))[labels]
    names = [f"name {k}" for k in range(8)]
    ax = drawn(plots.embedding(points, labels=labels, label_names=names, ax=new_axes()))
    boxes = [mpl.text.Text.get_window_extent(text) for text in ax.texts]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_map_by_values_has_a_bar_of_colours() -> None:
    points, values = random(300, 2), np.append(random(299), 50.0)
    with mpl.rc_context({"image.cmap": "cividis"}):
        ax = plots.embedding(points, values=values, value_name="error", ax=new_axes())
    [drawn_points] = ax.collections
    assert_allclose(drawn_points.get_array(), values)
    assert drawn_points.get_cmap().name == "cividis"
    assert_allclose(drawn_points.get_clim(), np.percentile(values, [1, 99]))
    _, bar = ax.figure.axes
    assert bar.get_ylabel() == "error"


@pytest.mark.parametrize(
    ("points", "given", "words"),
    [
        (random(5, 3), {}, r"shape \(5, 3\)"),
        (random(5), {}, r"shape \(5,\)"),
        (np.full((2, 2), np.nan), {}, "nan"),
        (random(5, 2), {"labels": [1, 2]}, r"shape \(2,\) for 5 points"),
        (random(2, 2), {"labels": np.array([1, "a"], object)}, "several kinds"),
        (random(2, 2), {"labels": [1, 2], "label_names": ["a"]}, "1 label_names for 2 classes"),
        (random(5, 2), {"values": [1, 2]}, "2 values for 5 points"),
    ],
)
def test_maps_that_cannot_be_drawn_are_refused(
    points: Any, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words) as error:
        plots.embedding(points, ax=new_axes(), **given)
    assert "\n" not in str(error.value)


def test_labels_or_values_not_both() -> None:
    with pytest.raises(ParameterError, match="one of the two"):
        plots.embedding(random(2, 2), labels=[0, 1], values=[0, 1], ax=new_axes())


def heights(ax: Axes, part: int) -> np.ndarray:
    return np.array([bar.get_height() for bar in ax.containers[part]])


@pytest.mark.parametrize("decades", [1, 5])
def test_errors_are_counted_and_outliers_apart(decades: int) -> None:
    errors = 10 ** np.random.default_rng(SEED).uniform(-decades, 0, 500)
    threshold = float(np.quantile(errors, 0.9))
    ax = plots.error_distribution(errors, threshold=threshold, ax=new_axes())
    assert (heights(ax, 0).sum(), heights(ax, 1).sum()) == (450, 50)
    edges = np.array([bar.get_x() for bar in ax.containers[0]])
    right = edges + [bar.get_width() for bar in ax.containers[0]]
    counted = np.histogram(errors, [*edges, right[-1]])[0]
    assert_array_equal(heights(ax, 0) + heights(ax, 1), counted)
    assert ax.get_xscale() == ("log" if decades > 2 else "linear")
    rug, line = ax.lines
    assert_allclose(sorted(rug.get_xdata()), sorted(errors[errors > threshold]))
    assert line.get_xdata() == [threshold, threshold]
    assert legend(ax)[0] == "outliers: 50 of 500"
    assert ax.containers[1][0].get_hatch()


@pytest.mark.parametrize(
    "errors", [[0.0] * 5, [1.0] * 5, [3.0], [0.0, 1.0, 1e9], [0.0, 1e-300, 1.0]], ids=str
)
def test_no_error_is_left_out_of_the_histogram(errors: list[float]) -> None:
    ax = drawn(plots.error_distribution(errors, ax=new_axes()))
    assert heights(ax, 0).sum() == len(errors)
    assert ax.get_legend() is None


def test_a_threshold_above_all_errors_finds_no_outlier() -> None:
    ax = drawn(plots.error_distribution([1.0, 2.0], threshold=2860.0, ax=new_axes()))
    assert legend(ax) == ["outliers: 0 of 2", "threshold: 2860"]


def test_units_stand_beside_the_standard_normal_distribution() -> None:
    means, variances = [0.5, -0.1, 0.2], [0.0, 1.2, 0.8]
    ax = plots.code_units(means, variances, ax=new_axes())
    found = lines(ax)
    assert found[0] == ([1, 2, 3], [1.2, 0.8, 0.0], "None")
    assert found[2] == ([1, 2, 3], [-0.1, 0.2, 0.5], "None")
    assert [y for _, y, _ in (found[1], found[3])] == [[1, 1], [0, 0]]
    assert len({line.get_marker() for line in ax.lines[::2]}) == 2


def test_rates_are_counted_and_dead_units_apart() -> None:
    rates = np.append(np.linspace(0.01, 0.5, 30), np.zeros(7))
    ax = plots.activation_rates(rates, ax=new_axes())
    assert (heights(ax, 0).sum(), heights(ax, 1).sum()) == (30, 7)
    assert heights(ax, 1)[0] == 7
    assert legend(ax) == ["in use: 30 of 37", "dead: 7 of 37"]
    assert ax.containers[1][0].get_hatch()
    drawn(plots.activation_rates(np.zeros(3), ax=new_axes()))


def test_singular_values_are_sorted_and_averaged() -> None:
    values = random(50, 6)
    ax = plots.singular_values(values, ax=new_axes())
    truth = -np.sort(-values, axis=1)
    [(x, y, _)] = lines(ax)
    assert x == [1, 2, 3, 4, 5, 6]
    assert_allclose(y, truth.mean(axis=0))
    [band] = ax.collections
    corners = band.get_paths()[0].vertices
    low, high = np.percentile(truth, [10, 90], axis=0)
    assert {*np.round(low, 9), *np.round(high, 9)} <= {*np.round(corners[:, 1], 9)}


def test_curves_of_singular_values_on_the_same_axes_differ() -> None:
    ax = plots.singular_values(random(9, 4), label="one", ax=new_axes())
    plots.singular_values(30 * random(9, 7), label="other", ax=ax)
    one, other = ax.lines
    assert one.get_color() != other.get_color()
    assert one.get_linestyle() != other.get_linestyle()
    assert ax.get_ylim()[1] > max(other.get_ydata())
    assert ax.get_xlim()[1] > 7
    assert legend(ax) == ["one", "other"]


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda ax: plots.error_distribution([-1.0, 1.0], ax=ax), "-1 is no error"),
        (
            lambda ax: plots.error_distribution([1.0], threshold=np.nan, ax=ax),
            "thresholds hold nan",
        ),
        (lambda ax: plots.code_units([1, 2], [1], ax=ax), "2 means and 1 variances"),
        (lambda ax: plots.code_units([1], [-1], ax=ax), "variance is -1"),
        (lambda ax: plots.activation_rates([0.5, 1.5], ax=ax), "between 0.5 and 1.5"),
        (lambda ax: plots.singular_values([1.0], ax=ax), r"shape \(1,\)"),
        (lambda ax: plots.singular_values([[-1.0]], ax=ax), "singular value is -1"),
        (lambda ax: plots.features({}, ax=ax), "no scores"),
        (
            lambda ax: plots.features({"a": {"b": (1, 2, 3)}}, ax=ax),
            "mean and a standard deviation",
        ),
        (lambda ax: plots.features({"a": {"b": (1, np.nan)}}, ax=ax), "'a' by 'b' hold nan"),
        (lambda ax: plots.filters(random(3, 4), ax=ax), r"shape \(3, 4\)"),
    ],
)
def test_figures_that_cannot_be_are_refused(draw: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        draw(new_axes())
    assert "\n" not in str(error.value)


def test_accuracies_have_their_spread_and_their_figure() -> None:
    scores = {
        "codes": {"linear": (0.9, 0.02), "neighbours": (0.8, 0.01)},
        "raw": {"neighbours": (0.7, 0.03)},
    }
    ax = drawn(plots.features(scores, ax=new_axes()))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["codes", "raw"]
    assert legend(ax) == ["linear", "neighbours"]
    assert [text.get_text() for text in ax.texts] == ["0.900", "0.800", "0.700"]
    places = [container[0].get_xydata() for container in ax.containers]
    assert_allclose(places[0][:, 0], [0.9])
    assert_allclose(places[1][:, 0], [0.8, 0.7])
    assert places[0][0, 1] < places[1][0, 1] < 0.5 < places[1][1, 1]
    [bars] = ax.containers[1][2]
    assert_allclose([s[:, 0] for s in bars.get_segments()], [[0.79, 0.81], [0.67, 0.73]])


def test_each_column_has_a_line_with_a_mark_for_each_method() -> None:
    errors = {"hue": 1.8, "alcohol": 0.4, "$a_b$": 0.2}
    ax = drawn(plots.column_errors(errors, beside={"PCA, 2": [0.6, 0.3, 0.1]}, ax=new_axes()))
    assert [text.get_text() for text in ax.get_yticklabels()] == list(errors)
    marks = {line.get_label(): line for line in ax.lines if line.get_marker() != "None"}
    assert list(marks["autoencoder"].get_xdata()) == [1.8, 0.4, 0.2]
    assert list(marks["PCA, 2"].get_xdata()) == [0.6, 0.3, 0.1]
    assert set(legend(ax)) == {"autoencoder", "PCA, 2", "the column's mean"}
    assert ax.get_xscale() == "linear"
    top, *_ = ax.get_yticks()
    assert top == 0
    assert ax.yaxis_inverted()


def test_columns_whose_errors_differ_much_need_a_logarithmic_axis() -> None:
    ax = drawn(plots.column_errors({"a": 50.0, "b": 0.5, "c": 0.0}, ax=new_axes()))
    assert ax.get_xscale() == "log"
    marks = next(line for line in ax.lines if line.get_label() == "autoencoder")
    assert list(marks.get_xdata()) == [50.0, 0.5, 0.001]


def test_many_columns_are_a_curve_a_method() -> None:
    errors = {f"column {n}": float(error) for n, error in enumerate(random(200))}
    other = random(200)[::-1]
    ax = drawn(plots.column_errors(errors, beside={"PCA, 2": other}, ax=new_axes()))
    curves = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert curves["autoencoder"] == sorted(errors.values(), reverse=True)
    assert curves["PCA, 2"] == sorted(other, reverse=True)
    assert ax.get_xlabel() == "columns, the worst first"


def test_long_names_of_columns_leave_room_for_the_axes() -> None:
    ax = drawn(plots.column_errors({"x" * 300: 0.5, "y": 0.1}, ax=new_axes()))
    assert len(ax.get_yticklabels()[0].get_text()) == 28
    assert ax.get_position().width > 0.3


@pytest.mark.parametrize(
    ("errors", "beside", "words"),
    [
        ({}, None, "no columns"),
        ({"a": -1.0}, None, "-1 is no error"),
        ({"a": np.nan}, None, "finite"),
        ({"a": 1.0, "b": 2.0}, {"PCA": [1.0]}, "1 errors of 'PCA' and 2 columns"),
    ],
)
def test_errors_of_columns_that_cannot_be_are_refused(errors: Any, beside: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        plots.column_errors(errors, beside=beside, ax=new_axes())
