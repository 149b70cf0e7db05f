"""Proposal distributions of codes for the estimation of likelihoods by importance sampling.

Importance sampling needs a proposal that covers the posterior of the codes, p(h | x). The
encoder's q(h | x) is fitted to be narrow, and may miss most of it. The proposal here is a mixture
of q, the prior, and wider versions of both (a defensive mixture: Hesterberg 1995, "Weighted average
importance sampling and defensive mixture distributions"), whose draws are weighted by the density
of the whole mixture (the balance heuristic: Veach & Guibas 1995, "Optimally combining sampling
techniques for Monte Carlo rendering"). A further component is a normal distribution with the mean
and the covariance of p(h | x), learned for each row from the weighted draws of several rounds
(population Monte Carlo: Cappé, Guillin, Marin & Robert 2004).

Only the proposal is learned from these draws: the estimate uses later draws, so that the
expectation of their mean weight is p(x).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor

# The shares of q, a wider q, the prior and a wider prior in a defensive mixture.
_SHARES = (0.4, 0.2, 0.2, 0.2)
# The share of the defensive mixture once a normal distribution has been learned.
_DEFENSIVE = 0.25
# The number of rounds after a first one of double size, the share of all draws in each, and the
# most draws in each. The number is fixed, since a stopping rule would have to wait for the GPU.
_ROUNDS, _ROUND, _MOST = 6, 0.05, 1000
# The factor by which a learned covariance is enlarged: a narrow proposal is worse than a wide one.
_LARGER = 1.3
# Weights are tempered until the effective number of draws is 8 for each unit of the code, and 8
# more; the least logarithm of the power, and the number of bisections of its interval.
_WANTED, _LEAST_LOG_POWER, _HALVINGS = 8, -16.0, 8
# The log weight in place of one that is not finite.
_IMPOSSIBLE = -1e30
# The smallest log variance of q, since that of rows far from the training data may round to zero.
_LEAST_LOG_VARIANCE = -30.0


@dataclass(frozen=True)
class Generators:
    """The random generators of draws: of noise on the device, and of rounding on the host."""

    noise: torch.Generator
    rounding: np.random.Generator

    @classmethod
    def of(cls, seed: int, device: torch.device) -> Self:
        """Make both generators from one seed."""
        return cls(torch.Generator(device).manual_seed(seed), np.random.default_rng(seed))


@dataclass(frozen=True)
class Normal:
    """A normal distribution of codes for each row.

    Attributes
    ----------
    mean : Tensor of shape (B, K)
        The mean.
    factor, inverse : Tensor of shape (B, K, K)
        The Cholesky factor of the covariance, and its inverse.
    """

    mean: Tensor
    factor: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, mean: Tensor, covariance: Tensor) -> Self:
        """Factorise a covariance (B, K, K), or its diagonal if it is not positive definite."""
        diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-14))
        factor, failed = torch.linalg.cholesky_ex(covariance + 1e-9 * diagonal)
        factor = torch.where((failed > 0)[:, None, None], diagonal.sqrt(), factor)
        unit = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, unit.expand_as(factor), upper=False)
        return cls(mean.float(), factor.float(), inverse.float())

    def draw(self, noise: Tensor) -> Tensor:
        """Map standard normal noise (B, n, K) to codes."""
        return self.mean.unsqueeze(1) + noise @ self.factor.mT

    def log_density(self, codes: Tensor) -> Tensor:
        """Return the log density of codes (B, n, K); (B, n)."""
        off = (codes - self.mean.unsqueeze(1)) @ self.inverse.mT
        height = self.inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return height - 0.5 * (off.square().sum(-1) + _log_circles(codes))


@dataclass(frozen=True)
class Proposal:
    """A mixture of q(h | x), a wider q, the prior, a wider prior, and a learned distribution.

    Attributes
    ----------
    mean, scale : Tensor of shape (B, K)
        Mean and standard deviation of q.
    shares : tuple of float
        The shares of the first four components among their draws.
    learned : Normal or None
        The normal distribution learned for each row.
    """

    mean: Tensor
    scale: Tensor
    shares: tuple[float, ...] = _SHARES
    learned: Normal | None = None

    @classmethod
    def of(cls, mean: Tensor, log_variance: Tensor, *, defensive: bool = True) -> Self:
        """Make a defensive mixture from q's moments, (B, K) each, or a proposal of q alone."""
        scale = torch.exp(0.5 * log_variance.clamp(min=_LEAST_LOG_VARIANCE))
        return cls(mean, scale, _SHARES if defensive else (1.0, 0.0, 0.0, 0.0))

    @property
    def _wider(self) -> float:
        # The factor falls with the dimension, where wider draws are far from all narrower ones.
        return 1 + 2 / math.sqrt(self.mean.shape[1])

    def draw(self, count: int, generators: Generators) -> Tensor:
        """Draw codes (B, count, K), from each component its share, rounded.

        The rounding is random, so that the expected numbers are exact (systematic resampling:
        Kitagawa 1996, "Monte Carlo filter and smoother for non-Gaussian nonlinear state space
        models").
        """
        size = (len(self.mean), count, self.mean.shape[1])
        noise = torch.randn(size, generator=generators.noise, device=self.mean.device)
        share, start = 1.0 if self.learned is None else _DEFENSIVE, generators.rounding.random()
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
        """Return the log density (B, n) of codes (B, n, K) without the learned component."""
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
    log_joint: Callable[[Tensor], Tensor], base: Proposal, n_samples: int, generators: Generators
) -> tuple[Proposal, int]:
    """Learn a normal approximation of the posterior of each row's code.

    Parameters
    ----------
    log_joint : callable
        The function from codes (B, n, K) to log p(x, h), (B, n), in double precision.
    base : Proposal
        The defensive mixture.
    n_samples : int
        The number of codes that may be decoded for each row, those for the estimate included.
    generators : Generators
        The random generators of the draws.

    Returns
    -------
    Proposal
        The mixture with the learned component.
    int
        The number of codes decoded for each row: at most four in ten of ``n_samples``.
    """
    size = round_size(n_samples)
    proposal, codes, log_weights = base, [], []
    for draws in [2 * size] + _ROUNDS * [size]:
        new = proposal.draw(draws, generators)
        codes.append(new)
        log_weights.append(log_joint(new).clamp(min=_IMPOSSIBLE) - proposal.log_density(new))
        proposal = replace(base, learned=fit(torch.cat(codes, 1), torch.cat(log_weights, 1)))
    return proposal, (2 + _ROUNDS) * size


def fit(codes: Tensor, log_weights: Tensor) -> Normal:
    """Fit a normal distribution to weighted codes (B, n, K), with a somewhat larger covariance.

    The covariance is shrunk towards its diagonal with the weight of K + 1 draws.
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
    """Return the number of codes for each row in one round of learning."""
    return min(max(1, round(_ROUND * n_samples)), _MOST)


def effective_size(log_weights: Tensor) -> Tensor:
    """Return the effective number of draws (B,) of weights w (B, n): (sum w)^2 / sum w^2.

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
    """Scale log weights by the largest power up to 1 with the wanted effective number of draws."""
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
