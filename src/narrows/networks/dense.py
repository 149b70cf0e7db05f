"""Fully connected layers, and deep networks of them as stacks of small ones.

Hinton & Salakhutdinov (2006), "Reducing the dimensionality of data with neural networks", fig. 1:
layers that were trained one by one are unrolled into one deep network that computes what they do
one after the other.
"""

import math
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from narrows.networks import layers
from narrows.networks.activations import invert
from narrows.networks.architecture import Architecture, NetworkSpec, Start
from narrows.networks.layers import TransposedLinear, UnitLinear, block, residuals_by_layer
from narrows.networks.network import Body, Centre, Decoder, Encoder, Network

# Widths of the first hidden layer by default.
_WIDEST, _NARROWEST = 1024, 256


def build_encoder(spec: NetworkSpec) -> Body:
    """Build the encoder's body, (B, *sample_shape) to (B, heads * K)."""
    widths = (math.prod(spec.sample_shape), *spec.hidden_layer_sizes)
    last = nn.Linear(widths[-1], spec.n_heads * spec.n_components)
    return Body(
        nn.Flatten(),
        centre=Centre(spec.sample_shape),
        blocks=[
            block(spec, nn.Linear(fan_in, fan_out), fan_out, count, nn.Linear)
            for (fan_in, fan_out), count in zip(
                pairwise(widths), residuals_by_layer(spec), strict=True
            )
        ],
        last=last,
        code_layers=[last],
        is_chain=spec.normalization == "none" and not spec.residual_blocks,
    )


def build_decoder(spec: NetworkSpec) -> Body:
    """Build the decoder's body, (B, K) to (B, *sample_shape)."""
    widths = (spec.n_components, *spec.hidden_layer_sizes[::-1], math.prod(spec.sample_shape))
    others = TransposedLinear if spec.tied_weights else nn.Linear
    classes = [layers.linear_from_code(spec), *[others] * len(spec.hidden_layer_sizes)]
    *hidden, last = (made(*pair) for made, pair in zip(classes, pairwise(widths), strict=True))
    return Body(
        blocks=[
            block(spec, layer, width, count, nn.Linear)
            for layer, width, count in zip(
                hidden, widths[1:-1], residuals_by_layer(spec)[::-1], strict=True
            )
        ],
        last=last,
        after_last=[nn.Unflatten(1, spec.sample_shape)],
        code_layers=() if spec.tied_weights else [*hidden, last][:1],
    )


def initialise(
    encoder: Encoder, decoder: Decoder, spec: NetworkSpec, start: Start, generator: torch.Generator
) -> None:
    """Draw the weights, and start the decoder at the mean row; see :mod:`.layers`."""
    layers.initialise(encoder, decoder, spec, start, generator)
    with torch.no_grad():
        decoder.body.layers[-1].bias.copy_(invert(spec.output, start.mean.flatten()))


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


DENSE = Architecture(
    build_encoder=build_encoder,
    build_decoder=build_decoder,
    initialise=initialise,
    parameters=frozenset(
        {"hidden_layer_sizes", "activation", "tied_weights", "normalization", "residual_blocks"}
    ),
    hidden_layer_sizes=_hidden_layer_sizes,
    clips=False,
    filters=layers.dense_filters,
    numbers_a_row=layers.count_numbers,
    rows_at_once=layers.DENSE_ROWS,
    unit_columns=True,
)
