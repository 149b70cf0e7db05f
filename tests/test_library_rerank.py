"""Candidates in the order of their pixels: squared error and SSIM, stored and decoded.

The truth is numpy, scikit-image's SSIM, and the paper's formula place by place. The seed of
everything random here is 0.
"""

import numpy as np
import pytest
from libraries import draw, fit, one_line
from skimage.metrics import structural_similarity

from narrows import Library
from narrows.data.depths import encode_png
from narrows.errors import LibraryError, ParameterError


def by_squares(one, other, data_range):
    return ((one.astype(float) - other) ** 2).mean()


def by_scikit_image(one, other, data_range):
    """1 - SSIM with the window and the constants of Wang et al. 2004."""
    ssim = structural_similarity(
        one.astype(float),
        other.astype(float),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2 if one.ndim == 3 else None,
    )
    return 1 - ssim


def by_the_formula(one, other, data_range):
    """1 - SSIM place by place: Wang et al. 2004, eq. 13 to 17."""
    sizes = [min(11, side - 1 + side % 2) for side in one.shape]
    offsets = [np.arange(size) - size // 2 for size in sizes]
    window = np.exp(-(offsets[0][:, None] ** 2 + offsets[1] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for top in range(one.shape[0] - sizes[0] + 1):
        for left in range(one.shape[1] - sizes[1] + 1):
            place = slice(top, top + sizes[0]), slice(left, left + sizes[1])
            x, y = one[place].astype(float), other[place].astype(float)
            mx, my = (window * x).sum(), (window * y).sum()
            vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
            v = (window * (x - mx) * (y - my)).sum()
            values.append(
                (2 * mx * my + c1) * (2 * v + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
            )
    return 1 - np.mean(values)


def smooth(n, shape, seed=0):
    """Pictures of a few waves, so that some are like others."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / 8
    waves = rng.normal(size=(n, 5, *(1,) * len(shape)))
    grey = sum(
        (waves[:, i, ..., 0] if len(shape) == 3 else waves[:, i]) * np.sin(x * i + y * (i + 1) + i)
        for i in range(5)
    )
    grey = (grey * 40 + 128)[..., None] + rng.normal(0, 20, (n, *shape[:2], *(shape[2:] or (1,))))
    return grey.clip(0, 255).astype(np.uint8).reshape(n, *shape)


def check(found, query, pictures, candidates, k, *, by, data_range=255.0):
    """Compare with the k best of the candidates; as near as rounding, any may come first."""
    truth = {int(row): by(query, pictures[row], data_range) for row in candidates}
    ids, distances = [match.id for match in found], [match.distance for match in found]
    assert len(set(ids)) == len(ids) == min(k, len(truth))
    np.testing.assert_allclose(distances, sorted(truth.values())[:k], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distances, [truth[row] for row in ids], rtol=1e-5, atol=1e-6)


def nearest(codes, query, count):
    return np.argsort(((codes - query) ** 2).sum(axis=1), kind="stable")[:count]


@pytest.fixture(scope="module", params=[(16, 20), (13, 12, 3)], ids=["grey", "colour"])
def made(request, tmp_path_factory):
    X = smooth(80, request.param)
    model = fit(X)
    path = tmp_path_factory.mktemp("rerank") / "pictures.lance"
    return Library.build(path, X, model=model)[0], X, model


TRUTHS = {"pixels": by_squares, "ssim": by_scikit_image}


@pytest.mark.parametrize("rerank", TRUTHS)
def test_on_stored_pictures(made, rerank):
    library, X, model = made
    queries = smooth(4, X.shape[1:], seed=1)
    found = library.match(queries, k=6, rerank=rerank, n_candidates=25)
    for query, code, one in zip(queries, model.transform(queries), found, strict=True):
        candidates = nearest(model.transform(X), code, 25)
        check(one, query, X, candidates, 6, by=TRUTHS[rerank])


@pytest.mark.parametrize("rerank", TRUTHS)
def test_on_decoded_pictures(made, rerank):
    library, X, model = made
    queries = smooth(4, X.shape[1:], seed=1)
    found = library.match(queries, k=6, rerank=rerank, rerank_on="decoded", n_candidates=25)
    decoded = model.reconstruct(X)
    for query, code, one in zip(queries, model.transform(queries), found, strict=True):
        candidates = nearest(model.transform(X), code, 25)
        check(one, query, decoded, candidates, 6, by=TRUTHS[rerank])


@pytest.mark.parametrize("rerank", TRUTHS)
@pytest.mark.parametrize("on", ["stored", "decoded"])
def test_of_ids_and_codes(made, rerank, on):
    library, X, model = made
    decoded = model.reconstruct(X)
    options = {"k": 80, "rerank": rerank, "rerank_on": on}
    pictures = X if on == "stored" else decoded
    others = np.setdiff1d(np.arange(80), [7])
    check(library.match(ids=7, **options), X[7], pictures, others, 80, by=TRUTHS[rerank])
    code = model.transform(X[9:10])[0]
    found = library.match(codes=code, **options)
    check(found, decoded[9], pictures, range(80), 80, by=TRUTHS[rerank])


def test_pictures_smaller_than_the_window_have_a_smaller_one(library, pictures):
    found = library.match(draw(1, seed=1)[0], k=60, rerank="ssim")
    check(found, draw(1, seed=1)[0], pictures, range(60), 60, by=by_the_formula)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (12, 1)])
def test_pictures_of_few_pixels(tmp_path, shape):
    X = draw(40)[:, :1, :1].repeat(shape[0], 1).repeat(shape[1], 2)
    X[:, 0, 0] = 6 * np.arange(40)
    library, _ = Library.build(tmp_path / "p.lance", X, model=fit(X))
    check(library.match(X[3], k=40, rerank="ssim"), X[3], X, range(40), 40, by=by_the_formula)


def test_the_formula_is_that_of_scikit_image():
    one, other = smooth(2, (16, 20))
    assert by_the_formula(one, other, 255) == pytest.approx(by_scikit_image(one, other, 255))


def test_floats_have_the_range_of_the_training_data(tmp_path):
    X = (smooth(60, (14, 14)) / np.float32(255)) - np.float32(0.5)
    library, _ = Library.build(tmp_path / "p.lance", X, model=fit(X))
    query = smooth(1, (14, 14), seed=1)[0] / np.float32(255) - np.float32(0.5)
    found = library.match(query, k=60, rerank="ssim")
    check(found, query, X, range(60), 60, by=by_scikit_image, data_range=1.0)


@pytest.mark.parametrize("n_queries", [1, 300])
def test_every_picture_is_compared_with_those_that_have_it_for_a_candidate(tmp_path, n_queries):
    """So many that they are read in several parts."""
    X, queries = draw(700), draw(n_queries, seed=1)
    model = fit(X[:60])
    library, _ = Library.build(tmp_path / "p.lance", X, model=model)
    codes = model.transform(X).astype(float)
    found = library.match(queries, k=3, rerank="pixels", n_candidates=400)
    for query, code, one in list(zip(queries, model.transform(queries), found, strict=True))[::29]:
        check(one, query, X, nearest(codes, code, 400), 3, by=by_squares)


def test_stored_pictures_may_be_gone_where_decoded_ones_are_compared(tmp_path, photos, model):
    library, _ = Library.build(tmp_path / "p.lance", photos, model=model, store="references")
    query = photos.joinpath("05.png").rename(tmp_path / "query.png")
    (photos / "more" / "25.png").write_bytes(encode_png(draw(1, seed=1)[0]))
    assert len(library.match(query, k=30, rerank="ssim", rerank_on="decoded")) == 30
    with pytest.raises((LibraryError, OSError), match=r"05\.png' is not there any more"):
        library.match(query, rerank="ssim")


WRONG = {
    "unknown": ({"rerank": "mse"}, ParameterError, "rerank='mse' is not known; use 'pixels', 's"),
    "no name": ({"rerank": 1}, ParameterError, "rerank=1 is not known"),
    "on what": ({"rerank": "ssim", "rerank_on": "codes"}, ParameterError, "rerank_on='codes' is"),
    "nothing": ({"rerank_on": "decoded"}, ParameterError, "rerank=None not to; give rerank="),
    "none": ({"rerank": "ssim", "n_candidates": 0}, ParameterError, "n_candidates=0"),
}


@pytest.mark.parametrize("what", WRONG)
def test_parameters_that_are_not_allowed(library, what):
    options, error, words = WRONG[what]
    with pytest.raises(error, match=words) as caught:
        library.match(ids=0, **options)
    one_line(caught)


def test_what_cannot_be_compared(tmp_path, model, pictures):
    rows = np.random.default_rng(0).normal(size=(50, 7))
    table, _ = Library.build(tmp_path / "rows.lance", rows, model=fit(rows))
    with pytest.raises(LibraryError, match=r"rows of shape \(7,\) are none; use") as caught:
        table.match(ids=0, rerank="ssim")
    one_line(caught)
    assert table.match(ids=0, k=1, rerank="pixels", rerank_on="decoded")[0].distance > 0
    alone, _ = Library.build(tmp_path / "p.lance", pictures, model=model.split()[0])
    with pytest.raises(LibraryError, match=r"encoder alone.*build it with the whole") as caught:
        alone.match(ids=0, rerank="pixels", rerank_on="decoded")
    one_line(caught)
