"""How soon the page shows what it is asked for, in Chromium without a GPU.

    python benchmarks/web_page.py LIBRARY [--points N ...] [--rounds 9] [--photo FILE]

Milliseconds of the wall clock, in the median of the rounds and at most; needs `playwright` and a
`chromium` on the path. The first map counts from opening the page, the others from the event of
mouse or key to the frame after its result: thumbnails with the 90 ms for which one has to stay on a
point, moving as the mean of 20 frames in each of which the map moves. With --points, the server's
map is replaced by N points drawn at random. A photo of 12 megapixels is drawn unless one is given.
"""

import argparse
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from browser import chromium, serving
from PIL import Image

SEED = 0
# Does something, looks after each frame whether its result is there, and says how long that took.
UNTIL = """async ([act, done, ...given]) => {
  const $ = name => document.querySelector(name), start = performance.now();
  const frame = () => new Promise(requestAnimationFrame);
  const send = (on, event) => $(on).dispatchEvent(event);
  const matches = () => [...document.querySelectorAll(".match .gallery:not(.small) img")]
    .filter(one => one.getBoundingClientRect().top < innerHeight);
  const whole = one => one && one.complete && one.naturalWidth;
  const old = $(".decoded")?.src;
  const acts = {
    hover: (clientX, clientY) => send(".frame",
      new PointerEvent("pointermove", {clientX, clientY, pointerType: "mouse", bubbles: true})),
    move: async () => {
      for (let i = 0; i < 20; i++) {
        send(".frame", new KeyboardEvent("keydown", {key: i % 2 ? "ArrowLeft" : "ArrowRight"}));
        await frame();
      }
    },
    slide: value => {
      $(".sliders input").value = value;
      send(".sliders input", new Event("input"));
    },
    drop: text => {
      const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], "photo", {type: "image/*"}));
      send("main", new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer}));
    },
  };
  const dones = {
    ring: () => $(".frame").dataset.at !== "",
    thumbnail: () => whole($(".about:not([hidden]) img")),
    moved: () => true,
    decoded: () => $(".decoded").src !== old && whole($(".decoded")),
    matched: () => matches().length && matches().every(whole),
  };
  await acts[act](...given);
  do await frame(); while (!dones[done]());
  return performance.now() - start;
}"""


def note(what, milliseconds, goal=""):
    print(f"| {what} | {median(milliseconds):.0f} | {max(milliseconds):.0f} | {goal} |", flush=True)


def opened(browser, address, view, there, points=None):
    """Open a view; gives its page, and the milliseconds until something was there."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    if points:
        lay(page, points)
    start = perf_counter()
    page.goto(f"{address}/#/{view}")
    page.locator(there).first.wait_for()
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return page, 1000 * (perf_counter() - start)


def lay(page, n):
    """Stand in for the server's map: n points in fifty heaps."""
    generator = np.random.default_rng(SEED)
    middles = generator.uniform(-0.8, 0.8, (50, 2))
    kinds = generator.integers(0, 10, n).astype("u1")
    places = middles[generator.integers(0, 50, n)] + generator.normal(0, 0.05, (n, 2))
    x, y = np.clip(places, -1, 1).astype("<f4").T
    legend = {"count": n, "state": "final", "kind": "categories", "min": None, "max": None}
    legend["labels"] = [f"class {kind}" for kind in range(10)]
    ids = np.resize(np.arange(1000), n).astype("<u4").tobytes()
    body = x.tobytes() + y.tobytes() + kinds.tobytes()
    page.route("**/api/map?*", lambda r: r.fulfill(body=body, headers={"X-Map-State": "final"}))
    page.route("**/api/map/ids*", lambda r: r.fulfill(body=ids))
    page.route("**/api/map/legend*", lambda r: r.fulfill(json=legend))


def measure_map(browser, address, rounds, points):
    name = f"{points:,} points" if points else "the library's points"
    there, firsts = ".frame[data-state=preview], .frame[data-state=final]", []
    for _ in range(rounds):
        page, taken = opened(browser, address, "map", there, points)
        firsts.append(taken)
        page.close()
    note(f"first map, {name}", firsts, "" if points else "2000")
    page, _ = opened(browser, address, "map", there, points)
    page.locator(".frame[data-state=final]").wait_for(timeout=300_000)
    rings, thumbnails, generator = [], [], np.random.default_rng(SEED)
    box = page.locator(".frame").bounding_box()
    while len(thumbnails) < rounds:
        x = box["x"] + box["width"] * generator.uniform(0.3, 0.7)
        y = box["y"] + box["height"] * generator.uniform(0.1, 0.9)
        page.mouse.move(x, y)
        there = page.locator(".frame").get_attribute("data-at")
        page.mouse.move(2, 2)
        if there:
            rings.append(page.evaluate(UNTIL, ["hover", "ring", x, y]))
            page.mouse.move(3, 3)
            page.mouse.move(2, 2)
            thumbnails.append(page.evaluate(UNTIL, ["hover", "thumbnail", x, y]))
            page.mouse.move(3, 3)
    note(f"ring under the pointer, {name}", rings, "50")
    note(f"thumbnail, {name}", thumbnails)
    moves = [page.evaluate(UNTIL, ["move", "moved"]) / 20 for _ in range(rounds)]
    note(f"a frame of moving, {name}", moves)
    page.close()


def measure_slider(browser, address, rounds):
    page, _ = opened(browser, address, "latent", ".decoded[src^=blob]")
    slider, slides = page.locator(".sliders input").first, []
    low, high = (float(slider.get_attribute(name)) for name in ("min", "max"))
    for turn in range(rounds):
        value = low + (high - low) * (turn + 1) / (rounds + 1)
        slides.append(page.evaluate(UNTIL, ["slide", "decoded", value]))
    note("decoded picture after a slider", slides, "50")
    page.close()


def measure_drops(browser, address, rounds, content, what):
    drops = []
    for _ in range(rounds):
        page, _ = opened(browser, address, "match", ".gallery.small img")
        page.wait_for_load_state("networkidle")
        drops.append(page.evaluate(UNTIL, ["drop", "matched", b64encode(content).decode()]))
        page.close()
    note(f"nearest pictures after a drop, {what}", drops, "300")


def photo():
    generator = np.random.default_rng(SEED)
    rough = Image.fromarray(generator.integers(0, 256, (75, 100, 3), np.uint8))
    return rough.resize((4000, 3000), Image.Resampling.BICUBIC)


def stored(image, kind):
    content = BytesIO()
    image.save(content, kind)
    return content.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("--points", type=int, nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--photo", type=Path)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    large = arguments.photo.read_bytes() if arguments.photo else stored(photo(), "JPEG")
    small = stored(photo().convert("L").resize((28, 28)), "PNG")
    with serving(arguments.library) as address, chromium() as browser:
        print("| what | ms | at most | goal |\n| --- | ---: | ---: | ---: |")
        for points in [None, *arguments.points]:
            measure_map(browser, address, rounds, points)
        measure_slider(browser, address, rounds)
        measure_drops(browser, address, rounds, small, "28 x 28 pixels")
        measure_drops(browser, address, rounds, large, "12 megapixels")


if __name__ == "__main__":
    main()
