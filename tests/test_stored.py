"""Rows on a disk: batches in blocks, and models that learn from more than the memory holds."""

import os

import numpy as np
import pytest

from narrows import (
    MODELS,
    Autoencoder,
    DenoisingAutoencoder,
    EncoderClassifier,
    StackedAutoencoder,
)
from narrows.data import lazy_rows
from narrows.data.batches import BlockSource, draw
from narrows.data.files import read
from narrows.data.lazy_rows import FileRows
from narrows.data.scaling import Statistics
from narrows.errors import CheckpointError, DataError
from narrows.models.persistence import run_identity
from narrows.training.progress import on_epoch

SEED = 0
TABLE = np.random.default_rng(SEED).normal(size=(1000, 6))


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    np.save(tmp_path / "rows.npy", TABLE)
    return tmp_path / "rows.npy"


def folder_of(tmp_path, rows, ends):
    (tmp_path / "parts").mkdir()
    for number, part in enumerate(np.split(rows, ends)):
        np.save(tmp_path / "parts" / f"{number}.npy", part)
    return tmp_path / "parts"


def test_rows_of_files_are_those_of_the_array(file, tmp_path):
    parts = read(folder_of(tmp_path, TABLE, [1, 300, 301, 999])).values
    order = np.random.default_rng(SEED).integers(0, 1000, 500)
    for rows in (lazy_rows.stored(np.load(file, mmap_mode="r")), parts):
        assert isinstance(rows, lazy_rows.StoredRows)
        for index in (3, -1, slice(5, 900, 7), slice(None, None, -1), slice(0, 0), order):
            np.testing.assert_array_equal(rows[index], TABLE[index])
    view = lazy_rows.stored(np.load(file, mmap_mode="r")[100:200])
    assert isinstance(view, FileRows)
    np.testing.assert_array_equal(np.asarray(view), TABLE[100:200])


@pytest.mark.parametrize("rows", [None, np.arange(0, 1000, 3)])
@pytest.mark.parametrize("mixed", [0, 10_000, 1 << 20])
@pytest.mark.parametrize("world_size", [1, 3])
def test_each_row_comes_once_an_epoch_whoever_shares_it(file, rows, mixed, world_size):
    numbers = np.arange(1000).reshape(-1, 1)
    np.save(file, numbers)
    source = BlockSource(lazy_rows.stored(np.load(file, mmap_mode="r")), rows, mixed=mixed)
    wanted = numbers[:, 0] if rows is None else rows
    for seed in (0, 1, None):
        ranks = [
            list(source.batches(64, seed=seed, rank=rank, world_size=world_size))
            for rank in range(world_size)
        ]
        batches = [np.concatenate(shares)[:, 0] for shares in zip(*ranks, strict=True)]
        alone = [batch.numpy()[:, 0] for batch in source.batches(64, seed=seed)]
        for batch, whole in zip(batches, alone, strict=True):
            np.testing.assert_array_equal(batch, whole)
        sizes = [len(batch) for batch in batches]
        assert max(sizes) <= 64
        assert max(sizes) - min(sizes) <= 1
        come = np.concatenate(batches)
        np.testing.assert_array_equal(np.sort(come), wanted)
        assert (come == wanted).all() == (seed is None)


def test_rows_are_mixed_beyond_their_blocks(file):
    numbers = np.arange(64_000).reshape(-1, 1)
    np.save(file, numbers)
    source = BlockSource(lazy_rows.stored(np.load(file, mmap_mode="r")), mixed=8 * 64 * 100)
    first = next(source.batches(64, seed=SEED))[:, 0].numpy()
    # 64 of 6400 rows out of 100 blocks: 47 blocks are to be expected, and all over the file.
    assert len(np.unique(first // 64)) > 30
    assert np.ptp(first) > 50_000


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_from_a_path_and_uses_it(name, file):
    def new():
        return MODELS[name](2, max_epochs=2, random_state=SEED)

    one, again = new().fit(file), new().fit(np.load(file, mmap_mode="r"))
    assert one.fingerprint_ == again.fingerprint_
    for method in ("transform", "reconstruct", "reconstruction_error", "jacobian_norm"):
        np.testing.assert_array_equal(getattr(one, method)(file), getattr(one, method)(TABLE))


def test_small_files_are_learned_from_as_arrays_are(tmp_path):
    np.save(tmp_path / "rows.npy", TABLE)
    folder = folder_of(tmp_path, TABLE, [10, 700])
    truth = Autoencoder(2, max_epochs=2, random_state=SEED).fit(TABLE).fingerprint_
    for path in (tmp_path / "rows.npy", folder):
        assert Autoencoder(2, max_epochs=2, random_state=SEED).fit(path).fingerprint_ == truth


def test_one_batch_of_all_rows_gives_the_weights_of_memory_but_for_the_order_of_a_sum(file):
    # In one batch, the order of rows changes nothing but rounding.
    def new():
        return Autoencoder(
            2,
            architecture="dense",
            max_epochs=3,
            batch_size=1000,
            early_stopping=False,
            random_state=SEED,
        )

    on_disk, in_memory = new().fit(file), new().fit(TABLE)
    losses = [model.history_["loss"] for model in (on_disk, in_memory)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_statistics_of_a_file_are_numpys_in_double_precision(file):
    far = TABLE + 1e8
    np.save(file, far)
    found = Statistics.of(lazy_rows.stored(np.load(file, mmap_mode="r")))
    np.testing.assert_allclose(found.mean, far.mean(0), rtol=1e-15)
    np.testing.assert_allclose(found.variance, far.var(0), rtol=1e-7)
    assert (found.low, found.high) == (far.min(), far.max())


@pytest.mark.parametrize("count", [0, 1, 37, 999])
def test_rows_that_are_held_out_are_others_than_those_learned_from(count):
    held_out, rows = draw(1000, count, SEED)
    found = rows[np.arange(len(rows))]
    np.testing.assert_array_equal(np.sort(np.concatenate([held_out, found])), np.arange(1000))
    assert (np.diff(held_out) > 0).all()
    assert (np.diff(found) > 0).all()
    again, _ = draw(1000, count, SEED)
    np.testing.assert_array_equal(held_out, again)


def test_a_checkpoint_knows_its_data_by_their_file_and_a_sample(file, tmp_path, monkeypatch):
    read_bytes, read_runs = [], lazy_rows.read_runs

    def noted(handle, offset, runs, into):
        read_bytes.append(into.nbytes)
        return read_runs(handle, offset, runs, into)

    big = np.random.default_rng(SEED).normal(size=(100_000, 6))
    np.save(file, big)
    model = Autoencoder(2, max_epochs=2, random_state=SEED)
    monkeypatch.setattr(lazy_rows, "read_runs", noted)
    first = run_identity(model, lazy_rows.stored(np.load(file, mmap_mode="r")))
    assert sum(read_bytes) <= 64 * 16 * 6 * 8
    assert first == run_identity(model, lazy_rows.stored(np.load(file, mmap_mode="r")))
    times = file.stat().st_mtime_ns
    for other in (big + 1, big[:-1], big.astype(np.float32)):
        np.save(file, other)
        os.utime(file, ns=(times, times))
        assert first != run_identity(model, lazy_rows.stored(np.load(file, mmap_mode="r")))
    np.save(file, big)  # the same again, and written later
    os.utime(file, ns=(times, times + 10**9))
    assert first != run_identity(model, lazy_rows.stored(np.load(file, mmap_mode="r")))


def test_training_on_a_disk_goes_on_from_a_checkpoint_and_refuses_other_rows(file, tmp_path):
    def new(epochs):
        return Autoencoder(
            2,
            max_epochs=epochs,
            learning_rate=1e-3,
            random_state=SEED,
            checkpoint=tmp_path / "state",
        )

    truth = new(3).fit(file).fingerprint_

    def stop(record):
        if record["epoch"] == 2:
            raise ValueError

    with on_epoch(stop), pytest.raises(ValueError):  # noqa: PT011 (none of the house's)
        new(3).fit(file)
    assert new(3).fit(file).fingerprint_ == truth
    with on_epoch(stop), pytest.raises(ValueError):  # noqa: PT011
        new(3).fit(file)
    np.save(file, TABLE + 1)
    with pytest.raises(CheckpointError, match="another run"):
        new(3).fit(file)


def test_stacks_whose_codes_memory_does_not_hold_read_them_in_blocks(file, monkeypatch):
    truth = StackedAutoencoder(2, hidden_layer_sizes=(4,), max_epochs=2, random_state=SEED).fit(
        file
    )
    sizes, batches = [], BlockSource.batches

    def noted(source, *arguments, **options):
        sizes.append(source.sample_shape)
        return batches(source, *arguments, **options)

    monkeypatch.setattr(BlockSource, "batches", noted)
    for name, value in (("_LITTLE", 0), ("fits", lambda _: False)):
        monkeypatch.setattr(lazy_rows, name, value)
    again = StackedAutoencoder(2, hidden_layer_sizes=(4,), max_epochs=2, random_state=SEED).fit(
        file
    )
    assert {(6,), (4,)} == set(sizes)
    assert again.n_iter_ == truth.n_iter_
    errors = [model.reconstruction_error(TABLE).mean() for model in (again, truth)]
    np.testing.assert_allclose(*errors, rtol=0.2)


def test_classifiers_learn_from_a_disk(file):
    numbers = (TABLE[:, 0] > 0).astype(int)
    half = Autoencoder(2, max_epochs=2, random_state=SEED).fit(TABLE).split()[0]
    for fine_tune in (True, False):
        on_disk, in_memory = (
            EncoderClassifier(half, fine_tune=fine_tune, max_epochs=5, random_state=SEED).fit(
                X, numbers
            )
            for X in (file, TABLE)
        )
        scores = on_disk.score(file, numbers), in_memory.score(TABLE, numbers)
        np.testing.assert_allclose(*scores, atol=0.05)


def test_rows_are_read_no_more_often_than_they_are_needed(file, monkeypatch):
    passes, read_runs = [0.0], lazy_rows.read_runs

    def noted(handle, offset, runs, into):
        passes[0] += into.nbytes / TABLE.nbytes
        return read_runs(handle, offset, runs, into)

    monkeypatch.setattr(lazy_rows, "read_runs", noted)
    model = Autoencoder(2, max_epochs=3, early_stopping=False, random_state=SEED)
    # Once for statistics, for principal axes, for their loss, and once an epoch; at most 10 000
    # rows for the order of the code's units, and 1 024 for `resume` to compare; to be looked at,
    # and to be used.
    for use, wanted in ((model.fit, 8), (model.transform, 2), (model.reconstruction_error, 2)):
        passes[0] = 0
        use(np.load(file, mmap_mode="r"))
        assert passes[0] == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("change", ["shrink", "touch", "replace", "remove"])
def test_a_file_that_changes_while_it_is_read_is_refused(file, change):
    rows = lazy_rows.stored(np.load(file, mmap_mode="r"))
    batches = BlockSource(rows, mixed=0).batches(64, seed=SEED)
    next(batches)
    if change == "shrink":
        os.truncate(file, 1000)
    elif change == "touch":
        os.utime(file, ns=(1, 1))
    elif change == "replace":
        file.replace(file.with_suffix(".old"))
        np.save(file, TABLE)
    else:
        file.unlink()
    with pytest.raises(DataError, match=r"rows\.npy' (was changed while|can no longer)"):
        next(batches)


def test_rows_that_cannot_be_learned_from_are_refused(file, tmp_path):
    gap = TABLE.copy()
    gap[950, 2] = np.nan
    np.save(file, gap)
    with pytest.raises(DataError, match=r"NaN .* in row 950"):
        Autoencoder(1).fit(file)
    with pytest.raises(DataError, match=r"NaN .* in row 950"):
        DenoisingAutoencoder(1).fit(np.load(file, mmap_mode="r"), TABLE)
    half = Autoencoder(1, max_epochs=1).fit(TABLE).split()[0]
    for encoder in (half, Autoencoder(1)):
        with pytest.raises(DataError, match=r"NaN .* in row 950"):
            EncoderClassifier(encoder, from_scratch=True).fit(file, np.arange(1000) % 2)
    np.save(file, TABLE)
    model = Autoencoder(1, max_epochs=1).fit(file)
    np.save(file, TABLE[:, :5])
    with pytest.raises(DataError, match="X has 5 features, but Autoencoder is expecting 6"):
        model.transform(file)
    folder = folder_of(tmp_path, TABLE, [500])
    np.save(folder / "0.npy", TABLE[:, :5])
    with pytest.raises(DataError, match=r"1\.npy' holds float64 of shape \(500, 6\)"):
        read(folder)
