"""Gradients held to a norm that follows the run.

Pascanu, Mikolov & Bengio (2013), "On the difficulty of training recurrent neural networks", alg. 1,
scale a gradient down to a fixed norm. Here the bound is a multiple of the norm that is usual at
this stage of the run: it needs no tuning, and leaves ordinary steps alone.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

# A gradient may be so many times as long as usual; of the usual norm, its share that each step
# keeps; and the steps that only look.
_TIMES, _MEMORY, _FIRST_STEPS = 5.0, 0.98, 20


class Clipping(nn.Module):
    """The usual norm of gradients: the exponential moving average of its logarithm.

    It is a module of buffers, which a checkpoint keeps.
    """

    usual: Tensor
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("usual", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def clip(self, parameters: Iterable[nn.Parameter]) -> None:
        """Shorten gradients that are far longer than usual; no number is read off the device."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        counted = self.steps.clamp(min=1)
        usual = self.usual / (1 - _MEMORY**counted)  # without the bias of its start at zero
        bound = torch.where(self.steps < _FIRST_STEPS, torch.inf, _TIMES * usual.exp())
        torch._foreach_mul_(gradients, (bound / norm).clamp(max=1))
        seen = torch.minimum(norm, bound).clamp(min=torch.finfo(norm.dtype).tiny).log()
        self.usual.lerp_(seen.to(self.usual), 1 - _MEMORY)
        self.steps += 1
