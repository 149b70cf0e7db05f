"""A library of pictures: encode them once, find the nearest to one's own from then on."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from narrows.data.decoding import Progress
from narrows.data.formats import DEFAULTS, FileOptions
from narrows.errors import FormatError
from narrows.library import folder, publishing
from narrows.library.adding import Added, Addition
from narrows.library.given import Store
from narrows.library.ivf import Recall, faiss_module
from narrows.library.keeper import Keeper
from narrows.library.vectors import Metric, check_metric
from narrows.library.workers import Workers
from narrows.models import BaseAutoencoder, Encoder
from narrows.remote import Place, place


class Library(Keeper):
    """Pictures, their codes, and a copy of the model that made them, in one folder.

    Made by :meth:`create`, :meth:`build` or :meth:`open`. The folder holds all that matching needs:
    ``library.json``, the model, and a Lance table of id, path, picture, thumbnail and code, which
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

    @classmethod
    def create(
        cls,
        path: str | Place,
        *,
        model: BaseAutoencoder | Encoder,
        overwrite: bool = False,
        storage_options: Mapping[str, str] | None = None,
    ) -> Self:
        """Make a library with no pictures in it.

        Parameters
        ----------
        path : str or Path
            The folder, or its address in an object store, such as "s3://bucket/pictures.lance". A
            crash leaves what was there, or the new library, whole; in an object store, perhaps with
            tables beside it that nobody reads.
        model : BaseAutoencoder or Encoder
            A fitted model, of which the library keeps a copy. With an encoder alone, matches
            cannot be decoded.
        overwrite : bool, default=False
            Whether a library that is there already is replaced, with all its pictures.
        storage_options : mapping of str to str, optional
            Lance's options for the object store; what is missing comes from the environment.

        Returns
        -------
        Library

        Raises
        ------
        ParameterError, NotFittedError
            If the model makes no codes.
        OutputExistsError, OutputError, StoreError
            If something is there that is not to be replaced, or the folder cannot be written.
        """
        folder.check_model(model)
        return cls.open(publishing.create(place(path, storage_options), model, overwrite=overwrite))

    @classmethod
    def build(
        cls,
        path: str | Place,
        X: Any,
        *,
        model: BaseAutoencoder | Encoder,
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

        The same as :meth:`create` and then :meth:`add`, except that if something is wrong with the
        pictures, there is no new library, and one that was to be replaced stays as it was.

        Parameters
        ----------
        path, model, overwrite, storage_options
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
        folder.check_model(model)
        encoder, _ = folder.halves(model)
        addition = Addition.of(
            X,
            encoder,
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
        library = cls.open(publishing.create(where, model, addition.fill, overwrite=overwrite))
        return library, addition.report(len(library))

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
        """Encode the pictures that are not there yet and add them: all in one step, or none.

        Pictures are the same if they are so byte by byte, whatever they are called; the path of the
        first stays. What is in the library already is not encoded again.

        Parameters
        ----------
        X : path, sequence of paths, array-like of shape (n, *sample_shape_), or iterator
            A folder of pictures, a picture, several pictures, any file of data that
            :func:`narrows.data.files.read` knows, or pictures in memory, in the units of the
            model's training data. Picture files are kept byte for byte, arrays as they are.
            An iterator, such as a generator, may yield any of these, single arrays of shape
            ``sample_shape_``, what is in picture files as bytes, and Pillow's pictures, which
            are kept as PNG files; of what it yields, no more than a few thousand are in memory.
            Of files of several pages or frames the first is taken, unless
            :func:`narrows.data.reading.reading` says otherwise, as it does for the bound on pixels.
        names : sequence of str, optional
            What the matches' ``path`` says, one for each picture; by default the file's path
            as given, the file's and the row's name (``data.npy[7]``), or the id for an array.
            Not for an iterator.
        metadata : DataFrame, pyarrow.Table, mapping of str to sequence, or path, optional
            Columns of one's own, a row for each picture: numbers, texts, truth values, dates or
            times. Columns that the library has keep their types; new ones are null in the rows
            that there are. A path names a table (.csv, .tsv, .parquet) with a row for each
            picture file, in any order: its column ``path``, ``file``, ``file_name`` or
            ``filename`` says which, by the file's path as given, in the folder given, or in full,
            or by its name alone where no other file has it. For rows of data it has theirs.
        store : {"pictures", "references"}, default="pictures"
            With "references", picture files stay where they are and the library keeps their
            absolute paths and thumbnails instead. Whoever needs a picture then reads its file,
            and is told if that is gone or has changed. The library remembers the folders of these
            files, links followed, and reads regular files of at most 2 GiB in them, and no others.
        skip_unreadable : bool, default=False
            Whether files that cannot be read are left out and listed instead of raising.
        exclude : str or sequence of str
            Patterns of files and folders that are left out of a folder, such as "*_thumb.jpg"; see
            :func:`narrows.data.folders.check_exclude`.
        options : FileOptions, optional
            How to read tables of metadata and of rows that do not say it themselves, such as their
            decimal mark.
        progress : callable, optional
            Called with the number of pictures done and the number of all, of an iterator with
            that of those done, twice.
        workers : Workers, optional
            Who reads, encodes and writes the pictures, such as
            :func:`narrows.scale.cluster.ray_workers`; by default this process. Ids then have
            gaps where a picture was given more than once or could not be read.

        Returns
        -------
        Added

        Raises
        ------
        MissingFileError, UnreadableFileError
            If a file is not there, or cannot be read and is not to be skipped.
        DataError
            If there are no pictures, or they do not fit the model; if a file has no row in the
            table of metadata or several, or a row no file.
        ParameterError
            If there are not as many names or rows of metadata as pictures, the metadata are no
            columns, rows of data are to be referred to, or ``exclude`` is given without a folder.
        LibraryError
            If the library was replaced by another since it was opened.
        OutputError
            If the library cannot be written.

        Notes
        -----
        Another process or thread that writes to the same library waits until this is done. One that
        only matches does not wait, and sees the new pictures after :meth:`refresh`.

        If it is interrupted, readers see nothing of it. The same addition, with the same names and
        metadata, begun again, goes on where it stopped, give or take some thousand pictures.
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
        with folder.turn(self.path, self._contents, resume=addition.name) as turn:
            added = addition.join(turn)
        self.refresh()
        return added

    def build_index(
        self, metric: Metric = "euclidean", *, workers: Workers | None = None
    ) -> Recall:
        """Build the index of approximate searches ahead of need, and keep it with the library.

        On a disk, the first approximate search does the same; in an object store nothing else
        does, and "auto" searches there are approximate only where it is kept. An index that is
        there already is built anew only if codes have changed.

        Parameters
        ----------
        metric : {"euclidean", "cosine"}, default="euclidean"
            As for :meth:`match`; each has an index of its own.
        workers : Workers, optional
            Who learns the cells, finds each code's cell, and what is truly nearest to a sample of
            the codes, such as :func:`narrows.scale.cluster.ray_workers`; by default this process.
            It is the same index.

        Returns
        -------
        Recall
            By k, 10 and 100: which share of the k nearest a search finds, for rows of the library;
            its attribute ``disturbed`` is the same for rows with noise. See :attr:`recall`.

        Raises
        ------
        MissingDependencyError
            If FAISS is not installed, here or where somebody works.
        ParameterError, LibraryError
            If there is no such metric, or the library is empty.
        FormatError
            If the codes that were opened are removed meanwhile.
        OutputError, StoreError
            If the index cannot be written; searches then do as they did before.

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
        check_metric(metric)
        faiss_module()
        self.refresh()
        self._check_filled()
        try:
            return self._indexes.build(metric, workers)
        except FormatError:
            self._table.check_present()
            raise
