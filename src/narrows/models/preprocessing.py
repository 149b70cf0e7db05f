"""From pixels to the input of a network that was trained elsewhere."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from narrows.data.reading import Reading
from narrows.errors import ParameterError

Colors: TypeAlias = Literal["rgb", "bgr", "grey"]
Channels: TypeAlias = Literal["first", "last", "none"]
Numbers: TypeAlias = float | Sequence[float]

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of the shares of red, green and blue in ImageNet's pictures."""

PIXEL_SCALE = 1 / 255
"""Brings pixels to shares of white, from 0 to 1."""

_LARGEST = 4096  # pixels of a side


@dataclass(frozen=True)
class Preprocessing:
    """What is done to pixels before a network sees them: ``(pixels * scale - mean) / deviation``.

    Attributes
    ----------
    size : tuple of two int
        Height and width of the network's pictures.
    crop : float or None
        None brings whole pictures to this size, whatever their proportions; see
        :class:`narrows.data.reading.Reading` for a share.
    colors : {"rgb", "bgr", "grey"}
        The network's channels, in its order.
    scale : float
        The factor of the pixels, which are from 0 to 255.
    mean, deviation : tuple of float
        One for each channel, in the network's order, of scaled pixels.
    channels : {"first", "last", "none"}
        The axis of channels in (n, C, H, W), (n, H, W, C) and, of grey pictures, (n, H, W).

    Raises
    ------
    ParameterError
        If one of these is not allowed.
    """

    size: tuple[int, int]
    crop: float | None
    colors: Colors
    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    channels: Channels

    def __post_init__(self) -> None:
        sides = all(type(side) is int and 1 <= side <= _LARGEST for side in self.size)
        if len(self.size) != 2 or not sides:
            raise ParameterError(
                f"size={self.size!r} is not allowed; give height and width, from 1 to {_LARGEST} "
                "pixels (--image-size 224)",
                parameter="size",
            )
        for name, kind in (("colors", Colors), ("channels", Channels)):
            if getattr(self, name) not in get_args(kind):
                allowed = ", ".join(map(repr, get_args(kind)))
                raise ParameterError(
                    f"{name}={getattr(self, name)!r} is not allowed; use one of {allowed}",
                    parameter=name,
                )
        if self.channels == "none" and self.colors != "grey":
            raise ParameterError(
                f"colors={self.colors!r} needs an axis of channels, and the network takes pictures "
                "without one; use 'grey'",
                parameter="colors",
            )
        Reading(crop=self.crop)
        for name in ("mean", "deviation"):
            values = getattr(self, name)
            if len(values) != self.n_channels or not all(map(math.isfinite, values)):
                raise ParameterError(
                    f"{name}={list(values)} is not allowed; give {self.n_channels} finite numbers, "
                    f"one for each channel of {self.colors!r}, or one for all",
                    parameter=name,
                )
        if not (math.isfinite(self.scale) and self.scale > 0 and min(self.deviation) > 0):
            raise ParameterError(
                f"scale={self.scale}, deviation={list(self.deviation)}: numbers above 0 are "
                "allowed; give such ones",
                parameter="scale",
            )

    @classmethod
    def of(
        cls,
        size: int | Sequence[int],
        *,
        crop: float | None = None,
        colors: Colors = "rgb",
        scale: float = PIXEL_SCALE,
        mean: Numbers | None = None,
        deviation: Numbers | None = None,
        channels: Channels = "first",
    ) -> Self:
        """Complete what a user gave; by default as networks that learned from ImageNet expect."""
        grey = colors == "grey"
        order = slice(None, None, -1 if colors == "bgr" else 1)
        if mean is None:
            mean = 0.0 if grey else IMAGENET_MEAN[order]
        if deviation is None:
            deviation = 1.0 if grey else IMAGENET_DEVIATION[order]
        count = 1 if grey else 3
        try:
            sides: Any = (size, size) if isinstance(size, int) else tuple(size)
            factor, means, deviations = float(scale), _each(mean, count), _each(deviation, count)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"size={size!r}, scale={scale!r}, mean={mean!r}, deviation={deviation!r}: numbers "
                f"are allowed ({error}); give such ones"
            ) from error
        return cls(sides, crop, colors, factor, means, deviations, channels)

    @classmethod
    def restore(cls, facts: Mapping[str, Any]) -> Self:
        """Build it again from what :meth:`facts` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If these are other facts.
        """
        values = {field.name: facts[field.name] for field in fields(cls)}
        for name in ("size", "mean", "deviation"):
            if not isinstance(values[name], list):
                raise TypeError(f"{name} is no list")
            values[name] = tuple(values[name])
        return cls(**values)

    def facts(self) -> dict[str, Any]:
        """Return the facts to store in JSON."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}

    @property
    def n_channels(self) -> int:
        """The number of channels, 1 or 3."""
        return 1 if self.colors == "grey" else 3

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of a row of pixels: (H, W) for grey, (H, W, 3) for colours."""
        return (*self.size, 3) if self.n_channels == 3 else self.size

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one picture as the network takes it."""
        height, width = self.size
        if self.channels == "none":
            return (height, width)
        n = self.n_channels
        return (n, height, width) if self.channels == "first" else (height, width, n)

    def words(self) -> str:
        """Describe it in one line."""
        whole = "whole pictures" if self.crop is None else f"their middle ({self.crop:g})"
        mean, deviation = (
            ", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.deviation)
        )
        return (
            f"{whole} at {self.size[0]} x {self.size[1]}, {self.colors}, pixels times "
            f"{self.scale:.4g}, less {mean}, divided by {deviation}, channels {self.channels}"
        )

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Convert pixels, (n, *sample_shape), to the network's input, (n, *input_shape)."""
        x = rows.reshape(len(rows), *self.size, self.n_channels).astype(np.float32)
        if self.colors == "bgr":
            x = x[..., ::-1]
        mean, deviation = (np.asarray(v, np.float32) for v in (self.mean, self.deviation))
        x = (x * np.float32(self.scale) - mean) / deviation
        if self.channels == "first":
            x = np.moveaxis(x, 3, 1)
        return np.ascontiguousarray(x).reshape(len(rows), *self.input_shape)


def _each(values: Numbers, count: int) -> tuple[float, ...]:
    """Return one number for each channel."""
    if isinstance(values, int | float):
        return (float(values),) * count
    given = tuple(map(float, values))
    return given * count if len(given) == 1 else given
