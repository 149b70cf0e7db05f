"""What a model of a density does once it has learned: draw rows, and say how likely rows are.

Burda, Grosse & Salakhutdinov (2016), "Importance weighted autoencoders", eq. 8.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor, nn

from narrows.data.arrays import as_tensor
from narrows.data.scaling import Scaling
from narrows.losses import variational
from narrows.models.codec import Codec
from narrows.models.likelihood import Likelihood, within_unit
from narrows.models.posterior import moments
from narrows.models.validation import check_number
from narrows.networks import Network
from narrows.training.loop import keep_freed_memory

# Numbers that the widest layer may give at once, and codes decoded at once: products of fewer are
# slower, and what more of them give leaves the caches before it is summed.
_NUMBERS, _CODES = 1 << 22, 2048


class Density(Codec):
    """The using half of a model whose codes are normal distributions around N(0, I)."""

    variance: Any

    def sample(
        self, n: int, random_state: int | np.random.RandomState | None = None
    ) -> NDArray[np.float32]:
        """Decode codes drawn from N(0, I).

        Parameters
        ----------
        n : int
            How many rows.
        random_state : int, RandomState or None
            Of the draws.

        Returns
        -------
        ndarray of shape (n, *sample_shape_), float32, or float64 as :meth:`inverse_transform`
            The means of the likelihoods, in the units of the training data.

        Raises
        ------
        NotFittedError
            If there is nothing learned yet.
        ParameterError
            If ``n`` is not a whole number of at least 1.
        """
        self._check_fitted()
        check_number("n", n, low=1, integral=True)
        codes = check_random_state(random_state).standard_normal((n, self.spec_.code_width))
        return self._decode(codes.astype(np.float32))

    def elbo(
        self,
        X: Any,
        n_samples: int = 10,
        random_state: int | np.random.RandomState | None = None,
    ) -> NDArray[np.float64]:
        """Estimate the evidence lower bound of each row, which its log likelihood is not below.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Rows.
        n_samples : int, default=10
            Codes drawn for each row; more make the estimate less noisy, not higher.
        random_state : int, RandomState or None
            Of the draws.

        Returns
        -------
        ndarray of shape (n,), float64
            In nats, in the units of :meth:`log_likelihood`. The weight of the divergence is 1,
            whatever was used to learn.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        ParameterError
            If ``n_samples`` is not a whole number of at least 1.
        """
        return self._estimate(X, n_samples, random_state, bound=True)

    def log_likelihood(
        self,
        X: Any,
        n_samples: int = 5000,
        random_state: int | np.random.RandomState | None = None,
    ) -> NDArray[np.float64]:
        """Estimate the log likelihood of each row by importance weighting.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Rows.
        n_samples : int, default=5000
            Codes drawn for each row. The estimate is in expectation never above the truth, and
            rises to it with their number; memory does not grow with it.
        random_state : int, RandomState or None
            Of the draws.

        Returns
        -------
        ndarray of shape (n,), float64
            In nats, of the density of the rows in the units they came in, so that figures of
            different ``scaling`` can be compared. Pixels from 0 to 255 have ``log(255)`` nats a
            value less than the same pixels from 0 to 1, which most papers measure. With "bernoulli"
            it is of a probability, which has no units. Minus infinity for rows that the likelihood
            excludes.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`.
        ParameterError
            If ``n_samples`` is not a whole number of at least 1.
        """
        return self._estimate(X, n_samples, random_state, bound=False)

    def _estimate(
        self,
        X: Any,
        n_samples: int,
        random_state: int | np.random.RandomState | None,
        *,
        bound: bool,
    ) -> NDArray[np.float64]:
        rows = self._check_rows(X)
        check_number("n_samples", n_samples, low=1, integral=True)
        seed = int(check_random_state(random_state).randint(2**31))
        network = Network(self.encoder_, self.decoder_)
        return estimate(
            network,
            self._likelihood(),
            self.scaling_,
            rows,
            n_samples=int(n_samples),
            seed=seed,
            bound=bound,
        )

    def _likelihood(self) -> Likelihood:
        return Likelihood(self.loss_, self.variance)


@torch.inference_mode()
def estimate(
    network: Network,
    likelihood: Likelihood,
    scaling: Scaling,
    rows: NDArray[Any],
    *,
    n_samples: int,
    seed: int,
    bound: bool,
) -> NDArray[np.float64]:
    """Estimate the log likelihood of rows, or the evidence lower bound, in bounded memory.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    likelihood : Likelihood
        Of a row, given its code.
    scaling : Scaling
        Between the rows' units and the network's.
    rows : ndarray of shape (n, ...)
        In their own units.
    n_samples : int
        Codes drawn for each row.
    seed : int
        Of the draws.
    bound : bool
        Whether the mean over draws of log p(x | h), less the divergence, is wanted, instead of
        the log of the mean over draws of p(x, h) / q(h | x).

    Returns
    -------
    ndarray of shape (n,), float64
        In nats: of the density in the rows' own units, or of the probability of zeros and ones.
    """
    device = next(network.parameters()).device
    # Apple's GPUs have no double precision.
    kind = torch.float32 if device.type == "mps" else torch.float64
    generator = torch.Generator(device).manual_seed(seed)
    # As many draws at once as the widest layer's numbers leave room for, of as many rows as that.
    widest = _widest(network, scaling(as_tensor(rows[:1]).to(device)))
    n_codes = max(1, min(_CODES, _NUMBERS // widest))
    n_rows = max(1, n_codes // n_samples)
    figures = np.empty(len(rows))
    keep_freed_memory()
    for start in range(0, len(rows), n_rows):
        block = slice(start, start + n_rows)
        x = scaling(as_tensor(rows[block]).to(device))
        mean, log_variance = moments(network.encoder.trace(x))
        n_draws = max(1, n_codes // len(x))
        # Kept on the device, so that no chunk waits for the host.
        total = torch.full((len(x),), 0.0 if bound else -math.inf, dtype=kind, device=device)
        for done in range(0, n_samples, n_draws):
            shape = (min(n_draws, n_samples - done), *mean.shape)
            noise = torch.randn(shape, generator=generator, device=device)
            codes = variational.draw_codes(mean, log_variance, noise)
            density = likelihood.log_density(network.decoder, codes, x)
            if bound:
                total += density.to(kind).sum(0)
            else:
                weights = density + variational.log_prior_ratio(codes, log_variance, noise)
                total = torch.logaddexp(total, weights.to(kind).logsumexp(0))
        if bound:
            divergence = variational.gaussian_kl(mean, log_variance).to(kind).sum(1)
            total = total / n_samples - divergence
        else:
            total -= math.log(n_samples)
        if likelihood.bounded:
            total.masked_fill_(~within_unit(x), -math.inf)
        # Rows so far off that they leave single precision are as good as impossible.
        figures[block] = total.nan_to_num(nan=-math.inf, neginf=-math.inf).cpu().numpy()
    return figures - likelihood.log_volume(scaling, rows[0].size)


def _widest(network: Network, x: Tensor) -> int:
    """Count the numbers that the widest module gives on the way of one row (1, ...) and back."""
    counts = [x.numel()]

    def count(_module: nn.Module, _inputs: Any, given: Any) -> None:
        if isinstance(given, Tensor):
            counts.append(given.numel())

    hooks = [module.register_forward_hook(count) for module in network.modules()]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return max(counts)
