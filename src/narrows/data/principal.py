"""Principal component analysis in double precision, of rows that may be larger than memory.

The mean is subtracted before anything is squared, so that offsets cost no digits.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svd
from sklearn.utils.extmath import randomized_svd

from narrows.data.lazy import LazyRows

# Features, or rows if those are fewer, up to which all is exact: beyond, the axes are found by
# random projections (Halko, Martinsson & Tropp 2011) of as many rows as fit into so many values.
_EXACT, _VALUES = 4_096, 1 << 26
_ITERATIONS, _OVERSAMPLES = 7, 32
_BLOCK, _ROWS = 1 << 21, 4096  # values, and rows, that are looked at together


@dataclass(frozen=True)
class PrincipalAxes:
    """The directions along which rows vary most, as scikit-learn's full solver has them.

    Attributes
    ----------
    mean : ndarray of shape (F,), float64
    components : ndarray of shape (K, F), float64
        Orthonormal, the one of the largest variance first; the entry of the largest magnitude is
        positive in each.
    variances : ndarray of shape (K,), float64
        Along each, with the number of rows as divisor.
    total_variance : float
        Summed over all features.
    exact : bool
        Whether they come from all rows by a full decomposition.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    variances: NDArray[np.float64]
    total_variance: float
    exact: bool

    def transform(self, X: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores (n, K) of rows (n, ...)."""
        centred = X.reshape(len(X), -1).astype(np.float64) - self.mean
        scores: NDArray[np.float64] = centred @ self.components.T
        return scores

    def inverse_transform(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows (n, F) from scores of the first components, (n, up to K)."""
        rows: NDArray[np.float64] = scores @ self.components[: scores.shape[1]] + self.mean
        return rows


def fit_pca(
    X: NDArray[Any] | LazyRows,
    n_components: int,
    *,
    mean: NDArray[np.float64] | None = None,
    random_state: int = 0,
) -> PrincipalAxes:
    """Find the principal axes of rows.

    Parameters
    ----------
    X : ndarray or LazyRows of shape (n, ...)
        Finite numbers of any type.
    n_components : int
        How many axes, K; fewer where rows or features are.
    mean : ndarray of shape (F,), optional
        Of the rows, where it is known; it saves a pass over them.
    random_state : int
        Of the random projections that find them among more than 4 096 features and rows.

    Returns
    -------
    PrincipalAxes

    Examples
    --------
    >>> rows = 1e6 + np.random.default_rng(0).normal(size=(50, 2)) @ [[3, 4, 0], [0, 0, 1]]
    >>> axes = fit_pca(rows, 2)
    >>> axes.components.shape, bool(np.allclose(axes.inverse_transform(axes.transform(rows)), rows))
    ((2, 3), True)
    """
    n, width = len(X), math.prod(X.shape[1:])
    count = min(n_components, n, width)
    if mean is None:
        mean = np.zeros(width)
        for start, rows in _blocks(X):
            mean += (rows.mean(axis=0) - mean) * (len(rows) / (start + len(rows)))
    if width <= _EXACT:
        scatter = np.zeros((width, width))
        for _, rows in _blocks(X):
            centred = rows - mean
            scatter += centred.T @ centred
        values, vectors = eigh(scatter / n, subset_by_index=(width - count, width - 1))
        variances, components = values[::-1], vectors[:, ::-1].T
        return _axes(mean, components, variances, float(np.trace(scatter)) / n, exact=True)
    most = min(n, max(_VALUES // width, 2 * count))
    chosen = np.unique(np.linspace(0, n - 1, most).astype(np.int64))
    some = np.asarray(X[chosen]).reshape(len(chosen), -1).astype(np.float64) - mean
    total = float(np.square(some).sum()) / len(some)
    if len(some) <= _EXACT:
        _, roots, components = svd(some, full_matrices=False, overwrite_a=True)
        roots, components = roots[:count], components[:count]
    else:
        _, roots, components = randomized_svd(
            some,
            count,
            n_iter=_ITERATIONS,
            n_oversamples=_OVERSAMPLES,
            random_state=random_state,
        )
    exact = len(some) == n <= _EXACT
    return _axes(mean, components, roots**2 / len(some), total, exact=exact)


def _axes(
    mean: NDArray[np.float64],
    components: NDArray[np.float64],
    variances: NDArray[np.float64],
    total: float,
    *,
    exact: bool,
) -> PrincipalAxes:
    """Turn each axis so that its entry of the largest magnitude is positive."""
    largest = np.abs(components).argmax(axis=1)
    signs = np.where(components[np.arange(len(components)), largest] < 0, -1.0, 1.0)
    return PrincipalAxes(mean, components * signs[:, None], np.maximum(variances, 0), total, exact)


def _blocks(X: NDArray[Any] | LazyRows) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield rows as flat copies in double precision, some at a time, each with its first number."""
    size = min(_ROWS, max(1, _BLOCK // max(1, math.prod(X.shape[1:]))))
    for start in range(0, len(X), size):
        rows = np.asarray(X[start : start + size])
        # In one order, whatever the rows came in: sums then round alike.
        yield start, rows.reshape(len(rows), -1).astype(np.float64, order="C")
