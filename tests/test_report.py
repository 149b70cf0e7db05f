"""Reports: their figures against direct computations, and their verdict against planted defects.

All random numbers come from seed 0.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from narrows import (
    AnomalyDetector,
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
    datasets,
    plots,
)
from narrows.errors import DataError, NotFittedError, OutputExistsError, ParameterError
from narrows.evaluation import Part, Report, make_report

DIGITS = datasets.load("digits")
X, X_TEST, Y_TEST = DIGITS.X_train, DIGITS.X_test, DIGITS.y_test


@pytest.fixture(scope="module")
def good() -> Autoencoder:
    return Autoencoder(16, max_epochs=30, random_state=0).fit(X)


@pytest.fixture(scope="module")
def report(good: Autoencoder) -> Report:
    return make_report(good, X_TEST, Y_TEST, sweep=(2, 4))


def rules(report: Report) -> list[str]:
    return [finding.rule for finding in report.verdict]


def part(report: Report, name: str) -> Part:
    (found,) = (part for part in report.parts if part.name == name)
    return found


def worst_rows(report: Report) -> list[str]:
    return [row for row, _ in part(report, "errors").table[1:]]


def judged(model: Any, rows: NDArray[Any]) -> list[str]:
    return rules(make_report(model, rows))


def test_a_good_model_is_better_than_pca_and_nothing_limits_it(report: Report) -> None:
    assert rules(report) == ["better", "room"]


def test_an_untrained_model_is_named() -> None:
    model = Autoencoder(
        16, architecture="dense", max_epochs=1, learning_rate=1e-6, random_state=0
    ).fit(X)
    assert {"nothing_learned", "undertrained"} <= set(judged(model, X_TEST))


def test_a_model_that_still_learned_when_training_ended_is_named() -> None:
    model = Autoencoder(16, max_epochs=5, learning_rate=1e-4, random_state=0).fit(X)
    assert "undertrained" in judged(model, X_TEST)


@pytest.mark.parametrize("n_rows", [50, 150])
def test_training_that_stopped_by_itself_was_not_too_short(n_rows: int) -> None:
    flowers = np.random.default_rng(0).permutation(load_iris().data)[:n_rows]
    model = Autoencoder(2, random_state=0).fit(flowers)
    # With few rows the initial PCA is kept; with more, no later epoch was better.
    assert model.n_iter_ == 0 if n_rows == 50 else model.history_.ended == "early_stopping"
    assert "undertrained" not in judged(model, flowers)


def test_a_model_overfitted_on_200_rows_is_named() -> None:
    model = Autoencoder(
        16, early_stopping=False, max_epochs=150, weight_decay=0, random_state=0
    ).fit(X[:200])
    assert "overfitted" in judged(model, X_TEST)


@pytest.mark.filterwarnings("ignore:none of the 16 units:UserWarning")
def test_a_collapsed_variational_model_is_named() -> None:
    model = VariationalAutoencoder(16, kl_weight=100, max_epochs=20, random_state=0).fit(X)
    assert "collapsed" in judged(model, X_TEST)


def test_a_variational_model_overfitted_on_200_rows_is_named() -> None:
    model = VariationalAutoencoder(
        16, early_stopping=False, max_epochs=250, weight_decay=0, random_state=0
    ).fit(X[:200])
    assert "overfitted" in judged(model, X_TEST)


def test_half_the_units_of_a_sparse_model_dead_are_named() -> None:
    import torch

    model = SparseAutoencoder(64, sparsity="l1", max_epochs=20, random_state=0).fit(X)
    assert "dead" not in judged(model, X_TEST)
    (linear,) = (m for m in model.encoder_.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        linear.weight[::2] = 0
        linear.bias[::2] = -1
    found = make_report(model, X_TEST)
    assert "dead" in rules(found)
    assert found.figures.units.unused >= 32


def test_five_per_cent_outliers_are_named_and_the_worst(good: Autoencoder) -> None:
    rng = np.random.default_rng(0)
    rows = X_TEST.copy()
    planted = rng.permutation(len(rows))[: len(rows) // 20]
    rows[planted] = rng.integers(0, 256, (len(planted), 8, 8))
    found = make_report(good, rows)
    assert rules(found) == ["better", "outliers"]
    assert set(worst_rows(found)) <= {f"row {row}" for row in planted}
    # They are those of the detector, whose scores have the same unit, and no error of the model.
    detector = AnomalyDetector(random_state=0).fit(rows)
    scores = -detector.score_samples(rows)
    listed = found.as_json()["outliers"]
    assert {one["row"] for one in listed} <= {f"row {row}" for row in planted}
    assert len(listed) == found.figures.outliers.n > len(planted) / 2
    assert listed[0]["score"] == pytest.approx(scores.max())
    assert found.figures.outliers.threshold < min(one["score"] for one in listed)


def test_a_linear_data_set_is_left_to_pca() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(3000, 4)) @ rng.normal(size=(4, 30))
    rows = (plane + 0.1 * rng.normal(size=plane.shape)).astype(np.float32)
    model = Autoencoder(4, scaling="standard", max_epochs=60, random_state=0).fit(rows[:2000])
    found = make_report(model, rows[2000:])
    assert found.verdict[0].rule == "linear"
    assert "PCA is as good" in found.verdict[0].text


def test_a_model_worse_than_pca_is_named() -> None:
    model = Autoencoder(
        16, architecture="dense", max_epochs=2, learning_rate=1e-3, random_state=0
    ).fit(X)
    assert judged(model, X_TEST)[0] == "worse"


def test_the_errors_are_the_model_s_and_those_of_pca_fitted_on_the_other_half(
    good: Autoencoder, report: Report
) -> None:
    rows = X_TEST.reshape(len(X_TEST), -1) / 255.0
    errors = report.figures.errors
    restored = good.reconstruct(X_TEST).reshape(rows.shape) / 255.0
    np.testing.assert_allclose(errors.model, ((restored - rows) ** 2).mean(), rtol=1e-5)
    halves = np.array_split(np.random.default_rng(0).permutation(len(rows)), 2)
    for size, of_size in ((4, report.figures.pca_curve[4]), (16, errors.pca)):
        squares = 0.0
        for seen, measured in (halves, halves[::-1]):
            pca = PCA(size, svd_solver="full").fit(rows[seen])
            away = pca.inverse_transform(pca.transform(rows[measured])) - rows[measured]
            squares += float((away**2).sum())
        np.testing.assert_allclose(of_size, squares / rows.size, rtol=1e-4)


def test_pca_learns_from_the_training_rows_where_they_are_given(good: Autoencoder) -> None:
    found = make_report(good, X_TEST, X_train=X)
    pca = PCA(16, svd_solver="full").fit(X.reshape(len(X), -1) / 255.0)
    rows = X_TEST.reshape(len(X_TEST), -1) / 255.0
    away = pca.inverse_transform(pca.transform(rows)) - rows
    np.testing.assert_allclose(found.figures.errors.pca, (away**2).mean(), rtol=1e-4)


def test_the_loss_on_these_rows_is_the_one_that_training_makes_small(good: Autoencoder) -> None:
    restored = good.reconstruct(X_TEST) / 255.0
    loss = ((restored - X_TEST / 255.0) ** 2).sum(axis=(1, 2)).mean()
    np.testing.assert_allclose(good.loss_terms(X_TEST)["reconstruction"], loss, rtol=1e-5)


def test_the_loss_terms_are_those_of_the_history() -> None:
    for model in (
        SparseAutoencoder(32, max_epochs=2, random_state=0),
        VariationalAutoencoder(4, max_epochs=2, kl_warmup=0.5, random_state=0),
        ContractiveAutoencoder(4, max_epochs=2, random_state=0),
        DenoisingAutoencoder(4, max_epochs=2, random_state=0),
    ):
        model.fit(X)
        terms = model.loss_terms(X_TEST, random_state=0)
        about = {"epoch", "learning_rate", "seconds"}
        names = {name for name in model.history_.columns if not name.startswith("validation_")}
        assert set(terms) == names - about
        assert terms == model.loss_terms(X_TEST, random_state=0)
        assert terms["loss"] == pytest.approx(sum(terms.values()) - terms["loss"])


def test_measuring_a_loss_leaves_the_model_as_it_was() -> None:
    model = VariationalAutoencoder(4, kl_warmup=0.9, max_epochs=2, random_state=0)
    model.partial_fit(X[:600])
    assert 0 < model.warmup_done_ < 1
    before = dict(vars(model))
    model.loss_terms(X_TEST[:1], random_state=0)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


def test_features_are_scored_by_cross_validation(good: Autoencoder, report: Report) -> None:
    scores = report.figures.features
    assert list(scores) == ["codes", "PCA, 16", "raw"]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    parts = StratifiedKFold(5, shuffle=True, random_state=0)
    truth = cross_val_score(classifier, good.transform(X_TEST), Y_TEST, cv=parts)
    mean, spread = scores["codes"]["logistic regression"]
    np.testing.assert_allclose((mean, spread), (truth.mean(), truth.std()), atol=1e-12)


def test_the_sweep_trains_models_with_other_codes(report: Report) -> None:
    sweep = report.figures.sweep
    assert list(sweep) == [2, 4]
    assert sweep[2] > sweep[4] > report.figures.errors.model


def test_singular_values_are_those_of_the_jacobian(good: Autoencoder) -> None:
    import torch

    rows = X_TEST[:3]
    values = good.jacobian_singular_values(rows)
    assert values.shape == (3, 16)
    scaled = torch.from_numpy(rows / np.float32(255)).float()
    for row, found in zip(scaled, values, strict=True):
        matrix = torch.func.jacrev(lambda x: good.encoder_(x[None])[0])(row).reshape(16, 64)
        np.testing.assert_allclose(found, torch.linalg.svdvals(matrix).detach(), rtol=1e-4)
    root = np.sqrt((values**2).sum(axis=1))
    np.testing.assert_allclose(root, good.jacobian_norm(rows), rtol=1e-4)


def test_the_page_needs_nothing_else_and_holds_every_plot(report: Report, tmp_path: Path) -> None:
    page = report.save(tmp_path / "report")
    html = page.read_text("utf-8")
    sources = re.findall(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)"', html)
    files = {path.read_bytes() for path in page.parent.glob("*.png")}
    assert {base64.b64decode(source) for source in sources} == files
    assert len(files) == len(sources) >= 12
    assert not re.search(r"https?:|<script|<link|@import|url\(", html)
    assert page.stat().st_size < 5e6
    for finding in report.verdict:
        assert f'href="#{finding.part}"' in html
        assert f'id="{finding.part}"' in html
    kept = json.loads((page.parent / "report.json").read_text("utf-8"))
    assert kept["figures"]["errors"]["model"] == report.figures.errors.model
    assert [finding["rule"] for finding in kept["verdict"]] == rules(report)
    with pytest.raises(OutputExistsError):
        report.save(tmp_path / "report")


def test_the_page_escapes_what_it_is_given(good: Autoencoder) -> None:
    found = make_report(good, X_TEST, title="<script>alert(1)</script>")
    assert "<script" not in found.to_html()
    assert "&lt;script&gt;" in found.to_html()
    assert found._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')


@pytest.mark.parametrize(
    ("model", "pictures"),
    [
        (VariationalAutoencoder(4, max_epochs=5, random_state=0), {"samples", "code-units"}),
        (SparseAutoencoder(32, max_epochs=5, random_state=0), {"activation-rates"}),
        (ContractiveAutoencoder(4, max_epochs=5, random_state=0), {"singular-values"}),
        (Autoencoder(2, max_epochs=5, random_state=0), {"traversal", "interpolation", "filters"}),
    ],
    ids=["variational", "sparse", "contractive", "two numbers"],
)
def test_each_model_has_its_own_pictures(model: Any, pictures: set[str]) -> None:
    found = make_report(model.fit(X), X_TEST[:100])
    assert pictures <= {picture.name for part in found.parts for picture in part.pictures}


def test_a_denoising_model_is_shown_what_it_restores_from_damage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = DenoisingAutoencoder(16, max_epochs=5, random_state=0).fit(X)
    drawn: list[Any] = []
    own = plots.pictures

    def watch(rows: Any, *, captions: Any = None, **options: Any) -> Any:
        drawn.append((rows, captions))
        return own(rows, captions=captions, **options)

    monkeypatch.setattr(plots, "pictures", watch)
    found = make_report(model, X_TEST[:100])
    assert len(part(found, "restored").pictures) == 3
    for rows, captions in drawn[:3]:
        assert list(rows) == ["original", "damaged", "restored", "PCA, 16"]
        np.testing.assert_array_equal(rows["restored"], model.denoise(rows["damaged"]))
        errors = (((rows["restored"] - rows["original"]) / 255.0) ** 2).mean(axis=(1, 2))
        assert captions == [f"{error:.2g}" for error in errors]
        assert not (rows["damaged"] == rows["original"]).all()


def test_rows_keep_their_numbers_where_some_are_drawn(good: Autoencoder) -> None:
    found = make_report(good, X_TEST, max_rows=60)
    errors = good.reconstruction_error(X_TEST) / 255.0**2
    for row, error in part(found, "errors").table[1:]:
        assert f"{errors[int(row.removeprefix('row '))]:.3g}" == error
    names = [f"{row:03}.png" for row in range(len(X_TEST))]
    named = make_report(good, X_TEST, max_rows=60, names=names)
    numbers = [int(row.removeprefix("row ")) for row in worst_rows(found)]
    assert worst_rows(named) == [names[number] for number in numbers]


@pytest.mark.parametrize(
    "model",
    [
        Autoencoder(
            16, loss="cross_entropy", early_stopping=False, weight_decay=0, max_epochs=200,
            random_state=0,
        ),
        VariationalAutoencoder(
            16, likelihood="bernoulli", kl_weight=0.001, early_stopping=False, weight_decay=0,
            max_epochs=200, random_state=0,
        ),
    ],
    ids=["cross entropy", "bernoulli"],
)  # fmt: skip
def test_what_a_loss_does_not_tell_of_overfitting_the_training_rows_do(model: Any) -> None:
    model.fit(X[:200])
    assert make_report(model, X_TEST).figures.learning.excess is None
    told = make_report(model, X_TEST, X_train=X[:200])
    error = model.reconstruction_error(X_TEST).mean() / model.reconstruction_error(X[:200]).mean()
    np.testing.assert_allclose(told.figures.learning.excess, error - 1, rtol=1e-4)
    assert ("overfitted" in rules(told)) == (error >= 3)


def test_labels_are_never_read_as_mathematics(good: Autoencoder) -> None:
    labels = np.array(["$\\frac$", "b$c"])[np.arange(len(X_TEST)) % 2]
    assert "map-labels" in {p.name for p in part(make_report(good, X_TEST, labels), "map").pictures}


def test_rows_that_are_all_the_same_have_no_map(good: Autoencoder) -> None:
    found = make_report(good, np.repeat(X_TEST[:1], 100, axis=0))
    assert found.figures.map is None
    assert part(found, "map").words[0].startswith("Left out")


def test_where_most_rows_are_the_same_the_others_are_no_outliers(good: Autoencoder) -> None:
    rows = np.concatenate([np.repeat(X_TEST[:1], 220, axis=0), X_TEST[:140]])
    assert make_report(good, rows).figures.outliers.n == 0


def test_of_rows_in_a_plane_pca_is_said_to_be_exact() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 20))
    found = make_report(Autoencoder(3, max_epochs=2, random_state=0).fit(rows), rows)
    assert found.verdict[0].rule == "linear"
    assert found.verdict[0].text.startswith("PCA is exact")


def test_of_tables_errors_by_column_stand_in_place_of_pictures() -> None:
    rows = X.reshape(len(X), -1).astype(np.float64)
    found = make_report(Autoencoder(8, max_epochs=5, random_state=0).fit(rows), rows[:200])
    names = [part.name for part in found.parts]
    assert names == [
        "columns",
        "size",
        "training",
        "map",
        "errors",
        "outliers",
        "units",
        "features",
    ]
    left_out = {part.name for part in found.parts if any("Left out" in w for w in part.words)}
    assert left_out == {"features"}
    names = {picture.name for part in found.parts for picture in part.pictures}
    assert {"columns", "error-by-size", "losses", "map-errors", "errors"} <= names


def test_labels_of_one_class_leave_scores_out_with_a_word(good: Autoencoder) -> None:
    found = make_report(good, X_TEST, np.zeros(len(X_TEST)))
    assert found.figures.features == {}
    assert found.figures.map is not None
    assert found.figures.map.neighbor_accuracy is None
    words = [word for part in found.parts if part.name == "features" for word in part.words]
    assert words == ["Left out: labels have too few classes."]


def test_few_rows_have_a_report_without_a_map(good: Autoencoder) -> None:
    found = make_report(good, X_TEST[:12], Y_TEST[:12])
    assert found.figures.map is None
    assert found.verdict[0].rule == "no_yardstick"


def test_no_more_rows_than_wished_are_looked_at(good: Autoencoder) -> None:
    found = make_report(good, X_TEST, Y_TEST, max_rows=100)
    assert (found.figures.n_rows, found.figures.n_given) == (100, len(X_TEST))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"y": Y_TEST[:-1]}, DataError, r"labels have shape \(359,\), the data 360 rows"),
        ({"X": X_TEST[:9]}, DataError, "9 rows are too few for a report; give at least 10"),
        ({"X": X_TEST[:, :4]}, DataError, "shape"),
        ({"X": X_TEST * 1e25}, DataError, "the error of row 0, counted from 0, is beyond"),
        ({"names": ["a"]}, DataError, "there are 1 names for 360 rows; give one for each"),
        ({"sweep": (0,)}, ParameterError, "sweep"),
        ({"max_rows": 3}, ParameterError, "max_rows"),
    ],
    ids=["labels", "few", "shape", "huge", "names", "sweep", "rows"],
)
def test_bad_input_is_refused_in_a_line(
    good: Autoencoder, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_report(good, **{"X": X_TEST, **given})


def test_a_sweep_that_a_model_cannot_have_is_refused_before_any_work() -> None:
    model = SparseAutoencoder(16, sparsity="topk", n_active=4, max_epochs=1, random_state=0).fit(X)
    with pytest.raises(
        ParameterError, match="no model of the sweep can have codes of 2: n_active=4"
    ):
        make_report(model, X_TEST, sweep=(8, 2))


def test_pictures_of_another_size_are_refused_in_a_line() -> None:
    rng = np.random.default_rng(0)
    model = Autoencoder(
        2, architecture="fully_convolutional", hidden_layer_sizes=(4,), max_epochs=1, random_state=0
    ).fit(rng.random((40, 16, 16)))
    assert make_report(model, rng.random((60, 16, 16))).figures.n_components == 128
    with pytest.raises(DataError, match=r"rows have shape \(12, 16\), those learned from"):
        make_report(model, rng.random((60, 12, 16)))


def test_a_model_that_has_learned_nothing_is_refused() -> None:
    with pytest.raises(NotFittedError):
        make_report(Autoencoder(4), X_TEST)
