"""Input from outside: names, damage and streams end in one line, and what is right stays right.

The seed of everything random here is 0. ``python -m benchmarks.reliability bad_input fuzzing``
tries many more cases.
"""

import copy
import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from cli_kit import TINY, Run, pictures, save_pictures, table
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from narrows import MODELS, Autoencoder, Library, errors, load, signals
from narrows.data import files
from narrows.errors import (
    CheckpointError,
    DataError,
    FormatError,
    NarrowsError,
    NarrowsWarning,
    ParameterError,
    UnreadableFileError,
)
from narrows.remote import panics_as_failures
from narrows.texts import MOST, as_name, as_text, one_line

pytestmark = pytest.mark.cases

RNG = np.random.default_rng(0)
LONG = "n" * 300
BYTES = os.fsdecode(b"caf\xe9\xff.png")  # a name that is not UTF-8
WRITTEN = r"caf\xe9\xff.png"

# Messages -----------------------------------------------------------------------------------------


NAMES = st.binary(max_size=12).map(os.fsdecode) | st.text(r"\xe9a5c", max_size=12)


@given(NAMES, NAMES)
def test_names_become_texts_and_come_back(one: str, other: str) -> None:
    assert as_name(as_text(one)) == one
    as_text(one).encode("utf-8")
    assert (as_text(one) == as_text(other)) == (one == other)


@given(st.text() | st.binary().map(os.fsdecode), st.integers(60, MOST))
def test_every_message_is_one_printable_line_of_bounded_length(text: str, most: int) -> None:
    line = one_line(text, most)
    assert line.isprintable()
    assert len(line) <= most
    if text.isprintable() and len(text) <= most:
        assert line == text


def test_long_messages_keep_what_was_found_and_the_remedy() -> None:
    line = one_line(f"'{LONG}/{LONG}' is bad; {'x' * 400} choose another (--to)")
    assert line.startswith("'nnn")
    assert line.endswith("choose another (--to)")


CLASSES = [one for one in vars(errors).values() if isinstance(one, type)]


@pytest.mark.parametrize("kind", [c for c in CLASSES if issubclass(c, NarrowsError)])
def test_every_error_is_bounded_and_comes_through_pickle_as_processes_send_it(kind: Any) -> None:
    error = kind("\x1b[31mred\n" + "long " * 400 + "; the remedy")
    assert str(error).isprintable()
    assert len(str(error)) <= MOST
    assert str(error).endswith("; the remedy")
    made, arguments = error.__reduce__()[:2]
    assert str(made(*arguments)) == str(error)


def test_a_warning_that_a_filter_raises_comes_through_pickle() -> None:
    warning = NarrowsWarning("word " * 300, kind="a", count=3, columns=["b"])
    made = copy.deepcopy(warning)  # by the same protocol as pools of processes send it
    assert (str(made), made.kind, made.facts) == (str(warning), "a", warning.facts)


def test_an_error_takes_what_is_no_text() -> None:
    assert str(DataError(ValueError("two\nlines"))) == "two lines"  # type: ignore[arg-type]


def test_warnings_are_bounded_too(run: Run, tmp_path: Path) -> None:
    assert len(str(NarrowsWarning("word " * 300, kind="a"))) <= MOST
    Path("many.csv").write_text(",".join(f"{'c' * 99}{i}" for i in range(999)) + "\n" + "x,1\n" * 3)
    done = run("train", "many.csv", "-o", "model")
    assert done.code == 3
    assert all(len(line) <= 500 for line in done.err.splitlines())
    done = run("train", "\x1b[31m\n" + LONG * 5, "-o", "model")
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert len(done.err) <= 501
    assert "\x1b" not in done.err


# Lance --------------------------------------------------------------------------------------------


def spoil_schemas(folder: Path, known: bytes, other: bytes) -> None:
    changed = 0
    for manifest in (folder / "_versions").iterdir():
        data = manifest.read_bytes()
        changed += data.count(known)
        manifest.write_bytes(data.replace(known, other))
    assert changed


def test_a_panic_of_lance_at_a_library_is_one_line(made: Path, tmp_path: Path, run: Run) -> None:
    import shutil

    shutil.copytree(made / "pictures.lance", tmp_path / "lib")
    spoil_schemas(tmp_path / "lib" / "table.lance", b"large_binary", b"large_ainary")
    with pytest.raises(FormatError, match=r"damaged .*large_ainary"):
        Library.open(tmp_path / "lib")
    for words in (["match", "lib", made / "photos"], ["verify", "lib"], ["duplicates", "lib"]):
        done = run(*words)
        assert (done.code, done.err.count("\n")) == (4, 1)


def test_a_panic_of_lance_at_data_is_one_line(tmp_path: Path) -> None:
    place = files.write(tmp_path / "rows.lance", RNG.random((9, 3)), names=list("abcdefghi"))
    spoil_schemas(place, b"string", b"strong")
    with pytest.raises(UnreadableFileError, match="not a readable Lance dataset"):
        files.read(place)


def test_panics_are_translated_and_nothing_else_is() -> None:
    class PanicException(BaseException):
        pass

    for raised, wanted in (
        (PanicException("gone"), RuntimeError),
        (KeyError("gone"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (DataError("gone"), DataError),
    ):
        with pytest.raises(wanted), panics_as_failures():
            raise raised


# Files that are not UTF-8 -------------------------------------------------------------------------


def not_utf8(count: int) -> Any:
    places = struct.pack(f"<{count + 1}i", *range(0, 2 * count + 1, 2))
    buffers = [None, pa.py_buffer(places), pa.py_buffer(b"\xff\xfe" * count)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def test_parquet_with_texts_that_are_not_utf8_is_one_line(tmp_path: Path, run: Run) -> None:
    parquet.write_table(pa.table({"a": [1.0, 2.0], "b": not_utf8(2)}), "bytes.parquet")
    png = io.BytesIO()
    Image.fromarray(pictures(1)[0]).save(png, "PNG")
    cells = pa.StructArray.from_arrays(
        [pa.array([png.getvalue()] * 2), not_utf8(2)], ["bytes", "path"]
    )
    parquet.write_table(pa.table({"image": cells}), "pictures.parquet")
    for name in ("bytes.parquet", "pictures.parquet"):
        with pytest.raises(UnreadableFileError, match="UTF"):
            files.read(name)
        done = run("train", name, "-o", "model")
        assert (done.code, done.err.count("\n")) == (3, 1)


def test_a_parquet_column_whose_name_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    parquet.write_table(
        pa.table({"abcdefgh": [1.0, 2.0]}), tmp_path / "a.parquet", store_schema=False
    )
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data.replace(b"abcdefgh", b"abc\xff\xfefgh"))
    with pytest.raises(UnreadableFileError, match="not a readable Parquet table"):
        files.read(tmp_path / "a.parquet")


# Checkpoints --------------------------------------------------------------------------------------


def test_damaged_checkpoints_are_one_line(tmp_path: Path, monkeypatch: Any) -> None:
    from narrows.training.state import Checkpoint

    X, file, kept = table(), tmp_path / "run.ckpt", []
    monkeypatch.setattr(Checkpoint, "remove", lambda self: kept.append(self.path.read_bytes()))

    def fit() -> Autoencoder:
        return Autoencoder(2, max_epochs=2, random_state=0, checkpoint=file).fit(X)

    truth = fit().fingerprint_
    whole = kept[0]
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    facts = json.loads(header["__metadata__"]["narrows"])
    for name, value in (
        ("history", None), ("history", []), ("history", {"layers": [3]}), ("seed", "x"),
        ("history", {"epochs": 1}), ("history", {"no such": 1}), ("n_optimized", 10**9),
        ("identity", None),
    ):  # fmt: skip
        header["__metadata__"]["narrows"] = json.dumps({**facts, name: value})
        spoilt = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(spoilt)) + spoilt + whole[8 + size :])
        with pytest.raises(CheckpointError, match=r"run\.ckpt' is"):
            fit()
    for data in (b"", b"\xff" * 99, whole[:-1], whole[: 8 + size], b"{}", b"\0" * 8, whole[:20]):
        file.write_bytes(data)
        with pytest.raises(CheckpointError):
            fit()
    file.write_bytes(whole)
    assert fit().fingerprint_ == truth


# Names that are too long --------------------------------------------------------------------------

TOO_LONG = [
    (3, "train {}.npy -o new"),
    (5, "train {made}/table.csv -o {}"),
    (5, "train {made}/table.csv -o new --checkpoint {}"),
    (3, "encode {made}/model {} -o new.npy"),
    (5, "encode {made}/model {made}/photos -o {}.csv"),
    (5, "encode {made}/model {made}/photos -o {}.lance"),
    (3, "index {made}/model {} -o new"),
    (5, "index {made}/model {made}/photos -o {}"),
    (3, "map {made}/model {made}/photos -o new.csv --labels {}"),
    (5, "map {made}/model {made}/photos -o {}.html"),
    (4, "match {} {made}/photos"),
    (3, "match {made}/pictures.lance {}"),
    (5, "pack {made}/photos -o {}.lance"),
    (5, "duplicates {made}/pictures.lance -o {}.csv"),
]


@pytest.mark.parametrize(("code", "pattern"), TOO_LONG)
def test_names_that_are_too_long_are_one_line(
    code: int, pattern: str, made: Path, run: Run, tmp_path: Path
) -> None:
    words = [word.replace("{made}", str(made)).replace("{}", LONG) for word in pattern.split()]
    done = run(*words)
    said = [line for line in done.err.splitlines() if line.startswith("narrows: error")]
    assert done.code == code
    assert len(said) == 1
    assert "File name too long" in said[0] or "not a library" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_the_longest_names_that_there_are_can_be_written(made: Path, run: Run) -> None:
    name = "n" * 249
    for output in (f"{name}.npy", f"{name}.lance"[-255:]):
        assert run("encode", made / "model", made / "photos", "-o", output).code == 0
    assert run("pack", made / "photos", "-o", f"{'p' * 249}.lance").code == 0


# Arrays that shrink -------------------------------------------------------------------------------


def test_a_small_array_is_in_memory_and_survives_its_file(tmp_path: Path) -> None:
    X = RNG.random((4000, 6))
    for file in (tmp_path / "rows.npy", tmp_path / "wave.npy"):
        np.save(file, X)
    rows = files.read(tmp_path / "rows.npy").values
    wave = signals.read(tmp_path / "wave.npy").values
    for file in tmp_path.iterdir():
        os.truncate(file, 200)
    np.testing.assert_array_equal(rows, X)  # a map would end the process here
    np.testing.assert_array_equal(wave, X)


def test_an_array_that_shrinks_after_it_was_opened_in_a_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from narrows.data import lazy_rows

    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", RNG.random((4000, 6)))
    monkeypatch.setattr(lazy_rows, "SMALL", 0)
    rows = files.read(tmp_path).values
    os.truncate(tmp_path / "b.npy", 200)
    with pytest.raises(DataError, match="was changed while it was read"):
        rows[:]


def test_an_array_that_was_cut_says_what_is_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", RNG.random((40, 6)))
    os.truncate(tmp_path / "rows.npy", 1000)
    with pytest.raises(UnreadableFileError, match="states 1920 bytes of values, and 872 are there"):
        files.read(tmp_path / "rows.npy")


@pytest.mark.parametrize("is_large", [False, True])
def test_what_follows_an_array_is_told(
    is_large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from narrows.data import lazy_rows

    monkeypatch.setattr(lazy_rows, "SMALL", 0 if is_large else lazy_rows.SMALL)
    X = np.asfortranarray(RNG.random((40, 6)))
    for rows in (X, X[:0]):
        with (tmp_path / "rows.npy").open("wb") as file:
            np.save(file, X)
            np.save(file, rows)
        with pytest.warns(NarrowsWarning, match=r"after its array of shape \(40, 6\)") as caught:
            values = files.read(tmp_path / "rows.npy").values
        facts = caught[0].message.facts  # type: ignore[union-attr]
        assert facts["bytes"] == 128 + rows.nbytes  # a header and its values
        np.testing.assert_array_equal(values[:], X)


def test_an_array_of_a_negative_size_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", RNG.random((40, 6)))
    data = (tmp_path / "rows.npy").read_bytes()
    (tmp_path / "rows.npy").write_bytes(data.replace(b"(40, 6), ", b"(-40, 6),"))
    with pytest.raises(UnreadableFileError, match=r"states the shape \(-40, 6\)"):
        files.read(tmp_path / "rows.npy")


# Sound --------------------------------------------------------------------------------------------

SOUNDS = [
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"),
    ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "subtype"), SOUNDS)
def test_sound_that_is_cut_anywhere_is_refused(kind: str, subtype: str, tmp_path: Path) -> None:
    wave = 0.4 * np.sin(np.arange(9000) / 9)
    file = tmp_path / f"tone.{kind.lower()}"
    soundfile.write(file, wave, 8000, format=kind, subtype=subtype)
    whole = file.read_bytes()
    assert np.corrcoef(signals.read(file).values[:9000], wave)[0, 1] > 0.8
    for share in (0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UnreadableFileError):
            signals.read(file)


@pytest.mark.parametrize("kind", ["W64", "AU", "CAF", "NIST", "VOC"])
def test_sound_of_another_format_than_its_ending_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "tone.wav"  # cut short, it would be read as a shorter one
    soundfile.write(file, 0.4 * np.sin(np.arange(9000) / 9), 8000, format=kind, subtype="PCM_16")
    with pytest.raises(UnreadableFileError, match=r"whether it is complete; convert it to WAV"):
        signals.read(file)


@pytest.mark.parametrize(("kind", "ending"), [("RF64", "wav"), ("WAVEX", "wav"), ("FLAC", "wav")])
def test_sound_of_a_known_format_is_read_whatever_its_ending(
    kind: str, ending: str, tmp_path: Path
) -> None:
    wave = 0.4 * np.sin(np.arange(9000) / 9)
    soundfile.write(tmp_path / f"tone.{ending}", wave, 8000, format=kind, subtype="PCM_24")
    np.testing.assert_allclose(signals.read(tmp_path / f"tone.{ending}").values, wave, atol=1e-6)


# Pictures -----------------------------------------------------------------------------------------


def test_pictures_with_palettes_are_read_in_every_format(tmp_path: Path) -> None:
    colours = Image.fromarray(RNG.integers(0, 256, (12, 10, 3), dtype=np.uint8))
    picture = colours.quantize(61)
    for suffix in ("bmp", "png", "gif", "tif"):
        picture.save(tmp_path / f"a.{suffix}")
        found = files.read(tmp_path / f"a.{suffix}").values[0]
        np.testing.assert_array_equal(found, np.asarray(picture.convert("RGB")), err_msg=suffix)


def test_pipes_are_refused_before_they_are_waited_for(tmp_path: Path, run: Run) -> None:
    os.mkfifo(tmp_path / "tone.wav")
    with pytest.raises(UnreadableFileError, match="is a pipe"):
        signals.read(tmp_path / "tone.wav")
    for name in ("rows.npy", "rows.csv", "a.png"):
        os.mkfifo(tmp_path / name)
        done = run("train", name, "-o", "model")
        assert (done.code, done.err.count("\n")) == (3, 1)
        assert "is a pipe" in done.err


# Names that are not UTF-8 -------------------------------------------------------------------------


@pytest.fixture
def strange(tmp_path: Path, run: Run) -> Path:
    """Make a folder of pictures of which two have names that are nearly the same."""
    save_pictures(tmp_path / "photos", pictures(12))
    (tmp_path / "photos/left/01.png").rename(tmp_path / "photos/left" / BYTES)
    (tmp_path / "photos/left/03.png").rename(tmp_path / "photos/left" / WRITTEN)
    assert run("train", "photos", "-o", "model", *TINY).code == 0
    return tmp_path / "photos"


TEXTS = {f"left/{WRITTEN}", r"left/caf\x5cxe9\x5cxff.png"}


def test_names_that_are_not_utf8_stand_in_tables(strange: Path, run: Run) -> None:
    outputs = ["m.csv", "m.parquet", "m.html", "m.png"]
    words = [word for output in outputs for word in ("-o", output)]
    assert run("map", "model", strange, *words, "--no-scores").code == 0
    with Path("m.csv").open(encoding="utf-8") as file:
        assert {row["name"] for row in csv.DictReader(file)} > TEXTS
    assert set(parquet.read_table("m.parquet")["name"].to_pylist()) > TEXTS
    assert "xe9" in Path("m.html").read_text("utf-8")


def test_names_that_are_not_utf8_stand_in_libraries_and_answers(strange: Path, run: Run) -> None:
    assert run("index", "model", strange, "-o", "lib").code == 0
    library = Library.open("lib")
    paths = [item.path for item in library.items(library.ids)]
    assert {path.rpartition("photos/")[2] for path in paths} > TEXTS
    done = run("match", "lib", strange, "-k", "1", "--json")
    assert {query["query"] for query in done.json["queries"]} > TEXTS
    matched = {query["matches"][0]["path"] for query in done.json["queries"]}
    assert {path.rpartition("photos/")[2] for path in matched} > TEXTS
    done.out.encode("utf-8")
    json.dumps(done.json, ensure_ascii=False).encode("utf-8")
    assert WRITTEN in run("match", "lib", strange, "-k", "1").out
    for output in ("d.csv", "d.json", "d.html"):
        assert run("duplicates", "lib", "--threshold", "9", "-o", output).code == 0
        assert r"\xe9" in Path(output).read_text("utf-8").replace("\\\\", "\\")


def test_names_that_are_not_utf8_are_kept_where_files_have_them(strange: Path, run: Run) -> None:
    assert run("reconstruct", "model", strange, "-o", "again").code == 0
    assert Path("again/left", BYTES).is_file()
    for output in ("codes.npz", "codes.lance"):
        assert run("encode", "model", strange, "-o", output).code == 0
    assert f"left/{BYTES}" in files.read("codes.npz").names
    assert list(files.read("codes.lance").names) == files.read("codes.npz").names
    assert run("decode", "model", "codes.lance", "-o", "decoded").code == 0
    assert Path("decoded/left", BYTES).is_file()


def test_names_that_are_not_utf8_are_found_by_the_texts_that_tables_hold(
    strange: Path, run: Run
) -> None:
    (strange / "left" / WRITTEN).rename(strange / "left" / "03.png")
    assert run("map", "model", strange, "-o", "m.csv", "--no-scores").code == 0
    with Path("m.csv").open(encoding="utf-8", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    with Path("labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((name, len(name)) for name in names)])
    done = run("map", "model", strange, "-o", "again.csv", "--labels", "labels.csv", "--no-scores")
    assert done.code == 0, done.err
    with Path("again.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [str(len(row["name"])) for row in rows]
    (strange / "left" / "03.png").rename(strange / "left" / WRITTEN)
    done = run("map", "model", strange, "-o", "both.csv", "--labels", "labels.csv")
    assert done.code == 3
    assert all(name in done.err for name in TEXTS)  # two files, told apart


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".tsv", ".parquet", ".wav"])
def test_files_whose_names_are_not_utf8_are_written_and_read(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"a\xff" + suffix.encode())
    if suffix == ".wav":
        wave = 0.4 * np.sin(np.arange(900) / 9)
        signals.write(file, signals.Signal(wave, 8000))
        np.testing.assert_allclose(signals.read(file).values, wave, atol=1e-4)
        return
    X = RNG.random((9, 3))
    files.write(file, X)
    np.testing.assert_array_equal(files.read(file).values, X)


def test_lance_takes_no_such_path_and_that_is_said_first(tmp_path: Path, made: Path) -> None:
    place = tmp_path / os.fsdecode(b"\xff.lance")
    with pytest.raises(ParameterError, match="not UTF-8"):
        files.write(place, RNG.random((9, 3)))
    with pytest.raises(ParameterError, match="not UTF-8"):
        Library.create(place, model=load(made / "model"))
    assert list(tmp_path.iterdir()) == []


def test_reports_of_models_of_such_names_are_written(strange: Path, run: Run) -> None:
    Path("model").rename(BYTES)
    assert run("report", BYTES, strange, "-o", "report").code == 0
    assert WRITTEN in Path("report/index.html").read_text("utf-8")


# Codes and rows that overflow ---------------------------------------------------------------------


def refused_or_finite(call: Callable[[Any], Any], given: Any) -> None:
    """Of five rows or codes, the one with number 3 is too large for some models."""
    said = ""
    try:
        made = call(given)
    except DataError as error:
        said = str(error)
    assert "3, counted from 0" in said if said else np.isfinite(made).all()


@pytest.mark.filterwarnings("ignore:none of the")
@pytest.mark.parametrize("name", MODELS)
def test_codes_and_rows_that_overflow_are_refused(name: str, tmp_path: Path) -> None:
    X = table()
    model = MODELS[name](2, max_epochs=1, random_state=0).fit(X)
    _, decoder = model.split()
    again = load(model.save(tmp_path / "model"))
    calls: list[Callable[[Any], Any]] = [m.inverse_transform for m in (model, decoder, again)]
    for bad in (np.nan, np.inf, -np.inf, 1e39):
        codes = np.zeros((5, 2))
        codes[3, 1] = bad
        for call in calls:
            with pytest.raises(DataError, match=r"row 3|code 3|1e.39, beyond"):
                call(codes)
    for size in (1e10, 1e20, 1e30, 3e38):
        codes = np.zeros((5, 2))
        codes[3] = size, -size
        for call in calls:
            refused_or_finite(call, codes)
        rows = X[:5].copy()
        rows[3] = size
        for method in ("transform", "reconstruct", "reconstruction_error", "score_samples"):
            refused_or_finite(getattr(model, method), rows)


def test_a_linear_decoder_overflows_and_the_command_says_so(run: Run, tmp_path: Path) -> None:
    np.save("table.npy", table())
    words = ["train", "table.npy", "-o", "model", "--architecture", "pca_residual", *TINY]
    assert run(*words).code == 0
    np.save("codes.npy", np.full((4, 3), 3e38))
    done = run("decode", "model", "codes.npy", "-o", "rows.csv")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert "code 0, counted from 0" in done.err
    assert "narrows encode" in done.err
    assert not Path("rows.csv").exists()


def test_onnx_refuses_what_overflows() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from narrows.onnx import OnnxEncoder

    model = Autoencoder(2, max_epochs=1, random_state=0, architecture="pca_residual").fit(table())
    rows = table()[:5]
    rows[3] = 3e38
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = OnnxEncoder(model.split()[0])
    with pytest.raises(DataError, match="row 3, counted from 0"):
        runner.transform(rows)


# Standard streams ---------------------------------------------------------------------------------


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = line.replace("narrows", f"{sys.executable} -m narrows")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


STREAMS = [
    (">/dev/full", 5, "standard output could not be written: No space left on device"),
    ("| true", 141, ""),
    ("<&- >&- 2>&-", 5, ""),
]


@pytest.mark.parametrize(("redirection", "code", "said"), STREAMS)
def test_the_answer_may_be_lost_and_files_are_not(
    redirection: str, code: int, said: str, made: Path, tmp_path: Path
) -> None:
    # The encoder's answer comes after `true` has ended.
    words = f"narrows encode {made}/model {made}/photos -o codes.npy {redirection}"
    done = shell(words, tmp_path)
    assert done.returncode == code
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), np.load(made / "codes.npy"))
    assert said in done.stderr
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize("words", ["--help", "--version"])
def test_help_that_cannot_be_written_says_so(words: str, tmp_path: Path) -> None:
    for redirection, code in ((">&-", 5), (">/dev/full", 5), ("2>&-", 0)):
        done = shell(f"narrows {words} {redirection}", tmp_path)
        assert done.returncode == code
        assert done.stderr.count("\n") == bool(code)


def test_a_crash_within_a_library_is_told(tmp_path: Path) -> None:
    code = "import os, narrows.__main__ as one; one.main = os.abort; one.run()"
    words = [
        sys.executable,
        "-c",
        f"import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0)); {code}",
    ]
    done = subprocess.run(words, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.startswith("Fatal Python error: Aborted")


def test_an_error_keeps_its_code_whatever_the_streams_are(tmp_path: Path) -> None:
    for redirection in (">&-", ">/dev/full 2>&- <&-"):
        assert shell(f"narrows info missing {redirection}", tmp_path).returncode == 3


def test_names_are_printed_in_any_encoding(tmp_path: Path) -> None:
    for setting in ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0", "PYTHONIOENCODING=latin-1"):
        line = f"{setting} narrows info $'caf\\xe9\\u4e00' || {setting} narrows --version"
        done = shell(line, tmp_path)
        assert "there is no model 'caf" in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.returncode == 0
