"""PCA, and what two small networks add to it.

The code is P (x - m) + E(x - m), the reconstruction m + D h + G(h). P and D start at the principal
axes of the training rows (Pearson 1901; Hotelling 1933), whitened, and the last layers of the
networks E and G at zero: before the first step the model is PCA, exactly. Where codes are
distributions, it starts at the optimum of a linear decoder with Gaussian noise, probabilistic PCA
(Tipping & Bishop 1999, eqs. 6 to 8; Lucas et al. 2019, "Don't blame the ELBO!", section 4.1).
"""

import math
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from narrows.networks import layers
from narrows.networks.activations import ACTIVATIONS
from narrows.networks.network import Centre, Decoder, Encoder, NetworkSpec
from narrows.networks.outputs import invert
from narrows.networks.sparse import build_code_activation
from narrows.networks.start import Axes, Start

# Directions of a smaller share of the largest variance are rounding, and not divided by.
_LEAST_SHARE = 1e-10
# Variance of a feature that probabilistic PCA leaves to noise, at least.
_LEAST_NOISE = 1e-6


class Residual(nn.Module):
    """A linear map, and what a network adds to it.

    Parameters
    ----------
    linear : Linear
        The map.
    network : Sequential
        From the same numbers to as many.
    """

    def __init__(self, linear: nn.Linear, network: nn.Sequential) -> None:
        super().__init__()
        self.linear = linear
        self.network = network

    @property
    def first(self) -> list[nn.Linear]:
        """The layers that see what comes in."""
        return [self.linear, cast("nn.Linear", self.network[0])]

    @property
    def last(self) -> list[nn.Linear]:
        """The layers whose results are summed."""
        return [self.linear, cast("nn.Linear", self.network[-1])]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        y: Tensor = self.linear(x) + self.network(x)
        return y


def build_encoder(spec: NetworkSpec) -> Encoder:
    """Build the encoder, (B, *sample_shape) to (B, K), its weights still to be filled in."""
    body = nn.Sequential(
        Centre(spec.sample_shape),
        nn.Flatten(),
        _map(
            (_features(spec), *spec.hidden_layer_sizes, spec.n_heads * spec.n_components),
            spec.activation,
        ),
    )
    return Encoder(body, build_code_activation(spec), spec.n_heads)


def build_decoder(spec: NetworkSpec) -> Decoder:
    """Build the decoder, (B, K) to (B, *sample_shape), its weights still to be filled in."""
    body = nn.Sequential(
        _map((spec.n_components, *spec.hidden_layer_sizes[::-1], _features(spec)), spec.activation),
        nn.Unflatten(1, spec.sample_shape),
    )
    return Decoder(body, spec.output)


def initialise(
    encoder: Encoder, decoder: Decoder, spec: NetworkSpec, start: Start, generator: torch.Generator
) -> None:
    """Draw the weights of the networks, and start the linear maps at PCA.

    Parameters
    ----------
    encoder, decoder : Module
        What :func:`build_encoder` and :func:`build_decoder` gave.
    spec : NetworkSpec
        What they were built from.
    start : Start
        With the rows' principal axes; there may be fewer of them than the code has numbers.
    generator : torch.Generator
        Where the weights are drawn from.
    """
    centre, _, to_code = encoder.body.children()
    from_code, _ = decoder.body.children()
    cast("Centre", centre).learn(start.mean)
    layers.initialise((encoder.body, decoder.body), spec, generator)
    with torch.no_grad():
        for end in (to_code, from_code):
            if isinstance(end, Residual):
                nn.init.zeros_(end.last[1].weight)
        code = to_code.linear if isinstance(to_code, Residual) else cast("nn.Linear", to_code)
        rows = from_code.linear if isinstance(from_code, Residual) else cast("nn.Linear", from_code)
        nn.init.zeros_(code.weight)
        nn.init.zeros_(rows.weight)
        rows.bias.copy_(invert(spec.output, start.mean.flatten()))
        if start.axes is not None:
            _start_at(code, rows, start.axes, spec)


def _start_at(code: nn.Linear, rows: nn.Linear, axes: Axes, spec: NetworkSpec) -> None:
    """Let two linear maps be whitened PCA, or probabilistic PCA where codes have a variance."""
    kept = axes.variances > _LEAST_SHARE * axes.variances[:1].clamp(min=torch.finfo().tiny)
    kept[spec.n_components :] = False
    directions, variances = axes.directions[kept], axes.variances[kept]
    count = len(variances)
    noise = max(axes.rest, _LEAST_NOISE) if spec.n_heads > 1 else 0.0
    told = (variances - noise).clamp(min=0)
    code.weight[:count] = (directions * (told.sqrt() / variances)[:, None]).to(code.weight.dtype)
    rows.weight[:, :count] = (directions.t() * told.sqrt()).to(rows.weight.dtype)
    if spec.n_heads > 1:
        # The posterior of a direction has the variance noise / variance; of none, that of N(0, 1).
        spread = (noise / variances).clamp(max=1).log()
        code.bias[spec.n_components : spec.n_components + count] = spread.to(code.bias.dtype)


def _map(widths: tuple[int, ...], activation: str) -> nn.Module:
    """Build a linear map from the first to the last width, and the network beside it."""
    linear = nn.Linear(widths[0], widths[-1])
    if len(widths) == 2:
        return linear
    network: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        network += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return Residual(linear, nn.Sequential(*network[:-1]))


def _features(spec: NetworkSpec) -> int:
    return math.prod(spec.sample_shape)
