"""Classic denoisers at their best weights, and a model beside them, against scikit-image's own."""

import json

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from narrows.errors import DataError, MissingDependencyError, ParameterError
from narrows.evaluation import BesideClassics, restore_by_classic
from narrows.evaluation.beside import chosen_pictures, middle_part
from narrows.evaluation.classics import CLASSICS, installed_classics

SEED = 20261130
LEVEL = 20


def discs(shape=(64, 60)):
    """Draw a clean picture and a noisy one, in 0..255."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[: shape[0], : shape[1]]
    clean = np.full(shape, 90.0)
    for row, column, radius, shade in rng.uniform((0, 0, 5, 30), (*shape[:2], 20, 220), (9, 4)):
        clean[(y - row) ** 2 + (x - column) ** 2 < radius**2] = shade
    return clean, clean + rng.normal(0, LEVEL, shape)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_total_variation_has_the_weight_with_the_least_error(channels):
    clean, noisy = discs((48, 60, *channels))
    found = restore_by_classic("total variation", noisy, LEVEL, clean=clean)
    by_weight = {
        weight: 255
        * denoise_tv_chambolle(
            noisy / 255, weight * LEVEL / 255, channel_axis=2 if channels else None
        ).clip(0, 1)
        for weight in CLASSICS[0].weights
    }
    best = min(by_weight, key=lambda weight: np.square(by_weight[weight] - clean).mean())
    assert found.weight == best
    assert found.pixels == pytest.approx(by_weight[best], abs=1e-3)


def test_units_do_not_matter():
    clean, noisy = discs()
    eight = restore_by_classic("total variation", noisy, LEVEL, clean=clean)
    limits = (-1000.0, 64535.0)
    deep = restore_by_classic(
        "total variation",
        noisy * 257 - 1000,
        LEVEL * 257,
        limits=limits,
        clean=clean * 257 - 1000,
    )
    assert deep.weight == eight.weight
    assert deep.pixels == pytest.approx(eight.pixels * 257 - 1000)


def test_what_is_beyond_white_stays_there():
    """Astronomers' white is below their stars."""
    _, noisy = discs()
    noisy[10:16, 10:16] += 5000
    found = restore_by_classic("total variation", noisy, LEVEL)
    assert found.pixels[12:14, 12:14] == pytest.approx(noisy[12:14, 12:14], rel=0.1)


def test_without_a_clean_picture_the_weight_follows_from_the_noise():
    _, noisy = discs()
    found = restore_by_classic("non-local means", noisy, LEVEL)
    truth = denoise_nl_means(
        noisy / 255, 5, 6, h=0.7 * LEVEL / 255, sigma=LEVEL / 255, fast_mode=True
    )
    assert found.weight == 0.7
    assert found.pixels == pytest.approx(255 * truth.clip(0, 1))
    weak, strong = (
        restore_by_classic("total variation", noisy, level).weight for level in (5, 100)
    )
    assert (weak, strong) == (0.6, 0.9)


@pytest.mark.parametrize("channels", [(), (2,), (3,)])
def test_wavelets_take_most_of_the_noise_away(channels):
    pytest.importorskip("pywt")
    clean, noisy = discs((48, 60, *channels))
    found = restore_by_classic("wavelets", noisy, LEVEL, clean=clean)
    assert np.square(found.pixels - clean).mean() < 0.5 * np.square(noisy - clean).mean()


def test_a_picture_without_noise_is_left_as_it_is():
    clean, _ = discs()
    for clean_one in (clean, clean.astype(np.uint8)):
        assert np.array_equal(
            restore_by_classic("total variation", clean_one, 0.0).pixels, clean_one
        )


@pytest.mark.parametrize(
    ("error", "said", "wrong"),
    [
        (ParameterError, "'tv' is no classic denoiser", {"name": "tv"}),
        (ParameterError, "noise=-1", {"noise": -1}),
        (DataError, "at least 16 pixels", {"noisy": np.zeros((15, 40))}),
        (DataError, "NaN", {"noisy": np.full((20, 20), np.nan)}),
        (DataError, "its original", {"clean": np.zeros((4, 4))}),
    ],
)
def test_what_cannot_be_restored_is_refused(error, said, wrong):
    given = {"name": "total variation", "noisy": np.zeros((20, 20)), "noise": 1.0} | wrong
    with pytest.raises(error, match=said):
        restore_by_classic(**given)


def test_missing_packages_are_named_with_their_remedy(monkeypatch):
    monkeypatch.setattr("narrows.evaluation.classics.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'narrows\[classics\]'"):
        restore_by_classic("total variation", np.zeros((20, 20)), 1.0)
    clean, noisy = discs()
    beside = BesideClassics()
    beside.add("one", noisy, clean, clean)
    assert list(beside.psnr) == ["noisy", "model"]
    assert beside.lines(1)[-1] == (
        "classics left out: total variation, wavelets, non-local means: pip install "
        "'narrows[classics]'; BM3D: pip install bm3d (for non-commercial use)"
    )


def only_total_variation(monkeypatch):
    """Leave one fast classic installed, whatever this machine has."""
    monkeypatch.setattr("narrows.evaluation.beside.installed_classics", lambda: (CLASSICS[:1], {}))


def test_scores_are_means_over_pictures(monkeypatch):
    only_total_variation(monkeypatch)
    beside = BesideClassics()
    truth = {"noisy": [], "model": [], "total variation": []}
    for shape in ((40, 50), (64, 32)):
        clean, noisy = discs(shape)
        model = (clean + noisy) / 2
        beside.add(f"{shape}.png", noisy, model, clean)
        noise = np.sqrt(np.mean((noisy - clean) ** 2))
        by = restore_by_classic("total variation", noisy, noise, clean=clean)
        for name, made in zip(truth, (noisy, model, by.pixels), strict=True):
            truth[name].append(peak_signal_noise_ratio(clean, made, data_range=255))
    assert beside.psnr == pytest.approx({name: np.mean(each) for name, each in truth.items()})
    record = json.loads(json.dumps(beside.as_json(), allow_nan=False))
    assert record["psnr"] == beside.psnr
    assert [of["psnr"]["model"] for of in record["pictures"]] == pytest.approx(truth["model"])
    assert record["pictures"][0]["noise"] == pytest.approx(LEVEL, rel=0.05)
    assert record["pictures"][0]["change"] == pytest.approx(LEVEL / 2, rel=0.05)
    line = beside.lines(2)[0]
    assert f"model {beside.psnr['model']:.2f} dB, SSIM {beside.ssim['model']:.3f}" in line
    assert "mean over 2 pictures: noisy" in line


def test_of_large_pictures_the_middle_is_compared_which_is_said(monkeypatch):
    only_total_variation(monkeypatch)
    clean, noisy = discs((40, 700))
    beside = BesideClassics()
    beside.add("wide.png", noisy, clean, clean)
    assert beside.pictures[0].part == (0, 94, 40, 512)
    assert np.array_equal(beside.pictures[0].versions["noisy"], noisy[:, 94:606])
    assert beside.pictures[0].change == pytest.approx(np.sqrt(np.mean((noisy - clean) ** 2)))
    assert "1 picture of 30 (of 1 of them the middle, at most 512 x 512" in beside.lines(30)[0]


def test_pictures_that_classics_cannot_take_are_left_out_and_named(monkeypatch):
    only_total_variation(monkeypatch)
    beside = BesideClassics()
    small, gap = np.zeros((5, 60)), np.zeros((30, 30))
    gap[3, 4] = np.nan
    beside.add("small.png", small, small)
    beside.add("gap.tif", gap, gap)
    assert not beside.pictures
    assert beside.lines(2) == [
        "not compared with classics: 'small.png' has fewer than 16 pixels a side; "
        "'gap.tif' has pixels without values"
    ]
    with pytest.raises(DataError, match=r"'odd.png' has shape \(30, 30\)"):
        beside.add("odd.png", gap, gap[1:])


def test_without_clean_pictures_there_are_no_scores(monkeypatch):
    only_total_variation(monkeypatch)
    _, noisy = discs()
    beside = BesideClassics()
    beside.add("one", noisy, noisy)
    assert beside.psnr == {}
    assert beside.lines(1) == []
    assert beside.pictures[0].noise == pytest.approx(LEVEL, rel=0.15)
    assert "psnr" not in beside.as_json()["pictures"][0]


def test_few_pictures_are_chosen_evenly():
    assert chosen_pictures(8) == list(range(8))
    chosen = chosen_pictures(106)
    assert (len(chosen), chosen[0], chosen[-1]) == (8, 0, 105)
    assert set(np.diff(chosen)) == {15}
    assert len(chosen_pictures(1000, 481 * 321)) == 13  # 2 097 152 pixels
    assert len(chosen_pictures(1000, 28 * 28)) == 100
    assert middle_part((20, 30)) == (0, 0, 20, 30)
    assert sorted(
        [classic.name for classic in installed_classics()[0]] + list(installed_classics()[1])
    ) == sorted(classic.name for classic in CLASSICS)
