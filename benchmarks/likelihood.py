"""How exact `log_likelihood` is, beside quadrature, and what the proposal costs.

    python -m benchmarks.likelihood [--rows 120] [--draws 5000] [--seeds 3] [--epochs 30 200]

Variational models of scikit-learn's digits with codes of 1 and 2 numbers: rows that were held out
are measured, and the log likelihood of each is compared with a grid of codes in double precision,
which is refined where a row's posterior is. Three proposals take part: q(h | x) alone, the
defensive mixture, and that with what is learned of each row, which is what `log_likelihood` uses.
Printed are how many figures are more than 0.2 nats off, the largest error, how many of these were
warned about, and the CPU time beside q alone; after these, the time for a model of 784-512-16.
"""

import argparse
import copy
import math
import warnings
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.measuring import SEED, best, compared, pictures, row, table, turns
from narrows import VariationalAutoencoder, datasets, losses
from narrows.models import density

# From how many draws on the mixture is defensive, and something is learned.
WAYS = {"q alone": (math.inf, math.inf), "defensive": (100, math.inf), "learned": (100, 1000)}
LIKELIHOODS = ("gaussian", "bernoulli", "continuous_bernoulli")
BOUND, EFFECTIVE = 0.2, 100
# The grid's half width and its steps by the width of the code. Cells of a row are cut in so many
# along each unit until so many have an effective part in its sum; those far below the highest are
# left out then.
HALF, STEPS, CUTS, ENOUGH, NATS = 7.0, {1: 0.005, 2: 0.04}, 5, 12, 16


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs="+", default=[30, 200])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = datasets.load("digits")
    worst, late = 0, 0
    table("model", "proposal", "beyond 0.2 nats", "largest error", "not warned about", "CPU time")
    for name, model, X in models(digits, given):
        truth, seconds = quadrature(model, X), times(model, X, given)
        for way in WAYS:
            errors, effective = measured(model, X, truth, way, given)
            off = errors > BOUND
            unsaid = off & (effective >= EFFECTIVE)
            time = f"{seconds[way] / seconds['q alone']:.2f}"
            row(name, way, f"{off.sum()} of {off.size}", f"{errors.max():.2f}", unsaid.sum(), time)
            if way == "learned":
                worst, late = max(worst, errors.max()), late + off.sum()
    X = (pictures(2000) > 127).astype(np.uint8)
    model = VariationalAutoencoder(
        16, likelihood="bernoulli", hidden_layer_sizes=(512,), activation="relu", max_epochs=1,
        random_state=SEED,
    ).fit(X)  # fmt: skip
    seconds = times(model, X[:20], given)
    table("ratio", "measured", "goal", "met")
    compared("largest error of log_likelihood, nats", worst, BOUND, at_most=True)
    compared("figures beyond 0.2 nats", late, 0, at_most=True)
    for way in ("defensive", "learned"):
        what = f"CPU time of 784-512-16, {way} / q alone"
        compared(what, seconds[way] / seconds["q alone"], 1.1, at_most=True)


def models(digits, given):
    for width in STEPS:
        for likelihood in LIKELIHOODS:
            for epochs in given.epochs:
                binary = likelihood == "bernoulli"
                train, test = (
                    (X > 127).astype(np.uint8) if binary else X
                    for X in (digits.X_train, digits.X_test)
                )
                model = VariationalAutoencoder(
                    width, likelihood=likelihood, max_epochs=epochs, random_state=SEED
                ).fit(train)
                yield f"{likelihood}, {width} codes, {epochs} epochs", model, test[: given.rows]


def using(way):
    defended, learned = WAYS[way]
    return patch.multiple(density, _DEFENDED=defended, _LEARNED=learned)


def measured(model, X, truth, way, given):
    """Errors and effective numbers of draws, of all rows and seeds."""
    found = []
    with using(way), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(given.seeds):
            figures, effective = model.log_likelihood(
                X, given.draws, random_state=seed, return_effective_size=True
            )
            found.append((np.abs(figures - truth), effective))
    return np.stack(found, axis=1)


def times(model, X, given):
    def call(way):
        def log_likelihood():
            with using(way), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.log_likelihood(X[:20], given.draws, random_state=SEED)

        return log_likelihood

    return best(turns({way: call(way) for way in WAYS}, given.rounds))


def cells_in_effect(height):
    return float((2 * height.logsumexp(0) - (2 * height).logsumexp(0)).exp())


@torch.no_grad()
def quadrature(model, X):
    """The log likelihoods of rows, by a grid of codes that is refined where they are likely."""
    decoder = copy.deepcopy(model.decoder_).double()
    x = model.scaling_(torch.as_tensor(X)).double().flatten(1)
    width, step = model.spec_.n_components, STEPS[model.spec_.n_components]

    def joint(codes, rows):
        """Log p(x, h) of each code and row; the codes are decoded once."""
        prior = -0.5 * (codes**2 + math.log(2 * math.pi)).sum(1, keepdim=True)
        if model.loss_ == "gaussian":
            mean, variance = decoder(codes).flatten(1), decoder.output.log_variance.exp() + 1e-6
            squares = (mean**2).sum(1, keepdim=True) - 2 * mean @ rows.T + (rows**2).sum(1)
            height = x.shape[1] * torch.log(2 * math.pi * variance)
            return prior - 0.5 * (squares / variance + height)
        a = decoder.logits(codes).flatten(1)
        kind = getattr(losses, model.loss_)
        # Log densities are a line in x: its height at 0, and its slope.
        zero = torch.zeros((), dtype=a.dtype)
        return prior + kind(a, zero).sum(1, keepdim=True) + a @ rows.T

    axis = torch.arange(-HALF, HALF + step / 2, step, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * width).view(-1, width)
    cut = (torch.arange(CUTS, dtype=torch.float64) - (CUTS - 1) / 2) / CUTS
    cuts = torch.cartesian_prod(*[cut] * width).view(-1, width)
    first = torch.cat([joint(part, x) for part in grid.split(4096)])
    figures = []
    for i in range(len(x)):
        height, cells, size = first[:, i], grid, step
        while cells_in_effect(height) < ENOUGH**width:
            cells = cells[height > height.max() - NATS]
            cells = (cells[:, None] + size * cuts).flatten(0, 1)
            size /= CUTS
            height = joint(cells, x[i : i + 1])[:, 0]
        figures.append(float(height.logsumexp(0)) + width * math.log(size))
    units = 0 if model.loss_ == "bernoulli" else x.shape[1] * math.log(float(model.scaling_.scale))
    return np.array(figures) - units


if __name__ == "__main__":
    main()
