"""A map as an interactive page, in one file that needs no network.

Names and labels are untrusted text: they are in the page as data, never as markup, and its content
security policy forbids it to load anything and to run anything but its own script.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import BytesIO
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from narrows.data.depths import fits_png
from narrows.data.image_codec import opaque
from narrows.errors import DataError
from narrows.evaluation.maps import flat_rows, read_points
from narrows.evaluation.matching import groups_of
from narrows.texts import as_text, printable

# Ten colours that all kinds of colour vision tell apart as far as possible: Okabe & Ito's, without
# black, which is invisible on a dark page, and yellow, which is hardly visible on a light one.
_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8A7F00", "#7F7F7F",
    "#5E3C99", "#8C510A",
)  # fmt: skip
_SHADES = 32
_MOST_POINTS = 200_000  # more than a browser draws while one moves the map
_MOST_NAMES = 400_000  # characters
_MOST_OF_SHEET = 2_600_000  # bytes of pictures, before base64 adds a third
_MOST_PIXELS = 2**24  # of the sheet, which every browser shows
_SIDES = (48, 40, 32, 28, 24, 20, 16)  # of thumbnails; too small ones show nothing
_QUALITY = 75


def map_page(
    points: ArrayLike,
    *,
    title: str,
    summary: str = "",
    labels: ArrayLike | None = None,
    values: ArrayLike | None = None,
    value: str = "value",
    names: Sequence[str] | None = None,
    pictures: NDArray[np.uint8] | None = None,
) -> str:
    """Draw a map as one HTML file: hovering describes a point, and scrolling zooms.

    Parameters
    ----------
    points : array-like of shape (n, 2)
        The place of each row. Of more than 200 000, so many are drawn, at random.
    title, summary : str
        The text above the map.
    labels : array-like of shape (n,), optional
        Classes to colour by, with a legend; choosing a class there shows it alone.
    values : array-like of shape (n,), optional
        Numbers to colour by, with a scale; labels take precedence.
    value : str, default="value"
        The name of the numbers.
    names : sequence of str, optional
        Names of the rows; left out where they are longer than 400 000 characters together.
    pictures : ndarray of uint8 and shape (n, H, W) or (n, H, W, C), optional
        Thumbnails shown beside the point; left out where they would take more than some megabytes.

    Returns
    -------
    str
        The page, of fewer than 5 MB.

    Raises
    ------
    DataError
        If the lengths differ from that of the points.

    Examples
    --------
    >>> page = map_page([[0, 0], [1, 2], [3, 1]], title="Three", labels=["a", "b", "<b>"])
    >>> "<title>Three</title>" in page, "<b>" in page.split("<script", 1)[1]
    (True, False)
    """
    places = read_points(points)
    optional: dict[str, Any] = {"values": values, "names": names, "pictures": pictures}
    for name, items in optional.items():
        if items is not None and len(items) != len(places):
            raise DataError(
                f"{len(items)} {name} were given for {len(places)} points; give one for each"
            )
    data: dict[str, Any] = {"colours": _COLOURS}
    n = len(places)
    rows = np.arange(n)
    if n > _MOST_POINTS:
        rows = np.sort(np.random.default_rng(0).permutation(n)[:_MOST_POINTS])
        summary = f"{summary} {_MOST_POINTS:,} of them are drawn.".strip()
        data["rows"] = rows.tolist()
    places = _whole_numbers(places[rows])
    data["places"] = _base64(places.tobytes())
    if labels is not None:
        classes, groups = groups_of(labels, n)
        groups = groups[rows]
        data |= {
            "classes": [printable(str(name)) for name in classes],
            "counts": np.bincount(groups, minlength=len(classes)).tolist(),
            "groups": _base64(groups.astype("<u2").tobytes()),
            "middles": [_middle(places[groups == g]) for g in range(len(classes))],
        }
    elif values is not None:
        data |= {"value": value, **_shaded(flat_rows(np.reshape(values, (-1, 1)), value)[rows, 0])}
    if names is not None and sum(map(len, names)) <= _MOST_NAMES:
        data["names"] = [printable(as_text(names[int(row)])) for row in rows]
    if pictures is not None and (sheet := _sheet(pictures[rows])) is not None:
        data["sheet"] = sheet
    here = files("narrows.evaluation")
    script = here.joinpath("map_page.js").read_text("utf-8")
    page = Template(here.joinpath("map_page.html").read_text("utf-8"))
    return page.substitute(
        title=escape(printable(title)),
        summary=escape(printable(summary)),
        hash=_base64(sha256(script.encode()).digest()),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _whole_numbers(places: NDArray[Any]) -> NDArray[np.uint16]:
    """Scale points, equally along both axes, to integers from 0 to 65 535."""
    low, high = places.min(axis=0), places.max(axis=0)
    scale = float((high - low).max()) or 1.0
    centred = (places - (low + high) / 2) / scale
    whole: NDArray[np.uint16] = np.rint((centred + 0.5) * 65535).clip(0, 65535).astype("<u2")
    return whole


def _middle(places: NDArray[np.uint16]) -> list[float]:
    return np.median(places, axis=0).tolist() if len(places) else [0.0, 0.0]


def _shaded(values: NDArray[Any]) -> dict[str, Any]:
    """Spread values over the colours, clipped to their 1st and 99th percentile."""
    from matplotlib import colormaps, rcParams
    from matplotlib.colors import to_hex

    low, high = (float(end) for end in np.quantile(values, (0.01, 0.99)))
    share = (values - low) / ((high - low) or 1.0)
    shades = (share * _SHADES).clip(0, _SHADES - 1).astype(np.uint8)
    ramp = colormaps[rcParams["image.cmap"]](np.linspace(0, 1, _SHADES))
    return {
        "shades": _base64(shades.tobytes()),
        "ramp": [to_hex(color) for color in ramp],
        "ends": [low, high],
        "values": [float(f"{value:.4g}") for value in values],
    }


def _sheet(pictures: NDArray[np.uint8]) -> dict[str, Any] | None:
    """Put thumbnails of the largest possible size on one sheet; None if there are too many."""
    if not fits_png(pictures[0]):
        return None
    n, longest = len(pictures), max(pictures.shape[1:3])
    columns = int(np.ceil(np.sqrt(n)))
    for side in (side for side in (longest, *_SIDES) if side <= min(longest, _SIDES[0])):
        if (columns * side) ** 2 > _MOST_PIXELS:
            continue
        grey = pictures.shape[3:] in ((), (1,))
        sheet = Image.new("L" if grey else "RGB", (columns * side,) * 2)
        for number, pixels in enumerate(pictures):
            picture = opaque(Image.fromarray(pixels.reshape(pixels.shape[:2]) if grey else pixels))
            picture.thumbnail((side, side), Image.Resampling.BOX)
            sheet.paste(picture, (number % columns * side, number // columns * side))
        file = BytesIO()
        sheet.save(file, "JPEG", quality=_QUALITY)
        if file.tell() <= _MOST_OF_SHEET:
            return {
                "columns": columns,
                "side": side,
                "width": sheet.width,
                "height": sheet.height,
                "source": f"data:image/jpeg;base64,{_base64(file.getvalue())}",
            }
    return None
