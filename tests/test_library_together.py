"""Libraries that several processes use at once: nothing lost, nothing seen by halves.

The seed of everything random here is 0.
"""

import json
import os
import shutil
from collections import Counter
from hashlib import sha256
from io import BytesIO

import lance
import numpy as np
import pytest
from killing import STEPS, killer
from libraries import draw, fit

from narrows import Library
from narrows.errors import FormatError


@pytest.fixture(scope="module")
def workers():
    with killer() as one, killer() as other:
        yield one, other


@pytest.fixture
def library(tmp_path, model, pictures):
    model.save(tmp_path / "model")
    fit(pictures, seed=1).save(tmp_path / "other")
    library = Library.create(tmp_path / "pictures.lance", model=model)
    for seed in (1, 2, 3):
        library.add(draw(50, seed), metadata={"when": range(50)})
    return library


def rows_of(library):
    facts = json.loads((library.path / "library.json").read_text())
    table = lance.dataset(str(library.path / facts["table"]), version=facts["version"])
    return table.to_table(columns=["id", "hash"]).to_pylist()


def hashes(*additions):
    files = set()
    for row in np.concatenate(additions):
        file = BytesIO()
        np.save(file, row)
        files.add(sha256(file.getvalue()).hexdigest())
    return files


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("add", "add others"),
        ("add", "remove few"),
        ("add", "update few"),
        ("add", "compact only"),
        ("add others", "move once"),
        ("update few", "move once"),
        ("update few", "remove few"),
        ("remove few", "compact only"),
        ("compact only", "move once"),
        ("move once", "move once"),
    ],
)
def test_two_writers_at_once(first, second, workers, library, tmp_path):
    """Both wait at gates that open together, with the library open."""
    gates = [tmp_path / "gate 1", tmp_path / "gate 2"]
    for gate, worker, operation in zip(gates, workers, (first, second), strict=True):
        os.mkfifo(gate)
        worker.start(operation, library.path, gate=str(gate))
    for handle in [os.open(gate, os.O_WRONLY) for gate in gates]:
        os.close(handle)
    ends = [worker.end() for worker in workers]
    for operation, end in zip((first, second), ends, strict=True):
        if end["error"] is None:
            assert end["steps"] == len(STEPS[operation])
            continue
        # Whoever waits while the library moves is told so, and has changed nothing.
        assert "move once" in (first, second)
        assert end["error"].startswith("LibraryError: ")
        assert "another model; refresh() or open it again" in end["error"]
        for step in STEPS[operation][end["steps"] :]:
            step(library.refresh())
    both = {first, second}
    opened = Library.open(library.path)
    rows = rows_of(opened)
    expected = hashes(*(draw(50, seed) for seed in (1, 2, 3)))
    if "add" in both:
        expected |= hashes(draw(30, 11), draw(4200, 12), draw(20, 13))
    if "add others" in both:
        expected |= hashes(draw(40, 31), draw(30, 11), draw(3, 32), draw(50, 33))
    if "remove few" in both:
        expected -= hashes(draw(50, 1)[:30])
    assert Counter(row["hash"] for row in rows) == Counter(expected)
    assert len({row["id"] for row in rows}) == len(rows) == len(opened)
    if "update few" in both:
        assert opened.count("label = 'a'") == opened.count("label = 'b'") == 10
    assert opened.verify().ok
    assert opened.match(draw(50, 2)[49], k=1)[0].id == 99


def test_a_reader_beside_a_writer_sees_all_of_a_step_or_nothing(workers, library, tmp_path):
    """It looks as often as it can; another that never refreshes is told to."""
    rehearsed = Library.open(shutil.copytree(library.path, tmp_path / "rehearsal.lance"))
    states = [Counter(row["hash"] for row in rows_of(rehearsed))]
    for step in STEPS["all"]:
        step(rehearsed)
        states.append(Counter(row["hash"] for row in rows_of(rehearsed)))
    lengths = [sum(each.values()) for each in states]
    picture, last = draw(50, 1)[3], draw(20, 42)[-1]
    still, reader = Library.open(library.path), Library.open(library.path)
    workers[0].start("all", library.path)
    seen, working = [], True
    while working:
        working = workers[0].works()  # once more when it has ended
        reader.refresh()
        try:
            found = reader.match(picture, k=20)
            counted = reader.count("id >= 0")
        except FormatError as error:
            # It moved and was compacted after the reader had refreshed.
            assert "refresh() or open it again" in str(error)  # noqa: PT017
            continue
        assert found[0].id == 3
        assert (len({match.id for match in found}), counted) == (20, len(reader))
        if not seen or seen[-1] != len(reader):
            seen.append(len(reader))
    assert workers[0].end()["error"] is None
    # What it has seen is some of the steps, in their order.
    steps = iter(lengths)
    assert all(length in steps for length in seen), (seen, lengths)
    assert len(seen) > 2
    assert seen[-1] == lengths[-1]
    assert reader.match(last, k=1)[0].distance < 1e-5
    assert Counter(row["hash"] for row in rows_of(reader)) == states[-1]
    # The table of its time is gone, as the library moved and was compacted.
    with pytest.raises(FormatError, match=r"refresh\(\) or open it again"):
        still.match(picture)
    assert len(still.refresh()) == lengths[-1]
