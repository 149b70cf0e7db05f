"""How near restored rows come to the clean originals."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.lazy import LazyRows
from narrows.errors import DataError
from narrows.ssim import structural_similarity, window_of

BEST_PSNR = 100.0
"""What a row counts at most, in dB: a root mean squared error of 1e-5 of the data range."""

_ROWS, _VALUES = 1024, 2**22  # that are compared at a time
_FEWEST_PIXELS = 3


@dataclass(frozen=True)
class Restoration:
    """How near restored rows come to the originals, the mean over rows.

    Attributes
    ----------
    psnr : float
        Peak signal-to-noise ratio in dB, 10 log10(data_range² / MSE) of each row; higher is
        better. The mean over rows is the one that papers report. A row that is restored without
        any error has no finite ratio: each row counts at most 100 dB (:data:`BEST_PSNR`), far above
        what 8 bits tell apart (59 dB is the error of rounding to them), so that one such row does
        not decide the mean.
    ssim : float or None
        Structural similarity (:func:`narrows.ssim.structural_similarity`), at most 1; higher is
        better. ``None`` for tables, and for pictures of fewer than three pixels a side.
    ssim_window : tuple of (int, int) or None
        Height and width of its Gaussian window in pixels: 11 by 11 with a standard deviation of
        1.5, as Wang et al. (2004) have it, or, along a side that is shorter, the largest odd number
        that fits.
    n_exact : int
        Rows that are restored without any error.
    """

    psnr: float
    ssim: float | None
    ssim_window: tuple[int, int] | None = None
    n_exact: int = 0


def compare_with_clean(
    restored: NDArray[Any] | LazyRows, clean: NDArray[Any] | LazyRows, data_range: float
) -> Restoration:
    """Measure how near restored rows come to the originals.

    Parameters
    ----------
    restored, clean : ndarray or LazyRows of shape (n, F), (n, H, W) or (n, H, W, C)
        In the same units.
    data_range : float
        The distance from the smallest to the largest possible value: 255 for 8-bit pixels.

    Returns
    -------
    Restoration

    Raises
    ------
    DataError
        If the shapes differ, or there are no rows.

    Examples
    --------
    >>> clean = np.zeros((2, 8, 8))
    >>> compare_with_clean(clean + 0.1, clean, data_range=1.0).psnr
    20.0
    >>> compare_with_clean(clean, clean, data_range=1.0)
    Restoration(psnr=100.0, ssim=1.0, ssim_window=(7, 7), n_exact=2)
    """
    if restored.shape != clean.shape:
        raise DataError(
            f"restored rows have shape {restored.shape}, the clean ones {clean.shape}; "
            "give the clean original of each row, in the same order"
        )
    if not len(clean):
        raise DataError("there are no rows to compare; give at least one")
    psnr, ssim = np.empty(len(clean)), np.empty(len(clean))
    n_exact = 0
    are_pictures = clean.ndim > 2 and min(clean.shape[1:3]) >= _FEWEST_PIXELS
    step = max(1, min(_ROWS, _VALUES // max(1, math.prod(clean.shape[1:]))))
    for start in range(0, len(clean), step):
        block = slice(start, start + step)
        one, other = (np.asarray(rows[block], np.float64) for rows in (clean, restored))
        errors = ((other - one) ** 2).reshape(len(one), -1).mean(axis=1)
        n_exact += int((errors == 0).sum())
        with np.errstate(divide="ignore"):
            psnr[block] = np.minimum(10 * np.log10(data_range**2 / errors), BEST_PSNR)
        if are_pictures:
            ssim[block] = structural_similarity(one, other, data_range)
    return Restoration(
        psnr=float(np.round(psnr.mean(), 12)),
        ssim=float(ssim.mean()) if are_pictures else None,
        ssim_window=window_of(clean.shape[1:]) if are_pictures else None,
        n_exact=n_exact,
    )
