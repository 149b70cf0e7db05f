"""What a decoder ends with: from plain numbers to the mean of what is seen.

Loaiza-Ganem & Cunningham (2019), "The continuous Bernoulli", eq. 8, for the mean of a density
proportional to exp(a x) on [0, 1].
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

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


OUTPUT_MODULES: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "continuous_bernoulli": ContinuousBernoulliMean,
    "gaussian": lambda: Gaussian(nn.Identity()),
    "bounded_gaussian": lambda: Gaussian(nn.Sigmoid()),
}
# Those that stay between 0 and 1, as a sigmoid does.
BOUNDED_OUTPUTS = frozenset({"sigmoid", "continuous_bernoulli", "bounded_gaussian"})
