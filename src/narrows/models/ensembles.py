"""Ensembles of autoencoders, each member trained on other rows: a committee, or models of Narrows.

A member gives each row a residual and a code. Those of the rows that it was trained on are too
small, so that each row is scored by the members that have not seen it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from narrows.models.base import BaseAutoencoder
from narrows.models.committee import Committee
from narrows.models.feature_space import FeatureSpace
from narrows.models.learned_rows import LEARNED
from narrows.models.registry import class_named
from narrows.models.window_blocks import WindowPlaces

if TYPE_CHECKING:
    from narrows import storage

Matrix = NDArray[np.float64]

# The rows that a network of the committee sees, at least and for each column, and the widths of
# codes: fixed ones, and parts of the number of columns.
_ROWS, _ROWS_A_COLUMN, _CODES, _SHARES = 128, 2, (1, 2, 4, 8), (4, 2)
_WIDE = 8  # the least width of a code that restores waves
_FOLDS = 5  # of the cross-validation of a model


class Ensemble(ABC):
    """M autoencoders of rows, which are given as they are, (n, ...), and as features, (n, r)."""

    kind: str

    @abstractmethod
    def measure(self, rows: NDArray[Any], features: Matrix) -> tuple[Matrix, Matrix]:
        """Return squared lengths of residuals (M, n) and codes (M, n, K)."""

    @abstractmethod
    def residuals(self, rows: NDArray[Any], features: Matrix) -> Matrix:
        """Return the residuals of few rows in their columns, (M, n, F)."""

    @abstractmethod
    def have_wide_codes(self) -> NDArray[np.bool_]:
        """Return which members have codes wide enough for the waves of a signal, (M,)."""

    @abstractmethod
    def stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return facts in JSON types, and tensors."""


class CommitteeEnsemble(Ensemble):
    """Small networks, each of which has seen a few hundred rows."""

    kind = "committee"

    def __init__(self, committee: Committee, space: FeatureSpace) -> None:
        self.committee = committee
        self._space = space

    @classmethod
    def fit(
        cls,
        features: Matrix,
        space: FeatureSpace,
        count: int,
        generator: np.random.Generator,
        places: WindowPlaces | None,
    ) -> tuple["CommitteeEnsemble", NDArray[np.bool_]]:
        """Train the networks, and return which rows each has seen, (count, n).

        Of windows at ``places``, one network sees windows of half of the blocks, and the next one
        windows of the other half.
        """
        n_rows, width = features.shape
        n_seen = min(max(_ROWS, _ROWS_A_COLUMN * width), max(1, n_rows // 2))
        pools = [np.arange(n_rows)] * count
        if places is not None:
            halves = (half for _ in range(-(-count // 2)) for half in places.halves(generator))
            pools = [next(halves) for _ in range(count)]
            n_seen = min(n_seen, *map(len, pools))
        drawn = np.array([generator.permutation(pool)[:n_seen] for pool in pools])
        cycle = (*_CODES, *(width // share for share in _SHARES))
        most = max(1, min(width, n_seen) - 1)
        sizes = [min(most, max(1, cycle[member % len(cycle)])) for member in range(count)]
        seeds = generator.integers(2**31, size=count).tolist()
        seen = np.zeros((count, n_rows), np.bool_)
        np.put_along_axis(seen, drawn, True, axis=1)
        if places is not None:
            seen = np.array([places.overlapped(own) for own in seen])
        return cls(Committee.fit(features, drawn, sizes=sizes, seeds=seeds), space), seen

    def have_wide_codes(self) -> NDArray[np.bool_]:
        """See :class:`Ensemble`."""
        sizes = self.committee.tensors()["mask"].numpy().sum(axis=(1, 2))
        wide: NDArray[np.bool_] = sizes >= min(_WIDE, sizes.max())
        return wide

    def measure(self, rows: NDArray[Any], features: Matrix) -> tuple[Matrix, Matrix]:
        """See :class:`Ensemble`."""
        squares, codes = self.committee.measure(features)
        return squares + np.square(self._remainder(rows, features)).sum(axis=1), codes

    def residuals(self, rows: NDArray[Any], features: Matrix) -> Matrix:
        """See :class:`Ensemble`."""
        residuals = self._space.to_columns(self.committee.residuals(features))
        return residuals + self._remainder(rows, features)

    def _remainder(self, rows: NDArray[Any], features: Matrix) -> Matrix:
        """Return what the principal components leave of rows, (n, F); zeros without them."""
        return self._space.remainder(rows.reshape(len(rows), -1), features)

    def stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See :class:`Ensemble`."""
        return {}, self.committee.tensors()


class ModelEnsemble(Ensemble):
    """Models of Narrows: those of a cross-validation, or one that was fitted before."""

    kind = "models"

    def __init__(self, models: Sequence[BaseAutoencoder], space: FeatureSpace) -> None:
        self.models = list(models)
        self._space = space

    @classmethod
    def fit(
        cls,
        model: BaseAutoencoder,
        rows: NDArray[Any],
        space: FeatureSpace,
        generator: np.random.Generator,
        places: WindowPlaces | None,
    ) -> tuple["ModelEnsemble", NDArray[np.bool_]]:
        """Train a model in 5-fold cross-validation; or take one that is fitted.

        The folds of windows at ``places`` consist of whole blocks.
        """
        if model.__sklearn_is_fitted__():
            memory, seen = model.learned_rows_, np.zeros((1, len(rows)), np.bool_)
            if memory is not None:
                seen[0] = memory.membership(rows) == LEARNED
            if places is not None:
                seen[0] = places.overlapped(seen[0])
            return cls([model], space), seen
        blocks = np.arange(len(rows)) if places is None else places.blocks()
        names = generator.permutation(np.unique(blocks))
        parts = np.array_split(names, min(_FOLDS, len(names)))
        seen = np.array([~np.isin(blocks, part) for part in parts])
        models = []
        for own in seen:
            learns = own if places is None else ~places.overlapped(~own)
            fresh = clone(model).set_params(random_state=int(generator.integers(2**31)))
            models.append(fresh.fit(rows[learns if learns.sum() > 1 else own]))
        return cls(models, space), seen

    def have_wide_codes(self) -> NDArray[np.bool_]:
        """See :class:`Ensemble`."""
        return np.ones(len(self.models), np.bool_)

    def measure(self, rows: NDArray[Any], features: Matrix) -> tuple[Matrix, Matrix]:
        """See :class:`Ensemble`."""
        del features
        squares = np.stack([np.square(left).sum(axis=1) for left in self._residuals(rows)])
        codes = [model.transform(rows).astype(np.float64) for model in self.models]
        return squares, np.stack(codes)

    def residuals(self, rows: NDArray[Any], features: Matrix) -> Matrix:
        """See :class:`Ensemble`."""
        del features
        return np.stack(self._residuals(rows))

    def _residuals(self, rows: NDArray[Any]) -> list[Matrix]:
        restored = (model.reconstruct(rows) for model in self.models)
        away = (np.subtract(rows, one, dtype=np.float64) for one in restored)
        scale = self._space.scale[: math.prod(rows.shape[1:])]
        return [left.reshape(len(rows), -1) / scale for left in away]

    def stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See :class:`Ensemble`."""
        manifests: list[dict[str, Any]] = []
        tensors: dict[str, Tensor] = {}
        for number, model in enumerate(self.models):
            manifest, parts = model._stored()
            manifests.append({**manifest, "weights": sorted(parts)})
            for part, own in parts.items():
                # Halves share the scaling, and safetensors takes no tensor twice.
                tensors |= {f"{number}/{part}/{n}": value.clone() for n, value in own.items()}
        return {"models": manifests}, tensors


def restore_ensemble(
    kind: str,
    facts: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    space: FeatureSpace,
    path: Any,
) -> Ensemble:
    """Build an ensemble from what it stored.

    Raises
    ------
    ValueError, KeyError, RuntimeError
        If the facts and tensors do not belong together.
    """
    if kind == CommitteeEnsemble.kind:
        committee = Committee(tensors)
        committee.check(len(space.axes) or len(space.centre))
        return CommitteeEnsemble(committee, space)
    if kind != ModelEnsemble.kind:
        raise ValueError(f"there is no ensemble {kind!r}")
    models = []
    for number, manifest in enumerate(facts["models"]):
        cls = class_named(manifest["model"])
        if cls is None:
            raise ValueError(f"there is no model {manifest['model']!r}")
        parts: storage.Parts = {
            part: {
                name.split("/", 2)[2]: value
                for name, value in tensors.items()
                if name.startswith(f"{number}/{part}/")
            }
            for part in manifest["weights"]
        }
        models.append(cls.restore(manifest, parts, path))
    return ModelEnsemble(models, space)
