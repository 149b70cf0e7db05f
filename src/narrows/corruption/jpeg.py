"""JPEG's losses: blocks of cosine coefficients, rounded to multiples of the quantisation table.

ITU-T T.81 (1992), annex A.3.3 and tables K.1 and K.2; JFIF 1.02 for colours; quality as the
Independent JPEG Group's library scales its tables. What is left out is lossless.
"""

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor
from torch.nn import functional

from narrows.corruption.damaged import Damaged, Limits, Strength, everywhere, over

_SIDE = 8
# Tables K.1 (luma) and K.2 (chroma), by rows.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# From red, green and blue to luma and the differences of blue and red, without their middle 128.
TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)
_FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
_MIDDLE, _WHITE, _EIGHTHS = 128, 255, 8


def jpeg(x: Tensor, level: Strength, limits: Limits, _generator: torch.Generator) -> Damaged:
    """Compress pictures as JPEG does, at the quality 100 (1 - ``level``), at least 1.

    Level 0 changes nothing. Values are rounded to the 256 that lie between black and white. Three
    channels are red, green and blue, whose chroma has half the resolution (4:2:0), as most programs
    write it; others are compressed one by one. Blocks begin at the upper left corner.
    """
    levels = level if isinstance(level, Tensor) else x.new_full((len(x),), level)
    width = limits.high - limits.low
    shades = ((x - limits.low) * (_WHITE / width)).round().clamp(0, _WHITE)
    shades = shades.where(width > 0, torch.zeros_like(shades))
    quality = (100 * (1 - levels)).round().clamp(min=1)
    planes = shades.unsqueeze(1) if x.ndim == 3 else shades.movedim(3, 1)
    is_color = planes.shape[1] == 3
    planes = _in_color(planes, quality) if is_color else _quantised(planes, _LUMA, quality)
    planes = planes.round().clamp(0, _WHITE)
    seen = planes.squeeze(1) if x.ndim == 3 else planes.movedim(1, 3)
    seen = limits.low + seen * (width / _WHITE)
    return Damaged(torch.where(over(levels > 0, x), seen, x), everywhere(x, levels))


def _in_color(planes: Tensor, quality: Tensor) -> Tensor:
    """Compress red, green and blue (B, 3, H, W) as luma, and chroma of half the resolution."""
    height, width = planes.shape[2:]
    ycc = torch.einsum("ij,bjhw->bihw", planes.new_tensor(TO_YCC), planes).round()
    luma = _quantised(ycc[:, :1], _LUMA, quality)
    chroma = _padded(ycc[:, 1:] + _MIDDLE, 2)
    # Halves are rounded up in every other column, as the Group's library does.
    halves = functional.avg_pool2d(chroma, 2)
    chroma = (halves + _alternating(halves, 0.25, 0.5)).floor()
    chroma = _quantised(chroma, _CHROMA, quality).round().clamp(0, _WHITE) - _MIDDLE
    # Samples lie in the middle of two by two pixels, and are interpolated between.
    larger = functional.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    larger = (larger + _alternating(larger, 8 / 16, 7 / 16)).floor()[:, :, :height, :width]
    both = torch.cat([luma.round().clamp(0, _WHITE), larger], dim=1)
    return torch.einsum("ij,bjhw->bihw", planes.new_tensor(_FROM_YCC), both)


def _quantised(planes: Tensor, table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Round the coefficients of the blocks of planes (B, C, H, W) of values from 0 to 255."""
    height, width = planes.shape[2:]
    n, channels = planes.shape[:2]
    padded = _padded(planes, _SIDE) - _MIDDLE
    rows, columns = padded.shape[2] // _SIDE, padded.shape[3] // _SIDE
    blocks = padded.view(n, channels, rows, _SIDE, columns, _SIDE).transpose(3, 4)
    basis = _cosines().to(planes)
    steps = _steps(table, quality)[:, None, None, None]
    # Coefficients are whole eighths; halves of a step are rounded away from zero.
    eighths = (basis @ blocks @ basis.T * _EIGHTHS).round()
    multiples = (eighths.abs() / (_EIGHTHS * steps) + 0.5).floor() * eighths.sign()
    coefficients = multiples * steps
    blocks = basis.T @ coefficients @ basis
    restored = blocks.transpose(3, 4).reshape(padded.shape)
    return restored[:, :, :height, :width] + _MIDDLE


def _alternating(planes: Tensor, even: float, odd: float) -> Tensor:
    """Return one number for even columns and another for odd ones."""
    return planes.new_tensor([even, odd]).repeat(-(-planes.shape[3] // 2))[: planes.shape[3]]


def _steps(table: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Scale a quantisation table by the quality of each picture, (B, 8, 8)."""
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    scaled = (quality.new_tensor(table) * percent[:, None, None] + 50) / 100
    return scaled.floor().clamp(1, 255)


def _cosines() -> Tensor:
    """Return the orthonormal basis of the discrete cosine transform, frequencies by rows."""
    return torch.from_numpy(dct(np.eye(_SIDE), axis=0, norm="ortho"))


def _padded(planes: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column up to a multiple of a side."""
    height, width = planes.shape[2:]
    return functional.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")
