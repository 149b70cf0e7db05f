"""A library of pictures: encode them once, find the nearest to one's own from then on."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from narrows.data.images import Progress
from narrows.errors import ParameterError
from narrows.library import commits, folder
from narrows.library.adding import Added, Addition
from narrows.library.columns import fit_metadata, new_fields, spread, understand_metadata
from narrows.library.given import Store
from narrows.library.reader import Reader
from narrows.library.table import Table
from narrows.models import BaseAutoencoder, Encoder


class Library(Reader):
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
        metadata: Any = None,
        store: Store = "pictures",
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
        X, names, metadata, store, skip_unreadable, progress
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
        addition = Addition.of(
            X,
            encoder,
            names=names,
            metadata=metadata,
            store=store,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )
        library = cls.open(folder.create(path, model, addition.fill, overwrite=overwrite))
        return library, addition.report(len(library))

    def add(
        self,
        X: Any,
        *,
        names: Sequence[str] | None = None,
        metadata: Any = None,
        store: Store = "pictures",
        skip_unreadable: bool = False,
        progress: Progress | None = None,
    ) -> Added:
        """Encode the pictures that are not there yet and add them: all in one step, or none.

        Pictures are the same if they are so byte by byte, whatever they are called; the path of the
        first stays. What is in the library already is not encoded again.

        Parameters
        ----------
        X : path, sequence of paths, or array-like of shape (n, *sample_shape_)
            A folder of pictures, a picture, several pictures, any file of data that
            :func:`narrows.data.files.read` knows, or pictures in memory, in the units of the
            model's training data. Picture files are kept byte for byte, arrays as they are.
        names : sequence of str, optional
            What the matches' ``path`` says, one for each picture; by default the file's path
            as given, the file's and the row's name (``data.npy[7]``), or the id for an array.
        metadata : DataFrame, pyarrow.Table, or mapping of str to sequence, optional
            Columns of one's own, a row for each picture: numbers, texts, truth values, dates or
            times. Columns that the library has keep their types; new ones are null in the rows
            that there are.
        store : {"pictures", "references"}, default="pictures"
            With "references", picture files stay where they are and the library keeps their
            absolute paths and thumbnails instead. Whoever needs a picture then reads its file,
            and is told if that is gone or has changed.
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
            If there are not as many names or rows of metadata as pictures, the metadata are no
            columns, or rows of data are to be referred to.
        LibraryError
            If the library was replaced by another since it was opened.
        OutputError
            If the library cannot be written.

        Notes
        -----
        Another process or thread that writes to the same library waits until this is done. One that
        only matches does not wait, and sees the new pictures after :meth:`refresh`.

        If it is interrupted, readers see nothing of it. The same addition, begun again, goes on
        where it stopped, give or take some thousand pictures.
        """
        addition = Addition.of(
            X,
            self._halves[0],
            names=names,
            metadata=metadata,
            store=store,
            skip_unreadable=skip_unreadable,
            progress=progress,
        )
        with folder.turn(self.path, self._contents, resume=True) as turn:
            added = addition.join(turn)
        self.refresh()
        return added

    def remove(
        self, ids: Sequence[int] | NDArray[np.int64] | None = None, *, where: str | None = None
    ) -> int:
        """Remove pictures from the library; their ids are not given again.

        Parameters
        ----------
        ids : sequence of int, optional
            Of the pictures.
        where : str, optional
            Instead of ids: a filter of columns, in SQL, such as ``"added < '2026-01-01'"``.

        Returns
        -------
        int
            How many were removed.

        Raises
        ------
        ParameterError
            If neither or both are given, there is no picture of an id, or the filter is none.
        LibraryError, OutputError
            As :meth:`add`.
        """
        if (ids is None) == (where is None):
            raise ParameterError("give the ids of the pictures to remove, or where; one of them")
        with folder.turn(self.path, self._contents) as turn:
            table = turn.table
            if where is not None:
                found = table.ids_where(where)
            else:
                found = np.unique(table.ids[table.rows_of(ids if ids is not None else [])])
            if len(found):
                turn.publish(commits.remove(table, found.tolist()))
        self.refresh()
        return len(found)

    def update(self, which: Sequence[int] | NDArray[np.int64] | str, metadata: Any) -> int:
        """Change columns of one's own, or add some, for pictures that are there: all, or nothing.

        Parameters
        ----------
        which : sequence of int, or str
            The ids of the pictures, each once; or a filter of columns, in SQL, such as
            ``"label = 'boot' AND year > 2010"``.
        metadata : DataFrame, pyarrow.Table, or mapping of str to sequence or to a single value
            The columns that change, a row for each picture: in the order of ``which``, or of the
            ids if that is a filter. A single value, None among them, is for all of these pictures.
            Types and new columns are as for :meth:`add`; other columns and ids stay.

        Returns
        -------
        int
            How many pictures these are.

        Raises
        ------
        ParameterError
            If there is no picture of an id, an id is there twice, the filter is none, or the
            metadata are no columns or have another length.
        DataError
            If a value does not fit its column.
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
        with folder.turn(self.path, self._contents) as turn:
            table = turn.table
            ids = table.ids_where(which) if isinstance(which, str) else _once(table, which)
            count = len(ids)
            columns = understand_metadata(spread(metadata, count), count)
            columns = fit_metadata(columns, table.dataset.schema)
            if count and columns.num_columns:
                table = commits.extend(table, new_fields(columns, table.dataset.schema))
                turn.publish(commits.update(table, ids, columns))
        self.refresh()
        return count

    def compact(self, *, keep: timedelta = timedelta(hours=1)) -> int:
        """Put together what many additions have scattered, and free what nobody reads any more.

        Parameters
        ----------
        keep : timedelta, default=timedelta(hours=1)
            What removed pictures and earlier versions took is freed if it is older than this.
            Readers that opened the library before that, and have not refreshed, have to.

        Returns
        -------
        int
            How many bytes were freed.

        Raises
        ------
        LibraryError, OutputError
            As :meth:`add`.
        """
        with folder.turn(self.path, self._contents) as turn:
            turn.publish(commits.compact(turn.table))
            freed = commits.forget(turn.table, keep)
            turn.clean()
        self.refresh()
        return freed


def _once(table: Table, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Check that there are pictures of these ids, and none of them twice."""
    found: NDArray[np.int64] = table.ids[table.rows_of(ids)]
    values, counts = np.unique(found, return_counts=True)
    if len(values) < len(found):
        raise ParameterError(
            f"the id {values[counts > 1][0]} is given more than once; give each picture one row"
        )
    return found


def _check_model(model: object) -> None:
    if not isinstance(model, BaseAutoencoder | Encoder):
        raise ParameterError(
            f"model is a {type(model).__name__}, which makes no codes for a library; "
            "give a fitted Autoencoder, or the Encoder of one"
        )
