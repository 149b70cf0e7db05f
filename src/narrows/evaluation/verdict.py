"""The verdict of a report: a rule for each finding, and how figures are written in sentences."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from narrows.evaluation.figures import Figures
from narrows.texts import counted

Weight = Literal["good", "note", "bad"]

# A model has learned something where its error is below this share of the mean row's.
_NOTHING = 0.9
# A difference of fewer standard errors than this is put down to chance.
_CHANCE = 2.0
# A model that learned from more than this many times PCA's rows is not compared without a caution,
# unless its error is below this share of PCA's, which fewer rows do not explain.
_MORE_ROWS, _CLEARLY = 1.5, 0.75
# Errors within this share of PCA's count as the same.
_SAME = 0.05
# PCA is exact, but for rounding, where it leaves less than this share of the mean row's error.
_EXACT = 1e-6
# Training ended too soon where the last tenth of the epochs added this share of the loss's fall.
_STILL_FALLING = 0.01
# A model is overfitted where the error on other rows is larger by this share than on training rows.
_OVERFITTED = 2.0
# The shares of rows that are outliers, and of units that are unused, from which on they are named.
_OUTLIERS = 0.01
_UNUSED = {"dead": 0.2, "collapsed": 0.5, "constant": 0.2}
# The name of each limit where several models have it.
RULES = {
    "nothing_learned": "Next to nothing learned",
    "columns": "With columns restored worse than by their mean",
    "scaling": "With one scale for columns of different units",
    "undertrained": "Trained for too short a time",
    "overfitted": "Overfitted",
    "dead": "With dead units",
    "collapsed": "With collapsed units",
    "constant": "With constant units",
}
_RESCALE = "Train again with scaling='standard' (narrows train --scaling standard)."
# The finding for a smaller error than PCA's, by the rows that it was measured on.
_BETTER: dict[str, tuple[str, Weight, str]] = {
    "unseen": ("better", "good", "The model is better than PCA"),
    "learned": (
        "better_on_learned_rows",
        "note",
        "On the rows that it learned from, the model restores more than PCA {}",
    ),
    "unknown": (
        "better_if_new_rows",
        "note",
        "If it has not learned from these rows, the model is better than PCA",
    ),
}
_USE_PCA = (
    "Use PCA here: the data are close to linear, or the model has not learned their non-linear "
    "structure."
)
_IS_PCA = (
    "The model is PCA: it kept the weights that it started from, as training did not lower the "
    "error of held-out rows. More rows may change that."
)
# A share from the first number on is written as a multiple; below the second, as less than that.
_MANY, _LEAST = 2.0, 1e-4


def percent(share: float) -> str:
    """Write a share with two digits.

    Examples
    --------
    >>> percent(0.444), percent(0.0049), percent(1.0), percent(12.3)
    ('44 %', '0.49 %', '100 %', '1230 %')
    """
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def share(value: float) -> str:
    """Write a share of a variance, which may be many times that.

    Examples
    --------
    >>> share(0.37), share(1.04), share(12345.6), share(1e-9)
    ('37 %', '104 %', '12,000 times', '< 0.01 %')
    """
    if value < _LEAST:
        return "< 0.01 %" if value else "0 %"
    return percent(value) if value < _MANY else f"{times(value)} times"


def times(ratio: float) -> str:
    """Write a ratio with two digits.

    Examples
    --------
    >>> times(3.14159), times(1234.5)
    ('3.1', '1,200')
    """
    return f"{ratio:.1f}" if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}"


def writer(figures: Figures, digits: int = 3) -> Callable[[float], str]:
    """Return a function that writes errors: shares as such, others with so many digits."""
    return share if figures.headline.unit == "variance" else lambda error: f"{error:.{digits}g}"


def amount(figures: Figures, error: float) -> str:
    """Write an error; a share together with what it is a share of."""
    if figures.headline.unit != "variance":
        return writer(figures)(error)
    return f"{_share_of(error)} the variance"


def _share_of(error: float) -> str:
    return f"{share(error)} of" if error < _MANY else share(error)


def unit_of_errors(figures: Figures) -> str:
    """Name the unit of errors, for the axis of a plot."""
    columns = figures.columns
    return {
        "pixels": "mean squared error, black 0 and white 1",
        "data": "mean squared error",
        "variance": f"share of the {'columns' if columns is None else columns.kind}' variance left",
    }[figures.headline.unit]


def measured_rows(figures: Figures) -> str:
    """Write which rows the figures come from.

    Returns
    -------
    str
        Such as "60 held-out and 40 new rows".
    """
    origin = figures.origin
    if origin.measured_on == "learned":
        if origin.n_learned == origin.n_measured:
            return f"{origin.n_measured:,} rows learned from"
        return f"{origin.n_measured:,} rows, {origin.n_learned:,} of them learned from"
    if origin.measured_on == "unknown":
        return f"{origin.n_measured:,} rows, perhaps learned from"
    if not origin.n_held_out:
        return f"{origin.n_new:,} new rows"
    if not origin.n_new:
        return f"{origin.n_held_out:,} held-out rows"
    return f"{origin.n_held_out:,} held-out and {origin.n_new:,} new rows"


def how_pca_learned(figures: Figures) -> str:
    """Write which rows PCA was fitted on, as the end of a sentence."""
    errors = figures.headline
    rows = f"{errors.pca_rows:,} rows"
    return {
        "training rows": f"fitted on {rows} that the model learned from",
        "other half": f"fitted on {rows}, each half measured by PCA of the other one",
        "other tenths": f"fitted on {rows}, each tenth measured by PCA of the others",
        "same rows": "fitted on the very rows that it is measured on",
    }[errors.pca_fitted_on]


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict.

    Attributes
    ----------
    rule : str
        The rule's name. The first finding is "better", "better_on_learned_rows" (the figures
        come from rows learned from), "better_if_new_rows" (the model cannot tell), "linear",
        "undecided" (the rows are too few, or PCA had fewer than the model), "worse",
        "nothing_learned" or "no_yardstick". Others are "learned_rows", "unknown_rows", "columns",
        "scaling", "undertrained", "overfitted", "dead", "collapsed", "constant", "outliers",
        "room", "denoises" and "classic_is_better".
    weight : {"good", "note", "bad"}
        Its importance.
    text : str
        The finding in a sentence, with its figures.
    remedy : str
        A suggestion of what to try next; may be empty.
    part : str
        The name of the part of the page with the figures.
    """

    rule: str
    weight: Weight
    text: str
    remedy: str
    part: str


def notice(figures: Figures) -> str:
    """Return a line that the model has, or may have, learned from the rows; empty otherwise."""
    return {
        "unseen": "",
        "learned": "Measured on the rows that the model learned from: how it does on others, this "
        "page does not tell.",
        "unknown": "Measured on rows that the model may have learned from: it does not remember "
        "which those were.",
    }[figures.origin.measured_on]


def judge(figures: Figures) -> list[Finding]:
    """Draw the verdict: how the model compares with PCA, what limits it, what to try next.

    Parameters
    ----------
    figures : Figures
        The figures of a report.

    Returns
    -------
    list of Finding
        The first compares with PCA.
    """
    findings = [_compare(figures)]
    for rule in _LIMITS:
        findings += rule(figures)
    if [finding.rule for finding in findings] == ["better"]:
        findings += _room(figures)
    findings += _denoises(figures)
    return findings


def _compare(figures: Figures) -> Finding:
    """Compare the model's error with PCA's, or the mean row's."""
    errors, write = figures.headline, writer(figures)
    of_mean = errors.model / errors.mean_row if errors.mean_row else 1.0
    error = _its_error(figures)
    on = f", on {measured_rows(figures)}."
    if of_mean >= _NOTHING:
        beside = f"is {percent(of_mean)} of what the mean row alone leaves"
        if of_mean > 1 + _SAME:
            beside = "is larger than what the mean row alone leaves"
        return Finding(
            "nothing_learned",
            "bad",
            f"The model has learned next to nothing of these rows: its error of {error} {beside} "
            f"({write(errors.mean_row)}){on}",
            _blame(figures)
            or "Train longer, or with another learning_rate. Where these rows are of another kind "
            "than those learned from, learn from such rows too.",
            "size",
        )
    size = counted(errors.pca_components, "number")
    if errors.pca is None:
        return Finding(
            "no_yardstick",
            "note",
            f"The model's error of {error} is {percent(of_mean)} of the mean row's "
            f"({write(errors.mean_row)}){on} PCA cannot be compared: it has no {size} on "
            f"{errors.pca_rows} rows of {math.prod(figures.sample_shape)} values.",
            "To compare with PCA, use a code narrower than the rows, or give more rows.",
            "size",
        )
    if errors.pca <= _EXACT * errors.mean_row:
        return Finding(
            "linear",
            "note",
            f"PCA is exact: with the same {size} it leaves less than a millionth of what the mean "
            f"row leaves (the model {percent(of_mean)}){on}",
            "Use PCA here, or a narrower code: they lie in a linear subspace of that dimension.",
            "size",
        )
    on_columns = " on standardised columns" if errors.pca_columns == "standardised" else ""
    pca = f"PCA's{on_columns} ({write(errors.pca)}) with the same {size}{on}"
    return _compare_with_pca(figures, error, errors.model / errors.pca, pca)


def _compare_with_pca(figures: Figures, error: str, ratio: float, pca: str) -> Finding:
    """Judge by the ratio of errors; "better" needs rows that the model has not learned from."""
    errors, blame = figures.headline, _blame(figures)
    share_of_pca = f"its error of {error} is {percent(ratio)} of {pca}"
    kept_start = figures.learning.kept_start
    if abs(ratio - 1) <= _SAME or (kept_start and ratio < 1):
        text = f"PCA is as good: the model's error of {error} is {percent(ratio)} of {pca}"
        if kept_start and abs(ratio - 1) > _SAME:  # PCA was fitted on fewer rows than the model
            text = (
                f"PCA is as good: the model, with an error of {error}, is PCA of its training rows"
            )
        remedy = blame or (_IS_PCA if kept_start else _USE_PCA)
        return Finding("linear", "note", text, remedy, "size")
    by_chance = _CHANCE * (errors.pca_difference or 0.0) / (errors.pca or 1.0)
    if abs(ratio - 1) < by_chance:
        text = (
            f"The model may be as good as PCA: {share_of_pca} The difference is within its 95 % "
            f"confidence interval (plus or minus {percent(by_chance)})."
        )
        remedy = " ".join(filter(None, (blame, "Give more rows.", _for_pca(figures))))
        return Finding("undecided", "note", text, remedy, "size")
    if ratio > 1:
        text = f"The model is worse than PCA: its error of {error} is {ratio:.2f} times {pca}"
        return Finding("worse", "bad", text, blame or _instead_of_pca(figures), "size")
    remedy = _for_pca(figures)
    if remedy and ratio > _CLEARLY:
        text = f"The model may be better than PCA, which learned from fewer rows: {share_of_pca}"
        return Finding("undecided", "note", text, remedy, "size")
    fewer = f" of {errors.pca_rows:,} rows" if remedy else ""
    rule, weight, text = _BETTER[figures.origin.measured_on]
    text = f"{text.format(how_pca_learned(figures))}{fewer}: {share_of_pca}"
    return Finding(rule, "note" if remedy else weight, text, remedy, "size")


def _for_pca(figures: Figures) -> str:
    """Ask for the training rows where PCA had far fewer to learn from than the model."""
    errors, n_training = figures.headline, figures.origin.n_training or 0
    on_part = errors.pca_fitted_on in ("other half", "other tenths")
    if not on_part or n_training <= _MORE_ROWS * errors.pca_rows:
        return ""
    return (
        f"The model learned from {n_training:,} rows, and PCA from {errors.pca_rows:,}: give the "
        "training rows too (X_train, --train), so that PCA learns from as many."
    )


def _instead_of_pca(figures: Figures) -> str:
    """Suggest longer training only where training did not end by itself."""
    if figures.learning.ended != "early_stopping":
        return "Train longer, or use PCA."
    return (
        "Use PCA, or learn from more rows or with another network (hidden_layer_sizes): training "
        "ended by itself, so that longer would bring nothing."
    )


def _its_error(figures: Figures) -> str:
    """Write the model's error; a share with the columns that it is the mean over."""
    columns, written = figures.columns, amount(figures, figures.headline.model)
    if figures.headline.unit != "variance" or columns is None:
        return written
    return f"{written} (mean over {len(columns.each) - columns.constant} {columns.kind})"


def _blame(figures: Figures) -> str:
    """Refer to the finding that names the scaling as the cause, where there is one."""
    if figures.columns is not None and figures.columns.scaling_is_why:
        return "The scaling of the columns is the cause, as the next finding says."
    return ""


def _rows(figures: Figures) -> Iterator[Finding]:
    """Name the reason why the figures come from rows that the model may have learned from."""
    origin = figures.origin
    unseen = origin.n_held_out + origin.n_new
    if origin.measured_on == "learned":
        others = f", and the {unseen} others" if unseen else ""
        are_few = f"{others} are too few to measure on alone (at least 10)" if unseen else ""
        remedy = (
            "Give rows that it has not learned from, or train with at least 10 rows held out "
            "(early_stopping=True, validation_fraction)."
        )
        if figures.learning.kept_start:
            remedy = (
                "Give rows that it has not learned from: as it kept PCA's weights, these were "
                "computed from all training rows in the end."
            )
        yield Finding(
            "learned_rows",
            "bad",
            f"The model learned from {origin.n_learned:,} of these {origin.n_measured:,} "
            f"rows{are_few}: the figures tell how well it knows them, not how well it does on "
            "others.",
            remedy,
            "errors",
        )
    elif origin.measured_on == "unknown":
        yield Finding(
            "unknown_rows",
            "note",
            "The model does not remember whether it learned from these rows: it was saved by an "
            "earlier version, or learned from more rows than it remembers.",
            "Give rows that it has not learned from, or train it again.",
            "errors",
        )


def _columns(figures: Figures) -> Iterator[Finding]:
    """Count the columns that are restored worse than by their mean, and name the cause."""
    columns = figures.columns
    if columns is None or not (columns.worse_than_mean or columns.scaling_is_why):
        return
    count, many = columns.worse_than_mean, columns.kind
    worst = columns.each[columns.worst]
    error = worst.model or 0.0
    by_pca = "" if worst.pca is None else f" (PCA: {share(worst.pca)})"
    text = (
        f"The worst {many.removesuffix('s')} is {worst.name!r}, with an error of "
        f"{_share_of(error)} its variance{by_pca}."
    )
    if count:
        text = (
            f"{count} of {len(columns.each)} {many} {'is' if count == 1 else 'are'} restored worse "
            f"than by {'its' if count == 1 else 'their'} mean; the{text.removeprefix('The')}"
        )
    if columns.scaling_is_why:
        reason = (
            f"scaling={columns.model_scaling!r} divides all {many} by one number, and their "
            f"spreads differ {times(columns.spread_ratio)} times, so that {many} of small numbers "
            "hardly count"
        )
        if count:
            yield Finding("columns", "bad", f"{text} The reason: {reason}.", _RESCALE, "columns")
            return
        yield Finding("scaling", "bad", f"The reason is that {reason}. {text}", _RESCALE, "columns")
        return
    remedy = "Use a wider code (n_components), or train longer."
    if worst.pca is not None and worst.pca > _NOTHING:
        remedy = (
            f"The other {many} say little of {worst.name!r}, for PCA as well: leave it out, or "
            "use a wider code (n_components)."
        )
    weight: Weight = "bad" if error > 1 + _SAME else "note"
    yield Finding("columns", weight, text, remedy, "columns")


def _undertrained(figures: Figures) -> Iterator[Finding]:
    learning = figures.learning
    if learning.kept_start:
        return
    epochs = counted(learning.epochs, "epoch")
    remedy = "Train longer (max_epochs), or with a larger learning_rate."
    if learning.ended == "interrupted":
        text = f"Training was interrupted after {epochs}."
        remedy = "Train to the end; a checkpoint lets it go on where it stopped."
    elif learning.ended == "collapsed":
        text = f"Training was unstable and was stopped after {epochs}."
        remedy = "Lower learning_rate."
    elif learning.late_fall is None:
        text = f"Training lasted {epochs} only."
    elif learning.late_fall > _STILL_FALLING:
        text = (
            f"The loss was still falling when training ended: the last tenth of {epochs} brought "
            f"{percent(learning.late_fall)} of all its fall."
        )
    else:
        return
    yield Finding("undertrained", "bad", text, remedy, "training")


def _overfitted(figures: Figures) -> Iterator[Finding]:
    excess = figures.learning.excess
    if excess is not None and excess >= _OVERFITTED:
        of_history = figures.learning.excess_on == "held-out rows"
        where = "the rows held out in training" if of_history else "rows that it has not seen"
        yield Finding(
            "overfitted",
            "bad",
            f"The model is overfitted: on {where} its error is {excess + 1:.1f} times that on the "
            "rows that it learned from.",
            "Learn from more rows, stop early (early_stopping), raise weight_decay, add a "
            "corruption, or use a smaller network. Where these rows are of another kind than those "
            "learned from, learn from such rows too.",
            "training",
        )


def _unused(figures: Figures) -> Iterator[Finding]:
    units = figures.units
    unused = units.unused / units.n
    if not units.unused or unused < _UNUSED[units.kind]:
        return
    count = f"{units.unused} of {units.n} units of the code ({percent(unused)})"
    text, remedy = {
        "dead": (
            f"{count} are dead: on for none of these rows.",
            "Lower the sparsity weight, raise revival_weight, or use a narrower code.",
        ),
        "collapsed": (
            f"{count} have collapsed: the divergence term has driven them to the prior, so that "
            "they carry no information (posterior collapse).",
            "Lower kl_weight, set kl_warmup or free_bits, or use a narrower code.",
        ),
        "constant": (
            f"{count} are constant on these rows.",
            "Use a narrower code, or train longer.",
        ),
    }[units.kind]
    yield Finding(units.kind, "bad", text, remedy, "units")


def _outliers(figures: Figures) -> Iterator[Finding]:
    found = figures.outliers
    outliers = found.n / figures.n_rows
    if outliers >= _OUTLIERS:
        yield Finding(
            "outliers",
            "note",
            f"{found.n} of {figures.n_rows} rows ({percent(outliers)}) are outliers: their "
            f"{found.unit} is above {found.threshold:.3g}.",
            "Look at them: they may be damaged, or of a kind that the model has hardly seen.",
            "outliers",
        )


def _room(figures: Figures) -> Iterator[Finding]:
    """Suggest a code twice as wide, by what that brings PCA."""
    curve, size = figures.pca_curve, figures.headline.pca_components
    if size in curve and 2 * size in curve and curve[size] > 0:
        yield Finding(
            "room",
            "note",
            "None of the limits that this report looks for was found. Twice as many numbers would "
            f"leave PCA {percent(curve[2 * size] / curve[size])} of its error.",
            f"For smaller errors, try n_components={2 * size}{_longer(figures)}.",
            "size",
        )


def _denoises(figures: Figures) -> Iterator[Finding]:
    """Compare a model that takes noise off pictures with the best classic denoiser."""
    scores = figures.classics
    if scores is None or not scores.n or scores.best is None:
        return
    model, classic = scores.psnr["model"], scores.psnr[scores.best]
    beside = f"{model:.1f} dB beside {classic:.1f} dB of {scores.best} at its best weight"
    on = f", mean over {counted(scores.n, 'picture')} with noise as in training."
    if model >= classic:
        text = f"The model takes more noise off than every classic denoiser: {beside}{on}"
        yield Finding("denoises", "good", text, "", "classics")
        return
    yield Finding(
        "classic_is_better",
        "bad",
        f"A classic denoiser takes more noise off than the model: {beside}{on}",
        f"Use {scores.best}, or learn from more pictures{_longer(figures)}.",
        "classics",
    )


_LIMITS: tuple[Callable[[Figures], Iterator[Finding]], ...] = (
    _rows,
    _columns,
    _undertrained,
    _overfitted,
    _unused,
    _outliers,
)


def _longer(figures: Figures) -> str:
    """Suggest more epochs where the last of those allowed was the best."""
    learning = figures.learning
    last = learning.ended == "max_epochs" and learning.best_epoch == learning.epochs
    return f", or more than {counted(learning.epochs, 'epoch')}" if last else ""
