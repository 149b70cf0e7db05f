"""A model of another package: docs/extending.md, as it stands there."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from plug_in_kit import code_of, entry_points_of, install, run
from sklearn.base import clone

from narrows import MODELS, Autoencoder, SparseAutoencoder, load
from narrows.errors import NarrowsWarning, ParameterError
from narrows.models import BaseAutoencoder
from narrows.models.registry import load_plugins, model_named

SEED = 20261130
FILE = "narrows_wasserstein.py"


@pytest.fixture(name="package", scope="module")
def _package(tmp_path_factory):
    code = code_of(FILE)
    assert len(code.splitlines()) <= 60
    folder = tmp_path_factory.mktemp("site")
    return install(folder, "narrows_wasserstein", code, entry_points_of("narrows.models"))


def test_a_model_of_another_package_is_found_by_its_name(package, tmp_path):
    np.save(tmp_path / "X.npy", np.random.default_rng(SEED).normal(size=(80, 6)))
    train = "train X.npy -o model --n-components 3 --max-epochs 3 --model"
    trained, refused, shown = run(
        tmp_path, package,
        f"{train} wasserstein --mmd-weight 2.5",
        f"{train} wasserstein --mmd-weight -1 --overwrite",
        "train --model wasserstein --help",
    )  # fmt: skip
    assert trained[0] == 0, trained
    assert refused[0] == 2
    assert "mmd_weight=-1.0" in refused[2]
    assert "--mmd-weight" in shown[1]
    # Another process, in which nothing has imported the package yet.
    info, report, other = run(
        tmp_path, package,
        "info model --json", "encode model X.npy -o codes.npy", f"{train} unheard --overwrite",
    )  # fmt: skip
    assert info[0] == report[0] == 0, (info, report)
    assert "WassersteinAutoencoder" in info[1]
    manifest = json.loads((tmp_path / "model" / "narrows.json").read_text("utf-8"))
    assert manifest["parameters"]["mmd_weight"] == 2.5
    assert manifest["training"]["epochs"][0]["mmd"] != 0
    assert other[0] == 2
    assert "wasserstein" in other[2]  # is offered
    # Without the package.
    (missing,) = run(tmp_path, tmp_path, "info model")
    assert missing[0] == 4
    assert "WassersteinAutoencoder" in missing[2]
    assert "the package 'narrows-wasserstein'" in missing[2]


def test_codes_are_drawn_to_the_prior(package, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(package)
    monkeypatch.setitem(MODELS, "wasserstein", object)
    load_plugins()
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(600, 2)) @ rng.normal(size=(2, 10)) * 5 + 3
    model = MODELS["wasserstein"](2, mmd_weight=300, max_epochs=60, random_state=SEED).fit(X)
    codes = model.transform(X)
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(codes.std(axis=0), 1, atol=0.15)
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(X), codes)


def test_a_broken_plug_in_is_named_and_left_out(tmp_path, monkeypatch):
    points = "[narrows.models]\nbroken = broken_one:Model\nnone = broken_one:number\n"
    monkeypatch.syspath_prepend(install(tmp_path, "broken_one", "number = 3\n", points))
    with pytest.warns(NarrowsWarning) as caught:
        assert model_named("broken") is None
    first, second = (str(warning.message) for warning in caught)
    assert (
        "'broken' (narrows.models) of the package 'broken-one' is left out (AttributeErr" in first
    )
    assert "it is no subclass of BaseAutoencoder" in second
    assert model_named("sparse") is SparseAutoencoder


@pytest.mark.parametrize("base", [Autoencoder, SparseAutoencoder])
def test_no_class_takes_the_place_of_a_built_in_one(base):
    with pytest.raises(ParameterError, match="would take the place of SparseAutoencoder"):
        type("SparseAutoencoder", (base,), {"__module__": "strangers"})
    assert MODELS["sparse"] is SparseAutoencoder


@pytest.mark.parametrize(
    "decorate",
    [lambda model: model, dataclass, dataclass(kw_only=True, eq=False, repr=False)],
    ids=["no decorator", "@dataclass", "@dataclass(...)"],
)
def test_a_model_needs_no_decorator_and_bears_any(decorate, monkeypatch):
    monkeypatch.setitem(MODELS, "frugal", object)

    @decorate
    class FrugalAutoencoder(Autoencoder):
        frugality: float = 0.5

    model = FrugalAutoencoder(3, frugality=2.0)
    assert clone(model).get_params()["frugality"] == 2.0
    assert FrugalAutoencoder().get_params()["n_components"] == 32
    assert model == model  # noqa: PLR0124
    assert model != clone(model)
    assert len({model, clone(model)}) == 2
    assert repr(model) == "FrugalAutoencoder(frugality=2.0, n_components=3)"


@pytest.mark.parametrize("method", ["terms", "reconstruction_terms"])
def test_a_model_with_errors_of_its_own_is_trained(method, monkeypatch):
    """Without hidden layers, PCA is the best for the squared error alone."""
    monkeypatch.setitem(MODELS, "lone", object)

    def absolute(self, network, code, x):
        return (network.decoder(code) - x).abs()

    def absolute_only(self, objective, trace, x, *_):
        return {"absolute": trace.mean(absolute(self, objective.network, trace.code, x).sum(1))}

    of_method = {"reconstruction_terms": absolute, "terms": absolute_only}
    lone = type("LOneAutoencoder", (BaseAutoencoder,), {method: of_method[method]})
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(200, 2)) @ rng.normal(size=(2, 8))
    X[:10] += 40 * rng.normal(size=(10, 8))  # outliers
    model = lone(2, hidden_layer_sizes=(), random_state=SEED).fit(X)
    pca = Autoencoder(2, hidden_layer_sizes=(), random_state=SEED).fit(X)
    assert model.n_iter_ > 0
    errors = [np.abs(each.reconstruct(X) - X)[10:].mean() for each in (model, pca)]
    assert errors[0] < errors[1]


def test_a_parameter_without_a_default_is_refused():
    with pytest.raises(ParameterError, match=r"the parameter 'w' of class .*has no default"):
        type("NeedyAutoencoder", (Autoencoder,), {"__annotations__": {"w": float}})
    MODELS.pop("needy", None)


def test_two_packages_cannot_have_one_name(monkeypatch):
    monkeypatch.setitem(MODELS, "shared", object)
    first = type("SharedAutoencoder", (Autoencoder,), {"__module__": "one_package"})
    with pytest.raises(ParameterError, match="would take the place of SharedAutoencoder"):
        type("SharedAutoencoder", (Autoencoder,), {"__module__": "another_package"})
    assert MODELS["shared"] is first
    again = type("SharedAutoencoder", (Autoencoder,), {"__module__": "one_package"})
    assert MODELS["shared"] is again  # as where a notebook's cell runs again


def test_a_plug_in_that_exits_or_prints_is_no_harm(tmp_path, monkeypatch, capsys):
    points = "[narrows.models]\nleaving = leaving_one:Model\n"
    code = "print('hello')\nimport sys\nsys.exit(3)\n"
    monkeypatch.syspath_prepend(install(tmp_path, "leaving_one", code, points))
    with pytest.warns(NarrowsWarning, match="'leaving-one' is left out .SystemExit: 3"):
        assert model_named("leaving") is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "penalties", "words"),
    [
        (
            "vector",
            lambda code: {"size": code.square()},
            "'size' of its loss as a tensor of",
        ),
        ("number", lambda _: {"size": 0.5}, "'size' of its loss as float"),
        ("total", lambda code: {"loss": code.square().mean()}, "history of training has for some"),
        ("twice", lambda code: {"reconstruction": code.mean()}, "calls a penalty 'reconstruction'"),
    ],
)
def test_terms_that_would_be_misread_are_refused(name, penalties, words, monkeypatch):
    monkeypatch.setitem(MODELS, name, object)
    functions = {"penalties": lambda _self, _objective, trace, _generator: penalties(trace.code)}
    model = type(f"{name.title()}Autoencoder", (Autoencoder,), functions)
    with pytest.raises(ParameterError, match=words):
        model(2, max_epochs=1).fit(np.random.default_rng(SEED).random((50, 6)))


@pytest.mark.parametrize("shape", [(6,), (3, 2)])
def test_errors_of_another_shape_than_rows_are_refused(shape, monkeypatch):
    monkeypatch.setitem(MODELS, "summed", object)

    def reconstruction_terms(self, network, code, x):
        return (network.decoder(code) - x).square().flatten(1).sum(1)

    functions = {"reconstruction_terms": reconstruction_terms}
    model = type("SummedAutoencoder", (Autoencoder,), functions)
    with pytest.raises(ParameterError, match=r"returned errors of shape \(\d+,\) for"):
        model(2, max_epochs=1).fit(np.random.default_rng(SEED).random((50, *shape)))


def test_counters_follow_the_random_seed(monkeypatch):
    monkeypatch.setitem(MODELS, "critical", object)

    def counters(self, objective):
        return {"critic": torch.nn.Linear(self.spec_.code_width, 1)}

    def penalties(self, objective, trace, generator):
        return {"critic": objective.network.critic(trace.code).square().mean()}

    functions = {"counters": counters, "penalties": penalties}
    model = type("CriticalAutoencoder", (Autoencoder,), functions)
    X = np.random.default_rng(SEED).random((50, 4, 4))
    state = torch.get_rng_state()
    first, again = (model(2, max_epochs=2, random_state=SEED).fit(X) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.history_["critic"] == again.history_["critic"]


@pytest.mark.parametrize("name", ["encoder", "training", "forward", "a.b", ""])
def test_counters_that_a_network_cannot_have_are_refused(name, monkeypatch):
    monkeypatch.setitem(MODELS, "counting", object)
    functions = {"counters": lambda _self, _objective: {name: torch.zeros(())}}
    model = type("CountingAutoencoder", (Autoencoder,), functions)
    with pytest.raises(ParameterError, match=f"calls a counter '{name}'"):
        model(2, max_epochs=1).fit(np.random.default_rng(SEED).random((50, 6)))


@pytest.mark.parametrize("value", [{1, 2}, b"ab", np.ones(2), object(), (1, {3})])
def test_parameters_that_saved_models_cannot_hold_are_refused_before_training(value, monkeypatch):
    monkeypatch.setitem(MODELS, "guided", object)

    class GuidedAutoencoder(Autoencoder):
        guide: object = None

    X = np.random.default_rng(SEED).normal(size=(60, 4))
    with pytest.raises(ParameterError, match="cannot be stored in a saved model") as refused:
        GuidedAutoencoder(2, max_epochs=1, guide=value).fit(X)
    assert refused.value.parameter == "guide"


def test_parameters_of_all_json_types_come_back(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "guided", object)

    class GuidedAutoencoder(Autoencoder):
        guide: object = None

    X = np.random.default_rng(SEED).normal(size=(60, 4))
    guide = {"a": (1, 2.5, None), "b": True, 3: "text", "c": np.float32(0.5), "d": np.True_}
    model = GuidedAutoencoder(2, max_epochs=1, guide=guide).fit(X)
    assert load(model.save(tmp_path / "model")).guide == guide


def test_a_parameter_named_like_an_option_of_the_verb_is_said(tmp_path):
    code = (
        "from narrows.models import BaseAutoencoder\n\n"
        'class LoudAutoencoder(BaseAutoencoder):\n    """Loud."""\n\n    log: float = 1.0\n'
    )
    site = install(tmp_path, "loud_one", code, "[narrows.models]\nloud = loud_one:LoudAutoencoder")
    (refused,) = run(tmp_path, site, "train X.npy -o model --model loud")
    assert refused[0] == 2
    assert "has a parameter 'log', which is the name of an option" in refused[2]
