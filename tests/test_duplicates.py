"""Groups of near-identical pictures, beside brute force; the seed of everything random is 0."""

import csv
import json
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from cli_kit import Run
from libraries import draw
from picture_kit import read_images
from PIL import Image, ImageEnhance, ImageFilter
from scipy.cluster.hierarchy import fcluster, linkage

from narrows import Autoencoder, Library, datasets, errors
from narrows.library.duplicates import find, group, suggest_threshold, unexplained_variance

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("quantile", [0.01, 0.1, 0.5])
def test_groups_are_those_of_single_linkage(metric, quantile):
    codes = RANDOM.normal(size=(150, 2)).astype(np.float32)
    codes[100:130] = codes[3]
    tree = linkage(codes.astype(np.float64), "single", metric)
    threshold = float(np.quantile(tree[50:, 2], quantile))
    truth = fcluster(tree, threshold, "distance")
    labels, used = group(codes, threshold, metric=metric)
    assert used == threshold
    alone = np.bincount(truth)[truth] == 1
    assert ((labels == -1) == alone).all()
    kept = labels >= 0
    assert len(set(zip(truth[kept], labels[kept], strict=True))) == labels.max() + 1
    assert len(set(truth[kept])) == labels.max() + 1
    sizes = np.bincount(labels[kept])
    assert (np.diff(sizes) <= 0).all()


def test_the_suggestion_finds_planted_copies_and_nothing_else():
    codes = RANDOM.normal(size=(400, 16))
    near = codes[:20] + RANDOM.normal(0, 0.02, (20, 16))
    labels, _ = group(np.concatenate([codes, near, codes[:5]]))
    assert labels.max() + 1 == 20
    assert (labels[:20] == labels[400:420]).all()
    assert (labels[20:400] == -1).all()
    assert (group(codes)[0] == -1).all()


def test_without_a_gap_only_rounding_counts_as_the_same():
    assert suggest_threshold([0.6, 0.7, 0.8], usual=1.0) == pytest.approx(1e-4)


def add_copies(library, pictures, numbers):
    """Add the same pictures as files of other kinds: the same file again would add nothing."""
    folder = library.path.parent / "copies"
    folder.mkdir()
    for name, number in numbers.items():
        Image.fromarray(pictures[number]).save(folder / name)
    library.add([folder / name for name in numbers], names=list(numbers))


def test_a_librarys_copies_are_found_and_nothing_is_changed(library, pictures):
    add_copies(library, pictures, {"a.bmp": 4, "b.bmp": 9, "c.tiff": 4})
    found = find(library)
    assert [[match.id for match in each] for each in found.groups] == [[4, 60, 62], [9, 61]]
    assert [match.distance < 1e-3 for match in found.groups[0]] == [True] * 3
    assert len(Library.open(library.path)) == 63


def test_the_command_prints_and_writes_the_groups(library, pictures, run: Run):
    add_copies(library, pictures, {"a, copy.bmp": 4})
    answered = run("duplicates", str(library.path), "--json").json
    assert [[one["path"] for one in each] for each in answered["groups"]] == [["4", "a, copy.bmp"]]
    assert run("duplicates", str(library.path), "-o", "found.csv").code == 0
    rows = list(csv.DictReader(Path("found.csv").read_text("utf-8").splitlines()))
    assert [(row["group"], row["id"], row["path"]) for row in rows] == [
        ("0", "4", "4"),
        ("0", "60", "a, copy.bmp"),
    ]
    assert run("duplicates", str(library.path), "-o", "found.json").code == 0
    written = json.loads(Path("found.json").read_text("utf-8"))
    assert written == {
        name: answered[name] for name in ("metric", "threshold", "confirmed", "pictures", "groups")
    }
    assert run("duplicates", str(library.path), "-o", "found.csv").code == 5
    assert run("duplicates", str(library.path), "-o", "found.txt").code == 2
    assert run("duplicates", str(library.path), "--threshold", "-1").code == 2


def test_what_cannot_be_grouped_is_refused(tmp_path, model):
    empty = Library.create(tmp_path / "empty.lance", model=model)
    with pytest.raises(errors.LibraryError, match="is empty"):
        find(empty)
    with pytest.raises(errors.ParameterError, match="threshold='often'"):
        group(draw(3).reshape(3, -1), "often")
    for threshold in (None, [0.5], True, float("nan")):
        with pytest.raises(errors.ParameterError, match="is not allowed; give a number"):
            group(draw(3).reshape(3, -1), threshold)
    assert group([[1.0, 2.0]])[0].tolist() == [-1]


class Page(HTMLParser):
    """What a browser makes of a page: its elements, their attributes, the texts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_shows_pictures_and_runs_and_loads_nothing(library, pictures, run: Run, photos):
    names = ["a<script>alert(1)</script>/\"x' onerror=alert(1)&amp;.bmp", "\u202egnp.exe\n", "gone"]
    copies = library.path.parent / "copies"
    copies.mkdir()
    files = [copies / name for name in ("a.bmp", "b.bmp", "c.bmp")]
    for number, file in zip((4, 9, 4), files, strict=True):
        Image.fromarray(pictures[number]).save(file, "TIFF" if file.stem == "c" else "BMP")
    library.add(files[:2], names=names[:2])
    library.add(files[2:], names=names[2:], store="references")
    found = find(library)
    assert [[match.id for match in each] for each in found.groups] == [[4, 60, 62], [9, 61]]
    before = {p: p.read_bytes() for p in library.path.rglob("*") if p.is_file()}
    assert run("duplicates", library.path, "-o", "found.html").code == 0
    assert {p: p.read_bytes() for p in library.path.rglob("*") if p.is_file()} == before
    page = Page(Path("found.html").read_text("utf-8"))
    assert not page.all("script")
    assert {name for _, attributes in page.elements for name in attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "alt", "src")
    }
    policy = next(each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    shown = "".join(page.texts)
    for text in (
        "a<script>alert(1)<",
        "\"x' onerror=alert(1)&amp;.bmp",
        "\\u202egnp.exe\\n",
        "id 62",
    ):
        assert text in shown
    sources = [each["src"].split(",", 1) for each in page.all("img")]
    images = [np.asarray(Image.open(BytesIO(b64decode(data)))) for _, data in sources]
    assert {kind for kind, _ in sources} <= {"data:image/png;base64", "data:image/jpeg;base64"}
    # The last of the first group has a thumbnail, which is a JPEG file of its own.
    for number, image in zip((4, 4, 4, 9, 9), images, strict=True):
        assert np.abs(image.astype(float) - pictures[number]).mean() < 30
    for number in (0, 1, 3, 4):
        np.testing.assert_array_equal(images[number], pictures[(4, 4, 4, 9, 9)[number]])


def test_the_page_says_what_it_does_not_show(tmp_path, model, run: Run):
    """Of many copies some; nothing of rows that are no pictures; that there are none."""
    X = np.tile(draw(1), (100, 1, 1))
    X[:, 0, 0] = np.arange(100) % 2  # they are no two the same
    X[:, 0, 1] = np.arange(100) // 2
    Library.build(tmp_path / "many.lance", X, model=model)
    threshold = ["--threshold", "1000"]
    assert run("duplicates", tmp_path / "many.lance", "-o", "many.html", *threshold).code == 0
    page = Page(Path("many.html").read_text("utf-8"))
    assert len(page.all("img")) == 60
    assert "and 40 more" in "".join(page.texts)
    rows = RANDOM.normal(size=(20, 4)).astype(np.float32)
    of_rows = Autoencoder(2, max_epochs=1, random_state=0).fit(rows)
    Library.build(tmp_path / "rows.lance", rows, model=of_rows)
    assert run("duplicates", tmp_path / "rows.lance", "-o", "rows.html", *threshold).code == 0
    page = Page(Path("rows.html").read_text("utf-8"))
    assert not page.all("img")
    assert page.texts.count("no thumbnail") == 20
    threshold = ["--threshold", "0"]
    assert run("duplicates", tmp_path / "rows.lance", "-o", "none.html", *threshold).code == 0
    assert "No two pictures are that near" in Path("none.html").read_text("utf-8")


def brighter(image):
    return ImageEnhance.Brightness(image).enhance(1.1)


def cropped(image):
    x, y = round(0.02 * image.width), round(0.02 * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


def noisy(image):
    pixels = np.asarray(image, float)
    pixels = pixels + np.random.default_rng(1).normal(0, 5, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


SLIGHT = {
    " half.png": lambda image: image.resize((90, 70)),
    " again.jpg": lambda image: image,
    " noisy.png": noisy,
}
MOVED = {" brighter.png": brighter, " cropped.png": cropped}


@pytest.mark.parametrize("kinds", [SLIGHT, MOVED, SLIGHT | MOVED, {}], ids=len)
def test_versions_of_pictures_are_found_and_nothing_else(tmp_path, kinds):
    """Each of 60 of 240 cloudy pictures in other versions: all are found, nothing else."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    expected = set()
    for number in range(240):
        cloud = Image.fromarray(random.integers(0, 200, (7, 9), np.uint8))
        image = cloud.resize((180, 140), Image.Resampling.BICUBIC).filter(ImageFilter.DETAIL)
        image.save(folder / f"{number:03}.png")
        if number % 4 or not kinds:
            continue
        for kind, change in kinds.items():
            options = {"quality": 30} if kind.endswith("jpg") else {}
            change(image).save(folder / f"{number:03}{kind}", **options)
        expected.add(frozenset(f"{number:03}{kind.split('.')[0]}" for kind in ("", *kinds)))
    X, _, _ = read_images(sorted(folder.glob("???.png")), (16, 16))
    model = Autoencoder(16, max_epochs=20, random_state=0).fit(X)
    library, _ = Library.build(tmp_path / "photos.lance", folder, model=model)
    groups = {frozenset(Path(match.path).stem for match in each) for each in find(library).groups}
    assert groups == expected


def test_pictures_that_are_alike_anyway_are_no_duplicates(tmp_path):
    """Many a handwritten digit is another one moved a little, and there are no copies of any."""
    X = datasets.load("digits").X_train
    model = Autoencoder(8, max_epochs=5, random_state=0).fit(X)
    found = find(Library.build(tmp_path / "digits.lance", X, model=model)[0])
    assert (found.groups, found.confirmed) == ([], 0)


def test_brighter_pictures_are_found_among_files_that_are_gone(tmp_path):
    random = np.random.default_rng(0)
    for number in range(40):
        cloud = Image.fromarray(random.integers(0, 200, (4, 4), np.uint8))
        image = cloud.resize((16, 16), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{number}.png")
        if number in (3, 5):
            brighter(image).save(tmp_path / f"{number} brighter.png")
    files = sorted(tmp_path.glob("*.png"))
    model = Autoencoder(8, architecture="dense", max_epochs=5, random_state=0)
    model.fit(read_images(files, (16, 16))[0])
    library, _ = Library.build(tmp_path / "l.lance", files, model=model, store="references")
    (tmp_path / "5.png").unlink()
    found = find(library)
    names = [{Path(match.path).stem for match in each} for each in found.groups]
    assert (names, found.confirmed) == ([{"3", "3 brighter"}], 1)
    assert find(library, threshold=0.0).groups == []


def test_what_brightness_and_moving_explain_is_what_regression_says():
    """The share of the variance that ordinary least squares leaves."""
    x, y = np.meshgrid(np.linspace(0, 4, 12), np.linspace(0, 3, 10))
    other = np.sin(x) + np.cos(y * 1.3 + x)
    one = 0.8 * (np.sin(x + 0.03) + np.cos((y + 0.02) * 1.3 + x + 0.03)) + 5
    one = one + np.random.default_rng(0).normal(0, 0.05, one.shape)
    down, across = np.gradient(other)
    along_x = (np.arange(12) - 5.5) * 12 / 11
    along_y = (np.arange(10) - 4.5)[:, None] * 10 / 9
    terms = [np.ones_like(other), other, across, down, along_x * across, along_y * down]
    terms = np.stack([term.ravel() for term in terms], axis=1)
    residual = one.ravel() - terms @ np.linalg.lstsq(terms, one.ravel(), rcond=None)[0]
    found = unexplained_variance(one[None], other[None])
    assert found == pytest.approx([(residual**2).mean() / one.var()], rel=1e-6)
    assert 0 < found[0] < 0.05
    flat = np.ones((1, 10, 12))
    assert unexplained_variance(one[None], flat) == unexplained_variance(flat, one[None]) == [1]
