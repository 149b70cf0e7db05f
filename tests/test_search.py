"""Nearest codes, against brute force in double precision."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from narrows.errors import DataError, ParameterError
from narrows.library.search import ExactIndex

METRICS = ["euclidean", "cosine"]


def brute_force(codes, queries, k, metric):
    """All distances by differences in float64, ordered by what is reported, then by row."""
    c, q = codes.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        c, q = unit(c), unit(q)
    squares = ((q[:, None] - c) ** 2).sum(axis=2)
    if metric == "cosine":
        none = ~c.any(axis=1)[None] + 0.0 + ~q.any(axis=1)[:, None]
        distances = ((squares + none) / 2).astype(np.float32)
    else:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            distances = np.sqrt(squares).astype(np.float32)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def unit(x):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)


def assert_exact(codes, queries, k, metric):
    distances, rows = ExactIndex(codes, metric).search(queries, k)
    expected, order = brute_force(codes, queries, k, metric)
    assert distances.dtype == np.float32
    assert rows.dtype == np.int64
    assert distances.shape == rows.shape == (len(queries), min(k, len(codes)))
    # One unit in the last place: the order of a sum in float64 may differ.
    np.testing.assert_array_max_ulp(distances, expected, maxulp=1)
    if metric == "euclidean":
        np.testing.assert_array_equal(rows, order)
    return distances, rows


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [1, 31, 32, 33, 1000, 5011])
@pytest.mark.parametrize("n_queries", [1, 7, 300])
def test_agrees_with_brute_force(n, n_queries, metric):
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((n, 6)).astype(np.float32)
    queries = rng.standard_normal((n_queries, 6)).astype(np.float32)
    _, rows = assert_exact(codes, queries, 10, metric)
    np.testing.assert_array_equal(rows, brute_force(codes, queries, 10, metric)[1])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 100, 5000, 6000])
def test_any_k(k, metric):
    rng = np.random.default_rng(1)
    codes = rng.standard_normal((5000, 3)).astype(np.float32)
    distances, rows = assert_exact(codes, codes[:3], k, metric)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert all(len(set(found)) == min(k, 5000) for found in rows.tolist())


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4, 3e7])
def test_large_offset_and_tiny_differences(offset):
    """Where |q|^2 - 2 q c + |c|^2 in float32 keeps no digit of the distances."""
    rng = np.random.default_rng(2)
    codes = (offset + 0.1 * rng.standard_normal((4000, 8))).astype(np.float32)
    queries = np.concatenate([codes[:20], (codes[20:40] + 0.01).astype(np.float32)])
    assert_exact(codes, queries, 25, "euclidean")


def test_offset_that_no_shift_removes():
    """Two clusters far from zero on both sides, each of tiny differences."""
    rng = np.random.default_rng(3)
    side = rng.choice([-1e4, 1e4], size=(4000, 1))
    codes = (side + rng.standard_normal((4000, 8))).astype(np.float32)
    assert_exact(codes, codes[:50], 10, "euclidean")


@pytest.mark.parametrize("metric", METRICS)
def test_a_code_finds_itself_at_distance_zero(metric):
    codes = (100 + np.random.default_rng(4).standard_normal((3000, 16))).astype(np.float32)
    distances, rows = ExactIndex(codes, metric).search(codes, 1)
    assert (distances == 0).all()
    np.testing.assert_array_equal(rows[:, 0], np.arange(3000))


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lower_row(metric):
    codes = np.tile(np.array([[3.0, 4.0], [1.0, 0.0]], np.float32), (2000, 1))
    distances, rows = ExactIndex(codes, metric).search(np.array([[1.0, 0.0]]), 5)
    np.testing.assert_array_equal(rows, [[1, 3, 5, 7, 9]])
    assert (distances == 0).all()
    _, rows = ExactIndex(codes[::2], metric).search(np.array([[1.0, 0.0]]), 7)
    np.testing.assert_array_equal(rows, [np.arange(7)])


@pytest.mark.parametrize("size", [1e-44, 1e-25, 1e-12, 1e12, 1e25, 1e37])
@pytest.mark.parametrize("metric", METRICS)
def test_sizes_at_which_squares_leave_single_precision(size, metric):
    rng = np.random.default_rng(5)
    codes = (size * rng.integers(-9, 10, (500, 4))).astype(np.float32)
    distances, rows = ExactIndex(codes, metric).search(codes[:5], 500)
    expected, order = brute_force(codes, codes[:5], 500, metric)
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-15)
    if metric == "euclidean":
        np.testing.assert_array_equal(rows, order)


@pytest.mark.parametrize("n_near", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_differences_smaller_than_the_first_pass_can_see(seed, n_near):
    """Codes on a sphere around the query: only the proof tells that more must be looked into.

    It is due for the last of those asked for, even where the first are near beyond doubt.
    """
    rng = np.random.default_rng(seed)
    query = unit(rng.standard_normal((1, 4))).astype(np.float32)
    codes = (query + 10 * unit(rng.standard_normal((8000, 4)))).astype(np.float32)
    codes[:n_near] = query
    assert_exact(codes, query, n_near + 1, "euclidean")


def test_one_huge_code_does_not_hide_its_neighbours():
    codes = np.random.default_rng(6).standard_normal((1000, 4)).astype(np.float32)
    codes[500] = 2e38
    assert_exact(codes, codes[495:505], 10, "euclidean")


def test_zero_vectors_lie_at_cosine_distance_one():
    codes = np.array([[0, 0], [2, 0], [0, -3], [-1, 0]], np.float32)
    distances, rows = ExactIndex(codes, "cosine").search(np.array([[1.0, 0.0], [0.0, 0.0]]), 4)
    np.testing.assert_array_equal(distances, [[0, 1, 1, 2], [1, 1, 1, 1]])
    np.testing.assert_array_equal(rows, [[1, 0, 2, 3], [0, 1, 2, 3]])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data(), metric=st.sampled_from(METRICS), k=st.integers(1, 80))
def test_whole_numbers_exactly(data, metric, k):
    """On small whole numbers every tie is a true tie, so the rows must agree too."""
    width = data.draw(st.integers(1, 4))
    numbers = st.integers(-3, 3)
    count, n_queries = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 4))
    codes = data.draw(hnp.arrays(np.float32, (count, width), elements=numbers))
    queries = data.draw(hnp.arrays(np.float32, (n_queries, width), elements=numbers))
    if metric == "euclidean":
        assert_exact(codes, queries, k, metric)
    else:
        distances, rows = ExactIndex(codes, metric).search(queries, k)
        expected, _ = brute_force(codes, queries, k, metric)
        np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-15)
        assert all(len(set(found)) == len(found) for found in rows.tolist())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    codes=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 200), st.integers(1, 5)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    k=st.integers(1, 9),
)
def test_any_finite_numbers(codes, k):
    assert_exact(codes, codes[:3], k, "euclidean")


def test_float32_codes_are_not_copied_and_other_types_are_converted():
    codes = np.random.default_rng(7).standard_normal((100, 4))
    single = codes.astype(np.float32)
    index = ExactIndex(single)
    np.testing.assert_array_equal(
        index.search(single, 3)[1], ExactIndex(codes).search(codes.tolist(), 3)[1]
    )
    np.testing.assert_array_equal(
        index.search(single, 3)[0], ExactIndex(single[:, ::-1]).search(single[:, ::-1], 3)[0]
    )
    assert len(index) == 100


def test_an_empty_index_and_no_queries_give_nothing():
    distances, rows = ExactIndex(np.empty((0, 3))).search(np.ones((2, 3)), 5)
    assert distances.shape == rows.shape == (2, 0)
    distances, rows = ExactIndex(np.ones((4, 3))).search(np.empty((0, 3)), 5)
    assert distances.shape == rows.shape == (0, 4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ExactIndex(np.ones((2, 2)), "manhattan"), ParameterError, "manhattan"),
        (lambda: ExactIndex(np.ones(2)), DataError, r"codes have shape \(2,\)"),
        (lambda: ExactIndex(np.ones((2, 0))), DataError, "codes have shape"),
        (lambda: ExactIndex([["a"]]), DataError, "not a table of numbers"),
        (lambda: ExactIndex([[1.0], [np.nan]]), DataError, "row 1"),
        (lambda: ExactIndex([[1.0], [1e39]]), DataError, "row 1"),
        (lambda: ExactIndex(np.ones((2, 2))).search([[1.0, np.inf]], 1), DataError, "queries"),
        (lambda: ExactIndex(np.ones((2, 2))).search([[1.0]], 1), DataError, "1 columns"),
        (lambda: ExactIndex(np.ones((2, 2))).search([[1.0, 1.0]], 0), ParameterError, "k=0"),
        (lambda: ExactIndex(np.ones((2, 2))).search([[1.0, 1.0]], 2.0), ParameterError, "k=2.0"),
        (lambda: ExactIndex(np.ones((2, 2))).search([[1.0, 1.0]], True), ParameterError, "k=True"),
    ],
)
def test_refuses(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_memory_is_bounded():
    """40 000 codes and 2000 queries would make 320 MB of distances in single precision."""
    script = """
import resource
import numpy as np
from narrows.library.search import ExactIndex
rng = np.random.default_rng(8)
codes = rng.standard_normal((40_000, 16)).astype(np.float32)
index = ExactIndex(codes)
index.search(codes[:2], 10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
index.search(codes[:2000], 10)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 60


@pytest.mark.parametrize("metric", METRICS)
def test_few_queries_where_eight_bits_tell_nothing_apart(metric):
    """Seed 9: a far code makes the steps of 8 bits wider than a cluster; half of it are copies."""
    rng = np.random.default_rng(9)
    codes = (1 + 1e-3 * rng.standard_normal((20_000, 6))).astype(np.float32)
    codes[::2] = codes[1::2][::-1]
    codes[7] = -1e4
    codes[8] = 0
    queries = np.concatenate([codes[:3], codes[7:9], codes[50:51] + np.float32(1e-4)])
    assert_exact(codes, queries, 10, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_few_queries_agree_with_many(metric):
    """Seed 10: features of very different sizes; few queries take another way than many."""
    rng = np.random.default_rng(10)
    sizes = np.float32([1e-20, 1e-3, 1, 50, 0])
    codes = rng.standard_normal((30_000, 5)).astype(np.float32) * sizes
    queries = rng.standard_normal((60, 5)).astype(np.float32) * sizes
    index = ExactIndex(codes, metric)
    together = index.search(queries, 10)
    alone = [index.search(query[None], 10) for query in queries]
    for place in (0, 1):
        np.testing.assert_array_equal(together[place], np.concatenate([a[place] for a in alone]))
