"""What a page is made of: plots as PNG files, sentences and tables, one part after another."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches; at 130 dots each a picture is as wide as half a page, and legible on a telephone.
_WIDTH, _HEIGHT, _DOTS = 5.2, 3.7, 130
# Inches that a line with a name takes, and what is above and below all of them.
_LINE, _AROUND = 0.19, 1.2


@dataclass(frozen=True)
class Picture:
    """A plot of the report.

    Attributes
    ----------
    name : str
        Of its file, without ``.png``.
    png : bytes
        The file.
    caption : str
        What is to be seen, in a line.
    """

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes
    ----------
    name : str
        By which the verdict refers to it.
    title : str
        Above it.
    words : list of str
        Sentences below the title; where a part had to be left out, why.
    pictures : list of Picture
        Its plots.
    table : list of list of str
        Its table, the heading first; may be empty.
    """

    name: str
    title: str
    words: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)


def picture(
    name: str,
    caption: str,
    draw: Callable[["Axes"], object],
    *,
    tall: bool = False,
    tiles: bool = False,
    lines: int = 0,
) -> Picture:
    """Draw on axes of their own, and keep the file; so many lines with names need their room."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = max(_WIDTH if tall else _HEIGHT, _AROUND + _LINE * lines)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    file = BytesIO()
    # What pictures leave of the height is cut off; their width they fill.
    tight: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.05} if tiles else {}
    figure.savefig(file, format="png", dpi=_DOTS, **tight)
    return Picture(name, file.getvalue(), caption)
