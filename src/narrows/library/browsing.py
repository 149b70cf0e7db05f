"""What is in a library, looked at by itself: pictures, codes, columns and filters."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.errors import ParameterError
from narrows.library import folder
from narrows.library.match import Item
from narrows.library.pictures import StoredPictures
from narrows.library.table import Table
from narrows.models import BaseAutoencoder, Decoder, Encoder


class Browsing:
    """What :class:`narrows.Library` knows of its pictures without comparing them."""

    _table: Table
    _codes: NDArray[np.float32] | None

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

    @property
    def columns(self) -> dict[str, str]:
        """One's own columns: the name and the type of each, as Arrow calls it."""
        return {
            name: str(self._table.dataset.schema.field(name).type) for name in self._table.metadata
        }

    def read(self, ids: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Read pictures by their ids, (n, *sample_shape_), in the model's units.

        Raises
        ------
        ParameterError
            If there is no picture of an id.
        MissingFileError, UnreadableFileError
            If the library only refers to a file, and that is gone or has changed.
        """
        rows = self._table.rows_of(ids)
        return self._pictures.read(rows)

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

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all pictures, (n,), ascending."""
        return self._table.ids.copy()

    @property
    def codes(self) -> NDArray[np.float32]:
        """The codes of all pictures, (n, K), in the order of :attr:`ids`."""
        return self._all_codes().copy()

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

    def _items(self, rows: NDArray[np.int64]) -> list[Item]:
        """Read what is known of rows, in their order."""
        known = self._table.take(rows, "id", "path", *self._table.metadata)
        pictures = self._pictures
        return [
            Item(one.pop("id"), one.pop("path"), one, int(row), pictures)
            for row, one in zip(rows, known, strict=True)
        ]

    @property
    def model(self) -> BaseAutoencoder | Encoder:
        """The library's copy of its model, loaded when first needed."""
        raise NotImplementedError

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
