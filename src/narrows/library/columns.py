"""The columns of a library's table: its own, and those that users add beside them."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from narrows.errors import DataError, ParameterError

# Users' texts and numbers are kept in one type each, so that later additions fit earlier ones.
_WIDEST = (
    (pa.types.is_boolean, pa.bool_()),
    (pa.types.is_signed_integer, pa.int64()),
    (pa.types.is_unsigned_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (pa.types.is_string, pa.string()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_date, pa.date32()),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is None, pa.timestamp("us")),
    (pa.types.is_timestamp, pa.timestamp("us", "UTC")),
)


def own_schema(width: int) -> Any:
    """Return the columns that every library has, for codes of a width."""
    columns = {
        "id": pa.int64(),
        "hash": pa.string(),
        "path": pa.string(),
        "added": pa.timestamp("us", "UTC"),
        "picture": pa.large_binary(),  # the file; null where there is a reference
        "reference": pa.string(),  # the absolute path of a file that is not copied
        "thumbnail": pa.binary(),  # a small JPEG file; null where the picture is small itself
        "code": pa.list_(pa.float32(), width),
    }
    optional = ("picture", "reference", "thumbnail")
    # Pictures are compressed already, and trying it again costs more than writing them.
    plain = {"picture": {"lance-encoding:compression": "none"}}
    return pa.schema(
        [
            pa.field(*column, nullable=column[0] in optional, metadata=plain.get(column[0]))
            for column in columns.items()
        ]
    )


def own_columns() -> list[str]:
    """Return the names that users' columns cannot have."""
    names: list[str] = own_schema(1).names
    return names


def metadata_fields(schema: Any) -> list[Any]:
    """Return the users' columns of a table, in the order in which they came."""
    own = own_columns()
    return [field for field in schema if field.name not in own]


def understand_metadata(given: Any, count: int, what: str = "pictures") -> Any:
    """Turn a user's columns into an Arrow table of the types that libraries hold.

    Parameters
    ----------
    given : DataFrame, pyarrow.Table, or mapping of str to sequence
        The columns.
    count : int
        How many rows they have to have, one for each of ``what``.
    what : str
        For the message if they have more or fewer.

    Returns
    -------
    pyarrow.Table
        Of truth values, int64, float64, texts, dates and times; a column with no value in it
        is of type null.

    Raises
    ------
    ParameterError
        If they are no columns, have a name that a library's own have or that it cannot have,
        or another length.
    DataError
        If they hold something else than numbers, texts, truth values, dates and times.
    """
    try:
        table = pa.table(dict(given) if isinstance(given, Mapping) else given)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ParameterError(
            f"metadata is a {type(given).__name__} that makes no columns "
            f"({' '.join(str(error).split())[:200]}); give a DataFrame or a dictionary of lists"
        ) from error
    # pandas keeps its row labels in such a column.
    names = [name for name in table.column_names if not name.startswith("__index_level_")]
    if taken := [name for name in names if name in own_columns() or not name]:
        raise ParameterError(
            f"metadata has a column {taken[0]!r}, and a library's own columns are "
            f"{', '.join(own_columns())}; rename it"
        )
    if unfit := [name for name in names if {".", "`"} & set(name) or name.startswith("_row")]:
        raise ParameterError(
            f"metadata has a column {unfit[0]!r}; names with a point or a backtick in them, or "
            "beginning with '_row', have a meaning of their own to the table; rename it"
        )
    if unfit := [name for name in names if "\0" in name]:
        raise ParameterError(f"metadata has a column {unfit[0]!r} with a NUL in it; rename it")
    if len(set(names)) < len(names) or not names:
        raise ParameterError(f"metadata has the columns {names}; give at least one, each once")
    if len(table) != count:
        raise ParameterError(
            f"metadata has {len(table)} rows for {count} {what}; give one row for each"
        )
    columns = {name: _widen(name, table.column(name).combine_chunks()) for name in names}
    return pa.table(columns)


def spread(given: Any, count: int) -> Any:
    """Repeat the single values among a mapping's columns, so that there is one for each row."""
    if not isinstance(given, Mapping):
        return given
    return {
        name: [value] * count if isinstance(value, str) or not hasattr(value, "__len__") else value
        for name, value in given.items()
    }


def new_fields(metadata: Any, schema: Any) -> list[Any]:
    """Return the fields of a user's columns that a table does not have yet."""
    return [
        field
        for field in metadata.schema
        if field.name not in schema.names and not pa.types.is_null(field.type)
    ]


def fit_metadata(metadata: Any, schema: Any) -> Any:
    """Bring a user's columns to the types that those of the same names have in a table.

    Raises
    ------
    DataError
        If a value does not fit its column.
    """
    columns = {}
    for name, column in zip(metadata.column_names, metadata.columns, strict=True):
        if name not in schema.names:
            if not pa.types.is_null(column.type):
                columns[name] = column
            continue
        kind = schema.field(name).type
        try:
            columns[name] = column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"metadata column {name!r} holds {column.type}, in the library it holds {kind}, "
                f"and {' '.join(str(error).split())[:100]}; convert it, or name it otherwise"
            ) from error
    return pa.table(columns)


def _widen(name: str, column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if pa.types.is_null(kind):
        return column
    for belongs, widest in _WIDEST:
        if belongs(kind):
            try:
                return column.cast(widest, safe=not pa.types.is_timestamp(kind))
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"metadata column {name!r} holds a value beyond {widest} ({error}); convert it"
                ) from error
    raise DataError(
        f"metadata column {name!r} holds {kind}; give numbers, texts, truth values, dates or times"
    )
