"""Conformal thresholds and p-values: the ranks of scores among those of rows known to be normal."""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from narrows.errors import warn

Matrix = NDArray[np.float64]


def threshold(
    calibration: Matrix, false_alarms: float, contamination: float | Literal["auto"]
) -> float:
    """Return the score above which rows are outliers.

    Parameters
    ----------
    calibration : ndarray of shape (n,)
        The scores of the training rows, ascending.
    false_alarms : float
        The share of new rows like these above the threshold (Vovk et al. 2005).
    contamination : float or "auto"
        The share of the training rows above it; "auto" leaves this to ``false_alarms``.

    Warns
    -----
    NarrowsWarning
        "few_rows_for_threshold" if n is below 2 / false_alarms - 1: none of the n rows is above the
        threshold; below 1 / false_alarms - 1 new rows exceed it more often than asked for.
    """
    if not isinstance(contamination, str):
        return float(-np.percentile(-calibration, 100 * contamination))
    n_rows = len(calibration)
    rank = math.ceil((n_rows + 1) * (1 - false_alarms))
    if rank >= n_rows:
        least = math.ceil(1 / false_alarms) - 1
        warn(
            f"{n_rows} rows are too few for a threshold with {false_alarms:g} of false alarms: "
            "the largest of their scores is taken, which none of them exceeds, and new rows do "
            f"with a probability of {1 / (n_rows + 1):.2g}; give at least {least} rows"
            if rank > n_rows
            else f"{n_rows} rows are so few that none of them is above a threshold with "
            f"{false_alarms:g} of false alarms, which is the largest of their scores; look at the "
            "highest scores, report a share of these rows (contamination=0.1, --contamination "
            f"0.1), or give at least {math.ceil(2 / false_alarms) - 1} rows",
            kind="few_rows_for_threshold",
            rows=n_rows,
        )
    return float(calibration[min(rank, len(calibration)) - 1])


def share_above(false_alarms: float, contamination: float | Literal["auto"]) -> float:
    """Return the share of rows above the threshold that was asked for."""
    return false_alarms if isinstance(contamination, str) else contamination


def p_values(calibration: Matrix, scores: Matrix) -> Matrix:
    """Return the conformal p-values of scores (m,), from 1 / (n + 1).

    Each is one more than the number of calibration scores (n,), ascending, that are at least as
    high, divided by n + 1.
    """
    above = len(calibration) - np.searchsorted(calibration, scores, side="left")
    found: Matrix = (1 + above) / (1 + len(calibration))
    return found
