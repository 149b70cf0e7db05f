"""What a million, a hundred million and a thousand million pictures take, from measured unit costs.

    python -m benchmarks.planning [--write]

Reads benchmarks/results, multiplies, and prints the tables of docs/scale.md; --write puts them
there. Nothing here was run at these sizes. Assumed, and not measured, are the machines' prices, a
cloud provider's list prices of 2025 rounded up, how large a photograph is, and that work on
separate files divides among cores without loss, which it does not quite.
"""

import argparse
import json
import re
from pathlib import Path

from benchmarks.measuring import row, table

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
SIZES = (10**6, 10**8, 10**9)
CODE = 32  # numbers
COMPACT = 16  # bytes of a code that product quantisation leaves
PHOTO, THUMBNAIL = 73e3, 3e3  # bytes of a photograph as measured, and of a thumbnail
SHRUNK = 784  # bytes of a picture packed for training
EPOCHS = 5
# Cores, memory in GB, dollars an hour.
WORKER = ("16 cores, 32 GB", 16, 32, 0.85)
SERVER = ("16 cores, 128 GB", 16, 128, 1.25)
LARGE = ("64 cores, 512 GB", 64, 512, 4.9)
STORAGE = 0.023  # dollars a GB and month in an object store


def found(name, table_number, what, column):
    """Return one figure of a benchmark's results."""
    tables = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["tables"]
    return next(line[column] for line in tables[table_number] if line["what"] == what)


def units():
    """Return CPU-seconds a picture of each step, and a query's of a million codes."""
    adding = found("adding", 0, "add", "ms a file, CPU") / 1000
    return {
        "reading, encoding and storing a photograph": adding,
        "encoding a packed picture": 1 / found("encoding", 0, "transform", "rows a CPU-second"),
        "learning from a packed picture, one epoch": 1
        / found("rates", 0, "Autoencoder.fit, batch 128", "rows a CPU-second"),
        "looking through a million codes, one query": found("search", 0, "ExactIndex", "ms") / 1000,
    }


def duration(seconds):
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.2g} s"


def amount(size):
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} bytes"


def machine_for(memory):
    """Return the smallest machine that holds so much beside what the system takes, and how many."""
    for machine in (WORKER, SERVER, LARGE):
        if memory <= 0.75e9 * machine[2]:
            return machine, 1
    return LARGE, -(-memory // (0.75e9 * LARGE[2]))


def tables():
    costs = units()
    table("step", "CPU-seconds")
    for name, seconds in costs.items():
        row(name, f"{seconds:.3g}")
    adding, encoding, learning, scan = costs.values()

    _, cores, _, price = WORKER
    print(f"\nOnce, on a machine of {WORKER[0]} at {price} dollars an hour:")
    table("pictures", "step", "time", "dollars")
    for n in SIZES:
        for name, seconds in (
            ("photographs into a library", n * adding),
            (f"{EPOCHS} epochs of learning", n * EPOCHS * learning),
            ("encoding anew with another model", n * encoding),
        ):
            took = seconds / cores
            row(f"{n:.0e}", name, duration(took), f"{took / 3600 * price:,.2f}")

    print(f"\nOn the disk, at {STORAGE} dollars a GB and month in an object store:")
    table("pictures", "what", "size", "dollars a month")
    for n in SIZES:
        for name, each in (
            ("photographs", PHOTO),
            ("thumbnails", THUMBNAIL),
            ("packed for training", SHRUNK),
            (f"codes of {CODE} numbers", 4 * CODE),
            (f"codes of {COMPACT} bytes", COMPACT),
        ):
            row(f"{n:.0e}", name, amount(n * each), f"{n * each / 1e9 * STORAGE:,.2f}")

    print("\nA query, with all codes in memory:")
    table(
        "pictures", "codes", "memory", "machine", "one query, all codes looked at", "dollars/month"
    )
    for n in SIZES:
        for name, each in ((f"{CODE} numbers", 4 * CODE), (f"{COMPACT} bytes", COMPACT)):
            memory = n * (each + 8)  # and its id
            (shown, cores, _, price), count = machine_for(memory)
            # Of 16 bytes, a look-up for each: about what a byte of a code in 8 bits takes.
            seconds = n / 1e6 * scan * each / (4 * CODE) / cores / count
            machines = shown if count == 1 else f"{count:.0f} of {shown}"
            dollars = f"{count * price * 730:,.0f}"
            row(f"{n:.0e}", name, amount(memory), machines, duration(seconds), dollars)


def main():
    import contextlib
    import io

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/scale.md")
    given = parser.parse_args()
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        tables()
    if not given.write:
        print(text.getvalue())
        return
    page = PAGE.read_text("utf-8")
    between = re.compile(r"(<!-- tables -->\n).*(<!-- end of tables -->)", re.DOTALL)
    PAGE.write_text(between.sub(lambda m: f"{m[1]}{text.getvalue()}\n{m[2]}", page), "utf-8")


if __name__ == "__main__":
    main()
