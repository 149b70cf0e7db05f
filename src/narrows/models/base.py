"""The base class of all models: fitting, resuming, learning from more rows, and measured losses."""

import math
from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, dataclass_transform

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from narrows import losses, networks, ranks, storage
from narrows.data.batches import Batch, Numbers, RowsBut, Weighted, counted, source_of
from narrows.data.lazy_rows import LazyRows
from narrows.data.scaling import Scaling, Statistics
from narrows.data.signal_files import Windows
from narrows.losses import Loss
from narrows.models import persistence, resolve
from narrows.models.damage import (
    DataRange,
    choose_damage,
    keep_range,
    known_range,
    range_of,
    widened,
)
from narrows.models.failures import Failure, tell_of_failure
from narrows.models.fitted import Codec
from narrows.models.learned_rows import LearnedRows
from narrows.models.registry import define
from narrows.models.runs import (
    Run,
    check_given_rows,
    check_learned_rows,
    plan,
    resumable_state,
    state_bytes,
    state_of,
    unchanged_on_failure,
    weights_kept_on_divergence,
)
from narrows.models.validation import check_no_pairs, check_rows
from narrows.networks import ARCHITECTURES, Network, NetworkSpec, Start, Trace
from narrows.networks.pca_residual import map_codes
from narrows.training.history import History
from narrows.training.loop import (
    TrainSettings,
    epoch_seed,
    evaluate,
    new_optimizer,
    train,
)
from narrows.training.progress import print_epoch, tell_plan
from narrows.training.state import Snapshot

# Values of damaged rows that are hashed at a time.
_HASHED = 1 << 22
# partial_fit, which has no planned end, learns at this share of the peak of fit's learning rate.
_ONLINE_SHARE = 1 / 3
# Least variance of a number of the code that codes are scaled by.
_LEAST_VARIANCE = 1e-12


class Plan(NamedTuple):
    """What the training rows and the parameters of a model decide before the first step.

    Attributes
    ----------
    scaling : Scaling
        Between the data's units and the network's.
    spec : NetworkSpec
        Of the network.
    loss : str
        The error that is made small, or the likelihood that is made large.
    limits : DataRange or None
        Smallest and largest value of each column or channel; ``None`` for pictures.
    start : Start
        What initial weights are made of.
    """

    scaling: Scaling
    spec: NetworkSpec
    loss: str
    limits: DataRange | None
    start: Start


class Objective:
    """What a run of training makes small: named terms of a model's loss on one network.

    A model's :meth:`~BaseAutoencoder.counters` become buffers of the network, so that checkpoints
    keep them. Only a network in training mode changes them; measuring changes nothing.

    Parameters
    ----------
    model : BaseAutoencoder
        With scaling, network and loss chosen.
    network : Network
        The two halves.
    settings : TrainSettings
        Of the run.
    n_rows : int
        Number of rows in an epoch.
    is_new : bool, default=False
        Whether the network has its initial weights.

    Attributes
    ----------
    network, settings, n_rows, is_new
        As given.
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
        for name, counter in model.counters(self).items():
            if isinstance(counter, Tensor):
                network.register_buffer(name, counter)
            else:
                network.add_module(name, counter)

    def __call__(self, network: Network, batch: Batch, generator: torch.Generator) -> Loss:
        """Return the named terms for rows (B, ...) in the data's units, or pairs (B, 2, ...).

        Of a pair, the first row is clean, and the second what the encoder sees of it.
        """
        scaling = self._model.scaling_
        rows, weights = (
            (batch.rows, batch.weights) if isinstance(batch, Weighted) else (batch, None)
        )
        drawn = None
        if rows.ndim > len(self._model.sample_shape_) + 1:
            x, seen = scaling(rows.flatten(0, 1)).view(rows.shape).unbind(1)
            drawn = seen != x
        else:
            x = seen = scaling(rows)
        if self._damage is not None:
            seen, more = self._damage(seen, generator)
            drawn = more if drawn is None else drawn | more
        with networks.drawing_from(generator, self._model.spec_):
            trace = network.encoder.trace(seen, weights)
            return self._model.terms(self, trace, x, drawn, generator)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class BaseAutoencoder(Codec):
    """The root of all models.

    A new model is a class that inherits from this and adds its parameters as annotated fields with
    defaults; Narrows makes a dataclass of it. It overrides what it changes: :meth:`penalties`,
    :meth:`reconstruction_terms`, :meth:`check_parameters`, :meth:`counters`.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        The two halves, between scaled rows (B, ...) and codes (B, K).
    scaling_ : Scaling
        Between the data's units and the network's.
    sample_shape_ : tuple of int
        The shape of one row: ``(F,)``, ``(H, W)`` or ``(H, W, C)``.
    history_ : History
        Every term of the loss, epoch by epoch.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Values in one row.
    data_min_, data_max_ : ndarray of shape (F,) or (C,)
        The smallest and the largest value of each column that was learned from, in the data's
        units; of signals with several channels, of each channel. Pictures have none.
    fingerprint_ : str
        SHA-256 of the weights and of what decides their meaning.
    choices_ : dict of str to Choice
        What the parameters that were left to "auto" became in ``fit``, each with its reason.
    learned_rows_ : LearnedRows or None
        Tells whether a row was learned from, held out, or is new, by hashes of the training rows.
        ``None`` for models saved before there were such hashes.
    """

    # Names of fitted arrays, beside the weights, that saving keeps.
    _findings: ClassVar[tuple[str, ...]] = ("data_min_", "data_max_")
    # In scikit-learn's metadata routing, weights of rows pass by a model that does not ask for
    # them: most often they are meant for the estimator that comes after it.
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
        """Return the named terms of the loss, whose sum training makes small.

        Parameters
        ----------
        objective : Objective
            The network, and what its run is about.
        trace : Trace
            The encoder's way from the rows that it sees, damaged where there is a corruption, to
            their codes (B, K).
        x : Tensor of shape (B, ...)
            Scaled clean rows.
        drawn : Tensor of shape (B, ...), bool, or None
            Which values of the rows were drawn to be damaged; ``None`` if rows are not damaged.
        generator : torch.Generator
            Source of noise.

        Returns
        -------
        dict of str to Tensor
            Scalars. "reconstruction" is the mean over rows of the error summed over their values.
        """
        restored = self._reconstruction_loss(objective.network, trace.code, x, drawn)
        return {
            "reconstruction": trace.mean(restored),
            **self.penalties(objective, trace, generator),
        }

    def reconstruction_terms(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        """Return the error of each value of the rows that codes decode to.

        Parameters
        ----------
        network : Network
            The two halves.
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
        """Return the named terms, already weighted, that are added to the reconstruction's error.

        A model adds its own to those of ``super()``, so that models can be combined.

        Parameters
        ----------
        objective : Objective
            The network, and what its run is about.
        trace : Trace
            The encoder's way from scaled rows to their codes (B, K). Its ``mean`` averages over
            rows, each by its ``sample_weight``.
        generator : torch.Generator
            Source of noise.

        Returns
        -------
        dict of str to Tensor
            Scalars.
        """
        del objective, trace, generator
        return {}

    def check_parameters(self) -> None:
        """Refuse parameters out of range; a model adds its own checks to those of ``super()``.

        Raises
        ------
        ParameterError
            Naming the first.
        """
        resolve.check_parameters(self)

    def counters(self, objective: Objective) -> dict[str, Tensor | nn.Module]:
        """Return what is counted while training, by the names of buffers that the network gets.

        A model adds its own to those of ``super()``; its :meth:`penalties` find them as attributes
        of ``objective.network``.

        Parameters
        ----------
        objective : Objective
            The network, and what its run is about.
        """
        del objective
        return {}

    def _take_counts(self, objective: Objective) -> None:
        """Keep what was counted in a run that has ended; a model adds to ``super()``'s."""
        del objective

    def _reconstruction_loss(
        self, network: Network, code: Tensor, x: Tensor, drawn: Tensor | None
    ) -> Tensor:
        """Return the error of each row that codes (..., B, K) decode to, (..., B)."""
        del drawn
        return self._reconstruction_sums(network, code, x)

    def _reconstruction_sums(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        """Sum :meth:`reconstruction_terms` over each row's values; (..., B)."""
        return self.reconstruction_terms(network, code, x).flatten(1 - x.ndim).sum(-1)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn both halves from rows.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Tables, or grey or colour pictures: uint8 or float.
        y : array-like of shape (n,) or (n, m), optional
            Labels, which are not used. Rows like those of X are refused: only
            :class:`narrows.DenoisingAutoencoder` learns from pairs.
        sample_weight : array-like of shape (n,), optional
            How much each row counts, at least 0; all the same by default. A row of weight 2 counts
            as two rows of weight 1, in every term of the loss, in the scaling and in the mean that
            the encoder subtracts; one of weight 0 is left out of everything. The scale of the
            weights has no meaning. What the rows of a step do to each other counts each row once:
            batch normalisation, and the choice of "batch_topk".

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError
            If a parameter or the data cannot be used.
        DivergedError
            If training left the finite numbers.
        CheckpointError
            If the checkpoint is of another run.
        """
        return self._learn(X, y, sample_weight)

    def resume(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, max_epochs: int | None = None
    ) -> Self:
        """Go on with the run of ``fit`` that made this model: interrupted, or for more epochs.

        Parameters
        ----------
        X, y, sample_weight
            What ``fit`` learned from: the same rows, in the same order.
        max_epochs : int, optional
            How many epochs there are to be in all, those done included; it becomes the parameter
            ``max_epochs``. By default what the parameter says.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            If nothing has been learned yet.
        CheckpointError
            If the model holds no training state: it was saved without it, changed by
            :meth:`partial_fit`, took no epochs (PCA), or collapsed.
        FormatError
            If the file of the state is missing or damaged.
        ParameterError
            If all epochs have been done, or a parameter is another than the run's. Only
            ``max_epochs``, ``n_iter_no_change``, ``checkpoint``, ``device`` and ``verbose`` may be
            changed before (``set_params``).
        DataError
            If the rows are others, or in another order.
        DivergedError
            As :meth:`fit`. In all these cases the model stays as it was.

        See Also
        --------
        partial_fit : Learns from other rows, at a constant rate.

        Notes
        -----
        The state holds the last weights, the best ones, the moments of Adam, the usual norm of
        gradients, the seed, the history and, within an epoch, the number of its steps done and the
        state of the generator of noise. With the same ``max_epochs`` a run that was interrupted
        therefore ends bit for bit as if it had not been, on the same machine and device, early
        stopping included. It is saved with the model, beside the weights, of which it takes three
        to four times the room (``save(..., resumable=False)`` leaves it out).

        With another ``max_epochs``, E, each step from there on has the learning rate that a cycle
        over E epochs has at that step (:func:`narrows.training.loop.one_cycle`): where E is
        twice the epochs done, training goes on at 59 % of the peak and falls to zero along the
        cosine. Early stopping counts from there. ``history_.plans`` says where that
        was. A share of the epochs that ``kl_warmup`` gives is one of those planned first. A stack
        goes on with its fine-tuning, or with the layer that was interrupted; layers that are
        complete are not trained further.

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
        """Whether the model holds the state of training that :meth:`resume` goes on from."""
        self._check_fitted()
        return self._run_state is not None

    def save(self, path: str | Path, *, overwrite: bool = False, resumable: bool = True) -> Path:
        """Write all that was learned to a folder; :func:`narrows.load` reads it.

        Parameters
        ----------
        path : str or Path
            The folder, of safetensors and JSON. A crash leaves what was there, or the whole.
            ``history.csv`` in it says how training went, of a stack's layers
            ``history-layer-1.csv`` and so on; loading does without them.
        overwrite : bool, default=False
            Whether a model that is there already is replaced.
        resumable : bool, default=True
            Whether a file of three to four times the weights' size, of which everything but
            :meth:`resume` does without, keeps the state of training.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        NotFittedError
            If there is nothing learned yet.
        OutputExistsError, OutputError
            If the folder is there already, or cannot be written.

        Warns
        -----
        NarrowsWarning
            "not_resumable", if the state lies in another folder and can no longer be read.
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
        """Fit, or go on with a run that is to have so many epochs; called by the public methods."""
        with unchanged_on_failure(self):
            if resuming_to is not None:
                self.max_epochs = resuming_to
            self.check_parameters()
            begun = None if resuming_to is None else resumable_state(self)
            given = self._given(X, y, sample_weight, fitting=begun is None)
            if begun is not None:
                check_given_rows(self, begun, *given)
            self._fit(*given, begun)
        self._tell(*given)
        return self

    def _tell(
        self,
        X: NDArray[Any],
        damaged: NDArray[Any] | None,
        weights: NDArray[np.float64] | None,
    ) -> None:
        """Warn of what is wrong with a fit; a model adds to ``super()``'s."""
        tell_of_failure(self, self._failure(), X, damaged, weights, stacklevel=5)

    def _given(
        self, X: Any, y: Any, sample_weight: Any, *, fitting: bool
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[np.float64] | None]:
        """Check what is learned from: rows, what the encoder sees of them if not these, weights.

        Unless it is fitting, they have to be like the rows learned from before.
        """
        rows = check_rows(self, X, fitting=True) if fitting else self._check_rows(X)
        check_no_pairs(self, rows, y)
        (rows,), weights = counted(sample_weight, rows)
        return rows, None, weights

    def _fit(
        self,
        X: NDArray[Any],
        damaged: NDArray[Any] | None = None,
        weights: NDArray[np.float64] | None = None,
        begun: Snapshot | None = None,
    ) -> Self:
        """Learn to restore checked rows from themselves, or from damaged ones beside them.

        Where a run was begun, go on with it.
        """
        before = getattr(self, "learned_rows_", None)
        seed = self._draw_seed() if begun is None else begun.seed
        n_held_out = resolve.choose_held_out(
            self, len(X), has_hidden_layers=self._has_hidden_layers()
        )
        run = plan(self, X, damaged, seed, weights, n_held_out=n_held_out, begun=begun)
        start = self._begin(run.X, run.held_out, weights)
        run.set_up(self._settings(len(X), run.seed), stay=self._stays_at_start(run))
        self.choices_ = resolve.explain(self, run.settings, len(X), len(run.held_out))
        tell_plan(self.choices_)
        self._remember_damaged(run)
        if begun is not None:
            check_learned_rows(self, before, run)
        objective = Objective(
            self, self._first_network(run, start), run.first_settings, len(run.rows), is_new=True
        )
        history = run.train(objective.network, objective, self.verbose)
        if run.keeps_start(history):
            # What no network improves on needs no rows held out: it learns from all.
            run.use_all_rows()
            choices_, start = self.choices_, self._begin(X, weights=weights)
            self.choices_ = choices_
            self._remember_damaged(run)
            network = self._first_network(run, start)
            objective = Objective(self, network, run.settings, len(X), is_new=True)
        self._unwhiten(objective.network, start)
        self._keep(objective.network, history)
        self._take_counts(objective)
        self._settle(run.learned, run.learned_weights)
        self._run_state = state_of(self, run)
        run.finish(self.history_)
        return self

    def _begin(
        self,
        X: NDArray[Any],
        held_out: NDArray[np.int64] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> Start:
        """Choose scaling, network and loss for checked rows; return what initial weights need.

        Only the rows that are not held out have a say, each by its weight.
        """
        learned = LearnedRows()

        def remember(rows: NDArray[Any], is_held_out: NDArray[np.bool_]) -> None:
            nonlocal learned
            learned = learned.with_rows(rows, is_held_out)

        start = self._adopt(X, self._plan(X, held_out, weights, remember))
        self.learned_rows_, self.choices_ = learned, {}
        return start

    def _adopt(self, X: NDArray[Any], plan: Plan) -> Start:
        """Take over what was chosen for rows."""
        self.sample_shape_ = X.shape[1:]
        self.scaling_, self.spec_, self.loss_ = plan.scaling, plan.spec, plan.loss
        keep_range(self, plan.limits)
        return plan.start

    def _remember_damaged(self, run: Run) -> None:
        """Remember the damaged row of each pair as the clean one is: learned from, or held out."""
        if run.damaged is None or self.learned_rows_ is None:
            return
        is_held_out = np.zeros(len(run.X), bool)
        is_held_out[run.held_out] = True
        step = max(1, _HASHED // math.prod(run.X.shape[1:]))
        for start in range(0, len(run.X), step):
            rows = slice(start, start + step)
            self.learned_rows_ = self.learned_rows_.with_rows(
                np.asarray(run.damaged[rows]), is_held_out[rows], counted=False
            )

    def _stays_at_start(self, run: Run) -> bool:
        """Tell whether the first weights are the best that can be had, or all that rows bear.

        So is PCA, for linear halves without penalty or damage; and of a network that starts at PCA
        nobody can tell that it gains anything where there are too few rows to hold some out.
        """
        if not self.spec_.kind.starts_at_pca or self.max_epochs != "auto":
            return False
        if self._has_hidden_layers():
            return self.early_stopping and not len(run.held_out)
        return not self._has_penalties() and self.corruption is None and run.damaged is None

    def _settle(self, rows: NDArray[Any] | LazyRows, weights: NDArray[np.float64] | None) -> None:
        """Finish what was learned, and measure it, on the rows learned from (n, ...).

        Weights (n,) say how much each of them counts, if not all the same. A model adds its own to
        what ``super()`` does.
        """
        del rows, weights

    def _unwhiten(self, network: Network, start: Start) -> None:
        """Give codes that were learned whitened the variances that PCA's have.

        They stay as they are where a penalty has a say in how wide they are.
        """
        if start.axes is None or self._has_penalties():
            return
        deviations = start.axes.variances.clamp(min=_LEAST_VARIANCE).sqrt()
        scale = torch.ones(self.spec_.n_components, dtype=deviations.dtype)
        scale[: len(deviations)] = 1 / deviations
        scale = scale.to(next(network.parameters()))
        map_codes(network, torch.zeros_like(scale), scale)

    def _first_network(self, run: Run, start: Start) -> Network:
        """Build the network that a run starts from."""
        return self._new_network(start, run.settings.seed)

    def _new_network(self, start: Start, seed: int) -> Network:
        """Build a network with its initial weights; a model may change those of ``super()``."""
        return networks.build(self.spec_, start, seed)

    def _has_penalties(self) -> bool:
        return type(self).penalties is not BaseAutoencoder.penalties

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from more rows: one pass over them, from where learning stands.

        The first call of all also learns the scaling, and chooses the network.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Rows like the ones before.
        y : array-like of shape (n,) or (n, m), optional
            Labels, which are not used, as of :meth:`fit`.
        sample_weight : array-like of shape (n,), optional
            How much each of these rows counts, as of :meth:`fit`.

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
        X = check_rows(self, X, fitting=True) if first else self._check_rows(X)
        check_no_pairs(self, X, y)
        (X,), weights = counted(sample_weight, X, at_least=2 if first else 1)
        if not first and (known := known_range(self)) is not None:
            keep_range(self, widened(known, X))
        start = self._begin(X, weights=weights) if first else None
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
        optimizer = optimizer or new_optimizer(network, rate, settings.weight_decay)
        # The optimiser's moments would be lost with a pass that diverges, so it is dropped first.
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
        history = History([*done.epochs, record], len(done) + 1, now.ended)
        self._keep(network, history, optimizer)
        self._take_counts(objective)
        if not first and self.learned_rows_ is not None:
            self.learned_rows_ = self.learned_rows_.with_rows(X)
        return self

    def loss_terms(
        self, X: Any, random_state: int | np.random.RandomState | None = None
    ) -> dict[str, float]:
        """Measure on rows what training makes small, term by term.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Clean rows; a model with a ``corruption`` damages them first.
        random_state : int, RandomState or None
            Of damage and noise.

        Returns
        -------
        dict of str to float
            The terms that ``history_`` has for each epoch, the mean over these rows, and their sum
            as ``loss``. On rows not learned from they tell whether the model was overfitted. Terms
            that depend on means over rows (the divergence with ``free_bits``, and that of
            ``sparsity="kl"``) are those of the means over all rows; in ``history_``, and with a
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

    def _terms_of_all(self, network: Network, rows: NDArray[Any] | LazyRows) -> dict[str, float]:
        """Return the terms that depend on means over rows, at the means over all of them."""
        del network, rows
        return {}

    def _failure(self) -> Failure | None:
        """Return what a model of its kind may end in, if it has; a model adds to ``super()``'s."""
        return None

    def _draw_seed(self) -> int:
        return ranks.agreed(int(check_random_state(self.random_state).randint(2**31)))

    def _has_hidden_layers(self) -> bool:
        """Tell whether there are layers between input and code, whatever the rows."""
        return self.hidden_layer_sizes == "auto" or len(self.hidden_layer_sizes) > 0

    def _choose_layers(
        self,
        sample_shape: tuple[int, ...],
        scaling: Scaling,
        n_rows: int,
        *,
        of_signal: bool = False,
    ) -> tuple[str, tuple[int, ...]]:
        """Choose the architecture, and the widths of the layers between input and code."""
        return resolve.choose_layers(self, sample_shape, scaling, n_rows, of_signal=of_signal)

    def _settings(self, n_rows: int, seed: int) -> TrainSettings:
        """Plan training on so many rows, once the network is chosen."""
        return resolve.choose_settings(self, self.spec_, n_rows, seed)

    def _plan(
        self,
        X: NDArray[Any],
        held_out: NDArray[np.int64] | None = None,
        weights: NDArray[np.float64] | None = None,
        remember: Callable[[NDArray[Any], NDArray[np.bool_]], None] | None = None,
    ) -> Plan:
        """Choose scaling, network and loss for rows; a model changes parts of ``super()``'s plan.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n, ...)
            Checked rows.
        held_out : ndarray of int, optional
            Numbers of the rows that have no say.
        weights : ndarray of shape (n,), optional
            How much each row counts.
        remember : callable, optional
            Is called with blocks of rows as they are read, and with which of them are held out.
        """
        statistics = Statistics.of(X, held_out, remember, weights)
        resolve.check_variation(statistics, len(X) - (0 if held_out is None else len(held_out)))
        units = resolve.choose_units(self.architecture, X)
        kind = ARCHITECTURES.get(self.architecture)  # none for "auto"
        alike = kind is not None and kind.map_size is not None  # rows of any extent have no places
        scaling = Scaling.learn(
            self.scaling,
            statistics.pooled() if alike else statistics,
            units,
            are_levels=resolve.may_be_pixels(self, X),
        )
        of_signal = isinstance(X, Windows)
        layers = self._choose_layers(X.shape[1:], scaling, len(X), of_signal=of_signal)
        spec = resolve.choose_network(self, layers, X.shape[1:], scaling, len(X))
        if isinstance(X, Windows):
            spec = replace(spec, signal=True, rate=X.rate)
        resolve.check_reach(spec, scaling, statistics)
        learned: Numbers = np.arange(len(X)) if held_out is None else RowsBut(len(X), held_out)
        return Plan(
            scaling,
            spec,
            resolve.choose_loss(self, spec, statistics),
            range_of(statistics, X, units),
            resolve.choose_start(spec, scaling, statistics, X, learned, weights=weights),
        )

    def _keep(
        self,
        network: Network,
        history: History,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.encoder_ = network.encoder
        self.decoder_ = network.decoder
        self.history_ = history
        self.n_iter_ = len(history)
        self._optimizer = optimizer
        self._run_state = None
