"""The page in a real browser: six jobs by mouse and by keyboard. The seed of models is 0."""

import base64
import csv
import re
from pathlib import Path

import numpy as np
import pytest
from browser_kit import AXE, CHROMIUM, FLAGS, Served, serving, watched

from narrows import Autoencoder, Library
from narrows.data.depths import encode_png

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium here; NARROWS_CHROMIUM may name one"
)
VIEWS = ("match", "match?picture=3", "map", "latent", "denoise", "training", "report")
# A file that arrives by drop or by clipboard; both bring it in the same kind of object.
ARRIVE = """([element, name, bytes]) => {
  const parcel = new DataTransfer();
  const content = Uint8Array.from(atob(bytes), c => c.charCodeAt(0));
  parcel.items.add(new File([content], "mine.png", {type: "image/png"}));
  const more = name === "paste" ? {clipboardData: parcel} : {dataTransfer: parcel};
  const kind = name === "paste" ? ClipboardEvent : DragEvent;
  element.dispatchEvent(new kind(name, {bubbles: true, cancelable: true, ...more}));
}"""

COVERED = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
  .data.filter((value, i) => i % 4 === 3 && value > 0).length"""


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def png_of(served, row):
    return encode_png(served.X[row])


def arrive(page, how, content, on="main"):
    handle = page.locator(on).element_handle()
    page.evaluate(ARRIVE, [handle, how, base64.b64encode(content).decode()])


def ids_shown(page):
    cards = page.get_by_role("region", name="Pictures").get_by_role("link")
    return [int(re.search(r"picture=(\d+)", card.get_attribute("href"))[1]) for card in cards.all()]


def says(page, text):
    expect(page.get_by_role("status").first).to_contain_text(text)


def ids(matches):
    return [match.id for match in matches]


def focus_by_tab(page, locator, most=80):
    """Press Tab until something has the focus, as who has no mouse does."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if locator.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"{locator} was not reached")


def test_what_is_dropped_pasted_or_chosen_is_matched(page, served: Served, tmp_path: Path) -> None:
    content = png_of(served, 7)
    file = tmp_path / "mine.png"
    file.write_bytes(content)
    truth = ids(served.library.match(file, k=12))
    page.goto("/")
    says(page, "300 pictures")
    arrive(page, "drop", content)
    says(page, "12 nearest of 300")
    assert ids_shown(page) == truth
    page.goto("/#/match")
    says(page, "300 pictures")
    arrive(page, "paste", content)
    says(page, "12 nearest of 300")
    assert ids_shown(page) == truth
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a picture").first.click()
    chooser.value.set_files(file)
    expect(page).to_have_url(re.compile("file-2"))
    says(page, "12 nearest of 300")
    assert ids_shown(page) == truth
    expect(page.get_by_role("img", name="Restored from its code")).to_be_visible()


@pytest.mark.parametrize(("down", "across"), [(3, 9), (8, 4)])
def test_a_restored_picture_is_shown_in_the_proportions_of_its_own(
    page, served: Served, down: int, across: int
) -> None:
    page.goto("/")
    says(page, "300 pictures")
    arrive(page, "drop", encode_png(np.kron(served.X[40], np.ones((down, across), np.uint8))))
    says(page, "12 nearest of 300")
    restored = page.get_by_role("img", name="Restored from its code")
    expect(restored).to_have_css("object-fit", "fill")
    ratio = restored.evaluate(
        """image => {
          const style = getComputedStyle(image), inside = (size, one, other) =>
            size - parseFloat(style[one]) - parseFloat(style[other]);
          return inside(image.offsetHeight, "paddingTop", "paddingBottom")
            / inside(image.offsetWidth, "paddingLeft", "paddingRight");
        }"""
    )
    height, width = served.X[40].shape
    assert ratio == pytest.approx(down * height / (across * width), rel=0.05)


def test_matches_lead_on_by_keyboard_and_back(page, served: Served) -> None:
    page.goto("/#/match")
    focus_by_tab(page, page.get_by_role("region", name="Pictures").get_by_role("link").nth(2))
    page.keyboard.press("Enter")
    says(page, "nearest")
    first = ids(served.library.match(ids=2, k=12))
    assert ids_shown(page) == first
    focus_by_tab(page, page.get_by_role("region", name="Pictures").get_by_role("link").first)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"picture={first[0]}"))
    says(page, "nearest")
    page.go_back()
    expect(page.get_by_role("region", name="Pictures").get_by_role("link").first).to_have_attribute(
        "href", re.compile(rf"picture={first[0]}\b")
    )
    page.go_back()
    says(page, "300 pictures")
    page.go_forward()
    says(page, "nearest")
    assert ids_shown(page) == first


def test_settings_are_those_of_the_library(page, served: Served) -> None:
    page.goto("/#/match?picture=5")
    page.get_by_label("How many").fill("4")
    page.get_by_label("How many").press("Tab")
    says(page, "4 nearest")
    page.get_by_label("Distance").select_option("cosine")
    page.get_by_label("Order by").select_option("pixels")
    page.get_by_label("Only where").fill("label = 'three'")
    with page.expect_response(re.compile("where=")):
        page.get_by_label("Only where").press("Enter")
    truth = served.library.match(
        ids=5, k=4, metric="cosine", rerank="pixels", where="label = 'three'"
    )
    first = page.get_by_role("region", name="Pictures").get_by_role("link").first
    expect(first).to_have_attribute("href", re.compile(rf"picture={truth[0].id}\b"))
    assert ids_shown(page) == ids(truth)
    page.get_by_role("button", name="As stored").click()
    expect(page.get_by_role("region", name="Pictures").get_by_role("img")).to_have_count(4)


def test_a_filter_that_is_none_says_why(chromium, served: Served) -> None:
    context = chromium.new_context(base_url=served.address)
    page = context.new_page()
    page.goto("/#/match?where=nothing > 3")
    says(page, "nothing")
    context.close()


def drawn(page, count=300):
    """Wait for the map; gives the middle of its frame, and half its lesser side."""
    frame = page.get_by_role("application")
    expect(frame).to_have_attribute("data-state", re.compile("final|preview"))
    says(page, f"{count} pictures")
    box = frame.bounding_box()
    return (
        frame,
        box["x"] + box["width"] / 2,
        box["y"] + box["height"] / 2,
        min(box["width"], box["height"]) / 2,
    )


def place_of_a_point(page, x, y, half):
    """Go over the map until a point is ringed and shown."""
    for step in range(400):
        angle, far = step * 2.4, half * (step / 400) ** 0.5
        page.mouse.move(x + far * np.cos(angle), y + far * np.sin(angle))
        page.wait_for_timeout(1)
        if page.get_by_role("application").get_attribute("data-at"):
            return
    raise AssertionError("no point was found")


def test_points_are_shown_chosen_and_taken_away(page, served: Served, tmp_path: Path) -> None:
    page.goto("/#/map")
    frame, x, y, half = drawn(page)
    expect(frame.locator("canvas").first).to_have_attribute("data-by", "webgl")
    place_of_a_point(page, x, y, half)
    shown = page.locator(".about")
    expect(shown).to_be_visible()
    expect(shown.locator("img")).to_have_js_property("complete", True)
    page.mouse.down()
    page.mouse.up()
    selection = page.get_by_role("region", name="Selection")
    expect(selection.get_by_role("heading")).to_have_text("1 selected")
    page.get_by_role("button", name="Lasso").click()
    for step in range(25):
        angle = step / 24 * 2 * np.pi
        page.mouse.move(x + 1.03 * half * np.cos(angle), y + 1.03 * half * np.sin(angle))
        if not step:
            page.mouse.down()
    page.mouse.up()
    expect(selection.get_by_role("heading")).to_have_text(re.compile(r"^\d+ selected$"))
    n = int(selection.get_by_role("heading").text_content().split()[0])
    assert n > 200

    def rename(route) -> None:
        answer = route.fetch()
        named = answer.json()
        for number, item in enumerate(named["items"]):
            item["path"] = ["=1+1", "-2", "'@x", "it's"][number % 4]
        route.fulfill(response=answer, json=named)

    page.route("**/api/items?ids=*", rename)
    with page.expect_download() as download:
        selection.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "selection.csv")
    with (tmp_path / "selection.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == n
    assert list(rows[0]) == ["id", "path", "label", "brightness", "x", "y"]
    assert all(served.y[int(row["id"])] == row["label"] for row in rows)
    # A spreadsheet would compute the first and the third.
    assert [row["path"] for row in rows[:4]] == ["'=1+1", "-2", "''@x", "it's"]
    selection.get_by_role("button", name="Clear").click()
    expect(selection).to_contain_text("lasso")


def test_parts_of_different_maps_are_asked_for_again(page, served: Served) -> None:
    """The library may be changed between the points and what they mean."""
    asked = []

    def mixed_up(route):
        asked.append(route.request.url)
        answer = route.fetch()
        version = {"X-Map-Version": "older"} if len(asked) == 1 else {}
        route.fulfill(response=answer, headers={**answer.headers, **version})

    page.route("**/api/map/ids", mixed_up)
    page.goto("/#/map")
    _, x, y, half = drawn(page)
    place_of_a_point(page, x, y, half)
    assert len(asked) >= 2


def test_the_map_by_keyboard(page, served: Served) -> None:
    page.goto("/#/map")
    frame, *_ = drawn(page)
    focus_by_tab(page, frame)
    for key in ("+", "ArrowLeft", "-", "0"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    selection = page.get_by_role("region", name="Selection")
    expect(selection.get_by_role("heading")).to_have_text("1 selected")
    one = selection.get_by_role("link").first
    page.get_by_role("button", name="Select what is in view").press("Enter")
    expect(selection.get_by_role("heading")).to_have_text("300 selected")
    focus_by_tab(page, one)
    page.keyboard.press("Enter")
    says(page, "12 nearest")


def test_colours_and_the_place_of_ones_own_picture(page, served: Served) -> None:
    page.goto("/#/map")
    drawn(page)
    expect(page.get_by_role("button", name="three")).to_be_visible()
    page.get_by_role("button", name="three").click()
    page.get_by_role("button", name="Select what is in view").click()
    expect(page.get_by_role("region", name="Selection").get_by_role("heading")).to_have_text(
        f"{served.y.count('three')} selected"
    )
    page.get_by_label("Colour by").select_option("brightness")
    expect(page.locator(".bar-ends")).to_contain_text(re.compile(r"\d"))
    page.get_by_label("Colour by").select_option("error")
    expect(page).to_have_url(re.compile("color=error"))
    with page.expect_response(re.compile(r"/api/map$")):
        arrive(page, "drop", png_of(served, 9))
    expect(page.get_by_text("Ringed: mine.png")).to_be_visible()


def test_the_map_without_webgl(chromium, served: Served) -> None:
    flags = [*FLAGS, "--disable-3d-apis"]
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=flags)
    with watched(browser, served.address) as page:
        page.goto("/#/map")
        frame, x, y, half = drawn(page)
        canvas = frame.locator("canvas").first
        expect(canvas).to_have_attribute("data-by", "pixels")
        place_of_a_point(page, x, y, half)
        expect(page.locator(".about")).to_be_visible()
        assert canvas.evaluate(COVERED) > 1000
    browser.close()


def codes_sent(page, act):
    with page.expect_request(re.compile("/api/decode")) as sent:
        act()
    return np.array(sent.value.post_data_json["codes"])


def test_codes_by_sliders_and_the_path_between_pictures(page, served: Served) -> None:
    page.goto("/#/latent?a=2&b=11")
    sliders = page.get_by_role("region", name="Units").get_by_role("slider")
    expect(sliders).to_have_count(6)
    codes = served.library.model.transform(served.X)
    variances = codes.var(0)
    order = [int(name.split()[1]) for name in page.locator(".sliders label span").all_inner_texts()]
    assert list(variances[order]) == sorted(variances, reverse=True)
    decoded = page.get_by_role("img", name="The picture decoded")
    expect(decoded).to_have_attribute("src", re.compile("blob:"))
    before = decoded.get_attribute("src")
    focus_by_tab(page, sliders.first)
    sent = codes_sent(page, lambda: page.keyboard.press("ArrowRight"))
    moved = sent[0] - codes.mean(0)
    np.testing.assert_allclose(moved[order[0]], codes.std(0)[order[0]] / 5, rtol=1e-3)
    expect(decoded).not_to_have_attribute("src", before)
    # With the mouse, at an end of the slider.
    box = sliders.nth(1).bounding_box()
    sent = codes_sent(page, lambda: page.mouse.click(box["x"] + box["width"] - 3, box["y"] + 10))
    assert sent[0][order[1]] > codes[:, order[1]].max() - 1e-3
    way = page.get_by_role("slider", name="From the first picture")
    expect(way).to_be_enabled()
    sent = codes_sent(page, lambda: way.press("End"))
    np.testing.assert_allclose(sent[0], codes[11], rtol=1e-3, atol=1e-4)
    steps = page.get_by_role("button", name="Step")
    expect(steps).to_have_count(9)
    sent = codes_sent(page, steps.nth(4).click)
    np.testing.assert_allclose(sent[0], (codes[2] + codes[11]) / 2, rtol=1e-3, atol=1e-4)


def test_samples_and_pictures_of_ones_own_become_codes(page, served: Served) -> None:
    page.goto("/#/latent?a=2&b=11")
    samples = page.get_by_role("button", name="Sample")
    expect(samples).to_have_count(12)
    samples.nth(3).focus()
    assert codes_sent(page, lambda: page.keyboard.press("Enter")).shape == (1, 6)
    with page.expect_response(re.compile("/api/sample")):
        page.get_by_role("button", name="Draw others").click()
    expect(page.get_by_role("button", name="Step")).to_have_count(9)
    with page.expect_response(re.compile("/api/encode")):
        arrive(page, "drop", png_of(served, 40), on=".ends .slot >> nth=1")
    expect(page.locator(".ends figcaption").nth(1)).to_have_text("mine.png")


def test_damage_is_undone_and_wiped_over(page, served: Served) -> None:
    page.goto("/#/denoise?picture=8")
    expect(page.get_by_text("Restored, error")).to_be_visible()
    damaged = page.get_by_role("img", name="Before: damaged")
    before = damaged.get_attribute("src")
    page.get_by_role("button", name="Missing").click()
    expect(page).to_have_url(re.compile("masking"))
    expect(damaged).not_to_have_attribute("src", before)
    before = damaged.get_attribute("src")
    focus_by_tab(page, page.get_by_label("How much"))
    page.keyboard.press("End")
    expect(page.get_by_text("100 %")).to_be_visible()
    expect(damaged).not_to_have_attribute("src", before)
    edge = page.get_by_role("slider", name="Where before ends")
    focus_by_tab(page, edge)
    page.keyboard.press("Home")
    expect(page.locator(".wipe")).to_have_css("--edge", "0%")
    box = edge.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    assert 70 <= int(edge.input_value()) <= 80
    page.get_by_role("button", name="None added").click()
    expect(page.get_by_label("How much")).to_be_hidden()
    with page.expect_response(re.compile("/api/denoise")):
        arrive(page, "drop", png_of(served, 40))
    expect(page.locator(".slot figcaption")).to_have_text("mine.png")


def test_a_picture_of_another_size_is_called_so(page, served: Served) -> None:
    page.goto("/#/denoise?picture=8")
    expect(page.get_by_text("Given", exact=True)).to_be_visible()
    small = served.X[40]
    arrive(page, "drop", encode_png(np.kron(small, np.ones((3, 2), np.uint8))))
    height, width = small.shape
    words = f"Given: {3 * height} \N{MULTIPLICATION SIGN} {2 * width} pixels, brought to"
    expect(page.get_by_text(words)).to_be_visible()


def test_curves_grow_while_a_run_is_written(page, served: Served) -> None:
    page.goto("/#/training")
    epoch = page.locator(".facts div", has_text="Epoch").locator("dd")
    expect(epoch).to_have_text("2")
    with served.log.open("a") as log:
        log.write("3,4,5.5,0.05,3\n")
    expect(epoch).to_have_text("3")
    expect(page.get_by_role("img", name="loss by epoch; at the last one 4")).to_be_visible()


def test_the_report_is_there(page, served: Served) -> None:
    page.goto("/")
    page.get_by_role("link", name="Report", exact=True).press("Enter")
    page.set_default_timeout(150_000)
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="Verdict").wait_for()


def test_a_model_alone(chromium, served: Served, tmp_path: Path) -> None:
    served.library.model.save(tmp_path / "model")
    with serving(tmp_path / "model") as address, watched(chromium, address) as page:
        page.goto("/")
        expect(page.locator("main")).to_contain_text("Serve a library")
        arrive(page, "drop", png_of(served, 7))
        expect(page.get_by_text("Restored, error")).to_be_visible()


def test_a_changed_library_has_another_report(chromium, served: Served, tmp_path: Path) -> None:
    model = served.library.model
    library, _ = Library.build(tmp_path / "own.lance", served.X[:40], model=model)
    with serving(library.path) as address, watched(chromium, address) as page:
        page.set_default_timeout(150_000)
        page.goto("/#/report")
        frame = page.frame_locator("iframe")
        expect(frame.locator("body")).to_contain_text("40", timeout=150_000)
        library.add(served.X[40:97])
        page.get_by_role("link", name="Match", exact=True).click()
        page.get_by_role("link", name="Report", exact=True).click()
        says(page, "a newer report is being made")
        expect(frame.locator("body")).to_contain_text("97", timeout=150_000)


def test_rows_that_are_no_pictures(chromium, tmp_path: Path) -> None:
    """A table has no pictures, and the page asks for none."""
    rows = np.random.default_rng(0).random((40, 7))
    model = Autoencoder(3, hidden_layer_sizes=(5,), max_epochs=2, random_state=0).fit(rows)
    library, _ = Library.build(tmp_path / "rows.lance", rows, model=model)
    with serving(library.path) as address, watched(chromium, address) as page:
        page.goto("/#/match")
        page.get_by_role("region", name="Pictures").get_by_role("link").first.click()
        expect(page.get_by_role("status").first).to_have_text(
            re.compile(r"^12 nearest of 40, in [\d,]+ ms$")
        )
        page.get_by_role("link", name="On the map").click()
        _, x, y, half = drawn(page, 40)
        place_of_a_point(page, x, y, half)
        expect(page.locator(".about")).to_be_visible()
        for view in ("latent", "denoise"):
            page.goto(f"/#/{view}")
            says(page, "no pictures")
        assert page.locator("img").count() == 0


@pytest.mark.skipif(not AXE.is_file(), reason="needs `npm ci` in web/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_nothing(chromium, served: Served, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    with watched(
        chromium, served.address, viewport=size, color_scheme=scheme, bypass_csp=True
    ) as page:
        page.goto("/")
        page.add_script_tag(content=AXE.read_text("utf-8"))
        for view in VIEWS:
            page.evaluate("hash => location.hash = hash", f"#/{view}")
            page.wait_for_load_state("networkidle")
            found = page.evaluate("axe.run(document, {iframes: false})")
            rules = {
                broken["id"]: [node["html"] for node in broken["nodes"]]
                for broken in found["violations"]
            }
            assert (view, rules) == (view, {})
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert (view, wide <= 0) == (view, True)
