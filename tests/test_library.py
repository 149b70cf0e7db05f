"""A library of pictures: what goes in comes out, nothing halfway, and one clear line otherwise.

The seed of everything random here is 0.
"""

import json
import os
import resource
import shutil
import subprocess
import sys

import lance
import numpy as np
import pyarrow as pa
import pytest

from narrows import Autoencoder, Library
from narrows.data.images import encode_png
from narrows.errors import (
    DataError,
    FormatError,
    LibraryError,
    MissingFileError,
    NotFittedError,
    OutputError,
    OutputExistsError,
    ParameterError,
    UnreadableFileError,
    WrongModelError,
)
from narrows.library import Added, Match

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


def by_hand(codes, code, k):
    """The k nearest codes, in float64."""
    distances = np.sqrt(((codes.astype(np.float64) - code) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")[:k]
    return distances[order], order.tolist()


def contents_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What goes in comes out


def test_matches_of_an_array_are_the_nearest_codes(library, model, pictures):
    queries = draw(5, seed=1)
    codes = model.transform(pictures)
    for found, code in zip(library.match(queries, k=7), model.transform(queries), strict=True):
        distances, rows = by_hand(codes, code, 7)
        assert [match.id for match in found] == rows
        np.testing.assert_allclose([m.distance for m in found], distances, rtol=1e-4)
        assert all(isinstance(match, Match) for match in found)


def test_one_query_gives_one_list_and_a_batch_one_for_each(library, pictures):
    one = library.match(pictures[3])
    assert [type(match) for match in one] == [Match] * 5
    assert one[0].id == 3
    assert one[0].distance == pytest.approx(0, abs=1e-4)
    batch = library.match(pictures[3:5], k=2)
    assert [[type(m) for m in found] for found in batch] == [[Match] * 2] * 2
    assert [found[0].id for found in batch] == [3, 4]
    assert [m.id for m in library.match(pictures[3:4])[0]] == [m.id for m in one]


def test_flat_rows_and_lists_are_taken_as_the_model_takes_them(library, pictures):
    assert library.match(pictures[8].tolist(), k=1)[0].id == 8
    found = library.match(pictures[8:10].reshape(2, -1), k=1)
    assert [one[0].id for one in found] == [8, 9]


def test_a_folder_of_pictures(tmp_path, photos, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    seen = []
    added = library.add(photos, progress=lambda done, total: seen.append((done, total)))
    assert added == Added(30, [])
    assert len(library) == 30
    assert seen[-1] == (30, 30)
    match = library.match(photos / "more" / "25.png", k=1)[0]
    assert match.path == str(photos / "more" / "25.png")
    assert match.id == 25
    np.testing.assert_array_equal(match.picture, pictures[25])
    found = library.match([photos / "04.png", str(photos / "more" / "21.png")], k=1)
    assert [one[0].id for one in found] == [4, 21]
    assert [one[0].id for one in library.match(photos, k=1)] == list(range(30))


def test_files_are_kept_byte_for_byte(tmp_path, photos, model):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    files = [photos / "05.png", photos / "01.png"]
    library.add(files)
    library.add(str(photos / "02.png"))
    table = lance.dataset(tmp_path / "pictures.lance" / "table.lance").to_table()
    assert table["id"].to_pylist() == [0, 1, 2]
    assert table["picture"].to_pylist() == [
        (photos / name).read_bytes() for name in ("05.png", "01.png", "02.png")
    ]
    np.testing.assert_allclose(
        np.array(table["code"].to_pylist(), np.float32),
        model.transform(draw(60)[[5, 1, 2]]),
        rtol=1e-4,
        atol=1e-5,
    )


def test_names_and_default_paths(tmp_path, model, pictures):
    np.save(tmp_path / "data.npy", pictures[:3])
    library = Library.create(tmp_path / "pictures.lance", model=model)
    library.add(pictures[:2])
    library.add(pictures[2:4], names=["third", "f\udcffourth"])
    library.add(tmp_path / "data.npy")
    found = sorted(library.match(pictures[0], k=7), key=lambda match: match.id)
    assert [match.path for match in found] == [
        "0", "1", "third", r"f\xffourth", *(f"{tmp_path / 'data.npy'}[{i}]" for i in range(3))
    ]  # fmt: skip


def test_a_file_of_data_and_a_picture_in_a_npy_file_are_queries(library, tmp_path, pictures):
    np.save(tmp_path / "batch.npy", pictures[:2])
    found = library.match(tmp_path / "batch.npy", k=1)
    assert [one[0].id for one in found] == [0, 1]
    np.save(tmp_path / "one.npy", pictures[7])
    assert library.match(tmp_path / "one.npy", k=1)[0].id == 7


def test_tables_of_numbers(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 7))
    library = Library.create(tmp_path / "rows.lance", model=fit(X))
    library.add(X)
    match = library.match(X[11], k=1)[0]
    assert match.id == 11
    np.testing.assert_array_equal(match.picture, X[11])
    assert match.picture.dtype == np.float64
    assert match.decoded.shape == (7,)


def test_colour_pictures(tmp_path):
    X = draw(40, channels=(3,))
    library = Library.create(tmp_path / "colour.lance", model=fit(X))
    (tmp_path / "files").mkdir()
    for number, picture in enumerate(X[:4]):
        (tmp_path / "files" / f"{number}.png").write_bytes(encode_png(picture))
    library.add(tmp_path / "files")
    match = library.match(X[2], k=1)[0]
    assert match.path.endswith("2.png")
    np.testing.assert_array_equal(match.picture, X[2])


def test_files_meet_a_model_of_floats_in_the_data_s_units(tmp_path, photos, pictures):
    X = (pictures / np.float32(255)).astype(np.float32)
    library = Library.create(tmp_path / "pictures.lance", model=fit(X))
    library.add(photos)
    library.add(X[30:32])
    match = library.match(photos / "03.png", k=1)[0]
    assert match.path.endswith("03.png")
    assert match.distance == pytest.approx(0, abs=1e-4)
    np.testing.assert_allclose(match.picture, X[3], atol=1e-6)
    assert library.match(X[30], k=1)[0].id == 30


def test_decoded_is_made_from_the_code_alone(library, model, pictures):
    match = library.match(pictures[5], k=1)[0]
    np.testing.assert_array_equal(match.picture, pictures[5])
    assert match.picture.dtype == np.uint8
    assert match.decoded.dtype == np.float32
    np.testing.assert_allclose(match.decoded, model.reconstruct(pictures[5:6])[0], rtol=1e-4)


def test_matches_outlive_later_additions_and_compare_by_what_they_say(library, pictures):
    match = library.match(pictures[5], k=1)[0]
    library.add(draw(10, seed=3))
    np.testing.assert_array_equal(match.picture, pictures[5])
    assert match == library.match(pictures[5], k=1)[0]


def test_ids_are_unique_and_increase(library, tmp_path):
    library.add(draw(3, seed=1))
    Library.open(library.path).add(draw(4, seed=2))
    ids = lance.dataset(library.path / "table.lance").to_table(columns=["id"])["id"].to_pylist()
    assert ids == list(range(67))


def test_cosine(library, model, pictures):
    codes = model.transform(pictures).astype(np.float64)
    code = model.transform(draw(1, seed=1))[0]
    distances = 1 - codes @ code / np.linalg.norm(codes, axis=1) / np.linalg.norm(code)
    found = library.match(draw(1, seed=1)[0], k=60, metric="cosine")
    assert [match.id for match in found] == np.argsort(distances).tolist()
    np.testing.assert_allclose([m.distance for m in found], np.sort(distances), atol=1e-5)


def test_rerank_orders_candidates_by_their_pixels(library, model, pictures):
    query = draw(1, seed=1)[0]
    _, candidates = by_hand(model.transform(pictures), model.transform(query[None])[0], 20)
    errors = ((pictures[candidates].astype(np.float64) - query) ** 2).mean(axis=(1, 2))
    expected = [candidates[place] for place in np.argsort(errors, kind="stable")[:6]]
    found = library.match(query, k=6, rerank="pixels", n_candidates=20)
    assert [match.id for match in found] == expected
    np.testing.assert_allclose([m.distance for m in found], np.sort(errors)[:6], rtol=1e-6)
    # All of them as candidates: the nearest by pixels, whatever the codes say.
    everything = ((pictures.astype(np.float64) - query) ** 2).mean(axis=(1, 2))
    batch = library.match(query[None], k=60, rerank="pixels", n_candidates=1)
    assert [match.id for match in batch[0]] == np.argsort(everything, kind="stable").tolist()


def test_k_beyond_the_count_gives_what_there_is(library, pictures):
    assert len(library.match(pictures[0], k=1000)) == 60
    assert len(library.match(pictures[0], k=1000, rerank="pixels")) == 60


def test_equal_pictures_come_in_the_order_they_were_added(tmp_path, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    library.add(np.repeat(pictures[:2], 40, axis=0))
    for rerank in (None, "pixels"):
        found = library.match(pictures[1], k=3, rerank=rerank)
        assert [match.id for match in found] == [40, 41, 42]


# The folder


def test_a_library_is_enough_in_itself_and_can_move(library, tmp_path, pictures):
    expected = library.match(pictures[9], k=3)
    elsewhere = tmp_path / "else where #1"
    elsewhere.mkdir()
    moved = shutil.move(library.path, elsewhere / "é.lance")
    opened = Library.open(moved)
    assert opened.match(pictures[9], k=3) == expected
    np.testing.assert_array_equal(opened.match(pictures[9], k=1)[0].picture, pictures[9])
    assert len(opened) == 60
    assert repr(opened) == f"Library('{moved}', 60 pictures)"


def test_the_model_inside_is_a_copy(library, model, pictures):
    inside = library.model
    assert inside is not model
    assert inside.fingerprint_ == model.fingerprint_
    np.testing.assert_array_equal(inside.transform(pictures), model.transform(pictures))


def test_an_encoder_alone_is_enough_to_match(tmp_path, model, pictures):
    encoder, decoder = model.split()
    library = Library.create(tmp_path / "pictures.lance", model=encoder)
    library.add(pictures)
    match = library.match(pictures[4], k=1)[0]
    np.testing.assert_array_equal(match.picture, pictures[4])
    with pytest.raises(LibraryError, match="encoder alone") as caught:
        _ = match.decoded
    one_line(caught)
    # Both halves belong to the model whose codes these are.
    assert len(Library.open(library.path, model=model)) == 60
    assert len(Library.open(library.path, model=decoder)) == 60


def test_build_is_create_and_add_in_one_step(tmp_path, photos, model, pictures):
    path = tmp_path / "pictures.lance"
    library, added = Library.build(path, photos, model=model)
    assert (len(library), added.count) == (30, 30)
    assert library.match(pictures[3], k=1)[0].path == str(photos / "03.png")
    before = contents_of(path)
    (photos / "99.png").write_bytes(b"no picture")
    for target in (path, tmp_path / "other.lance"):
        with pytest.raises(UnreadableFileError, match=r"99\.png"):
            Library.build(target, photos, model=model, overwrite=True)
    assert contents_of(path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos", "pictures.lance"]
    library, added = Library.build(
        path, photos, model=model, overwrite=True, skip_unreadable=True, names=list("x" * 31)
    )
    assert (added.count, len(added.skipped), len(Library.open(path))) == (30, 1, 30)


def test_overwrite_replaces_the_whole_library(library, pictures):
    path = library.path
    other = fit(pictures, seed=1)
    replaced = Library.create(path, model=other, overwrite=True)
    assert len(replaced) == 0
    replaced.add(pictures[:3])
    again = Library.open(path, model=other)
    assert len(again) == 3
    assert again.match(pictures[2], k=1)[0].id == 2
    names = sorted(p.name.partition("-")[0] for p in path.iterdir())
    assert names == ["library.json", "model", "table"]
    with pytest.raises(LibraryError, match="replaced by another") as caught:
        library.add(pictures)
    one_line(caught)
    assert len(Library.open(path)) == 3


def test_an_empty_folder_is_no_obstacle_to_overwriting(tmp_path, model, pictures):
    (tmp_path / "pictures.lance").mkdir()
    library = Library.create(tmp_path / "pictures.lance", model=model, overwrite=True)
    assert library.add(pictures).count == 60


def test_what_is_no_library_is_never_replaced(tmp_path, model):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.txt").write_text("me")
    (tmp_path / "file").write_text("me")
    for name in ("photos", "file"):
        for overwrite in (False, True):
            with pytest.raises(OutputExistsError) as caught:
                Library.create(tmp_path / name, model=model, overwrite=overwrite)
            one_line(caught)
    assert (tmp_path / "photos" / "dear.txt").read_text() == "me"
    assert (tmp_path / "file").read_text() == "me"


# Nothing halfway


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "folder"])
def test_an_unreadable_file_adds_nothing_or_is_skipped(tmp_path, photos, model, damage):
    bad = photos / "more" / "22.png"
    whole = bad.read_bytes()
    bad.unlink()
    match damage:
        case "truncated":
            bad.write_bytes(whole[: len(whole) // 2])
        case "foreign":
            bad.write_bytes(b"%PDF-1.4 and so on")
        case "empty":
            bad.touch()
        case "folder":
            bad.mkdir()
    files = sorted(photos.rglob("*.png"))
    library = Library.create(tmp_path / "pictures.lance", model=model)
    before = contents_of(library.path)
    with pytest.raises(UnreadableFileError, match=r"22\.png.*skip_unreadable") as caught:
        library.add(files)
    one_line(caught)
    assert len(library) == len(Library.open(library.path)) == 0
    assert contents_of(library.path) == before
    names = [f"picture {number}" for number in range(30)]
    added = library.add(files, skip_unreadable=True, names=names)
    assert added.count == len(library) == 29
    assert [path for path, _ in added.skipped] == [str(bad)]
    assert all(reason for _, reason in added.skipped)
    found = library.match(files[0], k=29)
    assert sorted(match.path for match in found) == sorted(set(names) - {"picture 22"})


def test_nothing_readable_is_an_error(tmp_path, model):
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_text("no picture")
    library = Library.create(tmp_path / "pictures.lance", model=model)
    with pytest.raises(DataError, match=r"none of the 2 .*a\.png") as caught:
        library.add(tmp_path / "photos", skip_unreadable=True)
    one_line(caught)
    assert len(library) == 0


def test_an_error_far_into_an_addition_leaves_what_was_there(library):
    X = draw(5000, seed=4).astype(np.float32)
    X[4321] = np.nan
    before = contents_of(library.path)
    with pytest.raises(DataError, match="NaN"):
        library.add(X)
    assert contents_of(library.path) == before

    def stop(done, total):
        raise KeyError("a callback's own error comes through as it is")

    with pytest.raises(KeyError):
        library.add(draw(5000), progress=stop)
    assert contents_of(library.path) == before
    assert library.add(draw(5000)).count == 5000
    assert len(library) == 5060


def test_a_reader_keeps_what_it_opened(library, pictures):
    reader = Library.open(library.path)
    library.add(draw(10, seed=2))
    assert (len(reader), len(library), len(Library.open(library.path))) == (60, 70, 70)
    assert len(reader.match(pictures[0], k=100)) == 60
    assert len(library.match(pictures[0], k=100)) == 70


WRITER = """
import sys
import numpy as np
from narrows import Library
library = Library.open(sys.argv[1])
X = np.full((3000, 6, 5), int(sys.argv[2]), np.uint8)
print("ready", flush=True)
input()
for _ in range(3):
    print(library.add(X, names=[sys.argv[2]] * 3000).count, flush=True)
"""


def start_writer(path, number):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_writers_at_once_lose_nothing_even_if_one_is_killed(library, pictures):
    """The first is killed when one of its additions is acknowledged and more are under way."""
    writers = [start_writer(library.path, number) for number in (1, 2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert writers[0].stdout.readline() == "3000\n"
    writers[0].kill()
    writers[0].communicate()
    assert writers[1].communicate()[0] == "3000\n" * 3
    opened = Library.open(library.path)
    assert opened.match(pictures[3], k=1)[0].id == 3
    table = lance.dataset(library.path / "table.lance").to_table(columns=["id", "path"])
    assert table["id"].to_pylist() == list(range(len(opened)))
    paths = table["path"].to_pylist()[60:]
    additions = [set(paths[start : start + 3000]) for start in range(0, len(paths), 3000)]
    assert additions.count({"2"}) == 3
    assert additions.count({"1"}) == len(additions) - 3 >= 1
    assert len(paths) % 3000 == 0


@pytest.fixture
def small_files():
    """A limit on the size of files, which stands in for the size of a disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("count", [9000, 150_000])
def test_a_full_disk_adds_nothing(library, small_files, count):
    """Met when the file is closed, and in the middle of writing."""
    before = contents_of(library.path)
    done = []
    with pytest.raises(OutputError, match="could not be written: File too large") as caught:
        library.add(draw(count), progress=lambda *now: done.append(now))
    assert (done[-1] == (count, count)) == (count == 9000)
    one_line(caught)
    assert contents_of(library.path) == before
    assert library.add(draw(10)).count == 10


def test_additions_larger_than_a_part(library, photos):
    seen = []
    files = [photos / "00.png", photos / "01.png"] * 150
    library.add(files, progress=lambda done, total: seen.append((done, total)))
    assert len(library) == 360
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] == (300, 300)
    found = library.match(photos / "01.png", k=151)
    assert [match.id for match in found] == [1, *range(61, 360, 2)]


# Bad input


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (np.zeros((7, 5), np.uint8), r"shape \(7, 5\)"),
        (np.zeros((2, 7, 5), np.uint8), r"shape \(2, 7, 5\).*\(6, 5\)"),
        (np.zeros((0, 6, 5), np.uint8), "no pictures"),
        (np.full((6, 5), np.nan), "NaN"),
        ([[1, 2], [3]], "different shapes"),
        (np.full((6, 5), "a"), "type"),
        (3.0, r"shape \(\)"),
        ([], "shape"),
    ],
)
def test_data_that_does_not_fit(library, query, words):
    for action in (library.match, library.add):
        with pytest.raises(DataError, match=words) as caught:
            action(query)
        one_line(caught)
    assert len(Library.open(library.path)) == 60


def test_files_that_are_none(library, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    for action in (library.match, library.add):
        for query, error in {
            "notes.txt": DataError,
            "bad.png": UnreadableFileError,
            "empty": DataError,
            "nowhere.png": MissingFileError,
            "nowhere": MissingFileError,
        }.items():
            with pytest.raises(error, match=query) as caught:
                action(tmp_path / query)
            one_line(caught)
        with pytest.raises(MissingFileError, match="nowhere"):
            action([tmp_path / "nowhere.png", tmp_path / "bad.png"])


def test_pictures_do_not_fit_a_model_of_tables(tmp_path, photos):
    X = np.random.default_rng(0).normal(size=(50, 7))
    library = Library.create(tmp_path / "rows.lance", model=fit(X))
    for given in (photos, photos / "00.png", [photos / "00.png"]):
        with pytest.raises(DataError, match=r"00\.png.*\(7,\)") as caught:
            library.add(given)
        one_line(caught)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"k": 0}, "k=0"),
        ({"k": 1.5}, r"k=1\.5"),
        ({"k": True}, "k=True"),
        ({"metric": "manhattan"}, "metric='manhattan'"),
        ({"rerank": "ssim"}, "rerank='ssim'"),
        ({"rerank": "pixels", "n_candidates": 0}, "n_candidates=0"),
    ],
)
def test_parameters_that_are_not_allowed(library, pictures, parameters, words):
    with pytest.raises(ParameterError, match=words) as caught:
        library.match(pictures[0], **parameters)
    one_line(caught)


@pytest.mark.parametrize(("names", "words"), [(["a"], "1 names for 60"), ([1] * 60, "1, which")])
def test_names_that_are_not_allowed(library, pictures, names, words):
    with pytest.raises(ParameterError, match=words) as caught:
        library.add(pictures, names=names)
    one_line(caught)


def test_an_empty_library_has_no_matches(tmp_path, model, pictures):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    with pytest.raises(LibraryError, match="empty") as caught:
        library.match(pictures[0])
    one_line(caught)


def test_models_that_make_no_codes(tmp_path, model):
    for wrong, error in {
        model.split()[1]: ParameterError,
        "model": ParameterError,
        Autoencoder(4): NotFittedError,
    }.items():
        with pytest.raises(error) as caught:
            Library.create(tmp_path / "pictures.lance", model=wrong)
        one_line(caught)
    assert not any(tmp_path.iterdir())


def test_places_where_no_library_can_be(tmp_path, library, model):
    with pytest.raises(OutputExistsError) as caught:
        Library.create(library.path, model=model)
    one_line(caught)
    with pytest.raises(OutputError) as caught:
        Library.create(tmp_path / "no" / "such", model=model)
    one_line(caught)
    assert len(Library.open(library.path)) == 60


def test_another_model_is_refused(library, pictures, model):
    other = fit(pictures, seed=1)
    with pytest.raises(WrongModelError) as caught:
        Library.open(library.path, model=other)
    message = one_line(caught)
    assert model.fingerprint_[:12] in message
    assert other.fingerprint_[:12] in message


def remove(name):
    return lambda path: (
        shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
    )


def change(**facts):
    def damage(path):
        file = path / "library.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | facts))

    return damage


def truncate(pattern):
    def damage(path):
        for file in path.glob(pattern):
            os.truncate(file, file.stat().st_size // 2)

    return damage


def replace_table(path):
    shutil.rmtree(path / "table.lance")
    lance.write_dataset(pa.table({"id": [1]}), str(path / "table.lance"))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(remove("library.json"), id="no library.json"),
        pytest.param(truncate("library.json"), id="truncated library.json"),
        pytest.param(lambda p: (p / "library.json").write_bytes(b"\xff"), id="bytes"),
        pytest.param(lambda p: (p / "library.json").write_text("[]"), id="other JSON"),
        pytest.param(change(format="else"), id="foreign"),
        pytest.param(change(format_version=2), id="newer"),
        pytest.param(change(table=3), id="table is 3"),
        pytest.param(change(table="no.lance"), id="table elsewhere"),
        pytest.param(change(model="../model"), id="model outside"),
        pytest.param(change(fingerprint=None), id="no fingerprint"),
        pytest.param(remove("table.lance"), id="no table"),
        pytest.param(replace_table, id="foreign table"),
        pytest.param(truncate("table.lance/_versions/*.manifest"), id="truncated manifest"),
        pytest.param(remove("model"), id="no model"),
        pytest.param(remove("model/narrows.json"), id="no narrows.json"),
    ],
)
def test_a_damaged_library_is_not_opened(library, damage):
    damage(library.path)
    with pytest.raises(FormatError) as caught:
        Library.open(library.path)
    assert str(library.path) in one_line(caught)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(truncate("table.lance/data/*"), id="truncated data"),
        pytest.param(remove("table.lance/data"), id="no data"),
        pytest.param(truncate("model/*.safetensors"), id="truncated model"),
        pytest.param(change(fingerprint="0" * 64), id="another model"),
    ],
)
def test_damage_is_told_when_it_is_met(library, damage, pictures):
    damage(library.path)
    opened = Library.open(library.path)
    with pytest.raises(FormatError) as caught:
        opened.match(pictures[0])
    assert str(library.path) in one_line(caught)


def test_a_damaged_picture_does_not_hide_the_others(library, pictures):
    path = str(library.path / "table.lance")
    rows = lance.dataset(path).to_table(limit=2)
    for contents in (b"\x93NUMPY and no more", b"no picture"):
        column = pa.array([contents], pa.large_binary())
        damaged = rows.slice(1).set_column(2, rows.schema.field("picture"), column)
        lance.write_dataset(damaged, path, mode="append")
    found = Library.open(library.path).match(pictures[1], k=3)
    np.testing.assert_array_equal(found[0].picture, pictures[1])
    for match in found[1:]:
        with pytest.raises(FormatError, match="damaged") as caught:
            _ = match.picture
        one_line(caught)


def test_what_is_no_folder_is_not_opened(tmp_path):
    with pytest.raises(MissingFileError) as caught:
        Library.open(tmp_path / "nowhere")
    one_line(caught)
    (tmp_path / "file").write_text("me")
    with pytest.raises(FormatError) as caught:
        Library.open(tmp_path / "file")
    one_line(caught)
