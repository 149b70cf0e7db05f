"""Comparisons of models; every random seed is 0."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_kit import Run, pictures, save_pictures, table
from sklearn.decomposition import PCA

from narrows import MODELS, Autoencoder, datasets
from narrows.errors import DataError, ParameterError
from narrows.evaluation import Comparison, compare_models, make_report

DIGITS = datasets.load("digits")
X, Y = DIGITS.X_test, DIGITS.y_test
TRIED = ["autoencoder", "sparse", "variational"]


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare_models(X, Y, models=TRIED, n_components=8, max_epochs=20)


def split() -> tuple[np.ndarray, np.ndarray]:
    test, train = np.split(np.random.default_rng(0).permutation(len(X)), [round(0.2 * len(X))])
    return np.sort(train), np.sort(test)


def test_every_model_is_measured_on_the_rows_that_none_has_seen(found: Comparison) -> None:
    train, test = split()
    rows = X.reshape(len(X), -1) / 255.0
    pca = PCA(8, svd_solver="full").fit(rows[train])
    away = pca.inverse_transform(pca.transform(rows[test])) - rows[test]
    model = Autoencoder(8, max_epochs=20, random_state=0).fit(X[train])
    own = model.reconstruction_error(X[test]).mean() / 255.0**2
    errors = {line[0]: float(line[2]) for line in found.table[1:]}
    assert list(errors) == ["PCA", *TRIED]
    assert errors["PCA"] == pytest.approx((away**2).mean(), rel=1e-3)
    assert errors["autoencoder"] == pytest.approx(own, rel=1e-3)


def test_each_report_is_the_one_that_the_model_has_alone(found: Comparison) -> None:
    """Scores that are the same for several models are measured once."""
    train, test = split()
    for name in ("autoencoder", "variational"):
        model = MODELS[name](8, max_epochs=20, random_state=0).fit(X[train])
        alone = make_report(model, X[test], Y[test], X_train=X[train])
        assert found.reports[name].figures.features == alone.figures.features
        assert found.reports[name].figures.errors == alone.figures.errors


def test_codes_tell_as_many_numbers(found: Comparison) -> None:
    assert [line[1] for line in found.table[1:]] == ["8", "8", "8 of 64", "8"]


def test_the_verdict_names_the_best(found: Comparison) -> None:
    heading, _, *lines = found.table
    best = min(lines, key=lambda line: float(line[2]))
    assert found.verdict[0].text.startswith(
        f"Best at restoring: {best[0]}, with an error of"
    ) or found.verdict[0].text.startswith("No model restores better than PCA")
    column = heading.index("5 nearest neighbours")
    first = max([*lines, found.table[1]], key=lambda line: float(line[column]))
    raw = found.reports["sparse"].figures.features["raw"]["5 nearest neighbours"][0]
    if raw > float(first[column]) or first[0] == "PCA":
        assert found.verdict[1].text.startswith("No codes are better features")
    else:
        assert f"the codes of {first[0]}" in found.verdict[1].text


def test_what_limits_several_models_is_said_once() -> None:
    few = compare_models(
        X[:100], Y[:100], models=["denoising", "sparse"], n_components=8, max_epochs=1
    )
    said = {finding.rule: finding.text for finding in few.verdict}
    assert said["undertrained"] == "Trained for too short a time: denoising, sparse."
    nothing = [
        name for name, report in few.reports.items() if report.verdict[0].rule == "nothing_learned"
    ]
    assert nothing
    assert said["nothing_learned"] == f"Next to nothing learned: {', '.join(nothing)}."


def test_the_page_shows_all_side_by_side(found: Comparison) -> None:
    names = {picture.name for part in found.parts for picture in part.pictures}
    assert {"restored", "features"} <= names
    assert {f"map-{name}" for name in TRIED} | {f"losses-{name}" for name in TRIED} <= names
    page = found.to_html()
    assert all(f"<td>{name}</td>" in page for name in ("PCA", *TRIED))
    assert not any(word in page for word in ("<script", "http:", "https:"))


def test_on_a_plane_no_model_beats_pca() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 10)) + 0.1 * rng.normal(size=(300, 10))
    found = compare_models(rows, models=["autoencoder"], n_components=3, max_epochs=2)
    assert found.verdict[0].rule == "pca"
    assert "restored" not in {part.name for part in found.parts}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"models": ["pca"]}, ParameterError, "'pca' is not known; use some of autoencoder"),
        ({"n_components": 0}, ParameterError, "n_components"),
        ({"max_epochs": 0}, ParameterError, "max_epochs"),
        ({"X": X[:49]}, DataError, "49 rows are too few to compare models"),
        ({"y": Y[:3]}, DataError, r"labels have shape \(3,\), the data 360 rows"),
    ],
    ids=["model", "components", "epochs", "rows", "labels"],
)
def test_bad_input_is_refused_in_a_line(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        compare_models(**{"X": X, **given})


def test_the_commands_write_pages_and_say_where(run: Run) -> None:
    save_pictures(Path("photos"), pictures(60))
    tiny = ["--n-components", "3", "--max-epochs", "2", "--random-state", "0"]
    assert run("train", "photos", "-o", "model", *tiny).code == 0
    told = run("report", "model", "photos", "-o", "report")
    assert told.code == 0
    assert told.out.splitlines()[-1] == str(Path("report/index.html"))
    assert Path("report/index.html").is_file()
    assert "Is model any good?" in Path("report/index.html").read_text("utf-8")
    answered = run("report", "model", "photos", "-o", "report", "--overwrite", "--json").json
    assert answered["figures"]["n_rows"] == 60
    assert answered["verdict"][0]["text"] in told.out
    refused = run("report", "model", "photos", "-o", "report")
    assert (refused.code, refused.err.count("\n")) == (5, 1)
    few = ["--models", "autoencoder,sparse", "--n-components", "3", "--max-epochs", "2"]
    compared = run("compare", "photos", "-o", "comparison", *few)
    assert compared.code == 0
    assert compared.out.splitlines()[-1] == str(Path("comparison/index.html"))
    assert compared.out.splitlines()[0].split()[:3] == ["model", "code", "error"]


def test_what_does_not_fit_the_model_is_said_in_one_line(run: Run) -> None:
    np.save("table.npy", table())
    save_pictures(Path("photos"), pictures(12))
    assert run("train", "table.npy", "-o", "model", "--max-epochs", "1").code == 0
    for told in (
        run("report", "model", "photos", "-o", "report"),
        run("report", "photos", "table.npy", "-o", "report"),
        run("compare", "photos", "-o", "comparison"),
    ):
        assert told.code in (3, 4)
        assert told.err.splitlines()[-1].startswith("narrows: error: ")
        assert "Traceback" not in told.err
    assert not Path("report").exists()
    assert not Path("comparison").exists()


def test_all_models_are_compared_unless_told() -> None:
    found = compare_models(X[:100], max_epochs=1, n_components=4)
    assert list(found.reports) == list(MODELS)
