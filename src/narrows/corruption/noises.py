r"""Noises of cameras and scanners: shot noise with read noise, correlated noise, stripes, colours.

None of them cuts off sums below black or above white, so that their means are zero.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from narrows.corruption.damaged import (
    Damaged,
    Limits,
    Strength,
    everywhere,
    normal,
    of_rows,
    over,
    uniform,
)
from narrows.corruption.values import gaussian

_READ_NOISE = 0.2
"""The standard deviation of noise at black, as a share of that at white."""
_LEAST = 1e-6  # the least level, and the least distance from black to white, that are divided by
_NEAR, _FAR = (1.0, 2.0, 1.0), (1.0, 4.0, 6.0, 4.0, 1.0)
"""The binomial kernels by which noise and, in colour noise, its chroma are low-pass filtered."""
_CHROMA = 1.5
"""The standard deviation of each chroma channel's noise, relative to that of luma."""
# What one unit of blue-difference and of red-difference chroma adds to R, G and B (JFIF, BT.601).
_FROM_CHROMA = ((0.0, -0.344136, 1.772), (1.402, -0.714136, 0.0))
_MEAN_GAIN = sum(gain**2 for row in _FROM_CHROMA for gain in row) / 3


def poisson_gaussian(
    x: Tensor, level: Strength, limits: Limits, generator: torch.Generator
) -> Damaged:
    r"""Add a camera's noise: shot noise, whose variance grows with the light, and read noise.

    Foi, Trimeche, Katkovnik & Egiazarian (2008), "Practical Poissonian-Gaussian noise modeling and
    fitting for single-image raw-data": with x from 0 at black to 1 at white, the variance is
    a x + b. ``level`` is the standard deviation at white, in scaled units, :math:`\sqrt{a + b}`;
    at black it is a fifth of that. Shot noise is a Poisson number of photons. Values below black
    have the noise of black.
    """
    strength = of_rows(level, x)
    variance = strength**2 if isinstance(strength, Tensor) else x.new_tensor(strength**2)
    width = (limits.high - limits.low).clamp(min=_LEAST)
    # The scaled value of one photon.
    photon = ((1 - _READ_NOISE**2) * variance / width).clamp(min=_LEAST**2).to(x.dtype)
    expected = (x - limits.low).clamp(min=0).to(x.dtype) / photon
    noise = (torch.poisson(expected, generator=generator) - expected) * photon
    noise.addcmul_(normal(x, x.shape, generator), _READ_NOISE * variance.sqrt())
    return Damaged(torch.where(variance > 0, x + noise, x), everywhere(x, level))


def correlated(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Add Gaussian noise that neighbours share, as after demosaicing or resizing.

    White noise is filtered by (1, 2, 1) along each axis, which is how bilinear demosaicing fills
    in red and blue: neighbours along an axis correlate by 2/3, the next ones by 1/6. The standard
    deviation is ``level`` everywhere, in scaled units.
    """
    noise = _filtered(x, x.shape, _NEAR, generator)
    return Damaged(noise.mul_(of_rows(level, x)).add_(x), everywhere(x, level))


def stripes(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Add an offset to each line of pixels, in all channels: to rows or columns, by a fair coin.

    The standard deviation of the offsets is ``level``, in scaled units.
    """
    n, height, width = x.shape[:3]
    are_rows = over(uniform(x, 1, generator)[:, 0] < 0.5, x)
    lines = normal(x, (n, height + width), generator).view(n, -1, *[1] * (x.ndim - 2))
    offsets = torch.where(are_rows, lines[:, :height], lines[:, height:].transpose(1, 2))
    return Damaged(x + of_rows(level, x) * offsets, everywhere(x, level))


def color_noise(x: Tensor, level: Strength, limits: Limits, generator: torch.Generator) -> Damaged:
    """Add a camera's colour noise, whose chroma is stronger and coarser than its luma.

    Luma has white noise. Both channels of chroma (YCbCr) have noise of 1.5 times its standard
    deviation, filtered by (1, 4, 6, 4, 1) along each axis, so that neighbours correlate by 0.8.
    ``level`` is the root of the mean variance of red, green and blue, in scaled units. Pictures of
    other than three channels get Gaussian noise.
    """
    if x.ndim != 4 or x.shape[3] != 3:
        return gaussian(x, level, limits, generator)
    luma = 1 / math.sqrt(1 + _CHROMA**2 * _MEAN_GAIN)
    chroma = _filtered(x, (*x.shape[:3], 2), _FAR, generator)
    noise = chroma @ (_CHROMA * luma * torch.tensor(_FROM_CHROMA).to(x))
    noise += luma * normal(x, (*x.shape[:3], 1), generator)
    return Damaged(noise.mul_(of_rows(level, x)).add_(x), everywhere(x, level))


def _filtered(
    x: Tensor, shape: Sequence[int], kernel: Sequence[float], generator: torch.Generator
) -> Tensor:
    """Draw noise of variance 1, filtered along the axes of a picture (B, H, W[, C]) or row (B, L).

    It is drawn wider by the kernel's extent, so that it is the same at the borders.
    """
    axes = range(1, min(len(shape), 3))
    more = len(kernel) - 1
    noise = normal(x, tuple(n + more * (axis in axes) for axis, n in enumerate(shape)), generator)
    gain = math.sqrt(sum(weight**2 for weight in kernel))
    for axis in axes:
        parts = (noise.narrow(axis, at, shape[axis]) for at in range(len(kernel)))
        weighted = (weight / gain * part for weight, part in zip(kernel, parts, strict=True))
        noise = reduce(Tensor.add_, weighted)
    return noise
