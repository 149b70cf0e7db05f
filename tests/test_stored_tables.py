"""Rows in Lance datasets and Parquet files, in memory and larger than it."""

import os

import lance
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from narrows import Autoencoder
from narrows.data import lazy_rows, parquet
from narrows.data.files import read, write
from narrows.data.lazy_rows import MappedRows, SelectedRows, StoredRows
from narrows.errors import DataError, NarrowsWarning, OutputError, UnreadableFileError
from narrows.models.persistence import run_identity

SEED = 0
PICTURES = np.random.default_rng(SEED).integers(0, 256, (1000, 3, 2), np.uint8)
TABLE = np.random.default_rng(SEED).normal(size=(1000, 3)).astype(np.float32)
NAMES = [f"{number}.jpg" for number in range(1000)]


def tensors(rows=PICTURES):
    return pa.FixedShapeTensorArray.from_numpy_ndarray(rows)


def lists(rows=PICTURES):
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows[0].size)


def features(rows=TABLE):
    return {name: pa.array(column) for name, column in zip("abc", rows.T, strict=True)}


def save_lance(path, columns):
    lance.write_dataset(pa.table(columns), str(path), max_rows_per_file=300)
    return path


def save_parquet(path, columns):
    pq.write_table(pa.table(columns), path, row_group_size=300)
    return path


def save_folder(path, columns):
    path.mkdir()
    for number, part in enumerate((slice(0, 1), slice(1, 700), slice(700, None))):
        table = pa.table(columns)[part]
        pq.write_table(table, path / f"part-{number}.parquet")
    return path


SAVERS = {"rows.lance": save_lance, "rows.parquet": save_parquet, "folder": save_folder}


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    monkeypatch.setattr(parquet, "fits", lambda _: False)


@pytest.fixture(params=SAVERS)
def save(request, tmp_path):
    return lambda columns: SAVERS[request.param](tmp_path / request.param, columns)


@pytest.mark.parametrize("make", [tensors, lists])
def test_rows_in_a_column_of_lists_are_those_of_the_array(save, make, small_memory):
    path = save({"label": pa.array(NAMES), "rows": make()})
    rows = read(path).values
    assert isinstance(rows, StoredRows)
    truth = PICTURES if make is tensors else PICTURES.reshape(1000, 6)
    assert (rows.shape, rows.dtype) == (truth.shape, truth.dtype)
    order = np.random.default_rng(SEED).integers(0, 1000, 500)
    for index in (0, -1, slice(250, 950), slice(None, None, -3), order):
        np.testing.assert_array_equal(rows[index], truth[index])


def test_columns_beside_the_only_one_of_lists_are_told_and_left_out(save):
    path = save({"label": pa.array(NAMES), "embedding": lists(), "age": pa.array(range(1000))})
    with pytest.warns(NarrowsWarning, match="left out: 'label', 'age'; call") as caught:
        found = read(path)
    assert caught[0].message.kind == "columns_left_out"
    assert caught[0].message.facts["columns"] == ["label", "age"]
    np.testing.assert_array_equal(found.values[:], PICTURES.reshape(1000, 6))


def test_rows_that_memory_holds_come_as_an_array(save):
    values = read(save({"rows": tensors()})).values
    assert isinstance(values, np.ndarray)
    np.testing.assert_array_equal(values, PICTURES)


def test_columns_of_numbers_are_features_with_names(save, small_memory):
    found = read(save(features()))
    assert found.columns == ["a", "b", "c"]
    np.testing.assert_array_equal(found.values[:], TABLE)
    model = Autoencoder(2, max_epochs=2, random_state=SEED).fit(found.for_model())
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_array_equal(
        model.transform(found.for_model(model)), model.transform(pa.table(features()))
    )


def test_columns_in_another_order_are_refused(save, small_memory):
    model = Autoencoder(1, max_epochs=1).fit(pa.table(features()))
    columns = features()
    path = save({name: columns[name] for name in "acb"})
    with pytest.raises(DataError, match="'c' stands where 'b' did"):
        model.transform(path)


def test_checkpoints_know_files_that_were_written_again(tmp_path, small_memory):
    model = Autoencoder(2, random_state=SEED)
    for name, saver in SAVERS.items():
        path = saver(tmp_path / name, {"rows": tensors()})
        one, same = (run_identity(model, read(path).values) for _ in range(2))
        assert one == same
        if path.suffix == ".lance":
            lance.write_dataset(pa.table({"rows": tensors()}), str(path), mode="overwrite")
        else:
            file = path if path.is_file() else path / "part-1.parquet"
            os.utime(file, ns=(1, 1))
        assert run_identity(model, read(path).values) != one


def test_checkpoints_of_derived_rows_know_what_they_are_made_of(tmp_path, small_memory):
    np.save(tmp_path / "rows.npy", TABLE)
    rows = lazy_rows.stored(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    some = SelectedRows(rows, np.arange(0, 1000, 2))
    twice = MappedRows(some, lambda values: 2 * values)
    assert twice.stamp() == some.stamp() == rows.stamp()
    np.testing.assert_array_equal(twice[5:8], 2 * TABLE[10:16:2])


def test_small_tables_keep_their_types_and_names(save):
    columns = {"yes": pa.array([True, False] * 500), "count": pa.array(range(1000), pa.int64())}
    found = read(save(columns))
    assert (found.values.dtype, found.columns) == (np.float64, ["yes", "count"])
    np.testing.assert_array_equal(found.values, np.stack([[1, 0] * 500, range(1000)], axis=1))
    model = Autoencoder(1, max_epochs=1).fit(found.for_model())
    assert list(model.feature_names_in_) == ["yes", "count"]


def test_models_learn_the_same_from_all_of_them(tmp_path, small_memory):
    prints = set()
    for name, saver in SAVERS.items():
        model = Autoencoder(2, max_epochs=2, random_state=SEED)
        prints.add(model.fit(saver(tmp_path / name, {"rows": tensors()})).fingerprint_)
    np.save(tmp_path / "rows.npy", PICTURES)
    model = Autoencoder(2, max_epochs=2, random_state=SEED).fit(tmp_path / "rows.npy")
    assert prints == {model.fingerprint_}


def test_names_in_lance_stay_with_their_rows(tmp_path, small_memory):
    names = read(save_lance(tmp_path / "a.lance", {"name": pa.array(NAMES), "x": lists()})).names
    assert list(names) == NAMES
    assert (len(names), names[-1], names[3:5]) == (1000, NAMES[-1], NAMES[3:5])


def test_lists_of_no_fixed_length_count_if_they_are_equally_long(save, small_memory):
    ragged = pa.array(PICTURES.reshape(1000, 6).tolist(), pa.list_(pa.uint8()))
    np.testing.assert_array_equal(read(save({"rows": ragged})).values[:], PICTURES.reshape(-1, 6))


def test_dictionaries_and_decimals_are_numbers(tmp_path, small_memory):
    columns = {
        "of": pa.array([1.5, 2.5, 1.5]).dictionary_encode(),
        "price": pa.array([1, 2, 3], pa.decimal128(5, 2)),
    }
    found = read(save_parquet(tmp_path / "a.parquet", columns))
    np.testing.assert_array_equal(found.values[:], [[1.5, 1], [2.5, 2], [1.5, 3]])
    numbers = read(save_parquet(tmp_path / "b.parquet", {"rows": pa.array([1, 2, 3])})).values
    np.testing.assert_array_equal(numbers[:], [[1], [2], [3]])


def test_what_pandas_calls_an_index_is_no_feature(tmp_path, small_memory):
    pd = pytest.importorskip("pandas")
    pd.DataFrame(TABLE, columns=list("abc"), index=range(5, 1005)[::-1]).to_parquet(
        tmp_path / "a.parquet", index=True
    )
    assert read(tmp_path / "a.parquet").columns == ["a", "b", "c"]


# The second file of a folder begins with the second row.
GAP = [[1.0, 2.0]] * 650 + [None] + [[3.0, 4.0]] * 349
HOLE = [[1.0, 2.0]] * 650 + [[1.0, None]] + [[3.0, 4.0]] * 349
RAGGED = [[1.0, 2.0]] * 650 + [[1.0]] + [[3.0, 4.0]] * 349
WIDE = pa.list_(pa.float32(), 2)
LOOSE = pa.list_(pa.float32())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rows": pa.array(GAP, LOOSE)}, r"no value in column 'rows', row (650|649), counted"),
        ({"rows": pa.array(HOLE, WIDE)}, r"no value in column 'rows', row (650|649), counted"),
        (
            {"rows": pa.array(RAGGED, LOOSE)},
            r"has 1 values in row (650|649) of .* 2 are",
        ),
        ({"a": pa.array(["x"] * 3)}, r"column 'a' of string, where numbers are allowed"),
        ({"rows": pa.array(["x"] * 3)}, r"column 'rows' of string, where numbers are allowed"),
        ({"a": pa.array([b"x"] * 3)}, r"column 'a' of binary, where numbers are allowed"),
        ({"a": pa.array([["x"]] * 3)}, r"column 'a' of list<.*>, where numbers are allowed"),
        ({"a": lists(), "b": lists()}, r"several columns of lists \(a, b\); call the one to use"),
        ({"a": pa.array([[]] * 3, LOOSE)}, r"has empty lists in column 'a'"),
        ({"a": pa.array([], pa.float32())}, r"holds no rows"),
    ],
)
def test_what_makes_no_rows_is_refused(save, columns, message, small_memory):
    path = save(columns)
    with pytest.raises(DataError, match=message) as error:
        Autoencoder(1).fit(path)
    assert "\n" not in str(error.value)


def test_values_that_are_not_finite_are_refused(save, small_memory):
    rows = TABLE.copy()
    rows[800, 1] = np.nan
    path = save({"rows": lists(rows)})
    with pytest.raises(DataError, match=r"NaN .* in row 800"):
        Autoencoder(1).fit(path)


def test_files_of_other_columns_do_not_go_together(tmp_path):
    folder = save_folder(tmp_path / "parts", {"rows": lists()})
    save_parquet(folder / "other.parquet", features())
    with pytest.raises(DataError, match=r"part-0\.parquet' has rows of shape \(6,\).*other"):
        read(folder)
    np.save(folder / "rows.npy", TABLE)
    with pytest.raises(DataError, match=r"holds \.npy \('rows\.npy'\) and \.parquet"):
        read(folder)


def test_tables_beside_pictures_are_about_these(tmp_path):
    folder = write(tmp_path / "photos", PICTURES[:2])
    save_parquet(folder / "metadata.parquet", features())
    assert read(folder).pictures


def test_damaged_files_are_refused_in_one_line(tmp_path, small_memory):
    path = save_parquet(tmp_path / "a.parquet", {"rows": lists()})
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"\0" * 500)
    with pytest.raises(UnreadableFileError, match=r"a\.parquet' is not a readable Parquet") as told:
        read(path)
    assert "\n" not in str(told.value)
    path.write_bytes(b"what is this")
    with pytest.raises(UnreadableFileError, match=r"a\.parquet' is not a readable Parquet"):
        read(path)
    path = save_lance(tmp_path / "a.lance", {"rows": lists()})
    for file in (path / "_versions").iterdir():
        file.write_bytes(b"what is this")
    with pytest.raises(UnreadableFileError, match=r"a\.lance' is not a readable Lance") as told:
        read(path)
    assert "\n" not in str(told.value)


def test_a_dataset_is_read_as_it_was_when_it_was_opened(tmp_path, small_memory):
    path = save_lance(tmp_path / "a.lance", {"rows": lists()})
    rows = read(path).values
    lance.write_dataset(pa.table({"rows": lists()}), str(path), mode="append")
    np.testing.assert_array_equal(rows[:], PICTURES.reshape(1000, 6))
    for file in (path / "data").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"a\.lance' can no longer be read"):
        rows[:]


def test_a_disk_without_room_for_what_is_unpacked_is_told(tmp_path, small_memory, monkeypatch):
    path = save_parquet(tmp_path / "a.parquet", {"rows": lists()})

    def full(handle, offset, length):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OutputError, match=r"No space left on device.*set TMPDIR"):
        read(path)
