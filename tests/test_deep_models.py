"""Models, libraries and commands on pictures of more than 8 bits: one file has one code.

Truth: the same values as arrays, which no reader of files has touched.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from cli_kit import TINY, Run
from numpy.typing import NDArray
from picture_kit import png16, tiff
from PIL import Image
from starlette.testclient import TestClient

from narrows import Autoencoder, DenoisingAutoencoder, Library, load, pack
from narrows.data import images
from narrows.data.depths import encode_png
from narrows.data.files import read, write
from narrows.data.images import read_image
from narrows.errors import NarrowsWarning, UnreadableFileError
from narrows.library.duplicates import find
from narrows.web.app import create_app

COUNT, SIDE, SEED = 24, 12, 0


class Kind(NamedTuple):
    """Pictures of a type, and how files of them are written."""

    values: NDArray[Any]
    encode: Any
    suffix: str
    written: str  # the ending of what is restored

    def fill(self, folder: Path) -> Path:
        folder.mkdir()
        for number, picture in enumerate(self.values):
            (folder / f"{number:02}{self.suffix}").write_bytes(self.encode(picture))
        return folder


def draw(shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float64]:
    """Waves of random phases from ``low`` to ``high``."""
    phase = np.random.default_rng(SEED).uniform(0, 6, (COUNT, *[1] * len(shape)))
    place = np.add(*np.indices(shape[:2])) / 3
    if len(shape) == 3:
        place = place[:, :, None] + np.arange(shape[2])
    wave = np.sin(place[None] + phase)
    return low + (high - low) * (wave - wave.min()) / np.ptp(wave)


GREY, COLOUR = (SIDE, SIDE), (SIDE, SIDE, 3)
TWO, FIVE = (SIDE, SIDE, 2), (SIDE, SIDE, 5)
KINDS = {
    "10 bits, grey PNG": Kind(draw(GREY, 100, 900).astype("u2"), png16, ".png", ".png"),
    "12 bits, grey TIFF": Kind(draw(GREY, 7, 4095).astype("u2"), tiff, ".tif", ".png"),
    "14 bits, colour PNG": Kind(draw(COLOUR, 0, 16000).astype("u2"), png16, ".png", ".png"),
    "16 bits, colour TIFF": Kind(draw(COLOUR, 500, 65535).astype("u2"), tiff, ".tif", ".png"),
    "32-bit floats": Kind(draw(GREY, -1.5, 900).astype("f4"), tiff, ".tiff", ".tif"),
    "signed 16 bits": Kind(draw(GREY, -1000, 3000).astype("i2"), tiff, ".tif", ".tif"),
    "64-bit floats in 0..1": Kind(draw(GREY, 0, 1).astype("f8"), tiff, ".tif", ".tif"),
    "five channels of 8 bits": Kind(draw(FIVE, 0, 255).astype("u1"), tiff, ".tif", ".tif"),
    "two channels of 16 bits": Kind(draw(TWO, 9, 1023).astype("u2"), tiff, ".tif", ".tif"),
}


@pytest.fixture(scope="module", params=KINDS)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A kind of pictures, a folder of them, and a model that learned from the folder."""
    kind = KINDS[request.param]
    folder = kind.fill(tmp_path_factory.mktemp("deep") / "photos")
    model = Autoencoder(3, hidden_layer_sizes=(16,), max_epochs=2, random_state=SEED).fit(folder)
    model.save(folder.parent / "model")
    return kind, folder, model


def truth_of(model: Any, values: NDArray[Any]) -> NDArray[np.float32]:
    codes: NDArray[np.float32] = model.transform(values)
    return codes


def written_back(folder: Path, suffix: str) -> NDArray[Any]:
    files = sorted(folder.rglob(f"*{suffix}"))
    assert len(files) == COUNT
    return np.stack([read_own(file) for file in files])


def read_own(file: Path) -> NDArray[Any]:
    """Read a file by another library, where that keeps all levels."""
    if file.suffix == ".tif":
        return tifffile.imread(file)
    with Image.open(file) as image:
        if image.mode.startswith("I"):
            return np.asarray(image).astype(np.uint16)
        return read_image(file, (image.height, image.width, 3))


def test_a_model_learns_what_the_files_hold(case: Any) -> None:
    kind, folder, model = case
    rows = read(folder)
    np.testing.assert_array_equal(rows.values, kind.values)
    assert rows.values.dtype == kind.values.dtype
    assert model.scaling_.dtype == kind.values.dtype.name
    of_arrays = Autoencoder(3, hidden_layer_sizes=(16,), max_epochs=2, random_state=SEED)
    assert of_arrays.fit(kind.values).fingerprint_ == model.fingerprint_
    if kind.values.dtype == np.uint16:
        ends = (model.scaling_.low, model.scaling_.high)
        is_dark = kind.values.max() < 16384
        assert ends == ((kind.values.min(), kind.values.max()) if is_dark else (0, 65535))


def test_rows_on_the_disk_and_packed_ones_are_the_same(
    case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, folder, model = case
    packed = pack(folder, tmp_path / "data.lance")
    assert packed.dtype == kind.values.dtype.name
    np.testing.assert_array_equal(read(packed.path).values, kind.values)
    again = Autoencoder(3, hidden_layer_sizes=(16,), max_epochs=2, random_state=SEED)
    assert again.fit(packed.path).fingerprint_ == model.fingerprint_
    np.testing.assert_array_equal(model.transform(packed.path), truth_of(model, kind.values))
    monkeypatch.setattr(images, "fits", lambda _: False)
    with pytest.warns(UserWarning, match="they are decoded anew whenever they are needed"):
        rows = read(folder, sample_shape=model.sample_shape_, scaling=model.scaling_)
    np.testing.assert_array_equal(rows.values[:], kind.values)
    np.testing.assert_array_equal(model.transform(rows.values), truth_of(model, kind.values))


def test_one_file_has_one_code_wherever_it_is_read(case: Any, tmp_path: Path, run: Run) -> None:
    kind, folder, model = case
    truth = truth_of(model, kind.values)
    np.testing.assert_array_equal(model.transform(folder), truth)
    library, _ = Library.build(tmp_path / "pictures.lance", folder, model=model)
    np.testing.assert_allclose(library.codes, truth, atol=1e-5)
    np.testing.assert_array_equal(library.read(library.ids), kind.values)
    file = folder / f"07{kind.suffix}"
    match = library.match(file, k=2, rerank="pixels", n_candidates=COUNT)
    assert (match[0].id, match[0].distance) == (7, 0)
    distances = np.square(kind.values - kind.values[7].astype(float)).reshape(COUNT, -1).mean(1)
    np.testing.assert_allclose(match[1].distance, np.sort(distances)[1])
    assert library.verify().ok
    one = read_image(file, model.sample_shape_, scaling=model.scaling_)
    np.testing.assert_array_equal(one, kind.values[7])
    told = run("encode", folder.parent / "model", folder, "-o", tmp_path / "codes.npz", "--json")
    assert told.code == 0
    assert told.json["warnings"] == []
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npz")["X"], truth)
    told = run("match", tmp_path / "pictures.lance", file, "-k", "1", "--json")
    assert told.json["queries"][0]["matches"][0]["id"] == 7
    if kind.values.shape[3:] not in ((), (3,)):  # the page shows no such pictures
        return
    with TestClient(create_app(tmp_path / "pictures.lance"), base_url="http://127.0.0.1") as client:
        sent = client.post("/api/encode", files={"file": file.read_bytes()})
        np.testing.assert_allclose(sent.json()["codes"][0], truth[7], atol=1e-5)


def test_what_is_restored_has_the_files_type(case: Any, tmp_path: Path, run: Run) -> None:
    kind, folder, model = case
    restored = model.reconstruct(kind.values)
    limits = np.iinfo(kind.values.dtype) if kind.values.dtype.kind in "iu" else None
    truth = np.rint(restored).clip(limits.min, limits.max) if limits else restored
    assert run("reconstruct", folder.parent / "model", folder, "-o", tmp_path / "out").code == 0
    made = written_back(tmp_path / "out", kind.written)
    assert made.dtype == kind.values.dtype
    np.testing.assert_allclose(made, truth, atol=1e-3 if limits is None else 1)
    whole = tmp_path / "out.tif"
    assert run("reconstruct", folder.parent / "model", folder, "-o", whole).code == 0
    pages = tifffile.imread(whole, key=range(COUNT))
    np.testing.assert_allclose(pages, made, atol=1e-3 if limits is None else 1)
    # What was written is read as it was written.
    np.testing.assert_array_equal(read(tmp_path / "out").values, made)
    assert pages.dtype == kind.values.dtype


def test_a_denoiser_works_in_the_files_units(tmp_path: Path, run: Run) -> None:
    clean = KINDS["12 bits, grey TIFF"]
    noise = np.random.default_rng(SEED).normal(0, 200, clean.values.shape)
    noisy = clean._replace(values=(clean.values + noise).clip(0, 65535).astype(np.uint16))
    folders = clean.fill(tmp_path / "clean"), noisy.fill(tmp_path / "noisy")
    model = DenoisingAutoencoder(8, max_epochs=60, architecture="dense", random_state=SEED)
    model.fit(clean.values).save(tmp_path / "model")
    out = ["-o", tmp_path / "out", "--clean", folders[0], "--json"]
    told = run("denoise", tmp_path / "model", folders[1], *out)
    error = (noisy.values.astype(float) - clean.values) ** 2
    span = model.scaling_.high - model.scaling_.low
    truth = 10 * np.log10(span**2 / error.reshape(COUNT, -1).mean(1)).mean()
    np.testing.assert_allclose(told.json["psnr"]["damaged"], truth, rtol=1e-6)
    restored = written_back(tmp_path / "out", ".png")
    assert restored.dtype == np.uint16
    assert np.square(restored.astype(float) - clean.values).mean() < error.mean()


def test_what_is_shown_goes_from_the_darkest_to_the_brightest(tmp_path: Path) -> None:
    """The model's range is 100 to 900: 100 is shown as 0, 900 as 255."""
    kind = KINDS["10 bits, grey PNG"]
    large = np.repeat(np.repeat(kind.values, 20, axis=1), 20, axis=2)
    model = Autoencoder(3, max_epochs=1, random_state=SEED).fit(kind.values)
    folder = kind._replace(values=large).fill(tmp_path / "photos")
    library, _ = Library.build(tmp_path / "pictures.lance", folder, model=model)
    assert library.items([0])[0].thumbnail.shape == (128, 128)
    for item, own in zip(library.items(library.ids), large, strict=True):
        shown = np.rint((own.reshape(12, 20, 12, 20).mean(axis=(1, 3)) - 100) / 800 * 255)
        seen = np.asarray(Image.fromarray(item.thumbnail).resize((12, 12), Image.Resampling.BOX))
        assert np.abs(seen.astype(float) - shown).mean() < 12
        assert seen.max() > 200 or shown.max() <= 200
    small = Library.build(tmp_path / "small.lance", kind.fill(tmp_path / "small"), model=model)[0]
    shown = np.rint((kind.values[5] - 100.0) / 800 * 255)
    np.testing.assert_allclose(small.items([5])[0].thumbnail, shown, atol=0.51)
    with TestClient(create_app(tmp_path / "small.lance"), base_url="http://127.0.0.1") as client:
        file = client.get("/api/items/5/picture").content
    np.testing.assert_allclose(read_image(file, (12, 12)), shown, atol=0.51)


def test_duplicates_are_found_among_deep_pictures(tmp_path: Path) -> None:
    kind = KINDS["16 bits, colour TIFF"]
    twice = kind._replace(values=np.concatenate([kind.values, kind.values[3:4] + np.uint16(0)]))
    twice.values[-1, 0, 0, 0] += 1  # another file, whose picture is the same to the eye
    model = Autoencoder(3, max_epochs=2, random_state=SEED).fit(kind.values)
    folder = twice.fill(tmp_path / "photos")
    library, added = Library.build(tmp_path / "pictures.lance", folder, model=model)
    assert added.count == COUNT + 1
    groups = [{member.id for member in group} for group in find(library).groups]
    assert any({3, COUNT} <= group for group in groups)


def test_eight_bits_for_a_model_of_sixteen(tmp_path: Path, run: Run) -> None:
    wide = KINDS["16 bits, colour TIFF"]
    model = Autoencoder(3, max_epochs=1, random_state=SEED).fit(wide.values)
    eight = (wide.values // 257).astype(np.uint8)
    write(tmp_path / "eight", eight)
    truth = truth_of(model, eight * np.uint16(257))
    np.testing.assert_array_equal(model.transform(tmp_path / "eight"), truth)
    narrow = Autoencoder(3, max_epochs=1, random_state=SEED).fit(wide.values // 64)
    narrow.save(tmp_path / "model")
    with pytest.raises(UnreadableFileError, match=r"reach 1023 of 65535, so that nobody can tell"):
        narrow.transform(tmp_path / "eight")
    told = run("encode", tmp_path / "model", tmp_path / "eight", "-o", tmp_path / "codes.npy")
    assert told.code == 3
    assert told.err.count("\n") == 1


def test_sixteen_bits_for_a_model_of_eight_are_said(tmp_path: Path, run: Run) -> None:
    wide = KINDS["16 bits, colour TIFF"]
    eight = ((wide.values.astype(int) + 128) // 257).astype(np.uint8)
    model = Autoencoder(3, max_epochs=1, random_state=SEED).fit(eight)
    model.save(tmp_path / "model")
    folder = wide.fill(tmp_path / "photos")
    told = run("encode", tmp_path / "model", folder, "-o", tmp_path / "codes.npy", "--json")
    (said,) = told.json["warnings"]
    assert (said["kind"], said["files"], said["largest"]) == ("levels_lost", COUNT, 65535)
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), model.transform(eight))
    with pytest.warns(NarrowsWarning, match="24 files of 16 bits, such as"):
        library, _ = Library.build(tmp_path / "pictures.lance", folder, model=model)
    np.testing.assert_array_equal(library.read(library.ids), eight)
    dark = wide._replace(values=wide.values // 16).fill(tmp_path / "dark")
    with (
        pytest.warns(NarrowsWarning, match="24 files of 16 bits, .* read in 8"),
        pytest.warns(NarrowsWarning, match=r"24 files of 16 bits, .* up to 4095, where 65535 is"),
    ):
        model.transform(dark)
    shares = Autoencoder(3, max_epochs=1, random_state=SEED).fit(wide.values / 65535)
    with pytest.warns(NarrowsWarning, match=r"24 files of 16 bits, .* up to 4095, where 65535 is"):
        codes = shares.transform(dark)
    np.testing.assert_allclose(codes, shares.transform(wide.values // 16 / 65535), atol=1e-4)
    floats = KINDS["32-bit floats"].fill(tmp_path / "floats")
    with pytest.raises(UnreadableFileError, match=r"float32 values, which have no common black"):
        model.transform(floats)
    told = run("index", tmp_path / "model", floats, "-o", tmp_path / "l.lance", "--skip-unreadable")
    assert told.code == 3
    assert "none of 24 pictures can be read" in told.err


def test_training_on_a_mixture_and_encoding_it_agree(tmp_path: Path) -> None:
    wide = KINDS["16 bits, colour TIFF"]
    folder = wide.fill(tmp_path / "photos")
    (folder / "eight.png").write_bytes(encode_png((wide.values[0] // 257).astype(np.uint8)))
    with pytest.warns(NarrowsWarning, match="several types"):
        rows = read(folder)
    model = Autoencoder(3, max_epochs=1, random_state=SEED).fit(rows.values)
    np.testing.assert_array_equal(model.transform(folder), model.transform(rows.values))


def test_what_floats_lose_in_png_is_said(tmp_path: Path, run: Run) -> None:
    kind = KINDS["32-bit floats"]
    np.save(tmp_path / "rows.npy", kind.values)
    assert run("train", tmp_path / "rows.npy", "-o", tmp_path / "model", *TINY).code == 0
    run("encode", tmp_path / "model", tmp_path / "rows.npy", "-o", tmp_path / "codes.npy")
    decode = ["decode", tmp_path / "model", tmp_path / "codes.npy", "--json", "-o"]
    told = run(*decode, tmp_path / "out")
    (said,) = told.json["warnings"]
    assert said["kind"] == "levels_lost"
    np.testing.assert_allclose((said["black"], said["white"]), (-1.5, 900))
    told = run(*decode, tmp_path / "o.tif")
    assert told.json["warnings"] == []
    restored = load(tmp_path / "model").inverse_transform(np.load(tmp_path / "codes.npy"))
    pages = tifffile.imread(tmp_path / "o.tif", key=range(COUNT))
    np.testing.assert_array_equal(pages, restored)


@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")  # for the server's log
def test_the_server_says_what_it_leaves_out_of_a_picture(tmp_path: Path) -> None:
    wide = KINDS["16 bits, colour TIFF"]
    model = Autoencoder(3, max_epochs=1, random_state=SEED).fit((wide.values // 257).astype("u1"))
    library, _ = Library.build(tmp_path / "l", (wide.values // 257).astype("u1"), model=model)
    app = create_app(library.path, writable=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for address in ("match", "encode", "reconstruct", "denoise", "items"):
            sent = client.post(f"/api/{address}", files={"file": wide.encode(wide.values[0])})
            assert sent.status_code in (200, 201), sent.text
            (said,) = sent.json()["warnings"]
            assert said.startswith("1 file of 16 bits, such as 'the picture in memory', read in 8")
        sent = client.post("/api/encode", files={"file": encode_png(np.zeros((4, 4), np.uint8))})
        assert "warnings" not in sent.json()
