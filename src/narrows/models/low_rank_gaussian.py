"""A Gaussian with few axes, learned from rows with gaps, and the expectation of these gaps.

This is probabilistic PCA (Tipping & Bishop 1999, "Probabilistic principal component analysis",
JRSS B 61, eqs. 6 to 8), learned by EM (Dempster, Laird & Rubin 1977): the E step gives each gap its
conditional mean and adds its conditional covariance, the M step keeps the first axes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh
from torch import Tensor

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_RANKS = (1, 2, 4, 8, 16, 32, 64)  # numbers of axes that are tried
_RIDGES = (0.0001, 0.003, 0.03, 0.1, 0.3)  # of the mean variance, added where all axes are kept
_MOST_FEATURES = 200  # for which all axes are tried
_ROUNDS, _WIDE_ROUNDS, _WORK = (
    (4, 15),
    (2, 4),
    1e9,
)  # iterations of EM, and multiplications that they may take
_LATER_ROUNDS = 8  # iterations from where another choice has ended
_MOST_FOR_PRECISION = 2_000  # features for which the precision matrix is held
_WIDE = 500  # features beyond which axes are found one by one, and gaps of a row vary by themselves
_BLOCK = 1 << 22  # numbers that are held at once
_LEAST_NOISE, _AXES_TOLERANCE = 1e-4, 1e-3


@dataclass(frozen=True)
class LowRankGaussian:
    """A Gaussian whose covariance is L L' + diag(noise).

    Attributes
    ----------
    mean : ndarray of shape (P,)
        The mean of all rows: where gaps depend on other columns, it is not that of known cells.
    loadings : ndarray of shape (P, r)
        L: each axis times its standard deviation.
    noise_variance : ndarray of shape (P,)
        The variance of each feature beside the axes.
    """

    mean: Floats
    loadings: Floats
    noise_variance: Floats

    def conditional_mean(self, x: Tensor, known: Tensor) -> Tensor:
        """Return rows (n, P) with the expectation of unknown features, given the known ones.

        Parameters
        ----------
        x : Tensor of shape (n, P)
            Rows; what they hold where they are not known has no effect.
        known : Tensor of shape (n, P), bool
        """
        return self._condition(x, known, None)

    def impute(self, features: Floats, known: Bools) -> Floats:
        """Return features (n, P) with the conditional mean where they are not known."""
        return self._impute(features, known, None)

    def expectation_step(self, features: Floats, known: Bools) -> tuple[Floats, Floats]:
        """Impute as :meth:`impute`, and return the covariance of what stays uncertain.

        Returns
        -------
        imputed : ndarray of shape (n, P)
        uncertainty : ndarray of shape (P, P)
            The conditional covariance of the gaps; the mean over rows.
        """
        total = torch.zeros((features.shape[1],) * 2, dtype=torch.float64)
        imputed = self._impute(features, known, total)
        return imputed, total.numpy() / max(1, len(features))

    def _impute(self, features: Floats, known: Bools, total: Tensor | None) -> Floats:
        imputed = features.copy()
        for some in self._blocks(known):
            x, mask = torch.from_numpy(features[some]), torch.from_numpy(known[some])
            imputed[some] = self._condition(x, mask, total).numpy()
        return imputed

    def _blocks(self, known: Bools) -> Iterator[NDArray[np.int64]]:
        """Yield the numbers of rows with gaps; those of a block have similar numbers of gaps."""
        gaps = (~known).sum(axis=1)
        rows = np.argsort(gaps, kind="stable")[(gaps == 0).sum() :]
        counts = gaps[rows]
        start = 0
        while start < len(rows):
            most = 2 * int(counts[start])
            size = max(1, _BLOCK // min(self.loadings.size, 4 * most**2))
            stop = min(start + size, int(np.searchsorted(counts, most, side="right")))
            yield rows[start:stop]
            start = stop

    def _condition(self, x: Tensor, known: Tensor, total: Tensor | None) -> Tensor:
        """Impute rows; add the conditional covariance of their gaps to a total (P, P), if given."""
        mean = torch.from_numpy(self.mean).to(x)
        n_features, rank = self.loadings.shape
        most = int((~known).sum(dim=1).max())
        is_narrow = n_features * rank**2 + rank**3 / 3 < most**3 / 3 + 4 * most**2
        if is_narrow or n_features > _MOST_FOR_PRECISION:
            found = self._condition_codes(x - mean, known, total)
        else:
            found = self._condition_gaps(x - mean, known, most, total)
        return torch.where(known, x, found + mean)

    def _condition_codes(self, x: Tensor, known: Tensor, total: Tensor | None) -> Tensor:
        """Impute by the expectation of the codes on the axes, by systems of r equations."""
        loadings = torch.from_numpy(self.loadings).to(x)
        noise = torch.from_numpy(self.noise_variance).to(x)
        n_features, rank = loadings.shape
        outer = (loadings[:, :, None] * loadings[:, None, :]).flatten(1)
        precision = ((known.to(x) / noise) @ outer).view(-1, rank, rank) + torch.eye(rank).to(x)
        right = (torch.where(known, x, 0) / noise) @ loadings
        factor = torch.linalg.cholesky(precision)
        if total is not None:
            of_gaps = loadings.T * ~known[:, None, :]
            solved = torch.linalg.solve_triangular(factor, of_gaps, upper=False).flatten(0, 1)
            if n_features > _WIDE:  # where many cells are known, codes are nearly certain
                total += torch.diag(solved.square().sum(dim=0))
            else:
                total += solved.T @ solved
            total += torch.diag(noise * (~known).sum(dim=0))
        codes = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
        return codes @ loadings.T

    def _condition_gaps(self, x: Tensor, known: Tensor, most: int, total: Tensor | None) -> Tensor:
        """Impute by the precision matrix, by systems of as many equations as a row has gaps."""
        precision = self._precision.to(x)
        gaps = torch.argsort(known.to(torch.uint8), dim=1, stable=True)[:, :most]
        is_gap = ~known.gather(1, gaps)
        own = precision[gaps[:, :, None], gaps[:, None, :]]
        both = is_gap[:, :, None] & is_gap[:, None, :]
        own = torch.where(both, own, torch.eye(most).to(x))  # padded to as many gaps
        right = (torch.where(known, x, 0) @ precision).gather(1, gaps)
        right = torch.where(is_gap, -right, 0)
        factor = torch.linalg.cholesky(own)
        found = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
        if total is not None:
            covariance = torch.where(both, torch.cholesky_inverse(factor), 0)
            places = gaps[:, :, None] * len(precision) + gaps[:, None, :]
            total.view(-1).index_add_(0, places.flatten(), covariance.flatten())
        return torch.zeros_like(x).scatter(1, gaps, torch.where(is_gap, found, 0))

    @cached_property
    def _precision(self) -> Tensor:
        """The inverse of the covariance, (P, P)."""
        loadings, noise = torch.from_numpy(self.loadings), torch.from_numpy(self.noise_variance)
        scaled = loadings / noise[:, None]
        inner = torch.eye(loadings.shape[1], dtype=loadings.dtype) + loadings.T @ scaled
        precision = torch.diag(1 / noise) - scaled @ torch.linalg.solve(inner, scaled.T)
        symmetric: Tensor = (precision + precision.T) / 2
        return symmetric


Choice = tuple[int, float]
"""A number of axes, and a ridge, as a share of the mean variance, where all axes are kept."""

Moments = tuple[Floats, Floats]
"""Imputed rows, and the covariance of what stays uncertain: where EM is."""


def choose(features: Floats, weights: Floats | None, hidden: Bools) -> Choice:
    """Choose the number of axes, or the ridge, by which hidden cells are imputed best.

    Each half of the rows is imputed by Gaussians that are learned from the other. No more axes, and
    no smaller ridges, are tried where two in succession were worse than the best.

    Parameters
    ----------
    features : ndarray of shape (n, P)
        NaN are gaps.
    weights : ndarray of shape (n,) or None
    hidden : ndarray of bool and shape (draws, n, P)
    """
    n_rows, n_features = features.shape
    most = min(n_features - 1, max(1, n_rows // 2 - 1))
    ranks: list[Choice] = [(rank, 0.0) for rank in _RANKS if rank <= most]
    ridges: list[Choice] = []
    if n_features <= _MOST_FEATURES:
        ridges = [(n_features, ridge) for ridge in reversed(_RIDGES)]
    found: dict[Choice, float] = {}
    for path in (ranks, ridges):
        moments: list[Moments | None] = [None, None]
        errors: list[float] = []
        for choice in path:
            imputed, moments = impute_folds(
                features, weights, hidden, choice, folds=2, moments=moments
            )
            errors.append(float(np.square(features - imputed)[hidden].sum()))
            found[choice] = errors[-1]
            if len(errors) > 2 and min(errors[-2:]) > min(errors):
                break
    return min(found, key=found.__getitem__, default=(1, 0.0))


def impute_folds(
    features: Floats,
    weights: Floats | None,
    hidden: Bools,
    choice: Choice,
    *,
    folds: int,
    moments: Sequence[Moments | None] = (),
) -> tuple[Floats, list[Moments | None]]:
    """Impute hidden cells of each fold of the rows by a Gaussian that is learned from the others.

    Parameters
    ----------
    features : ndarray of shape (n, P)
    weights : ndarray of shape (n,) or None
    hidden : ndarray of bool and shape (draws, n, P)
    choice : tuple
        As of :func:`choose`.
    folds : int
    moments : sequence
        Where EM begins in each fold; by default at the mean.

    Returns
    -------
    imputed : ndarray of shape (draws, n, P)
    moments : list
        Where EM has ended in each fold.
    """
    imputed = np.zeros(hidden.shape)
    fold = np.arange(len(features)) % min(folds, len(features))
    ended: list[Moments | None] = []
    for number in np.unique(fold).tolist():
        inside = fold == number
        own = None if weights is None else weights[~inside]
        before = moments[number] if moments else None
        gaussian, after = fit(features[~inside], own, choice, before)
        ended.append(after)
        for made, cells in zip(imputed, hidden, strict=True):
            known = ~(np.isnan(features) | cells)[inside]
            made[inside] = gaussian.impute(np.where(known, features[inside], 0), known)
    return imputed, ended


def fit(
    features: Floats, weights: Floats | None, choice: Choice, moments: Moments | None = None
) -> tuple[LowRankGaussian, Moments]:
    """Learn a Gaussian from rows (n, P), by EM where there are gaps; return where EM has ended."""
    rank, ridge = choice
    known = ~np.isnan(features)
    work = features.size * max(1, rank) ** 2
    least, most = _WIDE_ROUNDS if features.shape[1] > _WIDE else _ROUNDS
    rounds = 1 if known.all() else int(np.clip(_WORK / work, least, most))
    if moments is None:
        moments = (np.where(known, features, 0), np.zeros((features.shape[1],) * 2))
    else:
        rounds = min(rounds, _LATER_ROUNDS)
    for step in range(rounds):
        imputed, uncertainty = moments
        mean = np.average(imputed, axis=0, weights=weights)
        around = imputed - mean
        scatter = around if weights is None else around * weights[:, None]
        covariance = scatter.T @ around / (len(around) if weights is None else weights.sum())
        gaussian = _principal(mean, covariance + uncertainty, rank, ridge)
        if step < rounds - 1:
            moments = gaussian.expectation_step(imputed, known)
    return gaussian, moments


def _principal(mean: Floats, covariance: Floats, rank: int, ridge: float) -> LowRankGaussian:
    """Keep the first axes of a covariance; the mean of the other variances is noise."""
    n_features = len(mean)
    if n_features > _WIDE:
        start = np.random.default_rng(0).normal(size=n_features)  # which Lanczos's method wants
        variances, directions = eigsh(covariance, rank, v0=start, tol=_AXES_TOLERANCE)
    else:  # torch's decomposition takes a quarter of the time of numpy's
        found = torch.linalg.eigh(torch.from_numpy(covariance))
        variances, directions = (part.numpy() for part in found)
    variances, directions = variances[::-1][:rank].clip(min=0), directions[:, ::-1][:, :rank]
    total = float(np.trace(covariance))
    usual = max(total / n_features, _LEAST_NOISE)
    others = (total - float(variances.sum())) / max(1, n_features - rank)
    noise = ridge * usual if ridge else max(others, _LEAST_NOISE * usual)
    loadings = directions * np.sqrt((variances - (0 if ridge else noise)).clip(min=0))
    return LowRankGaussian(mean, np.ascontiguousarray(loadings), np.full(len(mean), noise))
