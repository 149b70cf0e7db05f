"""Networks that restore: a code with a map at each of several scales, and a way around it.

The code holds the row itself and, at 1/2, 1/4, ... of its extent, a map of K numbers at each place,
all laid flat. The decoder reads all of the maps, from the coarsest to the finest, and adds what it
learned to the row. Ronneberger, Fischer & Brox (2015), "U-Net: convolutional networks for
biomedical image segmentation", fig. 1: maps of every scale reach the decoder. Zhang, Zuo, Chen,
Meng & Zhang (2017), "Beyond a Gaussian denoiser", eq. 1: the network learns what is to be added.
Zhang, Zuo & Zhang (2018), "FFDNet", fig. 1: the finest scale is half of the row's, into whose
channels neighbouring places are folded, which costs a quarter.

Convolutions over one axis have no biases: of a signal that is half as loud they make half as much,
so that one network restores quiet and loud recordings, with little noise and with much. Mohan,
Kadkhodaie, Simoncelli & Fernandez-Granda (2020), "Robust and interpretable blind image denoising
via bias-free convolutional neural networks", section 4.

Residual blocks and the last layer start at zero (He et al. 2016; see
:mod:`narrows.networks.dense`), so that the first network returns each row as it is.
"""

import math
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from narrows.errors import ParameterError
from narrows.networks.activations import ACTIVATIONS
from narrows.networks.convolutional import ChannelsFirst, ChannelsLast
from narrows.networks.dense import NoNorm, ResidualBlock
from narrows.networks.network import Architecture, Body, Decoder, Encoder, NetworkSpec, Start

_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}
# Channels at each scale by default, from the finest on.
_CHANNELS = (32, 48, 64)
_MOST_SCALES = 5  # a place of the coarsest then stands for 32, where tiles begin
# Residual blocks at each scale, in each half.
_BLOCKS = 2
# Numbers that are kept for the gradients of each channel of a place, in both halves; and those of
# each place and the padding around.
_KEPT, _KEPT_PADDED = 14, 9
_KERNEL = 3


def scales(spec: NetworkSpec) -> list[tuple[int, ...]]:
    """Return the extent of the code's maps, from the finest to the coarsest.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="restoring", sample_shape=(481, 321, 3), n_components=8,
    ...     hidden_layer_sizes=(32, 64), activation="relu", code_activation="identity",
    ...     output="clip", tied_weights=False)
    >>> scales(spec)
    [(242, 162), (121, 81)]
    """
    n_scales = len(spec.hidden_layer_sizes)
    coarsest = [-(-n >> n_scales) for n in _extent(spec)]
    return [tuple(n << n_scales - 1 - i for n in coarsest) for i in range(n_scales)]


def code_width(spec: NetworkSpec) -> int:
    """Count the numbers of a code: those of the row, and K at each place of each map.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="restoring", sample_shape=(8, 8), n_components=4,
    ...     hidden_layer_sizes=(32, 64), activation="relu", code_activation="identity",
    ...     output="clip", tied_weights=False)
    >>> code_width(spec) == 8 * 8 + 4 * (4 * 4 + 2 * 2)
    True
    """
    places = sum(map(math.prod, scales(spec)))
    return math.prod(spec.sample_shape) + spec.n_components * places


class MultiScaleEncoder(nn.Module):
    """From rows (B, C, ...) to codes (B, K'): the rows, and a map at each scale, laid flat."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        made, widths = _convolution(spec), spec.hidden_layer_sizes
        self.n_scales = len(widths)
        self.first = _same(spec, _channels(spec) << len(_extent(spec)), widths[0])
        self.blocks = nn.ModuleList(_blocks(spec, width) for width in widths)
        self.to_coarser = nn.ModuleList(made(*pair, 2, 2) for pair in pairwise(widths))
        self.to_map = nn.ModuleList(made(width, spec.n_components, 1) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """Encode rows of any extent."""
        y = self.first(_folded(_padded(x, self.n_scales)))
        flat = [_flat(x)]
        for i, (blocks, to_map) in enumerate(zip(self.blocks, self.to_map, strict=True)):
            y = blocks(self.to_coarser[i - 1](y) if i else y)
            flat.append(_flat(to_map(y)))
        return torch.cat(flat, 1)


class MultiScaleDecoder(nn.Module):
    """From codes (B, K') of rows of one extent to rows (B, C, ...)."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        made, widths, n_axes = _convolution(spec), spec.hidden_layer_sizes, len(_extent(spec))
        self.extents = [_extent(spec), *scales(spec)]
        self.channels = [_channels(spec), *[spec.n_components] * len(widths)]
        self.from_map = nn.ModuleList(made(spec.n_components, width, 1) for width in widths)
        self.blocks = nn.ModuleList(_blocks(spec, width) for width in widths)
        self.to_finer = nn.ModuleList(
            made(wide, narrow << n_axes, 1) for narrow, wide in pairwise(widths)
        )
        self.last = _same(spec, widths[0], _channels(spec) << n_axes)

    def forward(self, code: Tensor) -> Tensor:
        """Decode codes: what was learned is added to the row that they hold."""
        sizes = [c * math.prod(n) for c, n in zip(self.channels, self.extents, strict=True)]
        flat = torch.split(code, sizes, 1)
        row, *maps = map(_unflat, flat, self.channels, self.extents)
        y: Tensor | None = None
        for i in reversed(range(len(maps))):
            z = self.from_map[i](maps[i])
            y = self.blocks[i](z if y is None else z + _unfolded(self.to_finer[i](y)))
        learned = _unfolded(self.last(y))
        return row + learned[(slice(None), slice(None), *(slice(n) for n in self.extents[0]))]


def build_encoder(spec: NetworkSpec) -> Body:
    """Build the encoder's body, (B, *sample_shape) to flattened codes."""
    first = ChannelsFirst(has_channels=_has_channels(spec))
    return Body(first, MultiScaleEncoder(spec), centre=spec.shared_shape)


def build_decoder(spec: NetworkSpec) -> Body:
    """Build the decoder's body, flattened codes to (B, *sample_shape)."""
    last = ChannelsLast(has_channels=_has_channels(spec))
    return Body(MultiScaleDecoder(spec), last, mean_row=spec.shared_shape)


def _initialise(
    encoder: Encoder, decoder: Decoder, spec: NetworkSpec, start: Start, generator: torch.Generator
) -> None:
    """Draw weights with variance 1 / (3 fan-in); blocks and the last layer start at zero."""
    del spec, start
    for body in (encoder.body, decoder.body):
        for module in body.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, math.sqrt(5), generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in body.modules():
            if isinstance(module, ResidualBlock):
                nn.init.zeros_(cast("Tensor", module.second.weight))
            elif isinstance(module, MultiScaleDecoder):
                nn.init.zeros_(module.last.weight)


def _extent(spec: NetworkSpec) -> tuple[int, ...]:
    return spec.sample_shape[: spec.definition.n_axes(spec.sample_shape)]


def _has_channels(spec: NetworkSpec) -> bool:
    return len(spec.sample_shape) > len(_extent(spec))


def _channels(spec: NetworkSpec) -> int:
    return spec.sample_shape[-1] if _has_channels(spec) else 1


def _convolution(spec: NetworkSpec) -> Any:
    n_axes = len(_extent(spec))
    return partial(_CONVOLUTIONS[n_axes], bias=n_axes > 1)


def _same(spec: NetworkSpec, fan_in: int, fan_out: int) -> Any:
    """Make a convolution that keeps the extent, and repeats the outermost places.

    Zeros would tell a network where the borders are. It learns from crops in which they are
    everywhere near, and restored the middle of larger pictures the worse the longer it learned.
    """
    made = _convolution(spec)
    return made(fan_in, fan_out, _KERNEL, padding=_KERNEL // 2, padding_mode="replicate")


def _blocks(spec: NetworkSpec, width: int) -> nn.Sequential:
    activate = ACTIVATIONS[spec.activation]
    return nn.Sequential(
        *(
            ResidualBlock(
                _same(spec, width, width), _same(spec, width, width), NoNorm(), activate()
            )
            for _ in range(_BLOCKS)
        )
    )


def _padded(x: Tensor, n_scales: int) -> Tensor:
    """Repeat the last places of rows (B, C, ...) until all scales have whole places."""
    more = [-n % (1 << n_scales) for n in x.shape[2:]]
    if not any(more):
        return x
    return functional.pad(x, [n for m in reversed(more) for n in (0, m)], mode="replicate")


def _folded(x: Tensor) -> Tensor:
    """Move pairs of neighbours along each axis into channels: (B, C, 2h, 2w) to (B, 4C, h, w)."""
    if x.ndim == 4:
        return functional.pixel_unshuffle(x, 2)
    batch, channels, length = x.shape
    return x.view(batch, channels, length // 2, 2).movedim(3, 2).flatten(1, 2)


def _unfolded(x: Tensor) -> Tensor:
    """Undo :func:`_folded`."""
    if x.ndim == 4:
        return functional.pixel_shuffle(x, 2)
    batch, channels, length = x.shape
    return x.view(batch, channels // 2, 2, length).movedim(2, 3).flatten(2, 3)


def _flat(x: Tensor) -> Tensor:
    """Lay (B, C, ...) flat, the channels of a place side by side."""
    return x.movedim(1, -1).flatten(1)


def _unflat(x: Tensor, channels: int, extent: tuple[int, ...]) -> Tensor:
    return x.reshape(-1, *extent, channels).movedim(-1, 1)


def _check(spec: NetworkSpec) -> None:
    """Refuse networks without scales or with too many, and encoders of several heads.

    Raises
    ------
    ParameterError
        If there are no scales, more than five of pictures, or several heads.
    """
    if not spec.hidden_layer_sizes:
        raise ParameterError(
            "hidden_layer_sizes=() leaves no scale to restore at; give the channels of each "
            f"scale, such as {_CHANNELS}, or leave it at 'auto'"
        )
    count = len(spec.hidden_layer_sizes)
    if count > _MOST_SCALES and len(_extent(spec)) > 1:
        raise ParameterError(
            f"hidden_layer_sizes={spec.hidden_layer_sizes} has {count} scales, the coarsest with "
            f"a place for {1 << count} pixels, which is more than large pictures are restored by; "
            f"give the channels of at most {_MOST_SCALES}, such as {_CHANNELS}"
        )
    if spec.n_heads > 1:
        raise ParameterError(
            f"architecture={spec.architecture!r} passes rows around the code, so that codes have "
            "no density to learn; use a denoising model (--model denoising, DenoisingAutoencoder)"
        )


def _hidden_layer_sizes(
    sample_shape: tuple[int, ...], n_components: int, n_rows: int
) -> tuple[int, ...]:
    del sample_shape, n_components, n_rows
    return _CHANNELS


def _numbers_a_row(spec: NetworkSpec) -> int:
    """Count the numbers that are kept of one row, to within a few percent.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="restoring", sample_shape=(64, 64, 3), n_components=24,
    ...     hidden_layer_sizes=(32, 64, 128), activation="relu", code_activation="identity",
    ...     output="clip", tied_weights=False)
    >>> _numbers_a_row(spec)
    1551232
    """
    sizes, widths = scales(spec), spec.hidden_layer_sizes
    places = [math.prod(size) for size in sizes]
    padded = [math.prod(n + 2 * (_KERNEL // 2) for n in size) for size in sizes]
    kept = sum(
        (_KEPT * inside + _KEPT_PADDED * around) * width
        for inside, around, width in zip(places, padded, widths, strict=True)
    )
    return 4 * math.prod(spec.sample_shape) + 2 * spec.n_components * sum(places) + kept


RESTORING = Architecture(
    build_encoder=build_encoder,
    build_decoder=build_decoder,
    initialise=_initialise,
    parameters=frozenset({"hidden_layer_sizes"}),
    activation="relu",
    goes_with={
        "code_activation": ("auto", "identity"),
        "output": ("auto", "identity", "clip"),
        "loss": ("auto", "squared_error"),
    },
    check=_check,
    hidden_layer_sizes=_hidden_layer_sizes,
    learning_rate=2e-3,
    # At 0.999, a long run at this rate collapsed.
    beta2=0.95,
    weight_decay=1e-4,
    n_axes=lambda sample_shape: min(2, len(sample_shape)),
    map_size=lambda spec: scales(spec)[0],
    code_width=code_width,
    numbers_a_row=_numbers_a_row,
    starts_at_input=True,
)
RESTORING_1D = replace(RESTORING, n_axes=lambda _: 1, of_signals=True)
