"""Convolutions over pictures and signals: stages that halve, and stages that double again.

The encoder's convolutions of stride 2 halve the rows' extent, rounding up; the decoder's transposed
ones lead back through the same extents, odd ones included. Between them lies either a dense code or
a map of numbers at each place, which rows of any extent have.
"""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from narrows.errors import ParameterError
from narrows.networks.dense import count_numbers, hidden_blocks, initialise, linear_from_code
from narrows.networks.network import STRUCTURE, Architecture, Body, Encoder, NetworkSpec

_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
# Channels of the first stage by default, and the most that a later one has.
_CHANNELS, _MOST_CHANNELS = 32, 256
# By default so many of the possible stages are left out, and there are at most so many.
_LAST_HALVINGS, _MOST_STAGES, _STAGES_TO_MAP = 2, 64, 2


class Geometry(NamedTuple):
    """The axes of a row, and the extents that stages make of it.

    Attributes
    ----------
    sizes : list of tuple of int
        The extent of the row, and those after each stage.
    channels : int
        How many numbers there are at each place of the row.
    has_channels : bool
        Whether the row has an axis for them, its last.
    """

    sizes: list[tuple[int, ...]]
    channels: int
    has_channels: bool

    @classmethod
    def of(cls, spec: NetworkSpec) -> "Geometry":
        """Derive it from the shape of a row.

        Examples
        --------
        >>> spec = NetworkSpec(
        ...     architecture="convolutional", sample_shape=(28, 33, 3), n_components=2,
        ...     hidden_layer_sizes=(8, 8), activation="silu", code_activation="identity",
        ...     output="identity", tied_weights=False, kernel_size=3)
        >>> Geometry.of(spec)
        Geometry(sizes=[(28, 33), (14, 17), (7, 9)], channels=3, has_channels=True)
        """
        n_axes = spec.definition.n_axes(spec.sample_shape)
        has_channels = len(spec.sample_shape) > n_axes
        sizes = [spec.sample_shape[:n_axes]]
        for _ in spec.hidden_layer_sizes:
            sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
        return cls(sizes, spec.sample_shape[-1] if has_channels else 1, has_channels)


class ChannelsFirst(nn.Module):
    """Bring rows (B, ...[, C]) into the order of convolutions, (B, C, ...), without copying.

    In memory, channels stay the last, in which order convolutions of pictures are faster.
    """

    def __init__(self, *, has_channels: bool) -> None:
        super().__init__()
        self.has_channels = has_channels

    def forward(self, x: Tensor) -> Tensor:
        """Move the axis of channels, or make one."""
        y = x if self.has_channels else x.unsqueeze(-1)
        return y.movedim(y.ndim - 1, 1)


class ChannelsLast(nn.Module):
    """Bring (B, C, ...) back into the rows' order."""

    def __init__(self, *, has_channels: bool) -> None:
        super().__init__()
        self.has_channels = has_channels

    def forward(self, x: Tensor) -> Tensor:
        """Move the axis of channels, or drop it."""
        return x.movedim(1, x.ndim - 1) if self.has_channels else x.squeeze(1)


class Unflatten(nn.Module):
    """Turn flattened numbers into (B, C, ...), channels last in memory."""

    def __init__(self, channels: int, size: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (channels, *size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C * places) to (B, C, ...)."""
        y = x.view(-1, *self.shape)
        return y.contiguous(memory_format=torch.channels_last) if y.ndim == 4 else y


def build_encoder(spec: NetworkSpec) -> Body:
    """Build the encoder's body, (B, *sample_shape) to flattened codes."""
    sizes, channels, has_channels = Geometry.of(spec)
    convolution = _convolution(spec)
    widths = (channels, *spec.hidden_layer_sizes)
    n_out = spec.n_heads * spec.n_components
    ends: dict[str, Any]
    if spec.is_map:
        ends = {
            "last": _CONVOLUTIONS[len(sizes[0])](widths[-1], n_out, 1),
            "after_last": [nn.Flatten()],
        }
    else:
        last = nn.Linear(widths[-1] * math.prod(sizes[-1]), n_out)
        ends = {"before_last": [nn.Flatten()], "last": last, "code_layers": [last]}
    return Body(
        ChannelsFirst(has_channels=has_channels),
        centre=spec.shared_shape,
        blocks=hidden_blocks(
            spec, [convolution(*pair, stride=2) for pair in pairwise(widths)], convolution
        ),
        **ends,
    )


def build_decoder(spec: NetworkSpec) -> Body:
    """Build the decoder's body, flattened codes to (B, *sample_shape)."""
    sizes, channels, has_channels = Geometry.of(spec)
    transposed = _TRANSPOSED[len(sizes[0])]
    kernel, around = spec.kernel_size, spec.kernel_size // 2
    widths = (*spec.hidden_layer_sizes[::-1], channels)
    front: list[nn.Module] = []
    unflatten: tuple[nn.Module, ...] = ()
    chain: list[Any]
    if spec.is_map:
        front = [Unflatten(spec.n_components, sizes[-1])]
        chain = [transposed(spec.n_components, widths[0], 1)]
    else:
        unflatten = (Unflatten(widths[0], sizes[-1]),)
        chain = [linear_from_code(spec)(spec.n_components, widths[0] * math.prod(sizes[-1]))]
    for (fan_in, fan_out), (small, large) in zip(
        pairwise(widths), pairwise(sizes[::-1]), strict=True
    ):
        # One place more than twice as many less one, where the larger extent is even.
        more = tuple(n - (2 * m - 1) for m, n in zip(small, large, strict=True))
        chain.append(transposed(fan_in, fan_out, kernel, 2, around, more))
    *hidden, last = chain
    return Body(
        *front,
        blocks=hidden_blocks(spec, hidden, _convolution(spec), from_code=True, reshape=unflatten),
        last=last,
        after_last=[*(() if hidden else unflatten), ChannelsLast(has_channels=has_channels)],
        mean_row=spec.shared_shape,
        code_layers=() if spec.is_map else chain[:1],
    )


def _convolution(spec: NetworkSpec) -> Any:
    """Return the class of convolutions that keep the extent, but for a stride."""
    made = _CONVOLUTIONS[spec.definition.n_axes(spec.sample_shape)]
    return partial(made, kernel_size=spec.kernel_size, padding=spec.kernel_size // 2)


def _check(spec: NetworkSpec) -> None:
    """Refuse rows that cannot be halved as often as there are stages."""
    smallest = min(spec.sample_shape[: spec.definition.n_axes(spec.sample_shape)])
    stages, possible = len(spec.hidden_layer_sizes), _most_stages(smallest)
    if stages > possible:
        raise ParameterError(
            f"hidden_layer_sizes={spec.hidden_layer_sizes} would halve rows of shape "
            f"{spec.sample_shape} {stages} times; they can be halved {possible} times; give fewer "
            "layers, larger pictures or longer signals, or use architecture='dense'"
        )


def _check_signal(spec: NetworkSpec) -> None:
    """Refuse also rows that are no signals."""
    if len(spec.sample_shape) > 2:
        raise ParameterError(
            f"architecture='convolutional_1d' takes signals (L,) or (L, C), rows of shape "
            f"{spec.sample_shape} were given; use 'convolutional' for pictures"
        )
    _check(spec)


def _most_stages(extent: int) -> int:
    """Return how often an extent can be halved, rounding up, before it is 1.

    Examples
    --------
    >>> _most_stages(28), _most_stages(33)
    (5, 6)
    """
    return (extent - 1).bit_length()


def _channels(
    sample_shape: tuple[int, ...], n_components: int, n_rows: int, *, n_axes: int, most: int
) -> tuple[int, ...]:
    """Choose as many stages as leave four places, up to a number, each doubling the channels.

    Examples
    --------
    >>> _channels((32, 40, 3), 128, 50_000, n_axes=2, most=99)
    (32, 64, 128)
    """
    del n_components, n_rows
    possible = _most_stages(min(sample_shape[:n_axes]))
    n_stages = min(most, max(1, possible - _LAST_HALVINGS))
    return tuple(min(_MOST_CHANNELS, _CHANNELS << stage) for stage in range(n_stages))


def _filters(encoder: Encoder, spec: NetworkSpec) -> Tensor:
    """Return the first layer's kernels, (n, H, W) or (n, H, W, C)."""
    kernels: Tensor = encoder.body.layers[0].weight.movedim(1, -1)
    return kernels if len(spec.sample_shape) == 3 else kernels[..., 0]


def _numbers_a_row(spec: NetworkSpec) -> int:
    """Count the numbers that are kept of one row.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="convolutional", sample_shape=(32, 32, 3), n_components=128,
    ...     hidden_layer_sizes=(32, 64, 128), activation="silu", code_activation="identity",
    ...     output="sigmoid", tied_weights=False, kernel_size=3)
    >>> _numbers_a_row(spec)
    69888
    """
    return count_numbers(spec, [math.prod(size) for size in Geometry.of(spec).sizes[1:]])


CONVOLUTIONAL = Architecture(
    build_encoder=build_encoder,
    build_decoder=build_decoder,
    initialise=initialise,
    parameters=frozenset(STRUCTURE),
    check=_check,
    hidden_layer_sizes=partial(_channels, n_axes=2, most=_MOST_STAGES),
    n_axes=lambda sample_shape: min(2, len(sample_shape)),
    filters=_filters,
    numbers_a_row=_numbers_a_row,
    unit_columns=True,
)
CONVOLUTIONAL_1D = replace(
    CONVOLUTIONAL,
    check=_check_signal,
    hidden_layer_sizes=partial(_channels, n_axes=1, most=_MOST_STAGES),
    n_axes=lambda _: 1,
    of_signals=True,
)
FULLY_CONVOLUTIONAL = replace(
    CONVOLUTIONAL,
    hidden_layer_sizes=partial(_channels, n_axes=2, most=_STAGES_TO_MAP),
    # Units are counted, of which a map has as many as places.
    unit_columns=False,
    map_size=lambda spec: Geometry.of(spec).sizes[-1],
)
