"""Tables of categories, dates and gaps on the command line."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from cli_kit import TINY, Run

from narrows import AnomalyDetector, TableAutoencoder, VariationalAutoencoder, load
from narrows.cli.tables import read_learnable
from narrows.data import files
from narrows.data.formats import FileOptions
from narrows.data.frames import read_file
from narrows.errors import NarrowsWarning

SEED = 20261130
N = 120


@pytest.fixture
def tables() -> pd.DataFrame:
    """Write a table without gaps and one with, and return the first."""
    rng = np.random.default_rng(SEED)
    width = rng.normal(50, 10, N)
    full = pd.DataFrame(
        {
            "id": np.arange(1, N + 1),
            "width": width.round(2),
            "area": (width**2).round(1),
            "size": np.where(width > 50, "large", "small"),
            "city": rng.choice(["Rome", "Oslo", "=Kyiv"], N),
            "day": [f"2024-0{m}-1{d}" for m, d in rng.integers(1, 9, (N, 2))],
            "ok": rng.choice(["yes", "no"], N),
            "n": rng.integers(0, 9, N),
        }
    )
    holes = full.astype(object).mask(rng.random(full.shape) < 0.1)
    holes["id"] = full["id"]
    holes.loc[0, "city"] = "?"
    holes.to_csv("holes.csv", index=False)
    holes.to_parquet("holes.parquet")
    full.to_csv("full.csv", index=False)
    full[["width", "area", "n"]].to_csv("numbers.csv", index=False)
    return full


def texts(file: str) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def test_a_table_as_it_comes_is_learned_from_and_comes_back(run: Run, tables: pd.DataFrame) -> None:
    answer = run("train", "holes.csv", "-o", "m", *TINY, "--json").json
    assert answer["model"] == "TableAutoencoder"
    kinds = {column["name"]: column["kind"] for column in answer["columns"]}
    assert kinds == {
        "id": "identifier", "width": "number", "area": "number", "size": "category",
        "city": "category", "day": "date", "ok": "yes/no", "n": "number",
    }  # fmt: skip
    assert [one["kind"] for one in answer["warnings"]] == ["columns_left_out"]
    said = run("train", "holes.csv", "-o", "m", *TINY, "--overwrite").err
    assert "found 8 columns: 3 numbers, 1 date, 2 categories, 1 yes/no; 7 with gaps" in said
    model = load("m")
    assert isinstance(model, TableAutoencoder)
    info = run("info", "m", "--json").json
    assert (info["kind"], info["columns"]["day"]) == ("table", "date")
    assert info["fingerprint"] == model.fingerprint_

    codes = run("encode", "m", "holes.csv", "-o", "codes.npy", "--json").json
    assert (codes["rows"], codes["n_components"]) == (N, 3)
    np.testing.assert_array_equal(np.load("codes.npy"), model.transform("holes.csv"))
    decoded = run("decode", "m", "codes.npy", "-o", "decoded.csv", "--json").json
    assert decoded["columns"] == list(tables.columns[1:])
    restored = run("reconstruct", "m", "holes.csv", "-o", "restored.csv", "--json").json
    assert set(restored["errors"]) == set(tables.columns[1:])
    same = texts("restored.csv")
    assert list(same.columns) == list(tables.columns)
    pd.testing.assert_frame_equal(same.drop(columns="id"), texts("decoded.csv"))
    assert same["id"].equals(tables["id"].astype(str))
    assert same["n"].str.fullmatch(r"-?\d+").all()
    assert same["day"].str.fullmatch(r"\d{4}-\d\d-\d\d").all()
    assert set(same["city"]) <= {"Rome", "Oslo", "'=Kyiv"}
    assert "Trustworthiness" in run("map", "m", "holes.csv", "-o", "map.png").out


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_only_gaps_are_filled(ending: str, run: Run, tables: pd.DataFrame) -> None:
    answer = run("impute", f"holes.{ending}", "-o", f"filled.{ending}", "--json").json
    read = texts if ending == "csv" else pd.read_parquet
    before, after = read(f"holes.{ending}"), read(f"filled.{ending}")
    gaps = before.isin(["", "?"]) | before.isna()
    assert sum(answer["filled"].values()) == gaps.to_numpy().sum()
    assert answer["left"] == {}
    assert not (after.isin(["", "?"]) | after.isna()).any(axis=None)
    kept = after.where(~gaps, before)
    if ending == "csv":
        kept["city"] = kept["city"].str.removeprefix("'")
    pd.testing.assert_frame_equal(kept, before, check_dtype=False)
    if ending == "parquet":
        assert pq.read_schema("filled.parquet").equals(pq.read_schema("holes.parquet"))
    error = answer["errors_of_mean"]
    assert error["width"] < 0.3
    assert error["n"] > 0.9
    right = (after["size"] == tables["size"])[gaps["size"]]
    assert right.mean() > 0.8


def test_impute_equals_reconstruct_fill_only(run: Run, tables: pd.DataFrame) -> None:
    run("train", "holes.csv", "-o", "m", *TINY)
    one = run("impute", "m", "holes.csv", "-o", "a.csv", "--json").json
    other = run("reconstruct", "m", "holes.csv", "--fill-only", "-o", "b.csv", "--json").json
    assert {**one, "output": 0} == {**other, "output": 0}
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    run("train", "numbers.csv", "-o", "plain", *TINY)
    for command in (
        ("impute", "plain", "numbers.csv", "-o", "c.csv"),
        ("reconstruct", "plain", "numbers.csv", "--fill-only", "-o", "c.csv"),
    ):
        refused = run(*command)
        assert refused.code == 4
        assert "learned from" in refused.err
        assert "without gaps, and fills none" in refused.err


def test_columns_are_chosen(run: Run, tables: pd.DataFrame) -> None:
    plain = run("train", "numbers.csv", "-o", "plain", *TINY, "--json").json
    assert plain["model"] == "Autoencoder"  # numbers without gaps are learned from as they are
    chosen = run(
        "train", "full.csv", "-o", "m", "--columns", "width,n,city", "--drop", "city",
        "--categorical", "n", *TINY, "--json",
    ).json  # fmt: skip
    kinds = {column["name"]: column["kind"] for column in chosen["columns"]}
    assert {name for name, kind in kinds.items() if kind == "dropped"} == {
        "id", "area", "size", "city", "day", "ok",
    }  # fmt: skip
    assert (kinds["n"], kinds["width"]) == ("category", "number")
    unknown = run("train", "full.csv", "-o", "x", "--drop", "nothing", *TINY)
    assert unknown.code == 2
    assert "drop names 'nothing', which is no column of the table" in unknown.err
    for refused, words in (
        (("train", "full.csv", "-o", "x", "--window", "8", "--drop", "id"), "read as a signal"),
        (("impute", "m", "full.csv", "-o", "x.csv", "--drop", "id"), "MODEL is trained"),
        (("impute", "full.csv", "-o", "x.npy"), "takes no table with texts or dates"),
        (("impute", "a", "b", "full.csv", "-o", "x.csv"), "give MODEL and DATA, or DATA alone"),
    ):
        result = run(*refused)
        assert result.code == 2
        assert words in result.err


def test_verbs_that_take_no_such_model_say_what_does(run: Run, tables: pd.DataFrame) -> None:
    run("train", "full.csv", "-o", "m", *TINY)
    for command in (
        ("export", "m", "-o", "m.onnx"),
        ("split", "m", "-o", "a", "b"),
        ("denoise", "m", "full.csv", "-o", "x.csv"),
        ("anomalies", "m", "full.csv", "-o", "x.csv"),
        ("serve", "m", "--port", "0"),
    ):
        refused = run(*command)
        assert refused.code in {2, 4}, command
        assert refused.err.count("\n") == 1
        assert "is a model of a table with categories, dates or gaps" in refused.err


def test_a_variational_model_of_a_table_is_sampled(run: Run, tables: pd.DataFrame) -> None:
    run("train", "holes.csv", "-o", "m", "--model", "variational", *TINY)
    answer = run("sample", "m", "-n", "7", "-o", "drawn.csv", "--random-state", "3", "--json").json
    assert (answer["rows"], answer["columns"]) == (7, list(tables.columns[1:]))
    drawn = texts("drawn.csv")
    assert len(drawn) == 7
    assert set(drawn["size"]) <= {"large", "small"}
    assert drawn["n"].str.fullmatch(r"\d+").all()
    model = load("m")
    assert isinstance(model, TableAutoencoder)
    assert model.sample(7, random_state=3)["n"].to_pylist() == drawn["n"].tolist()
    run("train", "holes.csv", "-o", "plain", *TINY)
    refused = run("sample", "plain", "-o", "x.csv")
    assert refused.code == 4
    assert "is of the class Autoencoder, which learns no density" in refused.err
    assert run("sample", "m", "-o", "x.npy").code == 2
    assert not Path("x.npy").exists()


def test_drawn_rows_have_the_names_of_the_columns_learned_from(run: Run) -> None:
    """Arrays have none to give: those of a structured one were lost, and others moved up."""
    rng = np.random.default_rng(SEED)
    rows = [(a, f"note {i} of the table", b) for i, (a, b) in enumerate(rng.normal(size=(80, 2)))]
    inner = VariationalAutoencoder(1, max_epochs=1)
    given = {
        "structured": (np.array(rows, [("w", float), ("note", "U30"), ("h", float)]), ["w", "h"]),
        "array": (np.array(rows, object), ["x0", "x2"]),
    }
    for kind, (table, names) in given.items():
        with pytest.warns(NarrowsWarning, match="left out"):
            model = TableAutoencoder(inner, random_state=SEED).fit(table)
        model.save(kind)
        answer = run("sample", kind, "-n", "3", "-o", f"{kind}.csv", "--json").json
        assert answer["columns"] == texts(f"{kind}.csv").columns.tolist() == names
        plain = model.sample(3, random_state=0)
        arrow = model.sample(3, random_state=0, as_arrow=True)
        np.testing.assert_array_equal(plain, np.column_stack([arrow[name] for name in names]))
        codes = model.transform(table)
        assert model.inverse_transform(codes, as_arrow=True).column_names == names


def test_defects_of_tables_are_refused_as_before(run: Run) -> None:
    rows = "".join(f"{i}.5,{i % 7}\n" for i in range(40))
    for text, words in (
        (f"a,b\nmm,kg\n{rows}", "units, names or other texts"),
        (f"a,b\n{rows}x,3\n", "row 40"),
        (f"a,a\n{rows}", "'a' is the name of columns 1, 2"),
        (f"a,b\n{rows}1,2,3\n", "has 3 values where 2 are expected"),
    ):
        Path("bad.csv").write_text(text)
        refused = run("train", "bad.csv", "-o", "m", *TINY)
        assert refused.code == 3
        assert words in refused.err
        assert not Path("m").exists()


def test_decimal_commas_come_back(run: Run) -> None:
    rng = np.random.default_rng(SEED)
    frame = pd.DataFrame({"a": rng.normal(size=60).round(2), "c": rng.choice(["u", "v"], 60)})
    frame.loc[3, "a"] = np.nan
    frame.to_csv("german.csv", sep=";", decimal=",", index=False)
    run("impute", "german.csv", "-o", "filled.csv")
    filled = pd.read_csv("filled.csv", sep=";", decimal=",")
    assert filled["a"].notna().all()
    assert filled.drop(3).equals(frame.drop(3))


def test_a_report_tells_errors_and_filling_by_column(run: Run, tables: pd.DataFrame) -> None:
    run("train", "holes.csv", "-o", "m", "--n-components", "3", "--random-state", "0")
    learned = run("report", "m", "holes.csv", "-o", "own", "--json").json
    assert not learned["filling"]["unseen"]
    found = run("report", "m", "full.csv", "-o", "page", "--json").json
    assert found["filling"]["unseen"]
    columns = {column["name"]: column for column in found["columns"]}
    assert list(columns) == list(tables.columns[1:])
    model = load("m")
    assert isinstance(model, TableAutoencoder)
    errors = model.column_errors("full.csv")
    assert {name: column["error"] for name, column in columns.items()} == pytest.approx(errors)
    for name in ("width", "area", "size"):
        assert columns[name]["filled"] < 0.8 * columns[name]["by_mean"]
    page = Path("page/index.html").read_text("utf-8")
    assert "Columns of the table" in page
    assert "5 neighbours" in page
    assert "--scaling standard" not in page  # the columns are scaled already


def test_texts_in_another_encoding_are_refused_with_what_takes_them(run: Run) -> None:
    lines = ["name,amount", *(f"Müller{i % 3},{i}.5" for i in range(30))]
    Path("latin.csv").write_bytes("\n".join(lines).encode("cp1252"))

    refused = run("train", "latin.csv", "-o", "m", *TINY)
    assert (refused.code, "--encoding" in refused.err) == (3, True)
    run("train", "latin.csv", "-o", "m", *TINY, "--encoding", "cp1252")
    run("reconstruct", "m", "latin.csv", "-o", "out.csv", "--encoding", "cp1252")

    assert set(pd.read_csv("out.csv")["name"]) <= {"Müller0", "Müller1", "Müller2"}


LIKE_NUMBERS = {
    "zip": (["01067", "10115", "80331"], "category", "codes such as"),
    "agent": (["007", "006", "8"], "category", "codes such as"),
    "key": ([f"{i * 7919 % 99991:05d}" for i in range(60)], "identifier", "codes such as"),
    "hex": (["0x1F", "0xff", "0x03"], "category", "codes such as"),
    "phone": ([f"+4930{i * 7919 + 10**7}" for i in range(60)], "identifier", "codes such as"),
    "day": ([f"2024{m:02}{d:02}" for m in (1, 6, 12) for d in (1, 15, 28)], "date", "dates such"),
}


@pytest.mark.parametrize("name", LIKE_NUMBERS)
def test_codes_beside_numbers_keep_what_makes_them_codes(name: str, run: Run) -> None:
    values, kind, words = LIKE_NUMBERS[name]
    rng = np.random.default_rng(SEED)
    x = rng.normal(50, 10, 60).round(2)
    column = [values[i % len(values)] for i in range(60)]
    table = pd.DataFrame({"x": x, "y": 2 * x, name: column})
    table.to_csv("t.csv", index=False)
    answer = run("train", "t.csv", "-o", "m", *TINY, "--json").json
    assert answer["model"] == "TableAutoencoder"
    assert [c["kind"] for c in answer["columns"]] == ["number", "number", kind]
    assert words in answer["warnings"][0]["columns"][name]
    assert answer["warnings"][0]["kind"] == "codes_found"
    restored = run("reconstruct", "m", "t.csv", "-o", "restored.csv")
    assert restored.code == 0
    own = texts("restored.csv")[name]
    assert own.str.len().equals(table[name].str.len()) or name in {"agent", "hex"}
    assert kind == "date" or set(own) <= set(column)
    table.loc[3, "y"] = np.nan
    table.to_csv("gaps.csv", index=False)
    assert run("impute", "gaps.csv", "-o", "filled.csv").code == 0
    assert texts("filled.csv")[name].str.removeprefix("'").tolist() == column
    found = run("anomalies", "t.csv", "-o", "found.csv", "--save", "d", "--json").json
    assert "codes_found" in [one["kind"] for one in found["warnings"]]
    assert run("train", "t.csv", "--for", "anomalies", "-o", "e").code == 0
    detector = load("e")
    assert isinstance(detector, AnomalyDetector)
    assert detector.column_encoder_ is not None
    columns = {column.name: column.kind for column in detector.column_encoder_.columns}
    assert columns == {"x": "number", "y": "number", name: kind}


@pytest.mark.parametrize("dtype", ["str", "category"])
def test_codes_are_kept_in_parquet_too(dtype: str, run: Run) -> None:
    """They are texts there, and had been read as numbers without a word."""
    x = np.random.default_rng(SEED).normal(50, 10, 60).round(2)
    table = pd.DataFrame({"x": x, "y": 2 * x, "is_new": x > 50})
    codes = {name: case for name, case in LIKE_NUMBERS.items() if name != "hex"}  # no numbers here
    for name, (values, _, _) in codes.items():
        table[name] = pd.Series((values * 60)[:60]).astype(dtype)
    table.to_parquet("t.parquet")
    answer = run("train", "t.parquet", "-o", "m", *TINY, "--json").json
    (said,) = [one for one in answer["warnings"] if one["kind"] == "codes_found"]
    assert set(said["columns"]) == set(codes)
    kinds = {c["name"]: c["kind"] for c in answer["columns"]}
    assert kinds == {"x": "number", "y": "number", "is_new": "yes/no"} | {
        name: kind if dtype == "str" else "category" for name, (_, kind, _) in codes.items()
    }
    with pytest.warns(NarrowsWarning) as told:
        files.read("t.parquet")
    assert [one.message.kind for one in told] == ["codes_as_numbers"]
    table.loc[3, "y"] = np.nan
    table.to_parquet("gaps.parquet")
    assert run("impute", "gaps.parquet", "-o", "filled.parquet").code == 0
    filled = pd.read_parquet("filled.parquet")
    pd.testing.assert_frame_equal(filled.drop(columns="y"), table.drop(columns="y"))


def test_numbers_with_zeros_stay_numbers(run: Run) -> None:
    rng = np.random.default_rng(SEED)
    lines = [f"{a:.3f},{b},{-b / 100:+.2f},1e-05" for a, b in rng.integers(0, 101, (50, 2))]
    Path("n.csv").write_text("\n".join(["a,b,c,d", *lines]))
    answer = run("train", "n.csv", "-o", "m", *TINY, "--json").json
    assert (answer["model"], answer["warnings"]) == ("Autoencoder", [])


def test_what_numbers_may_mean_else_is_said(run: Run) -> None:
    lines = [f"{i},{i % 7}e{i % 5},{'TRUE' if i % 3 else 'FALSE'}" for i in range(60)]
    Path("t.csv").write_text("\n".join(["x,part,ok", *lines]))
    said = run("train", "t.csv", "-o", "m", *TINY, "--json").json["warnings"]
    assert {one["kind"] for one in said} >= {"powers_read", "booleans_as_numbers"}
    assert run("reconstruct", "m", "t.csv", "-o", "r.csv", "--json").json["warnings"] == []
    table = [line + f",{'ab'[i % 2]}" for i, line in enumerate(lines)]
    Path("kinds.csv").write_text("\n".join(["x,part,ok,kind", *table]))
    said = run("train", "kinds.csv", "-o", "kinds", *TINY, "--json").json["warnings"]
    assert "booleans_as_numbers" not in [one["kind"] for one in said]  # they stay true and false
    run("train", "t.csv", "-o", "kept", *TINY, "--categorical", "part,ok")
    run("reconstruct", "kept", "t.csv", "-o", "kept.csv")
    kept = texts("kept.csv")
    assert set(kept["part"]) <= {line.split(",")[1] for line in lines}
    assert set(kept["ok"]) <= {"TRUE", "FALSE"}


def test_other_warnings_that_a_filter_raises_are_not_taken_for_codes(tmp_path: Path) -> None:
    """The warning of numbers such as 1e5 names columns, as that of codes does."""
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["x,part", *(f"{i},{i % 7}e{i % 5}" for i in range(60))]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(NarrowsWarning, match="hold numbers that may be codes"):
            read_learnable(lambda: files.read(path), path, FileOptions())


def test_a_trailing_delimiter_is_no_column(run: Run) -> None:
    lines = [f"{i}.5,{'ab'[i % 2]},," for i in range(40)]
    Path("t.csv").write_text("\n".join(["x,c,", *(line[:-1] for line in lines)]) + "\n")
    answer = run("train", "t.csv", "-o", "m", *TINY, "--json").json
    assert [c["name"] for c in answer["columns"]] == ["x", "c"]
    assert run("impute", "t.csv", "-o", "filled.csv").code == 0
    assert list(texts("filled.csv").columns) == ["x", "c"]


def test_remedies_for_columns_that_are_left_out_help(run: Run) -> None:
    lines = [f"{i % 9}.5,,{'' if i == 3 else f'remark {i}'}" for i in range(40)]
    Path("t.csv").write_text("\n".join(["x,nothing,note", *lines]) + "\n")
    Path("empty.csv").write_text("\n".join(["x,nothing", *(f"{i % 9}.5," for i in range(40))]))
    empty = run("train", "empty.csv", "-o", "e", *TINY, "--json").json["warnings"]
    assert ["--categorical" in one["message"] for one in empty] == [False]
    answer = run("impute", "t.csv", "-o", "filled.csv", "--json").json
    assert answer["left"] == {"nothing": 40, "note": 1}
    left = next(one for one in answer["warnings"] if one["kind"] == "gaps_left")
    assert left["columns"] == {"nothing": 40, "note": 1}
    assert "--categorical NAME" in left["message"]
    learned = run("impute", "t.csv", "-o", "g.csv", "--categorical", "note", "--json").json
    assert (learned["filled"], learned["left"]) == ({"note": 1}, {"nothing": 40})


@pytest.mark.parametrize("kind", ["numbers", "mixed"])
def test_extreme_values_are_said_by_column_and_their_remedy_helps(kind: str, run: Run) -> None:
    rng = np.random.default_rng(SEED)
    x = rng.normal(50, 10, 200).round(2)
    table = pd.DataFrame({"x": x, "y": (2 * x + rng.normal(0, 1, 200)).round(2)})
    if kind == "mixed":
        table["c"] = np.where(x > 50, "high", "low")
        table["day"] = [f"2024-01-{day:02}" for day in rng.integers(1, 31, 200)]
        table.loc[7, "day"] = "9999-12-31"
    usual = table.copy()
    table.loc[5, "y"] = 1e12
    table.loc[[1, 2, 3], "x"] = -9999
    table.to_csv("t.csv", index=False)
    few = ["--n-components", "1", "--max-epochs", "30", "--random-state", "0"]
    answer = run("train", "t.csv", "-o", "m", *few, "--json").json
    said = next(one for one in answer["warnings"] if one["kind"] == "extreme_values")
    expected = {
        "x": "3 values far from the others, such as -9999",
        "y": "1 value far from the others, such as 1e+12",
    }
    if kind == "mixed":
        expected["day"] = "1 value far from the others, such as 9999-12-31"
        assert run("info", "m", "--json").json["extreme_values"] == expected
        told = {c["name"]: c.get("extreme_values") for c in answer["columns"]}
        assert told == {**expected, "c": None}
    assert said["columns"] == expected
    assert "make gaps of such values" in said["message"]
    gaps = table.mask((table == 1e12) | (table == -9999) | (table == "9999-12-31"))
    gaps.to_csv("gaps.csv", index=False)
    told = run("train", "gaps.csv", "-o", "n", *few, "--json").json["warnings"]
    assert [one["kind"] for one in told] == []
    normal = np.setdiff1d(np.arange(200), [1, 2, 3, 5, 7])
    errors = {}
    for model, file in (("m", "t.csv"), ("n", "gaps.csv")):
        run("reconstruct", model, file, "-o", f"{model}.csv")
        difference = (pd.read_csv(f"{model}.csv")["y"] - usual["y"])[normal]
        errors[model] = float(difference.std() / usual["y"].std())
    assert errors["m"] > 1
    assert errors["n"] < 0.5


def test_a_detector_of_a_kind_of_model_learns_from_tables(run: Run, tables: pd.DataFrame) -> None:
    answer = run("train", "full.csv", "-o", "d", "--for", "anomalies", "--model", "denoising",
                 *TINY, "--json").json  # fmt: skip
    assert answer["rows"] == N
    found = run("anomalies", "d", "holes.csv", "-o", "scores.csv", "--json").json
    assert len(pd.read_csv("scores.csv")) == N
    assert found["model"] is None


def test_what_trains_in_one_process_is_refused_under_torchrun(
    run: Run, tables: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    for options, words in (
        (["--for", "anomalies"], "trains in one process; start it without torchrun"),
        (["--ray", "auto"], "torchrun and --ray both share out training; use one of them"),
    ):
        refused = run("train", "full.csv", "-o", "m", *options)
        assert (refused.code, words in refused.err) == (2, True)


def test_arrays_with_gaps_are_filled_into_tables(run: Run) -> None:
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(N, 1))
    rows = np.column_stack([x, 2 * x + 0.1 * rng.normal(size=(N, 1)), rng.normal(size=N)])
    holes = rows.copy()
    holes[:9, 1] = np.nan
    np.save("holes.npy", holes)
    answer = run("impute", "holes.npy", "-o", "filled.csv", "--json").json
    assert answer["filled"] == {"x1": 9}
    filled = pd.read_csv("filled.csv").to_numpy()
    np.testing.assert_array_equal(filled[9:], rows[9:])
    assert np.abs(filled[:9, 1] - rows[:9, 1]).max() < 1


def test_columns_of_any_name_are_named_in_any_number_of_options(run: Run) -> None:
    rng = np.random.default_rng(SEED)
    names = ["a, b", " c ", "x y", 'say "x"', "x"]
    table = pd.DataFrame({name: rng.normal(size=40).round(2) for name in names})
    table["x"] = rng.integers(0, 5, 40)
    table.to_csv("t.csv", index=False)
    for options, left in (
        (["--drop", '"a, b",x y'], {"a, b", "x y"}),
        (["--drop", "x", "--drop", '" c "'], {"x", " c "}),
        (["--columns", '"say ""x""", x', "--columns", "x y"], {"a, b", " c "}),
    ):
        answer = run("train", "t.csv", "-o", "m", *options, *TINY, "--overwrite", "--json").json
        assert {c["name"] for c in answer["columns"] if c["kind"] == "dropped"} == left
    for options, words in (
        (["--drop", "a, b"], "in double quotes on the command line"),
        (["--drop", ""], "--drop '' names no column"),
        (["--columns", ","], "--columns ',' names no column"),
        (["--drop", "x", "--categorical", "x"], "categorical names 'x', which drop leaves out"),
        (["--columns", "x y", "--categorical", "x"], "'x', which columns leaves out"),
    ):
        refused = run("train", "t.csv", "-o", "n", *options, *TINY)
        assert (refused.code, words in refused.err) == (2, True)
        refused = run("impute", "t.csv", "-o", "n.csv", *options)
        assert (refused.code, words in refused.err) == (2, True)
    refused = run("compare", "t.csv", "-o", "n", "--drop", "")
    assert (refused.code, "--drop '' names no column" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("price", "amount", "value"),
    [("14,75 €", "1.593", 1593), ("14.75 €", "1.593", 1.593), ("7,5 %", "12.000", 12000),
     ("$1,204.50", "1,593", 1593)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:'t.csv' was read as values separated by semicolons")
def test_amounts_of_money_tell_the_marks_of_other_numbers(
    run: Run, price: str, amount: str, value: float
) -> None:
    rng = np.random.default_rng(SEED)
    first = price.strip("$")[0]
    others = [price.replace(first, str(n), 1) for n in rng.integers(1, 9, 60)]
    lines = [f"{other};{'pq'[i % 2]};{10 + i}" for i, other in enumerate(others)]
    Path("t.csv").write_text("\n".join(["price;kind;n", *lines, f"{price};p;{amount}"]) + "\n")
    assert run("train", "t.csv", "-o", "m", *TINY).code == 0
    model = load("m")
    assert isinstance(model, TableAutoencoder)
    (column,) = (c for c in model.columns_ if c.name == "n")
    *_, values = read_file(Path("t.csv")).columns
    np.testing.assert_array_equal(column.read(values).numbers, [*range(10, 70), value])
