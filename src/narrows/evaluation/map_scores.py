"""How far a map can be trusted: whether neighbours on it are neighbours in the data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.manifold import trustworthiness
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from narrows.data.arrays import as_tensor
from narrows.data.lazy import LazyRows
from narrows.errors import DataError
from narrows.evaluation.given import flat_rows, groups_of
from narrows.models.base import BaseAutoencoder
from narrows.models.halves import Encoder
from narrows.models.validation import check_number

_VOTERS, _FOLDS = 5, 5


@dataclass(frozen=True)
class MapScores:
    """How good a map is; both figures from 0 to 1, higher is better.

    Attributes
    ----------
    trustworthiness : float
        Whether those near a row on the map are near it in the data: 1 less a penalty for each of
        the ``n_neighbors`` on the map, by how many others are nearer in the data (Venna & Kaski
        2001, "Neighborhood preservation in nonlinear projection methods"); about 0.5 by chance.
    neighbor_accuracy : float or None
        Share of the rows whose label the five nearest on the map name, in cross-validation over
        five parts; ``None`` without labels.
    n_rows : int
        Rows over which trustworthiness was measured.
    n_neighbors : int
        Neighbours that it looked at: fewer than asked for where there are few rows.
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
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C)
        The rows. Without a model, distances between them count as they are: scale columns of
        different units.
    points : array-like of shape (n, 2)
        Where each lies.
    y : array-like of shape (n,), optional
        A label for each.
    n_neighbors : int, default=15
        Of trustworthiness. Where the rows looked at are not more than twice as many, fewer.
    n_samples : int, default=5000
        Rows, drawn at random, over which trustworthiness is measured; it takes time and memory of
        order n_samples².
    random_state : int, default=0
        Of the draw, and of the parts of cross-validation.
    model : BaseAutoencoder or Encoder, optional
        Fitted: rows, in the units of its training data, are scaled as it scales them.

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
