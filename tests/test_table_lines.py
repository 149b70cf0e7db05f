"""What a message says of a table that is spoilt by a line, by a column, or by what separates it."""

import re
from pathlib import Path

import pytest

from narrows.data.formats import FileOptions
from narrows.data.tables import read_table
from narrows.errors import DataError, DataTypeError, NarrowsWarning, UnreadableFileError

BODY = [f"{row},{row * 1.5}" for row in range(12)]


def save(folder: Path, lines: list[str], name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["time,temp", "s,degC", *BODY], "row 0, .*2 columns of numbers.*'s'.*remove that line"),
        (["time,temp", "[s],[K]", ",", *BODY], "rows 0 and 1, .*remove these lines"),
        (["a,b", *BODY, "a,b", *BODY], "row 12, .*2 columns of numbers.*remove that line"),
        (["a,b", *BODY, "Total,198"], "row 12, .*1 column of numbers.*'Total'.*remove that line"),
        (["a,b", *BODY, "mean,8.25", "sd,5.4"], "rows 12 and 13, .*remove these lines"),
    ],
)
def test_a_line_that_is_no_row_is_to_be_removed(tmp_path: Path, lines: list[str], words: str):
    with pytest.raises(DataTypeError, match=words) as refused:
        read_table(save(tmp_path, lines))
    assert "columns from the file" not in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a,b", *BODY, "12,high", *BODY], "'b' has 1 text"),
        (["a,b", "low,1", *BODY, "12,high"], "'a' has 1 text.*'b' has 1 text"),
        (["day,b", *(f"2020-01-0{row},1" for row in range(1, 9))], "dates or times"),
        (["a,a", "s,m", *BODY], "'a' is the name of columns 1, 2"),
        (["a,b", "1,x"], "'b' has 1 text"),
    ],
)
def test_a_value_that_is_no_number_is_one_of_its_column(
    tmp_path: Path, lines: list[str], words: str
):
    with pytest.raises(DataError, match=f"{words}.*or remove the columns from the file"):
        read_table(save(tmp_path, lines))


@pytest.mark.parametrize("header", ["a\tb", "a\tb\t"])
@pytest.mark.parametrize("name", ["table.tsv", "table.txt"])
def test_a_trailing_delimiter_is_left_out(tmp_path: Path, header: str, name: str) -> None:
    body = [f"{row}\t{row * 1.5}\t" for row in range(12)]
    with pytest.warns(NarrowsWarning, match="without the trailing delimiter of each line"):
        values, columns = read_table(save(tmp_path, [header, *body], name))
    assert columns == ["a", "b"]
    assert values.tolist() == [[row, row * 1.5] for row in range(12)]


@pytest.mark.parametrize("line", ["{0}:{1}", "1 1:{0} 2:{1}", " {0}.5D+02  -{1}.0D-3", "row{0}"])
@pytest.mark.parametrize("name", ["table.csv", "table.txt"])
def test_values_without_a_known_delimiter(tmp_path: Path, line: str, name: str) -> None:
    path = save(tmp_path, [line.format(row, 2 * row) for row in range(12)], name)
    words = r"holds lines such as .* whole or split at commas, .*, whitespace; give the delimiter"
    with pytest.raises(DataTypeError, match=words):  # and no warning about commas
        read_table(path)


@pytest.mark.parametrize(
    ("content", "option", "value"),
    [
        ("a,b\n1,\0\n3,4\n", "encoding", "utf-8"),
        ("a,b\n1,\xe9\n3,4\n", "encoding", "ascii"),
        ("a,b\n1,2\n3,4\n5,6,7\n8,9\n", "delimiter", ","),
        ("a,b,c\n1,2,3,4,5\n3,4,5,6,7\n5,6,7,8,9\n", "delimiter", ","),
        ("a,b,c\n1,2,3,4\n3,4,5,6\n5,6,7,8\n", "delimiter", ","),
        ("a\nx:y\nz:w\n", "delimiter", ","),
        ("a,b\n" + "1,2\n" * 60000 + "'1,5',2\n".replace("'", '"'), "decimal", "."),
    ],
)
def test_a_remedy_names_no_option_that_was_given(
    tmp_path: Path, content: str, option: str, value: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(DataError) as refused:
        read_table(path, FileOptions(**{option: value}))
    said = re.sub("give another encoding .--encoding.", "", str(refused.value))
    assert f"--{option}" not in said


@pytest.mark.filterwarnings("ignore:columns of .* were read as numbers")  # such as '05'
@pytest.mark.parametrize(
    "lines",
    [
        [f"{row},52,{row + 1},37,-{row + 4},11" for row in range(12)],
        ["1,05,2,5", "3,5,12,25"],  # no integer begins with 0
    ],
)
def test_commas_that_may_be_delimiters_and_decimal_marks(tmp_path: Path, lines: list[str]) -> None:
    count = lines[0].count(",") + 1
    words = (
        f"{count} values separated by commas; if they are {count // 2} numbers with decimal commas"
    )
    with pytest.warns(NarrowsWarning, match=words) as said:
        values, _ = read_table(save(tmp_path, lines))
    assert said[0].message.kind == "delimiter_guessed"
    assert values.shape[1] == count
    width = count // 2
    named = [",".join("abcdef"[:width]), *lines, *lines]
    with pytest.raises(UnreadableFileError, match=f"has {width} values.*decimal commas too"):
        read_table(save(tmp_path, named))


@pytest.mark.parametrize(
    "lines",
    [
        [f"{row + 20},{row + 40},{row + 60},{row + 80}" for row in range(12)],  # of two digits all
        [f"{row},{row % 3},{row * row},7" for row in range(12)],
        [f"{row},{row * 5},{row * 7},{row * 11}" for row in range(12)],
        [f"{row},52.5,{row},37" for row in range(12)],
        ["a,b,c,d", *(f"{row},52,{row},37" for row in range(12))],
    ],
)
def test_integers_between_commas_are_columns(tmp_path: Path, lines: list[str]) -> None:
    assert read_table(save(tmp_path, lines))[0].shape[1] == 4  # and nothing is said
