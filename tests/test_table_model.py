"""The autoencoder of tables: kinds of columns, gaps, types that come back, and storage."""

import datetime as dt
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from narrows import MODELS, Autoencoder, EncoderClassifier, Library, TableAutoencoder, load
from narrows.data.column_encoder import ColumnEncoder
from narrows.data.frames import read_frame
from narrows.errors import (
    DataError,
    DataTypeError,
    FormatError,
    NarrowsWarning,
    NotFittedError,
    ParameterError,
)
from narrows.evaluation import make_report, make_table_report
from narrows.models import filling, low_rank_gaussian
from narrows.models.low_rank_gaussian import LowRankGaussian

SEED = 20261130
N = 80


def quick(n_components=4, **parameters):
    inner = Autoencoder(n_components, max_epochs=2)
    return TableAutoencoder(inner, **{"random_state": SEED, **parameters})


def exact(**parameters):
    """Return a model whose code is as wide as the row: PCA, which restores every row."""
    inner = Autoencoder(64, hidden_layer_sizes=(), activation="identity")
    return TableAutoencoder(inner, **{"random_state": SEED, **parameters})


def mixed():
    """Return a table with a column of each kind, without gaps."""
    rng = np.random.default_rng(SEED)
    days, first = rng.integers(0, 500, N), dt.date(2020, 1, 15)
    return pd.DataFrame(
        {
            "number": rng.normal(size=N),
            "whole": rng.integers(-9, 9, N),
            "small": rng.integers(0, 200, N).astype(np.uint8),
            "single": rng.normal(size=N).astype(np.float32),
            "huge": 2**60 + rng.integers(0, 1000, N) * 2**3,
            "truth": rng.random(N) < 0.3,
            "answer": rng.choice(["yes", "no"], N),
            "colour": rng.choice(["red", "green", "blue"], N),
            "grade": pd.Categorical(rng.choice(["low", "high", "mid"], N), ordered=True),
            "nullable": pd.array(rng.integers(0, 5, N), dtype="Int64"),
            "day": pd.Timestamp("2020-02-28") + pd.to_timedelta(days, "D"),
            "moment": pd.Timestamp("2021-03-01", tz="Europe/Berlin")
            + pd.to_timedelta(rng.integers(0, 10**6, N), "s"),
            "span": pd.to_timedelta(rng.integers(0, 10**5, N), "s"),
            "written": [f"{first + dt.timedelta(days=int(d)):%d.%m.%Y}" for d in days],
            "comma": [f"{v:.2f}".replace(".", ",") for v in rng.normal(size=N)],
            "several": [1, "a", 2.5, True] * (N // 4),
        }
    )


def with_gaps(table, share=0.1):
    return table.mask(np.random.default_rng(SEED + 1).random(table.shape) < share)


def checks():
    for checked, check in estimator_checks_generator(quick(2)):
        # See tests/test_autoencoder.py. Weighted rows are not compared in double precision.
        if check.func.__name__ not in {
            "check_array_api_input",
            "check_sample_weight_equivalence_on_dense_data",
        }:
            yield pytest.param(checked, check, id=check.func.__name__)


@pytest.mark.filterwarnings("ignore")  # some checks provoke warnings of scikit-learn's own
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_contract_holds(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:columns were read by guess")
def test_each_kind_of_column_comes_back_as_it_was():
    table = mixed()
    model = exact().fit(table)
    kinds = {column.name: column.kind for column in model.columns_}
    assert kinds == {
        "number": "number", "whole": "number", "small": "number", "single": "number",
        "huge": "number", "truth": "yes/no", "answer": "yes/no", "colour": "category",
        "grade": "category", "nullable": "number", "day": "date", "moment": "date",
        "span": "date", "written": "date", "comma": "number", "several": "category",
    }  # fmt: skip
    restored = model.reconstruct(table)
    assert list(restored.columns) == list(table.columns)
    assert (restored.dtypes == table.dtypes).all()
    for name in table.columns:
        if name in {"number", "single"}:
            np.testing.assert_allclose(restored[name], table[name], atol=1e-4)
        elif name in {"moment", "span"}:
            assert (restored[name] - table[name]).abs().max() < pd.Timedelta("10s")
        elif name == "comma":
            both = [t[name].str.replace(",", ".").astype(float) for t in (restored, table)]
            np.testing.assert_allclose(*both, atol=0.011)
        else:
            same = [
                a == b and type(a) is type(b)
                for a, b in zip(restored[name], table[name], strict=True)
            ]
            assert all(same), name


@pytest.mark.filterwarnings("ignore:columns were read by guess")
def test_only_gaps_are_filled():
    table = with_gaps(mixed())
    filled = quick().fit(table).impute(table)
    assert (filled.dtypes == table.dtypes).all()
    assert filled.notna().all(axis=None)
    pd.testing.assert_frame_equal(filled.where(table.notna(), table), table)
    assert set(filled["colour"]) <= {"red", "green", "blue"}
    assert filled["written"].str.fullmatch(r"\d\d\.\d\d\.\d{4}").all()


def test_the_same_kind_of_table_comes_back():
    rng = np.random.default_rng(SEED)
    frame = pl.DataFrame(
        {
            "a": rng.normal(size=N),
            "n": pl.Series(rng.integers(0, 9, N), dtype=pl.Int16),
            "c": pl.Series(rng.choice(["u", "v", "w"], N), dtype=pl.Categorical),
            "e": pl.Series(rng.choice(["u", "v"], N), dtype=pl.Enum(["u", "v"])),
            "t": pl.Series(rng.choice(["x", "y", "z"], N)),
            "d": [dt.date(2020, 1, 1) + dt.timedelta(days=int(d)) for d in rng.integers(0, 99, N)],
            "b": rng.random(N) < 0.5,
            "p": [Decimal(int(v)) / 4 for v in rng.integers(0, 99, N)],
        }
    )
    gaps = rng.random((N, 8)) < 0.1
    frame = frame.with_columns(
        pl.when(pl.Series(~gaps[:, place])).then(pl.col(name)).alias(name)
        for place, name in enumerate(frame.columns)
    )
    model = exact().fit(frame)
    for table in (frame, frame.to_arrow()):
        filled = model.impute(table)
        restored = model.reconstruct(table)
        assert type(filled) is type(restored) is type(table)
        assert filled.schema == restored.schema == table.schema
        filled = pl.DataFrame(filled)
        assert filled.null_count().sum_horizontal().item() == 0
        assert (filled.to_numpy() == frame.to_numpy())[~gaps].all()
    codes = model.set_output(transform="polars").transform(frame)
    assert isinstance(codes, pl.DataFrame)
    assert codes.columns[0] == "tableautoencoder0"
    model.set_output(transform="pandas")
    assert isinstance(model.transform(frame), pd.DataFrame)
    decoded = model.inverse_transform(np.zeros((3, model.n_components)))
    assert isinstance(decoded, pl.DataFrame)
    assert decoded.columns == frame.columns


def test_arrays_of_objects_and_structured_arrays_come_back():
    rng = np.random.default_rng(SEED)
    objects = np.empty((N, 3), object)
    objects[:, 0] = rng.normal(size=N).tolist()
    objects[:, 1] = rng.choice(["a", "b", "c"], N).tolist()
    objects[:, 2] = rng.integers(0, 9, N).tolist()
    objects[3, 0], objects[4, 1], objects[5, 2] = None, "", float("nan")
    filled = exact().fit(objects).impute(objects)
    assert filled.dtype == object
    assert filled[4, 1] in {"a", "b", "c"}
    assert isinstance(filled[3, 0], float)
    known = np.ones(objects.shape, bool)
    known[[3, 4, 5], [0, 1, 2]] = False
    assert (filled == objects)[known].all()
    structured = np.zeros(N, [("x", "f4"), ("k", "U5"), ("i", "i2")])
    structured["x"], structured["i"] = rng.normal(size=N), rng.integers(0, 9, N)
    structured["k"] = rng.choice(["one", "two", "three"], N)
    structured["x"][7] = np.nan
    model = exact().fit(structured)
    assert model.impute(structured).dtype == structured.dtype
    assert np.isfinite(model.impute(structured)["x"]).all()
    assert (model.reconstruct(structured)["k"] == structured["k"]).all()
    numbers = rng.normal(size=(N, 3))
    numbers[0, 0] = np.nan
    filled = exact().fit(numbers).impute(numbers)
    assert filled.dtype == float
    assert (filled[1:] == numbers[1:]).all()
    assert np.isfinite(filled).all()


def test_what_holds_nothing_to_learn_is_left_out_and_handed_through():
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame(
        {
            "id": np.arange(N),
            "customer_id": rng.permutation(10**6)[:N],
            "key": [f"k{i:03}" for i in range(N)],
            "note": [f"a remark about the row {i}" for i in range(N)],
            "empty": [None] * N,
            "lists": [[i] for i in range(N)],
            "same": 7,
            "population": rng.permutation(10**6)[:N],
            "x": rng.normal(size=N),
            "c": rng.choice(["a", "b"], N),
        }
    )
    with pytest.warns(
        NarrowsWarning, match="left out, and handed through: 'id' \\(identifier"
    ) as all_:
        model = quick().fit(table)
    assert all_[0].message.facts["columns"] == {
        "id": "identifier", "customer_id": "identifier", "key": "identifier", "note": "text",
        "empty": "empty", "lists": "other",
    }  # fmt: skip
    restored = model.reconstruct(table)
    for name in ("id", "customer_id", "key", "note", "empty", "lists", "same"):
        assert restored[name].equals(table[name])
    assert list(model.inverse_transform(model.transform(table)).columns) == [
        "same", "population", "x", "c"
    ]  # fmt: skip
    wanted = quick(columns=["id", "x"]).fit(table)
    assert [c.kind for c in wanted.columns_ if c.kind != "dropped"] == ["number", "number"]
    chosen = quick(
        drop=["id", "key", "note", "empty", "lists", "customer_id"], categorical=["same"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [c.name for c in chosen.fit(table).column_encoder_.used] == ["population", "x", "c"]
    codes = table.assign(zone=rng.integers(1, 5, N))[["zone", "x"]]
    (zone, _) = quick(categorical=["zone"]).fit(codes).columns_
    assert (zone.kind, zone.levels) == ("category", [1, 2, 3, 4])
    with pytest.raises(ParameterError, match="drop names 'nothing', which is no column"):
        quick(drop=["nothing"]).fit(table)
    with pytest.raises(DataError, match="no column of the table can be learned from: 'same'"):
        quick().fit(table[["same"]])


def test_new_categories_and_constants_are_said_and_unknown():
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"c": rng.choice(["a", "b", "c"], N), "x": rng.normal(size=N), "k": 1})
    model = exact().fit(table)
    new = table.assign(c=["d", *table["c"].tolist()[1:]], k=[2] + [1] * (N - 1))
    with pytest.warns(NarrowsWarning) as all_:
        codes = model.transform(new)
    facts = {one.message.kind: one.message.facts for one in all_}
    assert facts["unknown_categories"]["columns"] == {"c": 1}
    assert facts["constants_changed"]["columns"] == {"k": 1}
    np.testing.assert_allclose(codes[1:], model.transform(table)[1:], atol=1e-5)
    with pytest.warns(NarrowsWarning):
        assert model.impute(new)["c"][0] == "d"  # it is no gap
    with pytest.warns(NarrowsWarning):
        assert model.reconstruct(new)["c"][0] in {"a", "b", "c"}


def test_columns_are_found_by_name():
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"c": rng.choice(["a", "b"], N), "x": rng.normal(size=N)})
    model = quick().fit(table)
    turned = table[["x", "c"]]
    np.testing.assert_array_equal(model.transform(turned), model.transform(table))
    assert list(model.reconstruct(turned).columns) == ["x", "c"]
    with pytest.warns(NarrowsWarning, match="columns that were not learned from play no part: 'y'"):
        assert "y" in model.reconstruct(table.assign(y=1))
    with pytest.raises(DataError, match="the table lacks the column 'x' that the model learned"):
        model.transform(table[["c"]])
    with pytest.raises(DataError, match="the columns 'c' come more than once"):
        model.transform(pd.concat([table, table[["c"]]], axis=1))
    with pytest.raises(DataTypeError, match="column 'x' holds 'much', which is no number"):
        model.transform(table.astype({"x": object}).assign(x=["much"] * N))
    with pytest.raises(DataError, match="column 'x' has 1 infinite value"):
        model.transform(table.assign(x=[np.inf] + [0.0] * (N - 1)))
    with pytest.raises(DataError, match=r"column 'x' has the number 1e\+300, beyond"):
        quick().fit(table.assign(x=[1e300] + [0.0] * (N - 1)))
    with pytest.raises(DataTypeError, match=r"column 'x' holds '2020-01-01.*is no number"):
        model.transform(table.assign(x=pd.Timestamp("2020-01-01")))
    days = table.assign(x=pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(N) % 9, "D"))
    with pytest.raises(DataTypeError, match=r"column 'x' holds .*is no date as those learned"):
        quick().fit(days).transform(table)
    as_text = table.assign(x=table["x"].astype(str))
    np.testing.assert_allclose(model.transform(as_text), model.transform(table), atol=1e-5)
    assert model.reconstruct(table.iloc[:1]).shape == (1, 2)
    with pytest.raises(DataError, match="minimum of 2 is required"):
        quick().fit(table.iloc[:1])
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        quick().transform(table)


@pytest.mark.parametrize(
    ("texts", "kind", "gaps"),
    [
        (["1.5", "2.5", "?", "NA", ""] * 16, "number", 48),
        (["1,5", "2,25"] * 40, "number", 0),
        (["1,234.5", "12,345.0"] * 40, "number", 0),
        (["2020-01-05", "2020-02-05T00:00:00", "x"] * 20, "category", 0),
        (["2020-01-05T10:00:00+02:00", "2021-01-05T10:00:00+01:00"] * 40, "date", 0),
        (["13/01/2020", "01/02/2020"] * 40, "date", 0),
        (["12:30", "13:45"] * 40, "date", 0),
        (["true", "false"] * 40, "yes/no", 0),
        (["none", "some", " ", "n/a"] * 20, "category", 40),
        (["-", "none", "1"] * 20, "constant", 40),
        (["1 234,50", "99,00"] * 30, "number", 0),
        (["1.234,50", "99,00"] * 30, "number", 0),
        (["01.02.24", "31.12.23"] * 30, "date", 0),
        (["01067", "10115", "04109"] * 30, "category", 0),
        ([f"{place:05d}" for place in range(501, 700)], "identifier", 0),
        (["51.3%", "n/a", "7%"] * 30, "number", 30),
        (["5 kg", "6.5 kg"] * 30, "number", 0),
        (["5 kg", "6 cm"] * 30, "category", 0),
        (["12a", "13a", "ABC 12"] * 30, "category", 0),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:columns were read by guess", "ignore:left out")
def test_what_texts_hold(texts, kind, gaps):
    table = pd.DataFrame({"t": texts, "x": np.arange(len(texts)) % 7})
    if kind == "constant":
        kind, gaps = "category", 0  # dashes beside a single number
    column = quick().fit(table).columns_[0]
    assert (column.kind, column.n_gaps) == (kind, gaps)


@pytest.mark.parametrize(
    ("texts", "value", "restored"),
    [
        (["$1,281.50", "-$99.00", "$5.25"], "$1,281.50", "$700.12"),
        (["1.281,50 €", "99,00 €", "-5,25 €"], "1.281,50 €", "700,12 €"),
        (["1.281 €", "12.099 €", "-999 €"], "1.281 €", "700 €"),
        (["CHF 1'281.50", "CHF 99.00"], "CHF 1'281.50", "CHF 700.12"),
        (["51,3%", "7,25%", "-1%"], "51,3%", "700,12%"),
        (["(1,281.50)", "99.00", "5.25"], "(1,281.50)", "700.12"),
    ],
)
@pytest.mark.filterwarnings("ignore:columns were read by guess")
def test_amounts_and_percentages_are_numbers_and_written_as_they_were(texts, value, restored):
    wanted = {"(": -1281.5, "5": 51.3}.get(value[0], 1281.0 if value == "1.281 €" else 1281.5)
    frame = read_frame(pd.DataFrame({"t": texts * 20}))
    column = ColumnEncoder.fit(frame).columns[0]

    assert column.kind == "number"
    assert column.read(frame.columns[0]).numbers[0] == wanted
    assert column.write(np.array([wanted])).to_pylist()[0] in (value, value.replace("3%", "30%"))
    assert column.write(np.array([700.12])).to_pylist() == [restored]
    other = read_frame(pd.DataFrame({"t": ["12 lb", "13 lb"]})).columns[0]
    with pytest.raises(DataTypeError, match="'12 lb'"):
        column.read(other)


@pytest.mark.parametrize("kind", [float, "Int64", str])
def test_identifiers_with_gaps_are_left_out_and_not_filled(kind):
    keys = pd.Series(np.random.default_rng(SEED).permutation(900)[:90].astype(float))
    keys = keys.astype(kind)
    keys[4] = None
    table = pd.DataFrame({"customer_id": keys, "x": np.arange(90) % 7.0})
    with pytest.warns(NarrowsWarning, match="'customer_id' .identifier"):
        model = quick().fit(table)
    with pytest.warns(NarrowsWarning, match="gaps stay .*'customer_id' .1.*--categorical") as all_:
        filled = model.impute(table)
    assert all_[0].message.facts["columns"] == {"customer_id": 1}
    assert filled["customer_id"].isna().tolist() == keys.isna().tolist()


def test_times_in_utc_are_written_as_they_were():
    times = ["2024-01-01T10:00:00Z", "2024-03-01T12:30:00Z"]
    frame = read_frame(pd.DataFrame({"t": times * 20}))
    column = ColumnEncoder.fit(frame).columns[0]
    assert column.write(column.read(frame.columns[0]).numbers[:2]).to_pylist() == times


def test_guesses_about_texts_are_said():
    table = pd.DataFrame({"d": ["01/02/2020", "03/04/2020"] * 9, "n": ["1,234", "2,345"] * 9})
    with pytest.warns(NarrowsWarning, match="read as day, month, year.*may separate thousands"):
        quick().fit(table)


def test_a_gap_is_filled_from_what_it_depends_on_and_by_the_mean_where_nothing_tells():
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=400)
    table = pd.DataFrame(
        {
            "x": x,
            "double": 2 * x + rng.normal(0, 0.1, 400),
            "sign": np.where(x > 0, "plus", "minus"),
            "alone": rng.normal(5, 1, 400),
        }
    )
    holes = table.mask(rng.random(table.shape) < 0.15)
    model = TableAutoencoder(random_state=SEED).fit(holes)
    filled = model.impute(holes)
    gap = holes.isna()
    error = {
        name: ((filled[name] - table[name])[gap[name]] ** 2).mean() / table[name].var()
        for name in ("x", "double", "alone")
    }
    assert error["x"] < 0.3
    assert error["double"] < 0.3
    assert error["alone"] < 1.1
    assert (filled["sign"] == table["sign"])[gap["sign"]].mean() > 0.85
    shares = dict(zip(table.columns, model.imputer_.gaussian_weights, strict=True))
    assert shares["alone"] < 0.1
    assert shares["x"] > 0.8


@pytest.mark.parametrize(("width", "rank", "share"), [(6, 3, 0.6), (12, 11, 0.8), (20, 1, 0.1)])
def test_gaps_get_the_conditional_mean_and_covariance_of_a_gaussian(width, rank, share):
    """Few axes are solved for codes, many axes for gaps; the truth is Schur's complement."""
    rng = np.random.default_rng(SEED)
    mean = rng.normal(size=width)
    gaussian = LowRankGaussian(mean, rng.normal(size=(width, rank)), rng.random(width) + 0.1)
    covariance = gaussian.loadings @ gaussian.loadings.T + np.diag(gaussian.noise_variance)
    rows, known = rng.normal(size=(300, width)), rng.random((300, width)) < share
    known[0], known[1] = False, True
    imputed, uncertainty = gaussian.expectation_step(rows, known)
    np.testing.assert_array_equal(imputed, gaussian.impute(rows, known))
    total = np.zeros((width, width))
    for row, mask, found in zip(rows, known, imputed, strict=True):
        inner = np.linalg.solve(covariance[np.ix_(mask, mask)], covariance[np.ix_(mask, ~mask)])
        expected = mean[~mask] + inner.T @ (row - mean)[mask]
        np.testing.assert_allclose(found[~mask], expected, atol=1e-9)
        np.testing.assert_array_equal(found[mask], row[mask])
        left = covariance[np.ix_(~mask, ~mask)] - covariance[np.ix_(~mask, mask)] @ inner
        total[np.ix_(~mask, ~mask)] += left
    np.testing.assert_allclose(uncertainty, total / 300, atol=1e-9)


@pytest.mark.filterwarnings("ignore:columns were read by guess", "ignore:gaps stay")
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_saving_keeps_everything_bit_for_bit(tmp_path, share):
    table = with_gaps(mixed(), share)
    model = quick(drop=["span"]).fit(table)
    again = load(model.save(tmp_path / "model"))
    assert isinstance(again, TableAutoencoder)
    assert again.fingerprint_ == model.fingerprint_
    np.testing.assert_array_equal(again.transform(table), model.transform(table))
    for method in ("reconstruct", "impute"):
        pd.testing.assert_frame_equal(getattr(again, method)(table), getattr(model, method)(table))
    codes = model.transform(table)
    pd.testing.assert_frame_equal(again.inverse_transform(codes), model.inverse_transform(codes))
    assert again.columns_ == model.columns_
    assert again.get_params()["drop"] == ("span",)
    assert again.column_errors(table) == model.column_errors(table)
    text = (tmp_path / "model" / "narrows.json").read_text("utf-8")
    (tmp_path / "model" / "narrows.json").write_text(text.replace('"colour"', '"color"'), "utf-8")
    with pytest.raises(FormatError, match="was altered"):
        load(tmp_path / "model")


def test_what_takes_no_model_of_a_table_says_so(tmp_path):
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"n": rng.normal(size=N), "x": rng.normal(size=N)})
    model = quick().fit(table)
    model.save(tmp_path / "model")
    with pytest.raises(FormatError, match="whose halves do not stand alone"):
        EncoderClassifier(tmp_path / "model").fit(table, table["x"] > 0)
    with pytest.raises(ParameterError, match="is not allowed; give a trained model"):
        EncoderClassifier(model).fit(table, table["x"] > 0)
    with pytest.raises(ParameterError, match="on which make_table_report reports"):
        make_report(model, table)
    with pytest.raises(ParameterError, match=r"model=TableAutoencoder\(\) is not allowed"):
        TableAutoencoder(TableAutoencoder()).fit(table)


def test_a_damaged_folder_is_refused(tmp_path):
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"c": rng.choice(["a", "b", "c"], N), "x": rng.normal(size=N)})
    quick().fit(table).save(tmp_path / "model")
    file = tmp_path / "model" / "narrows.json"
    text = file.read_text("utf-8")
    for old, new in (
        ('"type": "double"', '"type": "struct"'),
        ('"kind": "category"', '"kind": "number"'),
        ('"kind": "pandas"', '"kind": "excel"'),
        ('"offset": 0', '"offset": "0"'),
        ('"model": "Autoencoder"', '"model": "Nothing"'),
    ):
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf-8")
        with pytest.raises(FormatError):
            load(tmp_path / "model")


def test_parameters_pipelines_and_searches():
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"c": rng.choice(["a", "b", "c"], N), "x": rng.normal(size=N)})
    y = (table["x"] > 0).to_numpy()
    model = TableAutoencoder(Autoencoder(2, max_epochs=2), random_state=0)
    assert model.get_params()["model__n_components"] == 2
    assert clone(model).set_params(model__n_components=3).model.n_components == 3
    pipeline = make_pipeline(model, LogisticRegression())
    assert pipeline.fit(table, y).score(table, y) > 0.8
    search = GridSearchCV(pipeline, {"tableautoencoder__model__n_components": [1, 2]}, cv=2)
    assert search.fit(table, y).best_score_ > 0.5
    assert TableAutoencoder("sparse").fit(table).model_.__class__.__name__ == "SparseAutoencoder"
    with pytest.raises(ParameterError, match="model='pca' is not known"):
        TableAutoencoder("pca").fit(table)
    with pytest.raises(ParameterError, match="columns='c' is not allowed; give a list"):
        TableAutoencoder(columns="c").fit(table)
    with pytest.raises(DataError, match="use Autoencoder for pictures"):
        TableAutoencoder().fit(np.zeros((10, 4, 4)))


def test_weights_of_rows_count_them():
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"c": rng.choice(["a", "b", "c"], N), "x": rng.normal(size=N)})
    weights = rng.integers(0, 3, N)
    weighted = exact().fit(table, sample_weight=weights)
    repeated = exact().fit(table.loc[table.index.repeat(weights)])
    np.testing.assert_allclose(
        weighted.column_encoder_.tensors()["mean"], repeated.column_encoder_.tensors()["mean"]
    )
    np.testing.assert_allclose(
        abs(weighted.transform(table)), abs(repeated.transform(table)), atol=1e-4
    )


def test_errors_by_column_count_known_cells_in_units_of_variance():
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=300)
    table = pd.DataFrame({"x": x, "same": x * 1000 + 5, "other": rng.normal(size=300) * 1e6})
    model = TableAutoencoder(Autoencoder(1, hidden_layer_sizes=(), activation="identity")).fit(
        table
    )
    errors = model.column_errors(table)
    restored = model.reconstruct(table)
    for name, error in errors.items():
        truth = ((restored[name] - table[name]) ** 2).mean() / table[name].var(ddof=0)
        assert error == pytest.approx(truth, rel=1e-4)
    assert errors["other"] > 0.9
    assert errors["same"] < 0.1
    assert model.score(table) == pytest.approx(-np.mean(list(errors.values())))
    lines = pa.Table.from_pandas(table)
    assert model.column_errors(lines) == errors


def test_what_stands_alone_or_beyond_is_taken():
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=40)
    same = [dt.timedelta(hours=1), None] * 20
    table = pd.DataFrame(
        {
            "beyond": [2**70, 2**71] * 20,
            "unsigned": np.array([2**63 + 5, 2**63 + 9, 2**64 - 1, 2**63] * 10, np.uint64),
            "same_day": [dt.date(2020, 2, 29)] * 40,
            "same_price": [Decimal("1.50"), None] * 20,
            "same_span": pd.Series(same, dtype="timedelta64[us]"),
            "x": x,
        }
    )
    model = quick().fit(table)
    kinds = {c.name: c.kind for c in model.columns_}
    assert kinds == {
        "beyond": "category", "unsigned": "number", "same_day": "constant",
        "same_price": "constant", "same_span": "constant", "x": "number",
    }  # fmt: skip
    filled = model.impute(table)
    assert filled["same_price"].tolist() == [Decimal("1.50")] * 40
    assert (filled["same_span"] == pd.Timedelta("1h")).all()
    assert filled["beyond"].tolist() == table["beyond"].tolist()
    restored = exact().fit(table).reconstruct(table)
    assert restored["unsigned"].dtype == np.uint64
    np.testing.assert_allclose(*(t["unsigned"].astype(float) for t in (restored, table)), rtol=1e-4)
    assert restored["same_day"].tolist() == table["same_day"].tolist()
    assert "fingerprint" in model._repr_html_()
    for one in (table[["x"]], table.iloc[[3]].assign(x=np.nan)):
        assert model.fit(table[["x"]]).transform(one[["x"]]).shape == (len(one), 4)
    empty = table.assign(x=np.nan)
    assert quick().fit(table).impute(empty)["x"].notna().all()


@pytest.mark.parametrize("name", ["wine", "diabetes", "noise"])
def test_filling_is_never_worse_than_the_mean_and_as_good_as_neighbours(name):
    """python -m benchmarks.gaps measures more tables; noise is left at its mean exactly."""
    from sklearn import datasets
    from sklearn.impute import KNNImputer
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(150, 5)) if name == "noise" else getattr(datasets, f"load_{name}")().data
    removed = rng.random(X.shape) < 0.2
    scaler = StandardScaler().fit(np.where(removed, np.nan, X))
    truth = scaler.transform(X)
    holes = np.where(removed, np.nan, truth)
    model = TableAutoencoder(Autoencoder(2, max_epochs=1), random_state=0).fit(holes)
    error = [
        np.square(filled - truth)[removed].mean()
        for filled in (model.impute(holes), KNNImputer().fit_transform(holes))
    ]
    by_mean = np.square(truth)[removed].mean()
    if name == "noise":
        assert error[0] == pytest.approx(by_mean)
    else:
        assert error[0] < 0.8 * by_mean
        assert error[0] <= 1.02 * error[1]


@pytest.mark.parametrize("kind", [float, "Int64", str])
def test_counts_stay_whole_and_are_never_negative(kind):
    """A column that falls steeply with another one would be filled below zero by a Gaussian."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=300)
    count = np.maximum(0, np.round(2 - 3 * x))
    debt = -np.abs(np.round(x, 3))
    table = pd.DataFrame({"x": x, "count": count, "debt": debt, "free": np.round(3 * x)})
    holes = table.mask(rng.random(table.shape) < 0.2)
    if kind is not float:
        whole = holes[["count", "free"]].astype("Int64")
        holes[["count", "free"]] = (
            whole if kind == "Int64" else whole.astype(str).replace("<NA>", "")
        )
    model = TableAutoencoder(Autoencoder(2, max_epochs=1), random_state=0).fit(holes)
    hidden = holes.assign(count=None, free=None, debt=None).astype({"debt": float})
    filled = model.impute(hidden).astype(float)
    raw = model.column_encoder_.inverse(
        model.imputer_.impute(model.column_encoder_.transform(read_frame(hidden)).features)
    )
    assert min(float(v) for v in raw[1].to_pylist()) < 0  # what the bound is for
    assert filled["count"].min() == 0
    assert filled["debt"].max() <= 0
    assert filled["free"].min() < 0
    for name in ("count", "free"):
        np.testing.assert_array_equal(filled[name], filled[name].round())
    assert (filled["debt"] != filled["debt"].round()).any()


def gappy():
    """Return a table with gaps whose columns depend on each other, its encoder and features."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(400, 4))
    table = pd.DataFrame(x, columns=list("abcd"))
    table["kind"] = np.where(x[:, 0] > 0.5, "high", np.where(x[:, 0] < -0.5, "low", "middle"))
    table = table.mask(rng.random(table.shape) < 0.15)
    encoder = ColumnEncoder.fit(read_frame(table))
    return table, encoder, encoder.transform(read_frame(table))


def test_whole_columns_are_hidden_and_gaps_do_not_count():
    _, encoder, encoded = gappy()
    imputer = filling.fit_gaussian(encoder, encoded.features, None, np.random.default_rng(SEED))
    known = ~np.isnan(encoded.features)
    rows = imputer.network_rows(imputer.impute_by_gaussian(encoded.features), known)
    masking = filling.ColumnMasking(imputer)
    before = torch.from_numpy(rows)
    damaged, drawn = masking(before, torch.Generator().manual_seed(SEED))
    assert torch.equal(before, torch.from_numpy(rows))  # its input stays as it is
    n = encoder.n_features
    features, marks = damaged[:, :n].numpy(), damaged[:, n:].numpy()
    hidden = drawn[:, :n].numpy()
    assert not drawn[:, n:].any()
    assert not (hidden & ~known).any()  # no gap is drawn, so that the loss counts none
    for place in encoder.slices:
        assert (hidden[:, place] == hidden[:, [place.start]]).all()
    assert hidden[known].mean() == pytest.approx(filling.HIDDEN, abs=0.02)
    np.testing.assert_array_equal(features[~hidden], rows[:, :n][~hidden])
    seen = np.where(hidden, np.nan, encoded.features)
    np.testing.assert_allclose(
        features[hidden], imputer.impute_by_gaussian(seen)[hidden], atol=1e-9
    )
    missing = np.stack([~known[:, p.start] | hidden[:, p.start] for p in encoder.slices], axis=1)
    np.testing.assert_allclose(marks, filling.MARK * missing[:, encoder.marked])


def test_the_covariance_is_learned_in_spite_of_gaps():
    rng = np.random.default_rng(SEED)
    truth = np.array([[1, 0.8, 0.3], [0.8, 1, 0.2], [0.3, 0.2, 1]])
    x = rng.multivariate_normal(np.zeros(3), truth, 4000)
    table = pd.DataFrame(np.where(rng.random(x.shape) < 0.3, np.nan, x), columns=list("abc"))
    encoder = ColumnEncoder.fit(read_frame(table))
    features = encoder.transform(read_frame(table)).features
    gaussian = filling.fit_gaussian(encoder, features, None, rng).gaussian
    found = gaussian.loadings @ gaussian.loadings.T + np.diag(gaussian.noise_variance)
    np.testing.assert_allclose(found, truth, atol=0.06)


def test_a_column_that_is_missing_where_another_is_large_keeps_its_mean():
    """The truth is the maximum likelihood estimate for two columns (Anderson 1957, JASA 52)."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=400)
    y = 2 * x + 0.5 * rng.normal(size=400)
    known = x < 0.3
    features = np.column_stack([x, np.where(known, y, np.nan)])
    slope, intercept = np.polyfit(x[known], y[known], 1)
    moments = None
    for _ in range(9):  # iterations of EM follow one another
        gaussian, moments = low_rank_gaussian.fit(features, None, (2, 1e-7), moments)
    assert gaussian.mean[1] == pytest.approx(intercept + slope * x.mean(), abs=2e-3)
    imputed = gaussian.impute(features, ~np.isnan(features))
    np.testing.assert_allclose(imputed[~known, 1], intercept + slope * x[~known], atol=5e-3)
    table = pd.DataFrame({"x": x, "y": features[:, 1]})
    filled = TableAutoencoder(Autoencoder(1, max_epochs=1), random_state=0).fit(table).impute(table)
    of_mean = np.square(y[known].mean() - y)[~known].mean()
    assert np.square(filled["y"] - y)[~known].mean() < 0.1 * of_mean


def test_a_variational_model_draws_rows_of_the_tables_kinds():
    """Counts are those of the decoder's means on the same codes, and every category is known."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=400)
    table = pd.DataFrame(
        {
            "x": x,
            "count": np.round(np.exp(x)).astype(int),
            "size": np.where(x > 0, "large", "small"),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 400), "D"),
            "ok": x > 1,
        }
    )
    model = TableAutoencoder(MODELS["variational"](2), random_state=0)
    with pytest.raises(NotFittedError):
        model.sample(3)
    drawn = model.fit(table).sample(200, random_state=5)
    assert drawn.dtypes.equals(table.dtypes)
    assert len(drawn) == 200
    assert drawn["count"].min() >= 0
    assert (drawn["day"] == drawn["day"].dt.normalize()).all()
    own = model.model_.sample(200, random_state=5)
    column = list(model.model_.feature_names_in_).index("x")
    scaled = own[:, column] * x.std() + x.mean()
    np.testing.assert_allclose(drawn["x"], scaled, rtol=1e-5)
    # What was learned of dependence is in the rows drawn: the sign of x decides the size.
    assert ((drawn["size"] == "large") == (drawn["x"] > 0)).mean() > 0.85
    assert not hasattr(TableAutoencoder(), "sample")
    assert not hasattr(quick().fit(table), "sample")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_from_tables(name):
    """All restore more than the mean does, of a table of two axes with gaps."""
    rng = np.random.default_rng(SEED)
    axes = rng.normal(size=(200, 2))
    table = pd.DataFrame(axes @ rng.normal(size=(2, 4)), columns=list("abcd"))
    table["side"] = np.where(axes[:, 0] > 0, "left", "right")
    holes = table.mask(rng.random(table.shape) < 0.1)
    code = {"n_components": 16 if name == "sparse" else 3}
    model = TableAutoencoder(MODELS[name](**code, max_epochs=40), random_state=0).fit(holes)
    assert model.impute(holes).notna().all(axis=None)
    assert model.reconstruct(holes).dtypes.equals(holes.dtypes)
    assert np.mean(list(model.column_errors(table).values())) < 0.9


def test_wide_tables_are_filled_by_the_gaussian_alone_which_is_said():
    from sklearn.impute import KNNImputer

    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 600)) + 0.3 * rng.normal(size=(80, 600))
    removed = rng.random(X.shape) < 0.2
    holes = np.where(removed, np.nan, X)
    inner = Autoencoder(2, hidden_layer_sizes=(), activation="identity")
    with pytest.warns(NarrowsWarning, match="these 600 features are more than the 500"):
        model = TableAutoencoder(inner, random_state=0).fit(holes)
    error, by_neighbors, by_mean = (
        np.square(filled - X)[removed].mean()
        for filled in (
            model.impute(holes),
            KNNImputer().fit_transform(holes),
            np.broadcast_to(np.nanmean(holes, axis=0), X.shape),
        )
    )
    assert model.imputer_.network is None
    assert error < 0.1 * by_mean
    assert error < by_neighbors


def test_rows_of_a_table_are_found_in_a_library_by_its_model(tmp_path):
    """The nearest codes are those of brute force."""
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"x": rng.normal(size=N), "c": rng.choice(["a", "b"], N)})
    model = quick(2).fit(table)
    with pytest.raises(ParameterError, match="its model_, for rows of its encode_columns"):
        Library.create(tmp_path / "no.lance", model=model)
    library = Library.create(tmp_path / "rows.lance", model=model.model_)
    rows = model.encode_columns(table).to_pandas().to_numpy()
    library.add(rows, names=[str(place) for place in range(N)])
    codes = model.transform(table).astype(float)
    for place, found in enumerate(library.match(rows[:5], k=3)):
        nearest = np.sort(np.linalg.norm(codes - codes[place], axis=1))[:3]
        np.testing.assert_allclose([match.distance for match in found], nearest, atol=1e-5)
        assert found[0].distance == pytest.approx(0, abs=1e-6)


def test_the_same_seed_gives_the_same_model():
    table, _, _ = gappy()
    one, other = (
        TableAutoencoder(Autoencoder(2, max_epochs=2), random_state=3).fit(table) for _ in range(2)
    )
    assert one.fingerprint_ == other.fingerprint_
    assert one.imputer_.network is not None
    assert one.imputer_.network.history_.epochs[0]["loss"] > 0
    pd.testing.assert_frame_equal(one.impute(table), other.impute(table))


def test_reports_judge_columns_and_not_the_marks_of_gaps():
    """Gaps at random cannot be foretold, and nobody can leave their marks out."""
    generator = np.random.default_rng(20261130)
    size = generator.normal(size=(300, 1))
    numbers = size + 0.1 * generator.normal(size=(300, 4))
    table = pd.DataFrame(numbers, columns=list("abcd")).mask(generator.random((300, 4)) < 0.1)
    table["kind"] = np.where(size[:, 0] > 0, "large", "small")
    model = TableAutoencoder(Autoencoder(2), random_state=0).fit(table[:200])
    found = make_table_report(model, table[200:])
    assert model.encode_columns(table[200:]).shape == (100, 9)  # of which 4 mark gaps
    each = found.figures.columns.each
    assert [c.name for c in each] == ["a", "b", "c", "d", "kind"]
    assert found.figures.columns.worse_than_mean == 0
    assert "columns" not in [finding.rule for finding in found.verdict]
