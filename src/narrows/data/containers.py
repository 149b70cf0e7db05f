"""What holds rows and is no array of them: refused, by a sentence that says what to give instead.

Pictures that Pillow holds are taken, as those in files are.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from narrows.data.text import listed, shortened
from narrows.errors import DataError, DataTypeError

# Pillow's modes whose pixels are brightness, or red, green and blue.
_MODES = ("1", "L", "I", "F", "RGB")


def refuse_containers(X: object) -> None:
    """Refuse what gives rows one by one, or several arrays.

    Parameters
    ----------
    X : object
        As a user gave it. It is not iterated over.

    Raises
    ------
    DataTypeError
        Naming the expression that gives the rows as an array.
    """
    instead = _instead(X)
    if instead:
        kind = type(X).__name__
        article = "an" if kind[0] in "AEIOUaeiou" else "a"
        raise DataTypeError(
            f"{article} {kind} was given, and rows are taken as one array; give {instead}"
        )


def _instead(X: Any) -> str:
    """Say what to give in place of a container; nothing if it is none."""
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
    """Say how to make an array of a column of a data set of Hugging Face's."""
    names = [repr(name) for name in X.column_names or ()]
    columns = f", of its columns {listed(shortened(name, 40) for name in names)}" if names else ""
    name = names[0] if names else "'image'"
    return f'np.stack([row[{name}] for row in X.with_format("numpy")]){columns}'


def _has(*names: str) -> Callable[[object], bool]:
    return lambda X: all(hasattr(X, name) for name in names)


def _is_records(X: object) -> bool:
    return isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], Mapping)


def _is_batch(X: object) -> bool:
    """Tell whether something is what a loader gives: rows, and as many labels."""
    if not isinstance(X, list | tuple) or not 2 <= len(X) <= 3:
        return False
    shapes = [tuple(part.shape) for part in X if isinstance(part, Tensor | np.ndarray)]
    alike = len(shapes) == len(X) and len({shape[:1] for shape in shapes}) == 1
    return alike and len(shapes[0]) > 1 and any(len(shape) < 2 for shape in shapes[1:])


def gives_rows(X: object) -> bool:
    """Tell whether something gives rows one by one: a data loader, a data set, an iterator."""
    return any(is_such(X) for is_such, _ in _ONE_BY_ONE)


def is_picture(X: object) -> bool:
    """Tell whether something is a picture that Pillow holds."""
    # Whoever holds one has imported Pillow.
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(X, module.Image)


_Kinds: TypeAlias = tuple[tuple[Callable[[Any], bool], Callable[[Any], str]], ...]

# What it is, and what to give instead: the first that fits.
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
_KINDS: _Kinds = (
    *_ONE_BY_ONE,
    (lambda X: isinstance(X, Set), lambda _: "np.stack(list(X)), in an order of your choice"),
    (is_picture, lambda _: "a list of pictures, [X] of this one"),
    (_is_records, lambda _: "a table, pandas.DataFrame(X)"),
    (_is_batch, lambda _: "its rows alone, X[0]"),
)


def one_of(X: object) -> str:
    """Say how to take one array out of several that have names; nothing if there are none.

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
    """Turn a list of Pillow's pictures into an array (n, H, W[, C]); ``None`` if it is none.

    They stand upright, as those that are read from files.

    Raises
    ------
    DataError
        If they are not of one size and mode, or their pixels are no brightnesses.
    """
    if not isinstance(X, list | tuple) or not X or not all(map(is_picture, X)):
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
