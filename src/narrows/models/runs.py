"""Runs of training: their rows and settings, and the state from which they are resumed.

Rows are split before anything is learned from them, so that scaling, mean and initial weights do
not depend on held-out rows. A resumed run starts like the first one: rows are split, scaled and
measured again, with the same results, and then the state of network and optimiser replaces the
initial weights. An interrupted run therefore ends like an uninterrupted one, bit for bit on the
same machine.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from narrows import ranks
from narrows.data.batches import (
    Numbers,
    RowWeights,
    Source,
    anywhere_stored,
    draw,
    picked,
    source_of,
)
from narrows.data.lazy_rows import AnyRows, strided
from narrows.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    FormatError,
    ParameterError,
    warn,
)
from narrows.models import persistence
from narrows.models.fitted import FittedModelMethods
from narrows.models.learned_rows import NEW, HashSet, LearnedRows
from narrows.models.persistence import StoredState
from narrows.networks import Network
from narrows.texts import counted, shortened
from narrows.training.history import History
from narrows.training.loop import LossFunction, TrainSettings, train
from narrows.training.progress import print_epoch
from narrows.training.state import Checkpoint, Snapshot, checked

# The number of rows that processes compare before they train together.
_ROWS_COMPARED = 256
# Parameters that may differ from those of the run that is resumed.
_FREE = {"checkpoint", "device", "verbose", "max_epochs", "n_iter_no_change"}


class TrainingData(NamedTuple):
    """Checked rows to learn from.

    Attributes
    ----------
    X : ndarray or LazyRows of shape (n, *sample_shape)
        The clean rows.
    damaged : ndarray or LazyRows of shape (n, ...), or None
        The encoder's input of each pair; ``None`` if there are no pairs.
    weights : ndarray of shape (n,) or None
        Weight of each row, above 0; ``None`` if they are equal.
    """

    X: NDArray[Any]
    damaged: NDArray[Any] | None = None
    weights: RowWeights = None

    def arrays(self) -> list[NDArray[Any]]:
        """Return the fields that are not None."""
        return [field for field in self if field is not None]


@dataclass
class Run:
    """What training needs beside the network and the loss.

    Attributes
    ----------
    data : TrainingData
        All rows, their damaged partners and weights.
    rows, held_out : ndarray of int; rows is AllRowsExcept where rows are on a disk
        Numbers of the training rows and of the held-out rows, ascending.
    seed : int
        The random seed of the split, the initial weights, shuffling and noise.
    checkpoint : Checkpoint or None
        The file that keeps the training state.
    in_blocks : bool
        Whether rows are read in blocks, since they are on a disk of any of the processes.
    begun : Snapshot or None
        The state that a resumed run continues.
    left : Snapshot or None
        The state from which the run can be resumed, once it has ended.
    layer_histories : list of History
        The histories of a stack's layers, which were trained before the whole network.
    settings : TrainSettings
        Epochs, batch size, learning rate and device; set once the network is chosen.
    first_settings : TrainSettings
        The settings with the number of epochs that was planned before any resumption.
    """

    data: TrainingData
    rows: Numbers
    held_out: NDArray[np.int64]
    seed: int
    checkpoint: Checkpoint | None
    in_blocks: bool
    begun: Snapshot | None = None
    left: Snapshot | None = None
    layer_histories: list[History] = field(default_factory=list)
    settings: TrainSettings = field(init=False)
    first_settings: TrainSettings = field(init=False)

    def set_up(self, settings: TrainSettings, *, stay: bool) -> None:
        """Set the settings that were chosen with the network; if it is to ``stay``, no epochs.

        Raises
        ------
        ParameterError
            If a batch has fewer rows than there are processes to share it.
        """
        _check_shares(len(self.rows), settings.batch_size)
        self.settings = replace(settings, max_epochs=0) if stay else settings
        planned = self.settings.max_epochs
        if self.begun is not None:
            plans = self.begun.facts["history"].get("plans", [])
            if plans:
                planned = plans[0]["max_epochs"]
            elif self.begun.epoch + self.begun.step:
                planned = self.begun.max_epochs
        self.first_settings = replace(self.settings, max_epochs=planned)

    def keeps_start(self, history: History) -> bool:
        """Return whether the initial weights were best although rows were held out."""
        return history.start is not None and not history.best_epoch and len(self.held_out) > 0

    def use_all_rows(self) -> None:
        """Make the held-out rows training rows."""
        self.rows, self.held_out = np.arange(len(self.data.X)), np.empty(0, np.int64)

    @property
    def learned(self) -> AnyRows:
        """The training rows in order, without a copy of them."""
        return self.data.X if not len(self.held_out) else picked(self.data.X, self.rows)

    @property
    def learned_weights(self) -> RowWeights:
        """The weights of the training rows."""
        if self.data.weights is None or not len(self.held_out):
            return self.data.weights
        return np.delete(self.data.weights, self.held_out)

    def train(self, network: Network, loss: LossFunction, verbose: int) -> History:
        """Minimise a loss, and return the history."""
        X, damaged, weights = self.data

        def source(rows: Numbers) -> Source:
            return source_of(X, rows, damaged, weights, in_blocks=self.in_blocks)

        def keep(left: Snapshot) -> None:
            self.left = self.left or left

        history = train(
            network.to(self.settings.device),
            loss,
            source(self.rows),
            settings=self.settings,
            validation=source(self.held_out) if len(self.held_out) else None,
            checkpoint=self.checkpoint,
            resume=self.begun,
            on_end=keep,
            callbacks=(print_epoch,) if verbose else (),
        )
        history.layers = history.layers or self.layer_histories
        return history

    def finish(self, history: History) -> None:
        """Warn that training was interrupted, or remove the checkpoint of a complete run."""
        if history.ended == "interrupted":
            warn_of_interruption("model", history, stacklevel=5)
        elif self.checkpoint is not None:
            self.checkpoint.remove()


def warn_of_interruption(what: str, history: History, *, stacklevel: int) -> None:
    """Warn that the training of a model or a classifier was interrupted."""
    warnings.warn(
        f"training was interrupted after {len(history)} epochs; the {what} keeps what it learned",
        stacklevel=stacklevel + 1,
    )


def split_rows(
    n_rows: int, n_held_out: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the numbers of held-out rows, and return them and those of the others, ascending."""
    held_out, learned = np.split(np.random.default_rng(seed).permutation(n_rows), [n_held_out])
    return np.sort(held_out), np.sort(learned)


def prepare_run(
    model: FittedModelMethods,
    data: TrainingData,
    seed: int,
    *,
    n_held_out: int,
    begun: Snapshot | None = None,
) -> Run:
    """Prepare how a model learns from checked rows, ``n_held_out`` of which are held out.

    The random seed of a run to be resumed is that of its first part.

    Raises
    ------
    DataError
        If processes that train together have different rows.
    CheckpointError
        If the checkpoint belongs to another run.
    """
    X, damaged, weights = data
    _check_same_rows(model, X, weights)
    checkpoint = None
    if model.checkpoint is not None:
        identity = persistence.run_identity(model, *data.arrays())
        if begun is not None and (replaced := _replaced_epoch_plans(model, begun)):
            identity += f" after {replaced}"
        checkpoint = Checkpoint(model.checkpoint, identity)
        if (kept := checkpoint.seed()) is not None:
            seed = kept
    in_blocks = anywhere_stored(X, damaged)
    split = draw if in_blocks else split_rows
    held_out, rows = split(len(X), n_held_out, seed)
    return Run(data, rows, held_out, seed, checkpoint, in_blocks, begun)


def _check_same_rows(model: FittedModelMethods, X: NDArray[Any], weights: RowWeights) -> None:
    """Compare a sample of the rows, the weights and the parameters of all processes."""
    if ranks.place.size > 1:
        sample = np.ascontiguousarray(strided(X, _ROWS_COMPARED))
        compared = TrainingData(sample, None, weights).arrays()
        digest = persistence.run_identity(model, *compared)[:12]
        ranks.check_same(
            "its rows or parameters", f"{len(X)} rows, fingerprint {digest}", DataError
        )


def _check_shares(n_rows: int, batch_size: int) -> None:
    smallest = n_rows // -(-n_rows // batch_size)
    if smallest < (n_processes := ranks.place.size):
        raise ParameterError(
            f"batches of {smallest} rows cannot be shared by {n_processes} processes; start at "
            f"most {smallest}, or give a larger batch_size"
        )


def state_of(model: FittedModelMethods, run: Run) -> Snapshot | None:
    """Return the state from which a run that has ended can be resumed; None if it cannot."""
    if run.left is None:
        return None
    return run.left.with_facts(
        parameters=persistence.parameters(model),
        rows=_hash_in_order(run.data),
        n_rows=len(run.data.X),
        ended=model.history_.ended,
    )


def _hash_in_order(data: TrainingData) -> str:
    """Hash shapes and types, a sample of the rows in their order, and all weights."""
    facts = [[list(X.shape), str(X.dtype)] for X in data.arrays()]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for X in data.arrays():
        size = len(X) if X.ndim == 1 else persistence.ROWS_PER_HASHED_BLOCK
        for start in range(0, len(X), max(size, -(-len(X) // persistence.HASHED_BLOCKS))):
            block = np.asarray(X[start : start + size])
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def state_bytes(model: FittedModelMethods) -> bytes | None:
    """Return a model's training state as it is saved; warn if its file is damaged."""
    state = model._run_state
    if isinstance(state, StoredState):
        try:
            state = state.read()
        except FormatError as error:
            warn(
                f"the model is saved without what --resume needs: {error}",
                kind="not_resumable",
                stacklevel=3,
            )
            return None
    return None if state is None else state.to_bytes()


def resumable_state(model: FittedModelMethods) -> Snapshot:
    """Return the state from which a fitted model's run is resumed.

    Raises
    ------
    CheckpointError
        If the model has no such state.
    FormatError
        If the state's file is missing or damaged.
    ParameterError
        If a parameter differs from the run's, or no epochs are left.
    """
    name = type(model).__name__
    if isinstance(model._run_state, StoredState):
        model._run_state = model._run_state.read()
    state = model._run_state
    if state is None and not len(model.history_):
        raise CheckpointError(
            f"this {name} was trained for no epochs that could go on (it is PCA of its rows, or a "
            "stack without fine-tuning); train anew with the number of epochs wanted (max_epochs, "
            "--max-epochs), without --resume"
        )
    if state is None:
        raise CheckpointError(
            f"this {name} holds no training state: it was saved without one (resumable=False, "
            "--no-resumable, --ray or an older Narrows), interrupted within a step or changed by "
            "partial_fit; train anew without --resume, or learn from more rows by partial_fit"
        )
    try:
        _check_facts(state)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the model's training state is damaged ({type(error).__name__}: {error}); train anew, "
            "without --resume"
        ) from error
    _check_parameters(model, state)
    _check_end(model, state)
    return state


def _check_facts(state: Snapshot) -> None:
    """Refuse facts that :func:`state_of` cannot have written.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        For the first wrong fact.
    """
    facts = state.facts
    History.from_json(dict(facts["history"]))
    if state.max_epochs < 0 or state.step < 0 or facts["n_rows"] < 0:
        raise ValueError("numbers below 0")
    if not isinstance(facts["parameters"], dict) or not isinstance(facts["rows"], str):
        raise TypeError("it names no parameters or rows")
    _ = facts["ended"], facts["parameters"]["max_epochs"]
    if not isinstance(facts["parameters"]["n_iter_no_change"], int):
        raise TypeError("n_iter_no_change is no number")
    checked(facts)
    if state.layer is not None:
        _check_facts(state.layer)


def _check_parameters(model: FittedModelMethods, state: Snapshot) -> None:
    """Refuse parameters that differ from the run's."""
    of_run = state.facts["parameters"]
    for name, value in persistence.parameters(model).items():
        if name in of_run and name not in _FREE and value != of_run[name]:
            raise ParameterError(
                f"{name}={shortened(repr(getattr(model, name)))} contradicts the run that is to go "
                f"on, which has {name}={shortened(repr(of_run[name]))}; leave out "
                f"--{name.replace('_', '-')} ({name}), or train anew without --resume"
            )


def _check_end(model: FittedModelMethods, state: Snapshot) -> None:
    """Refuse to resume a complete run, unless more epochs are wanted than were planned."""
    done, planned, ended = state.epoch, state.max_epochs, state.facts["ended"]
    if ended == "collapsed":
        raise CheckpointError(
            f"training collapsed after {counted(done, 'epoch')} and cannot go on; train anew, "
            "without --resume, at a lower learning rate (--learning-rate, learning_rate)"
        )
    wanted, was = model.max_epochs, state.facts["parameters"]["max_epochs"]
    same_plan = wanted in (was, planned)
    if ended == "interrupted" and same_plan:
        return
    if same_plan and ended == "max_epochs":
        raise ParameterError(
            f"all {planned} epochs that were planned have been done; give more "
            f"(--max-epochs {2 * planned}, max_epochs={2 * planned})"
        )
    if not isinstance(wanted, str) and wanted <= done and state.layer is None:
        raise ParameterError(
            f"max_epochs={wanted} have been done: the model was trained for "
            f"{counted(done, 'epoch')}; give more (--max-epochs {2 * done}, max_epochs={2 * done})"
        )
    patience = state.facts["parameters"]["n_iter_no_change"]
    if same_plan and ended == "early_stopping" and model.n_iter_no_change <= patience:
        raise ParameterError(
            f"early stopping ended training after {done} of {planned} epochs; give more than "
            f"{planned} (--max-epochs, max_epochs), or more than {patience} epochs without a "
            "smaller held-out loss (--n-iter-no-change, n_iter_no_change)"
        )


def _replaced_epoch_plans(model: FittedModelMethods, state: Snapshot) -> list[dict[str, int]]:
    """Return the plans that were replaced, with the present one if ``max_epochs`` replaces it."""
    replaced: list[dict[str, int]] = list(state.facts["history"].get("plans", []))
    same = (state.max_epochs, state.facts["parameters"]["max_epochs"])
    return replaced if model.max_epochs in same else [*replaced, state.epoch_plan]


def check_given_rows(model: FittedModelMethods, state: Snapshot, data: TrainingData) -> None:
    """Refuse rows that differ from those of a run, or in their order, by a sample of them.

    Raises
    ------
    DataError
        If they differ, with the number of different rows where the model knows it.
    """
    if _hash_in_order(data) != state.facts["rows"]:
        raise _other_rows(model, data.X, int(state.facts["n_rows"]))


def check_learned_rows(model: FittedModelMethods, before: LearnedRows | None, run: Run) -> None:
    """Refuse rows that differ from those of a run, after all of them have been hashed.

    Raises
    ------
    DataError
        If they differ, with the number of different rows.
    """
    now = model.learned_rows_
    if before is None or now is None:
        return
    if before.order == now.order or (before.order is None and _all_of(before) == _all_of(now)):
        return
    model.learned_rows_ = before
    raise _other_rows(model, run.data.X, before.n_learned + before.n_held_out)


def _all_of(rows: LearnedRows) -> tuple[int, list[int]]:
    """Return the number of training and held-out rows, and the hashes kept of both."""
    both = (rows.learned, rows.held_out)
    together = HashSet(bound=min(hashes.bound for hashes in both))
    for hashes in both:
        together = together.with_rows(hashes.kept)
    return rows.n_learned + rows.n_held_out, together.kept.tolist()


def _other_rows(model: FittedModelMethods, X: AnyRows, n_rows: int) -> DataError:
    """Make the error for rows that differ from the ``n_rows`` of a run."""
    n_new = 0
    if model.learned_rows_ is not None:
        n_new = int((model.learned_rows_.membership(X) == NEW).sum())
    if n_new:
        what = f"{n_new} of {len(X)} rows given are not among the {n_rows} that the run learns from"
    elif len(X) != n_rows:
        what = f"{len(X)} rows were given, and the run learns from {n_rows}"
    else:
        what = (
            f"the {len(X)} rows given are in another order or of another type, or have other pairs "
            "or weights"
        )
    return DataError(
        f"{what}; a run goes on with the same rows in the same order (read with the same options); "
        "learn from others by partial_fit, or train anew without --resume"
    )


@contextmanager
def unchanged_on_failure(estimator: object) -> Iterator[None]:
    """Restore all attributes of an estimator if the block fails."""
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


@contextmanager
def weights_kept_on_divergence(network: nn.Module) -> Iterator[None]:
    """Restore a network's weights if training in the block diverges."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        yield
    except DivergedError:
        network.load_state_dict(before)
        raise
