"""The figures of a report, each beside the function that measures it."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from narrows.data.principal import fit_pca
from narrows.errors import DataError
from narrows.evaluation.beside import BesideClassics
from narrows.evaluation.row_errors import (
    Coded,
    ErrorUnit,
    FittedOn,
    PCABaseline,
    Weights,
    scales_columns,
)
from narrows.models import learned_rows
from narrows.models.base import BaseAutoencoder
from narrows.models.density import ACTIVE
from narrows.models.sparse import SparseAutoencoder
from narrows.models.variational import VariationalAutoencoder
from narrows.training.history import History

# Rows not learned from that are enough to measure on these alone.
_FEWEST_UNSEEN = 10
# The logarithm of an outlier's error is this many median absolute deviations above the median,
# scaled to be standard deviations of normal data.
_FAR, _NORMAL = 4.0, 1.4826
# A unit is constant where its variance is below this share of the mean over units.
_CONSTANT = 1e-4
_FEWEST_EPOCHS = 5
_LEAST = float(np.finfo(np.float32).tiny)
# Columns whose spread is below this share of the largest suffer where one number scales all.
_SMALL = 1 / 3
# Errors within this share of PCA's count as the same.
_SAME = 0.05
# Rows that classifiers learn from, and that PCA for them is fitted on.
_FEATURE_ROWS, _FEATURE_PCA_ROWS = 2_000, 5_000
_FOLDS, _NEIGHBORS, _STEPS = 5, 5, 200

Accuracy = tuple[float, float]
"""Mean and standard deviation over the parts of a cross-validation, from 0 to 1."""

FeatureScores = dict[str, dict[str, Accuracy]]
"""The accuracy of each classifier on each representation."""


@dataclass(frozen=True)
class Origin:
    """How many of the rows of a report the model has learned from.

    Attributes
    ----------
    measured_on : {"unseen", "learned", "unknown"}
        Errors, verdict and features come from the rows held out in training and the new ones
        ("unseen") if there are at least 10 of them. Otherwise they come from all rows: "learned"
        where some of these were learned from, "unknown" where the model cannot tell (saved by an
        early version, or trained on so many rows that it remembers only some).
    n_measured : int
        The number of rows that they come from.
    n_held_out, n_new, n_learned, n_unknown : int
        The number of each kind among all rows of the report.
    n_training : int or None
        The number of rows that the model learned from, whether they are in the report or not;
        ``None`` where it does not remember them.
    """

    measured_on: Literal["unseen", "learned", "unknown"]
    n_measured: int
    n_held_out: int
    n_new: int
    n_learned: int
    n_unknown: int
    n_training: int | None

    @classmethod
    def of(cls, model: BaseAutoencoder, membership: NDArray[np.int8]) -> "Origin":
        """Count the rows of each kind, and choose those to measure on."""
        unknown, new, held_out, learned = np.bincount(membership, minlength=4).tolist()
        measured_on: Literal["unseen", "learned", "unknown"] = "unknown"
        if new + held_out >= _FEWEST_UNSEEN:
            measured_on = "unseen"
        elif learned:
            measured_on = "learned"
        return cls(
            measured_on=measured_on,
            n_measured=new + held_out if measured_on == "unseen" else len(membership),
            n_held_out=held_out,
            n_new=new,
            n_learned=learned,
            n_unknown=unknown,
            n_training=getattr(model.learned_rows_, "n_learned", None),
        )

    def is_measured(self, membership: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Return a mask of the rows that the figures come from, (n,)."""
        if self.measured_on != "unseen":
            return np.ones(len(membership), bool)
        unseen: NDArray[np.bool_] = np.isin(membership, (learned_rows.NEW, learned_rows.HELD_OUT))
        return unseen


def membership_of(model: BaseAutoencoder, X: NDArray[Any]) -> NDArray[np.int8]:
    """Return which rows a model has learned from, (n,).

    The values are those of :meth:`narrows.models.learned_rows.LearnedRows.membership`; all are
    unknown where the model does not remember its rows.
    """
    memory = model.learned_rows_
    if memory is None:
        return np.full(len(X), learned_rows.UNKNOWN, np.int8)
    return memory.membership(X)


@dataclass(frozen=True)
class Errors:
    """Reconstruction errors of the model, of PCA and of the mean row, all in one unit.

    Attributes
    ----------
    unit : {"pixels", "data", "variance"}
        "pixels": mean squared error of 8-bit pixels that count from 0 to 1; "data": mean squared
        error in the data's own units. "variance", of tables whose columns have different units:
        the squared error of each column as a share of its variance, the mean over all columns that
        vary; that is 1 less the uniformly averaged R squared.
    model : float
        The model's error, the mean over rows.
    mean_row : float
        The error of giving back the mean of the rows that PCA was fitted on, as a model without
        any code could.
    pca : float or None
        The error of PCA with ``pca_components``; ``None`` where PCA cannot be that wide.
    pca_components : int
        As many as the numbers that a code tells of a row: :attr:`Units.numbers`.
    pca_fitted_on : {"training rows", "other half", "other tenths", "same rows"}
        Training rows are those given as such, or those among the rows given that the model learned
        from. Of new rows alone, each half is measured by PCA of the other half; of fewer than 200,
        each tenth by PCA of the others. PCA is fitted on the very rows that are measured where the
        model has learned from these as well.
    pca_rows : int
        The number of rows that PCA was fitted on.
    pca_difference : float or None
        Standard error of the model's mean error less PCA's, by the differences on each row: beyond
        twice that, chance is no likely reason.
    pca_columns : {"as they are", "standardised"}
        Whether columns were divided by their standard deviation before PCA: they are where shares
        of their variance are measured.
    largest_typical : float
        The error of a typical row at most; rows with larger ones do not tell overfitting.
    """

    unit: Literal["pixels", "data", "variance"]
    model: float
    mean_row: float
    pca: float | None
    pca_components: int
    pca_fitted_on: FittedOn
    pca_rows: int
    pca_difference: float | None
    pca_columns: Literal["as they are", "standardised"]
    largest_typical: float


def measure_errors(errors: Weights, numbers: int, baseline: PCABaseline) -> Errors:
    """Compare a model's errors with those of PCA and of the mean row in the same unit."""
    mean_pca = difference = None
    if numbers in baseline.sizes:
        pca = baseline.errors(numbers)
        mean_pca = float(pca.mean())
        difference = float((errors - pca).std(ddof=1) / math.sqrt(len(errors)))
    return Errors(
        unit=baseline.unit.kind,
        model=float(errors.mean()),
        mean_row=float(baseline.errors(0).mean()),
        pca=mean_pca,
        pca_difference=difference,
        pca_components=numbers,
        pca_fitted_on=baseline.fitted_on,
        pca_rows=baseline.n_learned,
        pca_columns="as they are" if baseline.unit.kind != "variance" else "standardised",
        largest_typical=outlier_threshold(errors),
    )


@dataclass(frozen=True)
class Outliers:
    """The rows of a report that are unlike all others.

    Attributes
    ----------
    unit : str
        "anomaly score": that of ``narrows anomalies``; see :class:`narrows.AnomalyDetector`.
    scored_by : str
        What scores each row without having seen it: "30 networks".
    threshold : float
        The score above which a row counts as an outlier: three robust standard deviations of the
        logarithms above their median.
    n : int
        The number of rows that do, of all rows of the report.
    """

    unit: str
    scored_by: str
    threshold: float
    n: int


def outlier_threshold(errors: NDArray[np.floating], far: float = _FAR) -> float:
    """Return the error, or the score, above which a row is ``far`` robust standard deviations off.

    The logarithms of errors are about normal; their median and median absolute deviation do not
    follow the outliers themselves.

    Examples
    --------
    >>> errors = np.exp(np.random.default_rng(0).normal(0, 1, 100_000))
    >>> f"{np.log(outlier_threshold(errors)):.1f} standard deviations"
    '4.0 standard deviations'
    """
    # Each value counts once: where most rows are the same, the spread over rows would be 0.
    logs = np.log(np.maximum(np.unique(errors), _LEAST))
    middle = np.median(logs)
    # Rounding must not make outliers of rows that are all the same.
    return float(np.exp(middle + far * _NORMAL * np.median(np.abs(logs - middle)))) * (1 + 1e-6)


@dataclass(frozen=True)
class ColumnError:
    """How well a column of a table, or a channel of a signal, is restored.

    Attributes
    ----------
    name : str
        The column's name.
    spread : float
        Its standard deviation over the measured rows, in its own unit.
    model, pca : float or None
        The share of its variance that each leaves: squared error by variance, 1 less R squared;
        above 1 it is restored worse than by its mean. ``None`` for a column that is constant on
        these rows, and for PCA where it cannot be compared.
    """

    name: str
    spread: float
    model: float | None
    pca: float | None


@dataclass(frozen=True)
class Columns:
    """How well each column is restored, and how its scaling contributes to that.

    Attributes
    ----------
    kind : {"columns", "channels"}
        Whether they are columns of a table or channels of a signal.
    each : list of ColumnError
        The errors, in the order of the columns.
    worse_than_mean : int
        The number of columns that the model restores worse than by their mean.
    constant : int
        The number of columns that do not vary on these rows, and are left out of all means.
    worst : int
        The index of the column, counted from 0, of which the largest share is left.
    mixed_units : bool
        Whether columns are taken to have different units: their spreads differ by more than 3
        times, and most do not reach over the whole range of all values.
    spread_ratio : float
        The largest spread divided by the smallest.
    model_scaling : {"by column", "none", "unit", "global"}
        Whether the model divides each column by a number of that column; otherwise, all by one.
    scaling_is_why : bool
        Whether the model loses because one number divides all columns: most of those restored worse
        than by their mean have less than a third of the largest spread, or PCA of columns scaled so
        loses to PCA of standardised columns as the model does.
    """

    kind: Literal["columns", "channels"]
    each: list[ColumnError]
    worse_than_mean: int
    constant: int
    worst: int
    mixed_units: bool
    spread_ratio: float
    model_scaling: Literal["by column", "none", "unit", "global"]
    scaling_is_why: bool


def measure_columns(
    model: BaseAutoencoder,
    coded: Coded,
    baseline: PCABaseline,
    *,
    errors: Errors,
    same_scaling: float | None,
    n_columns: int | None = None,
) -> Columns | None:
    """Measure how well each column is restored; ``None`` where there are none, or none varies.

    The verdict is drawn from ``errors``; ``same_scaling`` is the error that PCA leaves on columns
    as the model scales them. ``n_columns`` leaves out what follows the first ones.
    """
    numbers = errors.pca_components
    layout, variances = baseline.unit.columns, baseline.unit.variances
    if layout is None or variances is None or not (variances > 0).any():
        return None
    shares = _shares(layout.average(coded.squared_errors), variances)[:n_columns]
    by_pca: list[float | None] = [None] * len(variances)
    if numbers in baseline.sizes:
        by_pca = _shares(layout.average(baseline.squared_errors(numbers)), variances)
    spreads = np.sqrt(variances).tolist()
    scaling = _scaling_of(model)
    worse = np.array([share is not None and share > 1 for share in shares])
    small = layout.spreads[: len(worse)] < _SMALL * layout.spreads.max()
    suffers = bool(worse.any() and small[worse].mean() > 1 / 2)
    if errors.pca is not None and same_scaling is not None:
        # PCA loses by this scaling as well.
        suffers |= min(errors.model, same_scaling) > (1 + _SAME) * errors.pca
    return Columns(
        kind=layout.kind,
        each=[ColumnError(*of) for of in zip(layout.names, spreads, shares, by_pca, strict=False)],
        worse_than_mean=int(worse.sum()),
        constant=int((variances[: len(worse)] == 0).sum()),
        worst=int(np.argmax([share or 0.0 for share in shares])),
        mixed_units=layout.mixed,
        spread_ratio=layout.ratio,
        model_scaling=scaling,
        scaling_is_why=suffers and layout.mixed and scaling != "by column",
    )


def _scaling_of(model: BaseAutoencoder) -> Literal["by column", "none", "unit", "global"]:
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


@dataclass(frozen=True)
class Learning:
    """How training went.

    Attributes
    ----------
    epochs, best_epoch : int
        The number of passes over the rows, and the one whose weights were kept.
    ended : str
        Why training ended, as :attr:`narrows.training.history.History.ended` has it.
    late_fall : float or None
        What the last tenth of the epochs added to the fall of the (held-out) loss, as a share of
        all of it; ``None`` of fewer than five epochs. 0 where training stopped early, as no
        epoch was better any more.
    train_loss : float or None
        The term ``reconstruction`` on the training rows, in the best epoch; ``None`` where the
        model has no such term.
    rows_loss : float or None
        The reconstruction term on the rows of the report.
    excess : float or None
        How much larger the squared error on rows not learned from, without outliers, is than on
        the training rows, as a share; ``None`` where nothing tells it.
    excess_on : {"measured rows", "held-out rows"}
        The rows not learned from: those measured, or, where the model has learned from these, the
        ones that were held out in training, as the history has them.
    kept_start : bool
        Whether the first weights were kept, which are PCA's: nothing that training tried was better
        on the held-out rows, or there was nothing to train.
    """

    epochs: int
    best_epoch: int
    ended: str
    late_fall: float | None
    train_loss: float | None
    rows_loss: float | None
    excess: float | None
    excess_on: Literal["measured rows", "held-out rows"] = "measured rows"
    kept_start: bool = False


def measure_learning(
    model: BaseAutoencoder,
    coded: Coded,
    threshold: float,
    learned_errors: Weights | None,
    *,
    is_unseen: bool,
    random_state: int,
) -> Learning:
    """Read a model's history, and compare its loss on these rows with that on the training rows.

    Outliers are left out, as a good model need not have learned them. Rows that the model learned
    from cannot tell whether it is overfitted; the history's held-out rows do so then.
    """
    is_typical = coded.errors <= threshold
    history = model.history_
    train = history.best.get("reconstruction")
    held_out = history.best.get("validation_reconstruction")
    terms = model.loss_terms(coded.X[is_typical], random_state=random_state)
    here = terms.get("reconstruction")
    if is_unseen and learned_errors is not None:
        typical = float(coded.errors[is_typical].mean())
        excess: float | None = typical / max(float(learned_errors.mean()), _LEAST) - 1
    else:
        excess = _excess(model, train, here if is_unseen else held_out)
    return Learning(
        epochs=len(history),
        best_epoch=history.best_epoch,
        ended=history.ended,
        late_fall=_late_fall(history),
        train_loss=train,
        rows_loss=here,
        excess=excess,
        excess_on="measured rows" if is_unseen else "held-out rows",
        kept_start=history.best_epoch == 0 and history.start is not None,
    )


def _excess(model: BaseAutoencoder, train: float | None, other: float | None) -> float | None:
    """Return the share by which the squared error on other rows is larger than on training rows.

    With a learned variance v of F features, the negative log density of a row is
    F/2 log(2 pi v) + SE / (2 v), and v is SE / F of the training rows: a relative excess r of the
    squared error raises it by r F / 2. Other densities do not tell it.
    """
    if train is None or other is None:
        return None
    if model.loss_ == "squared_error":
        return (other - train) / max(train, _LEAST)
    learned = isinstance(model, VariationalAutoencoder) and model.variance == "learned"
    if learned and model.loss_ == "gaussian":
        return 2 * (other - train) / math.prod(model.sample_shape_)
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


@dataclass(frozen=True)
class Units:
    """How many units of the code tell nothing of these rows.

    Attributes
    ----------
    n : int
        The number of units.
    unused : int
        The number of those that tell nothing: never on (sparse), of a mean whose variance is at
        most 0.01 (variational), or constant.
    kind : {"dead", "collapsed", "constant"}
        The kind of unused units.
    numbers : int
        How many numbers a code tells of a row: all, or, of sparse codes that are 0 for units that
        are off, as many as are on in the mean.
    on : float or None
        Of sparse codes, the mean number of units that are on for a row.
    """

    n: int
    unused: int
    kind: Literal["dead", "collapsed", "constant"]
    numbers: int
    on: float | None = None


def measure_units(model: BaseAutoencoder, coded: Coded) -> Units:
    """Count the units of the code that tell nothing of these rows."""
    n = coded.codes.shape[1]
    variances = coded.codes.var(axis=0, dtype=np.float64)
    if isinstance(model, SparseAutoencoder):
        sparsity = model.code_sparsity(coded.X)
        on = float(sparsity.active_share.mean(dtype=np.float64)) * n
        # A sigmoid unit that counts as off still tells its number.
        numbers = n if model.sparsity == "kl" else max(1, round(on))
        return Units(n, int(sparsity.dead_units.sum()), "dead", numbers, on)
    if isinstance(model, VariationalAutoencoder):
        return Units(n, int((variances <= ACTIVE).sum()), "collapsed", n)
    return Units(n, int((variances <= _CONSTANT * variances.mean()).sum()), "constant", n)


@dataclass(frozen=True)
class Map:
    """The two-dimensional map of the codes.

    Attributes
    ----------
    method : str
        The method that made it.
    trustworthiness : float
        The trustworthiness of its neighbours, against the rows themselves, from 0 to 1.
    neighbor_accuracy : float or None
        The accuracy of a five-nearest-neighbour classifier on the map, cross-validated; ``None``
        without labels.
    """

    method: str
    trustworthiness: float
    neighbor_accuracy: float | None


def measure_features(
    coded: Coded,
    unit: ErrorUnit,
    labels: NDArray[Any],
    width: int,
    *,
    random_state: int,
    known: FeatureScores,
) -> FeatureScores:
    """Score codes, PCA's codes and rows as features, except those with known scores.

    The result is empty where too few rows have the same label.
    """
    flat = coded.X.reshape(len(coded.X), -1)
    values: dict[str, NDArray[Any]] = {"codes": coded.codes[:_FEATURE_ROWS]}
    by_pca = f"PCA, {width}"
    if by_pca not in known and width <= min(flat[:_FEATURE_PCA_ROWS].shape):
        pca = fit_pca(flat[:_FEATURE_PCA_ROWS], width, scale=unit.scale)
        values[by_pca] = pca.transform(flat[:_FEATURE_ROWS])
    if "raw" not in known:
        some = flat[:_FEATURE_ROWS]
        away = np.subtract(some, some.mean(axis=0, dtype=np.float64), dtype=np.float64)
        # Otherwise the column with the largest numbers would decide alone.
        values["raw"] = (away if unit.scale is None else away / unit.scale).astype(np.float32)
    try:
        scores = score_features(values, labels[:_FEATURE_ROWS], random_state=random_state)
    except DataError:
        return {}
    scores = {**known, **scores}
    return {name: scores[name] for name in ("codes", by_pca, "raw") if name in scores}


def score_features(
    representations: Mapping[str, NDArray[Any]], y: ArrayLike, *, random_state: int = 0
) -> FeatureScores:
    """Cross-validate two classifiers on representations of the same rows.

    Parameters
    ----------
    representations : mapping of str to ndarray of shape (n, K)
        The features that the classifiers see, by name.
    y : array-like of shape (n,)
        Labels. Rows of classes with fewer than five of them are left out.
    random_state : int
        Random seed of the five parts, which are the same for all.

    Returns
    -------
    dict of str to dict of str to (float, float)
        Of each representation, the accuracy of "logistic regression" (on columns of mean 0 and
        variance 1) and of "5 nearest neighbours": mean and standard deviation over the parts, from
        0 to 1.

    Raises
    ------
    DataError
        If fewer than two classes have five rows.

    Examples
    --------
    >>> from narrows import datasets
    >>> digits = datasets.load("digits")
    >>> raw = digits.X_test.reshape(360, 64)
    >>> scores = score_features({"raw": raw}, digits.y_test)
    >>> scores["raw"]["5 nearest neighbours"][0] > 0.9
    True
    """
    labels = np.asarray(y)
    classes, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = sizes[numbers] >= _FOLDS
    if (sizes >= _FOLDS).sum() < 2:
        raise DataError(
            f"{len(classes)} classes of {', '.join(map(str, sizes[:5].tolist()))} rows are too few "
            f"to classify; give at least two classes of {_FOLDS} rows each"
        )
    parts = StratifiedKFold(_FOLDS, shuffle=True, random_state=random_state)
    classifiers = {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=_STEPS)),
        "5 nearest neighbours": KNeighborsClassifier(_NEIGHBORS),
    }
    scores: FeatureScores = {}
    for name, values in representations.items():
        scores[name] = {}
        for method, classifier in classifiers.items():
            with warnings.catch_warnings():
                # All representations are compared at the same number of steps.
                warnings.simplefilter("ignore", ConvergenceWarning)
                accuracies = cross_val_score(classifier, values[kept], numbers[kept], cv=parts)
            scores[name][method] = (float(accuracies.mean()), float(accuracies.std()))
    return scores


@dataclass(frozen=True)
class ClassicScores:
    """Noisy pictures restored by the model, and by classic denoisers at their best weights.

    Attributes
    ----------
    n : int
        The number of pictures.
    psnr, ssim : dict of str to float
        Means over them by version: "noisy", "model", and each classic. SSIM is ``None`` where
        pictures have none.
    missing : dict of str to str
        How to get each classic that is not installed.
    """

    n: int
    psnr: dict[str, float]
    ssim: dict[str, float | None]
    missing: dict[str, str]

    @property
    def best(self) -> str | None:
        """The classic with the highest PSNR; ``None`` where none is installed."""
        classics = [name for name in self.psnr if name not in ("noisy", "model")]
        return max(classics, key=self.psnr.__getitem__, default=None)


def measure_classics(beside: BesideClassics) -> ClassicScores:
    """Return the means over pictures with noise that the model and classics restored."""
    return ClassicScores(len(beside.pictures), beside.psnr, dict(beside.ssim), beside.missing)


@dataclass(frozen=True)
class Figures:
    """All figures of a report.

    Attributes
    ----------
    model : str
        The model's class.
    fingerprint : str
        The model's fingerprint.
    n_rows, n_given : int
        The number of rows in the report, drawn from those given.
    origin : Origin
        How many of them the model has learned from, and which the figures come from.
    sample_shape : tuple of int
        The shape of a row.
    n_components : int
        The width of a code.
    errors : Errors
        Errors in the data's units, or of pixels from 0 to 1.
    shares : Errors or None
        Of tables, and signals of several channels, whose columns have different units: shares of
        each column's variance. The verdict and the page are drawn from them where there are any.
    outliers : Outliers
        The rows of the report with high anomaly scores.
    learning : Learning
        How training went.
    units : Units
        The units of the code, counted on all rows of the report.
    columns : Columns or None
        The errors of columns; ``None`` for pictures, and signals of one channel.
    map : Map or None
        The map; ``None`` where there are too few rows.
    features : dict of str to dict of str to (float, float)
        Of each representation ("codes", "PCA, K", "raw"), the accuracy of each classifier; empty
        without labels.
    sweep : dict of int to float
        Errors of models like this one with other widths of code; empty where none were asked for.
    pca_curve : dict of int to float
        Errors of PCA by its size. This and ``sweep`` are in the unit of :attr:`headline`.
    pca_same_scaling : float or None
        Where ``shares`` compare with PCA on standardised columns, and the model divides all columns
        by one number: the share that PCA on such columns leaves.
    classics : ClassicScores or None
        Of models that take noise off pictures: the same pictures restored by classic denoisers.
    """

    model: str
    fingerprint: str
    n_rows: int
    n_given: int
    origin: Origin
    sample_shape: tuple[int, ...]
    n_components: int
    errors: Errors
    shares: Errors | None
    outliers: Outliers
    learning: Learning
    units: Units
    columns: Columns | None = None
    map: Map | None = None
    features: FeatureScores = field(default_factory=dict)
    sweep: dict[int, float] = field(default_factory=dict)
    pca_curve: dict[int, float] = field(default_factory=dict)
    pca_same_scaling: float | None = None
    classics: ClassicScores | None = None

    @property
    def headline(self) -> Errors:
        """The errors that the verdict is drawn from."""
        return self.errors if self.shares is None else self.shares
