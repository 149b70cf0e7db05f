"""What Narrows needs with all its extras: a bill of materials, licences, known vulnerabilities.

    pip install -r benchmarks/reliability/requirements.txt

The bill is CycloneDX's (cyclonedx-bom) of the environment that runs this, and keeps what is
reachable from the dependencies and the extras of pyproject.toml; those that only tests and tools
need are left out. It goes to dist/narrows.cdx.json. Licences that are not in `FREE` have to stand
in `KNOWN` with a reason. pip-audit looks each package up; where no registry answers, that is said.
"""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.reliability.outcome import Outcome

ROOT = Path(__file__).parents[2]
BILL = ROOT / "dist" / "narrows.cdx.json"
FREE = ("MIT", "BSD", "Apache", "PSF", "Python", "Zlib", "CC0", "0BSD", "ISC", "BSL", "MPL")
KNOWN = {
    "pillow-jxl-plugin": "GPL-3.0-or-later; only with the extra photos, for JPEG XL",
    "protobuf": "BSD-3-Clause, which its metadata do not state",
    "ray": "Apache-2.0, which its metadata do not state",
}


def check(quick):
    if quick:
        return Outcome(0, "left out of quick rounds, as it needs a registry")
    bill = make_bill()
    BILL.parent.mkdir(exist_ok=True)
    BILL.write_text(json.dumps(bill, indent=1) + "\n", "utf-8")
    failures, names = [], Counter()
    for component in bill["components"]:
        name, found = component["name"], licences(component)
        names[" and ".join(found) or "not stated"] += 1
        free = found and all(any(word in one for word in FREE) for one in found)
        if not free and name not in KNOWN:
            failures.append(f"{name}: {found or 'no licence is stated'}")
    audited, vulnerable = audit(bill["components"])
    failures += vulnerable
    packages = [f"{c['name']}=={c['version']}" for c in bill["components"]]
    common = ", ".join(f"{count} {name}" for name, count in names.most_common(6))
    answered = f"{audited} of them looked up by pip-audit"
    if not audited:
        answered = "pip-audit got no answer from a registry, so no vulnerability was looked up"
    return Outcome(
        len(packages), f"{len(packages)} packages: {common}, others; {answered}", failures
    )


def make_bill():
    """Return CycloneDX's bill of what Narrows needs, extras included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bill.json"
        project = ("--pyproject", str(ROOT / "pyproject.toml"))
        command = ["cyclonedx_py", "environment", sys.executable, *project, "-o", str(path)]
        subprocess.run([sys.executable, "-m", *command], check=True)  # noqa: S603 (no input)
        bill = json.loads(path.read_text("utf-8"))
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    kept, waiting = set(), [bill["metadata"]["component"]["bom-ref"]]
    while waiting:
        one = waiting.pop()
        if one not in kept:
            kept.add(one)
            waiting += needs.get(one, [])
    bill["components"] = [one for one in bill["components"] if one["bom-ref"] in kept]
    bill["dependencies"] = [one for one in bill["dependencies"] if one["ref"] in kept]
    return bill


def licences(component):
    """Return the licences that a component states, classifiers without their first words."""
    found = []
    for one in component.get("licenses", []):
        licence = one.get("license", {})
        name = one.get("expression") or licence.get("id") or licence.get("name", "")
        found.append(name.rpartition(":: ")[2])
    return [name for name in found if name != "OSI Approved"]


def audit(components):
    """Return how many packages a registry answered for, and a line for each vulnerability."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        lines = (f"{one['name']}=={one['version'].partition('+')[0]}" for one in components)
        path.write_text("\n".join(lines) + "\n", "utf-8")
        command = ["pip_audit", "-r", str(path), "--no-deps", "--disable-pip", "-f", "json"]
        done = subprocess.run(  # noqa: S603 (what was read from the environment)
            [sys.executable, "-m", *command], capture_output=True, text=True, check=False
        )
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        return 0, []
    answered = [one for one in answers if "skip_reason" not in one]
    found = [
        f"{one['name']} {one['version']}: {', '.join(v['id'] for v in one['vulns'])}"
        for one in answered
        if one["vulns"]
    ]
    return len(answered), found
