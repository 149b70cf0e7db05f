"""What plots draw: the figures that were given, in the user's own style, told apart by anyone."""

from collections.abc import Iterator
from io import BytesIO
from itertools import combinations, pairwise
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

from narrows import Autoencoder, plots
from narrows.errors import DataError, NotFittedError, ParameterError
from narrows.training.history import History

SEED = 0


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    plt.close("all")
    yield
    plt.close("all")


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).random(shape)


def new_axes() -> Axes:
    return Figure(figsize=(5, 3.5), layout="constrained").subplots()


def drawn(ax: Axes) -> Axes:
    """Return axes whose figure has been laid out, as saving does it."""
    ax.figure.savefig(BytesIO())
    return ax


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def run(n: int, *terms: str, held_out: bool = True, scale: float = 1.0) -> History:
    generator = np.random.default_rng(SEED)
    epochs = []
    for epoch in range(1, n + 1):
        record = {"epoch": epoch}
        for prefix in ("", "validation_") if held_out else ("",):
            values = {term: scale * float(generator.uniform(1, 2)) for term in terms}
            record |= {f"{prefix}loss": sum(values.values())}
            record |= {prefix + term: value for term, value in values.items()}
        epochs.append(record | {"learning_rate": 0.01 / epoch, "seconds": float(epoch)})
    return History(epochs, best_epoch=max(1, n - 1), ended="early_stopping")


def lines(ax: Axes) -> list[tuple[list[float], list[float], str]]:
    return [
        (list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle())
        for line in ax.lines
        if len(line.get_xdata())
    ]


EVERY: dict[str, Any] = {
    "history": lambda **k: plots.history(run(5, "reconstruction", "kl"), **k),
    "learning_rate": lambda **k: plots.learning_rate(run(5, "reconstruction"), **k),
    "pictures": lambda **k: plots.pictures({"original": random(3, 4, 4)}, **k),
    "picture_grid": lambda **k: plots.picture_grid(random(7, 4, 4), **k),
    "error_by_size": lambda **k: plots.error_by_size(
        [1, 2], [4.0, 2.0], model_size=2, model_error=1.0, **k
    ),
    "embedding": lambda **k: plots.embedding(random(9, 2), labels=[0, 1, 2] * 3, **k),
    "error_distribution": lambda **k: plots.error_distribution(random(9), threshold=0.5, **k),
    "code_units": lambda **k: plots.code_units(random(5), random(5), **k),
    "activation_rates": lambda **k: plots.activation_rates(random(5), **k),
    "singular_values": lambda **k: plots.singular_values(random(5, 4), **k),
    "features": lambda **k: plots.features({"codes": {"linear": (0.9, 0.1)}}, **k),
    "filters": lambda **k: plots.filters(random(9, 4, 4) - 0.5, **k),
}
each = pytest.mark.parametrize("name", EVERY)


@each
def test_every_plot_draws_on_the_axes_given_and_returns_them(name: str) -> None:
    ax = new_axes()
    assert EVERY[name](ax=ax) is ax
    assert ax.has_data()
    assert plt.get_fignums() == []


@each
def test_every_plot_makes_axes_of_its_own(name: str) -> None:
    with mpl.rc_context({"figure.figsize": (7, 5), "figure.facecolor": "#102030"}):
        ax = EVERY[name]()
    assert plt.get_fignums() == [ax.figure.number]
    assert ax.figure.get_figwidth() == 7
    assert mpl.colors.to_hex(ax.figure.get_facecolor()) == "#102030"
    drawn(ax)


@each
def test_what_is_no_axes_is_refused(name: str) -> None:
    with pytest.raises(ParameterError, match="ax is ndarray, not a matplotlib Axes"):
        EVERY[name](ax=np.array([new_axes()]))


@each
def test_words_have_the_users_size_and_colour(name: str) -> None:
    settings = {"font.size": 17.0, "text.color": "#123456", "axes.labelcolor": "#123456",
                "xtick.labelcolor": "#123456", "ytick.labelcolor": "#123456"}  # fmt: skip
    with mpl.rc_context(settings):
        ax = drawn(EVERY[name](ax=new_axes()))
    words = [t for t in ax.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]
    sizes = {t.get_fontsize() for t in words}
    assert sizes <= {17.0}
    assert {mpl.colors.to_hex(t.get_color()) for t in words} <= {"#123456"}


def test_history_draws_every_term_of_training_and_held_out_rows() -> None:
    history = run(5, "reconstruction", "kl_divergence")
    ax = plots.history(history, ax=new_axes())
    found = lines(ax)
    for term in ("loss", "reconstruction", "kl_divergence"):
        assert ([1, 2, 3, 4, 5], history[term], "-") in found
        assert ([1, 2, 3, 4, 5], history[f"validation_{term}"], "--") in found
    assert legend(ax) == [
        "loss", "reconstruction", "kl divergence", "training rows", "held-out rows",
        "best epoch: 4",
    ]  # fmt: skip
    assert ([4, 4], [0, 1], ":") in found
    assert ax.get_yscale() == "linear"


def test_a_loss_of_one_term_is_drawn_once() -> None:
    ax = plots.history(run(4, "reconstruction", held_out=False), ax=new_axes())
    assert len(lines(ax)) == 1
    assert legend(ax) == ["loss (reconstruction)"]


def test_terms_differ_by_colour_and_by_mark() -> None:
    ax = plots.history(run(9, "reconstruction", "penalty", "kl"), ax=new_axes())
    looks = [(h.get_color(), h.get_marker()) for h in ax.get_legend().legend_handles[:4]]
    assert len({colour for colour, _ in looks}) == len({mark for _, mark in looks}) == 4


@pytest.mark.parametrize("low", [1e-3, 0.0, -1.0])
def test_terms_that_are_decades_apart_need_a_logarithmic_axis(low: float) -> None:
    history = run(3, "reconstruction", "penalty")
    for record in history.epochs:
        record["penalty"] = record["validation_penalty"] = low
    ax = plots.history(history, ax=new_axes())
    assert ax.get_yscale() == ("log" if low > 0 else "linear")


def test_an_epoch_without_held_out_rows_leaves_a_gap() -> None:
    history = run(3, "reconstruction")
    first, second = history["validation_loss"][:2]
    del history.epochs[2]["validation_loss"]
    ax = plots.history(history, ax=new_axes())
    [(_, values, _)] = [line for line in lines(ax) if line[2] == "--"]
    assert_array_equal(values, [first, second, np.nan])


def test_a_single_epoch_is_a_mark() -> None:
    ax = drawn(plots.history(run(1, "reconstruction"), ax=new_axes()))
    assert ax.lines[0].get_marker() not in ("", "None")
    inside = [t for t in ax.get_xticks() if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    assert inside == [round(t) for t in inside]


@pytest.mark.parametrize("plot", [plots.history, plots.learning_rate])
def test_the_layers_of_a_stack_come_one_after_another(plot: Any) -> None:
    whole = run(2, "reconstruction")
    whole.layers = [run(3, "reconstruction", scale=10), run(4, "reconstruction", scale=100)]
    ax = drawn(plot(whole, ax=new_axes()))
    spans = [(x[0], x[-1]) for x, _, dashes in lines(ax) if dashes == "-" and x[0] != x[-1]]
    assert spans == [(1, 3), (4, 7), (8, 9)]
    words = {t.get_text(): t for t in ax.texts}
    assert list(words) == ["layer 1", "layer 2", "whole"]


def test_learning_rates_are_the_runs_own() -> None:
    history = run(6, "reconstruction")
    ax = plots.learning_rate(history, ax=new_axes())
    assert lines(ax) == [([1, 2, 3, 4, 5, 6], history["learning_rate"], "-")]


@pytest.mark.parametrize("plot", [plots.history, plots.learning_rate])
@pytest.mark.parametrize("given", [History(), [1.0, 2.0]])
def test_what_is_no_history_is_refused(plot: Any, given: Any) -> None:
    with pytest.raises(DataError, match="the history"):
        plot(given, ax=new_axes())


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


# Machado, Oliveira & Fernandes (2009): what the colour-blind see of linear light, at full severity.
BLIND = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.mark.parametrize("vision", BLIND)
def test_colours_are_told_apart_by_the_colour_blind(vision: str) -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab

    ax = plots.history(run(3, "a", "b", "c", "d"), ax=new_axes())
    colours = [mpl.colors.to_rgb(h.get_color()) for h in ax.get_legend().legend_handles[:5]]
    rgb = np.array(colours)
    light = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    seen = np.clip(light @ np.array(BLIND[vision]).T, 0, 1)
    shown = np.where(seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen)
    lab = rgb2lab(shown[None])[0]
    distances = [deltaE_ciede2000(a, b) for i, a in enumerate(lab) for b in lab[:i]]
    assert min(distances) > 10  # one is the least that is noticed, side by side


def test_a_cycle_of_the_users_own_is_used() -> None:
    with mpl.rc_context({"axes.prop_cycle": mpl.cycler(color=["#ff0000", "#00ff00"])}):
        ax = plots.history(run(3, "a", "b"), ax=new_axes())
    handles = ax.get_legend().legend_handles[:3]
    assert [h.get_color() for h in handles] == ["#ff0000", "#00ff00", "#ff0000"]
    assert handles[0].get_marker() != handles[2].get_marker()


def test_the_package_offers_what_it_lists() -> None:
    assert all(callable(getattr(plots, name)) for name in plots.__all__)
