"""Retrieval scores of latent codes (embeddings), of PCA's codes and of raw pixels.

Each row is the query in turn, and all others are ranked by their distance from it. With R the rows
that are relevant to the query and r_i = 1 if the i-th result is one of them, otherwise 0 (Manning,
Raghavan & Schütze 2008, Introduction to Information Retrieval, section 8.4)::

    precision@k       = (r_1 + ... + r_k) / k
    recall@k          = (r_1 + ... + r_k) / |R|
    average precision = sum over i of r_i precision@i, / |R|

Each is the mean over the queries with at least one relevant row. Rows at the same distance have no
order: each figure is its expected value over all orders of them (McSherry & Najork 2008, "Computing
information retrieval performance measures efficiently in the presence of tied scores", ECIR).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from narrows.data.principal import fit_pca
from narrows.errors import DataError, ParameterError
from narrows.evaluation.row_errors import choose_unit, find_columns
from narrows.models.base import BaseAutoencoder
from narrows.models.encoder_decoder import Encoder
from narrows.models.validation import check_rows

_Kind = TypeVar("_Kind", bound=np.generic)
_OfRows: TypeAlias = Callable[[NDArray[np.int64]], NDArray[_Kind]]

_METRICS = ("euclidean", "cosine")
_NUMBERS = 2**22  # distances in memory at once
# Distances are tied where they differ by rounding error: this many units in the last place of the
# numbers that they are differences of.
_TIE = 64 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class MatchingScores:
    """The scores of one method, each from 0 to 1; higher is better.

    Attributes
    ----------
    method : str
        "raw pixels", "PCA", or the model's class.
    n_components : int
        The width of the compared vectors.
    n_queries : int
        The number of rows with at least one relevant row.
    precision, recall : dict of int to float
        Mean precision@k and recall@k, for each k.
    mean_average_precision : float
        The mean average precision, over the complete ranking.
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
    """Score the ranking of all other rows by their distance from each row.

    Parameters
    ----------
    codes : array-like of shape (n, K)
        The vectors that are compared.
    labels : array-like of shape (n,), optional
        Labels; rows of the same label are relevant to each other.
    pairs : array-like of int and shape (p, 2), optional
        Instead of labels: pairs of rows that are relevant to each other, by their numbers from 0.
    k : sequence of int, default=(1, 5, 10)
        How many of the first results count. Of fewer other rows than k all count, and precision
        still divides by k.
    metric : {"euclidean", "cosine"}, default="euclidean"
        The distance. Rows at the same distance, as equal rows are, count in any order.
    method : str, default="codes"
        The name of the method in the result.

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
    relevant_to, counts = _relevance(n, labels, pairs)
    queries = np.flatnonzero(counts)
    if not len(queries):
        raise DataError("no two rows belong together; give labels that repeat, or pairs")
    hits = dict.fromkeys(k, 0.0)
    recalled = dict.fromkeys(k, 0.0)
    total = 0.0
    distances_from, rounding = _distances(table, metric)
    for part in np.array_split(queries, -(-len(queries) * n // _NUMBERS)):
        distances = distances_from(part)
        distances[np.arange(len(part)), part] = np.inf  # the query comes last, and is left out
        order = np.argsort(distances, axis=1)[:, :-1]
        relevant = np.take_along_axis(relevant_to(part), order, axis=1)
        gaps = np.diff(np.take_along_axis(distances, order, axis=1), axis=1)
        running, precision = _expected(relevant, gaps > rounding)
        total += float((precision / counts[part]).sum())
        for value in k:
            first = running[:, min(value, n - 1) - 1]
            hits[value] += float(first.sum() / value)
            recalled[value] += float((first / counts[part]).sum())
    size = len(queries)
    return MatchingScores(
        method,
        table.shape[1],
        size,
        {value: sum_ / size for value, sum_ in hits.items()},
        {value: sum_ / size for value, sum_ in recalled.items()},
        total / size,
    )


def _distances(table: NDArray[np.float64], metric: str) -> tuple[_OfRows[np.float64], float]:
    """Return a function from rows to their distances to all, (Q, n), and the rounding error."""
    if metric == "cosine":
        return lambda rows: cosine_distances(table[rows], table), _TIE
    # The squares of a large common mean would take the digits of the differences.
    centred = table - table.mean(axis=0)
    rounding = _TIE * float(np.square(centred).sum(axis=1).max(initial=0.0))
    return lambda rows: euclidean_distances(centred[rows], centred, squared=True), rounding


def _expected(
    is_relevant: NDArray[np.bool_], farther: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the expectations over all orders of rows at the same distance.

    Parameters
    ----------
    is_relevant : ndarray of bool and shape (Q, m)
        Whether each of the rows, the nearest first, is relevant to its query.
    farther : ndarray of bool and shape (Q, m - 1)
        Whether each but the first is farther than the one before it.

    Returns
    -------
    running : ndarray of shape (Q, m)
        The expected number of relevant rows among the first 1, 2, ..., m.
    precision : ndarray of shape (Q,)
        The expected sum of the precisions at the relevant rows.
    """
    places = np.arange(is_relevant.shape[1])
    edges = np.ones((len(is_relevant), 1), bool)
    first = np.hstack([edges, farther])
    start = np.maximum.accumulate(np.where(first, places, 0), axis=1)
    last = np.hstack([farther, edges])
    end = np.where(last, places, places[-1])
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1] + 1
    sums = np.hstack([np.zeros((len(is_relevant), 1)), is_relevant.cumsum(axis=1)])
    before = np.take_along_axis(sums, start, axis=1)
    tied, relevant = end - start, np.take_along_axis(sums, end, axis=1) - before
    rank = places - start  # within the tie, from 0
    running = before + relevant / tied * (rank + 1)
    # Given that this row is relevant, the probability that one before it in the tie is as well.
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
    metric: str | None = None,
) -> list[MatchingScores]:
    """Score a model's codes, PCA's of the same width, and the raw rows, on the same data.

    Parameters
    ----------
    model : BaseAutoencoder or Encoder
        A fitted model.
    X : ndarray of shape (n, *sample_shape)
        Rows in the units of the model's training data. PCA is fitted on these very rows, which
        favours it. Columns of different units are divided by their standard deviations for both.
    labels, pairs, k
        The same as for :func:`score_ranking`.
    metric : {"euclidean", "cosine"}, default=None
        The distance, of all that are compared; by default that of the model, ``spec_.metric``.

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
    metric = model.spec_.metric if metric is None else metric
    width = codes.shape[1]
    rows = check_rows(model, X)
    unit = choose_unit(rows, find_columns(model, rows))
    flat = rows.reshape(len(codes), -1)
    raw, name = flat.astype(np.float64), "raw pixels"
    if unit.scale is not None:
        raw, name = (raw - raw.mean(axis=0)) / unit.scale, "standardised columns"
    methods: list[tuple[str, NDArray[Any]]] = [(name, raw)]
    if width <= min(raw.shape):
        methods.append(("PCA", fit_pca(flat, width, scale=unit.scale).transform(flat)))
    methods.append((type(model).__name__, codes))
    return [
        score_ranking(values, labels, pairs=pairs, k=k, metric=metric, method=method)
        for method, values in methods
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


def _relevance(
    n: int, labels: ArrayLike | None, pairs: ArrayLike | None
) -> tuple[_OfRows[np.bool_], NDArray[np.int64]]:
    """Return a function from some rows to a mask of those relevant to them, and their numbers.

    The mask is of shape (Q, n); its values in a row's own column have no meaning. The numbers are
    of shape (n,).
    """
    if (labels is None) == (pairs is None):
        raise ParameterError("give either labels or pairs, and not both")
    if labels is not None:
        _, groups = groups_of(labels, n)
        return lambda rows: groups[rows][:, None] == groups, np.bincount(groups)[groups] - 1
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
    first, second = np.concatenate([known, known[:, ::-1]]).T
    matrix = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n)).tocsr()
    counts = np.diff(matrix.indptr).astype(np.int64)
    return lambda rows: matrix[rows].toarray().astype(bool), counts


def groups_of(labels: ArrayLike, n: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Assign a number to each class that labels name.

    Returns
    -------
    classes : ndarray
        The distinct labels, in order.
    groups : ndarray of int and shape (n,)
        The index of each row's label among them.

    Raises
    ------
    DataError
        If there is not one label for each of n rows, or they cannot be put in order.
    """
    values = np.asarray(labels)
    if values.shape != (n,):
        raise DataError(f"labels have shape {values.shape}, the data {n} rows; give one for each")
    try:
        classes, groups = np.unique(values, return_inverse=True)
    except TypeError as error:
        raise DataError(
            f"labels are of several kinds ({error}); give all texts or all numbers"
        ) from error
    return classes, groups
