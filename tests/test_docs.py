"""What the documentation shows runs, and what docstrings say of rows follows one template."""

import doctest
import importlib
import inspect
import pkgutil
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
    make_pictures(tmp_path / "photos", 100, seed=0)
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


# Rows that a model takes are validated, and may come in any of these ways.
VALIDATED = "array-like of shape (n, *sample_shape), DataFrame, Tensor or path"
# Tables have rows of shape (F,).
ROWS = re.compile(
    r"(array-like|ndarray|ndarray or LazyRows) of shape \([nmk], (\*sample_shape|F)\)(,.*)?"
)
TAKE_ROWS = ("models", "library", "evaluation", "plots", "signals", "onnx", "scale")


def callables(module: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public functions and methods that a module defines, with their names."""
    owner = importlib.import_module(module)
    for name, value in vars(owner).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isfunction(value):
            yield f"{module}.{name}", value
        elif inspect.isclass(value):
            for part, attribute in vars(value).items():
                method = getattr(attribute, "__func__", attribute)  # of class methods
                if inspect.isfunction(method) and not part.startswith("_"):
                    yield f"{module}.{name}.{part}", method


@pytest.mark.parametrize(
    "module", [name for name in modules() if name.split(".")[1:2] in ([part] for part in TAKE_ROWS)]
)
def test_rows_are_described_by_one_template(module: str) -> None:
    for name, function in callables(module):
        parameters = inspect.signature(function).parameters
        documentation = inspect.getdoc(function) or ""
        if "X" not in parameters or "Parameters\n----------" not in documentation:
            continue
        # Without a type, the parameter is that of another method, such as fit.
        described = re.search(
            r"^(?:\w+, )*X(?:, [\w*]+)*(?: : (.+))?$", documentation, re.MULTILINE
        )
        assert described, f"{name} does not describe X"
        if described[1] not in (None, "object"):
            assert ROWS.fullmatch(described[1]), f"{name} describes X as {described[1]!r}"


def test_models_take_rows_in_the_same_ways() -> None:
    """Every method that validates its rows says so in the same words; none is left out."""
    described = 0
    for model in [*narrows.MODELS.values(), narrows.EncoderClassifier, narrows.Encoder]:
        for name, method in inspect.getmembers(model, inspect.isfunction):
            own = method.__module__.startswith("narrows.") and not name.startswith("_")
            if own and "X" in inspect.signature(method).parameters:
                text = inspect.getdoc(method) or ""
                # Some refer to the parameters of fit, or to the whole text of another method.
                reference = "X, y, sample_weight\n" in text or "Parameters\n" not in text
                assert reference or f"X : {VALIDATED}\n" in text, f"{model.__name__}.{name}"
                described += 1
    assert described > 50
