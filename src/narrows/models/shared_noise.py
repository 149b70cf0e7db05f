"""Noise that neighbouring pixels share, as after JPEG or resizing, brought to what a model knows.

A model of independent noise takes noise without fine parts for texture, and leaves it. Where the
noise of a picture of half the size shows that fine parts are missing, they are added before the
model restores the picture; the mean over two draws of them is taken.

Independent noise falls to a half where a picture is reduced to half its size, once and once again.
Of texture, which is alike at all sizes, the reduced picture has no less. Noise is everywhere;
letters and drawings leave most squares even.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from narrows.data.noise_level import NoiseVariance, noise_by_brightness
from narrows.models.tiles import GRID

# Noise is shared where the coarse noise is so many times the fine one, at least this share of the
# range, and falls at least so much from half to a quarter of the size.
_COARSER, _LEAST, _FALLS = 1.5, 6 / 255, 0.75
# The share of squares, of so many pixels a side at half the size, that may vary less than this
# share of the noise.
_EVEN, _SQUARE, _VARIES = 0.1, 8, 0.5
# Share of pixels that may be as dark or light as ink and paper: as the hundredth part of all,
# within this share of the range between them.
_MOST_AT_ENDS, _AT_END = 0.3, 0.04
_SMALLEST = 96  # pixels of a side, of which a quarter still shows its noise
# Fine noise is added up to so many times the coarse one, without its parts coarser than this
# standard deviation in pixels; how often it is drawn; and how far light is smoothed for its level.
_ADDED, _FINE, _DRAWS, _LIGHT = 1.25, 0.7, 2, 2.0
_CHANNELS = 4  # that have noise of their own


@dataclass(frozen=True)
class SharedNoise:
    """Noise of a picture that neighbouring pixels share.

    Attributes
    ----------
    coarse : NoiseVariance
        The variance of independent noise that is as strong where it is coarse.
    fine : NoiseVariance
        The variance of the noise at the finest.
    """

    coarse: NoiseVariance
    fine: NoiseVariance

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]], black: float, span: float) -> "SharedNoise | None":
        """Measure it on parts of a picture; None where its noise is independent, or weak.

        Parameters
        ----------
        parts : sequence of ndarray of shape (H, W) or (H, W, C)
            The parts, with white at ``black`` + ``span``.
        black, span : float
            In the units of the picture.
        """
        large = [part for part in parts if min(part.shape[:2]) >= _SMALLEST]
        if not large or np.mean([_share_at_ends(part) for part in large]) > _MOST_AT_ENDS:
            return None
        halves, variances, levels = large, [], []
        for _ in range(3):
            found = noise_by_brightness(large, black)
            finite = [part[np.isfinite(part)] for part in large]
            means = [found.at(values).mean() for values in finite if values.size]
            variances.append(found)
            levels.append(float(np.sqrt(np.mean(means))) if means else 0.0)
            large = [_halved(part) for part in large]
        fine, half, quarter = levels
        if 2 * half < _LEAST * span or 2 * half < _COARSER * fine or quarter > _FALLS * half:
            return None
        coarse = variances[1]
        varies = np.concatenate([_variation(_halved(part), coarse) for part in halves])
        varies = varies[np.isfinite(varies)]
        if not varies.size or np.quantile(varies, _EVEN) < _VARIES:
            return None
        coarse = coarse._replace(at_low=4 * coarse.at_low, at_high=4 * coarse.at_high)
        return cls(coarse, variances[0])

    def change(
        self,
        part: NDArray[np.floating],
        span: float,
        change: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        """Return what a model adds to a part, of white, once fine noise is there.

        Parameters
        ----------
        part : ndarray of shape (h, w) or (h, w, C)
            Finite values.
        span : float
            White less black.
        change : callable
            What the model adds to a part, of white.
        """
        light = gaussian_filter(part.astype(np.float32), _LIGHT, axes=(0, 1))
        missing = _ADDED**2 * self.coarse.at(light) - self.fine.at(light)
        level = np.sqrt(missing.clip(0)).astype(np.float32)
        total = np.zeros(part.shape, np.float32)
        for draw in range(_DRAWS):
            noise = level * _high_frequencies(part.shape, draw)
            total += change((part + noise).astype(np.float32)) + noise / np.float32(span)
        return np.asarray(total / _DRAWS, np.float32)


def _high_frequencies(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Draw noise without low frequencies, the same at each multiple of the tiles' grid."""
    tile = np.random.default_rng(seed).standard_normal((GRID, GRID, _CHANNELS), np.float32)
    tile -= gaussian_filter(tile, _FINE, axes=(0, 1), mode="wrap")
    repeats = [-(-n // GRID) for n in shape[:2]]
    noise = np.tile(tile, (*repeats, 1))[: shape[0], : shape[1]]
    return noise[:, :, 0] if len(shape) == 2 else noise[:, :, np.arange(shape[2]) % _CHANNELS]


def _share_at_ends(part: NDArray[Any]) -> float:
    finite = part[np.isfinite(part)]
    if not finite.size:
        return 1.0
    low, high = np.percentile(finite, (1, 99))
    near = _AT_END * (high - low)
    return float(((finite <= low + near) | (finite >= high - near)).mean())


def _variation(part: NDArray[np.float32], noise: NoiseVariance) -> NDArray[np.float64]:
    """Return the deviation of each square of a part beside that of the noise of its light."""
    height, width = (n // _SQUARE for n in part.shape[:2])
    squares = part[: _SQUARE * height, : _SQUARE * width]
    squares = squares.reshape(height, _SQUARE, width, _SQUARE, -1)
    expected = np.sqrt(noise.at(squares.mean(axis=(1, 3))))
    deviation = squares.std(axis=(1, 3))
    return np.asarray((deviation / np.maximum(expected, 1e-12)).ravel())


def _halved(part: NDArray[Any]) -> NDArray[np.float32]:
    """Reduce a part to half its size, (h // 2, w // 2)."""
    height, width = (n // 2 for n in part.shape[:2])
    blocks = part[: 2 * height, : 2 * width].astype(np.float32)
    blocks = blocks.reshape(height, 2, width, 2, *part.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
