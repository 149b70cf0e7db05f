"""PCA as the yardstick: fitted on other rows than those that it is measured on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Rows = NDArray[np.float32]

# Features up to which the covariance is decomposed whole; beyond, by random projections.
_EXACT = 2_000


class Yardstick:
    """What PCA of any size up to ``most`` makes of rows.

    Without rows of their own to learn from, each half of the rows is measured by the PCA of the
    other half, so that PCA has no more seen what it is measured on than the model has.

    Parameters
    ----------
    rows : ndarray of shape (n, F)
        What is measured; n at least 2.
    learned_from : ndarray of shape (m, F), optional
        What PCA is fitted on.
    most : int
        The largest size wanted; fewer where the rows allow no more.
    random_state : int
        Of the halves.

    Attributes
    ----------
    most : int
        The largest size there is.
    """

    def __init__(
        self, rows: Rows, learned_from: Rows | None, *, most: int, random_state: int
    ) -> None:
        order = np.random.default_rng(random_state).permutation(len(rows))
        halves = np.array_split(order, 2)
        parts = (
            [(rows[halves[0]], halves[1]), (rows[halves[1]], halves[0])]
            if learned_from is None
            else [(learned_from, np.arange(len(rows)))]
        )
        fewest = min(len(seen) for seen, _ in parts)
        self.most = min(most, fewest, rows.shape[1])
        self._rows = rows
        self._parts = []
        # What PCA of no size leaves, and what each component then explains of it, (n, 1 + most).
        self._squares = np.empty((len(rows), 1 + self.most))
        for seen, measured in parts:
            pca = fit_pca(seen, self.most, random_state)
            self._parts.append((pca, measured))
            away = np.square(rows[measured] - pca.mean_).sum(axis=1, dtype=np.float64)
            scores = pca.transform(rows[measured])
            self._squares[measured] = np.column_stack([away, -np.square(scores, dtype=np.float64)])

    def errors(self, size: int) -> NDArray[np.float32]:
        """Return each row's mean squared error, (n,); of size 0 the mean row is all there is.

        The components are orthonormal: what a size leaves is the distance to the mean, less the
        squares of that many scores.
        """
        left = self._squares[:, : 1 + size].sum(axis=1)
        errors: NDArray[np.float32] = np.maximum(left / self._rows.shape[1], 0).astype(np.float32)
        return errors

    def reconstruct(self, which: NDArray[np.int64], size: int, seen: Rows | None = None) -> Rows:
        """Return what PCA of a size makes of some of the rows, (len(which), F).

        Of what is ``seen`` of them, where that is not the rows themselves.
        """
        seen = self._rows[which] if seen is None else seen
        restored = np.empty_like(seen)
        for pca, measured in self._parts:
            here = np.isin(which, measured)
            basis = pca.components_[:size]
            restored[here] = (seen[here] - pca.mean_) @ basis.T @ basis + pca.mean_
        return restored


def fit_pca(rows: Rows, size: int, random_state: int) -> Any:
    """Fit PCA by the covariance, or, where that would be large, by random projections."""
    solver = "covariance_eigh" if rows.shape[1] <= _EXACT else "auto"
    return PCA(size, svd_solver=solver, random_state=random_state).fit(rows)
