"""Maps of rows on a plane by four methods, which also place new rows, restore rows, and are scored.

By default, scikit-learn's t-SNE lays out landmarks, which stand for the rows around them, and all
rows, later ones included, are placed among these. openTSNE and UMAP lay out all rows given, some
of which are then the landmarks for others. Distances are between rows, codes or restored rows.

van der Maaten & Hinton (2008), "Visualizing data using t-SNE", JMLR 9; Kobak & Berens (2019), "The
art of using t-SNE for single-cell transcriptomics", Nature Communications 10 (start from PCA);
McInnes, Healy & Melville (2018), "UMAP", arXiv:1802.03426.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE, trustworthiness
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from narrows.containment import fits
from narrows.data.arrays import as_tensor
from narrows.data.lazy_rows import LazyRows, scratch_rows
from narrows.data.principal import as_finite_rows, fit_pca
from narrows.errors import DataError, MissingDependencyError, ParameterError
from narrows.evaluation.matching import groups_of
from narrows.models.base import BaseAutoencoder
from narrows.models.encoder_decoder import Encoder
from narrows.models.validation import check_choice, check_number

Distances = Literal["auto", "restored", "codes"]
DISTANCES: tuple[Distances, ...] = ("auto", "restored", "codes")

MapMethod = Literal["autoencoder", "pca", "tsne", "umap"]
MAP_METHODS: tuple[MapMethod, ...] = ("autoencoder", "pca", "tsne", "umap")

# The number of principal components that every method but PCA sees, the rows that these are fitted
# on, and the number of landmarks.
_WIDTH, _ROWS_OF_PCA, _LANDMARKS = 50, 20_000, 3_000
# PCA of rows with more columns than the first number is fitted on fewer of them.
_WIDE, _ROWS_OF_WIDE = 4_096, 5_000
_ROWS_OF_KMEANS, _STEPS_OF_KMEANS, _STEPS_OF_TSNE = 60_000, 3, 500
_REDUCED = 1024  # rows at a time
_LARGEST_SEED = 2**31 - 1
_PERPLEXITY, _NEIGHBORS_OF_UMAP = 30, 15
# Neighbours that vote on a row's label, and parts of the cross-validation.
_VOTERS, _FOLDS = 5, 5
# The median distance of so many landmarks to their fifth neighbour is the unit of widths.
_NEIGHBOR, _MEASURED = 5, 1_000
# The widths a, b and c; chosen on held-out training rows of Fashion-MNIST.
_WIDTH_OF_ROWS, _WIDTH_OF_PLACES, _WIDTH_OF_STEP = 0.6, 1.0, 1.2
_PLACED = 128  # rows whose affinities stay in the processor's cache
# Beyond this many values of all restored rows together, half a gigabyte, codes are used.
_MOST_VALUES = 2**27
# Each value is held in single precision, twice.
_BYTES_A_VALUE = 8


@dataclass(frozen=True)
class _Space:
    """The space of a map's distances: rows, a model's codes, or the rows decoded from them.

    Attributes
    ----------
    kind : {"rows", "codes", "restored"}
        The space; restored rows are scaled as the model scales them.
    model : BaseAutoencoder, Encoder or None
        The fitted model, if there is one.
    row_shape : tuple of int
        The shape of a row that :meth:`rows` returns.
    """

    kind: Literal["rows", "codes", "restored"]
    model: BaseAutoencoder | Encoder | None
    row_shape: tuple[int, ...]

    @classmethod
    def of(cls, X: Any, model: BaseAutoencoder | Encoder | None, distances: Distances) -> "_Space":
        """Choose the space; raise a ParameterError if an encoder alone is to restore rows."""
        if model is None:
            return cls("rows", None, tuple(np.shape(X)[1:]))
        whole = isinstance(model, BaseAutoencoder)
        if distances == "restored" and not whole:
            raise ParameterError(
                "distances='restored' needs a whole model, and this is an encoder; use 'codes'"
            )
        shape = model.sample_shape_
        n_values = len(X) * math.prod(shape)
        are_few = n_values <= _MOST_VALUES and fits(_BYTES_A_VALUE * n_values)
        if distances == "restored" or (
            distances == "auto" and whole and are_few and not model.takes_any_size_
        ):
            return cls("restored", model, shape)
        return cls("codes", model, ())

    def table(self, X: Any) -> NDArray[Any]:
        """Turn rows into a table (n, F); raise a DataError if they are unlike the map's rows."""
        if self.model is None:
            table = flat_rows(X)
            width = math.prod(self.row_shape)
            if table.shape[1] != width:
                raise DataError(
                    f"rows of {table.shape[1]} numbers were given to a map of rows of {width}; "
                    "give rows like those that it was made from"
                )
            return table
        if self.kind == "codes" or isinstance(self.model, Encoder):
            return self.model.transform(X)
        restored = self.model.inverse_transform(self.model.transform(X))
        scaled: NDArray[Any] = self.model.scaling_(as_tensor(restored)).flatten(1).numpy()
        return scaled

    def rows(self, table: NDArray[Any]) -> NDArray[Any]:
        """Turn a table (n, F) into rows; codes stay codes."""
        if self.kind == "codes":
            return table
        shaped = table.reshape(len(table), *self.row_shape)
        if self.model is None:
            return shaped
        undone: NDArray[Any] = self.model.scaling_.undo(as_tensor(shaped)).numpy()
        return undone


@dataclass(frozen=True)
class Landmarks:
    """An autoencoder whose code is a place on a plane, built from rows with known places.

    Encoder f and decoder g are means over the landmarks z_l at places v_l, weighted by a Gaussian
    kernel, as in kernel t-SNE (Gisbrecht, Schulz & Hammer 2015, "Parametric nonlinear
    dimensionality reduction using kernel t-SNE", Neurocomputing 147) and unsupervised kernel
    regression (Meinicke, Klanke, Memisevic & Ritter 2005, "Principal surfaces from unsupervised
    kernel regression", IEEE TPAMI 27)::

        f(z) = sum_l p_l w_l v_l / sum_l p_l w_l,    p_l = exp(-||z - z_l||^2 / a^2)
        g(y) = sum_l q_l z_l / sum_l q_l,            q_l = exp(-||y - v_l||^2 / b^2)

    Without w, a row whose nearest landmarks form two groups on the map would lie between these,
    where no row is like it. With n the nearest landmark, w_l = 1 / (1 + ||v_n - v_l||^2 / c^2) is
    one step from v_n towards the minimum of sum_l p_l log(1 + ||y - v_l||^2 / c^2), by which t-SNE
    draws a row towards its neighbours.

    Attributes
    ----------
    rows : Tensor of shape (L, F)
        The landmarks z.
    places : Tensor of shape (L, 2)
        Their places v.
    near_rows, near_places : float
        The median distance to the fifth neighbour among rows, and among places.
    """

    rows: Tensor
    places: Tensor
    near_rows: float
    near_places: float

    @classmethod
    def of(cls, rows: Tensor, places: Tensor) -> Self:
        """Measure the distances between landmarks."""
        return cls(rows, places, _nearness(rows), _nearness(places))

    @torch.inference_mode()
    def encode(self, z: Tensor) -> Tensor:
        """Place rows, (n, F) to (n, 2)."""
        return _by_blocks(self._encode, z, 2)

    @torch.inference_mode()
    def decode(self, y: Tensor) -> Tensor:
        """Restore rows from their places, (n, 2) to (n, F)."""
        return _by_blocks(self._decode, y, self.rows.shape[1])

    def _encode(self, z: Tensor) -> Tensor:
        # numpy's argmax is faster than torch's.
        affinities = _affinities(z, self.rows, _WIDTH_OF_ROWS * self.near_rows)
        nearest = torch.from_numpy(affinities.numpy().argmax(1))
        weights = affinities.softmax(1).div_(self._step(self.places[nearest]))
        # A matrix product with three rows is faster than one with three columns.
        weighed = (_with_ones(self.places).T @ weights.T).T
        return weighed[:, :2] / weighed[:, 2:]

    def _decode(self, y: Tensor) -> Tensor:
        width = _WIDTH_OF_PLACES * self.near_places
        return _affinities(y, self.places, width).softmax(1) @ self.rows

    def _step(self, start: Tensor) -> Tensor:
        """Return 1 / w: 1 + ||v_n - v_l||^2 / c^2, (n, L), as one product of matrices."""
        scale = (_WIDTH_OF_STEP * self.near_places) ** 2
        lengths = self.places.square().sum(1, keepdim=True) / scale
        right = [-2 / scale * self.places, 1 + lengths, torch.full_like(lengths, 1 / scale)]
        left = [_with_ones(start), start.square().sum(1, keepdim=True)]
        return torch.cat(left, 1) @ torch.cat(right, 1).T


def _by_blocks(function: Callable[[Tensor], Tensor], x: Tensor, width: int) -> Tensor:
    """Apply a function to blocks of rows, (n, ...) to (n, width)."""
    # Small results, kept one by one, would fragment the heap, which then grows with the rows.
    out = torch.empty(len(x), width)
    for block, place in zip(torch.split(x, _PLACED), torch.split(out, _PLACED), strict=True):
        place.copy_(function(block))
    return out


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1)], 1)


def _affinities(x: Tensor, landmarks: Tensor, width: float) -> Tensor:
    """Return minus squared distances over the squared width, up to a constant of each row."""
    scaled = landmarks / width**2
    return torch.addmm(-(scaled * landmarks).sum(1), x, scaled.T, alpha=2)


def _nearness(x: Tensor) -> float:
    """Return the median distance to the fifth neighbour, at least a thousandth of the spread."""
    distances = torch.cdist(x[:_MEASURED], x)
    k = min(_NEIGHBOR, len(x) - 1)
    nearest = distances.kthvalue(k + 1, dim=1).values.median()  # the row itself is the first
    return max(float(nearest), 1e-3 * float(x.std()))


@dataclass(frozen=True)
class _Halves:
    """Functions from flat rows (n, F) to places (n, 2), and back."""

    encode: Callable[[NDArray[Any]], NDArray[np.float32]]
    decode: Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Projection:
    """A map, on which more rows can be placed.

    Attributes
    ----------
    points : ndarray of shape (n, 2), float32
        The place of each row.
    method : {"autoencoder", "pca", "tsne", "umap"}
        The method that made the map.
    distances : {"rows", "codes", "restored"}
        What its distances are between.
    """

    points: NDArray[np.float32]
    method: MapMethod
    distances: Literal["rows", "codes", "restored"]
    _halves: _Halves
    _space: _Space

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Place rows, the map's own or new ones.

        Parameters
        ----------
        X : array-like of shape (m, *sample_shape)
            Rows like those that the map was made from; with a model, rows for it.

        Returns
        -------
        ndarray of shape (m, 2), float32
            Their places; with "tsne" and "umap" among the map's rows that are nearest to them.

        Raises
        ------
        DataError
            If they have another width, or are not finite.

        Examples
        --------
        >>> from narrows import datasets
        >>> from narrows.evaluation import project
        >>> digits = datasets.load("digits")
        >>> drawn = project(digits.X_train, method="pca")
        >>> drawn.transform(digits.X_test).shape
        (360, 2)
        """
        return self._halves.encode(self._space.table(X))

    def inverse_transform(self, points: ArrayLike) -> NDArray[Any]:
        """Restore rows from places on the map.

        Parameters
        ----------
        points : array-like of shape (m, 2)
            Places.

        Returns
        -------
        ndarray of shape (m, ...)
            Rows like those that the map was made from; codes where distances are between codes.

        Raises
        ------
        DataError
            If the points are not pairs of finite numbers.

        Examples
        --------
        >>> from narrows import datasets
        >>> from narrows.evaluation import project
        >>> X = datasets.load("digits").X_test
        >>> error = {}
        >>> for method in ("autoencoder", "pca"):
        ...     drawn = project(X, method=method)
        ...     restored = drawn.inverse_transform(drawn.points)
        ...     error[method] = ((restored - X) ** 2).mean()
        >>> bool(error["autoencoder"] < error["pca"])
        True
        """
        return self._space.rows(self._halves.decode(read_points(points)))


def project(
    X: Any,
    *,
    method: MapMethod = "autoencoder",
    model: BaseAutoencoder | Encoder | None = None,
    distances: Distances = "auto",
    random_state: int = 0,
) -> Projection:
    """Project rows onto a plane.

    Parameters
    ----------
    X : array-like of shape (n, *sample_shape)
        Rows of shape (F,), (H, W) or (H, W, C), or codes.
    method : {"autoencoder", "pca", "tsne", "umap"}, default="autoencoder"
        "autoencoder": a code of two numbers, by at most 3 000 landmarks that t-SNE lays out; it
        places rows quickly, and restores them from their places. "pca": the two principal
        components. "tsne" (needs openTSNE, ``narrows[tsne]``), initialised by PCA, and "umap"
        (needs ``narrows[umap]``) lay out all rows, which takes longer.
    model : BaseAutoencoder or Encoder, optional
        A fitted model: the map then shows what its codes keep of X, in the units of its training
        data. If its code has two numbers, "autoencoder" takes these. Without a model, distances
        between rows count as they are: scale columns of different units.
    distances : {"auto", "restored", "codes"}, default="auto"
        With a model: distances between decoded rows, in the units that it scales rows to, or
        between codes, whose units only the decoder knows. The former keep more neighbours of X, the
        latter often more of the classes. "auto" is "restored", but "codes" of an encoder alone, of
        pictures of any size, and of more than 2^27 values.
    random_state : int, default=0
        Random seed; the same number gives the same map.

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

    Examples
    --------
    >>> from narrows import datasets
    >>> X = datasets.load("digits").X_test
    >>> drawn = project(X)
    >>> drawn.points.shape, bool((drawn.transform(X) == drawn.points).all())
    ((360, 2), True)
    """
    check_choice("method", method, MAP_METHODS)
    check_choice("distances", distances, DISTANCES)
    check_number("random_state", random_state, low=0, high=_LARGEST_SEED, integral=True)
    is_map = method == "autoencoder" and model is not None and model.spec_.code_width == 2
    space = _Space.of(X, model, "codes" if is_map else distances)
    table = space.table(X)
    if len(table) < 3:
        raise DataError(f"{len(table)} rows make no map; give at least 3")
    if (table.min(0) == table.max(0)).all():
        raise DataError("all rows are the same, and make no map; give rows that differ")
    if method in ("tsne", "umap"):
        points, halves = _by_layout(table, random_state, method)
        return Projection(points, method, space.kind, halves, space)
    if is_map:
        halves = _Halves(lambda codes: codes, lambda points: points)
    else:
        halves = _by_pca(table) if method == "pca" else _by_landmarks(table, random_state)
    return Projection(halves.encode(table), method, space.kind, halves, space)


def _by_pca(table: NDArray[Any]) -> _Halves:
    if table.shape[1] < 2:
        raise DataError("rows of one number have no second direction; give at least two columns")
    pca = fit_pca(_some(table, _rows_of_pca(table, len(table)), 0), 2)
    return _Halves(
        lambda rows: pca.transform(rows).astype(np.float32),
        lambda points: pca.inverse_transform(points).astype(np.result_type(table, np.float32)),
    )


def _rows_of_pca(table: NDArray[Any], most: int) -> int:
    """Return on how many rows PCA is fitted: on fewer wide ones, so that it takes less time."""
    return most if table.shape[1] <= _WIDE else min(most, _ROWS_OF_WIDE)


def _by_landmarks(table: NDArray[Any], seed: int) -> _Halves:
    reduction = _Reduction.of(table, seed)
    # Repeated rows would leave k-means fewer means than landmarks.
    rows = np.unique(reduction(_some(table, _ROWS_OF_KMEANS, seed)), axis=0)
    if len(rows) > _LANDMARKS:
        means = KMeans(
            _LANDMARKS,
            init=_some(rows, _LANDMARKS, seed),
            n_init=1,
            max_iter=_STEPS_OF_KMEANS,
            random_state=seed,
        )
        rows = means.fit(rows).cluster_centers_
    layout = TSNE(
        perplexity=_perplexity(rows),
        init="pca" if min(rows.shape) > 1 else "random",
        max_iter=_STEPS_OF_TSNE,
        random_state=seed,
        n_jobs=1,
    )
    return _around(reduction, rows, layout.fit_transform(rows))


def _by_layout(table: NDArray[Any], seed: int, method: str) -> tuple[NDArray[np.float32], _Halves]:
    """Lay out by another package, and place other rows among some of these."""
    reduction = _Reduction.of(table, seed)
    rows = reduction(table)
    try:
        if method == "tsne":
            import openTSNE

            perplexity = _perplexity(rows)
            tsne = openTSNE.TSNE(perplexity=perplexity, initialization="pca", random_state=seed)
            lay_out = tsne.fit
        else:
            from umap import UMAP

            n_neighbors = min(_NEIGHBORS_OF_UMAP, len(rows) - 1)
            lay_out = UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1).fit_transform
    except ImportError as error:
        package = {"tsne": "openTSNE", "umap": "umap-learn"}[method]
        raise MissingDependencyError(
            f"method={method!r} needs {package}, which is not installed; run "
            f"pip install 'narrows[{method}]', or use 'autoencoder'"
        ) from error
    points = np.asarray(lay_out(rows), np.float32)
    both = _some(np.hstack([rows, points]), _LANDMARKS, seed)
    return points, _around(reduction, both[:, :-2], both[:, -2:])


def _around(
    reduction: "_Reduction", rows: NDArray[np.float32], places: NDArray[np.float32]
) -> _Halves:
    """Build an autoencoder of landmarks."""
    landmarks = Landmarks.of(*(torch.tensor(x, dtype=torch.float32) for x in (rows, places)))

    def encode(rows: NDArray[Any]) -> NDArray[np.float32]:
        return landmarks.encode(torch.from_numpy(reduction(rows))).numpy()

    def decode(points: NDArray[Any]) -> NDArray[Any]:
        return reduction.undo(landmarks.decode(torch.tensor(points, dtype=torch.float32)).numpy())

    return _Halves(encode, decode)


def _some(table: NDArray[Any], most: int, seed: int) -> NDArray[Any]:
    if len(table) <= most:
        return table
    return table[np.sort(np.random.default_rng(seed).permutation(len(table))[:most])]


def _perplexity(rows: NDArray[Any]) -> float:
    return min(_PERPLEXITY, (len(rows) - 1) / 3)


@dataclass(frozen=True)
class _Reduction:
    """The first principal components, divided by one number, which keeps ratios of distances."""

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]  # (F, k), orthonormal
    scale: float
    dtype: np.dtype[Any]  # of restored rows

    @classmethod
    def of(cls, table: NDArray[Any], seed: int) -> "_Reduction":
        some = _some(table, _rows_of_pca(table, _ROWS_OF_PCA), seed)
        pca = fit_pca(some, min(_WIDTH, *some.shape))
        scale = math.sqrt(pca.variances.mean())
        if not scale > 0:
            raise DataError("all rows are the same but for a few; give rows that differ")
        dtype = np.result_type(table.dtype, np.float32)
        return cls(pca.mean, pca.components.T, scale, dtype)

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        out = scratch_rows((len(rows), self.directions.shape[1]))
        for start in range(0, len(rows), _REDUCED):
            block = slice(start, start + _REDUCED)
            out[block] = (rows[block] - self.mean) @ self.directions / self.scale
        return out

    def undo(self, reduced: NDArray[np.float32]) -> NDArray[Any]:
        restored: NDArray[Any] = self.scale * reduced @ self.directions.T + self.mean
        return restored.astype(self.dtype)


@dataclass(frozen=True)
class MapScores:
    """The quality of a map; both scores are from 0 to 1, higher is better.

    Attributes
    ----------
    trustworthiness : float
        Whether a row's neighbours on the map are near it in the data: 1 less a penalty for each of
        the ``n_neighbors`` on the map, by how many others are nearer in the data (Venna & Kaski
        2001, "Neighborhood preservation in nonlinear projection methods"); about 0.5 by chance.
    neighbor_accuracy : float or None
        Accuracy of a five-nearest-neighbour classifier on the map, in five-fold cross-validation;
        ``None`` without labels.
    n_rows : int
        The number of rows over which trustworthiness was measured.
    n_neighbors : int
        The number of neighbours it counts: fewer than asked for where there are few rows.
    """

    trustworthiness: float
    neighbor_accuracy: float | None
    n_rows: int
    n_neighbors: int


def score_map(
    X: Any,
    points: ArrayLike,
    y: ArrayLike | None = None,
    *,
    n_neighbors: int = 15,
    n_samples: int = 5000,
    random_state: int = 0,
    model: BaseAutoencoder | Encoder | None = None,
) -> MapScores:
    """Measure a map against the rows that it shows.

    Parameters
    ----------
    X : array-like of shape (n, *sample_shape)
        The rows. Without a model, distances between them count as they are: scale columns of
        different units.
    points : array-like of shape (n, 2)
        The place of each row.
    y : array-like of shape (n,), optional
        A label for each row.
    n_neighbors : int, default=15
        The number of neighbours for trustworthiness; fewer where the rows are not more than twice
        as many.
    n_samples : int, default=5000
        The number of rows, drawn at random, over which trustworthiness is measured; it takes time
        and memory of order n_samples².
    random_state : int, default=0
        Random seed of the draw, and of the parts of cross-validation.
    model : BaseAutoencoder or Encoder, optional
        A fitted model: rows, in the units of its training data, are scaled as it scales them.

    Returns
    -------
    MapScores

    Raises
    ------
    ParameterError
        If n_neighbors or n_samples is out of range.
    DataError
        If there are fewer than 3 rows, points or labels do not fit them, something is not finite,
        or all labels are the same.

    Examples
    --------
    >>> from narrows import datasets
    >>> digits = datasets.load("digits")
    >>> X, y = digits.X_test, digits.y_test
    >>> poor = score_map(X, X[:, :2, 3], y)  # the map shows two pixels
    >>> round(poor.trustworthiness, 2), poor.n_rows, poor.n_neighbors
    (0.65, 360, 15)
    """
    check_number("n_neighbors", n_neighbors, low=1, integral=True)
    check_number("n_samples", n_samples, low=3, integral=True)
    rows = X if isinstance(X, LazyRows) else flat_rows(X)
    shape, places, n = np.shape(X)[1:], flat_rows(points, "points"), len(rows)
    if len(places) != n:
        raise DataError(f"{len(places)} points were given for {n} rows; give one for each")
    if n < 3:
        raise DataError(f"{n} rows have no neighbours to compare; give at least 3")
    accuracy = None if y is None else _neighbor_accuracy(places, y, random_state)
    if n > n_samples:
        drawn = np.sort(np.random.default_rng(random_state).permutation(n)[:n_samples])
        rows, places = rows[drawn], places[drawn]
    rows = flat_rows(rows)
    if model is not None:
        rows = model.scaling_(as_tensor(rows.reshape(len(rows), *shape))).flatten(1).numpy()
    k = min(n_neighbors, (len(rows) - 1) // 2)
    return MapScores(float(trustworthiness(rows, places, n_neighbors=k)), accuracy, len(rows), k)


def _neighbor_accuracy(places: NDArray[Any], y: ArrayLike, random_state: int) -> float:
    n = len(places)
    classes, labels = groups_of(y, n)
    if len(classes) < 2:
        raise DataError(
            f"all labels are {classes.tolist()[0]!r}; give at least two classes, or no labels"
        )
    folds = KFold(min(_FOLDS, n), shuffle=True, random_state=random_state)
    voters = KNeighborsClassifier(min(_VOTERS, n - -(-n // folds.n_splits)))
    return float(cross_val_score(voters, places, labels, cv=folds).mean())


def flat_rows(X: Any, name: str = "X") -> NDArray[Any]:
    """Turn rows of any shape into a table of finite numbers, (n, F); raise a DataError if not."""
    rows = as_finite_rows(X, name)
    flat = as_tensor(rows).reshape(len(rows), math.prod(rows.shape[1:]))  # types that torch has
    values: NDArray[Any] = flat.numpy()
    return values


def read_points(points: ArrayLike) -> NDArray[Any]:
    """Turn points into an array (n, 2) of finite numbers; raise a DataError if not."""
    places = flat_rows(points, "points")
    if places.shape[1] != 2:
        raise DataError(f"points have shape {places.shape}; give two numbers for each")
    return places
