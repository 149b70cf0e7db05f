"""Mutation testing by mutmut: the tests should fail after small changes to the code.

    pip install -r benchmarks/reliability/requirements.txt

The mutated files and the tests that run are listed in pyproject.toml under [tool.mutmut], without
tests that measure time or start other processes. `SAMPLE` mutations of each file are drawn by a
seed, since all of them, some four thousand, take a day. Run it in a clone: mutmut works in the
folder mutants/. A mutation by which the tests do not end counts as noticed. Survivors that no test
can notice are explained in `EXPLAINED`, by their names. The promise is broken if fewer than 85 % of
the others are noticed.
"""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.reliability.outcome import SEED, Outcome

SAMPLE = 30
GOAL = 0.85
ROOT = Path(__file__).parents[2]
MUTANTS = ROOT / "mutants"
NOTICED = {1, 3, 24, -24, 36, 152, 255, -9, -11}
_UNUSED, _LENGTHS = "a number is drawn that nothing uses", "both have the same length"
EXPLAINED = {
    "narrows.corruption.x_border__mutmut_8": _UNUSED,
    "narrows.corruption.x_mirror__mutmut_13": _UNUSED,
    "narrows.corruption.x_rotation__mutmut_52": "the CPU, on which tests run, is the default",
    "narrows.data.scaling.xǁScalingǁfrom_file__mutmut_64": "no pixel is beyond white",
    "narrows.data.scaling.xǁScalingǁfrom_pixels__mutmut_2": "the other way gives the same values",
    "narrows.library.table.xǁTableǁupdate__mutmut_18": "columns are read that nothing uses",
    "narrows.losses.x_draw_probes__mutmut_19": "row numbers have at most 16 bits",
    "narrows.losses.x_layered_norm__mutmut_40": _LENGTHS,
    "narrows.models.sparse.xǁActivityǁdivergence__mutmut_44": _LENGTHS,
    "narrows.models.sparse.x_log_mean_sigmoid__mutmut_11": "several processes alone use it",
    "narrows.losses.x_continuous_bernoulli__mutmut_10": "the value is discarded there",
    "narrows.losses.x_continuous_bernoulli__mutmut_46": "beyond double precision",
}


def check(quick):
    if quick:
        return Outcome(0, "left out of quick rounds, as it takes more than an hour")
    mutate("narrows.plugins.*")  # this also writes the mutants of all other files
    names = sample()
    mutate(*names)
    codes = {}
    for path in MUTANTS.rglob("*.meta"):
        codes |= json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    survivors = [name for name in names if codes[name] not in NOTICED]
    unexplained = [name for name in survivors if name not in EXPLAINED]
    share = 1 - len(unexplained) / (len(names) - len(survivors) + len(unexplained))
    facts = (
        f"{len(names)} mutations drawn from all: {len(names) - len(survivors)} noticed, "
        f"{len(survivors) - len(unexplained)} of which no test can notice, "
        f"{len(unexplained)} not noticed: {share:.1%} noticed, at least {GOAL:.0%} asked"
    )
    for name in unexplained:
        print(f"not noticed: {name}", file=sys.stderr)
    return Outcome(len(names), facts, [] if share >= GOAL else [facts])


def mutate(*names):
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit("mutmut could not run the tests")


def sample():
    """Draw mutations of each file."""
    names = []
    for path in sorted((MUTANTS / "src").rglob("*.py")):
        found = sorted(set(re.findall(r"\['(x\w*__mutmut_\d+)'\] = ", path.read_text("utf-8"))))
        random.Random(SEED).shuffle(found)  # noqa: S311 (no secrets)
        module = ".".join(path.relative_to(MUTANTS / "src").with_suffix("").parts)
        names += [f"{module}.{name}" for name in found[:SAMPLE]]
    return names
