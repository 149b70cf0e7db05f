"""The robust Mahalanobis distance of codes, and its split between columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from narrows.models.feature_space import ROUNDING

Matrix = NDArray[np.float64]

# The share of rows that a robust covariance is estimated from, and its concentration steps.
_CENTRAL, _STEPS = 0.9, 4
# What is added to a covariance, as a share of its mean variance, so that it can be inverted.
_RIDGE = 1e-6


@dataclass(frozen=True)
class MahalanobisDistance:
    """The robust Mahalanobis distance of codes, Hotelling's T squared, for each of M members.

    Attributes
    ----------
    centres : ndarray of shape (M, K)
        Robust means of codes.
    whitenings : ndarray of shape (M, K, K)
        Matrices that make codes less their centre uncorrelated, with variance 1; zero in the
        entries that a member's code does not have.
    """

    centres: Matrix
    whitenings: Matrix

    @classmethod
    def fit(cls, codes: Matrix, unseen: NDArray[np.bool_]) -> "MahalanobisDistance":
        """Estimate from codes (M, n, K) of the rows that each member has not seen, (M, n)."""
        count, _, width = codes.shape
        centres, whitenings = np.zeros((count, width)), np.zeros((count, width, width))
        for member in range(count):
            own = codes[member][unseen[member]] if unseen[member].sum() > 1 else codes[member]
            used = np.flatnonzero(own.std(axis=0) > ROUNDING * np.abs(own).max(axis=0))
            if len(used):
                centre, covariance = _robust_covariance(own[:, used])
                values, vectors = np.linalg.eigh(covariance)
                centres[member, used] = centre
                whitenings[member][np.ix_(used, used)] = vectors / np.sqrt(values) @ vectors.T
        return cls(centres, whitenings)

    def whiten(self, codes: Matrix) -> Matrix:
        """Return whitened codes (M, n, K), whose squared lengths are the distances."""
        return (codes - self.centres[:, None]) @ self.whitenings


def _robust_covariance(codes: Matrix) -> tuple[Matrix, Matrix]:
    """Return the robust mean and covariance of codes (n, K), of the nine tenths that lie closest.

    Concentration steps (Rousseeuw & Van Driessen 1999, "A fast algorithm for the minimum covariance
    determinant estimator") from the distances by medians; covariances are shrunk (Ledoit & Wolf
    2004), as codes may have nearly as many numbers as there are rows. Where the central nine tenths
    do not vary, since a value is nearly always 0, a small share of the variance of all codes
    stands in for theirs.
    """
    from sklearn.covariance import ledoit_wolf  # slow to import

    width = codes.shape[1]
    least = _RIDGE * codes.var(axis=0)
    centre = np.median(codes, axis=0)
    spread = np.median(np.abs(codes - centre), axis=0)
    spread = np.where(spread > 0, spread, codes.std(axis=0))
    distances = np.square((codes - centre) / spread).sum(axis=1)
    for _ in range(_STEPS):
        inner = codes[distances <= np.quantile(distances, _CENTRAL)]
        centre = inner.mean(axis=0)
        covariance = ledoit_wolf(inner - centre, assume_centered=True)[0]
        covariance += _RIDGE * np.trace(covariance) / width * np.eye(width)
        still = np.flatnonzero(covariance.diagonal() < least)
        covariance[still, still] = least[still]
        away = codes - centre
        distances = np.einsum("ij,ij->i", away, np.linalg.solve(covariance, away.T).T)
    return centre, covariance


def split_whitened(whitened: Matrix, slopes: Matrix) -> Matrix:
    """Split squared lengths of whitened codes between features.

    The complete decomposition of Alcala & Qin (2009), "Reconstruction-based contribution for
    process monitoring", for codes that depend on features by the slopes A: the squares of
    A^T (A A^T)^(-1/2) z add up to those of z.

    Parameters
    ----------
    whitened : ndarray of shape (n, K)
        Whitened codes, z.
    slopes : ndarray of shape (K, r)
        The slopes of the whitened codes, A.

    Returns
    -------
    ndarray of shape (n, r)
        Vectors as long as the whitened codes.
    """
    left, _, right = np.linalg.svd(slopes, full_matrices=False)
    vectors: Matrix = whitened @ left @ right
    # Wider codes than rows lose some of their length.
    lengths, kept = np.linalg.norm(whitened, axis=1), np.linalg.norm(vectors, axis=1)
    vectors *= np.divide(lengths, kept, out=np.ones_like(kept), where=kept > 0)[:, None]
    return vectors


def slopes_of(features: Matrix, whitened: Matrix) -> Matrix:
    """Return the slopes (K, r) of the regression of whitened codes (n, K) on features (n, r)."""
    away = features - features.mean(axis=0)
    gram = away.T @ away
    gram += _RIDGE * (np.trace(gram) / len(gram) or 1.0) * np.eye(len(gram))
    slopes: Matrix = np.linalg.solve(gram, away.T @ (whitened - whitened.mean(axis=0))).T
    return slopes
