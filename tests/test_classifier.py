"""Classifiers on encoders: scikit-learn's contract, and logistic regression as the truth."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from narrows import (
    Autoencoder,
    DenoisingAutoencoder,
    EncoderClassifier,
    VariationalAutoencoder,
    datasets,
    load,
)
from narrows.cli.main import main
from narrows.errors import DataError, FormatError, NotFittedError, ParameterError

SEED = 20250303
X, Y, X_TEST, Y_TEST = datasets.load("digits")
MODEL = DenoisingAutoencoder(12, max_epochs=5, random_state=SEED).fit(X)


def quick(encoder=MODEL, **parameters):
    return EncoderClassifier(encoder, **{"max_epochs": 3, "random_state": SEED, **parameters})


def checks():
    for checked, check in estimator_checks_generator(EncoderClassifier(max_epochs=20)):
        # The first runs only where scipy's experimental array API is switched on. The second wants
        # weighted and repeated rows to give the same in double precision; networks compute in
        # single precision, in which tests/test_weights.py compares them.
        if check.func.__name__ not in {
            "check_array_api_input",
            "check_sample_weight_equivalence_on_dense_data",
        }:
            yield pytest.param(checked, check, id=check.func.__name__)


@pytest.mark.filterwarnings("ignore")  # some checks provoke warnings of scikit-learn's own
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_scikit_learns_contract_holds(estimator, check):
    check(estimator)


def test_on_an_encoder_that_stays_it_is_logistic_regression():
    """Without decay the softmax has one minimum, which scikit-learn's solver finds too."""
    y = Y % 2
    codes = StandardScaler().fit_transform(MODEL.transform(X))
    truth = LogisticRegression(C=np.inf, max_iter=1000).fit(codes, y)
    classifier = quick(
        fine_tune=False,
        weight_decay=0,
        early_stopping=False,
        max_epochs=60,
        learning_rate=0.02,
    ).fit(X, y)
    best = log_loss(y, truth.predict_proba(codes))
    assert log_loss(y, classifier.predict_proba(X)) == pytest.approx(best, rel=5e-4)
    agree = classifier.predict(X) == truth.predict(codes)
    assert agree.mean() > 0.99


def test_probabilities_are_the_softmax_of_the_decision():
    classifier = quick().fit(X, Y)
    chances = classifier.predict_proba(X_TEST)
    logits = torch.from_numpy(classifier.decision_function(X_TEST)).double()
    np.testing.assert_allclose(chances, logits.softmax(dim=1).numpy(), rtol=1e-6)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    assert (classifier.predict(X_TEST) == chances.argmax(axis=1)).all()
    two = quick().fit(X, np.where(Y > 4, "large", "small"))
    assert list(two.classes_) == ["large", "small"]
    odds = two.predict_proba(X_TEST)
    np.testing.assert_allclose(
        two.decision_function(X_TEST), np.log(odds[:, 1] / odds[:, 0]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("fine_tune", [False, True])
def test_the_given_encoder_stays_as_it_is(tmp_path, fine_tune):
    codes, fingerprint = MODEL.transform(X_TEST), MODEL.fingerprint_
    halves = (MODEL, MODEL.split()[0], MODEL.save(tmp_path / "model"))
    fitted = [quick(given, fine_tune=fine_tune).fit(X, Y) for given in halves]
    predicted = [classifier.predict_proba(X_TEST) for classifier in fitted]
    np.testing.assert_array_equal(predicted[0], predicted[1])
    np.testing.assert_array_equal(predicted[0], predicted[2])
    assert MODEL.fingerprint_ == fingerprint
    np.testing.assert_array_equal(MODEL.transform(X_TEST), codes)
    classifier = quick(fine_tune=fine_tune).fit(X, Y)
    same = np.array_equal(classifier.encoder_.transform(X_TEST), codes)
    assert same is not fine_tune


def test_scikit_learns_copies_keep_what_the_encoder_has_learned():
    classifier = quick(fine_tune=False, max_epochs=10)
    assert clone(classifier).encoder is MODEL
    assert not hasattr(clone(classifier.fit(X, Y)), "network_")
    assert cross_val_score(classifier, X[:600], Y[:600], cv=2).mean() > 0.8


def test_from_scratch_it_has_the_same_network_and_other_weights():
    classifier = quick(from_scratch=True, learning_rate=1e-12).fit(X, Y)
    assert classifier.encoder_.spec == MODEL.spec_
    assert not np.array_equal(classifier.encoder_.transform(X_TEST), MODEL.transform(X_TEST))
    unfitted = Autoencoder(5, hidden_layer_sizes=(9,), activation="tanh")
    assert quick(unfitted, from_scratch=True).fit(X, Y).encoder_.spec.hidden_layer_sizes == (9,)
    assert not hasattr(unfitted, "encoder_")
    with pytest.raises(NotFittedError, match="has learned nothing yet"):
        quick(unfitted).fit(X, Y)


def test_damage_and_rates_have_their_effect():
    scores = {
        name: quick(**parameters).fit(X, Y).predict_proba(X_TEST)
        for name, parameters in {
            "plain": {},
            "damaged": {"corruption": "masking", "corruption_level": 0.5},
            "slow": {"encoder_learning_rate": 1e-5},
        }.items()
    }
    assert not np.allclose(scores["plain"], scores["damaged"])
    frozen = quick(encoder_learning_rate=0).fit(X, Y)
    np.testing.assert_array_equal(frozen.encoder_.transform(X_TEST), MODEL.transform(X_TEST))


TEXTS = np.array([f"d{y}" for y in Y], object)
LABELS = [Y, Y.astype(np.int8), Y.astype(str), TEXTS, Y > 4, Y * 1.0]


@pytest.mark.parametrize("y", LABELS, ids=lambda y: str(y.dtype))
def test_it_comes_back_from_disk(tmp_path, y):
    classifier = quick().fit(X, y)
    again = load(classifier.save(tmp_path / "classifier"))
    assert again.classes_.dtype == classifier.classes_.dtype
    assert again.fingerprint_ == classifier.fingerprint_
    np.testing.assert_array_equal(again.predict(X_TEST), classifier.predict(X_TEST))
    np.testing.assert_array_equal(again.predict_proba(X_TEST), classifier.predict_proba(X_TEST))
    assert again.history_ == classifier.history_
    assert again.fit(X, y).score(X, y) > 0.8
    classifier.fit(X[:300], y[:300]).save(tmp_path / "classifier", overwrite=True)
    assert len(list((tmp_path / "classifier").iterdir())) == 4


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="needs NumPy 2")
def test_labels_of_numpys_type_of_texts_are_texts(tmp_path):
    classifier = quick().fit(X, TEXTS.astype(np.dtypes.StringDType()))
    again = load(classifier.save(tmp_path / "classifier"))
    np.testing.assert_array_equal(again.predict(X_TEST), quick().fit(X, TEXTS).predict(X_TEST))


def test_columns_by_name(tmp_path):
    table = pd.DataFrame(X.reshape(len(X), -1)[:, :6], columns=list("abcdef"))
    model = VariationalAutoencoder(3, max_epochs=2, random_state=SEED).fit(table)
    classifier = quick(model).fit(table, Y)
    assert list(load(classifier.save(tmp_path / "c")).feature_names_in_) == list("abcdef")
    with pytest.raises(DataError, match="columns"):
        classifier.predict(table[list("bacdef")])
    with pytest.raises(DataError, match="columns"):
        classifier.fit(table[list("bacdef")], Y)


def test_damaged_files_are_refused(tmp_path):
    path = quick().fit(X, Y).save(tmp_path / "c") / "narrows.json"
    manifest = json.loads(path.read_text("utf-8"))
    for wrong in (
        {"classes": {"dtype": "<i8", "labels": [0, 1]}},
        {"classes": {"dtype": "O", "labels": [[0]] * 10}},
        {"classes": {"dtype": "<i8", "labels": list(range(1, 11))}},
        {"parameters": {"unheard": 1}},
        {"training": None},
    ):
        path.write_text(json.dumps({**manifest, **wrong}), "utf-8")
        with pytest.raises(FormatError, match="classifier"):
            load(tmp_path / "c")


@pytest.mark.parametrize(
    ("parameters", "y", "error", "message"),
    [
        ({"encoder": 5}, Y, ParameterError, "encoder=5 is not allowed"),
        ({"fine_tune": "yes"}, Y, ParameterError, "fine_tune='yes'"),
        ({"from_scratch": 1}, Y, ParameterError, "from_scratch=1"),
        ({"encoder_learning_rate": -1}, Y, ParameterError, "encoder_learning_rate=-1"),
        ({"corruption": "rain"}, Y, ParameterError, "corruption='rain'"),
        ({"corruption": "blur", "fine_tune": False}, Y, ParameterError, "needs fine_tune=True"),
        ({"max_epochs": 0}, Y, ParameterError, "max_epochs=0"),
        ({}, None, DataError, "requires y to be passed"),
        ({}, Y[:5], DataError, "inconsistent numbers of samples"),
        ({}, np.zeros(len(X)), DataError, r"class 0\.0; .*two classes are needed"),
        ({}, np.linspace(0, 1, len(X)), DataError, "Unknown label type"),
        ({}, np.full(len(X), np.nan), DataError, "NaN"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_changes_nothing(parameters, y, error, message):
    classifier = quick().fit(X, Y)
    before = classifier.fingerprint_
    classifier.set_params(**parameters)
    with pytest.raises(error, match=message) as caught:
        classifier.fit(X, y)
    assert "\n" not in str(caught.value)
    assert classifier.fingerprint_ == before


def test_the_command_line_describes_classifiers_and_does_not_take_them_for_models(tmp_path, capsys):
    path = str(quick().fit(X, Y).save(tmp_path / "c"))
    assert main(["info", path, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["classes"], answer["n_components"]) == ("classifier", 10, 12)
    np.save(tmp_path / "X.npy", X_TEST)
    assert main(["encode", path, str(tmp_path / "X.npy"), "-o", str(tmp_path / "Z.npy")]) == 4
    assert "is a classifier" in capsys.readouterr().err


def test_torchs_global_generator_is_left_alone():
    before = torch.get_rng_state()
    quick().fit(X[:60], Y[:60])
    assert torch.equal(torch.get_rng_state(), before)
