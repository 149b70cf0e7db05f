"""Faults in signals of several channels, found sample by sample, beside simpler methods.

    python -m benchmarks.anomalies_signals

A machine is generated: harmonics of a speed that follows a changing load, coloured noise, and three
channels of different units. Detectors learn from one clean signal, and score another in which one
channel has faults. The moving z-score has the window of the others; PCA (90 % of the variance of
channels that are scaled one by one) leaves residuals of the same windows, which are joined over
each sample as a whole ("windows") or sample by sample ("samples"). Of new clean signals, whose
loads may be others, the last table has the false alarms, and whether the page of anomalies warns
that the signal as a whole is unlike the one learned from ("bad").
"""

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.measuring import SEED, compared, row, table
from narrows import AnomalyDetector, signals
from narrows.evaluation import find_anomalies

LENGTH, HOP, COUNT, CHANNELS = 64, 16, 20_000, 3
MACHINES = 4


def main():
    figures = {}
    table("machine", "fault", *WAYS)
    for kind in range(MACHINES):
        old = machine(0, kind)
        ways = {name: learn(old) for name, learn in WAYS.items()}
        for fault in FAULTS:
            new, wrong = with_faults(kind, fault)
            cells = []
            for name, score in ways.items():
                scores = score(new)
                pair = roc_auc_score(wrong, scores), average_precision_score(wrong, scores)
                figures.setdefault((name, fault), []).append(pair)
                cells.append("{:.3f} / {:.3f}".format(*pair))
            row(kind, fault, *cells)
        for seed in (9, 10, 11):
            new = machine(seed, kind)
            alarms = (ways["Narrows"](new) > 1).mean()
            windows = signals.Windows(new, LENGTH, HOP)
            found = find_anomalies(ways["Narrows"].detector, windows, are_new=True)
            facts = kind, seed, f"{alarms:.3f}", f"{found.is_outlier.mean():.3f}"
            figures.setdefault("alarms", []).append((*facts, found.drift_finding.weight))
    table("AUROC / average precision per sample", *WAYS)
    mean = {}
    for fault in FAULTS:
        means = [np.mean(figures[name, fault], axis=0) for name in WAYS]
        row(fault, *("{:.3f} / {:.3f}".format(*pair) for pair in means))
        for name, pair in zip(WAYS, means, strict=True):
            mean.setdefault(name, []).append(pair)
    mean = {name: np.mean(pairs, axis=0) for name, pairs in mean.items()}
    row("mean", *("{:.3f} / {:.3f}".format(*pair) for pair in mean.values()))
    table("mean over faults: Narrows less the other", "measured", "goal", "met")
    for name in list(WAYS)[1:]:
        for place, measure in enumerate(("AUROC", "average precision")):
            compared(f"{measure}, {name}", mean["Narrows"][place] - mean[name][place], 0)
    table("machine", "new clean signal", "samples above 1, 0.05 asked",
          "windows above the threshold, 0.05 asked", "what is said of drift")  # fmt: skip
    for cells in figures["alarms"]:
        row(*cells)


def machine(seed, kind):
    """Return a clean signal (T, C) of a kind of machine."""
    generator, own = np.random.default_rng([seed, kind]), np.random.default_rng(kind)
    load = np.repeat(generator.uniform(0.6, 1.4, COUNT // 2500 + 1), 2500)[:COUNT]
    load = uniform_filter1d(uniform_filter1d(load, 200, mode="nearest"), 200, mode="nearest")
    speed = (0.031, 0.057, 0.083, 0.044)[kind] * (1 + 0.05 * (load - 1))
    phase = 2 * np.pi * np.cumsum(speed)
    values = np.empty((COUNT, CHANNELS))
    for channel in range(CHANNELS):
        sizes, phases = own.uniform(0.2, 1, 4) / np.arange(1, 5), own.uniform(0, 2 * np.pi, 4)
        each = enumerate(zip(sizes, phases, strict=True))
        waves = sum(size * np.sin((k + 1) * phase + shift) for k, (size, shift) in each)
        noise = lfilter([1], [1, -own.uniform(0.4, 0.9)], generator.normal(size=COUNT))
        unit = 10.0 ** own.integers(-2, 3)
        values[:, channel] = unit * (load * waves + 0.25 * noise / noise.std() + own.normal())
    return values


def with_faults(kind, fault):
    """Return a signal with ten faults of 300 samples, each in one channel, and where they are."""
    values, generator = machine(1, kind), np.random.default_rng([SEED, kind, 7])
    wrong = np.zeros(COUNT, bool)
    for start in range(1_000, COUNT - 1_000, 2_000):
        channel, place = generator.integers(CHANNELS), slice(start, start + 300)
        spread = values[:, channel].std()
        values[place, channel], where = FAULTS[fault](values[place, channel], spread, generator)
        wrong[place] |= where
    return values, wrong


def spikes(part, spread, generator):
    places = generator.choice(len(part), len(part) // 40, replace=False)
    harmed = part.copy()
    harmed[places] += 4 * spread * generator.choice([-1, 1], len(places))
    return harmed, harmed != part


def drift(part, spread, generator):
    del generator
    return part + 1.5 * spread * np.sin(np.pi * np.arange(len(part)) / len(part)), True


def slower(part, spread, generator):
    del spread, generator
    return np.interp(0.8 * np.arange(len(part)), np.arange(len(part)), part), True


def stuck(part, spread, generator):
    del spread, generator
    return np.full(len(part), part[0]), True


def burst(part, spread, generator):
    return part + 0.6 * spread * generator.normal(size=len(part)), True


def blows(part, spread, generator):
    """Add blows that ring, as of a damaged bearing."""
    hit = np.zeros(len(part))
    hit[generator.integers(0, 30) :: 67] = 2 * spread
    tail = np.exp(-np.arange(24) / 6) * np.sin(2 * np.pi * 0.37 * np.arange(24))
    return part + np.convolve(hit, tail)[: len(part)], True


def tone(part, spread, generator):
    start = generator.uniform(0, 2 * np.pi)
    return part + 0.6 * spread * np.sin(2 * np.pi * 0.21 * np.arange(len(part)) + start), True


def scaled(share):
    """Make the part quieter or louder about its mean."""

    def scale(part, spread, generator):
        del spread, generator
        return part.mean() + share * (part - part.mean()), True

    return scale


FAULTS = {
    "spikes": spikes,
    "drift of the level": drift,
    "changed frequency": slower,
    "dropout": stuck,
    "noise burst": burst,
    "ringing blows": blows,
    "another tone": tone,
    "quieter": scaled(0.6),
    "louder": scaled(1.4),
}


def by_narrows(old):
    detector = AnomalyDetector(random_state=SEED).fit(signals.Windows(old, LENGTH, HOP))

    def score(new):
        return signals.anomaly_scores(detector, new, HOP)

    score.detector = detector
    return score


def by_moving_z_score(old):
    spread = old.std(axis=0)

    def score(new):
        mean = uniform_filter1d(new, LENGTH, axis=0)
        variance = uniform_filter1d(np.square(new - mean), LENGTH, axis=0)
        return (
            np.abs(new - mean) / np.maximum(np.sqrt(np.maximum(variance, 0)), 0.1 * spread)
        ).max(axis=1)

    return score


def by_pca(by_sample):
    def learn(old):
        spread = old.std(axis=0)
        pca = PCA(0.9, svd_solver="full").fit(rows(old / spread))

        def score(new):
            given = rows(new / spread)
            left = np.square(given - pca.inverse_transform(pca.transform(given)))
            left = left.reshape(len(given), LENGTH, -1).sum(axis=2)
            if not by_sample:
                left = np.repeat(left.sum(axis=1, keepdims=True), LENGTH, axis=1)
            return signals.overlap_add(left, signals.window_starts(len(new), LENGTH, HOP))

        return score

    return learn


def rows(values):
    windows = signals.Windows(values, LENGTH, HOP)[:]
    return windows.reshape(len(windows), -1)


WAYS = {
    "Narrows": by_narrows,
    "moving z-score": by_moving_z_score,
    "PCA, windows": by_pca(False),
    "PCA, samples": by_pca(True),
}

if __name__ == "__main__":
    main()
