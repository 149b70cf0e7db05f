"""Whether a first line holds names or data: right where it is certain, said where it is a guess."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from narrows import Autoencoder, load
from narrows.data.files import read
from narrows.data.formats import FileOptions
from narrows.data.tables import read_table
from narrows.errors import DataError, NarrowsWarning

pytestmark = pytest.mark.cases

# 30 rows of absorbances and the like, seed 0.
ROWS = np.random.default_rng(0).uniform(0.05, 0.95, (30, 4)).round(4)
WHOLE = np.random.default_rng(0).integers(0, 17, (30, 4))
RANKS = np.array([np.random.default_rng(seed).permutation(6) + 1 for seed in range(30)])


def save(folder: Path, first: str, rows: NDArray[np.generic] = ROWS) -> Path:
    path = folder / "table.csv"
    lines = [first] if first else []
    lines += [",".join(map(str, row)) for row in rows.tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path


def read_told(
    path: Path, header: bool | None = None, known: list[str] | None = None
) -> tuple[NDArray[np.floating], list[str], str]:
    """Read a table, and say what its first line was taken for if that was a guess."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values, columns = read_table(path, FileOptions(header=header), known=known)
    said = [one.message for one in caught]
    assert all(isinstance(one, NarrowsWarning) and one.kind == "header_guessed" for one in said)
    lines = [str(one) for one in said]
    assert all("\n" not in line and len(line) < 500 for line in lines)
    return values, columns, " ".join(lines)


@pytest.mark.parametrize(
    "first",
    [
        "400.5,401.0,401.5,402.0",
        "4000,3998,3996,3994",
        "350,360,375,400",
        "2017,2018,2019,2020",
        "2020,2015,2010,2000",
        "1990,2020,2010,2000",
        "1,2,3,4",
        "0,1,2,3",
        "0.0,1.0,2.0,3.0",
        "1,10,100,1000",
        "7157,672,675,1956",
        '"1","2","3","4"',
        '"5","3","9","2"',
        "id,401,402,403",
        "id,2017,2018,2019",
        "id,x,y,2019",
        "a,b,c,7",
    ],
)
def test_numbers_unlike_the_rows_below_are_names_and_that_is_said(
    tmp_path: Path, first: str
) -> None:
    path = save(tmp_path, first)
    values, columns, said = read_told(path)
    np.testing.assert_array_equal(values, ROWS)
    assert columns == first.replace('"', "").split(",")
    assert "was taken for column names" in said
    assert "--no-header" in said
    assert columns == list(pd.read_csv(path).columns)


@pytest.mark.parametrize("first", ["a,b,c,d", "NA,a,b,c", "1a,2a,3a,4a", "2017-01,b,c,d"])
def test_texts_are_names_without_a_word(tmp_path: Path, first: str) -> None:
    values, columns, said = read_told(save(tmp_path, first))
    np.testing.assert_array_equal(values, ROWS)
    assert columns == first.split(",")
    assert not said


@pytest.mark.parametrize("word", ["NA", "?", "-", "null", "#N/A", "", "NaN", "nan", "None", "."])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_word_for_a_missing_value_among_numbers_is_data(
    tmp_path: Path, word: str, place: int
) -> None:
    first = ["0.1", "0.2", "0.3", "0.4"]
    first[place] = word
    path = save(tmp_path, ",".join(first))
    with pytest.raises(DataError, match=rf"'x{place}' has 1 missing value, .* in row 0 .*--header"):
        read_told(path)
    if word:
        values, columns, _ = read_told(path, header=True)
        np.testing.assert_array_equal(values, ROWS)
        assert columns == first


def test_a_defect_among_numbers_is_data(tmp_path: Path) -> None:
    for word in ("<0.01", "0.4a", "12%", "n/d"):
        with pytest.raises(
            DataError, match=r"'x3' has 1 (text|missing value).*in row 0 .*--header"
        ):
            read_told(save(tmp_path, f"0.1,0.2,0.3,{word}"))
    with pytest.warns(NarrowsWarning, match="thousands separator"):
        values, columns = read_table(save(tmp_path, '0.1,0.2,0.3,"1,000"'))
    assert values[0].tolist() == [0.1, 0.2, 0.3, 1000]
    assert columns == ["x0", "x1", "x2", "x3"]
    assert len(values) == 31


@pytest.mark.parametrize(
    ("first", "rows", "said"),
    [
        ("0.5,0.25,0.31,0.44", ROWS, False),
        ("0,0,1,0", ROWS.round(1), False),
        ("0.1,0.2,0.3,0.4", ROWS, True),
        ("5,3,9,2", ROWS, True),
        ("3,4,5,6", WHOLE, True),
        ("5,3,9,2", WHOLE, False),
        ("0,0,0,0", WHOLE, False),
        ("1900,1950,2010,2050", WHOLE * 20 + 1800, True),
        ("1,2,3,4,5,6", RANKS, False),
        ("1,3,4,8,11,12", np.sort(np.random.default_rng(0).integers(0, 17, (30, 6)), 1), False),
        ("0,1,2,3", np.arange(4) + np.arange(1, 30)[:, None], False),
        ("2017,2018,2019,2020", np.arange(2018, 2022) + np.arange(29)[:, None], False),
        ("10,200,3000,40000", ROWS * [10, 200, 3000, 40000], True),
        ("1,0", np.random.default_rng(0).integers(0, 2, (30, 2)) + 0.5, True),
        ("1,2,3", WHOLE[:, :3], False),
        ("3", WHOLE[:, :1], False),
        ("0", WHOLE[:, :1], False),
        ("0.5", ROWS[:, :1], False),
    ],
)
def test_numbers_like_the_rows_below_are_data(
    tmp_path: Path, first: str, rows: NDArray[np.generic], said: bool
) -> None:
    if not said:
        values, columns = read_table(save(tmp_path, first, rows))
    else:
        with pytest.warns(NarrowsWarning, match="taken for data.*--header"):
            values, columns = read_table(save(tmp_path, first, rows))
    np.testing.assert_array_equal(values, [list(map(float, first.split(","))), *rows.tolist()])
    assert columns == [f"x{place}" for place in range(values.shape[1])]


@pytest.mark.parametrize(
    ("first", "rows", "is_named"),
    [
        ("0,1,2,3", WHOLE, True),
        ("0,1", ROWS[:, :2], True),
        ("0", ROWS[:, :1], True),
        ("2020", ROWS[:, :1], True),
        ("2019,2020", ROWS[:, :2], True),
        ("400,401,402,403", ROWS[:1], True),
        ("0.1,0.2,0.3,0.4", ROWS[:1], False),
        ("0,1,2", WHOLE[:, :3], False),
        ("2017,2018,2019,2020", WHOLE * 20 + 1900, True),
        ("400,410,420,430,440", np.random.default_rng(0).integers(0, 4096, (30, 5)), True),
        ("1,2,5,9,14,20,27,90", np.random.default_rng(0).integers(0, 99, (30, 8)), True),
        ("1,2,3,4", WHOLE, False),
        ("7", ROWS[:, :1], False),
    ],
)
def test_what_may_be_either_is_said(
    tmp_path: Path, first: str, rows: NDArray[np.generic], is_named: bool
) -> None:
    path = save(tmp_path, first, rows)
    values, columns, said = read_told(path)
    assert len(values) == len(rows) + (not is_named)
    assert (columns == first.split(",")) == is_named
    assert ("taken for column names, as" in said) == is_named
    assert ("taken for data, though" in said) == (not is_named)
    for header in (True, False):
        values, columns, said = read_told(path, header)
        assert len(values) == len(rows) + (not header)
        assert (columns == first.split(",")) == header
        assert not said


@given(
    st.integers(2, 8),
    st.integers(1, 30),
    st.sampled_from(["normal", "whole", "spectrum", "sparse", "rising"]),
    st.integers(0, 2**31),
)
def test_a_table_without_names_loses_no_row_in_silence(
    tmp_path_factory: pytest.TempPathFactory,
    width: int,
    count: int,
    kind: str,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    rows = {
        "normal": lambda: generator.normal(size=(count, width)).round(3) + 0.0005,
        "whole": lambda: generator.integers(0, 256, (count, width)),
        "spectrum": lambda: generator.uniform(0, 1, (count, width)).cumsum(1),
        "sparse": lambda: generator.poisson(0.2, (count, width)),
        "rising": lambda: np.arange(count)[:, None] * 1.5 + np.arange(width),
    }[kind]()
    path = save(tmp_path_factory.mktemp("t"), "", rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values, _ = read_table(path)
    if len(values) == len(rows):
        np.testing.assert_array_equal(values, rows)
    else:
        assert caught


def test_the_model_s_names_decide(tmp_path: Path) -> None:
    path = save(tmp_path, "0,1,2,3", WHOLE)
    with pytest.warns(NarrowsWarning, match="taken for column names"):
        model = Autoencoder(2, max_epochs=1, random_state=0).fit(path)
    assert model.feature_names_in_.tolist() == ["0", "1", "2", "3"]
    codes = model.transform(path)  # without a warning
    assert len(codes) == 30
    # Rows that would be taken for data by themselves.
    few = save(tmp_path, "0,1,2,3", np.arange(4) + np.arange(1, 5)[:, None])
    assert len(model.transform(few)) == 4
    assert read_told(few)[1] == ["x0", "x1", "x2", "x3"]
    with pytest.raises(DataError, match=r"columns of the table .* are not those"):
        model.transform(save(tmp_path, "", WHOLE))
    # Said to be without names, the columns are taken in their order.
    values, columns, said = read_told(save(tmp_path, "", WHOLE), False, ["0", "1", "2", "3"])
    assert (len(values), columns, said) == (30, ["0", "1", "2", "3"], "")


def test_a_model_of_columns_without_names_takes_numbers_for_data(tmp_path: Path) -> None:
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(save(tmp_path, ""))
    model.save(tmp_path / "model")
    model = load(tmp_path / "model")
    assert model.feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]
    path = save(tmp_path, "400,401,402,403")
    with pytest.warns(NarrowsWarning, match="taken for data, though its numbers rise evenly"):
        assert len(model.transform(path)) == 31
    with pytest.raises(DataError, match=r"columns of the table .* are not those"):
        model.transform(save(tmp_path, "a,b,c,d"))


def test_half_of_the_names_are_enough(tmp_path: Path) -> None:
    path = save(tmp_path, "3,1,2,9")
    assert read_told(path, known=["1", "2", "3"])[1] == ["3", "1", "2", "9"]
    assert len(read(path, known=["1", "2", "3"]).values) == 30
