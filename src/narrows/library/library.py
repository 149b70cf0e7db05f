"""A library of pictures: encode them once, find the nearest to one's own from then on."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from narrows import storage
from narrows.data.images import Progress
from narrows.errors import (
    FormatError,
    LibraryError,
    ParameterError,
    WrongModelError,
)
from narrows.library import folder
from narrows.library.adding import Added, encode
from narrows.library.folder import Contents
from narrows.library.match import Match
from narrows.library.pictures import StoredPictures, understand
from narrows.library.rerank import pixel_distances
from narrows.library.search import METRICS, ExactIndex, Metric
from narrows.library.table import Table
from narrows.models import BaseAutoencoder, Decoder, Encoder, load

_CANDIDATES = 32  # pictures that are compared by their pixels at a time


class Library:
    """Pictures, their codes, and a copy of the model that made them, in one folder.

    Made by :meth:`create`, :meth:`build` or :meth:`open`. The folder holds all that matching needs:
    ``library.json``, the model, and a Lance table of id, path, picture and code, which
    ``lance.dataset("pictures.lance/table.lance")`` reads too.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from narrows import Autoencoder, Library
    >>> X = np.random.default_rng(0).random((100, 8, 8), dtype=np.float32)
    >>> model = Autoencoder(4, max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     library = Library.create(f"{folder}/pictures.lance", model=model)
    ...     added = library.add(X, names=[f"picture {i}" for i in range(100)])
    ...     matches = library.match(X[7], k=3)
    >>> added.count, len(matches), matches[0].id, matches[0].path
    (100, 3, 7, 'picture 7')

    In one step, opened again, by the angle between codes, and by pixels:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     library, added = Library.build(f"{folder}/pictures.lance", X, model=model)
    ...     again = Library.open(library.path, model=model)
    ...     by_angle = again.match(X[:2], k=3, metric="cosine")
    ...     by_pixels = again.match(X[7], k=3, rerank="pixels", n_candidates=20)
    >>> len(again), [len(found) for found in by_angle], by_pixels[0].distance
    (100, [3, 3], 0.0)
    """

    def __init__(self, path: Path, contents: Contents, table: Table) -> None:
        self.path = path
        self._contents = contents
        self._use(table)

    def _use(self, table: Table) -> None:
        self._table = table
        self._codes: NDArray[np.float32] | None = None
        self._indexes: dict[Metric, ExactIndex] = {}

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        model: BaseAutoencoder | Encoder,
        overwrite: bool = False,
    ) -> Self:
        """Make a library with no pictures in it.

        Parameters
        ----------
        path : str or Path
            The folder. A crash leaves what was there, or the new library, whole.
        model : BaseAutoencoder or Encoder
            A fitted model, of which the library keeps a copy. With an encoder alone, matches
            cannot be decoded.
        overwrite : bool, default=False
            Whether a library that is there already is replaced, with all its pictures.

        Returns
        -------
        Library

        Raises
        ------
        ParameterError, NotFittedError
            If the model makes no codes.
        OutputExistsError, OutputError
            If something is there that is not to be replaced, or the folder cannot be written.
        """
        _check_model(model)
        return cls.open(folder.create(path, model, overwrite=overwrite))

    @classmethod
    def build(
        cls,
        path: str | Path,
        X: Any,
        *,
        model: BaseAutoencoder | Encoder,
        names: Sequence[str] | None = None,
        overwrite: bool = False,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Self, Added]:
        """Make a library with pictures in it, in one step.

        The same as :meth:`create` and then :meth:`add`, except that if something is wrong with the
        pictures, there is no new library, and one that was to be replaced stays as it was.

        Parameters
        ----------
        path, model, overwrite
            As for :meth:`create`.
        X, names, skip_unreadable, progress
            As for :meth:`add`.

        Returns
        -------
        library : Library
        added : Added

        Raises
        ------
        NarrowsError
            What :meth:`create` and :meth:`add` raise.
        """
        _check_model(model)
        encoder, _ = folder.halves(model)
        given = understand(X, encoder)
        skipped: list[tuple[str, str]] = []
        batches = encode(encoder, given, names, skipped if skip_unreadable else None, progress)
        library = cls.open(
            folder.create(path, model, lambda table: table.append(batches), overwrite=overwrite)
        )
        return library, Added(len(library), skipped)

    @classmethod
    def open(
        cls, path: str | Path, *, model: BaseAutoencoder | Encoder | Decoder | None = None
    ) -> Self:
        """Open a library.

        Parameters
        ----------
        path : str or Path
            The folder.
        model : BaseAutoencoder, Encoder or Decoder, optional
            A model that the library is expected to be of; it is compared, and not used.

        Returns
        -------
        Library
            With the pictures that are in it now.

        Raises
        ------
        MissingFileError
            If there is nothing at ``path``.
        FormatError
            If it is no library, damaged, or of a newer version of Narrows.
        WrongModelError
            If the library's codes were made by another model than the one given.
        """
        path = Path(path)
        contents = Contents.read(path)
        if not storage.is_model(path / contents.model):
            raise FormatError(
                f"'{path}' lacks the copy of its model, '{contents.model}'; restore it from a "
                "copy, or build the library again"
            )
        if model is not None and model.fingerprint_ != contents.fingerprint:
            raise WrongModelError(
                f"the codes in '{path}' were made by model {contents.fingerprint[:12]}, the one "
                f"given is {model.fingerprint_[:12]}; open the library with its own model (or "
                "none), or build another library with this one"
            )
        return cls(path, contents, Table(path / contents.table, contents.fingerprint))

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"Library('{self.path}', {len(self)} pictures)"

    @cached_property
    def model(self) -> BaseAutoencoder | Encoder:
        """The library's copy of its model, loaded when first needed."""
        model = load(self.path / self._contents.model)
        if isinstance(model, Decoder) or model.fingerprint_ != self._contents.fingerprint:
            raise FormatError(
                f"the model in '{self.path}' is not the one that made its codes, "
                f"{self._contents.fingerprint[:12]}; restore it from a copy, or build the library "
                "again"
            )
        return model

    def add(
        self,
        X: Any,
        *,
        names: Sequence[str] | None = None,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ) -> Added:
        """Encode pictures and add them: all of them in one step, or none.

        Parameters
        ----------
        X : path, sequence of paths, or array-like of shape (n, *sample_shape_)
            A folder of pictures, a picture, several pictures, any file of data that
            :func:`narrows.data.files.read` knows, or pictures in memory, in the units of the
            model's training data. Picture files are kept byte for byte, arrays as they are.
        names : sequence of str, optional
            What the matches' ``path`` says, one for each picture; by default the file's path
            as given, the file's and the row's name (``data.npy[7]``), or the id for an array.
        skip_unreadable : bool, default=False
            Whether files that cannot be read are left out and listed instead of raising.
        progress : callable, optional
            Called with the number of pictures done and the number of all.

        Returns
        -------
        Added

        Raises
        ------
        MissingFileError, UnreadableFileError
            If a file is not there, or cannot be read and is not to be skipped.
        DataError
            If there are no pictures, or they do not fit the model.
        ParameterError
            If there are not as many names as pictures.
        LibraryError
            If the library was replaced by another since it was opened.
        OutputError
            If the library cannot be written.

        Notes
        -----
        Another process or thread that adds to the same library waits until this is done. One that
        only matches does not wait, and sees the new pictures when it opens the library again.
        """
        given = understand(X, self._halves[0])
        skipped: list[tuple[str, str]] = []
        batches = encode(
            self._halves[0], given, names, skipped if skip_unreadable else None, progress
        )
        with folder.writing(self.path):
            if Contents.read(self.path) != self._contents:
                raise LibraryError(
                    f"'{self.path}' was replaced by another library since it was opened; "
                    "open it again"
                )
            before = self._table.latest()
            self._use(before.append(batches))
        return Added(len(self) - len(before), skipped)

    def match(
        self,
        query: Any,
        k: int = 5,
        *,
        metric: Metric = "euclidean",
        rerank: Literal["pixels"] | None = None,
        n_candidates: int = 100,
    ) -> list[Any]:
        """Find the pictures nearest to one's own.

        Parameters
        ----------
        query : path, sequence of paths, or array-like
            One picture: a file, or an array of shape ``sample_shape_``. A batch: a folder, a
            sequence of files, a file of data, or an array of shape (n, *sample_shape_). Arrays
            are in the units of the model's training data.
        k : int, default=5
            How many; beyond the number of pictures it gives them all.
        metric : {"euclidean", "cosine"}, default="euclidean"
            How far codes are from one another, exactly; see
            :class:`narrows.library.search.ExactIndex`.
        rerank : {None, "pixels"}, default=None
            With "pixels", the ``n_candidates`` nearest by code (at least k) are put in order by
            the mean squared difference between their pixels, as stored, and the query's. That,
            in the data's units squared, is then the matches' ``distance``.
        n_candidates : int, default=100
            How many pictures re-ranking looks at.

        Returns
        -------
        list of Match, or list of lists of Match
            The nearest first; of those at the same distance, the one added earlier. For a batch
            one list for each query.

        Raises
        ------
        LibraryError
            If the library is empty.
        ParameterError
            If k, metric, rerank or n_candidates is not allowed.
        MissingFileError, UnreadableFileError, DataError
            If the query is not there, or no picture that fits the model.

        Notes
        -----
        The code of one picture may differ in its last digits with the number of pictures that are
        encoded together, so a picture's distance to itself may be tiny instead of zero.
        """
        _check_count("k", k)
        _check_count("n_candidates", n_candidates)
        if rerank not in (None, "pixels"):
            raise ParameterError(f"rerank={rerank!r} is not known; use 'pixels' or None")
        if metric not in METRICS:
            raise ParameterError(f"metric={metric!r} is not known; use one of {', '.join(METRICS)}")
        if not len(self):
            raise LibraryError(f"the library '{self.path}' is empty; add pictures to it first")
        given = understand(query, self._halves[0])
        queries = given.read()
        count = k if rerank is None else max(k, n_candidates)
        codes = self._halves[0].transform(queries)
        distances, rows = self._index(metric).search(codes, count)
        if rerank == "pixels":
            distances, rows = self._rerank(queries, rows, k)
        matches = self._matches(distances, rows)
        return matches[0] if given.single else matches

    @cached_property
    def _halves(self) -> tuple[Encoder, Decoder | None]:
        return folder.halves(self.model)

    @property
    def _pictures(self) -> StoredPictures:
        return StoredPictures(self._table, *self._halves)

    def _index(self, metric: Metric) -> ExactIndex:
        if self._codes is None:
            self._codes = self._table.codes()
        if metric not in self._indexes:
            self._indexes[metric] = ExactIndex(self._codes, metric)
        return self._indexes[metric]

    def _rerank(
        self, queries: NDArray[Any], rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Order each query's candidates, rows (Q, n), by their pixels; keep k."""
        by_pixels = np.empty(rows.shape, np.float32)
        rows = np.sort(rows, axis=1)
        for query, candidates, distances in zip(queries, rows, by_pixels, strict=True):
            for start in range(0, len(candidates), _CANDIDATES):
                part = slice(start, start + _CANDIDATES)
                distances[part] = pixel_distances(query, self._pictures.read(candidates[part]))
        order = np.argsort(by_pixels, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(by_pixels, order, 1), np.take_along_axis(rows, order, 1)

    def _matches(
        self, distances: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> list[list[Match]]:
        found, places = np.unique(rows, return_inverse=True)
        ids, paths = (self._table.take(found, column) for column in ("id", "path"))
        pictures = self._pictures
        return [
            [
                Match(ids[place], float(distance), paths[place], int(found[place]), pictures)
                for distance, place in zip(*pair, strict=True)
            ]
            for pair in zip(distances, places.reshape(rows.shape), strict=True)
        ]


def _check_model(model: object) -> None:
    if not isinstance(model, BaseAutoencoder | Encoder):
        raise ParameterError(
            f"model is a {type(model).__name__}, which makes no codes for a library; "
            "give a fitted Autoencoder, or the Encoder of one"
        )


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ParameterError(f"{name}={value!r} is not allowed; use an integer of at least 1")
