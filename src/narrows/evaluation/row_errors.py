"""Errors of restored rows: the unit that they are counted in, what a model and PCA leave, scores.

A table whose columns have different units has no error in "the data's units": the column with the
largest numbers decides it alone. There each column's squared error is divided by that column's
variance, and the mean over columns is one minus the uniformly averaged R squared. Where there are
clean originals, scores are the peak signal-to-noise ratio and the structural similarity.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from narrows.data.axes import are_pictures
from narrows.data.decoding import Target, side_by_side, sizes_of
from narrows.data.depths import resize
from narrows.data.images import read_into_memory
from narrows.data.lazy_rows import LazyRows
from narrows.data.principal import PrincipalAxes, fit_pca
from narrows.data.reading import Notes, Picture, current
from narrows.data.scaling import Scaling
from narrows.data.signal_files import Windows
from narrows.errors import DataError, ParameterError
from narrows.models.base import BaseAutoencoder
from narrows.models.encoder_decoder import Decoder, Encoder
from narrows.models.resolve import columns_shape_of
from narrows.ssim import structural_similarity, window_of

# How many times the spreads of columns may differ before they are taken for different units.
_ALIKE = 3.0
# Columns share a unit if at least half of them span the range of all values, within a tenth of it
# at each end: flattened pixels, answers from 1 to 5, yes and no.
_MOST, _NEAR = 0.5, 0.1
# Variance below this share of the squared largest mean is rounding error.
_ROUNDING = 1000 * np.finfo(np.float64).eps
# Values in memory at once: of a variance, and of restored rows.
_VALUES, _RESTORED_VALUES = 2**22, 2**21
_LARGEST = float(np.finfo(np.float32).max)

Weights = NDArray[np.float64]
FittedOn = Literal["training rows", "other half", "other tenths", "same rows"]
Scale = Weights | Literal["spreads"] | None
_FOLDS = {"other half": 2, "other tenths": 10}
BEST_PSNR = 100.0
"""The ratio of a row at most, in dB: a root mean squared error of 1e-5 of the data range."""

_ROWS = 1024  # compared at a time
_FEWEST_PIXELS = 3


@dataclass(frozen=True)
class ColumnLayout:
    """The columns of a table, or the channels of a signal.

    Attributes
    ----------
    kind : {"columns", "channels"}
        Whether they are columns of a table or channels of a signal.
    names : list of G str
        Their names.
    of_feature : ndarray of int and shape (F,)
        The number of the column that each value of a row belongs to.
    spreads : ndarray of shape (G,)
        The standard deviation of each; 0 where it is constant.
    mixed : bool
        Whether they are taken to have different units: spreads differ by more than 3 times, and
        the model scales each column by itself, or fewer than half of the columns reach over about
        the whole range of all values, as flattened pixels do.
    """

    kind: Literal["columns", "channels"]
    names: list[str]
    of_feature: NDArray[np.int64]
    spreads: Weights
    mixed: bool = False

    @property
    def ratio(self) -> float:
        """The largest spread divided by the smallest one above 0."""
        varied = self.spreads[self.spreads > 0]
        return float(varied.max() / varied.min()) if len(varied) else 1.0

    def average(self, of_features: Weights) -> Weights:
        """Return the mean of the features' values, (F,), over each column, (G,)."""
        return np.bincount(self.of_feature, of_features) / np.bincount(self.of_feature)


@dataclass(frozen=True)
class ErrorUnit:
    """The unit of errors: how squared differences become the error of a row.

    Attributes
    ----------
    kind : {"pixels", "data", "variance"}
        8-bit pixels count from 0 to 1, other data in their own units; of columns with different
        units, the share of their variance counts.
    weights : ndarray of shape (F,)
        The weight of each value's squared difference; the weighted sum over a row is its error.
    data : ErrorUnit or None
        The unit of the data, where this one is a share of the variance.
    columns : ColumnLayout or None
        The columns; ``None`` for rows that are neither tables nor signals of several channels.
    variances : ndarray of shape (G,) or None
        The variance of each column over the measured rows.
    """

    kind: Literal["pixels", "data", "variance"]
    weights: Weights
    data: "ErrorUnit | None" = None
    columns: ColumnLayout | None = None
    variances: Weights | None = None

    @property
    def scale(self) -> Weights | None:
        """The divisors, (F,), by which columns of different units count alike, or ``None``."""
        if self.kind != "variance":
            return None
        varied = self.weights > 0
        return np.sqrt(np.divide(1, self.weights, where=varied, out=np.ones_like(self.weights)))


def find_columns(
    model: BaseAutoencoder | Encoder,
    X: NDArray[Any],
    given: NDArray[Any] | LazyRows | None = None,
    *,
    in_one_unit: bool = False,
) -> ColumnLayout | None:
    """Find which values of rows belong to one column, and whether columns have different units.

    Parameters
    ----------
    model : BaseAutoencoder or Encoder
        A fitted model, which knows the architecture, the scaling, and the names of columns.
    X : ndarray of shape (n, *sample_shape)
        Rows like the training rows.
    given : ndarray or LazyRows, optional
        The source of the rows, by which windows of a signal are recognised.
    in_one_unit : bool, default=False
        Whether the columns were brought to one unit before.

    Returns
    -------
    ColumnLayout or None
        ``None`` for pictures, and for signals of one channel.
    """
    spec = model.spec_
    shape = tuple(X.shape[1:])
    columns_shape = columns_shape_of(spec.definition, given if isinstance(given, Windows) else X)
    if len(columns_shape) == 2 and shape[1] > 1:
        kind: Literal["columns", "channels"] = "channels"
        known = given.channels if isinstance(given, Windows) else None
        names = known or [f"channel {number}" for number in range(shape[1])]
        of_feature = np.tile(np.arange(shape[1]), shape[0])
    elif len(columns_shape) == 1 and not (spec.signal or spec.definition.of_signals):
        kind = "columns"
        known = getattr(model, "feature_names_in_", None)
        names = [f"column {n}" for n in range(shape[0])] if known is None else [*map(str, known)]
        of_feature = np.arange(shape[0])
    else:
        return None
    flat = X.reshape(len(X), -1)
    low = -_column_maxima(-flat.min(axis=0).astype(np.float64), of_feature)
    high = _column_maxima(flat.max(axis=0), of_feature)
    spreads = np.sqrt(column_variances(flat, of_feature))
    varied = spreads > 0
    layout = ColumnLayout(kind, names, of_feature, spreads)
    range_ = high.max() - low.min()
    full = (low <= low.min() + _NEAR * range_) & (high >= high.max() - _NEAR * range_)
    share_a_unit = not scales_columns(model) and full[varied].sum() >= _MOST * varied.sum()
    mixed = layout.ratio > _ALIKE and not share_a_unit and not in_one_unit
    return replace(layout, mixed=bool(mixed))


def scales_columns(model: BaseAutoencoder | Encoder) -> bool:
    """Return whether a model divides each column by a number of that column."""
    scale = model.scaling_.scale
    return bool(scale.ndim and (scale != scale[0]).any())


def choose_unit(X: NDArray[Any], columns: ColumnLayout | None) -> ErrorUnit:
    """Choose the unit in which the errors of rows are counted.

    Parameters
    ----------
    X : ndarray of shape (n, *sample_shape)
        The measured rows; shares are of the variance over them.
    columns : ColumnLayout or None
        The columns that :func:`find_columns` found.
    """
    flat = X.reshape(len(X), -1)
    width, is_pixels = flat.shape[1], X.dtype == np.uint8
    uniform = np.full(width, 1 / (width * 255.0**2 if is_pixels else width))
    data = ErrorUnit("pixels" if is_pixels else "data", uniform)
    if columns is None:
        return data
    variances = column_variances(flat, columns.of_feature)
    varied = variances > 0
    if not (columns.mixed and varied.any()):
        return replace(data, columns=columns, variances=variances)
    shares = np.divide(1, variances, where=varied, out=np.zeros_like(variances))
    sizes = np.bincount(columns.of_feature)
    weights = (shares / (sizes * varied.sum()))[columns.of_feature]
    return ErrorUnit("variance", weights, data, columns, variances)


def column_variances(flat: NDArray[Any], of_feature: NDArray[np.int64]) -> Weights:
    """Return each column's variance over rows (n, F), (G,); 0 where it is only rounding error."""
    mean = flat.mean(axis=0, dtype=np.float64)
    step = max(1, _VALUES // flat.shape[1])
    squares, rest = np.zeros_like(mean), np.zeros_like(mean)
    for start in range(0, len(flat), step):
        away = flat[start : start + step] - mean
        squares += np.square(away).sum(axis=0)
        rest += away.sum(axis=0)
    rest /= len(flat)
    mean, sizes = mean + rest, np.bincount(of_feature)
    # The features of one column may differ in their means.
    middle = (np.bincount(of_feature, weights=mean) / sizes)[of_feature]
    of_features = squares / len(flat) - rest**2 + (mean - middle) ** 2
    variances: Weights = np.bincount(of_feature, weights=of_features) / sizes
    least = np.square(_ROUNDING * _column_maxima(np.abs(mean), of_feature))
    return np.where(variances > least, variances, 0.0)


def _column_maxima(values: NDArray[Any], of_feature: NDArray[np.int64]) -> Weights:
    """Return the largest of the features' values, (F,), for each column, (G,)."""
    maxima = np.full(of_feature.max() + 1, -np.inf)
    np.maximum.at(maxima, of_feature, values)
    return maxima


@dataclass(frozen=True)
class Coded:
    """Rows, their latent codes (embeddings), and the errors of what the model decodes from these.

    Attributes
    ----------
    X : ndarray of shape (n, *sample_shape)
        The rows, in the units of the model's training data.
    codes : ndarray of shape (n, K)
        Their latent codes.
    errors : ndarray of shape (n,)
        The error of each row, in the chosen unit.
    data_errors : ndarray of shape (n,)
        The error of each row in the data's units, or of pixels from 0 to 1.
    squared_errors : ndarray of shape (F,)
        The mean squared error of each value, in the data's units squared.
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

        A DataError names a row by its entry in ``numbers``, or else by its place.
        """
        check_shape(model, X)
        codes = model._encode(X)
        width = math.prod(X.shape[1:])
        decoder = Decoder(model.decoder_, model.scaling_.in_double(), model.spec_, "")
        errors, squares = np.empty((2, len(X))), np.zeros(width)
        step = max(1, _RESTORED_VALUES // width)
        for start in range(0, len(X), step):
            block = slice(start, start + step)
            restored = decoder.decode(codes[block])
            away = np.subtract(restored, X[block], dtype=np.float64).reshape(-1, width)
            with np.errstate(over="ignore"):
                np.square(away, out=away)
                errors[:, block] = away @ unit.weights, away @ (unit.data or unit).weights
                squares += away.sum(axis=0)
        if not (errors <= _LARGEST).all():
            row = int(np.argmin((errors <= _LARGEST).all(axis=0)))
            row = row if numbers is None else int(numbers[row])
            raise DataError(
                f"the error of row {row}, counted from 0, is beyond 3.4e38; leave out rows so far "
                "from those learned from"
            )
        return cls(X, codes, errors[0], errors[1], squares / max(1, len(X)))

    def joined(self, other: "Coded", is_here: NDArray[np.bool_], X: NDArray[Any]) -> "Coded":
        """Join these rows with the others of X; ``is_here`` marks the rows of X that are here."""
        codes = np.empty((len(X), self.codes.shape[1]), np.float32)
        errors = np.empty((2, len(X)))
        for part, places in ((self, is_here), (other, ~is_here)):
            codes[places] = part.codes
            errors[:, places] = part.errors, part.data_errors
        share = is_here.mean()
        squares = share * self.squared_errors + (1 - share) * other.squared_errors
        return Coded(X, codes, errors[0], errors[1], squares)


def check_shape(model: BaseAutoencoder, X: NDArray[Any]) -> None:
    """Raise a DataError for rows of another shape than the training rows."""
    if tuple(X.shape[1:]) != tuple(model.sample_shape_):
        raise DataError(
            f"rows have shape {X.shape[1:]}, those learned from {model.sample_shape_}; bring "
            "them to that for a report"
        )


class PCABaseline:
    """The errors that PCA of several sizes leaves on rows, with which a model is compared.

    Parameters
    ----------
    X : ndarray of shape (n, *sample_shape)
        The measured rows; n is at least 2.
    unit : ErrorUnit
        The unit of errors.
    fitted_on : {"training rows", "other half", "other tenths", "same rows"}
        The rows that PCA is fitted on: ``learned_from``; or, for each half or tenth of the measured
        rows, all others; or the measured rows themselves, as the baseline of a model that has
        learned from them as well.
    learned_from : ndarray of shape (m, ...), optional
        The training rows.
    sizes : iterable of int
        Numbers of components; those that the rows do not allow are left out.
    scale : ndarray of shape (F,) or "spreads", optional
        Divisors of the columns before PCA; "spreads" are the standard deviations in the rows that
        PCA is fitted on.
    random_state : int
        Random seed of the halves or tenths.

    Attributes
    ----------
    unit : ErrorUnit
        The unit of errors.
    fitted_on : str
        The rows that PCA was fitted on.
    sizes : list of int
        The numbers of components, ascending; 0 stands for the mean row.
    n_learned : int
        The number of rows that PCA was fitted on; of several parts, the smallest.
    fitted : list of (PrincipalAxes, ndarray of int)
        The fitted PCA of each part, and the numbers of the rows that it is measured on.
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
        parts = [(self._flat, np.arange(n))]
        if fitted_on in _FOLDS:
            order = np.random.default_rng(random_state).permutation(n)
            folds = [np.sort(fold) for fold in np.array_split(order, _FOLDS[fitted_on])]
            parts = [(np.delete(self._flat, fold, axis=0), fold) for fold in folds]
        elif learned_from is not None:
            parts = [(learned_from.reshape(len(learned_from), -1), np.arange(n))]
        self.n_learned = min(len(seen) for seen, _ in parts)
        most = min(self.n_learned, width)
        self.sizes = sorted({0, *(size for size in sizes if size <= most)})
        self._errors = np.empty((n, len(self.sizes)))
        self._squares = np.zeros((len(self.sizes), width))
        self.fitted: list[tuple[PrincipalAxes, NDArray[np.int64]]] = []
        for seen, measured in parts:
            pca = self._fit(seen, scale)
            self.fitted.append((pca, measured))
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
        step = max(1, _RESTORED_VALUES // self._flat.shape[1])
        for start in range(0, len(measured), step):
            rows = measured[start : start + step]
            for place, left in enumerate(pca.residuals(self._flat[rows], self.sizes)):
                squares = np.square(left)
                self._errors[rows, place] = squares @ self.unit.weights
                self._squares[place] += squares.sum(axis=0)

    def errors(self, size: int) -> Weights:
        """Return the error that PCA of one of the sizes leaves on each row, (n,)."""
        errors: Weights = self._errors[:, self.sizes.index(size)]
        return errors

    def squared_errors(self, size: int) -> Weights:
        """Return the mean squared error of each value, (F,), in the data's units squared."""
        squares: Weights = self._squares[self.sizes.index(size)]
        return squares

    def reconstruct(self, which: NDArray[np.int64], size: int, X: NDArray[Any]) -> NDArray[Any]:
        """Reconstruct rows, or damaged copies of them, by PCA.

        Parameters
        ----------
        which : ndarray of int and shape (k,)
            The numbers of the rows among those measured.
        size : int
            The number of components, at most; the largest of the sizes up to it is taken.
        X : ndarray of shape (k, *sample_shape)
            The rows, or the damaged copies.

        Returns
        -------
        ndarray of shape (k, ...)
            Reconstructions, in the data's units.
        """
        size = self.largest(size)
        flat = X.reshape(len(X), -1)
        restored = np.empty(flat.shape)
        for pca, measured in self.fitted:
            here = np.isin(which, measured)
            if here.any():
                restored[here] = pca.inverse_transform(pca.transform(flat[here])[:, :size])
        return restored.reshape(X.shape)

    def largest(self, size: int) -> int:
        """Return the largest of the sizes that is not above this one."""
        return max(known for known in self.sizes if known <= size)


def pca_scale(
    model: BaseAutoencoder | Encoder, unit: ErrorUnit, fitted_on: FittedOn = "training rows"
) -> Scale:
    """Choose the divisors of columns with different units before PCA.

    They are the model's own where it scales each column and PCA is fitted on its training rows;
    otherwise the standard deviations in the rows that PCA is fitted on.
    """
    if unit.kind != "variance":
        return None
    same = fitted_on in ("training rows", "same rows") and scales_columns(model)
    return model.scaling_.scale.numpy() if same else "spreads"


@dataclass(frozen=True)
class Restoration:
    """The similarity of restored rows to the originals, mean over rows.

    Attributes
    ----------
    psnr : float
        Peak signal-to-noise ratio in dB, 10 log10(data_range² / MSE) of each row; higher is
        better. The mean over rows is the one that papers report. A row that is restored without
        any error has no finite ratio: each row counts at most 100 dB (:data:`BEST_PSNR`), far above
        the 59 dB of rounding to 8 bits, so that one such row does not decide the mean.
    ssim : float or None
        Structural similarity (:func:`narrows.ssim.structural_similarity`), at most 1; higher is
        better. ``None`` for tables and signals, and for pictures of fewer than three pixels a side.
    ssim_window : tuple of (int, int) or None
        Height and width of its Gaussian window in pixels: 11 by 11 with a standard deviation of
        1.5, as Wang et al. (2004) have it, or, along a side that is shorter, the largest odd number
        that fits. ``None`` where pictures have several.
    n_exact : int
        The number of rows that are restored without any error.
    """

    psnr: float
    ssim: float | None
    ssim_window: tuple[int, int] | None = None
    n_exact: int = 0


def compare_with_clean(
    restored: NDArray[Any] | LazyRows,
    clean: NDArray[Any] | LazyRows,
    data_range: float,
    *,
    pictures: bool | None = None,
) -> Restoration:
    """Measure the similarity of restored rows to the originals.

    Parameters
    ----------
    restored, clean : ndarray or LazyRows of shape (n, *sample_shape)
        Rows in the same units.
    data_range : float
        The distance from the smallest to the largest possible value: 255 for 8-bit pixels.
    pictures : bool, optional
        Whether the rows are pictures, as in ``model.spec_.shows_pictures``; by default, this is
        guessed from their shape by :func:`narrows.data.axes.are_pictures`.

    Returns
    -------
    Restoration

    Raises
    ------
    DataError
        If the shapes differ, or there are no rows.
    ParameterError
        If ``data_range`` is not above 0.

    Examples
    --------
    >>> clean = np.zeros((2, 8, 8))
    >>> compare_with_clean(clean + 0.1, clean, data_range=1.0).psnr
    20.0
    >>> compare_with_clean(clean, clean, data_range=1.0)
    Restoration(psnr=100.0, ssim=1.0, ssim_window=(7, 7), n_exact=2)
    """
    if restored.shape != clean.shape:
        raise DataError(
            f"restored rows have shape {restored.shape}, the clean ones {clean.shape}; "
            "give the clean original of each row, in the same order"
        )
    if not len(clean):
        raise DataError("there are no rows to compare; give at least one")
    if not 0 < data_range < math.inf:
        raise ParameterError(f"data_range={data_range!r} is not allowed; give a number above 0")
    psnr, ssim = np.empty(len(clean)), np.empty(len(clean))
    n_exact = 0
    shown = are_pictures(clean.shape[1:]) if pictures is None else pictures
    compared = shown and min(clean.shape[1:3]) >= _FEWEST_PIXELS
    step = max(1, min(_ROWS, _VALUES // max(1, math.prod(clean.shape[1:]))))
    for start in range(0, len(clean), step):
        block = slice(start, start + step)
        truth, made = (np.asarray(rows[block], np.float64) for rows in (clean, restored))
        errors = ((made - truth) ** 2).reshape(len(truth), -1).mean(axis=1)
        n_exact += int((errors == 0).sum())
        with np.errstate(divide="ignore"):
            psnr[block] = np.minimum(10 * np.log10(data_range**2 / errors), BEST_PSNR)
        if compared:
            ssim[block] = structural_similarity(truth, made, data_range)
    return Restoration(
        psnr=float(np.round(psnr.mean(), 12)),
        ssim=float(ssim.mean()) if compared else None,
        ssim_window=window_of(clean.shape[1:]) if compared else None,
        n_exact=n_exact,
    )


def compare_files_with_clean(
    restored: NDArray[Any] | LazyRows,
    damaged: Sequence[Picture],
    clean: Sequence[Picture],
    scaling: Scaling,
) -> tuple[Restoration, Restoration]:
    """Measure the similarity of damaged and restored pictures to originals, at their own sizes.

    Restored pictures of another size are resized to that of the damaged one.

    Parameters
    ----------
    restored : ndarray or LazyRows of shape (n, H, W) or (n, H, W, C)
        The damaged pictures restored by a model, in the units of its training data.
    damaged, clean : sequence of Path or Page
        n picture files each, in the same order.
    scaling : Scaling
        The model's scaling.

    Returns
    -------
    damaged, restored : Restoration

    Raises
    ------
    UnreadableFileError
        If a file cannot be read.
    DataError
        If an original has another size than the damaged picture, or the numbers differ.
    """
    if not len(restored) == len(damaged) == len(clean) > 0:
        raise DataError(
            f"there are {len(restored)} restored pictures, {len(damaged)} damaged ones and "
            f"{len(clean)} originals; give as many of each, at least one"
        )
    channels = tuple(restored.shape[3:])
    span = scaling.high - scaling.low
    before: list[Restoration] = []
    after: list[Restoration] = []
    sizes = zip(sizes_of(damaged), sizes_of(clean), strict=True)
    for number, (size, original) in enumerate(sizes):
        if size is None or size != original:
            raise DataError(
                f"'{damaged[number]}' has {_in_pixels(size)}, its original '{clean[number]}' "
                f"{_in_pixels(original)}; give originals of the same size"
            )
        target = Target((*size, *channels), scaling.file_type, scaling, current())
        given, truth = (
            read_into_memory([file], target, Notes())[0]
            for file in (damaged[number], clean[number])
        )
        made = resize(np.asarray(restored[number : number + 1][0], np.float64), size)[None]
        before.append(compare_with_clean(given, truth, span, pictures=True))
        after.append(compare_with_clean(made, truth, span, pictures=True))
    return mean_restoration(before), mean_restoration(after)


def _in_pixels(size: tuple[int, int] | None) -> str:
    return "no size that can be read" if size is None else f"{side_by_side(size)} pixels"


def mean_restoration(scores: Sequence[Restoration]) -> Restoration:
    """Return the mean over pictures; the structural similarity of those large enough for one."""
    similarities = [score.ssim for score in scores if score.ssim is not None]
    windows = {score.ssim_window for score in scores if score.ssim_window is not None}
    return Restoration(
        psnr=float(np.mean([score.psnr for score in scores])),
        ssim=float(np.mean(similarities)) if similarities else None,
        ssim_window=windows.pop() if len(windows) == 1 else None,
        n_exact=sum(score.n_exact for score in scores),
    )
