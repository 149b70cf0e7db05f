"""Pictures restored in tiles are those that are restored as a whole."""

import numpy as np
import pytest

from narrows import DenoisingAutoencoder
from narrows.builtin import denoiser
from narrows.models.orientations import mean_over_orientations
from narrows.models.tiles import GRID, Tiling, reach_of, restore_in_bands, restore_part

SEED = 0
RNG = np.random.default_rng(SEED)


def scene(height, width):
    """Draw waves of several lengths, and a bright square."""
    y, x = np.mgrid[:height, :width]
    picture = 110 + 50 * np.sin(x / 9) * np.cos(y / 7) + 20 * np.sin((x + 2 * y) / 3)
    picture[30:60, 40:90] = 220
    return picture


def in_tiles(restore, picture, tiling):
    bands = list(restore_in_bands(restore, picture, tiling))
    made = np.concatenate([band.values for band in bands])
    assert [band.top for band in bands] == np.cumsum([0, *(len(b.values) for b in bands)])[
        :-1
    ].tolist()
    return made


@pytest.fixture(scope="module")
def model():
    learned = RNG.integers(0, 256, (8, 32, 32), np.uint8)
    made = DenoisingAutoencoder(
        4, architecture="fully_convolutional", hidden_layer_sizes=(8, 8), max_epochs=2,
        random_state=SEED,
    )  # fmt: skip
    with pytest.warns(match="no better than their mean row"):
        return made.fit(learned)


@pytest.mark.parametrize("size", [(300, 260), (97, 411), (31, 300), (129, 128)])
@pytest.mark.parametrize("tiling", [Tiling(128, 64), Tiling(128, 96), Tiling(160, 64)], ids=str)
def test_tiles_give_what_the_whole_gives(model, size, tiling):
    """The network halves twice, so that it sees 24 pixels at most; equal within a level of 255."""
    picture = RNG.integers(0, 256, size, np.uint8)
    whole = restore_part(lambda part: model.denoise(part[None])[0], picture, 3)
    made = in_tiles(lambda part: model.denoise(part[None])[0], picture, tiling)
    assert whole.std() > 1  # which differs from place to place
    np.testing.assert_allclose(made, whole, atol=0.01)


def test_tiles_give_what_the_whole_gives_in_all_orientations(model):
    def restore(part):
        return mean_over_orientations(lambda turned: model.denoise(turned[None])[0], part, GRID)

    picture = RNG.integers(0, 256, (97, 235), np.uint8)
    made = in_tiles(restore, picture, Tiling(128, 64))
    np.testing.assert_allclose(made, restore(picture), atol=0.01)


def test_all_orientations_restore_better_than_one():
    """Also where sides are padded, by up to 31 pixels, of which no trace is left at the edges."""
    clean = scene(97, 129)
    noisy = clean + np.random.default_rng(SEED).normal(0, 25, clean.shape)

    def quick(part):
        return denoiser(1).denoise(part[None])[0]

    def squares(restored):
        return (restored - clean) ** 2

    one, all_of_them = squares(quick(noisy)), squares(mean_over_orientations(quick, noisy, GRID))
    assert all_of_them.mean() < one.mean()
    assert all_of_them[:, -8:].mean() < 1.1 * one[:, -8:].mean()


def test_the_tiling_of_a_model_covers_what_it_sees(model):
    """Two convolutions of 3 at strides 1 and 2, and back, see 9 pixels to each side."""
    assert reach_of(model) == 24
    tiling = Tiling.of(model, (5000, 90))
    assert (tiling.overlap - 16) // 2 >= 24
    assert tiling.side % 32 == 0


def test_a_network_that_sees_far_is_told():
    class SeesTheHeight:
        """Adds the height of the picture, which no part has."""

        scaling_ = type("Scaling", (), {"low": 0.0, "high": 1.0})
        sample_shape_ = (8, 8, 3)

        def denoise(self, X):
            return X + X.shape[1]

    assert reach_of(SeesTheHeight()) == 120


def test_neighbours_fade_where_tiles_differ():
    """Steps between neighbouring pixels are at most a sixteenth of the difference between tiles."""
    tiling, picture = Tiling(128, 64), np.zeros((500, 600, 3), np.float32)
    values = iter(range(100))
    made = in_tiles(lambda part: np.full(part.shape, next(values)), picture, tiling)
    down, across = (np.abs(np.diff(made, axis=axis)).max() for axis in (0, 1))
    assert across == pytest.approx(1 / 16, rel=1e-4)
    assert down == pytest.approx(len(tiling.spans(600)) / 16, rel=1e-4)


def test_rows_that_were_yielded_may_be_written_over():
    picture = RNG.random((400, 150, 2))
    truth = picture + 1
    for band in restore_in_bands(lambda part: part + 1, picture, Tiling(96, 32)):
        picture[band.top : band.top + len(band.values)] = band.values
    np.testing.assert_allclose(picture, truth, rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 9), (64, 2), (3, 3)])
def test_pictures_smaller_than_a_tile_or_a_stride(model, size):
    picture = RNG.integers(0, 256, size, np.uint8)
    made = in_tiles(lambda part: model.denoise(part[None])[0], picture, Tiling.of(model, size))
    assert made.shape == size
    assert np.isfinite(made).all()
    # The padding is a reflection: the picture itself is in the middle.
    seen = []
    in_tiles(lambda part: seen.append(part) or part, picture, Tiling(128, 64, 20))
    assert seen[0].shape == tuple(max(side, 20) for side in size)
    same = in_tiles(lambda part: part, picture, Tiling(128, 64, 20))
    np.testing.assert_array_equal(same, picture)


def test_tiles_of_no_size_are_refused():
    for side, overlap in ((100, 32), (128, 128), (128, 20), (128, 0)):
        with pytest.raises(ValueError, match="give multiples of 32"):
            Tiling(side, overlap)
