"""How often codes find what belongs together, beside PCA's codes and raw pixels.

Each row asks in turn for the nearest of all others. With R the rows that belong to the query and
r_i = 1 if the i-th found is one of them, otherwise 0 (Manning, Raghavan & Schütze 2008,
Introduction to Information Retrieval, section 8.4)::

    precision@k       = (r_1 + ... + r_k) / k
    recall@k          = (r_1 + ... + r_k) / |R|
    average precision = sum over i of r_i precision@i, / |R|

Each is the mean over the queries that have at least one row that belongs to them. Rows at the same
distance have no order: each figure is its expected value over all orders of them (McSherry & Najork
2008, "Computing information retrieval performance measures efficiently in the presence of tied
scores", ECIR).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from narrows.data.principal import fit_pca
from narrows.errors import DataError, ParameterError
from narrows.evaluation.error_units import choose_unit, find_columns
from narrows.evaluation.given import groups_of
from narrows.models.base import BaseAutoencoder
from narrows.models.halves import Encoder
from narrows.models.validation import check_rows

_METRICS = ("euclidean", "cosine")
_NUMBERS = 2**22  # distances in memory at once
# Distances are the same where they differ by less than rounding: this many units in the last place
# of what they are differences of.
_TIE = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class MatchingScores:
    """What one method reaches; every figure from 0 to 1, higher is better.

    Attributes
    ----------
    method : str
        "raw pixels", "PCA", or the model's class.
    n_components : int
        The width of what is compared.
    n_queries : int
        Rows to which at least one other belongs.
    precision, recall : dict of int to float
        Mean precision@k and recall@k, for each k.
    mean_average_precision : float
        Over the complete ranking.
    """

    method: str
    n_components: int
    n_queries: int
    precision: dict[int, float]
    recall: dict[int, float]
    mean_average_precision: float


def score_ranking(
    codes: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    pairs: ArrayLike | None = None,
    k: Sequence[int] = (1, 5, 10),
    metric: str = "euclidean",
    method: str = "codes",
) -> MatchingScores:
    """Score the order in which each row finds all others.

    Parameters
    ----------
    codes : array-like of shape (n, K)
        What is compared.
    labels : array-like of shape (n,), optional
        Rows of the same label belong together.
    pairs : array-like of int and shape (p, 2), optional
        Row numbers, counted from 0, that belong together, either way; instead of labels.
    k : sequence of int, default=(1, 5, 10)
        How many of the first found are looked at. Fewer other rows than k are all looked at, and
        precision still divides by k.
    metric : {"euclidean", "cosine"}, default="euclidean"
        The distance. Rows at the same distance, as equal rows are, count in any order.
    method : str, default="codes"
        What the result is called.

    Returns
    -------
    MatchingScores

    Raises
    ------
    ParameterError
        If k or the metric is not allowed, or not exactly one of labels and pairs is given.
    DataError
        If the codes are no table of finite numbers, labels or pairs do not fit them, or nothing
        belongs together.

    Notes
    -----
    Takes time of order n² log n; memory is bounded.

    Examples
    --------
    >>> scores = score_ranking([[0.0], [1.0], [3.0]], ["a", "b", "a"], k=(1, 2))
    >>> scores.precision, scores.recall, scores.mean_average_precision
    ({1: 0.0, 2: 0.5}, {1: 0.0, 2: 1.0}, 0.5)
    """
    if metric not in _METRICS:
        raise ParameterError(f"metric={metric!r} is not known; use one of {', '.join(_METRICS)}")
    for value in k:
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ParameterError(f"k={value!r} is not allowed; use integers of at least 1")
    table = _as_table(codes)
    n = len(table)
    belongs = _Relevance.of(n, labels, pairs)
    queries = np.flatnonzero(belongs.counts)
    if not len(queries):
        raise DataError("no two rows belong together; give labels that repeat, or pairs")
    hits = dict.fromkeys(k, 0.0)
    recalled = dict.fromkeys(k, 0.0)
    total = 0.0
    distances_of = _Distances(table, metric)
    for part in np.array_split(queries, -(-len(queries) * n // _NUMBERS)):
        distances = distances_of(part)
        distances[np.arange(len(part)), part] = np.inf  # itself comes last, and is left out
        order = np.argsort(distances, axis=1)[:, :-1]
        found = np.take_along_axis(belongs.rows(part), order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
        counts = belongs.counts[part]
        running, precision = _expected(found, np.diff(distances, axis=1) > distances_of.rounding)
        total += float((precision / counts).sum())
        for value in k:
            first = running[:, min(value, n - 1) - 1]
            hits[value] += float(first.sum() / value)
            recalled[value] += float((first / counts).sum())
    size = len(queries)
    return MatchingScores(
        method,
        table.shape[1],
        size,
        {value: sum_ / size for value, sum_ in hits.items()},
        {value: sum_ / size for value, sum_ in recalled.items()},
        total / size,
    )


class _Distances:
    """Distances of some rows of a table to all of them, and how far these are rounded."""

    def __init__(self, table: NDArray[np.float64], metric: str) -> None:
        if metric == "cosine":
            self._table, self.rounding, self._between = table, _TIE, cosine_distances
            return
        # Squares of what all rows have in common would take the digits of their differences.
        self._table = table - table.mean(axis=0)
        self.rounding = _TIE * float(np.square(self._table).sum(axis=1).max(initial=0.0))
        self._between = partial(euclidean_distances, squared=True)

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = self._between(self._table[rows], self._table)
        return distances


def _expected(
    found: NDArray[np.bool_], farther: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Work out what rankings give in the mean over all orders of rows at the same distance.

    Parameters
    ----------
    found : ndarray of bool and shape (Q, m)
        Whether each of the rows, the nearest first, belongs to its query.
    farther : ndarray of bool and shape (Q, m - 1)
        Whether each but the first is farther than the one before it.

    Returns
    -------
    running : ndarray of shape (Q, m)
        How many of the first found belong to the query, expected.
    precision : ndarray of shape (Q,)
        The sum of the precisions at those that do, expected.
    """
    places = np.arange(found.shape[1])
    edges = np.ones((len(found), 1), bool)
    first = np.hstack([edges, farther])
    start = np.maximum.accumulate(np.where(first, places, 0), axis=1)
    last = np.hstack([farther, edges])
    end = np.where(last, places, places[-1])
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1] + 1
    sums = np.hstack([np.zeros((len(found), 1)), found.cumsum(axis=1)])
    before = np.take_along_axis(sums, start, axis=1)
    tied, relevant = end - start, np.take_along_axis(sums, end, axis=1) - before
    rank = places - start  # within the tie, from 0
    running = before + relevant / tied * (rank + 1)
    # Given that this one belongs, each of those before it in the tie is one of the others.
    others = (relevant - 1) / np.maximum(tied - 1, 1)
    precision = relevant / tied * (before + 1 + rank * others) / (places + 1)
    return running, precision.sum(axis=1)


def evaluate_matching(
    model: BaseAutoencoder | Encoder,
    X: Any,
    labels: ArrayLike | None = None,
    *,
    pairs: ArrayLike | None = None,
    k: Sequence[int] = (1, 5, 10),
    metric: str = "euclidean",
) -> list[MatchingScores]:
    """Score a model's codes, PCA's of the same width, and the raw rows, on the same data.

    Parameters
    ----------
    model : BaseAutoencoder or Encoder
        Fitted.
    X : ndarray of shape (n, F), (n, H, W) or (n, H, W, C)
        In the units of the model's training data. PCA is fitted on these very rows, which
        favours it. Columns of different units are divided by their standard deviations for both.
    labels, pairs, k, metric
        As for :func:`score_ranking`.

    Returns
    -------
    list of MatchingScores
        The raw rows' ("raw pixels", or "standardised columns"), PCA's (unless there are fewer rows
        or features than the codes are wide), the model's.

    Raises
    ------
    ParameterError, DataError
        As :func:`score_ranking`, and if X does not fit the model.

    Examples
    --------
    >>> from narrows import Autoencoder, datasets
    >>> X_train, _, X_test, y_test = datasets.load("digits")
    >>> model = Autoencoder(8, max_epochs=2, random_state=0).fit(X_train)
    >>> [scores.method for scores in evaluate_matching(model, X_test, y_test)]
    ['raw pixels', 'PCA', 'Autoencoder']
    """
    codes = model.transform(X)
    width = codes.shape[1]
    rows = check_rows(model, X)
    unit = choose_unit(rows, find_columns(model, rows))
    flat = rows.reshape(len(codes), -1)
    raw, name, scale = flat.astype(np.float64), "raw pixels", None
    if unit.kind == "variance":
        scale = np.sqrt(
            np.divide(1, unit.weights, where=unit.weights > 0, out=np.ones(raw.shape[1]))
        )
        raw, name = (raw - raw.mean(axis=0)) / scale, "standardised columns"
    candidates: list[tuple[str, NDArray[Any]]] = [(name, raw)]
    if width <= min(raw.shape):
        candidates.append(("PCA", fit_pca(flat, width, scale=scale).transform(flat)))
    candidates.append((type(model).__name__, codes))
    return [
        score_ranking(values, labels, pairs=pairs, k=k, metric=metric, method=method)
        for method, values in candidates
    ]


def _as_table(codes: ArrayLike) -> NDArray[np.float64]:
    try:
        table = np.asarray(codes, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"codes are no table of numbers ({error}); give an array") from error
    if table.ndim != 2 or not table.shape[1] or not np.isfinite(table).all():
        raise DataError(
            f"codes of shape {table.shape} are no table of finite numbers; give one row a code"
        )
    return table


@dataclass(frozen=True)
class _Relevance:
    """Which rows belong together: by their groups' numbers, or by a symmetric matrix."""

    groups: NDArray[np.int64] | None
    matrix: Any
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, n: int, labels: ArrayLike | None, pairs: ArrayLike | None) -> "_Relevance":
        if (labels is None) == (pairs is None):
            raise ParameterError("give either labels or pairs, and not both")
        if labels is not None:
            _, groups = groups_of(labels, n)
            return cls(groups, None, np.bincount(groups)[groups] - 1)
        known = np.asarray(pairs)
        if known.ndim != 2 or known.shape[1] != 2 or known.dtype.kind not in "iu":
            raise DataError(
                f"pairs have shape {known.shape} and type {known.dtype}; give two row numbers each"
            )
        if len(known) and (known.min() < 0 or known.max() >= n):
            raise DataError(
                f"pairs name rows from {known.min()} to {known.max()}, counted from 0, of {n}; "
                "name rows that are there"
            )
        known = known[known[:, 0] != known[:, 1]]
        one, other = np.concatenate([known, known[:, ::-1]]).T
        matrix = coo_array((np.ones(len(one), bool), (one, other)), shape=(n, n)).tocsr()
        return cls(None, matrix, np.diff(matrix.indptr).astype(np.int64))

    def rows(self, queries: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return what belongs to some rows, (Q, n); a row's own column is of no account."""
        relevant: NDArray[np.bool_]
        if self.groups is not None:
            relevant = self.groups[queries][:, None] == self.groups
        else:
            relevant = self.matrix[queries].toarray().astype(bool)
        return relevant
