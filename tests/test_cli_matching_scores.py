"""``narrows evaluate-matching``; the seed of everything random is 0."""

from pathlib import Path

import numpy as np
import pytest
from cli_kit import TINY, Run, pictures, save_pictures

from narrows import load
from narrows.evaluation import evaluate_matching


@pytest.fixture
def trained(run: Run) -> None:
    save_pictures(Path("photos"), pictures())
    assert run("train", "photos", "-o", "model", *TINY).code == 0


@pytest.mark.usefixtures("trained")
def test_folders_labels_and_pairs(run: Run) -> None:
    by_folder = run("evaluate-matching", "model", "photos", "-k", "3", "--json").json["methods"]
    X = np.concatenate([pictures()[1::2], pictures()[::2]])  # left before right, as read
    labels = ["left"] * 20 + ["right"] * 20
    expected = evaluate_matching(load("model"), X, labels, k=(3,))
    for shown, scores in zip(by_folder, expected, strict=True):
        assert shown["method"] == scores.method
        assert shown["precision"]["3"] == pytest.approx(scores.precision[3])
        assert shown["mean_average_precision"] == pytest.approx(scores.mean_average_precision)
    Path("labels.csv").write_text("\n".join(["label", *labels]))
    by_labels = run("evaluate-matching", "model", "photos", "-k", "3", "--labels", "labels.csv")
    assert [line.split()[-1] for line in by_labels.out.splitlines()[2:]] == [
        f"{scores.mean_average_precision:.4f}" for scores in expected
    ]
    Path("pairs.csv").write_text("one,other\n0,1\nright/00.png,right/02.png\n")
    by_pairs = run("evaluate-matching", "model", "photos", "--pairs", "pairs.csv", "--json")
    assert [method["n_queries"] for method in by_pairs.json["methods"]] == [4, 4, 4]


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("option", "text", "code", "words"),
    [
        ("--labels", "label\na\nb\n", 3, "2 labels for 40 rows"),
        ("--labels", "label\na,b\n", 3, "first line has 1 name, the lines below it have 2 values"),
        ("--labels", "label\na\n\nb\n", 3, "has no label in row 1, counted from 0"),
        ("--labels", "kind,n\na,1\n", 3, "has the columns kind, n, and none is called label"),
        ("--pairs", "one,other\n0,nowhere\n", 3, "names 'nowhere'"),
        ("--pairs", "one,other\n", 3, "holds no rows"),
        ("--pairs", "one\n0\n", 3, "has 1 columns; give two"),
        ("--pairs", None, 3, "does not exist"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    option: str, text: str | None, code: int, words: str, run: Run
) -> None:
    if text is not None:
        Path("known.csv").write_text(text)
    refused = run("evaluate-matching", "model", "photos", option, "known.csv")
    assert refused.code == code
    assert words in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.usefixtures("trained")
def test_labels_and_pairs_together_and_rows_without_folders_are_refused(run: Run) -> None:
    both = run("evaluate-matching", "model", "photos", "--labels", "a", "--pairs", "b")
    assert both.code == 2
    np.save("rows.npy", pictures())
    assert run("evaluate-matching", "model", "rows.npy").code == 3
    alone = run("evaluate-matching", "model", "photos/left")
    assert alone.code == 3
    assert "one folder" in alone.err
