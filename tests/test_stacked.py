"""The stacked autoencoder: unrolled, it is its layers one after the other."""

import json
import tempfile

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA

from narrows import (
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    StackedAutoencoder,
    datasets,
    load,
    networks,
)
from narrows.cli.main import main
from narrows.errors import DataError, DivergedError, FormatError, OutputError, ParameterError
from narrows.networks.dense import put_layer, take_layer
from narrows.training.progress import on_epoch

SEED = 20250302
RNG = np.random.default_rng(SEED)
TABLE = RNG.normal(size=(80, 5)) @ RNG.normal(size=(5, 9)) + 3


def quick(**parameters):
    defaults = {"hidden_layer_sizes": (12, 6), "max_epochs": 2, "random_state": SEED}
    return StackedAutoencoder(**{"n_components": 3, **defaults, **parameters})


def spec(shape, width, hidden=(), **parameters):
    defaults = {"activation": "tanh", "code_activation": "identity", "output": "identity"}
    return networks.NetworkSpec(
        architecture="dense",
        sample_shape=shape,
        n_components=width,
        hidden_layer_sizes=hidden,
        **{"tied_weights": False, **defaults, **parameters},
    )


def built(wanted, seed):
    """Build a network in double precision, all of whose weights are drawn: biases and means too."""
    network = networks.build(
        wanted, networks.Start(torch.zeros(wanted.sample_shape)), seed
    ).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_(0, 0.4, generator=generator)
    return network


WIDTHS = (7, 5, 6, 3)
STACKS = [
    *[(name, tied, {}) for name in networks.ACTIVATIONS for tied in (False, True)],
    ("relu", False, {"unit_columns": True}),
    ("identity", False, {"n_heads": 2}),
]


def stack_of(activation, tied, special):
    layers = []
    for place, width in enumerate(WIDTHS):
        layer = spec(
            (WIDTHS[place - 1],) if place else (4, 2),
            width,
            code_activation="identity" if place == 3 else activation,
            output=activation if place else "sigmoid",
            tied_weights=tied,
            **special,
        )
        layers.append(built(layer, place))
    last = {"unit_columns": True} if special.get("unit_columns") else {}
    deep = spec(
        (4, 2), 3, WIDTHS[:3], activation=activation, output="sigmoid", tied_weights=tied, **last
    )
    return layers, built(deep, 99)


@pytest.mark.parametrize(("activation", "tied", "special"), STACKS, ids=str)
def test_unrolled_a_stack_is_its_layers_one_after_the_other(activation, tied, special):
    layers, deep = stack_of(activation, tied, special)
    for place, layer in enumerate(layers):
        put_layer(layer, deep, place)
    x = torch.rand(20, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(SEED))
    codes = x
    for layer in layers:
        codes = layer.encoder(codes)
    torch.testing.assert_close(deep.encoder(x), codes, rtol=1e-12, atol=1e-12)
    rows = codes
    for layer in layers[::-1]:
        rows = layer.decoder(rows)
    torch.testing.assert_close(deep(x), rows, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_a_layer_taken_from_its_place_does_what_was_put_there(tied):
    layers, deep = stack_of("silu", tied, {})
    for place, layer in enumerate(layers):
        put_layer(layer, deep, place)
        other = built(
            spec(
                layer.encoder.body[0].mean.shape,
                WIDTHS[place],
                code_activation="identity" if place == 3 else "silu",
                output="silu" if place else "sigmoid",
                tied_weights=tied,
            ),
            50 + place,
        )
        take_layer(deep, other, place)
        x = torch.rand(9, *layer.encoder.body[0].mean.shape, dtype=torch.float64)
        torch.testing.assert_close(other(x), layer(x), rtol=1e-12, atol=1e-12)


def test_a_linear_stack_finds_the_pca_subspace_layer_by_layer():
    """The principal components of principal components are those of the rows."""
    train, test = (X.reshape(len(X), -1).astype(float) for X in datasets.load("digits")[::2])
    pca = PCA(8).fit(train)
    truth = ((pca.inverse_transform(pca.transform(test)) - test) ** 2).mean()
    model = StackedAutoencoder(
        8,
        hidden_layer_sizes=(20,),
        activation="identity",
        layer_model="autoencoder",
        pretraining_epochs=60,
        fine_tune=False,
        scaling="global",
        random_state=SEED,
    ).fit(train)
    assert len(model.history_) == 0
    assert [len(history) for history in model.layer_histories_] == [60, 60]
    assert model.reconstruction_error(test).mean() == pytest.approx(truth, rel=0.02)


def test_each_layer_may_be_another_model_and_the_whole_comes_back_from_disk(tmp_path):
    prototype = ContractiveAutoencoder(contraction_weight=0.3, max_epochs=4)
    before = clone(prototype).get_params()
    model = quick(
        layer_model=["denoising", prototype, "sparse"],
        layer_corruption=["salt_and_pepper", None, "masking"],
        layer_corruption_level=[0.1, 0.2, 0.3],
        activation="sigmoid",
    ).fit(TABLE)
    assert prototype.get_params() == before
    assert not hasattr(prototype, "encoder_")
    assert [len(history) for history in model.layer_histories_] == [2, 4, 2]
    assert "contraction" in model.layer_histories_[1].columns
    assert "sparsity" in model.layer_histories_[2].columns
    assert model.spec_.code_activation == "sigmoid"
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(TABLE), model.transform(TABLE))
    assert again.layer_histories_ == model.layer_histories_
    assert again.layer_model[1].get_params() == before
    assert again.partial_fit(TABLE, layer=2).layer_histories_[1]["epoch"] == [1, 2, 3, 4, 5]


def test_a_stored_layer_model_is_looked_up_among_the_models(tmp_path):
    path = quick().fit(TABLE).save(tmp_path / "model") / "narrows.json"
    manifest = json.loads(path.read_text("utf-8"))
    for wrong in ({"model": "Popen", "parameters": {}}, {"model": "Autoencoder"}):
        manifest["parameters"]["layer_model"] = wrong
        path.write_text(json.dumps(manifest), "utf-8")
        with pytest.raises(FormatError, match="damaged or of another version"):
            load(tmp_path / "model")


def test_a_single_layer_learns_and_leaves_the_others_alone():
    model = quick(layer_model="autoencoder", max_epochs=1)
    model.partial_fit(TABLE, layer=1)
    weights = {k: v.clone() for k, v in model.encoder_.state_dict().items()}
    for _ in range(30):
        model.partial_fit(TABLE, layer=2)
    changed = {
        name for name, v in model.encoder_.state_dict().items() if not torch.equal(v, weights[name])
    }
    assert changed == {"body.4.weight", "body.4.bias"}
    losses = model.layer_histories_[1]["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert [len(history) for history in model.layer_histories_] == [1, 30, 0]
    assert model.n_iter_ == 0
    model.partial_fit(TABLE)
    assert model.n_iter_ == 1
    assert [len(history) for history in model.layer_histories_] == [1, 30, 0]
    # What fine-tuning has changed is where a layer goes on from.
    loss = model.partial_fit(TABLE, layer=2).layer_histories_[1]["loss"][-1]
    assert loss < 0.9 * losses[0]
    for wrong in (0, 4, 1.5, "first"):
        with pytest.raises(ParameterError, match="layer="):
            model.partial_fit(TABLE, layer=wrong)


def little_memory(monkeypatch):
    monkeypatch.setattr("narrows.data.lazy_rows._LITTLE", 0)
    monkeypatch.setattr("narrows.data.lazy_rows.fits", lambda n: n <= 80 * 4 * 2)


def test_codes_larger_than_memory_give_the_same_model_and_leave_nothing(tmp_path, monkeypatch):
    truth = quick().fit(TABLE).fingerprint_  # first: torch makes a folder of its own once
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    little_memory(monkeypatch)
    assert quick().fit(TABLE).fingerprint_ == truth
    with pytest.raises(DivergedError):
        quick(layer_model=["denoising", DenoisingAutoencoder(learning_rate=1e30), "sparse"],
              activation="sigmoid").fit(TABLE)  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_codes_for_which_there_is_no_room_are_refused(monkeypatch):
    little_memory(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(OutputError, match="TMPDIR"):
        quick().fit(TABLE)


class StopHereError(Exception):
    """Stands for a crash."""


def stop(error, *, layer, epoch):
    def callback(record):
        if record.get("layer", 0) == layer and record["epoch"] == epoch:
            raise error

    return on_epoch(callback)


@pytest.mark.parametrize("random_state", [SEED, None])
@pytest.mark.parametrize(("layer", "epoch"), [(1, 1), (2, 2), (3, 1), (0, 1)])
def test_a_crashed_run_goes_on_bit_for_bit(tmp_path, monkeypatch, layer, epoch, random_state):
    path = tmp_path / "run"

    def run(**parameters):
        monkeypatch.setattr("numpy.random.mtrand._rand", np.random.RandomState(SEED))
        return quick(max_epochs=3, random_state=random_state, **parameters)

    truth = run().fit(TABLE)
    with stop(StopHereError, layer=layer, epoch=epoch), pytest.raises(StopHereError):
        run(checkpoint=path).fit(TABLE)
    assert path.exists()
    resumed = run(checkpoint=path)
    monkeypatch.setattr("numpy.random.mtrand._rand", np.random.RandomState(1))
    epochs = []
    with on_epoch(lambda record: epochs.append((record.get("layer", 0), record["epoch"]))):
        resumed.fit(TABLE)
    assert resumed.fingerprint_ == truth.fingerprint_
    assert [h["loss"] for h in resumed.layer_histories_] == [
        h["loss"] for h in truth.layer_histories_
    ]
    assert resumed.history_["loss"] == truth.history_["loss"]
    assert all(number >= layer or number == 0 for number, _ in epochs)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_between_layers_keeps_what_was_learned_and_the_checkpoint(tmp_path):
    path = tmp_path / "run"
    truth = quick().fit(TABLE).fingerprint_
    with (
        stop(KeyboardInterrupt, layer=2, epoch=1),
        pytest.warns(UserWarning, match="training was interrupted") as caught,
    ):
        model = quick(checkpoint=path).fit(TABLE)
    assert len(caught) == 1
    assert model.history_.ended == "interrupted"
    assert [len(history) for history in model.layer_histories_] == [2, 1, 0]
    assert np.isfinite(model.reconstruct(TABLE)).all()
    assert quick(checkpoint=path).fit(TABLE).fingerprint_ == truth


def test_no_hidden_layers_make_a_stack_of_one():
    model = quick(hidden_layer_sizes=()).fit(TABLE)
    assert [len(history) for history in model.layer_histories_] == [2]
    assert model.transform(TABLE).shape == (80, 3)


def damaged(x, generator):
    return x * torch.nan


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layer_model": "gothic"}, "layer_model='gothic' cannot be a layer; use one of"),
        ({"layer_model": "stacked"}, "cannot be a layer"),
        ({"layer_model": 3}, "layer_model=3 cannot"),
        ({"layer_model": ["denoising"] * 2}, "2 entries for 3 layers"),
        ({"layer_corruption_level": [0.1, 0.2]}, "2 entries for 3 layers"),
        ({"layer_corruption": "rain"}, "layer 1 of 3: corruption='rain' is not known"),
        ({"layer_corruption": ["masking", "blur", None]}, "layer 2 of 3: corruption='blur'"),
        ({"layer_model": DenoisingAutoencoder(batch_size=0)}, "layer 1 of 3: batch_size=0"),
        ({"layer_model": DenoisingAutoencoder(hidden_layer_sizes=(4,))}, "layer 1 of 3: hidden"),
        ({"layer_model": "sparse"}, "layer 1 of 3: .*or activation='sigmoid'$"),
        ({"pretraining_epochs": 0}, "pretraining_epochs=0"),
        ({"pretraining_learning_rate": -1}, "pretraining_learning_rate=-1"),
        ({"fine_tune": 1}, "fine_tune=1"),
        ({"architecture": "auto"}, "architecture='auto'"),
        ({"normalization": "batch"}, "normalization='batch' does not go"),
        ({"residual_blocks": 2}, "residual_blocks=2 does not go"),
        ({"hidden_layer_sizes": (10**7, 10**7)}, "choose smaller ones"),
    ],
    ids=str,
)
def test_stacks_that_cannot_be_are_refused_before_anything_is_learned(parameters, message):
    seen = []
    with on_epoch(seen.append), pytest.raises(ParameterError, match=message) as caught:
        quick(**parameters).fit(TABLE)
    assert "\n" not in str(caught.value)
    assert seen == []


def test_a_layer_that_fails_is_named():
    with pytest.raises(DivergedError, match="layer 2 of 3: training diverged"):
        quick(layer_corruption=[None, damaged, None]).fit(TABLE)
    dead = quick(layer_model="autoencoder", pretraining_learning_rate=1e30, activation="relu")
    with pytest.raises((DataError, DivergedError), match=r"layer \d of 3: "):
        dead.fit(TABLE)


def test_the_command_line_trains_stacks(tmp_path, capsys):
    np.save(tmp_path / "X.npy", TABLE)
    words = "--model stacked --n-components 2 --hidden-layer-sizes 8,4 --layer-model "
    words += "denoising,autoencoder,contractive --layer-corruption masking,none,none "
    words += "--layer-corruption-level 0.1 --pretraining-epochs 2 --no-fine-tune --json"
    code = main(["train", str(tmp_path / "X.npy"), "-o", str(tmp_path / "model"), *words.split()])
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["epochs"] == 0
    assert [layer["epochs"] for layer in answer["layers"]] == [2, 2, 2]
    assert main(["info", str(tmp_path / "model"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] == answer["layers"]
    assert load(tmp_path / "model").layer_model == ("denoising", "autoencoder", "contractive")
