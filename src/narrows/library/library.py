"""A library of pictures: they are encoded once, and the nearest to a picture are found by codes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from narrows import storage
from narrows.data.decoding import Progress
from narrows.data.formats import DEFAULTS, FileOptions
from narrows.errors import FormatError, LibraryError, ParameterError, WrongModelError
from narrows.library import folder
from narrows.library.adding import Added, Addition, as_metadata
from narrows.library.checksums import Checksums
from narrows.library.exact import check_options
from narrows.library.folder import LibraryManifest, Model
from narrows.library.inputs import Store
from narrows.library.ivf_build import Recall, faiss_module
from narrows.library.pictures import StoredPictures
from narrows.library.search import (
    Indexes,
    Item,
    Match,
    Matches,
    MatchOptions,
    Queries,
    Ranking,
    Rerank,
    Reranking,
    RerankOn,
    Search,
)
from narrows.library.table import Table
from narrows.library.verify import Problem, RowCheck, Verification
from narrows.library.workers import Workers
from narrows.models import BaseAutoencoder, CodeEncoder, Decoder, Encoder, PictureEncoder, load
from narrows.networks import Metric
from narrows.remote import Place, on_disk, place


class Library:
    """Pictures, their latent codes (embeddings), and a copy of the model that made these.

    A library is one folder, made by :meth:`create` or :meth:`build` and opened by :meth:`open`. It
    holds all that matching needs: ``library.json``, the model, and a Lance table of id, path,
    picture, thumbnail and code, which ``lance.dataset("pictures.lance/table.lance")`` reads too.

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

    Built in one step, opened again, and matched by the angle between codes and by pixels:

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     library, added = Library.build(f"{folder}/pictures.lance", X, model=model)
    ...     again = Library.open(library.path, model=model)
    ...     by_angle = again.match(X[:2], k=3, metric="cosine")
    ...     by_pixels = again.match(X[7], k=3, rerank="pixels", n_candidates=20)
    >>> len(again), [len(found) for found in by_angle], by_pixels[0].distance
    (100, [3, 3], 0.0)
    """

    @classmethod
    def create(
        cls,
        path: str | Place,
        *,
        model: Model | None = None,
        encoder: PictureEncoder | str | Path | None = None,
        overwrite: bool = False,
        storage_options: Mapping[str, str] | None = None,
    ) -> Self:
        """Make a library with no pictures in it.

        Parameters
        ----------
        path : str or Path
            The folder, or its address in an object store, such as "s3://bucket/pictures.lance". A
            crash leaves what was there, or the new library, whole; in an object store, perhaps with
            unused tables beside it.
        model : BaseAutoencoder or Encoder
            A fitted model, of which the library keeps a copy. With an encoder alone, matches
            cannot be decoded.
        encoder : PictureEncoder, str or Path
            Instead of a model: an encoder that was trained elsewhere, or the path of its ONNX
            file, of which the library keeps a copy as well. Of a torch module it keeps the
            fingerprint and the preprocessing; see :meth:`open`.
        overwrite : bool, default=False
            Whether an existing library is replaced, with all its pictures.
        storage_options : mapping of str to str, optional
            Lance's options for the object store; others come from the environment.

        Returns
        -------
        Library

        Raises
        ------
        ParameterError, NotFittedError
            If the model makes no codes, or not one of model and encoder is given.
        OutputExistsError, OutputError, StoreError
            If something is there that is not to be replaced, or the folder cannot be written.
        NarrowsError
            What :meth:`narrows.PictureEncoder.from_onnx` raises, for a path as ``encoder``.

        Examples
        --------
        By an encoder that was trained elsewhere, here a torch module that gives the mean colour:

        >>> import tempfile, numpy as np, torch
        >>> from narrows import Library, PictureEncoder
        >>> pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
        >>> encoder = PictureEncoder.from_module(pool, size=8, mean=0, deviation=1)
        >>> X = np.full((3, 8, 8, 3), [[[[255, 0, 0]]], [[[0, 0, 255]]], [[[250, 0, 0]]]], np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     library = Library.create(f"{folder}/pictures.lance", encoder=encoder)
        ...     added = library.add(X)
        ...     [match.id for match in library.match(X[0], k=2)]
        [0, 2]
        """
        chosen = folder.choose_model(model, encoder)
        where = folder.create(place(path, storage_options), chosen, overwrite=overwrite)
        return cls.open(where, encoder=_given(chosen))

    @classmethod
    def build(
        cls,
        path: str | Place,
        X: Any,
        *,
        model: Model | None = None,
        encoder: PictureEncoder | str | Path | None = None,
        names: Sequence[str] | None = None,
        metadata: Any = None,
        store: Store = "pictures",
        overwrite: bool = False,
        skip_unreadable: bool = False,
        exclude: str | Sequence[str] = (),
        options: FileOptions = DEFAULTS,
        progress: Progress | None = None,
        storage_options: Mapping[str, str] | None = None,
        workers: Workers | None = None,
    ) -> tuple[Self, Added]:
        """Make a library with pictures in it, in one step.

        The same as :meth:`create` and then :meth:`add`, except that after an error there is no new
        library, and one that was to be replaced stays as it was.

        Parameters
        ----------
        path, model, encoder, overwrite, storage_options
            As for :meth:`create`.
        X, names, metadata, store, skip_unreadable, exclude, options, progress, workers
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
        chosen = folder.choose_model(model, encoder)
        addition = Addition.of(
            X,
            folder.encoder_of(chosen),
            names=names,
            metadata=metadata,
            store=store,
            skip_unreadable=skip_unreadable,
            exclude=exclude,
            options=options,
            progress=progress,
            workers=workers,
        )
        where = place(path, storage_options)
        made = folder.create(where, chosen, addition.fill, overwrite=overwrite)
        library = cls.open(made, encoder=_given(chosen))
        return library, addition.report(len(library))

    @classmethod
    def open(
        cls,
        path: str | Place,
        *,
        model: BaseAutoencoder | Encoder | Decoder | None = None,
        encoder: PictureEncoder | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> Self:
        """Open a library.

        Parameters
        ----------
        path : str or Path
            The folder, or its address in an object store, such as "s3://bucket/pictures.lance".
        model : BaseAutoencoder, Encoder or Decoder, optional
            The model whose codes the library is expected to hold; it is compared, and not used.
        encoder : PictureEncoder, optional
            The encoder that made the codes, which is used in place of the library's copy. It is
            needed for new pictures where that is a torch module, of which there is no copy.
        storage_options : mapping of str to str, optional
            Lance's options for the object store; others come from the environment.

        Returns
        -------
        Library
            The library with the pictures that are in it now.

        Raises
        ------
        ParameterError
            If ``model`` is no model, or ``encoder`` no encoder.
        MissingFileError
            If there is nothing at ``path``.
        FormatError
            If it is no library, damaged, or of a newer version of Narrows.
        WrongModelError
            If the library's codes were made by another model or encoder than the one given.
        StoreError
            If the object store does not answer, or refuses.
        """
        if not isinstance(model, BaseAutoencoder | Encoder | Decoder | None):
            raise ParameterError(
                f"model is a {type(model).__name__}; give the library's model or one of its halves"
            )
        if not isinstance(encoder, PictureEncoder | None):
            raise ParameterError(
                f"encoder is a {type(encoder).__name__}; give a PictureEncoder (its from_onnx or "
                "from_module)"
            )
        path = place(path, storage_options)
        contents, table = folder.open_published(path)
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
        library = cls(path, contents, table, encoder)
        if encoder is not None and encoder.fingerprint_ != contents.fingerprint:
            raise library._other_encoder(encoder)
        return library

    def __init__(
        self,
        path: Place,
        contents: LibraryManifest,
        table: Table,
        encoder: PictureEncoder | None = None,
    ) -> None:
        self.path = path
        self._contents = contents
        self._encoder = encoder
        self._use(table)

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"Library('{self.path}', {len(self)} pictures)"

    @cached_property
    def model(self) -> Model:
        """The library's copy of its model or encoder, loaded when first needed."""
        given = self._encoder
        if given is not None and given.fingerprint_ == self._contents.fingerprint:
            return given
        path = self.path / self._contents.model
        if not path.exists() and LibraryManifest.read(self.path).model != path.name:
            raise FormatError(
                f"'{self.path}' was replaced or moved to another model since it was opened, and "
                "its old model removed; refresh() or open it again"
            )
        with on_disk(path) as folder:
            model = load(folder)
        kinds = (BaseAutoencoder, Encoder, PictureEncoder)
        if not isinstance(model, kinds) or model.fingerprint_ != self._contents.fingerprint:
            raise FormatError(
                f"the model in '{self.path}' is not the one that made its codes, "
                f"{self._contents.fingerprint[:12]}; restore it from a copy, or build the library "
                "again"
            )
        return model

    def refresh(self) -> Self:
        """Show the changes that writers have published since the library was opened or refreshed.

        Returns
        -------
        Library
            The library itself.

        Raises
        ------
        MissingFileError, FormatError
            As :meth:`open`.
        """
        if LibraryManifest.read(self.path) == self._contents:
            return self
        contents, table = folder.open_published(self.path)
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
        return self._table.codes.copy()

    @property
    def metric(self) -> Metric:
        """How codes are compared unless another metric is asked for: as the model was made for.

        "cosine" of a :class:`narrows.MatchingAutoencoder` that chose it, and otherwise "euclidean".
        """
        return self._halves[0].spec.metric

    @property
    def columns(self) -> dict[str, str]:
        """The user's columns: the name and the Arrow type of each."""
        schema = self._table.dataset.schema
        return {name: str(schema.field(name).type) for name in self._table.metadata}

    def count(self, where: str | None = None) -> int:
        """Count the pictures, or those that a filter selects.

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
            If the filter is not valid for this library; the message shows its columns.
        """
        return len(self) if where is None else len(self._table.ids_where(where))

    def find(self, where: str) -> NDArray[np.int64]:
        """Find the pictures that a filter selects.

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
            If the filter is not valid for this library; the message shows its columns.
        """
        return self._table.ids_where(where)

    def column(self, name: str) -> list[Any]:
        """Read one of the user's columns, in the order of :attr:`ids`.

        Parameters
        ----------
        name : str
            One of :attr:`columns`.

        Returns
        -------
        list
            n values; None where they are missing.

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
            Some of :attr:`ids`, in any order.

        Returns
        -------
        list of Item
            The pictures in the order of ``ids``. Their pixels and codes are read when asked for.

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
        return self._items(self._table.rows_of(ids), self._pictures)

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
            Some of :attr:`ids`, in any order.

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
        """Read the thumbnails of pictures as files, for pages and other programs.

        This is faster than reading :attr:`Match.thumbnail` one after another.

        Parameters
        ----------
        ids : sequence of int
            Some of :attr:`ids`, in any order.

        Returns
        -------
        list of bytes
            Contents of JPEG or PNG files, of 128 pixels at most in height and width; of pictures
            that were added as arrays, in their own size.

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
        metric: Metric | None = None,
        search: Search = "auto",
        rerank: Rerank | None = None,
        rerank_on: RerankOn = "stored",
        n_candidates: int = 100,
    ) -> Matches:
        """Find the pictures nearest to a picture, to a code, or to a picture of the library.

        :meth:`match_codes` and :meth:`match_ids` do the same for a batch of codes or ids, and
        always return a list for each query.

        Parameters
        ----------
        query : path, sequence of paths, or array-like
            One picture: a file, or an array of shape ``sample_shape_``. A batch: a folder, a
            sequence of files, a file of data, or an array of shape (n, *sample_shape_). Arrays
            are in the units of the model's training data.
        k : int, default=5
            The number of matches; beyond the number of pictures, all of them are returned.
        codes : array-like of shape (K,) or (n, K), optional
            Instead of a query: codes that the library's model made.
        ids : int or sequence of int, optional
            Instead of a query: ids of pictures of the library. No picture is among its own matches;
            others with the same code are.
        where : str, optional
            A filter of columns (``docs/filters.md``), such as
            ``"label = 'boot' AND year > 2010"`` or
            ``"path LIKE 'photos/%' AND added > TIMESTAMP '2026-01-01'"``. Only pictures that it
            selects are searched, and k counts them; if it selects none, there are no matches.
        metric : {"euclidean", "cosine"}, default=None
            The distance between codes (:class:`narrows.library.search.ExactIndex`); by default
            :attr:`metric`.
        search : {"auto", "exact", "approximate"}, default="auto"
            "approximate" compares only some of the codes and may miss a neighbour; the distances of
            the matches are exact. It needs ``narrows[faiss]``. Its index is a file in the library's
            folder, which is made when first needed, and again when codes have changed, or ahead of
            that by :meth:`build_index`; where that cannot be written, and in an object store, an
            index is made in memory unless the file exists. "auto" is "exact" up to 1 048 576 codes
            (2^20), without FAISS, and where the file is missing and would not be written; a filter
            always makes the search exact. See :attr:`recall`.
        rerank : {None, "pixels", "ssim"}, default=None
            With "pixels", the ``n_candidates`` nearest by code (at least k) are put in order by
            the mean squared difference between their pixels and the query's; with "ssim" by
            1 - SSIM, the structural similarity (Wang et al. 2004), from 0 for the same to 2. The
            matches' ``distance`` is then this difference, in the data's units squared, or without
            units.
        rerank_on : {"stored", "decoded"}, default="stored"
            Which pictures of the library the query is compared with: those stored, or those decoded
            from their codes, for which no picture is read. Where codes are looked for, their
            pictures are decoded.
        n_candidates : int, default=100
            The number of candidates for re-ranking. Of the ten nearest by their pixels, 97 % are
            among the 100 nearest by 32 codes of Fashion-MNIST, 57 % among the ten nearest
            (``benchmarks/reranking.py``).

        Returns
        -------
        list of Match, or list of lists of Match
            The nearest first; of pictures at the same distance, the one added earlier. For a batch,
            one list for each query.

        Raises
        ------
        LibraryError
            If the library is empty; if it has no decoder, and matches of codes are to be re-ranked,
            or any on decoded pictures; if "ssim" is to compare rows that are no pictures.
        MissingDependencyError
            If an approximate search is asked for without FAISS.
        ParameterError
            If k, metric, search, rerank, rerank_on or n_candidates is not allowed, not exactly one
            of query, codes and ids is given, there is no picture of an id, or the filter is not
            valid for this library; the message shows its columns.
        MissingFileError, UnreadableFileError, DataError
            If the query does not exist, or is no picture that fits the model; if codes are not
            finite or of another width.

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
        ...     sorted(match.metadata["year"] for match in library.match(X[7], where="year < 2002"))
        [7]
        False
        [2000, 2001]
        """
        asked = {"a query": query, "codes": codes, "ids": ids}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) != 1:
            raise ParameterError(
                f"{' and '.join(given) or 'nothing'} given to look for; give a query, codes or "
                "ids, one of them"
            )
        read_queries: Callable[[StoredPictures], Queries]
        if codes is not None:
            read_queries = partial(Queries.of_codes, codes)
        elif ids is not None:
            read_queries = partial(Queries.of_ids, ids)
        else:
            read_queries = partial(Queries.of_pictures, query)
        matches, single = self._match(
            read_queries,
            k,
            where=where,
            metric=metric,
            search=search,
            rerank=rerank,
            rerank_on=rerank_on,
            n_candidates=n_candidates,
        )
        return matches[0] if single else matches

    def match_codes(
        self, codes: ArrayLike, k: int = 5, **options: Unpack[MatchOptions]
    ) -> list[list[Match]]:
        """Find the pictures nearest to each of several codes; see :meth:`match`.

        Parameters
        ----------
        codes : array-like of shape (n, K)
            Codes that the library's model made.
        k, **options
            As for :meth:`match`.

        Returns
        -------
        list of lists of Match
            A list for each code, the nearest first.

        Raises
        ------
        NarrowsError
            As :meth:`match`.
        """
        return self._match(partial(Queries.of_codes, codes), k, **options)[0]

    def match_ids(
        self, ids: Sequence[int] | NDArray[np.int64], k: int = 5, **options: Unpack[MatchOptions]
    ) -> list[list[Match]]:
        """Find the pictures nearest to each of several pictures of the library; see :meth:`match`.

        Parameters
        ----------
        ids : sequence of int
            Some of :attr:`ids`, in any order. No picture is among its own matches.
        k, **options
            As for :meth:`match`.

        Returns
        -------
        list of lists of Match
            A list for each id, the nearest first.

        Raises
        ------
        NarrowsError
            As :meth:`match`.
        """
        return self._match(partial(Queries.of_ids, ids), k, **options)[0]

    @property
    def recall(self) -> dict[Metric, Recall]:
        """The recall of approximate searches by metric and by k: the share of the k nearest found.

        It was measured when the indexes were built, on codes of the library itself; the attribute
        ``disturbed`` of each is the same for codes with Gaussian noise of a quarter of each
        feature's standard deviation. A metric without an index of these codes is missing.
        """
        return self._indexes.recalls()

    def build_index(
        self, metric: Metric | None = None, *, workers: Workers | None = None
    ) -> Recall:
        """Build the index of approximate searches ahead of need, and keep it with the library.

        On a disk, the first approximate search does the same. In an object store only this method
        does, and "auto" searches there are approximate only with an index. An existing index is
        built anew only if codes have changed.

        Parameters
        ----------
        metric : {"euclidean", "cosine"}, default=None
            As for :meth:`match`; each metric has an index of its own.
        workers : Workers, optional
            The workers that learn the cells, find each code's cell, and search a sample of the
            codes exactly, such as :func:`narrows.scale.cluster.ray_workers`; by default this
            process. The index is the same.

        Returns
        -------
        Recall
            By k, 10 and 100: the share of the k nearest that a search finds, for rows of the
            library; its attribute ``disturbed`` is the same for rows with noise.

        Raises
        ------
        MissingDependencyError
            If FAISS is not installed, here or at a worker.
        ParameterError, LibraryError
            If there is no such metric, or the library is empty.
        FormatError
            If the version that was opened is removed meanwhile.
        OutputError, StoreError
            If the index cannot be written; searches then work as before.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from narrows import Autoencoder, Library
        >>> X = np.random.default_rng(0).random((500, 8, 8), dtype=np.float32)
        >>> model = Autoencoder(4, max_epochs=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     library, _ = Library.build(f"{folder}/pictures.lance", X, model=model)
        ...     recall = library.build_index()
        ...     matches = library.match(X[7], k=3, search="approximate")
        >>> recall[10] > 0.99, matches[0].id
        (True, 7)
        """
        if metric is not None:
            check_options(metric)
        faiss_module()
        self.refresh()
        self._check_filled()
        metric = metric or self.metric
        try:
            return self._indexes.build(metric, workers)
        except FormatError:
            self._table.check_present()
            raise

    def add(
        self,
        X: Any,
        *,
        names: Sequence[str] | None = None,
        metadata: Any = None,
        store: Store = "pictures",
        skip_unreadable: bool = False,
        exclude: str | Sequence[str] = (),
        options: FileOptions = DEFAULTS,
        progress: Progress | None = None,
        workers: Workers | None = None,
    ) -> Added:
        """Encode new pictures and add them: all in one step, or none.

        Pictures are the same if they are so byte by byte, whatever their names are; the path of the
        first stays. Pictures that the library has already are not encoded again.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), path, sequence of paths, or iterator
            A folder of pictures, a picture, several pictures, any file of data that
            :func:`narrows.data.files.read` knows, or pictures in memory, in the units of the
            model's training data. Picture files are kept byte for byte, arrays as they are.
            An iterator, such as a generator, may yield any of these, single arrays of shape
            ``sample_shape_``, contents of picture files as bytes, and Pillow's pictures, which
            are kept as PNG files; no more than a few thousand of its items are in memory.
            Of files of several pages or frames the first is taken, unless
            :func:`narrows.data.reading.reading` sets it otherwise, like the bound on pixels.
        names : sequence of str, optional
            The ``path`` of each picture's matches; by default the file's path as given, the file's
            and the row's name (``data.npy[7]``), or the id for an array. Not for an iterator.
        metadata : DataFrame, pyarrow.Table, mapping of str to sequence, or path, optional
            The user's columns, a row for each picture: numbers, texts, truth values, dates or
            times. Columns that the library has keep their types; new ones are null in existing
            rows. A path names a table (.csv, .tsv, .parquet) with a row for each picture file, in
            any order, whose column ``path``, ``file``, ``file_name`` or ``filename`` names the
            file: by its path as given, in the folder given, or in full, or by its name alone where
            no other file has it. For rows of data, the table's rows are in the same order.
        store : {"pictures", "references"}, default="pictures"
            With "references", picture files stay where they are and the library keeps their
            absolute paths and thumbnails instead. Pictures are then read from their files, and it
            is an error if a file is gone or has changed. The library records the folders of these
            files, links followed, and reads regular files of at most 2 GiB in them, and no others.
        skip_unreadable : bool, default=False
            Whether files that cannot be read are left out and listed instead of raising.
        exclude : str or sequence of str
            Patterns of files and folders that are left out of a folder, such as "*_thumb.jpg"; see
            :func:`narrows.data.folders.check_exclude`.
        options : FileOptions, optional
            How to read tables of metadata and of rows that do not tell it themselves, such as their
            decimal mark.
        progress : callable, optional
            Called with the number of pictures done and the number of all; for an iterator, twice
            with the first.
        workers : Workers, optional
            The workers that read, encode and write the pictures, such as
            :func:`narrows.scale.cluster.ray_workers`; by default this process. Ids then have
            gaps where a picture was given more than once or could not be read.

        Returns
        -------
        Added

        Raises
        ------
        MissingFileError, UnreadableFileError
            If a file does not exist, or cannot be read and is not to be skipped.
        DataError
            If there are no pictures, or they do not fit the model; if a file has no row in the
            table of metadata or several, or a row no file.
        ParameterError
            If the number of names or of rows of metadata differs from that of pictures, the
            metadata are no columns, rows of data are to be referred to, or ``exclude`` is given
            without a folder.
        LibraryError
            If the library was replaced by another since it was opened.
        OutputError
            If the library cannot be written.

        Notes
        -----
        Another process or thread that writes to the same library waits until the addition is
        complete. Readers do not wait, and see the new pictures after :meth:`refresh`.

        Readers see nothing of an addition that is interrupted. The same addition, with the same
        names and metadata, begun again, goes on where it stopped, give or take some thousand
        pictures.
        """
        addition = Addition.of(
            X,
            self._halves[0],
            names=names,
            metadata=metadata,
            store=store,
            skip_unreadable=skip_unreadable,
            exclude=exclude,
            options=options,
            progress=progress,
            workers=workers,
        )
        with folder.write_transaction(
            self.path, self._contents, resume=addition.name
        ) as transaction:
            added = addition.join(transaction)
        self.refresh()
        return added

    def remove(
        self, ids: Sequence[int] | NDArray[np.int64] | None = None, *, where: str | None = None
    ) -> int:
        """Remove pictures from the library; their ids are not given again.

        Parameters
        ----------
        ids : sequence of int, optional
            The ids of the pictures.
        where : str, optional
            Instead of ids: a filter of columns (``docs/filters.md``), such as
            ``"added < TIMESTAMP '2026-01-01'"``.

        Returns
        -------
        int
            How many were removed.

        Raises
        ------
        ParameterError
            If neither or both are given, there is no picture of an id, or the filter is not valid.
        LibraryError, OutputError
            As :meth:`add`.
        """
        if (ids is None) == (where is None):
            raise ParameterError("give the ids of the pictures to remove, or where; one of them")
        with folder.write_transaction(self.path, self._contents) as transaction:
            table = transaction.table
            if where is not None:
                found = table.ids_where(where)
            else:
                found = np.unique(table.ids[table.rows_of(ids if ids is not None else [])])
            if len(found):
                transaction.publish(table.remove(found.tolist()))
        self.refresh()
        return len(found)

    def update(self, which: Sequence[int] | NDArray[np.int64] | str, metadata: Any) -> int:
        """Change the user's columns, or add some, for pictures of the library: all, or nothing.

        Parameters
        ----------
        which : sequence of int, or str
            The ids of the pictures, each once; or a filter of columns (``docs/filters.md``), such
            as ``"label = 'boot' AND year > 2010"``.
        metadata : DataFrame, pyarrow.Table, or mapping of str to sequence or to a single value
            The columns that change, a row for each picture: in the order of ``which``, or of the
            ids if that is a filter. A single value, which may be None, is for all of these
            pictures. Types and new columns are as for :meth:`add`; other columns and ids stay.

        Returns
        -------
        int
            The number of these pictures.

        Raises
        ------
        ParameterError
            If there is no picture of an id, an id is given twice, the filter is not valid, or the
            metadata are no columns or have another length.
        DataError
            If a value does not fit its column.
        FormatError
            If a value of another row in the same column is damaged; see :meth:`verify`.
        LibraryError, OutputError
            As :meth:`add`.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from narrows import Autoencoder, Library
        >>> X = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
        >>> model = Autoencoder(4, max_epochs=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     library, _ = Library.build(f"{folder}/pictures.lance", X, model=model)
        ...     library.update([3, 7], {"label": ["boot", "shoe"], "year": 2010})
        ...     library.update("label = 'boot'", {"year": 2011})
        ...     library.match(X[3], k=1)[0].metadata
        2
        1
        {'label': 'boot', 'year': 2011}
        """
        with folder.write_transaction(self.path, self._contents) as transaction:
            table = transaction.table
            ids = table.ids_where(which) if isinstance(which, str) else _once(table, which)
            count = len(ids)
            columns = table.fit_metadata(as_metadata(_repeat(metadata, count), count))
            if count and columns.num_columns:
                table = table.extend(table.new_fields(columns))
                transaction.publish(table.update(ids, columns), updated=ids)
        self.refresh()
        return count

    def compact(self, *, keep: timedelta = timedelta(hours=1)) -> int:
        """Join the rows that many additions have scattered, and free unused space.

        Parameters
        ----------
        keep : timedelta, default=timedelta(hours=1)
            The space of removed pictures and earlier versions is freed if they are older than this.
            Readers that opened the library before that have to refresh. The tables and models from
            before :meth:`verify` repaired or :meth:`reencode` moved it are removed in any case.

        Returns
        -------
        int
            How many bytes were freed.

        Raises
        ------
        FormatError
            If a file whose rows are moved is damaged; see :meth:`verify`.
        LibraryError, OutputError
            As :meth:`add`.
        """
        with folder.write_transaction(self.path, self._contents) as transaction:
            transaction.publish_moved(transaction.table.compact())
            freed = transaction.table.forget(keep) + transaction.clean()
        self.refresh()
        return freed

    def verify(self, *, repair: bool = False, progress: Progress | None = None) -> Verification:
        """Check that every file and row is what was written, and what the model gives.

        The contents of each file are compared with what was written, by their SHA-256, and in
        changed files each value by a CRC-32. For each row, the picture must have the bytes that
        were added (by their SHA-256) and be decodable; the code must be what the model gives, but
        for rounding in single precision; the id must be one that was given, and only once; all
        columns must be readable, and the thumbnail a picture.

        Parameters
        ----------
        repair : bool, default=False
            Whether to repair, in one step: rows that cannot be read are removed, codes and
            thumbnails are made again, and ids that two rows have are replaced by new ones. A single
            flipped bit of a file is put back. A damaged value is restored if its checksum tells
            what it was; otherwise a path becomes the id, and a value of a user's column becomes
            null. Each repair is among the problems.
            The library is written anew beside the old one, whose space :meth:`compact` frees. The
            rows of an interrupted addition are lost. Where the list of removed rows is lost, these
            come back, since they cannot be told from the others; of a picture that was removed and
            added again only the later row is kept.
        progress : callable, optional
            Called with the number of pictures done and the number of all.

        Returns
        -------
        Verification

        Raises
        ------
        FormatError
            If the library's list of files, or its model, is damaged itself.
        LibraryError, OutputError
            When repairing, as for :meth:`add`.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from narrows import Autoencoder, Library
        >>> X = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
        >>> model = Autoencoder(4, max_epochs=2, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     library, _ = Library.build(f"{folder}/pictures.lance", X, model=model)
        ...     library.verify()
        Verification(rows=50, problems=[], repaired=False, checked=True)
        """
        self.refresh()
        if not repair:
            return self._row_check(*self._checks(), progress).verify()
        with folder.writing(self.path) as path:
            self._contents = contents = folder.current_contents(path, self._contents)
            checks, problems = self._checks()
            verified = left = self._row_check(checks, problems, progress).verify()
            if not verified.ok and checks is not None and checks.put_back():
                checks, problems = self._checks()
                left = self._row_check(checks, problems).verify()
                more = [problem for problem in left.problems if problem not in verified.problems]
                verified = replace(verified, problems=verified.problems + more, repaired=True)
            if any(problem.repair != "keep" for problem in left.problems):
                check = self._row_check(checks, [])
                folder.rewrite(path, self.model, check.fill, contents.next_id)
                verified = replace(verified, repaired=True)
            elif checks is None:
                folder.record(path, contents)
        self.refresh()
        return verified

    def reencode(self, model: Model, *, progress: Progress | None = None) -> int:
        """Move to another model: encode every picture anew, and show all the new codes at once.

        Ids, paths, pictures and users' columns stay. Until the last moment, and after an error, the
        library is what it was.

        Parameters
        ----------
        model : BaseAutoencoder, Encoder or PictureEncoder
            A fitted model or an encoder, of which the library keeps a copy. It may take pictures of
            another size if they are stored as files.
        progress : callable, optional
            Called with the number of pictures done and the number of all.

        Returns
        -------
        int
            How many pictures were encoded.

        Raises
        ------
        ParameterError, NotFittedError
            If the model makes no codes.
        DataError
            If a picture does not fit the model.
        FormatError
            If a row is damaged; see :meth:`verify`.
        LibraryError, OutputError
            As :meth:`add`.

        Notes
        -----
        The table and the model are written anew beside the old ones, which readers that opened the
        library before use until they :meth:`refresh`. The next :meth:`compact` frees the space of
        the old ones.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from narrows import Autoencoder, Library
        >>> X = np.random.default_rng(0).random((50, 8, 8), dtype=np.float32)
        >>> model, better = (Autoencoder(4, max_epochs=n, random_state=0).fit(X) for n in (2, 5))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     library, _ = Library.build(f"{folder}/pictures.lance", X, model=model)
        ...     library.reencode(better)
        ...     library.model.fingerprint_ == better.fingerprint_
        50
        True
        """
        encoder = folder.encoder_of(model)
        with folder.write_transaction(self.path, self._contents) as transaction:
            transaction.clean()
            contents = transaction.contents
            check = RowCheck(
                transaction.table,
                encoder,
                contents.next_id,
                progress,
                transaction.checks,
                reencoding=True,
            )
            folder.rewrite(transaction.path, model, check.fill, contents.next_id)
        self._encoder = _given(model)
        self.refresh()
        return len(self)

    def _use(self, table: Table) -> None:
        self._table = table
        self._indexes = Indexes(table)

    def _other_encoder(self, given: PictureEncoder) -> WrongModelError:
        """Return the error that tells in what an encoder differs from the library's."""
        self._encoder, own = None, self.model
        if not isinstance(own, PictureEncoder):
            what = f"model {own.fingerprint_[:12]}, and an encoder is given"
        elif own.network_sha256_ != given.network_sha256_:
            what = (
                f"network {own.network_sha256_[:12]}, the one given is "
                f"{given.network_sha256_[:12]} (SHA-256)"
            )
        else:
            what = (
                "the same network from pictures that are prepared in another way: "
                f"{own.preprocessing_.words()}, output {own.output_}, unit length "
                f"{own.unit_length_}"
            )
        return WrongModelError(
            f"the codes in '{self.path}' were made by {what}; leave the encoder out, as the "
            "library knows its own, or move the library to this one (reencode)"
        )

    def _check_filled(self) -> None:
        if not self._table.length:
            raise LibraryError(f"the library '{self.path}' is empty; add pictures to it first")

    @cached_property
    def _halves(self) -> tuple[CodeEncoder, Decoder | None]:
        return folder.halves(self.model)

    @property
    def _pictures(self) -> StoredPictures:
        return StoredPictures(self._table, *self._halves)

    def _match(
        self,
        read_queries: Callable[[StoredPictures], Queries],
        k: int,
        *,
        where: str | None = None,
        metric: Metric | None = None,
        search: Search = "auto",
        rerank: Rerank | None = None,
        rerank_on: RerankOn = "stored",
        n_candidates: int = 100,
    ) -> tuple[list[list[Match]], bool]:
        """Return the matches of each query, and whether a single one was given.

        The queries are read after the options are checked, which costs less.
        """
        check_options("euclidean" if metric is None else metric, k=k, n_candidates=n_candidates)
        self._check_filled()
        metric = metric or self.metric
        pictures, reranking, count = self._pictures, None, k
        if rerank is not None or rerank_on != "stored":
            reranking, count = Reranking(rerank, rerank_on, pictures), max(k, n_candidates)
        queries = read_queries(pictures)
        among = None if where is None else self._table.rows_of(self._table.ids_where(where))
        if not len(queries.codes):
            return [], False
        ranked = queries.search(self._indexes.choose(search, metric, among), count)
        if reranking is not None:
            ranked = reranking.reorder(queries.pictures, ranked, k)
        return self._matches(ranked, pictures), queries.single

    def _items(self, rows: NDArray[np.int64], pictures: StoredPictures) -> list[Item]:
        """Return the pictures of rows, in their order."""
        values = self._table.take(rows, "id", "path", *self._table.metadata)
        return [
            Item(of_row.pop("id"), of_row.pop("path"), of_row, int(row), pictures)
            for row, of_row in zip(rows, values, strict=True)
        ]

    def _matches(self, ranked: Sequence[Ranking], pictures: StoredPictures) -> list[list[Match]]:
        """Return the pictures of each query's distances and rows."""
        rows = np.unique(np.concatenate([rows for _, rows in ranked]))
        items = dict(zip(rows.tolist(), self._items(rows, pictures), strict=True))
        return [
            [
                Match(**vars(items[row]), distance=distance)
                for distance, row in zip(distances.tolist(), its_rows.tolist(), strict=True)
            ]
            for distances, its_rows in ranked
        ]

    def _row_check(
        self, checks: Checksums | None, problems: list[Problem], progress: Progress | None = None
    ) -> RowCheck:
        table = self._contents.open_table(self.path)
        check = RowCheck(table, self._halves[0], self._contents.next_id, progress, checks)
        check.problems += problems
        return check

    def _checks(self) -> tuple[Checksums | None, list[Problem]]:
        """Read the checksums of the published version, or say what is wrong with them."""
        while True:
            contents = self._contents
            if contents.checks is None:
                return None, []
            try:
                return Checksums.read(self.path, contents.checks), []
            except FormatError as error:
                # A writer may have replaced them.
                if self.refresh()._contents == contents:
                    return None, [Problem(None, None, error.reason or str(error), "correct")]


def _given(model: Model) -> PictureEncoder | None:
    return model if isinstance(model, PictureEncoder) else None


def _repeat(metadata: Any, count: int) -> Any:
    """Repeat the single values among a mapping's columns, one for each row."""
    if not isinstance(metadata, Mapping):
        return metadata
    return {
        name: [value] * count if isinstance(value, str) or not hasattr(value, "__len__") else value
        for name, value in metadata.items()
    }


def _once(table: Table, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ids as an array; refuse those of no picture, and repeated ones."""
    checked: NDArray[np.int64] = table.ids[table.rows_of(ids)]
    values, counts = np.unique(checked, return_counts=True)
    if len(values) < len(checked):
        raise ParameterError(
            f"the id {values[counts > 1][0]} is given more than once; give each picture one row"
        )
    return checked
