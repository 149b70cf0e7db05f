"""``narrows map``; the seed of everything random is 0."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_kit import TINY, Run, pictures, save_csv, save_idx, save_pictures, table
from PIL import Image

from narrows import load
from narrows.evaluation import project, score_map


@pytest.fixture
def trained(run: Run) -> None:
    save_pictures(Path("photos"), pictures())
    assert run("train", "photos", "-o", "model", *TINY).code == 0


@pytest.mark.usefixtures("trained")
def test_a_map_as_picture_tables_and_page(run: Run) -> None:
    outputs = ["map.png", "map.csv", "map.parquet", "map.tsv", "map.html"]
    options = [word for name in outputs for word in ("-o", name)]
    answered = run("map", "model", "photos", *options, "--json").json
    X = np.concatenate([pictures()[1::2], pictures()[::2]])  # left before right, as read
    labels = ["left"] * 20 + ["right"] * 20
    made = project(X, model=load("model"))
    scores = score_map(X, made.points, labels, model=load("model"))
    assert answered["outputs"] == outputs
    assert (answered["rows"], answered["method"]) == (40, "autoencoder")
    assert answered["distances"] == "restored"
    assert answered["trustworthiness"] == pytest.approx(scores.trustworthiness)
    assert answered["neighbor_accuracy"] == pytest.approx(scores.neighbor_accuracy)
    frame = pd.read_csv("map.csv")
    np.testing.assert_allclose(frame[["x", "y"]], made.points, rtol=1e-5)
    assert frame["label"].tolist() == labels
    assert frame["name"][0] == "left/01.png"
    pd.testing.assert_frame_equal(pd.read_parquet("map.parquet"), frame, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_csv("map.tsv", sep="\t"), frame, check_dtype=False)
    with Image.open("map.png") as picture:
        assert min(picture.size) > 500
    assert "left/01.png" in Path("map.html").read_text("utf-8")


@pytest.mark.usefixtures("trained")
def test_what_it_says(run: Run) -> None:
    said = run("map", "model", "photos", "-o", "map.csv", "--method", "pca").out.splitlines()
    assert said[0] == "40 samples, laid out by pca of what their codes restore."
    assert said[1].startswith("Trustworthiness 0.")
    assert said[2].startswith("5 nearest on the map name the label: 0.")
    assert said[3] == "Written to map.csv"
    again = run("map", "model", "photos", "-o", "map.csv", "--overwrite", "--no-scores", "--json")
    assert "trustworthiness" not in again.json


@pytest.mark.usefixtures("trained")
def test_by_error_and_by_labels_of_a_file(run: Run) -> None:
    by_error = run("map", "model", "photos", "-o", "map.csv", "--color", "error", "--json")
    assert by_error.code == 0
    frame = pd.read_csv("map.csv")
    X = np.concatenate([pictures()[1::2], pictures()[::2]])
    np.testing.assert_allclose(frame["error"], load("model").reconstruction_error(X), rtol=1e-4)
    Path("known.csv").write_text("id,label\n" + "".join(f"{i},{i % 3}\n" for i in range(40)))
    save_idx(Path("known"), (np.arange(40) % 3).astype(np.uint8))
    for name in ("known.csv", "known"):
        assert run("map", "model", "photos", "-o", f"{name}.parquet", "--labels", name).code == 0
        written = pd.read_parquet(f"{name}.parquet")
        assert written["label"].tolist() == [str(i % 3) for i in range(40)]


def test_tables_have_names_by_number_and_no_labels(run: Run) -> None:
    save_csv(Path("measured.csv"), table())
    assert run("train", "measured.csv", "-o", "model", *TINY).code == 0
    said = run("map", "model", "measured.csv", "-o", "map.html", "-o", "map.csv")
    assert said.code == 0
    assert list(pd.read_csv("map.csv").columns) == ["name", "x", "y", "error"]
    assert "label" not in said.out


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["-o", "map.svg"], 2, ".png, .csv, .parquet, .tsv, .html"),
        (["-o", "map.csv", "-o", "map.csv"], 2, "twice"),
        (["-o", "nowhere/map.csv"], 5, "nowhere"),
        (["-o", "map.csv", "--labels", "two.csv"], 3, "2 labels for 40 rows"),
        (["-o", "map.csv", "--labels", "same.csv"], 3, "all labels are 'a'"),
        (["-o", "map.csv", "--labels", "none.csv"], 3, "does not exist"),
        (["-o", "map.csv", "--method", "umap"], 7, "narrows[umap]"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    words: list[str], code: int, part: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    Path("two.csv").write_text("label\na\nb\n")
    Path("same.csv").write_text("label\n" + "a\n" * 40)
    refused = run("map", "model", "photos", *words)
    assert refused.code == code
    assert part in refused.err
    assert len(refused.err.splitlines()) == 1
    assert not Path("map.csv").exists()


@pytest.mark.usefixtures("trained")
def test_data_and_models_that_do_not_fit_are_refused(run: Run) -> None:
    np.save("few.npy", pictures()[:2])
    few = run("map", "model", "few.npy", "-o", "map.csv")
    assert (few.code, "at least 3" in few.err) == (3, True)
    np.save("other.npy", np.zeros((9, 5, 5), np.uint8))
    other = run("map", "model", "other.npy", "-o", "map.csv")
    assert (other.code, "resize" in other.err) == (3, True)
    assert run("split", "model", "-o", "encoder", "decoder").code == 0
    assert run("map", "decoder", "photos", "-o", "map.csv").code == 4
    assert run("map", "encoder", "photos", "-o", "map.csv", "--color", "error").code == 4
    of_encoder = run("map", "encoder", "photos", "-o", "map.csv", "--json").json
    of_codes = run("map", "model", "photos", "-o", "c.csv", "--distances", "codes", "--json").json
    assert of_encoder["distances"] == of_codes["distances"] == "codes"
    assert of_encoder["trustworthiness"] == of_codes["trustworthiness"]
    assert run("map", "encoder", "photos", "-o", "d.csv", "--distances", "restored").code == 2
    np.save("rows.npy", pictures())
    alone = run("map", "model", "rows.npy", "-o", "rows.csv", "--color", "label")
    assert (alone.code, "--labels" in alone.err) == (3, True)
    assert run("map", "model", "rows.npy", "-o", "rows.csv").code == 0
