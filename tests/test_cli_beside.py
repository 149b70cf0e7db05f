"""``narrows denoise --clean`` and ``--page``: beside classics, in the answer and on a page."""

from pathlib import Path

import numpy as np
import pytest
from cli_kit import Run
from PIL import Image

from narrows import DenoisingAutoencoder
from narrows.evaluation import compare_with_clean, restore_by_classic
from narrows.evaluation.classics import CLASSICS

SEED = 0
Y, X = np.mgrid[:40, :48]
WAVES = np.stack([128 + 90 * np.sin(X / p) * np.cos(Y / (p + 3)) for p in range(5, 25)])


@pytest.fixture(autouse=True)
def one_classic(monkeypatch):
    """Leave total variation alone installed, whatever this machine has."""
    missing = {"BM3D": "pip install bm3d"}
    monkeypatch.setattr(
        "narrows.evaluation.beside.installed_classics", lambda: (CLASSICS[:1], missing)
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model of any size, and one of 40 x 48 pixels."""
    folder = tmp_path_factory.mktemp("models")
    rows = np.rint(WAVES).astype(np.uint8)
    how = {"corruption_level": 0.1, "max_epochs": 20, "batch_size": 5, "random_state": SEED}
    any_size = DenoisingAutoencoder(
        8, architecture="fully_convolutional", hidden_layer_sizes=(8,), **how
    )
    fixed = DenoisingAutoencoder(8, architecture="dense", hidden_layer_sizes=(), **how)
    return {
        "any": any_size.fit(rows).save(folder / "any"),
        "fixed": fixed.fit(rows).save(folder / "fixed"),
    }


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(SEED)
    pictures = []
    for name in ("noisy", "clean"):
        (tmp_path / name).mkdir()
    for number in range(10):
        clean = np.rint(WAVES[number]).astype(np.uint8)
        noisy = np.rint(clean + rng.normal(0, 25, clean.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(clean).save(f"clean/{number}.png")
        Image.fromarray(noisy).save(f"noisy/{number}.png")
        pictures.append((clean, noisy))
    return pictures


def test_scores_beside_classics_are_in_the_answer(models, folders, run: Run):
    done = run("denoise", models["any"], "noisy", "-o", "out", "--clean", "clean", "--json")
    found = done.json["classics"]
    names = [picture["name"] for picture in found["pictures"]]
    assert len(names) == 8
    assert (names[0], names[-1]) == ("0.png", "9.png")
    clean, noisy = folders[9]
    restored = np.asarray(Image.open("out/9.png"))
    level = np.sqrt(np.mean((noisy.astype(float) - clean) ** 2))
    by = restore_by_classic("total variation", noisy, level, clean=clean)
    for version, pixels in {
        "model": restored,
        "noisy": noisy,
        "total variation": by.pixels,
    }.items():
        truth = compare_with_clean(pixels[None], clean[None], 255)
        assert found["pictures"][-1]["psnr"][version] == pytest.approx(truth.psnr)
        assert found["pictures"][-1]["ssim"][version] == pytest.approx(truth.ssim)
    assert found["missing"] == {"BM3D": "pip install bm3d"}
    lines = run("denoise", models["any"], "noisy", "-o", "two", "--clean", "clean").out.splitlines()
    assert lines[1].startswith("beside classics at their best weights, mean over 8 pictures of 10:")
    assert f"model {found['psnr']['model']:.2f} dB" in lines[1]
    assert lines[2:] == ["classics left out: BM3D: pip install bm3d"]


def test_a_page_shows_pictures_with_and_without_clean_ones(models, folders, run: Run):
    words = ["denoise", models["any"], "noisy", "-o"]
    run(*words, "out", "--page", "side.html")
    page = Path("side.html").read_text("utf-8")
    assert "noisy restored by any" in page
    assert "8 pictures of 10" in page
    assert "Noise level (estimated)" in page
    assert " dB" not in page
    refused = run(*words, "more", "--page", "side.html")
    assert (refused.code, Path("more").exists()) == (5, False)
    done = run(*words, "more", "--page", "side.html", "--clean", "clean", "--overwrite", "--json")
    assert done.json["page"] == "side.html"
    page = Path("side.html").read_text("utf-8")
    assert f"{done.json['classics']['psnr']['model']:.2f}</td>" in page


def test_rows_of_pictures_are_compared_too(models, folders, run: Run):
    noisy, clean = (np.stack([pair[place] for pair in folders]) for place in (1, 0))
    np.save("noisy.npy", noisy)
    np.save("clean.npy", clean)
    words = ["denoise", models["fixed"], "noisy.npy", "-o", "out.npy", "--clean", "clean.npy"]
    done = run(*words, "--page", "side.html", "--json")
    found = done.json["classics"]
    assert [picture["name"] for picture in found["pictures"]] == [f"row {n}" for n in range(10)]
    assert found["psnr"]["model"] == pytest.approx(done.json["psnr"]["restored"], abs=0.01)
    assert found["psnr"]["noisy"] == pytest.approx(done.json["psnr"]["damaged"])
    assert "row 9" in Path("side.html").read_text("utf-8")


def test_what_has_no_page_is_refused(models, folders, run: Run):
    words = ["denoise", models["any"], "noisy", "-o", "out"]
    refused = run(*words, "--page", "side.pdf")
    assert "--page 'side.pdf' is no HTML page; let it end in .html" in refused.err
    assert run(*words, "--page", "nowhere/side.html").code == 5
    (Path("small")).mkdir()
    Image.fromarray(folders[0][0][:20, :20]).save("small/a.png")
    resized = ["denoise", models["fixed"], "small", "-o", "out", "--resize", "--page", "side.html"]
    assert "--page shows pictures at their own size, and 'small'" in run(*resized).err
    assert not Path("out").exists()
    assert not Path("side.html").exists()
