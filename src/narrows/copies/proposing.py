"""Which pictures may be copies of one another, and how one might lie in the other.

A proposer is the place for other ways to find candidates, such as a trained encoder: what it
proposes is judged by pixels (:mod:`narrows.copies.judging`), so it need only miss little.
"""

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from narrows.copies.registering import Floats, Maps

_SIDE = 32  # pixels of a side of the pictures that codes are made from
_WAVES = 7  # frequencies in each direction; the highest has six half waves
_SHARP = 0.7  # the power of its frequency by which a wave is weighted
_EMPTY = 2.0  # contrast, in levels, below which a part of a picture has no code
_PARTS = ((1.0, 1), (0.8, 3), (0.62, 5))  # shares of a side, and how many intervals of that length
_MANY = 2000  # pictures above which parts are not of other proportions than the picture
_PAIRS, _WAYS = 6, 2  # the likeliest pictures for each picture, and the likeliest ways for each
_TURNED = 0.09  # radians by which the likeliest candidate is turned either way
_ROWS, _COLUMNS = 32, 512  # pictures compared at a time, and with how many
_UNSURE = 0.15  # differences of first waves below which a picture is compared both ways

_SIGNS = ((-1.0) ** np.arange(_WAVES)).astype(np.float32)


class Candidates(NamedTuple):
    """Pairs of pictures that may be copies.

    Attributes
    ----------
    ends, others : ndarray of int64 and shape (m,)
        The pictures of each pair; a pair may be there several times.
    maps : ndarray of float32 and shape (m, 2, 3)
        Where ``ends`` may lie in ``others``; see :mod:`narrows.copies.registering`.
    """

    ends: NDArray[np.int64]
    others: NDArray[np.int64]
    maps: Maps


class Proposer(Protocol):
    """Proposes candidates."""

    def propose(self, pictures: Floats) -> Candidates:
        """Propose candidates among grey pictures, (n, 32, 32), of levels from 0 to 255."""


@dataclass(frozen=True)
class LowFrequencies:
    """Proposes pictures whose low frequencies are like those of another one, or of a part of it.

    A code holds the waves of the discrete cosine transform of up to six half waves, without the
    mean, of unit length. All eight orientations of a picture are compared with all parts of the
    others, by matrix products; most orientations are spared by bringing every code to the one in
    which its first waves are positive and the horizontal one is the stronger.
    """

    def propose(self, pictures: Floats) -> Candidates:
        """Propose candidates among grey pictures, (n, 32, 32), of levels from 0 to 255."""
        n = len(pictures)
        boxes, codes = _codes(pictures, mixed=n <= _MANY)
        ways = len(boxes)
        turned = _canonical(codes.reshape(-1, _WAVES, _WAVES))
        stored = _oriented(codes.reshape(-1, _WAVES, _WAVES), turned).reshape(n * ways, -1)
        used = np.flatnonzero(_weights().ravel())
        stored = np.ascontiguousarray(stored[:, used])
        ends, orientations, queries = _queries(codes[:, 0])
        queries = queries.reshape(len(queries), -1)[:, used]
        picked = _Picked(n, ways)
        for start in range(0, n, _ROWS):
            here = np.flatnonzero((ends >= start) & (ends < start + _ROWS))
            picked.search(queries[here], ends[here], here, stored)
        query, other, way = picked.found()
        ends, asked = ends[query], orientations[query]
        maps = _maps(asked, turned[other * ways + way], boxes[way])
        return _with_turned(Candidates(ends, other, maps))


class _Picked:
    """The likeliest others of each picture."""

    def __init__(self, n: int, ways: int) -> None:
        self._n, self._ways = n, ways
        self._kept: list[tuple[NDArray[np.int64], ...]] = []

    def search(
        self, queries: Floats, ends: NDArray[np.int64], numbers: NDArray[np.int64], stored: Floats
    ) -> None:
        """Compare a few pictures, each in one or more orientations, with all parts of all."""
        best: list[Floats] = []
        for first in range(0, self._n, _COLUMNS):
            part = stored[first * self._ways : (first + _COLUMNS) * self._ways]
            best.append((queries @ part.T).reshape(len(queries), -1, self._ways).max(axis=2))
        likeness = np.concatenate(best, axis=1)
        likeness[np.arange(len(ends)), ends] = -1
        for end in np.unique(ends):
            rows = np.flatnonzero(ends == end)
            top = likeness[rows].max(axis=0)
            count = min(_PAIRS, self._n - 1)
            others = np.argpartition(-top, count - 1)[:count]
            others = others[np.argsort(-top[others], kind="stable")]
            parts = stored.reshape(self._n, self._ways, -1)[others]
            close = np.einsum("qf,owf->oqw", queries[rows], parts).reshape(len(others), -1)
            ways = np.argsort(-close, axis=1, kind="stable")[:, :_WAYS]
            row, way = np.divmod(ways, self._ways)
            kept = np.repeat(others, ways.shape[1]), way.ravel()
            self._kept.append((numbers[rows][row.ravel()], *kept))

    def found(self) -> tuple[NDArray[np.int64], ...]:
        """Return the numbers of queries, pictures and parts, the likeliest first for each."""
        if not self._kept:
            return (np.empty(0, np.int64),) * 3
        return tuple(np.concatenate(one) for one in zip(*self._kept, strict=True))


def _weights() -> Floats:
    waves = np.arange(_WAVES)
    frequency = np.hypot(waves[:, None], waves)
    weights = np.where(frequency > 0, frequency.clip(1) ** _SHARP, 0)
    weights[frequency > _WAVES - 0.5] = 0
    return np.asarray(weights, np.float32)


def _waves(start: float, end: float) -> Floats:
    """Return waves over a part of a side, (waves, 32), by how much of it each pixel covers."""
    edges = np.arange(_SIDE + 1) / _SIDE
    low, high = edges[:-1].clip(start, end), edges[1:].clip(start, end)
    place = ((low + high) / 2 - start) / (end - start)
    waves = np.cos(np.pi * np.arange(_WAVES)[:, None] * place) * (high - low) / (end - start)
    return np.asarray(waves, np.float32)


def _codes(pictures: Floats, *, mixed: bool) -> tuple[NDArray[np.float64], Floats]:
    """Return the parts (w, 4), left, top, width and height, and their codes, (n, w, F, F).

    The whole picture is the first part.
    """
    spans = [
        (float(start), share)
        for share, count in _PARTS
        for start in np.linspace(0, 1 - share, count)
    ]
    waves = np.concatenate([_waves(start, start + share) for start, share in spans])
    pairs = [
        (down, across)
        for down, across in product(range(len(spans)), repeat=2)
        if mixed or spans[down][1] == spans[across][1]
    ]
    down, across = np.array(pairs).T
    starts, shares = np.array(spans).T
    boxes = np.column_stack([starts[across], starts[down], shares[across], shares[down]])
    n = len(pictures)
    codes = np.empty((n, len(pairs), _WAVES, _WAVES), np.float32)
    for start in range(0, n, _COLUMNS):
        made = waves @ pictures[start : start + _COLUMNS] @ waves.T
        made = made.reshape(-1, len(spans), _WAVES, len(spans), _WAVES).transpose(0, 1, 3, 2, 4)
        some = made[:, down, across] * _weights()
        length = np.sqrt(np.square(some).sum(axis=(2, 3), keepdims=True))
        codes[start : start + _COLUMNS] = np.where(length > _EMPTY, some / length.clip(1e-6), 0)
    return boxes, codes


def _oriented(codes: Floats, orientations: NDArray[np.int64]) -> Floats:
    """Turn codes: by 1 mirrored left to right, by 2 top to bottom, then by 4 across the diagonal.

    Each has an orientation of its own.
    """
    across = np.where((orientations & 1)[:, None, None] > 0, _SIGNS, np.float32(1))
    down = np.where((orientations & 2)[:, None, None] > 0, _SIGNS[:, None], np.float32(1))
    made = codes * across * down
    other = (orientations & 4) > 0
    made[other] = made[other].swapaxes(1, 2)
    return np.asarray(made, np.float32)


def _canonical(codes: Floats) -> NDArray[np.int64]:
    """Return the orientation of each code in which its first waves are positive and ordered."""
    across, down = codes[:, 0, 1], codes[:, 1, 0]
    signs = (across < 0) + 2 * (down < 0)
    return np.asarray(signs + 4 * (np.abs(down) > np.abs(across)), np.int64)


def _queries(codes: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the number, the orientation and the code of each query.

    Where a first wave is weak, or both are as strong, a copy may be ordered otherwise: the picture
    is asked for both ways.
    """
    base = _canonical(codes)
    across, down = np.abs(codes[:, 0, 1]), np.abs(codes[:, 1, 0])
    doubt = np.column_stack(
        [across < _UNSURE, down < _UNSURE, np.abs(across - down) < _UNSURE]
    ) @ np.array([1, 2, 4])
    ends, orientations = [], []
    for flips in range(8):
        rows = np.flatnonzero((doubt & flips) == flips)
        ends.append(rows)
        orientations.append(base[rows] ^ flips)
    end, orientation = np.concatenate(ends), np.concatenate(orientations)
    order = np.argsort(end, kind="stable")
    end, orientation = end[order], orientation[order]
    return end, orientation, _oriented(codes[end], orientation)


def _turning(orientations: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return where the pixels of turned pictures lie in the pictures themselves, (m, 3, 3)."""
    maps = np.tile(np.eye(3), (len(orientations), 1, 1))
    diagonal = (orientations & 4) > 0
    maps[diagonal] = maps[diagonal][:, [1, 0, 2]]
    for bit, row in ((1, 0), (2, 1)):
        flipped = (orientations & bit) > 0
        maps[flipped, row] *= -1
        maps[flipped, row, 2] += 1
    return maps


def _maps(asked: NDArray[np.int64], stored: NDArray[np.int64], boxes: NDArray[np.float64]) -> Maps:
    """Return the map from a picture to another, of which a part is the same but for orientation."""
    part = np.zeros((len(boxes), 3, 3))
    part[:, 0, 0], part[:, 1, 1], part[:, 2, 2] = boxes[:, 2], boxes[:, 3], 1
    part[:, 0, 2], part[:, 1, 2] = boxes[:, 0], boxes[:, 1]
    made = part @ _turning(stored) @ np.linalg.inv(_turning(asked))
    return made[:, :2].astype(np.float32)


def _with_turned(found: Candidates) -> Candidates:
    """Add the likeliest candidate of each picture, turned a little either way."""
    _, first = np.unique(found.ends, return_index=True)
    ends, others, maps = [found.ends], [found.others], [found.maps]
    for angle in (_TURNED, -_TURNED):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s, (1 - c + s) / 2], [s, c, (1 - s - c) / 2], [0, 0, 1]])
        made = maps[0][first, :, :2] @ turn[:2]
        made[:, :, 2] += maps[0][first, :, 2]
        ends.append(ends[0][first])
        others.append(others[0][first])
        maps.append(made.astype(np.float32))
    return Candidates(np.concatenate(ends), np.concatenate(others), np.concatenate(maps))
