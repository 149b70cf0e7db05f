"""Learning to denoise from noisy rows alone; all of seed 0."""

import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from narrows import Autoencoder, DenoisingAutoencoder, EncoderClassifier, load
from narrows.corruption import Limits, make
from narrows.errors import DataError, NarrowsWarning, ParameterError
from narrows.evaluation.parts import damage
from narrows.models.base import Objective
from narrows.models.blind_spot import Noise, predict, restore
from narrows.signals import Windows, denoise

UNIT = Limits(torch.tensor(0.0), torch.tensor(1.0))
RNG = np.random.default_rng(0)
CLEAN = np.stack([gaussian_filter(RNG.random((32, 32)), 2.5) for _ in range(60)])
CLEAN = 55 + 145 * (CLEAN - CLEAN.min()) / np.ptp(CLEAN)
NOISY = CLEAN + RNG.normal(0, 25, CLEAN.shape)


def quick(**parameters):
    own = {"architecture": "fully_convolutional", "hidden_layer_sizes": (8,), "max_epochs": 2}
    own |= {"corruption": "blind_spot"}
    return DenoisingAutoencoder(8, random_state=0, **{**own, **parameters})


@pytest.fixture(scope="module")
def model():
    return quick(max_epochs=100, learning_rate=0.01).fit(NOISY)


def hidden(shape, level, **how):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    done = make("blind_spot", level, UNIT, tuple(shape[1:]), **how)(
        x, torch.Generator().manual_seed(0)
    )
    return x.numpy(), done.rows.numpy(), done.drawn.numpy()


@pytest.mark.parametrize("shape", [(40, 12, 9), (40, 12, 9, 3)])
@pytest.mark.parametrize("step", [2, 3, 4])
def test_pixels_on_a_grid_get_the_mean_of_their_neighbours(shape, step):
    x, seen, drawn = hidden(shape, step**-2)
    np.testing.assert_array_equal(seen[~drawn], x[~drawn])
    weights = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]])
    offsets = set()
    for row, now, mask in zip(x, seen, drawn, strict=True):
        places = np.argwhere(mask.reshape(12, 9, -1).any(axis=2))
        assert mask.reshape(12, 9, -1)[tuple(places.T)].all()  # all channels of a pixel
        offsets.add(tuple(places[0] % step))
        np.testing.assert_array_equal(
            places % step, np.broadcast_to(places[0] % step, places.shape)
        )
        assert len(places) == len(range(places[0][0], 12, step)) * len(range(places[0][1], 9, step))
        around = np.pad(row, [(1, 1), (1, 1)] + [(0, 0)] * (row.ndim - 2), mode="reflect")
        for i, j in places:
            part = around[i : i + 3, j : j + 3]
            np.testing.assert_allclose(now[i, j], np.tensordot(weights, part, 2) / 12)
    assert len(offsets) > step**2 / 2


def test_samples_of_a_signal_are_hidden_along_time_alone():
    x, seen, drawn = hidden((40, 50, 2), 1 / 5, signal=True)
    np.testing.assert_array_equal(drawn[..., 0], drawn[..., 1])
    np.testing.assert_array_equal(drawn.sum(axis=1), 10)
    inner = drawn[:, 1:-1]
    mean = (x[:, 2:] + x[:, :-2]) / 2
    np.testing.assert_allclose(seen[:, 1:-1][inner], mean[inner])
    _, _, single = hidden((40, 50), 1 / 5, signal=True)
    np.testing.assert_array_equal(single.sum(axis=1), 10)


def test_a_range_draws_a_grid_for_each_row():
    _, _, drawn = hidden((200, 24, 24), (1 / 16, 1 / 4))
    shares = {round(1 / float(row.mean())) for row in drawn}
    assert shares == {4, 9, 16}


@pytest.mark.parametrize("level", [1 / 4, 1 / 9])
def test_the_loss_is_that_of_hidden_pixels_alone(level):
    model = quick(corruption_level=level).fit(NOISY)
    rows = torch.as_tensor(NOISY[:6])
    network = torch.nn.Module()
    network.encoder, network.decoder = model.encoder_, model.decoder_
    objective = Objective(model, network, model._settings(6, 0), 6)
    found = objective(network, rows, torch.Generator().manual_seed(3))["reconstruction"]
    x = model.scaling_(rows)
    seen, drawn = make("blind_spot", level, UNIT, (32, 32))(x, torch.Generator().manual_seed(3))
    made = model.decoder_(model.encoder_(seen))
    truth = ((made - x) ** 2)[drawn].sum() / 6
    torch.testing.assert_close(found, truth)
    (gradient,) = torch.autograd.grad(
        objective(network, rows.requires_grad_(), torch.Generator().manual_seed(3))[
            "reconstruction"
        ],
        rows,
    )
    assert gradient[drawn].abs().min() > 0  # as targets


@pytest.mark.parametrize("step", [2, 3])
def test_a_prediction_does_not_depend_on_its_own_pixel(step):
    model = quick(corruption_level=step**-2).fit(NOISY)
    picture = NOISY[:1, :20, :25].copy()
    before = predict(model, picture)
    for place in [(0, 0), (7, 11), (19, 24), (10, 0)]:
        changed = picture.copy()
        changed[(0, *place)] += 100
        after = predict(model, changed)
        assert after[(0, *place)] == before[(0, *place)]
        assert np.abs(after - before).max() > 0.5  # those of its neighbours do
    # ... nor on where the picture begins, but for its borders.
    part = predict(model, picture[:, 4:, 4:])
    np.testing.assert_allclose(part[0, 8:-8, 8:-8], before[0, 12:-8, 12:-8], atol=1e-3)


def test_the_pixels_own_value_is_brought_back_by_the_posterior_mean(model):
    noise = Noise(20.0, 40.0)
    picture = NOISY[:1]
    mu = predict(model, picture).astype(float)
    share = ((mu - model.scaling_.low) / (model.scaling_.high - model.scaling_.low)).clip(0, 1)
    own = 20.0**2 + share * (40.0**2 - 20.0**2)
    excess = np.pad(((picture - mu) ** 2 - own)[0], 4, mode="reflect")
    truth = np.empty_like(mu[0])
    for i in range(32):
        for j in range(32):
            v = max(0, excess[i : i + 9, j : j + 9].mean())
            s = own[0, i, j]
            truth[i, j] = (s * mu[0, i, j] + v * picture[0, i, j]) / (s + v)
    np.testing.assert_allclose(restore(model, picture, noise)[0], truth, rtol=1e-4)
    np.testing.assert_array_equal(restore(model, picture, None), predict(model, picture))


def test_noisy_pictures_teach_their_own_denoiser(model, tmp_path):
    errors = [np.square(found - CLEAN).mean() for found in (model.denoise(NOISY), NOISY)]
    assert errors[0] < 0.2 * errors[1]
    # Halfway from black to white, where the pictures are.
    noise = np.hypot(model.noise_at_black_, model.noise_at_white_) / np.sqrt(2)
    assert noise == pytest.approx(25, rel=0.1)
    assert model.score(NOISY, CLEAN) == pytest.approx(-errors[0])
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.denoise(NOISY[:2]), model.denoise(NOISY[:2]))


def test_noise_that_grows_with_the_light_is_measured():
    rng = np.random.default_rng(0)
    clean = np.repeat(np.linspace(20, 235, 60), 32 * 32).reshape(60, 32, 32)
    noisy = clean + rng.normal(size=clean.shape) * np.sqrt(8**2 + (24**2 - 8**2) * clean / 255)
    noisy = noisy.clip(0, 255).round().astype(np.uint8)
    fitted = DenoisingAutoencoder(
        1, corruption="blind_spot", architecture="pca_residual", random_state=0
    ).fit(noisy)
    assert fitted.noise_at_black_ == pytest.approx(8, rel=0.1)
    assert fitted.noise_at_white_ == pytest.approx(24, rel=0.1)


def test_noisy_signals_teach_their_own_denoiser():
    t = np.arange(3000)
    clean = np.sin(t / 9) + 0.5 * np.sin(t / 23)
    noisy = clean + np.random.default_rng(0).normal(0, 0.3, len(t))
    fitted = DenoisingAutoencoder(
        8,
        corruption="blind_spot",
        architecture="dense",
        hidden_layer_sizes=(64,),
        max_epochs=30,
        random_state=0,
    ).fit(Windows(noisy, 64, hop=4))
    restored = denoise(fitted, noisy)
    assert np.square(restored - clean).mean() < 0.3 * 0.3**2


@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 160, 150), np.uint16), ((1, 96, 96, 2), float), ((2, 130, 120, 3), np.uint8)],
)
def test_one_picture_is_enough(shape, dtype):
    rng = np.random.default_rng(0)
    clean = gaussian_filter(rng.random(shape), (0, 3, 3, 0)[: len(shape)])
    clean = 60 + 130 * (clean - clean.min()) / np.ptp(clean)
    unit = 256 if dtype == np.uint16 else 1
    noisy = ((clean + rng.normal(0, 15, shape)) * unit).astype(dtype)
    model = DenoisingAutoencoder(
        corruption="blind_spot",
        hidden_layer_sizes=(8, 8),
        architecture="restoring",
        batch_size=8,
        max_epochs=2,
        random_state=0,
    )
    with pytest.warns(NarrowsWarning, match="64 x 64 at full resolution were cut out of") as caught:
        model.fit(noisy, sample_weight=np.ones(len(noisy)))
    (cropped,) = [w.message for w in caught if w.message.kind == "pictures_cropped"]
    assert cropped.facts["pictures"] == len(noisy)
    assert model.sample_shape_ == (64, 64, *shape[3:])
    restored = model.denoise(noisy) / unit
    assert restored.shape == shape
    assert np.square(restored - clean).mean() < 0.3 * 15**2
    again = model.resume(noisy, max_epochs=3)
    assert again.n_iter_ == 3


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (lambda: Autoencoder(2, corruption="blind_spot"), "use DenoisingAutoencoder"),
        (lambda: quick(intact_weight=1), "intact_weight=1 does not go with"),
        (lambda: quick(corrupted_weight=0), "leave nothing to learn"),
        (lambda: quick().set_params(corruption=["gaussian", "blind_spot"]), "'blind_spot' alone"),
        (lambda: quick().set_params(corruption=["one_of", "blind_spot", "jpeg"]), "alone"),
    ],
)
def test_contradictions_are_refused(make_model, message):
    with pytest.raises(ParameterError, match=message):
        make_model().fit(NOISY)


def test_other_refusals():
    with pytest.raises(DataError, match="leave y out"):
        quick().fit(NOISY, CLEAN)
    with pytest.raises(ParameterError, match="for pictures and signals"):
        quick(architecture="dense").fit(NOISY[:, 0])
    with pytest.raises(ParameterError, match="use DenoisingAutoencoder"):
        EncoderClassifier(corruption="blind_spot").fit(NOISY, np.arange(60) % 2)


def test_noise_that_neighbours_share_is_warned_of():
    shared = make("correlated", 0.1, UNIT, (32, 32))(
        torch.as_tensor(CLEAN / 255), torch.Generator().manual_seed(0)
    )
    with pytest.warns(NarrowsWarning, match=r"correlates by 0\.[567]") as caught:
        quick(max_epochs=1).fit(shared.rows.numpy() * 255)
    (warned,) = [w.message for w in caught if w.message.kind == "noise_correlated"]
    assert warned.facts["correlation"] == pytest.approx(2 / 3, abs=0.12)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", NarrowsWarning)
        quick(max_epochs=1).fit(NOISY)
    assert "noise_correlated" not in [w.message.kind for w in caught]


def test_noisy_on_the_command_line(run, tmp_path):
    np.save(tmp_path / "noisy.npy", NOISY)
    how = ["--architecture", "fully_convolutional", "--max-epochs", "1", "-o", "model"]
    made = run("train", "noisy.npy", *how, "--noisy", "--json")
    assert made.code == 0
    assert made.json["model"] == "DenoisingAutoencoder"
    assert made.json["chosen"]["learning_rate"]["value"] == 0.003 / 2
    facts = run("info", "model", "--json").json
    assert facts["corruption"] == "blind_spot"
    assert facts["noise_at_black"] == float(load(tmp_path / "model").noise_at_black_)
    run("denoise", "model", "noisy.npy", "-o", "clean.npy")
    restored = load(tmp_path / "model").denoise(NOISY)
    np.testing.assert_allclose(np.load(tmp_path / "clean.npy"), restored, rtol=1e-5)
    for more, message in [
        (["--corruption", "gaussian"], "leave out --corruption gaussian"),
        (["--resume", "model"], "--noisy does not go with --resume"),
        (["--for", "anomalies"], "--noisy does not go with --for"),
        (["--model", "sparse"], "use DenoisingAutoencoder (--model denoising)"),
    ]:
        refused = run("train", "noisy.npy", *how, "--overwrite", "--noisy", *more)
        assert refused.code == 2
        assert message in refused.err


def test_reports_leave_rows_that_are_noisy_as_they_are(model):
    assert damage(model, NOISY, 0) is None
    other = quick().fit(NOISY)
    assert hasattr(other, "noise_at_black_")
    other.set_params(corruption="masking").fit(NOISY)
    assert damage(other, NOISY, 0) is not None
    assert not hasattr(other, "noise_at_black_")  # of the fit before
