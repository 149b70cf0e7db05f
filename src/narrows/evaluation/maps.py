"""Rows on a plane, so that similar ones lie together: by four methods, each of which places more.

The default is an autoencoder whose code has two numbers, and which keeps neighbours beside each
other as t-SNE does (:mod:`narrows.losses.neighbors` has the papers): its encoder is the map. t-SNE
and UMAP place nothing but the rows they were given, and an encoder learns their layout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from narrows.errors import DataError, MissingDependencyError
from narrows.evaluation.given import flat_rows
from narrows.evaluation.map_network import learn_layout, learn_map
from narrows.models.validation import check_choice, check_number

MapMethod = Literal["autoencoder", "pca", "tsne", "umap"]
MAP_METHODS: tuple[MapMethod, ...] = ("autoencoder", "pca", "tsne", "umap")

# Columns that the networks and layouts see, and rows that PCA and the autoencoder learn from.
_WIDTH, _ROWS_OF_PCA, _ROWS = 50, 20_000, 100_000
_BLOCK = 8192
_LARGEST_SEED = 2**31 - 1
_PERPLEXITY, _NEIGHBORS_OF_UMAP = 30, 15


class Coder(Protocol):
    """A fitted model, or the encoder of one."""

    def transform(self, X: Any, /) -> NDArray[np.float32]:
        """Encode rows, (n, ...) to (n, K)."""


@dataclass(frozen=True)
class Projection:
    """A map, and how to put more rows on it.

    Attributes
    ----------
    points : ndarray of shape (n, 2), float32
        Where each row lies.
    method : {"autoencoder", "pca", "tsne", "umap"}
        What made it.
    """

    points: NDArray[np.float32]
    method: MapMethod
    _place: Callable[[NDArray[Any]], NDArray[np.float32]]
    _model: Coder | None
    _width: int

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Place rows, the map's own or new ones.

        Parameters
        ----------
        X : array-like of shape (m, ...)
            Rows like those that the map was made from; with a model, rows for it.

        Returns
        -------
        ndarray of shape (m, 2), float32
            Of "tsne" and "umap": where a network that learned the layout puts them.

        Raises
        ------
        DataError
            If they are of another width, or not finite.

        Examples
        --------
        >>> from narrows import datasets
        >>> from narrows.evaluation import project
        >>> digits = datasets.load("digits")
        >>> drawn = project(digits.X_train, method="pca")
        >>> drawn.transform(digits.X_test).shape
        (360, 2)
        """
        table = _table(X, self._model)
        if table.shape[1] != self._width:
            raise DataError(
                f"rows of {table.shape[1]} numbers were given to a map of rows of {self._width}; "
                "give rows like those that it was made from"
            )
        return self._place(table)


def project(
    X: Any,
    *,
    method: MapMethod = "autoencoder",
    model: Coder | None = None,
    random_state: int = 0,
) -> Projection:
    """Lay rows out on a plane.

    Parameters
    ----------
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C)
        Rows, or codes.
    method : {"autoencoder", "pca", "tsne", "umap"}, default="autoencoder"
        "autoencoder": a network with a code of two numbers that keeps neighbours beside each
        other; it places new rows at once. Of more than 100 000 rows, it learns from so many, drawn
        at random. "pca": the two directions in which the rows differ most. "tsne" (needs openTSNE,
        ``narrows[tsne]``) starts from PCA; "umap" needs ``narrows[umap]``. A network learns from
        their layout where new rows belong.
    model : BaseAutoencoder or Encoder, optional
        Fitted: the map is then one of its codes for X, which is in the units of its training data.
        Without a model distances between rows count as they are: scale columns of different units.
    random_state : int, default=0
        The same number gives the same map.

    Returns
    -------
    Projection

    Raises
    ------
    ParameterError
        If a parameter is not allowed.
    DataError
        If there are fewer than three rows, they are all the same, or not finite, or do not fit
        the model.
    MissingDependencyError
        If the method needs a package that is not installed.
    DivergedError
        If training left the finite numbers.

    Examples
    --------
    >>> from narrows import datasets
    >>> X = datasets.load("digits").X_test
    >>> drawn = project(X)
    >>> drawn.points.shape, bool((drawn.transform(X) == drawn.points).all())
    ((360, 2), True)
    """
    check_choice("method", method, MAP_METHODS)
    check_number("random_state", random_state, low=0, high=_LARGEST_SEED, integral=True)
    table = _table(X, model)
    if len(table) < 3:
        raise DataError(f"{len(table)} rows make no map; give at least 3")
    if (table == table[0]).all():
        raise DataError("all rows are the same, and make no map; give rows that differ")
    make = {"autoencoder": _by_autoencoder, "pca": _by_pca}.get(method)
    points, place = make(table, random_state) if make else _by_layout(table, random_state, method)
    return Projection(points, method, place, model, table.shape[1])


def _table(X: Any, model: Coder | None) -> NDArray[Any]:
    return flat_rows(X) if model is None else model.transform(X)


_Map = tuple[NDArray[np.float32], Callable[[NDArray[Any]], NDArray[np.float32]]]


def _by_pca(table: NDArray[Any], seed: int) -> _Map:
    if table.shape[1] < 2:
        raise DataError("rows of one number have no second direction; give at least two columns")
    pca = PCA(2, random_state=seed).fit(table)

    def place(rows: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(pca.transform(rows), np.float32)

    return place(table), place


def _by_autoencoder(table: NDArray[Any], seed: int) -> _Map:
    reduce = _reduction(table, seed)
    reduced = reduce(_some(table, _ROWS, seed))
    network, _ = learn_map(reduced, seed)

    def place(rows: NDArray[Any]) -> NDArray[np.float32]:
        return _encode(network.encoder, reduce, rows)

    return place(table), place


def _by_layout(table: NDArray[Any], seed: int, method: str) -> _Map:
    """Lay out by another package, and learn where it would have put other rows."""
    reduce = _reduction(table, seed)
    reduced = reduce(table)
    points = _tsne(reduced, seed) if method == "tsne" else _umap(reduced, seed)
    centre, spread = points.mean(axis=0), points.std()
    encoder, _ = learn_layout(reduced, (points - centre) / spread, seed)

    def place(rows: NDArray[Any]) -> NDArray[np.float32]:
        placed: NDArray[np.float32] = _encode(encoder, reduce, rows) * spread + centre
        return placed

    return points, place


def _tsne(reduced: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise _missing("tsne", "openTSNE") from error
    perplexity = min(_PERPLEXITY, (len(reduced) - 1) / 3)
    made = TSNE(perplexity=perplexity, initialization="pca", random_state=seed).fit(reduced)
    return np.asarray(made, np.float32)


def _umap(reduced: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    try:
        from umap import UMAP
    except ImportError as error:
        raise _missing("umap", "umap-learn") from error
    n_neighbors = min(_NEIGHBORS_OF_UMAP, len(reduced) - 1)
    made = UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1).fit_transform(reduced)
    return np.asarray(made, np.float32)


def _missing(method: str, package: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"method={method!r} needs {package}, which is not installed; run "
        f"pip install 'narrows[{method}]', or use 'autoencoder'"
    )


def _some(table: NDArray[Any], most: int, seed: int) -> NDArray[Any]:
    if len(table) <= most:
        return table
    return table[np.sort(np.random.default_rng(seed).permutation(len(table))[:most])]


def _reduction(table: NDArray[Any], seed: int) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Learn the directions in which rows differ most; one scale for all keeps their distances."""
    some = _some(table, _ROWS_OF_PCA, seed)
    kind = np.result_type(table.dtype, np.float32)
    pca = PCA(min(_WIDTH, *some.shape), random_state=seed).fit(some.astype(kind))
    scale = np.sqrt(pca.explained_variance_.mean())
    if not scale > 0:
        raise DataError("all rows are the same but for a few; give rows that differ")
    mean, directions = pca.mean_, (pca.components_.T / scale)

    def reduce(rows: NDArray[Any]) -> NDArray[np.float32]:
        out = np.empty((len(rows), directions.shape[1]), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            out[block] = (rows[block].astype(kind) - mean) @ directions
        return out

    return reduce


@torch.inference_mode()
def _encode(
    encoder: torch.nn.Module,
    reduce: Callable[[NDArray[Any]], NDArray[np.float32]],
    rows: NDArray[Any],
) -> NDArray[np.float32]:
    out = np.empty((len(rows), 2), np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        out[block] = encoder(torch.from_numpy(reduce(rows[block]))).numpy()
    return out
