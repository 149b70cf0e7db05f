"""Signals over time: cut into windows, encoded, and reconstructed or denoised by overlap-add.

A model learns from windows (``model.fit(Windows(signal, 512))``); ``architecture="convolutional"``
learns patterns at any place in a window. The functions here cut a long signal into windows like
those, and cross-fade the windows that the model returns.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from narrows.data.formats import SOUND_SUFFIXES
from narrows.data.noise_level import estimate_noise
from narrows.data.signal_files import (
    Signal,
    Signals,
    Windows,
    check_signal_output,
    find_signals,
    overlap_add,
    read,
    read_all,
    resample,
    window_starts,
    write,
)
from narrows.errors import DataError
from narrows.models import AnomalyDetector, BaseAutoencoder, Decoder, Encoder
from narrows.models.picture_restorer import check_strength, is_of_noise
from narrows.models.validation import check_rate

# Samples over which the share of a change is measured, and the step of the derivative, of the
# noise.
_LOCAL, _STEP = 1024, 0.1

__all__ = [
    "SOUND_SUFFIXES",
    "Restored",
    "Signal",
    "Signals",
    "Windows",
    "anomaly_scores",
    "check_signal_output",
    "decode",
    "denoise",
    "encode",
    "find_signals",
    "overlap_add",
    "read",
    "read_all",
    "reconstruct",
    "resample",
    "restore",
    "snr",
    "window_length",
    "window_starts",
    "write",
]


def encode(
    model: BaseAutoencoder | Encoder, signal: NDArray[Any] | Signal, hop: int | None = None
) -> NDArray[np.float32]:
    """Encode a signal, window by window.

    Parameters
    ----------
    model : BaseAutoencoder or Encoder
        A model trained on windows of L samples.
    signal : ndarray of shape (T,) or (T, C), or Signal
        A signal with the channels that the model learned from; T is at least L. The rate of a
        :class:`Signal`, if it is known, must be the one that the model learned from.
    hop : int, optional
        Samples from a window's start to the next one's; L / 2 by default.

    Returns
    -------
    ndarray of shape (n, K), float32
        The latent codes (embeddings) of the windows, in their order; :func:`window_starts` returns
        where each window begins.

    Raises
    ------
    DataError, ParameterError
        If the signal is shorter than a window, does not fit the model, has another rate than it
        learned from, or the hop is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import Autoencoder, signals
    >>> wave = np.sin(np.arange(3000) / 9)
    >>> model = Autoencoder(4, max_epochs=20, random_state=0).fit(signals.Windows(wave, 64))
    >>> codes = signals.encode(model, wave)
    >>> again = signals.decode(model, codes, n_samples=3000)
    >>> codes.shape, again.shape, bool(((again - wave) ** 2).mean() < 0.05 * wave.var())
    ((93, 4), (3000,), True)
    """
    return model.transform(windows_for(model, signal, hop))


def windows_for(
    model: BaseAutoencoder | Encoder | AnomalyDetector,
    signal: NDArray[Any] | Signal,
    hop: int | None = None,
) -> Windows:
    """Cut a signal into the windows that a model encodes.

    Parameters
    ----------
    model, signal, hop
        The same as for :func:`encode`.

    Returns
    -------
    Windows
        Rows that are cut out lazily.

    Raises
    ------
    DataError, ParameterError
        As :func:`encode` does.
    """
    length = window_length(model)
    check_rate(model, signal.rate if isinstance(signal, Signal) else None)
    return Windows(signal, length, hop)


def decode(
    model: BaseAutoencoder | Decoder,
    codes: NDArray[Any],
    hop: int | None = None,
    n_samples: int | None = None,
) -> NDArray[Any]:
    """Decode the codes of a signal's windows to a signal without seams.

    Parameters
    ----------
    model : BaseAutoencoder or Decoder
        The model that made the codes, or its decoder.
    codes : ndarray of shape (n, K)
        The codes that :func:`encode` returned.
    hop : int, optional
        The hop that the signal was encoded with; L / 2 by default.
    n_samples : int, optional
        The signal's length, T. By default that of these windows, all ``hop`` apart.

    Returns
    -------
    ndarray of shape (T,) or (T, C)
        The signal, in the units of the training data.

    Raises
    ------
    DataError, ParameterError
        If the codes do not fit the model, or signals of that length have another number of windows.
    """
    length = window_length(model)
    hop = length // 2 if hop is None else hop
    if n_samples is None:
        n_samples = (len(codes) - 1) * hop + length
    starts = window_starts(n_samples, length, hop)
    if len(starts) != len(codes):
        raise DataError(
            f"a signal of {n_samples} samples has {len(starts)} windows of {length}, {hop} apart, "
            f"and {len(codes)} codes were given; give the hop and the length that it was encoded "
            "with"
        )
    return overlap_add(model.inverse_transform(codes), starts)


def reconstruct(
    model: BaseAutoencoder, signal: NDArray[Any] | Signal, hop: int | None = None
) -> NDArray[Any]:
    """Encode and decode a signal.

    Parameters
    ----------
    model : BaseAutoencoder
        A model trained on windows of L samples.
    signal : ndarray of shape (T,) or (T, C), or Signal
        A signal with the channels that the model learned from; T is at least L. The rate of a
        :class:`Signal`, if it is known, must be the one that the model learned from.
    hop : int, optional
        Samples from a window's start to the next one's; L / 2 by default. Fewer take longer, and
        average over more windows.

    Returns
    -------
    ndarray of the signal's shape
        The reconstruction, in the same units.

    Raises
    ------
    DataError, ParameterError
        As :func:`encode` does.
    """
    windows = windows_for(model, signal, hop)
    return overlap_add(model.reconstruct(windows), _starts(signal, windows, hop))


class Restored(NamedTuple):
    """A signal that :func:`restore` has changed.

    Attributes
    ----------
    values : ndarray of the signal's shape
        The restored signal, in the same units.
    noise : ndarray of shape () or (C,), or None
        The estimated standard deviation of each channel's independent noise, in the signal's units;
        None where the change did not depend on it.
    share : float
        The share of the model's change that was applied, the mean over the samples.
    """

    values: NDArray[Any]
    noise: NDArray[np.float64] | None
    share: float


def denoise(
    model: BaseAutoencoder,
    signal: NDArray[Any] | Signal,
    hop: int | None = None,
    *,
    strength: float = 1.0,
    even_if_clean: bool = False,
) -> NDArray[Any]:
    """Restore a clean signal from a noisy one, by a model that was trained with ``corruption``.

    Parameters
    ----------
    model, signal, hop, strength, even_if_clean
        The same as for :func:`restore`, which also returns the noise that was found.

    Returns
    -------
    ndarray of the signal's shape
        The denoised signal, in the same units.

    Raises
    ------
    DataError, ParameterError
        As :func:`encode` does.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import DenoisingAutoencoder, signals
    >>> clean = np.sin(np.arange(4000) / 9)
    >>> model = DenoisingAutoencoder(
    ...     4, corruption_level=0.3, max_epochs=20, random_state=0).fit(signals.Windows(clean, 64))
    >>> noise = np.random.default_rng(0).normal(0, 0.2, len(clean))
    >>> restored = signals.denoise(model, clean + noise)
    >>> bool(((restored - clean) ** 2).mean() < 0.2 * (noise**2).mean())
    True
    """
    return restore(model, signal, hop, strength=strength, even_if_clean=even_if_clean).values


def restore(
    model: BaseAutoencoder,
    signal: NDArray[Any] | Signal,
    hop: int | None = None,
    *,
    strength: float = 1.0,
    even_if_clean: bool = False,
) -> Restored:
    """Restore a signal as far as its noise allows, and tell the noise.

    Models that pass rows around the code (``architecture="restoring_1d"``) and learned from
    independent noise are held back where little of it is found. With the standard deviation s of
    the noise, the mean square c of the model's change over some 1 000 samples, and the mean
    derivative d of a restored sample by the given one, the change is multiplied by
    s^2 (1 - d) / c, at most 1, which brings the signal nearest to the clean one by Stein's unbiased
    estimate of the risk. Other models are applied in full.

    Parameters
    ----------
    model, signal, hop
        The same as for :func:`reconstruct`.
    strength : float, default=1
        The multiple of the change that is applied, from 0, which leaves the signal as it is, to 10.
    even_if_clean : bool, default=False
        Whether the change is applied in full, whatever noise is found. Noise that is not white,
        such as hum, is found too small.

    Returns
    -------
    Restored

    Raises
    ------
    DataError, ParameterError
        As :func:`encode` does.

    See Also
    --------
    denoise : The restored signal alone.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import DenoisingAutoencoder, signals
    >>> clean = np.sin(np.arange(4000) / 9)
    >>> model = DenoisingAutoencoder(max_epochs=5, random_state=0)
    >>> model = model.fit(signals.Windows(clean, 64))
    >>> noisy = clean + np.random.default_rng(0).normal(0, 0.2, len(clean))
    >>> restored = signals.restore(model, noisy)
    >>> bool(0.18 < restored.noise < 0.22)
    True
    >>> bool(signals.snr(signals.denoise(model, clean), clean) > 40)
    True
    """
    check_strength(strength)
    values = np.asarray(signal.values if isinstance(signal, Signal) else signal)
    change = _change(model, signal, values, hop)
    kind = model.spec_.definition
    noise: NDArray[np.float64] | None = None
    share: NDArray[Any] | float = 1.0
    if kind.starts_at_input and is_of_noise(model) and not even_if_clean:
        columns = values.reshape(len(values), -1)
        each = [estimate_noise(column[:, None]) for column in columns.T]
        noise = np.array(each).reshape(values.shape[1:])
        share = np.zeros(values.shape)
        if noise.any():
            signs = np.random.default_rng(0).choice([-1.0, 1.0], values.shape)
            step = _STEP * np.where(noise > 0, noise, noise.max())
            near = values + step * signs
            moved = replace(signal, values=near) if isinstance(signal, Signal) else near
            # The derivative of the change is that of the restored signal less 1.
            derivative = signs * (_change(model, moved, near, hop) - change) / step
            expected = noise**2 * np.maximum(0, -_local_mean(derivative))
            squares = _local_mean(np.square(change))
            share = np.divide(expected, squares, out=share, where=squares > 0).clip(0, 1)
    restored = values + strength * share * change
    dtype = np.result_type(model.scaling_.value_type, np.float32)
    return Restored(restored.astype(dtype), noise, float(np.mean(share)))


def _change(
    model: BaseAutoencoder, signal: NDArray[Any] | Signal, values: NDArray[Any], hop: int | None
) -> NDArray[np.float64]:
    """Return what a model adds to a signal."""
    windows = windows_for(model, signal, hop)
    restored = overlap_add(model.denoise(windows), _starts(signal, windows, hop))
    change: NDArray[np.float64] = np.subtract(restored, values, dtype=np.float64)
    return change


def _local_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(uniform_filter1d(values, min(_LOCAL, len(values)), axis=0, mode="nearest"))


def anomaly_scores(
    detector: AnomalyDetector, signal: NDArray[Any] | Signal, hop: int | None = None
) -> NDArray[np.float64]:
    """Score each sample of a signal, by the windows over it.

    Parameters
    ----------
    detector : AnomalyDetector
        A detector that learned from windows of L samples.
    signal : ndarray of shape (T,) or (T, C), or Signal
        A signal with the channels that the detector learned from; T is at least L.
    hop : int, optional
        Samples from a window's start to the next one's; L / 2 by default.

    Returns
    -------
    ndarray of shape (T,)
        Anomaly scores of :meth:`narrows.AnomalyDetector.score_over_time`; samples above 1 are
        anomalous. :func:`narrows.plots.over_time` draws them.

    Raises
    ------
    DataError, ParameterError
        As :func:`encode` does.

    Examples
    --------
    >>> import numpy as np
    >>> from narrows import AnomalyDetector, signals
    >>> wave = np.sin(np.arange(4000) / 9) + np.random.default_rng(0).normal(0, 0.1, 4000)
    >>> detector = AnomalyDetector(random_state=0).fit(signals.Windows(wave, 64, 16))
    >>> wave[3000:3100] *= 3
    >>> 3000 - 64 < int(signals.anomaly_scores(detector, wave, 16).argmax()) < 3100 + 64
    True
    """
    (scores,) = detector.score_over_time(windows_for(detector, signal, hop))
    return scores


def _starts(signal: NDArray[Any] | Signal, windows: Windows, hop: int | None) -> NDArray[np.int64]:
    n_samples = len(signal.values if isinstance(signal, Signal) else signal)
    return window_starts(n_samples, windows.shape[1], hop)


def snr(values: NDArray[Any], clean: NDArray[Any]) -> float:
    """Return the signal-to-noise ratio: a clean signal's power to that of the noise, in decibels.

    Parameters
    ----------
    values, clean : ndarray of the same shape
        The noisy signal, and the clean one.

    Raises
    ------
    DataError
        If they have different shapes.

    Examples
    --------
    >>> round(snr(np.array([1.1, -1.1]), np.array([1.0, -1.0])), 6)
    20.0
    """
    if np.shape(values) != np.shape(clean):
        raise DataError(
            f"the signal has shape {np.shape(values)}, the clean one {np.shape(clean)}; give a "
            "clean sample for each"
        )
    truth = np.asarray(clean, np.float64)
    noise = np.square(values - truth).sum()
    return float(10 * np.log10(np.square(truth).sum() / noise)) if noise else float("inf")


def window_length(model: BaseAutoencoder | Encoder | Decoder | AnomalyDetector) -> int:
    """Return the samples of the windows that a model learned from, L.

    Raises
    ------
    DataError
        If it learned from rows that are no windows.
    """
    shape = model.sample_shape_
    if len(shape) > 2:
        raise DataError(
            f"the {type(model).__name__} learned from rows of shape {shape}, which are no windows "
            "of a signal; give a model that was trained on windows (L,) or (L, C)"
        )
    return int(shape[0])
