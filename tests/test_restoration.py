"""Scores of restored rows against clean ones, and ``narrows denoise``."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage.metrics import structural_similarity

from narrows import DenoisingAutoencoder, datasets
from narrows.cli.main import group, main
from narrows.errors import DataError
from narrows.evaluation import compare_with_clean

pytestmark = pytest.mark.cases

SEED = 20240602


def test_psnr_is_its_definition():
    rng = np.random.default_rng(SEED)
    clean = rng.integers(0, 256, (6, 9, 8), dtype=np.uint8)
    noisy = np.clip(clean + rng.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
    difference = noisy.astype(float) - clean
    truth = np.mean(10 * np.log10(255**2 / (difference**2).mean(axis=(1, 2))))
    assert compare_with_clean(noisy, clean, 255).psnr == pytest.approx(truth)


def test_ssim_is_one_for_equals_and_falls_with_noise():
    rng = np.random.default_rng(SEED)
    clean = rng.random((4, 12, 10, 3))
    levels = [0, 0.05, 0.2, 0.8]
    found = [
        compare_with_clean(clean + rng.normal(0, level, clean.shape), clean, 1).ssim
        for level in levels
    ]
    assert found[0] == pytest.approx(1)
    assert np.all(np.diff(found) < 0)
    assert compare_with_clean(clean[..., :1, 0], clean[..., :1, 0] + 1, 1).ssim is None
    with pytest.raises(DataError, match="same order"):
        compare_with_clean(clean[:2], clean, 1)


@pytest.mark.parametrize("shape", [(11, 40), (64, 64, 3), (321, 200), (130, 20, 3)])
def test_ssim_has_the_window_of_the_paper(shape):
    """Wang et al. 2004, section III.C, as scikit-image has it."""
    rng = np.random.default_rng(SEED)
    clean = rng.random((2, *shape))
    noisy = clean + rng.normal(0, 0.2, clean.shape)
    truth = [
        structural_similarity(
            *pair,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=2 if len(shape) == 3 else None,
        )
        for pair in zip(clean, noisy, strict=True)
    ]
    found = compare_with_clean(noisy, clean, 1)
    assert found.ssim == pytest.approx(np.mean(truth), rel=1e-12)
    assert found.ssim_window == (11, 11)


@pytest.mark.parametrize(
    ("shape", "window"), [((12, 10), (11, 9)), ((7, 28), (7, 11)), ((4, 3), (3, 3))]
)
def test_small_pictures_get_the_largest_odd_window_that_fits(shape, window):
    """The formula of Wang et al. 2004, eq. 13, place by place."""
    clean, noise = np.random.default_rng(SEED).random((2, *shape))
    noisy = clean + noise
    away = [np.arange(size) - size // 2 for size in window]
    weights = np.exp(-(away[0][:, None] ** 2 + away[1] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for top in range(shape[0] - window[0] + 1):
        for left in range(shape[1] - window[1] + 1):
            place = slice(top, top + window[0]), slice(left, left + window[1])
            x, y = clean[place], noisy[place]
            mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
            var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
            both = (weights * (x - mean_x) * (y - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + 0.01**2)
                * (2 * both + 0.03**2)
                / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))
            )
    found = compare_with_clean(noisy[None], clean[None], 1)
    assert found.ssim == pytest.approx(np.mean(values), rel=1e-10)
    assert found.ssim_window == window


def test_a_row_restored_exactly_counts_100_db_and_does_not_decide_the_mean():
    clean = np.random.default_rng(SEED).integers(0, 256, (3, 8, 8)).astype(float)
    restored = clean + 25.5  # 20 dB
    restored[1] = clean[1]
    restored[2] = clean[2] + 255 * 1e-7  # 140 dB
    found = compare_with_clean(restored, clean, 255)
    assert found.psnr == pytest.approx((20 + 100 + 100) / 3)
    assert found.n_exact == 1
    everything = compare_with_clean(clean, clean, 255)
    assert (everything.psnr, everything.n_exact) == (100, 3)
    assert everything.ssim == pytest.approx(1)
    with pytest.raises(DataError, match="no rows"):
        compare_with_clean(clean[:0], clean[:0], 255)


def test_large_pictures_are_compared_a_few_at_a_time(monkeypatch):
    clean = np.random.default_rng(SEED).random((5, 20, 30, 3))
    noisy = clean + 0.1
    whole = compare_with_clean(noisy, clean, 1)
    monkeypatch.setattr("narrows.evaluation.row_errors._VALUES", 2 * 20 * 30 * 3)
    parts = compare_with_clean(noisy, clean, 1)
    assert (parts.psnr, parts.ssim) == pytest.approx((whole.psnr, whole.ssim), rel=1e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("denoise")
    digits = datasets.load("digits")
    noise = np.random.default_rng(SEED).normal(0, 60, digits.X_test.shape)
    noisy = np.clip(digits.X_test + noise, 0, 255).astype(np.uint8)
    np.save(folder / "clean.npy", digits.X_test)
    np.save(folder / "noisy.npy", noisy)
    DenoisingAutoencoder(32, corruption_level=0.25, max_epochs=20, random_state=SEED).fit(
        digits.X_train
    ).save(folder / "model")
    return folder


def test_the_command_restores_and_says_how_well(folder):
    out = folder / "restored.npy"
    arguments = ["denoise", str(folder / "model"), str(folder / "noisy.npy"), "-o", str(out)]
    result = CliRunner().invoke(group, [*arguments, "--clean", str(folder / "clean.npy"), "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    clean, restored = np.load(folder / "clean.npy"), np.load(out)
    assert restored.dtype == np.uint8
    assert said["psnr"]["restored"] > said["psnr"]["damaged"] + 3
    assert said["ssim"]["restored"] > said["ssim"]["damaged"]
    measured = compare_with_clean(restored, clean, 255)
    assert said["psnr"]["restored"] == pytest.approx(measured.psnr, abs=0.05)
    assert said["ssim_window"] == [7, 7]
    assert said["exact"] == {"damaged": 0, "restored": 0}


def test_originals_that_do_not_fit_leave_nothing_behind(folder, capsys):
    np.save(folder / "few.npy", np.load(folder / "clean.npy")[:5])
    out = folder / "none.npy"
    arguments = ["denoise", str(folder / "model"), str(folder / "noisy.npy"), "-o", str(out)]
    assert main([*arguments, "--clean", str(folder / "few.npy")]) == 3
    assert "same order" in capsys.readouterr().err
    assert not out.exists()


def test_clean_pictures_are_found_by_their_names(folder, tmp_path, capsys):
    clean, noisy = (np.load(folder / name)[:4] for name in ("clean.npy", "noisy.npy"))
    for where, pictures, names, suffix in (
        ("noisy", noisy, "abcd", ".png"),
        ("clean", clean[::-1], "dcba", ".bmp"),
        ("others", clean, "abce", ".png"),
    ):
        (tmp_path / where).mkdir()
        for picture, name in zip(pictures, names, strict=True):
            Image.fromarray(picture).save(tmp_path / where / f"{name}{suffix}")
    arguments = ["denoise", str(folder / "model"), str(tmp_path / "noisy"), "-o"]
    arguments += [str(tmp_path / "out"), "--json", "--clean"]
    assert main([*arguments, str(tmp_path / "clean")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["psnr"]["damaged"] == pytest.approx(compare_with_clean(noisy, clean, 255).psnr)
    arguments[4] = str(tmp_path / "none")
    assert main([*arguments, str(tmp_path / "others")]) == 3
    assert "no clean original of 'd.png'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
