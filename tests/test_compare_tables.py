"""The comparison of models on tables with categories, dates and gaps.

The random seed is 20261130.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_kit import Run
from sklearn.decomposition import PCA

from narrows.errors import DataError, ParameterError
from narrows.evaluation import compare_table_models

SEED = 20261130
N = 200


def table() -> pd.DataFrame:
    """Return a table of numbers on two axes, a category and a column of noise, with gaps."""
    rng = np.random.default_rng(SEED)
    axes = rng.normal(size=(N, 2)) @ rng.normal(size=(2, 4))
    full = pd.DataFrame(axes + 0.1 * rng.normal(size=(N, 4)), columns=list("abcd"))
    full["sign"] = np.where(full["a"] > 0, "plus", "minus")
    full["noise"] = rng.normal(size=N)
    return full.mask(rng.random(full.shape) < 0.1)


def test_errors_by_kind_are_those_of_pca_and_of_filling():
    """Without gaps and categories, PCA's error is that of scikit-learn on standardised columns."""
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(N, 3)) @ rng.normal(size=(3, 6)) + 0.3 * rng.normal(size=(N, 6))
    frame = pd.DataFrame(X, columns=list("abcdef"))
    found = compare_table_models(
        frame, models=["autoencoder"], n_components=2, max_epochs=1, random_state=SEED
    )
    order = np.random.default_rng(SEED).permutation(N)
    test, train = X[np.sort(order[:40])], X[np.sort(order[40:])]
    mean, scale = train.mean(axis=0), train.std(axis=0)
    pca = PCA(2).fit((train - mean) / scale)
    scaled = (test - mean) / scale
    error = np.square(pca.inverse_transform(pca.transform(scaled)) - scaled).mean()
    (kind,) = found.kinds
    assert (kind.kind, kind.columns, kind.filling) == ("number", 6, {})
    assert kind.errors["PCA"] == pytest.approx(error)
    assert found.reports["autoencoder"].figures.headline.pca == pytest.approx(error, rel=1e-3)


def test_filling_stands_beside_the_mode_and_neighbours():
    found = compare_table_models(
        table(), models=["autoencoder"], n_components=2, max_epochs=2, random_state=SEED
    )
    kinds = {kind.kind: kind for kind in found.kinds}
    assert {name: kind.columns for name, kind in kinds.items()} == {"number": 5, "category": 1}
    for kind in kinds.values():
        assert list(kind.errors) == ["PCA", "autoencoder"]
        filling = kind.filling
        assert list(filling) == ["model", "mean or mode", "5 neighbours"]
        assert filling["model"] < 0.8 * filling["mean or mode"]
        assert filling["model"] <= 1.02 * filling["5 neighbours"]
    titles = [part.title for part in found.parts]
    assert titles[:3] == ["Side by side", "Errors by kind of column", "Filling gaps"]
    assert json.loads(json.dumps(found.as_json()))["kinds"][0]["columns"] == 5
    assert "codes of 2 numbers" in found.subtitle


def test_codes_are_narrower_than_the_table():
    found = compare_table_models(table(), models=["sparse"], max_epochs=1, random_state=0)
    assert "6 features, of which codes of 32 numbers would hold all; they have 3" in found.encoding
    assert found.table[1][:2] == ["PCA", "3"]


def test_kinds_without_hidden_cells_have_no_error_of_filling(tmp_path: Path):
    rows = table()
    rows["yes"] = None
    rows.loc[100:103, "yes"] = ["yes", "no"] * 2  # the test rows hide none of these cells
    found = compare_table_models(rows, models=["sparse"], max_epochs=1, random_state=0)
    found.save(tmp_path / "page")
    (figures,) = (tmp_path / "page").glob("*.json")
    kinds = {one["kind"]: one for one in json.loads(figures.read_text("utf-8"))["kinds"]}
    nothing = {"model": None, "mean or mode": None, "5 neighbours": None}
    assert kinds["yes/no"]["filling"] == nothing
    assert all(error >= 0 for error in kinds["number"]["filling"].values())
    part = next(part for part in found.parts if part.title == "Filling gaps")
    assert ["yes/no", "-", "-", "-"] in part.table


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match="49 rows are too few"):
        compare_table_models(table()[:49])
    with pytest.raises(ParameterError, match="models='pca' is not known"):
        compare_table_models(table(), models=["pca"])
    with pytest.raises(ParameterError, match="drop names 'nothing'"):
        compare_table_models(table(), models=["sparse"], drop=["nothing"])


def test_the_command_line_compares_tables(run: Run):
    table().to_csv("data.csv", index=False)
    options = ["--models", "autoencoder", "--n-components", "2", "--max-epochs", "1"]
    answer = run("compare", "data.csv", "-o", "page", *options, "--json").json
    expected = compare_table_models(
        "data.csv", models=["autoencoder"], n_components=2, max_epochs=1, random_state=0
    )
    assert answer["kinds"] == expected.as_json()["kinds"]
    page = Path("page/index.html").read_text("utf-8")
    assert "Errors by kind of column" in page
    assert "Filling gaps" in page
    options += ["--drop", "noise", "--overwrite", "--json"]
    fewer = run("compare", "data.csv", "-o", "page", *options).json
    assert "6 columns: 4 numbers, 1 category; 5 with gaps; 1 left out" in fewer["encoding"]
