"""Copies are moved away and put back by a list, whatever happens in between."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from narrows.copies import find_copies, move_copies, undo_moves
from narrows.errors import (
    MissingFileError,
    NarrowsWarning,
    OutputExistsError,
    ParameterError,
    UnreadableFileError,
)

SEED = 0


def scene(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(
        (240, 180), Image.Resampling.BICUBIC
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two scenes, each with copies, one of the same name in a subfolder, and one scene alone."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(3):
        scene(number).save(folder / f"{number}.png")
    scene(0).save(folder / "sub" / "0.jpg", quality=80)
    scene(0).resize((120, 90)).save(folder / "0-small.jpg")
    ImageOps.mirror(scene(1)).save(folder / "sub" / "a\nb.jpg")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


COPIES = {"sub/0.jpg", "0-small.jpg", "sub/a\nb.jpg"}


def test_copies_are_moved_and_put_back(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    times = {name: (photos / name).stat().st_mtime_ns for name in before}
    moved = move_copies(find_copies(photos), tmp_path / "out")
    assert moved.left == []
    assert contents(photos) == {n: data for n, data in before.items() if n not in COPIES}
    after = contents(tmp_path / "out")
    assert set(after) == COPIES | {"moved-1.jsonl"}
    assert all(after[name] == before[name] for name in COPIES)
    assert find_copies(photos).groups == []
    undone = undo_moves(moved.record, photos)
    assert len(undone.moves) == 3
    assert contents(photos) == before
    assert {name: (photos / name).stat().st_mtime_ns for name in before} == times
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["moved-1.jsonl"]
    assert undo_moves(moved.record, photos).moves == []  # all are in their places


def test_taken_names_get_a_number_and_nothing_is_overwritten(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "0-small.jpg").write_bytes(b"mine")
    moved = move_copies(find_copies(photos), out)
    assert (out / "0-small.jpg").read_bytes() == b"mine"
    assert (out / "0-small-2.jpg").exists()
    (photos / "0-small.jpg").write_bytes(b"new")
    with pytest.warns(NarrowsWarning, match="taken"):
        undone = undo_moves(moved.record, photos)
    assert [path.name for path, _ in undone.left] == ["0-small-2.jpg"]
    assert (photos / "0-small.jpg").read_bytes() == b"new"
    assert (out / "0-small-2.jpg").exists()
    assert (photos / "sub" / "0.jpg").exists()
    (photos / "0-small.jpg").unlink()
    assert len(undo_moves(moved.record, photos).moves) == 1


def test_files_that_changed_since_the_scan_stay(photos: Path, tmp_path: Path) -> None:
    found = find_copies(photos)
    (photos / "0.png").write_bytes((photos / "2.png").read_bytes())  # was to be kept
    (photos / "sub" / "a\nb.jpg").unlink()
    with pytest.warns(NarrowsWarning, match="3 files stayed") as told:
        moved = move_copies(found, tmp_path / "out")
    assert told[0].message.kind == "copies_left"
    assert moved.record is None
    assert list((tmp_path / "out").iterdir()) == []
    reasons = {path.name: why for path, why in moved.left}
    assert "'0.png', which was to be kept, has changed" in reasons["0-small.jpg"]
    assert "is missing" in reasons["a\nb.jpg"]
    assert (photos / "0-small.jpg").exists()


def test_links_and_what_they_lead_to_stay(photos: Path, tmp_path: Path) -> None:
    (photos / "link.jpg").symlink_to("0-small.jpg")
    with pytest.warns(NarrowsWarning, match="link"):
        moved = move_copies(find_copies(photos), tmp_path / "out")
    assert (photos / "link.jpg").is_symlink()
    assert (photos / "link.jpg").read_bytes() == (photos / "0-small.jpg").read_bytes()
    assert {move.source.name for move in moved.moves} == {"0.jpg", "a\nb.jpg"}


def test_an_interruption_between_both_names_is_undone(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    moved = move_copies(find_copies(photos), tmp_path / "out")
    first, second, _ = moved.moves
    first.source.hardlink_to(first.target)  # as before the old name is taken away
    second.source.hardlink_to(second.target)
    second.target.unlink()  # as before the new name is made
    text = moved.record.read_text()
    moved.record.write_text(text + '{"from": "2.png", "to"')  # as before the line is whole
    undo_moves(moved.record, photos)
    assert contents(photos) == before


def test_another_disk_takes_copies_of_the_files(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(photos)

    def no_link(*_args: object, **_options: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    moved = move_copies(find_copies(photos), tmp_path / "out")
    assert set(contents(photos)) == set(before) - COPIES
    undo_moves(moved.record, photos)
    assert contents(photos) == before


def test_pictures_that_show_more_than_the_one_to_keep_stay(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    scene(5).resize((120, 90)).save(folder / "whole.png")
    scene(5).crop((24, 18, 216, 162)).save(folder / "part.png")  # of more pixels
    with pytest.warns(NarrowsWarning, match="shows more"):
        moved = move_copies(find_copies(folder), tmp_path / "out")
    assert moved.record is None
    assert {file.name for file in folder.iterdir()} == {"whole.png", "part.png"}


def test_a_copy_that_was_cut_short_is_made_anew(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where writing to another disk was killed: the part has a name of its own."""
    before = contents(photos)
    monkeypatch.setattr(os, "link", lambda *_a, **_k: (_ for _ in ()).throw(OSError(18, "disk")))
    found = find_copies(photos)
    first = found.groups[0].copies[0].picture
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{first.seen.digest.hex()[:16]}.part").write_bytes(b"cut")
    moved = move_copies(found, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.part"))
    undo_moves(moved.record, photos)
    assert contents(photos) == before


def test_folders_within_each_other_are_refused(photos: Path, tmp_path: Path) -> None:
    found = find_copies(photos)
    (tmp_path / "link").symlink_to(photos / "sub")
    for to in (photos / "out", photos, tmp_path, tmp_path / "link"):
        with pytest.raises(ParameterError, match="beside it"):
            move_copies(found, to)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputExistsError):
        move_copies(found, tmp_path / "file")
    assert not (photos / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"to": "../secret.txt"},
        {"to": "/etc/hostname"},
        {"from": "../stolen.txt"},
        {"from": "/stolen.txt"},
        {"from": "a\0b"},
        {"to": "link/secret.txt"},
    ],
)
def test_a_strangers_list_moves_nothing_from_or_to_elsewhere(
    photos: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    moved = move_copies(find_copies(photos), tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    line = {**json.loads(moved.record.read_text().splitlines()[0]), **change}
    moved.record.write_text(json.dumps(line) + "\n")
    before = contents(tmp_path)
    with pytest.warns(NarrowsWarning, match="leads out of"):
        assert undo_moves(moved.record, photos).moves == []
    assert contents(tmp_path) == before


def test_a_list_of_another_kind_puts_nothing_back(photos: Path, tmp_path: Path) -> None:
    moved = move_copies(find_copies(photos), tmp_path / "out")
    after = contents(photos)
    whole = moved.record.read_bytes()
    odd = b'{"from": "\\ud800", "to": "a", "size": 1, "digest": ""}\n'
    far = b'{"from": "a", "to": "a", "size": 1e999, "digest": ""}\n'
    for bad in (
        odd,
        far,
        b"x\n",
        b"[]\n",
        b'{"from": 3}\n',
        b"\xff\xfe\n",
        whole + b"[" * 100_000 + b"\n",
    ):
        moved.record.write_bytes(bad)
        with pytest.raises(UnreadableFileError, match="nothing was put back"):
            undo_moves(moved.record, photos)
    assert contents(photos) == after
    with pytest.raises(MissingFileError):
        undo_moves(tmp_path / "gone.jsonl", photos)
    moved.record.write_bytes(whole)
    with pytest.raises(MissingFileError):
        undo_moves(moved.record, tmp_path / "gone")


def test_the_command_moves_and_undoes(run, photos: Path) -> None:
    before = contents(photos)
    done = run(
        "duplicates", photos, "--no-state", "--move-to", "out", "--export", "keep.csv", "--json"
    )
    assert done.code == 0
    assert len(done.json["moved"]["files"]) == 3
    assert len(Path("keep.csv").read_text().splitlines()) > 5
    refused = run("duplicates", photos, "--undo", done.json["moved"]["list"], "--no-crops")
    assert refused.code == 2
    assert "--undo puts files back" in refused.err
    undone = run("duplicates", photos, "--undo", done.json["moved"]["list"])
    assert "3 files moved to" in undone.out
    assert contents(photos) == before
    again = run("duplicates", photos, "--no-state", "--move-to", "out")
    assert "moved-2.jsonl" in again.err + again.out
    alone = run("duplicates", photos, "--no-state", "--move-to", "other", "--json")
    assert alone.json["moved"] == {"list": None, "files": [], "left": []}
    assert not Path("other").exists()
    assert run("duplicates", photos, "--no-state", "--move-to", photos / "x").code == 2


def test_kinds_of_copies_can_be_left_out(tmp_path: Path, run) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    made = {
        "mirrored": ImageOps.mirror,
        "rotated": lambda image: image.transpose(Image.Transpose.ROTATE_90),
        "halfway": lambda image: image.transpose(Image.Transpose.ROTATE_180),
        "cropped": lambda image: image.crop((24, 18, 216, 162)),
        "small": lambda image: image.resize((120, 90)),
    }
    for seed, (name, change) in enumerate(made.items()):
        scene(10 + seed).save(folder / f"{seed}.png")
        change(scene(10 + seed)).save(folder / f"{name}.png")

    def found(**how: bool) -> set[str]:
        groups = find_copies(folder, **how).groups
        names = [p for g in groups for p in (g.keep.name, *(c.picture.name for c in g.copies))]
        return {name.removesuffix(".png") for name in names} & set(made)

    assert found() == set(made)
    assert found(mirrored=False) == set(made) - {"mirrored"}
    assert found(rotated=False) == set(made) - {"rotated", "halfway"}
    assert found(crops=False) == set(made) - {"cropped"}
    assert found(crops=False, mirrored=False, rotated=False) == {"small"}
    shutil.copy(folder / "0.png", folder / "same.png")
    told = run("duplicates", folder, "--no-state", "--no-crops", "--no-rotated", "--json")
    assert len(told.json["groups"]) == 2  # "mirrored" with "same", "small"
    library = run("duplicates", "l.lance", "--no-mirrored")
    assert library.code == 2
    assert "--mirrored is for folders" in library.err
