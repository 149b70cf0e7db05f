"""Every view of the page, wide and narrow, light and dark, as pictures to look at.

    python benchmarks/screenshots.py LIBRARY FOLDER [--training LOG] [--views map ...]

Needs `playwright` and a `chromium` on the path (or named by NARROWS_CHROMIUM).
"""

import argparse
from pathlib import Path

from browser import chromium, serving

# An address, what has to be there before the picture is taken, and what is pressed before that.
VIEWS = {
    "start": ("match", ".gallery img", None),
    "match": ("match?picture=5", ".gallery:not(.small) img", None),
    "map": ("map", ".frame[data-state=final]", None),
    "selection": ("map?picture=9", ".frame[data-state=final]", "Select what is in view"),
    "error": ("map?color=error", ".bar", None),
    "latent": ("latent", ".strip img >> nth=8", None),
    "denoise": ("denoise?picture=7", ".row img", None),
    "training": ("training", ".uplot, pre", None),
    "report": ("report", "iframe", None),
}
# Pictures that are on the screen, or all of a long one, come when they are looked at.
LOADED = """() => [...document.images].every(image => {
  const {top, bottom, width} = image.getBoundingClientRect();
  const seen = width > 0 && bottom > 0 && (top < innerHeight || image.loading !== "lazy");
  return !seen || (image.complete && image.naturalWidth > 0);
})"""


def draw(page, file, address, there, press):
    """Open a view, wait for its pictures, and draw it; narrow ones as long as they are."""
    page.goto("about:blank")
    page.goto(address)
    page.locator(there).first.wait_for(timeout=300_000)
    if press:
        page.get_by_role("button", name=press).click()
    narrow = page.viewport_size["width"] < 600
    if narrow:  # pictures are loaded as one comes to them
        for _ in range(12):
            page.mouse.wheel(0, 700)
            page.wait_for_timeout(60)
        page.evaluate("scrollTo(0, 0)")
    page.wait_for_function(LOADED, timeout=60_000)
    page.wait_for_timeout(300)  # for what moves to come to rest
    page.screenshot(path=file, full_page=narrow)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--training", help="a run's log")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    more = ["--training", arguments.training] if arguments.training else []
    with serving(arguments.library, *more) as address, chromium() as browser:
        for width in (1280, 400):
            for scheme in ("light", "dark"):
                size = {"width": width, "height": 860}
                page = browser.new_page(viewport=size, color_scheme=scheme)
                for view in arguments.views:
                    hash_, there, press = VIEWS[view]
                    file = arguments.folder / f"{view}-{width}-{scheme}.png"
                    draw(page, file, f"{address}/#/{hash_}", there, press)
                    print(file, flush=True)
                page.close()


if __name__ == "__main__":
    main()
