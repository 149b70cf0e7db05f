"""Distortions of pictures (H, W) or (H, W, C), which move or mix all of their values."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from narrows.corruption.damaged import Damaged, Limits, Strength, over, uniform
from narrows.corruption.jpeg import TO_YCC


def crop(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Tensor:
    """Cut off up to a share ``level`` of height and width, anywhere, and enlarge what is left."""
    u = uniform(x, 3, generator)
    side = 1 - level * u[:, 0]
    shift = (1 - side)[:, None] * (2 * u[:, 1:] - 1)
    return _affine(x, _scaling(side), shift)


def border(x: Tensor, level: Strength, limits: Limits, generator: torch.Generator) -> Tensor:
    """Shrink, and fill the frame, up to a share ``level`` of the side, with one shade of grey."""
    u = uniform(x, 2, generator)
    side = 1 / (1 - level * u[:, 0]).clamp(min=0.05)
    shade = limits.low + over(u[:, 1], x) * (limits.high - limits.low)
    zero = torch.zeros(len(x), 2, device=x.device)
    return _affine(x - shade, _scaling(side), zero, outside="zeros") + shade


def rotation(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Tensor:
    """Turn by up to ``level`` times 180 degrees, either way; corners repeat the edge."""
    angle = math.pi * level * (2 * uniform(x, 1, generator)[:, 0] - 1)
    # Sampling coordinates run from -1 to 1 along both sides, however long they are.
    ratio = x.shape[1] / x.shape[2]
    sine, cosine = angle.sin(), angle.cos()
    matrix = torch.stack([cosine, -sine * ratio, sine / ratio, cosine], dim=1).view(-1, 2, 2)
    return _affine(x, matrix, torch.zeros(len(x), 2, device=x.device))


def mirror(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Swap left and right, with probability ``level``."""
    drawn = over(uniform(x, 1, generator)[:, 0] < level, x).expand_as(x)
    return Damaged(torch.where(drawn, x.flip(2), x), drawn)


def blur(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Tensor:
    """Smear by a Gaussian of up to ``level`` times a quarter of the longer side."""
    width = level * max(x.shape[1:3]) / 4 * uniform(x, 1, generator)[:, 0]
    width = width.clamp(min=1e-3)[:, None, None]
    for dimension in (1, 2):
        place = torch.arange(x.shape[dimension], device=x.device, dtype=x.dtype)
        weights = torch.exp(-(((place[:, None] - place) / width) ** 2) / 2)
        weights /= weights.sum(dim=2, keepdim=True)
        lines = x.movedim(dimension, 1)
        x = (weights @ lines.flatten(2)).view(lines.shape).movedim(1, dimension)
    return x


def brightness(x: Tensor, level: Strength, limits: Limits, generator: torch.Generator) -> Tensor:
    """Multiply the distance from black by between 1 - ``level`` and 1 + ``level``, cut off."""
    factor = over(1 + level * (2 * uniform(x, 1, generator)[:, 0] - 1), x)
    return torch.clamp(limits.low + factor * (x - limits.low), limits.low, limits.high)


def contrast(x: Tensor, level: Strength, limits: Limits, generator: torch.Generator) -> Tensor:
    """Multiply the distance from the mean by between 1 - ``level`` and 1 + ``level``, cut off."""
    factor = over(1 + level * (2 * uniform(x, 1, generator)[:, 0] - 1), x)
    mean = over(x.flatten(1).mean(dim=1), x)
    return torch.clamp(mean + factor * (x - mean), limits.low, limits.high)


def colors(x: Tensor, level: Strength, limits: Limits, generator: torch.Generator) -> Tensor:
    """Multiply saturation, and each channel, by between 1 - ``level`` and 1 + ``level``, cut off.

    Grey pictures stay as they are.
    """
    if x.ndim == 3 or x.shape[3] == 1:
        return x
    drawn = 1 + _by_number(level) * (2 * uniform(x, 1 + x.shape[3], generator) - 1)
    grey_part = _luminance(x)
    x = grey_part + over(drawn[:, 0], x) * (x - grey_part)
    x = limits.low + drawn[:, None, None, 1:] * (x - limits.low)
    return torch.clamp(x, limits.low, limits.high)


def grey(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Take the colours away, with probability ``level``; grey pictures stay as they are."""
    drawn = over(uniform(x, 1, generator)[:, 0] < level, x).expand_as(x)
    if x.ndim == 3 or x.shape[3] == 1:
        return Damaged(x, torch.zeros_like(drawn))
    return Damaged(torch.where(drawn, _luminance(x), x), drawn)


def _by_number(level: Strength) -> Strength:
    """Shape the levels of rows, if each has its own, so that they multiply (B, n)."""
    return level[:, None] if isinstance(level, Tensor) else level


def _luminance(x: Tensor) -> Tensor:
    """Return the grey (B, H, W, 1) of pictures (B, H, W, C): of RGB the luma of ITU-R BT.601."""
    if x.shape[3] != len(TO_YCC):
        return x.mean(dim=3, keepdim=True)
    return (x @ x.new_tensor(TO_YCC[0])).unsqueeze(3)


def _scaling(side: Tensor) -> Tensor:
    return side[:, None, None] * torch.eye(2, device=side.device, dtype=side.dtype)


def _affine(x: Tensor, matrix: Tensor, shift: Tensor, outside: str = "border") -> Tensor:
    """Sample each picture (B, H, W[, C]) where a linear map (B, 2, 2) and a shift (B, 2) point."""
    planes = x.unsqueeze(1) if x.ndim == 3 else x.movedim(3, 1)
    theta = torch.cat([matrix, shift[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    sampled = functional.grid_sample(planes, grid, padding_mode=outside, align_corners=False)
    return sampled.squeeze(1) if x.ndim == 3 else sampled.movedim(1, 3)
