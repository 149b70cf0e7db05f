"""The networks that lay rows out on a plane, from tables of few columns of about one size.

One is an autoencoder with a code of two numbers, which has to keep neighbours beside each other
(:mod:`narrows.losses.neighbors`); the other learns where a layout put each row.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import networks
from narrows.data.arrays import ArraySource
from narrows.losses import Loss, nearest, neighbor_loss, squared_error
from narrows.networks import Encoder, Network, NetworkSpec
from narrows.training.history import History
from narrows.training.loop import TrainSettings, train

# Chosen on training rows of Fashion-MNIST that were held out; benchmarks/maps.py.
_HIDDEN = (256, 256, 256)
_BATCH = 1_000
_NEIGHBORS = 5
_FEWEST_STEPS, _MOST_STEPS, _STEPS_A_ROW = 300, 2_000, 0.05
_RATE, _DECAY = 3e-3, 1e-4


def learn_map(table: NDArray[np.float32], seed: int) -> tuple[Network, History]:
    """Train an autoencoder of two numbers that keeps neighbours beside each other.

    Parameters
    ----------
    table : ndarray of shape (n, F)
        At least three rows.
    seed : int
        Of weights and shuffling.

    Returns
    -------
    network : Network
    history : History
    """

    def loss(network: Network, x: Tensor, generator: torch.Generator) -> Loss:
        del generator
        codes = network.encoder(x)
        k = max(1, min(_NEIGHBORS, len(x) // 3))
        return {
            "neighbors": neighbor_loss(codes, nearest(x, k)),
        }

    network = networks.build(_spec(table.shape[1]), torch.from_numpy(table.mean(0)), seed)
    return network, _train(network, loss, table, seed)


def learn_layout(
    table: NDArray[np.float32], layout: NDArray[np.float32], seed: int
) -> tuple[Encoder, History]:
    """Train an encoder to put each row of a table (n, F) where a layout (n, 2) has it."""
    width = table.shape[1]

    def loss(encoder: Encoder, pairs: Tensor, generator: torch.Generator) -> Loss:
        del generator
        error = squared_error(encoder(pairs[:, :width]), pairs[:, width:])
        return {"layout": error.sum(1).mean()}

    network = networks.build(_spec(width), torch.from_numpy(table.mean(0)), seed)
    return network.encoder, _train(network.encoder, loss, np.hstack([table, layout]), seed)


def _spec(width: int) -> NetworkSpec:
    return NetworkSpec(
        architecture="dense",
        sample_shape=(width,),
        n_components=2,
        hidden_layer_sizes=_HIDDEN,
        activation="relu",
        code_activation="identity",
        output="identity",
        tied_weights=False,
    )


def _train(
    network: torch.nn.Module, loss: Callable[..., Loss], rows: NDArray[np.float32], seed: int
) -> History:
    n_batches = max(1, round(len(rows) / _BATCH))
    steps = min(_MOST_STEPS, max(_FEWEST_STEPS, round(_STEPS_A_ROW * len(rows))))
    settings = TrainSettings(
        max_epochs=math.ceil(steps / n_batches),
        batch_size=math.ceil(len(rows) / n_batches),
        learning_rate=_RATE,
        weight_decay=_DECAY,
        n_iter_no_change=None,
        seed=seed,
        device=torch.device("cpu"),
    )
    history = train(network, loss, ArraySource(rows), prepare=lambda x: x, settings=settings)
    if history.ended == "interrupted":
        raise KeyboardInterrupt  # half a map shows nothing
    return history
