"""The anomalies among rows: a list by score, and a page with the contributions of columns."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from narrows import plots
from narrows.data.frames import Frame, read_frame
from narrows.data.signal_files import Windows
from narrows.errors import NarrowsWarning
from narrows.evaluation.figures import outlier_threshold
from narrows.evaluation.over_time import Stretch, join_samples, list_stretches
from narrows.evaluation.page import Page, Part
from narrows.evaluation.verdict import Finding
from narrows.models import AnomalyDetector, conformal
from narrows.models.anomaly_scorer import AnomalyScores
from narrows.models.drift import Drift
from narrows.models.validation import check_rows
from narrows.texts import as_text, counted

# The rows whose columns are named, and those that the page shows.
_MOST_EXPLAINED, _SHOWN, _COLUMNS = 200, 20, 3
_HEADING = ("row", "score", "p_value", "anomaly", "residual", "code", "neighbours", "why")
_DRIFT = 0.01  # the p-value below which new rows are said to be unlike the old ones
FAR = 3.0
"""Scores so many robust standard deviations of the logarithms above the median are outliers'."""

# Counts above the threshold are put down to chance down to this probability; more than so many
# times those asked for are many.
_CHANCE, _TOO_MANY = 0.01, 2.0
_BINS = 40
# Anomalous samples belong to one stretch if they lie closer than this part of a window.
_JOINED = 4


@dataclass
class Anomalies(Page):
    """Scores of rows, the most anomalous first.

    Attributes
    ----------
    detector : AnomalyDetector
        The detector that scored the rows.
    names : sequence of str
        Names of the rows.
    X : ndarray, LazyRows or Frame
        The rows.
    scores : AnomalyScores
        The score of each row, and its parts.
    p_values : ndarray of shape (n,)
        The conformal p-values of the scores; see :meth:`narrows.AnomalyDetector.p_values`.
    order : ndarray of int and shape (n,)
        Numbers of the rows, the highest score first.
    contributions : ndarray of shape (k, F)
        The contributions of columns to the scores of the first k rows in this order.
    alike : (ndarray of shape (k,), ndarray of shape (k, *sample_shape))
        The number of the nearest normal training row of each of the first rows, and this row.
    drift : Drift or None
        The test whether the rows have the distribution of the training rows; None for the training
        rows themselves.
    title : str
        The title of the page.
    over_time : sequence of ndarray of shape (T,)
        The scores of the samples of each signal, anomalous above 1; empty for other rows.
    """

    detector: AnomalyDetector
    names: Sequence[str]
    X: Any
    scores: AnomalyScores
    p_values: NDArray[np.float64]
    order: NDArray[np.int64]
    contributions: NDArray[np.float64]
    alike: tuple[NDArray[np.int64], NDArray[Any]]
    drift: Drift | None
    title: str
    over_time: Sequence[NDArray[np.float64]] = ()

    @property
    def noun(self) -> str:
        """The word for a row."""
        return "window" if self.detector.kind_of_rows_ == "signals" else "row"

    @property
    def are_numbered(self) -> bool:
        """Whether the names of rows are their numbers, counted from 0."""
        return list(self.names) == [str(number) for number in range(len(self.names))]

    @property
    def is_outlier(self) -> NDArray[np.bool_]:
        """Whether each row is above the threshold, (n,)."""
        outliers: NDArray[np.bool_] = -self.scores.total < self.detector.offset_
        return outliers

    @property
    def subtitle(self) -> str:  # type: ignore[override]
        """The number of rows, and of those learned from."""
        learned = len(self.detector.calibration_scores_)
        return (
            f"{counted(len(self.names), self.noun)}, scored by a detector of {learned:,} "
            f"training {self.noun}s"
        )

    @property
    def stretches(self) -> list[Stretch]:
        """The stretches of signals whose samples are above the threshold, the worst first."""
        found: list[Stretch] = []
        for number, scores in enumerate(self.over_time):
            found += join_samples(self.X.names[number], scores, self.X.shape[1] // _JOINED)
        return sorted(found, key=lambda stretch: -stretch.score)

    @cached_property
    def columns(self) -> list[str]:
        """The names of the columns; of pictures and signals, of their values."""
        if self.detector.column_encoder_ is not None:
            return [as_text(column.name) for column in self.detector.column_encoder_.used]
        known = getattr(self.detector, "feature_names_in_", None)
        if known is not None:
            return [as_text(name) for name in known]
        shape = self.detector.sample_shape_
        if len(shape) == 1 and self.detector.kind_of_rows_ == "table":
            return [f"column {number}" for number in range(shape[0])]
        places = np.ndindex(*shape)
        return [" x ".join(map(str, place)) for place in places]

    @cached_property
    def channels(self) -> list[str]:
        """The names of the channels of signals, by default numbers; of other rows none."""
        if self.detector.kind_of_rows_ != "signals":
            return []
        shape = self.detector.sample_shape_
        count = shape[1] if len(shape) > 1 else 1
        names = getattr(self.X, "channels", None) or range(count)
        return [f"channel {name}" if isinstance(name, int) else as_text(name) for name in names]

    def why(self, place: int) -> str:
        """Name the columns or channels that contribute most to the score at a place of the order.

        Of pictures and signals of one channel nothing.
        """
        is_table = self.detector.kind_of_rows_ == "table"
        names = self.columns if is_table else self.channels
        if place >= len(self.contributions) or len(names) < 2 - is_table:
            return ""
        own = self.contributions[place]
        if not is_table:
            own = own.reshape(-1, len(names)).sum(axis=0)
        first = own.argsort(kind="stable")[::-1][:_COLUMNS]
        total = own.sum() or 1.0
        return ", ".join(f"{names[k]} {own[k] / total:.0%}" for k in first if own[k] > 0)

    @property
    def table(self) -> list[list[Any]]:
        """A line for each row, the highest score first, below a heading."""
        return [[*_HEADING], *self._lines(len(self.order))]

    def _lines(self, count: int) -> list[list[Any]]:
        """Return a line for each of the rows with the highest scores."""
        outliers = self.is_outlier
        lines: list[list[Any]] = []
        for place, number in enumerate(self.order[:count]):
            total, *others = (float(part[number]) for part in self.scores)
            lines.append(
                [as_text(self.names[number]), total, float(self.p_values[number]),
                 int(outliers[number]), *others, self.why(place)]
            )  # fmt: skip
        return lines

    @property
    def verdict(self) -> list[Finding]:  # type: ignore[override]
        """The findings and their remedies."""
        count, n_rows = int(self.is_outlier.sum()), len(self.names)
        threshold = -self.detector.offset_
        if isinstance(self.detector.contamination, str):
            remedy = (
                f"Of {n_rows:,} {self.noun}s like those learned from, {self._asked * n_rows:.3g} "
                f"would be above the threshold of {threshold:.4g} by chance."
            )
            as_asked = self._are_as_many_as_asked
        else:
            remedy = f"The threshold of {threshold:.4g} was asked for by the share of anomalies."
            as_asked = False
        more = ", as many as chance gives" if as_asked else ""
        found = Finding(
            "anomalies", "good" if as_asked else "note",
            f"{counted(count, self.noun)} of {n_rows:,} above the threshold{more}.",
            remedy, "anomalies",
        )  # fmt: skip
        findings = [found]
        far = outlier_threshold(self.detector.calibration_scores_, FAR)
        n_far = int((self.scores.total > far).sum())
        if 0 < n_far <= n_rows / 2:  # of more, drift tells
            text = (
                f"{counted(n_far, self.noun)} with scores above {far:.3g}, three robust standard "
                "deviations of the logarithms above the median of the training rows."
            )
            findings.append(Finding("far", "note", text, "Look at these first.", "anomalies"))
        if (drift := self.drift_finding) is not None:
            findings.append(drift)
        return findings

    @property
    def drift_finding(self) -> Finding | None:
        """Whether rows as a whole are unlike those learned from; None where it was not tested."""
        if self.drift is None:
            return None
        p_value, is_drift = self.drift.p_value, self.drift.p_value < _DRIFT
        if self.detector.kind_of_rows_ != "signals":
            if not is_drift:
                text = f"No drift: as a whole, the rows are like the old ones (p = {p_value:.2g})."
                return Finding("drift", "good", text, "", "scores")
            what = "scores" if self.drift.p_scores < self.drift.p_rows else "values"
            return Finding(
                "drift", "bad",
                f"Drift: as a whole, the rows are unlike those learned from (p = {p_value:.2g}).",
                f"Their {what} differ most clearly; look at what has changed, or learn from newer "
                "rows.", "scores",
            )  # fmt: skip
        share, asked = float(self.is_outlier.mean()), self._asked
        above = f"{share:.0%} of its windows are above the threshold, {asked:.0%} were asked for"
        if not is_drift:
            text = f"No drift: as a whole, the signal is like those learned from; {above}."
            return Finding("drift", "good", text, "", "scores")
        return Finding(
            "drift", "bad" if share > _TOO_MANY * asked else "note",
            f"Drift: the new signal as a whole is unlike those learned from (p = {p_value:.2g}, by "
            f"blocks of windows); {above}.",
            "If it is normal, the training signal lacks its states (loads, speeds): learn from "
            "signals in all of them.", "scores",
        )  # fmt: skip

    @property
    def _asked(self) -> float:
        """The share of rows above the threshold that was asked for."""
        return conformal.share_above(self.detector.false_alarms, self.detector.contamination)

    @property
    def _are_training_rows(self) -> bool:
        """Whether these scores are those of the rows learned from."""
        return np.array_equal(np.sort(self.scores.total), self.detector.calibration_scores_)

    @property
    def _are_as_many_as_asked(self) -> bool:
        """Whether chance gives as many rows above the threshold, or more, in one of 100 cases."""
        count, asked = int(self.is_outlier.sum()), self._asked
        if self.detector.kind_of_rows_ == "signals":  # windows depend on each other
            return count <= _TOO_MANY * asked * len(self.names)
        return bool(binom.sf(count - 1, len(self.names), asked) >= _CHANCE)

    @property
    def facts(self) -> list[tuple[str, str]]:  # type: ignore[override]
        """The main figures, by name."""
        first = self.order[0]
        return [
            (f"{self.noun}s", f"{len(self.names):,}"),
            ("above the threshold", f"{int(self.is_outlier.sum()):,}"),
            ("threshold", f"{-self.detector.offset_:.4g}"),
            ("highest score", f"{self.scores.total[first]:.4g}"),
            ("median score", f"{np.median(self.scores.total):.4g}"),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return all rows as JSON, the highest score first."""
        heading, *lines = self.table
        return {
            "rows": len(self.names),
            "anomalies": int(self.is_outlier.sum()),
            "threshold": -self.detector.offset_,
            "false_alarms": self.detector.false_alarms,
            "contamination": self.detector.contamination,
            **({"rows_numbered_from": 0} if self.are_numbered else {}),
            "drift": None if self.drift is None else self.drift._asdict(),
            **({"stretches": [one._asdict() for one in self.stretches]} if self.over_time else {}),
            "scores": [dict(zip(heading, line, strict=True)) for line in lines],
        }

    def _make_parts(self) -> list[Part]:
        shown = min(_SHOWN, len(self.order))
        listed, scores = self._list_highest(shown), self._draw_scores()
        if self.detector.kind_of_rows_ == "signals":
            return [scores, listed]
        return [listed, self._explain(shown), scores]

    def _list_highest(self, shown: int) -> Part:
        """Make the table of the rows with the highest scores."""
        part = Part("anomalies", "The highest scores")
        part.words.append(
            "The score is the sum of residual (Q), code (T squared) and neighbours, each divided "
            "by its median over the training rows; neighbours count twice. The p-value is the "
            "share of training rows with at least this score, with the row itself among them."
        )
        if self.are_numbered:
            part.words.append("Rows are numbered from 0.")
        heading, lines = [self.noun, *_HEADING[1:]], self._lines(shown)
        anomaly, neighbours = heading.index("anomaly"), heading.index("neighbours")
        for line, number in zip(lines, self.alike[0], strict=True):
            line[anomaly] = "yes" if line[anomaly] else "no"
            line.append(f"row {number}")
        heading.append("most alike")
        # Pictures show why they are anomalous below, and signals where; several channels are named.
        of_names = neighbours + 2 if len(self.channels) > 1 else neighbours + 1
        width = None if self.detector.kind_of_rows_ == "table" else of_names
        part.table.append([name.replace("_", "-") for name in heading[:width]])
        part.table.extend([_shown(cell) for cell in line[:width]] for line in lines)
        part.texts.update(range(neighbours + 1, len(part.table[0])))
        return part

    def _explain(self, shown: int) -> Part:
        """Draw where the highest scores of pictures, or rows of a table, come from."""
        part, first = Part("why", "Why"), self.order[:shown]
        if self.detector.kind_of_rows_ == "pictures":
            self._draw_pictures(part, first[:8], self.alike[1][:8])
            return part
        part.words.append(
            "Each line is a row of the table above; the darker a cell, the more of the row's "
            "score comes from the column."
        )
        part.plot(
            "contributions", "Shares of the scores by column", plots.contributions,
            self.contributions[:shown], columns=self.columns, lines=shown,
            names=[as_text(self.names[number]) for number in first],
        )  # fmt: skip
        return part

    def _draw_scores(self) -> Part:
        """Draw the distribution of all scores, and those of the samples of signals over time."""
        part = Part("scores", "All scores")
        if self.over_time:
            sizes = [len(one) for one in self.over_time]
            part.plot(
                "time", "The score of each sample over time", plots.over_time,
                np.concatenate([np.arange(size) for size in sizes]),
                np.concatenate(self.over_time), owners=np.repeat(np.arange(len(sizes)), sizes),
                names=self.X.names, rate=self.detector.rate_, threshold=1.0,
                value_name="anomaly score of a sample",
            )  # fmt: skip
            part.words.append(
                "A sample is anomalous above 1. Errors are averaged over one sample, an eighth "
                "of a window and two windows; the mean that is farthest above normal counts."
            )
            list_stretches(part, self.stretches, self.detector.rate_)
        compared = "" if self._are_training_rows else ", and of those learned from"
        part.plot("distribution", f"Scores of these {self.noun}s{compared}", self._draw)
        return part

    def _draw_pictures(self, part: Part, first: NDArray[np.int64], alike: NDArray[Any]) -> None:
        part.words.append(
            "Below each picture are a heat map of its score, relative to normal pictures at the "
            "same place, and the nearest normal picture."
        )
        X = np.asarray(self.X[first])
        part.plot(
            "heat", "The pictures with the highest scores, where, and the most alike",
            plots.heat_maps, X, self.detector.heat(X), alike=alike, tiles=True,
        )  # fmt: skip

    def _draw(self, ax: Any) -> None:
        old, new = self.detector.calibration_scores_, self.scores.total
        every = np.log10(np.maximum(np.concatenate([old, new]), 1e-3))
        bins = np.logspace(every.min(), every.max() + 1e-9, _BINS)
        colours = plots.style.colours()
        samples = {f"these {self.noun}s": new}
        if not self._are_training_rows:
            samples = {"learned from": old} | samples
        for (name, values), colour in zip(samples.items(), colours, strict=False):
            weights = np.full(len(values), 100 / len(values))
            ax.hist(np.maximum(values, 1e-3), bins, weights=weights, label=name, color=colour,
                    histtype="step", linewidth=1.5)  # fmt: skip
        ax.axvline(-self.detector.offset_, color="0.4", linestyle="--", label="threshold")
        ax.set(xscale="log", xlabel="anomaly score", ylabel=f"share of the {self.noun}s, %")
        plots.style.plain_logarithm(ax.xaxis)
        plots.style.legend_above(ax)


def find_anomalies(
    detector: AnomalyDetector,
    X: Any,
    *,
    names: Sequence[str] | None = None,
    are_new: bool = False,
    title: str = "Anomalies",
) -> Anomalies:
    """Score rows by a fitted detector, and say why the first of them score so high.

    Parameters
    ----------
    detector : AnomalyDetector
        A fitted detector.
    X : array-like of shape (n, *sample_shape), DataFrame, Windows or path
        Rows.
    names : sequence of n str, optional
        Names of the rows; by default their numbers.
    are_new : bool, default=False
        Whether the rows are other rows than the training rows; they are then tested for drift.
    title : str
        The title of the page.

    Returns
    -------
    Anomalies
        A page, a table and JSON.

    Raises
    ------
    NotFittedError, DataError
        If the detector is not fitted, or the rows do not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import AnomalyDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> X[5, 1] = 9
    >>> found = find_anomalies(AnomalyDetector(random_state=0).fit(X), X)
    >>> found.table[1][0], found.table[1][-1][:8]
    ('5', 'column 1')
    """
    is_of_kinds = detector.column_encoder_ is not None
    rows: Any = read_frame(X) if is_of_kinds else check_rows(detector, X)
    with warnings.catch_warnings():
        # The names of columns were compared above.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        scores = detector.score_parts(rows)
        # What follows would warn of some of these rows again, with other counts.
        warnings.simplefilter("ignore", NarrowsWarning)
        order = (-scores.total).argsort(kind="stable")
        first, shown = (_take(rows, order[:count]) for count in (_MOST_EXPLAINED, _SHOWN))
        contributions = detector.contributions(first).reshape(len(first), -1)
        alike = detector.alike(shown, 1)
        over_time: list[NDArray[np.float64]] = []
        if isinstance(rows, Windows) and detector.kind_of_rows_ == "signals":
            over_time = detector.score_over_time(rows)
            names = [rows.describe(row) for row in range(len(rows))] if names is None else names
        drifts = are_new and len(rows) > 1
        drift = detector.drift(rows) if drifts else None
    return Anomalies(
        detector=detector,
        names=[str(number) for number in range(len(rows))] if names is None else names,
        X=rows,
        scores=scores,
        p_values=detector.p_values_of(scores.total),
        order=order,
        contributions=contributions,
        alike=(alike[0][:, 0], alike[1][:, 0]),
        drift=drift,
        over_time=over_time,
        title=title,
    )


def _take(rows: Any, numbers: NDArray[np.int64]) -> Any:
    return rows.rows(numbers) if isinstance(rows, Frame) else np.asarray(rows[numbers])


def _shown(cell: Any) -> str:
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
