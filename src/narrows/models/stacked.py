"""The stacked autoencoder: a deep network trained layer by layer, then fine-tuned as a whole.

Hinton & Salakhutdinov (2006), "Reducing the dimensionality of data with neural networks"; Bengio,
Lamblin, Popovici & Larochelle (2007), "Greedy layer-wise training of deep networks"; with denoising
layers Vincent et al. (2010), "Stacked denoising autoencoders"; with contractive ones Rifai et al.
(2011), "Contractive auto-encoders".
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import nn

from narrows.corruption import Corruption, Level, as_list
from narrows.data.arrays import as_tensor
from narrows.data.batches import Numbers, RowWeights
from narrows.data.lazy_rows import (
    AnyRows,
    ComputedRows,
    LazyRows,
    MappedRows,
    Scratch,
    SelectedRows,
    StoredRows,
)
from narrows.data.scaling import Scaling
from narrows.errors import NarrowsError, ParameterError
from narrows.models.base import BaseAutoencoder, Objective
from narrows.models.damage import choose_damage
from narrows.models.encoder_decoder import run_in_blocks
from narrows.models.failures import no_failure_warnings
from narrows.models.parameters import ArchitectureName
from narrows.models.registry import MODELS, model_named
from narrows.models.resolve import Plan
from narrows.models.runs import Run, unchanged_on_failure
from narrows.models.validation import check_flag, check_number, check_rows
from narrows.networks import ACTIVATIONS, Network, NetworkSpec, Start
from narrows.networks.activations import with_variance
from narrows.networks.dense import put_layer, stages, take_layer
from narrows.texts import is_word
from narrows.training.history import History
from narrows.training.loop import epoch_seed, new_optimizer
from narrows.training.progress import on_epoch, print_epoch, with_facts
from narrows.training.state import Clipping, Snapshot, State


class StackedAutoencoder(BaseAutoencoder):
    """A deep network whose layers are trained one by one, then unrolled and fine-tuned together.

    Each layer is a separate autoencoder, which learns from the codes of the layer below. The deep
    network made of all layers is saved, split and used like any other.

    Parameters
    ----------
    layer_model : str, estimator, or sequence of them, default="denoising"
        The model of each layer: its name, or a model with parameters, of which a copy is trained;
        one for all layers, or one for each, the code's layer last. The stack sets shape, code
        activation and scaling of each.
    pretraining_epochs : int or "auto", default="auto"
        Passes over the data for each layer; "auto" takes ``max_epochs``.
    pretraining_learning_rate : float or "auto", default="auto"
        The peak learning rate of each layer; "auto" takes the default of the layer's model, 0.01.
    layer_corruption : str, callable, sequence of them, or None, default="auto"
        Damage to the input of each layer (rows or codes) during training: one for all layers, or
        one for each. "auto" takes "masking" for denoising layers, none for others.
    layer_corruption_level : float, "auto", pair of float, or sequence of them, default="auto"
        Strength of that damage, from 0 to 1, or a range of it, in a sequence: one for all layers,
        or one for each.
    fine_tune : bool, default=True
        Whether the deep network is trained after its layers; ``max_epochs``, ``learning_rate``,
        ``corruption`` and the like apply to this training.
    {parameters}

    Attributes
    ----------
    layer_histories_ : list of History
        The history of each layer, the lowest first; ``history_`` is that of the fine-tuning.
    {attributes}

    Notes
    -----
    Layers learn from the rows that are not held out. The codes that one layer passes to the next
    are computed once; where they take more than half of the free memory, they are kept in a
    temporary file (``TMPDIR``), which is deleted at the end of training.

    A ``checkpoint`` keeps the complete layers, and then the fine-tuning; a file beside it, its name
    followed by ".layer", keeps the layer that is being trained. Ctrl-C during the training of
    layers ends the whole training: layers that were not reached have their initial weights.

    Examples
    --------
    >>> from narrows import StackedAutoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> model = StackedAutoencoder(
    ...     8, hidden_layer_sizes=(64, 32), activation="sigmoid", layer_model="denoising",
    ...     layer_corruption_level=0.2, pretraining_epochs=3, max_epochs=3, random_state=0)
    >>> model = model.fit(digits.X_train)
    >>> [len(history) for history in model.layer_histories_], len(model.history_)
    ([3, 3, 3], 3)
    >>> model.transform(digits.X_test).shape
    (360, 8)
    """

    layer_model: str | BaseAutoencoder | Sequence[str | BaseAutoencoder] = "denoising"
    pretraining_epochs: int | Literal["auto"] = "auto"
    pretraining_learning_rate: float | Literal["auto"] = "auto"
    layer_corruption: str | Corruption | Sequence[str | Corruption | None] | None = "auto"
    layer_corruption_level: Level | Sequence[Level] = "auto"
    fine_tune: bool = True
    architecture: ArchitectureName = "dense"

    _is_stack: ClassVar[bool] = True

    @property
    def layer_histories_(self) -> list[History]:
        """The history of each layer, the lowest first."""
        self._check_fitted()
        return self.history_.layers

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, layer: int | None = None
    ) -> Self:
        """Continue training by one pass over more rows, of a single layer or of the deep network.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows of the same shape and columns as before.
        y : array-like of shape (n,) or (n, m), optional
            Labels, which are ignored, as in :meth:`fit`.
        sample_weight : array-like of shape (n,), optional
            Weight of each of these rows, as in :meth:`fit`.
        layer : int or None, default=None
            The number of the layer to train, from 1, the lowest, to ``len(hidden_layer_sizes) +
            1``, on the present codes of the layer below it. ``None`` trains the deep network.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError, DivergedError
            As :meth:`fit`.

        Examples
        --------
        >>> from narrows import StackedAutoencoder
        >>> X = np.random.default_rng(0).random((100, 8))
        >>> model = StackedAutoencoder(2, hidden_layer_sizes=(6,), random_state=0)
        >>> for layer in (1, 1, 2, None):
        ...     model = model.partial_fit(X, layer=layer)
        >>> [len(history) for history in model.layer_histories_], len(model.history_)
        ([2, 1], 1)
        """
        if layer is None:
            return super().partial_fit(X, y, sample_weight)
        with unchanged_on_failure(self):
            self.check_parameters()
            first = not self.__sklearn_is_fitted__()
            X, _, weights = self._check_data(X, y, sample_weight, fitting=first)
            if first:
                start_model(self, X, weights=weights)
            check_number("layer", layer, low=1, high=_n_layers(self.spec_), integral=True)
            self._learn_layer(X, int(layer) - 1, weights)
        return self

    def _learn_layer(self, X: NDArray[Any], place: int, weights: RowWeights) -> None:
        """Train the layer at a place, from 0, on the codes of rows from the layers below it."""
        network = Network(self.encoder_, self.decoder_)
        codes: Any = _scaled(X, np.arange(len(X)), self.scaling_)
        for number, below in enumerate(stages(network.encoder)[:place]):
            codes = _encode(below, number, codes, self.spec_)
        # The layers of previous calls, with their optimisers.
        kept: dict[int, BaseAutoencoder] = dict(getattr(self, "_layers", {}))
        histories = list(self.history_.layers)
        with _naming(place, _n_layers(self.spec_)):
            layer = kept.get(place)
            if layer is None:
                layer = kept[place] = _make_layer(self, self.spec_, place, self._draw_seed())
                start_model(layer, codes, weights=weights)
            if len(histories[place]) or len(self.history_):
                take_layer(network, Network(layer.encoder_, layer.decoder_), place)
            layer.partial_fit(codes, sample_weight=weights)
        put_layer(Network(layer.encoder_, layer.decoder_), network, place)
        done = histories[place]
        record = {**layer.history_.epochs[-1], "epoch": len(done) + 1}
        histories[place] = History([*done.epochs, record], len(done) + 1, layer.history_.ended)
        self.history_ = replace(self.history_, layers=histories)
        self._layers, self._run_state = kept, None

    def _prepare_network(self, run: Run, start: Start) -> Network:
        """Build the deep network and train its layers."""
        network = super()._prepare_network(run, start).to(run.settings.device)
        # The objective gives the network the model's counters, which are part of the saved states.
        Objective(self, network, run.settings, len(run.rows), is_new=True)
        optimizer = new_optimizer(
            network,
            run.settings.learning_rate,
            run.settings.weight_decay,
            beta2=run.settings.beta2,
        )
        clipping = Clipping().to(run.settings.device) if run.settings.clips else None
        state = State(network, optimizer, {}, History(), run.settings.seed, clipping)
        begun = run.begun
        if begun is not None and begun.epoch + begun.step == 0:
            begun.restore_saved(state)
            run.begun = None
        if run.checkpoint is not None:
            run.checkpoint.restore(state)
        if run.begun is None and not len(state.history):
            self._pretrain(run, network, state, None if begun is None else begun.layer)
        if not self.fine_tune:
            run.settings = replace(run.settings, max_epochs=0)
        run.layer_histories = state.history.layers
        return network

    def _pretrain(
        self, run: Run, network: Network, state: State, begun: Snapshot | None = None
    ) -> None:
        """Train the remaining layers, each on the codes of the layer below.

        The first of them may resume from ``begun``. The fine-tuning continues from their weights.
        """
        codes: Any = _scaled(run.data.X, run.rows, self.scaling_)
        count = _n_layers(self.spec_)
        for place, stage in enumerate(stages(network.encoder)):
            if place >= len(state.history.layers):
                if run.checkpoint is not None:
                    run.checkpoint.write(state, at_once=True)
                state.max_epochs = run.settings.max_epochs
                before = Snapshot.of(state, lasting=True)
                layer = self._train_layer(place, codes, run, begun)
                begun = None
                put_layer(Network(layer.encoder_, layer.decoder_), network, place)
                if layer.history_.ended == "interrupted":
                    if isinstance(left := layer._run_state, Snapshot):
                        run.left = before.with_layer(left)
                    # There is no fine-tuning, and the checkpoint stays as it is.
                    run.settings = replace(run.settings, max_epochs=0)
                    run.checkpoint = None
                    state.history.layers.append(layer.history_)
                    return
                state.history.layers.append(layer.history_)
            if place < count - 1:
                codes = _encode(stage, place, codes, self.spec_)
        if run.checkpoint is not None:
            run.checkpoint.write(state, at_once=True)
        state.max_epochs = run.settings.max_epochs
        run.begun = Snapshot.of(state, lasting=True)

    def _train_layer(
        self, place: int, codes: Any, run: Run, begun: Snapshot | None
    ) -> BaseAutoencoder:
        """Train the model of a layer, or resume its training."""
        count = _n_layers(self.spec_)
        seed = epoch_seed(run.settings.seed, place, "layer") % 2**32
        layer = _make_layer(self, self.spec_, place, seed)
        if run.checkpoint is not None:
            layer.checkpoint = f"{run.checkpoint.path}.layer"
        printing = on_epoch(print_epoch) if self.verbose else nullcontext()
        with (
            _naming(place, count),
            printing,
            no_failure_warnings(),
            with_facts(layer=place + 1, n_layers=count),
            warnings.catch_warnings(),
        ):
            # The fit of the stack warns of the interruption.
            warnings.filterwarnings("ignore", message="training was interrupted")
            if begun is None:
                return layer.fit(codes, sample_weight=run.learned_weights)
            # The stack has already compared rows and parameters with those of the run.
            data = layer._check_data(codes, None, run.learned_weights, fitting=True)
            return layer._fit(data, begun)

    def _keep(
        self, network: Network, history: History, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        missing = _n_layers(self.spec_) - len(history.layers)
        history.layers = [*history.layers, *(History() for _ in range(missing))]
        if any(layer.ended == "interrupted" for layer in history.layers) and not len(history):
            history.ended = "interrupted"
        super()._keep(network, history, optimizer)

    def _plan(self, X: AnyRows, held_out: NDArray[np.int64] | None, weights: RowWeights) -> Plan:
        plan = super()._plan(X, held_out, weights)
        last = _check_layers(self, plan.spec)
        spec = replace(
            plan.spec,
            code_activation=last.code_activation,
            n_active=last.n_active,
            unit_columns=last.unit_columns,
        )
        return plan._replace(spec=spec)

    def _begin(
        self, X: AnyRows, held_out: NDArray[np.int64] | None = None, weights: RowWeights = None
    ) -> Start:
        self._layers = {}
        return super()._begin(X, held_out, weights)

    def check_parameters(self) -> None:
        """Extend the checks of ``super()`` by the parameters of the layers."""
        super().check_parameters()
        _check_layer_models(self.layer_model)
        check_number(
            "pretraining_epochs", self.pretraining_epochs, low=1, integral=True, words=("auto",)
        )
        check_number(
            "pretraining_learning_rate",
            self.pretraining_learning_rate,
            low=0,
            open_low=True,
            words=("auto",),
        )
        check_flag("fine_tune", self.fine_tune)
        if self.architecture != "dense":
            raise ParameterError(
                f"architecture={self.architecture!r} does not go with layers that are trained one "
                "by one; leave it to 'dense'"
            )
        for name, plain in (("normalization", "none"), ("residual_blocks", 0)):
            if (value := getattr(self, name)) != plain:
                raise ParameterError(
                    f"{name}={value!r} does not go with layers that are trained one by one; leave "
                    f"it at {plain!r}, or use Autoencoder, which trains deep networks by it"
                )


def start_model(
    model: BaseAutoencoder,
    X: Any,
    held_out: NDArray[np.int64] | None = None,
    weights: RowWeights = None,
) -> None:
    """Give a model a network with initial weights, which do not depend on held-out rows."""
    rows = check_rows(model, X, fitting=True)
    start, model.choices_ = model._begin(rows, held_out, weights), {}
    settings = model._settings(len(rows), model._draw_seed())
    model._keep(model._new_network(start, settings.seed).to(settings.device), History())


def _n_layers(spec: NetworkSpec) -> int:
    """Return the number of layers of the encoder, the code's layer included."""
    return len(spec.hidden_layer_sizes) + 1


@contextmanager
def _naming(place: int, count: int) -> Iterator[None]:
    """Prefix errors in the block with the layer, from 0, in which they were raised."""
    try:
        yield
    except NarrowsError as error:
        raise type(error)(f"layer {place + 1} of {count}: {error}") from error


def _check_layer_models(layer_model: Any) -> None:
    """Refuse anything but a model, the name of a model, or a sequence of these.

    Raises
    ------
    ParameterError
        For the first value that is refused.
    """
    for model in as_list(layer_model):
        known: Any = model_named(model) if isinstance(model, str) else model
        is_named = isinstance(model, str) and known is not None
        if not (is_named or isinstance(model, BaseAutoencoder)) or known._is_stack:
            allowed = ", ".join(name for name, cls in MODELS.items() if not cls._is_stack)
            raise ParameterError(
                f"layer_model={model!r} cannot be a layer; use one of {allowed}, a model of these, "
                "or a sequence of them"
            )


def _make_layer(
    stack: StackedAutoencoder, spec: NetworkSpec, place: int, seed: int
) -> BaseAutoencoder:
    """Make the model of the layer at a place, from 0, of a stack whose network is chosen.

    Raises
    ------
    ParameterError
        If the numbers of models or corruptions and of layers differ.
    """
    count = _n_layers(spec)
    template = _of_place("layer_model", stack.layer_model, place, count)
    is_last = place == count - 1
    parameters: dict[str, Any] = {
        "n_components": (*spec.hidden_layer_sizes, spec.n_components)[place],
        "hidden_layer_sizes": (),
        "tied_weights": spec.tied_weights,
        "architecture": "dense",
        "normalization": "none",
        "residual_blocks": 0,
        "output": spec.activation if place else spec.output,
        "scaling": "none",
        "device": stack.device,
        "random_state": seed,
        "checkpoint": None,
        "verbose": 0,
    }
    if stack.loss != "auto" and (place == 0 or spec.activation == "sigmoid"):
        parameters["loss"] = stack.loss
    if isinstance(template, str):
        model = MODELS[template]
        layer = model(
            max_epochs=stack.max_epochs,
            batch_size=stack.batch_size,
            weight_decay=stack.weight_decay,
            early_stopping=False,
        )
        damaging = getattr(model, "corruption", None) is not None
        corruption: Any = "masking" if damaging else None
    else:
        layer = clone(template)
        corruption = layer.corruption
        if layer.hidden_layer_sizes not in ("auto", ()):
            raise ParameterError(
                f"hidden_layer_sizes={layer.hidden_layer_sizes!r} of a layer's model is not "
                "allowed: each is one layer; give the stack's hidden_layer_sizes instead"
            )
    if is_last and stack.code_activation != "auto":
        parameters["code_activation"] = stack.code_activation
    elif not is_last and not layer._fixed_code_activation:
        # An activation that the layer's model determines is compared with the stack's afterwards.
        parameters["code_activation"] = spec.activation
    if stack.pretraining_epochs != "auto":
        parameters["max_epochs"] = stack.pretraining_epochs
    if stack.pretraining_learning_rate != "auto":
        parameters["learning_rate"] = stack.pretraining_learning_rate
    kind = _of_place("layer_corruption", stack.layer_corruption, place, count)
    level = _of_place("layer_corruption_level", stack.layer_corruption_level, place, count)
    parameters["corruption"] = corruption if is_word(kind, "auto") else kind
    if not is_word(level, "auto"):
        parameters["corruption_level"] = level
    made: BaseAutoencoder = layer.set_params(**parameters)
    return made


def _check_layers(stack: StackedAutoencoder, spec: NetworkSpec) -> NetworkSpec:
    """Refuse layers that cannot be trained or unrolled, before any of them is trained.

    Returns
    -------
    NetworkSpec
        The network of the last layer, which determines the activation of the code.

    Raises
    ------
    ParameterError
        With the number of the layer.
    """
    if spec.n_heads != 1:
        raise ParameterError(
            f"{type(stack).__name__} cannot have codes that are distributions; let a layer be "
            "variational: layer_model='variational'"
        )
    count = _n_layers(spec)
    layer_spec = spec
    for place in range(count):
        with _naming(place, count):
            layer = _make_layer(stack, spec, place, 0)
            layer.check_parameters()
            shape = (spec.hidden_layer_sizes[place - 1],) if place else spec.sample_shape
            # The choices need only two rows, whose values every activation can reach.
            rows = np.stack([np.full(shape, value, np.float32) for value in (0.25, 0.75)])
            layer._begin(rows)
            choose_damage(layer)
            layer_spec = layer.spec_
            _check_unrolls(spec, layer_spec, place)
    return layer_spec


def _check_unrolls(spec: NetworkSpec, layer: NetworkSpec, place: int) -> None:
    """Refuse a layer that the deep network cannot represent."""
    is_last = place == _n_layers(spec) - 1
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


def _of_place(name: str, value: Any, place: int, count: int) -> Any:
    """Return the value of a parameter for one layer; it has one for all, or one for each."""
    values = as_list(value)
    if len(values) not in (1, count):
        raise ParameterError(
            f"{name}={value!r} has {len(values)} entries for {count} layers; give one for all, or "
            "one for each"
        )
    return values[place % len(values)]


def _scaled(X: Any, rows: Numbers, scaling: Scaling) -> LazyRows:
    """Scale some of a model's rows, float32, when they are asked for; rows on a disk stay there."""
    if isinstance(X, StoredRows):
        return MappedRows(SelectedRows(X, rows), lambda picked: scaling(as_tensor(picked)).numpy())

    def scale(numbers: NDArray[Any]) -> NDArray[Any]:
        scaled: NDArray[Any] = scaling(as_tensor(X[numbers])).numpy()
        return scaled

    return ComputedRows(rows[np.arange(len(rows))], scale, X.shape[1:], np.float32)


def _encode(stage: nn.Module, place: int, codes: Any, spec: NetworkSpec) -> Any:
    """Compute the codes of the layer at a place, of all rows, from those of the layer below."""
    width = (*spec.hidden_layer_sizes, spec.n_components)[place]
    made = Scratch((len(codes), width), np.float32)
    run_in_blocks(stage, codes, made.values, stage, spec)
    # Codes of rows in memory are an array, mapped or not, so that they are shuffled one by one.
    return made.rows() if isinstance(codes, StoredRows) else made.values
