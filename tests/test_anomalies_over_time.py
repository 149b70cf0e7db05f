"""Anomalies in signals: a score for each sample, by networks that have seen none of its windows.

The seed of everything random here is 20261130 unless it is given.
"""

import json

import numpy as np
import pytest
from cli_kit import Run
from sklearn.metrics import average_precision_score, roc_auc_score

from narrows import AnomalyDetector, Autoencoder, load, signals
from narrows.errors import DataError
from narrows.evaluation import Part, find_anomalies
from narrows.evaluation.over_time import Stretch, list_stretches
from narrows.signals import Signal, Windows

SEED = 20261130
LENGTH, HOP = 32, 8


def machine(seed, count=6_000, units=(1.0, 1e-3)):
    """Return two channels of different units: a hum of a load that changes, with noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(count)
    load = 1 + 0.2 * np.sin(time / 150 + generator.uniform(0, 6))
    phase = generator.uniform(0, 6)
    waves = [np.sin(time / 5 + phase), np.sin(time / np.sqrt(8) + phase)]
    hum = load[:, None] * np.stack(waves, axis=1)
    return (hum + 0.1 * generator.normal(size=hum.shape)) * units


@pytest.fixture(scope="module")
def detector():
    return AnomalyDetector(n_nets=12, random_state=SEED).fit(Windows(machine(0), LENGTH, HOP))


def test_networks_that_score_a_window_have_seen_none_of_its_samples(detector):
    starts = signals.window_starts(6_000, LENGTH, HOP)
    assert detector.seen_.shape == (12, len(starts))
    for seen in detector.seen_:
        # What a net has seen, and what overlaps that, is half of the blocks; no single windows.
        assert 0.4 < seen.mean() < 0.6
        assert np.abs(np.diff(seen.astype(int))).sum() < 60
    # The other half is another net's.
    assert (~detector.seen_).sum(axis=0).min() >= 6


@pytest.mark.parametrize("of_model", [False, True])
def test_a_signal_learned_from_is_scored_as_new_ones_are(of_model):
    """Networks that have seen the samples would give far lower scores than those of new signals."""
    model = Autoencoder(8, hidden_layer_sizes=(256,), max_epochs=25, random_state=0,
                        early_stopping=False, architecture="dense")  # fmt: skip
    found = AnomalyDetector(model if of_model else None, n_nets=12, random_state=SEED)
    found.fit(Windows(machine(0), LENGTH, HOP))
    own = signals.anomaly_scores(found, machine(0), HOP)
    assert (own > 1).mean() == pytest.approx(0.05, abs=0.002)
    shares = [(signals.anomaly_scores(found, machine(s), HOP) > 1).mean() for s in range(1, 6)]
    assert 0.01 < np.mean(shares) < 0.1


def test_a_spike_and_a_slow_drift_are_found_where_they_are_in_the_smaller_unit(detector):
    faulty, wrong = machine(1), np.zeros(6_000, bool)
    faulty[1_000, 1] += 1.5e-3
    faulty[3_000:3_200, 1] += 0.7e-3
    wrong[1_000], wrong[3_000:3_200] = True, True
    scores = signals.anomaly_scores(detector, faulty, HOP)
    assert scores.shape == (6_000,)
    assert scores[1_000] > 2
    assert scores[1_000] == scores[980:1_020].max()
    assert roc_auc_score(wrong, scores) > 0.95
    assert average_precision_score(wrong, scores) > 0.8


def test_scores_reach_both_ends_of_a_signal_of_any_length(detector):
    for count in (LENGTH, LENGTH + 1, 100):
        values = machine(2, count)
        values[-1] += [3, 3e-3]
        values[0] -= [3, 3e-3]
        scores = signals.anomaly_scores(detector, values, HOP)
        assert scores.shape == (count,)
        assert min(scores[0], scores[-1]) > 1


def test_several_signals_are_scored_one_by_one(detector):
    first, second = machine(3, 500), machine(4, 333)
    together = detector.score_over_time(Windows([first, second], LENGTH, HOP))
    for values, scores in zip((first, second), together, strict=True):
        np.testing.assert_allclose(scores, signals.anomaly_scores(detector, values, HOP))


def test_contamination_is_a_share_of_samples():
    found = AnomalyDetector(contamination=0.2, n_nets=4, random_state=SEED)
    found.fit(Windows(machine(0, 2_000), LENGTH, HOP))
    scores = signals.anomaly_scores(found, machine(0, 2_000), HOP)
    assert (scores > 1).mean() == pytest.approx(0.2, abs=0.002)


def test_a_saved_detector_scores_the_same(detector, tmp_path):
    again = load(detector.save(tmp_path / "m"))
    for values in (machine(0), machine(5)):
        np.testing.assert_array_equal(
            signals.anomaly_scores(again, values, HOP),
            signals.anomaly_scores(detector, values, HOP),
        )


def test_what_is_no_window_has_no_scores_over_time(detector):
    with pytest.raises(DataError, match=r"signals\.Windows"):
        detector.score_over_time(Windows(machine(1), LENGTH)[:])
    table = AnomalyDetector(n_nets=2, random_state=0).fit(np.random.default_rng(0).random((50, 4)))
    with pytest.raises(DataError, match=r"signals\.Windows"):
        table.score_over_time(Windows(np.random.default_rng(0).random(50), 4))


def test_a_page_lists_stretches(detector):
    faulty = machine(1)
    faulty[3_000:3_200, 0] += 2
    found = find_anomalies(
        detector, Windows(Signal(faulty, 100, name="b.wav"), LENGTH, HOP), are_new=True
    )
    record = found.as_json()
    worst = record["stretches"][0]
    assert worst["signal"] == "b.wav"
    assert 2_960 < worst["start"] <= 3_010
    assert 3_190 <= worst["end"] < 3_240
    assert record["drift"]["p_value"] > 0.01  # one fault is no drift
    assert record["scores"][0]["row"].startswith("b.wav, ")
    assert "b.wav" in found.to_html()


@pytest.mark.parametrize(
    ("rate", "times"),
    [(None, ["sample 423", "samples 20-29"]), (10, ["42.300-42.400 s", "2.000-3.000 s"])],
)
def test_stretches_are_named_by_their_samples_or_seconds(rate, times):
    part = Part("time", "Over time")
    list_stretches(part, [Stretch("a", 423, 424, 2.0), Stretch("b", 20, 30, 1.5)], rate)
    assert [line[1] for line in part.table[1:]] == times


def test_a_signal_in_another_state_is_said_to_be_unlike_those_learned_from(detector):
    """Blocks of windows are compared, as windows depend on each other."""
    found = {}
    for name, values in (("like", machine(2)), ("louder", 1.4 * machine(2))):
        found[name] = find_anomalies(detector, Windows(values, LENGTH, HOP), are_new=True)
    assert found["like"].drift_finding.weight == "good"
    finding = found["louder"].drift_finding
    assert found["louder"].drift.p_value < 0.01
    assert finding.weight == "bad"
    share = found["louder"].is_outlier.mean()
    assert f"{share:.0%} of its windows are above the threshold, 5% were asked for" in finding.text
    assert "unlike those learned from" in found["louder"].to_html()


def test_the_command_scores_folders_of_sound(tmp_path, run: Run):
    for name, values in (("old/a.wav", machine(0)), ("old/b.wav", machine(1)),
                         ("new/c.wav", machine(2)), ("new/d.wav", machine(3))):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name == "new/d.wav":
            values[3_000:3_200, 0] += 2
        sound = Signal(values.astype(np.float32), 8_000, subtype="FLOAT")
        signals.write(tmp_path / name, sound)
    trained = run("train", "old", "--for", "anomalies", "-o", "m", "--window", "32")
    assert trained.code == 0, trained.err
    done = run("anomalies", "m", "new", "-o", "page.html", "--json")
    assert done.code == 0, done.err
    assert done.json["stretches"][0]["signal"] == "d.wav"
    assert "score of each sample" in (tmp_path / "page.html").read_text("utf-8")
    alone = run("anomalies", "new", "--window", "32", "-o", "a.json")
    assert alone.code == 0, alone.err
    assert json.loads((tmp_path / "a.json").read_text())["stretches"][0]["signal"] == "d.wav"


@pytest.mark.parametrize("names", [None, ["speed", "load, left"]])
def test_the_channel_that_is_anomalous_is_named(names):
    """A channel that stops in another unit than the other, and one that jumps."""
    rng = np.random.default_rng(SEED)
    time = np.arange(4_000)
    values = np.stack([np.sin(time / 5), 1_000 * np.cos(time / 9)], axis=1)
    values += rng.normal(size=values.shape) * [0.05, 50]
    values[1_000:1_064, 0] = 0
    values[3_000, 1] += 900
    windows = Windows(Signal(values, columns=names), LENGTH, HOP)
    found = find_anomalies(AnomalyDetector(random_state=SEED).fit(windows), windows)
    first, second = names or ["channel 0", "channel 1"]
    why = {number: found.why(place) for place, number in enumerate(found.order[:40])}
    stopped, jumped = (int(np.abs(windows.starts - start).argmin()) for start in (1_016, 2_984))
    assert why[stopped].startswith(f"{first} ")
    assert why[jumped].startswith(f"{second} ")
    assert int(why[jumped].removeprefix(f"{second} ").partition("%")[0]) > 50
    assert f"{first} " in found.to_html()
