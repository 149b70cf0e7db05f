"""The list of formats, and formats of other packages: docs/extending.md, as it stands there."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from plug_in_kit import code_of, entry_points_of, install, run
from pyarrow import parquet

from narrows import Autoencoder, Library, signals
from narrows.data import formats
from narrows.data.files import check_destination, read, write
from narrows.data.formats import FORMATS, FileOptions, format_of, plug_in_formats
from narrows.errors import (
    DataError,
    NarrowsWarning,
    OutputError,
    ParameterError,
    UnreadableFileError,
)

SEED = 20261201
FILE = "narrows_xyz.py"
X = np.random.default_rng(SEED).normal(size=(60, 4))

PROGRAM = """
import json, sys
import numpy as np
from pyarrow import parquet

from narrows import Autoencoder, Library, signals
from narrows.cli.main import main
from narrows.data.files import read, write
X = np.load("X.npy")
write("measured.xyz", X, columns=["a", "b", "c", "d"])
rows = read("measured.xyz")
assert rows.columns == ["a", "b", "c", "d"]
np.testing.assert_array_equal(rows.values, X)
wave = signals.read("measured.xyz", ["b"])
np.testing.assert_array_equal(wave.values, X[:, 1])
np.testing.assert_array_equal(signals.read(signals.write("wave.xyz", wave)).values, X[:, 1])
codes = [main(line.split()) for line in json.loads(sys.argv[1])]
print(json.dumps(codes))
"""


@pytest.fixture(autouse=True)
def _fresh():
    """Have entry points looked up anew in each test."""
    plug_in_formats.cache_clear()
    yield
    plug_in_formats.cache_clear()


def test_files_of_another_package_are_read_and_written_by_their_names(tmp_path):
    code = code_of(FILE)
    assert len(code.splitlines()) <= 60
    site = install(tmp_path / "site", "narrows_xyz", code, entry_points_of("narrows.formats"))
    np.save(tmp_path / "X.npy", X)
    lines = [
        "train measured.xyz -o model --n-components 2 --max-epochs 2",
        "encode model measured.xyz -o codes.xyz",
        "encode model X.npy -o codes.npy",
        "encode model measured.xyz -o codes.uvw",
    ]
    own = os.environ.get("PYTHONPATH")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *([own] if own else [])])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [0, 0, 0, 2], done.stderr
    assert re.search(r"ends in \.uvw, which is not written; name .*\.xyz", done.stderr)
    helps = run(tmp_path, site, "--help", "encode --help", "decode --help")
    assert all(code == 0 and ".xyz" in text for code, text, _ in helps)
    written = np.loadtxt(tmp_path / "codes.xyz", skiprows=1)
    np.testing.assert_allclose(written, np.load(tmp_path / "codes.npy"), rtol=1e-6)


PLUG_INS = """
from narrows.data.formats import Format

def fails(path):
    raise KeyError("no header")

def of_words(path):
    return [["a"]]

def full(path, contents):
    raise TypeError("no such numbers")

TAKEN = Format(name="Mine", suffixes=(".csv",), kinds=("tables",), read=fails)
FAILING = Format(name="FAILING", suffixes=(".failing",), kinds=("rows",), read=fails, write=full)
TWICE = Format(name="TWICE", suffixes=(".failing",), kinds=("rows",), read=fails)
WORDS = Format(name="WORDS", suffixes=(".words",), kinds=("rows",), read=of_words)
SHOUTED = Format(name="SHOUTED", suffixes=(".XYZ",), kinds=("rows",), read=fails)
PICTURES = Format(name="PICTURES", suffixes=(".cr2",), kinds=("pictures",), read=fails)
UNTYPED = Format(name="UNTYPED", suffixes=(".untyped",), kinds=None, read=fails)
BARE = Format(name="BARE", suffixes=".bare", kinds=("rows",), read=fails)
DOUBLE = Format(name="DOUBLE", suffixes=(".tar.q",), kinds=("rows",), read=fails)
OTHER = Format(name="OTHER", suffixes=(".other",), kinds=("words",), read=fails)
UNREAD = Format(name="UNREAD", suffixes=(".unread",), kinds=("rows",))
NUMBER = 3
"""
NAMES = ["TAKEN", "FAILING", "TWICE", "WORDS", "SHOUTED", "PICTURES", "NUMBER", "ABSENT"]
NAMES += ["UNTYPED", "BARE", "DOUBLE", "OTHER", "UNREAD"]


@pytest.fixture(name="strange")
def _strange(tmp_path, monkeypatch):
    points = "".join(f"{name.lower()} = strange_ones:{name}\n" for name in NAMES)
    site = install(tmp_path / "site", "strange_ones", PLUG_INS, f"[narrows.formats]\n{points}")
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("strange")
def test_plug_ins_that_do_not_fit_are_named_and_break_nothing():
    with pytest.warns(NarrowsWarning) as caught:
        assert [one.name for one in plug_in_formats()] == ["FAILING", "WORDS"]
    told = {warning.message.facts["plug_in"]: str(warning.message) for warning in caught}
    assert all("of the package 'strange-ones' is left out" in line for line in told.values())
    for name, reason in (
        ("taken", "Narrows itself reads .csv"),
        ("twice", "another package reads .failing"),
        ("shouted", "is not one dot and lower-case letters"),
        ("pictures", "extend Pillow"),
        ("number", "it is no narrows.data.formats.Format"),
        ("absent", "AttributeError"),
        ("untyped", "it needs tuples of suffixes"),
        ("bare", "it needs tuples of suffixes"),
        ("double", "is not one dot and lower-case letters"),
        ("other", "its kinds ['words'] are none of"),
        ("unread", "it needs a reader"),
    ):
        assert reason in told.pop(name)
    assert not told
    write("a.csv", X, columns=list("abcd"))
    np.testing.assert_allclose(read("a.csv").values, X)
    assert format_of(Path("a.csv")).name == "CSV"


@pytest.mark.usefixtures("strange")
@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
def test_what_goes_wrong_in_another_package_is_an_error_that_names_the_format():
    for name in ("a.failing", "a.words"):
        Path(name).write_text("what is this")
    with pytest.raises(UnreadableFileError, match="file of FAILING: KeyError: 'no header'") as told:
        read("a.failing")
    assert told.value.path == Path("a.failing")
    with pytest.raises(DataError, match="the reader of WORDS gives no array of numbers"):
        read("a.words")
    with pytest.raises(OutputError, match="the writer of FAILING failed: TypeError"):
        write("b.failing", X)
    assert not Path("b.failing").exists()
    with pytest.raises(ValueError, match=r"ends in \.words, which is not written"):
        check_destination("b.words", overwrite=False)
    with pytest.raises(DataError, match="no file of a signal"):
        signals.read("a.words")


def test_other_packages_are_asked_for_unknown_endings_only(monkeypatch, tmp_path):
    def refuse(group):
        raise AssertionError(group)

    monkeypatch.setattr(formats, "plug_ins", refuse)
    for name in ("a.npy", "a.npz", "a.parquet", "a.csv"):
        np.testing.assert_allclose(read(write(tmp_path / name, X)).values, X)
    with pytest.raises(AssertionError, match=r"narrows\.formats"):
        check_destination(tmp_path / "a.xyz", overwrite=False)


def test_every_format_can_be_loaded_and_no_two_have_one_ending():
    endings = [suffix for one in FORMATS for suffix in one.suffixes]
    assert len(set(endings)) == len(endings)
    for one in FORMATS:
        assert one.read is not None
        assert all(callable(resolve_name(name)) for name in (one.read, one.write) if name)


def test_the_readme_names_every_format():
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    section = readme.partition("\n## Data\n")[2].partition("\n## ")[0]
    for one in FORMATS:
        if "pictures" in one.kinds or not one.suffixes:
            assert one.name in section
        else:
            assert [s for s in one.suffixes if f"`{s}`" not in section] == []
    shown = set(re.findall(r"`(\.[a-z0-9]+)`", section))
    assert shown - {".gz", ".bz2", ".zst"} <= {s for one in FORMATS for s in one.suffixes}


def test_the_readmes_lists_are_those_of_the_formats():
    done = subprocess.run(
        [sys.executable, "-c", "import write_formats as w; print(w.written(w.README.read_text()))"],
        cwd=Path(__file__).parents[1] / "tools",
        capture_output=True, text=True, check=True, encoding="utf-8",
    )  # fmt: skip
    readme = Path(__file__).parents[1] / "README.md"
    assert done.stdout.strip() == readme.read_text("utf-8").strip(), "run tools/write_formats.py"


def test_help_names_every_format_and_imports_nothing_heavy():
    program = "from narrows.cli.main import main; import sys; main(sys.argv[1:]); " + (
        "print({'torch', 'sklearn', 'numpy', 'pyarrow', 'PIL'} & set(sys.modules))"
    )
    shown = {}
    for verb in ("", "train", "encode", "decode", "index"):
        arguments = [*verb.split(), "--help"]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
        )
        shown[verb] = set(re.findall(r"(?<![\w/])\.[a-z][a-z0-9]+\b", done.stdout))
        if not verb:
            assert done.stdout.endswith("set()\n")
    of = {kind: {s for f in FORMATS if kind in f.kinds for s in f.suffixes} for kind in
          ("rows", "tables", "pictures", "signals")}  # fmt: skip
    written = {suffix for one in FORMATS if one.write for suffix in one.suffixes}
    assert of["rows"] | of["tables"] | of["signals"] <= shown[""]
    assert of["tables"] <= shown["index"]
    assert of["tables"] - {".parquet"} <= shown["train"]
    assert (of["rows"] | of["tables"]) & written <= shown["encode"] <= shown["decode"]
    assert written <= shown["decode"]


def test_help_and_messages_name_known_formats_only():
    pattern = r"(?<![\w/])\.(?:[a-z][a-z0-9]{1,6})\b(?!/)"
    known = {suffix for one in FORMATS for suffix in one.suffixes}
    with pytest.raises(DataError) as refused:
        read(Path(__file__))
    assert set(re.findall(pattern, str(refused.value).partition("give ")[2])) <= known
    shown = set()
    for verb in ("train", "encode", "decode", "reconstruct"):
        done = subprocess.run(
            [sys.executable, "-m", "narrows", verb, "--help"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        shown |= set(re.findall(pattern, done.stdout))
    assert {".npy", ".npz"} <= shown <= known | formats.COMPRESSED_SUFFIXES | {".json"}


COLUMNS = {
    "texts": lambda: write_parquet("a.parquet", a=[1.0, 2.0], b=["x", "y"]),
    "gaps": lambda: write_parquet("a.parquet", a=[1.0, 2.0], b=[1.0, None]),
    "large": lambda: write_parquet("a.parquet", a=[1.0, 2.0], b=[1, 2**53 + 1]),
    "empty lists": lambda: write_parquet("a.parquet", b=[[], []]),
    "lists of several lengths": lambda: write_parquet("a.parquet", b=[[1.0], [1.0, 2.0]]),
    "no pictures": lambda: write_parquet("a.parquet", b=[{"bytes": b"?", "path": "a.wav"}]),
    "csv": lambda: Path("a.csv").write_text("a,b\n1,x\n2,y\n3,4\n5,6\n7,8\n") and Path("a.csv"),
}


def write_parquet(path, **columns):
    parquet.write_table(pa.table(columns), path)
    return Path(path)


@pytest.mark.parametrize("make", COLUMNS.values(), ids=COLUMNS)
def test_errors_of_tables_say_the_column(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    path = make()
    with pytest.raises(DataError) as refused:
        read(path)
    assert (refused.value.path, refused.value.column) == (path, "b")
    assert "'b'" in str(refused.value)


def test_errors_of_models_signals_and_libraries_say_the_column(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(frame)
    for columns, wrong in (("abce", "e"), ("abc", "d"), ("abdc", "d")):
        with pytest.raises(DataError, match="columns") as refused:
            model.transform(pd.DataFrame(X[:, : len(columns)], columns=list(columns)))
        assert refused.value.column == wrong
    with pytest.raises(ParameterError) as refused:
        signals.read(write("wave.csv", X, columns=list("abcd")), ["z"])
    assert (refused.value.parameter, refused.value.column) == ("columns", "z")
    library, _ = Library.build("library.lance", X, model=Autoencoder(2, max_epochs=1).fit(X))
    for where, column in (("year > 1", "year"), ("path > 1", "path")):
        with pytest.raises(ParameterError) as refused:
            library.find(where)
        assert (refused.value.parameter, refused.value.column) == ("where", column)
    with pytest.raises(ParameterError) as refused:
        library.add(X + 1, metadata={"id": [1] * len(X)})
    assert (refused.value.parameter, refused.value.column) == ("metadata", "id")
    with pytest.raises(ParameterError) as refused:
        Autoencoder(2, max_epochs=-1).fit(X)
    assert refused.value.parameter == "max_epochs"


def test_errors_have_fields(tmp_path):
    with pytest.raises(ParameterError) as refused:
        FileOptions(decimal=";")
    assert refused.value.parameter == "decimal"
    assert refused.value.path is refused.value.column is refused.value.reason is None
    page = tmp_path / "table.csv"
    page.write_text("<html>404</html>")
    with pytest.raises(UnreadableFileError) as refused:
        read(page)
    assert refused.value.path == page
    assert refused.value.reason == "it is a web page (HTML)"
    again = copy.copy(refused.value)
    assert (again.path, again.reason) == (page, refused.value.reason)
