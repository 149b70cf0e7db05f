"""Two halves that can part."""

import math
from dataclasses import asdict, dataclass, fields, replace
from itertools import dropwhile
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from narrows.data.arrays import are_pictures
from narrows.networks.activations import ACTIVATIONS
from narrows.networks.outputs import OUTPUT_MODULES

OUTPUTS = tuple(ACTIVATIONS)


def is_pointwise(activation: nn.Module) -> bool:
    """Tell whether each number that comes out moves with its own number that goes in, and no other.

    So do all :data:`ACTIVATIONS`. Modules that keep some numbers and drop others do so wherever
    their choice stands; they say it by an attribute ``pointwise = True``.
    """
    return type(activation) in ACTIVATIONS.values() or getattr(activation, "pointwise", False)


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
        Width of the code, K; where the code is a map, its channels.
    hidden_layer_sizes : tuple of int
        Widths, or channels, between input and code; the decoder mirrors them.
    activation : str
        A key of :data:`ACTIVATIONS`.
    code_activation : str
        The same, or one of :data:`narrows.networks.sparse.SELECTIONS`.
    output : str
        What the decoder ends with, a key of :data:`narrows.networks.outputs.OUTPUT_MODULES`;
        users choose among :data:`OUTPUTS`, models may need more.
    tied_weights : bool
        Whether the decoder's matrices are the encoder's, transposed.
    n_heads : int
        Numbers that the encoder's body gives for each unit of the code.
    n_active : int
        Units that "topk" and "batch_topk" keep; 0 where there is no such number.
    unit_columns : bool
        Whether what the decoder's first layer multiplies each unit with has length 1.
    normalization : str
        A key of :data:`narrows.networks.layers.NORMALIZATIONS`.
    residual_blocks : int
        How many of them there are in each half.
    kernel_size : int
        Of convolutions, along each axis; 0 where there are none.
    signal : bool
        Whether rows are windows of a signal, (L,) or (L, C), rather than tables or pictures.
    rate : int or None
        Samples a second of that signal, where they are known.
    """

    architecture: str
    sample_shape: tuple[int, ...]
    n_components: int
    hidden_layer_sizes: tuple[int, ...]
    activation: str
    code_activation: str
    output: str
    tied_weights: bool
    n_heads: int = 1
    n_active: int = 0
    unit_columns: bool = False
    normalization: str = "none"
    residual_blocks: int = 0
    kernel_size: int = 0
    signal: bool = False
    rate: int | None = None

    @property
    def shows_pictures(self) -> bool:
        """Whether rows are pictures, to be shown and compared; see :mod:`narrows.data.arrays`."""
        is_signal = self.signal or self.architecture == "convolutional_1d"
        return not is_signal and are_pictures(self.sample_shape)

    @property
    def code_width(self) -> int:
        """Numbers in one code: K, or, where the code is a map, K times its places."""
        return self.n_components * math.prod(self.map_size)

    @property
    def map_size(self) -> tuple[int, ...]:
        """The code's extent along the axes that it keeps of the row; ``()`` where it keeps none."""
        if not self.is_map:
            return ()
        # Every stage halves, and rounds up.
        return tuple(-(-n // 2 ** len(self.hidden_layer_sizes)) for n in self.sample_shape[:2])

    @property
    def is_map(self) -> bool:
        """Whether codes are maps, and rows of any extent can be encoded."""
        return self.architecture == "fully_convolutional"

    def at(self, sample_shape: tuple[int, ...]) -> Self:
        """Return the spec of a network of the same weights for rows of another extent."""
        return (
            self if sample_shape == self.sample_shape else replace(self, sample_shape=sample_shape)
        )

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them, those with a default only where they differ.

        So a model's fingerprint stays what it was when a field is added.
        """
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Build the spec again from what :meth:`as_json` gave."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**known)


class Centre(nn.Module):
    """Subtract the training data's mean, which is learned before the first step.

    An encoder that sees centred rows trains markedly faster: the mean picture would otherwise
    dominate the first layer's gradient.
    """

    mean: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))

    def learn(self, mean: Tensor) -> None:
        """Take over the mean row, or its mean over places where rows of any extent are encoded."""
        self.mean.copy_(mean.reshape(-1, self.mean.numel()).mean(0).view_as(self.mean))

    def forward(self, x: Tensor) -> Tensor:
        """Subtract the mean from rows of shape (B, ...)."""
        return x - self.mean


class Layer(NamedTuple):
    """One linear layer of an encoder on its way through a batch.

    Attributes
    ----------
    linear : Linear
        The layer.
    values : Tensor of shape (B, out)
        What it gave.
    activation : Module
        What comes after it.
    """

    linear: nn.Linear
    values: Tensor
    activation: nn.Module


class Trace(NamedTuple):
    """What penalties look at: the encoder's way from a batch to its codes.

    Attributes
    ----------
    seen : Tensor of shape (B, ...)
        The scaled rows.
    layers : list of Layer
        The linear layers from the input on; the last one gave ``logits``. Empty where the body is
        more than linear layers, each followed by one of :data:`ACTIVATIONS`.
    logits : Tensor of shape (B, heads * K)
        The numbers before the code's activation; with two heads the codes' means, then their log
        variances.
    code : Tensor of shape (B, K)
        The codes.
    weights : Tensor of shape (B,) or None
        How much each row counts, 1 on average; ``None`` if all count the same.
    """

    seen: Tensor
    layers: list[Layer]
    logits: Tensor
    code: Tensor
    weights: Tensor | None = None

    def mean(self, values: Tensor) -> Tensor:
        """Average a term of the loss, one number a row (..., B), each multiplied by its weight.

        The sum is divided by the number of rows, not by that of the weights: their mean is 1 over
        all rows that are learned from, so that the steps of an epoch together have the gradient of
        the weighted loss, whatever the weights of a single batch add up to.
        """
        return values.mean() if self.weights is None else (values * self.weights).mean()

    @property
    def selected(self) -> Tensor:
        """The numbers that the code is made of, (B, K): of several heads the first's."""
        return self.logits[:, : self.code.shape[1]]


class Encoder(nn.Module):
    """A body that ends in plain numbers, and the function that makes codes of them.

    Parameters
    ----------
    body : Module
        From scaled rows (B, ...) to numbers (B, heads * K).
    activation : Module
        From numbers (B, K) to codes (B, K).
    n_heads : int
        How many numbers the body gives for each unit of the code; the code is made of the first.
    """

    def __init__(self, body: nn.Module, activation: nn.Module, n_heads: int = 1) -> None:
        super().__init__()
        self.body = body
        self.activation = activation
        self.n_heads = n_heads

    def forward(self, x: Tensor) -> Tensor:
        """Encode scaled rows (B, ...) to codes (B, K)."""
        return self._code(self.body(x))

    def trace(self, x: Tensor, weights: Tensor | None = None) -> Trace:
        """Encode scaled rows (B, ...), keeping what penalties look at on the way.

        Their weights (B,), if any, are passed on to the penalties.
        """
        modules = self._chain()
        if not modules:
            logits = self.body(x)
            return Trace(x, [], logits, self._code(logits), weights)
        seen, layers = x, []
        for module, following in zip(modules, [*modules[1:], self.activation], strict=True):
            x = module(x)
            if isinstance(module, nn.Linear):
                layers.append(Layer(module, x, following))
        return Trace(seen, layers, x, self._code(x), weights)

    def _chain(self) -> list[nn.Module]:
        """Return the body's modules if they are linear layers with known activations between."""
        modules = list(self.body) if isinstance(self.body, nn.Sequential) else []
        chain = list(dropwhile(lambda m: isinstance(m, Centre | nn.Flatten), modules))
        is_dense = len(chain) % 2 == 1 and all(
            is_pointwise(m) if i % 2 else isinstance(m, nn.Linear) for i, m in enumerate(chain)
        )
        return modules if is_dense else []

    def _code(self, logits: Tensor) -> Tensor:
        code: Tensor = self.activation(logits.chunk(self.n_heads, dim=1)[0])
        return code


class Decoder(nn.Module):
    """A body that ends in plain numbers, and the function that bounds them.

    Losses that need the numbers before the function take them from :meth:`logits`.
    """

    def __init__(self, body: nn.Module, output: str) -> None:
        super().__init__()
        self.body = body
        self.output = OUTPUT_MODULES[output]()

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
