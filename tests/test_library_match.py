"""A library of pictures: what goes in comes out.

The seed of everything random here is 0.
"""

import json

import lance
import numpy as np
import pytest
from libraries import draw, fit
from PIL import Image

from narrows import Library
from narrows.cli.main import main
from narrows.data.depths import encode_png
from narrows.library import Added, Match


def by_hand(codes, code, k):
    """The k nearest codes, in float64."""
    distances = np.sqrt(((codes.astype(np.float64) - code) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")[:k]
    return distances[order], order.tolist()


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
    assert added == Added(30, 0, [])
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
    np.save(tmp_path / "data.npy", pictures[10:13])
    library = Library.create(tmp_path / "pictures.lance", model=model)
    library.add(pictures[:2])
    library.add(pictures[5:7], names=["third", "f\udcffourth"])
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


def test_what_was_added_after_a_match_is_found(library, pictures):
    new = draw(10, seed=3)
    assert library.match(new[7], k=1)[0].id < 60
    library.add(new)
    for metric in ("euclidean", "cosine"):
        assert library.match(new[7], k=1, metric=metric)[0].id == 67


def test_pictures_as_far_by_their_pixels_come_in_the_order_they_were_added(tmp_path, model):
    dots = np.zeros((30, 30), np.uint8)
    np.fill_diagonal(dots, 200)
    library = Library.create(tmp_path / "pictures.lance", model=model)
    library.add(dots.reshape(30, 6, 5))
    query = np.zeros((6, 5), np.uint8)
    assert [match.id for match in library.match(query, k=9)] != list(range(9))
    found = library.match(query, k=9, rerank="pixels")
    assert [match.id for match in found] == list(range(9))


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


def test_the_command_reranks_as_many_candidates_as_it_is_told(library, tmp_path, capsys):
    np.save(tmp_path / "query.npy", draw(1, seed=1))
    command = ["match", str(library.path), str(tmp_path / "query.npy"), "-k", "4", "--json"]
    orders = []
    for options in ({"n_candidates": 4}, {"n_candidates": 60}, {}):
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        assert main([*command, "--rerank", "pixels", *words]) == 0
        (said,) = json.loads(capsys.readouterr().out)["queries"]
        expected = library.match(draw(1, seed=1)[0], k=4, rerank="pixels", **options)
        orders.append([match["id"] for match in said["matches"]])
        assert orders[-1] == [match.id for match in expected]
    assert orders[0] != orders[1] == orders[2], "too few candidates hide the nearest"


def test_k_beyond_the_count_gives_what_there_is(library, pictures):
    assert len(library.match(pictures[0], k=1000)) == 60
    assert len(library.match(pictures[0], k=1000, rerank="pixels")) == 60


def test_equal_pixels_come_in_the_order_they_were_added(tmp_path, model, pictures):
    """The same pixels in files of different bytes, which makes them different pictures."""
    for number in range(10):
        file = tmp_path / f"{number}.png"
        Image.fromarray(pictures[number % 2]).save(file, compress_level=number // 2)
        with file.open("ab") as end:
            end.write(bytes([number]))
    library = Library.create(tmp_path / "pictures.lance", model=model)
    assert library.add(sorted(tmp_path.glob("*.png"))).count == 10
    library.remove([3])
    for rerank in (None, "pixels"):
        found = library.match(pictures[1], k=3, rerank=rerank)
        assert [match.id for match in found] == [1, 5, 7]
