"""Tables: text and Parquet files to arrays with named columns, and back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, parquet
from pyarrow import csv as arrow_csv

from narrows.containment import check_fits, irregular
from narrows.data.codes import CODES, find_codes, name_codes, warn_of_codes
from narrows.data.dialect import DELIMITER_NAMES, is_missing, looks_like_number
from narrows.data.formats import DEFAULTS, Contents, FileOptions
from narrows.data.lazy_rows import LazyRows, in_blocks
from narrows.data.numbers import check_names, decoded_column, to_numbers, with_numbers
from narrows.data.parquet import Opened, is_plain, read_parquet
from narrows.data.text_tables import TextTable, empty, guarded_table, read_text_table
from narrows.errors import (
    DataError,
    DataTypeError,
    MissingFileError,
    ParameterError,
    UnreadableFileError,
    warn,
)
from narrows.texts import as_text, is_text, listed

_INDEX = ("Unnamed: ", "__index_level_")  # names that pandas gives to an index
_LOOKED_AT = 200  # lines of a single column that are examined
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_table(
    path: str | Path, options: FileOptions = DEFAULTS, *, known: Sequence[str] | None = None
) -> tuple[NDArray[Any], list[str]]:
    r"""Read a table of numbers.

    The first line of a text file is a header if it has a text. A line of numbers and words for
    missing values is data, and the columns are named x0, x1, x2 and so on; but numbers unlike the
    rows below, such as years, wavelengths or 0, 1, 2, are taken for a header, with a warning. The
    index in a Parquet file that pandas wrote is left out.

    The delimiter, the decimal mark, the encoding and the compression are detected if they are
    certain, with a warning if they are unusual.

    Parameters
    ----------
    path : str or Path
        A file ending in .parquet, .csv, .tsv, .tab, .txt, .dat, .data or .asc; text files may be
        compressed (.csv.gz, .bz2, .zst).
    options : FileOptions, optional
        How to read a text file.
    known : sequence of str, optional
        Names of the columns that a model was trained on. A first line that holds them is a header.

    Returns
    -------
    values : ndarray of shape (n_rows, n_columns)
        Finite. float32 if that holds every column's type without loss (booleans, integers of up to
        16 bits and floats of up to 32), float64 otherwise. Booleans become 0 and 1.
    columns : list of str
        The columns' names.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    UnreadableFileError
        If it is not what its suffix says, its rows are not equally long, or its delimiter is
        ambiguous.
    DataError
        If it has no rows, columns of anything but finite numbers, columns without a name or with
        the same name, or integers beyond float64, all in one message; or if a number such as
        "1,234" is ambiguous.

    Warns
    -----
    NarrowsWarning
        Unless ``known`` is given: "codes_as_numbers" if columns hold codes, such as 01067, or
        dates such as 20240131, "powers_read" if they hold numbers such as 1e5, which may be codes,
        "booleans_as_numbers" if some of a text file hold true and false; see also
        :func:`narrows.data.text_tables.read_text_table`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "measured.csv")
    ...     _ = file.write_text("width,height\n1.5,2\n3,4\n")
    ...     read_table(file)
    (array([[1.5, 2. ],
           [3. , 4. ]]), ['width', 'height'])
    """
    path = Path(path)
    with _found(path):
        if path.suffix.lower() == ".parquet":
            table = _read_parquet(path)
            names = table.column_names
            numbers = to_numbers(path, table.columns, names)
            if known is None:
                decoded = zip(names, map(decoded_column, table.columns), strict=True)
                texts = ((name, column, True) for name, column in decoded if is_text(column))
                warn_of_codes(name_codes(texts), path)
        else:
            text = read_text_table(path, options, known=known, kind="numbers")
            names = text.names
            if text.doubt is not None:
                raise DataError(
                    f"'{path}': {text.doubt}, and nothing in its first lines says which; say it "
                    "(--decimal , or --thousands , in Python FileOptions)",
                    path=path,
                )
            hint = "" if text.is_named else "; if its first line holds names: --header, header=True"
            if options.delimiter is None:
                _check_separated(path, text.table, names)
            if len(names) == 1 and is_text(text.table.column(0)):
                several = "; if a line holds several values, give the delimiter (--delimiter)"
                hint = several if options.delimiter is None else ""
            if known is None:
                warn_of_codes(find_codes(text), path)
            numbers = to_numbers(
                path,
                text.table.columns,
                names,
                marks=text.marks,
                texts=text.texts,
                hint=hint,
                unsaid=[f"--{o}" for o in ("decimal", "thousands") if getattr(options, o) is None],
            )
            if known is None:
                _warn_of_booleans(path, text)
    values = np.empty(
        (len(numbers[0]), len(names)), np.result_type(np.float32, *(c.dtype for c in numbers))
    )
    for index, column in enumerate(numbers):
        values[:, index] = column
    _warn_of_index(path, values, names)
    return values, names


def read_rows(
    path: Path, options: FileOptions = DEFAULTS, known: Sequence[str] | None = None
) -> Contents:
    """Read the rows of a text or Parquet file: a table, or lists of one length in a column.

    It takes and raises what :func:`read_table` and :func:`narrows.data.parquet.read_parquet` do.
    """
    if path.suffix.lower() == ".parquet" and not is_plain(path):
        return Contents(*read_parquet([path]))
    return Contents(*read_table(path, options, known=known))


def read_columns(
    path: str | Path, options: FileOptions = DEFAULTS, *, only: Sequence[str] = ()
) -> pa.Table:
    r"""Read a table with columns of any types: numbers, texts, booleans, dates.

    Parameters
    ----------
    path, options
        See :func:`read_table`.
    only : sequence of str, optional
        If a Parquet file has columns of these names, only these are read.

    Returns
    -------
    pyarrow.Table
        Columns of a text file have the type of all their values; codes such as 01067 are texts,
        and empty values are null.

    Raises
    ------
    MissingFileError, UnreadableFileError, DataError
        See :func:`read_table`, except that values may be missing or not numeric.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels.csv")
    ...     _ = file.write_text("path,label,year\n1.png,boot,2010\n2.png,,2011\n")
    ...     read_columns(file).to_pydict()
    {'path': ['1.png', '2.png'], 'label': ['boot', None], 'year': [2010, 2011]}
    """
    path = Path(path)
    with _found(path):
        if path.suffix.lower() == ".parquet":
            table, names = _read_parquet(path, only), None
        else:
            text = read_text_table(path, options)
            table, names = with_numbers(_with_codes(text), text.marks), text.names
        check_names(path, names or table.column_names)
    return table if names is None else table.rename_columns(names)


def read_texts(
    path: str | Path, options: FileOptions = DEFAULTS
) -> tuple[list[str], list[list[str]]]:
    r"""Read a text table with a header, every value as the text in the file.

    Parameters
    ----------
    path, options
        See :func:`read_table`, of text files.

    Returns
    -------
    names : list of str
        Names of the columns, some of which may be equal or empty.
    rows : list of list of str

    Raises
    ------
    MissingFileError, UnreadableFileError
        See :func:`read_table`.
    DataError
        If it has no rows.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "labels.csv")
    ...     _ = file.write_text("label\n007\nNA\n")
    ...     read_texts(file)
    (['label'], [['007'], ['NA']])
    """
    path = Path(path)
    with _found(path):
        text = read_text_table(path, options, kind="texts")
    columns = [column.fill_null("").to_pylist() for column in text.table.columns]
    return text.names, [list(row) for row in zip(*columns, strict=True)]


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
        The columns' names; x0, x1, x2 and so on by default. In text files, those that spreadsheets
        would compute, such as "=a", are written with an apostrophe before them, and read back
        without it; numbers are written as they are.

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
    given = columns if columns is not None else [f"x{i}" for i in range(width)]
    names = list(map(as_text, given))
    if len(names) != width:
        raise ParameterError(
            f"columns has {len(names)} names for {width} columns; give one for each"
        )
    blocks = in_blocks(values) if isinstance(values, LazyRows) else iter([values])
    flat = (block.reshape(len(block), -1) for block in blocks)
    write_pieces(path, (pa.table(list(map(pa.array, block.T)), names=names) for block in flat))


def write_rows(path: Path, contents: Contents) -> None:
    """Write rows to a table; see :func:`write_table`."""
    write_table(path, contents.values, contents.columns)


def write_columns(path: Path, table: pa.Table) -> None:
    """Write a table with columns of any types to a file ending in .csv, .tsv or .parquet."""
    write_pieces(path, iter([table]))


def write_pieces(path: Path, tables: Iterator[pa.Table]) -> None:
    """Write tables of the same columns, at least one, below each other to one file.

    In text files, names and texts that spreadsheets would compute begin with an apostrophe; see
    :func:`narrows.texts.guarded`.
    """
    suffix = path.suffix.lower()
    if suffix != ".parquet":
        tables = map(guarded_table, tables)
    first = next(tables)
    with (
        path.open("wb") as file,  # Arrow opens no file whose name is not UTF-8
        parquet.ParquetWriter(file, first.schema)
        if suffix == ".parquet"
        else arrow_csv.CSVWriter(
            file, first.schema, write_options=arrow_csv.WriteOptions(delimiter=_DELIMITERS[suffix])
        ) as writer,
    ):
        for table in chain([first], tables):
            writer.write_table(table)


def _check_separated(path: Path, table: Any, names: list[str]) -> None:
    """Refuse a single column of texts, none of which is a number."""
    if len(names) > 1 or not is_text(table.column(0)):
        return
    some = table.column(0).slice(0, _LOOKED_AT).fill_null("").to_pylist()
    if len(some) < 2 or any(looks_like_number(text) or is_missing(text) for text in some):
        return
    raise DataTypeError(
        f"'{path}' holds lines such as {some[0][:40]!r}, which are no numbers, whole or split "
        f"at {listed(DELIMITER_NAMES.values())}; give the delimiter (--delimiter), or convert them "
        "to numbers",
        path=path,
    )


def _warn_of_booleans(path: Path, text: TextTable) -> None:
    """Warn of columns of true and false beside others, which become 1 and 0."""
    are = [pa.types.is_boolean(column.type) for column in text.table.columns]
    if any(are) and not all(are):
        found = [name for name, is_boolean in zip(text.names, are, strict=True) if is_boolean]
        warn(
            f"columns of '{path}' hold true and false, which were read as 1 and 0: "
            f"{listed(map(repr, found), most=4)}; narrows train --categorical NAME "
            "(TableAutoencoder) keeps them",
            kind="booleans_as_numbers",
            stacklevel=3,
            path=str(path),
            columns=found,
        )


def _with_codes(text: TextTable) -> pa.Table:
    """Return a table whose columns of codes are texts."""
    codes = find_codes(text)
    places = [
        place for place, name in enumerate(text.names) if codes.get(name, "").startswith(CODES)
    ]
    table = text.table
    for place, column in zip(places, text.texts(places).columns if places else (), strict=True):
        empty_as_null = compute.if_else(compute.equal(column, ""), None, column)
        table = table.set_column(place, table.column_names[place], empty_as_null)
    return table


def _warn_of_index(path: Path, values: NDArray[Any], names: list[str]) -> None:
    """Warn if a column is an index that pandas wrote."""
    for place, name in enumerate(names):
        if name.startswith(_INDEX) and (values[:, place] == np.arange(len(values))).all():
            warn(
                f"column {name!r} of '{path}' counts the rows, as an index does that pandas has "
                "written, and is learned from like any other; write the file without it "
                "(index=False)",
                kind="index_column",
                stacklevel=3,
                path=str(path),
                column=name,
            )


@contextmanager
def _found(path: Path) -> Iterator[None]:
    if (kind := irregular(path)) is not None:
        raise UnreadableFileError(
            f"'{path}' is {kind}, and tables are read more than once; save it to a file first",
            path=path,
        )
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"'{path}' does not exist; give a table", path=path) from error


def _read_parquet(path: Path, only: Sequence[str] = ()) -> pa.Table:
    with Opened(path) as file:
        # Each value takes at least a byte.
        check_fits(
            file.rows * len(file.schema),
            f"'{path}', unpacked,",
            "save the table as .npy, of which only what is used is read",
            DataError,
        )
        names = file.schema.names
        table = file.read([name for name in names if name in only] or names)
    if table.num_rows == 0 or not table.num_columns:
        raise empty(path)
    return table
