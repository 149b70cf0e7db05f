"""Plots of results: every function draws on a matplotlib Axes, and returns it.

Give ``ax`` to draw on axes of your own; without it, pyplot makes a new figure. Sizes, fonts and
colours are those of your settings (``matplotlib.rcParams``); where the colours of lines are still
matplotlib's own, Okabe & Ito's are used, which the colour-blind can tell apart.
"""

from narrows.plots.anomalies import contributions, heat_maps
from narrows.plots.curves import (
    activation_rates,
    code_units,
    error_distribution,
    history,
    learning_rate,
    singular_values,
)
from narrows.plots.points import embedding
from narrows.plots.scores import column_errors, error_by_size, features
from narrows.plots.tiles import contact_sheet, filters, model_filters, picture_grid, pictures
from narrows.plots.windows import over_time, windows

__all__ = [
    "activation_rates",
    "code_units",
    "column_errors",
    "contact_sheet",
    "contributions",
    "embedding",
    "error_by_size",
    "error_distribution",
    "features",
    "filters",
    "heat_maps",
    "history",
    "learning_rate",
    "model_filters",
    "over_time",
    "picture_grid",
    "pictures",
    "singular_values",
    "windows",
]
