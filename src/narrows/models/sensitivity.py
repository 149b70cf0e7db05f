"""How strongly a model's codes answer to its rows: Jacobians of any encoder, by the cheapest way.

What a penalty makes small (:class:`narrows.ContractiveAutoencoder`) and what every model measures
(``jacobian_norm``) is the same figure, by the same functions of :mod:`narrows.losses.jacobian`.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.arrays import as_rows
from narrows.data.scaling import Scaling
from narrows.losses import jacobian
from narrows.networks import Encoder, Trace, is_pointwise

# Numbers of the largest array that measuring a block of rows makes, and most rows of a block.
_BLOCK, _ROWS = 1 << 22, 4096


@torch.no_grad()
def measure(encoder: Encoder, scaling: Scaling, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Frobenius norm of the Jacobian of each row's code, exactly.

    Parameters
    ----------
    encoder : Encoder
        On any device.
    scaling : Scaling
        From the data's units to the encoder's.
    rows : ndarray of shape (n, ...)
        In the data's units.

    Returns
    -------
    ndarray of shape (n,), float32
    """
    source = as_rows(rows)
    device = next(encoder.parameters()).device
    norms = torch.empty(len(rows))
    # The first row alone shows how many may follow at once.
    start, size = 0, 1
    while start < len(rows):
        block = slice(start, start + size)
        trace = encoder.trace(scaling(source[block].to(device)))
        norms[block] = squared_norm(encoder, trace).sqrt()
        start, size = start + size, _rows_at_once(trace)
    return norms.numpy()


@torch.no_grad()
def measure_singular_values(
    encoder: Encoder, scaling: Scaling, rows: NDArray[Any]
) -> NDArray[np.float32]:
    """Singular values of the Jacobian of each row's code, the largest first.

    Parameters
    ----------
    encoder, scaling, rows
        As :func:`measure`.

    Returns
    -------
    ndarray of shape (n, min(K, F)), float32
    """
    source = as_rows(rows)
    device = next(encoder.parameters()).device
    values: list[Tensor] = []
    start, size = 0, 1
    while start < len(rows):
        x = scaling(source[start : start + size].to(device))
        matrices = jacobian.function_jacobian(encoder, x)
        values.append(torch.linalg.svdvals(matrices).cpu())
        start, size = start + size, min(_ROWS, max(1, _BLOCK // matrices[0].numel()))
    return torch.cat(values).numpy()


def squared_norm(encoder: Encoder, trace: Trace, probes: Tensor | None = None) -> Tensor:
    """Squared Frobenius norm of the Jacobian of codes with respect to rows.

    Parameters
    ----------
    encoder : Encoder
        Of any kind.
    trace : Trace
        The encoder's way from rows (B, ...) to codes (B, K).
    probes : Tensor of shape (B, K), optional
        Random directions of -1 and 1 to estimate the norm from; without them it is exact.

    Returns
    -------
    Tensor of shape (B,)
        Or (1,) where all rows have the same.
    """
    if not _is_layered(trace):
        return jacobian.function_norm(encoder, trace.seen, probes)
    # Of several heads, the code is made of the first.
    width = trace.code.shape[1]
    weights = [layer.linear.weight for layer in trace.layers]
    values = [layer.values for layer in trace.layers]
    weights[-1], values[-1] = weights[-1][:width], values[-1][:, :width]
    # Where products are rounded, sums of squares of products of rounded ones would be off by more
    # than a penalty may be; and the exact norm's own way back expects what it saw on the way forth.
    with torch.autocast(trace.code.device.type, enabled=False):
        slopes = [
            None
            if isinstance(layer.activation, torch.nn.Identity)
            else jacobian.slope(layer.activation, value.to(weight.dtype))
            for layer, value, weight in zip(trace.layers, values, weights, strict=True)
        ]
        if probes is None:
            return jacobian.layered_norm(weights, slopes)
        return jacobian.layered_estimate(weights, slopes, probes.to(weights[-1].dtype))


def _is_layered(trace: Trace) -> bool:
    return bool(trace.layers) and is_pointwise(trace.layers[-1].activation)


def _rows_at_once(trace: Trace) -> int:
    if is_cheap(trace):
        return _ROWS
    widths = [trace.seen[0].numel(), *(layer.values.shape[1] for layer in trace.layers)]
    return min(_ROWS, max(1, _BLOCK // (max(widths) * trace.code.shape[1])))


def is_cheap(trace: Trace) -> bool:
    """Tell whether the exact norm costs about as little as an estimate."""
    if not _is_layered(trace):
        return False
    linear_code = isinstance(trace.layers[-1].activation, torch.nn.Identity)
    return len(trace.layers) == 1 or (len(trace.layers) == 2 and linear_code)
