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

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import pairwise
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from narrows.data.decoding import Progress
from narrows.errors import NarrowsError, ParameterError
from narrows.library.library import Library
from narrows.library.match import Match
from narrows.library.pictures import StoredPictures
from narrows.library.search import ExactIndex, Metric, check_metric
from narrows.texts import printable

_Pairs = NDArray[np.int64]  # (n, 2)

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
        (:func:`unexplained_variance`). Where pictures of the library are more alike than that
        anyway, as digits are, less has to be left.
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
    _check_given(threshold, metric)
    codes = library._table.codes()
    near = _nearest_others(codes, metric, progress)
    confirmed = np.empty((0, 2), np.int64)
    if threshold == "auto":
        threshold = near.suggest()
        confirmed = _confirmed_pairs(near, library._pictures, threshold)
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
    _check_given(threshold, metric)
    near = _nearest_others(codes, metric, progress)
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


def _check_given(threshold: object, metric: str) -> None:
    check_metric(metric)
    if isinstance(threshold, bool) or not (
        (isinstance(threshold, Real) and 0 <= float(threshold) < np.inf)
        or (isinstance(threshold, str) and threshold == "auto")
    ):
        raise ParameterError(
            f"threshold={threshold!r} is not allowed; give a number of at least 0, or 'auto'"
        )


def _nearest_others(codes: ArrayLike, metric: Metric, progress: Progress | None) -> _Near:
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


def _confirmed_pairs(near: _Near, pictures: StoredPictures, threshold: float) -> NDArray[np.int64]:
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
    found: NDArray[np.int64] = pairs[_are_versions(pictures, pairs, near.first[others])]
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


_SIDE = 32  # pixels of a side that are looked at: so few that what was moved stays in its place
_LEAST = 6  # pixels of a side below which a model of five numbers explains anything
_BLUR = 0.7  # pixels: the model holds where brightness changes slowly
_CONTRAST = 2.0  # at most so many times more or less
_MOVED, _ZOOMED = 0.03, 0.06  # of the side, and of the size
_ROWS = 16384  # pictures in memory at a time
_COMPARED = 1024  # pairs at a time
_MOST = 0.03  # what is left unexplained of versions of one picture
_TENTH, _LOWEST = 0.1, 0.01  # of what the lowest hundredth of other pictures leave


def _are_versions(pictures: StoredPictures, pairs: _Pairs, others: _Pairs) -> NDArray[np.bool_]:
    """Tell which pairs of pictures are versions of one picture.

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
    left = _unexplained_of(pictures, others)
    limit = min(_MOST, _TENTH * np.quantile(left, _LOWEST)) if len(left) else _MOST
    same: NDArray[np.bool_] = _unexplained_of(pictures, pairs) <= limit
    return same


def unexplained_variance(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Measure how much of pictures others, brightened, moved or zoomed a little, do not explain.

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
    >>> bool(unexplained_variance(wave, 1.3 * moved + 0.2)[0] < 1e-3)
    True
    >>> float(unexplained_variance(wave, -wave)[0])
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


def _unexplained_of(pictures: StoredPictures, pairs: _Pairs) -> NDArray[np.float64]:
    """Measure the unexplained variance of each pair, the larger one of both directions."""
    left = np.ones(len(pairs))
    for start in range(0, len(pairs), _ROWS // 2):
        some = pairs[start : start + _ROWS // 2]
        rows, places = np.unique(some, return_inverse=True)
        small, readable = _read_small(pictures, rows)
        places = places.reshape(-1, 2)
        for first in range(0, len(some), _COMPARED):
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


_SHOWN = 60  # pictures of one group; the rest are counted
_SMALL = 64  # pixels of a side up to which every one of them is to be seen

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --quiet: #666; --card: #fff; --page: #f4f4f2; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --quiet: #aaa; --card: #232323; --page: #171717; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 75rem; padding: 1.5rem 1rem 3rem; background: var(--page);
  font: 1rem/1.45 system-ui, sans-serif; }}
h1 {{ font-size: 1.4rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1rem; margin: 0 0 .75rem; }}
h2 span, header p {{ color: var(--quiet); font-weight: 400; }}
header p {{ margin: 0 0 1.5rem; max-width: 45rem; }}
section {{ background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: 1rem; margin: 0 0 1rem; }}
ul {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem;
  list-style: none; margin: 0; padding: 0; }}
li {{ min-width: 0; font-size: .8rem; }}
.frame {{ display: grid; place-items: center; aspect-ratio: 4 / 3; margin: 0 0 .4rem;
  background: #8881; border-radius: .25rem; color: var(--quiet); }}
img {{ width: 100%; height: 100%; min-height: 0; object-fit: contain; }}
img.small {{ image-rendering: pixelated; }}
li b, li span {{ display: block; overflow-wrap: anywhere; }}
li b {{ font-weight: 500; }}
li span {{ color: var(--quiet); font-variant-numeric: tabular-nums; }}
li i {{ font-style: normal; white-space: nowrap; }}
</style>
</head>
<body>
"""


def duplicates_page(found: Duplicates, *, name: str, count: int) -> Iterator[str]:
    """Write groups of near-identical pictures as a page of HTML, piece by piece.

    Parameters
    ----------
    found : Duplicates
        The groups.
    name : str
        What the library is called.
    count : int
        How many pictures it has.

    Yields
    ------
    str
        HTML.

    Examples
    --------
    >>> page = "".join(duplicates_page(Duplicates(0.5, []), name="<holidays>", count=7))
    >>> "<h1>Near-identical pictures in &lt;holidays&gt;</h1>" in page
    True
    """
    title = f"Near-identical pictures in {_text(name)}"
    yield _HEAD.format(title=title)
    pictures = sum(map(len, found.groups))
    yield (
        f"<header><h1>{title}</h1>\n<p>{_number(len(found.groups), 'group')} of "
        f"{_number(pictures, 'picture')} among {count:,}, whose codes are at most "
        f"{found.threshold:.4g} apart{_by_pixels(found.confirmed)}. Distances are to the first of "
        "the group. Nothing was changed or removed.</p></header>\n<main>\n"
    )
    for number, group in enumerate(found.groups):
        size = _number(len(group), "picture")
        yield f"<section><h2>Group {number} <span>{size}</span></h2>\n<ul>\n"
        yield from map(_item, group[:_SHOWN])
        yield "</ul>\n"
        if len(group) > _SHOWN:
            yield f"<p>and {len(group) - _SHOWN:,} more</p>\n"
        yield "</section>\n"
    if not found.groups:
        yield "<section>No two pictures are that near to each other.</section>\n"
    yield "</main>\n</body>\n</html>\n"


def _item(match: Match) -> str:
    folder, slash, name = match.path.rpartition("/")
    return (
        f'<li><div class="frame">{_image(match)}</div><b>{_text(name)}</b>'
        f"<span>id {match.id} \N{MIDDLE DOT} <i>distance {match.distance:.3g}</i></span>"
        f"<span>{_text(folder + slash)}</span></li>\n"
    )


def _image(match: Match) -> str:
    try:
        pixels = match.thumbnail
    except NarrowsError:
        return "no thumbnail"
    kind, options = ("PNG", {}) if max(pixels.shape) <= _SMALL else ("JPEG", {"quality": 80})
    source = f"data:image/{kind.lower()};base64,{_file(pixels, kind, options)}"
    style = ' class="small"' if kind == "PNG" else ""
    return f'<img{style} alt="" src="{source}">'


def _file(pixels: NDArray[np.uint8], kind: str, options: dict[str, int]) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return b64encode(file.getvalue()).decode()


def _text(name: str) -> str:
    return escape(printable(name))


def _by_pixels(pairs: int) -> str:
    return f", or whose pixels are those of one picture ({_number(pairs, 'pair')})" * bool(pairs)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
