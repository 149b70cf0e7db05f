"""Approximate search of the nearest codes by an inverted file (IVF).

Space is cut into cells around centroids, which k-means learns; a search compares the codes of the
cells nearest to the query (an inverted file: Jégou, Douze and Schmid 2011, by FAISS), in half
precision. Of somewhat more candidates than were asked for, the true distances are computed in
double precision, and those decide. How many cells are searched is chosen when the index is built,
by the recall on a sample of the codes themselves.

A query unlike the codes needs more cells. Such a query is farther from the nearest centroid than
nearly all codes are, or the next cells begin nearer to what was found than they do for nearly all
codes; both bounds are learned when the index is built, in radii s of cells (the root mean square
distance of a cell's codes from its centroid). By the triangle inequality a cell with the centroid c
that extends to r holds nothing nearer to the query q than |q - c| - r. The search then goes on in
every cell for which |q - c| - m s is at most the distance of the k-th nearest code so far; the
margin m is learned from disturbed and foreign queries. Where these cells hold more than half of the
codes, and where the query is far from all of them, the search is exact.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.errors import warn
from narrows.library.exact import (
    Codes,
    ExactIndex,
    Nearest,
    Rows,
    as_table,
    check_metric,
    check_search,
    without_own,
)
from narrows.library.ivf_build import (
    DISTURBED,
    MEASURED,
    OWN,
    InvertedLists,
    Recall,
    Samples,
    StoredPart,
    Units,
    build_lists,
    centroid_index,
    faiss_module,
    parts_of,
)
from narrows.library.table import Table
from narrows.library.workers import Workers
from narrows.networks import Metric
from narrows.remote import Place, place

_WANTED = 0.995  # recall for rows of the index,
_WANTED_DISTURBED = 0.99  # for disturbed ones,
_WANTED_FOREIGN = 0.99  # and for each kind of foreign queries
_UNLIKE = (0.03, 0.1, 0.3, 1.0)  # shares of the codes taken for unlike the others, to choose from
_MARGINS = (0.75, 1.0, 1.5, 2.0)  # to choose from, in radii
_AHEAD = 4  # cells beyond those searched, whose centroids' distances are compared
_LEAST = 0.01  # radius of a cell, in those of all together
_FAR = 1000  # radii from which centroids are too far away for single precision
_MOST = 1e30  # radii
_WORTHWHILE = 0.5  # share of the codes from which the exact search is as fast
_MEMBERS = 2**18  # numbers in memory at once while distances are computed
_COMPARED = 2**22  # pairs of a query and a cell that are compared at once


class SearchEffort(NamedTuple):
    """How many cells are searched, and when more.

    Attributes
    ----------
    n_probes : int
        How many cells are searched for every query.
    usual : float
        The largest distance from the nearest centroid, in radii of cells, at which a query counts
        as like the codes. For other queries, more cells are searched.
    gap : float
        By how many radii the next centroids are farther, at least, than the k-th nearest code so
        far of a query that counts as like the codes.
    margin : float
        How many radii a cell is taken to extend from its centroid when more cells are searched.
    """

    n_probes: int
    usual: float
    gap: float
    margin: float

    @classmethod
    def plain(cls, n_probes: int) -> Self:
        """Search the same number of cells for every query."""
        return cls(n_probes, _MOST, -_MOST, 0.0)


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
    recall : Recall
        By k, 10 and 100: which share of the k nearest a search finds, in the mean over a sample
        of the codes, each looked for among the others. Its attribute ``disturbed`` is the same
        for codes with Gaussian noise of a quarter of each feature's standard deviation.
    n_lists : int
        How many cells there are.
    n_probes : dict of int to int
        By k: how many of them a search compares at least; where that is all of them, it is an
        exact search.
    is_measured_again : bool
        Whether the index comes from a file of an older version, see :meth:`load`.

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
        self._set_codes(codes, metric)
        self._build(Workers(), [self._codes])

    @classmethod
    def of_table(cls, table: Table, metric: Metric, workers: Workers) -> Self:
        """Have workers build the index of a table, from which each reads its share of the codes.

        Parameters
        ----------
        table : Table
            The library's table.
        metric : {"euclidean", "cosine"}
            As when one process builds the index, which is the same.
        workers : Workers
            The workers.

        Returns
        -------
        ApproximateIndex
        """
        index = cls.__new__(cls)
        index._set_codes(table.codes, metric)
        index._build(workers, parts_of(table, workers.count), [table.path], table.order)
        return index

    @classmethod
    def load(cls, path: str | Place, codes: ArrayLike, metric: Metric = "euclidean") -> Self:
        """Load what was saved, for the same codes.

        Parameters
        ----------
        path : str or Path
            The file, or its address in an object store. It may come from anybody: see
            :mod:`narrows.library.ivf_build`.
        codes, metric
            As when it was built; the codes are not in the file.

        Returns
        -------
        ApproximateIndex
            Where a file of an older version has no recall of disturbed queries, it is measured
            now, with a warning, and ``is_measured_again`` is true.

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
        index._set_codes(codes, metric)
        index._inverted = InvertedLists.read(place(path), index._codes, index.metric)
        if index._inverted.is_complete:
            index._fill_cells()
            return index
        warn(
            f"the approximate index '{path}' was made by an older version, which measured the "
            "recall for rows of the library alone; it was measured for other queries now, which a "
            "library on a disk keeps (elsewhere, Library.build_index or ApproximateIndex.save)",
            kind="index_measured_again",
            path=str(path),
        )
        index.is_measured_again = True
        samples = Samples.draw(index._codes)
        index._measure_cells(samples, *index._exactly(samples.queries, MEASURED[-1] + 1))
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
        self._inverted.write(place(path), overwrite=overwrite)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def recall(self) -> Recall:
        """By k: which share of the k nearest a search finds; ``disturbed`` for rows with noise."""
        return self._inverted.recall

    @property
    def n_lists(self) -> int:
        """How many cells there are."""
        return len(self._inverted.centroids)

    @property
    def n_probes(self) -> dict[int, int]:
        """By k: how many cells a search compares at least."""
        return dict(zip(MEASURED, self._inverted.probes.tolist(), strict=True))

    def search(self, queries: ArrayLike, k: int) -> Nearest:
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
        # The margin is for the k-th nearest of those it was learned by, which the nearest is not.
        wanted = min(max(k, MEASURED[0]), len(self))
        distances, rows = self._search(table, wanted, self._effort_for(k))
        return distances[:, :k], rows[:, :k]

    def _set_codes(self, codes: ArrayLike, metric: Metric) -> None:
        self._faiss: Any = faiss_module()
        self.metric = check_metric(metric)
        self._codes: Codes = as_table(codes, "codes")
        self._units = Units.of(self._codes, self.metric)
        self._parameters: dict[int, Any] = {}
        self._exact: ExactIndex | None = None
        self.is_measured_again = False

    def _build(
        self,
        workers: Workers,
        parts: Sequence[Codes | StoredPart],
        places: Sequence[Place] = (),
        order: Rows | None = None,
    ) -> None:
        """Build it from all parts of the codes, which may be in another order."""
        if not len(self):
            centroid = np.zeros((1, self._codes.shape[1]), np.float32)
            empty = np.empty(0, np.int32)
            self._inverted = InvertedLists.unmeasured(self._codes, self.metric, centroid, empty)
            self._fill_cells()
            return
        self._inverted, samples, distances, rows = build_lists(
            self._codes, self._units, parts, workers, places=places, order=order
        )
        # In this process, as it takes all codes in their cells, like a search.
        self._measure_cells(samples, distances, rows, order)

    def _measure_cells(
        self,
        samples: Samples,
        distances: NDArray[np.float32],
        rows: Rows,
        order: Rows | None = None,
    ) -> None:
        """Measure the cells, by the codes that are truly nearest to samples, (Q, m)."""
        lists, centroids = self._inverted.lists, self._inverted.centroids
        squares = np.zeros(len(centroids))
        start = 0
        for vectors in self._units.blocks(self._codes):
            cells = lists[start : start + len(vectors)]
            squared = np.square(vectors - centroids[cells], dtype=np.float64).sum(axis=1)
            squares += np.bincount(cells, squared, len(centroids))
            start += len(vectors)
        sizes = np.maximum(np.bincount(lists, minlength=len(centroids)), 1)
        least = _LEAST * float(np.sqrt(squares.sum() / len(lists)))
        radii = np.maximum(np.sqrt(squares / sizes), max(least, 1e-30)).astype(np.float32)
        self._inverted = replace(self._inverted, radii=radii)
        self._fill_cells()
        part, own = samples.kinds[OWN], samples.rows
        truth = distances[:, :-1].copy()
        own = own if order is None else order[own]
        truth[part], _ = without_own(distances[part], rows[part], own)
        self._choose_efforts(samples, truth)

    def _fill_cells(self) -> None:
        """Put the codes into their cells."""
        faiss, cells = self._faiss, self._inverted
        self._sizes = np.bincount(cells.lists, minlength=len(cells.centroids)).astype(np.float64)
        total = float(self._sizes @ np.square(cells.radii, dtype=np.float64))
        self._spread = (total / max(1, len(self))) ** 0.5
        self._centroids = centroid_index(cells.centroids, self.metric)
        self._index = faiss.IndexIVFScalarQuantizer(
            self._centroids,
            self._codes.shape[1],
            len(cells.centroids),
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT if self.metric == "cosine" else faiss.METRIC_L2,
        )
        self._index.is_trained = True
        start = 0
        for vectors in self._units.blocks(self._codes):
            rows = np.arange(start, start + len(vectors))
            lists = cells.lists[rows].astype(np.int64)
            self._index.add_core(
                len(vectors), *(faiss.swig_ptr(values) for values in (vectors, rows, lists))
            )
            start += len(vectors)

    def _effort_for(self, k: int) -> SearchEffort:
        """Return the effort of a search for the k nearest."""
        cells, place = self._inverted, int(k > MEASURED[0])
        n_probes = int(cells.probes[place])
        if k > MEASURED[1]:
            n_probes = min(n_probes * -(-k // MEASURED[1]), self.n_lists)
        return SearchEffort(
            n_probes, float(cells.usual[0]), float(cells.gaps[place]), float(cells.margins[place])
        )

    def _search(self, queries: Codes, k: int, effort: SearchEffort) -> Nearest:
        """Search in some cells, and for queries unlike the codes in others.

        Queries whose cells do not hold k codes are searched exactly, and so are all queries if
        every cell is to be searched.
        """
        if effort.n_probes >= self.n_lists:
            return self._exactly(queries, k)
        step = max(1, _COMPARED // self.n_lists)
        blocks = [queries[start : start + step] for start in range(0, len(queries), step)]
        results = [self._search_block(block, k, effort) for block in blocks]
        if len(results) == 1:
            return results[0]
        distances, rows = zip(*results, strict=True)
        return np.concatenate(distances), np.concatenate(rows)

    def _search_block(self, queries: Codes, k: int, effort: SearchEffort) -> Nearest:
        """Search for so few queries that each can be compared with every cell at once."""
        n_probes = effort.n_probes
        vectors = self._units.prepare(queries)
        scores, cells = self._centroids.search(vectors, min(n_probes + _AHEAD, self.n_lists))
        # Some more than wanted, because half precision may misplace the last ones.
        count = min(k + k // 4 + 4, len(self))
        rows = self._scan(vectors, cells[:, :n_probes], scores[:, :n_probes], count)
        distances, nearest = self._nearest(queries, rows, k)
        # A cell is missing (-1) where numbers are too large for single precision.
        exactly = (rows[:, -1] < 0) | (cells[:, -1] < 0)
        remoteness, gaps = self._likeness(scores, cells, n_probes, distances[:, -1])
        unlike = ~((remoteness <= effort.usual) & (gaps >= effort.gap)) & ~exactly
        if unlike.any():
            # Where the centroids are so far away, single precision cannot tell which is nearer.
            exactly |= self._apart(scores[:, 0]) > _FAR * self._spread
            some = (unlike & ~exactly).nonzero()[0]
            if len(some):
                reach = self._reach(distances[some, -1:])
                more, exactly[some] = self._search_further(
                    vectors[some], cells[some, :n_probes], reach, effort.margin, count
                )
                distances[some], nearest[some] = self._nearest(
                    queries[some], np.concatenate([nearest[some], more], axis=1), k
                )
        if exactly.any():
            distances[exactly], nearest[exactly] = self._exactly(queries[exactly], k)
        return distances, nearest

    def _likeness(
        self,
        scores: NDArray[np.float32],
        cells: Rows,
        n_probes: int,
        distances: NDArray[np.float32],
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return two measures, in radii, that tell queries like the codes from others, both (Q,).

        How far queries are from the nearest centroid; and how much farther the next centroids are
        than the k-th nearest code so far, whose distances (Q,) are given.
        """
        radii = self._inverted.radii
        remoteness = self._apart(scores[:, 0]) / radii.take(cells[:, 0])
        gaps = self._apart(scores[:, n_probes:]) - self._reach(distances)[:, None]
        gaps /= radii.take(cells[:, n_probes:])
        return remoteness, gaps.min(axis=1)

    def _search_further(
        self, vectors: Codes, looked: Rows, reach: NDArray[np.float64], margin: float, count: int
    ) -> tuple[Rows, NDArray[np.bool_]]:
        """Search all other cells that may hold a code nearer than ``reach`` (Q, 1).

        Returns the rows that are nearest there, (Q, count), -1 where there are fewer, and for
        which queries these cells hold so much that the exact search is as fast, (Q,); for those
        nothing is looked for.
        """
        q, centroids = vectors.astype(np.float64), self._inverted.centroids.astype(np.float64)
        squares = np.square(q).sum(axis=1)[:, None] + np.square(centroids).sum(axis=1)
        products = q @ centroids.T
        apart = np.sqrt(np.maximum(squares - 2 * products, 0))
        near = apart <= reach + margin * self._inverted.radii
        np.put_along_axis(near, looked, values=False, axis=1)
        too_many = near @ self._sizes > _WORTHWHILE * len(self)
        near[too_many] = False
        width = max(1, int(near.sum(axis=1).max()))
        cells = np.argsort(~near, axis=1, kind="stable")[:, :width]
        scores: NDArray[np.float32] = np.take_along_axis(products, cells, 1).astype(np.float32)
        cells[~np.take_along_axis(near, cells, 1)] = -1
        return self._scan(vectors, cells, scores, count), too_many

    def _scan(self, vectors: Codes, cells: Rows, scores: NDArray[np.float32], count: int) -> Rows:
        """Return the rows nearest to vectors in some cells (Q, m), (Q, count); -1 for none.

        The scores are those of the centroids, which inner products begin with.
        """
        faiss, n_probes = self._faiss, cells.shape[1]
        if n_probes not in self._parameters:
            self._parameters[n_probes] = faiss.SearchParametersIVF(nprobe=n_probes)
        rows = np.empty((len(vectors), count), np.int64)
        found = np.empty((len(vectors), count), np.float32)
        cells, scores = np.ascontiguousarray(cells), np.ascontiguousarray(scores)
        self._index.search_preassigned_c(
            len(vectors),
            faiss.swig_ptr(vectors),
            count,
            *(faiss.swig_ptr(values) for values in (cells, scores, found, rows)),
            False,  # rows, rather than their places in the cells
            self._parameters[n_probes],
        )
        return rows

    def _apart(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert FAISS's scores of centroids to distances from them."""
        squares = 2 - 2 * scores if self.metric == "cosine" else scores
        distances: NDArray[np.float32] = np.sqrt(np.maximum(squares, 0))
        return distances

    def _reach(self, distances: NDArray[np.float32]) -> NDArray[np.float64]:
        """Convert distances to the units of the index."""
        reach = distances.astype(np.float64)
        return np.sqrt(2 * reach) if self.metric == "cosine" else reach * self._units.scale

    def _exactly(self, queries: Codes, k: int) -> Nearest:
        if self._exact is None:
            self._exact = ExactIndex(self._codes, self.metric)
        return self._exact.search(queries, k)

    def _nearest(self, queries: Codes, rows: Rows, k: int) -> Nearest:
        """Keep the k nearest of some rows, (Q, m); of rows at the same distance the lower ones."""
        step = max(1, _MEMBERS // (rows.shape[1] * queries.shape[1]))
        pieces = [
            self._distances(queries[start : start + step], rows[start : start + step])
            for start in range(0, len(rows), step)
        ]
        distances = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        order = np.lexsort((rows, distances))[:, :k]
        if len(rows) == 1:
            return distances[:, order[0]], rows[:, order[0]]
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)

    def _distances(self, queries: Codes, rows: Rows) -> NDArray[np.float32]:
        """Return the distances between queries (Q, K) and rows (Q, m), as the exact search does.

        The distance of the row -1, which stands for none, is infinite.
        """
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
        if rows.min(initial=0) < 0:  # where cells hold fewer
            single[rows < 0] = np.inf
        return single

    def _choose_efforts(self, samples: Samples, truth: NDArray[np.float32]) -> None:
        """Choose the effort of searches, and measure which share of the nearest codes they find.

        The number of cells is chosen by queries that are rows of the index, the margin by those
        that are disturbed or foreign. ``truth`` holds the distances of the codes that are truly
        nearest to each query, (Q, m), without the row itself.
        """
        kinds = samples.kinds
        wanted = {kind: _WANTED_FOREIGN for kind in kinds if kind != OWN}
        wanted[DISTURBED] = _WANTED_DISTURBED
        efforts, recalls, n_probes = [], [], 1
        for k in MEASURED:

            def recall(kind: str, effort: SearchEffort, k: int = k) -> float:
                queries, nearest = samples.queries[kinds[kind]], truth[kinds[kind], :k]
                count = nearest.shape[1] + (kind == OWN)
                if not nearest.size:
                    return 1.0
                distances, rows = self._search(queries, count, effort)
                if kind == OWN:
                    distances, _ = without_own(distances, rows, samples.rows)
                # The share of distances that are no longer than that of the k-th nearest.
                return float((distances <= nearest[:, -1:] * (1 + 1e-6)).mean())

            own, count = samples.queries[kinds[OWN]], min(k + 1, len(self))
            while recall(OWN, next(self._efforts(own, count, n_probes))) < _WANTED:
                if n_probes == self.n_lists:
                    break
                n_probes += max(1, n_probes // 8)
                if n_probes > _WORTHWHILE * self.n_lists:
                    n_probes = self.n_lists
            for effort in self._efforts(own, count, n_probes):
                if all(recall(kind, effort) >= wanted[kind] for kind in wanted):
                    break
            efforts.append(effort)
            recalls.append([recall(kind, effort) for kind in (OWN, DISTURBED)])
        of_rows, of_disturbed = np.array(recalls, np.float64).T.copy()
        self._inverted = replace(
            self._inverted,
            probes=np.array([effort.n_probes for effort in efforts], np.int32),
            usual=np.array([min(effort.usual for effort in efforts)]),
            gaps=np.array([effort.gap for effort in efforts]),
            margins=np.array([effort.margin for effort in efforts]),
            recalls=of_rows,
            disturbed=of_disturbed,
        )

    def _efforts(self, own: Codes, k: int, n_probes: int) -> Iterator[SearchEffort]:
        """Yield possible efforts, larger and larger, up to the exact search.

        The queries are rows of the index, most of which should count as like the codes.
        """
        if n_probes < self.n_lists:
            vectors = self._units.prepare(own)
            scores, cells = self._centroids.search(vectors, min(n_probes + _AHEAD, self.n_lists))
            distances, _ = self._search(own, k, SearchEffort.plain(n_probes))
            remoteness, gaps = self._likeness(scores, cells, n_probes, distances[:, -1])
            for share in _UNLIKE:
                usual = float(np.quantile(remoteness, 1 - share))
                gap = float(np.quantile(gaps, share))
                for margin in _MARGINS:
                    yield SearchEffort(n_probes, usual, gap, margin)
        yield SearchEffort.plain(self.n_lists)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: NDArray[np.float64] = vectors / np.maximum(sizes, 1e-300)
    return scaled
