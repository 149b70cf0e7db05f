"""Libraries whose writers are killed: all that was acknowledged is there, once, and nothing else.

The seed of everything random here is 0.
"""

import json
import sys
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from zlib import crc32

import lance
import numpy as np
import pytest
from killing import KILLED, STEPS, Killer, killer
from libraries import draw
from surviving import copy, make_bases, rehearse, state

from narrows import Library

ROUNDS = 2  # of each way to choose the moment
LONGER = 50


@pytest.fixture(scope="module")
def kill():
    with killer() as started:
        yield started


@pytest.fixture(scope="module")
def bases(tmp_path_factory, model, pictures):
    return make_bases(tmp_path_factory.mktemp("bases"), model, pictures)


def survive(kill: Killer, bases: Path, operation: str, states, to: Path, **when):
    """Kill an operation; look at what is left, begin again, and look again."""
    library = copy(bases, operation, to)
    reader = Library.open(library.path)
    died = kill(operation, library.path, **when)
    steps, moment = died["steps"], f"{operation} killed at {when} after {died['steps']} steps"
    opened = Library.open(library.path)
    found = state(opened)
    # A step whose acknowledgement did not get through is done or not done.
    assert found in states[steps : steps + 2], moment
    assert len(reader.refresh()) == len(opened), moment
    assert reader.model.fingerprint_ == opened.model.fingerprint_, moment
    last = found[2][-1]
    picture = np.lib.format.read_array(BytesIO(last["picture"]))
    assert reader.match(picture, k=1)[0].id == last["id"], moment
    for step in STEPS[operation][steps:]:
        step(opened.refresh())
    assert state(opened.refresh()) == states[-1], moment
    assert opened.add(draw(5, 99)).count == 5, moment
    opened.compact(keep=timedelta(0))
    assert len(opened) == len(states[-1][2]) + 5
    assert opened.verify().ok
    nothing_is_left(opened, moment)
    return died


def nothing_is_left(library, moment):
    """Make sure that after compacting there is no file that the library does not need."""
    facts = json.loads((library.path / "library.json").read_text())
    names = {path.name for path in library.path.iterdir()}
    assert names == {"library.json", facts["model"], facts["table"], facts["checks"]}, moment
    table = library.path / facts["table"]
    fragments = lance.dataset(str(table)).get_fragments()
    needed = {file.path for fragment in fragments for file in fragment.data_files()}
    assert {path.name for path in (table / "data").iterdir()} == needed, moment
    sums = {path.stem for path in (table / "_checks").iterdir()}
    assert sums == {name.removesuffix(".lance") for name in needed}, moment


@pytest.mark.parametrize("operation", KILLED)
def test_killed_at_any_moment(operation, kill, bases, tmp_path):
    """At random moments, as files appear, and just before what Python does to files."""
    random = np.random.default_rng([0, crc32(operation.encode())])
    states, done = rehearse(kill, bases, operation, tmp_path / "a")
    for seconds in done["seconds"] * (np.arange(ROUNDS) + random.random(ROUNDS)) / ROUNDS:
        survive(kill, bases, operation, states, tmp_path / "b", seconds=seconds)
    for number in random.integers(1, 40, ROUNDS).tolist():
        survive(kill, bases, operation, states, tmp_path / "b", files=number)
    # These are certain to come in time.
    events = random.choice(np.arange(1, done["events"] + 1), ROUNDS, replace=False)
    for event in events.tolist():
        died = survive(kill, bases, operation, states, tmp_path / "b", event=event)
        assert died["killed"]
        assert died["events"] == event - 1


@pytest.mark.longer
@pytest.mark.parametrize("operation", KILLED)
def test_killed_fifty_times(operation, kill, bases, tmp_path, capsys):
    random = np.random.default_rng([1, crc32(operation.encode())])
    states, done = rehearse(kill, bases, operation, tmp_path / "a")
    seconds, deaths, survivors = done["seconds"], 0, 0
    while deaths < LONGER:
        moment = seconds * (deaths + random.random()) / LONGER
        died = survive(kill, bases, operation, states, tmp_path / "b", seconds=moment)
        if died["killed"]:
            deaths += 1
        else:  # it was done before: the machine is less busy than it was
            survivors += 1
            seconds = min(seconds, died["seconds"])
    with capsys.disabled():
        sys.stdout.write(f"{operation}: {deaths} killed, {survivors} done before\n")
    # And once before each thing that Python does to files.
    for event in range(1, done["events"] + 1):
        assert survive(kill, bases, operation, states, tmp_path / "b", event=event)["killed"]
