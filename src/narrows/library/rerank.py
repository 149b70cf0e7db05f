"""A second look at the candidates that codes suggested: at their pixels."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from narrows.errors import LibraryError, ParameterError
from narrows.library.match import Found
from narrows.library.pictures import StoredPictures
from narrows.ssim import structural_similarity

Rerank: TypeAlias = Literal["pixels", "ssim"]
RerankOn: TypeAlias = Literal["stored", "decoded"]
Compare = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]
Read = Callable[[NDArray[np.int64]], NDArray[Any]]

_READ = 256  # pictures that are read at a time
_NUMBERS = 2**17  # pixels that are compared at a time: about what a processor's cache holds


def check_rerank(rerank: Rerank | None, on: RerankOn, library: StoredPictures) -> None:
    """Make sure that candidates can be ordered again so.

    Raises
    ------
    ParameterError
        If one of these is not known, or nothing is to be ordered on what is decoded.
    LibraryError
        If the library's rows are no pictures, and that matters.
    """
    if rerank is not None and rerank not in get_args(Rerank):
        raise ParameterError(f"rerank={rerank!r} is not known; use 'pixels', 'ssim' or None")
    if on not in get_args(RerankOn):
        raise ParameterError(f"rerank_on={on!r} is not known; use 'stored' or 'decoded'")
    if rerank is None and on == "decoded":
        raise ParameterError(
            "rerank_on='decoded' says on what to re-rank, and rerank=None not to; "
            "give rerank='pixels' or 'ssim'"
        )
    shape = library.encoder.sample_shape_
    if rerank == "ssim" and not library.encoder.spec.shows_pictures:
        raise LibraryError(
            f"rerank='ssim' compares pictures, and rows of shape {shape} are none; use 'pixels'"
        )


def comparison(rerank: Rerank, library: StoredPictures) -> Compare:
    """Return the function that says how far pictures in a library's units are apart."""
    if rerank == "pixels":
        return pixel_distances
    scaling = library.encoder.scaling_
    data_range = scaling.high - scaling.low or 1.0
    return lambda one, other: 1 - structural_similarity(one, other, data_range)


def reorder(
    queries: NDArray[Any], found: Sequence[Found], k: int, read: Read, compare: Compare
) -> list[Found]:
    """Order each query's candidates by how far the pictures are apart; keep k.

    Each picture is read once, whatever the number of queries that it is a candidate of.

    Parameters
    ----------
    queries : ndarray of shape (Q, *sample_shape)
        Their pictures.
    found : sequence of (distances, rows)
        The candidates of each.
    k : int
        How many to keep of each.
    read : callable
        Gives the pictures of rows, (n, *sample_shape), in the same units.
    compare : callable
        Gives the distances, (n,), between pictures and as many others.

    Returns
    -------
    list of (distances, rows)
        Ascending; of rows at the same distance the lower comes first.
    """
    rows = np.concatenate([np.sort(rows) for _, rows in found])
    asked = np.repeat(np.arange(len(found)), [len(rows) for _, rows in found])
    pairs = np.argsort(rows, kind="stable")
    candidates, starts = np.unique(rows[pairs], return_index=True)
    starts = np.append(starts, len(pairs))
    n_compared = max(1, _NUMBERS // max(1, queries[0].size))
    distances = np.empty(len(rows))
    for first in range(0, len(candidates), _READ):
        some = candidates[first : first + _READ]
        pictures = read(some)
        for start in range(starts[first], starts[first + len(some)], n_compared):
            which = pairs[start : min(start + n_compared, starts[first + len(some)])]
            others = pictures[np.searchsorted(some, rows[which])]
            distances[which] = compare(queries[asked[which]], others)
    ordered: list[Found] = []
    for query in range(len(found)):
        own = slice(*np.searchsorted(asked, [query, query + 1]))
        order = np.argsort(distances[own], kind="stable")[:k]
        ordered.append((distances[own][order], rows[own][order]))
    return ordered


def pixel_distances(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean squared difference between pictures and as many others.

    Parameters
    ----------
    one, other : ndarray of shape (n, *sample_shape)
        In the same units.

    Returns
    -------
    ndarray of float64 and shape (n,)
        In these units squared.

    Examples
    --------
    >>> pixel_distances(np.array([[0, 3], [0, 3]]), np.array([[0, 3], [4, 3]]))
    array([0., 8.])
    """
    differences = np.subtract(one, other, dtype=np.float64).reshape(len(one), -1)
    means: NDArray[np.float64] = np.square(differences).mean(axis=1)
    return means
