"""Results as pictures: every function draws on a matplotlib Axes, and returns it.

Give ``ax`` to draw on axes of your own; without it, pyplot makes a new figure. Sizes, fonts and
colours are those of your settings (``matplotlib.rcParams``); where the colours of lines are still
matplotlib's own, Okabe & Ito's take their place, which the colour-blind can tell apart.
"""

from narrows.plots.curves import history, learning_rate
from narrows.plots.scores import error_by_size
from narrows.plots.sheet import contact_sheet
from narrows.plots.tiles import picture_grid, pictures

__all__ = [
    "contact_sheet",
    "error_by_size",
    "history",
    "learning_rate",
    "picture_grid",
    "pictures",
]
