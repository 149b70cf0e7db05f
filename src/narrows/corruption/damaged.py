"""What a corruption takes and returns, and the helpers that corruptions share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from narrows.errors import ParameterError


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
# How strong a corruption is: one number for all rows, or a tensor (B,) with one for each.
Strength: TypeAlias = float | Tensor


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


def everywhere(x: Tensor, level: Strength) -> Tensor:
    """Return a mask of rows (B, ...) with all values of those of a level above 0.

    It takes no memory.
    """
    if isinstance(level, Tensor):
        return over(level > 0, x).expand_as(x)
    return torch.full((), level > 0, device=x.device).expand_as(x)


def nowhere(x: Tensor) -> Tensor:
    """Return a mask of rows (B, ...) in which no value was drawn; it takes no memory."""
    return everywhere(x, 0)


def uniform(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n numbers from 0 to 1 for each row, (B, n)."""
    return torch.rand(len(x), n, generator=generator, device=x.device, dtype=x.dtype)


def normal(x: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw Gaussian numbers of variance 1 in the type of rows and on their device."""
    return torch.empty(shape, dtype=x.dtype, device=x.device).normal_(generator=generator)


def over(values: Tensor, x: Tensor) -> Tensor:
    """Shape one value a row (B,) so that it multiplies rows (B, ...)."""
    return values.view(-1, *[1] * (x.ndim - 1))


def of_rows(level: Strength, x: Tensor) -> Strength:
    """Shape the levels of rows, if each has its own, so that they multiply rows (B, ...)."""
    return over(level, x) if isinstance(level, Tensor) else level
