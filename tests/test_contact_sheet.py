"""Contact sheets draw pictures upright and in their own proportions."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from narrows import Autoencoder, Library
from narrows.errors import NarrowsWarning
from narrows.evaluation import contact_sheet

SEED = 0


def wave(height: int, width: int, shades: int = 255) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.rint(shades * (0.5 + 0.4 * np.sin(x / 9) * np.cos(y / 7))).astype(
        np.uint16 if shades > 255 else np.uint8
    )


@pytest.mark.parametrize("size", [(60, 90), (150, 100), (20, 200), (300, 30), (1, 1)])
def test_pictures_keep_their_proportions(size: tuple[int, int]) -> None:
    square = wave(64, 64)
    match = SimpleNamespace(distance=0.5, path="a.png", picture=wave(*size), decoded=square)
    figure = contact_sheet([wave(100, 140), square], [square, square], [[match], [match]])
    width, height = figure.get_size_inches()
    drawn = [axes.get_position() for axes in figure.axes]
    ratios = [box.height * height / (box.width * width) for box in drawn]
    own = size[0] / size[1]
    np.testing.assert_allclose(ratios, [100 / 140] * 2 + [own] * 2 + [1] * 2 + [own] * 2)
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1 for box in drawn)


def test_without_decoded_pictures_there_is_one_line_of_them() -> None:
    match = SimpleNamespace(distance=0.5, path="a.png", picture=wave(40, 60))
    assert len(contact_sheet([wave(60, 60)], None, [[match, match]]).axes) == 3


def test_previews_are_upright_and_in_proportion(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn clockwise makes it upright
    Image.fromarray(wave(170, 512)).save(photos / "a.jpg", exif=turned)
    Image.fromarray(wave(50, 512)).save(photos / "b.png")
    Image.fromarray(wave(512, 384, 65535)).save(photos / "c.png")
    Image.fromarray(np.dstack([wave(512, 256)] * 4), "CMYK").save(photos / "d.tif")
    Image.fromarray(np.dstack([wave(20, 30)] * 4)).save(photos / "e.png")
    X = np.random.default_rng(SEED).integers(0, 256, (40, 16, 16, 3), np.uint8)
    model = Autoencoder(4, max_epochs=1, random_state=SEED).fit(X)
    with pytest.warns(NarrowsWarning, match="16 bits"):
        library, _ = Library.build(tmp_path / "l.lance", photos, model=model)
    items = sorted(library.items(library.ids), key=lambda item: item.path)
    assert [item.preview(256).shape[:2] for item in items] == [
        (256, 85), (25, 256), (256, 192), (256, 128), (20, 30),
    ]  # fmt: skip
    assert [max(item.preview(64).shape) for item in items[:4]] == [64] * 4
    assert items[4].preview(10_000).shape[:2] == (20, 30)
    # Without colours, each is the wave that it was made from, to the rounding of its size.
    small = np.asarray(
        Image.fromarray(wave(512, 384)).resize((192, 256), Image.Resampling.BOX), float
    )
    assert np.abs(items[2].preview(256).reshape(256, 192, -1)[..., 0] - small).mean() < 2


def test_the_command_draws_files_of_several_sizes(run, tmp_path: Path) -> None:
    for folder in ("photos", "queries"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        Image.fromarray(wave(100 + 40 * number, 200)).save(f"photos/{number}.png")
    turned = Image.Exif()
    turned[0x0112] = 8
    Image.fromarray(wave(100, 300)).save("queries/turned.jpg", exif=turned)
    Image.fromarray(wave(40, 400)).save("queries/wide.png")
    run("train", "photos", "-o", "m", "--max-epochs", "1", "--random-state", "0")
    run("index", "m", "photos", "-o", "l.lance")
    assert run("match", "l.lance", "queries", "-k", "2", "--save", "s.png").code == 0
    assert run("match", "l.lance", "queries/wide.png", "-k", "2", "--save", "o.png").code == 0
    assert run("match", "l.lance", "--id", "0", "--id", "3", "-k", "2", "--save", "i.png").code == 0
    run("encode", "m", "queries", "-o", "codes.npy")
    assert run("match", "l.lance", "--codes", "codes.npy", "-k", "1", "--save", "c.png").code == 0
    heights = {}
    for name in "soic":
        with Image.open(f"{name}.png") as image:
            heights[name] = image.height
    assert heights["o"] < heights["s"]


def test_each_page_of_a_file_is_drawn(run, tmp_path: Path, monkeypatch) -> None:
    from narrows import evaluation

    shown = []
    draw = evaluation.contact_sheet

    def seen(queries, *others, **named):
        shown.extend(np.asarray(query).mean() for query in queries)
        return draw(queries, *others, **named)

    pages = [Image.fromarray(np.full((120, 160), level, np.uint8)) for level in (20, 120, 220)]
    pages[0].save("q.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "photos").mkdir()
    for number in range(6):
        Image.fromarray(wave(100 + 20 * number, 200)).save(f"photos/{number}.png")
    run("index", "photos", "-o", "l.lance")
    monkeypatch.setattr(evaluation, "contact_sheet", seen)
    for query in ("q.tif", "folder"):
        if query == "folder":
            (tmp_path / "folder").mkdir()
            Path("q.tif").rename("folder/q.tif")
        shown.clear()
        drawn = run(
            "match", "l.lance", query, "--pages", "all", "-k", "1", "--save", f"{query}.png"
        )
        assert drawn.code == 0
        assert [round(level) for level in shown] == [20, 120, 220]
