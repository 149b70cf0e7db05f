"""Log densities of rows and of latent codes, and their divergences, in nats.

Kingma & Welling (2014), "Auto-encoding variational Bayes", appendix B, for the divergence;
Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli", eqs. 4 to 6, for its normaliser;
Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders", eqs. 7 and 8, for weights;
Kingma et al. (2016), "Improving variational inference with inverse autoregressive flow",
eq. 15, for free bits.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from narrows.data.batches import unit_means

# Nearer to a = 0 than this the closed form cancels, and a series takes its place.
_NEAR_ZERO = 0.4


def bernoulli(a: Tensor, x: Tensor) -> Tensor:
    """Log probability of zeros and ones; of values between, minus the cross-entropy.

    Parameters
    ----------
    a : Tensor
        The logit of the probability of a one.
    x : Tensor
        From 0 to 1, of a shape that broadcasts with ``a``.

    Returns
    -------
    Tensor
        The log density of each value, of the shape both broadcast to.

    Examples
    --------
    >>> bernoulli(torch.zeros(2), torch.tensor([0.0, 1.0]))
    tensor([-0.6931, -0.6931])
    """
    return a * x - functional.softplus(a)


def bernoulli_sum(a: Tensor, x: Tensor) -> Tensor:
    """Sum :func:`bernoulli` over the last axis, with fewer arrays of all values.

    Parameters
    ----------
    a, x : Tensor of shape (..., F)
        As :func:`bernoulli`.

    Returns
    -------
    Tensor of shape (...,)

    Examples
    --------
    >>> bernoulli_sum(torch.zeros(2), torch.tensor([0.0, 1.0]))
    tensor(-1.3863)
    """
    products: Tensor = torch.linalg.vecdot(a, x)
    return products - functional.softplus(a).sum(-1)


def continuous_bernoulli(a: Tensor, x: Tensor) -> Tensor:
    """Log density of values in [0, 1] that is proportional to exp(a x), normaliser included.

    Parameters
    ----------
    a : Tensor
        The logit of the distribution's parameter lambda.
    x : Tensor
        From 0 to 1, of a shape that broadcasts with ``a``.

    Returns
    -------
    Tensor
        The log density of each value, of the shape both broadcast to.

    Examples
    --------
    >>> continuous_bernoulli(torch.tensor([0.0, 3.0]), torch.tensor([0.5, 1.0]))
    tensor([0.0000, 1.1497])
    """
    near = a.abs() < _NEAR_ZERO
    # Neither branch may reach log(0): its gradient would be NaN even where it is not taken.
    size = torch.where(near, 1.0, a.abs())
    far = functional.relu(a) + torch.log(-torch.expm1(-size)) - torch.log(size)
    small = torch.where(near, a, 0.0)
    square = small * small
    terms = 1 / 24 - square * (1 / 2880 - square * (1 / 181440 - square / 9676800))
    return a * x - torch.where(near, small / 2 + square * terms, far)


def gaussian(mean: Tensor, x: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of the normal distribution.

    Parameters
    ----------
    mean, x, log_variance : Tensor
        Tensors of shapes that broadcast with each other.

    Returns
    -------
    Tensor
        The log density of each value, of the shape all broadcast to.

    Examples
    --------
    >>> gaussian(torch.zeros(1), torch.ones(1), torch.zeros(()))
    tensor([-1.4189])
    """
    constant = math.log(2 * math.pi)
    return -0.5 * ((x - mean) ** 2 * torch.exp(-log_variance) + log_variance + constant)


def gaussian_sum(mean: Tensor, x: Tensor, log_variance: Tensor) -> Tensor:
    """Sum :func:`gaussian` over the last axis: all its values have the same variance.

    Parameters
    ----------
    mean, x : Tensor of shape (..., F)
        Tensors of shapes that broadcast with each other.
    log_variance : Tensor of shape ()

    Returns
    -------
    Tensor of shape (...,)

    Examples
    --------
    >>> gaussian_sum(torch.zeros(2), torch.ones(2), torch.zeros(()))
    tensor(-2.8379)
    """
    squares = functional.mse_loss(mean, x.expand_as(mean), reduction="none").sum(-1)
    constant = mean.shape[-1] * (log_variance + math.log(2 * math.pi))
    return -0.5 * (squares * torch.exp(-log_variance) + constant)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence from normal distributions to the standard one.

    Parameters
    ----------
    mean, log_variance : Tensor of one shape

    Returns
    -------
    Tensor
        The divergence of each unit, at least 0, of the same shape.

    Examples
    --------
    >>> gaussian_kl(torch.tensor([0.0, 2.0]), torch.zeros(2))
    tensor([0., 2.])
    """
    # expm1 keeps the digits where the variance is near 1, and both terms near 0.
    return 0.5 * (mean**2 + torch.expm1(log_variance) - log_variance)


def free_bits(divergences: Tensor, least: float, weights: Tensor | None = None) -> Tensor:
    """Sum the divergences of units, each of which counts as at least a bound.

    Parameters
    ----------
    divergences : Tensor of shape (B, K)
        The divergence of each row and unit.
    least : float
        The divergence that each unit may have without a cost, in nats, on average over the rows.
    weights : Tensor of shape (B,), optional
        The weight of each row.

    Returns
    -------
    Tensor of shape ()
        The mean over rows, those of all processes that train together.

    Examples
    --------
    >>> free_bits(torch.tensor([[0.1, 2.0], [0.1, 4.0]]), 0.5)
    tensor(3.5000)
    """
    return unit_means(divergences, weights).clamp(min=least).sum()


def draw_codes(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Turn standard normal noise into codes by reparametrisation, which gradients pass.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (B, K)
    noise : Tensor of shape (..., B, K)

    Returns
    -------
    Tensor of shape (..., B, K)

    Examples
    --------
    >>> draw_codes(torch.ones(1, 1), torch.zeros(1, 1), torch.tensor([[0.5]]))
    tensor([[1.5000]])
    """
    return mean + torch.exp(0.5 * log_variance) * noise


def log_prior_ratio(codes: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Log of the ratio of the prior's density to that of the posterior the codes were drawn from.

    Parameters
    ----------
    codes : Tensor of shape (..., B, K)
        The codes that :func:`draw_codes` made of the noise.
    log_variance : Tensor of shape (B, K)
    noise : Tensor of shape (..., B, K)

    Returns
    -------
    Tensor of shape (..., B)
        Its mean over draws is minus the divergence.

    Examples
    --------
    >>> noise = torch.tensor([[0.5]])
    >>> log_prior_ratio(noise + 1, torch.zeros(1, 1), noise)
    tensor([-1.])
    """
    return 0.5 * (noise**2 + log_variance - codes**2).sum(-1)
