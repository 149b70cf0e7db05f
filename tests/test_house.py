"""The house's own rules, read from its source: arrows, names, and what must never be imported."""

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions, version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import narrows

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "narrows"
FILES = sorted(PACKAGE.rglob("*.py"))

# From top to bottom: a part imports itself and lower floors, never its own floor's other parts.
FLOORS = (
    {"__main__"},
    {"cli"},
    {"web"},
    {"scale"},
    {"library", "evaluation", "signals", "onnx", "copies"},
    {"plots", "builtin"},
    {"models"},
    {"storage", "training"},
    {"networks", "losses", "corruption", "datasets"},
    {"data"},
    {"atomic", "containment", "plugins", "ranks", "remote", "ssim", "pages"},
    {"errors"},
    {"texts"},
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}

PUBLIC_NAMES = [
    "MODELS",
    "AnomalyDetector",
    "Autoencoder",
    "ContractiveAutoencoder",
    "Decoder",
    "DenoisingAutoencoder",
    "Encoder",
    "EncoderClassifier",
    "Library",
    "MatchingAutoencoder",
    "PictureEncoder",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "TableAutoencoder",
    "VariationalAutoencoder",
    "__version__",
    "datasets",
    "errors",
    "load",
    "pack",
    "plots",
    "signals",
]

# Modules that run what they read, and those that pickle behind one's back.
FORBIDDEN_MODULES = {
    "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "skops", "torch.hub",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save"}


class Import(NamedTuple):
    """One imported name: ``from module import name`` or, without a name, ``import module``."""

    module: str
    name: str | None
    line: int
    at_top: bool

    @property
    def dotted(self) -> str:
        """The most precise module or attribute that is imported."""
        return f"{self.module}.{self.name}" if self.name else self.module


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"), str(file))


def imports(file: Path) -> Iterator[Import]:
    delayed = {
        child
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for child in ast.walk(node)
    }
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, node not in delayed)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            for alias in node.names:
                yield Import(node.module or "", alias.name, node.lineno, node not in delayed)


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def dotted(file: Path) -> str:
    """Return the name of a module by which it is imported."""
    return ".".join(file.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def is_module(dotted: str) -> bool:
    path = ROOT.joinpath("src", *dotted.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def own_part(imported: Import) -> str | None:
    """Return the part of Narrows that an import reaches, None if it leaves the house."""
    names = imported.dotted.split(".")
    if names[0] != "narrows":
        return None
    if len(names) == 1 or not is_module(f"narrows.{names[1]}"):
        return "__init__"
    return names[1]


def exported(module: str) -> list[str] | None:
    """Return the ``__all__`` of a module of the house, None if it has none."""
    path = ROOT.joinpath("src", *module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in tree(file).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def by_name(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@pytest.mark.parametrize("file", FILES, ids=by_name)
def test_arrows_point_down(file: Path) -> None:
    part = part_of(file)
    if part == "__init__":  # the public names, from whatever floor
        return
    assert part in FLOOR, f"give '{part}' a floor in FLOORS"
    for imported in imports(file):
        target = own_part(imported)
        if target in (None, part, "__init__"):
            continue
        assert FLOOR[target] > FLOOR[part], (
            f"{by_name(file)}:{imported.line}: '{part}' imports '{target}', which is not below it"
        )


def test_parts_below_the_front_do_not_import_the_front() -> None:
    """`from narrows import X` inside the house would go round in a circle, except from the cli."""
    for file in FILES:
        if part_of(file) in {"__init__", "__main__", "cli"}:
            continue
        for imported in imports(file):
            assert own_part(imported) != "__init__" or imported.name == "__version__", (
                f"{by_name(file)}:{imported.line} imports {imported.dotted}"
            )


@pytest.mark.parametrize(
    "file", [file for file in FILES if part_of(file) == "cli"], ids=by_name
)  # fmt: skip
def test_the_command_line_uses_public_names_only(file: Path) -> None:
    for imported in imports(file):
        target = own_part(imported)
        if target in (None, "cli"):
            continue
        where = f"{by_name(file)}:{imported.line}: {imported.dotted}"
        assert not re.search(r"\._(?!_version__)", imported.dotted), f"{where} is private"
        names = exported(imported.module)
        if imported.name and names is not None and not is_module(imported.dotted):
            assert imported.name in names, f"{where} is not in __all__"
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr):
            assert ast.unparse(node.value) in {"self", "cls"}, (
                f"{by_name(file)}:{node.lineno}: {ast.unparse(node)} is private"
            )


def test_only_the_command_line_knows_of_terminals() -> None:
    for file in FILES:
        for imported in imports(file):
            if imported.module.split(".")[0] in {"click", "rich"}:
                assert part_of(file) == "cli", f"{by_name(file)}:{imported.line}"


def test_modules_import_declared_dependencies_only() -> None:
    """Whatever a module imports at its top comes with ``pip install narrows``.

    The server's modules, which are imported only to serve, may have what their extra brings.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def names(lines: list[str]) -> set[str]:
        found = [re.split(r"[^\w-]", line, maxsplit=1)[0] for line in lines]
        return {name.replace("_", "-").lower() for name in found}

    always = names(project["dependencies"])
    to_serve = names(project["optional-dependencies"]["web"])
    homes = packages_distributions()
    for file in FILES:
        for imported in imports(file):
            module = imported.module.split(".")[0]
            if module == "narrows" or module in sys.stdlib_module_names or not imported.at_top:
                continue
            distributions = {name.replace("_", "-").lower() for name in homes.get(module, [])}
            declared = always | to_serve if part_of(file) == "web" else always
            assert distributions & declared, (
                f"{by_name(file)}:{imported.line} imports '{module}', which no dependency provides"
            )


def test_nothing_in_the_house_pickles_or_evaluates() -> None:
    for file in FILES:
        for imported in imports(file):
            for forbidden in FORBIDDEN_MODULES:
                assert not f"{imported.dotted}.".startswith(f"{forbidden}."), (
                    f"{by_name(file)}:{imported.line} imports {imported.dotted}"
                )
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                where = f"{by_name(file)}:{node.lineno} calls {called}"
                assert called not in FORBIDDEN_CALLS, where
                for keyword in node.keywords:
                    assert keyword.arg != "allow_pickle" or ast.unparse(keyword.value) == "False", (
                        f"{where} with allow_pickle"
                    )
                if called in {"np.load", "numpy.load"}:
                    assert "allow_pickle" in {keyword.arg for keyword in node.keywords}, where


def code_lines(file: Path) -> int:
    """Count the lines that hold code: no docstring, no comment, not blank."""
    source = file.read_text("utf-8")
    docstrings = {
        line
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and ast.get_docstring(node, clean=False) is not None
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    no_code = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in no_code and token.type != tokenize.ENDMARKER
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - docstrings)


def test_files_have_about_400_lines_of_code() -> None:
    """One concept, one file: a quarter more than 400 lines is still about as many."""
    lengths = {by_name(file): code_lines(file) for file in FILES}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_what_is_text_or_a_number_is_asked_in_one_place() -> None:
    """By narrows.texts.is_text, and narrows.data.formats.is_numeric and NUMERIC_KINDS."""
    other = re.compile(r"types\.is_(?:large_)?(?:string|utf8|unicode)\b|[\"'][biuf]{4}[\"']")
    spelled = {by_name(file): other.findall(file.read_text("utf-8")) for file in FILES}
    assert {name: found for name, found in spelled.items() if found} == {
        "data/formats.py": ['"biuf"']
    }


@pytest.mark.parametrize("part", sorted(FLOOR))
def test_imports_inside_a_part_make_no_circle(part: str) -> None:
    """Imports within functions count, as do those for type checking alone."""
    files = {dotted(file): file for file in FILES if part_of(file) == part}
    imported = {
        name: {one.dotted if one.dotted in files else one.module for one in imports(file)}
        for name, file in files.items()
    }
    tuple(TopologicalSorter(imported).static_order())  # raises CycleError, which names the circle


def bound_names(file: Path) -> Iterator[str]:
    """List the names of constants that a module assigns at its top, each time it does."""
    for node in tree(file).body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


@pytest.mark.parametrize("file", FILES, ids=by_name)
def test_no_constant_of_a_module_replaces_another(file: Path) -> None:
    names = list(bound_names(file))
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_the_public_names() -> None:
    """Adding or taking away a name is a decision, which this list and the changelog record."""
    assert narrows.__all__ == PUBLIC_NAMES
    assert set(PUBLIC_NAMES) <= set(dir(narrows))
    for name in PUBLIC_NAMES:
        assert getattr(narrows, name) is not None


def test_a_name_that_does_not_exist_is_refused_like_any_other() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Autoencoders'"):
        narrows.Autoencoders  # noqa: B018


def test_the_version_is_the_one_that_is_installed() -> None:
    assert narrows.__version__ == version("narrows")


@pytest.mark.parametrize(
    "statement", ["import narrows", "import narrows.cli.main", "from narrows import __version__"]
)
def test_starting_imports_nothing_heavy(statement: str) -> None:
    heavy = "{'torch', 'sklearn', 'numpy', 'scipy', 'matplotlib', 'lance', 'pyarrow', 'PIL'}"
    program = f"{statement}; import sys; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("own", "program", "waits_passively"),
    [
        (None, "import narrows; narrows.Autoencoder", True),
        ("ACTIVE", "import narrows; narrows.Autoencoder", False),
        (None, "import torch, narrows; narrows.Autoencoder", False),
    ],
    ids=["by itself", "the user says otherwise", "too late"],
)
def test_threads_wait_passively(own: str | None, program: str, waits_passively: bool) -> None:
    """GNU's OpenMP says itself how often it looks again before it sleeps, 0 if passive."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if own is not None:
        environment["OMP_WAIT_POLICY"] = own
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import os; print(os.environ['OMP_WAIT_POLICY'])"],
        env={**environment, "OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == (own or "PASSIVE")
    counts = set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr))
    assert not counts or (counts == {"0"}) == waits_passively


def test_the_architecture_page_shows_the_house() -> None:
    """Its table has exactly the parts there are, on their floors."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    shown = {
        part: int(floor) for floor, part in re.findall(r"^\| (\d+) \| `(\w+)`", page, re.MULTILINE)
    }
    parts = {part_of(file) for file in FILES} - {"__init__", "__main__"}
    assert shown == {part: FLOOR[part] for part in parts}


def test_the_changelog_has_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    headings = re.findall(r"^## \[?(\d+\.\d+\.\d+|Unreleased)", changelog, re.MULTILINE)
    assert narrows.__version__ in headings or headings[0] == "Unreleased"


def test_the_lock_names_every_dependency_once_at_one_version() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert all(first < second for first, second in pairwise(sorted(names)))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = (
        project["project"]["dependencies"]
        + project["dependency-groups"]["dev"]
        + project["build-system"]["requires"]
    )
    wanted_names = {re.split(r"[^\w-]", line, maxsplit=1)[0].replace("_", "-") for line in wanted}
    assert wanted_names <= set(names)
    assert "torch==2.13.0" in lines
    assert "torchvision" not in names
