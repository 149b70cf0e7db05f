"""Cells of space: their middles, the cell of each code, and what is truly near.

Each step needs some of the codes and little else, and gives the same whoever does it: this process,
or workers who read the codes from the library's table themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from narrows.errors import MissingDependencyError
from narrows.library.exact import ExactIndex
from narrows.library.inverted import MEASURED
from narrows.library.table import Table
from narrows.library.vectors import Metric, unit_vectors
from narrows.remote import Place

PACKAGES = ("faiss-cpu",)
SEED = 0
_PER_LIST = 64  # codes of each cell that k-means looks at
_FEWEST = 32  # codes of each cell there are at least, in the mean
_BLOCK = 2**14  # codes prepared at a time
_PART = 2**20  # the most codes in a part that a worker looks at


@dataclass(frozen=True)
class Units:
    """How codes are put into the units of the index.

    Attributes
    ----------
    metric : {"euclidean", "cosine"}
        By "cosine", they are put at length 1.
    shift : ndarray of float64 and shape (K,)
        Otherwise what is subtracted, ...
    scale : float
        ... and what the rest is multiplied by.
    """

    metric: Metric
    shift: NDArray[np.float64]
    scale: float

    @classmethod
    def of(cls, codes: NDArray[np.float32], metric: Metric) -> Self:
        """Choose them for codes."""
        if metric == "cosine" or not len(codes):
            return cls(metric, np.zeros(codes.shape[1]), 1.0)
        # Around zero and at most 1, so that half precision holds them and squares stay finite.
        low, high = (end.double().numpy() for end in torch.aminmax(torch.from_numpy(codes), dim=0))
        shift = low / 2 + high / 2
        return cls(metric, shift, 1 / max(float((high - shift).max()), 1e-300))

    def prepare(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put vectors (m, K) into the units."""
        if self.metric == "cosine":
            return unit_vectors(torch.from_numpy(vectors).double()).float().numpy()
        prepared: NDArray[np.float32] = ((vectors - self.shift) * self.scale).astype(np.float32)
        return prepared

    def blocks(self, codes: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Put codes into the units, some at a time."""
        for start in range(0, len(codes), _BLOCK):
            yield self.prepare(codes[start : start + _BLOCK])


@dataclass(frozen=True)
class StoredPart:
    """Some neighbours among the rows of a library's table, as they are stored.

    Attributes
    ----------
    table : Path or Remote
        The table.
    fingerprint, version
        As of :class:`narrows.library.table.Table`.
    start, count : int
        Where they are.
    """

    table: Place
    fingerprint: str
    version: int
    start: int
    count: int

    def codes(self) -> NDArray[np.float32]:
        """Read their codes."""
        table = Table(self.table, self.fingerprint, self.version)
        return table.codes_as_stored(self.start, self.count)


class Looked(NamedTuple):
    """What a look at some codes has found.

    Attributes
    ----------
    lists : ndarray of int32 and shape (n,)
        The cell of each.
    distances : ndarray of float32 and shape (Q, m)
        Of those nearest to each query, ascending.
    rows : ndarray of int64 and shape (Q, m)
        Which these are.
    """

    lists: NDArray[np.int32]
    distances: NDArray[np.float32]
    rows: NDArray[np.int64]


def parts_of(table: Table, workers: int) -> list[StoredPart]:
    """Part the rows of a table, some parts for each worker."""
    path = table.path.absolute()  # workers may be in another folder
    size = max(1, min(_PART, -(-len(table) // (2 * workers))))
    return [
        StoredPart(path, table.fingerprint, table.version, start, min(size, len(table) - start))
        for start in range(0, len(table), size)
    ]


def sample_of(codes: NDArray[np.float32], units: Units) -> tuple[NDArray[np.float32], int]:
    """Draw what the middles are learned from, and say how many of these there will be."""
    n = len(codes)
    count = max(1, min(round(2.5 * n**0.5), n // _FEWEST))
    rng = np.random.default_rng(SEED)
    rows = np.sort(rng.choice(n, min(n, _PER_LIST * count), replace=False))
    return units.prepare(codes[rows]), count


def learn(sample: NDArray[np.float32], count: int, metric: Metric) -> NDArray[np.float32]:
    """Find the middles of so many cells, (count, K), by k-means."""
    means = faiss_module().Kmeans(
        sample.shape[1],
        count,
        niter=10,
        seed=SEED,
        spherical=metric == "cosine",
        min_points_per_centroid=1,
        max_points_per_centroid=_PER_LIST,
    )
    means.train(sample)
    centroids: NDArray[np.float32] = means.centroids
    return centroids


def around(centroids: NDArray[np.float32], metric: Metric) -> Any:
    """Make the index of FAISS that finds the middles nearest to a vector."""
    faiss = faiss_module()
    kind = faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2
    coarse = kind(centroids.shape[1])
    coarse.add(centroids)
    return coarse


def look(
    part: NDArray[np.float32] | StoredPart,
    units: Units,
    centroids: NDArray[np.float32],
    queries: NDArray[np.float32],
) -> Looked:
    """Find the cell of each code of a part, and those of them that are nearest to queries.

    So many of these that the largest k of the recall can be measured, and the query itself.
    """
    codes = part.codes() if isinstance(part, StoredPart) else part
    coarse = around(centroids, units.metric)
    lists = [coarse.search(block, 1)[1][:, 0] for block in units.blocks(codes)]
    nearest = ExactIndex(codes, units.metric).search(queries, MEASURED[-1] + 1)
    return Looked(np.concatenate(lists).astype(np.int32), *nearest)


def joined(looked: Sequence[Looked]) -> Looked:
    """Join what was found in parts, in their order, as if it had been one."""
    starts = np.cumsum([0, *(len(one.lists) for one in looked)])
    distances = np.concatenate([one.distances for one in looked], axis=1)
    rows = np.concatenate(
        [one.rows + start for one, start in zip(looked, starts, strict=False)], axis=1
    )
    order = np.argsort(distances, axis=1, kind="stable")[:, : MEASURED[-1] + 1]
    return Looked(
        np.concatenate([one.lists for one in looked]),
        np.take_along_axis(distances, order, 1),
        np.take_along_axis(rows, order, 1),
    )


def is_installed() -> bool:
    """Tell whether there is FAISS."""
    try:
        faiss_module()
    except MissingDependencyError:
        return False
    return True


def faiss_module() -> ModuleType:
    """Import FAISS.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import faiss
    except (ImportError, OSError) as error:  # OSError: its C++ library is missing
        raise MissingDependencyError(
            f"approximate search needs the package faiss-cpu ({error}); install it by "
            "pip install 'narrows[faiss]', or search exactly"
        ) from error
    module: ModuleType = faiss
    return module
