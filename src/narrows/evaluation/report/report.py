"""One report that says whether a model is any good."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from narrows.data.disk_rows import stored
from narrows.data.lazy import LazyRows
from narrows.errors import DataError, ParameterError, warn
from narrows.evaluation.error_units import ErrorUnit, choose_unit, find_columns, scales_columns
from narrows.evaluation.given import groups_of
from narrows.evaluation.map_scores import score_map
from narrows.evaluation.maps import project
from narrows.evaluation.report import origin as origins
from narrows.evaluation.report.features import features_of
from narrows.evaluation.report.figures import Figures, Map, Origin, Scores
from narrows.evaluation.report.measure import (
    Coded,
    measure_columns,
    measure_errors,
    measure_learning,
    measure_units,
)
from narrows.evaluation.report.page import Page, Part
from narrows.evaluation.report.parts import Subject, make_parts
from narrows.evaluation.report.verdict import judge, measured_rows, notice, writer
from narrows.evaluation.report.yardstick import choose_yardsticks, sizes_of_curve
from narrows.models.base import BaseAutoencoder
from narrows.models.learned_rows import LEARNED, NEW, hash_rows
from narrows.models.validation import check_columns, check_number

# The fewest rows that anything can be said of, and the fewest for a map.
_FEWEST, _FEWEST_FOR_MAP = 10, 50
# Training rows that PCA, as the yardstick, is fitted on at most.
_PCA_ROWS = 10_000


class Report(Page):
    """What :func:`make_report` found.

    Attributes
    ----------
    figures : Figures
        Every number on the page.
    title, subtitle : str
        Of the page.
    notice : str
        That the model has learned from the rows, or cannot tell; empty where it has not.
    verdict : list of Finding
        What the figures say, the comparison with PCA first.
    facts : list of (str, str)
        The figures that one looks for first, by name.
    parts : list of Part
        Plots, tables and sentences, drawn when first asked for.
    subject : Subject
        The model, the rows, and what was made of them.
    """

    def __init__(self, title: str, subject: Subject) -> None:
        self.title = title
        self.figures = subject.figures
        self.subtitle = _subtitle(subject.figures)
        self.notice = notice(subject.figures)
        self.verdict = judge(subject.figures)
        self.facts = _facts(subject.figures)
        self.subject = subject

    def as_json(self) -> dict[str, Any]:
        """Return figures and verdict as JSON can hold them."""
        return {
            "notice": self.notice,
            "figures": asdict(self.figures),
            "verdict": [asdict(finding) for finding in self.verdict],
        }

    def _make_parts(self) -> list[Part]:
        with quietly():
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
    """Measure a model on rows, draw what there is to see, and say what it means.

    Parameters
    ----------
    model : BaseAutoencoder
        Fitted.
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C)
        Rows, at least 10. Of those that the model has learned from, by its own memory
        (``learned_rows_``), nothing is said about how it does on others: errors, features and the
        verdict come from the rows held out in training and the new ones, if these are at least
        10. Otherwise the page is headed by a notice, and PCA is fitted on the same rows.
    y : array-like of shape (n,), optional
        Labels: colours of the map, and what classifiers are to find.
    X_train : array-like, optional
        What the model learned from: PCA and the models of the sweep learn from it too, and the
        errors on it tell overfitting, whatever the loss. By default they learn from those rows of
        X that the model has learned from. Where these are fewer than half of the others, PCA
        learns from each half of the measured rows in turn (of fewer than 200, from nine tenths),
        models from one half, and overfitting is told by what the history has of a loss that is a
        squared error.
    sweep : tuple of int
        Widths of code with which models like this one are trained, for the curve.
    max_rows : int, default=10_000
        More rows are drawn from at random.
    names : sequence of n str, optional
        What rows are called, such as their files; by default their numbers, counted from 0.
    title : str
        Of the page.
    random_state : int
        Random seed of every draw.

    Returns
    -------
    Report

    Raises
    ------
    NotFittedError, DataError
        If there is nothing learned yet, the rows do not fit the model, there are too few of them,
        or labels or names are not one for each.
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
    with quietly():
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
def quietly() -> Iterator[None]:
    """Keep numpy to one thread, as several spin while they wait, and scikit-learn's peace.

    Columns are checked when rows come in; afterwards rows are arrays, whose columns have no names.
    """
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        yield


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
    known: Scores | None = None,
    kept_from_model: bool = False,
) -> Subject:
    """Measure what :func:`make_report` shows.

    ``known`` are scores of features of the same rows. Rows ``kept_from_model`` are not looked up
    in the model's memory.
    """
    check_number("max_rows", max_rows, low=_FEWEST, integral=True)
    others = _others(model, sweep)
    given = check_given(model, X)
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
    origin, membership = (
        origins.all_new(model, len(rows)) if kept_from_model else origins.origin_of(model, rows)
    )
    own = origins.is_measured(origin, membership)
    columns = find_columns(model, rows, given)
    unit = choose_unit(rows[own], columns)
    coded = everything = Coded.of(model, rows[own], unit, chosen[own])
    if not own.all():
        everything = coded.beside(Coded.of(model, rows[~own], unit, chosen[~own]), own, rows)
    learned = membership == LEARNED
    training = _training_rows(model, X_train, coded.X, origin, random_state)
    learned_errors = None
    if training is not None:
        learned_errors = Coded.of(model, training, unit).errors
    elif origin.measured_on == "unseen" and 2 * learned.sum() >= len(coded.X):
        training, learned_errors = rows[learned], everything.errors[learned]
    units = measure_units(model, everything)
    width = units.numbers
    yardstick, in_data_units = choose_yardsticks(
        model,
        coded.X,
        unit,
        origin,
        training,
        sizes=sizes_of_curve(width, sweep),
        random_state=random_state,
    )
    errors = shares = measure_errors(coded.errors, width, yardstick)
    same_scaling = None
    if in_data_units is not yardstick:
        errors = measure_errors(coded.data_errors, width, in_data_units)
        if errors.pca is not None and not scales_columns(model):
            same_scaling = float(in_data_units.squared_errors(width) @ unit.weights)
    points, found_map = _make_map(model, rows, labels, random_state)
    measured_labels = None if labels is None else labels[own]
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
        learning=measure_learning(
            model,
            coded,
            shares.outlier_threshold,
            learned_errors,
            is_unseen=origin.measured_on != "learned",
            random_state=random_state,
        ),
        units=units,
        columns=None
        if columns is None
        else measure_columns(
            model, coded, columns, yardstick, errors=shares, same_scaling=same_scaling
        ),
        map=found_map,
        features={}
        if measured_labels is None
        else features_of(
            coded, unit, measured_labels, width, random_state=random_state, known=known or {}
        ),
        sweep=_sweep(others, coded.X, unit, training, random_state),
        pca_curve={size: float(yardstick.errors(size).mean()) for size in yardstick.sizes if size},
        pca_same_scaling=same_scaling,
    )
    called = [f"row {row}" if names is None else names[row] for row in chosen.tolist()]
    return Subject(
        model=model,
        coded=coded,
        names=[called[place] for place in np.flatnonzero(own)],
        everything=everything,
        yardstick=yardstick,
        labels=labels,
        points=points,
        figures=figures,
        random_state=random_state,
    )


def check_given(model: BaseAutoencoder, X: Any) -> NDArray[Any] | LazyRows:
    """Check the columns of a table, and whatever else there is to check of rows in memory.

    Returns
    -------
    ndarray or LazyRows of shape (n, ...)
    """
    if isinstance(X, LazyRows | np.memmap):
        check_columns(model, X)
        found: NDArray[Any] | LazyRows = stored(X)
        return found
    return model._check_rows(X)


def _training_rows(
    model: BaseAutoencoder, X_train: Any, measured: NDArray[Any], origin: Origin, random_state: int
) -> NDArray[Any] | None:
    """Draw from the training rows that were given, without those that are measured."""
    if X_train is None:
        return None
    given = check_given(model, X_train)
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
            stacklevel=4,
        )
    return training


def check_labels(y: ArrayLike | None, count: int) -> NDArray[Any] | None:
    """Return labels as an array, one for each row.

    Raises
    ------
    DataError
        If they are not that many, or of several kinds.
    """
    if y is None:
        return None
    groups_of(y, count)
    return np.asarray(y)


def _make_map(
    model: BaseAutoencoder, X: NDArray[Any], labels: NDArray[Any] | None, random_state: int
) -> tuple[NDArray[np.floating] | None, Map | None]:
    """Lay the codes out in two dimensions, where there are enough and they are not all the same."""
    if len(X) < _FEWEST_FOR_MAP:
        return None, None
    try:
        made = project(X, model=model, random_state=random_state)
    except DataError:
        return None, None
    several = labels is not None and len(np.unique(labels)) > 1
    scores = score_map(
        X, made.points, labels if several else None, model=model, random_state=random_state
    )
    return made.points, Map(made.method, scores.trustworthiness, scores.neighbor_accuracy)


def _others(model: BaseAutoencoder, sweep: Sequence[int]) -> dict[int, BaseAutoencoder]:
    """Make models like this one with other widths of code, not fitted yet."""
    others = {}
    for width in sweep:
        other = clone(model).set_params(n_components=width, checkpoint=None)
        try:
            other._check_parameters()
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


def _facts(figures: Figures) -> list[tuple[str, str]]:
    """Return the figures that one looks for first, by name."""
    errors, columns, found = figures.headline, figures.columns, figures.map
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
        ("outliers", f"{errors.outliers} of {figures.origin.n_measured}"),
        ("epochs", str(figures.learning.epochs)),
    ]
    if found is not None:
        rows.append(("trustworthiness of the map", f"{found.trustworthiness:.3f}"))
    for name, of_it in figures.features.items():
        mean, _ = of_it["5 nearest neighbours"]
        rows.append((f"5 nearest neighbours, {name}", f"{mean:.3f}"))
    return rows


def _subtitle(figures: Figures) -> str:
    shape = " \N{MULTIPLICATION SIGN} ".join(map(str, figures.sample_shape))
    rows = f"{figures.n_rows:,} rows"
    if figures.n_rows < figures.n_given:
        rows += f", drawn from {figures.n_given:,},"
    return (
        f"{figures.model} with codes of {figures.n_components} numbers, on {rows} of {shape}, "
        f"measured on {measured_rows(figures)}; model {figures.fingerprint[:12]}."
    )
