"""What training a network takes of the memory, before any of it is taken."""

import math

import torch

from narrows import networks
from narrows.data.memory import check_fits
from narrows.errors import ParameterError
from narrows.networks import NetworkSpec
from narrows.networks.convolutional import Geometry
from narrows.networks.layers import blocks_of

# Numbers that training keeps for each weight: itself, its gradient and Adam's two moments.
_NUMBERS_A_WEIGHT = 4


def check_memory(spec: NetworkSpec, batch_size: int) -> None:
    """Refuse a network that does not fit, with its gradients and what a batch makes of it.

    Counted are the weights, what Adam keeps of them, and :func:`numbers_a_row`; not what is needed
    for a moment in between.

    Parameters
    ----------
    spec : NetworkSpec
        Of the network.
    batch_size : int
        Rows a step.

    Raises
    ------
    ParameterError
        If that is more than there is.
    """
    with torch.device("meta"):
        halves = networks.build_encoder(spec), networks.build_decoder(spec)
    weights = sum(w.numel() for half in halves for w in half.parameters())
    check_fits(
        (weights * _NUMBERS_A_WEIGHT + numbers_a_row(spec) * batch_size) * torch.float32.itemsize,
        f"training a network of {weights} weights (n_components={spec.n_components}, "
        f"hidden_layer_sizes={spec.hidden_layer_sizes}) on {batch_size} rows at a time",
        "choose smaller ones, or a smaller batch_size",
        ParameterError,
    )


def numbers_a_row(spec: NetworkSpec) -> int:
    """Count what the modules of a network give for one row, which is kept for the gradients.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="convolutional", sample_shape=(32, 32, 3), n_components=128,
    ...     hidden_layer_sizes=(32, 64, 128), activation="silu", code_activation="identity",
    ...     output="sigmoid", tied_weights=False, kernel_size=3)
    >>> numbers_a_row(spec)
    69888
    """
    normalised = spec.normalization != "none"
    sizes: list[tuple[int, ...]] = [()] * len(spec.hidden_layer_sizes)
    if networks.is_convolutional(spec.architecture):
        _, *sizes = Geometry.of(spec).sizes
    # Of a layer itself, normalised and activated; of a block its two layers, between and sum.
    hidden = sum(
        math.prod(size) * width * (2 + normalised + blocks * (4 + normalised))
        for size, width, blocks in zip(sizes, spec.hidden_layer_sizes, blocks_of(spec), strict=True)
    )
    # The row is centred, and restored in two steps and an output.
    return 2 * (hidden + 2 * math.prod(spec.sample_shape)) + 2 * spec.n_heads * spec.code_width
