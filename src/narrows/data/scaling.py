"""Statistics of the training data, and the scaling between data and network.

One pass collects the mean and variance of each feature by the pairwise update of Chan, Golub &
LeVeque (1983), eq. 2.1, which is accurate where sums of squares would cancel.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from narrows.data.arrays import check_finite
from narrows.data.depths import SHADES, bring
from narrows.data.formats import is_numeric
from narrows.data.lazy_rows import LazyRows, MappedRows, StoredRows
from narrows.errors import DataError, ParameterError

Observer = Callable[[NDArray[Any], NDArray[np.bool_]], None]
ScalingName = Literal["auto", "none", "unit", "global", "standard"]
SCALINGS = ("auto", "none", "unit", "global", "standard")

# Usual intensity ranges, the narrowest first. One is assumed only if the data exceed this share of
# its upper end: digits with values from 0 to 16 are not dark 8-bit pictures.
_CONVENTIONS = ((0.0, 1.0), (-0.5, 0.5), (-1.0, 1.0), (0.0, 255.0))
_LEAST_SHARE = 1 / 4
# Those that floats fill as pixels do: tables the first alone, pictures all.
_RANGES_OF_PICTURES = ((0.0, 1.0), (0.0, 255.0))
# Below this root mean variance of the features, a sigmoid learns data in [0, 1] worse than a linear
# output (measured on pictures, histograms, tables).
_LEAST_SPREAD = 1 / 16
# Features or channels whose standard deviations differ by a larger factor have different units.
ONE_UNIT = 3.0
_BLOCK = 1024  # rows that are processed at a time, fewer if they are large
_VALUES = 1 << 23  # values that are processed at a time
_WIDE = (torch.float64, torch.int64, torch.int32, torch.uint16)
_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True)
class Statistics:
    """The statistics of one pass over the rows.

    Attributes
    ----------
    mean, variance : ndarray of shape (F,)
        Mean and variance of each feature, in float64; of shape () if features are pooled.
    low, high : float
        The smallest and the largest of all values.
    binary : bool
        Whether every value is 0 or 1.
    dtype : str
        Type of the values.
    least, most : ndarray of shape (F,)
        The smallest and the largest value of each feature, in float64.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    low: float
    high: float
    binary: bool
    dtype: str
    least: NDArray[np.float64]
    most: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        X: NDArray[Any] | LazyRows,
        held_out: NDArray[np.int64] | None = None,
        observe: Observer | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> Self:
        """Collect the statistics in blocks of rows that fit into the processor's caches.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n, *sample_shape)
            The rows.
        held_out : ndarray of int, optional
            Numbers of the held-out rows, which are left out, ascending.
        observe : callable, optional
            Called with each block of rows, and a mask of its held-out rows, to use the same pass
            over the rows.
        weights : ndarray of shape (n,), optional
            Weights of the rows in mean and variance, above 0.

        Raises
        ------
        DataError
            If lazy rows hold values that are not finite.
        """
        size = min(_BLOCK, max(1, _VALUES // max(1, math.prod(X.shape[1:]))))
        left_out = np.empty(0, np.int64) if held_out is None else held_out
        count: float = 0
        mean = np.zeros(X[0].size)
        spread = np.zeros(X[0].size)
        least, most = np.full(mean.size, np.inf), np.full(mean.size, -np.inf)
        binary = True
        start = 0
        for block in _blocks(X, size):
            first, last = np.searchsorted(left_out, [start, start + len(block)])
            mask = np.zeros(len(block), bool)
            mask[left_out[first:last] - start] = True
            if observe is not None:
                observe(block, mask)
            block_weights = None if weights is None else weights[start : start + len(block)][~mask]
            start += len(block)
            learned = block[~mask] if first < last else block
            if not len(learned):
                continue
            rows = learned.reshape(-1, mean.size).astype(np.float64, order="C")
            np.minimum(least, rows.min(axis=0), out=least)
            np.maximum(most, rows.max(axis=0), out=most)
            in_unit = least.min() >= 0 and most.max() <= 1
            binary = binary and in_unit and bool(((rows == 0) | (rows == 1)).all())
            if block_weights is None:
                weight: float = len(rows)
                block_mean = rows.mean(axis=0)
                block_spread = ((rows - block_mean) ** 2).sum(axis=0)
            else:
                weight = float(block_weights.sum())
                block_mean = block_weights @ rows / weight
                block_spread = block_weights @ (rows - block_mean) ** 2
            delta, total = block_mean - mean, count + weight
            spread += block_spread + delta**2 * count * weight / total
            mean += delta * weight / total
            count = total
        low, high = float(least.min()), float(most.max())
        return cls(mean, spread / count, low, high, binary, X.dtype.name, least, most)

    def by_channel(self, n_channels: int) -> Self:
        """Return the statistics of rows (L, C) with one mean and variance per channel."""
        means = self.mean.reshape(-1, n_channels)
        variances = self.variance.reshape(-1, n_channels).mean(axis=0) + means.var(axis=0)
        places = len(means)
        return replace(
            self, mean=np.tile(means.mean(axis=0), places), variance=np.tile(variances, places)
        )

    def pooled(self) -> Self:
        """Return the statistics of all values as one feature."""
        variance = self.variance.mean() + self.mean.var()
        return replace(
            self,
            mean=self.mean.mean(),
            variance=np.asarray(variance),
            least=self.least.min(),
            most=self.most.max(),
        )


@dataclass(frozen=True)
class Scaling:
    """The map x -> (x - shift) / scale between the data's units and the network's.

    Attributes
    ----------
    shift, scale : Tensor of shape () or (F,)
        float64.
    low, high : float
        The values of black and white when rows are shown as pictures, or read from them. 0 and 1
        for data of zeros and ones; 0 and 255 for other uint8; 0 and 65 535 for pictures in uint16
        that reach a quarter of that. For other data, the narrowest of [0, 1], [-0.5, 0.5], [-1, 1]
        and [0, 255] that holds them all, if the largest magnitude is more than a quarter of its
        upper end; otherwise the smallest and the largest value of the training data.
    bounded : bool
        Whether scaled values lie in [0, 1].
    dtype : str
        Type of the training data.

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
    def learn(
        cls,
        name: ScalingName,
        statistics: Statistics,
        columns_shape: tuple[int, ...] = (),
        *,
        are_levels: bool = True,
        units_differ: bool = False,
        bits_differ: bool = False,
    ) -> Self:
        """Choose the scaling for data with these statistics.

        Parameters
        ----------
        name : {"auto", "none", "unit", "global", "standard"}
            See the parameter ``scaling`` of the models.
        statistics : Statistics
            Statistics of the training data.
        columns_shape : tuple of int
            Shape (F,) of a table's rows, or (L, C) of a signal's, whose columns or channels may
            have different units. Otherwise ``()``.
        are_levels : bool, default=True
            Whether "auto" takes uint8, and floats that fill [0, 1], for pixels.
        units_differ : bool, default=False
            Whether "auto" takes columns for numbers in different units, even if their standard
            deviations are alike, unless they are levels or all zeros and ones.
        bits_differ : bool, default=False
            Whether it takes columns of zeros and ones, too, for such numbers.

        Raises
        ------
        ParameterError
            If the name is not one of these.
        """
        if name not in SCALINGS:
            raise ParameterError(
                f"scaling={name!r} is not known; use one of {', '.join(SCALINGS)}",
                parameter="scaling",
            )
        low, high = _black_and_white(statistics, are_pictures=not columns_shape)
        if columns_shape[1:]:
            statistics = statistics.by_channel(columns_shape[-1])
        if name == "auto":
            name = "global"
            differ = bool(columns_shape) and unit_ratio(statistics) > ONE_UNIT
            # Channels that differ are no colours.
            are_levels = are_levels and not (differ and len(columns_shape) > 1)
            ranges = _RANGES_OF_PICTURES[: None if not columns_shape else 1]
            fills = are_levels and _fills_its_range(statistics, (low, high), ranges)
            if not bits_differ if statistics.binary else fills:
                name = "unit"
            elif differ or units_differ:
                name = "standard"
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
                # Constant features are scaled by 1.
                scale = np.where(_varies(statistics), scale, 1.0)
        in_unit = statistics.low >= 0 and statistics.high <= 1
        return cls(
            torch.as_tensor(shift, dtype=torch.float64),
            torch.as_tensor(scale, dtype=torch.float64),
            low,
            high,
            bounded=name == "unit" or (name == "none" and in_unit),
            dtype=statistics.dtype,
        )

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], width: int) -> Self:
        """Restore a scaling from its ``tensors()`` and ``facts()``.

        Parameters
        ----------
        tensors, facts : mapping
            The stored ones, which are validated.
        width : int
            The number of features, F.

        Raises
        ------
        KeyError, TypeError, ValueError
            If they are not those of a scaling.
        """
        scaling = cls(tensors["shift"], tensors["scale"], **facts)
        for name, tensor in scaling.tensors().items():
            if tensor.shape not in ((), (width,)) or not tensor.is_floating_point():
                raise ValueError(
                    f"scaling.{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, not one "
                    f"float or {width}"
                )
            if not tensor.isfinite().all() or (name == "scale" and not (tensor > 0).all()):
                raise ValueError(f"scaling.{name} holds values that cannot be scaled by")
        ends = (scaling.low, scaling.high)
        if not all(type(end) in (int, float) for end in ends) or not np.isfinite(ends).all():
            raise ValueError(f"scaling.low and scaling.high are {ends}, not two numbers")
        if not isinstance(scaling.bounded, bool):
            raise TypeError(f"scaling.bounded is {scaling.bounded!r}, not true or false")
        if not isinstance(scaling.dtype, str) or not is_numeric(np.dtype(scaling.dtype)):
            raise TypeError(f"scaling.dtype is {scaling.dtype!r}, not a type of numbers")
        return scaling

    @property
    def value_type(self) -> type[np.float32 | np.float64]:
        """The type of restored rows: float64 if float32 cannot hold the training data."""
        return np.float32 if np.can_cast(self.dtype, np.float32) else np.float64

    def in_double(self) -> Self:
        """Return the same scaling, whose :meth:`undo` returns float64.

        Reconstruction errors of rows far from zero are measured by it, without rounding to float32.
        """
        if self.value_type is np.float64:
            return self
        # The network was trained on rows that were shifted in single precision.
        shift, scale = (t.float().double() for t in (self.shift, self.scale))
        return replace(self, shift=shift, scale=scale, dtype="float64")

    def __call__(self, x: Tensor) -> Tensor:
        """Scale rows: any type, shape (B, ...), to float32 of the same shape."""
        # Differences of large values, and tiny values, need double precision.
        kind = torch.float64 if x.dtype in _WIDE else torch.float32
        shift, factor, scale = self._constants(x.device, kind)
        # One memory order, so that products round alike.
        if shift is None and factor is None:
            return x.to(torch.float32).contiguous()
        y = x.to(kind).flatten(1).contiguous()
        if shift is not None:
            y = (y - shift).div_(scale)
        elif factor is not None:
            y = y * factor
        return y.to(torch.float32).view(x.shape)

    def exactly(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Scale rows (B, ...) in double precision, and flatten them to (B, F)."""
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        scaled: NDArray[np.float64] = (flat - self.shift.numpy()) / self.scale.numpy()
        return scaled

    def _constants(
        self, device: torch.device, kind: torch.dtype
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return shift, 1 / scale and scale on a device; None for the first two if trivial.

        They are compared and moved once, as each comparison on a GPU synchronises.
        """
        key = (device, kind)
        if key not in self._moved:
            shifted, scaled = bool((self.shift != 0).any()), bool((self.scale != 1).any())
            with torch.inference_mode(mode=False):  # tensors made within cannot be used in training
                shift, scale = (t.to(device, kind) for t in (self.shift, self.scale))
                self._moved[key] = (
                    shift if shifted else None,
                    1 / scale if scaled else None,
                    scale,
                )
        return self._moved[key]

    @cached_property
    def _moved(
        self,
    ) -> dict[tuple[torch.device, torch.dtype], tuple[Tensor | None, Tensor | None, Tensor]]:
        return {}

    def undo(self, y: Tensor) -> Tensor:
        """Map the network's float32 rows of shape (B, ...) back to the data's units.

        They are in :attr:`value_type`.
        """
        kind = torch.float32 if self.value_type is np.float32 else torch.float64
        shift, scale = (t.to(y.device, kind) for t in (self.shift, self.scale))
        return (y.to(kind).flatten(1) * scale).add_(shift).view(y.shape)

    @overload
    def from_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[Any]: ...

    @overload
    def from_pixels(self, pixels: StoredRows) -> StoredRows: ...

    def from_pixels(self, pixels: Any) -> Any:
        """Turn pixels 0 .. 255 into values in the data's units, ``low`` .. ``high``.

        Parameters
        ----------
        pixels : ndarray of uint8, or StoredRows of these

        Returns
        -------
        ndarray, or StoredRows
            The same array if the data are such pixels, otherwise of :attr:`value_type`.
        """
        if (self.low, self.high) == (0.0, 255.0):
            return pixels
        if isinstance(pixels, StoredRows):
            return MappedRows(pixels, self.from_pixels)
        values = np.arange(256) * (self.high - self.low) / 255 + self.low
        return values.astype(self.value_type)[pixels]

    @property
    def file_type(self) -> np.dtype[Any]:
        """The type of picture files in the data's units.

        That of the training data if these are shades of 8 or 16 bits, and floats otherwise.
        """
        stored_dtype = np.dtype(self.dtype)
        is_shades = stored_dtype in SHADES and not self._is_mask
        return stored_dtype if is_shades else np.dtype(self.value_type)

    def takes_as_shades(self, dtype: np.dtype[Any]) -> bool:
        """Return whether files of a type are converted to the data's units by their white."""
        stored_dtype = np.dtype(self.dtype)
        counts = dtype == np.uint16 and stored_dtype.kind in "iu" and self.high > SHADES[_UINT8]
        return dtype in SHADES and dtype != stored_dtype and (stored_dtype in SHADES or not counts)

    def written_type(self, file_type: str | None) -> np.dtype[Any]:
        """Choose the type in which pictures restored from files of a type are written.

        That of the training data if these are shades, or the files hold no shades; otherwise that
        of the files, and 8 bits if there are none.
        """
        stored_dtype = np.dtype(self.dtype)
        if stored_dtype in SHADES:
            return stored_dtype
        of_files = np.dtype(file_type or np.uint8)
        return of_files if of_files in SHADES else stored_dtype

    @property
    def _is_mask(self) -> bool:
        """Whether the data are zeros and ones in 8 bits; files may have white as 255."""
        return self.dtype == "uint8" and (self.low, self.high) == (0.0, 1.0)

    @overload
    def from_file(self, values: NDArray[Any]) -> NDArray[Any]: ...

    @overload
    def from_file(self, values: StoredRows) -> StoredRows: ...

    def from_file(self, values: Any) -> Any:
        """Convert picture files' values to the data's units.

        Values of the type of the training data, or of the same meaning in another type, are kept.
        Shades of 8 and 16 bits are converted to each other by their white, and to other data by
        :attr:`low` and :attr:`high`, which are black and white.

        Parameters
        ----------
        values : ndarray of shape (n, ...), or StoredRows
            Pictures as :func:`narrows.data.image_codec.decode` returns them.

        Returns
        -------
        ndarray, or StoredRows
            Values of :attr:`file_type`.

        Raises
        ------
        DataError
            If the type has no common meaning with the data's, or if the files have 8 bits and the
            data are 16-bit pictures below a quarter of white, whose white is unknown.

        Examples
        --------
        >>> scaling = Scaling.learn("auto", Statistics.of(np.array([[100, 60000]], np.uint16)))
        >>> scaling.from_file(np.array([[7, 4095]], np.uint16)).tolist()
        [[7, 4095]]
        >>> scaling.from_file(np.array([[1, 255]], np.uint8)).tolist()
        [[257, 65535]]
        """
        if isinstance(values, StoredRows):
            return MappedRows(values, self.from_file)
        stored_dtype, white = np.dtype(self.dtype), SHADES.get(values.dtype)
        if self._is_mask and white is not None:
            ones = values.reshape(len(values), -1).max(axis=1, initial=0) <= 1
            masks = ones.reshape(-1, *(1,) * (values.ndim - 1))
            return np.where(masks, values, values / white).astype(self.value_type)
        if stored_dtype in SHADES:
            if values.dtype != stored_dtype and self.high < _LEAST_SHARE * SHADES[stored_dtype]:
                raise DataError(
                    f"it has {values.dtype.name} values, and the model learned from 16-bit "
                    f"pictures that reach {self.high:g} of 65535, so that nobody can tell what "
                    "white is; give 16-bit pictures as the model learned from"
                )
            return bring(values, stored_dtype)
        if white is not None and self.takes_as_shades(values.dtype):
            shades = np.arange(white + 1) * (self.high - self.low) / white + self.low
            return shades.astype(self.value_type)[values]
        return bring(values, stored_dtype).astype(self.value_type, copy=False)

    def show(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert a picture file's values to 8-bit pixels for display.

        Raises
        ------
        DataError
            See :meth:`from_file`.
        """
        return self.to_pixels(self.from_file(values[None])[0])

    def to_pixels(self, values: NDArray[Any], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """Convert values in the data's units to shades, rounded and clipped to black and white.

        Parameters
        ----------
        values : ndarray
            Values of any shape.
        dtype : uint8 or uint16, default=uint8
            Type of the shades, from 0 to 255 or to 65535.

        Returns
        -------
        ndarray of ``dtype``
        """
        span = self.high - self.low
        in_units: NDArray[Any] = np.asarray(values, self.value_type)
        share = (in_units - self.low) / (span or 1)
        pixels: NDArray[Any] = np.rint(np.clip(share, 0, 1) * SHADES[np.dtype(dtype)])
        return pixels.astype(dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to store beside the weights; see ``facts``."""
        return {"shift": self.shift, "scale": self.scale}

    def facts(self) -> dict[str, Any]:
        """Return the facts to store in JSON."""
        return {"low": self.low, "high": self.high, "bounded": self.bounded, "dtype": self.dtype}


def _blocks(X: NDArray[Any] | LazyRows, size: int) -> Iterator[NDArray[Any]]:
    """Yield blocks of rows; lazy ones are checked to be finite."""
    if not isinstance(X, LazyRows):
        yield from (X[start : start + size] for start in range(0, len(X), size))
        return
    for number, rows in enumerate(X.blocks(size)):
        check_finite(rows, first_row=number * size)
        yield rows


def unit_ratio(statistics: Statistics) -> float:
    """Return the ratio of the largest to the smallest standard deviation of a feature.

    Constant features are ignored.
    """
    deviations = np.sqrt(statistics.variance[_varies(statistics)])
    return float(deviations.max() / deviations.min()) if len(deviations) else 1.0


def _varies(statistics: Statistics) -> NDArray[np.bool_]:
    """Return which features vary by more than rounding errors."""
    tiny = 1000 * np.finfo(np.float64).eps * np.abs(statistics.mean)
    varies: NDArray[np.bool_] = np.sqrt(statistics.variance) > tiny
    return varies


def _black_and_white(statistics: Statistics, *, are_pictures: bool) -> tuple[float, float]:
    low, high = statistics.low, statistics.high
    if statistics.binary:
        return 0.0, 1.0
    if statistics.dtype == "uint8":
        return 0.0, 255.0
    deepest = float(SHADES[np.dtype(np.uint16)])
    if statistics.dtype == "uint16" and are_pictures and high >= _LEAST_SHARE * deepest:
        return 0.0, deepest
    for black, white in _CONVENTIONS:
        if black <= low and high <= white:
            used = max(-low, high) > _LEAST_SHARE * white
            return (black, white) if used else (low, high)
    return low, high


def _fills_its_range(
    statistics: Statistics, ends: tuple[float, float], ranges: tuple[tuple[float, float], ...]
) -> bool:
    """Return whether data are shades, or floats that fill one of the ranges as pictures do."""
    if SHADES.get(np.dtype(statistics.dtype)) == ends[1] - ends[0]:
        return True
    spread = float(np.sqrt(statistics.variance.mean()))
    return ends in ranges and spread >= _LEAST_SPREAD * (ends[1] - ends[0])
