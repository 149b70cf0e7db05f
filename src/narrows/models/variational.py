"""The variational autoencoder: a probability density of the data with normally distributed codes.

Kingma & Welling (2014), "Auto-encoding variational Bayes"; Burda, Grosse & Salakhutdinov (2016),
"Importance weighted autoencoders", for the importance-weighted bound, the log likelihood and active
units.
"""

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from narrows import losses
from narrows.data.arrays import as_tensor
from narrows.data.batches import RowWeights
from narrows.data.lazy_rows import AnyRows
from narrows.errors import DataError, ParameterError
from narrows.losses import Loss
from narrows.models.base import BaseAutoencoder, Objective
from narrows.models.density import (
    ACTIVE,
    LEAST_VARIANCE,
    LIKELIHOODS,
    Density,
    measure_codes,
    moments,
    standardise_codes,
    within_unit,
)
from narrows.models.failures import Failure
from narrows.models.resolve import Plan
from narrows.models.runs import TrainingData
from narrows.models.validation import check_choice, check_number
from narrows.networks import Network, Start, Trace
from narrows.networks.activations import Gaussian, with_variance

# The columns that the history of this model has if no other model adds a penalty.
_OWN_TERMS = {"epoch", "loss", "reconstruction", "divergence", "learning_rate", "seconds"}
_OWN_TERMS |= {f"validation_{name}" for name in ("loss", "reconstruction", "divergence")}
# The largest number of rows from which the initial variance is computed.
_ROWS_FOR_VARIANCE = 1_000


class VariationalAutoencoder(Density, BaseAutoencoder):
    """A network that learns the probability density of the rows, and can sample new rows.

    The encoder maps each row to a normal distribution of codes; ``transform`` returns its mean, and
    ``reconstruct`` decodes the mean.

    Parameters
    ----------
    likelihood : {"auto", "bernoulli", "continuous_bernoulli", "gaussian"}, default="auto"
        The distribution of a row, conditional on its code. "bernoulli" is for zeros and ones, and
        is no density of values between them. "continuous_bernoulli" is a density on [0, 1]. "auto"
        takes "bernoulli" for data of zeros and ones only, "gaussian" otherwise.
    variance : float or "learned", default="learned"
        The variance of the Gaussian likelihood, in scaled units, the same for all features.
    kl_weight : float, default=1
        Weight of the divergence of codes from N(0, I): the beta of beta-VAE.
    kl_warmup : float, default=0
        The time over which that weight rises linearly from 0: below 1 a share of all steps, from 1
        on a number of epochs. A call of ``partial_fit`` counts as an epoch.
    free_bits : float, default=0
        The mean divergence, in nats, up to which a unit of the code is not penalised.
    n_importance_samples : int, default=1
        Codes drawn for each row and step; from 2 on, training maximises the importance-weighted
        bound in place of the evidence lower bound.
    {parameters}

    Attributes
    ----------
    active_units_ : ndarray of shape (K,), bool
        Whether the variance over the training rows of the mean of each unit exceeds 0.01.
        Inactive units carry no information on the rows; ``narrows info`` shows their number.
        Fitting warns if no unit is active.
    warmup_done_ : float
        Share of the warm-up that is complete, from 0 to 1. It is saved with the model, and
        ``partial_fit`` continues from it.
    {attributes}

    Notes
    -----
    For data in [0, 1] that are not binary, "auto" takes the Gaussian with a learned variance:
    the continuous Bernoulli has one parameter for both mean and spread, so that it is almost
    uniform for grey, whatever the network has learned; and its density is unbounded at 0 and 1. A
    learned variance also balances reconstruction and divergence, for which ``kl_weight`` would
    otherwise have to be tuned.

    Weight decay and early stopping leave the distribution of all codes together wider or narrower
    than N(0, I), from which :meth:`sample` draws. ``fit`` therefore ends with a shift and a scale
    of each unit that give the codes mean 0 and variance 1. They are applied to the encoder's last
    layer, and their inverse to the decoder's first layer: reconstructions stay the same, and the
    evidence lower bound, averaged over the training rows, can only rise. The step is omitted where
    those layers are not linear; with a ``code_activation``; with penalties of other models; and
    with ``n_importance_samples`` above 1, whose bound may fall. ``partial_fit`` omits it, so that
    codes stay comparable. The figures in ``history_`` were measured before this step;
    :meth:`loss_terms` measures the final model.

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

    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, fitting: bool) -> TrainingData:
        data = super()._check_data(X, y, sample_weight, fitting=fitting)
        if not fitting and self.loss_ != "gaussian":
            rows = self.scaling_(as_tensor(np.asarray(data.X)))
            if not bool(within_unit(rows).all()):
                raise DataError(
                    f"scaled rows reach from {float(rows.min()):.3g} to {float(rows.max()):.3g}; "
                    f"the {self.loss_} likelihood needs them between 0 and 1, as the first ones "
                    "were; leave such rows out, or fit with likelihood='gaussian'"
                )
        return data

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
        """Return the two terms of the evidence lower bound, or the importance-weighted bound."""
        mean, log_variance = moments(trace)
        shape = (self.n_importance_samples, *mean.shape)
        noise = torch.randn(shape, generator=generator, device=mean.device)
        codes = losses.draw_codes(mean, log_variance, noise)
        restored = self._reconstruction_loss(objective.network, codes, x, drawn)
        penalties = self.penalties(objective, trace, generator)
        if self.n_importance_samples == 1:
            return {"reconstruction": trace.mean(restored), **penalties}
        ratio = losses.log_prior_ratio(codes, log_variance, noise)
        importance = self._kl_factor(objective) * ratio - restored
        bound = trace.mean(importance.logsumexp(0) - math.log(len(importance)))
        return {"importance_weighted_bound": -bound, **penalties}

    def reconstruction_terms(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        """Return minus the log likelihood of each value."""
        return -self._likelihood().log_densities(network.decoder, code, x)

    def _reconstruction_sums(self, network: Network, code: Tensor, x: Tensor) -> Tensor:
        return -self._likelihood().log_density(network.decoder, code, x)

    def penalties(self, objective: Objective, trace: Trace, generator: torch.Generator) -> Loss:
        """Add the weighted divergence from the prior to the penalties of ``super()``."""
        penalties = super().penalties(objective, trace, generator)
        if self.n_importance_samples > 1:
            return penalties  # the bound includes the divergence
        divergences = losses.gaussian_kl(*moments(trace))
        divergence = losses.free_bits(divergences, self.free_bits, trace.weights)
        return {**penalties, "divergence": self._kl_factor(objective) * divergence}

    def _terms_of_all(self, network: Network, rows: AnyRows) -> dict[str, float]:
        terms = super()._terms_of_all(network, rows)
        if self.n_importance_samples > 1 or self.free_bits == 0:
            return terms
        total = np.zeros(self.spec_.code_width)
        for trace in self._traces(network, rows, _ROWS_FOR_VARIANCE):
            divergences = losses.gaussian_kl(*moments(trace))
            total += divergences.cpu().double().sum(0).numpy()
        divergence = np.maximum(total / len(rows), self.free_bits).sum()
        return {**terms, "divergence": self.kl_weight * float(divergence)}

    def _kl_factor(self, objective: Objective) -> Tensor | float:
        """Return the weight of the divergence at this step, and count the step."""
        n_steps = self._warmup_steps(objective)
        # Held-out rows get the full weight; otherwise the first epochs would seem best.
        if not n_steps or not objective.network.training:
            return self.kl_weight
        steps = cast("Tensor", objective.network.steps)
        share = steps / n_steps + float(self.warmup_done_)
        steps += 1
        return share.clamp(max=1) * self.kl_weight

    def check_parameters(self) -> None:
        """Extend the checks of ``super()`` by likelihood and divergence."""
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

    def _plan(self, X: AnyRows, held_out: NDArray[np.int64] | None, weights: RowWeights) -> Plan:
        plan = super()._plan(X, held_out, weights)
        automatic = "bernoulli" if plan.loss == "cross_entropy" else "gaussian"
        likelihood = automatic if self.likelihood == "auto" else self.likelihood
        output = self._choose_output(likelihood, plan)
        if plan.start.axes is not None:  # the initial network is PCA
            unexplained = plan.start.axes.residual_variance
        else:  # the initial network gives the mean row
            sample = np.arange(0, len(X), -(-len(X) // _ROWS_FOR_VARIANCE))
            sample = sample if held_out is None else np.setdiff1d(sample, held_out)
            rows = plan.scaling(as_tensor(X[sample])).flatten(1)
            shares = torch.ones(len(rows))
            if weights is not None:
                shares = torch.from_numpy(weights[sample]).float()
            shares = shares / shares.sum()
            unexplained = float((shares @ (rows - shares @ rows).square()).mean())
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

    def _begin(
        self, X: AnyRows, held_out: NDArray[np.int64] | None = None, weights: RowWeights = None
    ) -> Start:
        self.warmup_done_ = np.float64(self.kl_warmup == 0)
        return super()._begin(X, held_out, weights)

    def _new_network(self, start: Start, seed: int) -> Network:
        network = super()._new_network(start, seed)
        if isinstance(network.decoder.output, Gaussian):
            first = math.log(max(start.unexplained, LEAST_VARIANCE))
            torch.nn.init.constant_(network.decoder.output.log_variance, first)
        return network

    def counters(self, objective: Objective) -> dict[str, Tensor | nn.Module]:
        """Add the number of warm-up steps done to the counters of ``super()``."""
        counters = super().counters(objective)
        if self._warmup_steps(objective):
            counters["steps"] = torch.zeros((), dtype=torch.int64)
        return counters

    def _warmup_steps(self, objective: Objective) -> int:
        """Return the number of steps over which the weight of the divergence rises."""
        settings, epochs = objective.settings, self.kl_warmup
        if epochs < 1:
            epochs *= settings.max_epochs
        return round(epochs * -(-objective.n_rows // settings.batch_size))

    def _finish(
        self, objective: Objective, rows: AnyRows, weights: RowWeights, *, online: bool
    ) -> None:
        super()._finish(objective, rows, weights, online=online)
        done = 1.0
        if n_steps := self._warmup_steps(objective):
            steps = cast("Tensor", objective.network.steps)
            done = float(self.warmup_done_) + float(steps) / n_steps
        self.warmup_done_ = np.float64(min(done, 1))
        # Another penalty may determine how widely the codes are distributed.
        is_alone = self.n_importance_samples == 1 and set(self.history_.columns) <= _OWN_TERMS
        if is_alone and not online:
            standardise_codes(Network(self.encoder_, self.decoder_), self.scaling_, rows, weights)
        if not online:
            self._order_codes(rows, weights)
        means, _ = measure_codes(self.encoder_, self.scaling_, rows)
        self.active_units_ = (means.var(dim=0, correction=0) > ACTIVE).cpu().numpy()
