"""The contractive autoencoder: min over f, g of the sum of L(x, g(f(x))) + lambda ||J_f(x)||_F^2.

Rifai, Vincent, Muller, Glorot & Bengio (2011), "Contractive auto-encoders: explicit invariance
during feature extraction", ICML, eqs. 1 and 7.
"""

from typing import ClassVar, Literal

import numpy as np
import torch

from narrows import losses
from narrows.data.batches import RowWeights
from narrows.data.lazy_rows import AnyRows
from narrows.errors import ParameterError
from narrows.losses import Loss
from narrows.models.base import BaseAutoencoder, Objective
from narrows.models.sensitivity import is_cheap, measure, squared_norm
from narrows.models.validation import check_choice, check_number
from narrows.networks import Trace

# The largest number of training rows over which the norm is averaged.
_ROWS_MEASURED = 1_000
CONTRACTIONS = ("auto", "exact", "stochastic")


class ContractiveAutoencoder(BaseAutoencoder):
    """A network whose codes change little when rows change, except along the data's variation.

    Training minimises, beside the reconstruction error, the sensitivity of the code to its input:
    the squared Frobenius norm of the Jacobian of the code, K by F, with respect to the scaled row.

    Parameters
    ----------
    contraction_weight : float, default=0.1
        Weight of the penalty (the paper's lambda).
    contraction : {"auto", "exact", "stochastic"}, default="auto"
        How the penalty is computed during training. "stochastic" estimates it without bias from
        one random direction for each row, at about the cost of one more pass through the encoder;
        "exact" costs up to K times as much; "auto" is exact where that is cheap: for encoders of
        one layer, or of one hidden layer before a linear code.
    {parameters}

    Attributes
    ----------
    mean_jacobian_norm_ : float
        The mean of :meth:`jacobian_norm`, exact, over at most 1 000 training rows, which ``fit``
        measures; ``partial_fit`` removes it, since measuring would take longer than its training.
    {attributes}

    Notes
    -----
    A decoder with untied weights can undo the effect of the penalty by growing as the codes
    shrink. The paper ties the weights, with one layer of sigmoids: ``hidden_layer_sizes=()``,
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

    _findings: ClassVar[tuple[str, ...]] = ("mean_jacobian_norm_",)

    contraction_weight: float = 0.1
    contraction: Literal["auto", "exact", "stochastic"] = "auto"

    def _finish(
        self, objective: Objective, rows: AnyRows, weights: RowWeights, *, online: bool
    ) -> None:
        super()._finish(objective, rows, weights, online=online)
        self.__dict__.pop("mean_jacobian_norm_", None)
        if not online:
            sample = slice(None, None, -(-len(rows) // _ROWS_MEASURED))
            norms = measure(self.encoder_, self.scaling_, rows[sample]).astype(np.float64)
            weights = None if weights is None else weights[sample]
            self.mean_jacobian_norm_ = np.average(norms, weights=weights)

    def check_parameters(self) -> None:
        """Extend the checks of ``super()`` by the weight and the kind of the contraction."""
        super().check_parameters()
        check_number("contraction_weight", self.contraction_weight, low=0)
        check_choice("contraction", self.contraction, CONTRACTIONS)
        if self.normalization == "batch":
            raise ParameterError(
                "normalization='batch' makes a row's code depend on the rows beside it, which then "
                "has no Jacobian of its own to contract; use 'layer' or 'none'"
            )

    def penalties(self, objective: Objective, trace: Trace, generator: torch.Generator) -> Loss:
        """Add the weighted squared norm of the Jacobian to the penalties of ``super()``."""
        probes = None
        if self.contraction == "stochastic" or (self.contraction == "auto" and not is_cheap(trace)):
            n_rows, width = trace.code.shape
            probes = losses.draw_probes(n_rows, width, generator, trace.code.dtype)
        norm = trace.mean(squared_norm(objective.network.encoder, trace, probes))
        return {
            **super().penalties(objective, trace, generator),
            "contraction": self.contraction_weight * norm,
        }
