"""What may be looked for in a library, and where: pictures, codes, ids; among all or some.

The truth is scikit-learn's brute force. The seed of everything random here is 0.
"""

import numpy as np
import pytest
import torch
from libraries import draw, fit, one_line
from sklearn.neighbors import NearestNeighbors

from narrows import Library
from narrows.errors import DataError, LibraryError, ParameterError
from narrows.library import ExactIndex

LABELS = ["boot", "shoe", "coat"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, model, pictures):
    """Sixty pictures with a label and a year; two of the labels and a year are missing."""
    path = tmp_path_factory.mktemp("labelled") / "pictures.lance"
    metadata = {
        "label": [None if n in (4, 9) else LABELS[n % 3] for n in range(60)],
        "year": [None if n == 30 else 2000 + n for n in range(60)],
    }
    library, _ = Library.build(path, pictures, model=model, metadata=metadata)
    return library


@pytest.fixture(scope="module")
def codes(model, pictures):
    return model.transform(pictures)


def nearest(codes, queries, k, metric="euclidean", among=None):
    """Row numbers and distances of the k nearest, by scikit-learn, (Q, k)."""
    rows = np.arange(len(codes)) if among is None else np.asarray(among)
    finder = NearestNeighbors(algorithm="brute", metric=metric).fit(codes[rows].astype(np.float64))
    distances, places = finder.kneighbors(np.asarray(queries, np.float64), min(k, len(rows)))
    return rows[places], distances


def nearest_others(codes, ids):
    """The same for rows of these codes, which are not among their own."""
    pairs = [nearest(codes, codes[[own]], 60, among=np.delete(np.arange(60), own)) for own in ids]
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))


def check(found, rows, distances):
    assert [[match.id for match in one] for one in found] == np.asarray(rows).tolist()
    np.testing.assert_allclose([[m.distance for m in one] for one in found], distances, atol=1e-5)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_codes_are_queries_of_their_own(labelled, codes, model, metric):
    queries = model.transform(draw(7, seed=1))
    expected = nearest(codes, queries, 9, metric)
    check(labelled.match(codes=queries, k=9, metric=metric), *expected)
    check(labelled.match_codes(queries, 9, metric=metric), *expected)
    check(labelled.match_codes(queries[0], 9, metric=metric), *(e[:1] for e in expected))
    for one in (queries[3], queries[3].tolist(), torch.from_numpy(queries[3])):
        check([labelled.match(codes=one, k=9, metric=metric)], *(e[3:4] for e in expected))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_ids_find_the_others(labelled, codes, metric):
    ids = [5, 59, 0, 5]
    rows, distances = nearest(codes, codes[ids], 60, metric)
    others = np.array([row[row != own] for row, own in zip(rows, ids, strict=True)])
    own = np.array([row != own for row, own in zip(rows, ids, strict=True)])
    distances = distances[own].reshape(4, 59)
    for k in (1, 8, 59, 1000):
        check(
            labelled.match(ids=ids, k=k, metric=metric),
            others[:, :k],
            distances[:, :k],
        )
        check(labelled.match_ids(ids, k, metric=metric), others[:, :k], distances[:, :k])
    check([labelled.match(ids=np.int64(5), k=4, metric=metric)], others[:1, :4], distances[:1, :4])


def test_others_with_the_same_code_are_found_by_an_id(tmp_path):
    """Three pictures that differ where the model sees nothing, added before the one asked for."""
    X = draw(40)
    X[:, 0, 0] = 7
    model = fit(X)
    same = np.repeat(X[:1], 4, axis=0)
    same[:, 0, 0] = [7, 8, 9, 10]
    names = ["first", "second", "third", "fourth"]
    library, _ = Library.build(tmp_path / "p.lance", same, model=model, names=names)
    spread = np.ptp(model.transform(same), axis=0).max()
    for asked in range(4):
        found = library.match(ids=asked, k=2)
        assert asked not in [match.id for match in found]
        assert len(found) == 2
        assert all(match.distance <= 2 * spread + 1e-6 for match in found)


def test_ids_are_those_of_the_library_after_removals(tmp_path, model, pictures, codes):
    library, _ = Library.build(tmp_path / "p.lance", pictures, model=model)
    library.remove([3, 17])
    left = np.setdiff1d(np.arange(60), [3, 17, 20])
    check(library.match(ids=[20], k=60), *nearest(codes, codes[[20]], 60, among=left))
    check(
        library.match(ids=[20], k=60, where="id < 25"),
        *nearest(codes, codes[[20]], 60, among=left[left < 25]),
    )


def test_rows_that_an_update_has_moved_are_found_as_before(tmp_path, model, pictures, codes):
    library, _ = Library.build(
        tmp_path / "p.lance", pictures, model=model, metadata={"n": range(60), "label": ["a"] * 60}
    )
    library.update([50, 2, 31], {"label": ["b;", "b;", "c"]})
    check(library.match(ids=[50, 7], k=59), *nearest_others(codes, [50, 7]))
    found = library.match(codes=codes[:1], where="label = 'b;' OR n IN (3, 31)", k=9)
    check(found, *nearest(codes, codes[:1], 9, among=[2, 3, 31, 50]))
    assert {match.id: match.metadata["n"] for match in found[0]} == {n: n for n in (2, 3, 31, 50)}


FILTERS = {
    "label = 'boot' AND year > 2010": [n for n in range(11, 60) if n % 3 == 0 and n != 30],
    "label IS NULL": [4, 9],
    "year IS NULL OR id IN (1, 2)": [1, 2, 30],
    "path LIKE '%7' AND added > TIMESTAMP '2020-01-01'": list(range(7, 60, 10)),
    "lower(label) <> 'boot'": [n for n in range(60) if n % 3 and n != 4],
    "true": list(range(60)),
}


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("where", FILTERS)
def test_a_filter_leaves_the_nearest_of_those_that_pass(labelled, codes, model, where, metric):
    rows = FILTERS[where]
    queries = draw(5, seed=1)
    for k in (2, 1000):
        expected = nearest(codes, model.transform(queries), k, metric, rows)
        check(labelled.match(queries, k, where=where, metric=metric), *expected)
        check(
            labelled.match(codes=model.transform(queries), k=k, where=where, metric=metric),
            *expected,
        )
    found = labelled.match(ids=rows, k=60, where=where, metric=metric)
    for own, one in zip(rows, found, strict=True):
        assert sorted(match.id for match in one) == [row for row in rows if row != own]


def test_a_filter_may_leave_out_some_of_the_ids_asked_for(labelled):
    found = labelled.match(ids=[3, 40], k=60, where="id < 10")
    assert [len(one) for one in found] == [9, 10]


@pytest.mark.parametrize("rerank", [None, "pixels"])
def test_a_filter_that_nothing_passes_finds_nothing(labelled, pictures, rerank):
    where = "label = 'hat'"
    assert labelled.match(pictures[0], where=where, rerank=rerank) == []
    assert labelled.match(pictures[:3], where=where, rerank=rerank) == [[], [], []]
    assert labelled.match(ids=[1, 2], where="id = 1", rerank=rerank)[0] == []


@pytest.mark.parametrize("rerank", [None, "pixels"])
def test_no_queries_have_no_matches(labelled, rerank):
    assert labelled.match(ids=[], rerank=rerank) == []
    assert labelled.match(codes=np.zeros((0, 4)), rerank=rerank) == []


def test_candidates_to_rerank_are_those_that_pass(labelled, pictures, model, codes):
    query = draw(1, seed=1)[0]
    rows = FILTERS["label = 'boot' AND year > 2010"]
    candidates, _ = nearest(codes, model.transform(query[None]), 8, among=rows)
    errors = ((pictures[candidates[0]].astype(float) - query) ** 2).mean(axis=(1, 2))
    order = np.argsort(errors)[:3]
    found = labelled.match(
        query, 3, where="label = 'boot' AND year > 2010", rerank="pixels", n_candidates=8
    )
    check([found], candidates[:, order], errors[None, order])
    assert {match.metadata["label"] for match in found} == {"boot"}


def test_ids_and_codes_are_reranked_by_the_pixels_they_stand_for(labelled, pictures, model, codes):
    def by_pixels(query, rows):
        errors = ((pictures[rows].astype(float) - query) ** 2).mean(axis=(1, 2))
        order = np.argsort(errors, kind="stable")[:5]
        return rows[order][None], errors[None, order]

    others = np.setdiff1d(np.arange(60), [8])
    found = labelled.match(ids=8, k=5, rerank="pixels", n_candidates=60)
    check([found], *by_pixels(pictures[8].astype(float), others))
    restored = model.inverse_transform(codes[8:9])[0]
    found = labelled.match(codes=codes[8], k=5, rerank="pixels", n_candidates=60)
    np.testing.assert_array_equal([m.id for m in found], by_pixels(restored, np.arange(60))[0][0])


WRONG = {
    "nothing": ({}, ParameterError, "nothing given to look for; give a query, codes or ids"),
    "None": ({"query": None}, ParameterError, "nothing given to look for"),
    "two": ({"query": draw(1), "ids": 3}, ParameterError, "a query and ids given"),
    "three": (
        {"query": draw(1), "codes": np.zeros(4), "ids": 3}, ParameterError, "query and codes and"
    ),
    "wide codes": ({"codes": np.zeros((3, 5))}, DataError, r"shape \(3, 5\).*have 4.*\(n, 4\)"),
    "a wide code": ({"codes": np.zeros(5)}, DataError, r"shape \(5,\).*have 4 numbers"),
    "deep codes": ({"codes": np.zeros((1, 1, 4))}, DataError, r"shape \(1, 1, 4\)"),
    "NaN": ({"codes": [[0, 1, 2, np.nan]]}, DataError, "codes contains? NaN"),
    "infinite": ({"codes": [[0, 1, 2, np.inf]]}, DataError, "inf"),
    "too large": ({"codes": [[0, 1, 2, 1e300]]}, DataError, "beyond what single"),
    "text": ({"codes": [["a", "b", "c", "d"]]}, DataError, "no number|real numbers"),
    "unknown id": ({"ids": [3, 60]}, ParameterError, "no picture of id 60 in .*; use ids"),
    "an unknown id": ({"ids": -1}, ParameterError, "no picture of id -1"),
    "no id": ({"ids": "boot"}, ParameterError, "give a list of integers"),
    "half an id": ({"ids": [1.5]}, ParameterError, "give a list of integers"),
    "ragged ids": ({"ids": [[1], [2, 3]]}, ParameterError, "no list of numbers"),
    "a set": ({"ids": {1, 2}}, ParameterError, "give a list of integers"),
    "ids in a square": ({"ids": [[1, 2], [3, 4]]}, ParameterError, r"shape \(2, 2\)"),
    "unknown column": ({"where": "labl = 'boot'"}, ParameterError, "labl.*label .string., year"),
    "no condition": ({"where": "year"}, ParameterError, "alone is no condition.*columns are"),
    "broken": ({"where": "year > "}, ParameterError, "where='year > ' is no filter.*columns are"),
    "two filters": ({"where": "year > 2010; label = 'boot'"}, ParameterError, "';' at char"),
    "no end": ({"where": "(year > 2010"}, ParameterError, r"ends where \) is.*columns"),
    "a part": ({"where": "year > 2010) AND (id < 3"}, ParameterError, r"\) at char"),
    "a limit": ({"where": "year > 2010 LIMIT 1"}, ParameterError, "LIMIT at.*columns"),
    "words": ({"where": "year > 2010 boot"}, ParameterError, "boot at.*columns"),
    "another type": ({"where": "label > 3"}, ParameterError, "label.*3 is a number.*columns are"),
    "fails on a value": ({"where": "1 / (id - 3) > 0"}, ParameterError, "'/' at.*columns"),
    "no number": ({"where": "CAST(label AS INT) > 3"}, ParameterError, "CAST.*is a function"),
    "empty": ({"where": " "}, ParameterError, "where=' ' is no filter; write one"),
    "no text": ({"where": 3}, ParameterError, "where=3 is no filter; write one"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_looked_for_is_refused_in_one_line(labelled, what):
    arguments, error, words = WRONG[what]
    if set(arguments) == {"where"}:
        arguments = {"ids": 0, **arguments}
    with pytest.raises(error, match=words) as caught:
        labelled.match(**arguments)
    one_line(caught)


def test_codes_are_not_reranked_without_a_decoder(tmp_path, model, pictures, codes):
    encoder = model.split()[0]
    library, _ = Library.build(tmp_path / "p.lance", pictures, model=encoder)
    assert library.match(codes=codes[3], k=1)[0].id == 3
    with pytest.raises(LibraryError, match=r"encoder alone.*cannot be decoded; build") as caught:
        library.match(codes=codes[3], rerank="pixels")
    one_line(caught)


def test_an_empty_library_says_so_whatever_is_looked_for(tmp_path, model):
    library = Library.create(tmp_path / "pictures.lance", model=model)
    for given in ({"codes": np.zeros(4)}, {"ids": 0}, {"query": draw(1)}):
        with pytest.raises(LibraryError, match="empty; add pictures"):
            library.match(**given, where="id > 0")


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("count", [0, 1, 40, 5000, 20_000])
def test_an_index_searches_among_some_of_its_codes(metric, count):
    rng = np.random.default_rng(0)
    codes = rng.normal(3, 1, (20_000, 6)).astype(np.float32)
    rows = np.sort(rng.choice(20_000, count, replace=False))
    index = ExactIndex(codes, metric)
    for queries in (codes[:2] + 0.1, rng.normal(3, 1, (50, 6))):
        queries = queries.astype(np.float32)  # noqa: PLW2901
        distances, found = index.among(rng.permutation(rows)).search(queries, 30)
        assert found.shape == (len(queries), min(30, count))
        assert np.isin(found, rows).all()
        if count:
            expected, truth = nearest(codes, queries, 30, metric, rows)
            np.testing.assert_allclose(distances, truth, atol=1e-5)
            assert (found == expected).mean() > 0.99, "only ties in single precision may differ"
            few = index.among(rows).among(rows[::3]).search(queries, 5)
            np.testing.assert_array_equal(few[1], index.among(rows[::3]).search(queries, 5)[1])
    np.testing.assert_array_equal(index.search(codes[:3], 1)[1][:, 0], [0, 1, 2])


@pytest.mark.parametrize("rows", [[-1], [3], [0.5], ["a"], [0, 1, 99]])
def test_rows_that_an_index_does_not_have_are_refused(rows):
    index = ExactIndex(np.eye(3))
    for one in (index, index.among([0, 1, 2])):
        with pytest.raises(ParameterError, match="no positions") as caught:
            one.among(rows)
        one_line(caught)
    with pytest.raises(ParameterError, match="no positions"):
        index.among([0, 1]).among([2])
