"""Halves as ONNX files: the results of ONNX Runtime against those of the model."""

import numpy as np
import onnxruntime
import pytest

from narrows import Autoencoder, SparseAutoencoder, VariationalAutoencoder, datasets
from narrows.errors import MissingDependencyError, OutputExistsError, ParameterError
from narrows.onnx import OnnxEncoder, export

SEED = 20251127
DIGITS = datasets.load("digits")
X = (255 / 16 * DIGITS.X_test[:40]).astype(np.uint8)
WITH = {"max_epochs": 2, "random_state": SEED, "hidden_layer_sizes": (12, 8)}
MODELS = {
    "dense": Autoencoder(4, **WITH),
    "normalised": Autoencoder(4, normalization="batch", residual_blocks=2, **WITH),
    "convolutional": Autoencoder(4, architecture="convolutional", **WITH),
    "map": Autoencoder(2, architecture="fully_convolutional", normalization="layer", **WITH),
    "signal": Autoencoder(4, architecture="convolutional_1d", **WITH),
    "variational": VariationalAutoencoder(4, architecture="convolutional", **WITH),
    "sparse": SparseAutoencoder(16, sparsity="topk", **WITH),
}


def answer(path, rows):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: rows.astype(np.float32)})[0]


@pytest.mark.parametrize("name", MODELS)
def test_both_halves_compute_what_the_model_does(tmp_path, name):
    model = MODELS[name].fit(X)
    encoder, decoder = model.split()
    codes = model.transform(X)
    rows = X if model.spec_.architecture != "dense" else X.reshape(len(X), 8, 8)
    made = answer(export(encoder, tmp_path / "encoder.onnx"), rows)
    assert np.allclose(made, codes, atol=1e-4)
    decoded = answer(export(decoder, tmp_path / "decoder.onnx"), codes)
    assert np.allclose(decoded, model.inverse_transform(codes), atol=1e-3)
    assert np.allclose(OnnxEncoder(model, n_threads=1).transform(X), codes, atol=1e-4)


def test_scaling_by_feature_is_in_the_graph(tmp_path):
    table = np.random.default_rng(SEED).normal((3, -200, 0.01), (1, 50, 0.002), (60, 3))
    model = Autoencoder(2, scaling="standard", max_epochs=2, random_state=SEED).fit(table)
    encoder, decoder = model.split()
    codes = answer(export(encoder, tmp_path / "e.onnx"), table)
    assert np.allclose(codes, model.transform(table), atol=1e-4)
    rows = answer(export(decoder, tmp_path / "d.onnx"), codes)
    assert np.allclose(rows, model.inverse_transform(codes), rtol=1e-4, atol=1e-4)


def test_maps_are_encoded_at_any_size():
    model = MODELS["map"].fit(X)
    larger = np.tile(X, (1, 3, 2))
    assert np.allclose(OnnxEncoder(model).transform(larger), model.transform(larger), atol=1e-4)


def test_the_command_line_exports_and_encodes(run, tmp_path):
    model = MODELS["convolutional"].fit(X)
    model.save(tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    assert run("export", "model", "-o", "decoder.onnx", "--half", "decoder").code == 0
    codes = model.transform(X)
    assert np.allclose(
        answer(tmp_path / "decoder.onnx", codes), model.inverse_transform(codes), atol=1e-3
    )
    assert run("encode", "model", "X.npy", "-o", "codes.npy", "--onnx").code == 0
    assert np.allclose(np.load(tmp_path / "codes.npy"), codes, atol=1e-4)


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    model = MODELS["dense"].fit(X)
    encoder, _ = model.split()
    with pytest.raises(ParameterError, match="give one half"):
        export(model, tmp_path / "m.onnx")
    with pytest.raises(ParameterError, match=r"does not end in \.onnx"):
        export(encoder, tmp_path / "m.bin")
    (tmp_path / "m.onnx").write_text("mine")
    with pytest.raises(OutputExistsError):
        export(encoder, tmp_path / "m.onnx")
    with pytest.raises(ParameterError, match="n_threads=0"):
        OnnxEncoder(model, n_threads=0)
    monkeypatch.setattr("narrows.onnx.find_spec", {}.get)
    with pytest.raises(MissingDependencyError, match=r"narrows\[onnx\]"):
        OnnxEncoder(model)
