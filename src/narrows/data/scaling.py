"""What is learned from the training data on the way in, and undone on the way out.

One pass collects each feature's mean and variance by the pairwise update of Chan, Golub & LeVeque
(1983), eq. 2.1, which stays exact where sums of squares would cancel.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from narrows.errors import ParameterError

ScalingName = Literal["auto", "none", "unit", "global", "standard"]
SCALINGS = ("auto", "none", "unit", "global", "standard")


@dataclass(frozen=True)
class Statistics:
    """What one pass over the rows tells.

    Attributes
    ----------
    mean, variance : ndarray of shape (F,)
        Of each feature, in float64.
    low, high : float
        The smallest and the largest value of all.
    binary : bool
        Whether every value is 0 or 1.
    dtype : str
        The type of the values.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    low: float
    high: float
    binary: bool
    dtype: str

    @classmethod
    def of(cls, X: NDArray[Any], block: int = 4096) -> Self:
        """Collect them in blocks of rows, so that no float copy of the whole is made."""
        count = 0
        mean = np.zeros(X[0].size)
        spread = np.zeros(X[0].size)
        low, high, binary = np.inf, -np.inf, True
        for start in range(0, len(X), block):
            rows = X[start : start + block].reshape(-1, mean.size).astype(np.float64)
            low, high = min(low, float(rows.min())), max(high, float(rows.max()))
            binary = binary and low >= 0 and high <= 1 and bool(((rows == 0) | (rows == 1)).all())
            block_mean = rows.mean(axis=0)
            delta, total = block_mean - mean, count + len(rows)
            spread += ((rows - block_mean) ** 2).sum(axis=0) + delta**2 * count * len(rows) / total
            mean += delta * len(rows) / total
            count = total
        return cls(mean, spread / count, low, high, binary, X.dtype.name)


@dataclass(frozen=True)
class Scaling:
    """The map x -> (x - shift) / scale between the data's units and the network's.

    Attributes
    ----------
    shift, scale : Tensor of shape () or (F,)
        float32, on any one device.
    low, high : float
        The values that black and white stand for when rows are shown as, or read from, pictures.
    bounded : bool
        Whether scaled values lie in [0, 1].
    dtype : str
        The type of the training data.

    Examples
    --------
    >>> import numpy as np
    >>> pixels = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    >>> scaling = Scaling.learn("auto", Statistics.of(pixels))
    >>> scaling(torch.from_numpy(pixels))
    tensor([[0.0000, 1.0000],
            [0.2000, 0.4000]])
    """

    shift: Tensor
    scale: Tensor
    low: float
    high: float
    bounded: bool
    dtype: str

    @classmethod
    def learn(cls, name: ScalingName, statistics: Statistics) -> Self:
        """Choose the map for data with these statistics.

        Parameters
        ----------
        name : {"auto", "none", "unit", "global", "standard"}
            See the parameter ``scaling`` of the models.
        statistics : Statistics
            Of the training data.

        Raises
        ------
        ParameterError
            If the name is not one of these.
        """
        if name not in SCALINGS:
            raise ParameterError(f"scaling={name!r} is not known; use one of {', '.join(SCALINGS)}")
        low, high, dtype = statistics.low, statistics.high, statistics.dtype
        in_unit = low >= 0 and high <= 1
        # An 8-bit type says its range by itself, and so does data that keeps to [0, 1].
        if dtype == "uint8" and not statistics.binary:
            low, high = 0.0, 255.0
        elif in_unit:
            low, high = 0.0, 1.0
        if name == "auto":
            name = "unit" if in_unit or dtype == "uint8" else "global"
        shift: NDArray[np.float64] | float
        scale: NDArray[np.float64] | float
        match name:
            case "none":
                shift, scale = 0.0, 1.0
            case "unit":
                shift, scale = low, high - low
            case "global":
                shift, scale = statistics.mean, np.sqrt(statistics.variance.mean())
            case "standard":
                shift, scale = statistics.mean, np.sqrt(statistics.variance)
                # A constant feature stays at zero instead of dividing by it; rounding in the
                # mean of large values must not be taken for variance.
                tiny = 1000 * np.finfo(np.float64).eps * np.abs(statistics.mean)
                scale = np.where(scale > tiny, scale, 1.0)
        return cls(
            torch.as_tensor(shift, dtype=torch.float32),
            torch.as_tensor(scale, dtype=torch.float32),
            low,
            high,
            bounded=name == "unit" or (name == "none" and in_unit),
            dtype=dtype,
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Scale rows: any type, shape (B, ...), to float32 of the same shape."""
        if self.shift.ndim:
            wide = x.double() if x.dtype in (torch.float64, torch.int64, torch.int32) else x
            return ((wide.flatten(1) - self.shift) / self.scale).float().view(x.shape)
        y = x.to(torch.float32)
        if self.shift != 0:
            y = y - self.shift
        return y if self.scale == 1 else y * (1 / self.scale)

    def undo(self, y: Tensor) -> Tensor:
        """Map the network's float32 rows of shape (B, ...) back to the data's units."""
        if self.shift.ndim:
            return (y.flatten(1) * self.scale + self.shift).view(y.shape)
        return y * self.scale + self.shift

    def from_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Turn pixels 0 .. 255 into values in the data's units.

        Parameters
        ----------
        pixels : ndarray of uint8

        Returns
        -------
        ndarray
            The same array where the data are such pixels, otherwise float32.
        """
        if (self.low, self.high) == (0.0, 255.0):
            return pixels
        span = np.float32(self.high - self.low)
        return pixels.astype(np.float32) * (span / np.float32(255)) + np.float32(self.low)

    def to_pixels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn values in the data's units into pixels 0 .. 255, rounded, cut off at the ends.

        Parameters
        ----------
        values : ndarray
            Any shape.

        Returns
        -------
        ndarray of uint8
        """
        share = (np.asarray(values, np.float32) - self.low) / max(self.high - self.low, 1e-12)
        pixels: NDArray[np.uint8] = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
        return pixels

    def tensors(self) -> dict[str, Tensor]:
        """Return what is kept beside the weights; ``facts`` has the rest."""
        return {"shift": self.shift, "scale": self.scale}

    def facts(self) -> dict[str, Any]:
        """Return what is kept in JSON."""
        return {"low": self.low, "high": self.high, "bounded": self.bounded, "dtype": self.dtype}
