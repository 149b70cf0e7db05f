"""Fully connected layers."""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from narrows.networks import layers
from narrows.networks.layers import (
    TransposedLinear,
    UnitLinear,
    UnitTransposedLinear,
    after,
    blocks_of,
    weighted,
)
from narrows.networks.network import Centre, Decoder, Encoder, NetworkSpec
from narrows.networks.outputs import invert
from narrows.networks.sparse import build_code_activation
from narrows.networks.start import Start


def build_encoder(spec: NetworkSpec) -> Encoder:
    """Build the encoder, (B, *sample_shape) to (B, K), its weights still to be filled in."""
    widths = (_features(spec), *spec.hidden_layer_sizes)
    body: list[nn.Module] = [Centre(spec.sample_shape), nn.Flatten()]
    for (fan_in, fan_out), blocks in zip(pairwise(widths), blocks_of(spec), strict=True):
        body += [nn.Linear(fan_in, fan_out), *after(spec, fan_out, blocks, nn.Linear)]
    body.append(nn.Linear(widths[-1], spec.n_heads * spec.n_components))
    return Encoder(nn.Sequential(*body), build_code_activation(spec), spec.n_heads)


def build_decoder(spec: NetworkSpec) -> Decoder:
    """Build the decoder, (B, K) to (B, *sample_shape), its weights still to be filled in."""
    widths = (spec.n_components, *spec.hidden_layer_sizes[::-1])
    made = _decoder_layers(spec)
    body: list[nn.Module] = []
    for (fan_in, fan_out), blocks in zip(pairwise(widths), blocks_of(spec)[::-1], strict=True):
        body += [next(made)(fan_in, fan_out), *after(spec, fan_out, blocks, nn.Linear)]
    body += [next(made)(widths[-1], _features(spec)), nn.Unflatten(1, spec.sample_shape)]
    return Decoder(nn.Sequential(*body), spec.output)


def _decoder_layers(spec: NetworkSpec) -> Iterator[type[nn.Linear | TransposedLinear]]:
    """Yield the classes of the decoder's layers, from the code on."""
    if spec.unit_columns:
        yield UnitTransposedLinear if spec.tied_weights else UnitLinear
    while True:
        yield TransposedLinear if spec.tied_weights else nn.Linear


def tie(encoder: Encoder, decoder: Decoder) -> None:
    """Let the decoder's transposed layers share the encoder's matrices."""
    matrices = [m.weight for m in encoder.body.children() if isinstance(m, nn.Linear)]
    for layer in decoder.body.children():
        if isinstance(layer, TransposedLinear):
            layer.weight = cast("nn.Parameter", matrices.pop())


def initialise(
    encoder: Encoder,
    decoder: Decoder,
    spec: NetworkSpec,
    start: Start,
    generator: torch.Generator,
) -> None:
    """Draw the weights, and start the decoder at the mean row.

    Parameters
    ----------
    encoder, decoder : Module
        What :func:`build_encoder` and :func:`build_decoder` gave.
    spec : NetworkSpec
        What they were built from.
    start : Start
        With the mean of the scaled training rows.
    generator : torch.Generator
        Where the weights are drawn from.
    """
    for centre in encoder.body.children():
        if isinstance(centre, Centre):
            centre.learn(start.mean)
    layers.initialise((encoder.body, decoder.body), spec, generator)
    layers.start_units(encoder.body, decoder.body, spec)
    *_, last = weighted(decoder.body)
    with torch.no_grad():
        cast("Tensor", last.bias).copy_(invert(spec.output, start.mean.flatten()))


def _features(spec: NetworkSpec) -> int:
    return int(torch.Size(spec.sample_shape).numel())
