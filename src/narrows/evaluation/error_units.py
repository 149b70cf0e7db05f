"""In which unit errors are counted: pixels, the data's own, or shares of the columns' variance.

A table whose columns have different units has no error in "the data's units": the column with the
largest numbers decides it alone. There each column's squared error is divided by that column's
variance, and the mean over columns is one minus the uniformly averaged R squared.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from narrows.data.lazy import LazyRows
from narrows.data.signals import Windows
from narrows.models.base import BaseAutoencoder
from narrows.models.halves import Encoder
from narrows.models.resolve import choose_units

# How many times the spreads of columns may differ before they are taken for different units.
_ALIKE = 3.0
# Columns share a unit if at least half of them span the range of all values, within a tenth of it
# at each end: flattened pixels, answers from 1 to 5, yes and no.
_MOST, _NEAR = 0.5, 0.1
# Rounding in the mean of large values must not be taken for variance.
_ROUNDING = 1000 * np.finfo(np.float64).eps
_VALUES = 2**22

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """The columns of a table, or the channels of a signal.

    Attributes
    ----------
    kind : {"columns", "channels"}
    names : list of str
    of_feature : ndarray of int and shape (F,)
        Which of them each value of a row belongs to.
    spreads : ndarray of shape (G,)
        Standard deviation of each; 0 where it is constant.
    mixed : bool
        Whether they are taken to have different units: spreads differ by more than 3 times, and
        the model scales each column by itself, or fewer than half of the columns reach over about
        the whole range of all values, as flattened pixels do.
    """

    kind: Literal["columns", "channels"]
    names: list[str]
    of_feature: NDArray[np.int64]
    spreads: Weights
    mixed: bool

    @property
    def ratio(self) -> float:
        """How many times the largest spread is the smallest, of those above 0."""
        varied = self.spreads[self.spreads > 0]
        return float(varied.max() / varied.min()) if len(varied) else 1.0

    def average(self, of_features: Weights) -> Weights:
        """Average values of features (F,) over each column, (G,)."""
        counts = np.bincount(self.of_feature)
        return np.bincount(self.of_feature, weights=of_features) / counts


@dataclass(frozen=True)
class ErrorUnit:
    """How squared differences become the error of a row.

    Attributes
    ----------
    kind : {"pixels", "data", "variance"}
        8-bit pixels count from 0 to 1, other data in their own units; of columns of different
        units, the share of their variance counts.
    weights : ndarray of shape (F,)
        Of each value's squared difference; the sum over a row is its error.
    data : ErrorUnit or None
        Beside shares of the variance, the unit of the data.
    columns : Columns or None
        ``None`` for rows that are neither tables nor signals of several channels.
    variances : ndarray of shape (G,) or None
        Of each column, over the rows that are measured.
    """

    kind: Literal["pixels", "data", "variance"]
    weights: Weights
    data: "ErrorUnit | None" = None
    columns: Columns | None = None
    variances: Weights | None = None

    @property
    def scale(self) -> Weights | None:
        """What columns of different units are divided by to count alike, (F,); else ``None``."""
        if self.kind != "variance":
            return None
        varied = self.weights > 0
        return np.sqrt(np.divide(1, self.weights, where=varied, out=np.ones_like(self.weights)))

    def of(self, squares: Weights) -> Weights:
        """Return the errors of rows, (n,), by their squared differences (n, F)."""
        errors: Weights = squares @ self.weights
        return errors


def find_columns(
    model: BaseAutoencoder | Encoder, X: NDArray[Any], given: NDArray[Any] | LazyRows | None = None
) -> Columns | None:
    """Find which values of rows belong to one column, and whether columns have different units.

    Parameters
    ----------
    model : BaseAutoencoder or Encoder
        Which knows the architecture, the scaling, and the names of columns.
    X : ndarray of shape (n, ...)
        Rows like those learned from.
    given : ndarray or LazyRows, optional
        Where they are from: windows of a signal are known by that.

    Returns
    -------
    Columns or None
        ``None`` for pictures, and for signals of one channel.
    """
    spec = model.spec if isinstance(model, Encoder) else model.spec_
    shape, architecture = tuple(X.shape[1:]), spec.architecture
    units = choose_units(architecture, given if isinstance(given, Windows) else X)
    if len(units) == 2 and shape[1] > 1:
        kind: Literal["columns", "channels"] = "channels"
        names = [f"channel {number}" for number in range(shape[1])]
        of_feature = np.tile(np.arange(shape[1]), shape[0])
    elif len(units) == 1 and architecture != "convolutional_1d":
        kind = "columns"
        known = getattr(model, "feature_names_in_", None)
        names = [f"column {n}" for n in range(shape[0])] if known is None else [*map(str, known)]
        of_feature = np.arange(shape[0])
    else:
        return None
    flat = X.reshape(len(X), -1)
    low, high = (
        _reduced(best, values, of_feature)
        for best, values in ((np.minimum, flat.min(axis=0)), (np.maximum, flat.max(axis=0)))
    )
    spreads = np.sqrt(column_variances(flat, of_feature))
    varied = spreads > 0
    found = Columns(kind, names, of_feature, spreads, mixed=False)
    range_ = high.max() - low.min()
    full = (low <= low.min() + _NEAR * range_) & (high >= high.max() - _NEAR * range_)
    share_a_unit = not scales_columns(model) and full[varied].sum() >= _MOST * varied.sum()
    mixed = bool(found.ratio > _ALIKE and not share_a_unit)
    return Columns(kind, names, of_feature, spreads, mixed)


def scales_columns(model: BaseAutoencoder | Encoder) -> bool:
    """Tell whether a model divides each column by a number of its own."""
    scale = model.scaling_.scale
    return bool(scale.ndim and (scale != scale[0]).any())


def choose_unit(X: NDArray[Any], columns: Columns | None) -> ErrorUnit:
    """Choose how the errors of rows are counted.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        The rows that are measured: shares are of the variance over these.
    columns : Columns or None
        As :func:`find_columns` has them.
    """
    flat = X.reshape(len(X), -1)
    width, pixels = flat.shape[1], X.dtype == np.uint8
    if columns is None:
        return _uniform(width, pixels)
    variances = column_variances(flat, columns.of_feature)
    varied = variances > 0
    if not (columns.mixed and varied.any()):
        return _uniform(width, pixels, columns, variances)
    shares = np.divide(1, variances, where=varied, out=np.zeros_like(variances))
    sizes = np.bincount(columns.of_feature)
    weights = (shares / (sizes * varied.sum()))[columns.of_feature]
    return ErrorUnit("variance", weights, _uniform(width, pixels), columns, variances)


def _uniform(
    width: int, pixels: bool, columns: Columns | None = None, variances: Weights | None = None
) -> ErrorUnit:
    weights = np.full(width, 1 / (width * 255.0**2 if pixels else width))
    return ErrorUnit("pixels" if pixels else "data", weights, None, columns, variances)


def column_variances(flat: NDArray[Any], of_feature: NDArray[np.int64]) -> Weights:
    """Return each column's variance over rows (n, F), (G,); 0 where that is rounding alone."""
    mean = flat.mean(axis=0, dtype=np.float64)
    step = max(1, _VALUES // flat.shape[1])
    squares, rest = np.zeros_like(mean), np.zeros_like(mean)
    for start in range(0, len(flat), step):
        away = flat[start : start + step] - mean
        squares += np.square(away).sum(axis=0)
        rest += away.sum(axis=0)
    rest /= len(flat)
    mean, sizes = mean + rest, np.bincount(of_feature)
    # Of several features of one column, their means differ too.
    middle = (np.bincount(of_feature, weights=mean) / sizes)[of_feature]
    of_features = squares / len(flat) - rest**2 + (mean - middle) ** 2
    variances: Weights = np.bincount(of_feature, weights=of_features) / sizes
    least = np.square(_ROUNDING * _reduced(np.maximum, np.abs(mean), of_feature))
    return np.where(variances > least, variances, 0.0)


def _reduced(best: np.ufunc, values: NDArray[Any], of_feature: NDArray[np.int64]) -> Weights:
    """Return the smallest or the largest value of each column."""
    start = np.inf if best is np.minimum else -np.inf
    found = np.full(of_feature.max() + 1, start)
    best.at(found, of_feature, values)
    return found
