"""Runs of training: their rows and settings, and the state from which they are resumed.

Rows are split before anything is learned from them: scaling, mean and initial weights know nothing
of the rows that are held out. A resumed run starts as the first one did: rows are split, scaled and
measured again, with the same results, and then the state of network and optimiser replaces the
initial weights. An interrupted run therefore ends as the uninterrupted one does, bit for bit on the
same machine.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from narrows import ranks
from narrows.data.batches import Numbers, Source, anywhere_stored, draw, picked, source_of
from narrows.data.lazy_rows import LazyRows
from narrows.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    FormatError,
    ParameterError,
    warn,
)
from narrows.models import persistence
from narrows.models.fitted import Codec
from narrows.models.learned_rows import NEW, HashSet, LearnedRows
from narrows.models.persistence import StoredState
from narrows.networks import Network
from narrows.texts import counted, shortened
from narrows.training.history import History
from narrows.training.loop import LossFunction, TrainSettings, train
from narrows.training.progress import print_epoch, whole_steps
from narrows.training.state import Checkpoint, Snapshot, checked

# Rows that processes compare before they train together.
_ROWS_COMPARED = 256
# Parameters that may differ from those of the run that is resumed.
_FREE = {"checkpoint", "device", "verbose", "max_epochs", "n_iter_no_change"}
# To compare rows and their order, so many blocks of so many rows, evenly spread, are hashed.
_SAMPLES, _SAMPLED = 64, 16


@dataclass
class Run:
    """What training needs beside the network and the loss.

    Attributes
    ----------
    X : ndarray of shape (n, ...)
        Checked rows.
    damaged : ndarray of shape (n, ...) or None
        What the encoder sees of each, where pairs were given.
    weights : ndarray of shape (n,) or None
        How much each row counts, above 0; ``None`` if all count the same.
    rows, held_out : ndarray of int, the first RowsBut where rows are on a disk
        Which rows to learn from, and which to look at after each epoch, ascending.
    seed : int
        Of the split, the first weights, shuffling and noise.
    checkpoint : Checkpoint or None
        Where the state is kept.
    in_blocks : bool
        Whether rows come in blocks, as they do from a disk, in this process or in another.
    begun : Snapshot or None
        What the run goes on from, where it is resumed.
    left : Snapshot or None
        What the run can go on from, once it has ended.
    settings : TrainSettings
        How long, how fast, where; given once the network is chosen.
    """

    X: NDArray[Any]
    damaged: NDArray[Any] | None
    weights: NDArray[np.float64] | None
    rows: Numbers
    held_out: NDArray[np.int64]
    seed: int
    checkpoint: Checkpoint | None
    in_blocks: bool
    begun: Snapshot | None = None
    left: Snapshot | None = None
    settings: TrainSettings = field(init=False)

    def set_up(self, settings: TrainSettings, *, stay: bool) -> None:
        """Take the settings that were chosen with the network; where it is to stay, no epochs.

        Raises
        ------
        ParameterError
            If a batch has fewer rows than processes share it.
        """
        _check_shares(len(self.rows), settings.batch_size)
        self.settings = replace(settings, max_epochs=0) if stay else settings

    @property
    def data(self) -> list[NDArray[Any]]:
        """The rows, and what belongs to each."""
        return [given for given in (self.X, self.damaged, self.weights) if given is not None]

    @property
    def first_settings(self) -> TrainSettings:
        """The settings with the epochs that were planned first, where a run is resumed for more."""
        plans = [] if self.begun is None else self.begun.facts["history"].get("plans", [])
        if plans:
            return replace(self.settings, max_epochs=plans[0]["max_epochs"])
        if self.begun is not None and self.begun.epoch + self.begun.step:
            return replace(self.settings, max_epochs=self.begun.max_epochs)
        return self.settings

    def keeps_start(self, history: History) -> bool:
        """Tell whether the first weights were kept although rows were held out for others."""
        return history.start is not None and not history.best_epoch and len(self.held_out) > 0

    def use_all_rows(self) -> None:
        """Hold no rows out any more."""
        self.rows, self.held_out = np.arange(len(self.X)), np.empty(0, np.int64)

    @property
    def learned(self) -> NDArray[Any] | LazyRows:
        """The rows to learn from, in order; they are not copied."""
        return self.X if not len(self.held_out) else picked(self.X, self.rows)

    @property
    def learned_weights(self) -> NDArray[np.float64] | None:
        """How much each of these counts; ``None`` if all count the same."""
        if self.weights is None or not len(self.held_out):
            return self.weights
        return np.delete(self.weights, self.held_out)

    def train(
        self,
        network: Network,
        loss: LossFunction,
        verbose: int,
    ) -> History:
        """Make a loss small; ``prepare`` scales batches. Returns what was written down."""

        def some(rows: Numbers) -> Source:
            return source_of(self.X, rows, self.damaged, self.weights, in_blocks=self.in_blocks)

        def keep(left: Snapshot) -> None:
            self.left = self.left or left

        with whole_steps():
            return train(
                network.to(self.settings.device),
                loss,
                some(self.rows),
                settings=self.settings,
                validation=some(self.held_out) if len(self.held_out) else None,
                checkpoint=self.checkpoint,
                resume=self.begun,
                keep=keep,
                callbacks=(print_epoch,) if verbose else (),
            )

    def finish(self, history: History) -> None:
        """Say that training was interrupted, or remove what is there to go on from."""
        if history.ended == "interrupted":
            warnings.warn(
                f"training was interrupted after {len(history)} epochs; the model keeps what it "
                "learned",
                stacklevel=5,
            )
        elif self.checkpoint is not None:
            self.checkpoint.remove()


def plan(
    model: Codec,
    X: NDArray[Any],
    damaged: NDArray[Any] | None,
    seed: int,
    weights: NDArray[np.float64] | None = None,
    *,
    n_held_out: int,
    begun: Snapshot | None = None,
) -> Run:
    """Plan how a model learns from checked rows, of which so many are held out.

    A run that was begun already goes on with its seed, which is then ``seed``.

    Raises
    ------
    DataError
        If processes that train together see other rows than each other.
    CheckpointError
        If the checkpoint is of another run.
    """
    _check_rows_are_the_same(model, X, weights)
    checkpoint = None
    if model.checkpoint is not None:
        data = [given for given in (X, damaged, weights) if given is not None]
        identity = persistence.run_identity(model, *data)
        if begun is not None and (replaced := _plans(model, begun)):
            identity += f" after {replaced}"
        checkpoint = Checkpoint(model.checkpoint, identity)
        if (kept := checkpoint.seed()) is not None:
            seed = kept
    rows: Numbers
    in_blocks = anywhere_stored(X, damaged)
    if in_blocks:
        held_out, rows = draw(len(X), n_held_out, seed)
    else:
        order = np.random.default_rng(seed).permutation(len(X))
        held_out, rows = map(np.sort, np.split(order, [n_held_out]))
    return Run(X, damaged, weights, rows, held_out, seed, checkpoint, in_blocks, begun)


def _check_rows_are_the_same(
    model: Codec, X: NDArray[Any], weights: NDArray[np.float64] | None
) -> None:
    """Hold a few rows, and the parameters, of all processes against each other."""
    if ranks.size() > 1:
        some = [np.ascontiguousarray(X[:: -(-len(X) // _ROWS_COMPARED)])]
        if weights is not None:
            some.append(weights)
        digest = persistence.run_identity(model, *some)[:12]
        ranks.check_same(
            "its rows or parameters", f"{len(X)} rows, fingerprint {digest}", DataError
        )


def _check_shares(n_rows: int, batch_size: int) -> None:
    smallest = n_rows // -(-n_rows // batch_size)
    if smallest < ranks.size():
        raise ParameterError(
            f"batches of {smallest} rows cannot be shared by {ranks.size()} processes; start at "
            f"most {smallest}, or give a larger batch_size"
        )


def state_of(model: Codec, run: Run) -> Snapshot | None:
    """Return the state that a model keeps of a run that has ended; None if it cannot be resumed."""
    if run.left is None:
        return None
    return run.left.with_facts(
        parameters=persistence.parameters(model),
        rows=_order_of(*run.data),
        n_rows=len(run.X),
        ended=model.history_.ended,
    )


def _order_of(*data: NDArray[Any] | LazyRows) -> str:
    """Hash the shapes and types of rows, a sample of them in their order, and all weights."""
    facts = [[list(X.shape), str(X.dtype)] for X in data]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for X in data:
        size = len(X) if X.ndim == 1 else _SAMPLED
        for start in range(0, len(X), max(size, -(-len(X) // _SAMPLES))):
            block = np.asarray(X[start : start + size])
            digest.update(np.ascontiguousarray(block).tobytes())
    return digest.hexdigest()


def state_bytes(model: Codec) -> bytes | None:
    """Return the state of a model's run as it is saved; a warning says if its file is damaged."""
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


def resumable_state(model: Codec) -> Snapshot:
    """Return the state that a fitted model's run is resumed from.

    Raises
    ------
    CheckpointError
        If there is none.
    FormatError
        If its file is missing or damaged.
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
    """Refuse facts that :func:`state_of` did not write.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        Saying what is wrong.
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


def _check_parameters(model: Codec, state: Snapshot) -> None:
    """Refuse parameters that contradict the run's."""
    then = state.facts["parameters"]
    for name, value in persistence.parameters(model).items():
        if name in then and name not in _FREE and value != then[name]:
            raise ParameterError(
                f"{name}={shortened(repr(getattr(model, name)))} contradicts the run that is to go "
                f"on, which has {name}={shortened(repr(then[name]))}; leave out "
                f"--{name.replace('_', '-')} ({name}), or train anew without --resume"
            )


def _check_end(model: Codec, state: Snapshot) -> None:
    """Refuse a run that is over, unless there are more epochs than were planned."""
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


def _plans(model: Codec, state: Snapshot) -> list[dict[str, int]]:
    """Return the plans that were replaced, with the present one if ``max_epochs`` replaces it."""
    known: list[dict[str, int]] = list(state.facts["history"].get("plans", []))
    same = (state.max_epochs, state.facts["parameters"]["max_epochs"])
    return known if model.max_epochs in same else [*known, state.plan]


def check_given_rows(model: Codec, state: Snapshot, *data: NDArray[Any] | LazyRows | None) -> None:
    """Refuse rows that differ from those of a run or in their order, before any of them is used.

    Raises
    ------
    DataError
        With the number of rows that differ, where it is known.
    """
    given = [X for X in data if X is not None]
    if _order_of(*given) == state.facts["rows"]:
        return
    raise _other_rows(model, given[0], int(state.facts["n_rows"]))


def check_learned_rows(model: Codec, before: LearnedRows | None, run: Run) -> None:
    """Refuse rows that differ from those of a run, once all of them have been hashed.

    Raises
    ------
    DataError
        With the number of rows that differ.
    """
    now = model.learned_rows_
    if before is None or now is None:
        return
    if before.order == now.order or (before.order is None and _all_of(before) == _all_of(now)):
        return
    model.learned_rows_ = before
    raise _other_rows(model, run.X, before.n_learned + before.n_held_out)


def _all_of(rows: LearnedRows) -> tuple[int, list[int]]:
    """Return the number of learned and held-out rows, and their comparable hashes."""
    both = (rows.learned, rows.held_out)
    together = HashSet(bound=min(hashes.bound for hashes in both))
    for hashes in both:
        together = together.with_rows(hashes.kept)
    return rows.n_learned + rows.n_held_out, together.kept.tolist()


def _other_rows(model: Codec, X: NDArray[Any] | LazyRows, n_rows: int) -> DataError:
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
    """Leave an estimator as it was if the block fails: never new scaling and old weights."""
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


@contextmanager
def weights_kept_on_divergence(network: nn.Module) -> Iterator[None]:
    """Bring a network's weights back if training in the block diverges."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        yield
    except DivergedError:
        network.load_state_dict(before)
        raise
