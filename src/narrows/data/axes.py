"""Which axis of rows is which: what is a picture or a signal, and where channels are."""

from typing import Literal

CHANNELS = (1, 3, 4)
"""Channels that a picture may have: grey, colours, or colours and opacity."""

# Rows (L, C) are signals if L is at least 16 and 8 C, and C at most 16; rows (C, L) are signals
# with the channels first if C is at most 4.
_LEAST, _LONG, _MOST_COLUMNS, _MOST_LINES = 16, 8, 16, 4


def is_picture_shape(shape: tuple[int, ...]) -> bool:
    """Return whether an array of a shape can be one picture: (H, W), or (H, W, C) of 1, 3 or 4.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.

    Examples
    --------
    >>> [is_picture_shape(shape) for shape in ((28, 28), (9, 9, 4), (9, 9, 2), (9,))]
    [True, True, False, False]
    """
    return len(shape) in (2, 3) and shape[2:] in ((), *((count,) for count in CHANNELS))


def are_pictures(shape: tuple[int, ...]) -> bool:
    """Return whether rows of a shape are shown and compared as pictures.

    A signal (L, C) of few channels has two axes like a grey picture. Shapes with L of at least 16
    and 8 C, and C of at most 16, are taken for signals, and so are shapes (C, L) with C of at most
    4. If a model is at hand, use :attr:`narrows.networks.NetworkSpec.shows_pictures`.

    Parameters
    ----------
    shape : tuple of int
        Shape of one row.

    Examples
    --------
    >>> [are_pictures(shape) for shape in ((28, 28), (32, 32, 3), (1000, 2), (128, 9), (3, 500))]
    [True, True, False, False, False]
    """
    if not is_picture_shape(shape) or 0 in shape:
        return False
    if len(shape) == 3:
        return True
    height, width = shape
    is_long = width <= _MOST_COLUMNS and height >= max(_LEAST, _LONG * width)
    return not (is_long or lies_down(shape))


def lies_down(shape: tuple[int, ...]) -> bool:
    """Return whether rows of two axes are a signal with its channels first, (C, L).

    Examples
    --------
    >>> lies_down((2, 500)), lies_down((500, 2)), lies_down((28, 28))
    (True, False, False)
    """
    return len(shape) == 2 and shape[0] <= _MOST_LINES and shape[1] >= max(_LEAST, _LONG * shape[0])


def channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether rows of three axes have their channels on the first of them: (C, H, W).

    That is so if the first axis has the length of channels of a picture, and the last has not.

    Parameters
    ----------
    shape : tuple of int
        Shape of one row.

    Examples
    --------
    >>> [channels_first(shape) for shape in ((3, 32, 32), (1, 28, 28), (32, 32, 3), (3, 5, 3))]
    [True, True, False, False]
    >>> channels_first((4, 4, 512))  # as many as the second: a small map of many channels
    False
    """
    if len(shape) != 3:
        return False
    first, second, last = shape
    return first <= max(CHANNELS) < last and first != second


def leading_channels(shape: tuple[int, ...]) -> Literal["signal", "picture", "doubtful"] | None:
    """Return what rows are whose first axis seems to count channels; ``None`` for other rows.

    Rows like (13, 64, 64) are doubtful: they may have more channels than pictures, or be pictures
    13 pixels high.

    Parameters
    ----------
    shape : tuple of int
        Shape of one row.

    Examples
    --------
    >>> [leading_channels(shape) for shape in ((2, 500), (3, 32, 32), (13, 64, 64), (7, 7, 512))]
    ['signal', 'picture', 'doubtful', None]
    """
    if lies_down(shape):
        return "signal"
    if channels_first(shape):
        return "picture"
    is_doubtful = len(shape) == 3 and max(CHANNELS) < shape[0] < shape[1] == shape[2]
    return "doubtful" if is_doubtful else None


def hint(shape: tuple[int, ...], learned: tuple[int, ...], X: object = None) -> str:
    """Return the call that brings the axes of rows into the order that a model takes.

    Parameters
    ----------
    shape : tuple of int
        Shape of the given rows, the number of rows first.
    learned : tuple of int
        Shape of one row that the model takes.
    X : object
        The given rows; for a tensor, the call is torch's.

    Returns
    -------
    str
        A clause; empty where no other order of the axes would fit.

    Examples
    --------
    >>> hint((10, 3, 32, 32), (32, 32, 3))
    'the channels stand on axis 1: give np.moveaxis(X, 1, -1)'
    >>> hint((3, 32, 32), (32, 32, 3))
    'this is one picture with its channels first: give np.moveaxis(X, 0, -1)[None]'
    >>> hint((28, 28), (28, 28)), hint((10, 5), (28, 28))
    ('this is a single row: give X[None]', '')
    """
    shape, learned, row = tuple(shape), tuple(learned), tuple(shape[1:])
    single = "X.permute(1, 2, 0)[None]" if _is_tensor(X) else "np.moveaxis(X, 0, -1)[None]"
    moved = last_axis_call(shape, X)
    known = {learned: "this is a single row: give X[None]"}
    if len(learned) == 2:
        known |= {
            (*shape[:1], 1, *learned): "grey rows have no axis of channels: give X[:, 0]",
            (*shape[:1], *learned, 1): "grey rows have no axis of channels: give X[..., 0]",
            (*shape[:1], *learned[::-1]): f"their axes are the other way round: give {moved}",
        }
    elif len(learned) == 3 and learned[2] <= max(CHANNELS):
        height, width, count = learned
        if len(row) == 3 and row[0] == count != row[2]:  # of any height and width
            return f"the channels stand on axis 1: give {moved}"
        known[count, height, width] = f"this is one picture with its channels first: give {single}"
        if count == 1:
            known[*shape[:1], height, width] = "the axis of channels is missing: give X[..., None]"
    return known.get(shape, "")


def last_axis_call(shape: tuple[int, ...], X: object = None) -> str:
    """Name the call that moves the first axis of rows (n, C, ...) to their last, (n, ..., C)."""
    if not _is_tensor(X):
        return "np.moveaxis(X, 1, -1)"
    return f"X.permute({', '.join(map(str, (0, *range(2, len(shape)), 1)))})"


def _is_tensor(X: object) -> bool:
    return hasattr(X, "permute")
