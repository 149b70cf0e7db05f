"""Fully connected layers.

He et al. (2015), "Delving deep into rectifiers": weights drawn with variance 2 / fan-in before a
rectifier (eq. 10), 1 / fan-in before a linear output.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from narrows.networks.activations import ACTIVATIONS
from narrows.networks.network import Centre, Decoder, Encoder, NetworkSpec
from narrows.networks.outputs import invert
from narrows.networks.sparse import build_code_activation

# Mean-square gain of each activation; those that are not listed behave like a linear layer.
_HALF_OPEN = {"relu", "leaky_relu", "silu", "gelu", "elu"}


class TransposedLinear(nn.Module):
    """A linear layer whose matrix, of shape (in, out), is another layer's, transposed."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(fan_in, fan_out))
        self.bias = nn.Parameter(torch.empty(fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        return functional.linear(x, self.weight.t(), self.bias)


class UnitLinear(nn.Linear):
    """A linear layer that multiplies each number it takes with a vector of length 1.

    The length of a column of its matrix has no effect, so none can grow to let a code shrink.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        return functional.linear(x, functional.normalize(self.weight, dim=0), self.bias)


class UnitTransposedLinear(TransposedLinear):
    """The same, of another layer's matrix, transposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        return functional.linear(x, functional.normalize(self.weight, dim=1).t(), self.bias)


def build_encoder(spec: NetworkSpec) -> Encoder:
    """Build the encoder, (B, *sample_shape) to (B, K), its weights still to be filled in."""
    widths = (_features(spec), *spec.hidden_layer_sizes, spec.n_heads * spec.n_components)
    layers: list[nn.Module] = [Centre(spec.sample_shape), nn.Flatten()]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[spec.activation]()]
    return Encoder(nn.Sequential(*layers[:-1]), build_code_activation(spec), spec.n_heads)


def build_decoder(spec: NetworkSpec) -> Decoder:
    """Build the decoder, (B, K) to (B, *sample_shape), its weights still to be filled in."""
    widths = (_features(spec), *spec.hidden_layer_sizes, spec.n_components)[::-1]
    layer = TransposedLinear if spec.tied_weights else nn.Linear
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [layer(fan_in, fan_out), ACTIVATIONS[spec.activation]()]
    if spec.unit_columns:
        first = UnitTransposedLinear if spec.tied_weights else UnitLinear
        layers[0] = first(widths[0], widths[1])
    layers[-1] = nn.Unflatten(1, spec.sample_shape)
    return Decoder(nn.Sequential(*layers), spec.output)


def tie(encoder: Encoder, decoder: Decoder) -> None:
    """Let the decoder's transposed layers share the encoder's matrices."""
    matrices = [m.weight for m in encoder.body.children() if isinstance(m, nn.Linear)]
    for layer in decoder.body.children():
        if isinstance(layer, TransposedLinear):
            layer.weight = matrices.pop()  # type: ignore[assignment]


def initialise(
    encoder: Encoder,
    decoder: Decoder,
    spec: NetworkSpec,
    mean: Tensor,
    generator: torch.Generator,
) -> None:
    """Draw the weights, and start the decoder at the mean row.

    Parameters
    ----------
    encoder, decoder : Module
        What :func:`build_encoder` and :func:`build_decoder` gave.
    spec : NetworkSpec
        What they were built from.
    mean : Tensor of shape (*sample_shape,)
        Of the scaled training data.
    generator : torch.Generator
        Where the weights are drawn from.
    """
    for centre in encoder.body.children():
        if isinstance(centre, Centre):
            centre.mean.copy_(mean)
    layers = [
        [m for m in body.children() if isinstance(m, nn.Linear | TransposedLinear)]
        for body in (encoder.body, decoder.body)
    ]
    for half in layers:
        for layer in half:
            nn.init.zeros_(layer.bias)
            if isinstance(layer, TransposedLinear):
                continue
            gain = 2.0 if layer is not half[-1] and spec.activation in _HALF_OPEN else 1.0
            nn.init.normal_(layer.weight, 0, (gain / layer.in_features) ** 0.5, generator)
    if spec.unit_columns and not spec.tied_weights:
        # Units that decode to what they look for start useful: fewer die (Gao et al. 2024).
        with torch.no_grad():
            layers[1][0].weight.copy_(layers[0][-1].weight[: spec.n_components].t())
    with torch.no_grad():
        layers[1][-1].bias.copy_(invert(spec.output, mean.flatten()))


def _features(spec: NetworkSpec) -> int:
    return int(torch.Size(spec.sample_shape).numel())
