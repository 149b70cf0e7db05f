"""The sparse autoencoder: codes in which few units are active for each row.

Codes are made sparse by the divergence of mean activations from a small target (Lee, Ekanadham & Ng
2008, "Sparse deep belief net model for visual area V2"; Ng 2011, "Sparse autoencoder", CS294A
lecture notes), by their L1 norm (Olshausen & Field 1996), or by selection: TopK (Makhzani & Frey
2014; Gao et al. 2024), BatchTopK (Bussmann, Leask & Nanda 2024), JumpReLU (Rajamanoharan et al.
2024).
"""

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from narrows import ranks
from narrows.data.batches import RowWeights
from narrows.data.lazy_rows import AnyRows
from narrows.errors import ParameterError
from narrows.losses import Loss
from narrows.models import resolve
from narrows.models.base import BaseAutoencoder, Objective
from narrows.models.failures import Failure
from narrows.models.resolve import Plan
from narrows.models.validation import check_choice, check_number
from narrows.networks import Network, Selection, Start, Trace
from narrows.networks.activations import JumpReLU

# The activation of the code for each kind of sparsity.
_ACTIVATIONS = {
    "kl": "sigmoid",
    "l1": "relu",
    "topk": "topk",
    "batch_topk": "batch_topk",
    "jumprelu": "jumprelu",
}
# The default weight of each kind of sparsity that has a penalty.
_WEIGHTS = {"kl": 1.0, "l1": 0.1, "jumprelu": 0.1}
_SELECTED = ("topk", "batch_topk")
# A larger share of dead units gives a warning.
_MOST = 0.5
# The number of rows that the running means of activations cover.
_REMEMBERED = 4096
# The number of rows whose codes are measured at once.
_BLOCK = 4096


class Sparsity(NamedTuple):
    """How sparse the codes of a set of rows are.

    A unit is active if it is not zero; a sigmoid unit, if it is above 1/2.

    Attributes
    ----------
    mean_activation : ndarray of shape (K,), float32
        The mean of each unit over rows.
    active_share : ndarray of shape (n,), float32
        The share of units that are active for each row.
    dead_units : ndarray of shape (K,), bool
        Whether each unit is active for none of the rows.
    unit_share : ndarray of shape (K,), float64
        The share of rows for which each unit is active.
    """

    mean_activation: NDArray[np.float32]
    active_share: NDArray[np.float32]
    dead_units: NDArray[np.bool_]
    unit_share: NDArray[np.float64]


class SparseAutoencoder(BaseAutoencoder):
    """A network with codes that may be wider than the input, with few active units for each row.

    Parameters
    ----------
    sparsity : {"kl", "l1", "topk", "batch_topk", "jumprelu"}, default="kl"
        The constraint that makes codes sparse. "kl" keeps the mean activation of sigmoid units
        near a target; "l1" penalises the L1 norm of rectified units. "topk" keeps the largest units
        of each row, "batch_topk" as many on average over a batch, "jumprelu" those above a
        threshold that each unit learns, and penalises their number.
    sparsity_target : float, default=0.05
        The target of "kl" for the mean activation (rho), between 0 and 1.
    sparsity_weight : float or "auto", default="auto"
        Weight of the penalty of "kl" (beta), "l1" or "jumprelu"; "auto" takes 1, 0.1 or 0.1.
    n_active : int or "auto", default="auto"
        Number of units that "topk" and "batch_topk" keep for each row, at most ``n_components``;
        "auto" takes the square root of ``n_components``.
    dead_after : int, default=10000
        Number of consecutive training rows without activity after which a unit counts as dead.
    revival_weight : float, default=0.001
        Weight of the term that lifts dead units, each for the row to which it responds most, until
        they are active again; with 0 they stay dead. "kl" does not need it.
    {parameters}

    Attributes
    ----------
    mean_activation_ : ndarray of shape (K,), float32
        The mean of each unit over the training rows.
    active_share_ : float
        The share of units that are active for a training row, on average.
    dead_units_ : ndarray of shape (K,), bool
        Whether each unit is active for none of the training rows.
    {attributes}

    Notes
    -----
    All kinds but "kl" keep the columns of the decoder that multiply the code at length 1; otherwise
    the codes could shrink while the decoder grows. ``hidden_layer_sizes="auto"`` means no hidden
    layers: each unit then is one direction of the input.

    Examples
    --------
    >>> from narrows import SparseAutoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> model = SparseAutoencoder(
    ...     256, sparsity="topk", n_active=8, max_epochs=5, random_state=0).fit(digits.X_train)
    >>> set((model.transform(digits.X_test) != 0).sum(axis=1).tolist())
    {8}
    >>> model.code_sparsity(digits.X_test).active_share[:2].tolist()
    [0.03125, 0.03125]
    """

    sparsity: Literal["kl", "l1", "topk", "batch_topk", "jumprelu"] = "kl"
    sparsity_target: float = 0.05
    sparsity_weight: float | Literal["auto"] = "auto"
    n_active: int | Literal["auto"] = "auto"
    dead_after: int = 10_000
    revival_weight: float = 0.001

    _linear_code: ClassVar[bool] = False
    _deep_by_default: ClassVar[bool] = False
    _wide_code: ClassVar[bool] = True
    _fixed_code_activation: ClassVar[bool] = True
    _counts_dead_units: ClassVar[bool] = True
    _findings: ClassVar[tuple[str, ...]] = ("mean_activation_", "active_share_", "dead_units_")

    def code_sparsity(self, X: Any) -> Sparsity:
        """Measure how sparse the codes of rows are.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows, in the units of the training data.

        Returns
        -------
        Sparsity
            Mean activations (K,), the share of active units for each row (n,), dead units (K,), and
            the share of rows for which each unit is active (K,).

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        return self._measure(self._check_rows(X))

    def _failure(self) -> Failure | None:
        dead, width = int(self.dead_units_.sum()), len(self.dead_units_)
        # Sigmoids with a low target for their mean stay below 1/2.
        if self.sparsity == "kl" or dead <= _MOST * width:
            return super()._failure()
        remedy = "lower learning_rate"
        if self.sparsity not in _SELECTED:
            remedy = f"lower sparsity_weight (now {self._weight():g}) or learning_rate"
        share = "all" if dead == width else f"{dead} of the"
        return Failure(
            "dead_units",
            f"{share} {width} units of the code are dead: none of the training rows puts them on, "
            f"and they say nothing; {remedy}, train longer (max_epochs), or raise revival_weight",
            {"dead_units": dead, "n_components": width},
        )

    def _finish(
        self, objective: Objective, rows: AnyRows, weights: RowWeights, *, online: bool
    ) -> None:
        super()._finish(objective, rows, weights, online=online)
        self._activity = objective.network.activity
        measured = self._measure(rows, weights)
        self.mean_activation_ = measured.mean_activation
        self.active_share_ = np.average(measured.active_share.astype(np.float64), weights=weights)
        self.dead_units_ = measured.dead_units

    def _measure(self, rows: AnyRows, weights: RowWeights = None) -> Sparsity:
        """Measure the codes of checked rows; weights affect the means of units only."""
        cutoff = 0.5 if self.sparsity == "kl" else 0.0
        total = np.zeros(self.spec_.code_width)
        counts = np.zeros(self.spec_.code_width, np.int64)
        shares = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            codes = self._encode(rows[block])
            # Selection may keep negative numbers.
            on = np.abs(codes) > cutoff
            if weights is None:
                total += codes.sum(axis=0, dtype=np.float64)
            else:
                total += weights[block] @ codes
            counts += on.sum(axis=0)
            shares[block] = on.mean(axis=1)
        size = len(rows) if weights is None else weights.sum()
        means = (total / size).astype(np.float32)
        return Sparsity(means, shares, counts == 0, counts / len(rows))

    def check_parameters(self) -> None:
        """Extend the checks of ``super()`` by the kind of sparsity and its parameters."""
        super().check_parameters()
        check_choice("sparsity", self.sparsity, tuple(_ACTIVATIONS))
        check_number(
            "sparsity_target", self.sparsity_target, low=0, high=1, open_low=True, open_high=True
        )
        check_number("sparsity_weight", self.sparsity_weight, low=0, words=("auto",))
        check_number("dead_after", self.dead_after, low=1, integral=True)
        check_number("revival_weight", self.revival_weight, low=0)
        check_number(
            "n_active",
            self.n_active,
            low=1,
            high=self._components,
            integral=True,
            words=("auto",),
        )
        wrong = ""
        if self.sparsity in _SELECTED and self.sparsity_weight != "auto":
            wrong = (
                f"sparsity_weight={self.sparsity_weight!r} has nothing to weigh with "
                f"sparsity={self.sparsity!r}; leave it to 'auto', and set n_active"
            )
        if self.sparsity not in _SELECTED and self.n_active != "auto":
            wrong = (
                f"n_active={self.n_active!r} does not go with sparsity={self.sparsity!r}; use "
                "'topk' or 'batch_topk', or leave n_active to 'auto'"
            )
        activation = _ACTIVATIONS[self.sparsity]
        if self.code_activation not in ("auto", activation):
            wrong = (
                f"code_activation={self.code_activation!r} does not go with "
                f"sparsity={self.sparsity!r}, whose codes are made by {activation!r}; leave it "
                "to 'auto'"
            )
        if wrong:
            raise ParameterError(wrong)

    def _plan(self, X: AnyRows, held_out: NDArray[np.int64] | None, weights: RowWeights) -> Plan:
        plan = super()._plan(X, held_out, weights)
        spec = plan.spec
        n_active = 0
        if self.sparsity in _SELECTED:
            root = round(math.sqrt(spec.n_components))
            n_active = root if isinstance(self.n_active, str) else int(self.n_active)
        spec = replace(
            spec,
            code_activation=_ACTIVATIONS[self.sparsity],
            n_active=n_active,
            unit_columns=self.sparsity != "kl",
        )
        resolve.check_shape(spec)
        return plan._replace(spec=spec)

    def _new_network(self, start: Start, seed: int) -> Network:
        network = super()._new_network(start, seed)
        if self.sparsity == "kl":
            # Sigmoids start at the target; from 1/2 they would need the whole run to reach it.
            logit = math.log(self.sparsity_target / (1 - self.sparsity_target))
            with torch.no_grad():
                for layer in network.encoder.body.layers[-1:]:
                    layer.bias[: self.spec_.n_components] = logit
        return network

    def counters(self, objective: Objective) -> dict[str, Tensor | nn.Module]:
        """Add the number of rows since each unit was active to the counters of ``super()``."""
        kept = None if objective.is_new else getattr(self, "_activity", None)
        activity = Activity(self.spec_.code_width) if kept is None else kept
        return {**super().counters(objective), "activity": activity}

    def _terms_of_all(self, network: Network, rows: AnyRows) -> dict[str, float]:
        terms = super()._terms_of_all(network, rows)
        if self.sparsity != "kl":
            return terms
        on = off = torch.zeros(self.spec_.code_width, dtype=torch.float64)
        for trace in self._traces(network, rows, _BLOCK):
            a = trace.selected.cpu().double()
            on, off = on + a.sigmoid().sum(0), off + (-a).sigmoid().sum(0)
        means = (on / len(rows)).log(), (off / len(rows)).log()
        divergence = kl_sparsity(self.sparsity_target, *means).sum()
        return {**terms, "sparsity": float(self._weight()) * float(divergence)}

    def penalties(self, objective: Objective, trace: Trace, generator: torch.Generator) -> Loss:
        """Add the penalty of sparsity and the revival of dead units to those of ``super()``."""
        penalties = super().penalties(objective, trace, generator)
        network = objective.network
        activity = cast("Activity", network.activity)
        if self.sparsity == "kl":
            divergences = activity.divergence(trace.selected, self.sparsity_target, trace.weights)
            return {**penalties, "sparsity": self._weight() * divergences.sum()}
        activation = network.encoder.activation
        if self.sparsity == "l1":
            penalties["sparsity"] = self._weight() * trace.mean(trace.code.sum(dim=1))
        if isinstance(activation, JumpReLU):
            count = trace.mean(activation.count(trace.selected).sum(dim=1))
            penalties["sparsity"] = self._weight() * count
        revival = torch.zeros((), device=trace.code.device)
        if network.training:
            activity.count(trace.code != 0)
            if isinstance(activation, Selection):
                activation.observe(trace.code)
            dead = activity.silent >= self.dead_after
            # Waiting for the result on the host costs less than computing the revival for nothing.
            if self.revival_weight and bool(dead.any()):
                cutoff: Tensor | float = 0.0
                if isinstance(activation, Selection):
                    cutoff = activation.cutoff(trace.selected.detach())
                revival = self.revival_weight * revival_loss(trace.selected, cutoff, dead)
        return {**penalties, "revival": revival}

    def _weight(self) -> float:
        if isinstance(self.sparsity_weight, str):
            return _WEIGHTS[self.sparsity]
        return float(self.sparsity_weight)


class Activity(nn.Module):
    """The running means of a code's units while training, and how long each has been off.

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

    Notes
    -----
    The mean activation r_j of a sigmoid unit over the data is held near a small rho by the sum over
    units of KL(rho || r_j) = rho log(rho / r_j) + (1 - rho) log((1 - rho) / (1 - r_j)).

    Log space. A unit whose pre-activations a are all -120 has r = 0 in single precision: the form
    above is infinite, and once clamped it has no gradient. But log r is the log-sum-exp of
    log sigmoid(a) less log n, and
    d(-rho log r)/da_i = -rho softmax_i(log sigmoid(a)) sigmoid(-a_i): over the rows these add up
    to -rho, however low the pre-activations are. 1 - r, the mean of sigmoid(-a), is treated alike.

    Running mean. KL is convex, so KL at the mean of a small batch is too large on average, and
    pulls all rows towards rho. It is therefore taken at a running mean R of the data,
    R_new = (1 - w) R + w b with b the batch's mean and w its share of the rows remembered.
    Differentiated as it stands this would scale the gradient by w. Wanted is the gradient of the
    whole data's KL, which is KL'(R) times the mean of dsigmoid(a)/da; a batch estimates it without
    bias by KL'(R) db/da. This is the penalty's gradient: that of
    -rho b / R - (1 - rho) (1 - b) / (1 - R), R held fixed, with both ratios taken as exponentials
    of differences of logarithms. Where the batch is the data, b = R, and it is the gradient of KL
    itself.

    Weights. Of rows that count differently b is the weighted mean, w the batch's share of the
    weights, and db/da that of the weights' sum over the rows' number, whose mean over batches is
    without bias.
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
        """Return KL(rho || R) from the target mean rho to the running mean R of each sigmoid unit.

        Parameters
        ----------
        logits : Tensor of shape (B, K)
            The pre-activations of a batch. In training mode it goes into the running mean; in
            evaluation mode it is measured by itself.
        target : float
            The target mean rho, in (0, 1).
        weights : Tensor of shape (B,), optional
            How much each row counts, above 0.

        Returns
        -------
        Tensor of shape (K,)
            With the gradient of the whole data's divergence: see the Notes of the class.

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
            share = (weight / self.rows.clamp(max=max(_REMEMBERED, n_rows))).clamp(max=1)
            means = [
                torch.logaddexp((-share).log1p() + kept, share.log() + new)
                for kept, new in zip((self.log_on, self.log_off), means, strict=True)
            ]
            self.log_on, self.log_off = means
        on, off = ((new - mean).exp() for new, mean in zip(batch, means, strict=True))
        slope = (-target * on - (1 - target) * off) * (weight / n_rows)
        return kl_sparsity(target, *means) + slope - slope.detach()


def kl_sparsity(target: float, log_on: Tensor, log_off: Tensor) -> Tensor:
    """Return KL(rho || r) from the target mean rho to the mean activation r of each unit.

    Parameters
    ----------
    target : float
        The target mean rho, in (0, 1).
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


def log_mean_sigmoid(logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the logarithm of the mean over rows of the sigmoid, (B, K) to (K,), always finite.

    The mean is over the rows of all processes that train together, weighted if there are weights
    (B,).

    Examples
    --------
    >>> log_mean_sigmoid(torch.tensor([[-200.0], [-200.0]]))
    tensor([-200.])
    """
    terms = functional.logsigmoid(logits)
    if weights is not None:
        terms = terms + weights.log()[:, None]
    total = terms.logsumexp(dim=0)
    if ranks.place.size > 1:
        largest = ranks.highest(total)
        total = ranks.add((total - largest).exp()).log() + largest
    if weights is None:
        return total - math.log(ranks.total(len(logits)))
    return total - ranks.add(weights.sum()).log()


def revival_loss(logits: Tensor, cutoff: Tensor | float, dead: Tensor) -> Tensor:
    """Return, summed over dead units, how far their largest pre-activation is below the cutoff.

    Selection gives a unit that is never on no gradient. This one lifts it for the row of the batch
    to which it answers most, until it is on for rows like that, and the reconstruction takes over.
    Conerly, Cunningham, Templeton, Lindsey, Hosmer & Jermyn (2025), "Dictionary learning
    optimization techniques", Anthropic Circuits Updates, January, pay the mean over all rows, and
    of all units. Of a mean over rows whose average is subtracted, little but the bias is left to
    learn from: it rises by the same for all rows, more slowly than the cutoff, and a unit that
    comes back so answers to no row in particular.

    Parameters
    ----------
    logits : Tensor of shape (B, K)
        The pre-activations.
    cutoff : Tensor broadcast with them, or float
        What a pre-activation must exceed for the unit to be on.
    dead : Tensor of shape (K,), bool
        The units that are to come back.

    Returns
    -------
    Tensor of shape ()
        Of processes that train together, each has its share.

    Examples
    --------
    >>> revival_loss(torch.tensor([[-3.0, -1.0], [-5.0, -1.0]]), 0.0, torch.tensor([True, False]))
    tensor(3.)
    """
    below = (cutoff - logits).amin(dim=0)
    least = ranks.lowest(below.detach())
    nearest = (below.detach() == least).to(below.dtype)  # the processes that have the unit's row
    # What a process returns counts by its share of the rows.
    share = nearest / ranks.add(nearest) * (ranks.total(len(logits)) / len(logits))
    return (functional.relu(below) * dead * share).sum()
