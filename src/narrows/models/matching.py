"""The matching autoencoder: distorted versions of a row have the same code, other rows others.

Chen, Kornblith, Norouzi & Hinton (2020), "A simple framework for contrastive learning of visual
representations", eq. 1: the contrast of codes, here beside the reconstruction of the row as it was
(Vincent et al. 2010, as in :mod:`narrows.models.denoising`).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from narrows import losses
from narrows.corruption import Corruption
from narrows.data.arrays import as_tensor
from narrows.data.batches import RowWeights, evenly_spread
from narrows.data.lazy_rows import AnyRows, strided
from narrows.errors import ParameterError, warn
from narrows.losses import Loss
from narrows.models.base import BaseAutoencoder, Objective
from narrows.models.damage import AUTO
from narrows.models.mirroring import mirrored_are_alike
from narrows.models.parameters import Normalization
from narrows.models.resolve import Plan
from narrows.models.runs import Run
from narrows.models.validation import check_choice, check_number
from narrows.networks import Metric, Network, NetworkSpec, Trace
from narrows.networks.pca_residual import are_codes_linear, transform_codes
from narrows.texts import is_word
from narrows.training.loop import TrainSettings

# Distortions of pictures, and how far they go: crops down to 0.3 of the area, and the rest of what
# copies undergo.
_OF_PICTURES = {
    "crop": 0.45,
    "mirror": 0.5,
    "rotation": 0.03,
    "border": 0.1,
    "brightness": 0.4,
    "contrast": 0.4,
    "colors": 0.15,
    "grey": 0.2,
    "blur": 0.03,
    "gaussian": 0.03,
}
# Damage to rows that are no pictures.
_OF_ROWS = {"gaussian": 0.1, "masking": 0.2}
# Rows of a step, and epochs at the least and at the most.
_BATCH, _FEWEST_EPOCHS, _MOST_EPOCHS = 256, 5, 200
# Steps for pictures of at most so many places, and at the least for larger ones, which take longer.
_STEPS, _PLACES, _FEWEST_STEPS = 1_000, 32 * 32, 400
# Rows by which distances are judged, rows that whitening is learned from, and rows at a time.
_JUDGED, _ROWS_WHITENED, _BLOCK = 1_000, 10_000, 250
# Powers of variances that codes are divided by, and distances, the first of equals preferred.
_POWERS: tuple[float, ...] = (0.25, 0.0, 0.5)
_METRICS: tuple[Metric, ...] = ("cosine", "euclidean")
# Variances below this share of the largest one are taken for it.
_LEAST_SHARE = 1e-4


class MatchingAutoencoder(BaseAutoencoder):
    """A network whose codes tell which pictures are alike, for libraries.

    Every row of a batch is distorted twice. The codes of its two versions are to agree, and to
    differ from those of all other rows; the decoder restores the row as it was.

    Parameters
    ----------
    contrast_weight : float, default=0.1
        Weight of the contrast of codes (:func:`narrows.losses.contrast`), for each value of a row,
        beside the squared error summed over them.
    temperature : float, default=0.1
        What cosines between codes are divided by: the smaller, the more the most alike of the other
        rows count.
    whitening : float or "auto", default=0.25
        The power of their variances by which codes are divided along their principal axes after
        training: 0 for codes as they are, 0.5 for codes of the same variance in all directions.
        "auto" chooses 0, 0.25 or 0.5. 0.25 finds more pictures of the same labels than 0 does
        (`python -m benchmarks.encoders`, `python -m benchmarks.matching`).
    metric : {"auto", "cosine", "euclidean"}, default="auto"
        How codes are compared by libraries: ``spec_.metric``.
    {parameters}

    Attributes
    ----------
    originals_first_ : float
        Of held-out rows (training rows where none are held out), at most 1 000, each distorted
        once, the share to whose code that of the original is nearest, by ``spec_.metric``.
    whitening_ : float
        The power of variances that codes were divided by.
    mirrors_ : bool
        Of pictures with ``corruption="auto"``: whether mirrored pictures are like those learned
        from, so that both are to have one code. PCA decides, by its errors on either.
    {attributes}

    Warns
    -----
    NarrowsWarning
        "not_whitened", of ``fit``, if codes cannot be whitened: where they are maps, have an
        activation, or share their layers' weights with the decoder.

    Notes
    -----
    ``corruption="auto"`` takes distortions of pictures: crops, mirroring where mirrored pictures
    are like the others, rotation, borders, brightness, contrast, colours, grey, blur and noise; for
    other rows, noise and masking, from which little is learned: among rows of tables, the codes of
    :class:`narrows.Autoencoder` find those of the same labels better.

    ``fit`` chooses the whitening and the metric that are left to "auto" by the mean reciprocal rank
    of the originals of held-out distorted rows. Whitening is folded into the layers beside the
    code, so that rows are restored as before; :meth:`loss_terms` and :meth:`partial_fit` see the
    whitened codes.

    Examples
    --------
    >>> from narrows import MatchingAutoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> model = MatchingAutoencoder(16, max_epochs=5, random_state=0).fit(digits.X_train)
    >>> model.spec_.metric
    'cosine'
    """

    _findings: ClassVar[tuple[str, ...]] = ("originals_first_", "whitening_", "mirrors_")
    _smallest_convolved: ClassVar[int] = 16

    corruption: str | Corruption | Sequence[str | Corruption] | None = "auto"
    normalization: Normalization = "layer"
    contrast_weight: float = 0.1
    temperature: float = 0.1
    whitening: float | Literal["auto"] = 0.25
    metric: Metric | Literal["auto"] = "auto"

    def check_parameters(self) -> None:
        """Extend the checks of ``super()`` by the contrast's weight and temperature."""
        super().check_parameters()
        check_number("contrast_weight", self.contrast_weight, low=0)
        check_number("temperature", self.temperature, low=0, open_low=True)
        check_number("whitening", self.whitening, low=0, high=0.5, words=("auto",))
        check_choice("metric", self.metric, ("auto", *_METRICS))
        if self.corruption is None:
            raise ParameterError(
                "corruption=None leaves no two versions of a row to be found alike; give "
                "distortions, such as ['crop', 'mirror'], or leave it at 'auto'"
            )

    def terms(
        self,
        objective: Objective,
        trace: Trace,
        x: Tensor,
        drawn: Tensor | None,
        generator: torch.Generator,
    ) -> Loss:
        """Add the contrast between two distorted versions of each row to the terms of ``super()``.

        ``trace`` is of the first version.
        """
        terms = super().terms(objective, trace, x, drawn, generator)
        second = objective.network.encoder(objective.damage(x, generator))
        contrast = losses.contrast(trace.code, second, self.temperature)
        weight = self.contrast_weight * math.prod(self.sample_shape_)
        return {**terms, "contrast": weight * trace.mean(contrast)}

    @property
    def _metrics(self) -> tuple[Metric, ...]:
        return _METRICS if self.metric == "auto" else (self.metric,)

    def _default_corruption(self, spec: NetworkSpec) -> dict[str, float]:
        if not spec.shows_pictures:
            return _OF_ROWS
        mirrors = getattr(self, "mirrors_", True)
        return {name: own for name, own in _OF_PICTURES.items() if mirrors or name != "mirror"}

    @property
    def _why_corruption(self) -> str:
        if not (self.spec_.shows_pictures or self.spec_.signal):
            return "a table: Autoencoder's codes match better"
        return "" if getattr(self, "mirrors_", True) else "mirrored pictures are unlike these"

    def _plan(self, X: AnyRows, held_out: NDArray[np.int64] | None, weights: RowWeights) -> Plan:
        plan = super()._plan(X, held_out, weights)
        self.__dict__.pop("mirrors_", None)
        if plan.spec.shows_pictures and is_word(self.corruption, AUTO):
            self.mirrors_ = np.bool_(mirrored_are_alike(X, held_out))
        return plan._replace(spec=replace(plan.spec, metric=self._metrics[0]))

    def _settings(self, n_rows: int, seed: int) -> TrainSettings:
        """Take larger batches than other models, in which more rows are told apart."""
        settings = super()._settings(n_rows, seed)
        if isinstance(self.batch_size, str):
            settings = replace(settings, batch_size=min(n_rows, _BATCH))
        if isinstance(self.max_epochs, str):
            spec = self.spec_
            places = math.prod(spec.sample_shape[: spec.definition.n_axes(spec.sample_shape)])
            steps = min(_STEPS, max(_FEWEST_STEPS, _STEPS * _PLACES // places))
            epochs = -(-steps // -(-n_rows // settings.batch_size))
            epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, epochs))
            settings = replace(settings, max_epochs=epochs)
        return settings

    @torch.inference_mode()
    def _settle(self, network: Network, objective: Objective, run: Run) -> None:
        """Whiten codes, and choose the metric by which distorted rows find their originals."""
        super()._settle(network, objective, run)
        network.eval()
        some = strided(run.learned, _ROWS_WHITENED)
        codes = torch.cat([trace.code for trace in self._traces(network, some, _BLOCK)]).double()
        weights = run.learned_weights
        weights = None if weights is None else strided(weights, _ROWS_WHITENED)
        numbers = run.held_out if len(run.held_out) else run.rows
        judged = run.data.X[numbers[evenly_spread(len(numbers), _JUDGED)]]
        originals, distorted = self._encode_both(network, objective, judged, run.seed)
        powers = _POWERS if isinstance(self.whitening, str) else (float(self.whitening),)
        if not are_codes_linear(network):
            if any(powers):
                warn(
                    "codes are not whitened, which takes a linear code between linear layers of "
                    "their own: code_activation='identity', untied weights, and no map as code; "
                    "change these, or set whitening to 0 (--whitening 0)",
                    kind="not_whitened",
                    stacklevel=6,
                )
            powers = (0.0,)
        judgements: list[_Judged] = []
        for power in powers:
            whiten = _whitening(codes, power, weights)
            pair = whiten(originals), whiten(distorted)
            judgements += [
                _Judged(*_ranks_of_originals(*pair, metric), power, metric)
                for metric in self._metrics
            ]
        best = max(judgements, key=lambda judged: judged.reciprocal_rank)  # of equals, the first
        if best.power:
            transform_codes(network, *_whitening(codes, best.power, weights))
        self.spec_ = replace(self.spec_, metric=best.metric)
        self.originals_first_, self.whitening_ = np.float64(best.first), np.float64(best.power)

    def _encode_both(
        self, network: Network, objective: Objective, rows: NDArray[Any], seed: int
    ) -> tuple[Tensor, Tensor]:
        """Encode rows as they are, and distorted once."""
        device = next(network.parameters()).device
        generator = torch.Generator(device).manual_seed(seed)
        originals, distorted = [], []
        for start in range(0, len(rows), _BLOCK):
            x = self.scaling_(as_tensor(np.asarray(rows[start : start + _BLOCK])).to(device))
            originals.append(network.encoder(x))
            distorted.append(network.encoder(objective.damage(x, generator)))
        return torch.cat(originals), torch.cat(distorted)


class _Whitening(NamedTuple):
    """Codes less a shift (K,), times a matrix (K, K)."""

    shift: Tensor
    matrix: Tensor

    def __call__(self, codes: Tensor) -> Tensor:
        return (codes.double() - self.shift) @ self.matrix.t()


class _Judged(NamedTuple):
    """How well distorted rows find their originals by codes whitened and compared in one way."""

    reciprocal_rank: float
    first: float
    power: float
    metric: Metric


def _whitening(codes: Tensor, power: float, weights: RowWeights) -> _Whitening:
    """Divide codes (n, K), along their principal axes, by a power of their variances."""
    counts = codes.new_ones(len(codes)) if weights is None else torch.from_numpy(weights).to(codes)
    shares = (counts / counts.sum())[:, None]
    mean = (shares * codes).sum(0)
    if not power:
        return _Whitening(torch.zeros_like(mean), torch.eye(len(mean)).to(codes))
    apart = codes - mean
    variances, directions = torch.linalg.eigh(apart.t() @ (shares * apart))
    variances, directions = variances.flip(0), directions.flip(1)
    least = _LEAST_SHARE * max(float(variances[0]), torch.finfo(torch.float32).tiny)
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    scale = variances.clamp(min=least) ** -power
    return _Whitening(mean, scale[:, None] * (directions * signs).t())


def _ranks_of_originals(
    originals: Tensor, distorted: Tensor, metric: Metric
) -> tuple[float, float]:
    """Return the mean reciprocal rank of the originals of distorted rows (n, K) among all.

    Beside it, the share that comes first.
    """
    if metric == "cosine":
        originals, distorted = (
            functional.normalize(codes, dim=1) for codes in (originals, distorted)
        )
    distances = torch.cdist(distorted, originals)
    places = 1 + (distances < distances.diagonal()[:, None]).sum(1)
    return float((1 / places).mean()), float((places == 1).double().mean())
