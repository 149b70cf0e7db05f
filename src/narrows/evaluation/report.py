"""A report on whether a model is any good: figures, a verdict from them, and a page."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from narrows.data.frames import Frame
from narrows.data.lazy_rows import LazyRows, stored
from narrows.data.signal_files import Windows
from narrows.errors import DataError, ParameterError, warn
from narrows.evaluation.anomalies import FAR, Anomalies, find_anomalies
from narrows.evaluation.beside import BesideClassics, chosen_pictures
from narrows.evaluation.classics import FEWEST_PIXELS
from narrows.evaluation.figures import (
    FeatureScores,
    Figures,
    Map,
    Origin,
    Outliers,
    measure_classics,
    measure_columns,
    measure_errors,
    measure_features,
    measure_learning,
    measure_units,
    membership_of,
    outlier_threshold,
)
from narrows.evaluation.maps import project, score_map
from narrows.evaluation.matching import groups_of
from narrows.evaluation.over_time import join_windows
from narrows.evaluation.page import Page, Part
from narrows.evaluation.parts import Subject, damage, make_parts
from narrows.evaluation.row_errors import (
    Coded,
    ErrorUnit,
    FittedOn,
    PCABaseline,
    choose_unit,
    find_columns,
    pca_scale,
    scales_columns,
)
from narrows.evaluation.verdict import judge, measured_rows, notice, writer
from narrows.models.anomalies import AnomalyDetector
from narrows.models.base import BaseAutoencoder
from narrows.models.learned_rows import LEARNED, NEW, hash_rows
from narrows.models.picture_restorer import is_of_noise
from narrows.models.table import TableAutoencoder
from narrows.models.validation import check_columns, check_number, check_rate

# The fewest rows for a report, and the fewest for its map.
_FEWEST, _FEWEST_FOR_MAP = 10, 50
# Training rows that PCA is fitted on at most.
_PCA_ROWS = 10_000
# Of fewer new rows than this, PCA is fitted on nine tenths instead of a half.
_FEW = 200
# PCA's curve has powers of two up to the first number, or the code's width, and twice that up to
# the second.
_CURVE, _TWICE = 64, 1_024


class Report(Page):
    """The result of :func:`make_report`.

    Attributes
    ----------
    figures : Figures
        Every number on the page.
    title, subtitle : str
        The heading of the page.
    notice : str
        A warning that the model has learned from the rows, or cannot tell; empty where it has not.
    verdict : list of Finding
        The findings, the comparison with PCA first.
    facts : list of (str, str)
        The most wanted figures, by name.
    parts : list of Part
        Plots, tables and sentences, drawn when first asked for.
    subject : Subject
        The model, the rows, and all that was measured.
    """

    def __init__(self, title: str, subject: Subject) -> None:
        self.title = title
        self.figures = subject.figures
        self.subtitle = _subtitle(subject.figures)
        self.notice = " ".join(filter(None, [notice(subject.figures), _overlap(subject)]))
        self.verdict = judge(subject.figures)
        self.facts = _facts(subject.figures)
        self.subject = subject

    def as_json(self) -> dict[str, Any]:
        """Return figures, verdict, and outliers (of signals, stretches with them), for JSON."""
        record = {
            "notice": self.notice,
            "figures": asdict(self.figures),
            "verdict": [asdict(finding) for finding in self.verdict],
        }
        subject = self.subject
        scores, threshold = subject.anomalies.scores.total, self.figures.outliers.threshold
        if subject.signals is not None:
            found = join_windows(subject.signals, subject.chosen, scores, threshold)
            record["outliers"] = [stretch._asdict() for stretch in found]
        else:
            above = [row for row in subject.anomalies.order if scores[row] > threshold]
            record["outliers"] = [
                {"row": subject.anomalies.names[row], "score": float(scores[row])} for row in above
            ]
        return record

    def _make_parts(self) -> list[Part]:
        with _quietly():
            return make_parts(self.subject)


def make_report(
    model: BaseAutoencoder,
    X: Any,
    y: ArrayLike | None = None,
    *,
    X_train: Any = None,
    sweep: tuple[int, ...] = (),
    max_rows: int = 10_000,
    names: Sequence[str] | None = None,
    title: str = "Is the model any good?",
    random_state: int = 0,
) -> Report:
    """Measure a model on rows, plot the results, and draw a verdict from them.

    Parameters
    ----------
    model : BaseAutoencoder
        A fitted model.
    X : array-like of shape (n, *sample_shape)
        Rows, at least 10; windows of signals as :class:`narrows.signals.Windows`. Errors, features
        and the verdict come from the rows held out in training and the new ones, by the model's
        own memory (``learned_rows_``), if these are at least 10. Otherwise they come from all rows,
        the page is headed by a notice, and PCA is fitted on the same rows.
    y : array-like of shape (n,), optional
        Labels: the colours of the map, and the classes for classifiers.
    X_train : array-like of shape (m, *sample_shape), optional
        The training rows: PCA and the models of the sweep are fitted on them too, and the errors
        on them tell overfitting, whatever the loss. By default these are the rows of X that the
        model has learned from. Where they are fewer than half of the others, PCA is fitted on each
        half of the measured rows in turn (of fewer than 200, on nine tenths), models on one half,
        and overfitting is told by the history, if the loss is a squared error.
    sweep : tuple of int
        Widths of code with which models like this one are trained, for the curve.
    max_rows : int, default=10_000
        The number of rows measured at most; of more, so many are drawn at random.
    names : sequence of n str, optional
        Names of the rows, such as their files; by default their numbers, counted from 0, and for
        windows of signals their signals and times.
    title : str
        The title of the page.
    random_state : int
        Random seed of every draw.

    Returns
    -------
    Report

    Raises
    ------
    NotFittedError, DataError
        If the model is not fitted, the rows do not fit it, there are too few of them, or labels or
        names are not one for each.
    ParameterError
        If a width of the sweep is not allowed.

    Examples
    --------
    >>> from narrows import Autoencoder, datasets
    >>> from narrows.evaluation import make_report
    >>> digits = datasets.load("digits")
    >>> model = Autoencoder(16, max_epochs=20, random_state=0).fit(digits.X_train)
    >>> report = make_report(model, digits.X_test, digits.y_test)
    >>> report.verdict[0].rule
    'better'
    """
    if isinstance(model, TableAutoencoder):
        raise ParameterError(
            "model is a TableAutoencoder, on which make_table_report reports by column; use that, "
            "or give model.model_ and model.encode_columns(X)",
            parameter="model",
        )
    subject = measure(
        model,
        X,
        y,
        X_train,
        sweep=sweep,
        max_rows=max_rows,
        names=names,
        random_state=random_state,
    )
    return Report(title, subject)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep numpy to one thread, as several spin while they wait, and scikit-learn from warning.

    Columns are checked when rows come in; afterwards rows are arrays, whose columns have no names.
    """
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        yield


@_quietly()
def measure(
    model: BaseAutoencoder,
    X: Any,
    y: ArrayLike | None,
    X_train: Any,
    *,
    random_state: int,
    sweep: tuple[int, ...] = (),
    max_rows: int = 10_000,
    names: Sequence[str] | None = None,
    known: FeatureScores | None = None,
    kept_from_model: bool = False,
    n_columns: int | None = None,
    table: Frame | None = None,
    anomalies: Anomalies | None = None,
) -> Subject:
    """Measure the figures of :func:`make_report`.

    ``known`` are scores of features of the same rows. Rows ``kept_from_model`` are not looked up
    in the model's memory. Of the features of an encoded ``table``, the first ``n_columns`` stand
    for its columns, in one unit, and the others mark gaps. ``anomalies`` are the scores of the
    same rows, if they are known.
    """
    check_number("max_rows", max_rows, low=_FEWEST, integral=True)
    others = _others(model, sweep)
    given = _check_given(model, X)
    labels = check_labels(y, len(given))
    if names is not None and len(names) != len(given):
        raise DataError(
            f"there are {len(names)} names for {len(given)} rows; give one for each, or none"
        )
    if len(given) < _FEWEST:
        raise DataError(f"{len(given)} rows are too few for a report; give at least {_FEWEST}")
    chosen = np.sort(np.random.default_rng(random_state).permutation(len(given))[:max_rows])
    rows = model._check_rows(given[chosen])
    labels = None if labels is None else labels[chosen]
    membership = np.full(len(rows), NEW, np.int8) if kept_from_model else membership_of(model, rows)
    membership = _of_pictures(model, membership, names, chosen)
    origin = Origin.of(model, membership)
    measured = origin.is_measured(membership)
    layout = find_columns(model, rows, given, in_one_unit=n_columns is not None)
    unit = choose_unit(rows[measured], layout)
    coded = everything = Coded.of(model, rows[measured], unit, chosen[measured])
    if not measured.all():
        rest = Coded.of(model, rows[~measured], unit, chosen[~measured])
        everything = coded.joined(rest, measured, rows)
    learned = membership == LEARNED
    training = _training_rows(model, X_train, coded.X, origin, random_state)
    learned_errors = None
    if training is not None:
        learned_errors = Coded.of(model, training, unit).errors
    elif origin.measured_on == "unseen" and 2 * learned.sum() >= len(coded.X):
        training, learned_errors = rows[learned], everything.errors[learned]
    units = measure_units(model, everything)
    width = units.numbers
    powers = [1 << power for power in range(max(_CURVE, width).bit_length())]
    sizes = [*powers, width, *sweep]
    if 2 * width <= _TWICE:
        sizes.append(2 * width)
    baseline, in_data_units = _fit_baselines(
        model, coded.X, unit, origin, training, sizes=sizes, random_state=random_state
    )
    errors = shares = measure_errors(coded.errors, width, baseline)
    same_scaling = None
    if in_data_units is not baseline:
        errors = measure_errors(coded.data_errors, width, in_data_units)
        if errors.pca is not None and not scales_columns(model):
            same_scaling = float(in_data_units.squared_errors(width) @ unit.weights)
    points, map_figures = _make_map(model, rows, labels, random_state)
    features = (
        {}
        if labels is None
        else measure_features(
            coded, unit, labels[measured], width, random_state=random_state, known=known or {}
        )
    )
    shown = _names(given, names, chosen)
    if anomalies is None:
        scored = rows if table is None else table.rows(chosen)
        anomalies = _score(model, given, scored, shown, random_state)
    beside = _beside_classics(model, coded.X, random_state)
    figures = Figures(
        model=type(model).__name__,
        fingerprint=model.fingerprint_,
        n_rows=len(rows),
        n_given=len(given),
        origin=origin,
        sample_shape=tuple(rows.shape[1:]),
        n_components=units.n,
        errors=errors,
        shares=None if shares is errors else shares,
        outliers=_outliers(anomalies),
        learning=measure_learning(
            model,
            coded,
            shares.largest_typical,
            learned_errors,
            is_unseen=origin.measured_on != "learned",
            random_state=random_state,
        ),
        units=units,
        columns=measure_columns(
            model, coded, baseline, errors=shares, same_scaling=same_scaling, n_columns=n_columns
        ),
        map=map_figures,
        features=features,
        sweep=_sweep(others, coded.X, unit, training, random_state),
        pca_curve={size: float(baseline.errors(size).mean()) for size in baseline.sizes if size},
        pca_same_scaling=same_scaling,
        classics=None if beside is None else measure_classics(beside),
    )
    return Subject(
        model=model,
        coded=coded,
        names=[name for name, is_measured in zip(shown, measured, strict=True) if is_measured],
        everything=everything,
        anomalies=anomalies,
        signals=given if isinstance(given, Windows) else None,
        are_crops=_are_crops(model, names),
        chosen=chosen,
        baseline=baseline,
        labels=labels,
        points=points,
        figures=figures,
        random_state=random_state,
        beside=beside,
    )


def _beside_classics(
    model: BaseAutoencoder, X: NDArray[Any], random_state: int
) -> BesideClassics | None:
    """Restore pictures with noise by the model and by classics; None where there is no noise."""
    takes_noise_off = model.spec_.shows_pictures and is_of_noise(model)
    if not takes_noise_off or min(X.shape[1:3]) < FEWEST_PIXELS:
        return None
    rows = np.array(chosen_pictures(len(X), X.shape[1] * X.shape[2]))
    clean = X[rows]
    noisy = damage(model, clean, random_state)
    if noisy is None:
        return None
    beside = BesideClassics()
    limits = (model.scaling_.low, model.scaling_.high)
    restored = model.reconstruct(noisy).clip(*limits)
    for row, *versions in zip(rows.tolist(), noisy, restored, clean, strict=True):
        beside.add(f"row {row}", *versions, limits=limits)
    return beside


def _check_given(model: BaseAutoencoder, X: Any) -> NDArray[Any] | LazyRows:
    """Check rows in memory, and only the columns of rows on disk."""
    if isinstance(X, LazyRows | np.memmap):
        check_columns(model, X)
        check_rate(model, X.rate if isinstance(X, Windows) else None)
        rows: NDArray[Any] | LazyRows = stored(X)
        return rows
    return model._check_rows(X)


def _training_rows(
    model: BaseAutoencoder, X_train: Any, measured: NDArray[Any], origin: Origin, random_state: int
) -> NDArray[Any] | None:
    """Draw from the training rows that were given, without those that are measured."""
    if X_train is None:
        return None
    given = _check_given(model, X_train)
    rows = np.sort(np.random.default_rng(random_state).permutation(len(given))[:_PCA_ROWS])
    training = model._check_rows(given[rows])
    if origin.measured_on != "learned":
        training = training[~np.isin(hash_rows(training), hash_rows(measured))]
        if not len(training):
            raise DataError(
                "X_train holds nothing but rows that are measured; give the rows that the model "
                "learned from, or leave X_train (--train) out"
            )
    memory = model.learned_rows_
    if memory is not None and (memory.membership(training) == NEW).all():
        warn(
            f"the model has learned from none of the {len(training)} rows given as X_train "
            "(--train): PCA learns from them all the same, and errors on them cannot tell "
            "whether the model is overfitted",
            kind="not_training_rows",
            rows=len(training),
            stacklevel=5,
        )
    return training


def check_labels(y: ArrayLike | None, count: int) -> NDArray[Any] | None:
    """Return labels as an array, (n,); raise a DataError if they are not one for each row."""
    if y is None:
        return None
    groups_of(y, count)
    return np.asarray(y)


def _make_map(
    model: BaseAutoencoder, X: NDArray[Any], labels: NDArray[Any] | None, random_state: int
) -> tuple[NDArray[np.floating] | None, Map | None]:
    """Project the codes onto a plane, where there are enough and they are not all the same."""
    if len(X) < _FEWEST_FOR_MAP:
        return None, None
    try:
        projection = project(X, model=model, random_state=random_state)
    except DataError:
        return None, None
    points = projection.points
    several = labels is not None and len(np.unique(labels)) > 1
    y = labels if several else None
    scores = score_map(X, points, y, model=model, random_state=random_state)
    return points, Map(projection.method, scores.trustworthiness, scores.neighbor_accuracy)


def _fit_baselines(
    model: BaseAutoencoder,
    measured: NDArray[Any],
    unit: ErrorUnit,
    origin: Origin,
    training: NDArray[Any] | None,
    *,
    sizes: list[int],
    random_state: int,
) -> tuple[PCABaseline, PCABaseline]:
    """Fit PCA on rows like those that the model learned from, for the headline and in data units.

    The two differ only where columns have different units: the first then sees them as the model
    scales them, or standardised, the second as they are.
    """
    fitted_on: FittedOn = "other half" if len(measured) >= _FEW else "other tenths"
    if training is not None:
        fitted_on = "training rows"
    elif origin.measured_on == "learned":
        fitted_on = "same rows"
    same: dict[str, Any] = {"sizes": sizes, "random_state": random_state}
    in_data_units = PCABaseline(measured, unit.data or unit, fitted_on, training, **same)
    if unit.data is None:
        return in_data_units, in_data_units
    scale = pca_scale(model, unit, fitted_on)
    return PCABaseline(measured, unit, fitted_on, training, scale=scale, **same), in_data_units


def _others(model: BaseAutoencoder, sweep: Sequence[int]) -> dict[int, BaseAutoencoder]:
    """Make models like this one with other widths of code, not fitted yet."""
    others = {}
    for width in sweep:
        other = clone(model).set_params(n_components=width, checkpoint=None)
        try:
            other.check_parameters()
        except ParameterError as error:
            raise ParameterError(
                f"no model of the sweep can have codes of {width}: {error}"
            ) from error
        others[int(width)] = other
    return others


def _sweep(
    others: dict[int, BaseAutoencoder],
    X: NDArray[Any],
    unit: ErrorUnit,
    training: NDArray[Any] | None,
    random_state: int,
) -> dict[int, float]:
    """Train models, and measure them on rows not learned from."""
    seen, measured = training, X
    if seen is None:
        order = np.random.default_rng(random_state).permutation(len(X))
        seen, measured = (X[np.sort(half)] for half in np.array_split(order, 2))
    return {
        width: float(Coded.of(other.fit(seen), measured, unit).errors.mean())
        for width, other in others.items()
    }


def _names(given: Any, names: Sequence[str] | None, chosen: NDArray[np.int64]) -> list[str]:
    """Name the chosen rows: by the names given, as windows, or by their numbers."""
    if names is None and isinstance(given, Windows):
        return [given.describe(row) for row in chosen]
    return [f"row {row}" if names is None else names[row] for row in chosen.tolist()]


def _score(
    model: BaseAutoencoder, given: Any, rows: Any, names: list[str], random_state: int
) -> Anomalies:
    """Score rows for anomalies by a detector of these rows, each by networks that have not seen it.

    Of signals, all windows are learned from. The threshold of the detector plays no part, so that
    few rows are enough.
    """
    detector = AnomalyDetector(contamination=0.5, random_state=random_state)
    if isinstance(given, Windows):
        rows = given if len(rows) == len(given) else rows
        return find_anomalies(detector.fit(given), rows, names=names)
    detector.fit(rows)
    if not isinstance(rows, Frame) and hasattr(model, "feature_names_in_"):
        detector.feature_names_in_ = model.feature_names_in_  # which rows in memory have not
    return find_anomalies(detector, rows, names=names)


def _outliers(anomalies: Anomalies) -> Outliers:
    """Count the rows whose anomaly scores are far above all others."""
    scores = anomalies.scores.total
    threshold = outlier_threshold(scores, FAR)
    count = int((scores > threshold).sum())
    return Outliers("anomaly score", anomalies.detector.ensemble_, threshold, count)


def _facts(figures: Figures) -> list[tuple[str, str]]:
    """Return the most wanted figures, by name."""
    errors, columns = figures.headline, figures.columns
    write, are_shares = writer(figures, digits=4), figures.shares is not None
    on = " on standardised columns" if are_shares else ""
    rows = [
        ("variance left" if are_shares else "error", write(errors.model)),
        (
            f"PCA's{on}, {errors.pca_components} numbers",
            "none" if errors.pca is None else write(errors.pca),
        ),
    ]
    if figures.pca_same_scaling is not None:
        rows.append(("PCA's on columns as the model scales them", write(figures.pca_same_scaling)))
    rows += [("the mean row's", write(errors.mean_row)), ("measured on", measured_rows(figures))]
    if columns is not None:
        worse = f"{columns.worse_than_mean} of {len(columns.each)}"
        rows.append((f"{columns.kind} worse than their mean", worse))
    rows += [
        (f"{figures.units.kind} units", f"{figures.units.unused} of {figures.units.n}"),
        ("outliers", f"{figures.outliers.n} of {figures.n_rows}"),
        ("epochs", str(figures.learning.epochs)),
    ]
    if figures.map is not None:
        rows.append(("trustworthiness of the map", f"{figures.map.trustworthiness:.3f}"))
    for name, accuracies in figures.features.items():
        mean, _ = accuracies["5 nearest neighbours"]
        rows.append((f"5 nearest neighbours, {name}", f"{mean:.3f}"))
    return rows


def _overlap(subject: Subject) -> str:
    """Say that rows held out in training overlap those learned from; empty where none do."""
    origin = subject.figures.origin
    if subject.signals is not None:
        rows, shared, new = "windows", "samples", "signals"
    else:
        rows, shared, new = "crops", "pixels", "pictures"
    overlaps = subject.signals is not None or subject.are_crops
    if not (overlaps and origin.measured_on == "unseen" and origin.n_held_out and origin.n_learned):
        return ""
    return (
        f"{origin.n_held_out} of the {rows} measured on were held out in training, but may share "
        f"{shared} with {rows} learned from: give {new} that are new to the model for an error "
        "that tells how it does on others."
    )


def _are_crops(model: BaseAutoencoder, names: Sequence[str] | None) -> bool:
    """Return whether several rows were cut out of one picture, whose name they share."""
    restores = model.spec_.definition.starts_at_input and model.spec_.shows_pictures
    return restores and names is not None and len(set(names)) < len(names)


def _of_pictures(
    model: BaseAutoencoder,
    membership: NDArray[np.int8],
    names: Sequence[str] | None,
    chosen: NDArray[np.int64],
) -> NDArray[np.int8]:
    """Count new crops of pictures of which others were learned as learned, too."""
    if names is None or not _are_crops(model, names):
        return membership
    own = [names[row] for row in chosen]
    learned = {name for name, kind in zip(own, membership, strict=True) if kind == LEARNED}
    is_known = np.array([name in learned for name in own])
    return np.where(is_known & (membership == NEW), np.int8(LEARNED), membership)


def _subtitle(figures: Figures) -> str:
    shape = " \N{MULTIPLICATION SIGN} ".join(map(str, figures.sample_shape))
    rows = f"{figures.n_rows:,} rows"
    if figures.n_rows < figures.n_given:
        rows += f", drawn from {figures.n_given:,},"
    return (
        f"{figures.model} with codes of {figures.n_components} numbers, on {rows} of {shape}, "
        f"measured on {measured_rows(figures)}; model {figures.fingerprint[:12]}."
    )
