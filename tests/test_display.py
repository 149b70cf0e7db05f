"""What notebooks show of fitted models, and what a model's folder says of its training."""

import csv
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image
from sklearn import config_context
from sklearn.utils import estimator_html_repr

from narrows import MODELS, Autoencoder, EncoderClassifier, StackedAutoencoder, load
from narrows.cli.main import main
from narrows.training.history import Ending, History

SEED = 0
X = np.random.default_rng(SEED).random((60, 5, 4))


def model(**parameters: Any) -> Autoencoder:
    return Autoencoder(2, **{"max_epochs": 4, "random_state": SEED, **parameters}).fit(X)


def learned(estimator: Any) -> ET.Element:
    """Return what stands below scikit-learn's diagram, which is well-formed."""
    both = [estimator._repr_html_(), estimator._repr_mimebundle_()["text/html"]]
    html, other = (shown[shown.index('<div class="narrows-learned">') :] for shown in both)
    assert html == other
    return ET.fromstring(html)  # noqa: S314 (it is our own)


def table(shown: ET.Element) -> dict[str, str]:
    return {row[0].text or "": row[1].text or "" for row in shown.iter("tr")}


def test_the_figures_are_the_models_own() -> None:
    fitted = model(architecture="dense", validation_fraction=0.2)
    history = fitted.history_
    seconds = history["seconds"][-1]
    assert table(learned(fitted)) == {
        "numbers in the code": "2",
        "shape of a row": "5 x 4",
        "epochs": "4",
        "training ended": "after all epochs",
        "best validation loss": f"{min(history['validation_loss']):.5g}",
        "seconds": f"{seconds:.1f}",
        "fingerprint": fitted.fingerprint_[:12],
    }


@pytest.mark.parametrize("ending", get_args(Ending))
def test_every_way_in_which_training_ends_is_shown(ending: Ending) -> None:
    """A model whose training collapsed had no display at all, but an error."""
    fitted = model()
    fitted.history_.ended = ending
    assert table(learned(fitted))["training ended"]


@pytest.mark.parametrize(("held_out", "name"), [(0.2, "validation_loss"), ("auto", "loss")])
def test_the_curve_is_the_loss(held_out: Any, name: str) -> None:
    fitted = model(validation_fraction=held_out)
    [line] = learned(fitted).iter("polyline")
    x, y = np.array([point.split(",") for point in line.attrib["points"].split()], float).T
    values = np.array(fitted.history_[name])
    np.testing.assert_allclose(np.diff(x), np.diff(x)[0], atol=0.11)
    share = (values.max() - values) / np.ptp(values)
    np.testing.assert_allclose((y - y.min()) / np.ptp(y), share, atol=0.002)


def test_of_one_epoch_there_is_no_curve() -> None:
    assert list(learned(model(max_epochs=1)).iter("svg")) == []


@pytest.mark.parametrize("name", MODELS)
def test_every_model_shows_what_it_learned_below_the_diagram(name: str) -> None:
    estimator = MODELS[name](2, max_epochs=2, random_state=SEED)
    assert "narrows-learned" not in estimator._repr_html_()
    estimator.fit(X)
    assert table(learned(estimator))["fingerprint"] == estimator.fingerprint_[:12]
    start = estimator_html_repr(estimator)[:50]
    assert estimator._repr_html_().startswith(start.split("sk-container-id")[0])


def test_classifiers_and_stacks_too() -> None:
    stack = StackedAutoencoder(2, hidden_layer_sizes=(3,), max_epochs=2, random_state=SEED).fit(X)
    assert table(learned(stack))["epochs"] == "2 (layers: 2, 2)"
    classifier = EncoderClassifier(stack, max_epochs=3, random_state=SEED).fit(X, np.arange(60) % 2)
    figures = table(learned(classifier))
    assert (figures["numbers in the code"], figures["shape of a row"]) == ("2", "5 x 4")


def test_words_are_escaped_and_plain_display_stays_plain() -> None:
    fitted = model()
    fitted.sample_shape_ = ("<b>&",)  # as no model has it
    assert table(learned(fitted))["shape of a row"] == "<b>&"
    with config_context(display="text"):
        assert list(fitted._repr_mimebundle_()) == ["text/plain"]
        assert not hasattr(fitted, "_repr_html_")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def check(file: Path, history: History) -> None:
    found = [{name: float(value) for name, value in row.items()} for row in rows(file)]
    assert found == history.epochs


def test_a_models_folder_says_how_training_went(tmp_path: Path) -> None:
    fitted = model(validation_fraction=0.2)
    path = fitted.save(tmp_path / "model")
    check(path / "history.csv", fitted.history_)
    (path / "history.csv").write_text("not numbers")
    again = load(path)
    assert again.fingerprint_ == fitted.fingerprint_
    again.save(path, overwrite=True)
    check(path / "history.csv", fitted.history_)


def test_a_stacks_layers_have_files_of_their_own_which_go_with_it(tmp_path: Path) -> None:
    path = tmp_path / "model"
    stack = StackedAutoencoder(2, hidden_layer_sizes=(3,), max_epochs=2, fine_tune=False).fit(X)
    stack.save(path)
    for place, layer in enumerate(stack.history_.layers, 1):
        check(path / f"history-layer-{place}.csv", layer)
    assert (path / "history.csv").read_text().split() == ["epoch,loss,learning_rate,seconds"]
    (path / "history.png").write_bytes(b"of the stack")
    (path / "notes.txt").write_text("mine")
    fitted = model()
    fitted.save(path, overwrite=True)
    check(path / "history.csv", fitted.history_)
    assert sorted(p.name for p in path.iterdir() if p.suffix != ".safetensors") == [
        "history.csv", "narrows.json", "notes.txt",
    ]  # fmt: skip
    fitted.split()[0].save(path, overwrite=True)
    assert not (path / "history.csv").exists()


@pytest.mark.parametrize("name", ["autoencoder", "stacked"])
def test_the_command_leaves_a_picture_of_training(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", X)
    arguments = ["train", "X.npy", "-o", "model", "--model", name, "--max-epochs", "2"]
    for more in ([], ["--overwrite"]):
        assert main([*arguments, *more]) == 0
        assert len(rows(Path("model", "history.csv"))) == 2
        with Image.open(Path("model", "history.png")) as picture:
            assert picture.width > 600
            assert len(set(picture.convert("L").tobytes())) > 10
    assert load("model").transform(X).shape[0] == 60
