"""The mean of what a network makes of a picture in each of its eight orientations.

A network's errors depend on how a picture is turned, the picture does not: the mean over all
orientations has less of them, in eight times the time. Timofte, Rothe & Van Gool (2016), "Seven
ways to improve example-based single image super resolution", section 3.4.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TURNS = 4


def mean_over_orientations(
    restore: Callable[[NDArray[Any]], NDArray[Any]], picture: NDArray[Any], multiple: int
) -> NDArray[np.float32]:
    """Restore a picture turned by each quarter, mirrored and not, and average.

    Parameters
    ----------
    restore : callable
        From a picture, (h, w) or (h, w, C), to the restored one of the same shape.
    picture : ndarray of shape (H, W) or (H, W, C)
        The picture.
    multiple : int
        Sides are padded to multiples of this by reflection, so that strides divide the picture
        alike in all orientations; the padding is cut off again.

    Returns
    -------
    ndarray of the shape of the picture, float32

    Examples
    --------
    >>> from_the_left = lambda part: np.cumsum(part, axis=1)
    >>> mean_over_orientations(from_the_left, np.ones((2, 2)), 1)
    array([[1.5, 1.5],
           [1.5, 1.5]], dtype=float32)
    """
    height, width = picture.shape[:2]
    more = [(0, -side % multiple) for side in (height, width)] + [(0, 0)] * (picture.ndim - 2)
    padded = np.pad(picture, more, mode="reflect")
    total = np.zeros(padded.shape, np.float32)
    for turns in range(_TURNS):
        turned = np.rot90(padded, turns)
        for mirror in (slice(None), slice(None, None, -1)):
            restored = np.asarray(restore(np.ascontiguousarray(turned[:, mirror])), np.float32)
            total += np.rot90(restored[:, mirror], -turns)
    mean: NDArray[np.float32] = total[:height, :width] / np.float32(2 * _TURNS)
    return mean
