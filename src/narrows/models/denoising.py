"""The denoising autoencoder: min over f, g of the sum of L(x, g(f(x~))), x~ damaged, x clean.

Vincent, Larochelle, Lajoie, Bengio & Manzagol (2010), "Stacked denoising autoencoders", JMLR 11,
section 3. The emphasis on damaged values is its section 3.4: the loss is alpha times the sum over
the values in J(x~), those that were drawn to be damaged, plus beta times the sum over the others.
"""

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.corruption import Corruption, hides, levels_of
from narrows.data.arrays import check_all_finite, read_rows
from narrows.data.axes import are_pictures
from narrows.data.batches import RowWeights, without_zero_weights
from narrows.data.crops import SIDE, cut_rows
from narrows.data.formats import NUMERIC_KINDS
from narrows.data.lazy_rows import AnyRows, LazyRows, strided
from narrows.data.noise_level import noise_correlation
from narrows.errors import DataError, ParameterError, warn
from narrows.models import blind_spot
from narrows.models.base import BaseAutoencoder, Objective
from narrows.models.resolve import learns_from_crops
from narrows.models.runs import TrainingData
from narrows.models.validation import check_columns, check_number, check_rows, shape_of
from narrows.networks import Network
from narrows.training.state import Snapshot

# The number of rows whose reconstructions are held at once to be compared.
_ROWS_COMPARED = 1024
# Noisy rows in which noise is measured, and the correlation of neighbours' noise to warn of.
_ROWS_MEASURED, _CORRELATED = 32, 0.15


class DenoisingAutoencoder(BaseAutoencoder):
    """A network that sees damaged rows and learns to restore the clean ones.

    Parameters
    ----------
    corrupted_weight : float, default=1
        Weight in the loss of the values that were drawn to be damaged (the paper's alpha), whether
        or not they changed: a masked black pixel is one of them. Noise and the distortions of
        pictures draw all values; a function may return a mask beside the rows, otherwise the
        values that differ count, as they do in pairs.
    intact_weight : float or "auto", default="auto"
        Weight in the loss of all other values (the paper's beta); "auto" takes 1, and 0 with
        ``corruption="blind_spot"``.
    {parameters}

    Attributes
    ----------
    noise_at_black_, noise_at_white_ : float
        Of models that learned by ``corruption="blind_spot"``: the standard deviation of the noise
        that the rows had at ``scaling_.low`` and ``scaling_.high``, in the data's units; the
        variance is linear between.
    from_pairs_ : bool
        Whether damaged rows and their clean originals were learned from, rather than clean rows
        that ``corruption`` damages, or noisy ones.
    {attributes}

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import DenoisingAutoencoder, datasets
    >>> digits = datasets.load("digits")
    >>> model = DenoisingAutoencoder(
    ...     16, corruption="gaussian", corruption_level=0.2, max_epochs=20, random_state=0)
    >>> model = model.fit(digits.X_train)
    >>> noise = np.random.default_rng(0).normal(0, 51, digits.X_test.shape)
    >>> noisy = digits.X_test + noise
    >>> clean = model.denoise(noisy)
    >>> bool(((clean - digits.X_test) ** 2).mean() < 0.6 * (noise**2).mean())
    True

    Noisy rows teach their own denoiser, without clean ones:

    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:16, :16] / 4
    >>> angles = rng.uniform(0, 6.28, (200, 1, 1))
    >>> waves = 128 + 90 * np.sin(np.cos(angles) * x + np.sin(angles) * y)
    >>> noisy = waves + rng.normal(0, 30, waves.shape)
    >>> own = DenoisingAutoencoder(16, corruption="blind_spot", max_epochs=10, random_state=0)
    >>> restored = own.fit(noisy).denoise(noisy)
    >>> bool(((restored - waves) ** 2).mean() < 0.2 * ((noisy - waves) ** 2).mean())
    True
    """

    _restores: ClassVar[bool] = True

    n_components: int | Literal["auto"] = field(default="auto", kw_only=False)
    corruption: str | Corruption | Sequence[str | Corruption] | None = "gaussian"
    corrupted_weight: float = 1.0
    intact_weight: float | Literal["auto"] = "auto"

    _findings: ClassVar[tuple[str, ...]] = ("noise_at_black_", "noise_at_white_", "from_pairs_")

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn to restore clean rows from damaged ones.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Clean rows, which ``corruption`` damages during training; or, with ``y``, damaged rows.
            With ``corruption="blind_spot"`` noisy rows; no clean ones are needed.
        y : array-like of the shape of X, or path, optional
            The clean rows. Labels, of shape (n,) or (n, 1), are ignored. Of two folders of picture
            files, those of the same names are pairs, of any sizes
            (:func:`narrows.data.pairs.read_pairs`).
        sample_weight : array-like of shape (n,), optional
            Weight of each row or pair of rows; see :meth:`BaseAutoencoder.fit`.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError, DivergedError, CheckpointError
            As :meth:`BaseAutoencoder.fit`.

        Warns
        -----
        NarrowsWarning
            "pairs_unlike", if the damaged rows are farther from the clean ones than rows drawn at
            random would be, for instance because they have other units or another order.
            "noise_correlated", if rows to be learned from by blind spots have noise that
            neighbours share, from which it can be predicted.

        Notes
        -----
        With pairs, ``corruption`` adds to the existing damage; ``None`` adds none. Models that
        restore learn from crops of picture files, at the same places of both.

        Examples
        --------
        >>> from narrows import DenoisingAutoencoder
        >>> clean = np.random.default_rng(0).random((100, 8, 8))
        >>> model = DenoisingAutoencoder(4, corruption=None, max_epochs=2, random_state=0)
        >>> model.fit(clean**2, clean).denoise(clean[:3] ** 2).shape
        (3, 8, 8)
        """
        return self._learn(X, y, sample_weight)

    def _restore(self, rows: NDArray[Any]) -> NDArray[np.floating]:
        if not hides(self.corruption):
            return super()._restore(rows)
        noise = None
        if hasattr(self, "noise_at_black_"):
            noise = blind_spot.Noise(float(self.noise_at_black_), float(self.noise_at_white_))
        return blind_spot.restore(self, rows, noise)

    def _finish(
        self, objective: Objective, rows: AnyRows, weights: RowWeights, *, online: bool
    ) -> None:
        super()._finish(objective, rows, weights, online=online)
        for name in ("noise_at_black_", "noise_at_white_"):
            self.__dict__.pop(name, None)
        if not hides(self.corruption):
            return
        some = np.asarray(strided(rows, _ROWS_MEASURED))
        if (noise := blind_spot.measure_noise(self, some)) is not None:
            self.noise_at_black_, self.noise_at_white_ = map(np.float64, noise)

    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, fitting: bool) -> TrainingData:
        _check_order(X, y)
        if _name_pairs(X, y):
            X, y = self._read_pairs(X, y, fitting=fitting)
        owner = None if fitting else self
        crops = SIDE if fitting and y is None and learns_from_crops(self) else None
        targets, X = read_rows(y, owner), read_rows(X, owner, crops)
        if not _are_clean(targets, X):
            if not hides(self.corruption):
                return super()._check_data(X, None, sample_weight, fitting=fitting)
            if fitting and _shows_pictures(X):
                self._check_levels(most_hidden=1 / 4)
            _warn_of_correlation(X)
            X, sample_weight = self._cut(X, sample_weight, fitting=fitting)
            return super()._check_data(X, None, sample_weight, fitting=fitting)
        if hides(self.corruption):
            raise DataError(
                "y was given, but corruption='blind_spot' learns from noisy rows alone; leave y "
                "out, or learn from the pairs with corruption=None"
            )
        if not fitting:
            clean, damaged = self._check_rows(targets), self._check_rows(X)
        else:
            clean = check_rows(self, targets, fitting=True)
            names = getattr(self, "feature_names_in_", None)
            check_columns(self, X)
            damaged = check_rows(self, X, fitting=True)
            if isinstance(damaged, LazyRows):
                check_all_finite(damaged)
            if names is not None:
                self.feature_names_in_ = names
        if damaged.shape != clean.shape:
            raise _unequal(damaged.shape, clean.shape)
        (clean, damaged), weights = without_zero_weights(sample_weight, clean, damaged)
        return TrainingData(clean, damaged, weights)

    def _read_pairs(self, damaged: Any, clean: Any, *, fitting: bool) -> tuple[Any, Any]:
        """Read damaged pictures and their clean originals from files."""
        from narrows.data.pairs import read_pairs

        crops = SIDE if learns_from_crops(self) else None
        shape = None if fitting or crops else self.sample_shape_
        pairs = read_pairs(damaged, clean, crops=crops, sample_shape=shape)
        return pairs.damaged.values, pairs.clean.values

    def _fit(self, data: TrainingData, begun: Snapshot | None = None) -> Self:
        super()._fit(data, begun)
        self.from_pairs_ = np.bool_(data.damaged is not None)
        return self

    def _cut(self, X: Any, weights: Any, *, fitting: bool) -> tuple[Any, Any]:
        """Cut crops out of large pictures in memory, so that a few, or one, make many rows."""
        is_large = isinstance(X, np.ndarray) and _shows_pictures(X) and min(X.shape[1:3]) > SIDE
        cuts = learns_from_crops(self) if fitting else self.sample_shape_[:2] == (SIDE, SIDE)
        if not (is_large and cuts):
            return X, weights
        values, owner = cut_rows(X)
        return values, None if weights is None else np.asarray(weights)[owner]

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from more clean rows; see :meth:`BaseAutoencoder.partial_fit`."""
        if _are_clean(targets := read_rows(y), X):
            raise DataError(
                f"y of shape {shape_of(targets)} was given, but partial_fit learns from clean "
                "rows, which it damages by corruption; give pairs of rows to fit"
            )
        return super().partial_fit(X, sample_weight=sample_weight)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean squared error of the restored rows: higher is better.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Rows.
        y : array-like of the shape of X, optional
            The clean rows, with which restored rows are compared; by default, X. Labels, of shape
            (n,) or (n, 1), are ignored.

        Returns
        -------
        float
            At most 0: minus the mean over values of the squared difference, in the data's units
            squared.

        Raises
        ------
        NotFittedError, DataError
            As :meth:`transform`; also if the clean rows have another shape than X.
        """
        targets = read_rows(y, self)
        if not _are_clean(targets, X):
            return super().score(X)
        rows, clean = self._check_rows(X), self._check_rows(targets)
        if rows.shape != clean.shape:
            raise _unequal(rows.shape, clean.shape)
        total = 0.0
        for start in range(0, len(rows), _ROWS_COMPARED):
            block = slice(start, start + _ROWS_COMPARED)
            restored = self._restore(rows[block])
            total += float(np.square(np.subtract(restored, clean[block], dtype=np.float64)).sum())
        return -total / rows.size

    def check_parameters(self) -> None:
        """Extend the checks of ``super()`` by the weights of damaged and intact values."""
        super().check_parameters()
        check_number("corrupted_weight", self.corrupted_weight, low=0)
        check_number("intact_weight", self.intact_weight, low=0, words=("auto",))
        if hides(self.corruption) and self._intact_weight:
            raise ParameterError(
                f"intact_weight={self.intact_weight!r} does not go with corruption='blind_spot': a "
                "network that restores what it sees learns its noise; leave it at 'auto'"
            )
        self._check_levels()
        if self.corrupted_weight == self._intact_weight == 0:
            raise ParameterError(
                f"corrupted_weight=0 and intact_weight={self.intact_weight} leave nothing to "
                "learn; give one of them a number above 0"
            )

    def _check_levels(self, most_hidden: float = 1 / 2) -> None:
        """Refuse levels that leave nothing to undo, and more hidden pixels than there can be."""
        if self.corruption is None:
            return
        levels = levels_of(self.corruption, self.corruption_level)
        largest = [0.3 if level == "auto" else float(np.max(level)) for level in levels]
        if max(largest) == 0:
            raise ParameterError(
                f"corruption_level={self.corruption_level!r} damages nothing, so that there is "
                "nothing to undo; give a number above 0 or a range such as (0.02, 0.2) (with pairs "
                "of damaged and clean rows: corruption=None)"
            )
        if hides(self.corruption) and levels != ["auto"] and largest[0] > most_hidden:
            raise ParameterError(
                f"corruption_level={self.corruption_level!r} is not allowed: with "
                "corruption='blind_spot' it is the share of hidden pixels, which is at most 1/4 in "
                "pictures and 1/2 in signals, as no two of them are neighbours; leave it at 'auto'"
            )

    @property
    def _intact_weight(self) -> float:
        weight = self.intact_weight
        return float(not hides(self.corruption)) if isinstance(weight, str) else weight

    def _reconstruction_loss(
        self, network: Network, code: Tensor, x: Tensor, drawn: Tensor | None
    ) -> Tensor:
        if self.corrupted_weight == self._intact_weight == 1:
            return super()._reconstruction_loss(network, code, x, drawn)
        weights: Tensor | float = self._intact_weight
        if drawn is not None:
            weights = torch.where(drawn, self.corrupted_weight, self._intact_weight)
        terms = weights * self.reconstruction_terms(network, code, x)
        return terms.flatten(1 - x.ndim).sum(-1)


def _are_clean(y: Any, X: Any) -> bool:
    """Return whether ``y`` holds clean rows, even of another shape than X, and not labels."""
    if isinstance(y, LazyRows):
        return True
    shape, shape_of_x = shape_of(y)[1:], shape_of(X)[1:]
    return len(shape) > 0 and (shape != (1,) or shape_of_x == (1,))


def _name_pairs(X: Any, y: Any) -> bool:
    """Return whether ``y`` is the path of picture files, the clean originals of others."""
    if not (isinstance(X, str | Path) and isinstance(y, str | Path)):
        return False
    # Imported here, as the readers of pictures take a while to import.
    from narrows.data.files import picture_files

    return picture_files(Path(y)) is not None


def _warn_of_correlation(X: Any) -> None:
    """Warn of pictures whose noise neighbours share."""
    if not _shows_pictures(X):
        return
    some = np.asarray(strided(X, _ROWS_MEASURED))
    if some.dtype.kind not in NUMERIC_KINDS or not np.isfinite(some).all():
        return  # which is refused below
    found = float(np.mean([noise_correlation(picture) for picture in some]))
    if abs(found) > _CORRELATED:
        warn(
            f"the noise of neighbouring pixels correlates by {found:.2f}, as after JPEG, resizing "
            "or demosaicing; what neighbours share is predicted from them, and stays: give "
            "pictures as the sensor recorded them, or halve their size first",
            kind="noise_correlated",
            correlation=found,
        )


def _shows_pictures(X: Any) -> bool:
    """Return whether rows are pictures, of any number of channels."""
    shape = shape_of(X)
    return 0 not in shape and (len(shape) == 4 or (len(shape) == 3 and are_pictures(shape[1:])))


def _check_order(X: Any, y: Any) -> None:
    """Refuse data frames with different indices, since pairs are formed by position."""
    if hasattr(X, "iloc") and hasattr(y, "iloc") and not X.index.equals(y.index):
        raise DataError(
            "the data frames of damaged and clean rows have different indices, and rows are paired "
            "by position; bring them into one order (y.loc[X.index]) or drop the indices "
            "(reset_index(drop=True))"
        )


def _unequal(damaged: tuple[int, ...], clean: tuple[int, ...]) -> DataError:
    """Make the error for pairs of different shapes."""
    return DataError(
        f"damaged rows have shape {damaged}, clean ones {clean}; give a clean row for each damaged "
        "one"
    )
