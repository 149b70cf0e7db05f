"""Principal component analysis in double precision: the yardstick wherever one is needed.

The mean is subtracted in double precision before any product is formed, so that digits survive
an offset that is large beside the spread. (The covariance solver of scikit-learn 1.9 subtracts the
squared mean from the sum of squares, in the precision of the rows; its ``transform`` subtracts the
projected mean from the projected rows.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh, qr, svd
from scipy.linalg.blas import dsymv, dsyrk
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.utils.extmath import svd_flip

from narrows.errors import ParameterError
from narrows.evaluation.given import flat_rows

# Multiplications up to which the rows are decomposed themselves, which loses the fewest digits.
_BY_SVD = 2**28
# The side of the largest matrix that is decomposed: 800 MB.
_LARGEST = 10_000
# Share of all eigenvectors up to which the Lanczos method finds them sooner than a full
# decomposition, and the side below which that makes no difference.
_FEW, _SMALL = 0.1, 500
# Values in double precision that are held at once: 32 MB.
_VALUES = 2**22

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class PrincipalComponents:
    """What :func:`fit_pca` learned, under scikit-learn's names.

    Attributes
    ----------
    mean_ : ndarray of shape (F,)
        Of the rows, in their own units.
    scale_ : ndarray of shape (F,)
        What each column is divided by after the mean is subtracted; ones unless given.
    components_ : ndarray of shape (n_components, F)
        Orthonormal directions of the scaled columns, by descending variance.
    explained_variance_ : ndarray of shape (n_components,)
        Variance of the scaled rows along each, with n - 1 degrees of freedom.
    """

    mean_: Rows
    scale_: Rows
    components_: Rows
    explained_variance_: Rows

    @property
    def n_components_(self) -> int:
        """How many components there are."""
        return len(self.components_)

    def transform(self, X: Any) -> Rows:
        """Project rows onto the components.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Rows of F values each, of any shape.

        Returns
        -------
        ndarray of shape (n, n_components)
        """
        flat = flat_rows(X)
        scores = np.empty((len(flat), self.n_components_))
        for block in _blocks(flat):
            scores[block] = self.center(flat[block]) @ self.components_.T
        return scores

    def inverse_transform(self, Z: ArrayLike) -> Rows:
        """Return the rows that scores stand for.

        Parameters
        ----------
        Z : array-like of shape (n, k)
            Scores along the first k components, k at most ``n_components``.

        Returns
        -------
        ndarray of shape (n, F)
            In the units of the rows learned from.
        """
        scores = np.asarray(Z, np.float64)
        rows: Rows = scores @ self.components_[: scores.shape[1]] * self.scale_ + self.mean_
        return rows

    def mean_squared_errors(self, X: Any, sizes: Sequence[int]) -> list[float]:
        """Return the mean squared error over all values when so many components restore rows.

        Parameters
        ----------
        X : array-like of shape (n, ...)
        sizes : sequence of int
            Ascending, from 0 to ``n_components``; with 0, the mean stands in place of each row.

        Returns
        -------
        list of float
            In the units of the rows, squared.

        Raises
        ------
        ParameterError
            If sizes are not such.
        """
        if list(sizes) != sorted(sizes) or not all(0 <= k <= self.n_components_ for k in sizes):
            raise ParameterError(
                f"sizes={list(sizes)!r} are not allowed; give ascending whole numbers from 0 to "
                f"{self.n_components_}"
            )
        flat = flat_rows(X)
        sums = np.zeros(len(sizes))
        for block in _blocks(flat):
            left = self.residuals(flat[block], sizes)
            sums += [float(np.square(rows).sum()) for rows in left]
        return [float(total) / flat.size for total in sums]

    def center(self, flat: NDArray[Any]) -> Rows:
        """Subtract the mean from rows (n, F) in double precision, and divide by the scale."""
        centred: Rows = np.subtract(flat, self.mean_, dtype=np.float64)
        centred /= self.scale_
        return centred

    def residuals(self, flat: NDArray[Any], sizes: Sequence[int]) -> Iterator[Rows]:
        """Yield what is left of rows when so many components restore them.

        Each comes from the one before by subtraction, never as a difference of sums of squares,
        so that small residuals keep their digits.

        Parameters
        ----------
        flat : ndarray of shape (n, F)
            Few enough for a copy in double precision.
        sizes : sequence of int
            Ascending, each from 0 to ``n_components``.

        Yields
        ------
        ndarray of shape (n, F)
            In the units of the rows. The next one is written over it.
        """
        left = self.center(flat)
        done = 0
        for size in sizes:
            some = self.components_[done:size]
            left -= (left @ some.T) @ some
            done = size
            yield left * self.scale_


def fit_pca(X: Any, n_components: int, *, scale: ArrayLike | None = None) -> PrincipalComponents:
    """Fit principal component analysis in double precision, whatever the type of the rows.

    Parameters
    ----------
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C)
        Rows of numbers; at least two. They are converted to double precision a block at a time.
    n_components : int
        From 1 to min(n, F).
    scale : array-like of shape (F,), optional
        Above zero: columns are divided by it. Their standard deviations give the PCA of
        standardised columns.

    Returns
    -------
    PrincipalComponents
        As scikit-learn's ``PCA(n_components, svd_solver="full")`` of the rows in double precision,
        up to rounding. Where n F min(n, F) is above 2^28, the covariance or the Gram matrix is
        decomposed in place of the rows; what n_components leave then keeps six digits as long as
        it is at least 1e-10 of the variance.

    Raises
    ------
    ParameterError
        If so many components cannot be had, or both n and F are above 10 000.
    DataError
        If the rows are no finite numbers.

    Notes
    -----
    Takes about n F min(n, F) multiplications, and the memory of a square matrix of that smaller
    side.

    Examples
    --------
    The offset takes nothing from the result:

    >>> import numpy as np
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
    compare_with_pca : A model beside PCA on test rows.
    """
    flat = flat_rows(X)
    n, width = flat.shape
    side = min(n, width)
    if not 1 <= n_components <= side:
        raise ParameterError(
            f"PCA cannot have {n_components} components on {n} rows of {width} features; give "
            f"n_components from 1 to {side}"
        )
    if side > _LARGEST:
        raise ParameterError(
            f"PCA of {n} rows of {width} features needs a matrix of {side} x {side}, and at most "
            f"{_LARGEST} x {_LARGEST} is allowed; give at most {_LARGEST} rows"
        )
    mean = flat.mean(axis=0, dtype=np.float64)
    # The sum of many large values has lost digits; what is left of the mean has not.
    rest = sum((flat[block] - mean).sum(axis=0) for block in _blocks(flat))
    mean = mean + rest / n
    scales = np.ones(width) if scale is None else np.asarray(scale, np.float64).reshape(width)
    empty = PrincipalComponents(mean, scales, np.empty((0, width)), np.empty(0))
    if n * width * side <= _BY_SVD:
        _, values, components = svd(empty.center(flat), full_matrices=False)
        components, variances = components[:n_components], values[:n_components] ** 2
    elif width <= n:
        components, variances = _by_covariance(empty, flat, n_components)
    else:
        components, variances = _by_gram(empty, flat, n_components)
    _, components = svd_flip(None, components, u_based_decision=False)
    return PrincipalComponents(mean, scales, components, variances / max(1, n - 1))


def _by_covariance(
    empty: PrincipalComponents, flat: NDArray[Any], n_components: int
) -> tuple[Rows, Rows]:
    """Decompose the matrix of all products of columns, (F, F)."""
    squares = np.zeros((flat.shape[1],) * 2, order="F")
    for block in _blocks(flat):
        rows = empty.center(flat[block])
        squares = dsyrk(1.0, rows.T, beta=1.0, c=squares, lower=1, overwrite_c=1)
    values, vectors = _largest(squares, n_components)
    return vectors.T, values


def _by_gram(
    empty: PrincipalComponents, flat: NDArray[Any], n_components: int
) -> tuple[Rows, Rows]:
    """Decompose the matrix of all products of rows, (n, n), some columns at a time."""
    n, width = flat.shape
    squares = np.zeros((n, n), order="F")
    step = max(1, _VALUES // n)
    parts = [slice(start, start + step) for start in range(0, width, step)]
    for part in parts:
        columns = np.subtract(flat[:, part], empty.mean_[part], dtype=np.float64)
        columns /= empty.scale_[part]
        squares = dsyrk(1.0, columns, beta=1.0, c=squares, lower=1, overwrite_c=1)
    values, vectors = _largest(squares, n_components)
    projected = np.zeros((width, n_components))
    for block in _blocks(flat):
        projected += empty.center(flat[block]).T @ vectors[block]
    # Columns of it are orthogonal already; those of no variance become so by this.
    orthonormal, _ = qr(projected, mode="economic", overwrite_a=True)
    return orthonormal.T, values


def _largest(squares: Rows, count: int) -> tuple[Rows, Rows]:
    """Return the largest eigenvalues of a symmetric matrix, given by its lower half, descending."""
    side = len(squares)
    if side > _SMALL and count <= _FEW * side:
        half = LinearOperator(
            (side, side), matvec=lambda x: dsymv(1.0, squares, x, lower=1), dtype=np.float64
        )
        # The start is fixed, so that the same rows have the same components.
        start = np.random.default_rng(0).normal(size=side)
        values, vectors = eigsh(half, k=count, v0=start)
    else:
        values, vectors = eigh(squares, subset_by_index=(side - count, side - 1), overwrite_a=True)
    order = np.argsort(-values)
    return np.maximum(values[order], 0), vectors[:, order]


def _blocks(flat: NDArray[Any]) -> Iterator[slice]:
    step = max(1, _VALUES // flat.shape[1])
    return (slice(start, start + step) for start in range(0, len(flat), step))
