"""Tables come in as numbers with named columns, or say which value in which row is none."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pyarrow import parquet

from narrows.data.formats import TABLE_SUFFIXES
from narrows.data.tables import read_columns, read_table, write_table
from narrows.errors import (
    DataError,
    MissingFileError,
    NarrowsWarning,
    ParameterError,
    UnreadableFileError,
)

SUFFIXES = sorted(TABLE_SUFFIXES)


def table(folder: Path, text: str | bytes, suffix: str = ".csv") -> Path:
    path = folder / f"table{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@given(
    st.sampled_from(SUFFIXES),
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
)
def test_every_finite_float_survives_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, values: NDArray[np.floating]
) -> None:
    path = tmp_path_factory.mktemp("table") / f"table{suffix}"
    names = [f"a {letter}, quoted" for letter in "vwxyz"[: values.shape[1]]]
    write_table(path, values, names)
    read, columns = read_table(path)
    assert columns == names
    np.testing.assert_array_equal(read.astype(values.dtype), values)


@pytest.mark.parametrize(
    ("text", "columns", "values"),
    [
        ("a,b\n1,2\n3,4.5\n", ["a", "b"], [[1, 2], [3, 4.5]]),
        ("1,2.5\n3,4\n", ["x0", "x1"], [[1, 2.5], [3, 4]]),
        ("0\n3\n", ["x0"], [[0], [3]]),
        ("a,b\r\n1e3,-2.\r\n", ["a", "b"], [[1000, -2]]),
        ('\ufeff"a, b",c\n1,2\n2,0\n', ["a, b", "c"], [[1, 2], [2, 0]]),
        ("a,b\ntrue,false\ntrue,true\n", ["a", "b"], [[1, 0], [1, 1]]),
    ],
)
def test_first_line_names_columns_or_is_data(
    tmp_path: Path, text: str, columns: list[str], values: list[list[float]]
) -> None:
    for suffix, separated in ((".csv", text), (".tsv", text.replace(",", "\t"))):
        read, names = read_table(table(tmp_path, separated, suffix))
        assert names == [name.replace(",", "\t") if suffix == ".tsv" else name for name in columns]
        assert read.tolist() == values


def test_rows_may_be_long(tmp_path: Path) -> None:
    path = table(tmp_path, ",".join(["0." + "1" * 1000] * 2000) + "\n")  # 2 MB
    values, _ = read_table(path)
    assert values.shape == (1, 2000)
    np.testing.assert_allclose(values, 1 / 9)


def test_a_late_fraction_does_not_spoil_a_column_of_integers(tmp_path: Path) -> None:
    path = table(
        tmp_path, "a,b\n" + "1,2\n" * 300_000 + "0.5,3\n"
    )  # more than Arrow looks at first
    values, _ = read_table(path)
    assert values.shape == (300_001, 2)
    assert values[-1].tolist() == [0.5, 3]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DataError, "holds no rows"),
        ("\n\n", DataError, "holds no rows"),
        ("a,b\n", DataError, "holds no rows"),
        ("a,b", DataError, "holds no rows"),
        (
            "a,b\n1,2\n3\n",
            UnreadableFileError,
            "row 1, counted from 0, has 1 values where 2 are expected",
        ),
        ("a,b\n1,2\n3,4,5\n", UnreadableFileError, "row 1, counted from 0, has 3 values where 2"),
        ("1,2\n3,4\n5\n", UnreadableFileError, "row 2, counted from 0, has 1 values where 2"),
        (
            "a,b\n1,2\n3,red\n",
            DataError,
            r"'b' has 1 text, the first 'red' in row 1 \(rows are counted from 0\); only numbers",
        ),
        (
            "a,b\n1,2\n3,4\n,6\n",
            DataError,
            r"'a' has 1 missing value, the first one in row 2 \(rows are counted from 0\)",
        ),
        ("a,b\n1,2\nNaN,4\n", DataError, "'a' has 1 missing value, the first one in row 1"),
        ("a,b\n,x\n", DataError, "'a' has 1 missing .* in row 0; 'b' has 1 text, the first 'x'"),
        ("a,b\n1,2020-01-31\n", DataError, r"'b' has dates or times of type date32\[day\]"),
        (",b\n0,2\n", DataError, "column 1 has no name; .*index=False"),
        ("a,a\n1,2\n", DataError, "'a' is the name of columns 1, 2; name each differently"),
        (b"a,b\n\x81\xfe,2\n", UnreadableFileError, "it is not in UTF-8 .byte 0x81 in line 2"),
        ('"a\nb"\nred\n', DataError, r"'a\\nb' has 1 text"),
    ],
)
@pytest.mark.cases
def test_tables_that_are_no_numbers_are_refused_in_one_line(
    tmp_path: Path, text: str | bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        read_table(table(tmp_path, text))
    assert str(caught.value).startswith(f"'{tmp_path}")
    assert "\n" not in str(caught.value)


def test_parquet_types_decide_the_precision(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    small = {"a": np.array([True, False]), "b": np.uint8([1, 255]), "c": np.float32([0.5, 1])}
    parquet.write_table(pa.table(small), path)
    values, columns = read_table(path)
    assert values.dtype == np.float32
    assert columns == ["a", "b", "c"]
    assert values.tolist() == [[1, 1, 0.5], [0, 255, 1]]
    parquet.write_table(pa.table(small | {"d": [2**40, 1]}), path)
    assert read_table(path)[0].dtype == np.float64


def test_parquet_may_hold_decimals(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    parquet.write_table(pa.table({"price": [Decimal("1.50"), Decimal("2.25")]}), path)
    assert read_table(path)[0].tolist() == [[1.5], [2.25]]


def test_index_of_pandas_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.Categorical([3, 4])}, index=["first", "second"])
    frame.to_parquet(path)
    values, columns = read_table(path)
    assert columns == ["a", "b"]
    assert values.tolist() == [[1, 3], [2, 4]]


@pytest.mark.cases
def test_an_index_that_became_a_column_is_said(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": [3, 4]})
    frame.to_csv(path)
    with pytest.raises(DataError, match=r"column 1 has no name; .*index=False"):
        read_table(path)
    pd.read_csv(path).to_csv(path, index=False)
    with pytest.warns(NarrowsWarning, match="column 'Unnamed: 0' of .* counts the rows"):
        assert read_table(path)[1] == ["Unnamed: 0", "a", "b"]


def test_parquet_of_other_things_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    for column, message in (
        (["red", "blue"], "'a' has 2 texts, the first 'red' in row 0"),
        (pa.array(["red"]).dictionary_encode(), "'a' has 1 text, the first 'red' in row 0"),
        (pa.array([], pa.float64()), "holds no rows"),
        ([[1], [2]], "'a' has lists of type list<.*>"),
        ([1.5, None], "'a' has 1 missing value, the first one in row 1"),
        ([1.5, np.nan], "'a' has 1 missing value, the first one in row 1"),
        ([np.inf, 1.5], "'a' has 1 infinite value, the first one in row 0"),
        ([2**53 + 1, 1], r"'a' has 1 integer beyond 2\^53 .* in row 0"),
        ([Decimal(2**53 + 1)], r"'a' has 1 integer beyond 2\^53 .* in row 0"),
    ):
        parquet.write_table(pa.table({"a": column}), path)
        with pytest.raises(DataError, match=message):
            read_table(path)
    equal = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    parquet.write_table(equal, path)
    for function in (read_table, read_columns):
        with pytest.raises(DataError, match="'a' is the name of columns 1, 2; name each"):
            function(path)
    whole = path.read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match="is not a readable Parquet table"):
            read_table(path)


def test_missing_tables_are_missing(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        with pytest.raises(MissingFileError, match="does not exist; give a table"):
            read_table(tmp_path / f"absent{suffix}")


def test_columns_and_names_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(
        ParameterError, match="columns has 1 names for 2 columns; give one for each"
    ):
        write_table(path, np.zeros((3, 2)), ["a"])
    with pytest.raises(DataError, match=r"values of shape \(3, 2, 2\) are no table"):
        write_table(path, np.zeros((3, 2, 2)))
    write_table(path, np.array([1.5, 2.5]))
    assert read_table(path)[0].tolist() == [[1.5], [2.5]]
