"""Imputation: values for the gaps of a table, from a Gaussian and a network that corrects it.

A gap first gets its expectation under a Gaussian (:mod:`narrows.models.low_rank_gaussian`), given
the known cells of its row. The network learns to restore whole columns that are hidden in rows
which the Gaussian has imputed; its loss counts hidden cells alone, and none that is a gap. The
weights, between 0 and 1, of both in a column are measured on cells that are hidden on purpose: with
weights of 0, gaps get the mean, or the most frequent category.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from narrows.data.column_encoder import MARK, ColumnEncoder
from narrows.errors import NarrowsWarning, warn
from narrows.models import low_rank_gaussian
from narrows.models.denoising import DenoisingAutoencoder
from narrows.models.learned_rows import HELD_OUT
from narrows.models.low_rank_gaussian import LowRankGaussian
from narrows.training.progress import unobserved

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HIDDEN = 0.2
"""The share of the known cells that is hidden to be imputed, for measuring and for training."""

_ROWS, _ROWS_TO_CHOOSE, _FOLDS = 5_000, 800, 4  # rows at most, of these to choose, and folds
_MOST_DRAWS, _CELLS = 20, 40_000  # draws of hidden cells, at most, and cells of all draws
_MOST_FOR_NETWORK = 500  # features
_CODE, _HIDDEN_UNITS = 64, 128  # widths of the network; its code is not a bottleneck
_ROUNDING, _LEAST_STEP = 1e-12, 1e-3  # of numbers that were scaled and scaled back
_PRIOR = 10.0  # the weight, in cells, of the weight of all columns in a column's own


@dataclass(frozen=True)
class Imputer:
    """The imputation of encoded rows.

    Attributes
    ----------
    encoder : ColumnEncoder
        What the features of the rows are.
    gaussian : LowRankGaussian
    gaussian_weights : ndarray of shape (C,)
        The weight of the Gaussian's expectation against the mean in each column, 0 to 1.
    network_weights : ndarray of shape (C,)
        The weight of the network's correction in each column, 0 to 1.
    signs : ndarray of shape (C,)
        1 for columns of numbers that were all at least 0, -1 for at most 0, otherwise 0.
    whole : ndarray of shape (C,)
        1 for columns of numbers that were all whole, otherwise 0.
    errors : dict of str to ndarray of shape (C,)
        The mean squared error of hidden cells, over that of the mean, of "gaussian" and "imputed".
    network : DenoisingAutoencoder or None
        The network; None where the rows learned from had no gaps.
    """

    encoder: ColumnEncoder
    gaussian: LowRankGaussian
    gaussian_weights: Floats
    network_weights: Floats
    signs: Floats
    whole: Floats
    errors: dict[str, Floats]
    network: DenoisingAutoencoder | None = None

    @property
    def is_interrupted(self) -> bool:
        """Whether the training of the network was interrupted; :func:`resume` goes on."""
        return self.network is not None and self.network.history_.ended == "interrupted"

    def impute_by_gaussian(self, features: Floats) -> Floats:
        """Impute gaps, which are NaN, by the Gaussian alone."""
        known = ~np.isnan(features)
        if known.all():
            return features
        imputed = self.gaussian.impute(np.where(known, features, 0), known)
        weights = self.encoder.spread(self.gaussian_weights)
        return np.where(known, features, imputed * weights)

    def impute(self, features: Floats) -> Floats:
        """Impute gaps, which are NaN, by the Gaussian and the network."""
        base = self.impute_by_gaussian(features)
        known = ~np.isnan(features)
        if known.all() or not self.network_weights.any():
            return base
        weights = self.encoder.spread(self.network_weights)
        with_gaps = ~known.all(axis=1)
        imputed = base.copy()
        restored = self.restore_by_network(base[with_gaps], known[with_gaps])
        imputed[with_gaps] += weights * (restored - base[with_gaps])
        return np.where(known, features, imputed)

    def values(self, features: Floats) -> list[Any]:
        """Convert imputed features (n, P) to Arrow arrays, one for each column, of possible values.

        Values are whole where all that were learned from were, and keep the sign that all had.
        """
        arrays = []
        for i, column in enumerate(self.encoder.used):
            numbers = self.encoder.numbers_of(features, i)
            if self.signs[i]:
                # An offset is the place of zero.
                zero = -float(column.offset)
                numbers = (np.maximum if self.signs[i] > 0 else np.minimum)(numbers, zero)
            arrays.append(column.write(np.rint(numbers) if self.whole[i] else numbers))
        return arrays

    def restore_by_network(self, imputed: Floats, known: Bools) -> Floats:
        """Return what the network restores of features (n, P) that the Gaussian has imputed."""
        if self.network is None:
            return imputed
        restored = self.network.reconstruct(self.network_rows(imputed, known))
        return np.asarray(restored[:, : imputed.shape[1]], np.float64)

    def network_rows(self, imputed: Floats, known: Bools) -> Floats:
        """Return imputed features and marks of their gaps, (n, P + M)."""
        gaps = np.stack([~known[:, place.start] for place in self.encoder.slices], axis=1)
        return np.column_stack([imputed, MARK * gaps[:, self.encoder.marked]])

    def tensors(self) -> dict[str, Tensor]:
        """Return all but the network and the columns as tensors, to be saved."""
        arrays = {
            "mean": self.gaussian.mean, "loadings": self.gaussian.loadings,
            "noise_variance": self.gaussian.noise_variance,
            "gaussian_weights": self.gaussian_weights, "network_weights": self.network_weights,
            "signs": self.signs, "whole": self.whole,
            **{f"error_{name}": error for name, error in self.errors.items()},
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}

    @classmethod
    def restore(
        cls,
        tensors: Mapping[str, Tensor],
        encoder: ColumnEncoder,
        network: DenoisingAutoencoder | None,
    ) -> Self:
        """Build an imputer from the result of :meth:`tensors`, the columns and the network.

        Raises
        ------
        KeyError, ValueError
            If they do not fit together.
        """
        found = {name: tensor.numpy() for name, tensor in tensors.items()}
        mean, loadings, noise = (found[k] for k in ("mean", "loadings", "noise_variance"))
        n, c = encoder.n_features, len(encoder.used)
        if loadings.ndim != 2 or not len(loadings) == len(mean) == len(noise) == n:
            raise ValueError(f"the loadings of gaps are {loadings.shape} for {n} features")
        if mean.ndim != 1 or noise.ndim != 1 or not (noise > 0).all():
            raise ValueError("the Gaussian of gaps has no variances above 0")
        names = ("gaussian_weights", "network_weights", "signs", "whole")
        of_columns = {name: found[name] for name in names}
        if any(one.shape != (c,) for one in of_columns.values()):
            raise ValueError("the imputation does not fit the columns")
        if network is not None and network.sample_shape_ != (n + len(encoder.marked),):
            raise ValueError("the network of the imputation does not fit the columns")
        errors = {k.removeprefix("error_"): v for k, v in found.items() if k.startswith("error_")}
        gaussian = LowRankGaussian(mean, loadings, noise)
        return cls(encoder, gaussian, network=network, errors=errors, **of_columns)


class ColumnMasking:
    """A corruption that hides whole columns of rows, and imputes them by the Gaussian.

    Cells that are gaps are not drawn, so that a loss of the drawn values does not count them.

    Parameters
    ----------
    imputer : Imputer
        Whose Gaussian imputes.
    """

    def __init__(self, imputer: Imputer) -> None:
        encoder = imputer.encoder
        self._gaussian, self._n_columns = imputer.gaussian, len(encoder.used)
        self._weights = torch.from_numpy(encoder.spread(imputer.gaussian_weights))
        self._column_of = torch.from_numpy(encoder.spread(np.arange(self._n_columns)))
        self._marked, self._n_features = encoder.marked, encoder.n_features

    def __call__(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return damaged rows (B, P + M), and which values were hidden."""
        rows, marks = x[:, : self._n_features].double().cpu(), x[:, self._n_features :].clone()
        size = (len(x), self._n_columns)
        drawn = torch.rand(size, generator=generator, device=generator.device).cpu() < HIDDEN
        gaps = torch.zeros(size, dtype=torch.bool)
        gaps[:, self._marked] = (marks > 0).cpu()
        drawn &= ~gaps
        hidden, known = drawn[:, self._column_of], ~(drawn | gaps)[:, self._column_of]
        imputed = self._gaussian.conditional_mean(rows, known) * self._weights
        own = drawn[:, self._marked].to(x.device)
        marks[own] = MARK
        damaged = torch.cat([torch.where(hidden, imputed, rows).to(x), marks], dim=1)
        return damaged, torch.cat([hidden.to(x.device), torch.zeros_like(own)], dim=1)


def fit(encoder: ColumnEncoder, features: Floats, weights: Floats | None, seed: int) -> Imputer:
    """Learn to impute the gaps of rows like these.

    Parameters
    ----------
    encoder : ColumnEncoder
        What the features are.
    features : ndarray of shape (n, P)
        Features of mean zero; NaN are gaps.
    weights : ndarray of shape (n,) or None
        The weights of rows.
    seed : int
        The random seed.

    Returns
    -------
    Imputer
        With a network, if there are gaps. If its training was interrupted, its weights are 0.
    """
    # The systems of equations are small: several threads would take more time than one.
    with threadpool_limits(1):
        imputer = fit_gaussian(encoder, features, weights, np.random.default_rng(seed))
        if not np.isnan(features).any() or len(encoder.used) < 2:
            return imputer
        if encoder.n_features > _MOST_FOR_NETWORK:
            warn(
                f"gaps are filled by a Gaussian alone, as these {encoder.n_features} features are "
                f"more than the {_MOST_FOR_NETWORK} for which a network corrects it; leave out "
                "columns (drop=, --drop) for that",
                kind="imputation_without_network",
                stacklevel=5,
                features=encoder.n_features,
            )
            return imputer
        rows = _network_rows(imputer, features)
        network = DenoisingAutoencoder(
            max(_CODE, rows.shape[1]),
            hidden_layer_sizes=(_HIDDEN_UNITS,),
            architecture="dense",
            scaling="none",
            corruption=ColumnMasking(imputer),
            intact_weight=0.0,
            random_state=seed,
        )
        with _quietly():
            network.fit(rows, sample_weight=weights)
        return _measure_network(replace(imputer, network=network), features, rows, seed)


def resume(imputer: Imputer, features: Floats, weights: Floats | None) -> Imputer:
    """Go on with the training of a network that was interrupted; see :func:`fit`.

    Raises
    ------
    CheckpointError, DataError, FormatError
        As :meth:`narrows.Autoencoder.resume`.
    """
    network = imputer.network
    if network is None or not imputer.is_interrupted:
        return imputer
    rows = _network_rows(imputer, features)
    network = copy(network).set_params(corruption=ColumnMasking(imputer))
    with threadpool_limits(1), _quietly():
        network.resume(rows, sample_weight=weights)
    seed = cast("int", network.random_state)
    return _measure_network(replace(imputer, network=network), features, rows, seed)


@contextmanager
def _quietly() -> Iterator[None]:
    """Train a network of which users see nothing: its errors are measured, and an end is seen."""
    with unobserved(), warnings.catch_warnings():
        warnings.simplefilter("ignore", NarrowsWarning)
        warnings.filterwarnings("ignore", message="training was interrupted")
        yield


def _network_rows(imputer: Imputer, features: Floats) -> Floats:
    return imputer.network_rows(imputer.impute_by_gaussian(features), ~np.isnan(features))


def fit_gaussian(
    encoder: ColumnEncoder, features: Floats, weights: Floats | None, rng: np.random.Generator
) -> Imputer:
    """Learn to impute gaps without a network; see :func:`fit`."""
    rows = rng.permutation(len(features))[:_ROWS]
    some = features[rows]
    own = None if weights is None else weights[rows]
    few = slice(_ROWS_TO_CHOOSE)
    hidden = hide(encoder, some[few], rng)
    choice = low_rank_gaussian.choose(some[few], None if own is None else own[few], hidden)
    hidden = hide(encoder, some, rng)
    imputed, _ = low_rank_gaussian.impute_folds(some, own, hidden, choice, folds=_FOLDS)
    truth, imputed = np.where(hidden, some, 0), np.where(hidden, imputed, 0)
    shares = _weights(encoder, truth, imputed)
    shares *= _guesses_better(encoder, truth, imputed * encoder.spread(shares), 0 * truth)
    errors = {"gaussian": _relative(encoder, truth, imputed * encoder.spread(shares))}
    gaussian, _ = low_rank_gaussian.fit(some, own, choice)
    signs, whole = _limits(encoder, features)
    none = np.zeros(len(encoder.used))
    return Imputer(encoder, gaussian, shares, none, signs, whole, errors)


def _limits(encoder: ColumnEncoder, features: Floats) -> tuple[Floats, Floats]:
    """Return the sign that all numbers of each column have, and which columns are whole (C,)."""
    signs, whole = np.zeros((2, len(encoder.used)))
    for i, (column, place) in enumerate(zip(encoder.used, encoder.slices, strict=True)):
        if column.kind != "number":
            continue
        known = ~np.isnan(features[:, place.start])
        numbers = encoder.numbers_of(features[known], i) + column.offset
        rounding = _ROUNDING * np.abs(numbers).max(initial=0)
        least, most = numbers.min(initial=0), numbers.max(initial=0)
        signs[i] = float(least >= -rounding) - float(most <= rounding)
        is_whole = np.abs(numbers - np.rint(numbers)).max(initial=0) <= rounding
        whole[i] = is_whole and rounding < _LEAST_STEP
    return signs, whole


def _measure_network(imputer: Imputer, features: Floats, rows: Floats, seed: int) -> Imputer:
    """Measure the weights of the network on the rows that it has held out."""
    network = imputer.network
    if network is None or imputer.is_interrupted or network.learned_rows_ is None:
        return imputer
    features = features[network.learned_rows_.membership(rows) == HELD_OUT]
    if not len(features):
        return imputer
    encoder = imputer.encoder
    hidden = hide(encoder, features, np.random.default_rng(seed + 1))
    base, restored = np.zeros(hidden.shape), np.zeros(hidden.shape)
    for draw, cells in enumerate(hidden):
        seen = np.where(cells, np.nan, features)
        base[draw] = imputer.impute_by_gaussian(seen)
        restored[draw] = imputer.restore_by_network(base[draw], ~np.isnan(seen))
    truth, base, restored = (np.where(hidden, v, 0) for v in (features, base, restored))
    shares = _weights(encoder, truth - base, restored - base)
    found = base + encoder.spread(shares) * (restored - base)
    shares *= _guesses_better(encoder, truth, found, base)
    imputed = base + encoder.spread(shares) * (restored - base)
    errors = {**imputer.errors, "imputed": _relative(encoder, truth, imputed)}
    return replace(imputer, network_weights=shares, errors=errors)


def hide(
    encoder: ColumnEncoder, features: Floats, rng: np.random.Generator, draws: int | None = None
) -> Bools:
    """Draw known cells to be hidden, (draws, n, P); at least one cell of each row stays known.

    By default there are the more draws, the fewer cells the features (n, P) have.
    """
    if draws is None:
        draws = int(np.clip(_CELLS // features.size, 1, _MOST_DRAWS))
    drawn = rng.random((draws, len(features), len(encoder.used)))
    known = ~np.isnan(features)
    hidden = known & encoder.spread(drawn < HIDDEN)
    return np.asarray(hidden & (known & ~hidden).any(axis=-1, keepdims=True), np.bool_)


def _weights(encoder: ColumnEncoder, truth: Floats, change: Floats) -> Floats:
    """Return the weight of a change towards the truth in each column, from 0 to 1.

    It is the least squares estimate, shrunk towards that of all columns where cells are few, and
    towards 0 where the gain is uncertain: it is 0 where the gain is at most its standard error, or
    the gain of all columns at most two standard errors.

    Parameters
    ----------
    encoder : ColumnEncoder
    truth, change : ndarray of shape (draws, n, P)
        Zero where no cell was hidden.

    Returns
    -------
    ndarray of shape (C,)
    """
    product = encoder.sums(truth * change).sum(axis=(0, 1))
    size = encoder.sums(change**2).sum(axis=(0, 1))
    cells = encoder.sums(change != 0).sum(axis=(0, 1))
    total = float(size.sum())
    common = float(np.clip(product.sum() / total, 0, 1)) if total > 0 else 0.0
    prior = _PRIOR * size / np.maximum(cells, 1)
    denominator = size + prior
    shares = (product + common * prior) / np.where(denominator > 0, denominator, 1)
    shares = np.clip(shares, 0, 1)
    errors = truth**2 - np.square(truth - change * encoder.spread(shares))
    gain = encoder.sums(errors).sum(axis=0)
    weights: Floats = shares * _certain(gain) * _certain(gain.sum(axis=1), errors=2)
    return weights


def _guesses_better(encoder: ColumnEncoder, truth: Floats, found: Floats, before: Floats) -> Bools:
    """Return which columns (C,) have at least as many categories right as before.

    Parameters
    ----------
    encoder : ColumnEncoder
    truth, found, before : ndarray of shape (draws, n, P)
        The true features of hidden cells, zero elsewhere, and two ways of filling them.
    """
    better = np.ones(len(encoder.used), np.bool_)
    for i, place in enumerate(encoder.slices):
        cells = (truth[..., place] != 0).any(axis=-1)
        if encoder.is_category(i) and cells.any():
            true, new, old = (
                encoder.shares_of(v[cells], i).argmax(axis=1) for v in (truth, found, before)
            )
            better[i] = (new == true).sum() >= (old == true).sum()
    return better


def _certain(gain: Floats, errors: float = 1.0) -> Floats:
    """Return how certain summed gains (n, ...) are, 0 to 1: 0 up to so many standard errors."""
    total, square = gain.sum(axis=0), errors**2 * np.square(gain).sum(axis=0)
    relative = square / np.where(total > 0, total, 1) ** 2
    certain: Floats = np.where(total > 0, 2 * (1 - relative), 0.0).clip(0, 1)
    return certain


def _relative(encoder: ColumnEncoder, truth: Floats, found: Floats) -> Floats:
    """Return the squared error of each column over that of the mean, which is zero."""
    size = encoder.sums(truth**2).sum(axis=(0, 1))
    error = encoder.sums(np.square(truth - found)).sum(axis=(0, 1))
    relative: Floats = np.where(size > 0, error / np.where(size > 0, size, 1), 1.0)
    return relative
