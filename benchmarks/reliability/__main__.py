"""Test each promise of docs/reliability.md many times.

    python -m benchmarks.reliability [NAME ...] [--quick] [--results FOLDER]

NAME is a module of this folder; by default, all are run. --quick, as in .ci/run, takes seconds for
each, leaves out those that take an hour, and writes nothing; otherwise the table is written to
FOLDER/reliability.md and .json, which keep the rows of other names. The random seed is 0. The exit
code is 1 if a promise was broken.
"""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

PROMISES = {
    "training": "Training that is killed at any moment resumes bit for bit.",
    "libraries": "Libraries lose no acknowledged row, and readers never see half a change.",
    "bits": "`narrows verify` finds every flipped bit that has an effect.",
    "bad_input": "Bad input is answered in one line with the right exit code; nothing changes.",
    "fuzzing": "Damaged files end in a NarrowsError or a right answer, within bounds.",
    "old_files": "Models and libraries of every format version open.",
    "mutation": "The tests notice small mistakes in the code.",
    "soak": "`narrows serve` under load keeps its memory and its handles.",
    "dependencies": "Dependencies are known, licensed and without known vulnerabilities.",
}
HEADINGS = ("promise", "tried", "broken", "what was tried", "minutes")
HEAD = f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}"


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROMISES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in PROMISES]
    if unknown:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(PROMISES)}")
    rows, broken = {}, False
    print(HEAD)
    for name in given.names or PROMISES:
        start = time.monotonic()
        module = importlib.import_module(f"benchmarks.reliability.{name}")
        found = module.check(quick=given.quick)
        minutes = round((time.monotonic() - start) / 60, 1)
        values = (PROMISES[name], found.cases, len(found.failures), found.facts, minutes)
        rows[name] = dict(zip(HEADINGS, values, strict=True))
        print(line(rows[name]), flush=True)
        broken = broken or bool(found.failures)
        for failure in found.failures:
            print(f"{name}: {failure}", file=sys.stderr, flush=True)
    if not given.quick:
        keep(rows, given.results)
    sys.exit(broken)


def line(row):
    return f"| {' | '.join(str(row[heading]) for heading in HEADINGS)} |"


def keep(rows, folder):
    """Write the rows beside those of earlier runs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "reliability.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known |= rows
    known = {name: known[name] for name in PROMISES if name in known}
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", "utf-8")
    head = ["# reliability", "", "`python -m benchmarks.reliability`", "", HEAD]
    text = "\n".join([*head, *map(line, known.values())]) + "\n"
    path.with_suffix(".md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
