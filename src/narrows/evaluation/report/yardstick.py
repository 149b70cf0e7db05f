"""PCA as the yardstick of a report: which rows it learns from, and what it leaves of others."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from narrows.data.principal import PrincipalAxes, fit_pca
from narrows.evaluation.error_units import (
    ErrorUnit,
    Weights,
    column_variances,
    scales_columns,
)
from narrows.evaluation.report.figures import Origin
from narrows.models.base import BaseAutoencoder
from narrows.models.halves import Encoder

FittedOn = Literal["training rows", "other half", "other tenths", "same rows"]
Scale = Weights | Literal["spreads"] | None
_VALUES = 2**21
# A curve has powers of two up to here, or the code's width, and twice that up to there.
_CURVE, _TWICE = 64, 1_024
# Of fewer rows than this PCA needs more than a half to learn from.
_FEW = 200
_FOLDS = {"other half": 2, "other tenths": 10}


class Yardstick:
    """What PCA of several sizes makes of rows.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        What is measured; n at least 2.
    unit : ErrorUnit
        How errors are counted.
    fitted_on : {"training rows", "other half", "other tenths", "same rows"}
        What PCA learns from: rows given as ``learned_from``; or each half, or tenth, of the rows is
        measured by the PCA of all others; or the very rows that are measured, as a yardstick for a
        model that has learned from these as well.
    learned_from : ndarray of shape (m, ...), optional
        The training rows.
    sizes : iterable of int
        Wanted; those that the rows do not allow are left out.
    scale : ndarray of shape (F,) or "spreads", optional
        Columns are divided by it before PCA: "spreads" are the standard deviations in the rows
        that PCA learns from.
    random_state : int
        Seed of the halves or tenths.

    Attributes
    ----------
    unit, fitted_on
        As given.
    sizes : list of int
        Those that there are, ascending; 0 is the mean of the rows that PCA learned from.
    n_learned : int
        Rows that PCA learned from; of several, the fewest.
    """

    def __init__(
        self,
        X: NDArray[Any],
        unit: ErrorUnit,
        fitted_on: FittedOn,
        learned_from: NDArray[Any] | None = None,
        *,
        sizes: Iterable[int],
        scale: Scale = None,
        random_state: int,
    ) -> None:
        self.fitted_on: FittedOn = fitted_on
        self._flat, self.unit = X.reshape(len(X), -1), unit
        n, width = self._flat.shape
        everything = np.arange(n)
        parts = [(self._flat, everything)]
        if fitted_on in _FOLDS:
            order = np.random.default_rng(random_state).permutation(n)
            folds = [np.sort(fold) for fold in np.array_split(order, _FOLDS[fitted_on])]
            parts = [(np.delete(self._flat, fold, axis=0), fold) for fold in folds]
        elif learned_from is not None:
            parts = [(learned_from.reshape(len(learned_from), -1), everything)]
        self.n_learned = min(len(seen) for seen, _ in parts)
        most = min(self.n_learned, width)
        self.sizes = sorted({0, *(size for size in sizes if size <= most)})
        self._errors = np.empty((n, len(self.sizes)))
        self._squares = np.zeros((len(self.sizes), width))
        self._parts: list[tuple[PrincipalAxes, NDArray[np.int64]]] = []
        for seen, measured in parts:
            pca = self._fit(seen, scale)
            self._parts.append((pca, measured))
            self._measure(pca, measured)
        self._squares /= n

    def _fit(self, seen: NDArray[Any], scale: Scale) -> PrincipalAxes:
        if isinstance(scale, str):
            columns = self.unit.columns
            of_feature = np.arange(seen.shape[1]) if columns is None else columns.of_feature
            spreads = np.sqrt(column_variances(seen, of_feature))
            scale = np.where(spreads > 0, spreads, 1.0)[of_feature]
        return fit_pca(seen, max(1, self.sizes[-1]), scale=scale)

    def _measure(self, pca: PrincipalAxes, measured: NDArray[np.int64]) -> None:
        step = max(1, _VALUES // self._flat.shape[1])
        for start in range(0, len(measured), step):
            rows = measured[start : start + step]
            for place, left in enumerate(pca.residuals(self._flat[rows], self.sizes)):
                squares = np.square(left)
                self._errors[rows, place] = squares @ self.unit.weights
                self._squares[place] += squares.sum(axis=0)

    @property
    def fitted(self) -> list[PrincipalAxes]:
        """PCA of the rows to learn from, or of each half."""
        return [pca for pca, _ in self._parts]

    def errors(self, size: int) -> NDArray[np.float64]:
        """Return each row's error, (n,), when PCA of one of the sizes restores it."""
        errors: NDArray[np.float64] = self._errors[:, self.sizes.index(size)]
        return errors

    def squared_errors(self, size: int) -> Weights:
        """Return the mean squared error of each value, (F,), in the data's units squared."""
        squares: Weights = self._squares[self.sizes.index(size)]
        return squares

    def largest(self, size: int) -> int:
        """Return the largest of the sizes that is not above this one."""
        return max(known for known in self.sizes if known <= size)

    def reconstruct(self, which: NDArray[np.int64], size: int, given: NDArray[Any]) -> Weights:
        """Return what PCA of a size restores from rows of these numbers, or damaged ones.

        Parameters
        ----------
        which : ndarray of int and shape (k,)
            Numbers of rows that are measured.
        size : int
            Of the code.
        given : ndarray of shape (k, ...)
            What PCA is given in their place.

        Returns
        -------
        ndarray of shape (k, F)
            In the data's units.
        """
        flat = given.reshape(len(given), -1)
        restored = np.empty(flat.shape)
        for pca, measured in self._parts:
            here = np.isin(which, measured)
            if here.any():
                restored[here] = pca.inverse_transform(pca.transform(flat[here])[:, :size])
        return restored


def pca_scale(
    model: BaseAutoencoder | Encoder, unit: ErrorUnit, fitted_on: FittedOn = "training rows"
) -> Scale:
    """Choose what columns of different units are divided by before PCA.

    Where PCA learns from the rows that the model learned from, it scales them as the model does if
    that scales each column; otherwise by the standard deviations of the rows that it learns from.
    """
    if unit.kind != "variance":
        return None
    same = fitted_on in ("training rows", "same rows") and scales_columns(model)
    return model.scaling_.scale.numpy() if same else "spreads"


def sizes_of_curve(width: int, sweep: tuple[int, ...]) -> list[int]:
    """Choose the sizes of PCA's curve."""
    powers = [1 << power for power in range(max(_CURVE, width).bit_length())]
    return [*powers, width, *[2 * width] * (2 * width <= _TWICE), *sweep]


def choose_yardsticks(
    model: BaseAutoencoder,
    measured: NDArray[Any],
    unit: ErrorUnit,
    origin: Origin,
    training: NDArray[Any] | None,
    *,
    sizes: list[int],
    random_state: int,
) -> tuple[Yardstick, Yardstick]:
    """Fit PCA on rows like those that the model learned from.

    Returns
    -------
    headline, in_data_units : Yardstick
        Two only where columns have different units: the first then sees them as the model scales
        them, or standardised, the second as they are.
    """
    fitted_on: FittedOn = "other half" if len(measured) >= _FEW else "other tenths"
    if origin.measured_on == "learned" and training is None:
        fitted_on = "same rows"
    elif training is not None:
        fitted_on = "training rows"
    same: dict[str, Any] = {"sizes": sizes, "random_state": random_state}
    in_data_units = Yardstick(measured, unit.data or unit, fitted_on, training, **same)
    if unit.data is None:
        return in_data_units, in_data_units
    scale = pca_scale(model, unit, fitted_on)
    return Yardstick(measured, unit, fitted_on, training, scale=scale, **same), in_data_units
