"""What is learned from the training data on the way in, and undone on the way out.

One pass collects each feature's mean and variance by the pairwise update of Chan, Golub & LeVeque
(1983), eq. 2.1, which stays exact where sums of squares would cancel.
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
from narrows.data.lazy_rows import LazyRows, MappedRows, StoredRows
from narrows.errors import DataError, ParameterError

Observer = Callable[[NDArray[Any], NDArray[np.bool_]], None]
ScalingName = Literal["auto", "none", "unit", "global", "standard"]
SCALINGS = ("auto", "none", "unit", "global", "standard")

# Usual intensity ranges, the narrowest first. One is assumed only if the data reach more than this
# share of its upper end: digits with values from 0 to 16 are not dark 8-bit pictures.
_CONVENTIONS = ((0.0, 1.0), (-0.5, 0.5), (-1.0, 1.0), (0.0, 255.0))
_LEAST_SHARE = 1 / 4
# Data in [0, 1] whose features have a smaller root mean variance lie so near to each other that a
# sigmoid learns them worse than a linear output does (measured on pictures, histograms, tables).
_LEAST_SPREAD = 1 / 16
# Features, or channels, whose standard deviations differ by more than this factor have units of
# their own.
_ONE_UNIT = 3.0
_VALUES = 1 << 23  # that are looked at together
_WIDE = (torch.float64, torch.int64, torch.int32, torch.uint16)
_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True)
class Statistics:
    """What one pass over the rows tells.

    Attributes
    ----------
    mean, variance : ndarray of shape (F,)
        Of each feature, in float64; of shape () where features are pooled.
    low, high : float
        The smallest and the largest value of all.
    binary : bool
        Whether every value is 0 or 1.
    dtype : str
        The type of the values.
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
        block: int = 1024,
    ) -> Self:
        """Collect them in blocks of rows whose float copies the processor's caches hold.

        Parameters
        ----------
        X : ndarray or LazyRows of shape (n, ...)
            The rows.
        held_out : ndarray of int, optional
            The numbers of rows that are left out, ascending.
        observe : callable, optional
            Called with each block of rows, and a mask of those in it that are held out: whoever
            needs another look at all rows shares this pass over them.
        weights : ndarray of shape (n,), optional
            How much each row counts in mean and variance, above 0.
        block : int
            Rows at a time, fewer where rows are large.

        Raises
        ------
        DataError
            If lazy rows, which were not looked at before, hold values that are not finite.
        """
        block = min(block, max(1, _VALUES // max(1, math.prod(X.shape[1:]))))
        left_out = np.empty(0, np.int64) if held_out is None else held_out
        count: float = 0
        mean = np.zeros(X[0].size)
        spread = np.zeros(X[0].size)
        least, most = np.full(mean.size, np.inf), np.full(mean.size, -np.inf)
        binary = True
        start = 0
        for given in _blocks(X, block):
            first, last = np.searchsorted(left_out, [start, start + len(given)])
            mask = np.zeros(len(given), bool)
            mask[left_out[first:last] - start] = True
            if observe is not None:
                observe(given, mask)
            own = None if weights is None else weights[start : start + len(given)][~mask]
            start += len(given)
            learned = given[~mask] if first < last else given
            if not len(learned):
                continue
            rows = learned.reshape(-1, mean.size).astype(np.float64, order="C")
            np.minimum(least, rows.min(axis=0), out=least)
            np.maximum(most, rows.max(axis=0), out=most)
            in_unit = least.min() >= 0 and most.max() <= 1
            binary = binary and in_unit and bool(((rows == 0) | (rows == 1)).all())
            if own is None:
                size: float = len(rows)
                block_mean = rows.mean(axis=0)
                block_spread = ((rows - block_mean) ** 2).sum(axis=0)
            else:
                size = float(own.sum())
                block_mean = own @ rows / size
                block_spread = own @ (rows - block_mean) ** 2
            delta, total = block_mean - mean, count + size
            spread += block_spread + delta**2 * count * size / total
            mean += delta * size / total
            count = total
        low, high = float(least.min()), float(most.max())
        return cls(mean, spread / count, low, high, binary, X.dtype.name, least, most)

    def by_channel(self, n_channels: int) -> Self:
        """Return those of rows (L, C) in which each channel has one mean and one variance."""
        means = self.mean.reshape(-1, n_channels)
        variances = self.variance.reshape(-1, n_channels).mean(axis=0) + means.var(axis=0)
        places = len(means)
        return replace(
            self, mean=np.tile(means.mean(axis=0), places), variance=np.tile(variances, places)
        )

    def pooled(self) -> Self:
        """Return those of all values together, as if there were one feature."""
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
        The values that black and white stand for when rows are shown as, or read from, pictures.
        Of nothing but zeros and ones, these; of other uint8, 0 and 255. Of other data, the
        narrowest of [0, 1], [-0.5, 0.5], [-1, 1] and [0, 255] that holds them all, if the largest
        magnitude is more than a quarter of its upper end; otherwise the smallest and the largest
        value of the training data.
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
    def learn(
        cls,
        name: ScalingName,
        statistics: Statistics,
        sample_shape: tuple[int, ...] = (),
        *,
        are_levels: bool = True,
    ) -> Self:
        """Choose the map for data with these statistics.

        Parameters
        ----------
        name : {"auto", "none", "unit", "global", "standard"}
            See the parameter ``scaling`` of the models.
        statistics : Statistics
            Of the training data.
        sample_shape : tuple of int
            Of a row, where its last axis has the columns of a table or the channels of a signal,
            which may have units of their own: (F,) or (L, C). Otherwise ``()``.
        are_levels : bool, default=True
            Whether uint8, or floats that fill [0, 1], may be pixels, which "auto" then takes them
            for.

        Raises
        ------
        ParameterError
            If the name is not one of these.
        """
        if name not in SCALINGS:
            raise ParameterError(f"scaling={name!r} is not known; use one of {', '.join(SCALINGS)}")
        low, high = _black_and_white(statistics)
        if sample_shape[1:]:
            statistics = statistics.by_channel(sample_shape[-1])
        if name == "auto":
            name = "global"
            if _fills_its_range(statistics, low, high, are_levels):
                name = "unit"
            elif sample_shape and unit_ratio(statistics) > _ONE_UNIT:
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
                # A constant feature stays at zero instead of dividing by it.
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
        """Build a scaling again from its ``tensors()`` and ``facts()``.

        Parameters
        ----------
        tensors, facts : mapping
            As stored, not to be trusted.
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
        if not isinstance(scaling.dtype, str) or np.dtype(scaling.dtype).kind not in "buif":
            raise TypeError(f"scaling.dtype is {scaling.dtype!r}, not a type of numbers")
        return scaling

    @property
    def value_type(self) -> type[np.float32 | np.float64]:
        """The type that rows come back in: float64 where float32 cannot hold all training data."""
        return np.float32 if np.can_cast(self.dtype, np.float32) else np.float64

    def in_double(self) -> Self:
        """Return the same map, whose :meth:`undo` gives float64 whatever the training data's type.

        Errors of rows far from zero are measured by it, which rounding to float32 would add to.
        """
        if self.value_type is np.float64:
            return self
        # The network learned from rows that were shifted in single precision.
        shift, scale = (t.float().double() for t in (self.shift, self.scale))
        return replace(self, shift=shift, scale=scale, dtype="float64")

    def __call__(self, x: Tensor) -> Tensor:
        """Scale rows: any type, shape (B, ...), to float32 of the same shape."""
        # Differences of large values, and values below float32's range, need double precision.
        kind = torch.float64 if x.dtype in _WIDE else torch.float32
        shift, factor, scale = self._constants(x.device, kind)
        # In one order, whatever the rows came in: products then round alike.
        if shift is None and factor is None:
            return x.to(torch.float32).contiguous()
        y = x.to(kind).flatten(1).contiguous()
        if shift is not None:
            y = (y - shift).div_(scale)
        elif factor is not None:
            y = y * factor
        return y.to(torch.float32).view(x.shape)

    def exactly(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Scale rows (B, ...) in double precision, and lay them flat: (B, F)."""
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        scaled: NDArray[np.float64] = (flat - self.shift.numpy()) / self.scale.numpy()
        return scaled

    def _constants(
        self, device: torch.device, kind: torch.dtype
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return shift, 1 / scale and scale where rows are; the first two only if they do anything.

        They are looked at and moved once: on a GPU each look would make every batch wait.
        """
        key = (device, kind)
        if key not in self._moved:
            shifted, scaled = bool((self.shift != 0).any()), bool((self.scale != 1).any())
            with torch.inference_mode(mode=False):  # what is made within could not be learned by
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

        They come back in :attr:`value_type`.
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
            The same array where the data are such pixels, otherwise of :attr:`value_type`.
        """
        if (self.low, self.high) == (0.0, 255.0):
            return pixels
        if isinstance(pixels, StoredRows):
            return MappedRows(pixels, self.from_pixels)
        values = np.arange(256) * (self.high - self.low) / 255 + self.low
        return values.astype(self.value_type)[pixels]

    @property
    def file_type(self) -> np.dtype[Any]:
        """The type that picture files have in the data's units.

        That of the training data if these were shades of 8 or 16 bits, and floats otherwise.
        """
        own = np.dtype(self.dtype)
        return np.dtype(self.value_type) if own not in SHADES or self._is_mask else own

    def takes_as_shades(self, dtype: np.dtype[Any]) -> bool:
        """Tell whether files of a type are brought to the data by what white is in them."""
        own = np.dtype(self.dtype)
        counts = dtype == np.uint16 and own.kind in "iu" and self.high > SHADES[_UINT8]
        return dtype in SHADES and dtype != own and (own in SHADES or not counts)

    def written_type(self, file_type: str | None) -> np.dtype[Any]:
        """Choose the type in which pictures are written that were restored from files of a type.

        That of the training data if these were shades, or if the files hold no shades; otherwise
        that of the files, and 8 bits where there are none.
        """
        own = np.dtype(self.dtype)
        if own in SHADES:
            return own
        told = np.dtype(file_type or np.uint8)
        return told if told in SHADES else own

    @property
    def _is_mask(self) -> bool:
        """Whether the data are zeros and ones in 8 bits, where files may mean white by 255."""
        return self.dtype == "uint8" and (self.low, self.high) == (0.0, 1.0)

    @overload
    def from_file(self, values: NDArray[Any]) -> NDArray[Any]: ...

    @overload
    def from_file(self, values: StoredRows) -> StoredRows: ...

    def from_file(self, values: Any) -> Any:
        """Turn picture files' values into the data's units.

        Values of the type of the training data, or that mean the same in another type, are what
        they are. Shades of 8 and of 16 bits are brought to each other by what white is; to data
        that are no such shades by :attr:`low` and :attr:`high`, which stand for black and white.

        Parameters
        ----------
        values : ndarray of shape (n, ...), or StoredRows
            As :func:`narrows.data.image_codec.decode` gives each of them.

        Returns
        -------
        ndarray, or StoredRows
            Of :attr:`file_type`.

        Raises
        ------
        DataError
            If the type's values have nothing to do with the data's, or if they have 8 bits and the
            data are 16-bit pictures that stay below a quarter of white: what is white there, nobody
            can tell.

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
        own, white = np.dtype(self.dtype), SHADES.get(values.dtype)
        if self._is_mask and white is not None:
            ones = values.reshape(len(values), -1).max(axis=1, initial=0) <= 1
            masks = ones.reshape(-1, *(1,) * (values.ndim - 1))
            return np.where(masks, values, values / white).astype(self.value_type)
        if own in SHADES:
            if values.dtype != own and self.high < _LEAST_SHARE * SHADES[own]:
                raise DataError(
                    f"it has {values.dtype.name} values, and the model learned from 16-bit "
                    f"pictures that reach {self.high:g} of 65535, so that nobody can tell what "
                    "white is; give 16-bit pictures as the model learned from"
                )
            return bring(values, own)
        if white is not None and self.takes_as_shades(values.dtype):
            shades = np.arange(white + 1) * (self.high - self.low) / white + self.low
            return shades.astype(self.value_type)[values]
        return bring(values, own).astype(self.value_type, copy=False)

    def show(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn one picture file's values into 8-bit pixels to look at.

        Raises
        ------
        DataError
            As :meth:`from_file`.
        """
        return self.to_pixels(self.from_file(values[None])[0])

    def to_pixels(self, values: NDArray[Any], dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """Turn values in the data's units into shades, rounded, cut off at black and white.

        Parameters
        ----------
        values : ndarray
            Any shape.
        dtype : uint8 or uint16, default=uint8
            The shades, from 0 to 255 or to 65535.

        Returns
        -------
        ndarray of ``dtype``
        """
        span = self.high - self.low
        own: NDArray[Any] = np.asarray(values, self.value_type)
        share = (own - self.low) / (span or 1)
        pixels: NDArray[Any] = np.rint(np.clip(share, 0, 1) * SHADES[np.dtype(dtype)])
        return pixels.astype(dtype)

    def tensors(self) -> dict[str, Tensor]:
        """Return what is kept beside the weights; ``facts`` has the rest."""
        return {"shift": self.shift, "scale": self.scale}

    def facts(self) -> dict[str, Any]:
        """Return what is kept in JSON."""
        return {"low": self.low, "high": self.high, "bounded": self.bounded, "dtype": self.dtype}


def _blocks(X: NDArray[Any] | LazyRows, size: int) -> Iterator[NDArray[Any]]:
    """Yield rows some at a time; lazy ones are checked to be finite here."""
    if not isinstance(X, LazyRows):
        yield from (X[start : start + size] for start in range(0, len(X), size))
        return
    for number, rows in enumerate(X.passing(size)):
        check_finite(rows, first_row=number * size)
        yield rows


def unit_ratio(statistics: Statistics) -> float:
    """Return how many times the largest standard deviation of a feature is the smallest.

    Constant features have no say.
    """
    deviations = np.sqrt(statistics.variance[_varies(statistics)])
    return float(deviations.max() / deviations.min()) if len(deviations) else 1.0


def _varies(statistics: Statistics) -> NDArray[np.bool_]:
    """Tell which features vary; rounding in the mean of large values is no variance."""
    tiny = 1000 * np.finfo(np.float64).eps * np.abs(statistics.mean)
    varies: NDArray[np.bool_] = np.sqrt(statistics.variance) > tiny
    return varies


def _black_and_white(statistics: Statistics) -> tuple[float, float]:
    low, high = statistics.low, statistics.high
    if statistics.binary:
        return 0.0, 1.0
    if statistics.dtype == "uint8":
        return 0.0, 255.0
    for black, white in _CONVENTIONS:
        if black <= low and high <= white:
            used = max(-low, high) > _LEAST_SHARE * white
            return (black, white) if used else (low, high)
    return low, high


def _fills_its_range(statistics: Statistics, low: float, high: float, are_levels: bool) -> bool:
    """Tell whether data are pixels, yes or no, or floats that make use of [0, 1] as pixels do."""
    if statistics.binary or not are_levels:
        return statistics.binary
    if statistics.dtype == "uint8":
        return True
    spread = float(np.sqrt(statistics.variance.mean()))
    return (low, high) == (0.0, 1.0) and spread >= _LEAST_SPREAD
