"""Every figure that a report shows and its verdict is drawn from."""

from dataclasses import dataclass, field
from typing import Literal

Accuracy = tuple[float, float]
"""Mean and standard deviation over the parts of a cross-validation, from 0 to 1."""

Scores = dict[str, dict[str, Accuracy]]
"""Of each representation, the accuracy of each classifier."""


@dataclass(frozen=True)
class Errors:
    """How far restored rows are from the rows: mean squared errors, 8-bit pixels from 0 to 1.

    Attributes
    ----------
    model : float
        Of the model, the mean over rows.
    mean_row : float
        Of the mean row in place of each: what a model without any code could reach.
    pca : float or None
        Of PCA with ``pca_components``; ``None`` where PCA cannot be that wide.
    pca_components : int
        As many as a code of the model tells of a row: :attr:`Units.numbers`.
    outlier_threshold : float
        Error from which a row counts as an outlier.
    outliers : int
        How many rows do.
    """

    model: float
    mean_row: float
    pca: float | None
    pca_components: int
    outlier_threshold: float
    outliers: int


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
        all of it; ``None`` of fewer than five epochs.
    train_loss : float or None
        The term ``reconstruction`` on the training rows, in the best epoch; ``None`` where the
        model has no such term.
    rows_loss : float or None
        The same on the rows of the report.
    excess : float or None
        How much larger the squared error on these rows, without outliers, is than on the training
        rows, as a share; ``None`` where the training rows are not given and the loss does not tell
        it.
    """

    epochs: int
    best_epoch: int
    ended: str
    late_fall: float | None
    train_loss: float | None
    rows_loss: float | None
    excess: float | None


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
        Rows that were measured, drawn from those given.
    sample_shape : tuple of int
        Of a row.
    n_components : int
        Width of a code.
    errors, learning, units
        See there.
    map : Map or None
        ``None`` where there are too few rows.
    features : dict of str to dict of str to (float, float)
        Of each representation ("codes", "PCA", "raw"), the accuracy of each classifier; empty
        without labels.
    sweep : dict of int to float
        Errors of models like this one with other widths of code; empty where none were asked for.
    pca_curve : dict of int to float
        Errors of PCA by its size.
    """

    model: str
    fingerprint: str
    n_rows: int
    n_given: int
    sample_shape: tuple[int, ...]
    n_components: int
    errors: Errors
    learning: Learning
    units: Units
    map: Map | None = None
    features: Scores = field(default_factory=dict)
    sweep: dict[int, float] = field(default_factory=dict)
    pca_curve: dict[int, float] = field(default_factory=dict)
