"""Pictures to look at, and pictures that a library only refers to.

The seed of everything random here is 0.
"""

import hashlib
import os
import shutil
from io import BytesIO
from pathlib import Path

import lance
import numpy as np
import pytest
from libraries import SHAPE, fit, one_line
from PIL import Image

from narrows import Library
from narrows.data.decoding import decode_with_thumbnail
from narrows.data.depths import encode_png
from narrows.data.image_codec import decode
from narrows.errors import (
    LibraryError,
    MissingFileError,
    NarrowsWarning,
    ParameterError,
    UnreadableFileError,
)


def smooth(width, height):
    """A picture of colours that changes slowly, and differently along each side."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([x, y, 0.5 + 0.5 * np.sin(5 * x + 3 * y)], axis=2)
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def as_file(image, kind, **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def stored(library, *columns):
    return lance.dataset(str(library.path / "table.lance")).to_table(columns=list(columns))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shape", [(32, 32), (20, 40, 3), (100, 100, 1)])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_thumbnail_takes_nothing_from_the_pixels(kind, shape, turned):
    exif = Image.Exif()
    exif[0x0112] = turned
    file = as_file(smooth(700, 500), kind, exif=exif)
    pixels, thumbnail = decode_with_thumbnail(file, shape)
    np.testing.assert_array_equal(pixels, decode(file, shape))
    image = Image.open(BytesIO(thumbnail))
    upright = smooth(700, 500)
    if turned == 6:
        upright = upright.transpose(Image.Transpose.ROTATE_270)
    assert 80 <= max(image.size) <= 128
    assert abs(image.width / image.height - upright.width / upright.height) < 0.03
    truth = np.asarray(upright.resize(image.size, Image.Resampling.BOX), float)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image.convert("RGB"), float) - truth).mean() < 3


def test_matches_have_thumbnails_in_their_own_proportions(tmp_path, model):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "wide.jpg").write_bytes(as_file(smooth(640, 320), "JPEG"))
    (folder / "small.png").write_bytes(as_file(smooth(40, 30), "PNG"))
    (folder / "clear.png").write_bytes(as_file(Image.new("RGBA", (200, 300), "#ff000000"), "PNG"))
    (folder / "grey.png").write_bytes(as_file(Image.new("I;16", (20, 10), 65535), "PNG"))
    with pytest.warns(NarrowsWarning, match=r"1 file of 16 bits, such as '.*grey\.png', read in 8"):
        library, _ = Library.build(tmp_path / "pictures.lance", folder, model=model)
    shown = {Path(match.path).name: match.thumbnail for match in library.match(folder / "wide.jpg")}
    assert {name: pixels.shape for name, pixels in shown.items()} == {
        "wide.jpg": (40, 80, 3),
        "small.png": (30, 40, 3),
        "clear.png": (100, 67, 3),
        "grey.png": (10, 20),
    }
    assert all(pixels.dtype == np.uint8 for pixels in shown.values())
    np.testing.assert_array_equal(shown["small.png"], np.asarray(smooth(40, 30)))
    assert (shown["clear.png"] > 250).all()
    assert (shown["grey.png"] == 255).all()
    table = stored(library, "path", "thumbnail").to_pylist()
    assert {Path(r["path"]).name for r in table if r["thumbnail"] is None} == {
        "small.png",
        "grey.png",
    }


def test_thumbnails_are_read_together_as_files(tmp_path, model):
    """Those that are kept as they are kept, the others made of pictures that are small."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "small.png").write_bytes(as_file(smooth(40, 30), "PNG"))
    (folder / "wide.jpg").write_bytes(as_file(smooth(640, 320), "JPEG"))
    library, _ = Library.build(tmp_path / "pictures.lance", folder, model=model)
    library.add(np.zeros((1, *SHAPE), np.uint8))
    files = library.thumbnails([2, 1, 0, 1])
    assert [file[:2] for file in files] == [b"\x89P", b"\xff\xd8", b"\x89P", b"\xff\xd8"]
    for file, item in zip(files, library.items([2, 1, 0, 1]), strict=True):
        with Image.open(BytesIO(file)) as image:
            np.testing.assert_array_equal(np.asarray(image), item.thumbnail)
    with pytest.raises(ParameterError, match="no picture of id 9"):
        library.thumbnails([9])


def test_arrays_have_thumbnails_too(tmp_path):
    random = np.random.default_rng(0)
    for shape, seen in [((6, 5), (6, 5)), ((6, 5, 1), (6, 5)), ((10, 200, 3), (5, 100, 3))]:
        X = random.random((8, *shape), dtype=np.float32)
        library, _ = Library.build(tmp_path / f"{shape}.lance", X, model=fit(X))
        match = library.match(X[3], k=1)[0]
        assert (match.thumbnail.shape, match.thumbnail.dtype) == (seen, np.uint8)
        if max(shape) <= 128:
            pixels = np.rint(X[3].reshape(seen) * 255)
            np.testing.assert_array_equal(match.thumbnail, pixels)
    X = random.random((8, 4), dtype=np.float32)
    library, _ = Library.build(tmp_path / "rows.lance", X, model=fit(X))
    with pytest.raises(LibraryError, match="no pictures") as caught:
        _ = library.match(X[3], k=1)[0].thumbnail
    one_line(caught)


# References


@pytest.fixture
def referring(tmp_path, photos, model, monkeypatch):
    """A library that refers to thirty files, which were named from another folder."""
    monkeypatch.chdir(tmp_path)
    _, added = Library.build("pictures.lance", "photos", model=model, store="references")
    assert added.count == 30
    monkeypatch.chdir(photos)
    return Library.open(tmp_path / "pictures.lance")


def test_a_library_refers_to_files(referring, photos, pictures):
    rows = stored(referring, "picture", "reference", "hash", "path").to_pylist()
    assert all(row["picture"] is None for row in rows)
    for row in rows:
        file = Path(row["reference"])
        assert file.is_absolute()
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row["hash"]
        assert row["path"] == str(file.relative_to(photos.parent))
    for rerank in (None, "pixels"):
        match = referring.match(pictures[7], k=2, rerank=rerank)[0]
        assert match.path == "photos/07.png"
        np.testing.assert_array_equal(match.picture, pictures[7])
    added = referring.add(photos)
    assert (added.count, added.present, len(referring)) == (0, 30, 30)


def test_what_a_library_refers_to_has_to_be_the_same_still(referring, photos, pictures):
    changed, gone, refused, fine = (referring.match(pictures[n], k=1)[0] for n in (3, 4, 5, 6))
    (photos / "03.png").write_bytes(encode_png(pictures[33]))
    (photos / "04.png").unlink()
    (photos / "05.png").unlink()
    (photos / "05.png").mkdir()
    for match, error, words in (
        (changed, UnreadableFileError, "changed since"),
        (gone, MissingFileError, "not there any more"),
        (refused, UnreadableFileError, "it is a folder"),
    ):
        with pytest.raises(error, match=words) as caught:
            _ = match.picture
        assert str(photos / Path(match.path).name) in one_line(caught)
        # There is something to show nevertheless.
        assert match.thumbnail.shape == SHAPE
    np.testing.assert_array_equal(fine.picture, pictures[6])
    shutil.rmtree(photos)
    with pytest.raises(MissingFileError, match="not there any more"):
        referring.match(pictures[6], k=3, rerank="pixels")
    assert referring.match(pictures[6], k=1)[0].path == "photos/06.png"


def test_what_cannot_be_referred_to(tmp_path, photos, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    with pytest.raises(ParameterError, match="no file of their own") as caught:
        library.add(pictures, store="references")
    one_line(caught)
    with pytest.raises(ParameterError, match="'links' is not known") as caught:
        library.add(photos, store="links")
    one_line(caught)
    (photos / "00.png").rename(os.fsdecode(os.fsencode(photos) + b"/\xff.png"))
    added = library.add(photos, store="references", skip_unreadable=True)
    assert (added.count, len(added.skipped)) == (29, 1)
    assert "UTF-8" in added.skipped[0][1]
    # Stored, it can be in the same library.
    assert library.add(photos).count == 1
    np.testing.assert_array_equal(library.match(pictures[0], k=1)[0].picture, pictures[0])
