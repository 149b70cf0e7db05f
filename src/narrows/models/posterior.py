"""The normal distributions of codes: of each row, and of all rows together."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.arrays import as_tensor
from narrows.data.lazy import LazyRows
from narrows.data.scaling import Scaling
from narrows.networks import Encoder, Network, Trace
from narrows.networks.code_map import map_codes

# Variance over the rows of a code's mean above which Burda et al. (2016) call the unit active.
ACTIVE = 0.01
# Rows that tell the spread of all codes, and how many of them are encoded at once.
_ROWS, _BLOCK = 10_000, 1024


def moments(trace: Trace) -> tuple[Tensor, Tensor]:
    """Return the means and the log variances of the codes, (B, K) each."""
    return trace.code, trace.logits.chunk(2, dim=1)[1]


def _some(rows: NDArray[Any] | LazyRows) -> NDArray[Any]:
    """Return as many rows, evenly spread, as are enough to measure their codes."""
    return rows[:: -(-len(rows) // _ROWS)]


@torch.inference_mode()
def measure_codes(
    encoder: Encoder, scaling: Scaling, rows: NDArray[Any] | LazyRows
) -> tuple[Tensor, Tensor]:
    """Return the means and variances of codes, (n, K) each, of as many rows as are enough."""
    device = next(encoder.parameters()).device
    some = as_tensor(_some(rows))
    parts = [
        moments(encoder.trace(scaling(some[start : start + _BLOCK].to(device))))
        for start in range(0, len(some), _BLOCK)
    ]
    means, log_variances = (torch.cat(part) for part in zip(*parts, strict=True))
    return means, log_variances.exp()


def settle(
    network: Network,
    scaling: Scaling,
    rows: NDArray[Any] | LazyRows,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Give the codes of all rows together mean 0 and variance 1, and decode as before.

    Of all maps h -> (h - shift) / scale of each unit, this one makes the mean divergence from
    N(0, I) smallest: the evidence lower bound of those rows can only rise.

    Parameters
    ----------
    network : Network
        Changed in place, unless its codes do not lie between two linear layers.
    scaling : Scaling
        Between the rows' units and the network's.
    rows : ndarray of shape (n, ...)
        In their own units.
    weights : ndarray of shape (n,), optional
        How much each row counts.
    """
    means, variances = measure_codes(network.encoder, scaling, rows)
    if weights is None:
        shift, spread = means.mean(dim=0), means.var(dim=0, correction=0) + variances.mean(dim=0)
    else:
        own = torch.from_numpy(_some(weights) / _some(weights).sum()).to(means)
        shift = own @ means
        spread = own @ (means - shift) ** 2 + own @ variances
    map_codes(network, shift, spread.sqrt())
