"""Rows that Ray Data brings to those who train: the same rows, in the same order, as read here.

The seed of everything random here is 0.
"""

import tempfile
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import training_together as other
from libraries import one_line
from ray_kit import MortalRows, small_cluster

from narrows.data import lazy_rows, parquet
from narrows.data.batches import BlockSource, draw
from narrows.data.files import read, write
from narrows.data.lazy_rows import ComputedRows, FileRows, SpooledRows
from narrows.errors import DataError, ParameterError, UnreadableFileError, WorkerError
from narrows.scale.ray_training import FarRows, fit_by_ray, travelling

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("default")  # those of others

SHAPE = (3000, 3, 4)


@pytest.fixture(scope="module")
def ray():
    with small_cluster() as ray:
        yield ray


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    """Write rows, the larger part of which stays on the disk from now on."""
    monkeypatch.setattr(lazy_rows, "SMALL", 1 << 10)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random(SHAPE, np.float32))
    return tmp_path / "rows.npy"


@pytest.fixture
def far(ray):
    """Have rows brought; they are open here until the test has ended."""
    kept = []

    def bring(X: Any) -> FarRows:
        kept.append(travelling(ray, X, (), stream=True))
        rows = kept[-1]()
        assert isinstance(rows, FarRows)
        return rows

    yield bring
    kept.clear()


def test_rows_are_those_in_the_file(far, file) -> None:
    rows, truth = far(file), np.load(file)
    assert (rows.shape, rows.dtype, rows.columns) == (truth.shape, truth.dtype, None)
    np.testing.assert_array_equal(rows[[2999, 5, 5, 700]], truth[[2999, 5, 5, 700]])
    np.testing.assert_array_equal(rows[10:20], truth[10:20])
    blocks = [block.copy() for block in rows.blocks(1024)]
    assert [len(block) for block in blocks] == [1024, 1024, 952]
    np.testing.assert_array_equal(np.concatenate(blocks), truth)


@pytest.mark.parametrize("rank", [0, 1])
def test_batches_are_those_read_from_the_disk(far, file, rank) -> None:
    _, numbers = draw(SHAPE[0], 300, 0)
    mixed = 50 * 256  # bytes: a few windows
    here = BlockSource(read(file).values, numbers, mixed=mixed)
    there = BlockSource(far(file), numbers, mixed=mixed)
    for seed in (0, None):
        expected, found = (
            [batch.numpy() for batch in each.batches(100, seed=seed, rank=rank, world_size=2)]
            for each in (here, there)
        )
        assert len(found) == len(expected) == 27
        for one, another in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, another)


def test_a_lost_reader_costs_no_row(far, file, tmp_path) -> None:
    rows = far(MortalRows(lazy_rows.stored(read(file).values), tmp_path / "died"))
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks(1000))), np.load(file))
    assert (tmp_path / "died").exists()


def test_rows_that_change_are_noticed(far, file) -> None:
    rows = far(file)
    np.save(file, np.zeros(SHAPE, np.float32))
    with pytest.raises(DataError, match=r"rows\.npy' was changed while it was read") as caught:
        rows[:3]
    one_line(caught)
    with pytest.raises(DataError, match=r"rows\.npy' was changed while it was read"):
        list(rows.blocks(1000))


def test_rows_that_are_gone(far, file) -> None:
    rows = far(file)
    np.testing.assert_array_equal(rows[:3], np.load(file)[:3])
    file.unlink()
    with pytest.raises(UnreadableFileError, match=r"rows\.npy' can no longer be read") as caught:
        rows[:3]
    one_line(caught)


def test_rows_travel_where_they_have_to(ray, file, tmp_path) -> None:
    assert travelling(ray, file, (), stream=None)().shape == SHAPE
    assert travelling(ray, other.rows, (), stream=False) is other.rows
    hidden = [tmp_path / "hidden"]

    def rows() -> Any:
        return read(file).values

    with pytest.warns(UserWarning, match=f"cannot see '{hidden[0]}', so its rows are brought"):
        assert isinstance(travelling(ray, rows, hidden, stream=None)(), FarRows)
    with pytest.raises(WorkerError, match="cannot see"):
        travelling(ray, rows, hidden, stream=False)
    # What memory holds is not read in windows.
    few = travelling(ray, other.rows, hidden, stream=None)()
    np.testing.assert_array_equal(few, other.rows())


def test_windows_of_a_signal_are_not_brought(ray, tmp_path) -> None:
    def windows() -> Any:
        return ComputedRows(np.arange(6), np.atleast_2d, (3,), int)

    with pytest.raises(ParameterError, match="windows of a signal cannot be brought") as caught:
        travelling(ray, windows, (), stream=True)
    one_line(caught)
    with pytest.raises(WorkerError, match="cannot see"):
        travelling(ray, windows, [tmp_path / "hidden"], stream=None)


def test_rows_of_several_files_that_are_open(ray, far, file, tmp_path) -> None:
    (tmp_path / "parts").mkdir()
    for part in range(2):
        np.save(tmp_path / "parts" / f"{part}.npy", np.load(file)[1000 * part : 1000 * part + 1000])
    parts = read(tmp_path / "parts").values
    np.testing.assert_array_equal(far(parts)[990:1010], np.load(file)[990:1010])
    with pytest.raises(ParameterError, match="give the path that they are read from") as caught:
        travelling(ray, parts, (), stream=False)
    one_line(caught)


def test_unpacked_parquet_is_read_where_it_is(far, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    monkeypatch.setattr(parquet, "fits", lambda _: False)
    truth = np.random.default_rng(0).random((500, 7))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(truth.reshape(-1)), 7)
    pq.write_table(pa.table({"rows": lists}), tmp_path / "rows.parquet")
    rows = far(tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").unlink()
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks(100))), truth)


def test_rows_that_are_closed_where_they_were_read(ray, tmp_path) -> None:
    with tempfile.TemporaryFile() as scratch:
        scratch.write(bytes(80))
        scratch.flush()
        rows = travelling(ray, SpooledRows(scratch, (10,), np.float64), (), stream=True)()
    with pytest.raises(WorkerError, match="rows that were open are so no longer") as caught:
        list(rows.blocks(5))
    one_line(caught)


def test_mapped_arrays_stay_in_their_file(ray, file) -> None:
    mapped = np.load(file, mmap_mode="r")[100:]
    for stream in (False, True):
        rows = travelling(ray, mapped, (), stream=stream)()
        assert isinstance(rows, FarRows if stream else FileRows)
        np.testing.assert_array_equal(rows[:7], np.load(file)[100:107])


def test_a_dataset_is_read_as_it_was_opened(far, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lazy_rows, "SMALL", 1 << 10)
    pictures = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 3)).astype(np.uint8)
    write(tmp_path / "pictures.lance", pictures)
    rows = far(tmp_path / "pictures.lance")
    some = lance.dataset(tmp_path / "pictures.lance").to_table(limit=3)
    lance.write_dataset(some, tmp_path / "pictures.lance", mode="append")
    np.testing.assert_array_equal(rows[:], pictures)


@pytest.mark.longer
def test_two_workers_learn_from_rows_that_they_do_not_see(ray, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lazy_rows, "SMALL", 1 << 10)
    np.save(tmp_path / "rows.npy", other.rows())
    for name in ("kl", "stacked"):
        alone = other.models()[name].fit(tmp_path / "rows.npy")
        found = fit_by_ray(
            other.models()[name], tmp_path / "rows.npy", "auto", workers=2, stream=True
        )
        for key, value in other.weights(alone).items():
            error = np.abs(other.weights(found)[key] - value).max()
            assert error <= 1e-4 * np.abs(value).max(), (name, key)
