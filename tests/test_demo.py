"""The demonstration on the digits that come with scikit-learn: what it writes, says and spares."""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from narrows import Library, datasets, load
from narrows.cli.demo import PARAMETERS
from narrows.cli.main import main


class Demo(NamedTuple):
    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Run it once, with everything at its default, in a folder that stays the current one."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            assert main(["demo"]) == 0
        yield Demo(folder / "narrows-demo", out.getvalue(), err.getvalue())


def test_it_leaves_a_model_a_library_the_queries_and_the_sheet(demo: Demo) -> None:
    assert {path.name for path in demo.folder.iterdir()} == {
        "model",
        "pictures.lance",
        "queries",
        "matches.png",
        "results.json",
    }
    digits = datasets.load("digits")
    assert load(demo.folder / "model").sample_shape_ == (8, 8)
    assert len(Library.open(demo.folder / "pictures.lance")) == len(digits.X_train)
    with Image.open(demo.folder / "matches.png") as sheet:
        assert min(sheet.size) > 1000
    queries = sorted((demo.folder / "queries").iterdir())
    assert [path.name for path in queries] == [f"{label}.png" for label in range(8)]
    for label, path in enumerate(queries):
        with Image.open(path) as picture:
            same = (digits.X_test == np.asarray(picture)).all(axis=(1, 2))
        assert digits.y_test[same].tolist() == [label]


def test_the_autoencoder_beats_pca_at_the_same_code_size(demo: Demo) -> None:
    pca, own = json.loads((demo.folder / "results.json").read_text("utf-8"))["scores"]
    assert (pca["method"], own["method"]) == ("PCA", "Autoencoder")
    assert pca["n_components"] == own["n_components"] == 8
    assert own["reconstruction_error"] < 0.5 * pca["reconstruction_error"]
    assert own["neighbor_accuracy"] > 0.93
    for score in (pca, own):
        row = rf"^{score['method']} +{score['reconstruction_error']:.5f} "
        assert re.search(row, demo.out, re.MULTILINE)


def test_pictures_find_their_own_class(demo: Demo) -> None:
    """Of the eight queries' forty matches, nearly all show the same digit."""
    library = Library.open(demo.folder / "pictures.lance")
    right = [
        match.path.split("/")[0] == path.stem
        for path in (demo.folder / "queries").iterdir()
        for match in library.match(str(path), 5)
    ]
    assert len(right) == 40
    assert sum(right) >= 36


def test_the_commands_it_ends_with_work_when_pasted(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = demo.out.split("Try next:\n")[1].splitlines()
    assert len(commands) == 4
    for command in commands:
        words = shlex.split(command)
        assert main(words[words.index("narrows") + 1 :]) == 0, capsys.readouterr().err


def test_a_second_demo_replaces_the_first_and_spares_the_rest(
    demo: Demo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = demo.folder / "notes.txt"
    own.write_text("mine")
    (demo.folder / "matches.png").write_bytes(b"old")
    monkeypatch.setitem(PARAMETERS, "digits", {"n_components": 2, "max_epochs": 1})
    assert main(["demo", "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    assert (answered["output"], answered["n_components"]) == ("narrows-demo", 2)
    assert load(demo.folder / "model").n_components == 2
    assert own.read_text() == "mine"
    with Image.open(demo.folder / "matches.png") as sheet:
        assert sheet.format == "PNG"
    own.unlink()


def test_a_folder_of_someone_elses_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert main(["demo", "-o", str(tmp_path)]) == 5
    assert "not a demo's" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
