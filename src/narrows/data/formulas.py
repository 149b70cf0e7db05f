"""Protection of CSV and TSV files against formula injection.

Excel, LibreOffice and Google Sheets compute a cell that begins with an equals sign, a plus, a minus
or an at sign, some of them also after a tab or a line break, so that the name of a stranger's file
could send the other cells elsewhere. Such texts are written with a leading apostrophe, by which
spreadsheets mark a cell as text, and read back without it.
"""

import re
from typing import Any

import pyarrow as pa
from pyarrow import compute

# The last four are the full-width forms, which some spreadsheets take for the same.
_DANGER = "^'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
# Plain numbers are shown as they are, and stay numbers.
_NUMBER = r"^'*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"


def guarded(text: str) -> str:
    """Write a text so that no spreadsheet computes it.

    Parameters
    ----------
    text : str
        What a cell is to hold.

    Returns
    -------
    str
        With an apostrophe before it if it begins as a formula does, and is no plain number; also
        if such a text stands behind apostrophes of its own, so that :func:`unguarded` gives every
        text back.

    Examples
    --------
    >>> guarded("=1+1"), guarded("-1.5"), guarded("-a"), guarded("'=1"), guarded("it's")
    ("'=1+1", '-1.5', "'-a", "''=1", "it's")
    """
    return f"'{text}" if _is_formula(text) else text


def unguarded(text: str) -> str:
    """Return the text that :func:`guarded` was given.

    Examples
    --------
    >>> unguarded("'=1+1"), unguarded("-1.5"), unguarded("''=1"), unguarded("'tis")
    ('=1+1', '-1.5', "'=1", "'tis")
    """
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def guarded_table(table: Any) -> Any:
    """Write the names of an Arrow table's columns, and the texts in them, as :func:`guarded`."""
    columns = [_guarded_column(column) for column in table.columns]
    return pa.table(columns, names=[guarded(name) for name in table.column_names])


def unguarded_column(column: Any) -> Any:
    """Return the texts that :func:`guarded_table` was given; other columns as they are."""
    if not _is_text(column.type):
        return column
    is_guarded = compute.and_(_are_formulas(column), compute.starts_with(column, "'"))
    return compute.if_else(
        compute.fill_null(is_guarded, False), compute.utf8_slice_codeunits(column, 1), column
    )


def _guarded_column(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not _is_text(column.type):
        return column
    quote = pa.scalar("'", column.type)
    with_quote = compute.binary_join_element_wise(quote, column, pa.scalar("", column.type))
    return compute.if_else(compute.fill_null(_are_formulas(column), False), with_quote, column)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_formula(text: str) -> bool:
    return re.match(_DANGER, text) is not None and re.fullmatch(_NUMBER, text) is None


def _are_formulas(column: Any) -> Any:
    return compute.and_not(
        compute.match_substring_regex(column, _DANGER),
        compute.match_substring_regex(column, _NUMBER),
    )
