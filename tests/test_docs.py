"""What the documentation shows runs: the README from top to bottom, every docstring example."""

import doctest
import importlib
import pkgutil
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import narrows
from narrows.cli.main import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

# Commands that set up a machine: not run, but what they name has to exist.
SETUP = {"git", "make", "pip"}


class Block(NamedTuple):
    language: str
    line: int
    text: str


def blocks(file: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a Markdown file."""
    text = file.read_text("utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        assert "\n```" not in f"\n{match[2]}", f"{file.name}, line {line}: close this block"
        yield Block(match[1], line, match[2])


def commands(block: Block) -> list[str]:
    """Return a console block's commands, those that go on after a backslash as one line."""
    joined = block.text.replace("\\\n", " ")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def make_pictures(folder: Path, n: int, seed: int) -> None:
    """Draw grey pictures of a bright disc on a dark ground; the README's reader has photographs."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24]
    for number in range(n):
        centre, radius = generator.uniform(6, 18, 2), generator.uniform(3, 8)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        Image.fromarray(np.where(inside, 220, 30).astype(np.uint8)).save(
            folder / f"picture-{number:03}.png"
        )


def test_the_readme_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command and every Python block, in one folder that has ``photos/`` and a picture."""
    make_pictures(tmp_path / "photos", 60, seed=0)
    (tmp_path / "query.png").write_bytes((tmp_path / "photos" / "picture-007.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    ran = []
    for block in blocks(README):
        where = f"README.md, line {block.line}"
        if block.language == "python":
            ran.append("python")
            exec(compile(block.text, where, "exec"), {})  # noqa: S102 (it is the repository's own)
        elif block.language == "console":
            for command in commands(block):
                name, *arguments = shlex.split(command, comments=True)
                if name in SETUP:
                    continue
                assert name == "narrows", f"{where}: teach this test to run '{name}'"
                ran.append(arguments[0])
                code = main(arguments)
                assert code == 0, f"{where}: {command}\n{capsys.readouterr().err}"
        else:
            assert "$ " not in block.text, f"{where}: commands belong into a console block"
    assert {"python", "train", "match"} <= set(ran)


@pytest.fixture
def _models_as_before() -> Iterator[None]:
    """Forget the models that the test defined."""
    before = dict(narrows.MODELS)
    yield
    narrows.MODELS.clear()
    narrows.MODELS.update(before)


@pytest.mark.usefixtures("_models_as_before")
@pytest.mark.parametrize("file", sorted(ROOT.glob("docs/**/*.md")), ids=lambda file: file.name)
def test_the_python_of_each_page_runs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's blocks are one program, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in blocks(file):
        if block.language == "python":
            where = f"{file.name}, line {block.line}"
            exec(compile(block.text, where, "exec"), names)  # noqa: S102 (it is the repository's own)


def test_the_readme_names_make_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        shlex.split(command)[1]
        for block in blocks(README)
        if block.language == "console"
        for command in commands(block)
        if command.startswith("make ")
    }
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize(
    "file", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=lambda f: f.name
)
def test_links_to_files_lead_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", file.read_text("utf-8")):
        if "://" not in target:
            assert (file.parent / target).exists(), f"{file.name} links to {target}"


def modules() -> list[str]:
    found = pkgutil.walk_packages(narrows.__path__, "narrows.")
    return ["narrows", *(module.name for module in found if module.name != "narrows.__main__")]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    assert result.failed == 0


def test_public_callables_have_examples() -> None:
    """What a user is offered first shows how it is used."""
    for name in narrows.__all__:
        value = getattr(narrows, name)
        if callable(value):
            documentation = value.__doc__ or ""
            assert ">>> " in documentation or "for an example" in documentation, name
