"""Squares cut out of pictures of any sizes, for models that restore pictures."""

import numpy as np
import pytest
from PIL import Image

from narrows import DenoisingAutoencoder, load
from narrows.data.crops import cut_rows
from narrows.data.files import read
from narrows.errors import NarrowsWarning, UnreadableFileError

SEED = 20261130
WAYS = [
    lambda x, k=k, flip=flip: np.rot90(x[::-1] if flip else x, k)
    for k in range(4)
    for flip in (0, 1)
]


@pytest.fixture
def folder(tmp_path):
    """A folder tree of pictures of several sizes, one of them smaller than a crop."""
    generator = np.random.default_rng(SEED)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name, size in (("a.png", (100, 90)), ("sub/b.png", (70, 131)), ("c.png", (20, 40))):
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_every_crop_is_a_square_of_its_picture_mirrored_or_turned(folder):
    with pytest.warns(NarrowsWarning, match="3 pictures of 20 x 40 to 70 x 131") as caught:
        rows = read(folder, crops=32)
    assert rows.values.shape == (rows.cropped.crops, 32, 32, 3)
    assert len(rows.names) == len(rows.values)
    assert rows.cropped.pictures == 3
    assert rows.cropped.mirrored == 1
    assert "1 smaller one mirrored" in str(caught[0].message)
    share = len(rows.values) * 32**2 / (100 * 90 + 70 * 131 + 20 * 40)
    assert rows.cropped.share == pytest.approx(share)
    whole = {name: np.asarray(Image.open(folder / name)) for name in set(rows.names)}
    whole["c.png"] = np.pad(whole["c.png"], [(0, 12), (0, 0), (0, 0)], mode="symmetric")
    seen = set()
    for crop, name in list(zip(rows.values, rows.names, strict=True))[::11]:
        picture = whole[name]
        found = [
            way
            for way, turn in enumerate(WAYS)
            for square in [turn(crop)]
            for top, left in np.argwhere((picture == square[0, 0]).all(axis=-1))
            if np.array_equal(picture[top : top + 32, left : left + 32], square)
        ]
        assert len(found) == 1, name
        seen |= set(found)
    assert len(seen) > 4
    with pytest.warns(NarrowsWarning, match="crops"):
        np.testing.assert_array_equal(read(folder, crops=32).values, rows.values)


def test_crops_of_large_pictures_do_not_overlap(tmp_path):
    """A picture whose pixels are their own places tells where each crop lies."""
    height, width = 1040, 4100
    places = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    pixels = np.stack([places & 255, places >> 8 & 255, places >> 16], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png", compress_level=1)
    with pytest.warns(NarrowsWarning, match="crops"):
        rows = read(tmp_path / "large.png", crops=16)
    red, green, blue = np.moveaxis(rows.values.astype(np.int64), -1, 0)
    found = red + 256 * green + 65536 * blue
    assert len(np.unique(found)) == found.size
    assert 0.98 < rows.cropped.share <= 1


def test_depth_and_channels_are_those_of_the_files(tmp_path):
    pixels = np.random.default_rng(SEED).integers(0, 65536, (90, 80), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    with pytest.warns(NarrowsWarning, match="crops"):
        rows = read(tmp_path / "deep.png", crops=64)
    assert rows.values.dtype == np.uint16
    assert rows.values.shape[1:] == (64, 64)
    assert np.isin(rows.values, pixels).all()


def test_small_pictures_of_one_size_stay_whole(tmp_path):
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    rows = read(tmp_path, crops=64)
    assert rows.values.shape == (3, 28, 28)
    assert rows.cropped is None


def test_unreadable_pictures_are_named_or_left_out(folder):
    whole = (folder / "a.png").read_bytes()
    (folder / "d.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFileError, match=r"d\.png"):
        read(folder, crops=32)
    with pytest.warns(NarrowsWarning, match="3 pictures"):
        rows = read(folder, crops=32, skip_unreadable=True)
    assert [name for name, _ in rows.skipped] == [str(folder / "d.png")]
    assert set(rows.names) == {"a.png", "sub/b.png", "c.png"}


def test_train_learns_from_crops_and_goes_on_with_them(run, folder, tmp_path):
    how = ("--model", "denoising", "--random-state", "0", "--json")
    small = ("--architecture", "restoring", "--hidden-layer-sizes", "4", "--n-components", "2")
    first = run("train", folder, "-o", tmp_path / "model", *how, *small, "--max-epochs", "1")
    assert first.code == 0, first.err
    answer = first.json
    assert answer["cropped"]["pictures"] == 3
    assert answer["cropped"]["side"] == 64
    assert answer["rows"] == answer["cropped"]["crops"]
    assert "crops of 64 x 64 at full resolution" in first.err
    model = load(tmp_path / "model")
    assert model.sample_shape_ == (64, 64, 3)
    again = run(
        "train", folder, "--resume", tmp_path / "model", "-o", tmp_path / "more", "--max-epochs",
        "2", "--json",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert again.json["rows"] == answer["rows"]
    whole = run(
        "train", folder, "-o", tmp_path / "whole", *how, *small, "--max-epochs", "1",
        "--image-size", "32",
    )  # fmt: skip
    assert whole.code == 0, whole.err
    assert whole.json["rows"] == 3


def test_fit_of_a_path_learns_from_crops(folder):
    model = DenoisingAutoencoder(max_epochs=1, batch_size=64, random_state=SEED)
    model.set_params(architecture="restoring", hidden_layer_sizes=(4,), n_components=2)
    with pytest.warns(NarrowsWarning, match="crops"):
        model.fit(folder)
    assert model.sample_shape_ == (64, 64, 3)
    with pytest.warns(NarrowsWarning, match="brought to 64 x 64"):
        DenoisingAutoencoder(8, max_epochs=1, random_state=SEED).fit(folder)


def test_train_says_what_half_of_the_epochs_gave_and_how_to_go_on(run, tmp_path):
    y, x = np.mgrid[:200, :240]
    pixels = 128 + 100 * np.sin(x / 9) * np.cos(y / 13)
    Image.fromarray(pixels.round().astype(np.uint8)).save(tmp_path / "waves.png")
    how = ("--hidden-layer-sizes", "4,4", "--n-components", "2", "--architecture", "restoring")
    told = run(
        "train", tmp_path / "waves.png", "-o", tmp_path / "m", "--model", "denoising", *how,
        "--max-epochs", "4", "--batch-size", "4", "--random-state", "0", "--json",
    )  # fmt: skip
    found = told.json["psnr_held_out"]
    model = load(tmp_path / "m")
    errors = [epoch["validation_reconstruction"] / 64**2 for epoch in model.history_.epochs]
    assert found["at_end"] == pytest.approx(-10 * np.log10(min(errors)))
    assert found["after_half"] == pytest.approx(-10 * np.log10(min(errors[:2])))
    again = run(
        "train", tmp_path / "waves.png", "--resume", tmp_path / "m", "-o", tmp_path / "n",
        "--max-epochs", "5",
    )  # fmt: skip
    assert f"--resume {tmp_path / 'n'} --max-epochs 10 goes on" in again.out


def test_reports_judge_crops_at_full_resolution(run, folder, tmp_path):
    model = DenoisingAutoencoder(
        2, architecture="restoring", hidden_layer_sizes=(4,), max_epochs=1, random_state=SEED
    )
    with pytest.warns(NarrowsWarning, match="crops"):
        model.fit(folder)
    model.save(tmp_path / "model")
    (tmp_path / "new").mkdir()
    for name, size in (("a.png", (200, 260)), ("b.png", (150, 130))):
        pixels = np.random.default_rng(SEED).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "new" / name)
    told = run("report", tmp_path / "model", tmp_path / "new", "-o", tmp_path / "report", "--json")
    assert told.code == 0, told.err
    assert told.json["cropped"]["crops"] == 3 * 4 + 2 * 2
    assert told.json["cropped"]["share"] < 1  # crops to be judged do not overlap
    assert "--image-size" not in told.err


def test_of_many_pictures_twenty_thousand_crops_are_taken():
    """Each picture has 42 squares; of 997 of them, as many as there may be are drawn evenly."""
    pictures = np.broadcast_to(np.zeros((500, 400), np.uint8), (997, 500, 400))
    with pytest.warns(NarrowsWarning, match="20000 crops"):
        values, owner = cut_rows(pictures)
    assert len(values) == 20_000
    assert set(np.bincount(owner, minlength=997)) == {20, 21}


def test_reports_recognise_crops_of_pictures_learned_from(run, tmp_path):
    rng = np.random.default_rng(SEED)
    for folder, names in (("learned", "ab"), ("judged", "cd")):
        (tmp_path / folder).mkdir()
        for name in names:
            pixels = rng.integers(0, 256, (300, 310, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    model = DenoisingAutoencoder(
        2, architecture="restoring", hidden_layer_sizes=(4,), max_epochs=1, random_state=SEED
    )
    with pytest.warns(NarrowsWarning, match="overlapping"):
        model.fit(tmp_path / "learned")
    model.save(tmp_path / "model")
    (tmp_path / "learned" / "a.png").rename(tmp_path / "judged" / "e.png")
    told = run(
        "report", tmp_path / "model", tmp_path / "judged", "-o", tmp_path / "report", "--json"
    )
    origin, per_picture = told.json["figures"]["origin"], 4 * 4
    assert told.json["cropped"]["crops"] == 3 * per_picture
    assert origin["n_new"] == 2 * per_picture
    assert origin["n_learned"] + origin["n_held_out"] == per_picture
    assert 0 < origin["n_held_out"] < per_picture
    assert "share pixels with crops learned from" in told.json["notice"]
