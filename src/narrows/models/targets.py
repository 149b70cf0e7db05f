"""What is given beside the rows: labels, which are not used, or the clean rows of pairs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.containers import gives_rows
from narrows.data.lazy import LazyRows
from narrows.errors import DataError


def is_rows(y: Any, sample_shape: tuple[int, ...]) -> bool:
    """Tell whether what was given as ``y`` are rows like others, and no labels.

    Parameters
    ----------
    y : object
        Labels have the shape (n,) or (n, 1), or (n, m) where there are several of each row.
    sample_shape : tuple of int
        Of one of the other rows.

    Examples
    --------
    >>> is_rows(np.zeros((5, 8)), (8,)), is_rows(np.zeros((5, 1)), (8,))
    (True, False)
    """
    if isinstance(y, str | Path | LazyRows) or gives_rows(y):
        return True
    own = shape_of(y)[1:]
    return len(own) > 1 or (len(own) == 1 and own[0] == math.prod(sample_shape) != 1)


def shape_of(given: Any) -> tuple[int, ...]:
    """Return the shape of an array or of what turns into one; ``()`` of anything else."""
    try:
        return tuple(given.shape if hasattr(given, "shape") else np.asarray(given).shape)
    except ValueError:  # lists of different lengths
        return ()


def check_no_pairs(owner: object, X: NDArray[Any] | LazyRows, y: Any) -> None:
    """Refuse clean rows where they would be left out.

    Parameters
    ----------
    owner : BaseAutoencoder
        A model that learns from rows alone.
    X : ndarray or LazyRows of shape (n, ...)
        The rows, checked.
    y : object
        What was given beside them.

    Raises
    ------
    DataError
        If it has the shape of rows.
    """
    if is_rows(y, X.shape[1:]):
        if isinstance(y, str | Path):
            what = f"{str(y)[:80]!r}"
        else:
            what = f"({type(y).__name__})" if gives_rows(y) else f"of shape {shape_of(y)}"
        raise DataError(
            f"y {what} was given beside X of shape {tuple(X.shape)}, and {type(owner).__name__} "
            "does not learn from pairs of rows: it would leave y out; use "
            "DenoisingAutoencoder().fit(noisy, clean), give labels of shape (n,), or leave y out"
        )
