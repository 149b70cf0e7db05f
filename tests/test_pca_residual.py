"""Networks that start at PCA: exact before the first step, and kept unless training is better."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from narrows import (
    MODELS,
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    VariationalAutoencoder,
    load,
)
from narrows.data.principal import fit_pca
from narrows.errors import ParameterError

pytestmark = pytest.mark.cases

SEED = 20261129
UNITS = np.array([1e-3, 1.0, 50.0, 2e4, 1e6, 3.0])


def mixed(n=300):
    """Rows in mixed units and with offsets, of three directions and noise."""
    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(n, 3)) @ rng.normal(size=(3, 6)) + rng.normal(0, 0.3, (n, 6))
    return (rows + rng.normal(0, 20, 6)) * UNITS


def bent(n=1000):
    """A plane bent through six dimensions, in mixed units: two numbers tell a row."""
    u, v = np.random.default_rng(SEED).uniform(-1, 1, (2, n))
    rows = np.stack([u, v, u * v, u**2, np.sin(3 * v), np.cos(2 * u)], axis=1)
    return rows * UNITS


def by_pca(train, test, k):
    """Restore rows by PCA on standardised columns, in double precision."""
    scaler = StandardScaler().fit(train)
    pca = PCA(k, svd_solver="full").fit(scaler.transform(train))
    codes = pca.transform(scaler.transform(test))
    return codes, scaler.inverse_transform(pca.inverse_transform(codes))


def relative(restored, rows, train):
    """The squared error of equally scaled columns."""
    deviations = train.std(0)
    return np.square((restored - rows) / np.where(deviations > 0, deviations, 1)).mean()


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_linear_request_is_pca(k, kind):
    X = mixed().astype(kind)
    model = Autoencoder(k, hidden_layer_sizes=(), random_state=SEED).fit(X)
    assert model.spec_.architecture == "pca_residual"
    assert len(model.history_) == model.history_.best_epoch == 0
    codes, restored = by_pca(X.astype(np.float64), X.astype(np.float64), k)
    np.testing.assert_allclose(model.transform(X), codes, atol=1e-4 if kind == np.float32 else 1e-5)
    tolerance = 1e-3 if kind == np.float32 else 1e-5  # of offsets, single precision keeps less
    np.testing.assert_allclose(model.reconstruct(X) / UNITS, restored / UNITS, atol=tolerance)
    encoder, decoder = model.split()
    np.testing.assert_array_equal(
        decoder.inverse_transform(encoder.transform(X)), model.reconstruct(X)
    )


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_the_axes_are_those_of_scikit_learns_full_solver(offset):
    rng = np.random.default_rng(SEED)
    X = (
        offset
        + rng.normal(size=(500, 2)) @ rng.normal(size=(2, 10))
        + rng.normal(0, 0.01, (500, 10))
    )
    axes, truth = fit_pca(X, 5), PCA(5, svd_solver="full").fit(X)
    np.testing.assert_allclose(axes.components, truth.components_, atol=1e-6)
    np.testing.assert_allclose(axes.variances, truth.explained_variance_ * 499 / 500, rtol=1e-6)
    assert axes.exact
    # In blocks, from a file.
    np.testing.assert_allclose(axes.total_variance, X.var(0).sum(), rtol=1e-9)


def test_the_axes_of_more_features_than_are_decomposed():
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 5000)) + rng.normal(0, 0.1, (60, 5000))
    axes, truth = fit_pca(X, 6), PCA(6, svd_solver="full").fit(X)
    np.testing.assert_allclose(axes.components, truth.components_, atol=1e-8)
    assert axes.exact


@pytest.mark.parametrize("model", [Autoencoder, DenoisingAutoencoder, ContractiveAutoencoder])
def test_the_first_weights_are_pca_whatever_the_hidden_layers(model):
    X = mixed()
    still = {"max_epochs": 1, "learning_rate": 1e-12, "early_stopping": False}
    found = model(2, hidden_layer_sizes=(9, 7), random_state=SEED, **still).fit(X)
    _, restored = by_pca(X, X, 2)
    np.testing.assert_allclose(found.reconstruct(X) / UNITS, restored / UNITS, atol=1e-5)


def test_codes_that_are_distributions_start_at_probabilistic_pca():
    """The evidence lower bound is tight there: it is the log likelihood (Tipping & Bishop 1999)."""
    X = mixed(400)
    model = VariationalAutoencoder(
        2, max_epochs=1, learning_rate=1e-12, early_stopping=False, random_state=SEED
    ).fit(X)
    deviations = X.std(0)
    scaled = (X - X.mean(0)) / deviations
    values, vectors = np.linalg.eigh(np.cov(scaled.T, ddof=0))
    noise = values[:-2].mean()
    weights = vectors[:, -2:] * np.sqrt(values[-2:] - noise)
    covariance = weights @ weights.T + noise * np.eye(6)
    truth = multivariate_normal(np.zeros(6), covariance).logpdf(scaled)
    bound = model.elbo(X, 4000, random_state=SEED) + np.log(deviations).sum()
    assert bound.mean() == pytest.approx(truth.mean(), abs=0.01)
    np.testing.assert_allclose(bound, truth, atol=0.15)
    start = model.history_.start
    assert -start["loss"] == pytest.approx(truth.mean(), abs=0.1)


def test_what_noise_has_to_tell_is_left_to_pca_of_all_rows():
    noise = np.random.default_rng(SEED).normal(size=(200, 12)) * 10 ** np.arange(12.0)
    model = Autoencoder(4, random_state=SEED).fit(noise)
    assert model.history_.best_epoch == 0
    assert len(model.history_) > 0
    _, restored = by_pca(noise, noise, 4)
    np.testing.assert_allclose(
        model.reconstruct(noise) / noise.std(0), restored / noise.std(0), atol=1e-5
    )
    assert model.learned_rows_.n_held_out == 0
    assert model.history_.best["validation_loss"] == model.history_.start["validation_loss"]


@pytest.mark.parametrize("name", ["denoising", "contractive", "variational"])
def test_models_that_stay_at_pca_are_whole(name):
    noise = np.random.default_rng(SEED).normal(size=(200, 12))
    model = MODELS[name](4, max_epochs=3, scaling="standard", random_state=SEED).fit(noise)
    assert model.history_.best_epoch == 0
    scaled = (noise - noise.mean(0)) / noise.std(0)
    values, vectors = np.linalg.eigh(np.cov(scaled.T, ddof=0))
    told = np.ones(4)
    if name == "variational":  # which takes the rest for noise (Tipping & Bishop 1999, eq. 9)
        told = (values[-4:] - values[:-4].mean()) / values[-4:]
    truth = scaled @ (vectors[:, -4:] * told) @ vectors[:, -4:].T
    restored = (model.reconstruct(noise) - noise.mean(0)) / noise.std(0)
    np.testing.assert_allclose(restored, truth, atol=1e-5)


def test_of_too_few_rows_to_hold_some_out_pca_is_what_is_learned():
    X = mixed(20)
    model = Autoencoder(3, random_state=SEED).fit(X)
    assert (len(model.history_), model.history_.best_epoch) == (0, 0)
    _, restored = by_pca(X, X, 3)
    np.testing.assert_allclose(model.reconstruct(X) / UNITS, restored / UNITS, atol=1e-5)
    trained = Autoencoder(3, max_epochs=3, random_state=SEED).fit(X)
    assert len(trained.history_) == 3


def test_what_bends_is_restored_better_than_by_pca():
    X = bent()
    train, test = X[:800], X[800:]
    _, restored = by_pca(train, test, 2)
    model = Autoencoder(2, random_state=SEED).fit(train)
    assert model.history_.best_epoch > 0
    assert relative(model.reconstruct(test), test, train) < 0.3 * relative(restored, test, train)


@pytest.mark.parametrize(
    "loader", [load_iris, load_wine, load_breast_cancer, load_diabetes, load_linnerud]
)
@pytest.mark.parametrize("k", [2, 4])
def test_no_column_of_a_real_table_is_restored_worse_than_by_its_mean(loader, k):
    X = loader().data
    order = np.random.default_rng(SEED).permutation(len(X))
    train, test = X[order[len(X) // 5 :]], X[order[: len(X) // 5]]
    model = Autoencoder(k, random_state=SEED).fit(train)
    left = np.square(model.reconstruct(train) - train).mean(0) / train.var(0)
    assert left.max() <= 1 + 1e-6
    _, restored = by_pca(train, test, min(k, X.shape[1]))
    error = relative(model.reconstruct(test), test, train)
    assert error <= 1.05 * relative(restored, test, train) + 1e-6


@pytest.mark.parametrize("kind", ["uint8", "int64", "min-max scaled"])
def test_small_counts_and_scaled_columns_are_tables(kind):
    rng = np.random.default_rng(SEED)
    age, other = rng.integers(18, 90, 240), rng.integers(0, 256, 240)
    counts = rng.poisson((2 + age / 20)[:, None], (240, 3))
    X = np.column_stack([age, other, counts, age > 50]).astype("uint8" if kind == "uint8" else "i8")
    if kind == "min-max scaled":
        X = (X - X.min(0)) / np.ptp(X, axis=0)
    train, test = X[:180], X[180:].astype(float)
    model = Autoencoder(4, random_state=SEED).fit(train)
    if kind == "min-max scaled":
        pca = PCA(4, svd_solver="full").fit(train)
        restored = pca.inverse_transform(pca.transform(test))
    else:
        _, restored = by_pca(train.astype(float), test, 4)
    spread = train.astype(float)
    left = relative(model.reconstruct(X[180:].astype(X.dtype)).astype(float), test, spread)
    # Rounding to whole numbers adds 1/12 to the squared error, of columns that vary by about 1.
    assert left <= 1.05 * relative(restored, test, spread) + (kind == "uint8") / 12


@pytest.mark.parametrize("name", ["autoencoder", "denoising", "contractive", "variational"])
def test_it_is_saved_parted_and_goes_on_as_any_other(name, tmp_path):
    X = bent(300)
    model = MODELS[name](2, max_epochs=3, early_stopping=False, random_state=SEED).fit(X)
    assert model.spec_.architecture == "pca_residual"
    again = load(model.save(tmp_path / "model"))
    assert again.fingerprint_ == model.fingerprint_
    assert again.history_.start == model.history_.start
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    scaled = model.scaling_(torch.from_numpy(X[:3])).double()
    rows = torch.autograd.functional.jacobian(model.encoder_.double(), scaled).detach()
    norms = np.array([np.linalg.norm(rows[i, :, i]) for i in range(3)])
    model.encoder_.float()
    np.testing.assert_allclose(model.jacobian_norm(X[:3]), norms, rtol=1e-4)
    assert again.partial_fit(X).n_iter_ == 4


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    X, parameters = bent(300), {"max_epochs": 6, "random_state": SEED}
    whole = Autoencoder(2, **parameters).fit(X)
    from narrows.training.progress import on_epoch

    def stop(record):
        if record["epoch"] == 3:
            raise MemoryError

    halves = Autoencoder(2, checkpoint=tmp_path / "state", **parameters)
    with pytest.raises(MemoryError), on_epoch(stop):
        halves.fit(X)
    assert halves.fit(X).fingerprint_ == whole.fingerprint_
    kept = {k: v for k, v in whole.history_.start.items() if k != "seconds"}
    assert kept.items() <= halves.history_.start.items()


def test_partial_fit_starts_at_pca_of_the_first_rows():
    X = mixed()
    model = Autoencoder(2, learning_rate=1e-12, random_state=SEED).partial_fit(X)
    codes, _ = by_pca(X, X, 2)
    np.testing.assert_allclose(model.transform(X), codes, atol=1e-4)


def test_more_numbers_than_directions_are_allowed():
    X = mixed(12)
    model = Autoencoder(9, random_state=SEED).fit(X)
    np.testing.assert_allclose(model.reconstruct(X) / UNITS, X / UNITS, atol=1e-4)
    assert (model.transform(X)[:, 6:] == 0).all()


@pytest.mark.parametrize(
    "parameters",
    [
        {"tied_weights": True},
        {"normalization": "batch"},
        {"residual_blocks": 1},
        {"code_activation": "tanh"},
        {"output": "relu"},
        {"loss": "cross_entropy"},
        {"kernel_size": 3},
    ],
    ids=str,
)
def test_what_does_not_go_with_it_is_refused_by_name_and_otherwise_dense(parameters):
    X = mixed()
    (name,) = parameters
    with pytest.raises(ParameterError, match=name):
        Autoencoder(2, architecture="pca_residual", **parameters).fit(X)
    if name in ("tied_weights", "normalization", "residual_blocks", "code_activation"):
        model = Autoencoder(2, max_epochs=1, random_state=SEED, **parameters).fit(X)
        assert model.spec_.architecture == "dense"


def test_sparse_codes_are_not_linear():
    with pytest.raises(ParameterError, match="SparseAutoencoder"):
        MODELS["sparse"](2, architecture="pca_residual").fit(mixed())
