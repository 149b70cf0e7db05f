"""Whether the pixels of two pictures are those of one, once the one lies on the other.

Pictures are compared in parts of 8 x 8 pixels. In copies, all parts that show anything agree, but
for those below a caption or a logo; in different pictures, hardly any does, however alike they are
as a whole.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from narrows.copies.pictures import SIDE
from narrows.copies.proposing import Candidates
from narrows.copies.registering import PART, Floats, Maps, Pyramid, by_zoom, register, warp, zoom

_SHOWS = 16.0  # variance, in levels, of a part that shows something
_HELD = 0.75  # share of a part's pixels within the other picture from which on it counts
_AGREE = 0.85  # correlation of parts that agree
_LIKELY = 0.35  # mean correlation at a fourth of the size of pairs that are looked at further
_DOUBT = (0.2, 0.85)  # mean correlations between which a pair is registered further
_MEAN, _SHARE, _LEAST = 0.65, 0.35, 8  # of copies: mean correlation, parts that agree, parts
# Pairs a picture that agree by half, from this mean correlation on: where there are many, pictures
# are alike though they are different, as garments are, and copies have to agree more.
_HALF, _FEW, _RISE, _STRICTEST = 0.45, 0.2, 2.0, 0.97
# Of copies: parts that agree and show more than an edge. Where fewer do, as of a dark shape on
# white, whole pictures have to be equal within these bounds of place, mean correlation and levels.
_CORNERS, _MOVED, _EQUAL, _LEVELS = 5, 0.02, 0.97, 3.0
_SMALL = 0.88  # mean correlation of copies of which one has fewer pixels than are compared
_SHEAR, _STRETCH = 0.1, 1.5  # the most that copies are sheared and stretched
_ZOOMS = (0.38, 1.5)  # factors of the sides by which one picture may be smaller than the other
_COVERED = 0.3  # least share of the one that lies in the other
_BLOCK = 128  # pairs at a time


class Agreement(NamedTuple):
    """How the parts of pairs of pictures agree.

    Attributes
    ----------
    mean : ndarray of float64 and shape (m,)
        The mean correlation of parts that show something in either picture, from -1 to 1.
    share : ndarray of float64 and shape (m,)
        The share of these that agree.
    parts : ndarray of int64 and shape (m,)
        Their number.
    held : ndarray of float64 and shape (m,)
        The share of the one picture that lies in the other.
    corners : ndarray of int64 and shape (m,)
        How many parts agree that show more than an edge.
    """

    mean: NDArray[np.float64]
    share: NDArray[np.float64]
    parts: NDArray[np.int64]
    held: NDArray[np.float64]
    corners: NDArray[np.int64]

    def of(self, rows: NDArray[np.generic]) -> Self:
        """Return those of some pairs."""
        return type(self)(*(one[rows] for one in self))


@dataclass(frozen=True)
class Pairs:
    """Pairs of copies.

    Attributes
    ----------
    ends, others : ndarray of int64 and shape (m,)
        The pictures of each pair, which is there once.
    maps : ndarray of float32 and shape (m, 2, 3)
        Where ``ends`` lie in ``others``.
    agreement : Agreement
        How they agree.
    limit : float
        The mean correlation that was asked for.
    """

    ends: NDArray[np.int64]
    others: NDArray[np.int64]
    maps: Maps
    agreement: Agreement
    limit: float


def judge(
    pyramid: Pyramid,
    candidates: Candidates,
    sizes: NDArray[np.float64],
    limit: float | None = None,
) -> Pairs:
    """Return the candidates that are copies, each pair once.

    Parameters
    ----------
    pyramid : Pyramid
        The pictures.
    candidates : Candidates
        What may be copies.
    sizes : ndarray of shape (n, 2)
        The widths and heights of the pictures, in pixels.
    limit : float, optional
        The mean correlation of copies; by default 0.65, or more where different pictures are alike
        as well. Of pictures of fewer than 64 pixels, it is at least 0.88.

    Returns
    -------
    Pairs
    """
    ends, others, maps = candidates
    maps = register(pyramid, 16, ends, others, maps, steps=2, robust=False)
    maps = register(pyramid, 16, ends, others, maps, steps=3)
    found = agreement(pyramid, 32, ends, others, maps)
    size = zoom(maps)
    likely = (found.mean > _LIKELY) & (found.held > _COVERED)
    likely &= (size > _ZOOMS[0]) & (size < _ZOOMS[1])
    rows = _best(ends, others, found.mean, np.flatnonzero(likely))
    ends, others, maps = ends[rows], others[rows], maps[rows]
    maps, found = _closer(pyramid, ends, others, maps, (4, 1))
    low, high = _DOUBT
    doubtful = np.flatnonzero((found.mean > low) & (found.mean < high))
    some = ends[doubtful], others[doubtful]
    again, better = _closer(pyramid, *some, maps[doubtful], (4, 2))
    gained = better.mean > found.mean[doubtful]
    maps[doubtful[gained]] = again[gained]
    for old, new in zip(found, better, strict=True):
        old[doubtful[gained]] = new[gained]
    aspects = sizes[:, 0] / sizes[:, 1]
    fits = _keeps_shape(maps, aspects[ends], aspects[others])
    if limit is None:
        half = fits & (found.mean > _HALF) & (found.mean < _MEAN)
        alike = half.sum() / max(1, len(sizes)) / _FEW
        limit = min(_STRICTEST, float(1 - (1 - _MEAN) * max(1.0, alike) ** -_RISE))
    small = sizes.min(axis=1) < SIDE
    limits = np.where(small[ends] | small[others], max(limit, _SMALL), limit)
    same = fits & (found.mean > limits) & (found.share > _SHARE) & (found.parts >= _LEAST)
    same &= found.held > _COVERED
    same &= (found.corners >= _CORNERS) | _are_equal(pyramid, ends, others, maps, found.mean)
    return Pairs(ends[same], others[same], maps[same], found.of(same), limit)


def _are_equal(
    pyramid: Pyramid,
    ends: NDArray[np.int64],
    others: NDArray[np.int64],
    maps: Maps,
    mean: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell which pairs show the same with the same brightness, all of it, in some orientation."""
    linear = maps[:, :, :2]
    turned = np.abs(linear - np.rint(linear)).max(axis=(1, 2)) < _MOVED
    centre = linear.sum(axis=2) / 2 + maps[:, :, 2]
    rows = np.flatnonzero(turned & (np.abs(centre - 0.5).max(axis=1) < _MOVED) & (mean > _EQUAL))
    values, inside = warp(pyramid.plain[SIDE], others[rows], maps[rows], SIDE)
    off = np.abs(values - pyramid.plain[SIDE][ends[rows]].reshape(len(rows), SIDE * SIDE)) * inside
    equal = np.zeros(len(ends), bool)
    equal[rows] = off.mean(axis=1) < _LEVELS
    return equal


def _keeps_shape(
    maps: Maps, own: NDArray[np.float64], other: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which maps turn and scale pictures of these proportions, and hardly shear them."""
    pixels = maps[:, :, :2].astype(np.float64)
    pixels[:, 0] *= other[:, None]
    pixels[:, :, 0] /= own[:, None]
    across, down = (np.linalg.norm(pixels[:, :, k], axis=1).clip(1e-9) for k in (0, 1))
    shear = np.abs((pixels[:, :, 0] * pixels[:, :, 1]).sum(axis=1)) / (across * down)
    stretch = np.maximum(across / down, down / across)
    fits: NDArray[np.bool_] = (shear < _SHEAR) & (stretch < _STRETCH)
    return fits


def _best(
    ends: NDArray[np.int64],
    others: NDArray[np.int64],
    mean: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return, of some rows, the best one of each pair, whichever picture comes first."""
    low, high = np.minimum(ends, others)[rows], np.maximum(ends, others)[rows]
    order = np.lexsort((-mean[rows], high, low))
    kept = np.ones(len(rows), bool)
    kept[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    best: NDArray[np.int64] = rows[order[kept]]
    return best


def _closer(
    pyramid: Pyramid,
    ends: NDArray[np.int64],
    others: NDArray[np.int64],
    maps: Maps,
    steps: tuple[int, int],
) -> tuple[Maps, Agreement]:
    maps = register(pyramid, 32, ends, others, maps, steps=steps[0])
    maps = register(pyramid, SIDE, ends, others, maps, steps=steps[1])
    return maps, agreement(pyramid, SIDE, ends, others, maps)


def agreement(
    pyramid: Pyramid,
    side: int,
    ends: NDArray[np.int64],
    others: NDArray[np.int64],
    maps: Maps,
) -> Agreement:
    """Measure how the parts of pictures agree with what lies there in the others.

    Parameters
    ----------
    pyramid : Pyramid
        The pictures.
    side : {32, 64}
        The size at which they are compared; those that are much smaller in the other are compared
        at 32.
    ends, others, maps
        As of :class:`Pairs`.

    Returns
    -------
    Agreement
    """
    m = len(ends)
    none = np.zeros(m, np.int64)
    found = Agreement(np.zeros(m), np.zeros(m), none.copy(), np.zeros(m), none)
    for rows, size in by_zoom(maps, side, _BLOCK):
        far = size == SIDE and zoom(maps[rows[:1]])[0] < 0.75
        own = 32 if far else side
        part = PART // 2 if own < side else PART
        target = pyramid.plain[own][ends[rows]].reshape(len(rows), -1)
        values, inside = warp(pyramid.plain[size], others[rows], maps[rows], own)
        corners = pyramid.corners[ends[rows]]
        if (own // part) ** 2 != corners.shape[1]:
            corners = np.zeros((len(rows), (own // part) ** 2), bool)
        measured = _compare(target, values, inside, part, corners)
        for all_, some in zip(found, measured, strict=True):
            all_[rows] = some
    return found


def in_parts(values: NDArray[np.generic], part: int) -> Floats:
    """Cut pictures (m, side * side) into parts, (m, number, part * part)."""
    m, side = len(values), round(values.shape[1] ** 0.5)
    count = side // part
    cut = values.reshape(m, count, part, count, part).swapaxes(2, 3)
    return cut.reshape(m, count * count, part * part).astype(np.float32)


def correlations(
    target: Floats, values: Floats, inside: NDArray[np.bool_], part: int
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the correlation of each part, whether it shows something, and whether it counts."""
    weights = in_parts(inside, part)
    number = weights.sum(axis=2)
    one, other = (
        (cut - (cut * weights).sum(axis=2, keepdims=True) / number.clip(1)[..., None]) * weights
        for cut in (in_parts(target, part), in_parts(values, part))
    )
    a, b = np.square(one).sum(axis=2), np.square(other).sum(axis=2)
    correlation: Floats = (one * other).sum(axis=2) / np.sqrt(a * b + 1e-6)
    held = number >= _HELD * part * part
    return correlation, held & (np.maximum(a, b) > _SHOWS * number), held


def _compare(
    target: Floats,
    values: Floats,
    inside: NDArray[np.bool_],
    part: int,
    corners: NDArray[np.bool_],
) -> Agreement:
    correlation, shows, held = correlations(target, values, inside, part)
    number = shows.sum(axis=1)
    return Agreement(
        (correlation * shows).sum(axis=1) / number.clip(1),
        ((correlation > _AGREE) & shows).sum(axis=1) / number.clip(1),
        number,
        held.mean(axis=1),
        ((correlation > _AGREE) & shows & corners).sum(axis=1),
    )
