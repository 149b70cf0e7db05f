"""The squared Frobenius norm of the Jacobian of a code with respect to its row.

Rifai, Vincent, Muller, Glorot & Bengio (2011), "Contractive auto-encoders", ICML: the penalty is
eq. 1; for one layer of sigmoids they give its closed form. The estimate is Hutchinson's (1990):
where the entries of u are -1 or 1 with equal chance, E ||u^T J||^2 = trace(J J^T) = ||J||_F^2.

Directions need not be independent from row to row for that. Those of neighbouring rows are chosen
orthogonal: rows of a Hadamard matrix H, whose columns change sign at random. Each is then still
any vector of signs with equal chance, and P of them, P the next power of two from K on, satisfy
sum u u^T = P I: where rows have similar Jacobians, the errors of their estimates cancel.

Through linear layers W_1, ..., W_L, whose activations have the slopes d_1, ..., d_L at a row, the
Jacobian is J = diag(d_L) W_L ... diag(d_1) W_1. All functions can be differentiated further.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel


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
