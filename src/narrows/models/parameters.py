"""The parameters that every model has, and the attributes that fitting adds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from narrows.corruption import Corruption, Level
from narrows.data.scaling import Scaling, ScalingName
from narrows.models.learned_rows import LearnedRows
from narrows.networks import ARCHITECTURES, Decoder, Encoder, NetworkSpec
from narrows.training.history import History

# The values of parameters; the command line shows these words.
Activation = Literal[
    "identity", "relu", "leaky_relu", "elu", "silu", "gelu", "tanh", "sigmoid", "softplus"
]
ArchitectureName = (
    Literal[
        "auto",
        "dense",
        "pca_residual",
        "convolutional",
        "convolutional_1d",
        "fully_convolutional",
        "restoring",
        "restoring_1d",
    ]
    | Annotated[str, ARCHITECTURES]
)
Normalization = Literal["none", "batch", "layer"]
Output = Activation | Literal["clip", "auto"]
LossName = Literal["auto", "squared_error", "cross_entropy"]
RandomState = int | np.random.RandomState | None


# The width of the code that "auto" stands for.
_COMPONENTS = 32


@dataclass(kw_only=True, eq=False, repr=False)
class Parameters:
    """The fields of :class:`narrows.models.BaseAutoencoder`, which models inherit.

    Parameters
    ----------
    n_components : int or "auto"
        Width of the code, K, or, where the code is a map, the channels of the map; in Python the
        only positional parameter. The default is 32, and in denoising models "auto", which is 32
        too, and lets "auto" choose an ``architecture`` whose codes are maps.
    hidden_layer_sizes : tuple of int or "auto", default="auto"
        Widths (for convolutions, channels) of the layers between input and code; the decoder
        mirrors them. ``()`` means none; "auto" chooses them from the shape of the rows.
    activation : str, default="silu"
        Activation of the hidden layers: "identity", "relu", "leaky_relu", "elu", "silu", "gelu",
        "tanh", "sigmoid" or "softplus".
    code_activation : str, default="auto"
        Activation of the code, one of the same; "auto" takes the one that the model needs, or
        "identity".
    tied_weights : bool, default=False
        Whether the decoder's matrices are the transposed matrices of the encoder.
    architecture : str, default="auto"
        Kind of network: "dense"; "pca_residual", which starts at PCA and learns what a dense
        network can add to it; "convolutional" for pictures, or signals of shape (L,);
        "convolutional_1d" for signals of shape (L, C); "fully_convolutional", whose code is a map
        with ``n_components`` channels, so that pictures of any size can be encoded; "restoring" for
        pictures and "restoring_1d" for signals, which undo damage: the code is the row itself and a
        map at each of several scales, and the decoder adds to the row what it learned; or the name
        of an architecture of an installed package. Each convolution halves the extent. "auto" takes
        "restoring" or "restoring_1d" for denoising models of pictures and signals of 16 places and
        more along each axis, if ``n_components`` is left to "auto" and the damage leaves values in
        their places. Otherwise it takes "convolutional" for pictures of 32 pixels and more along
        both sides, unless ``hidden_layer_sizes`` are given, or there are fewer than 2 000 that can
        start at PCA; and otherwise "pca_residual". "dense" takes its place where other parameters
        do not go with PCA, for pictures of zeros and ones, for other data in [0, 1] with damage or
        further terms of the loss, and for codes of one or two numbers of 500 pictures or more.
    kernel_size : int or "auto", default="auto"
        Extent of the convolution kernels along each axis, an odd number; "auto" takes 3 for
        pictures, 9 for signals.
    normalization : {"none", "batch", "layer"}, default="none"
        Normalisation of the hidden layers to mean 0 and variance 1: "batch" for each channel over
        the rows of a batch, "layer" for each row separately.
    residual_blocks : int, default=0
        Number of residual blocks (two layers with a skip connection) in each half, distributed over
        the hidden layers. They start as the identity, so that networks of any depth can be trained.
    output : str, default="auto"
        Activation of the decoder's output, one of the same, or "clip": the identity in [0, 1] and
        the nearer end outside, with a slope of 0.02 while training. For scaled data in [0, 1]
        "auto" takes "clip" where the network starts at PCA, and a sigmoid elsewhere; "identity" for
        other data, with ``activation="identity"``, for PCA without hidden layers, and where the
        network passes rows around the code.
    loss : {"auto", "squared_error", "cross_entropy"}, default="auto"
        Reconstruction error to be minimised, summed over features: "auto" takes cross-entropy for
        pictures of zeros and ones only (also flattened, from 256 values on), and squared error
        otherwise.
    scaling : {"auto", "unit", "global", "standard", "none"}, default="auto"
        Scaling of the network's input, learned from the training data and inverted after decoding.
        "unit" maps ``scaling_.low`` to ``scaling_.high`` (for uint8: 0 to 255; otherwise the
        conventional range that the data use, or their range) to [0, 1]; "global" subtracts each
        feature's mean and divides all features by one number, as for PCA; "standard" divides each
        feature by its standard deviation (1 if it is constant), and each channel of signals (L, C)
        by one number; "auto" takes "unit" for pictures of zeros and ones only, of uint8, of uint16
        that reach a quarter of white, and of other numbers that fill [0, 1] or, in rows (H, W) or
        (H, W, C), [0, 255] (the largest value above 1/4 of its end, the root of the features' mean
        variance at least 1/16); rows (F,) are pictures if they have 16 values or more, of no more
        than 256 levels; otherwise "standard" for tables and signals whose columns or channels have
        standard deviations that differ by more than 3 times, and for all other tables if there
        are hidden layers; otherwise "global".
    corruption : str, callable, sequence of them, or None, default=None
        Damage to the encoder's input during training, drawn anew every step; the target stays
        clean. "gaussian", "masking", "salt_and_pepper", "poisson_gaussian" (a camera's noise,
        which grows with the light) or "correlated" (noise that neighbours share); for pictures also
        "jpeg", "stripes", "color_noise", "crop", "border", "rotation", "mirror", "blur",
        "brightness", "contrast", "colors" or "grey"; or a function of scaled rows (B, ...) and a
        torch generator. A sequence is applied in its order; after the word "one_of", each row draws
        one of the sequence. Salt and pepper are black and white in pictures, in tables each
        column's smallest and largest value. "blind_spot" stands alone: by it,
        :class:`narrows.DenoisingAutoencoder` learns from noisy pictures or signals without clean
        ones, as it has to tell hidden pixels from their neighbours.
    corruption_level : float, "auto", pair of float, or sequence of them, default="auto"
        Strength of the damage, from 0 to 1: the standard deviation of noise in scaled units (of
        "poisson_gaussian", that at white), the share of values masked or set to an extreme, of
        "jpeg" what the quality of 100 lacks, in hundredths, of "blind_spot" the share of what is
        hidden, at most a quarter of pixels and half of a signal's samples, or the extent of a
        distortion. A pair of numbers is a range, from which each row draws its level uniformly,
        such as (0.02, 0.2), on the command line 0.02:0.2. One for all corruptions, or one for each.
        "auto" takes a range where the architecture is "restoring" or "restoring_1d", of "gaussian"
        0 to 0.2 where rows are scaled to [0, 1], and otherwise 0 to 1 (a signal-to-noise ratio of
        0 dB).
    max_epochs : int or "auto", default="auto"
        Passes over the data; "auto" chooses 5 to 100 from the number of rows, and up to 300 of few
        rows for "restoring" and "restoring_1d".
    batch_size : int or "auto", default="auto"
        Rows per step; "auto" chooses 32 to 512 from the number of rows, and for "restoring" and
        "restoring_1d" 1 to 128 from the number of their places.
    learning_rate : float or "auto", default="auto"
        Peak of the one-cycle schedule; ``partial_fit`` uses a third of it, constantly. "auto"
        takes 0.002 for "restoring" and "restoring_1d", 0.006 for "pca_residual" (0.003 for 1 024
        units), 0.01 without hidden layers and 0.003 otherwise, and half of it with
        ``corruption="blind_spot"``.
    weight_decay : float or "auto", default="auto"
        Share of each weight, times the learning rate, that every step subtracts (AdamW), against
        overfitting. "auto" takes 0.1; for "pca_residual" 0.5, and less where an epoch has many
        steps, so that weights remember at least 6 epochs. The linear maps of PCA do not shrink.
    early_stopping : bool, default=True
        Whether rows are held out, training stops when their loss no longer falls, and the weights
        that were best on them are kept.
    validation_fraction : float or "auto", default="auto"
        Share of the rows held out, between 0 and 1; "auto" takes a tenth, at most 1 000 rows, and
        none of fewer than 95 or without hidden layers.
    n_iter_no_change : int, default=10
        Epochs without a smaller held-out loss after which training stops, counted from where the
        learning rate has fallen below half its peak.
    checkpoint : path or None, default=None
        File that keeps the training state. If it exists when ``fit`` starts with the same data and
        parameters, training continues from it; it is removed when training is complete.
    device : str, default="auto"
        "auto" (a GPU if available), "cpu", "cuda", ...
    random_state : int, RandomState or None, default=None
        Random seed of the initial weights, the held-out rows, shuffling and noise. An int makes
        results reproducible.
    verbose : int, default=0
        Whether a line is printed for each epoch.
    """

    n_components: int | Literal["auto"] = field(default=_COMPONENTS, kw_only=False)
    hidden_layer_sizes: Sequence[int] | Literal["auto"] = "auto"
    activation: Activation = "silu"
    code_activation: Activation | Literal["auto"] = "auto"
    tied_weights: bool = False
    architecture: ArchitectureName = "auto"
    kernel_size: int | Literal["auto"] = "auto"
    normalization: Normalization = "none"
    residual_blocks: int = 0
    output: Output = "auto"
    loss: LossName = "auto"
    scaling: ScalingName = "auto"
    corruption: str | Corruption | Sequence[str | Corruption] | None = None
    corruption_level: Level | Sequence[Level] = "auto"
    max_epochs: int | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    learning_rate: float | Literal["auto"] = "auto"
    weight_decay: float | Literal["auto"] = "auto"
    early_stopping: bool = True
    validation_fraction: float | Literal["auto"] = "auto"
    n_iter_no_change: int = 10
    checkpoint: str | Path | None = None
    device: str = "auto"
    random_state: RandomState = None
    verbose: int = 0


class Trained(Protocol):
    """An object with the parameters of training."""

    max_epochs: int | Literal["auto"]
    batch_size: int | Literal["auto"]
    learning_rate: float | Literal["auto"]
    weight_decay: float | Literal["auto"]
    early_stopping: bool
    validation_fraction: float | Literal["auto"]
    n_iter_no_change: int
    device: str
    random_state: int | np.random.RandomState | None


class Choice(NamedTuple):
    """The value that was chosen for a parameter left at "auto".

    Attributes
    ----------
    value : object
        The chosen value.
    reason : str
        The reason in a few words; may be empty.
    """

    value: object
    reason: str


class ModelAttributes(
    Parameters,
    BaseEstimator,  # type: ignore[misc]  # untyped
):
    """A model of any kind, as a type for functions that read its parameters and attributes.

    :class:`narrows.models.BaseAutoencoder` describes the attributes.
    """

    encoder_: Encoder
    decoder_: Decoder
    scaling_: Scaling
    spec_: NetworkSpec
    loss_: str
    sample_shape_: tuple[int, ...]
    history_: History
    n_iter_: int
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    data_min_: NDArray[np.float64]
    data_max_: NDArray[np.float64]
    choices_: dict[str, Choice]
    learned_rows_: LearnedRows | None

    # Whether a linear map could give the codes, so that a network can start at PCA.
    _linear_code: ClassVar[bool] = True
    # Whether hidden_layer_sizes="auto" chooses hidden layers for a dense network.
    _deep_by_default: ClassVar[bool] = True
    # The number of outputs that the encoder's body has for each unit of the code.
    _n_heads: ClassVar[int] = 1
    # Whether the model undoes damage, so that "auto" takes a network that restores.
    _restores: ClassVar[bool] = False
    # Pictures with sides of so many pixels get convolutions.
    _smallest_convolved: ClassVar[int] = 32
    # Whether the code is meant to be wider than the rows, of which few units are active.
    _wide_code: ClassVar[bool] = False
    # Whether the parameters of the model determine the activation of its code.
    _fixed_code_activation: ClassVar[bool] = False
    # Whether the model counts the dead units of its code itself.
    _counts_dead_units: ClassVar[bool] = False
    # Whether the model is made of layers that are models themselves.
    _is_stack: ClassVar[bool] = False

    @property
    def _why_corruption(self) -> str:
        """Why corruption="auto" became what it did."""
        return ""

    @property
    def _components(self) -> int:
        """The width of the code, or, where it is a map, its channels."""
        wanted = self.n_components
        return _COMPONENTS if isinstance(wanted, str) else int(wanted)
