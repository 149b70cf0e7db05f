"""The terms of losses: errors of reconstructions, log densities in nats, and norms of Jacobians.

Models sum the errors of values over features, as the papers do, so that their weights can be used
as printed.

Densities and divergences: Kingma & Welling (2014), "Auto-encoding variational Bayes", appendix B,
for the divergence; Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli", eqs. 4 to 6, for
its normaliser; Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders", eqs. 7
and 8, for weights; Kingma et al. (2016), "Improving variational inference with inverse
autoregressive flow", eq. 15, for free bits.

The squared Frobenius norm of the Jacobian of a code with respect to its row: Rifai, Vincent,
Muller, Glorot & Bengio (2011), "Contractive auto-encoders", ICML: the penalty is eq. 1; for one
layer of sigmoids they give its closed form. The estimate is Hutchinson's (1990): where the entries
of u are -1 or 1 with equal chance, E ||u^T J||^2 = trace(J J^T) = ||J||_F^2.

Directions need not be independent from row to row for that. Those of neighbouring rows are chosen
orthogonal: rows of a Hadamard matrix H, whose columns change sign at random. Each is then still
any vector of signs with equal chance, and P of them, P the next power of two from K on, satisfy
sum u u^T = P I: where rows have similar Jacobians, the errors of their estimates cancel.

The contrast of codes: Chen, Kornblith, Norouzi & Hinton (2020), "A simple framework for contrastive
learning of visual representations", eq. 1 (NT-Xent).

Through linear layers W_1, ..., W_L, whose activations have the slopes d_1, ..., d_L at a row, the
Jacobian is J = diag(d_L) W_L ... diag(d_1) W_1. All functions can be differentiated further.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from narrows import ranks
from narrows.data.batches import unit_means

LOSSES = ("squared_error", "cross_entropy")

# The named terms, each of shape (), whose sum is minimised; training's history shows each.
Loss = dict[str, Tensor]
# Nearer to a = 0 than this the closed form cancels, and a series takes its place.
_NEAR_ZERO = 0.4
# Codes shorter than this have no direction.
_LEAST_LENGTH = 1e-6


def squared_error(y: Tensor, x: Tensor) -> Tensor:
    """Square of the difference between reconstruction and input.

    Parameters
    ----------
    y, x : Tensor of one shape

    Returns
    -------
    Tensor
        The squared error of each value, of the same shape.

    Examples
    --------
    >>> import torch
    >>> squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[1., 4.]])
    """
    return functional.mse_loss(y, x, reduction="none")


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy between reconstruction and input.

    Parameters
    ----------
    logits : Tensor
        The reconstruction before its sigmoid, so that no logarithm of zero is taken.
    x : Tensor of the same shape
        Between 0 and 1.

    Returns
    -------
    Tensor
        The cross-entropy of each value, in nats, of the same shape.

    Examples
    --------
    >>> import torch
    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
    tensor([[0.6931, 0.6931]])
    """
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none")


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


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Tell how badly the two codes of one row find each other among those of all rows.

    Of the 2B codes of a batch, made unit vectors z, code i has one partner, p(i), the other code of
    its row. Its loss is the cross-entropy of finding it by the cosines,

        -log(exp(z_i . z_p(i) / t) / sum over k != i of exp(z_i . z_k / t)).

    Parameters
    ----------
    first, second : Tensor of shape (B, K)
        The codes of two distorted versions of each row.
    temperature : float
        t, above 0: the smaller, the more the nearest of the other codes count.

    Returns
    -------
    Tensor of shape (B,)
        The mean loss of the two codes of each row, in nats. The other codes are those of all
        processes that train together.

    Examples
    --------
    >>> first = second = torch.eye(2)
    >>> expected = math.log(1 + 2 * math.exp(-1 / 0.5))
    >>> bool((contrast(first, second, 0.5) - expected).abs().max() < 1e-6)
    True
    """
    codes = functional.normalize(torch.cat([first, second]), dim=1, eps=_LEAST_LENGTH)
    everyone, start = ranks.stacked(codes)
    own = start + torch.arange(len(codes), device=codes.device)
    similarity = codes @ everyone.t() / temperature
    similarity = similarity.scatter(1, own[:, None], -torch.inf)
    terms = functional.cross_entropy(similarity, own.roll(len(first)), reduction="none")
    return terms.view(2, -1).mean(0)


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


def slope(activation: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Differentiate a function of single numbers.

    Parameters
    ----------
    activation : callable
        From a tensor to one of the same shape, each number by itself.
    values : Tensor
        The numbers at which the function is differentiated.

    Returns
    -------
    Tensor of the same shape
        The derivatives, which can be differentiated again where gradients are on.

    Examples
    --------
    >>> slope(torch.tanh, torch.tensor([0.0, 20.0]))
    tensor([1., 0.])
    """
    further = torch.is_grad_enabled() and values.requires_grad
    with torch.enable_grad():
        at = values if further else values.detach().requires_grad_()
        y = activation(at)
        return torch.autograd.grad(y, at, torch.ones_like(y), create_graph=further)[0]


def layered_norm(weights: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> Tensor:
    """Squared Frobenius norm of the Jacobian of dense layers, exactly.

    Parameters
    ----------
    weights : sequence of Tensor of shape (out, in)
        The matrices, from the input on.
    slopes : sequence of Tensor of shape (B, out) or None
        The slopes of the activation after each; ``None`` where there is none.

    Returns
    -------
    Tensor of shape (B,)
        The norms; of shape (1,) where no layer has a slope, so that all rows have the same.

    Notes
    -----
    One layer: the sum over units j of d_j^2 ||W_j||^2, at the cost of a few sums. One hidden
    layer under a linear code: d . [(W_2^T W_2) o (W_1 W_1^T)] d, whose matrix all rows share.
    Otherwise the product diag(d_L) W_L ... diag(d_1) is built from the code downwards, one matrix
    a row; the widest matrix, W_1, enters only as W_1 W_1^T where that is smaller.

    Examples
    --------
    >>> layered_norm([torch.tensor([[3.0, 4.0]])], [torch.tensor([[1.0], [0.5]])])
    tensor([25.0000,  6.2500])
    """
    first, *upper = weights
    if not upper:
        squares = first.square().sum(dim=1)
        return _weighted_sum(squares, slopes[0])
    if len(upper) == 1 and slopes[0] is not None and slopes[1] is None:
        shared = (upper[0].t() @ upper[0]) * _gram(first)
        forms: Tensor = ((slopes[0] @ shared) * slopes[0]).sum(dim=1)
        return forms
    rows = upper[-1].unsqueeze(0)
    for weight, below in zip(upper[-2::-1], slopes[-2:0:-1], strict=True):
        rows = _times(rows, below) @ weight
    rows = _times(rows, slopes[0])
    if len(first) < first.shape[1]:
        squares = _quadratic_form(rows, _gram(first))
    else:
        squares = (rows @ first).square().sum(dim=2)
    return _weighted_sum(squares, slopes[-1])


def draw_probes(
    n_rows: int, width: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Draw a random direction of signs for each row, those of a group of rows orthogonal.

    Parameters
    ----------
    n_rows : int
        Rows of the batch, B.
    width : int
        Width of the code, K. Groups have as many rows as the next power of two.
    generator : torch.Generator
        The generator that signs are drawn from, on the device of the directions.
    dtype : torch.dtype
        The type of the directions.

    Returns
    -------
    Tensor of shape (B, K)
        The directions, of -1 and 1.

    Examples
    --------
    >>> probes = draw_probes(4, 4, torch.Generator().manual_seed(0))
    >>> (probes @ probes.t()).tolist() == (4 * torch.eye(4)).tolist()
    True
    """
    device = generator.device
    group = 1 << (width - 1).bit_length()
    row = torch.arange(n_rows, device=device)
    # The entry of Sylvester's Hadamard matrix is -1 to the number of bits that its row's and its
    # column's number share; folding the bits onto each other leaves whether that is odd.
    parity = (row % group)[:, None] & torch.arange(width, device=device)
    for shift in (16, 8, 4, 2, 1):
        parity = parity ^ (parity >> shift)
    n_groups = -(-n_rows // group)
    flips = torch.randint(0, 2, (n_groups, width), generator=generator, device=device)
    signs = (parity & 1) ^ flips[row // group]
    return (1 - 2 * signs).to(dtype)


def layered_estimate(
    weights: Sequence[Tensor], slopes: Sequence[Tensor | None], probes: Tensor
) -> Tensor:
    """Estimate the squared Frobenius norm of the Jacobian of dense layers, without bias.

    Parameters
    ----------
    weights, slopes : sequence of Tensor
        As :func:`layered_norm`.
    probes : Tensor of shape (B, K)
        A random direction of -1 and 1 for each row. One for all rows would make gradients of the
        mean over rows several times as noisy.

    Returns
    -------
    Tensor of shape (B,)
        ||u^T J||^2, at about the cost of one more pass through the encoder.

    Examples
    --------
    >>> layered_estimate([torch.eye(2)], [torch.tensor([[3.0, 4.0]])], torch.tensor([[1.0, -1.0]]))
    tensor([25.])
    """
    rows = probes
    for weight, above in zip(reversed(weights), reversed(slopes), strict=True):
        rows = (rows if above is None else rows * above) @ weight
    return rows.square().sum(dim=1)


def function_norm(
    function: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None = None
) -> Tensor:
    """Squared Frobenius norm of the Jacobian of any function, exact or estimated without bias.

    Parameters
    ----------
    function : callable
        From rows (B, ...) to codes (B, K), each row by itself.
    x : Tensor of shape (B, ...)
        The rows.
    probes : Tensor of shape (B, K), optional
        Random directions for an estimate, as for :func:`layered_estimate`.

    Returns
    -------
    Tensor of shape (B,)
        The norm, at the cost of K backward passes; with probes ||u^T J||^2, at that of one.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    >>> function_norm(lambda x: x**2, x).tolist()
    [20.0, 36.0]
    >>> function_norm(lambda x: x**2, x, torch.tensor([[1.0, -1.0], [1.0, 1.0]])).tolist()
    [20.0, 36.0]
    """
    rows = _pulled_back(function, x, probes)
    return torch.stack([row.square().flatten(1 - x.ndim).sum(dim=-1) for row in rows]).sum(dim=0)


def function_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Jacobian of any function of rows, each by itself.

    Parameters
    ----------
    function, x : callable and Tensor
        As :func:`function_norm`.

    Returns
    -------
    Tensor of shape (B, K, F)
        With the rows' features laid flat.

    Examples
    --------
    >>> function_jacobian(lambda x: x**2, torch.tensor([[1.0, 2.0]])).tolist()
    [[[2.0, 0.0], [0.0, 4.0]]]
    """
    return torch.stack([row.flatten(1 - x.ndim) for row in _pulled_back(function, x, None)], dim=1)


def _pulled_back(
    function: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None
) -> list[Tensor]:
    """Return u^T J (B, ...), for the direction given or for each of the code's units."""
    further = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):  # the only attention that can be differentiated twice
            code = function(x)
        width = code.shape[1]
        if probes is not None:
            directions = [probes]
        else:
            directions = [unit.expand_as(code) for unit in torch.eye(width).to(code)]
        # One unit at a time: not every layer's gradient can be taken for all of them side by side.
        return [
            torch.autograd.grad(code, x, each, retain_graph=True, create_graph=further)[0]
            for each in directions
        ]


def _times(rows: Tensor, slopes: Tensor | None) -> Tensor:
    """Multiply the columns of matrices (B or 1, K, n) by slopes (B, n)."""
    return rows if slopes is None else rows * slopes.unsqueeze(1)


def _weighted_sum(squares: Tensor, slopes: Tensor | None) -> Tensor:
    """Sum squares (K,) or (B or 1, K) over units, each times its squared slope (B, K)."""
    weighted = squares if slopes is None else squares * slopes.square()
    return weighted.sum(dim=-1, keepdim=weighted.ndim == 1)


def _gram(weight: Tensor) -> Tensor:
    product: Tensor = _Gram.apply(weight)  # type: ignore[no-untyped-call]
    return product


def _quadratic_form(rows: Tensor, matrix: Tensor) -> Tensor:
    form: Tensor = _QuadraticForm.apply(rows, matrix)  # type: ignore[no-untyped-call]
    return form


class _Gram(torch.autograd.Function):
    """W W^T; its symmetry saves one of the two matrix products of its gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return weight @ weight.t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        weight: Tensor = ctx.saved_tensors[0]
        return (gradient + gradient.t()) @ weight


class _QuadraticForm(torch.autograd.Function):
    """r^T G r for rows (B, K, n) and a symmetric matrix (n, n), to (B, K).

    The product that its value needs is half of its gradient with respect to the rows.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor) -> Tensor:
        products = rows @ matrix
        ctx.save_for_backward(rows, products)
        return (rows * products).sum(dim=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rows, products = ctx.saved_tensors
        weighted = rows.flatten(0, 1) * gradient.flatten().unsqueeze(1)
        return 2 * gradient.unsqueeze(2) * products, weighted.t() @ rows.flatten(0, 1)
