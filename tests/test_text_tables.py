"""Text tables of all dialects: read right, refused in one line, or said to be a guess."""

import bz2
import gzip
import os
import re
import warnings
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from narrows.data.files import read
from narrows.data.formats import FileOptions
from narrows.data.tables import read_columns, read_table, read_texts
from narrows.data.text_files import open_text
from narrows.errors import (
    DataError,
    NarrowsError,
    NarrowsWarning,
    ParameterError,
    UnreadableFileError,
)

pytestmark = pytest.mark.cases

THREE = [[1.5, 2.5, 3.5], [2.5, 3.5, 4.25]]


def save(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read_warned(path: Path, **options: Any) -> tuple[Any, list[str], list[NarrowsWarning]]:
    """Read a table, and give the warnings beside it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values, columns = read_table(path, FileOptions(**options))
    return values, columns, [one.message for one in caught]  # type: ignore[misc]


DIALECTS = {
    "semicolons, decimal commas": ("a;b;c\n1,5;2,5;3,5\n2,5;3,5;4,25\n", "a.csv"),
    "no names": ("1,5;2,5;3,5\n2,5;3,5;4,25\n", "a.csv"),
    "semicolons": ("a;b;c\n1.5;2.5;3.5\n2.5;3.5;4.25\n", "a.csv"),
    "tabs": ("a\tb\tc\n1.5\t2.5\t3.5\n2.5\t3.5\t4.25\n", "a.csv"),
    "tabs, decimal commas": ("a\tb\tc\n1,5\t2,5\t3,5\n2,5\t3,5\t4,25\n", "a.tsv"),
    "commas in a .tsv": ("a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n", "a.tsv"),
    "pipes": ("a|b|c\n1.5|2.5|3.5\n2.5|3.5|4.25\n", "a.csv"),
    "sep=": ("sep=;\na;b;c\n1,5;2,5;3,5\n2,5;3,5;4,25\n", "a.csv"),
    "a comment": ("# in mm\n\na,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n", "a.csv"),
    "numpy's savetxt": ("1.5e+00 2.5e+00 3.5e+00\n2.5e+00 3.5e+00 4.25e+00\n", "a.csv"),
    "aligned": ("  a    b     c\n 1.5  2.5   3.5 \n 2.5\t3.5  4.25\n", "a.txt"),
    "blanks, decimal commas": ("1,5 2,5 3,5\n2,5 3,5 4,25\n", "a.dat"),
    "commas in a .data": ("1.5,2.5,3.5\n2.5,3.5,4.25\n", "a.data"),
    "trailing": ("a,b,c,\n1.5,2.5,3.5,\n2.5,3.5,4.25,\n", "a.csv"),
    "trailing but for the names": ("a,b,c\n1.5,2.5,3.5,\n2.5,3.5,4.25,\n", "a.csv"),
    "utf-16": ("a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n".encode("utf-16"), "a.csv"),
    "utf-16 without a mark": ("a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n".encode("utf-16-be"), "a.csv"),
    "utf-32": ("a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n".encode("utf-32"), "a.csv"),
    "quoted decimal commas": ('"1,5","2,5","3,5"\n"2,5","3,5","4,25"\n', "a.csv"),
    "numbers of Switzerland": ("a;b;c\n1.5;2.5;3.5\n2.5;3.5;4.25\n", "a.csv"),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_what_is_certain_is_read_and_said_in_one_line(tmp_path: Path, name: str) -> None:
    content, file = DIALECTS[name]
    values, columns, said = read_warned(save(tmp_path, content, file))
    assert values.tolist() == THREE
    assert columns in (["a", "b", "c"], ["x0", "x1", "x2"])
    assert [one.kind for one in said] == ["format_found"]
    line = str(said[0])
    assert "\n" not in line
    assert len(line) < 500
    assert "--delimiter, --decimal" in line


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n", "a.csv"),
        ("a,b,c\r\n1.5,2.5,3.5\r\n2.5,3.5,4.25\r\n", "a.csv"),
        ("a,b,c\r1.5,2.5,3.5\r2.5,3.5,4.25\r", "a.csv"),
        ("\n\na,b,c\n\n1.5,2.5,3.5\n\n2.5,3.5,4.25\n\n", "a.csv"),
        ('"a","b","c"\n"1.5","2.5","3.5"\n"2.5","3.5","4.25"\n', "a.csv"),
        ("a, b, c\n1.5, 2.5, 3.5\n2.5, 3.5, 4.25\n", "a.csv"),
        ("\ufeffa,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n", "a.csv"),
        ("a\tb\tc\n1.5\t2.5\t3.5\n2.5\t3.5\t4.25\n", "a.tsv"),
        (gzip.compress(b"a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n", mtime=0), "a.csv.gz"),
        # Several archives one after another are one, as bgzip writes them.
        (
            gzip.compress(b"a,b,c\n1.5,2.5,3.5\n", mtime=0)
            + gzip.compress(b"2.5,3.5,4.25\n", mtime=0),
            "a.csv.gz",
        ),
        (bz2.compress(b"a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n"), "a.csv.bz2"),
        (pa.compress(b"a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n", "zstd", asbytes=True), "a.csv.zst"),
        (gzip.compress(b"a,b,c\n1.5,2.5,3.5\n2.5,3.5,4.25\n", mtime=0), "a.csv"),
    ],
)
def test_what_is_usual_is_read_without_a_word(
    tmp_path: Path, content: str | bytes, name: str
) -> None:
    values, columns = read_table(save(tmp_path, content, name))
    assert values.tolist() == THREE
    assert [column.strip() for column in columns] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "options", "values"),
    [
        ('a,b\n"1,000,000",2\n"2,000",5\n', {}, [[1_000_000, 2], [2000, 5]]),
        ('a,b\n"1,000",0.5\n"2,000",5\n', {}, [[1000, 0.5], [2000, 5]]),
        ("a;b\n1.234,5;2\n999;5\n", {}, [[1234.5, 2], [999, 5]]),
        ("a;b\n1.234.567;2\n999;5\n", {}, [[1234567, 2], [999, 5]]),
        ("a;b\n1'234;2\n999;5\n", {}, [[1234, 2], [999, 5]]),
        ("a;b\n1 234,5;2\n999;5\n", {}, [[1234.5, 2], [999, 5]]),
        ("a;b\n1\u202f234;2\n999;5\n", {}, [[1234, 2], [999, 5]]),
        ("a;b\n1,234;2\n2,345;5\n", {"decimal": ","}, [[1.234, 2], [2.345, 5]]),
        ("a;b\n1,234;2\n2,345;5\n", {"thousands": ","}, [[1234, 2], [2345, 5]]),
        ("a;b\n1.234;2\n2.345;5\n", {"thousands": "."}, [[1234, 2], [2345, 5]]),
        ('a,b\n"1,234",2\n"2,345",5\n', {"decimal": "."}, [[1234, 2], [2345, 5]]),
        ("a\n1,5\n2,5\n", {"decimal": ","}, [[1.5], [2.5]]),
        ("a\n1 234\n5 678\n", {"thousands": " "}, [[1234], [5678]]),
        ("1 234\n5 678\n", {"delimiter": "whitespace"}, [[1, 234], [5, 678]]),
    ],
)
def test_marks_of_numbers_are_proven_or_said(
    tmp_path: Path, content: str, options: dict[str, str], values: list[list[float]]
) -> None:
    read, _, said = read_warned(save(tmp_path, content), **options)
    assert read.tolist() == values
    by_commas = "decimal" in options and content.startswith("a,")
    assert bool(said) == (";" in content or not options or by_commas)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a;b\n1,234;2\n999;5\n", r"'1,234' may mean 1\.234 or 1234.*--decimal , or --thousands ,"),
        ('a,b\n"1,000",2\n"2,000",5\n', r"'1,000' may mean 1\.000 or 1000.*--decimal"),
        ("a;b\n1,234;1.234\n", r"'1,234' may mean"),
        ("a;b\n1,5;2\n2,5;1.5\n", r"'a' has 2 texts, the first '1,5' in row 0.*--decimal"),
        ("1 234\n5 678\n", r"'5 678' may be one number or several.*--delimiter"),
        ("a\n1,5\n2,5\n", r"has 1 name, the lines below it have 2 values.*--delimiter, --decimal"),
        ('"a","b"\n"1",0.5,2\n"2",1.5,3\n', r"row names out \(R: row\.names=FALSE\)"),
        ("Report\n\na,b\n1,2\n3,4\n", r"first line has 1 name.*title \(--skip-lines\)"),
        ("Report\n\na,b,c\n1,2,3\n3,4,5\n", r"first line has 1 value.*--skip-lines 1"),
        ("a,b\n1,2\n# note\n3,4\n", r"row 1, counted from 0, has 1 values.*--comment '#'"),
        ("a|b;c\nx|y;z\n", r"may be separated by semicolons or pipes; say which \(--delimiter\)"),
        (b"gr\xf6\xdfe\x81,b\n1,2\n3,5\n", r"not in UTF-8 \(byte 0xF6 in line 1\).*--encoding"),
        (b"a,b\n\x00\x01,2\n", r"holds NUL bytes.*--encoding"),
        (b"PK\x03\x04 what a workbook begins with", r"Excel's \.xlsx"),
        (b"<!DOCTYPE html><html>", r"it is a web page"),
        (b"PAR1 and so on", r"it is a Parquet file"),
        (b"\xfd7zXZ\x00 and so on", r"compressed by xz"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:40], r"Truncated"),
        ("a,b\n12%,$5\n13%,$6\n", r"'a' has 2 texts, the first '12%' in row 0; 'b' has 2 texts"),
        ("a,b\n1_000,2\n", r"'a' has 1 text, the first '1_000' in row 0"),
        ("a,b\n1e999,inf\n2,3\n", r"'a' has 1 infinite value.*'b' has 1 infinite value"),
        ("a\n1\n\n3\n", r"'a' has 1 missing value, the first one in row 1"),
        ('a\n1\n3\n""\n', r"'a' has 1 missing value, the first one in row 2"),
    ],
)
@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
def test_what_is_not_certain_is_refused_in_one_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_table(save(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) - len(str(tmp_path)) < 500


def test_points_that_may_separate_thousands_are_said(tmp_path: Path) -> None:
    for content in ("a;b\n1.234;5\n999;6\n", "a;b\n" + "5;6\n" * 5000 + "1.234;5\n"):
        values, _, said = read_warned(save(tmp_path, content))
        assert values.max() == 999 or values.min() == 1.234
        assert [one.kind for one in said] == ["format_found", "decimal_guessed"]
    for options in ({"decimal": "."}, {"thousands": "."}):
        values, _, said = read_warned(save(tmp_path, "a;b\n1.234;5\n999;6\n"), **options)
        assert values[0, 0] == (1.234 if "decimal" in options else 1234)
        assert [one.kind for one in said] == ["format_found"]
    # One number that cannot be thousands proves the rest, wherever it is.
    _, _, said = read_warned(save(tmp_path, "a;b\n1.234;5\n" + "9;6\n" * 5000 + "1.5;5\n"))
    assert [one.kind for one in said] == ["format_found"]


@pytest.mark.parametrize(
    ("start", "late", "message"),
    [
        ("a;b\n", "1,5;2\n", r"'a' has 1 text, the first '1,5' in row 3000.*--decimal"),
        ("a;b\n0,5;1\n", "1.234;2\n", r"'a' has 1 text, the first '1\.234' in row 3001"),
        ("a;b\n1.234,5;1\n", "1.23;2\n", r"'a' has 1 text, the first '1\.23' in row 3001"),
        ("a;b\n1.234,5;1\n", "0.123;2\n", r"'a' has 1 text, the first '0\.123' in row 3001"),
        ("a;b\n", "1;2;3\n", r"row 3000, counted from 0, has 3 values where 2"),
        ("a;b;\n", "1;2;3\n", r"row 3000, counted from 0"),
        ("a;b\n", "#;2\n", r"'a' has 1 text, the first '#' in row 3000"),
    ],
)
@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
def test_what_later_rows_contradict_is_refused_by_row(
    tmp_path: Path, start: str, late: str, message: str
) -> None:
    usual = "5;6;\n" if start.startswith("a;b;") else "5;6\n"
    path = save(tmp_path, start + usual * 3000 + late)
    with pytest.raises(DataError, match=message):
        read_table(path)


@given(data=st.data())
def test_no_dialect_is_read_wrong_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    decimal = data.draw(st.sampled_from(".,"))
    thousands = data.draw(st.sampled_from(["", "." if decimal == "," else ",", "'", "\u202f"]))
    delimiter = data.draw(st.sampled_from(";\t|, "))
    quote = data.draw(st.booleans()) or delimiter in (decimal, thousands)
    numbers = st.decimals(-9999999, 9999999, places=data.draw(st.integers(0, 4)))
    whole = st.integers(-9999999, 9999999).map(Decimal)
    width = data.draw(st.integers(1, 4))
    rows = data.draw(
        st.lists(st.lists(numbers | whole, min_size=width, max_size=width), min_size=1, max_size=6)
    )

    def written(number: Decimal) -> str:
        text = f"{number:,}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        return f'"{text}"' if quote else text

    lines = [[written(number) for number in row] for row in rows]
    has_names = data.draw(st.booleans())
    if has_names:
        lines.insert(0, [f"{letter}x" for letter in "abcd"[:width]])
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = "".join(f"{delimiter.join(line)}{end}" for line in lines)
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    suffix = data.draw(st.sampled_from([".csv", ".tsv", ".txt"]))
    path = save(tmp_path_factory.mktemp("t"), text.encode(encoding), f"table{suffix}")
    truth = np.array(rows, np.float64)
    options = {
        "delimiter": delimiter,
        "decimal": decimal,
        "thousands": thousands or None,
        "encoding": encoding,
        "header": has_names,
    }
    values, columns, _ = read_warned(path, **options)
    np.testing.assert_array_equal(values, truth)
    assert len(columns) == width
    with suppress(NarrowsError):
        values, _, said = read_warned(path)
    if values.shape != truth.shape or not (values == truth).all():
        assert said, text
        guesses = {"header_guessed", "decimal_guessed", "delimiter_guessed"}
        assert {one.kind for one in said} & guesses, (text, said)


@given(
    st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
             min_size=2, max_size=8),
    st.sampled_from([",", ";", "\t", "|", " "]),
    st.sampled_from([".", ","]),
    st.sampled_from(["utf-8", "utf-16", "cp1252"]),
)  # fmt: skip
def test_what_pandas_writes_is_read_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[float]],
    delimiter: str,
    decimal: str,
    encoding: str,
) -> None:
    frame = pd.DataFrame(rows, columns=["größe", "b c", "c"])
    path = tmp_path_factory.mktemp("t") / "table.csv"
    frame.to_csv(path, index=False, sep=delimiter, decimal=decimal, encoding=encoding)
    values, columns, _ = read_warned(
        path, delimiter=delimiter, decimal=decimal, encoding=encoding, header=True
    )
    assert columns == list(frame.columns)
    np.testing.assert_array_equal(values, frame.to_numpy())


def test_options_do_what_pandas_does(tmp_path: Path) -> None:
    text = "a title\nwidth;height\n! skipped\n1.000,5;2\n! skipped too\n3;4,25\n"
    path = save(tmp_path, text)
    options = {"skip_lines": 1, "comment": "!", "delimiter": ";", "decimal": ",", "thousands": "."}
    values, columns, _ = read_warned(path, **options)
    truth = pd.read_csv(path, skiprows=1, comment="!", sep=";", decimal=",", thousands=".")
    assert columns == list(truth.columns)
    np.testing.assert_array_equal(values, truth.to_numpy())
    _, columns, _ = read_warned(path, **options | {"header": None})
    assert columns == ["width", "height"]
    path = save(tmp_path, "# x\n# y\n  1   2\n# z\n3 4\n", "table.txt")
    values, columns, _ = read_warned(path, comment="#")
    np.testing.assert_array_equal(values, np.loadtxt(path))
    assert columns == ["x0", "x1"]


def test_names_may_be_in_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    np.savetxt(path, THREE, header="a b c")
    values, columns, said = read_warned(path)
    assert values.tolist() == THREE
    assert columns == ["a", "b", "c"]
    assert "without 1 comment line" in str(said[0])
    _, columns, _ = read_warned(save(tmp_path, "# unit: mm, rate: 5, x\n1,2,3\n4,5,6\n"))
    assert columns == ["x0", "x1", "x2"]


def test_names_in_latin_1_are_guessed_and_texts_are_not(tmp_path: Path) -> None:
    path = save(tmp_path, "größe,b\n1,2\n3,5\n".encode("latin-1"))
    values, columns, said = read_warned(path)
    assert values.tolist() == [[1, 2], [3, 5]]
    assert columns == ["größe", "b"]
    assert "in cp1252, as it is not in UTF-8 (byte 0xF6 in line 1)" in str(said[0])
    _, _, said = read_warned(path, encoding="latin-1")
    assert not said
    with pytest.raises(UnreadableFileError, match=r"not in UTF-8.*--encoding"):
        read_columns(path)
    assert read_columns(path, FileOptions(encoding="latin-1")).column_names == ["größe", "b"]
    late = save(tmp_path, b"a,b\n" + b"1,x\n" * 200_000 + b"2,\xf6\n")
    for function in (read_columns, read_texts):
        with pytest.raises(UnreadableFileError, match=r"UTF-?8"):
            function(late)


def test_columns_of_other_kinds_hold_numbers_as_tables_of_numbers_do(tmp_path: Path) -> None:
    path = save(tmp_path, "name;price;n\na;1.000,50;1\nb;;2\nc;2,25;3\n")
    with pytest.warns(NarrowsWarning, match="with decimal commas, with '.' as thousands"):
        found = read_columns(path).to_pydict()
    assert found == {"name": ["a", "b", "c"], "price": [1000.5, None, 2.25], "n": [1, 2, 3]}


def test_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    path = save(tmp_path, 'label;n\n007;"a;b"\nNA;\n1,50;x\n')
    with pytest.warns(NarrowsWarning, match="separated by semicolons; --delimiter"):
        names, rows = read_texts(path)
    assert names == ["label", "n"]
    assert rows == [["007", "a;b"], ["NA", ""], ["1,50", "x"]]


@pytest.mark.parametrize(
    ("content", "name", "wrong"),
    [
        ("id,x\n9007199254740993,1\n2,3\n", "id", True),
        ("id,x\n9007199254740992,1\n2,3\n", "id", False),
        ("id,x\n-9007199254740993,1\n2,3\n", "id", True),
        ("id,x\n9223372036854775807,1\n2,3\n", "id", True),
        ("id,x\n9223372036854775808,1\n2,3\n", "id", False),
        ("id,x\n18446744073709551615,1\n2,3\n", "id", True),
        ("id,x\n123456789012345678901234567890,1\n2,3\n", "id", True),
        ("id,x\n9007199254740993,1\n2.5,3\n", "id", True),
        ("id,x\n1.5e+300,1\n2.5,3\n", "id", False),
        ("id,x\n0.1234567890123456789,1\n2.5,3\n", "id", False),
    ],
)
def test_integers_that_float64_cannot_represent_are_refused(
    tmp_path: Path, content: str, name: str, wrong: bool
) -> None:
    path = save(tmp_path, content)
    if wrong:
        with pytest.raises(DataError, match=rf"'{name}' has 1 integer beyond 2\^53 .* in row 0"):
            read_table(path)
    else:
        np.testing.assert_array_equal(read_table(path)[0], pd.read_csv(path).astype(float))


def test_all_bad_columns_are_named_at_once(tmp_path: Path) -> None:
    text = "city,age,,age,when,ok,n\n"
    text += "".join(
        f"Rome,{i},1,2,2020-01-0{i + 1},{i}.5,{'?' if i > 2 else i}\n" for i in range(5)
    )
    with pytest.raises(DataError) as caught:
        read_table(save(tmp_path, text))
    line = str(caught.value)
    for words in (
        "'city' has 5 texts, the first 'Rome' in row 0",
        "'age' is the name of columns 2, 4",
        "column 3 has no name",
        "'when' has dates or times",
        "and 1 more of the 7 columns",
        "index=False",
    ):
        assert words in line
    assert "\n" not in line
    assert len(line) - len(str(tmp_path)) < 500
    many = ",".join(f"column{i}" for i in range(300))
    path = save(tmp_path, f"{many}\n{','.join(['x' * 50] * 300)}\n")
    with pytest.raises(DataError, match="more of the 300 columns") as caught:
        read_table(path)
    assert len(str(caught.value)) - len(str(tmp_path)) < 500


def test_missing_values_are_counted_and_shown(tmp_path: Path) -> None:
    for word in ("NA", "?", "-", "null", "#N/A", "n.a.", "NaN", "", ".", "\\N"):
        path = save(tmp_path, f"a,b\n1,2\n{word},4\n5,6\n{word},8\n")
        with pytest.raises(DataError, match=r"'a' has 2 missing values, the first .* in row 1 "):
            read_table(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ";;"}, "delimiter=';;' is not allowed"),
        ({"delimiter": "5"}, "delimiter='5' is not allowed"),
        ({"decimal": ";"}, r"decimal=';' is not allowed \(--decimal\); give \. or ,"),
        ({"thousands": "x"}, "thousands='x' is not allowed"),
        ({"thousands": "."  , "decimal": "."}, "give another than the decimal mark"),
        ({"encoding": "klingon"}, "encoding='klingon' is not allowed"),
        ({"encoding": "zip"}, "encoding='zip' is not allowed"),
        ({"header": "yes"}, r"header='yes' is not allowed \(--header/--no-header\)"),
        ({"comment": ""}, "comment='' is not allowed"),
        ({"skip_lines": -1}, "skip_lines=-1 is not allowed"),
    ],
)  # fmt: skip
def test_options_that_are_none_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        FileOptions(**options)


def test_options_for_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    with pytest.raises(ParameterError, match=r"decimal=',' is for text tables.*'.*a\.npy' is none"):
        read(tmp_path / "a.npy", options=FileOptions(decimal=","))
    path = save(tmp_path, "a\n1\n")
    with pytest.raises(ParameterError, match=r"array='X' is for \.npz files"):
        read(path, options=FileOptions(array="X"))


def test_hostile_lines_are_refused_soon(tmp_path: Path) -> None:
    for content in (
        b"1" * 300_000,
        b"1,1" * 100_000 + b"x",
        b"9'999" * 60_000,
        b'"' * 200_001,
        b'"a' + b"\n" * 100_000,
        b"#\n" * 150_000,
        b" " * 300_000,
        b"sep=" * 80_000,
    ):
        path = save(tmp_path, content)
        with pytest.raises(DataError) as caught:
            read_table(path)
        assert "\n" not in str(caught.value)


def test_a_file_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("narrows.containment.available", lambda: 1 << 20)
    rows = b"0.5,0.25\n" * 300_000
    for content, name in ((rows, "a.csv"), (gzip.compress(rows, mtime=0) * 30, "a.csv.gz")):
        with pytest.raises(DataError, match=r"would take .* GB of memory.*\.npy"):
            read_table(save(tmp_path, content, name))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_an_opened_text_is_read_as_a_file_is(tmp_path: Path, encoding: str, pack: Any) -> None:
    text = "".join(f"{number},\u00fc\n" for number in range(100_000))
    path = save(tmp_path, pack(text.encode(encoding)))
    file = open_text(path, encoding)
    with file.open() as source:
        assert source.read().decode() == text
        assert source.read(1) == b""
    with file.open() as source:
        parts = [source.read(7), source.read(0), source.read(1 << 19), source.read()]
    assert b"".join(parts).decode() == text
    assert [len(part) for part in parts[:3]] == [7, 0, 1 << 19]
    lines = file.open(lambda lines: (line.upper() for line in lines))
    with lines:
        assert lines.read(-1).decode() == text.upper()
    assert lines.closed


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells open files on Linux alone")
@pytest.mark.parametrize(("encoding", "pack"), [("utf-8", gzip.compress), ("utf-16", bytes)])
def test_closing_an_opened_text_closes_its_file(tmp_path: Path, encoding: str, pack: Any) -> None:
    def is_open() -> bool:
        fds = Path("/proc/self/fd").iterdir()
        return any(os.path.realpath(fd) == str(path.resolve()) for fd in fds)

    path = save(tmp_path, pack("1,2\n".encode(encoding)))
    source = open_text(path, encoding).open()
    source.read(1)
    assert is_open()
    source.close()
    assert not is_open()


def test_long_rows_and_long_names_are_read(tmp_path: Path) -> None:
    names = [f"column {i} of many" for i in range(5_000)]
    text = ";".join(names) + "\n" + "\n".join(";".join(["1,5"] * 5_000) for _ in range(3))
    values, columns, _ = read_warned(save(tmp_path, text))
    assert columns == names
    assert values.shape == (3, 5_000)
    assert (values == 1.5).all()


def test_values_may_go_on_in_the_next_line(tmp_path: Path) -> None:
    rows = '"a\nb",1\n"c",2\n' * 200_000
    found = read_columns(save(tmp_path, f'"na\nme",n\n{rows}'))
    assert found.num_rows == 400_000
    assert found.column_names == ["na\nme", "n"]
    assert found["n"].to_pylist()[-3:] == [2, 1, 2]


def test_files_of_other_endings_are_read(tmp_path: Path) -> None:
    text = "1.5 2.5 3.5\n2.5 3.5 4.25\n"
    for suffix in (".txt", ".dat", ".data", ".asc", ".tab", ".txt.gz"):
        content = gzip.compress(text.encode(), mtime=0) if suffix.endswith("gz") else text
        with pytest.warns(NarrowsWarning, match="separated by whitespace"):
            rows = read(save(tmp_path, content, f"table{suffix}"))
        assert rows.values.tolist() == THREE
    prose = save(tmp_path, "This is no table.\nIt has two lines, both of words.\n", "notes.txt")
    with pytest.raises(DataError, match=re.escape(str(prose))):
        read(prose)
