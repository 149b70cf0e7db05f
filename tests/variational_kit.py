"""Rows, quick models and their codes' distributions, for the tests of the variational model."""

import numpy as np
import torch

from narrows import VariationalAutoencoder

SEED = 20240701
RNG = np.random.default_rng(SEED)
TABLE = RNG.normal(size=(80, 3)) @ RNG.normal(size=(3, 6)) + 0.1 * RNG.normal(size=(80, 6))
UNIT = RNG.random((80, 6))
BINARY = (RNG.random((80, 6)) < 0.4).astype(np.uint8)
PICTURES = RNG.integers(0, 256, (40, 5, 4), dtype=np.uint8)


def quick(**parameters):
    return VariationalAutoencoder(3, **{"max_epochs": 2, "random_state": SEED, **parameters})


def posterior(model, X):
    with torch.no_grad():
        trace = model.encoder_.trace(model.scaling_(torch.as_tensor(X)))
    means, log_variances = trace.logits.chunk(2, dim=1)
    return means.double().numpy(), log_variances.double().exp().numpy()
