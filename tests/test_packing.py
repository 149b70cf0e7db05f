"""Pictures packed into a Lance dataset: once, whole, and going on after whatever stops it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import lance
import numpy as np
import pytest
from PIL import Image

from narrows import Autoencoder, Library, pack
from narrows.data import images, lance_rows, lazy_rows
from narrows.data.files import read, write
from narrows.data.lazy_rows import StoredRows
from narrows.errors import DataError, OutputError, OutputExistsError, UnreadableFileError
from narrows.models.persistence import run_identity

SEED = 0
PICTURES = np.random.default_rng(SEED).integers(0, 256, (50, 6, 5), np.uint8)
NAMES = [f"{'left' if number % 2 else 'right'}/{number:02}.png" for number in range(50)]
ORDER = np.argsort(NAMES)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.setattr(lance_rows, "_PICTURES", 8)
    return write(tmp_path / "photos", PICTURES, names=NAMES)


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(lazy_rows, "SMALL", 0)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_is_packed_is_what_the_folder_holds(photos, tmp_path, on_disk):
    told = []
    packed = pack(photos, tmp_path / "data.lance", progress=lambda *done: told.append(done))
    assert (packed.count, packed.sample_shape, packed.resumed) == (50, (6, 5), 0)
    found, folder = read(packed.path), read(photos)
    assert isinstance(found.values, StoredRows)
    assert found.pictures
    np.testing.assert_array_equal(found.values[:], folder.values)
    np.testing.assert_array_equal(found.values[:], PICTURES[ORDER])
    assert list(found.names) == folder.names
    assert told[-1] == (50, 50)
    assert sorted(told) == told
    assert leftovers(tmp_path) == []
    one, other = (
        Autoencoder(2, max_epochs=1, random_state=SEED).fit(path) for path in (photos, packed.path)
    )
    np.testing.assert_array_equal(one.transform(photos), one.transform(packed.path))
    assert other.sample_shape_ == (6, 5)


def test_pictures_are_set_upright_and_brought_to_a_size(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    colours = np.random.default_rng(SEED).integers(0, 256, (30, 20, 3), np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    Image.fromarray(colours).save(photos / "lying.png", exif=exif)
    Image.fromarray(np.rot90(colours, -1)).save(photos / "upright.png")
    packed = pack(photos, tmp_path / "data.lance", image_size=(10, 15))
    values = read(packed.path).values
    assert values.shape == (2, 10, 15, 3)
    np.testing.assert_allclose(values[0].astype(int), values[1], atol=1)
    grey = pack(photos, tmp_path / "grey.lance", image_size=8, color=False)
    assert grey.sample_shape == (8, 8)


def test_models_in_other_units_take_what_is_packed(photos, tmp_path, on_disk):
    packed = pack(photos, tmp_path / "data.lance")
    units = (PICTURES[ORDER] / 255).astype(np.float32)
    model = Autoencoder(2, max_epochs=2, random_state=SEED).fit(units)
    np.testing.assert_allclose(model.transform(packed.path), model.transform(photos), atol=1e-6)
    one, other = (
        Library.build(tmp_path / f"of-{path.name}", path, model=model)[0].codes
        for path in (photos, packed.path)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("part", [0, 3, 6])
def test_packing_that_was_killed_goes_on_where_it_was(photos, tmp_path, part):
    lines = f"""
import os, signal, sys
from narrows.data import lance_rows
lance_rows._PICTURES = 8
keep = lance_rows._Work._keep
def dies(self, name, facts):
    if name == "{part:06}.json":  # its rows are written, and nobody knows
        os.kill(os.getpid(), signal.SIGKILL)
    keep(self, name, facts)
lance_rows._Work._keep = dies
lance_rows.pack(*sys.argv[1:])
"""
    arguments = [str(photos), str(tmp_path / "data.lance")]
    killed = subprocess.run([sys.executable, "-c", lines, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "data.lance").exists()
    packed = pack(*arguments)
    assert (packed.count, packed.resumed) == (50, 8 * part)
    np.testing.assert_array_equal(read(packed.path).values, PICTURES[ORDER])
    whole = {
        file.path
        for one in lance.dataset(str(packed.path)).get_fragments()
        for file in one.data_files()
    }
    assert {file.name for file in (packed.path / "data").iterdir()} == whole
    assert leftovers(tmp_path) == []


class Killed(BaseException):
    pass


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("changed", [False, True])
def test_replacing_that_was_killed_loses_neither_dataset(
    shown, changed, photos, tmp_path, monkeypatch
):
    to, small = tmp_path / "data.lance", write(tmp_path / "small", PICTURES[:3])
    pack(small, to)

    def dies(made, to, before):
        to.rename(before)
        if shown:
            made.rename(to)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(lance_rows, "put_in_place", dies)
        with pytest.raises(Killed):
            pack(photos, to, overwrite=True)
    if changed:
        (photos / NAMES[0]).write_bytes(b"junk")
        with pytest.raises(UnreadableFileError):
            pack(photos, to, overwrite=True)
        assert read(to).values.shape == (50 if shown else 3, 6, 5)
        return
    with pytest.raises(OutputExistsError):
        pack(photos, to)
    assert read(to).values.shape == (50 if shown else 3, 6, 5)
    packed = pack(photos, to, overwrite=True)
    assert (packed.count, packed.resumed) == (50, 0 if shown else 50)
    np.testing.assert_array_equal(read(to).values[:], PICTURES[ORDER])
    assert leftovers(tmp_path) == []


def test_files_that_cannot_be_read_are_listed_or_refused(photos, tmp_path):
    (photos / "left" / "00-broken.jpg").write_bytes(b"what is this")
    with pytest.raises(UnreadableFileError, match=r"00-broken\.jpg' is not a readable picture"):
        pack(photos, tmp_path / "data.lance")
    packed = pack(photos, tmp_path / "data.lance", skip_unreadable=True)
    assert packed.count == 50
    assert [Path(path).name for path, _ in packed.skipped] == ["00-broken.jpg"]
    np.testing.assert_array_equal(read(packed.path).values, PICTURES[ORDER])
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"what is this")
    with pytest.raises(DataError, match="none of 1 picture can be read"):
        pack(bad, tmp_path / "bad.lance", skip_unreadable=True)


def test_other_files_or_sizes_begin_anew(photos, tmp_path):
    to = tmp_path / "data.lance"
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        for size in ("auto", 4):
            with pytest.raises(KeyboardInterrupt):
                pack(photos, to, image_size=size)
    os.utime(photos / NAMES[0], ns=(1, 1))
    packed = pack(photos, to, image_size=4)
    assert (packed.resumed, packed.sample_shape) == (0, (4, 4))


def stop_after(patch, parts):
    done = lance_rows._Work.write

    def write(work, number, *rest):
        if number == parts:
            raise KeyboardInterrupt
        done(work, number, *rest)

    patch.setattr(lance_rows._Work, "write", write)


def test_a_part_whose_rows_are_gone_is_made_again(photos, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            pack(photos, tmp_path / "data.lance")
    next((tmp_path / ".data.lance.packing" / "rows" / "data").iterdir()).unlink()
    packed = pack(photos, tmp_path / "data.lance")
    assert packed.resumed == 16
    np.testing.assert_array_equal(read(packed.path).values, PICTURES[ORDER])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("full")])
def test_a_disk_that_fills_shows_nothing_and_keeps_what_is_done(
    photos, tmp_path, monkeypatch, error
):
    writing, calls = lance_rows.write_fragments, []

    def fills(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 4:
            raise error
        return writing(*arguments, **options)

    monkeypatch.setattr(lance_rows, "write_fragments", fills)
    with pytest.raises(OutputError, match=r"could not be packed: .*give the same command") as told:
        pack(photos, tmp_path / "data.lance")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "data.lance").exists()
    monkeypatch.setattr(lance_rows, "write_fragments", writing)
    assert pack(photos, tmp_path / "data.lance").resumed == 32


def test_nothing_is_replaced_unasked_and_nothing_but_datasets(photos, tmp_path):
    to = tmp_path / "data.lance"
    pack(photos, to, image_size=3)
    with pytest.raises(OutputExistsError, match="exists already"):
        pack(photos, to)
    assert read(pack(photos, to, overwrite=True).path).values.shape == (50, 6, 5)
    assert leftovers(tmp_path) == []
    with pytest.raises(OutputExistsError, match="is no Lance dataset"):
        pack(photos, photos, overwrite=True)


def test_packing_that_ends_before_its_first_part_is_done_leaves_nothing(photos, tmp_path):
    first = photos / NAMES[ORDER[0]]
    right = first.read_bytes()
    first.write_bytes(b"what is this")
    with pytest.raises(DataError, match="is not a readable picture"):
        pack(photos, tmp_path / "data.lance")
    assert leftovers(tmp_path) == []
    first.write_bytes(right)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lance_rows, "write_piece", stop)
        with pytest.raises(KeyboardInterrupt):
            pack(photos, tmp_path / "data.lance")
    assert leftovers(tmp_path) == []
    assert pack(photos, tmp_path / "data.lance").count == 50


def stop(*_):
    raise KeyboardInterrupt


def test_two_do_not_pack_into_one_place(photos, tmp_path):
    with (
        lance_rows._Work.of(tmp_path / "data.lance"),
        pytest.raises(OutputError, match="is being packed by another process"),
    ):
        pack(photos, tmp_path / "data.lance")


def test_names_that_are_no_text_are_kept_as_far_as_they_can_be_shown(tmp_path):
    photos = write(tmp_path / "photos", PICTURES[:2], names=["a", "b"])
    (photos / "a.png").rename(photos / os.fsdecode(b"\xff.png"))
    assert list(read(pack(photos, tmp_path / "data.lance").path).names) == ["b.png", "\udcff.png"]


def test_the_command_packs_and_trains(run, photos, tmp_path):
    told = run("pack", photos, "-o", "data.lance", "--size", "4")
    assert (told.code, told.out) == (0, "50 pictures of 4 x 4 in data.lance\n")
    assert run("pack", photos, "-o", "data.lance").code == 5
    (photos / "broken.gif").write_bytes(b"what is this")
    told = run("pack", photos, "-o", "data.lance", "--skip-unreadable", "--overwrite", "--json")
    assert told.json["rows"] == 50
    assert told.json["sample_shape"] == [6, 5]
    assert "broken.gif" in told.err
    assert run("train", "data.lance", "-o", "model", "--max-epochs", "1").code == 0
    assert run("encode", "model", "data.lance", "-o", "codes.npz").code == 0
    assert list(np.load("codes.npz")["names"]) == [NAMES[place] for place in ORDER]


def test_the_command_says_what_had_been_packed_before(run, photos):
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        assert run("pack", photos, "-o", "data.lance").code == 130
    assert "16 pictures had been packed before" in run("pack", photos, "-o", "data.lance").err


@pytest.fixture
def small_memory(monkeypatch):
    monkeypatch.setattr(images, "fits", lambda _: False)


def test_a_folder_beyond_memory_is_decoded_when_it_is_asked_for(photos, small_memory):
    with pytest.warns(UserWarning, match=r"50 pictures of shape \(6, 5\) take .*narrows pack"):
        rows = read(photos)
    assert isinstance(rows.values, StoredRows)
    np.testing.assert_array_equal(rows.values[:], PICTURES[ORDER])
    np.testing.assert_array_equal(rows.values[[3, 3, -1]], PICTURES[ORDER][[3, 3, -1]])
    assert rows.names == [NAMES[place] for place in ORDER]
    with pytest.warns(UserWarning, match="narrows pack"):
        model = Autoencoder(2, max_epochs=1, random_state=SEED).fit(photos)
    np.testing.assert_array_equal(model.transform(rows.values), model.transform(PICTURES[ORDER]))


def test_checkpoints_know_pictures_that_were_changed(photos, small_memory):
    model = Autoencoder(2, random_state=SEED)
    with pytest.warns(UserWarning, match="narrows pack"):
        rows = read(photos).values
    one = run_identity(model, rows)
    assert run_identity(model, rows) == one
    os.utime(photos / NAMES[3], ns=(1, 1))
    assert run_identity(model, rows) != one
    (photos / NAMES[3]).unlink()
    with pytest.raises(UnreadableFileError, match="can no longer be read: No such file"):
        run_identity(model, rows)


def test_pictures_beyond_memory_that_cannot_be_read_are_listed_or_refused(photos, small_memory):
    (photos / "left" / "00-broken.jpg").write_bytes(b"what is this")
    told = []
    with pytest.warns(UserWarning, match="narrows pack"):
        rows = read(photos, skip_unreadable=True, progress=lambda *done: told.append(done))
    assert (len(rows.values), told) == (50, [(51, 51)])
    assert [Path(path).name for path, _ in rows.skipped] == ["00-broken.jpg"]
    with pytest.warns(UserWarning, match="narrows pack"):
        rows = read(photos)
    with pytest.raises(UnreadableFileError, match=r"00-broken\.jpg' is not a readable picture"):
        Autoencoder(1).fit(rows.values)
    for file in photos.rglob("*.png"):
        file.unlink()
    with (
        pytest.warns(UserWarning, match="narrows pack"),
        pytest.raises(DataError, match="none of 1 picture can be read"),
    ):
        read(photos, skip_unreadable=True)
