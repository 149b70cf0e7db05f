"""The command line given what is bad: one line, the right exit code, nothing left behind."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_kit import TINY, Run, as_nobody, pictures, save_parquet, save_pictures, table

from narrows import Library
from narrows.cli.demo import PARAMETERS
from narrows.cli.main import EXIT_CODES
from narrows.errors import OutputError


def broken_model(made: Path, name: str) -> Path:
    """Copy a model and damage it: cut its weights short, take them away, or spoil the JSON."""
    import shutil

    folder = Path(name)
    shutil.copytree(made / "model", folder)
    weights = next(folder.glob("encoder-*.safetensors"))
    if name == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif name == "gone":
        weights.unlink()
    else:
        (folder / "narrows.json").write_text("{")
    return folder


def prepare_bad_input() -> None:
    """Write one file for each way in which data can be bad."""
    spoilt = table()
    spoilt[7, 2] = np.nan
    np.save("nan.npy", spoilt)
    spoilt[7, 2] = np.inf
    np.save("infinite.npy", spoilt)
    np.save("empty.npy", np.zeros((0, 6)))
    np.save("one-row.npy", np.ones((1, 6)))
    np.save("narrow.npy", table()[:, :5])
    np.save("wide-codes.npy", np.zeros((4, 9)))
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 6), }"
    claims = b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header.ljust(117) + b"\n" + bytes(48)
    Path("claims.npy").write_bytes(claims)
    Path("bomb.idx").write_bytes(struct.pack(">HBB2I", 0, 8, 2, 2**31, 2**9))
    os.truncate("bomb.idx", 16 + 2**40)  # sparse: it takes no room on the disk
    Path("nul.csv").write_bytes(b"a,b\n1,\0\n3,4\n")
    Path("text.csv").write_text("a,b\n1,one\n2,two\n")
    Path("cut.parquet").write_bytes(b"PAR1")
    Path("nothing").mkdir()
    save_pictures(Path("some-bad"), pictures(12))
    Path("some-bad/right/00.png").write_bytes(Path("some-bad/right/02.png").read_bytes()[:70])
    Path("some-bad/left/01.png").write_text("not a picture")


BAD_INPUT = [
    (3, "train nan.npy -o new", "contains NaN .*first in row 7.*remove these rows"),
    (3, "train infinite.npy -o new", "contains infinity .*first in row 7.*remove these rows"),
    (3, "train empty.npy -o new", r"shape is \(0, 6\); give at least one row"),
    (3, "train one-row.npy -o new", "minimum of 2 is required.*give more rows"),
    (3, "train objects.npy -o new", "Python objects.*save an array of numbers"),
    (3, "train claims.npy -o new", "its header is damaged; save it again"),
    (3, "train bomb.idx -o new", "would take 1.1e.03 GB of memory.*save it as .npy"),
    (3, "compare text.csv -o new", "2 rows are too few to compare models; give at least 50"),
    (
        3,
        "depth text.csv",
        "'b' has 2 texts, the first 'one' .*only numbers.*remove the columns from the file",
    ),
    (3, "train nul.csv -o new", "NUL bytes.*say its encoding .--encoding"),
    (3, "train cut.parquet -o new", "not a readable Parquet table.*repair it or choose another"),
    (3, "train nothing -o new", "'nothing' .*no pictures"),
    (3, "train missing.npy -o new", "'missing.npy' does not exist; give"),
    (3, "train some-bad -o new", "some-bad/(left/01|right/00).png.*skip"),
    (3, "encode {made}/table-model narrow.npy -o new.npy", "5 features.* 6 features"),
    (3, "encode {made}/model {made}/table.csv -o new.npy", "6 features.* 120 features"),
    (3, "encode {made}/model some-bad -o new.npy", "some-bad/(left/01|right/00).png.*skip"),
    (
        3,
        "decode {made}/model wide-codes.npy -o new.npy",
        r"\(4, 9\).*give an array of shape \(n, 3",
    ),
    (3, "reconstruct {made}/model some-bad -o new", "some-bad/(left/01|right/00).png.*skip"),
    (3, "index {made}/model some-bad -o new", "some-bad/(left/01|right/00).png.*skip"),
    (3, "index {made}/model missing -o new", "'missing' does not exist; give"),
    (3, "index {made}/model nothing -o new", "'nothing' .*no pictures"),
    (3, "match {made}/pictures.lance some-bad/left/01.png --save new.png", "left/01.png"),
    (2, "train {made}/photos -o new --n-components 0", "n_components=0 .*whole number in"),
    (2, "train {made}/photos -o new --n-components many", "n_components='many' .*whole number in"),
    (2, "train {made}/photos -o new --n-components 1000000000", "n_components=10+ .*in .1, 1e.07"),
    (
        2,
        "train {made}/photos -o new --hidden-layer-sizes 1000000,1000000",
        "a network of .* weights .*GB of memory.*choose smaller",
    ),
    (2, "train {made}/photos -o new --random-state x", "random_state='x' .*from 0 to 4294967295"),
    (2, "train {made}/photos -o new --random-state -1", "random_state=-1 .*from 0 to 4294967295"),
    (2, "train {made}/photos -o new --device meta", "device='meta' is not available.*'cpu'"),
    (2, "train {made}/photos -o new --device foo", "device='foo' is not available.*'cpu'"),
    (2, "train {made}/photos -o new --learning-rate nan", "learning_rate=nan .*above 0 or 'auto'"),
    (2, "train {made}/photos -o new --learning-rate inf", "learning_rate=inf .*below 1e.38"),
    (2, "train {made}/photos -o new --activation loud", "activation='loud' .*'silu'"),
    (2, "train {made}/photos -o new --hidden-layer-sizes 3,x", "'3,x' is not of the form INT,"),
    (2, "train {made}/photos -o new --image-size huge", "'huge' is not 'auto', a side"),
    (2, "train {made}/photos -o new --image-size 1000000", "GB of memory.*a smaller size"),
    (2, "train {made}/photos -o new --model clever", "'clever' is not a model; use.*autoencoder"),
    (2, "train {made}/photos -o new --no-such-option", "No such option.*train --help"),
    (2, "train {made}/photos", "Missing option.*--to.*train --help"),
    (2, "encode {made}/model {made}/photos -o new", "rows of shape .* are none; name a file"),
    (2, "encode {made}/model {made}/photos -o new.png", "rows of shape .* are none; name a file"),
    (2, "decode {made}/table-model {made}/table-codes.npy -o new", r"\(6,\) are none; name a file"),
    (2, "reconstruct {made}/table-model {made}/table.csv -o new", r"\(6,\) are none; name a file"),
    (2, "decode {made}/model {made}/codes.npy -o new.csv", r"\(12, 10\) are no rows of one; name"),
    (2, "match {made}/pictures.lance {made}/photos --save new.jpg", "does not end in .png"),
    (2, "match {made}/pictures.lance {made}/photos -k 0", "k=0 .*at least 1"),
    (2, "split {made}/model -o new new", "two different folders"),
    (2, "split {made}/model -o new", "requires 2 arguments"),
    (2, "no-such-verb", "No such command 'no-such-verb'.*--help"),
    (3, "encode missing {made}/photos -o new.npy", "no model 'missing'; check the path"),
    (4, "encode nothing {made}/photos -o new.npy", "'nothing' is not a model.*name a folder"),
    (4, "encode cut {made}/photos -o new.npy", "encoder-.*safetensors' is damaged.*copy the"),
    (4, "info gone", "encoder-.*safetensors' is missing.*copy the model's folder"),
    (4, "info spoilt", "narrows.json' is damaged.*restore it from a copy"),
    (4, "split {made}/pictures.lance -o new new2", "pictures.lance' is not a model.*name a folder"),
    (4, "match {made}/model {made}/photos", "model' is not a library.*name a folder"),
    (
        4,
        "index {made}/table-model {made}/table.csv -o {made}/pictures.lance --add",
        "were made by model .*the one given is .*build another library",
    ),
    (5, "train {made}/photos -o {made}/model", "exists already; choose another name or"),
    (5, "train {made}/photos -o {made}/photos --overwrite", "not a model.*choose another name"),
    (5, "train {made}/photos -o no/such/folder", "no folder 'no/such'; create it"),
    (5, "encode {made}/model {made}/photos -o {made}/codes.npy", "exists already; choose another"),
    (5, "decode {made}/model {made}/codes.npy -o {made}/photos", "exists already; choose another"),
    (
        5,
        "reconstruct {made}/model {made}/photos -o {made}/photos",
        "exists already; choose another",
    ),
    (5, "index {made}/model {made}/photos -o {made}/pictures.lance", "exists already; add to it"),
    (5, "index {made}/model {made}/photos -o {made}/model --overwrite", "not a library.*choose"),
    (4, "index {made}/decoder {made}/photos -o new", "only the decoder.*give the whole model"),
    (2, "split {made}/model -o new {made}/model", "is the model .* itself.*elsewhere"),
]


@pytest.mark.parametrize(
    ("code", "line", "words"), BAD_INPUT, ids=[line for _, line, _ in BAD_INPUT]
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(
    *, code: int, line: str, words: str, run: Run, made: Path, tmp_path: Path
) -> None:
    prepare_bad_input_in(tmp_path)
    for name in ("cut", "gone", "spoilt"):
        if name in line.split():
            broken_model(made, name)
    before = contents(tmp_path) | contents(made)
    result = run(*(word.format(made=made) for word in line.split()))
    assert result.code == code, result.err
    assert result.out == ""
    (complaint,) = result.err.splitlines()
    assert complaint.startswith("narrows: error: ")
    assert re.search(words, complaint), complaint
    assert contents(tmp_path) | contents(made) == before


def prepare_bad_input_in(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)
    prepare_bad_input()
    os.chdir(here)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() and path.name != "bomb.idx" else None
        for path in folder.rglob("*")
    }


def test_an_error_outside_of_pytest_has_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "narrows", "split", "model", "-o", "same", "same"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("narrows: error: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_unreadable_pictures_can_be_left_out(run: Run, tmp_path: Path) -> None:
    prepare_bad_input_in(tmp_path)
    trained = run("train", "some-bad", "-o", "m", *TINY, "--skip-unreadable", "--json")
    assert trained.code == 0
    skipped = {Path(entry["path"]).name for entry in trained.json["skipped"]}
    assert skipped == {"00.png", "01.png"}
    assert trained.json["rows"] == 10
    assert "01.png" in trained.err
    for verb, output in (("encode", "c.npy"), ("reconstruct", "out"), ("index", "p.lance")):
        result = run(verb, "m", "some-bad", "-o", output, "--skip-unreadable", "--json")
        assert result.code == 0, result.err
        assert len(result.json["skipped"]) == 2
    matched = run("match", "p.lance", "some-bad", "--skip-unreadable", "--json").json
    assert len(matched["queries"]) == 10


def test_a_library_whose_replacement_fails_stays(run: Run, made: Path, tmp_path: Path) -> None:
    prepare_bad_input_in(tmp_path)
    run("index", made / "model", made / "photos", "-o", "p.lance")
    assert run("index", made / "model", "some-bad", "-o", "p.lance", "--overwrite").code == 3
    assert len(Library.open("p.lance")) == 40
    assert run("index", made / "model", "some-bad", "-o", "p.lance", "--add").code == 3
    assert len(Library.open("p.lance")) == 40
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_model_whose_weights_left_the_numbers_is_not_written(run: Run) -> None:
    np.save("huge.npy", np.random.default_rng(0).normal(size=(200, 5)) * 1e3)
    result = run("train", "huge.npy", "-o", "m", "--learning-rate", "1e30", "--scaling", "none")
    assert result.code == 6, result.err
    assert not Path("m").exists()


def test_a_fault_of_narrows_itself_is_not_hidden(run: Run, made: Path, monkeypatch: Any) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("narrows.data.files.read", fault)
    with pytest.raises(ZeroDivisionError):
        run("encode", made / "model", made / "photos", "-o", "c.npy")


def test_every_error_class_has_an_exit_code_that_the_readme_lists() -> None:
    from narrows import errors
    from narrows.cli.main import exit_code

    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.NarrowsError)
    ]
    codes = {exit_code(error("")) for error in classes if error is not errors.NarrowsError}
    assert codes == {2, 3, 4, 5, 6, 7}
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^\| {code} \| {re.escape(meaning)}", readme, re.MULTILINE)


def test_what_unpacks_to_more_than_the_memory_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed("zeros.npz", X=np.zeros((1000, 60)))
    save_parquet(Path("zeros.parquet"), np.zeros((1000, 6)))
    monkeypatch.setattr("narrows.containment.available", lambda: 5_000)
    monkeypatch.setattr("narrows.data.parquet.fits", lambda _: True)
    for name in ("zeros.npz", "zeros.parquet"):
        refused = run("train", name, "-o", "m")
        assert refused.code == 3
        assert re.search("unpacked, would take .* GB .*save the .* as .npy", refused.err)
        assert not Path("m").exists()


def test_a_failed_demo_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OutputError("no room")

    monkeypatch.setattr("narrows.evaluation.compare_with_pca", fail)
    monkeypatch.setitem(PARAMETERS, "digits", {"n_components": 2, "max_epochs": 1})
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    for folder in ("new", "mine"):
        assert run("demo", "-o", folder).code == 5
    assert [str(path) for path in sorted(Path().rglob("*"))] == ["mine", "mine/notes.txt"]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (3, "encode {made}/model closed/photos -o new.npy"),
        (3, "train closed -o new"),
        (4, "encode closed/model {made}/photos -o new.npy"),
        (4, "encode closed {made}/photos -o new.npy"),
        (4, "info closed"),
        (4, "match closed/pictures.lance {made}/photos"),
        (4, "match closed {made}/photos"),
        (5, "train {made}/photos -o closed --overwrite"),
        (5, "index {made}/model {made}/photos -o closed/new"),
        (5, "encode {made}/model {made}/photos -o closed/new.npy"),
    ],
)
def test_folders_that_must_not_be_entered(code: int, line: str, run: Run, made: Path) -> None:
    Path("closed").mkdir(mode=0)
    run("--version")  # imports come first: a user without rights may not read the packages
    here = Path.cwd()
    for parent in (made, *made.parents[:3], *here.parents[:3]):
        if parent.owner() == Path().owner():
            parent.chmod(parent.stat().st_mode | 0o755)
    here.chmod(0o777)
    try:
        with as_nobody():
            result = run(*(word.format(made=made) for word in line.split()))
    finally:
        Path("closed").chmod(0o700)
    assert result.code == code, result.err
    (complaint,) = result.err.splitlines()
    assert re.search("[Pp]ermission", complaint)


@pytest.mark.longer
def test_the_exit_code_is_ours_whatever_threads_are_left(tmp_path: Path) -> None:
    """Readers of Parquet keep threads, whose end used to abort one process in three."""
    pd.DataFrame({"a": [1.0, 2.0], "t": ["x", "y"]}).to_parquet(tmp_path / "text.parquet")
    for _ in range(20):
        done = subprocess.run(
            [sys.executable, "-m", "narrows", "train", "text.parquet", "-o", "model"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1
