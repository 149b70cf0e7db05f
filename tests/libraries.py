"""Libraries, models and pictures for the tests of libraries; fixtures by way of conftest.py.

The seed of everything random here is 0.
"""

import json

import numpy as np
import pytest

from narrows import Autoencoder, Library
from narrows.data.depths import encode_png

SHAPE = (6, 5)


def draw(n, seed=0, channels=()):
    return np.random.default_rng(seed).integers(0, 256, (n, *SHAPE, *channels), np.uint8)


def fit(X, seed=0):
    return Autoencoder(4, hidden_layer_sizes=(16,), max_epochs=3, random_state=seed).fit(X)


@pytest.fixture(scope="module")
def pictures():
    return draw(60)


@pytest.fixture(scope="module")
def model(pictures):
    return fit(pictures)


@pytest.fixture
def photos(tmp_path, pictures):
    """Thirty PNG files, some of them in a subfolder, sorted by path as the pictures are."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, picture in enumerate(pictures[:30]):
        name = f"{number:02d}.png" if number < 20 else f"more/{number:02d}.png"
        (folder / name).write_bytes(encode_png(picture))
    return folder


@pytest.fixture
def library(tmp_path, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    library.add(pictures)
    return library


def say(folder, **facts):
    """Change what library.json says, as a version of Narrows without checksums wrote it."""
    file = folder / "library.json"
    before = json.loads(file.read_text("utf-8"))
    before.pop("check", None)
    before.pop("checks", None)
    file.write_text(json.dumps(before | {"format_version": 4} | facts), "utf-8")


def contents_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)
