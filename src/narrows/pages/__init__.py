"""Pages of HTML that show groups of pictures, each of which is one file.

Names of files may hold any text: they are escaped, and a page forbids the browser to run or to load
anything.
"""

from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.texts import printable

if TYPE_CHECKING:
    from jinja2 import Template

SIDE = 208
"""Pixels of a picture's sides at most, as wide as pages show it."""

_SMALL = 64  # pixels of a side up to which a page shows every one of them


def template(part: str, name: str, **filters: Callable[..., Any]) -> "Template":
    """Return a part's template, which may include ``top.html`` and import from ``frame.html``.

    Parameters
    ----------
    part : str
        The part of Narrows that has the template.
    name : str
        The name of its file.
    **filters : callable
        Filters of its own.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("narrows", place) for place in (part, "pages")]),
        autoescape=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "counted": lambda count, noun: f"{count:,} {noun}{'' if count == 1 else 's'}",
        "printable": printable,
        **filters,
    }
    return environment.get_template(name)


def as_image(pixels: NDArray[np.uint8]) -> tuple[str, str]:
    """Return the format and the file, as base64, of pixels (H, W) or (H, W, 3).

    Examples
    --------
    >>> as_image(np.zeros((8, 8), np.uint8))[0], as_image(np.zeros((80, 9), np.uint8))[0]
    ('png', 'jpeg')
    """
    kind, options = ("png", {}) if max(pixels.shape[:2]) <= _SMALL else ("jpeg", {"quality": 80})
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return kind, b64encode(file.getvalue()).decode()
