"""Sound and vibration restored by Narrows beside classic denoisers, each at its best weight.

    python -m benchmarks.signals [sound] [vibration] [--epochs N] [--former]
        [--figures FOLDER] [--sounds FOLDER]

Signals are generated, so that the truth is known: "sound" has syllables (pulse trains through two
moving formants, hisses, pauses), "vibration" a bearing with a fault (harmonics of a changing speed,
and blows that ring), in g. Models learn from a minute of clean signals with all defaults but the
epochs; --former adds the former default, a narrow code of 64 numbers behind convolutions. White
noise is added to 16 seconds of other signals. SNR is that of all of these together; classics have
the weight that is best for it, and are told the level of noise. "clean" are signals without noise.
CPU-seconds are those of one thread, for the 16 seconds. --figures draws spectrograms of three
seconds at 5 dB; --sounds writes these signals as WAV files to listen to. Seed 0.
"""

import argparse
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pywt
import torch
from scipy.io import wavfile
from scipy.ndimage import uniform_filter
from scipy.signal import istft, lfilter, savgol_filter, stft

from benchmarks.measuring import SEED, compared, row, table
from narrows import DenoisingAutoencoder, signals

RATE, WINDOW, FRAME = 8000, 512, 512
LEARNED, JUDGED, SECONDS = 8, 2, 8  # signals, and the seconds of each
LEVELS, DRAWN = (0, 5, 10, 20), 5
WEIGHTS = np.geomspace(0.3, 4, 12)


def resonance(frequency, width):
    radius = np.exp(-np.pi * width / RATE)
    return [1], [1, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2]


def sound(seconds, random):
    pitch, parts, total = random.uniform(90, 220), [], seconds * RATE
    while sum(map(len, parts)) < total:
        kind, count = random.uniform(), int(random.uniform(0.08, 0.3) * RATE)
        part = np.zeros(count)
        if 0.2 <= kind < 0.35:
            part = lfilter(*resonance(random.uniform(1800, 3400), 600), random.normal(size=count))
            part *= 0.3 * np.hanning(count)
        elif kind >= 0.35:
            bend = np.interp(np.arange(count), [0, count / 2, count], random.normal(0, 0.12, 3))
            turns = np.floor(np.cumsum(pitch * np.exp(bend) / RATE))
            part = lfilter([1], [1, -0.9], np.diff(turns, prepend=0))
            for low, high, width in ((250, 800, 60), (850, 2300, 100)):
                part = moving(part, *random.uniform(low, high, 2), width)
            t = np.arange(count) / count
            part *= np.clip(np.minimum(t / 0.1, (1 - t) / 0.25), 0, 1)
        parts.append(random.uniform(0.3, 1) * part / (part.std() or 1))
    return np.concatenate(parts)[:total] / 10


def moving(x, first, last, width):
    """Filter by a resonance that moves, 10 ms at a time."""
    made, state, step = np.empty_like(x), np.zeros(2), RATE // 100
    for start in range(0, len(x), step):
        at = first + (last - first) * start / len(x)
        part = slice(start, start + step)
        made[part], state = lfilter(*resonance(at, width), x[part], zi=state)
    return made


def vibration(seconds, random):
    count = seconds * RATE
    time_ = np.arange(count) / count
    speed = 25 * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(0.5, 2) * time_))
    turn = np.cumsum(speed / RATE)
    shares = ((1, 0.3), (2, 0.15), (3, 0.08), (23, 0.1))
    waves = sum(a * np.sin(2 * np.pi * (h * turn + random.uniform())) for h, a in shares)
    hits = np.zeros(count)
    at = np.cumsum(random.normal(1, 0.01, int(5.43 * turn[-1]))) / 5.43
    places = np.searchsorted(turn, at[at < turn[-1]])
    hits[places] = random.uniform(0.6, 1.4, len(places)) * (
        1 + np.sin(2 * np.pi * at[: len(places)]) / 2
    )
    ring = np.arange(200)
    ring = np.exp(-ring / 22) * np.sin(2 * np.pi * 2900 / RATE * ring)
    return waves + 2.2 * np.convolve(hits, ring)[:count]


def short_time(x, gain):
    """Multiply a short-time spectrum by a gain of its power, in units of white noise."""
    window = np.hanning(FRAME + 1)[:-1]
    unit = (window**2).sum() / window.sum() ** 2
    spectrum = stft(x, nperseg=FRAME, noverlap=3 * FRAME // 4)[2]
    made = spectrum * gain(np.abs(spectrum) ** 2 / unit)
    return istft(made, nperseg=FRAME, noverlap=3 * FRAME // 4)[1][: len(x)]


def wiener(x, level, weight):
    def gain(power):
        near = uniform_filter(power, 3)
        return np.clip(1 - weight * level**2 / np.maximum(near, 1e-30), 0, 1)

    return short_time(x, gain)


def gating(x, level, weight):
    return short_time(x, lambda p: uniform_filter((p > 3 * weight * level**2).astype(float), 3))


def subtraction(x, level, weight):
    return short_time(
        x, lambda p: np.sqrt(np.clip(1 - weight * level**2 / np.maximum(p, 1e-30), 0, 1))
    )


def wavelets(x, level, weight):
    coarse, *fine = pywt.swt(x, "sym8", 7, trim_approx=True, norm=True)
    kept = [pywt.threshold(part, weight * level, "soft") for part in fine]
    return pywt.iswt([coarse, *kept], "sym8", norm=True)


def smoothing(x, level, weight):
    del level
    return savgol_filter(x, 2 * int(4 * weight) + 5, 3)


CLASSICS = {
    "short-time Wiener filter": wiener,
    "spectral subtraction": subtraction,
    "spectral gating": gating,
    "wavelets, soft thresholds": wavelets,
    "Savitzky-Golay": smoothing,
}


def measure(section, given):
    make = SECTIONS[section]
    clean = [make(SECONDS, np.random.default_rng((SEED, 1, n))) for n in range(JUDGED)]
    windows = signals.Windows(
        [make(SECONDS, np.random.default_rng((SEED, 0, n))) for n in range(LEARNED)], WINDOW
    )
    epochs = {} if given.epochs is None else {"max_epochs": given.epochs}
    kinds = {"model": {}}
    if given.former:
        kinds["former default"] = {"architecture": "convolutional", "n_components": 64}
    models = {}
    for name, more in kinds.items():
        start = time.process_time()
        model = DenoisingAutoencoder(**epochs, **more, random_state=SEED).fit(windows)
        models[name] = model
        trained = f"{time.process_time() - start:.0f} CPU-seconds"
        print(f"\n{name}: {model.choices_['batch_size'].value} windows a step, {trained}")
    table("noisy, dB", "method", "SNR, dB", "CPU-seconds")
    above = {}
    for db in (*LEVELS, "clean"):
        level = 0.0 if db == "clean" else np.std(clean) * 10 ** (-db / 20)
        random = np.random.default_rng((SEED, 2, 0 if db == "clean" else db))
        noisy = [x + random.normal(0, level, x.shape) for x in clean]
        scores, made = {}, {}
        for name, model in models.items():
            start = time.process_time()
            made[name] = restored = [signals.denoise(model, x) for x in noisy]
            scores[name] = together(restored, clean), time.process_time() - start
        for name, classic in CLASSICS.items() if level else ():
            start = time.process_time()
            tried = [[classic(x, level, weight) for x in noisy] for weight in WEIGHTS]
            each = [together(one, clean) for one in tried]
            scores[name] = max(each), (time.process_time() - start) / len(WEIGHTS)
            made[name] = tried[int(np.argmax(each))]
        for name, (score, seconds) in scores.items():
            row(db, name, f"{score:.2f}", f"{seconds:.2f}")
        if level:
            best = max(CLASSICS, key=lambda name: scores[name][0])
            above[f"dB above the best classic, {db} dB"] = scores["model"][0] - scores[best][0], 0
            if db == DRAWN:
                shown = {"noisy": noisy, "model": made["model"], best: made[best], "clean": clean}
                first = {name: of[0] for name, of in shown.items()}
                if given.figures:
                    draw(given.figures / f"signals-{section}.png", first)
                if given.sounds:
                    write_sounds(given.sounds, section, first)
        else:
            above["SNR of clean signals that are restored, dB"] = scores["model"][0], 40
    table("what", "measured", "goal", "met")
    for what, (measured, goal) in above.items():
        compared(what, measured, goal)


def draw(path, versions):
    """Draw spectrograms of versions of one signal."""
    figure, axes = plt.subplots(
        len(versions), figsize=(7, 7.5), sharex=True, sharey=True, layout="constrained"
    )
    top = 20 * np.log10(np.abs(stft(versions["clean"], nperseg=256)[2]).max())
    for ax, (name, x) in zip(axes, versions.items(), strict=True):
        frequencies, times, spectrum = stft(x[: 3 * RATE], RATE, nperseg=256, noverlap=192)
        levels = 20 * np.log10(np.abs(spectrum) + 1e-9)
        range_ = {"vmin": top - 60, "vmax": top, "cmap": "magma"}
        drawn = ax.pcolormesh(times, frequencies / 1000, levels, rasterized=True, **range_)
        against = "" if name == "clean" else f": {signals.snr(x, versions['clean']):.1f} dB"
        ax.set_title(name + against)
        ax.set_ylabel("kHz")
    axes[-1].set_xlabel("seconds")
    figure.colorbar(drawn, ax=axes, label="level, dB")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def write_sounds(folder, section, versions):
    folder.mkdir(parents=True, exist_ok=True)
    loudest = max(np.abs(x).max() for x in versions.values())
    for name, x in versions.items():
        samples = np.rint(32767 * x / loudest).astype(np.int16)
        wavfile.write(folder / f"{section}, {name}.wav", RATE, samples)


def together(restored, clean):
    return signals.snr(np.concatenate(restored), np.concatenate(clean))


SECTIONS = {"sound": sound, "vibration": vibration}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signals", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sections", nargs="*", metavar="section")
    parser.add_argument("--epochs", type=int, help="of training; by default its own number")
    parser.add_argument("--former", action="store_true", help="measure the former default, too")
    parser.add_argument("--figures", type=Path, metavar="FOLDER")
    parser.add_argument("--sounds", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.sections or SECTIONS:
        if name not in SECTIONS:
            parser.error(f"there is no section {name!r}; give some of {', '.join(SECTIONS)}")
        print(f"\n{name}, {JUDGED} signals of {SECONDS} seconds")
        measure(name, given)


if __name__ == "__main__":
    main()
