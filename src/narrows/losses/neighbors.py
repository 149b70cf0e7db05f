"""How far codes are from having the neighbours that their rows have: t-SNE's loss, on a batch.

van der Maaten & Hinton (2008), "Visualizing data using t-SNE", JMLR 9, and van der Maaten (2009),
"Learning a parametric embedding by preserving local structure", AISTATS, who makes it small for
the codes that a network gives the rows of a batch. With y the codes of B rows,

    w_ij = 1 / (1 + ||y_i - y_j||^2),   q_ij = w_ij / sum over k != l of w_kl   (2008, eq. 4)

and p_ij the share of the pair among all pairs of a row and one of its k nearest in the batch
(in place of Gaussians of one perplexity: Böhm, Berens & Kobak 2022, "Attraction-repulsion
spectrum in neighbor embeddings", JMLR 23, find hardly a difference), it is the cross-entropy
- sum p_ij log q_ij: the divergence of eq. 2 but for a constant. Its gradient (eq. 5),

    dC/dy_i = 4 sum over j of (p_ij - q_ij) w_ij (y_i - y_j),

is computed with the loss, in few passes over the B by B matrix of w; autograd would keep many.
"""

from typing import Any

import torch
from torch import Tensor


def nearest(x: Tensor, k: int) -> Tensor:
    """Find the rows nearest to each, among the rows themselves.

    Parameters
    ----------
    x : Tensor of shape (B, F)
        Rows.
    k : int
        How many, fewer than B.

    Returns
    -------
    Tensor of int64 and shape (B, k)
        Numbers of rows, the nearest first; never the row itself.

    Examples
    --------
    >>> nearest(torch.tensor([[0.0], [1.0], [3.0]]), 1).tolist()
    [[1], [0], [1]]
    """
    # Distances squared, but for the row's own length, which does not change its order.
    distances = torch.addmm(x.square().sum(1), x, x.T, alpha=-2)
    distances.fill_diagonal_(torch.inf)
    return distances.topk(k, largest=False).indices


def neighbor_loss(codes: Tensor, neighbors: Tensor) -> Tensor:
    """Compare which codes lie near each other with which rows do.

    Parameters
    ----------
    codes : Tensor of shape (B, K)
        Codes of the rows of a batch.
    neighbors : Tensor of int64 and shape (B, k)
        Each row's neighbours, as :func:`nearest` finds them.

    Returns
    -------
    Tensor of shape ()
        The cross-entropy, in nats.

    Examples
    --------
    >>> neighbors = nearest(torch.tensor([[0.0], [0.1], [5.0], [5.1]]), 1)
    >>> kept, torn = torch.tensor([[[0.0], [1.0], [9.0], [8.0]], [[0.0], [9.0], [1.0], [8.0]]])
    >>> bool(neighbor_loss(kept, neighbors) < neighbor_loss(torn, neighbors))
    True
    """
    loss: Tensor = _NeighborLoss.apply(codes, neighbors)  # type: ignore[no-untyped-call]
    return loss


class _NeighborLoss(torch.autograd.Function):
    """The loss, with the gradient of eq. 5."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, neighbors: Tensor) -> Tensor:
        """Return the loss, and keep its gradient for later."""
        lengths = codes.square().sum(1)
        w = torch.addmm(lengths + 1, codes, codes.T, alpha=-2).add_(lengths[:, None])
        w.clamp_(min=1).reciprocal_().fill_diagonal_(0)  # rounding may leave less than 1
        total = w.sum()
        # The few pairs that p counts: straight from the differences, which are exact where small.
        apart = codes[:, None] - codes[neighbors]
        distances = apart.square().sum(-1, keepdim=True)
        loss = distances.log1p().mean() + total.log()
        pull = (2 / neighbors.numel()) * apart / (1 + distances)
        gradient = pull.sum(1)
        gradient.index_add_(0, neighbors.flatten(), -pull.flatten(0, 1))
        w.square_()
        gradient -= (4 / total) * (w.sum(1, keepdim=True) * codes - w @ codes)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """Return the kept gradient, times the slope of what comes after."""
        (gradient,) = ctx.saved_tensors
        return slope * gradient, None
