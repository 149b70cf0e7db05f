"""The base class of all models: fitting, resuming, learning from more rows, measuring the loss."""

import math
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, dataclass_transform

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from narrows import losses, networks, ranks, storage
from narrows.data.arrays import as_tensor
from narrows.data.batches import Batch, RowWeights, Weighted, source_of, without_zero_weights
from narrows.data.crops import turned_at_random
from narrows.data.lazy_rows import AnyRows, strided
from narrows.errors import NarrowsWarning, ParameterError
from narrows.losses import Loss
from narrows.models import choices, persistence, resolve
from narrows.models.damage import (
    choose_damage,
    keep_range,
    known_range,
    widened,
)
from narrows.models.failures import Failure, warn_of_failure, warn_of_unlike_pairs
from narrows.models.fitted import FittedModelMethods
from narrows.models.parameters import RandomState
from narrows.models.registry import define
from narrows.models.resolve import Plan
from narrows.models.runs import (
    Run,
    TrainingData,
    check_given_rows,
    check_learned_rows,
    prepare_run,
    resumable_state,
    state_bytes,
    state_of,
    unchanged_on_failure,
    weights_kept_on_divergence,
)
from narrows.models.validation import check_no_pairs, check_parameters, check_rows
from narrows.networks import Network, Start, Trace
from narrows.networks.pca_residual import map_codes, order_codes
from narrows.training.history import History
from narrows.training.loop import TrainSettings, epoch_seed, evaluate, new_optimizer, train
from narrows.training.progress import call_on_choices, print_epoch
from narrows.training.state import Snapshot

# The number of values of damaged rows that are hashed at a time.
_HASHED = 1 << 22
# partial_fit, which has no planned end, uses this share of the peak learning rate of fit.
_ONLINE_SHARE = 1 / 3
# Columns of a history that are no terms of a loss.
_COLUMNS = {"epoch", "loss", "learning_rate", "seconds", "max_epochs"}
# The terms of a loss that stay the same when units of the code change places or signs.
_ALIKE = {"reconstruction", "divergence", "importance_weighted_bound", "contraction"}
# Rows from which the order of units is found, and rows that are encoded at a time.
_ROWS_ORDERED, _BLOCK = 10_000, 1024
# The smallest variance of a unit of the code that codes are divided by the root of.
_LEAST_VARIANCE = 1e-12


class Objective:
    """The loss that a run of training minimises: named terms of a model's loss on one network.

    A model's :meth:`~BaseAutoencoder.counters` become buffers of the network, so that checkpoints
    keep them. They change in training mode only, so that evaluation leaves them as they are.

    Parameters
    ----------
    model : BaseAutoencoder
        A model whose scaling, network and loss have been chosen.
    network : Network
        Encoder and decoder.
    settings : TrainSettings
        The settings of the run.
    n_rows : int
        The number of rows in an epoch.
    is_new : bool, default=False
        Whether the network has its initial weights.

    Attributes
    ----------
    network, settings, n_rows, is_new
        The parameters.
    """

    def __init__(
        self,
        model: "BaseAutoencoder",
        network: Network,
        settings: TrainSettings,
        n_rows: int,
        *,
        is_new: bool = False,
    ) -> None:
        self.network, self.settings, self.n_rows, self.is_new = network, settings, n_rows, is_new
        self._model = model
        self._damage = choose_damage(model)
        self._drawing = networks.drawing_of(model.spec_)
        self._are_checked = False
        with torch.random.fork_rng(devices=[]):  # weights of counters, if any, follow the seed
            torch.default_generator.manual_seed(settings.seed)
            counters = model.counters(self)
        for name, counter in counters.items():
            is_taken = name in {"encoder", "decoder"} or name in vars(network)
            if is_taken or hasattr(type(network), name) or not name.isidentifier():
                raise ParameterError(
                    f"{type(model).__name__} calls a counter {name!r}, which a network cannot have "
                    "as a further attribute; give it another name, such as 'n_steps'"
                )
            if isinstance(counter, Tensor):
                network.register_buffer(name, counter)
            else:
                network.add_module(name, counter)

    def damage(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Damage scaled rows (B, ...) once more, by the model's corruption."""
        return x if self._damage is None else self._damage(x, generator).rows

    def __call__(self, network: Network, batch: Batch, generator: torch.Generator) -> Loss:
        """Return the named terms for rows (B, ...) in the data's units, or pairs (B, 2, ...).

        A pair is a clean row and the damaged row that the encoder sees in its place.
        """
        scaling = self._model.scaling_
        rows, weights = (
            (batch.rows, batch.weights) if isinstance(batch, Weighted) else (batch, None)
        )
        drawn, axis = None, rows.ndim - len(self._model.sample_shape_)
        values = scaling(rows.flatten(0, axis - 1)).view(rows.shape)
        if network.training and self.settings.turns:
            values = turned_at_random(values, axis, generator)
        if axis > 1:
            x, seen = values.unbind(1)
            drawn = seen != x
        else:
            x = seen = values
        if self._damage is not None:
            seen, more = self._damage(seen, generator)
            drawn = more if drawn is None else drawn | more
        with self._drawing(generator):
            trace = network.encoder.trace(seen, weights)
            terms = self._model.terms(self, trace, x, drawn, generator)
        if not self._are_checked:
            _check_terms(self._model, terms)
            self._are_checked = True
        return terms


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class BaseAutoencoder(FittedModelMethods):
    """The base class of all models.

    A new model is a class that inherits from this and adds its parameters as annotated fields with
    defaults; Narrows makes a dataclass of it. It overrides the methods whose results it changes:
    :meth:`terms`, :meth:`penalties`, :meth:`reconstruction_terms`, :meth:`check_parameters`,
    :meth:`counters`.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        The two halves, which map scaled rows (B, ...) to codes (B, K) and back.
    scaling_ : Scaling
        The map between the data's units and the network's.
    sample_shape_ : tuple of int
        The shape of one row: ``(F,)``, ``(H, W)`` or ``(H, W, C)``.
    history_ : History
        Every term of the loss, epoch by epoch.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Values in one row.
    data_min_, data_max_ : ndarray of shape (F,) or (C,)
        The smallest and the largest value of each column of the training rows, in the data's
        units; for signals with several channels, those of each channel. Pictures have none.
    fingerprint_ : str
        SHA-256 of the weights, the description of the network and the scaling.
    choices_ : dict of str to Choice
        The values that ``fit`` chose for parameters left at "auto", each with its reason.
    learned_rows_ : LearnedRows or None
        Hashes of the training rows, which tell whether a row was learned from, was held out, or is
        new. ``None`` for models of versions that kept no hashes.
    """

    # Names of the fitted arrays that are saved beside the weights.
    _findings: ClassVar[tuple[str, ...]] = ("data_min_", "data_max_")
    # scikit-learn's metadata routing passes sample_weight to this model only where it is requested:
    # in a pipeline, the weights are most often meant for the last estimator.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"sample_weight": False}
    __metadata_request__partial_fit: ClassVar[dict[str, bool]] = {"sample_weight": False}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        define(cls)

    def terms(
        self,
        objective: Objective,
        trace: Trace,
        x: Tensor,
        drawn: Tensor | None,
        generator: torch.Generator,
    ) -> Loss:
        """Return the named terms of the loss; training minimises their sum.

        Parameters
        ----------
        objective : Objective
            The network and the settings of its run.
        trace : Trace
            The encoder's results from its input rows, which a corruption has damaged, to their
            codes (B, K).
        x : Tensor of shape (B, ...)
            Scaled clean rows.
        drawn : Tensor of shape (B, ...), bool, or None
            Which values of the rows were drawn to be damaged; ``None`` if rows are not damaged.
        generator : torch.Generator
            The source of random noise.

        Returns
        -------
        dict of str to Tensor
            Scalars. "reconstruction" is the mean over rows of the error summed over their values.
        """
        restored = self._reconstruction_loss(objective.network, trace.code, x, drawn)
        penalties = self.penalties(objective, trace, generator)
        if "reconstruction" in penalties:
            raise ParameterError(
                f"{type(self).__name__} calls a penalty 'reconstruction', which is the name of the "
                "error of restored rows; give it another name"
            )
        return {"reconstruction": trace.mean(restored), **penalties}

    def reconstruction_terms(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        """Return the reconstruction error of each value.

        Parameters
        ----------
        network : Network
            Encoder and decoder.
        code : Tensor of shape (..., B, K)
            Codes.
        x : Tensor of shape (B, ...)
            Scaled clean rows.

        Returns
        -------
        Tensor of shape (..., B, ...)
        """
        if self.loss_ == "cross_entropy":
            return losses.cross_entropy(network.decoder.logits(code), x)
        return losses.squared_error(network.decoder(code), x)

    def penalties(self, objective: Objective, trace: Trace, generator: torch.Generator) -> Loss:
        """Return the named terms, already weighted, that are added to the reconstruction error.

        A model adds its terms to those of ``super()``, so that models can be combined.

        Parameters
        ----------
        objective : Objective
            The network and the settings of its run.
        trace : Trace
            The encoder's results from scaled rows to their codes (B, K). Its ``mean`` averages over
            rows, weighted by ``sample_weight``.
        generator : torch.Generator
            The source of random noise.

        Returns
        -------
        dict of str to Tensor
            Scalars.
        """
        del objective, trace, generator
        return {}

    def check_parameters(self) -> None:
        """Refuse parameters out of range; a model adds its checks to those of ``super()``.

        Raises
        ------
        ParameterError
            For the first parameter that is out of range.
        """
        check_parameters(self)

    def counters(self, objective: Objective) -> dict[str, Tensor | nn.Module]:
        """Return buffers or modules that training updates, by the names that the network gets.

        A model adds its counters to those of ``super()``; its :meth:`penalties` read them as
        attributes of ``objective.network``.

        Parameters
        ----------
        objective : Objective
            The network and the settings of its run.
        """
        del objective
        return {}

    def _reconstruction_loss(
        self, network: Network, code: Tensor, x: Tensor, drawn: Tensor | None
    ) -> Tensor:
        """Return the reconstruction error (..., B) of the rows that codes (..., B, K) decode to."""
        del drawn
        return self._reconstruction_sums(network, code, x)

    def _reconstruction_sums(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        """Sum :meth:`reconstruction_terms` over the values of each row, to (..., B)."""
        errors = self.reconstruction_terms(network, code, x)
        if errors.shape[-x.ndim :] != x.shape:
            raise ParameterError(
                f"{type(self).__name__}.reconstruction_terms returned errors of shape "
                f"{tuple(errors.shape)} for rows of shape {tuple(x.shape)}; return one for each "
                "value of a row"
            )
        return errors.flatten(1 - x.ndim).sum(-1)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train encoder and decoder on rows.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows of a table (F,), of a signal (L,) or (L, C), or pictures (H, W) or (H, W, C), which
            are uint8 or float.
        y : array-like of shape (n,) or (n, m), optional
            Labels, which are ignored. Rows like those of X are refused: only
            :class:`narrows.DenoisingAutoencoder` learns from pairs.
        sample_weight : array-like of shape (n,), optional
            Weight of each row, at least 0; equal by default. A row of weight 2 counts as two rows
            of weight 1, in every term of the loss, in the scaling and in the mean that the encoder
            subtracts; a row of weight 0 is ignored. Only the ratios of weights matter. Operations
            between the rows of a batch count each row once: batch normalisation, and the selection
            of "batch_topk".

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError
            If a parameter or the data cannot be used.
        DivergedError
            If the loss or the weights became infinite or undefined.
        CheckpointError
            If the checkpoint belongs to another run.
        """
        return self._learn(X, y, sample_weight)

    def resume(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, max_epochs: int | None = None
    ) -> Self:
        """Continue the run of ``fit``, after an interruption or for more epochs.

        Parameters
        ----------
        X, y, sample_weight
            The arguments of ``fit``: the same rows, in the same order.
        max_epochs : int, optional
            The total number of epochs, those done included; it becomes the parameter
            ``max_epochs``, whose value is the default.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        CheckpointError
            If the model holds no training state: it was saved without one, was changed by
            :meth:`partial_fit`, was trained for no epochs (PCA), or its training collapsed.
        FormatError
            If the file of the state is missing or damaged.
        ParameterError
            If all epochs have been done, or a parameter differs from the run's. Only
            ``max_epochs``, ``n_iter_no_change``, ``checkpoint``, ``device`` and ``verbose`` may be
            changed before (``set_params``).
        DataError
            If the rows or their order differ from the run's.
        DivergedError
            As :meth:`fit`. After any of these errors the model is unchanged.

        See Also
        --------
        partial_fit : Learns from other rows, at a constant learning rate.

        Notes
        -----
        The state holds the last weights, the best weights, the moments of Adam, the running norm of
        the gradients, the random seed, the history and, within an epoch, the number of steps done
        and the state of the random generator. With the same ``max_epochs`` an interrupted run
        therefore ends bit for bit as an uninterrupted one, on the same machine and device, early
        stopping included. The state is saved with the model; its file is three to four times as
        large as the weights (``save(..., resumable=False)`` omits it).

        With another ``max_epochs``, E, each further step has the learning rate that a cycle
        over E epochs has at that step (:func:`narrows.training.loop.one_cycle`): where E is
        twice the epochs done, training continues at 59 % of the peak and falls to zero along the
        cosine. Early stopping counts from there. ``history_.plans`` lists the replaced plans. Where
        ``kl_warmup`` is a share of the epochs, it is a share of those planned first. A stack
        continues its fine-tuning, or the layer that was interrupted; complete layers are not
        trained further.

        Examples
        --------
        >>> from narrows import Autoencoder, datasets
        >>> X = datasets.load("digits").X_train
        >>> model = Autoencoder(8, max_epochs=2, random_state=0).fit(X)
        >>> model = model.resume(X, max_epochs=5)
        >>> len(model.history_), model.history_.plans
        (5, [{'epoch': 2, 'step': 0, 'max_epochs': 2}])
        """
        self._check_fitted()
        epochs = self.max_epochs if max_epochs is None else max_epochs
        return self._learn(X, y, sample_weight, resuming_to=epochs)

    @property
    def is_resumable_(self) -> bool:
        """Whether the model holds the training state that :meth:`resume` needs."""
        self._check_fitted()
        return self._run_state is not None

    def save(self, path: str | Path, *, overwrite: bool = False, resumable: bool = True) -> Path:
        """Save the fitted model to a folder; :func:`narrows.load` reads it.

        Parameters
        ----------
        path : str or Path
            The folder, which holds safetensors and JSON. It is written atomically: after a crash
            it is complete, or as it was before. ``history.csv`` in it lists the epochs, and
            ``history-layer-1.csv`` and so on those of a stack's layers; loading ignores them.
        overwrite : bool, default=False
            Whether an existing model is replaced.
        resumable : bool, default=True
            Whether the training state is saved, which only :meth:`resume` needs, in a file three
            to four times as large as the weights.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        OutputExistsError, OutputError
            If the folder exists, or cannot be written.

        Warns
        -----
        NarrowsWarning
            "not_resumable", if the state is a file in another folder that can no longer be read.
        """
        self._check_fitted()
        state = state_bytes(self) if resumable else None
        return storage.write(
            path,
            *self._stored(),
            overwrite=overwrite,
            notes=self.history_.files(),
            files={} if state is None else {persistence.STATE: state},
        )

    def _learn(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        resuming_to: int | Literal["auto"] | None = None,
    ) -> Self:
        """Fit, or resume a run towards a total number of epochs; called by the public methods."""
        with unchanged_on_failure(self):
            if resuming_to is not None:
                self.max_epochs = resuming_to
            self.check_parameters()
            persistence.parameters(self)  # refuses those that cannot be stored
            begun = None if resuming_to is None else resumable_state(self)
            data = self._check_data(X, y, sample_weight, fitting=begun is None)
            if begun is not None:
                check_given_rows(self, begun, data)
            self._fit(data, begun)
        if data.damaged is not None:
            warn_of_unlike_pairs(data.X, data.damaged, stacklevel=4)
        warn_of_failure(self, self._failure(), *data, stacklevel=4)
        return self

    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, fitting: bool) -> TrainingData:
        """Check the data to learn from; unless fitting, against the rows learned from before."""
        rows = check_rows(self, X, fitting=True) if fitting else self._check_rows(X)
        if y is not None:
            check_no_pairs(self, rows, y)
        (rows,), weights = without_zero_weights(sample_weight, rows, at_least=2 if fitting else 1)
        return TrainingData(rows, None, weights)

    def _fit(self, data: TrainingData, begun: Snapshot | None = None) -> Self:
        """Learn to restore checked rows, from the start or from where a run was left."""
        X, _, weights = data
        before = getattr(self, "learned_rows_", None)
        seed = self._draw_seed() if begun is None else begun.seed
        n_held_out = resolve.choose_held_out(
            self, len(X), has_hidden_layers=resolve.asks_for_hidden_layers(self)
        )
        run = prepare_run(self, data, seed, n_held_out=n_held_out, begun=begun)
        is_anew = begun is None or not self.__sklearn_is_fitted__()
        with nullcontext() if is_anew else choices.chosen_as_before(self):
            start = self._begin(X, run.held_out, weights)
            settings = self._settings(len(X), run.seed)
        run.set_up(settings, stay=settings.beats_start and self._stays_at_start(run))
        self.choices_ = choices.explain(self, run.settings, len(X), len(run.held_out))
        call_on_choices(self.choices_)
        self._remember_damaged(run)
        if begun is not None:
            check_learned_rows(self, before, run)
        _check_damaged(self, data)
        network = self._prepare_network(run, start)
        objective = Objective(self, network, run.first_settings, len(run.rows), is_new=True)
        history = run.train(network, objective, self.verbose)
        if run.keeps_start(history):
            # No network was better than the start, so the start is computed from all rows.
            run.use_all_rows()
            with warnings.catch_warnings():  # of the choices, which were warned of above
                warnings.simplefilter("ignore", NarrowsWarning)
                start = self._begin(X, weights=weights)
            self._remember_damaged(run)
            network = self._prepare_network(run, start)
            objective = Objective(self, network, run.settings, len(X), is_new=True)
        self._unwhiten(network, start)
        self._settle(network, objective, run)
        self._keep(network, history)
        self._finish(objective, run.learned, run.learned_weights, online=False)
        self._run_state = state_of(self, run)
        run.finish(self.history_)
        return self

    def _begin(
        self, X: AnyRows, held_out: NDArray[np.int64] | None = None, weights: RowWeights = None
    ) -> Start:
        """Choose scaling, network and loss for checked rows; return what initial weights need.

        The choices depend only on the rows that are not held out, weighted.
        """
        plan = self._plan(X, held_out, weights)
        self.sample_shape_ = tuple(X.shape[1:])
        self.scaling_, self.spec_, self.loss_ = plan.scaling, plan.spec, plan.loss
        keep_range(self, plan.limits)
        self.learned_rows_ = plan.learned_rows
        return plan.start

    def _remember_damaged(self, run: Run) -> None:
        """Add hashes of damaged rows, each to the set (learned or held out) of its clean row."""
        X, damaged, _ = run.data
        if damaged is None or self.learned_rows_ is None:
            return
        is_held_out = np.zeros(len(X), bool)
        is_held_out[run.held_out] = True
        step = max(1, _HASHED // math.prod(X.shape[1:]))
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            self.learned_rows_ = self.learned_rows_.with_rows(
                np.asarray(damaged[rows]), is_held_out[rows], counted=False
            )

    def _stays_at_start(self, run: Run) -> bool:
        """Return whether the initial weights, which are PCA's, are kept without training.

        They are optimal for linear halves without penalty or damage; and with too few rows to hold
        any out, no measurement could show that training improves on them.
        """
        if self.max_epochs != "auto":
            return False
        if resolve.asks_for_hidden_layers(self):
            return self.early_stopping and not len(run.held_out)
        own_errors = _overrides(type(self), "reconstruction_terms")
        is_plain = not self._has_penalties() and not own_errors
        return is_plain and self.corruption is None and run.data.damaged is None

    def _finish(
        self, objective: Objective, rows: AnyRows, weights: RowWeights, *, online: bool
    ) -> None:
        """Keep the counters of a run that has ended; adjust and measure the model on its rows.

        A model extends ``super()``'s method. After a pass of ``partial_fit`` (``online``) the rows
        are those of the pass.
        """
        del objective
        if not online and self.spec_.n_heads == 1:
            self._order_codes(rows, weights)

    def _order_codes(self, rows: AnyRows, weights: RowWeights) -> None:
        """Order the units of the code by variance, and fix their signs, as those of PCA are.

        They stay as they are where a term of the loss may tell them apart.
        """
        terms = {name.removeprefix("validation_") for name in self.history_.columns}
        if self.spec_.is_map or not self.history_.best_epoch or terms - _COLUMNS - _ALIKE:
            return
        some = strided(rows, _ROWS_ORDERED)
        network = Network(self.encoder_, self.decoder_)
        codes = torch.cat([trace.code for trace in self._traces(network, some, _BLOCK)])
        scaled = self.scaling_(as_tensor(np.asarray(some)).to(codes.device)).flatten(1)
        counts = None if weights is None else torch.from_numpy(strided(weights, _ROWS_ORDERED))
        order_codes(network, codes, scaled, counts)

    def _unwhiten(self, network: Network, start: Start) -> None:
        """Scale codes that were learned whitened to the variances of PCA's codes.

        With a penalty, which may determine their variances, they stay as they are.
        """
        if start.axes is None or self._has_penalties():
            return
        deviations = start.axes.variances.clamp(min=_LEAST_VARIANCE).sqrt()
        scale = torch.ones(self.spec_.n_components, dtype=deviations.dtype)
        scale[: len(deviations)] = 1 / deviations
        scale = scale.to(next(network.parameters()))
        map_codes(network, torch.zeros_like(scale), scale)

    def _settle(self, network: Network, objective: Objective, run: Run) -> None:
        """Adjust a network that has been trained, by the rows of its run; a model extends it."""
        del network, objective, run

    def _prepare_network(self, run: Run, start: Start) -> Network:
        """Build the network that a run starts with; a model may train parts of it before."""
        return self._new_network(start, run.settings.seed)

    def _new_network(self, start: Start, seed: int) -> Network:
        """Build a network with its initial weights, which a model may change."""
        return networks.build(self.spec_, start, seed)

    def _has_penalties(self) -> bool:
        return _overrides(type(self), "penalties") or _overrides(type(self), "terms")

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Continue training by one pass over more rows, at a constant learning rate.

        The first call also learns the scaling and chooses the network.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows of the same shape and columns as before.
        y : array-like of shape (n,) or (n, m), optional
            Labels, which are ignored, as in :meth:`fit`.
        sample_weight : array-like of shape (n,), optional
            Weight of each of these rows, as in :meth:`fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError, DivergedError
            As :meth:`fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from narrows import Autoencoder
        >>> X = np.random.default_rng(0).random((100, 8))
        >>> model = Autoencoder(2, random_state=0)
        >>> for batch in np.split(X, 4):
        ...     model = model.partial_fit(batch)
        >>> model.n_iter_
        4
        """
        self.check_parameters()
        first = not self.__sklearn_is_fitted__()
        X, _, weights = self._check_data(X, y, sample_weight, fitting=first)
        if not first and (learned := known_range(self)) is not None:
            keep_range(self, widened(learned, X))
        start = None
        if first:
            start, self.choices_ = self._begin(X, weights=weights), {}
        settings = self._settings(len(X), self._draw_seed())
        rate = settings.learning_rate * _ONLINE_SHARE
        if start is not None:
            network = self._new_network(start, settings.seed)
            done, optimizer = History(), None
        else:
            network = Network(self.encoder_, self.decoder_)
            done, optimizer = self.history_, self._optimizer
        objective = Objective(self, network, settings, len(X), is_new=first)
        network.to(settings.device)
        optimizer = optimizer or new_optimizer(
            network, rate, settings.weight_decay, beta2=settings.beta2
        )
        # A pass that diverges spoils the moments of the optimiser, so that it is dropped before.
        if not first:
            self._keep(network, done)
        with weights_kept_on_divergence(network):
            now = train(
                network,
                objective,
                source_of(X, weights=weights),
                settings=replace(
                    settings,
                    seed=epoch_seed(settings.seed, len(done), "partial_fit"),
                    max_epochs=1,
                    learning_rate=rate,
                    cycle=False,
                ),
                optimizer=optimizer,
                callbacks=(print_epoch,) if self.verbose else (),
            )
        if start is not None:
            self._unwhiten(network, start)
        record = {**now.epochs[0], "epoch": len(done) + 1}
        history = History([*done.epochs, record], len(done) + 1, now.ended, done.layers)
        self._keep(network, history, optimizer)
        if not first and self.learned_rows_ is not None:
            self.learned_rows_ = self.learned_rows_.with_rows(X)
        self._finish(objective, X, weights, online=True)
        if len(X) > 1:
            warn_of_failure(self, self._failure())
        return self

    def loss_terms(self, X: Any, random_state: RandomState = None) -> dict[str, float]:
        """Measure the terms of the loss on rows.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Clean rows; a model with a ``corruption`` damages them first.
        random_state : int, RandomState or None
            The random seed of damage and noise.

        Returns
        -------
        dict of str to float
            The terms that ``history_`` has for each epoch, averaged over these rows, and their sum
            as ``loss``. Larger terms on new rows than on training rows are a sign of overfitting.
            Terms that depend on means over rows (the divergence with ``free_bits``, and that of
            ``sparsity="kl"``) use the means over all rows; in ``history_``, and with a
            ``corruption``, they are averaged over blocks of 1 024.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.

        Examples
        --------
        >>> from narrows import Autoencoder, datasets
        >>> digits = datasets.load("digits")
        >>> model = Autoencoder(8, max_epochs=5, random_state=0).fit(digits.X_train)
        >>> sorted(model.loss_terms(digits.X_test))
        ['loss', 'reconstruction']
        """
        rows = self._check_rows(X)
        seed = int(check_random_state(random_state).randint(2**31))
        settings = self._settings(len(rows), seed)
        network = Network(self.encoder_, self.decoder_)
        objective = Objective(self, network, settings, len(rows))
        network.to(settings.device)
        terms = evaluate(network, objective, source_of(rows), settings)
        if self.corruption is None:
            terms |= self._terms_of_all(network, rows)
        return {"loss": sum(terms.values()) - terms["loss"], **dict(list(terms.items())[1:])}

    def _terms_of_all(self, network: Network, rows: AnyRows) -> dict[str, float]:
        """Compute the terms that depend on means over rows from the means over all rows."""
        del network, rows
        return {}

    @torch.inference_mode()
    def _traces(self, network: Network, rows: AnyRows, size: int) -> Iterator[Trace]:
        """Encode checked rows in blocks of ``size``, and yield the encoder's results."""
        device = next(network.parameters()).device
        for start in range(0, len(rows), size):
            block = as_tensor(np.asarray(rows[start : start + size]))
            yield network.encoder.trace(self.scaling_(block.to(device)))

    def _failure(self) -> Failure | None:
        """Return the failure that models of this kind are prone to, if it has happened."""
        return None

    def _draw_seed(self) -> int:
        return ranks.agreed(int(check_random_state(self.random_state).randint(2**31)))

    def _settings(self, n_rows: int, seed: int) -> TrainSettings:
        """Choose the settings of training on ``n_rows`` rows, once the network is chosen."""
        return resolve.choose_settings(self, self.spec_, n_rows, seed)

    def _plan(self, X: AnyRows, held_out: NDArray[np.int64] | None, weights: RowWeights) -> Plan:
        """Choose scaling, network and loss for rows; a model changes parts of ``super()``'s plan.

        Parameters
        ----------
        X, held_out, weights
            As for :func:`narrows.models.resolve.resolve`.
        """
        return resolve.resolve(self, X, held_out, weights)

    def _keep(
        self, network: Network, history: History, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Keep a trained network, its history and, between calls of partial_fit, its optimiser."""
        network.eval()
        self.encoder_ = network.encoder
        self.decoder_ = network.decoder
        self.history_ = history
        self.n_iter_ = len(history)
        self._optimizer = optimizer
        self._run_state = None


def _overrides(model: type[BaseAutoencoder], method: str) -> bool:
    """Return whether a class has a method of its own in place of the base class's."""
    return getattr(model, method) is not getattr(BaseAutoencoder, method)


def _check_damaged(model: BaseAutoencoder, data: TrainingData) -> None:
    """Refuse to learn to restore rows that nothing damages.

    Raises
    ------
    ParameterError
        If the network passes rows around the code, and these are the rows to be restored.
    """
    if model.spec_.definition.starts_at_input and model.corruption is None and data.damaged is None:
        raise ParameterError(
            f"architecture={model.spec_.architecture!r} passes rows around the code, so that "
            "without damage there is nothing to learn; give a corruption, or pairs of damaged and "
            "clean rows to DenoisingAutoencoder.fit, or use another architecture"
        )


def _check_terms(model: BaseAutoencoder, terms: Loss) -> None:
    """Refuse terms of a loss that are no scalars, or have the name of another column of a history.

    Raises
    ------
    ParameterError
        Naming the first.
    """
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.ndim:
            kind = type(value).__name__
            if isinstance(value, Tensor):
                kind = f"a tensor of shape {tuple(value.shape)}"
            raise ParameterError(
                f"{type(model).__name__} returned the term {name!r} of its loss as {kind}; return "
                "a tensor of shape (), such as trace.mean of a number for each row"
            )
        if name in _COLUMNS or name.startswith("validation_"):
            raise ParameterError(
                f"{type(model).__name__} calls a term of its loss {name!r}, which the history of "
                "training has for something else; give it another name"
            )
