"""Exact nearest-neighbour search among codes, proven by error bounds.

One pass over the codes finds the smallest score of each group of neighbouring rows; the k best rows
can only lie in the groups with the best minima. Distances to the rows of those groups are then
computed directly, by differences in double precision, so that neither cancellation nor an offset of
the codes disturbs the order. A bound on the first pass's rounding (Higham, Accuracy and Stability
of Numerical Algorithms, eq. 3.4) proves that no other group can hold a nearer row; where it cannot,
more groups are searched.

For a few queries the time goes into reading the codes, so on processors with VNNI the first pass
multiplies codes that are rounded to 8 bits: a quarter of the memory is read, and four times as many
numbers are multiplied at once. Products of 8-bit integers are exact, so the whole error is that of
rounding codes and query, for which there is a bound (see :meth:`_QuantisedCodes.products`). Single
precision follows only where that bound proves too little.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from narrows.errors import DataError, ParameterError
from narrows.networks import METRICS, Metric

Codes: TypeAlias = NDArray[np.float32]
"""Codes (n, K), or vectors in the same space."""
Rows: TypeAlias = NDArray[np.int64]
"""Numbers of rows."""
Nearest: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Distances and rows of the codes nearest to queries, both (Q, k)."""
_ROWS = 2**13  # codes that are converted at a time
_SMALL = 2**14  # numbers that are checked soonest one by one
_LEVELS = 127
_GROUP = 32  # rows that share one minimum
_SPARE = 8  # groups searched beyond k, so that the proof rarely fails
_QUERIES = 256  # queries that go through the codes together
_SCORES = 2**19  # scores in memory at once: about what a processor's cache holds
_MANY = 4096  # codes from which a first look in 8 bits pays
_FEW = 16  # queries up to which it does
_REACH = 32  # the most groups that are then searched, in those without it
_MEMBERS = 2**18  # numbers in memory at once while distances are computed directly
_Scores = tuple[Callable[[slice, Tensor], Tensor], Tensor]


class ExactIndex:
    """Exact nearest neighbours among codes in memory.

    Parameters
    ----------
    codes : array-like of shape (n, K)
        Finite numbers. float32 arrays are not copied and must stay as they are while the index
        is in use; other types are converted to float32.
    metric : {"euclidean", "cosine"}, default="euclidean"
        ``"euclidean"`` is ||q - c||, not squared. ``"cosine"`` is 1 - cos(q, c), from 0 to 2; a
        zero vector has no direction and lies at distance 1 from everything, itself included.

    Raises
    ------
    DataError
        If the codes are not a table of finite numbers.
    ParameterError
        If the metric is not one of these.

    Examples
    --------
    >>> import numpy as np
    >>> index = ExactIndex(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]]))
    >>> distances, rows = index.search([[0.0, 0.0]], k=2)
    >>> distances, rows
    (array([[0., 1.]], dtype=float32), array([[0, 2]]))
    """

    def __init__(self, codes: ArrayLike, metric: Metric = "euclidean") -> None:
        self.metric = check_metric(metric)
        self._codes = torch.from_numpy(as_table(codes, "codes"))
        self._shift = torch.zeros(self._codes.shape[1], dtype=torch.float64)
        if metric == "euclidean":
            self._center()
        norms = lengths(self._codes)
        self._largest = float(norms.max()) if len(norms) else 0.0
        self._smallest = float(norms[norms > 0].min()) if norms.any() else 1.0
        if metric == "euclidean":
            self._weights = (norms.square() / 2).float()
        else:
            self._weights = torch.where(norms > 0, -1 / norms, 0.0).float()
        # The numbers of the rows, where they are not 0 to n - 1.
        self._rows: Tensor | None = None
        self._rough: _QuantisedCodes | None = None
        if len(self) >= _MANY and _has_vnni():
            self._rough = _QuantisedCodes(self._codes, directions if metric == "cosine" else None)

    def __len__(self) -> int:
        return len(self._codes)

    def search(self, queries: ArrayLike, k: int) -> Nearest:
        """Find the k codes nearest to each query.

        Parameters
        ----------
        queries : array-like of shape (Q, K)
            Finite numbers, used as float32.
        k : int
            How many, at least 1; beyond the number of codes it gives them all.

        Returns
        -------
        distances : ndarray of float32 and shape (Q, min(k, n))
            Ascending in each row.
        rows : ndarray of int64 and shape (Q, min(k, n))
            Positions in ``codes``; of rows at the same distance the lower comes first.

        Raises
        ------
        DataError
            If the queries are not a table of finite numbers as wide as the codes.
        ParameterError
            If k is not an integer of at least 1.
        """
        given, k = check_search(queries, k, self._codes.shape)
        table = torch.from_numpy(given)
        distances = torch.empty(len(table), k)
        rows = torch.empty(len(table), k, dtype=torch.int64)
        if k and len(table):
            for part in torch.split(torch.arange(len(table)), _QUERIES):
                distances[part], rows[part] = self._search(table[part].double() - self._shift, k)
        return distances.numpy(), (rows if self._rows is None else self._rows[rows]).numpy()

    def among(self, rows: ArrayLike) -> Self:
        """Return an index of some of the codes only, whose searches return the same row numbers.

        Nothing is computed anew, so this takes no longer than copying these codes.

        Parameters
        ----------
        rows : array-like of int and shape (m,)
            Positions in ``codes``, in any order; a repeated one counts once.

        Returns
        -------
        ExactIndex

        Raises
        ------
        ParameterError
            If there are no such rows.

        Examples
        --------
        >>> import numpy as np
        >>> index = ExactIndex(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]]))
        >>> index.among([1, 2]).search([[0.0, 0.0]], k=2)
        (array([[1., 5.]], dtype=float32), array([[2, 1]]))
        """
        chosen = np.asarray(rows)
        if chosen.ndim != 1 or not (chosen[1:] > chosen[:-1]).all():
            chosen = np.unique(chosen)
        places = chosen if self._rows is None else np.searchsorted(self._rows.numpy(), chosen)
        if chosen.size and not self._has(chosen, places):
            raise ParameterError("rows are no positions in the codes of this index; give integers")
        places = places.astype(np.int64, copy=False)
        part = copy(self)
        part._codes, part._weights = _take(self._codes, places), _take(self._weights, places)
        part._rows = torch.from_numpy(chosen.astype(np.int64, copy=False))
        if self._rough is not None:
            part._rough = self._rough.among(places) if len(places) >= _MANY else None
        return part

    def _has(self, rows: NDArray[Any], places: NDArray[Any]) -> bool:
        """Return whether the codes at some places have these row numbers, ascending."""
        if rows.dtype.kind not in "iu" or places[0] < 0 or places[-1] >= len(self):
            return False
        return self._rows is None or np.array_equal(self._rows.numpy()[places], rows)

    def _center(self) -> None:
        """Subtract a common offset from the features in which that is free of rounding."""
        if not len(self._codes):
            return
        low, high = torch.aminmax(self._codes, dim=0)
        # By Sterbenz's lemma x - y is exact where y / 2 <= x <= 2 y.
        exact = ((low > 0) & (high <= 2 * low)) | ((high < 0) & (low >= 2 * high))
        if exact.any():
            shift = torch.where(exact, low / 2 + high / 2, 0.0)
            self._codes = self._codes - shift
            self._shift = shift.double()

    def _search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Search for one block of queries (Q, K), in double precision and centred."""
        n_groups = -(-len(self) // _GROUP)
        distances = torch.empty(len(queries), k)
        rows = torch.empty(len(queries), k, dtype=torch.int64)
        pending = torch.arange(len(queries))
        if self._rough is not None and len(queries) <= _FEW:
            scores, error = self._rough_scores(self._rough, queries)
            minima = self._minima(len(queries), scores)
            reach = min(_REACH * (k + _SPARE), n_groups)
            distances, rows, proven = self._search_best_groups(queries, minima, error, k, reach)
            pending = pending[~proven]
        if not len(pending):
            return distances, rows
        scores, error = self._scores(queries[pending])
        minima, reach = self._minima(len(pending), scores), k + _SPARE + 1
        left = torch.arange(len(pending))
        while len(left):
            reach = min(reach, n_groups)
            which = pending[left]
            distances[which], rows[which], proven = self._search_best_groups(
                queries[which], minima[left], error[left], k, reach
            )
            left, reach = left[~proven], 8 * reach
        return distances, rows

    def _search_best_groups(
        self, queries: Tensor, minima: Tensor, error: Tensor, k: int, reach: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return distances (Q, k), rows (Q, k), and whether they are proven (Q,).

        First the groups with the best minima are searched, which gives a distance that the k
        nearest do not exceed; then the groups that may hold a row within it, if they are among
        the best ``reach``.
        """
        distances = torch.empty(len(queries), k)
        rows = torch.empty(len(queries), k, dtype=torch.int64)
        proven = torch.ones(len(queries), dtype=torch.bool)
        least = min(k + _SPARE, reach)
        for part in torch.split(torch.arange(len(queries)), _queries_at_once(least)):
            best, groups = minima[part].topk(reach, largest=False)
            distances[part], rows[part] = self._search_groups(queries[part], groups[:, :least], k)
            bounds = self._bound(queries[part], best, error[part])
            within = ~(bounds > distances[part, -1:])
            if reach < minima.shape[1]:
                proven[part] = ~within[:, -1]
            more = (proven[part] & within[:, least:].any(dim=1)).nonzero()[:, 0]
            if not len(more):
                continue
            most = int(within[more].sum(dim=1).max())
            for some in torch.split(more, _queries_at_once(most)):
                distances[part[some]], rows[part[some]] = self._search_groups(
                    queries[part[some]], groups[some, :most], k
                )
        return distances, rows, proven

    def _minima(self, n_queries: int, scores: Callable[[slice, Tensor], Tensor]) -> Tensor:
        """Return the smallest score in each group of rows, (Q, groups)."""
        n_groups = -(-len(self) // _GROUP)
        minima = torch.empty(n_groups, n_queries)
        n_block = max(1, _SCORES // (_GROUP * n_queries)) * _GROUP
        space = torch.empty(min(n_block, len(self)), n_queries)  # memory that is new costs time
        for start in range(0, len(self), n_block):
            block = scores(slice(start, start + n_block), space[: len(self) - start])
            whole = len(block) // _GROUP
            first = start // _GROUP
            grouped = block[: whole * _GROUP].view(whole, _GROUP, n_queries)
            torch.amin(grouped, dim=1, out=minima[first : first + whole])
            if len(block) > whole * _GROUP:
                minima[first + whole] = block[whole * _GROUP :].amin(dim=0)
        return minima.T.contiguous()

    def _scores(self, queries: Tensor) -> _Scores:
        """Score rows in single precision: |c|^2 / 2 - q c, or -cos(q, c); less is nearer.

        Returns a function of a slice of the rows and of space for as many scores, which gives
        scores (rows, Q), and how far they are from the truth (Q,), beyond the rounding of single
        precision.
        """
        euclidean = self.metric == "euclidean"
        q = (queries if euclidean else unit_vectors(queries)).float()

        def scores(rows: slice, space: Tensor) -> Tensor:
            codes, weights = self._codes[rows], self._weights[rows]
            if not euclidean:
                return torch.mm(codes, q.T, out=space).mul_(weights[:, None])
            if len(q) == 1:  # the product with a vector is nearest to the memory's speed
                return torch.addmv(weights, codes, q[0], alpha=-1, out=space[:, 0])[:, None]
            return torch.addmm(weights[:, None], codes, q.T, alpha=-1, out=space)

        return scores, torch.zeros(len(q), dtype=torch.float64)

    def _rough_scores(self, rough: "_QuantisedCodes", queries: Tensor) -> _Scores:
        """Score rows in 8 bits; returns the same as :meth:`_scores`."""
        if self.metric == "cosine":
            products, error = rough.products(-unit_vectors(queries))
            return lambda rows, _: products(rows), error
        products, error = rough.products(-queries)
        return lambda rows, _: products(rows).add_(self._weights[rows, None]), error

    def _bound(self, queries: Tensor, scores: Tensor, error: Tensor) -> Tensor:
        """Return the least distances, float32 (Q, s), that rows with no lower scores can have.

        The scores (Q, s) have an error (Q,) besides the rounding of single precision.
        """
        error = error[:, None]
        width = queries.shape[1]
        unit, least = 2.0**-24 * (width + 8), 2.0**-125 * width  # rounding, and underflow
        if self.metric == "cosine":
            rounding = unit * (1 + error) + least / self._smallest
            return (1 + scores.double() - error - rounding).float()
        norms: Tensor = torch.linalg.vector_norm(queries, dim=1, keepdim=True)
        size = self._largest * (norms + self._largest) + error
        error = torch.where(size < 1e37, error + unit * size + least, torch.inf)  # else: overflow
        squares = 2 * (scores.double() - error) + norms.square()
        return squares.clamp(min=0).sqrt().float()

    def _search_groups(self, queries: Tensor, groups: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return distances and rows of the k nearest rows of some groups, ascending, (Q, k)."""
        # In ascending order, so that of rows at the same distance the lower comes first.
        rows = (groups.sort().values[:, :, None] * _GROUP + torch.arange(_GROUP)).flatten(1)
        n_rows = max(1, _MEMBERS // queries.numel())
        pieces = [self._distances(queries, piece) for piece in torch.split(rows, n_rows, 1)]
        distances, order = torch.cat(pieces, dim=1).sort(dim=1, stable=True)
        return distances[:, :k], rows.gather(1, order[:, :k])

    def _distances(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Return the distances between queries (Q, K) and rows (Q, R), float32 (Q, R)."""
        codes = self._codes[rows.clamp(max=len(self) - 1)].double()
        q = queries[:, None]
        if self.metric == "euclidean":
            distances = codes.sub_(q).square_().sum(dim=2).sqrt_()
        else:
            # 1 - ab = (|a - b|^2 + (1 - |a|^2) + (1 - |b|^2)) / 2 with a and b of length 1 or 0.
            zeros = (codes == 0).all(dim=2).double() + (q == 0).all(dim=2).double()
            distances = ((unit_vectors(codes) - unit_vectors(q)).square_().sum(dim=2) + zeros) / 2
        return distances.float().masked_fill_(rows >= len(self), torch.inf)


def _has_vnni() -> bool:
    """Return whether the processor has VNNI, and thus multiplies 8-bit numbers exactly and fast.

    Without it, oneDNN's sums of two products may saturate at 16 bits, or are slow.
    """
    able = torch.cpu.get_capabilities()
    vnni = able.get("avx512_vnni") or able.get("avx_vnni")
    return bool(vnni and torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _take(values: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """Copy some rows; numpy does so several times as fast as torch."""
    return torch.from_numpy(values.numpy().take(rows, axis=0))


class _QuantisedCodes:
    """Codes with each feature rounded to 255 levels between minus and plus its largest value.

    Parameters
    ----------
    codes : Tensor of float32 and shape (n, K)
        Finite numbers; not kept.
    prepare : callable, optional
        Applied to a block of codes before rounding, such as scaling them to length 1.
    """

    def __init__(self, codes: Tensor, prepare: Callable[[Tensor], Tensor] | None = None) -> None:
        prepare = prepare or torch.clone
        blocks = torch.split(codes, _ROWS)
        largest = torch.stack([prepare(block).abs().amax(dim=0) for block in blocks]).amax(dim=0)
        # The least step keeps what is tiny from overflowing when it is divided by its step.
        self._steps = (largest / _LEVELS).clamp(min=1e-30)
        self._bytes = torch.empty(codes.shape, dtype=torch.int8)
        squares = 0
        for block, target in zip(blocks, torch.split(self._bytes, _ROWS), strict=True):
            levels = prepare(block).div_(self._steps).round_().clamp_(-_LEVELS, _LEVELS)
            target.copy_(levels)
            squares = max(squares, int(levels.square_().sum(dim=1, dtype=torch.float64).max()))
        self._largest = squares**0.5

    def among(self, rows: NDArray[np.int64]) -> Self:
        """Return some of the codes only, as they were rounded."""
        part = copy(self)
        part._bytes = _take(self._bytes, rows)
        return part

    def products(self, queries: Tensor) -> tuple[Callable[[slice], Tensor], Tensor]:
        """Return approximate products q c for some rows, and a bound on their error.

        A code c is s * b with steps s and levels b, up to s / 2 in each feature. The query meets
        the levels as r = q * s, rounded to a level h of the step t. Then

            |q c - t h b|  <=  sum |q| s / 2 + |r - t h| |b|.

        Parameters
        ----------
        queries : Tensor of float64 and shape (Q, K)

        Returns
        -------
        products : callable
            Takes a slice of the rows, gives a new float32 tensor of shape (rows, Q).
        error : Tensor of float64 and shape (Q,)
        """
        r = queries * self._steps
        t = (r.abs().amax(dim=1, keepdim=True) / _LEVELS).clamp(min=1e-300)
        h = (r / t).round_().clamp_(-_LEVELS, _LEVELS)
        error = (0.5 + 2.0**-16) * r.abs().sum(dim=1)
        error += torch.linalg.vector_norm(r - t * h, dim=1) * self._largest
        levels, steps = h.to(torch.int8).T, t.T.float()

        def products(rows: slice) -> Tensor:
            # Private to torch, and the one product of 8-bit matrices that it has on processors.
            return torch._int_mm(self._bytes[rows], levels).float().mul_(steps)

        return products, error


def without_own(
    distances: NDArray[np.float32], rows: NDArray[np.int64], own: NDArray[np.int64]
) -> Nearest:
    """Remove each query's own row from its results, (Q, m); among many copies of it, the last."""
    others = rows != own[:, None]
    others[others.all(axis=1), -1] = False
    shape = len(rows), rows.shape[1] - 1
    return distances[others].reshape(shape), rows[others].reshape(shape)


def _queries_at_once(n_groups: int) -> int:
    """Return how many queries may search this number of groups each at once."""
    return max(1, _MEMBERS // (n_groups * _GROUP))


def check_metric(metric: str) -> Metric:
    """Refuse an unknown metric."""
    if metric not in METRICS:
        raise ParameterError(f"metric={metric!r} is not known; use one of {', '.join(METRICS)}")
    return metric


def check_options(metric: str, **counts: int) -> None:
    """Refuse an unknown metric, and numbers that are no integers of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ParameterError(f"{name}={value!r} is not allowed; use an integer of at least 1")
    check_metric(metric)


def check_search(
    queries: ArrayLike, k: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], int]:
    """Return queries as a table, and how many codes of a table of this shape can be found.

    Raises
    ------
    ParameterError, DataError
        If k is no integer of at least 1, or the queries are not as wide as the codes.
    """
    check_options(METRICS[0], k=k)
    table = as_table(queries, "queries")
    if table.shape[1] != shape[1]:
        raise DataError(
            f"queries have {table.shape[1]} columns, the codes of this index {shape[1]}; "
            "use queries encoded by the same model"
        )
    return table, min(int(k), shape[0])


def as_table(values: ArrayLike, what: str) -> NDArray[np.float32]:
    """Return a contiguous float32 table of finite numbers, without a copy where possible."""
    table: NDArray[np.float32]
    if isinstance(values, np.ndarray) and values.dtype == np.float32 and values.flags.carray:
        table = values  # what follows would give the same, and later
    else:
        try:
            with np.errstate(over="ignore"):
                table = np.require(values, np.float32, ["C", "W"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{what} are not a table of numbers ({error}); use an array") from error
    if table.ndim != 2 or not table.shape[1]:
        raise DataError(
            f"{what} have shape {table.shape}; use two dimensions, one row a code "
            "(codes[None] for a single one)"
        )
    if not _is_finite(table):
        row = int(np.argmax(~np.isfinite(table).all(axis=1)))
        raise DataError(
            f"{what} hold a value in row {row}, counted from 0, that is not a finite float32; "
            "remove such rows"
        )
    return table


def _is_finite(table: NDArray[np.float32]) -> bool:
    if table.size < _SMALL:
        return bool(np.isfinite(table).all())
    # Without an array of truth values as long as the table.
    return all(bool(end.isfinite()) for end in torch.aminmax(torch.from_numpy(table)))


def lengths(codes: Tensor) -> Tensor:
    """Return the lengths of rows (n, K) in double precision, (n,)."""
    # Into one tensor: pieces of it among larger ones that come and go would scatter the heap.
    sizes = torch.empty(len(codes), dtype=torch.float64)
    for block, target in zip(torch.split(codes, _ROWS), torch.split(sizes, _ROWS), strict=True):
        target.copy_(torch.linalg.vector_norm(block.double(), dim=1))
    return sizes


def unit_vectors(vectors: Tensor) -> Tensor:
    """Scale vectors along the last dimension to length 1; zero vectors stay zero."""
    sizes: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / sizes.clamp(min=1e-300)


def directions(codes: Tensor) -> Tensor:
    """Scale float32 codes to length 1 without overflow or underflow on the way."""
    return unit_vectors(codes.double()).float()
