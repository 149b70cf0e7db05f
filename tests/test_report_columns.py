"""Reports on tables: columns of different units, their scaling, and rows far from zero.

The truth is scikit-learn's, in double precision; every random seed is 0.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cli_kit import Run
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from narrows import Autoencoder, datasets
from narrows.errors import DataError, NarrowsWarning
from narrows.evaluation import Part, Report, compare_models, compare_with_pca, make_report
from narrows.signals import Windows

pytestmark = pytest.mark.cases

WINE = load_wine()
ORDER = np.random.default_rng(0).permutation(len(WINE.data))
TRAIN, TEST = WINE.data[ORDER[:120]], WINE.data[ORDER[120:]]


def fitted(scaling: str, rows: Any = TRAIN, size: int = 4, **parameters: Any) -> Autoencoder:
    return Autoencoder(size, scaling=scaling, max_epochs=60, random_state=0, **parameters).fit(rows)


@pytest.fixture(scope="module")
def one_scale() -> Autoencoder:
    """A plain network, which is not initialised by PCA."""
    return fitted("global", architecture="dense")


@pytest.fixture(scope="module")
def each_its_own() -> Autoencoder:
    return fitted("standard")


def part(report: Report, name: str) -> Part:
    (found,) = (part for part in report.parts if part.name == name)
    return found


def rules(report: Report) -> list[str]:
    return [finding.rule for finding in report.verdict]


def far(n: int = 3000, offset: float = 1013.0) -> NDArray[np.float64]:
    """Ten columns near a plane that is far from zero."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 10))
    return offset + 5 * (plane / 1.4 + 0.01 * rng.normal(size=(n, 10)))


def true_error(train: NDArray[Any], test: NDArray[Any], size: int) -> float:
    train, test = train.astype(np.float64), test.astype(np.float64)
    middle = train.mean(axis=0)
    pca = PCA(size, svd_solver="full").fit(train - middle)
    away = test - middle - pca.mean_
    return float(((away - away @ pca.components_.T @ pca.components_) ** 2).mean())


def test_one_number_for_all_columns_is_named_as_the_cause(one_scale: Autoencoder) -> None:
    found = make_report(one_scale, TEST)
    shares = 1 - r2_score(TEST, one_scale.reconstruct(TEST), multioutput="raw_values")
    columns = found.figures.columns
    np.testing.assert_allclose([column.model for column in columns.each], shares, rtol=1e-9)
    worse = int((shares > 1).sum())
    assert worse >= 5
    assert columns.worse_than_mean == worse
    assert columns.worst == shares.argmax()
    assert columns.scaling_is_why
    (named,) = (finding for finding in found.verdict if finding.rule == "columns")
    assert named.weight == "bad"
    assert f"{worse} of 13 columns are restored worse than by their mean" in named.text
    assert f"the worst column is 'column {shares.argmax()}'" in named.text
    assert "scaling='global' divides all columns by one number" in named.text
    assert "--scaling standard" in named.remedy
    assert not any("Train longer" in finding.remedy for finding in found.verdict[:2])
    ratio = TEST.std(axis=0).max() / TEST.std(axis=0).min()
    assert columns.spread_ratio == pytest.approx(ratio)


@pytest.mark.parametrize("scaling", ["none", "unit"])
def test_every_scaling_by_one_number_is_named(scaling: str) -> None:
    found = make_report(fitted(scaling, architecture="dense"), TEST)
    assert found.figures.columns.model_scaling == scaling
    assert any(f"scaling={scaling!r}" in finding.text for finding in found.verdict)


@pytest.mark.filterwarnings("ignore:training collapsed:UserWarning")
def test_the_scaling_is_named_where_pca_loses_by_it_as_well() -> None:
    """A network that starts at PCA restores columns of small numbers no better than their mean."""
    model = Autoencoder(4, scaling="global", random_state=0).fit(TRAIN)
    found = make_report(model, TEST, X_train=TRAIN)
    columns, shares = found.figures.columns, found.figures.shares
    assert columns.worse_than_mean <= 2
    assert found.figures.pca_same_scaling > 1.05 * shares.pca
    assert found.verdict[0].rule == "worse"
    assert found.verdict[0].remedy.startswith("The scaling of the columns is the cause")
    named = found.verdict[1]
    assert named.rule in ("columns", "scaling")
    assert "scaling='global' divides all columns by one number" in named.text
    assert f"{columns.each[columns.worst].name!r}" in named.text
    better = make_report(Autoencoder(4, scaling="standard", random_state=0).fit(TRAIN), TEST)
    assert "scaling" not in " ".join(finding.text for finding in better.verdict)


def test_a_model_that_kept_pca_says_so() -> None:
    model = Autoencoder(4, hidden_layer_sizes=(), scaling="standard", random_state=0).fit(TRAIN)
    assert model.history_.best_epoch == 0
    found = make_report(model, TEST, X_train=TRAIN)
    assert rules(found)[0] == "linear"
    assert "undertrained" not in rules(found)
    assert found.verdict[0].remedy.startswith("The model is PCA")
    assert found.figures.shares.model == pytest.approx(found.figures.shares.pca, rel=1e-4)


def test_the_headline_is_the_mean_share_of_variance_beside_pca_of_standardised_columns(
    each_its_own: Autoencoder,
) -> None:
    found = make_report(each_its_own, TEST, X_train=TRAIN)
    shares = found.figures.shares
    restored = each_its_own.reconstruct(TEST)
    assert shares.unit == "variance"
    assert shares.model == pytest.approx(1 - r2_score(TEST, restored), rel=1e-9)
    scale = each_its_own.scaling_.scale.numpy()
    pca = PCA(4, svd_solver="full").fit(TRAIN / scale)
    by_pca = pca.inverse_transform(pca.transform(TEST / scale)) * scale
    assert shares.pca == pytest.approx(1 - r2_score(TEST, by_pca), rel=1e-6)
    of_columns = 1 - r2_score(TEST, by_pca, multioutput="raw_values")
    each = found.figures.columns.each
    np.testing.assert_allclose([column.pca for column in each], of_columns, rtol=1e-6)
    assert not found.figures.columns.scaling_is_why
    assert "of the variance (mean over 13 columns)" in found.verdict[0].text
    assert "PCA's on standardised columns" in found.verdict[0].text
    assert found.figures.pca_same_scaling is None


def test_pca_has_standard_columns_where_the_model_has_not(one_scale: Autoencoder) -> None:
    found = make_report(one_scale, TEST, X_train=TRAIN)
    pipeline = make_pipeline(StandardScaler(), PCA(4, svd_solver="full")).fit(TRAIN)
    by_pca = pipeline.inverse_transform(pipeline.transform(TEST))
    assert found.figures.shares.pca == pytest.approx(1 - r2_score(TEST, by_pca), rel=1e-6)
    same = PCA(4, svd_solver="full").fit(TRAIN)
    as_scaled = same.inverse_transform(same.transform(TEST))
    assert found.figures.pca_same_scaling == pytest.approx(1 - r2_score(TEST, as_scaled), rel=1e-6)


def test_errors_in_the_data_s_units_are_there_as_well(one_scale: Autoencoder) -> None:
    errors = make_report(one_scale, TEST, X_train=TRAIN).figures.errors
    assert errors.unit == "data"
    restored = one_scale.reconstruct(TEST)
    assert errors.model == pytest.approx(((restored - TEST) ** 2).mean(), rel=1e-9)
    assert errors.pca == pytest.approx(true_error(TRAIN, TEST, 4), rel=1e-6)
    assert errors.mean_row == pytest.approx(((TRAIN.mean(axis=0) - TEST) ** 2).mean(), rel=1e-9)


def test_a_column_of_noise_is_named_and_the_scaling_is_not() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(600, 2)) @ rng.normal(size=(2, 12))
    rows = np.column_stack([plane, rng.normal(size=600)]) * 10.0 ** np.arange(-6, 7)
    table = pd.DataFrame(rows, columns=[*"abcdefghijkl", "noise"])
    model = fitted("standard", table[:400], size=2)
    found = make_report(model, table[400:])
    columns = found.figures.columns
    assert columns.each[columns.worst].name == "noise"
    assert columns.worse_than_mean == 1
    (named,) = (finding for finding in found.verdict if finding.rule == "columns")
    assert "the worst column is 'noise'" in named.text
    assert "The other columns say little of 'noise', for PCA as well" in named.remedy
    assert not any("scaling" in f.text + f.remedy for f in found.verdict)


def test_columns_that_share_a_unit_count_in_it() -> None:
    """Flattened pixels: spreads differ, but each column has black and white."""
    digits = datasets.load("digits")
    rows = digits.X_train.reshape(-1, 64).astype(float)
    model = Autoencoder(8, scaling="global", max_epochs=10, random_state=0).fit(rows)
    found = make_report(model, digits.X_test.reshape(-1, 64).astype(float))
    assert found.figures.shares is None
    assert not found.figures.columns.mixed_units
    assert found.figures.columns.constant > 0
    assert not any("scaling" in f.text + f.remedy for f in found.verdict)


def test_constant_columns_are_left_out() -> None:
    rows = np.column_stack([TRAIN, np.full(len(TRAIN), 1e9)])
    test = np.column_stack([TEST, np.full(len(TEST), 1e9)])
    model = fitted("standard", rows)
    found = make_report(model, test)
    columns = found.figures.columns
    assert columns.constant == 1
    assert columns.each[-1].model is None
    restored = model.reconstruct(test)[:, :13]
    assert found.figures.shares.model == pytest.approx(1 - r2_score(TEST, restored), rel=1e-9)
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("offset", "kind"),
    [(1013, np.float32), (5e4, np.float32), (1013, np.float64), (5e6, np.float64)],
)
def test_an_offset_does_not_make_the_model_better_than_pca(offset: float, kind: type) -> None:
    """5e6 is a million times the spread of 5."""
    rows = far(offset=offset).astype(kind)
    train, test = rows[:2000], rows[2000:]
    model = Autoencoder(2, max_epochs=30, random_state=0).fit(train)
    found = make_report(model, test, X_train=train)
    truth = true_error(train, test, 2)
    assert found.figures.origin.n_new == len(test)
    assert found.figures.errors.pca == pytest.approx(truth, rel=1e-6)
    assert found.verdict[0].rule in ("worse", "linear")
    pca, own = compare_with_pca(model, train, test)
    assert pca.reconstruction_error == pytest.approx(truth, rel=1e-6)
    assert own.reconstruction_error == pytest.approx(found.figures.errors.model, rel=1e-9)
    assert pca.reconstruction_error < own.reconstruction_error


def test_features_of_columns_of_different_units_are_standardised(
    each_its_own: Autoencoder,
) -> None:
    """In raw data units the largest column, proline, would decide the error alone."""
    found = make_report(each_its_own, TEST, WINE.target[ORDER[120:]])
    raw = found.figures.features["raw"]["5 nearest neighbours"][0]
    assert raw > 0.9


def test_the_comparison_has_shares_for_columns_of_different_units(
    each_its_own: Autoencoder,
) -> None:
    report = make_report(each_its_own, TEST, X_train=TRAIN).figures
    pca, own = compare_with_pca(each_its_own, TRAIN, TEST)
    assert pca.variance_left == pytest.approx(report.shares.pca, rel=1e-9)
    assert own.variance_left == pytest.approx(report.shares.model, rel=1e-9)
    assert pca.reconstruction_error == pytest.approx(true_error(TRAIN, TEST, 4), rel=1e-6)
    alike, _ = compare_with_pca(fitted("global", TRAIN[:, :2], size=1), TRAIN[:, :2], TEST[:, :2])
    assert alike.variance_left is None


def test_models_side_by_side_are_compared_by_shares() -> None:
    found = compare_models(WINE.data, models=["autoencoder"], n_components=4, max_epochs=2)
    shares = found.reports["autoencoder"].figures.shares
    assert (shares is None) == ("%" not in found.table[1][2])
    assert found.table[1][0] == "PCA"


def test_channels_of_a_signal_are_columns_of_it() -> None:
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(4000) / 9)
    signal = np.column_stack([1000 * wave, np.roll(wave, 3), rng.normal(size=4000)])
    windows = Windows(signal, length=16, hop=8)
    model = Autoencoder(
        4, architecture="convolutional_1d", scaling="global", max_epochs=3, random_state=0
    )
    with pytest.warns(NarrowsWarning, match="the channels differ 998 times"):
        model.fit(windows)
    found = make_report(model, windows)
    columns = found.figures.columns
    assert columns.kind == "channels"
    assert [column.name for column in columns.each] == ["channel 0", "channel 1", "channel 2"]
    rows = np.asarray(windows[: len(windows)])
    measured = found.subject.coded.X
    restored = model.reconstruct(measured)
    for number, column in enumerate(columns.each):
        away = ((restored - measured)[..., number] ** 2).mean()
        assert column.model == pytest.approx(away / measured[..., number].var(), rel=1e-6)
    assert columns.scaling_is_why
    assert rows.shape[1:] == (16, 3)


def test_columns_in_another_order_are_refused_and_names_are_kept() -> None:
    table = pd.DataFrame(TRAIN, columns=WINE.feature_names)
    test = pd.DataFrame(TEST, columns=WINE.feature_names)
    model = fitted("global", table)
    found = make_report(model, test)
    names = [column.name for column in found.figures.columns.each]
    assert names == WINE.feature_names
    assert len(found.parts) == 8  # drawn without a warning
    (outliers,) = (part for part in found.parts if part.name == "outliers")
    assert any(outliers.table[1][2].startswith(name) for name in WINE.feature_names)
    with pytest.raises(DataError, match="stands where"):
        make_report(model, test[test.columns[::-1]])
    with pytest.raises(DataError, match="stands where"):
        compare_with_pca(model, table, test[test.columns[::-1]])


def test_the_page_has_a_table_and_a_plot_of_columns(one_scale: Autoencoder) -> None:
    found = make_report(one_scale, TEST)
    shown = part(found, "columns")
    assert shown.table[0] == ["column", "model", "PCA, 4", "standard deviation"]
    errors = [found.figures.columns.each[int(row[0].split()[1])].model for row in shown.table[1:]]
    assert errors == sorted(errors, reverse=True)
    assert [picture.name for picture in shown.pictures] == ["columns"]
    assert not any(part.name in ("restored", "latent", "filters") for part in found.parts)


def test_the_command_names_the_column_and_the_option(run: Run) -> None:
    pd.DataFrame(TRAIN, columns=WINE.feature_names).to_csv("train.csv", index=False)
    pd.DataFrame(TEST, columns=WINE.feature_names).to_csv("test.csv", index=False)
    trained = ["train", "train.csv", "-o", "model", "--n-components", "4", "--max-epochs", "20"]
    assert run(*trained, "--scaling", "global", "--random-state", "0").code == 0
    told = run("report", "model", "test.csv", "-o", "report")
    assert told.code == 0, told.err
    worst = json.loads(Path("report/report.json").read_text("utf-8"))["figures"]["columns"]
    assert worst["each"][worst["worst"]]["name"] in told.out
    assert "--scaling standard" in told.out
