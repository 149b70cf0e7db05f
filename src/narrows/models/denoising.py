"""The denoising autoencoder: min over f, g of the sum of L(x, g(f(x~))), x~ damaged, x clean.

Vincent, Larochelle, Lajoie, Bengio & Manzagol (2010), "Stacked denoising autoencoders", JMLR 11,
section 3; the emphasis on damaged values is its section 3.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from narrows.corruption import Corruption
from narrows.data.arrays import check_all_finite, read_rows
from narrows.data.lazy import LazyRows
from narrows.errors import DataError
from narrows.models.base import BaseAutoencoder
from narrows.models.rollback import unchanged_on_failure
from narrows.models.validation import check_columns, check_number, check_rows
from narrows.networks import Network


@dataclass(kw_only=True, eq=False, repr=False)
class DenoisingAutoencoder(BaseAutoencoder):
    """A network that sees damaged rows and learns to restore the clean ones.

    Parameters
    ----------
    corrupted_weight : float, default=1
        Weight in the loss of the values that were damaged (the paper's alpha).
    intact_weight : float, default=1
        Weight in the loss of the values that were not (the paper's beta).
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

    corruption: str | Corruption | Sequence[str | Corruption] | None = "gaussian"
    corrupted_weight: float = 1.0
    intact_weight: float = 1.0

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn to restore clean rows from damaged ones.

        Parameters
        ----------
        X : array-like of shape (n, F), (n, H, W) or (n, H, W, C), DataFrame, Tensor or path
            Clean rows, which are damaged while learning; or, with ``y``, rows that are damaged.
        y : array-like of the shape of X, optional
            The clean rows. Labels, of shape (n,), are not used.

        Returns
        -------
        self

        Raises
        ------
        ParameterError, DataError, DivergedError, CheckpointError
            As :meth:`BaseAutoencoder.fit`.

        Notes
        -----
        With pairs, ``corruption`` comes on top of the damage that is there; ``None`` adds none.

        Examples
        --------
        >>> from narrows import DenoisingAutoencoder
        >>> clean = np.random.default_rng(0).random((100, 8, 8))
        >>> model = DenoisingAutoencoder(4, corruption=None, max_epochs=2, random_state=0)
        >>> model.fit(clean**2, clean).denoise(clean[:3] ** 2).shape
        (3, 8, 8)
        """
        targets = read_rows(y)
        if not isinstance(targets, LazyRows) and np.asarray(targets).ndim < 2:
            return super().fit(X)
        with unchanged_on_failure(self):
            self._check_parameters()
            clean = check_rows(self, targets, fitting=True)
            names = getattr(self, "feature_names_in_", None)
            X = read_rows(X)
            check_columns(self, X)
            damaged = check_rows(self, X, fitting=True)
            if isinstance(damaged, LazyRows):
                check_all_finite(damaged)
            if names is not None:
                self.feature_names_in_ = names
            if damaged.shape != clean.shape:
                raise DataError(
                    f"damaged rows have shape {damaged.shape}, clean ones {clean.shape}; "
                    "give a clean row for each damaged one"
                )
            return self._fit(clean, damaged)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Learn from more clean rows; see :meth:`BaseAutoencoder.partial_fit`."""
        if np.asarray(read_rows(y)).ndim > 1:
            raise DataError(
                f"y of shape {np.shape(y)} was given, but partial_fit learns from clean rows, "
                "which it damages by corruption; give pairs of rows to fit"
            )
        return super().partial_fit(X)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("corrupted_weight", self.corrupted_weight, low=0)
        check_number("intact_weight", self.intact_weight, low=0)

    def _reconstruction_loss(
        self, network: Network, code: Tensor, x: Tensor, seen: Tensor
    ) -> Tensor:
        if self.corrupted_weight == self.intact_weight == 1:
            return super()._reconstruction_loss(network, code, x, seen)
        weights = torch.where(seen == x, self.intact_weight, self.corrupted_weight)
        terms = weights * self._reconstruction_terms(network, code, x)
        return terms.flatten(1 - x.ndim).sum(-1)
