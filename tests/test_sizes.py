"""Pictures that are brought to another size: refused, said, and measured at their own.

The seed of everything random here is 0.
"""

from pathlib import Path

import numpy as np
import pytest
from cli_kit import TINY, Result, Run
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from narrows import Autoencoder, Library, load, pack
from narrows.data.decoding import Resized, sizes_of
from narrows.data.depths import resize
from narrows.data.files import read
from narrows.data.images import read_image
from narrows.errors import NarrowsWarning

pytestmark = pytest.mark.cases

RNG = np.random.default_rng(0)
SMALL = ["--n-components", "4", "--max-epochs", "2", "--random-state", "0"]


def scene(height: int, width: int, number: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / (9 + number)) * np.cos(y / (7 + number))
    return np.stack([127 + 100 * waves, 90 + 60 * waves, 160 - 80 * waves], 2).astype(np.uint8)


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 24 x 24 pixels, and damaged pictures of two other sizes beside their originals."""
    for number in range(30):
        save(tmp_path / "train" / f"{number}.png", scene(24, 24, number))
    for name, size in (("a", (60, 90)), ("b", (60, 90)), ("c", (80, 50))):
        clean = scene(*size, 3)
        noise = RNG.normal(0, 40, clean.shape)
        save(tmp_path / "clean" / f"{name}.png", clean)
        save(tmp_path / "noisy" / f"{name}.png", (clean + noise).clip(0, 255).astype(np.uint8))
    return tmp_path


@pytest.fixture
def model(run: Run, folder: Path) -> Path:
    train = ["train", "train", "-o", "model", "--model", "denoising", "--corruption", "gaussian"]
    assert run(*train, *SMALL).code == 0
    return folder / "model"


@pytest.mark.parametrize("verb", ["denoise", "reconstruct"])
@pytest.mark.parametrize("given", ["noisy", "noisy/c.png"])
def test_restoring_at_another_size_is_refused(
    verb: str, given: str, run: Run, model: Path, folder: Path
) -> None:
    refused = run(verb, "model", given, "-o", "out")
    assert refused.code == 3
    for words in ("80 x 50", "24 x 24", "--resize", "fully_convolutional"):
        assert words in refused.err
    assert refused.err.count("\n") == 1
    assert not (folder / "out").exists()
    done = run(verb, "model", given, "-o", "out", "--resize", "--json")
    assert done.code == 0
    largest = [60, 90] if given == "noisy" else [80, 50]
    assert (done.json["resized"]["largest"], done.json["resized"]["to"]) == (largest, [24, 24])
    assert done.json["warnings"] == []
    said = run(verb, "model", given, "-o", "again", "--resize")
    assert "at 24 x 24 (height x width), to which" in said.out
    for file in (folder / "out").iterdir():
        with Image.open(file) as image:
            assert image.size == (24, 24)


@pytest.mark.parametrize("verb", ["denoise", "reconstruct"])
def test_pictures_of_the_models_size_are_restored_as_ever(
    verb: str, run: Run, model: Path, folder: Path
) -> None:
    done = run(verb, "model", "train", "-o", "out", "--json")
    assert (done.code, done.json["warnings"], "resized" in done.json) == (0, [], False)


def test_a_model_that_keeps_sizes_needs_no_leave(run: Run, folder: Path) -> None:
    own = ["--architecture", "fully_convolutional", "--hidden-layer-sizes", "4"]
    train = ["train", "train", "-o", "model", "--model", "denoising", "--corruption", "gaussian"]
    assert run(*train, *SMALL, *own).code == 0
    assert run("denoise", "model", "noisy/c.png", "-o", "out.png").code == 0
    with Image.open(folder / "out.png") as image:
        assert image.size == (50, 80)


def test_a_model_that_keeps_sizes_leaves_them_on_request(run: Run, folder: Path) -> None:
    own = ["--architecture", "fully_convolutional", "--hidden-layer-sizes", "4"]
    assert run("train", "train", "-o", "model", *SMALL, *own).code == 0
    done = run("reconstruct", "model", "noisy", "-o", "out", "--resize", "--json")
    assert done.json["resized"]["to"] == [24, 24]
    with Image.open(folder / "out" / "c.png") as image:
        assert image.size == (24, 24)
    # Without, pictures of several sizes do not go together.
    assert (
        "give pictures of one size together" in run("reconstruct", "model", "noisy", "-o", "x").err
    )


def test_arrays_and_sound_have_no_size_to_be_brought_to(run: Run, folder: Path) -> None:
    np.save(folder / "x.npy", RNG.random((20, 6, 6)))
    train = ["train", "x.npy", "-o", "model", "--model", "denoising", *SMALL]
    assert run(*train).code == 0
    for verb in ("denoise", "reconstruct"):
        for words in (["x.npy", "-o", "y.npy"], ["x.npy", "--signal", "-o", "y.npy"]):
            refused = run(verb, "model", *words, "--resize")
            assert (refused.code, "--resize is for pictures" in refused.err) == (2, True)
    assert not (folder / "y.npy").exists()


def test_decibels_are_measured_at_the_size_of_the_input(
    run: Run, model: Path, folder: Path
) -> None:
    done = run("denoise", "model", "noisy", "-o", "out", "--resize", "--clean", "clean", "--json")
    restored_by = load(model)
    figures = []
    for name in "abc":
        damaged, clean = (
            np.asarray(Image.open(folder / kind / f"{name}.png")) for kind in ("noisy", "clean")
        )
        small = read_image(folder / "noisy" / f"{name}.png", (24, 24, 3))
        row = restored_by.reconstruct(small[None])[0].astype(np.float32)
        height, width = clean.shape[:2]
        channels = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(row[..., c])).resize((width, height), 3)
            ).clip(row[..., c].min(), row[..., c].max())
            for c in range(3)
        ]
        truth = clean.astype(np.float64)
        figures += [
            (
                peak_signal_noise_ratio(truth, made, data_range=255),
                structural_similarity(
                    truth,
                    made,
                    data_range=255,
                    channel_axis=2,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                ),
            )
            for made in (damaged.astype(np.float64), np.stack(channels, 2).astype(np.float64))
        ]
    before, after = np.mean(figures[::2], axis=0), np.mean(figures[1::2], axis=0)
    assert done.json["psnr"]["damaged"] == pytest.approx(before[0])
    assert done.json["psnr"]["restored"] == pytest.approx(after[0])
    assert done.json["ssim"]["damaged"] == pytest.approx(before[1])
    assert done.json["ssim"]["restored"] == pytest.approx(after[1])
    said = run("denoise", "model", "noisy", "-o", "again", "--resize", "--clean", "clean").out
    assert "at the size of the damaged" in said


def test_originals_of_another_size_than_the_damaged_are_refused(
    run: Run, model: Path, folder: Path
) -> None:
    save(folder / "clean" / "b.png", scene(30, 45, 3))
    words = ["denoise", "model", "noisy", "-o", "out", "--resize", "--clean", "clean"]
    refused = run(*words)
    assert refused.code == 3
    assert "'noisy/b.png' has 60 x 90 pixels, its original 'clean/b.png' 30 x 45" in refused.err
    assert not (folder / "out").exists()


def kinds(done: Result) -> list[str]:
    """Name what a command warned of, but that two epochs are short."""
    return [o["kind"] for o in done.json["warnings"] if o["kind"] != "worse_than_mean"]


def test_learning_says_what_pictures_were_brought_to(run: Run, folder: Path) -> None:
    done = run("train", "noisy", "-o", "model", *SMALL, "--json")
    assert "3 pictures of 80 x 50 to 60 x 90 pixels (height x width) brought to 64 x 64" in done.err
    assert "--image-size" in done.err
    assert done.json["resized"] == {
        "pictures": 3, "of": 3, "smallest": [80, 50], "largest": [60, 90], "to": [64, 64],
    }  # fmt: skip
    assert kinds(done) == ["pictures_resized"]
    asked = run("train", "noisy", "-o", "other", *SMALL, "--image-size", "64", "--json")
    assert (kinds(asked), asked.json["sample_shape"]) == ([], [64, 64, 3])
    kept = run("train", "train", "-o", "third", *SMALL, "--json")
    assert (kinds(kept), "resized" in kept.json) == ([], False)


def test_every_verb_that_encodes_says_it_and_matching_does_not(
    run: Run, model: Path, folder: Path
) -> None:
    for verb in (
        ["encode", "model", "noisy", "-o", "codes.npy"],
        ["index", "model", "noisy", "-o", "library"],
    ):
        done = run(*verb, "--json")
        assert done.json["resized"]["to"] == [24, 24]
        assert "brought to 24 x 24, which the model learned from" in done.err
        (said,) = done.json["warnings"]
        assert said["kind"] == "pictures_resized"
    assert run("match", "library", "noisy/a.png").err == ""
    packed = run("pack", "noisy", "-o", "data.lance", "--json")
    assert packed.json["resized"]["to"] == [64, 64]


def test_python_says_it_too(folder: Path) -> None:
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(folder / "train")
    for use in (model.transform, model.reconstruct, model.denoise):
        with pytest.warns(NarrowsWarning, match="3 pictures .* brought to 24 x 24") as caught:
            use(folder / "noisy")
        assert caught[0].message.kind == "pictures_resized"
    with pytest.warns(NarrowsWarning, match="brought to 64 x 64, chosen for"):
        Autoencoder(2, max_epochs=1).fit(folder / "noisy")
    with pytest.warns(NarrowsWarning, match="brought to 64 x 64"):
        assert pack(folder / "noisy", folder / "a.lance").resized.to == (64, 64)
    assert pack(folder / "noisy", folder / "b.lance", image_size=32).resized is None
    # The library keeps the files as they are; what their codes are made of is in the answer.
    _, added = Library.build(folder / "library", folder / "noisy", model=model)
    assert added.resized == Resized(3, 3, (80, 50), (60, 90), (24, 24))
    assert read(folder / "noisy", sample_shape=(5, 4)).resized is None  # which was asked for


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_sizes_are_those_of_pictures_as_they_are_looked_at(
    form: str, orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{form.lower()}"
    Image.fromarray(scene(20, 30, 1)).save(path, form, exif=exif)
    upright = (30, 20) if orientation in (6, 8) else (20, 30)
    assert sizes_of([path, path]) == [upright] * 2
    assert sizes_of([path.read_bytes()]) == [upright]


def test_sizes_of_what_cannot_be_read_are_not_known(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"no")
    assert sizes_of([path]) == [None]
    assert sizes_of([]) == []
    assert Resized.of_read({path: None, tmp_path / "b.png": (3, 4)}, (3, 4), None) is None


def bicubic(have: int, wanted: int) -> np.ndarray:
    """Return the weights (wanted, have) of Keys' cubic kernel, a = -1/2, of no smaller sizes."""
    at = np.abs((np.arange(wanted)[:, None] + 0.5) * have / wanted - np.arange(have) - 0.5)
    near, far = (1.5 * at - 2.5) * at**2 + 1, ((-0.5 * at + 2.5) * at - 4) * at + 2
    weights = np.where(at < 1, near, np.where(at < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("offset", [0, 1e6, -1e9])
def test_pictures_are_brought_to_a_size_to_single_precision_of_their_range(offset: float) -> None:
    values = RNG.normal(size=(9, 7, 2))
    made = resize(values + offset, (20, 11)) - offset
    for channel in range(2):
        own = values[..., channel]
        truth = (bicubic(9, 20) @ own @ bicubic(7, 11).T).clip(own.min(), own.max())
        np.testing.assert_allclose(made[..., channel], truth, atol=1e-6 + 3e-16 * abs(offset))
    np.testing.assert_array_equal(resize(values, (9, 7)), values)


def test_narrow_pictures_are_told_from_signals(run: Run, tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "strips" / f"{number}.png", scene(48, 4, number)[..., 0])
    answer = run("train", "strips", "-o", "model", *TINY, "--json").json
    assert answer["sample_shape"] == [48, 4, 1]
    assert run("reconstruct", "model", "strips", "-o", "out").code == 0
    with Image.open(tmp_path / "out" / "0.png") as image:
        assert image.size == (4, 48)
