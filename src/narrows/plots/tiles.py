"""Pictures side by side: what was given, what was restored, what was made up."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.data.text import printable
from narrows.errors import DataError, ParameterError
from narrows.plots.given import as_pictures
from narrows.plots.pixels import Tiles, check_limits, shades, value_range
from narrows.plots.style import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# By how much captions may shrink to fit, and what the layout leaves of the width for them.
_SMALLEST, _LAID_OUT = 0.75, 0.8
_POINTS = 72
# What the names and captions of a new figure take, in inches.
_BESIDE, _BELOW = 0.9, 0.3
_TALLEST = 2.0  # times its width


def pictures(
    rows: Mapping[str, ArrayLike],
    *,
    captions: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw lines of pictures, each with a name: originals, what is restored of them, and so on.

    Parameters
    ----------
    rows : mapping of str to array-like of shape (n, H, W) or (n, H, W, C)
        The lines from the top down, by the names that stand at their left. C is 1 or 3.
    captions : sequence of n str, optional
        Stand under the columns.
    limits : (float, float), optional
        The values of black and white, beyond which values are cut off; by default 0 and 255 for
        uint8, 0 and 1 for values between these, and otherwise the first line's smallest and largest
        value.
    ax : Axes, optional
        Where to draw; by default on axes of a new figure.

    Returns
    -------
    Axes
        With one image, whose pixels are the pictures'.

    Raises
    ------
    DataError
        If there is nothing to draw, the rows are not pictures, or the lines differ in their size or
        number.
    ParameterError
        If the limits are none, or ``ax`` is no Axes.

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
    lines = {str(name): as_pictures(f"'{name}'", given) for name, given in rows.items()}
    first_name, first = next(iter(lines.items()))
    for name, line in lines.items():
        if line.shape[:3] != first.shape[:3]:
            raise DataError(
                f"'{name}' has {len(line)} pictures of {line.shape[1]} x {line.shape[2]} pixels, "
                f"'{first_name}' {len(first)} of {first.shape[1]} x {first.shape[2]}; give as many "
                "of the same size"
            )
    limits = check_limits(limits) if limits is not None else value_range(first)
    pixels = np.concatenate([shades(line, limits) for line in lines.values()])
    return _draw(pixels, len(first), names=list(lines), captions=captions, ax=ax)


def picture_grid(
    pictures: ArrayLike,
    *,
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw pictures in a grid, line by line: samples that a model made up, say.

    Parameters
    ----------
    pictures : array-like of shape (n, H, W) or (n, H, W, C)
        C is 1 or 3.
    columns : int, optional
        Pictures in a line; by default so many that the grid is about square.
    captions : sequence of str, optional
        Stand under the columns, one for each.
    limits : (float, float), optional
        The values of black and white; by default as for :func:`pictures`.
    ax : Axes, optional
        Where to draw; by default on axes of a new figure.

    Returns
    -------
    Axes
        With one image, whose pixels are the pictures'.

    Raises
    ------
    DataError
        If the samples are not pictures, or there are none.
    ParameterError
        If the limits or columns cannot be, or ``ax`` is no Axes.

    Examples
    --------
    >>> import numpy as np
    >>> import narrows
    >>> ax = narrows.plots.picture_grid(np.random.default_rng(0).random((9, 8, 8)))
    >>> ax.images[0].get_array().shape  # three tiles of eight pixels, and a gap of one between
    (26, 26, 4)
    """
    shown = as_pictures("the array", pictures)
    limits = check_limits(limits) if limits is not None else value_range(shown)
    return draw_grid(shades(shown, limits), columns, captions, ax)


def draw_grid(
    pixels: NDArray[np.uint8],
    columns: int | None,
    captions: Sequence[str] | None,
    ax: "Axes | None",
) -> "Axes":
    """Draw pixels (n, H, W, 3) in so many columns, or about a square."""
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
    lines = -(-len(pixels) // columns)
    ratio = lines * pixels.shape[1] / (columns * pixels.shape[2])
    ax = axes_or_new(ax, ratio=_ratio(ratio, names=bool(names), captions=bool(captions)))
    tiles = Tiles(pixels, columns, to_rgb(ax.figure.get_facecolor()))
    ax.imshow(tiles.image)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
    ax.set_xticks([])
    ax.set_yticks([])
    if names is not None:
        middles = [tiles.corner(columns * i)[1] + (tiles.height - 1) / 2 for i in range(lines)]
        ax.set_yticks(middles, [printable(name) for name in names], parse_math=False)
    if captions is not None:
        middles = [tiles.corner(i)[0] + (tiles.width - 1) / 2 for i in range(columns)]
        captions = [printable(caption) for caption in captions]
        ax.set_xticks(middles, captions, parse_math=False)
        _fit(ax, captions, 1 / ratio)
    return ax


def _ratio(pictures: float, *, names: bool, captions: bool) -> float:
    """Return what a new figure's height is to its width, for pictures of such a shape."""
    from matplotlib import rcParams

    width: float = rcParams["figure.figsize"][0]
    inside = max(width / 2, width - _BESIDE * names)
    return min(_TALLEST, (inside * pictures + _BELOW * captions) / width)


def _fit(ax: "Axes", captions: Sequence[str], aspect: float) -> None:
    """Break captions, write them smaller, or aslant, where they would run into each other."""
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
