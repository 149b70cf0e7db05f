"""What a decoder ends with: from plain numbers to the mean of what is seen.

Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli", eq. 8, for the mean of a density
proportional to exp(a x) on [0, 1].
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from narrows.networks.activations import ACTIVATIONS

# Nearer to a = 0 than this the closed forms cancel, and a series takes their place.
_NEAR_ZERO = 0.4


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
    """A mean, beside which one variance for all features is learned.

    Parameters
    ----------
    mean : Module
        From plain numbers to means, number by number.
    """

    def __init__(self, mean: nn.Module) -> None:
        super().__init__()
        self.mean = mean
        self.log_variance = nn.Parameter(torch.zeros(()))

    def forward(self, a: Tensor) -> Tensor:
        """Map numbers of any shape to means."""
        y: Tensor = self.mean(a)
        return y


def _gaussian(activation: str) -> Gaussian:
    return Gaussian(ACTIVATIONS[activation]())


def with_variance(output: str) -> str:
    """Name the output that gives the same, with a variance beside it."""
    names = {"identity": "gaussian", "sigmoid": "bounded_gaussian"}
    return names.get(output, f"gaussian_{output}")


OUTPUT_MODULES: dict[str, Callable[[], nn.Module]] = {
    **ACTIVATIONS,
    **{with_variance(name): partial(_gaussian, name) for name in ACTIVATIONS},
    "continuous_bernoulli": ContinuousBernoulliMean,
}
# Those that stay between 0 and 1, as a sigmoid does.
BOUNDED_OUTPUTS = frozenset({"sigmoid", "continuous_bernoulli", "bounded_gaussian"})
# What those with a variance beside them give.
_MEANS = {with_variance(name): name for name in ACTIVATIONS}
# Between which values the others stay.
_REACH = {
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "tanh": (-1.0, 1.0),
    "elu": (-1.0, math.inf),
    "silu": (-0.278465, math.inf),
    "gelu": (-0.169972, math.inf),
}
# Where those fall no more that first fall and then rise.
_LOWEST_AT = {"silu": -1.2784645, "gelu": -0.7517916}
# As near to the ends of its reach an output may start: at the ends it is flat.
_FROM_THE_END = 1e-3
_HALVINGS = 60


def reach(output: str) -> tuple[float, float]:
    """Return the values between which an output stays."""
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
        Of any shape.

    Returns
    -------
    Tensor
        Of the same shape and type.

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
    found: Tensor = right.to(values.dtype)
    return found
