"""Long signals: cut into windows without copying them, and put together again without seams."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from narrows.data.audio import Signal
from narrows.data.lazy import LazyRows
from narrows.errors import DataError, ParameterError


class Windows(LazyRows):
    """Windows over one signal or several, cut out where they are asked for.

    Any model learns from them (``fit``), or encodes them, as it does with the rows of an array.

    Parameters
    ----------
    signals : ndarray of shape (T,) or (T, C), Signal, or sequence of them
        Numbers over time, of one channel or of C. Memory-mapped arrays stay on the disk. A
        :class:`narrows.signals.Signal` knows its rate, which a model that learns from the windows
        remembers.
    length : int
        Samples in a window, L; no signal may be shorter.
    hop : int, optional
        Samples from a window's start to the next one's, from 1 to L; L / 2 by default. The last
        window of a signal ends where the signal ends.

    Attributes
    ----------
    rate : int or None
        Samples a second, if the signals know it.

    Raises
    ------
    DataError
        If a signal is shorter than a window, or they do not have the same channels or rates.
    ParameterError
        If length or hop is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder
    >>> from narrows.signals import Windows
    >>> wave = np.sin(np.arange(1000) / 7)
    >>> windows = Windows(wave, length=64, hop=16)
    >>> windows.shape
    (60, 64)
    >>> model = Autoencoder(2, max_epochs=3, random_state=0).fit(windows)
    >>> model.transform(windows).shape
    (60, 2)
    """

    def __init__(
        self,
        signals: NDArray[Any] | Signal | Sequence[NDArray[Any] | Signal],
        length: int,
        hop: int | None = None,
    ) -> None:
        each: Sequence[Any] = [signals]
        if isinstance(signals, list | tuple) and signals and _is_signal(signals[0]):
            each = signals
        self.rate = _common_rate(each)
        given = [
            _as_signal(signal.values if isinstance(signal, Signal) else signal) for signal in each
        ]
        channels = {signal.shape[1:] for signal in given}
        if len(channels) > 1:
            raise DataError(
                f"signals with the shapes {', '.join(str(signal.shape) for signal in given[:5])} "
                "were given; give signals with the same channels"
            )
        for signal in given:
            _check_axes(signal, length)
        starts = [window_starts(len(signal), length, hop) for signal in given]
        self._starts = np.concatenate(starts)
        self._ends = np.cumsum([len(some) for some in starts])
        # A view of every window that there could be; nothing is copied.
        self._views = [_all_windows(signal, length) for signal in given]
        self.dtype = np.result_type(*given)
        self.shape = (len(self._starts), length, *channels.pop())

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Cut out the windows of these numbers, (len(rows), L[, C])."""
        if len(self._views) == 1:
            return self._views[0][self._starts[rows]]
        taken = np.empty((len(rows), *self.shape[1:]), self.dtype)
        owner = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(owner):
            mine = owner == number
            taken[mine] = self._views[number][self._starts[rows[mine]]]
        return taken


def window_starts(n_samples: int, length: int, hop: int | None = None) -> NDArray[np.int64]:
    """Return where windows start: every ``hop`` samples, and once so that the last ends the signal.

    Parameters
    ----------
    n_samples, length : int
        Of the signal and of a window, T and L.
    hop : int, optional
        From 1 to L; L / 2 by default.

    Raises
    ------
    DataError
        If the signal is shorter than a window.
    ParameterError
        If length or hop is out of range.

    Examples
    --------
    >>> window_starts(10, 4, 3), window_starts(11, 4)
    (array([0, 3, 6]), array([0, 2, 4, 6, 7]))
    """
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 2:
        raise ParameterError(f"length={length!r} is not allowed; a window has at least 2 samples")
    hop = length // 2 if hop is None else hop
    if isinstance(hop, bool) or not isinstance(hop, int | np.integer) or not 1 <= hop <= length:
        raise ParameterError(
            f"hop={hop!r} is not allowed; give a whole number from 1 to the window's {length}, so "
            "that no sample is left out"
        )
    if n_samples < length:
        raise DataError(
            f"a signal of {n_samples} samples is shorter than a window of {length}; give a longer "
            "signal, or train with shorter windows"
        )
    starts = np.arange(0, n_samples - length + 1, hop)
    last = n_samples - length
    return starts if starts[-1] == last else np.append(starts, last)


def overlap_add(windows: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """Put windows together: each sample is the mean of those that cover it, weighted by a taper.

    The weight of a window rises from its ends to its middle as a sine squared (Hann), so that one
    fades into the next; the weights of a sample are divided by their sum, so that windows of one
    signal give exactly this signal, whatever the hop.

    Parameters
    ----------
    windows : ndarray of shape (n, L[, C])
        Of any floats.
    starts : ndarray of int and shape (n,)
        Where each begins, ascending; none is farther from the one before than L.

    Returns
    -------
    ndarray of shape (T[, C])
        Of the windows' type; T is where the last one ends.

    Examples
    --------
    >>> wave = np.sin(np.arange(11.0))
    >>> starts = window_starts(11, 4, 3)
    >>> cut = Windows(wave, 4, 3)[:]
    >>> bool(np.allclose(overlap_add(cut, starts), wave, atol=1e-15))
    True
    """
    if any(second < first for first, second in pairwise(starts)):
        raise ParameterError("starts are not ascending; sort them together with their windows")
    length = windows.shape[1]
    taper = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    total = np.zeros((starts[-1] + length, *windows.shape[2:]))
    weights = np.zeros(len(total))
    shaped = taper.reshape(-1, *[1] * (windows.ndim - 2))
    for start, window in zip(starts.tolist(), windows, strict=True):
        total[start : start + length] += shaped * window
        weights[start : start + length] += taper
    total /= weights.reshape(-1, *[1] * (windows.ndim - 2))
    return total.astype(windows.dtype)


def _is_signal(given: Any) -> bool:
    return isinstance(given, Signal) or np.ndim(given) > 0


def _common_rate(signals: Sequence[Any]) -> int | None:
    """Return the rate of those that know theirs, which have the same."""
    known = [signal.rate for signal in signals if isinstance(signal, Signal)]
    rates = {rate for rate in known if rate is not None}
    if len(rates) > 1:
        shown = " and ".join(map(str, sorted(rates)[:5]))
        raise DataError(
            f"signals of {shown} samples a second were given; bring them to one rate "
            "(signals.read(path, rate=...), signals.resample), or give those of one"
        )
    return next(iter(rates), None)


def _check_axes(signal: NDArray[Any], length: int) -> None:
    """Refuse channels that stand where time belongs."""
    if signal.ndim == 2 and isinstance(length, int) and len(signal) < length <= signal.shape[1]:
        raise DataError(
            f"a signal of shape {signal.shape} was given, whose first axis is taken for time and "
            f"is shorter than a window of {length}; if it has {len(signal)} channels of "
            f"{signal.shape[1]} samples, give its transpose (signal.T), or a shorter window"
        )


def _all_windows(signal: NDArray[Any], length: int) -> NDArray[Any]:
    """View a signal (T[, C]) as all its windows, (T - L + 1, L[, C])."""
    windows = sliding_window_view(signal, length, axis=0)
    return np.moveaxis(windows, -1, 1)


def _as_signal(given: Any) -> NDArray[Any]:
    try:
        signal = np.asarray(given)
    except ValueError as error:
        raise DataError(f"this is no signal ({error}); give an array (T,) or (T, C)") from error
    if signal.ndim not in (1, 2) or signal.dtype.kind not in "buif" or not signal.size:
        raise DataError(
            f"an array of shape {signal.shape} and type {signal.dtype} is no signal; give numbers "
            "of shape (T,), or (T, C) for C channels"
        )
    return signal
