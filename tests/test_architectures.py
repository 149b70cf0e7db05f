"""Architectures of other packages: docs/extending.md, as it stands there, and faulty ones."""

import json

import numpy as np
import pytest
import torch
from plug_in_kit import code_of, entry_points_of, install, run
from torch import nn

import narrows
from narrows import Autoencoder, ContractiveAutoencoder, SparseAutoencoder, datasets
from narrows.errors import NarrowsWarning, ParameterError
from narrows.networks import ARCHITECTURES, Architecture
from narrows.networks.network import Architectures
from narrows.plugins import PlugIn

SEED = 20261130
FILE = "narrows_attention.py"
SHAPE = (6, 5)
ROWS = np.random.default_rng(SEED).random((60, *SHAPE), dtype=np.float32)


@pytest.fixture(name="package", scope="module")
def _package(tmp_path_factory):
    code = code_of(FILE)
    assert len(code.splitlines()) <= 60
    points = entry_points_of("narrows.architectures")
    return install(tmp_path_factory.mktemp("site"), "narrows_attention", code, points)


def pca_error(X, Z, n_components):
    """The mean squared error of PCA, learned from rows X, on rows Z."""
    X, Z = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (X, Z))
    mean = X.mean(axis=0)
    axes = np.linalg.svd(X - mean, full_matrices=False)[2][:n_components]
    return np.square((Z - mean) - (Z - mean) @ axes.T @ axes).mean()


def test_attention_trains_by_name_and_opens_in_a_new_process(package, tmp_path):
    digits = datasets.load("digits")
    X, Z = digits.X_train[:600], digits.X_test
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "Z.npy", Z)
    train = "train X.npy -o model --n-components 8 --random-state 0 --architecture"
    trained, wrong, shown, listed = run(
        tmp_path, package,
        f"{train} attention --max-epochs 15 --json",
        f"{train} attention --overwrite --kernel-size 3",
        "train --help",
        f"{train} unheard --overwrite",
    )  # fmt: skip
    assert trained[0] == 0, trained
    assert wrong[0] == 2
    assert "kernel_size=3 does not go with architecture='attention'" in wrong[2]
    assert "|restoring_1d|attention" in shown[1]
    assert listed[0] == 2
    assert "'restoring_1d', 'attention'" in listed[2]
    info, restored = run(
        tmp_path, package, "info model --json", "reconstruct model Z.npy -o restored.npy"
    )
    assert info[0] == restored[0] == 0, (info, restored)
    facts = json.loads(info[1])
    assert facts["architecture"] == "attention"
    assert facts["versions"]["narrows-attention"] == "1.0"
    error = np.square(np.load(tmp_path / "restored.npy") - Z.astype(np.float64)).mean()
    assert error < pca_error(X, Z, 8)
    (missing,) = run(tmp_path, tmp_path, "info model")
    assert missing[0] == 4
    assert "architecture='attention', which is not installed" in missing[2]
    assert "the package 'narrows-attention'" in missing[2]


def bring(monkeypatch, **fields):
    """Let a package bring an architecture 'foreign' of two linear maps, with some other fields."""
    record = Architecture(
        **{"build_encoder": build_encoder, "build_decoder": build_decoder, **fields}
    )
    brought = {"foreign": PlugIn("foreign", "narrows", record)}
    monkeypatch.setitem(vars(ARCHITECTURES), "_brought", brought)


def build_encoder(spec):
    n_out = spec.n_heads * spec.n_components
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(30, n_out))


def build_decoder(spec):
    return nn.Sequential(nn.Linear(spec.n_components, 30), nn.Unflatten(1, spec.sample_shape))


def fitted(model=Autoencoder, **parameters):
    return model(
        3, architecture="foreign", max_epochs=2, random_state=SEED, **parameters
    ).fit(ROWS)  # fmt: skip


@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
def test_the_random_seed_alone_decides_what_modules_draw(monkeypatch):
    bring(monkeypatch)
    before = torch.get_rng_state()
    first = fitted()
    torch.rand(1)
    state = torch.get_rng_state()
    assert fitted().fingerprint_ == first.fingerprint_
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(state, before)


@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
def test_buffers_that_are_not_saved_are_there_after_loading(monkeypatch, tmp_path):
    class Shifted(nn.Linear):
        def __init__(self, n_out):
            super().__init__(30, n_out)
            self.register_buffer("shift", torch.linspace(0, 1, 30), persistent=False)

        def forward(self, x):
            return super().forward(x.flatten(1) + self.shift)

    bring(monkeypatch, build_encoder=lambda spec: Shifted(spec.n_components))
    model = fitted()
    again = narrows.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(ROWS), model.transform(ROWS))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"hidden_layer_sizes": (8,)}, r"hidden_layer_sizes=\(8,\) does not go with"),
        ({"activation": "relu"}, "activation='relu' does not go with"),
        ({"tied_weights": True}, "tied_weights=True does not go with"),
        ({"normalization": "batch"}, "normalization='batch' does not go with"),
        ({"residual_blocks": 2}, "residual_blocks=2 does not go with"),
        ({"model": SparseAutoencoder, "sparsity": "topk"}, "does not go with sparse codes"),
    ],
)
def test_parameters_that_an_architecture_does_not_know_are_refused(monkeypatch, parameters, words):
    bring(monkeypatch)
    with pytest.raises(ParameterError, match=words):
        fitted(**parameters)


class Unfilled(nn.Linear):
    def __init__(self, n_out):
        super().__init__(30, n_out)
        self.scale = nn.Parameter(torch.empty(30))

    def forward(self, x):
        return super().forward(x.flatten(1) * self.scale)


def initialise_encoder(encoder, decoder, spec, start, generator):
    del decoder, spec, start
    for weight in encoder.body.parameters():
        nn.init.normal_(weight, 0, 0.1, generator)


def fail(*given):
    raise KeyError(len(given))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"build_encoder": lambda _: Unfilled(3)}, "leaves 'encoder.body.1.scale' without"),
        ({"initialise": initialise_encoder}, "leaves 'decoder.body.0.0.weight' without"),
        ({"build_encoder": lambda _: nn.Flatten()}, r"numbers of shape \(2, 30\) for 2 rows"),
        ({"build_decoder": lambda _: nn.Linear(3, 7)}, r"shape \(2, 7\) for 2 codes"),
        ({"build_encoder": fail}, r"cannot be used for rows of shape \(6, 5\).*KeyError: 1"),
        ({"check": fail}, r"cannot be used for rows of shape \(6, 5\).*KeyError: 1"),
        ({"initialise": fail}, r"cannot be used for rows of shape \(6, 5\).*KeyError: 5"),
    ],
)
def test_faulty_architectures_are_refused_in_one_line(monkeypatch, fields, words):
    bring(monkeypatch, **fields)
    with pytest.raises(ParameterError, match=words):
        fitted()


@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
def test_attention_can_be_differentiated_twice(monkeypatch, package):
    monkeypatch.syspath_prepend(package)
    monkeypatch.setitem(vars(ARCHITECTURES), "_brought", Architectures()._brought)
    model = ContractiveAutoencoder(2, architecture="attention", max_epochs=1, random_state=SEED)
    assert np.isfinite(model.fit(ROWS).history_["contraction"]).all()


def test_what_cannot_be_used_is_named_and_left_out(tmp_path, monkeypatch):
    points = "[narrows.architectures]\ndense = some:number\nnone = some:number\ngone = lost:x\n"
    monkeypatch.syspath_prepend(install(tmp_path, "some", "number = 3\n", points))
    with pytest.warns(NarrowsWarning) as caught:
        names = list(Architectures())
    assert names[0] == "dense"
    assert not {"none", "gone"} & set(names)
    messages = sorted(str(warning.message) for warning in caught)
    reasons = (
        "name is that of a built-in",
        "ModuleNotFoundError",
        "no Architecture but of type 'int'",
    )
    for message, name, reason in zip(messages, ("dense", "gone", "none"), reasons, strict=True):
        assert f"'{name}' (narrows.architectures) of the package 'some'" in message
        assert reason in message
    assert ARCHITECTURES["dense"].numbers_a_row is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int8, torch.bool], ids=str)
@pytest.mark.filterwarnings("ignore::narrows.errors.NarrowsWarning")
def test_buffers_keep_their_types(monkeypatch, tmp_path, dtype):
    class Scaled(nn.Linear):
        def __init__(self, n_out):
            super().__init__(30, n_out)
            self.register_buffer("factors", torch.linspace(0.1, 9, 30).to(dtype))

        def forward(self, x):
            return super().forward(x.flatten(1) * self.factors.to(x.dtype))

    bring(monkeypatch, build_encoder=lambda spec: Scaled(spec.n_components))
    model = fitted()
    folders = model.save(tmp_path / "model"), model.split()[0].save(tmp_path / "half")
    for again in map(narrows.load, folders):
        np.testing.assert_array_equal(again.transform(ROWS), model.transform(ROWS))


def test_batch_normalisation_of_a_package_is_saved(monkeypatch, tmp_path):
    """It counts its batches in whole numbers."""

    def build_encoder(spec):
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(30), nn.Linear(30, spec.n_components))

    bring(monkeypatch, build_encoder=build_encoder)
    model = Autoencoder(2, architecture="foreign", max_epochs=2, random_state=SEED).fit(ROWS)
    again = narrows.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(ROWS), model.transform(ROWS))


def test_tensors_that_saving_would_lose_are_refused(monkeypatch):
    class Shifted(nn.Linear):
        def __init__(self, n_out):
            super().__init__(30, n_out)
            self.shift = torch.linspace(0, 1, 30)

        def forward(self, x):
            return super().forward(x.flatten(1) + self.shift)

    bring(monkeypatch, build_encoder=lambda spec: Shifted(spec.n_components))
    with pytest.raises(ParameterError, match=r"the tensor 'shift' of Shifted as a plain .*buffer"):
        fitted()
