"""Parameters chosen by the size of the data, and the memory that training a network takes.

`benchmarks/foundation.py` prints what these choices give on three data sets.
"""

import math

import torch

from narrows import networks
from narrows.data.lazy_rows import check_fits
from narrows.errors import ParameterError
from narrows.networks import NetworkSpec
from narrows.networks.convolutional import Geometry
from narrows.networks.layers import blocks_of

# Numbers that training keeps for each weight: itself, its gradient and Adam's two moments.
_NUMBERS_A_WEIGHT = 4
# Steps after which longer training hardly lowers the error of the data sets tried.
_STEPS = 9_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 100
_WIDEST, _NARROWEST = 1024, 256
_STEPS_FROM_PCA, _ROWS_A_UNIT = 800, 8
_WIDEST_BESIDE_PCA, _NARROWEST_BESIDE_PCA = 256, 32
_DECAY, _DECAY_FROM_PCA = 0.1, 0.01
_SMALLEST_PICTURE = 32
_CHANNELS, _MOST_CHANNELS = 32, 256
_LAST_HALVINGS, _STAGES_TO_MAP = 2, 2
_KERNEL_OF_SIGNALS, _KERNEL_OF_PICTURES = 9, 3
_HELD_OUT_SHARE, _HELD_OUT_MOST, _HELD_OUT_LEAST = 0.1, 1_000, 10
_RATE, _RATE_OF_ONE_LAYER = 3e-3, 1e-2


def choose_architecture(sample_shape: tuple[int, ...]) -> str:
    """Choose convolutions for pictures of 32 pixels and more along both sides.

    Examples
    --------
    >>> choose_architecture((28, 28)), choose_architecture((48, 32, 3))
    ('dense', 'convolutional')
    """
    is_large = len(sample_shape) > 1 and min(sample_shape[:2]) >= _SMALLEST_PICTURE
    return "convolutional" if is_large else "dense"


def most_stages(extent: int) -> int:
    """Tell how often an extent can be halved, rounding up, before it is 1.

    Examples
    --------
    >>> most_stages(28), most_stages(33)
    (5, 6)
    """
    return (extent - 1).bit_length()


def choose_hidden_layer_sizes(
    architecture: str, sample_shape: tuple[int, ...], n_components: int, n_rows: int
) -> tuple[int, ...]:
    """Choose two dense layers that narrow by four, the first about as wide as the input.

    What a network adds to PCA has two layers whose width grows with the number of rows, so that few
    rows are not learned by heart. Of convolutions, choose as many stages as leave four places along
    the shorter side, each with twice the channels of the one before; where the code is a map, two.

    Examples
    --------
    >>> choose_hidden_layer_sizes("dense", (784,), 32, 60_000)
    (1024, 256)
    >>> choose_hidden_layer_sizes("pca_residual", (13,), 4, 1_000)
    (128, 128)
    >>> choose_hidden_layer_sizes("convolutional", (32, 32, 3), 128, 50_000)
    (32, 64, 128)
    """
    if architecture == "pca_residual":
        width = 2 ** round(math.log2(max(1, n_rows / _ROWS_A_UNIT)))
        return (min(_WIDEST_BESIDE_PCA, max(_NARROWEST_BESIDE_PCA, width)),) * 2
    if architecture == "dense":
        features = math.prod(sample_shape)
        first = min(_WIDEST, max(_NARROWEST, 1 << (features - 1).bit_length()))
        second = max(first // 4, 2 * n_components)
        return (first, second) if second < first else (first,)
    places = sample_shape[:1] if architecture == "convolutional_1d" else sample_shape[:2]
    n_stages = max(1, most_stages(min(places)) - _LAST_HALVINGS)
    if architecture == "fully_convolutional":
        n_stages = min(n_stages, _STAGES_TO_MAP)
    return tuple(min(_MOST_CHANNELS, _CHANNELS << stage) for stage in range(n_stages))


def choose_kernel_size(n_axes: int) -> int:
    """Choose long kernels for signals, small ones for pictures.

    Examples
    --------
    >>> choose_kernel_size(1), choose_kernel_size(2)
    (9, 3)
    """
    return _KERNEL_OF_SIGNALS if n_axes == 1 else _KERNEL_OF_PICTURES


def choose_batch_size(n_rows: int) -> int:
    """Choose few rows a step for few rows in all, so that there are enough steps.

    Examples
    --------
    >>> choose_batch_size(1_500), choose_batch_size(60_000)
    (32, 128)
    """
    for least, size in ((500_000, 512), (200_000, 256), (10_000, 128), (2_500, 64)):
        if n_rows >= least:
            return size
    return min(32, n_rows)


def choose_max_epochs(n_rows: int, batch_size: int, architecture: str = "dense") -> int:
    """Choose as many epochs as make about 9 000 steps, between 5 and 100; fewer from PCA on.

    Examples
    --------
    >>> choose_max_epochs(60_000, 128), choose_max_epochs(600, 32, "pca_residual")
    (20, 64)
    """
    steps_per_epoch = -(-n_rows // batch_size)
    if architecture == "pca_residual":
        steps = min(_STEPS, max(_STEPS_FROM_PCA, 2 * n_rows))
        return max(_FEWEST_EPOCHS, -(-steps // steps_per_epoch))
    return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, -(-_STEPS // steps_per_epoch)))


def choose_weight_decay(architecture: str) -> float:
    """Choose less decay where it would pull the network away from PCA.

    Examples
    --------
    >>> choose_weight_decay("dense"), choose_weight_decay("pca_residual")
    (0.1, 0.01)
    """
    return _DECAY_FROM_PCA if architecture == "pca_residual" else _DECAY


def choose_held_out(n_rows: int) -> int:
    """Choose a tenth of the rows, at most 1 000, none where that would be fewer than ten.

    Examples
    --------
    >>> choose_held_out(60_000), choose_held_out(50)
    (1000, 0)
    """
    held_out = min(_HELD_OUT_MOST, round(_HELD_OUT_SHARE * n_rows))
    return held_out if held_out >= _HELD_OUT_LEAST else 0


def choose_learning_rate(hidden_layer_sizes: tuple[int, ...]) -> float:
    """Choose the cycle's peak: a layer alone bears larger steps than layers on top of others.

    Examples
    --------
    >>> choose_learning_rate((1024, 256)), choose_learning_rate(())
    (0.003, 0.01)
    """
    return _RATE if hidden_layer_sizes else _RATE_OF_ONE_LAYER


def check_memory(spec: NetworkSpec, batch_size: int) -> None:
    """Refuse a network that does not fit, with its gradients and what a batch makes of it.

    Counted are the weights, what Adam keeps of them, and :func:`_numbers_a_row`; not what is needed
    for a moment in between.

    Parameters
    ----------
    spec : NetworkSpec
        Of the network.
    batch_size : int
        Rows a step.

    Raises
    ------
    ParameterError
        If that is more than there is.
    """
    with torch.device("meta"):
        halves = networks.build_encoder(spec), networks.build_decoder(spec)
    weights = sum(w.numel() for half in halves for w in half.parameters())
    check_fits(
        (weights * _NUMBERS_A_WEIGHT + _numbers_a_row(spec) * batch_size) * torch.float32.itemsize,
        f"training a network of {weights} weights (n_components={spec.n_components}, "
        f"hidden_layer_sizes={spec.hidden_layer_sizes}) on {batch_size} rows at a time",
        "choose smaller ones, or a smaller batch_size",
        ParameterError,
    )


def _numbers_a_row(spec: NetworkSpec) -> int:
    """Count what the modules of a network give for one row, which is kept for the gradients.

    Examples
    --------
    >>> spec = NetworkSpec(
    ...     architecture="convolutional", sample_shape=(32, 32, 3), n_components=128,
    ...     hidden_layer_sizes=(32, 64, 128), activation="silu", code_activation="identity",
    ...     output="sigmoid", tied_weights=False, kernel_size=3)
    >>> _numbers_a_row(spec)
    69888
    """
    normalised = spec.normalization != "none"
    sizes: list[tuple[int, ...]] = [()] * len(spec.hidden_layer_sizes)
    if networks.is_convolutional(spec.architecture):
        _, *sizes = Geometry.of(spec).sizes
    # Of a layer itself, normalised and activated; of a block its two layers, between and sum.
    hidden = sum(
        math.prod(size) * width * (2 + normalised + blocks * (4 + normalised))
        for size, width, blocks in zip(sizes, spec.hidden_layer_sizes, blocks_of(spec), strict=True)
    )
    # The row is centred, and restored in two steps and an output.
    return 2 * (hidden + 2 * math.prod(spec.sample_shape)) + 2 * spec.n_heads * spec.code_width
