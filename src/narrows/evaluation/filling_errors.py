"""How well gaps of a table are filled: known cells are hidden, filled and compared."""

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import KNNImputer

from narrows.models.filling import hide
from narrows.models.table import TableAutoencoder

Floats = NDArray[np.float64]

MODEL, MEAN, NEIGHBOURS = "model", "mean or mode", "5 neighbours"
"""The ways of filling: a table's model, the mean or the most frequent category, ``KNNImputer``."""


def measure_filling(
    model: TableAutoencoder,
    features: Floats,
    rng: np.random.Generator,
    learned: Floats | None = None,
) -> dict[str, Floats]:
    """Measure the errors of hidden cells by column, filled by a model and by simpler ways.

    Parameters
    ----------
    model : TableAutoencoder
        A fitted model.
    features : ndarray of shape (n, P)
        Encoded rows; NaN are gaps. The share :data:`narrows.models.filling.HIDDEN` of their known
        cells is hidden; at least one cell of each row stays known.
    rng : Generator
        Draws these cells.
    learned : ndarray of shape (m, P), optional
        The encoded rows among which neighbours are searched; by default the rows with hidden cells.

    Returns
    -------
    dict of str to ndarray of shape (C,)
        By :data:`MODEL`, :data:`MEAN` and :data:`NEIGHBOURS`, the error of each column that was
        learned from: of numbers and dates, the root of the mean squared error in standard
        deviations; of categories, the share of wrong ones. NaN if no cell was hidden.
    """
    encoder = model.column_encoder_
    (hidden,) = hide(encoder, features, rng, draws=1)
    seen = np.where(hidden, np.nan, features)
    neighbours = KNNImputer(keep_empty_features=True).fit(seen if learned is None else learned)
    ways = {
        MODEL: model.imputer_.impute(seen),
        MEAN: np.where(np.isnan(seen), 0, seen),
        NEIGHBOURS: neighbours.transform(seen),
    }
    errors = {name: np.full(len(encoder.used), np.nan) for name in ways}
    for i, place in enumerate(encoder.slices):
        cells = hidden[:, place.start]
        for name, filled in ways.items() if cells.any() else ():
            true, made = features[cells], filled[cells]
            if encoder.is_category(i):
                right, found = (encoder.shares_of(each, i).argmax(axis=1) for each in (true, made))
                errors[name][i] = (found != right).mean()
            else:
                errors[name][i] = np.sqrt(np.square(made - true)[:, place].mean())
    return errors
