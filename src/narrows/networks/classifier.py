"""An encoder with a softmax on top."""

import torch
from torch import Tensor, nn

# Units that hardly move are not blown up.
_LEAST_SPREAD = 1e-6


class SoftmaxHead(nn.Module):
    """From codes to one number a class, whose softmax is the classes' probabilities.

    Codes are first brought to mean 0 and variance 1, so that one learning rate suits all encoders.

    Parameters
    ----------
    n_codes, n_classes : int
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, n_codes: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(n_codes))
        self.register_buffer("scale", torch.ones(n_codes))
        self.linear = nn.Linear(n_codes, n_classes)

    @torch.no_grad()
    def start(self, codes: Tensor, weights: Tensor | None = None) -> None:
        """Learn from codes (n, K) their mean and spread, and give all classes the same chance.

        Codes count by their weights (n,), if they have any.
        """
        codes = codes.double()
        own = torch.ones(len(codes)).to(codes) if weights is None else weights.to(codes)
        own = own / own.sum()
        mean = own @ codes
        self.shift.copy_(mean)
        self.scale.copy_((own @ (codes - mean).square()).sqrt().clamp(min=_LEAST_SPREAD))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes (B, K) to logits (B, classes)."""
        y: Tensor = self.linear((codes - self.shift) / self.scale)
        return y


class Classifier(nn.Module):
    """From scaled rows (B, ...) to logits (B, classes).

    Parameters
    ----------
    encoder : Module
        From scaled rows to codes (B, K), or to maps of codes.
    head : SoftmaxHead
    """

    def __init__(self, encoder: nn.Module, head: SoftmaxHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Classify scaled rows."""
        y: Tensor = self.head(self.encoder(x).flatten(1))
        return y
