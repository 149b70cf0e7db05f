"""Reading of a library: its pictures looked up, filtered and matched, at one version."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows import storage
from narrows.errors import FormatError, LibraryError, ParameterError, WrongModelError
from narrows.library import folder
from narrows.library.folder import Contents
from narrows.library.indexes import Indexes, Search
from narrows.library.ivf import Recall
from narrows.library.match import Found, Item, Match, Queries
from narrows.library.pictures import StoredPictures
from narrows.library.rerank import Read, Rerank, RerankOn, check_rerank, comparison, reorder
from narrows.library.search import ApproximateIndex, ExactIndex, Metric, check_metric
from narrows.library.table import Table
from narrows.models import BaseAutoencoder, Decoder, Encoder, load
from narrows.remote import Place, on_disk, place


class Reader:
    """The part of :class:`narrows.Library` that changes nothing.

    Parameters
    ----------
    path : Path or Remote
        The library's folder.
    contents : Contents
        What ``library.json`` says of the version that is read.
    table : Table
        That version of the table.
    """

    def __init__(self, path: Place, contents: Contents, table: Table) -> None:
        self.path = path
        self._contents = contents
        self._use(table)

    @classmethod
    def open(
        cls,
        path: str | Place,
        *,
        model: BaseAutoencoder | Encoder | Decoder | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> Self:
        """Open a library.

        Parameters
        ----------
        path : str or Path
            The folder, or its address in an object store, such as "s3://bucket/pictures.lance".
        model : BaseAutoencoder, Encoder or Decoder, optional
            A model that the library is expected to be of; it is compared, and not used.
        storage_options : mapping of str to str, optional
            Lance's options for the object store; what is missing comes from the environment.

        Returns
        -------
        Library
            With the pictures that are in it now.

        Raises
        ------
        ParameterError
            If ``model`` is no model.
        MissingFileError
            If there is nothing at ``path``.
        FormatError
            If it is no library, damaged, or of a newer version of Narrows.
        WrongModelError
            If the library's codes were made by another model than the one given.
        StoreError
            If the object store does not answer, or refuses.
        """
        if not isinstance(model, BaseAutoencoder | Encoder | Decoder | None):
            raise ParameterError(
                f"model is a {type(model).__name__}; give the library's model or one of its halves"
            )
        path = place(path, storage_options)
        contents, table = folder.look(path)
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
        return cls(path, contents, table)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"Library('{self.path}', {len(self)} pictures)"

    @cached_property
    def model(self) -> BaseAutoencoder | Encoder:
        """The library's copy of its model, loaded when first needed."""
        path = self.path / self._contents.model
        if not path.exists() and Contents.read(self.path).model != path.name:
            raise FormatError(
                f"'{self.path}' was replaced or moved to another model since it was opened, and "
                "its old model removed; refresh() or open it again"
            )
        with on_disk(path) as folder:
            model = load(folder)
        if isinstance(model, Decoder) or model.fingerprint_ != self._contents.fingerprint:
            raise FormatError(
                f"the model in '{self.path}' is not the one that made its codes, "
                f"{self._contents.fingerprint[:12]}; restore it from a copy, or build the library "
                "again"
            )
        return model

    def refresh(self) -> Self:
        """See what writers have done since the library was opened, or refreshed: all or nothing.

        Returns
        -------
        Library
            Itself.

        Raises
        ------
        MissingFileError, FormatError
            As :meth:`open`.
        """
        if Contents.read(self.path) == self._contents:
            return self
        contents, table = folder.look(self.path)
        if contents.fingerprint != self._contents.fingerprint:
            for name in ("model", "_halves"):
                self.__dict__.pop(name, None)
        self._use(table)
        self._contents = contents
        return self

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all pictures, (n,), ascending."""
        return self._table.ids.copy()

    @property
    def codes(self) -> NDArray[np.float32]:
        """The codes of all pictures, (n, K), in the order of :attr:`ids`."""
        return self._all_codes().copy()

    @property
    def columns(self) -> dict[str, str]:
        """One's own columns: the name and the type of each, as Arrow calls it."""
        return {
            name: str(self._table.dataset.schema.field(name).type) for name in self._table.metadata
        }

    def count(self, where: str | None = None) -> int:
        """Count the pictures, or those that a filter lets through.

        Parameters
        ----------
        where : str, optional
            A filter of columns (``docs/filters.md``), such as ``"label = 'boot' AND year > 2010"``.

        Returns
        -------
        int

        Raises
        ------
        ParameterError
            If the filter is none of this library's; the message shows its columns.
        """
        return self._table.count(where)

    def find(self, where: str) -> NDArray[np.int64]:
        """Find the pictures that a filter lets through.

        Parameters
        ----------
        where : str
            A filter of columns (``docs/filters.md``), such as ``"label = 'boot' AND year > 2010"``.

        Returns
        -------
        ndarray of int64 and shape (m,)
            Their ids, ascending.

        Raises
        ------
        ParameterError
            If the filter is none of this library's; the message shows its columns.
        """
        return self._table.ids_where(where)

    def column(self, name: str) -> list[Any]:
        """Read one of one's own columns whole, in the order of :attr:`ids`.

        Parameters
        ----------
        name : str
            One of :attr:`columns`.

        Returns
        -------
        list
            Of n values; None where the column says nothing.

        Raises
        ------
        ParameterError
            If there is no such column.
        """
        if name not in self._table.metadata:
            known = ", ".join(self._table.metadata) or "none"
            raise ParameterError(f"there is no column {name!r}; this library's are: {known}")
        values: list[Any] = self._table.column(name).to_pylist()
        order = self._table.order
        return values if order is None else [values[place] for place in order.tolist()]

    def items(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Item]:
        """Look pictures up by their ids.

        Parameters
        ----------
        ids : sequence of int
            Of :attr:`ids`, in any order.

        Returns
        -------
        list of Item
            In the order asked for. What is in them is read when it is asked for.

        Raises
        ------
        ParameterError
            If there is no picture of an id.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from narrows import Autoencoder, Library
        >>> X = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
        >>> model = Autoencoder(4, max_epochs=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     library, _ = Library.build(
        ...         f"{folder}/pictures.lance", X, model=model, metadata={"year": range(2000, 2050)}
        ...     )
        ...     items = library.items(library.find("year >= 2048"))
        ...     [(item.id, item.metadata, item.picture.shape, item.code.shape) for item in items]
        ...     library.column("year")[:2]
        [(48, {'year': 2048}, (8, 8), (4,)), (49, {'year': 2049}, (8, 8), (4,))]
        [2000, 2001]
        """
        return self._items(self._table.rows_of(ids))

    def read(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Read pictures by their ids, (n, *sample_shape_), in the model's units.

        Raises
        ------
        ParameterError
            If there is no picture of an id.
        MissingFileError, UnreadableFileError
            If the library only refers to a file, and that is gone or has changed.
        """
        return self._pictures.read(self._table.rows_of(ids))

    def sizes(self, ids: Sequence[int] | NDArray[np.int64]) -> list[tuple[int, int] | None]:
        """Read the heights and widths of pictures as they are stored, from their headers.

        Parameters
        ----------
        ids : sequence of int
            Of :attr:`ids`, in any order.

        Returns
        -------
        list of (int, int) or None
            None for rows that are no pictures.

        Raises
        ------
        ParameterError, MissingFileError, UnreadableFileError
            As :meth:`read`.
        """
        return self._pictures.sizes(self._table.rows_of(ids))

    def thumbnails(self, ids: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Read pictures to look at, small, for pages and other programs.

        Faster than :attr:`Match.thumbnail` of one after another.

        Parameters
        ----------
        ids : sequence of int
            Of :attr:`ids`, in any order.

        Returns
        -------
        list of bytes
            What is in JPEG or PNG files, of 128 pixels at most in height and width; arrays as they
            are.

        Raises
        ------
        ParameterError
            If there is no picture of an id.
        LibraryError
            If the library's rows are no pictures.
        MissingFileError, UnreadableFileError
            If the library only refers to a file that is no larger than a thumbnail, and that is
            gone or has changed.
        """
        return self._pictures.thumbnails(self._table.rows_of(ids))

    def match(
        self,
        query: Any = None,
        k: int = 5,
        *,
        codes: ArrayLike | None = None,
        ids: int | Sequence[int] | NDArray[np.int64] | None = None,
        where: str | None = None,
        metric: Metric = "euclidean",
        search: Search = "auto",
        rerank: Rerank | None = None,
        rerank_on: RerankOn = "stored",
        n_candidates: int = 100,
    ) -> list[Any]:
        """Find the pictures nearest to one's own, to a code, or to one that is in the library.

        Parameters
        ----------
        query : path, sequence of paths, or array-like
            One picture: a file, or an array of shape ``sample_shape_``. A batch: a folder, a
            sequence of files, a file of data, or an array of shape (n, *sample_shape_). Arrays
            are in the units of the model's training data.
        k : int, default=5
            How many; beyond the number of pictures it gives them all.
        codes : array-like of shape (K,) or (n, K), optional
            Instead of a query: what the library's model made of it, elsewhere perhaps.
        ids : int or sequence of int, optional
            Instead of a query: pictures that are in the library. No picture is among its own
            matches; others with the same code are.
        where : str, optional
            A filter of columns (``docs/filters.md``), such as
            ``"label = 'boot' AND year > 2010"`` or
            ``"path LIKE 'photos/%' AND added > TIMESTAMP '2026-01-01'"``. Only pictures that it
            lets through are looked at, and k counts them; if there are none, there are no matches.
        metric : {"euclidean", "cosine"}, default="euclidean"
            How far codes are from one another; see
            :class:`narrows.library.search.ExactIndex`.
        search : {"auto", "exact", "approximate"}, default="auto"
            "approximate" does not look at all codes and may miss a neighbour; the distances of
            those it finds are exact. It needs ``narrows[faiss]``. Its index is a file in the
            library's folder, which is made when first needed, and again when codes have changed,
            or ahead of that by :meth:`build_index`; where that cannot be written, and in an
            object store, it is made in memory unless it is there. "auto" is "exact" up to
            1 048 576 codes (2^20), without FAISS, and where the file is missing and would not be
            written; a filter always makes the search exact. See :attr:`recall`.
        rerank : {None, "pixels", "ssim"}, default=None
            With "pixels", the ``n_candidates`` nearest by code (at least k) are put in order by
            the mean squared difference between their pixels and the query's; with "ssim" by
            1 - SSIM, the structural similarity (Wang et al. 2004), from 0 for the same to 2. That,
            in the data's units squared or without units, is then the matches' ``distance``.
        rerank_on : {"stored", "decoded"}, default="stored"
            Which pictures of the library the query's is compared with: those stored, or those
            restored from their codes, for which no picture is read. Of codes that are looked for,
            the picture is what the decoder makes of them.
        n_candidates : int, default=100
            How many pictures re-ranking looks at. Of the ten nearest by their pixels, 97 % are
            among the 100 nearest by 32 codes of Fashion-MNIST, 57 % among the ten nearest
            (``benchmarks/reranking.py``).

        Returns
        -------
        list of Match, or list of lists of Match
            The nearest first; of those at the same distance, the one added earlier. For a batch
            one list for each query.

        Raises
        ------
        LibraryError
            If the library is empty; if it has no decoder, and codes are to be re-ranked, or what
            is decoded; if "ssim" is to compare what is no picture.
        MissingDependencyError
            If an approximate search is asked for without FAISS.
        ParameterError
            If k, metric, search, rerank, rerank_on or n_candidates is not allowed, not exactly one
            of query, codes and ids is given, there is no picture of an id, or the filter is none
            of this library's; the message shows its columns.
        MissingFileError, UnreadableFileError, DataError
            If the query is not there, or no picture that fits the model; if codes are not finite
            or of another width.

        Notes
        -----
        The code of one picture may differ in its last digits with the number of pictures that are
        encoded together, so a picture's distance to itself may be tiny instead of zero.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from narrows import Autoencoder, Library
        >>> X = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
        >>> model = Autoencoder(4, max_epochs=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     library, _ = Library.build(
        ...         f"{folder}/pictures.lance", X, model=model, metadata={"year": range(2000, 2050)}
        ...     )
        ...     [match.id for match in library.match(codes=model.transform(X[7:8])[0], k=1)]
        ...     7 in [match.id for match in library.match(ids=7, k=49)]
        ...     [match.metadata for match in library.match(X[7], where="year < 2002")]
        [7]
        False
        [{'year': 2000}, {'year': 2001}]
        """
        _check_count("k", k)
        _check_count("n_candidates", n_candidates)
        check_metric(metric)
        self._check_filled()
        check_rerank(rerank, rerank_on, self._pictures)
        queries = Queries.of(query, codes, ids, self._pictures, self._all_codes)
        among = None if where is None else self._table.rows_of(self._table.ids_where(where))
        if not len(queries.codes):
            return []
        index = self._indexes.choose(search, metric, among)
        found = self._nearest(queries, k if rerank is None else max(k, n_candidates), index)
        if rerank is not None:
            compare = comparison(rerank, self._pictures)
            found = reorder(queries.pictures, found, k, self._reading(rerank_on), compare)
        matches = self._matches(found)
        return matches[0] if queries.single else matches

    @property
    def recall(self) -> dict[Metric, Recall]:
        """What approximate searches find, by metric and by k: which share of the k nearest.

        As measured when their indexes were built, on codes of the library itself; the attribute
        ``disturbed`` of each is the same for codes with Gaussian noise of a quarter of each
        feature's standard deviation. A metric whose index is not there, or not one of these codes,
        is missing.
        """
        return self._indexes.recalls()

    def _use(self, table: Table) -> None:
        self._table = table
        self._codes: NDArray[np.float32] | None = None
        self._indexes = Indexes(table, self._all_codes)

    def _check_filled(self) -> None:
        if not len(self):
            raise LibraryError(f"the library '{self.path}' is empty; add pictures to it first")

    @cached_property
    def _halves(self) -> tuple[Encoder, Decoder | None]:
        return folder.halves(self.model)

    @property
    def _pictures(self) -> StoredPictures:
        return StoredPictures(self._table, *self._halves)

    def _all_codes(self) -> NDArray[np.float32]:
        if self._codes is None:
            self._codes = self._table.codes()
        return self._codes

    def _items(self, rows: NDArray[np.int64]) -> list[Item]:
        """Read what is known of rows, in their order."""
        known = self._table.take(rows, "id", "path", *self._table.metadata)
        pictures = self._pictures
        return [
            Item(one.pop("id"), one.pop("path"), one, int(row), pictures)
            for row, one in zip(rows, known, strict=True)
        ]

    def _nearest(
        self, queries: Queries, count: int, index: ExactIndex | ApproximateIndex
    ) -> list[Found]:
        """Find the codes nearest to each query, but for its own."""
        own = queries.rows is not None
        return queries.without_themselves(*index.search(queries.codes, count + own), count)

    def _reading(self, on: RerankOn) -> Read:
        pictures = self._pictures
        if on == "stored":
            return pictures.read
        codes = self._all_codes()
        return lambda rows: pictures.restore(codes[rows])

    def _matches(self, found: Sequence[Found]) -> list[list[Match]]:
        """Describe what was found for each query: distances and rows."""
        rows = np.unique(np.concatenate([rows for _, rows in found]))
        about = dict(zip(rows.tolist(), self._items(rows), strict=True))
        return [
            [
                Match(**vars(about[row]), distance=distance)
                for distance, row in zip(distances.tolist(), places.tolist(), strict=True)
            ]
            for distances, places in found
        ]


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ParameterError(f"{name}={value!r} is not allowed; use an integer of at least 1")
