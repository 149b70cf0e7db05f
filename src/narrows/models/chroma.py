"""Brightness and colours of a picture apart, as JPEG and most video store them.

Colours are stored at half the height and width there (chroma subsampling 4:2:0), so that four
pixels share the noise of their colours, which is no independent noise; in the planes it is.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from narrows.data.noise_level import noise_correlation

# ITU-R BT.601, as in JFIF: the weights of red, green and blue in the luma, and those of the two
# chroma planes, blue and red less luma, in red, green and blue.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BLUE, _RED = 1.772, 1.402
TO_COLOURS = np.array([[0, _RED], [-0.344136, -0.714136], [_BLUE, 0]], np.float32)
# The correlations of neighbours' noise from which chroma has shared noise, and up to which luma has
# independent noise; and the side of the middle part in which they are measured.
_SHARED, _INDEPENDENT, _SIDE = 0.3, 0.3, 512


class Planes(NamedTuple):
    """The planes of a picture.

    Attributes
    ----------
    luma : ndarray of shape (H, W), float32
        Brightness, in the units of the picture.
    blue, red : ndarray of shape (ceil(H / 2), ceil(W / 2)), float32
        Chroma, from minus to plus half of the distance from black to white.
    """

    luma: NDArray[np.float32]
    blue: NDArray[np.float32]
    red: NDArray[np.float32]


def planes_of(picture: NDArray[Any]) -> Planes:
    """Split a picture (H, W, 3) into luma, and chroma of half the height and width.

    Examples
    --------
    >>> planes = planes_of(np.full((5, 4, 3), 100, np.uint8))
    >>> planes.luma.shape, planes.red.shape, round(float(planes.luma[0, 0]), 3)
    ((5, 4), (3, 2), 100.0)
    """
    luma = picture @ _LUMA
    chroma = (
        (picture[..., channel] - luma) / np.float32(weight)
        for channel, weight in ((2, _BLUE), (0, _RED))
    )
    return Planes(luma, *map(_halved, chroma))


def colours_of(luma: NDArray[Any], blue: NDArray[Any], red: NDArray[Any]) -> NDArray[np.float32]:
    """Return what a change of the planes changes in red, green and blue, (H, W, 3).

    Examples
    --------
    >>> none = np.zeros((2, 2), np.float32)
    >>> colours_of(np.ones((4, 4), np.float32), none, none)[0, 0].tolist()
    [1.0, 1.0, 1.0]
    """
    height, width = luma.shape
    chroma = np.stack(
        [
            zoom(plane, 2, order=1, mode="nearest", grid_mode=True)[:height, :width]
            for plane in (blue, red)
        ],
        axis=-1,
    )
    made: NDArray[np.float32] = luma[..., None] + chroma @ TO_COLOURS.T
    return made


def shares_chroma_noise(picture: NDArray[Any]) -> bool:
    """Return whether neighbours share the noise of a picture's colours, not that of its luma.

    False where a value is not finite, which would spread when planes are reduced.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(100, 9, (96, 96, 3))
    >>> shares_chroma_noise(noise)
    False
    >>> colours = noise[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)
    >>> more = colours - (colours @ _LUMA)[..., None] + (noise @ _LUMA)[..., None]
    >>> shares_chroma_noise(more)
    True
    """
    if picture.dtype.kind == "f" and not np.isfinite(picture).all():
        return False
    top, left = (max(0, (n - _SIDE) // 2) for n in picture.shape[:2])
    part = picture[top : top + _SIDE, left : left + _SIDE].astype(np.float32)
    luma = part @ _LUMA
    chroma = np.stack([part[..., 2] - luma, part[..., 0] - luma], axis=-1)
    return noise_correlation(chroma) >= _SHARED and noise_correlation(luma) <= _INDEPENDENT


def _halved(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the means of 2 by 2 pixels; the last row and column are repeated."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    means: NDArray[np.float32] = even.reshape(-(-height // 2), 2, -(-width // 2), 2).mean(
        axis=(1, 3), dtype=np.float32
    )
    return means
