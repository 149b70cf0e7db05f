"""Damage that a denoising autoencoder learns to undo.

Vincent et al. (2010), "Stacked denoising autoencoders", section 3.3: additive Gaussian noise,
masking, salt and pepper. For pictures also the distortions that a picture suffers on its way
through the world. Damage is done to scaled rows, on their device, drawn afresh at every call.
"""

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from narrows.errors import ParameterError

Corruption = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Limits:
    """What black and white are among scaled rows.

    Attributes
    ----------
    low, high : Tensor of shape () or (*sample_shape,)
        The smallest and the largest value of the training data, scaled.
    """

    low: Tensor
    high: Tensor

    def on(self, device: torch.device) -> "Limits":
        """Return the same where the rows are."""
        return Limits(self.low.to(device), self.high.to(device))


@dataclass(frozen=True)
class Unstored:
    """Stands for a user's function that a stored model was trained with: code is not stored.

    Attributes
    ----------
    name : str
        The function's.
    """

    name: str

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Say what is missing."""
        del x, generator
        raise ParameterError(
            f"the model was trained with the function {self.name!r}, which is not stored with it; "
            "give it again: set_params(corruption=...)"
        )


def gaussian(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Add noise of standard deviation ``level``, in scaled units; the sum is not cut off."""
    del limits
    return torch.empty_like(x).normal_(0, level, generator=generator).add_(x)


def masking(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Set a share ``level`` of the values to zero, each by itself."""
    del limits
    return torch.empty_like(x).bernoulli_(1 - level, generator=generator).mul_(x)


def salt_and_pepper(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Set a share ``level`` of the values to the smallest or the largest, by a fair coin."""
    u = torch.empty_like(x).uniform_(generator=generator)
    extreme = torch.where(u < level / 2, limits.low, limits.high)
    return torch.where(u < level, extreme, x)


def crop(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Cut off up to a share ``level`` of height and width, anywhere, and enlarge what is left."""
    del limits
    u = _uniform(x, 3, generator)
    side = 1 - level * u[:, 0]
    shift = (1 - side)[:, None] * (2 * u[:, 1:] - 1)
    return _affine(x, _scaling(side), shift)


def border(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Shrink, and fill the frame, up to a share ``level`` of the side, with one shade of grey."""
    u = _uniform(x, 2, generator)
    side = 1 / (1 - level * u[:, 0]).clamp(min=0.05)
    shade = limits.low + _over(u[:, 1], x) * (limits.high - limits.low)
    zero = torch.zeros(len(x), 2, device=x.device)
    return _affine(x - shade, _scaling(side), zero, outside="zeros") + shade


def rotation(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Turn by up to ``level`` times 180 degrees, either way; corners repeat the edge."""
    del limits
    angle = math.pi * level * (2 * _uniform(x, 1, generator)[:, 0] - 1)
    # Sampling coordinates run from -1 to 1 along both sides, however long they are.
    ratio = x.shape[1] / x.shape[2]
    sine, cosine = angle.sin(), angle.cos()
    matrix = torch.stack([cosine, -sine * ratio, sine / ratio, cosine], dim=1).view(-1, 2, 2)
    return _affine(x, matrix, torch.zeros(len(x), 2, device=x.device))


def mirror(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Swap left and right, with probability ``level``."""
    del limits
    return torch.where(_over(_uniform(x, 1, generator)[:, 0] < level, x), x.flip(2), x)


def blur(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Smear by a Gaussian of up to ``level`` times a quarter of the longer side."""
    del limits
    width = (level * max(x.shape[1:3]) / 4 * _uniform(x, 1, generator)).clamp(min=1e-3)[:, :, None]
    for dimension in (1, 2):
        place = torch.arange(x.shape[dimension], device=x.device, dtype=x.dtype)
        weights = torch.exp(-(((place[:, None] - place) / width) ** 2) / 2)
        weights /= weights.sum(dim=2, keepdim=True)
        lines = x.movedim(dimension, 1)
        x = (weights @ lines.flatten(2)).view(lines.shape).movedim(1, dimension)
    return x


def brightness(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Multiply the distance from black by between 1 - ``level`` and 1 + ``level``, cut off."""
    factor = _over(1 + level * (2 * _uniform(x, 1, generator)[:, 0] - 1), x)
    return torch.clamp(limits.low + factor * (x - limits.low), limits.low, limits.high)


def contrast(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Multiply the distance from the mean by between 1 - ``level`` and 1 + ``level``, cut off."""
    factor = _over(1 + level * (2 * _uniform(x, 1, generator)[:, 0] - 1), x)
    mean = _over(x.flatten(1).mean(dim=1), x)
    return torch.clamp(mean + factor * (x - mean), limits.low, limits.high)


# What a name stands for; those of pictures need rows of shape (H, W) or (H, W, C).
VALUES = {f.__name__: f for f in (gaussian, masking, salt_and_pepper)}
DISTORTIONS = {f.__name__: f for f in (crop, border, rotation, mirror, blur, brightness, contrast)}
CORRUPTIONS = VALUES | DISTORTIONS

LEVELS = {
    "gaussian": 0.3,
    "masking": 0.3,
    "salt_and_pepper": 0.2,
    "crop": 0.2,
    "border": 0.2,
    "rotation": 0.05,
    "mirror": 0.5,
    "blur": 0.1,
    "brightness": 0.5,
    "contrast": 0.5,
}


def make(
    corruption: str | Corruption | Sequence[str | Corruption],
    level: float | str | Sequence[float | str],
    limits: Limits,
    sample_shape: tuple[int, ...],
) -> Corruption:
    """Turn a model's parameters into one function of scaled rows and a generator.

    Parameters
    ----------
    corruption : str, callable, or sequence of them
        Names of :data:`CORRUPTIONS`; a callable takes scaled rows (B, ...) and a generator, and
        returns damaged rows of the same shape. A sequence is done in its order.
    level : float, "auto", or sequence of them
        How much, from 0 to 1; one for all or one for each. Callables take none.
    limits : Limits
        Of the training data.
    sample_shape : tuple of int
        Of one row.

    Returns
    -------
    callable
        Never changes its input.

    Raises
    ------
    ParameterError
        If a name is not known, a level out of range, or a distortion asked of a table.

    Examples
    --------
    >>> limits = Limits(torch.tensor(0.0), torch.tensor(1.0))
    >>> damage = make("masking", 0.5, limits, (4,))
    >>> damage(torch.ones(2, 4), torch.Generator().manual_seed(1))
    tensor([[1., 1., 1., 1.],
            [0., 1., 1., 0.]])
    """
    kinds: list[Any] = _as_list(corruption)
    levels: list[Any] = _as_list(level)
    check_levels(level)
    if len(levels) == 1:
        levels *= len(kinds)
    if len(levels) != len(kinds):
        raise ParameterError(
            f"corruption_level={level!r} has {len(levels)} levels for {len(kinds)} corruptions; "
            "give one for all or one for each"
        )
    steps = [_step(*pair, limits, sample_shape) for pair in zip(kinds, levels, strict=True)]

    def damage(x: Tensor, generator: torch.Generator) -> Tensor:
        for step in steps:
            x = step(x, generator)
        return x

    return damage


def check_levels(level: Any) -> None:
    """Refuse what is no level of corruption, nor a list of them.

    Raises
    ------
    ParameterError
        Naming the first.
    """
    for one in _as_list(level):
        is_number = isinstance(one, numbers.Real) and not isinstance(one, bool)
        if not (is_number and 0 <= one <= 1) and not (isinstance(one, str) and one == "auto"):
            raise ParameterError(
                f"corruption_level={one!r} is not allowed; give a number from 0 to 1 or 'auto'"
            )


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _step(
    kind: str | Corruption, level: float | str, limits: Limits, sample_shape: tuple[int, ...]
) -> Corruption:
    if callable(kind):
        return _guard(kind)
    if not isinstance(kind, str) or kind not in CORRUPTIONS:
        raise ParameterError(
            f"corruption={kind!r} is not known; use one of {', '.join(CORRUPTIONS)}, a list of "
            "them, or a function of rows and a generator"
        )
    if level == "auto":
        level = LEVELS[kind]
    if kind in DISTORTIONS and len(sample_shape) < 2:
        raise ParameterError(
            f"corruption={kind!r} distorts pictures, the rows have shape {sample_shape}; "
            f"use one of {', '.join(VALUES)}, or give pictures (n, H, W) or (n, H, W, C)"
        )
    function, number = CORRUPTIONS[kind], float(level)
    return lambda x, generator: function(x, number, limits.on(x.device), generator)


def _guard(function: Corruption) -> Corruption:
    """Keep a user's function from changing its input, and from returning other shapes."""

    def damage(x: Tensor, generator: torch.Generator) -> Tensor:
        damaged = function(x.clone(), generator)
        if not isinstance(damaged, Tensor) or damaged.shape != x.shape:
            what = tuple(damaged.shape) if isinstance(damaged, Tensor) else type(damaged).__name__
            raise ParameterError(
                f"corruption={function!r} returned {what}; it must return a tensor of the shape "
                f"that it is given, {tuple(x.shape)}"
            )
        return damaged

    return damage


def _uniform(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n numbers from 0 to 1 for each row, (B, n)."""
    return torch.rand(len(x), n, generator=generator, device=x.device, dtype=x.dtype)


def _over(values: Tensor, x: Tensor) -> Tensor:
    """Shape one value a row (B,) so that it multiplies rows (B, ...)."""
    return values.view(-1, *[1] * (x.ndim - 1))


def _scaling(side: Tensor) -> Tensor:
    return side[:, None, None] * torch.eye(2, device=side.device, dtype=side.dtype)


def _affine(x: Tensor, matrix: Tensor, shift: Tensor, outside: str = "border") -> Tensor:
    """Sample each picture (B, H, W[, C]) where a linear map (B, 2, 2) and a shift (B, 2) point."""
    planes = x.unsqueeze(1) if x.ndim == 3 else x.movedim(3, 1)
    theta = torch.cat([matrix, shift[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    sampled = functional.grid_sample(planes, grid, padding_mode=outside, align_corners=False)
    return sampled.squeeze(1) if x.ndim == 3 else sampled.movedim(1, 3)
