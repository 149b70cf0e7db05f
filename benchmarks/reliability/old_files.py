"""Files of every format version: their values are read unchanged, or they are refused in one line.

The samples are in ``tests/data/formats``, whose README says how each was written.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from formats import REFUSED, compare, samples

from benchmarks.reliability.outcome import Outcome
from narrows.errors import NarrowsError


def check(quick: bool) -> Outcome:  # noqa: ARG001 (a full round takes seconds)
    """Open every sample."""
    failures, refused = [], []
    with tempfile.TemporaryDirectory() as folder:
        for sample in samples():
            try:
                wrong = compare(sample, Path(folder))
                failures += [f"{sample.name}: {what} is not what was written" for what in wrong]
                if sample.name in REFUSED:
                    failures.append(f"{sample.name}: is read, and was to be refused")
            except NarrowsError as error:
                kind, remedy = REFUSED.get(sample.name, (None, ""))
                if type(error) is not kind or remedy not in str(error) or "\n" in str(error):
                    failures.append(f"{sample.name}: {type(error).__name__}: {error}")
                refused.append(sample.name)
    count = len(samples())
    facts = f"{count} samples: {count - len(refused)} read, {len(refused)} refused with a remedy"
    return Outcome(count, f"{facts} ({', '.join(refused)})", failures)
