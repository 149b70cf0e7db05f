"""Reports and maps of signals: windows with file and time, as curves, and their errors over time.

The seed of everything random here is 0.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from cli_kit import Run
from numpy.typing import NDArray

from narrows import Autoencoder, plots, signals
from narrows.errors import DataError
from narrows.evaluation import make_report
from narrows.signals import Signal, Windows

RATE, LENGTH = 8000, 64
TRAIN = ["--n-components", "4", "--max-epochs", "2", "--random-state", "0", "--window", "64"]
# Samples of the faulty signal that are noise.
FAULT = slice(3000, 3100)


def machine(seed: int, *, channels: int = 1) -> NDArray[np.float32]:
    """Return 6 000 samples of a hum; channels after the first are a thousandth of it."""
    generator = np.random.default_rng(seed)
    hum = np.sin(np.arange(6000) / 9)[:, None] * np.geomspace(1, 1e-3, channels)
    noise = generator.normal(size=hum.shape) * np.geomspace(0.02, 2e-5, channels)
    return (0.4 * hum + noise).astype(np.float32).squeeze()


def faulty(*, channels: int = 1) -> NDArray[np.float32]:
    values = machine(2, channels=channels)
    values[FAULT] += np.random.default_rng(3).normal(size=values[FAULT].shape)
    return values


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for folder, name, values in (
        ("old", "a.wav", machine(0)),
        ("old", "b.wav", machine(1)),
        ("new/good", "c.wav", machine(4)),
        ("new/bad", "d.wav", faulty()),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        sound = Signal(values, RATE, subtype="FLOAT")
        signals.write(tmp_path / folder / name, sound)
    return tmp_path


def test_windows_know_their_signal_and_their_time(sounds: Path) -> None:
    found = signals.read_all(sounds / "new")
    windows = Windows(found.signals, LENGTH, 16)
    assert windows.names == ["bad/d.wav", "good/c.wav"]
    for row in (0, 100, len(windows) - 1):
        owner, start = windows.owners[row], windows.starts[row]
        values = found.signals[owner].values[start : start + LENGTH]
        np.testing.assert_array_equal(windows[row], values)
        seconds = f"{start / RATE:.3f}-{(start + LENGTH) / RATE:.3f} s"
        assert windows.describe(row) == f"{windows.names[owner]}, {seconds}"
    assert Windows(np.zeros((100, 2)), 20).describe(3) == "signal 0, samples 30-49"
    assert signals.read(sounds / "old" / "a.wav").name == "a.wav"


def test_a_report_of_a_folder_finds_the_fault_by_file_and_time(sounds: Path, run: Run) -> None:
    assert run("train", "old", "-o", "model", *TRAIN).code == 0
    said = run("report", "model", "new", "-o", "page", "--json").json
    # The fault is one stretch, which its windows cover, and no other window has such errors.
    worst, *others = said["outliers"]
    assert worst["signal"] == "bad/d.wav"
    assert FAULT.start - LENGTH < worst["start"] <= FAULT.start
    assert FAULT.stop <= worst["end"] < FAULT.stop + LENGTH
    assert all(other["score"] < worst["score"] / 10 for other in others)
    page = (sounds / "page" / "index.html").read_text("utf-8")
    assert f"{worst['start'] / RATE:.3f}-{worst['end'] / RATE:.3f} s" in page
    assert "Outliers over time" in page
    assert "are no pictures" not in page
    names = {picture.stem for picture in (sounds / "page").glob("*.png")}
    assert {"restored-worst", "scores-over-time", "traversal"} <= names
    assert json.loads((sounds / "page" / "report.json").read_text())["outliers"] == said["outliers"]


def test_stretches_join_what_overlaps_and_keep_apart_what_does_not() -> None:
    clean = machine(0)
    model = Autoencoder(4, max_epochs=2, random_state=0).fit(Windows(clean, LENGTH))
    twice = machine(5)
    twice[1000:1010] += 3
    twice[2000:2010] -= 3
    report = make_report(model, Windows([machine(6), twice], LENGTH))
    found = report.as_json()["outliers"]
    found = sorted(found[:2], key=lambda one: one["start"])
    assert {one["signal"] for one in found} == {"signal 1"}
    starts = [one["start"] for one in found]
    # Windows begin every 32 samples: two of them hold samples 1000 to 1010, from 960 and 992.
    # Of 2000 to 2010, those from 1952 and 1984.
    np.testing.assert_array_equal(starts, [960, 1952])
    assert [one["end"] for one in found] == [960 + LENGTH + 32, 1952 + LENGTH + 32]
    assert report.subject.names[0] == "signal 0, samples 0-63"


def test_windows_held_out_in_training_are_said_to_overlap(sounds: Path, run: Run) -> None:
    wide = ["--hidden-layer-sizes", "16", "--architecture", "dense"]
    assert run("train", "old", "-o", "model", *TRAIN, *wide).code == 0
    assert (
        "share samples" in run("report", "model", "old", "-o", "old-page", "--json").json["notice"]
    )
    assert "share samples" not in run("report", "model", "new", "-o", "p", "--json").json["notice"]


def test_channels_are_shown_by_name_and_each_by_its_own_error(tmp_path: Path, run: Run) -> None:
    table = Signal(machine(0, channels=2), columns=["load", "strain"])
    signals.write(tmp_path / "x.csv", table)
    assert run("train", "x.csv", "-o", "model", *TRAIN).code == 0
    said = run("report", "model", "x.csv", "-o", "page", "--signal", "--json").json
    assert [one["name"] for one in said["figures"]["columns"]["each"]] == ["load", "strain"]
    assert said["figures"]["columns"]["kind"] == "channels"
    # Windows of one channel have no columns, whose errors would be those of places in a window.
    mono = ["--columns", "strain"]
    assert run("train", "x.csv", "-o", "mono", *TRAIN, *mono).code == 0
    said = run("report", "mono", "x.csv", "-o", "other", "--signal", *mono, "--json").json
    assert said["figures"]["columns"] is None


def test_an_array_is_a_signal_where_it_can_be_nothing_else(tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "x.npy", machine(0))
    np.save(tmp_path / "rows.npy", Windows(machine(1), LENGTH)[:])
    assert run("train", "x.npy", "-o", "model", *TRAIN).code == 0
    of_signal = run("report", "model", "x.npy", "-o", "one", "--hop", "64", "--json").json
    assert of_signal["figures"]["n_rows"] == len(signals.window_starts(6000, LENGTH, 64))
    of_rows = run("report", "model", "rows.npy", "-o", "two", "--json").json
    assert of_rows["figures"]["n_rows"] == len(signals.window_starts(6000, LENGTH))
    assert all(one["row"].startswith("row ") for one in of_rows["outliers"])
    refused = run("report", "model", "rows.npy", "-o", "three", "--hop", "8")
    assert refused.code == 2
    assert "--hop 8 is for signals" in refused.err


def test_a_map_of_a_folder_names_windows_and_takes_labels_of_files(sounds: Path, run: Run) -> None:
    assert run("train", "old", "-o", "model", *TRAIN).code == 0
    done = run("map", "model", "new", "-o", "m.csv", "-o", "m.html", "--json")
    assert done.code == 0, done.err
    lines = list(csv.reader((sounds / "m.csv").read_text("utf-8").splitlines()))
    windows = Windows(signals.read_all(sounds / "new").signals, LENGTH)
    assert len(lines) == 1 + len(windows) == 1 + done.json["rows"]
    assert [lines[0][0], lines[0][-1]] == ["name", "label"]
    assert [lines[1][0], lines[1][-1]] == ["bad/d.wav, 0.000-0.008 s", "bad"]
    assert lines[-1][-1] == "good"
    assert "bad/d.wav, 0.000-0.008 s" in (sounds / "m.html").read_text("utf-8")
    (sounds / "labels.csv").write_text("file,label\nbad/d.wav,old pump\ngood/c.wav,new pump\n")
    named = run("map", "model", "new", "-o", "n.csv", "--labels", "labels.csv", "--json")
    assert named.code == 0, named.err
    assert "old pump" in (sounds / "n.csv").read_text("utf-8").splitlines()[1]


@pytest.mark.parametrize("verb", ["report", "map"])
def test_signals_that_do_not_fit_are_refused_in_one_line(
    verb: str, sounds: Path, run: Run, tmp_path: Path
) -> None:
    assert run("train", "old", "-o", "model", *TRAIN).code == 0
    signals.write(tmp_path / "slow.wav", Signal(machine(0), 4000))
    signals.write(tmp_path / "two.wav", Signal(machine(0, channels=2), RATE))
    signals.write(tmp_path / "short.wav", Signal(machine(0)[:63], RATE))
    to = {"report": "out", "map": "out.png"}[verb]
    for name, message in (
        ("slow.wav", "4000 samples a second.*learned from 8000|8000"),
        ("two.wav", "--columns 0"),
        ("short.wav", "shorter than a window of 64"),
    ):
        refused = run(verb, "model", name, "-o", to)
        assert refused.code == 3, refused.err
        assert refused.err.count("\n") == 1
        assert any(part in refused.err for part in message.split("|"))
        assert not (tmp_path / to).exists()
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((50, 6)))
    words = ["--n-components", "2", "--max-epochs", "1"]
    assert run("train", "x.npy", "-o", "table", *words).code == 0
    refused = run(verb, "table", "old", "-o", to)
    assert refused.code == 3
    assert refused.err.count("\n") == 1


def test_curves_are_those_of_the_windows() -> None:
    X = Windows(machine(0, channels=2), LENGTH)[:3]
    ax = plots.windows(
        {"original": X, "restored": 2 * X}, captions=["a", "b", "c"], channels=["u", "v"], rate=8000
    )
    assert len(ax.child_axes) == 6
    for window in range(3):
        for channel in range(2):
            panel = ax.child_axes[2 * window + channel]
            for line, values in zip(panel.lines, (X, 2 * X), strict=True):
                np.testing.assert_allclose(line.get_ydata(), values[window, :, channel])
                np.testing.assert_allclose(line.get_xdata(), np.arange(LENGTH) / 8)
    with pytest.raises(DataError, match="as many windows"):
        plots.windows({"original": X, "restored": X[:2]})
    with pytest.raises(DataError, match=r"give windows of shape \(n, L\)"):
        plots.windows({"original": X[0, 0]})
    with pytest.raises(DataError, match="no windows"):
        plots.windows({})
    with pytest.raises(DataError, match="give one for each"):
        plots.windows({"original": X}, captions=["a"])


def test_errors_over_time_stand_at_the_middle_of_windows_one_signal_after_another() -> None:
    ax = plots.over_time(
        [0, 50, 0], [0.1, 0.9, 0.2], length=100, owners=[0, 0, 1], rate=10, threshold=0.5
    )
    (first, marks), (second, none) = ax.lines[:2], ax.lines[2:4]
    np.testing.assert_allclose(first.get_xydata(), [[5, 0.1], [10, 0.9]])
    np.testing.assert_allclose(marks.get_xydata(), [[10, 0.9]])
    np.testing.assert_allclose(second.get_xydata(), [[20, 0.2]])
    assert len(none.get_xydata()) == 0
    assert "outliers: 1 of 3" in [text.get_text() for text in ax.get_legend().get_texts()]
    with pytest.raises(DataError, match="give one for each"):
        plots.over_time([0, 1], [1, 2], owners=[0])
