"""What is looked for in a library: pictures, codes, or pictures that are in it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from narrows.data.arrays import as_array_like, read_rows
from narrows.errors import DataError, ParameterError
from narrows.library.given import understand
from narrows.library.pictures import StoredPictures
from narrows.models.validation import check_codes

# Distances and rows, both (n,), the nearest first.
Found = tuple[NDArray[np.floating], NDArray[np.int64]]


@dataclass(frozen=True)
class Queries:
    """What is looked for, as codes; as pictures only if somebody asks for them.

    Attributes
    ----------
    codes : ndarray of float32 and shape (Q, K)
        Of the queries.
    single : bool
        Whether one query was meant, rather than a number of them.
    rows : ndarray of int64 and shape (Q,), or None
        The rows that the queries have in the library, if that is where they are from.
    """

    codes: NDArray[np.float32]
    single: bool
    rows: NDArray[np.int64] | None
    _read: Callable[[], NDArray[Any]]

    @classmethod
    def of(
        cls,
        query: Any,
        codes: Any,
        ids: Any,
        library: StoredPictures,
        all_codes: Callable[[], NDArray[np.float32]],
    ) -> Self:
        """Tell what a user gave, of which there has to be one thing.

        Parameters
        ----------
        query, codes, ids
            As for :meth:`narrows.Library.match`.
        library : StoredPictures
            Where it is looked for.
        all_codes : callable
            Gives the codes of all its rows, (n, K).
        """
        given = {"a query": query, "codes": codes, "ids": ids}
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            raise ParameterError(
                f"{' and '.join(named) or 'nothing'} given to look for; "
                "give a query, codes or ids, one of them"
            )
        if codes is not None:
            return cls._of_codes(codes, library)
        if ids is not None:
            single = getattr(ids, "ndim", int(isinstance(ids, Iterable))) == 0
            rows = library.table.rows_of([ids] if single else ids)
            return cls(all_codes()[rows], single, rows, lambda: library.read(rows))
        pictures = understand(query, library.encoder)
        values = pictures.read()
        return cls(library.encoder.transform(values), pictures.single, None, lambda: values)

    @classmethod
    def _of_codes(cls, given: Any, library: StoredPictures) -> Self:
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
        """The queries' pictures, (Q, *sample_shape), in the data's units; of codes, restored."""
        return self._read()

    def without_themselves(self, distances: Any, rows: Any, count: int) -> list[Found]:
        """Keep what was found, (Q, n), but for the queries' own rows; at most so many of each."""
        if self.rows is None:
            return list(zip(distances[:, :count], rows[:, :count], strict=True))
        others = rows != self.rows[:, None]
        return [
            (one[keep][:count], places[keep][:count])
            for one, places, keep in zip(distances, rows, others, strict=True)
        ]
