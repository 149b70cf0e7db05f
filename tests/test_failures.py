"""Models that have learned nothing say so; others say nothing."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from narrows import (
    MODELS,
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
    datasets,
)
from narrows.errors import NarrowsWarning
from narrows.models.failures import warn_of_failure

pytestmark = pytest.mark.cases

SEED = 20260603
DIGITS = datasets.load("digits").X_train[:600]
TABLE = np.random.default_rng(SEED).normal(size=(200, 4)) @ np.random.default_rng(1).normal(
    size=(4, 9)
)
FEW: dict[str, Any] = {"max_epochs": 10, "random_state": SEED}


@pytest.fixture(autouse=True)
def _models_of_these_tests_are_not_kept() -> Iterator[None]:
    before = dict(MODELS)
    yield
    MODELS.clear()
    MODELS.update(before)


def said(learn: Any) -> list[NarrowsWarning]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learn()
    assert all(each.filename == __file__ for each in caught), "a line of the caller's is named"
    assert all("\n" not in str(each.message) for each in caught)
    found = [each.message for each in caught]
    assert all(isinstance(each, NarrowsWarning) for each in found)
    return found  # type: ignore[return-value]


def test_good_models_say_nothing() -> None:
    for model in (
        Autoencoder(4, **FEW),
        SparseAutoencoder(32, sparsity="l1", **FEW),
        SparseAutoencoder(32, sparsity="kl", **FEW),
        SparseAutoencoder(64, sparsity="batch_topk", **FEW),
        ContractiveAutoencoder(4, **FEW),
        DenoisingAutoencoder(4, corruption="masking", intact_weight=0, **FEW),
        StackedAutoencoder(4, hidden_layer_sizes=(16,), **FEW),
        VariationalAutoencoder(4, **FEW),
    ):
        assert said(lambda model=model: model.fit(DIGITS)) == [], model
    assert said(lambda: Autoencoder(2, **FEW).fit(TABLE)) == []


def test_codes_of_which_no_unit_is_ever_on() -> None:
    model = SparseAutoencoder(24, sparsity="l1", sparsity_weight=1e3, **FEW)
    (found,) = said(lambda: model.fit(DIGITS))
    assert found.kind == "dead_units"
    assert found.facts == {"dead_units": 24, "n_components": 24}
    assert str(found).startswith("all 24 units of the code are dead")
    assert "lower sparsity_weight (now 1000)" in str(found)
    assert model.dead_units_.all()
    (again,) = said(lambda: model.partial_fit(DIGITS))
    assert again.kind == "dead_units"


def test_codes_of_which_most_units_are_never_on() -> None:
    model = SparseAutoencoder(64, sparsity="topk", n_active=2, revival_weight=0, **FEW)
    (found,) = said(lambda: model.fit(DIGITS[:, :1, :4].repeat(2, axis=1)))
    dead = int(model.dead_units_.sum())
    assert 32 < dead < 64
    assert found.facts["dead_units"] == dead
    assert str(found).startswith(f"{dead} of the 64 units")


def test_a_posterior_that_collapsed() -> None:
    model = VariationalAutoencoder(3, kl_weight=1e3, **FEW)
    (found,) = said(lambda: model.fit(DIGITS))
    assert found.kind == "posterior_collapse"
    assert "none of the 3 units of the code is active" in str(found)
    (again,) = said(lambda: model.partial_fit(DIGITS))
    assert again.kind == "posterior_collapse"


def test_a_code_that_collapsed_and_numbers_of_it_that_did() -> None:
    """Rectified units that start below zero for all rows never move."""

    class Blind(Autoencoder):
        def _prepare_network(self, run: Any, mean: Any) -> Any:
            network = super()._prepare_network(run, mean)
            with torch.no_grad():
                network.encoder.body[-1].bias[: self.blind] = -1e6
            return network

    model = Blind(4, code_activation="relu", **FEW)
    model.blind = 4
    (found,) = said(lambda: model.fit(DIGITS))
    assert found.kind == "code_collapsed"
    assert "all rows have the same code" in str(found)
    assert np.ptp(model.transform(DIGITS), axis=0).max() == 0
    model.blind = 1
    (found,) = said(lambda: model.fit(DIGITS))
    assert found.kind == "constant_units"
    still = int((np.ptp(model.transform(DIGITS), axis=0) == 0).sum())
    assert found.facts == {"units": still, "n_components": 4, "rows": len(DIGITS)}


@pytest.mark.parametrize("disk", [False, True])
def test_restoring_worse_than_the_mean_row(disk: bool, tmp_path: Any, monkeypatch: Any) -> None:
    X: Any = TABLE
    if disk:
        from narrows.data import lazy_rows

        monkeypatch.setattr(lazy_rows, "SMALL", 0)
        np.save(tmp_path / "X.npy", np.tile(TABLE, (10, 1)))
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = Autoencoder(
        2, architecture="dense", hidden_layer_sizes=(8,), learning_rate=1e-9, scaling="global",
        early_stopping=False, **FEW,
    )  # fmt: skip
    (found,) = said(lambda: model.fit(X))
    assert found.kind == "worse_than_mean"
    error = model.reconstruction_error(TABLE).mean() / TABLE.var(axis=0).mean()
    assert error >= 0.999
    if not disk:  # of which it looks at all rows
        assert found.facts["unexplained"] == pytest.approx(error, rel=1e-3)
        assert f"{error:.3f} times its squared error" in str(found)


def test_pairs_are_judged_by_what_is_restored_from_the_damaged_rows() -> None:
    upside_down = DIGITS[:, ::-1]
    model = DenoisingAutoencoder(12, corruption=None, max_epochs=30, random_state=SEED)
    found = said(lambda: model.fit(upside_down, DIGITS))
    assert [each.kind for each in found] == ["pairs_unlike"]
    # The clean rows themselves it turns upside down.
    error = ((model.reconstruct(DIGITS) - DIGITS) ** 2).mean()
    assert error > DIGITS.var(axis=0).mean()


def test_rows_are_judged_by_their_weights() -> None:
    rare = np.concatenate([TABLE, 50 * TABLE[:8]])
    weights = np.r_[np.ones(200), np.full(8, 1e-9)]
    model = Autoencoder(4, architecture="dense", hidden_layer_sizes=(), scaling="none", **FEW)
    assert said(lambda: model.fit(rare, sample_weight=weights)) == []
    with pytest.warns(NarrowsWarning, match="no better than their mean row"):
        model.set_params(learning_rate=1e-9).fit(rare, sample_weight=weights)


def test_a_stack_is_judged_as_a_whole() -> None:
    layer = SparseAutoencoder(sparsity="l1", sparsity_weight=1e5, max_epochs=40)
    stack = StackedAutoencoder(
        6, hidden_layer_sizes=(8,), activation="relu", layer_model=["autoencoder", layer], **FEW
    )
    found = said(lambda: stack.set_params(fine_tune=False).fit(DIGITS))
    assert [each.kind for each in found] == ["code_collapsed"]


def test_what_is_looked_at_is_bounded() -> None:
    class Counted(Autoencoder):
        pass

    model = Counted(2, **FEW).fit(TABLE)
    seen = []
    model.encoder_.register_forward_hook(lambda _m, given, _o: seen.append(len(given[0])))
    many = np.tile(TABLE, (100, 1))
    warn_of_failure(model, None, many)
    assert 1_000 <= sum(seen) <= 2_000


def test_the_command_says_it(run: Any) -> None:
    np.save("X.npy", DIGITS)
    options = "--sparsity l1 --sparsity-weight 1000 --n-components 16 --max-epochs 10"
    ended = run("train", "X.npy", "-o", "model", "--model", "sparse", *options.split(), "--json")
    assert ended.code == 0
    (found,) = json.loads(ended.out)["warnings"]
    assert found["kind"] == "dead_units"
    assert found["dead_units"] == 16
    assert "narrows: warning: all 16 units of the code are dead" in ended.err


@pytest.mark.parametrize(
    ("X", "scaling", "advised"),
    [
        (TABLE, "global", True),
        (TABLE, "standard", False),
        (DIGITS.reshape(-1, 8, 8).astype(np.uint8), "auto", False),
        (DIGITS.reshape(-1, 8, 8, 1).repeat(3, axis=3), "auto", False),
    ],
)
def test_another_scaling_is_advised_for_tables_alone(X: Any, scaling: Any, advised: bool) -> None:
    model = Autoencoder(
        2, architecture="dense", hidden_layer_sizes=(8,), learning_rate=1e-9, scaling=scaling,
        early_stopping=False, **FEW,
    )  # fmt: skip
    (found,) = said(lambda: model.fit(X))
    assert found.kind == "worse_than_mean"
    assert ("scaling='standard'" in str(found)) == advised
