"""Tables of every library, type and spelling: read as what they hold, refused, or left out."""

import datetime as dt
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse

from narrows import Autoencoder, TableAutoencoder
from narrows.data.codes import CodesAsNumbers
from narrows.data.columns import Column
from narrows.data.extremes import find_extremes
from narrows.data.frames import read_file, read_frame
from narrows.errors import (
    DataError,
    DataTypeError,
    MissingDependencyError,
    NarrowsWarning,
    ParameterError,
)

SEED = 20261130
N = 60


def exact(**parameters):
    """Return a model whose code is as wide as the row: PCA, which restores every row."""
    inner = Autoencoder(64, hidden_layer_sizes=(), activation="identity")
    return TableAutoencoder(inner, **{"random_state": SEED, **parameters})


def numbers():
    return np.random.default_rng(SEED).normal(50, 10, N).round(2)


def column_of(texts, name="c"):
    """Return what a column of texts of a file holds, beside one of numbers."""
    frame = read_frame(pa.table({name: texts, "x": np.arange(len(texts)) % 7 / 4}))
    return Column.find(name, frame.columns[0]), frame.columns[0]


DAYS = [dt.datetime(2024, m, d, 15, 4, 5, 250_000) for m in (1, 3, 12) for d in (1, 9, 28)]
WRITTEN = {
    "iso": "%Y-%m-%d", "day first": "%d.%m.%Y", "in America": "%m/%d/%Y", "short": "%d.%m.%y",
    "clock": "%d/%m/%Y %H:%M", "afternoon": "%m/%d/%Y %I:%M %p", "month": "%d %B %Y",
    "digits": "%Y%m%d", "seconds": "%Y-%m-%dT%H:%M:%SZ", "parts": "%Y-%m-%d %H:%M:%S.%f",
}  # fmt: skip


@pytest.mark.parametrize("form", WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("is_bare", [False, True], ids=["padded", "bare"])
def test_dates_come_back_as_they_are_written(form, is_bare):
    texts = [day.strftime(form) for day in DAYS]
    if is_bare and form != "%Y%m%d":  # without leading zeros of days and months
        parts = (("%d", lambda day: str(day.day)), ("%m", lambda day: str(day.month)))
        texts = []
        for day in DAYS:
            own = form
            for token, written in parts:
                own = own.replace(token, written(day))
            texts.append(day.strftime(own))
    column, values = column_of(texts)
    assert column.kind == "date"
    assert column.write(column.read(values).numbers).to_pylist() == texts
    assert Column.restore(column.facts()) == column


def test_dates_with_zones_come_back_in_utc_at_the_same_moment():
    texts = [f"2024-03-{day:02}T10:00:00.125+0{day % 3}:00" for day in range(1, 25)]
    column, values = column_of(texts)
    written = column.write(column.read(values).numbers).to_pylist()
    assert [dt.datetime.fromisoformat(t) for t in written] == [
        dt.datetime.fromisoformat(t) for t in texts
    ]
    assert all(text.endswith(".125+00:00") for text in written)
    same, _ = column_of(["2020-01-01T00:00:00+00:00", "2020-01-01T01:00:00+01:00"] * 9)
    assert same.kind == "category"  # one moment, written in two ways


@pytest.mark.parametrize(
    ("texts", "kind", "words"),
    [
        ([f"2024-01-{d:02}" if d % 2 else f"{d:02}.01.2024" for d in range(1, 29)], "text",
         "dates of several formats, such as '2024-01-01' and '02.01.2024'"),
        (["red", "-", "blue"] * 9, "category", "'-' is a category of its own, and no gap"),
        ([f"{i}e{i % 3}" for i in range(1, 20)], "number", "'1e1' was read as a power of ten"),
        ([f"city {i % 70}" for i in range(700)], "category", "the 64 most frequent of 70 values"),
        ([f"{2**70 * (i + 1)}" for i in range(20)], "identifier", "texts that all differ"),
        ([f"0{i % 40:03}" if i else "9" for i in range(60)], "text", "codes such as"),
    ],
)  # fmt: skip
def test_what_is_guessed_or_left_out_is_said(texts, kind, words):
    column, _ = column_of(texts)
    assert (column.kind, words in column.why) == (kind, True)


def test_numbers_that_may_be_dates_are_said():
    days = [int(f"2024{m:02}{d:02}") for m in range(1, 13) for d in (1, 9, 17, 25, 28)]
    for kind in (np.int64, "Int32", float):
        table = pd.DataFrame({"day": pd.Series(days).astype(kind), "x": numbers()})
        if kind is float:
            exact().fit(table)  # a decimal point says that they are numbers
            continue
        with pytest.warns(NarrowsWarning, match="'day': 20240101 was read as a number, and not"):
            exact().fit(table)
    counts = pd.DataFrame({"n": np.arange(20240100, 20240160) * 3 % 20241399, "x": numbers()})
    assert [column.why for column in exact().fit(counts).columns_] == ["", ""]


@pytest.mark.parametrize("word", ["-", "none", "n.a.", "#DIV/0!", "?", "NULL", ""])
def test_words_for_missing_dates_are_gaps(word):
    texts = [word if day == 3 else f"2024-01-{day:02}" for day in range(1, 29)]
    column, values = column_of(texts)
    assert (column.kind, column.n_gaps) == ("date", 1)
    assert column.read(values).gaps.tolist() == [day == 3 for day in range(1, 29)]


def test_whole_numbers_beyond_doubles_are_exact_in_texts():
    texts = [f"{2**60 + 3 * i:,d}".replace(",", " ") for i in range(N)]
    column, values = column_of([texts[i] for i in range(0, N, 2)] * 2)
    assert (column.kind, column.offset) == ("number", 2**60)
    cells = column.read(values)
    assert cells.numbers[:3].tolist() == [0, 6, 12]
    assert column.write(cells.numbers).to_pylist() == [texts[i] for i in range(0, N, 2)] * 2
    with pytest.raises(DataTypeError, match=r"holds '1\.5', which is no number"):
        column.read(column_of(["1.5", texts[0]])[1])


HELD = {
    "complex": [complex(i, 1) for i in range(N)],
    "beyond 64 bits": [2**70 + i for i in range(N)],
    "no UTF-8": [f"\ud800{i}" for i in range(N)],
    "sets": [{i} for i in range(N)],
    "arrays": [np.arange(i + 1) for i in range(N)],
    "several types": [i if i % 2 else f"{i}" for i in range(N)],
    "intervals": list(pd.interval_range(0, N)),
}


@pytest.mark.parametrize("name", HELD)
def test_values_of_other_types_are_left_out_and_handed_through(name):
    values = pd.Series(HELD[name], dtype=object)
    table = pd.DataFrame({"x": numbers(), "c": values})
    with pytest.warns(NarrowsWarning, match="left out, and handed through: 'c'") as said:
        model = exact().fit(table)
    says_categorical = "--categorical" in str(said[0].message)
    assert says_categorical == (model.columns_[1].kind in ("text", "identifier"))
    restored = model.reconstruct(table)
    assert all(a is b for a, b in zip(restored["c"], values, strict=True))
    table.loc[4, "c"] = None
    with pytest.warns(NarrowsWarning, match=r"gaps stay in columns .*: 'c' \(1\); fill them"):
        assert model.impute(table)["c"].isna().tolist() == [i == 4 for i in range(N)]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 0, 1.5] * 20, pd.SparseDtype(float, 0)),
        ([1, 2.5, "a", True, None] * 12, object),
        ([True, False, None] * 20, "boolean"),
        ([1, 2, None] * 20, "Int8"),
        ([dt.time(h) for h in range(20)] * 3, object),
        ([dt.timedelta(hours=h) for h in range(20)] * 3, None),
        (["lo", "hi", None] * 20, pd.CategoricalDtype(["lo", "mid", "hi"], ordered=True)),
        ([np.float32(0.5), np.int64(3), np.str_("a")] * 20, object),
    ],
)
def test_types_of_pandas_come_back(values, dtype):
    table = pd.DataFrame({"x": numbers(), "c": pd.Series(values, dtype=dtype)})
    model = exact().fit(table)
    restored, filled = model.reconstruct(table), model.impute(table)
    known = table["c"].notna().to_numpy()
    assert restored.dtypes.equals(table.dtypes)
    assert filled["c"].notna().all()
    assert (filled["c"] == table["c"])[known].all()
    if not isinstance(dtype, pd.SparseDtype):
        assert (restored["c"] == table["c"])[known].all()


def test_types_of_polars_come_back():
    mixed = [1, "a", 2.5] * 20
    table = pl.DataFrame(
        {
            "x": numbers(),
            "wide": pl.Series([i % 9 for i in range(N)], dtype=pl.Int128),
            "any": pl.Series([None if i == 4 else v for i, v in enumerate(mixed)], dtype=pl.Object),
        }
    )
    model = exact().fit(table)
    restored = model.reconstruct(table)
    assert restored.schema == table.schema
    assert restored["wide"].to_list() == table["wide"].to_list()
    assert model.impute(table)["any"].to_list()[:4] == mixed[:4]
    assert model.impute(table)["any"].to_list()[4] in (1, "a", 2.5)
    decoded = model.inverse_transform(model.transform(table))
    assert decoded["x"].to_list() == pytest.approx(table["x"].to_list(), abs=1e-3)


def test_decoded_arrays_are_arrays():
    rng = np.random.default_rng(SEED)
    plain = rng.normal(size=(N, 3))
    model = exact().fit(plain)
    decoded = model.inverse_transform(model.transform(plain))
    assert decoded.dtype == float
    np.testing.assert_allclose(decoded, plain, atol=1e-5)
    mixed = plain.astype(object)
    mixed[:, 1] = rng.choice(["u", "v", "w"], N)
    model = exact().fit(mixed)
    decoded = model.inverse_transform(model.transform(mixed))
    assert decoded.dtype == object
    assert (decoded[:, 1] == mixed[:, 1]).all()
    with pytest.raises(DataError, match="X has 2 features, but TableAutoencoder is expecting 3"):
        model.transform(mixed[:, :2])


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    model = exact().fit(pl.DataFrame({"x": numbers(), "c": ["a", "b"] * (N // 2)}))
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingDependencyError, match="pip install polars"):
        model.inverse_transform(np.zeros((2, model.n_components)))


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        ([1.0, 2.0], DataError, "Expected 2D array, got 1D array"),
        (np.zeros((4, 2, 2)), DataError, "use Autoencoder for pictures and signals"),
        ([["a", 1], ["b"]], DataError, "the rows given have different lengths"),
        (np.ones((4, 2), complex), DataError, "Complex data not supported"),
        (sparse.csr_array(np.eye(3)), DataTypeError, "toarray.*give a table of shape"),
        (np.ma.masked_less(np.eye(3), 1), DataError, "masked values.*filled"),
        (pd.DataFrame(index=range(4)), DataError, "0 feature.*give a table with columns"),
    ],
)
def test_what_is_no_table_is_refused(X, error, words):
    with pytest.raises(error, match=words):
        exact().fit(X)


@pytest.mark.filterwarnings("ignore:.*doubt.csv' was read as values separated by semicolons")
def test_other_files_are_read_or_refused(tmp_path):
    rows = np.random.default_rng(SEED).normal(size=(N, 3))
    np.save(tmp_path / "rows.npy", rows)
    frame = read_file(tmp_path / "rows.npy")
    assert (frame.kind, len(frame), frame.names) == ("array", N, ["x0", "x1", "x2"])
    assert exact().fit(tmp_path / "rows.npy").reconstruct(rows).shape == rows.shape
    np.save(tmp_path / "cube.npy", rows.reshape(N, 3, 1))
    with pytest.raises(DataError, match=r"rows of shape .3, 1., which are no table"):
        read_file(tmp_path / "cube.npy")
    (tmp_path / "doubt.csv").write_text("a;c\n" + "1,234;x\n5,678;y\n" * 9)
    with pytest.raises(DataError, match=r"'1,234' may mean .*--decimal , or --thousands ,"):
        read_file(tmp_path / "doubt.csv")
    lines = [f"{i}.5,NA,{i % 4}" for i in range(20)]
    Path(tmp_path / "bare.csv").write_text("\n".join(lines))
    with pytest.warns(NarrowsWarning, match="was taken for data, though it has gaps"):
        assert len(read_file(tmp_path / "bare.csv")) == 20


def test_whole_numbers_written_with_a_point_are_the_same_category():
    zips = ["10115.0", "80331.0", "04109.0"] * (N // 3)
    table = pd.DataFrame({"zip": zips, "version": ["1", "1.0", "1.10"] * (N // 3), "k": "7.0"})
    model = exact(categorical=["zip", "version"]).fit(table.assign(x=numbers()))
    same = table.assign(zip=table["zip"].str.removesuffix(".0"), k="7", x=numbers())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is unknown, and the constant is the same
        codes = model.transform(same)
    np.testing.assert_array_equal(codes, model.transform(table.assign(x=numbers())))
    assert model.reconstruct(same)["version"].tolist() == table["version"].tolist()
    other = same.assign(zip=["4109", *same["zip"][1:]], version=["1.1", *same["version"][1:]])
    with pytest.warns(NarrowsWarning, match=r"unknown: 'zip' \(1\), 'version' \(1\)"):
        model.transform(other)


def test_columns_of_other_types_are_read_as_those_learned_from():
    days = pd.date_range("2024-01-01", periods=N, freq="D")
    table = pd.DataFrame(
        {
            "zip": (["01067", "10115", "80331"] * N)[:N],
            "code": (["7", "12", "40"] * N)[:N],
            "day": days.strftime("%Y-%m-%d"),
            "any": ([1, "a", 2.5] * N)[:N],
            "x": numbers(),
        }
    )
    model = exact(categorical=["code"]).fit(table)
    codes = model.transform(table)
    same = {
        "code": table["code"].astype(float),
        "day": pd.Series(days),
        "any": table["any"].astype(str).where(table["any"] != 1),
    }
    for name, values in same.items():
        other = table.assign(**{name: values})
        cells = [n for n in range(N) if other[name].notna()[n]]
        found = model.column_encoder_.transform(read_frame(other), warns=False)
        own = model.column_encoder_.transform(read_frame(table), warns=False)
        place = [c.name for c in model.column_encoder_.used].index(name)
        part = model.column_encoder_.slices[place]
        np.testing.assert_array_equal(found.features[cells, part], own.features[cells, part])
    with pytest.warns(NarrowsWarning, match=r"unknown: 'code' \(60\)"):
        assert model.transform(table.assign(code=numbers() + 0.001)).shape == codes.shape
    tagged = table.assign(zip=[z if i % 2 else int(z) for i, z in enumerate(table["zip"])])
    with pytest.warns(NarrowsWarning, match="encoded as unknown: 'zip'"):
        model.transform(tagged)
    with pytest.raises(DataTypeError, match=r"holds values of type list.*was learned as number"):
        model.transform(table.assign(x=[{1}] * N))


def test_levels_that_are_numbers_are_found_among_texts():
    table = pd.DataFrame({"zone": [1, 2, 3] * (N // 3), "x": numbers()})
    model = exact(categorical=["zone"]).fit(table)
    column = model.columns_[0]
    found = column.read(read_frame(pd.DataFrame({"zone": ["3", "x", "1", None]})).columns[0])
    assert found.numbers[[0, 2]].tolist() == [2, 0]
    assert found.unknown.tolist() == [False, True, False, False]
    assert found.gaps.tolist() == [False, False, False, True]
    texts = pd.DataFrame({"t": ["1", "2", "a"] * (N // 3), "x": numbers()})
    column = exact().fit(texts).columns_[0]
    several = pd.DataFrame({"t": pd.Series([1, "a", None, 2.5], dtype=object)})
    found = column.read(read_frame(several).columns[0])
    assert found.numbers[:2].tolist() == [0, 2]
    assert (found.gaps.tolist(), found.unknown.tolist()) == (
        [False, False, True, False], [False, False, False, True]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("learned", "given", "same"),
    [
        ([10115, 1067, 7], ["7.0", "10115", "1067.5", "none", "?"], [7, 10115, None, None, None]),
        ([False, True], ["TRUE", "maybe", "false", "1"], [True, None, False, True]),
        ([False, True], [1, 0, 2, 0.5, None], [True, False, None, None, None]),
        ([0.5, 2.0, 8.0], ["2", "0.50", "two"], [2.0, 0.5, None]),
        ([True, 1, "x"], ["x", "True", "1", "1.0", "0"], ["x", True, 1, 1, None]),
        ([True, 1, "x"], [pd.Timestamp("2024-01-31")], [None]),
        ([True, 1, "1"], ["1", "true", "2"], ["1", None, None]),
        (pd.to_datetime(["2024-01-31", "2024-02-29"]), ["2024-02-29", "May"],
         [pd.Timestamp("2024-02-29"), None]),
    ],
)  # fmt: skip
def test_values_of_another_type_are_the_levels_that_they_equal(learned, given, same):
    """Whatever values beside them are no levels, as a column of a file holds texts of them all."""
    dtype = None if isinstance(learned, pd.DatetimeIndex) else object
    rows = pd.Series(list(learned) * (N // len(learned)), dtype=dtype)
    table = pd.DataFrame({"level": rows, "x": numbers()[: len(rows)]})
    model = exact(categorical=["level"]).fit(table)
    (column,) = read_frame(pd.DataFrame({"level": given})).columns
    cells = model.columns_[0].read(column)
    own = model.columns_[0].read(read_frame(table).columns[0]).numbers
    place = dict(zip(map(repr, rows), own, strict=True))
    wanted = [math.nan if level is None else place[repr(level)] for level in same]
    np.testing.assert_array_equal(cells.numbers, wanted)
    np.testing.assert_array_equal(cells.unknown, np.isnan(wanted) & ~cells.gaps)


@pytest.mark.parametrize("kind", ["str", "object", "category", "polars", "arrow"])
def test_codes_that_a_plain_model_reads_as_numbers_are_said(kind):
    """In data frames too, as in files; numbers in texts are none."""
    table = pd.DataFrame({"zip": ["01067", "10115", "80331"] * (N // 3), "x": numbers()})
    table["size"] = table["x"].map("{:.2f}".format)
    if kind in ("polars", "arrow"):
        given = pl.from_pandas(table) if kind == "polars" else pa.Table.from_pandas(table)
    else:
        given = table.astype({"zip": kind, "size": kind})
    with pytest.warns(CodesAsNumbers, match=r"columns of X .*: 'zip' \(codes such as '01067'\)"):
        Autoencoder(2, max_epochs=1).fit(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CodesAsNumbers)
        Autoencoder(2, max_epochs=1).fit(table[["x", "size"]])


def test_a_table_may_lack_columns_that_were_left_out():
    table = pd.DataFrame({"note": [f"row {i} says" for i in range(N)], "x": numbers(), "k": 1})
    with pytest.warns(NarrowsWarning, match="'note' .text"):
        model = exact().fit(table)
    few = table[["x"]]
    pd.testing.assert_frame_equal(model.impute(few), few)
    assert list(model.reconstruct(few).columns) == ["x"]


@pytest.mark.parametrize("parameter", ["columns", "drop", "categorical"])
def test_names_of_columns_are_those_of_the_table(parameter):
    table = pd.DataFrame({"a, b": numbers(), " c ": ["u", "v"] * (N // 2), "x": numbers() * 2})
    with pytest.raises(ParameterError, match=f"{parameter} names 'c', which is no column"):
        exact(**{parameter: ["c"]}).fit(table)
    model = exact(**{parameter: ["a, b", " c "]}).fit(table)
    kinds = [column.kind for column in model.columns_]
    assert (
        kinds
        == {
            "columns": ["number", "category", "dropped"],
            "drop": ["dropped", "dropped", "number"],
            "categorical": ["category", "category", "number"],
        }[parameter]
    )
    with pytest.raises(DataError, match="no column of the table can be learned from"):
        exact(drop=list(table.columns)).fit(table)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "matrix"}, {"levels": ["a"]}, {"digits": 99}, {"decimal": ";"}, {"type": "unknown"}],
)
def test_facts_that_are_no_column_are_refused(wrong):
    column, _ = column_of(["a", "b"] * 9)
    assert Column.restore(column.facts()) == column
    with pytest.raises(ValueError, match=r"column|type"):
        Column.restore({**column.facts(), **wrong})


@pytest.mark.parametrize("power", [-900, 0, 1000])
def test_extremes_are_the_same_in_any_unit(power):
    values = np.append(numbers(), [-999.0, 9999.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no square overflows
        assert find_extremes(values * 2.0**power) == (2, N + 1)
        assert find_extremes(numbers() * 2.0**power) is None


def test_few_values_have_no_extremes():
    with pytest.warns(NarrowsWarning, match="'x' has 1 value far from the others, such as 1e\\+09"):
        exact().fit(pd.DataFrame({"x": [*numbers(), 1e9], "y": np.arange(N + 1) % 7}))
    few = pd.DataFrame({"x": [1.0, 2.0, 3.0, 1e9], "y": [1.5, 1.0, 4.0, 2.0]})
    assert [column.far for column in exact().fit(few).columns_] == ["", ""]
