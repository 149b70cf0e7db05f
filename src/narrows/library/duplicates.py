"""Groups of near-identical pictures, found by their codes and pixels, and a page that shows them.

Codes that lie closer together than pictures usually do are in one group. But a code moves with a
picture's brightness as much as with what the picture shows, so pixels decide about the nearest
others. Of two versions of one picture, the pixels of one are those of the other times a contrast,
plus a brightness, and moved a little where one was cropped: a linear model (Lucas & Kanade 1981, An
Iterative Image Registration Technique with an Application to Stereo Vision, eq. 9 with a contrast),
of which regression says how much of the picture it leaves unexplained.

Paths in a library may hold any text: they are escaped on the page, which also forbids the browser
to run or to load anything.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from narrows.data.decoding import Progress
from narrows.errors import NarrowsError, ParameterError
from narrows.library.exact import ExactIndex, Nearest, check_metric, without_own
from narrows.library.library import Library
from narrows.library.pictures import StoredPictures
from narrows.library.search import Match
from narrows.networks import Metric
from narrows.pages import SIDE, as_image, template
from narrows.texts import is_word

_Pairs = NDArray[np.int64]  # (n, 2)

_NEIGHBOURS = 8  # searched first; where all are within the threshold, twice as many
_QUERIES = 1024  # queries between two reports of progress
_SAMPLE = 2000  # random pairs whose median distance is the usual one
_SAME = 1e-4  # distances that rounding makes, in usual distances
_UNRELATED = 0.5  # duplicates are nearer in any case, in usual distances
_DOUBTFUL = 4  # nearest neighbours whose pixels decide where their codes do not
_JUDGED = 500  # pictures whose farther neighbours show how alike others are
_RATIO = 2.0  # how much farther the far side of the gap must lie than its near side
_SIDE = 32  # pixels of a side that are compared: so few that what was moved stays in its place
_LEAST = 6  # pixels of a side below which a model of five numbers explains anything
_BLUR = 0.7  # pixels: the model holds where brightness changes slowly
_CONTRAST = 2.0  # the largest factor of contrast, either way
_MOVED, _ZOOMED = 0.03, 0.06  # the largest move and zoom, of the side and of the size
_ROWS = 16384  # pictures in memory at a time
_COMPARED = 1024  # pairs at a time
_MOST = 0.03  # unexplained variance of versions of one picture,
_TENTH, _LOWEST = 0.1, 0.01  # at most a tenth of what the lowest hundredth of other pictures have
_SHOWN = 60  # pictures of one group on the page; the others are counted


@dataclass(frozen=True)
class Duplicates:
    """Groups of near-identical pictures.

    Attributes
    ----------
    threshold : float
        Pictures whose codes are at most this far apart are in one group.
    groups : list of list of Match
        The groups, the largest first, with pictures in the order of their ids; ``distance`` is to
        the first of the group, whose own is 0.
    confirmed : int
        The number of pairs in one group whose codes are farther apart: their pixels are those of
        one picture.
    """

    threshold: float
    groups: list[list[Match]]
    confirmed: int = 0


def find(
    library: Library,
    threshold: float | Literal["auto"] = "auto",
    *,
    metric: Metric | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Group the near-identical pictures of a library, and change nothing.

    Parameters
    ----------
    library : Library
        With pictures in it.
    threshold : float or "auto", default="auto"
        The largest distance between the codes of duplicates. "auto" takes that of
        :func:`suggest_threshold`, and beyond it compares the pixels of each picture and the nearest
        four others: versions of one picture differ, but for a thirtieth of their variance, in
        brightness, in contrast, and by being moved or cropped a little
        (:func:`unexplained_variance`). Where pictures of the library are more alike than that
        anyway, as digits are, the variance left has to be smaller.
    metric : {"euclidean", "cosine"}, default=None
        The distance between codes; by default :attr:`narrows.Library.metric`.
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
    A group is a connected component: a picture is in it if it is near to any other one, so the
    ends of a chain of small changes may be farther apart than the threshold.

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
    metric = library.metric if metric is None else metric
    _check_given(threshold, metric)
    codes = library._table.codes
    near = _Neighbours.of(codes, metric, progress)
    confirmed = np.empty((0, 2), np.int64)
    if threshold == "auto":
        threshold = near.suggest()
        confirmed = near.confirmed(library._pictures, threshold)
    labels = near.labels(threshold, confirmed)
    groups = []
    if (labels >= 0).any():
        members = np.flatnonzero(labels >= 0)
        members = members[np.argsort(labels[members], kind="stable")]
        firsts = members[np.searchsorted(labels[members], labels[members])]
        distances = _between(codes[members], codes[firsts], metric)
        matches = library._matches([(distances, members)], library._pictures)[0]
        edges = np.flatnonzero(np.diff(labels[members])) + 1
        bounds = [0, *edges.tolist(), len(members)]
        groups = [matches[a:b] for a, b in pairwise(bounds)]
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
        The codes of all pictures.
    threshold, progress
        As for :func:`find`.
    metric : {"euclidean", "cosine"}, default="euclidean"
        The distance between codes.

    Returns
    -------
    labels : ndarray of int64 and shape (n,)
        The group's number, from 0 for the largest; -1 where no other code is near.
    threshold : float
        The threshold that was used.

    Raises
    ------
    ParameterError
        If the threshold or the metric is not allowed.

    Examples
    --------
    >>> group([[0.0], [0.1], [5.0], [5.1], [9.0], [5.2]], threshold=0.15)
    (array([ 1,  1,  0,  0, -1,  0]), 0.15)
    """
    _check_given(threshold, metric)
    near = _Neighbours.of(codes, metric, progress)
    if threshold == "auto":
        threshold = near.suggest()
    return near.labels(threshold), float(threshold)


def suggest_threshold(nearest: ArrayLike, usual: float) -> float:
    """Suggest how near to each other duplicates are, from the data's own distances.

    Duplicates' distances to their nearest neighbour are small, those of all other pictures are
    large, and in between there is a gap. The rule: of all gaps between successive distances whose
    middle is below half of the usual distance of two pictures, and whose far side is at least
    twice as far as its near side, the widest counts, and the threshold is its middle. Without
    such a gap, only pictures that differ by rounding, by a ten thousandth of the usual distance,
    count as the same.

    Parameters
    ----------
    nearest : array-like of shape (n,)
        The distance of each picture to the nearest other one.
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
class _Neighbours:
    """The nearest neighbours of codes; equal codes are one point, however many copies there are.

    Attributes
    ----------
    points : ndarray of float32 and shape (m, K)
        The different codes.
    where : ndarray of int64 and shape (n,)
        The point of each code.
    first : ndarray of int64 and shape (m,)
        The first code of each point.
    copies : ndarray of int64 and shape (m,)
        The number of codes of each point.
    index : ExactIndex
        An index of the points.
    distances, rows : ndarray of shape (m, min(8, m - 1))
        The distances of each point's nearest neighbours, and which these are.
    usual : float
        The median distance between two codes.
    """

    points: NDArray[np.float32]
    where: NDArray[np.int64]
    first: NDArray[np.int64]
    copies: NDArray[np.int64]
    index: ExactIndex
    distances: NDArray[np.float32]
    rows: NDArray[np.int64]
    usual: float

    @classmethod
    def of(cls, codes: ArrayLike, metric: Metric, progress: Progress | None) -> Self:
        """Find the nearest neighbours of each point."""
        table = np.asarray(codes, np.float32) + np.float32(0)
        points, first, where, copies = np.unique(
            table, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        k = min(_NEIGHBOURS, len(points) - 1)
        distances = np.empty((len(points), k), np.float32)
        rows = np.empty((len(points), k), np.int64)
        index, usual = ExactIndex(points, metric), _usual_distance(table, metric)
        near = cls(points, where.reshape(-1), first, copies, index, distances, rows, usual)
        for start in range(0, len(points), _QUERIES):
            part = np.arange(start, min(start + _QUERIES, len(points)))
            distances[part], rows[part] = near.others(part, k)
            if progress is not None:
                progress(int(part[-1]) + 1, len(points))
        return near

    def others(self, queries: NDArray[np.int64], k: int) -> Nearest:
        """Find the k nearest neighbours of some points."""
        return without_own(*self.index.search(self.points[queries], k + 1), queries)

    def suggest(self) -> float:
        """Suggest a threshold."""
        nearest = self.distances[:, 0] if self.distances.shape[1] else np.inf
        return suggest_threshold(np.where(self.copies > 1, 0, nearest)[self.where], self.usual)

    def confirmed(self, pictures: StoredPictures, threshold: float) -> _Pairs:
        """Return the pairs of pictures farther apart than a threshold whose pixels are the same."""
        count = len(self.points)
        doubtful = (self.distances > threshold) & (self.distances <= _UNRELATED * self.usual)
        doubtful[:, _DOUBTFUL:] = False
        pairs = np.column_stack([np.nonzero(doubtful)[0], self.rows[doubtful]])
        pairs = np.unique(np.sort(pairs, axis=1), axis=0)
        judged = np.random.default_rng(0).permutation(count)[:_JUDGED]
        _, farther = self.others(judged, min(2 * _NEIGHBOURS, count - 1))
        farther = farther[:, _NEIGHBOURS:]
        others = np.column_stack([np.repeat(judged, farther.shape[1]), farther.reshape(-1)])
        pairs = self.first[pairs]
        same: _Pairs = pairs[_are_versions(pictures, pairs, self.first[others])]
        return same

    def labels(self, threshold: float, confirmed: _Pairs | None = None) -> NDArray[np.int64]:
        """Return the group's number of each code, from 0 for the largest; -1 for those alone."""
        ends, others = self._edges(threshold)
        if confirmed is not None:
            ends = np.concatenate([ends, self.where[confirmed[:, 0]]])
            others = np.concatenate([others, self.where[confirmed[:, 1]]])
        graph = coo_array((np.ones(len(ends), bool), (ends, others)), (len(self.points),) * 2)
        component = connected_components(graph, directed=False)[1][self.where]
        _, first, component, sizes = np.unique(
            component, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.lexsort((first, -sizes))  # the largest first, then the one added earlier
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        rank[sizes < 2] = -1
        labels: NDArray[np.int64] = rank[component]
        return labels

    def _edges(self, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return all pairs of points within a threshold."""
        distances, rows, count = self.distances, self.rows, len(self.points)
        queries = np.arange(count)
        ends: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        others: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        k = distances.shape[1]
        while k and len(queries):
            near = distances <= threshold
            ends.append(np.repeat(queries, near.sum(axis=1)))
            others.append(rows[near])
            if k == count - 1:
                break
            queries = queries[near.all(axis=1)]
            k = min(2 * k, count - 1)
            blocks: list[Any] = [
                self.others(queries[start : start + _QUERIES], k)
                for start in range(0, len(queries), _QUERIES)
            ]
            if blocks:
                distances, rows = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return np.concatenate(ends), np.concatenate(others)


def _check_given(threshold: object, metric: str) -> None:
    check_metric(metric)
    if isinstance(threshold, bool) or not (
        (isinstance(threshold, Real) and 0 <= float(threshold) < np.inf)
        or is_word(threshold, "auto")
    ):
        raise ParameterError(
            f"threshold={threshold!r} is not allowed; give a number of at least 0, or 'auto'"
        )


def _usual_distance(codes: NDArray[np.float32], metric: Metric) -> float:
    """Return the median distance of random pairs, always the same ones."""
    if len(codes) < 2:
        return 0.0
    random = np.random.default_rng(0)
    some = random.integers(0, len(codes), _SAMPLE)
    others = (some + random.integers(1, len(codes), _SAMPLE)) % len(codes)
    return float(np.median(_between(codes[some], codes[others], metric)))


def _between(
    some: NDArray[np.float32], others: NDArray[np.float32], metric: Metric
) -> NDArray[np.float32]:
    """Return the distances between codes and as many others, (n,)."""
    a, b = some.astype(np.float64), others.astype(np.float64)
    if metric == "cosine":
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-300) for x in (a, b))
        distances: NDArray[Any] = (1 - (a * b).sum(axis=1)).clip(0)
    else:
        distances = np.linalg.norm(a - b, axis=1)
    return distances.astype(np.float32)


def _are_versions(pictures: StoredPictures, pairs: _Pairs, others: _Pairs) -> NDArray[np.bool_]:
    """Tell which pairs of pictures are versions of one picture.

    Parameters
    ----------
    pictures : StoredPictures
        The pictures of the library.
    pairs : ndarray of int64 and shape (n, 2)
        Rows of pictures that may be versions of one.
    others : ndarray of int64 and shape (m, 2)
        Rows of pictures that are near, but hardly versions of one: they show how alike different
        pictures of the library are.

    Returns
    -------
    ndarray of bool and shape (n,)
        False also where a picture cannot be read, and where rows are no pictures.
    """
    spec = pictures.encoder.spec
    if not len(pairs) or not spec.shows_pictures or min(spec.sample_shape[:2]) < _LEAST:
        return np.zeros(len(pairs), bool)
    left = _unexplained_of(pictures, others)
    limit = min(_MOST, _TENTH * np.quantile(left, _LOWEST)) if len(left) else _MOST
    same: NDArray[np.bool_] = _unexplained_of(pictures, pairs) <= limit
    return same


def unexplained_variance(
    some: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Measure how much of pictures others, brightened, moved or zoomed a little, do not explain.

    Parameters
    ----------
    some, others : ndarray of shape (n, height, width)
        Pictures whose brightness changes slowly from pixel to pixel.

    Returns
    -------
    ndarray of float64 and shape (n,)
        The share of the variance of ``some``, from 0 to 1; 1 where contrast or place would differ
        by more than a little.

    Examples
    --------
    >>> x = np.linspace(0, 3, 16)
    >>> wave, moved = np.sin(x + x[:, None])[None], np.sin(x + x[:, None] + 0.05)[None]
    >>> bool(unexplained_variance(wave, 1.3 * moved + 0.2)[0] < 1e-3)
    True
    >>> float(unexplained_variance(wave, -wave)[0])
    1.0
    """
    count, height, width = some.shape
    down, across = np.gradient(others.astype(np.float64), axis=(1, 2))
    y = np.linspace(-0.5, 0.5, height)[:, None] * height
    x = np.linspace(-0.5, 0.5, width) * width
    terms = np.stack([others, across, down, x * across, y * down], axis=1).reshape(count, 5, -1)
    terms -= terms.mean(axis=2, keepdims=True)
    target = some.reshape(count, -1, 1).astype(np.float64)
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


def _unexplained_of(pictures: StoredPictures, pairs: _Pairs) -> NDArray[np.float64]:
    """Measure the unexplained variance of each pair, the larger one of both directions."""
    left = np.ones(len(pairs))
    for start in range(0, len(pairs), _ROWS // 2):
        block = pairs[start : start + _ROWS // 2]
        rows, places = np.unique(block, return_inverse=True)
        small, readable = _read_small(pictures, rows)
        places = places.reshape(-1, 2)
        for first in range(0, len(block), _COMPARED):
            a, b = places[first : first + _COMPARED].T
            worst = np.maximum(
                unexplained_variance(small[a], small[b]), unexplained_variance(small[b], small[a])
            )
            at = slice(start + first, start + first + len(a))
            left[at] = np.where(readable[a] & readable[b], worst, 1.0)
    return left


def _read_small(
    pictures: StoredPictures, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read pictures, grey and small, (n, height, width), and which of them can be read."""
    blank = np.zeros((1, *pictures.encoder.sample_shape_), np.float32)
    small: list[NDArray[np.float32]] = []
    readable = np.ones(len(rows), bool)
    for start in range(0, len(rows), _COMPARED):
        block = rows[start : start + _COMPARED]
        try:
            small.append(_shrink(pictures.read(block)))
        except NarrowsError:  # a file that is referred to may be missing: the others count
            for place in range(start, start + len(block)):
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


def duplicates_page(found: Duplicates, *, name: str, count: int) -> Iterator[str]:
    """Write groups of near-identical pictures as a page of HTML, piece by piece.

    Parameters
    ----------
    found : Duplicates
        The groups.
    name : str
        The name of the library.
    count : int
        The number of its pictures.

    Yields
    ------
    str
        Pieces of HTML.

    Examples
    --------
    >>> page = "".join(duplicates_page(Duplicates(0.5, []), name="<holidays>", count=7))
    >>> "<h1>Near-identical pictures in &lt;holidays&gt;</h1>" in page
    True
    """
    yield from template("library", "duplicates.html", image=_image).generate(
        found=found,
        n_pictures=sum(map(len, found.groups)),
        name=name,
        count=count,
        shown=_SHOWN,
    )


def _image(match: Match) -> tuple[str, str] | None:
    with suppress(NarrowsError):
        return as_image(match.preview(SIDE))
    with suppress(NarrowsError):  # its file is missing
        return as_image(match.thumbnail)
    return None
