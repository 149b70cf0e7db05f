"""A library of pictures: nothing halfway, whatever fails.

The seed of everything random here is 0.
"""

import resource
import subprocess
import sys

import lance
import numpy as np
import pytest
from libraries import contents_of, draw, one_line

from narrows import Library
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
    with pytest.raises(DataError, match=r"none of the 2 .*a\.png") as caught:
        library.add(tmp_path / "photos", skip_unreadable=True)
    one_line(caught)
    assert len(library) == 0


def test_an_error_far_into_an_addition_leaves_what_was_there(library):
    X = draw(5000, seed=4).astype(np.float32)
    X[4321] = np.nan
    before = contents_of(library.path)
    with pytest.raises(DataError, match="NaN"):
        library.add(X)
    assert contents_of(library.path) == before

    def stop(done, total):
        raise KeyError("a callback's own error comes through as it is")

    with pytest.raises(KeyError):
        library.add(draw(5000), progress=stop)
    assert contents_of(library.path) == before
    assert library.add(draw(5000)).count == 5000
    assert len(library) == 5060


def test_a_reader_keeps_what_it_opened(library, pictures):
    reader = Library.open(library.path)
    library.add(draw(10, seed=2))
    assert (len(reader), len(library), len(Library.open(library.path))) == (60, 70, 70)
    assert len(reader.match(pictures[0], k=100)) == 60
    assert len(library.match(pictures[0], k=100)) == 70


WRITER = """
import sys
import numpy as np
from narrows import Library
library = Library.open(sys.argv[1])
X = np.full((3000, 6, 5), int(sys.argv[2]), np.uint8)
print("ready", flush=True)
input()
for _ in range(3):
    print(library.add(X, names=[sys.argv[2]] * 3000).count, flush=True)
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
    table = lance.dataset(library.path / "table.lance").to_table(columns=["id", "path"])
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
    before = contents_of(library.path)
    done = []
    with pytest.raises(OutputError, match="could not be written: File too large") as caught:
        library.add(draw(count), progress=lambda *now: done.append(now))
    assert (done[-1] == (count, count)) == (count == 9000)
    one_line(caught)
    assert contents_of(library.path) == before
    assert library.add(draw(10)).count == 10


def test_additions_larger_than_a_part(library, photos):
    seen = []
    files = [photos / "00.png", photos / "01.png"] * 150
    library.add(files, progress=lambda done, total: seen.append((done, total)))
    assert len(library) == 360
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] == (300, 300)
    found = library.match(photos / "01.png", k=151)
    assert [match.id for match in found] == [1, *range(61, 360, 2)]
