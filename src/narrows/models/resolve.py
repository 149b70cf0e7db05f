"""From a model's parameters and its data to a network and a plan of training."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from narrows import networks
from narrows.data.arrays import are_pictures
from narrows.data.batches import Numbers, picked
from narrows.data.lazy_rows import LazyRows, MadeRows
from narrows.data.principal import fit_pca
from narrows.data.scaling import SCALINGS, Scaling, Statistics
from narrows.data.signal_files import Windows
from narrows.errors import DataError, ParameterError
from narrows.losses import LOSSES
from narrows.models import defaults
from narrows.models.parameters import Learned
from narrows.models.validation import check_choice, check_flag, check_number
from narrows.networks import ACTIVATIONS, ARCHITECTURES, NORMALIZATIONS, OUTPUTS, NetworkSpec
from narrows.networks.outputs import reach
from narrows.training.loop import TrainSettings, choose_device

# Far beyond what any memory holds, and still small enough for sizes to be multiplied.
_WIDEST = 10**7
_DEEPEST = 10_000
# Layers and blocks of dense networks whose gradients are not watched.
_SHALLOW = 4
# Rows (F,) of at least so many values may be flattened pictures, if so many values of them have at
# most so many levels.
_PIXELS, _LOOKED_AT, _LEVELS = 16, 1 << 18, 256
# Of codes in single precision, held against what an activation can reach.
_ROUNDING = 1e-6


class Trained(Protocol):
    """What has the parameters of training."""

    max_epochs: int | Literal["auto"]
    batch_size: int | Literal["auto"]
    learning_rate: float | Literal["auto"]
    weight_decay: float | Literal["auto"]
    early_stopping: bool
    validation_fraction: float | Literal["auto"]
    n_iter_no_change: int
    device: str
    random_state: int | np.random.RandomState | None


def check_parameters(model: Learned) -> None:
    """Refuse parameters that every model has and that are out of range.

    Raises
    ------
    ParameterError
        Naming the first.
    """
    check_number("n_components", model.n_components, low=1, high=_WIDEST, integral=True)
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
    check_training(model)
    if not isinstance(model.checkpoint, str | Path | None):
        raise ParameterError(
            f"checkpoint={model.checkpoint!r} is not allowed; give a path, or None"
        )


def check_training(model: Trained) -> None:
    """Refuse parameters of training that are out of range.

    Raises
    ------
    ParameterError
        Naming the first.
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


def check_variation(statistics: Statistics, n_rows: int) -> None:
    """Refuse rows that are all the same.

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


def choose_network(
    model: Learned,
    layers: tuple[str, tuple[int, ...]],
    sample_shape: tuple[int, ...],
    scaling: Scaling,
    n_rows: int,
) -> NetworkSpec:
    """Fill in what the user left to "auto".

    Parameters
    ----------
    model : BaseAutoencoder
        With checked parameters.
    layers
        What :func:`choose_layers` returned.
    sample_shape : tuple of int
        Of one row.
    scaling : Scaling
        Learned from the training data.
    n_rows : int
        How many rows those are.

    Raises
    ------
    ParameterError
        If the output cannot reach the data, or training would take more than the memory.
    """
    architecture, hidden = layers
    output = model.output
    if output == "auto":
        # A network that is to be linear stays so to its end, whatever the data.
        linear = model.activation == "identity" or architecture == "pca_residual"
        bounded = scaling.bounded and not linear
        output = "sigmoid" if bounded or model.loss == "cross_entropy" else "identity"
    for parameter, value in (("loss", model.loss), ("output", output)):
        if value in ("sigmoid", "cross_entropy") and not scaling.bounded:
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
        n_components=int(model.n_components),
        hidden_layer_sizes=hidden,
        activation=model.activation,
        code_activation=("identity" if model.code_activation == "auto" else model.code_activation),
        output=output,
        tied_weights=bool(model.tied_weights),
        n_heads=model._n_heads,
        normalization=model.normalization,
        residual_blocks=int(model.residual_blocks),
        kernel_size=_choose_kernel_size(model, architecture, sample_shape),
    )
    check_shape(spec)
    defaults.check_memory(spec, min(n_rows, _choose_batch_size(model, n_rows)))
    return spec


def choose_layers(
    model: Learned,
    sample_shape: tuple[int, ...],
    scaling: Scaling,
    n_rows: int,
    *,
    of_signal: bool = False,
) -> tuple[str, tuple[int, ...]]:
    """Choose the architecture, and the widths of the layers between input and code.

    Raises
    ------
    ParameterError, DataError
        As :func:`choose_architecture`.
    """
    architecture = choose_architecture(model, sample_shape, scaling, of_signal=of_signal)
    hidden = model.hidden_layer_sizes
    if isinstance(hidden, str):
        hidden = defaults.choose_hidden_layer_sizes(
            architecture, sample_shape, model.n_components, n_rows
        )
    return architecture, tuple(int(width) for width in hidden)


def choose_architecture(
    model: Learned,
    sample_shape: tuple[int, ...],
    scaling: Scaling,
    *,
    of_signal: bool = False,
) -> str:
    """Choose PCA and what a network adds for rows without places, convolutions for large pictures.

    Raises
    ------
    ParameterError, DataError
        If the rows do not have the axes that the architecture wants, or have them in another order,
        or other parameters do not go with it.
    """
    not_pca = _why_not_pca(model)
    if model.architecture == "auto":
        if len(sample_shape) == 1 and not scaling.bounded and not not_pca:
            return "pca_residual"
        # Widths that were given are those of dense layers.
        given = model.hidden_layer_sizes != "auto" or of_signal
        return "dense" if given else defaults.choose_architecture(sample_shape)
    if model.architecture == "pca_residual" and not_pca:
        raise ParameterError(
            f"{not_pca} does not go with architecture='pca_residual', which starts at PCA; leave "
            "it at its default, or use architecture='dense'"
        )
    if model.architecture == "convolutional_1d" and len(sample_shape) > 2:
        raise ParameterError(
            f"architecture='convolutional_1d' takes signals (L,) or (L, C), rows of shape "
            f"{sample_shape} were given; use 'convolutional' for pictures"
        )
    return model.architecture


def _why_not_pca(model: Learned) -> str:
    """Name a parameter with which a network cannot start at PCA; empty where there is none."""
    allowed: dict[str, tuple[object, ...]] = {
        "tied_weights": (False,),
        "normalization": ("none",),
        "residual_blocks": (0,),
        "code_activation": ("auto", "identity"),
        "output": ("auto", "identity"),
        "loss": ("auto", "squared_error"),
        "kernel_size": ("auto",),
        "likelihood": ("auto", "gaussian"),
    }
    if not model._linear_code:
        return f"{type(model).__name__}, whose codes are not linear,"
    wrong = (
        name for name, values in allowed.items() if getattr(model, name, values[0]) not in values
    )
    return next((f"{name}={getattr(model, name)!r}" for name in wrong), "")


def check_shape(spec: NetworkSpec) -> None:
    """Refuse what cannot be built.

    Raises
    ------
    ParameterError
        If rows cannot be halved as often as there are stages, or parameters contradict each other.
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
    if spec.is_map and (spec.unit_columns or spec.code_activation not in ACTIVATIONS):
        raise ParameterError(
            "architecture='fully_convolutional' does not go with sparse codes, of which units are "
            "counted: its codes have as many as the pictures have places; use 'convolutional', or "
            "sparsity='kl'"
        )
    if not networks.is_convolutional(spec.architecture):
        return
    n_axes = networks.n_axes_of(spec.architecture, spec.sample_shape)
    smallest, stages = min(spec.sample_shape[:n_axes]), len(spec.hidden_layer_sizes)
    possible = defaults.most_stages(smallest)
    if stages > possible:
        raise ParameterError(
            f"hidden_layer_sizes={spec.hidden_layer_sizes} would halve rows of shape "
            f"{spec.sample_shape} {stages} times; they can be halved {possible} times; give fewer "
            "layers, larger pictures or longer signals, or use architecture='dense'"
        )


def _choose_kernel_size(model: Learned, architecture: str, sample_shape: tuple[int, ...]) -> int:
    if not networks.is_convolutional(architecture):
        if model.kernel_size != "auto":
            raise ParameterError(
                f"kernel_size={model.kernel_size!r} does not go with "
                f"architecture={architecture!r}, which has no kernels; leave it to 'auto', or "
                "choose 'convolutional'"
            )
        return 0
    n_axes = networks.n_axes_of(architecture, sample_shape)
    if isinstance(model.kernel_size, str):
        return defaults.choose_kernel_size(n_axes)
    widest = 2 * max(sample_shape[:n_axes]) - 1
    if model.kernel_size % 2 == 0 or model.kernel_size > widest:
        raise ParameterError(
            f"kernel_size={model.kernel_size!r} is not allowed; give an odd number, so that there "
            f"is a middle, of at most {widest}, beyond which no number of a row is seen"
        )
    return int(model.kernel_size)


def check_reach(spec: NetworkSpec, scaling: Scaling, statistics: Statistics) -> None:
    """Refuse an output that cannot be what the scaled data are.

    Raises
    ------
    ParameterError
        If they go beyond its reach.
    """
    low, high = -math.inf, math.inf  # centred data go both ways
    if scaling.shift.ndim == 0:
        low, high = (
            float((x - scaling.shift) / scaling.scale) for x in (statistics.low, statistics.high)
        )
    least, most = reach(spec.output)
    if spec.output != "sigmoid" and not least - _ROUNDING <= low <= high <= most + _ROUNDING:
        raise ParameterError(
            f"output={spec.output!r} stays between {least:g} and {most:g}, but the scaled data "
            "reach beyond; use scaling='unit' or 'none', or leave output to 'auto'"
        )


def choose_loss(model: Learned, spec: NetworkSpec, statistics: Statistics) -> str:
    """Choose cross-entropy for data of nothing but zeros and ones, squared error otherwise."""
    if model.loss != "auto":
        return model.loss
    yes_or_no = statistics.binary and spec.output == "sigmoid"
    return "cross_entropy" if yes_or_no else "squared_error"


def choose_held_out(model: Trained, n_rows: int, *, has_hidden_layers: bool) -> int:
    """Choose how many rows are held out to stop early and to keep the best weights.

    Raises
    ------
    ParameterError
        If the fraction asked for leaves nothing on one of the two sides.
    """
    if not model.early_stopping:
        return 0
    if isinstance(model.validation_fraction, str):
        # One layer each way has too few weights to learn the rows by heart: it can have them all.
        return defaults.choose_held_out(n_rows) if has_hidden_layers else 0
    held_out = round(model.validation_fraction * n_rows)
    if not 0 < held_out < n_rows - 1:
        raise ParameterError(
            f"validation_fraction={model.validation_fraction!r} of {n_rows} rows holds out "
            f"{held_out}; at least 1 must be held out and 2 kept; use 'auto', or "
            "early_stopping=False"
        )
    return held_out


def choose_settings(model: Trained, spec: NetworkSpec, n_rows: int, seed: int) -> TrainSettings:
    """Plan the training of such a network on so many rows."""
    size = _choose_batch_size(model, n_rows)
    epochs, rate, decay = model.max_epochs, model.learning_rate, model.weight_decay
    if isinstance(epochs, str):
        epochs = defaults.choose_max_epochs(n_rows, size, spec.architecture)
    if isinstance(rate, str):
        rate = defaults.choose_learning_rate(spec.hidden_layer_sizes)
    if isinstance(decay, str):
        decay = defaults.choose_weight_decay(spec.architecture)
    return TrainSettings(
        max_epochs=int(epochs),
        batch_size=size,
        learning_rate=float(rate),
        weight_decay=float(decay),
        n_iter_no_change=int(model.n_iter_no_change),
        seed=seed,
        device=choose_device(model.device),
        beats_start=spec.architecture == "pca_residual",
        # Where layers are few, collapses are rare, and the norm of all weights is a cost.
        clips=networks.is_convolutional(spec.architecture)
        or len(spec.hidden_layer_sizes) + spec.residual_blocks > _SHALLOW,
    )


def _choose_batch_size(model: Trained, n_rows: int) -> int:
    given = model.batch_size
    return defaults.choose_batch_size(n_rows) if isinstance(given, str) else int(given)


def choose_units(architecture: str, X: NDArray[Any] | LazyRows) -> tuple[int, ...]:
    """Return the shape of a row whose last axis has columns or channels, ``()`` for pictures.

    Rows (L, C) are a signal of C channels where they were cut out of one, where ``architecture``
    says so, and where their shape is that of no picture.
    """
    shape = tuple(X.shape[1:])
    if len(shape) == 1:
        return shape
    is_signal = isinstance(X, Windows) or architecture == "convolutional_1d"
    return shape if len(shape) == 2 and (is_signal or not are_pictures(shape)) else ()


def may_be_pixels(model: Learned, X: NDArray[Any] | LazyRows) -> bool:
    """Tell whether rows of uint8, or that fill [0, 1], are taken for pixels.

    Rows (F,) are a table where they have few values or many different ones, as columns have that
    were brought to [0, 1] one by one; that matters where the network may start at PCA.
    """
    if len(X.shape) > 2 or model.architecture not in ("auto", "pca_residual"):
        return True
    if isinstance(X, Windows) or _why_not_pca(model):
        return True
    most = min(len(X), max(2, _LOOKED_AT // X.shape[1]))
    some = np.unique(np.linspace(0, len(X) - 1, most).astype(np.int64))
    return X.shape[1] >= _PIXELS and len(np.unique(np.asarray(X[some]))) <= _LEVELS


def choose_start(
    spec: NetworkSpec,
    scaling: Scaling,
    statistics: Statistics,
    X: NDArray[Any] | LazyRows,
    learned: Numbers,
    *,
    weights: NDArray[np.float64] | None = None,
) -> networks.Start:
    """Work out what first weights are made of.

    Parameters
    ----------
    spec : NetworkSpec
        Of the network.
    scaling : Scaling
        Between the data's units and the network's.
    statistics : Statistics
        Of the rows learned from.
    X : ndarray or LazyRows of shape (n, ...)
        All rows.
    learned : ndarray of int, or RowsBut
        Which of them are learned from.
    weights : ndarray of shape (n,), optional
        How much each of all rows counts.
    """
    mean = scaling(torch.from_numpy(statistics.mean).view(1, *spec.sample_shape))[0]
    if spec.architecture != "pca_residual":
        return networks.Start(mean)
    rows = X if len(learned) == len(X) else picked(X, learned)
    width = math.prod(spec.sample_shape)
    scaled = MadeRows(rows, scaling.exactly, (width,), np.float64)
    if weights is not None and rows is not X:
        weights = weights[
            learned if isinstance(learned, np.ndarray) else learned[np.arange(len(learned))]
        ]
    found = fit_pca(
        scaled,
        min(spec.n_components, len(rows), width),
        mean=scaling.exactly(statistics.mean[None])[0],
        sample_weight=weights,
    )
    rest = (found.total_variance - found.variances.sum()) / max(1, width - len(found.variances))
    axes = networks.Axes(
        torch.from_numpy(found.components), torch.from_numpy(found.variances), max(float(rest), 0.0)
    )
    return networks.Start(mean, axes)
