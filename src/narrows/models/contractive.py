"""The contractive autoencoder: min over f, g of the sum of L(x, g(f(x))) + lambda ||J_f(x)||_F^2.

Rifai, Vincent, Muller, Glorot & Bengio (2011), "Contractive auto-encoders: explicit invariance
during feature extraction", ICML, eqs. 1 and 7.
"""

from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray

from narrows.data.lazy_rows import LazyRows
from narrows.errors import ParameterError
from narrows.losses import Loss, jacobian
from narrows.models.base import BaseAutoencoder, Objective
from narrows.models.sensitivity import is_cheap, measure, squared_norm
from narrows.models.validation import check_choice, check_number
from narrows.networks import Trace

# Training rows over which the norm is reported.
_ROWS_MEASURED = 1_000
CONTRACTIONS = ("auto", "exact", "stochastic")


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
    mean_jacobian_norm_ : float
        The mean of :meth:`jacobian_norm`, exact, over at most 1 000 training rows. ``fit`` measures
        it; after ``partial_fit``, which would take longer to measure than to learn, there is none.
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

    _findings: ClassVar[tuple[str, ...]] = ("mean_jacobian_norm_",)

    contraction_weight: float = 0.1
    contraction: Literal["auto", "exact", "stochastic"] = "auto"

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from more rows; see :meth:`BaseAutoencoder.partial_fit`."""
        super().partial_fit(X, y, sample_weight)
        self.__dict__.pop("mean_jacobian_norm_", None)
        return self

    def _settle(self, rows: NDArray[Any] | LazyRows, weights: NDArray[np.float64] | None) -> None:
        super()._settle(rows, weights)
        some = slice(None, None, -(-len(rows) // _ROWS_MEASURED))
        norms = measure(self.encoder_, self.scaling_, rows[some]).astype(np.float64)
        own = None if weights is None else weights[some]
        self.mean_jacobian_norm_ = np.average(norms, weights=own)

    def check_parameters(self) -> None:
        """Check, beside what ``super()`` checks, the weight and the kind of the contraction."""
        super().check_parameters()
        check_number("contraction_weight", self.contraction_weight, low=0)
        check_choice("contraction", self.contraction, CONTRACTIONS)
        if self.normalization == "batch":
            raise ParameterError(
                "normalization='batch' makes a row's code depend on the rows beside it, which then "
                "has no Jacobian of its own to contract; use 'layer' or 'none'"
            )

    def penalties(self, objective: Objective, trace: Trace, generator: torch.Generator) -> Loss:
        """Return, beside those of ``super()``, the weighted norm of the Jacobian."""
        probes = None
        if self.contraction == "stochastic" or (self.contraction == "auto" and not is_cheap(trace)):
            n_rows, width = trace.code.shape
            probes = jacobian.draw_probes(n_rows, width, generator, trace.code.dtype)
        norm = trace.mean(squared_norm(objective.network.encoder, trace, probes))
        return {
            **super().penalties(objective, trace, generator),
            "contraction": self.contraction_weight * norm,
        }
