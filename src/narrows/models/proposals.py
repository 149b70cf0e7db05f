"""What codes are drawn from while a likelihood is estimated.

Importance sampling needs a proposal that covers the posterior of the codes, p(h | x). The
encoder's q(h | x) is fitted to be narrow, and may miss most of it. The proposal here is a mixture
of q, the prior, and both made wider (a defensive mixture: Hesterberg 1995, "Weighted average
importance sampling and defensive mixture distributions"), whose draws are weighted by the density
of the whole mixture (the balance heuristic: Veach & Guibas 1995, "Optimally combining sampling
techniques for Monte Carlo rendering"). To it comes a normal distribution with the mean and the
covariance of p(h | x), learned for each row from the weighted draws of several rounds (population
Monte Carlo: Cappé, Guillin, Marin & Robert 2004).

What is learned from these draws is a proposal only: the estimate itself is made of draws that
follow, so that the mean of their weights has p(x) for its expectation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor

# Shares of the draws of a defensive mixture: from q, wider q, the prior and a wider prior.
_SHARES = (0.4, 0.2, 0.2, 0.2)
# Share of the defensive mixture once a normal distribution was learned beside it.
_DEFENSIVE = 0.25
# Rounds of learning, after a first one of two rounds' draws, and what share of all draws each
# takes, at most so many. There is no early end: looking at a number would wait for the GPU.
_ROUNDS, _ROUND, _MOST = 6, 0.05, 1000
# By how much a learned covariance is enlarged: too narrow a proposal is worse than too wide a one.
_LARGER = 1.3
# Weights are taken to a power that makes so many draws effective for each unit of the code, and as
# many more; the least logarithm of that power, and how often its interval is halved.
_WANTED, _LEAST_LOG_POWER, _HALVINGS = 8, -16.0, 8
# Of weights that are not finite: far below any other.
_IMPOSSIBLE = -1e30
# The least variance of q, which rounding leaves none where an encoder is beyond its rows.
_LEAST_LOG_VARIANCE = -30.0


@dataclass(frozen=True)
class Source:
    """Where codes are drawn from: their noise, and on the host what no GPU is to be waited for."""

    noise: torch.Generator
    rounding: np.random.Generator

    @classmethod
    def of(cls, seed: int, device: torch.device) -> Self:
        """Make both of one seed."""
        return cls(torch.Generator(device).manual_seed(seed), np.random.default_rng(seed))


@dataclass(frozen=True)
class Normal:
    """A normal distribution of codes for each row.

    Attributes
    ----------
    mean : Tensor of shape (B, K)
    factor, inverse : Tensor of shape (B, K, K)
        The Cholesky factor of the covariance, and its inverse.
    """

    mean: Tensor
    factor: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> Self:
        """Make one of a mean and a covariance (B, K, K); of one not definite, of its diagonal."""
        diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-14))
        factor, failed = torch.linalg.cholesky_ex(covariance + 1e-9 * diagonal)
        factor = torch.where((failed > 0)[:, None, None], diagonal.sqrt(), factor)
        unit = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, unit.expand_as(factor), upper=False)
        return cls(mean.float(), factor.float(), inverse.float())

    def draw(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (B, n, K) into codes."""
        return self.mean.unsqueeze(1) + noise @ self.factor.mT

    def log_density(self, codes: Tensor) -> Tensor:
        """Return the log density of codes (B, n, K); (B, n)."""
        off = (codes - self.mean.unsqueeze(1)) @ self.inverse.mT
        height = self.inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return height - 0.5 * (off.square().sum(-1) + _log_circles(codes))


@dataclass(frozen=True)
class Proposal:
    """A mixture of q(h | x), wider q, the prior, a wider prior, and what was learned of each row.

    Attributes
    ----------
    mean, scale : Tensor of shape (B, K)
        Of q.
    shares : tuple of float
        Of the first four among the draws that are made of them.
    learned : Normal or None
    """

    mean: Tensor
    scale: Tensor
    shares: tuple[float, ...] = _SHARES
    learned: Normal | None = None

    @classmethod
    def of(cls, mean: Tensor, log_variance: Tensor, *, defensive: bool = True) -> Self:
        """Make one of q's moments, (B, K) each: of q alone unless it is to be defensive."""
        scale = torch.exp(0.5 * log_variance.clamp(min=_LEAST_LOG_VARIANCE))
        return cls(mean, scale, _SHARES if defensive else (1.0, 0.0, 0.0, 0.0))

    @property
    def _wider(self) -> float:
        # In many dimensions wider draws are far from all narrower ones.
        return 1 + 2 / math.sqrt(self.mean.shape[1])

    def draw(self, count: int, source: Source) -> Tensor:
        """Draw codes, (B, count, K): from each component its share of them, but for rounding.

        Which way is rounded is drawn too, so that the expected numbers are the shares (systematic
        resampling: Kitagawa 1996, "Monte Carlo filter and smoother for non-Gaussian nonlinear state
        space models").
        """
        size = (len(self.mean), count, self.mean.shape[1])
        noise = torch.randn(size, generator=source.noise, device=self.mean.device)
        share, start = 1.0 if self.learned is None else _DEFENSIVE, source.rounding.random()
        ends = [
            min(math.floor(share * count * upto + start), count) for upto in accumulate(self.shares)
        ]
        q, wide_q, prior, wide_prior, rest = noise.tensor_split(ends, 1)
        mean, scale = self.mean.unsqueeze(1), self.scale.unsqueeze(1)
        drawn = [
            mean + scale * q,
            mean + self._wider * scale * wide_q,
            prior,
            self._wider * wide_prior,
            rest if self.learned is None else self.learned.draw(rest),
        ]
        return torch.cat(drawn, 1)

    def log_base(self, codes: Tensor) -> Tensor:
        """Return the log density of codes (B, n, K) without what was learned; (B, n)."""
        off = (codes - self.mean.unsqueeze(1)) / self.scale.unsqueeze(1)
        height, wider = -self.scale.log().sum(1, keepdim=True), self._wider
        widened = codes.shape[2] * math.log(wider)
        of_q, of_prior = -0.5 * off.square().sum(-1), -0.5 * codes.square().sum(-1)
        parts = [
            of_q + height,
            of_q / wider**2 + height - widened,
            of_prior,
            of_prior / wider**2 - widened,
        ]
        weighted = [
            part + math.log(share)
            for part, share in zip(parts, self.shares, strict=True)
            if share > 0
        ]
        return torch.stack(weighted).logsumexp(0) - 0.5 * _log_circles(codes)

    def log_density(self, codes: Tensor) -> Tensor:
        """Return the log density of codes (B, n, K); (B, n)."""
        base = self.log_base(codes)
        if self.learned is None:
            return base
        learned = self.learned.log_density(codes)
        return torch.logaddexp(base + math.log(_DEFENSIVE), learned + math.log1p(-_DEFENSIVE))


def learn(
    log_joint: Callable[[Tensor], Tensor], base: Proposal, n_samples: int, source: Source
) -> tuple[Proposal, int]:
    """Learn where the posterior of each row's code is.

    Parameters
    ----------
    log_joint : callable
        From codes (B, n, K) to log p(x, h), (B, n), in double precision.
    base : Proposal
        The defensive one.
    n_samples : int
        Codes that may be decoded for each row, while learning and afterwards.
    source : Source
        Where they are drawn from.

    Returns
    -------
    Proposal
        With what was learned.
    int
        How many codes of each row were decoded for it: four in ten of ``n_samples``, or less.
    """
    size = round_size(n_samples)
    proposal, codes, log_weights = base, [], []
    for draws in [2 * size] + _ROUNDS * [size]:
        new = proposal.draw(draws, source)
        codes.append(new)
        log_weights.append(log_joint(new).clamp(min=_IMPOSSIBLE) - proposal.log_density(new))
        proposal = replace(base, learned=fit(torch.cat(codes, 1), torch.cat(log_weights, 1)))
    return proposal, (2 + _ROUNDS) * size


def fit(codes: Tensor, log_weights: Tensor) -> Normal:
    """Fit a normal distribution to weighted codes (B, n, K); it is a little wider than they are.

    Its covariance is held near a diagonal one, as if that had been seen in K + 1 draws more.
    """
    wanted = _WANTED * (codes.shape[2] + 1)
    log_weights = _tempered(log_weights, wanted)
    seen, weights = effective_size(log_weights), log_weights.softmax(1)
    codes = codes.to(weights.dtype)
    mean = torch.linalg.vecdot(weights.unsqueeze(1), codes.mT)
    off = codes - mean.unsqueeze(1)
    covariance = (weights.unsqueeze(2) * off).mT @ off
    trust = (seen / (seen + codes.shape[2] + 1))[:, None, None]
    diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
    covariance = trust * covariance + (1 - trust) * diagonal
    return Normal.of(mean, _LARGER * covariance)


def round_size(n_samples: int) -> int:
    """Return how many codes of a row one round of learning draws, of ``n_samples`` in all."""
    return min(max(1, round(_ROUND * n_samples)), _MOST)


def effective_size(log_weights: Tensor) -> Tensor:
    """Return how many draws of even weight weights (B, n) amount to: (sum w)^2 / sum w^2; (B,).

    Kong (1992), "A note on importance sampling using standardized weights".

    Examples
    --------
    >>> effective_size(torch.tensor([[0.0, 0.0, 0.0], [0.0, -100.0, -100.0]]))
    tensor([3., 1.])
    """
    return (2 * log_weights.logsumexp(1) - (2 * log_weights).logsumexp(1)).exp()


def _log_circles(codes: Tensor) -> float:
    return codes.shape[2] * math.log(2 * math.pi)


def _tempered(log_weights: Tensor, wanted: int) -> Tensor:
    """Return log weights times the largest power, up to 1, that makes so many effective."""
    log_weights = log_weights - log_weights.amax(1, keepdim=True)
    low = torch.full_like(log_weights[:, :1], _LEAST_LOG_POWER)
    high = power = torch.zeros_like(low)
    for _ in range(_HALVINGS):
        weights = (power.exp() * log_weights).exp()
        effective = weights.sum(1).square() / weights.square().sum(1)
        enough = (effective >= wanted).unsqueeze(1)
        low, high = torch.where(enough, power, low), torch.where(enough, high, power)
        power = (low + high) / 2
    return low.exp() * log_weights
