"""How far a reconstruction is from its input: summed over features, averaged over rows.

Sums over features are what the papers write, so that their weights can be used as printed.
"""

from torch import Tensor
from torch.nn import functional


def squared_error(y: Tensor, x: Tensor) -> Tensor:
    """Squared Euclidean distance from reconstruction to input, the mean over rows.

    Parameters
    ----------
    y, x : Tensor of shape (B, ...)

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> import torch
    >>> squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor(5.)
    """
    return functional.mse_loss(y, x, reduction="sum") / len(x)


def cross_entropy(logits: Tensor, x: Tensor) -> Tensor:
    """Binary cross-entropy of each feature, summed over features, the mean over rows.

    Parameters
    ----------
    logits : Tensor of shape (B, ...)
        The reconstruction before its sigmoid, so that no logarithm of zero is taken.
    x : Tensor of shape (B, ...)
        Between 0 and 1.

    Returns
    -------
    Tensor of shape ()
        In nats.

    Examples
    --------
    >>> import torch
    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
    tensor(1.3863)
    """
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
