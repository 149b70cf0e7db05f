"""A verb of docs/extending.md, as it stands there: in Narrows itself, and of another package."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from cli_kit import TINY, Run
from plug_in_kit import code_of, entry_points_of, install

from narrows import load
from narrows.cli import main as command_line

SEED = 20261130
FILE = "narrows_outliers.py"


@pytest.fixture
def data(tmp_path: Path, run: Run) -> Path:
    """A folder with a table, two rows of which are unlike the others, and a model of it."""
    X = np.random.default_rng(SEED).normal(size=(60, 5)).astype(np.float32)
    X[[7, 33]] *= 9
    np.save(tmp_path / "X.npy", X)
    trained = run("train", tmp_path / "X.npy", "-o", tmp_path / "model", *TINY)
    assert trained.code == 0
    return tmp_path


def check_outliers(found: list[dict[str, object]], data: Path, k: int) -> None:
    X = np.load(data / "X.npy")
    errors = load(data / "model").reconstruction_error(X)
    worst = np.argsort(-errors)[:k]
    assert [int(str(row["row"])) for row in found] == worst.tolist()
    np.testing.assert_allclose([row["error"] for row in found], errors[worst], rtol=1e-6)


def test_a_verb_is_one_file_and_one_line(
    data: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = code_of(FILE)
    assert len(code.splitlines()) <= 60
    spec = importlib.util.spec_from_loader("narrows.cli.outliers", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(code, FILE, "exec"), vars(module))  # noqa: S102 (the repository's own page)
    monkeypatch.setitem(sys.modules, "narrows.cli.outliers", module)
    page = (Path(__file__).parents[1] / "docs" / "extending.md").read_text("utf-8")
    (line,) = re.findall(r'^"outliers": "(.*)",$', page, re.MULTILINE)
    monkeypatch.setitem(command_line.VERBS, "outliers", line)
    listed = run("outliers", data / "model", data / "X.npy", "-k", 3, "--json")
    check_outliers(listed.json["outliers"], data, 3)
    shown = run("outliers", data / "model", data / "X.npy", "-k", 2)
    worst = [str(row["row"]) for row in listed.json["outliers"][:2]]
    assert [row.split()[0] for row in shown.out.splitlines()] == ["row", *worst]
    assert line in run("outliers", "--help").out
    assert run("outliers", data / "missing", data / "X.npy").code == 3


def test_a_verb_comes_from_another_package(data: Path) -> None:
    points = entry_points_of("narrows.verbs") + "train = narrows_outliers:command\n"
    path = install(data / "site", "narrows_outliers", code_of(FILE), points)
    own = os.environ.get("PYTHONPATH")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(path), *([own] if own else [])]),
    }

    said: list[str] = []

    def narrows(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "narrows", *map(str, arguments)],
            cwd=data, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        said.append(done.stderr)
        return done.stdout

    check_outliers(json.loads(narrows("outliers", "model", "X.npy", "--json"))["outliers"], data, 5)
    listed = narrows("--help")
    assert re.search(r"^  outliers +Of the package narrows-outliers\.$", listed, re.MULTILINE)
    assert len(re.findall(r"^  train ", listed, re.MULTILINE)) == 1
    assert "'train' (narrows.verbs) of the package 'narrows-outliers' is left out" in said[-1]
    assert "--model" in narrows("train", "--help")  # Narrows' own


def test_what_is_no_command_is_left_out(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[narrows.verbs]\nnothing = broken_verbs:number\n"
    monkeypatch.syspath_prepend(install(tmp_path, "broken_verbs", "number = 3\n", points))
    refused = run("nothing")
    assert refused.code == 2
    assert "'nothing' (narrows.verbs) of the package 'broken-verbs' is left out" in refused.err
    assert "No such command 'nothing'" in refused.err
    group = command_line.group
    assert "nothing" in group.list_commands(click.Context(group))


def test_of_two_verbs_of_one_name_the_second_is_left_out_with_a_warning(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("first_verbs", "second_verbs"):
        code = f"import click\n\n@click.command()\ndef greet():\n    click.echo({package!r})\n"
        points = f"[narrows.verbs]\ngreet = {package}:greet\n"
        monkeypatch.syspath_prepend(install(tmp_path / package, package, code, points))
    done = run("greet")
    kept = done.out.strip()
    assert kept in {"first_verbs", "second_verbs"}
    (other,) = {"first-verbs", "second-verbs"} - {kept.replace("_", "-")}
    assert f"'greet' (narrows.verbs) of the package '{other}' is left out" in done.err
    assert f"the package '{kept.replace('_', '-')}' brings one of this name" in done.err
