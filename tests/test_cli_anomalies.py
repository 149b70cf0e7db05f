"""``narrows anomalies`` and ``narrows train --for anomalies``: files, answers and refusals."""

import csv
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from narrows import AnomalyDetector, Autoencoder, load
from narrows.cli.main import main
from narrows.errors import ParameterError
from narrows.evaluation import find_anomalies

SEED = 20261130
COLUMNS = ["alcohol", "proline", "hue", "=ash"]


def measured(count, seed):
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, 1)) + 0.1 * generator.normal(size=(count, 4))
    return rows * [1, 100, 5, 0.1] + [0, 1_000, 3, 7]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("anomalies")
    X = measured(200, SEED)
    X[7, 2] += 8  # the other columns say otherwise
    pd.DataFrame(X, columns=COLUMNS).to_csv(place / "old.csv", index=False)
    pd.DataFrame(measured(80, 1), columns=COLUMNS).to_csv(place / "new.csv", index=False)
    moved = pd.DataFrame(measured(80, 2), columns=COLUMNS)
    moved["hue"] += 6
    moved.to_csv(place / "moved.csv", index=False)
    assert main(["train", str(place / "old.csv"), "--for", "anomalies", "-o", str(place / "m"),
                 "--random-state", "0"]) == 0  # fmt: skip
    return place


def test_rows_are_listed_by_score(folder, tmp_path, capsys):
    assert main(["anomalies", str(folder / "old.csv"), "-o", str(tmp_path / "a.csv")]) == 0
    said = capsys.readouterr().out
    assert "9 rows of 200 above the threshold of" in said
    assert "rows are numbered from 0" in said
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 200
    assert lines[0]["row"] == "7"
    assert lines[0]["anomaly"] == "1"
    assert lines[0]["why"].startswith("hue ")
    scores = [float(line["score"]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    parts = [float(lines[3][name]) for name in ("residual", "code", "neighbours")]
    assert sum(parts) == pytest.approx(scores[3])
    X = pd.read_csv(folder / "old.csv")
    detector = AnomalyDetector(random_state=0).fit(X)
    assert scores == pytest.approx(sorted(-detector.score_samples(X), reverse=True))


def test_names_of_columns_are_no_formulas(folder, tmp_path):
    assert main(["anomalies", str(folder / "old.csv"), "-o", str(tmp_path / "a.csv")]) == 0
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        why = [line["why"] for line in csv.DictReader(file)]
    assert any("=ash" in cell for cell in why)
    assert not any(cell.startswith("=") for cell in why)


def test_a_detector_scores_new_rows(folder, tmp_path, capsys):
    assert main(["anomalies", str(folder / "m"), str(folder / "new.csv"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    detector = load(folder / "m")
    new = pd.read_csv(folder / "new.csv")
    truth = detector.score_samples(new)
    assert answer["threshold"] == -detector.offset_
    assert answer["anomalies"] == (detector.predict(new) == -1).sum()
    for line in answer["scores"]:
        assert line["score"] == pytest.approx(-truth[int(line["row"])])
    assert answer["drift"]["p_value"] > 0.05
    assert main(["anomalies", str(folder / "m"), str(folder / "moved.csv")]) == 0
    shown = capsys.readouterr()
    assert "Drift: as a whole, the rows are unlike those learned from" in shown.err


def test_pages_hold_what_they_need(folder, tmp_path):
    page = tmp_path / "a.html"
    assert main(["anomalies", str(folder / "m"), str(folder / "moved.csv"), "-o", str(page)]) == 0
    text = page.read_text("utf-8")
    assert "Content-Security-Policy" in text
    assert "Drift" in text
    assert text.count("data:image/png;base64,") == 2
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")


def test_training_does_without_the_compiler_of_pytorch(folder):
    """Its import takes longer than the detector of a small table."""
    program = (
        "import sys; from narrows.cli.main import main; "
        f"code = main(['anomalies', {str(folder / 'old.csv')!r}]); "
        "sys.exit(code or 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pictures_and_signals(tmp_path, capsys):
    generator = np.random.default_rng(SEED)
    X = np.clip(generator.normal(90, 9, (60, 12, 12)) + 90 * np.eye(12), 0, 255).astype(np.uint8)
    X[4] = X[4, :, ::-1]
    np.save(tmp_path / "p.npy", X)
    assert main(["anomalies", str(tmp_path / "p.npy"), "-o", str(tmp_path / "p.html")]) == 0
    assert (tmp_path / "p.html").read_text("utf-8").count("data:image/png;base64,") == 2
    wave = np.sin(np.arange(4_000) / 7) + 0.1 * generator.normal(size=4_000)
    np.save(tmp_path / "clean.npy", wave)
    wave[3_000:3_100] += np.sin(np.arange(100) / 2)
    np.save(tmp_path / "s.npy", wave)
    assert main(["train", str(tmp_path / "clean.npy"), "--window", "64", "--for", "anomalies",
                 "-o", str(tmp_path / "m")]) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["anomalies", str(tmp_path / "m"), str(tmp_path / "s.npy"), "--json",
                 "-o", str(tmp_path / "s.html")]) == 0  # fmt: skip
    first = json.loads(capsys.readouterr().out)["scores"][0]
    start, _ = first["row"].removeprefix("s.npy, samples ").split("-")
    assert 3_000 - 64 < int(start) < 3_100
    assert "over time" in (tmp_path / "s.html").read_text("utf-8")


def test_pictures_of_another_size_are_resized_with_a_word(tmp_path, capsys):
    generator = np.random.default_rng(SEED)
    for name, side in (("old", 16), ("new", 20)):
        (tmp_path / name).mkdir()
        for number in range(30):
            pixels = generator.integers(0, 255, (side, side), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    model = str(tmp_path / "m")
    assert main(["train", str(tmp_path / "old"), "--for", "anomalies", "-o", model]) == 0
    capsys.readouterr()
    assert main(["anomalies", model, str(tmp_path / "new"), "--json"]) == 0
    warned = json.loads(capsys.readouterr().out)["warnings"]
    (said,) = (one for one in warned if one["kind"] == "pictures_resized")
    assert "which the detector learned from" in said["message"]
    assert "--architecture" not in said["message"]


def test_an_autoencoder_scores_rows_too(folder, tmp_path, capsys):
    old = pd.read_csv(folder / "old.csv")
    model = Autoencoder(1, max_epochs=2, random_state=0).fit(old[:100])
    model.save(tmp_path / "a")
    old[100:].to_csv(tmp_path / "rest.csv", index=False)
    code = main(["anomalies", str(tmp_path / "a"), str(folder / "moved.csv"), "--train",
                 str(tmp_path / "rest.csv"), "--json"])  # fmt: skip
    assert code == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["anomalies"] > 60
    assert answer["drift"]["p_value"] < 0.01
    assert main(["anomalies", str(tmp_path / "a"), str(folder / "new.csv")]) == 0
    assert "the threshold comes from NEW itself" in capsys.readouterr().err


def test_detectors_are_described(folder, capsys):
    assert main(["info", str(folder / "m"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["ensemble"]) == ("detector", "30 networks")
    assert answer["learned_from"] == 200


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["anomalies", "m"], (2, "name the rows that it is to score")),
        (["anomalies", "old.csv", "-o", "a.txt"], (2, "does not end in .csv, .json, .html")),
        (["anomalies", "m", "new.csv", "--false-alarms", "0.1"], (2, "was decided when")),
        (["anomalies", "m", "new.csv", "--window", "5"], (2, "leave out --window")),
        (["anomalies", "m", "new.csv", "--train", "old.csv"], (2, "--train is for autoencoders")),
        (["anomalies", "old.csv", "--train", "new.csv"], (2, "--train goes with MODEL and NEW")),
        (["anomalies", "old.csv", "--hop", "5"], (2, "--hop 5 is for signals")),
        (["anomalies", "old.csv", "--false-alarms", "2"], (2, "false_alarms=2.0")),
        (["encode", "m", "new.csv", "-o", "x.npy"], (4, "is a detector of anomalies")),
        (["train", "old.csv", "--for", "anomalies", "-o", "x", "--n-components", "2"],
         (2, "--n-components does not go with --for anomalies")),
        (["train", "old.csv", "--for", "anomalies", "-o", "x", "--resume", "m"],
         (2, "--resume does not go with --for anomalies")),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(folder, monkeypatch, capsys, arguments, refusal):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    code, words = refusal
    assert main(arguments) == code
    assert words in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


def test_the_count_that_chance_gives_is_good_and_more_is_not(folder):
    detector = load(folder / "m")
    verdicts = {}
    for name in ("new", "moved"):
        table = pd.read_csv(folder / f"{name}.csv")
        page = find_anomalies(detector, table, are_new=True)
        verdicts[name] = {finding.rule: finding.weight for finding in page.verdict}
        text = page.to_html()
        assert "<td>yes</td>" in text.replace(' class="number"', "")
        assert "Rows are numbered from 0." in text
    assert verdicts["new"]["anomalies"] == "good"
    assert verdicts["moved"]["anomalies"] == "note"
    assert verdicts["moved"]["drift"] == "bad"
    of_old = find_anomalies(detector, pd.read_csv(folder / "old.csv"))
    assert {one.rule: one.weight for one in of_old.verdict} == {"anomalies": "good", "far": "note"}
    assert ", and of those learned from" in text
    assert ", and of those learned from" not in of_old.to_html()
    assert of_old.as_json()["contamination"] == "auto"


def test_unknown_categories_are_warned_of_once(tmp_path, capsys):
    generator = np.random.default_rng(SEED)
    table = pd.DataFrame(
        {"size": generator.normal(size=300), "kind": generator.choice(["a", "b"], 300)}
    )
    table.to_csv(tmp_path / "old.csv", index=False)
    table.loc[:249, "kind"] = "c"
    table.to_csv(tmp_path / "new.csv", index=False)
    model = str(tmp_path / "m")
    assert main(["train", str(tmp_path / "old.csv"), "--for", "anomalies", "-o", model]) == 0
    capsys.readouterr()
    assert main(["anomalies", model, str(tmp_path / "new.csv"), "--json"]) == 0
    warned = json.loads(capsys.readouterr().out)["warnings"]
    kinds = [one["columns"] for one in warned if one["kind"] == "unknown_categories"]
    assert kinds == [{"kind": 250}]


def test_tables_with_categories_and_gaps(tmp_path, capsys):
    generator = np.random.default_rng(SEED)
    high = generator.random(200) < 0.5
    sizes = np.where(high, 10, 2) + generator.normal(size=200)
    kinds = np.where(high, "tall", "short")
    table = pd.DataFrame({"size": sizes, "kind": kinds, "other": sizes})
    table.loc[generator.random(200) < 0.15, "other"] = np.nan
    table.loc[50, "kind"] = "short" if high[50] else "tall"
    table.to_csv(tmp_path / "t.csv", index=False)
    model, data = str(tmp_path / "m"), str(tmp_path / "t.csv")
    assert main(["anomalies", data, "--json", "--save", model]) == 0
    first = json.loads(capsys.readouterr().out)["scores"][0]
    assert first["row"] == "50"
    assert first["why"].startswith("kind ")
    assert main(["anomalies", model, data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"][0]["row"] == "50"


def test_columns_are_chosen(tmp_path, capsys):
    """What is left out has no effect, and codes that are numbers may be categories."""
    generator = np.random.default_rng(20261130)
    size = generator.normal(size=300)
    table = pd.DataFrame({"size": size, "area": size + 0.1 * generator.normal(size=300)})
    table["customer"] = generator.permutation(300) * 7
    table["group"] = np.where(np.arange(300) == 5, 2, generator.choice([1, 3], 300))
    table.loc[7, "area"] += 3
    table.to_csv(tmp_path / "t.csv", index=False)
    path, model = str(tmp_path / "t.csv"), str(tmp_path / "m")

    def scores(*options):
        assert main(["anomalies", path, *options, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["scores"]
        return {one["row"]: one["score"] for one in found}

    chosen = scores("--columns", "size,area")
    assert max(chosen, key=chosen.get) == "7"
    truth = AnomalyDetector(columns=["size", "area"], random_state=0).fit(table)
    assert chosen["7"] == pytest.approx(-truth.score_samples(table)[7])
    assert scores("--drop", "customer,group") == chosen
    with_group = scores("--drop", "customer", "--categorical", "group")
    assert set(sorted(with_group, key=with_group.get)[-2:]) == {"5", "7"}
    train = ["train", path, "--for", "anomalies", "--random-state", "0", "-o", model]
    assert main([*train, "--drop", "customer,group"]) == 0
    assert main(["anomalies", model, path, "--drop", "group"]) == 2
    capsys.readouterr()
    assert main(["anomalies", model, path, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["scores"]
    assert {one["row"]: one["score"] for one in again} == pytest.approx(chosen)
    assert main(["anomalies", path, "--drop", "colour"]) == 2
    with pytest.raises(ParameterError, match="drop='group'"):
        AnomalyDetector(drop="group").fit(table)
