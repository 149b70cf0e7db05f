"""What a map's distances are between: rows as they are, a model's codes, or what these restore."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from narrows.data.arrays import as_tensor
from narrows.data.scratch import fits
from narrows.errors import DataError, ParameterError
from narrows.evaluation.given import flat_rows
from narrows.models.base import BaseAutoencoder
from narrows.models.halves import Encoder

Distances = Literal["auto", "restored", "codes"]
DISTANCES: tuple[Distances, ...] = ("auto", "restored", "codes")

# Values of all restored rows together, beyond which codes are used: half a gigabyte.
_MOST_VALUES = 2**27
# Each in single precision, twice.
_BYTES_A_VALUE = 8


@dataclass(frozen=True)
class Space:
    """Where rows of any shape are numbers in a table, whose distances count.

    Attributes
    ----------
    kind : {"rows", "codes", "restored"}
        Of what the numbers are; restored rows are scaled as the model scales them.
    model : BaseAutoencoder, Encoder or None
    row_shape : tuple of int
        Of what :meth:`rows` gives.
    """

    kind: Literal["rows", "codes", "restored"]
    model: BaseAutoencoder | Encoder | None
    row_shape: tuple[int, ...]

    @classmethod
    def of(cls, X: Any, model: BaseAutoencoder | Encoder | None, distances: Distances) -> "Space":
        """Choose the space of a map of rows.

        Raises
        ------
        ParameterError
            If restored rows are wished for, and there is nothing to restore them.
        """
        if model is None:
            return cls("rows", None, tuple(np.shape(X)[1:]))
        whole = isinstance(model, BaseAutoencoder)
        if distances == "restored" and not whole:
            raise ParameterError(
                "distances='restored' needs a whole model, and this is an encoder; use 'codes'"
            )
        shape = model.sample_shape_
        n_values = len(X) * math.prod(shape)
        are_few = n_values <= _MOST_VALUES and fits(_BYTES_A_VALUE * n_values)
        if distances == "restored" or (
            distances == "auto" and whole and are_few and not model.takes_any_size_
        ):
            return cls("restored", model, shape)
        return cls("codes", model, ())

    def table(self, X: Any) -> NDArray[Any]:
        """Turn rows into a table (n, F).

        Raises
        ------
        DataError
            If they are not like those that the map is of.
        """
        if self.model is None:
            table = flat_rows(X)
            width = math.prod(self.row_shape)
            if table.shape[1] != width:
                raise DataError(
                    f"rows of {table.shape[1]} numbers were given to a map of rows of {width}; "
                    "give rows like those that it was made from"
                )
            return table
        if self.kind == "codes" or isinstance(self.model, Encoder):
            return self.model.transform(X)
        restored = self.model.inverse_transform(self.model.transform(X))
        scaled: NDArray[Any] = self.model.scaling_(as_tensor(restored)).flatten(1).numpy()
        return scaled

    def rows(self, table: NDArray[Any]) -> NDArray[Any]:
        """Turn a table (n, F) into rows; codes stay codes."""
        if self.kind == "codes":
            return table
        shaped = table.reshape(len(table), *self.row_shape)
        if self.model is None:
            return shaped
        undone: NDArray[Any] = self.model.scaling_.undo(as_tensor(shaped)).numpy()
        return undone
