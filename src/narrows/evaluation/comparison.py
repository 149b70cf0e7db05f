"""Comparisons on rows that no method has seen: of a model with PCA, and of all models."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import KNeighborsClassifier

from narrows import plots
from narrows.data.arrays import refuse_containers
from narrows.errors import DataError, ParameterError
from narrows.evaluation.figures import FeatureScores, Figures, Origin, membership_of
from narrows.evaluation.page import Page, Part
from narrows.evaluation.parts import plot_features, typical_rows
from narrows.evaluation.report import Report, check_labels, measure
from narrows.evaluation.row_errors import (
    Coded,
    PCABaseline,
    check_shape,
    choose_unit,
    find_columns,
    pca_scale,
)
from narrows.evaluation.verdict import RULES, Finding, amount, percent, unit_of_errors, writer
from narrows.models import MODELS
from narrows.models.base import BaseAutoencoder
from narrows.models.registry import is_built_in, model_named
from narrows.models.sparse import SparseAutoencoder
from narrows.models.validation import check_number

if TYPE_CHECKING:
    from narrows.evaluation.anomalies import Anomalies

# The share of the rows that no model learns from, and how many of them are measured at most.
_TEST_SHARE, _TEST_ROWS = 0.2, 2_000
_FEWEST = 50
# Units of sparse codes for each number that a row may use of them.
_WIDER = 8
_SHOWN = 6
# Errors within this share of the smallest count as near it.
_NEAR = 0.02
_NEIGHBORS = "5 nearest neighbours"


@dataclass(frozen=True)
class Scores:
    """The scores of PCA or a model on test rows.

    Attributes
    ----------
    method : str
        "PCA" or the model's class.
    n_components : int
        The width of its codes.
    reconstruction_error : float
        Mean squared error over all test rows and features; lower is better. 8-bit pixels count
        from 0 to 1 here, everything else in the data's own units.
    neighbor_accuracy : float or None
        Accuracy of a nearest-neighbour classifier on the codes, 0 to 1; ``None`` without labels.
    variance_left : float or None
        Of tables, and signals of several channels, whose columns have different units: the squared
        error of each column as a share of its variance, the mean over columns, that is 1 less the
        uniformly averaged R squared. The error in data units says little there, as the column with
        the largest numbers decides it. This PCA sees columns as the model scales them, or, where
        that divides all by one number, divided by their standard deviations. ``None`` where columns
        share a unit.
    n_test : int
        The number of test rows.
    n_learned : int or None
        The number of test rows that the model has learned from, by its own memory; ``None`` where
        it cannot tell of any. Where it is not 0, the score does not tell how well the model does on
        other rows.
    """

    method: str
    n_components: int
    reconstruction_error: float
    neighbor_accuracy: float | None
    variance_left: float | None = None
    n_test: int = 0
    n_learned: int | None = None


def compare_with_pca(
    model: BaseAutoencoder,
    X_train: NDArray[Any],
    X_test: NDArray[Any],
    y_train: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    n_neighbors: int = 5,
) -> list[Scores]:
    """Score PCA and a fitted model on the same test rows.

    Parameters
    ----------
    model : BaseAutoencoder
        A model fitted on ``X_train``.
    X_train, X_test : ndarray of shape (n, *sample_shape)
        The rows that PCA is fitted on, and those that both are scored on.
    y_train, y_test : array-like of shape (n,), optional
        Labels; without them there is no accuracy.
    n_neighbors : int, default=5
        The number of neighbours of the classifier on the codes.

    Returns
    -------
    list of Scores
        PCA's, then the model's.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    ParameterError
        If PCA cannot have as many components as the model's codes are wide.
    DataError
        If only one of the two sets of labels is given, or rows do not fit the model.

    Examples
    --------
    >>> from narrows import Autoencoder, datasets
    >>> X_train, y_train, X_test, y_test = datasets.load("digits")
    >>> model = Autoencoder(n_components=8, max_epochs=2, random_state=0).fit(X_train)
    >>> pca, own = compare_with_pca(model, X_train, X_test, y_train, y_test)
    >>> f"{pca.method}: {pca.reconstruction_error:.4f}"
    'PCA: 0.0246'
    """
    if (y_train is None) != (y_test is None):
        raise DataError("labels are given for one of the two sets only; give both or neither")
    train, test = (model._check_rows(X) for X in (X_train, X_test))
    check_shape(model, train)
    check_shape(model, test)
    width, n_features = model.spec_.n_components, math.prod(train.shape[1:])
    if width > min(len(train), n_features):
        raise ParameterError(
            f"PCA cannot have {width} components on {len(train)} rows of {n_features} "
            "features; compare a model whose codes are at most that wide"
        )
    unit = choose_unit(test, find_columns(model, train))
    coded = Coded.of(model, test, unit)
    fit: dict[str, Any] = {"learned_from": train, "sizes": [width], "random_state": 0}
    baseline = PCABaseline(test, unit.data or unit, "training rows", **fit)
    errors = [baseline.errors(width), coded.data_errors]
    left: list[float | None] = [None, None]
    if unit.kind == "variance":
        baseline = PCABaseline(test, unit, "training rows", scale=pca_scale(model, unit), **fit)
        left = [float(shares.mean()) for shares in (baseline.errors(width), coded.errors)]
    accuracies: list[float | None] = [None, None]
    if y_train is not None and y_test is not None:
        ((pca, _),) = baseline.fitted
        codes = (pca.transform(train), pca.transform(test)), (model._encode(train), coded.codes)
        accuracies = [
            float(KNeighborsClassifier(n_neighbors).fit(seen, y_train).score(unseen, y_test))
            for seen, unseen in codes
        ]
    origin = Origin.of(model, membership_of(model, test))
    return [
        Scores(
            method=method,
            n_components=width,
            reconstruction_error=float(errors[place].mean()),
            neighbor_accuracy=accuracies[place],
            variance_left=left[place],
            n_test=len(test),
            n_learned=None if origin.n_unknown == len(test) else origin.n_learned,
        )
        for place, method in enumerate(("PCA", type(model).__name__))
    ]


class Comparison(Page):
    """The result of :func:`compare_models`.

    Attributes
    ----------
    reports : dict of str to Report
        The report on each model, by its name in ``MODELS``.
    seconds : dict of str to float
        CPU time in seconds that the training of each took.
    title, subtitle : str
        The heading of the page.
    verdict : list of Finding
        The best model for each purpose, and the limits of all.
    facts : list
        Empty: the table has the figures.
    parts : list of Part
        Plots, tables and sentences, drawn when first asked for.
    """

    def __init__(self, title: str, reports: dict[str, Report], seconds: dict[str, float]) -> None:
        self.title, self.reports, self.seconds = title, reports, seconds
        figures = _first(reports).figures
        epochs = max(report.figures.learning.epochs for report in reports.values())
        self.subtitle = (
            f"{len(reports)} models and PCA, codes of {figures.headline.pca_components} numbers a "
            f"row, at most {epochs} epochs; measured on {figures.n_rows:,} rows that none has "
            f"seen. Errors: {unit_of_errors(figures)}."
        )
        self.verdict = _judge(reports)
        self.facts = []

    def as_json(self) -> dict[str, Any]:
        """Return all figures, and the verdict, as values for JSON."""
        return {
            "models": {
                name: {"figures": asdict(report.figures), "cpu_seconds": self.seconds[name]}
                for name, report in self.reports.items()
            },
            "verdict": [asdict(finding) for finding in self.verdict],
        }

    @property
    def table(self) -> list[list[str]]:
        """A line for each model, PCA first, below a heading."""
        every = [report.figures for report in self.reports.values()]
        write = writer(every[0], digits=4)
        pca, size = every[0].headline.pca, every[0].headline.pca_components
        errors = [figures.headline.model for figures in every]
        columns = {
            "model": ["PCA", *self.reports],
            "code": [str(size), *map(_code, every)],
            "error": ["" if pca is None else write(pca), *map(write, errors)],
            "of PCA's": ["1", *(f"{error / pca:.2f}" if pca else "" for error in errors)],
            "unused units": ["", *(f"{of.units.unused} {of.units.kind}" for of in every)],
        }
        maps = [figures.map for figures in every if figures.map is not None]
        if len(maps) == len(every):
            columns["trustworthiness"] = ["", *(f"{of.trustworthiness:.3f}" for of in maps)]
        by_pca = [of for name, of in every[0].features.items() if name.startswith("PCA")]
        for method in every[0].features.get("codes", {}):
            scores = [of[method] for of in (*by_pca, *(of.features["codes"] for of in every))]
            columns[method] = [f"{mean:.3f}" for mean, _ in scores]
            if not by_pca:
                columns[method].insert(0, "")
        columns["CPU s"] = ["", *(f"{seconds:.1f}" for seconds in self.seconds.values())]
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]

    def _make_parts(self) -> list[Part]:
        parts = [Part("table", "Side by side", table=self.table)]
        makers = (_restored, _training, _maps, _features)
        return parts + [part for make in makers if (part := make(self.reports)) is not None]


def compare_models(
    X: Any,
    y: ArrayLike | None = None,
    *,
    models: Sequence[str] = (),
    n_components: int = 32,
    max_epochs: int = 10,
    title: str = "Which model for these data?",
    random_state: int = 0,
) -> Comparison:
    """Train PCA and models on the same rows for as many epochs, and compare them.

    A fifth of the rows is held out for measuring. Every code tells as many numbers of a row: the
    sparse model has eight times as many units, of which it keeps the largest ``n_components``.

    Parameters
    ----------
    X : array-like of shape (n, *sample_shape)
        At least 50 rows of shape (F,), (H, W) or (H, W, C).
    y : array-like of shape (n,), optional
        Labels, for maps and features.
    models : sequence of str
        Names in ``MODELS``; by default those that come with Narrows.
    n_components : int, default=32
        The numbers that a code tells of a row.
    max_epochs : int, default=10
        Passes over the rows for each model; of a stack, for each layer and for the whole.
    title : str
        The title of the page.
    random_state : int
        Random seed of every draw.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError, DataError, DivergedError
        If a parameter or the rows cannot be used, or a model's training diverged.

    Examples
    --------
    >>> from narrows import datasets
    >>> from narrows.evaluation import compare_models
    >>> digits = datasets.load("digits")
    >>> found = compare_models(
    ...     digits.X_test, models=["autoencoder", "sparse"], n_components=8, max_epochs=2)
    >>> [line[:2] for line in found.table[1:]]
    [['PCA', '8'], ['autoencoder', '8'], ['sparse', '8 of 64']]
    """
    names = check_choice(models, n_components, max_epochs)
    refuse_containers(X)
    rows = np.asarray(X)
    labels = check_labels(y, len(rows))
    test, train = split_for_test(len(rows), random_state)
    reports, seconds = train_and_measure(
        names,
        lambda name: build(name, int(n_components), int(max_epochs), random_state),
        rows[train],
        rows[test],
        None if labels is None else labels[test],
        random_state=random_state,
    )
    return Comparison(title, reports, seconds)


def check_choice(models: Sequence[str], n_components: int, max_epochs: int) -> list[str]:
    """Return the names of the models to compare.

    Raises
    ------
    ParameterError
        If one is not known, or a number is out of range.
    """
    names = list(models) or [name for name, model in MODELS.items() if is_built_in(model)]
    for name in names:
        if model_named(name) is None:
            raise ParameterError(f"models={name!r} is not known; use some of {', '.join(MODELS)}")
    check_number("n_components", n_components, low=1, integral=True)
    check_number("max_epochs", max_epochs, low=1, integral=True)
    return names


def split_for_test(n_rows: int, random_state: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the numbers of test rows, and return them and those of the training rows.

    Raises
    ------
    DataError
        If there are too few rows.
    """
    if n_rows < _FEWEST:
        raise DataError(f"{n_rows} rows are too few to compare models; give at least {_FEWEST}")
    order = np.random.default_rng(random_state).permutation(n_rows)
    test, train = np.split(order, [round(_TEST_SHARE * n_rows)])
    return np.sort(test[:_TEST_ROWS]), np.sort(train)


def train_and_measure(
    names: Sequence[str],
    make: Callable[[str], BaseAutoencoder],
    learned: Any,
    rows: Any,
    labels: NDArray[Any] | None,
    *,
    random_state: int,
    n_columns: int | None = None,
) -> tuple[dict[str, Report], dict[str, float]]:
    """Train each model on the same rows, and measure it on others.

    Returns
    -------
    reports : dict of str to Report
    seconds : dict of str to float
        CPU time of training.
    """
    reports: dict[str, Report] = {}
    seconds: dict[str, float] = {}
    known: FeatureScores = {}
    anomalies: Anomalies | None = None
    for name in names:
        model = make(name)
        start = time.process_time()
        model.fit(learned)
        seconds[name] = time.process_time() - start
        subject = measure(
            model,
            rows,
            labels,
            learned,
            random_state=random_state,
            known=known,
            kept_from_model=True,
            n_columns=n_columns,
            anomalies=anomalies,
        )
        reports[name] = Report(name, subject)
        known |= _without_codes(subject.figures.features)
        anomalies = subject.anomalies
    return reports, seconds


def build(name: str, width: int, max_epochs: int, random_state: int) -> BaseAutoencoder:
    """Make a model whose codes tell ``width`` numbers of a row."""
    code: dict[str, Any] = {"n_components": width}
    if issubclass(MODELS[name], SparseAutoencoder):
        code = {"n_components": _WIDER * width, "n_active": width, "sparsity": "topk"}
    model: BaseAutoencoder = MODELS[name](**code, max_epochs=max_epochs, random_state=random_state)
    return model


def _first(reports: dict[str, Report]) -> Report:
    return next(iter(reports.values()))


def _judge(reports: dict[str, Report]) -> list[Finding]:
    """Name the best model for each purpose, and the limits of all."""
    findings = [_best_at_restoring(reports)]
    if all(report.figures.features for report in reports.values()):
        findings.append(_best_features(reports))
    limits: dict[str, list[str]] = {}
    remedies = {}
    for name, report in reports.items():
        for finding in report.verdict:
            if finding.rule in RULES:
                limits.setdefault(finding.rule, []).append(name)
                remedies[finding.rule] = finding.remedy
    for rule, names in limits.items():
        text = f"{RULES[rule]}: {', '.join(names)}."
        findings.append(Finding(rule, "bad", text, remedies[rule], "table"))
    return findings


def _best_features(reports: dict[str, Report]) -> Finding:
    scores = {name: score[_NEIGHBORS][0] for name, score in _representations(reports).items()}
    first = max(scores, key=scores.__getitem__)
    named = f"5 nearest neighbours name {percent(scores[first])} of the rows rightly"
    if first in reports:
        text = f"Best features: the codes of {first}, by which {named}."
        return Finding("features", "good", text, "", "features")
    first = "the rows themselves" if first == "raw" else first
    text = f"No codes are better features than {first}, by which {named}."
    return Finding("features", "note", text, "", "features")


def _representations(reports: dict[str, Report]) -> FeatureScores:
    """Return the scores of PCA and of the rows, nearly the same for all, then those of codes."""
    codes = {name: report.figures.features["codes"] for name, report in reports.items()}
    return _without_codes(_first(reports).figures.features) | codes


def _without_codes(features: FeatureScores) -> FeatureScores:
    """Return the scores of the rows, and of PCA, which models with codes of one size share."""
    return {name: scores for name, scores in features.items() if name != "codes"}


def _best_at_restoring(reports: dict[str, Report]) -> Finding:
    errors = {name: report.figures.headline.model for name, report in reports.items()}
    best = min(errors, key=errors.__getitem__)
    first = _first(reports).figures
    pca, write = first.headline.pca, writer(first)
    reached = f"an error of {amount(first, errors[best])}"
    standardised = " on standardised columns" if first.shares is not None else ""
    if pca and errors[best] >= pca:
        text = (
            f"No model restores better than PCA{standardised} ({write(pca)}): the best, {best}, "
            f"has {reached}."
        )
        return Finding("pca", "bad", text, "Use PCA, or train longer (max_epochs).", "table")
    of_pca = f", {percent(errors[best] / pca)} of PCA's{standardised} ({write(pca)})" if pca else ""
    near = [name for name in errors if name != best and errors[name] <= (1 + _NEAR) * errors[best]]
    others = f" Within 2 % of it: {', '.join(near)}." if near else ""
    text = f"Best at restoring: {best}, with {reached}{of_pca}.{others}"
    return Finding("restoring", "good", text, "", "table")


def _restored(reports: dict[str, Report]) -> Part | None:
    subjects = {name: report.subject for name, report in reports.items()}
    first = _first(reports).subject
    if not first.pictures:
        return None
    which = typical_rows(first.coded.errors, _SHOWN)
    X: NDArray[Any] = first.coded.X[which]
    size = first.figures.headline.pca_components
    lines = {"original": X, "PCA": first.baseline.reconstruct(which, size, X)}
    lines |= {name: subject.model.reconstruct(X) for name, subject in subjects.items()}
    part = Part("restored", "Original and restored")
    caption = "Typical rows, and what each makes of them."
    part.plot("restored", caption, plots.pictures, lines, limits=first.limits, tiles=True)
    return part


def _training(reports: dict[str, Report]) -> Part:
    part = Part("training", "Training")
    for name, report in reports.items():
        part.plot(f"losses-{name}", name, plots.history, report.subject.model.history_)
    return part


def _maps(reports: dict[str, Report]) -> Part | None:
    part = Part("map", "Maps of the codes")
    for name, report in reports.items():
        subject, scores = report.subject, report.figures.map
        if scores is None:
            return None
        caption = f"{name}: trustworthiness {scores.trustworthiness:.3f}"
        values = subject.coded.errors if subject.labels is None else None
        part.plot(
            f"map-{name}",
            caption,
            plots.embedding,
            subject.points,
            labels=subject.labels,
            values=values,
            tall=True,
        )
    return part


def _features(reports: dict[str, Report]) -> Part | None:
    if not all(report.figures.features for report in reports.values()):
        return None
    part = Part("features", "Codes as features")
    plot_features(part, _representations(reports))
    return part


def _code(figures: Figures) -> str:
    numbers, width = figures.units.numbers, figures.n_components
    return str(width) if numbers == width else f"{numbers} of {width}"
