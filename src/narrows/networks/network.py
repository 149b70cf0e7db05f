"""The two halves of a network, and the parts that they are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from narrows.networks.activations import OUTPUT_MODULES


class Centre(nn.Module):
    """Subtract the training data's mean, which is learned before the first step.

    An encoder that sees centred rows trains markedly faster: the mean picture would otherwise
    dominate the first layer's gradient.

    Parameters
    ----------
    shape : tuple of int
        The shape of a row; where rows of any extent are encoded, the size of its last axis alone.
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


class AddMeanRow(nn.Module):
    """Add a learned row, which is the mean row before training.

    Parameters
    ----------
    shape : tuple of int
        The shape of a row; where rows of any extent are decoded, the size of its last axis alone.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        # One axis, as other biases have, so that it does not decay.
        self.row = nn.Parameter(torch.zeros(torch.Size(shape).numel()))

    def learn(self, row: Tensor) -> None:
        """Take over a row, or its mean over places where rows of any extent are decoded."""
        with torch.no_grad():
            self.row.copy_(row.reshape(-1, self.row.numel()).mean(0))

    def forward(self, x: Tensor) -> Tensor:
        """Add the row to each of (B, ...)."""
        return x + self.row.view(self.shape)


@dataclass(frozen=True, eq=False)
class Block:
    """A hidden layer and the modules that follow it.

    Attributes
    ----------
    layer : Module
        The layer, which has ``weight`` and ``bias``.
    activation : Module
        One of :data:`narrows.networks.ACTIVATIONS`.
    reshape : tuple of Module
        Modules without weights between the layer and what follows.
    norm : tuple of Module
        The normalisation, if there is one.
    residuals : tuple of Module
        The residual blocks.
    """

    layer: nn.Module
    activation: nn.Module
    reshape: tuple[nn.Module, ...] = ()
    norm: tuple[Any, ...] = ()
    residuals: tuple[Any, ...] = ()

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules in the order in which they are called."""
        return (self.layer, *self.reshape, *self.norm, self.activation, *self.residuals)


class Body(nn.Sequential):
    """The modules of a half, called one after the other, with names for its parts.

    Parameters
    ----------
    *front : Module
        The modules before the first layer. Where nothing is known of the layers, these are all.
    blocks : sequence of Block
        The hidden layers.
    before_last : sequence of Module
        Modules without weights between the blocks and the last layer.
    last : Module, optional
        The layer after the hidden ones: of an encoder it gives the code's numbers, of a decoder the
        row's.
    after_last : sequence of Module
        The modules after the last layer.
    centre : Centre, optional
        In an encoder the first module.
    mean_row : AddMeanRow, optional
        In a decoder the last module.
    layers : sequence of Module, optional
        All layers from the input on, where they are not those of the blocks and the last one.
    code_layers : sequence of Linear
        The linear layers beside the code: in an encoder the code's numbers are the sum of what they
        give, in a decoder they take the code. Empty where other layers lie there.
    is_chain : bool, default=False
        Whether all layers are linear, and one activation follows each hidden one.

    Attributes
    ----------
    layers : tuple of Module
        The layers from the input on, which have ``weight`` and ``bias``; empty if they are unknown.
    """

    centre: Centre | None
    mean_row: AddMeanRow | None

    def __init__(
        self,
        *front: nn.Module,
        blocks: Sequence[Block] = (),
        before_last: Sequence[nn.Module] = (),
        last: nn.Module | None = None,
        after_last: Sequence[nn.Module] = (),
        centre: Centre | None = None,
        mean_row: AddMeanRow | None = None,
        layers: Sequence[nn.Module] | None = None,
        code_layers: Sequence[nn.Module] = (),
        is_chain: bool = False,
    ) -> None:
        first = () if centre is None else (centre,)
        hidden = (module for block in blocks for module in block.modules)
        ends = () if last is None else (last,)
        final = () if mean_row is None else (mean_row,)
        super().__init__(*first, *front, *hidden, *before_last, *ends, *after_last, *final)
        # These are names for modules that are registered already, under their places.
        object.__setattr__(self, "centre", centre)
        object.__setattr__(self, "mean_row", mean_row)
        self.front, self.blocks = (*first, *front), tuple(blocks)
        self.code_layers: tuple[Any, ...] = tuple(code_layers)
        self.layers: tuple[Any, ...] = (*(block.layer for block in blocks), *ends)
        if layers is not None:
            self.layers = tuple(layers)
        self.is_chain = is_chain


class Layer(NamedTuple):
    """One linear layer of an encoder, and what it gave for a batch.

    Attributes
    ----------
    linear : Linear
        The layer.
    values : Tensor of shape (B, out)
        The numbers that it gave.
    activation : Module
        The function that follows the layer.
    """

    linear: nn.Linear
    values: Tensor
    activation: nn.Module


class Trace(NamedTuple):
    """What penalties look at: everything that an encoder computed from a batch to its codes.

    Attributes
    ----------
    seen : Tensor of shape (B, ...)
        The scaled rows.
    layers : list of Layer
        The linear layers from the input on; the last one gave ``logits``. Empty where the body is
        more than linear layers, each followed by one of :data:`narrows.networks.ACTIVATIONS`.
    logits : Tensor of shape (B, heads * K)
        The numbers before the code's activation; with two heads the codes' means, then their log
        variances.
    code : Tensor of shape (B, K)
        The latent codes (embeddings).
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
        """The numbers that the code is made of, (B, K); of several heads those of the first."""
        return self.logits[:, : self.code.shape[1]]


class Encoder(nn.Module):
    """A body that gives plain numbers, and the function that makes latent codes of them.

    Parameters
    ----------
    body : Module
        From scaled rows (B, ...) to numbers (B, heads * K); what is no :class:`Body` becomes one.
    activation : Module
        From numbers (B, K) to codes (B, K).
    n_heads : int
        How many numbers the body gives for each unit of the code; the code is made of the first.
    """

    def __init__(self, body: nn.Module, activation: nn.Module, n_heads: int = 1) -> None:
        super().__init__()
        self.body = body if isinstance(body, Body) else Body(body)
        self.activation = activation
        self.n_heads = n_heads
        # Each linear layer and what follows it; after the last one it is ``activation``.
        self._chain: tuple[tuple[nn.Linear, nn.Module | None], ...] = ()
        if self.body.is_chain:
            following = (*(block.activation for block in self.body.blocks), None)
            self._chain = tuple(zip(self.body.layers, following, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Encode scaled rows (B, ...) to codes (B, K)."""
        return self._code(self.body(x))

    def trace(self, x: Tensor, weights: Tensor | None = None) -> Trace:
        """Encode scaled rows (B, ...), and keep what penalties look at.

        Their weights (B,), if any, are passed on to the penalties.
        """
        if not self._chain:
            logits = self.body(x)
            return Trace(x, [], logits, self._code(logits), weights)
        seen, layers = x, []
        for module in self.body.front:
            x = module(x)
        for linear, activation in self._chain:
            values = linear(x)
            layers.append(Layer(linear, values, activation or self.activation))
            if activation is not None:
                x = activation(values)
        return Trace(seen, layers, values, self._code(values), weights)

    def _code(self, logits: Tensor) -> Tensor:
        code: Tensor = self.activation(logits.chunk(self.n_heads, dim=1)[0])
        return code


class Decoder(nn.Module):
    """A body that gives plain numbers, and the function that bounds them.

    Losses that need the numbers before the function take them from :meth:`logits`.

    Parameters
    ----------
    body : Module
        From codes (B, K) to numbers (B, ...).
    output : str
        The name of the function, a key of :data:`narrows.networks.activations.OUTPUT_MODULES`.
    """

    def __init__(self, body: nn.Module, output: str) -> None:
        super().__init__()
        self.body = body if isinstance(body, Body) else Body(body)
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
