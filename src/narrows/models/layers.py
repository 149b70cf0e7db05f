"""The layers of a stack: models of one layer each way, made to fit on top of each other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from narrows import networks
from narrows.data.arrays import as_tensor
from narrows.data.blocks import Numbers
from narrows.data.lazy import LazyRows
from narrows.data.scaling import Scaling
from narrows.data.stored import MappedRows, PickedRows, StoredRows
from narrows.errors import NarrowsError, ParameterError
from narrows.models.base import BaseAutoencoder
from narrows.models.damage import choose_damage
from narrows.models.learned_rows import LearnedRows
from narrows.models.registry import MODELS
from narrows.models.validation import check_rows
from narrows.networks import ACTIVATIONS, NetworkSpec
from narrows.networks.outputs import with_variance
from narrows.training.history import History

if TYPE_CHECKING:
    from narrows.models.stacked import StackedAutoencoder


class ScaledRows(LazyRows):
    """Some of a model's rows in the network's units, float32.

    Parameters
    ----------
    X : ndarray or LazyRows of shape (n, ...)
        In the data's units.
    rows : ndarray of int
        Which of them.
    scaling : Scaling
        Learned from all.
    """

    def __init__(self, X: NDArray[Any] | LazyRows, rows: Numbers, scaling: Scaling) -> None:
        self._X, self._rows, self._scaling = X, rows, scaling
        self.shape = (len(rows), *X.shape[1:])
        self.dtype = np.dtype(np.float32)

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Scale the rows of these numbers."""
        scaled: NDArray[Any] = self._scaling(as_tensor(self._X[self._rows[rows]])).numpy()
        return scaled


def scaled(X: Any, rows: Numbers, scaling: Scaling) -> LazyRows:
    """Bring some of a model's rows into the network's units: on the disk, where they are there."""
    if isinstance(X, StoredRows):
        return MappedRows(PickedRows(X, rows), lambda some: scaling(as_tensor(some)).numpy())
    return ScaledRows(X, rows, scaling)


def n_layers(spec: NetworkSpec) -> int:
    """Return how many layers lead to the code."""
    return len(spec.hidden_layer_sizes) + 1


@contextmanager
def naming(place: int, count: int) -> Iterator[None]:
    """Say of an error in the block in which layer, from 0, it came up."""
    try:
        yield
    except NarrowsError as error:
        raise type(error)(f"layer {place + 1} of {count}: {error}") from error


def check_layer_models(given: Any) -> None:
    """Refuse what is neither a model, nor the name of one, nor a sequence of these.

    Raises
    ------
    ParameterError
        Naming the first.
    """
    for model in _each(given):
        known = isinstance(model, BaseAutoencoder) or (isinstance(model, str) and model in MODELS)
        deep = hasattr(MODELS[model] if isinstance(model, str) and known else model, "layer_model")
        if not known or deep:
            allowed = ", ".join(n for n, m in MODELS.items() if not hasattr(m, "layer_model"))
            raise ParameterError(
                f"layer_model={model!r} cannot be a layer; use one of {allowed}, a model of these, "
                "or a sequence of them"
            )


def make_layer(stack: "StackedAutoencoder", place: int, seed: int) -> BaseAutoencoder:
    """Make the model that is to learn a place, from 0, in a stack whose network is chosen.

    Raises
    ------
    ParameterError
        If there are not as many models, or corruptions, as layers.
    """
    spec = stack.spec_
    count = n_layers(spec)
    given = _of_place("layer_model", stack.layer_model, place, count)
    is_last = place == count - 1
    parameters: dict[str, Any] = {
        "n_components": (*spec.hidden_layer_sizes, spec.n_components)[place],
        "hidden_layer_sizes": (),
        "tied_weights": spec.tied_weights,
        "architecture": "dense",
        "normalization": "none",
        "residual_blocks": 0,
        "output": spec.activation if place else stack.spec_.output,
        "scaling": "none",
        "device": stack.device,
        "random_state": seed,
        "checkpoint": None,
        "verbose": 0,
    }
    if stack.loss != "auto" and (place == 0 or spec.activation == "sigmoid"):
        parameters["loss"] = stack.loss
    if isinstance(given, str):
        model = MODELS[given]
        layer = model(
            max_epochs=stack.max_epochs,
            batch_size=stack.batch_size,
            weight_decay=stack.weight_decay,
            early_stopping=False,
        )
        damaging = getattr(model, "corruption", None) is not None
        corruption: Any = "masking" if damaging else None
    else:
        layer = clone(given)
        corruption = layer.corruption
        if layer.hidden_layer_sizes not in ("auto", ()):
            raise ParameterError(
                f"hidden_layer_sizes={layer.hidden_layer_sizes!r} of a layer's model is not "
                "allowed: each is one layer; give the stack's hidden_layer_sizes instead"
            )
    if is_last and stack.code_activation != "auto":
        parameters["code_activation"] = stack.code_activation
    elif not is_last and not hasattr(layer, "sparsity"):
        # Sparse models make codes in their own way, which is held against the stack's activation.
        parameters["code_activation"] = spec.activation
    if stack.pretraining_epochs != "auto":
        parameters["max_epochs"] = stack.pretraining_epochs
    if stack.pretraining_learning_rate != "auto":
        parameters["learning_rate"] = stack.pretraining_learning_rate
    kind = _of_place("layer_corruption", stack.layer_corruption, place, count)
    level = _of_place("layer_corruption_level", stack.layer_corruption_level, place, count)
    parameters["corruption"] = corruption if _is_auto(kind) else kind
    if not _is_auto(level):
        parameters["corruption_level"] = level
    layer.set_params(**parameters)
    return layer


def check_layers(stack: "StackedAutoencoder") -> NetworkSpec:
    """Refuse layers that cannot learn or be unrolled, before any of them learns.

    Returns
    -------
    NetworkSpec
        Of the last layer, which decides what makes the code.

    Raises
    ------
    ParameterError
        Naming the layer.
    """
    spec = stack.spec_
    if spec.n_heads != 1:
        raise ParameterError(
            f"{type(stack).__name__} cannot have codes that are distributions; let a layer be "
            "variational: layer_model='variational'"
        )
    count = n_layers(spec)
    layer_spec = spec
    for place in range(count):
        with naming(place, count):
            layer = make_layer(stack, place, 0)
            layer._check_parameters()
            shape = (spec.hidden_layer_sizes[place - 1],) if place else spec.sample_shape
            # Two rows that every activation reaches: what is chosen does not hang on more.
            rows = np.stack([np.full(shape, value, np.float32) for value in (0.25, 0.75)])
            layer.sample_shape_, layer.learned_rows_ = shape, None
            layer._prepare(rows)
            choose_damage(layer)
            layer_spec = layer.spec_
            _check_unrolls(stack, layer_spec, place)
    return layer_spec


def start(
    model: BaseAutoencoder,
    X: Any,
    held_out: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Give a model a network for rows, with its first weights; rows held out have no part in it."""
    rows = check_rows(model, X, fitting=True)
    model.sample_shape_, model.learned_rows_ = rows.shape[1:], LearnedRows()
    model.choices_ = {}
    first = model._prepare(rows, held_out, weights)
    settings = model._settings(len(rows), model._draw_seed())
    network = networks.build(model.spec_, first, settings.seed)
    model._extend(network, settings, len(rows))
    model._keep(network.to(settings.device), History())


def _check_unrolls(stack: "StackedAutoencoder", layer: NetworkSpec, place: int) -> None:
    """Refuse a layer that is more than its place in the deep network holds."""
    spec = stack.spec_
    is_last = place == n_layers(spec) - 1
    if not is_last and (made_by := layer.code_activation) != spec.activation:
        instead = f" or activation={made_by!r}" if made_by in ACTIVATIONS else ""
        raise ParameterError(
            f"its codes are made by {made_by!r}, and only the last layer's may be other than "
            f"activation={spec.activation!r}; use another layer_model{instead}"
        )
    if not is_last and layer.unit_columns and spec.tied_weights:
        raise ParameterError(
            "tied_weights=True does not go with a decoder of columns of length 1 below the code; "
            "use tied_weights=False"
        )
    wanted = spec.activation if place else spec.output
    if layer.output not in (wanted, with_variance(wanted)):
        raise ParameterError(
            f"its decoder ends in {layer.output!r}, where the deep network has {wanted!r}; use "
            "another likelihood, output or activation"
        )


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _of_place(name: str, value: Any, place: int, count: int) -> Any:
    """Return what a parameter says of one layer: it is one for all, or one for each."""
    values = _each(value)
    if len(values) not in (1, count):
        raise ParameterError(
            f"{name}={value!r} has {len(values)} entries for {count} layers; give one for all, or "
            "one for each"
        )
    return values[place % len(values)]


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"
