"""A model beside PCA with the same code size, on rows that neither has seen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from narrows.errors import DataError, ParameterError
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
    """

    method: str
    n_components: int
    reconstruction_error: float
    neighbor_accuracy: float | None


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
    ParameterError
        If PCA cannot have as many components as the model's codes are wide.
    DataError
        If only one of the two sets of labels is given.

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
    train, test = _rows(X_train), _rows(X_test)
    width = model.n_components
    if width > min(train.shape):
        raise ParameterError(
            f"PCA cannot have {width} components on {len(train)} rows of {train.shape[1]} "
            "features; compare a model whose codes are at most that wide"
        )
    pca = PCA(width, random_state=0).fit(train)
    candidates = [
        ("PCA", pca.transform(train), pca.transform(test), None),
        (type(model).__name__, model.transform(X_train), model.transform(X_test), model),
    ]
    scores = []
    for method, train_codes, test_codes, decoder in candidates:
        if decoder is None:
            restored = pca.inverse_transform(test_codes)
        else:
            restored = _rows(decoder.inverse_transform(test_codes), like=X_test)
        error = float(np.mean((restored - test) ** 2))
        accuracy = None
        if y_train is not None and y_test is not None:
            classifier = KNeighborsClassifier(n_neighbors).fit(train_codes, y_train)
            accuracy = float(classifier.score(test_codes, y_test))
        scores.append(Scores(method, width, error, accuracy))
    return scores


def _rows(X: NDArray[Any], like: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """Flatten the samples, and let 8-bit pixels count from 0 to 1."""
    is_pixels = (X if like is None else like).dtype == np.uint8
    rows = np.asarray(X, np.float32).reshape(len(X), -1)
    return rows / np.float32(255) if is_pixels else rows
