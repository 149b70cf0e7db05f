"""PCA, and what two small networks add to it.

The code is P (x - m) + E(x - m), the reconstruction m + D h + G(h). P and D start at the principal
axes of the training rows (Pearson 1901; Hotelling 1933), whitened, and the last layers of the
networks E and G at zero: before the first step the model is PCA, exactly. Where codes are
distributions, it starts at the optimum of a linear decoder with Gaussian noise, probabilistic PCA
(Tipping & Bishop 1999, eqs. 6 to 8; Lucas et al. 2019, "Don't blame the ELBO!", section 4.1).
"""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from narrows.networks.activations import ACTIVATIONS, invert
from narrows.networks.dense import DENSE, draw_all
from narrows.networks.network import Axes, Body, Decoder, Encoder, Network, NetworkSpec, Start

# The share of the largest variance below which a direction is rounding, and not divided by.
_LEAST_SHARE = 1e-10
# The least variance of a feature that probabilistic PCA leaves to noise.
_LEAST_NOISE = 1e-6
# Widths of the hidden layers by default: one unit for so many rows, within these bounds. Wide rows
# may have a first layer that is wider, up to the last bound.
_ROWS_A_UNIT, _NARROWEST, _WIDE, _WIDEST = 8, 32, 256, 1024


class Residual(nn.Module):
    """A linear map, and a network that adds to it.

    Parameters
    ----------
    linear : Linear
        The map.
    network : Sequential
        Linear layers with activations between, from the same numbers to as many.
    """

    def __init__(self, linear: nn.Linear, network: nn.Sequential) -> None:
        super().__init__()
        self.linear = linear
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in) to (B, out)."""
        y: Tensor = self.linear(x) + self.network(x)
        return y


def build_encoder(spec: NetworkSpec) -> Body:
    """Build the encoder's body, (B, *sample_shape) to (B, heads * K)."""
    n_out = spec.n_heads * spec.n_components
    last, linears = _map(spec, (math.prod(spec.sample_shape), *spec.hidden_layer_sizes, n_out))
    return Body(
        nn.Flatten(),
        centre=spec.sample_shape,
        last=last,
        layers=linears,
        code_layers=list(dict.fromkeys([linears[0], linears[-1]])),
    )


def build_decoder(spec: NetworkSpec) -> Body:
    """Build the decoder's body, (B, K) to (B, *sample_shape)."""
    n_out = math.prod(spec.sample_shape)
    last, linears = _map(spec, (spec.n_components, *spec.hidden_layer_sizes[::-1], n_out))
    return Body(
        last=last,
        layers=linears,
        after_last=[nn.Unflatten(1, spec.sample_shape)],
        code_layers=linears[:2],
    )


def _map(spec: NetworkSpec, widths: tuple[int, ...]) -> tuple[nn.Module, list[nn.Linear]]:
    """Build a linear map from the first to the last width, and the network beside it.

    The linear layers are returned as well, that of the map first.
    """
    linear = nn.Linear(widths[0], widths[-1])
    if len(widths) == 2:
        return linear, [linear]
    beside = [nn.Linear(*pair) for pair in pairwise(widths)]
    activated = (m for layer in beside for m in (layer, ACTIVATIONS[spec.activation]()))
    return Residual(linear, nn.Sequential(*list(activated)[:-1])), [linear, *beside]


def initialise(
    encoder: Encoder, decoder: Decoder, spec: NetworkSpec, start: Start, generator: torch.Generator
) -> None:
    """Draw the weights of the networks, and start the linear maps at PCA.

    Parameters
    ----------
    encoder, decoder, spec, generator
        As for :func:`narrows.networks.dense.initialise`.
    start : Start
        The mean of the scaled training rows, and their principal axes.
    """
    for body in (encoder.body, decoder.body):
        draw_all(body.layers, spec, generator)
        # The map is set below, and the network adds nothing at first.
        nn.init.zeros_(body.layers[0].weight)
        nn.init.zeros_(body.layers[-1].weight)
    to_code, to_rows = encoder.body.layers[0], decoder.body.layers[0]
    with torch.no_grad():
        to_rows.bias.copy_(invert(spec.output, start.mean.flatten()))
        if start.axes is not None:
            _set_to_pca(to_code, to_rows, start.axes, spec)


def _set_to_pca(to_code: nn.Linear, to_rows: nn.Linear, axes: Axes, spec: NetworkSpec) -> None:
    """Set two linear maps to whitened PCA, or probabilistic PCA where codes have a variance."""
    kept = axes.variances > _LEAST_SHARE * axes.variances[:1].clamp(min=torch.finfo().tiny)
    kept[spec.n_components :] = False
    directions, variances = axes.directions[kept], axes.variances[kept]
    count = len(variances)
    noise = max(axes.residual_variance, _LEAST_NOISE) if spec.n_heads > 1 else 0.0
    explained = (variances - noise).clamp(min=0)
    scales = (explained.sqrt() / variances)[:, None]
    to_code.weight[:count] = (directions * scales).to(to_code.weight.dtype)
    to_rows.weight[:, :count] = (directions.t() * explained.sqrt()).to(to_rows.weight.dtype)
    if spec.n_heads > 1:
        # The posterior of a direction has the variance noise / variance; of none, that of N(0, 1).
        spread = (noise / variances).clamp(max=1).log()
        to_code.bias[spec.n_components : spec.n_components + count] = spread.to(to_code.bias.dtype)


@torch.no_grad()
def map_codes(network: Network, shift: Tensor, scale: Tensor) -> None:
    """Make codes h into (h - shift) / scale, and let the decoder undo it.

    Codes decode to the same rows as before. The log variances of codes that are distributions
    change with them.

    Parameters
    ----------
    network : Network
        The network, changed in place unless its codes do not lie between linear layers.
    shift, scale : Tensor of shape (K,)
        The numbers subtracted from each unit, and those it is divided by, above 0.
    """
    last, first = _layers_around(network)
    if not last:
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


def are_codes_linear(network: Network) -> bool:
    """Return whether codes are plain numbers between linear layers, which can undo a linear map."""
    return bool(_layers_around(network)[0]) and network.encoder.n_heads == 1


def _layers_around(network: Network) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the linear layers that make codes and that read them; none unless both are linear."""
    last, first = network.encoder.body.code_layers, network.decoder.body.code_layers
    is_linear = isinstance(network.encoder.activation, nn.Identity) and last and first
    return (last, first) if is_linear else ((), ())


@torch.no_grad()
def transform_codes(network: Network, shift: Tensor, matrix: Tensor) -> None:
    """Make codes h into matrix (h - shift), and let the decoder undo it.

    Parameters
    ----------
    network : Network
        A network whose codes are linear (:func:`are_codes_linear`), changed in place.
    shift : Tensor of shape (K,)
    matrix : Tensor of shape (K, K)
        An invertible matrix.
    """
    last, first = _layers_around(network)
    shift, matrix = shift.double(), matrix.double()
    inverse = torch.linalg.inv(matrix)
    for place, layer in enumerate(last):
        bias = layer.bias.double() - (0 if place else shift)
        layer.weight.copy_(matrix @ layer.weight.double())
        layer.bias.copy_(matrix @ bias)
    for layer in first:
        weight = layer.weight.double()
        layer.bias.copy_(layer.bias.double() + weight @ shift)
        layer.weight.copy_(weight @ inverse)


@torch.no_grad()
def order_codes(network: Network, codes: Tensor, rows: Tensor, weights: Tensor | None) -> None:
    """Order the units of the code by descending variance, and fix their signs as PCA's are.

    The sign of a unit is that for which its largest covariance with a feature, by magnitude, is
    positive: of PCA's scores this is the sign that scikit-learn gives them. Codes decode to the
    same rows as before.

    Parameters
    ----------
    network : Network
        The network, changed in place unless its codes do not lie between linear layers.
    codes : Tensor of shape (n, K)
        Codes of some rows.
    rows : Tensor of shape (n, F)
        These rows, scaled.
    weights : Tensor of shape (n,) or None
        Weight of each row.
    """
    last, first = _layers_around(network)
    if not last:
        return
    share = torch.ones(len(codes)) if weights is None else weights
    share = (share / share.sum()).to(codes)
    centred = codes - share @ codes
    variances = share @ centred.square()
    covariances = (centred * share[:, None]).t() @ rows
    largest = covariances.gather(1, covariances.abs().argmax(1, keepdim=True)).flatten()
    order = variances.argsort(descending=True, stable=True)
    signs = torch.where(largest < 0, -1.0, 1.0)[order].to(codes)
    heads = torch.cat([order + i * len(order) for i in range(network.encoder.n_heads)])
    of_heads = torch.cat([signs, torch.ones(len(heads) - len(signs)).to(signs)])
    for layer in last:
        layer.weight.copy_(layer.weight[heads] * of_heads[:, None])
        layer.bias.copy_(layer.bias[heads] * of_heads)
    for layer in first:
        layer.weight.copy_(layer.weight[:, order] * signs)


def _hidden_layer_sizes(
    sample_shape: tuple[int, ...], n_components: int, n_rows: int
) -> tuple[int, ...]:
    """Choose two layers whose width grows with the rows, so that few are not learned by heart.

    Examples
    --------
    >>> _hidden_layer_sizes((30,), 8, 500), _hidden_layer_sizes((28, 28), 16, 60_000)
    ((64, 64), (1024, 256))
    """
    features = math.prod(sample_shape)
    widest = min(_WIDEST, max(_WIDE, 1 << (features - 1).bit_length()))
    first = min(widest, max(_NARROWEST, 2 ** round(math.log2(max(1, n_rows / _ROWS_A_UNIT)))))
    return first, min(first, max(_WIDE, 2 * n_components))


PCA_RESIDUAL = replace(
    DENSE,
    build_encoder=build_encoder,
    build_decoder=build_decoder,
    initialise=initialise,
    parameters=frozenset({"hidden_layer_sizes", "activation"}),
    goes_with={
        "code_activation": ("auto", "identity"),
        "output": ("auto", "identity", "clip"),
        "loss": ("auto", "squared_error"),
        "likelihood": ("auto", "gaussian"),
    },
    hidden_layer_sizes=_hidden_layer_sizes,
    learning_rate=0.006,
    weight_decay=0.5,
    unit_columns=False,
    starts_at_pca=True,
)
