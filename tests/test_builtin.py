"""The models that ship: noise goes, clean pictures stay, and copies match; their origin is told."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from narrows import Autoencoder, Library, builtin
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


def test_each_kind_is_less_than_a_megabyte_and_says_what_it_was_made_from():
    folder = Path(builtin.__file__).parent
    files = [file for file in folder.iterdir() if file.suffix in {".safetensors", ".json"}]
    assert len(files) == 6
    for kind in ("denoiser", "matcher"):
        sizes = [file.stat().st_size for file in files if file.name.startswith(kind)]
        assert sum(sizes) < 1_000_000
    for which in (*builtin.CHANNELS, "matcher"):
        made = builtin.provenance(which)
        kind = "matcher" if which == "matcher" else "denoiser"
        assert made["command"] == f"python tools/make_{kind}.py"
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


def leaves(rng):
    """Draw discs that cover each other, of shades that differ more than their tints."""
    y, x = np.mgrid[:96, :128]
    picture = np.full((96, 128, 3), rng.uniform(20, 235, 3))
    for _ in range(25):
        row, column, radius = rng.uniform(0, 96), rng.uniform(0, 128), rng.uniform(6, 40)
        inside = np.hypot(y - row, x - column) < radius
        picture[inside] = rng.uniform(10, 245) * rng.uniform(0.7, 1, 3)
    return Image.fromarray(np.rint(picture).astype(np.uint8))


DISTORTIONS = {
    "cropped": lambda image: image.crop((10, 8, 118, 88)),
    "mirrored": ImageOps.mirror,
    "bordered": lambda image: ImageOps.expand(image, (10, 8), fill="black"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "grey": lambda image: image.convert("L"),
    "turned": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "small": lambda image: image.resize((24, 18)),
}


def test_distorted_pictures_find_their_originals_by_the_matcher(run, tmp_path):
    rng = np.random.default_rng(SEED)
    pictures = [leaves(rng) for _ in range(60)]
    (tmp_path / "photos").mkdir()
    for number, picture in enumerate(pictures):
        picture.save(f"photos/{number:02}.png")
    indexed = run("index", "photos", "-o", "l.lance", "--json")
    assert indexed.code == 0
    assert [warning["kind"] for warning in indexed.json["warnings"]] == ["built_in_matcher"]
    assert Library.open("l.lance").metric == builtin.matcher().spec_.metric
    for name, distort in DISTORTIONS.items():
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pictures):
            distort(picture).save(f"{name}/{number:02}.png")
        queries = run("match", "l.lance", name, "-k", "1", "--json").json["queries"]
        firsts = [Path(query["matches"][0]["path"]).name == query["query"] for query in queries]
        assert np.mean(firsts) >= 0.9, name
    added = run("index", "grey", "-o", "l.lance", "--add", "--json").json
    assert added["rows"] == 120
    assert added["warnings"] == []
    assert added["built_in"] == indexed.json["built_in"] == "matcher"


def test_the_matcher_is_not_for_tables_and_no_model_is_taken_for_data(run, tmp_path):
    np.save("rows.npy", np.eye(5))
    (tmp_path / "folder").mkdir()
    np.save("folder/rows.npy", np.eye(5))
    Path("table.csv").write_text("a,b\n1,2\n3,4\n")
    for data in ("rows.npy", "folder", "table.csv"):
        refused = run("index", data, "-o", "l.lance")
        assert refused.code == 2
        assert f"narrows train '{data}' -o MODEL" in refused.err
        assert len(refused.err.splitlines()) == 1
    Image.new("RGB", (40, 40)).save("a.png")
    Autoencoder(2, max_epochs=1, random_state=SEED).fit(np.eye(9)).save("model")
    refused = run("index", "model", "-o", "l.lance")
    assert refused.code == 2
    assert "'model' is a model" in refused.err
    assert not Path("l.lance").exists()


def test_an_unknown_model_is_refused():
    with pytest.raises(ParameterError, match="which='encoder'"):
        builtin.provenance("encoder")
