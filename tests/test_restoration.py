"""How near restored rows come to clean ones, and ``narrows denoise``."""

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


@pytest.mark.parametrize(("side", "window"), [(12, 7), (7, 7), (6, 5), (4, 3)])
def test_small_pictures_get_the_largest_odd_window_that_fits(side, window):
    clean, noise = np.random.default_rng(SEED).random((2, 3, side, side))
    truth = [
        structural_similarity(one, other, data_range=1, win_size=window)
        for one, other in zip(clean, clean + noise, strict=True)
    ]
    assert compare_with_clean(clean + noise, clean, 1).ssim == pytest.approx(np.mean(truth))


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
