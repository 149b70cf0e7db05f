"""How near restored rows come to the clean originals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from narrows.data.lazy import LazyRows
from narrows.errors import DataError

# The window of the structural similarity, in pixels (Wang et al. 2004); smaller pictures get less.
_WINDOW = 7
_BLOCK = 1024  # rows that are compared at a time


@dataclass(frozen=True)
class Restoration:
    """How near restored rows come to the originals, the mean over rows.

    Attributes
    ----------
    psnr : float
        Peak signal-to-noise ratio in dB, of each row; higher is better, infinite where all are
        equal.
    ssim : float or None
        Structural similarity, at most 1; higher is better. ``None`` for tables, and for pictures
        of fewer than three pixels a side.
    """

    psnr: float
    ssim: float | None


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
        If the shapes differ.

    Examples
    --------
    >>> clean = np.zeros((2, 8, 8))
    >>> compare_with_clean(clean + 0.1, clean, data_range=1.0).psnr
    20.0
    """
    if restored.shape != clean.shape:
        raise DataError(
            f"restored rows have shape {restored.shape}, the clean ones {clean.shape}; "
            "give the clean original of each row, in the same order"
        )
    psnr, ssim = np.empty(len(clean)), np.empty(len(clean))
    window = min(_WINDOW, *clean.shape[1:3])
    window -= 1 - window % 2
    are_pictures = clean.ndim > 2 and window > 2
    for start in range(0, len(clean), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = (np.asarray(rows[block], np.float64) for rows in (clean, restored))
        errors = ((other - one) ** 2).reshape(len(one), -1).mean(axis=1)
        with np.errstate(divide="ignore"):
            psnr[block] = 10 * np.log10(data_range**2 / errors)
        if are_pictures:
            ssim[block] = [
                structural_similarity(  # type: ignore[no-untyped-call]
                    *pair,
                    data_range=data_range,
                    win_size=window,
                    channel_axis=2 if one.ndim == 4 else None,
                )
                for pair in zip(one, other, strict=True)
            ]
    mean = float(np.round(psnr.mean(), 12))
    return Restoration(mean, float(ssim.mean()) if are_pictures else None)
