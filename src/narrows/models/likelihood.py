"""How likely a row is, given its code."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from narrows.data.scaling import Scaling
from narrows.losses import variational
from narrows.networks import Decoder
from narrows.networks.outputs import Gaussian

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")
# A learned variance falls no lower: one pixel value in 256 is about as wide.
LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class Likelihood:
    """The density of a row, given its code: the product of those of its values.

    Attributes
    ----------
    name : str
        One of :data:`LIKELIHOODS`.
    variance : float or "learned"
        Of the Gaussian one.
    """

    name: str
    variance: float | str

    @property
    def bounded(self) -> bool:
        """Whether it is zero beyond [0, 1]."""
        return self.name != "gaussian"

    def log_volume(self, scaling: Scaling, n_features: int) -> float:
        """Return the log of the volume, in the data's units, that the scaling maps to one.

        A density is smaller by that factor in those units; a probability has none.
        """
        if self.name == "bernoulli":
            return 0.0
        return float(scaling.scale.double().log().expand(n_features).sum())

    def log_densities(self, decoder: Decoder, codes: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | h) of each value, in nats.

        Parameters
        ----------
        decoder : Decoder
            With the variance, where it is learned.
        codes : Tensor of shape (..., B, K)
            One code for each row, or several draws of it.
        x : Tensor of shape (B, ...)
            Scaled rows.

        Returns
        -------
        Tensor of shape (..., B, ...)
            Of the scaled values.
        """
        shape = (*codes.shape[:-1], *x.shape[1:])
        flat = codes.flatten(0, -2)
        if self.name == "gaussian":
            return variational.gaussian(decoder(flat).view(shape), x, self._log_variance(decoder))
        logits = decoder.logits(flat).view(shape)
        if self.name == "bernoulli":
            return variational.bernoulli(logits, x)
        return variational.continuous_bernoulli(logits, x)

    def log_density(self, decoder: Decoder, codes: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | h) of each row, in nats.

        Parameters
        ----------
        decoder, codes, x : Decoder and Tensor
            As :meth:`log_densities`.

        Returns
        -------
        Tensor of shape (..., B)
            The sum of :meth:`log_densities` over a row's values, by fewer passes over them.
        """
        shape = (*codes.shape[:-1], x[0].numel())
        flat, x = codes.flatten(0, -2), x.flatten(1)
        if self.name == "gaussian":
            mean = decoder(flat).view(shape)
            return variational.gaussian_sum(mean, x, self._log_variance(decoder))
        logits = decoder.logits(flat).view(shape)
        if self.name == "bernoulli":
            return variational.bernoulli_sum(logits, x)
        return variational.continuous_bernoulli(logits, x).sum(-1)

    def _log_variance(self, decoder: Decoder) -> Tensor:
        if isinstance(decoder.output, Gaussian):
            return torch.log(torch.exp(decoder.output.log_variance) + LEAST_VARIANCE)
        return torch.tensor(math.log(float(self.variance)))


def within_unit(x: Tensor) -> Tensor:
    """Tell which rows (B, ...) lie in [0, 1], but for the rounding of the scaling."""
    return ((x > -1e-6) & (x < 1 + 1e-6)).flatten(1).all(1)
