"""Restoration scores: peak signal-to-noise ratio and structural similarity to clean originals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from narrows.data.axes import are_pictures
from narrows.data.decoding import Target, side_by_side, sizes_of
from narrows.data.depths import resize
from narrows.data.images import read_into_memory
from narrows.data.lazy_rows import LazyRows
from narrows.data.reading import Notes, Picture, current
from narrows.data.scaling import Scaling
from narrows.errors import DataError, ParameterError
from narrows.ssim import structural_similarity, window_of

BEST_PSNR = 100.0
"""The ratio of a row at most, in dB: a root mean squared error of 1e-5 of the data range."""

_ROWS, _VALUES = 1024, 2**22  # compared at a time
_FEWEST_PIXELS = 3


@dataclass(frozen=True)
class Restoration:
    """The similarity of restored rows to the originals, mean over rows.

    Attributes
    ----------
    psnr : float
        Peak signal-to-noise ratio in dB, 10 log10(data_range² / MSE) of each row; higher is
        better. The mean over rows is the one that papers report. A row that is restored without
        any error has no finite ratio: each row counts at most 100 dB (:data:`BEST_PSNR`), far above
        the 59 dB of rounding to 8 bits, so that one such row does not decide the mean.
    ssim : float or None
        Structural similarity (:func:`narrows.ssim.structural_similarity`), at most 1; higher is
        better. ``None`` for tables and signals, and for pictures of fewer than three pixels a side.
    ssim_window : tuple of (int, int) or None
        Height and width of its Gaussian window in pixels: 11 by 11 with a standard deviation of
        1.5, as Wang et al. (2004) have it, or, along a side that is shorter, the largest odd number
        that fits. ``None`` where pictures have several.
    n_exact : int
        The number of rows that are restored without any error.
    """

    psnr: float
    ssim: float | None
    ssim_window: tuple[int, int] | None = None
    n_exact: int = 0


def compare_with_clean(
    restored: NDArray[Any] | LazyRows,
    clean: NDArray[Any] | LazyRows,
    data_range: float,
    *,
    pictures: bool | None = None,
) -> Restoration:
    """Measure the similarity of restored rows to the originals.

    Parameters
    ----------
    restored, clean : ndarray or LazyRows of shape (n, *sample_shape)
        Rows in the same units.
    data_range : float
        The distance from the smallest to the largest possible value: 255 for 8-bit pixels.
    pictures : bool, optional
        Whether the rows are pictures, as in ``model.spec_.shows_pictures``; by default, this is
        guessed from their shape by :func:`narrows.data.axes.are_pictures`.

    Returns
    -------
    Restoration

    Raises
    ------
    DataError
        If the shapes differ, or there are no rows.
    ParameterError
        If ``data_range`` is not above 0.

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
    if not 0 < data_range < math.inf:
        raise ParameterError(f"data_range={data_range!r} is not allowed; give a number above 0")
    psnr, ssim = np.empty(len(clean)), np.empty(len(clean))
    n_exact = 0
    shown = are_pictures(clean.shape[1:]) if pictures is None else pictures
    compared = shown and min(clean.shape[1:3]) >= _FEWEST_PIXELS
    step = max(1, min(_ROWS, _VALUES // max(1, math.prod(clean.shape[1:]))))
    for start in range(0, len(clean), step):
        block = slice(start, start + step)
        truth, made = (np.asarray(rows[block], np.float64) for rows in (clean, restored))
        errors = ((made - truth) ** 2).reshape(len(truth), -1).mean(axis=1)
        n_exact += int((errors == 0).sum())
        with np.errstate(divide="ignore"):
            psnr[block] = np.minimum(10 * np.log10(data_range**2 / errors), BEST_PSNR)
        if compared:
            ssim[block] = structural_similarity(truth, made, data_range)
    return Restoration(
        psnr=float(np.round(psnr.mean(), 12)),
        ssim=float(ssim.mean()) if compared else None,
        ssim_window=window_of(clean.shape[1:]) if compared else None,
        n_exact=n_exact,
    )


def compare_files_with_clean(
    restored: NDArray[Any] | LazyRows,
    damaged: Sequence[Picture],
    clean: Sequence[Picture],
    scaling: Scaling,
) -> tuple[Restoration, Restoration]:
    """Measure the similarity of damaged and restored pictures to originals, at their own sizes.

    Restored pictures of another size are resized to that of the damaged one.

    Parameters
    ----------
    restored : ndarray or LazyRows of shape (n, H, W) or (n, H, W, C)
        The damaged pictures restored by a model, in the units of its training data.
    damaged, clean : sequence of Path or Page
        n picture files each, in the same order.
    scaling : Scaling
        The model's scaling.

    Returns
    -------
    damaged, restored : Restoration

    Raises
    ------
    UnreadableFileError
        If a file cannot be read.
    DataError
        If an original has another size than the damaged picture, or the numbers differ.
    """
    if not len(restored) == len(damaged) == len(clean) > 0:
        raise DataError(
            f"there are {len(restored)} restored pictures, {len(damaged)} damaged ones and "
            f"{len(clean)} originals; give as many of each, at least one"
        )
    channels = tuple(restored.shape[3:])
    span = scaling.high - scaling.low
    before: list[Restoration] = []
    after: list[Restoration] = []
    sizes = zip(sizes_of(damaged), sizes_of(clean), strict=True)
    for number, (size, original) in enumerate(sizes):
        if size is None or size != original:
            raise DataError(
                f"'{damaged[number]}' has {_in_pixels(size)}, its original '{clean[number]}' "
                f"{_in_pixels(original)}; give originals of the same size"
            )
        target = Target((*size, *channels), scaling.file_type, scaling, current())
        given, truth = (
            read_into_memory([file], target, Notes())[0]
            for file in (damaged[number], clean[number])
        )
        made = resize(np.asarray(restored[number : number + 1][0], np.float64), size)[None]
        before.append(compare_with_clean(given, truth, span, pictures=True))
        after.append(compare_with_clean(made, truth, span, pictures=True))
    return _mean(before), _mean(after)


def _in_pixels(size: tuple[int, int] | None) -> str:
    return "no size that can be read" if size is None else f"{side_by_side(size)} pixels"


def _mean(scores: Sequence[Restoration]) -> Restoration:
    """Return the mean over pictures; the structural similarity of those large enough for one."""
    similarities = [score.ssim for score in scores if score.ssim is not None]
    windows = {score.ssim_window for score in scores if score.ssim_window is not None}
    return Restoration(
        psnr=float(np.mean([score.psnr for score in scores])),
        ssim=float(np.mean(similarities)) if similarities else None,
        ssim_window=windows.pop() if len(windows) == 1 else None,
        n_exact=sum(score.n_exact for score in scores),
    )
