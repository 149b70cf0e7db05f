"""The terms of losses: how far a reconstruction is from its input, and what penalties measure.

Models sum the errors of values over features, as the papers do, so that their weights can be used
as printed.
"""

from torch import Tensor
from torch.nn import functional

from narrows.losses import jacobian, variational

LOSSES = ("squared_error", "cross_entropy")

# The named terms, each of shape (), whose sum is minimised; training's history shows each.
Loss = dict[str, Tensor]

__all__ = [
    "LOSSES",
    "Loss",
    "cross_entropy",
    "jacobian",
    "squared_error",
    "variational",
]


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
