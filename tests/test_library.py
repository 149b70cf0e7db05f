"""A library's folder, and one clear line for bad input.

The seed of everything random here is 0.
"""

import json
import os
import shutil

import lance
import numpy as np
import pyarrow as pa
import pytest
from libraries import contents_of, draw, fit, one_line, say

from narrows import Autoencoder, DenoisingAutoencoder, Library
from narrows.errors import (
    DataError,
    FormatError,
    LibraryError,
    MissingFileError,
    NotFittedError,
    OutputError,
    OutputExistsError,
    ParameterError,
    UnreadableFileError,
    WrongModelError,
)

# The folder


def test_a_library_is_enough_in_itself_and_can_move(library, tmp_path, pictures):
    expected = library.match(pictures[9], k=3)
    elsewhere = tmp_path / "else where #1"
    elsewhere.mkdir()
    moved = shutil.move(library.path, elsewhere / "é.lance")
    opened = Library.open(moved)
    assert opened.match(pictures[9], k=3) == expected
    np.testing.assert_array_equal(opened.match(pictures[9], k=1)[0].picture, pictures[9])
    assert len(opened) == 60
    assert repr(opened) == f"Library('{moved}', 60 pictures)"


def test_the_model_inside_is_a_copy(library, model, pictures):
    inside = library.model
    assert inside is not model
    assert inside.fingerprint_ == model.fingerprint_
    np.testing.assert_array_equal(inside.transform(pictures), model.transform(pictures))


def test_an_encoder_alone_is_enough_to_match(tmp_path, model, pictures):
    encoder, decoder = model.split()
    library = Library.create(tmp_path / "pictures.lance", model=encoder)
    library.add(pictures)
    match = library.match(pictures[4], k=1)[0]
    np.testing.assert_array_equal(match.picture, pictures[4])
    with pytest.raises(LibraryError, match="encoder alone") as caught:
        _ = match.decoded
    one_line(caught)
    # Both halves belong to the model whose codes these are.
    assert len(Library.open(library.path, model=model)) == 60
    assert len(Library.open(library.path, model=decoder)) == 60


def test_build_is_create_and_add_in_one_step(tmp_path, photos, model, pictures):
    path = tmp_path / "pictures.lance"
    library, added = Library.build(path, photos, model=model)
    assert (len(library), added.count) == (30, 30)
    assert library.match(pictures[3], k=1)[0].path == str(photos / "03.png")
    before = contents_of(path)
    (photos / "99.png").write_bytes(b"no picture")
    for target in (path, tmp_path / "other.lance"):
        with pytest.raises(UnreadableFileError, match=r"99\.png"):
            Library.build(target, photos, model=model, overwrite=True)
    assert contents_of(path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "pictures.lance"]
    library, added = Library.build(
        path, photos, model=model, overwrite=True, skip_unreadable=True, names=list("x" * 31)
    )
    assert (added.count, len(added.skipped), len(Library.open(path))) == (30, 1, 30)


def test_overwrite_replaces_the_whole_library(library, pictures):
    path = library.path
    other = fit(pictures, seed=1)
    replaced = Library.create(path, model=other, overwrite=True)
    assert len(replaced) == 0
    replaced.add(pictures[:3])
    again = Library.open(path, model=other)
    assert len(again) == 3
    assert again.match(pictures[2], k=1)[0].id == 2
    names = sorted(p.name.partition("-")[0] for p in path.iterdir())
    assert names == ["checks", "library.json", "model", "table"]
    with pytest.raises(LibraryError, match="replaced by another") as caught:
        library.add(pictures)
    one_line(caught)
    assert len(Library.open(path)) == 3


def test_an_empty_folder_is_no_obstacle_to_overwriting(tmp_path, model, pictures):
    (tmp_path / "pictures.lance").mkdir()
    library = Library.create(tmp_path / "pictures.lance", model=model, overwrite=True)
    assert library.add(pictures).count == 60


def test_what_is_no_library_is_never_replaced(tmp_path, model):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.txt").write_text("me")
    (tmp_path / "file").write_text("me")
    for name in ("photos", "file"):
        for overwrite in (False, True):
            with pytest.raises(OutputExistsError) as caught:
                Library.create(tmp_path / name, model=model, overwrite=overwrite)
            one_line(caught)
    assert (tmp_path / "photos" / "dear.txt").read_text() == "me"
    assert (tmp_path / "file").read_text() == "me"


# Bad input


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (np.zeros((7, 5), np.uint8), r"shape \(7, 5\)"),
        (np.zeros((2, 7, 5), np.uint8), r"shape \(2, 7, 5\).*\(6, 5\)"),
        (np.zeros((0, 6, 5), np.uint8), "no pictures"),
        (np.full((6, 5), np.nan), "NaN"),
        ([[1, 2], [3]], "different shapes"),
        (np.full((6, 5), "a"), "type"),
        (3.0, r"shape \(\)"),
        ([], "shape"),
    ],
)
def test_data_that_does_not_fit(library, query, words):
    for action in (library.match, library.add):
        with pytest.raises(DataError, match=words) as caught:
            action(query)
        one_line(caught)
    assert len(Library.open(library.path)) == 60


def test_files_that_are_none(library, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    for action in (library.match, library.add):
        for query, error in {
            "notes.txt": DataError,
            "bad.png": UnreadableFileError,
            "empty": DataError,
            "nowhere.png": MissingFileError,
            "nowhere": MissingFileError,
        }.items():
            with pytest.raises(error, match=query) as caught:
                action(tmp_path / query)
            one_line(caught)
        with pytest.raises(MissingFileError, match="nowhere"):
            action([tmp_path / "nowhere.png", tmp_path / "bad.png"])


def test_pictures_do_not_fit_a_model_of_tables(tmp_path, photos):
    X = np.random.default_rng(0).normal(size=(50, 7))
    library = Library.create(tmp_path / "rows.lance", model=fit(X))
    for given in (photos, photos / "00.png", [photos / "00.png"]):
        with pytest.raises(DataError, match=r"00\.png.*\(7,\)") as caught:
            library.add(given)
        one_line(caught)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"k": 0}, "k=0"),
        ({"k": 1.5}, r"k=1\.5"),
        ({"k": True}, "k=True"),
        ({"metric": "manhattan"}, "metric='manhattan'"),
        ({"rerank": "mse"}, "rerank='mse'"),
        ({"rerank": "pixels", "n_candidates": 0}, "n_candidates=0"),
    ],
)
def test_parameters_that_are_not_allowed(library, pictures, parameters, words):
    with pytest.raises(ParameterError, match=words) as caught:
        library.match(pictures[0], **parameters)
    one_line(caught)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a"], "1 names for 60"),
        ([1] * 60, "1, which"),
        (["\ud800"] * 60, "no text"),
        ("a" * 60, "no list"),
        (60, "names=60"),
    ],
)
def test_names_that_are_not_allowed(library, pictures, names, words):
    with pytest.raises(ParameterError, match=words) as caught:
        library.add(pictures, names=names)
    one_line(caught)


def test_an_empty_library_has_no_matches(tmp_path, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    with pytest.raises(LibraryError, match="empty") as caught:
        library.match(pictures[0])
    one_line(caught)


def test_models_that_make_no_codes(tmp_path, model):
    for wrong, error in {
        model.split()[1]: ParameterError,
        "model": ParameterError,
        Autoencoder(4): NotFittedError,
    }.items():
        with pytest.raises(error) as caught:
            Library.create(tmp_path / "pictures.lance", model=wrong)
        one_line(caught)
    assert not any(tmp_path.iterdir())


def test_places_where_no_library_can_be(tmp_path, library, model):
    with pytest.raises(OutputExistsError) as caught:
        Library.create(library.path, model=model)
    one_line(caught)
    with pytest.raises(OutputError) as caught:
        Library.create(tmp_path / "no" / "such", model=model)
    one_line(caught)
    assert len(Library.open(library.path)) == 60


def test_what_is_no_model_is_refused(library):
    with pytest.raises(ParameterError, match="model is a str") as caught:
        Library.open(library.path, model="model")
    one_line(caught)


def test_another_model_is_refused(library, pictures, model):
    other = fit(pictures, seed=1)
    with pytest.raises(WrongModelError) as caught:
        Library.open(library.path, model=other)
    message = one_line(caught)
    assert model.fingerprint_[:12] in message
    assert other.fingerprint_[:12] in message


def remove(name):
    return lambda path: (
        shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
    )


def change(**facts):
    return lambda path: say(path, **facts)


def truncate(pattern):
    def damage(path):
        for file in path.glob(pattern):
            os.truncate(file, file.stat().st_size // 2)

    return damage


def replace_table(path):
    shutil.rmtree(path / "table.lance")
    lance.write_dataset(pa.table({"id": [1]}), str(path / "table.lance"))


def rename_table(path, name):
    say(path, table=name)


def link_table(path):
    (path / "table.lance").rename(path.parent / "elsewhere.lance")
    (path / "table.lance").symlink_to(path.parent / "elsewhere.lance")


def another_models_table(path):
    """A table of codes as wide as the library's own."""
    other = Library.create(path.parent / "other.lance", model=fit(draw(60), seed=1))
    other.add(draw(60))
    shutil.rmtree(path / "table.lance")
    shutil.copytree(other.path / "table.lance", path / "table.lance")


def replace_model(path):
    fit(draw(60), seed=1).save(path / "model", overwrite=True)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(remove("library.json"), id="no library.json"),
        pytest.param(truncate("library.json"), id="truncated library.json"),
        pytest.param(lambda p: (p / "library.json").write_bytes(b"\xff"), id="bytes"),
        pytest.param(lambda p: (p / "library.json").write_text("[]"), id="other JSON"),
        pytest.param(lambda p: (p / "library.json").write_text("[" * 100_000), id="deep JSON"),
        pytest.param(lambda p: rename_table(p, ".."), id="table outside"),
        pytest.param(lambda p: rename_table(p, "a\0b"), id="table with NUL"),
        pytest.param(link_table, id="table linked"),
        pytest.param(change(format="else"), id="foreign"),
        pytest.param(change(format_version=6), id="newer"),
        pytest.param(change(format_version=5), id="without the check"),
        pytest.param(change(version=0), id="version 0"),
        pytest.param(change(next_id=True), id="next id true"),
        pytest.param(change(adding=None), id="adding nothing"),
        pytest.param(change(table=3), id="table is 3"),
        pytest.param(change(table="no.lance"), id="table elsewhere"),
        pytest.param(change(model="../model"), id="model outside"),
        pytest.param(change(fingerprint=None), id="no fingerprint"),
        pytest.param(remove("table.lance"), id="no table"),
        pytest.param(replace_table, id="foreign table"),
        pytest.param(truncate("table.lance/_versions/*.manifest"), id="truncated manifest"),
        pytest.param(change(fingerprint="0" * 64), id="another model's fingerprint"),
        pytest.param(another_models_table, id="another model's table"),
        pytest.param(remove("model"), id="no model"),
        pytest.param(remove("model/narrows.json"), id="no narrows.json"),
    ],
)
def test_a_damaged_library_is_not_opened(library, damage):
    damage(library.path)
    with pytest.raises(FormatError) as caught:
        Library.open(library.path)
    assert str(library.path) in one_line(caught)


def test_a_list_of_rows_that_is_cut_anywhere_is_told(library):
    """In places Lance itself is surprised, and raises what is no error of Python's."""
    version = json.loads((library.path / "library.json").read_text())["version"]
    file = library.path / "table.lance" / "_versions" / f"{2**64 - 1 - version}.manifest"
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(FormatError, match="damaged") as caught:
            Library.open(library.path)
        one_line(caught)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(truncate("table.lance/data/*"), id="truncated data"),
        pytest.param(remove("table.lance/data"), id="no data"),
        pytest.param(truncate("model/*.safetensors"), id="truncated model"),
        pytest.param(replace_model, id="another model"),
    ],
)
def test_damage_is_told_when_it_is_met(library, damage, pictures):
    damage(library.path)
    opened = Library.open(library.path)
    with pytest.raises(FormatError) as caught:
        opened.match(pictures[0])
    assert str(library.path) in one_line(caught)


def publish(path):
    """Let readers see what something else has done to the table."""
    version = lance.dataset(str(path / "table.lance")).version
    change(version=version)(path)


def test_a_damaged_picture_does_not_hide_the_others(library, pictures):
    path = str(library.path / "table.lance")
    rows = lance.dataset(path).to_table(limit=2)
    place = rows.column_names.index("picture")
    for contents in (b"\x93NUMPY and no more", b"no picture"):
        column = pa.array([contents], pa.large_binary())
        damaged = rows.slice(1).set_column(place, rows.schema.field("picture"), column)
        lance.write_dataset(damaged, path, mode="append")
    publish(library.path)
    found = Library.open(library.path).match(pictures[1], k=3)
    np.testing.assert_array_equal(found[0].picture, pictures[1])
    for match in found[1:]:
        with pytest.raises(FormatError, match="damaged") as caught:
            _ = match.picture
        one_line(caught)


def test_a_table_keeps_its_model_s_name(library, pictures, model):
    """Through additions; a table without one is not the library's."""
    library.add(draw(3, seed=1), metadata={"year": [1, 2, 3]})
    table = lance.dataset(str(library.path / "table.lance"))
    assert table.schema.metadata == {b"narrows-fingerprint": model.fingerprint_.encode()}
    rows = table.to_table().replace_schema_metadata(None)
    shutil.rmtree(library.path / "table.lance")
    lance.write_dataset(rows, str(library.path / "table.lance"))
    publish(library.path)
    with pytest.raises(FormatError, match="of model") as caught:
        Library.open(library.path)
    one_line(caught)


def test_what_is_no_folder_is_not_opened(tmp_path):
    with pytest.raises(MissingFileError) as caught:
        Library.open(tmp_path / "nowhere")
    one_line(caught)
    (tmp_path / "file").write_text("me")
    with pytest.raises(FormatError) as caught:
        Library.open(tmp_path / "file")
    one_line(caught)


def test_codes_that_hold_the_pictures_themselves_are_refused(tmp_path):
    pictures = np.random.default_rng(20261130).integers(0, 256, (30, 16, 16), dtype=np.uint8)
    model = DenoisingAutoencoder(
        2, architecture="restoring", hidden_layer_sizes=(4,), max_epochs=1, random_state=0
    ).fit(pictures)
    with pytest.raises(ParameterError, match="which are alike; train a model with a narrow code"):
        Library.create(tmp_path / "library", model=model)
    assert not (tmp_path / "library").exists()
