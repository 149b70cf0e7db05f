"""One step of all processes that train together: their losses and gradients as one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from narrows import ranks
from narrows.losses import Loss

Step = Callable[[Any, torch.Generator], Loss]


class _Step(nn.Module):
    """A loss as a module's forward pass: what DDP watches over."""

    def __init__(self, network: nn.Module, loss: Callable[..., Loss]) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    def forward(self, x: Any, noise: torch.Generator) -> Loss:
        """Return the terms of a batch."""
        return self.loss(self.network, x, noise)


def shared(network: nn.Module, loss: Callable[..., Loss]) -> Step:
    """Return the loss of a batch, whose gradients are summed over all processes.

    All start from the first one's weights. Buffers need not be sent around: what enters them is
    summed over all processes.
    """
    if ranks.size() == 1:
        return partial(loss, network)
    step: Step = nn.parallel.DistributedDataParallel(
        _Step(network, loss), forward_sync_buffers=False
    )
    return step


def weighted(parts: Loss, zero: Tensor, rows: int) -> Tensor:
    """Add up the terms of ``rows`` rows, weighted so that DDP's mean is that of the whole batch."""
    loss = sum(parts.values(), start=zero)
    return loss if ranks.size() == 1 else loss * (rows * ranks.size() / ranks.total(rows))


def purpose(name: str) -> str:
    """Name a process's own chance: the first one's is that of a process that trains alone."""
    return f"{name}/{ranks.rank()}" if ranks.rank() else name
