"""Which of the rows given a model has learned from, and which of them its figures come from."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from narrows.evaluation.report.figures import Origin
from narrows.models import learned_rows
from narrows.models.base import BaseAutoencoder

# Rows not learned from that are enough to measure on these alone.
FEWEST_UNSEEN = 10


def origin_of(model: BaseAutoencoder, X: NDArray[Any]) -> tuple[Origin, NDArray[np.int8]]:
    """Ask a model which rows it learned from.

    Parameters
    ----------
    model : BaseAutoencoder
        Fitted.
    X : ndarray of shape (n, ...)
        In the units of the training data.

    Returns
    -------
    origin : Origin
        How many are of which kind, and which of them are measured.
    membership : ndarray of int8 and shape (n,)
        As :meth:`narrows.models.learned_rows.LearnedRows.membership`; all unknown where the model
        does not remember its rows.
    """
    known = model.learned_rows_
    membership = (
        np.full(len(X), learned_rows.UNKNOWN, np.int8) if known is None else known.membership(X)
    )
    unknown, new, held_out, learned = (int(n) for n in np.bincount(membership, minlength=4))
    kind: Literal["unseen", "learned", "unknown"]
    if new + held_out >= FEWEST_UNSEEN:
        kind, count = "unseen", new + held_out
    else:
        kind, count = ("learned" if learned else "unknown"), len(X)
    n_training = None if known is None else known.n_learned
    origin = Origin(kind, count, held_out, new, learned, unknown, n_training)
    return origin, membership


def all_new(model: BaseAutoencoder, count: int) -> tuple[Origin, NDArray[np.int8]]:
    """Describe rows that were kept apart from training."""
    known = model.learned_rows_
    n_training = None if known is None else known.n_learned
    origin = Origin("unseen", count, 0, count, 0, 0, n_training)
    return origin, np.full(count, learned_rows.NEW, np.int8)


def is_measured(origin: Origin, membership: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Tell of each row whether the figures come from it."""
    if origin.measured_on != "unseen":
        return np.ones(len(membership), bool)
    unseen: NDArray[np.bool_] = np.isin(membership, (learned_rows.NEW, learned_rows.HELD_OUT))
    return unseen
