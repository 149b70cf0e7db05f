"""IDX files give back what was put in, and say so when they hold less or more than they claim."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from narrows.data.array_files import is_idx, read_idx
from narrows.errors import MissingFileError, UnreadableFileError

TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(values: NDArray[Any]) -> bytes:
    """Write the format as its authors describe it."""
    header = bytes([0, 0, TYPES[values.dtype.str[1:]], values.ndim])
    lengths = b"".join(length.to_bytes(4, "big") for length in values.shape)
    return header + lengths + values.astype(values.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "some-idx3-ubyte"


@given(
    hnp.arrays(
        st.sampled_from(sorted(TYPES)).map(np.dtype),
        hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
    ),
    st.booleans(),
)
def test_what_was_put_in_comes_out(path: Path, values: NDArray[Any], compressed: bool) -> None:
    content = idx(values)
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert is_idx(path)
    read = read_idx(path)
    assert read.dtype == values.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, values)


@given(st.integers(0, 35), st.booleans())
def test_truncated_files_are_refused(path: Path, cut: int, compressed: bool) -> None:
    content = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))[:cut] + b""
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(
        UnreadableFileError, match=r"^'.*ubyte' is not a readable IDX file: .*; get"
    ):
        read_idx(path)


@given(st.integers(1, 40))
def test_truncated_compression_is_refused(path: Path, missing: int) -> None:
    path.write_bytes(gzip.compress(idx(np.arange(90, dtype=np.uint8)))[:-missing])
    with pytest.raises(UnreadableFileError, match="is not a readable IDX file"):
        read_idx(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lying_headers_are_refused_without_taking_memory(path: Path, pack: Any) -> None:
    content = bytearray(idx(np.zeros((2, 3), np.float64)))
    content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(pack(bytes(content)))
    with pytest.raises(UnreadableFileError, match=r"says \(4294967295, 3\), which is more than"):
        read_idx(path)
    path.write_bytes(pack(idx(np.zeros(3, np.uint8)) + b"x"))
    with pytest.raises(UnreadableFileError, match=r"says \(3,\), which is less than it holds"):
        read_idx(path)


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"\0\0\x07\x01", b"\0\0\x08\0", b"\0\0\x08\xff", b"\x1f\x8b", b"RIFF"]
)
def test_other_files_are_none(path: Path, content: bytes) -> None:
    path.write_bytes(content + bytes(0 if len(content) < 4 else 2000))
    assert not is_idx(path)
    with pytest.raises(UnreadableFileError, match="is not a readable IDX file"):
        read_idx(path)


def test_missing_files_are_missing(tmp_path: Path) -> None:
    assert not is_idx(tmp_path / "absent")
    with pytest.raises(MissingFileError, match="absent' does not exist; give an IDX file"):
        read_idx(tmp_path / "absent")
