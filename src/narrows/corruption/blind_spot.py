"""Blind spots: pixels that are hidden, so that they can only be told from their neighbours.

Where the noise of different pixels is independent, a network that predicts hidden pixels of noisy
pictures learns what can be predicted, which is what lies under the noise: no clean picture is
needed. Krull, Buchholz & Jug (2019), "Noise2Void: learning denoising from single noisy images";
Batson & Royer (2019), "Noise2Self: blind denoising by self-supervision", whose grids are used here;
Höck, Buchholz, Brachmann, Jug & Freytag (2022), "N2V2: fixing Noise2Void checkerboard artifacts
with modified sampling strategies and a tweaked network architecture", where hidden pixels get what
their neighbours have, without a share of their own value.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from narrows.corruption.damaged import Damaged, Limits, Strength, over, uniform

BLIND_SPOT = "blind_spot"

# Hidden pixels are at least and at most so many apart, along each axis.
_LEAST, _MOST = 2, 16


def blind_spot(x: Tensor, level: Strength, _limits: Limits, generator: torch.Generator) -> Damaged:
    """Hide a share ``level`` of the places: at most a quarter of pixels, half of samples.

    They lie on a grid that is shifted at random in each row, are hidden in all channels, and get
    the mean of their neighbours.
    """
    axes = _axes(x.shape)
    levels = torch.as_tensor(level, dtype=torch.float64, device=x.device).expand(len(x))
    steps = _steps(levels, len(axes))
    offsets = (uniform(x, len(axes), generator) * steps[:, None]).long()
    return hide(x, _on_grid(x, steps, offsets) & over(levels > 0, x))


def grid_step(level: float, sample_shape: tuple[int, ...]) -> int:
    """Return how far apart pixels are along each axis where a share ``level`` is hidden.

    Examples
    --------
    >>> grid_step(1 / 9, (64, 64)), grid_step(1 / 9, (64,)), grid_step(1, (64, 64))
    (3, 9, 2)
    """
    return int(_steps(torch.tensor([level], dtype=torch.float64), len(_axes((1, *sample_shape)))))


def grids(x: Tensor, step: int) -> Iterator[Tensor]:
    """Yield masks of the places of rows (B, H, W[, C]) or (B, L), each of which is in one mask.

    Two places of a mask are ``step`` or a multiple of it apart, so that a place is hidden together
    with the same ones wherever a part of a picture begins.
    """
    for offsets in product(range(step), repeat=len(_axes(x.shape))):
        yield _on_grid(x[:1], torch.tensor([step]), torch.tensor([offsets]))


def hide(x: Tensor, hidden: Tensor) -> Damaged:
    """Give hidden places of rows the mean of their neighbours.

    Neighbours along an axis count twice as much as diagonal ones. Rows go on mirrored beyond their
    ends, without repeating these.

    Parameters
    ----------
    x : Tensor of shape (B, L), (B, H, W) or (B, H, W, C)
        Rows.
    hidden : Tensor that broadcasts with x, bool
        The places, no two of which are neighbours.
    """
    axes = _axes(x.shape)
    if not axes:
        return Damaged(x, torch.zeros_like(hidden).expand_as(x))
    beside = _beside(x, axes[0])
    mean = beside / 2
    if len(axes) == 2:
        mean = (2 * beside + _beside(beside + 2 * x, axes[1])) / 12
    return Damaged(torch.where(hidden, mean, x), hidden.expand_as(x))


def _beside(x: Tensor, axis: int) -> Tensor:
    """Add up the two neighbours of each place along an axis."""
    count = x.shape[axis]
    before = [x.narrow(axis, 1, 1), x.narrow(axis, 0, count - 1)]
    behind = [x.narrow(axis, 1, count - 1), x.narrow(axis, count - 2, 1)]
    return torch.cat(before, axis).add_(torch.cat(behind, axis))


def _axes(shape: tuple[int, ...]) -> list[int]:
    """Return the axes of rows along which there are neighbours."""
    return [axis for axis in range(1, min(len(shape), 3)) if shape[axis] > 1]


def _steps(levels: Tensor, n_axes: int) -> Tensor:
    """Return how far apart hidden places are, for the share of them in each row (B,)."""
    apart = levels.clamp(min=_MOST**-2) ** (-1 / max(1, n_axes))
    return apart.round().clamp(_LEAST, _MOST).long()


def _on_grid(x: Tensor, steps: Tensor, offsets: Tensor) -> Tensor:
    """Mark the places of rows that lie on grids of these steps (B,) and offsets (B, axes)."""
    marked = torch.ones((), dtype=torch.bool, device=x.device)
    for axis, offset in zip(_axes(x.shape), offsets.unbind(1), strict=True):
        places = torch.arange(x.shape[axis], device=x.device) - offset[:, None]
        on_line = places % steps[:, None] == 0
        shape = [1] * x.ndim
        shape[0], shape[axis] = len(steps), -1
        marked = marked & on_line.view(shape)
    return marked
