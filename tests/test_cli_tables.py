"""Tables of all dialects on the command line: read, refused in one line, or said to be a guess."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_kit import TINY, Run, frame, pictures, save_pictures, table

from narrows import Library, load

pytestmark = pytest.mark.cases

GERMAN = ["--delimiter", ";", "--decimal", ",", "--thousands", ".", "--header"]


def trained(run: Run, path: str, *options: str) -> dict[str, Any]:
    found = run("train", path, "-o", "model", *TINY, "--overwrite", "--json", *options)
    assert found.code == 0, found.err
    return found.json


def test_what_was_found_out_is_said_and_in_the_json_answer(run: Run) -> None:
    frame(table()).to_csv("german.csv", sep=";", decimal=",", index=False)
    found = run("train", "german.csv", "-o", "model", *TINY, "--json")
    (warning,) = found.json["warnings"]
    assert warning["kind"] == "format_found"
    assert (warning["delimiter"], warning["decimal"]) == (";", ",")
    assert f"narrows: warning: {warning['message']}\n" in found.err
    assert load("model").feature_names_in_.tolist() == list("abcdef")
    assert trained(run, "german.csv", "--delimiter", ";", "--decimal", ",")["warnings"] == []


def test_a_header_that_is_a_guess_is_said_and_overridden(run: Run) -> None:
    pd.DataFrame(table(), columns=range(2017, 2023)).to_csv("years.csv", index=False)
    for options, rows, said in (
        ((), 40, ["header_guessed"]),
        (("--header",), 40, []),
        (("--no-header",), 41, ["extreme_values"]),  # the years
    ):
        found = trained(run, "years.csv", *options)
        assert found["rows"] == rows
        assert [one["kind"] for one in found["warnings"]] == said
    trained(run, "years.csv")
    # The model that knows the names decides without a word.
    encoded = run("encode", "model", "years.csv", "-o", "codes.npy", "--json").json
    assert (encoded["rows"], encoded["warnings"]) == (40, [])
    pd.DataFrame(table()).to_csv("bare.csv", index=False, header=False)
    refused = run("encode", "model", "bare.csv", "-o", "other.npy")
    assert refused.code == 3
    assert "are not those that the Autoencoder learned from" in refused.err
    same = run("encode", "model", "bare.csv", "-o", "other.npy", "--no-header", "--json")
    assert same.json["rows"] == 40
    np.testing.assert_array_equal(np.load("other.npy"), np.load("codes.npy"))


def test_a_gap_in_the_first_line_is_data_and_said(run: Run) -> None:
    rows = "\n".join(",".join(map(str, row)) for row in table())
    Path("gap.csv").write_text(f"4.1,5.2,3.3,7.4,5.5,NA\n{rows}\n")
    answer = run("train", "gap.csv", "-o", "model", *TINY, "--json").json
    assert (answer["rows"], answer["columns"][5]["gaps"]) == (41, 1)
    (warning,) = [one for one in answer["warnings"] if one["kind"] == "header_guessed"]
    assert "though it has gaps; if it holds the column names: --header" in warning["message"]


def save_both() -> None:
    """Save the same table and labels in two dialects."""
    values = frame(table(60) * 1000)
    for name, sep, number in (("english", ",", "{}"), ("german", ";", "{:,}")):
        Path(name).mkdir()
        texts = values.map(number.format)
        if name == "german":
            texts = texts.map(lambda text: text.translate(str.maketrans(",.", ".,")))
        texts.to_csv(f"{name}/data.csv", sep=sep, index=False)
        Path(name, "labels.csv").write_text(f"n{sep}label\n" + f"1{sep}a\n2{sep}b\n" * 30)


@pytest.mark.parametrize(
    "line",
    [
        "encode model {0}/data.csv -o {0}/out.npy",
        "reconstruct model {0}/data.csv -o {0}/out.csv",
        "denoise model {0}/data.csv -o {0}/out.npy --clean {0}/data.csv",
        "map model {0}/data.csv -o {0}/out.parquet --labels {0}/labels.csv --no-scores",
        "evaluate-matching model {0}/data.csv --labels {0}/labels.csv",
        "report model {0}/data.csv -o {0}/out --train {0}/data.csv --labels {0}/labels.csv",
        "compare {0}/data.csv -o {0}/out --labels {0}/labels.csv --models autoencoder "
        "--max-epochs 1 --n-components 2",
        "depth {0}/data.csv --depths 4 --remedies plain --width 8 --n-components 2 --max-epochs 1",
        "match rows.lance {0}/data.csv -k 2",
        "index model {0}/data.csv -o {0}/out.lance",
        "encode windows {0}/data.csv -o {0}/out.npy --signal --columns a",
        "train {0}/data.csv -o {0}/out --window 8 --max-epochs 1 --n-components 2 --random-state 0",
    ],
)
def test_every_verb_that_reads_tables_takes_the_options(line: str, run: Run) -> None:
    save_both()
    trained(run, "english/data.csv", "--model", "denoising", "--architecture", "dense")
    if "rows.lance" in line:
        run("index", "model", "english/data.csv", "-o", "rows.lance")
    if "windows" in line:
        run("train", "english/data.csv", "-o", "windows", *TINY, "--window", "8", "--columns", "a")
    answers = []
    for name, options in (("english", ["--header"]), ("german", GERMAN)):
        found = run(*line.format(name).split(), *options, "--json")
        assert found.code == 0, found.err
        answers.append(found.out.replace("german/", "english/"))
        kinds = {one["kind"] for one in found.json.get("warnings", [])}
        # An epoch is short; of the table there is nothing to say.
        assert kinds <= {"worse_than_mean"} or line.startswith(("map", "report", "compare"))
    timed = {"seconds", "cpu_seconds", "fingerprint"}
    first, second = (without(json.loads(answer), timed) for answer in answers)
    assert first == second
    if Path("english/out.npy").exists():
        np.testing.assert_array_equal(np.load("english/out.npy"), np.load("german/out.npy"))


def without(value: Any, names: set[str]) -> Any:
    """Leave out of an answer what differs from run to run."""
    if isinstance(value, dict):
        return {key: without(item, names) for key, item in value.items() if key not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


def test_metadata_of_pictures_may_be_in_any_dialect(run: Run) -> None:
    save_pictures(Path("photos"), pictures())
    trained(run, "photos")
    files = sorted(Path("photos").rglob("*.png"))
    table = pd.DataFrame({"file": [file.name for file in files], "größe": np.arange(40) + 0.5})
    table.to_csv("about.csv", sep=";", decimal=",", index=False, encoding="cp1252")
    refused = run("index", "model", "photos", "-o", "a.lance", "--metadata", "about.csv")
    assert refused.code == 3
    assert "not in UTF-8 (byte 0xF6 in line 1); say its encoding" in refused.err
    made = run(
        "index", "model", "photos", "-o", "a.lance", "--metadata", "about.csv",
        "--encoding", "cp1252", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert "separated by semicolons, with decimal commas" in made.json["warnings"][0]["message"]
    assert Library.open("a.lance").count("größe > 30") == 10
    unused = run("index", "model", "photos", "-o", "b.lance", "--encoding", "cp1252")
    assert unused.code == 2
    assert "encoding='cp1252' is for text tables" in unused.err


def test_an_array_of_an_archive_is_chosen_by_name(run: Run) -> None:
    np.savez("both.npz", train=table(), test=table()[:7])
    refused = run("train", "both.npz", "-o", "model", *TINY)
    assert refused.code == 3
    assert "holds the arrays train (40 x 6), test (7 x 6)" in refused.err
    assert "--array NAME" in refused.err
    assert trained(run, "both.npz", "--array", "train")["rows"] == 40
    assert run("encode", "model", "both.npz", "-o", "c.npy", "--array", "test").code == 0
    assert np.load("c.npy").shape == (7, 3)
    assert run("encode", "model", "both.npz", "-o", "d.npy", "--array", "other").code == 2
    np.savez("x.npz", X=table(), y=np.arange(40))
    (warning,) = trained(run, "x.npz")["warnings"]
    assert warning["kind"] == "array_guessed"
    assert warning["arrays"] == {"X": [40, 6], "y": [40]}


def test_compressed_tables_are_read_by_every_name(run: Run) -> None:
    text = frame(table()).to_csv(index=False)
    Path("rows.csv.gz").write_bytes(gzip.compress(text.encode()))
    frame(table()).to_csv("rows.txt.gz", index=False, sep=" ")
    for name in ("rows.csv.gz", "rows.txt.gz"):
        assert trained(run, name)["rows"] == 40
        assert load("model").feature_names_in_.tolist() == list("abcdef")


def test_the_options_are_in_the_help(run: Run) -> None:
    for verb in ("train", "encode", "index", "match"):
        told = run(verb, "--help").out
        for option in ("--delimiter", "--decimal", "--encoding", "--header / --no-header"):
            assert option in told
    for options in (["--decimal", ";"], ["--encoding", "klingon"], ["--skip-lines", "-1"]):
        refused = run("train", "rows.csv", "-o", "model", *options)
        assert refused.code == 2
        assert f"is not allowed ({options[0]})" in refused.err
