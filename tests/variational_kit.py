"""Rows, quick models and their codes' distributions, for the tests of the variational model."""

import copy
import math

import numpy as np
import torch
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal

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


@torch.no_grad()
def quadrature(model, X, half=6.0):
    """Log likelihoods, by a grid of codes in double precision, refined where a row's are likely."""
    decoder = copy.deepcopy(model.decoder_).double()
    x = model.scaling_(torch.as_tensor(X)).double().flatten(1)
    width, cuts = model.spec_.n_components, 5

    def joint(codes, rows):
        prior = Normal(0.0, 1.0).log_prob(codes).sum(1, keepdim=True)
        if model.loss_ == "gaussian":
            spread = (decoder.output.log_variance.exp() + 1e-6).sqrt()
            return prior + Normal(decoder(codes).flatten(1)[:, None], spread).log_prob(rows).sum(2)
        a = decoder.logits(codes).flatten(1)
        kind = Bernoulli if model.loss_ == "bernoulli" else ContinuousBernoulli
        # Log densities are a line in x: its height at 0, and its slope.
        return prior + kind(logits=a).log_prob(torch.zeros_like(a)).sum(1, True) + a @ rows.T

    def grid_of(axis):
        return torch.cartesian_prod(*[axis] * width).view(-1, width)

    # A first look finds the cells that matter, row by row.
    coarse = 0.005 if width == 1 else 0.06
    grid = grid_of(torch.arange(-half, half, coarse, dtype=torch.float64))
    first = torch.cat([joint(part, x) for part in grid.split(1024)])
    within = grid_of((torch.arange(cuts, dtype=torch.float64) - (cuts - 1) / 2) / cuts)
    figures = []
    for row, heights in zip(x, first.T, strict=True):
        cells = grid[heights > heights.max() - 16]
        cells = (cells[:, None] + coarse * within).flatten(0, 1)
        total = torch.cat([joint(part, row[None])[:, 0] for part in cells.split(4096)])
        figures.append(float(total.logsumexp(0)) + width * math.log(coarse / cuts))
    units = 0.0 if model.loss_ == "bernoulli" else float(model.scaling_.scale.double().log())
    return np.array(figures) - units * x.shape[1]
