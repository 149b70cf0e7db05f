"""Noise that denoisers of independent noise do not know, which is said where it is met."""

from pathlib import Path

import numpy as np
import pytest
from cli_kit import Run
from PIL import Image
from scipy.ndimage import convolve1d, gaussian_filter
from sklearn.datasets import load_sample_images

from narrows import DenoisingAutoencoder
from narrows.data.noise_kinds import noise_kinds
from narrows.models.damage import strongest_noise

SEED = 5
PHOTOS = dict(zip(("china", "flower"), load_sample_images().images, strict=True))
# Part of each, so that the tests are fast, with sky, leaves and roof tiles.
PARTS = {name: photo[100:340, 150:470] for name, photo in PHOTOS.items()}


def damaged(clean, kind, level, seed=SEED):
    """Damage a photograph, independently of the corruptions of the library."""
    rng = np.random.default_rng(seed)
    if kind == "salt_and_pepper":
        drawn = rng.random(clean.shape)
        return np.where(drawn < level / 2, 0, np.where(drawn > 1 - level / 2, 255, clean)).astype(
            np.uint8
        )
    noise = rng.normal(size=clean.shape)
    if kind in ("rows", "columns"):
        noise = rng.normal(size=(len(clean), 1, 1) if kind == "rows" else (1, clean.shape[1], 1))
    elif kind == "correlated":
        for axis in (0, 1):
            noise = convolve1d(noise, np.array([1, 2, 1]) / np.sqrt(6), axis=axis)
    return np.rint(clean + level * noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("level", [0, 3, 10, 25, 56])
def test_clean_photographs_and_gaussian_noise_have_none(name, level):
    given = damaged(PARTS[name], "gaussian", level)
    assert noise_kinds(given, 255) == []
    assert noise_kinds(given[:, :, 0], 255) == []


def test_drawings_text_and_stars_have_none():
    rng = np.random.default_rng(SEED)
    page = np.full((120, 160), 255, np.uint8)
    page[10:110:6, 5:150] = 0  # strokes of one pixel
    page[:, 20:150:9] = 0
    assert noise_kinds(page, 255) == []
    assert noise_kinds((rng.random((80, 90)) < 0.3).astype(np.uint8) * 255, 255) == []
    assert noise_kinds(rng.random((80, 90)) < 0.3, 1) == []
    sky = rng.normal(0.02, 0.005, (120, 160))
    stars = np.zeros_like(sky)
    stars[tuple(rng.integers(5, 115, (2, 40)))] = rng.exponential(5, 40)
    sky += gaussian_filter(stars, 1)
    assert noise_kinds(sky.clip(0, 1), 1) == []
    assert noise_kinds(np.zeros((64, 64)), 1) == noise_kinds(np.full((64, 64), np.nan), 1) == []
    assert noise_kinds(rng.random((20, 90)), 1) == []


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize(
    ("kind", "level", "found"),
    [
        ("salt_and_pepper", 0.01, "salt_and_pepper"),
        ("salt_and_pepper", 0.1, "salt_and_pepper"),
        ("salt_and_pepper", 0.4, "salt_and_pepper"),
        ("rows", 6, "stripes"),
        ("columns", 15, "stripes"),
        ("correlated", 25, "correlated"),
    ],
)
def test_each_kind_is_found_in_any_units(name, kind, level, found):
    given = damaged(PARTS[name], kind, level)
    assert noise_kinds(given, 255) == [found]
    assert noise_kinds(given.astype(np.uint16) * 257, 65535) == [found]
    as_floats = given / 1000 - 3
    as_floats[3, 4] = np.nan
    assert noise_kinds(as_floats, 0.255) == [found]


def test_a_model_says_the_strongest_noise_that_it_learned():
    rows = np.random.default_rng(SEED).integers(0, 256, (8, 16, 16)).astype(np.uint8)

    def learned(**parameters):
        model = DenoisingAutoencoder(2, max_epochs=1, random_state=SEED, architecture="dense")
        return strongest_noise(model.set_params(**parameters).fit(rows))

    assert learned(corruption_level=(0.05, 0.2)) == pytest.approx(0.2)
    assert learned(
        corruption=["one_of", "gaussian", "poisson_gaussian"], corruption_level=[0.1, (0, 0.3)]
    ) == pytest.approx(0.3)
    spread = rows.std(axis=0, dtype=float)
    assert learned(scaling="global", corruption_level=0.5) == pytest.approx(
        0.5 * np.sqrt((spread**2).mean()) / 255, rel=0.1
    )
    assert learned(corruption="masking") is None


def test_the_command_says_which_noise_it_does_not_know_and_what_helps(run: Run, tmp_path: Path):
    clean = PARTS["china"][:140, :160]
    given = {
        "specks": damaged(clean, "salt_and_pepper", 0.05),
        "rows": damaged(clean, "rows", 12),
        "shared": damaged(PARTS["flower"], "correlated", 25),
        "strong": damaged(clean, "gaussian", 90),
        "fine": damaged(clean, "gaussian", 20),
    }
    (tmp_path / "in").mkdir()
    for name, values in given.items():
        Image.fromarray(values).save(tmp_path / "in" / f"{name}.png")
    done = run("denoise", "in", "-o", "out", "--json")
    assert done.code == 0, done.err
    said = {w["noise_kind"]: w for w in done.json["warnings"] if w["kind"] == "unknown_noise"}
    named = {kind: Path(one["first"]).stem for kind, one in said.items()}
    assert named == {
        "salt_and_pepper": "specks", "stripes": "rows", "correlated": "shared", "strong": "strong",
    }  # fmt: skip
    assert all(one["files"] == 1 for one in said.values())
    assert said["strong"]["noise"] == pytest.approx(90, abs=6)
    assert said["strong"]["learned"] == pytest.approx(56.1)
    told = {one["path"]: one.get("noise_kinds") for one in done.json["pictures"]}
    assert told == {
        "specks.png": ["salt_and_pepper"], "rows.png": ["stripes"], "shared.png": ["correlated"],
        "strong.png": None, "fine.png": None,
    }  # fmt: skip
    for kind in ("salt_and_pepper", "stripes", "correlated"):
        assert f"-o MODEL --model denoising --corruption {kind})" in said[kind]["message"]
    # That clean pictures are held back is not said of those with other noise.
    assert "held_back" not in {one["kind"] for one in done.json["warnings"]}
    # The remedy that needs no training helps.
    done = run("denoise", "in/specks.png", "-o", "full.png", "--even-if-clean")
    assert done.code == 0, done.err
    errors = [
        np.square(np.asarray(Image.open(path), float) - clean).mean()
        for path in ("in/specks.png", "full.png")
    ]
    assert errors[1] < errors[0] / 3
