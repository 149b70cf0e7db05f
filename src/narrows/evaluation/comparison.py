"""A model beside PCA with the same code size, on rows that neither has seen."""

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import KNeighborsClassifier

from narrows.errors import DataError, ParameterError
from narrows.evaluation.error_units import choose_unit, find_columns
from narrows.evaluation.report.measure import Coded, check_shape
from narrows.evaluation.report.origin import origin_of
from narrows.evaluation.report.yardstick import Yardstick, pca_scale
from narrows.models.base import BaseAutoencoder


@dataclass(frozen=True)
class Scores:
    """What one method reaches.

    Attributes
    ----------
    method : str
        "PCA" or the model's class.
    n_components : int
        The width of its codes.
    reconstruction_error : float
        Mean squared error over all test rows and features; lower is better. 8-bit pixels count
        from 0 to 1 here, everything else in the data's own units.
    neighbor_accuracy : float or None
        Share of the test rows to which a nearest-neighbour classifier on the codes gives the
        right label, 0 to 1; ``None`` without labels.
    variance_left : float or None
        Of tables, and signals of several channels, whose columns have different units: the squared
        error of each column as a share of its variance, the mean over columns, that is 1 less the
        uniformly averaged R squared. The error in data units says little there, as the column with
        the largest numbers decides it. This PCA sees columns as the model scales them, or, where
        that divides all by one number, divided by their standard deviations. ``None`` where columns
        share a unit.
    n_test : int
        Rows that both are scored on.
    n_learned : int or None
        How many of these the model has learned from, by its own memory; ``None`` where it cannot
        tell of any. Where it is not 0, the score does not tell how well the model does on others.
    """

    method: str
    n_components: int
    reconstruction_error: float
    neighbor_accuracy: float | None
    variance_left: float | None = None
    n_test: int = 0
    n_learned: int | None = None


def compare_with_pca(
    model: BaseAutoencoder,
    X_train: NDArray[Any],
    X_test: NDArray[Any],
    y_train: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    n_neighbors: int = 5,
) -> list[Scores]:
    """Score PCA and a fitted model on the same test rows.

    Parameters
    ----------
    model : BaseAutoencoder
        Fitted on ``X_train``.
    X_train, X_test : ndarray of shape (n, F), (n, H, W) or (n, H, W, C)
        What PCA is fitted on, and what both are scored on.
    y_train, y_test : array-like of shape (n,), optional
        Labels; without them there is no accuracy.
    n_neighbors : int, default=5
        Of the classifier on the codes.

    Returns
    -------
    list of Scores
        PCA's, then the model's.

    Raises
    ------
    NotFittedError
        If the model has learned nothing yet.
    ParameterError
        If PCA cannot have as many components as the model's codes are wide.
    DataError
        If only one of the two sets of labels is given, or rows do not fit the model.

    Examples
    --------
    >>> from narrows import Autoencoder, datasets
    >>> X_train, y_train, X_test, y_test = datasets.load("digits")
    >>> model = Autoencoder(n_components=8, max_epochs=2, random_state=0).fit(X_train)
    >>> pca, own = compare_with_pca(model, X_train, X_test, y_train, y_test)
    >>> f"{pca.method}: {pca.reconstruction_error:.4f}"
    'PCA: 0.0246'
    """
    if (y_train is None) != (y_test is None):
        raise DataError("labels are given for one of the two sets only; give both or neither")
    train, test = (model._check_rows(X) for X in (X_train, X_test))
    check_shape(model, train)
    check_shape(model, test)
    width, n_features = model.n_components, math.prod(train.shape[1:])
    if width > min(len(train), n_features):
        raise ParameterError(
            f"PCA cannot have {width} components on {len(train)} rows of {n_features} "
            "features; compare a model whose codes are at most that wide"
        )
    unit = choose_unit(test, find_columns(model, train))
    yardstick = Yardstick(
        test, unit.data or unit, "training rows", train, sizes=[width], random_state=0
    )
    coded = Coded.of(model, test, unit)
    errors = [float(one.mean()) for one in (yardstick.errors(width), coded.data_errors)]
    left: list[float | None] = [None, None]
    (pca,) = yardstick.fitted
    if unit.kind == "variance":
        scaled = Yardstick(
            test,
            unit,
            "training rows",
            train,
            sizes=[width],
            scale=pca_scale(model, unit),
            random_state=0,
        )
        left = [float(one.mean()) for one in (scaled.errors(width), coded.errors)]
        (pca,) = scaled.fitted
    accuracies: list[float | None] = [None, None]
    if y_train is not None and y_test is not None:
        codes = (pca.transform(train), pca.transform(test)), (model._encode(train), coded.codes)
        accuracies = [
            float(KNeighborsClassifier(n_neighbors).fit(one, y_train).score(other, y_test))
            for one, other in codes
        ]
    origin, _ = origin_of(model, test)
    return [
        Scores(
            method=method,
            n_components=width,
            reconstruction_error=errors[place],
            neighbor_accuracy=accuracies[place],
            variance_left=left[place],
            n_test=len(test),
            n_learned=None if origin.n_unknown == len(test) else origin.n_learned,
        )
        for place, method in enumerate(("PCA", type(model).__name__))
    ]
