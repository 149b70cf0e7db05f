"""Pages in one file, which needs no network: sentences, tables and plots, or an interactive map.

Names and labels are untrusted text: they are on a map's page as data, never as markup, and its
content security policy forbids it to load anything and to run anything but its own script.
"""

import json
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from narrows.atomic import atomic_folder
from narrows.data.depths import fits_png
from narrows.data.image_codec import opaque
from narrows.errors import DataError
from narrows.evaluation.maps import flat_rows, read_points
from narrows.evaluation.matching import groups_of
from narrows.evaluation.verdict import Finding
from narrows.texts import as_text, as_utf8, printable

# Inches; at 130 dots each a picture is as wide as half a page, and legible on a telephone.
_WIDTH, _HEIGHT, _DOTS = 5.2, 3.7, 130
# The height, in inches, of a line with a name, and of what is above and below all lines.
_LINE, _AROUND = 0.19, 1.2
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


@dataclass(frozen=True)
class Picture:
    """A plot on the page.

    Attributes
    ----------
    name : str
        The name of its file, without ``.png``.
    png : bytes
        The content of the file.
    caption : str
        A line that describes the plot.
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
        The name by which the verdict refers to it.
    title : str
        Its heading.
    words : list of str
        Sentences below the title; of a part that had to be left out, the reason.
    pictures : list of Picture
        Its plots.
    table : list of list of str
        Its table, the heading first; may be empty.
    texts : set of int
        The columns of the table, beside the first, that hold words; others hold numbers.
    """

    name: str
    title: str
    words: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    texts: set[int] = field(default_factory=set)

    def plot(
        self,
        name: str,
        caption: str,
        draw: Callable[..., object],
        *values: Any,
        tall: bool = False,
        tiles: bool = False,
        lines: int = 0,
        **options: Any,
    ) -> None:
        """Draw on the axes of a new figure, and add that as a picture.

        Parameters
        ----------
        name, caption : str
            The picture's.
        draw : callable
            Called as ``draw(*values, **options, ax=axes)``.
        tall : bool, default=False
            Whether the figure is a square.
        tiles : bool, default=False
            Whether pictures fill its width; what they leave of its height is cut off.
        lines : int, default=0
            The number of lines with names, for which it is made tall enough.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        height = max(_WIDTH if tall else _HEIGHT, _AROUND + _LINE * lines)
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(*values, **options, ax=figure.subplots())
        file = BytesIO()
        tight: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.05} if tiles else {}
        figure.savefig(file, format="png", dpi=_DOTS, **tight)
        self.pictures.append(Picture(name, file.getvalue(), caption))


class Page(ABC):
    """A title, a verdict, and the parts that it rests on.

    Attributes
    ----------
    title, subtitle : str
        The heading, of any text.
    notice : str
        A warning to be read before anything else; mostly empty.
    verdict : list of Finding
        The findings, in plain words.
    facts : list of (str, str)
        The most wanted figures, by name.
    parts : list of Part
        Plots, tables and sentences, drawn when first asked for.
    """

    title: str
    subtitle: str
    notice: str = ""
    verdict: list[Finding]
    facts: list[tuple[str, str]]

    @cached_property
    def parts(self) -> list[Part]:  # noqa: D102 (an attribute, described above)
        return self._make_parts()

    @abstractmethod
    def _make_parts(self) -> list[Part]:
        """Draw them."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Return figures and verdict as values for JSON."""

    def to_html(self) -> str:
        """Return the page: one file that needs no network and runs nothing."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("narrows", "evaluation"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=lambda value: as_utf8(value) if type(value) is str else value,
        )
        environment.filters["base64"] = lambda png: b64encode(png).decode()
        return environment.get_template("page.html").render(page=self)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``index.html``, each plot as a PNG file, and ``report.json``.

        Parameters
        ----------
        folder : str or Path
            The folder, which appears whole or not at all.
        overwrite : bool, default=False
            Whether a folder that already exists is replaced.

        Returns
        -------
        Path
            The page.

        Raises
        ------
        OutputExistsError, OutputError
            If the folder already exists, or cannot be written.
        """
        page, figures = self.to_html(), json.dumps(self.as_json(), indent=1, allow_nan=False)
        with atomic_folder(folder, overwrite=overwrite) as temporary:
            (temporary / "index.html").write_text(page, encoding="utf-8")
            (temporary / "report.json").write_text(figures, encoding="utf-8")
            for part in self.parts:
                for picture in part.pictures:
                    (temporary / f"{picture.name}.png").write_bytes(picture.png)
        return Path(folder) / "index.html"

    def _repr_html_(self) -> str:
        """Show the page inside a notebook, where its style touches nothing else."""
        page = escape(self.to_html(), quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:40rem;border:0"></iframe>'


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
