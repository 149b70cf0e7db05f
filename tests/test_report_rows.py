"""Reports on rows that a model has learned from, held out, or never seen; every seed is 0."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import Run, pictures, save_pictures
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from narrows import Autoencoder, datasets, load
from narrows.errors import DataError, NarrowsWarning
from narrows.evaluation import Report, compare_with_pca, make_report
from narrows.evaluation.verdict import judge
from narrows.models.learned_rows import HELD_OUT, LEARNED

pytestmark = pytest.mark.cases

DIGITS = datasets.load("digits")
X, X_TEST = DIGITS.X_train, DIGITS.X_test


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    return Autoencoder(16, max_epochs=20, random_state=0).fit(X)


@pytest.fixture(scope="module")
def by_heart() -> Autoencoder:
    """A model that is overfitted to 200 rows, with none held out."""
    return Autoencoder(
        16, early_stopping=False, max_epochs=150, weight_decay=0, random_state=0
    ).fit(X[:200])


def rules(report: Report) -> list[str]:
    return [finding.rule for finding in report.verdict]


def flat(rows: NDArray[Any]) -> NDArray[np.float64]:
    return rows.reshape(len(rows), -1) / 255.0


def pca_error(train: NDArray[Any], test: NDArray[Any], size: int) -> float:
    pca = PCA(size, svd_solver="full").fit(flat(train))
    return float(((pca.inverse_transform(pca.transform(flat(test))) - flat(test)) ** 2).mean())


def model_error(model: Autoencoder, rows: NDArray[Any]) -> float:
    return float(((flat(model.reconstruct(rows)) - flat(rows)) ** 2).mean())


def test_of_its_training_rows_only_those_held_out_are_measured(model: Autoencoder) -> None:
    found = make_report(model, X)
    kind = model.learned_rows_.membership(X)
    held_out, learned = X[kind == HELD_OUT], X[kind == LEARNED]
    origin, errors = found.figures.origin, found.figures.errors
    assert (origin.measured_on, origin.n_measured) == ("unseen", len(held_out))
    assert (origin.n_held_out, origin.n_new, origin.n_learned) == (
        len(held_out),
        0,
        len(learned),
    )
    assert errors.model == pytest.approx(model_error(model, held_out), rel=1e-5)
    assert (errors.pca_fitted_on, errors.pca_rows) == ("training rows", len(learned))
    assert errors.pca == pytest.approx(pca_error(learned, held_out, 16), rel=1e-6)
    excess = model_error(model, held_out) / model_error(model, learned) - 1
    assert found.figures.learning.excess == pytest.approx(excess, rel=0.05)
    assert f"on {len(held_out)} held-out rows" in found.verdict[0].text
    assert found.notice == ""


def test_new_rows_are_measured_beside_those_held_out(model: Autoencoder) -> None:
    found = make_report(model, np.concatenate([X, X_TEST]), max_rows=2_000)
    origin = found.figures.origin
    assert origin.n_new + origin.n_held_out == origin.n_measured
    assert origin.n_new == len(X_TEST)
    expected = f"on {origin.n_held_out} held-out and {origin.n_new} new rows"
    assert expected in found.verdict[0].text
    assert dict(found.facts)["measured on"] in expected


def test_the_map_shows_all_rows_and_the_worst_are_measured_ones(model: Autoencoder) -> None:
    found = make_report(model, X, DIGITS.y_train)
    assert len(found.subject.points) == len(X)
    kind = model.learned_rows_.membership(X)
    (errors,) = (part for part in found.parts if part.name == "errors")
    for name, _ in errors.table[1:]:
        assert kind[int(name.removeprefix("row "))] == HELD_OUT


def test_rows_learned_from_make_no_model_better_than_pca(by_heart: Autoencoder) -> None:
    found = make_report(by_heart, X[:200])
    errors = found.figures.errors
    assert found.notice.startswith("Measured on the rows that the model learned from")
    assert found.notice in found.to_html()
    assert rules(found)[:2] == ["better_on_learned_rows", "learned_rows"]
    assert (errors.pca_fitted_on, errors.pca_rows) == ("same rows", 200)
    assert errors.pca == pytest.approx(pca_error(X[:200], X[:200], 16), rel=1e-6)
    said = " ".join(finding.text for finding in found.verdict)
    assert "better than PCA" not in said
    assert "On the rows that it learned from" in said
    assert found.as_json()["figures"]["origin"]["measured_on"] == "learned"
    assert found.as_json()["notice"] == found.notice


def test_fewer_than_ten_other_rows_are_no_measure(by_heart: Autoencoder) -> None:
    few = make_report(by_heart, np.concatenate([X[:200], X_TEST[:9]]))
    assert few.figures.origin.measured_on == "learned"
    assert "the 9 others are too few" in few.verdict[1].text
    enough = make_report(by_heart, np.concatenate([X[:200], X_TEST[:10]]))
    assert enough.figures.origin.measured_on == "unseen"
    assert enough.figures.origin.n_measured == 10
    assert "overfitted" in rules(enough)


def test_new_rows_alone_are_measured_by_halves(by_heart: Autoencoder) -> None:
    found = make_report(by_heart, X_TEST)
    assert found.figures.errors.pca_fitted_on == "other half"
    assert found.figures.errors.pca_rows == len(X_TEST) // 2
    assert found.notice == ""


def test_of_learned_rows_the_history_tells_overfitting() -> None:
    model = Autoencoder(
        16, architecture="dense", validation_fraction=9 / 200, n_iter_no_change=200,
        max_epochs=150, weight_decay=0, random_state=0,
    ).fit(X[:200])  # fmt: skip
    found = make_report(model, X[:200])
    assert found.figures.origin.n_held_out == 9
    assert found.figures.origin.measured_on == "learned"
    history, learning = model.history_, found.figures.learning
    best = history.epochs[history.best_epoch - 1]
    excess = best["validation_reconstruction"] / best["reconstruction"] - 1
    assert learning.excess == pytest.approx(excess)
    assert learning.excess_on == "held-out rows"
    assert ("overfitted" in rules(found)) == (excess >= 2)


def test_a_model_that_does_not_remember_its_rows_says_so(model: Autoencoder) -> None:
    older = Autoencoder(**model.get_params())
    vars(older).update(vars(model))
    older.learned_rows_ = None
    found = make_report(older, X_TEST)
    assert found.figures.origin.measured_on == "unknown"
    assert rules(found)[:2] == ["better_if_new_rows", "unknown_rows"]
    assert "If it has not learned from these rows" in found.verdict[0].text
    assert "may have learned from" in found.notice
    pca, own = compare_with_pca(older, X, X_TEST)
    assert pca.n_learned is own.n_learned is None


def test_a_saved_model_remembers(model: Autoencoder, tmp_path: Path) -> None:
    again = load(model.save(tmp_path / "model"))
    assert make_report(again, X).figures.origin == make_report(model, X).figures.origin


def test_rows_to_be_measured_are_taken_out_of_the_training_rows(model: Autoencoder) -> None:
    """PCA must not be fitted on the rows that it is measured on."""
    kind = model.learned_rows_.membership(X)
    found = make_report(model, X, X_train=X)
    assert found.figures.errors.pca_rows == (kind == LEARNED).sum()
    with pytest.raises(DataError, match="nothing but rows that are measured"):
        make_report(model, X_TEST, X_train=X_TEST)


def test_training_rows_that_were_not_learned_from_are_told(model: Autoencoder) -> None:
    with pytest.warns(NarrowsWarning, match="has learned from none of the 60 rows") as caught:
        make_report(model, X_TEST[60:], X_train=X_TEST[:60])
    assert caught[0].message.kind == "not_training_rows"


def test_a_row_too_far_away_is_named_by_its_number_among_those_given(model: Autoencoder) -> None:
    rows = np.concatenate([X[:50], X_TEST[:20]]).astype(float)
    rows[61] *= 1e25
    with pytest.raises(DataError, match="the error of row 61, counted from 0, is beyond"):
        make_report(model, rows)


def test_the_comparison_counts_test_rows_learned_from(model: Autoencoder) -> None:
    for rows, learned in ((X_TEST, 0), (X, (model.learned_rows_.membership(X) == LEARNED).sum())):
        for score in compare_with_pca(model, X, rows):
            assert (score.n_test, score.n_learned) == (len(rows), learned)


def test_the_command_measures_on_held_out_rows_or_says_that_it_cannot(run: Run) -> None:
    save_pictures(Path("photos"), pictures(120))
    tiny = ["--n-components", "3", "--max-epochs", "2", "--random-state", "0"]
    assert run("train", "photos", "-o", "model", *tiny).code == 0
    told = run("report", "model", "photos", "-o", "report")
    assert told.code == 0
    assert "on 12 held-out rows" in told.out
    assert "Measured on the rows" not in told.out
    assert run("train", "photos", "-o", "all", *tiny, "--no-early-stopping").code == 0
    told = run("report", "all", "photos", "-o", "report", "--overwrite")
    assert told.out.startswith("Measured on the rows that the model learned from")
    assert "Measured on the rows" in Path("report/index.html").read_text("utf-8")
    answered = run("report", "all", "photos", "-o", "report", "--overwrite", "--json").json
    assert answered["notice"].startswith("Measured on the rows")
    assert answered["figures"]["origin"]["n_learned"] == 120


def test_pca_that_learned_from_fewer_rows_than_the_model_is_named_as_such(
    model: Autoencoder,
) -> None:
    alone = make_report(model, X_TEST).verdict[0]
    assert alone.rule == "better"
    assert alone.text.startswith("The model is better than PCA of 180 rows: ")
    n_training = model.learned_rows_.n_learned
    assert f"The model learned from {n_training:,} rows, and PCA from 180" in alone.remedy
    beside = make_report(model, X_TEST, X_train=X).verdict[0]
    assert beside.text.startswith("The model is better than PCA: ")
    assert beside.remedy == ""


def test_of_few_rows_each_tenth_is_measured_by_pca_of_the_others(model: Autoencoder) -> None:
    rows = X_TEST[:150]
    found = make_report(model, rows, random_state=3)
    squares = 0.0
    for fold in np.array_split(np.random.default_rng(3).permutation(150), 10):
        others = np.delete(rows, fold, axis=0)
        squares += pca_error(others, rows[fold], 16) * len(fold)
    errors = found.figures.errors
    assert (errors.pca_fitted_on, errors.pca_rows) == ("other tenths", 135)
    assert errors.pca == pytest.approx(squares / 150, rel=1e-6)


def test_a_difference_that_chance_explains_decides_nothing() -> None:
    """Both errors come from the same rows, so the standard error is that of their difference."""
    found = make_report(Autoencoder(16, max_epochs=20, random_state=0).fit(X), X_TEST, X_train=X)
    rows, pca = flat(X_TEST), PCA(16, svd_solver="full").fit(flat(X))
    by_pca = ((pca.inverse_transform(pca.transform(rows)) - rows) ** 2).mean(axis=1)
    own = ((flat(found.subject.model.reconstruct(X_TEST)) - rows) ** 2).mean(axis=1)
    errors = found.figures.errors
    spread = (own - by_pca).std(ddof=1) / np.sqrt(len(rows))
    assert errors.pca_difference == pytest.approx(spread, rel=1e-4)
    assert rules(found)[0] == "better"
    unsure = replace(errors, pca_difference=(errors.pca - errors.model) / 1.9)
    verdict = judge(replace(found.figures, errors=unsure))
    assert verdict[0].rule == "undecided"
    assert "confidence interval" in verdict[0].text
    assert verdict[0].remedy == "Give more rows."
    sure = replace(errors, pca_difference=(errors.pca - errors.model) / 2.1)
    assert judge(replace(found.figures, errors=sure))[0].rule == "better"


def test_training_that_ended_by_itself_is_not_to_be_longer(model: Autoencoder) -> None:
    found = make_report(model, X_TEST, X_train=X).figures
    poor = replace(found, errors=replace(found.errors, model=2 * found.errors.pca))
    assert judge(poor)[0].remedy == "Train longer, or use PCA."
    ended = replace(poor, learning=replace(found.learning, ended="early_stopping"))
    assert judge(ended)[0].rule == "worse"
    assert "longer would bring nothing" in judge(ended)[0].remedy
