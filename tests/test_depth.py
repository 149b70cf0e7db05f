"""The comparison of depths: its figures against the models, and the known order of remedies."""

import json

import numpy as np
import pytest
from cli_kit import Run
from PIL import Image

from narrows import Autoencoder, datasets
from narrows.errors import DataError, DivergedError, ParameterError
from narrows.evaluation import compare_depths, draw_depths
from narrows.training.progress import on_epoch

SEED = 20250304
X = datasets.load("digits").X_train


def report_of(rows=X[:400], **parameters):
    quick = {"depths": (4,), "width": 16, "n_components": 4, "max_epochs": 2}
    return compare_depths(rows, **{**quick, "random_state": SEED, **parameters})


def test_figures_are_those_of_the_model_itself():
    report = report_of(remedies=("plain",))
    order = np.random.default_rng(SEED).permutation(400)
    test, train = (X[:400][np.sort(rows)] for rows in (order[:80], order[80:]))
    model = Autoencoder(
        4,
        architecture="dense",
        hidden_layer_sizes=(16, 16),
        activation="sigmoid",
        max_epochs=2,
        random_state=SEED,
    ).fit(train)
    (run,) = report.runs
    error = model.reconstruction_error(test).mean() / 255**2
    assert run.test_error == pytest.approx(error, rel=1e-5)
    assert run.losses == pytest.approx([loss / 64 for loss in model.history_["loss"]], rel=1e-6)
    mean = train.mean(axis=0)
    assert report.mean_row_error == pytest.approx(((test - mean) ** 2).mean() / 255**2, rel=1e-5)
    assert report.best is run


def test_gradients_fall_by_a_quarter_a_layer_at_most_where_sigmoids_are_stacked():
    """Each layer multiplies the gradient by a sigmoid's slope, at most 1/4, and a matrix."""
    report = report_of(depths=(12,), remedies=("plain", "normalised", "residual"), width=32)
    plain, normalised, residual = (run.gradient_norms for run in report.runs)
    assert len(plain) == len(normalised) == 14
    assert plain[0] < 1e-4 * plain[-1]
    assert normalised[0] > 100 * plain[0]
    assert residual[0] > 100 * plain[0]


def test_deep_sigmoids_learn_with_each_remedy_and_not_without():
    report = report_of(X[:800], depths=(12,), width=32, n_components=8, max_epochs=25)
    errors = {run.remedy: run.test_error / report.mean_row_error for run in report.runs}
    assert errors["plain"] > 0.9
    for remedy in ("pretrained", "normalised", "residual"):
        assert errors[remedy] < 0.75, errors
    assert report.best.remedy != "plain"


def test_networks_that_are_no_better_than_pca_or_the_mean_row_are_not_recommended():
    plain = report_of(depths=(24,), remedies=("plain",))
    assert plain.best.test_error > 0.98 * plain.mean_row_error
    assert plain.unbeaten == "the mean row"
    short = report_of(remedies=("residual",), activation="silu", max_epochs=3)
    assert short.pca_error < short.best.test_error < 0.98 * short.mean_row_error
    assert short.unbeaten == "PCA"
    wide = report_of(remedies=("plain",), width=64, activation="silu", max_epochs=30)
    assert wide.best.test_error < 0.98 * wide.pca_error
    assert wide.unbeaten is None


def test_what_diverges_is_reported_and_what_all_do_is_an_error():
    with pytest.raises(DivergedError, match="every time"):
        report_of(remedies=("plain",), activation="relu", learning_rate=1e30)


@pytest.mark.filterwarnings("ignore:training was interrupted")
def test_ctrl_c_ends_the_comparison():
    seen = []

    def interrupt(record):
        seen.append(record["epoch"])
        raise KeyboardInterrupt

    with on_epoch(interrupt), pytest.raises(KeyboardInterrupt):
        report_of()
    assert seen == [1]


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"depths": (5,)}, ParameterError, "does not part into two halves"),
        ({"depths": (2,)}, ParameterError, "each of depths=2"),
        ({"depths": (10**20,)}, ParameterError, r"each of depths=10+ is not allowed"),
        ({"random_state": -1}, ParameterError, "random_state=-1"),
        ({"depths": ()}, ParameterError, "at least one depth"),
        ({"remedies": ("prayer",)}, ParameterError, "each of remedies='prayer'"),
        ({"width": 0}, ParameterError, "width=0"),
        ({"max_epochs": "auto"}, ParameterError, "max_epochs='auto'"),
        ({"test_fraction": 1}, ParameterError, "test_fraction=1"),
        ({"rows": X[:2]}, DataError, "too few"),
    ],
    ids=str,
)
def test_what_cannot_be_compared(parameters, error, message):
    with pytest.raises(error, match=message):
        report_of(**parameters)


def test_the_picture_shows_every_run():
    report = report_of(depths=(4, 8))
    figure = draw_depths(report)
    assert len(figure.axes) == 5
    assert [len(axes.lines) for axes in figure.axes] == [5, 4, 5, 4, 6]


def test_the_command_answers_draws_and_says_which_to_use(run: Run, tmp_path):
    np.save(tmp_path / "X.npy", X[:200].reshape(200, -1))
    words = "--depths 4 --width 8 --n-components 2 --max-epochs 2 --rows 150 --activation tanh"
    words += f" --learning-rate 0.01 --save {tmp_path}/depth.png"
    answered = run("depth", tmp_path / "X.npy", *words.split(), "--json")
    assert answered.code == 0, answered.err
    assert [one["remedy"] for one in answered.json["runs"]][:2] == ["plain", "pretrained"]
    assert answered.json["rows"] == 150
    assert json.dumps(answered.json["best"]) in answered.out
    with Image.open(tmp_path / "depth.png") as picture:
        assert picture.width == 1350
    again = run("depth", tmp_path / "X.npy", *words.split())
    assert again.code == 5
    told = run("depth", tmp_path / "X.npy", *words.split(), "--overwrite", "--remedies", "plain")
    assert told.code == 0
    assert "Use none of these networks: the best, 4 layers, plain, does not beat" in told.out
    longer = words.replace("--max-epochs 2", "--max-epochs 40").replace("--width 8", "--width 64")
    won = run("depth", tmp_path / "X.npy", *longer.split(), "--overwrite", "--remedies", "plain")
    assert "Use 4 layers, plain: nothing quicker" in won.out
    for wrong in (("--depths", "four"), ("--random-state", "-1"), ("--rows", "0")):
        assert run("depth", tmp_path / "X.npy", *wrong).code == 2
