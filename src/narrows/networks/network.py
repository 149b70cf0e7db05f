"""Networks: their description, their two halves, architectures, and how networks are built."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor, nn

from narrows.data.axes import are_pictures
from narrows.errors import NarrowsError, ParameterError
from narrows.networks.activations import (
    ACTIVATIONS,
    OUTPUT_MODULES,
    BatchTopK,
    JumpReLU,
    TopK,
    invert,
)
from narrows.plugins import PlugIn, plug_ins, refuse
from narrows.texts import is_word

M = TypeVar("M", bound=nn.Module)

# The group of entry points that name architectures of other packages.
_GROUP = "narrows.architectures"
Metric: TypeAlias = Literal["euclidean", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""The distances between codes."""
STRUCTURE = (
    "hidden_layer_sizes",
    "activation",
    "tied_weights",
    "normalization",
    "residual_blocks",
    "kernel_size",
)
"""The parameters of models that an architecture may know or not."""


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
        Width of the latent code (embedding), K; where the code is a map, its channels.
    hidden_layer_sizes : tuple of int
        Widths, or channels, between input and code; the decoder mirrors them.
    activation : str
        A key of :data:`narrows.networks.ACTIVATIONS`.
    code_activation : str
        The same, or a selection of :mod:`narrows.networks.activations`.
    output : str
        The decoder's last function, a key of
        :data:`narrows.networks.activations.OUTPUT_MODULES`; users choose among
        :data:`narrows.networks.OUTPUTS`, models may need more.
    tied_weights : bool
        Whether the decoder's matrices are the encoder's, transposed.
    n_heads : int
        Numbers that the encoder's body gives for each unit of the code.
    n_active : int
        Units that "topk" and "batch_topk" keep; 0 where there is no such number.
    unit_columns : bool
        Whether the columns by which the decoder's first layer multiplies units have length 1.
    normalization : str
        A key of :data:`narrows.networks.NORMALIZATIONS`.
    residual_blocks : int
        How many residual blocks there are in each half.
    kernel_size : int
        The extent of convolutions' kernels along each axis; 0 where there are none.
    signal : bool
        Whether rows are windows of a signal, (L,) or (L, C), rather than tables or pictures.
    rate : int or None
        The sampling rate of that signal in Hz, where it is known.
    metric : {"euclidean", "cosine"}
        How codes are compared unless another metric is asked for.
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
    metric: Metric = "euclidean"

    @property
    def definition(self) -> "Architecture":
        """The record of the architecture."""
        return ARCHITECTURES[self.architecture]

    @property
    def has_hidden_layers(self) -> bool:
        """Whether there are layers between input and code."""
        return (
            bool(self.hidden_layer_sizes) or "hidden_layer_sizes" not in self.definition.parameters
        )

    @property
    def shows_pictures(self) -> bool:
        """Whether rows are pictures, to be shown and compared; see :mod:`narrows.data.arrays`."""
        return not (self.signal or self.definition.of_signals) and are_pictures(self.sample_shape)

    @property
    def code_width(self) -> int:
        """Numbers in one code: K, or, where the code is a map, K times its places."""
        if self.definition.code_width is not None:
            return self.definition.code_width(self)
        return self.n_components * math.prod(self.map_size)

    @property
    def map_size(self) -> tuple[int, ...]:
        """The code's extent along the axes that it keeps of the row; ``()`` where it keeps none."""
        return () if self.definition.map_size is None else self.definition.map_size(self)

    @property
    def is_map(self) -> bool:
        """Whether codes are maps, and rows of any extent can be encoded."""
        return self.definition.map_size is not None

    @property
    def shared_shape(self) -> tuple[int, ...]:
        """The shape of a row that is the same for rows of any extent, if those are encoded."""
        if not self.is_map:
            return self.sample_shape
        n_axes = self.definition.n_axes(self.sample_shape)
        return self.sample_shape[n_axes:] or (1,)

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
        """Build the spec again from what :meth:`as_json` gave.

        Raises
        ------
        TypeError, ValueError
            If it gave no such fields, or there is no such metric.
        """
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        spec = cls(**known)
        if not is_word(spec.metric, *METRICS):
            raise ValueError(f"there is no metric {spec.metric!r}")
        return spec


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
    centre : tuple of int, optional
        In an encoder the shape of the mean row that the first module subtracts.
    mean_row : tuple of int, optional
        In a decoder the shape of the mean row that the last module adds.
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
    centre, mean_row : Module or None
        The modules that subtract and add the mean row.
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
        centre: tuple[int, ...] | None = None,
        mean_row: tuple[int, ...] | None = None,
        layers: Sequence[nn.Module] | None = None,
        code_layers: Sequence[nn.Module] = (),
        is_chain: bool = False,
    ) -> None:
        first = () if centre is None else (Centre(centre),)
        hidden = (module for block in blocks for module in block.modules)
        ends = () if last is None else (last,)
        final = () if mean_row is None else (AddMeanRow(mean_row),)
        super().__init__(*first, *front, *hidden, *before_last, *ends, *after_last, *final)
        # These are names for modules that are registered already, under their places.
        object.__setattr__(self, "centre", first[0] if first else None)
        object.__setattr__(self, "mean_row", final[0] if final else None)
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


@dataclass(frozen=True)
class Axes:
    """The directions along which scaled rows vary most.

    Attributes
    ----------
    directions : Tensor of shape (M, F)
        Orthonormal directions, the one of the largest variance first, in double precision.
    variances : Tensor of shape (M,)
        The variances of the rows along them, in double precision.
    residual_variance : float
        The mean variance of a feature that they leave unexplained.
    """

    directions: Tensor
    variances: Tensor
    residual_variance: float


@dataclass(frozen=True)
class Start:
    """Statistics of the scaled training rows from which initial weights are computed.

    Attributes
    ----------
    mean : Tensor of shape (*sample_shape,)
        The mean row, which the encoder subtracts and the decoder starts from.
    axes : Axes or None
        Their principal axes, for architectures that start at PCA.
    unexplained : float
        Mean variance of a value that the first network leaves, for models that learn a variance.
    """

    mean: Tensor
    axes: Axes | None = None
    unexplained: float = math.nan


Initialise = Callable[[Encoder, Decoder, NetworkSpec, Start, torch.Generator], None]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The functions that build the halves of a network, and the properties of these.

    Attributes
    ----------
    build_encoder : callable
        From a :class:`NetworkSpec` to a module from scaled rows (B, *sample_shape), float32, to
        numbers (B, n_heads * n_components), any real numbers. The function that makes codes of them
        is added. A module that is no :class:`narrows.networks.Body` is given rows less their mean.
    build_decoder : callable
        From a :class:`NetworkSpec` to a module from codes (B, n_components) to any real numbers
        (B, *sample_shape). The output function is added, and to a module that is no
        :class:`narrows.networks.Body` the mean row, from which the decoder starts.
    initialise : callable, optional
        Fills in all weights of ``encoder.body`` and ``decoder.body``, drawn from a generator:
        ``initialise(encoder, decoder, spec, start, generator)``. By default the weights are those
        that the modules' constructors draw, as torch's own do.
    parameters : set of str
        The parameters of models that it knows, of :data:`STRUCTURE`. Others are refused.
    activation : str, optional
        The activation that it always has, where it takes no other.
    goes_with : mapping of str to tuple
        The values that further parameters may have.
    check : callable, optional
        Takes a :class:`NetworkSpec`, and raises :class:`narrows.errors.ParameterError` if the
        architecture does not take such rows or sizes.
    hidden_layer_sizes : callable
        The hidden layers that "auto" stands for: from the shape of a row, the width of the code and
        the number of rows to a tuple of int.
    learning_rate, weight_decay : float
        The values that "auto" stands for, where there are hidden layers.
    beta2 : float, default=0.999
        AdamW's memory of squared gradients. A shorter one follows a sudden growth of gradients.
    clips : bool, default=True
        Whether gradients far above their usual norm are clipped, however few layers there are.
    n_axes : callable
        From the shape of a row to the number of its axes, from the first on, along which values
        have neighbours; by default 0.
    map_size : callable, optional
        From a :class:`NetworkSpec` to the extent of codes, where these are maps.
    code_width : callable, optional
        From a :class:`NetworkSpec` to the numbers in one code, where these are neither K nor a map
        of K channels.
    filters : callable, optional
        From an encoder and its spec to the first layer's weights as pictures, (n, H, W[, C]).
    numbers_a_row : callable, optional
        From a :class:`NetworkSpec` to how many numbers are kept of one row for the gradients. By
        default they are counted.
    rows_at_once : int, default=128
        Rows that are encoded or decoded at a time.
    unit_columns : bool, default=False
        Whether the columns of the decoder's first layer can have length 1, as sparse codes need.
    starts_at_pca : bool, default=False
        Whether the first weights are PCA's.
    starts_at_input : bool, default=False
        Whether the first network returns each row as it is, so that there is nothing to learn
        without damage.
    of_signals : bool, default=False
        Whether rows are always signals, (L,) or (L, C).
    """

    build_encoder: Callable[[NetworkSpec], nn.Module]
    build_decoder: Callable[[NetworkSpec], nn.Module]
    initialise: Initialise | None = None
    parameters: frozenset[str] = frozenset()
    activation: str | None = None
    goes_with: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    check: Callable[[NetworkSpec], None] | None = None
    hidden_layer_sizes: Callable[[tuple[int, ...], int, int], tuple[int, ...]] = lambda *_: ()
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    beta2: float = 0.999
    clips: bool = True
    n_axes: Callable[[tuple[int, ...]], int] = lambda _: 0
    map_size: Callable[[NetworkSpec], tuple[int, ...]] | None = None
    code_width: Callable[[NetworkSpec], int] | None = None
    filters: Callable[[Encoder, NetworkSpec], Tensor] | None = None
    numbers_a_row: Callable[[NetworkSpec], int] | None = None
    rows_at_once: int = 128
    unit_columns: bool = False
    starts_at_pca: bool = False
    starts_at_input: bool = False
    of_signals: bool = False


BUILT_IN: dict[str, Architecture] = {}
"""The architectures of Narrows, which :mod:`narrows.networks` fills in."""


class Architectures(Mapping[str, Architecture]):
    """The architectures by name: those that are built in, and those that packages bring.

    The packages are imported when a name is looked up that is not built in, or all are listed.
    """

    # Two are equal if they are one: comparing what they hold would import the packages.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getitem__(self, name: str) -> Architecture:
        return BUILT_IN[name] if name in BUILT_IN else self._brought[name].value

    def __iter__(self) -> Iterator[str]:
        return iter([*BUILT_IN, *self._brought])

    def __len__(self) -> int:
        return len(BUILT_IN) + len(self._brought)

    def package(self, name: str) -> str | None:
        """Return the name of the package that brings an architecture; None if it is built in."""
        return None if name in BUILT_IN else self._brought[name].package

    @cached_property
    def _brought(self) -> dict[str, PlugIn]:
        brought: dict[str, PlugIn] = {}
        for found in plug_ins(_GROUP):
            reason = ""
            if found.name in BUILT_IN:
                reason = "the name is that of a built-in architecture"
            elif not isinstance(found.value, Architecture):
                reason = f"it is no Architecture but of type {type(found.value).__name__!r}"
            elif found.name in brought:
                reason = f"the package '{brought[found.name].package}' brings one of this name"
            if reason:
                refuse(_GROUP, found.name, found.package, reason)
            else:
                brought[found.name] = found
        return brought


ARCHITECTURES = Architectures()


def build_encoder(spec: NetworkSpec) -> Encoder:
    """Build an encoder, whose weights are still to be filled in."""
    return _with_activation(_encoder_body(spec), spec)


def build_decoder(spec: NetworkSpec) -> Decoder:
    """Build a decoder, whose weights are still to be filled in."""
    return Decoder(_decoder_body(spec), spec.output)


def _encoder_body(spec: NetworkSpec) -> Body:
    module = spec.definition.build_encoder(spec)
    if isinstance(module, Body):
        return module
    return Body(module, centre=spec.shared_shape)


def _decoder_body(spec: NetworkSpec) -> Body:
    module = spec.definition.build_decoder(spec)
    if isinstance(module, Body):
        return module
    return Body(module, mean_row=spec.shared_shape)


def _with_activation(body: Body, spec: NetworkSpec) -> Encoder:
    match spec.code_activation:
        case "topk":
            activation: nn.Module = TopK(spec.n_active)
        case "batch_topk":
            activation = BatchTopK(spec.n_active)
        case "jumprelu":
            activation = JumpReLU(spec.n_components)
        case name:
            activation = ACTIVATIONS[name]()
    return Encoder(body, activation, spec.n_heads)


def with_weights(
    build_half: Callable[[NetworkSpec], M], spec: NetworkSpec, weights: Mapping[str, Tensor]
) -> M:
    """Build a half that has the weights of a state dict, in the types that its modules have.

    Raises
    ------
    RuntimeError
        If these are not the weights of such a half.
    """
    # On the meta device nothing is allocated: what a manifest claims costs no memory.
    with torch.device("meta"):
        half = build_half(spec)
    types = {name: tensor.dtype for name, tensor in half.state_dict().items()}
    weights = {name: tensor.to(types.get(name)) for name, tensor in weights.items()}
    half.load_state_dict(weights, assign=True)
    if any(buffer.is_meta for buffer in half.buffers()):  # of those that are not saved
        with _drawing(0):
            half = build_half(spec)
        half.load_state_dict(weights, assign=True)
    return half


def decoder_at(decoder: Decoder, spec: NetworkSpec) -> Decoder:
    """Build the decoder of the same weights for rows of another extent, where codes are maps."""
    return with_weights(build_decoder, spec, decoder.state_dict()).eval()


def join(encoder: Encoder, decoder: Decoder, spec: NetworkSpec) -> Network:
    """Make one network of two halves, sharing the matrices where weights are tied."""
    if spec.tied_weights:
        pairs = zip(encoder.body.layers, reversed(decoder.body.layers), strict=True)
        for layer, transposed in pairs:
            transposed.weight = layer.weight
    return Network(encoder, decoder)


def build(spec: NetworkSpec, start: Start, seed: int) -> Network:
    """Build both halves with fresh weights.

    Parameters
    ----------
    spec : NetworkSpec
        The network to build.
    start : Start
        What is known of the scaled training rows.
    seed : int
        The random seed: the same seed gives the same weights. torch's global generator is left
        alone.

    Returns
    -------
    Network

    Raises
    ------
    ParameterError
        If the architecture leaves weights without values, or keeps tensors that are neither
        parameters nor buffers.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="dense", sample_shape=(4, 4), n_components=2, hidden_layer_sizes=(8,),
    ...     activation="silu", code_activation="identity", output="sigmoid", tied_weights=False)
    >>> network = build(spec, Start(torch.full((4, 4), 0.5)), seed=0)
    >>> network(torch.rand(3, 4, 4)).shape
    torch.Size([3, 4, 4])
    """
    initialise = spec.definition.initialise
    if initialise is None:
        with _drawing(seed):
            bodies = _encoder_body(spec), _decoder_body(spec)
    else:
        # On the meta device constructors draw nothing, which would cost time.
        with torch.device("meta"):
            bodies = _encoder_body(spec), _decoder_body(spec)
        for body in bodies:
            body.to_empty(device="cpu")
            for _, tensor in _numbers(body):
                nn.init.constant_(tensor, torch.nan)
    _refuse_plain_tensors(spec, bodies)
    network = join(_with_activation(bodies[0], spec), Decoder(bodies[1], spec.output), spec)
    if bodies[0].centre is not None:
        bodies[0].centre.learn(start.mean)
    if bodies[1].mean_row is not None:
        bodies[1].mean_row.learn(invert(spec.output, start.mean))
    if initialise is not None:
        generator = torch.Generator().manual_seed(seed)
        with _explained(spec):
            initialise(network.encoder, network.decoder, spec, start, generator)
    empty = [name for name, tensor in _numbers(network) if tensor.isnan().any()]
    if empty:
        raise ParameterError(
            f"architecture={spec.architecture!r} leaves {empty[0]!r} without initial values "
            f"({len(empty)} such in all); its 'initialise' has to fill in all weights, or, where "
            "there is none, the modules' constructors have to"
        )
    return network


def _refuse_plain_tensors(spec: NetworkSpec, bodies: Sequence[nn.Module]) -> None:
    """Refuse tensors that would be lost when a model is saved and loaded."""
    for body in bodies:
        for module in body.modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor):
                    raise ParameterError(
                        f"architecture={spec.architecture!r} keeps the tensor {name!r} of "
                        f"{type(module).__name__} as a plain attribute, which is not saved; make "
                        f"it a buffer (self.register_buffer({name!r}, ...))"
                    )


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """Let constructors draw from a seed, on the CPU; what they leave empty becomes NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        try:
            torch.use_deterministic_algorithms(True, warn_only=True)
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)


def drawing_of(spec: NetworkSpec) -> Callable[[torch.Generator], AbstractContextManager[Any]]:
    """Return the context in which a network draws random numbers from a run's generator.

    Modules of other packages, such as dropout, by themselves draw from torch's global generator,
    which the context leaves alone. Built-in modules draw nothing.
    """
    return nullcontext if spec.architecture in BUILT_IN else _drawing_from


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    device = generator.device
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


def _numbers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights and buffers of a module that hold real numbers, by name."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            yield name, tensor


def size(spec: NetworkSpec) -> tuple[int, int]:
    """Count a network's weights, and the numbers that are kept of a row for the gradients.

    Raises
    ------
    ParameterError
        If the halves of an architecture cannot be built, or give something of another shape.
    """
    count = spec.definition.numbers_a_row
    with _explained(spec):
        if count is not None:
            with torch.device("meta"):
                bodies = _encoder_body(spec), _decoder_body(spec)
            return _n_weights(bodies), count(spec)
        try:
            return _measured_size(spec, "meta")
        except NotImplementedError:  # an operation that the meta device does not have
            return _measured_size(spec, "cpu")


def _n_weights(halves: Sequence[nn.Module]) -> int:
    return sum(weight.numel() for half in halves for weight in half.parameters())


def check(spec: NetworkSpec) -> None:
    """Refuse rows and sizes that an architecture does not take.

    Raises
    ------
    ParameterError
        With the reason.
    """
    if spec.definition.check is not None:
        with _explained(spec):
            spec.definition.check(spec)


@contextmanager
def _explained(spec: NetworkSpec) -> Iterator[None]:
    """Say of an exception in another package's code which architecture it is from."""
    try:
        yield
    except NarrowsError:
        raise
    except Exception as error:
        if spec.architecture in BUILT_IN:
            raise
        raise ParameterError(
            f"architecture={spec.architecture!r} cannot be used for rows of shape "
            f"{spec.sample_shape} and n_components={spec.n_components} ({type(error).__name__}: "
            f"{error}); change these, or use another architecture"
        ) from error


def _measured_size(spec: NetworkSpec, device: str) -> tuple[int, int]:
    """Build both halves, and count what autograd keeps of rows that pass through them."""
    n_rows = 2  # batch normalisation needs more than one
    with torch.device(device):
        encoder, decoder = build_encoder(spec), build_decoder(spec)
        x = torch.zeros(n_rows, *spec.sample_shape)
    weights = {id(weight) for half in (encoder, decoder) for weight in half.parameters()}
    count = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal count
        base = tensor if tensor._base is None else tensor._base
        count += 0 if id(base) in weights else tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = encoder.body(x)
        wanted = (n_rows, spec.n_heads * spec.code_width)
        if tuple(logits.shape) != wanted:
            raise ParameterError(
                f"the encoder of architecture={spec.architecture!r} gives numbers of shape "
                f"{tuple(logits.shape)} for {n_rows} rows of shape {spec.sample_shape}, where "
                f"{wanted} is needed; change its 'build_encoder'"
            )
        restored = encoder(x)
        for module in decoder.body:
            if module is decoder.body.mean_row and restored.shape != x.shape:
                break
            restored = module(restored)
    if restored.shape != x.shape:
        raise ParameterError(
            f"the decoder of architecture={spec.architecture!r} gives numbers of shape "
            f"{tuple(restored.shape)} for {n_rows} codes, where {tuple(x.shape)} is needed; change "
            "its 'build_decoder'"
        )
    return _n_weights((encoder, decoder)), count // n_rows
