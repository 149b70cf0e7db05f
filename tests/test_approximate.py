"""Approximate search, against brute force in double precision; all of it by FAISS."""

import hashlib
import subprocess
import sys
import textwrap
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load, save

from narrows.errors import (
    DataError,
    FormatError,
    MissingFileError,
    NarrowsWarning,
    OutputExistsError,
    ParameterError,
)
from narrows.library import ApproximateIndex, ExactIndex

pytest.importorskip("faiss")

METRICS = ["euclidean", "cosine"]


def clusters(n, width=8, seed=0):
    """Draw a mixture of fifty Gaussians, off the origin."""
    rng = np.random.default_rng(seed)
    centres = 3 + 2 * rng.standard_normal((50, width))
    return (centres[rng.integers(50, size=n)] + rng.standard_normal((n, width))).astype(np.float32)


CODES, QUERIES = np.split(clusters(10_100), [10_000])


def distances_between(codes, queries, metric):
    c, q = codes.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(c, axis=1) * np.linalg.norm(q, axis=1)[:, None]
        return 1 - np.divide(q @ c.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return np.sqrt(((q[:, None] - c) ** 2).sum(axis=2))


@pytest.fixture(scope="module", params=METRICS)
def index(request):
    return ApproximateIndex(CODES, request.param)


def test_twice_the_queries_take_no_more_memory(index):
    rng = np.random.default_rng(2)
    queries = CODES[rng.integers(len(CODES), size=40_000)] + 3 * rng.standard_normal((40_000, 8))
    found, peaks = [], []
    for some in (queries[:20_000], queries):
        tracemalloc.start()
        found.append(index.search(some, 1))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    for half, both in zip(*found, strict=True):
        np.testing.assert_array_equal(half, both[:20_000])


@pytest.mark.parametrize("k", [1, 10, 100])
def test_nearly_all_of_the_nearest_are_found_and_their_distances_are_exact(index, k):
    distances, rows = index.search(QUERIES, k)
    truth = distances_between(CODES, QUERIES, index.metric)
    nearest = np.sort(truth, axis=1)[:, k - 1 : k]
    assert (distances <= nearest + 1e-6).mean() > 0.985
    np.testing.assert_allclose(distances, np.take_along_axis(truth, rows, 1), rtol=1e-6, atol=1e-12)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert all(len(set(found)) == k for found in rows.tolist())
    assert distances.dtype == np.float32
    assert rows.dtype == np.int64


def test_it_looks_into_a_few_cells_only(index):
    assert index.n_lists > 200
    assert index.n_probes[10] <= index.n_probes[100] < index.n_lists / 4


def test_the_recall_it_tells_is_that_of_the_codes_among_one_another(index):
    """On 500 codes; it was measured on others."""
    some = np.arange(0, 10_000, 20)
    truth = distances_between(CODES, CODES[some], index.metric)
    truth[np.arange(len(some)), some] = np.inf
    for k, told in index.recall.items():
        distances, rows = index.search(CODES[some], k + 1)
        nearest = np.sort(truth, axis=1)[:, k - 1 : k]
        found = (distances <= nearest + 1e-6) & (rows != some[:, None])
        assert told >= 0.995
        assert found.sum() / (k * len(some)) == pytest.approx(told, abs=0.005)


@pytest.mark.parametrize("k", [3000, 10_000, 15_000])
def test_where_its_cells_hold_too_few_the_search_is_exact(index, k):
    distances, rows = index.search(QUERIES[:3], k)
    expected, order = ExactIndex(CODES, index.metric).search(QUERIES[:3], k)
    if k >= 10_000:
        np.testing.assert_array_equal(rows, order)
        np.testing.assert_array_max_ulp(distances, expected, maxulp=1)
    assert distances.shape == expected.shape
    assert all(len(set(found)) == len(found) for found in rows.tolist())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [1, 2, 31, 64, 500])
def test_few_codes(n, metric):
    codes = clusters(n, seed=1)
    index = ApproximateIndex(codes, metric)
    distances, rows = index.search(codes, n)
    expected, order = ExactIndex(codes, metric).search(codes, n)
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_array_max_ulp(distances, expected, maxulp=1)


def test_an_empty_index_and_no_queries_give_nothing(tmp_path):
    empty = ApproximateIndex(np.empty((0, 3)))
    assert empty.search(np.ones((2, 3)), 5)[0].shape == (2, 0)
    assert ApproximateIndex(np.ones((4, 3))).search(np.empty((0, 3)), 5)[1].shape == (0, 4)


@pytest.mark.parametrize("metric", METRICS)
def test_copies_and_zeros(metric):
    """Seed 2: three quarters of the codes are one and the same; of copies the lowest come first."""
    codes = clusters(4000, seed=2)
    codes[1000:] = codes[0]
    codes[5] = 0
    distances, rows = ApproximateIndex(codes, metric).search(codes[[0, 7]], 3)
    assert (distances[0] == 0).all()
    assert rows[1, 0] == 7
    assert set(rows[0].tolist()) <= {0, *range(1000, 4000)}
    nothing = np.zeros((1, codes.shape[1]))
    if metric == "cosine":
        assert (ApproximateIndex(codes, metric).search(nothing, 4)[0] == 1).all()
    else:
        assert ApproximateIndex(codes, metric).search(nothing, 1)[1].tolist() == [[5]]


@pytest.mark.parametrize("size", [1e-40, 1e37])
@pytest.mark.parametrize("metric", METRICS)
def test_sizes_at_which_squares_leave_single_precision(size, metric):
    codes = (CODES[:3000].astype(np.float64) * size).astype(np.float32)
    distances, _ = ApproximateIndex(codes, metric).search(codes[:200], 10)
    expected, _ = ExactIndex(codes, metric).search(codes[:200], 10)
    assert (distances <= expected[:, -1:] * 1.000001).mean() > 0.98


def test_an_offset_and_a_far_code():
    """Seed 3: where |q|^2 - 2 q c + |c|^2 in float32 keeps no digit; and one code far from all."""
    codes = (1e4 + 0.1 * np.random.default_rng(3).standard_normal((5000, 8))).astype(np.float32)
    codes[4] = 2e4
    distances, rows = ApproximateIndex(codes).search(codes[:300], 10)
    expected, _ = ExactIndex(codes).search(codes[:300], 10)
    assert (distances <= expected[:, -1:]).mean() > 0.98
    np.testing.assert_array_equal(rows[:, 0], np.arange(300))


def test_a_query_farther_off_than_numbers_reach_is_answered():
    index = ApproximateIndex(CODES[:3000])
    distances, rows = index.search(np.full((1, 8), 3e38, np.float32), 4)
    assert np.isinf(distances).all()
    assert len(set(rows[0].tolist())) == 4
    distances, rows = index.search(np.full((2, 8), 1e30, np.float32), 4)
    np.testing.assert_allclose(distances, np.sqrt(8) * 1e30, rtol=1e-6)


def test_what_was_saved_is_found_again(index, tmp_path):
    index.save(tmp_path / "index")
    again = ApproximateIndex.load(tmp_path / "index", CODES.copy(), index.metric)
    assert (again.recall, again.n_probes, again.n_lists) == (
        index.recall,
        index.n_probes,
        index.n_lists,
    )
    for before, after in zip(index.search(QUERIES, 10), again.search(QUERIES, 10), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(OutputExistsError):
        index.save(tmp_path / "index")
    index.save(tmp_path / "index", overwrite=True)
    # Half a number a code: what the file holds is cells, not codes.
    assert (tmp_path / "index").stat().st_size < CODES.nbytes / 4


SMALL = clusters(1500, seed=4)
FIRST_FIELDS = ("owner", "centroids", "lists", "probes", "recalls")  # of format 1, in order
FIELDS = (*FIRST_FIELDS, "radii", "usual", "gaps", "margins", "disturbed")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "index"
    ApproximateIndex(SMALL).save(path)
    return path.read_bytes()


def test_an_index_of_other_codes_is_refused(tmp_path, saved):
    path = tmp_path / "index"
    path.write_bytes(saved)
    other = SMALL.copy()
    other[1499, 7] += 1
    for codes, metric in [(other, "euclidean"), (SMALL, "cosine"), (SMALL[:-1], "euclidean")]:
        with pytest.raises(FormatError, match="belongs to other codes"):
            ApproximateIndex.load(path, codes, metric)
    with pytest.raises(MissingFileError, match="no index"):
        ApproximateIndex.load(tmp_path / "none", SMALL)


def test_a_damaged_file_is_refused(tmp_path, saved):
    """Cut off anywhere, or any of some bytes changed; seed 5."""
    path = tmp_path / "index"
    rng = np.random.default_rng(5)
    for place in rng.integers(len(saved), size=40):
        for damaged in (
            saved[:place],
            saved[:place] + bytes([saved[place] ^ 16]) + saved[place + 1 :],
        ):
            path.write_bytes(damaged)
            with pytest.raises(FormatError, match="build the index again") as caught:
                ApproximateIndex.load(path, SMALL)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"lists": lambda v: np.where(np.arange(len(v)) == 5, 46, v).astype(v.dtype)},
        {"lists": lambda v: np.where(np.arange(len(v)) == 5, -1, v).astype(v.dtype)},
        {"lists": lambda v: v[:-1]},
        {"lists": lambda v: v.astype(np.int64)},
        {"centroids": lambda v: v[:, :-1]},
        {"centroids": lambda v: v[:0]},
        {"centroids": lambda v: v.ravel()},
        {"centroids": lambda v: np.where(v == v[0, 0], np.float32(np.nan), v)},
        {"probes": lambda v: 0 * v},
        {"probes": lambda v: v + 1000},
        {"probes": lambda v: v[:1]},
        {"recalls": lambda v: v + 1},
        {"recalls": lambda v: v * np.nan},
        {"radii": lambda v: v[:-1]},
        {"radii": lambda v: v * np.float32(np.inf)},
        {"radii": lambda v: 0 * v},
        {"usual": lambda v: v * np.nan},
        {"gaps": lambda v: v[:1]},
        {"margins": lambda v: v - 100},
        {"margins": lambda v: v + 100},
        {"disturbed": lambda v: v + 1},
        {"disturbed": lambda v: v.astype(np.float32)},
        {"format": lambda v: v + 1},
        {"format": lambda v: v - 1},
        {"format": lambda v: v.astype(np.float32) + 0.5},
        {"more": lambda _: np.ones(1)},
    ],
)
def test_a_file_made_up_by_a_stranger_is_refused(tmp_path, saved, change):
    """Its check sum is right, so only looking at the numbers helps."""
    values = load(saved)
    for name, make in change.items():
        values[name] = make(values.get(name))
    digest = hashlib.sha256()
    for name in FIELDS:
        digest.update(values[name].tobytes())
    values["check"] = np.frombuffer(digest.digest(), np.uint8)
    path = tmp_path / "index"
    path.write_bytes(save(values))
    with pytest.raises(FormatError, match="build the index again"):
        ApproximateIndex.load(path, SMALL)


def of_format_1(saved):
    """Make of a file what older versions wrote of the same codes."""
    values = {name: value for name, value in load(saved).items() if name in FIRST_FIELDS}
    digest = hashlib.sha256(b"".join(values[name].tobytes() for name in FIRST_FIELDS))
    values["check"] = np.frombuffer(digest.digest(), np.uint8)
    return save({**values, "format": np.array([1], np.int32)})


def test_a_file_of_an_older_version_opens_and_is_measured_anew(tmp_path, saved):
    path = tmp_path / "index"
    path.write_bytes(of_format_1(saved))
    with pytest.warns(NarrowsWarning, match="older version") as caught:
        old = ApproximateIndex.load(path, SMALL)
    assert [warning.message.kind for warning in caught] == ["index_measured_again"]
    old.save(path, overwrite=True)
    assert path.read_bytes() == saved
    new = ApproximateIndex.load(path, SMALL)
    assert (old.is_measured_again, new.is_measured_again) == (True, False)
    assert old.recall.disturbed == new.recall.disturbed != {}


def test_a_damaged_file_of_an_older_version_is_refused(tmp_path, saved):
    path = tmp_path / "index"
    data = bytearray(of_format_1(saved))
    data[-1] ^= 16
    path.write_bytes(data)
    with pytest.raises(FormatError, match="build the index again"):
        ApproximateIndex.load(path, SMALL)


def test_what_is_no_file_or_far_too_large_is_not_read(tmp_path, saved):
    with pytest.raises(FormatError, match="no file"):
        ApproximateIndex.load(tmp_path, SMALL)
    (tmp_path / "large").write_bytes(saved + bytes(2**20))
    with pytest.raises(FormatError, match="too large"):
        ApproximateIndex.load(tmp_path / "large", SMALL)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ApproximateIndex(SMALL, "manhattan"), ParameterError, "manhattan"),
        (lambda: ApproximateIndex([[1.0], [np.nan]]), DataError, "row 1"),
        (lambda: ApproximateIndex(SMALL[:9]).search([[1.0]], 1), DataError, "1 columns"),
        (lambda: ApproximateIndex(SMALL[:9]).search(SMALL[:1], 0), ParameterError, "k=0"),
    ],
)
def test_refuses(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_without_faiss_the_extra_is_named():
    script = """
        import sys
        sys.modules["faiss"] = None
        from narrows.errors import MissingDependencyError
        from narrows.library import ApproximateIndex
        try:
            ApproximateIndex([[1.0]])
        except MissingDependencyError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "pip install 'narrows[faiss]'" in done.stdout
    assert done.stdout.count("\n") == 1
