"""All models on the same rows, under one budget, side by side."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows import plots
from narrows.data.containers import refuse_containers
from narrows.errors import DataError, ParameterError
from narrows.evaluation.report import latent
from narrows.evaluation.report.figures import Figures, Scores
from narrows.evaluation.report.page import Page, Part, picture
from narrows.evaluation.report.report import Report, check_labels, measure, quietly
from narrows.evaluation.report.verdict import (
    RULES,
    Finding,
    amount,
    percent,
    unit_of_errors,
    writer,
)
from narrows.models import MODELS
from narrows.models.sparse import SparseAutoencoder
from narrows.models.validation import check_number
from narrows.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from narrows.models.base import BaseAutoencoder

# Share of the rows that no model learns from, and how many of them are looked at.
_TEST_SHARE, _TEST_ROWS = 0.2, 2_000
_FEWEST = 50
# Units of sparse codes for each number that a row may use of them.
_WIDER = 8
_SHOWN = 6
_NEAR = 0.02
_NEIGHBORS = "5 nearest neighbours"
_BESIDE = {"raw": "the rows themselves"}


class Comparison(Page):
    """What :func:`compare_models` found.

    Attributes
    ----------
    reports : dict of str to Report
        Of each model, by its name in ``MODELS``.
    seconds : dict of str to float
        CPU time that each took to learn.
    title, subtitle : str
        Of the page.
    verdict : list of Finding
        Which model is best at what.
    facts : list
        Empty: the table has them.
    parts : list of Part
        Plots, tables and sentences, drawn when first asked for.
    """

    def __init__(self, title: str, reports: dict[str, Report], seconds: dict[str, float]) -> None:
        self.title, self.reports, self.seconds = title, reports, seconds
        figures = next(iter(reports.values())).figures
        epochs = max(report.figures.learning.epochs for report in reports.values())
        self.subtitle = (
            f"{len(reports)} models and PCA, codes of {figures.headline.pca_components} numbers a "
            f"row, at most {epochs} epochs; measured on {figures.n_rows:,} rows that none has "
            f"seen. Errors: {unit_of_errors(figures)}."
        )
        self.verdict = _judge(reports)
        self.facts = []

    def as_json(self) -> dict[str, Any]:
        """Return all figures, and the verdict, as JSON can hold them."""
        return {
            "models": {
                name: {"figures": asdict(report.figures), "cpu_seconds": self.seconds[name]}
                for name, report in self.reports.items()
            },
            "verdict": [asdict(finding) for finding in self.verdict],
        }

    @property
    def table(self) -> list[list[str]]:
        """A line a model, PCA first, below a heading."""
        found = [report.figures for report in self.reports.values()]
        write = writer(found[0], digits=4)
        pca, size = found[0].headline.pca, found[0].headline.pca_components
        columns = {
            "model": ["PCA", *self.reports],
            "code": [str(size), *map(_code, found)],
            "error": [
                "" if pca is None else write(pca),
                *(write(one.headline.model) for one in found),
            ],
            "of PCA's": ["1", *(f"{one.headline.model / pca:.2f}" if pca else "" for one in found)],
            "unused units": ["", *(f"{one.units.unused} {one.units.kind}" for one in found)],
        }
        if all(one.map is not None for one in found):
            trust = [f"{one.map.trustworthiness:.3f}" for one in found if one.map is not None]
            columns["trustworthiness"] = ["", *trust]
        for method in found[0].features.get("codes", {}):
            beside = [of for name, of in found[0].features.items() if name.startswith("PCA")]
            scores = [of[method] for of in (*beside, *(one.features["codes"] for one in found))]
            columns[method] = [""] * (not beside) + [f"{mean:.3f}" for mean, _ in scores]
        columns["CPU s"] = ["", *(f"{seconds:.1f}" for seconds in self.seconds.values())]
        return [list(columns), *map(list, zip(*columns.values(), strict=True))]

    def _make_parts(self) -> list[Part]:
        parts = [Part("table", "Side by side", table=self.table)]
        makers = (_restored, _training, _maps, _features)
        return parts + [part for maker in makers if (part := maker(self.reports)) is not None]


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
    """Train PCA and models on the same rows for as many epochs, and set them side by side.

    A fifth of the rows is kept for measuring. Every code tells as many numbers of a row: the
    sparse model has eight times as many units, of which it keeps the largest ``n_components``.

    Parameters
    ----------
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C)
        At least 50 rows.
    y : array-like of shape (n,), optional
        Labels, for maps and features.
    models : sequence of str
        Names in ``MODELS``; by default all of them.
    n_components : int, default=32
        Numbers that a code tells.
    max_epochs : int, default=10
        Of each model; of a stack, of each layer and of the whole.
    title : str
        Of the page.
    random_state : int
        Random seed of every draw.

    Returns
    -------
    Comparison

    Raises
    ------
    ParameterError, DataError, DivergedError
        If a parameter or the rows cannot be used, or a model's training left the finite numbers.

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
    names = list(models) or list(MODELS)
    for name in names:
        if name not in MODELS:
            raise ParameterError(f"models={name!r} is not known; use some of {', '.join(MODELS)}")
    check_number("n_components", n_components, low=1, integral=True)
    check_number("max_epochs", max_epochs, low=1, integral=True)
    refuse_containers(X)
    rows = np.asarray(X)
    labels = check_labels(y, len(rows))
    if len(rows) < _FEWEST:
        raise DataError(f"{len(rows)} rows are too few to compare models; give at least {_FEWEST}")
    order = np.random.default_rng(random_state).permutation(len(rows))
    test, train = np.split(order, [round(_TEST_SHARE * len(rows))])
    test, train = np.sort(test[:_TEST_ROWS]), np.sort(train)
    reports: dict[str, Report] = {}
    seconds: dict[str, float] = {}
    known: Scores = {}
    for name in names:
        model = _build(name, int(n_components), int(max_epochs), random_state)
        start = time.process_time()
        model.fit(rows[train])
        seconds[name] = time.process_time() - start
        with quietly():
            subject = measure(
                model,
                rows[test],
                None if labels is None else labels[test],
                rows[train],
                random_state=random_state,
                known=known,
                kept_from_model=True,
            )
        reports[name] = Report(name, subject)
        # The rows' own scores, and those of PCA of the same size, are the same for the next.
        found = subject.figures.features
        known |= {of: scores for of, scores in found.items() if of != "codes"}
    return Comparison(title, reports, seconds)


def _build(name: str, width: int, max_epochs: int, random_state: int) -> "BaseAutoencoder":
    own: dict[str, Any] = {"n_components": width}
    if issubclass(MODELS[name], SparseAutoencoder):
        own = {"n_components": _WIDER * width, "n_active": width, "sparsity": "topk"}
    return MODELS[name](**own, max_epochs=max_epochs, random_state=random_state)


def _judge(reports: dict[str, Report]) -> list[Finding]:
    """Name the best model for each purpose, and what limits each."""
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
    text = f"No codes are better features than {_BESIDE.get(first, first)}, by which {named}."
    return Finding("features", "note", text, "", "features")


def _representations(reports: dict[str, Report]) -> Scores:
    """Return PCA's scores and the rows' own, which are about the same for all, then the codes'."""
    found = {name: report.figures.features for name, report in reports.items()}
    first = next(iter(found.values()))
    beside = {name: of_it for name, of_it in first.items() if name != "codes"}
    return beside | {name: of_its["codes"] for name, of_its in found.items()}


def _best_at_restoring(reports: dict[str, Report]) -> Finding:
    errors = {name: report.figures.headline.model for name, report in reports.items()}
    best = min(errors, key=errors.__getitem__)
    pca = next(iter(reports.values())).figures.headline.pca
    first = next(iter(reports.values())).figures
    write = writer(first)
    reached = f"an error of {amount(first, errors[best])}"
    standardised = " on standardised columns" if first.shares is not None else ""
    if pca and errors[best] >= pca:
        text = (
            f"No model restores better than PCA{standardised} ({write(pca)}): the best, {best}, "
            f"has {reached}."
        )
        return Finding("pca", "bad", text, "Use PCA, or train longer (max_epochs).", "table")
    beside = ""
    if pca:
        beside = f", {percent(errors[best] / pca)} of PCA's{standardised} ({write(pca)})"
    near = [name for name in errors if name != best and errors[name] <= (1 + _NEAR) * errors[best]]
    others = f" Within 2 % of it: {', '.join(near)}." if near else ""
    text = f"Best at restoring: {best}, with {reached}{beside}.{others}"
    return Finding("restoring", "good", text, "", "table")


def _restored(reports: dict[str, Report]) -> Part | None:
    subjects = {name: report.subject for name, report in reports.items()}
    first = next(iter(subjects.values()))
    if not first.pictures:
        return None
    which = latent.typical_rows(first.coded.errors, _SHOWN)
    own: NDArray[Any] = first.coded.X[which]
    lines: dict[str, NDArray[Any]] = {"original": own}
    size = first.yardstick.largest(first.figures.headline.pca_components)
    by_pca = first.yardstick.reconstruct(which, size, own)
    lines["PCA"] = by_pca.reshape(own.shape)
    lines |= {name: subject.model.reconstruct(own) for name, subject in subjects.items()}

    def draw(axes: "Axes") -> None:
        plots.pictures(lines, limits=first.limits, ax=axes)

    part = Part("restored", "Original and restored")
    part.pictures.append(
        picture("restored", "Typical rows, and what each makes of them.", draw, tiles=True)
    )
    return part


def _training(reports: dict[str, Report]) -> Part:
    part = Part("training", "Training")
    for name, report in reports.items():
        history = report.subject.model.history_
        part.pictures.append(picture(f"losses-{name}", name, partial(_draw_history, history)))
    return part


def _maps(reports: dict[str, Report]) -> Part | None:
    part = Part("map", "Maps of the codes")
    for name, report in reports.items():
        subject, found = report.subject, report.figures.map
        if subject.points is None or found is None:
            return None
        by: dict[str, Any] = {"labels": subject.labels}
        if subject.labels is None:
            by = {"values": subject.coded.errors}
        part.pictures.append(
            picture(
                f"map-{name}",
                f"{name}: trustworthiness {found.trustworthiness:.3f}",
                partial(_draw_map, subject.points, by),
                tall=True,
            )
        )
    return part


def _draw_history(history: History, axes: "Axes") -> None:
    plots.history(history, ax=axes)


def _draw_map(points: NDArray[np.floating], by: dict[str, Any], axes: "Axes") -> None:
    plots.embedding(points, **by, ax=axes)


def _features(reports: dict[str, Report]) -> Part | None:
    if not all(report.figures.features for report in reports.values()):
        return None
    scores = _representations(reports)
    part = Part("features", "Codes as features")
    part.words.append("Accuracy by five-fold cross-validation, mean and standard deviation.")
    part.pictures.append(
        picture("features", "Higher is better.", lambda axes: plots.features(scores, ax=axes))
    )
    return part


def _code(figures: Figures) -> str:
    numbers, width = figures.units.numbers, figures.n_components
    return str(width) if numbers == width else f"{numbers} of {width}"
