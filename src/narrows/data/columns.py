"""Which columns of an Arrow table make rows, and how: one of lists, or each of them a feature."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from narrows.data.numbers import check_exact, shown
from narrows.data.text import listed
from narrows.errors import DataError, warn

ROWS = "rows"
"""What the column of rows is called where there are several of lists."""

Numbers: TypeAlias = Sequence[int] | NDArray[np.int64]

_LISTS = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
_DECIMAL = pa.types.is_decimal


@dataclass(frozen=True)
class Layout:
    """How the columns of a table make rows.

    Attributes
    ----------
    path : Path
        Of the table, for messages.
    names : list of str
        The columns that make the rows: one of lists, or some of numbers.
    shape : tuple of int
        Of a row.
    dtype : dtype
        Of the values.
    is_table : bool
        Whether each column is a feature.
    beside : tuple of str
        Columns that are left out as they stand beside the only one of lists, whose name does not
        say that it holds the rows.
    """

    path: Path
    names: list[str]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_table: bool
    beside: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, schema: pa.Schema, first: Callable[[str], Any]) -> "Layout":
        """Choose them.

        Parameters
        ----------
        path : Path
            Of the table.
        schema : pyarrow.Schema
            Its columns.
        first : callable
            Gives the first value of a column.

        Raises
        ------
        DataError
            If they hold something else than numbers, or it is not clear which of them are meant.
        """
        kinds = {field.name: _storage(field.type) for field in schema}
        lists = [name for name, kind in kinds.items() if _is_list(kind)]
        chosen = [ROWS] if ROWS in kinds else lists
        if len(chosen) > 1:
            raise DataError(
                f"'{path}' has several columns of lists ({', '.join(chosen)}); call the one to "
                f"use '{ROWS}', or save it alone"
            )
        wrong = [name for name in chosen or kinds if not _makes_rows(kinds[name])]
        if wrong:
            told = listed((f"{shown(name)} of {str(kinds[name])[:40]}" for name in wrong), most=4)
            one = len(wrong) == 1
            raise DataError(
                f"'{path}' has column{'' if one else 's'} {told}, where numbers are allowed, "
                f"or lists of them in a column called '{ROWS}'; leave {'it' if one else 'them'} "
                "out, or convert to numbers"
            )
        if not chosen:
            types = [_numpy_type(kind) for kind in kinds.values()]
            return cls(path, list(kinds), (len(kinds),), np.result_type(np.float32, *types), True)
        name = chosen[0]
        kind, given = kinds[name], schema.field(name).type
        if not _is_list(kind):
            return cls(path, [name], (1,), _numpy_type(kind), is_table=False)
        shape = tuple(getattr(given, "shape", ()))
        if not shape and pa.types.is_fixed_size_list(kind):
            shape = (kind.list_size,)
        elif not shape:
            value = first(name)
            shape = (0 if value is None else len(value),)
        if not math.prod(shape):
            raise DataError(f"'{path}' has empty lists in column {name!r}; give rows with values")
        beside = () if name == ROWS else tuple(other for other in kinds if other != name)
        return cls(path, [name], shape, _numpy_type(kind.value_type), is_table=False, beside=beside)

    def tell(self) -> None:
        """Warn of columns that are left out ("columns_left_out")."""
        if self.beside:
            warn(
                f"'{self.path}': rows are the lists in column {shown(self.names[0])}, and other "
                f"columns were left out: {listed(map(shown, self.beside), most=4)}; call the "
                f"column of lists '{ROWS}', or save it alone",
                kind="columns_left_out",
                path=str(self.path),
                columns=list(self.beside),
            )

    def fill(self, columns: Sequence[Any], into: NDArray[Any], numbers: Numbers) -> None:
        """Write the columns' values into rows.

        Parameters
        ----------
        columns : sequence of pyarrow.ChunkedArray
            Those of :attr:`names`.
        into : ndarray of shape (n, ...)
            The rows.
        numbers : sequence of int
            Of the rows in their table, for messages.

        Raises
        ------
        DataError
            If a value is missing, or lists are not equally long.
        """
        flat = into.reshape(len(into), -1)
        for place, (name, column) in enumerate(zip(self.names, columns, strict=True)):
            done = 0
            for chunk in column.chunks:
                values = self._values(name, chunk, numbers[done : done + len(chunk)])
                if self.is_table:
                    flat[done : done + len(chunk), place] = values
                else:
                    flat[done : done + len(chunk)] = values.reshape(len(chunk), -1)
                done += len(chunk)

    def _values(self, name: str, chunk: Any, numbers: Numbers) -> NDArray[Any]:
        """Return a column's values, those of lists one after another."""
        chunk = getattr(chunk, "storage", chunk)
        if pa.types.is_dictionary(chunk.type):
            chunk = chunk.dictionary_decode()
        self._check_whole(name, chunk, numbers, 1)
        kind = chunk.type
        if _DECIMAL(kind):
            chunk = chunk.cast(pa.float64())
        if not _is_list(kind):
            values = np.asarray(chunk.to_numpy(zero_copy_only=False))
            if self.is_table:
                check_exact(self.path, name, values, numbers)
            return values
        width = math.prod(self.shape)
        if not pa.types.is_fixed_size_list(kind):
            lengths = compute.list_value_length(chunk).to_numpy()
            if (lengths != width).any():
                wrong = int(np.flatnonzero(lengths != width)[0])
                raise DataError(
                    f"'{self.path}' has {lengths[wrong]} values in row {numbers[wrong]} of column "
                    f"{name!r}, counted from 0, where {width} are expected; make all rows equally "
                    "long"
                )
        inner = chunk.flatten()
        self._check_whole(name, inner, numbers, width)
        return np.asarray(inner.to_numpy(zero_copy_only=False))

    def _check_whole(self, name: str, values: Any, numbers: Numbers, width: int) -> None:
        if values.null_count:
            missing = int(compute.index(values.is_null(), True).as_py()) // width
            raise DataError(
                f"'{self.path}' has no value in column {name!r}, row {numbers[missing]}, counted "
                "from 0; fill it in or remove the row"
            )


def has_lists(schema: pa.Schema) -> bool:
    """Tell whether a column of a table holds lists or tensors."""
    return any(_is_list(_storage(field.type)) for field in schema)


def _storage(kind: Any) -> Any:
    """Return what a type is stored as: tensors of one shape are lists."""
    kind = getattr(kind, "storage_type", kind)
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_list(kind: Any) -> bool:
    return any(is_of(kind) for is_of in _LISTS)


def _makes_rows(kind: Any) -> bool:
    inner = kind.value_type if _is_list(kind) else kind
    return _is_number(inner) and not (_is_list(kind) and _DECIMAL(inner))


def _is_number(kind: Any) -> bool:
    return any(
        is_of(kind)
        for is_of in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, _DECIMAL)
    )


def _numpy_type(kind: Any) -> np.dtype[Any]:
    return np.dtype(np.float64 if _DECIMAL(kind) else kind.to_pandas_dtype())
