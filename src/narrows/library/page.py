"""Groups of near-identical pictures as a page to look at, in one file that needs no network.

Whatever a library says is text of strangers: it is escaped, and the page forbids itself to run or
to load anything.
"""

from base64 import b64encode
from collections.abc import Iterator
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from narrows.data.text import printable
from narrows.errors import NarrowsError
from narrows.library.duplicates import Duplicates
from narrows.library.match import Match

_SHOWN = 60  # pictures of one group; the rest are counted
_SMALL = 64  # pixels of a side up to which every one of them is to be seen

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --quiet: #666; --card: #fff; --page: #f4f4f2; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --quiet: #aaa; --card: #232323; --page: #171717; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 75rem; padding: 1.5rem 1rem 3rem; background: var(--page);
  font: 1rem/1.45 system-ui, sans-serif; }}
h1 {{ font-size: 1.4rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1rem; margin: 0 0 .75rem; }}
h2 span, header p {{ color: var(--quiet); font-weight: 400; }}
header p {{ margin: 0 0 1.5rem; max-width: 45rem; }}
section {{ background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: 1rem; margin: 0 0 1rem; }}
ul {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem;
  list-style: none; margin: 0; padding: 0; }}
li {{ min-width: 0; font-size: .8rem; }}
.frame {{ display: grid; place-items: center; aspect-ratio: 4 / 3; margin: 0 0 .4rem;
  background: #8881; border-radius: .25rem; color: var(--quiet); }}
img {{ width: 100%; height: 100%; min-height: 0; object-fit: contain; }}
img.small {{ image-rendering: pixelated; }}
li b, li span {{ display: block; overflow-wrap: anywhere; }}
li b {{ font-weight: 500; }}
li span {{ color: var(--quiet); font-variant-numeric: tabular-nums; }}
li i {{ font-style: normal; white-space: nowrap; }}
</style>
</head>
<body>
"""


def draw(found: Duplicates, *, name: str, count: int) -> Iterator[str]:
    """Write the page, piece by piece.

    Parameters
    ----------
    found : Duplicates
        The groups.
    name : str
        What the library is called.
    count : int
        How many pictures it has.

    Yields
    ------
    str
        HTML.

    Examples
    --------
    >>> from narrows.library.duplicates import Duplicates
    >>> from narrows.library.page import draw
    >>> page = "".join(draw(Duplicates(0.5, []), name="<holidays>", count=7))
    >>> "<h1>Near-identical pictures in &lt;holidays&gt;</h1>" in page
    True
    """
    title = f"Near-identical pictures in {_text(name)}"
    yield _HEAD.format(title=title)
    pictures = sum(map(len, found.groups))
    yield (
        f"<header><h1>{title}</h1>\n<p>{_number(len(found.groups), 'group')} of "
        f"{_number(pictures, 'picture')} among {count:,}, whose codes are at most "
        f"{found.threshold:.4g} apart{_confirmed(found.confirmed)}. Distances are to the first of "
        "the group. Nothing was changed or removed.</p></header>\n<main>\n"
    )
    for number, group in enumerate(found.groups):
        size = _number(len(group), "picture")
        yield f"<section><h2>Group {number} <span>{size}</span></h2>\n<ul>\n"
        yield from map(_item, group[:_SHOWN])
        yield "</ul>\n"
        if len(group) > _SHOWN:
            yield f"<p>and {len(group) - _SHOWN:,} more</p>\n"
        yield "</section>\n"
    if not found.groups:
        yield "<section>No two pictures are that near to each other.</section>\n"
    yield "</main>\n</body>\n</html>\n"


def _item(match: Match) -> str:
    folder, slash, name = match.path.rpartition("/")
    return (
        f'<li><div class="frame">{_image(match)}</div><b>{_text(name)}</b>'
        f"<span>id {match.id} \N{MIDDLE DOT} <i>distance {match.distance:.3g}</i></span>"
        f"<span>{_text(folder + slash)}</span></li>\n"
    )


def _image(match: Match) -> str:
    try:
        pixels = match.thumbnail
    except NarrowsError:
        return "no thumbnail"
    kind, options = ("PNG", {}) if max(pixels.shape) <= _SMALL else ("JPEG", {"quality": 80})
    source = f"data:image/{kind.lower()};base64,{_file(pixels, kind, options)}"
    style = ' class="small"' if kind == "PNG" else ""
    return f'<img{style} alt="" src="{source}">'


def _file(pixels: NDArray[np.uint8], kind: str, options: dict[str, int]) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return b64encode(file.getvalue()).decode()


def _text(name: str) -> str:
    return escape(printable(name))


def _confirmed(pairs: int) -> str:
    return f", or whose pixels are those of one picture ({_number(pairs, 'pair')})" * bool(pairs)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
