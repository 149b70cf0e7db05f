"""Layers that architectures share: tied and unit matrices, normalisation, residual blocks.

Ioffe & Szegedy (2015), "Batch normalization", alg. 1 and 2. Ba, Kiros & Hinton (2016), "Layer
normalization", eq. 3. He et al. (2015), "Delving deep into rectifiers": weights drawn with variance
2 / fan-in before a rectifier (eq. 10), 1 / fan-in before a linear output. He et al. (2016),
"Identity mappings in deep residual networks"; Zhang, Dauphin & Ma (2019), "Fixup initialization":
blocks whose last matrix starts at zero start as the identity, and a network of any depth starts as
one without them.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from narrows import ranks
from narrows.networks.activations import ACTIVATIONS
from narrows.networks.network import NetworkSpec

# Mean-square gain of each activation; those that are not listed behave like a linear layer.
_HALF_OPEN = {"relu", "leaky_relu", "silu", "gelu", "elu"}
# How fast the running statistics forget, and what keeps a constant number from a division by zero.
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
    """The same, of another layer's matrix, transposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        return functional.linear(x, functional.normalize(self.weight, dim=1).t(), self.bias)


class BatchNorm(nn.Module):
    """Each channel at mean 0 and variance 1 over a batch; in use, over what training has seen.

    Parameters
    ----------
    channels : int
        Along the second axis, C.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))

    def reset(self) -> None:
        """Start at the identity."""
        for ones, zeros in ((self.weight, self.bias), (self.running_var, self.running_mean)):
            nn.init.ones_(ones)
            nn.init.zeros_(zeros)

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
        """Do the same over the rows of all processes, by sums that CPUs can exchange too."""
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


class LayerNorm(nn.Module):
    """All numbers of a row at mean 0 and variance 1, whatever stands beside it.

    Parameters
    ----------
    channels : int
        Along the second axis, C; each has a scale and a shift of its own.
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


Weighted = nn.Linear | TransposedLinear | _ConvNd


class ResidualBlock(nn.Module):
    """A layer's input, and what two layers make of it: x + W2 f(W1 n(x)).

    Parameters
    ----------
    first, second : Module
        W1 and W2, from C channels to as many; W2 starts at zero.
    norm, activation : Module
        n and f.
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


NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {
    "none": nn.Identity,
    "batch": BatchNorm,
    "layer": LayerNorm,
}


def after(
    spec: NetworkSpec, channels: int, blocks: int, layer: Callable[[int, int], nn.Module]
) -> Iterator[nn.Module]:
    """Yield what follows a hidden layer: normalisation, activation, residual blocks.

    Parameters
    ----------
    spec : NetworkSpec
        Of the network.
    channels : int
        That the hidden layer gives.
    blocks : int
        How many of them.
    layer : callable
        From the numbers of channels to a layer for the blocks.
    """
    if spec.normalization != "none":
        yield NORMALIZATIONS[spec.normalization](channels)
    yield ACTIVATIONS[spec.activation]()
    for _ in range(blocks):
        yield ResidualBlock(
            layer(channels, channels),
            layer(channels, channels),
            NORMALIZATIONS[spec.normalization](channels),
            ACTIVATIONS[spec.activation](),
        )


def blocks_of(spec: NetworkSpec) -> list[int]:
    """Share the residual blocks out over hidden layers; the narrow ones get what is left over.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="dense", sample_shape=(9,), n_components=2, hidden_layer_sizes=(8, 6, 4),
    ...     activation="silu", code_activation="identity", output="identity", tied_weights=False,
    ...     residual_blocks=4)
    >>> blocks_of(spec)
    [1, 1, 2]
    """
    n_layers = len(spec.hidden_layer_sizes)
    return [(spec.residual_blocks + i) // n_layers for i in range(n_layers)]


def initialise(halves: Iterable[nn.Module], spec: NetworkSpec, generator: torch.Generator) -> None:
    """Draw the weights of halves, whose last layers give plain numbers.

    Parameters
    ----------
    halves : iterable of Module
        The encoder's body and the decoder's, in this order.
    spec : NetworkSpec
        What they were built from.
    generator : torch.Generator
        Where the weights are drawn from.
    """
    drawn: list[Tensor] = []
    for body in halves:
        layers = list(weighted(body))
        ends = [block.second for block in body.modules() if isinstance(block, ResidualBlock)]
        for layer in layers:
            nn.init.zeros_(cast("Tensor", layer.bias))
            if any(layer.weight is weight for weight in drawn):
                continue
            drawn.append(layer.weight)
            if layer in ends:
                nn.init.zeros_(layer.weight)
                continue
            gain = 2.0 if layer is not layers[-1] and spec.activation in _HALF_OPEN else 1.0
            nn.init.normal_(layer.weight, 0, (gain / _fan_in(layer)) ** 0.5, generator)
        for module in body.modules():
            if isinstance(module, BatchNorm | LayerNorm):
                module.reset()


def weighted(body: nn.Module) -> Iterator[Weighted]:
    """Yield the layers that have a matrix and a bias, from the input on."""
    return (module for module in body.modules() if isinstance(module, Weighted))


def convolves(module: nn.Module) -> bool:
    """Tell whether there are convolutions in a module."""
    return any(isinstance(layer, _ConvNd) for layer in module.modules())


def start_units(encoder: nn.Module, decoder: nn.Module, spec: NetworkSpec) -> None:
    """Let units that decode to vectors of length 1 decode to what they look for.

    They start useful: fewer die (Gao et al. 2024).
    """
    if spec.unit_columns and not spec.tied_weights:
        *_, last = (m for m in encoder.modules() if isinstance(m, nn.Linear))
        first = next(m for m in decoder.modules() if isinstance(m, nn.Linear))
        with torch.no_grad():
            first.weight.copy_(last.weight[: spec.n_components].t())


def _fan_in(layer: Weighted) -> float:
    weight = layer.weight
    if isinstance(layer, _ConvTransposeNd):
        # A place is reached by one in so many of the kernel's.
        return weight.shape[0] * weight[0, 0].numel() / math.prod(layer.stride)
    return weight[0].numel()
