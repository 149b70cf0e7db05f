"""Rows that are made when asked for: models learn from them what they learn from an array."""

import numpy as np
import pytest

from narrows import MODELS, Autoencoder
from narrows.data.lazy_rows import LazyRows
from narrows.errors import DataError

SEED = 0
TABLE = np.random.default_rng(SEED).normal(size=(200, 6))


class Doubled(LazyRows):
    """A table's rows, times two."""

    def __init__(self, table):
        self.table = table
        self.shape = table.shape
        self.dtype = table.dtype
        self.most = 0

    def take(self, rows):
        self.most = max(self.most, len(rows))
        return 2 * self.table[rows]


def test_they_look_like_an_array():
    rows, truth = Doubled(TABLE), 2 * TABLE
    assert (len(rows), rows.ndim, rows.shape) == (200, 2, (200, 6))
    for index in (3, -1, slice(5, 90, 7), slice(None, None, -1), np.array([4, 0, -2])):
        np.testing.assert_array_equal(rows[index], truth[index])
    np.testing.assert_array_equal(np.asarray(rows), truth)
    for index in (200, -201, np.array([0, 200])):
        with pytest.raises(IndexError, match="among 200"):
            rows[index]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_the_same_as_from_the_array(name):
    def new():
        return MODELS[name](2, max_epochs=2, random_state=SEED)

    lazy, truth = Doubled(TABLE), 2 * TABLE
    one, other = new().fit(lazy), new().fit(truth)
    assert one.fingerprint_ == other.fingerprint_
    for method in ("transform", "reconstruct", "reconstruction_error", "jacobian_norm"):
        np.testing.assert_array_equal(getattr(one, method)(lazy), getattr(other, method)(truth))
    encoder, _ = one.split()
    np.testing.assert_array_equal(encoder.transform(lazy), other.transform(truth))
    assert one.partial_fit(lazy).fingerprint_ == other.partial_fit(truth).fingerprint_


def test_they_never_stand_in_memory_together():
    many = Doubled(np.random.default_rng(SEED).normal(size=(10_000, 3)))
    Autoencoder(1, max_epochs=1, random_state=SEED).fit(many).reconstruction_error(many)
    assert many.most <= 4096


def test_what_cannot_be_learned_from_is_refused():
    gap = TABLE.copy()
    gap[150, 2] = np.nan
    with pytest.raises(DataError, match=r"NaN .* in row 150"):
        Autoencoder(1).fit(Doubled(gap))
    with pytest.raises(DataError, match=r"1 sample.*minimum of 2"):
        Autoencoder(1).fit(Doubled(TABLE[:1]))
    model = Autoencoder(1, max_epochs=1).fit(Doubled(TABLE))
    with pytest.raises(DataError, match=r"\(5,\) were given, \(6,\) were learned from"):
        model.transform(Doubled(TABLE[:, :5]))
