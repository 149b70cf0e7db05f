"""The page of noisy and restored pictures, read as HTML and in a real browser."""

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from browser_kit import CHROMIUM, watched
from PIL import Image

from narrows.evaluation import BesideClassics, restored_page
from narrows.evaluation.classics import CLASSICS

SEED = 20261130


@pytest.fixture(autouse=True)
def one_classic(monkeypatch):
    monkeypatch.setattr("narrows.evaluation.beside.installed_classics", lambda: (CLASSICS[:1], {}))


class Elements(HTMLParser):
    """The attributes of all elements with a name, in order."""

    def __init__(self, page, tag):
        super().__init__()
        self.tag, self.found = tag, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == self.tag:
            self.found.append(dict(attrs))


def images(page):
    found = []
    for image in Elements(page, "img").found:
        kind, data = image["src"].split(";base64,")
        drawn = np.asarray(Image.open(BytesIO(base64.b64decode(data))))
        assert kind in ("data:image/png", "data:image/jpeg")
        assert (int(image["height"]), int(image["width"])) == drawn.shape[:2]
        found.append((image["alt"], drawn))
    return found


def beside_of(shape=(200, 240), spoiled=(slice(40, 112), slice(150, 222)), **limits):
    """Make a picture of one shade with noise, of which the model spoils a part."""
    rng = np.random.default_rng(SEED)
    clean = np.full(shape, 100.0)
    noisy = clean + rng.normal(0, 10, shape)
    restored = clean.copy()
    restored[spoiled] += 60
    beside = BesideClassics()
    beside.add("one.png", noisy, restored, clean, **limits)
    return beside


def test_the_region_where_versions_differ_most_is_enlarged():
    page = restored_page(beside_of())
    first = next(
        element for element in Elements(page, "span").found if element.get("class") == "place"
    )
    sides = dict(re.findall(r"(\w+): ([\d.]+)%", first["style"]))
    assert {side: float(value) for side, value in sides.items()} == pytest.approx(
        {"left": 150 / 2.4, "top": 20, "width": 72 / 2.4, "height": 36}
    )
    names = [name for name, _ in images(page)]
    assert names == ["noisy", "restored", *["noisy", "restored", "clean", "total variation"] * 2]
    enlarged = images(page)[3][1]
    assert enlarged.shape == (288, 288)
    assert set(np.unique(enlarged)) == {160}
    assert set(np.unique(images(page)[4][1])) == {100}


def test_scores_and_levels_are_said():
    beside = beside_of()
    page = restored_page(beside, n_given=30)
    text = re.sub(r"<[^>]*>", " ", page.split("</head>")[1])
    assert "1 picture of 30" in text
    assert "240 \N{MULTIPLICATION SIGN} 200 pixels, values from 0 to 255" in text
    assert (
        f"Noise level (by the clean original): {beside.pictures[0].noise:.3g}, that is 3.9 %"
        in text
    )
    changed = beside.pictures[0].change
    assert f"changed the picture by {changed:.3g}" in text
    for name in ("model", "total variation", "noisy"):
        assert f"{beside.psnr[name]:.2f} dB" in text
    marked = re.findall(r'<tr class="best"><th scope="row">([\w ]+)</th>', page)
    assert marked == ["total variation"] * 2


def test_without_a_clean_picture_there_are_no_scores():
    noisy = np.random.default_rng(SEED).normal(100, 10, (40, 50))
    beside = BesideClassics()
    beside.add("one.png", noisy, np.full((40, 50), 100.0))
    page = restored_page(beside)
    assert " dB" not in page
    assert f"Noise level (estimated): {beside.pictures[0].noise:.3g}," in page
    assert "<table>" not in page
    assert [name for name, _ in images(page)][2:] == ["noisy", "restored", "total variation"]


def test_small_pictures_are_enlarged_whole_and_deep_ones_stretched():
    small = np.arange(28 * 20, dtype=np.uint16).reshape(28, 20) + np.uint16(3000)
    beside = BesideClassics()
    beside.add("small.tif", small, small, limits=(0, 65535))
    page = restored_page(beside)
    assert "contrast is stretched" in page
    assert "place" not in [element.get("class") for element in Elements(page, "span").found]
    drawn = images(page)[0][1]
    assert drawn.shape == (280, 200)
    assert (drawn.min(), drawn.max()) == (0, 255)
    assert (np.diff(drawn[5::10, 5].astype(int)) > 0).all()


def test_names_are_text_and_only_the_own_script_may_run():
    beside = BesideClassics()
    picture = np.zeros((20, 20), np.uint8)
    beside.add('<img src=x onerror="alert(1)">\n.png', picture, picture)
    beside.add("<b>tiny</b>", picture[:4], picture[:4])
    page = restored_page(beside, title="<script>alert(2)</script>")
    assert "<img src=x" not in page
    assert "<b>tiny" not in page
    scripts = re.findall(r"<script>(.*?)</script>", page)
    assert len(scripts) == 1
    digest = base64.b64encode(sha256(scripts[0].encode()).digest()).decode()
    policy = next(of["content"] for of in Elements(page, "meta").found if "content" in of)
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )


def test_a_picture_of_several_channels_shows_the_first():
    picture = np.zeros((20, 20, 5), np.uint8)
    picture[..., 0] = 200
    picture[::2, :, 0] = 100
    beside = BesideClassics()
    beside.add("five.tif", picture, picture)
    page = restored_page(beside)
    assert "The first of its 5 channels is shown" in page
    assert set(np.unique(images(page)[0][1])) == {100, 200}


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_and_its_line_moves(chromium, tmp_path, width):
    file = tmp_path / "page.html"
    file.write_text(restored_page(beside_of()), encoding="utf-8")
    address = file.as_uri()
    with watched(chromium, address, viewport={"width": width, "height": 800}) as page:
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        shape = page.evaluate(
            "[...document.images].map(i => [i.width / i.height, i.naturalWidth / i.naturalHeight])"
        )
        for shown, own in shape:
            assert shown == pytest.approx(own, rel=0.02)
        after = page.locator(".after")
        before = after.evaluate("image => getComputedStyle(image).clipPath")
        assert before == "inset(0px 0px 0px 50%)"
        slider = page.get_by_role("slider")
        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        moved = after.evaluate("image => getComputedStyle(image).clipPath")
        assert 80 < float(re.search(r"([\d.]+)%", moved)[1]) < 95
        slider.press("Home")
        assert "0%" in after.evaluate("image => image.parentNode.style.cssText")


def test_how_many_pictures_are_beside_classics_is_said_without_originals():
    noisy = np.random.default_rng(SEED).normal(128, 20, (24, 24))
    beside = BesideClassics()
    beside.add("a", noisy, restored=noisy / 2 + 64)
    assert any("1 of 100 pictures" in line for line in beside.lines(100))
    assert not any("evenly spaced" in line for line in beside.lines(1))
