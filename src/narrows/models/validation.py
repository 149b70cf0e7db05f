"""Checks of what users give: rows, codes, labels or clean rows beside them, and parameters."""

import math
import numbers
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data

from narrows.data.arrays import as_array_like, check_all_finite, check_finite, gives_rows, read_rows
from narrows.data.axes import channels_first, hint, last_axis_call, lies_down, may_be_channels_first
from narrows.data.lazy_rows import AnyRows, LazyRows, StoredRows, stored
from narrows.data.signal_files import Windows
from narrows.errors import DataError, DataTypeError, ParameterError, warn
from narrows.networks import NetworkSpec
from narrows.texts import counted, listed, shortened

_SHOWN = 3  # names of columns in a message
_TOO_MUCH = 1e38  # for a parameter: sums in single precision would overflow


def check_rows(owner: Any, X: Any, *, fitting: bool = False) -> NDArray[Any]:
    """Turn what was given into an array of numbers, by scikit-learn's rules and for pictures too.

    Parameters
    ----------
    owner : BaseAutoencoder or Encoder
        A model that learns ``n_features_in_`` (of a picture: all its values) and
        ``feature_names_in_`` from the rows; or a trained one, or its encoder, that uses them.
    X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), Tensor, DataFrame or path
        The rows.
    fitting : bool, default=False
        Whether the owner learns from these rows.

    Returns
    -------
    ndarray of shape (n, ...)
        Of whatever numeric type it came in; in the shape learned from, if there is one. Lazy rows
        stay such: whoever uses them takes slices, as of an array.

    Raises
    ------
    DataError
        If the rows cannot be used, or are not like those learned from.
    """
    given = X
    if type(X) is not np.ndarray or X.dtype.kind not in "biuf" or not X.ndim:
        X = stored(as_array_like(read_rows(X, None if fitting else owner)))
    shape = tuple(X.shape)
    if len(shape) == 1:
        raise DataError(
            f"Expected 2D array, got 1D array of shape {shape}. Reshape your data: "
            "X.reshape(1, -1) is one row, X.reshape(-1, 1) is one feature"
        )
    if len(shape) > 4:
        raise DataError(
            f"an array with {len(shape)} dimensions was given; tables (n, F) and pictures "
            "(n, H, W) or (n, H, W, C) are allowed; reshape it"
        )
    if fitting:
        _check_axes(shape, given)
    else:
        check_columns(owner, X, given)
        check_rate(owner, X.rate if isinstance(X, Windows) else None)
    if isinstance(X, LazyRows):
        return cast("NDArray[Any]", _check_lazy(owner, X, fitting=fitting))
    if repeated := _repeated(_labels(X)):
        raise DataError(f"the columns {_some(repeated)} come more than once; name every one once")
    flat = X.reshape(len(X), math.prod(shape[1:])) if len(shape) > 2 else X
    rows = _as_numbers(flat, type(owner).__name__, at_least=2 if fitting else 1)
    if not fitting:
        shape = _check_shape(owner, shape, given)
    check_finite(rows)
    # Pictures of another size than those learned from have another number of features.
    if isinstance(owner, BaseEstimator) and (fitting or shape[1:] == owner.sample_shape_):
        _check_by_estimator(owner, flat, fitting=fitting)
    return rows.reshape(-1, *shape[1:])


def _check_lazy(owner: Any, X: LazyRows, *, fitting: bool) -> Any:
    """Check rows that never stand in memory together."""
    if len(X) < (least := 2 if fitting else 1):
        raise DataError(
            f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of {least} is "
            f"required by {type(owner).__name__}; give more rows"
        )
    if not fitting and isinstance(X, StoredRows):
        X = X.reshaped(_check_shape(owner, X.shape, X))
    elif not fitting and X.shape[1:] != owner.sample_shape_:
        remedy = _window_remedy(X.shape[1:], owner.sample_shape_)
        raise DataError(
            f"rows of shape {X.shape[1:]} were given, {owner.sample_shape_} were learned from; "
            f"{remedy}"
        )
    if not fitting:  # otherwise, whoever learns from them looks at all of them first
        check_all_finite(X)
    else:
        owner.n_features_in_ = math.prod(X.shape[1:])
        vars(owner).pop("feature_names_in_", None)
        if X.columns:
            owner.feature_names_in_ = np.asarray(X.columns, dtype=object)
    return X


def _window_remedy(given: tuple[int, ...], learned: tuple[int, ...]) -> str:
    """Say how windows of another length or of other channels become those learned from."""
    count, needed = math.prod(given[1:]), math.prod(learned[1:])
    if count > needed:
        some = ",".join(map(str, range(needed)))
        return (
            f"choose {counted(needed, 'channel')} of {count} (--columns {some}, of a table the "
            f"columns' names; in Python signals.read(path, {some.split(',')}))"
        )
    if count < needed:
        return f"give a signal with {needed} channels"
    return f"cut windows of {learned[0]} samples (signals.Windows)"


def check_codes(
    Z: Any, n_components: int, name: str = "Z", *, are_maps: bool = False
) -> NDArray[np.float32]:
    """Turn what was given into codes (n, K).

    Parameters
    ----------
    Z : array-like of shape (n, K), Tensor, DataFrame or path
        The codes.
    n_components : int
        Their width, K.
    name : str
        What messages call them.
    are_maps : bool
        Whether their width hangs on the size of the pictures.

    Raises
    ------
    DataError
        If they have another width, or are not finite numbers.
    """
    Z = as_array_like(read_rows(Z))
    shape = tuple(Z.shape)
    if len(shape) != 2 or shape[1] != n_components:
        raise DataError(
            f"codes of shape {shape} were given to a decoder of {n_components} numbers; "
            f"give an array of shape (n, {n_components})"
            + (", or the size of the pictures that were encoded (sample_shape)" if are_maps else "")
        )
    codes = _as_numbers(Z, "Decoder", at_least=0, name=name)
    check_finite(codes, name)
    return codes.astype(np.float32, copy=False)


def check_sample_shape(spec: NetworkSpec, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Compare a shape of rows with what a network can encode and decode.

    Parameters
    ----------
    spec : NetworkSpec
        Of the network. Where its code is a map, rows of any extent will do.
    given : tuple of int or None
        The shape; None stands for the one learned from.

    Returns
    -------
    tuple of int
        The shape.

    Raises
    ------
    DataError
        If the network cannot make such rows.
    """
    learned = spec.sample_shape
    if given is None or tuple(given) == learned:
        return learned
    if not spec.is_map:
        raise DataError(
            f"rows of shape {tuple(given)} were asked for, {learned} were learned from; only "
            "models with architecture='fully_convolutional' take others"
        )
    least = 2 ** len(spec.hidden_layer_sizes) // 2 + 1
    if len(given) != len(learned) or given[2:] != learned[2:] or min(given[:2]) < least:
        wanted = ", ".join([f"at least {least}"] * len(learned[:2]) + [f"{n}" for n in learned[2:]])
        resize = "resize them, or train with fewer hidden layers"
        remedy = resize if given[2:] == learned[2:] else "give them the channels learned from"
        raise DataError(
            f"pictures of shape {tuple(given)} were given, and ({wanted}) is allowed; {remedy}"
        )
    return tuple(given)


def check_columns(owner: object, X: Any, source: object = None) -> None:
    """Refuse a table whose columns are not those learned from, in their order.

    Parameters
    ----------
    owner : BaseAutoencoder, Encoder or Decoder
        Trained. Where it has no ``feature_names_in_``, any columns will do.
    X : object
        A DataFrame, an Arrow table, or :class:`narrows.data.files.Rows`. What has no names, or
        none that is text, is accepted.
    source : object, optional
        Where it came from; a path is named in the message.

    Raises
    ------
    DataError
        Naming the columns that are unexpected, missing, or in another place.
    """
    known, names = getattr(owner, "feature_names_in_", None), _labels(X)
    if known is None or names == list(known) or not any(isinstance(name, str) for name in names):
        return
    known = list(known)
    table = f"the table '{source}'" if isinstance(source, str | Path) else "the table given"
    learned, found = dict.fromkeys(known), dict.fromkeys(names)
    wrong = {
        "unexpected": [name for name in found if name not in learned],
        "missing": [name for name in learned if name not in found],
        "repeated": _repeated(names),
    }
    differences = [f"{word} {_some(these)}" for word, these in wrong.items() if these]
    if not differences:
        place = next(i for i, name in enumerate(names) if name != known[i])
        differences = [f"{names[place]!r} stands where {known[place]!r} did"]
    raise DataError(
        f"the columns of {table} are not those that the {type(owner).__name__} learned from: "
        f"{'; '.join(differences)}; give the columns {_some(known)} by these names in this order "
        "(feature_names_in_)"
    )


def _labels(X: Any) -> list[Any]:
    """Return what a table calls its columns; nothing for an array."""
    # An Arrow table's `columns` are the values.
    labels = getattr(X, "column_names", None) or getattr(X, "columns", None)
    return [] if labels is None else list(labels)


def _repeated(names: list[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


def _some(names: Sequence[Any]) -> str:
    return listed((shortened(repr(name), 40) for name in names), _SHOWN)


def _check_axes(shape: tuple[int, ...], X: Any) -> None:
    """Refuse rows to learn from whose first axis counts channels, (n, C, H, W) or (n, C, L)."""
    row = shape[1:]
    if lies_down(row):
        raise DataError(
            f"an array of shape {shape} was given, whose axis 1 ({row[0]}) would be taken for time "
            f"and the last ({row[1]}) for channels; signals are (n, samples, channels): give "
            f"{last_axis_call(shape, X)}, or, if these are no signals, X.reshape(len(X), -1)"
        )
    if channels_first(row):
        call = last_axis_call(shape, X)
        saved = isinstance(X, str | Path)
        raise DataError(
            f"an array of shape {shape} was given, whose axis 1 ({row[0]}) would be taken for the "
            f"height of pictures and the last ({row[2]}) for channels; pictures are (n, height, "
            f"width, channels): {'save' if saved else 'give'} {call}, or, if these are no "
            "pictures, X.reshape(len(X), -1)"
        )
    if may_be_channels_first(row):
        warn(
            f"rows of shape {row} are taken for {row[0]} x {row[1]} pixels of {row[2]} channels; "
            f"if the first axis counts the channels, give {last_axis_call(shape, X)}",
            kind="channels_last",
            stacklevel=5,
            shape=list(row),
        )


def check_rate(owner: Any, rate: int | None) -> None:
    """Refuse a signal of another rate than a model learned from, where both are known.

    Raises
    ------
    DataError
        Naming both.
    """
    learned = getattr(owner, "rate_", None)
    if None not in (rate, learned) and rate != learned:
        raise DataError(
            f"a signal of {rate} samples a second was given, and the {type(owner).__name__} "
            f"learned from {learned}; bring it to that (--rate {learned}, signals.read(path, "
            f"rate={learned}), signals.resample)"
        )


def _check_shape(owner: Any, given: tuple[int, ...], X: Any = None) -> tuple[int, ...]:
    """Compare the shape of rows with the one learned from, and return what they are to have."""
    learned: tuple[int, ...] = owner.sample_shape_
    n_features, n_learned = math.prod(given[1:]), math.prod(learned)
    of_pictures = len(given) > 2 and len(learned) > 1
    remedy = hint(given, learned, X) if given[1:] != learned else ""
    if (of_pictures or len(given) == len(learned) + 1) and given[1:] != learned:
        spec = getattr(owner, "spec_", getattr(owner, "spec", None))
        if spec is not None and spec.is_map and not remedy:
            return given[:1] + check_sample_shape(spec, given[1:])
    if of_pictures and given[1:] != learned:
        raise DataError(
            f"pictures of shape {given[1:]} were given, {learned} were learned from; "
            f"{remedy or 'resize them'}"
        )
    if n_features != n_learned:
        raise DataError(
            f"X has {n_features} features, but {type(owner).__name__} is expecting {n_learned} "
            "features as input; "
            + (
                remedy
                or "give rows with the features learned from, of shape "
                f"(n, {', '.join(map(str, learned))})"
            )
        )
    return given[:1] + learned


def _check_by_estimator(owner: BaseEstimator, X: Any, *, fitting: bool) -> None:
    """Let scikit-learn keep the features' number and names, or warn where names are lost."""
    try:
        validate_data(owner, X, reset=fitting, skip_check_array=True)
    except TypeError as error:
        raise DataTypeError(_one_line(error)) from error


def _as_numbers(X: Any, owner: str, *, at_least: int, name: str = "X") -> NDArray[Any]:
    """Turn a table into an array of booleans, integers or floats, with some rows at least."""
    try:
        _check_kind(X)
        rows: NDArray[Any] = check_array(
            X,
            dtype="numeric",
            ensure_all_finite=False,
            ensure_min_samples=at_least,
            estimator=owner,
            input_name=name,
        )
        # Of tables of objects, only those that pandas names so were turned into numbers.
        rows = rows.astype(np.float64) if rows.dtype.kind == "O" else rows
        _check_kind(rows)
    except (ValueError, TypeError, OverflowError) as error:
        kind = DataTypeError if isinstance(error, TypeError) else DataError
        raise kind(_explain(X, error)) from error
    return rows


def _check_kind(values: Any) -> None:
    # scikit-learn has words of its own for complex numbers, and tries what objects hold.
    if isinstance(values, np.ndarray) and values.dtype.kind not in "buifcO":
        raise TypeError(f"values of type {values.dtype} were given")


def _explain(X: Any, error: Exception) -> str:
    line = _one_line(error).rstrip(".")
    if "sample(s)" in line:
        return f"{line}; give more rows"
    if "feature(s)" in line:
        return f"{line}; give rows with features"
    if "COO" in line:
        return "a DataFrame of sparse columns was given; only dense ones are allowed; use to_dense"
    if "Sparse data" in line or "np.matrix" in line:
        return line
    said, n_gaps = [], 0
    for name, column, gaps in _columns(X):
        wrong = next((value for value in column if not _is_real(value)), None)
        if wrong is not None:
            said.append(f"{_named(name)} holds {shortened(repr(wrong), 40)}, which is no number")
        elif gaps:
            n_gaps += 1
            said.append(f"{_named(name)} has {counted(gaps, 'missing value')}")
    if len(said) > n_gaps:
        one = len(said) == 1
        which, they, them = (
            ("column", "the column", "it") if one else ("columns", "these columns", "them")
        )
        return (
            f"{which} {listed(said, 4, '; ')}; only real numbers are allowed; leave {they} out or "
            f"encode {them} as numbers{', and fill gaps in' if n_gaps else ''}"
        )
    return f"{line}; only real numbers are allowed; leave the rest out or encode it as numbers"


def _named(name: Any) -> str:
    return shortened(repr(name), 30)


def _is_real(value: Any) -> bool:
    try:
        float(value)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _columns(X: Any) -> Iterator[tuple[Any, list[Any], int]]:
    """Yield the name of each column of a table, its values without gaps, and how many gaps."""
    if hasattr(X, "column_names"):
        for name, column in zip(X.column_names, X.columns, strict=True):
            yield name, column.drop_null().to_pylist(), column.null_count
    elif hasattr(X, "items"):
        for name, column in X.items():
            yield name, column.dropna().tolist(), int(column.isna().sum())


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def check_number(
    name: str,
    value: Any,
    *,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    integral: bool = False,
    words: Collection[str] = (),
) -> None:
    """Refuse a parameter that is not a number in a range, or one of some words.

    Parameters
    ----------
    name : str
        The parameter's.
    value : object
        What was given.
    low, high : float
        The range.
    open_low, open_high : bool
        Whether the range's ends are outside of it.
    integral : bool
        Whether only whole numbers are allowed.
    words : collection of str
        Words that are allowed as well.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    if isinstance(value, str) and value in words:
        return
    kind = numbers.Integral if integral else numbers.Real
    is_number = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
    above = is_number and (low < value if open_low else low <= value) and value < _TOO_MUCH
    if above and (value < high or (value == high and not open_high)):
        return
    what = "a whole number" if integral else "a number"
    if high == math.inf:
        span = f"above {low:g}" if open_low else f"of at least {low:g}"
        if is_number and value >= _TOO_MUCH:
            span += f" and below {_TOO_MUCH:g}"
    else:
        span = f"in {'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    choice = "".join(f" or {word!r}" for word in words)
    raise ParameterError(f"{name}={value!r} is not allowed; give {what} {span}{choice}")


def check_flag(name: str, value: Any) -> None:
    """Refuse a parameter that is neither true nor false.

    Raises
    ------
    ParameterError
        If it is neither.
    """
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(f"{name}={value!r} is not allowed; give True or False")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Refuse a parameter that is not one of some words.

    Raises
    ------
    ParameterError
        If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(
            f"{name}={value!r} is not known; use one of {', '.join(map(repr, choices))}"
        )


def is_rows(y: Any, sample_shape: tuple[int, ...]) -> bool:
    """Tell whether what was given as ``y`` are rows like others, and no labels.

    Parameters
    ----------
    y : object
        Labels have the shape (n,) or (n, 1), or (n, m) where there are several of each row.
    sample_shape : tuple of int
        Of one of the other rows.

    Examples
    --------
    >>> is_rows(np.zeros((5, 8)), (8,)), is_rows(np.zeros((5, 1)), (8,))
    (True, False)
    """
    if isinstance(y, str | Path | LazyRows) or gives_rows(y):
        return True
    own = shape_of(y)[1:]
    return len(own) > 1 or (len(own) == 1 and own[0] == math.prod(sample_shape) != 1)


def shape_of(given: Any) -> tuple[int, ...]:
    """Return the shape of an array or of what turns into one; ``()`` of anything else."""
    try:
        return tuple(given.shape if hasattr(given, "shape") else np.asarray(given).shape)
    except ValueError:  # lists of different lengths
        return ()


def check_no_pairs(owner: object, X: AnyRows, y: Any) -> None:
    """Refuse clean rows where they would be left out.

    Parameters
    ----------
    owner : BaseAutoencoder
        A model that learns from rows alone.
    X : ndarray or LazyRows of shape (n, ...)
        The rows, checked.
    y : object
        What was given beside them.

    Raises
    ------
    DataError
        If it has the shape of rows.
    """
    if is_rows(y, X.shape[1:]):
        if isinstance(y, str | Path):
            what = f"{str(y)[:80]!r}"
        else:
            what = f"({type(y).__name__})" if gives_rows(y) else f"of shape {shape_of(y)}"
        raise DataError(
            f"y {what} was given beside X of shape {tuple(X.shape)}, and {type(owner).__name__} "
            "does not learn from pairs of rows: it would leave y out; use "
            "DenoisingAutoencoder().fit(noisy, clean), give labels of shape (n,), or leave y out"
        )
