"""The contact sheet of queries and their matches, drawn without pyplot: no window, no state."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from narrows.data.axes import is_picture_shape
from narrows.errors import DataError
from narrows.plots.tiles import value_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's blue and vermilion: told apart by every kind of colour vision, and in grey.
SAME, OTHER, NEUTRAL = "#0072B2", "#D55E00", "#8a8a8a"
INK, FAINT = "#222222", "#666666"

# All in inches, so that every sheet looks the same.
_CELL, _GAP, _CAPTION, _BLOCK_GAP = 0.78, 0.07, 0.33, 0.14
_MARGIN, _SIDE, _TITLE, _HEADINGS, _FOOT = 0.25, 0.62, 0.34, 0.24, 0.42
_QUERY_GAP, _PANEL_GAP, _LEAST_WIDTH = 0.20, 0.40, 4.4
_SMALLEST_SMOOTH_SIDE = 96


class Shown(Protocol):
    """A match to be drawn, such as :class:`narrows.library.Match`."""

    @property
    def distance(self) -> float:
        """The distance from the query."""

    @property
    def path(self) -> str:
        """The picture's name."""

    @property
    def picture(self) -> NDArray[Any]:
        """The stored picture, of shape (H, W) or (H, W, C)."""

    @property
    def decoded(self) -> NDArray[Any]:
        """The picture decoded from its code, of the same shape."""


def contact_sheet(
    queries: NDArray[Any],
    decoded: NDArray[Any],
    matches: Sequence[Sequence[Shown]],
    *,
    names: Sequence[str] | None = None,
    label: Callable[[str], str] | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "Nearest pictures by code",
) -> "Figure":
    """Draw each query beside its nearest pictures, and below each what its code decodes to.

    Parameters
    ----------
    queries, decoded : ndarray of shape (n, H, W) or (n, H, W, C)
        The queries, and their reconstructions by the model.
    matches : sequence of n sequences of matches
        The results of :meth:`narrows.library.Library.match`, nearest first.
    names : sequence of n str, optional
        The queries' names, written under them.
    label : callable, optional
        A function from a name or path to its class. The frames then tell which matches share the
        query's class.
    limits : (float, float), optional
        The values of black and white; by default 0 and 255 for uint8, 0 and 1 for values between
        these, and otherwise the queries' smallest and largest value.
    title : str
        The title above.

    Returns
    -------
    matplotlib.figure.Figure
        ``figure.savefig("matches.png")`` writes it.

    Raises
    ------
    DataError
        If there is nothing to draw, or the samples are not pictures.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> black, white = np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)
    >>> match = SimpleNamespace(distance=0.5, path="white.png", picture=white, decoded=white)
    >>> figure = contact_sheet(black[None], white[None], [[match]], names=["black.png"])
    >>> len(figure.axes)
    4
    """
    if len(queries) == 0:
        raise DataError("there is no query to draw; give at least one")
    if queries.ndim not in (3, 4) or not is_picture_shape(queries.shape[1:]):
        raise DataError(
            f"a contact sheet shows pictures, and these samples have the shape {queries.shape[1:]};"
            " use a model trained on pictures of shape (height, width) or (height, width, 3)"
        )
    names = list(names) if names is not None else [f"query {i}" for i in range(len(queries))]
    height, width = queries.shape[1:3]
    n_matches = max(len(nearest) for nearest in matches)
    sheet = _Sheet(len(queries), n_matches, height / width, limits or value_range(queries))
    sheet.headings(title)
    for block, nearest in enumerate(matches):
        own = label(names[block]) if label else None
        sheet.sides(block)
        sheet.pair(block, 0, queries[block], decoded[block], INK)
        sheet.caption(block, 0, own or _short(names[block]), "", INK)
        for column, match in enumerate(nearest, 1):
            theirs = label(match.path) if label else None
            colour = NEUTRAL if label is None else SAME if theirs == own else OTHER
            sheet.pair(block, column, match.picture, match.decoded, colour)
            name, distance = theirs or _short(match.path), _figure(match.distance)
            sheet.caption(block, column, name, distance, colour)
    sheet.foot(with_labels=label is not None)
    return sheet.figure


class _Sheet:
    """A figure, and the places of things on it, in inches from its top left corner."""

    def __init__(
        self, n_queries: int, n_matches: int, ratio: float, limits: tuple[float, float]
    ) -> None:
        from matplotlib.figure import Figure

        self._n_queries, self._n_matches, self._limits = n_queries, n_matches, limits
        self._n_panels = 1 if n_queries <= 3 else 2
        self._n_rows = -(-n_queries // self._n_panels)
        self._cell_height = _CELL * min(1, max(0.4, ratio))
        self._panel_width = _SIDE + (n_matches + 1) * _CELL + n_matches * _GAP + _QUERY_GAP
        self._block_height = 2 * self._cell_height + _GAP + _CAPTION
        panels = self._n_panels * self._panel_width + (self._n_panels - 1) * _PANEL_GAP
        blocks = self._n_rows * self._block_height + (self._n_rows - 1) * _BLOCK_GAP
        self._width = max(2 * _MARGIN + panels, _LEAST_WIDTH)
        self._height = 2 * _MARGIN + _TITLE + _HEADINGS + blocks + _FOOT
        self.figure = Figure(figsize=(self._width, self._height), dpi=150, facecolor="white")

    def headings(self, title: str) -> None:
        """Write the title, and the headings of the columns."""
        self._text(_MARGIN, _MARGIN + 0.12, title, size=12, weight="bold")
        for first in range(0, self._n_queries, self._n_rows):
            for column in range(self._n_matches + 1):
                left, top = self._cell(first, column, 0)
                word = ("query", "nearest")[column] if column < 2 else _ordinal(column)
                self._text(left + _CELL / 2, top - 0.12, word, size=8, color=FAINT, ha="center")

    def sides(self, block: int) -> None:
        """Write what the two lines of a block show."""
        for line, words in enumerate(("original", "from\nits code")):
            left, top = self._cell(block, 0, line)
            middle = top + self._cell_height / 2
            self._text(left - 0.10, middle, words, size=7.5, color=FAINT, ha="right")

    def pair(
        self, block: int, column: int, picture: NDArray[Any], decoded: NDArray[Any], colour: str
    ) -> None:
        """Show a picture, and below it what its code decodes to; column 0 is the query."""
        for line, pixels in enumerate((picture, decoded)):
            axes = self._show(pixels, *self._cell(block, column, line))
            for spine in axes.spines.values():
                spine.set(edgecolor=colour, linewidth=2.0 if colour in (SAME, OTHER) else 0.8)
                # The frames differ without colour, too.
                spine.set(linestyle=(0, (2, 1)) if colour == OTHER else "-", capstyle="butt")

    def caption(self, block: int, column: int, first: str, second: str, colour: str) -> None:
        """Write two lines below a pair."""
        left, top = self._cell(block, column, 1)
        middle, below = left + _CELL / 2, top + self._cell_height
        colour = INK if colour == NEUTRAL else colour
        self._text(middle, below + 0.11, first, color=colour, size=7, ha="center")
        self._text(middle, below + 0.24, second, color=FAINT, size=7, ha="center")

    def foot(self, *, with_labels: bool) -> None:
        """Write the explanation of figures and frames."""
        lines = ["Figures under the pictures: distance from the query."]
        if with_labels:
            lines.append("Solid blue frame: the query's class; dashed orange frame: another.")
        top = self._height - _MARGIN - 0.10
        self._text(_MARGIN, top, "\n".join(lines), size=7.5, color=FAINT, linespacing=1.5)

    def _cell(self, block: int, column: int, line: int) -> tuple[float, float]:
        """Return the upper left corner of a picture."""
        panel, row = divmod(block, self._n_rows)
        left = _MARGIN + panel * (self._panel_width + _PANEL_GAP) + _SIDE
        left += column * (_CELL + _GAP) + (_QUERY_GAP if column else 0)
        top = _MARGIN + _TITLE + _HEADINGS + row * (self._block_height + _BLOCK_GAP)
        return left, top + line * (self._cell_height + _GAP)

    def _show(self, pixels: NDArray[Any], left: float, top: float) -> "Axes":
        tall = self._cell_height
        x, y = left / self._width, 1 - (top + tall) / self._height
        axes = self.figure.add_axes((x, y, _CELL / self._width, tall / self._height))
        axes.set(xticks=[], yticks=[])
        low, high = self._limits
        if pixels.ndim == 3 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        shown = np.clip((np.asarray(pixels, np.float32) - low) / max(high - low, 1e-12), 0, 1)
        smooth = max(pixels.shape[:2]) >= _SMALLEST_SMOOTH_SIDE
        interpolation = "antialiased" if smooth else "nearest"
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
        return axes

    def _text(self, left: float, top: float, words: str, **style: Any) -> None:
        style = {"va": "center", "color": INK, "parse_math": False, **style}
        self.figure.text(left / self._width, 1 - top / self._height, words, **style)


def _ordinal(number: int) -> str:
    return f"{number}{ {2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _figure(distance: float) -> str:
    """Write three digits, never with an exponent."""
    if distance >= 100 or distance < 0.001:
        return f"{distance:.0f}"
    return f"{distance:#.3g}".rstrip(".")


def _short(path: str, width: int = 15) -> str:
    """Return a path's last part, without its middle where it is too long."""
    # One character for each: escapes, as used elsewhere, would leave no room for the name.
    name = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in PurePath(path).name
    )
    return name if len(name) <= width else f"{name[: width - 8]}…{name[-7:]}"
