"""What training makes small: one function a term."""

from torch import Tensor

from narrows.losses import jacobian, sparsity, variational
from narrows.losses.reconstruction import cross_entropy, squared_error

LOSSES = ("squared_error", "cross_entropy")

# The named terms, each of shape (), whose sum is minimised; training's history shows each.
Loss = dict[str, Tensor]

__all__ = [
    "LOSSES",
    "Loss",
    "cross_entropy",
    "jacobian",
    "sparsity",
    "squared_error",
    "variational",
]
