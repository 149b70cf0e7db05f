"""Packages with entry points, made of code in docs/extending.md."""

import re
from pathlib import Path

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
