"""A library that moves to another model.

The seed of everything random here is 0.
"""

import json
import shutil
from datetime import timedelta

import lance
import numpy as np
import pytest
from libraries import contents_of, draw, fit, one_line

from narrows import Autoencoder, Library
from narrows.errors import DataError, FormatError, LibraryError, NotFittedError, ParameterError


@pytest.fixture(scope="module")
def other(pictures):
    return Autoencoder(3, hidden_layer_sizes=(12,), max_epochs=3, random_state=1).fit(pictures)


def rows_of(library):
    contents = json.loads((library.path / "library.json").read_text())
    path = str(library.path / contents["table"])
    return lance.dataset(path, version=contents["version"]).to_table().to_pylist()


def test_only_the_codes_are_others(library, pictures, other):
    library.add(draw(200, seed=1), metadata={"year": range(200)})
    library.remove([3, 259])
    library.update([5, 70], {"label": ["a", "b"]})
    before = rows_of(library)
    seen = []
    count = library.reencode(other, progress=lambda done, total: seen.append((done, total)))
    assert count == 258
    assert seen[-1] == (258, 258)
    after = rows_of(library)
    X = dict(enumerate([*pictures, *draw(200, seed=1)]))
    for old, new in zip(before, after, strict=True):
        code = other.transform(X[new["id"]][None])[0]
        np.testing.assert_allclose(new.pop("code"), code, rtol=1e-4, atol=1e-5)
        del old["code"]
        assert new == old
    again = Library.open(library.path, model=other)
    assert [len(one) for one in (library, again)] == [258, 258]
    for opened in (library, again):
        assert opened.model.fingerprint_ == other.fingerprint_
        match = opened.match(pictures[5], k=1)[0]
        assert (match.id, match.metadata) == (5, {"year": None, "label": "a"})
        np.testing.assert_allclose(match.decoded, other.reconstruct(pictures[5:6])[0], atol=0.1)
    assert library.add(draw(1, seed=2)).count == 1
    assert rows_of(library)[-1]["id"] == 260
    assert library.verify().ok


def test_readers_go_on_with_what_they_opened(library, pictures, other):
    reader, lazy = Library.open(library.path), Library.open(library.path)
    expected = reader.match(pictures[:3], k=4)
    library.reencode(other)
    for one in (reader, lazy):
        found = one.match(pictures[:3], k=4)
        assert found == expected
        np.testing.assert_array_equal(found[0][0].picture, pictures[found[0][0].id])
    left = Library.open(library.path)
    with pytest.raises(LibraryError, match=r"another model; refresh\(\)") as caught:
        reader.add(draw(1, seed=1))
    one_line(caught)
    assert reader.refresh().model.fingerprint_ == other.fingerprint_
    assert reader.match(pictures[3], k=1)[0].id == 3
    library.reencode(fit(pictures, seed=2))
    library.compact(keep=timedelta(0))
    with pytest.raises(FormatError, match=r"refresh\(\) or open it again") as caught:
        left.match(pictures[0])
    one_line(caught)
    with pytest.raises(FormatError, match=r"refresh\(\) or open it again") as caught:
        _ = found[1][0].picture
    one_line(caught)
    names = {p.name for p in library.path.iterdir()}
    assert len(names) == 4, "library.json, a model, a table and checksums"


def test_pictures_as_files_take_the_new_model_s_size(tmp_path, photos, model):
    library, _ = Library.build(tmp_path / "pictures.lance", photos, model=model)
    X = np.random.default_rng(0).integers(0, 256, (20, 12, 10), np.uint8)
    larger = Autoencoder(2, max_epochs=1, random_state=0).fit(X)
    assert library.reencode(larger.split()[0]) == 30
    assert library.verify().ok
    assert library.match(photos / "03.png", k=1)[0].picture.shape == (12, 10)


@pytest.mark.parametrize("files", [True, False])
def test_a_model_that_takes_other_rows_changes_nothing(tmp_path, photos, model, files, pictures):
    given = photos if files else pictures
    library, _ = Library.build(tmp_path / "pictures.lance", given, model=model)
    X = np.random.default_rng(0).random((20, 7), dtype=np.float32)
    other = Autoencoder(2, max_epochs=1, random_state=0).fit(X)
    before = contents_of(library.path)
    with pytest.raises(DataError, match=r"picture 0 .*nothing was changed; give another") as caught:
        library.reencode(other)
    one_line(caught)
    for wrong, error in {model.split()[1]: ParameterError, Autoencoder(4): NotFittedError}.items():
        with pytest.raises(error):
            library.reencode(wrong)
    assert contents_of(library.path) == before


def test_what_is_interrupted_changes_nothing(library, pictures, other):
    library.add(draw(200, seed=1))
    before = contents_of(library.path)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.reencode(other, progress=stop)
    assert contents_of(library.path) == before
    assert library.match(pictures[4], k=1)[0].id == 4
    (library.path / "table-01234567.lance").mkdir()
    (library.path / "model-01234567").mkdir()
    library.reencode(other)
    assert not list(library.path.glob("*-01234567*")), "what a crash has left is gone"


def test_a_library_whose_model_is_damaged_can_get_it_again(library, model, pictures):
    shutil.rmtree(library.path / "model")
    library.model  # noqa: B018
    model.save(library.path / "model")
    for weights in (library.path / "model").glob("*.safetensors"):
        weights.write_bytes(b"")
    opened = Library.open(library.path)
    with pytest.raises(FormatError, match="damaged"):
        opened.match(pictures[0])
    assert opened.reencode(model) == 60
    assert opened.match(pictures[3], k=1)[0].id == 3


def test_an_empty_library_moves_too(tmp_path, model, other, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    assert library.reencode(other) == 0
    assert library.add(pictures).count == 60
    assert library.match(pictures[9], k=1)[0].id == 9


def test_the_command_moves_a_library(run, made, tmp_path):
    library = tmp_path / "pictures.lance"
    shutil.copytree(made / "pictures.lance", library)
    tiny = ["--n-components", "2", "--max-epochs", "1", "--random-state", "1"]
    assert run("train", made / "photos", "-o", "other", *tiny).code == 0
    done = run("reencode", library, "other", "--json")
    assert done.code == 0
    assert done.json["rows"] == 40
    assert done.json["fingerprint"] == Library.open(library).model.fingerprint_
    assert run("verify", library).code == 0
    assert run("reencode", library, made / "table-model").code == 3
    assert run("reencode", tmp_path / "nowhere", "other").code == 3
