"""Damage by its statistics, and denoising by what it restores."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine

from narrows import DenoisingAutoencoder, EncoderClassifier, load
from narrows.corruption import CORRUPTIONS, DISTORTIONS, Limits, make
from narrows.errors import DataError, DivergedError, FormatError, NarrowsWarning, ParameterError
from narrows.models.damage import choose_damage, limits_of
from narrows.models.learned_rows import HELD_OUT
from narrows.signals import Windows

SEED = 20240601
RNG = np.random.default_rng(SEED)
UNIT = Limits(torch.tensor(0.0), torch.tensor(1.0))
# Distortions that leave grey pictures as they are.
OF_COLORS = {"colors", "grey"}
TABLE = RNG.random((80, 6))
PICTURES = RNG.integers(0, 256, (40, 9, 7), dtype=np.uint8)


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def damaged(x, kind, level, seed=SEED):
    return make(kind, level, UNIT, tuple(x.shape[1:]))(x, generator(seed)).rows


def quick(**parameters):
    own = {"architecture": "dense", "scaling": "unit", "max_epochs": 2, "random_state": SEED}
    return DenoisingAutoencoder(3, **{**own, **parameters})


def test_gaussian_noise_has_the_variance_asked_for():
    x = torch.full((1000, 200), 0.5)
    noise = (damaged(x, "gaussian", 0.3) - x).double()
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.3 / 200_000**0.5)
    assert float(noise.var()) == pytest.approx(0.09, rel=0.02)
    outside = ((noise.abs() > 0.3).double().mean()).item()
    assert outside == pytest.approx(0.3173, abs=0.006), "not the tails of a normal distribution"


@pytest.mark.parametrize("level", [0.0, 0.1, 0.5, 1.0])
def test_masking_sets_the_share_asked_for_to_zero(level):
    y = damaged(torch.full((1000, 200), 0.5), "masking", level)
    assert set(y.unique().tolist()) <= {0.0, 0.5}
    assert float((y == 0).double().mean()) == pytest.approx(level, abs=0.006)


@pytest.mark.parametrize("level", [0.0, 0.2, 1.0])
def test_salt_and_pepper_are_as_many_and_as_extreme_as_asked_for(level):
    limits = Limits(torch.tensor([-1.0, -2.0]), torch.tensor([3.0, 4.0]))
    x = torch.full((100_000, 2), 0.5)
    y = make("salt_and_pepper", level, limits, (2,))(x, generator()).rows
    for column in range(2):
        for extreme in (limits.low[column], limits.high[column]):
            share = (y[:, column] == extreme).double().mean()
            assert float(share) == pytest.approx(level / 2, abs=0.008)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(5, 9, 7), (5, 9, 7, 3)])
def test_damage_follows_the_seed_and_leaves_its_input_alone(kind, shape):
    x = torch.rand(shape, generator=generator())
    before = x.clone()
    y = damaged(x, kind, 0.5)
    assert y.shape == x.shape
    assert torch.equal(x, before)
    assert torch.equal(y, damaged(x, kind, 0.5))
    if kind in OF_COLORS and len(shape) == 3:
        assert torch.equal(y, x)
        return
    assert not torch.equal(y, x)
    # JPEG draws no numbers.
    assert torch.equal(y, damaged(x, kind, 0.5, seed=1)) == (kind == "jpeg")
    torch.testing.assert_close(damaged(x, kind, 0.0), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_each_picture_is_distorted_by_itself(kind):
    x = torch.rand(1, 9, 7, 3, generator=generator()).expand(30, 9, 7, 3)
    assert len(damaged(x, kind, 0.5).flatten(1).unique(dim=0)) > 1


def test_what_the_distortions_do():
    x = torch.rand(200, 8, 8, generator=generator())
    torch.testing.assert_close(damaged(x, "mirror", 1.0), x.flip(2))
    flat = torch.full((50, 8, 8), 0.25)
    # Whatever moves or smears pixels leaves a picture of one grey as it is.
    for kind in ("crop", "rotation", "blur", "contrast"):
        torch.testing.assert_close(damaged(flat, kind, 0.8), flat, rtol=0, atol=1e-5)
    factors = damaged(flat, "brightness", 0.5)[:, 0, 0] / 0.25
    assert 0.5 <= factors.min() < 0.6
    assert 1.4 < factors.max() <= 1.5
    # A point becomes a Gaussian: three times as far, nine times the logarithm.
    point = torch.zeros(20, 33, 33)
    point[:, 16, 16] = 1
    profile = damaged(point, "blur", 0.5)[:, 16, 16:]
    drop = (profile[:, 1:5:2] / profile[:, :1]).log()[profile[:, 0] < 0.1]
    assert len(drop) > 10
    torch.testing.assert_close(drop[:, 1], 9 * drop[:, 0], rtol=1e-3, atol=1e-3)
    framed = damaged(torch.ones(100, 32, 32), "border", 0.5)
    torch.testing.assert_close(framed[:, 14:18, 14:18], torch.ones(100, 4, 4))
    assert framed[:, 0].std() > 0.1, "every frame has a shade of its own"


def test_a_turn_by_half_a_circle_is_two_flips():
    """Of many turns by up to 180 degrees, the widest comes near the picture upside down."""
    x = torch.rand(1, 16, 16, generator=generator())
    x = damaged(x, "blur", 0.3).expand(4000, 16, 16)
    turned = damaged(x, "rotation", 1.0)
    nearest = (turned - x.flip(1, 2)).abs().flatten(1).amax(dim=1).min()
    assert nearest < 0.02


def test_a_list_is_done_in_its_order_with_a_level_each():
    x = torch.rand(50, 9, 7, generator=generator())
    both = make(["mirror", "masking"], [1.0, 0.4], UNIT, (9, 7))(x, generator()).rows
    assert float((both == 0).double().mean()) == pytest.approx(0.4, abs=0.05)
    kept = both != 0
    assert torch.equal(both[kept], x.flip(2)[kept])
    own = make([lambda x, _: x + 1, "masking"], "auto", UNIT, (9, 7))(x, generator()).rows
    assert set((own[own != 0] >= 1).tolist()) == {True}


def test_the_target_is_the_clean_input():
    """One slow epoch: the loss is that of restoring clean rows from damaged ones."""
    seen = []

    def spy(x, generator):
        y = x + 0.5 * torch.rand(x.shape, generator=generator)
        seen.append((x.clone(), y.clone()))
        return y

    model = quick(corruption=spy, max_epochs=1, learning_rate=1e-12, early_stopping=False)
    loss = model.fit(TABLE).history_["loss"][0]
    total = 0.0
    with torch.no_grad():
        for clean, dirty in seen:
            total += float(((model.decoder_(model.encoder_(dirty)) - clean) ** 2).sum())
    assert loss == pytest.approx(total / len(TABLE), rel=1e-4)
    assert not any(torch.equal(clean, dirty) for clean, dirty in seen)


@pytest.mark.cases
def test_emphasis_weighs_damaged_and_intact_values_apart():
    """Vincent et al. (2010), eqs. 7 and 8: the two parts add up to the plain loss."""
    common = {
        "corruption": "masking",
        "max_epochs": 1,
        "learning_rate": 1e-12,
        "early_stopping": False,
    }
    for X in (TABLE, TABLE > 0.5):
        plain, damage, intact, both = (
            quick(**common, corrupted_weight=a, intact_weight=b).fit(X).history_["loss"][0]
            for a, b in [(1, 1), (1, 0), (0, 1), (2, 0.5)]
        )
        assert damage > 0
        assert intact > 0
        assert plain == pytest.approx(damage + intact, rel=1e-5)
        assert both == pytest.approx(2 * damage + 0.5 * intact, rel=1e-5)


def test_it_denoises_digits_better_than_pca():
    from sklearn.decomposition import PCA

    from narrows import datasets

    digits = datasets.load("digits")
    X, clean = digits.X_train / 255, digits.X_test / 255
    noisy = clean + np.random.default_rng(SEED).normal(0, 0.3, clean.shape)
    model = DenoisingAutoencoder(
        32, corruption="gaussian", corruption_level=0.3, max_epochs=60, random_state=SEED
    ).fit(X)
    error = ((model.denoise(noisy) - clean) ** 2).mean()
    flat = noisy.reshape(len(noisy), -1)
    rivals = []
    for k in (4, 8, 12, 16, 24):
        pca = PCA(k, random_state=SEED).fit(X.reshape(len(X), -1))
        rivals.append(
            ((pca.inverse_transform(pca.transform(flat)) - clean.reshape(flat.shape)) ** 2).mean()
        )
    assert error < 0.9 * min(rivals)


def test_pairs_of_damaged_and_clean_rows():
    """A known, fixed damage that only pairs can teach: every picture upside down."""
    smooth = np.cumsum(np.random.default_rng(SEED).random((300, 6, 6)), axis=1)
    smooth /= smooth.max()
    model = DenoisingAutoencoder(
        12, corruption=None, max_epochs=60, random_state=SEED, hidden_layer_sizes=()
    )
    with pytest.warns(NarrowsWarning, match="the same units and the same order") as caught:
        model.fit(smooth[:, ::-1].copy(), smooth)
    assert caught[0].message.kind == "pairs_unlike"
    error = ((model.denoise(smooth[:, ::-1]) - smooth) ** 2).mean()
    assert error < 0.2 * smooth.var(axis=0).mean()
    with pytest.raises(DataError, match="clean row for each"):
        quick().fit(PICTURES, PICTURES[:, :5])
    labels = np.arange(len(TABLE)) % 2
    np.testing.assert_array_equal(
        quick().fit(TABLE, labels).transform(TABLE), quick().fit(TABLE).transform(TABLE)
    )


def test_same_seed_same_noise_and_resuming(tmp_path):
    one, other = quick().fit(PICTURES), quick().fit(PICTURES)
    assert one.fingerprint_ == other.fingerprint_
    assert quick(random_state=1).fit(PICTURES).fingerprint_ != one.fingerprint_
    assert load(one.save(tmp_path / "model")).get_params() == one.get_params()


def test_noise_is_fresh_in_every_step_and_epoch_and_follows_the_seed():
    def draws(seed):
        """The noise of three epochs, and that of the held-out rows after each."""
        learned, held_out = [], []

        def corruption(x, generator):
            noise = torch.rand(x.shape, generator=generator)
            (learned if torch.is_grad_enabled() else held_out).append(noise)
            return x + noise

        parameters = {"max_epochs": 3, "batch_size": 16, "validation_fraction": 0.2}
        quick(corruption=corruption, random_state=seed, **parameters).fit(TABLE)
        return torch.cat(learned), torch.stack(held_out)

    learned, held_out = draws(SEED)
    assert learned.shape == (3 * 64, 6)
    assert len(learned.unique(dim=0)) == len(learned)
    assert held_out.shape == (3, 16, 6)
    assert torch.equal(held_out, held_out[:1].expand_as(held_out)), "else losses do not compare"
    for one, again, other in zip((learned, held_out), draws(SEED), draws(1), strict=True):
        assert torch.equal(one, again)
        assert not torch.isin(one, other).all()


def test_damage_goes_with_every_model():
    from narrows import MODELS

    for model in MODELS.values():
        fitted = model(3, corruption=["masking", "gaussian"], max_epochs=1, random_state=SEED)
        assert np.isfinite(fitted.fit(TABLE).history_["loss"]).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"corruption": "rust"}, "'rust'"),
        ({"corruption_level": 1.5}, "1.5"),
        ({"corruption_level": -0.1}, "-0.1"),
        ({"corruption_level": [0.1, 0.2, 0.3]}, "3 levels for 1"),
        ({"corruption_level": [[0.1, 0.2], 0.3]}, "2 levels for 1"),
        ({"corruption_level": (0.2, 0.1)}, r"\(0.2, 0.1\)"),
        ({"corruption_level": (0.2, 1.1)}, r"\(0.2, 1.1\)"),
        ({"corruption_level": [(0.1, "auto")]}, "'auto'"),
        ({"corruption": ["one_of", "masking"]}, "two corruptions or more"),
        ({"corruption": ["masking", "one_of", "gaussian"]}, "two corruptions or more"),
        ({"corruption": "one_of"}, "two corruptions or more"),
        ({"corruption": "jpeg"}, "for pictures"),
        ({"corruption": "color_noise"}, "for pictures"),
        ({"corruption": "crop"}, "pictures"),
        ({"corrupted_weight": -1}, "corrupted_weight"),
        ({"intact_weight": "much"}, "intact_weight"),
    ],
)
def test_bad_parameters_are_named_in_fit(parameters, message):
    with pytest.raises(ParameterError, match=message):
        quick(**parameters).fit(TABLE)


def test_functions_of_the_users_cannot_touch_the_target_and_must_keep_the_shape():
    X = np.random.default_rng(3).random((64, 6))

    def pure(x, generator):
        return x * 0

    def in_place(x, generator):
        return x.mul_(0)

    first, second = (
        DenoisingAutoencoder(2, corruption=f, max_epochs=2, random_state=0).fit(X)
        for f in (pure, in_place)
    )
    assert first.history_["reconstruction"] == second.history_["reconstruction"]


@pytest.mark.parametrize("returned", [lambda x: x.tolist(), lambda x: x[:, :2]])
def test_functions_that_return_no_such_rows_are_refused(returned):
    def wrong(x, generator):
        return returned(x)

    with pytest.raises(ParameterError, match="must return a tensor of the shape"):
        quick(corruption=wrong).fit(TABLE)


def test_functions_are_not_stored_and_that_is_said(tmp_path):
    X = np.random.default_rng(4).random((64, 6))

    def halve(x, generator):
        return x / 2

    model = DenoisingAutoencoder(2, corruption=["masking", halve], max_epochs=1, random_state=0)
    again = load(model.fit(X).save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    with pytest.raises(ParameterError, match=r"'.*halve', which is not stored"):
        again.partial_fit(X)
    again.save(tmp_path / "again")
    again.set_params(corruption=["masking", halve]).partial_fit(X)


def test_limits_follow_the_rows_to_their_device():
    """The meta device computes shapes alone, and refuses to be mixed with another."""
    limits = Limits(torch.zeros(4, 4), torch.ones(4, 4))
    damage = make("salt_and_pepper", 0.5, limits, (4, 4))
    rows, drawn = damage(torch.zeros(2, 4, 4, device="meta"), None)
    assert rows.device.type == drawn.device.type == "meta"


def test_pairs_keep_the_names_of_either_table_and_are_for_fit_alone():
    rng = np.random.default_rng(5)
    clean = rng.random((40, 3))
    table = pd.DataFrame(clean, columns=["a", "b", "c"])
    for noisy, target in ((table + 0.1, clean), (clean + 0.1, table)):
        model = DenoisingAutoencoder(2, corruption=None, max_epochs=1, random_state=0)
        model.fit(noisy, target)
        assert list(model.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(DataError, match="give pairs of rows to fit"):
        model.partial_fit(table + 0.1, table)


def test_a_failed_fit_on_pairs_leaves_the_model_as_it_was():
    X = np.random.default_rng(6).random((40, 4))
    model = DenoisingAutoencoder(2, corruption=None, max_epochs=2, random_state=0).fit(X**2, X)
    before = model.transform(X)
    model.set_params(learning_rate=1e30)
    with pytest.raises(DivergedError):
        model.fit(1000 * X**2, 1000 * X)
    np.testing.assert_array_equal(model.transform(X), before)


# What was drawn to be damaged.


def by_rows(mask):
    """Tell of each row whether all of its values are in a mask; in part is an error."""
    whole, some = mask.flatten(1).all(1), mask.flatten(1).any(1)
    assert torch.equal(whole, some)
    return whole


@pytest.mark.cases
def test_what_was_drawn_counts_whether_or_not_it_differs():
    black = torch.zeros(500, 20)
    rows, drawn = make("masking", 0.3, UNIT, (20,))(black, generator())
    assert torch.equal(rows, black)
    assert float(drawn.double().mean()) == pytest.approx(0.3, abs=0.02)
    half = torch.full((500, 20), 0.5)
    rows, same = make("masking", 0.3, UNIT, (20,))(half, generator())
    assert torch.equal(same, drawn)
    assert torch.equal(rows, half * ~drawn)
    white = torch.ones(500, 20)
    rows, drawn = make("salt_and_pepper", 0.4, UNIT, (20,))(white, generator())
    assert float(drawn.double().mean()) == pytest.approx(0.4, abs=0.02)
    assert float((rows == 0).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert drawn[rows == 0].all()


@pytest.mark.parametrize("kind", ["gaussian", *DISTORTIONS])
@pytest.mark.cases
def test_noise_and_distortions_are_drawn_for_all_values(kind):
    x = torch.rand(40, 8, 6, 3, generator=generator())
    rows, drawn = make(kind, 0.5, UNIT, (8, 6, 3))(x, generator())
    assert drawn.shape == x.shape
    assert drawn.dtype == torch.bool
    whole = by_rows(drawn)
    assert 5 < whole.sum() < 35 if kind in ("mirror", "grey") else whole.all()
    assert torch.equal(rows[~whole], x[~whole])
    assert not make(kind, 0.0, UNIT, (8, 6, 3))(x, generator()).drawn.any()


def test_the_masks_of_a_sequence_are_united():
    x = torch.rand(200, 8, 6, generator=generator())
    both = make(["masking", "mirror"], [0.3, 0.5], UNIT, (8, 6))(x, generator()).drawn
    alone = make("masking", 0.3, UNIT, (8, 6))(x, generator()).drawn
    turned = both.flatten(1).all(1)
    assert 70 < turned.sum() < 130
    assert torch.equal(both[~turned], alone[~turned])
    twice = make(["masking", "masking"], 0.3, UNIT, (8, 6))(x, generator()).drawn
    assert float(twice.double().mean()) == pytest.approx(1 - 0.7**2, abs=0.02)
    assert not make([], 0.3, UNIT, (8, 6))(x, generator()).drawn.any()


@pytest.mark.cases
def test_functions_may_say_what_they_drew():
    x = torch.tensor([[0.0, 1.0, 0.0, 2.0]])
    mask = torch.tensor([[True, True, False, False]])

    def silent(x, generator):
        return x * ~mask

    def telling(x, generator):
        return x * ~mask, mask

    assert make(silent, 0.1, UNIT, (4,))(x, None).drawn.tolist() == [[False, True, False, False]]
    rows, drawn = make(telling, 0.1, UNIT, (4,))(x, None)
    assert torch.equal(drawn, mask)
    assert torch.equal(rows, x * ~mask)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x: (x, x), "a tensor of torch.float32 of shape .* beside the rows"),
        (lambda x: (x, (x > 9)[:, :2]), r"of torch.bool of shape \(80, 2\) beside the rows"),
        (lambda x: (x, 1), "a int beside the rows"),
        (lambda x: (x > 9, x, x), "returned a tuple; it must return a tensor"),
    ],
)
@pytest.mark.cases
def test_masks_that_are_none_are_refused(returned, words):
    def wrong(x, generator):
        return returned(x)

    with pytest.raises(ParameterError, match=words):
        quick(corruption=wrong, batch_size=80, early_stopping=False).fit(TABLE)


@pytest.mark.parametrize("binary", [False, True], ids=["squared error", "cross-entropy"])
@pytest.mark.cases
def test_emphasis_is_the_papers_in_double_precision(binary):
    """Vincent et al. (2010), section 3.4: alpha over the values in J, beta over the others."""
    X = (TABLE > 0.5) * 1.0 if binary else TABLE
    alpha, beta, masks = 1.7, 0.3, []

    def spy(x, generator):
        kept = torch.rand(x.shape, generator=generator) > 0.4
        masks.append((x.clone(), ~kept))
        return x * kept, ~kept

    model = quick(
        corruption=spy, corrupted_weight=alpha, intact_weight=beta, max_epochs=1,
        learning_rate=1e-12, weight_decay=0, early_stopping=False,
    ).fit(X)  # fmt: skip
    assert model.loss_ == ("cross_entropy" if binary else "squared_error")
    encoder, decoder = model.encoder_.double(), model.decoder_.double()
    total = 0.0
    with torch.no_grad():
        for x, drawn in masks:
            z = decoder(encoder((x * ~drawn).double())).numpy()
            t, inside = x.double().numpy(), drawn.numpy()
            terms = -(t * np.log(z) + (1 - t) * np.log(1 - z)) if binary else (t - z) ** 2
            total += alpha * terms[inside].sum() + beta * terms[~inside].sum()
            assert (t[inside] == 0).any() or not binary  # they count, though nothing differs
    assert model.history_["loss"][0] == pytest.approx(total / len(X), rel=1e-5)


@pytest.mark.cases
def test_emphasis_on_masked_values_alone_learns_how_bright_they_are():
    """Digits in black and white: if masked black pixels did not count, all would turn white."""
    from narrows import datasets

    digits = datasets.load("digits")
    X, clean = ((part > 127).astype(np.uint8) for part in (digits.X_train, digits.X_test))
    model = DenoisingAutoencoder(
        32, corruption="masking", corruption_level=0.25, corrupted_weight=1, intact_weight=0,
        max_epochs=40, random_state=SEED,
    ).fit(X)  # fmt: skip
    lost = np.random.default_rng(SEED).random(clean.shape) < 0.25
    restored = model.denoise(np.where(lost, 0, clean))
    assert restored.mean() == pytest.approx(clean.mean(), abs=0.03)
    assert ((restored - clean) ** 2).mean() < 0.07
    assert restored[lost].mean() == pytest.approx(clean[lost].mean(), abs=0.03)


@pytest.mark.cases
def test_of_pairs_what_differs_counts_and_what_is_drawn():
    dirty = np.where(RNG.random(TABLE.shape) < 0.3, 0.0, TABLE)
    common = {"max_epochs": 1, "learning_rate": 1e-12, "early_stopping": False}
    losses = {}
    for name, corruption, weights in (
        ("given", None, (1, 0)),
        ("all", None, (1, 1)),
        ("drawn too", "gaussian", (1, 0)),
        ("noise", "gaussian", (1, 1)),
    ):
        model = quick(
            corruption=corruption, corrupted_weight=weights[0], intact_weight=weights[1], **common
        )
        losses[name] = model.fit(dirty, TABLE).history_["loss"][0]
        if name == "given":
            restored = model.scaling_(torch.from_numpy(model.denoise(dirty)))
            terms = (restored - model.scaling_(torch.from_numpy(TABLE))).square().numpy()
            truth = terms[dirty != TABLE].sum() / len(TABLE)
            assert losses[name] == pytest.approx(truth, rel=1e-4)
    assert losses["given"] < 0.5 * losses["all"]
    assert losses["drawn too"] == pytest.approx(losses["noise"], rel=1e-6)


def test_weights_that_leave_nothing_to_learn_are_refused():
    with pytest.raises(ParameterError, match="leave nothing to learn"):
        quick(corrupted_weight=0, intact_weight=0).fit(TABLE)


# Salt and pepper on tables.

WINE = load_wine()


def salted(model, X, seed=0):
    """What training makes of rows, in the data's units."""
    damage = choose_damage(model)
    rows = damage(model.scaling_(torch.from_numpy(X)), generator(seed)).rows
    return model.scaling_.undo(rows).numpy()


@pytest.mark.parametrize("scaling", ["auto", "standard", "global", "none"])
@pytest.mark.cases
def test_each_column_of_a_table_has_its_own_salt_and_pepper(scaling):
    X = WINE.data[:150]
    model = quick(
        corruption="salt_and_pepper", corruption_level=0.6, scaling=scaling, early_stopping=False
    ).fit(X)
    y = salted(model, WINE.data)
    own = np.isclose(y, WINE.data, rtol=1e-5)
    low, high = X.min(axis=0), X.max(axis=0)
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * np.abs(high).max() if scaling == "global" else 1e-5}
    pepper, salt = np.isclose(y, low, **tolerance), np.isclose(y, high, **tolerance)
    assert (own | pepper | salt).all()
    for share in ((pepper & ~own).mean(axis=0), (salt & ~own).mean(axis=0)):
        np.testing.assert_allclose(share, 0.3, atol=0.12)
    np.testing.assert_array_equal(model.data_min_, low)
    np.testing.assert_array_equal(model.data_max_, high)


@pytest.mark.cases
def test_held_out_rows_have_no_part_in_salt_and_pepper():
    X = WINE.data.copy()
    model = quick(corruption="salt_and_pepper", architecture="dense").fit(X)
    held_out = model.learned_rows_.membership(X) == HELD_OUT
    assert held_out.sum() == 18
    np.testing.assert_array_equal(model.data_max_, X[~held_out].max(axis=0))
    np.testing.assert_array_equal(model.data_min_, X[~held_out].min(axis=0))


@pytest.mark.cases
def test_pictures_keep_black_and_white():
    X = RNG.integers(60, 200, (40, 9, 7), dtype=np.uint8)
    model = quick(corruption="salt_and_pepper", corruption_level=0.5).fit(X)
    assert not hasattr(model, "data_min_")
    y = salted(model, X)
    changed = np.abs(y - X) > 0.5
    assert set(np.rint(y[changed]).tolist()) == {0, 255}
    limits = limits_of(model)
    assert (float(limits.low), float(limits.high)) == (0, 1)


@pytest.mark.parametrize("kind", ["windows", "architecture"])
@pytest.mark.cases
def test_each_channel_of_a_signal_has_its_own(kind):
    wave = np.random.default_rng(3).normal(size=(400, 2)) * [1, 1000] + [5, 0]
    windows = Windows(wave, 32)
    X = windows if kind == "windows" else np.asarray(windows)
    architecture = "auto" if kind == "windows" else "convolutional_1d"
    own = {"architecture": architecture, "scaling": "standard"}
    model = quick(corruption="salt_and_pepper", **own).fit(X)
    np.testing.assert_array_equal(model.data_min_, wave.min(axis=0))
    limits = limits_of(model)
    ends = model.scaling_.undo(torch.stack([limits.low, limits.high])).numpy()
    np.testing.assert_allclose(ends[0], np.broadcast_to(wave.min(axis=0), (32, 2)), rtol=1e-4)
    np.testing.assert_allclose(ends[1], np.broadcast_to(wave.max(axis=0), (32, 2)), rtol=1e-4)


@pytest.mark.cases
def test_the_range_of_a_table_is_stored_and_grows_with_more_rows(tmp_path):
    X = WINE.data
    whole = quick(corruption="salt_and_pepper").partial_fit(X[:100]).partial_fit(X[100:])
    np.testing.assert_array_equal(whole.data_min_, X.min(axis=0))
    np.testing.assert_array_equal(whole.data_max_, X.max(axis=0))
    first = quick(corruption="salt_and_pepper").partial_fit(X[:100])
    again = load(first.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.data_max_, X[:100].max(axis=0))
    assert again.fingerprint_ == first.fingerprint_
    again.partial_fit(X[100:])
    np.testing.assert_array_equal(again.data_max_, X.max(axis=0))
    np.testing.assert_array_equal(salted(again, X)[:5], salted(again, X)[:5])
    # Fitted on pictures, it has none.
    assert not hasattr(first.fit(PICTURES), "data_min_")


def test_models_stored_without_a_range_have_what_they_had(tmp_path):
    model = quick(corruption="salt_and_pepper").fit(WINE.data)
    path = model.save(tmp_path / "model")
    manifest = json.loads((path / "narrows.json").read_text("utf-8"))
    for name in ("data_min_", "data_max_"):
        assert len(manifest["findings"].pop(name)) == 13
    (path / "narrows.json").write_text(json.dumps(manifest), "utf-8")
    old = load(path)
    assert old.fingerprint_ == model.fingerprint_
    limits = limits_of(old)
    ends = old.scaling_.undo(torch.stack([limits.low, limits.high])).numpy()
    np.testing.assert_allclose(ends[0], old.scaling_.low, atol=0.1)
    np.testing.assert_allclose(ends[1], old.scaling_.high, rtol=1e-3)
    old.partial_fit(WINE.data)


@pytest.mark.parametrize("ends", [[1.0, 2.0], ["a"] * 13, [None] * 13, [[1.0] * 13] * 3])
def test_a_range_that_cannot_be_is_damage(ends, tmp_path):
    path = quick().fit(WINE.data).save(tmp_path / "model")
    manifest = json.loads((path / "narrows.json").read_text("utf-8"))
    manifest["findings"]["data_min_"] = ends
    (path / "narrows.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(FormatError):
        load(path)


def test_reports_show_a_tables_own_salt():
    from narrows.evaluation.parts import damage

    model = quick(corruption="salt_and_pepper", corruption_level=1.0, early_stopping=False)
    model.fit(WINE.data)
    shown = damage(model, WINE.data, 0)
    ends = np.stack([WINE.data.min(axis=0), WINE.data.max(axis=0)])
    assert (np.abs(shown[:, None] - ends).min(axis=1) <= 1e-4 * np.abs(ends).max(axis=0)).all()


def test_classifiers_salt_their_own_rows():
    seen = []

    def spy(x, generator):
        seen.append(x.clone())
        return x

    X, y = WINE.data[:120], WINE.target[:120]
    encoder = quick(scaling="standard").fit(WINE.data)
    EncoderClassifier(
        encoder, corruption=["salt_and_pepper", spy], corruption_level=[1.0, 0.0], max_epochs=1,
        random_state=SEED,
    ).fit(X, y)  # fmt: skip
    found = encoder.scaling_.undo(torch.cat(seen)).numpy()
    np.testing.assert_allclose(found.min(axis=0), X.min(axis=0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.max(axis=0), X.max(axis=0), rtol=1e-4, atol=1e-3)
