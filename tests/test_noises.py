"""Noises of cameras: their moments against closed forms, and JPEG against Pillow; all of seed 0."""

import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from sklearn.datasets import load_sample_image

from narrows import DenoisingAutoencoder, load
from narrows.corruption import CORRUPTIONS, LEVELS, Limits, described, levels_of, make
from narrows.errors import ParameterError

UNIT = Limits(torch.tensor(0.0), torch.tensor(1.0))
WIDE = Limits(torch.tensor(-2.0), torch.tensor(5.0))
# From chroma to red, green and blue (JFIF 1.02): R = Y + 1.402 Cr and so on.
FROM_CHROMA = np.array([[0, 1.402], [-0.344136, -0.714136], [1.772, 0]])


def damage(x, kind, level, limits=UNIT, **how):
    rows = torch.as_tensor(x, dtype=torch.float64)
    done = make(kind, level, limits, tuple(rows.shape[1:]), **how)(
        rows, torch.Generator().manual_seed(0)
    )
    assert done.rows.dtype == torch.float64
    return done


def noise(x, kind, level, limits=UNIT, **how):
    return (damage(x, kind, level, limits, **how).rows - torch.as_tensor(x)).numpy()


def correlation(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("limits", [UNIT, WIDE])
@pytest.mark.parametrize("level", [0.05, 0.5])
def test_the_noise_of_a_camera_grows_with_the_light(limits, level):
    """Cumulants: the variance is a x + b, the third is that of Poisson alone, a squared x."""
    shares = np.array([0, 0.1, 0.5, 1])
    width = float(limits.high - limits.low)
    x = float(limits.low) + width * shares[:, None] * np.ones((1, 1_000_000))
    found = noise(x, "poisson_gaussian", level, limits)
    read = (0.2 * level) ** 2
    shot = shares * (level**2 - read)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=5e-3 * level)
    np.testing.assert_allclose(found.var(axis=1), shot + read, rtol=0.02)
    photon = (level**2 - read) / width
    third = (found**3).mean(axis=1)
    np.testing.assert_allclose(third, photon * shot, atol=0.02 * level**3 * max(1, level))


def test_pixels_below_black_have_the_noise_of_black_and_a_constant_column_its_read_noise():
    below = noise(np.full((1, 100_000), -3.0), "poisson_gaussian", 0.5)
    assert below.std() == pytest.approx(0.1, rel=0.02)
    constant = Limits(torch.tensor(2.0), torch.tensor(2.0))
    same = noise(np.full((1, 100_000), 2.0), "poisson_gaussian", 0.5, constant)
    assert same.std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("shape", [(300, 40, 30), (100, 40, 30, 3), (300, 1200)])
def test_correlated_noise_is_shared_by_neighbours(shape):
    found = noise(np.zeros(shape), "correlated", 0.25)
    # Also at the borders.
    np.testing.assert_allclose(found.std(axis=0).mean(), 0.25, rtol=0.02)
    assert found[:, 0].std() == pytest.approx(0.25, rel=0.05)
    for axis in range(1, min(found.ndim, 3)):
        lines = np.moveaxis(found, axis, 1)
        for distance, truth in ((1, 2 / 3), (2, 1 / 6), (3, 0)):
            measured = correlation(lines[:, distance:], lines[:, :-distance])
            assert measured == pytest.approx(truth, abs=0.02)
    if found.ndim == 4:
        assert correlation(found[..., 0], found[..., 1]) == pytest.approx(0, abs=0.02)


def test_channels_of_a_signal_are_no_neighbours():
    found = noise(np.zeros((200, 500, 2)), "correlated", 0.25, signal=True)
    assert found.std() == pytest.approx(0.25, rel=0.02)
    assert correlation(found[..., 0], found[..., 1]) == pytest.approx(0, abs=0.02)
    assert correlation(found[:, 1:], found[:, :-1]) == pytest.approx(2 / 3, abs=0.02)
    with pytest.raises(ParameterError, match="for pictures, the signals have shape"):
        make("stripes", 0.1, UNIT, (500, 2), signal=True)


@pytest.mark.parametrize("shape", [(400, 30, 20), (400, 30, 20, 3)])
def test_stripes_are_lines_with_an_offset_each(shape):
    found = noise(np.zeros(shape), "stripes", 0.25)
    are_rows = np.ptp(found, axis=2).reshape(len(found), -1).max(axis=1) == 0
    are_columns = np.ptp(found, axis=1).reshape(len(found), -1).max(axis=1) == 0
    np.testing.assert_array_equal(are_rows, ~are_columns)
    assert are_rows.mean() == pytest.approx(0.5, abs=0.08)
    if len(shape) == 4:
        assert np.ptp(found, axis=3).max() == 0
        found = found[..., 0]
    for offsets in (found[are_rows][:, :, 0], found[are_columns][:, 0, :]):
        assert stats.kstest(offsets.ravel() / 0.25, "norm").pvalue > 0.01


def test_the_chroma_of_color_noise_is_stronger_and_coarser():
    found = noise(np.zeros((100, 48, 40, 3)), "color_noise", 0.2)
    # covariance = luma (1 1') + chroma (A A'), chroma 1.5 squared times luma
    gains = np.ones((3, 3)) + 1.5**2 * FROM_CHROMA @ FROM_CHROMA.T
    truth = gains * 0.2**2 / np.trace(gains) * 3
    np.testing.assert_allclose(np.cov(found.reshape(-1, 3).T), truth, atol=0.03 * 0.2**2)
    assert math.sqrt((found**2).mean()) == pytest.approx(0.2, rel=0.02)
    luma = found @ (0.299, 0.587, 0.114)
    red = found[..., 0] - luma
    assert red.std() / 1.402 == pytest.approx(1.5 * luma.std(), rel=0.03)
    assert correlation(luma[:, 1:], luma[:, :-1]) == pytest.approx(0, abs=0.02)
    assert correlation(red[:, 1:], red[:, :-1]) == pytest.approx(0.8, abs=0.02)
    assert correlation(red[:, :, 2:], red[:, :, :-2]) == pytest.approx(0.4, abs=0.03)
    grey = noise(np.zeros((100, 48, 40)), "color_noise", 0.2)
    assert stats.kstest(grey.ravel()[::7] / 0.2, "norm").pvalue > 0.01


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [5, 30, 75, 95])
def test_jpeg_is_that_of_pillow(mode, quality):
    """Both sides are no multiples of 16; pixels differ only where a coefficient is a tie."""
    picture = load_sample_image("china.jpg")[:205, 100:409]
    picture = np.asarray(Image.fromarray(picture).convert(mode))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    truth = np.asarray(Image.open(file)).astype(float)
    done = damage(picture[None] / 255.0, "jpeg", 1 - quality / 100).rows[0].numpy() * 255
    lost = np.abs(picture - truth).mean()
    assert np.abs(done - truth).mean() < 0.1 * lost
    assert (np.abs(done - truth) > 1.5).mean() < 0.05
    np.testing.assert_allclose(done, done.round(), atol=1e-6)


def test_jpeg_between_other_ends_and_with_a_quality_for_each_picture():
    picture = load_sample_image("flower.jpg")[:64, :80].astype(float)
    rows = np.stack([picture] * 6) / 255
    several = make("jpeg", (0.2, 0.9), UNIT, rows.shape[1:])(
        torch.from_numpy(rows), torch.Generator().manual_seed(0)
    )
    levels = 0.2 + 0.7 * torch.rand(
        6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    for level, found in zip(levels[:, 0].tolist(), several.rows, strict=True):
        torch.testing.assert_close(found, damage(rows[:1], "jpeg", level).rows[0])
    moved = damage(rows * 7 - 2, "jpeg", 0.5, WIDE).rows
    torch.testing.assert_close(moved, damage(rows, "jpeg", 0.5).rows * 7 - 2, atol=1e-6, rtol=0)
    assert not damage(rows, "jpeg", 0).drawn.any()


@pytest.mark.parametrize("kind", ["gaussian", "poisson_gaussian", "correlated", "color_noise"])
def test_each_row_draws_its_level_from_the_range(kind):
    found = noise(np.ones((400, 40, 40, 3)), kind, (0.1, 0.4))
    levels = np.sqrt((found**2).mean(axis=(1, 2, 3)))
    assert stats.kstest(levels, stats.uniform(0.1, 0.3).cdf).pvalue > 0.01


@pytest.mark.parametrize("kind", ["masking", "salt_and_pepper"])
def test_each_row_draws_its_share_from_the_range(kind):
    shares = damage(np.full((400, 4000), 0.5), kind, (0.1, 0.4)).drawn.double().mean(dim=1)
    assert stats.kstest(shares.numpy(), stats.uniform(0.1, 0.3).cdf).pvalue > 0.01


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_range_of_one_number_is_that_number(kind):
    """Whatever is drawn besides: the distribution over rows has the same mean and spread."""
    x = np.random.default_rng(0).random((600, 8, 8))
    ranged, plain = (damage(x, kind, level).rows.numpy() for level in ((0.3, 0.3), 0.3))
    for moment in (np.mean, np.std):
        one, other = (moment(rows - x, axis=(1, 2)) for rows in (ranged, plain))
        assert stats.ks_2samp(one, other).pvalue > 0.001
    assert not damage(x[:5], kind, (0, 0)).drawn.any()


def test_which_level_is_whose():
    pair, both = (0.1, 0.2), ["gaussian", "masking"]
    assert levels_of("gaussian", pair) == levels_of(["gaussian"], [pair]) == [pair]
    assert levels_of(both, pair) == [0.1, 0.2]
    assert levels_of(both, [pair]) == [pair, pair]
    assert levels_of(both, [pair, "auto"]) == [pair, "auto"]
    assert levels_of(["one_of", *both], [0.3, pair]) == [0.3, pair]
    assert described(["one_of", *both], [0.5, pair]) == "one of gaussian 0.5, masking 0.1 to 0.2"


def test_each_row_has_one_of_several():
    x = np.full((3000, 30), 0.25)
    done = damage(x, ["one_of", "masking", "salt_and_pepper", "gaussian"], [0.9, 0.9, 0.01])
    rows = done.rows.numpy()
    kinds = np.stack(
        [
            np.isin(rows, (0, 0.25)).all(axis=1),
            (rows == 1).any(axis=1),
            (np.abs(rows - 0.25) < 0.1).all(axis=1),
        ]
    )
    np.testing.assert_array_equal(kinds.sum(axis=0), 1)
    np.testing.assert_allclose(kinds.mean(axis=1), 1 / 3, atol=0.03)
    np.testing.assert_array_equal(done.drawn[kinds[2]], True)
    np.testing.assert_array_equal(done.drawn[~kinds[2]], rows[~kinds[2]] != 0.25)
    again = damage(x, ["one_of", "masking", "salt_and_pepper", "gaussian"], [0.9, 0.9, 0.01])
    np.testing.assert_array_equal(again.rows, rows)


def test_models_keep_their_ranges(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    model = DenoisingAutoencoder(
        2,
        corruption=["one_of", "gaussian", "jpeg"],
        corruption_level=[(0.02, 0.2), "auto"],
        architecture="dense",
        max_epochs=2,
        random_state=0,
    ).fit(pictures)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.corruption == ("one_of", "gaussian", "jpeg")
    assert again.corruption_level == ((0.02, 0.2), "auto")
    assert again.loss_terms(pictures, 0) == model.loss_terms(pictures, 0)
    again.partial_fit(pictures)
    plain = DenoisingAutoencoder(2, max_epochs=1, random_state=0).fit(pictures)
    level, reason = plain.choices_["corruption_level"]
    assert (level, reason) == (LEVELS["gaussian"], "of gaussian")


def test_ranges_on_the_command_line(run, tmp_path):
    """The verb `train` reads them, and `info` tells them."""
    np.save(tmp_path / "p.npy", np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8))
    model, how = tmp_path / "model", ["--model", "denoising", "--max-epochs", "1"]

    def train(*options):
        return run("train", tmp_path / "p.npy", "-o", model, *how, *options, "--overwrite")

    train("--corruption-level", "0.02:0.2")
    assert load(model).corruption_level == ((0.02, 0.2),)
    assert "gaussian 0.02 to 0.2" in run("info", model).out
    train("--corruption", "one_of,gaussian,jpeg", "--corruption-level", "0.02:0.2,0.5")
    facts = json.loads(run("info", model, "--json").out)
    assert facts["corruption"] == ["one_of", "gaussian", "jpeg"]
    assert facts["corruption_level"] == [[0.02, 0.2], 0.5]
    assert facts["damage"] == "one of gaussian 0.02 to 0.2, jpeg 0.5"
    wrongs = {
        "0.2:0.02": "=(0.2, 0.02) is",
        "0.1:0.2:0.3": "=(0.1, 0.2, 0.3) is",
        "0.2:": "'0.2:' is not of the form",
        "a:b": "'a:b' is not of the form",
    }
    for wrong, message in wrongs.items():
        refused = train("--corruption-level", wrong)
        assert refused.code == 2
        assert message in refused.err
