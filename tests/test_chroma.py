"""Brightness and colours apart: exact planes, and noisy JPEG files that are restored. Seed 0."""

import io

import numpy as np
import pytest
from PIL import Image

from narrows.builtin import denoiser
from narrows.data.tones import Tones
from narrows.models.chroma import colours_of, planes_of, shares_chroma_noise
from narrows.models.picture_restorer import PictureRestorer


def scene():
    y, x = np.mgrid[:200, :240]
    picture = np.stack(
        [
            128 + 70 * np.sin(x / 31) * np.cos(y / 23),
            110 + 60 * np.sin(x / 17 + 1),
            140 + 50 * np.cos((x + y) / 29),
        ],
        axis=-1,
    )
    picture[60:140, 80:170] = [200, 60, 50]
    picture[(y - 100) ** 2 + (x - 190) ** 2 < 900] = [40, 90, 180]
    return picture


def noisy(picture, level):
    values = picture + level * np.random.default_rng(0).normal(size=picture.shape)
    return values.round().clip(0, 255).astype(np.uint8)


def as_jpeg(picture, subsampling):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=subsampling)
    return np.asarray(Image.open(file)).copy()


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one - other).mean())


def restored(picture, models=(1, 3)):
    made = picture.copy()
    restorer = PictureRestorer(lambda n: denoiser(n) if n in models else None)
    return made, restorer.restore(made, [0, 1, 2], True, Tones(0, 255))


@pytest.mark.parametrize("shape", [(8, 6), (7, 9), (1, 1), (1, 5)])
def test_planes_of_colours_that_change_slowly_give_them_back(shape):
    slope = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))[..., None]
    picture = (100 + slope * np.ones(3) + [10, 0, -20]).astype(np.float32)
    np.testing.assert_allclose(colours_of(*planes_of(picture)), picture, atol=1e-3)


def test_luma_and_chroma_are_those_of_jpeg():
    picture = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    picture = picture.repeat(2, axis=0).repeat(2, axis=1)
    of_pillow = np.asarray(Image.fromarray(picture).convert("YCbCr")).astype(float)
    planes = planes_of(picture)
    np.testing.assert_allclose(planes.luma, of_pillow[..., 0], atol=1)
    np.testing.assert_allclose(planes.blue, of_pillow[::2, ::2, 1] - 128, atol=1)
    np.testing.assert_allclose(planes.red, of_pillow[::2, ::2, 2] - 128, atol=1)


@pytest.mark.parametrize(("level", "gain"), [(8, 4), (20, 6)])
def test_noisy_files_with_colours_at_half_the_size_are_restored(level, gain):
    clean = scene()
    given = as_jpeg(noisy(clean, level), subsampling=2)
    assert shares_chroma_noise(given)
    made, change = restored(given)
    together, _ = restored(given, models=(3,))
    assert change.chroma_apart
    assert psnr(made, clean) > psnr(given, clean) + gain
    assert psnr(made, clean) > psnr(together, clean) + 2


def test_values_that_are_not_finite_do_not_spread():
    """The gap is outside of the middle part in which noise is compared."""
    given = np.tile(as_jpeg(noisy(scene(), 20), subsampling=2), (3, 3, 1)).astype(np.float32)
    given[2, 3] = np.nan
    made = given.copy()
    PictureRestorer(denoiser).restore(made, [0, 1, 2], True, Tones(0, 255))
    np.testing.assert_array_equal(np.isnan(made), np.isnan(given))


def test_independent_noise_and_clean_pictures_are_restored_together():
    for given in (noisy(scene(), 10), as_jpeg(noisy(scene(), 10), subsampling=0)):
        assert not restored(given)[1].chroma_apart
    clean = as_jpeg(scene().round().astype(np.uint8), subsampling=2)
    assert np.abs(restored(clean)[0].astype(float) - clean).mean() < 0.3
