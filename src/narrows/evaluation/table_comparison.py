"""The comparison of all models on a table with categories, dates and gaps.

The table is encoded once, and gaps are imputed once, as learned from the training rows; all models
learn from the same encoded rows.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.data.column_encoder import ColumnEncoder
from narrows.data.columns import USED
from narrows.data.frames import read_frame
from narrows.data.principal import fit_pca
from narrows.evaluation.comparison import (
    Comparison,
    build,
    check_choice,
    split_for_test,
    train_and_measure,
)
from narrows.evaluation.filling_errors import measure_filling
from narrows.evaluation.page import Part
from narrows.evaluation.report import Report, check_labels
from narrows.models.autoencoder import Autoencoder
from narrows.models.base import BaseAutoencoder
from narrows.models.filling import HIDDEN
from narrows.models.table import TableAutoencoder, errors_by_column

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The training rows among which neighbours are searched, at most.
_MOST = 2_000
_PCA = "PCA"


@dataclass(frozen=True)
class KindScores:
    """How well the columns of one kind are restored and filled, by each method.

    Attributes
    ----------
    kind : str
        See :class:`narrows.data.columns.Column`.
    columns : int
        How many there are.
    errors : dict of str to float
        By "PCA" and each model, the mean over columns of the squared error of known cells over the
        column's variance: 1 is the error of the mean. Categories count by their zeros and ones.
    filling : dict of str to float
        By "model" (which does not depend on the model that learns from filled rows), "mean or mode"
        and "5 neighbours", the mean over columns of the error of hidden cells: of numbers and dates
        the root of the mean squared error in standard deviations, of categories the share of wrong
        ones. NaN (in JSON null) where none of their cells were hidden; empty if there are no gaps.
    """

    kind: str
    columns: int
    errors: dict[str, float]
    filling: dict[str, float]


class TableComparison(Comparison):
    """The result of :func:`compare_table_models`: a :class:`Comparison`, and errors by kind.

    Attributes
    ----------
    kinds : list of KindScores
    encoding : str
        What the columns hold, and what they became.
    """

    def __init__(
        self,
        title: str,
        reports: dict[str, Report],
        seconds: dict[str, float],
        kinds: list[KindScores],
        encoding: str,
    ) -> None:
        super().__init__(title, reports, seconds)
        self.kinds, self.encoding = kinds, encoding
        self.subtitle += f" {encoding}"

    def as_json(self) -> dict[str, Any]:
        """Return all figures, the verdict and the errors by kind as values for JSON."""
        kinds = [
            {**asdict(k), "errors": _without_nan(k.errors), "filling": _without_nan(k.filling)}
            for k in self.kinds
        ]
        return {**super().as_json(), "kinds": kinds, "encoding": self.encoding}

    def _make_parts(self) -> list[Part]:
        first, *others = super()._make_parts()
        errors = self.kinds[0].errors
        restored = Part(
            "kinds",
            "Errors by kind of column",
            [
                "The squared error of known cells over the column's variance, the mean over "
                "columns: 1 is the error of the mean. Categories count by their zeros and ones."
            ],
            table=[
                ["kind", "columns", *errors],
                *([k.kind, str(k.columns), *map(_digits, k.errors.values())] for k in self.kinds),
            ],
        )
        parts = [first, restored]
        if filling := self.kinds[0].filling:
            words = (
                f"{HIDDEN:.0%} of the known cells of test rows were hidden and filled. Errors are, "
                "of numbers and dates, the root of the mean squared error in standard deviations; "
                "of categories, the share of wrong ones; the mean over columns. All models learn "
                "from rows that are filled in the same way."
            )
            lines = [[k.kind, *map(_digits, k.filling.values())] for k in self.kinds]
            parts.append(
                Part("filling", "Filling gaps", [words], table=[["kind", *filling], *lines])
            )
        return [*parts, *others]


def compare_table_models(
    X: Any,
    y: ArrayLike | None = None,
    *,
    models: Sequence[str] = (),
    n_components: int = 32,
    max_epochs: int = 10,
    title: str = "Which model for this table?",
    random_state: int = 0,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
) -> TableComparison:
    """Train PCA and models on the same encoded rows of a table, and compare them.

    As :func:`narrows.evaluation.compare_models`, for tables with categories, dates and gaps.

    Parameters
    ----------
    X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
        A table of at least 50 rows; see :class:`narrows.TableAutoencoder`.
    y, models, max_epochs, title, random_state
        As for :func:`narrows.evaluation.compare_models`.
    n_components : int, default=32
        The numbers that a code tells of a row; half of the encoded features where these are no more
        than that, as codes would hold them all.
    drop, categorical : sequence of str
        As for :class:`narrows.TableAutoencoder`.

    Returns
    -------
    TableComparison

    Raises
    ------
    ParameterError, DataError, DivergedError
        As :func:`narrows.evaluation.compare_models`, and as the fit of a ``TableAutoencoder``.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from narrows.evaluation import compare_table_models
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 3))
    >>> table = pd.DataFrame(x @ rng.normal(size=(3, 4)), columns=list("abcd"))
    >>> table["sign"] = np.where(x[:, 0] > 0, "plus", "minus")
    >>> found = compare_table_models(table, models=["autoencoder"], n_components=3, max_epochs=2)
    >>> [(kind.kind, kind.columns, list(kind.errors)) for kind in found.kinds]
    [('number', 4, ['PCA', 'autoencoder']), ('category', 1, ['PCA', 'autoencoder'])]
    """
    names = check_choice(models, n_components, max_epochs)
    frame = read_frame(X, at_least=2)
    labels = check_labels(y, len(frame))
    test, train = split_for_test(len(frame), random_state)
    linear = Autoencoder(1, hidden_layer_sizes=(), activation="identity")
    table = TableAutoencoder(linear, drop=drop, categorical=categorical, random_state=random_state)
    encoder = table.fit(frame.rows(train)).column_encoder_
    learned, rows = (table.encode_columns(frame.rows(part)) for part in (train, test))
    width, encoding = int(n_components), f"The table: {encoder.summary()}"
    if width >= encoder.n_features:
        width = max(1, encoder.n_features // 2)
        encoding += (
            f", encoded as {encoder.n_features} features, of which codes of {n_components} numbers "
            f"would hold all; they have {width}"
        )
    encoding += "."

    def make(name: str) -> BaseAutoencoder:
        model = build(name, width, int(max_epochs), random_state)
        model.scaling = "none"  # the columns are scaled already
        return model

    reports, seconds = train_and_measure(
        names,
        make,
        learned,
        rows,
        None if labels is None else labels[test],
        random_state=random_state,
        n_columns=encoder.n_features,
    )
    encoded = encoder.transform(frame.rows(test), warns=False)
    pca = fit_pca(np.asarray(learned), min(width, len(train)))
    codes = pca.transform(np.asarray(rows))
    restored: dict[str, NDArray[Any]] = {_PCA: pca.inverse_transform(codes)}
    restored |= {name: of.subject.model.reconstruct(rows) for name, of in reports.items()}
    errors = {name: errors_by_column(encoder, encoded, way) for name, way in restored.items()}
    filling = {}
    if encoder.marked:
        learned_cells = encoder.transform(frame.rows(train[:_MOST]), warns=False).features
        rng = np.random.default_rng(random_state)
        filling = measure_filling(table, encoded.features, rng, learned_cells)
    kinds = _by_kind(encoder, errors, filling)
    return TableComparison(title, reports, seconds, kinds, encoding)


def _without_nan(errors: dict[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(error) else error for name, error in errors.items()}


def _digits(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _by_kind(
    encoder: ColumnEncoder, errors: dict[str, Floats], filling: dict[str, Floats]
) -> list[KindScores]:
    """Average errors by column (C,) over the columns of each kind."""
    kinds = np.array([column.kind for column in encoder.used])

    def means(of: dict[str, Floats], chosen: Bools) -> dict[str, float]:
        known = {name: values[chosen][~np.isnan(values[chosen])] for name, values in of.items()}
        return {name: float(v.mean()) if len(v) else float("nan") for name, v in known.items()}

    return [
        KindScores(kind, int((kinds == kind).sum()), means(errors, kinds == kind),
                   means(filling, kinds == kind))
        for kind in USED
        if (kinds == kind).any()
    ]  # fmt: skip
