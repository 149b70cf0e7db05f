"""Additions that others write in shares: what one process adds.

The seed of everything random here is 0.
"""

import numpy as np
import pytest
from libraries import draw, one_line

from narrows import Library
from narrows.data.depths import encode_png
from narrows.errors import DataError, MissingFileError, ParameterError, UnreadableFileError
from narrows.library import Workers


class Backwards(Workers):
    """Two workers, of whom the first to begin is the last to end."""

    count = 2

    def map(self, function, parts, common, places, *_):
        shares = list(parts)
        self.sizes = [len(share.given) for share in shares]
        assert all(place.exists() for place in places)
        for number in reversed(range(len(shares))):
            yield number, function(shares[number], *common)


class Failing(Workers):
    """The third share fails."""

    def map(self, *arguments):
        for number, written in super().map(*arguments):
            if number == 2:
                raise MissingFileError("gone")
            yield number, written


@pytest.fixture
def workers():
    return Backwards()


def rows_of(library):
    """Give what is known of each row, but for its code and when it was added."""
    found = library.items(library.ids)
    return [(item.path, item.metadata, item.picture.tobytes()) for item in found]


def test_shares_make_the_library_that_one_process_makes(tmp_path, model, photos, workers) -> None:
    told = []
    facts = {"metadata": {"n": range(30)}, "model": model}
    alone, _ = Library.build(tmp_path / "alone", photos, **facts)
    shared, added = Library.build(
        tmp_path / "shared", photos, **facts, workers=workers, progress=lambda *n: told.append(n)
    )
    assert added.count == 30
    assert workers.sizes == [4] * 7 + [2]
    assert told[0] == (2, 30)
    assert told[-1] == (30, 30)
    assert rows_of(shared) == rows_of(alone)
    np.testing.assert_array_equal(shared.ids, alone.ids)
    # The last digit of a code depends on how many pictures are encoded with it.
    np.testing.assert_allclose(shared.codes, alone.codes, rtol=1e-5, atol=1e-6)
    assert shared.verify().ok


def test_arrays_are_shared_too(tmp_path, model, pictures, workers) -> None:
    names = [f"picture {n}" for n in range(60)]
    library, _ = Library.build(
        tmp_path / "shared", pictures, model=model, names=names, workers=workers
    )
    np.testing.assert_array_equal(library.read(library.ids), pictures)
    assert [item.path for item in library.items(library.ids)] == names


def test_a_file_of_rows_keeps_their_names(tmp_path, model, pictures, workers) -> None:
    np.save(tmp_path / "rows.npy", pictures)
    alone, shared = (
        Library.build(tmp_path / f"{who}", tmp_path / "rows.npy", model=model, workers=who)[0]
        for who in (None, workers)
    )
    assert rows_of(shared) == rows_of(alone)


def test_of_the_same_picture_in_two_shares_the_first_stays(tmp_path, model, workers) -> None:
    X = draw(40)
    X[[17, 39]] = X[3]
    library, added = Library.build(tmp_path / "shared", X, model=model, workers=workers)
    assert (added.count, added.present) == (38, 2)
    assert library.ids.tolist() == [n for n in range(40) if n not in (17, 39)]
    assert [match.id for match in library.match(X[39], k=1)] == [3]


def test_what_is_new_is_added_and_readers_see_it_at_once(library, model, workers) -> None:
    reader = Library.open(library.path)
    X = np.concatenate([draw(60)[50:], draw(25, seed=1)])
    added = library.add(X, workers=workers)
    assert (added.count, added.present, len(library)) == (25, 10, 85)
    np.testing.assert_array_equal(library.read(library.ids[60:]), draw(25, seed=1))
    assert len(reader) == 60
    assert len(reader.refresh()) == 85
    assert library.add(X, workers=workers).count == 0


def test_unreadable_files_are_left_out_or_refused(tmp_path, model, photos, workers) -> None:
    (photos / "05.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableFileError, match=r"05\.png"):
        Library.build(tmp_path / "shared", photos, model=model, workers=workers)
    assert not (tmp_path / "shared").exists()
    library, added = Library.build(
        tmp_path / "shared", photos, model=model, workers=workers, skip_unreadable=True
    )
    assert (added.count, added.present, len(library)) == (29, 0, 29)
    assert [path for path, _ in added.skipped] == [str(photos / "05.png")]


def test_a_share_of_which_nothing_can_be_read(tmp_path, model, workers) -> None:
    paths = []
    for number, picture in enumerate(draw(16)):
        paths.append(tmp_path / f"{number:02}.png")
        paths[-1].write_bytes(encode_png(picture) if number > 3 else b"no picture")
    library, added = Library.build(
        tmp_path / "some", paths, model=model, workers=workers, skip_unreadable=True
    )
    assert (added.count, len(added.skipped), len(library)) == (12, 4, 12)
    with pytest.raises(DataError, match="none of 4 pictures can be read"):
        Library.build(
            tmp_path / "none", paths[:4], model=model, workers=workers, skip_unreadable=True
        )
    assert not (tmp_path / "none").exists()


def test_what_fails_on_the_way_is_not_seen(library, model) -> None:
    before = rows_of(library)
    with pytest.raises(MissingFileError, match="gone"):
        library.add(draw(25, seed=1), workers=Failing())
    assert rows_of(Library.open(library.path)) == before
    assert library.add(draw(25, seed=1)).count == 25
    assert library.verify().ok


def test_an_iterator_cannot_be_shared(library, workers) -> None:
    with pytest.raises(ParameterError, match="an iterator was given") as caught:
        library.add(iter(draw(3, seed=1)), workers=workers)
    one_line(caught)
    assert len(library.refresh()) == 60
