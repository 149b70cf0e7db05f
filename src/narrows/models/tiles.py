"""Pictures of any size through a network of any size, in overlapping tiles of bounded memory.

A tile sees more of the picture than it is used for: what lies near its edges is dropped, and
neighbours fade into one another over a few pixels. Tiles begin at multiples of the network's
strides, and those at the picture's edges end there, so that a picture in tiles is restored as the
whole would be. How far the network sees is measured on a picture of edges and noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from narrows import networks
from narrows.models.validation import least_side

Pixels: TypeAlias = NDArray[Any]
Restore: TypeAlias = Callable[[Pixels], Pixels]
"""From a part of a picture, (h, w) or (h, w, C), to the restored part of the same shape."""

GRID = 32
"""Pixels of which tiles begin at multiples: the product of the strides of five halvings."""

_FADE = 16  # pixels over which neighbouring tiles fade into one another
# Half the pixels of a probe's side, those in its middle that are compared, and the change that
# counts as none, of white.
_HALF, _CORE, _UNCHANGED = 128, 8, 1 / 2048
_SMALLEST, _LARGEST = 256, 1024  # sides of a tile
_BYTES = 150 << 20  # of a network's results within a tile


@dataclass(frozen=True)
class Tiling:
    """The size of tiles, and how much of them is dropped at edges within the picture.

    Attributes
    ----------
    side : int
        Pixels of a tile's sides, a multiple of :data:`GRID`.
    overlap : int
        Pixels that neighbours share, a multiple of :data:`GRID`: they fade into one another over
        the 16 in the middle.
    least : int, default=1
        Pixels of a side to which smaller pictures are padded by their reflection.

    Raises
    ------
    ValueError
        If these are no multiples, or tiles would be all overlap.
    """

    side: int
    overlap: int
    least: int = 1

    def __post_init__(self) -> None:
        if self.side % GRID or self.overlap % GRID or not 0 < self.overlap < self.side:
            raise ValueError(
                f"tiles of {self.side} pixels that share {self.overlap} are not allowed; give "
                f"multiples of {GRID}, the second smaller than the first"
            )

    @classmethod
    def of(cls, model: Any, size: tuple[int, int]) -> "Tiling":
        """Choose them for a model that takes any size: its memory is bounded, its reach measured.

        Parameters
        ----------
        model : BaseAutoencoder
            A fitted model of pictures whose ``takes_any_size_`` is true.
        size : (int, int)
            Height and width of the picture. What fits into a tile needs no measuring.
        """
        least = least_side(model.spec_)
        side = int((_BYTES / _bytes_a_pixel(model)) ** 0.5) // GRID * GRID
        side = min(_LARGEST, max(side, _SMALLEST))
        if max(size) <= side:
            return cls(side, GRID, least)
        overlap = -(-(2 * reach_of(model) + _FADE) // GRID) * GRID
        return cls(max(side, 2 * overlap), overlap, least)

    def spans(self, extent: int) -> list[tuple[int, int]]:
        """List the beginning and the end of each tile along a side of a picture.

        Examples
        --------
        >>> Tiling(128, 32).spans(250), Tiling(128, 32).spans(100)
        ([(0, 128), (96, 224), (192, 250)], [(0, 100)])
        """
        step = self.side - self.overlap
        starts = range(0, max(1, extent - self.overlap), step)
        return [(start, min(start + self.side, extent)) for start in starts]


class Band(NamedTuple):
    """Restored rows of a picture.

    Attributes
    ----------
    top : int
        The number of the first row.
    values : ndarray of shape (h, W) or (h, W, C), float32
        The rows.
    """

    top: int
    values: NDArray[np.float32]


def restore_in_bands(restore: Restore, picture: Pixels, tiling: Tiling) -> Iterator[Band]:
    """Restore a picture in tiles, and yield its rows from top to bottom.

    Parameters
    ----------
    restore : callable
        Restores a part of the picture.
    picture : ndarray of shape (H, W) or (H, W, C)
        The picture. Rows that were yielded are not read again, so that the restored ones may be
        written in their place.
    tiling : Tiling
        The tiles.

    Yields
    ------
    Band
        All rows, each once.

    Examples
    --------
    >>> picture = np.arange(300.0 * 200).reshape(300, 200)
    >>> bands = list(restore_in_bands(lambda part: part + 1, picture, Tiling(128, 32)))
    >>> restored = np.concatenate([band.values for band in bands])
    >>> [band.top for band in bands], bool(np.allclose(restored, picture + 1))
    ([0, 104, 200], True)
    """
    height, width = picture.shape[:2]
    down, across = tiling.spans(height), tiling.spans(width)
    dropped = (tiling.overlap - _FADE) // 2
    # The rows that were yielded already, and are still seen by the next tiles; and those that the
    # tiles above have restored, which fade out.
    seen, fading = picture[:0], np.empty(0, np.float32)
    for number, (top, bottom) in enumerate(down):
        source = picture[top + len(seen) : bottom]
        if len(seen):
            source = np.concatenate([seen, source])
        rows = _restore_row_of_tiles(restore, source, across, tiling)
        first = top + dropped if number else 0
        last = down[number + 1][0] + dropped if number + 1 < len(down) else height
        made = rows[first - top : last - top]
        if number:
            weights = _rising().reshape(-1, *(1,) * (rows.ndim - 1))
            made[:_FADE] = fading + weights * (made[:_FADE] - fading)
        if number + 1 < len(down):
            fading = rows[last - top : last - top + _FADE].copy()
            seen = source[down[number + 1][0] - top : last - top].copy()
        yield Band(first, made)


def _restore_row_of_tiles(
    restore: Restore, source: Pixels, across: list[tuple[int, int]], tiling: Tiling
) -> NDArray[np.float32]:
    """Restore tiles side by side."""
    if len(across) == 1:
        return restore_part(restore, source, tiling.least)
    dropped = (tiling.overlap - _FADE) // 2
    rows = np.empty(source.shape, np.float32)
    weights = _rising().reshape(1, -1, *(1,) * (source.ndim - 2))
    for number, (left, right) in enumerate(across):
        tile = restore_part(restore, source[:, left:right], tiling.least)
        if not number:
            rows[:, left:right] = tile
            continue
        middle = left + dropped
        fade = slice(middle, middle + _FADE)
        before, now = rows[:, fade], tile[:, dropped : dropped + _FADE]
        rows[:, fade] = before + weights * (now - before)
        rows[:, fade.stop : right] = tile[:, dropped + _FADE :]
    return rows


def _rising() -> NDArray[np.float32]:
    """Return the weights of the next tile where two fade into one another."""
    weights: NDArray[np.float32] = ((np.arange(_FADE) + 0.5) / _FADE).astype(np.float32)
    return weights


def restore_part(restore: Restore, part: Pixels, least: int) -> NDArray[np.float32]:
    """Restore a part of a picture; one that is too small is padded by its reflection meanwhile.

    Examples
    --------
    >>> restore_part(lambda part: np.full(part.shape, len(part)), np.zeros((1, 40)), 5).max()
    np.float32(5.0)
    """
    height, width = part.shape[:2]
    missing = [max(0, least - side) for side in (height, width)]
    if any(missing):
        around = [(less // 2, less - less // 2) for less in missing]
        part = np.pad(part, around + [(0, 0)] * (part.ndim - 2), mode="reflect")
        (top, _), (left, _) = around
        padded = restore(part)
        return np.asarray(padded[top : top + height, left : left + width], np.float32)
    return np.asarray(restore(part), np.float32)


def reach_of(model: Any) -> int:
    """Measure from how far away the pixels of a restored picture depend on the given one.

    The middle of a picture of edges and noise is restored within the whole and within smaller and
    smaller parts of it.

    Parameters
    ----------
    model : BaseAutoencoder
        A fitted model of pictures whose ``takes_any_size_`` is true.

    Returns
    -------
    int
        The smallest of 24, 56, 88 and 120 pixels from which on the change is below 1/2048 of
        white; 120 for networks that see farther.
    """
    probe = _probe(model)
    whole = _middle_of(model, probe)
    span = model.scaling_.high - model.scaling_.low
    reach = _HALF - _CORE
    for start in range(GRID, _HALF - _CORE, GRID):  # parts begin where tiles do
        part = _middle_of(model, probe[start:-start, start:-start])
        if not np.abs(part - whole).max() < _UNCHANGED * span:
            break
        reach = _HALF - _CORE - start
    return reach


def _middle_of(model: Any, picture: Pixels) -> Pixels:
    half = len(picture) // 2
    place = slice(half - _CORE, half + _CORE)
    restored: Pixels = model.denoise(picture[None])[0][place, place]
    return restored


def _probe(model: Any) -> NDArray[np.float32]:
    """Draw edges and noise in a model's units."""
    y, x = np.mgrid[-_HALF:_HALF, -_HALF:_HALF]
    stripes = 0.5 + 0.3 * np.sign(np.sin(x / 5 + y / 9)) + 0.2 * (y > x)
    noise = np.random.default_rng(0).normal(0, 0.1, stripes.shape)
    scaling, channels = model.scaling_, model.sample_shape_[2:]
    values = scaling.low + (scaling.high - scaling.low) * np.clip(stripes + noise, 0, 1)
    axes = values.reshape(*values.shape, *(1,) * len(channels))
    return np.broadcast_to(axes, (*values.shape, *channels)).astype(np.float32)


def _bytes_a_pixel(model: Any) -> float:
    """Estimate the memory of a network's results for each pixel: half of all that it computes."""
    shape = (_SMALLEST, _SMALLEST, *model.sample_shape_[2:])
    _, numbers = networks.size(model.spec_.at(shape))
    return max(16.0, 4 * numbers / 2 / _SMALLEST**2)
