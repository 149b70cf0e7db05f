"""Imputation: values for the gaps of a table, from a Gaussian and a network that corrects it.

The Gaussian is probabilistic PCA (Tipping & Bishop 1999, "Probabilistic principal component
analysis", JRSS B 61, eqs. 6 to 8), learned with gaps by EM; a gap gets its expectation given the
known cells of its row. The network learns to restore whole columns that are hidden in rows which
the Gaussian has filled; its loss counts hidden cells alone, and none that is a gap. How far each
column follows the Gaussian, and how far the network beyond it, is a share between 0 and 1 that is
measured on cells that are hidden on purpose: 0 is the mean, or the most frequent category.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.data.column_encoder import MARK, ColumnEncoder
from narrows.errors import NarrowsWarning
from narrows.models.denoising import DenoisingAutoencoder
from narrows.models.learned_rows import HELD_OUT
from narrows.training.progress import unobserved

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HIDDEN = 0.2
"""The share of the known cells that is hidden to be filled, for measuring and for training."""

_RANKS = (1, 2, 4, 8, 16, 32, 64)  # numbers of axes that are tried
_RIDGES = (0.003, 0.03, 0.1, 0.3)  # of the mean variance, added where all axes are kept
_MOST_FEATURES = 200  # for which all axes are tried
_ROWS, _ROWS_TO_CHOOSE, _FOLDS = 5_000, 800, 4  # rows at most, of these to choose, and folds
_ROUNDS, _WORK = (4, 15), 1e9  # iterations of EM, and multiplications that they may take
_BLOCK = 1 << 22  # numbers that are held at once
_LEAST_NOISE = 1e-3
_MOST_DRAWS, _CELLS = 20, 40_000  # draws of hidden cells, at most, and cells of all draws
_CODE, _HIDDEN_UNITS = 64, 128  # widths of the network; its code is not a bottleneck
_PRIOR = 10.0  # the weight, in cells, of the share of all columns in a column's own


@dataclass(frozen=True)
class GaussianFill:
    """A Gaussian with few axes, W W' + diag(noise), about zero.

    Attributes
    ----------
    axes : ndarray of shape (P, r)
        W, each column times its standard deviation.
    noise : ndarray of shape (P,)
        The variance of each feature beside the axes.
    """

    axes: Floats
    noise: Floats

    def expect(self, x: Tensor, known: Tensor) -> Tensor:
        """Return the expectation of all features of rows (n, P), given the known ones.

        Parameters
        ----------
        x : Tensor of shape (n, P)
            Rows; what they hold where they are not known has no effect.
        known : Tensor of shape (n, P), bool
        """
        axes, factor, right = self._system(x, known)
        return torch.cholesky_solve(right[:, :, None], factor)[:, :, 0] @ axes.T

    def _system(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return W, the Cholesky factors of the codes' precision (n, r, r), and W' x / noise."""
        axes = torch.from_numpy(self.axes).to(x)
        noise = torch.from_numpy(self.noise).to(x)
        rank = axes.shape[1]
        outer = (axes[:, :, None] * axes[:, None, :]).flatten(1)
        precision = ((known.to(x) / noise) @ outer).view(-1, rank, rank) + torch.eye(rank).to(x)
        right = (torch.where(known, x, 0) / noise) @ axes
        return axes, torch.linalg.cholesky(precision), right

    def fill(self, features: Floats, known: Bools) -> Floats:
        """Return features (n, P) with the expectation where they are not known."""
        filled = features.copy()
        for some, x, mask in self._blocks(features, known):
            filled[some] = np.where(known[some], features[some], self.expect(x, mask).numpy())
        return filled

    def step(self, features: Floats, known: Bools) -> tuple[Floats, Floats]:
        """Fill as :meth:`fill`, and return what the gaps leave open of the covariance.

        Returns
        -------
        filled : ndarray of shape (n, P)
        open : ndarray of shape (P, P)
            The covariance of the gaps given what is known; the mean over rows.
        """
        filled, total = features.copy(), np.diag(self.noise * (~known).sum(axis=0))
        for some, x, mask in self._blocks(features, known):
            axes, factor, right = self._system(x, mask)
            expected = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0] @ axes.T
            filled[some] = np.where(known[some], features[some], expected.numpy())
            of_gaps = axes.T * ~mask[:, None, :]
            solved = torch.linalg.solve_triangular(factor, of_gaps, upper=False).flatten(0, 1)
            total += (solved.T @ solved).numpy()
        return filled, total / max(1, len(features))

    def _blocks(
        self, features: Floats, known: Bools
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """Yield the numbers of rows with gaps, these rows, and what of them is known."""
        rows = np.flatnonzero(~known.all(axis=1))
        size = max(1, _BLOCK // max(1, self.axes.size))
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            yield some, torch.from_numpy(features[some]), torch.from_numpy(known[some])


@dataclass(frozen=True)
class Filler:
    """How the gaps of encoded rows are filled.

    Attributes
    ----------
    encoder : ColumnEncoder
        What the features of the rows are.
    gaussian : GaussianFill
    followed : ndarray of shape (C,)
        How far each column follows the Gaussian from its mean, 0 to 1.
    learned : ndarray of shape (C,)
        How far each column follows the network from there, 0 to 1.
    network : DenoisingAutoencoder or None
        The network; None where the rows learned from had no gaps.
    errors : dict of str to ndarray of shape (C,)
        The mean squared error of hidden cells, over that of the mean, of "gaussian" and "filled".
    """

    encoder: ColumnEncoder
    gaussian: GaussianFill
    followed: Floats
    learned: Floats
    network: DenoisingAutoencoder | None = None
    errors: dict[str, Floats] = field(default_factory=dict)

    def start(self, features: Floats) -> Floats:
        """Fill gaps, which are NaN, by the Gaussian alone."""
        known = ~np.isnan(features)
        if known.all():
            return features
        filled = self.gaussian.fill(np.where(known, features, 0), known)
        return np.where(known, features, filled * spread(self.followed, self.encoder.slices))

    def fill(self, features: Floats) -> Floats:
        """Fill gaps, which are NaN, by the Gaussian and the network."""
        base = self.start(features)
        known = ~np.isnan(features)
        if known.all() or not self.learned.any():
            return base
        gain = spread(self.learned, self.encoder.slices) * (self.restore(base, known) - base)
        return np.where(known, features, base + gain)

    def restore(self, filled: Floats, known: Bools) -> Floats:
        """Return what the network restores of filled features (n, P)."""
        if self.network is None:
            return filled
        restored = self.network.reconstruct(self.rows(filled, known))
        return np.asarray(restored[:, : filled.shape[1]], np.float64)

    def rows(self, filled: Floats, known: Bools) -> Floats:
        """Return filled features and marks of their gaps, (n, P + M)."""
        gaps = np.stack([~known[:, place.start] for place in self.encoder.slices], axis=1)
        return np.column_stack([filled, MARK * gaps[:, self.encoder.marked]])

    def tensors(self) -> dict[str, Tensor]:
        """Return all but the network and the columns as tensors, to be saved."""
        arrays = {
            "axes": self.gaussian.axes, "noise": self.gaussian.noise,
            "followed": self.followed, "learned": self.learned,
            **{f"error_{name}": error for name, error in self.errors.items()},
        }  # fmt: skip
        return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}

    @classmethod
    def restore_from(
        cls,
        tensors: Mapping[str, Tensor],
        encoder: ColumnEncoder,
        network: DenoisingAutoencoder | None,
    ) -> Self:
        """Build a filler from the result of :meth:`tensors`, the columns and the network.

        Raises
        ------
        KeyError, ValueError
            If they do not fit together.
        """
        found = {name: tensor.numpy() for name, tensor in tensors.items()}
        axes, noise = found["axes"], found["noise"]
        n, c = encoder.n_features, len(encoder.used)
        if axes.ndim != 2 or len(axes) != n or noise.shape != (n,) or not (noise > 0).all():
            raise ValueError(f"the axes of gaps are {axes.shape} for {n} features")
        if any(found[name].shape != (c,) for name in ("followed", "learned")):
            raise ValueError("the shares of gaps do not fit the columns")
        if network is not None and network.sample_shape_ != (n + len(encoder.marked),):
            raise ValueError("the network that fills gaps does not fit the columns")
        errors = {k.removeprefix("error_"): v for k, v in found.items() if k.startswith("error_")}
        gaussian = GaussianFill(axes, noise)
        return cls(encoder, gaussian, found["followed"], found["learned"], network, errors)


class ColumnMasking:
    """A corruption that hides whole columns of rows, and fills them as gaps are filled.

    Cells that are gaps are not drawn, so that a loss of the drawn values does not count them.

    Parameters
    ----------
    filler : Filler
        What fills gaps without a network.
    """

    def __init__(self, filler: Filler) -> None:
        encoder = filler.encoder
        self._gaussian, self._slices = filler.gaussian, encoder.slices
        self._followed = torch.from_numpy(spread(filler.followed, encoder.slices))
        self._marked, self._n_features = encoder.marked, encoder.n_features

    def __call__(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return damaged rows (B, P + M), and which values were hidden."""
        rows, marks = x[:, : self._n_features].double().cpu(), x[:, self._n_features :].clone()
        size = (len(x), len(self._slices))
        drawn = torch.rand(size, generator=generator, device=generator.device).cpu() < HIDDEN
        gaps = torch.zeros(size, dtype=torch.bool)
        gaps[:, self._marked] = (marks > 0).cpu()
        drawn &= ~gaps
        hidden = torch.from_numpy(spread(drawn.numpy(), self._slices))
        known = ~torch.from_numpy(spread((drawn | gaps).numpy(), self._slices))
        filled = self._gaussian.expect(rows, known) * self._followed
        own = drawn[:, self._marked].to(x.device)
        marks[own] = MARK
        damaged = torch.cat([torch.where(hidden, filled, rows).to(x), marks], dim=1)
        return damaged, torch.cat([hidden.to(x.device), torch.zeros_like(own)], dim=1)


def learn(encoder: ColumnEncoder, features: Floats, weights: Floats | None, seed: int) -> Filler:
    """Learn to fill the gaps of rows like these.

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
    Filler
        With a network, if there are gaps.
    """
    filler = learn_gaussian(encoder, features, weights, np.random.default_rng(seed))
    known = ~np.isnan(features)
    if known.all() or len(encoder.used) < 2:
        return filler
    rows = filler.rows(filler.start(features), known)
    network = DenoisingAutoencoder(
        max(_CODE, rows.shape[1]),
        hidden_layer_sizes=(_HIDDEN_UNITS,),
        architecture="dense",
        scaling="none",
        corruption=ColumnMasking(filler),
        intact_weight=0.0,
        random_state=seed,
    )
    with unobserved(), warnings.catch_warnings():  # the errors of the network are measured below
        warnings.simplefilter("ignore", NarrowsWarning)
        network.fit(rows, sample_weight=weights)
    if network.history_.ended == "interrupted":
        raise KeyboardInterrupt
    filler = replace(filler, network=network)
    memory = network.learned_rows_
    is_held_out = np.zeros(len(rows), np.bool_)
    if memory is not None:
        is_held_out = memory.membership(rows) == HELD_OUT
    return _measure_network(filler, features[is_held_out], np.random.default_rng(seed + 1))


def spread(shares: NDArray[Any], slices: Sequence[slice]) -> NDArray[Any]:
    """Repeat a number of each column, (..., C), for its features, (..., P)."""
    wide = np.empty((*shares.shape[:-1], max(s.stop for s in slices)), shares.dtype)
    for i, place in enumerate(slices):
        wide[..., place] = shares[..., i, None]
    return wide


def sums(values: Floats, slices: Sequence[slice]) -> Floats:
    """Sum features, (..., P), over those of each column, to (..., C)."""
    return np.stack([values[..., place].sum(axis=-1) for place in slices], axis=-1)


def learn_gaussian(
    encoder: ColumnEncoder, features: Floats, weights: Floats | None, rng: np.random.Generator
) -> Filler:
    """Learn to fill gaps without a network; see :func:`learn`."""
    slices = encoder.slices
    rows = rng.permutation(len(features))[:_ROWS]
    some = features[rows]
    own = None if weights is None else weights[rows]
    few = slice(_ROWS_TO_CHOOSE)
    hidden = _hide(some[few], slices, rng)
    of_few = (some[few], None if own is None else own[few], hidden)
    choices = _choices(len(some[few]), features.shape[1])
    wrong = [
        np.square(some[few] - _predict(*of_few, choice, folds=2))[hidden].sum()
        for choice in choices
    ]
    choice = choices[int(np.argmin(wrong))]
    hidden = _hide(some, slices, rng)
    predicted = _predict(some, own, hidden, choice, folds=_FOLDS)
    truth = np.where(hidden, some, 0)
    followed = _shares(truth, np.where(hidden, predicted, 0), slices)
    followed *= _guesses_better(encoder, truth, predicted * spread(followed, slices), 0 * truth)
    base = np.where(hidden, predicted * spread(followed, slices), 0)
    errors = {"gaussian": _relative(truth, base, slices)}
    gaussian = _fit(some, own, choice)
    return Filler(encoder, gaussian, followed, np.zeros(len(slices)), errors=errors)


def _predict(
    features: Floats, weights: Floats | None, hidden: Bools, choice: tuple[int, float], folds: int
) -> Floats:
    """Fill hidden cells of each fold of the rows by a Gaussian that is learned from the others.

    Parameters
    ----------
    features : ndarray of shape (n, P)
    weights : ndarray of shape (n,) or None
    hidden : ndarray of bool and shape (draws, n, P)
    choice : tuple
        As of :func:`_choices`.
    folds : int

    Returns
    -------
    ndarray of shape (draws, n, P)
    """
    predicted = np.zeros(hidden.shape)
    fold = np.arange(len(features)) % min(folds, len(features))
    for number in np.unique(fold):
        inside = fold == number
        own = None if weights is None else weights[~inside]
        gaussian = _fit(features[~inside], own, choice)
        for made, cells in zip(predicted, hidden, strict=True):
            known = ~(np.isnan(features) | cells)[inside]
            made[inside] = gaussian.fill(np.where(known, features[inside], 0), known)
    return predicted


def _measure_network(filler: Filler, features: Floats, rng: np.random.Generator) -> Filler:
    """Measure on rows (n, P) that the network held out how far it is followed."""
    if not len(features):
        return filler
    slices = filler.encoder.slices
    hidden = _hide(features, slices, rng)
    base, restored = np.zeros(hidden.shape), np.zeros(hidden.shape)
    for draw, cells in enumerate(hidden):
        seen = np.where(cells, np.nan, features)
        base[draw] = filler.start(seen)
        restored[draw] = filler.restore(base[draw], ~np.isnan(seen))
    truth, base, restored = (np.where(hidden, v, 0) for v in (features, base, restored))
    learned = _shares(truth - base, restored - base, slices)
    found = base + spread(learned, slices) * (restored - base)
    learned *= _guesses_better(filler.encoder, truth, found, base)
    filled = base + spread(learned, slices) * (restored - base)
    errors = {**filler.errors, "filled": _relative(truth, filled, slices)}
    return replace(filler, learned=learned, errors=errors)


def _hide(features: Floats, slices: Sequence[slice], rng: np.random.Generator) -> Bools:
    """Draw known cells to be hidden, (draws, n, P); at least one cell of each row stays known.

    The fewer cells there are, the more draws.
    """
    draws = int(np.clip(_CELLS // features.size, 1, _MOST_DRAWS))
    drawn = rng.random((draws, len(features), len(slices)))
    known = ~np.isnan(features)
    hidden = known & spread(drawn < HIDDEN, slices)
    return np.asarray(hidden & (known & ~hidden).any(axis=-1, keepdims=True), np.bool_)


def _choices(n_rows: int, n_features: int) -> list[tuple[int, float]]:
    """Return the pairs of a number of axes and a ridge that are tried."""
    most = min(n_features - 1, max(1, n_rows // 2 - 1))
    ranks: list[tuple[int, float]] = [(rank, 0.0) for rank in _RANKS if rank <= most]
    if n_features <= _MOST_FEATURES:
        ranks += [(n_features, ridge) for ridge in _RIDGES]
    return ranks or [(1, 0.0)]


def _fit(features: Floats, weights: Floats | None, choice: tuple[int, float]) -> GaussianFill:
    """Learn a Gaussian of so many axes, by EM where there are gaps."""
    rank, ridge = choice
    known = ~np.isnan(features)
    filled = np.where(known, features, 0)
    work = features.size * max(1, rank) ** 2
    rounds = 1 if known.all() else int(np.clip(_WORK / work, *_ROUNDS))
    open_ = np.zeros((features.shape[1],) * 2)
    for step in range(rounds):
        scatter = filled if weights is None else filled * weights[:, None]
        covariance = scatter.T @ filled / (len(filled) if weights is None else weights.sum())
        covariance += open_
        gaussian = _principal(covariance, rank, ridge)
        if step < rounds - 1:
            filled, open_ = gaussian.step(filled, known)
    return gaussian


def _principal(covariance: Floats, rank: int, ridge: float) -> GaussianFill:
    """Keep the first axes of a covariance; the mean of the other variances is noise."""
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1].clip(min=0), directions[:, ::-1]
    mean = max(float(variances.mean()), _LEAST_NOISE)
    noise = ridge * mean if ridge else max(float(variances[rank:].mean()), _LEAST_NOISE * mean)
    kept = (variances[:rank] - (0 if ridge else noise)).clip(min=0)
    return GaussianFill(directions[:, :rank] * np.sqrt(kept), np.full(len(variances), noise))


def _shares(truth: Floats, change: Floats, slices: Sequence[slice]) -> Floats:
    """Return how far each column should follow a change towards the truth, from 0 to 1.

    It is the least squares estimate, shrunk towards that of all columns where cells are few, and
    towards 0 where the gain is uncertain: it is 0 where the gain is at most its standard error, or
    the gain of all columns at most two standard errors.

    Parameters
    ----------
    truth, change : ndarray of shape (draws, n, P)
        Zero where no cell was hidden.
    slices : sequence of slice

    Returns
    -------
    ndarray of shape (C,)
    """
    product = sums(truth * change, slices).sum(axis=(0, 1))
    size = sums(change**2, slices).sum(axis=(0, 1))
    cells = sums(change != 0, slices).sum(axis=(0, 1))
    total = float(size.sum())
    common = float(np.clip(product.sum() / total, 0, 1)) if total > 0 else 0.0
    prior = _PRIOR * size / np.maximum(cells, 1)
    denominator = size + prior
    shares = (product + common * prior) / np.where(denominator > 0, denominator, 1)
    shares = np.clip(shares, 0, 1)
    errors = truth**2 - np.square(truth - change * spread(shares, slices))
    gain = sums(errors, slices).sum(axis=0)
    followed: Floats = shares * _certain(gain) * _certain(gain.sum(axis=1), errors=2)
    return followed


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


def _relative(truth: Floats, found: Floats, slices: Sequence[slice]) -> Floats:
    """Return the squared error of each column over that of the mean, which is zero."""
    size = sums(truth**2, slices).sum(axis=(0, 1))
    error = sums(np.square(truth - found), slices).sum(axis=(0, 1))
    relative: Floats = np.where(size > 0, error / np.where(size > 0, size, 1), 1.0)
    return relative
