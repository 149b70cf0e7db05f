"""Maps of rows on a plane by four methods, each of which can place more rows and restore them.

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
from sklearn.manifold import TSNE
from torch import Tensor

from narrows.data.arrays import as_tensor
from narrows.data.principal import fit_pca
from narrows.data.tempfile_rows import fits, scratch_rows
from narrows.errors import DataError, MissingDependencyError, ParameterError
from narrows.evaluation.given import flat_rows
from narrows.models.base import BaseAutoencoder
from narrows.models.halves import Encoder
from narrows.models.validation import check_choice, check_number

Distances = Literal["auto", "restored", "codes"]
DISTANCES: tuple[Distances, ...] = ("auto", "restored", "codes")

# Values of all restored rows together, beyond which codes are used: half a gigabyte.
_MOST_VALUES = 2**27
# Each in single precision, twice.
_BYTES_A_VALUE = 8


@dataclass(frozen=True)
class _Space:
    """What a map's distances are between: rows, a model's codes, or the rows that these restore.

    Attributes
    ----------
    kind : {"rows", "codes", "restored"}
        Of what the numbers are; restored rows are scaled as the model scales them.
    model : BaseAutoencoder, Encoder or None
    row_shape : tuple of int
        Of what :meth:`rows` gives.
    """

    kind: Literal["rows", "codes", "restored"]
    model: BaseAutoencoder | Encoder | None
    row_shape: tuple[int, ...]

    @classmethod
    def of(cls, X: Any, model: BaseAutoencoder | Encoder | None, distances: Distances) -> "_Space":
        """Choose the space of a map of rows.

        Raises
        ------
        ParameterError
            If restored rows are wished for, and there is nothing to restore them.
        """
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
        """Turn rows into a table (n, F).

        Raises
        ------
        DataError
            If they are not like those that the map is of.
        """
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


_NEIGHBOR = 5  # its distance is the unit of all widths
_MEASURED = 1_000  # landmarks whose neighbour is looked for
# Of a, b and c; chosen on held-out training rows of Fashion-MNIST.
_WIDTH_OF_ROWS, _WIDTH_OF_PLACES, _WIDTH_OF_STEP = 0.6, 1.0, 1.2
_PLACED = 128  # rows whose affinities stay in the processor's cache


@dataclass(frozen=True)
class Landmarks:
    """An autoencoder whose code is a place on a plane, made of rows with known places.

    Encoder f and decoder g are means over the landmarks z_l at places v_l, weighted by nearness, as
    in kernel t-SNE (Gisbrecht, Schulz & Hammer 2015, "Parametric nonlinear dimensionality reduction
    using kernel t-SNE", Neurocomputing 147) and unsupervised kernel regression (Meinicke, Klanke,
    Memisevic & Ritter 2005, "Principal surfaces from unsupervised kernel regression", IEEE TPAMI
    27)::

        f(z) = sum_l p_l w_l v_l / sum_l p_l w_l,    p_l = exp(-||z - z_l||^2 / a^2)
        g(y) = sum_l q_l z_l / sum_l q_l,            q_l = exp(-||y - v_l||^2 / b^2)

    Without w, a row whose nearest landmarks form two groups on the map would lie between these,
    where no row is like it. With n the nearest landmark, w_l = 1 / (1 + ||v_n - v_l||^2 / c^2) is
    one step from v_n towards the minimum of sum_l p_l log(1 + ||y - v_l||^2 / c^2), by which t-SNE
    draws a row towards its neighbours.

    Attributes
    ----------
    rows : Tensor of shape (L, F)
    places : Tensor of shape (L, 2)
    near_rows, near_places : float
        The median distance to the fifth neighbour.
    """

    rows: Tensor
    places: Tensor
    near_rows: float
    near_places: float

    @classmethod
    def of(cls, rows: Tensor, places: Tensor) -> Self:
        """Measure landmarks."""
        return cls(rows, places, _nearness(rows), _nearness(places))

    @torch.inference_mode()
    def encode(self, z: Tensor) -> Tensor:
        """Place rows, (n, F) to (n, 2)."""
        # Kept one by one, small results would hold the heap apart, which then grows with the rows.
        places = torch.empty(len(z), 2)
        for block, place in zip(torch.split(z, _PLACED), torch.split(places, _PLACED), strict=True):
            place.copy_(self._encode(block))
        return places

    @torch.inference_mode()
    def decode(self, y: Tensor) -> Tensor:
        """Restore rows from their places, (n, 2) to (n, F)."""
        width = _WIDTH_OF_PLACES * self.near_places
        rows = torch.empty(len(y), self.rows.shape[1])
        for block, row in zip(torch.split(y, _PLACED), torch.split(rows, _PLACED), strict=True):
            row.copy_(_affinities(block, self.places, width).softmax(1) @ self.rows)
        return rows

    def _encode(self, z: Tensor) -> Tensor:
        # numpy finds the largest number's place faster than torch.
        affinities = _affinities(z, self.rows, _WIDTH_OF_ROWS * self.near_rows)
        nearest = torch.from_numpy(affinities.numpy().argmax(1))
        weights = affinities.softmax(1).div_(self._step(self.places[nearest]))
        # A product with three rows takes less time than one with three columns.
        weighed = (_with_ones(self.places).T @ weights.T).T
        return weighed[:, :2] / weighed[:, 2:]

    def _step(self, start: Tensor) -> Tensor:
        """Return 1 / w: 1 + ||v_n - v_l||^2 / c^2, (n, L), as one product of matrices."""
        scale = (_WIDTH_OF_STEP * self.near_places) ** 2
        lengths = self.places.square().sum(1, keepdim=True) / scale
        right = [-2 / scale * self.places, 1 + lengths, torch.full_like(lengths, 1 / scale)]
        left = [_with_ones(start), start.square().sum(1, keepdim=True)]
        return torch.cat(left, 1) @ torch.cat(right, 1).T


def _with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1)], 1)


def _affinities(x: Tensor, landmarks: Tensor, width: float) -> Tensor:
    """Return minus the squared distances over the squared width, but for a constant of each row."""
    scaled = landmarks / width**2
    return torch.addmm(-(scaled * landmarks).sum(1), x, scaled.T, alpha=2)


def _nearness(x: Tensor) -> float:
    """Return the median distance to the fifth neighbour, or a little of the spread if it is 0."""
    distances = torch.cdist(x[:_MEASURED], x)
    k = min(_NEIGHBOR, len(x) - 1)
    nearest = distances.kthvalue(k + 1, dim=1).values.median()  # the row itself is the first
    return max(float(nearest), 1e-3 * float(x.std()))


MapMethod = Literal["autoencoder", "pca", "tsne", "umap"]
MAP_METHODS: tuple[MapMethod, ...] = ("autoencoder", "pca", "tsne", "umap")

# Columns that everything but PCA sees, rows that those are chosen from, and landmarks.
_WIDTH, _ROWS_OF_PCA, _LANDMARKS = 50, 20_000, 3_000
# Rows of more columns than this are wide, and the directions of these are learned from fewer.
_WIDE, _ROWS_OF_WIDE = 4_096, 5_000
_ROWS_OF_KMEANS, _STEPS_OF_KMEANS, _STEPS_OF_TSNE = 60_000, 3, 500
_REDUCED = 1024  # rows at a time
_LARGEST_SEED = 2**31 - 1
_PERPLEXITY, _NEIGHBORS_OF_UMAP = 30, 15


@dataclass(frozen=True)
class _Halves:
    """From flat rows (n, F) to places (n, 2), and back."""

    encode: Callable[[NDArray[Any]], NDArray[np.float32]]
    decode: Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Projection:
    """A map, and how to put more rows on it.

    Attributes
    ----------
    points : ndarray of shape (n, 2), float32
        Where each row lies.
    method : {"autoencoder", "pca", "tsne", "umap"}
        What made it.
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
        X : array-like of shape (m, ...)
            Rows like those that the map was made from; with a model, rows for it.

        Returns
        -------
        ndarray of shape (m, 2), float32
            Of "tsne" and "umap": where those of the map's rows lie that are nearest to them.

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
            If they are no finite places.

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
        places = flat_rows(points, "points")
        if places.shape[1] != 2:
            raise DataError(f"points have shape {places.shape}; give two numbers for each")
        return self._space.rows(self._halves.decode(places))


def project(
    X: Any,
    *,
    method: MapMethod = "autoencoder",
    model: BaseAutoencoder | Encoder | None = None,
    distances: Distances = "auto",
    random_state: int = 0,
) -> Projection:
    """Lay rows out on a plane.

    Parameters
    ----------
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C)
        Rows, or codes.
    method : {"autoencoder", "pca", "tsne", "umap"}, default="autoencoder"
        "autoencoder": a code of two numbers, by at most 3 000 landmarks that t-SNE lays out; it
        places rows at once, and restores them from their places. "pca": the two directions in
        which the rows differ most. "tsne" (needs openTSNE, ``narrows[tsne]``), from PCA on, and
        "umap" (needs ``narrows[umap]``) lay out all rows, which takes longer.
    model : BaseAutoencoder or Encoder, optional
        Fitted: the map then shows what it keeps of X, which is in the units of its training data.
        If its code has two numbers, "autoencoder" takes these. Without a model distances between
        rows count as they are: scale columns of different units.
    distances : {"auto", "restored", "codes"}, default="auto"
        Of the model: between what codes restore, in the units that it scales rows to, or between
        codes, whose units only the decoder knows. The former keep more of what is near in X, the
        latter often more of the classes. "auto" is "restored", but "codes" of an encoder alone, of
        pictures of any size, and of more than 2^27 values.
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
    is_map = method == "autoencoder" and model is not None and _code_width(model) == 2
    space = _Space.of(X, model, "codes" if is_map else distances)
    table = space.table(X)
    if len(table) < 3:
        raise DataError(f"{len(table)} rows make no map; give at least 3")
    if (table.min(0) == table.max(0)).all():
        raise DataError("all rows are the same, and make no map; give rows that differ")
    if is_map:
        halves = _Halves(lambda codes: codes, lambda points: points)
        points = table
    elif method == "pca":
        halves = _by_pca(table)
        points = halves.encode(table)
    elif method == "autoencoder":
        halves = _by_landmarks(table, random_state)
        points = halves.encode(table)
    else:
        points, halves = _by_layout(table, random_state, method)
    return Projection(points, method, space.kind, halves, space)


def _code_width(model: BaseAutoencoder | Encoder) -> int:
    spec = model.spec if isinstance(model, Encoder) else model.spec_
    return spec.code_width


def _by_pca(table: NDArray[Any]) -> _Halves:
    if table.shape[1] < 2:
        raise DataError("rows of one number have no second direction; give at least two columns")
    pca = fit_pca(_some(table, _rows_of_pca(table, len(table)), 0), 2)
    return _Halves(
        lambda rows: pca.transform(rows).astype(np.float32),
        lambda points: pca.inverse_transform(points).astype(np.result_type(table, np.float32)),
    )


def _rows_of_pca(table: NDArray[Any], most: int) -> int:
    """Return how many rows directions are learned from: of wide ones fewer, so that it is soon."""
    return most if table.shape[1] <= _WIDE else min(most, _ROWS_OF_WIDE)


def _by_landmarks(table: NDArray[Any], seed: int) -> _Halves:
    reduction = _Reduction.of(table, seed)
    # Rows that come again and again would leave k-means fewer means than landmarks.
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
    """Lay out by another package, and place others among some of these rows."""
    reduction = _Reduction.of(table, seed)
    rows = reduction(table)
    points = _tsne(rows, seed) if method == "tsne" else _umap(rows, seed)
    both = _some(np.hstack([rows, points]), _LANDMARKS, seed)
    return points, _around(reduction, both[:, :-2], both[:, -2:])


def _around(
    reduction: "_Reduction", rows: NDArray[np.float32], places: NDArray[np.float32]
) -> _Halves:
    """Make an autoencoder of landmarks."""
    landmarks = Landmarks.of(*(torch.tensor(x, dtype=torch.float32) for x in (rows, places)))

    def encode(given: NDArray[Any]) -> NDArray[np.float32]:
        return landmarks.encode(torch.from_numpy(reduction(given))).numpy()

    def decode(given: NDArray[Any]) -> NDArray[Any]:
        return reduction.undo(landmarks.decode(torch.tensor(given, dtype=torch.float32)).numpy())

    return _Halves(encode, decode)


def _tsne(reduced: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    try:
        import openTSNE
    except ImportError as error:
        raise _missing("tsne", "openTSNE") from error
    made = openTSNE.TSNE(perplexity=_perplexity(reduced), initialization="pca", random_state=seed)
    return np.asarray(made.fit(reduced), np.float32)


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


def _perplexity(rows: NDArray[Any]) -> float:
    return min(_PERPLEXITY, (len(rows) - 1) / 3)


@dataclass(frozen=True)
class _Reduction:
    """The directions in which rows differ most; one scale for all of them keeps distances."""

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]  # (F, k), orthonormal
    scale: float
    dtype: np.dtype[Any]  # of rows that are restored

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
