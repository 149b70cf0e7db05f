"""Convolutions over pictures and signals: stages that halve, and stages that double again.

The encoder's convolutions of stride 2 halve the rows' extent, rounding up; the decoder's transposed
ones lead back through the same extents, odd ones included. Between them lies either a dense code or
a map of numbers at each place, which rows of any extent have.
"""

from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from narrows.networks import layers
from narrows.networks.layers import TransposedLinear, UnitLinear, UnitTransposedLinear, after
from narrows.networks.network import Centre, Decoder, Encoder, NetworkSpec
from narrows.networks.outputs import invert
from narrows.networks.sparse import build_code_activation
from narrows.networks.start import Start

_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}
_TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}


class Geometry(NamedTuple):
    """What a row is to a convolution.

    Attributes
    ----------
    sizes : list of tuple of int
        The extent of the row, and what each stage makes of it.
    channels : int
        Numbers at each place of the row.
    has_channels : bool
        Whether the row has an axis for them, its last.
    """

    sizes: list[tuple[int, ...]]
    channels: int
    has_channels: bool

    @classmethod
    def of(cls, spec: NetworkSpec) -> "Geometry":
        """Read it off a row's shape.

        Examples
        --------
        >>> spec = NetworkSpec(
        ...     architecture="convolutional", sample_shape=(28, 33, 3), n_components=2,
        ...     hidden_layer_sizes=(8, 8), activation="silu", code_activation="identity",
        ...     output="identity", tied_weights=False, kernel_size=3)
        >>> Geometry.of(spec)
        Geometry(sizes=[(28, 33), (14, 17), (7, 9)], channels=3, has_channels=True)
        """
        n_axes = n_axes_of(spec.architecture, spec.sample_shape)
        has_channels = len(spec.sample_shape) > n_axes
        sizes = [spec.sample_shape[:n_axes]]
        for _ in spec.hidden_layer_sizes:
            sizes.append(tuple(-(-n // 2) for n in sizes[-1]))
        return cls(sizes, spec.sample_shape[-1] if has_channels else 1, has_channels)


def n_axes_of(architecture: str, sample_shape: tuple[int, ...]) -> int:
    """Tell along how many axes of a row there are neighbours: 1 of signals, 2 of pictures."""
    return 1 if architecture == "convolutional_1d" else min(2, len(sample_shape))


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
    """Turn numbers laid flat into (B, C, ...), channels last in memory."""

    def __init__(self, channels: int, size: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (channels, *size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C * places) to (B, C, ...)."""
        y = x.view(-1, *self.shape)
        return y.contiguous(memory_format=torch.channels_last) if y.ndim == 4 else y


class FirstRow(nn.Module):
    """Add a row that is learned: the decoder starts at the mean of all.

    Parameters
    ----------
    shape : tuple of int
        Of a row; where rows of any extent are decoded, of its last axis alone.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        # Flat, as other biases are, which do not decay.
        self.row = nn.Parameter(torch.empty(torch.Size(shape).numel()))

    def learn(self, row: Tensor) -> None:
        """Take over a row, or its mean over places where rows of any extent are decoded."""
        with torch.no_grad():
            self.row.copy_(row.reshape(-1, self.row.numel()).mean(0))

    def forward(self, x: Tensor) -> Tensor:
        """Add the row to each of (B, ...)."""
        return x + self.row.view(self.shape)


def build_encoder(spec: NetworkSpec) -> Encoder:
    """Build the encoder, (B, *sample_shape) to codes laid flat, its weights to be filled in."""
    sizes, channels, has_channels = geometry = Geometry.of(spec)
    convolution = _CONVOLUTIONS[len(sizes[0])]
    kernel, around = spec.kernel_size, spec.kernel_size // 2

    def same(fan_in: int, fan_out: int) -> nn.Module:
        layer: nn.Module = convolution(fan_in, fan_out, kernel, padding=around)
        return layer

    widths = (channels, *spec.hidden_layer_sizes)
    body: list[nn.Module] = [
        Centre(_shared_shape(spec, geometry)),
        ChannelsFirst(has_channels=has_channels),
    ]
    for (fan_in, fan_out), blocks in zip(pairwise(widths), layers.blocks_of(spec), strict=True):
        body.append(convolution(fan_in, fan_out, kernel, stride=2, padding=around))
        body += after(spec, fan_out, blocks, same)
    n_out = spec.n_heads * spec.n_components
    if spec.is_map:
        body += [convolution(widths[-1], n_out, 1), nn.Flatten()]
    else:
        body += [nn.Flatten(), nn.Linear(widths[-1] * _places(sizes[-1]), n_out)]
    return Encoder(nn.Sequential(*body), build_code_activation(spec), spec.n_heads)


def build_decoder(spec: NetworkSpec) -> Decoder:
    """Build the decoder, codes laid flat to (B, *sample_shape), its weights to be filled in."""
    sizes, channels, has_channels = geometry = Geometry.of(spec)
    n_axes = len(sizes[0])
    convolution, transposed = _CONVOLUTIONS[n_axes], _TRANSPOSED[n_axes]
    kernel, around = spec.kernel_size, spec.kernel_size // 2

    def same(fan_in: int, fan_out: int) -> nn.Module:
        layer: nn.Module = convolution(fan_in, fan_out, kernel, padding=around)
        return layer

    widths = (*spec.hidden_layer_sizes[::-1], channels)
    body: list[nn.Module]
    if spec.is_map:
        body = [
            Unflatten(spec.n_components, sizes[-1]),
            transposed(spec.n_components, widths[0], 1),
        ]
    else:
        body = [
            _from_code(spec)(spec.n_components, widths[0] * _places(sizes[-1])),
            Unflatten(widths[0], sizes[-1]),
        ]
    doubling = zip(
        pairwise(widths), pairwise(sizes[::-1]), layers.blocks_of(spec)[::-1], strict=True
    )
    for (fan_in, fan_out), (small, large), blocks in doubling:
        body += after(spec, fan_in, blocks, same)
        # One place more than twice as many less one, where the larger extent is even.
        more = tuple(n - (2 * m - 1) for m, n in zip(small, large, strict=True))
        body.append(transposed(fan_in, fan_out, kernel, 2, around, more))
    body += [ChannelsLast(has_channels=has_channels), FirstRow(_shared_shape(spec, geometry))]
    return Decoder(nn.Sequential(*body), spec.output)


def tie(encoder: Encoder, decoder: Decoder) -> None:
    """Let the decoder's layers share the encoder's matrices and kernels."""
    kernels = [module.weight for module in layers.weighted(encoder.body)]
    for layer in layers.weighted(decoder.body):
        layer.weight = kernels.pop()


def initialise(
    encoder: Encoder,
    decoder: Decoder,
    spec: NetworkSpec,
    start: Start,
    generator: torch.Generator,
) -> None:
    """Draw the weights, and start the decoder at the mean row; see :mod:`.dense`."""
    centre, *_ = encoder.body.children()
    *_, first_row = decoder.body.children()
    cast("Centre", centre).learn(start.mean)
    layers.initialise((encoder.body, decoder.body), spec, generator)
    layers.start_units(encoder.body, decoder.body, spec)
    cast("FirstRow", first_row).learn(invert(spec.output, start.mean))


def _from_code(spec: NetworkSpec) -> type[nn.Linear | TransposedLinear]:
    if spec.unit_columns:
        return UnitTransposedLinear if spec.tied_weights else UnitLinear
    return TransposedLinear if spec.tied_weights else nn.Linear


def _shared_shape(spec: NetworkSpec, geometry: Geometry) -> tuple[int, ...]:
    """Return the shape of what is learned of a row as a whole: of any extent, of its channels."""
    return (geometry.channels,) if spec.is_map else spec.sample_shape


def _places(size: tuple[int, ...]) -> int:
    return int(torch.Size(size).numel())
