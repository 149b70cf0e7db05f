"""A second look at the candidates that codes suggested: at their pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pixel_distances(query: NDArray[Any], pictures: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mean squared difference between a picture and each of some others.

    Parameters
    ----------
    query : ndarray of shape sample_shape
        In any units.
    pictures : ndarray of shape (n, *sample_shape)
        In the same units.

    Returns
    -------
    ndarray of float32 and shape (n,)
        In these units squared.

    Examples
    --------
    >>> pixel_distances(np.array([[0, 3]]), np.array([[[0, 3]], [[4, 3]]]))
    array([0., 8.], dtype=float32)
    """
    differences = (pictures.astype(np.float64) - query).reshape(len(pictures), -1)
    means: NDArray[np.float64] = np.square(differences).mean(axis=1)
    return means.astype(np.float32)
