"""Drift: whether new rows as a whole have another distribution than the training rows."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp

Matrix = NDArray[np.float64]

# The rows of each side of the test, at most, and its permutations.
_TESTED_ROWS, _PERMUTATIONS = 500, 999
# The rows of each side from which the limit distribution of Kolmogorov and Smirnov is close; the
# exact one cannot be computed for many rows.
_ASYMPTOTIC = 100


class Drift(NamedTuple):
    """The p-values of tests whether new rows have the distribution of the training rows.

    Attributes
    ----------
    p_value : float
        The probability of a difference at least as large between rows of one distribution: twice
        the smaller of the two below, at most 1 (Bonferroni).
    p_scores : float
        The p-value of the scores, by the two-sample Kolmogorov-Smirnov test.
    p_rows : float
        The p-value of the rows themselves, by a permutation test of the energy distance (Szekely
        & Rizzo 2004).
    """

    p_value: float
    p_scores: float
    p_rows: float

    @classmethod
    def between(
        cls,
        scores: tuple[Matrix, Matrix],
        rows: tuple[Matrix, Matrix],
        generator: np.random.Generator,
    ) -> Self:
        """Test the scores, (n,) and (m,), and the features, (R, r) and (m, r), of two samples."""
        is_exact = min(map(len, scores)) < _ASYMPTOTIC
        p_scores = float(ks_2samp(*scores, method="exact" if is_exact else "asymp").pvalue)
        p_rows = _energy_test(*rows, generator)
        return cls(min(1.0, 2 * min(p_scores, p_rows)), p_scores, p_rows)


def _energy_test(old: Matrix, new: Matrix, generator: np.random.Generator) -> float:
    """Return the p-value of the energy distance of two samples, by permutations."""
    sides = [side[generator.permutation(len(side))[:_TESTED_ROWS]] for side in (old, new)]
    both, n_old = np.concatenate(sides), len(sides[0])
    distances = cdist(both, both)
    orders = np.array(
        [np.arange(len(both)), *(generator.permutation(len(both)) for _ in range(_PERMUTATIONS))]
    )
    is_old = (orders < n_old).astype(np.float64)
    counts = np.array([n_old, len(both) - n_old])
    sums = is_old @ distances
    within, across = (sums * is_old).sum(axis=1), (sums * (1 - is_old)).sum(axis=1)
    rest = distances.sum() - within - 2 * across
    energy = 2 * across / counts.prod() - within / counts[0] ** 2 - rest / counts[1] ** 2
    return float((energy >= energy[0] - 1e-12 * abs(energy[0])).mean())
