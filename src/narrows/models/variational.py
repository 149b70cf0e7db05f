"""The variational autoencoder: a density of the data, by way of a normal distribution of codes.

Kingma & Welling (2014), "Auto-encoding variational Bayes"; Burda, Grosse & Salakhutdinov (2016),
"Importance weighted autoencoders", for the tighter bound, the log likelihood and active units.
"""

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor

from narrows.data.arrays import as_tensor
from narrows.errors import DataError, ParameterError
from narrows.losses import Loss, variational
from narrows.models import choices
from narrows.models.base import BaseAutoencoder
from narrows.models.density import (
    LEAST_VARIANCE,
    LIKELIHOODS,
    Likelihood,
    estimate,
    measure_codes,
    moments,
    settle,
    within_unit,
)
from narrows.models.validation import check_choice, check_number
from narrows.networks import Network, Trace
from narrows.networks.outputs import Gaussian
from narrows.training.history import History

# Variance over the data of a code's mean above which Burda et al. call the unit active.
_ACTIVE = 0.01
# Rows looked at to start the variance.
_ROWS_FOR_VARIANCE = 1_000


@dataclass(kw_only=True, eq=False, repr=False)
class VariationalAutoencoder(BaseAutoencoder):
    """A network that learns a density of the rows, and can draw new ones from it.

    The encoder gives each row a normal distribution of codes; ``transform`` gives its mean, and
    ``reconstruct`` decodes that.

    Parameters
    ----------
    likelihood : {"auto", "bernoulli", "continuous_bernoulli", "gaussian"}, default="auto"
        Of a row, given its code. "bernoulli" is for zeros and ones; of values between it is no
        density. "continuous_bernoulli" is one on [0, 1]. "auto" takes "bernoulli" for data of
        nothing but zeros and ones, "gaussian" otherwise.
    variance : float or "learned", default="learned"
        Of the Gaussian likelihood, in scaled units, the same for all features.
    kl_weight : float, default=1
        Weight of the divergence of codes from N(0, I): the beta of beta-VAE.
    kl_warmup : float, default=0
        How long that weight rises from 0 along a line: below 1 a share of all steps, from 1 on a
        number of epochs.
    free_bits : float, default=0
        Nats that each unit of the code may tell on average without paying for them.
    n_importance_samples : int, default=1
        Codes drawn for each row and step; from 2 on, the importance-weighted bound is learned
        from in place of the evidence lower bound.
    {parameters}

    Attributes
    ----------
    active_units_ : ndarray of shape (K,), bool
        Whether the mean of each unit varies over the training rows by more than 0.01 (variance).
        Where none does, the codes say nothing: fitting warns of it.
    {attributes}

    Notes
    -----
    For data in [0, 1] that are not binary, "auto" takes the Gaussian with its variance learned:
    the continuous Bernoulli has one number for both the mean and the spread, so that grey, for
    which it is all but uniform, can never be said with certainty; and at 0 and 1 its density has
    no upper limit. A learned variance also finds by itself the balance between reconstruction and
    divergence that ``kl_weight`` would otherwise have to be tuned for.

    Examples
    --------
    >>> from narrows import VariationalAutoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> model = VariationalAutoencoder(8, max_epochs=5, random_state=0).fit(digits.X_train)
    >>> model.sample(3, random_state=0).shape
    (3, 8, 8)
    >>> bound = model.elbo(digits.X_test, random_state=0)
    >>> estimate = model.log_likelihood(digits.X_test, n_samples=50, random_state=0)
    >>> bool(bound.mean() < estimate.mean())
    True
    """

    likelihood: Literal["auto", "bernoulli", "continuous_bernoulli", "gaussian"] = "auto"
    variance: float | Literal["learned"] = "learned"
    kl_weight: float = 1.0
    kl_warmup: float = 0.0
    free_bits: float = 0.0
    n_importance_samples: int = 1

    _n_heads: ClassVar[int] = 2
    _findings: ClassVar[tuple[str, ...]] = ("active_units_",)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more rows; see :meth:`BaseAutoencoder.partial_fit`."""
        if self.__sklearn_is_fitted__():
            rows = self.scaling_(as_tensor(self._check_rows(X)))
            if self.loss_ != "gaussian" and not bool(within_unit(rows).all()):
                raise DataError(
                    f"scaled rows reach from {float(rows.min()):.3g} to {float(rows.max()):.3g}; "
                    f"the {self.loss_} likelihood needs them between 0 and 1, as the first ones "
                    "were; leave such rows out, or fit with likelihood='gaussian'"
                )
        super().partial_fit(X, y)
        self._find_active_units(self._check_rows(X))
        return self

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
        ndarray of shape (n, *sample_shape_), float32
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
        codes = check_random_state(random_state).standard_normal((n, self.spec_.n_components))
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

    def _loss(self, network: Network, x: Tensor, seen: Tensor, generator: torch.Generator) -> Loss:
        trace = network.encoder.trace(seen)
        mean, log_variance = moments(trace)
        shape = (self.n_importance_samples, *mean.shape)
        noise = torch.randn(shape, generator=generator, device=mean.device)
        codes = variational.draw_codes(mean, log_variance, noise)
        penalties = self._penalties(network, trace, generator)
        if self.n_importance_samples == 1:
            return {
                "reconstruction": self._reconstruction_loss(network, codes[0], x, seen),
                **penalties,
            }
        ratio = variational.log_prior_ratio(codes, log_variance, noise)
        density = self._likelihood().log_density(network.decoder, codes, x)
        weights = density + self._kl_factor(network) * ratio
        bound = weights.logsumexp(0).mean() - math.log(len(weights))
        return {"importance_weighted_bound": -bound, **penalties}

    def _reconstruction_loss(
        self, network: Network, code: Tensor, x: Tensor, seen: Tensor
    ) -> Tensor:
        del seen
        return -self._likelihood().log_density(network.decoder, code[None], x).mean()

    def _penalties(self, network: Network, trace: Trace, generator: torch.Generator) -> Loss:
        penalties = super()._penalties(network, trace, generator)
        if self.n_importance_samples > 1:
            return penalties  # the divergence is inside the bound
        divergences = variational.gaussian_kl(*moments(trace))
        divergence = variational.free_bits(divergences, self.free_bits)
        return {**penalties, "divergence": self._kl_factor(network) * divergence}

    def _kl_factor(self, network: Network) -> Tensor | float:
        """Return the divergence's weight at this step, and count the step."""
        steps = getattr(network, "steps", self._steps)
        # Held-out rows are measured with the full weight, or the first epochs would seem best.
        if steps is None or not network.training:
            return self.kl_weight
        factor: Tensor = (steps / self._warmup_steps).clamp(max=1) * self.kl_weight
        steps += 1
        return factor

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("likelihood", self.likelihood, ("auto", *LIKELIHOODS))
        check_number("variance", self.variance, low=0, open_low=True, words=("learned",))
        check_number("kl_weight", self.kl_weight, low=0)
        check_number("kl_warmup", self.kl_warmup, low=0)
        check_number("free_bits", self.free_bits, low=0)
        check_number("n_importance_samples", self.n_importance_samples, low=1, integral=True)
        wrong = ""
        if self.loss != "auto":
            wrong = (
                f"loss={self.loss!r} is not allowed with codes that are distributions; leave it "
                "to 'auto' and set likelihood"
            )
        if self.tied_weights:
            wrong = (
                "tied_weights=True is not allowed: the encoder ends in two numbers for each unit, "
                "the decoder starts with one; use tied_weights=False"
            )
        if self.free_bits > 0 and self.n_importance_samples > 1:
            wrong = (
                f"free_bits={self.free_bits!r} needs n_importance_samples=1, for only then is "
                "there a divergence of each unit; leave one of the two out"
            )
        if self.variance != "learned" and self.likelihood not in ("auto", "gaussian"):
            wrong = (
                f"variance={self.variance!r} belongs to likelihood='gaussian' alone; leave it to "
                "'learned', or change likelihood"
            )
        if wrong:
            raise ParameterError(wrong)

    def _prepare(self, X: NDArray[Any]) -> Tensor:
        mean = super()._prepare(X)
        automatic = "bernoulli" if self.loss_ == "cross_entropy" else "gaussian"
        self.loss_ = automatic if self.likelihood == "auto" else self.likelihood
        self.spec_ = replace(self.spec_, output=self._choose_output())
        rows = as_tensor(X[:: -(-len(X) // _ROWS_FOR_VARIANCE)])
        # All that the decoder, which starts at the mean row, leaves unexplained.
        self._first_variance = float(self.scaling_(rows).var(dim=0).mean())
        settings = choices.choose_settings(self, self.spec_, len(X), seed=0)
        n_learned = len(X) - choices.choose_held_out(self, self.spec_, len(X))
        epoch = -(-n_learned // settings.batch_size)
        span = epoch if self.kl_warmup >= 1 else epoch * settings.max_epochs
        self._warmup_steps = round(self.kl_warmup * span)
        return mean

    def _choose_output(self) -> str:
        output = self.spec_.output
        if self.loss_ == "gaussian":
            if self.variance != "learned":
                return output
            return "bounded_gaussian" if output == "sigmoid" else "gaussian"
        if not self.scaling_.bounded:
            raise ParameterError(
                f"likelihood={self.loss_!r} needs data between 0 and 1, but with "
                f"scaling={self.scaling!r} data from {self.scaling_.low:g} to "
                f"{self.scaling_.high:g} reach beyond; use scaling='unit', or "
                "likelihood='gaussian'"
            )
        if self.output == "identity":
            raise ParameterError(
                f"likelihood={self.loss_!r} does not go with output='identity'; use output='auto'"
            )
        return "sigmoid" if self.loss_ == "bernoulli" else "continuous_bernoulli"

    def _extend(self, network: Network) -> None:
        super()._extend(network)
        # There only where the network is new.
        first_variance = self.__dict__.pop("_first_variance", None)
        if first_variance is None:
            return
        self._steps: Tensor | None = None
        if self._warmup_steps:
            # A buffer, so that a checkpoint keeps it.
            network.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if isinstance(network.decoder.output, Gaussian):
            first = math.log(max(first_variance, LEAST_VARIANCE))
            torch.nn.init.constant_(network.decoder.output.log_variance, first)

    def _fit(self, X: NDArray[Any], damaged: NDArray[Any] | None = None) -> Self:
        super()._fit(X, damaged)
        if self.n_importance_samples == 1:
            # Weight decay, and an early end, leave the codes wider than the bound would have them.
            means, variances = measure_codes(self.encoder_, self.scaling_, X)
            scale = (means.var(dim=0, correction=0) + variances.mean(dim=0)).sqrt()
            settle(Network(self.encoder_, self.decoder_), means.mean(dim=0), scale)
        self._find_active_units(X)
        return self

    def _keep(
        self,
        network: Network,
        history: History,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        super()._keep(network, history, optimizer)
        self._steps = getattr(network, "steps", getattr(self, "_steps", None))

    def _find_active_units(self, X: NDArray[Any]) -> None:
        """Find the units whose mean follows the rows; warn where there is none."""
        means, _ = measure_codes(self.encoder_, self.scaling_, X)
        self.active_units_ = (means.var(dim=0, correction=0) > _ACTIVE).cpu().numpy()
        if len(means) > 1 and not self.active_units_.any():
            warnings.warn(
                f"none of the {len(self.active_units_)} units of the code is active: they say "
                "nothing of the rows (posterior collapse); lower kl_weight, set kl_warmup or "
                "free_bits, or train longer",
                stacklevel=4,
            )
