"""Convert columns of tables to numbers and rows, and report all their defects in one message."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from narrows.data.dialect import MISSING, Marks, looks_like_number
from narrows.errors import DataError, DataTypeError, warn
from narrows.texts import counted, is_text, listed

EXACT = 2**53
"""Up to this, float64 represents every integer exactly."""

_SHOWN = 4  # columns in a message
_MOST_LINES = 2  # lines of a table that may be units, a header or a total
_LONGEST = 240  # characters of a message that describe columns
_FILLED = "fill gaps in or remove their rows"
_TYPED = "convert other values to numbers"
_SMALLER = "make integers smaller"
_NONE = np.empty(0, np.int64)
_NUMERIC = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_null,
)
_KINDS = (
    (pa.types.is_temporal, "dates or times"),
    (pa.types.is_struct, "structures"),
    (pa.types.is_list, "lists"),
    (pa.types.is_large_list, "lists"),
    (pa.types.is_fixed_size_list, "lists"),
    (pa.types.is_binary, "bytes"),
    (pa.types.is_large_binary, "bytes"),
)
Texts = Callable[[Sequence[int]], Any]

ROWS = "rows"
"""Name of the column of rows if there are several columns of lists."""

Numbers: TypeAlias = Sequence[int] | NDArray[np.int64]
_LISTS = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
_DECIMAL = pa.types.is_decimal


def to_numbers(
    path: Path,
    columns: Sequence[Any],
    names: Sequence[str],
    *,
    marks: Marks | None = None,
    texts: Texts | None = None,
    hint: str = "",
    unsaid: Sequence[str] = ("--decimal", "--thousands"),
) -> list[NDArray[Any]]:
    """Convert the columns of a table to numbers.

    Parameters
    ----------
    path : Path
        Path of the table, for messages.
    columns : sequence of pyarrow.ChunkedArray
    names : sequence of str
        Names of the columns.
    marks : Marks, optional
        Marks of numbers that are still texts.
    texts : callable, optional
        Takes numbers of columns, and reads these as texts.
    hint : str
        End of the message if the first row has a defect: how else it may be read.
    unsaid : sequence of str
        The options for marks of numbers that were not given.

    Returns
    -------
    list of ndarray of shape (n,)
        Booleans, integers or floats, finite and exact in float64.

    Raises
    ------
    DataError
        If a column holds anything else, has no name, or the name of another; the message counts
        all such columns and names the first. DataTypeError if some hold no numbers.
    """
    defects = _Defects(names)
    found: list[NDArray[Any] | None] = []
    for place, given in enumerate(columns):
        column = decoded_column(given)
        if is_text(column):
            marked = f"say how numbers are written ({', '.join(unsaid)})" if unsaid else _TYPED
            numbers = _read_texts(column, marks or Marks(), defects.at(place), marked)
        else:
            numbers = _read(column, defects.at(place))
        if numbers is not None:
            _look(numbers, defects.at(place))
        found.append(numbers)
    if texts is not None:
        _look_at_texts(texts, found, defects)
    defects.check(path, hint, len(columns[0]) if columns else 0)
    return [numbers for numbers in found if numbers is not None]


def check_names(path: Path, names: Sequence[str]) -> None:
    """Refuse columns without a name or with the same name, all in one message.

    Raises
    ------
    DataError
        If there are such columns.
    """
    _Defects(names).check(path)


def check_exact(path: Path, name: str, values: NDArray[Any], numbers: Any) -> None:
    """Refuse integers that float64 cannot represent.

    Parameters
    ----------
    path, name
        Path of the table and name of the column, for the message.
    values : ndarray of shape (n,)
    numbers : sequence of int
        Numbers of the rows in the table.

    Raises
    ------
    DataError
        If there are such; the message has the first.
    """
    if len(rows := _inexact(values)):
        raise DataError(
            f"'{path}' has {values[rows[0]]} in column {name!r}, row {numbers[rows[0]]}, counted "
            "from 0, which is beyond 2^53 and cannot be represented by float64; remove the column "
            "from the file, or make its integers smaller",
            path=path,
            column=name,
        )


class _Defects:
    """The defects of the columns of a table."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._defects: dict[int, list[str]] = {}
        self._remedies: dict[str, None] = {}
        self._untyped = self._in_first = self._has_rows = self._has_digits = False
        self._lines: set[int] = set()  # the rows of all defects, -1 for those of many rows
        places: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(name, []).append(place)
        for name, some in places.items():
            which = ", ".join(str(place + 1) for place in some[:4]) + ", ..." * (len(some) > 4)
            which = f"column{'s' * (len(some) > 1)} {which}"
            if name == "":
                description = f"{which} ha{'ve' if len(some) > 1 else 's'} no name"
                self._say(some[0], description, "name columns (pandas: to_csv(..., index=False))")
            elif len(some) > 1:
                self._say(some[0], f"{shown(name)} is the name of {which}", "name each differently")
        if self._defects:
            self._lines.add(-1)

    def at(self, place: int) -> Callable[..., None]:
        """Return a function that records a defect of a column.

        It takes a description, a remedy, the first row or -1, all rows if they are known, and the
        first text, "" for other values that are no numbers.
        """

        def say(
            words: str, remedy: str, row: int, *, rows: Any = None, text: str | None = None
        ) -> None:
            self._untyped |= text is not None
            self._has_digits |= any(map(str.isdigit, text or ""))
            few = rows if rows is not None and len(rows) <= _MOST_LINES else ()
            self._lines |= set(map(int, few)) or {-1}
            self._in_first |= row == 0
            self._has_rows |= row >= 0
            first = place not in self._defects
            self._say(place, f"{shown(self._names[place])} has {words}" if first else words, remedy)

        return say

    def check(self, path: Path, hint: str = "", n_rows: int = 0) -> None:
        """Raise one error for all defects of a table of ``n_rows`` rows."""
        if not self._defects:
            return
        about = {"path": path, "column": self._names[min(self._defects)]}
        if (line := self._other_lines(n_rows)) is not None:
            raise DataTypeError(f"'{path}': {line}{hint if self._in_first else ''}", **about)
        parts: list[str] = []
        for place in sorted(self._defects):
            words = " and ".join(self._defects[place])
            if len(parts) == _SHOWN or (parts and sum(map(len, parts)) + len(words) > _LONGEST):
                break
            parts.append(words)
        left = len(self._defects) - len(parts)
        more = f"; and {left} more of the {len(self._names)} columns" if left else ""
        remedies = ", ".join(self._remedies)
        hint = hint if self._in_first else ""
        origin = " (rows are counted from 0)" if self._has_rows else ""
        raise (DataTypeError if self._untyped else DataError)(
            f"'{path}': {'; '.join(parts)}{more}{origin}; "
            f"{'only numbers are allowed: ' if self._untyped else ''}{remedies}, or remove the "
            f"columns from the file{hint}",
            **about,
        )

    def _other_lines(self, n_rows: int) -> str | None:
        """Describe the few lines that have all defects, such as units, a header or a total."""
        rows = sorted(self._lines)
        if not self._untyped or rows[0] < 0 or len(rows) > min(_MOST_LINES, n_rows // 3):
            return None
        # Such a line has texts in all columns, or is a footer that begins with a word.
        in_all = len(self._defects) == len(self._names) and (len(rows) == 1 or rows == [0, 1])
        at_end = rows == list(range(n_rows - len(rows), n_rows))
        if not in_all and not (at_end and 0 in self._defects and not self._has_digits):
            return None
        are, lines = ("row", "that line") if len(rows) == 1 else ("rows", "these lines")
        verb = "holds" if len(rows) == 1 else "hold"
        first = self._defects[min(self._defects)][0]
        return (
            f"{are} {' and '.join(map(str, rows))}, counted from 0, {verb} units, names or other "
            f"texts in {counted(len(self._defects), 'column')} of numbers: {first}; remove {lines} "
            "from the file, or convert the texts to numbers"
        )

    def _say(self, place: int, words: str, remedy: str) -> None:
        self._defects.setdefault(place, []).append(words)
        self._remedies[remedy] = None


def decoded_column(column: Any) -> Any:
    """Return a column without categories and extension types, and its texts as one type."""
    column = getattr(column, "storage", column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_text(column):
        column = column.cast(pa.string())
    return column


def _read_texts(
    column: Any, marks: Marks, say: Callable[..., None], marked: str
) -> NDArray[Any] | None:
    """Convert texts with thousands separators to numbers, or record their defects."""
    trimmed = compute.utf8_trim_whitespace(column).fill_null("")
    is_number = compute.match_substring_regex(trimmed, f"^(?:{marks.pattern})$")
    gaps = pa.array(sorted(MISSING))
    is_gap = compute.and_not(compute.is_in(compute.utf8_lower(trimmed), gaps), is_number)
    is_text = compute.invert(compute.or_(is_number, is_gap))
    n_texts, n_gaps = (int(compute.sum(mask).as_py() or 0) for mask in (is_text, is_gap))
    if n_texts:
        row = compute.index(is_text, True).as_py()
        first = trimmed[row].as_py()
        remedy = marked if looks_like_number(first) else _TYPED
        description = f"{counted(n_texts, 'text')}, the first {first[:40]!r} in row {row}"
        say(description, remedy, row, rows=_true(is_text), text=first)
    if n_gaps:
        row = compute.index(is_gap, True).as_py()
        first = repr(trimmed[row].as_py()) if trimmed[row].as_py() else "one"
        description = f"{counted(n_gaps, 'missing value')}, the first {first} in row {row}"
        say(description, _FILLED, row, rows=_true(is_gap))
    if n_texts or n_gaps:
        return None
    return np.asarray(_parse(trimmed, marks).to_numpy())


def _true(mask: Any) -> NDArray[np.int64]:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _parse(texts: Any, marks: Marks) -> Any:
    for sign in marks.removed:
        texts = compute.replace_substring(texts, sign, "")
    return compute.replace_substring(texts, marks.decimal, ".").cast(pa.float64())


def with_numbers(table: Any, marks: Marks) -> Any:
    """Convert columns of texts that are numbers with thousands separators.

    Parameters
    ----------
    table : pyarrow.Table
    marks : Marks
        Marks of its numbers.

    Returns
    -------
    pyarrow.Table
        Null values stay null.
    """
    for place, column in enumerate(table.columns if marks.thousands else ()):
        if is_text(column):
            trimmed = compute.utf8_trim_whitespace(column)
            is_number = compute.match_substring_regex(trimmed, f"^(?:{marks.pattern})$")
            if compute.all(is_number, min_count=1).as_py():
                table = table.set_column(place, table.field(place).name, _parse(trimmed, marks))
    return table


def _read(column: Any, say: Callable[..., None]) -> NDArray[Any] | None:
    """Convert a column to numbers, or record what else it holds."""
    kind = column.type
    what = next((what for is_of, what in _KINDS if is_of(kind)), None)
    if what is not None or not any(is_of(kind) for is_of in _NUMERIC):
        say(f"{what or 'values'} of type {kind}"[:60], _TYPED, -1, text="")
    if column.null_count:
        row = 0 if pa.types.is_null(kind) else column.is_null().index(True).as_py()
        gaps = counted(column.null_count, "missing value")
        say(f"{gaps}, the first one in row {row}", _FILLED, row, rows=_true(column.is_null()))
    if column.null_count or what is not None or not any(is_of(kind) for is_of in _NUMERIC):
        return None
    if pa.types.is_decimal(kind):
        return _whole(column) if kind.scale <= 0 else _floats(column)
    return np.asarray(column.to_numpy())


def _whole(column: Any) -> NDArray[Any]:
    """Convert decimals without a fraction, to 64-bit integers if these hold them."""
    try:
        return np.asarray(column.cast(pa.int64()).to_numpy())
    except pa.ArrowInvalid:
        return _floats(column)


def _floats(column: Any) -> NDArray[Any]:
    return np.asarray(column.cast(pa.float64()).to_numpy())


def _look(values: NDArray[Any], say: Callable[..., None]) -> None:
    """Record numbers that models cannot use."""
    if len(rows := _inexact(values)):
        say(_words(rows), _SMALLER, rows[0])
    if values.dtype.kind != "f" or not values.size:
        return
    with np.errstate(all="ignore"):
        if np.isfinite(values.sum()):
            return
    for what, mask in (("missing", np.isnan(values)), ("infinite", np.isinf(values))):
        if mask.any():
            found = counted(int(mask.sum()), f"{what} value")
            say(f"{found}, the first one in row {mask.argmax()}", _FILLED, mask.argmax())


def _inexact(values: NDArray[Any]) -> NDArray[np.int64]:
    """Find the integers that float64 cannot represent."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or not values.size:
        return _NONE
    if int(values.min()) >= -EXACT and int(values.max()) <= EXACT:
        return _NONE
    floats = values.astype(np.float64)
    beyond = floats >= 2.0 ** (63 if values.dtype.kind == "i" else 64)
    back = np.where(beyond, 0, floats).astype(values.dtype)
    return np.flatnonzero(beyond | (back != values))


def _look_at_texts(texts: Texts, found: Sequence[NDArray[Any] | None], defects: _Defects) -> None:
    """Record long integers that were read as floats, and that float64 cannot represent."""
    places = [
        place
        for place, values in enumerate(found)
        if values is not None and values.dtype.kind == "f" and values.size
        if max(values.max(), -values.min()) >= EXACT and np.isfinite(values).all()
    ]
    for place, column in zip(places, texts(places).columns if places else (), strict=True):
        values: Any = found[place]
        written = compute.utf8_trim_whitespace(column).fill_null("")
        whole = np.asarray(compute.match_substring_regex(written, r"^[+-]?\d{16,400}$"))
        rows = [
            row for row in np.flatnonzero(whole) if int(written[row].as_py()) != int(values[row])
        ]
        if rows:
            defects.at(place)(_words(np.array(rows)), _SMALLER, rows[0])


def _words(rows: NDArray[np.int64]) -> str:
    return (
        f"{counted(len(rows), 'integer')} beyond 2^53 that float64 cannot represent, the first in "
        f"row {rows[0]}"
    )


def shown(name: str) -> str:
    """Format the name of a column for messages."""
    return repr(name if len(name) <= 40 else f"{name[:37]}...")


@dataclass(frozen=True)
class Layout:
    """The columns of an Arrow table that make rows: one of lists, or each a feature.

    Attributes
    ----------
    path : Path
        Path of the table, for messages.
    names : list of str
        Names of the columns: one of lists, or some of numbers.
    shape : tuple of int
        Shape of a row.
    dtype : dtype
        Type of the values.
    is_table : bool
        Whether each column is a feature.
    beside : tuple of str
        Columns beside the only one of lists, which are left out with a warning.
    """

    path: Path
    names: list[str]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_table: bool
    beside: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path, schema: pa.Schema, first: Callable[[str], Any]) -> "Layout":
        """Choose the columns.

        Parameters
        ----------
        path : Path
            Path of the table.
        schema : pyarrow.Schema
            Its columns.
        first : callable
            Takes the name of a column, and returns its first value.

        Raises
        ------
        DataError
            If they hold something else than numbers, or several hold lists.
        """
        kinds = {field.name: _storage(field.type) for field in schema}
        lists = [name for name, kind in kinds.items() if _is_list(kind)]
        chosen = [ROWS] if ROWS in kinds else lists
        if len(chosen) > 1:
            raise DataError(
                f"'{path}' has several columns of lists ({', '.join(chosen)}); call the one to "
                f"use '{ROWS}', or save it alone",
                path=path,
                column=chosen[0],
            )
        wrong = [name for name in chosen or kinds if not _makes_rows(kinds[name])]
        if wrong:
            odd = listed((f"{shown(name)} of {str(kinds[name])[:40]}" for name in wrong), most=4)
            one = len(wrong) == 1
            raise DataError(
                f"'{path}' has column{'' if one else 's'} {odd}, where numbers are allowed, "
                f"or lists of them in a column called '{ROWS}'; leave {'it' if one else 'them'} "
                "out, or convert to numbers",
                path=path,
                column=wrong[0],
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
            raise DataError(
                f"'{path}' has empty lists in column {name!r}; give rows with values",
                path=path,
                column=name,
            )
        beside = () if name == ROWS else tuple(other for other in kinds if other != name)
        return cls(path, [name], shape, _numpy_type(kind.value_type), is_table=False, beside=beside)

    def warn(self) -> None:
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
        """Copy the columns' values into rows.

        Parameters
        ----------
        columns : sequence of pyarrow.ChunkedArray
            The columns of :attr:`names`.
        into : ndarray of shape (n, ...)
            The rows.
        numbers : sequence of int
            Numbers of the rows in the table, for messages.

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
        """Return a column's values; lists are joined."""
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
                    "long",
                    path=self.path,
                    column=name,
                )
        inner = chunk.flatten()
        self._check_whole(name, inner, numbers, width)
        return np.asarray(inner.to_numpy(zero_copy_only=False))

    def _check_whole(self, name: str, values: Any, numbers: Numbers, width: int) -> None:
        if values.null_count:
            missing = int(compute.index(values.is_null(), True).as_py()) // width
            raise DataError(
                f"'{self.path}' has no value in column {name!r}, row {numbers[missing]}, counted "
                "from 0; fill it in or remove the row",
                path=self.path,
                column=name,
            )


def has_lists(schema: pa.Schema) -> bool:
    """Return whether a column of a table holds lists or tensors."""
    return any(_is_list(_storage(field.type)) for field in schema)


def _storage(kind: Any) -> Any:
    """Return the storage type: lists for tensors, and the values' type for dictionaries."""
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
