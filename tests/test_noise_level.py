"""The estimated level of noise, and whether neighbouring pixels share it, against noise added."""

import numpy as np
import pytest

from narrows.data.noise_level import estimate_noise, noise_correlation
from narrows.errors import DataError

SEED = 20261130


def dead_leaves(side=160, channels=1, weave=12):
    """Draw discs that hide one another, (side, side, channels) in 0..255, woven and shaded."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[:side, :side]
    picture = np.full((side, side, channels), 120.0)
    for _ in range(60):
        row, column = rng.uniform(0, side, 2)
        inside = (y - row) ** 2 + (x - column) ** 2 < rng.uniform(8, 40) ** 2
        threads = np.sin(x * rng.uniform(0.2, 1.2)) * np.sin(y * rng.uniform(0.2, 1.2))
        shade = rng.uniform(50, 205, channels) + rng.uniform(-0.3, 0.3) * (x - column)[..., None]
        picture[inside] = (shade + weave * threads[..., None])[inside]
    return picture.clip(30, 225)


@pytest.mark.parametrize("level", [1, 3, 10, 25])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_found_under_texture(level, channels):
    clean = dead_leaves(channels=channels)
    noise = np.random.default_rng(SEED).normal(0, level, clean.shape)
    assert estimate_noise(clean + noise) == pytest.approx(level, rel=0.06, abs=0.3)


def test_texture_is_not_called_noise():
    """Differences of neighbours, by contrast, call it so."""
    clean = dead_leaves()[..., 0]
    differences = np.diff(clean, axis=0)[:, 1:] - np.diff(clean, axis=0)[:, :-1]
    assert np.median(np.abs(differences)) / 0.6745 / 2 > 1.0
    assert estimate_noise(clean) < 0.2


def test_the_level_is_in_the_units_of_the_picture():
    noisy = dead_leaves() + np.random.default_rng(SEED).normal(0, 8, (160, 160, 1))
    level = estimate_noise(noisy)
    for scale in (1 / 255, 257.0, 1e300, 1e-300):
        assert estimate_noise(noisy * scale + scale) == pytest.approx(level * scale)
    whole = np.rint(noisy * 257).astype(np.uint16)
    assert estimate_noise(whole) == pytest.approx(level * 257, rel=1e-3)
    assert estimate_noise(noisy[..., 0].astype(np.float32)) == pytest.approx(level, rel=1e-3)


def test_channels_count_by_their_squares():
    rng = np.random.default_rng(SEED)
    noisy = rng.normal(0, (3, 4, 12), (200, 200, 3))
    assert estimate_noise(noisy) == pytest.approx(np.sqrt((9 + 16 + 144) / 3), rel=0.03)


def test_clipped_places_do_not_count():
    """Of a picture half of which is white, the other half tells; and near white, the noise."""
    rng = np.random.default_rng(SEED)
    picture = np.full((200, 200), 100.0)
    picture[:, 90:] = 255
    picture += rng.normal(0, 12, picture.shape)
    assert estimate_noise(picture.clip(0, 255).round().astype(np.uint8)) == pytest.approx(
        12, rel=0.05
    )
    near = rng.normal(240, 10, (200, 200)).clip(0, 255)
    assert near.std() < 9.5
    assert estimate_noise(near) == pytest.approx(10, rel=0.05)
    strong = (dead_leaves() + rng.normal(0, 50, (160, 160, 1))).clip(0, 255).round()
    assert estimate_noise(strong.astype(np.uint8)) == pytest.approx(50, rel=0.06)


@pytest.mark.parametrize("hidden", [0.05, 0.6])
def test_missing_pixels_do_not_count(hidden):
    rng = np.random.default_rng(SEED)
    noisy = rng.normal(100, 7, (200, 200))
    gaps = rng.random(noisy.shape) < hidden
    noisy[gaps] = np.where(rng.random(gaps.sum()) < 0.5, np.nan, np.inf)
    assert estimate_noise(noisy) == pytest.approx(7, rel=0.06)


@pytest.mark.parametrize(
    "picture",
    [
        np.full((50, 40), 7.0),
        np.full((50, 40, 3), 255, np.uint8),
        np.full((30, 30), np.nan),
        np.random.default_rng(SEED).random((90, 90)) < 0.3,  # a bilevel scan
        (np.random.default_rng(SEED).random((9, 9)) < 0.3) * np.uint8(255),
        np.add.outer(np.arange(60.0), 2 * np.arange(50.0)),
        np.zeros((1, 1)),
        np.array([[3, 9]], np.uint8),
    ],
)
def test_pictures_without_noise_have_none(picture):
    assert estimate_noise(picture) == pytest.approx(0, abs=1e-9)
    assert noise_correlation(picture) == 0


@pytest.mark.parametrize(
    "shape", [(3, 3), (7, 7), (16, 16), (24, 24), (40, 40), (1, 300), (500, 1), (2, 300)]
)
def test_small_and_thin_pictures_have_about_the_level_in_the_mean(shape):
    rng = np.random.default_rng(SEED)
    found = [estimate_noise(rng.normal(50, 7, shape)) for _ in range(30)]
    assert np.mean(found) == pytest.approx(7, rel=0.2)


def test_large_pictures_are_sampled_and_give_the_same_each_time():
    noisy = np.random.default_rng(SEED).normal(100, 7, (1800, 1200)).astype(np.float32)
    assert estimate_noise(noisy) == estimate_noise(noisy) == pytest.approx(7, rel=0.03)


def test_correlation_is_that_of_the_noise_and_not_of_the_picture():
    clean = dead_leaves(weave=0)[..., 0]
    noise = np.random.default_rng(SEED).normal(0, 10, (161, 161))
    assert noise_correlation(clean + noise[1:, 1:]) == pytest.approx(0, abs=0.1)
    along = noise[1:, 1:] + noise[1:, :-1]  # neighbours along rows correlate by 1/2
    assert noise_correlation(clean + along) == pytest.approx(0.5, abs=0.1)
    assert noise_correlation((clean + along).T) == pytest.approx(0.5, abs=0.1)
    against = noise[1:, 1:] - 0.5 * noise[1:, :-1]  # -0.5 / (1 + 0.25)
    assert noise_correlation(clean + against) == pytest.approx(-0.4, abs=0.1)


def test_correlation_finds_stripes_and_enlarged_noise():
    rng = np.random.default_rng(SEED)
    stripes = np.repeat(rng.normal(0, 10, (1, 160)), 160, axis=0)
    assert noise_correlation(stripes) == pytest.approx(1, abs=0.02)
    assert noise_correlation(stripes + rng.normal(0, 5, (160, 160))) > 0.4  # 0.8 of the whole
    twice = rng.normal(0, 10, (80, 80)).repeat(2, axis=0).repeat(2, axis=1)
    assert noise_correlation(twice) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros(4), "not on 4"),
        (np.zeros((2, 4, 4, 3)), "not on 2 x 4 x 4 x 3"),
        (np.zeros((0, 4)), "not on 0 x 4"),
        (np.float64(3), "not on a single number"),
        (np.zeros((4, 4), complex), "not on complex128"),
    ],
)
@pytest.mark.parametrize("measure", [estimate_noise, noise_correlation])
def test_what_is_no_picture_is_refused(measure, given, said):
    with pytest.raises(DataError, match=said):
        measure(given)
