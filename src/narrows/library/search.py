"""The index that a library is searched with: an exact one, or an approximate one and its file."""

import os
from collections.abc import Sized
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows.atomic import check_output
from narrows.errors import (
    FormatError,
    MissingFileError,
    OutputError,
    OutputExistsError,
    ParameterError,
)
from narrows.library.exact import METRICS, ExactIndex, Metric, Nearest, check_metric
from narrows.library.ivf import ApproximateIndex
from narrows.library.ivf_build import InvertedLists, Recall, index_names, is_installed
from narrows.library.table import Table
from narrows.library.workers import Workers
from narrows.remote import Remote

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
