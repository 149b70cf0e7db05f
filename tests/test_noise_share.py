"""How far pictures are changed: the share that is best in the mean of squares, and no harm.

The truth is the least-squares share of a change c for a noise n: -<n, c> / <c, c>. Seeds 0 to 3.
"""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from narrows import DenoisingAutoencoder
from narrows.builtin import denoiser
from narrows.data.tones import Tones, own_tones
from narrows.models.picture_restorer import PictureRestorer, is_of_noise

WHITE = 255


def shapes(seed, side=160):
    """Disks of many brightnesses on waves, with fine texture in a quarter of the picture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    picture = 128 + 60 * np.sin(x / 19 + seed) * np.cos(y / 23)
    for _ in range(14):
        top, left, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(4, 30)
        picture[(y - top) ** 2 + (x - left) ** 2 < radius**2] = rng.uniform(25, 230)
    quarter = picture[: side // 2, : side // 2]
    quarter += 12 * np.sin(x[: side // 2, : side // 2] * 1.3) * np.sin(y[: side // 2, : side // 2])
    return picture.clip(25, 230)


def page(size):
    """A page of text, black on white."""
    picture = Image.new("L", (200, 200), WHITE)
    rng, font = np.random.default_rng(size), ImageFont.load_default(size)
    for top in range(8, 190, int(1.4 * size)):
        words = "".join(rng.choice(list("abcdefg hijklm no pqrst uvwxyz"), 50))
        ImageDraw.Draw(picture).text((8, top), words, 0, font=font)
    return np.asarray(picture, np.float64)


def squares(side):
    """Black and white squares, as in a QR code."""
    bits = np.random.default_rng(side).integers(0, 2, (160 // side, 160 // side))
    return WHITE * np.kron(bits, np.ones((side, side)))


def stars():
    rng, picture = np.random.default_rng(0), np.zeros((160, 160))
    picture[rng.integers(0, 160, 90), rng.integers(0, 160, 90)] = WHITE
    return picture


def noisy(clean, deviation, seed):
    return clean + deviation * np.random.default_rng(seed).normal(size=clean.shape)


def restored(given, **how):
    restorer = PictureRestorer(lambda n: denoiser(1) if n == 1 else None, **how)
    made = given.copy()
    return made, restorer.restore(made, [0], False, Tones(0, WHITE))


def best_share(clean, given):
    made, _ = restored(given, even_if_clean=True)
    change, noise = made.astype(np.float64) - given, given - clean
    return min(1.0, -(noise * change).mean() / (change**2).mean())


@pytest.mark.parametrize("level", [3, 10, 25])
def test_the_share_is_the_best_one_for_independent_noise(level):
    found, best = [], []
    for seed in range(3):
        clean = shapes(seed)
        given = noisy(clean, level, seed).astype(np.float32)
        found.append(restored(given)[1].share)
        best.append(best_share(clean, given))
    assert np.mean(found) == pytest.approx(np.mean(best), abs=0.15)


@pytest.mark.parametrize("level", [3, 10, 25])
def test_shares_by_place_restore_as_well_as_the_best_single_share(level):
    """The single share is computed from the clean picture; flats and texture want several."""
    errors = []
    for seed in range(3):
        clean = shapes(seed)
        given = noisy(clean, level, seed).astype(np.float32)
        full, _ = restored(given, even_if_clean=True)
        single = given + best_share(clean, given) * (full - given)
        by_place, _ = restored(given)
        errors.append([np.square(one - clean).mean() for one in (by_place, single)])
    by_place, single = np.mean(errors, axis=0)
    assert by_place < 1.03 * single


def test_a_flat_half_is_cleaned_beside_one_that_the_model_harms():
    clean = np.hstack([60 + squares(2) / 2, np.full((160, 160), 120.0)])
    given = noisy(clean, 5, 0).round().clip(0, WHITE).astype(np.uint8)
    made, change = restored(given)
    full, _ = restored(given, even_if_clean=True)
    before, after, by_model = (
        [np.square(one - clean)[:, part].mean() for part in (np.s_[:120], np.s_[200:])]
        for one in (given, made, full)
    )
    assert after[1] < 0.1 * before[1]
    assert after[0] < 1.03 * before[0] < 0.6 * by_model[0]
    assert 0 < change.share < 0.6


def test_the_share_is_the_best_one_where_noise_grows_with_the_light():
    """One half is dark and has little noise, the other is bright and has much."""
    clean = shapes(0) / 6
    clean[:, 80:] = 90 + shapes(1)[:, 80:] / 2
    deviation = np.sqrt(2 + 3 * clean)
    given = noisy(clean, deviation, 0).astype(np.float32)
    _, change = restored(given)
    assert WHITE * change.noise == pytest.approx(np.sqrt((deviation**2).mean()), rel=0.1)
    assert change.share == pytest.approx(best_share(clean, given), abs=0.1)


@pytest.mark.parametrize("level", [0, 1, 3, 10])
@pytest.mark.parametrize(
    "clean",
    [
        page(10),
        page(12),
        WHITE - page(12),
        WHITE - page(13),
        page(16),
        WHITE - page(22),
        page(24),
        squares(4),
        squares(8),
        stars(),
    ],
    ids=[
        "text 10",
        "text 12",
        "inverted 12",
        "inverted 13",
        "text 16",
        "inverted 22",
        "text 24",
        "squares 4",
        "squares 8",
        "stars",
    ],
)
def test_black_and_white_is_not_harmed(clean, level):
    given = noisy(clean, level, 0).round().clip(0, WHITE).astype(np.uint8)
    made, _ = restored(given)
    if not level:
        np.testing.assert_array_equal(made, given)
        return
    before, after = (np.square(one - clean).mean() for one in (given, made))
    assert 10 * np.log10(after / before) < 0.5  # dB lost


@pytest.mark.parametrize("offset", [0, WHITE], ids=["under", "over"])
@pytest.mark.parametrize("level", [1, 3])
def test_over_and_under_exposed_pictures_are_not_harmed(offset, level):
    losses = []
    for seed in range(4):
        clean = ((shapes(seed) - 128) * 2 + offset).clip(0, WHITE).round()
        given = noisy(clean, level, seed).round().clip(0, WHITE).astype(np.uint8)
        made, _ = restored(given)
        before, after = (np.square(one - clean).mean() for one in (given, made))
        losses.append(10 * np.log10(after / before))
    assert np.mean(losses) < 0.1


def test_a_change_that_takes_hardly_any_noise_off_is_not_made():
    clean = squares(4) / 2 + 60  # squares are text to the model, which it would harm
    for level, is_changed in ((1, False), (40, True)):
        given = noisy(clean, level, 0).round().clip(0, WHITE).astype(np.uint8)
        made, change = restored(given)
        assert (change.share > 0) == (change.rms > 0) == is_changed
        # What the best share of the change would take off, as a part of the noise.
        full, _ = restored(given, even_if_clean=True)
        squared = np.square(full.astype(np.float64) - given).mean()
        gain = best_share(clean, given) ** 2 * squared / np.square(given - clean).mean()
        assert (gain > 0.05) == is_changed
        assert np.array_equal(made, given) != is_changed


@pytest.mark.parametrize("kind", [np.float32, np.uint16])
@pytest.mark.parametrize("n_stars", [20, 150])
def test_the_sky_is_cleaned_and_stars_stay(kind, n_stars):
    rng = np.random.default_rng(n_stars)
    y, x = np.mgrid[:240, :240]
    clean = np.full(y.shape, 1000.0)
    for row, column, light in zip(
        *rng.uniform(0, 240, (2, n_stars)), 20 * 10 ** rng.uniform(0, 2.8, n_stars), strict=True
    ):
        clean += light * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4.5)
    given = noisy(clean, 5, 1)
    given = given.astype(kind) if kind == np.float32 else given.round().astype(kind)
    made = given.copy()
    PictureRestorer(denoiser).restore(made, [0], False, own_tones([given]))
    before, after = (np.square(one.astype(float) - clean) for one in (given, made))
    sky, bright = clean < 1003, clean > 1500
    assert after[sky].mean() < 0.15 * before[sky].mean()
    assert after[bright].mean() < 1.3 * before[bright].mean()


def test_one_of_several_noises_is_noise():
    words = ("gaussian", "poisson_gaussian")
    assert is_of_noise(DenoisingAutoencoder(corruption=["one_of", *words]))
    assert is_of_noise(DenoisingAutoencoder(corruption=list(words)))
    assert not is_of_noise(DenoisingAutoencoder(corruption=["one_of", "gaussian", "jpeg"]))
    assert not is_of_noise(DenoisingAutoencoder(corruption=None))
