"""Measuring what a report shows."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from narrows.errors import DataError
from narrows.evaluation.error_units import Columns as Found
from narrows.evaluation.error_units import ErrorUnit, Weights, scales_columns
from narrows.evaluation.report.figures import ColumnError, Columns, Errors, Learning, Units
from narrows.evaluation.report.yardstick import Yardstick
from narrows.models.base import BaseAutoencoder
from narrows.models.density import ACTIVE
from narrows.models.halves import decode
from narrows.models.sparse import SparseAutoencoder
from narrows.models.variational import VariationalAutoencoder
from narrows.training.history import History

# Of the logarithms of errors: median absolute deviations above the median from which a row is an
# outlier, and what makes such a deviation a standard deviation of normal data.
_FAR, _NORMAL = 4.0, 1.4826
# Of a unit, against the mean over units: the share of variance below which it is constant.
_CONSTANT = 1e-4
_FEWEST_EPOCHS = 5
_LEAST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
# Of the largest spread: columns below it suffer where one number scales all.
_SMALL = 1 / 3
# Of PCA's error: what counts as the same.
_SAME = 0.05
_VALUES = 2**21


@dataclass(frozen=True)
class Coded:
    """Rows, and what a model makes of them.

    Attributes
    ----------
    X : ndarray of shape (n, ...)
        In the units of the model's training data.
    codes : ndarray of shape (n, K)
    errors : ndarray of shape (n,)
        Of each row, in the unit of the report.
    data_errors : ndarray of shape (n,)
        The same in the data's units, or of pixels from 0 to 1.
    squared_errors : ndarray of shape (F,)
        Of each value, the mean over rows, in the data's units squared.
    """

    X: NDArray[Any]
    codes: NDArray[np.float32]
    errors: NDArray[np.float64]
    data_errors: NDArray[np.float64]
    squared_errors: Weights

    @classmethod
    def of(
        cls,
        model: BaseAutoencoder,
        X: NDArray[Any],
        unit: ErrorUnit,
        numbers: NDArray[np.int64] | None = None,
    ) -> "Coded":
        """Encode rows, decode the codes, and measure the differences in double precision.

        Errors call rows by their numbers, if these are not 0, 1, ...
        """
        check_shape(model, X)
        codes = model._encode(X)
        scaling, width = model.scaling_.in_double(), math.prod(X.shape[1:])
        errors, squares = np.empty((2, len(X))), np.zeros(width)
        step = max(1, _VALUES // width)
        for start in range(0, len(X), step):
            block = slice(start, start + step)
            restored = decode(model.decoder_, scaling, codes[block], model.spec_)
            away = np.subtract(restored, X[block], dtype=np.float64).reshape(-1, width)
            with np.errstate(over="ignore"):
                np.square(away, out=away)
                errors[:, block] = unit.of(away), (unit.data or unit).of(away)
                squares += away.sum(axis=0)
        if not (errors <= _LARGEST).all():
            row = int(np.argmin((errors <= _LARGEST).all(axis=0)))
            row = row if numbers is None else int(numbers[row])
            raise DataError(
                f"the error of row {row}, counted from 0, is beyond 3.4e38; leave out rows so far "
                "from those learned from"
            )
        return cls(X, codes, errors[0], errors[1], squares / max(1, len(X)))

    def beside(self, other: "Coded", own: NDArray[np.bool_], X: NDArray[Any]) -> "Coded":
        """Put these rows, at the places that are their own among X, together with all others."""
        codes = np.empty((len(X), self.codes.shape[1]), np.float32)
        errors = np.empty((2, len(X)))
        for part, places in ((self, own), (other, ~own)):
            codes[places] = part.codes
            errors[:, places] = part.errors, part.data_errors
        share = own.mean()
        squares = share * self.squared_errors + (1 - share) * other.squared_errors
        return Coded(X, codes, errors[0], errors[1], squares)


def check_shape(model: BaseAutoencoder, X: NDArray[Any]) -> None:
    """Refuse rows of another shape than those learned from.

    Raises
    ------
    DataError
        If they have.
    """
    if tuple(X.shape[1:]) != tuple(model.sample_shape_):
        raise DataError(
            f"rows have shape {X.shape[1:]}, those learned from {model.sample_shape_}; bring "
            "them to that for a report"
        )


def measure_errors(errors: NDArray[np.float64], numbers: int, yardstick: Yardstick) -> Errors:
    """Set a model's errors beside those of PCA and the mean row in the same unit."""
    threshold = outlier_threshold(errors)
    pca = yardstick.errors(numbers) if numbers in yardstick.sizes else None
    return Errors(
        unit=yardstick.unit.kind,
        model=_mean(errors),
        mean_row=_mean(yardstick.errors(0)),
        pca=None if pca is None else _mean(pca),
        pca_difference=None
        if pca is None
        else float((errors - pca).std(ddof=1) / math.sqrt(len(errors))),
        pca_components=numbers,
        pca_fitted_on=yardstick.fitted_on,
        pca_rows=yardstick.n_learned,
        pca_columns="as they are" if yardstick.unit.kind != "variance" else "standardised",
        outlier_threshold=threshold,
        outliers=int((errors > threshold).sum()),
    )


def measure_columns(
    model: BaseAutoencoder,
    coded: Coded,
    found: Found,
    yardstick: Yardstick,
    *,
    errors: Errors,
    same_scaling: float | None,
) -> Columns | None:
    """Measure how well each column is restored; ``None`` where none varies.

    ``errors`` are those that the verdict is drawn from, beside what PCA leaves of columns as the
    model scales them.
    """
    numbers = errors.pca_components
    variances = yardstick.unit.variances
    if variances is None or not (variances > 0).any():
        return None
    varied = variances > 0
    shares = _shares(found.average(coded.squared_errors), variances)
    by_pca: list[float | None] = [None] * len(variances)
    if numbers in yardstick.sizes:
        by_pca = _shares(found.average(yardstick.squared_errors(numbers)), variances)
    each = [
        ColumnError(name, float(spread), own, pca)
        for name, spread, own, pca in zip(
            found.names, np.sqrt(variances), shares, by_pca, strict=True
        )
    ]
    scaling = scaling_of(model)
    worse = np.array([share is not None and share > 1 for share in shares])
    small = found.spreads < _SMALL * found.spreads.max()
    suffers = bool(worse.any() and small[worse].mean() > 1 / 2)
    if errors.pca is not None and same_scaling is not None:
        # PCA loses by this scaling as well.
        suffers |= min(errors.model, same_scaling) > (1 + _SAME) * errors.pca
    return Columns(
        kind=found.kind,
        each=each,
        worse_than_mean=int(worse.sum()),
        constant=int((~varied).sum()),
        worst=int(np.argmax([share or 0.0 for share in shares])),
        mixed_units=found.mixed,
        spread_ratio=found.ratio,
        model_scaling=scaling,
        scaling_is_why=suffers and found.mixed and scaling != "by column",
    )


def scaling_of(model: BaseAutoencoder) -> Literal["by column", "none", "unit", "global"]:
    """Tell whether a model divides each column by a number of its own, or all by one."""
    scaling = model.scaling_
    if scales_columns(model):
        return "by column"
    if scaling.shift.ndim:
        return "global"
    return "none" if float(scaling.shift) == 0 and float(scaling.scale) == 1 else "unit"


def _shares(squares: Weights, variances: Weights) -> list[float | None]:
    return [
        float(square / variance) if variance > 0 else None
        for square, variance in zip(squares, variances, strict=True)
    ]


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
    learned_errors: NDArray[np.float64] | None,
    *,
    is_unseen: bool,
    random_state: int,
) -> Learning:
    """Read a model's history, and set its loss on these rows beside that on the training rows.

    Outliers are left out: of them the model need not have learned anything to be a good one. Rows
    that the model learned from cannot tell whether it was overfitted; the history then does.
    """
    X = coded.X[coded.errors <= threshold]
    history = model.history_
    train = history.best.get("reconstruction")
    held_out = history.best.get("validation_reconstruction")
    here = model.loss_terms(X, random_state=random_state).get("reconstruction")
    excess: float | None = None
    excess_on: Literal["measured rows", "held-out rows"] = "measured rows"
    if not is_unseen:
        excess_on = "held-out rows"
        if train is not None and held_out is not None:
            excess = _excess(model, train, held_out)
    elif learned_errors is not None:
        typical = _mean(coded.errors[coded.errors <= threshold])
        excess = typical / max(_mean(learned_errors), _LEAST) - 1
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
        excess_on=excess_on,
        kept_start=history.best_epoch == 0 and history.start is not None,
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
    if history.ended == "early_stopping":  # more epochs made it no better
        return 0.0
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
