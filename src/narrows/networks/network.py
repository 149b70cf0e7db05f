"""Two halves that can part."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}
OUTPUTS = ("identity", "sigmoid")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """Everything that is needed to build a network again, as plain numbers and words.

    Attributes
    ----------
    architecture : str
        A key of :data:`narrows.networks.ARCHITECTURES`.
    sample_shape : tuple of int
        The shape of one row: ``(F,)``, ``(H, W)`` or ``(H, W, C)``.
    n_components : int
        Width of the code, K.
    hidden_layer_sizes : tuple of int
        Widths between input and code; the decoder mirrors them.
    activation, code_activation : str
        Keys of :data:`ACTIVATIONS`.
    output : {"identity", "sigmoid"}
        What the decoder ends with.
    tied_weights : bool
        Whether the decoder's matrices are the encoder's, transposed.
    """

    architecture: str
    sample_shape: tuple[int, ...]
    n_components: int
    hidden_layer_sizes: tuple[int, ...]
    activation: str
    code_activation: str
    output: str
    tied_weights: bool

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Build the spec again from what :meth:`as_json` gave."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        return cls(**values)


class Centre(nn.Module):
    """Subtract the training data's mean, which is learned before the first step.

    An encoder that sees centred rows trains markedly faster: the mean picture would otherwise
    dominate the first layer's gradient.
    """

    mean: Tensor

    def __init__(self, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(sample_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Subtract the mean from rows of shape (B, ...)."""
        return x - self.mean


class Encoder(nn.Module):
    """A body that ends in plain numbers, and the function that makes codes of them.

    Penalties that need the numbers before the function take them from :meth:`logits`.
    """

    def __init__(self, body: nn.Module, activation: str) -> None:
        super().__init__()
        self.body = body
        self.activation: nn.Module = ACTIVATIONS[activation]()

    def logits(self, x: Tensor) -> Tensor:
        """Encode scaled rows (B, ...) up to the code's activation, to (B, K)."""
        a: Tensor = self.body(x)
        return a

    def forward(self, x: Tensor) -> Tensor:
        """Encode scaled rows (B, ...) to codes (B, K)."""
        h: Tensor = self.activation(self.body(x))
        return h


class Decoder(nn.Module):
    """A body that ends in plain numbers, and the function that bounds them.

    Losses that need the numbers before the function take them from :meth:`logits`.
    """

    def __init__(self, body: nn.Module, output: str) -> None:
        super().__init__()
        self.body = body
        self.output: nn.Module = ACTIVATIONS[output]()

    def logits(self, h: Tensor) -> Tensor:
        """Decode codes (B, K) up to the output function, to (B, ...)."""
        y: Tensor = self.body(h)
        return y

    def forward(self, h: Tensor) -> Tensor:
        """Decode codes (B, K) to scaled rows (B, ...)."""
        y: Tensor = self.output(self.body(h))
        return y


class Network(nn.Module):
    """An encoder from scaled rows (B, ...) to codes (B, K), and a decoder back.

    The halves share nothing but, with tied weights, the matrices.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct scaled rows (B, ...)."""
        y: Tensor = self.decoder(self.encoder(x))
        return y
