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
from narrows.errors import LibraryError, ParameterError
from narrows.library.library import Library
from narrows.library.match import Match
from narrows.library.search import METRICS, ExactIndex, Metric

_NEIGHBOURS = 8  # looked at first; where all are within the threshold, twice as many
_QUERIES = 1024  # between two reports of progress
_SAMPLE = 2000  # random pairs that say how far apart two pictures usually are
_SAME = 1e-4  # of that: distances that rounding makes
_UNRELATED = 0.5  # of that: duplicates are nearer in any case
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
    """

    threshold: float
    groups: list[list[Match]]


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
        The largest distance between the codes of duplicates; "auto" takes that of
        :func:`suggest_threshold`.
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
    if not len(library):
        raise LibraryError(f"the library '{library.path}' is empty; add pictures to it first")
    codes = library._table.codes()
    labels, threshold = group(codes, threshold, metric=metric, progress=progress)
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
    return Duplicates(threshold, groups)


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
    if metric not in METRICS:
        raise ParameterError(f"metric={metric!r} is not known; use one of {', '.join(METRICS)}")
    if isinstance(threshold, bool) or not (
        (isinstance(threshold, Real) and 0 <= threshold < np.inf)
        or (isinstance(threshold, str) and threshold == "auto")
    ):
        raise ParameterError(
            f"threshold={threshold!r} is not allowed; give a number of at least 0, or 'auto'"
        )
    # Equal codes are one point, so that many copies do not make many neighbours.
    table = np.asarray(codes, np.float32) + np.float32(0)
    points, where, copies = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    where = where.reshape(-1)
    index = ExactIndex(points, metric)
    distances, rows = _neighbours(index, points, progress)
    if threshold == "auto":
        nearest = distances[:, 0] if distances.shape[1] else np.full(len(points), np.inf)
        threshold = suggest_threshold(
            np.where(copies > 1, 0, nearest)[where], _usual_distance(table, metric)
        )
    edges = _edges(index, points, distances, rows, threshold)
    graph = coo_array((np.ones(len(edges[0]), bool), edges), shape=(len(points),) * 2)
    component = connected_components(graph, directed=False)[1][where]
    _, first, component, sizes = np.unique(
        component, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.lexsort((first, -sizes))  # the largest first, then the one added earlier
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rank[sizes < 2] = -1
    return rank[component], float(threshold)


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


def _neighbours(
    index: ExactIndex, points: NDArray[np.float32], progress: Progress | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find each point's nearest others, (n, min(8, n - 1))."""
    k = min(_NEIGHBOURS, len(points) - 1)
    distances = np.empty((len(points), k), np.float32)
    rows = np.empty((len(points), k), np.int64)
    for start in range(0, len(points), _QUERIES):
        part = np.arange(start, min(start + _QUERIES, len(points)))
        distances[part], rows[part] = _others(index, points, part, k)
        if progress is not None:
            progress(int(part[-1]) + 1, len(points))
    return distances, rows


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
