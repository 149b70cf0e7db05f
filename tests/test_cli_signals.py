"""Signals on the command line: sound and tables, there and back."""

import json
import re
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from narrows import load, signals
from narrows.cli.main import main
from narrows.errors import DataError

SEED = 0
TRAIN = ["--n-components", "4", "--max-epochs", "8", "--random-state", str(SEED)]


def run(capsys, *words):
    code = main([*map(str, words), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals")
    clean = np.sin(np.arange(8000) / 9) / 2
    noise = np.random.default_rng(SEED).normal(0, 0.1, len(clean))
    (folder / "sound").mkdir()
    signals.write(folder / "sound" / "a.wav", signals.Signal(clean, 8000, subtype="FLOAT"))
    signals.write(folder / "sound" / "b.wav", signals.Signal(clean[::-1], 8000, subtype="FLOAT"))
    signals.write(folder / "noisy.wav", signals.Signal(clean + noise, 8000, subtype="FLOAT"))
    wide = np.stack([np.arange(8000), clean], axis=1)
    signals.write(folder / "wide.csv", signals.Signal(wide, columns=["time", "heart"]))
    denoising = ["--model", "denoising", "--corruption-level", "0.3"]
    words = ["train", folder / "sound", "-o", folder / "model", "--window", 64, "--hop", 8]
    assert main([*map(str, words), *denoising, *TRAIN]) == 0
    return folder


def test_sound_is_denoised_and_judged(folder, tmp_path, capsys):
    said = run(
        capsys, "denoise", folder / "model", folder / "noisy.wav", "-o", tmp_path / "clean.wav",
        "--clean", folder / "sound" / "a.wav", "--hop", 16,
    )  # fmt: skip
    noisy, clean = (signals.read(folder / name) for name in ("noisy.wav", "sound/a.wav"))
    restored = signals.read(tmp_path / "clean.wav")
    assert (restored.rate, restored.subtype) == (8000, "FLOAT")
    truth = signals.denoise(load(folder / "model"), noisy.values, hop=16)
    np.testing.assert_array_equal(restored.values, truth.astype(np.float32))
    assert said["snr"]["damaged"] == pytest.approx(signals.snr(noisy.values, clean.values))
    assert said["snr"]["restored"] == pytest.approx(signals.snr(truth, clean.values))
    assert said["snr"]["restored"] > said["snr"]["damaged"] + 5


def test_the_noise_of_a_signal_is_told_and_clean_sound_is_left_alone(folder, tmp_path, capsys):
    words = ["train", folder / "sound", "-o", tmp_path / "model", "--window", 64]
    words += ["--model", "denoising", "--max-epochs", 2, "--random-state", SEED]
    run(capsys, *words)
    for number, more in enumerate(([], ["--even-if-clean"], ["--strength", 0])):
        given = ["denoise", tmp_path / "model", folder / "noisy.wav", *more]
        given += ["--clean", folder / "sound" / "a.wav", "-o", tmp_path / f"{number}.wav"]
        said = run(capsys, *given)
        if more == ["--even-if-clean"]:
            assert (said["noise"], said["share"]) == (None, 1)
        else:
            assert said["noise"] == pytest.approx(0.1, rel=0.1)
        if more == ["--strength", 0]:
            assert said["snr"]["restored"] == pytest.approx(said["snr"]["damaged"])
    given = ["denoise", tmp_path / "model", folder / "sound" / "a.wav", "-o", tmp_path / "c.wav"]
    assert main([*map(str, given)]) == 0
    line = capsys.readouterr().out
    assert re.search(r"8000 samples restored in .*; noise \S+ \(standard deviation\), \d+ %", line)
    clean, left = (signals.read(at).values for at in (folder / "sound" / "a.wav", given[-1]))
    assert signals.snr(left, clean) > 40


def test_codes_go_one_way_and_come_back(folder, tmp_path, capsys):
    sound = folder / "sound" / "a.wav"
    said = run(capsys, "encode", folder / "model", sound, "-o", tmp_path / "codes.npy")
    assert said["rows"] == len(signals.window_starts(8000, 64))
    words = ["-o", tmp_path / "again.wav", "--rate", 8000, "--samples", 8000]
    run(capsys, "decode", folder / "model", tmp_path / "codes.npy", *words)
    run(capsys, "reconstruct", folder / "model", sound, "-o", tmp_path / "other.wav")
    again, other = (signals.read(tmp_path / name).values for name in ("again.wav", "other.wav"))
    np.testing.assert_allclose(again, other, atol=2**-14)


def test_a_column_whose_name_has_a_comma_is_in_double_quotes(folder, tmp_path, capsys):
    heart = signals.read(folder / "wide.csv", ["heart"]).values
    pd.DataFrame({"time": np.arange(len(heart)), "heart, left": heart}).to_csv(
        tmp_path / "s.csv", index=False
    )
    words = ["--window", 50, "--columns", '"heart, left"', "-o", tmp_path / "model", *TRAIN]
    run(capsys, "train", tmp_path / "s.csv", *words)
    same = ["--window", 50, "--columns", "heart", "-o", tmp_path / "same", *TRAIN]
    run(capsys, "train", folder / "wide.csv", *same)
    x = heart[:50].reshape(1, -1)
    codes = [load(tmp_path / name).transform(x) for name in ("model", "same")]
    np.testing.assert_array_equal(*codes)


def test_a_column_of_a_table_is_a_signal(folder, tmp_path, capsys):
    words = ["--window", 50, "--columns", "heart", "-o", tmp_path / "model", *TRAIN]
    run(capsys, "train", folder / "wide.csv", *words)
    model = load(tmp_path / "model")
    assert model.sample_shape_ == (50,)
    words = ["--signal", "--columns", "heart", "-o", tmp_path / "heart.csv"]
    run(capsys, "reconstruct", tmp_path / "model", folder / "wide.csv", *words)
    heart = signals.read(tmp_path / "heart.csv")
    assert heart.columns == ["heart"]
    truth = signals.reconstruct(model, signals.read(folder / "wide.csv", ["heart"]).values)
    np.testing.assert_allclose(heart.values, truth)


@pytest.mark.parametrize(
    ("code", "words", "message"),
    [
        (2, "train {0}/noisy.wav -o {1}/new", "is a signal; say how many samples"),
        (3, "train {0}/noisy.wav -o {1}/new --window 9000", "shorter than a window of 9000"),
        (2, "train {0}/noisy.wav -o {1}/new --window 64 --hop 65", "hop=65 .*from 1 to"),
        (2, "train {0}/wide.csv -o {1}/new --window 64 --columns x", "no column 'x'"),
        (3, "train {0}/model -o {1}/new --window 64", "holds no sound files"),
        (2, "denoise {0}/model {0}/noisy.wav -o {1}/new.png", "no place for a signal"),
        (5, "denoise {0}/model {0}/noisy.wav -o {0}/noisy.wav", "exists"),
        (2, "reconstruct {0}/model {0}/wide.csv --signal --columns heart -o {1}/new.wav", "rate"),
        (3, "encode {0}/model {0}/wide.csv --signal -o {1}/new.npy", r"\(64, 2\) were given"),
        (3, "decode {0}/model {0}/wide.csv -o {1}/new.wav --rate 9", "9 .*learned from 8000"),
        (3, "denoise {0}/model {0}/nowhere.wav -o {1}/new.wav", "does not exist"),
    ],
)
def test_bad_input_is_refused_in_one_line(folder, tmp_path, code, words, message):
    with redirect_stderr(StringIO()) as heard:
        assert main(words.format(folder, tmp_path).split()) == code
    said = heard.getvalue()
    assert re.search(message, said)
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train {0}/sound -o {1}/new", r"sound' holds 2 sound files: give .*--window 256"),
        ("train {0}/wide.csv -o {1}/new --hop 8", "--hop 8 .*give --window 256"),
        ("encode {0}/model {0}/wide.csv -o {1}/new.npy --columns heart", "give --signal"),
        ("reconstruct {0}/model {0}/wide.csv -o {1}/new.csv --hop 8", "give --signal"),
        ("denoise {0}/model {0}/wide.csv -o {1}/new.csv --columns heart", "give --signal"),
        *(
            (f"{verb} {{0}}/model {{0}}/wide.csv -o {{1}}/new{end}", "a whole signal by --signal")
            for verb, end in (("encode", ".npy"), ("reconstruct", ".csv"), ("report", ""))
        ),
    ],
)
def test_options_of_signals_name_what_makes_data_a_signal(folder, tmp_path, words, message):
    with redirect_stderr(StringIO()) as heard:
        assert main(words.format(folder, tmp_path).split()) in (2, 3)
    assert re.search(message, heard.getvalue())
    assert not list(tmp_path.iterdir())


def test_one_is_counted_in_the_singular(folder, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("a,b,c\n" + "".join(f"{n},{n * n},{-n}\n" for n in range(30)))
    one = tmp_path / "one.csv"
    one.write_text("a,b,c\n3,9,-3\n")
    model, code = tmp_path / "model", tmp_path / "code.npy"
    words = ["--n-components", "1", "--max-epochs", "2", "--scaling", "standard"]
    said = []
    for given in (
        ["train", table, "-o", model, *words],
        ["encode", model, one, "-o", code],
        ["decode", model, code, "-o", tmp_path / "again.csv"],
        ["reconstruct", model, one, "-o", tmp_path / "restored.csv"],
    ):
        assert main([*map(str, given)]) == 0
        said.append(capsys.readouterr().out)
    assert "with codes of 1 number, trained" in said[0]
    assert said[1].startswith("1 code of 1 number in")
    assert said[2].startswith("1 row decoded in")
    assert said[3].startswith("1 row restored in")
    assert not any("1 numbers" in one for one in said)


def test_a_file_that_is_skipped_is_named_once(folder, tmp_path, capsys):
    (tmp_path / "sound").mkdir()
    for name in ("a.wav", "b.wav"):
        (tmp_path / "sound" / name).write_bytes((folder / "sound" / name).read_bytes())
    (tmp_path / "sound" / "c.wav").write_bytes(b"<html>")
    words = ["train", tmp_path / "sound", "-o", tmp_path / "model", "--window", 64, *TRAIN]
    assert main([*map(str, words), "--skip-unreadable"]) == 0
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "skipped" in one]
    assert line.count("c.wav") == 1
    assert line.endswith("c.wav: it is a web page (HTML)")


def test_a_stereo_signal_for_a_mono_model_is_told_of_columns(folder, tmp_path, capsys):
    mono = signals.read(folder / "noisy.wav").values
    stereo = tmp_path / "stereo.wav"
    signals.write(stereo, signals.Signal(np.stack([mono, mono], axis=1), 8000))
    words = ["encode", folder / "model", stereo, "-o", tmp_path / "codes.npy"]
    assert main([*map(str, words)]) == 3
    assert "choose 1 channel of 2 (--columns 0" in capsys.readouterr().err
    run(capsys, *words, "--columns", 0)
    with pytest.raises(DataError, match=r"signals\.read\(path, \['0'\]\)"):
        signals.encode(load(folder / "model"), signals.read(stereo))
