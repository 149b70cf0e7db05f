"""The denoising autoencoder: min over f, g of the sum of L(x, g(f(x~))), x~ damaged, x clean.

Vincent, Larochelle, Lajoie, Bengio & Manzagol (2010), "Stacked denoising autoencoders", JMLR 11,
section 3. The emphasis on damaged values is its section 3.4: the loss is alpha times the sum over
the values in J(x~), those that were drawn to be damaged, plus beta times the sum over the others.
"""

from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from narrows.corruption import Corruption
from narrows.data.arrays import check_all_finite, read_rows
from narrows.data.batches import without_zero_weights
from narrows.data.crops import SIDE
from narrows.data.lazy_rows import LazyRows
from narrows.errors import DataError, ParameterError
from narrows.models.base import BaseAutoencoder
from narrows.models.resolve import learns_from_crops
from narrows.models.runs import TrainingData
from narrows.models.validation import check_columns, check_number, check_rows, shape_of
from narrows.networks import Network

# The number of rows whose reconstructions are held at once to be compared.
_ROWS_COMPARED = 1024


class DenoisingAutoencoder(BaseAutoencoder):
    """A network that sees damaged rows and learns to restore the clean ones.

    Parameters
    ----------
    corrupted_weight : float, default=1
        Weight in the loss of the values that were drawn to be damaged (the paper's alpha), whether
        or not they changed: a masked black pixel is one of them. Noise and the distortions of
        pictures draw all values; a function may return a mask beside the rows, otherwise the
        values that differ count, as they do in pairs.
    intact_weight : float, default=1
        Weight in the loss of all other values (the paper's beta).
    {parameters}

    Attributes
    ----------
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
    """

    _restores: ClassVar[bool] = True

    n_components: int | Literal["auto"] = field(default="auto", kw_only=False)
    corruption: str | Corruption | Sequence[str | Corruption] | None = "gaussian"
    corrupted_weight: float = 1.0
    intact_weight: float = 1.0

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn to restore clean rows from damaged ones.

        Parameters
        ----------
        X : array-like of shape (n, *sample_shape), DataFrame, Tensor or path
            Clean rows, which ``corruption`` damages during training; or, with ``y``, damaged rows.
        y : array-like of the shape of X, optional
            The clean rows. Labels, of shape (n,) or (n, 1), are ignored.
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

        Notes
        -----
        With pairs, ``corruption`` adds to the existing damage; ``None`` adds none.

        Examples
        --------
        >>> from narrows import DenoisingAutoencoder
        >>> clean = np.random.default_rng(0).random((100, 8, 8))
        >>> model = DenoisingAutoencoder(4, corruption=None, max_epochs=2, random_state=0)
        >>> model.fit(clean**2, clean).denoise(clean[:3] ** 2).shape
        (3, 8, 8)
        """
        return self._learn(X, y, sample_weight)

    def _check_data(self, X: Any, y: Any, sample_weight: Any, *, fitting: bool) -> TrainingData:
        _check_order(X, y)
        owner = None if fitting else self
        crops = SIDE if fitting and y is None and learns_from_crops(self) else None
        targets, X = read_rows(y, owner), read_rows(X, owner, crops)
        if not _are_clean(targets, X):
            return super()._check_data(X, None, sample_weight, fitting=fitting)
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
            restored = self._decode(self._encode(rows[block]), rows.shape[1:])
            total += float(np.square(np.subtract(restored, clean[block], dtype=np.float64)).sum())
        return -total / rows.size

    def check_parameters(self) -> None:
        """Extend the checks of ``super()`` by the weights of damaged and intact values."""
        super().check_parameters()
        check_number("corrupted_weight", self.corrupted_weight, low=0)
        check_number("intact_weight", self.intact_weight, low=0)
        if self.corrupted_weight == self.intact_weight == 0:
            raise ParameterError(
                "corrupted_weight=0 and intact_weight=0 leave nothing to learn; give one of them a "
                "number above 0"
            )

    def _reconstruction_loss(
        self, network: Network, code: Tensor, x: Tensor, drawn: Tensor | None
    ) -> Tensor:
        if self.corrupted_weight == self.intact_weight == 1:
            return super()._reconstruction_loss(network, code, x, drawn)
        weights: Tensor | float = self.intact_weight
        if drawn is not None:
            weights = torch.where(drawn, self.corrupted_weight, self.intact_weight)
        terms = weights * self.reconstruction_terms(network, code, x)
        return terms.flatten(1 - x.ndim).sum(-1)


def _are_clean(y: Any, X: Any) -> bool:
    """Return whether ``y`` holds clean rows, even of another shape than X, and not labels."""
    if isinstance(y, LazyRows):
        return True
    shape, shape_of_x = shape_of(y)[1:], shape_of(X)[1:]
    return len(shape) > 0 and (shape != (1,) or shape_of_x == (1,))


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
