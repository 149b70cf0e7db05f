"""Weights of rows against rows that are repeated, and against closed forms."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

from narrows import (
    MODELS,
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    EncoderClassifier,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
    load,
)
from narrows.data import lazy_rows
from narrows.data.batches import AllRowsExcept, BlockSource, source_of
from narrows.data.principal import fit_pca
from narrows.data.scaling import Statistics
from narrows.errors import CheckpointError, DataError, ParameterError
from narrows.models import BaseAutoencoder, resolve
from narrows.models.base import Objective
from narrows.models.sparse import Activity, kl_sparsity, log_mean_sigmoid
from narrows.networks import Network
from narrows.training.progress import on_epoch

pytestmark = pytest.mark.cases

SEED = 20260601
RNG = np.random.default_rng(SEED)
TABLE = RNG.normal(size=(24, 5)) @ RNG.normal(size=(5, 8))
UNIT = RNG.random((24, 8))
COUNTS = RNG.integers(1, 5, len(TABLE))
SHARES = COUNTS / COUNTS.mean()
CLASSES = np.arange(len(TABLE)) % 3
FEW: dict[str, Any] = {"max_epochs": 3, "random_state": SEED}


def repeated(X: NDArray[Any]) -> NDArray[Any]:
    return X.repeat(COUNTS, axis=0)


def test_statistics_are_those_of_repeated_rows() -> None:
    table, counts = np.tile(TABLE, (60, 1)), np.tile(COUNTS, 60)  # several blocks
    found, truth = Statistics.of(table, weights=counts), Statistics.of(table.repeat(counts, axis=0))
    for name in ("mean", "variance", "least", "most"):
        np.testing.assert_allclose(getattr(found, name), getattr(truth, name), rtol=1e-13)
    np.testing.assert_allclose(found.mean, np.average(TABLE, axis=0, weights=COUNTS), rtol=1e-13)
    assert (found.low, found.high, found.binary) == (truth.low, truth.high, truth.binary)


CONTRACTIVE = {"contraction": "exact"}
LOSSES = {
    "plain": Autoencoder(3, hidden_layer_sizes=(7,)),
    "cross-entropy": Autoencoder(3, loss="cross_entropy"),
    "emphasis": DenoisingAutoencoder(3, corrupted_weight=2, intact_weight=0.5),
    "contractive, layer": ContractiveAutoencoder(3, hidden_layer_sizes=(), **CONTRACTIVE),
    "contractive, hidden": ContractiveAutoencoder(3, hidden_layer_sizes=(7,), **CONTRACTIVE),
    "contractive, deep": ContractiveAutoencoder(3, hidden_layer_sizes=(7, 6), **CONTRACTIVE),
    "kl": SparseAutoencoder(9, sparsity="kl"),
    "l1": SparseAutoencoder(9, sparsity="l1"),
    "topk": SparseAutoencoder(9, sparsity="topk", n_active=2),
    "jumprelu": SparseAutoencoder(9, sparsity="jumprelu"),
    "variational": VariationalAutoencoder(3),
    "free bits": VariationalAutoencoder(3, free_bits=0.1),
    "importance": VariationalAutoencoder(3, n_importance_samples=4),
}


@contextmanager
def noise_of_rows(monkeypatch: pytest.MonkeyPatch, counts: NDArray[Any]) -> Iterator[None]:
    """Give repeated rows the same noise."""

    def drawn(shape: tuple[int, ...], **_: Any) -> torch.Tensor:
        own = np.random.default_rng(SEED).normal(size=(shape[0], len(counts), *shape[2:]))
        return torch.from_numpy(own.repeat(counts, axis=1))

    with monkeypatch.context() as patch:
        patch.setattr("narrows.models.variational.torch.randn", drawn)
        yield


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.filterwarnings("ignore:none of the")
def test_loss_and_gradient_are_those_of_repeated_rows(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision, for each term of each model's loss."""
    X = UNIT if name == "cross-entropy" else TABLE
    model = sklearn.clone(LOSSES[name]).set_params(**FEW).fit(X)
    settings = resolve.choose_settings(model, model.spec_, len(X), SEED)
    x = model.scaling_(torch.from_numpy(X)).double()
    drawn = torch.from_numpy(np.random.default_rng(SEED).random(X.shape) < 0.3)

    def measure(counts: NDArray[Any], **weights: Any) -> tuple[dict[str, float], list[Any]]:
        network = copy.deepcopy(Network(model.encoder_, model.decoder_)).double()
        model._activity = None
        objective = Objective(model, network, settings, len(X))
        network.double().train(training)
        if name == "jumprelu":
            with torch.no_grad():
                network.encoder.activation.log_threshold.fill_(-2)
        rows, mask = (t.repeat_interleave(torch.from_numpy(counts), dim=0) for t in (x, drawn))
        with noise_of_rows(monkeypatch, counts):
            trace = network.encoder.trace(rows, **weights)
            terms = model.terms(objective, trace, rows, mask, torch.Generator())
        sum(terms.values()).backward()
        return {key: float(term.detach()) for key, term in terms.items()}, [
            parameter.grad for parameter in network.parameters()
        ]

    found, slopes = measure(np.ones_like(COUNTS), weights=torch.from_numpy(SHARES))
    truth, exact = measure(COUNTS)
    plain, others = measure(np.ones_like(COUNTS))
    assert found == pytest.approx(truth, rel=1e-12, abs=1e-14)
    assert found != pytest.approx(plain, rel=1e-3)
    for ours, theirs, unweighted in zip(slopes, exact, others, strict=True):
        if theirs is None:
            assert ours is None
            continue
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(ours, unweighted, rtol=1e-4)


def test_small_batches_give_the_weighted_gradient_of_a_divergence_without_bias() -> None:
    rows = 2 * torch.from_numpy(RNG.normal(size=(2_000, 3))) - 3
    counts = torch.from_numpy(RNG.integers(1, 9, 2_000)).double()
    weights = counts / counts.mean()
    whole = rows.repeat_interleave(counts.long(), dim=0).requires_grad_()
    on, off = log_mean_sigmoid(whole), log_mean_sigmoid(-whole)
    truth = kl_sparsity(0.1, on, off)
    (exact,) = torch.autograd.grad(truth.sum(), whole)
    activity = Activity(3).double()
    for batch, own in zip(rows.split(4), weights.split(4), strict=True):
        activity.divergence(batch, 0.1, own)
    torch.testing.assert_close(activity.log_on, on.detach())
    kept = {name: value.clone() for name, value in activity.state_dict().items()}
    found = []
    for batch, own in zip(rows.split(4), weights.split(4), strict=True):
        activity.load_state_dict(kept)
        inputs = batch.clone().requires_grad_()
        found.append(torch.autograd.grad(activity.divergence(inputs, 0.1, own).sum(), inputs)[0])
    first = torch.cumsum(counts, 0).long() - counts.long()
    torch.testing.assert_close(
        torch.cat(found) * 4 / 2_000, exact[first] * counts[:, None], rtol=0.05, atol=1e-7
    )


FITS: dict[str, Callable[[], BaseAutoencoder]] = {
    "plain": lambda: Autoencoder(3, architecture="dense", hidden_layer_sizes=(7,)),
    "standard": lambda: Autoencoder(
        3, architecture="dense", hidden_layer_sizes=(), scaling="standard"
    ),
    "contractive": lambda: ContractiveAutoencoder(
        3, architecture="dense", hidden_layer_sizes=(), **CONTRACTIVE
    ),
    "kl": lambda: SparseAutoencoder(9, sparsity="kl"),
    "topk": lambda: SparseAutoencoder(9, sparsity="topk", n_active=2),
    "stacked": lambda: StackedAutoencoder(
        3, hidden_layer_sizes=(6,), layer_model="autoencoder", pretraining_epochs=3
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_fits_are_those_of_repeated_rows(name: str) -> None:
    """Where a step takes all rows, and draws no noise, in single precision."""
    weighted, other, plain = (
        FITS[name]().set_params(max_epochs=20, batch_size=200, random_state=SEED) for _ in range(3)
    )
    weighted.fit(TABLE, sample_weight=COUNTS * 0.1)
    other.fit(repeated(TABLE))
    codes = other.transform(TABLE)
    np.testing.assert_allclose(weighted.transform(TABLE), codes, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(weighted.history_["loss"], other.history_["loss"], rtol=1e-4)
    assert not np.allclose(plain.fit(TABLE).transform(TABLE), codes, rtol=0.05, atol=0.05)
    for found in ("mean_activation_", "active_share_", "mean_jacobian_norm_"):
        if hasattr(other, found):
            np.testing.assert_allclose(
                getattr(weighted, found), getattr(other, found), rtol=1e-3, atol=1e-5
            )


def test_what_starts_at_pca_starts_at_that_of_repeated_rows() -> None:
    weighted, other = (Autoencoder(3, hidden_layer_sizes=()) for _ in range(2))
    weighted.fit(TABLE, sample_weight=COUNTS)
    other.fit(repeated(TABLE))
    assert weighted.spec_.architecture == "pca_residual"
    assert weighted.n_iter_ == 0
    np.testing.assert_allclose(weighted.transform(TABLE), other.transform(TABLE), rtol=1e-4)


# Which of the ways to find axes is taken, by the limits of sizes.
WAYS: dict[str, dict[str, int]] = {
    "rows": {},
    "covariance": {"_BY_SVD": 0},
    "products": {"_BY_SVD": 0, "_FEATURES": 0},
    "projections": {"_BY_SVD": 0, "_FEATURES": 0, "_ROWS": 0},
}


@pytest.mark.parametrize("way", WAYS)
def test_axes_are_those_of_repeated_rows(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in WAYS[way].items():
        monkeypatch.setattr(f"narrows.data.principal.{name}", limit)
    wide = RNG.normal(size=(24, 9)) @ RNG.normal(size=(9, 200)) + 5
    scale = RNG.uniform(1, 3, size=200)
    found = fit_pca(wide, 4, scale=scale, sample_weight=COUNTS)
    assert found.exact == (way != "projections")
    truth = fit_pca(wide.repeat(COUNTS, axis=0), 4, scale=scale)
    for name in ("mean", "components", "variances", "total_variance"):
        np.testing.assert_allclose(getattr(found, name), getattr(truth, name), rtol=1e-7, atol=1e-8)
    with pytest.raises(DataError, match="sample_weight has shape"):
        fit_pca(wide, 4, sample_weight=COUNTS[1:])


@pytest.mark.filterwarnings("ignore:none of the")
@pytest.mark.parametrize("name", MODELS)
def test_zeros_leave_rows_out_of_everything(name: str) -> None:
    strange = np.concatenate([TABLE[:5], 1e6 * TABLE[:3], TABLE[5:]])
    weights = np.r_[COUNTS[:5], 0, 0, 0, COUNTS[5:]]
    for learn in ("fit", "partial_fit"):
        one, other = (MODELS[name](3, **FEW) for _ in range(2))
        getattr(one, learn)(strange, sample_weight=weights)
        getattr(other, learn)(TABLE, sample_weight=COUNTS)
        assert one.fingerprint_ == other.fingerprint_
        assert one.history_["loss"] == other.history_["loss"]


@pytest.mark.filterwarnings("ignore:none of the")
@pytest.mark.parametrize("name", MODELS)
def test_equal_weights_are_none_and_their_scale_has_no_meaning(name: str) -> None:
    def learned(weights: Any) -> str:
        model = MODELS[name](3, **FEW).fit(TABLE, sample_weight=weights)
        return str(model.partial_fit(TABLE, sample_weight=weights).fingerprint_)

    assert len({learned(w) for w in (None, np.full(24, 0.1), [7] * 24, 2.5)}) == 1
    # Powers of two change no digit.
    assert learned(COUNTS) == learned(COUNTS / 1024) != learned(None)


def test_weights_of_many_kinds_are_taken() -> None:
    kinds = (COUNTS, COUNTS.tolist(), pd.Series(COUNTS), torch.from_numpy(COUNTS), COUNTS * 1.0)
    found = {Autoencoder(3, **FEW).fit(TABLE, sample_weight=w).fingerprint_ for w in kinds}
    assert len(found) == 1
    given = COUNTS * 1.0
    Autoencoder(3, **FEW).fit(TABLE, sample_weight=given)
    np.testing.assert_array_equal(given, COUNTS)


def test_the_history_has_weighted_means_of_learned_and_held_out_rows() -> None:
    """With steps that change nothing: what is held out, and the mean of its errors, by weight."""
    X = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    weights = np.random.default_rng(2).random(60) + 0.1
    model = Autoencoder(
        2, architecture="dense", hidden_layer_sizes=(6,), learning_rate=1e-12, max_epochs=1,
        validation_fraction=0.25, batch_size=7, scaling="global", random_state=SEED,
    ).fit(X, sample_weight=weights)  # fmt: skip
    scale = float(model.scaling_.scale)
    errors = model.reconstruction_error(X).astype(np.float64) * X.shape[1] / scale**2
    total, held_out = model.history_["loss"][0], model.history_["validation_loss"][0]
    seed = int(np.random.RandomState(SEED).randint(2**31))
    order = np.random.default_rng(seed).permutation(60)
    for rows, found in ((order[:15], held_out), (order[15:], total)):
        assert found == pytest.approx(np.average(errors[rows], weights=weights[rows]), rel=1e-4)
        assert found != pytest.approx(errors[rows].mean(), rel=1e-3)


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("seed", [None, 3])
def test_weights_follow_their_rows(in_blocks: bool, seed: int | None) -> None:
    values = np.arange(100.0, dtype=np.float32)[:, None]
    weights = np.random.default_rng(4).random(100)
    rows = AllRowsExcept(100, np.array([0, 7, 50]))
    own = weights[rows[np.arange(97)]].mean()
    for partners in (None, values + 0.5):
        source = source_of(values, rows, partners, weights, in_blocks=in_blocks)
        assert isinstance(source, BlockSource) == in_blocks
        seen, total = [], 0.0
        for rank in range(2):
            for batch in source.batches(9, seed=seed, rank=rank, world_size=2):
                numbers = batch.rows.reshape(len(batch), -1)[:, 0].long().numpy()
                np.testing.assert_allclose(batch.weights, weights[numbers] / own, rtol=1e-6)
                seen += numbers.tolist()
                total += float(batch.weights.sum())
        assert sorted(seen) == rows[np.arange(97)].tolist()
        assert total == pytest.approx(97)


def test_rows_on_a_disk_count_by_their_weights(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(5).normal(size=(90, 6)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    weights = np.random.default_rng(6).integers(0, 4, 90)
    common = {
        "architecture": "dense",
        "max_epochs": 8,
        "batch_size": 90,
        "early_stopping": False,
        "random_state": SEED,
    }
    for model in (Autoencoder, SparseAutoencoder, StackedAutoencoder):
        kind = {"layer_corruption": None} if model is StackedAutoencoder else {}
        on_disk, in_memory, plain = (model(2, **common, **kind) for _ in range(3))
        on_disk.fit(np.load(tmp_path / "X.npy", mmap_mode="r"), sample_weight=weights)
        truth = in_memory.fit(X, sample_weight=weights).transform(X)
        np.testing.assert_allclose(on_disk.transform(X), truth, rtol=1e-3, atol=2e-3)
        assert not np.allclose(plain.fit(X).transform(X), truth, rtol=0.01, atol=0.02)


def test_pairs_have_weights_too() -> None:
    noisy = TABLE + RNG.normal(size=TABLE.shape)
    common = {
        "corruption": None,
        "architecture": "dense",
        "max_epochs": 10,
        "batch_size": 200,
        "random_state": SEED,
    }
    weighted, other = (DenoisingAutoencoder(3, **common) for _ in range(2))
    weighted.fit(noisy, TABLE, sample_weight=COUNTS)
    other.fit(repeated(noisy), repeated(TABLE))
    np.testing.assert_allclose(weighted.denoise(noisy), other.denoise(noisy), rtol=1e-3, atol=1e-3)
    kept = COUNTS > 1
    first, second = (DenoisingAutoencoder(3, **common) for _ in range(2))
    first.fit(noisy, TABLE, sample_weight=np.where(kept, COUNTS, 0))
    second.fit(noisy[kept], TABLE[kept], sample_weight=COUNTS[kept])
    assert first.fingerprint_ == second.fingerprint_


def test_a_checkpoint_is_of_its_weights(tmp_path: Any) -> None:
    def interrupt(record: dict[str, float]) -> None:
        if record["epoch"] == 2:
            raise SystemExit

    def model(path: Any) -> Autoencoder:
        return Autoencoder(3, max_epochs=4, checkpoint=path, random_state=SEED)

    whole = model(None).fit(TABLE, sample_weight=COUNTS)
    with on_epoch(interrupt), pytest.raises(SystemExit):
        model(tmp_path / "run").fit(TABLE, sample_weight=COUNTS)
    for others in (None, COUNTS + 1):
        with pytest.raises(CheckpointError, match="another run"):
            model(tmp_path / "run").fit(TABLE, sample_weight=others)
    again = model(tmp_path / "run").fit(TABLE, sample_weight=COUNTS)
    assert again.fingerprint_ == whole.fingerprint_


ONES = np.ones(24)
WRONG = {
    "too few": (ONES[:23], r"shape \(23,\), and there are 24 rows.*of shape \(24,\)"),
    "two columns": (np.ones((24, 2)), r"shape \(24, 2\), and there are 24 rows"),
    "a column": (np.ones((24, 1)), r"shape \(24, 1\), and there are 24 rows"),
    "negative": (np.r_[1, 2, -3, ONES[3:]], "is -3 in row 2, counted from 0"),
    "missing": (np.r_[1, np.nan, ONES[2:]], "is nan in row 1, counted from 0"),
    "infinite": (np.r_[ONES[:23], np.inf], "is inf in row 23"),
    "zero": (np.zeros(24), "all 24 weights in sample_weight are zero"),
    "a negative number": (-1, "is -1 in row 0"),
    "text": (["x"] * 24, "holds something else than numbers"),
    "one number as text": ("balanced", "holds something else than numbers"),
    "one row left": (np.r_[1, np.zeros(23)], "above zero for 1 of 24 rows.*at least 2"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_weights_that_cannot_be_are_refused_in_a_line(kind: str) -> None:
    weights, words = WRONG[kind]
    model = Autoencoder(3, **FEW)
    ways = {
        "fit": lambda: model.fit(TABLE, sample_weight=weights),
        "partial_fit": lambda: model.partial_fit(TABLE, sample_weight=weights),
        "pairs": lambda: DenoisingAutoencoder(3, **FEW).fit(TABLE, TABLE, sample_weight=weights),
        "layer": lambda: StackedAutoencoder(3, **FEW).partial_fit(
            TABLE, sample_weight=weights, layer=1
        ),
        "classifier": lambda: EncoderClassifier(**FEW).fit(TABLE, CLASSES, sample_weight=weights),
    }
    for way, learn in ways.items():
        wanted = (
            "all 1 rows are of the class"
            if (way, kind) == ("classifier", "one row left")
            else words
        )
        with pytest.raises(DataError, match=wanted) as caught:
            learn()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) <= 500
    assert not hasattr(model, "encoder_")


# The classifier.


def classifier(encoder: Any = None, **parameters: Any) -> EncoderClassifier:
    common = {"max_epochs": 15, "batch_size": 200, "random_state": SEED}
    return EncoderClassifier(encoder, **{**common, **parameters})


ENCODER = Autoencoder(3, **FEW).fit(TABLE)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"encoder": ENCODER},
        {"encoder": ENCODER, "fine_tune": False},
        {"encoder": ENCODER, "from_scratch": True},
    ],
    ids=["new", "trained", "fixed", "from scratch"],
)
def test_classifiers_learn_as_from_repeated_rows(parameters: dict[str, Any]) -> None:
    weighted, other, plain = (classifier(**parameters) for _ in range(3))
    weighted.fit(TABLE, CLASSES, sample_weight=COUNTS)
    truth = other.fit(repeated(TABLE), repeated(CLASSES)).predict_proba(TABLE)
    np.testing.assert_allclose(weighted.predict_proba(TABLE), truth, rtol=1e-3, atol=1e-4)
    unweighted = plain.fit(TABLE, CLASSES).predict_proba(TABLE)
    assert not np.allclose(unweighted, truth, rtol=1e-2, atol=1e-3)


def test_class_weights_are_weights_of_their_rows() -> None:
    names = np.array(["ant", "bee", "cat"])[
        np.r_[np.zeros(14, int), np.ones(6, int), 2 * np.ones(4, int)]
    ]
    found = {
        "dict": classifier(class_weight={"bee": 3.0, "cat": 0.5}).fit(TABLE, names),
        "rows": classifier().fit(
            TABLE, names, sample_weight=np.select([names == "bee", names == "cat"], [3, 0.5], 1)
        ),
        "balanced": classifier(class_weight="balanced").fit(TABLE, names, sample_weight=COUNTS),
        "by hand": classifier().fit(
            TABLE, names, sample_weight=COUNTS / pd.Series(COUNTS).groupby(names).transform("sum")
        ),
    }
    chances = {name: fitted.predict_proba(TABLE) for name, fitted in found.items()}
    np.testing.assert_allclose(chances["dict"], chances["rows"], rtol=1e-4)
    np.testing.assert_allclose(chances["balanced"], chances["by hand"], rtol=1e-4)
    assert not np.allclose(chances["dict"], chances["balanced"], rtol=1e-2)
    # As scikit-learn counts them.
    truth = sklearn.utils.class_weight.compute_class_weight(
        "balanced", classes=np.unique(names), y=names, sample_weight=COUNTS
    )
    same = classifier(class_weight=dict(zip(np.unique(names), truth, strict=True)))
    again = same.fit(TABLE, names, sample_weight=COUNTS).predict_proba(TABLE)
    np.testing.assert_allclose(again, chances["balanced"], rtol=1e-4)


def test_class_weights_are_stored(tmp_path: Any) -> None:
    for labels, weights in (
        (CLASSES, {np.int64(0): 2, 1: 3.5}),
        (CLASSES.astype(str), {"0": 2.0}),
        (CLASSES > 0, {True: 4}),
        (CLASSES, "balanced"),
    ):
        fitted = classifier(class_weight=weights).fit(TABLE, labels)
        again = load(fitted.save(tmp_path / "classifier", overwrite=True))
        assert again.class_weight == weights
        np.testing.assert_array_equal(again.predict_proba(TABLE), fitted.predict_proba(TABLE))
        again.fit(TABLE, labels)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("equal", "class_weight='equal' is not allowed"),
        ([1, 2, 3], "class_weight=.* is not allowed; give a dict"),
        ({0: -1}, r"class_weight\[0\]=-1 .* above 0"),
        ({0: 0}, r"class_weight\[0\]=0 .* above 0"),
        ({0: "much"}, r"class_weight\[0\]='much'"),
        ({0: np.nan}, r"class_weight\[0\]=nan"),
        ({"0": 2}, "names the class '0', which no row has, and not the class 0"),
    ],
    ids=str,
)
def test_class_weights_that_cannot_be_are_refused(weights: Any, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        classifier(class_weight=weights).fit(TABLE, CLASSES)
    # A fold may lack a class.
    classifier(class_weight={0: 1, 1: 2, 2: 3}).fit(TABLE[CLASSES < 2], CLASSES[CLASSES < 2])


# scikit-learn's metadata routing.


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
@pytest.mark.filterwarnings("ignore:none of the")
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_routed_to_models_that_ask_for_them(name: str) -> None:
    truth = MODELS[name](3, **FEW).fit(TABLE, sample_weight=COUNTS).fingerprint_
    asking = MODELS[name](3, **FEW).set_fit_request(sample_weight=True)
    end = LogisticRegression().set_fit_request(sample_weight=True)
    piped = Pipeline([("model", asking), ("end", end)]).fit(TABLE, CLASSES, sample_weight=COUNTS)
    assert piped["model"].fingerprint_ == truth
    renamed = MODELS[name](3, **FEW).set_fit_request(sample_weight="own")
    piped = Pipeline([("model", renamed)]).fit(TABLE, own=COUNTS)
    assert piped["model"].fingerprint_ == truth


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_past_models_that_do_not() -> None:
    codes = ENCODER.transform(TABLE)
    end = LogisticRegression().set_fit_request(sample_weight=True)
    for model in (
        Autoencoder(3, **FEW),
        Autoencoder(3, **FEW).set_fit_request(sample_weight=False),
    ):
        piped = make_pipeline(model, end).fit(TABLE, CLASSES, sample_weight=COUNTS)
        assert piped[0].fingerprint_ == ENCODER.fingerprint_
        alone = LogisticRegression().fit(codes, CLASSES, sample_weight=COUNTS)
        np.testing.assert_allclose(piped[1].coef_, alone.coef_)
    with pytest.raises(TypeError, match="sample_weight"):  # nobody asks for them
        make_pipeline(Autoencoder(3, **FEW)).fit(TABLE, sample_weight=COUNTS)


@pytest.mark.usefixtures("routing")
def test_a_search_gives_its_folds_their_weights() -> None:
    """Weights that leave out all strange rows: they change neither the fits nor the choice."""
    strange = np.concatenate([TABLE, 1e6 * TABLE])
    weights = np.r_[np.ones(24), np.zeros(24)]
    folds = [(np.r_[8:24, 32:48], np.arange(8)), (np.r_[0:16, 24:40], np.arange(16, 24))]
    plain = [(train[:16], test) for train, test in folds]
    grid = {"n_components": [1, 3]}
    asking = Autoencoder(**FEW).set_fit_request(sample_weight=True)
    search = GridSearchCV(asking, grid, cv=folds, refit=False)
    truth = GridSearchCV(Autoencoder(**FEW), grid, cv=plain, refit=False).fit(TABLE)
    search.fit(strange, sample_weight=weights)
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, truth.cv_results_["mean_test_score"])
    wanted = classifier(ENCODER).set_fit_request(sample_weight=True)
    piped = Pipeline([("end", wanted)]).fit(TABLE, CLASSES, sample_weight=COUNTS)
    alone = classifier(ENCODER).fit(TABLE, CLASSES, sample_weight=COUNTS)
    np.testing.assert_array_equal(piped.predict_proba(TABLE), alone.predict_proba(TABLE))
