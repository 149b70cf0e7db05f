"""Models of pictures that start at PCA, and the order and the signs of codes."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from narrows import (
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    VariationalAutoencoder,
    load,
)
from narrows.errors import ParameterError
from narrows.networks.activations import Clip

pytestmark = pytest.mark.cases

SEED = 20261130
PIXELS = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)


def flat(X):
    return X.reshape(len(X), -1).astype(np.float64)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("uint8", (8, 8)),
        ("uint8", (64,)),
        ("from 0 to 1", (8, 8)),
        ("from 0 to 1", (64,)),
        ("other floats", (8, 8)),
    ],
)
def test_a_linear_request_on_pictures_is_pca(shape, kind):
    X = PIXELS[:300].reshape(-1, *shape)
    unit = 1.0
    if kind == "from 0 to 1":
        X, unit = X / np.float32(255), 1 / 255
    elif kind == "other floats":
        X = (X * 3.0 - 100).astype(np.float32)
        unit = 3.0
    model = Autoencoder(5, hidden_layer_sizes=(), scaling="auto", random_state=SEED).fit(X)
    assert (model.spec_.architecture, len(model.history_)) == ("pca_residual", 0)
    pca = PCA(5, svd_solver="full").fit(flat(X))
    scores, codes = pca.transform(flat(X)), model.transform(X).astype(np.float64)
    ratio = codes.std(0) / scores.std(0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    np.testing.assert_allclose(codes, scores * ratio, atol=1e-4 * np.abs(codes).max())
    restored = pca.inverse_transform(scores)
    if kind == "uint8":  # the model writes shades
        assert np.abs(flat(model.reconstruct(X)) - restored).max() < 1e-3 * 255
    else:
        np.testing.assert_allclose(flat(model.reconstruct(X)), restored, atol=1e-4 * unit * 255)


@pytest.mark.parametrize("loader", [load_wine, load_breast_cancer])
def test_a_linear_request_on_a_table_is_pca_of_standardised_columns(loader):
    X = loader().data
    scaler = StandardScaler().fit(X)
    pca = PCA(4, svd_solver="full").fit(scaler.transform(X))
    model = Autoencoder(4, hidden_layer_sizes=(), random_state=SEED).fit(X)
    np.testing.assert_allclose(model.transform(X), pca.transform(scaler.transform(X)), atol=2e-5)


def test_the_first_weights_are_pca_within_the_bounds():
    model = Autoencoder(
        6, hidden_layer_sizes=(9, 7), max_epochs=1, learning_rate=1e-12, early_stopping=False
    ).fit(PIXELS[:300])
    assert (model.spec_.architecture, model.spec_.output) == ("pca_residual", "clip")
    pca = PCA(6, svd_solver="full").fit(flat(PIXELS[:300]))
    restored = pca.inverse_transform(pca.transform(flat(PIXELS[:300])))
    np.testing.assert_allclose(
        flat(model.reconstruct(PIXELS[:300])), np.clip(restored, 0, 255), atol=0.01
    )
    assert "PCA" in model.choices_["architecture"].reason


@pytest.mark.parametrize(
    ("kind", "size", "n_rows", "architecture"),
    [
        (Autoencoder, 3, 120, "pca_residual"),
        (Autoencoder, 2, 500, "dense"),
        (Autoencoder, 2, 499, "pca_residual"),
        (VariationalAutoencoder, 8, 120, "dense"),
        (DenoisingAutoencoder, 8, 120, "dense"),
        (ContractiveAutoencoder, 8, 120, "dense"),
    ],
)
def test_auto_starts_at_pca_where_that_is_better(kind, size, n_rows, architecture):
    """See `python -m benchmarks.starts`."""
    model = kind(size, max_epochs=1, random_state=SEED).fit(PIXELS[:n_rows])
    assert model.spec_.architecture == architecture


@pytest.mark.parametrize("k", [1, 2])
def test_maps_of_answers_are_not_worse_than_by_pca(k):
    """Twenty questions of five answers from 0 to 1 look like pixels."""
    rng = np.random.default_rng(9)
    hidden = rng.normal(size=(350, 3)) @ rng.normal(size=(3, 20)) + 0.7 * rng.normal(size=(350, 20))
    X = np.clip(np.rint((hidden / 3 + 0.5) * 4), 0, 4) / 4
    train, test = X[:200], X[200:]
    pca = PCA(k).fit(train)
    left = np.square(pca.inverse_transform(pca.transform(test)) - test).mean()
    model = Autoencoder(k, random_state=SEED).fit(train)
    assert model.choices_["scaling"].value == "unit"
    assert np.square(model.reconstruct(test) - test).mean() <= 1.02 * left


def test_of_200_pictures_training_is_kept():
    """Two paired t tests on 20 held-out pictures agree that it is better."""
    train, test = PIXELS[:200], PIXELS[1000:]
    model = Autoencoder(8, random_state=0).fit(train)
    assert model.history_.best_epoch > 0
    pca = PCA(8, svd_solver="full").fit(flat(train))
    left = np.square(pca.inverse_transform(pca.transform(flat(test))) - flat(test)).mean()
    error = np.square(flat(model.reconstruct(test)) - flat(test)).mean()
    assert error < 0.9 * left


def test_clip_has_a_slope_outside_only_while_training():
    clip, y = Clip(), torch.tensor([-2.0, 0.25, 3.0], requires_grad=True)
    clip(y).sum().backward()
    np.testing.assert_allclose(y.grad, [0.02, 1.0, 0.02], rtol=1e-6)
    np.testing.assert_allclose(clip(y).detach(), [-0.04, 0.25, 1.04], rtol=1e-6)
    np.testing.assert_array_equal(clip.eval()(y).detach(), [0, 0.25, 1])


@pytest.mark.parametrize("n_rows", [40, 300])
def test_what_is_restored_stays_within_the_bounds(n_rows, tmp_path):
    """Of few rows and of many, as trained and as loaded, of rows that PCA takes beyond them."""
    model = Autoencoder(3, max_epochs=1, random_state=SEED).fit(PIXELS[:n_rows])
    far = model.transform(255 - PIXELS[:n_rows]) * 3
    restored = model.inverse_transform(far)
    assert (restored.min(), restored.max()) == (0, 255)
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.inverse_transform(far), restored)


def test_clip_needs_bounded_data_and_a_sigmoid_can_be_asked_for():
    with pytest.raises(ParameterError, match="clip"):
        Autoencoder(2, output="clip").fit(load_wine().data)
    model = Autoencoder(4, output="sigmoid", max_epochs=2, random_state=SEED).fit(PIXELS[:200])
    assert (model.spec_.architecture, model.spec_.output) == ("dense", "sigmoid")


def test_pictures_of_zeros_and_ones_keep_their_likelihood():
    bits = (PIXELS[:200] > 127).astype(np.uint8)
    model = Autoencoder(4, max_epochs=2, random_state=SEED).fit(bits)
    assert (model.spec_.output, model.loss_) == ("sigmoid", "cross_entropy")
    for X in (bits, flat(bits)):
        model = VariationalAutoencoder(4, max_epochs=2, random_state=SEED).fit(X)
        assert model.loss_ == "bernoulli"


def test_columns_of_zeros_and_ones_are_never_restored_much_worse_than_by_pca():
    rng = np.random.default_rng(SEED)
    kinds = rng.integers(0, 4, 120)
    X = np.hstack([np.eye(5)[(kinds * i + rng.integers(0, 2, 120)) % 5] for i in (1, 2, 3, 4)])
    train, test = X[:96], X[96:]
    model = Autoencoder(8, random_state=SEED).fit(train)
    pca = PCA(8, svd_solver="full").fit(train)
    left = np.square(pca.inverse_transform(pca.transform(test)) - test).mean()
    assert np.square(model.reconstruct(test) - test).mean() <= 1.05 * left


@pytest.mark.parametrize(
    "make", [Autoencoder, ContractiveAutoencoder, VariationalAutoencoder], ids=lambda x: x.__name__
)
@pytest.mark.parametrize("architecture", ["auto", "dense", "convolutional"])
def test_codes_come_by_descending_variance_with_the_signs_of_pca(make, architecture):
    X = PIXELS[:400]
    parameters = {"max_epochs": 3, "early_stopping": False, "architecture": architecture}
    model = make(4, random_state=SEED, **parameters).fit(X)
    codes = model.transform(X).astype(np.float64)
    variances = codes.var(0)
    assert (np.diff(variances) <= 1e-4 * variances[0]).all()
    pixels = flat(X)
    covariances = (codes - codes.mean(0)).T @ (pixels - pixels.mean(0))
    largest = np.take_along_axis(covariances, np.abs(covariances).argmax(1)[:, None], 1)
    assert (largest > 0).all()
    encoder, decoder = model.split()
    np.testing.assert_array_equal(
        decoder.inverse_transform(encoder.transform(X)), model.reconstruct(X)
    )


def test_a_subclass_that_tells_units_apart_keeps_its_order():
    class FirstIsSmall(Autoencoder):
        """Keeps the first unit near zero."""

        def penalties(self, objective, trace, generator):
            own = {"first": 1e3 * trace.mean(trace.code[:, 0] ** 2)}
            return {**super().penalties(objective, trace, generator), **own}

    model = FirstIsSmall(3, max_epochs=10, random_state=SEED, early_stopping=False).fit(
        load_wine().data
    )
    codes = model.transform(load_wine().data)
    assert codes[:, 0].var() < 0.1 * codes[:, 1:].var(0).min()


@pytest.mark.parametrize("name", ["plain", "variational"])
def test_a_model_of_pictures_is_saved_parted_and_goes_on(name, tmp_path):
    make = Autoencoder if name == "plain" else VariationalAutoencoder
    X = PIXELS[:300]
    given = {"architecture": "pca_residual", "random_state": SEED, "early_stopping": False}
    model = make(4, max_epochs=3, **given).fit(X)
    assert model.spec_.output.endswith("clip")
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    longer = again.resume(X, max_epochs=5)
    whole = make(4, max_epochs=3, **given).fit(X)
    assert whole.resume(X, max_epochs=5).fingerprint_ == longer.fingerprint_
    scaled = model.scaling_(torch.from_numpy(X[:3])).double()
    rows = torch.autograd.functional.jacobian(model.encoder_.double(), scaled).detach()
    norms = np.array([np.linalg.norm(rows[i, :, i]) for i in range(3)])
    model.encoder_.float()
    np.testing.assert_allclose(model.jacobian_norm(X[:3]), norms, rtol=1e-4)


def test_halves_of_pictures_are_exported(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    from narrows.onnx import OnnxEncoder, export

    X = PIXELS[:200]
    model = Autoencoder(4, max_epochs=3, random_state=SEED).fit(X)
    np.testing.assert_allclose(OnnxEncoder(model).transform(X), model.transform(X), atol=1e-5)
    session = runtime.InferenceSession(export(model.split()[1], tmp_path / "decoder.onnx"))
    codes = 3 * model.transform(X)  # far enough for values beyond the bounds
    (made,) = session.run(None, {"codes": codes})
    assert made.min() >= 0
    assert made.max() <= 255
    np.testing.assert_allclose(made, model.inverse_transform(codes), atol=1e-3)


def test_a_run_of_a_sigmoid_that_was_chosen_before_goes_on(tmp_path):
    """Until they started at PCA, models of pictures were dense and ended in a sigmoid."""
    X = PIXELS[:300]
    parameters = {"max_epochs": 2, "random_state": SEED, "early_stopping": False}
    old = Autoencoder(4, architecture="dense", **parameters).fit(X)
    model = load(old.save(tmp_path / "old"))
    facts = {**old._run_state.facts["parameters"], "architecture": "auto"}
    model.set_params(architecture="auto")._run_state = old._run_state.with_facts(parameters=facts)
    longer = model.resume(X, max_epochs=4)
    assert (longer.architecture, longer.spec_.architecture) == ("auto", "dense")
    assert longer.fingerprint_ == old.resume(X, max_epochs=4).fingerprint_
