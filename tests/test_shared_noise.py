"""Noise without fine parts is taken off; what is clean, or drawn, stays. Random seed 0."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from narrows import builtin
from narrows.data.tones import Tones
from narrows.models.picture_restorer import Change, PictureRestorer

SEED = 0
TONES = Tones(0, 255)


def scene(shape=(192, 256), channels=None):
    """Draw discs of many sizes over a slope, a little blurred, as a photograph shows them."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[: shape[0], : shape[1]]
    picture = 80 + 80 * x / shape[1]
    picture = np.repeat(picture[..., None], channels or 1, axis=2)
    for radius in np.geomspace(70, 6, 40):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        picture[np.hypot(y - row, x - column) < radius] = rng.uniform(40, 215, channels or 1)
    picture = gaussian_filter(picture, (0.7, 0.7, 0))
    return picture if channels else picture[..., 0]


def as_jpeg(picture, quality):
    file = io.BytesIO()
    Image.fromarray(np.rint(picture).clip(0, 255).astype(np.uint8)).save(
        file, "JPEG", quality=quality
    )
    return np.asarray(Image.open(file))


def denoised(picture) -> tuple[np.ndarray, Change]:
    models = {channels: builtin.denoiser(channels) for channels in builtin.CHANNELS}
    values = picture.copy()
    colours = picture.ndim == 3
    change = PictureRestorer(models.get).restore(
        values, [0, 1, 2] if colours else [0], colours, TONES
    )
    return values, change


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one.astype(float) - other).mean())


def with_noise(clean, level):
    return clean + np.random.default_rng(SEED).normal(0, level, clean.shape)


@pytest.mark.parametrize(("quality", "level"), [(20, 25), (30, 25), (40, 25), (60, 12)])
@pytest.mark.parametrize("channels", [None, 3])
def test_noise_below_jpeg_goes(quality: int, level: int, channels: int | None) -> None:
    if channels and quality == 20:
        pytest.skip("of colours, the noise of brightness is averaged")
    clean = scene(channels=channels)
    noisy = as_jpeg(with_noise(clean, level), quality)
    restored, change = denoised(noisy)
    assert change.shared
    assert psnr(restored, clean) > psnr(noisy, clean) + 2


def test_noise_of_a_resized_picture_goes() -> None:
    clean = scene((128, 160))
    noisy = with_noise(clean, 20).clip(0, 255).round().astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(np.uint8(np.rint(one))).resize((320, 256), 3))
        for one in (clean, noisy)
    ]
    restored, change = denoised(large[1])
    assert change.shared
    assert psnr(restored, large[0]) > psnr(large[1], large[0]) + 3


def test_units_do_not_matter() -> None:
    noisy = as_jpeg(with_noise(scene(), 25), 30)
    restored, _ = denoised(noisy.astype(np.float32))
    model = PictureRestorer({1: builtin.denoiser(1)}.get)
    deep = noisy.astype(np.uint16) * 257
    change = model.restore(deep, [0], False, Tones(0, 65535))
    assert change.shared
    assert np.abs(deep / 257 - restored).max() < 0.1
    # Gaps stay.
    gaps = noisy.astype(np.float32)
    gaps[50, 60:70] = np.nan
    told = model.restore(gaps, [0], False, TONES)
    assert told.not_finite == 10
    assert np.isnan(gaps).sum() == 10


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_clean_pictures_are_not_taken_for_noisy(quality: int) -> None:
    for clean in (scene(), scene(channels=3)):
        jpeg = as_jpeg(clean, quality)
        restored, change = denoised(jpeg)
        assert not change.shared
        assert psnr(restored, clean) > psnr(jpeg, clean) - 0.1


@pytest.mark.parametrize("size", [10, 14, 24])
def test_letters_stay(size: int) -> None:
    image = Image.new("L", (320, 256), 250)
    draw = ImageDraw.Draw(image)
    for row in range(0, 256, size + 2):
        draw.text((3, row), "The quick brown fox 0123456789 " * 3, fill=5,
                  font=ImageFont.load_default(size))  # fmt: skip
    page = np.asarray(image)
    for given, clean in ((page, page), (255 - page, 255 - page), (as_jpeg(page, 40), page)):
        restored, change = denoised(given)
        assert not change.shared
        before, after = (np.square(one.astype(float) - clean).mean() for one in (given, restored))
        assert after <= max(before, 1)


def test_independent_noise_is_not_taken_for_shared() -> None:
    noisy = with_noise(scene(), 20).clip(0, 255).round().astype(np.uint8)
    restored, change = denoised(noisy)
    assert not change.shared
    assert abs(change.noise * 255 - 20) < 2
    assert psnr(restored, scene()) > psnr(noisy, scene()) + 6


def test_the_command_says_so(run, tmp_path) -> None:
    Image.fromarray(as_jpeg(with_noise(scene(), 25), 30)).save("noisy.png")
    told = run("denoise", "noisy.png", "-o", "restored.png", "--json")
    assert told.code == 0
    assert told.json["pictures"][0]["noise_shared"]
    assert "noise_shared" in [warning["kind"] for warning in told.json["warnings"]]
    assert "noise_kinds" not in told.json["pictures"][0]
