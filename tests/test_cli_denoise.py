"""``narrows denoise`` with picture files: what is kept, what is changed, and what is said."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from cli_kit import Run
from numpy.typing import NDArray
from picture_kit import png16, tiff
from PIL import Image

from narrows import DenoisingAutoencoder, load
from narrows.evaluation import compare_with_clean

SEED = 0
Y, X = np.mgrid[:60, :80]
WAVES = np.stack([128 + 90 * np.sin(X / p) * np.cos(Y / (p + 3)) for p in range(5, 29)])
DEEP = 257 * 128 + 257 * 90 * np.sin(X / 8) * np.cos(Y / 11)


def noisy(clean: NDArray[Any], level: float, seed: int = SEED) -> NDArray[Any]:
    """Add noise of a level to a picture of floats."""
    return clean + np.random.default_rng(seed).normal(0, level, clean.shape)


def eight(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def psnr(one: NDArray[Any], other: NDArray[Any], white: float = 255) -> float:
    return float(10 * np.log10(white**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models of grey pictures and of colours, which take any size."""
    folder = tmp_path_factory.mktemp("models")
    rows = eight(WAVES[:, :48, :48])
    colours = np.stack([rows, rows[::-1], np.roll(rows, 5, axis=0)], axis=3)
    made = {}
    for name, learned in (("grey", rows), ("colour", colours)):
        model = DenoisingAutoencoder(
            16, architecture="fully_convolutional", hidden_layer_sizes=(16,), max_epochs=40,
            corruption_level=0.1, batch_size=6, random_state=SEED,
        )  # fmt: skip
        made[name] = model.fit(learned).save(folder / name)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of several sizes, kinds and levels of noise, in subfolders."""
    place = tmp_path / "photos"
    (place / "deep" / "er").mkdir(parents=True)
    grey = eight(noisy(WAVES[3], 20))
    colours = np.dstack([grey, eight(noisy(WAVES[5], 20, 1)), eight(noisy(WAVES[9], 20, 2))])
    Image.fromarray(grey).save(place / "grey.png", dpi=(300, 300))
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(colours[:41, :33]).save(
        place / "deep" / "a.jpg", exif=exif, quality=97, subsampling=0
    )
    Image.fromarray(colours).save(place / "deep" / "er" / "a.webp", lossless=True)
    Image.fromarray(np.dstack([colours, grey])).save(place / "a.png")
    (place / "sixteen.png").write_bytes(png16(np.rint(noisy(DEEP, 5000)).astype(np.uint16)))
    (place / "float.tif").write_bytes(tiff(noisy(WAVES[4], 20).astype(np.float32) / 255))
    return place


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_a_folder_comes_back_as_it_was_but_less_noisy(
    models: dict[str, Path], folder: Path, run: Run
) -> None:
    for name in ("grey", "colour"):
        done = run("denoise", models[name], folder, "-o", name, "--json")
        assert done.code == 0, done.err
        assert files(Path(name)) == files(folder)
        told = {one["path"]: one for one in done.json["pictures"]}
        assert sorted(told) == files(folder)
        for path in files(folder):
            assert told[path]["noise"] == pytest.approx(20, abs=4), path
            assert told[path]["rms_change"] > 8, path
            if path == "float.tif":
                continue
            with Image.open(folder / path) as one, Image.open(Path(name, path)) as other:
                assert (one.format, one.mode, one.size) == (other.format, other.mode, other.size)
                assert one.getexif() == other.getexif()
        with Image.open(folder / "a.png") as one, Image.open(Path(name, "a.png")) as other:
            opacity = [np.asarray(image)[:, :, 3] for image in (one, other)]
            np.testing.assert_array_equal(*opacity)
        with Image.open(Path(name, "grey.png")) as image:
            assert round(image.info["dpi"][0]) == 300
            assert (
                psnr(np.asarray(image), WAVES[3]) > psnr(eight(noisy(WAVES[3], 20)), WAVES[3]) + 2
            )
        restored = tifffile.imread(Path(name, "float.tif"))
        assert restored.dtype == np.float32
        assert psnr(restored * 255, WAVES[4]) > psnr(noisy(WAVES[4], 20), WAVES[4]) + 2
        assert "channels_apart" in {one["kind"] for one in done.json["warnings"]}


def test_sixteen_bits_are_not_rounded_to_eight_on_the_way(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    given = np.rint(noisy(DEEP, 5000)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png16(given))
    words = ["denoise", models["grey"], "a.png", "-o", "b.png", "--even-if-clean"]
    assert run(*words).code == 0
    with Image.open("b.png") as image:
        made = np.asarray(image).astype(float)
    units = (given / 65535 * 255).astype(np.float32)
    truth = load(models["grey"]).denoise(units[None])[0] / 255 * 65535
    np.testing.assert_allclose(made, truth.clip(0, 65535), atol=1)


def test_thorough_is_the_mean_over_all_orientations(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    """Sides that are multiples of all strides need no padding."""
    given = eight(noisy(WAVES[5][:32, :64], 20))
    Image.fromarray(given).save(tmp_path / "a.png")
    model = load(models["grey"])
    made = []
    for turns in range(4):
        for mirror in (False, True):
            turned = np.rot90(given, turns)
            turned = turned[:, ::-1] if mirror else turned
            restored = model.denoise(turned[None].copy())[0]
            restored = restored[:, ::-1] if mirror else restored
            made.append(np.rot90(restored, -turns))
    words = ["denoise", models["grey"], "a.png", "--even-if-clean", "--json"]
    assert run(*words, "-o", "quick.png").json["thorough"] is False
    assert run(*words, "-o", "b.png", "--thorough").json["thorough"] is True
    found = np.asarray(Image.open("b.png")).astype(float)
    np.testing.assert_allclose(found, np.mean(made, axis=0).clip(0, 255), atol=0.51)
    assert (found != np.asarray(Image.open("quick.png"))).any()


def test_strength_is_the_multiple_of_the_change(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    given = eight(noisy(WAVES[7], 20))
    Image.fromarray(given).save(tmp_path / "a.png")
    change = load(models["grey"]).denoise(given[None])[0] - given.astype(np.float64)
    for strength in ("0", "0.5", "1", "1.3"):
        words = ["-o", f"{strength}.png", "--strength", strength, "--even-if-clean", "--json"]
        done = run("denoise", models["grey"], "a.png", *words)
        truth = np.rint(given + float(strength) * change).clip(0, 255)
        made = np.asarray(Image.open(f"{strength}.png"))
        np.testing.assert_allclose(made, truth, atol=1)
        assert (done.json["pictures"][0]["share"], done.json["strength"]) == (1, float(strength))
        rms = np.sqrt(np.mean((made - given.astype(float)) ** 2))
        assert done.json["rms_change"] == pytest.approx(rms, abs=1e-3)
    np.testing.assert_array_equal(np.asarray(Image.open("0.png")), given)
    for strength in ("-1", "nan", "inf", "1e30"):
        refused = run("denoise", models["grey"], "a.png", "-o", "x.png", "--strength", strength)
        assert (refused.code, "strength" in refused.err) == (2, True)
        assert not Path("x.png").exists()


def test_clean_pictures_stay_as_they_are(models: dict[str, Path], tmp_path: Path, run: Run) -> None:
    """In the mean, PSNR never falls by more than 0.1 dB, whatever the level of noise."""
    model = load(models["grey"])
    for level in (0, 1, 2, 5, 10, 25):
        place = tmp_path / f"noisy-{level}"
        place.mkdir()
        (tmp_path / "clean").mkdir(exist_ok=True)
        for number in range(0, 24, 4):
            Image.fromarray(eight(noisy(WAVES[number], level, number))).save(
                place / f"{number}.png"
            )
            Image.fromarray(eight(WAVES[number])).save(tmp_path / "clean" / f"{number}.png")
        words = ["-o", f"out-{level}", "--clean", "clean", "--json"]
        done = run("denoise", models["grey"], place, *words)
        assert done.code == 0, done.err
        found = done.json["psnr"]
        assert found["restored"] > found["damaged"] - 0.1
        assert done.json["noise"]["median"] == pytest.approx(level, rel=0.2, abs=0.5)
        if level == 0:
            # The model itself would do harm.
            row = eight(WAVES[8])[None]
            assert compare_with_clean(model.denoise(row), row, 255).psnr < 40
            assert done.json["exact"]["restored"] == 6
            assert "held_back" in {one["kind"] for one in done.json["warnings"]}
            assert "--even-if-clean" in done.err
        if level >= 10:
            assert found["restored"] > found["damaged"] + 3


def test_scores_are_those_of_what_was_written(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "clean").mkdir()
    scores = []
    for number in range(3):
        clean = eight(WAVES[number, : 40 + number, :50])
        Image.fromarray(clean).save(f"clean/{number}.bmp")
        Image.fromarray(eight(noisy(clean.astype(float), 25, number))).save(f"in/{number}.png")
    done = run("denoise", models["grey"], "in", "-o", "out", "--clean", "clean", "--json")
    for number in range(3):
        values = [
            np.asarray(Image.open(file))[None]
            for file in (f"in/{number}.png", f"out/{number}.png", f"clean/{number}.bmp")
        ]
        scores.append([compare_with_clean(one, values[2], 255) for one in values[:2]])
    for place, when in enumerate(("damaged", "restored")):
        for name in ("psnr", "ssim"):
            truth = np.mean([getattr(score[place], name) for score in scores])
            assert done.json[name][when] == pytest.approx(truth)
    line = run("denoise", models["grey"], "in", "-o", "again", "--clean", "clean").out
    assert line.startswith("3 pictures restored in again; noise 2")
    line = line.partition("\n")[0]
    for words in ("changed by", "root mean square", "PSNR", "SSIM"):
        assert words in line
    Image.fromarray(eight(WAVES[0, :20, :50])).save("clean/1.bmp")
    refused = run("denoise", models["grey"], "in", "-o", "third", "--clean", "clean")
    assert "has 41 x 50 pixels, its original 'clean/1.bmp' 20 x 50" in refused.err
    assert (refused.code, Path("third").exists()) == (3, False)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (7, 9), (2, 3)])
def test_pictures_of_a_few_pixels(
    models: dict[str, Path], size: tuple[int, int], tmp_path: Path, run: Run
) -> None:
    Image.fromarray(eight(noisy(WAVES[2], 30))[: size[0], : size[1]]).save(tmp_path / "a.png")
    done = run("denoise", models["colour"], "a.png", "-o", "b.png")
    assert done.code == 0, done.err
    with Image.open("b.png") as image:
        assert (image.size, image.mode) == (size[::-1], "L")


def test_stacks_keep_every_page_and_share_one_white(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    """12 bits in 16, as a microscope writes them: white is near the largest value of all pages."""
    clean = 300 + 10 * WAVES[:3]
    clean[1] /= 3
    stack = np.rint(noisy(clean, 200)).clip(0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    for more in ([], ["--pages", "all"]):
        done = run(
            "denoise", models["grey"], "a.tif", "-o", "b.tif", "--json", "--overwrite", *more
        )
        assert done.code == 0, done.err
        with tifffile.TiffFile("b.tif") as opened:
            assert opened.series[0].axes == "ZYX"
            made = opened.asarray()
        assert (made.dtype, made.shape) == (stack.dtype, stack.shape)
        for page in range(3):
            assert psnr(made[page], clean[page]) > psnr(stack[page], clean[page]) + 1
        (told,) = done.json["pictures"]
        assert (told["pages"], done.json["rows"]) == (3, 3)
        assert told["white"] == pytest.approx(np.quantile(stack, 0.999), rel=0.1)
        assert "tones_guessed" in {one["kind"] for one in done.json["warnings"]}
    refused = run("denoise", models["grey"], "a.tif", "-o", "c.tif", "--pages", "first")
    assert (refused.code, "keep all of them" in refused.err) == (2, True)


def test_values_that_are_not_finite_stay_and_harm_no_others(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    given = noisy(WAVES[6], 20).astype(np.float32)
    (tmp_path / "whole.tif").write_bytes(tiff(given))
    gaps = given.copy()
    gaps[5, 7], gaps[20:23, 30], gaps[50, 60] = np.nan, np.inf, -np.inf
    (tmp_path / "gaps.tif").write_bytes(tiff(gaps))
    done = run("denoise", models["grey"], "gaps.tif", "-o", "b.tif", "--json")
    assert done.code == 0, done.err
    made = tifffile.imread("b.tif")
    np.testing.assert_array_equal(made[~np.isfinite(gaps)], gaps[~np.isfinite(gaps)])
    assert np.isfinite(made).sum() == np.isfinite(gaps).sum()
    assert done.json["pictures"][0]["not_finite"] == 5
    assert run("denoise", models["grey"], "whole.tif", "-o", "c.tif").code == 0
    far = np.ones(gaps.shape, bool)
    far[:30, :50] = far[40:, 50:70] = False
    np.testing.assert_allclose(made[far], tifffile.imread("c.tif")[far], atol=2)
    (tmp_path / "none.tif").write_bytes(tiff(np.full((40, 40), np.nan, np.float32)))
    assert run("denoise", models["grey"], "none.tif", "-o", "d.tif").code == 0
    assert np.isnan(tifffile.imread("d.tif")).all()


def test_odd_files_are_restored_or_refused_in_one_line(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    colours = np.dstack([eight(noisy(WAVES[n], 25, n)) for n in range(3)])
    image = Image.fromarray(colours)
    image.convert("CMYK").save("cmyk.jpg")
    image.quantize(32).save("palette.png")
    image.convert("1").save("bits.png")
    frames = [image, Image.fromarray(np.roll(colours, 9, axis=0))]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:], duration=[70, 130])
    Path("big.tif").write_bytes(tiff(257 * colours[:, :, 0].astype(np.uint16), byteorder=">"))
    five = np.dstack([257 * colours.astype(np.uint16), 257 * colours[:, :, :2].astype(np.uint16)])
    Path("five.tif").write_bytes(tiff(five, extrasamples=[0, 0, 0, 0]))
    rng = np.random.default_rng(SEED)
    Image.fromarray(rng.integers(0, 256, (50, 50), np.uint8)).save("noise.png")
    Image.fromarray(np.full((50, 50), 77, np.uint8)).save("flat.png")
    Path("in").mkdir()
    for file in ("cmyk.jpg", "palette.png", "bits.png", "moving.gif", "big.tif", "five.tif",
                 "noise.png", "flat.png"):  # fmt: skip
        shutil.move(file, "in")
    for name in ("grey", "colour"):
        done = run("denoise", models[name], "in", "-o", name, "--json")
        assert done.code == 0, done.err
        assert files(Path(name)) == files(tmp_path / "in")
        found = {}
        for file in files(Path(name)):
            if file == "five.tif":
                continue
            with Image.open(Path(name, file)) as image:
                found[file] = (image.mode, getattr(image, "n_frames", 1))
        assert found == {
            "cmyk.jpg": ("CMYK", 1), "palette.png": ("RGB", 1), "bits.png": ("1", 1),
            "moving.gif": ("P", 2), "big.tif": ("I;16B", 1), "noise.png": ("L", 1),
            "flat.png": ("L", 1),
        }  # fmt: skip
        assert tifffile.imread(Path(name, "five.tif")).shape == five.shape
        np.testing.assert_array_equal(np.asarray(Image.open(Path(name, "flat.png"))), 77)
        told = {one["path"]: one for one in done.json["pictures"]}
        assert told["palette.png"]["not_kept"] == ["palette"]
        assert told["moving.gif"]["not_kept"] == ["few_colours"]


def test_unreadable_files_are_refused_or_skipped(
    models: dict[str, Path], folder: Path, run: Run
) -> None:
    (folder / "lost").mkdir()
    (folder / "lost" / "bad.png").write_bytes((folder / "a.png").read_bytes()[:300])
    refused = run("denoise", models["grey"], folder, "-o", "out")
    assert refused.code == 3
    assert "lost/bad.png' is not restored: it is damaged or cut short" in refused.err
    assert "--skip-unreadable" in refused.err
    assert refused.err.splitlines()[-1].startswith("narrows: error:")
    assert not Path("out").exists()
    done = run("denoise", models["grey"], folder, "-o", "out", "--skip-unreadable", "--json")
    assert [Path(one["path"]).name for one in done.json["skipped"]] == ["bad.png"]
    assert files(Path("out")) == [name for name in files(folder) if "lost" not in name]
    assert not Path("out", "lost").exists()
    (folder.parent / "empty").mkdir()
    assert "holds no pictures" in run("denoise", models["grey"], "empty", "-o", "x").err
    (folder.parent / "empty" / "bad.jpg").write_bytes(b"no")
    words = ["denoise", models["grey"], "empty", "-o", "x", "--skip-unreadable"]
    assert "none of 1 picture can be read" in run(*words).err
    assert not Path("x").exists()
    words = ["denoise", models["grey"], folder, "-o", "x", "--exclude", "lost", "--max-pixels", "9"]
    assert "more than the 9 that are safe" in run(*words).err
    assert sorted(path.name for path in Path().iterdir()) == ["empty", "out", "photos"]


def test_what_is_read_is_never_written_to(models: dict[str, Path], folder: Path, run: Run) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    for data, to in (
        (folder, folder), (folder, folder / "out"), (folder / "a.png", folder / "a.png"),
        (folder / "a.png", folder), (folder / "deep", folder / "deep" / "er"),
    ):  # fmt: skip
        refused = run("denoise", models["grey"], data, "-o", to, "--overwrite")
        assert refused.code == 2, refused.err
        assert "which is only read; name a folder or a file elsewhere" in refused.err
    Path("link").symlink_to(folder)
    assert run("denoise", models["grey"], "link", "-o", folder, "--overwrite").code == 2
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_outputs_that_exist_stay_unless_told_otherwise(
    models: dict[str, Path], folder: Path, run: Run
) -> None:
    Path("out").mkdir()
    Path("out", "grey.png").write_bytes(b"mine")
    Path("out", "other.txt").write_text("mine")
    refused = run("denoise", models["grey"], folder, "-o", "out")
    assert (refused.code, Path("out", "grey.png").read_bytes()) == (5, b"mine")
    assert run("denoise", models["grey"], folder, "-o", "out", "--overwrite").code == 0
    assert Path("out", "other.txt").read_text() == "mine"
    assert files(Path("out")) == sorted([*files(folder), "other.txt"])


def test_another_kind_of_file_is_made_where_it_is_named(
    models: dict[str, Path], folder: Path, run: Run
) -> None:
    assert run("denoise", models["colour"], folder / "deep" / "a.jpg", "-o", "b.png").code == 0
    with Image.open("b.png") as image:
        assert (image.format, image.size, image.getexif()[274]) == ("PNG", (33, 41), 6)
    refused = run("denoise", models["grey"], folder / "float.tif", "-o", "c.png")
    assert (refused.code, "does not hold 1 channels of float32" in refused.err) == (3, True)
    refused = run("denoise", models["grey"], folder / "a.png", "-o", "c.jpg")
    assert "with opacity, which the given file has" in refused.err
    assert not Path("c.png").exists()
    assert not Path("c.jpg").exists()


def test_names_that_differ_in_their_endings_alone_stay_apart(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg", "a.tif", "A.PNG"):
        Image.fromarray(eight(noisy(WAVES[1], 9))).save(tmp_path / "in" / name)
    assert run("denoise", models["grey"], "in", "-o", "out").code == 0
    assert files(tmp_path / "out") == files(tmp_path / "in")


def test_pictures_of_one_bit_stay_and_that_is_said(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    bits = WAVES[2] > 128
    Image.fromarray(bits).save(tmp_path / "bits.png")
    done = run("denoise", models["grey"], "bits.png", "-o", "same.png", "--json")
    assert (done.json["pictures"][0]["noise"], done.json["pictures"][0]["share"]) == (None, 0)
    assert [one["kind"] for one in done.json["warnings"]] == ["held_back"]
    np.testing.assert_array_equal(np.asarray(Image.open("same.png")), bits)
    done = run("denoise", models["grey"], "bits.png", "-o", "b.png", "--even-if-clean", "--json")
    assert done.json["pictures"][0]["share"] == 1


def test_pages_of_sixteen_bits_do_not_go_into_one_picture(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    tifffile.imwrite(
        tmp_path / "deep.tif",
        np.rint(DEEP)[None].repeat(5, 0).astype(np.uint16),
        photometric="minisblack",
    )
    refused = run("denoise", models["grey"], "deep.tif", "-o", "deep.png")
    assert (refused.code, "does not hold 5 pictures of 16 bits" in refused.err) == (3, True)
    assert not Path("deep.png").exists()


def test_a_file_that_is_not_there_is_said_so(run: Run, tmp_path: Path) -> None:
    refused = run("denoise", tmp_path / "none.png", "-o", "x.png")
    assert (refused.code, "does not exist" in refused.err) == (3, True)


def test_options_without_effect_are_refused(
    models: dict[str, Path], folder: Path, run: Run, tmp_path: Path
) -> None:
    for words in (["--rate", "8000"], ["--hop", "4"], ["--delimiter", ";"]):
        refused = run("denoise", models["grey"], folder / "grey.png", "-o", "x.png", *words)
        assert refused.code == 2
    np.save(tmp_path / "x.npy", eight(WAVES[:2]))
    for words in (["--strength", "0.5"], ["--even-if-clean"], ["--thorough"]):
        refused = run("denoise", models["grey"], "x.npy", "-o", "y.npy", *words)
        assert (refused.code, "is for picture files" in refused.err) == (2, True)
    assert run("denoise", models["grey"], "x.npy", "-o", "y.npy").code == 0
    assert run("denoise", models["grey"], "-o", "y.npy").code == 2
    assert run("denoise", "-o", "y.npy").code == 2


def test_a_model_of_deep_pictures_takes_them_in_their_own_units(tmp_path: Path, run: Run) -> None:
    """12 bits in 16: the model knows what black and white are, and no guess is said."""
    rows = np.rint(300 + 10 * WAVES[:, :32, :32]).astype(np.uint16)
    model = DenoisingAutoencoder(
        8, architecture="fully_convolutional", hidden_layer_sizes=(8,), max_epochs=3,
        corruption_level=0.1, random_state=SEED,
    )  # fmt: skip
    model.fit(rows).save(tmp_path / "model")
    given = np.rint(noisy(300 + 10 * WAVES[3], 100)).clip(0).astype(np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff(given))
    done = run("denoise", "model", "a.tif", "-o", "b.tif", "--even-if-clean", "--json")
    assert done.code == 0, done.err
    truth = model.denoise(given[None])[0]
    np.testing.assert_allclose(tifffile.imread("b.tif"), truth, atol=2)
    assert "tones_guessed" not in {one["kind"] for one in done.json["warnings"]}
    Image.fromarray(eight(WAVES[3])).save("eight.png")
    refused = run("denoise", "model", "eight.png", "-o", "c.png")
    assert (refused.code, "nobody can tell what white is" in refused.err) == (3, True)


def test_pictures_are_restored_without_a_model_by_the_denoisers_that_ship(run, tmp_path):
    y, x = np.mgrid[:70, :90]
    clean = 128 + 70 * np.sin(x / 9) * np.cos(y / 7)
    generator = np.random.default_rng(20261130)
    (tmp_path / "photos").mkdir()
    for name, channels in (("grey.png", ()), ("colours.png", (3,))):
        values = clean.reshape(*clean.shape, *(1,) * len(channels)) * np.ones(channels)
        noisy = values + generator.normal(0, 25, values.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / name)
    told = run("denoise", tmp_path / "photos", "-o", tmp_path / "clean", "--json")
    assert told.code == 0, told.err
    assert told.json["model"] == "built-in"
    for name in ("grey.png", "colours.png"):
        restored = np.asarray(Image.open(tmp_path / "clean" / name)).astype(float)
        error = np.square(restored.reshape(70, 90, -1) - clean[:, :, None]).mean()
        assert error < 25**2 / 6
    np.save(tmp_path / "rows.npy", np.zeros((5, 8, 8)))
    refused = run("denoise", tmp_path / "rows.npy", "-o", tmp_path / "rows.out.npy")
    assert refused.code != 0
    assert "name a model before it" in refused.err


@pytest.mark.parametrize("is_right", [True, False])
def test_an_original_of_another_picture_is_named(run: Run, tmp_path: Path, is_right: bool) -> None:
    Image.fromarray(eight(noisy(WAVES[0], 40))).save(tmp_path / "noisy.png")
    Image.fromarray(eight(WAVES[0 if is_right else 5])).save(tmp_path / "clean.png")
    told = run(
        "denoise", tmp_path / "noisy.png", "-o", tmp_path / "new.png", "--clean",
        tmp_path / "clean.png", "--json",
    )  # fmt: skip
    found = [one for one in told.json["warnings"] if one["kind"] == "originals_unlike"]
    assert len(found) == 1 - is_right


def test_pages_of_several_types_have_each_its_own_white(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    page = eight(noisy(WAVES[3], 20))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for values in (page, page.astype(np.uint16) * 257, page.astype(np.float32) / 255):
            writer.write(values, photometric="minisblack", metadata=None)
    done = run("denoise", models["grey"], "a.tif", "-o", "b.tif", "--json")
    assert done.code == 0, done.err
    with tifffile.TiffFile("b.tif") as opened:
        made = [one.asarray() for one in opened.pages]
    assert [one.dtype.name for one in made] == ["uint8", "uint16", "float32"]
    np.testing.assert_allclose(made[1] / 257, made[0], atol=0.6)
    np.testing.assert_allclose(made[2] * 255, made[0], atol=0.6)
    assert "white" not in done.json["pictures"][0]


def test_a_file_that_its_kind_cannot_hold_does_not_stop_a_folder(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    (tmp_path / "in").mkdir()
    grey = eight(noisy(WAVES[3], 20))
    Image.fromarray(grey).save(tmp_path / "in" / "a.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "in" / "deep.jp2")
    done = run("denoise", models["grey"], "in", "-o", "out", "--json")
    assert done.code == 0, done.err
    assert files(tmp_path / "out") == ["a.png"]
    deep = str(tmp_path / "in" / "deep.jp2")
    (said,) = (one for one in done.json["warnings"] if one["kind"] == "not_written")
    assert Path(said["first"]).name == "deep.jp2"
    assert "16 bits a sample" in said["message"]
    assert [Path(one["path"]).name for one in done.json["skipped"]] == ["deep.jp2"]
    # The remedy can be carried out.
    assert run("denoise", models["grey"], deep, "-o", "deep.tif").code == 0
    assert tifffile.imread(tmp_path / "deep.tif").dtype == np.uint16
    refused = run("denoise", models["grey"], deep, "-o", "same.jp2")
    assert (refused.code, "name a file ending in .tif" in refused.err) == (3, True)
    assert not Path("same.jp2").exists()


def test_pictures_without_noise_are_said_to_have_none(
    models: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(tmp_path / "in" / "flat.png")
    Image.fromarray(np.full((1, 1), 128, np.uint8)).save(tmp_path / "in" / "one.png")
    done = run("denoise", models["grey"], "in", "-o", "out", "--json")
    assert done.code == 0, done.err
    assert [(one["kind"], one["files"]) for one in done.json["warnings"]] == [("no_noise", 2)]
    np.testing.assert_array_equal(np.asarray(Image.open("out/flat.png")), 128)


def test_outputs_of_no_kind_of_picture_are_refused_by_their_ending(
    tmp_path: Path, run: Run
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(eight(WAVES[3])).save(tmp_path / "in" / "a.png")
    refused = run("denoise", "in/a.png", "-o", "a.xyz")
    assert refused.code == 2
    assert "'a.xyz' ends in .xyz, in which no pictures are written" in refused.err
    refused = run("denoise", "in", "-o", "a.png")
    assert refused.code == 2
    assert "restored into a folder" in refused.err
    shutil.copy("in/a.png", "-a.png")
    refused = run("denoise", "-a.png", "-o", "b.png")
    assert (refused.code, "./-a.png" in refused.err) == (2, True)
    assert run("denoise", "./-a.png", "-o", "-b.png").code == 0
    assert Path("-b.png").exists()


def test_equal_files_have_no_finite_psnr(models: dict[str, Path], tmp_path: Path, run: Run) -> None:
    bits = WAVES[2] > 128
    for place in ("in", "clean"):
        (tmp_path / place).mkdir()
        Image.fromarray(bits).save(tmp_path / place / "a.png")
    done = run("denoise", models["grey"], "in", "-o", "out", "--clean", "clean")
    assert done.code == 0, done.err
    assert "PSNR infinite, as equal to the original" in done.out
    assert "100 dB" not in done.out.splitlines()[0]


def test_senseless_levels_are_refused_before_anything_is_read(tmp_path: Path, run: Run) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "damaged.png").write_bytes(b"no picture")
    for level in ("0:0", "0", "-0.1", "1.5", "0.5:0.2", "nan"):
        words = ["--model", "denoising", "--corruption-level", level]
        refused = run("train", "in", "-o", "model", *words)
        assert refused.code == 2, refused.err
        assert "corruption_level" in refused.err or "corruption-level" in refused.err
    refused = run("train", "in", "-o", "model", "--noisy", "--corruption-level", "0.7")
    assert (refused.code, "share of hidden pixels" in refused.err) == (2, True)
    Image.fromarray(eight(noisy(WAVES[3], 9))).save(tmp_path / "in" / "damaged.png")
    refused = run("train", "in", "-o", "model", "--noisy", "--corruption-level", "0.5")
    assert (refused.code, "share of hidden pixels" in refused.err) == (2, True)
