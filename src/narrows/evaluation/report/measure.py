"""Measuring what a report shows."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.errors import DataError
from narrows.evaluation.report.figures import Errors, Learning, Units
from narrows.evaluation.report.yardstick import Rows, Yardstick
from narrows.models.base import BaseAutoencoder
from narrows.models.posterior import ACTIVE
from narrows.models.sparse import SparseAutoencoder
from narrows.models.variational import VariationalAutoencoder
from narrows.training.history import History

# Of the logarithms of errors: median absolute deviations above the median from which a row is an
# outlier, and what makes such a deviation a standard deviation of normal data.
_FAR, _NORMAL = 4.0, 1.4826
# Of a unit, against the mean over units: the share of variance below which it is constant.
_CONSTANT = 1e-4
_FEWEST_EPOCHS = 5
_LEAST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Coded:
    """Rows, and what a model makes of them.

    Attributes
    ----------
    X : ndarray of shape (n, ...)
        In the units of the model's training data.
    rows : ndarray of shape (n, F)
        The same; 8-bit pixels from 0 to 1.
    codes : ndarray of shape (n, K)
    errors : ndarray of shape (n,)
        Mean squared errors of ``rows``.
    """

    X: NDArray[Any]
    rows: Rows
    codes: NDArray[np.float32]
    errors: NDArray[np.float32]

    @classmethod
    def of(cls, model: BaseAutoencoder, X: NDArray[Any]) -> "Coded":
        """Encode and measure rows."""
        codes = model.transform(X)
        if tuple(X.shape[1:]) != tuple(model.sample_shape_):
            raise DataError(
                f"rows have shape {X.shape[1:]}, those learned from {model.sample_shape_}; bring "
                "them to that for a report"
            )
        with np.errstate(over="ignore"):
            errors = np.asarray(model.reconstruction_error(X) / pixel_scale(X) ** 2, np.float32)
        if not np.isfinite(errors).all():
            row = int(np.argmax(~np.isfinite(errors)))
            raise DataError(
                f"the error of row {row}, counted from 0, is beyond 3.4e38; leave out rows so far "
                "from those learned from"
            )
        return cls(X, as_rows(X), codes, errors)


def pixel_scale(X: NDArray[Any]) -> float:
    """Return what values are divided by to be counted: 8-bit pixels are, from 0 to 1."""
    return 255.0 if X.dtype == np.uint8 else 1.0


def as_rows(X: NDArray[Any]) -> Rows:
    """Lay samples flat, as they are counted."""
    return np.asarray(X, np.float32).reshape(len(X), -1) / np.float32(pixel_scale(X))


def measure_errors(coded: Coded, units: Units, yardstick: Yardstick) -> Errors:
    """Set a model's errors beside PCA's and the mean row's."""
    width = units.numbers
    threshold = outlier_threshold(coded.errors)
    return Errors(
        model=_mean(coded.errors),
        mean_row=_mean(yardstick.errors(0)),
        pca=_mean(yardstick.errors(width)) if width <= yardstick.most else None,
        pca_components=width,
        outlier_threshold=threshold,
        outliers=int((coded.errors > threshold).sum()),
    )


def outlier_threshold(errors: NDArray[np.floating]) -> float:
    """Return the error from which a row is an outlier.

    The logarithms of errors are about normal; their median and median absolute deviation do not
    follow the outliers themselves.

    Examples
    --------
    >>> errors = np.exp(np.random.default_rng(0).normal(0, 1, 100_000))
    >>> f"{np.log(outlier_threshold(errors)):.1f} standard deviations"
    '4.0 standard deviations'
    """
    # Each once: where most rows are the same, their own spread is none.
    logs = np.log(np.maximum(np.unique(errors), _LEAST))
    middle = np.median(logs)
    # Rounding must not put rows that are all the same beyond it.
    return float(np.exp(middle + _FAR * _NORMAL * np.median(np.abs(logs - middle)))) * (1 + 1e-6)


def measure_units(model: BaseAutoencoder, coded: Coded) -> Units:
    """Count the units of the code that say nothing of these rows."""
    n = coded.codes.shape[1]
    variances = coded.codes.var(axis=0, dtype=np.float64)
    if isinstance(model, SparseAutoencoder):
        sparsity = model.code_sparsity(coded.X)
        on = float(sparsity.active_share.mean(dtype=np.float64)) * n
        # A sigmoid that is said to be off still tells its number.
        numbers = n if model.sparsity == "kl" else max(1, round(on))
        return Units(n, int(sparsity.dead_units.sum()), "dead", numbers, on)
    if isinstance(model, VariationalAutoencoder):
        return Units(n, int((variances <= ACTIVE).sum()), "collapsed", n)
    return Units(n, int((variances <= _CONSTANT * variances.mean()).sum()), "constant", n)


def measure_learning(
    model: BaseAutoencoder,
    coded: Coded,
    threshold: float,
    learned_from: NDArray[Any] | None,
    random_state: int,
) -> Learning:
    """Read a model's history, and set its loss on these rows beside that on the training rows.

    Outliers are left out: of them the model need not have learned anything to be a good one.
    """
    X = coded.X[coded.errors <= threshold]
    history = model.history_
    train = history.best.get("reconstruction")
    here = model.loss_terms(X, random_state=random_state).get("reconstruction")
    excess = None
    if learned_from is not None:
        typical = _mean(coded.errors[coded.errors <= threshold])
        excess = typical / max(_mean(Coded.of(model, learned_from).errors), _LEAST) - 1
    elif train is not None and here is not None:
        excess = _excess(model, train, here)
    return Learning(
        epochs=len(history),
        best_epoch=history.best_epoch,
        ended=history.ended,
        late_fall=_late_fall(history),
        train_loss=train,
        rows_loss=here,
        excess=excess,
    )


def _excess(model: BaseAutoencoder, train: float, here: float) -> float | None:
    """Tell by which share the squared error on these rows is larger than on those learned from.

    With a learned variance v of F features, the negative log density of a row is
    F/2 log(2 pi v) + SE / (2 v), and v is SE / F of the training rows: a relative excess r of the
    squared error raises it by r F / 2. Other densities do not tell it.
    """
    if model.loss_ == "squared_error":
        return (here - train) / max(train, _LEAST)
    learned = isinstance(model, VariationalAutoencoder) and model.variance == "learned"
    if learned and model.loss_ == "gaussian":
        return 2 * (here - train) / math.prod(model.sample_shape_)
    return None


def _late_fall(history: History) -> float | None:
    if len(history) < _FEWEST_EPOCHS:
        return None
    losses: list[float] = history[
        "validation_loss" if "validation_loss" in history.columns else "loss"
    ]
    late = losses[-1 - max(1, len(losses) // 10)]
    whole = losses[0] - min(losses)
    return float((late - losses[-1]) / whole) if whole > 0 else 0.0


def _mean(values: NDArray[np.floating]) -> float:
    return float(values.mean(dtype=np.float64))
