"""A page of sentences, tables and plots in one file, which needs no script and no network."""

import json
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from narrows.atomic import atomic_folder
from narrows.evaluation.verdict import Finding
from narrows.texts import as_utf8

# Inches; at 130 dots each a picture is as wide as half a page, and legible on a telephone.
_WIDTH, _HEIGHT, _DOTS = 5.2, 3.7, 130
# The height, in inches, of a line with a name, and of what is above and below all lines.
_LINE, _AROUND = 0.19, 1.2


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
    """

    name: str
    title: str
    words: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)

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
