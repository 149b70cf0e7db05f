"""Signals: windows without copies, overlap-add without seams, and sound files."""

import subprocess
import sys
import textwrap
import warnings
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from narrows import Autoencoder, DenoisingAutoencoder, load, signals
from narrows.errors import (
    DataError,
    NarrowsWarning,
    OutputExistsError,
    ParameterError,
    UnreadableFileError,
)
from narrows.signals import Signal, Windows, overlap_add, window_starts

SEED = 0
RNG = np.random.default_rng(SEED)
ONE = RNG.normal(size=1003)
TWO = RNG.normal(size=(517, 2)).astype(np.float32)


def by_hand(signal, length, hop):
    cut = []
    start = 0
    while start + length < len(signal):
        cut.append(signal[start : start + length])
        start += hop
    return np.stack([*cut, signal[len(signal) - length :]])


@pytest.mark.parametrize("signal", [ONE, TWO, (100 * ONE).astype(np.int16)])
@pytest.mark.parametrize(("length", "hop"), [(64, 16), (64, 64), (7, 3), (517, 1)])
def test_windows_are_those_cut_by_hand(signal, length, hop):
    windows = Windows(signal, length, hop)
    truth = by_hand(signal, length, hop)
    assert (windows.shape, windows.dtype) == (truth.shape, truth.dtype)
    np.testing.assert_array_equal(windows[:], truth)
    np.testing.assert_array_equal(windows[::-3], truth[::-3])


def test_windows_of_several_signals_follow_each_other():
    parts = [ONE[:100], ONE[100:164], ONE[164:900]]
    windows = Windows(parts, 64, 10)
    truth = np.concatenate([by_hand(part, 64, 10) for part in parts])
    np.testing.assert_array_equal(windows[:], truth)
    order = RNG.permutation(len(truth))
    np.testing.assert_array_equal(windows[order], truth[order])


def test_windows_do_not_copy_the_signal():
    signal = np.zeros(500)
    windows = Windows(signal, 50, 5)
    signal[:] = np.arange(500)
    np.testing.assert_array_equal(windows[3], np.arange(15, 65))


@pytest.mark.parametrize("signal", [ONE, TWO])
@pytest.mark.parametrize(("length", "hop"), [(64, 16), (64, 64), (64, 63), (7, 1), (517, 200)])
def test_windows_of_one_signal_give_this_signal(signal, length, hop):
    windows = Windows(signal, length, hop)
    again = overlap_add(windows[:], window_starts(len(signal), length, hop))
    assert again.shape == signal.shape
    assert again.dtype == signal.dtype
    np.testing.assert_allclose(again, signal, rtol=1e-6, atol=1e-12)


def test_windows_that_disagree_leave_no_seam():
    # Every other window is off by 1: side by side that would be jumps of 1.
    starts = window_starts(6400, 64, 32)
    windows = np.zeros((len(starts), 64))
    windows[::2] = 1
    steps = np.abs(np.diff(overlap_add(windows, starts)))
    # The steepest step of sin^2(pi t / L), whose neighbour is its complement, is pi / L.
    assert steps.max() <= np.pi / 64 * 1.001


def test_models_restore_long_signals_through_their_windows():
    time = np.arange(20_000)
    clean = np.sin(time / 9) + 0.5 * np.sin(time / 4)
    model = Autoencoder(
        4, hidden_layer_sizes=(), activation="identity", max_epochs=30, random_state=SEED
    ).fit(Windows(clean, 64, 8))
    # Two sines are four dimensions, which a linear model with four units spans.
    error = ((signals.reconstruct(model, clean) - clean) ** 2).mean()
    assert error < 1e-3 * clean.var()
    codes = signals.encode(model, clean, hop=20)
    again = signals.decode(model, codes, hop=20, n_samples=len(clean))
    np.testing.assert_allclose(again, signals.reconstruct(model, clean, hop=20), atol=1e-6)
    encoder, decoder = model.split()
    np.testing.assert_array_equal(signals.encode(encoder, clean, hop=20), codes)
    assert signals.decode(decoder, codes[:-1], hop=20).shape == (64 + 20 * (len(codes) - 2),)
    whole = signals.decode(decoder, codes[:100], hop=20)
    np.testing.assert_allclose(whole[:-64], again[: len(whole) - 64], atol=1e-6)


def test_noise_is_taken_off_a_signal_of_two_channels():
    time = np.arange(12_000)
    clean = np.stack([np.sin(time / 9), np.sign(np.sin(time / 30))], axis=1).astype(np.float32)
    model = DenoisingAutoencoder(
        12, hidden_layer_sizes=(128,), corruption_level=0.4, max_epochs=15, random_state=SEED
    ).fit(Windows(clean, 64, 4))
    noise = np.random.default_rng(SEED).normal(0, 0.3, clean.shape)
    restored = signals.denoise(model, clean + noise, hop=8)
    assert restored.shape == clean.shape
    assert ((restored - clean) ** 2).mean() < 0.3 * (noise**2).mean()


def test_sound_comes_back_as_it_was_written(tmp_path):
    sound = (TWO / 8).clip(-1, 1)
    for name, subtype, step in (
        ("a.wav", "FLOAT", 0),
        ("b.wav", None, 2**-15),
        ("c.flac", None, 1),
    ):
        path = signals.write(tmp_path / name, Signal(sound, 8000, subtype=subtype))
        again = signals.read(path)
        assert (again.rate, again.values.shape) == (8000, sound.shape)
        atol = 2**-15 if step else 0
        np.testing.assert_allclose(again.values, sound, atol=atol)
    assert again.subtype == soundfile.info(path).subtype
    right = signals.read(tmp_path / "a.wav", ["1"])
    np.testing.assert_array_equal(right.values, sound[:, 1])
    with pytest.raises(OutputExistsError, match="exists"):
        signals.write(tmp_path / "a.wav", right)
    loud = Signal(np.array([-3.0, 0, 3.0]), 100)
    signals.write(tmp_path / "loud.wav", loud)
    np.testing.assert_array_equal(signals.read(tmp_path / "loud.wav").values, loud.values)
    integers = replace(loud, subtype="PCM_16")
    with pytest.warns(NarrowsWarning, match="2 of 3 samples lie beyond -1 to 1") as caught:
        signals.write(tmp_path / "cut.wav", integers)
    assert (caught[0].message.kind, caught[0].message.facts) == (
        "samples_clipped", {"samples": 2, "of": 3},
    )  # fmt: skip
    np.testing.assert_allclose(signals.read(tmp_path / "cut.wav").values, [-1, 0, 1], atol=2**-14)


def test_tables_and_arrays_are_signals_too(tmp_path):
    (tmp_path / "heart.csv").write_text("time,ecg,breath\n0,1.5,7\n1,2.5,8\n2,0.5,9\n")
    ecg = signals.read(tmp_path / "heart.csv", ["ecg"])
    np.testing.assert_array_equal(ecg.values, [1.5, 2.5, 0.5])
    both = signals.read(tmp_path / "heart.csv", ["breath", "ecg"])
    np.testing.assert_array_equal(both.values, [[7, 1.5], [8, 2.5], [9, 0.5]])
    again = signals.read(signals.write(tmp_path / "again.parquet", both))
    assert again.columns == ["breath", "ecg"]
    np.testing.assert_array_equal(again.values, both.values)
    np.save(tmp_path / "long.npy", ONE)
    long = signals.read(tmp_path / "long.npy").values
    np.testing.assert_array_equal(Windows(long, 100, 9)[:], Windows(ONE, 100, 9)[:])
    folder = tmp_path / "sounds" / "deep"
    folder.mkdir(parents=True)
    for name in ("b.wav", "a.flac"):
        signals.write(folder / name, Signal(ONE / 8, 100))
    assert [path.name for path in signals.find_signals(tmp_path / "sounds")] == ["a.flac", "b.wav"]


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"99 samples is shorter than a window of 100"):
        Windows(ONE[:99], 100)
    with pytest.raises(DataError, match="same channels"):
        Windows([ONE, TWO], 10)
    for bad in ([], np.zeros((2, 2, 2)), np.array(["a"]), np.zeros(0)):
        with pytest.raises(DataError, match="no signal"):
            Windows(bad, 10)
    for hop in (0, 11, 2.5, True):
        with pytest.raises(ParameterError, match=f"hop={hop!r} .*from 1 to the window's 10"):
            Windows(ONE, 10, hop)
    for length in (1, 0, -3, 4.0):
        with pytest.raises(ParameterError, match="at least 2 samples"):
            Windows(ONE, length)
    model = Autoencoder(2, max_epochs=1).fit(Windows(ONE, 20))
    with pytest.raises(DataError, match=r"\(20, 2\) were given, \(20,\) were learned from"):
        signals.encode(model, TWO)
    codes = signals.encode(model, ONE)
    with pytest.raises(DataError, match="90 codes were given"):
        signals.decode(model, codes[:90], n_samples=len(ONE))
    pictures = Autoencoder(2, max_epochs=1).fit(RNG.random((30, 4, 4, 3)))
    with pytest.raises(DataError, match="no windows of a signal"):
        signals.reconstruct(pictures, ONE)
    (tmp_path / "fake.wav").write_bytes(b"RIFFnothing")
    with pytest.raises(UnreadableFileError, match=r"fake.wav' is not a readable sound file"):
        signals.read(tmp_path / "fake.wav")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ParameterError, match="no column 'z'; its columns are x, y"):
        signals.read(tmp_path / "a.csv", ["z"])
    with pytest.raises(ParameterError, match="how many samples make a second"):
        signals.write(tmp_path / "b.wav", Signal(ONE))
    with pytest.raises(ParameterError, match="no place for a signal"):
        signals.write(tmp_path / "b.txt", Signal(ONE, 8000))
    with pytest.raises(DataError, match="no file of a signal"):
        signals.read(next(tmp_path.glob("a.csv")).rename(tmp_path / "a.xyz"))
    assert not list(tmp_path.glob("b.*"))


def test_without_soundfile_the_extra_is_named(tmp_path):
    script = """
        import sys
        sys.modules["soundfile"] = None
        from narrows import signals
        from narrows.errors import MissingDependencyError
        try:
            signals.read(sys.argv[1])
        except MissingDependencyError as error:
            print(error)
    """
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "a.wav")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "pip install 'narrows[audio]'" in said.stdout


def test_a_saved_model_goes_on_with_signals(tmp_path):
    model = Autoencoder(2, max_epochs=1, random_state=SEED).fit(Windows(ONE, 20))
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(signals.reconstruct(again, ONE), signals.reconstruct(model, ONE))


def two_units(factor):
    """Return 2 000 samples of two channels, of which the second is ``factor`` times the first."""
    time = np.arange(2_000)
    both = np.stack([np.sin(time / 9), factor * np.sin(time / 5)], axis=1)
    return both * (1 + np.random.default_rng(SEED).normal(0, 0.1, both.shape))


def test_channels_of_different_units_are_each_divided_by_their_own_spread():
    small = two_units(1e-3)
    in_unit = (small - small.min()) / np.ptp(small)  # as pixels are
    for values in (small, in_unit, (255 * in_unit).astype(np.uint8)):
        model = Autoencoder(4, max_epochs=1, random_state=SEED, early_stopping=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the model restores the rows")
            model.fit(Windows(values, 40))
        spreads = Windows(values, 40)[:].reshape(-1, 2).std(axis=0)
        scale = model.scaling_.scale.numpy().reshape(40, 2)
        np.testing.assert_allclose(scale, np.tile(spreads, (40, 1)), rtol=1e-6)
        assert "channels differ" in model.choices_["scaling"].reason


@pytest.mark.parametrize(("factor", "warns"), [(1 / 5, False), (1 / 20, True), (20, True)])
def test_one_number_for_channels_of_different_units_is_warned_of(factor, warns):
    model = Autoencoder(4, max_epochs=1, random_state=SEED, scaling="global")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(Windows(two_units(factor), 40))
    said = [one for one in caught if getattr(one.message, "kind", "") == "channels_differ"]
    assert len(said) == warns
    if warns:
        spreads = two_units(factor).std(axis=0)
        assert said[0].message.facts["ratio"] == pytest.approx(spreads.max() / spreads.min(), 0.05)
        assert "--scaling standard" in str(said[0].message)
        assert said[0].filename == __file__


def test_places_of_a_window_of_one_channel_share_one_scale():
    """A signal that grows differs from place to place of its few windows; that is no unit."""
    signal = np.geomspace(1, 1e4, 300) * np.sin(np.arange(300))
    model = Autoencoder(2, max_epochs=1, random_state=SEED).fit(Windows(signal, 100, 100))
    assert len(np.unique(model.scaling_.scale.numpy())) == 1
    assert model.choices_["scaling"].value == "global"


@pytest.fixture(scope="module")
def restoring():
    """A model of two channels in different units, of tones that come and go."""
    wave = tones(16000, SEED)
    model = DenoisingAutoencoder(max_epochs=4, random_state=SEED)
    return model.fit(Windows(wave, 256))


def tones(count, seed):
    random, time = np.random.default_rng(seed), np.arange(count)
    pitch = np.repeat(random.uniform(0.05, 0.4, count // 800 + 1), 800)[:count]
    wave = np.sin(np.cumsum(pitch)) * np.abs(np.sin(time / 1500))
    return np.stack([wave, 100 * np.roll(wave, 5)], axis=1)


def test_a_signal_is_changed_as_far_as_its_noise_allows(restoring):
    """Held back by the local share, it is nearer to the clean one than given and restored in full.

    The least squares of a share that knows the clean signal are the bound.
    """
    clean = tones(16000, SEED + 1)
    for db, level in ((0, 1.0), (10, 0.316), (20, 0.1), (40, 0.01)):
        noise = np.random.default_rng(SEED).normal(size=clean.shape) * clean.std(axis=0) * level
        noisy = clean + noise
        held, found, share = signals.restore(restoring, noisy)
        full = signals.denoise(restoring, noisy, even_if_clean=True)
        np.testing.assert_allclose(found, level * clean.std(axis=0), rtol=0.15)
        for channel in range(2):
            before, whole, after = (
                signals.snr(x[:, channel], clean[:, channel]) for x in (noisy, full, held)
            )
            assert before == pytest.approx(db, abs=0.3)
            assert after > max(before, whole) - 0.1
        assert 0 < share <= 1
    assert signals.snr(noisy, clean) > signals.snr(full, clean) + 3  # which holding back mends


def test_a_clean_signal_is_left_alone(restoring):
    clean = tones(8000, SEED + 2)
    full = signals.denoise(restoring, clean, even_if_clean=True)
    held, noise, share = signals.restore(restoring, clean)
    assert signals.snr(full, clean) < 30
    assert signals.snr(held, clean) > 45
    assert (noise < 0.01 * clean.std(axis=0)).all()
    assert share < 0.1
    silent = np.zeros((600, 2))
    held, noise, share = signals.restore(restoring, silent)
    np.testing.assert_array_equal(held, silent)
    assert (noise.tolist(), share) == ([0, 0], 0)


def test_strength_multiplies_the_change(restoring):
    noisy = tones(4000, SEED) + np.random.default_rng(SEED).normal(0, [0.3, 30], (4000, 2))
    whole = signals.denoise(restoring, noisy)
    half = signals.denoise(restoring, noisy, strength=0.5)
    np.testing.assert_allclose(half, (noisy + whole) / 2, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(signals.denoise(restoring, noisy, strength=0), noisy, rtol=1e-6)


def test_models_of_other_damage_and_narrow_codes_are_applied_in_full(restoring):
    noisy = tones(4000, SEED)[:, 0] + np.random.default_rng(SEED).normal(0, 0.3, 4000)
    for kind in (
        {"n_components": 4},
        {"corruption": "masking"},
        {"corruption": ["gaussian", "masking"]},
    ):
        model = DenoisingAutoencoder(max_epochs=1, random_state=SEED, **kind)
        model.fit(Windows(noisy, 64))
        held, noise, share = signals.restore(model, noisy)
        assert (noise, share) == (None, 1)
        np.testing.assert_allclose(
            held, overlap_add(model.denoise(Windows(noisy, 64)), window_starts(4000, 64)), rtol=1e-5
        )
