"""Pictures in lines and grids: reconstructions, samples, filters, and matches of queries."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.data.axes import channels_first, is_picture_shape, last_axis_call
from narrows.data.formats import is_numeric
from narrows.errors import DataError, ParameterError
from narrows.plots.style import axes_or_new
from narrows.texts import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from narrows.models.base import BaseAutoencoder

# Captions shrink to this share of their size at least, to fit into this share of the width.
_SMALLEST, _LAID_OUT = 0.75, 0.8
_POINTS = 72
_LETTERS = 19  # of a caption, in an inch
# The width of the names and the height of the captions in a new figure, in inches.
_BESIDE, _BELOW = 0.9, 0.3
_TALLEST = 2.0  # times its width
# The room between two tiles, as a share of their longer side.
_TILE_GAP = 0.07
# Okabe & Ito's blue and vermilion: told apart by every kind of colour vision, and in grey.
SAME, OTHER, NEUTRAL = "#0072B2", "#D55E00", "#8a8a8a"
INK, FAINT = "#222222", "#666666"

# All in inches, so that every sheet looks the same. Cells of small pictures are smaller.
_CELL, _SMALL_CELL, _GAP, _CAPTION, _BLOCK_GAP = 1.35, 0.78, 0.07, 0.33, 0.14
_MARGIN, _SIDE, _TITLE, _HEADINGS, _FOOT = 0.25, 0.62, 0.34, 0.24, 0.42
_QUERY_GAP, _PANEL_GAP, _LEAST_WIDTH, _TWO_PANELS = 0.20, 0.40, 4.4, 7.0
_SMALLEST_SMOOTH_SIDE = 96


def pictures(
    rows: Mapping[str, ArrayLike],
    *,
    captions: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw lines of pictures, each with a name: originals, their reconstructions, and so on.

    Parameters
    ----------
    rows : mapping of str to array-like of shape (n, H, W) or (n, H, W, C)
        The lines from the top down, by the names at their left. C is 1 or 3.
    captions : sequence of n str, optional
        Captions under the columns.
    limits : (float, float), optional
        The values of black and white, beyond which values are cut off; by default 0 and 255 for
        uint8, 0 and 1 for values between these, and otherwise the first line's smallest and largest
        value.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        The axes, with one image, whose pixels are the pictures'.

    Raises
    ------
    DataError
        If there is nothing to draw, the rows are not pictures, or the lines differ in their size or
        number.
    ParameterError
        If the limits are not two ascending numbers, or ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((40, 8, 8))
    >>> model = narrows.Autoencoder(4, max_epochs=2, random_state=0).fit(X)
    >>> ax = narrows.plots.pictures({"original": X[:6], "restored": model.reconstruct(X[:6])})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['original', 'restored']
    """
    if not rows:
        raise DataError("there is no line of pictures to draw; give at least one by its name")
    lines = {str(name): _as_pictures(f"'{name}'", given) for name, given in rows.items()}
    first_name, first = next(iter(lines.items()))
    for name, line in lines.items():
        if line.shape[:3] != first.shape[:3]:
            raise DataError(
                f"'{name}' has {len(line)} pictures of {line.shape[1]} x {line.shape[2]} pixels, "
                f"'{first_name}' {len(first)} of {first.shape[1]} x {first.shape[2]}; give as many "
                "of the same size"
            )
    limits = _check_limits(limits) if limits is not None else value_range(first)
    pixels = np.concatenate([_shades(line, limits) for line in lines.values()])
    return _draw(pixels, len(first), names=list(lines), captions=captions, ax=ax)


def picture_grid(
    pictures: ArrayLike,
    *,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw pictures in a grid, line by line, such as samples of a model.

    Parameters
    ----------
    pictures : array-like of shape (n, H, W) or (n, H, W, C)
        C is 1 or 3.
    columns : int, optional
        Pictures in a line; by default so many that the grid is about square.
    captions : sequence of str, optional
        Captions under the columns, one for each.
    limits : (float, float), optional
        The values of black and white; by default as for :func:`pictures`.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        The axes, with one image, whose pixels are the pictures'.

    Raises
    ------
    DataError
        If the samples are not pictures, or there are none.
    ParameterError
        If the limits or columns are not allowed, or ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> ax = narrows.plots.picture_grid(np.random.default_rng(0).random((9, 8, 8)))
    >>> ax.images[0].get_array().shape  # three tiles of eight pixels, and a gap of one between
    (26, 26, 4)
    """
    shown = _as_pictures("the array", pictures)
    limits = _check_limits(limits) if limits is not None else value_range(shown)
    return _draw_grid(_shades(shown, limits), columns, captions, ax)


def filters(weights: ArrayLike, *, columns: int | None = None, ax: "Axes | None" = None) -> "Axes":
    """Draw filters as pictures, each scaled by its own largest magnitude: mid-grey is zero.

    Vincent et al. (2010), "Stacked denoising autoencoders", figures 5 to 8.

    Parameters
    ----------
    weights : array-like of shape (n, H, W) or (n, H, W, C)
        Filters, as :func:`model_filters` returns them; C is 1 or 3.
    columns : int, optional
        Filters in a line; by default so many that the grid is about square.
    ax : Axes, optional
        The axes to draw on; by default those of a new figure.

    Returns
    -------
    Axes
        The axes, with one image. White is a filter's largest magnitude, black its negative; each
        channel is shown in its colour.

    Raises
    ------
    DataError
        If the weights are not shaped as pictures.
    ParameterError
        If the columns are not allowed, or ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((40, 8, 8))
    >>> model = narrows.Autoencoder(4, max_epochs=2, random_state=0).fit(X)
    >>> ax = narrows.plots.filters(narrows.plots.model_filters(model))
    """
    shown = _as_pictures("the array of weights", weights).astype(np.float64)
    shown = shown[..., :3] if shown.ndim == 4 else shown  # the weights of opacity are not shown
    largest = np.abs(shown).reshape(len(shown), -1).max(axis=1)
    largest[largest == 0] = 1
    scaled = shown / largest.reshape(-1, *[1] * (shown.ndim - 1))
    return _draw_grid(_shades(scaled, (-1, 1)), columns, None, ax)


def model_filters(model: "BaseAutoencoder", n: int = 64) -> NDArray[np.float32]:
    """Return the first layer's weights of a fitted model, as pictures.

    Parameters
    ----------
    model : BaseAutoencoder
        A model fitted on pictures.
    n : int, default=64
        The largest number of filters; the layer's first are taken.

    Returns
    -------
    ndarray of shape (n, H, W) or (n, H, W, C)
        H and W are those of the rows for a dense network, of the kernel for a convolutional one.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    DataError
        If it learned from tables or signals, whose weights are no pictures.
    ParameterError
        If ``n`` is not a whole number of at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> X = np.random.default_rng(0).random((40, 8, 8))
    >>> model = narrows.Autoencoder(4, max_epochs=2).fit(X)  # it starts at four principal axes
    >>> narrows.plots.model_filters(model).shape
    (4, 8, 8)
    """
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
        raise ParameterError(f"n={n!r} is not allowed; give a whole number of at least 1")
    encoder = model.split()[0]
    spec = encoder.spec
    if not spec.shows_pictures:
        raise DataError(
            f"this model learned from rows of shape {spec.sample_shape}, and its weights are "
            "no pictures; use one that learned from pictures"
        )
    if spec.definition.filters is None:
        raise DataError(
            f"architecture={spec.architecture!r} has no weights that are pictures; use a model of "
            "another one, such as 'dense' or 'convolutional'"
        )
    weights: NDArray[np.float32] = (
        spec.definition.filters(encoder.module, spec).detach().cpu().numpy()
    )
    return weights[:n]


def _draw_grid(
    pixels: NDArray[np.uint8],
    columns: int | None,
    captions: Sequence[str] | None,
    ax: "Axes | None",
) -> "Axes":
    """Draw pixels (n, H, W, 3) in columns, by default in about a square."""
    if columns is None:
        n, height, width = pixels.shape[:3]
        columns = min(n, math.ceil(math.sqrt(n * height / width)))
    if not isinstance(columns, int | np.integer) or columns < 1:
        raise ParameterError(
            f"columns={columns!r} is not allowed; give a whole number of at least 1"
        )
    columns = min(int(columns), len(pixels))
    return _draw(pixels, columns, names=None, captions=captions, ax=ax)


def _draw(
    pixels: NDArray[np.uint8],
    columns: int,
    *,
    names: Sequence[str] | None,
    captions: Sequence[str] | None,
    ax: "Axes | None",
) -> "Axes":
    from matplotlib.colors import to_rgb

    if captions is not None and len(captions) != columns:
        raise DataError(
            f"there are {len(captions)} captions for {columns} columns; give one for each"
        )
    n, height, width = pixels.shape[:3]
    lines = -(-n // columns)
    ratio = lines * height / (columns * width)
    ax = axes_or_new(ax, ratio=_ratio(ratio, names=bool(names), captions=bool(captions)))
    gap = max(1, round(_TILE_GAP * max(height, width)))
    ax.imshow(_tile(pixels, columns, gap, to_rgb(ax.figure.get_facecolor())))
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    ax.set(xticks=[], yticks=[])
    if names is not None:
        middles = np.arange(lines) * (height + gap) + (height - 1) / 2
        ax.set_yticks(middles, [printable(name) for name in names], parse_math=False)
    if captions is not None:
        middles = np.arange(columns) * (width + gap) + (width - 1) / 2
        captions = [printable(caption) for caption in captions]
        ax.set_xticks(middles, captions, parse_math=False)
        _fit(ax, captions, 1 / ratio)
    return ax


def _ratio(pictures: float, *, names: bool, captions: bool) -> float:
    """Return a new figure's height by width, for pictures of this height by width."""
    from matplotlib import rcParams

    width: float = rcParams["figure.figsize"][0]
    inside = max(width / 2, width - _BESIDE * names)
    return min(_TALLEST, (inside * pictures + _BELOW * captions) / width)


def _fit(ax: "Axes", captions: Sequence[str], aspect: float) -> None:
    """Break captions, write them smaller, or aslant, where they would overlap."""
    from matplotlib.textpath import text_to_path

    font = ax.get_xticklabels()[0].get_fontproperties().copy()

    def width(words: str) -> float:
        return max(
            float(text_to_path.get_text_width_height_descent(line, font, False)[0])
            for line in words.split("\n")
        )

    box, figure = ax.get_position(), ax.figure.bbox
    inside = min(box.width * figure.width, box.height * figure.height * aspect)
    room = _LAID_OUT * inside / ax.figure.dpi * _POINTS / len(captions)
    if max(map(width, captions)) > room:
        broken = [caption.replace(" ", "\n") for caption in captions]
        share = room / max(1e-9, *map(width, broken))
        aslant = share < _SMALLEST
        ax.set_xticklabels(captions if aslant else broken, parse_math=False)
        for label in ax.get_xticklabels():
            label.set_fontsize(font.get_size() * min(1, max(_SMALLEST, share)))
            if aslant:
                label.set(rotation=45, ha="right", va="top", rotation_mode="anchor")


def _tile(pixels: NDArray[np.uint8], columns: int, gap: int, between: Any) -> NDArray[np.uint8]:
    """Lay out pictures (n, H, W, 3), one line of columns after another, as one image in RGBA.

    The gaps are transparent; their colour counts where edges are smoothed.
    """
    n, height, width = pixels.shape[:3]
    lines = -(-n // columns)
    image = np.zeros((lines * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    image[..., :3] = np.round(255 * np.asarray(between)).astype(np.uint8)
    for place, picture in enumerate(pixels):
        line, column = divmod(place, columns)
        top, left = line * (height + gap), column * (width + gap)
        tile = image[top : top + height, left : left + width]
        tile[..., :3], tile[..., 3] = picture, 255
    return image


def _as_pictures(name: str, given: ArrayLike) -> NDArray[Any]:
    """Return pictures (n, H, W) or (n, H, W, 3 or 4); raise a DataError if they are not finite."""
    pictures = np.asarray(given)
    if pictures.ndim == 4 and pictures.shape[-1] == 1:
        pictures = pictures[..., 0]
    if pictures.ndim not in (3, 4) or not is_picture_shape(pictures.shape[1:]):
        moved = f": {last_axis_call(pictures.shape)}" if channels_first(pictures.shape[1:]) else ""
        raise DataError(
            f"{name} has the shape {np.shape(given)}; give pictures of shape (n, height, width) or "
            f"(n, height, width, 1, 3 or 4){moved}"
        )
    if pictures.size == 0:
        raise DataError(f"{name} has the shape {np.shape(given)}; give at least one picture")
    if not is_numeric(pictures.dtype):
        raise DataError(f"{name} holds {pictures.dtype}, which are no numbers; give pixels")
    if not np.isfinite(pictures).all():
        row = int(np.argwhere(~np.isfinite(pictures))[0][0])
        raise DataError(f"{name} holds NaN or infinity in picture {row} (from 0); give finite ones")
    return pictures


def value_range(pictures: NDArray[Any]) -> tuple[float, float]:
    """Guess the values of black and white, which pictures that are shown together share."""
    if pictures.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(pictures.min()), float(pictures.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _check_limits(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the values of black and white; raise a ParameterError if they are not ascending."""
    low, high = limits
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ParameterError(
            f"limits={limits!r} are not allowed; give the values of black and white, the smaller "
            "one first"
        )
    return float(low), float(high)


def _shades(pictures: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Turn pictures (n, H, W[, 3 or 4]) into 8-bit RGB on white, (n, H, W, 3)."""
    low, high = limits
    if pictures.dtype != np.uint8 or limits != (0, 255):
        share = (pictures.astype(np.float32) - low) / max(high - low, 1e-12)
        pictures = np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)
    if pictures.ndim == 3:
        pictures = np.repeat(pictures[..., None], 3, axis=-1)
    if pictures.shape[-1] == 4:
        opacity = pictures[..., 3:].astype(np.uint32)
        pictures = ((pictures[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255).astype("u1")
    return pictures


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
        """The picture decoded from its code; not looked at where queries are not decoded."""


def contact_sheet(
    queries: Sequence[NDArray[Any]] | NDArray[Any],
    decoded: Sequence[NDArray[Any]] | NDArray[Any] | None,
    matches: Sequence[Sequence[Shown]],
    *,
    names: Sequence[str] | None = None,
    label: Callable[[str], str] | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "Nearest pictures by code",
) -> "Figure":
    """Draw each query beside its nearest pictures, and below each what its code decodes to.

    Pictures keep their proportions; what is decoded is drawn in those of its picture.

    Parameters
    ----------
    queries : sequence of n arrays of shape (H, W) or (H, W, C)
        The queries, of one size or of several.
    decoded : sequence of n arrays, or None
        Their reconstructions by the model; None draws the pictures alone.
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
    for query in queries:
        if query.ndim not in (2, 3) or not is_picture_shape(query.shape):
            raise DataError(
                f"a contact sheet shows pictures, and these samples have the shape {query.shape}; "
                "use a model trained on pictures of shape (height, width) or (height, width, 3)"
            )
    names = list(names) if names is not None else [f"query {i}" for i in range(len(queries))]
    n_matches = max(len(nearest) for nearest in matches)
    sizes = [query.shape[:2] for query in queries]
    sizes += [match.picture.shape[:2] for nearest in matches for match in nearest]
    limits = limits or value_range(np.concatenate([np.ravel(query) for query in queries]))
    sheet = _Sheet(len(queries), n_matches, sizes, 1 if decoded is None else 2, limits)
    sheet.headings(title)
    for block, nearest in enumerate(matches):
        own = label(names[block]) if label else None
        sheet.sides(block)
        restored = None if decoded is None else decoded[block]
        sheet.stack(block, 0, queries[block], restored, INK)
        sheet.caption(block, 0, own or PurePath(names[block]).name, "", INK)
        for column, match in enumerate(nearest, 1):
            theirs = label(match.path) if label else None
            colour = NEUTRAL if label is None else SAME if theirs == own else OTHER
            restored = None if decoded is None else match.decoded
            sheet.stack(block, column, match.picture, restored, colour)
            name = theirs or PurePath(match.path).name
            sheet.caption(block, column, name, _figure(match.distance), colour)
    sheet.foot(with_labels=label is not None)
    return sheet.figure


class _Sheet:
    """A figure, and the places of things on it, in inches from its top left corner."""

    def __init__(
        self,
        n_queries: int,
        n_matches: int,
        sizes: Sequence[tuple[int, ...]],
        n_lines: int,
        limits: tuple[float, float],
    ) -> None:
        from matplotlib.figure import Figure

        self._n_queries, self._n_matches, self._limits = n_queries, n_matches, limits
        self._n_lines = n_lines
        self._smooth = max(map(max, sizes)) >= _SMALLEST_SMOOTH_SIDE
        self._cell = _CELL if self._smooth else _SMALL_CELL
        tallest = max(height / width for height, width in sizes)
        self._cell_height = self._cell * min(1, max(0.4, tallest))
        self._panel_width = _SIDE + (n_matches + 1) * self._cell + n_matches * _GAP + _QUERY_GAP
        self._n_panels = 2 if n_queries > 3 and self._panel_width <= _TWO_PANELS else 1
        self._n_rows = -(-n_queries // self._n_panels)
        self._block_height = n_lines * (self._cell_height + _GAP) - _GAP + _CAPTION
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
                left, top = self._corner(first, column, 0)
                word = ("query", "nearest")[column] if column < 2 else _ordinal(column)
                self._text(
                    left + self._cell / 2, top - 0.12, word, size=8, color=FAINT, ha="center"
                )

    def sides(self, block: int) -> None:
        """Write what the lines of a block show."""
        for line, words in enumerate(("original", "from\nits code")[: self._n_lines]):
            left, top = self._corner(block, 0, line)
            middle = top + self._cell_height / 2
            self._text(left - 0.10, middle, words, size=7.5, color=FAINT, ha="right")

    def stack(
        self,
        block: int,
        column: int,
        picture: NDArray[Any],
        decoded: NDArray[Any] | None,
        colour: str,
    ) -> None:
        """Show a picture, and below it what its code decodes to; column 0 is the query."""
        ratio = picture.shape[0] / picture.shape[1]
        for line, pixels in enumerate((picture,) if decoded is None else (picture, decoded)):
            axes = self._show(pixels, ratio, *self._corner(block, column, line))
            for spine in axes.spines.values():
                spine.set(edgecolor=colour, linewidth=2.0 if colour in (SAME, OTHER) else 0.8)
                # The frames differ without colour, too.
                spine.set(linestyle=(0, (2, 1)) if colour == OTHER else "-", capstyle="butt")

    def caption(self, block: int, column: int, first: str, second: str, colour: str) -> None:
        """Write two lines below what is shown."""
        left, top = self._corner(block, column, self._n_lines - 1)
        middle, below = left + self._cell / 2, top + self._cell_height
        colour = INK if colour == NEUTRAL else colour
        first = _short(first, round(_LETTERS * self._cell))
        self._text(middle, below + 0.11, first, color=colour, size=7, ha="center")
        self._text(middle, below + 0.24, second, color=FAINT, size=7, ha="center")

    def foot(self, *, with_labels: bool) -> None:
        """Write the explanation of figures and frames."""
        lines = ["Figures under the pictures: distance from the query."]
        if with_labels:
            lines.append("Solid blue frame: the query's class; dashed orange frame: another.")
        top = self._height - _MARGIN - 0.10
        self._text(_MARGIN, top, "\n".join(lines), size=7.5, color=FAINT, linespacing=1.5)

    def _corner(self, block: int, column: int, line: int) -> tuple[float, float]:
        """Return the upper left corner of a cell."""
        panel, row = divmod(block, self._n_rows)
        left = _MARGIN + panel * (self._panel_width + _PANEL_GAP) + _SIDE
        left += column * (self._cell + _GAP) + (_QUERY_GAP if column else 0)
        top = _MARGIN + _TITLE + _HEADINGS + row * (self._block_height + _BLOCK_GAP)
        return left, top + line * (self._cell_height + _GAP)

    def _show(self, pixels: NDArray[Any], ratio: float, left: float, top: float) -> "Axes":
        """Show pixels in the middle of a cell, of this height by width."""
        wide = min(self._cell, self._cell_height / ratio)
        tall = wide * ratio
        left += (self._cell - wide) / 2
        top += (self._cell_height - tall) / 2
        x, y = left / self._width, 1 - (top + tall) / self._height
        axes = self.figure.add_axes((x, y, wide / self._width, tall / self._height))
        axes.set(xticks=[], yticks=[])
        low, high = self._limits
        if pixels.ndim == 3 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        shown = np.clip((np.asarray(pixels, np.float32) - low) / max(high - low, 1e-12), 0, 1)
        interpolation = "antialiased" if self._smooth else "nearest"
        axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation=interpolation, aspect="auto")
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


def _short(name: str, width: int) -> str:
    """Return a name without its middle where it is too long."""
    # One character for each: escapes, as used elsewhere, would leave no room for the name.
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return name if len(name) <= width else f"{name[: width - 8]}…{name[-7:]}"
