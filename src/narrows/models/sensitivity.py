"""The sensitivity of codes to rows: norms and singular values of the Jacobian of any encoder.

The penalty of :class:`narrows.ContractiveAutoencoder` and the measurement ``jacobian_norm`` of
every model are the same quantity, computed by the same functions of :mod:`narrows.losses`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows import losses
from narrows.data.arrays import as_rows
from narrows.data.scaling import Scaling
from narrows.networks import Encoder, Trace, is_pointwise

# The size of the largest array that measuring a block of rows needs, and the most rows of a block.
_BLOCK, _ROWS = 1 << 22, 4096


def measure(encoder: Encoder, scaling: Scaling, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Compute the Frobenius norm of the Jacobian of each row's code, exactly.

    Parameters
    ----------
    encoder : Encoder
        An encoder on any device.
    scaling : Scaling
        The map from the data's units to the encoder's.
    rows : ndarray of shape (n, ...)
        Rows in the data's units.

    Returns
    -------
    ndarray of shape (n,), float32
    """

    def norms(x: Tensor) -> tuple[Tensor, int]:
        trace = encoder.trace(x)
        return squared_norm(encoder, trace).sqrt().expand(len(x)), _rows_at_once(trace)

    return _measure(encoder, scaling, rows, norms)


def measure_singular_values(
    encoder: Encoder, scaling: Scaling, rows: NDArray[Any]
) -> NDArray[np.float32]:
    """Compute the singular values of the Jacobian of each row's code, the largest first.

    Parameters
    ----------
    encoder, scaling, rows
        As for :func:`measure`.

    Returns
    -------
    ndarray of shape (n, min(K, F)), float32
    """

    def singular_values(x: Tensor) -> tuple[Tensor, int]:
        matrices = losses.function_jacobian(encoder, x)
        return torch.linalg.svdvals(matrices), _BLOCK // matrices[0].numel()

    return _measure(encoder, scaling, rows, singular_values)


@torch.no_grad()
def _measure(
    encoder: Encoder,
    scaling: Scaling,
    rows: NDArray[Any],
    measure_block: Callable[[Tensor], tuple[Tensor, int]],
) -> NDArray[np.float32]:
    """Measure rows in blocks; the first row alone shows how many rows may follow at once."""
    source = as_rows(rows)
    device = next(encoder.parameters()).device
    measured: list[Tensor] = []
    start, size = 0, 1
    while start < len(rows):
        values, at_once = measure_block(scaling(source[start : start + size].to(device)))
        measured.append(values.cpu())
        start, size = start + size, min(_ROWS, max(1, at_once))
    return torch.cat(measured).numpy()


def squared_norm(encoder: Encoder, trace: Trace, probes: Tensor | None = None) -> Tensor:
    """Compute the squared Frobenius norm of the Jacobian of codes with respect to rows.

    Parameters
    ----------
    encoder : Encoder
        An encoder of any kind.
    trace : Trace
        The encoder's results from rows (B, ...) to codes (B, K).
    probes : Tensor of shape (B, K), optional
        Random directions of -1 and 1 from which the norm is estimated; by default it is exact.

    Returns
    -------
    Tensor of shape (B,)
        Norms, or one (1,) if all rows have the same norm.
    """
    if not _is_layered(trace):
        return losses.function_norm(encoder, trace.seen, probes)
    # If the encoder has several heads, the first gives the code.
    width = trace.code.shape[1]
    weights = [layer.linear.weight for layer in trace.layers]
    values = [layer.values for layer in trace.layers]
    weights[-1], values[-1] = weights[-1][:width], values[-1][:, :width]
    # In mixed precision, rounding would make the penalty too inexact; and the exact norm's backward
    # pass needs the types of its forward pass.
    with torch.autocast(trace.code.device.type, enabled=False):
        slopes = [
            None
            if isinstance(layer.activation, torch.nn.Identity)
            else losses.slope(layer.activation, value.to(weight.dtype))
            for layer, value, weight in zip(trace.layers, values, weights, strict=True)
        ]
        if probes is None:
            return losses.layered_norm(weights, slopes)
        return losses.layered_estimate(weights, slopes, probes.to(weights[-1].dtype))


def _is_layered(trace: Trace) -> bool:
    return bool(trace.layers) and is_pointwise(trace.layers[-1].activation)


def _rows_at_once(trace: Trace) -> int:
    """Return how many rows can be measured at once."""
    if is_cheap(trace):
        return _ROWS
    widths = [trace.seen[0].numel(), *(layer.values.shape[1] for layer in trace.layers)]
    return _BLOCK // (max(widths) * trace.code.shape[1])


def is_cheap(trace: Trace) -> bool:
    """Return whether the exact norm costs about as little as an estimate."""
    if not _is_layered(trace):
        return False
    linear_code = isinstance(trace.layers[-1].activation, torch.nn.Identity)
    return len(trace.layers) == 1 or (len(trace.layers) == 2 and linear_code)
