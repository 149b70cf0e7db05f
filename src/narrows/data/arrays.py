"""Rows in memory: numpy arrays, torch tensors and whatever turns into them."""

import math
import warnings
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.containers import one_of, pictures_as_array, refuse_containers
from narrows.data.lazy import LazyRows
from narrows.data.source import Batch
from narrows.data.weights import Weighted
from narrows.errors import DataError, DataTypeError

# Lazy rows, and values of them, that are looked at together.
_BLOCK, _VALUES = 4096, 1 << 23


class TensorRows(Protocol):
    """Rows that come as tensors: a tensor, or what makes them when they are asked for."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Return neighbouring rows, or those of some numbers."""


class ArraySource:
    """Rows of an array, taken by index without copying the whole.

    Parameters
    ----------
    values : ndarray or LazyRows of shape (n, ...)
        The rows, of any type that torch has.
    rows : ndarray of int, optional
        Which rows belong to the source; all by default.
    partners : ndarray or LazyRows of shape (n, ...), optional
        A second row for each; batches are then pairs (B, 2, ...).
    weights : ndarray of shape (n,), optional
        How much each row counts; batches are then :class:`narrows.data.source.Weighted`.
    """

    def __init__(
        self,
        values: NDArray[Any] | LazyRows,
        rows: NDArray[np.int64] | None = None,
        partners: NDArray[Any] | LazyRows | None = None,
        weights: NDArray[np.float32] | None = None,
    ) -> None:
        self._values = as_rows(values)
        self._weights = None if weights is None else torch.from_numpy(weights)
        self._partners = None if partners is None else as_rows(partners)
        self._rows = None if rows is None else torch.from_numpy(rows)
        self._device = torch.device("cpu")
        self.sample_shape = tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self._values if self._rows is None else self._rows)

    @property
    def n_bytes(self) -> float:
        """What all rows take in memory; infinity where they are made when asked for."""
        kept = [rows for rows in (self._values, self._partners) if rows is not None]
        return sum(rows.nbytes if isinstance(rows, Tensor) else math.inf for rows in kept)

    def to(self, device: torch.device) -> Self:
        """Return the same source with its rows, which are in memory, on a device."""
        moved = copy(self)
        moved._device = device
        for name in ("_values", "_partners", "_weights"):
            if isinstance(rows := getattr(self, name), Tensor):
                on_device = rows.to(device)
                # Only a processor takes rows of 16 bits without a sign by their numbers.
                widened = rows.dtype == torch.uint16 and device.type != "cpu"
                setattr(moved, name, on_device.to(torch.int32) if widened else on_device)
        return moved

    def batches(
        self, size: int, *, seed: int | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield every row once; see :class:`narrows.data.source.Source`."""
        if seed is None:
            order = torch.arange(len(self))
        else:
            order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        if self._rows is not None:
            order = self._rows[order]
        order = order.to(self._device)
        n_batches = -(-len(self) // size)
        for batch in order.tensor_split(n_batches):
            share = batch if world_size == 1 else batch.tensor_split(world_size)[rank]
            taken = _take(self._values, share)
            if self._partners is not None:
                taken = paired(taken, _take(self._partners, share))
            if self._weights is None:
                yield taken
            else:
                yield Weighted(taken, _take(self._weights, share))


def paired(rows: Tensor, partners: Tensor) -> Tensor:
    """Put two times (B, ...) side by side, (B, 2, ...)."""
    rows, partners = (x.int() if x.dtype == torch.uint16 else x for x in (rows, partners))
    kind = torch.promote_types(rows.dtype, partners.dtype)
    return torch.stack([rows.to(kind), partners.to(kind)], dim=1)


def _take(rows: TensorRows, index: Tensor) -> Tensor:
    # Copies whole rows, where indexing works out the place of every number.
    return rows.index_select(0, index) if isinstance(rows, Tensor) else rows[index]


class _Made:
    """Lazy rows as tensors."""

    def __init__(self, rows: LazyRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        return as_tensor(self._rows[index if isinstance(index, slice) else index.numpy()])


def as_rows(values: NDArray[Any] | LazyRows) -> TensorRows:
    """Wrap rows so that some of them can be taken as tensors; see :func:`as_tensor`."""
    return _Made(values) if isinstance(values, LazyRows) else as_tensor(values)


def as_tensor(values: NDArray[Any]) -> Tensor:
    """Wrap an array in a tensor that shares its memory wherever torch can.

    Parameters
    ----------
    values : ndarray
        Booleans, integers or floats.

    Returns
    -------
    Tensor
        Of the same shape and kind; types that torch lacks are widened.
    """
    if values.dtype.byteorder not in "=|" or values.dtype == np.longdouble:
        values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    if values.dtype.kind == "u" and values.dtype.itemsize > 2:
        # The largest 64-bit integers without a sign have no place among those with one.
        values = values.astype(np.float64 if values.dtype.itemsize == 8 else np.int64)
    if any(stride < 0 for stride in values.strides):
        values = np.ascontiguousarray(values)
    with warnings.catch_warnings():
        # Memory maps are read-only; torch warns of writing to them, which nothing here does.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


def read_rows(X: Any, model: object = None) -> Any:
    """Read what a path names, and take tensors off their device; give back anything else as it is.

    Parameters
    ----------
    X : path, Tensor, ndarray, DataFrame or list
        A path may name any data that :func:`narrows.data.files.read` knows.
    model : object, optional
        A trained model or half that the rows are for: pictures are brought to its shape and
        units, and a file's columns keep their names if it knows its own.

    Returns
    -------
    ndarray, DataFrame, Arrow table or list
        What can be validated as an array.

    Raises
    ------
    DataError
        If it holds gaps, a tensor is none of numbers in memory, or it is no array but something
        that gives rows, such as a data loader.
    """
    if isinstance(X, str | Path):
        # Read only here: what reads tables and pictures takes a while to import.
        from narrows.data import files

        shape = getattr(model, "sample_shape_", None)
        own_size = getattr(model, "takes_any_size_", False)
        rows = files.read(
            X,
            sample_shape=shape,
            own_size=own_size,
            scaling=getattr(model, "scaling_", None),
            of_pictures=shape is None or files.model_shows_pictures(model),
            resizing=None if shape is None else "say",
            known=getattr(model, "feature_names_in_", None),
        )
        return rows.for_model(model)
    if isinstance(X, Tensor):
        return _tensor_values(X)
    refuse_containers(X)
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise DataError(
            f"X has {np.ma.getmaskarray(X).sum()} masked values; only arrays without gaps are "
            "allowed; remove these rows or fill the gaps in (X.filled)"
        )
    return X


def as_array_like(X: Any) -> Any:
    """Turn lists and the like into arrays, and refuse what holds no rows.

    Parameters
    ----------
    X : object
        As :func:`read_rows` returns it.

    Returns
    -------
    ndarray, DataFrame, Arrow table or sparse matrix
        It has a shape of at least one dimension.

    Raises
    ------
    DataError
        If it is a single thing, or its rows are not of one shape.
    """
    given = X
    refuse_containers(X)
    if (pictures := pictures_as_array(X)) is not None:
        return pictures
    if isinstance(X, list | tuple) and X and all(isinstance(row, Tensor) for row in X):
        X = [_tensor_values(row) for row in X]
    if not hasattr(X, "shape"):
        try:
            X = np.asarray(X)
        except ValueError as error:
            raise DataError(
                "rows of different shapes were given; rows must all have the same shape: pad or "
                "cut them, or leave some out"
            ) from error
    if X.shape == ():
        raise DataError(
            f"{_example(given)} of shape () was given, which holds no rows; give an array of "
            "shape (n, features), pictures (n, H, W) or (n, H, W, C), a DataFrame, a Tensor or "
            f"a path{one_of(given)}"
        )
    return X


def _example(given: object) -> str:
    return repr(given)[:40] if given is None or np.isscalar(given) else f"a {type(given).__name__}"


def _tensor_values(X: Tensor) -> NDArray[Any]:
    # numpy lacks torch's narrow floats, which float32 holds exactly.
    narrow = X.is_floating_point() and X.dtype not in (torch.float16, torch.float64)
    try:
        values: NDArray[Any] = (X.float() if narrow else X).numpy(force=True)
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise DataTypeError(
            f"a tensor of {X.dtype} and {X.layout} on {X.device} was given; only dense tensors of "
            "numbers in memory are allowed: use X.to_dense(), or turn it into an array"
        ) from error
    return values


def check_all_finite(X: LazyRows) -> None:
    """Refuse values that are not finite, as :func:`check_finite`, some rows at a time."""
    block = min(_BLOCK, max(1, _VALUES // math.prod(X.shape[1:])))
    for number, rows in enumerate(X.passing(block) if X.dtype.kind == "f" else ()):
        check_finite(rows, first_row=number * block)


def check_finite(X: NDArray[Any], name: str = "X", first_row: int = 0) -> None:
    """Refuse values that are not finite, naming the first.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Any numeric type.
    name : str
        What messages call them.
    first_row : int
        The number of the first row, if these are some of many.

    Raises
    ------
    DataError
        If a value is NaN or infinite.
    """
    if X.dtype.kind != "f" or not X.size:
        return
    with np.errstate(invalid="ignore"):
        largest = max(float(X.max()), -float(X.min()))
    if not np.isfinite(largest):
        finite = np.isfinite(X)
        first = np.argwhere(~finite)[0]
        value = "NaN" if np.isnan(X[tuple(first)]) else "infinity"
        raise DataError(
            f"Input {name} contains {value} ({(~finite).sum()} such values, the first in row "
            f"{first_row + first[0]}, counted from 0); only finite numbers are allowed; remove "
            "these rows or fill the gaps in"
        )
    if largest > float(np.finfo(np.float32).max):
        raise DataError(
            f"Input {name} contains {largest:g}, beyond what single precision holds (3.4e38); "
            "divide the data by a constant, or remove these rows"
        )
