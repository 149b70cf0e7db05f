"""What users give, whatever takes it: the same columns in the same order, and numbers throughout.

The seed of everything random here is 0.
"""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import sparse

from narrows import Autoencoder, DenoisingAutoencoder, Library, load
from narrows.cli.main import main
from narrows.data.files import write
from narrows.errors import DataError, DataTypeError, OutputError

NAMES = ["width", "height", "depth", "mass"]
TABLE = np.random.default_rng(0).normal(size=(60, 4))
FRAME = pd.DataFrame(TABLE, columns=NAMES)
REORDERED = FRAME[NAMES[::-1]]
WRONG = {
    "reordered": (REORDERED, "'mass' stands where 'width' did"),
    "renamed": (FRAME.rename(columns={"depth": "length"}), "unexpected 'length'; missing 'depth'"),
    "fewer": (FRAME[NAMES[:3]], "missing 'mass'"),
    "more": (FRAME.assign(age=1.0), "unexpected 'age'"),
    "partly named": (FRAME.rename(columns={"depth": 2}), "unexpected 2; missing 'depth'"),
    "twice": (FRAME[["width", *NAMES]], "repeated 'width'"),
}
WAYS = ("transform", "reconstruct", "score", "partial_fit", "encoder", "match", "add", "build")


def quick(**parameters: Any) -> Autoencoder:
    return Autoencoder(2, hidden_layer_sizes=(), max_epochs=1, random_state=0, **parameters)


class Given(dict[str, Any]):
    """A model of a named table and everything around it that takes rows, by name."""

    def __init__(self, folder: Path) -> None:
        model = quick().fit(FRAME)
        model.save(folder / "model")
        model.split()[0].save(folder / "encoder")
        library, _ = Library.build(folder / "library", FRAME, model=model)
        super().__init__({way: getattr(model, way) for way in WAYS[:4]})
        self["encoder"] = load(folder / "encoder").transform
        self["match"], self["add"] = library.match, library.add
        self["build"] = lambda X: Library.build(folder / "other", X, model=model)
        self["fit"] = lambda X: quick().fit(X)
        self["partial_fit anew"] = lambda X: quick().partial_fit(X)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("columns")


@pytest.fixture(scope="module")
def given(folder: Path) -> Given:
    return Given(folder)


def refusal(way: Any, X: Any, error: type[DataError] = DataError) -> str:
    with pytest.raises(error) as caught:
        way(X)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("way", WAYS)
def test_other_columns_are_refused_by_name(given: Given, way: str, wrong: str) -> None:
    X, words = WRONG[wrong]
    message = refusal(given[way], X)
    assert words in message
    assert "give the columns 'width', 'height', 'depth', ... (4 in all)" in message


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_of_other_columns_are_refused(
    given: Given, tmp_path: Path, way: str, suffix: str
) -> None:
    path = write(tmp_path / f"table{suffix}", REORDERED.to_numpy(), columns=list(REORDERED))
    assert f"the table '{path}' are not those" in refusal(given[way], path)


def test_arrow_tables_and_rows_of_frames_have_their_names_too(given: Given) -> None:
    for way in WAYS:
        assert "'mass' stands" in refusal(given[way], pa.Table.from_pandas(REORDERED))
    assert "'mass' stands" in refusal(given["match"], REORDERED.iloc[3])
    assert given["match"](FRAME.iloc[3], k=1)[0].id == 3


def test_the_right_columns_and_rows_without_names_have_the_same_codes(
    given: Given, folder: Path
) -> None:
    codes = given["transform"](FRAME)
    path = write(folder / "right.csv", TABLE, columns=NAMES)
    for X in (FRAME, TABLE, TABLE.tolist(), torch.from_numpy(TABLE), path):
        np.testing.assert_array_equal(given["encoder"](X), codes)
        assert [found[0].id for found in given["match"](X, k=1)] == list(range(60))
    np.testing.assert_array_equal(given["transform"](path), codes)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(given["transform"](TABLE), codes)


def test_a_model_of_an_array_takes_files_of_any_columns(tmp_path: Path) -> None:
    model = quick().fit(TABLE)
    path = write(tmp_path / "table.csv", TABLE, columns=NAMES)
    for half in (model, model.split()[0]):
        np.testing.assert_array_equal(half.transform(path), model.transform(TABLE))


def test_a_file_s_columns_are_learned(tmp_path: Path) -> None:
    path = write(tmp_path / "table.parquet", TABLE, columns=NAMES)
    assert list(quick().fit(path).feature_names_in_) == NAMES


def test_damaged_rows_have_the_clean_ones_columns() -> None:
    model = DenoisingAutoencoder(2, max_epochs=1, random_state=0)
    assert "'mass' stands" in refusal(lambda X: model.fit(X, FRAME), REORDERED)


@pytest.mark.parametrize(
    "verb",
    [
        ["encode", "model", "other.csv", "-o", "codes.npy"],
        ["encode", "encoder", "other.csv", "-o", "codes.npy"],
        ["reconstruct", "model", "other.csv", "-o", "codes.npy"],
        ["denoise", "model", "right.csv", "-o", "codes.npy", "--clean", "other.csv"],
        ["index", "model", "other.csv", "-o", "codes.npy"],
        ["index", "encoder", "other.csv", "-o", "codes.npy"],
        ["index", "encoder", "other.csv", "-o", "library", "--add"],
        ["match", "library", "other.csv"],
    ],
    ids=" ".join,
)
def test_every_verb_refuses_other_columns(
    given: Given,
    folder: Path,
    verb: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    REORDERED.to_csv("other.csv", index=False)
    FRAME.to_csv("right.csv", index=False)
    assert main(verb) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "'other.csv'" in line
    assert "'mass' stands where 'width' did" in line
    assert not Path("codes.npy").exists()
    assert len(Library.open("library")) == 60


@pytest.mark.cases
def test_columns_that_come_twice_are_no_table() -> None:
    assert "columns 'width' come more than once" in refusal(quick().fit, WRONG["twice"][0])
    numbered = pd.DataFrame(TABLE, columns=[0, 1, 1, 2])
    model = quick().fit(TABLE)
    for way in (quick().fit, model.transform, model.split()[0].transform):
        assert "columns 1 come more than once" in refusal(way, numbered)


def test_columns_that_are_partly_named_are_not_learned() -> None:
    with pytest.raises(DataTypeError, match="string names"):
        quick().fit(WRONG["partly named"][0])


def column(values: Any, **options: Any) -> pd.DataFrame:
    return FRAME.assign(depth=pd.Series(values, **options))


NUMBERS = {
    "bfloat16": torch.from_numpy(TABLE).bfloat16(),
    "8-bit float": torch.from_numpy(TABLE).to(torch.float8_e4m3fn),
    "half": torch.from_numpy(TABLE).half(),
    "with a gradient": torch.from_numpy(TABLE).clone().requires_grad_(),
    "objects": TABLE.astype(object),
    "objects in a frame": FRAME.astype(object),
    "nullable integers": column([1, 2] * 30, dtype="Int64"),
    "nullable booleans": column([True, False] * 30, dtype="boolean"),
    "nullable floats": FRAME.astype("Float32"),
    "categories of numbers": column([1, 2] * 30, dtype="category"),
    "mask without effect": np.ma.array(TABLE),
    "Arrow": pa.Table.from_pandas(FRAME),
}
TEXT = r"column 'depth' holds 'x', which is no number.*encode it"
NO_ROWS = r"of shape \(\) was given.*give an array of shape \(n, features\)"
GAP = "contains NaN .30 such values, the first in row 1, counted from 0"
NO_NUMBERS = {
    "None": (None, f"None {NO_ROWS}"),
    "a number": (3.0, rf"3\.0 {NO_ROWS}"),
    "a 0-d array": (np.array(3.0), f"ndarray {NO_ROWS}"),
    "a mapping": ({"depth": [1.0]}, f"dict {NO_ROWS}"),
    "ragged lists": ([[1, 2, 3, 4], [1, 2]], "different shapes"),
    "ragged arrays": ([TABLE[0], TABLE[0, :2]], "different shapes"),
    "text": (column(["x"] * 60), TEXT),
    "categories of text": (column(["x"] * 60, dtype="category"), TEXT),
    "nullable text": (column([None, "x"] * 30, dtype="string"), TEXT),
    "text in Arrow": (pa.Table.from_pandas(column(["x"] * 60)), TEXT),
    "text in objects": (np.array([["x", 1, 2, 3]] * 60, dtype=object), "float: 'x'.*real numbers"),
    "an array of text": (np.full((60, 4), "x"), "type <U1.*real numbers"),
    "records": (np.zeros((60, 4), [("a", "f4")]), "type .*real numbers"),
    "dates": (column(pd.date_range("2020", periods=60)), r"'depth' holds Timestamp\('2020"),
    "nothing but dates": (np.full((60, 4), "2020", "M8[D]"), r"type datetime64\[D\].*real numbers"),
    "durations": (np.ones((60, 4), "m8[s]"), r"type timedelta64\[s\].*real numbers"),
    "complex": (TABLE.astype(complex), "Complex data not supported.*real numbers"),
    "a complex column": (column([1j] * 60), "column 'depth' holds 1j"),
    "a complex tensor": (torch.from_numpy(TABLE).to(torch.complex64), "Complex.*real numbers"),
    "missing nullable integers": (column([1, None] * 30, dtype="Int64"), GAP),
    "missing nullable booleans": (column([True, None] * 30, dtype="boolean"), GAP),
    "missing objects": (column([1.0, None] * 30, dtype=object), GAP),
    "missing in Arrow": (pa.Table.from_pandas(column([1.0, None] * 30)), GAP),
    "masked": (np.ma.masked_greater(TABLE, 1), "42 masked values.*fill"),
    "too large": ([[10**400] * 4] * 60, "too large.*real numbers"),
    "sparse": (sparse.csr_array(TABLE), "toarray"),
    "a sparse tensor": (torch.from_numpy(TABLE).to_sparse(), "to_dense"),
    "a sparse frame": (FRAME.astype(pd.SparseDtype("float")), "to_dense"),
    "no tensor's memory": (torch.from_numpy(TABLE).to("meta"), "on meta"),
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_numbers_of_every_kind_are_taken_by_all_alike(given: Given, kind: str) -> None:
    X = NUMBERS[kind]
    codes = given["transform"](X)
    assert np.isfinite(codes).all()
    np.testing.assert_array_equal(given["encoder"](X), codes)
    for way in ("fit", "partial_fit anew", "score"):
        given[way](X)
    assert len(given["match"](X, k=1)) == 60


def test_narrow_floats_are_the_numbers_that_they_are(given: Given) -> None:
    narrow = torch.from_numpy(TABLE).bfloat16()
    codes = given["encoder"](narrow.float().numpy())
    np.testing.assert_array_equal(given["encoder"](narrow), codes)
    decoder = quick().fit(TABLE).split()[1]
    np.testing.assert_array_equal(
        decoder.inverse_transform(torch.from_numpy(codes).bfloat16()),
        decoder.inverse_transform(torch.from_numpy(codes).bfloat16().float().numpy()),
    )


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_table_of_numbers_is_refused_by_all_alike(given: Given, kind: str) -> None:
    X, words = NO_NUMBERS[kind]
    for way in ("fit", "partial_fit anew", *WAYS):
        if way == "match" and X is None:
            continue  # it says that one of several things has to be given
        with pytest.raises(DataError, match=words) as caught:
            given[way](X)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("Z", "words"),
    [
        (None, f"None {NO_ROWS}"),
        (np.full((3, 2), "x"), "type <U1"),
        ([[1.0, None]], "Input Z contains NaN .1 such values, the first in row 0, counted from 0"),
        (np.ones((3, 2), complex), "Complex"),
        ([[1, 2], [3]], "different shapes"),
        (np.ones((3, 5)), r"\(3, 5\).*2 numbers"),
    ],
)
def test_what_is_no_code_is_refused_by_both_alike(Z: Any, words: str) -> None:
    model = quick().fit(TABLE)
    for owner in (model, model.split()[1]):
        with pytest.raises(DataError, match=words):
            owner.inverse_transform(Z)


def test_halves_take_the_shapes_that_whole_models_take() -> None:
    pictures = TABLE.reshape(60, 2, 2)
    for learned, others in ((pictures, TABLE), (TABLE, pictures)):
        model = quick().fit(learned)
        encoder = model.split()[0]
        np.testing.assert_array_equal(encoder.transform(others), model.transform(learned))
        for X in (TABLE[:, :3], TABLE.reshape(30, 2, 4), TABLE[:0]):
            whole = refusal(model.transform, X)
            assert refusal(encoder.transform, X) == whole.replace("Autoencoder", "Encoder")
        with pytest.raises(DataError, match=r"has 3 features.*expecting 4 .*; give rows with"):
            encoder.transform(TABLE[:, :3])
    with pytest.raises(DataError, match=r"shape \(4, 1\).*\(2, 2\).*resize"):
        quick().fit(pictures).split()[0].transform(TABLE.reshape(60, 4, 1))


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond a kilobyte, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["codes.npy", "codes.npz", "codes.csv", "codes.parquet"])
def test_a_full_disk_is_named_as_the_reason(tmp_path: Path, small_files: None, name: str) -> None:
    with pytest.raises(OutputError, match=rf"{name}.*: .*File too large.*make room") as caught:
        write(tmp_path / name, np.random.default_rng(0).random((200, 50)))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_all_columns_that_are_no_numbers_are_named_at_once() -> None:
    frame = pd.DataFrame(
        {
            "a": ["x", "y"] * 5,
            "b": range(10),
            "c": [None] * 10,
            "d": pd.date_range("2020", periods=10),
        }
    )
    for table in (frame, pa.Table.from_pandas(frame)):
        with pytest.raises(DataError, match=r"^columns 'a' holds 'x'") as refused:
            Autoencoder(1, max_epochs=1).fit(table)
        said = str(refused.value)
        assert "'c' has 10 missing values; 'd' holds " in said
        assert "'b'" not in said
        assert len(said) < 500
