"""What Narrows needs with all its extras: a bill of materials, licences, known vulnerabilities.

    pip install -r benchmarks/reliability/requirements.txt

The bill is CycloneDX's (cyclonedx-bom) of the environment that runs this, without the packages
that only tests and tools need. It goes to dist/narrows.cdx.json. Licences that are not in `FREE`
have to stand in `KNOWN` with a reason. pip-audit looks each package up; where no registry answers,
that is said.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from importlib import metadata
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    bill, missing = make_bill()
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
    absent = f"; not installed here: {', '.join(missing)}" if missing else ""
    facts = f"{len(packages)} packages: {common}, others{absent}; {answered}"
    return Outcome(len(packages), facts, failures)


def make_bill():
    """Return CycloneDX's bill of what Narrows needs, extras included, and what is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bill.json"
        project = ("--pyproject", str(ROOT / "pyproject.toml"))
        command = ["cyclonedx_py", "environment", sys.executable, *project, "-o", str(path)]
        subprocess.run([sys.executable, "-m", *command], check=True)
        bill = json.loads(path.read_text("utf-8"))
    names, missing = needed()
    bill["components"] = [
        one for one in bill["components"] if canonicalize_name(one["name"]) in names
    ]
    kept = {one["bom-ref"] for one in (*bill["components"], bill["metadata"]["component"])}
    bill["dependencies"] = [one for one in bill["dependencies"] if one["ref"] in kept]
    for one in bill["dependencies"]:
        one["dependsOn"] = [ref for ref in one.get("dependsOn", []) if ref in kept]
    return bill, missing


def needed():
    """Return the names of what Narrows and all its extras install, and of those not there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    waiting, seen, missing = [Requirement(line) for line in lines], set(), set()
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            if (canonicalize_name(one.name), extra) in seen:
                continue
            seen.add((canonicalize_name(one.name), extra))
            try:
                lines = metadata.requires(one.name) or ()
            except metadata.PackageNotFoundError:
                missing.add(one.name)
                continue
            for line in lines:
                wanted = Requirement(line)
                if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                    waiting.append(wanted)
    return {name for name, _ in seen}, sorted(missing)


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
        done = subprocess.run(
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
