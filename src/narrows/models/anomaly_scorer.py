"""The anomaly scores of rows in memory, by an ensemble of autoencoders that have not seen them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from narrows import storage
from narrows.data.lazy_rows import AnyRows
from narrows.models.discrete_columns import DiscreteColumns, EncodedColumns
from narrows.models.ensembles import Ensemble, restore_ensemble
from narrows.models.feature_space import BLOCKS, FeatureSpace
from narrows.models.mahalanobis import MahalanobisDistance, slopes_of, split_whitened
from narrows.models.neighbours import NeighbourDistance, Neighbours, TrainingRows
from narrows.models.window_blocks import WindowPlaces

Matrix = NDArray[np.float64]
Rows = NDArray[Any]
Indices = NDArray[np.int64]
KindOfRows = Literal["table", "pictures", "signals"]
TrainEnsemble = Callable[[Rows, Matrix, FeatureSpace], tuple[Ensemble, NDArray[np.bool_]]]
"""Trains on rows and their features, and returns which rows each member has seen, (M, n)."""

MOST_REFERENCES = 4_096
"""Reference rows, among which neighbours are searched, at most."""

_MOST_VALUES = 1 << 23  # values of the reference rows, and of residuals at a time
_NEIGHBOURS = 5
# The distance to neighbours counts twice: it finds what is rare locally, which networks generalise
# over.
_WEIGHT = 2.0
# Parts below this share of the mean squared length of rows are rounding errors.
_LEAST = 1e-6
_BLOCK = 4_096  # rows that are scored at a time
_SPACE = ("centre", "scale", "mean", "axes")


class AnomalyScores(NamedTuple):
    """Anomaly scores of n rows, and the parts that they are the sum of.

    Attributes
    ----------
    total : ndarray of shape (n,)
        The sum of the parts; higher is more anomalous.
    residual : ndarray of shape (n,)
        Q: the squared length of the residual.
    code : ndarray of shape (n,)
        T squared: the squared Mahalanobis distance of the code from those of normal rows.
    neighbours : ndarray of shape (n,)
        Twice the mean squared distance to the five nearest rows learned from, as compared with
        the distances of these.
    """

    total: Matrix
    residual: Matrix
    code: Matrix
    neighbours: Matrix


@dataclass(frozen=True)
class AnomalyScorer:
    """Everything that the scores of rows depend on.

    Attributes
    ----------
    shape : tuple of int
        The shape of a row.
    space : FeatureSpace
        The features in which rows are compared.
    discrete : DiscreteColumns
        The values that do not belong to columns of few values.
    ensemble : Ensemble
        M autoencoders.
    mahalanobis : MahalanobisDistance
        The distances of their codes.
    norms : ndarray of shape (2, M)
        The medians of their squared residuals, and of these distances.
    training_rows : TrainingRows
        Which of the training rows each autoencoder has seen.
    references : ndarray of shape (R, *shape)
        The training rows among which neighbours are searched.
    reference_numbers : ndarray of int and shape (R,)
        Their numbers among all training rows.
    neighbours : Neighbours
        The search among them.
    distance : NeighbourDistance
        The units of distances to neighbours.
    reference_scores : ndarray of shape (R,)
        The anomaly scores of the reference rows.
    """

    shape: tuple[int, ...]
    space: FeatureSpace
    discrete: DiscreteColumns
    ensemble: Ensemble
    mahalanobis: MahalanobisDistance
    norms: Matrix
    training_rows: TrainingRows
    references: Rows
    reference_numbers: Indices
    neighbours: Neighbours
    distance: NeighbourDistance
    reference_scores: Matrix

    @classmethod
    def fit(
        cls,
        rows: Rows,
        numbers: Indices,
        places: WindowPlaces | None,
        train: TrainEnsemble,
        generator: np.random.Generator,
        *,
        encoded: EncodedColumns,
    ) -> tuple[Self, NDArray[np.bool_], Matrix]:
        """Learn from rows (n, ...) with these numbers.

        Windows of signals have places; ``encoded`` tells how tables with categories, dates or
        gaps were turned into numbers.

        Returns
        -------
        scorer : AnomalyScorer
        seen : ndarray of bool and shape (M, n)
            Which rows each autoencoder has seen.
        scores : ndarray of shape (n,)
            The scores of the rows, each by the autoencoders that have not seen it.
        """
        flat, shape = rows.reshape(len(rows), -1), tuple(rows.shape[1:])
        of_signals = places is not None
        space = FeatureSpace.fit(
            flat,
            picture=shape if len(shape) > 1 and not of_signals else (),
            window=shape if of_signals else (),
            seed=int(generator.integers(2**31)),
        )
        is_table = len(shape) == 1 and not of_signals
        discrete = DiscreteColumns.fit(flat if is_table else flat[:, :0], encoded)
        features = space(flat)
        ensemble, seen = train(rows, features, space)
        most = min(MOST_REFERENCES, max(2, _MOST_VALUES // flat.shape[1]))
        chosen = np.sort(generator.permutation(len(rows))[:most])
        blocks = None if places is None else places.blocks()
        training_rows = TrainingRows.of(rows, seen, chosen, blocks)
        least = _LEAST * (float(np.square(features).sum(axis=1).mean()) or 1.0)
        squares, codes = ensemble.measure(rows, features)
        squares += discrete.squared_errors(flat).sum(axis=1)
        unseen = ~seen
        mahalanobis = MahalanobisDistance.fit(codes, unseen)
        lengths = np.square(mahalanobis.whiten(codes)).sum(axis=2)
        of_squares = _robust_norms(squares, unseen, least)
        of_lengths = _robust_norms(lengths, unseen, _LEAST)
        neighbours = training_rows.neighbours(features[chosen], _NEIGHBOURS, np.arange(len(chosen)))
        indices = training_rows.find(rows)
        found = neighbours.find(features, training_rows.block_of(indices))
        distances = neighbours.squared_distances(features, found)
        own, middle = distances[chosen], _robust_norm(distances, least)
        compared = distances / NeighbourDistance(own, middle, 1.0).units(found)
        distance = NeighbourDistance(own, middle, _robust_norm(compared, _LEAST))
        compared = distances / distance.units(found)  # as new rows are, to the last digit
        shares, norms = training_rows.shares(indices), np.stack([of_squares, of_lengths])
        scores = _sum(squares, lengths, compared, shares, norms).total
        scorer = cls(
            shape=shape,
            space=space,
            discrete=discrete,
            ensemble=ensemble,
            mahalanobis=mahalanobis,
            norms=norms,
            training_rows=training_rows,
            references=rows[chosen],
            reference_numbers=numbers[chosen],
            neighbours=neighbours,
            distance=distance,
            reference_scores=scores[chosen],
        )
        return scorer, seen, scores

    @property
    def kind(self) -> KindOfRows:
        """What was learned from: a table, pictures, or windows of signals."""
        return "signals" if self.space.window else "pictures" if self.space.picture else "table"

    def features(self, rows: Rows) -> Matrix:
        """Return the features (n, r) of rows (n, ...)."""
        return self.space(rows.reshape(len(rows), -1))

    def scores(self, rows: AnyRows, *, novelty: bool = False) -> AnomalyScores:
        """Score rows by the members that have not seen them; with ``novelty`` by all of them."""
        parts = [self._parts(block, self._find(block, novelty)) for block in blocks_of(rows)]
        return AnomalyScores(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _find(self, rows: Rows, novelty: bool) -> Indices:
        """Return the index of each row among the training rows; -1 for new rows, or for all."""
        return np.full(len(rows), -1) if novelty else self.training_rows.find(rows)

    def _parts(self, rows: Rows, indices: Indices) -> AnomalyScores:
        features = self.features(rows)
        squares, codes = self.ensemble.measure(rows, features)
        squares += self.discrete.squared_errors(rows.reshape(len(rows), -1)).sum(axis=1)
        lengths = np.square(self.mahalanobis.whiten(codes)).sum(axis=2)
        found = self.neighbours.find(features, self.training_rows.block_of(indices))
        distances = self.neighbours.squared_distances(features, found)
        compared = distances / self.distance.units(found)
        shares = self.training_rows.shares(indices)
        return _sum(squares, lengths, compared, shares, self.norms)

    def contributions(self, rows: AnyRows, *, novelty: bool = False) -> Matrix:
        """Split the scores of rows, as of :meth:`scores`, between columns, (n, F)."""
        some = max(1, _MOST_VALUES // (len(self.norms[0]) * math.prod(self.shape)))
        slopes = self._slopes()
        parts = [
            self._contributions(block, self._find(block, novelty), slopes)
            for block in blocks_of(rows, some)
        ]
        return np.concatenate(parts)

    def _contributions(self, rows: Rows, indices: Indices, slopes: list[Matrix]) -> Matrix:
        features, space = self.features(rows), self.space
        shares = self.training_rows.shares(indices)
        width = math.prod(self.shape)
        total = np.zeros((len(rows), width))
        whitened = self.mahalanobis.whiten(self.ensemble.measure(rows, features)[1])
        residuals = self.ensemble.residuals(rows, features)
        odd = self.discrete.squared_errors(rows.reshape(len(rows), width))
        for member, own in enumerate(slopes):
            left = np.square(residuals[member])
            left = space.sum_blocks(left) if left.shape[1] > width else left
            left = (left + odd) / self.norms[0][member]
            vectors = space.to_columns(split_whitened(whitened[member], own))
            distances = space.sum_blocks(np.square(vectors)) / self.norms[1][member]
            total += (left + distances) * shares[member][:, None]
        distances, found = self._distances_by_column(features, indices)
        return total + _WEIGHT * distances / self.distance.units(found)[:, None]

    def _distances_by_column(self, features: Matrix, indices: Indices) -> tuple[Matrix, Indices]:
        """Split squared distances to neighbours between columns, (n, F); and find these, (n, K)."""
        found = self.neighbours.find(features, self.training_rows.block_of(indices))
        away = self.space.to_columns(self.neighbours.differences(features, found))
        return self.space.sum_blocks(np.square(away).mean(axis=1)), found

    def _slopes(self) -> list[Matrix]:
        """Return the slopes of each member's whitened codes, from the reference rows."""
        features = self.neighbours.rows
        whitened = self.mahalanobis.whiten(self.ensemble.measure(self.references, features)[1])
        return [slopes_of(features, own) for own in whitened]

    def errors_of_samples(self, rows: AnyRows, *, novelty: bool = False) -> Matrix:
        """Return what the samples of windows add to residuals and distances to neighbours, (n, L).

        Members with narrow codes do not restore waves, and are left out.
        """
        wide, norms = self.ensemble.have_wide_codes(), self.norms[0]
        some = max(1, _MOST_VALUES // (len(norms) * len(self.space.scale)))
        errors = []
        for block in blocks_of(rows, some):
            indices, features = self._find(block, novelty), self.features(block)
            shares = self.training_rows.shares(indices)
            wide_shares = shares * wide[:, None]
            shares = np.where(wide_shares.sum(axis=0) > 0, wide_shares, shares)
            shares /= shares.sum(axis=0)
            squares = np.square(self.ensemble.residuals(block, features))
            residual = np.einsum("mnf,mn->nf", squares, shares / norms[:, None])
            if residual.shape[1] > math.prod(self.shape):
                residual = self.space.sum_blocks(residual)
            distances, _ = self._distances_by_column(features, indices)
            values = residual + distances / self.distance.middle
            errors.append(values.reshape(len(block), self.shape[0], -1).sum(axis=2))
        return np.concatenate(errors)

    def of_blocks(self, rows: AnyRows, scores: Matrix, blocks: Indices) -> tuple[Matrix, Matrix]:
        """Return the median score, (B,), and the mean features, (B, r), of blocks of rows."""
        features = np.concatenate([self.features(block) for block in blocks_of(rows)])
        return _by_block(blocks, scores, features)

    def of_reference_blocks(self) -> tuple[Matrix, Matrix]:
        """Return what :meth:`of_blocks` does, of the windows learned from."""
        blocks = self.training_rows.block_of(self.training_rows.references)
        return _by_block(blocks, self.reference_scores, self.neighbours.rows)

    def nearest(self, rows: Rows, k: int, which: Indices) -> tuple[Indices, Rows]:
        """Find the nearest of some reference rows: their numbers, (n, k), and themselves."""
        near = self.training_rows.neighbours(self.neighbours.rows[which], k, which)
        blocks = self.training_rows.block_of(self.training_rows.find(rows))
        found = near.find(self.features(rows), blocks)
        return self.reference_numbers[which][found], self.references[which][found]

    def stored(self) -> tuple[dict[str, Any], storage.Parts]:
        """Return what is saved, as JSON and as tensors."""
        facts, tensors = self.ensemble.stored()
        manifest = {
            "ensemble": {"kind": self.ensemble.kind, **facts},
            "sample_shape": list(self.shape),
            "rows": self.kind,
            "length": self.space.length,
            "neighbour_distance": {"median": self.distance.middle, "unit": self.distance.unit},
        }
        arrays = {name: getattr(self.space, name) for name in _SPACE} | {
            **self.discrete.arrays(),
            "centres": self.mahalanobis.centres,
            "whitenings": self.mahalanobis.whitenings,
            "norms": self.norms,
            "hashes": self.training_rows.hashes.view(np.int64),
            "seen": self.training_rows.seen.view(np.uint8),
            "blocks": self.training_rows.blocks,
            "references": self.references,
            "reference_hashes": self.training_rows.references,
            "reference_numbers": self.reference_numbers,
            "reference_scores": self.reference_scores,
            "reference_distances": self.distance.own,
        }
        return manifest, {"ensemble": tensors, "scorer": as_tensors(arrays)}

    @classmethod
    def restore(
        cls,
        manifest: Mapping[str, Any],
        parts: storage.Parts,
        encoded: EncodedColumns,
        path: Any,
    ) -> Self:
        """Build a scorer from what it stored.

        Raises
        ------
        ValueError, KeyError, RuntimeError
            If the facts and tensors do not belong together.
        """
        arrays = {name: tensor.numpy() for name, tensor in parts["scorer"].items()}
        shape, kind = tuple(map(int, manifest["sample_shape"])), manifest["rows"]
        space = FeatureSpace(
            shape if kind == "pictures" else (),
            shape if kind == "signals" else (),
            float(manifest["length"]),
            **{name: arrays[name] for name in _SPACE},
        )
        if space.scale.shape != ((BLOCKS if space.window else 1) * math.prod(shape),):
            raise ValueError(f"there are scales of shape {space.scale.shape}")
        facts, references = manifest["ensemble"], arrays["references"]
        distance = manifest["neighbour_distance"]
        training_rows = TrainingRows(
            arrays["hashes"].view(np.uint64),
            arrays["seen"].view(np.bool_),
            arrays["reference_hashes"],
            arrays["blocks"],
        )
        training_rows.check(len(references))
        features = space(references.reshape(len(references), -1))
        every = np.arange(len(references))
        scorer = cls(
            shape=shape,
            space=space,
            discrete=DiscreteColumns.restore(arrays, encoded),
            ensemble=restore_ensemble(facts["kind"], facts, parts["ensemble"], space, path),
            mahalanobis=MahalanobisDistance(arrays["centres"], arrays["whitenings"]),
            norms=arrays["norms"],
            training_rows=training_rows,
            references=references,
            reference_numbers=arrays["reference_numbers"],
            neighbours=training_rows.neighbours(features, _NEIGHBOURS, every),
            distance=NeighbourDistance(
                arrays["reference_distances"], float(distance["median"]), float(distance["unit"])
            ),
            reference_scores=arrays["reference_scores"],
        )
        scorer._check(features[:1])
        return scorer

    def _check(self, features: Matrix) -> None:
        """Refuse parts that do not belong together; ``features`` are those of the first reference.

        Raises
        ------
        ValueError
            For the first that does not.
        """
        squares, codes = self.ensemble.measure(self.references[:1], features)
        (count, _, width), n_references = codes.shape, len(self.references)
        shapes = {
            "centres": (self.mahalanobis.centres, (count, width)),
            "whitenings": (self.mahalanobis.whitenings, (count, width, width)),
            "norms": (self.norms, (2, count)),
            "seen": (self.training_rows.seen, (count, len(self.training_rows.hashes))),
            "reference_numbers": (self.reference_numbers, (n_references,)),
            "reference_scores": (self.reference_scores, (n_references,)),
            "reference_distances": (self.distance.own, (n_references,)),
        }
        for name, (array, shape) in shapes.items():
            if array.shape != shape or not np.isfinite(array).all():
                raise ValueError(f"the {name} have the shape {array.shape}, not {shape}")
        units = self.distance.middle, self.distance.unit, *self.norms.flat
        if not min(units) > 0 or not np.isfinite(squares).all():
            raise ValueError("the norms are not above zero")


def _sum(
    squares: Matrix, lengths: Matrix, compared: Matrix, shares: Matrix, norms: Matrix
) -> AnomalyScores:
    """Sum squared residuals and lengths of codes (M, n), by the shares of members, and distances.

    ``compared`` are the distances to neighbours in their units, (n,).
    """
    residual = (squares * shares / norms[0][:, None]).sum(axis=0)
    code = (lengths * shares / norms[1][:, None]).sum(axis=0)
    neighbours = _WEIGHT * compared
    return AnomalyScores(residual + code + neighbours, residual, code, neighbours)


def _by_block(blocks: Indices, scores: Matrix, features: Matrix) -> tuple[Matrix, Matrix]:
    own = [blocks == block for block in np.unique(blocks)]
    medians = np.array([np.median(scores[which]) for which in own])
    return medians, np.stack([features[which].mean(axis=0) for which in own])


def as_tensors(arrays: Mapping[str, Rows]) -> dict[str, torch.Tensor]:
    """Return arrays as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def blocks_of(rows: AnyRows, some: int = _BLOCK) -> Iterator[NDArray[Any]]:
    """Yield so many rows at a time, in memory."""
    for start in range(0, len(rows), some):
        yield np.asarray(rows[start : start + some])


def _robust_norms(values: Matrix, counted: NDArray[np.bool_], least: float) -> Matrix:
    """Return :func:`_robust_norm` of the counted values (M, n) of each line, (M,)."""
    lines = zip(values, counted, strict=True)
    return np.array([_robust_norm(own[which] if which.any() else own, least)
                     for own, which in lines])  # fmt: skip


def _robust_norm(values: Matrix, least: float) -> float:
    """Return the median of values (n,), or their mean if most are zero; at least ``least``."""
    return max(least, float(np.median(values) or values.mean()))
