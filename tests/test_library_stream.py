"""Libraries from iterators: whatever these yield, in memory that does not grow with them.

The seed of everything random here is 0.
"""

import weakref
from hashlib import sha256
from io import BytesIO

import lance
import numpy as np
import pytest
from libraries import draw, one_line
from PIL import Image

from narrows import Library
from narrows.data.depths import encode_png
from narrows.errors import DataError, ParameterError, UnreadableFileError


@pytest.fixture
def empty(tmp_path, model):
    return Library.create(tmp_path / "pictures.lance", model=model)


def rows_of(library):
    return lance.dataset(str(library.path / "table.lance")).to_table().to_pylist()


def test_a_stream_of_arrays_is_the_array(empty, tmp_path, model):
    """Alone, in batches of all sizes, and mixed; ids follow the stream, copies are left out."""
    X = draw(3000)
    truth, _ = Library.build(tmp_path / "truth.lance", X, model=model)

    def stream():
        yield from X[:1500]
        yield X[1500:1501]
        yield X[1501:2998]
        yield X[7]
        yield from X[2998:]

    seen = []
    added = empty.add(stream(), progress=lambda done, total: seen.append((done, total)))
    assert (added.count, added.present, added.skipped) == (3000, 1, [])
    assert seen == sorted(set(seen))
    assert seen[-1] == (3001, 3001)
    assert all(done == total for done, total in seen)
    for one, other in zip(rows_of(empty), rows_of(truth), strict=True):
        np.testing.assert_allclose(one.pop("code"), other.pop("code"), rtol=1e-4, atol=1e-5)
        assert one.pop("added") > other.pop("added")
        assert one == other
    built, again = Library.build(tmp_path / "built.lance", iter(X[:20]), model=model)
    assert (len(built), again.count) == (20, 20)
    assert built.verify().ok


def test_a_stream_of_files_of_all_kinds(empty, photos, pictures, tmp_path):
    """Paths of pictures, folders and data; contents; Pillow's pictures, lying or in colours."""
    np.save(tmp_path / "data.npy", draw(4, seed=1))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    Image.fromarray(pictures[40]).save(file, "TIFF", exif=exif)
    lying = Image.open(file)
    colours = Image.fromarray(draw(1, 2, (3,))[0]).convert("CMYK")

    def stream():
        yield photos / "03.png"
        yield str(photos / "04.png")
        yield photos  # with these two again
        yield tmp_path / "data.npy"
        yield encode_png(pictures[41])
        yield lying
        yield colours

    added = empty.add(stream())
    assert (added.count, added.present) == (30 + 4 + 3, 2)
    rows = rows_of(empty)
    assert [row["path"] for row in rows[:3]] == [str(photos / f"0{n}.png") for n in (3, 4, 0)]
    data = [f"{tmp_path / 'data.npy'}[{number}]" for number in range(4)]
    assert [row["path"] for row in rows[30:]] == [*data, "34", "35", "36"]
    for row in rows:
        assert sha256(row["picture"]).hexdigest() == row["hash"]
    np.testing.assert_array_equal(empty.read([34])[0], pictures[41])
    upright = Image.open(BytesIO(rows[35]["picture"]))
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(pictures[40], -1))
    assert empty.verify().ok


def test_a_stream_is_not_gathered(empty):
    """Of 12 000 arrays no more than three thousand are there at any time."""
    alive = weakref.WeakSet()
    most = 0

    class Picture(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

        def __eq__(self, other):
            return self is other

    def stream():
        nonlocal most
        for picture in draw(12_000):
            one = picture.copy().view(Picture)
            alive.add(one)
            most = max(most, len(alive))
            yield one
            del one

    assert empty.add(stream()).count == 12_000
    assert 1000 < most <= 3000


def test_what_goes_wrong_in_a_stream_adds_nothing(empty, photos, pictures):
    def broken(error=None):
        yield from draw(5000, seed=1)
        if error:
            raise error
        yield b"no picture"

    with pytest.raises(KeyError):
        empty.add(broken(KeyError("the stream's own error comes through as it is")))
    with pytest.raises(UnreadableFileError, match="'picture 5000' is not a readable") as caught:
        empty.add(broken())
    one_line(caught)
    assert len(Library.open(empty.path)) == 0
    added = empty.add(broken(), skip_unreadable=True)
    assert (added.count, added.skipped[0][0]) == (5000, "picture 5000")
    for given, error, words in (
        (iter([]), DataError, "no pictures were given"),
        (iter([b"1", b"2"]), DataError, "none of 2 pictures"),
        (iter([draw(1)[0].T]), DataError, "shape"),
    ):
        with pytest.raises(error, match=words) as caught:
            empty.add(given, skip_unreadable=True)
        one_line(caught)
    with pytest.raises(ParameterError, match="iterator") as caught:
        empty.add(iter(pictures), names=["a"] * 60)
    one_line(caught)
    for given in (iter(pictures), iter([encode_png(pictures[0])])):
        with pytest.raises(ParameterError, match="no file of their own"):
            empty.add(given, store="references")
    assert empty.add(iter(photos.rglob("*.png")), store="references").count == 30
    assert len(empty) == 5030
