"""Packages with entry points, made of code in docs/extending.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import contextlib, io, json, sys
from narrows.cli.main import main
answers = []
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line.split())
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def code_of(file: str) -> str:
    """Return the code that the page shows for a file; a comment above it names the file."""
    pattern = rf"<!-- {re.escape(file)} -->\n```python\n(.*?)^```$"
    (found,) = re.findall(pattern, PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return str(found)


def entry_points_of(group: str) -> str:
    """Return the lines that the page shows for a group of entry points, as installers keep them."""
    pattern = rf'\[project\.entry-points\."{re.escape(group)}"\]\n(.*?)^```$'
    (found,) = re.findall(pattern, PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return f"[{group}]\n" + found.replace('"', "")


def install(folder: Path, module: str, code: str, entry_points: str) -> Path:
    """Make a folder that has a package as if it were installed; for sys.path or PYTHONPATH."""
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code, "utf-8")
    name = module.replace("_", "-")
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    return folder


def run(folder: Path, path: Path, *lines: str) -> list[list]:
    """Run commands in a new process that finds packages in a folder."""
    own = os.environ.get("PYTHONPATH")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(path), *([own] if own else [])])},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
