"""How the pixels of one picture lie in another: affine maps, found by least squares.

Maps lead from a picture, both of whose sides are from 0 to 1, to another one. A step (Lucas &
Kanade 1981, An Iterative Image Registration Technique with an Application to Stereo Vision) fits
brightness, contrast and the map's change; pixels that do not fit, such as those of a caption, count
less (Huber's and Cauchy's estimators; here Cauchy's). Many pairs are fitted at a time.

Pictures are compared after their local brightness and contrast have been made the same everywhere,
so that neither a light nor a dark bar outweighs the rest.
"""

from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from narrows.copies.pictures import SIDE

Floats: TypeAlias = NDArray[np.float32]
Maps: TypeAlias = NDArray[np.float32]
"""Affine maps, (n, 2, 3): x' = m[0, 0] x + m[0, 1] y + m[0, 2], and y' by m[1] alike."""

SIDES = (16, 32, SIDE)
PART = 8
"""Pixels of a side of the parts that are compared."""

_WEAK, _EDGE = 6.0, 0.15  # squared slope along the weaker direction, and its least share
_AT_ONCE = 1024  # pictures
_FAR = 0.75  # zoom below which a picture is compared with the other at twice the size
_NOISE = 9.0  # variance, in levels, that is no contrast
_DOUBT = 0.7  # deviations from which on a pixel counts less
_MOST = np.array([0.08, 0.2, 0.2, 0.08, 0.2, 0.2])  # the largest change of a step
_BLOCK = {16: 512, 32: 64, 64: 16}  # pairs at a time, so that these stay in the processor's cache


class Pyramid:
    """Squares at several sizes, as they are and with local brightness and contrast taken out.

    Parameters
    ----------
    squares : ndarray of uint8 and shape (n, 64, 64)
        The pictures.
    """

    def __init__(self, squares: NDArray[np.uint8]) -> None:
        self.plain: dict[int, Floats] = {SIDE: squares.astype(np.float32)}
        for side in (32, 16):
            self.plain[side] = _halved(self.plain[2 * side])
        self.even = {side: _evened(self.plain[side], max(3, side // 8)) for side in SIDES}
        self.corners = _corners(self.plain[SIDE])


def _corners(pictures: Floats) -> NDArray[np.bool_]:
    """Tell which parts change along both directions, as corners and textures do, (n, 8 * 8).

    The smaller eigenvalue of the structure tensor tells (Shi & Tomasi 1994, Good Features to Track,
    section 4): a part that shows one edge agrees with parts of many other pictures.
    """
    n, side, _ = pictures.shape
    count = side // PART
    across = np.zeros((3, n, count * count), np.float32)
    for start in range(0, n, _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        down, right = np.gradient(pictures[rows], axis=(1, 2))
        for sums, product in zip(across, (right * right, down * down, right * down), strict=True):
            cut = product.reshape(-1, count, PART, count, PART)
            sums[rows] = cut.mean(axis=(2, 4)).reshape(-1, count * count)
    xx, yy, xy = across
    spread = np.sqrt(np.square(xx - yy) + 4 * xy * xy)
    low, high = (xx + yy - spread) / 2, (xx + yy + spread) / 2
    corners: NDArray[np.bool_] = (low > _WEAK) & (low > _EDGE * high)
    return corners


def _halved(pictures: Floats) -> Floats:
    n, side, _ = pictures.shape
    small: Floats = pictures.reshape(n, side // 2, 2, side // 2, 2).mean(axis=(2, 4))
    return small


def _evened(pictures: Floats, width: float) -> Floats:
    """Subtract the mean around each pixel, and divide by the deviation around it."""
    blur = (0, width, width)
    away = pictures - gaussian_filter(pictures, blur, mode="nearest", truncate=3)
    variance = gaussian_filter(away * away, blur, mode="nearest", truncate=3)
    even: Floats = away / np.sqrt(variance + _NOISE)
    return even


@cache
def grid(side: int) -> Floats:
    """Return where the pixels of a square are, (3, side * side): 1, x - 0.5 and y - 0.5."""
    places = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    x, y = np.meshgrid(places - np.float32(0.5), places - np.float32(0.5))
    return np.stack([np.ones(side * side, np.float32), x.ravel(), y.ravel()])


def zoom(maps: Maps) -> NDArray[np.float64]:
    """Return how much smaller a picture is within the other, as a factor of its sides."""
    factor: NDArray[np.float64] = np.sqrt(np.abs(np.linalg.det(maps[:, :, :2].astype(np.float64))))
    return factor


def warp(
    pictures: Floats, which: NDArray[np.int64], maps: Maps, side: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Look up pictures where the pixels of others lie in them.

    Parameters
    ----------
    pictures : ndarray of shape (n, z, z)
        Pictures of any size.
    which : ndarray of shape (m,)
        The picture of each map.
    maps : ndarray of shape (m, 2, 3)
        From the others to these.
    side : int
        Pixels of a side of the others.

    Returns
    -------
    values : ndarray of shape (m, side * side)
        By bilinear interpolation.
    inside : ndarray of bool, of the same shape
        Whether the pixel lies within the picture.
    """
    size = pictures.shape[-1]
    centre = maps[:, :, :2].sum(axis=2) / 2 + maps[:, :, 2]
    full = np.concatenate([centre[:, :, None], maps[:, :, :2]], axis=2).astype(np.float32)
    at = (full.reshape(-1, 3) @ grid(side)).reshape(len(maps), 2, side * side)
    at *= size
    at -= 0.5
    inside = ((at >= -0.5) & (at <= size - 0.5)).all(axis=1)
    np.clip(at, 0, size - 1.001, out=at)
    whole = at.astype(np.int64)
    at -= whole
    place = whole[:, 1] * size + whole[:, 0] + which[:, None] * (size * size)
    flat = pictures.reshape(-1)
    values, below = _between(flat, place, at[:, 0]), _between(flat, place + size, at[:, 0])
    below -= values
    below *= at[:, 1]
    values += below
    return values, inside


def _between(flat: Floats, place: NDArray[np.int64], share: Floats) -> Floats:
    values, others = flat[place], flat[place + 1]
    others -= values
    others *= share
    values += others
    return values


def then(first: NDArray[np.floating], second: NDArray[np.floating]) -> Maps:
    """Compose maps: first the one, then the other."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    both = b[..., :2] @ a
    both[..., 2] += b[..., 2]
    return both.astype(np.float32)


def inverse(maps: NDArray[np.floating]) -> Maps:
    """Invert maps."""
    linear = np.linalg.inv(maps[..., :2].astype(np.float64))
    moved = -(linear @ maps[..., 2:].astype(np.float64))
    return np.concatenate([linear, moved], axis=-1).astype(np.float32)


def by_zoom(maps: Maps, side: int, block: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield which maps are computed together, and at what size the other picture is looked up."""
    far = zoom(maps) < _FAR
    for chosen, size in ((~far, side), (far, min(SIDE, 2 * side))):
        rows = np.flatnonzero(chosen)
        for start in range(0, len(rows), block):
            yield rows[start : start + block], size


def register(
    pyramid: Pyramid,
    side: int,
    ends: NDArray[np.int64],
    others: NDArray[np.int64],
    maps: Maps,
    *,
    steps: int,
    robust: bool = True,
) -> Maps:
    """Bring maps from pictures to others closer to the truth.

    Parameters
    ----------
    pyramid : Pyramid
        The pictures.
    side : {16, 32, 64}
        The size at which they are compared.
    ends, others : ndarray of int64 and shape (m,)
        The pictures of each pair.
    maps : ndarray of float32 and shape (m, 2, 3)
        From ``ends`` to ``others``.
    steps : int
        How often they are changed.
    robust : bool, default=True
        Whether pixels that do not fit count less.

    Returns
    -------
    ndarray of float32 and shape (m, 2, 3)
    """
    better = maps.copy()
    for rows, size in by_zoom(maps, side, _BLOCK[side]):
        target = pyramid.even[side][ends[rows]].reshape(len(rows), -1)
        for _ in range(steps):
            change = _step(target, pyramid.even[size], others[rows], better[rows], robust)
            better[rows] = then(change, better[rows])
    return better


def _step(
    target: Floats, pictures: Floats, which: NDArray[np.int64], maps: Maps, robust: bool
) -> NDArray[np.float64]:
    """Compute a change of maps, which comes before them, (m, 2, 3)."""
    m, pixels = target.shape
    side = round(pixels**0.5)
    found, inside = warp(pictures, which, maps, side)
    weights = inside.astype(np.float32)
    if robust:
        off = target - found
        off *= off
        weights /= 1 + off / np.float32(_DOUBT**2)
    terms = np.zeros((m, 8, pixels), np.float32)
    terms[:, 0], terms[:, 1] = found, 1
    image = found.reshape(m, side, side)
    for first, slope in ((2, image.swapaxes(1, 2)), (5, image)):
        along = terms[:, first].reshape(m, side, side)
        along = along.swapaxes(1, 2) if first == 2 else along
        np.subtract(slope[:, 2:], slope[:, :-2], out=along[:, 1:-1])
        terms[:, first] *= side / 2
        np.multiply(terms[:, first, None], grid(side)[1:], out=terms[:, first + 1 : first + 3])
    weighted = terms * weights[:, None]
    gram = (weighted @ terms.swapaxes(1, 2)).astype(np.float64)
    product = (weighted @ target[:, :, None]).astype(np.float64)
    gram[:, range(8), range(8)] *= 1.001
    gram[:, range(8), range(8)] += 1e-3
    solved = np.linalg.solve(gram, product)[..., 0]
    moved = solved[:, 2:] / solved[:, :1].clip(0.3)
    moved = moved.clip(-_MOST, _MOST).reshape(m, 2, 3)
    change = np.empty((m, 2, 3))
    change[:, :, :2] = np.eye(2) + moved[:, :, 1:]
    change[:, :, 2] = moved[:, :, 0] - moved[:, :, 1:].sum(axis=2) / 2
    return change
