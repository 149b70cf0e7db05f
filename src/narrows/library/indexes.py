"""Which index a library is searched with: the exact one, or the approximate one and its file."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from narrows.errors import (
    FormatError,
    MissingFileError,
    OutputError,
    OutputExistsError,
    ParameterError,
)
from narrows.library.approximate import ApproximateIndex, is_installed
from narrows.library.exact import ExactIndex
from narrows.library.inverted import InvertedLists, owner_of
from narrows.library.vectors import Metric
from narrows.remote import Place, Remote

Search = Literal["auto", "exact", "approximate"]
SEARCHES: tuple[str, ...] = get_args(Search)

_MANY = 2**20  # codes up to which "auto" searches exactly


class Indexes:
    """The indexes of a library's codes, made when first needed.

    Parameters
    ----------
    path : Path or Remote
        The library's folder; no index is kept in an object store.
    codes : callable
        Gives all codes, (n, K).
    """

    def __init__(self, path: Place, codes: Callable[[], NDArray[np.float32]]) -> None:
        self._path = path
        self._codes = codes
        self._exact: dict[Metric, ExactIndex] = {}
        self._approximate: dict[Metric, ApproximateIndex] = {}

    def exact(self, metric: Metric) -> ExactIndex:
        """Return the exact index."""
        if metric not in self._exact:
            self._exact[metric] = ExactIndex(self._codes(), metric)
        return self._exact[metric]

    def choose(
        self, search: Search, metric: Metric, among: NDArray[np.int64] | None
    ) -> ExactIndex | ApproximateIndex:
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
        """Return the approximate index, from its file if that is one of these codes.

        Otherwise it is built, and its file replaced if that can be written.
        """
        if metric not in self._approximate:
            self._approximate[metric] = self._load_or_build(metric)
        return self._approximate[metric]

    def _load_or_build(self, metric: Metric) -> ApproximateIndex:
        codes = self._codes()
        if isinstance(self._path, Remote):
            return ApproximateIndex(codes, metric)
        file = index_file(self._path, metric)
        try:
            return ApproximateIndex.load(file, codes, metric)
        except (MissingFileError, FormatError):
            index = ApproximateIndex(codes, metric)
            self._keep(index, file)
            return index

    def recalls(self) -> dict[Metric, dict[int, float]]:
        """Return the recall of each approximate index whose file is of these codes."""
        found: dict[Metric, dict[int, float]] = {}
        if isinstance(self._path, Remote):
            return found
        metrics: tuple[Metric, ...] = get_args(Metric)
        for metric in metrics:
            file = index_file(self._path, metric)
            if not file.exists():
                continue
            codes = self._codes()
            with suppress(FormatError):
                found[metric] = InvertedLists.read(
                    file, owner_of(codes, metric), (len(codes), codes.shape[1])
                ).recall
        return found

    def _is_worthwhile(self, metric: Metric) -> bool:
        """Tell whether an approximate index pays: for many codes, if it lasts longer than we."""
        if len(self._codes()) <= _MANY or not is_installed() or isinstance(self._path, Remote):
            return False
        return index_file(self._path, metric).exists() or os.access(self._path, os.W_OK)

    def _keep(self, index: ApproximateIndex, file: Path) -> None:
        """Save an index, unless the library may only be read or there is no room for it."""
        with suppress(OutputError, OutputExistsError):
            index.save(file, overwrite=True)


def index_file(path: Path, metric: Metric) -> Path:
    """Name the file of a library's approximate index."""
    return path / f"index-{metric}.safetensors"
