"""The denoisers that ship: noise goes, clean pictures stay, and their origin is told."""

from pathlib import Path

import numpy as np
import pytest

from narrows import builtin
from narrows.errors import ParameterError

SEED = 20261130


def scene(height, width, channels=None):
    """Draw discs and stripes over a slope, antialiased, in shades from 0 to 255."""
    y, x = np.mgrid[:height, :width] / 1.0
    picture = 60 + 100 * x / width
    for row, column, radius, shade in ((30, 40, 18, 220), (60, 20, 12, 20), (50, 80, 25, 120)):
        inside = np.clip(radius - np.hypot(y - row, x - column) + 0.5, 0, 1)
        picture = inside * shade + (1 - inside) * picture
    stripes = np.clip(8 - abs(y - 85) + 0.5, 0, 1)
    picture = picture + stripes * 60 * np.sin(x / 4)
    if channels:
        tints = np.linspace(0.6, 1, channels)
        picture = picture[..., None] * tints
    return picture.clip(0, 255)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one - other).mean())


@pytest.mark.parametrize("channels", builtin.CHANNELS)
@pytest.mark.parametrize("noise", [10, 25, 50])
def test_noise_of_any_level_goes(channels, noise):
    clean = scene(97, 110, channels if channels > 1 else None)
    noisy = clean + np.random.default_rng(SEED).normal(0, noise, clean.shape)
    restored = builtin.denoiser(channels).denoise(noisy[None])[0]
    assert restored.shape == clean.shape
    assert psnr(restored.clip(0, 255), clean) > psnr(noisy.clip(0, 255), clean) + 6


def test_vivid_colours_are_restored_as_well_as_dull_ones():
    """Discs of saturated colours, whose channels have edges of opposite signs."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[:96, :96]
    clean = np.full((96, 96, 3), (40.0, 90.0, 220.0))
    for _ in range(10):
        row, column, radius = rng.uniform(0, 96), rng.uniform(0, 96), rng.uniform(6, 24)
        clean[np.hypot(y - row, x - column) < radius] = rng.uniform(10, 245, 3)
    noisy = clean + rng.normal(0, 15, clean.shape)
    restored = builtin.denoiser(3).denoise(noisy[None])[0]
    assert psnr(restored, clean) > psnr(noisy, clean) + 6


@pytest.mark.parametrize("channels", builtin.CHANNELS)
def test_a_clean_picture_hardly_changes(channels):
    clean = scene(97, 110, channels if channels > 1 else None)
    assert psnr(builtin.denoiser(channels).denoise(clean[None])[0], clean) > 40


def test_both_together_are_less_than_a_megabyte_and_say_what_they_were_made_from():
    folder = Path(builtin.__file__).parent
    files = [file for file in folder.iterdir() if file.suffix in {".safetensors", ".json"}]
    assert len(files) == 4
    assert sum(file.stat().st_size for file in files) < 1_000_000
    for channels in builtin.CHANNELS:
        made = builtin.provenance(channels)
        assert made["command"] == "python tools/make_denoiser.py"
        terms = made["photographs"].values()
        assert all(term.startswith(("CC0", "public domain")) for term in terms)


def test_each_call_returns_a_model_of_its_own():
    fingerprint = builtin.denoiser(1).fingerprint_
    model = builtin.denoiser(1).set_params(corruption="jpeg", max_epochs=1)
    model.fit(np.stack([scene(32, 32), 255 - scene(32, 32)]))
    assert builtin.denoiser(1).corruption == "gaussian"
    assert builtin.denoiser(1).fingerprint_ == fingerprint


def test_other_channels_are_refused():
    with pytest.raises(ParameterError, match="channels=2 is not allowed"):
        builtin.denoiser(2)


def test_info_tells_of_them(run):
    told = run("info", "--built-in", "--json")
    assert [one["channels"] for one in told.json["denoisers"]] == [1, 3]
    assert "CC0 (Lav Varshney)" in told.out
    shown = run("info", "--built-in")
    assert shown.code == 0
    assert "denoiser of grey pictures" in shown.out
    assert "CC0" in shown.out
    for wrong in (("info",), ("info", "model", "--built-in")):
        refused = run(*wrong)
        assert refused.code != 0
        assert "--built-in" in refused.err
