"""How a report writes its figures: errors, shares, and the rows that they come from."""

from collections.abc import Callable

from narrows.evaluation.report.figures import Figures

# From here on a share is written as so many times; below this, that it is less.
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


def numbers(count: int) -> str:
    """Write how many numbers a code has.

    Examples
    --------
    >>> numbers(1), numbers(2)
    ('1 number', '2 numbers')
    """
    return "1 number" if count == 1 else f"{count} numbers"


def times(ratio: float) -> str:
    """Write how many times, without more digits than mean anything.

    Examples
    --------
    >>> times(3.14159), times(1234.5)
    ('3.1', '1,200')
    """
    return f"{ratio:.1f}" if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}"


def writer(figures: Figures, digits: int = 3) -> Callable[[float], str]:
    """Return how errors are written: as shares of the variance, others with so many digits."""
    return share if figures.headline.unit == "variance" else lambda error: f"{error:.{digits}g}"


def amount(figures: Figures, error: float) -> str:
    """Write an error with what it is a share of, where it is one."""
    written = writer(figures)(error)
    if figures.headline.unit != "variance":
        return written
    return f"{written}{' of' * (error < _MANY)} the variance"


def unit_of_errors(figures: Figures) -> str:
    """Say what an error is, for the axis of a plot."""
    columns = figures.columns
    return {
        "pixels": "mean squared error, black 0 and white 1",
        "data": "mean squared error",
        "variance": f"share of the {'columns' if columns is None else columns.kind}' variance left",
    }[figures.headline.unit]


def measured_rows(figures: Figures) -> str:
    """Say which rows the figures come from.

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
    """Say which rows PCA was fitted on, as the end of a sentence."""
    errors = figures.headline
    rows = f"{errors.pca_rows:,} rows"
    return {
        "training rows": f"fitted on {rows} that the model learned from",
        "other half": f"fitted on {rows}, each half measured by PCA of the other one",
        "other tenths": f"fitted on {rows}, each tenth measured by PCA of the others",
        "same rows": "fitted on the very rows that it is measured on",
    }[errors.pca_fitted_on]
