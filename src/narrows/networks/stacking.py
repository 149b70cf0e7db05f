"""Deep networks of dense layers as stacks of small ones, and back.

Hinton & Salakhutdinov (2006), "Reducing the dimensionality of data with neural networks", fig. 1:
layers that were trained one by one are unrolled into one deep network that computes what they do
one after the other.
"""

import torch
from torch import nn
from torch.nn import functional

from narrows.networks.layers import TransposedLinear, UnitLinear
from narrows.networks.network import Centre, Encoder, Network


def stages(encoder: Encoder) -> list[nn.Sequential]:
    """Part an encoder of dense layers into one module for each: from codes to the next codes."""
    parts: list[list[nn.Module]] = [[]]
    for module in encoder.body.children():
        if isinstance(module, nn.Linear) and any(isinstance(m, nn.Linear) for m in parts[-1]):
            parts.append([])
        parts[-1].append(module)
    parts[-1].append(encoder.activation)
    return [nn.Sequential(*part) for part in parts]


@torch.no_grad()
def put_layer(layer: Network, network: Network, place: int) -> None:
    """Give one place in a deep network the weights of a network of one layer each way.

    What the layer subtracts from its input goes into the bias, but at the first place, where the
    deep network subtracts it too. Of several heads the first is taken, and columns that the layer
    brings to length 1 are taken at that length.

    Parameters
    ----------
    layer : Network
        Without hidden layers. Above the first place its input is flat, and its decoder ends in
        the deep network's activation.
    network : Network
        Of dense layers; changed.
    place : int
        Which layer, from 0, counted from the rows.
    """
    encode, decode = _pairs(network)[place]
    own_encode, own_decode = _pairs(layer)[0]
    weight, bias = own_encode.weight[: len(encode.weight)], own_encode.bias[: len(encode.bias)]
    centre = _centre(layer)
    if place == 0:
        _centre(network).copy_(centre)
    else:
        bias = bias - weight @ centre.flatten()
    encode.weight.copy_(weight)
    encode.bias.copy_(bias)
    decode.bias.copy_(own_decode.bias)
    if not isinstance(decode, TransposedLinear):
        weight = own_decode.weight
        if isinstance(own_decode, UnitLinear) and not isinstance(decode, UnitLinear):
            weight = functional.normalize(weight, dim=0)
        decode.weight.copy_(weight)
    if encode is _pairs(network)[-1][0]:
        network.encoder.activation.load_state_dict(layer.encoder.activation.state_dict())


@torch.no_grad()
def take_layer(network: Network, layer: Network, place: int) -> None:
    """Bring a network of one layer each way to the weights of its place in a deep network.

    Parameters
    ----------
    network, layer, place
        As for :func:`put_layer`; here it is the layer that is changed.
    """
    encode, decode = _pairs(network)[place]
    own_encode, own_decode = _pairs(layer)[0]
    centre = _centre(layer)
    if place == 0:
        centre.copy_(_centre(network))
    bias = encode.bias if place == 0 else encode.bias + encode.weight @ centre.flatten()
    own_encode.weight[: len(encode.weight)] = encode.weight
    own_encode.bias[: len(encode.bias)] = bias
    own_decode.bias.copy_(decode.bias)
    if not isinstance(decode, TransposedLinear):
        own_decode.weight.copy_(decode.weight)
    if encode is _pairs(network)[-1][0]:
        layer.encoder.activation.load_state_dict(network.encoder.activation.state_dict())


def _pairs(network: Network) -> list[tuple[nn.Linear, nn.Linear | TransposedLinear]]:
    """Return each layer's matrix of the encoder and of the decoder, from the rows on."""
    encoding = [m for m in network.encoder.body.children() if isinstance(m, nn.Linear)]
    decoding = [
        m for m in network.decoder.body.children() if isinstance(m, nn.Linear | TransposedLinear)
    ]
    return list(zip(encoding, decoding[::-1], strict=True))


def _centre(network: Network) -> torch.Tensor:
    return next(m.mean for m in network.encoder.body.children() if isinstance(m, Centre))
