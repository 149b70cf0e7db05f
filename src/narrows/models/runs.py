"""One run of training: which rows it learns from, how, and where its state is kept.

The rows are split before anything is learned from them: scaling, centre and first weights know
nothing of the rows that are held out.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from narrows import ranks
from narrows.data.block_shuffle import Numbers, anywhere_stored, draw, picked, source_of
from narrows.data.lazy import LazyRows
from narrows.data.source import Source
from narrows.errors import DataError, ParameterError
from narrows.models import persistence, resolve, resuming
from narrows.networks import Network
from narrows.training.history import History
from narrows.training.loop import LossFunction, TrainSettings, train
from narrows.training.progress import print_epoch, whole_steps
from narrows.training.state import Checkpoint, Snapshot

if TYPE_CHECKING:
    from narrows.models.base import BaseAutoencoder

# Rows that processes compare before they train together.
_ROWS_COMPARED = 256


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
        prepare: Callable[[Any], Any],
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
                prepare=prepare,
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
    model: "BaseAutoencoder",
    X: NDArray[Any],
    damaged: NDArray[Any] | None,
    seed: int,
    weights: NDArray[np.float64] | None = None,
    *,
    begun: Snapshot | None = None,
) -> Run:
    """Plan how a model learns from checked rows, before it has learned anything of them.

    A run that was begun already goes on with its seed, which is then ``seed``.

    Raises
    ------
    ParameterError
        If no rows can be held out as wished.
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
        if begun is not None and (replaced := resuming.plans(model, begun)):
            identity += f" after {replaced}"
        checkpoint = Checkpoint(model.checkpoint, identity)
        if (kept := checkpoint.seed()) is not None:
            seed = kept
    count = resolve.choose_held_out(model, len(X), has_hidden_layers=model._has_hidden_layers())
    rows: Numbers
    in_blocks = anywhere_stored(X, damaged)
    if in_blocks:
        held_out, rows = draw(len(X), count, seed)
    else:
        order = np.random.default_rng(seed).permutation(len(X))
        held_out, rows = map(np.sort, np.split(order, [count]))
    return Run(X, damaged, weights, rows, held_out, seed, checkpoint, in_blocks, begun)


def _check_rows_are_the_same(
    model: "BaseAutoencoder", X: NDArray[Any], weights: NDArray[np.float64] | None
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
