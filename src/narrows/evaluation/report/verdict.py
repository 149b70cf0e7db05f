"""What the figures of a report say in plain words: each sentence by a rule of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from narrows.evaluation.report.figures import Figures

Weight = Literal["good", "note", "bad"]

# Of the mean row's error: what a model has to leave below to have learned anything.
_NOTHING = 0.9
# Of PCA's error, either way: what counts as the same.
_SAME = 0.05
# Of the mean row's error: what PCA leaves by rounding alone.
_EXACT = 1e-6
# Share of all the fall that the last tenth of the epochs still adds, when training ends too soon.
_STILL_FALLING = 0.01
# How much larger the error on these rows is than on the training rows, when those were learned by
# heart.
_BY_HEART = 2.0
# Shares of rows, and of units, that are worth a word.
_OUTLIERS = 0.01
# What each limit is called where several models have it.
RULES = {
    "nothing_learned": "Next to nothing learned",
    "undertrained": "Trained for too short a time",
    "overfitted": "Overfitted",
    "dead": "With dead units",
    "collapsed": "With collapsed units",
    "constant": "With constant units",
}
_UNUSED = {"dead": 0.2, "collapsed": 0.5, "constant": 0.2}


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict.

    Attributes
    ----------
    rule : str
        Which rule speaks: "nothing_learned", "better", "linear", "worse", "no_yardstick",
        "undertrained", "overfitted", "dead", "collapsed", "constant", "outliers" or "room".
    weight : {"good", "note", "bad"}
        How much it matters.
    text : str
        What the figures say.
    remedy : str
        What to try next; may be empty.
    part : str
        The part of the page with the figures.
    """

    rule: str
    weight: Weight
    text: str
    remedy: str
    part: str


def judge(figures: Figures) -> list[Finding]:
    """Draw the verdict: how the model stands to PCA, what limits it, what to try next.

    Parameters
    ----------
    figures : Figures
        As a report has measured them.

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
    return findings


def _compare(figures: Figures) -> Finding:
    errors, part = figures.errors, "size"
    share = errors.model / errors.mean_row if errors.mean_row else 1.0
    if share >= _NOTHING:
        return Finding(
            "nothing_learned",
            "bad",
            f"The model has learned next to nothing of these rows: its error of {errors.model:.3g} "
            f"is {percent(share)} of what the mean row alone leaves ({errors.mean_row:.3g}).",
            "Train longer, or with another learning_rate. Where these rows are of another kind "
            "than those learned from, learn from such rows too.",
            part,
        )
    size = _numbers(errors.pca_components)
    if errors.pca is None:
        return Finding(
            "no_yardstick",
            "note",
            f"The model's error of {errors.model:.3g} is {percent(share)} of the mean row's "
            f"({errors.mean_row:.3g}). PCA cannot be compared: it has no {size} on these rows.",
            "To compare with PCA, use a code narrower than the rows, or give more rows.",
            part,
        )
    if errors.pca <= _EXACT * errors.mean_row:
        return Finding(
            "linear",
            "note",
            f"PCA is exact: with the same {size} it leaves nothing of these rows (the model "
            f"{errors.model:.3g}, {percent(share)} of the mean row's).",
            "Use PCA here, or a narrower code: these rows lie in a plane of so few directions.",
            part,
        )
    ratio = errors.model / errors.pca
    with_same = f"({errors.pca:.3g}) with the same {size}"
    if abs(ratio - 1) <= _SAME:
        return Finding(
            "linear",
            "note",
            f"PCA is as good: the model's error of {errors.model:.3g} is {percent(ratio)} of "
            f"PCA's {with_same}.",
            "Use PCA here: these rows bend too little for a network to gain anything, or the "
            "model has not learned how they do.",
            part,
        )
    if ratio < 1:
        return Finding(
            "better",
            "good",
            f"The model is better than PCA: its error of {errors.model:.3g} is {percent(ratio)} "
            f"of PCA's {with_same}.",
            "",
            part,
        )
    return Finding(
        "worse",
        "bad",
        f"The model is worse than PCA: its error of {errors.model:.3g} is {ratio:.2f} times PCA's "
        f"{with_same}.",
        "Train longer, or use PCA.",
        part,
    )


def _undertrained(figures: Figures) -> Iterator[Finding]:
    learning = figures.learning
    epochs = f"{learning.epochs} epoch{'' if learning.epochs == 1 else 's'}"
    remedy = "Train longer (max_epochs), or with a larger learning_rate."
    if learning.ended == "interrupted":
        text = f"Training was interrupted after {epochs}."
        remedy = "Train to the end; a checkpoint lets it go on where it stopped."
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
    if excess is not None and excess >= _BY_HEART:
        yield Finding(
            "overfitted",
            "bad",
            f"The model is overfitted: on these rows its error is {excess + 1:.1f} times that on "
            "the rows that it learned from.",
            "Learn from more rows, stop early (early_stopping), raise weight_decay, add a "
            "corruption, or use a smaller network. Where these rows are of another kind than those "
            "learned from, learn from such rows too.",
            "training",
        )


def _unused(figures: Figures) -> Iterator[Finding]:
    units = figures.units
    share = units.unused / units.n
    if not units.unused or share < _UNUSED[units.kind]:
        return
    count = f"{units.unused} of {units.n} units of the code ({percent(share)})"
    text, remedy = {
        "dead": (
            f"{count} are dead: on for none of these rows.",
            "Lower the sparsity weight, raise revival_weight, or use a narrower code.",
        ),
        "collapsed": (
            f"{count} have collapsed: the divergence from N(0, I) has silenced them, and they say "
            "nothing of the rows.",
            "Lower kl_weight, set kl_warmup or free_bits, or use a narrower code.",
        ),
        "constant": (
            f"{count} are constant on these rows.",
            "Use a narrower code, or train longer.",
        ),
    }[units.kind]
    yield Finding(units.kind, "bad", text, remedy, "units")


def _outliers(figures: Figures) -> Iterator[Finding]:
    errors = figures.errors
    share = errors.outliers / figures.n_rows
    if share >= _OUTLIERS:
        yield Finding(
            "outliers",
            "note",
            f"{errors.outliers} of {figures.n_rows} rows ({percent(share)}) are outliers: their "
            f"error is above {errors.outlier_threshold:.3g}.",
            "Look at them: they may be damaged, or of a kind that the model has hardly seen.",
            "errors",
        )


def _room(figures: Figures) -> Iterator[Finding]:
    """Say what twice the code would bring, where PCA's curve shows it."""
    curve, size = figures.pca_curve, figures.errors.pca_components
    if size in curve and 2 * size in curve and curve[size] > 0:
        yield Finding(
            "room",
            "note",
            "None of the limits that this report looks for was found. Twice as many numbers would "
            f"leave PCA {percent(curve[2 * size] / curve[size])} of its error.",
            f"For smaller errors, try n_components={2 * size}{_longer(figures)}.",
            "size",
        )


_LIMITS: tuple[Callable[[Figures], Iterator[Finding]], ...] = (
    _undertrained,
    _overfitted,
    _unused,
    _outliers,
)


def _longer(figures: Figures) -> str:
    """Suggest more epochs where the last of those allowed was the best."""
    learning = figures.learning
    last = learning.ended == "max_epochs" and learning.best_epoch == learning.epochs
    return f", or more than {learning.epochs} epochs" if last else ""


def percent(share: float) -> str:
    """Write a share with two digits.

    Examples
    --------
    >>> percent(0.444), percent(0.0049), percent(1.0)
    ('44 %', '0.49 %', '100 %')
    """
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"
