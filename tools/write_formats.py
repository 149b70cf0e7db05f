"""Write the lists of formats in README.md anew, from narrows.data.formats.

    python tools/write_formats.py

A list stands between comments, <!-- tables --> and <!-- / -->.
"""

import re
from pathlib import Path

from narrows.data.formats import COMPRESSED_SUFFIXES, FORMATS, TEXT_SUFFIXES

README = Path(__file__).parents[1] / "README.md"


def code(texts):
    """List texts as code."""
    return ", ".join(f"`{text}`" for text in texts)


def lists():
    """Return the lists by the names that comments in the page give them."""
    pictures = [one for one in FORMATS if "pictures" in one.kinds]
    suffixes = [suffix for one in FORMATS for suffix in one.suffixes]
    return {
        "pictures": ", ".join(one.name for one in pictures if not one.needs),
        "photos": " and ".join(one.name for one in pictures if one.needs),
        "text tables": code(suffix for suffix in suffixes if suffix in TEXT_SUFFIXES),
        "compressed": code(sorted(COMPRESSED_SUFFIXES)),
        "sounds": code(s for one in FORMATS if one.kinds == ("signals",) for s in one.suffixes),
    }


def written(page):
    """Return a page with its lists written anew; fail if one is missing."""
    for name, text in lists().items():
        page, count = re.subn(
            rf"(<!-- {name} -->).*?(<!-- / -->)", lambda at, text=text: at[1] + text + at[2], page
        )
        if count != 1:
            raise ValueError(f"{README.name} has {count} lists of {name}, not one")
    return page


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")
