"""Which level of a category each value of a column is, whatever type the values have."""

import json
from typing import Any

import pyarrow as pa
from pyarrow import compute

from narrows.texts import is_text

_POINT = {"pattern": r"^([+-]?\d+)\.0+$", "replacement": r"\1"}
"""The change of "7.0" to "7": pandas writes whole numbers of columns with gaps as 7.0."""


def places_among(values: Any, levels: Any) -> Any:
    """Return the place of each value among levels, both Arrow arrays; null where it is none.

    Examples
    --------
    >>> places_among(pa.array(["2.0", "?", "1"]), pa.array([1, 2])).to_pylist()
    [1, None, 0]
    >>> places_among(pa.array([7.0, 7.5]), pa.array(["7", "8"])).to_pylist()
    [0, None]
    """
    if not is_text(levels):
        return compute.index_in(_cast(values, levels.type), value_set=levels)
    texts = _as_texts(values)
    places = compute.index_in(texts, value_set=levels)
    short, among = (compute.replace_substring_regex(some, **_POINT) for some in (texts, levels))
    if compute.count_distinct(among).as_py() < len(levels):  # they tell 7 and 7.0 apart
        return places
    return compute.coalesce(places, compute.index_in(short, value_set=among))


def places_among_tagged(values: Any, levels: Any) -> Any:
    """Return the place of each value among levels of several types, which are JSON.

    Files hold all of them as texts: "True" is true there, unless it is a level itself.

    Examples
    --------
    >>> levels = pa.array(['"x"', "1", "true"])
    >>> places_among_tagged(pa.array(["True", "1", "x", "y"]), levels).to_pylist()
    [2, 1, 0, None]
    """
    if is_text(values):
        written = pa.array([untagged(level) for level in levels.to_pylist()], pa.string())
        if len(written.unique()) == len(written):
            return places_among(values, written)
    keys = [None if v is None else json.dumps(v, default=str) for v in values.to_pylist()]
    return places_among(pa.array(keys, pa.string()), levels)


def untagged(value: str | None) -> str | None:
    """Return a value that was written as JSON as its text."""
    if value is None:
        return None
    found = json.loads(value)
    return found if isinstance(found, str) else str(found)


def _as_texts(values: Any) -> Any:
    if pa.types.is_floating(values.type):
        whole = compute.equal(compute.floor(values), values)
        if compute.all(whole, min_count=0).as_py():
            values = values.cast(pa.int64(), safe=False)
    return values.cast(pa.string())


def _cast(values: Any, kind: Any) -> Any:
    """Cast values to a type; those that cannot be, or that it would change, become null."""
    if is_text(values) and pa.types.is_integer(kind):
        values = compute.replace_substring_regex(values, **_POINT)
    if pa.types.is_boolean(kind) and not (is_text(values) or pa.types.is_boolean(values.type)):
        # Arrow casts any number but 0 to true.
        values = compute.index_in(_cast(values, pa.float64()), value_set=pa.array([0.0, 1.0]))
    try:
        return values.cast(kind)
    except pa.ArrowException:
        encoded = values.dictionary_encode()
        cast = [_cast_one(value, kind) for value in encoded.dictionary]
        return pa.array(cast, kind).take(encoded.indices)


def _cast_one(value: Any, kind: Any) -> Any:
    try:
        return value.cast(kind).as_py()
    except pa.ArrowException:
        return None
