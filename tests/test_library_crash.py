"""A library of pictures: nothing halfway, whatever fails.

The seed of everything random here is 0.
"""

import json
import resource
import subprocess
import sys

import lance
import numpy as np
import pytest
from libraries import contents_of, draw, one_line

from narrows import Encoder, Library
from narrows.data.depths import encode_png
from narrows.errors import (
    DataError,
    OutputError,
    UnreadableFileError,
)


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "folder"])
def test_an_unreadable_file_adds_nothing_or_is_skipped(tmp_path, photos, model, damage):
    bad = photos / "more" / "22.png"
    whole = bad.read_bytes()
    bad.unlink()
    match damage:
        case "truncated":
            bad.write_bytes(whole[: len(whole) // 2])
        case "foreign":
            bad.write_bytes(b"%PDF-1.4 and so on")
        case "empty":
            bad.touch()
        case "folder":
            bad.mkdir()
    files = sorted(photos.rglob("*.png"))
    library = Library.create(tmp_path / "pictures.lance", model=model)
    before = contents_of(library.path)
    with pytest.raises(UnreadableFileError, match=r"22\.png.*skip_unreadable") as caught:
        library.add(files)
    one_line(caught)
    assert len(library) == len(Library.open(library.path)) == 0
    assert contents_of(library.path) == before
    names = [f"picture {number}" for number in range(30)]
    added = library.add(files, skip_unreadable=True, names=names)
    assert added.count == len(library) == 29
    assert [path for path, _ in added.skipped] == [str(bad)]
    assert all(reason for _, reason in added.skipped)
    found = library.match(files[0], k=29)
    assert sorted(match.path for match in found) == sorted(set(names) - {"picture 22"})


def test_nothing_readable_is_an_error(tmp_path, model):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_text("no picture")
    library = Library.create(tmp_path / "pictures.lance", model=model)
    with pytest.raises(DataError, match=r"none of 2 .*a\.png") as caught:
        library.add(tmp_path / "photos", skip_unreadable=True)
    one_line(caught)
    assert len(library) == 0


def test_an_error_far_into_an_addition_leaves_what_was_there(library):
    X = draw(5000, seed=4).astype(np.float32)
    X[4321] = np.nan
    before = contents_of(library.path)
    with pytest.raises(DataError, match="NaN"):
        library.add(X)
    assert contents_of(library.path) == before, "values are checked before anything is written"

    def stop(done, total):
        raise KeyError("a callback's own error comes through as it is")

    with pytest.raises(KeyError):
        library.add(draw(5000, seed=4), progress=stop)
    assert len(Library.open(library.path)) == 60
    assert library.add(draw(5000, seed=4)).count == 5000
    assert len(library) == 5060


def interrupt(library, X, after, **others):
    """Stop an addition when so many of its pictures have been encoded."""

    def stop(done, total):
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.add(X, progress=stop, **others)


def test_an_interrupted_addition_goes_on_where_it_stopped(library, monkeypatch):
    """Nobody sees the first 4096 until all are there; they are not encoded again."""
    X = draw(6000, seed=4)
    interrupt(library, X, after=5000)
    assert len(library.refresh()) == len(Library.open(library.path)) == 60
    encoded = []
    transform = Encoder.transform
    monkeypatch.setattr(
        Encoder, "transform", lambda self, X: encoded.append(len(X)) or transform(self, X)
    )
    added = library.add(X)
    assert (added.count, added.present, len(library)) == (6000, 0, 6060)
    assert sum(encoded) == 6000 - 4096
    found = [one[0].id for one in library.match(X[[0, 4095, 4096, 5999]], k=1)]
    assert found == [60, 4155, 4156, 6059]


def test_an_addition_with_other_names_or_metadata_is_another(library):
    X = draw(5000, seed=4)
    wrong, right = ({"names": [word] * 5000, "metadata": {"label": [word] * 5000}} for word in "wr")
    interrupt(library, X, after=5000, **wrong)
    assert library.add(X, **right).count == 5000
    assert library.count("path = 'r' AND label = 'r'") == 5000
    assert len(library) == 5060


@pytest.mark.parametrize("then", ["add", "remove", "compact"])
def test_what_an_interrupted_addition_left_is_gone_if_not_given_again(library, pictures, then):
    X = draw(6000, seed=4)
    interrupt(library, X, after=5000)
    match then:
        case "add":
            assert library.add(X[7:9]).count == 2
        case "remove":
            assert library.remove([3]) == 1
        case "compact":
            library.compact()
    assert (
        len(library)
        == len(Library.open(library.path))
        == 60 + {"add": 2, "remove": -1}.get(then, 0)
    )
    assert library.add(X).count == (5998 if then == "add" else 6000)
    assert library.match(pictures[4], k=1)[0].id == 4


def test_a_reader_keeps_what_it_opened(library, pictures):
    reader = Library.open(library.path)
    library.add(draw(10, seed=2))
    assert (len(reader), len(library), len(Library.open(library.path))) == (60, 70, 70)
    assert len(reader.match(pictures[0], k=100)) == 60
    assert len(library.match(pictures[0], k=100)) == 70


WRITER = """
import sys
import numpy as np
from narrows import Encoder, Library
library = Library.open(sys.argv[1])
X = np.random.default_rng(int(sys.argv[2])).integers(0, 256, (9000, 6, 5), np.uint8)
print("ready", flush=True)
input()
for start in (0, 3000, 6000):
    print(library.add(X[start : start + 3000], names=[sys.argv[2]] * 3000).count, flush=True)
"""


def start_writer(path, number):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_writers_at_once_lose_nothing_even_if_one_is_killed(library, pictures):
    """The first is killed when one of its additions is acknowledged and more are under way."""
    writers = [start_writer(library.path, number) for number in (1, 2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert writers[0].stdout.readline() == "3000\n"
    writers[0].kill()
    writers[0].communicate()
    assert writers[1].communicate()[0] == "3000\n" * 3
    opened = Library.open(library.path)
    assert opened.match(pictures[3], k=1)[0].id == 3
    version = json.loads((library.path / "library.json").read_text())["version"]
    table = lance.dataset(library.path / "table.lance", version=version)
    table = table.to_table(columns=["id", "path"])
    assert table["id"].to_pylist() == list(range(len(opened)))
    paths = table["path"].to_pylist()[60:]
    additions = [set(paths[start : start + 3000]) for start in range(0, len(paths), 3000)]
    assert additions.count({"2"}) == 3
    assert additions.count({"1"}) == len(additions) - 3 >= 1
    assert len(paths) % 3000 == 0


@pytest.fixture
def small_files():
    """A limit on the size of files, which stands in for the size of a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("count", [9000, 150_000])
def test_a_full_disk_adds_nothing(library, small_files, count):
    """Met when the file is closed, and in the middle of writing."""
    with pytest.raises(OutputError, match="could not be written: File too large") as caught:
        library.add(draw(count, seed=4))
    one_line(caught)
    assert len(library) == len(Library.open(library.path)) == 60
    assert library.add(draw(10, seed=3)).count == 10
    assert len(Library.open(library.path)) == 70


def test_additions_larger_than_a_part(library, tmp_path, model):
    X = draw(300, seed=4)
    for number, picture in enumerate(X):
        (tmp_path / f"{number:03}.png").write_bytes(encode_png(picture))
    seen = []
    files = sorted(tmp_path.glob("*.png"))
    library.add(files, progress=lambda done, total: seen.append((done, total)))
    assert len(library) == 360
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] == (300, 300)
    assert library.match(files[280], k=1)[0].id == 340
