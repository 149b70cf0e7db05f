"""The command line: every verb on every kind of data, and what it answers."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from cli_kit import (
    TINY,
    Run,
    frame,
    pictures,
    save_csv,
    save_idx,
    save_npz,
    save_parquet,
    save_pictures,
    table,
)
from numpy.typing import NDArray
from PIL import Image

from narrows import MODELS, Library, errors, load
from narrows.cli.main import EXIT_CODES, VERBS
from narrows.training.progress import on_epoch


class Kind(NamedTuple):
    name: str
    save: Callable[[Path, Any], None]
    values: Callable[[], NDArray[Any]]
    restored: str


KINDS = [
    Kind("table.npy", np.save, table, "restored.npy"),
    Kind("table.npz", save_npz, table, "restored.npz"),
    Kind("table.csv", save_csv, table, "restored.csv"),
    Kind("table.parquet", save_parquet, table, "restored.parquet"),
    Kind("pictures.npy", np.save, pictures, "restored.npy"),
    Kind("pictures.idx", save_idx, pictures, "restored"),
    Kind("photos", save_pictures, pictures, "restored/"),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_verb_takes_every_kind_of_data(kind: Kind, run: Run) -> None:
    kind.save(Path(kind.name), kind.values())
    trained = run("train", kind.name, "-o", "model", *TINY, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["epochs"] == 2
    assert trained.json["sample_shape"] == list(kind.values().shape[1:])
    assert "epoch 2/2" in trained.err

    encoded = run("encode", "model", kind.name, "-o", "codes.npy", "--json").json
    codes = np.load("codes.npy")
    assert (encoded["rows"], encoded["n_components"]) == codes.shape == (40, 3)
    model = load("model")
    order = by_path(kind.values()) if kind.name == "photos" else kind.values()
    np.testing.assert_array_equal(codes, model.transform(as_trained(kind, order)))

    assert run("split", "model", "-o", "encoder", "decoder", "--json").code == 0
    assert run("decode", "decoder", "codes.npy", "-o", kind.restored, "--json").json["rows"] == 40
    again = run("reconstruct", "model", kind.name, "-o", f"again-{kind.restored}", "--json").json
    expected = model.reconstruct(as_trained(kind, order))
    assert again["mean_squared_error"] == pytest.approx(((expected - order) ** 2).mean(), rel=1e-4)
    if kind.restored.rstrip("/") != "restored":
        assert run("encode", "encoder", f"again-{kind.restored}", "-o", "again.csv").code == 0
        assert len(pd.read_csv("again.csv")) == 40

    assert run("index", "model", kind.name, "-o", "rows.lance", "--json").json["rows"] == 40
    matched = run("match", "rows.lance", kind.name, "-k", "2", "--json").json["queries"]
    assert len(matched) == 40
    assert all(query["matches"][0]["distance"] < 1e-3 for query in matched)
    assert run("info", "rows.lance", "--json").json["rows"] == 40


def by_path(values: NDArray[Any]) -> NDArray[Any]:
    """Order pictures as their folder is read: `left/01.png`, ..., `right/00.png`, ..."""
    return np.concatenate([values[1::2], values[::2]])


def as_trained(kind: Kind, values: NDArray[Any]) -> Any:
    return frame(values) if kind.name in ("table.csv", "table.parquet") else values


def test_help_lists_every_verb_and_exit_code_without_importing_them() -> None:
    program = (
        "import sys; from narrows.cli.main import main; code = main(['--help']);"
        "print(sorted(n for n in sys.modules if n.startswith('narrows.cli.')), file=sys.stderr);"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    names = ["console", "main", "process"]
    assert done.stderr.strip() == str([f"narrows.cli.{name}" for name in names])
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", done.stdout, re.MULTILINE)
    for code in EXIT_CODES:
        assert re.search(rf"^  {code} ", done.stdout, re.MULTILINE)


def test_help_starts_fast() -> None:
    """At most 0.12 s of processor time on an idle machine; the least of five, with some slack."""
    spent = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "narrows", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.25


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_in_its_own_help_what_the_list_says(verb: str, run: Run) -> None:
    result = run(verb, "--help")
    assert result.code == 0
    assert " ".join(VERBS[verb].split()) in " ".join(result.out.split())
    assert "--json" in result.out


def test_no_verb_shows_the_help(run: Run) -> None:
    assert run() == run("--help")


def test_train_offers_every_parameter_in_the_docstrings_words(run: Run) -> None:
    text = " ".join(run("train", "--help").out.split())
    for field in fields(MODELS["autoencoder"]):
        if field.name != "verbose":
            assert f"--{field.name.replace('_', '-')}" in text
    assert (
        "Whether the decoder's matrices are the transposed matrices of the encoder. [default: off]"
        in text
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--hidden-layer-sizes", "9,5"], {"hidden_layer_sizes": (9, 5)}),
        (["--hidden-layer-sizes", ""], {"hidden_layer_sizes": ()}),
        (["--hidden-layer-sizes", "none"], {"hidden_layer_sizes": ()}),
        (["--hidden-layer-sizes", "auto"], {"hidden_layer_sizes": "auto"}),
        (["--tied-weights"], {"tied_weights": True}),
        (["--no-early-stopping"], {"early_stopping": False}),
        (["--learning-rate", "1e-2"], {"learning_rate": 0.01}),
        (["--validation-fraction", "0.2"], {"validation_fraction": 0.2}),
        (["--activation", "relu"], {"activation": "relu"}),
        (["--random-state", "7"], {"random_state": 7}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_train_gives_the_model_its_parameters(
    arguments: list[str], expected: dict[str, object], run: Run, made: Path
) -> None:
    result = run(
        "train",
        made / "table.csv",
        "-o",
        "m",
        "--n-components",
        "2",
        "--max-epochs",
        "1",
        *arguments,
    )
    assert result.code == 0, result.err
    parameters = load("m").get_params()
    for name, value in {"n_components": 2, "max_epochs": 1, **expected}.items():
        got = parameters[name]
        assert (tuple(got) if isinstance(got, list) else got) == value


def test_the_same_seed_gives_the_same_model(run: Run, made: Path) -> None:
    first, second = (
        run("train", made / "photos", "-o", name, *TINY, "--json").json for name in "ab"
    )
    assert first["fingerprint"] == second["fingerprint"]


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (["--image-size", "8"], (8, 8)),
        (["--image-size", "6x9", "--color"], (6, 9, 3)),
        (["--grey"], (12, 10)),
    ],
    ids=str,
)
def test_pictures_are_brought_to_the_size_asked_for(
    arguments: list[str], shape: tuple[int, ...], run: Run, made: Path
) -> None:
    result = run("train", made / "photos", "-o", "m", *TINY, "--json", *arguments)
    assert tuple(result.json["sample_shape"]) == shape
    assert run("encode", "m", made / "photos", "-o", "codes.npy").code == 0


def test_decoding_needs_the_decoder_alone_and_gives_pictures(run: Run, made: Path) -> None:
    assert run("split", made / "model", "-o", "encoder/", "decoder/").code == 0
    assert run("decode", "decoder/", made / "codes.npy", "-o", "restored/").code == 0
    files = sorted(Path("restored").iterdir())
    assert len(files) == 40
    expected = load(made / "model").inverse_transform(np.load(made / "codes.npy"))
    with Image.open(files[3]) as image:
        np.testing.assert_array_equal(np.asarray(image), np.rint(expected[3].clip(0, 255)))


def test_reconstructed_pictures_keep_their_names(run: Run, made: Path) -> None:
    assert run("reconstruct", made / "model", made / "photos", "-o", "out/").code == 0
    names = {path.relative_to("out") for path in Path("out").rglob("*.png")}
    assert names == {path.relative_to(made / "photos") for path in (made / "photos").rglob("*.png")}


def test_what_is_restored_has_the_type_of_the_training_data(run: Run, made: Path) -> None:
    run("decode", made / "model", made / "codes.npy", "-o", "pixels.npy")
    assert np.load("pixels.npy").dtype == np.uint8
    whole = np.random.default_rng(0).integers(-50, 50, (40, 4))
    np.save("whole.npy", whole)
    run("train", "whole.npy", "-o", "m", *TINY)
    run("reconstruct", "m", "whole.npy", "-o", "restored.npy")
    restored = np.load("restored.npy")
    assert restored.dtype == whole.dtype
    np.testing.assert_array_equal(restored, np.rint(load("m").reconstruct(whole)))


@pytest.mark.parametrize("name", ["restored.csv", "restored.parquet"])
def test_restored_tables_have_their_columns_names(name: str, run: Run, made: Path) -> None:
    assert run("reconstruct", made / "table-model", made / "table.csv", "-o", name).code == 0
    assert (
        run("decode", made / "table-model", made / "table-codes.npy", "-o", f"d-{name}").code == 0
    )
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    assert list(read(name)) == list(read(f"d-{name}")) == list("abcdef")
    expected = load(made / "table-model").inverse_transform(np.load(made / "table-codes.npy"))
    np.testing.assert_allclose(read(name).to_numpy(), expected, rtol=1e-5, atol=1e-5)


def test_pictures_from_files_fit_a_model_of_values_between_0_and_1(run: Run, made: Path) -> None:
    np.save("unit.npy", by_path(pictures()) / 255)
    run("train", "unit.npy", "-o", "unit", *TINY)
    run("encode", "unit", "unit.npy", "-o", "from-array.npy")
    assert run("encode", "unit", made / "photos", "-o", "from-files.npy").code == 0
    np.testing.assert_allclose(np.load("from-files.npy"), np.load("from-array.npy"), atol=1e-4)
    assert run("reconstruct", "unit", made / "photos", "-o", "out").code == 0
    with Image.open("out/left/01.png") as image:
        assert image.mode == "L"


def test_a_match_names_the_picture_itself_first(run: Run, made: Path) -> None:
    query = made / "photos" / "left" / "07.png"
    answered = run("match", made / "pictures.lance", query, "-k", "3", "--json").json
    (found,) = answered["queries"]
    assert len(found["matches"]) == 3
    assert found["matches"][0]["path"].endswith("left/07.png")
    plain = run("match", made / "pictures.lance", query, "-k", "3").out.splitlines()
    assert plain[0].split() == ["distance", "id", "path"]
    assert [line.split()[2] for line in plain[1:]] == [m["path"] for m in found["matches"]]


@pytest.mark.parametrize(
    "options", [["--metric", "cosine"], ["--rerank", "pixels"], ["--rerank", "ssim"]], ids=str
)
def test_matching_passes_its_options_on(options: list[str], run: Run, made: Path) -> None:
    query = made / "photos" / "left" / "07.png"
    answered = run("match", made / "pictures.lance", query, *options, "--json").json
    choices = {name.removeprefix("--"): value for name, value in [options]}
    expected = Library.open(made / "pictures.lance").match(str(query), 5, **choices)
    got = [match["id"] for match in answered["queries"][0]["matches"]]
    assert got == [match.id for match in expected]


def test_names_do_not_command_the_terminal(run: Run, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    odd = "\x1b[31mred\n\udcff"
    shutil.copy(made / "photos" / "left" / "01.png", folder / f"{odd}.png")
    (folder / f"{odd}.jpg").touch()
    shown = r"\x1b[31mred\n"
    done = run("index", made / "model", folder, "-o", "p.lance", "--skip-unreadable")
    assert rf"{shown}\xff.jpg" in done.err
    done = run("match", "p.lance", folder, "--skip-unreadable")
    assert rf"{shown}\xff.png" in done.out
    assert len(done.out.splitlines()) == 2
    refused = run("match", "p.lance", folder / f"{odd}.jpg")
    assert refused.code == 3
    assert "\x1b" not in refused.err


def test_matching_draws_a_contact_sheet(run: Run, made: Path) -> None:
    query = made / "photos" / "left" / "01.png"
    arguments = ["match", made / "pictures.lance", query, "-k", "1", "--save", "s.png"]
    assert "s.png" in run(*arguments).out
    with Image.open("s.png") as image:
        assert image.width > 500
    assert run(*arguments).code == 5
    assert run(*arguments, "--overwrite").code == 0


def test_a_contact_sheet_of_very_many_queries_shows_the_first(run: Run, made: Path) -> None:
    arguments = ["match", made / "pictures.lance", made / "photos", "-k", "1", "--save", "s.png"]
    result = run(*arguments)
    assert result.code == 0
    assert "first 24 of 40 queries" in result.err


def test_a_library_of_an_encoder_alone_matches_and_draws_pictures(run: Run, made: Path) -> None:
    run("split", made / "model", "-o", "encoder", "decoder")
    assert run("index", "encoder", made / "photos", "-o", "p.lance").code == 0
    assert len(run("match", "p.lance", made / "photos", "--json").json["queries"]) == 40
    query = made / "photos" / "left" / "01.png"
    assert run("match", "p.lance", query, "-k", "1", "--save", "s.png").code == 0
    run("index", made / "model", made / "photos", "-o", "w.lance")
    assert run("match", "w.lance", query, "-k", "1", "--save", "w.png").code == 0
    with Image.open("s.png") as alone, Image.open("w.png") as whole:
        assert alone.width == whole.width
        assert alone.height < whole.height
    run("encode", "encoder", made / "photos", "-o", "codes.npy")
    refused = run("match", "p.lance", "--codes", "codes.npy", "--save", "c.png")
    assert refused.code == 2
    assert "encoder alone" in refused.err
    assert not Path("c.png").exists()


def test_an_index_may_refer_to_pictures(run: Run, made: Path) -> None:
    mine = Path(shutil.copytree(made / "photos", "mine"))
    arguments = ["index", made / "model", mine, "-o", "p.lance", "--reference"]
    assert run(*arguments, "--json").json["rows"] == 40
    match = ["match", "p.lance", mine, "--rerank", "pixels", "--json"]
    assert all(query["matches"][0]["distance"] == 0 for query in run(*match).json["queries"])
    next(mine.rglob("*.png")).rename("elsewhere.png")
    refused = run("match", "p.lance", "elsewhere.png", "--rerank", "pixels")
    assert refused.code == 3
    assert "not there any more" in refused.err


def test_a_contact_sheet_shows_files_that_are_gone_by_their_thumbnails(
    run: Run, made: Path
) -> None:
    mine = Path(shutil.copytree(made / "photos", "mine"))
    sheet = ["match", "p.lance", made / "photos" / "left" / "01.png", "-k", "3", "--save"]
    assert run("index", made / "model", mine, "-o", "p.lance", "--reference").code == 0
    assert run(*sheet, "whole.png").err == ""
    for file in mine.rglob("*.png"):
        file.unlink()
    done = run(*sheet, "s.png")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert "the contact sheet shows the thumbnail of picture" in line
    assert line.endswith("(and 2 more)")
    assert "is not there any more" in line
    with Image.open("whole.png") as whole, Image.open("s.png") as image:
        difference = np.asarray(whole, float) - np.asarray(image, float)
    assert np.abs(difference).max() > 0
    assert np.abs(difference).mean() < 3  # they are JPEG files


def test_adding_to_a_library(run: Run, made: Path) -> None:
    index = ["index", made / "model", made / "photos", "-o", "p.lance"]
    assert run(*index, "--add", "--json").json["rows"] == 40
    assert run(*index).code == 5
    assert run(*index, "--add", "--overwrite").code == 2
    assert run(*index, "--add", "--json").json == {
        "output": "p.lance",
        "added": 0,
        "present": 40,
        "rows": 40,
        "skipped": [],
        "warnings": [],
    }
    assert run(*index, "--overwrite", "--json").json["rows"] == 40


def test_info_describes_models_halves_and_libraries(run: Run, made: Path) -> None:
    model = run("info", made / "model", "--json").json
    assert (model["kind"], model["model"], model["n_components"]) == ("model", "Autoencoder", 3)
    assert model["sample_shape"] == [12, 10]
    assert model["epochs"] == 2
    run("split", made / "model", "-o", "encoder", "decoder")
    halves = [run("info", half, "--json").json for half in ("encoder", "decoder")]
    assert [half["kind"] for half in halves] == ["encoder", "decoder"]
    assert sum(half["weights"] for half in halves) == model["weights"]
    library = run("info", made / "pictures.lance", "--json").json
    assert (library["kind"], library["rows"]) == ("library", 40)
    assert len({x["fingerprint"] for x in (model, library, *halves)}) == 1
    plain = run("info", made / "model").out
    assert re.search(r"sample shape +12 x 10", plain)


def test_checks_pass_here(run: Run) -> None:
    result = run("checks", "--json")
    assert result.code == 0, result.out
    assert result.json["ok"]
    assert all(check["ok"] for check in result.json["checks"])
    assert {"torch", "threads", "OpenMP waits", "device"} <= result.json["environment"].keys()


def test_a_failed_check_is_told_and_fails_the_command(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from narrows.cli import demo

    def broken() -> tuple[str, bool]:
        raise RuntimeError("it fell\napart")

    monkeypatch.setattr(demo, "CHECKS", {"good": lambda: ("1 of 1", True), "bad": broken})
    result = run("checks")
    assert result.code == 1
    assert re.search(r"^good +ok +1 of 1$", result.out, re.MULTILINE)
    assert re.search(r"^bad +FAILED +RuntimeError: it fell apart$", result.out, re.MULTILINE)
    assert not run("checks", "--json").json["ok"]


def test_overwriting_replaces(run: Run, made: Path) -> None:
    for arguments in (
        ["train", made / "photos", "-o", "m", *TINY],
        ["encode", made / "model", made / "photos", "-o", "c.npy"],
        ["decode", made / "model", made / "codes.npy", "-o", "restored"],
        ["split", made / "model", "-o", "e", "d"],
    ):
        assert [run(*arguments).code, run(*arguments).code] == [0, 5]
        assert run(*arguments, "--overwrite").code == 0


def test_ctrl_c_while_training_keeps_what_was_learned(run: Run, made: Path) -> None:
    def interrupt(record: dict[str, float]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with on_epoch(interrupt):
        result = run(
            "train",
            made / "photos",
            "-o",
            "m",
            "--n-components",
            "2",
            "--max-epochs",
            "50",
            "--json",
        )
    assert result.code == 130
    assert result.json["ended"] == "interrupted"
    assert result.json["epochs"] == 3
    assert "kept in m" in result.err
    assert load("m").n_components == 2


def test_ctrl_c_elsewhere_stops_quietly(run: Run, made: Path, monkeypatch: Any) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("narrows.data.files.read", stop)
    result = run("encode", made / "model", made / "photos", "-o", "c.npy")
    assert result.code == 130
    assert result.err.strip() == "narrows: error: stopped"
    assert not Path("c.npy").exists()


def test_a_signal_from_outside_keeps_what_was_learned(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "narrows", "train", str(made / "photos"), "-o", "m"]
    with subprocess.Popen(
        [*command, "--max-epochs", "100000", "--no-early-stopping"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("epoch 1/" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        process.communicate()
        assert process.returncode == 130
    assert load(tmp_path / "m").history_.ended == "interrupted"


def test_a_reader_that_left_is_not_an_error_to_talk_about() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "narrows", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_on_a_terminal_tables_are_framed_and_progress_is_a_bar(
    run: Run, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    shown = run("info", made / "model")
    assert "─" in shown.out
    trained = run("train", made / "photos", "-o", "m", *TINY)
    assert "epoch 1/2" not in trained.err
    assert "2/2" in trained.err


def test_warnings_stand_in_the_json_answer(run: Run, made: Path) -> None:
    """Whatever is said on standard error beside the answer is in the answer too, once."""
    said = run("train", made / "table.csv", "-o", "v", "--model", "variational", *TINY, "--json")
    kinds = [entry["kind"] for entry in said.json["warnings"]]
    lines = [line for line in said.err.splitlines() if "warning:" in line]
    assert len(kinds) == len(lines)
    for entry, line in zip(said.json["warnings"], lines, strict=True):
        assert line == f"narrows: warning: {entry['message']}"


def test_a_warning_carries_its_kind_and_its_figures() -> None:
    with pytest.warns(errors.NarrowsWarning, match="2 files left out") as caught:
        errors.warn(
            "2 files left out: 2 .HEIC", kind="files_left_out", stacklevel=1, by_kind={".heic": 2}
        )
    assert caught[0].message.kind == "files_left_out"
    assert caught[0].message.facts == {"by_kind": {".heic": 2}}
    assert caught[0].filename == __file__
