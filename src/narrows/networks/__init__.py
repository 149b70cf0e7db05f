"""Torch modules that know nothing of training: two halves, and the architectures to build them.

An architecture is a module with ``build_encoder``, ``build_decoder``, ``initialise`` and, where
weights can be tied, ``tie``; one line below makes it known.
"""

from types import ModuleType

import torch

from narrows.networks import convolutional, dense, pca_residual
from narrows.networks.activations import ACTIVATIONS
from narrows.networks.convolutional import n_axes_of
from narrows.networks.layers import NORMALIZATIONS, convolves
from narrows.networks.network import (
    OUTPUTS,
    Decoder,
    Encoder,
    Layer,
    Network,
    NetworkSpec,
    Trace,
    is_pointwise,
)
from narrows.networks.sparse import Selection
from narrows.networks.start import Axes, Start

ARCHITECTURES: dict[str, ModuleType] = {
    "dense": dense,
    "pca_residual": pca_residual,
    "convolutional": convolutional,
    "convolutional_1d": convolutional,
    "fully_convolutional": convolutional,
}

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "NORMALIZATIONS",
    "OUTPUTS",
    "Axes",
    "Decoder",
    "Encoder",
    "Layer",
    "Network",
    "NetworkSpec",
    "Selection",
    "Start",
    "Trace",
    "build",
    "build_decoder",
    "build_encoder",
    "convolves",
    "decoder_at",
    "is_convolutional",
    "is_pointwise",
    "join",
    "n_axes_of",
]


def build_encoder(spec: NetworkSpec) -> Encoder:
    """Build an encoder whose weights are still to be filled in."""
    encoder: Encoder = ARCHITECTURES[spec.architecture].build_encoder(spec)
    return encoder


def build_decoder(spec: NetworkSpec) -> Decoder:
    """Build a decoder whose weights are still to be filled in."""
    decoder: Decoder = ARCHITECTURES[spec.architecture].build_decoder(spec)
    return decoder


def decoder_at(decoder: Decoder, spec: NetworkSpec) -> Decoder:
    """Build the decoder of the same weights for rows of another extent, where codes are maps."""
    with torch.device("meta"):
        other = build_decoder(spec)
    other.load_state_dict(decoder.state_dict(), assign=True)
    return other.eval()


def join(encoder: Encoder, decoder: Decoder, spec: NetworkSpec) -> Network:
    """Make one network of two halves, sharing the matrices where weights are tied."""
    if spec.tied_weights:
        ARCHITECTURES[spec.architecture].tie(encoder, decoder)
    return Network(encoder, decoder)


def is_convolutional(architecture: str) -> bool:
    """Tell whether an architecture is made of convolutions, so that rows need neighbours."""
    return ARCHITECTURES[architecture] is convolutional


def build(spec: NetworkSpec, start: Start, seed: int) -> Network:
    """Build both halves with fresh weights.

    Parameters
    ----------
    spec : NetworkSpec
        What to build.
    start : Start
        What is known of the scaled training rows.
    seed : int
        The same seed gives the same weights; torch's global generator is left alone.

    Returns
    -------
    Network

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="dense", sample_shape=(4, 4), n_components=2, hidden_layer_sizes=(8,),
    ...     activation="silu", code_activation="identity", output="sigmoid", tied_weights=False)
    >>> network = build(spec, Start(torch.full((4, 4), 0.5)), seed=0)
    >>> network(torch.rand(3, 4, 4)).shape
    torch.Size([3, 4, 4])
    """
    # The meta device skips torch's own draw, which would cost time and move its generator.
    with torch.device("meta"):
        encoder, decoder = build_encoder(spec), build_decoder(spec)
    network = join(encoder.to_empty(device="cpu"), decoder.to_empty(device="cpu"), spec)
    with torch.no_grad():  # what nobody fills in is seen, as it is no number
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
    ARCHITECTURES[spec.architecture].initialise(
        network.encoder, network.decoder, spec, start, torch.Generator().manual_seed(seed)
    )
    if isinstance(network.encoder.activation, Selection):
        network.encoder.activation.reset()
    return network
