"""How codes are spread: what sliders range over, and where new codes are drawn from."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

# Codes that it is measured on.
_CODES = 10_000


@dataclass(frozen=True)
class Spread:
    """How codes are spread.

    Attributes
    ----------
    mean : ndarray of shape (K,)
        Of the codes.
    covariance : ndarray of shape (K, K)
        Of the codes; of a single one, zeros.
    low, high : ndarray of shape (K,)
        Their ends.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, codes: NDArray[np.float32]) -> Self:
        """Measure codes (n, K), or some thousands of them."""
        some = codes[:: max(1, len(codes) // _CODES)].astype(np.float64)
        covariance = np.atleast_2d(np.cov(some, rowvar=False, ddof=0))
        return cls(some.mean(axis=0), covariance, some.min(axis=0), some.max(axis=0))

    @classmethod
    def normal(cls, width: int) -> Self:
        """Measure what is drawn from the prior of a variational model."""
        codes = np.random.default_rng(0).standard_normal((_CODES, width), np.float32)
        return cls.of(codes)

    def describe(self) -> dict[str, Any]:
        """Tell how the code's units vary, the one that varies most first."""
        variance = np.diag(self.covariance)
        total = float(variance.sum()) or 1.0
        units = [
            {
                "index": int(unit),
                "mean": float(self.mean[unit]),
                "std": math.sqrt(variance[unit]),
                "min": float(self.low[unit]),
                "max": float(self.high[unit]),
                "share": float(variance[unit]) / total,
            }
            for unit in np.argsort(-variance, kind="stable")
        ]
        return {"units": units, "mean_code": self.mean.tolist()}

    def draw(self, count: int, seed: int) -> NDArray[np.float64]:
        """Draw codes from the normal distribution of this mean and covariance."""
        generator = np.random.default_rng(seed)
        drawn: NDArray[np.float64] = generator.multivariate_normal(
            self.mean, self.covariance, count, method="eigh"
        )
        return drawn
