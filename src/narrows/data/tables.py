"""Tables: CSV, TSV and Parquet files to arrays with named columns, and back."""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from narrows.data.contents import what_it_is
from narrows.data.lazy import LazyRows, in_blocks
from narrows.data.memory import check_fits
from narrows.errors import DataError, MissingFileError, ParameterError, UnreadableFileError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
"""Endings of the files that are read and written as tables."""

_NUMERIC = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
_LONGEST_ROW = 2**25  # bytes
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_table(path: str | Path) -> tuple[NDArray[Any], list[str]]:
    r"""Read a table of numbers.

    In CSV and TSV files the first line names the columns. It is taken for data if it holds nothing
    but numbers (unless these are 0, 1, 2 and so on, as pandas calls columns without names); then
    the columns are called x0, x1, x2 and so on. Of a Parquet file that pandas wrote, the index is
    left out.

    Parameters
    ----------
    path : str or Path
        A file ending in .csv, .tsv or .parquet.

    Returns
    -------
    values : ndarray of shape (n_rows, n_columns)
        float32 if that holds every column's type without loss (booleans, integers of up to 16 bits
        and floats of up to 32), float64 otherwise. Booleans become 0 and 1.
    columns : list of str
        The columns' names.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    UnreadableFileError
        If it is not what its ending says, or its rows are not equally long.
    DataError
        If it has no rows, a column of anything but numbers, a value missing, or columns without a
        name or with the same one.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from narrows.data.tables import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "measured.csv")
    ...     _ = file.write_text("width,height\n1.5,2\n3,4\n")
    ...     read_table(file)
    (array([[1.5, 2. ],
           [3. , 4. ]]), ['width', 'height'])
    """
    path = Path(path)
    table = read_columns(path)
    names = table.column_names
    columns = [_numbers(path, *column) for column in zip(names, table.columns, strict=True)]
    values = np.empty(
        (table.num_rows, len(names)), np.result_type(np.float32, *(c.dtype for c in columns))
    )
    for index, column in enumerate(columns):
        values[:, index] = column
    return values, names


def read_columns(path: str | Path) -> pa.Table:
    r"""Read a table of columns of whatever kinds: numbers, texts, truth values, dates.

    Parameters
    ----------
    path : str or Path
        A file ending in .csv, .tsv or .parquet, as for :func:`read_table`.

    Returns
    -------
    pyarrow.Table
        Columns of a text file have the kind that all their values are of; what is empty is null.

    Raises
    ------
    MissingFileError, UnreadableFileError, DataError
        As :func:`read_table`, except that values may be missing, or no numbers.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from narrows.data.tables import read_columns
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels.csv")
    ...     _ = file.write_text("path,label,year\n1.png,boot,2010\n2.png,,2011\n")
    ...     read_columns(file).to_pydict()
    {'path': ['1.png', '2.png'], 'label': ['boot', None], 'year': [2010, 2011]}
    """
    path = Path(path)
    if (instead := what_it_is(path)) is not None and path.stat().st_size:
        raise _unreadable(path, instead)
    try:
        table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
        names = table.column_names
    except FileNotFoundError as error:
        raise MissingFileError(f"'{path}' does not exist; give a table") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _unreadable(path, " ".join(reason.split())) from error
    _check_names(path, names)
    if table.num_rows == 0 or not names:
        raise _empty(path)
    return table


def write_table(
    path: str | Path, values: NDArray[Any] | LazyRows, columns: list[str] | None = None
) -> None:
    """Write a table of numbers.

    Parameters
    ----------
    path : str or Path
        A file ending in .csv, .tsv or .parquet; a file that is there is replaced.
    values : ndarray or LazyRows of shape (n_rows, n_columns) or (n_rows,)
        Numbers of any type.
    columns : list of str, optional
        The columns' names; x0, x1, x2 and so on by default.

    Raises
    ------
    DataError
        If ``values`` has more axes than a table.
    ParameterError
        If there are not as many names as columns.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from narrows.data.tables import read_table, write_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(Path(folder, "codes.parquet"), np.eye(2, dtype=np.float32))
    ...     read_table(Path(folder, "codes.parquet"))
    (array([[1., 0.],
           [0., 1.]], dtype=float32), ['x0', 'x1'])
    """
    path = Path(path)
    if values.ndim not in (1, 2):
        raise DataError(
            f"values of shape {values.shape} are no table, which has rows and columns; "
            "write them to a file ending in .npy or .npz"
        )
    width = values.shape[1] if values.ndim > 1 else 1
    names = columns if columns is not None else [f"x{i}" for i in range(width)]
    if len(names) != width:
        raise ParameterError(
            f"columns has {len(names)} names for {width} columns; give one for each"
        )
    blocks = in_blocks(values) if isinstance(values, LazyRows) else iter([values])
    flat = (block.reshape(len(block), -1) for block in blocks)
    write_pieces(path, (pa.table(list(map(pa.array, block.T)), names=names) for block in flat))


def write_columns(path: Path, table: pa.Table) -> None:
    """Write a table of columns of whatever kinds to a file ending in .csv, .tsv or .parquet."""
    write_pieces(path, iter([table]))


def write_pieces(path: Path, tables: Iterator[pa.Table]) -> None:
    """Write tables of the same columns, at least one, one below the other to such a file."""
    first = next(tables)
    suffix = path.suffix.lower()
    with (
        parquet.ParquetWriter(path, first.schema)
        if suffix == ".parquet"
        else arrow_csv.CSVWriter(
            path, first.schema, write_options=arrow_csv.WriteOptions(delimiter=_DELIMITERS[suffix])
        )
    ) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def _read_parquet(path: Path) -> pa.Table:
    # Opened by its handle, a folder or a pattern of names is not taken for many files.
    with path.open("rb") as file:
        facts = parquet.read_metadata(file)
        check_fits(
            facts.num_rows * facts.num_columns,  # packed ones and zeros: at least a byte each
            f"'{path}', unpacked,",
            "save the table as .npy, of which only what is used is read",
            DataError,
        )
        file.seek(0)
        table = parquet.read_table(file)
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    return table.drop_columns([name for name in index if isinstance(name, str)])


def _read_csv(path: Path) -> pa.Table:
    delimiter = _DELIMITERS[path.suffix.lower()]
    names, is_named = _header(path, delimiter)
    ragged: list[arrow_csv.InvalidRow] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        ragged.append(row)
        return "error"

    try:
        return arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(
                use_threads=False,  # only one thread counts the rows; it takes hardly longer
                block_size=_LONGEST_ROW,
                column_names=None if is_named else names,
            ),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, invalid_row_handler=keep),
            convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True),
        )
    except pa.ArrowInvalid as error:
        if not ragged:
            raise
        row = ragged[0]
        raise _unreadable(
            path,
            f"its row {row.number - is_named - 1}, counted from 0, has {row.actual_columns} values "
            f"where {row.expected_columns} are expected",
        ) from error


def _header(path: Path, delimiter: str) -> tuple[list[str], bool]:
    """Give the names of a text file's columns, and whether its first line holds them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = filter(None, csv.reader(file, delimiter=delimiter))
        first, second = next(lines, []), next(lines, [])
    if any("\0" in text for text in first + second):
        raise _unreadable(path, "it holds NUL bytes, as text of another encoding than UTF-8 does")
    counted = len(first) > 1 and first == [str(i) for i in range(len(first))]
    if not counted and first and all(map(_is_number, first)):
        return [f"x{i}" for i in range(len(first))], False
    if not second:
        raise _empty(path)
    return first, True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_names(path: Path, names: list[str]) -> None:
    if "" in names:
        raise DataError(
            f"'{path}' has no name for column {names.index('') + 1}; name every column, or leave "
            "it out (pandas: to_csv(..., index=False))"
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"'{path}' has more than one column {twice!r}; name every column once")


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[Any]:
    """Turn a column into numbers, or say why it holds none."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise DataError(
            f"'{path}' has no value in column {name!r}, row {row}, counted from 0 "
            f"({column.null_count} missing in this column); fill them in or remove the rows"
        )
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if not any(is_of(column.type) for is_of in _NUMERIC):
        raise DataError(
            f"'{path}' has {_example(column)} in column {name!r}; only numbers are allowed: "
            "remove the column or turn it into numbers"
        )
    return np.asarray(column.to_numpy())


def _example(column: pa.ChunkedArray) -> str:
    """Show the first value that is not a number."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return f"values of type {column.type}"
    row = next((i for i, text in enumerate(column) if not _is_number(text.as_py())), 0)
    return f"the text {column[row].as_py()[:40]!r} (row {row}, counted from 0)"


def _empty(path: Path) -> DataError:
    why = "" if path.stat().st_size else ": it is empty (0 bytes)"
    return DataError(f"'{path}' holds no rows{why}; give a table with at least one")


def _unreadable(path: Path, reason: str) -> UnreadableFileError:
    reason = what_it_is(path) or reason
    kind = "Parquet" if path.suffix.lower() == ".parquet" else path.suffix[1:].upper()
    return UnreadableFileError(
        f"'{path}' is not a readable {kind} table: {reason}; repair it or choose another"
    )
