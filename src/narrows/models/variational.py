"""The variational autoencoder: a density of the data, by way of a normal distribution of codes.

Kingma & Welling (2014), "Auto-encoding variational Bayes"; Burda, Grosse & Salakhutdinov (2016),
"Importance weighted autoencoders", for the tighter bound, the log likelihood and active units.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.arrays import as_tensor
from narrows.data.lazy import LazyRows
from narrows.errors import DataError, ParameterError
from narrows.losses import Loss, variational
from narrows.models.base import BaseAutoencoder
from narrows.models.density import (
    ACTIVE,
    LEAST_VARIANCE,
    LIKELIHOODS,
    Density,
    measure_codes,
    moments,
    settle,
    within_unit,
)
from narrows.models.outcome import Failure, tell_of_own_failure
from narrows.models.validation import check_choice, check_number
from narrows.networks import Network, Start, Trace
from narrows.networks.outputs import Gaussian, with_variance
from narrows.training.history import History
from narrows.training.loop import TrainSettings

# What the history of this model alone has, beside held-out figures.
_OWN_TERMS = {"epoch", "loss", "reconstruction", "divergence", "learning_rate", "seconds"}
_OWN_TERMS |= {f"validation_{name}" for name in ("loss", "reconstruction", "divergence")}
# Rows looked at to start the variance.
_ROWS_FOR_VARIANCE = 1_000


@dataclass(kw_only=True, eq=False, repr=False)
class VariationalAutoencoder(Density, BaseAutoencoder):
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
        number of epochs. A call of ``partial_fit`` counts as an epoch.
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
        The others say nothing of the rows; ``narrows info`` shows how many there are. Where no
        unit is active, fitting warns of it.
    warmup_done_ : float
        Share of the warm-up that learning has gone through, from 0 to 1. It is saved with the
        model, and ``partial_fit`` goes on from it.
    {attributes}

    Notes
    -----
    For data in [0, 1] that are not binary, "auto" takes the Gaussian with its variance learned:
    the continuous Bernoulli has one number for both the mean and the spread, so that grey, for
    which it is all but uniform, can never be said with certainty; and at 0 and 1 its density has
    no upper limit. A learned variance also finds by itself the balance between reconstruction and
    divergence that ``kl_weight`` would otherwise have to be tuned for.

    Weight decay, and an early end, leave the codes of all rows together wider or narrower than
    N(0, I), from which :meth:`sample` draws. ``fit`` therefore ends with a shift and a scale of
    each unit that bring them to mean 0 and variance 1. They go into the encoder's last layer, and
    their inverse into the decoder's first: what codes decode to stays the same, and the evidence
    lower bound, averaged over the training rows, can only rise. It is left out where those layers
    are not linear; with a ``code_activation``; beside penalties of other models; and with
    ``n_importance_samples`` above 1, whose bound need not rise. ``partial_fit`` leaves codes
    alone, so that those from before compare. The figures in ``history_`` were measured before that
    shift and scale: :meth:`loss_terms` gives those of the model as it is.

    Examples
    --------
    >>> from narrows import VariationalAutoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> model = VariationalAutoencoder(8, max_epochs=5, random_state=0).fit(digits.X_train)
    >>> model.sample(3, random_state=0).shape
    (3, 8, 8)
    >>> bound = model.elbo(digits.X_test[:20], random_state=0)
    >>> estimate = model.log_likelihood(digits.X_test[:20], random_state=0)
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
    _findings: ClassVar[tuple[str, ...]] = ("active_units_", "warmup_done_")

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from more rows; see :meth:`BaseAutoencoder.partial_fit`."""
        if self.__sklearn_is_fitted__():
            rows = self.scaling_(as_tensor(np.asarray(self._check_rows(X))))
            if self.loss_ != "gaussian" and not bool(within_unit(rows).all()):
                raise DataError(
                    f"scaled rows reach from {float(rows.min()):.3g} to {float(rows.max()):.3g}; "
                    f"the {self.loss_} likelihood needs them between 0 and 1, as the first ones "
                    "were; leave such rows out, or fit with likelihood='gaussian'"
                )
        super().partial_fit(X, y, sample_weight)
        seen = self._check_rows(X)
        self._find_active_units(seen)
        if len(seen) > 1:
            tell_of_own_failure(self)
        return self

    def _failure(self) -> Failure | None:
        if self.active_units_.any():
            return super()._failure()
        width = len(self.active_units_)
        return Failure(
            "posterior_collapse",
            f"none of the {width} units of the code is active: they say nothing of the rows "
            "(posterior collapse); lower kl_weight, set kl_warmup or free_bits, or train longer",
            {"active_units": 0, "n_components": width},
        )

    def _loss(
        self,
        network: Network,
        x: Tensor,
        seen: Tensor,
        generator: torch.Generator,
        *,
        drawn: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Loss:
        trace = network.encoder.trace(seen, weights)
        mean, log_variance = moments(trace)
        shape = (self.n_importance_samples, *mean.shape)
        noise = torch.randn(shape, generator=generator, device=mean.device)
        codes = variational.draw_codes(mean, log_variance, noise)
        drawn = seen != x if drawn is None else drawn
        restored = self._reconstruction_loss(network, codes, x, drawn)
        penalties = self._penalties(network, trace, generator)
        if self.n_importance_samples == 1:
            return {"reconstruction": trace.mean(restored), **penalties}
        ratio = variational.log_prior_ratio(codes, log_variance, noise)
        importance = self._kl_factor(network) * ratio - restored
        bound = trace.mean(importance.logsumexp(0) - math.log(len(importance)))
        return {"importance_weighted_bound": -bound, **penalties}

    def _reconstruction_terms(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        return -self._likelihood().log_densities(network.decoder, code, x)

    def _reconstruction_sums(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        return -self._likelihood().log_density(network.decoder, code, x)

    def _penalties(self, network: Network, trace: Trace, generator: torch.Generator) -> Loss:
        penalties = super()._penalties(network, trace, generator)
        if self.n_importance_samples > 1:
            return penalties  # the divergence is inside the bound
        divergences = variational.gaussian_kl(*moments(trace))
        divergence = variational.free_bits(divergences, self.free_bits, trace.weights)
        return {**penalties, "divergence": self._kl_factor(network) * divergence}

    def _terms_of_all(self, network: Network, rows: NDArray[Any] | LazyRows) -> dict[str, float]:
        terms = super()._terms_of_all(network, rows)
        if self.n_importance_samples > 1 or self.free_bits == 0:
            return terms
        total = np.zeros(self.spec_.code_width)
        with torch.inference_mode():
            for start in range(0, len(rows), _ROWS_FOR_VARIANCE):
                block = as_tensor(np.asarray(rows[start : start + _ROWS_FOR_VARIANCE]))
                x = self.scaling_(block.to(next(network.parameters()).device))
                divergences = variational.gaussian_kl(*moments(network.encoder.trace(x)))
                total += divergences.cpu().double().sum(0).numpy()
        divergence = np.maximum(total / len(rows), self.free_bits).sum()
        return {**terms, "divergence": self.kl_weight * float(divergence)}

    def _kl_factor(self, network: Network) -> Tensor | float:
        """Return the divergence's weight at this step, and count the step."""
        steps = getattr(network, "steps", None)
        # Held-out rows are measured with the full weight, or the first epochs would seem best.
        if steps is None or not network.training:
            return self.kl_weight
        share: Tensor = steps / self._warmup_steps + float(self.warmup_done_)
        steps += 1
        return share.clamp(max=1) * self.kl_weight

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

    def _prepare(
        self,
        X: NDArray[Any],
        held_out: NDArray[np.int64] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> Start:
        start = super()._prepare(X, held_out, weights)
        automatic = "bernoulli" if self.loss_ == "cross_entropy" else "gaussian"
        self.loss_ = automatic if self.likelihood == "auto" else self.likelihood
        self.spec_ = replace(self.spec_, output=self._choose_output())
        some = np.arange(0, len(X), -(-len(X) // _ROWS_FOR_VARIANCE))
        some = some if held_out is None else np.setdiff1d(some, held_out)
        rows = self.scaling_(as_tensor(X[some])).flatten(1)
        own = torch.ones(len(rows)) if weights is None else torch.from_numpy(weights[some]).float()
        own = own / own.sum()
        # All that the decoder, which starts at the mean row, leaves unexplained.
        self._first_variance = float((own @ (rows - own @ rows).square()).mean())
        # At PCA it is what the axes leave.
        if start.axes is not None:
            self._first_variance = start.axes.rest
        self.warmup_done_ = np.float64(0)
        return start

    def _choose_output(self) -> str:
        output = self.spec_.output
        if self.loss_ == "gaussian":
            if self.variance != "learned":
                return output
            return with_variance(output)
        if not self.scaling_.bounded:
            raise ParameterError(
                f"likelihood={self.loss_!r} needs data between 0 and 1, but with "
                f"scaling={self.scaling!r} data from {self.scaling_.low:g} to "
                f"{self.scaling_.high:g} reach beyond; use scaling='unit', or "
                "likelihood='gaussian'"
            )
        if self.output not in ("auto", "sigmoid"):
            raise ParameterError(
                f"likelihood={self.loss_!r} does not go with output={self.output!r}; use "
                "output='auto'"
            )
        return "sigmoid" if self.loss_ == "bernoulli" else "continuous_bernoulli"

    def _extend(self, network: Network, settings: TrainSettings, n_rows: int) -> None:
        super()._extend(network, settings, n_rows)
        epochs = self.kl_warmup if self.kl_warmup >= 1 else self.kl_warmup * settings.max_epochs
        self._warmup_steps = round(epochs * -(-n_rows // settings.batch_size))
        if self._warmup_steps:
            # A buffer, so that a checkpoint keeps it, and the best weights have theirs.
            network.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        else:
            self.warmup_done_ = np.float64(1)
        # There only where the network is new.
        first_variance = self.__dict__.pop("_first_variance", None)
        if first_variance is not None and isinstance(network.decoder.output, Gaussian):
            first = math.log(max(first_variance, LEAST_VARIANCE))
            torch.nn.init.constant_(network.decoder.output.log_variance, first)

    def _settle(self, rows: NDArray[Any] | LazyRows, weights: NDArray[np.float64] | None) -> None:
        super()._settle(rows, weights)
        # Another penalty may have a say in how wide codes are.
        if self.n_importance_samples == 1 and set(self.history_.columns) <= _OWN_TERMS:
            settle(Network(self.encoder_, self.decoder_), self.scaling_, rows, weights)
        self._find_active_units(rows)

    def _keep(
        self,
        network: Network,
        history: History,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        super()._keep(network, history, optimizer)
        steps = getattr(network, "steps", None)
        if steps is not None:
            done = self.warmup_done_ + float(steps) / self._warmup_steps
            self.warmup_done_ = np.float64(min(done, 1))

    def _find_active_units(self, X: NDArray[Any] | LazyRows) -> None:
        """Find the units whose mean follows the rows."""
        means, _ = measure_codes(self.encoder_, self.scaling_, X)
        self.active_units_ = (means.var(dim=0, correction=0) > ACTIVE).cpu().numpy()
