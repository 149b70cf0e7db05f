"""What is read of a folder, what is not, and that this is said: one rule for every kind of data.

The seed of everything random here is 0.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cli_kit import TINY, Run
from PIL import Image

from narrows import Autoencoder, Library, pack, signals
from narrows.data.files import read, write
from narrows.data.folders import check_exclude, is_of_system, list_files, what_it_is
from narrows.data.images import list_images
from narrows.errors import DataError, NarrowsWarning, ParameterError, UnreadableFileError

pytestmark = pytest.mark.cases

APPLE_DOUBLE = bytes([0, 5, 22, 7, 0, 2, 0, 0]) + b"Mac OS X        " + bytes(4000)
RNG = np.random.default_rng(0)
# As they stand on the disks of Synology, QNAP, Windows, macOS, Linux and NetApp.
SYSTEM = (
    "@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", ".Trashes",
    ".Trash-1000", "lost+found", "__MACOSX", "System Volume Information", ".@__thumb", "FOUND.000",
    "#snapshot", "~snapshot", "@Recently-Snapshot", ".ipynb_checkpoints", "Network Trash Folder",
)  # fmt: skip


def save_picture(path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (8, 8), np.uint8)).save(path, "PNG")


def save_sound(path: Path) -> None:
    soundfile.write(path, RNG.normal(0, 0.1, 2000), 8000, format="WAV")


def save_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, RNG.normal(size=(20, 4)))


def save_table(path: Path) -> None:
    import pandas as pd

    pd.DataFrame(RNG.normal(size=(20, 3)), columns=list("abc")).to_parquet(path)


KINDS = {
    "pictures": (".png", save_picture),
    "sounds": (".wav", save_sound),
    "arrays": (".npy", save_array),
    "tables": (".parquet", save_table),
}


def rows_of(folder: Path, kind: str, **options: Any) -> int:
    """How many rows there are: a picture, 20 lines of an array or table, or a sound each."""
    if kind == "sounds":
        return len(signals.read_all(folder, **options).signals)
    return len(read(folder, **options).values) // (1 if kind == "pictures" else 20)


def said_of(function: Callable[[], Any]) -> list[NarrowsWarning]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [one.message for one in caught if isinstance(one.message, NarrowsWarning)]


@pytest.mark.parametrize("kind", KINDS)
def test_folders_of_systems_and_hidden_files_are_left_out_of_every_kind(
    kind: str, tmp_path: Path
) -> None:
    suffix, save = KINDS[kind]
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}{suffix}")
    for name in SYSTEM:
        (tmp_path / name / f"a{suffix}").mkdir(parents=True)
        save(tmp_path / name / f"deep{suffix}")
        save(tmp_path / name / f"a{suffix}" / f"SYNOPHOTO_THUMB_M{suffix}")
    (tmp_path / f"._a{suffix}").write_bytes(APPLE_DOUBLE)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r"):
        (tmp_path / name).write_bytes(b"settings")
    assert rows_of(tmp_path, kind) == 3  # warnings are errors here: nothing is said of these


@pytest.mark.parametrize("kind", KINDS)
def test_endings_in_upper_case_are_read(kind: str, tmp_path: Path) -> None:
    suffix, save = KINDS[kind]
    save(tmp_path / f"a{suffix.upper()}")
    save(tmp_path / f"b{suffix}")
    assert rows_of(tmp_path, kind) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_read_is_counted_by_kind(kind: str, tmp_path: Path) -> None:
    suffix, save = KINDS[kind]
    save(tmp_path / f"a{suffix}")
    others = ["1.NEF", "2.NEF", "3.nef", "1.CR2", "1.psd", "noending"]
    beside = ["readme.txt", "about.json", "a.xmp", "README", "LICENSE"]
    for name in [*others, *beside]:
        (tmp_path / name).write_bytes(b"x")
    (said,) = said_of(lambda: rows_of(tmp_path, kind))
    assert "6 files of other kinds left out: 3 .NEF, 1 .CR2, 1 .psd, 1 without" in str(said)
    assert "--exclude '*.NEF'" in str(said)
    assert said.kind == "files_left_out"
    counted = {".NEF": 3, ".CR2": 1, ".psd": 1, "without an ending": 1}
    assert (said.facts["files"], said.facts["kinds"]) == (6, counted)
    assert said.facts["sidecars"] == len(beside)


def test_a_folder_is_still_counted_where_nothing_of_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.NEF").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds no pictures.* 1 \.NEF"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"holds no sound files, but 1 \.NEF"):
        signals.read_all(tmp_path)


@pytest.mark.parametrize("kind", [".png", ".npy", ".parquet"])
def test_every_folder_is_listed_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, tmp_path / "deep", tmp_path / "deep" / "deeper"):
        folder.mkdir(exist_ok=True)
        for name in "ab" if folder == tmp_path or kind == ".png" else "":
            if kind == ".png":
                save_picture(folder / f"{name}.png")
            else:
                write(folder / f"{name}{kind}", np.ones((3, 2)))
    listed, scandir = Counter[Path](), os.scandir

    def noted(folder: Any) -> Any:
        listed[Path(folder)] += 1
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", noted)
    with warnings.catch_warnings(action="ignore", category=NarrowsWarning):
        assert len(read(tmp_path).values) == 6
    within = {folder: n for folder, n in listed.items() if folder.is_relative_to(tmp_path)}
    assert set(within.values()) == {1}
    assert tmp_path in within


def test_links_are_followed_to_files_and_not_to_folders(tmp_path: Path) -> None:
    photos, other = tmp_path / "photos", tmp_path / "other"
    for folder in (photos, other):
        folder.mkdir()
    save_picture(other / "b.png")
    save_picture(photos / "a.png")
    (photos / "b.png").symlink_to(other / "b.png")
    (photos / "more").symlink_to(other)
    (photos / "loop").symlink_to(photos)
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (photos / "itself.png").symlink_to(photos / "itself.png")
    os.mkfifo(photos / "pipe.png")
    (said,) = said_of(lambda: read(photos))
    assert "2 linked folders not entered, the first: 'loop'" in str(said)
    assert "2 links that lead nowhere, the first: 'gone.png'" in str(said)
    assert said.facts["linked_folders"] == ["loop", "more"]
    assert said.facts["dangling_links"] == ["gone.png", "itself.png"]
    assert said.facts["kinds"] == {"pipe or device": 1}
    assert [path.name for path in list_images(photos).files] == ["a.png", "b.png"]
    # A folder that was named is entered, whatever leads to it.
    assert [path.name for path in list_images(photos / "more").files] == ["b.png"]


def test_subfolders_of_arrays_are_not_entered_and_that_is_said(tmp_path: Path) -> None:
    save_array(tmp_path / "a.npy")
    (tmp_path / "deep").mkdir()
    save_array(tmp_path / "deep" / "b.npy")
    (said,) = said_of(lambda: read(tmp_path))
    assert "1 subfolder not entered: 'deep'" in str(said)


def test_plots_of_models_and_libraries_are_no_pictures_to_learn_from(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(12):
        save_picture(tmp_path / "photos" / f"{number:02}.png")
    assert run("train", "photos", "-o", "photos/model", *TINY).code == 0
    assert (tmp_path / "photos" / "model" / "history.png").exists()
    assert run("index", "photos/model", "photos", "-o", "photos/p.lance").code == 0
    report = ["report", "photos/model", "photos", "-o", "photos/report"]
    assert run(*report).code == 0
    answer = run("train", "photos", "-o", "again", *TINY, "--json").json
    assert answer["rows"] == 12
    assert answer["left_out"]["narrows_folders"] == ["model", "p.lance", "report"]


def test_patterns_leave_out_files_and_folders(tmp_path: Path) -> None:
    for name in ("a.png", "b_thumb.png", "drafts/c.png", "raw/d.png", "raw/deep/e.png", "f.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_picture(tmp_path / name)

    def left(*patterns: str) -> list[str]:
        found = list_files(tmp_path, [".png", ".gif"], exclude=patterns)
        return [path.relative_to(tmp_path).as_posix() for path in found.files]

    everything = ["a.png", "b_thumb.png", "drafts/c.png", "f.gif", "raw/d.png", "raw/deep/e.png"]
    assert left() == everything
    assert left("*_thumb.*", "*.gif") == ["a.png", "drafts/c.png", "raw/d.png", "raw/deep/e.png"]
    assert left("drafts") == left("drafts/") == left("./drafts") == left("drafts/*")
    assert left("drafts") == [name for name in everything if not name.startswith("drafts")]
    assert left("raw/*.png") == [name for name in everything if not name.startswith("raw/")]
    assert left("a.png/") == everything  # a folder was meant
    assert left("*.PNG") == everything
    assert check_exclude("*.gif") == ("*.gif",)
    for bad in ([""], ["/"], [3]):
        with pytest.raises(ParameterError, match=r"exclude=.*give patterns"):
            check_exclude(bad)  # type: ignore[arg-type]  # what users may give


def test_a_pattern_that_matches_nothing_is_said(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png")
    (said,) = said_of(lambda: read(tmp_path, exclude=["*.jpgg"]))
    assert said.kind == "exclude_without_match"
    assert "'*.jpgg' matches nothing" in str(said)


def test_composed_and_decomposed_letters_are_the_same_in_patterns(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "Zu\u0308rich.png")  # as macOS stores it
    assert len(read(tmp_path, exclude="Z\u00fcrich*").values) == 1


@pytest.mark.parametrize("given", ["a.png", "data.lance"])
def test_files_are_left_out_of_folders_only(given: str, tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png")
    if given == "data.lance":
        pack(tmp_path, tmp_path / given)
    with pytest.raises(ParameterError, match=r"exclude=.*is none"):
        read(tmp_path / given, exclude="*.gif")
    with pytest.raises(ParameterError, match=r"^exclude='\*\.CR2': .*give a folder, or leave the"):
        read(tmp_path / given, exclude=("*.CR2",))


def test_every_verb_that_reads_a_folder_says_and_excludes(run: Run, tmp_path: Path) -> None:
    for number in range(60):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_picture(path)
    (tmp_path / "photos" / "a.NEF").write_bytes(b"x")
    (tmp_path / "photos" / "drafts").mkdir()
    save_picture(tmp_path / "photos" / "drafts" / "no.png")
    # What it is to be learned from and looked up is made without a word.
    exclude = ["--exclude", "drafts", "--exclude", "*.NEF"]
    for verb in (["train", "photos", "-o", "model", *TINY],
                 ["index", "model", "photos", "-o", "library"]):  # fmt: skip
        quiet = run(*verb, *exclude)
        assert (quiet.code, "warning" in quiet.err) == (0, False)
    verbs = [
        ["train", "photos", "-o", "m", *TINY],
        ["encode", "model", "photos", "-o", "codes.npy"],
        ["reconstruct", "model", "photos", "-o", "restored"],
        ["pack", "photos", "-o", "data.lance"],
        ["index", "model", "photos", "-o", "other"],
        ["match", "library", "photos"],
        ["evaluate-matching", "model", "photos", "-k", "1"],
        ["report", "model", "photos", "-o", "report"],
        ["compare", "photos", "-o", "compared", "--models", "autoencoder", "--max-epochs", "1"],
        ["map", "model", "photos", "-o", "map.csv", "--method", "pca", "--no-scores"],
        ["depth", "photos", "--depths", "4", "--remedies", "plain", "--max-epochs", "1"],
    ]
    for verb in verbs:
        answer = run(*verb, "--exclude", "drafts", "--json")
        assert answer.code == 0, (verb, answer.err)
        assert "1 file of other kinds left out: 1 .NEF" in answer.err, verb
        assert answer.json["left_out"]["kinds"] == {".NEF": 1}, verb
        assert answer.json["left_out"]["excluded"] == 1, verb
        (warned,) = answer.json["warnings"]
        assert (warned["kind"], warned["files"]) == ("files_left_out", 1)


def test_python_says_it_too(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "drafts").mkdir(parents=True)
    for number in range(10):
        save_picture(photos / f"{number}.png")
    save_picture(photos / "drafts" / "no.png")
    (photos / "a.NEF").write_bytes(b"x")
    model = Autoencoder(2, architecture="dense", max_epochs=1, random_state=0)
    said = said_of(lambda: model.fit(photos))
    assert [one.kind for one in said] == ["files_left_out", "worse_than_mean"]  # an epoch is short
    assert "1 .NEF" in str(said[0])
    with pytest.warns(NarrowsWarning, match=r"1 \.NEF"):
        packed = pack(photos, tmp_path / "data.lance", exclude=["drafts"])
    assert (packed.count, packed.left_out.kinds) == (10, {".NEF": 1})
    with pytest.warns(NarrowsWarning, match=r"1 \.NEF"):
        library, added = Library.build(tmp_path / "l", photos, model=model, exclude="drafts")
    assert (added.count, added.left_out.kinds) == (10, {".NEF": 1})
    with pytest.raises(ParameterError, match="exclude="):
        library.add([photos / "0.png"], exclude="*.gif")
    with pytest.warns(NarrowsWarning, match=r"1 \.NEF"):
        assert len(library.match(photos, k=1)) == 11


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "it is empty"),
        (b"<html>404</html>", "it is a web page"),
        (b"\xef\xbb\xbf\n<!DOCTYPE HTML PUBLIC>", "it is a web page"),
        ("<!doctype html>".encode("utf-16"), "it is a web page"),
        (b"<!-- saved --><?xml version='1.0'?><html>", "it is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "it is an error message"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "pointer of Git LFS"),
        (APPLE_DOUBLE, "AppleDouble"),
        (bytes(5000), "of its 5000 bytes are zeros"),
    ],
)
@pytest.mark.parametrize(
    "name", ["a.jpg", "a.npy", "a.npz", "a.parquet", "a.csv", "a.wav", "a.mp3"]
)
def test_files_that_are_something_else_are_called_so(
    name: str, contents: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(contents)
    reading = signals.read if path.suffix in signals.SOUND_SUFFIXES else read
    with pytest.raises(DataError, match=words) as caught:
        reading(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert words in (what_it_is(contents) or "")


def test_damaged_files_of_folders_are_left_out_on_request(tmp_path: Path) -> None:
    for kind, (suffix, save) in KINDS.items():
        folder = tmp_path / kind
        folder.mkdir()
        for name in ("a", "b"):
            save(folder / f"{name}{suffix}")
        (folder / f"empty{suffix}").write_bytes(b"")
        with pytest.raises(UnreadableFileError, match="it is empty"):
            rows_of(folder, kind)
        assert rows_of(folder, kind, skip_unreadable=True) == 2
        for name in ("a", "b"):
            (folder / f"{name}{suffix}").write_bytes(b"<html>")
        with pytest.raises(DataError, match=r"none of 3 .* can be read"):
            rows_of(folder, kind, skip_unreadable=True)


def test_names_of_systems_are_known_whatever_their_case() -> None:
    assert all(map(is_of_system, SYSTEM))
    assert all(is_of_system(name.upper()) for name in SYSTEM)
    ours = ("@nasa", "eaDir", "recycle", "found", "found.0001", "lost", "temp", "a.@eaDir", "#1")
    assert not any(map(is_of_system, ours))
