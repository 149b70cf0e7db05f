"""A report as one page of sentences, tables and plots, which needs no script and no network."""

import json
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narrows.atomic import atomic_folder
from narrows.evaluation.report.verdict import Finding
from narrows.texts import as_utf8

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


class Page(ABC):
    """A title, a verdict, and the parts that it rests on.

    Attributes
    ----------
    title, subtitle : str
        Above all; any text.
    notice : str
        What has to be known before anything else is read; mostly empty.
    verdict : list of Finding
        In plain words.
    facts : list of (str, str)
        The figures that one looks for first, by name.
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
        """Draw."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Return figures and verdict as JSON can hold them."""

    def to_html(self) -> str:
        """Return the page: one file that needs no network and runs nothing."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("narrows.evaluation", "report"),
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
            Appears whole or not at all.
        overwrite : bool, default=False
            Whether a folder that is there already is replaced.

        Returns
        -------
        Path
            The page.

        Raises
        ------
        OutputExistsError, OutputError
            If the folder is there already, or cannot be written.
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
