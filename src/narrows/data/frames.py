"""Tables of any library as Arrow columns, and Arrow columns as a table of the same library.

The tables are pandas and polars data frames, Arrow tables, structured arrays, and arrays or lists
of rows. A table that is built from new values has the kind, columns, order and types of its source.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute
from sklearn.utils.validation import check_array

from narrows.data.arrays import as_array_like, read_rows
from narrows.data.dialect import MISSING, Marks
from narrows.data.formats import DEFAULTS, FileOptions, is_numeric, is_table
from narrows.data.numbers import check_names
from narrows.data.tables import read_columns, write_columns
from narrows.data.text_tables import guarded_table, read_text_table
from narrows.errors import (
    DataError,
    DataTypeError,
    MissingDependencyError,
    warn,
)
from narrows.texts import is_text, listed

FrameKind = Literal["pandas", "polars", "arrow", "structured", "array"]
FRAME_KINDS: tuple[FrameKind, ...] = get_args(FrameKind)
GAPS = frozenset(
    {"", "na", "n/a", "n.a.", "#n/a", "nan", "nat", "<na>", "null", "?",
     *(word for word in MISSING if word.startswith("#"))}
)  # fmt: skip
"""Texts that are gaps in any column, in lower case; among numbers all missing values are."""

Mask = NDArray[np.bool_]
_SCALARS = (str, int, float, bool)
# Values of several types, integers beyond 64 bits, and texts that are not UTF-8.
_NO_ARROW = (pa.ArrowException, OverflowError, UnicodeEncodeError)
_ROWS_WRITTEN = 4096  # at a time


@dataclass(frozen=True)
class Values:
    """The values of one column.

    Attributes
    ----------
    array : pyarrow.Array of length n
        The values; gaps are null or NaN.
    is_category : bool
        Whether the table itself says that the column holds categories.
    is_tagged : bool
        Whether the values have several types, and are written as JSON.
    other : str
        What the column holds, if no model can learn from it; the array has True for each value
        then.
    """

    array: Any
    is_category: bool = False
    is_tagged: bool = False
    other: str = ""


@dataclass(frozen=True)
class Frame:
    """A table of any library, read as columns.

    Attributes
    ----------
    kind : str
        "pandas", "polars", "arrow", "structured" or "array".
    names : list of str
        The names of the columns; those of an array are x0, x1 and so on.
    columns : list of Values
    source : object
        The table itself.
    is_named : bool
        Whether the names are the table's own, and texts.
    marks : Marks or None
        How numbers in texts are written, if the reader of the file knows.
    """

    kind: FrameKind
    names: list[str]
    columns: list[Values]
    source: Any
    is_named: bool
    marks: Marks | None = None

    def __len__(self) -> int:
        return len(self.columns[0].array)

    def rows(self, chosen: NDArray[Any]) -> "Frame":
        """Return some rows, by their numbers or a mask."""
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        indices = pa.array(numbers, pa.int64())
        columns = [replace(values, array=values.array.take(indices)) for values in self.columns]
        return replace(self, columns=columns, source=None)

    def as_arrow(self) -> "Frame":
        """Return the same columns as those of an Arrow table; values of several types as texts."""
        if self.kind == "arrow":
            return self
        table = pa.table([values.array for values in self.columns], names=self.names)
        return replace(self, kind="arrow", source=table)

    def replaced(self, columns: "Made") -> Any:
        """Return a table of the source's kind and types with new values in some columns.

        Parameters
        ----------
        columns : mapping of int to (pyarrow.Array, ndarray of bool and shape (n,) or None)
            By the place of the column, its new values, and which of its values they replace; None
            for all.
        """
        write = {
            "pandas": _into_pandas, "polars": _into_polars, "arrow": _into_arrow,
            "structured": _into_array, "array": _into_array,
        }[self.kind]  # fmt: skip
        changed = {
            place: (array, mask)
            for place, (array, mask) in columns.items()
            if (len(array) if mask is None else mask.any())
        }
        return write(self, changed)


def frame_of_kinds(X: Any) -> Frame | None:
    """Read a table if it has gaps or columns of other values than numbers; otherwise return None.

    Parameters
    ----------
    X : object
        A DataFrame of pandas or polars, an Arrow table or a Frame; anything else is None.
    """
    if isinstance(X, Frame):
        return X
    if not (hasattr(X, "iloc") or hasattr(X, "get_columns") or isinstance(X, pa.Table)):
        return None
    frame = read_frame(X)
    for values in frame.columns:
        kind = values.array.type
        is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
        if not (is_number or pa.types.is_boolean(kind)) or values.other or values.is_tagged:
            return frame
        if compute.any(compute.is_null(values.array, nan_is_null=True)).as_py():
            return frame
    return None


def read_frame(X: Any, *, at_least: int = 1, owner: str = "TableAutoencoder") -> Frame:
    """Read a table of any kind.

    Parameters
    ----------
    X : array-like of shape (n, F), DataFrame of pandas or polars, Arrow table or path
        The table.
    at_least : int
        The fewest rows.
    owner : str
        The estimator, for messages.

    Raises
    ------
    DataError
        If it is no table, has too few rows or no columns, or columns of one name.
    """
    if isinstance(X, Frame):
        frame = X
    elif isinstance(X, str | Path):
        frame = read_file(Path(X))
    elif hasattr(X, "iloc") and hasattr(X, "columns"):
        columns = [_of_pandas(X.iloc[:, place]) for place in range(X.shape[1])]
        frame = _frame("pandas", list(X.columns), columns, X)
    elif hasattr(X, "get_columns") and hasattr(X, "to_arrow"):
        frame = _frame("polars", X.columns, list(map(_of_polars, X.get_columns())), X)
    elif isinstance(X, pa.Table):
        frame = _frame("arrow", X.column_names, list(map(_of_arrow, X.columns)), X)
    elif isinstance(X, np.ndarray) and X.dtype.names is not None:
        fields = [_of_objects(X[name].tolist(), X[name].dtype) for name in X.dtype.names]
        frame = _frame("structured", list(X.dtype.names), fields, X)
    else:
        frame = _read_array(X, owner)
    if repeated := [name for name, count in Counter(frame.names).items() if count > 1]:
        raise DataError(
            f"the columns {listed(map(repr, repeated), 3)} come more than once; name every one once"
        )
    shape = (len(frame) if frame.columns else len(frame.source), len(frame.columns))
    if not frame.columns:
        raise DataError(
            f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required by "
            f"{owner}; give a table with columns"
        )
    if shape[0] < at_least:
        raise DataError(
            f"Found array with {shape[0]} sample(s) (shape={shape}) while a minimum of {at_least} "
            f"is required by {owner}; give more rows"
        )
    return frame


def read_file(
    path: Path, options: FileOptions = DEFAULTS, known: Sequence[str] | None = None
) -> Frame:
    """Read a table from a file: text with every value as it is written, or Parquet.

    Parameters
    ----------
    path, options, known
        As for :func:`narrows.data.tables.read_table`.

    Raises
    ------
    DataError, UnreadableFileError, MissingFileError
        As :func:`narrows.data.tables.read_columns`; also if the file is no table, or how its
        numbers are written is ambiguous.

    Warns
    -----
    NarrowsWarning
        "header_guessed" if a first line with gaps was taken for data.
    """
    if not is_table(path):
        found = read_rows(path)
        if getattr(found, "ndim", 0) != 2:
            raise DataError(
                f"'{path}' holds rows of shape {tuple(found.shape[1:])}, which are no table; give "
                "a table (.csv, .parquet), or use another model",
                path=path,
            )
        return read_frame(np.asarray(found))
    if path.suffix.lower() == ".parquet":
        return read_frame(read_columns(path))
    text = read_text_table(path, options, known=known)
    check_names(path, text.names)
    if text.doubt is not None:
        raise DataError(
            f"'{path}': {text.doubt}, and nothing in its first lines says which; say it "
            "(--decimal , or --thousands , in Python FileOptions)",
            path=path,
        )
    table = text.texts(range(len(text.names))).rename_columns(text.names)
    table = table.slice(0, text.table.num_rows)
    if not text.is_named and any(
        find_gaps(column.slice(0, 1), MISSING)[0] for column in table.columns
    ):
        warn(
            f"the first line of '{path}' was taken for data, though it has gaps; if it holds the "
            "column names: --header, header=True",
            kind="header_guessed",
            path=str(path),
            header=False,
        )
    frame = _frame("arrow", text.names, list(map(_of_arrow, table.columns)), table)
    return replace(frame, marks=text.marks)


def find_gaps(array: Any, words: frozenset[str] = GAPS) -> Mask:
    """Return which values of an Arrow array are missing: null, NaN, or one of some texts."""
    gaps = np.array(array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False), np.bool_)
    if is_text(array):
        trimmed = compute.utf8_lower(compute.utf8_trim_whitespace(array))
        is_word = compute.is_in(trimmed, value_set=pa.array(sorted(words)))
        gaps |= np.asarray(is_word.to_numpy(zero_copy_only=False), np.bool_)
    return gaps


def write_frame(
    path: Path, table: Any, numbers: Collection[str] = (), *, has_commas: bool = False
) -> None:
    """Write an Arrow table to a file ending in .csv, .tsv or .parquet.

    Parameters
    ----------
    path : Path
    table : pyarrow.Table
        If all its columns are texts, they are quoted in text files only where they need it.
    numbers : collection of str
        Columns that hold numbers, and are written as they are; texts that spreadsheets would
        compute begin with an apostrophe.
    has_commas : bool
        Whether numbers have decimal commas: the values of a .csv file are then separated by
        semicolons.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet" or not all(map(is_text, table.columns)):
        write_columns(path, table)
        return
    delimiter = "\t" if suffix == ".tsv" else ";" if has_commas else ","
    plain = guarded_table(table)
    for place, name in enumerate(table.column_names):
        if name in numbers:
            plain = plain.set_column(place, plain.column_names[place], table.column(place))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(plain.column_names)
        for batch in plain.to_batches(_ROWS_WRITTEN):
            columns = [column.fill_null("").to_pylist() for column in batch.columns]
            writer.writerows(zip(*columns, strict=True))


def build(kind: FrameKind, names: list[str], columns: list[Values]) -> Any:
    """Make a table of a kind from columns alone.

    Raises
    ------
    MissingDependencyError
        If it needs pandas or polars, which is not installed.
    """
    lists = {n: _objects(c) for n, c in zip(names, columns, strict=True)}
    if kind in ("array", "structured"):
        if all(c.array.type in _FLOATS for c in columns):
            return np.column_stack([np.asarray(v, np.float64) for v in lists.values()])
        objects = np.empty((len(columns[0].array), len(columns)), object)
        for place, values in enumerate(lists.values()):
            objects[:, place] = values
        return objects
    is_tagged = any(column.is_tagged for column in columns)
    table = pa.table([column.array for column in columns], names=names)
    try:
        if kind == "pandas":
            import pandas

            return pandas.DataFrame(lists) if is_tagged else table.to_pandas()
        if kind == "polars":
            import polars

            return polars.DataFrame(lists, strict=False) if is_tagged else polars.from_arrow(table)
    except ImportError as error:
        raise MissingDependencyError(
            f"the model learned from a {kind} data frame and gives such back, and {kind} is not "
            f"installed; install it by pip install {kind}"
        ) from error
    return table


_FLOATS = (pa.float32(), pa.float64())


def _frame(kind: FrameKind, names: Sequence[Any], columns: list[Values], source: Any) -> Frame:
    is_named = kind != "array" and all(isinstance(name, str) for name in names)
    return Frame(kind, [str(name) for name in names], columns, source, is_named)


def _read_array(X: Any, owner: str) -> Frame:
    X = read_rows(X)
    if np.ma.is_masked(X):
        raise DataError("masked values would be read as any others; give X.filled(np.nan)")
    X = _nested(X) if isinstance(X, list | tuple) and len(X) else as_array_like(X)
    if getattr(X, "ndim", 2) == 1:
        raise DataError(
            f"Expected 2D array, got 1D array of shape {tuple(X.shape)}. Reshape your data: "
            "X.reshape(1, -1) is one row, X.reshape(-1, 1) is one column"
        )
    if getattr(X, "ndim", 2) > 2:
        raise DataError(
            f"rows of shape {tuple(X.shape[1:])} were given, and a {owner} learns from tables of "
            "shape (n, F); use Autoencoder for pictures and signals"
        )
    try:
        check = partial(check_array, dtype=None, ensure_all_finite=False, estimator=owner)
        array: NDArray[Any] = check(X, ensure_min_samples=0, ensure_min_features=0)
    except (ValueError, TypeError) as error:
        kind = DataTypeError if isinstance(error, TypeError) else DataError
        line = str(error).strip().splitlines()[0].rstrip(".")
        raise kind(f"{line}; give a table of shape (n, F)") from error
    columns = [_of_objects(array[:, place], array.dtype) for place in range(array.shape[1])]
    return _frame("array", [f"x{place}" for place in range(array.shape[1])], columns, array)


def _nested(rows: Any) -> NDArray[Any]:
    """Make an array of rows in lists, of objects unless all are numbers."""
    try:
        array = np.asarray(rows)
    except ValueError as error:
        raise DataError(
            "the rows given have different lengths; give as many values in each"
        ) from error
    return (
        array
        if (is_numeric(array.dtype) or array.dtype.kind == "c")
        else np.asarray(rows, dtype=object)
    )


def _of_pandas(series: Any) -> Values:
    try:
        array = pa.Array.from_pandas(series)
    except _NO_ARROW:
        return _of_objects(series.tolist(), np.dtype(object))
    return _of_arrow(array)


def _of_polars(series: Any) -> Values:
    if str(series.dtype) in ("Object", "Int128"):
        return _of_objects(series.to_list(), np.dtype(object))
    return _of_arrow(series.to_arrow())


def _of_objects(values: Any, dtype: np.dtype[Any]) -> Values:
    """Read values of Python or of an array."""
    if (is_numeric(dtype) or dtype.kind in "mM") and isinstance(values, np.ndarray):
        return _of_arrow(pa.array(np.ascontiguousarray(values), from_pandas=True))
    values = list(values)
    try:
        return _of_arrow(pa.array(values, from_pandas=True))
    except _NO_ARROW:
        pass
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    strange = next((v for v in plain if v is not None and not isinstance(v, _SCALARS)), None)
    if strange is not None:
        here = [None if _is_gap(v) else True for v in plain]
        return Values(pa.array(here, pa.bool_()), other=f"values of type {type(strange).__name__}")
    written = [None if _is_gap(v) else json.dumps(v) for v in plain]
    return Values(pa.array(written, pa.string()), is_tagged=True)


def _of_arrow(array: Any) -> Values:
    """Read an array of Arrow."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array.type, pa.ExtensionType):
        return _of_others(array)
    is_category = pa.types.is_dictionary(array.type)
    if is_category:
        array = array.dictionary_decode()
    if is_text(array):
        array = array.cast(pa.string())
    kind = array.type
    usable = (
        pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal,
        pa.types.is_null, is_text, pa.types.is_date, pa.types.is_timestamp,
        pa.types.is_time, pa.types.is_duration,
    )  # fmt: skip
    if not any(is_of(kind) for is_of in usable):
        return _of_others(array)
    return Values(array, is_category)


def _of_others(array: Any) -> Values:
    here = compute.if_else(array.is_valid(), True, None)
    return Values(here, other=f"values of type {array.type}"[:60])


def _is_gap(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _objects(values: Values) -> list[Any]:
    """Return values as Python has them."""
    found = values.array.to_pylist()
    return [None if v is None else json.loads(v) for v in found] if values.is_tagged else found


Made = Mapping[int, tuple[Any, Mask | None]]


def _into_pandas(frame: Frame, made: Made) -> Any:
    import pandas

    out = frame.source.copy()
    for place, (array, mask) in made.items():
        old = out.iloc[:, place]
        values = Values(array, is_tagged=frame.columns[place].is_tagged)
        plain = _objects(values) if values.is_tagged else array.to_pandas().array
        if old.dtype == object:
            plain = np.array([*_objects(values), None], object)[:-1]
        new = pandas.Series(plain, index=old.index, name=old.name).astype(old.dtype)
        out.isetitem(place, new if mask is None else old.where(~mask, new))
    return out


def _into_polars(frame: Frame, made: Made) -> Any:
    import polars

    columns = frame.source.get_columns()
    for place, (array, mask) in made.items():
        old, tagged = columns[place], frame.columns[place].is_tagged
        if str(old.dtype) == "Object":
            kept = old.to_list()
            new = _objects(Values(array, is_tagged=tagged))
            both = new if mask is None else np.where(mask, np.array(new, object), kept).tolist()
            columns[place] = polars.Series(old.name, both, dtype=polars.Object)
            continue
        series = polars.Series(old.name, array).cast(old.dtype)
        columns[place] = series if mask is None else old.zip_with(polars.Series(~mask), series)
    return polars.DataFrame(columns)


def _into_arrow(frame: Frame, made: Made) -> Any:
    table = frame.source
    for place, (array, mask) in made.items():
        field = table.schema.field(place)
        old = table.column(place).combine_chunks()
        is_category = pa.types.is_dictionary(field.type)
        kind = field.type.value_type if is_category else field.type
        new = array.cast(kind)
        if mask is not None:
            plain = old.cast(kind) if is_category else old
            new = compute.if_else(pa.array(mask), new, plain)
        if is_category:
            new = new.dictionary_encode().cast(field.type)
        table = table.set_column(place, field, new)
    return table


def _into_array(frame: Frame, made: Made) -> Any:
    out = np.array(frame.source)
    for place, (array, mask) in made.items():
        column = out[frame.names[place]] if frame.kind == "structured" else out[:, place]
        new = np.array([*_objects(Values(array, is_tagged=frame.columns[place].is_tagged)), None])
        cells = slice(None) if mask is None else mask
        column[cells] = new[:-1][cells].astype(column.dtype)
    return out
