"""Libraries on a disk that is full: one clear error, and everything as it was before.

The seed of everything random here is 0.
"""

import json
import os
import resource
import shutil
import subprocess
from datetime import timedelta

import lance
import numpy as np
import pytest
from cli_kit import as_nobody
from libraries import contents_of, draw, fit, one_line, say

from narrows import Library
from narrows.errors import OutputError

ROWS = 900  # of each of three additions


@pytest.fixture(scope="module")
def other(pictures):
    return fit(pictures, seed=1)


def texts():
    """Make some that cannot be compressed to much less."""
    random = np.random.default_rng(0)
    return [random.bytes(250).hex() for _ in range(3 * ROWS)]


OPERATIONS = {
    "add": lambda library, _: library.add(draw(3 * ROWS, seed=9)),
    "update": lambda library, _: library.update("id >= 0", {"text": texts()}),
    "compact": lambda library, _: library.compact(),
    "reencode": lambda library, other: library.reencode(other),
    "repair": lambda library, _: library.verify(repair=True),
    "build": lambda library, other: Library.build(
        library.path, draw(3 * ROWS, seed=9), model=other, overwrite=True
    ),
}


def scattered(path, model, damaged=False):
    library = Library.create(path, model=model)
    for seed in (1, 2, 3):
        library.add(draw(ROWS, seed), metadata={"when": range(ROWS)})
    if damaged:
        table = lance.dataset(str(path / "table.lance"))
        table.update({"path": "'a new name'", "id": "3"}, "id = 7")
        say(path, version=table.version)
    return library.refresh()


def rows_of(library):
    facts = json.loads((library.path / "library.json").read_text())
    table = lance.dataset(str(library.path / facts["table"]), version=facts["version"])
    rows = table.to_table().to_pylist()
    return facts["fingerprint"], sorted(rows, key=lambda row: row["id"])


def refused(library, operation, other):
    """See an operation fail as it should; what was there before is there still, and is read."""
    before, files = rows_of(library), contents_of(library.path)
    with pytest.raises(OutputError, match=r"could not be written: \w.*make room") as caught:
        OPERATIONS[operation](library, other)
    one_line(caught)
    again = Library.open(library.path)
    assert rows_of(again) == before
    assert len(again) == len(library) == 3 * ROWS
    assert again.match(draw(ROWS, 3)[-1], k=1)[0].id == 3 * ROWS - 1
    # No file of before is gone, and no half table, model or list is left beside them. The lists
    # of versions may name one that nobody sees.
    now = contents_of(library.path)
    assert all(now[name] == files[name] for name in files if not name.endswith(".json"))
    # What a failed change has left in the table is taken back by the next, with new checksums.
    lists = [json.loads(one["library.json"]).get("checks") for one in (now, files)]
    tops = [{name.split("/")[0] for name in one} for one in (now, files)]
    assert tops[0] - {lists[0]} == tops[1] - {lists[1]}
    assert {lists[0]} - {None} <= tops[0]


def succeeds(library, operation, other):
    OPERATIONS[operation](library, other)
    opened = Library.open(library.path)
    count = {"add": 6, "build": 3}.get(operation, 3) * ROWS
    assert len(opened) == count
    assert opened.verify().ok
    opened.compact(keep=timedelta(0))
    assert len({path.name for path in library.path.iterdir()}) == 4


@pytest.fixture
def small_files():
    """A way to limit the size of files, which stands in for that of a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    limit(before[0])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_files_that_cannot_grow(operation, small_files, tmp_path, model, other):
    library = scattered(tmp_path / "pictures.lance", model, damaged=operation == "repair")
    small_files(2**17)
    refused(library, operation, other)
    small_files(resource.RLIM_INFINITY)
    succeeds(library, operation, other)


@pytest.fixture
def disk(tmp_path):
    """A disk of few megabytes, and a way to leave only so many bytes of it."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk, and not everywhere")

    def leave(free):
        filler = place / "filler"
        filler.unlink(missing_ok=True)
        if free is not None:
            room = os.statvfs(place)
            filler.write_bytes(bytes(room.f_bavail * room.f_frsize - free))

    yield place, leave
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_disk_that_is_full(operation, disk, model, other):
    """It has no room at all, for the first files only, or for nearly all of them."""
    place, leave = disk
    library = scattered(place / "pictures.lance", model, damaged=operation == "repair")
    for pages in (0, 7, 30, 60):
        leave(4096 * pages)
        refused(library, operation, other)
    leave(None)
    succeeds(library, operation, other)


@pytest.mark.parametrize(
    "operation",
    [
        *[operation for name, operation in OPERATIONS.items() if name != "build"],
        lambda library, _: library.remove([3]),
        lambda library, _: library.remove(where="id < 0"),
    ],
    ids=[*[name for name in OPERATIONS if name != "build"], "remove", "remove nothing"],
)
def test_who_may_not_write_is_told_what_to_do(library, other, operation):
    """In one line, whatever is to be written, and nothing is changed; reading goes on."""
    library.match(ids=3, k=1)
    before = contents_of(library.path)
    for parent in library.path.parents[:4]:
        if parent.owner() == library.path.owner():
            parent.chmod(parent.stat().st_mode | 0o755)
    library.path.chmod(0o555)
    try:
        with as_nobody():
            assert len(library.match(ids=3, k=1)) == 1
            with pytest.raises(OutputError, match="get the right to write there") as caught:
                operation(library, other)
    finally:
        library.path.chmod(0o755)
    assert f"'{library.path}' could not be written: Permission denied" in one_line(caught)
    assert contents_of(library.path) == before
