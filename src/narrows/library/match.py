"""Queries to a library, by pictures, codes or ids, and the items and matches that it returns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from narrows.data.arrays import as_array_like, read_rows
from narrows.errors import DataError, ParameterError
from narrows.library.given import understand
from narrows.library.pictures import StoredPictures
from narrows.models.validation import check_codes


@dataclass(frozen=True)
class Item:
    """One picture of a library, and what is known of it.

    Attributes
    ----------
    id : int
        The picture's number in its library; unique there, and never changed.
    path : str
        Where the picture came from.
    metadata : dict
        What users' columns say of it; None where they say nothing.
    """

    id: int
    path: str
    metadata: dict[str, Any]
    _row: int = field(repr=False, compare=False)
    _pictures: StoredPictures = field(repr=False, compare=False)

    @cached_property
    def picture(self) -> NDArray[Any]:
        """The picture as stored, of shape ``sample_shape_``; read when first asked for.

        In the units of the model's training data: of a model trained on uint8 pixels, a file's
        picture is uint8. ``library.model.scaling_.to_pixels`` makes pixels of any units.
        """
        picture: NDArray[Any] = self._pictures.read([self._row])[0]
        return picture

    @cached_property
    def thumbnail(self) -> NDArray[np.uint8]:
        """The picture to look at: uint8 of shape (height, width), or (height, width, 3) in colour.

        In the picture's own proportions, upright, of 128 pixels at most in height and width; kept
        in the library, also where it only refers to the file. Of what was added as an array, it
        is the array.

        Raises
        ------
        LibraryError
            If the library's rows are no pictures.
        """
        return self._pictures.thumbnail(self._row)

    @cached_property
    def decoded(self) -> NDArray[np.float32]:
        """The picture restored from its code alone, of the same shape and units, float32.

        Raises
        ------
        LibraryError
            If the library was made with an encoder alone.
        """
        picture: NDArray[np.float32] = self._pictures.restore(self.code[None])[0]
        return picture

    @cached_property
    def code(self) -> NDArray[np.float32]:
        """The picture's code, (K,)."""
        return self._pictures.code(self._row)


@dataclass(frozen=True)
class Match(Item):
    """One picture of a library, and how far it is from what was looked for.

    It has the attributes of :class:`Item`, and one more.

    Attributes
    ----------
    distance : float
        Between the codes, or between the pixels after re-ranking; see
        :meth:`narrows.Library.match`.
    """

    distance: float = field(kw_only=True)


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
