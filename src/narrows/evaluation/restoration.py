"""How near restored rows come to the clean originals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from narrows.errors import DataError

# The window of the structural similarity, in pixels (Wang et al. 2004); smaller pictures get less.
_WINDOW = 7


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
    restored: NDArray[Any], clean: NDArray[Any], data_range: float
) -> Restoration:
    """Measure how near restored rows come to the originals.

    Parameters
    ----------
    restored, clean : ndarray of shape (n, F), (n, H, W) or (n, H, W, C)
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
    restored, clean = (np.asarray(rows, np.float64) for rows in (restored, clean))
    errors = ((restored - clean) ** 2).reshape(len(clean), -1).mean(axis=1)
    with np.errstate(divide="ignore"):
        psnr = float(np.round((10 * np.log10(data_range**2 / errors)).mean(), 12))
    window = min(_WINDOW, *clean.shape[1:3])
    window -= 1 - window % 2
    if clean.ndim < 3 or window < 3:
        return Restoration(psnr, None)
    similarities = [
        structural_similarity(  # type: ignore[no-untyped-call]
            one,
            other,
            data_range=data_range,
            win_size=window,
            channel_axis=2 if one.ndim == 3 else None,
        )
        for one, other in zip(clean, restored, strict=True)
    ]
    return Restoration(psnr, float(np.mean(similarities)))
