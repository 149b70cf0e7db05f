"""Every figure that a report shows and its verdict is drawn from."""

from dataclasses import dataclass, field
from typing import Literal

Accuracy = tuple[float, float]
"""Mean and standard deviation over the parts of a cross-validation, from 0 to 1."""

Scores = dict[str, dict[str, Accuracy]]
"""Of each representation, the accuracy of each classifier."""


@dataclass(frozen=True)
class Origin:
    """Which of the rows that were looked at the model has learned from.

    Attributes
    ----------
    measured_on : {"unseen", "learned", "unknown"}
        Errors, verdict and features come from the rows held out in training and the new ones
        ("unseen") if there are at least 10 of them. Otherwise they come from all rows: "learned"
        where some of these were learned from, "unknown" where the model cannot tell (saved by an
        early version, or trained on so many rows that it remembers only some).
    n_measured : int
        Rows that they come from.
    n_held_out, n_new, n_learned, n_unknown : int
        Of all rows that were looked at.
    n_training : int or None
        Rows that the model learned from, given or not; ``None`` where it does not remember them.
    """

    measured_on: Literal["unseen", "learned", "unknown"]
    n_measured: int
    n_held_out: int
    n_new: int
    n_learned: int
    n_unknown: int
    n_training: int | None


@dataclass(frozen=True)
class Errors:
    """How far restored rows are from the rows, in one unit for all.

    Attributes
    ----------
    unit : {"pixels", "data", "variance"}
        "pixels": mean squared error of 8-bit pixels that count from 0 to 1; "data": mean squared
        error in the data's own units. "variance", of tables whose columns have different units:
        the squared error of each column as a share of its variance, the mean over all columns that
        vary; that is 1 less the uniformly averaged R squared.
    model : float
        Of the model, the mean over rows.
    mean_row : float
        Of the mean of the rows that PCA learned from, in place of each: what a model without any
        code could reach.
    pca : float or None
        Of PCA with ``pca_components``; ``None`` where PCA cannot be that wide.
    pca_components : int
        As many as a code of the model tells of a row: :attr:`Units.numbers`.
    pca_fitted_on : {"training rows", "other half", "other tenths", "same rows"}
        Training rows are those given as such, or those among the rows given that the model learned
        from. Of new rows alone, each half is measured by PCA of the other half; of fewer than 200,
        each tenth by PCA of the others. PCA learns from the very rows that are measured where the
        model has learned from these as well.
    pca_rows : int
        How many rows PCA learned from.
    pca_difference : float or None
        Standard error of the model's mean error less PCA's, by the differences on each row: beyond
        twice that, chance is no likely reason.
    pca_columns : {"as they are", "standardised"}
        Whether columns were divided by their standard deviation before PCA: they are where shares
        of their variance are measured.
    outlier_threshold : float
        Error from which a row counts as an outlier.
    outliers : int
        How many of the measured rows do.
    """

    unit: Literal["pixels", "data", "variance"]
    model: float
    mean_row: float
    pca: float | None
    pca_components: int
    pca_fitted_on: Literal["training rows", "other half", "other tenths", "same rows"]
    pca_rows: int
    pca_difference: float | None
    pca_columns: Literal["as they are", "standardised"]
    outlier_threshold: float
    outliers: int


@dataclass(frozen=True)
class ColumnError:
    """How well a column of a table, or a channel of a signal, is restored.

    Attributes
    ----------
    name : str
    spread : float
        Its standard deviation over the measured rows, in its own unit.
    model, pca : float or None
        Share of its variance that is left: squared error by variance, 1 less R squared; above 1 it
        is restored worse than by its mean. ``None`` for a column that is constant on these rows,
        and for PCA where it cannot be compared.
    """

    name: str
    spread: float
    model: float | None
    pca: float | None


@dataclass(frozen=True)
class Columns:
    """How well each column is restored, and what its scaling has to do with it.

    Attributes
    ----------
    kind : {"columns", "channels"}
    each : list of ColumnError
        In the order of the columns.
    worse_than_mean : int
        Columns that the model restores worse than by their mean.
    constant : int
        Columns that do not vary on these rows, and are left out of all means.
    worst : int
        Number of the column, counted from 0, of which the largest share is left.
    mixed_units : bool
        Whether columns are taken to have different units: their spreads differ by more than 3
        times, and most do not reach over the whole range of all values.
    spread_ratio : float
        How many times the largest spread is the smallest.
    model_scaling : {"by column", "none", "unit", "global"}
        Whether the model divides each column by a number of its own; otherwise, all by one.
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


@dataclass(frozen=True)
class Learning:
    """How training went.

    Attributes
    ----------
    epochs, best_epoch : int
        Passes over the rows; the one whose weights were kept.
    ended : str
        As :attr:`narrows.training.history.History.ended`.
    late_fall : float or None
        What the last tenth of the epochs added to the fall of the (held-out) loss, as a share of
        all of it; ``None`` of fewer than five epochs. 0 where training stopped early, as no
        epoch was better any more.
    train_loss : float or None
        The term ``reconstruction`` on the training rows, in the best epoch; ``None`` where the
        model has no such term.
    rows_loss : float or None
        The same on the rows of the report.
    excess : float or None
        How much larger the squared error on rows not learned from, without outliers, is than on
        the training rows, as a share; ``None`` where nothing tells it.
    excess_on : {"measured rows", "held-out rows"}
        The rows not learned from: those measured, or, where the model has learned from these, the
        ones that were held out in training, as the history has them.
    kept_start : bool
        Whether the first weights were kept, which are PCA's: nothing that training tried was better
        on the rows held out, or there was nothing to train.
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


@dataclass(frozen=True)
class Units:
    """What the units of the code do on these rows.

    Attributes
    ----------
    n : int
        How many there are.
    unused : int
        How many say nothing: never on (sparse), of a mean whose variance is at most 0.01
        (variational), or constant.
    kind : {"dead", "collapsed", "constant"}
        Which of these is meant.
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


@dataclass(frozen=True)
class Map:
    """The two-dimensional map of the codes.

    Attributes
    ----------
    method : str
        How it was made.
    trustworthiness : float
        Of the map's neighbours, against the rows themselves, from 0 to 1.
    neighbor_accuracy : float or None
        Of a five-nearest-neighbour classifier in the map, cross-validated; with labels alone.
    """

    method: str
    trustworthiness: float
    neighbor_accuracy: float | None


@dataclass(frozen=True)
class Figures:
    """All of them.

    Attributes
    ----------
    model : str
        The class.
    fingerprint : str
        Of the model.
    n_rows, n_given : int
        Rows that were looked at, drawn from those given.
    origin : Origin
        Which of them the model has learned from, and which the figures come from.
    sample_shape : tuple of int
        Of a row.
    n_components : int
        Width of a code.
    errors : Errors
        In the data's units, or of pixels from 0 to 1.
    shares : Errors or None
        Of tables, and signals of several channels, whose columns have different units: shares of
        each column's variance. The verdict and the page are drawn from them where there are any.
    learning, units
        See there. Units are counted on all rows that were looked at.
    columns : Columns or None
        ``None`` for pictures, and signals of one channel.
    map : Map or None
        ``None`` where there are too few rows.
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
    learning: Learning
    units: Units
    columns: Columns | None = None
    map: Map | None = None
    features: Scores = field(default_factory=dict)
    sweep: dict[int, float] = field(default_factory=dict)
    pca_curve: dict[int, float] = field(default_factory=dict)
    pca_same_scaling: float | None = None

    @property
    def headline(self) -> Errors:
        """The errors that the verdict is drawn from."""
        return self.errors if self.shares is None else self.shares
