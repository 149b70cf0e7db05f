"""Errors of windows over time: the signals, and the stretches of them, with the largest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from narrows import plots
from narrows.data.signal_files import Windows, in_time
from narrows.evaluation.page import Part

_SHOWN = 15  # stretches, and signals, in tables


class Stretch(NamedTuple):
    """A stretch of a signal that windows with large errors cover.

    Attributes
    ----------
    signal : str
        The name of the signal, such as its file.
    start, end : int
        Its first sample, and the one after its last.
    windows : int
        How many such windows there are.
    error : float
        The largest of their errors.
    """

    signal: str
    start: int
    end: int
    windows: int
    error: float


@dataclass(frozen=True)
class Times:
    """Which signals rows were cut out of, and where.

    Attributes
    ----------
    names : list of str
        The names of the signals.
    owners, starts : ndarray of int and shape (n,)
        The number of each row's signal, and its first sample there.
    length : int
        Samples in a window.
    rate : int or None
        Samples per second.
    """

    names: list[str]
    owners: NDArray[np.int64]
    starts: NDArray[np.int64]
    length: int
    rate: int | None

    @classmethod
    def of(cls, windows: Windows, rows: NDArray[np.int64]) -> Self:
        """Take those of some windows."""
        owners, starts = windows.owners[rows], windows.starts[rows]
        return cls(windows.names, owners, starts, windows.shape[1], windows.rate)

    def stretches(self, errors: NDArray[np.floating], threshold: float) -> list[Stretch]:
        """Join windows with errors above a threshold that overlap or touch, the worst first."""
        found: list[Stretch] = []
        for row in np.lexsort((self.starts, self.owners)):
            if errors[row] <= threshold:
                continue
            name, start = self.names[self.owners[row]], int(self.starts[row])
            new = Stretch(name, start, start + self.length, 1, float(errors[row]))
            if found and found[-1].signal == name and start <= found[-1].end:
                old = found.pop()
                new = Stretch(name, old.start, new.end, old.windows + 1, max(old.error, new.error))
            found.append(new)
        return sorted(found, key=lambda stretch: -stretch.error)


def show_over_time(
    part: Part,
    times: Times,
    errors: NDArray[np.floating],
    threshold: float,
    *,
    unit: str,
    write: Callable[[float], str],
) -> None:
    """Plot the errors of windows over time, and list the stretches with outliers.

    Parameters
    ----------
    part : Part
        The part of the report that shows them.
    times : Times
        The signals and times of n windows.
    errors : ndarray of shape (n,)
        Their errors.
    threshold : float
        The error above which a window is an outlier.
    unit : str
        What errors are called.
    write : callable
        Formats an error as text.
    """
    found = times.stretches(errors, threshold)
    part.words.append(
        f"The error of {len(errors):,} windows of {times.length} samples, those learned from "
        f"included; {sum(stretch.windows for stretch in found)} outliers lie in {len(found)} "
        f"{'stretch' if len(found) == 1 else 'stretches'}."
    )
    part.plot(
        "errors-over-time",
        "The error of each window at its middle.",
        plots.over_time,
        times.starts,
        errors,
        length=times.length,
        owners=times.owners,
        names=times.names,
        rate=times.rate,
        threshold=threshold,
        value_name=unit,
    )
    if found:
        part.table.append(["signal", "time", "windows", "largest error"])
        for stretch in found[:_SHOWN]:
            when = in_time(stretch.start, stretch.end, times.rate)
            part.table.append([stretch.signal, when, str(stretch.windows), write(stretch.error)])
    if len(found) > _SHOWN:
        part.words.append(
            f"The table has the worst {_SHOWN} of {len(found)} stretches; report.json has all."
        )
