"""Dense networks, and the layers that other architectures share with them.

These are linear layers that share a matrix or whose columns have length 1, normalisation, residual
blocks, and their initial weights. Deep dense networks can be taken apart into small ones.

Ioffe & Szegedy (2015), "Batch normalization", alg. 1 and 2. Ba, Kiros & Hinton (2016), "Layer
normalization", eq. 3. He et al. (2015), "Delving deep into rectifiers": weights drawn with variance
2 / fan-in before a rectifier (eq. 10), 1 / fan-in before a linear output. He et al. (2016),
"Identity mappings in deep residual networks"; Zhang, Dauphin & Ma (2019), "Fixup initialization":
blocks whose last matrix starts at zero start as the identity, and a network of any depth starts as
one without them. Hinton & Salakhutdinov (2006), "Reducing the dimensionality of data with neural
networks", fig. 1: layers that were trained one by one are unrolled into one deep network that
computes what they do one after the other.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from narrows import ranks
from narrows.networks.activations import ACTIVATIONS, invert
from narrows.networks.network import (
    Architecture,
    Block,
    Body,
    Centre,
    Decoder,
    Encoder,
    Network,
    NetworkSpec,
    Start,
)

# Widths of the first hidden layer by default.
_WIDEST, _NARROWEST = 1024, 256
# Activations that pass about half of the mean square; the others are taken for linear.
_HALF_OPEN = {"relu", "leaky_relu", "silu", "gelu", "elu"}
# Rows that are encoded or decoded at a time: many, for the matrix products.
_ROWS_AT_ONCE = 1024
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
        if self.training and ranks.place.size > 1:
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


def hidden_blocks(
    spec: NetworkSpec,
    layers: Sequence[nn.Module],
    same: Callable[[int, int], nn.Module],
    *,
    from_code: bool = False,
    reshape: tuple[nn.Module, ...] = (),
) -> list[Block]:
    """Make hidden layers with normalisation, activation and residual blocks after each.

    Parameters
    ----------
    spec : NetworkSpec
        The network that they belong to.
    layers : sequence of Module
        The hidden layers, in the order in which they are called.
    same : callable
        From the numbers of channels, in and out, to a layer for residual blocks.
    from_code : bool, default=False
        Whether they are a decoder's, whose widths mirror the encoder's.
    reshape : tuple of Module
        Modules without weights that follow the first layer at once.
    """
    normalise, activate = NORMALIZATIONS[spec.normalization], ACTIVATIONS[spec.activation]
    order = -1 if from_code else 1
    blocks: list[Block] = []
    for layer, channels, n_residuals in zip(
        layers, spec.hidden_layer_sizes[::order], _residuals_by_layer(spec)[::order], strict=True
    ):
        norm = () if spec.normalization == "none" else (normalise(channels),)
        residuals = tuple(
            ResidualBlock(
                same(channels, channels), same(channels, channels), normalise(channels), activate()
            )
            for _ in range(n_residuals)
        )
        blocks.append(Block(layer, activate(), () if blocks else reshape, norm, residuals))
    return blocks


def _residuals_by_layer(spec: NetworkSpec) -> list[int]:
    """Share the residual blocks out over hidden layers; the narrow ones get what is left over.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="dense", sample_shape=(9,), n_components=2, hidden_layer_sizes=(8, 6, 4),
    ...     activation="silu", code_activation="identity", output="identity", tied_weights=False,
    ...     residual_blocks=4)
    >>> _residuals_by_layer(spec)
    [1, 1, 2]
    """
    n_layers = len(spec.hidden_layer_sizes)
    return [(spec.residual_blocks + i) // n_layers for i in range(n_layers)]


def build_encoder(spec: NetworkSpec) -> Body:
    """Build the encoder's body, (B, *sample_shape) to (B, heads * K)."""
    widths = (math.prod(spec.sample_shape), *spec.hidden_layer_sizes)
    last = nn.Linear(widths[-1], spec.n_heads * spec.n_components)
    return Body(
        nn.Flatten(),
        centre=spec.sample_shape,
        blocks=hidden_blocks(spec, [nn.Linear(*pair) for pair in pairwise(widths)], nn.Linear),
        last=last,
        code_layers=[last],
        is_chain=spec.normalization == "none" and not spec.residual_blocks,
    )


def build_decoder(spec: NetworkSpec) -> Body:
    """Build the decoder's body, (B, K) to (B, *sample_shape)."""
    widths = (spec.n_components, *spec.hidden_layer_sizes[::-1], math.prod(spec.sample_shape))
    others = TransposedLinear if spec.tied_weights else nn.Linear
    classes = [linear_from_code(spec), *[others] * len(spec.hidden_layer_sizes)]
    *hidden, last = (made(*pair) for made, pair in zip(classes, pairwise(widths), strict=True))
    return Body(
        blocks=hidden_blocks(spec, hidden, nn.Linear, from_code=True),
        last=last,
        after_last=[nn.Unflatten(1, spec.sample_shape)],
        code_layers=() if spec.tied_weights else [*hidden, last][:1],
    )


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
            places, spec.hidden_layer_sizes, _residuals_by_layer(spec), strict=True
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
    """Draw the weights of halves that name their layers, and start the decoder at the mean row.

    Units that decode to vectors of length 1 decode to what they look for at first: so fewer die
    (Gao et al. 2024).

    Parameters
    ----------
    encoder, decoder : Encoder, Decoder
        The halves.
    spec : NetworkSpec
        What they were built from.
    start : Start
        What is known of the training rows.
    generator : torch.Generator
        The generator that weights are drawn from.
    """
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
    if decoder.body.mean_row is None:
        with torch.no_grad():
            decoder.body.layers[-1].bias.copy_(invert(spec.output, start.mean.flatten()))


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


def draw_all(layers: Sequence[Any], spec: NetworkSpec, generator: torch.Generator) -> None:
    """Draw the weights of layers, of which all but the last are followed by an activation."""
    for layer in layers:
        draw(layer, spec, generator, is_last=layer is layers[-1])


def stages(encoder: Encoder) -> list[nn.Sequential]:
    """Split an encoder of dense layers into one module a layer, from codes to the next codes."""
    body = encoder.body
    parts = [block.modules for block in body.blocks]
    parts.append((body.layers[-1], encoder.activation))
    return [
        nn.Sequential(*(() if place else body.front), *part) for place, part in enumerate(parts)
    ]


@torch.no_grad()
def put_layer(layer: Network, network: Network, place: int) -> None:
    """Give one place in a deep network the weights of a network of one layer each way.

    The mean that the layer subtracts from its input goes into the bias, except at the first place,
    where the deep network subtracts it too. Of several heads the first is taken, and columns that
    the layer scales to length 1 are taken at that length.

    Parameters
    ----------
    layer : Network
        A network without hidden layers. Above the first place its input is flat, and its decoder
        ends in the deep network's activation.
    network : Network
        The deep network, of dense layers; changed.
    place : int
        The number of the layer, from 0, counted from the rows.
    """
    encode, decode, is_last = _layers_at(network, place)
    from_encode, from_decode, _ = _layers_at(layer, 0)
    weight, bias = from_encode.weight[: len(encode.weight)], from_encode.bias[: len(encode.bias)]
    centre = _mean(layer)
    if place == 0:
        _mean(network).copy_(centre)
    else:
        bias = bias - weight @ centre.flatten()
    encode.weight.copy_(weight)
    encode.bias.copy_(bias)
    decode.bias.copy_(from_decode.bias)
    if not isinstance(decode, TransposedLinear):
        weight = from_decode.weight
        if isinstance(from_decode, UnitLinear) and not isinstance(decode, UnitLinear):
            weight = functional.normalize(weight, dim=0)
        decode.weight.copy_(weight)
    if is_last:
        network.encoder.activation.load_state_dict(layer.encoder.activation.state_dict())


@torch.no_grad()
def take_layer(network: Network, layer: Network, place: int) -> None:
    """Bring a network of one layer each way to the weights of its place in a deep network.

    Parameters
    ----------
    network, layer, place
        As for :func:`put_layer`; here it is the layer that is changed.
    """
    encode, decode, is_last = _layers_at(network, place)
    to_encode, to_decode, _ = _layers_at(layer, 0)
    centre = _mean(layer)
    if place == 0:
        centre.copy_(_mean(network))
    bias = encode.bias if place == 0 else encode.bias + encode.weight @ centre.flatten()
    to_encode.weight[: len(encode.weight)] = encode.weight
    to_encode.bias[: len(encode.bias)] = bias
    to_decode.bias.copy_(decode.bias)
    if not isinstance(decode, TransposedLinear):
        to_decode.weight.copy_(decode.weight)
    if is_last:
        layer.encoder.activation.load_state_dict(network.encoder.activation.state_dict())


def _layers_at(network: Network, place: int) -> tuple[Any, Any, bool]:
    """Return the layers at a place of the encoder and the decoder, and whether it is the last."""
    encode, decode = network.encoder.body.layers, network.decoder.body.layers
    return encode[place], decode[-1 - place], place == len(encode) - 1


def _mean(network: Network) -> Tensor:
    """Return the row that an encoder subtracts, which can be changed in place."""
    return cast("Centre", network.encoder.body.centre).mean


def _hidden_layer_sizes(
    sample_shape: tuple[int, ...], n_components: int, n_rows: int
) -> tuple[int, ...]:
    """Choose two layers that narrow by four, the first about as wide as the input."""
    del n_rows
    features = math.prod(sample_shape)
    first = min(_WIDEST, max(_NARROWEST, 1 << (features - 1).bit_length()))
    second = max(first // 4, 2 * n_components)
    return (first, second) if second < first else (first,)


def _filters(encoder: Encoder, spec: NetworkSpec) -> Tensor:
    """Return what each unit of the first layer multiplies rows with, (n, *sample_shape)."""
    weights: Tensor = encoder.body.layers[0].weight
    return weights.view(-1, *spec.sample_shape)


DENSE = Architecture(
    build_encoder=build_encoder,
    build_decoder=build_decoder,
    initialise=initialise,
    parameters=frozenset(
        {"hidden_layer_sizes", "activation", "tied_weights", "normalization", "residual_blocks"}
    ),
    hidden_layer_sizes=_hidden_layer_sizes,
    clips=False,
    filters=_filters,
    numbers_a_row=count_numbers,
    rows_at_once=_ROWS_AT_ONCE,
    unit_columns=True,
)
