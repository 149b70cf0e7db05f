"""Corruptions of single values: Gaussian noise, masking, salt and pepper.

Vincent, Larochelle, Lajoie, Bengio & Manzagol (2010), "Stacked denoising autoencoders", section
3.3.
"""

import torch
from torch import Tensor

from narrows.corruption.damaged import Damaged, Limits, Strength, everywhere, normal, of_rows, over


def gaussian(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Add noise of standard deviation ``level``, in scaled units; the sum is not cut off."""
    if isinstance(level, Tensor):
        noise = normal(x, x.shape, generator).mul_(over(level, x))
    else:
        noise = torch.empty_like(x).normal_(0, level, generator=generator)
    return Damaged(noise.add_(x), everywhere(x, level))


def masking(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Set a share ``level`` of the values to zero, each by itself."""
    if isinstance(level, Tensor):
        kept = torch.bernoulli((1 - over(level, x)).expand_as(x), generator=generator)
    else:
        kept = torch.empty_like(x).bernoulli_(1 - level, generator=generator)
    return Damaged(kept * x, kept == 0)


def salt_and_pepper(
    x: Tensor, level: Strength, limits: Limits, generator: torch.Generator
) -> Damaged:
    """Set a share ``level`` of the values to the smallest or the largest, by a fair coin.

    Of pictures these are black and white; of a table, each column has its own.
    """
    level = of_rows(level, x)
    u = torch.empty_like(x).uniform_(generator=generator)
    extreme = torch.where(u < level / 2, limits.low, limits.high)
    drawn = u < level
    return Damaged(torch.where(drawn, extreme, x), drawn)
