"""Names in tables held against those of files: composed or not, "/" or "\\", in any case.

The seed of everything random here is 0.
"""

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_kit import TINY, Run
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from narrows import Library
from narrows.data.names import NameIndex, key_column

pytestmark = pytest.mark.cases

RNG = np.random.default_rng(0)
DECOMPOSED, COMPOSED = "Zu\u0308rich", "Z\u00fcrich"


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Pictures as a Mac and a camera name them."""
    names = [f"{DECOMPOSED}/1.png", "IMG_1.PNG", "left/a.png", "left/B.png", "right/a.png"]
    for number, name in enumerate(names):
        save(tmp_path / "photos" / name, number)
    return names


def trained(run: Run) -> None:
    assert run("train", "photos", "-o", "model", *TINY).code == 0


# What a table calls the same pictures.
CALLED = [f"{COMPOSED}\\1.png", "img_1.png", "left\\a.png", "./left/b.PNG", "RIGHT/A.PNG"]


@pytest.mark.parametrize("key", ["path", "File", "FILENAME"])
def test_metadata_find_their_pictures(
    key: str, photos: list[str], run: Run, tmp_path: Path
) -> None:
    trained(run)
    order = [3, 0, 4, 1, 2]
    table = {key: [CALLED[i] for i in order], "year": [2000 + i for i in order]}
    pd.DataFrame(table).to_csv(tmp_path / "meta.csv", index=False)
    done = run("index", "model", "photos", "-o", "library", "--metadata", "meta.csv")
    assert done.code == 0, done.err
    library = Library.open(tmp_path / "library")
    years = {item.path.removeprefix("photos/"): item.metadata["year"]
             for item in library.items(library.ids)}  # fmt: skip
    assert years == {name: 2000 + number for number, name in enumerate(photos)}


def test_metadata_that_fit_two_pictures_are_refused(run: Run, tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "A.png", "b.png")):
        save(tmp_path / "photos" / name, number)
    trained(run)
    table = tmp_path / "meta.csv"
    table.write_text("path,year\na.png,1\nA.png,2\nB.PNG,3\n")
    assert run("index", "model", "photos", "-o", "one", "--metadata", table).code == 0
    library = Library.open(tmp_path / "one")
    found = {item.path: item.metadata["year"] for item in library.items(library.ids)}
    assert found == {"photos/a.png": 1, "photos/A.png": 2, "photos/b.png": 3}
    table.write_text("path,year\nA.PNG,1\na.png,2\nb.png,3\n")
    refused = run("index", "model", "photos", "-o", "two", "--metadata", table)
    assert refused.code == 3
    assert "'A.PNG', as 'photos/A.png' and 'photos/a.png' are called" in refused.err


def test_labels_are_found_by_name_where_a_column_has_it(
    photos: list[str], run: Run, tmp_path: Path
) -> None:
    for number in range(20):
        save(tmp_path / "photos" / "more" / f"{number}.png", 100 + number)
    trained(run)
    names = [*CALLED, *(f"more/{number}.png" for number in range(20)), "more/gone.png"]
    kinds = {name: "even" if number % 2 else "odd" for number, name in enumerate(names)}
    shuffled = list(kinds.items())
    RNG.shuffle(shuffled)
    table = pd.DataFrame(shuffled, columns=["file", "label"])
    table.to_csv(tmp_path / "labels.csv", index=False)
    answer = run("map", "model", "photos", "-o", "map.csv", "--labels", "labels.csv",
                 "--method", "pca", "--no-scores")  # fmt: skip
    assert answer.code == 0, answer.err
    placed = pd.read_csv(tmp_path / "map.csv")
    right = dict(zip([*photos, *names[5:]], kinds.values(), strict=True))
    assert dict(zip(placed["name"], placed["label"], strict=True)) == {
        name: right[name] for name in placed["name"]
    }
    table[["label", "file"]].rename(columns={"label": "species"}).to_csv(
        tmp_path / "other.csv", index=False
    )
    assert run("map", "model", "photos", "-o", "other-map.csv", "--labels", "other.csv",
               "--method", "pca", "--no-scores").code == 0  # fmt: skip
    pd.testing.assert_frame_equal(placed, pd.read_csv(tmp_path / "other-map.csv"))


def test_labels_that_miss_a_picture_or_contradict_are_refused(
    photos: list[str], run: Run, tmp_path: Path
) -> None:
    trained(run)
    words = ["evaluate-matching", "model", "photos", "-k", "1", "--labels", "labels.csv"]
    lines = [f"{name},x" for name in CALLED]
    for text, message in (
        (lines[1:], f"no label for 1 of the 5 rows, the first of them '{DECOMPOSED}/1.png'"),
        ([*lines, "IMG_1.PNG,y"], "the labels 'x' and 'y' for 'IMG_1.PNG'"),
        ([*lines[:2], "a.png,x", *lines[3:]], "names 'a.png', as 'left/a.png' and 'right/a.png'"),
    ):
        (tmp_path / "labels.csv").write_text("\n".join(["file,label", *text]), "utf-8")
        refused = run(*words)
        assert refused.code == 3
        assert message in refused.err


def test_pairs_may_call_pictures_so_too(photos: list[str], run: Run, tmp_path: Path) -> None:
    trained(run)
    pairs = [f"{CALLED[0]},{CALLED[1]}", f"{CALLED[2]},{CALLED[4]}", "3,0"]
    (tmp_path / "pairs.csv").write_text("\n".join(["one,other", *pairs]), "utf-8")
    words = ["evaluate-matching", "model", "photos", "-k", "1", "--pairs", "pairs.csv"]
    assert run(*words).code == 0
    (tmp_path / "pairs.csv").write_text("one,other\na.png,0\n")
    assert "'a.png', which is more than one row" in run(*words).err


def test_clean_originals_are_found_by_name(run: Run, tmp_path: Path) -> None:
    clean = {f"{COMPOSED}.bmp": 0, "IMG_1.PNG": 1, "deep/B.png": 2, "x.png": 3, "x.bmp": 9}
    damaged = {f"{DECOMPOSED}.png": 0, "img_1.png": 1, "deep/b.jpg": 2, "x.png": 3}
    for names, folder in ((clean, "clean"), (damaged, "noisy")):
        for name, seed in names.items():
            save(tmp_path / folder / name, seed)  # of the same pixels, whatever the ending says
    train = ["train", "noisy", "-o", "model", "--model", "denoising", "--corruption", "gaussian"]
    assert run(*train, *TINY).code == 0
    words = ["denoise", "model", "noisy", "--clean", "clean", "-o"]
    done = run(*words, "out", "--json")
    assert done.code == 0, done.err
    assert done.json["ssim"]["damaged"] == pytest.approx(1)  # each was held against its own
    (tmp_path / "noisy" / "x.png").rename(tmp_path / "noisy" / "x.jpg")
    refused = run(*words, "again")
    assert refused.code == 3
    assert "'clean' has 'x.bmp' and 'x.png' for 'x.jpg'" in refused.err
    (tmp_path / "noisy" / "x.jpg").rename(tmp_path / "noisy" / "y.jpg")
    assert "no clean original of 'y.jpg'" in run(*words, "again").err


@given(st.lists(st.text("aAbB\u00fcu\u0308/\\.", min_size=1, max_size=6), min_size=1, max_size=6))
def test_a_name_finds_itself_unless_it_is_not_the_only_one(names: list[str]) -> None:
    index = NameIndex([[name] for name in names])
    for place, name in enumerate(names):
        plain = [part for part in name.split("/") if part not in ("", ".")]
        same = [
            other
            for other, one in enumerate(names)
            if [part for part in one.split("/") if part not in ("", ".")] == plain
            and one.startswith("/") == name.startswith("/")
        ]
        assert index.find(name) == (place if same == [place] else None)
        assert place in index.alike(name)
        decomposed = unicodedata.normalize("NFD", name).replace("/", "\\").upper()
        found = index.find(decomposed)
        assert found is None or found in index.alike(decomposed)


@given(st.lists(st.lists(st.text("aAb\u00fcu\u0308/\\.", min_size=1, max_size=4), max_size=3),
                max_size=6), st.text("aAb\u00fcu\u0308/\\.", min_size=1, max_size=4))  # fmt: skip
def test_a_name_may_mean_all_files_that_are_called_so(names: list[list[str]], name: str) -> None:
    def folded(text: str) -> str:
        text = unicodedata.normalize("NFC", text).replace("\\", "/")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        path = ("/" if text.startswith("/") else "") + "/".join(parts)
        return unicodedata.normalize("NFC", path.casefold())

    truth = [
        place
        for place, several in enumerate(names)
        if any(folded(name) in (folded(one), folded(one).split("/")[-1]) for one in several)
    ]
    assert NameIndex(names).alike(name) == truth


def test_looking_up_many_unknown_names_goes_through_the_files_a_few_times() -> None:
    class Watched(list[list[str]]):
        passes = 0

        def __iter__(self) -> Iterator[list[str]]:
            self.passes += 1
            return super().__iter__()

    names = Watched([f"{number % 7}/{number // 2}.png"] for number in range(200))
    index = NameIndex(names)
    for number in range(500):
        assert (index.find(f"none/{number}.jpg"), index.alike(f"none/{number}.jpg")) == (None, [])
        assert index.alike(f"{number}.png") == [2 * number, 2 * number + 1][: 200 * (number < 100)]
    assert names.passes <= 3


def test_the_first_of_the_columns_that_name_files_does_so() -> None:
    assert key_column(["year", "Path", "file"]) == "file"
    assert key_column(["year", "File", "PATH"]) == "PATH"
    assert key_column(["year", "picture"]) is None
