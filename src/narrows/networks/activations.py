"""The functions that follow layers and codes, those that a decoder ends with, and their inverses.

Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli", eq. 8, for the mean of a density
proportional to exp(a x) on [0, 1].

Makhzani & Frey (2014), "k-Sparse autoencoders", and Gao et al. (2024), "Scaling and evaluating
sparse autoencoders": TopK. Bussmann, Leask & Nanda (2024), "BatchTopK sparse autoencoders".
Rajamanoharan et al. (2024), "Jumping ahead: improving reconstruction fidelity with JumpReLU
sparse autoencoders". These selections keep a pre-activation as it is or put zero in its place, so
that the code of a unit depends on its own pre-activation alone wherever the choice stays the same.
Calling them changes no state.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from narrows import ranks

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}
_LEAK = 0.02  # the slope of Clip outside [0, 1]

# Nearer to a = 0 than this the closed forms cancel, and a series takes their place.
_NEAR_ZERO = 0.4
# How many steps the threshold's running mean covers.
_MEMORY = 100
# Where JumpReLU's thresholds start, and how near to one a pre-activation must be to move it.
_FIRST_THRESHOLD, BANDWIDTH = 0.1, 0.1


def is_pointwise(activation: nn.Module) -> bool:
    """Return whether each number that comes out depends on its own number that goes in alone.

    So it is for all :data:`ACTIVATIONS`. For modules that keep some numbers and drop others it is
    so wherever their choice stays the same; they have an attribute ``pointwise = True``.
    """
    return type(activation) in ACTIVATIONS.values() or getattr(activation, "pointwise", False)


class ContinuousBernoulliMean(nn.Module):
    """The mean of the continuous Bernoulli distribution with parameter sigmoid(a)."""

    def forward(self, a: Tensor) -> Tensor:
        """Map numbers of any shape to means between 0 and 1.

        Examples
        --------
        >>> ContinuousBernoulliMean()(torch.tensor([-2.0, 0.0, 2.0]))
        tensor([0.3435, 0.5000, 0.6565])
        """
        near = a.abs() < _NEAR_ZERO
        # Neither branch may divide by zero: its gradient would be NaN even where it is not taken.
        far = torch.where(near, 1.0, a)
        small = torch.where(near, a, 0.0)
        square = small * small
        series = small * (1 / 12 - square * (1 / 720 - square * (1 / 30240 - square / 1209600)))
        # exp of a positive number might overflow; the mean of -a is one minus that of a.
        size = far.abs()
        upper = -1 / torch.expm1(-size) - 1 / size
        return torch.where(near, 0.5 + series, torch.where(far > 0, upper, 1 - upper))


class Clip(nn.Module):
    """The identity in [0, 1]; outside, the nearer end, and a slope of 0.02 while training.

    The slope lets gradients bring back what lies outside. Unlike a sigmoid, a decoder that ends in
    this can be PCA.
    """

    def forward(self, y: Tensor) -> Tensor:
        """Map numbers of any shape to [0, 1].

        Examples
        --------
        >>> Clip()(torch.tensor([-1.0, 0.5, 2.0]))
        tensor([-0.0200,  0.5000,  1.0200])
        >>> Clip().eval()(torch.tensor([-1.0, 0.5, 2.0]))
        tensor([0.0000, 0.5000, 1.0000])
        """
        inside = y.clamp(0, 1)
        return torch.lerp(inside, y, _LEAK) if self.training else inside


# The functions that a decoder may end in, by the names that users give.
_MEAN_MODULES: dict[str, Callable[[], nn.Module]] = {**ACTIVATIONS, "clip": Clip}
OUTPUTS = tuple(_MEAN_MODULES)


class Gaussian(nn.Module):
    """The mean of a normal distribution, whose variance, one for all features, is learned.

    Parameters
    ----------
    activation : str
        The function from plain numbers to means, one of :data:`OUTPUTS`.
    """

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.mean = _MEAN_MODULES[activation]()
        self.log_variance = nn.Parameter(torch.zeros(()))

    def forward(self, a: Tensor) -> Tensor:
        """Map numbers of any shape to means."""
        y: Tensor = self.mean(a)
        return y


def with_variance(output: str) -> str:
    """Return the name of the output that gives the same means and learns a variance."""
    names = {"identity": "gaussian", "sigmoid": "bounded_gaussian"}
    return names.get(output, f"gaussian_{output}")


OUTPUT_MODULES: dict[str, Callable[[], nn.Module]] = {
    **_MEAN_MODULES,
    **{with_variance(name): partial(Gaussian, name) for name in OUTPUTS},
    "continuous_bernoulli": ContinuousBernoulliMean,
}
# Outputs between 0 and 1, as a sigmoid's are.
BOUNDED_OUTPUTS = frozenset({"sigmoid", "continuous_bernoulli", "bounded_gaussian"})
# From outputs that learn a variance to those that give the same means.
_MEANS = {with_variance(name): name for name in OUTPUTS}
# The least and the largest value of the other outputs that are bounded.
_REACH = {
    "clip": (0.0, 1.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "tanh": (-1.0, 1.0),
    "elu": (-1.0, math.inf),
    "silu": (-0.278465, math.inf),
    "gelu": (-0.169972, math.inf),
}
# Where the functions that first fall and then rise have their minimum.
_LOWEST_AT = {"silu": -1.2784645, "gelu": -0.7517916}
# How near to the ends of its reach an output may start: at the ends it is flat.
_FROM_THE_END = 1e-3
_HALVINGS = 60


def plain_output(output: str) -> str:
    """Return the one of :data:`OUTPUTS` that users ask an output by.

    Examples
    --------
    >>> plain_output("bounded_gaussian"), plain_output("clip")
    ('sigmoid', 'clip')
    """
    output = _MEANS.get(output, output)
    return "sigmoid" if output in BOUNDED_OUTPUTS else output


def reach(output: str) -> tuple[float, float]:
    """Return the least and the largest value that an output can have."""
    output = _MEANS.get(output, output)
    return (0.0, 1.0) if output in BOUNDED_OUTPUTS else _REACH.get(output, (-math.inf, math.inf))


def invert(output: str, values: Tensor) -> Tensor:
    """Return the numbers that an output turns into values, or into the nearest it should start at.

    Features that hardly ever leave the end of an output's reach would start where it is flat.

    Parameters
    ----------
    output : str
        A key of :data:`OUTPUT_MODULES`.
    values : Tensor
        The values, of any shape.

    Returns
    -------
    Tensor
        Numbers of the same shape and type.

    Examples
    --------
    >>> invert("tanh", torch.tensor([-1.0, 0.0, 0.5]))
    tensor([-3.8002,  0.0000,  0.5493])
    """
    output = _MEANS.get(output, output)
    if output in BOUNDED_OUTPUTS:
        return torch.logit(values, eps=_FROM_THE_END)
    if output in ("identity", "clip"):
        return values
    low, high = reach(output)
    wanted = values.double().clamp(low + _FROM_THE_END, high - _FROM_THE_END)
    # Beyond these a leaky rectifier, the slowest of all, has passed any of the values.
    end = 100 * wanted.abs().max() + 10
    left = torch.full_like(wanted, _LOWEST_AT.get(output, -float(end)))
    right = torch.full_like(wanted, float(end))
    function = ACTIVATIONS[output]()
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        below = function(middle) < wanted
        left, right = torch.where(below, middle, left), torch.where(below, right, middle)
    return right.to(values.dtype)


class Selection(nn.Module):
    """A code activation that keeps some pre-activations of shape (B, K) and drops others."""

    pointwise = True

    @abstractmethod
    def cutoff(self, logits: Tensor) -> Tensor:
        """Return the values that pre-activations (B, K) must reach to be kept, to broadcast."""

    def observe(self, code: Tensor) -> None:
        """Learn, from the codes (B, K) of a training step, what selection needs at inference."""
        del code


class TopK(Selection):
    """Keep the ``k`` largest pre-activations of each row (Makhzani & Frey, algorithm 1).

    Examples
    --------
    >>> TopK(2)(torch.tensor([[3.0, -1.0, 5.0, 0.5]]))
    tensor([[3., 0., 5., 0.]])
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, logits: Tensor) -> Tensor:
        """Map (B, K) to (B, K), of which k numbers a row are kept."""
        values, units = logits.topk(self.k, dim=1)
        return torch.zeros_like(logits).scatter(1, units, values)

    def cutoff(self, logits: Tensor) -> Tensor:
        """Return the k-th largest of each row, of shape (B, 1)."""
        return logits.topk(self.k, dim=1).values[:, -1:]


class BatchTopK(Selection):
    """Keep the ``B * k`` largest pre-activations of a batch (Bussmann et al., eq. 4).

    At inference, where the code of a row must not depend on the rows beside it, what exceeds a
    threshold is kept: the running mean of the smallest number kept in training (their eq. 6).

    Examples
    --------
    >>> BatchTopK(1)(torch.tensor([[3.0, -1.0, 5.0], [0.5, 1.0, 2.0]]))
    tensor([[3., 0., 5.],
            [0., 0., 0.]])
    """

    threshold: Tensor
    steps: Tensor

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        """Map (B, K) to (B, K)."""
        if not self.training:
            return torch.where(logits > self.threshold, logits, 0.0)
        if ranks.place.size > 1:
            count = ranks.total(len(logits)) * self.k
            flat = logits.detach().flatten()
            largest = flat.topk(min(count, flat.numel())).values
            least = ranks.gathered(largest, -torch.inf).topk(count).values[-1]
            return torch.where(logits >= least, logits, 0.0)
        values, places = logits.flatten().topk(len(logits) * self.k)
        return torch.zeros_like(logits).flatten().scatter(0, places, values).view_as(logits)

    def cutoff(self, logits: Tensor) -> Tensor:
        """Return the threshold, of shape ()."""
        del logits
        return self.threshold

    def observe(self, code: Tensor) -> None:
        """Let the smallest number kept enter the threshold."""
        smallest = ranks.lowest(code.detach().masked_fill(code == 0, torch.inf).min())
        self.steps.add_(1).clamp_(max=_MEMORY)
        self.threshold += (smallest - self.threshold) / self.steps


class JumpReLU(Selection):
    """Keep what exceeds a threshold that each unit learns (Rajamanoharan et al., eq. 5).

    The thresholds' gradients are the paper's pseudo-derivatives, eqs. 11 and 12, with a rectangle
    of width ``bandwidth`` as kernel: where a pre-activation z is within half of it from the
    threshold t, -t / bandwidth for the code and -1 / bandwidth for the number of units on.

    Parameters
    ----------
    n_components : int
        Width of the code, K.
    bandwidth : float
        The width of the rectangle, in units of the pre-activations.

    Examples
    --------
    >>> jump = JumpReLU(3)
    >>> z = torch.tensor([[0.02, 0.12, 2.0]])
    >>> jump(z).tolist() == [[0.0, z[0, 1].item(), 2.0]]
    True
    >>> count = jump.count(z).sum()
    >>> count.backward()
    >>> (jump.log_threshold.grad / jump.threshold.detach()).tolist()  # per unit of t
    [0.0, -10.0, 0.0]
    """

    def __init__(self, n_components: int, bandwidth: float = BANDWIDTH) -> None:
        super().__init__()
        self.bandwidth = bandwidth
        # As a logarithm, so that no threshold can become negative.
        self.log_threshold = nn.Parameter(torch.full((n_components,), _FIRST_THRESHOLD).log())

    @property
    def threshold(self) -> Tensor:
        """The value that each unit must exceed, of shape (K,)."""
        return self.log_threshold.exp()

    def forward(self, logits: Tensor) -> Tensor:
        """Map (B, K) to (B, K)."""
        threshold = self.threshold
        kept = torch.where(logits > threshold, logits, 0.0)
        return kept + self._pull(logits, threshold, -threshold.detach())

    def count(self, logits: Tensor) -> Tensor:
        """Return 1 where a unit is on, 0 where not, (B, K): what thresholds learn from.

        Its gradient with respect to the pre-activations is zero, as the paper has it.
        """
        threshold = self.threshold
        return (logits > threshold) + self._pull(logits, threshold, -torch.ones_like(threshold))

    def cutoff(self, logits: Tensor) -> Tensor:
        """Return the thresholds, of shape (K,)."""
        del logits
        return self.threshold.detach()

    def _pull(self, logits: Tensor, threshold: Tensor, height: Tensor) -> Tensor | float:
        """Return zero, whose derivative by the threshold is the kernel times a height."""
        if not torch.is_grad_enabled():
            return 0.0
        fixed = threshold.detach()
        near = (logits.detach() - fixed).abs() < self.bandwidth / 2
        return near * (height / self.bandwidth) * (threshold - fixed)
