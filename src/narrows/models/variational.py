"""The variational autoencoder: a density of the data, by way of a normal distribution of codes.

Kingma & Welling (2014), "Auto-encoding variational Bayes"; Burda, Grosse & Salakhutdinov (2016),
"Importance weighted autoencoders", for the tighter bound, the log likelihood and active units.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from narrows.data.arrays import as_tensor
from narrows.data.lazy_rows import LazyRows
from narrows.errors import DataError, ParameterError
from narrows.losses import Loss, variational
from narrows.models.base import BaseAutoencoder, Objective, Plan
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
from narrows.models.failures import Failure, tell_failure
from narrows.models.validation import check_choice, check_number
from narrows.networks import Network, Start, Trace
from narrows.networks.activations import Gaussian, with_variance

# What the history of this model alone has, beside held-out figures.
_OWN_TERMS = {"epoch", "loss", "reconstruction", "divergence", "learning_rate", "seconds"}
_OWN_TERMS |= {f"validation_{name}" for name in ("loss", "reconstruction", "divergence")}
# Rows looked at to start the variance.
_ROWS_FOR_VARIANCE = 1_000


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
            tell_failure(self._failure())
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

    def terms(
        self,
        objective: Objective,
        trace: Trace,
        x: Tensor,
        drawn: Tensor | None,
        generator: torch.Generator,
    ) -> Loss:
        """Return the evidence lower bound's two terms, or the importance-weighted bound."""
        mean, log_variance = moments(trace)
        shape = (self.n_importance_samples, *mean.shape)
        noise = torch.randn(shape, generator=generator, device=mean.device)
        codes = variational.draw_codes(mean, log_variance, noise)
        restored = self._reconstruction_loss(objective.network, codes, x, drawn)
        penalties = self.penalties(objective, trace, generator)
        if self.n_importance_samples == 1:
            return {"reconstruction": trace.mean(restored), **penalties}
        ratio = variational.log_prior_ratio(codes, log_variance, noise)
        importance = self._kl_factor(objective) * ratio - restored
        bound = trace.mean(importance.logsumexp(0) - math.log(len(importance)))
        return {"importance_weighted_bound": -bound, **penalties}

    def reconstruction_terms(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        """Return minus the log likelihood of each value."""
        return -self._likelihood().log_densities(network.decoder, code, x)

    def _reconstruction_sums(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        return -self._likelihood().log_density(network.decoder, code, x)

    def penalties(self, objective: Objective, trace: Trace, generator: torch.Generator) -> Loss:
        """Return, beside those of ``super()``, the weighted divergence from the prior."""
        penalties = super().penalties(objective, trace, generator)
        if self.n_importance_samples > 1:
            return penalties  # the divergence is inside the bound
        divergences = variational.gaussian_kl(*moments(trace))
        divergence = variational.free_bits(divergences, self.free_bits, trace.weights)
        return {**penalties, "divergence": self._kl_factor(objective) * divergence}

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

    def _kl_factor(self, objective: Objective) -> Tensor | float:
        """Return the divergence's weight at this step, and count the step."""
        n_steps = self._warmup_steps(objective)
        # Held-out rows are measured with the full weight, or the first epochs would seem best.
        if not n_steps or not objective.network.training:
            return self.kl_weight
        steps = cast("Tensor", objective.network.steps)
        share = steps / n_steps + float(self.warmup_done_)
        steps += 1
        return share.clamp(max=1) * self.kl_weight

    def check_parameters(self) -> None:
        """Check, beside what ``super()`` checks, likelihood and divergence."""
        super().check_parameters()
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

    def _plan(
        self,
        X: NDArray[Any],
        held_out: NDArray[np.int64] | None = None,
        weights: NDArray[np.float64] | None = None,
        remember: Callable[[NDArray[Any], NDArray[np.bool_]], None] | None = None,
    ) -> Plan:
        plan = super()._plan(X, held_out, weights, remember)
        automatic = "bernoulli" if plan.loss == "cross_entropy" else "gaussian"
        likelihood = automatic if self.likelihood == "auto" else self.likelihood
        output = self._choose_output(likelihood, plan)
        some = np.arange(0, len(X), -(-len(X) // _ROWS_FOR_VARIANCE))
        some = some if held_out is None else np.setdiff1d(some, held_out)
        rows = plan.scaling(as_tensor(X[some])).flatten(1)
        own = torch.ones(len(rows)) if weights is None else torch.from_numpy(weights[some]).float()
        own = own / own.sum()
        # A decoder that starts at PCA leaves what the axes leave, any other all but the mean row.
        unexplained = (
            float((own @ (rows - own @ rows).square()).mean())
            if plan.start.axes is None
            else plan.start.axes.rest
        )
        return plan._replace(
            loss=likelihood,
            spec=replace(plan.spec, output=output),
            start=replace(plan.start, unexplained=unexplained),
        )

    def _choose_output(self, likelihood: str, plan: Plan) -> str:
        output = plan.spec.output
        if likelihood == "gaussian":
            return with_variance(output) if self.variance == "learned" else output
        if not plan.scaling.bounded:
            raise ParameterError(
                f"likelihood={likelihood!r} needs data between 0 and 1, but with "
                f"scaling={self.scaling!r} data from {plan.scaling.low:g} to "
                f"{plan.scaling.high:g} reach beyond; use scaling='unit', or "
                "likelihood='gaussian'"
            )
        if self.output not in ("auto", "sigmoid"):
            raise ParameterError(
                f"likelihood={likelihood!r} does not go with output={self.output!r}; use "
                "output='auto'"
            )
        return "sigmoid" if likelihood == "bernoulli" else "continuous_bernoulli"

    def _adopt(self, X: NDArray[Any], plan: Plan) -> Start:
        self.warmup_done_ = np.float64(self.kl_warmup == 0)
        return super()._adopt(X, plan)

    def _new_network(self, start: Start, seed: int) -> Network:
        network = super()._new_network(start, seed)
        if isinstance(network.decoder.output, Gaussian):
            first = math.log(max(start.unexplained, LEAST_VARIANCE))
            torch.nn.init.constant_(network.decoder.output.log_variance, first)
        return network

    def counters(self, objective: Objective) -> dict[str, Tensor | nn.Module]:
        """Return, beside those of ``super()``, the number of steps of the warm-up."""
        counters = super().counters(objective)
        if self._warmup_steps(objective):
            counters["steps"] = torch.zeros((), dtype=torch.int64)
        return counters

    def _take_counts(self, objective: Objective) -> None:
        super()._take_counts(objective)
        done = 1.0
        if n_steps := self._warmup_steps(objective):
            done = (
                float(self.warmup_done_) + float(cast("Tensor", objective.network.steps)) / n_steps
            )
        self.warmup_done_ = np.float64(min(done, 1))

    def _warmup_steps(self, objective: Objective) -> int:
        """Return the number of steps over which the divergence's weight rises."""
        settings, epochs = objective.settings, self.kl_warmup
        if epochs < 1:
            epochs *= settings.max_epochs
        return round(epochs * -(-objective.n_rows // settings.batch_size))

    def _settle(self, rows: NDArray[Any] | LazyRows, weights: NDArray[np.float64] | None) -> None:
        super()._settle(rows, weights)
        # Another penalty may have a say in how wide codes are.
        if self.n_importance_samples == 1 and set(self.history_.columns) <= _OWN_TERMS:
            settle(Network(self.encoder_, self.decoder_), self.scaling_, rows, weights)
        self._find_active_units(rows)

    def _find_active_units(self, X: NDArray[Any] | LazyRows) -> None:
        """Find the units whose mean follows the rows."""
        means, _ = measure_codes(self.encoder_, self.scaling_, X)
        self.active_units_ = (means.var(dim=0, correction=0) > ACTIVE).cpu().numpy()
