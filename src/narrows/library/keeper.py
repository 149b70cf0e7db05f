"""A library as its keeper sees it: its rows are changed, put in order, checked and moved."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.decoding import Progress
from narrows.errors import FormatError, ParameterError
from narrows.library import commits, folder
from narrows.library.checks import Checks
from narrows.library.columns import fit_metadata, new_fields, spread, understand_metadata
from narrows.library.reader import Reader
from narrows.library.table import Table
from narrows.library.verify import Problem, Rows, Verification
from narrows.models import BaseAutoencoder, Encoder


class Keeper(Reader):
    """What :class:`narrows.Library` does with the rows that it has."""

    def remove(
        self, ids: Sequence[int] | NDArray[np.int64] | None = None, *, where: str | None = None
    ) -> int:
        """Remove pictures from the library; their ids are not given again.

        Parameters
        ----------
        ids : sequence of int, optional
            Of the pictures.
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
            The ids of the pictures, each once; or a filter of columns (``docs/filters.md``), such
            as ``"label = 'boot' AND year > 2010"``.
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
        with folder.turn(self.path, self._contents) as turn:
            table = turn.table
            ids = table.ids_where(which) if isinstance(which, str) else _once(table, which)
            count = len(ids)
            columns = understand_metadata(spread(metadata, count), count)
            columns = fit_metadata(columns, table.dataset.schema)
            if count and columns.num_columns:
                table = commits.extend(table, new_fields(columns, table.dataset.schema))
                turn.publish(commits.update(table, ids, columns), updated=ids)
        self.refresh()
        return count

    def compact(self, *, keep: timedelta = timedelta(hours=1)) -> int:
        """Put together what many additions have scattered, and free what nobody reads any more.

        Parameters
        ----------
        keep : timedelta, default=timedelta(hours=1)
            What removed pictures and earlier versions took is freed if it is older than this.
            Readers that opened the library before that, and have not refreshed, have to. What was
            there before :meth:`verify` repaired or :meth:`reencode` moved it is freed in any case.

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
        with folder.turn(self.path, self._contents) as turn:
            turn.publish_moved(commits.compact(turn.table))
            freed = commits.forget(turn.table, keep) + turn.clean()
        self.refresh()
        return freed

    def verify(self, *, repair: bool = False, progress: Progress | None = None) -> Verification:
        """Look at every file and row: is it what was written, and what the model gives.

        Whether each file's contents are those that were written, by their SHA-256, and otherwise
        which values of which rows are others, by a CRC-32 of each. Whether the picture's bytes are
        those that were added (by their SHA-256) and can be decoded; whether the code is what the
        model gives, but for rounding in single precision; whether the id is one that was given,
        and only once; whether all columns can be read, and its thumbnail is a picture.

        Parameters
        ----------
        repair : bool, default=False
            Whether what is wrong is put right, in one step: rows that cannot be read are removed,
            codes and thumbnails are made again, ids that two rows have are replaced by new ones.
            A single flipped bit of a file is put back. A value that is not the one that was
            written is replaced by that one if its checksum tells which it was; otherwise a path
            becomes the id, and a value of one's own becomes null. Each of these is among the
            problems.
            The library is written anew beside the old one for that, whose room :meth:`compact`
            frees. What an interrupted addition has left is lost. Where the list of removed rows
            is, they come back, since they cannot be told from the others; of a picture that was
            removed and added again only the later row is kept.
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
            When repairing, as :meth:`add`.

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
            return self._look_at_rows(*self._checks(), progress).verify()
        with folder.writing(self.path) as path:
            self._contents = contents = folder.still(path, self._contents)
            checks, problems = self._checks()
            found = self._look_at_rows(checks, problems, progress).verify()
            left = found
            if not found.ok and checks is not None and checks.put_back():
                checks, problems = self._checks()
                left = self._look_at_rows(checks, problems).verify()
                more = [problem for problem in left.problems if problem not in found.problems]
                found = replace(found, problems=found.problems + more, repaired=True)
            if any(problem.repair != "keep" for problem in left.problems):
                rows = self._look_at_rows(checks, [])
                folder.rewrite(path, self.model, rows.fill, contents.next_id)
                found = replace(found, repaired=True)
            elif checks is None:
                folder.record(path, contents)
        self.refresh()
        return found

    def _look_at_rows(
        self, checks: Checks | None, problems: list[Problem], progress: Progress | None = None
    ) -> Rows:
        table = self._contents.open_table(self.path)
        rows = Rows(table, self._halves[0], self._contents.next_id, progress, checks)
        rows.problems += problems
        return rows

    def _checks(self) -> tuple[Checks | None, list[Problem]]:
        """Read the checksums of what is published now, or say what is wrong with them."""
        while True:
            contents = self._contents
            if contents.checks is None:
                return None, []
            try:
                return Checks.read(self.path, contents.checks), []
            except FormatError as error:
                # A writer may have replaced them.
                if self.refresh()._contents == contents:
                    return None, [Problem(None, None, str(error).partition(";")[0], "correct")]

    def reencode(
        self, model: BaseAutoencoder | Encoder, *, progress: Progress | None = None
    ) -> int:
        """Move to another model: encode every picture anew, and show all the new codes at once.

        Ids, paths, pictures and columns of one's own stay. Until the last moment, and if anything
        goes wrong, the library is what it was.

        Parameters
        ----------
        model : BaseAutoencoder or Encoder
            A fitted model, of which the library keeps a copy. It may want pictures of another
            size if they are stored as files.
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
        The table and the model are written anew beside the old ones, with which readers that
        opened the library before go on until they :meth:`refresh`. The room of the old ones is
        freed by the next :meth:`compact`.

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
        folder.check_model(model)
        encoder, _ = folder.halves(model)
        with folder.turn(self.path, self._contents) as turn:
            turn.clean()
            contents = turn.contents
            rows = Rows(
                turn.table, encoder, contents.next_id, progress, turn.checks, reencoding=True
            )
            folder.rewrite(turn.path, model, rows.fill, contents.next_id)
        self.refresh()
        return len(self)


def _once(table: Table, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Check that there are pictures of these ids, and none of them twice."""
    found: NDArray[np.int64] = table.ids[table.rows_of(ids)]
    values, counts = np.unique(found, return_counts=True)
    if len(values) < len(found):
        raise ParameterError(
            f"the id {values[counts > 1][0]} is given more than once; give each picture one row"
        )
    return found
