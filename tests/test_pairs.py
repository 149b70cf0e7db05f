"""Pairs of damaged and clean picture files: what belongs together, and what is learned from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import Run
from numpy.typing import NDArray
from PIL import Image

from narrows import DenoisingAutoencoder, load
from narrows.data.pairs import Pairs, read_pairs
from narrows.errors import DataError, NarrowsWarning, UnreadableFileError
from narrows.models.picture_restorer import is_of_noise

SEED = 7
SIZES = ((70, 90), (64, 130), (100, 81))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Pictures of three sizes, in which each value tells its place, and their negatives."""
    dirty, clean = tmp_path / "dirty", tmp_path / "clean"
    for number, (height, width) in enumerate(SIZES):
        y, x = np.mgrid[:height, :width]
        pixels = (11 * y + 7 * x + 50 * number).astype(np.uint8)
        save(clean / "in" / f"page{number}.png", pixels)
        save(dirty / "in" / f"page{number}.png", 255 - pixels)
    return dirty, clean


def save(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def quiet_pairs(dirty: Path, clean: Path, **how: Any) -> Pairs:
    with pytest.warns(NarrowsWarning, match="crops of 32 x 32") as said:
        pairs = read_pairs(dirty, clean, crops=32, **how)
    assert [str(one.message) for one in said if str(clean) in str(one.message)] == []
    return pairs


def test_crops_of_pictures_of_several_sizes_lie_at_the_same_places(
    folders: tuple[Path, Path],
) -> None:
    pairs = quiet_pairs(*folders)
    damaged, clean = pairs.damaged.values, pairs.clean.values
    assert damaged.shape == clean.shape
    assert damaged.shape[1:] == (32, 32)
    assert np.array_equal(damaged, 255 - clean)
    assert len(np.unique(clean.reshape(len(clean), -1), axis=0)) > 20  # not all of them one crop
    assert list(pairs.damaged.names) == list(pairs.clean.names)
    assert pairs.unpaired == []


def test_names_find_originals_of_other_kinds_and_orders(folders: tuple[Path, Path]) -> None:
    dirty, clean = folders
    first = np.asarray(Image.open(clean / "in" / "page0.png"))
    (clean / "in" / "page0.png").unlink()
    save(clean / "in" / "page0.tif", first)
    save(clean / "a.png", first)  # before all others, and no damaged one's
    with pytest.warns(NarrowsWarning) as said:
        pairs = read_pairs(dirty, clean, crops=32)
    assert np.array_equal(pairs.damaged.values, 255 - pairs.clean.values)
    assert pairs.unpaired == ["a.png"]
    left_out = [one.message for one in said if getattr(one.message, "kind", "") == LEFT_OUT]
    assert len(left_out) == 1
    assert "1 picture left out, such as 'a.png'" in str(left_out[0])


LEFT_OUT = "originals_left_out"


def test_colours_and_depth_of_one_are_those_of_both(folders: tuple[Path, Path]) -> None:
    dirty, clean = folders
    for file in sorted((dirty / "in").iterdir()):
        save(file, np.asarray(Image.open(file).convert("RGB")))
    for file in sorted((clean / "in").iterdir()):
        save(file, np.asarray(Image.open(file)).astype(np.uint16) * 257)
    pairs = quiet_pairs(dirty, clean)
    assert pairs.damaged.values.dtype == pairs.clean.values.dtype == np.uint16
    assert pairs.clean.values.shape[3] == 3
    assert np.array_equal(pairs.damaged.values, 65535 - pairs.clean.values)


def test_pages_are_paired_one_by_one(tmp_path: Path) -> None:
    pages = [np.full((40, 50), shade, np.uint8) for shade in (10, 20, 30)]
    for name, some in (("dirty", pages[:2]), ("clean", pages)):
        (tmp_path / name).mkdir()
        first, *others = (Image.fromarray(page + (name == "clean")) for page in some)
        first.save(tmp_path / name / "scan.tif", save_all=True, append_images=others)
    with pytest.warns(NarrowsWarning, match="1 picture left out, such as 'scan.tif#3'"):
        pairs = read_pairs(tmp_path / "dirty", tmp_path / "clean", pages="all")
    assert pairs.damaged.values[:, 0, 0].tolist() == [10, 20]
    assert pairs.clean.values[:, 0, 0].tolist() == [11, 21]


def test_two_scans_of_one_page_share_its_original(folders: tuple[Path, Path]) -> None:
    dirty, clean = folders
    again = np.asarray(Image.open(dirty / "in" / "page1.png"))
    save(dirty / "in" / "page1.bmp", again)
    pairs = quiet_pairs(dirty, clean)
    assert np.array_equal(pairs.damaged.values, 255 - pairs.clean.values)
    assert {"in/page1.bmp", "in/page1.png"} <= set(pairs.damaged.names)


def test_missing_originals_are_counted(folders: tuple[Path, Path]) -> None:
    dirty, clean = folders
    for number in (0, 2):
        (clean / "in" / f"page{number}.png").unlink()
    with pytest.raises(DataError, match=r"no clean original of 'in/page0.png' \(and of 1 more\)"):
        read_pairs(dirty, clean)
    pairs = quiet_pairs(dirty, clean, exclude=["page0.png", "page2.png"])
    assert set(pairs.damaged.names) == {"in/page1.png"}


def test_unequal_sizes_are_named_unless_a_size_was_asked_for(folders: tuple[Path, Path]) -> None:
    dirty, clean = folders
    save(clean / "in" / "page1.png", np.zeros((64, 129), np.uint8))
    with pytest.raises(DataError) as refused:
        read_pairs(dirty, clean, crops=32)
    said = str(refused.value)
    assert "64 x 130 pixels" in said
    assert "64 x 129 (1 of 3 pairs differ)" in said
    pairs = read_pairs(dirty, clean, crops=32, image_size=(16, 20))
    assert pairs.damaged.values.shape == pairs.clean.values.shape == (3, 16, 20)


def test_unreadable_files_leave_out_their_pair_alone(folders: tuple[Path, Path]) -> None:
    dirty, clean = folders
    file = clean / "in" / "page0.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UnreadableFileError, match=r"clean.in.page0\.png"):
        quiet_pairs(dirty, clean)
    (dirty / "in" / "page1.png").write_bytes(b"no picture")
    pairs = quiet_pairs(dirty, clean, skip_unreadable=True)
    assert set(pairs.damaged.names) == {"in/page2.png"}
    assert np.array_equal(pairs.damaged.values, 255 - pairs.clean.values)
    assert [Path(name).name for name, _ in pairs.damaged.skipped] == ["page0.png", "page1.png"]


def test_pictures_are_paired_with_other_pictures(folders: tuple[Path, Path]) -> None:
    dirty, clean = folders
    with pytest.raises(DataError, match="was given as damaged and as clean"):
        read_pairs(dirty, dirty)
    rows = clean.parent / "rows.npy"
    np.save(rows, np.zeros((3, 8, 8)))
    with pytest.raises(DataError, match=r"holds picture files, '.*rows.npy' rows of another kind"):
        read_pairs(dirty, rows)
    with pytest.raises(DataError, match=r"holds picture files, '.*rows.npy' rows of another kind"):
        read_pairs(rows, clean)
    same = rows.with_name("same.npy")
    same.write_bytes(rows.read_bytes())
    assert read_pairs(rows, same).clean.values.shape == (3, 8, 8)


@pytest.fixture
def scans(tmp_path: Path) -> tuple[Path, Path]:
    """Pages of bars on white, and the same under a shade that takes half of the light."""
    generator = np.random.default_rng(SEED)
    for number in range(4):
        page = np.full((90 + 5 * number, 100), 255.0)
        for top in range(8, 80, 12):
            page[top : top + 4, 8 : int(generator.integers(40, 95))] = 20
        save(tmp_path / "clean" / f"{number}.png", page.astype(np.uint8))
        save(tmp_path / "dirty" / f"{number}.png", (page / 2).astype(np.uint8))
    return tmp_path / "dirty", tmp_path / "clean"


def test_pairs_are_learned_from_and_applied_in_full(
    run: Run, scans: tuple[Path, Path], tmp_path: Path
) -> None:
    dirty, clean = scans
    few = ["--hidden-layer-sizes", "8,8", "--architecture", "restoring", "--n-components", "4"]
    few += ["--max-epochs", "30", "--learning-rate", "0.01", "--random-state", SEED]
    model = tmp_path / "model"
    train = ["train", dirty, "--clean", clean, "--model", "denoising", *few]
    done = run(*train, "-o", model, "--json")
    assert done.code == 0, done.err
    assert done.json["unpaired"] == []
    assert done.json["clean"] == str(clean)
    assert done.json["cropped"]["pictures"] == 4
    loaded: Any = load(model)
    assert loaded.from_pairs_
    assert loaded.corruption is None
    assert not is_of_noise(loaded.set_params(corruption="gaussian"))
    restored = run("denoise", model, dirty, "-o", tmp_path / "out", "--clean", clean, "--json")
    assert restored.json["psnr"]["restored"] > restored.json["psnr"]["damaged"] + 5
    assert {one["share"] for one in restored.json["pictures"]} == {1.0}
    half = ["--strength", "0.5"]
    answer = run("denoise", model, dirty, "-o", tmp_path / "half", *half, "--json").json
    assert answer["rms_change"] == pytest.approx(restored.json["rms_change"] / 2, rel=0.03)
    resumed = run(
        "train", dirty, "--clean", clean, "--resume", model, "--max-epochs", "31", "-o",
        tmp_path / "more", "--json",
    )  # fmt: skip
    assert resumed.json["epochs"] == 31


def test_two_folders_are_pairs_in_python(scans: tuple[Path, Path]) -> None:
    model = DenoisingAutoencoder(
        4, architecture="restoring", hidden_layer_sizes=(8,), corruption=None, max_epochs=1,
        random_state=SEED,
    )  # fmt: skip
    with pytest.warns(NarrowsWarning, match="crops of 64 x 64"):
        model.fit(*map(str, scans))
    assert model.from_pairs_
    assert model.sample_shape_ == (64, 64)
    model.set_params(corruption="gaussian").fit(np.random.default_rng(SEED).random((30, 16, 16)))
    assert not model.from_pairs_


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--clean is for models that learn to restore, and --model autoencoder is none"),
        (["--noisy"], "--noisy does not go with --clean"),
        (["--model", "denoising", "--window", "64"], "--window does not go with --clean"),
        (["--model", "denoising", "--ray", "local"], "--ray does not go with --clean"),
        (["--for", "anomalies"], "--for does not go with --clean"),
    ],
)
def test_options_that_contradict_pairs_are_refused(
    run: Run, scans: tuple[Path, Path], tmp_path: Path, options: list[str], words: str
) -> None:
    refused = run("train", scans[0], "--clean", scans[1], *options, "-o", tmp_path / "model")
    assert refused.code != 0
    assert words in refused.err
    assert not (tmp_path / "model").exists()
