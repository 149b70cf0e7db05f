"""Who judges rows: the members of a committee, or models of Narrows, each by what it has not seen.

A judge leaves a residual of each row, and has a code for it. What it has learned from, it knows by
heart; therefore several judges see different rows, and each row is judged by the others.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from narrows.models.anomaly_parts import Space
from narrows.models.base import BaseAutoencoder
from narrows.models.committee import Committee
from narrows.models.learned_rows import LEARNED
from narrows.models.over_time import Places
from narrows.models.registry import class_named

if TYPE_CHECKING:
    from narrows import storage

Matrix = NDArray[np.float64]

# The rows that a member of the committee sees, at least and for each column, and the numbers in its
# code: fixed ones, and shares of the number of columns.
_ROWS, _ROWS_A_COLUMN, _CODES, _SHARES = 128, 2, (1, 2, 4, 8), (4, 2)
_FINE = 8  # the numbers of a code that restores waves
_FOLDS = 5  # the models that are trained on four fifths of the rows each


class Judges(ABC):
    """M judges of rows, which are given as they are, (n, ...), and in coordinates, (n, r)."""

    kind: str

    @abstractmethod
    def measure(self, rows: NDArray[Any], placed: Matrix) -> tuple[Matrix, Matrix]:
        """Return squared lengths of residuals (M, n) and codes (M, n, K)."""

    @abstractmethod
    def residuals(self, rows: NDArray[Any], placed: Matrix) -> Matrix:
        """Return the residuals of few rows in their columns, (M, n, F)."""

    @abstractmethod
    def are_fine(self) -> NDArray[np.bool_]:
        """Return which judges have codes wide enough for the waves of a signal, (M,)."""

    @abstractmethod
    def stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return facts in JSON types, and tensors."""


class CommitteeJudges(Judges):
    """Small networks, each of which has seen a few hundred rows."""

    kind = "committee"

    def __init__(self, committee: Committee, space: Space) -> None:
        self.committee = committee
        self._space = space

    @classmethod
    def fit(
        cls,
        placed: Matrix,
        space: Space,
        count: int,
        generator: np.random.Generator,
        *,
        places: Places | None = None,
    ) -> tuple["CommitteeJudges", NDArray[np.bool_]]:
        """Train the networks; return which rows each has seen as well, (count, n).

        Of windows at ``places``, each sees some of half of the blocks, and the next one some of
        the other half.
        """
        n_rows, width = placed.shape
        n_seen = min(max(_ROWS, _ROWS_A_COLUMN * width), max(1, n_rows // 2))
        pools = [np.arange(n_rows)] * count
        if places is not None:
            halves = (half for _ in range(-(-count // 2)) for half in places.halves(generator))
            pools = [next(halves) for _ in range(count)]
            n_seen = min(n_seen, *map(len, pools))
        seen = np.array([generator.permutation(pool)[:n_seen] for pool in pools])
        cycle = (*_CODES, *(width // share for share in _SHARES))
        most = max(1, min(width, n_seen) - 1)
        sizes = [min(most, max(1, cycle[member % len(cycle)])) for member in range(count)]
        seeds = generator.integers(2**31, size=count).tolist()
        saw = np.zeros((count, n_rows), np.bool_)
        np.put_along_axis(saw, seen, True, axis=1)
        if places is not None:
            saw = np.array([places.overlapped(own) for own in saw])
        return cls(Committee.fit(placed, seen, sizes=sizes, seeds=seeds), space), saw

    def are_fine(self) -> NDArray[np.bool_]:
        """See :class:`Judges`."""
        sizes = self.committee.tensors()["mask"].numpy().sum(axis=(1, 2))
        fine: NDArray[np.bool_] = sizes >= min(_FINE, sizes.max())
        return fine

    def measure(self, rows: NDArray[Any], placed: Matrix) -> tuple[Matrix, Matrix]:
        """See :class:`Judges`."""
        squares, codes = self.committee.measure(placed)
        return squares + np.square(self._beside(rows, placed)).sum(axis=1), codes

    def residuals(self, rows: NDArray[Any], placed: Matrix) -> Matrix:
        """See :class:`Judges`."""
        left = self._space.to_columns(self.committee.residuals(placed))
        return left + self._beside(rows, placed)

    def _beside(self, rows: NDArray[Any], placed: Matrix) -> Matrix:
        """Return what the principal components leave of rows, (n, F); zeros without them."""
        return self._space.left_out(rows.reshape(len(rows), -1), placed)

    def stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See :class:`Judges`."""
        return {}, self.committee.tensors()


class ModelJudges(Judges):
    """Models of Narrows: those of a cross-validation, or one that was trained before."""

    kind = "models"

    def __init__(self, models: Sequence[BaseAutoencoder], space: Space) -> None:
        self.models = list(models)
        self._space = space

    @classmethod
    def fit(
        cls,
        model: BaseAutoencoder,
        rows: NDArray[Any],
        space: Space,
        generator: np.random.Generator,
        *,
        places: Places | None = None,
    ) -> tuple["ModelJudges", NDArray[np.bool_]]:
        """Train a model five times without a fifth of the rows; or take one that is fitted.

        Of windows at ``places``, the fifths are made of blocks.
        """
        if model.__sklearn_is_fitted__():
            known, saw = model.learned_rows_, np.zeros((1, len(rows)), np.bool_)
            if known is not None:
                saw[0] = known.membership(rows) == LEARNED
            if places is not None:
                saw[0] = places.overlapped(saw[0])
            return cls([model], space), saw
        blocks = np.arange(len(rows)) if places is None else places.blocks()
        names = generator.permutation(np.unique(blocks))
        parts = np.array_split(names, min(_FOLDS, len(names)))
        saw = np.array([~np.isin(blocks, part) for part in parts])
        models = []
        for own in saw:
            learns = own if places is None else ~places.overlapped(~own)
            fresh = clone(model).set_params(random_state=int(generator.integers(2**31)))
            models.append(fresh.fit(rows[learns if learns.sum() > 1 else own]))
        return cls(models, space), saw

    def are_fine(self) -> NDArray[np.bool_]:
        """See :class:`Judges`."""
        return np.ones(len(self.models), np.bool_)

    def measure(self, rows: NDArray[Any], placed: Matrix) -> tuple[Matrix, Matrix]:
        """See :class:`Judges`."""
        del placed
        squares = np.stack([np.square(left).sum(axis=1) for left in self._residuals(rows)])
        codes = [model.transform(rows).astype(np.float64) for model in self.models]
        return squares, np.stack(codes)

    def residuals(self, rows: NDArray[Any], placed: Matrix) -> Matrix:
        """See :class:`Judges`."""
        del placed
        return np.stack(self._residuals(rows))

    def _residuals(self, rows: NDArray[Any]) -> list[Matrix]:
        restored = (model.reconstruct(rows) for model in self.models)
        away = (np.subtract(rows, one, dtype=np.float64) for one in restored)
        scale = self._space.scale[: math.prod(rows.shape[1:])]
        return [left.reshape(len(rows), -1) / scale for left in away]

    def stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See :class:`Judges`."""
        manifests: list[dict[str, Any]] = []
        tensors: dict[str, Tensor] = {}
        for number, model in enumerate(self.models):
            manifest, parts = model._stored()
            manifests.append({**manifest, "weights": sorted(parts)})
            for part, own in parts.items():
                # Halves share the scaling, and safetensors takes no tensor twice.
                tensors |= {f"{number}/{part}/{n}": value.clone() for n, value in own.items()}
        return {"models": manifests}, tensors


def restore_judges(
    kind: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], space: Space, path: Any
) -> Judges:
    """Build judges from what they stored.

    Raises
    ------
    ValueError, KeyError, RuntimeError
        If the facts and tensors do not belong together.
    """
    if kind == CommitteeJudges.kind:
        committee = Committee(tensors)
        committee.check(len(space.axes) or len(space.centre))
        return CommitteeJudges(committee, space)
    if kind != ModelJudges.kind:
        raise ValueError(f"there are no judges {kind!r}")
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
    return ModelJudges(models, space)
