"""Restoration of damaged values by their checksums.

The candidates are the other values of the column, null, and the damaged value with one bit flipped;
for a hash, also that of the picture. They are so few that a wrong one has the CRC-32 of the written
value once in millions of cases.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import pyarrow as pa

from narrows.library.checks import as_bytes, sum_of
from narrows.library.salvage import Chunk

_LONGEST = 4096  # bytes of a value whose bits are flipped one by one
# Codes and thumbnails are computed again from the picture, which is too long to be mended.
_UNMENDED = ("code", "thumbnail", "picture")


@dataclass
class Mended:
    """A chunk's columns with damaged values restored or replaced.

    Attributes
    ----------
    columns : dict of str to pyarrow.Array
        Damaged values are restored where their checksums allow it. Otherwise, a time of addition
        becomes that of a neighbour, hashes and references stay as they are, and others are null.
    said : dict of int to list of str
        By row, what is wrong with its values, and how repairing changes them.
    """

    columns: dict[str, Any]
    said: dict[int, list[str]] = field(default_factory=dict)


def mend(chunk: Chunk) -> Mended:
    """Restore the damaged values of a chunk."""
    mended = Mended(dict(chunk.columns))
    names = sorted({name for sums in chunk.wrong.values() for name in sums} - {*_UNMENDED})
    for name in names:
        column = chunk.columns[name]
        values = as_bytes(column)
        if values is None:
            continue
        wrong = {row: sums[name] for row, sums in chunk.wrong.items() if name in sums}
        sound = list(dict.fromkeys(v for row, v in enumerate(values) if row not in wrong))
        pieces = [column.slice(row, 1) for row in range(len(column))]
        for row, expected in wrong.items():
            fitting = (
                _array(candidate, column.type)
                for candidate in _candidates(name, chunk, row, values[row], sound)
                if sum_of(candidate) == expected
            )
            found = next((one for one in fitting if one is not None), None)
            becomes = "what it was is known"
            if found is None:
                found, becomes = _without(name, column, row, list(wrong))
            pieces[row] = found
            said = f"its {name} is not what was written (another checksum); {becomes}"
            mended.said.setdefault(row, []).append(said)
        mended.columns[name] = pa.concat_arrays(pieces)
    return mended


def _candidates(
    name: str, chunk: Chunk, row: int, value: bytes | None, others: list[bytes | None]
) -> Iterator[bytes | None]:
    """Yield what a damaged value may have been."""
    if name == "hash":
        picture = chunk.columns["picture"][row].as_py()
        if picture is not None:
            yield sha256(picture).hexdigest().encode()
    yield from others
    yield None
    if value is None or len(value) > _LONGEST:
        return
    for place in range(len(value)):
        for bit in range(8):
            yield value[:place] + bytes([value[place] ^ (1 << bit)]) + value[place + 1 :]


def _array(value: bytes | None, kind: Any) -> Any:
    """Make an array of one value from its bytes; None if they are no value of the type."""
    if value is None:
        return pa.nulls(1, kind)
    try:
        if pa.types.is_boolean(kind):
            return pa.array([value != b"\0"], kind)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return pa.array([value.decode()], kind)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return pa.array([value], kind)
    except UnicodeDecodeError:
        return None
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(value)])


def _without(name: str, column: Any, row: int, wrong: list[int]) -> tuple[Any, str]:
    """Return what replaces a value that is lost, and the words that say so."""
    if name in ("hash", "reference"):
        return column.slice(row, 1), "what it was is lost"
    if name == "added":
        others = [n for n in range(len(column)) if n not in wrong]
        near = min(others, key=lambda n: abs(n - row), default=row)
        return column.slice(near, 1), "repairing gives it a neighbour's"
    if name == "id":
        return pa.nulls(1, column.type), "repairing gives it a new one"
    becomes = "repairing gives it its id" if name == "path" else "repairing leaves it empty"
    return pa.nulls(1, column.type), becomes
