"""Checks of users' input: rows, codes, labels or clean rows beside them, and parameters."""

import math
import numbers
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, validate_data

from narrows.corruption import check_corruption, hides
from narrows.data.arrays import as_array_like, check_all_finite, check_finite, gives_rows, read_rows
from narrows.data.axes import hint, last_axis_call, leading_channels
from narrows.data.codes import name_codes, warn_of_codes
from narrows.data.formats import NUMERIC_KINDS
from narrows.data.frames import frame_of_kinds
from narrows.data.lazy_rows import AnyRows, LazyRows, StoredRows, stored
from narrows.data.scaling import SCALINGS
from narrows.data.signal_files import Windows
from narrows.errors import DataError, DataTypeError, ParameterError, warn
from narrows.losses import LOSSES
from narrows.models.damage import AUTO
from narrows.models.parameters import ModelAttributes, Trained
from narrows.networks import (
    ACTIVATIONS,
    ARCHITECTURES,
    BUILT_IN,
    NORMALIZATIONS,
    OUTPUTS,
    NetworkSpec,
)
from narrows.texts import counted, is_text, is_word, listed, shortened
from narrows.training.loop import choose_device

_SHOWN = 3  # names of columns in a message
# Far beyond what any memory holds, and still small enough for sizes to be multiplied.
_WIDEST = 10**7
_DEEPEST = 10_000
_TOO_MUCH = 1e38  # for a parameter: sums in single precision would overflow


def check_rows(owner: Any, X: Any, *, fitting: bool = False) -> NDArray[Any]:
    """Convert rows to an array of numbers, by scikit-learn's rules, which are extended to pictures.

    Parameters
    ----------
    owner : BaseAutoencoder or Encoder
        A model to be fitted, which gets ``n_features_in_`` (for pictures: the number of values) and
        ``feature_names_in_``; or a fitted model or its encoder.
    X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
        The rows.
    fitting : bool, default=False
        Whether the owner is to be fitted to these rows.

    Returns
    -------
    ndarray of shape (n, ...)
        Rows of their numeric type, in the shape of the training rows if the owner is fitted. Lazy
        rows stay lazy; they can be sliced like an array.

    Raises
    ------
    DataError
        If the rows cannot be used, or differ from the training rows in shape or columns.
    """
    given = X
    if type(X) is not np.ndarray or X.dtype.kind not in NUMERIC_KINDS or not X.ndim:
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
        raise DataError(
            f"the columns {_listed(repeated)} come more than once; name every one once",
            column=str(repeated[0]),
        )
    flat = X.reshape(len(X), math.prod(shape[1:])) if len(shape) > 2 else X
    rows = _as_numbers(flat, type(owner).__name__, at_least=2 if fitting else 1)
    if not fitting:
        shape = _check_shape(owner, shape, given)
    check_finite(rows)
    # Pictures of other sizes have another number of features.
    if isinstance(owner, BaseEstimator) and (fitting or shape[1:] == owner.sample_shape_):
        _check_by_estimator(owner, flat, fitting=fitting)
    if fitting:
        _warn_of_codes(given)
    return rows.reshape(-1, *shape[1:])


def _warn_of_codes(X: Any) -> None:
    """Warn of columns of texts in a data frame that were read as numbers, and may be codes."""
    if hasattr(X, "select_dtypes"):  # of pandas, whose columns are copied
        texts = X.select_dtypes(exclude=["number", "bool"])
        X = texts if texts.shape[1] else None
    frame = frame_of_kinds(X)
    columns = [] if frame is None else zip(frame.names, frame.columns, strict=True)
    warn_of_codes(name_codes((n, v.array, True) for n, v in columns if is_text(v.array)))


def _check_lazy(owner: Any, X: LazyRows, *, fitting: bool) -> Any:
    """Check rows that are never all in memory."""
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
    if not fitting:  # fitting checks all values while it reads them
        check_all_finite(X)
    else:
        owner.n_features_in_ = math.prod(X.shape[1:])
        vars(owner).pop("feature_names_in_", None)
        if X.columns:
            owner.feature_names_in_ = np.asarray(X.columns, dtype=object)
    return X


def _window_remedy(given: tuple[int, ...], learned: tuple[int, ...]) -> str:
    """Return the remedy for windows of another length or with other channels."""
    count, needed = math.prod(given[1:]), math.prod(learned[1:])
    if count > needed:
        numbers = ",".join(map(str, range(needed)))
        return (
            f"choose {counted(needed, 'channel')} of {count} (--columns {numbers}, of a table the "
            f"columns' names; in Python signals.read(path, {numbers.split(',')}))"
        )
    if count < needed:
        return f"give a signal with {needed} channels"
    return f"cut windows of {learned[0]} samples (signals.Windows)"


def check_codes(
    Z: Any, n_components: int, name: str = "Z", *, are_maps: bool = False
) -> NDArray[np.float32]:
    """Convert codes to an array (n, K).

    Parameters
    ----------
    Z : array-like of shape (n, K), DataFrame, Tensor or path
        The codes.
    n_components : int
        Their width, K.
    name : str
        Their name in messages.
    are_maps : bool
        Whether their width depends on the size of the pictures.

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
    """Check that a network can encode and decode rows of a shape.

    Parameters
    ----------
    spec : NetworkSpec
        The description of the network. If its code is a map, it accepts pictures of any size.
    given : tuple of int or None
        The shape; None stands for that of the training rows.

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
            "models with architecture='restoring' or 'fully_convolutional' take others"
        )
    least = least_side(spec)
    if len(given) != len(learned) or given[2:] != learned[2:] or min(given[:2]) < least:
        wanted = ", ".join([f"at least {least}"] * len(learned[:2]) + [f"{n}" for n in learned[2:]])
        resize = "resize them, or train with fewer hidden layers"
        remedy = resize if given[2:] == learned[2:] else "give them the channels learned from"
        raise DataError(
            f"pictures of shape {tuple(given)} were given, and ({wanted}) is allowed; {remedy}"
        )
    return tuple(given)


def least_side(spec: NetworkSpec) -> int:
    """Return the fewest pixels a side of pictures that a network of any size takes."""
    halvings = 0 if spec.definition.starts_at_input else len(spec.hidden_layer_sizes)
    return int(2**halvings // 2 + 1)


def check_columns(owner: object, X: Any, source: object = None) -> None:
    """Refuse a table whose columns differ from those of the training table, or in their order.

    Parameters
    ----------
    owner : BaseAutoencoder, Encoder or Decoder
        A fitted estimator. Without ``feature_names_in_`` it accepts any columns.
    X : object
        A DataFrame, an Arrow table, or :class:`narrows.data.files.Rows`. Without column names that
        are text, it is accepted.
    source : object, optional
        The source of the table; a path is named in the message.

    Raises
    ------
    DataError
        With the columns that are unexpected, missing, or in another place.
    """
    known, names = getattr(owner, "feature_names_in_", None), _labels(X)
    if known is None or names == list(known) or not any(map(is_text, names)):
        return
    known = list(known)
    table = f"the table '{source}'" if isinstance(source, str | Path) else "the table given"
    wrong = {
        "unexpected": [name for name in dict.fromkeys(names) if name not in set(known)],
        "missing": [name for name in dict.fromkeys(known) if name not in set(names)],
        "repeated": _repeated(names),
    }
    differences = [f"{word} {_listed(columns)}" for word, columns in wrong.items() if columns]
    if not differences:
        place = next(i for i, name in enumerate(names) if name != known[i])
        differences = [f"{names[place]!r} stands where {known[place]!r} did"]
        wrong["misplaced"] = [names[place]]
    raise DataError(
        f"the columns of {table} are not those that the {type(owner).__name__} learned from: "
        f"{'; '.join(differences)}; give the columns {_listed(known)} by these names in this order "
        "(feature_names_in_)",
        path=source if isinstance(source, str | Path) else None,
        column=str(next(filter(None, wrong.values()))[0]),
    )


def _labels(X: Any) -> list[Any]:
    """Return the names of a table's columns; none for an array."""
    # The attribute `columns` of an Arrow table holds the values.
    labels = getattr(X, "column_names", None) or getattr(X, "columns", None)
    return [] if labels is None else list(labels)


def _repeated(names: list[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


def _listed(names: Sequence[Any]) -> str:
    return listed((shortened(repr(name), 40) for name in names), _SHOWN)


def _check_axes(shape: tuple[int, ...], X: Any) -> None:
    """Refuse training rows whose first axis seems to count channels: (n, C, H, W) or (n, C, L)."""
    row = shape[1:]
    leading = leading_channels(row)
    if leading == "signal":
        raise DataError(
            f"an array of shape {shape} was given, whose axis 1 ({row[0]}) would be taken for time "
            f"and the last ({row[1]}) for channels; signals are (n, samples, channels): give "
            f"{last_axis_call(shape, X)}, or, if these are no signals, X.reshape(len(X), -1)"
        )
    if leading == "picture":
        call = last_axis_call(shape, X)
        saved = isinstance(X, str | Path)
        raise DataError(
            f"an array of shape {shape} was given, whose axis 1 ({row[0]}) would be taken for the "
            f"height of pictures and the last ({row[2]}) for channels; pictures are (n, height, "
            f"width, channels): {'save' if saved else 'give'} {call}, or, if these are no "
            "pictures, X.reshape(len(X), -1)"
        )
    if leading == "doubtful":
        warn(
            f"rows of shape {row} are taken for {row[0]} x {row[1]} pixels of {row[2]} channels; "
            f"if the first axis counts the channels, give {last_axis_call(shape, X)}",
            kind="channels_last",
            stacklevel=5,
            shape=list(row),
        )


def check_rate(owner: Any, rate: int | None) -> None:
    """Refuse a signal whose sampling rate differs from that of the training signals.

    Raises
    ------
    DataError
        With both rates, if both are known and differ.
    """
    learned = getattr(owner, "rate_", None)
    if None not in (rate, learned) and rate != learned:
        raise DataError(
            f"a signal of {rate} samples a second was given, and the {type(owner).__name__} "
            f"learned from {learned}; bring it to that (--rate {learned}, signals.read(path, "
            f"rate={learned}), signals.resample)"
        )


def _check_shape(owner: Any, given: tuple[int, ...], X: Any = None) -> tuple[int, ...]:
    """Check the shape of rows, and return the shape that the model needs."""
    learned: tuple[int, ...] = owner.sample_shape_
    n_features, n_learned = math.prod(given[1:]), math.prod(learned)
    of_pictures = len(given) > 2 and len(learned) > 1
    remedy = hint(given, learned, X) if given[1:] != learned else ""
    has_other_size = given[1:] != learned and (of_pictures or len(given) == len(learned) + 1)
    if has_other_size and getattr(owner, "takes_any_size_", False) and not remedy:
        return given[:1] + check_sample_shape(owner.spec_, given[1:])
    if of_pictures and given[1:] != learned:
        raise DataError(
            f"pictures of shape {given[1:]} were given, {learned} were learned from; "
            f"{remedy or 'resize them'}"
        )
    if n_features != n_learned:
        shape = f"of shape (n, {', '.join(map(str, learned))})"
        if getattr(getattr(owner, "spec_", None), "signal", False):
            own = (
                f"give windows {shape}, or a whole signal by --signal "
                "(signals.windows_for(model, X))"
            )
        else:
            own = f"give rows with the features learned from, {shape}"
        raise DataError(
            f"X has {n_features} features, but {type(owner).__name__} is expecting {n_learned} "
            f"features as input; {remedy or own}"
        )
    return given[:1] + learned


def _check_by_estimator(owner: BaseEstimator, X: Any, *, fitting: bool) -> None:
    """Let scikit-learn keep the number and names of features, or warn if names are missing."""
    try:
        validate_data(owner, X, reset=fitting, skip_check_array=True)
    except TypeError as error:
        raise DataTypeError(_one_line(error)) from error


def _as_numbers(X: Any, owner: str, *, at_least: int, name: str = "X") -> NDArray[Any]:
    """Convert a table of at least so many rows to an array of booleans, integers or floats."""
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
        # check_array converts objects to numbers only for the data types of pandas.
        rows = rows.astype(np.float64) if rows.dtype.kind == "O" else rows
        _check_kind(rows)
    except (ValueError, TypeError, OverflowError) as error:
        kind = DataTypeError if isinstance(error, TypeError) else DataError
        raise kind(_explain(X, error)) from error
    return rows


def _check_kind(values: Any) -> None:
    # check_array has messages for complex numbers, and tries to convert objects.
    if isinstance(values, np.ndarray) and values.dtype.kind not in "buifcO":
        raise TypeError(f"values of type {values.dtype} were given")


def _explain(X: Any, error: Exception) -> str:
    """Return a message for an error of scikit-learn, with the columns that caused it."""
    line = _one_line(error).rstrip(".")
    if "sample(s)" in line:
        return f"{line}; give more rows"
    if "feature(s)" in line:
        return f"{line}; give rows with features"
    if "COO" in line:
        return "a DataFrame of sparse columns was given; only dense ones are allowed; use to_dense"
    if "Sparse data" in line or "np.matrix" in line:
        return line
    descriptions, n_gaps = [], 0
    for name, column, gaps in _columns(X):
        wrong = next((value for value in column if not _is_real(value)), None)
        if wrong is not None:
            value = shortened(repr(wrong), 40)
            descriptions.append(f"{_named(name)} holds {value}, which is no number")
        elif gaps:
            n_gaps += 1
            descriptions.append(f"{_named(name)} has {counted(gaps, 'missing value')}")
    if len(descriptions) > n_gaps:
        which, they, them = "columns", "these columns", "them"
        if len(descriptions) == 1:
            which, they, them = "column", "the column", "it"
        return (
            f"{which} {listed(descriptions, 4, '; ')}; only real numbers are allowed; leave {they} "
            f"out or encode {them} as numbers{', and fill gaps in' if n_gaps else ''}"
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
    """Yield the name of each column of a table, its values, and the number of missing values."""
    if hasattr(X, "column_names"):
        for name, column in zip(X.column_names, X.columns, strict=True):
            yield name, column.drop_null().to_pylist(), column.null_count
    elif hasattr(X, "items"):
        for name, column in X.items():
            yield name, column.dropna().tolist(), int(column.isna().sum())


def _one_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def check_parameters(model: ModelAttributes) -> None:
    """Refuse parameters that every model has and that are out of range.

    Raises
    ------
    ParameterError
        With the first parameter that is wrong.
    """
    check_number(
        "n_components", model.n_components, low=1, high=_WIDEST, integral=True, words=("auto",)
    )
    if not isinstance(model.hidden_layer_sizes, str):
        if not isinstance(model.hidden_layer_sizes, Sequence):
            raise ParameterError(
                f"hidden_layer_sizes={model.hidden_layer_sizes!r} is not allowed; give a tuple of "
                "whole numbers such as (512, 128), () for none, or 'auto'"
            )
        for width in model.hidden_layer_sizes:
            check_number("each of hidden_layer_sizes", width, low=1, high=_WIDEST, integral=True)
    else:
        check_choice("hidden_layer_sizes", model.hidden_layer_sizes, ("auto",))
    check_flag("tied_weights", model.tied_weights)
    # Packages that offer architectures are imported only if the name is not built in.
    if model.architecture not in ("auto", *BUILT_IN):
        check_choice("architecture", model.architecture, ("auto", *ARCHITECTURES))
    check_choice("normalization", model.normalization, NORMALIZATIONS)
    check_number("residual_blocks", model.residual_blocks, low=0, high=_DEEPEST, integral=True)
    check_number(
        "kernel_size", model.kernel_size, low=1, high=_WIDEST, integral=True, words=("auto",)
    )
    check_choice("activation", model.activation, ACTIVATIONS)
    check_choice("code_activation", model.code_activation, ("auto", *ACTIVATIONS))
    check_choice("output", model.output, ("auto", *OUTPUTS))
    check_choice("loss", model.loss, ("auto", *LOSSES))
    check_choice("scaling", model.scaling, SCALINGS)
    check_damage(model)
    check_training(model)
    if not isinstance(model.checkpoint, str | Path | None):
        raise ParameterError(
            f"checkpoint={model.checkpoint!r} is not allowed; give a path, or None"
        )


def check_damage(model: Any) -> None:
    """Refuse corruptions and levels that are not allowed for a model or a classifier.

    Raises
    ------
    ParameterError
        With the first parameter that is wrong; also if pixels would be hidden from a model whose
        loss does not tell them from others.
    """
    if is_word(model.corruption, AUTO) and hasattr(model, "_default_corruption"):
        if not is_word(model.corruption_level, "auto"):
            raise ParameterError(
                f"corruption_level={shortened(repr(model.corruption_level))} does not go with "
                "corruption='auto', which chooses both; name the corruptions too, or leave both "
                "at 'auto'"
            )
        return
    check_corruption(model.corruption, model.corruption_level)
    if hides(model.corruption) and not hasattr(model, "intact_weight"):
        raise ParameterError(
            f"corruption={model.corruption!r} needs a loss of the hidden pixels alone, which "
            f"{type(model).__name__} has not; use DenoisingAutoencoder (--model denoising)"
        )


def check_training(model: Trained) -> None:
    """Refuse parameters of training that are out of range.

    Raises
    ------
    ParameterError
        With the first parameter that is wrong.
    """
    check_flag("early_stopping", model.early_stopping)
    check_number("max_epochs", model.max_epochs, low=1, integral=True, words=("auto",))
    check_number("batch_size", model.batch_size, low=1, integral=True, words=("auto",))
    check_number("learning_rate", model.learning_rate, low=0, open_low=True, words=("auto",))
    check_number("weight_decay", model.weight_decay, low=0, words=("auto",))
    check_number("n_iter_no_change", model.n_iter_no_change, low=1, integral=True)
    check_number(
        "validation_fraction",
        model.validation_fraction,
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        words=("auto",),
    )
    try:
        check_random_state(model.random_state)
    except ValueError as error:
        raise ParameterError(
            f"random_state={model.random_state!r} is not allowed; give a whole number from 0 to "
            "4294967295, a RandomState, or None"
        ) from error
    choose_device(model.device)


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
    """Refuse a parameter unless it is a number in a range, or one of a list of words.

    Parameters
    ----------
    name : str
        The name of the parameter.
    value : object
        Its value.
    low, high : float
        The range.
    open_low, open_high : bool
        Whether the range excludes its ends.
    integral : bool
        Whether only whole numbers are allowed.
    words : collection of str
        Words that are allowed too.

    Raises
    ------
    ParameterError
        If the value is refused.
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
    raise ParameterError(
        f"{name}={value!r} is not allowed; give {what} {span}{choice}", parameter=name
    )


def check_flag(name: str, value: Any) -> None:
    """Refuse a parameter unless it is True or False.

    Raises
    ------
    ParameterError
        If the value is refused.
    """
    if not isinstance(value, bool | np.bool_):
        raise ParameterError(f"{name}={value!r} is not allowed; give True or False", parameter=name)


def check_column_names(estimator: Any) -> None:
    """Refuse ``columns``, ``drop`` and ``categorical`` that are no lists of names.

    Raises
    ------
    ParameterError
        If a value is refused.
    """
    for name in ("columns", "drop", "categorical"):
        value = getattr(estimator, name)
        if isinstance(value, str) or (value is None and name != "columns"):
            raise ParameterError(
                f"{name}={value!r} is not allowed; give a list of names of columns", parameter=name
            )


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Refuse a parameter unless it is one of a list of words.

    Raises
    ------
    ParameterError
        If the value is refused.
    """
    if not isinstance(value, str) or value not in choices:
        raise ParameterError(
            f"{name}={value!r} is not known; use one of {', '.join(map(repr, choices))}",
            parameter=name,
        )


def is_rows(y: Any, sample_shape: tuple[int, ...]) -> bool:
    """Return whether ``y`` holds rows like X, and not labels.

    Parameters
    ----------
    y : object
        Rows, or labels of shape (n,) or (n, 1), or (n, m) with several labels for each row.
    sample_shape : tuple of int
        The shape of one row of X.

    Examples
    --------
    >>> is_rows(np.zeros((5, 8)), (8,)), is_rows(np.zeros((5, 1)), (8,))
    (True, False)
    """
    if isinstance(y, str | Path | LazyRows) or gives_rows(y):
        return True
    shape = shape_of(y)[1:]
    return len(shape) > 1 or (len(shape) == 1 and shape[0] == math.prod(sample_shape) != 1)


def shape_of(values: Any) -> tuple[int, ...]:
    """Return the shape of an array-like; ``()`` if the value is none."""
    try:
        return tuple(values.shape if hasattr(values, "shape") else np.asarray(values).shape)
    except ValueError:  # lists of different lengths
        return ()


def check_no_pairs(owner: object, X: AnyRows, y: Any) -> None:
    """Refuse clean rows as the second argument of a model that would ignore them.

    Parameters
    ----------
    owner : BaseAutoencoder
        A model that does not learn from pairs.
    X : ndarray or LazyRows of shape (n, *sample_shape)
        Checked rows.
    y : object
        The second argument.

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
