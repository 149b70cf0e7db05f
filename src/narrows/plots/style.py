"""How plots look: as the user's settings say, and legible for the colour-blind where they do not.

Okabe & Ito (2008), "Color universal design": eight colours that every kind of colour vision tells
apart. Lines and points differ by mark or dash as well, for print in grey.
"""

from typing import TYPE_CHECKING, Any

from narrows.errors import ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of Okabe & Ito's, those that stand out from white and from each other come first; then two more,
# for ten classes.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#000000", "#F0E442", "#8A8A8A", "#6B2A10",
)  # fmt: skip
MARKERS = "osD^vP*X<>"


def colours() -> list[Any]:
    """Return the colours of the user's cycle, or, where that is matplotlib's own, our own."""
    from matplotlib import rcParams, rcParamsDefault

    cycle = rcParams["axes.prop_cycle"]
    own = cycle.by_key().get("color", [])
    if own and cycle != rcParamsDefault["axes.prop_cycle"]:
        return list(own)
    return list(COLOURS)


def looks(n: int) -> list[dict[str, Any]]:
    """Return n pairs of colour and marker, told apart by both as long as there are colours."""
    own = colours()
    laps = [i // len(own) for i in range(n)]
    return [
        {"color": own[i % len(own)], "marker": MARKERS[(i + lap) % len(MARKERS)]}
        for i, lap in enumerate(laps)
    ]


def axes_or_new(ax: "Axes | None", *, ratio: float | None = None) -> "Axes":
    """Return the axes that were given, or new ones by pyplot.

    Parameters
    ----------
    ax : Axes or None
        As users gave them.
    ratio : float, optional
        Height by width of a new figure; by default the user's.

    Raises
    ------
    ParameterError
        If something else was given.
    """
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return ax
    if ax is not None:
        raise ParameterError(
            f"ax is {type(ax).__name__}, not a matplotlib Axes; give one of them, or none"
        )
    import matplotlib.pyplot as plt

    width, height = plt.rcParams["figure.figsize"]
    own_layout = plt.rcParams["figure.autolayout"]
    _, new = plt.subplots(
        figsize=(width, height if ratio is None else width * ratio),
        layout=None if own_layout else "constrained",
    )
    return new
