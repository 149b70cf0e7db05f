"""Writers of libraries that are killed while two readers use the library.

After each kill, the library holds every step that the writer has acknowledged, once, and at most
the whole next step. It verifies clean, the remaining steps lead to the same end as without a kill,
and the readers have seen only states between steps. The operations and the ways to choose the
moment are those of ``tests/test_library_killed.py``.
"""

import json
import select
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from killing import KILLED, STEPS, killer
from libraries import draw, fit
from surviving import copy, make_bases, rehearse, rows_of, state

from benchmarks.reliability.outcome import SEED, Outcome
from narrows import Library
from narrows.errors import FormatError

READERS = 2
WAYS = ("event", "seconds", "files")  # the first always comes before the writer ends
QUICK = ("remove", "update")


def check(quick: bool) -> Outcome:
    """Kill writers until enough have died."""
    operations = QUICK if quick else KILLED
    ways = WAYS[:1] if quick else WAYS
    wanted = 10 if quick else 200
    random = np.random.default_rng(SEED)
    failures, killed, survivors, looks = [], Counter(), 0, 0
    with tempfile.TemporaryDirectory() as folder, killer() as kill, readers() as reading:
        root = Path(folder)
        (root / "bases").mkdir()
        pictures = draw(60)
        bases = make_bases(root / "bases", fit(pictures), pictures)
        rehearsed = {name: rehearse(kill, bases, name, root / name) for name in operations}
        while killed.total() < wanted:
            number = killed.total()
            operation = operations[number % len(operations)]
            states, done = rehearsed[operation]
            when = moment(ways[number // len(operations) % len(ways)], done, random)
            told = f"{operation} killed at {when}"
            library = copy(bases, operation, root / "killed")
            begin(reading, library.path)
            died = kill(operation, library.path, **when)
            broken = finish(library.path, operation, died["steps"], states)
            broken += judge(stop(reading), states)
            looks += sum(each["looks"] for each in reading.answers)
            failures += [f"{told} after {died['steps']} steps: {what}" for what in broken]
            killed[operation] += died["killed"]
            survivors += not died["killed"]
    said = ", ".join(f"{count} {name}" for name, count in killed.items())
    facts = (
        f"{killed.total()} kills ({said}; {survivors} writers were done before) with {READERS} "
        f"readers that looked {looks:,} times"
    )
    return Outcome(killed.total(), facts, failures)


def moment(way: str, done: dict, random: np.random.Generator) -> dict[str, float]:
    """Draw a moment to kill the writer, from those of the work without a kill."""
    if way == "seconds":
        return {"seconds": float(done["seconds"] * random.random())}
    most = done["events"] if way == "event" else 20
    return {way: int(random.integers(1, most + 1))}


def finish(path: Path, operation: str, steps: int, states: list) -> list[str]:
    """Check what a killed writer has left, do its remaining steps, and check again."""
    broken = []
    library = Library.open(path)
    found = state(library)
    if found not in states[steps : steps + 2]:
        broken.append("the library is neither as acknowledged nor a whole step further")
    if operation != "repair" and not is_clean(library):
        broken.append("the library does not verify clean after the kill")
    for step in STEPS[operation][steps:]:
        step(library.refresh())
    if state(library.refresh()) != states[-1]:
        broken.append("the work begun again comes to another end")
    if library.add(draw(5, 99)).count != 5:
        broken.append("what is added after that does not count")
    library.compact(keep=timedelta(0))
    if not is_clean(library) or len(library) != len(states[-1][2]) + 5:
        broken.append("the library does not verify clean in the end")
    return broken


def is_clean(library: Library) -> bool:
    """Tell whether verifying with checksums finds no problem."""
    found = library.verify()
    return found.checked and not found.problems


def judge(answers: list[dict], states: list) -> list[str]:
    """List what readers have seen that is no state between steps."""
    whole = {digest(*one[:3]) for one in states}
    # After the last step, `finish` adds five rows.
    ends = {len(states[-1][2]) + 5}
    broken = []
    for answer in answers:
        broken += answer["errors"]
        for seen, count in answer["seen"]:
            if seen not in whole and count not in ends:
                broken.append(f"a reader saw {count} rows that no step leaves")
    return broken


def digest(*facts: object) -> str:
    """Hash all that a library holds."""
    return sha256(repr(facts).encode()).hexdigest()


class Reading:
    """The readers' processes, and their last answers."""

    def __init__(self, processes: list) -> None:
        self.processes = processes
        self.answers: list[dict] = []


@contextmanager
def readers():
    """Start readers, which wait for the name of a library."""
    command = [sys.executable, "-m", "benchmarks.reliability.libraries"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    processes = [subprocess.Popen(command, **pipes) for _ in range(READERS)]
    try:
        yield Reading(processes)
    finally:
        for process in processes:
            process.stdin.close()
            process.wait()
            process.stdout.close()


def begin(reading: Reading, path: Path) -> None:
    """Let the readers read a library, and wait until each has read it once."""
    for process in reading.processes:
        process.stdin.write(f"{path}\n")
    for process in reading.processes:
        process.stdout.readline()


def stop(reading: Reading) -> list[dict]:
    """Stop the readers, and return what they saw."""
    for process in reading.processes:
        process.stdin.write("stop\n")
    reading.answers = [json.loads(process.stdout.readline()) for process in reading.processes]
    return reading.answers


def read() -> None:
    """Read one library after another until told to stop, in a process of its own."""
    for line in sys.stdin:
        path = Path(line.strip())
        seen, errors, looks = [], [], 0
        library = Library.open(path)
        picture = draw(1, 3)[0]
        while not looks or not select.select([sys.stdin], [], [], 0.05)[0]:
            before = (path / "library.json").read_bytes()
            try:
                library.refresh()
                count = len(library)
                if count and len({match.id for match in library.match(picture, k=5)}) != 5:
                    errors.append("a match does not give five rows")
                facts = rows_of(library)
                now = [digest(*facts), len(facts[2])]
                if now not in seen:
                    seen.append(now)
            except FormatError as error:
                # The opened version was compacted away or replaced.
                if "refresh() or open it again" not in str(error):
                    errors.append(f"a reader met {error}")
            except (OSError, ValueError) as error:
                # Lance's errors for the same.
                if (path / "library.json").read_bytes() == before:
                    errors.append(f"a reader met {' '.join(str(error).split())[:200]}")
            looks += 1
            if looks == 1:
                tell("begun")
        sys.stdin.readline()
        tell(json.dumps({"seen": seen, "errors": errors[:3], "looks": looks}))


def tell(line: str) -> None:
    """Write one line to the parent process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    read()
