"""Whether two pictures are versions of one, whatever their codes say: a look at their pixels.

A code moves with a picture's brightness as much as it does with what is to be seen. The pixels of
one picture, though, are those of the other times a contrast, plus a brightness, and moved a little
where one was cropped: a linear model (Lucas & Kanade 1981, An Iterative Image Registration
Technique with an Application to Stereo Vision, eq. 9 with a contrast), of which regression says
how much of the picture it leaves unexplained.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from narrows.errors import NarrowsError
from narrows.library.pictures import StoredPictures

Pairs = NDArray[np.int64]  # (n, 2)

_SIDE = 32  # pixels of a side that are looked at: so few that what was moved stays in its place
_LEAST = 6  # pixels of a side below which a model of five numbers explains anything
_BLUR = 0.7  # pixels: the model holds where brightness changes slowly
_CONTRAST = 2.0  # at most so many times more or less
_MOVED, _ZOOMED = 0.03, 0.06  # of the side, and of the size
_ROWS = 16384  # pictures in memory at a time
_COMPARED = 1024  # pairs at a time
_MOST = 0.03  # what is left unexplained of versions of one picture
_TENTH, _LOWEST = 0.1, 0.01  # of what the lowest hundredth of other pictures leave


def confirm(pictures: StoredPictures, pairs: Pairs, others: Pairs) -> NDArray[np.bool_]:
    """Tell which pairs of pictures are versions of one.

    Parameters
    ----------
    pictures : StoredPictures
        Of the library.
    pairs : ndarray of int64 and shape (n, 2)
        Rows of pictures that may be.
    others : ndarray of int64 and shape (m, 2)
        Rows of pictures that are near, and hardly so: how alike pictures of the library are that
        are not the same.

    Returns
    -------
    ndarray of bool and shape (n,)
        False also where a picture cannot be read, and where rows are no pictures.
    """
    spec = pictures.encoder.spec
    if not len(pairs) or not spec.shows_pictures or min(spec.sample_shape[:2]) < _LEAST:
        return np.zeros(len(pairs), bool)
    left = _unexplained(pictures, others)
    limit = min(_MOST, _TENTH * np.quantile(left, _LOWEST)) if len(left) else _MOST
    confirmed: NDArray[np.bool_] = _unexplained(pictures, pairs) <= limit
    return confirmed


def unexplained(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Tell how much of pictures is not that of others, brightened, moved or zoomed a little.

    Parameters
    ----------
    one, other : ndarray of shape (n, height, width)
        Pictures whose brightness changes slowly from pixel to pixel.

    Returns
    -------
    ndarray of float64 and shape (n,)
        Of the variance of ``one``, from 0 to 1; 1 where contrast or place would differ by more
        than a little.

    Examples
    --------
    >>> x = np.linspace(0, 3, 16)
    >>> wave, moved = np.sin(x + x[:, None])[None], np.sin(x + x[:, None] + 0.05)[None]
    >>> bool(unexplained(wave, 1.3 * moved + 0.2)[0] < 1e-3)
    True
    >>> float(unexplained(wave, -wave)[0])
    1.0
    """
    count, height, width = one.shape
    down, across = np.gradient(other.astype(np.float64), axis=(1, 2))
    y = np.linspace(-0.5, 0.5, height)[:, None] * height
    x = np.linspace(-0.5, 0.5, width) * width
    terms = np.stack([other, across, down, x * across, y * down], axis=1).reshape(count, 5, -1)
    terms -= terms.mean(axis=2, keepdims=True)
    target = one.reshape(count, -1, 1).astype(np.float64)
    target -= target.mean(axis=1, keepdims=True)
    gram, product = terms @ terms.swapaxes(1, 2), terms @ target
    # A term that is zero everywhere, as of a flat picture, gets the weight zero.
    size = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    weights = np.linalg.solve(gram + (1e-9 * size + 1e-12) * np.eye(5), product)[..., 0]
    variance = np.square(target).sum(axis=(1, 2))
    explained = (weights * product[..., 0]).sum(axis=1)
    contrast = weights[:, 0]
    places = np.abs(weights[:, 1:]) / np.abs(contrast).clip(1e-9)[:, None]
    likely = (contrast > 1 / _CONTRAST) & (contrast < _CONTRAST) & (variance > 0)
    likely &= (places[:, :2] <= _MOVED * np.array([width, height])).all(axis=1)
    likely &= (places[:, 2:] <= _ZOOMED).all(axis=1)
    left: NDArray[np.float64] = 1 - explained / np.where(likely, variance, 1)
    return np.where(likely, left.clip(0, 1), 1.0)


def _unexplained(pictures: StoredPictures, pairs: Pairs) -> NDArray[np.float64]:
    """Tell how much is unexplained of each pair, whichever of the two explains less."""
    left = np.ones(len(pairs))
    for start in range(0, len(pairs), _ROWS // 2):
        some = pairs[start : start + _ROWS // 2]
        rows, places = np.unique(some, return_inverse=True)
        small, readable = _read(pictures, rows)
        places = places.reshape(-1, 2)
        for first in range(0, len(some), _COMPARED):
            a, b = places[first : first + _COMPARED].T
            worst = np.maximum(unexplained(small[a], small[b]), unexplained(small[b], small[a]))
            at = slice(start + first, start + first + len(a))
            left[at] = np.where(readable[a] & readable[b], worst, 1.0)
    return left


def _read(
    pictures: StoredPictures, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read pictures, grey and small, (n, height, width), and tell which can be read."""
    blank = np.zeros((1, *pictures.encoder.sample_shape_), np.float32)
    small: list[NDArray[np.float32]] = []
    readable = np.ones(len(rows), bool)
    for start in range(0, len(rows), _COMPARED):
        some = rows[start : start + _COMPARED]
        try:
            small.append(_shrink(pictures.read(some)))
        except NarrowsError:  # a file that is referred to may be away: the others count
            for place in range(start, start + len(some)):
                try:
                    small.append(_shrink(pictures.read(rows[place : place + 1])))
                except NarrowsError:
                    readable[place] = False
                    small.append(_shrink(blank))
    return np.concatenate(small), readable


def _shrink(pictures: NDArray[np.generic]) -> NDArray[np.float32]:
    """Make pictures grey, small and a little blurred."""
    count, height, width = pictures.shape[:3]
    grey = pictures.astype(np.float32).reshape(count, height, width, -1).mean(axis=3)
    factor = -(-min(height, width) // _SIDE)
    rows, columns = height // factor, width // factor
    cut = grey[:, : rows * factor, : columns * factor]
    small = cut.reshape(count, rows, factor, columns, factor).mean(axis=(2, 4))
    blurred: NDArray[np.float32] = gaussian_filter(small, (0, _BLUR, _BLUR))
    return blurred
