"""Layers that architectures share: tied and unit matrices, normalisation, residual blocks.

Ioffe & Szegedy (2015), "Batch normalization", alg. 1 and 2. Ba, Kiros & Hinton (2016), "Layer
normalization", eq. 3. He et al. (2015), "Delving deep into rectifiers": weights drawn with variance
2 / fan-in before a rectifier (eq. 10), 1 / fan-in before a linear output. He et al. (2016),
"Identity mappings in deep residual networks"; Zhang, Dauphin & Ma (2019), "Fixup initialization":
blocks whose last matrix starts at zero start as the identity, and a network of any depth starts as
one without them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from narrows import ranks
from narrows.networks.activations import ACTIVATIONS
from narrows.networks.architecture import NetworkSpec, Start
from narrows.networks.network import Block, Decoder, Encoder

# Activations that pass about half of the mean square; the others are taken for linear.
_HALF_OPEN = {"relu", "leaky_relu", "silu", "gelu", "elu"}
# Rows that dense layers encode or decode at a time: many, for the matrix products.
DENSE_ROWS = 1024
# The share of a batch in the running statistics, and what is added to variances, which may be 0.
_MOMENTUM, _EPSILON = 0.1, 1e-5


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
    """A linear layer as :class:`UnitLinear`, whose matrix is another layer's, transposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        return functional.linear(x, functional.normalize(self.weight, dim=1).t(), self.bias)


def linear_from_code(spec: NetworkSpec) -> type[nn.Linear | TransposedLinear]:
    """Return the class of the linear layer that takes the code in a decoder."""
    if spec.unit_columns:
        return UnitTransposedLinear if spec.tied_weights else UnitLinear
    return TransposedLinear if spec.tied_weights else nn.Linear


class NoNorm(nn.Identity):
    """No normalisation."""

    def reset(self) -> None:
        """Do nothing: there are no weights."""


class LayerNorm(nn.Module):
    """All numbers of a row at mean 0 and variance 1, whatever stands beside it.

    Parameters
    ----------
    channels : int
        The size of the second axis, C; each channel has a scale and a shift of its own.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))

    def reset(self) -> None:
        """Start at scale 1 and shift 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, ...) to the same shape."""
        return functional.group_norm(x, 1, self.weight, self.bias, _EPSILON)


class BatchNorm(LayerNorm):
    """Each channel at mean 0 and variance 1 over a batch; at inference, over all that was learned.

    Parameters
    ----------
    channels : int
        The size of the second axis, C; each channel has a scale and a shift of its own.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def reset(self) -> None:
        """Start at the identity."""
        super().reset()
        nn.init.ones_(self.running_var)
        nn.init.zeros_(self.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, ...) to the same shape."""
        if self.training and ranks.size() > 1:
            return self._over_all(x)
        # A single value has no variance.
        by_batch = self.training and x.numel() > x.shape[1]
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            by_batch,
            _MOMENTUM,
            _EPSILON,
        )

    def _over_all(self, x: Tensor) -> Tensor:
        """Normalise over the rows of all processes, by sums that CPUs can exchange too."""
        x = x.float()
        axes = [0, *range(2, x.ndim)]
        shape = (1, -1, *[1] * (x.ndim - 2))
        n_rows = x.new_full((1,), x.numel() // x.shape[1])
        sums = ranks.add(torch.cat([x.sum(axes), n_rows]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = x - mean.view(shape)
        variance = ranks.add(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, _MOMENTUM)
            self.running_var.lerp_(variance * (count / (count - 1)), _MOMENTUM)
        scale = self.weight * (variance + _EPSILON).rsqrt()
        y: Tensor = centred * scale.view(shape) + self.bias.view(shape)
        return y


NORMALIZATIONS: dict[str, Callable[[int], NoNorm | LayerNorm]] = {
    "none": NoNorm,
    "batch": BatchNorm,
    "layer": LayerNorm,
}


class ResidualBlock(nn.Module):
    """The sum of what comes in and what two layers make of it: x + W2 f(W1 n(x)).

    Parameters
    ----------
    first, second : Module
        The layers W1 and W2, from C channels to as many; W2 starts at zero.
    norm, activation : Module
        The normalisation n and the function f.
    """

    def __init__(
        self, first: nn.Module, second: nn.Module, norm: nn.Module, activation: nn.Module
    ) -> None:
        super().__init__()
        self.norm = norm
        self.first = first
        self.activation = activation
        self.second = second

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, ...) to the same shape."""
        y: Tensor = x + self.second(self.activation(self.first(self.norm(x))))
        return y


def block(
    spec: NetworkSpec,
    layer: nn.Module,
    channels: int,
    n_residuals: int,
    same: Callable[[int, int], nn.Module],
    *,
    reshape: tuple[nn.Module, ...] = (),
) -> Block:
    """Make a hidden layer with normalisation, activation and residual blocks after it.

    Parameters
    ----------
    spec : NetworkSpec
        The network that it belongs to.
    layer : Module
        The hidden layer.
    channels : int
        How many channels it gives.
    n_residuals : int
        How many residual blocks follow it.
    same : callable
        From the numbers of channels, in and out, to a layer for residual blocks.
    reshape : tuple of Module
        Modules without weights that follow the layer at once.
    """
    normalise, activate = NORMALIZATIONS[spec.normalization], ACTIVATIONS[spec.activation]
    norm = () if spec.normalization == "none" else (normalise(channels),)
    residuals = (
        ResidualBlock(
            same(channels, channels), same(channels, channels), normalise(channels), activate()
        )
        for _ in range(n_residuals)
    )
    return Block(layer, activate(), reshape, norm, tuple(residuals))


def residuals_by_layer(spec: NetworkSpec) -> list[int]:
    """Share the residual blocks out over hidden layers; the narrow ones get what is left over.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="dense", sample_shape=(9,), n_components=2, hidden_layer_sizes=(8, 6, 4),
    ...     activation="silu", code_activation="identity", output="identity", tied_weights=False,
    ...     residual_blocks=4)
    >>> residuals_by_layer(spec)
    [1, 1, 2]
    """
    n_layers = len(spec.hidden_layer_sizes)
    return [(spec.residual_blocks + i) // n_layers for i in range(n_layers)]


def count_numbers(spec: NetworkSpec, places: Sequence[int] | None = None) -> int:
    """Count what the modules of a network give for one row, which is kept for the gradients.

    Parameters
    ----------
    spec : NetworkSpec
        The network.
    places : sequence of int, optional
        How many places each hidden layer has; each has all of its channels. By default one.
    """
    places = [1] * len(spec.hidden_layer_sizes) if places is None else places
    normalised = spec.normalization != "none"
    # Of a layer itself, normalised and activated; of a block its two layers, between and sum.
    hidden = sum(
        size * width * (2 + normalised + residuals * (4 + normalised))
        for size, width, residuals in zip(
            places, spec.hidden_layer_sizes, residuals_by_layer(spec), strict=True
        )
    )
    # The row is centred, and restored in two steps and an output.
    return 2 * (hidden + 2 * math.prod(spec.sample_shape)) + 2 * spec.n_heads * spec.code_width


def initialise(
    encoder: Encoder,
    decoder: Decoder,
    spec: NetworkSpec,
    start: Start,
    generator: torch.Generator,
) -> None:
    """Draw the weights of halves that name their layers, of which the last give plain numbers.

    Units that decode to vectors of length 1 decode to what they look for at first: so fewer die
    (Gao et al. 2024).

    Parameters
    ----------
    encoder, decoder : Encoder, Decoder
        The halves.
    spec : NetworkSpec
        What they were built from.
    start : Start
        What is known of the training rows; it is not used.
    generator : torch.Generator
        The generator that weights are drawn from.
    """
    del start
    for body in (encoder.body, decoder.body):
        # Tied matrices are drawn with the encoder.
        drawn = body is encoder.body or not spec.tied_weights
        for part in body.blocks:
            draw(part.layer, spec, generator, keeps_weight=not drawn)
            for residual in part.residuals:
                draw(residual.first, spec, generator)
                nn.init.zeros_(residual.second.weight)
                nn.init.zeros_(residual.second.bias)
            for norm in (*part.norm, *(residual.norm for residual in part.residuals)):
                norm.reset()
        draw(body.layers[-1], spec, generator, is_last=True, keeps_weight=not drawn)
    if spec.unit_columns and not spec.tied_weights:
        with torch.no_grad():
            looked_for = encoder.body.layers[-1].weight[: spec.n_components]
            decoder.body.layers[0].weight.copy_(looked_for.t())


def draw(
    layer: Any,
    spec: NetworkSpec,
    generator: torch.Generator,
    *,
    is_last: bool = False,
    keeps_weight: bool = False,
) -> None:
    """Draw a layer's weights with the variance that its place asks for, and set its bias to zero.

    Parameters
    ----------
    layer : Module
        A linear layer or a convolution.
    spec : NetworkSpec
        The network that it belongs to.
    generator : torch.Generator
        The generator that weights are drawn from.
    is_last : bool, default=False
        Whether it gives plain numbers, and is followed by no activation.
    keeps_weight : bool, default=False
        Whether the bias alone is set.
    """
    nn.init.zeros_(layer.bias)
    if keeps_weight:
        return
    weight = layer.weight
    fan_in = weight[0].numel()
    if getattr(layer, "transposed", False):
        # Of a transposed convolution's kernel, one place in so many reaches a place of the output.
        fan_in = weight.shape[0] * weight[0, 0].numel() / math.prod(layer.stride)
    gain = 2.0 if spec.activation in _HALF_OPEN and not is_last else 1.0
    nn.init.normal_(weight, 0, (gain / fan_in) ** 0.5, generator)


def dense_filters(encoder: Encoder, spec: NetworkSpec) -> Tensor:
    """Return what each unit of a dense first layer multiplies rows with, (n, *sample_shape)."""
    weights: Tensor = encoder.body.layers[0].weight
    return weights.view(-1, *spec.sample_shape)
