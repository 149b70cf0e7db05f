"""What models make of rows on a disk: as of rows in memory, and written while it is made."""

import lance
import numpy as np
import pytest

from narrows import Autoencoder, Library
from narrows.data import lazy_rows
from narrows.data.files import read, write
from narrows.data.lazy_rows import ComputedRows, LazyRows, StoredRows
from narrows.errors import DataError, OutputError, OutputExistsError
from narrows.evaluation import compare_with_clean, make_report, project, score_map

SEED = 0
PICTURES = np.random.default_rng(SEED).integers(0, 256, (300, 6, 5), np.uint8)


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Put pictures on the disk, never to be in memory together."""
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    monkeypatch.setattr(lazy_rows, "_VALUES", 30 * 64)
    np.save(tmp_path / "rows.npy", PICTURES)
    return tmp_path / "rows.npy"


@pytest.fixture
def model():
    return Autoencoder(3, max_epochs=2, random_state=SEED).fit(PICTURES)


@pytest.fixture
def asked(monkeypatch):
    """Note how many rows are taken from the disk at a time."""
    sizes, take = [], StoredRows.take

    def noted(rows, numbers):
        sizes.append(len(numbers))
        return take(rows, numbers)

    monkeypatch.setattr(StoredRows, "take", noted)
    return sizes


@pytest.mark.parametrize(
    "name", ["codes.npy", "codes.npz", "codes.csv", "codes.parquet", "c.lance"]
)
def test_codes_are_written_as_they_are_made(run, on_disk, model, asked, name):
    model.save("model")
    told = run("encode", "model", on_disk, "-o", name, "--json")
    assert (told.code, told.json["rows"], told.json["n_components"]) == (0, 300, 3)
    assert max(asked) <= 64
    np.testing.assert_allclose(read(name).values[:], model.transform(PICTURES), rtol=1e-5)


@pytest.mark.parametrize("name", ["out.npy", "out.npz", "out", "out.lance"])
@pytest.mark.parametrize("verb", ["reconstruct", "denoise"])
def test_rows_are_restored_as_they_are_read(run, on_disk, model, asked, verb, name):  # noqa: PLR0917
    model.save("model")
    told = run(verb, "model", on_disk, "-o", name, "--json")
    assert (told.code, told.json["rows"]) == (0, 300)
    assert max(asked) <= 64
    truth = model.reconstruct(PICTURES)
    if verb == "reconstruct":
        error = np.square(truth - PICTURES).mean()
        np.testing.assert_allclose(told.json["mean_squared_error"], error, rtol=1e-5)
    found = read(name).values
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[:], np.clip(np.rint(truth), 0, 255))


def test_codes_on_a_disk_are_decoded_as_they_are_read(run, on_disk, model):
    model.save("model")
    codes = model.transform(PICTURES)
    for name in ("codes.npy", "codes.lance"):
        write(name, codes)
        assert run("decode", "model", name, "-o", f"of-{name}").code == 0
        truth = np.clip(np.rint(model.inverse_transform(codes)), 0, 255)
        np.testing.assert_array_equal(read(f"of-{name}").values[:], truth)
    assert isinstance(read("codes.lance").values, LazyRows)
    np.testing.assert_array_equal(
        model.inverse_transform("codes.lance"), model.inverse_transform(codes)
    )


@pytest.mark.parametrize("memory", ["large", "small"])
def test_restored_rows_are_made_once_and_compared_with_clean_ones(
    run, on_disk, model, monkeypatch, memory
):
    model.save("model")
    made, denoise = [], Autoencoder.denoise

    def noted(self, X):
        made.append(len(X))
        return denoise(self, X)

    monkeypatch.setattr(Autoencoder, "denoise", noted)
    if memory == "small":
        monkeypatch.setattr(lazy_rows, "_LITTLE", 0)
        monkeypatch.setattr(lazy_rows, "fits", lambda _: False)
    rng = np.random.default_rng(SEED)
    noisy = np.clip(PICTURES + rng.normal(0, 20, PICTURES.shape), 0, 255).astype(np.uint8)
    np.save("noisy.npy", noisy)
    told = run("denoise", "model", "noisy.npy", "-o", "clean.npy", "--clean", on_disk, "--json")
    assert sum(made) == len(PICTURES)
    truth = compare_with_clean(noisy, PICTURES, 255)
    np.testing.assert_allclose(told.json["psnr"]["damaged"], truth.psnr)
    truth = compare_with_clean(model.denoise(noisy), PICTURES, 255)
    np.testing.assert_allclose(told.json["psnr"]["restored"], truth.psnr)
    np.testing.assert_allclose(told.json["ssim"]["restored"], truth.ssim)
    found = np.clip(np.rint(model.denoise(noisy)), 0, 255)
    np.testing.assert_array_equal(read("clean.npy").values[:], found)


def test_results_that_memory_does_not_hold_are_in_a_file_without_a_name(
    on_disk, model, monkeypatch
):
    truth = model.transform(PICTURES), model.reconstruct(PICTURES)
    monkeypatch.setattr(lazy_rows, "_LITTLE", 0)
    monkeypatch.setattr(lazy_rows, "fits", lambda _: False)
    for found, wanted in zip(
        (model.transform(on_disk), model.reconstruct(on_disk)), truth, strict=True
    ):
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, wanted)


def test_maps_and_their_scores_are_those_of_rows_in_memory(run, on_disk, model):
    rows = lazy_rows.stored(np.load(on_disk, mmap_mode="r"))
    found, truth = (project(X, model=model, random_state=SEED) for X in (rows, PICTURES))
    np.testing.assert_array_equal(found.points, truth.points)
    one, other = (
        score_map(X, truth.points, model=model, n_samples=100, random_state=SEED)
        for X in (rows, PICTURES)
    )
    assert one == other
    model.save("model")
    assert run("map", "model", on_disk, "-o", "map.html", "-o", "map.csv").code == 0


def test_reports_look_at_a_sample(on_disk, model):
    rows = lazy_rows.stored(np.load(on_disk, mmap_mode="r"))
    one, other = (
        make_report(model, X, X_train=X, max_rows=60, random_state=SEED).as_json()
        for X in (rows, PICTURES)
    )
    assert one == other


def test_libraries_take_rows_from_the_disk(on_disk, model, tmp_path, asked):
    library, added = Library.build(tmp_path / "library", on_disk, model=model)
    assert added.count == len(np.unique(PICTURES, axis=0))
    np.testing.assert_allclose(library.codes, model.transform(PICTURES), rtol=1e-5)
    assert max(asked) <= 1024


def test_datasets_that_are_written_keep_names_and_replace_nothing_else(tmp_path):
    codes = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = write(tmp_path / "codes.lance", codes, names=["a.png", "b.png", "c.png", "d.png"])
    found = read(path)
    np.testing.assert_array_equal(found.values, codes)
    assert list(found.names) == ["a.png", "b.png", "c.png", "d.png"]
    assert lance.dataset(str(path)).schema.field("rows").type.list_size == 3
    with pytest.raises(OutputExistsError, match="exists already"):
        write(path, codes)
    write(path, codes[:2], overwrite=True)
    assert len(read(path).values) == 2
    (tmp_path / "other.lance").mkdir()
    with pytest.raises(OutputExistsError, match="is no Lance dataset"):
        write(tmp_path / "other.lance", codes, overwrite=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["codes.lance", "other.lance"]


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.int64, np.float16, np.float64])
@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 2, 3), (5, 2, 3, 3)])
def test_datasets_hold_rows_of_any_numbers_and_shape(tmp_path, dtype, shape):
    rows = np.random.default_rng(SEED).integers(0, 2, shape).astype(dtype)
    found = read(write(tmp_path / "rows.lance", rows)).values
    assert found.dtype == (np.uint8 if dtype is bool else dtype)
    np.testing.assert_array_equal(found.reshape(shape), rows)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.parquet", "a.csv", "a.lance"])
def test_what_fails_while_it_is_made_leaves_nothing(tmp_path, name, monkeypatch):
    monkeypatch.setattr(lazy_rows, "_VALUES", 10)

    def make(rows):
        if rows[-1] > 50:
            raise DataError("the rows were changed while they were read")
        return rows[:, None]

    with pytest.raises(DataError, match="were changed"):
        write(tmp_path / name, ComputedRows(np.arange(100), make, (1,), np.int64))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_of_a_dataset_too(tmp_path, monkeypatch):
    def full(*_, **__):
        raise RuntimeError("LanceError(IO): No space left on device (os error 28), lib.rs:1:2")

    monkeypatch.setattr("narrows.data.lance_rows.write_fragments", full)
    with pytest.raises(OutputError, match=r"a\.lance' could not be written: No space left"):
        write(tmp_path / "a.lance", np.eye(3))
    assert list(tmp_path.iterdir()) == []
