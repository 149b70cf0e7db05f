"""Each distortion of pictures, measured on what it does to simple ones; all of seed 0."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from narrows.corruption import CORRUPTIONS, Limits, make

LIMITS = Limits(torch.tensor(-2.0), torch.tensor(5.0))
COUNT = 400


def damaged(kind, level, picture, limits=LIMITS):
    """Distort copies of a picture (H, W)."""
    rows = torch.as_tensor(picture, dtype=torch.float64).expand(COUNT, *picture.shape)
    done = make(kind, level, limits, picture.shape)(rows, torch.Generator().manual_seed(0))
    assert done.rows.dtype == torch.float64
    assert done.rows.shape == rows.shape
    assert done.drawn.all()
    return done.rows.numpy()


def is_uniform(values, low, high):
    assert low <= values.min()
    assert values.max() <= high
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.01


def ramps(height, width):
    """Return the coordinates of pixels from the middle, in halves of a side: -1 and 1 at edges."""
    y, x = np.meshgrid(
        (2 * np.arange(height) + 1) / height - 1,
        (2 * np.arange(width) + 1) / width - 1,
        indexing="ij",
    )
    return y, x


@pytest.mark.parametrize("shape", [(24, 24), (20, 32), (32, 20)])
def test_a_crop_shows_part_of_the_picture_anywhere(shape):
    y, x = ramps(*shape)
    down, right = damaged("crop", 0.4, y), damaged("crop", 0.4, x)
    inside = np.s_[shape[0] // 2 - 3 : shape[0] // 2 + 3, shape[1] // 2 - 3 : shape[1] // 2 + 3]
    slope, shift = fitted(down[:, *inside], y[inside])
    slope_right, shift_right = fitted(right[:, *inside], x[inside])
    np.testing.assert_allclose(slope, slope_right, rtol=1e-6)
    assert is_uniform(slope, 0.6, 1 + 1e-9)
    for one in (shift, shift_right):
        assert is_uniform(one / (1 - slope), -1 - 1e-6, 1 + 1e-6)
    assert abs(np.corrcoef(shift, shift_right)[0, 1]) < 0.15


def fitted(rows, coordinate):
    """Fit rows (n, h, w) by lines in a coordinate (h, w)."""
    flat, c = rows.reshape(len(rows), -1), coordinate.ravel()
    slope = (flat - flat.mean(axis=1, keepdims=True)) @ (c - c.mean()) / ((c - c.mean()) ** 2).sum()
    return slope, flat.mean(axis=1) - slope * c.mean()


def test_a_border_is_of_any_shade_and_shrinks_the_picture():
    picture = np.full((32, 32), 1.25)
    framed = damaged("border", 0.5, picture)
    np.testing.assert_allclose(framed[:, 16, 16], 1.25, rtol=1e-6)
    corner = framed[:, 0, 0]
    y, _ = ramps(32, 32)
    slope, shift = fitted(damaged("border", 0.5, y)[:, 12:20, 12:20], y[12:20, 12:20])
    np.testing.assert_allclose(shift, 0, atol=1e-6)
    share = 1 - 1 / slope  # of the side that the frame takes
    assert is_uniform(share, -1e-9, 0.5)
    wide = share > 1 / 16
    assert is_uniform(corner[wide], -2, 5)
    # The pixels of the frame: a picture of ones in a frame of another shade.
    frame = np.abs(framed - 1.25) > 1e-6
    for one in np.flatnonzero(wide)[:50]:
        assert frame[one, 16].mean() == pytest.approx(share[one], abs=2 / 32)


@pytest.mark.parametrize("shape", [(41, 41), (41, 61)])
@pytest.mark.parametrize("level", [0.1, 1])
def test_a_rotation_is_by_any_angle_either_way(shape, level):
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(float)
    spot = np.exp(-(((y - height // 2) ** 2 + (x - width // 2 - 12) ** 2) / 8))
    turned = damaged("rotation", level, spot)
    total = turned.sum(axis=(1, 2))
    down = (turned * y).sum(axis=(1, 2)) / total - height // 2
    right = (turned * x).sum(axis=(1, 2)) / total - width // 2
    np.testing.assert_allclose(np.hypot(down, right), 12, atol=0.3)
    assert is_uniform(np.arctan2(down, right), -np.pi * level - 0.02, np.pi * level + 0.02)
    angle = np.degrees(np.arctan2(down[0], right[0]))
    truth = ndimage.rotate(spot, -angle, reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(turned[0], truth, atol=0.02)


@pytest.mark.parametrize("shape", [(61, 61), (61, 41)])
def test_a_blur_is_a_gaussian_of_any_width(shape):
    point = np.zeros(shape)
    point[shape[0] // 2, shape[1] // 2] = 1
    blurred = damaged("blur", 0.2, point)
    np.testing.assert_allclose(blurred.sum(axis=(1, 2)), 1, rtol=0.01)
    y, x = np.mgrid[: shape[0], : shape[1]]
    widths = [
        np.sqrt((blurred * (c - n // 2) ** 2).sum(axis=(1, 2)) / blurred.sum(axis=(1, 2)))
        for c, n in ((y, shape[0]), (x, shape[1]))
    ]
    np.testing.assert_allclose(widths[0], widths[1], rtol=0.01)
    largest = 0.2 * 61 / 4
    inside = widths[0] > 0.5  # narrower ones fall between pixels
    assert is_uniform(widths[0][inside], 0.5, largest)
    assert inside.mean() == pytest.approx(1 - 0.5 / largest, abs=0.05)
    one = int(np.flatnonzero(inside)[0])
    truth = ndimage.gaussian_filter(point, widths[0][one], truncate=8)
    np.testing.assert_allclose(blurred[one], truth, atol=1e-3)


def test_brightness_multiplies_the_distance_from_black():
    picture = np.array([[-2.0, -1.0], [1.0, 4.9]])
    lit = damaged("brightness", 0.5, picture)
    np.testing.assert_array_equal(lit[:, 0, 0], -2)
    factor = lit[:, 0, 1] + 2
    assert is_uniform(factor, 0.5, 1.5)
    np.testing.assert_allclose(lit[:, 1, 0], -2 + 3 * factor)
    np.testing.assert_allclose(lit[:, 1, 1], np.minimum(-2 + 6.9 * factor, 5))
    below = damaged("brightness", 0.5, np.full((2, 2), -3.0))
    np.testing.assert_array_equal(below, -2)


def test_contrast_multiplies_the_distance_from_the_mean():
    picture = np.array([[-1.0, 0.0], [1.0, 4.0]])
    stretched = damaged("contrast", 0.5, picture)
    factor = 1 - stretched[:, 0, 1]
    assert is_uniform(factor, 0.5, 1.5)
    truth = 1 + factor[:, None, None] * (picture - 1)
    np.testing.assert_allclose(stretched, truth.clip(-2, 5))
    assert (truth > 5).any()
    lower = damaged("contrast", 0.5, -picture + 1)
    assert lower.min() == -2


@pytest.mark.parametrize("level", [0, 0.3, 1])
def test_a_mirror_swaps_left_and_right_as_often_as_asked_for(level):
    picture = np.arange(12.0).reshape(3, 4)
    rows = torch.as_tensor(picture).expand(COUNT, 3, 4)
    done = make("mirror", level, LIMITS, (3, 4))(rows, torch.Generator().manual_seed(0))
    swapped = done.drawn.all(dim=(1, 2)).numpy()
    np.testing.assert_array_equal(swapped, done.drawn.any(dim=(1, 2)).numpy())
    np.testing.assert_array_equal(
        done.rows[swapped], np.broadcast_to(picture[:, ::-1], (swapped.sum(), 3, 4))
    )
    np.testing.assert_array_equal(
        done.rows[~swapped], np.broadcast_to(picture, ((~swapped).sum(), 3, 4))
    )
    assert swapped.mean() == pytest.approx(level, abs=0.08)


@pytest.mark.parametrize("kind", sorted(CORRUPTIONS))
def test_no_level_leaves_pictures_as_they_are(kind):
    picture = np.random.default_rng(0).uniform(-2, 5, (9, 9))
    rows = torch.as_tensor(picture).expand(3, 9, 9)
    done = make(kind, 0, LIMITS, (9, 9))(rows, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(done.rows, rows, atol=1e-6)
