"""The plain autoencoder against PCA, scikit-learn's contract and its own promises."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.linalg import subspace_angles
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from narrows import MODELS, Autoencoder, networks
from narrows.errors import (
    DataError,
    DivergedError,
    NarrowsWarning,
    NotFittedError,
    ParameterError,
)
from narrows.networks.activations import Clip
from narrows.training.progress import on_epoch

SEED = 20240501
RNG = np.random.default_rng(SEED)
TABLE = RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 8)) + 3
UNIT = RNG.random((60, 8))
PIXELS = RNG.integers(0, 256, (60, 20)) / 255
GREY = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def quick(**parameters):
    return Autoencoder(**{"n_components": 3, "max_epochs": 2, "random_state": SEED, **parameters})


def checks():
    for model in MODELS.values():
        estimator = model(max_epochs=2)
        for checked, check in estimator_checks_generator(estimator):
            # The first runs only where scipy's experimental array API is switched on, for arrays of
            # libraries that are not installed here. The second wants weighted and repeated rows to
            # give the same in double precision, and from models that draw noise for each row;
            # tests/test_weights.py compares their losses in double precision.
            if check.func.__name__ not in {
                "check_array_api_input",
                "check_sample_weight_equivalence_on_dense_data",
            }:
                yield pytest.param(checked, check, id=f"{model.__name__}-{check.func.__name__}")


@pytest.mark.filterwarnings("ignore")  # some checks provoke warnings of scikit-learn's own
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_contract_holds(estimator, check):
    check(estimator)


def test_linear_autoencoder_spans_the_pca_subspace():
    """Baldi & Hornik (1989): the minimum of the linear network is the PCA subspace."""
    digits = load_digits().data
    train, test = digits[:1437], digits[1437:]
    pca = PCA(8, random_state=SEED).fit(train)
    truth = ((pca.inverse_transform(pca.transform(test)) - test) ** 2).mean()
    model = Autoencoder(
        n_components=8,
        hidden_layer_sizes=(),
        activation="identity",
        architecture="dense",
        scaling="global",
        random_state=SEED,
    ).fit(train)

    assert model.reconstruction_error(test).mean() == pytest.approx(truth, rel=0.01)
    directions = model.inverse_transform(np.eye(8)) - model.inverse_transform(np.zeros((8, 8)))
    angles = subspace_angles(directions.T.astype(np.float64), pca.components_.T)
    assert np.degrees(angles.max()) < 8


def test_deep_autoencoder_beats_pca_on_digits():
    digits = load_digits().images
    train, test = digits[:1437], digits[1437:]
    pca = PCA(16, random_state=SEED).fit(train.reshape(len(train), -1))
    flat = test.reshape(len(test), -1)
    truth = ((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean()
    model = Autoencoder(n_components=16, max_epochs=100, random_state=SEED).fit(train)
    assert model.reconstruction_error(test).mean() < 0.85 * truth


@pytest.mark.parametrize(
    "X", [TABLE, UNIT, PIXELS, GREY, COLOUR, COLOUR / 255], ids=lambda X: str(X.shape)
)
def test_shapes_and_ranges_come_back(X):
    model = quick().fit(X)
    codes = model.transform(X)
    assert codes.shape == (len(X), 3)
    assert codes.dtype == np.float32
    again = model.inverse_transform(codes)
    assert again.shape == X.shape
    np.testing.assert_array_equal(again, model.reconstruct(X))
    if X is not TABLE and X is not UNIT:  # whose columns PCA restores beyond their range
        assert again.min() >= 0
        assert again.max() <= (255 if X.dtype == np.uint8 else 1)


def test_reconstruction_error_is_the_mean_squared_difference_in_the_datas_units():
    model = quick().fit(GREY)
    truth = ((GREY - model.reconstruct(GREY)) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(model.reconstruction_error(GREY), truth, rtol=1e-5)
    np.testing.assert_allclose(model.score_samples(GREY), -truth, rtol=1e-5)
    assert model.score(GREY) == pytest.approx(-truth.mean(), rel=1e-5)


def test_large_offsets_come_back_in_double_precision():
    X = TABLE + 1e6
    model = quick().fit(X)
    restored = model.reconstruct(X)
    assert restored.dtype == np.float64
    truth = np.square(restored - X).mean(axis=1)
    np.testing.assert_allclose(model.reconstruction_error(X), truth, rtol=1e-6)
    # The same rows without the offset are learned alike: nothing is left of it in the error.
    plain = quick().fit(TABLE)
    np.testing.assert_allclose(
        model.reconstruction_error(X), plain.reconstruction_error(TABLE), rtol=1e-3
    )


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_decoder_starts_at_the_mean_row(output, tied):
    spec = networks.NetworkSpec(
        architecture="dense",
        sample_shape=(4, 3),
        n_components=2,
        hidden_layer_sizes=(8,),
        activation="silu",
        code_activation="identity",
        output=output,
        tied_weights=tied,
    )
    mean = torch.linspace(0.05, 0.95, 12).view(4, 3)
    network = networks.build(spec, networks.Start(mean), seed=SEED)
    with torch.no_grad():
        # All biases before the last are 0, and so is silu(0): the last one alone is left.
        restored = network.decoder(torch.zeros(1, 2))[0]
        of_mean = network(mean[None])[0]
    torch.testing.assert_close(restored, mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(of_mean, mean, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "convert",
    [
        torch.from_numpy,
        pd.DataFrame,
        np.ndarray.tolist,
        np.asfortranarray,
        lambda X: X.astype(">f8"),
    ],
)
def test_every_kind_of_array_gives_the_same_codes(convert):
    expected = quick().fit(TABLE).transform(TABLE)
    given = convert(TABLE)
    np.testing.assert_array_equal(quick().fit(given).transform(given), expected)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64, np.uint16, bool])
def test_every_type_of_number_is_taken(kind):
    X = (UNIT > 0.5 if kind is bool else UNIT * 9).astype(kind)
    assert np.isfinite(quick().fit(X).reconstruct(X)).all()


def test_flat_rows_are_taken_for_pictures():
    model = quick().fit(GREY)
    flat = GREY.reshape(40, 30)
    np.testing.assert_array_equal(model.transform(flat), model.transform(GREY))
    assert model.reconstruct(flat).shape == flat.shape


def test_same_seed_same_model_and_another_seed_another():
    codes = quick().fit(UNIT).transform(UNIT)
    np.testing.assert_array_equal(quick().fit(UNIT).transform(UNIT), codes)
    assert not np.array_equal(quick(random_state=1).fit(UNIT).transform(UNIT), codes)


def test_torchs_own_generator_is_left_alone():
    torch.manual_seed(SEED)
    before = torch.get_rng_state()
    quick().fit(UNIT)
    assert torch.equal(before, torch.get_rng_state())


def test_a_rows_code_does_not_depend_on_its_neighbours():
    model = quick(n_components=4, hidden_layer_sizes=(32,)).fit(GREY)
    one_by_one = np.concatenate([model.transform(GREY[i : i + 1]) for i in range(len(GREY))])
    np.testing.assert_allclose(one_by_one, model.transform(GREY), rtol=1e-5, atol=1e-6)


def test_many_rows_are_the_same_rows_many_times():
    """More than go through the network, or are compared, at once."""
    model = quick().fit(GREY)
    which = np.random.default_rng(SEED).integers(len(GREY), size=5000)
    codes, many = model.transform(GREY), model.transform(GREY[which])
    np.testing.assert_allclose(many, codes[which], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.inverse_transform(many), model.inverse_transform(codes)[which], rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(
        model.reconstruction_error(GREY[which]), model.reconstruction_error(GREY)[which], rtol=1e-4
    )


@pytest.mark.parametrize("n_components", [1, 40, 100, 130, 250])
def test_no_layer_is_narrower_than_the_code_by_default(n_components):
    model = quick(n_components=n_components, max_epochs=1, architecture="dense").fit(TABLE)
    linear = [m for m in model.encoder_.modules() if isinstance(m, torch.nn.Linear)]
    widths = [m.out_features for m in linear]
    assert widths[-1] == n_components
    assert widths == sorted(widths, reverse=True)


def test_the_classic_three_layers():
    model = quick(hidden_layer_sizes=()).fit(TABLE)
    weights = [m for m in model.encoder_.modules() if isinstance(m, torch.nn.Linear)]
    assert [tuple(m.weight.shape) for m in weights] == [(3, 8)]


def test_tied_weights_are_one_matrix_after_training_and_loading(tmp_path):
    from narrows import load

    model = quick(hidden_layer_sizes=(7,), tied_weights=True).fit(TABLE)
    again = load(model.save(tmp_path / "model"))
    for trained in (model, again, again.partial_fit(TABLE)):
        encoding = [m.weight for m in trained.encoder_.modules() if isinstance(m, torch.nn.Linear)]
        decoding = [p for name, p in trained.decoder_.named_parameters() if "weight" in name]
        for one, other in zip(encoding, reversed(decoding), strict=True):
            assert torch.equal(one, other)
    half = load(model.split()[1].save(tmp_path / "decoder"))
    codes = model.transform(TABLE)
    np.testing.assert_array_equal(half.inverse_transform(codes), model.inverse_transform(codes))


@pytest.mark.parametrize(
    ("X", "output", "loss"),
    [
        (PIXELS, Clip, "squared_error"),
        (UNIT, torch.nn.Identity, "squared_error"),
        (GREY, Clip, "squared_error"),
        (TABLE, torch.nn.Identity, "squared_error"),
        (UNIT > 0.5, torch.nn.Identity, "squared_error"),
        ((UNIT > 0.5).astype(np.uint8), torch.nn.Identity, "squared_error"),
        ((GREY > 100).astype(np.uint8), torch.nn.Sigmoid, "cross_entropy"),
    ],
)
def test_output_and_loss_follow_the_data(X, output, loss):
    model = quick().fit(X)
    assert isinstance(model.decoder_.output, output)
    # One epoch so slow that the weights do not move: its loss is that of the weights at the end.
    still = quick(early_stopping=False, max_epochs=1, learning_rate=1e-12).fit(X)
    x = still.scaling_(torch.as_tensor(X)).flatten(1).double()
    still.decoder_.train()
    with torch.no_grad():
        y = still.decoder_(still.encoder_(x.float().view(X.shape))).flatten(1).double()
    truth = {
        "squared_error": ((y - x) ** 2).sum(1).mean(),
        "cross_entropy": -(x * y.log() + (1 - x) * (1 - y).log()).sum(1).mean(),
    }[loss]
    assert still.history_["loss"][0] == pytest.approx(float(truth), rel=1e-4)


def test_partial_fit_learns_and_goes_on_from_fit():
    model = quick(learning_rate=1e-2)
    first = model.partial_fit(TABLE).reconstruction_error(TABLE).mean()
    for _ in range(60):
        model.partial_fit(TABLE)
    assert model.reconstruction_error(TABLE).mean() < 0.7 * first
    assert model.n_iter_ == 61
    assert model.history_["epoch"] == list(range(1, 62))
    fitted = quick().fit(TABLE)
    before = fitted.transform(TABLE)
    assert fitted.partial_fit(TABLE[:1]).n_iter_ == 3
    assert not np.array_equal(before, fitted.transform(TABLE))


def test_it_stands_where_pca_stood():
    pipeline = make_pipeline(StandardScaler(), quick(max_epochs=60))
    assert pipeline.fit_transform(TABLE).shape == (60, 3)
    search = GridSearchCV(pipeline, {"autoencoder__n_components": [1, 4]}, cv=2).fit(TABLE)
    assert search.best_params_ == {"autoencoder__n_components": 4}
    assert clone(quick()).get_params() == quick().get_params()
    assert Autoencoder(7).n_components == 7
    frame = quick().set_output(transform="pandas").fit(TABLE).transform(TABLE)
    assert list(frame.columns) == ["autoencoder0", "autoencoder1", "autoencoder2"]


def test_early_stopping_keeps_the_best_weights():
    noise = np.random.default_rng(SEED).normal(size=(100, 20))
    model = Autoencoder(
        n_components=10, max_epochs=200, architecture="dense", random_state=SEED
    ).fit(noise)
    losses = model.history_["validation_loss"]
    assert model.history_.ended == "early_stopping"
    assert model.history_.best_epoch == 1 + int(np.argmin(losses))
    rates = model.history_["learning_rate"]
    halved = sum(rate >= max(rates) / 2 for rate in rates[20:]) + 20
    assert len(losses) == max(model.history_.best_epoch, halved) + model.n_iter_no_change
    held_out = np.random.default_rng(seed_of(model)).permutation(100)[:10]
    x = model.scaling_(torch.from_numpy(noise[held_out]))
    with torch.no_grad():
        loss = ((model.decoder_(model.encoder_(x)) - x) ** 2).sum(1).mean()
    assert float(loss) == pytest.approx(min(losses), rel=1e-4)


def seed_of(model):
    return np.random.RandomState(model.random_state).randint(2**31)


def test_ctrl_c_keeps_what_was_learned():
    def interrupt(record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with on_epoch(interrupt), pytest.warns(UserWarning, match="interrupted after 2 epochs"):
        model = quick(max_epochs=5).fit(UNIT)
    assert model.history_.ended == "interrupted"
    assert np.isfinite(model.reconstruct(UNIT)).all()


def test_divergence_is_an_error_that_says_what_to_do():
    with pytest.raises(DivergedError, match="lower learning_rate"):
        quick(learning_rate=1e30, max_epochs=5).fit(TABLE)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.where(UNIT > 0.9, np.nan, UNIT), "NaN"),
        (np.where(UNIT > 0.9, np.inf, UNIT), "infinity"),
        (np.empty((0, 8)), "0 sample"),
        (UNIT[:1], "1 sample"),
        (np.ones((9, 4)), "constant"),
        (np.ones(9), "Reshape"),
        (np.ones((9, 2, 2, 2, 2)), "5 dimensions"),
        ([[1, 2], [3]], "same shape"),
        (pd.DataFrame({"size": [1, 2], "name": ["a", "b"]}), "'name'"),
    ],
)
def test_data_that_cannot_be_learned_from(X, message):
    model = quick()
    with pytest.raises(DataError, match=message) as caught:
        model.fit(X)
    assert "\n" not in str(caught.value)
    with pytest.raises(NotFittedError, match="not fitted"):
        model.transform(UNIT)


def test_rows_and_codes_of_another_shape():
    model = quick().fit(GREY)
    for X in (GREY[:, :5], GREY.reshape(40, 5, 6), TABLE):
        with pytest.raises(DataError):
            model.transform(X)
    with pytest.raises(DataError, match="3 numbers"):
        model.inverse_transform(np.ones((2, 4)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_components": 0},
        {"n_components": 2.5},
        {"hidden_layer_sizes": 5},
        {"hidden_layer_sizes": (5, -1)},
        {"hidden_layer_sizes": "many"},
        {"activation": "steep"},
        {"code_activation": None},
        {"architecture": "gothic"},
        {"output": "tanh"},
        {"loss": "hinge"},
        {"loss": "cross_entropy"},
        {"output": "sigmoid"},
        {"scaling": "robust"},
        {"max_epochs": 0},
        {"batch_size": -1},
        {"learning_rate": 0},
        {"validation_fraction": 1.0},
        {"validation_fraction": 1e-6},
        {"n_iter_no_change": 0},
        {"device": "abacus"},
    ],
    ids=str,
)
def test_parameters_out_of_range_are_named_in_fit(parameters):
    name = next(iter(parameters))
    with pytest.raises(ParameterError, match=name):
        quick(**parameters).fit(TABLE)


def test_a_failed_fit_leaves_the_model_as_it_was():
    model = quick().fit(TABLE)
    before = model.transform(TABLE)
    for failing in (TABLE[:, :5] * 1e30, np.full((9, 8), 3.0)):
        model.set_params(learning_rate=1e30)
        with pytest.raises((DivergedError, DataError)):
            model.fit(failing)
        np.testing.assert_array_equal(model.transform(TABLE), before)
    with pytest.raises(DivergedError):
        model.partial_fit(TABLE)
    np.testing.assert_array_equal(model.transform(TABLE), before)


def test_rows_equal_but_for_rounding_are_constant():
    with pytest.raises(DataError, match="constant"):
        quick().fit(np.tile([0.1, 0.7, 33333.3, -0.3], (1000, 1)))


def test_values_beyond_single_precision_are_refused():
    with pytest.raises(DataError, match="single precision"):
        quick().fit(TABLE * 1e39)


def test_views_backwards_are_taken():
    model = quick().fit(GREY[::-1, :, ::-1])
    np.testing.assert_array_equal(
        model.transform(GREY[:, :, ::-1]), model.transform(GREY[:, :, ::-1].copy())
    )


def test_paths_of_pictures_are_read_in_the_models_shape_and_units(tmp_path):
    Image.fromarray(GREY[0]).save(tmp_path / "same.png")
    Image.fromarray(GREY[0]).resize((50, 60), Image.Resampling.NEAREST).save(tmp_path / "big.png")
    model = quick().fit(GREY / np.float32(255))
    row = GREY[:1] / np.float32(255)
    np.testing.assert_allclose(model.transform(tmp_path / "same.png"), model.transform(row))
    with pytest.warns(NarrowsWarning, match=r"1 picture of 60 x 50 .* brought to 6 x 5"):
        assert model.transform(str(tmp_path / "big.png")).shape == (1, 3)
    with pytest.warns(NarrowsWarning, match=r"1 picture of 60 x 50 .* brought to 6 x 5"):
        assert model.reconstruct(tmp_path).shape == (2, 6, 5)


def test_the_largest_integers_are_not_taken_for_negative_ones():
    X = np.random.default_rng(SEED).integers(2**62, 2**64 - 1, (60, 4), dtype=np.uint64)
    model, wide = quick().fit(X), quick().fit(X.astype(np.float64))
    np.testing.assert_array_equal(model.transform(X), wide.transform(X.astype(np.float64)))


def test_errors_of_large_data_do_not_overflow():
    X = np.random.default_rng(SEED).normal(size=(50, 4)) * 1e30
    model = quick().fit(X)
    truth = ((model.reconstruct(X) - X) ** 2).mean(axis=1)
    np.testing.assert_allclose(model.reconstruction_error(X), truth)
    assert np.isfinite(model.score(X))


def test_lists_of_tensors_that_learn_are_taken():
    rows = [torch.rand(8, requires_grad=True) for _ in range(20)]
    assert quick().fit(rows).n_features_in_ == 8


def test_a_checkpoint_is_a_path():
    with pytest.raises(ParameterError, match="checkpoint=5 is not allowed; give a path"):
        quick(checkpoint=5).fit(TABLE)
