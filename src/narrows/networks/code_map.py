"""Other coordinates for the same codes: an affine map of each unit, undone by the decoder."""

import torch
from torch import Tensor, nn

from narrows.networks.network import Network
from narrows.networks.pca_residual import Residual


@torch.no_grad()
def map_codes(network: Network, shift: Tensor, scale: Tensor) -> None:
    """Make codes h into (h - shift) / scale, and let the decoder undo it.

    What codes decode to stays the same. The log variances of codes that are distributions change
    with them.

    Parameters
    ----------
    network : Network
        Changed in place, unless its codes do not lie between linear layers.
    shift, scale : Tensor of shape (K,)
        The scale above 0.
    """
    last, first = _last_layers(network.encoder.body), _first_layers(network.decoder.body)
    if not (isinstance(network.encoder.activation, nn.Identity) and last and first):
        return
    means, log_variances = slice(None, len(shift)), slice(len(shift), None)
    for layer in last:
        layer.weight[means] /= scale[:, None]
        layer.bias[means] /= scale
    # Their results are summed: one of them subtracts the shift, and carries the scale's logarithm.
    last[0].bias[means] -= shift / scale
    if network.encoder.n_heads > 1:
        last[0].bias[log_variances] -= 2 * scale.log()
    for layer in first:
        layer.bias.add_(layer.weight @ shift)
        layer.weight *= scale


def _last_layers(body: nn.Module) -> list[nn.Linear]:
    """Return the linear layers whose results are summed to what a body gives."""
    *_, last = body.children()
    if isinstance(last, Residual):
        return last.last
    return [last] if isinstance(last, nn.Linear) else []


def _first_layers(body: nn.Module) -> list[nn.Linear]:
    """Return the linear layers that see what a body is given."""
    first = next(body.children())
    if isinstance(first, Residual):
        return first.first
    return [first] if isinstance(first, nn.Linear) else []
