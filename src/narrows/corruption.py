"""Corruptions of rows, which a denoising autoencoder learns to undo.

Vincent et al. (2010), "Stacked denoising autoencoders", section 3.3: additive Gaussian noise,
masking, salt and pepper. For pictures also distortions, such as rotation and blur. Scaled rows are
corrupted on their device, at random and anew at every call.

Each corruption also says which values were drawn to be damaged, the paper's set J(x~), whether or
not they differ afterwards: a black pixel that was masked is one of them. Noise is drawn for all
values. A distortion moves or mixes all values of a picture, so that all values of the pictures that
it is drawn for belong to the set. Where several corruptions follow each other, their sets are
united.
"""

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from narrows.errors import ParameterError
from narrows.texts import is_word


class Damaged(NamedTuple):
    """Rows after a corruption.

    Attributes
    ----------
    rows : Tensor of shape (B, ...)
        The scaled rows, as the encoder is to see them.
    drawn : Tensor of shape (B, ...), bool
        Which values were drawn to be damaged.
    """

    rows: Tensor
    drawn: Tensor


# A user's function, which returns damaged rows, or these and which values were drawn.
Corruption: TypeAlias = Callable[[Tensor, torch.Generator], Tensor | tuple[Tensor, Tensor]]
Damage: TypeAlias = Callable[[Tensor, torch.Generator], Damaged]


@dataclass(frozen=True)
class Limits:
    """The scaled values of pepper and salt; in pictures, those of black and white.

    Attributes
    ----------
    low, high : Tensor that broadcasts with a row
        In tables, the smallest and the largest value of each column that was learned from.
    """

    low: Tensor
    high: Tensor

    def on(self, device: torch.device) -> "Limits":
        """Return the same limits on a device."""
        return Limits(self.low.to(device), self.high.to(device))


@dataclass(frozen=True)
class Unstored:
    """A place holder for a user's function that a model was trained with: no code is stored.

    Attributes
    ----------
    name : str
        The name of the function.
    """

    name: str

    def __call__(self, x: Tensor, generator: torch.Generator) -> Damaged:
        """Refuse to corrupt: the function is missing."""
        del x, generator
        raise ParameterError(
            f"the model was trained with the function {self.name!r}, which is not stored with it; "
            "give it again: set_params(corruption=...)"
        )


def gaussian(x: Tensor, level: float, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Add noise of standard deviation ``level``, in scaled units; the sum is not cut off."""
    noise = torch.empty_like(x).normal_(0, level, generator=generator)
    return Damaged(noise.add_(x), _everywhere(x, level))


def masking(x: Tensor, level: float, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Set a share ``level`` of the values to zero, each by itself."""
    kept = torch.empty_like(x).bernoulli_(1 - level, generator=generator)
    return Damaged(kept * x, kept == 0)


def salt_and_pepper(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Damaged:
    """Set a share ``level`` of the values to the smallest or the largest, by a fair coin.

    Of pictures these are black and white; of a table, each column has its own.
    """
    u = torch.empty_like(x).uniform_(generator=generator)
    extreme = torch.where(u < level / 2, limits.low, limits.high)
    drawn = u < level
    return Damaged(torch.where(drawn, extreme, x), drawn)


def crop(x: Tensor, level: float, _limits: Limits, generator: torch.Generator) -> Tensor:
    """Cut off up to a share ``level`` of height and width, anywhere, and enlarge what is left."""
    u = _uniform(x, 3, generator)
    side = 1 - level * u[:, 0]
    shift = (1 - side)[:, None] * (2 * u[:, 1:] - 1)
    return _affine(x, _scaling(side), shift)


def border(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Shrink, and fill the frame, up to a share ``level`` of the side, with one shade of grey."""
    u = _uniform(x, 2, generator)
    side = 1 / (1 - level * u[:, 0]).clamp(min=0.05)
    shade = limits.low + _over(u[:, 1], x) * (limits.high - limits.low)
    zero = torch.zeros(len(x), 2, device=x.device)
    return _affine(x - shade, _scaling(side), zero, outside="zeros") + shade


def rotation(x: Tensor, level: float, _limits: Limits, generator: torch.Generator) -> Tensor:
    """Turn by up to ``level`` times 180 degrees, either way; corners repeat the edge."""
    angle = math.pi * level * (2 * _uniform(x, 1, generator)[:, 0] - 1)
    # Sampling coordinates run from -1 to 1 along both sides, however long they are.
    ratio = x.shape[1] / x.shape[2]
    sine, cosine = angle.sin(), angle.cos()
    matrix = torch.stack([cosine, -sine * ratio, sine / ratio, cosine], dim=1).view(-1, 2, 2)
    return _affine(x, matrix, torch.zeros(len(x), 2, device=x.device))


def mirror(x: Tensor, level: float, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Swap left and right, with probability ``level``."""
    drawn = _over(_uniform(x, 1, generator)[:, 0] < level, x).expand_as(x)
    return Damaged(torch.where(drawn, x.flip(2), x), drawn)


def blur(x: Tensor, level: float, _limits: Limits, generator: torch.Generator) -> Tensor:
    """Smear by a Gaussian of up to ``level`` times a quarter of the longer side."""
    width = (level * max(x.shape[1:3]) / 4 * _uniform(x, 1, generator)).clamp(min=1e-3)[:, :, None]
    for dimension in (1, 2):
        place = torch.arange(x.shape[dimension], device=x.device, dtype=x.dtype)
        weights = torch.exp(-(((place[:, None] - place) / width) ** 2) / 2)
        weights /= weights.sum(dim=2, keepdim=True)
        lines = x.movedim(dimension, 1)
        x = (weights @ lines.flatten(2)).view(lines.shape).movedim(1, dimension)
    return x


def brightness(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Multiply the distance from black by between 1 - ``level`` and 1 + ``level``, cut off."""
    factor = _over(1 + level * (2 * _uniform(x, 1, generator)[:, 0] - 1), x)
    return torch.clamp(limits.low + factor * (x - limits.low), limits.low, limits.high)


def contrast(x: Tensor, level: float, limits: Limits, generator: torch.Generator) -> Tensor:
    """Multiply the distance from the mean by between 1 - ``level`` and 1 + ``level``, cut off."""
    factor = _over(1 + level * (2 * _uniform(x, 1, generator)[:, 0] - 1), x)
    mean = _over(x.flatten(1).mean(dim=1), x)
    return torch.clamp(mean + factor * (x - mean), limits.low, limits.high)


# The functions by name; distortions need pictures (H, W) or (H, W, C).
VALUES = {f.__name__: f for f in (gaussian, masking, salt_and_pepper)}
DISTORTIONS = {f.__name__: f for f in (crop, border, rotation, mirror, blur, brightness, contrast)}
CORRUPTIONS = VALUES | DISTORTIONS

LEVELS = {
    "gaussian": 0.3,
    "masking": 0.3,
    "salt_and_pepper": 0.2,
    "crop": 0.2,
    "border": 0.2,
    "rotation": 0.05,
    "mirror": 0.5,
    "blur": 0.1,
    "brightness": 0.5,
    "contrast": 0.5,
}


def make(
    corruption: str | Corruption | Sequence[str | Corruption],
    level: float | str | Sequence[float | str],
    limits: Limits,
    sample_shape: tuple[int, ...],
) -> Damage:
    """Turn a model's parameters into one function of scaled rows and a generator.

    Parameters
    ----------
    corruption : str, callable, or sequence of them
        Names of :data:`CORRUPTIONS`; a callable takes scaled rows (B, ...) and a generator, and
        returns damaged rows of the same shape, or these and a mask of the values that were drawn
        to be damaged; without a mask, they are those that differ. A sequence is done in its order.
    level : float, "auto", or sequence of them
        How strong they are, from 0 to 1; one for all or one for each. Callables take none.
    limits : Limits
        The limits of the training data.
    sample_shape : tuple of int
        The shape of one row.

    Returns
    -------
    callable
        A function from scaled rows (B, ...) and a generator to :class:`Damaged`; it never changes
        its input.

    Raises
    ------
    ParameterError
        If a name is not known, a level out of range, or a distortion asked of a table.

    Examples
    --------
    >>> limits = Limits(torch.tensor(0.0), torch.tensor(1.0))
    >>> damage = make("masking", 0.5, limits, (4,))
    >>> rows, drawn = damage(torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 1]]),
    ...                      torch.Generator().manual_seed(1))
    >>> rows
    tensor([[1., 1., 1., 1.],
            [0., 1., 1., 0.]])
    >>> drawn[1]
    tensor([ True, False, False,  True])
    """
    kinds: list[Any] = as_list(corruption)
    levels: list[Any] = as_list(level)
    check_levels(level)
    if len(levels) == 1:
        levels *= len(kinds)
    if len(levels) != len(kinds):
        raise ParameterError(
            f"corruption_level={level!r} has {len(levels)} levels for {len(kinds)} corruptions; "
            "give one for all or one for each"
        )
    steps = [_step(*pair, limits, sample_shape) for pair in zip(kinds, levels, strict=True)]

    def damage(x: Tensor, generator: torch.Generator) -> Damaged:
        drawn = _nowhere(x)
        for step in steps:
            x, more = step(x, generator)
            drawn = drawn | more
        return Damaged(x, drawn)

    return damage if len(steps) != 1 else steps[0]


def check_levels(level: Any) -> None:
    """Refuse everything but levels of corruption and lists of them.

    Raises
    ------
    ParameterError
        With the first value that is wrong.
    """
    for value in as_list(level):
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not (is_number and 0 <= value <= 1) and not is_word(value, "auto"):
            raise ParameterError(
                f"corruption_level={value!r} is not allowed; give a number from 0 to 1 or 'auto'"
            )


def as_list(value: Any) -> list[Any]:
    """Return the items of a sequence, or the only value; a text is one value."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _step(
    kind: str | Corruption, level: float | str, limits: Limits, sample_shape: tuple[int, ...]
) -> Damage:
    if callable(kind):
        return _guard(kind)
    if not is_word(kind, *CORRUPTIONS):
        raise ParameterError(
            f"corruption={kind!r} is not known; use one of {', '.join(CORRUPTIONS)}, a list of "
            "them, or a function of rows and a generator"
        )
    if level == "auto":
        level = LEVELS[kind]
    if kind in DISTORTIONS and len(sample_shape) < 2:
        raise ParameterError(
            f"corruption={kind!r} distorts pictures, the rows have shape {sample_shape}; "
            f"use one of {', '.join(VALUES)}, or give pictures (n, H, W) or (n, H, W, C)"
        )
    function, number = CORRUPTIONS[kind], float(level)

    def damage(x: Tensor, generator: torch.Generator) -> Damaged:
        made = function(x, number, limits.on(x.device), generator)
        return made if isinstance(made, Damaged) else Damaged(made, _everywhere(x, number))

    return damage


def _guard(function: Corruption) -> Damage:
    """Keep a user's function from changing its input, and from returning other shapes."""

    def damage(x: Tensor, generator: torch.Generator) -> Damaged:
        returned = function(x.clone(), generator)
        both = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
        damaged, drawn = both
        if not isinstance(damaged, Tensor) or damaged.shape != x.shape:
            raise ParameterError(
                f"corruption={function!r} returned {_kind(damaged)}; it must return a tensor of "
                f"the shape that it is given, {tuple(x.shape)}"
            )
        if drawn is None:
            return Damaged(damaged, damaged != x)
        if not isinstance(drawn, Tensor) or (drawn.dtype, drawn.shape) != (torch.bool, x.shape):
            raise ParameterError(
                f"corruption={function!r} returned {_kind(drawn)} beside the rows; what was drawn "
                "to be damaged must be a tensor of booleans of the shape that it is given, "
                f"{tuple(x.shape)}"
            )
        return Damaged(damaged, drawn)

    return damage


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _nowhere(x: Tensor) -> Tensor:
    """Return a mask of rows (B, ...) in which no value was drawn; it takes no memory."""
    return _everywhere(x, 0)


def _everywhere(x: Tensor, level: float) -> Tensor:
    return torch.full((), level > 0, device=x.device).expand_as(x)


def _uniform(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n numbers from 0 to 1 for each row, (B, n)."""
    return torch.rand(len(x), n, generator=generator, device=x.device, dtype=x.dtype)


def _over(values: Tensor, x: Tensor) -> Tensor:
    """Shape one value a row (B,) so that it multiplies rows (B, ...)."""
    return values.view(-1, *[1] * (x.ndim - 1))


def _scaling(side: Tensor) -> Tensor:
    return side[:, None, None] * torch.eye(2, device=side.device, dtype=side.dtype)


def _affine(x: Tensor, matrix: Tensor, shift: Tensor, outside: str = "border") -> Tensor:
    """Sample each picture (B, H, W[, C]) where a linear map (B, 2, 2) and a shift (B, 2) point."""
    planes = x.unsqueeze(1) if x.ndim == 3 else x.movedim(3, 1)
    theta = torch.cat([matrix, shift[:, :, None]], dim=2)
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    sampled = functional.grid_sample(planes, grid, padding_mode=outside, align_corners=False)
    return sampled.squeeze(1) if x.ndim == 3 else sampled.movedim(1, 3)
