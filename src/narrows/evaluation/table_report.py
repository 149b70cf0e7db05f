"""The report on a model of a table with categories, dates and gaps: by column, with its filling."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from narrows.data.frames import read_frame
from narrows.evaluation.filling_errors import MEAN, MODEL, NEIGHBOURS, measure_filling
from narrows.evaluation.page import Part
from narrows.evaluation.report import Report, measure
from narrows.models.filling import HIDDEN
from narrows.models.learned_rows import NEW
from narrows.models.table import TableAutoencoder, errors_by_column

# The rows of which cells are hidden: at most, since neighbours are searched among them, and the
# fewest held-out rows that are taken alone.
_MOST, _LEAST = 2_000, 30


@dataclass(frozen=True)
class ColumnScore:
    """How well one column is restored and filled.

    Attributes
    ----------
    name, kind : str
        See :class:`narrows.data.columns.Column`.
    gaps : int
        Missing values in the rows.
    error : float
        The mean over known cells of the squared error of the reconstruction, over the column's
        variance in training; NaN if no cell is known.
    filled, by_mean, by_neighbours : float
        The error of hidden cells, filled by the model, by the mean or the most frequent category,
        and by scikit-learn's ``KNNImputer``: of numbers, the root of the mean squared error in
        standard deviations; of categories, the share of wrong ones. NaN if no cell was hidden.
    """

    name: str
    kind: str
    gaps: int
    error: float
    filled: float
    by_mean: float
    by_neighbours: float


class TableReport(Report):
    """The result of :func:`make_table_report`: a :class:`Report`, and figures of each column.

    Attributes
    ----------
    columns : list of ColumnScore
    rows_filled : int
        The rows of which cells were hidden.
    is_filling_unseen : bool
        Whether the model has not learned from these rows.
    """

    columns: list[ColumnScore]
    rows_filled: int
    is_filling_unseen: bool

    def as_json(self) -> dict[str, Any]:
        """Return figures, verdict and columns as values for JSON."""
        filling = {"rows": self.rows_filled, "unseen": self.is_filling_unseen, "hidden": HIDDEN}
        columns = [
            {
                k: None if isinstance(v, float) and math.isnan(v) else v
                for k, v in asdict(column).items()
            }
            for column in self.columns
        ]
        return {**super().as_json(), "columns": columns, "filling": filling}

    def _make_parts(self) -> list[Part]:
        restored = [[c.name, c.kind, str(c.gaps), f"{c.error:.3f}"] for c in self.columns]
        filled = [
            [c.name, *(f"{v:.3f}" for v in (c.filled, c.by_mean, c.by_neighbours))]
            for c in self.columns
        ]
        words = [
            f"A fifth of the known cells of {self.rows_filled} rows were hidden and filled. Errors "
            "are, of numbers, the root of the mean squared error in standard deviations; of "
            "categories, the share of wrong ones. Beside the model stand the mean or the most "
            "frequent category, and scikit-learn's KNNImputer."
        ]
        if not self.is_filling_unseen:
            words.append(
                "The model has learned from these rows, so that its errors are smaller than on new "
                "rows; give rows that it has not learned from."
            )
        return [
            Part(
                "table",
                "Columns of the table",
                [
                    "The error is the mean over known cells of the squared error, over the "
                    "column's variance in training: 1 is that of the mean. Categories count by "
                    "their zeros and ones."
                ],
                table=[["column", "kind", "gaps", "error"], *restored],
            ),
            Part(
                "filling",
                "Filling gaps",
                words,
                table=[["column", MODEL, MEAN, NEIGHBOURS], *filled],
            ),
            *super()._make_parts(),
        ]


def make_table_report(
    model: TableAutoencoder,
    X: Any,
    y: ArrayLike | None = None,
    *,
    X_train: Any = None,
    sweep: tuple[int, ...] = (),
    max_rows: int = 10_000,
    title: str = "Is the model any good?",
    random_state: int = 0,
) -> TableReport:
    """Measure a model of a table on rows, by column, and compare how it fills gaps.

    Parameters
    ----------
    model : TableAutoencoder
        A fitted model.
    X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
        A table with the columns learned from; see :func:`narrows.evaluation.make_report`.
    y, X_train, sweep, max_rows, title, random_state
        As for :func:`narrows.evaluation.make_report`.

    Returns
    -------
    TableReport

    Raises
    ------
    NotFittedError, DataError, ParameterError
        As :func:`narrows.evaluation.make_report`.
    """
    frame = read_frame(X)
    rows = model.encode_columns(frame)
    training = None if X_train is None else model.encode_columns(X_train)
    subject = measure(
        model.model_,
        rows,
        y,
        training,
        sweep=sweep,
        max_rows=max_rows,
        random_state=random_state,
        n_columns=model.column_encoder_.n_features,
        table=frame,
    )
    report = TableReport(title, subject)
    encoder = model.column_encoder_
    encoded = encoder.transform(frame, warns=False)
    matrix = np.asarray(rows)
    memory = model.model_.learned_rows_
    is_new = np.zeros(len(matrix), np.bool_)
    if memory is not None:
        is_new = memory.membership(matrix) == NEW
    report.is_filling_unseen = int(is_new.sum()) >= _LEAST
    rng = np.random.default_rng(random_state)
    candidates = np.flatnonzero(is_new) if report.is_filling_unseen else np.arange(len(matrix))
    chosen = np.sort(rng.permutation(candidates)[:_MOST])
    report.rows_filled = len(chosen)
    filling = measure_filling(model, encoded.features[chosen], rng)
    errors = errors_by_column(encoder, encoded, model.model_.reconstruct(rows))
    report.columns = [
        ColumnScore(c.name, c.kind, int(gaps), *map(float, of_column))
        for c, gaps, *of_column in zip(
            encoder.used,
            encoded.gaps.sum(axis=0),
            errors,
            *(filling[way] for way in (MODEL, MEAN, NEIGHBOURS)),
            strict=True,
        )
    ]
    report.facts += [
        (f"filling of '{c.name}' (mean, neighbours)",
         f"{c.filled:.3g} ({c.by_mean:.3g}, {c.by_neighbours:.3g})")
        for c in report.columns if c.gaps and np.isfinite(c.filled)
    ]  # fmt: skip
    return report
