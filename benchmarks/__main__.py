"""All that is claimed of speed, beside the peers, in one run.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks [--quick] [--only NAME ...] [--folder DATA] [--results FOLDER]

Each benchmark runs in a process of its own, by the command that is written above its tables; the
tables go to FOLDER/NAME.md as they are printed, and to FOLDER/NAME.json as numbers. --quick takes
two minutes, with fewer rows and rounds, and writes to FOLDER/quick. FOLDER is benchmarks/results.
Benchmarks of the library are there under their own names (search, matching, duplicates, reranking);
those that need photographs run with --folder alone.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

# Arguments in full and, where it takes part, of a quick run.
BENCHMARKS = {
    "defaults": ("defaults", "", None),
    "gaps": ("gaps", "", None),
    "tables": (
        "tables",
        "errors features --only scikit-learn generated --splits 3",
        "errors --only wine --splits 1",
    ),
    "starts": ("starts", "", None),
    "rates": ("training", "rates --rounds 12", "rates --rounds 2 --rows 2560 --epochs 2"),
    "choice": ("training", "choice", None),
    "quality": ("training", "quality", None),
    "busy": ("training", "busy --rounds 5", None),
    "sparse": ("sparse", "", None),
    "anomalies": ("anomalies", "", None),
    "anomalies-over-time": ("anomalies_signals", "", None),
    "steps": ("steps", "", None),
    "contraction": ("contraction", "steps --peers", "steps --rounds 1 --steps 4"),
    "encoding": ("using", "encoding", "encoding --rounds 2 --rows 5000"),
    "likelihood": ("using", "likelihood", "likelihood --rounds 1 --likelihood-rows 2"),
    "quadrature": ("likelihood", "", "--rows 20 --seeds 1 --epochs 5 --rounds 1"),
    "memory": ("using", "memory", "memory --memory-rows 50000"),
    "batches": ("scale", "batches", "batches --rows 100000 --rounds 1"),
    "disk": ("scale", "training --rows 200000", None),
    "beyond": ("scale", "memory", None),
    "shuffling": ("scale", "shuffling", None),
    "sharing": ("scaling", "training", None),
    "shares": ("scaling", "indexing", None),
    "cells": ("scaling", "index", None),
    "startup": ("using", "startup", "startup --rounds 2"),
    "growth": (
        "growth",
        "--plot benchmarks/results/growth.png",
        "--rows 10000 30000 100000 --rounds 1",
    ),
    "search": ("search", "exact", "exact --rows 100000 --rounds 3"),
    "approximate": ("search", "approximate memory", None),
    "recall": ("recall", "", None),
    "matching": ("matching", "", None),
    "encoders": ("encoders", "", None),
    "duplicates": ("duplicates", "", None),
    "copies": ("copies", "recall", None),
    "copies-judges": ("copies", "judges", None),
    "copies-alike": ("copies", "alike", None),
    "copies-time": ("copies", "time", None),
    "reranking": ("reranking", "", None),
    "noise-levels": ("restoring", "levels", None),
    "restoring-classics": ("restoring", "classics", None),
    "restoring-shipped": ("restoring", "shipped --pictures 3", None),
    "restoring-folder": ("restoring", "folder", None),
    "restoring-trained": ("restoring", "trained --minutes 45", None),
    "restoring-clean": ("restoring", "clean", None),
    "restoring-jpeg": ("restoring", "jpeg --pictures 8", None),
    "restoring-memory": ("restoring", "memory", None),
    "blind-spot-folder": ("blind_spot", "folder", None),
    "blind-spot-single": ("blind_spot", "single", None),
    "documents": ("documents", "--figure benchmarks/results/documents.png", None),
    "signals": ("signals", "--figures benchmarks/results", "--epochs 1"),
    "adding": ("library", "adding", None),
    "opening": ("library", "startup", None),
    "web": ("web", "", None),
}
# Those that look for data sets, and those that cannot run without being told where.
WITH_DATA = ("defaults", "choice", "quality", "recall", "reranking", "shuffling")
ONLY_WITH_FOLDER = (
    "sparse", "anomalies", "matching", "encoders", "duplicates", "copies", "copies-judges",
    "copies-alike",
    "copies-time", "adding", "opening", "noise-levels",
    "restoring-classics", "restoring-shipped", "restoring-folder", "restoring-trained",
    "restoring-clean", "restoring-jpeg", "restoring-memory", "blind-spot-folder",
    "blind-spot-single",
)  # fmt: skip


def run(command):
    """Run a benchmark, show what it prints as it does, and return it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    return "".join(lines), process.returncode


def tables(text):
    """Read Markdown tables back, each a list of rows by their headings, with numbers as such."""
    found, headings = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            headings = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if headings is None:
            headings = cells
            found.append([])
        elif not set(line) <= set("|- :"):
            values = [number(cell) for cell in cells]
            found[-1].append(dict(zip(headings, values, strict=False)))
    return found


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, metavar="NAME")
    parser.add_argument("--folder", help="where the data sets lie")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    folder = given.results / "quick" if given.quick else given.results
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in given.only or BENCHMARKS:
        script, full, quick = BENCHMARKS[name]
        arguments = quick if given.quick else full
        if arguments is None or (name in ONLY_WITH_FOLDER and not given.folder):
            continue
        command = [f"benchmarks.{script}", *arguments.split()]
        shown = f"python -m {' '.join(command)}"
        if given.folder and name in (*WITH_DATA, *ONLY_WITH_FOLDER):
            command += ["--folder", given.folder]
        print(f"\n# {name}\n\n`{shown}`", flush=True)
        start = time.monotonic()
        text, status = run(command)
        if status:
            failed.append(name)
            continue
        facts = {"command": shown, "processor": platform.machine(), "tables": tables(text)}
        (folder / f"{name}.md").write_text(f"# {name}\n\n`{shown}`\n{text}", "utf-8")
        numbers = json.dumps(facts, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(numbers + "\n", "utf-8")
        print(f"\n{time.monotonic() - start:.0f} s by the clock", flush=True)
    if failed:
        sys.exit(f"not measured, for they ended with an error: {', '.join(failed)}")


if __name__ == "__main__":
    main()
