"""Models of tables that go on: after a stop anywhere, for more epochs, and with more rows.

The random seed is 20261130.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_kit import Run
from resuming_kit import stopped_after, told

from narrows import Autoencoder, TableAutoencoder, load
from narrows.errors import CheckpointError, DataError, NotFittedError, ParameterError

SEED = 20261130
N = 120
pytestmark = pytest.mark.filterwarnings("ignore:training was interrupted:UserWarning")


def table(share: float = 0.1) -> pd.DataFrame:
    """Return a table of numbers and categories that depend on each other, with gaps."""
    rng = np.random.default_rng(SEED)
    width = rng.normal(size=N)
    full = pd.DataFrame(
        {
            "width": width,
            "area": width**2 + rng.normal(0, 0.1, N),
            "size": np.where(width > 0.5, "large", np.where(width < -0.5, "small", "middle")),
            "count": rng.integers(0, 9, N),
        }
    )
    return full.mask(rng.random(full.shape) < share)


def make(model: Any = None, **parameters: Any) -> TableAutoencoder:
    inner = Autoencoder(2, max_epochs=4) if model is None else model
    return TableAutoencoder(inner, random_state=SEED, **parameters)


LINEAR = Autoencoder(2, hidden_layer_sizes=(), activation="identity")


@pytest.mark.parametrize(
    ("inner", "stages"),
    [(Autoencoder(2, max_epochs=4), {True, False}), (LINEAR, {True}), ("stacked", {True, False})],
)
def test_a_stopped_run_ends_bit_for_bit(inner, stages, tmp_path):
    """It is stopped while it learns to fill gaps, and while the model itself is trained."""
    X = table()
    with stopped_after(-1) as count:
        truth = make(inner).fit(X)
    imputing = set()
    for steps in (1, count[0] // 3, count[0] - 3):
        with stopped_after(steps):
            part = make(inner).fit(X)
        assert part.history_.ended == "interrupted"
        assert part.is_resumable_
        imputing.add(part.imputer_.is_interrupted)
        again = load(part.save(tmp_path / f"{steps}"))
        pd.testing.assert_frame_equal(part.impute(X), again.impute(X))  # it can be used as it is
        again.resume(X)
        assert again.fingerprint_ == truth.fingerprint_
        assert told(again.history_) == told(truth.history_)
        pd.testing.assert_frame_equal(again.reconstruct(X), truth.reconstruct(X))
        pd.testing.assert_frame_equal(again.impute(X), truth.impute(X))
    assert imputing == stages


def test_weights_of_rows_come_again():
    X = table()
    weights = np.random.default_rng(SEED).integers(0, 3, N).astype(float)
    with stopped_after(-1) as count:
        truth = make().fit(X, sample_weight=weights)
    for steps in (5, count[0] - 3):
        with stopped_after(steps):
            part = make().fit(X, sample_weight=weights)
        assert part.history_.ended == "interrupted"
        with pytest.raises(DataError, match="run learns from"):
            part.resume(X)
        assert part.resume(X, sample_weight=weights).fingerprint_ == truth.fingerprint_


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_more_epochs_are_those_of_the_model_on_encoded_rows(share, tmp_path):
    X = table(share)
    model = load(make().fit(X).save(tmp_path / "m"))
    rows = model.encode_columns(X)
    plain = load(tmp_path / "m").model_.resume(rows, max_epochs=7)
    filled = model.impute(X)
    longer = load(tmp_path / "m").set_params(model__max_epochs=7).resume(X)
    assert model.resume(X, max_epochs=7) is model
    assert model.model_.fingerprint_ == plain.fingerprint_ == longer.model_.fingerprint_
    assert (len(model.history_), model.get_params()["model__max_epochs"]) == (7, 7)
    pd.testing.assert_frame_equal(model.impute(X), filled)


def test_what_cannot_go_on_is_refused_and_stays_as_it_was(tmp_path):
    X = table()
    model = make().fit(X)
    before = model.fingerprint_
    with pytest.raises(ParameterError, match="all 4 epochs"):
        model.resume(X)
    with pytest.raises(DataError, match="120 rows given are in another order"):
        model.resume(X[::-1], max_epochs=9)
    with pytest.raises(DataError, match="1 of 120 rows given are not among"):
        model.resume(X.assign(width=[9.0, *X["width"][1:]]), max_epochs=9)
    with pytest.raises(DataError, match="'count' was read as number by the run, and as category"):
        load(model.save(tmp_path / "m")).set_params(categorical=["count"]).resume(X, max_epochs=9)
    with pytest.raises(DataError, match="'size' was read as category by the run, and is not there"):
        model.resume(X.drop(columns="size"), max_epochs=9)
    with pytest.raises(ParameterError, match="n_components"):
        load(tmp_path / "m").set_params(model__n_components=3).resume(X, max_epochs=9)
    assert model.fingerprint_ == before
    bare = load(model.save(tmp_path / "bare", resumable=False))
    assert not bare.is_resumable_
    for one in (bare, load(tmp_path / "m").partial_fit(X)):
        with pytest.raises(CheckpointError, match="holds no training state"):
            one.resume(X, max_epochs=9)
    with pytest.raises(NotFittedError):
        make().resume(X)


def test_more_rows_are_learned_by_the_model_on_encoded_rows():
    X = table()
    first, later = X[:80], X[80:].reset_index(drop=True)
    model = make().partial_fit(first)
    assert model.n_iter_ == 1
    plain = Autoencoder(2, max_epochs=4, scaling="none", random_state=model.model_.random_state)
    plain.partial_fit(model.encode_columns(first)).partial_fit(model.encode_columns(later))
    columns, filled = model.columns_, model.impute(later)
    model.partial_fit(later)
    assert model.model_.fingerprint_ == plain.fingerprint_
    assert model.columns_ == columns
    pd.testing.assert_frame_equal(model.impute(later), filled)
    codes = model.transform(X)
    with pytest.raises(DataError, match="lacks the column 'size'"):
        model.partial_fit(later.drop(columns="size"))
    np.testing.assert_array_equal(model.transform(X), codes)


def test_the_command_line_goes_on(run: Run):
    table().to_csv("data.csv", index=False)
    options = ["--n-components", "2", "--random-state", "0", "--max-epochs"]
    truth = run("train", "data.csv", "-o", "truth", *options, "4", "--json").json
    assert truth["resumable"]
    with stopped_after(3):
        stopped = run("train", "data.csv", "-o", "part", *options, "4")
    assert stopped.code == 130
    assert "what was learned is kept in part; --resume part goes on" in stopped.err
    assert run("info", "part", "--json").json["resumable"]
    done = run("train", "data.csv", "--resume", "part", "-o", "done")
    assert "resumed: part goes on with learning to fill gaps" in done.err
    assert run("info", "done", "--json").json["fingerprint"] == truth["fingerprint"]
    more = run("train", "data.csv", "--resume", "done", "-o", "more", "--max-epochs", "6", "--json")
    assert (more.json["resumed"]["epoch"], more.json["epochs"]) == (4, 6)
    expected = load("truth").resume("data.csv", max_epochs=6)
    assert more.json["fingerprint"] == expected.fingerprint_
    run("train", "data.csv", "-o", "bare", *options, "4", "--no-resumable")
    np.save("rows.npy", np.random.default_rng(SEED).random((40, 4)))
    run("train", "rows.npy", "-o", "plain", *options, "4")
    for model, words in (
        (["done"], "all 4 epochs"),
        (["done", "--max-epochs", "9", "--drop", "size"], "--drop does not go with --resume"),
        (["done", "--max-epochs", "9", "--window", "9"], "--window does not go with --resume"),
        (["done", "--max-epochs", "9", "--n-components", "3"], "n_components"),
        (["bare", "--max-epochs", "9"], "holds no training state"),
        (["plain", "--max-epochs", "9", "--drop", "size"], "'plain' learned from rows of numbers"),
    ):
        refused = run("train", "data.csv", "--resume", *model, "-o", "x")
        assert refused.code in {2, 4, 6}, refused
        assert refused.err.count("\n") <= 2
        assert words in refused.err
