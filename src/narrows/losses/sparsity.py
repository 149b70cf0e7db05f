"""How often units are on: the divergence from a wanted mean activation, and the cost of silence.

Lee, Ekanadham & Ng (2008), "Sparse deep belief net model for visual area V2", NIPS, and Ng (2011),
"Sparse autoencoder", CS294A lecture notes: the mean activation r_j of a sigmoid unit over the data
is held near a small rho by the sum over units of

    KL(rho || r_j) = rho log(rho / r_j) + (1 - rho) log((1 - rho) / (1 - r_j)).

Log space. A unit whose pre-activations a are all -120 has r = 0 in single precision: the form
above is infinite, and once clamped it has no gradient. But log r is the log-sum-exp of
log sigmoid(a) less log n, and d(-rho log r)/da_i = -rho softmax_i(log sigmoid(a)) sigmoid(-a_i):
over the rows these add up to -rho, however low the pre-activations are. 1 - r, the mean of
sigmoid(-a), is treated alike.

Running mean. KL is convex, so KL at the mean of a small batch is too large on average, and pulls
all rows towards rho. It is therefore taken at a running mean R of the data, R_new = (1 - w) R + w b
with b the batch's mean and w its share of the rows remembered. Differentiated as it stands this
would scale the gradient by w. Wanted is the gradient of the whole data's KL, which is KL'(R)
times the mean of dsigmoid(a)/da; a batch estimates it without bias by KL'(R) db/da. This is what
the penalty's gradient is: that of -rho b / R - (1 - rho) (1 - b) / (1 - R), R held fixed, with both
ratios taken as exponentials of differences of logarithms. Where the batch is the data, b = R, and
it is the gradient of KL itself.

Weights. Of rows that count differently b is the weighted mean, w the batch's share of the weights,
and db/da that of the weights' sum over the rows' number, whose mean over batches is without bias.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from narrows import ranks

# Rows that the running means look back on.
_MEMORY = 4096


def kl_sparsity(target: float, log_on: Tensor, log_off: Tensor) -> Tensor:
    """Divergence of Bernoulli units with wanted mean from those with the means they have.

    Parameters
    ----------
    target : float
        The mean that is wanted, rho, in (0, 1).
    log_on, log_off : Tensor of shape (K,)
        Logarithms of the mean activation and of one minus it.

    Returns
    -------
    Tensor of shape (K,)
        In nats; 0 where the mean is the target.

    Examples
    --------
    >>> means = torch.tensor([0.05, 0.5])
    >>> [round(float(value), 3) for value in kl_sparsity(0.05, means.log(), (1 - means).log())]
    [0.0, 0.495]
    """
    on = target * (math.log(target) - log_on)
    off = (1 - target) * (math.log1p(-target) - log_off)
    return on + off


class Activity(nn.Module):
    """What is counted of a code's units while training.

    Parameters
    ----------
    n_components : int
        Width of the code, K.

    Attributes
    ----------
    log_on, log_off : Tensor of shape (K,)
        Logarithms of the running means of sigmoid(a) and sigmoid(-a).
    rows : Tensor of shape ()
        Rows seen.
    silent : Tensor of shape (K,)
        Rows seen since each unit was last on.
    """

    log_on: Tensor
    log_off: Tensor
    rows: Tensor
    silent: Tensor

    def __init__(self, n_components: int) -> None:
        super().__init__()
        for name in ("log_on", "log_off", "silent"):
            self.register_buffer(name, torch.zeros(n_components))
        self.register_buffer("rows", torch.zeros(()))

    def count(self, on: Tensor) -> None:
        """Note which units are on, of shape (B, K)."""
        used = ranks.highest(on.any(dim=0).to(self.silent.dtype)) > 0
        self.silent = torch.where(used, 0.0, self.silent + ranks.total(len(on)))

    def divergence(self, logits: Tensor, target: float, weights: Tensor | None = None) -> Tensor:
        """KL(rho || R) of each sigmoid unit, R the running mean.

        Parameters
        ----------
        logits : Tensor of shape (B, K)
            The pre-activations of a batch. In training mode it goes into the running mean; in
            evaluation mode it is measured by itself.
        target : float
            The mean that is wanted, rho, in (0, 1).
        weights : Tensor of shape (B,), optional
            How much each row counts, above 0.

        Returns
        -------
        Tensor of shape (K,)
            With the gradient of the whole data's divergence: see the module's head.

        Examples
        --------
        >>> logits = torch.full((4, 1), -120.0, requires_grad=True)
        >>> value = Activity(1).divergence(logits, 0.05).sum()
        >>> (pull,) = torch.autograd.grad(value, logits)
        >>> round(value.item(), 2), round(pull.sum().item(), 3)
        (5.8, -0.05)
        """
        batch = log_mean_sigmoid(logits, weights), log_mean_sigmoid(-logits, weights)
        means = [mean.detach() for mean in batch]
        n_rows = ranks.total(len(logits))
        weight: Tensor | int = n_rows if weights is None else ranks.add(weights.detach().sum())
        if self.training:
            self.rows += weight
            share = (weight / self.rows.clamp(max=max(_MEMORY, n_rows))).clamp(max=1)
            means = [
                torch.logaddexp((-share).log1p() + kept, share.log() + new)
                for kept, new in zip((self.log_on, self.log_off), means, strict=True)
            ]
            self.log_on, self.log_off = means
        on, off = ((new - mean).exp() for new, mean in zip(batch, means, strict=True))
        slope = (-target * on - (1 - target) * off) * (weight / n_rows)
        return kl_sparsity(target, *means) + slope - slope.detach()


def log_mean_sigmoid(logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Logarithm of the mean over rows of the sigmoid: of (B, K) to (K,), finite everywhere.

    Of processes that train together, over the rows of all; weighted, if they have weights (B,).

    Examples
    --------
    >>> log_mean_sigmoid(torch.tensor([[-200.0], [-200.0]]))
    tensor([-200.])
    """
    terms = functional.logsigmoid(logits)
    if weights is not None:
        terms = terms + weights.log()[:, None]
    total = terms.logsumexp(dim=0)
    if ranks.size() > 1:
        largest = ranks.highest(total)
        total = ranks.add((total - largest).exp()).log() + largest
    if weights is None:
        return total - math.log(ranks.total(len(logits)))
    return total - ranks.add(weights.sum()).log()


def silence(logits: Tensor, bar: Tensor | float, dead: Tensor) -> Tensor:
    """How far below the bar dead units are where they come nearest to it: the sum over units.

    Selection gives a unit that is never on no gradient. This one lifts it for the row of the batch
    to which it answers most, until it is on for rows like that, and the reconstruction takes over.
    Conerly, Cunningham, Templeton, Lindsey, Hosmer & Jermyn (2025), "Dictionary learning
    optimization techniques", Anthropic Circuits Updates, January, pay the mean over all rows, and
    of all units. Of a mean over rows whose average is subtracted, little but the bias is left to
    learn from: it rises by the same for all rows, more slowly than the bar, and a unit that comes
    back so answers to no row in particular.

    Parameters
    ----------
    logits : Tensor of shape (B, K)
        The pre-activations.
    bar : Tensor broadcast with them, or float
        What a pre-activation must exceed for the unit to be on.
    dead : Tensor of shape (K,), bool
        The units that are to come back.

    Returns
    -------
    Tensor of shape ()
        Of processes that train together, each has its share.

    Examples
    --------
    >>> silence(torch.tensor([[-3.0, -1.0], [-5.0, -1.0]]), 0.0, torch.tensor([True, False]))
    tensor(3.)
    """
    own = (bar - logits).amin(dim=0)
    least = ranks.lowest(own.detach())
    nearest = (own.detach() == least).to(own.dtype)  # the processes that have the unit's row
    # What a process returns counts by its share of the rows.
    share = nearest / ranks.add(nearest) * (ranks.total(len(logits)) / len(logits))
    return (functional.relu(own) * dead * share).sum()
