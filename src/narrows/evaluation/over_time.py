"""Scores of windows over time: the signals, and the stretches of them, with the highest."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from narrows import plots
from narrows.data.signal_files import Windows, in_time
from narrows.evaluation.page import Part

_SHOWN = 15  # stretches in tables


class Stretch(NamedTuple):
    """A stretch of a signal with scores above the threshold, or nearly so between such.

    Attributes
    ----------
    signal : str
        The name of the signal, such as its file.
    start, end : int
        Its first sample, and the one after its last.
    score : float
        The highest score.
    """

    signal: str
    start: int
    end: int
    score: float


def join_windows(
    windows: Windows, rows: NDArray[np.int64], scores: NDArray[np.floating], threshold: float
) -> list[Stretch]:
    """Join windows with scores above a threshold that overlap or touch, the worst first.

    ``scores`` are those of some windows, whose numbers ascend.
    """
    found: list[Stretch] = []
    for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
        if score <= threshold:
            continue
        name, start = windows.names[windows.owners[row]], int(windows.starts[row])
        new = Stretch(name, start, start + windows.shape[1], score)
        if found and found[-1].signal == name and start <= found[-1].end:
            old = found.pop()
            new = Stretch(name, old.start, new.end, max(old.score, score))
        found.append(new)
    return sorted(found, key=lambda stretch: -stretch.score)


def join_samples(name: str, scores: NDArray[np.floating], gap: int) -> list[Stretch]:
    """Join the samples (T,) of a signal that score above 1 and lie at most so far apart."""
    above = np.flatnonzero(scores > 1)
    if not len(above):
        return []
    runs = np.split(above, np.flatnonzero(np.diff(above) > gap) + 1)
    ends = [(int(run[0]), int(run[-1]) + 1) for run in runs]
    return [Stretch(name, start, end, float(scores[start:end].max())) for start, end in ends]


def list_stretches(part: Part, found: list[Stretch], rate: int | None) -> None:
    """Add a table of stretches to a part."""
    if found:
        part.table.append(["signal", "time", "highest score"])
        part.texts.add(1)
    for one in found[:_SHOWN]:
        when = in_time(one.start, one.end, rate)
        part.table.append([one.signal, when, f"{one.score:.3g}"])
    if len(found) > _SHOWN:
        part.words.append(f"The table has the worst {_SHOWN} of {len(found)} stretches.")


def show_over_time(
    part: Part,
    windows: Windows,
    rows: NDArray[np.int64],
    scores: NDArray[np.floating],
    threshold: float,
) -> None:
    """Plot the anomaly scores of windows over time, and list the stretches above the threshold.

    Parameters
    ----------
    part : Part
        The part of the report that shows them.
    windows : Windows
        The windows of all signals.
    rows : ndarray of int and shape (n,)
        The numbers of those that are shown; ascending.
    scores : ndarray of shape (n,)
        Their scores.
    threshold : float
        The score above which a window is an outlier.
    """
    found = join_windows(windows, rows, scores, threshold)
    part.words.append(
        f"The anomaly score of {len(scores):,} windows of {windows.shape[1]} samples, those "
        f"learned from included; {int((scores > threshold).sum())} outliers lie in {len(found)} "
        f"{'stretch' if len(found) == 1 else 'stretches'}."
    )
    part.plot(
        "scores-over-time",
        "The anomaly score of each window at its middle.",
        plots.over_time,
        windows.starts[rows],
        scores,
        length=windows.shape[1],
        owners=windows.owners[rows],
        names=windows.names,
        rate=windows.rate,
        threshold=threshold,
        value_name="anomaly score",
    )
    list_stretches(part, found, windows.rate)
