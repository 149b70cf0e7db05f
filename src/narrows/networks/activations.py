"""The functions that follow layers, those that a decoder ends with, and their inverses.

Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli", eq. 8, for the mean of a density
proportional to exp(a x) on [0, 1].
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

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
OUTPUTS = tuple(ACTIVATIONS)

# Nearer to a = 0 than this the closed forms cancel, and a series takes their place.
_NEAR_ZERO = 0.4


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


class Gaussian(nn.Module):
    """The mean of a normal distribution, whose variance, one for all features, is learned.

    Parameters
    ----------
    activation : str
        The function from plain numbers to means, a key of :data:`ACTIVATIONS`.
    """

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.mean = ACTIVATIONS[activation]()
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
    **ACTIVATIONS,
    **{with_variance(name): partial(Gaussian, name) for name in ACTIVATIONS},
    "continuous_bernoulli": ContinuousBernoulliMean,
}
# Outputs between 0 and 1, as a sigmoid's are.
BOUNDED_OUTPUTS = frozenset({"sigmoid", "continuous_bernoulli", "bounded_gaussian"})
# From outputs that learn a variance to those that give the same means.
_MEANS = {with_variance(name): name for name in ACTIVATIONS}
# The least and the largest value of the other outputs that are bounded.
_REACH = {
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
    if output == "identity":
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
