"""Pictures of a library, as they are handed out: by themselves, or as what a search finds."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.library.pictures import StoredPictures


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
