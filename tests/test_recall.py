"""The recall of approximate searches for queries of any kind, against brute force.

The truth is computed in double precision. Random numbers come from the seeds that are named.
"""

import numpy as np
import pytest

from narrows.library import ApproximateIndex

pytest.importorskip("faiss")

METRICS = ["euclidean", "cosine"]
N = 6000


def clusters(rng, n, width):
    """Draw a mixture of sixty Gaussians, of which the widest is twenty times the narrowest."""
    centres, sizes = 4 * rng.standard_normal((60, width)), np.geomspace(0.1, 2, 60)
    which = rng.integers(60, size=n)
    return centres[which] + sizes[which, None] * rng.standard_normal((n, width))


LIBRARIES = {
    "uniform": lambda rng: rng.random((N, 8)),
    "plane": lambda rng: rng.random((N, 2)),
    "normal": lambda rng: rng.standard_normal((N, 12)) + 1,
    "clusters": lambda rng: clusters(rng, N, 16),
    "subspace": lambda rng: rng.standard_normal((N, 5)) @ rng.standard_normal((5, 64)),
    "copies": lambda rng: np.repeat(clusters(rng, N // 4, 16), 4, axis=0),
    "few": lambda rng: clusters(rng, 700, 16),
    "sparse": lambda rng: np.maximum(rng.standard_normal((N, 24)) - 0.8, 0),
}
FOREIGN = ["shifted", "scaled", "wide", "flat", "turned", "negative", "mixed", "average"]


def foreign(rows, rng):
    """Make queries of each kind that is foreign to the rows of a library."""
    mean, noise = rows.mean(axis=0), rows.std(axis=0) * rng.standard_normal(rows.shape)
    return {
        "shifted": mean + 2 * rows.std(axis=0) + 0.7 * noise,
        "scaled": 3 * rows,
        "wide": mean + 3 * noise,
        "flat": rng.uniform(rows.min(), rows.max(), rows.shape),
        "turned": rows[:, ::-1],
        "negative": -rows,
        "mixed": (rows + rng.permutation(rows)) / 2,
        "average": mean + 0.1 * noise,
    }


def found(index, codes, queries, own=None):
    """Return which share of the 1, 10 and 100 nearest is found; of rows, beside themselves."""
    codes, q = codes.astype(np.float64), queries.astype(np.float64)
    if index.metric == "cosine":
        codes, q = (
            one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-300)
            for one in (codes, q)
        )
    truth = np.stack([np.square(codes - one).sum(axis=1) for one in q])
    if index.metric == "cosine":
        zeros = (~codes.any(axis=1)).astype(float) + (~q.any(axis=1))[:, None]
        truth = (truth + zeros) / 2
    else:
        truth = np.sqrt(truth)
    if own is not None:
        truth[np.arange(len(own)), own] = np.inf
    nearest, shares = np.partition(truth, [0, 9, 99], axis=1) * (1 + 1e-6) + 1e-12, {}
    for k in (1, 10, 100):
        distances, rows = index.search(queries, k + (own is not None))
        assert all(len(set(places)) == len(places) for places in rows.tolist())
        assert rows.min() >= 0
        others = np.ones(rows.shape, bool) if own is None else rows != own[:, None]
        expected = np.take_along_axis(truth, rows, 1)
        np.testing.assert_allclose(distances[others], expected[others], rtol=2e-6, atol=1e-7)
        shares[k] = (others & (distances <= nearest[:, k - 1 : k])).sum(axis=1).clip(
            max=k
        ).mean() / k
    return shares


REPLAYED = [("normal", "euclidean"), ("clusters", "cosine")]  # by `make cases`
BOTH = [(name, metric) for name in LIBRARIES for metric in METRICS]


@pytest.fixture(
    scope="module",
    params=[pytest.param(p, marks=[pytest.mark.cases] * (p in REPLAYED)) for p in BOTH],
    ids=str,
)
def case(request):
    """Seed 7."""
    name, metric = request.param
    codes = LIBRARIES[name](np.random.default_rng(7)).astype(np.float32)
    return ApproximateIndex(codes, metric), codes


def some(codes, seed):
    rng = np.random.default_rng(seed)
    own = np.sort(rng.choice(len(codes), 100, replace=False))
    return rng, own, codes[own].astype(np.float64)


def test_rows_of_the_library(case):
    """Seed 8."""
    index, codes = case
    _, own, _ = some(codes, 8)
    assert min(found(index, codes, codes[own], own).values()) >= 0.985


@pytest.mark.parametrize("size", [0.05, 0.25, 0.5])
def test_disturbed_rows(case, size):
    """Seed 9; noise in standard deviations of each feature."""
    index, codes = case
    rng, _, rows = some(codes, 9)
    queries = rows + size * codes.std(axis=0) * rng.standard_normal(rows.shape)
    assert min(found(index, codes, queries.astype(np.float32)).values()) >= 0.98


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_queries(case, kind):
    """Seed 10."""
    index, codes = case
    rng, _, rows = some(codes, 10)
    queries = foreign(rows, rng)[kind].astype(np.float32)
    assert min(found(index, codes, queries).values()) >= 0.95


def test_both_recalls_it_tells_are_those_that_are_found(case):
    """Seed 11; on other rows than it was measured on, or other noise."""
    index, codes = case
    rng = np.random.default_rng(11)
    own = np.sort(rng.choice(len(codes), 300, replace=False))
    disturbed = codes[own] + 0.25 * codes.std(axis=0) * rng.standard_normal((300, codes.shape[1]))
    measured = found(index, codes, disturbed.astype(np.float32))
    for k in (10, 100):
        assert index.recall[k] >= 0.995
        assert index.recall.disturbed[k] >= 0.99
        assert measured[k] == pytest.approx(index.recall.disturbed[k], abs=0.01)


def test_queries_like_the_library_look_into_no_more_cells(monkeypatch):
    """Seed 12: of rows that the index has never seen, at most one in seven looks further."""
    codes, rows = np.split(clusters(np.random.default_rng(12), 11_000, 16).astype(np.float32), [N])
    index, further = ApproximateIndex(codes), []
    look = ApproximateIndex._search_further

    def counted(self, vectors, *arguments):
        further.append(len(vectors))
        return look(self, vectors, *arguments)

    monkeypatch.setattr(ApproximateIndex, "_search_further", counted)
    index.search(rows, 10)
    assert 0 < sum(further) <= len(rows) / 7


def test_one_query_finds_what_many_at_once_do(case):
    """Seed 13; sums of many products are rounded differently, so nearly all."""
    index, codes = case
    rng, _, rows = some(codes, 13)
    queries = (rows + codes.std(axis=0) * rng.standard_normal(rows.shape)).astype(np.float32)
    many = index.search(queries, 5)[0]
    one = np.concatenate([index.search(query[None], 5)[0] for query in queries])
    assert np.isclose(one, many, rtol=1e-5, atol=1e-9).mean() > 0.99


@pytest.mark.parametrize("metric", METRICS)
def test_queries_far_from_everything_are_searched_exactly(metric):
    """Seed 14: a million times as far away as the codes are from one another."""
    codes = np.random.default_rng(14).standard_normal((N, 6)).astype(np.float32)
    queries = 1e6 * np.random.default_rng(15).standard_normal((50, 6)).astype(np.float32)
    assert found(ApproximateIndex(codes, metric), codes, queries)[10] >= 0.98
