"""What is chosen from the data's size where the user does not choose.

`benchmarks/foundation.py` prints what these choices give on three data sets.
"""

# Steps after which longer training hardly lowers the error of the data sets tried.
_STEPS = 9_000
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 100
_WIDEST, _NARROWEST = 1024, 256
_HELD_OUT_SHARE, _HELD_OUT_MOST, _HELD_OUT_LEAST = 0.1, 1_000, 10
_RATE, _RATE_OF_ONE_LAYER = 3e-3, 1e-2


def choose_hidden_layer_sizes(n_features: int, n_components: int) -> tuple[int, ...]:
    """Choose two layers that narrow by four, the first about as wide as the input.

    Examples
    --------
    >>> choose_hidden_layer_sizes(784, 32)
    (1024, 256)
    """
    first = min(_WIDEST, max(_NARROWEST, 1 << (n_features - 1).bit_length()))
    second = max(first // 4, 2 * n_components)
    return (first, second) if second < first else (first,)


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


def choose_max_epochs(n_rows: int, batch_size: int) -> int:
    """Choose as many epochs as make about 9 000 steps, between 5 and 100.

    Examples
    --------
    >>> choose_max_epochs(60_000, 128)
    20
    """
    steps_per_epoch = -(-n_rows // batch_size)
    return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, -(-_STEPS // steps_per_epoch)))


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
