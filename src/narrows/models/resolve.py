"""What parameters left to "auto" become: the network, its loss, the plan of its training.

`benchmarks/foundation.py` prints what these choices give on three data sets.
"""

import math
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import networks
from narrows.containment import check_fits
from narrows.corruption import MOVING, as_list, hides
from narrows.data.axes import are_pictures
from narrows.data.batches import AllRowsExcept, RowWeights, evenly_spread, picked
from narrows.data.crops import SIDE
from narrows.data.lazy_rows import AnyRows, ComputedRows, LazyRows
from narrows.data.principal import fit_pca
from narrows.data.scaling import Scaling, Statistics, unit_ratio
from narrows.data.signal_files import Windows
from narrows.errors import DataError, ParameterError, warn
from narrows.models.damage import DataRange, range_of
from narrows.models.learned_rows import LearnedRows, RowHasher
from narrows.models.parameters import ModelAttributes, Trained
from narrows.networks import (
    ARCHITECTURES,
    BUILT_IN,
    STRUCTURE,
    Architecture,
    NetworkSpec,
    Start,
)
from narrows.networks.activations import reach
from narrows.training.loop import TrainSettings, choose_device

# Layers and blocks up to which the gradients of dense networks are not clipped.
_SHALLOW = 4
# Rows (F,) with at least so many values may be flattened pictures, if so many of the values have at
# most so many levels.
_PIXELS, _LOOKED_AT, _LEVELS = 16, 1 << 18, 256
# Maps are codes of at most so many numbers; of at least so many pictures they unfold better from
# random weights than from PCA.
_MAP, _ROWS_OF_MAP = 2, 500
# Rows of so many zeros and ones are taken for pictures.
_MANY_BITS = 256
# The relative error of scaled values, in single precision, at the ends of what an output can reach.
_ROUNDING = 1e-6
# Pictures and signals of so many places along each axis are restored at several scales.
_SMALLEST_RESTORED = 16
# Convolutions that learned from fewer pictures restore new ones worse than PCA does (`python -m
# benchmarks.starts`). Pictures of more values than the second number are convolved in any case: the
# dense layers beside PCA would be too large.
_FEW_PICTURES, _MOST_VALUES = 2_000, 1 << 18
_KERNEL_OF_SIGNALS, _KERNEL_OF_PICTURES = 9, 3
# Steps after which longer training hardly lowers the error of the data sets tried, and epochs.
_STEPS, _STEPS_FROM_PCA = 9_000, 800
# Places and rows of a step, steps, and epochs, where rows are restored at several scales.
_PLACES_A_STEP, _MOST_RESTORED, _STEPS_TO_RESTORE = 1 << 16, 128, 4_000
_MOST_EPOCHS_TO_RESTORE = 300
# The same where noisy rows teach their own denoiser, which learns their noise by heart if it sees
# them more often (`python -m benchmarks.blind_spot single`): so many epochs, or steps if that is
# more.
_EPOCHS_OF_NOISE, _STEPS_OF_NOISE = 8, 240
# Places of a step where rows are signals, of which there are fewer than pixels: with more, the
# steps of some minutes are too few.
_SAMPLES_A_STEP = 1 << 13
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 100
# Where a loss looks at hidden pixels alone, and at their noise, its gradients bear this share of a
# learning rate.
_RATE_OF_HIDDEN = 0.5
# Channels whose standard deviations differ more, divided by one number, are warned about.
_CHANNELS_DIFFER = 10.0
# (least number of rows, batch size)
_BATCHES = ((500_000, 512), (200_000, 256), (10_000, 128), (2_500, 64), (0, 32))
_HELD_OUT_SHARE, _HELD_OUT_MOST, _HELD_OUT_LEAST = 0.1, 1_000, 10
_RATE_OF_ONE_LAYER = 1e-2
# Epochs over which AdamW averages its steps, at the least, where a network starts at PCA: 1 over
# learning rate, weight decay and steps an epoch (Wang & Aitchison 2024, "How to set AdamW's weight
# decay as you scale model and dataset size").
_EPOCHS_REMEMBERED = 6
# The width from which on layers beside PCA need smaller steps, by its root.
_BEARS_RATE = 256
# Numbers that training keeps for each weight: itself, its gradient and Adam's two moments.
_NUMBERS_A_WEIGHT = 4
# The values that count as unset for parameters that an architecture does not know; for other
# parameters, the class's default counts.
_UNSET: dict[str, tuple[object, ...]] = {
    "tied_weights": (False,),
    "normalization": ("none",),
    "residual_blocks": (0,),
    "kernel_size": ("auto",),
}


class Plan(NamedTuple):
    """What the training rows and the parameters of a model determine before the first step.

    Attributes
    ----------
    scaling : Scaling
        The map between the data's units and the network's.
    spec : NetworkSpec
        The description of the network.
    loss : str
        The error that is minimised, or the likelihood that is maximised.
    limits : DataRange or None
        Smallest and largest value of each column or channel; ``None`` for pictures.
    start : Start
        What the initial weights are computed from.
    learned_rows : LearnedRows
        Hashes of the training rows and of the held-out rows.
    """

    scaling: Scaling
    spec: NetworkSpec
    loss: str
    limits: DataRange | None
    start: Start
    learned_rows: LearnedRows


def resolve(
    model: ModelAttributes, X: AnyRows, held_out: NDArray[np.int64] | None, weights: RowWeights
) -> Plan:
    """Choose scaling, network and loss for rows.

    Parameters
    ----------
    model : ModelAttributes
        A model with checked parameters.
    X : ndarray or LazyRows of shape (n, *sample_shape)
        Checked rows.
    held_out : ndarray of int or None
        Numbers of the held-out rows, which do not influence the choices.
    weights : ndarray of shape (n,) or None
        Weight of each row.

    Raises
    ------
    DataError
        If the rows are all the same.
    ParameterError
        If parameters contradict each other or the rows, or training would take more than the
        memory.
    """
    hasher = RowHasher()
    statistics = Statistics.of(X, held_out, hasher, weights)
    _check_variation(statistics, len(X) - (0 if held_out is None else len(held_out)))
    kind = _kind_before_scaling(model, X)
    columns_shape = columns_shape_of(kind, X)
    # Rows of any extent have no places whose features could differ.
    pools_features = kind is not None and kind.map_size is not None
    channels_shape = columns_shape
    if isinstance(X, Windows) and not pools_features:  # all places are alike
        channels_shape = (*X.shape[1:], 1)[:2]
    is_table = len(columns_shape) == 1 and not isinstance(X, Windows)
    scaling = Scaling.learn(
        model.scaling,
        statistics.pooled() if pools_features else statistics,
        channels_shape,
        are_levels=_may_be_pixels(model, kind, X),
        # A linear model is PCA of the rows as they are where columns may share a unit.
        units_differ=is_table and asks_for_hidden_layers(model),
        # Of few columns of zeros and ones, the rare ones would hardly count.
        bits_differ=is_table and math.prod(X.shape[1:]) < _MANY_BITS and _may_leave_unit(model),
    )
    is_signal, sample_shape = isinstance(X, Windows), X.shape[1:]
    architecture = "dense"
    hidden_layer_sizes: tuple[int, ...] = ()
    if model._deep_by_default or asks_for_hidden_layers(model):
        architecture, hidden_layer_sizes = _choose_architecture(
            model,
            sample_shape,
            scaling,
            len(X),
            of_signal=is_signal,
            are_bits=statistics.binary and scaling.bounded,
        )
    spec = _choose_network(
        model, architecture, hidden_layer_sizes, sample_shape, scaling, n_rows=len(X)
    )
    if isinstance(X, Windows):
        spec = replace(spec, signal=True, rate=X.rate)
    _check_reach(spec, scaling, statistics)
    if channels_shape[1:] and not pools_features:
        _warn_of_channels(scaling, statistics.by_channel(channels_shape[1]))
    return Plan(
        scaling,
        spec,
        _choose_loss(model, spec, statistics),
        range_of(statistics, X, columns_shape) if columns_shape else None,
        choose_start(spec, scaling, statistics, X, held_out, weights=weights),
        hasher.rows,
    )


def _kind_before_scaling(model: ModelAttributes, X: AnyRows) -> Architecture | None:
    """Return the architecture if it does not depend on how rows are scaled, otherwise None."""
    if model.architecture != "auto":
        return ARCHITECTURES[model.architecture]
    if not isinstance(X, Windows) and _may_restore(model, tuple(X.shape[1:]), of_signal=False):
        return BUILT_IN["restoring"]
    return None


def asks_for_hidden_layers(model: ModelAttributes) -> bool:
    """Return whether the network has hidden layers, which does not depend on the rows."""
    if isinstance(model.hidden_layer_sizes, str):
        return model._deep_by_default or model.architecture not in ("auto", "dense")
    return len(model.hidden_layer_sizes) > 0


def _check_variation(statistics: Statistics, n_rows: int) -> None:
    """Refuse rows that are all equal.

    Raises
    ------
    DataError
        If no feature varies.
    """
    # Rounding in the mean of equal rows must not be taken for variance.
    rounding = 1000 * np.finfo(np.float64).eps * np.abs(statistics.mean)
    if (np.sqrt(statistics.variance) <= rounding).all():
        raise DataError(
            f"all {n_rows} rows are equal, or differ by less than can be computed with; there is "
            "nothing to learn from constant features; give rows that differ, or multiply them by "
            "a constant"
        )


def _warn_of_channels(scaling: Scaling, by_channel: Statistics) -> None:
    """Say that one number divides channels of different units, of which the largest decides."""
    ratio = unit_ratio(by_channel)
    is_divided_by_one = not (scaling.scale.ndim and (scaling.scale != scaling.scale[0]).any())
    if is_divided_by_one and ratio > _CHANNELS_DIFFER:
        warn(
            f"the standard deviations of the channels differ {ratio:.3g} times, and one number "
            "divides them all, so that the model learns those with large values only; divide each "
            "by its own (--scaling standard, scaling='standard')",
            kind="channels_differ",
            stacklevel=8,
            ratio=ratio,
        )


def _choose_network(
    model: ModelAttributes,
    architecture: str,
    hidden_layer_sizes: tuple[int, ...],
    sample_shape: tuple[int, ...],
    scaling: Scaling,
    *,
    n_rows: int,
) -> NetworkSpec:
    """Fill in what the user left to "auto".

    Parameters
    ----------
    model : ModelAttributes
        Checked parameters.
    architecture : str
        The name of the architecture.
    hidden_layer_sizes : tuple of int
        The widths of the hidden layers.
    sample_shape : tuple of int
        The shape of one row.
    scaling : Scaling
        The scaling learned from the training data.
    n_rows : int
        How many rows those are.

    Raises
    ------
    ParameterError
        If the output cannot reach the data, parameters contradict each other, or training would
        take more than the memory.
    """
    kind = ARCHITECTURES[architecture]
    output = model.output
    if output == "auto":
        # A network that is to be linear stays so to its end, whatever the data.
        linear = model.activation == "identity" or (kind.starts_at_pca and not hidden_layer_sizes)
        output = "identity"
        if model.loss == "cross_entropy":
            output = "sigmoid"
        elif scaling.bounded and not (linear or kind.starts_at_input):
            output = "clip" if kind.starts_at_pca else "sigmoid"
    for parameter, value in (("loss", model.loss), ("output", output)):
        if value in ("sigmoid", "clip", "cross_entropy") and not scaling.bounded:
            raise ParameterError(
                f"{parameter}={value!r} needs data between 0 and 1, but the scaled data reach "
                "beyond; use scaling='unit', or leave output and loss to 'auto'"
            )
    if model.loss == "cross_entropy" and output != "sigmoid":
        raise ParameterError(
            f"loss='cross_entropy' does not go with output={output!r}; use output='sigmoid'"
        )
    spec = NetworkSpec(
        architecture=architecture,
        sample_shape=sample_shape,
        n_components=model._components,
        hidden_layer_sizes=hidden_layer_sizes,
        activation=kind.activation or model.activation,
        code_activation=("identity" if model.code_activation == "auto" else model.code_activation),
        output=output,
        tied_weights=bool(model.tied_weights),
        n_heads=model._n_heads,
        normalization=model.normalization,
        residual_blocks=int(model.residual_blocks),
        kernel_size=_choose_kernel_size(model, kind, sample_shape),
    )
    check_shape(spec)
    _check_memory(spec, min(n_rows, _choose_batch_size(model, n_rows, spec)))
    return spec


def _choose_architecture(
    model: ModelAttributes,
    sample_shape: tuple[int, ...],
    scaling: Scaling,
    n_rows: int,
    *,
    of_signal: bool = False,
    are_bits: bool = False,
) -> tuple[str, tuple[int, ...]]:
    """Choose the architecture, and the widths of the layers between input and code.

    "auto" takes a network of several scales to restore pictures and signals, convolutions for many
    large pictures, and otherwise PCA and what a network adds to it.

    Parameters
    ----------
    model, sample_shape, scaling, n_rows
        As for :func:`_choose_network`.
    of_signal : bool, default=False
        Whether rows are windows of a signal, rather than tables or pictures.
    are_bits : bool, default=False
        Whether all values are zeros and ones, whose probabilities a sigmoid gives.

    Raises
    ------
    ParameterError
        If other parameters do not go with the architecture.
    PluginError
        If the package that offers the architecture cannot be used.
    """
    architecture, hidden = model.architecture, model.hidden_layer_sizes
    if architecture == "auto":
        # Widths that were given are those of dense layers.
        may_convolve = hidden == "auto" and not of_signal and len(sample_shape) > 1
        from_pca = _may_start_at_pca(model, sample_shape, scaling, n_rows, are_bits=are_bits)
        is_large = may_convolve and min(sample_shape[:2]) >= model._smallest_convolved
        of_few = n_rows < _FEW_PICTURES and math.prod(sample_shape) <= _MOST_VALUES
        if _may_restore(model, sample_shape, of_signal=of_signal):
            architecture = "restoring_1d" if of_signal else "restoring"
        elif is_large and not (from_pca and of_few):
            architecture = "convolutional"
        else:
            architecture = "pca_residual" if from_pca else "dense"
    kind = ARCHITECTURES[architecture]
    if misfit := _misfit(model, kind):
        others = [repr(name) for name, kind in BUILT_IN.items() if not _misfit(model, kind)]
        instead = f", or use architecture={' or '.join(others)}" if others else ""
        raise ParameterError(
            f"{misfit} does not go with architecture={architecture!r}; leave it at its default"
            f"{instead}"
        )
    if isinstance(hidden, str):
        hidden = kind.hidden_layer_sizes(sample_shape, model._components, n_rows)
    return architecture, tuple(int(width) for width in hidden)


def _may_restore(model: ModelAttributes, sample_shape: tuple[int, ...], *, of_signal: bool) -> bool:
    """Return whether "auto" takes a network that passes rows around the code.

    It does for denoising models of pictures and signals for which no width of the code was asked,
    unless the damage moves values to other places.
    """
    if not _asks_to_restore(model):
        return False
    kind = BUILT_IN["restoring_1d" if of_signal else "restoring"]
    axes = sample_shape[: kind.n_axes(sample_shape)]
    if len(axes) < (1 if of_signal else 2) or min(axes) < _SMALLEST_RESTORED:
        return False
    return not (_misfit(model, kind) or model._has_penalties())


def _asks_to_restore(model: ModelAttributes) -> bool:
    """Return whether a model is to undo damage that leaves values in their places, by any code."""
    moves = model.corruption is not None and not MOVING.isdisjoint(
        one for one in as_list(model.corruption) if isinstance(one, str)
    )
    any_code = isinstance(model.n_components, str) and isinstance(model.hidden_layer_sizes, str)
    return model._restores and any_code and not moves


def learns_from_crops(model: ModelAttributes) -> bool:
    """Return whether a model learns from crops of picture files, if these are not small.

    Those do that restore pictures of any size.
    """
    kind = ARCHITECTURES.get("restoring" if model.architecture == "auto" else model.architecture)
    if kind is None or (model.architecture == "auto" and not _asks_to_restore(model)):
        return False
    return kind.starts_at_input and not (_misfit(model, kind) or model._has_penalties())


def _may_start_at_pca(
    model: ModelAttributes,
    sample_shape: tuple[int, ...],
    scaling: Scaling,
    n_rows: int,
    *,
    are_bits: bool,
) -> bool:
    """Return whether "auto" starts dense networks at PCA.

    It does for tables, for linear models, and for pictures whose error is the whole loss. Random
    weights are better for pictures with other terms of the loss or damage, and for codes of one or
    two numbers of many pictures (`python -m benchmarks.starts`).
    """
    if _misfit(model, BUILT_IN["pca_residual"]):
        return False
    if are_bits:
        # A sigmoid gives the probabilities of ones; of few columns PCA may be better.
        return len(sample_shape) == 1 and sample_shape[0] < _MANY_BITS and model._n_heads == 1
    if not (scaling.bounded and asks_for_hidden_layers(model)):
        return True
    if model._n_heads > 1 or model._has_penalties() or model.corruption is not None:
        return False
    is_map = model._components <= _MAP and len(sample_shape) > 1
    return not (is_map and n_rows >= _ROWS_OF_MAP)


def _may_leave_unit(model: ModelAttributes) -> bool:
    """Return whether a model starts at PCA and has no need of data in [0, 1]."""
    return (
        model._n_heads == 1
        and model.output != "clip"
        and model._deep_by_default
        and model.architecture in ("auto", "pca_residual")
        and not _misfit(model, BUILT_IN["pca_residual"])
    )


def _misfit(model: ModelAttributes, kind: Architecture) -> str:
    """Name a parameter that an architecture does not go with; empty where there is none."""
    if kind.starts_at_pca and not model._linear_code:
        return f"{type(model).__name__}, whose codes are not linear,"
    unknown = (name for name in STRUCTURE if name not in kind.parameters)
    defaults = {field.name: (field.default,) for field in fields(model)}
    allowed = {**{name: _UNSET.get(name, defaults[name]) for name in unknown}, **kind.goes_with}
    given = {name: getattr(model, name, values[0]) for name, values in allowed.items()}
    wrong = (name for name, values in allowed.items() if given[name] not in values)
    return next((f"{name}={given[name]!r}" for name in wrong), "")


def check_shape(spec: NetworkSpec) -> None:
    """Refuse what cannot be built.

    Raises
    ------
    ParameterError
        If parameters contradict each other, or the rows do not suit the architecture.
    """
    if spec.residual_blocks and not spec.hidden_layer_sizes:
        raise ParameterError(
            f"residual_blocks={spec.residual_blocks} needs a hidden layer to follow; give "
            "hidden_layer_sizes, or leave residual_blocks at 0"
        )
    if spec.residual_blocks and spec.tied_weights:
        raise ParameterError(
            "tied_weights=True does not go with residual_blocks, whose transpose is another "
            "function; use tied_weights=False"
        )
    if spec.unit_columns and not spec.definition.unit_columns:
        others = [repr(name) for name, kind in BUILT_IN.items() if kind.unit_columns]
        raise ParameterError(
            f"architecture={spec.architecture!r} does not go with sparse codes, of which each unit "
            f"decodes to a vector of length 1; use {' or '.join(others)}, or sparsity='kl'"
        )
    networks.check(spec)


def _choose_kernel_size(
    model: ModelAttributes, kind: Architecture, sample_shape: tuple[int, ...]
) -> int:
    """Choose long kernels for signals, small ones for pictures, none where there are none."""
    if "kernel_size" not in kind.parameters:
        return 0
    n_axes = kind.n_axes(sample_shape)
    if isinstance(model.kernel_size, str):
        return _KERNEL_OF_SIGNALS if n_axes == 1 else _KERNEL_OF_PICTURES
    widest = 2 * max(sample_shape[:n_axes]) - 1
    if model.kernel_size % 2 == 0 or model.kernel_size > widest:
        raise ParameterError(
            f"kernel_size={model.kernel_size!r} is not allowed; give an odd number, so that there "
            f"is a middle, of at most {widest}, beyond which no number of a row is seen"
        )
    return int(model.kernel_size)


def _check_memory(spec: NetworkSpec, batch_size: int) -> None:
    """Refuse a network that does not fit, with its gradients and what a batch makes of it.

    Counted are the weights, what Adam keeps of them, and what is kept of rows for the gradients;
    not what is needed for a moment in between.
    """
    weights, numbers_a_row = networks.size(spec)
    check_fits(
        (weights * _NUMBERS_A_WEIGHT + numbers_a_row * batch_size) * torch.float32.itemsize,
        f"training a network of {weights} weights (n_components={spec.n_components}, "
        f"hidden_layer_sizes={spec.hidden_layer_sizes}) on {batch_size} rows at a time",
        "choose smaller ones, or a smaller batch_size",
        ParameterError,
    )


def _check_reach(spec: NetworkSpec, scaling: Scaling, statistics: Statistics) -> None:
    """Refuse an output that cannot reach all scaled values.

    Raises
    ------
    ParameterError
        If scaled values lie beyond its reach.
    """
    low, high = -math.inf, math.inf  # centred data go both ways
    if scaling.shift.ndim == 0:
        low, high = (
            float((x - scaling.shift) / scaling.scale) for x in (statistics.low, statistics.high)
        )
    if spec.output == "sigmoid":
        return
    least, most = reach(spec.output)
    if not least - _ROUNDING <= low <= high <= most + _ROUNDING:
        raise ParameterError(
            f"output={spec.output!r} stays between {least:g} and {most:g}, but the scaled data "
            "reach beyond; use scaling='unit' or 'none', or leave output to 'auto'"
        )


def _choose_loss(model: ModelAttributes, spec: NetworkSpec, statistics: Statistics) -> str:
    """Choose cross-entropy for data of zeros and ones alone, squared error otherwise."""
    if model.loss != "auto":
        return model.loss
    yes_or_no = statistics.binary and spec.output == "sigmoid"
    return "cross_entropy" if yes_or_no else "squared_error"


def choose_held_out(model: Trained, n_rows: int, *, has_hidden_layers: bool) -> int:
    """Choose how many rows are held out to stop early and to keep the best weights.

    "auto" takes a tenth of them, at most 1 000, and none where that would be fewer than ten.

    Raises
    ------
    ParameterError
        If the fraction asked for leaves nothing on one of the two sides.
    """
    if not model.early_stopping:
        return 0
    if isinstance(model.validation_fraction, str):
        held_out = min(_HELD_OUT_MOST, round(_HELD_OUT_SHARE * n_rows))
        # One layer each way has too few weights to learn the rows by heart: it can have them all.
        return held_out if has_hidden_layers and held_out >= _HELD_OUT_LEAST else 0
    held_out = round(model.validation_fraction * n_rows)
    if not 0 < held_out < n_rows - 1:
        raise ParameterError(
            f"validation_fraction={model.validation_fraction!r} of {n_rows} rows holds out "
            f"{held_out}; at least 1 must be held out and 2 kept; use 'auto', or "
            "early_stopping=False"
        )
    return held_out


def choose_settings(model: Trained, spec: NetworkSpec, n_rows: int, seed: int) -> TrainSettings:
    """Plan the training of a network on so many rows.

    A layer alone bears a larger learning rate than layers on top of others.
    """
    size, kind = _choose_batch_size(model, n_rows, spec), spec.definition
    shape = spec.sample_shape
    epochs, rate, decay = model.max_epochs, model.learning_rate, model.weight_decay
    if isinstance(epochs, str):
        if kind.starts_at_input:
            epochs = -(-_STEPS_TO_RESTORE // -(-n_rows // size))
            epochs = min(_MOST_EPOCHS_TO_RESTORE, max(_FEWEST_EPOCHS, epochs))
            if hides(getattr(model, "corruption", None)):
                steps = -(-n_rows // size)
                epochs = min(epochs, max(_EPOCHS_OF_NOISE, -(-_STEPS_OF_NOISE // steps)))
        else:
            epochs = _choose_max_epochs(n_rows, size, from_pca=kind.starts_at_pca)
    if isinstance(rate, str):
        rate = kind.learning_rate if spec.has_hidden_layers else _RATE_OF_ONE_LAYER
        if kind.starts_at_pca:
            widest = max(_BEARS_RATE, *spec.hidden_layer_sizes, 0)
            rate *= math.sqrt(_BEARS_RATE / widest)
        if hides(getattr(model, "corruption", None)):
            rate *= _RATE_OF_HIDDEN
    if isinstance(decay, str):
        decay = kind.weight_decay
        if kind.starts_at_pca:
            decay = min(decay, 1 / (float(rate) * _EPOCHS_REMEMBERED * -(-n_rows // size)))
    return TrainSettings(
        max_epochs=int(epochs),
        batch_size=size,
        learning_rate=float(rate),
        weight_decay=float(decay),
        n_iter_no_change=int(model.n_iter_no_change),
        seed=seed,
        device=choose_device(model.device),
        beats_start=kind.starts_at_pca,
        starts_at_input=kind.starts_at_input,
        turns=kind.starts_at_input and spec.shows_pictures and shape[:2] == (SIDE, SIDE),
        beta2=kind.beta2,
        # Where layers are few, collapses are rare, and the norm of all weights is a cost.
        clips=kind.clips or len(spec.hidden_layer_sizes) + spec.residual_blocks > _SHALLOW,
    )


def choose_batch_size(n_rows: int) -> int:
    """Choose few rows a step for few rows in all, so that there are enough steps.

    Examples
    --------
    >>> choose_batch_size(1_500), choose_batch_size(60_000)
    (32, 128)
    """
    return min(n_rows, next(size for least, size in _BATCHES if n_rows >= least))


def _choose_batch_size(model: Trained, n_rows: int, spec: NetworkSpec) -> int:
    given = model.batch_size
    if not isinstance(given, str):
        return int(given)
    if not spec.definition.starts_at_input:
        return choose_batch_size(n_rows)
    # Each place is an example of its own, so that it is places that are counted.
    n_axes = spec.definition.n_axes(spec.sample_shape)
    places = math.prod(spec.sample_shape[:n_axes])
    of_a_step = _SAMPLES_A_STEP if n_axes == 1 else _PLACES_A_STEP
    return min(n_rows, max(1, min(_MOST_RESTORED, of_a_step // places)))


def _choose_max_epochs(n_rows: int, batch_size: int, *, from_pca: bool) -> int:
    """Choose as many epochs as make about 9 000 steps, between 5 and 100; fewer from PCA on.

    Examples
    --------
    >>> _choose_max_epochs(60_000, 128, from_pca=False), _choose_max_epochs(600, 32, from_pca=True)
    (20, 64)
    """
    steps_per_epoch = -(-n_rows // batch_size)
    steps = min(_STEPS, max(_STEPS_FROM_PCA, 2 * n_rows)) if from_pca else _STEPS
    epochs = max(_FEWEST_EPOCHS, -(-steps // steps_per_epoch))
    return epochs if from_pca else min(_MOST_EPOCHS, epochs)


def columns_shape_of(kind: Architecture | None, X: NDArray[Any] | LazyRows) -> tuple[int, ...]:
    """Return the shape of a row whose last axis has columns or channels, ``()`` for pictures.

    Rows (L, C) are a signal of C channels where they were cut out of one, where the ``kind`` of
    network takes only signals, and where their shape is that of no picture.
    """
    shape = tuple(X.shape[1:])
    if len(shape) == 1:
        return shape
    is_signal = isinstance(X, Windows) or (kind is not None and kind.of_signals)
    return shape if len(shape) == 2 and (is_signal or not are_pictures(shape)) else ()


def _may_be_pixels(
    model: ModelAttributes, kind: Architecture | None, X: NDArray[Any] | LazyRows
) -> bool:
    """Return whether rows of uint8, or that fill [0, 1], are taken for pixels.

    Rows (F,) are a table where they have few values, or many different ones, as columns have that
    were scaled to [0, 1] one by one; that matters where the network may start at PCA.
    """
    if len(X.shape) > 2 or not (kind is None or kind.starts_at_pca):
        return True
    if isinstance(X, Windows) or _misfit(model, BUILT_IN["pca_residual"]):
        return True
    some = evenly_spread(len(X), max(2, _LOOKED_AT // X.shape[1]))
    return X.shape[1] >= _PIXELS and len(np.unique(np.asarray(X[some]))) <= _LEVELS


def choose_start(
    spec: NetworkSpec,
    scaling: Scaling,
    statistics: Statistics,
    X: NDArray[Any] | LazyRows,
    held_out: NDArray[np.int64] | None,
    *,
    weights: NDArray[np.float64] | None = None,
) -> networks.Start:
    """Compute what initial weights are made of: the mean row, and principal axes where needed.

    Parameters
    ----------
    spec : NetworkSpec
        The network.
    scaling : Scaling
        The scaling from the data's units to the network's.
    statistics : Statistics
        The statistics of the rows that are learned from.
    X : ndarray or LazyRows of shape (n, *sample_shape)
        All rows.
    held_out : ndarray of int or None
        The numbers of the held-out rows, ascending.
    weights : ndarray of shape (n,), optional
        How much each of all rows counts.
    """
    mean = scaling(torch.from_numpy(statistics.mean).view(1, *spec.sample_shape))[0]
    if not spec.definition.starts_at_pca:
        return networks.Start(mean)
    rows: AnyRows = X
    if held_out is not None and len(held_out):
        learned = AllRowsExcept(len(X), held_out)
        rows = picked(X, learned)
        weights = None if weights is None else weights[learned[np.arange(len(learned))]]
    width = math.prod(spec.sample_shape)
    scaled = ComputedRows(rows, scaling.exactly, (width,), np.float64)
    pca = fit_pca(
        scaled,
        min(spec.n_components, len(rows), width),
        mean=scaling.exactly(statistics.mean[None])[0],
        sample_weight=weights,
    )
    n_left = max(1, width - len(pca.variances))
    residual_variance = max(float((pca.total_variance - pca.variances.sum()) / n_left), 0.0)
    axes = networks.Axes(
        torch.from_numpy(pca.components), torch.from_numpy(pca.variances), residual_variance
    )
    return networks.Start(mean, axes)
