"""One report that says whether a model is any good."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from narrows.data.lazy import LazyRows
from narrows.errors import DataError, ParameterError
from narrows.evaluation.given import groups_of
from narrows.evaluation.map_scores import score_map
from narrows.evaluation.maps import project
from narrows.evaluation.report.features import score_features
from narrows.evaluation.report.figures import Figures, Map, Scores
from narrows.evaluation.report.measure import (
    Coded,
    as_rows,
    measure_errors,
    measure_learning,
    measure_units,
)
from narrows.evaluation.report.page import Page
from narrows.evaluation.report.parts import Subject, make_parts
from narrows.evaluation.report.render import Part
from narrows.evaluation.report.verdict import judge
from narrows.evaluation.report.yardstick import Yardstick, fit_pca
from narrows.models.base import BaseAutoencoder
from narrows.models.validation import check_number

# The fewest rows that anything can be said of, and the fewest for a map.
_FEWEST, _FEWEST_FOR_MAP = 10, 50
# Rows that classifiers learn from, and that PCA is fitted on at most.
_FEATURE_ROWS, _PCA_ROWS = 2_000, 10_000
# PCA's curve has powers of two up to here, or twice the code's width.
_CURVE = 64


class Report(Page):
    """What :func:`make_report` found.

    Attributes
    ----------
    figures : Figures
        Every number on the page.
    title, subtitle : str
        Of the page.
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
        self.verdict = judge(subject.figures)
        self.facts = _facts(subject.figures)
        self.subject = subject

    def as_json(self) -> dict[str, Any]:
        """Return figures and verdict as JSON can hold them."""
        return {
            "figures": asdict(self.figures),
            "verdict": [asdict(finding) for finding in self.verdict],
        }

    def _make_parts(self) -> list[Part]:
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
        Rows, best such as the model has not learned from; at least 10.
    y : array-like of shape (n,), optional
        Labels: colours of the map, and what classifiers are to find.
    X_train : array-like, optional
        What the model learned from: PCA and the models of the sweep learn from it too, and the
        errors on it tell overfitting, whatever the loss. By default PCA learns from each half of X
        by turns, models from one half, and overfitting is told by what the history has of a loss
        that is a squared error.
    sweep : tuple of int
        Widths of code with which models like this one are trained, for the curve.
    max_rows : int, default=10_000
        More rows are drawn from at random.
    names : sequence of n str, optional
        What rows are called, such as their files; by default their numbers, counted from 0.
    title : str
        Of the page.
    random_state : int
        Of all chance.

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
    with by_one_thread():
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


def by_one_thread() -> AbstractContextManager[object]:
    """Keep numpy to one thread: several spin while they wait, for long on a busy machine."""
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


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
) -> Subject:
    """Measure what :func:`make_report` shows; ``known`` are scores of features of the same rows."""
    check_number("max_rows", max_rows, low=_FEWEST, integral=True)
    others = _others(model, sweep)
    given = X if isinstance(X, LazyRows) else np.asarray(X)
    labels = check_labels(y, len(given))
    if names is not None and len(names) != len(given):
        raise DataError(
            f"there are {len(names)} names for {len(given)} rows; give one for each, or none"
        )
    if len(given) < _FEWEST:
        raise DataError(f"{len(given)} rows are too few for a report; give at least {_FEWEST}")
    chosen = np.sort(np.random.default_rng(random_state).permutation(len(given))[:max_rows])
    coded = Coded.of(model, given[chosen])
    labels = None if labels is None else labels[chosen]
    learned_from = None if X_train is None else _some(X_train, random_state)
    units = measure_units(model, coded)
    width = units.numbers
    yardstick = Yardstick(
        coded.rows,
        None if learned_from is None else as_rows(learned_from),
        most=max(2 * width, _CURVE, *sweep),
        random_state=random_state,
    )
    errors = measure_errors(coded, units, yardstick)
    points, found_map = _make_map(model, coded.X, labels, random_state)
    figures = Figures(
        model=type(model).__name__,
        fingerprint=model.fingerprint_,
        n_rows=len(coded.rows),
        n_given=len(given),
        sample_shape=tuple(coded.X.shape[1:]),
        n_components=units.n,
        errors=errors,
        learning=measure_learning(
            model, coded, errors.outlier_threshold, learned_from, random_state
        ),
        units=units,
        map=found_map,
        features={}
        if labels is None
        else _features(coded, labels, width, random_state, known or {}),
        sweep=_sweep(others, coded, learned_from, random_state),
        pca_curve=_curve(yardstick, width, sweep),
    )
    called = [f"row {row}" if names is None else names[row] for row in chosen.tolist()]
    return Subject(model, coded, called, yardstick, labels, points, figures, random_state)


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


def _some(X: Any, random_state: int) -> NDArray[Any]:
    rows = np.sort(np.random.default_rng(random_state).permutation(len(X))[:_PCA_ROWS])
    return X[rows] if isinstance(X, LazyRows) else np.asarray(X)[rows]


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


def _features(
    coded: Coded, labels: NDArray[Any], width: int, random_state: int, known: Scores
) -> Scores:
    """Score codes, PCA's codes and rows, except what is known of the same rows; none of few."""
    rows = slice(_FEATURE_ROWS)
    found = {"codes": coded.codes[rows]}
    by_pca = f"PCA, {width}"
    if by_pca not in known and width <= min(coded.rows[rows].shape):
        pca = fit_pca(coded.rows, width, random_state)
        found[by_pca] = pca.transform(coded.rows[rows])
    if "raw" not in known:
        found["raw"] = coded.rows[rows]
    try:
        scores = score_features(found, labels[rows], random_state=random_state)
    except DataError:
        return {}
    beside = {**known, **scores}
    return {name: beside[name] for name in ("codes", by_pca, "raw") if name in beside}


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
    coded: Coded,
    learned_from: NDArray[Any] | None,
    random_state: int,
) -> dict[int, float]:
    """Train models, and measure them on rows not learned from."""
    if learned_from is None:
        order = np.random.default_rng(random_state).permutation(len(coded.X))
        seen, measured = (coded.X[np.sort(half)] for half in np.array_split(order, 2))
    else:
        seen, measured = learned_from, coded.X
    return {
        width: float(Coded.of(other.fit(seen), measured).errors.mean(dtype=np.float64))
        for width, other in others.items()
    }


def _curve(yardstick: Yardstick, width: int, sweep: tuple[int, ...]) -> dict[int, float]:
    powers = [1 << power for power in range(yardstick.most.bit_length())]
    sizes = sorted({*powers, width, 2 * width, *sweep})
    return {
        size: float(yardstick.errors(size).mean(dtype=np.float64))
        for size in sizes
        if size <= yardstick.most
    }


def _facts(figures: Figures) -> list[tuple[str, str]]:
    """Return the figures that one looks for first, by name."""
    errors, found = figures.errors, figures.map
    rows = [
        ("error", f"{errors.model:.4g}"),
        (f"PCA's, {errors.pca_components} numbers", _or_none(errors.pca)),
        ("the mean row's", f"{errors.mean_row:.4g}"),
        (f"{figures.units.kind} units", f"{figures.units.unused} of {figures.units.n}"),
        ("outliers", f"{errors.outliers} of {figures.n_rows}"),
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
        f"{figures.model} with codes of {figures.n_components} numbers, on {rows} of {shape}; "
        f"model {figures.fingerprint[:12]}."
    )


def _or_none(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
