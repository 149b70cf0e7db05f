"""The contractive autoencoder: min over f, g of the sum of L(x, g(f(x))) + lambda ||J_f(x)||_F^2.

Rifai, Vincent, Muller, Glorot & Bengio (2011), "Contractive auto-encoders: explicit invariance
during feature extraction", ICML, eqs. 5 to 7.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.arrays import as_tensor
from narrows.losses import Loss, jacobian
from narrows.models.base import BaseAutoencoder
from narrows.models.validation import check_choice, check_number
from narrows.networks import Encoder, Network, Trace, is_pointwise

CONTRACTIONS = ("auto", "exact", "stochastic")

# Numbers of the largest array that measuring a block of rows makes, and most rows of a block.
_BLOCK, _ROWS = 1 << 22, 4096


@dataclass(kw_only=True, eq=False, repr=False)
class ContractiveAutoencoder(BaseAutoencoder):
    """A network whose codes hardly move when their rows do, but where rows differ from each other.

    Beside the reconstruction's error it makes small how strongly the code answers to its input:
    the squared Frobenius norm of the Jacobian of the code, K by F, with respect to the scaled row.

    Parameters
    ----------
    contraction_weight : float, default=0.1
        Weight of the penalty (the paper's lambda).
    contraction : {"auto", "exact", "stochastic"}, default="auto"
        How the penalty is computed while learning. "stochastic" estimates it without bias from
        one random direction a row, for about the price of one more pass through the encoder;
        "exact" costs up to K times as much; "auto" is exact where that is cheap: for encoders of
        one layer, or of one hidden layer under a linear code.
    {parameters}

    Attributes
    ----------
    {attributes}

    Notes
    -----
    With weights of its own, a decoder can undo what the penalty does by growing as the codes
    shrink. The paper ties them, with one layer of sigmoids: ``hidden_layer_sizes=()``,
    ``code_activation="sigmoid"``, ``tied_weights=True``.

    Examples
    --------
    >>> from narrows import ContractiveAutoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> plain, contractive = (
    ...     ContractiveAutoencoder(
    ...         64, contraction_weight=weight, hidden_layer_sizes=(), code_activation="sigmoid",
    ...         tied_weights=True, max_epochs=10, random_state=0).fit(digits.X_train)
    ...     for weight in (0, 1))
    >>> norms = [model.jacobian_norm(digits.X_test).mean() for model in (plain, contractive)]
    >>> bool(norms[1] < 0.5 * norms[0])
    True
    """

    contraction_weight: float = 0.1
    contraction: str = "auto"

    def jacobian_norm(self, X: Any) -> NDArray[np.float32]:
        """Measure how strongly each row's code answers to changes of the row, exactly.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Rows, in the units of the training data.

        Returns
        -------
        ndarray of shape (n,), float32
            The Frobenius norm of the Jacobian of the code with respect to the scaled row. The
            penalty is the mean of its square, times ``contraction_weight``.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        """
        rows = as_tensor(self._check_rows(X))
        device = next(self.encoder_.parameters()).device
        norms = torch.empty(len(rows))
        with torch.no_grad():
            # The first row alone shows how many may follow at once.
            start, size = 0, 1
            while start < len(rows):
                block = slice(start, start + size)
                trace = self.encoder_.trace(self.scaling_(rows[block].to(device)))
                norms[block] = squared_norm(self.encoder_, trace).sqrt()
                start, size = start + size, _rows_at_once(trace)
        return norms.numpy()

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("contraction_weight", self.contraction_weight, low=0)
        check_choice("contraction", self.contraction, CONTRACTIONS)

    def _penalties(self, network: Network, trace: Trace, generator: torch.Generator) -> Loss:
        probes = None
        if self.contraction == "stochastic" or (self.contraction == "auto" and not _cheap(trace)):
            probes = torch.empty_like(trace.code).bernoulli_(0.5, generator=generator) * 2 - 1
        norm = squared_norm(network.encoder, trace, probes).mean()
        return {
            **super()._penalties(network, trace, generator),
            "contraction": self.contraction_weight * norm,
        }


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
        if probes is None:
            return jacobian.function_norm(encoder, trace.seen)
        return jacobian.function_estimate(encoder, trace.seen, probes)
    # Of several heads, the code is made of the first.
    width = trace.code.shape[1]
    weights = [layer.linear.weight for layer in trace.layers]
    values = [layer.values for layer in trace.layers]
    weights[-1], values[-1] = weights[-1][:width], values[-1][:, :width]
    slopes = [
        None
        if isinstance(layer.activation, torch.nn.Identity)
        else jacobian.slope(layer.activation, value)
        for layer, value in zip(trace.layers, values, strict=True)
    ]
    if probes is None:
        return jacobian.layered_norm(weights, slopes)
    return jacobian.layered_estimate(weights, slopes, probes)


def _is_layered(trace: Trace) -> bool:
    return bool(trace.layers) and is_pointwise(trace.layers[-1].activation)


def _rows_at_once(trace: Trace) -> int:
    if _cheap(trace):
        return _ROWS
    widths = [trace.seen[0].numel(), *(layer.values.shape[1] for layer in trace.layers)]
    return min(_ROWS, max(1, _BLOCK // (max(widths) * trace.code.shape[1])))


def _cheap(trace: Trace) -> bool:
    """Tell whether the exact norm costs about as little as an estimate."""
    if not _is_layered(trace):
        return False
    linear_code = isinstance(trace.layers[-1].activation, torch.nn.Identity)
    return len(trace.layers) == 1 or (len(trace.layers) == 2 and linear_code)
