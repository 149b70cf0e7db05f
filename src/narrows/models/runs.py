"""One run of training: which rows it learns from, how, and where its state is kept."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.blocks import source_of
from narrows.models import choices, persistence
from narrows.networks import Network
from narrows.training.checkpoint import Checkpoint
from narrows.training.history import History
from narrows.training.loop import LossFunction, TrainSettings, train
from narrows.training.progress import print_epoch

if TYPE_CHECKING:
    from narrows.models.base import BaseAutoencoder


@dataclass
class Run:
    """What training needs beside the network and the loss.

    Attributes
    ----------
    X : ndarray of shape (n, ...)
        Checked rows.
    damaged : ndarray of shape (n, ...) or None
        What the encoder sees of each, where pairs were given.
    rows, held_out : ndarray of int
        Which rows to learn from, and which to look at after each epoch, ascending.
    settings : TrainSettings
        How long, how fast, where.
    checkpoint : Checkpoint or None
        Where the state is kept.
    """

    X: NDArray[Any]
    damaged: NDArray[Any] | None
    rows: NDArray[np.int64]
    held_out: NDArray[np.int64]
    settings: TrainSettings
    checkpoint: Checkpoint | None

    def train(
        self,
        network: Network,
        loss: LossFunction,
        prepare: Callable[[Tensor], Tensor],
        verbose: int,
    ) -> History:
        """Make a loss small; ``prepare`` scales batches. Returns what was written down."""
        held_out = source_of(self.X, self.held_out, self.damaged) if len(self.held_out) else None
        return train(
            network.to(self.settings.device),
            loss,
            source_of(self.X, self.rows, self.damaged),
            prepare=prepare,
            settings=self.settings,
            validation=held_out,
            checkpoint=self.checkpoint,
            callbacks=(print_epoch,) if verbose else (),
        )

    def finish(self, history: History) -> None:
        """Say that training was interrupted, or remove what is there to go on from."""
        if history.ended == "interrupted":
            warnings.warn(
                f"training was interrupted after {len(history)} epochs; the model keeps what it "
                "learned",
                stacklevel=4,
            )
        elif self.checkpoint is not None:
            self.checkpoint.remove()


def plan(model: "BaseAutoencoder", X: NDArray[Any], damaged: NDArray[Any] | None, seed: int) -> Run:
    """Plan how a model with a chosen network learns from checked rows.

    Raises
    ------
    ParameterError
        If no rows can be held out as wished.
    CheckpointError
        If the checkpoint is of another run.
    """
    settings = choices.choose_settings(model, model.spec_, len(X), seed)
    checkpoint = None
    if model.checkpoint is not None:
        data = (X,) if damaged is None else (X, damaged)
        checkpoint = Checkpoint(model.checkpoint, persistence.run_identity(model, *data))
        if (kept := checkpoint.seed()) is not None:
            settings = replace(settings, seed=kept)
    order = np.random.default_rng(settings.seed).permutation(len(X))
    held_out, rows = np.split(order, [choices.choose_held_out(model, model.spec_, len(X))])
    return Run(X, damaged, np.sort(rows), np.sort(held_out), settings, checkpoint)
