"""Whatever users give as rows, to arrays and tensors."""

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from narrows.data.lazy_rows import LazyRows
from narrows.errors import DataError, DataTypeError
from narrows.texts import listed, shortened

# Lazy rows, and their values, that are checked at a time.
_BLOCK, _VALUES = 4096, 1 << 23
# Pillow's modes whose pixels are brightness, or red, green and blue.
_MODES = ("1", "L", "I", "F", "RGB")
_Kinds: TypeAlias = tuple[tuple[Callable[[Any], bool], Callable[[Any], str]], ...]


class TensorRows(Protocol):
    """Rows as tensors: a tensor, or lazy rows that become one on access."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Return a slice of rows, or the rows with these numbers."""


class _Made:
    """Lazy rows as tensors."""

    def __init__(self, rows: LazyRows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        return as_tensor(self._rows[index if isinstance(index, slice) else index.numpy()])


def as_rows(values: NDArray[Any] | LazyRows) -> TensorRows:
    """Wrap rows so that indexing gives tensors; see :func:`as_tensor`."""
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
        The tensor, in the same shape and kind of type; types that torch lacks are widened.
    """
    if values.dtype.byteorder not in "=|" or values.dtype == np.longdouble:
        values = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    if values.dtype.kind == "u" and values.dtype.itemsize > 2:
        # The largest unsigned 64-bit integers do not fit into signed ones.
        values = values.astype(np.float64 if values.dtype.itemsize == 8 else np.int64)
    if any(stride < 0 for stride in values.strides):
        values = np.ascontiguousarray(values)
    with warnings.catch_warnings():
        # torch warns that memory maps are read-only; nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


def read_rows(X: Any, model: Any = None, crops: int | None = None) -> Any:
    """Read the file or folder of a path, and copy tensors to the CPU; return the rest as it is.

    Parameters
    ----------
    X : path, Tensor, ndarray, DataFrame or list
        A path may name any data that :func:`narrows.data.files.read` knows.
    model : object, optional
        A trained model or half that the rows are for: pictures are brought to its shape and
        units, and a file's columns keep their names if it knows its own.
    crops : int, optional
        See :func:`narrows.data.files.read`.

    Returns
    -------
    ndarray, DataFrame, Arrow table or list
        What can be validated as an array.

    Raises
    ------
    DataError
        If a masked array has gaps, a tensor is not dense and numeric, or ``X`` yields rows one by
        one, as a data loader does.
    """
    if isinstance(X, str | Path):
        # Imported here, as the readers of tables and pictures take a while to import.
        from narrows.data import files

        shape = getattr(model, "sample_shape_", None)
        own_size = getattr(model, "takes_any_size_", False)
        rows = files.read(
            X,
            sample_shape=shape,
            own_size=own_size,
            scaling=getattr(model, "scaling_", None),
            of_pictures=shape is None or model.spec_.shows_pictures,
            resizing=None if shape is None else "say",
            known=getattr(model, "feature_names_in_", None),
            crops=crops,
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
    """Turn lists into arrays, and refuse what has no rows.

    Parameters
    ----------
    X : object
        The result of :func:`read_rows`.

    Returns
    -------
    ndarray, DataFrame, Arrow table or sparse matrix
        It has a shape of at least one dimension.

    Raises
    ------
    DataError
        If ``X`` is a single value, or its rows have several shapes.
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
    """Refuse lazy rows with values that are not finite; see :func:`check_finite`."""
    block = min(_BLOCK, max(1, _VALUES // math.prod(X.shape[1:])))
    for number, rows in enumerate(X.blocks(block) if X.dtype.kind == "f" else ()):
        check_finite(rows, first_row=number * block)


def check_finite(X: NDArray[Any], name: str = "X", first_row: int = 0) -> None:
    """Refuse values that are not finite, and name the first.

    Parameters
    ----------
    X : ndarray of shape (n, *sample_shape)
        Any numeric type.
    name : str
        Name of the array in messages.
    first_row : int
        Number of the first row, if these are part of an array.

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


def refuse_containers(X: object) -> None:
    """Refuse containers that yield rows one by one, or that hold several arrays.

    Parameters
    ----------
    X : object
        Whatever a user gave. It is not iterated over.

    Raises
    ------
    DataTypeError
        If it is one; the message has the expression that gives its rows as an array.
    """
    instead = _instead(X)
    if instead:
        kind = type(X).__name__
        article = "an" if kind[0] in "AEIOUaeiou" else "a"
        raise DataTypeError(
            f"{article} {kind} was given, and rows are taken as one array; give {instead}"
        )


def _instead(X: Any) -> str:
    """Return the expression to give in place of a container; "" for anything else."""
    for is_such, answer in _KINDS:
        if is_such(X):
            return answer(X)
    return ""


def _of_loader(loader: DataLoader[Any]) -> str:
    return _of_dataset(loader.dataset, "loader.dataset")


def _of_dataset(dataset: Any, name: str = "dataset") -> str:
    if isinstance(dataset, TensorDataset):
        return f"the tensor that it was made of: {name}.tensors[0]"
    items = f"item[0] for item in {name}"
    if not isinstance(dataset, IterableDataset):
        items = f"{name}[i][0] for i in range(len({name}))"
    return f"np.stack([{items}]), or without [0] where each item is a row alone"


def _of_columns(X: Any) -> str:
    """Return the expression for a column of a Hugging Face data set."""
    names = [repr(name) for name in X.column_names or ()]
    columns = f", of its columns {listed(shortened(name, 40) for name in names)}" if names else ""
    name = names[0] if names else "'image'"
    return f'np.stack([row[{name}] for row in X.with_format("numpy")]){columns}'


def _has(*names: str) -> Callable[[object], bool]:
    return lambda X: all(hasattr(X, name) for name in names)


# A predicate, and the expression to give instead; the first predicate that holds counts.
_ONE_BY_ONE: _Kinds = (
    (lambda X: isinstance(X, DataLoader), _of_loader),
    (lambda X: isinstance(X, Dataset), _of_dataset),
    (_has("with_format", "column_names"), _of_columns),
    (
        _has("as_numpy_iterator"),
        lambda _: "np.stack(list(dataset.as_numpy_iterator())), of a data set without batches",
    ),
    (
        lambda X: isinstance(X, Iterator),
        lambda _: "np.stack(list(X)), for it can be gone through but once",
    ),
)


def _is_records(X: object) -> bool:
    return isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], Mapping)


def _is_batch(X: object) -> bool:
    """Return whether ``X`` is a batch of a data loader: rows, and as many labels."""
    if not isinstance(X, list | tuple) or not 2 <= len(X) <= 3:
        return False
    shapes = [tuple(part.shape) for part in X if isinstance(part, Tensor | np.ndarray)]
    alike = len(shapes) == len(X) and len({shape[:1] for shape in shapes}) == 1
    return alike and len(shapes[0]) > 1 and any(len(shape) < 2 for shape in shapes[1:])


def gives_rows(X: object) -> bool:
    """Return whether ``X`` yields rows one by one: a data loader, a data set, an iterator."""
    return any(is_such(X) for is_such, _ in _ONE_BY_ONE)


def is_pillow_image(X: object) -> bool:
    """Return whether ``X`` is a picture of Pillow's."""
    # If Pillow has not been imported, there is none.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(X, module.Image)


_KINDS: _Kinds = (
    *_ONE_BY_ONE,
    (lambda X: isinstance(X, Set), lambda _: "np.stack(list(X)), in an order of your choice"),
    (is_pillow_image, lambda _: "a list of pictures, [X] of this one"),
    (_is_records, lambda _: "a table, pandas.DataFrame(X)"),
    (_is_batch, lambda _: "its rows alone, X[0]"),
)


def one_of(X: object) -> str:
    """Return a hint to the arrays in a mapping; "" for anything else.

    Examples
    --------
    >>> one_of({"train": [[1.0]], "test": [[2.0]]})
    ": one of X['train'], X['test']"
    """
    return (
        f": one of {listed(shortened(f'X[{key!r}]', 40) for key in X)}"
        if isinstance(X, Mapping) and X
        else ""
    )


def pictures_as_array(X: object) -> NDArray[Any] | None:
    """Turn a list of Pillow's pictures into an array (n, H, W[, C]); None for anything else.

    They are turned upright by their EXIF data, as those that are read from files.

    Raises
    ------
    DataError
        If they have several sizes or modes, or another mode than grey or RGB.
    """
    if not isinstance(X, list | tuple) or not X or not all(map(is_pillow_image, X)):
        return None
    from PIL import ImageOps

    upright = [ImageOps.exif_transpose(picture) for picture in X]
    modes = list(dict.fromkeys(picture.mode for picture in upright))
    strange = [mode for mode in modes if mode not in _MODES and not mode.startswith("I;16")]
    if strange or len(modes) > 1:
        raise DataError(
            f"pictures of the mode{'s' if len(modes) > 1 else ''} {listed(modes)} were given; give "
            "all of them as colours or all as grey: [picture.convert('RGB') for picture in X], or "
            "'L'"
        )
    sizes = list(dict.fromkeys(picture.size for picture in upright))
    if len(sizes) > 1:
        (width, height), (other_width, other_height) = sizes[:2]
        raise DataError(
            f"pictures of {len(sizes)} sizes were given, such as {width} x {height} and "
            f"{other_width} x {other_height} (width x height); give all of one size: "
            f"[picture.resize(({width}, {height})) for picture in X]"
        )
    return np.stack([np.asarray(picture) for picture in upright])
