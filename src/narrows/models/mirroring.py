"""Whether mirrored pictures are like the pictures that are learned from, as photographs are.

Letters, digits and garments that all lie one way have mirrored versions that are none of their
kind; to learn that both are alike would only blur what tells them apart.
"""

import numpy as np
from numpy.typing import NDArray

from narrows.data.batches import evenly_spread
from narrows.data.lazy_rows import AnyRows
from narrows.data.principal import fit_pca

# Pictures that are looked at, fewer than which tell nothing, and components of PCA.
_ROWS, _FEWEST, _COMPONENTS = 1_000, 20, 32
# Mirrored pictures are unlike the others from this ratio of PCA's squared errors on.
_UNLIKE = 1.1


def mirrored_are_alike(X: AnyRows, held_out: NDArray[np.int64] | None) -> bool:
    """Return whether PCA of half of the pictures restores others as well when they are mirrored.

    Parameters
    ----------
    X : ndarray or LazyRows of shape (n, *sample_shape)
        Pictures.
    held_out : ndarray of int or None
        The numbers of those not to be looked at.

    Examples
    --------
    >>> waves = np.random.default_rng(0).random((100, 8, 8)).cumsum(1)
    >>> mirrored_are_alike(waves, None), mirrored_are_alike(waves.cumsum(2), None)
    (True, False)
    """
    numbers = evenly_spread(len(X), _ROWS)
    if held_out is not None:
        numbers = numbers[~np.isin(numbers, held_out)]
    if len(numbers) < _FEWEST:
        return True
    pictures = np.asarray(X[numbers]).astype(np.float32)
    of_pca, others = pictures[::2], pictures[1::2]
    flat = of_pca.reshape(len(of_pca), -1)
    pca = fit_pca(flat, min(_COMPONENTS, *flat.shape, len(flat) // 4))

    def error(rows: NDArray[np.float32]) -> float:
        left = rows.reshape(len(rows), -1) - pca.inverse_transform(pca.transform(rows))
        return float(np.square(left).mean())

    return error(others[:, :, ::-1]) <= _UNLIKE * error(others)
