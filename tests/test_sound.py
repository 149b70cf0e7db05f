"""Sound files: whole, at one rate that models remember, and never cut off in silence.

The seed of everything random here is 0.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli_kit import Run
from numpy.typing import NDArray

from narrows import Autoencoder, load, signals
from narrows.errors import DataError, NarrowsWarning, ParameterError, UnreadableFileError
from narrows.signals import Signal, Windows

pytestmark = pytest.mark.cases

RNG = np.random.default_rng(0)
TRAIN = ["--n-components", "3", "--max-epochs", "1", "--random-state", "0"]


def tone(frequency: float, rate: int, seconds: float = 0.5) -> NDArray[np.float64]:
    return 0.4 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, frequency in (("a", 440), ("b", 660)):
        soundfile.write(folder / f"{name}.wav", tone(frequency, 16000), 16000)
    return folder


# Rates --------------------------------------------------------------------------------------------


def test_several_rates_in_one_set_are_refused_or_brought_to_one(
    sounds: Path, run: Run, tmp_path: Path
) -> None:
    soundfile.write(sounds / "slow.wav", tone(440, 8000), 8000)
    words = ["train", "sounds", "-o", "model", "--window", "64", *TRAIN]
    refused = run(*words)
    assert refused.code == 3
    assert "a.wav' has 16000 samples a second and" in refused.err
    assert "slow.wav' 8000" in refused.err
    assert "--rate 16000" in refused.err
    assert refused.err.count("\n") == 1
    with pytest.raises(DataError, match="8000 and 16000 samples a second"):
        Windows([signals.read(sounds / "a.wav"), signals.read(sounds / "slow.wav")], 64)
    done = run(*words, "--rate", "16000", "--json")
    assert done.code == 0
    # 8 000 samples of each, also of the slow one, which was half as long.
    assert done.json["rows"] == 3 * len(signals.window_starts(8000, 64))
    assert load(tmp_path / "model").rate_ == 16000


def test_files_of_several_channels_in_one_set_are_named(sounds: Path) -> None:
    soundfile.write(sounds / "two.wav", np.stack([tone(440, 16000)] * 2, 1), 16000)
    with pytest.raises(DataError, match=r"a\.wav' has 1 channel and .*two\.wav' 2 channels"):
        signals.read_all(sounds)
    assert len(signals.read_all(sounds, ["0"]).signals) == 3


@pytest.mark.parametrize(("old", "new"), [(16000, 8000), (8000, 16000), (44100, 16000)])
def test_resampling_keeps_tones_and_leaves_out_what_the_new_rate_cannot_hold(
    old: int, new: int
) -> None:
    for frequency in (200, 1000, 3000):
        made = signals.resample(Signal(tone(frequency, old, 1), old), new)
        truth = tone(frequency, new, 1)
        assert (made.rate, len(made.values)) == (new, len(truth))
        middle = slice(new // 10, -new // 10)
        np.testing.assert_allclose(made.values[middle], truth[middle], atol=2e-3)
    if new < old:  # it would come back as another tone
        beyond = signals.resample(Signal(tone(0.75 * new, old, 1), old), new)
        assert np.abs(beyond.values[new // 10 : -new // 10]).max() < 5e-3


def test_resampling_keeps_type_channels_and_what_is_there_already() -> None:
    both = Signal(RNG.normal(size=(400, 2)).astype(np.float32), 16000, ["l", "r"], "FLOAT")
    half = signals.resample(both, 8000)
    assert (half.values.dtype, half.values.shape) == (np.float32, (200, 2))
    assert (half.columns, half.subtype) == (["l", "r"], "FLOAT")
    assert signals.resample(both, 16000) is both
    for rate in (0, -1, 1.5, True, "8000"):
        with pytest.raises(ParameterError, match="whole number of samples a second"):
            signals.resample(both, rate)  # type: ignore[arg-type]  # what users may give
    with pytest.raises(ParameterError, match="has no rate"):
        signals.resample(Signal(tone(440, 8000)), 16000)


def test_a_model_remembers_its_rate_and_refuses_others(
    sounds: Path, run: Run, tmp_path: Path
) -> None:
    train = ["train", "sounds", "-o", "model", "--window", "64", "--model", "denoising"]
    assert run(*train, *TRAIN).code == 0
    assert run("info", "model", "--json").json["rate"] == 16000
    soundfile.write(tmp_path / "slow.wav", tone(440, 8000), 8000)
    for verb, output in (("encode", "c.npy"), ("reconstruct", "r.wav"), ("denoise", "d.wav")):
        refused = run(verb, "model", "slow.wav", "-o", output)
        assert refused.code == 3
        assert "8000 samples a second" in refused.err
        assert "--rate 16000" in refused.err
        assert run(verb, "model", "slow.wav", "-o", output, "--rate", "8000").code == 3
        assert not (tmp_path / output).exists()
        done = run(verb, "model", "slow.wav", "-o", output, "--rate", "16000")
        assert done.code == 0
    assert soundfile.info(tmp_path / "r.wav").samplerate == 16000
    # The decoder writes the rate that was learned from, and no other.
    assert run("decode", "model", "c.npy", "-o", "again.wav").code == 0
    assert soundfile.info(tmp_path / "again.wav").samplerate == 16000
    refused = run("decode", "model", "c.npy", "-o", "other.wav", "--rate", "8000")
    assert refused.code == 3
    assert "learned from 16000" in refused.err


def test_python_holds_rates_against_each_other_too(sounds: Path, tmp_path: Path) -> None:
    windows = Windows([signals.read(sounds / name) for name in ("a.wav", "b.wav")], 64)
    model = Autoencoder(2, max_epochs=1, random_state=0).fit(windows)
    again = load(model.save(tmp_path / "model"))
    assert (windows.rate, model.rate_, again.rate_, again.split()[1].rate_) == (16000,) * 4
    slow = Signal(tone(440, 8000), 8000)
    for use in (signals.encode, signals.reconstruct, signals.denoise):
        with pytest.raises(DataError, match=r"8000 .*learned from 16000.*rate=16000"):
            use(again, slow)
        fitting = signals.resample(slow, 16000)
        np.testing.assert_array_equal(use(again, fitting), use(again, fitting.values))
    with pytest.raises(DataError, match="learned from 16000"):
        again.transform(Windows(slow, 64))
    with pytest.raises(DataError, match="learned from 16000"):
        again.partial_fit(Windows(slow, 64))
    # Of arrays nobody knows the rate.
    assert Autoencoder(2, max_epochs=1).fit(Windows(slow.values, 64)).rate_ is None


def test_the_clean_original_has_the_rate_of_the_damaged(
    sounds: Path, run: Run, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", tone(440, 16000))
    train = ["train", "x.npy", "-o", "model", "--window", "64", "--model", "denoising"]
    assert run(*train, *TRAIN).code == 0  # which knows of no rate
    soundfile.write(tmp_path / "slow.wav", tone(440, 8000, 1), 8000)
    words = ["denoise", "model", "slow.wav", "-o", "out.wav", "--clean", "sounds/a.wav"]
    refused = run(*words)
    assert refused.code == 3
    assert "16000 samples a second, the signal 8000" in refused.err


def test_a_rate_is_for_sound(sounds: Path, run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", RNG.normal(size=(100, 4)))
    assert "--rate 8 is for sound" in run("train", "x.npy", "-o", "m", "--rate", "8", *TRAIN).err
    refused = run("train", "x.npy", "-o", "m", "--rate", "8", "--window", "10", *TRAIN)
    assert refused.code == 2
    assert "states no rate" in refused.err


# Levels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".aiff"])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_beyond_one_are_kept_both_ways(suffix: str, subtype: str, tmp_path: Path) -> None:
    loud = 5 * RNG.normal(size=(300, 2))
    soundfile.write(tmp_path / f"a{suffix}", loud, 8000, subtype=subtype)
    read = signals.read(tmp_path / f"a{suffix}")
    exact = loud if subtype == "DOUBLE" else loud.astype(np.float32)
    np.testing.assert_array_equal(read.values, exact)
    again = signals.read(signals.write(tmp_path / f"b{suffix}", read))
    np.testing.assert_array_equal(again.values, exact)
    assert again.subtype == subtype


def test_integers_of_32_bits_keep_all_of_them(tmp_path: Path) -> None:
    numbers = RNG.integers(-(2**31), 2**31, 500)
    soundfile.write(tmp_path / "a.wav", numbers.astype(np.int32), 8000, subtype="PCM_32")
    read = signals.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(read.values * 2**31, numbers)
    signals.write(tmp_path / "b.wav", read)
    again, _ = soundfile.read(tmp_path / "b.wav", dtype="int32")
    np.testing.assert_array_equal(again, numbers)


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_16"), (".flac", "PCM_24")])
def test_what_integers_cannot_hold_is_cut_off_and_counted(
    suffix: str, subtype: str, tmp_path: Path
) -> None:
    loud = Signal(np.array([0.5, -1.5, 2.0, 1.0]), 8000, subtype=subtype)
    with pytest.warns(NarrowsWarning, match=f"2 of 4 samples lie beyond .*{subtype}") as caught:
        path = signals.write(tmp_path / f"a{suffix}", loud)
    assert caught[0].message.kind == "samples_clipped"
    np.testing.assert_allclose(signals.read(path).values, [0.5, -1, 1, 1], atol=2**-15)


def test_the_command_says_that_samples_were_cut_off(run: Run, tmp_path: Path) -> None:
    loud = 3 * tone(440, 8000, 1)
    soundfile.write(tmp_path / "loud.wav", loud, 8000, subtype="FLOAT")
    assert run("train", "loud.wav", "-o", "model", "--window", "32", *TRAIN).code == 0
    kept = run("reconstruct", "model", "loud.wav", "-o", "kept.wav", "--json")
    assert kept.json["warnings"] == []
    restored = signals.reconstruct(load(tmp_path / "model"), loud.astype(np.float32))
    np.testing.assert_array_equal(signals.read(tmp_path / "kept.wav").values, restored)
    assert np.abs(restored).max() > 1
    cut = run("reconstruct", "model", "loud.wav", "-o", "cut.flac", "--json")
    (said,) = cut.json["warnings"]
    assert (said["kind"], said["samples"]) == ("samples_clipped", int((abs(restored) > 1).sum()))


# Length -------------------------------------------------------------------------------------------

WRITTEN = {
    "a.wav": {},
    "float.wav": {"subtype": "FLOAT"},
    "wide.wav": {"format": "WAVEX"},
    "large.wav": {"format": "RF64"},
    "a.aiff": {},
    "a.aif": {"format": "AIFF"},
    "a.flac": {},
    "a.mp3": {},
    "a.ogg": {},
}


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("name", WRITTEN)
def test_files_that_are_shorter_than_their_header_says_are_refused(
    name: str, share: float, tmp_path: Path
) -> None:
    path = tmp_path / name
    sound = RNG.normal(0, 0.1, (60000, 2))
    soundfile.write(path, sound, 16000, **WRITTEN[name])
    assert signals.read(path).values.shape == sound.shape
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnreadableFileError, match="cut short") as caught:
        signals.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recordings_whose_writer_did_not_know_the_length_are_read(tmp_path: Path) -> None:
    """As `ffmpeg ... -f wav -` writes them: all ones where the sizes belong."""
    path = tmp_path / "a.wav"
    sound = RNG.normal(0, 0.1, 5000)
    soundfile.write(path, sound, 8000)
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff" * 4
    at = data.find(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(bytes(data))
    np.testing.assert_allclose(signals.read(path).values, sound, atol=2**-15)


def test_recordings_that_were_never_closed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, RNG.normal(0, 0.1, 5000), 8000)
    data = bytearray(path.read_bytes())
    at = data.find(b"data") + 4
    data[4:8] = data[at : at + 4] = bytes(4)
    path.write_bytes(bytes(data))
    with pytest.raises(UnreadableFileError, match="states 0 samples for 10044 bytes"):
        signals.read(path)


def test_what_follows_the_sound_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, RNG.normal(0, 0.1, 5000), 8000)
    path.write_bytes(path.read_bytes() + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(signals.read(path).values) == 5000


def test_a_cut_file_of_a_folder_is_left_out_on_request(sounds: Path, run: Run) -> None:
    whole = (sounds / "b.wav").read_bytes()
    (sounds / "b.wav").write_bytes(whole[: len(whole) // 2])
    words = ["train", "sounds", "-o", "model", "--window", "64", *TRAIN]
    assert "cut short" in run(*words).err
    done = run(*words, "--skip-unreadable", "--json")
    assert done.json["rows"] == len(signals.window_starts(8000, 64))
    (skipped,) = done.json["skipped"]
    assert skipped["path"].endswith("b.wav")
    assert "cut short" in skipped["reason"]


def test_a_sound_that_is_shorter_than_a_window_is_named(sounds: Path, run: Run) -> None:
    soundfile.write(sounds / "short.wav", tone(440, 16000, 0.003), 16000)
    words = ["train", "sounds", "-o", "model", "--window", "64", *TRAIN]
    refused = run(*words)
    assert refused.code == 3
    assert "short.wav': a signal of 48 samples is shorter than a window of 64" in refused.err
    assert run(*words, "--exclude", "short.wav").code == 0
