"""Which rows a model learned from: split before anything is learned, and remembered with it."""

import numpy as np
import pytest

from narrows import MODELS, DenoisingAutoencoder, EncoderClassifier, load
from narrows.errors import DataError
from narrows.models.learned_rows import (
    HELD_OUT,
    LEARNED,
    NEW,
    UNKNOWN,
    LearnedRows,
    hash_rows,
)

pytestmark = pytest.mark.cases

TABLE = np.random.default_rng(0).normal(3, 2, (120, 6))
QUICK = {"n_components": 2, "max_epochs": 1, "random_state": 0, "validation_fraction": 0.25}


def quick(name, **parameters):
    own = {**QUICK, "hidden_layer_sizes": (5,), "architecture": "dense"}
    if name == "matching":  # which held-out rows choose otherwise
        own |= {"whitening": 0.25, "metric": "cosine"}
    return MODELS[name](**{**own, **parameters})


@pytest.mark.parametrize("scaling", ["auto", "standard", "unit"])
@pytest.mark.parametrize("name", MODELS)
def test_held_out_rows_change_nothing_that_is_learned(name, scaling):
    """Scaling, centre, first weights and findings come from the other rows alone."""
    model = quick(name, scaling=scaling).fit(TABLE)
    held_out = model.learned_rows_.membership(TABLE) == HELD_OUT
    assert held_out.sum() == 30
    changed = TABLE.copy()
    changed[held_out] = changed[held_out] * 4 - 10
    other = quick(name, scaling=scaling).fit(changed)
    assert other.fingerprint_ == model.fingerprint_
    for finding in ("active_units_", "mean_activation_", "mean_jacobian_norm_"):
        if hasattr(model, finding):
            np.testing.assert_array_equal(getattr(model, finding), getattr(other, finding))


def test_statistics_are_those_of_the_other_rows(tmp_path):
    """Of rows in memory and on a disk alike."""
    wide = np.random.default_rng(1).normal(size=(40_000, 230)).astype(np.float64)
    np.save(tmp_path / "wide.npy", wide)
    model = quick("autoencoder", scaling="standard", batch_size=4096).fit(tmp_path / "wide.npy")
    membership = model.learned_rows_.membership(wide)
    assert (membership == HELD_OUT).sum() == model.learned_rows_.n_held_out == 10_000
    seen = wide[membership == LEARNED]
    np.testing.assert_allclose(model.scaling_.shift.numpy(), seen.mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.scaling_.scale.numpy(), seen.std(0), rtol=1e-12)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.uint8])
def test_rows_are_recognised_in_whatever_type_they_come(kind):
    rows = np.random.default_rng(2).integers(0, 255, (100, 3, 4))
    memory = LearnedRows().with_rows(rows.astype(np.uint8))
    assert (memory.membership(rows.astype(kind)) == LEARNED).all()
    assert (memory.membership(rows.astype(kind).reshape(100, 12)) == LEARNED).all()
    assert (memory.membership(np.flip(rows, 2).astype(kind)) == NEW).all()


@pytest.mark.parametrize("offset", [0, 1e3, 5e6])
def test_rows_of_doubles_far_from_zero_are_told_apart(offset):
    """Of a spread of 5 at five million, single precision leaves a few steps of 0.5."""
    rng = np.random.default_rng(6)
    plane = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 10))
    rows = offset + 5 * plane
    memory = LearnedRows().with_rows(rows[:2000])
    found = memory.membership(rows)
    assert (found[:2000] == LEARNED).all()
    assert (found[2000:] == NEW).all()
    assert not memory.in_single
    assert (memory.membership(rows[:2000].astype(np.float32)) == LEARNED).all()
    single = LearnedRows().with_rows(rows[:2000].astype(np.float32))
    assert single.in_single
    assert (single.membership(rows[:2000]) == LEARNED).all()


def test_values_beyond_single_precision_are_hashed_without_a_warning():
    rows = np.array([[1e300], [-1e300], [1e300]])
    found = LearnedRows().with_rows(rows[:1]).membership(rows)
    assert found.tolist() == [LEARNED, NEW, LEARNED]


def test_every_single_value_counts():
    rows = np.zeros((13, 12), np.float32)
    rows[np.arange(1, 13), np.arange(12)] = np.float32(1e-30)
    assert len(set(hash_rows(rows).tolist())) == 13
    assert (hash_rows(-rows[:1]) == hash_rows(rows[:1])).all(), "the two zeros are one number"


def test_of_many_rows_a_part_that_is_the_same_everywhere_can_be_told():
    rows = np.random.default_rng(3).normal(size=(200_000, 2))
    held_out = np.arange(200_000) % 100 == 0
    memory = LearnedRows()
    for part in range(0, 200_000, 50_000):
        block = slice(part, part + 50_000)
        memory = memory.with_rows(rows[block], held_out[block])
    assert (memory.n_learned, memory.n_held_out) == (198_000, 2_000)
    found = memory.membership(rows)
    assert (found[held_out] == HELD_OUT).all()
    assert set(found[~held_out].tolist()) == {LEARNED, UNKNOWN}
    assert (found == LEARNED).sum() == 65_536
    others = memory.membership(np.random.default_rng(4).normal(size=(200_000, 2)))
    assert set(others.tolist()) == {NEW, UNKNOWN}
    assert (others == NEW).mean() == pytest.approx(65_536 / 198_000, abs=0.01)


def test_it_is_stored_with_the_model_and_is_no_part_of_its_fingerprint(tmp_path):
    model = quick("autoencoder").fit(TABLE)
    again = load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(
        again.learned_rows_.membership(TABLE), model.learned_rows_.membership(TABLE)
    )
    again.learned_rows_ = None  # as models are that were saved without
    assert again.fingerprint_ == model.fingerprint_
    older = load(again.save(tmp_path / "older"))
    assert older.learned_rows_ is None
    assert older.partial_fit(TABLE).learned_rows_ is None


def test_later_rows_are_added():
    model = quick("autoencoder").partial_fit(TABLE[:50])
    assert model.learned_rows_.n_learned == 50
    model.partial_fit(TABLE[50:80])
    found = model.learned_rows_.membership(TABLE)
    assert (found[:80] == LEARNED).all()
    assert (found[80:] == NEW).all()


def test_both_rows_of_a_pair_were_learned_from():
    noisy = TABLE + np.random.default_rng(5).normal(0, 0.1, TABLE.shape)
    model = DenoisingAutoencoder(**QUICK, corruption=None, early_stopping=False).fit(noisy, TABLE)
    for rows in (noisy, TABLE):
        assert (model.learned_rows_.membership(rows) == LEARNED).all()
    assert model.learned_rows_.n_learned == len(TABLE)


@pytest.mark.parametrize("n_iter_no_change", [1, 1000])
def test_the_damaged_row_of_a_held_out_pair_is_held_out(n_iter_no_change):
    clean = np.repeat(TABLE, 4, axis=0) + np.random.default_rng(4).normal(0, 1, (4 * len(TABLE), 1))
    noisy = clean + np.random.default_rng(5).normal(0, 0.1, clean.shape)
    model = DenoisingAutoencoder(
        **{**QUICK, "early_stopping": True, "n_iter_no_change": n_iter_no_change}, corruption=None
    ).fit(noisy, clean)
    rows = model.learned_rows_
    np.testing.assert_array_equal(rows.membership(noisy), rows.membership(clean))
    assert set(rows.membership(noisy)) <= {LEARNED, HELD_OUT}
    assert rows.n_learned + rows.n_held_out == len(clean)


@pytest.mark.parametrize("fitted", [True, False])
def test_a_classifier_from_scratch_knows_nothing_of_rows_held_out(fitted):
    labels = (TABLE[:, 0] > 3).astype(int)
    parameters = {**QUICK, "early_stopping": True, "from_scratch": True}
    del parameters["n_components"]
    encoder = quick("autoencoder")
    encoder = encoder.fit(TABLE) if fitted else encoder
    first = EncoderClassifier(encoder, **parameters).fit(TABLE, labels)
    # As EncoderClassifier documents: the first quarter of a permutation by its own seed.
    seed = np.random.RandomState(0).randint(2**31)
    held_out = np.random.default_rng(seed).permutation(120)[:30]
    changed = TABLE.copy()
    changed[held_out] += 100
    second = EncoderClassifier(encoder, **parameters).fit(changed, labels)
    assert first.fingerprint_ == second.fingerprint_


def test_a_held_out_row_beyond_all_others_is_named_as_the_cause():
    """It is no divergence: the loss on the rows learned from is finite."""
    model = quick("variational").fit(TABLE)
    changed = TABLE.copy()
    changed[model.learned_rows_.membership(TABLE) == HELD_OUT] *= 1e4
    with pytest.raises(DataError, match=r"held-out rows.*early_stopping=False"):
        quick("variational").fit(changed)
