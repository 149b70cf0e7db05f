"""Pictures as pixels that a screen shows, and many of them tiled into one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.errors import ParameterError

# The room between two tiles, as a share of their longer side.
_GAP = 0.07


def value_range(pictures: NDArray[Any]) -> tuple[float, float]:
    """Guess what black and white are; all pictures that are shown together share them."""
    if pictures.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(pictures.min()), float(pictures.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def check_limits(limits: tuple[float, float]) -> tuple[float, float]:
    """Refuse values of black and white between which nothing lies."""
    low, high = limits
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ParameterError(
            f"limits={limits!r} are not allowed; give the values of black and white, the smaller "
            "one first"
        )
    return float(low), float(high)


def shades(pictures: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Turn pictures (n, H, W[, 3 or 4]) into red, green and blue in 8 bits, (n, H, W, 3).

    Where there is opacity, they are laid on white.
    """
    low, high = limits
    if pictures.dtype != np.uint8 or limits != (0, 255):
        share = (pictures.astype(np.float32) - low) / max(high - low, 1e-12)
        pictures = np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
    if pictures.ndim == 3:
        pictures = np.repeat(pictures[..., None], 3, axis=-1)
    if pictures.shape[-1] == 4:
        opacity = pictures[..., 3:].astype(np.uint32)
        pictures = ((pictures[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype("u1")
    return pictures


class Tiles:
    """Pictures of one size in lines and columns, with nothing between them.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, H, W, 3)
        One line after another.
    columns : int
        How many a line has.
    between : tuple of float
        The colour that the gaps, which are transparent, have for smoothing at their edges.
    """

    def __init__(
        self, pictures: NDArray[np.uint8], columns: int, between: tuple[float, float, float]
    ) -> None:
        self.height, self.width = int(pictures.shape[1]), int(pictures.shape[2])
        self.columns, self.lines = columns, -(-len(pictures) // columns)
        self.gap = max(1, round(_GAP * max(self.height, self.width)))
        shape = (self._end(self.lines, self.height), self._end(columns, self.width), 4)
        self.image = np.zeros(shape, np.uint8)
        self.image[..., :3] = np.round(255 * np.asarray(between)).astype(np.uint8)
        for place, picture in enumerate(pictures):
            left, top = self.corner(place)
            tile = self.image[top : top + self.height, left : left + self.width]
            tile[..., :3], tile[..., 3] = picture, 255

    def corner(self, place: int) -> tuple[int, int]:
        """Return the left and upper edge of a tile, in pixels of the image."""
        line, column = divmod(place, self.columns)
        return column * (self.width + self.gap), line * (self.height + self.gap)

    def _end(self, count: int, extent: int) -> int:
        return count * (extent + self.gap) - self.gap
