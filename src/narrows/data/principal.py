"""Principal component analysis in double precision, of rows that may be larger than memory.

Models are initialised by it, and compared with it. The
mean is subtracted in double precision before any product is formed, so that digits survive an
offset that is large beside the spread. (The covariance solver of scikit-learn 1.9 subtracts the
squared mean from the sum of squares, in the precision of the rows; its ``transform`` subtracts the
projected mean from the projected rows.)
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh, qr, svd
from scipy.linalg.blas import dsymv, dsyrk
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import randomized_svd

from narrows.data.arrays import as_array_like, check_finite
from narrows.data.batches import check_weights, evenly_spread
from narrows.data.formats import is_numeric
from narrows.data.lazy_rows import LazyRows
from narrows.errors import DataError, DataTypeError, ParameterError

Rows = NDArray[np.float64]

# Multiplications up to which the rows themselves are decomposed, which is the most accurate.
_BY_SVD = 2**28
# Features up to which the covariance of any number of rows is decomposed; rows up to which that of
# more features is, or else the Gram matrix of at most so many values.
_FEATURES, _ROWS, _WHOLE = 4_096, 10_000, 2**28
# Beyond, the axes are found by random projections (Halko, Martinsson & Tropp 2011) of as many rows
# as fit into so many values.
_SAMPLED, _ITERATIONS, _OVERSAMPLES = 2**26, 7, 32
# Share of all eigenvectors up to which the Lanczos method finds them sooner than a full
# decomposition, and the side below which that makes no difference.
_FEW, _SMALL = 0.1, 500
_BLOCK, _MOST_ROWS = 2**21, 4_096  # values in double precision, and rows, that are held at once


@dataclass(frozen=True)
class PrincipalAxes:
    """The directions along which rows vary most, as scikit-learn's full solver has them.

    Attributes
    ----------
    mean : ndarray of shape (F,), float64
        Mean of the rows.
    scale : ndarray of shape (F,), float64
        Divisors of the centred columns; ones by default.
    components : ndarray of shape (K, F), float64
        Orthonormal axes of the scaled columns by descending variance; the entry of the largest
        magnitude is positive in each.
    variances : ndarray of shape (K,), float64
        Variances along the axes, with the number of rows as divisor.
    total_variance : float
        Sum of the variances of all scaled columns.
    exact : bool
        Whether the axes come from all rows by a full decomposition.
    """

    mean: Rows
    scale: Rows
    components: Rows
    variances: Rows
    total_variance: float
    exact: bool

    def transform(self, X: Any) -> Rows:
        """Return the scores (n, K) of rows (n, ...)."""
        rows = X if isinstance(X, LazyRows) else as_finite_rows(X)
        scores = np.empty((len(rows), len(self.components)))
        for start, block in _blocks(rows):
            scores[start : start + len(block)] = self.center(block) @ self.components.T
        return scores

    def inverse_transform(self, scores: ArrayLike) -> Rows:
        """Return rows (n, F) in their own units from scores along the first axes, (n, up to K)."""
        along = np.asarray(scores, np.float64)
        rows: Rows = along @ self.components[: along.shape[1]] * self.scale + self.mean
        return rows

    def mean_squared_errors(self, X: Any, sizes: Sequence[int]) -> list[float]:
        """Return the mean squared errors of rows that are restored from the first axes.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape)
            Rows like those that the axes were fitted to.
        sizes : sequence of int
            Numbers of axes, ascending, from 0 to K; with 0, each row is restored as the mean.

        Returns
        -------
        list of float
            In the units of the rows, squared.

        Raises
        ------
        ParameterError
            If sizes are not ascending, or out of range.
        """
        most = len(self.components)
        if list(sizes) != sorted(sizes) or not all(0 <= size <= most for size in sizes):
            raise ParameterError(
                f"sizes={list(sizes)!r} are not allowed; give ascending whole numbers from 0 to "
                f"{most}",
                parameter="sizes",
            )
        rows = X if isinstance(X, LazyRows) else as_finite_rows(X)
        sums = np.zeros(len(sizes))
        for _, block in _blocks(rows):
            sums += [float(np.square(left).sum()) for left in self.residuals(block, sizes)]
        return [float(total) / math.prod(rows.shape) for total in sums]

    def residuals(self, flat: NDArray[Any], sizes: Sequence[int]) -> Iterator[Rows]:
        """Yield the residuals of rows that are restored from the first axes.

        Each is subtracted from the one before, not computed from sums of squares, so that small
        residuals are accurate.

        Parameters
        ----------
        flat : ndarray of shape (n, F)
            Rows, few enough for a copy in double precision.
        sizes : sequence of int
            Numbers of axes, ascending, from 0 to K.

        Yields
        ------
        ndarray of shape (n, F)
            In the units of the rows.
        """
        left = self.center(flat)
        done = 0
        for size in sizes:
            some = self.components[done:size]
            left -= (left @ some.T) @ some
            done = size
            yield left * self.scale

    def center(self, flat: NDArray[Any]) -> Rows:
        """Subtract the mean from rows (n, F) in double precision, and divide by the scale."""
        centred: Rows = np.subtract(flat, self.mean, dtype=np.float64)
        centred /= self.scale
        return centred


def fit_pca(
    X: Any,
    n_components: int,
    *,
    mean: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    random_state: int = 0,
) -> PrincipalAxes:
    """Fit principal component analysis in double precision, whatever the type of the rows.

    Parameters
    ----------
    X : array-like or LazyRows of shape (n, *sample_shape)
        Rows of F finite numbers each, such as tables (n, F) or pictures (n, H, W, C). They are
        converted to double precision some at a time.
    n_components : int
        Number of axes, K, from 1 to min(n, F).
    mean : array-like of shape (F,), optional
        Mean of the rows, if it is known, which saves a pass over them.
    scale : array-like of shape (F,), optional
        Divisors of columns, above zero. Standard deviations give the PCA of standardised columns.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows, at least 0; a row of weight 2 counts as two rows of weight 1.
    random_state : int
        Random seed of the projections.

    Returns
    -------
    PrincipalAxes
        The axes of scikit-learn's ``PCA(n_components, svd_solver="full")`` of the rows in double
        precision, up to rounding, where F is at most 4 096 or n at most 10 000. Where n F min(n, F)
        is above 2^28, or more than 4 096 rows are lazy, the covariance or the matrix of the rows'
        products is decomposed in place of the rows: what the axes leave of rows then keeps six
        digits as long as it is at least 1e-10 of the variance. Of more rows and more features the
        axes are approximate, and ``exact`` is false.

    Raises
    ------
    ParameterError
        If ``n_components`` is out of range.
    DataError
        If the rows are no finite numbers, or there is not one weight for each.

    Notes
    -----
    Takes about n F min(n, F) multiplications, and beside ``X`` and the axes this memory: where the
    rows themselves are decomposed, a centred copy and the left singular vectors, at most 2 GiB
    each; otherwise a square matrix of the side min(n, F), at most 800 MB, and as much again for its
    eigenvectors; where that is the matrix of products of rows, also all of these in their own type
    if they are lazy: at most 2^28 values, 2 GiB in double precision. Random projections take a copy
    of 2^26 values (512 MiB), or of 2 K rows where these have more, and its factors.

    Examples
    --------
    An offset does not change the result:

    >>> import numpy as np
    >>> from narrows.evaluation import fit_pca
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 10)) + 0.1 * rng.normal(size=(300, 10))
    >>> for offset in (0, 1e6):
    ...     pca = fit_pca(X + offset, 2)
    ...     left = pca.inverse_transform(pca.transform(X + offset)) - (X + offset)
    ...     print(f"{(left ** 2).mean():.6f}")
    0.007947
    0.007947

    See Also
    --------
    narrows.evaluation.compare_with_pca : A model beside PCA on test rows.
    """
    rows = X if isinstance(X, LazyRows) else as_finite_rows(X)
    n, width = len(rows), math.prod(rows.shape[1:])
    side = min(n, width)
    if not 1 <= n_components <= side:
        raise ParameterError(
            f"PCA cannot have {n_components} components on {n} rows of {width} features; give "
            f"n_components from 1 to {side}"
        )
    scales = np.ones(width) if scale is None else np.asarray(scale, np.float64).reshape(width)
    weights = check_weights(sample_weight, n)
    shares = np.ones(n) if weights is None else weights / weights.mean()
    if mean is None:
        center = _mean(rows, width, shares)
    else:
        center = np.asarray(mean, np.float64).reshape(width)
    factors = None if weights is None else np.sqrt(shares)[:, None]
    axes = PrincipalAxes(center, scales, np.empty((0, width)), np.empty(0), 0.0, exact=True)
    held_at_once = n <= _MOST_ROWS or not isinstance(rows, LazyRows)
    if n * width * side <= _BY_SVD and held_at_once:
        axes = _by_rows(axes, rows, n_components, factors)
    elif width <= _FEATURES or width <= n <= _ROWS:
        axes = _by_covariance(axes, rows, n_components, factors)
    elif n <= _ROWS and n * width <= _WHOLE:
        axes = _by_products(axes, rows, n_components, factors)
    else:
        axes = _by_projections(axes, rows, n_components, factors, random_state)
    # Each axis is turned so that its entry of the largest magnitude is positive.
    largest = np.abs(axes.components).argmax(axis=1)
    signs = np.where(axes.components[np.arange(n_components), largest] < 0, -1.0, 1.0)
    return replace(
        axes,
        components=axes.components * signs[:, None],
        variances=np.maximum(axes.variances, 0.0),
    )


def _by_rows(axes: PrincipalAxes, rows: Any, count: int, factors: Rows | None) -> PrincipalAxes:
    """Decompose the rows themselves."""
    n = len(rows)
    centred = axes.center(np.asarray(rows[:n]).reshape(n, -1))
    if factors is not None:
        centred *= factors
    total = float(np.square(centred).sum()) / n
    _, roots, components = svd(centred, full_matrices=False, overwrite_a=True)
    variances = roots[:count] ** 2 / n
    return replace(axes, components=components[:count], variances=variances, total_variance=total)


def _by_covariance(
    axes: PrincipalAxes, rows: Any, count: int, factors: Rows | None
) -> PrincipalAxes:
    """Decompose the covariance matrix of the columns, (F, F)."""
    squares = np.zeros((len(axes.mean),) * 2, order="F")
    for start, block in _blocks(rows):
        centred = axes.center(block)
        if factors is not None:
            centred *= factors[start : start + len(block)]
        squares = dsyrk(1.0, centred.T, beta=1.0, c=squares, lower=1, overwrite_c=1)
    total = float(np.trace(squares)) / len(rows)
    values, vectors = _largest(squares, count)
    return replace(axes, components=vectors.T, variances=values / len(rows), total_variance=total)


def _by_products(axes: PrincipalAxes, rows: Any, count: int, factors: Rows | None) -> PrincipalAxes:
    """Decompose the Gram matrix of the rows, (n, n), built from some columns at a time."""
    n = len(rows)
    flat = np.asarray(rows[:n]).reshape(n, -1)
    squares = np.zeros((n, n), order="F")
    step = max(1, _BLOCK // n)
    for start in range(0, flat.shape[1], step):
        part = slice(start, start + step)
        centred = np.subtract(flat[:, part], axes.mean[part], dtype=np.float64)
        centred /= axes.scale[part]
        if factors is not None:
            centred *= factors
        squares = dsyrk(1.0, centred, beta=1.0, c=squares, lower=1, overwrite_c=1)
    total = float(np.trace(squares)) / n
    values, vectors = _largest(squares, count)
    along = vectors if factors is None else factors * vectors
    projected = np.zeros((flat.shape[1], count))
    for start, block in _blocks(flat):
        projected += axes.center(block).T @ along[start : start + len(block)]
    # This makes columns without variance orthogonal as well.
    orthonormal, _ = qr(projected, mode="economic", overwrite_a=True)
    return replace(axes, components=orthonormal.T, variances=values / n, total_variance=total)


def _by_projections(
    axes: PrincipalAxes, rows: Any, count: int, factors: Rows | None, random_state: int
) -> PrincipalAxes:
    """Find the axes of a sample of rows by random projections."""
    chosen = evenly_spread(len(rows), max(_SAMPLED // len(axes.mean), 2 * count))
    some = axes.center(np.asarray(rows[chosen]).reshape(len(chosen), -1))
    if factors is not None:
        some *= factors[chosen] / np.sqrt(np.square(factors[chosen]).mean())
    total = float(np.square(some).sum()) / len(some)
    _, roots, components = randomized_svd(
        some, count, n_iter=_ITERATIONS, n_oversamples=_OVERSAMPLES, random_state=random_state
    )
    return replace(
        axes,
        components=components,
        variances=roots**2 / len(some),
        total_variance=total,
        exact=False,
    )


def _largest(squares: Rows, count: int) -> tuple[Rows, Rows]:
    """Return the largest eigenvalues of a symmetric matrix, given by its lower half, descending."""
    side = len(squares)
    if side > _SMALL and count <= _FEW * side:
        half = LinearOperator(
            (side, side), matvec=lambda x: dsymv(1.0, squares, x, lower=1), dtype=np.float64
        )
        # With a fixed start, the same rows have the same components.
        start = np.random.default_rng(0).normal(size=side)
        values, vectors = eigsh(half, k=count, v0=start)
    else:
        values, vectors = eigh(squares, subset_by_index=(side - count, side - 1), overwrite_a=True)
    order = np.argsort(-values)
    return values[order], vectors[:, order]


def as_finite_rows(X: Any, name: str = "X") -> NDArray[Any]:
    """Return rows in memory as an array; raise a DataError if they are not finite numbers."""
    rows: NDArray[Any] = np.asarray(as_array_like(X))
    if not is_numeric(rows.dtype):
        raise DataTypeError(f"{name} holds values of type {rows.dtype}; only numbers are allowed")
    if rows.ndim < 2 or not rows.size:
        raise DataError(
            f"{name} has shape {rows.shape}; give rows of shape (n, F), (n, H, W) or (n, H, W, C)"
        )
    check_finite(rows, name)
    return rows


def _mean(rows: NDArray[Any] | LazyRows, width: int, shares: Rows) -> Rows:
    """Return the mean of rows, summed relative to the first row for accuracy."""
    first = np.asarray(rows[:1]).reshape(width).astype(np.float64)
    total = np.zeros(width)
    for start, block in _blocks(rows):
        total += shares[start : start + len(block)] @ np.subtract(block, first, dtype=np.float64)
    mean: Rows = first + total / len(rows)
    return mean


def _blocks(rows: NDArray[Any] | LazyRows) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield blocks of flattened rows, each with the number of its first row."""
    size = min(_MOST_ROWS, max(1, _BLOCK // max(1, math.prod(rows.shape[1:]))))
    for start in range(0, len(rows), size):
        # One memory order, so that sums round alike.
        block = np.ascontiguousarray(rows[start : start + size])
        yield start, block.reshape(len(block), -1)
