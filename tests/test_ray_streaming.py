"""Rows that Ray Data brings to those who train: the same rows, in the same order, as read here.

The seed of everything random here is 0.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_together as other
from libraries import one_line
from ray_kit import die_once, small_cluster

from narrows.data import stored
from narrows.data.blocks import BlockSource, draw
from narrows.data.files import read, write
from narrows.data.stored import FileRows
from narrows.errors import DataError, UnreadableFileError, WorkerError
from narrows.scale.streaming import FarRows, travelling
from narrows.scale.training import fit_by_ray

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
    monkeypatch.setattr(stored, "SMALL", 1 << 10)
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random(SHAPE, np.float32))
    return tmp_path / "rows.npy"


def opening(path: Path, marker: Path | None = None) -> Callable[[], Any]:
    """Say how rows are read from the disk however few they are, also in another process."""

    def open_() -> Any:
        if marker is not None:
            die_once(marker)
        stored.SMALL = 1 << 10
        return read(path).values

    return open_


def far(ray, path: Path) -> FarRows:
    rows = travelling(ray, opening(path), (), stream=True)()
    assert isinstance(rows, FarRows)
    return rows


def test_rows_are_those_in_the_file(ray, file) -> None:
    rows, truth = far(ray, file), np.load(file)
    assert (rows.shape, rows.dtype, rows.columns) == (truth.shape, truth.dtype, None)
    np.testing.assert_array_equal(rows[[2999, 5, 5, 700]], truth[[2999, 5, 5, 700]])
    np.testing.assert_array_equal(rows[10:20], truth[10:20])
    blocks = [block.copy() for block in rows.passing(1024)]
    assert [len(block) for block in blocks] == [1024, 1024, 952]
    np.testing.assert_array_equal(np.concatenate(blocks), truth)


@pytest.mark.parametrize("rank", [0, 1])
def test_batches_are_those_read_from_the_disk(ray, file, rank) -> None:
    _, numbers = draw(SHAPE[0], 300, 0)
    mixed = 50 * 256  # bytes: a few windows
    here = BlockSource(read(file).values, numbers, mixed=mixed)
    there = BlockSource(far(ray, file), numbers, mixed=mixed)
    for seed in (0, None):
        expected, found = (
            [batch.numpy() for batch in each.batches(100, seed=seed, rank=rank, world_size=2)]
            for each in (here, there)
        )
        assert len(found) == len(expected) == 27
        for one, another in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, another)


def test_a_lost_reader_costs_no_row(ray, file, tmp_path) -> None:
    rows = far(ray, file)
    rows._origin = rows._origin._replace(key="anew", open=opening(file, tmp_path / "died"))
    np.testing.assert_array_equal(np.concatenate(list(rows.passing(1000))), np.load(file))
    assert (tmp_path / "died").exists()


def test_rows_that_change_are_noticed(ray, file) -> None:
    rows = far(ray, file)
    np.save(file, np.zeros(SHAPE, np.float32))
    with pytest.raises(DataError, match=r"changed since training began; .* \(on .*\)") as caught:
        rows[:3]
    one_line(caught)
    with pytest.raises(DataError, match="changed since training began"):
        list(rows.passing(1000))


def test_rows_that_are_gone(ray, file) -> None:
    rows = far(ray, file)
    np.testing.assert_array_equal(rows[:3], np.load(file)[:3])
    file.unlink()
    with pytest.raises(UnreadableFileError, match=r"rows\.npy' can no longer be read") as caught:
        rows[:3]
    one_line(caught)


def test_rows_travel_where_they_have_to(ray, file, tmp_path) -> None:
    assert travelling(ray, file, (), stream=None)().shape == SHAPE
    assert travelling(ray, other.rows, (), stream=False) is other.rows
    open_ = opening(file)
    with pytest.warns(
        UserWarning, match=f"cannot see '{tmp_path}/hidden', so its rows are brought"
    ):
        rows = travelling(ray, open_, [tmp_path / "hidden"], stream=None)()
    assert isinstance(rows, FarRows)
    with pytest.raises(WorkerError, match="cannot see"):
        travelling(ray, open_, [tmp_path / "hidden"], stream=False)
    # What memory holds is not read in windows.
    few = travelling(ray, other.rows, [tmp_path / "hidden"], stream=None)()
    np.testing.assert_array_equal(few, other.rows())


def test_mapped_arrays_stay_in_their_file(ray, file) -> None:
    mapped = np.load(file, mmap_mode="r")[100:]
    for stream in (False, True):
        rows = travelling(ray, mapped, (), stream=stream)()
        assert isinstance(rows, FarRows if stream else FileRows)
        np.testing.assert_array_equal(rows[:7], np.load(file)[100:107])


def test_packed_pictures_are_brought(ray, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(stored, "SMALL", 1 << 10)
    pictures = np.random.default_rng(0).integers(0, 256, (300, 5, 4, 3)).astype(np.uint8)
    write(tmp_path / "pictures.lance", pictures)
    rows = far(ray, tmp_path / "pictures.lance")
    np.testing.assert_array_equal(rows[:], pictures)


@pytest.mark.longer
def test_two_workers_learn_from_rows_that_they_do_not_see(ray, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(stored, "SMALL", 1 << 10)
    np.save(tmp_path / "rows.npy", other.rows())
    for name in ("kl", "stacked"):
        alone = other.models()[name].fit(tmp_path / "rows.npy")
        found = fit_by_ray(
            other.models()[name], tmp_path / "rows.npy", "auto", workers=2, stream=True
        )
        for key, value in other.weights(alone).items():
            error = np.abs(other.weights(found)[key] - value).max()
            assert error <= 1e-4 * np.abs(value).max(), (name, key)
