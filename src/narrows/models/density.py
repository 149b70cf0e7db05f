"""How likely rows are to a variational model, estimated by drawing many codes for each.

Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders", eq. 8.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from narrows.data.arrays import as_tensor
from narrows.data.scaling import Scaling
from narrows.losses import variational
from narrows.networks import Decoder, Encoder, Network, Trace
from narrows.networks.outputs import Gaussian

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")
# A learned variance falls no lower: one pixel value in 256 is about as wide.
LEAST_VARIANCE = 1e-6

# Numbers that the widest layer may give at once, and rows at once.
_NUMBERS, _ROWS = 1 << 22, 256
# Rows that tell the spread of all codes.
_ROWS_TO_MEASURE = 10_000


@dataclass(frozen=True)
class Likelihood:
    """The density of a row, given its code.

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

    def log_density(self, decoder: Decoder, codes: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | h), in nats.

        Parameters
        ----------
        decoder : Decoder
            With the variance, where it is learned.
        codes : Tensor of shape (S, B, K)
            Draws for each row.
        x : Tensor of shape (B, ...)
            Scaled rows.

        Returns
        -------
        Tensor of shape (S, B)
            Of the scaled rows.
        """
        flat, shape = codes.flatten(0, 1), codes.shape[:2]
        if self.name == "gaussian":
            mean = decoder(flat).view(*shape, *x.shape[1:])
            values = variational.gaussian(mean, x, self._log_variance(decoder))
        else:
            of_one = variational.bernoulli
            if self.name == "continuous_bernoulli":
                of_one = variational.continuous_bernoulli
            values = of_one(decoder.logits(flat).view(*shape, *x.shape[1:]), x)
        return values.flatten(2).sum(2)

    def _log_variance(self, decoder: Decoder) -> Tensor:
        if isinstance(decoder.output, Gaussian):
            return torch.log(torch.exp(decoder.output.log_variance) + LEAST_VARIANCE)
        return torch.tensor(math.log(float(self.variance)))


def moments(trace: Trace) -> tuple[Tensor, Tensor]:
    """Return the means and the log variances of the codes, (B, K) each."""
    return trace.code, trace.logits.chunk(2, dim=1)[1]


def within_unit(x: Tensor) -> Tensor:
    """Tell which rows (B, ...) lie in [0, 1], but for the rounding of the scaling."""
    return ((x > -1e-6) & (x < 1 + 1e-6)).flatten(1).all(1)


@torch.inference_mode()
def measure_codes(encoder: Encoder, scaling: Scaling, rows: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Return the means and variances of codes, (n, K) each, of as many rows as are enough."""
    device = next(encoder.parameters()).device
    some = as_tensor(rows[:: -(-len(rows) // _ROWS_TO_MEASURE)])
    parts = [
        moments(encoder.trace(scaling(some[start : start + 1024].to(device))))
        for start in range(0, len(some), 1024)
    ]
    means, log_variances = (torch.cat(part) for part in zip(*parts, strict=True))
    return means, log_variances.exp()


@torch.no_grad()
def settle(network: Network, shift: Tensor, scale: Tensor) -> None:
    """Make codes h into (h - shift) / scale, and let the decoder undo it: it decodes as before.

    Of all such maps, the one to mean 0 and variance 1 on the whole makes the divergence smallest.

    Parameters
    ----------
    network : Network
        Changed in place, unless its codes do not lie between two linear layers.
    shift, scale : Tensor of shape (K,)
        The scale above 0.
    """
    last = list(network.encoder.body.children())[-1]
    first = next(network.decoder.body.children())
    plain = isinstance(network.encoder.activation, nn.Identity)
    if not (plain and isinstance(last, nn.Linear) and isinstance(first, nn.Linear)):
        return
    means, log_variances = slice(None, len(shift)), slice(len(shift), None)
    last.weight[means] /= scale[:, None]
    last.bias[means] = (last.bias[means] - shift) / scale
    last.bias[log_variances] -= 2 * scale.log()
    first.bias.add_(first.weight @ shift)
    first.weight *= scale


@torch.inference_mode()
def estimate(
    network: Network,
    likelihood: Likelihood,
    scaling: Scaling,
    rows: NDArray[Any],
    *,
    n_samples: int,
    seed: int,
    bound: bool,
) -> NDArray[np.float64]:
    """Estimate the log likelihood of rows, or the evidence lower bound, in bounded memory.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    likelihood : Likelihood
        Of a row, given its code.
    scaling : Scaling
        Between the rows' units and the network's.
    rows : ndarray of shape (n, ...)
        In their own units.
    n_samples : int
        Codes drawn for each row.
    seed : int
        Of the draws.
    bound : bool
        Whether the mean over draws of log p(x | h), less the divergence, is wanted, instead of
        the log of the mean over draws of p(x, h) / q(h | x).

    Returns
    -------
    ndarray of shape (n,), float64
        In nats: of the density in the rows' own units, or of the probability of zeros and ones.
    """
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    # As many rows and draws at once as the widest layer's numbers leave room for.
    linear = (p.shape for p in network.parameters() if p.ndim > 1)
    widest = max(rows[0].size, *(max(shape) for shape in linear))
    n_rows = max(1, min(_ROWS, _NUMBERS // widest))
    figures = np.empty(len(rows))
    for start in range(0, len(rows), n_rows):
        block = slice(start, start + n_rows)
        x = scaling(as_tensor(rows[block]).to(device))
        mean, log_variance = moments(network.encoder.trace(x))
        n_draws = max(1, _NUMBERS // (widest * len(x)))
        total = torch.full((len(x),), 0.0 if bound else -math.inf, dtype=torch.float64)
        for done in range(0, n_samples, n_draws):
            shape = (min(n_draws, n_samples - done), *mean.shape)
            noise = torch.randn(shape, generator=generator, device=device)
            codes = variational.draw_codes(mean, log_variance, noise)
            density = likelihood.log_density(network.decoder, codes, x)
            if bound:
                total += density.double().sum(0).cpu()
            else:
                weights = density + variational.log_prior_ratio(codes, log_variance, noise)
                total = torch.logaddexp(total, weights.double().logsumexp(0).cpu())
        if bound:
            divergence = variational.gaussian_kl(mean, log_variance).double().sum(1).cpu()
            total = total / n_samples - divergence
        else:
            total -= math.log(n_samples)
        if likelihood.bounded:
            total[~within_unit(x).cpu()] = -math.inf
        # Rows so far off that they leave single precision are as good as impossible.
        figures[block] = total.nan_to_num(nan=-math.inf, neginf=-math.inf).numpy()
    return figures - likelihood.log_volume(scaling, rows[0].size)
