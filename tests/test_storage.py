"""Models on disk: bit-equal after the round trip, whole or not there, and never code."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from narrows import Autoencoder, load, storage
from narrows.errors import (
    FormatError,
    MissingFileError,
    NotFittedError,
    OutputError,
    OutputExistsError,
)
from narrows.models import Decoder, Encoder

SEED = 20240504
X = np.random.default_rng(SEED).integers(0, 256, (50, 6, 5), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return Autoencoder(n_components=3, max_epochs=2, random_state=SEED).fit(X)


@pytest.fixture
def folder(model, tmp_path):
    return model.save(tmp_path / "model")


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)


def test_a_new_process_gives_the_same_bits(model, folder, tmp_path):
    np.save(tmp_path / "X.npy", X)
    in_a_new_process(
        "import numpy as np; from narrows import load;"
        f"m = load({str(folder)!r}); X = np.load({str(tmp_path / 'X.npy')!r});"
        f"np.save({str(tmp_path / 'Z.npy')!r}, m.transform(X));"
        f"np.save({str(tmp_path / 'Y.npy')!r}, m.reconstruct(X))"
    )
    np.testing.assert_array_equal(np.load(tmp_path / "Z.npy"), model.transform(X))
    np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), model.reconstruct(X))


def test_everything_comes_back(model, folder):
    again = load(folder)
    assert type(again) is Autoencoder
    assert again.get_params() == model.get_params()
    assert again.history_ == model.history_
    assert again.fingerprint_ == model.fingerprint_
    assert (again.n_features_in_, again.sample_shape_) == (30, (6, 5))
    assert load(folder).partial_fit(X).n_iter_ == 3


def test_column_names_come_back(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:, 0], columns=list("abcde"))
    again = load(Autoencoder(2, max_epochs=1).fit(frame).save(tmp_path / "model"))
    assert list(again.feature_names_in_) == list("abcde")
    assert again.transform(frame).shape == (50, 2)


@pytest.mark.parametrize("scaling", ["standard", "global", "unit"])
def test_each_half_lives_alone(scaling, tmp_path):
    rows = X.astype(np.float64) * 3 + 7
    model = Autoencoder(2, scaling=scaling, max_epochs=1, random_state=SEED).fit(rows)
    codes = model.transform(rows)
    encoder, decoder = model.split()
    again = load(encoder.save(tmp_path / "encoder"))
    assert isinstance(again, Encoder)
    np.testing.assert_array_equal(again.transform(rows), codes)
    again = load(decoder.save(tmp_path / "decoder"))
    assert isinstance(again, Decoder)
    np.testing.assert_array_equal(again.inverse_transform(codes), model.inverse_transform(codes))
    assert again.fingerprint_ == model.fingerprint_
    assert not list((tmp_path / "decoder").glob("encoder*"))


def test_the_fingerprint_follows_the_weights(model):
    other = Autoencoder(n_components=3, max_epochs=2, random_state=1).fit(X)
    same = Autoencoder(n_components=3, max_epochs=2, random_state=SEED).fit(X)
    assert same.fingerprint_ == model.fingerprint_ != other.fingerprint_


def test_what_is_there_is_not_overwritten_unless_asked(model, folder, tmp_path):
    with pytest.raises(OutputExistsError, match="overwrite=True"):
        model.save(folder)
    other = Autoencoder(n_components=2, max_epochs=1, random_state=SEED).fit(X)
    other.save(folder, overwrite=True)
    assert load(folder).fingerprint_ == other.fingerprint_
    stems = sorted(path.name.split("-")[0].split(".")[0] for path in folder.iterdir())
    assert stems == ["decoder", "encoder", "history", "narrows", "rows", "state"]
    treasure = tmp_path / "photos"
    treasure.mkdir()
    (treasure / "me.png").write_bytes(b"1")
    with pytest.raises(OutputExistsError, match="not a model"):
        model.save(treasure, overwrite=True)
    assert [p.name for p in treasure.iterdir()] == ["me.png"]


def test_nothing_is_left_behind_when_saving_fails(model, tmp_path):
    with pytest.raises(NotFittedError):
        Autoencoder().save(tmp_path / "model")
    with pytest.raises(OutputError, match="no folder"):
        model.save(tmp_path / "missing" / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["encoder", "decoder", "history", "narrows"])
def test_a_full_disk_leaves_the_old_model(model, folder, monkeypatch, file):
    other = Autoencoder(n_components=2, max_epochs=1, random_state=SEED).fit(X)
    before, history = model.fingerprint_, (folder / "history.csv").read_bytes()
    write = Path.write_bytes

    def full(self, data):
        if file in self.name:
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        other.save(folder, overwrite=True)
    monkeypatch.undo()
    assert load(folder).fingerprint_ == before
    assert (folder / "history.csv").read_bytes() == history
    assert not list(folder.glob(".*"))


def alter(folder, **changes):
    path = folder / storage.MANIFEST
    manifest = json.loads(path.read_text())
    manifest.update(changes)
    path.write_text(json.dumps(manifest))


def alter_scaling(folder, **changes):
    manifest = json.loads((folder / storage.MANIFEST).read_text())
    alter(folder, scaling=manifest["scaling"] | changes)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def weights(folder):
    return next(folder.glob("encoder-*"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / storage.MANIFEST).unlink(), "missing"),
        (lambda f: truncate(f / storage.MANIFEST), "damaged"),
        (lambda f: (f / storage.MANIFEST).write_bytes(b"\xff\xfe\x00"), "not a model"),
        (lambda f: (f / storage.MANIFEST).write_text("[]"), "not a model"),
        (lambda f: weights(f).unlink(), "missing"),
        (lambda f: truncate(weights(f)), "damaged"),
        (lambda f: weights(f).write_bytes(b"import os"), "damaged"),
        (lambda f: alter(f, format="other"), "does not say"),
        (lambda f: alter(f, format_version=99), "version 99"),
        (lambda f: alter(f, kind="sandwich"), "sandwich"),
        (lambda f: alter(f, model="Unheard"), "Unheard"),
        (lambda f: alter(f, model=["Autoencoder"]), "holds a model"),
        (lambda f: alter(f, parameters={"unheard": 1}), "unheard"),
        (lambda f: alter(f, parameters=3), "damaged"),
        (lambda f: alter(f, network={}), "damaged"),
        (lambda f: alter(f, scaling={}), "damaged"),
        (lambda f: alter_scaling(f, dtype="foo"), "foo"),
        (lambda f: alter_scaling(f, dtype="U3"), "not a type of numbers"),
        (lambda f: alter_scaling(f, dtype=None), "not a type of numbers"),
        (lambda f: alter_scaling(f, low=float("nan")), "not two numbers"),
        (lambda f: alter_scaling(f, high="1"), "not two numbers"),
        (lambda f: alter_scaling(f, bounded="yes"), "not true or false"),
        (lambda f: alter(f, training=None), "damaged"),
        (lambda f: alter(f, weights={}), "damaged"),
        (lambda f: alter(f, weights={"encoder": {"file": "../x", "sha256": ""}}), "damaged"),
        (lambda f: alter(f, fingerprint="0" * 64), "altered"),
        (lambda f: (f / storage.MANIFEST).write_text("[" * 100_000), "damaged"),
        (lambda f: (f / storage.MANIFEST).write_text("9" * 5000), "damaged"),
        (lambda f: alter(f, weights={"encoder": {"file": "a\0b", "sha256": ""}}), "damaged"),
        (lambda f: alter(f, created=None), "created"),
        (lambda f: alter(f, versions={"narrows": 3}), "versions"),
        (lambda f: alter(f, fingerprint=3), "fingerprint"),
        (lambda f: alter(f, feature_names_in="x"), "feature_names_in"),
        (lambda f: alter(f, loss=3), "loss is 3"),
        (lambda f: alter(f, n_features_in=3), "n_features_in"),
        (lambda f: alter(f, training={"epochs": [{}], "best_epoch": 1}), "not records"),
        (lambda f: alter(f, training={"epochs": [], "best_epoch": 9}), "best epoch is 9"),
    ],
)
def test_a_damaged_model_says_what_is_wrong(folder, damage, message):
    damage(folder)
    with pytest.raises(FormatError) as caught:
        load(folder)
    # The folder's own name has the test's in it, and must not be what matches.
    said = str(caught.value).replace(str(folder), "")
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shift", torch.zeros(7)),
        ("shift", torch.tensor(float("nan"))),
        ("scale", torch.tensor(0.0)),
        ("scale", torch.tensor(-1.0)),
        ("scale", torch.tensor(float("inf"))),
        ("scale", torch.ones(30, 1)),
        ("scale", torch.tensor(1)),
    ],
)
def test_a_half_with_an_impossible_scaling_is_refused(model, tmp_path, name, value):
    decoder = model.split()[1]
    changed = dataclasses.replace(decoder.scaling_, **{name: value})
    half = Decoder(decoder.module, changed, decoder.spec, decoder.fingerprint_)
    with pytest.raises(FormatError, match=f"scaling.{name}"):
        load(half.save(tmp_path / "decoder"))


def test_scalings_stored_in_single_precision_still_load(model, tmp_path):
    decoder = model.split()[1]
    old = dataclasses.replace(
        decoder.scaling_, **{k: t.float() for k, t in decoder.scaling_.tensors().items()}
    )
    half = Decoder(decoder.module, old, decoder.spec, decoder.fingerprint_)
    codes = model.transform(X)
    np.testing.assert_array_equal(
        load(half.save(tmp_path / "decoder")).inverse_transform(codes),
        model.inverse_transform(codes),
    )


def test_a_manifest_that_claims_a_giant_costs_no_memory(folder):
    manifest = json.loads((folder / storage.MANIFEST).read_text())
    alter(folder, network={**manifest["network"], "hidden_layer_sizes": [10**9, 10**9]})
    with pytest.raises(FormatError, match="size mismatch"):
        load(folder)


def test_swapped_weights_are_noticed(folder):
    """Weights that are whole but not the model's: the fingerprint tells."""
    import hashlib

    path = weights(folder)
    tensors = {name: t + 1 for name, t in load_file(path).items()}
    save_file(tensors, path)
    manifest = json.loads((folder / storage.MANIFEST).read_text())
    manifest["weights"]["encoder"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / storage.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(FormatError, match="altered"):
        load(folder)


def test_a_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match="no model"):
        load(tmp_path / "nowhere")


def test_nothing_in_a_folder_is_pickled(folder):
    for path in folder.iterdir():
        assert path.suffix in {".json", ".safetensors", ".csv"}
    assert all(isinstance(t, torch.Tensor) for t in load_file(weights(folder)).values())


def test_the_decoder_alone_knows_the_columns(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:, 0], columns=list("abcde"))
    _, decoder = Autoencoder(2, max_epochs=1).fit(frame).split()
    again = load(decoder.save(tmp_path / "decoder"))
    assert list(again.feature_names_in_) == list("abcde")


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_flipped_bit_in_a_half_alone_is_noticed(model, tmp_path, half):
    folder = dict(zip(("encoder", "decoder"), model.split(), strict=True))[half].save(
        tmp_path / half
    )
    (path,) = folder.glob("*.safetensors")
    whole = path.read_bytes()
    for place in np.random.default_rng(SEED).integers(len(whole), size=30):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(place) % 8
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="damaged"):
            load(folder)
    path.write_bytes(whole)
    assert load(folder).fingerprint_ == model.fingerprint_
