"""Queries by which an approximate index is measured: rows of the library, and others beside them.

What an index misses depends on the query. Its own rows lie close to other rows, disturbed ones a
little farther away, and those of another kind of data in places where no cell is near, or where
many are equally near.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

OWN, DISTURBED = "own", "disturbed"
NOISE = 0.25  # of disturbed rows, in standard deviations of each feature
_COUNTS = {OWN: 512, DISTURBED: 256}
_FOREIGN = 64  # queries of each foreign kind
_SEED = 1


@dataclass(frozen=True)
class Samples:
    """Queries of several kinds, one kind after another.

    Attributes
    ----------
    rows : ndarray of int64 and shape (m,)
        Which rows of the codes the queries of the kind ``OWN`` are, ascending.
    queries : ndarray of float32 and shape (Q, K)
        All of them.
    kinds : dict of str to slice
        Where those of each kind are.
    """

    rows: NDArray[np.int64]
    queries: NDArray[np.float32]
    kinds: dict[str, slice]

    @classmethod
    def draw(cls, codes: NDArray[np.float32]) -> Self:
        """Draw them for codes (n, K), of which there is at least one; the random seed is fixed.

        Disturbed rows have Gaussian noise of a quarter of each feature's standard deviation. The
        foreign kinds are rows with as much noise as they vary, rows three times as far from the
        mean, rows scaled by three and by minus one, Gaussian noise around the mean, and independent
        features that vary one and a half times as much as those of the codes.
        """
        rng = np.random.default_rng(_SEED)
        n, width = codes.shape
        rows = np.sort(rng.choice(n, min(n, _COUNTS[OWN]), replace=False))
        own = codes[rows].astype(np.float64)
        mean, deviation = own.mean(axis=0), own.std(axis=0)

        def noise(count: int) -> NDArray[np.float64]:
            values: NDArray[np.float64] = deviation * rng.standard_normal((count, width))
            return values

        def some(count: int) -> NDArray[np.float64]:
            picked: NDArray[np.float64] = own[rng.integers(len(own), size=count)]
            return picked

        made = {
            OWN: own,
            DISTURBED: some(_COUNTS[DISTURBED]) + NOISE * noise(_COUNTS[DISTURBED]),
            "noisy": some(_FOREIGN) + noise(_FOREIGN),
            "outward": mean + 3 * (some(_FOREIGN) - mean),
            "scaled": 3 * some(_FOREIGN),
            "negative": -some(_FOREIGN),
            "middle": mean + 0.3 * noise(_FOREIGN),
            "independent": mean + 1.5 * noise(_FOREIGN),
        }
        ends = np.cumsum([0, *map(len, made.values())])
        most = float(np.finfo(np.float32).max)
        return cls(
            rows,
            np.clip(np.concatenate(list(made.values())), -most, most).astype(np.float32),
            {
                kind: slice(int(start), int(end))
                for kind, start, end in zip(made, ends[:-1], ends[1:], strict=True)
            },
        )
