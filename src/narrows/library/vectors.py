"""Tables of numbers whose rows are looked for, and the distances between them."""

from typing import Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from narrows.errors import DataError, ParameterError

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[str, ...] = get_args(Metric)
_ROWS = 2**13  # codes that are looked at together
_SMALL = 2**14  # numbers that are looked at soonest one by one


def check_metric(metric: str) -> Metric:
    """Refuse a metric that is not known."""
    if metric not in METRICS:
        raise ParameterError(f"metric={metric!r} is not known; use one of {', '.join(METRICS)}")
    return cast("Metric", metric)


def check_search(
    queries: ArrayLike, k: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.float32], int]:
    """Return queries as a table, and how many codes of a table of this shape can be found.

    Raises
    ------
    ParameterError, DataError
        If k is no integer of at least 1, or the queries are not as wide as the codes.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ParameterError(f"k={k!r} is not allowed; use an integer of at least 1")
    table = as_table(queries, "queries")
    if table.shape[1] != shape[1]:
        raise DataError(
            f"queries have {table.shape[1]} columns, the codes of this index {shape[1]}; "
            "use queries encoded by the same model"
        )
    return table, min(int(k), shape[0])


def as_table(values: ArrayLike, what: str) -> NDArray[np.float32]:
    """Make a table of finite numbers float32 and contiguous, without a copy where possible."""
    table: NDArray[np.float32]
    if isinstance(values, np.ndarray) and values.dtype == np.float32 and values.flags.carray:
        table = values  # what follows would give the same, and later
    else:
        try:
            with np.errstate(over="ignore"):
                table = np.require(values, np.float32, ["C", "W"])
        except (TypeError, ValueError) as error:
            raise DataError(f"{what} are not a table of numbers ({error}); use an array") from error
    if table.ndim != 2 or not table.shape[1]:
        raise DataError(
            f"{what} have shape {table.shape}; use two dimensions, one row a code "
            "(codes[None] for a single one)"
        )
    if not _is_finite(table):
        row = int(np.argmax(~np.isfinite(table).all(axis=1)))
        raise DataError(
            f"{what} hold a value in row {row}, counted from 0, that is not a finite float32; "
            "remove such rows"
        )
    return table


def _is_finite(table: NDArray[np.float32]) -> bool:
    if table.size < _SMALL:
        return bool(np.isfinite(table).all())
    # Without an array of truth values as long as the table.
    return all(bool(end.isfinite()) for end in torch.aminmax(torch.from_numpy(table)))


def lengths(codes: Tensor) -> Tensor:
    """Return the lengths of rows (n, K) in double precision, (n,)."""
    # Into one tensor: pieces of it among larger ones that come and go would scatter the heap.
    sizes = torch.empty(len(codes), dtype=torch.float64)
    for block, target in zip(torch.split(codes, _ROWS), torch.split(sizes, _ROWS), strict=True):
        target.copy_(torch.linalg.vector_norm(block.double(), dim=1))
    return sizes


def unit_vectors(vectors: Tensor) -> Tensor:
    """Scale vectors along the last dimension to length 1; zero vectors stay zero."""
    sizes: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / sizes.clamp(min=1e-300)


def directions(codes: Tensor) -> Tensor:
    """Scale float32 codes to length 1 without overflow or underflow on the way."""
    return unit_vectors(codes.double()).float()
