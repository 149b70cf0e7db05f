"""Near-identical pictures: groups of codes that lie closer together than pictures usually do."""

from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from narrows.data.images import Progress
from narrows.errors import ParameterError
from narrows.library.library import Library
from narrows.library.likeness import confirm
from narrows.library.match import Match
from narrows.library.pictures import StoredPictures
from narrows.library.search import ExactIndex, Metric, check_metric

_NEIGHBOURS = 8  # looked at first; where all are within the threshold, twice as many
_QUERIES = 1024  # between two reports of progress
_SAMPLE = 2000  # random pairs that say how far apart two pictures usually are
_SAME = 1e-4  # of that: distances that rounding makes
_UNRELATED = 0.5  # of that: duplicates are nearer in any case
_DOUBTFUL = 4  # nearest neighbours whose pixels decide where their codes do not
_JUDGED = 500  # pictures whose farther neighbours say how alike others are
_RATIO = 2.0  # how much farther the far side of the gap must lie than its near side


@dataclass(frozen=True)
class Duplicates:
    """Groups of near-identical pictures.

    Attributes
    ----------
    threshold : float
        Pictures whose codes are at most this far apart are in one group.
    groups : list of list of Match
        The largest group first. In each the pictures in the order of their ids; ``distance`` is
        to the first, whose own is 0.
    confirmed : int
        How many pairs are in one group although their codes are farther apart: their pixels are
        those of one picture.
    """

    threshold: float
    groups: list[list[Match]]
    confirmed: int = 0


def find(
    library: Library,
    threshold: float | Literal["auto"] = "auto",
    *,
    metric: Metric = "euclidean",
    progress: Progress | None = None,
) -> Duplicates:
    """Group the near-identical pictures of a library, and change nothing.

    Parameters
    ----------
    library : Library
        With pictures in it.
    threshold : float or "auto", default="auto"
        The largest distance between the codes of duplicates. "auto" takes that of
        :func:`suggest_threshold`, and beyond it looks at the pixels of each picture and the
        nearest four others: versions of one picture are those that differ, but for a thirtieth of
        their variance, in brightness, in contrast, and by being moved or cropped a little
        (:func:`narrows.library.likeness.unexplained`). Where pictures of the library are more
        alike than that anyway, as digits are, less has to be left.
    metric : {"euclidean", "cosine"}, default="euclidean"
        The distance between codes.
    progress : callable, optional
        Called with the number of pictures done and the number of all.

    Returns
    -------
    Duplicates

    Raises
    ------
    LibraryError
        If the library is empty.
    ParameterError
        If the threshold or the metric is not allowed.

    Notes
    -----
    A group is a connected component: a picture is in it if it is near to any other, so the ends
    of a chain of small changes may be farther apart than the threshold.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from narrows import Autoencoder, Library
    >>> X = np.random.default_rng(0).random((100, 8, 8), dtype=np.float32)
    >>> model = Autoencoder(4, max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     library, _ = Library.build(f"{folder}/pictures.lance", [*X, X[7] + 1e-5], model=model)
    ...     [[match.id for match in group] for group in find(library).groups]
    [[7, 100]]
    """
    library._check_filled()
    _check(threshold, metric)
    codes = library._table.codes()
    near = _look(codes, metric, progress)
    confirmed = np.empty((0, 2), np.int64)
    if threshold == "auto":
        threshold = near.suggest()
        confirmed = _confirmed(near, library._pictures, threshold)
    labels = _labels(near, threshold, confirmed)
    groups = []
    if (labels >= 0).any():
        members = np.flatnonzero(labels >= 0)
        members = members[np.argsort(labels[members], kind="stable")]
        firsts = members[np.searchsorted(labels[members], labels[members])]
        distances = _between(codes[members], codes[firsts], metric)
        found = library._matches([(distances, members)])[0]
        edges = np.flatnonzero(np.diff(labels[members])) + 1
        bounds = [0, *edges.tolist(), len(members)]
        groups = [found[a:b] for a, b in pairwise(bounds)]
    return Duplicates(float(threshold), groups, len(confirmed))


def group(
    codes: ArrayLike,
    threshold: float | Literal["auto"] = "auto",
    *,
    metric: Metric = "euclidean",
    progress: Progress | None = None,
) -> tuple[NDArray[np.int64], float]:
    """Group codes that are near to one another.

    Parameters
    ----------
    codes : array-like of shape (n, K)
        Of all pictures.
    threshold, metric, progress
        As for :func:`find`.

    Returns
    -------
    labels : ndarray of int64 and shape (n,)
        The group's number, from 0 for the largest; -1 where nothing else is near.
    threshold : float
        The one used.

    Raises
    ------
    ParameterError
        If the threshold or the metric is not allowed.

    Examples
    --------
    >>> group([[0.0], [0.1], [5.0], [5.1], [9.0], [5.2]], threshold=0.15)
    (array([ 1,  1,  0,  0, -1,  0]), 0.15)
    """
    _check(threshold, metric)
    near = _look(codes, metric, progress)
    if threshold == "auto":
        threshold = near.suggest()
    return _labels(near, threshold), float(threshold)


def suggest_threshold(nearest: ArrayLike, usual: float) -> float:
    """Suggest how near to each other duplicates are, from the data's own distances.

    Duplicates' distances to their nearest neighbour are small, those of all other pictures are
    not, and in between there is a gap. The rule: of all gaps between successive distances whose
    middle is below half of the usual distance of two pictures, and whose far side is at least
    twice as far as its near side, the widest counts, and the threshold is its middle. Without
    such a gap only what differs by rounding, by a ten thousandth of the usual distance, is taken
    for the same.

    Parameters
    ----------
    nearest : array-like of shape (n,)
        The distance of each picture to the nearest other.
    usual : float
        The median distance between two pictures.

    Returns
    -------
    float

    Examples
    --------
    >>> suggest_threshold([0.0, 0.0, 0.25, 0.25, 0.75, 0.8, 0.9], usual=2.0)
    0.5
    >>> suggest_threshold([0.6, 0.7, 0.7, 0.8, 0.9], usual=2.0)
    0.0002
    """
    floor = _SAME * usual
    distances = np.sort(np.asarray(nearest, np.float64))
    near, far = distances[:-1], distances[1:]
    middle = (near + far) / 2
    allowed = (middle <= _UNRELATED * usual) & (far >= _RATIO * near) & (far > floor)
    if not allowed.any():
        return floor
    widest = np.argmax(np.where(allowed, far - near, -np.inf))
    return float(max(floor, middle[widest]))


@dataclass(frozen=True)
class _Near:
    """What is near to what: equal codes are one point, lest many copies make many neighbours."""

    points: NDArray[np.float32]  # (m, K)
    where: NDArray[np.int64]  # (n,): the point of each code
    first: NDArray[np.int64]  # (m,): a code of each point
    copies: NDArray[np.int64]  # (m,)
    index: ExactIndex
    distances: NDArray[np.float32]  # (m, min(8, m - 1)), of each point's nearest others
    rows: NDArray[np.int64]  # the same shape: which those are
    usual: float

    def suggest(self) -> float:
        if not self.distances.shape[1]:
            return suggest_threshold(np.where(self.copies > 1, 0, np.inf)[self.where], self.usual)
        nearest = np.where(self.copies > 1, 0, self.distances[:, 0])
        return suggest_threshold(nearest[self.where], self.usual)


def _check(threshold: object, metric: str) -> None:
    check_metric(metric)
    if isinstance(threshold, bool) or not (
        (isinstance(threshold, Real) and 0 <= float(threshold) < np.inf)
        or (isinstance(threshold, str) and threshold == "auto")
    ):
        raise ParameterError(
            f"threshold={threshold!r} is not allowed; give a number of at least 0, or 'auto'"
        )


def _look(codes: ArrayLike, metric: Metric, progress: Progress | None) -> _Near:
    """Find each point's nearest others."""
    table = np.asarray(codes, np.float32) + np.float32(0)
    points, first, where, copies = np.unique(
        table, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    index = ExactIndex(points, metric)
    k = min(_NEIGHBOURS, len(points) - 1)
    distances = np.empty((len(points), k), np.float32)
    rows = np.empty((len(points), k), np.int64)
    for start in range(0, len(points), _QUERIES):
        part = np.arange(start, min(start + _QUERIES, len(points)))
        distances[part], rows[part] = _others(index, points, part, k)
        if progress is not None:
            progress(int(part[-1]) + 1, len(points))
    usual = _usual_distance(table, metric)
    return _Near(points, where.reshape(-1), first, copies, index, distances, rows, usual)


def _confirmed(near: _Near, pictures: StoredPictures, threshold: float) -> NDArray[np.int64]:
    """Return the pairs of pictures, (n, 2), farther apart than this, whose pixels are the same."""
    count = len(near.points)
    doubtful = (near.distances > threshold) & (near.distances <= _UNRELATED * near.usual)
    doubtful[:, _DOUBTFUL:] = False
    pairs = np.column_stack([np.nonzero(doubtful)[0], near.rows[doubtful]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    judged = np.random.default_rng(0).permutation(count)[:_JUDGED]
    _, farther = _others(near.index, near.points, judged, min(2 * _NEIGHBOURS, count - 1))
    farther = farther[:, _NEIGHBOURS:]
    others = np.column_stack([np.repeat(judged, farther.shape[1]), farther.reshape(-1)])
    pairs = near.first[pairs]
    found: NDArray[np.int64] = pairs[confirm(pictures, pairs, near.first[others])]
    return found


def _labels(
    near: _Near, threshold: float, confirmed: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Give the group's number to each code, from 0 for the largest; -1 to those alone."""
    ends, others = _edges(near.index, near.points, near.distances, near.rows, threshold)
    if confirmed is not None:
        ends = np.concatenate([ends, near.where[confirmed[:, 0]]])
        others = np.concatenate([others, near.where[confirmed[:, 1]]])
    graph = coo_array((np.ones(len(ends), bool), (ends, others)), shape=(len(near.points),) * 2)
    component = connected_components(graph, directed=False)[1][near.where]
    _, first, component, sizes = np.unique(
        component, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))  # the largest first, then the one added earlier
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rank[sizes < 2] = -1
    labels: NDArray[np.int64] = rank[component]
    return labels


def _others(
    index: ExactIndex, points: NDArray[np.float32], queries: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k nearest of each query, which is one of the points, without itself."""
    distances, rows = index.search(points[queries], k + 1)
    own = rows == queries[:, None]
    own[~own.any(axis=1), -1] = True  # under many at distance zero: any of them goes
    shape = (len(queries), k)
    return distances[~own].reshape(shape), rows[~own].reshape(shape)


def _edges(
    index: ExactIndex,
    points: NDArray[np.float32],
    distances: NDArray[np.float32],
    rows: NDArray[np.int64],
    threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give all pairs of points within the threshold."""
    queries = np.arange(len(points))
    ends: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    others: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    k = distances.shape[1]
    while k and len(queries):
        near = distances <= threshold
        ends.append(np.repeat(queries, near.sum(axis=1)))
        others.append(rows[near])
        if k == len(points) - 1:
            break
        queries = queries[near.all(axis=1)]
        k = min(2 * k, len(points) - 1)
        blocks: list[Any] = [
            _others(index, points, queries[start : start + _QUERIES], k)
            for start in range(0, len(queries), _QUERIES)
        ]
        if blocks:
            distances, rows = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return np.concatenate(ends), np.concatenate(others)


def _usual_distance(codes: NDArray[np.float32], metric: Metric) -> float:
    """Return the median distance of random pairs, always the same ones."""
    if len(codes) < 2:
        return 0.0
    random = np.random.default_rng(0)
    one = random.integers(0, len(codes), _SAMPLE)
    other = (one + random.integers(1, len(codes), _SAMPLE)) % len(codes)
    return float(np.median(_between(codes[one], codes[other], metric)))


def _between(
    one: NDArray[np.float32], other: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """Return the distance between each row and its partner, (n,)."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    if metric == "cosine":
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-300) for x in (a, b))
        distances: NDArray[Any] = (1 - (a * b).sum(axis=1)).clip(0)
    else:
        distances = np.linalg.norm(a - b, axis=1)
    return distances.astype(np.float32)
