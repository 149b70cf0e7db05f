"""The density of fitted variational models: samples, evidence lower bounds, log likelihoods.

Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders", eq. 8. Importance sampling
needs a proposal distribution of codes that covers the posterior, p(h | x). The encoder's q(h | x)
is fitted to be narrow, and may miss most of it. The proposal here is a mixture of q, the prior, and
wider versions of both (a defensive mixture: Hesterberg 1995, "Weighted average importance sampling
and defensive mixture distributions"), whose draws are weighted by the density of the whole mixture
(the balance heuristic: Veach & Guibas 1995, "Optimally combining sampling techniques for Monte
Carlo rendering"). A further component is a normal distribution with the mean and the covariance of
p(h | x), learned for each row from the weighted draws of several rounds (population Monte Carlo:
Cappé, Guillin, Marin & Robert 2004).

Only the proposal is learned from these draws: the estimate uses later draws, so that the
expectation of their mean weight is p(x).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from narrows import losses
from narrows.data.arrays import as_tensor
from narrows.data.batches import RowWeights
from narrows.data.lazy_rows import AnyRows, strided
from narrows.data.scaling import Scaling
from narrows.errors import warn
from narrows.models.fitted import FittedModelMethods
from narrows.models.parameters import RandomState
from narrows.models.validation import check_flag, check_number
from narrows.networks import Decoder, Encoder, Network, Trace
from narrows.networks.activations import Gaussian
from narrows.networks.pca_residual import map_codes
from narrows.training.loop import keep_freed_memory

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")
# The lower bound of a learned variance, about that of rounding to one of 256 pixel values.
LEAST_VARIANCE = 1e-6
# Variance over the rows of a code's mean above which Burda et al. (2016) call the unit active.
ACTIVE = 0.01
# The number of rows that determine the distribution of all codes, and of rows encoded at once.
_ROWS, _BLOCK = 10_000, 1024
# The largest number of outputs of the widest layer, and of codes decoded at once: with fewer,
# matrix products are slower; more outputs leave the cache before they are summed.
_NUMBERS, _CODES = 1 << 22, 2048
# The numbers of draws for each row from which on a defensive mixture is used in place of q(h | x),
# and from which on a proposal is learned.
_DEFENDED, _LEARNED = 100, 1000
# Below this effective number of draws, or this share of all draws if that is less, the standard
# error of a log likelihood may exceed 0.1 nats.
_EFFECTIVE, _EFFECTIVE_SHARE = 100, 0.1
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
class Likelihood:
    """The density of a row, conditional on its code: the product of the densities of its values.

    Attributes
    ----------
    name : str
        One of :data:`LIKELIHOODS`.
    variance : float or "learned"
        The variance of the Gaussian likelihood.
    """

    name: str
    variance: float | str

    @property
    def bounded(self) -> bool:
        """Whether the density is zero outside [0, 1]."""
        return self.name != "gaussian"

    def log_volume(self, scaling: Scaling, n_features: int) -> float:
        """Return the log of the volume, in the data's units, that the scaling maps to one.

        In the data's units a density is smaller by this factor; a probability is not.
        """
        if self.name == "bernoulli":
            return 0.0
        return float(scaling.scale.double().log().expand(n_features).sum())

    def log_densities(self, decoder: Decoder, codes: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | h) of each value, in nats.

        Parameters
        ----------
        decoder : Decoder
            The decoder, which holds a learned variance.
        codes : Tensor of shape (..., B, K)
            One code for each row, or several draws of it.
        x : Tensor of shape (B, ...)
            Scaled rows.

        Returns
        -------
        Tensor of shape (..., B, ...)
            Log densities of the scaled values.
        """
        shape = (*codes.shape[:-1], *x.shape[1:])
        flat = codes.flatten(0, -2)
        if self.name == "gaussian":
            return losses.gaussian(decoder(flat).view(shape), x, self._log_variance(decoder))
        logits = decoder.logits(flat).view(shape)
        if self.name == "bernoulli":
            return losses.bernoulli(logits, x)
        return losses.continuous_bernoulli(logits, x)

    def log_density(self, decoder: Decoder, codes: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | h) of each row, in nats.

        Parameters
        ----------
        decoder, codes, x : Decoder and Tensor
            As for :meth:`log_densities`.

        Returns
        -------
        Tensor of shape (..., B)
            The sum of :meth:`log_densities` over a row's values, computed in fewer passes.
        """
        shape = (*codes.shape[:-1], x[0].numel())
        flat, x = codes.flatten(0, -2), x.flatten(1)
        if self.name == "gaussian":
            mean = decoder(flat).view(shape)
            return losses.gaussian_sum(mean, x, self._log_variance(decoder))
        logits = decoder.logits(flat).view(shape)
        if self.name == "bernoulli":
            return losses.bernoulli_sum(logits, x)
        return losses.continuous_bernoulli(logits, x).sum(-1)

    def _log_variance(self, decoder: Decoder) -> Tensor:
        if isinstance(decoder.output, Gaussian):
            return torch.log(torch.exp(decoder.output.log_variance) + LEAST_VARIANCE)
        return torch.tensor(math.log(float(self.variance)))


def within_unit(x: Tensor) -> Tensor:
    """Return which rows (B, ...) lie in [0, 1], within the rounding error of the scaling."""
    return ((x > -1e-6) & (x < 1 + 1e-6)).flatten(1).all(1)


def moments(trace: Trace) -> tuple[Tensor, Tensor]:
    """Return the means and the log variances of codes, (B, K) each."""
    return trace.code, trace.logits.chunk(2, dim=1)[1]


@torch.inference_mode()
def measure_codes(encoder: Encoder, scaling: Scaling, rows: AnyRows) -> tuple[Tensor, Tensor]:
    """Return the means and variances of codes, (n, K) each, of a sample of rows."""
    device = next(encoder.parameters()).device
    sample = as_tensor(strided(rows, _ROWS))
    parts = [
        moments(encoder.trace(scaling(sample[start : start + _BLOCK].to(device))))
        for start in range(0, len(sample), _BLOCK)
    ]
    means, log_variances = (torch.cat(part) for part in zip(*parts, strict=True))
    return means, log_variances.exp()


def standardise_codes(
    network: Network, scaling: Scaling, rows: AnyRows, weights: RowWeights = None
) -> None:
    """Shift and scale codes to mean 0 and variance 1 over all rows, with unchanged reconstructions.

    Of all maps h -> (h - shift) / scale of each unit, this one minimises the mean divergence from
    N(0, I), so that the evidence lower bound of these rows can only rise.

    Parameters
    ----------
    network : Network
        The network to change in place; it stays as it is unless linear layers surround the code.
    scaling : Scaling
        The map between the data's units and the network's.
    rows : ndarray of shape (n, ...)
        Rows in the data's units.
    weights : ndarray of shape (n,), optional
        Weight of each row.
    """
    means, variances = measure_codes(network.encoder, scaling, rows)
    if weights is None:
        shift, spread = means.mean(dim=0), means.var(dim=0, correction=0) + variances.mean(dim=0)
    else:
        some = strided(weights, _ROWS)
        shares = torch.from_numpy(some / some.sum()).to(means)
        shift = shares @ means
        spread = shares @ (means - shift) ** 2 + shares @ variances
    map_codes(network, shift, spread.sqrt())


class Density(FittedModelMethods):
    """The methods of fitted models whose codes are normally distributed, with the prior N(0, I)."""

    variance: Any

    def sample(self, n: int, random_state: RandomState = None) -> NDArray[np.float32]:
        """Sample new rows by decoding codes drawn from N(0, I).

        Parameters
        ----------
        n : int
            The number of rows.
        random_state : int, RandomState or None
            The random seed of the draws.

        Returns
        -------
        ndarray of shape (n, *sample_shape_), float32, or float64 as :meth:`inverse_transform`
            The means of the likelihoods, in the units of the training data.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        ParameterError
            If ``n`` is not a whole number of at least 1.
        """
        self._check_fitted()
        check_number("n", n, low=1, integral=True)
        codes = check_random_state(random_state).standard_normal((n, self.spec_.code_width))
        return self._decode(codes.astype(np.float32))

    def elbo(
        self, X: Any, n_samples: int = 10, random_state: RandomState = None
    ) -> NDArray[np.float64]:
        """Estimate the evidence lower bound of each row, a lower bound of its log likelihood.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows.
        n_samples : int, default=10
            Codes drawn for each row; more draws reduce the variance, and leave the mean as it is.
        random_state : int, RandomState or None
            The random seed of the draws.

        Returns
        -------
        ndarray of shape (n,), float64
            Bounds in nats, in the units of :meth:`log_likelihood`. The weight of the divergence is
            1, also after training with another weight.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        ParameterError
            If ``n_samples`` is not a whole number of at least 1.
        """
        return self._estimate(X, n_samples, random_state, bound=True)[0]

    @overload
    def log_likelihood(
        self,
        X: Any,
        n_samples: int = ...,
        random_state: RandomState = ...,
        *,
        return_effective_size: Literal[False] = ...,
    ) -> NDArray[np.float64]: ...

    @overload
    def log_likelihood(
        self,
        X: Any,
        n_samples: int = ...,
        random_state: RandomState = ...,
        *,
        return_effective_size: Literal[True],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    def log_likelihood(
        self,
        X: Any,
        n_samples: int = 5000,
        random_state: RandomState = None,
        *,
        return_effective_size: bool = False,
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimate the log likelihood of each row by importance weighting.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows.
        n_samples : int, default=5000
            Codes decoded for each row. The expectation of the estimate is at most the true value,
            and rises to it with this number; memory use does not depend on it.
        random_state : int, RandomState or None
            The random seed of the draws.
        return_effective_size : bool, default=False
            Whether the effective number of draws for each row is returned too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,), float64
            The log density of the rows in nats, in the units of the rows, so that models with
            different ``scaling`` can be compared. Pixels from 0 to 255 have ``log(255)`` nats per
            value less than the same pixels from 0 to 1, which most papers use. With "bernoulli" it
            is the log of a probability, which has no units. Minus infinity for rows that the
            likelihood excludes.
        effective_size : ndarray of shape (n,), float64
            Only with ``return_effective_size``: (sum w)^2 / sum w^2 of each row's importance
            weights w, from 1 to ``n_samples``; 0 for rows of minus infinity. One over its square
            root is about the standard error of the log likelihood, in nats.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        ParameterError
            If ``n_samples`` is not a whole number of at least 1.

        Warns
        -----
        NarrowsWarning
            "unreliable_log_likelihood", if the effective number of draws for some rows is below
            100, or below ``n_samples / 10`` if that is less: their estimates are noisy, and most
            likely too low.

        Notes
        -----
        With fewer than 100 draws, all come from the encoder's q(h | x), and the estimate is the
        importance-weighted bound (Burda et al. 2016, eq. 8) of that many draws. From 100 draws on,
        two in ten come from the prior N(0, I), two from a wider prior and two from a wider q; all
        are weighted by the density of the mixture. If q misses a part of the posterior of the code,
        its draws alone would give a low estimate without any sign of it.

        From 1 000 draws on, four in ten are used to learn the mean and the covariance of the
        posterior of each row's code. The estimate uses the others only: three quarters of them come
        from the learned normal distribution, and a quarter from the mixture above. If the posterior
        has several distant modes, the draws may still miss some; this does not lower the effective
        number, so that there may be no warning.

        References
        ----------
        Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders"; Hesterberg (1995),
        "Weighted average importance sampling and defensive mixture distributions"; Cappé, Guillin,
        Marin & Robert (2004), "Population Monte Carlo"; Kong (1992), "A note on importance sampling
        using standardized weights", for the effective number.

        Examples
        --------
        >>> from narrows import VariationalAutoencoder, datasets
        >>> digits = datasets.load("digits")
        >>> model = VariationalAutoencoder(2, max_epochs=5, random_state=0).fit(digits.X_train)
        >>> figures, effective = model.log_likelihood(
        ...     digits.X_test[:20], random_state=0, return_effective_size=True)
        >>> figures.shape, bool(effective.min() > 100)
        ((20,), True)
        """
        check_flag("return_effective_size", return_effective_size)
        figures, effective = self._estimate(X, n_samples, random_state, bound=False)
        _warn_of_unreliable(figures, effective, int(n_samples))
        return (figures, effective) if return_effective_size else figures

    @torch.inference_mode()
    def _estimate(
        self,
        X: Any,
        n_samples: int,
        random_state: RandomState,
        *,
        bound: bool,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimate the log likelihood of rows, or the evidence lower bound, in bounded memory.

        Parameters
        ----------
        X, n_samples, random_state
            As for :meth:`elbo` and :meth:`log_likelihood`.
        bound : bool
            Whether to compute the mean over draws of log p(x | h), minus the divergence, instead of
            the log of the mean over draws of p(x, h) divided by the density of the proposal.

        Returns
        -------
        figures : ndarray of shape (n,), float64
            Estimates in nats, in the units of the rows.
        effective : ndarray of shape (n,), float64
            The effective number of draws; for a bound, their number.
        """
        rows = self._check_rows(X)
        check_number("n_samples", n_samples, low=1, integral=True)
        n_samples = int(n_samples)
        seed = int(check_random_state(random_state).randint(2**31))
        network = Network(self.encoder_, self.decoder_)
        likelihood, scaling = self._likelihood(), self.scaling_
        device = next(network.parameters()).device
        generators = Generators.of(seed, device)
        # The outputs of the widest layer limit the number of codes that are decoded at once.
        widest = _widest(network, scaling(as_tensor(rows[:1]).to(device)))
        n_codes = max(1, min(_CODES, _NUMBERS // widest))
        # If a proposal is learned, the first rounds have a small share of all draws.
        learns = n_samples >= _LEARNED and not bound
        first = round_size(n_samples) if learns else n_samples
        n_rows = max(1, n_codes // first)
        figures, effective = np.empty(len(rows)), np.full(len(rows), float(n_samples))
        keep_freed_memory()
        for start in range(0, len(rows), n_rows):
            block = slice(start, start + n_rows)
            x = scaling(as_tensor(rows[block]).to(device))
            estimator = _RowEstimator(network, likelihood, x, n_codes, generators)
            if bound:
                figure = estimator.lower_bound(n_samples)
            else:
                figure, size = estimator.log_likelihood(n_samples)
                effective[block] = size.cpu().numpy()
            if likelihood.bounded:
                figure.masked_fill_(~within_unit(x), -math.inf)
            # Rows beyond single precision have probability zero for all practical purposes.
            figures[block] = figure.nan_to_num(nan=-math.inf, neginf=-math.inf).cpu().numpy()
        effective[np.isneginf(figures)] = 0
        return figures - likelihood.log_volume(scaling, rows[0].size), effective

    def _likelihood(self) -> Likelihood:
        return Likelihood(self.loss_, self.variance)


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


def learn_proposal(
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
        proposal = replace(base, learned=fit_normal(torch.cat(codes, 1), torch.cat(log_weights, 1)))
    return proposal, (2 + _ROUNDS) * size


def fit_normal(codes: Tensor, log_weights: Tensor) -> Normal:
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


class _RowEstimator:
    """Estimates for each of a block of scaled rows (B, ...), as averages over codes drawn for it.

    Parameters
    ----------
    network : Network
        A network in evaluation mode.
    likelihood : Likelihood
        The density of a row, conditional on its code.
    x : Tensor of shape (B, ...)
        Scaled rows.
    n_codes : int
        The number of codes decoded at once.
    generators : Generators
        The random generators of the draws.
    """

    def __init__(
        self,
        network: Network,
        likelihood: Likelihood,
        x: Tensor,
        n_codes: int,
        generators: Generators,
    ) -> None:
        self._decoder, self._likelihood, self._x = network.decoder, likelihood, x
        self._n_codes, self._generators = n_codes, generators
        # Apple's GPUs have no double precision.
        self._kind = torch.float32 if x.device.type == "mps" else torch.float64
        mean, log_variance = moments(network.encoder.trace(x))
        self._mean, self._log_variance = mean, log_variance

    def lower_bound(self, n_samples: int) -> Tensor:
        """Average log p(x | h) over draws of q(h | x), minus the divergence of q; (B,)."""
        q = Proposal.of(self._mean, self._log_variance, defensive=False)
        total = torch.zeros_like(self._mean[:, 0])
        for codes in self._drawn(q, n_samples):
            total += self._log_densities(codes).sum(1)
        divergence = losses.gaussian_kl(self._mean, self._log_variance).sum(1)
        return total / n_samples - divergence

    def log_likelihood(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """Return the log of the mean importance weight, and the effective number of draws, (B,)."""
        # Rows beyond single precision have no q; the prior stands in for it.
        mean, log_variance = self._mean.nan_to_num(0, 0, 0), self._log_variance.nan_to_num(0, 0, 0)
        proposal, spent = Proposal.of(mean, log_variance, defensive=n_samples >= _DEFENDED), 0
        if n_samples >= _LEARNED:
            proposal, spent = learn_proposal(self._log_joint, proposal, n_samples, self._generators)
        # The sums stay on the device, so that no chunk waits for the host.
        total = self._mean.new_full((len(mean),), -math.inf, dtype=self._kind)
        squares = total
        for codes in self._drawn(proposal, n_samples - spent):
            weights = self._log_joint(codes) - proposal.log_density(codes)
            total = torch.logaddexp(total, weights.logsumexp(1))
            squares = torch.logaddexp(squares, (2 * weights).logsumexp(1))
        return total - math.log(n_samples - spent), (2 * total - squares).exp()

    def _drawn(self, proposal: Proposal, count: int) -> Iterator[Tensor]:
        """Draw ``count`` codes for each row, and yield them in chunks (B, n, K)."""
        size = max(1, self._n_codes // len(self._x))
        for done in range(0, count, size):
            yield proposal.draw(min(size, count - done), self._generators)

    def _log_joint(self, codes: Tensor) -> Tensor:
        """Return log p(x, h) of codes (B, n, K), in nats; (B, n)."""
        prior = codes.square().sum(-1).to(self._kind) + codes.shape[-1] * math.log(2 * math.pi)
        return self._log_densities(codes) - 0.5 * prior

    def _log_densities(self, codes: Tensor) -> Tensor:
        """Return log p(x | h) of codes (B, n, K), in nats; (B, n)."""
        size = max(1, self._n_codes // len(self._x))
        parts = [
            self._likelihood.log_density(self._decoder, part, self._x)
            for part in torch.split(codes.transpose(0, 1), size)
        ]
        return torch.cat(parts).to(self._kind).nan_to_num(nan=-math.inf).mT


def _warn_of_unreliable(
    figures: NDArray[np.float64], effective: NDArray[np.float64], n_samples: int
) -> None:
    """Warn if the log likelihood of rows depends on few effective draws."""
    least = min(_EFFECTIVE, _EFFECTIVE_SHARE * n_samples)
    poor = np.isfinite(figures) & (effective < least)
    if poor.any():
        count, lowest = int(poor.sum()), float(effective[poor].min())
        warn(
            f"the log likelihoods of {count} of {len(figures)} rows are unreliable, most "
            f"likely too low: of n_samples={n_samples} draws of the code only {lowest:.3g} or more "
            f"(fewer than {least:g}) are effective there; raise n_samples; "
            "return_effective_size=True tells which rows these are",
            kind="unreliable_log_likelihood",
            stacklevel=3,
            rows=count,
            of=len(figures),
            lowest_effective_size=lowest,
        )


def _widest(network: Network, x: Tensor) -> int:
    """Return the number of outputs of the widest module, for one row (1, ...)."""
    counts = [x.numel()]

    def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            counts.append(output.numel())

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return max(counts)
