"""Searching a library: its indexes, queries by pictures, codes or ids, and what is found.

An index is an exact one, or an approximate one and its file. Candidates that codes suggest may be
put in another order by their pixels: re-ranking.
"""

import os
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeAlias, TypedDict, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.atomic import check_output
from narrows.data.arrays import as_array_like, read_rows
from narrows.errors import (
    DataError,
    FormatError,
    LibraryError,
    MissingFileError,
    OutputError,
    OutputExistsError,
    ParameterError,
)
from narrows.library.exact import ExactIndex, Nearest, check_metric
from narrows.library.inputs import read_input
from narrows.library.ivf import ApproximateIndex
from narrows.library.ivf_build import InvertedLists, Recall, index_names, is_installed
from narrows.library.pictures import StoredPictures
from narrows.library.table import Table
from narrows.library.workers import Workers
from narrows.models.validation import check_codes, check_number
from narrows.networks import METRICS, Metric
from narrows.remote import Remote
from narrows.ssim import structural_similarity

__all__ = [
    "METRICS",
    "SEARCHES",
    "ApproximateIndex",
    "ExactIndex",
    "Index",
    "Indexes",
    "Metric",
    "Search",
    "check_metric",
    "is_large",
]

Search = Literal["auto", "exact", "approximate"]
SEARCHES: tuple[str, ...] = get_args(Search)

_MANY = 2**20  # codes up to which "auto" searches exactly
Rerank: TypeAlias = Literal["pixels", "ssim"]
RerankOn: TypeAlias = Literal["stored", "decoded"]

_READ = 256  # pictures that are read at a time
_NUMBERS = 2**17  # pixels that are compared at a time: about what a processor's cache holds


class Index(Protocol):
    """An index of codes, exact or approximate."""

    metric: Metric

    def __len__(self) -> int:
        """Return the number of codes."""

    def search(self, queries: ArrayLike, k: int) -> Nearest:
        """Find the k codes nearest to each query; see :meth:`ExactIndex.search`."""


class Indexes:
    """The indexes of a library's codes, made when first needed.

    Parameters
    ----------
    table : Table
        The library's table, beside which the files of approximate indexes are kept.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        names = index_names(table.path.name)
        self._files = {metric: table.path.parent / name for metric, name in names.items()}
        self._exact: dict[Metric, ExactIndex] = {}
        self._approximate: dict[Metric, ApproximateIndex] = {}
        self._missing: set[Metric] = set()

    def exact(self, metric: Metric) -> ExactIndex:
        """Return the exact index."""
        if metric not in self._exact:
            self._exact[metric] = ExactIndex(self._table.codes, metric)
        return self._exact[metric]

    def choose(self, search: Search, metric: Metric, among: NDArray[np.int64] | None) -> Index:
        """Return the index that a user has asked for; among some rows only the exact one.

        Raises
        ------
        ParameterError
            If there is no such kind of search.
        MissingDependencyError
            If it needs FAISS, which is not installed.
        """
        if search not in SEARCHES:
            raise ParameterError(
                f"search={search!r} is not known; use one of {', '.join(SEARCHES)}"
            )
        if among is not None:
            return self.exact(metric).among(among)
        if search == "auto":
            search = "approximate" if self._is_worthwhile(metric) else "exact"
        return self.exact(metric) if search == "exact" else self.approximate(metric)

    def approximate(self, metric: Metric) -> ApproximateIndex:
        """Return the approximate index, from its file if that belongs to these codes.

        Otherwise it is built, and its file replaced if that can be written; in an object store,
        where readers often may not write, only :meth:`build` writes it.
        """
        if not self._is_loaded(metric):
            self._approximate[metric] = ApproximateIndex(self._table.codes, metric)
            self._keep(metric)
        return self._approximate[metric]

    def build(self, metric: Metric, workers: Workers | None) -> Recall:
        """Make sure that a file of the approximate index exists; return its recall.

        Raises
        ------
        OutputExistsError, OutputError, StoreError
            If it cannot be written.
        NarrowsError
            What goes wrong at the workers.
        """
        known = self._recall(metric)
        if known is not None and known.disturbed:
            return known
        file = self._files[metric]
        if isinstance(file, Path):
            check_output(file, overwrite=True, kind="file")
        if metric not in self._approximate:
            self._approximate[metric] = (
                ApproximateIndex(self._table.codes, metric)
                if workers is None
                else ApproximateIndex.of_table(self._table, metric, workers)
            )
        self._save(metric)
        return self._approximate[metric].recall

    def recalls(self) -> dict[Metric, Recall]:
        """Return the recall of each approximate index whose file belongs to these codes."""
        recalls = {metric: self._recall(metric) for metric in self._files}
        return {metric: recall for metric, recall in recalls.items() if recall is not None}

    def _recall(self, metric: Metric) -> Recall | None:
        file = self._files[metric]
        if not (file.exists() if isinstance(file, Path) else file.parent.has(file.name)):
            return None
        codes = self._table.codes
        try:
            return InvertedLists.read(file, codes, metric).recall
        except FormatError:
            return None

    def _is_worthwhile(self, metric: Metric) -> bool:
        """Return whether to build an approximate index: for many codes, if it can be saved."""
        if not is_large(self._table) or not is_installed():
            return False
        file = self._files[metric]
        if isinstance(file, Remote):
            return self._is_loaded(metric)
        return file.exists() or os.access(file.parent, os.W_OK)

    def _is_loaded(self, metric: Metric) -> bool:
        """Load the approximate index if its file belongs to these codes; look for it once."""
        if metric not in self._approximate and metric not in self._missing:
            try:
                self._approximate[metric] = ApproximateIndex.load(
                    self._files[metric], self._table.codes, metric
                )
                if self._approximate[metric].is_measured_again:
                    self._keep(metric)
            except (MissingFileError, FormatError):
                self._missing.add(metric)
        return metric in self._approximate

    def _keep(self, metric: Metric) -> None:
        """Save an index on a disk, unless it cannot be written or the disk is full."""
        if isinstance(self._files[metric], Path):
            with suppress(OutputError, OutputExistsError):
                self._save(metric)

    def _save(self, metric: Metric) -> None:
        self._approximate[metric].save(self._files[metric], overwrite=True)


def is_large(codes: Sized) -> bool:
    """Return whether there are enough codes for an approximate search to be faster."""
    return len(codes) > _MANY


@dataclass(frozen=True)
class Item:
    """One picture of a library, with its path and the user's columns.

    Attributes
    ----------
    id : int
        The picture's number in its library; unique there, and never changed.
    path : str
        Where the picture came from.
    metadata : dict
        The values of users' columns, None where they are missing.
    """

    id: int
    path: str
    metadata: dict[str, Any]
    _row: int = field(repr=False, compare=False)
    _pictures: StoredPictures = field(repr=False, compare=False)

    @cached_property
    def picture(self) -> NDArray[Any]:
        """The picture as stored, of shape ``sample_shape_``; read when first asked for.

        In the units of the model's training data: of a model trained on uint8 pixels, a file's
        picture is uint8. ``library.model.scaling_.to_pixels`` makes pixels of any units.
        """
        picture: NDArray[Any] = self._pictures.read([self._row])[0]
        return picture

    @cached_property
    def thumbnail(self) -> NDArray[np.uint8]:
        """The thumbnail: uint8 of shape (height, width), or (height, width, 3) in colour.

        It has the picture's own proportions, upright, and at most 128 pixels in height and width.
        The library stores it, also where it only refers to the file. Of a picture that was added
        as an array, it is the array.

        Raises
        ------
        LibraryError
            If the library's rows are no pictures.
        """
        return self._pictures.thumbnail(self._row)

    def preview(self, side: int = 256) -> NDArray[np.uint8]:
        """Return the picture in its own proportions, upright, as :attr:`thumbnail` but larger.

        Parameters
        ----------
        side : int, default=256
            The most pixels of height and width.

        Raises
        ------
        MissingFileError, UnreadableFileError
            If the library only refers to the file, and that is gone or has changed.
        LibraryError
            If the library's rows are no pictures.
        ParameterError
            If ``side`` is no whole number of at least 1.
        """
        check_number("side", side, low=1, integral=True)
        return self._pictures.preview(self._row, side)

    @cached_property
    def decoded(self) -> NDArray[np.float32]:
        """The picture restored from its code alone, of the same shape and units, float32.

        Raises
        ------
        LibraryError
            If the library was made with an encoder alone.
        """
        picture: NDArray[np.float32] = self._pictures.restore(self.code[None])[0]
        return picture

    @cached_property
    def code(self) -> NDArray[np.float32]:
        """The picture's latent code (its embedding), (K,)."""
        return self._pictures.code(self._row)


@dataclass(frozen=True)
class Match(Item):
    """One picture of a library, and its distance from a query.

    It has the attributes of :class:`Item`, and one more.

    Attributes
    ----------
    distance : float
        The distance between the codes, or between the pixels after re-ranking; see
        :meth:`narrows.Library.match`.
    """

    distance: float = field(kw_only=True)


Matches: TypeAlias = list[Match] | list[list[Match]]
"""The matches of one picture, or a list of matches for each picture of a batch."""

Ranking: TypeAlias = tuple[NDArray[np.floating], NDArray[np.int64]]
"""Distances and rows of the nearest pictures, both (n,), the nearest first."""


class MatchOptions(TypedDict, total=False):
    """The options of :meth:`narrows.Library.match`, which describes them."""

    where: str | None
    metric: Metric | None
    search: Search
    rerank: Rerank | None
    rerank_on: RerankOn
    n_candidates: int


@dataclass(frozen=True)
class Queries:
    """The pictures that are looked for, as codes; decoded only where their pixels are needed.

    Attributes
    ----------
    codes : ndarray of float32 and shape (Q, K)
        The codes of the queries.
    single : bool
        Whether one query was given, rather than a number of them.
    rows : ndarray of int64 and shape (Q,), or None
        The rows of the queries in the library, if they were given by their ids.
    """

    codes: NDArray[np.float32]
    single: bool
    rows: NDArray[np.int64] | None
    _read: Callable[[], NDArray[Any]]

    @classmethod
    def of_pictures(cls, query: Any, library: StoredPictures) -> Self:
        """Read and encode pictures; see the parameter ``query`` of :meth:`Library.match`."""
        given = read_input(query, library.encoder)
        pictures = given.rows
        return cls(library.encoder.encode(pictures), given.single, None, lambda: pictures)

    @classmethod
    def of_ids(cls, ids: Any, library: StoredPictures) -> Self:
        """Look up the codes of one id or of several."""
        single = getattr(ids, "ndim", int(isinstance(ids, Iterable))) == 0
        rows = library.table.rows_of([ids] if single else ids)
        return cls(library.table.codes[rows], single, rows, lambda: library.read(rows))

    @classmethod
    def of_codes(cls, given: Any, library: StoredPictures) -> Self:
        """Check one code, (K,), or several, (n, K)."""
        values = as_array_like(read_rows(given))
        single = len(values.shape) == 1
        values = np.asarray(values)[None] if single else values
        width = library.table.width
        if values.shape[1:] != (width,):
            raise DataError(
                f"codes of shape {np.shape(given)} were given, and this library's have {width} "
                f"numbers; give an array of shape (n, {width}) that its own model made"
            )
        codes = check_codes(values, width, "codes")
        return cls(codes, single, None, lambda: library.restore(codes))

    @cached_property
    def pictures(self) -> NDArray[Any]:
        """The queries' pictures, (Q, *sample_shape), in the data's units; of codes, decoded."""
        return self._read()

    def search(self, index: Index, count: int) -> list[Ranking]:
        """Find the codes nearest to each query, without its own row."""
        if self.rows is None:
            return list(zip(*index.search(self.codes, count), strict=True))
        distances, rows = index.search(self.codes, count + 1)
        others = rows != self.rows[:, None]
        return [
            (of_query[keep][:count], its_rows[keep][:count])
            for of_query, its_rows, keep in zip(distances, rows, others, strict=True)
        ]


class Reranking:
    """Another order of candidates, by the differences between pictures.

    Parameters
    ----------
    by : {"pixels", "ssim"}
        The distance between pictures.
    on : {"stored", "decoded"}
        Which pictures of the library are compared.
    library : StoredPictures
        The pictures of the library.

    Raises
    ------
    ParameterError
        If one of these is unknown, or no distance is given for what is decoded.
    LibraryError
        If the library's rows are no pictures, and "ssim" is to compare them.
    """

    def __init__(self, by: Rerank | None, on: RerankOn, library: StoredPictures) -> None:
        if by is not None and by not in get_args(Rerank):
            raise ParameterError(f"rerank={by!r} is not known; use 'pixels', 'ssim' or None")
        if on not in get_args(RerankOn):
            raise ParameterError(f"rerank_on={on!r} is not known; use 'stored' or 'decoded'")
        if by is None:
            raise ParameterError(
                "rerank_on='decoded' says on what to re-rank, and rerank=None not to; "
                "give rerank='pixels' or 'ssim'"
            )
        shape = library.encoder.sample_shape_
        if by == "ssim" and not library.encoder.spec.shows_pictures:
            raise LibraryError(
                f"rerank='ssim' compares pictures, and rows of shape {shape} are none; use 'pixels'"
            )
        self._by, self._on, self._library = by, on, library

    def _read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        if self._on == "stored":
            return self._library.read(rows)
        return self._library.restore(self._library.table.codes[rows])

    def _compare(self, some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
        if self._by == "pixels":
            return pixel_distances(some, others)
        scaling = self._library.encoder.scaling_
        return 1 - structural_similarity(some, others, scaling.high - scaling.low or 1.0)

    def reorder(
        self, queries: NDArray[Any], candidates: Sequence[Ranking], k: int
    ) -> list[Ranking]:
        """Order each query's candidates by their distances from its picture; keep k.

        Each picture is read once, whatever the number of queries that it is a candidate of.

        Parameters
        ----------
        queries : ndarray of shape (Q, *sample_shape)
            The pictures of the queries.
        candidates : sequence of (distances, rows)
            The candidates of each query.
        k : int
            How many to keep for each query.

        Returns
        -------
        list of (distances, rows)
            Ascending; of rows at the same distance the lower comes first.
        """
        rows = np.concatenate([np.sort(rows) for _, rows in candidates])
        asked = np.repeat(np.arange(len(candidates)), [len(rows) for _, rows in candidates])
        pairs = np.argsort(rows, kind="stable")
        pictured, starts = np.unique(rows[pairs], return_index=True)
        starts = np.append(starts, len(pairs))
        n_compared = max(1, _NUMBERS // max(1, queries[0].size))
        distances = np.empty(len(rows))
        for first in range(0, len(pictured), _READ):
            block = pictured[first : first + _READ]
            pictures = self._read(block)
            end = starts[first + len(block)]
            for start in range(starts[first], end, n_compared):
                pair_numbers = pairs[start : min(start + n_compared, end)]
                others = pictures[np.searchsorted(block, rows[pair_numbers])]
                distances[pair_numbers] = self._compare(queries[asked[pair_numbers]], others)
        ordered: list[Ranking] = []
        for query in range(len(candidates)):
            its_pairs = slice(*np.searchsorted(asked, [query, query + 1]))
            order = np.argsort(distances[its_pairs], kind="stable")[:k]
            ordered.append((distances[its_pairs][order], rows[its_pairs][order]))
        return ordered


def pixel_distances(some: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean squared difference between pictures and as many others.

    Parameters
    ----------
    some, others : ndarray of shape (n, *sample_shape)
        Pictures in the same units.

    Returns
    -------
    ndarray of float64 and shape (n,)
        The differences in these units squared.

    Examples
    --------
    >>> pixel_distances(np.array([[0, 3], [0, 3]]), np.array([[0, 3], [4, 3]]))
    array([0., 8.])
    """
    differences = np.subtract(some, others, dtype=np.float64).reshape(len(some), -1)
    means: NDArray[np.float64] = np.square(differences).mean(axis=1)
    return means
