"""Damaged files: every reader answers with a result or with one of Narrows' errors, within bounds.

    python -m benchmarks.reliability fuzzing [--quick]
    python -m benchmarks.reliability.fuzzing FIRST LAST    (some cases alone, in this process)

A case is a sound file of one of the kinds in :mod:`benchmarks.reliability.kinds` in which bits are
flipped, bytes set to interesting numbers, ranges removed, repeated or taken from another file of
the kind. In half of the cases the checksums of the format are computed anew, so that the
code that follows their check is reached. The case's number is the seed of all its random numbers.

Cases run in processes of their own, about a thousand each; a case that ends its process counts as
broken, and a new process takes the next one. Each case may take 20 seconds, and a process 3 GB of
memory.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.reliability.kinds import make_kinds
from benchmarks.reliability.outcome import SEED, Outcome
from narrows.errors import NarrowsError

FULL, QUICK = 51_200, 2_048
CHUNK = 1024  # cases a process
SECONDS, STALLED = 20, 90
MEMORY = 3 << 30
PROCESSES = 2
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)


class TooSlow(BaseException):
    """A case has used its time up."""


def mutate(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """Damage bytes in one to three ways."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        size = len(changed)
        place = int(rng.integers(max(1, size)))
        if rng.random() < 0.5:  # headers decide more than what follows
            place = min(place, int(rng.integers(256)))
        length = int(2 ** rng.uniform(0, np.log2(max(2, size))))
        number = NUMBERS[rng.integers(len(NUMBERS))]
        width = int(rng.choice([1, 2, 4, 8]))
        order = ("little", "big")[rng.integers(2)]
        match rng.integers(9):
            case 0 if changed:
                changed[place % size] ^= 1 << rng.integers(8)
            case 1 if changed:
                changed[place % size] = rng.integers(256)
            case 2:
                some = (number % 256**width).to_bytes(width, order)
                changed[place : place + width] = some[: max(0, size - place)]
            case 3:
                del changed[int(rng.integers(size + 1)) :]
            case 4:
                del changed[place : place + length]
            case 5:
                changed[place:place] = changed[place : place + length]
            case 6:
                start = int(rng.integers(max(1, len(other))))
                changed[place : place + length] = other[start : start + length]
            case 7:
                changed[place : place + length] = rng.bytes(min(length, 64))
            case 8 if size > width:
                value = int.from_bytes(changed[place : place + width], order)
                value += int(rng.choice([-1, 1, 16, -16]))
                changed[place : place + width] = (value % 256**width).to_bytes(width, order)
    return bytes(changed)


def run_case(kinds, number: int, folder: Path) -> dict:
    """Try one case; return its kind, whether it was refused, and what broke the promise, if any."""
    rng = np.random.default_rng([SEED, number])
    kind = kinds[int(rng.choice(len(kinds), p=[k.weight for k in kinds]))]
    path = kind.write(rng, folder, mutate)
    broken, refused = "", False
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            broken = kind.read(path) or ""
    except NarrowsError as error:
        text, refused = str(error), True
        if "\n" in text or len(text) > 500:
            broken = f"a message of {len(text)} characters: {text[:80]!r}"
    except TooSlow:
        broken = f"it took longer than {SECONDS} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        broken = f"{type(error).__name__}: {str(error)[:200]!r}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"case": number, "kind": kind.name, "broken": broken, "refused": refused}


def _too_slow(*_: object) -> None:
    raise TooSlow


def work(first: int, last: int, report) -> None:
    """Try cases in this process; what becomes of each is reported as a line of JSON."""
    signal.signal(signal.SIGALRM, _too_slow)
    with tempfile.TemporaryDirectory() as folder:
        kinds = make_kinds(Path(folder) / "seeds")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(first, last):
            report({"case": number})
            found = run_case(kinds, number, Path(folder))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if not found["broken"] and (peak - before) << 10 > MEMORY:
                found["broken"] = f"{peak >> 10} MB of memory"
                before = peak
            report(found)


def attend(first: int, last: int) -> list[dict]:
    """Try cases in processes; after one that ends its process, a new process takes the next."""
    found = []
    while first < last:
        command = [sys.executable, "-m", "benchmarks.reliability.fuzzing", str(first), str(last)]
        with tempfile.TemporaryFile() as said, tempfile.TemporaryDirectory() as folder:
            worker = subprocess.Popen(
                command,
                stdout=said,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": folder},
                cwd=Path(__file__).parents[2],
            )
            size, since = 0, time.monotonic()
            while worker.poll() is None:
                time.sleep(0.1)
                if os.fstat(said.fileno()).st_size != size:
                    size, since = os.fstat(said.fileno()).st_size, time.monotonic()
                elif time.monotonic() - since > STALLED:
                    worker.kill()
            said.seek(0)
            lines = [json.loads(line) for line in said.read().splitlines()]
        found += [line for line in lines if "kind" in line]
        if worker.returncode == 0:
            break
        begun = lines[-1]["case"] if lines else first
        how = f"the process ended with code {worker.returncode}"
        if not (lines and "kind" in lines[-1]):
            found.append({"case": begun, "kind": "?", "broken": how, "refused": False})
        first = begun + 1
    return found


def check(quick: bool) -> Outcome:
    count = QUICK if quick else FULL
    starts = range(0, count, CHUNK)
    with ThreadPoolExecutor(PROCESSES) as pool:
        parts = pool.map(lambda start: attend(start, min(start + CHUNK, count)), starts)
        found = [one for part in parts for one in part]
    kinds = Counter(one["kind"] for one in found)
    failures = [
        f"case {one['case']} ({one['kind']}): {one['broken']}" for one in found if one["broken"]
    ]
    refused = sum(one["refused"] for one in found)
    told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    facts = f"{refused} refused, {len(found) - refused - len(failures)} read; by kind: {told}"
    return Outcome(len(found), facts, failures)


if __name__ == "__main__":
    out = sys.stdout
    work(
        int(sys.argv[1]),
        int(sys.argv[2]),
        lambda facts: print(json.dumps(facts), file=out, flush=True),
    )
    out.flush()
    os._exit(0)  # as the command ends: threads of other libraries are not waited for
