"""The nearest codes, nearly all of them, without looking at most of the others.

Space is cut into cells around centroids (k-means); a search looks into the cells nearest to the
query (an inverted file: Jégou, Douze and Schmid 2011, by FAISS), in half precision. Of what it
finds there, somewhat more than was asked for, the true distances are computed, in double
precision, and those decide. How many cells are looked into is chosen when the index is built, by
the recall on a sample of the codes themselves.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.library.cells import (
    PACKAGES,
    SEED,
    StoredPart,
    Units,
    around,
    faiss_module,
    joined,
    learn,
    look,
    parts_of,
    sample_of,
)
from narrows.library.exact import ExactIndex
from narrows.library.inverted import MEASURED, InvertedLists, owner_of
from narrows.library.table import Table
from narrows.library.vectors import Metric, as_table, check_metric, check_search
from narrows.library.workers import Workers
from narrows.remote import Place, place

_SAMPLE = 512  # codes by which the recall is measured
_WANTED = 0.995  # recall on them; pictures that are not in the library lie a little further off
_MEMBERS = 2**18  # numbers in memory at once while distances are computed


class ApproximateIndex:
    """Approximate nearest neighbours among codes in memory, by FAISS (``narrows[faiss]``).

    Building it takes some 10 seconds of processor time for a million codes of 32 numbers;
    :meth:`save` and :meth:`load` spare the next process that. The distances it gives are exact;
    what it may do is miss a neighbour.

    Parameters
    ----------
    codes : array-like of shape (n, K)
        Finite numbers. float32 arrays are not copied and must stay as they are while the index
        is in use; other types are converted to float32. Besides them, the index takes half of
        their memory and 8 bytes a row.
    metric : {"euclidean", "cosine"}, default="euclidean"
        As for :class:`narrows.library.search.ExactIndex`.

    Attributes
    ----------
    recall : dict of int to float
        By k, 10 and 100: which share of the k nearest a search finds, in the mean over a sample
        of the codes, each looked for among the others.
    n_lists : int
        How many cells there are.
    n_probes : dict of int to int
        By k: how many of them a search looks into.

    Raises
    ------
    MissingDependencyError
        If FAISS is not installed.
    DataError, ParameterError
        As for :class:`narrows.library.search.ExactIndex`.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.random.default_rng(0).standard_normal((5000, 8))
    >>> index = ApproximateIndex(codes)
    >>> distances, rows = index.search(codes[:2], k=3)
    >>> distances.shape, rows[:, 0], index.recall[10] > 0.99
    ((2, 3), array([0, 1]), True)
    """

    def __init__(self, codes: ArrayLike, metric: Metric = "euclidean") -> None:
        self._take(codes, metric)
        self._build(Workers(), [self._codes])

    @classmethod
    def of_table(cls, table: Table, codes: ArrayLike, metric: Metric, workers: Workers) -> Self:
        """Have others build the index of a table, each of whom reads its share of the codes there.

        Parameters
        ----------
        table : Table
            The library's.
        codes : array-like of shape (n, K)
            All its codes, in the order of their ids.
        metric : {"euclidean", "cosine"}
            As when one process builds it; what comes out is the same too.
        workers : Workers
            The others.

        Returns
        -------
        ApproximateIndex
        """
        index = cls.__new__(cls)
        index._take(codes, metric)
        index._build(workers, parts_of(table, workers.count), [table.path], table.order)
        return index

    @classmethod
    def load(cls, path: str | Place, codes: ArrayLike, metric: Metric = "euclidean") -> Self:
        """Load what was saved, for the same codes.

        Parameters
        ----------
        path : str or Path
            The file, or its address in an object store. It is trusted with nothing: see
            :mod:`narrows.library.inverted`.
        codes, metric
            As when it was built; the codes are not in the file.

        Returns
        -------
        ApproximateIndex

        Raises
        ------
        MissingFileError
            If there is no such file.
        FormatError
            If it belongs to other codes or another metric, or is damaged.
        MissingDependencyError, DataError, ParameterError
            As when building.
        """
        index = cls.__new__(cls)
        index._take(codes, metric)
        owner, shape = owner_of(index._codes, index.metric), index._codes.shape
        index._parts = InvertedLists.read(place(path), owner, (shape[0], shape[1]))
        index._assemble()
        return index

    def save(self, path: str | Place, *, overwrite: bool = False) -> None:
        """Save what :meth:`load` needs besides the codes: the centroids, and each code's cell.

        Parameters
        ----------
        path : str or Path
            The file, or its address in an object store.
        overwrite : bool, default=False
            Whether a file that is there already is replaced.

        Raises
        ------
        OutputExistsError, OutputError, StoreError
            If something is there that is not to be replaced, or it cannot be written.
        """
        self._parts.write(place(path), overwrite=overwrite)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def recall(self) -> dict[int, float]:
        """By k: which share of the k nearest a search finds."""
        return self._parts.recall

    @property
    def n_lists(self) -> int:
        """How many cells there are."""
        return len(self._parts.centroids)

    @property
    def n_probes(self) -> dict[int, int]:
        """By k: how many cells a search looks into."""
        return dict(zip(MEASURED, self._parts.probes.tolist(), strict=True))

    def search(self, queries: ArrayLike, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the k codes nearest to each query, or nearly so.

        Parameters
        ----------
        queries, k
            As for :meth:`narrows.library.search.ExactIndex.search`.

        Returns
        -------
        distances : ndarray of float32 and shape (Q, min(k, n))
            Exact, ascending in each row.
        rows : ndarray of int64 and shape (Q, min(k, n))
            Positions in ``codes``; of rows found at the same distance the lower comes first.

        Raises
        ------
        DataError, ParameterError
            As for the exact search.
        """
        table, k = check_search(queries, k, self._codes.shape)
        if not k or not len(table):
            return np.empty((len(table), k), np.float32), np.empty((len(table), k), np.int64)
        return self._search(table, k, self._probes_for(k))

    def _take(self, codes: ArrayLike, metric: Metric) -> None:
        self._faiss: Any = faiss_module()
        self.metric = check_metric(metric)
        self._codes: NDArray[np.float32] = as_table(codes, "codes")
        self._units = Units.of(self._codes, self.metric)
        self._parameters: dict[int, Any] = {}

    def _build(
        self,
        workers: Workers,
        parts: Sequence[NDArray[np.float32] | StoredPart],
        places: Sequence[Place] = (),
        order: NDArray[np.int64] | None = None,
    ) -> None:
        """Build it of all parts of the codes; where these are in another order, by that."""
        owner = owner_of(self._codes, self.metric)
        if not len(self):
            self._parts = _nothing(owner, self._codes.shape[1])
            self._assemble()
            return
        sample, count = sample_of(self._codes, self._units)
        common: tuple[Any, ...] = (count, self.metric)
        [(_, centroids)] = workers.map(learn, iter([sample]), common, places, PACKAGES)
        rng = np.random.default_rng(SEED + 1)
        own = np.sort(rng.choice(len(self), min(len(self), _SAMPLE), replace=False))
        queries = self._codes[own]
        common = (self._units, centroids, queries)
        looked = dict(workers.map(look, iter(parts), common, places, PACKAGES))
        lists, distances, rows = joined([looked[number] for number in sorted(looked)])
        truth, _ = _others(distances, rows, own if order is None else order[own])
        lists = lists if order is None else lists[order]
        probes = np.ones(len(MEASURED), np.int32)
        self._parts = InvertedLists(owner, centroids, lists, probes, np.zeros(len(MEASURED)))
        # In this process: it takes all codes in their cells, as whoever searches has them.
        self._assemble()
        self._measure(queries, own, truth)

    def _assemble(self) -> None:
        """Put the codes into the cells where they belong."""
        faiss, parts = self._faiss, self._parts
        self._cells = around(parts.centroids, self.metric)
        self._index = faiss.IndexIVFScalarQuantizer(
            self._cells,
            self._codes.shape[1],
            len(parts.centroids),
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT if self.metric == "cosine" else faiss.METRIC_L2,
        )
        self._index.is_trained = True
        start = 0
        for vectors in self._units.blocks(self._codes):
            rows = np.arange(start, start + len(vectors))
            lists = parts.lists[rows].astype(np.int64)
            self._index.add_core(
                len(vectors), *(faiss.swig_ptr(values) for values in (vectors, rows, lists))
            )
            start += len(vectors)

    def _probes_for(self, k: int) -> int:
        few, many = self._parts.probes.tolist()
        if k <= MEASURED[0]:
            return int(few)
        return int(min(many * max(1, -(-k // MEASURED[1])), self.n_lists))

    def _search(
        self, queries: NDArray[np.float32], k: int, n_probes: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search in so many cells; for queries whose cells do not hold k codes, exactly."""
        if n_probes not in self._parameters:
            self._parameters[n_probes] = self._faiss.SearchParametersIVF(nprobe=n_probes)
        # Some more than wanted, because half precision may misplace the last ones.
        count = min(k + k // 4 + 4, len(self))
        _, rows = self._index.search(
            self._units.prepare(queries), count, params=self._parameters[n_probes]
        )
        if rows[:, -1].min() >= 0:
            return self._nearest(queries, rows, k)
        short = rows[:, -1] < 0
        distances = np.empty((len(rows), k), np.float32)
        if not short.all():
            distances[~short], rows[~short, :k] = self._nearest(queries[~short], rows[~short], k)
        exact = ExactIndex(self._codes, self.metric)
        distances[short], rows[short, :k] = exact.search(queries[short], k)
        return distances, rows[:, :k]

    def _nearest(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Keep the k nearest of some rows, (Q, m); of those at the same distance the lower ones."""
        step = max(1, _MEMBERS // (rows.shape[1] * queries.shape[1]))
        if len(rows) > step:
            pieces = [
                self._distances(queries[start : start + step], rows[start : start + step])
                for start in range(0, len(rows), step)
            ]
            distances = np.concatenate(pieces)
        else:
            distances = self._distances(queries, rows)
        order = np.lexsort((rows, distances))[:, :k]
        if len(rows) == 1:
            return distances[:, order[0]], rows[:, order[0]]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)

    def _distances(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the distances between queries (Q, K) and rows (Q, m), as the exact search does."""
        codes = self._codes.take(rows, axis=0)  # sooner than [rows]
        if self.metric == "euclidean":
            differences = np.subtract(codes, queries[:, None], dtype=np.float64)
            distances = np.sqrt(np.einsum("qmk,qmk->qm", differences, differences))
        else:
            c, q = _unit(codes.astype(np.float64)), _unit(queries[:, None].astype(np.float64))
            zeros = (~c.any(axis=2)).astype(float) + ~q.any(axis=2)
            distances = (np.square(c - q).sum(axis=2) + zeros) / 2
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            single: NDArray[np.float32] = distances.astype(np.float32)
        return single

    def _measure(
        self, queries: NDArray[np.float32], own: NDArray[np.int64], truth: NDArray[np.float32]
    ) -> None:
        """Choose how many cells are looked into, and say which share of the nearest that finds.

        By the distances of those that are truly nearest to queries, which are rows of its own.
        """
        probes, recalls, n_probes = [], [], 1
        for k in MEASURED:
            wanted = min(k, truth.shape[1])
            while True:
                found, _ = _others(*self._search(queries, min(k + 1, len(self)), n_probes), own)
                recall = _recall(found[:, :wanted], truth[:, :wanted])
                if recall >= _WANTED or n_probes == self.n_lists:
                    break
                n_probes = min(n_probes + max(1, n_probes // 4), self.n_lists)
            probes.append(n_probes)
            recalls.append(recall)
        self._parts = replace(
            self._parts, probes=np.array(probes, np.int32), recalls=np.array(recalls, np.float64)
        )


def _nothing(owner: NDArray[np.uint8], width: int) -> InvertedLists:
    ones = np.ones(len(MEASURED))
    return InvertedLists(
        owner,
        np.zeros((1, width), np.float32),
        np.empty(0, np.int32),
        ones.astype(np.int32),
        ones,
    )


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = vectors / np.maximum(sizes, 1e-300)
    return scaled


def _others(
    distances: NDArray[np.float32], rows: NDArray[np.int64], own: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Take each query's own row out of what it found, (Q, m); of copies of it, the last."""
    others = rows != own[:, None]
    others[others.all(axis=1), -1] = False
    shape = len(rows), -1
    return distances[others].reshape(shape), rows[others].reshape(shape)


def _recall(found: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the share of distances (Q, k) that are no longer than the k-th nearest's."""
    if not truth.size:
        return 1.0
    return float((found <= truth[:, -1:] * (1 + 1e-6)).mean())
