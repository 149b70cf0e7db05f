"""Copies in a folder, planted by known transforms; the seed of everything random is 0."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_kit import Run
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from narrows import errors
from narrows.copies import Candidates, LowFrequencies, find_copies

WIDTH, HEIGHT = 240, 160


def scene(seed, size=(WIDTH, HEIGHT)):
    """Draw dead leaves, discs and boxes over one another, in colours of their own."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(random.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for radius in np.geomspace(90, 5, 120):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        color = tuple(random.integers(0, 256, 3).tolist())
        box = (x - radius, y - radius * 0.7, x + radius, y + radius * 0.7)
        (draw.ellipse if random.random() < 0.6 else draw.rectangle)(box, fill=color)
    return image


def noisy(image):
    pixels = np.asarray(image, float)
    noise = np.random.default_rng(0).normal(0, 15, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def captioned(image):
    image = image.copy()
    ImageDraw.Draw(image).rectangle((0, HEIGHT * 9 // 10, WIDTH, HEIGHT), fill="black")
    return image


def cropped(share):
    x, y = round(share * WIDTH), round(share * HEIGHT)
    return lambda image: image.crop((x, y, WIDTH - x, HEIGHT - y))


TURN = Image.Transpose
CHANGES = {
    "resized": lambda image: image.resize((WIDTH // 2, HEIGHT // 2)),
    "stretched": lambda image: image.resize((WIDTH, HEIGHT * 4 // 5)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.5),
    "grey": lambda image: image.convert("L"),
    "recompressed": noisy,
    "bordered": lambda image: ImageOps.expand(image, 16, "white"),
    "cropped": cropped(0.1),
    "mirrored": lambda image: image.transpose(TURN.FLIP_LEFT_RIGHT),
    "rotated": lambda image: image.transpose(TURN.ROTATE_90),
    "turned": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "overlaid": captioned,
}


@pytest.fixture
def folder(tmp_path):
    """A folder of eight different pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(8):
        scene(seed).save(folder / f"{seed}.png")
    return folder


def found_in(folder, **options):
    """Return the groups: the picture to keep, and the copies with their kinds."""
    groups = find_copies(folder, **options).groups
    return {
        group.keep.name: {copy.picture.name: copy.change.kinds for copy in group.copies}
        for group in groups
    }


def test_different_pictures_are_no_copies(folder):
    found = find_copies(folder)
    assert (found.groups, found.pictures, found.looked_at) == ([], 8, 8)
    assert found.limit == 0.65


@pytest.mark.parametrize("kind", CHANGES)
def test_each_kind_of_copy_is_found_and_named(folder, kind):
    CHANGES[kind](scene(3)).save(folder / "copy.jpg", quality=85)
    found = found_in(folder, prefer=["?.png"])
    assert found.keys() == {"3.png"}
    assert kind in found["3.png"]["copy.jpg"]


@pytest.mark.parametrize("angle", [90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotations_are_told_in_degrees(folder, angle, mirrored):
    image = scene(2).transpose(TURN.FLIP_LEFT_RIGHT) if mirrored else scene(2)
    image.rotate(angle, expand=True).save(folder / "copy.png")
    [group] = find_copies(folder, prefer=["2.png"]).groups
    change = group.copies[0].change
    assert change.details["rotated"] == angle
    assert ("mirrored" in change.kinds) == mirrored


def test_crops_turns_and_sizes_are_measured(folder):
    cropped(0.15)(scene(1)).save(folder / "crop.png")
    scene(4).rotate(-4, Image.Resampling.BICUBIC).save(folder / "turned.png")
    scene(5).resize((WIDTH * 3 // 4, HEIGHT * 3 // 4)).save(folder / "small.png")
    groups = find_copies(folder, prefer=["?.png"]).groups
    changes = {group.copies[0].picture.name: group.copies[0].change for group in groups}
    assert changes["crop.png"].kinds == ("cropped",)
    assert changes["crop.png"].details["cropped"] == pytest.approx(0.7**2, abs=0.02)
    assert changes["turned.png"].details["turned"] == pytest.approx(-4, abs=0.3)
    assert changes["small.png"].details["resized"] == pytest.approx(0.75, abs=0.01)


def test_equal_files_and_equal_pixels_are_told_apart(folder):
    shutil.copy(folder / "0.png", folder / "bytes.png")
    scene(0).save(folder / "pixels.bmp")
    os.link(folder / "0.png", folder / "hard.png")
    (folder / "link.png").symlink_to(folder / "0.png")
    kinds = found_in(folder, prefer=["0.png"])["0.png"]
    assert kinds == {
        "bytes.png": ("same bytes",),
        "pixels.bmp": ("same pixels",),
        "hard.png": ("same file",),
        "link.png": ("same file",),
    }


def test_pictures_that_show_nothing_are_copies_only_if_they_are_equal(tmp_path):
    for name, shade, size in (
        ("a.png", 7, (40, 30)), ("b.bmp", 7, (40, 30)), ("c.png", 8, (40, 30)),
        ("d.png", 7, (30, 40)), ("dot.png", 200, (1, 1)), ("dot2.png", 9, (1, 1)),
    ):  # fmt: skip
        Image.new("L", size, shade).save(tmp_path / name)
    shutil.copy(tmp_path / "c.png", tmp_path / "c2.png")
    found = find_copies(tmp_path)
    assert len(found.flat) == 7
    assert found_in(tmp_path) == {
        "b.bmp": {"a.png": ("same pixels",)},  # of more bytes
        "c.png": {"c2.png": ("same bytes",)},
    }


def test_the_rule_tells_which_to_keep(folder):
    small = folder / "sub"
    small.mkdir()
    scene(6).resize((120, 80)).save(small / "6 small.png")
    scene(6).save(folder / "6 copy.jpg", quality=40)
    for name, when in (("sub/6 small.png", 1_000), ("6.png", 2_000), ("6 copy.jpg", 3_000)):
        os.utime(folder / name, (when, when))
    kept = {
        keep: list(found_in(folder, keep=keep))
        for keep in ("largest", "oldest", "newest", "shortest-path")
    }
    assert kept == {
        "largest": ["6.png"],  # as large as the JPEG, but not compressed
        "oldest": ["sub/6 small.png"],
        "newest": ["6 copy.jpg"],
        "shortest-path": ["6.png"],
    }
    assert list(found_in(folder, prefer=["*.gif", "sub/*"])) == ["sub/6 small.png"]


def test_a_group_holds_all_copies_of_one_picture(folder):
    for name, change in CHANGES.items():
        change(scene(7)).save(folder / f"7 {name}.jpg", quality=90)
    [copies] = found_in(folder, prefer=["7.png"]).values()
    assert len(copies) == len(CHANGES)
    assert all(kind in copies[f"7 {kind}.jpg"] for kind in CHANGES)


def test_a_scan_goes_on_and_looks_only_at_what_is_new(folder, tmp_path):
    state = tmp_path / "state.sqlite"
    calls = []

    def stop(done, total):
        calls.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_copies(folder, state=state, progress=stop)
    resumed = find_copies(folder, state=state)
    assert resumed.looked_at == 5
    scene(1).transpose(TURN.ROTATE_180).save(folder / "new.png")
    scene(3).save(folder / "2.png")  # changed
    (folder / "5.png").unlink()
    again = find_copies(folder, state=state)
    assert (again.looked_at, again.pictures) == (2, 8)
    fresh = find_copies(folder)
    assert again.as_json()["groups"] == fresh.as_json()["groups"]
    pairs = [{group.keep.name, group.copies[0].picture.name} for group in fresh.groups]
    assert sorted(map(sorted, pairs)) == [["1.png", "new.png"], ["2.png", "3.png"]]


def test_a_state_of_another_kind_is_refused(folder, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("no database at all, but long enough to be read as one" * 9)
    with pytest.raises(errors.DataError, match="remove it, or name another file"):
        find_copies(folder, state=other)
    with pytest.warns(errors.NarrowsWarning, match="the scan is not kept"):
        assert find_copies(folder, state=other, needs_state=False).pictures == 8
    assert other.read_text().startswith("no database")


def test_what_cannot_be_read_is_left_out_and_named(folder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    frames = [scene(seed).quantize() for seed in (20, 21)]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(errors.NarrowsWarning) as caught:
        found = find_copies(folder)
    assert [name for name, _ in found.skipped] == ["broken.jpg"]
    assert {warning.message.kind for warning in caught} == {
        "unreadable_left_out", "frames_left_out",
    }  # fmt: skip
    with pytest.warns(errors.NarrowsWarning, match="more than the 1000 that are safe"):
        large = find_copies(folder, max_pixels=1000)
    assert (large.pictures, len(large.skipped)) == (0, 10)


def test_one_picture_and_none(tmp_path):
    with pytest.raises(errors.DataError, match="holds no pictures"):
        find_copies(tmp_path)
    scene(0).save(tmp_path / "one.png")
    assert find_copies(tmp_path).groups == []
    with pytest.raises(errors.UnreadableFileError, match="is a file"):
        find_copies(tmp_path / "one.png")
    with pytest.raises(errors.MissingFileError, match="does not exist"):
        find_copies(tmp_path / "two")
    with pytest.raises(errors.ParameterError, match="keep='best' is not allowed"):
        find_copies(tmp_path, keep="best")


def test_alike_pictures_need_more_than_being_alike(tmp_path):
    """Different pictures of one object and one ground, as garments are, are no copies."""
    random = np.random.default_rng(0)
    for number in range(40):
        image = Image.new("L", (128, 128), 0)
        draw = ImageDraw.Draw(image)
        left, right, top, gap = (int(random.integers(*ends))
                                 for ends in ((30, 38), (90, 98), (8, 14), (6, 14)))  # fmt: skip
        shade = int(random.integers(120, 250))
        draw.polygon([(left, top), (right, top), (right + 8, 120), (64 + gap, 120), (64, 50),
                      (64 - gap, 120), (left - 8, 120)], fill=shade)  # fmt: skip
        image.save(tmp_path / f"{number:02}.png")
    assert find_copies(tmp_path).groups == []


def test_a_proposer_can_be_replaced_and_pixels_still_decide(folder):
    scene(0).transpose(TURN.FLIP_TOP_BOTTOM).save(folder / "copy.png")
    asked = []

    class Everything:
        """Proposes all pairs, upside down."""

        def propose(self, pictures):
            asked.append(pictures.shape)
            ends, others = np.triu_indices(len(pictures), 1)
            maps = np.tile(np.float32([[1, 0, 0], [0, -1, 1]]), (len(ends), 1, 1))
            return Candidates(ends, others, maps)

    how = {"prefer": ["?.png"]}
    assert found_in(folder, **how, proposer=Everything()) == found_in(folder, **how)
    assert asked == [(9, 32, 32)]
    assert found_in(folder, **how) == {"0.png": {"copy.png": ("mirrored", "rotated")}}


@pytest.mark.parametrize("orientation", range(8))
def test_proposed_maps_are_those_of_the_orientation(orientation):
    """All eight, beside brute force: pixels looked up by the map are those of the picture."""
    pictures = np.stack(
        [np.asarray(scene(seed, (32, 32)).convert("L"), np.float32) for seed in range(4)]
    )
    turned = np.rot90(pictures[1], orientation % 4)
    turned = turned[:, ::-1] if orientation >= 4 else turned
    found = LowFrequencies().propose(np.concatenate([pictures, turned[None]]))
    first = np.flatnonzero((found.ends == 4) & (found.others == 1))[0]
    places = (np.arange(32) + 0.5) / 32
    x, y = np.meshgrid(places, places)
    at = found.maps[first] @ np.stack([x.ravel(), y.ravel(), np.ones(32 * 32)])
    columns, rows = np.floor(at * 32).astype(int)
    assert (pictures[1][rows, columns].reshape(32, 32) == turned).all()


def test_the_command_answers_in_every_form(folder, run: Run):
    scene(1).resize((120, 80)).save(folder / "1 small.jpg")
    done = run("duplicates", folder)
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:6] == ["0", "1.png", "keep", "240", "x", "160,"]
    assert "1 small.jpg  resized" in done.out
    assert "1 group with 1 copy among 9 pictures" in done.err
    answer = json.loads(run("duplicates", folder, "--json").out)
    assert answer["looked_at"] == 0  # the user's cache has them
    [group] = answer["groups"]
    assert group["keep"]["path"] == "1.png"
    assert group["copies"][0]["kinds"] == ["resized"]
    assert group["copies"][0]["details"]["resized"] == pytest.approx(0.5, abs=0.01)
    for name in ("found.csv", "found.json", "found.html"):
        assert run("duplicates", folder, "-o", name, "--no-state").code == 0
    rows = list(csv.DictReader(Path("found.csv").read_text().splitlines()))
    assert [(row["path"], row["keep"], row["kinds"], row["of"]) for row in rows] == [
        ("1.png", "yes", "", ""), ("1 small.jpg", "no", "resized", "1.png"),
    ]  # fmt: skip
    assert json.loads(Path("found.json").read_text())["groups"] == answer["groups"]
    page = Path("found.html").read_text()
    assert page.count("<img") == 2
    assert "240 x 160 · PNG" in page
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        [*(f"{seed}.png" for seed in range(8)), "1 small.jpg"]
    )


def test_names_are_escaped_on_the_page(tmp_path, run: Run):
    folder = tmp_path / "photos"
    folder.mkdir()
    scene(0).save(folder / "<b>x.png")
    scene(0).save(folder / "=1+1.jpg")
    assert run("duplicates", folder, "-o", "page.html").code == 0
    assert "<b>x" not in Path("page.html").read_text()
    assert run("duplicates", folder, "-o", "rows.csv").code == 0
    assert "'=1+1.jpg" in Path("rows.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["photos", "--threshold", "1"], 2, "is a folder of pictures"),
        (["photos", "--metric", "cosine"], 2, "is a folder of pictures"),
        (["photos", "--state", "a", "--no-state"], 2, "one of them"),
        (["photos", "-o", "groups.txt"], 2, "does not end in"),
        (["nowhere"], 3, "there is no"),
        (["nowhere.lance", "--keep", "oldest"], 2, "is for folders of pictures"),
    ],
)
def test_contradictions_are_refused_in_one_line(folder, run: Run, arguments, code, words):
    done = run("duplicates", *arguments)
    assert done.code == code
    assert words in done.err
    assert done.err.count("\n") == 1
